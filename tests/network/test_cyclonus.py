"""The engine's answers, and those of the brute-force reading, against a reading that is not ours: cyclonus.

Its matcher speaks of one connection between two ends, each with its labels and one address, under NetworkPolicy v1:
with SCTP, endPort, IPv4 and IPv6, and names of ports (which name a port has, the asker says). Of the rest (other kinds
of policies, host network, phases, a second address) nothing is generated; what else it does not know, or reads
otherwise than the documentation, is a row of LEFT_OUT.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from posture.network import flow
from tests.conftest import FIGURE
from tests.controlplane import build
from tests.generator.network import (
    NAMES,
    SPACE_LABELS,
    network_policy,
    pod,
    port,
    questions,
    random_labels,
    random_pod,
    random_policy,
)
from tests.generator.objects import Object, namespace
from tests.network.clusters import evaluated
from tests.oracles.network import NAME_LABEL, Question, answer, named

pytestmark = pytest.mark.prove

SOURCE = Path(__file__).with_name("cyclonus")
NUMBER = 60_000
EACH = 30


# What is asked ------------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """A question, with the objects that it is about. An end that is no pod is None."""

    question: Question
    source: Object | None
    destination: Object | None
    spaces: Mapping[str, Mapping[str, str]]
    policies: Sequence[Object]


def plain(one: Object) -> bool:
    """Whether cyclonus can speak of a pod: it runs, with an address of its own and no other."""
    status = one["status"]
    return status["phase"] == "Running" and len(status.get("podIPs", ())) == 1 and not one["spec"].get("hostNetwork")


def plain_network(random: Random) -> list[Object]:
    """A small cluster of plain pods with NetworkPolicies."""
    spaces, family = random.sample(NAMES, random.randint(2, 4)), random.choice(("4", "4", "6"))
    made = (random_pod(random, number, random.choice(spaces), family) for number in range(2, 200))
    return [
        *(namespace(name, **random_labels(random, SPACE_LABELS)) for name in spaces),
        *islice(filter(plain, made), random.randint(2, 8)),
        *(random_policy(random, number, random.choice(spaces)) for number in range(random.randint(1, 8))),
    ]


def asked_of(objects: Sequence[Object], question: Question) -> Asked:
    """What a question is about. Namespaces have their name as a label, as the API server gives it to them."""
    pods = {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one for one in objects if one["kind"] == "Pod"}
    spaces = {
        one["metadata"]["name"]: one["metadata"]["labels"] | {NAME_LABEL: one["metadata"]["name"]}
        for one in objects
        if one["kind"] == "Namespace"
    }
    policies = [defaulted(one) for one in objects if one["kind"] == "NetworkPolicy"]
    return Asked(question, pods.get(question.source), pods.get(question.destination), spaces, policies)


def defaulted(policy: Object) -> Object:
    """A policy as the API server stores it: cyclonus refuses one without policyTypes. Ours get it as it is written."""
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return policy | {"spec": spec | {"policyTypes": types}}


def address_of(name: str, one: Object | None) -> str:
    """The address of an end: a pod's, or the one that is asked for."""
    return name if one is None else str(one["status"]["podIP"])


def names_of(asked: Asked) -> list[str]:
    """The names that the asked port of the destination has."""
    names = {found["port"] for policy in asked.policies for found in ports_of(policy) if "port" in found}
    wanted = asked.question.protocol, asked.question.port
    return sorted(name for name in names if isinstance(name, str) and wanted in named(asked.destination, name))


def ports_of(policy: Object) -> Iterator[Object]:
    """Every item of `ports` of a policy."""
    for rule in (*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())):
        yield from rule.get("ports", ())


# What is left out ---------------------------------------------------------------------------------------------------


