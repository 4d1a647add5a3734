"""Where output goes and in what form: -o, pipes that close early, full disks, terminals, interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from posture.text import cells
from tests.commands.running import World, command, posture, process, terminal, write
from tests.generator.objects import account, binding, guarded, namespace, role, rule

WHO_CAN = ("who-can", "get", "secrets", "--from", "drifted.json")
LISTS = {
    "findings list": "group", "findings list --members": "finding", "findings list --standing": "standing",
    "snapshots": "snapshot", "baseline show": "baseline", "owners suggest": "label",
    "who-can get secrets --from drifted.json": "subject",
}  # fmt: skip
"""Every command that lists, but for those that need an id or a file."""


# Forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", LISTS)
def test_every_list_has_every_form(world: World, args: str) -> None:
    """JSON and YAML hold the same records, `name` one line for each, `wide` at least what `table` has."""
    form = {name: posture(*args.split(), "-o", name).out for name in ("table", "wide", "json", "yaml", "name")}
    records = json.loads(form["json"])

    assert records
    assert yaml.safe_load(form["yaml"]) == records
    assert len(form["name"].splitlines()) <= len(records)
    assert len(form["table"].splitlines()) == len(form["wide"].splitlines()) == len(records) + 1
    assert set(form["table"].split()) <= set(form["wide"].split())
    assert form["table"].split()[0].isupper()


@pytest.mark.parametrize("args", [args for args in LISTS if "suggest" not in args and "snapshots" not in args])
def test_what_is_named_can_be_used(world: World, args: str) -> None:
    """`-o name` gives what other commands take, each once."""
    names = posture(*args.split(), "-o", "name").out.splitlines()

    assert names
    assert len(set(names)) == len(names)
    if args in ("findings list", "findings list --members"):
        assert posture("findings", "show", *names, "-o", "json").json


def test_json_and_yaml_are_ascii(surroundings: Path) -> None:
    """Whatever an object is called, nothing but ASCII reaches standard output, and it decodes to the name again."""
    name = "käse-\u202e-\U0001f512-\x1b[31m"
    write(surroundings / "odd.json", [
        guarded("pay", team="Käse"), guarded("web", team="Käse"),
        role(name, rule("*", "*", groups="*"), namespace="pay"),
        binding(name, f"Role/{name}", account("pay", "api"), namespace="pay"),
    ])  # fmt: skip
    posture("scan", "--from", "odd.json")
    for args in ("findings list", "findings list --members", "owners suggest", "who-can get pods --from odd.json"):
        for form in ("json", "yaml"):
            assert posture(*args.split(), "-o", form).out.isascii(), (args, form)
    for args in ("report", "scan --from odd.json -o json", "diff odd.json odd.json -o json --notes"):
        assert posture(*args.split()).out.isascii()
    (found,) = posture("findings", "list", "-o", "json").json
    assert found["through"]["name"] == name
    posture("baseline", "approve")
    exported = posture("baseline", "export").out
    assert exported.isascii()
    assert name in {one["metadata"]["name"] for one in yaml.safe_load_all(exported)}


def test_nothing_to_list_is_said_aside(surroundings: Path) -> None:
    """Standard output is empty, or an empty list where a program reads it; a person is told on standard error."""
    write(surroundings / "none.json", [guarded("pay")])
    posture("scan", "--from", "none.json")
    for args in ("findings list", "findings list --members", "baseline show", "owners suggest"):
        ran = posture(*args.split())
        assert (ran.out, ran.err.count("\n")) == ("", 1), args
        assert posture(*args.split(), "-o", "json").json == []
        assert posture(*args.split(), "-o", "yaml").out == "[]\n"
        assert posture(*args.split(), "-o", "name").out == ""


# Pipes and files ----------------------------------------------------------------------------------------------------


def piped(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of shell in which `posture` is a command; it ends with posture's own exit code, after a space."""
    line = f'posture() {{ {" ".join(command())} "$@"; echo "code $?" >&2; }}; {line}'
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60, env=os.environ | env
    )


def test_a_reader_may_leave_early(surroundings: Path) -> None:
    """`| head -1`: no complaint, and the gate's answer is the same as if all had been read."""
    many = [role("r", rule("get", "secrets"), namespace="pay")]
    many += [binding(f"b{index}", "Role/r", account("pay", f"s{index}"), namespace="pay") for index in range(2000)]
    write(surroundings / "none.json", [namespace("pay")])
    write(surroundings / "many.json", many)
    ran = piped("posture diff none.json many.json | head -1")

    assert ran.stdout == "loosened: 2,000 changes\n"
    assert "code 1\n" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "error" not in ran.stderr


def test_output_that_cannot_be_written(world: World) -> None:
    """A full disk behind `>`: one sentence, exit code 3, and what was to be stored is stored."""
    ran = piped("posture findings list > /dev/full")
    assert ran.stderr.splitlines()[-1] == "code 3"
    assert "error: cannot write the output: No space left on device\nhint: " in ran.stderr

    ran = piped("posture scan --from agreed.json --cluster small > /dev/full")
    assert ran.stderr.splitlines()[-1] == "code 3"
    assert len(posture("snapshots", "-o", "json").json) == 3
    posture("db", "verify")


