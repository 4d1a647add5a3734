"""ClusterNetworkPolicy: the verdict tables of its conformance tests, asked of the engine and the brute-force reading.

Source: conformance/tests and conformance/base of kubernetes-sigs/network-policy-api at v1alpha2; a table has the short
name of its test there, without the tier. What is tested there for one tier, direction or protocol is asked here for
all that have it, and of AdminNetworkPolicy and BaselineAdminNetworkPolicy v1alpha1 as well. v1beta1 says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pytest

from posture.network import flow
from tests.generator.network import admin_policy, baseline_policy, cluster_policy, network_policy, pod, port
from tests.generator.objects import Object, namespace
from tests.network.clusters import evaluated
from tests.oracles.network import Question, answer

type Tier = Literal["Admin", "Baseline"]
type Version = Literal["v1alpha2", "v1alpha1"]
type Direction = Literal["egress", "ingress"]

# The cluster --------------------------------------------------------------------------------------------------------

HOUSES = ("gryffindor", "slytherin", "hufflepuff", "ravenclaw")
NODE, OTHER_NODE = "192.168.0.10", "192.168.0.11"
PORTS = [port(80, "web"), port(8080, "web-alt"), port(53, "dns", "UDP"), port(5353, "dns-alt", "UDP")]
CENTAUR = "forest/0"
"""A pod on the host network of a node where no other pod runs."""


def house_pods(number: int, house: str) -> list[Object]:
    """The two pods of a house; each has its own name as a label, as pods of a StatefulSet have."""
    return [
        pod(house, str(at), {"house": house, "pod": f"{house}-{at}"}, [f"10.244.{number}.{at}"], [NODE], PORTS)
        for at in (0, 1)
    ]


WORLD: list[Object] = [
    *(namespace(house, house=house) for house in HOUSES),
    *(one for number, house in enumerate(HOUSES) for one in house_pods(number, house)),
    namespace("forest"),
    pod("forest", "0", {}, [OTHER_NODE], [OTHER_NODE], hostNetwork=True),
]


def house(name: str) -> Object:
    """All pods of a house, by its namespace."""
    return {"namespaces": {"matchLabels": {"house": name}}}


def pods(labels: Mapping[str, str], **namespaces: str) -> Object:
    """Pods by their labels; without labels of namespaces the field is not there, which is all of them."""
    selector: Object = {"podSelector": {"matchLabels": labels}}
    return {"pods": selector | ({"namespaceSelector": {"matchLabels": namespaces}} if namespaces else {})}


# Policies, as all versions have them --------------------------------------------------------------------------------


class Rule(NamedTuple):
    """A rule; `traffic` are ports such as `TCP 80`, `UDP 53-5353` and `web`, a port's name; without any, everything."""

    action: Literal["Accept", "Deny", "Pass"]
    peers: list[Object]
    traffic: tuple[str, ...] = ()


class Policy(NamedTuple):
    """A policy; without a tier, of the one that is asked about."""

    rules: tuple[Rule, ...]
    subject: Object = house("gryffindor")
    priority: int = 10
    tier: Tier | None = None


def accept(peer: Object, *traffic: str) -> Rule:
    return Rule("Accept", [peer], traffic)


def deny(peer: Object, *traffic: str) -> Rule:
    return Rule("Deny", [peer], traffic)


def passing(peer: Object, *traffic: str) -> Rule:
    return Rule("Pass", [peer], traffic)


def numbers(text: str) -> tuple[str, int, int]:
    """`TCP 80-90` as protocol, first and last port."""
    protocol, _, found = text.partition(" ")
    first, _, last = found.partition("-")
    return protocol, int(first), int(last or first)


def protocol_of(text: str) -> Object:
    """An item of `protocols` of v1alpha2."""
    if " " not in text:
        return {"destinationNamedPort": text}
    protocol, first, last = numbers(text)
    found: Object = {"number": first} if first == last else {"range": {"start": first, "end": last}}
    return {protocol.lower(): {"destinationPort": found}}


def port_of(text: str) -> Object:
    """An item of `ports` of v1alpha1."""
    if " " not in text:
        return {"namedPort": text}
    protocol, first, last = numbers(text)
    if first == last:
        return {"portNumber": {"protocol": protocol, "port": first}}
    return {"portRange": {"protocol": protocol, "start": first, "end": last}}


def rule_of(rule: Rule, direction: Direction, version: Version) -> Object:
    """A rule as it is written in a version."""
    made: Object = {"action": rule.action, "to" if direction == "egress" else "from": rule.peers}
    if version == "v1alpha2":
        return made | ({"protocols": [protocol_of(text) for text in rule.traffic]} if rule.traffic else {})
    made |= {"ports": [port_of(text) for text in rule.traffic]} if rule.traffic else {}
    return made | {"action": "Allow" if rule.action == "Accept" else rule.action}


