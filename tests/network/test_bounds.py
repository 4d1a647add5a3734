"""The template for connections: an upper bound that a cluster can keep to, and that names exactly the excess."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.cli import run
from tests.generator.network import network_policy
from tests.generator.objects import Object, account, binding, guarded, namespace, role, rule

TEMPLATE = Path(__file__).parents[2] / "baselines" / "network-template.yaml"
type Scan = Callable[[Sequence[Object]], dict[tuple[str, str], set[tuple[str, ...]]]]


def deployment(where: str, name: str, *ports: Object) -> Object:
    """A Deployment whose pods have its name as their label."""
    labels = {"app": name}
    spec = {"containers": [{"name": "main", "image": "example/main", "ports": list(ports)}]}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": where},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip


METRICS = {"name": "metrics", "containerPort": 9090}
SPACES = [guarded("pay", team="pay"), namespace("kube-system"), guarded("monitoring")]


def kept() -> list[Object]:
    """A namespace with exactly the policies of the template."""
    found = [*SPACES, deployment("pay", "api", METRICS), deployment("pay", "db")]
    for one in deepcopy(yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["objects"]):
        one["metadata"]["namespace"] = "pay"
        found.append(one)
    return found


@pytest.fixture
def scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scan:
    """{(subject, through): {(direction, peer, ports)}} of what exceeds the template."""

    def scanned(objects: Sequence[Object]) -> dict[tuple[str, str], set[tuple[str, ...]]]:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        capsys.readouterr()
        code = run(["scan", "--db", ":memory:", "--from", str(path), "--baseline", str(TEMPLATE), "-o", "json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        found: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        for one in json.loads(said.out)["findings"]:
            gained: list[dict[str, Any]] = one["gained"]
            place = one["subject"], "/".join(part for part in one["through"].values() if part)
            found[place] = {tuple(unit.values()) for unit in gained}
        return found

    return scanned


def test_a_namespace_that_keeps_to_it_has_no_finding(scan: Scan) -> None:
    """Neither by what differs nor by a check: everything is agreed."""
    assert scan(kept()) == {}


def test_whoever_is_tighter_has_no_finding(scan: Scan) -> None:
    """A bound is an upper one: one policy that says less than all of them together."""
    closed = network_policy("pay", "closed", podSelector={}, policyTypes=["Ingress", "Egress"],
                            ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}])  # fmt: skip

    assert scan([*SPACES, deployment("pay", "api"), deployment("pay", "db"), closed]) == {}


def test_exactly_what_exceeds_it_is_found(scan: Scan) -> None:
    """One rule too wide: the part of it that is too wide, and nothing of the rest."""
    wide = network_policy("pay", "wide", podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Egress"], egress=[
        {"to": [{"ipBlock": {"cidr": "8.8.8.0/24"}}], "ports": [{"port": 443}, {"port": 8443}]},
    ])  # fmt: skip

    assert scan([*kept(), wide]) == {
        ("workload:pay/db[Deployment]", "NetworkPolicy/pay/wide"): {("egress", "external:8.8.8.0/24", "TCP 8443")}
    }


def test_a_namespace_without_policies_is_open(scan: Scan) -> None:
    """Both directions of each workload exceed the bound, through nothing that one could name."""
    found = scan([*SPACES, deployment("pay", "api")])

    assert {through for _, through in found} == {"NonIsolated/pay/ingress", "NonIsolated/pay/egress"}


def test_it_says_nothing_of_roles(scan: Scan) -> None:
    """A file that holds policies only bounds no grants: checks speak of these as without it."""
    grant = [role("all", rule("list", "secrets"), namespace="pay"),
             binding("all", "Role/all", account("pay", "app"), namespace="pay")]  # fmt: skip

    assert [*scan([*kept(), *grant])] == [("serviceaccount:pay/app", "Role/pay/all")]


def test_where_it_does_not_speak_checks_do(scan: Scan) -> None:
    """A namespace that names no team is not selected: there the checks say what deserves a look."""
    found = scan([*kept(), guarded("lab"), deployment("lab", "tool")])

    assert {subject for subject, _ in found} == {"namespace:lab"}
