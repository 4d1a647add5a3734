"""The documentation says what is there, all of it, and what it tells to type works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from docs import generate
from posture.admission.register import ANNOTATIONS
from posture.admission.violations import CONTROLS
from posture.commands.exceptions import STATES
from posture.operations.log import Name
from posture.operations.metrics import Metrics
from posture.pipeline import DOMAINS
from tests.controlplane.controlplane import ControlPlane

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
type Shell = Callable[..., subprocess.CompletedProcess[str]]
FENCE = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, kind: str | None = None) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a language on all pages, with the name of their page; `kind` is the word behind it."""
    for page in PAGES:
        for found in FENCE.finditer(page.read_text(encoding="utf-8")):
            if found[1] == language and kind in (None, found[2]):
                yield page.name, found[3]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return generate.files()


@pytest.mark.parametrize("path", ["docs/cli.md", "docs/checks.md", "docs/escalations.md", *generate.QUOTING])
def test_what_is_generated_is_up_to_date(generated: dict[str, str], path: str) -> None:
    """Each file is as `make docs` would write it now."""
    assert (ROOT / path).read_text(encoding="utf-8") == generated[path], f"{path} is out of date: run `make docs`"


# All of it is there -------------------------------------------------------------------------------------------------


def test_every_command_and_flag_is_documented() -> None:
    """docs/cli.md has a section for each command, with every flag."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for context, command in generate.commands():
        if isinstance(command, click.Group):
            continue
        assert f"\n## {context.command_path}\n" in page
        section = page.partition(f"\n## {context.command_path}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.opts[-1] in section, context.command_path
            assert isinstance(parameter, click.Argument) or parameter.help or "-o" in parameter.opts, parameter


def test_every_exit_code_is_documented() -> None:
    """Each code of posture.errors has its meaning, and no meaning is left without a code."""
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert generate.codes().keys() == generate.EXIT_CODES.keys()
    for code in generate.codes().values():
        assert f"\n| {code} | " in page


def test_every_environment_variable_is_documented() -> None:
    """What the sources read from the environment is in docs/cli.md, and nothing that they do not read."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "posture").rglob("*.py"))
    read = set(re.findall(r"\bPOSTURE_[A-Z_]+\b", source))

    assert read <= generate.ENVIRONMENT.keys()
    assert [name for name in generate.ENVIRONMENT if name not in source] == []


def test_every_check_is_documented() -> None:
    """docs/checks.md has a row and a section for each shipped check, and for no other."""
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    shipped = {path.stem for domain in DOMAINS for path in (ROOT / "checks" / domain.NAME).glob("*.yaml")}

    assert set(re.findall(r"^## (.+)$", page, re.MULTILINE)) == shipped
    assert set(re.findall(r"^\| \[`(.+?)`\]", page, re.MULTILINE)) == shipped


def test_every_escalation_is_documented() -> None:
    """docs/escalations.md has a row and a section for each shipped escalation, and for no other."""
    page = (ROOT / "docs" / "escalations.md").read_text(encoding="utf-8")
    shipped = {path.stem for path in (ROOT / "checks" / "escalations").glob("*.yaml")}

    assert set(re.findall(r"^## (.+)$", page, re.MULTILINE)) == shipped
    assert set(re.findall(r"^\| \[`(.+?)`\]", page, re.MULTILINE)) == shipped


def test_every_control_is_documented() -> None:
    """docs/checks.md has a row for each control that a check may name, with what violates it in words."""
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \| (?:baseline|restricted)? \| \d+ \|$", page, re.MULTILINE))

    assert rows.keys() == CONTROLS.keys()
    assert [control for control, words in rows.items() if words == control] == []


def test_every_state_and_annotation_of_an_exception_is_documented() -> None:
    """docs/admission.md has a row for each state, and names the annotations that are read without a configuration."""
    page = (ROOT / "docs" / "admission.md").read_text(encoding="utf-8")
    states = set(re.findall(r"^\| `([a-z -]+)` \|", page, re.MULTILINE))

    assert states == set(STATES)
    for fact, names in ANNOTATIONS.items():
        assert [name for name in names if f"`{name}`" not in page] == [], fact