def written(policy: Policy, name: str, tier: Tier, direction: Direction, version: Version) -> Object:
    """A policy as it is written in a version. A BaselineAdminNetworkPolicy cannot pass: rules that do are left out."""
    tier = policy.tier or tier
    old_baseline = version == "v1alpha1" and tier == "Baseline"
    rules: Any = {
        direction: [
            rule_of(rule, direction, version) for rule in policy.rules if not (old_baseline and rule.action == "Pass")
        ]
    }
    if old_baseline:
        return baseline_policy(policy.subject, **rules)
    if version == "v1alpha1":
        return admin_policy(name, policy.priority, policy.subject, **rules)
    return cluster_policy(name, tier, policy.priority, policy.subject, **rules)


# Tables -------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What happens to some traffic between the pod that is the subject and another. `back`: the other way round."""

    other: str
    traffic: str
    allowed: bool | None
    subject: str = "gryffindor/0"
    back: bool = False


class Table(NamedTuple):
    """A test: some policies, each for the direction that is asked about, and what happens.

    `old_baseline`: whether a BaselineAdminNetworkPolicy can say it too: one policy, in which nothing is passed.
    """

    name: str
    policies: tuple[Policy, ...]
    rows: tuple[Row, ...]
    directions: tuple[Direction, ...] = ("egress", "ingress")
    tiers: tuple[Tier, ...] = ("Admin", "Baseline")
    old_baseline: bool = True
    beside: tuple[Object, ...] = ()


AT, BESIDE = ("TCP 80", "UDP 53", "SCTP 9003"), ("TCP 8080", "UDP 5353", "SCTP 9005")
RULES = (
    accept(house("ravenclaw")),
    deny(house("ravenclaw")),
    passing(house("ravenclaw")),
    deny(house("slytherin"), *AT),
    passing(house("slytherin"), *AT),
    accept(house("hufflepuff"), *AT),
    deny(house("hufflepuff")),
)


def rows(other: str, traffic: tuple[str, ...], allowed: bool) -> tuple[Row, ...]:
    """The same for several ports."""
    return tuple(Row(other, one, allowed) for one in traffic)


def in_order(*order: int) -> tuple[Policy, ...]:
    """The first five rules in another order."""
    return (Policy((*(RULES[number] for number in order), *RULES[5:])),)


BOTH_WAYS = network_policy(
    "gryffindor", "slytherin", podSelector={}, policyTypes=["Ingress", "Egress"],
    ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"house": "slytherin"}}}]}],
    egress=[{"to": [{"namespaceSelector": {"matchLabels": {"house": "slytherin"}}}]}],
)  # fmt: skip
DENIED_LAST = Policy((deny(house("slytherin")),), tier="Baseline")
FIRST_PODS = {"networks": ["10.244.3.0/32", "10.244.2.0/32"]}
EVERYWHERE = {"networks": ["0.0.0.0/0", "::/0"]}
LINUX = {"nodes": {"matchLabels": {"kubernetes.io/os": "linux"}}}
NODE_RULES = (
    accept(LINUX, "TCP 36363"),
    passing(LINUX, "UDP 34345"),
    Rule("Deny", [pods({"house": "slytherin"}, house="slytherin"), LINUX, EVERYWHERE]),
)
BY_POD = Policy(
    (deny(pods({"house": "ravenclaw"})), deny(pods({"pod": "hufflepuff-0"}, house="hufflepuff"))),
    pods({"house": "gryffindor"}),
)
ONE_POD = Policy((deny(house("slytherin")),), pods({"pod": "ravenclaw-0"}, house="ravenclaw"))
EQUAL = (
    Policy((deny(house("slytherin"), "TCP 80"),)),
    Policy((deny(house("hufflepuff"), "TCP 80"),)),
    Policy((deny(house("slytherin"), "TCP 8080"),), house("hufflepuff")),
)

