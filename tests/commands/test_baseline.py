"""--baseline in every form, baseline export, and what baseline validate says of a file before it is used."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.commands.running import API, EVE, READER, WEB, Ran, World, agreed, drifted, posture, write
from tests.generator.objects import Object, binding, group, role, rule, user

MEMORY = ("--db", ":memory:")


def scan(world: World, *baselines: Path, objects: Path | None = None) -> Ran:
    """Scan what the cluster became, without any history."""
    flags = [flag for path in baselines for flag in ("--baseline", str(path))]
    return posture("scan", "--from", objects or world.drifted, *flags, *MEMORY, "-o", "json")


def subjects(ran: Ran) -> list[str]:
    return sorted(one["subject"] for one in ran.json["findings"])


# Manifests ----------------------------------------------------------------------------------------------------------


def as_file(folder: Path) -> Path:
    return write(folder / "all.json", agreed())


def as_yaml_folder(folder: Path) -> Path:
    for number, one in enumerate(agreed()):
        path = folder / "git" / str(number % 2) / f"{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(one), encoding="utf-8")
    return folder / "git"


def as_json_folder(folder: Path) -> Path:
    for number, one in enumerate(agreed()):
        write(folder / "git" / f"{number}.json", [one])
    return folder / "git"


def as_documents(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "all.yml"
    path.write_text(yaml.safe_dump_all(agreed()), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", [as_file, as_yaml_folder, as_json_folder, as_documents])
def test_manifests_are_what_was_agreed(world: World, form: Callable[[Path], Path]) -> None:
    """A file or a folder, YAML or JSON: the same cluster is silent, and what it became is drift."""
    path = form(world.folder / "agreed")

    assert subjects(scan(world, path, objects=world.agreed)) == []
    assert subjects(scan(world, path)) == sorted([API, WEB, EVE, READER])


def test_without_one_nothing_is_called_drift(world: World) -> None:
    """The first line says so, what checks find is shown, and how to agree to it, where anything is kept."""
    hint = ", `posture baseline approve` agrees to what is possible today\n"
    ran = posture("scan", "--from", world.drifted, "--db", "fresh.db")
    assert "no baseline yet: nothing is called drift" in ran.out
    assert hint in ran.out

    assert hint not in posture("scan", "--from", world.drifted, *MEMORY).out


def test_an_exported_baseline_agrees_to_itself(world: World) -> None:
    """What is exported, used with --baseline, gives no finding; what came since still does."""
    path = world.folder / "exported.yaml"
    path.write_text(posture("baseline", "export").out, encoding="utf-8")

    assert subjects(scan(world, path, objects=world.agreed)) == []
    assert subjects(scan(world, path)) == sorted([API, WEB, EVE, READER])
    assert posture("diff", "1", path).out == "no difference in what is possible\n"


def test_an_export_holds_what_was_agreed_finding_by_finding(world: World) -> None:
    """Also what `approve --finding` added."""
    posture("baseline", "approve", "--finding", world.id(EVE))
    path = world.folder / "exported.yaml"
    path.write_text(posture("baseline", "export").out, encoding="utf-8")

    assert subjects(scan(world, path)) == sorted([API, WEB, READER])


# Upper bounds -------------------------------------------------------------------------------------------------------


def bound(path: Path, selected: Object, *objects: Object) -> Path:
    """A file that is an upper bound: `{for, objects}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"for": selected, "objects": list(objects)}), encoding="utf-8")
    return path


def reader(*subjects: Object) -> list[Object]:
    """A Role and its binding for whatever namespace is selected."""
    found = [
        role("debug", rule("get,list", "secrets"), namespace="-"),
        binding("d", "Role/debug", *subjects, namespace="-"),
    ]
    for one in found:
        one["metadata"].pop("namespace")
    return found


def test_a_bound_speaks_for_what_it_selects(world: World) -> None:
    """In the namespaces with these labels everything else is drift, and in the others nothing is judged by it."""
    path = bound(
        world.folder / "b.yaml", {"namespaceSelector": {"matchLabels": {"team": "web-team"}}}, *reader(group("pay"))
    )
    assert WEB not in subjects(scan(world, world.agreed, path))

    path = bound(
        world.folder / "b.yaml", {"namespaceSelector": {"matchLabels": {"team": "pay-team"}}}, *reader(group("pay"))
    )
    assert {WEB, API} <= set(subjects(scan(world, world.agreed, path)))


def test_a_bound_is_read_as_the_server_would_read_it(world: World) -> None:
    """apiGroup of subjects and roleRef may be left out, as `kubectl apply` lets one do."""
    debug, given = reader({"kind": "Group", "name": "pay"})
    given["roleRef"].pop("apiGroup")
    path = bound(world.folder / "b.yaml", {"namespaceSelector": {}}, debug, given)

    assert WEB not in subjects(scan(world, world.agreed, path))


def test_a_bound_for_the_cluster(world: World) -> None:
    """`cluster: true` speaks for what is held cluster-wide, and for nothing else."""
    path = bound(world.folder / "b.yaml", {"cluster": True}, binding("r", "ClusterRole/cluster-admin", user("eve")))

    assert subjects(scan(world, world.agreed, path)) == sorted([API, WEB, READER])


def test_a_bound_may_be_json(world: World) -> None:
    """`{"for": …}` in a .json file of the folder is a bound too."""
    content = {"for": {"cluster": True}, "objects": [binding("r", "ClusterRole/cluster-admin", user("eve"))]}
    (world.folder / "bounds").mkdir()
    (world.folder / "bounds" / "a.json").write_text(json.dumps(content), encoding="utf-8")

    assert EVE not in subjects(scan(world, world.agreed, world.folder / "bounds"))


@pytest.mark.parametrize("text", [
    ' {"for": {"cluster": true}, "objects": []}',
    '\n\n{"objects": [], "for": {"cluster": true}}',
    "# for the cluster\n---\n  objects: []\n  for: {cluster: true}\n",
    '---\n{"for": {cluster: true}, objects: []}\n',
    "\ufefffor: {cluster: true}\nobjects: []\n",
])  # fmt: skip
def test_a_bound_is_known_by_its_keys(surroundings: Path, text: str) -> None:
    """However it is laid out: it is never passed over as a manifest of no object."""
    (surroundings / "b.yaml").write_text(text, encoding="utf-8")

    said = posture("baseline", "validate", "b.yaml").out
    assert said == "b.yaml: 0 objects, for what is held cluster-wide\n"


def test_the_word_for_makes_no_bound(world: World) -> None:
    """A manifest may hold it anywhere but among the keys of its root."""
    config = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "x", "annotations": {"for": "x", "y": " for:"}},
    }
    write(world.folder / "git" / "a.json", [*agreed(), config])

    assert subjects(scan(world, world.folder / "git", objects=world.agreed)) == []


def test_flags_go_before_the_configuration(world: World) -> None:
    """`baseline` of the file counts where no flag is given; its paths are relative to the file."""
    (world.folder / "etc").mkdir()
    shutil.copy(world.agreed, world.folder / "etc" / "base.json")
    config = world.folder / "etc" / "config.yaml"
    config.write_text("baseline: [base.json]\n", encoding="utf-8")
    ask = ("scan", "--from", world.drifted, *MEMORY, "-o", "json", "--config", config)

    assert subjects(posture(*ask)) == sorted([API, WEB, EVE, READER])
    assert subjects(posture(*ask, "--baseline", world.drifted)) == []


# Validating ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("selected", "words"), [
    ({"cluster": True}, "what is held cluster-wide"),
    ({"namespaceSelector": {}}, "every namespace"),
    ({"namespaceSelector": {"matchLabels": {"team": "pay", "env": "prod"}}}, "namespaces with env=prod,team=pay"),
    ({"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["dev", "test"]},
                                                 {"key": "tier", "operator": "NotIn", "values": ["core"]},
                                                 {"key": "team", "operator": "Exists"},
                                                 {"key": "legacy", "operator": "DoesNotExist"}]}},
     "namespaces with env in (dev,test),tier notin (core),team,!legacy"),
])  # fmt: skip
def test_validate_says_what_a_bound_speaks_for(surroundings: Path, selected: Object, words: str) -> None:
    """In kubectl's words for selectors."""
    path = bound(surroundings / "b.yaml", selected, role("r", rule()))

    assert posture("baseline", "validate", path).out == f"{path}: 1 object, for {words}\n"


def test_validate_counts_what_is_written(surroundings: Path) -> None:
    """Not the default roles that are assumed; what is odd and yet no error is said on standard error."""
    write(surroundings / "git" / "a.json", agreed())
    write(
        surroundings / "git" / "b.json", [role("config", rule(), namespace="pay"), {"apiVersion": "x/v1", "kind": "X"}]
    )
    ran = posture("baseline", "validate", "git")

    assert ran.out == "2 files of manifests: 6 objects, for the whole cluster\n"
    assert "is also at git/a.json:1, with other content: the last one counts" in ran.err
    assert "1 object of kind X (x/v1) not read" in ran.err


def test_validate_takes_folders_and_files_together(surroundings: Path) -> None:
    """Bounds and manifests, in one folder or named one by one."""
    bound(surroundings / "git" / "b.yaml", {"cluster": True}, role("r", rule()))
    write(surroundings / "git" / "a.json", agreed())
    together = posture("baseline", "validate", "git").out

    assert together == posture("baseline", "validate", "git/a.json", "git/b.yaml").out
    assert len(together.splitlines()) == 2


def test_compressed_manifests_are_scanned(world: World) -> None:
    """`--from` reads what a backup left: .json.gz."""
    path = world.folder / "old" / "all.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps({"kind": "List", "apiVersion": "v1", "items": drifted()}).encode()))

    assert subjects(scan(world, world.agreed, objects=path.parent)) == sorted([API, WEB, EVE, READER])