def matched(asked: Asked) -> Iterator[tuple[Object, Mapping[str, str]]]:
    """Every selector that the question needs, each with the labels that it is held against."""
    ways = (("Egress", "to", asked.source, asked.destination), ("Ingress", "from", asked.destination, asked.source))
    for policy in asked.policies:
        spec = policy["spec"]
        for direction, peers, subject, peer in ways:
            if subject is None or direction not in spec["policyTypes"]:
                continue
            if subject["metadata"]["namespace"] != policy["metadata"]["namespace"]:
                continue
            yield spec.get("podSelector", {}), subject["metadata"]["labels"]
            for item in (item for rule in spec.get(direction.lower(), ()) for item in rule.get(peers, ())):
                if peer is not None:
                    yield item.get("podSelector", {}), peer["metadata"]["labels"]
                    yield item.get("namespaceSelector", {}), asked.spaces[peer["metadata"]["namespace"]]


def not_in_without_key(asked: Asked) -> bool:
    return any(
        expression["operator"] == "NotIn" and expression["key"] not in labels
        for selector, labels in matched(asked)
        for expression in selector.get("matchExpressions", ())
    )


def empty_value_without_key(asked: Asked) -> bool:
    return any(
        value == "" and key not in labels
        for selector, labels in matched(asked)
        for key, value in selector.get("matchLabels", {}).items()
    )


def port_with_two_names(asked: Asked) -> bool:
    return len(names_of(asked)) > 1


def same_pod(asked: Asked) -> bool:
    return asked.question.source == asked.question.destination


def own_node(asked: Asked) -> bool:
    ends = ((asked.source, asked.question.destination), (asked.destination, asked.question.source))
    return any(one is not None and {"ip": other} in one["status"].get("hostIPs", ()) for one, other in ends)


def other_family(asked: Asked) -> bool:
    ends = ((asked.question.source, asked.source), (asked.question.destination, asked.destination))
    return len({ip_address(address_of(*one)).version for one in ends}) > 1


class Row(NamedTuple):
    """What is not compared, and why. `example` is a cluster with a question, and what the documentation answers."""

    applies: Callable[[Asked], bool]
    why: str
    example: tuple[Sequence[Object], Question, bool]


A = pod("pay", "a", {"app": "api"}, ["10.244.1.2"], ["192.168.0.10"])
B = pod("pay", "b", {}, ["10.244.1.3"], ["192.168.0.10"], [port(80, "http"), port(80, "web")])
A_TO_B = Question("pay/a", "pay/b", "TCP", 80)


def closed(**selector: Any) -> Object:
    """A policy that lets nothing into the pods of a selector."""
    return network_policy("pay", "closed", podSelector=selector, policyTypes=["Ingress"])


def named_port(direction: str, name: str) -> Object:
    """A policy that lets a namespace do nothing in a direction but use the port of a name."""
    rules = {direction.lower(): [{"ports": [{"port": name}]}]}
    return network_policy("pay", direction.lower(), podSelector={}, policyTypes=[direction], **rules)


LEFT_OUT = (
    Row(
        not_in_without_key,
        "cyclonus matches NotIn only where the label is there; the concept page on labels: notin selects "
        '"all resources with no labels with the tier key" too',
        ([A, B, closed(matchExpressions=[{"key": "app", "operator": "NotIn", "values": ["x"]}])], A_TO_B, False),
    ),
    Row(
        empty_value_without_key,
        "cyclonus takes a label that is not there for one with an empty value; the API reference: matchLabels is the "
        "same as operator In with one value, and the key has to be there",
        ([A, B, closed(matchLabels={"app": ""})], A_TO_B, True),
    ),
    Row(
        port_with_two_names,
        "a question of cyclonus has one name for its port; a port may have two, and rules know it by both",
        ([A, B, named_port("Egress", "http"), named_port("Ingress", "web")], A_TO_B, True),
    ),
    Row(
        same_pod,
        'cyclonus asks policies about a pod and itself; the concept page: "a pod cannot block access to itself"',
        ([A, closed()], Question("pay/a", "pay/a", "TCP", 80), True),
    ),
    Row(
        own_node,
        'cyclonus has no nodes; the concept page: "traffic to and from the node where a Pod is running is always '
        'allowed"',
        ([B, closed()], Question("192.168.0.10", "pay/b", "TCP", 80), True),
    ),
    Row(
        other_family,
        "cyclonus has no address families; nothing goes from IPv6 to an end that has IPv4 only, whatever policies say",
        ([B], Question("2001:db8::7", "pay/b", "TCP", 80), False),
    ),
)


