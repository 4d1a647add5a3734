"""What policies may allow, written as sets of all pods that there could be, is what they say of each that there is."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from posture.network import addresses
from posture.network.allowed import allowed
from posture.network.connectivity import Party, worlds
from posture.network.endpoints import Endpoint
from posture.network.policies import DIRECTIONS, Direction
from posture.network.ports import shown
from posture.network.regions import Piece, has
from tests.generator.network import random_network
from tests.network.clusters import evaluated

seeds = st.integers(0, 2**32)


def ports_of(piece: Piece, direction: Direction, destination: Endpoint) -> int:
    """The ports of a piece; names are looked up on the destination."""
    return piece.ports.at(destination) if direction == "egress" else piece.ports.numbered


@settings(max_examples=400, deadline=None)
@given(seeds)
def test_sets_are_what_happens_to_each_pod(seed: int) -> None:
    """For each class and each other one with an address, in both directions; and for addresses outside."""
    random = Random(seed)
    result = evaluated(random_network(random), "no")
    for one in result.classes:
        for direction in DIRECTIONS:
            profile = result.profile(one, direction)
            if one.node or profile.broken:
                continue
            pieces = allowed(profile, one)
            for other in result.classes:
                if other.node or len(other.addresses) != 1:
                    continue
                (address,) = other.addresses
                party = Party(other, result.labels_of(other.namespace), address)
                subject = result.party(one)
                said = worlds(lambda world: result.end(world, subject, direction, party)).accept  # noqa: B023
                told = 0
                for piece in pieces:
                    if has(piece, party.labels, dict(other.labels), [address]):
                        told |= ports_of(piece, direction, other)
                assert shown(told) == shown(said), (seed, one, direction, other)
            for text in ("1.1.1.1", "203.0.113.9", "2001:db8::8"):
                address = addresses.number(text)
                party = Party(None, address=address)
                subject = result.party(one)
                said = worlds(lambda world: result.end(world, subject, direction, party)).accept  # noqa: B023
                told = 0
                for piece in pieces:
                    if not isinstance(piece.who, tuple) or type(piece.who).__name__ == "Unsure":
                        told |= piece.ports.numbered if addresses.holds(piece.ranges, address) else 0
                assert shown(told) == shown(said), (seed, one, direction, text)
