"""One widened connection is exactly that change, with the object that made it, and a way back that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from posture import network
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs
from posture.kinds import manifest
from posture.model import Finding, Snapshot
from posture.pipeline import History, Rules, diff, judge
from tests.generator.network import cluster_policy, deployment, network_policy, port
from tests.generator.objects import Object, namespace
from tests.network.clusters import snapshot

NOW = "2026-11-20T12:00:00Z"
API, DB = {"app": "api"}, {"app": "db"}
PAY = {"matchLabels": {"kubernetes.io/metadata.name": "pay"}}


def pods(selector: Object, spaces: Object | None = None) -> Object:
    """A peer."""
    return {"podSelector": selector} | ({} if spaces is None else {"namespaceSelector": spaces})


def of(labels: dict[str, str]) -> Object:
    """A selector of labels."""
    return {"matchLabels": labels}


def none_of(key: str, value: str) -> Object:
    """A selector of what has not this value."""
    return {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}


def db_policy(*rules: Object, name: str = "db", selector: Object | None = None, **more: Any) -> Object:
    """The policy of the database."""
    chosen = of(DB) if selector is None else selector
    return network_policy("pay", name, podSelector=chosen, **({"policyTypes": ["Ingress"]} | more), ingress=list(rules))


RULE = {"from": [pods(of(API))], "ports": [{"port": 5432}]}
NAMED = {"from": [pods(of(API))], "ports": [{"port": "sql"}]}


def world(*policies: Object, db: Object | None = None, api: Object | None = None, **labels: str) -> list[Object]:
    """Namespaces pay (an API and its database) and web (a site)."""
    return [
        namespace("pay", team="pay"),
        namespace("web", **({"team": "web"} | labels)),
        api or deployment("pay", "api", API),
        db or deployment("pay", "db", DB, [port(5432, "sql"), port(9187, "metrics")]),
        deployment("web", "site", {"app": "site"}),
        *policies,
    ]


DENY = cluster_policy("deny", "Admin", 10, {"pods": pods(of(DB), PAY)},
                      ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}])  # fmt: skip


def cluster(priority: int, action: str) -> Object:
    """A policy of the cluster that lets the web namespace in, or not."""
    peers = [{"namespaces": {"matchLabels": {"team": "web"}}}]
    rule = {"action": action, "from": peers, "protocols": [{"tcp": {"destinationPort": {"number": 5432}}}]}
    return cluster_policy("web", "Admin", priority, {"pods": pods(of(DB), PAY)}, ingress=[rule])


EVERYONE: list[Object] = [{"cidrs": ["0.0.0.0/0", "::/0"]}, {"namespaceSelector": {}, "podSelector": {}}]
PORT = [{"protocol": "TCP", "port": 5432}]
DATABASE = "workload:pay/db[Deployment]"


@dataclass(frozen=True)
class Case:
    """Two states, and what is said of their difference: subject, through, peers and ports, causes."""

    name: str
    before: list[Object]
    after: list[Object]
    through: str
    peers: Sequence[Object]
    cause: str
    ports: Sequence[Object] = ()
    subject: str = DATABASE
    effective: bool = True
    fix: bool = True
    growth: bool = False


def peer(pod: Object, spaces: Object | None = None) -> Object:
    """A peer as a unit says it."""
    return {"namespaceSelector": PAY if spaces is None else spaces, "podSelector": pod}


WHOLE = {"cidrs": ["10.0.0.0/8"]}
CASES = (
    Case("a port more", world(db_policy(RULE)),
         world(db_policy({**RULE, "ports": [{"port": 5432}, {"port": 9187}]})),
         "NetworkPolicy/pay/db", [peer(of(API))], "NetworkPolicy pay/db changed", [{"protocol": "TCP", "port": 9187}]),
    Case("the dash: AND becomes OR", world(db_policy({"from": [pods(of(API), PAY)]})),
         world(db_policy({"from": [{"namespaceSelector": {"matchLabels": {"team": "web"}}}, pods(of(API))]})),
         "NetworkPolicy/pay/db", [peer({}, {"matchLabels": {"team": "web"}})], "NetworkPolicy pay/db changed"),
    Case("the last item of from removed", world(db_policy(RULE)), world(db_policy({**RULE, "from": []})),
         "NetworkPolicy/pay/db",
         [EVERYONE[0], peer({}, none_of("kubernetes.io/metadata.name", "pay")), peer(none_of("app", "api"))],
         "NetworkPolicy pay/db changed", PORT),
    Case("a policy deleted: isolation lost", world(db_policy()), world(), "NonIsolated/pay/ingress", EVERYONE,
         "NetworkPolicy pay/db deleted"),
    Case("podSelector narrowed", world(db_policy()),
         world(db_policy(selector=of({**DB, "tier": "back"}))), "NonIsolated/pay/ingress", EVERYONE,
         "NetworkPolicy pay/db changed"),
    Case("policyTypes changed", world(db_policy()), world(db_policy(policyTypes=["Egress"])),
         "NonIsolated/pay/ingress", EVERYONE, "NetworkPolicy pay/db changed"),
    Case("a pod's label", world(db_policy(RULE, name="one"), db_policy(name="all", selector={})),
         world(db_policy(RULE, name="one"), db_policy(name="all", selector={}),
               api=deployment("pay", "api", {"app": "db"})),
         "NetworkPolicy/pay/one", [peer(of(API))], "Deployment pay/api changed", PORT,
         subject="workload:pay/api[Deployment]", effective=False),
    Case("a namespace's label", world(db_policy({"from": [pods({}, {"matchLabels": {"team": "pay"}})]})),
         world(db_policy({"from": [pods({}, {"matchLabels": {"team": "pay"}})]}), team="pay"),
         "NetworkPolicy/pay/db", [peer({}, {"matchLabels": {"kubernetes.io/metadata.name": "web"}})],
         "Namespace web changed"),
    Case("a container port renamed", world(db_policy(NAMED)),
         world(db_policy(NAMED), db=deployment("pay", "db", DB, [port(5432), port(9187, "sql")])),
         "NetworkPolicy/pay/db", [peer(of(API))], "Deployment pay/db changed", [{"protocol": "TCP", "port": 9187}]),
    Case("a new workload", world(db_policy(RULE)),
         [*world(db_policy(RULE)), deployment("pay", "cache", {"app": "cache"})],
         "NonIsolated/pay/ingress", EVERYONE, "Deployment pay/cache created", subject="workload:pay/cache[Deployment]",
         growth=True),
    Case("a cluster policy's priority", world(DENY, cluster(20, "Accept")), world(DENY, cluster(5, "Accept")),
         "ClusterNetworkPolicy/web", [peer({}, {"matchLabels": {"team": "web"}})],
         "ClusterNetworkPolicy web changed", PORT),
    Case("a cluster policy's action", world(DENY, cluster(5, "Deny")), world(DENY, cluster(5, "Accept")),
         "ClusterNetworkPolicy/web", [peer({}, {"matchLabels": {"team": "web"}})],
         "ClusterNetworkPolicy web changed", PORT),
    Case("a cluster policy deleted", world(db_policy(RULE), DENY), world(db_policy(RULE)), "NetworkPolicy/pay/db",
         [peer(of(API))], "ClusterNetworkPolicy deny deleted", PORT),
    Case("except removed",
         world(db_policy({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]})),
         world(db_policy({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]})), "NetworkPolicy/pay/db",
         [{"cidrs": ["10.1.0.0/16"]}], "NetworkPolicy pay/db changed"),
    Case("ingress [] becomes [{}]", world(db_policy()), world(db_policy({})), "NetworkPolicy/pay/db", EVERYONE,
         "NetworkPolicy pay/db changed"),
    Case("opened to nobody yet", world(db_policy(RULE)),
         world(db_policy(RULE, {"from": [pods(of({"app": "ghost"}))], "ports": [{"port": 22}]})),
         "NetworkPolicy/pay/db", [peer(of({"app": "ghost"}))], "NetworkPolicy pay/db changed",
         [{"protocol": "TCP", "port": 22}], effective=False),
)  # fmt: skip


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The shipped checks; nobody owns anything."""
    return Inputs(Config()).rules


