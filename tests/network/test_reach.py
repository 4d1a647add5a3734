"""All pairs at once are every pair asked alone."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from posture.network import addresses
from posture.network.connectivity import Party, PodsByIp
from posture.network.policies import DIRECTIONS
from posture.network.ports import shown
from posture.network.reach import Reaches
from tests.generator.network import random_network
from tests.network.clusters import evaluated


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["yes", "no", "unknown"]))
def test_all_pairs_are_every_pair(seed: int, setting: PodsByIp) -> None:
    """What may be accepted, and what may be denied of it, on every port."""
    result = evaluated(random_network(Random(seed)), setting)
    reaches = Reaches(result)
    found = {(source, destination): outcome for source, destination, outcome in reaches.pairs()}
    numbers = range(len(result.classes))
    for source in numbers:
        for destination in numbers:
            asked = result.between(reaches.party(source), reaches.party(destination))
            if reaches.party(source).judged or reaches.party(destination).judged:
                told = found.get((source, destination))
                assert shown(told.allowed if told else 0) == shown(asked.allowed), (source, destination)
                assert shown(told.accept if told else 0) == shown(asked.accept), (source, destination)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_what_is_outside_is_every_address(seed: int, other: int) -> None:
    """Each address is in one of the sets, and what happens to it is what is said of the set."""
    random = Random(seed)
    objects = random_network(random)
    result = evaluated(objects)
    reaches, ends = Reaches(result), Random(other)
    for number, one in enumerate(result.classes):
        for direction in DIRECTIONS:
            sets = reaches.outside(number, direction)
            assert sorted(span for ranges, _ in sets for span in ranges) == sorted(
                span for ranges, _ in sets for span in addresses.union(ranges)
            )
            for ranges, outcome in sets:
                first, last = ends.choice(ranges)
                for address in {first, last, ends.randint(first, last)}:
                    pair = Party(None, address=address), reaches.party(number)
                    asked = result.between(*(pair if direction == "ingress" else pair[::-1]))
                    families = {addresses.family(each) for each in one.addresses} or {addresses.family(address)}
                    if addresses.family(address) in families:
                        assert asked == outcome, (number, direction, addresses.cidrs(ranges))
            if not one.node:
                assert addresses.union(span for ranges, _ in sets for span in ranges) == addresses.EVERYWHERE