def test_closed_output(world: World) -> None:
    """`>&-`: whoever closed it wants none; the exit code stands, and nothing is written into the database."""
    ran = piped("posture diff agreed.json drifted.json >&-; posture scan --from agreed.json --cluster small >&- <&-")

    assert [line for line in ran.stderr.splitlines() if line.startswith("code")] == ["code 1", "code 0"]
    posture("db", "check")
    posture("db", "verify")


def test_an_interrupt(world: World) -> None:
    """SIGINT while it waits for standard input: exit code 130, one line, nothing stored."""
    args = command("scan", "--from", "-")
    with subprocess.Popen(
        args, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no thread runs here
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 30
        while (text := _lock(world)) in ("", None):  # it holds the lock before it reads
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert f'"pid": {running.pid}' in text
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)

    assert (running.returncode, err) == (130, "\nerror: interrupted\n")  # on a line of its own, behind the ^C
    assert len(posture("snapshots", "-o", "json").json) == 2


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and so would what it starts in turn."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _lock(world: World) -> str | None:
    path = world.folder / "posture.db.lock"
    return path.read_text(encoding="utf-8") if path.exists() else None


# Terminals ----------------------------------------------------------------------------------------------------------

SHOWN = ("scan --from drifted.json --cluster small", "findings list", "findings list --members",
         "findings list -o wide", "findings list --members -o wide", "findings list --standing", "snapshots -o wide",
         "baseline show", " ".join(WHO_CAN), "diff agreed.json drifted.json --notes", "owners test owners.yaml",
         "findings show {id}", "findings history {id}", "owners explain {id}",
         "explain access get secrets -n pay --as serviceaccount:pay/api --from drifted.json")  # fmt: skip


@pytest.mark.parametrize("args", SHOWN)
def test_no_line_is_wider_than_the_terminal(world: World, args: str) -> None:
    """At 80 columns and at 40 lines break between words, and all that a wide terminal says is still said."""
    (world.folder / "owners.yaml").write_text("rules: []\n", encoding="utf-8")
    line = args.format(id=world.id("serviceaccount:pay/api")).split()
    everything = terminal(*line, columns=1000, NO_COLOR="1")
    for columns in (80, 40):
        shown = terminal(*line, columns=columns, NO_COLOR="1")
        wide = [each for each in shown.splitlines() if cells(each) > columns]
        assert [each for each in wide if len(each.split()) > 1] == []  # a path that is longer stays whole
        if "…" not in shown:
            assert sorted(_timeless(shown)) == sorted(_timeless(everything))
    if not args.startswith("findings list"):
        assert "…" not in terminal(*line, columns=80)


def _timeless(shown: str) -> list[str]:
    """The words of an output; a scan's seconds and which of several is first may differ."""
    return [word for word in shown.split() if not word.replace(".", "").isdigit()]


def test_groups_are_readable_on_a_narrow_terminal(world: World) -> None:
    """What became possible, whose it is and since when, and through what: three indented parts, none of them cut."""
    shown = terminal("scan", "--from", "drifted.json", "--cluster", "small", columns=80, NO_COLOR="1")

    assert (
        """
HIGH  2 subjects in 2 namespaces: Every Secret of a namespace can be read
      2 owners        just now  """
        in shown
    )
    assert "\n      through RoleBinding " in shown


def test_colours_are_for_terminals(world: World) -> None:
    """Severities are coloured there, unless NO_COLOR says otherwise; never in a pipe."""
    args = ("scan", "--from", "drifted.json", "--cluster", "small")

    assert "\x1b[" in terminal(*args, columns=120)
    assert "\x1b[" not in terminal(*args, columns=120, NO_COLOR="1")
    assert "\x1b[" not in process(*args).out


def test_a_pipe_cuts_nothing(world: World) -> None:
    """Where there is no terminal lines are as long as they are, unless COLUMNS says otherwise."""
    found = posture("findings", "list", "--members").out
    assert "…" not in found
    assert max(map(len, found.splitlines())) > 120

    narrow = process("findings", "list", "--members", env=os.environ | {"COLUMNS": "60"}).out
    assert max(map(len, narrow.splitlines())) <= 60


@pytest.mark.parametrize("command_line", ["scan --from drifted.json --db :memory:", "diff drifted.json drifted.json"])
def test_default_roles_of_another_version_are_said_to_be_assumed(world: World, command_line: str) -> None:
    """Defaults of a version that posture does not know are taken from the nearest; known ones need no word."""
    old, known = (posture(*command_line.split(), "--kubernetes-version", version) for version in ("1.30", "1.34"))

    assert "default roles as in 1.33: those of 1.30 are not among 1.33 to 1.36" in old.err
    assert "not among" not in known.err
