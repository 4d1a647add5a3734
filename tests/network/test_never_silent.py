"""Whatever is read and not evaluated is said: as a gap that fails nothing, and as unknown where it would decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.cli import run
from posture.kinds import BY_NAME
from posture.network.gaps import gaps
from posture.network.opaque import OPAQUE
from tests.generator.network import admin_policy, baseline_policy, cluster_policy, network_policy, pod
from tests.generator.objects import Object, namespace, snapshot

WORLD: list[Object] = [
    namespace("pay"),
    pod("pay", "api", {"app": "api"}, ["10.0.0.1"]),
    pod("pay", "db", {"app": "db"}, ["10.0.0.2"]),
    network_policy("pay", "db", podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Ingress"]),
]
ACCEPT = {"name": "out", "action": "Accept"}
FAILS_CLOSED = ("ClusterNetworkPolicy a: a rule has a peer or a port of a kind that is not known, and fails closed: "
                "Accept matches nothing, Deny and Pass deny everything")  # fmt: skip


def posture(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    """Run a command; its exit code and the JSON that it prints."""
    capsys.readouterr()
    code = run([*args, "-o", "json"])
    said = capsys.readouterr()
    assert said.out, said.err
    return code, json.loads(said.out)


def written(folder: Path, name: str, objects: Sequence[Object]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return str(path)


def opaque(resource: str, **spec: Any) -> Object:
    """An object of a kind that is not modelled."""
    kind = BY_NAME[resource]
    where = {"namespace": "pay"} if kind.namespaced else {}
    return {
        "apiVersion": f"{kind.group}/{kind.versions[0]}", "kind": kind.kind, "metadata": {"name": "other", **where},
        "spec": spec,
    }  # fmt: skip


OPEN = {
    "domain names": ([cluster_policy("a", "Admin", 1, egress=[{**ACCEPT, "to": [{"domainNames": ["example.com"]}]}])],
                     "ClusterNetworkPolicy a: which addresses its domainNames have is not known"),
    "nodes": ([cluster_policy("a", "Admin", 1, egress=[{**ACCEPT, "to": [{"nodes": {"matchLabels": {"a": "b"}}}]}])],
              "ClusterNetworkPolicy a: which addresses its nodes have is not known"),
    "equal priorities": (
        [cluster_policy("a", "Baseline", 7), cluster_policy("b", "Baseline", 7), cluster_policy("c", "Admin", 7)],
        ("ClusterNetworkPolicy a and ClusterNetworkPolicy b have priority 7 in the Baseline tier: "
        "which is first is not known")),
    "equal priorities of both versions": (
        [cluster_policy("a", "Admin", 3), admin_policy("b", 3)],
        ("AdminNetworkPolicy b and ClusterNetworkPolicy a have priority 3 in the Admin tier: "
        "which is first is not known")),
}  # fmt: skip


@pytest.mark.parametrize("case", OPEN)
def test_what_policies_leave_open_is_a_gap(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in one sentence; the run judges all the same."""
    objects, sentence = OPEN[case]

    code, report = posture(capsys, "scan", "--db", ":memory:", "--from", written(tmp_path, "a", [*WORLD, *objects]))

    assert code == 0
    assert [(gap["reason"], gap["message"]) for gap in report["gaps"]] == [("not modelled", sentence)]


LATER = {
    "a tier": (cluster_policy("a", "Middle", 1), "ClusterNetworkPolicy a: tier Middle is not known"),
    "a subject": (cluster_policy("a", "Admin", 1, {"machines": {}}),
                  "ClusterNetworkPolicy a: its subject is of a kind that is not known"),
    "a peer": (cluster_policy("a", "Admin", 1, egress=[{**ACCEPT, "to": [{"namespaces": {}}, {"services": {}}]}]),
               FAILS_CLOSED),
    "a peer that is denied": (
        cluster_policy("a", "Admin", 1, ingress=[{**ACCEPT, "action": "Deny", "from": [{"services": {}}]}]),
        FAILS_CLOSED),
    "a protocol": (
        cluster_policy("a", "Admin", 1, egress=[{**ACCEPT, "to": [{"namespaces": {}}], "protocols": [{"gre": {}}]}]),
        FAILS_CLOSED),
}  # fmt: skip


@pytest.mark.parametrize("case", LATER)
def test_what_a_server_of_a_later_version_holds_is_a_gap(case: str) -> None:
    """It has passed a definition that is newer than what is known here: no mistake."""
    one, sentence = LATER[case]

    assert [(gap.reason, gap.message) for gap in gaps(snapshot([*WORLD, one]))] == [("not modelled", sentence)]


@pytest.mark.parametrize("case", LATER)
def test_the_same_in_a_file_is_a_mistake(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The definition of the version that the file names refuses it, so it protects nobody."""
    code, report = posture(capsys, "scan", "--db", ":memory:", "--from",
                           written(tmp_path, "a", [*WORLD, LATER[case][0]]))  # fmt: skip

    assert code == 3
    assert [gap["reason"] for gap in report["gaps"]] == ["failed"]


def test_what_is_all_modelled_has_no_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One policy of each kind, with priorities of their own."""
    objects = [*WORLD, cluster_policy("a", "Admin", 1), admin_policy("b", 2), cluster_policy("c", "Baseline", 1),
               baseline_policy()]  # fmt: skip

    code, report = posture(capsys, "scan", "--db", ":memory:", "--from", written(tmp_path, "a", objects))

    assert (code, report["gaps"]) == (0, [])


@pytest.mark.parametrize("resource", sorted(OPAQUE))
def test_a_policy_of_another_maker_is_seen(resource: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gap says how many there are; what it selects is unknown; and its change is told, beside what is modelled."""
    before = [*WORLD, opaque(resource, endpointSelector={}, order=1)]
    after = deepcopy([*WORLD, opaque(resource, endpointSelector={}, order=2)])
    after[3]["spec"]["ingress"] = [{}]
    paths = written(tmp_path, "a", before), written(tmp_path, "b", after)

    code, report = posture(capsys, "scan", "--db", ":memory:", "--from", paths[0])
    assert code == 0
    assert [(gap["resource"], gap["reason"]) for gap in report["gaps"]] == [(resource, "not modelled")]
    assert report["gaps"][0]["message"].startswith(f"1 {BY_NAME[resource].kind} (")

    code, diff = posture(capsys, "diff", *paths, "--domain", "network")
    assert code == 1, "what is modelled is judged all the same"
    assert [(one["subject"], one["direction"]) for one in diff["changes"]] == [("workload:pay/db[Pod]", "loosened")]
    assert [(one["through"]["kind"], one["gap"]["reason"]) for one in diff["unknown"]] == [
        (BY_NAME[resource].kind, "not modelled")
    ]
    assert "changed: what it decides is not evaluated" in diff["unknown"][0]["gap"]["message"]

    code, diff = posture(capsys, "diff", paths[0], paths[0])
    assert (code, diff["changes"], diff["unknown"]) == (0, [], [])