def caused(cause: Any) -> str:
    """A cause in words."""
    return f"{network.named(cause.key)} {cause.what}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_change_has_its_cause(case: Case) -> None:
    """Exactly one loosening, of this subject, through this thing, with these units and this cause."""
    found = diff(snapshot(case.before), snapshot(case.after), rules(), lambda _: (), network.NAME)
    opened = [one for one in found.differences if one.change.direction == "loosened"
              and (one.change.subject, str(one.change.through)) == (case.subject, case.through)]  # fmt: skip
    others = {one.change.subject for one in found.differences if one.change.direction == "loosened"}
    (one,) = opened

    assert [unit["peer"] for unit in one.change.gained if unit["direction"] == "ingress"] == case.peers
    assert all(unit["ports"] == [*case.ports] for unit in one.change.gained if unit["direction"] == "ingress")
    assert [*map(caused, one.causes)] == [case.cause]
    assert one.change.effective is case.effective
    assert others - {case.subject, "namespace:pay"} == set()


def drift(objects: Sequence[Object], agreed: Snapshot) -> dict[tuple[str, str, str], Finding]:
    """The network findings of a first run."""
    found = judge(snapshot(objects), Agreed((agreed,), (), ()), History(), rules(), NOW).outcome.findings.values()
    return {(one.subject, one.scope, str(one.through)): one for one in found if one.domain == network.NAME}


def _place(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace") or "", one["metadata"]["name"]


@pytest.mark.parametrize("case", [case for case in CASES if not case.growth], ids=lambda case: case.name)
def test_its_fix_makes_the_finding_vanish(case: Case) -> None:
    """Judged against the state before; applied to the objects, the finding is gone and nothing else is open."""
    agreed = snapshot(case.before)
    found = drift(case.after, agreed)
    finding = found[case.subject, "pay", case.through]
    assert [*map(caused, finding.causes)] == [case.cause]
    assert finding.fix is not None, finding.no_fix
    assert all((edit.patch is not None) == (edit.key.resource == "deployments.apps") for edit in finding.fix.edits)
    edited = [manifest(edit.key, edit.new) for edit in finding.fix.edits if edit.new is not None]
    gone = {(edit.key.namespace, edit.key.name) for edit in finding.fix.edits if edit.new is None}
    kept = [one for one in case.after if _place(one) not in {_place(other) for other in edited}
            and _place(one)[1:] not in gone]  # fmt: skip
    left = drift([*kept, *edited], agreed)

    assert (case.subject, "pay", case.through) not in left
    assert left.keys() <= found.keys()