def test_every_metric_is_documented(tmp_path: Path) -> None:
    """docs/watch.md has a row for each metric with its labels, and for no other."""
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(posture_\w+)` \|([^|]*)\|", page, re.MULTILINE))
    metrics = Metrics(str(tmp_path / "none.db"))
    served = set(re.findall(r"^# TYPE (posture_\w+)", metrics.page(), re.MULTILINE))

    assert rows.keys() == served
    for family in metrics.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert re.findall(r"\w+", rows[name]) == list(family._labelnames), name  # type: ignore[attr-defined]


def test_every_event_of_the_log_is_documented() -> None:
    """docs/watch.md has a row for each event that `watch` logs, and for no other."""
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8").partition("## The log")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)

    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(get_args(Name.__value__))


def test_links_lead_somewhere() -> None:
    """Every relative link names a file that is there, and every anchor a heading on its page."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+://", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {generate.anchor(heading) for heading in headings}, f"{page.name}: {target}"


# What it claims -----------------------------------------------------------------------------------------------------


def posture(*args: str, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "posture", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in codes, done.stderr
    return done.stdout


def test_the_files_it_shows_are_valid(tmp_path: Path) -> None:
    """The configuration of docs/contracts.md works, with the owners, register, checks and baseline of that page beside
    it.
    """
    for name in ("config", "owners", "register", "check", "baseline"):
        for number, (_, text) in enumerate(blocks("yaml", name)):
            place = tmp_path / {"check": f"checks/{number}.yaml", "baseline": "baseline/pay.yaml"}.get(
                name, f"{name}.yaml"
            )
            place.parent.mkdir(exist_ok=True)
            place.write_text(text, encoding="utf-8")

    scan = ("scan", "--from", "examples/prod-eu/2026-10-13", "--config", str(tmp_path / "config.yaml"))

    assert "baseline" in posture(*scan)
    assert (tmp_path / "posture.db").exists()
    changed = tmp_path / "owners.yaml"
    changed.write_text(changed.read_text(encoding="utf-8").replace("origin:", "orign:"), encoding="utf-8")
    posture(*scan, codes=(2,))
    changed.write_text(changed.read_text(encoding="utf-8").replace("orign:", "origin:"), encoding="utf-8")
    (tmp_path / "register.yaml").write_text("exceptions: [{owner: pay-team}]", encoding="utf-8")
    posture(*scan, codes=(2,))


def keys(page: str, before: str) -> set[str]:
    """The words of the first brace behind a text of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(before)[2]
    return set(re.findall(r"\w+", text.partition("{")[2].partition("}")[0]))


def test_the_documents_have_the_keys_that_it_names() -> None:
    """The report, a difference and a change hold exactly the keys of docs/contracts.md."""
    folders = [f"examples/prod-eu/{day}" for day in ("2026-10-13", "2026-10-16")]
    difference = json.loads(posture("diff", *folders, "-o", "json", codes=(1,)))
    report: dict[str, Any] = json.loads(posture("scan", "--from", folders[0], "--db", ":memory:", "-o", "json"))

    assert difference.keys() == keys("contracts.md", "`posture diff A B -o json` writes")
    assert difference["changes"][0].keys() == keys("contracts.md", "A change is")
    assert report.keys() == keys("contracts.md", "`posture report -o json` writes")
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    for part in ("run", "groups", "findings", "gaps"):
        line = re.search(rf"^- `{part}(?:\[\])?`: .*?(?=^- |^$)", text, re.MULTILINE | re.DOTALL)
        assert line
        record = report[part] if isinstance(report[part], dict) else (report[part] or [{}])[0]
        named = set(re.findall(r"`(\w+)(?:\[\])?`", line[0]))
        assert record.keys() <= named | {"tool", "cluster", "domain", "baselineFiles"}, record.keys() - named


# What it tells to type ----------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path, control_plane: ControlPlane) -> Shell:
    """Runs a block in a folder of its own, beside the examples, with a home of its own and kubectl on the PATH."""
    for name in ("examples", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("POSTURE_", "XDG_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), str(control_plane.programs), env["PATH"]])
    env |= {"HOME": str(tmp_path), "PATH": path}

    def shell(text: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-eu", "-c", text],
            cwd=tmp_path,
            env=env | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return shell


def test_what_it_runs_on_the_examples_works(shell: Shell) -> None:
    """Every block that is marked `examples` runs as it stands."""
    found = list(blocks("sh", "examples"))

    assert found
    for page, text in found:
        done = shell(text)
        assert done.returncode == 0, f"{page}:\n{text}\n{done.stderr}"
        assert done.stdout


def test_what_it_runs_on_a_cluster_works(shell: Shell) -> None:
    """The blocks that are marked `cluster` run one after the other, on a cluster where something drifts meanwhile."""
    with ControlPlane() as plane:
        said = []
        for page, text in blocks("sh", "cluster"):
            done = shell(text, KUBECONFIG=str(plane.kubeconfig()))
            assert done.returncode == 0, f"{page}:\n{text}\n{done.stderr}"
            said.append(done.stdout)
            if len(said) == 1:
                plane.kubectl("create", "clusterrolebinding", "debug", "--clusterrole=view", "--group=contractors")

    assert "no baseline yet" in said[0]
    assert "1 new, 1 open" in said[1]
    assert "ClusterRoleBinding debug" in said[1]
    assert len(said) == 3


def test_what_is_not_run_needs_what_tests_have_not() -> None:
    """Blocks that are not marked build an image or talk to a pod; targets of make exist."""
    for name, text in blocks("sh", ""):
        for line in filter(None, text.splitlines()):
            assert re.match(r"docker build|kubectl (apply -f deploy/|-n posture exec)", line), f"{name}: {line}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:`|^    )make (\w+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"
