"""posture explain path: as people and programs ask it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import posture, write
from tests.generator.objects import Object, account, binding, role, rule
from tests.graph.scene import open_shop

PATH = ("explain", "path")
VAULT = [
    role("vault", rule("get,list", "secrets"), namespace="kube-system"),
    binding("vault", "Role/vault", account("lab", "idle"), namespace="kube-system"),
]


@pytest.fixture
def folder(surroundings: Path) -> Path:
    """A folder with the shop, and a job that reads the Secrets of kube-system."""
    write(surroundings / "c" / "a.json", [*open_shop(), *VAULT])
    return surroundings


def broken() -> Object:
    """A Role that cannot be read: a gap, where a grant may be."""
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": "pay"},
            "rules": 5}  # fmt: skip


def ask(*args: str, code: int = 0) -> Any:
    """One question to the folder; the answer as JSON."""
    return posture(*PATH, *args, "--from", "c", "-o", "json", code=code).json


def test_a_path_is_shown_as_a_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ends by their exact names, then a line for each step, for 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert posture(*PATH, "--source", "lab/job", "--sink", "secrets/kube-system", "--from", "c").out == (
        "workload:lab/job[Deployment] → secrets/kube-system\n"
        "  1  Deployment lab/job runs as ServiceAccount lab/idle\n"
        "  2  ServiceAccount lab/idle can read every Secret of kube-system, through Role\n"
        "     kube-system/vault, and so reads the Secrets of kube-system (read-secrets)\n"
    )


def test_no_path(folder: Path) -> None:
    """It is said, and is no error."""
    ran = posture(*PATH, "--source", "lab/job", "--sink", "cluster-admin", "--from", "c")

    assert ran.out == "no: no path was found, workload:lab/job[Deployment] → cluster-admin\n"
    assert ask("--source", "lab/job", "--sink", "cluster-admin") == {"paths": []}


def test_paths_as_json(folder: Path) -> None:
    """The contract: source, sink and edges, each with what it needs and a text."""
    ((found,),) = ask("--source", "serviceaccount:lab/idle", "--sink", "secrets/kube-system").values()
    holds, effect = found["edges"]

    assert (found["source"], found["sink"]) == ("serviceaccount:lab/idle", "secrets/kube-system")
    assert (holds["from"], holds["to"], holds["rule"]) == (
        ["serviceaccount:lab/idle"], "can:read-secrets@kube-system", "holds")  # fmt: skip
    assert holds["needs"] == [[{
        "domain": "rbac", "subject": "serviceaccount:lab/idle", "scope": "kube-system",
        "kind": "Role", "namespace": "kube-system", "name": "vault",
    }]]  # fmt: skip
    assert effect == {
        "from": ["can:read-secrets@kube-system"], "to": "secrets/kube-system", "rule": "read-secrets", "needs": [],
        "text": "whoever can read every Secret of kube-system reads the Secrets of kube-system (read-secrets)",
    }  # fmt: skip


@pytest.mark.parametrize(("flags", "ends"), [
    (["--source", "lab/job"], {("workload:lab/job[Deployment]", "secrets/kube-system"),
                               ("workload:lab/job[Deployment]", "cloud/node")}),
    (["--sink", "secrets/kube-system", "--source", "user:nobody"], set()),
    (["--source", "user:nobody"], set()),
])  # fmt: skip
def test_paths_of_one_source(folder: Path, flags: list[str], ends: set[tuple[str, str]]) -> None:
    """Every target without a sink; a user whom no grant names reaches what everybody does."""
    assert {(one["source"], one["sink"]) for one in ask(*flags)["paths"]} == ends


def test_all_paths(folder: Path) -> None:
    """Everybody to every target, or to one, the gravest first; who does the same is counted."""
    every, to_vault = ask("--all")["paths"], ask("--sink", "secrets/kube-system")["paths"]

    assert (every[0]["source"], every[0]["sink"]) == ("outside", "cluster-admin")
    assert {one["sink"] for one in to_vault} == {"secrets/kube-system"}
    job = next(one for one in to_vault if one["source"] == "workload:lab/job[Deployment]")
    assert job["alike"] == {"count": 1, "first": ["serviceaccount:lab/idle"]}
    assert "     also from serviceaccount:lab/idle\n" in posture(*PATH, "--all", "--from", "c").out


def test_paths_as_a_drawing(folder: Path) -> None:
    """Graphviz text, of one path or of all."""
    one = posture(*PATH, "--source", "lab/job", "--sink", "secrets/kube-system", "-o", "dot", "--from", "c").out
    every = posture(*PATH, "--all", "-o", "dot", "--from", "c").out

    assert one.startswith("digraph posture {\n  rankdir=LR;\n")
    assert 'label="Deployment lab/job"' in one
    assert one.count(" -> ") == 3
    assert every.count(" -> ") > 3


def test_what_is_lost_with_a_workload(folder: Path) -> None:
    """In numbers and names, then the paths."""
    ran = posture(*PATH, "--blast", "lab/job", "--from", "c")

    assert ran.out.splitlines()[:3] == [
        "workload:lab/job[Deployment] reaches secrets/kube-system and cloud/node",
        "  becomes 1 serviceaccount: serviceaccount:lab/idle",
        "  may talk to 1 workload of other namespaces: workload:pay/web[Deployment]",
    ]
    found = posture(*PATH, "--blast", "pay/web", "--from", "c", "-o", "json").json
    assert (found["everything"], found["identities"]) == (True, {})
    assert found["namespaces"] == {"count": 3, "first": ["kube-system", "lab", "pay"]}
    assert [one["sink"] for one in found["paths"]] == ["cluster-admin"]


def test_questions_in_bulk(folder: Path) -> None:
    """One answer a line, in order: the edges of the shortest path."""
    questions = [{"source": "lab/job", "sink": "secrets/kube-system"}, {"source": "lab/job", "sink": "cluster-admin"},
                 {"source": "outside", "sink": "workload:pay/web[Deployment]"}]  # fmt: skip
    (folder / "q").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    answers = [json.loads(line) for line in posture(*PATH, "--batch", "q", "--from", "c").out.splitlines()]

    assert [one["allowed"] for one in answers] == [True, False, True]
    assert [[edge["rule"] for edge in one["by"]] for one in answers] == [
        ["runs-as", "holds", "read-secrets"], [], ["exposed-to-outside"]]  # fmt: skip


def test_a_gap_may_hide_a_path(folder: Path) -> None:
    """No path is unknown then, and lists end with 3; a path that was found stands."""
    write(folder / "c" / "b.json", [broken()])
    none = ("--source", "lab/job", "--sink", "cluster-admin")
    (folder / "q").write_text(json.dumps({"source": "lab/job", "sink": "cluster-admin"}), encoding="utf-8")

    assert posture(*PATH, *none, "--from", "c", code=3).out.startswith("unknown: no path was found")
    assert ask(*none, code=3) == {"paths": []}
    assert posture(*PATH, "--batch", "q", "--from", "c").json["allowed"] is None
    assert len(ask("--source", "lab/job", "--sink", "secrets/kube-system")["paths"]) == 1
    for flags in (["--all"], ["--source", "lab/job"], ["--blast", "lab/job"]):
        assert "there may be more" in posture(*PATH, *flags, "--from", "c", code=3).err


@pytest.mark.parametrize(("flags", "said"), [
    ([], "--source, --sink, --all or --blast is needed"),
    (["--all", "--blast", "pay/web"], "questions of their own"),
    (["--all", "--sink", "node"], "questions of their own"),
    (["--batch", "q", "--all"], "--batch brings its own questions"),
    (["--source", "pay/wbe", "--sink", "node"], "there is no workload pay/wbe; near to it: pay/web"),
    (["--source", "pay/web", "--sink", "cluster-admn"], "there is no target cluster-admn; near to it: cluster-admin"),
    (["--blast", "serviceaccount:pay/wob"], "there is no ServiceAccount serviceaccount:pay/wob; near to it: "),
    (["--batch", "q"], "line 1: a question has a source and a sink"),
])  # fmt: skip
def test_what_is_no_question(folder: Path, flags: list[str], said: str) -> None:
    """It is said in a sentence, and ends with 2."""
    (folder / "q").write_text('{"source": "outside"}', encoding="utf-8")

    assert said in posture(*PATH, *flags, "--from", "c", code=2).err


def test_own_escalations_count(folder: Path) -> None:
    """What a user adds for a controller of his own is a step as any other."""
    (folder / "own").mkdir()
    (folder / "own" / "acme-runs.yaml").write_text(
        "id: acme-runs\ndomain: graph\ntitle: Have Acme run anything\n"
        "requests: [{any: [{verbs: [create], apiGroups: [acme.example], resources: [runs]}]}]\n"
        "effect: {reach: [cluster-admin]}\nwhy: Its controller obeys.\nremedy: Grant it to nobody.\n"
        "references: ['https://acme.example/']\n", encoding="utf-8")  # fmt: skip
    (folder / "config.yaml").write_text("checks: [own]\n", encoding="utf-8")
    write(folder / "c" / "b.json", [
        role("runs", rule("create", "runs", groups="acme.example"), namespace="lab"),
        binding("runs", "Role/runs", account("lab", "idle"), namespace="lab"),
    ])  # fmt: skip
    out = posture(*PATH, "--source", "lab/job", "--sink", "cluster-admin", "--from", "c", "--config", "config.yaml").out

    assert "can have Acme run anything in lab, through Role lab/runs, and so gets cluster-admin (acme-runs)" in out
