"""The oracle against what the documentation says, row by row, and the generator against what the API server accepts."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from random import Random

import pytest

from tests.generator.network import questions, random_network
from tests.generator.objects import Object
from tests.network.cases import CASES, Case
from tests.oracles.network import TIERED, Question, World, answer, in_every_world


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_documentation(case: Case) -> None:
    assert answer(case.objects, case.question, case.pods_by_ip) is case.expected, case.rule


def test_rows_have_names_of_their_own() -> None:
    assert [name for name, times in Counter(case.name for case in CASES).items() if times > 1] == []


def test_order_of_objects_says_nothing() -> None:
    for case in CASES:
        assert answer(case.objects[::-1], case.question, case.pods_by_ip) is case.expected, case.name


def test_every_world_is_tried() -> None:
    seen = []

    def judge(world: World) -> bool:
        if world.holds("first"):
            seen.append((True, world.ask("abc", "second")))
        else:
            seen.append((False, ""))
        assert world.holds("first") is seen[-1][0], "a fact stays as it is"
        return True

    assert in_every_world(judge) is True
    assert seen == [(False, ""), (True, "a"), (True, "b"), (True, "c")]
    assert in_every_world(lambda world: world.holds("first")) is None
    assert in_every_world(lambda world: world.holds("first") or not world.holds("first")) is True


@pytest.mark.parametrize("seed", range(60))
def test_the_setting_is_between_its_values(seed: int) -> None:
    """Not knowing whether ipBlocks match pods is the answer that both have in common, else none."""
    random = Random(seed)
    objects = random_network(random)
    for asked in questions(random, objects, 20):
        both = {answer(objects, asked, setting) for setting in ("yes", "no")}
        assert answer(objects, asked) is (both.pop() if len(both) == 1 else None)


@pytest.mark.parametrize("seed", range(60))
def test_random_clusters_are_valid(seed: int) -> None:
    random = Random(seed)
    objects = random_network(random)
    spaces = {one["metadata"]["name"] for one in objects if one["kind"] == "Namespace"}
    names = Counter((one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects)
    assert set(names.values()) == {1}
    assert all(one["metadata"].get("namespace", next(iter(spaces))) in spaces for one in objects)
    for one in objects:
        if one["kind"] == "NetworkPolicy":
            valid_policy(one["spec"])
        elif one["kind"] in TIERED:
            valid_tiered(one["kind"], one["spec"])


def valid_policy(spec: Object) -> None:
    """What the API server checks of a NetworkPolicy."""
    for rule in (spec.get("ingress") or []) + (spec.get("egress") or []):
        for item in rule.get("from", []) + rule.get("to", []):
            assert item
            assert "ipBlock" not in item or len(item) == 1
            for out in item.get("ipBlock", {}).get("except", []):
                assert ip_network(out) != ip_network(item["ipBlock"]["cidr"])
                assert ip_network(out).subnet_of(ip_network(item["ipBlock"]["cidr"]))  # type: ignore[arg-type]
        for item in rule.get("ports", []):
            assert "endPort" not in item or (isinstance(item["port"], int) and item["port"] <= item["endPort"] <= 65535)


def valid_tiered(kind: str, spec: Object) -> None:
    """What the API server checks of a policy with tiers."""
    assert kind == "BaselineAdminNetworkPolicy" or 0 <= spec["priority"] <= 1000
    for rule in spec.get("ingress", []) + spec.get("egress", []):
        peers = rule.get("from") or rule["to"]
        named = "amedPort" in str(rule.get("protocols") or rule.get("ports"))
        for peer in peers:
            assert len(peer) == 1
            assert not named or peer.keys() <= {"namespaces", "pods"}
            assert "domainNames" not in peer or rule["action"] in ("Accept", "Allow")
            assert "domainNames" not in peer or kind != "BaselineAdminNetworkPolicy"
            assert "from" not in rule or peer.keys() <= {"namespaces", "pods", "services"}


def test_random_questions_are_of_every_kind() -> None:
    """The three answers, both families, and questions from and to addresses."""
    answers: Counter[bool | None] = Counter()
    ends: Counter[tuple[bool, bool]] = Counter()
    for seed in range(100):
        random = Random(seed)
        objects = random_network(random)
        for asked in questions(random, objects, 20):
            answers[answer(objects, asked)] += 1
            ends["/" in asked.source, "/" in asked.destination] += 1
    assert min(answers[True], answers[False]) > 600
    assert answers[None] > 60
    assert set(ends) == {(True, True), (True, False), (False, True)}


def test_the_same_seed_is_the_same_cluster() -> None:
    one, other = Random(7), Random(7)
    assert random_network(one) == (objects := random_network(other))
    assert questions(one, objects, 9) == questions(other, objects, 9)
    assert all(isinstance(asked, Question) for asked in questions(one, objects, 3))