TABLES = (
    Table(
        "Gress: as written, Accept comes before Deny and Pass", in_order(0, 1, 2, 3, 4),
        rows("ravenclaw/0", (*AT, *BESIDE), allowed=True)
        + rows("slytherin/0", AT, allowed=False) + rows("slytherin/1", BESIDE, allowed=True)
        + rows("hufflepuff/1", AT, allowed=True) + rows("hufflepuff/0", BESIDE, allowed=False),
    ),
    Table(
        "Gress: Deny before Accept and Pass", in_order(1, 0, 2, 3, 4),
        rows("ravenclaw/1", (*AT, *BESIDE), allowed=False) + rows("slytherin/0", AT, allowed=False),
    ),
    Table(
        "Gress: Pass before Accept and Deny", in_order(2, 0, 1, 4, 3),
        rows("ravenclaw/0", (*AT, *BESIDE), allowed=True) + rows("slytherin/1", (*AT, *BESIDE), allowed=True)
        + rows("hufflepuff/0", BESIDE, allowed=False),
        old_baseline=False,
    ),
    Table(
        "RulesUnaffected: rules of one direction say nothing about the other",
        (Policy((deny(house("slytherin")), deny(house("hufflepuff"), "TCP 80"))),),
        (
            Row("slytherin/0", "TCP 80", allowed=False), Row("slytherin/0", "TCP 80", allowed=True, back=True),
            Row("hufflepuff/0", "TCP 80", allowed=False), Row("hufflepuff/0", "TCP 80", allowed=True, back=True),
            Row("ravenclaw/0", "TCP 80", allowed=True), Row("ravenclaw/0", "TCP 80", allowed=True, back=True),
        ),
    ),
    Table(
        "PortRange: both ends of a range are in it, of its protocol only",
        (Policy((
            accept(house("ravenclaw"), "TCP 80-8080"), accept(house("hufflepuff"), "UDP 53-5353"),
            accept(house("slytherin"), "SCTP 9003-9005"),
            deny({"namespaces": {"matchExpressions": [{"key": "house", "operator": "Exists"}]}}),
        )),),
        rows("ravenclaw/0", ("TCP 80", "TCP 8080"), allowed=True)
        + rows("ravenclaw/1", ("TCP 79", "TCP 8081", "UDP 80", "UDP 53"), allowed=False)
        + rows("hufflepuff/0", ("UDP 53", "UDP 5353"), allowed=True)
        + rows("hufflepuff/1", ("UDP 52", "UDP 5354", "TCP 80"), allowed=False)
        + rows("slytherin/0", ("SCTP 9003", "SCTP 9005"), allowed=True)
        + rows("slytherin/1", ("SCTP 9002", "SCTP 9006", "TCP 80"), allowed=False)
        + rows("gryffindor/1", ("TCP 80",), allowed=False),
    ),
    Table(
        "PodSelector: by labels of pods, with namespaces and without", (BY_POD,),
        (
            Row("ravenclaw/0", "TCP 80", allowed=False), Row("hufflepuff/0", "TCP 80", allowed=False),
            Row("hufflepuff/1", "TCP 80", allowed=True), Row("slytherin/0", "TCP 80", allowed=True),
            Row("hufflepuff/0", "TCP 80", allowed=True, subject="slytherin/0"),
        ),
    ),
    Table(
        "PodSelector: one pod is the subject", (ONE_POD,),
        (
            Row("slytherin/0", "TCP 80", allowed=False, subject="ravenclaw/0"),
            Row("slytherin/0", "TCP 80", allowed=True, subject="ravenclaw/1"),
        ),
    ),
    Table(
        "PodSelector: pods of any namespace by a label that is there",
        (Policy((deny({"pods": {"podSelector": {"matchExpressions": [{"key": "house", "operator": "Exists"}]}}}),)),),
        (Row("slytherin/0", "TCP 80", allowed=False), Row("ravenclaw/1", "SCTP 9", allowed=False),
         Row(CENTAUR, "TCP 80", allowed=True)),
    ),
    Table(
        "SamePriority: each policy is applied, to its own subject only", EQUAL,
        (
            Row("slytherin/0", "TCP 80", allowed=False), Row("slytherin/0", "TCP 8080", allowed=True),
            Row("hufflepuff/0", "TCP 80", allowed=False), Row("hufflepuff/0", "TCP 8080", allowed=True),
            Row("slytherin/1", "TCP 8080", allowed=False, subject="hufflepuff/0"),
            Row("slytherin/1", "TCP 80", allowed=True, subject="hufflepuff/0"),
            Row("ravenclaw/0", "TCP 80", allowed=True), Row("ravenclaw/0", "TCP 80", allowed=True, back=True),
        ),
        old_baseline=False,
    ),
    Table(
        "EgressInlineCIDRPeers: networks are about the addresses of pods too",
        (Policy((accept(pods({"house": "slytherin"}, house="slytherin")), deny(EVERYWHERE))),),
        rows("slytherin/0", AT, allowed=True) + rows("ravenclaw/0", AT, allowed=False)
        + rows("hufflepuff/0", AT, allowed=False) + rows("203.0.113.7", AT, allowed=False),
        directions=("egress",),
    ),
    Table(
        "EgressInlineCIDRPeers: single addresses before all others", (Policy((accept(FIRST_PODS), deny(EVERYWHERE))),),
        rows("ravenclaw/0", AT, allowed=True) + rows("hufflepuff/0", AT, allowed=True)
        + rows("ravenclaw/1", AT, allowed=False) + rows("hufflepuff/1", AT, allowed=False),
        directions=("egress",),
    ),
    Table(
        "NamedPort: the port of that name, of its protocol",
        (Policy((accept(house("hufflepuff"), "web", "dns"), deny(house("hufflepuff")))),),
        rows("hufflepuff/1", ("TCP 80", "UDP 53"), allowed=True)
        + rows("hufflepuff/1", ("TCP 8080", "UDP 5353", "UDP 80", "TCP 53", "SCTP 80"), allowed=False),
    ),
    Table(
        # Allowed there, where Node objects say whose address it is: from these objects alone that is not known.
        "EgressNodePeers: before networks that hold the node's address", (Policy(NODE_RULES),),
        (
            Row(CENTAUR, "TCP 36363", allowed=None), Row(CENTAUR, "TCP 36364", allowed=False),
            Row(CENTAUR, "UDP 34346", allowed=False), Row(CENTAUR, "SCTP 9003", allowed=False),
            Row("slytherin/0", "TCP 36363", allowed=False), Row("ravenclaw/0", "TCP 36363", allowed=False),
        ),
        directions=("egress",),
    ),
    Table(
        "EgressNodePeers: passed on", (Policy(NODE_RULES),), (Row(CENTAUR, "UDP 34345", allowed=None),),
        directions=("egress",), old_baseline=False,
    ),
    Table(
        "Hairpin: a pod reaches itself by its own address, but no other of the same subject",
        (Policy((deny(house("gryffindor")),)),),
        (Row("gryffindor/0", "TCP 80", allowed=True), Row("gryffindor/1", "TCP 80", allowed=False)),
    ),
    Table(
        "Integration: Deny of the Admin tier comes before NetworkPolicy",
        (Policy((deny(house("slytherin")),), tier="Admin"), DENIED_LAST), rows("slytherin/0", BESIDE, allowed=False),
        tiers=("Admin",), beside=(BOTH_WAYS,),
    ),
    Table(
        "Integration: Pass goes on to NetworkPolicy, which comes before the Baseline tier",
        (Policy((passing(house("slytherin")),), tier="Admin"), DENIED_LAST),
        rows("slytherin/0", BESIDE, allowed=True) + rows("ravenclaw/0", BESIDE, allowed=False),
        tiers=("Admin",), beside=(BOTH_WAYS,),
    ),
    Table(
        "Integration: Pass goes on to the Baseline tier where no NetworkPolicy selects the pod",
        (Policy((passing(house("slytherin")),), tier="Admin"), DENIED_LAST),
        rows("slytherin/0", BESIDE, allowed=False) + rows("ravenclaw/0", BESIDE, allowed=True),
        tiers=("Admin",),
    ),
    *(
        Table(
            f"PriorityField: Pass at {priority}, Deny at 50, and the Baseline tier accepts",
            (
                Policy((deny(house("slytherin")),), priority=50, tier="Admin"),
                Policy((passing(house("slytherin")),), priority=priority, tier="Admin"),
                Policy((accept(house("slytherin")),), tier="Baseline"),
            ),
            rows("slytherin/0", ("TCP 80", "TCP 8080"), allowed=allowed), tiers=("Admin",),
        )
        for priority, allowed in ((60, False), (40, True))
    ),
)  # fmt: skip
ASKED = [
    pytest.param(table, tier, direction, version, id=f"{version}-{tier}-{direction}-{table.name}")
    for table in TABLES
    for tier in table.tiers
    for direction in table.directions
    for version in ("v1alpha2", "v1alpha1")
    if version == "v1alpha2" or tier == "Admin" or table.old_baseline
]


@pytest.mark.parametrize(("table", "tier", "direction", "version"), ASKED)
def test_verdicts(table: Table, tier: Tier, direction: Direction, version: Version) -> None:
    """Both answer every row of a table as it says."""
    policies = [written(one, f"p{number}", tier, direction, version) for number, one in enumerate(table.policies)]
    objects = [*WORLD, *policies, *table.beside]
    result = evaluated(objects)
    for row in table.rows:
        protocol, number, _ = numbers(row.traffic)
        leaving = (direction == "egress") != row.back
        ends = (row.subject, row.other) if leaving else (row.other, row.subject)
        asked = Question(*ends, protocol, number)
        said = flow.answer(result, flow.Question(*asked)).allowed, answer(objects, asked)
        assert said == (row.allowed, row.allowed), asked
