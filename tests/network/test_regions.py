"""Terms and pieces against a small universe: every pod of two labels in every namespace of three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from posture.network import addresses, regions
from posture.network.endpoints import NAME_LABEL, Endpoint
from posture.network.policies import Pods, Ports
from posture.network.ports import EVERY, span
from posture.network.portset import PortSet, common_ports, joined_ports, port_set, without_ports
from posture.network.regions import Piece, Term, both, from_selectors, holds, selector_of, term_of, without
from posture.selectors import matches
from tests.generator.network import random_expression

LABELS = {"app": ("api", "db"), "tier": ("front", "back")}
SPACES = {"team": ("a", "b"), NAME_LABEL: ("pay", "web")}
VALUES: tuple[str | None, ...] = (None, "other")
NAMES = ("http", "sql")
NUMBERS = (80, 443, 5432)
PLACES = tuple(map(addresses.number, ("10.0.0.1", "10.0.0.2", "192.0.2.1", "2001:db8::1")))
RANGES = ("10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0")

PODS = [{key: value for key, value in zip(LABELS, values, strict=True) if value is not None}
        for values in product(*((*known, *VALUES) for known in LABELS.values()))]  # fmt: skip
NAMESPACES = [{NAME_LABEL: name} | ({"team": team} if team else {})
              for name in ("pay", "web", "lab") for team in ("a", "b", None, "other")]  # fmt: skip
UNIVERSE = [*product(NAMESPACES, PODS)]
randoms = st.integers(0, 2**32).map(Random)
type Member = tuple[Mapping[str, str], Mapping[str, str]]


def random_selector(random: Random, known: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """A selector with every operator."""
    labels = {key: random.choice(values) for key, values in known.items() if random.random() < 0.25}
    expressions = [random_expression(random, known) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    return {"matchLabels": labels, "matchExpressions": [one for one in expressions if one["key"] != "nowhere"]}


def random_pods(random: Random) -> Pods:
    """A peer."""
    if random.random() < 0.3:
        return Pods("pay", None, random_selector(random, LABELS))
    return Pods("", random_selector(random, SPACES), random_selector(random, LABELS))


def picked(peer: Pods) -> list[Member]:
    """The members of the universe that a peer is, by the API's own rules."""
    own = {"matchLabels": {NAME_LABEL: peer.namespace}}
    namespaces = own if peer.namespaces is None else peer.namespaces
    return [each for each in UNIVERSE if matches(namespaces, each[0]) and matches(peer.pods, each[1])]


def members(terms: Sequence[Term | None]) -> list[Member]:
    """The members of the universe that are in some of the terms."""
    return [(spaces, labels) for spaces, labels in UNIVERSE
            if any(term is not None and holds(term, spaces, labels) for term in terms)]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(randoms)
def test_a_term_is_what_its_selectors_pick(random: Random) -> None:
    """And written as selectors again it is the same."""
    peer = random_pods(random)
    term = term_of(peer)

    assert members([term]) == picked(peer)
    if term is not None:
        assert from_selectors(selector_of(term.part(pods=False)), selector_of(term.part(pods=True))) == term


@settings(max_examples=150, deadline=None)
@given(randoms)
def test_terms_are_cut_and_taken_away_exactly(random: Random) -> None:
    """Pod by pod; the parts of a difference share none, and it can be written and read again."""
    peers = random_pods(random), random_pods(random)
    terms = [term_of(peer) for peer in peers]
    one, other = terms
    if one is None or other is None:
        return
    rest = [*without(one, other)]

    assert members([both(one, other)]) == [each for each in picked(peers[0]) if each in picked(peers[1])]
    assert members(rest) == [each for each in picked(peers[0]) if each not in picked(peers[1])]
    assert len(members(rest)) == sum(len(members([each])) for each in rest)
    for each in rest:
        assert from_selectors(selector_of(each.part(pods=False)), selector_of(each.part(pods=True))) == each


# Ports --------------------------------------------------------------------------------------------------------------


def random_ports(random: Random) -> PortSet:
    """Ports of a rule: numbers and names."""
    numbered = reduce(int.__or__, (span("TCP", one, one) for one in NUMBERS if random.random() < 0.4), 0)
    named = [(name, random.choice(("TCP", ""))) for name in NAMES if random.random() < 0.4]
    return port_set(Ports(EVERY if random.random() < 0.2 else numbered, tuple(named)))


DESTINATIONS = [
    Endpoint("", "", (), tuple(sorted({(("http", "TCP"), first), (("sql", protocol), second)})), False)
    for first, second, protocol in product(NUMBERS, NUMBERS, ("TCP", "UDP")) if first != second
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(randoms)
def test_sets_of_ports_are_what_they_are_at_every_destination(random: Random) -> None:
    """Whatever numbers its names are, and whatever was done to them before."""
    one, other, third = (random_ports(random) for _ in range(3))
    for mine in (one, without_ports(third, one)):
        for destination in DESTINATIONS:
            here, there = mine.at(destination), other.at(destination)
            assert common_ports(mine, other).at(destination) == here & there
            assert joined_ports(mine, other).at(destination) == here | there
            assert without_ports(mine, other).at(destination) == here & ~there


# Pieces -------------------------------------------------------------------------------------------------------------


def random_piece(random: Random) -> Piece:
    """A piece of pods, at any of some addresses, or of addresses."""
    term = term_of(random_pods(random)) if random.random() < 0.8 else None
    some = addresses.union(map(addresses.network, random.sample(RANGES, random.randint(1, 2))))
    ranges = some if term is None or random.random() < 0.4 else addresses.EVERYWHERE
    return Piece(term, ranges, random_ports(random))


def points(pieces: Sequence[Piece]) -> dict[object, int]:
    """For some members, at each address, the ports at one destination."""
    found: dict[object, int] = {}
    for piece in pieces:
        for place in PLACES:
            if not addresses.holds(piece.ranges, place):
                continue
            if piece.who is None:
                found["", place] = found.get(("", place), 0) | piece.ports.at(DESTINATIONS[0])
                continue
            assert isinstance(piece.who, Term)
            for number, (spaces, labels) in enumerate(UNIVERSE):
                if holds(piece.who, spaces, labels):
                    found[number, place] = found.get((number, place), 0) | piece.ports.at(DESTINATIONS[0])
    return {point: ports for point, ports in found.items() if ports}


@settings(max_examples=150, deadline=None)
@given(randoms)
def test_pieces_are_taken_away_gathered_and_cut_exactly(random: Random) -> None:
    """Pod by pod, address by address, port by port."""
    given, others = ([random_piece(random) for _ in range(random.randint(1, 3))] for _ in range(2))
    held, known = points(given), points(others)
    left = {point: ports & ~known.get(point, 0) for point, ports in held.items()}
    cut = [both for one in given for other in others if (both := regions.overlap(one, other))]
    shared = {point: ports & known.get(point, 0) for point, ports in held.items()}

    assert points(regions.subtracted(given, others)) == {point: ports for point, ports in left.items() if ports}
    assert points(regions.gathered(given)) == held
    assert points(cut) == {point: ports for point, ports in shared.items() if ports}
