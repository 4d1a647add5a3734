"""posture explain path: as people and programs ask it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import posture, write
from tests.generator.network import deployment
from tests.generator.objects import Object, account, binding, namespace, role, rule, user
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
    """Its ends as people name them, then a line for each step, for 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    assert posture(*PATH, "--source", "lab/job", "--sink", "secrets/kube-system", "--from", "c").out == (
        "Deployment lab/job → secrets/kube-system\n"
        "  1  Deployment lab/job runs as ServiceAccount lab/idle\n"
        "  2  ServiceAccount lab/idle can read every Secret of kube-system, through Role\n"
        "     kube-system/vault, and so reads the Secrets of kube-system (read-secrets)\n"
    )


def test_no_path(folder: Path) -> None:
    """It is said, and is no error."""
    ran = posture(*PATH, "--source", "lab/job", "--sink", "cluster-admin", "--from", "c")

    assert ran.out == "no: no path was found from Deployment lab/job to cluster-admin\n"
    assert ask("--source", "lab/job", "--sink", "cluster-admin") == {"allowed": False, "paths": [], "doubts": []}
    for flags, what in ((["--source", "user:nobody"], "from User nobody to any target"),
                        (["--sink", "namespace-admin/lab"], "to namespace-admin/lab")):  # fmt: skip
        (folder / "none").mkdir(exist_ok=True)
        write(folder / "none" / "a.json", [namespace("lab")])
        assert posture(*PATH, *flags, "--from", "none").out == f"no: no path was found {what}\n"


def test_paths_as_json(folder: Path) -> None:
    """The contract: source, sink and edges, each with what it needs and a text."""
    said = ask("--source", "serviceaccount:lab/idle", "--sink", "secrets/kube-system")
    (found,) = said.pop("paths")
    assert said == {"allowed": True, "doubts": []}
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
    assert "     also from ServiceAccount lab/idle\n" in posture(*PATH, "--all", "--from", "c").out


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
        "Deployment lab/job reaches secrets/kube-system and cloud/node",
        "  becomes 1 ServiceAccount: lab/idle",
        "  may talk to 1 workload of other namespaces: Deployment pay/web",
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
    (doubt,) = ask(*none, code=3).pop("doubts")
    assert doubt.startswith("roles.rbac.authorization.k8s.io in pay: failed, c/b.json:1: Role pay/r: ")
    assert ask(*none, code=3) == {"allowed": None, "paths": [], "doubts": [doubt]}
    assert posture(*PATH, *none, "--cut", "--from", "c", code=3).out.startswith("# unknown: no path was found")
    assert ask(*none, "--cut", code=3)["cut"]["open"] is None
    assert posture(*PATH, "--source", "user:nobody", "--from", "c", code=3).out.startswith("unknown: no path was found")
    assert "reaches no target that was found" in posture(*PATH, "--blast", "user:nobody", "--from", "c", code=3).out
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
    (["--blast", "serviceaccount:pay/wob"], "there is no ServiceAccount pay/wob; near to it: serviceaccount:pay/web"),
    (["--batch", "q"], "line 1: a question has a source and a sink"),
    (["--batch", "nobody"], "line 2: there is no workload pay/wbe; near to it: pay/web"),
    (["--batch", "q", "-o", "dot"], "--batch answers in JSON"),
])  # fmt: skip
def test_what_is_no_question(folder: Path, flags: list[str], said: str) -> None:
    """It is said in a sentence, and ends with 2."""
    (folder / "q").write_text('{"source": "outside"}', encoding="utf-8")
    (folder / "nobody").write_text('\n{"source": "pay/wbe", "sink": "node"}', encoding="utf-8")

    assert said in posture(*PATH, *flags, "--from", "c", code=2).err


def test_a_user_whom_no_grant_names_is_answered_with_near_names(folder: Path) -> None:
    """Only who authenticates them knows them, so it is no error; a slip of the pen is no silent `no` either."""
    write(folder / "c" / "b.json", [binding("devs", "ClusterRole/view", user("anna"))])
    asked = ("--source", "user:ana", "--sink", "cluster-admin")
    (folder / "q").write_text(json.dumps({"source": "user:ana", "sink": "cluster-admin"}), encoding="utf-8")

    assert "no grant names user:ana; near to it: user:anna\n" in posture(*PATH, *asked, "--from", "c").err
    assert posture(*PATH, "--batch", "q", "--from", "c").json["why"] == "no grant names user:ana; near to it: user:anna"
    assert "no grant" not in posture(*PATH, "--source", "group:system:authenticated", "--from", "c").err


@pytest.mark.parametrize(("kind", "placed", "allowed"), [
    ("DaemonSet", {}, True), ("DaemonSet", {"nodeSelector": {"disk": "ssd"}}, None), ("Deployment", {}, None),
])  # fmt: skip
def test_in_a_folder_a_privileged_workload_may_be_on_any_node(
    folder: Path, kind: str, placed: dict[str, Any], allowed: bool | None
) -> None:
    """A DaemonSet is on every one; of others no file says on which they run, so what else is there is unknown."""
    one = deployment("lab", "agent", {"app": "agent"}, **placed) | {"kind": kind}
    one["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    write(folder / "c" / "b.json", [one])
    flags = ("--source", "lab/agent", "--sink", "cluster-admin")
    (folder / "q").write_text(json.dumps({"source": "lab/agent", "sink": "cluster-admin"}), encoding="utf-8")
    code = 0 if allowed else 3

    assert ask(*flags, code=code)["allowed"] is allowed
    assert posture(*PATH, "--batch", "q", "--from", "c").json["allowed"] is allowed
    out = posture(*PATH, *flags, "--from", "c", code=code).out
    if allowed:
        assert "DaemonSet lab/agent has the root of every node, by a privileged container\n" in out
        assert "every node includes" not in posture(*PATH, *flags[:3], "node", "--from", "c").out
    else:
        assert out == (
            f"unknown: no path was found from {kind} lab/agent to cluster-admin; {kind} lab/agent has the root of its "
            "node, and on which nodes its pods run is not in a folder\n"
        )
        assert "; there may be more" in posture(*PATH, "--blast", "lab/agent", "--from", "c").err


def test_the_secrets_of_a_namespace_are_lost_as_well(folder: Path) -> None:
    """What is asked is what a leak costs: every namespace whose Secrets are read. Who has all is told no part of it."""
    write(folder / "c" / "b.json", [
        role("keys", rule("list", "secrets")), binding("keys", "ClusterRole/keys", user("ann"), namespace="lab"),
        binding("keys2", "ClusterRole/keys", user("ann"), namespace="pay"),
    ])  # fmt: skip

    ann = posture(*PATH, "--blast", "user:ann", "--from", "c").out
    assert "\n  reads every Secret of 2 namespaces: lab and pay\n" in ann
    assert "\nUser ann → secrets/lab\n" in ann
    sinks = {one["sink"] for one in ask("--blast", "user:ann")["paths"]}
    assert sinks == {"secrets/lab", "secrets/pay"}
    everything = posture(*PATH, "--blast", "pay/web", "--from", "c").out
    assert "\n  can run pods in" not in everything


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
    for given in (("--config", "config.yaml"), ("--checks", "own")):
        out = posture(*PATH, "--source", "lab/job", "--sink", "cluster-admin", "--from", "c", *given).out
        assert "can have Acme run anything in lab, through Role lab/runs, and so gets cluster-admin (acme-runs)" in out
