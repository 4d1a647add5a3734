"""Units: what one says covers exactly what it says, and what is agreed to is exactly what was gained."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from posture import network
from posture.model import Change, Unit
from posture.network import addresses
from posture.network.connectivity import Connectivity, Party
from posture.network.policies import DIRECTIONS
from posture.network.regions import Piece
from posture.network.units import beyond, piece_of, unit_of
from tests.generator.network import (
    cluster_policy,
    deployment,
    is_tiered,
    network_policy,
    random_cluster,
    random_edit,
)
from tests.generator.objects import Object, namespace
from tests.network.clusters import evaluated
from tests.network.sampling import is_in, parties, ports_of, some_ports

seeds = st.integers(0, 2**32)
clusters = seeds.map(lambda seed: random_cluster(Random(seed)))


ADDRESSES = tuple(map(addresses.number, ("10.244.1.2", "1.1.1.1", "2001:db8::7")))


def units_of(objects: Sequence[Object]) -> list[Unit]:
    """What the classes of a cluster are allowed, as units."""
    result = evaluated(objects, "no")
    nothing = evaluated([one for one in objects if one["kind"] == "Namespace"], "no")
    found = network.compare(nothing, result, growth=True).changes
    return [unit for change in found for unit in change.gained]


@settings(max_examples=60, deadline=None)
@given(clusters)
def test_a_unit_says_itself_what_it_covers(objects: list[Object]) -> None:
    """Through JSON and back it is the same set."""
    for unit in units_of(objects):
        piece = piece_of(orjson.loads(orjson.dumps(unit)))
        again = unit_of(piece, unit["direction"], unit.get("podSelector"), latent="latent" in unit)
        assert again == unit
        assert beyond((unit,), (again,)) == ()


def test_whoever_agreed_to_what_nobody_could_use_did_not_agree_to_its_use() -> None:
    """A latent unit covers latent ones only; one that is in use covers both."""
    used = {"direction": "ingress", "peer": {"cidrs": ["10.0.0.0/8"]}, "ports": []}
    latent = {**used, "latent": True}

    assert beyond((used,), (latent,)) == (used,)
    assert beyond((latent,), (used,)) == ()
    assert beyond((latent,), (latent,)) == ()


@settings(max_examples=60, deadline=None)
@given(clusters, seeds)
def test_beyond_is_what_is_not_covered(objects: list[Object], seed: int) -> None:
    """For pods, addresses and ports drawn from either set: it is left if, and only if, it was not covered."""
    random = Random(seed)
    units = [unit for unit in units_of(objects) if "workload" not in unit["peer"] and "podSelector" not in unit]
    units = [{field: value for field, value in unit.items() if field != "latent"} for unit in units]
    units = list({orjson.dumps(unit): unit for unit in units}.values())
    given = tuple(random.sample(units, min(4, len(units))))
    recorded = tuple(random.sample(units, min(4, len(units))))
    left = beyond(given, recorded)
    result = evaluated(objects, "no")
    for direction in DIRECTIONS:
        sets = [[piece_of(unit) for unit in found if unit["direction"] == direction]
                for found in (given, recorded, left)]  # fmt: skip
        for piece in sets[0] + sets[1]:
            for party in parties(random, piece, result):
                other = party if party.address is not None else party._replace(address=random.choice(ADDRESSES))
                held, known, rest = (_ports(pieces, other) for pieces in sets)
                for port in some_ports(random, held | known):
                    # Addresses that nobody knows are only covered by all addresses or by themselves.
                    if "Unsure" not in {type(each.who).__name__ for pieces in sets for each in pieces}:
                        assert bool(rest & port) is bool(held & port and not known & port), (given, recorded)
    assert beyond(left, recorded) == left
    assert beyond(given, given) == ()
    assert sorted(map(orjson.dumps, beyond(given, ()))) == sorted({*map(orjson.dumps, given)})


def _ports(pieces: Sequence[Piece], other: Party) -> int:
    found = 0
    for piece in pieces:
        if is_in(piece, other.labels, other):
            found |= ports_of(piece, other.endpoint)
    return found


# Agreeing -----------------------------------------------------------------------------------------------------------


def with_agreed(before: Connectivity, change: Change, live: Connectivity) -> Connectivity:
    """The baseline with what a change gained."""
    objects = network.agreed(change, live)
    return network.evaluate(before.snapshot.replaced(objects))


@settings(max_examples=80, deadline=None)
@given(clusters, st.lists(seeds, min_size=1, max_size=3))
def test_what_is_agreed_is_the_gain_and_nothing_else(objects: list[Object], edits: Sequence[int]) -> None:
    """Added to the baseline the gain is gone, and nothing that was not gained by live is allowed there; what a
    NetworkPolicy cannot say is not agreed to at all.
    """
    after = list(objects)
    for seed in edits:
        after = random_edit(Random(seed), after)
    after = [one for one in after if not is_tiered(one)]
    before, live = evaluated([one for one in objects if not is_tiered(one)], "no"), evaluated(after, "no")
    assume(all(space.labels == live.labels_of(name) for name, space in before.spaces.items()))
    for change in network.compare(before, live).changes:
        if change.direction == "tightened" or not network.agreed(change, live):
            continue
        if _looks(before, change.scope) != _looks(live, change.scope):
            continue  # the baseline's pods have the labels of before
        if sum(one.workload == change.subject for one in live.classes) > 1:
            continue  # in the middle of a rollout it is agreed to for both sides
        if _of_workloads(change):
            continue  # by their labels of now, which other pods may get
        agreed = with_agreed(before, change, live)
        if not change.subject.startswith("namespace:"):
            left = [each for each in network.compare(agreed, live).changes if each.where == change.where]
            assert [each for each in left if each.gained] == [], change
        for each in network.compare(before, agreed).changes:
            if each.direction == "loosened" and not each.subject.startswith("namespace:"):
                assert each.subject == change.subject, (change, each)
                assert beyond(each.gained, change.gained) == (), (change, each)


def _looks(result: Connectivity, namespace: str) -> set[object]:
    return {(one.workload, one.labels) for one in result.classes if one.namespace == namespace}


def _of_workloads(change: Change) -> bool:
    """Whether it is about a workload that was relabelled: in the baseline it has the labels of before."""
    return any("workload" in unit["peer"] for unit in change.gained)


def test_what_the_cluster_s_own_policies_decide_is_not_agreed_by_a_networkpolicy() -> None:
    """It would not speak in their place: nothing is made up, and the finding stays until the policy is agreed to."""
    objects = [namespace("pay"), deployment("pay", "db", {"app": "db"})]
    deny = cluster_policy("deny", "Admin", 10, ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}])
    accept = cluster_policy("let", "Admin", 5, ingress=[{"action": "Accept", "from": [{"namespaces": {}}]}])
    before, live = evaluated([*objects, deny]), evaluated([*objects, deny, accept])
    changes = [each for each in network.compare(before, live).changes if each.subject.startswith("workload:")]

    assert [network.agreed(change, live) for change in changes] == [()]


def test_pods_that_look_like_others_are_not_agreed_to_together() -> None:
    """Labels say no more than that one of them is meant: agreeing to it would agree to the other one's as well."""
    closed = network_policy("pay", "closed", podSelector={}, policyTypes=["Ingress"])
    objects = [namespace("pay"), deployment("pay", "db", {"app": "db"}), deployment("pay", "copy", {"app": "db"})]
    before, live = evaluated([*objects, closed]), evaluated(objects)
    changes = [each for each in network.compare(before, live).changes if each.subject.startswith("workload:")]

    assert [network.agreed(change, live) for change in changes] == [(), ()]
