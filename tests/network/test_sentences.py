"""What became possible, as a person would say it: in the words of the policy, with who can use it today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from posture import network
from tests.generator.network import network_policy, pod
from tests.generator.objects import Object, namespace, snapshot

API = {"podSelector": {"matchLabels": {"app": "api"}}}
EVERY_NAMESPACE: Object = {"namespaceSelector": {}}
DATABASE = [{"protocol": "TCP", "port": 5432}]
WEB = [{"protocol": "TCP", "port": 443}]


def blocks(cidr: str, *but: str) -> Object:
    """A peer that is addresses."""
    return {"ipBlock": {"cidr": cidr} | ({"except": [*but]} if but else {})}


def on(name: str, *values: str, operator: str = "NotIn") -> Object:
    """A selector of one expression."""
    return {"matchExpressions": [{"key": name, "operator": operator, "values": [*values]}]}


def ingress(peers: Sequence[Object], ports: Sequence[Object] = DATABASE, app: str = "db") -> Object:
    """Who may reach the pods of an app of pay."""
    rule = ({"from": [*peers]} if peers else {}) | ({"ports": [*ports]} if ports else {})
    return network_policy(
        "pay", app, podSelector={"matchLabels": {"app": app}}, policyTypes=["Ingress"], ingress=[rule]
    )


def egress(peers: Sequence[Object], ports: Sequence[Object] = WEB) -> Object:
    """Whom the pods of the database of pay may reach."""
    rule = {"to": [*peers]} | ({"ports": [*ports]} if ports else {})
    return network_policy(
        "pay", "out", podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Egress"], egress=[rule]
    )


def sentences(before: Sequence[Object], after: Sequence[Object], direction: str = "loosened") -> list[str]:
    """What is said of the difference of two clusters that have the same pods and other policies."""
    common = [
        namespace("pay", team="pay"), namespace("web", team="web"), namespace("lab"),
        pod("pay", "db", {"app": "db"}), pod("pay", "api", {"app": "api"}),
        pod("web", "api", {"app": "api"}), pod("web", "front", {"app": "front"}),
    ]  # fmt: skip
    sides: list[Any] = [
        network.evaluate(replace(snapshot([*common, *policies]), settings={"podsByIp": "no"}))
        for policies in (before, after)
    ]
    changes = [change for change in network.compare(*sides).changes if change.direction == direction]
    live = sides[1] if direction == "loosened" else sides[0]
    return [network.sentence(change, None, live) for change in changes]


class Case(NamedTuple):
    before: Sequence[Object]
    after: Sequence[Object]
    said: str


OPEN = "; nothing was closed in return"
CASES = {
    "every namespace, where one was agreed": Case(
        [ingress([API])], [ingress([API, EVERY_NAMESPACE])],
        f"pay/db can now be reached from every pod of every namespace on TCP 5432 (+2 workloads){OPEN}",
    ),
    "every pod of the namespace, where some were agreed": Case(
        [ingress([API])], [ingress([{"podSelector": {}}])],
        f"pay/db can now be reached from every pod of pay on TCP 5432, once there is somebody who can use it{OPEN}",
    ),
    "a namespace more, by its name": Case(
        [ingress([API])],
        [ingress([API, {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}])],
        f"pay/db can now be reached from every pod of web on TCP 5432 (+2 workloads){OPEN}",
    ),
    "a policy that names whom it does not mean": Case(
        [ingress([API])], [ingress([{"namespaceSelector": on("kubernetes.io/metadata.name", "pay", "lab")}, API])],
        f"pay/db can now be reached from every pod of every namespace but lab and pay on TCP 5432 (+2 workloads){OPEN}",
    ),
    "another port of the same peers": Case(
        [ingress([API])], [ingress([API], [*DATABASE, {"protocol": "TCP", "port": 8080}])],
        f"pay/db can now be reached from pods app=api of pay on TCP 8080 (+1 workload){OPEN}",
    ),
    "a port that moved": Case(
        [ingress([API])], [ingress([API], [{"protocol": "TCP", "port": 5433}])],
        "pay/db can now be reached from pods app=api of pay on TCP 5433 (+1 workload)",
    ),
    "isolation lost": Case(
        [ingress([API])], [],
        f"pay/db can now be reached by anyone, anywhere on every port (+3 workloads and the whole Internet){OPEN}",
    ),
    "the Internet, where a network was agreed": Case(
        [egress([blocks("203.0.113.0/24")])], [egress([blocks("0.0.0.0/0")])],
        f"pay/db can now reach 0.0.0.0/0 on TCP 443 (the whole Internet){OPEN}",
    ),
    "the Internet without the metadata address": Case(
        [egress([blocks("203.0.113.0/24")])], [egress([blocks("0.0.0.0/0", "169.254.169.254/32")])],
        f"pay/db can now reach 0.0.0.0/0 but 169.254.169.254/32 on TCP 443 (the whole Internet){OPEN}",
    ),
    "some addresses more": Case(
        [egress([blocks("203.0.113.0/25")])], [egress([blocks("203.0.113.0/24")])],
        f"pay/db can now reach 203.0.113.128/25 on TCP 443 (+128 addresses){OPEN}",
    ),
    "pods that are not there yet": Case(
        [ingress([API], app="new")], [ingress([API, EVERY_NAMESPACE], [], app="new")],
        f"Pods app=new of pay, once there are any, can now be reached from every pod of every namespace on every port"
        f"{OPEN}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_loosening_reads_as_a_person_would_say_it(case: Case) -> None:
    """Exactly one change, and exactly this sentence."""
    assert sentences(case.before, case.after) == [case.said]


def test_a_tightening_says_exactly_what_is_gone() -> None:
    """What stays allowed is not among it."""
    (said,) = sentences([ingress([API, EVERY_NAMESPACE])], [ingress([API])], "tightened")

    whom = "every pod of every namespace but pay and pods app notin (api) of pay"
    assert said == f"pay/db can no longer be reached from {whom} on TCP 5432"