# Cyclonus -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cyclonus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built with the Go that builds the control planes."""
    program = tmp_path_factory.mktemp("cyclonus") / "cyclonus"
    build.go_program(SOURCE, program)
    return program


def end(asked: Asked, name: str, one: Object | None) -> Object:
    """One end of a connection, as the program reads it."""
    address: Object = {"ip": address_of(name, one), "external": one is None}
    if one is None:
        return address
    where = one["metadata"]["namespace"]
    return address | {
        "namespace": where, "namespaceLabels": asked.spaces[where], "labels": one["metadata"]["labels"],
    }  # fmt: skip


def asks(cluster: Sequence[Asked]) -> str:
    """The questions about one cluster, as the program reads them."""
    found = [
        {
            "source": end(asked, asked.question.source, asked.source),
            "destination": end(asked, asked.question.destination, asked.destination)
            | {"port": asked.question.port, "protocol": asked.question.protocol}
            | {"portName": "".join(names_of(asked)[:1])},
        }
        for asked in cluster
    ]
    return json.dumps({"policies": cluster[0].policies, "questions": found})


def answers_of(program: Path, clusters: Sequence[Sequence[Asked]]) -> Iterator[Sequence[bool]]:
    """What cyclonus answers, for each cluster."""
    given = "".join(asks(cluster) + "\n" for cluster in clusters)
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(clusters)
    return map(json.loads, lines)


# The comparison -----------------------------------------------------------------------------------------------------


def ours(objects: Sequence[Object], asked: Sequence[Question]) -> list[tuple[bool | None, bool | None]]:
    """What the engine and the brute-force reading answer, with blocks that match the addresses of pods as there."""
    result = evaluated(objects, "yes")
    return [(flow.answer(result, flow.Question(*one)).allowed, answer(objects, one, "yes")) for one in asked]


@pytest.mark.parametrize("row", LEFT_OUT, ids=lambda row: row.applies.__name__)
def test_left_out(row: Row, cyclonus: Path) -> None:
    """Each row is needed: cyclonus answers otherwise than the documentation, and ours as it does."""
    others, question, expected = row.example
    objects = [namespace("pay"), *others]
    asked = asked_of(objects, question)
    assert [other.applies for other in LEFT_OUT if other.applies(asked)] == [row.applies]
    assert ours(objects, [question]) == [(expected, expected)]
    assert list(answers_of(cyclonus, [[asked]])) == [[not expected]], row.why


def test_random_questions(cyclonus: Path, record_property: Callable[[str, object], None]) -> None:
    """Over random clusters of what cyclonus knows: no difference."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    random = Random(seed)
    clusters: list[list[Asked]] = []
    said: list[list[tuple[bool | None, bool | None]]] = []
    left, answers = 0, Counter[bool]()
    while sum(map(len, clusters)) < NUMBER:
        objects = plain_network(random)
        every = [asked_of(objects, one) for one in questions(random, objects, EACH)]
        kept = [asked for asked in every if not any(row.applies(asked) for row in LEFT_OUT)]
        left += len(every) - len(kept)
        if kept:
            clusters.append(kept)
            said.append(ours(objects, [asked.question for asked in kept]))
    for cluster, its, theirs in zip(clusters, said, answers_of(cyclonus, clusters), strict=True):
        for asked, (engine, reading), other in zip(cluster, its, theirs, strict=True):
            assert (engine, reading) == (other, other), (seed, asked)
            answers[other] += 1
    figure = f"network: {answers.total():,} questions, {answers[True]:,} allowed, {left:,} more left out"
    record_property(FIGURE, f"{figure}, 0 disagreements with cyclonus (POSTURE_SEED={seed})")
