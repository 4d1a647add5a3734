"""Pods and addresses that could be, drawn from what a unit says; and what one end makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from posture.network import addresses
from posture.network.connectivity import Connectivity, Party, Space, worlds
from posture.network.endpoints import Endpoint
from posture.network.policies import Direction, Unsure
from posture.network.ports import PROTOCOLS, span, spans
from posture.network.regions import Piece, State, Term, Workload, has, holds
from tests.generator.network import PORT_NUMBERS

NOWHERE = "elsewhere"
"""A namespace that no generator makes."""


def possible(
    result: Connectivity, space: Space, one: Endpoint, direction: Direction, other: Party, *, surely: bool = False
) -> int:
    """The ports that the end of a class may allow; or those that it allows for sure."""
    profile = space.profile(one, direction)
    if one.node:
        return 0
    here = Connectivity(result.snapshot, {**result.spaces, space.name: space}, result.above, result.pods_by_ip)
    subject = Party(one, space.labels, name="subject")
    if profile.unknown:
        return 0
    found = worlds(lambda world: here.end(world, subject, direction, other))
    return found.allowed if surely else found.accept


def at(other: Party, result: Connectivity) -> Party:
    """A party in the namespace as it is in a result; where it is not there, as it was made."""
    assert other.endpoint is not None
    name = other.endpoint.namespace
    return other._replace(labels=result.spaces[name].labels) if name in result.spaces else other


def parties(random: Random, piece: Piece, after: Connectivity) -> Iterator[Party]:
    """Some peers that are in a piece: pods that could be, or addresses."""
    if isinstance(piece.who, Term):
        for _ in range(8 if piece.ports.named else 2):
            yield _pod(random, piece, after)
    elif isinstance(piece.who, Workload):
        for space in after.spaces.values():
            yield from (Party(one, space.labels, name=repr(one.what)) for one in space.classes
                        if one.workload == piece.who.name and not one.node)  # fmt: skip
    else:
        for number in _numbers(random, piece):
            yield Party(None, address=number)


def _numbers(random: Random, piece: Piece) -> list[int]:
    first, last = random.choice(piece.ranges)
    return sorted({first, last, random.randint(first, last)})


def _pod(random: Random, piece: Piece, after: Connectivity) -> Party:
    assert isinstance(piece.who, Term)
    name = piece.who.namespace
    labels = {key: value for (pod, key), state in piece.who.states if not pod
              if (value := _value(random, state)) is not None}  # fmt: skip
    name = name or labels.get("kubernetes.io/metadata.name") or NOWHERE
    labels["kubernetes.io/metadata.name"] = name
    if name in after.spaces and piece.who.namespace:
        labels = dict(after.spaces[name].labels)
    own = {key: value for (pod, key), state in piece.who.states if pod
           if (value := _value(random, state)) is not None}  # fmt: skip
    names = [each for each, _ in piece.ports.named]  # a port has one name
    named = set(zip(names, random.sample((*PORT_NUMBERS, *range(30000, 30000 + len(names))), len(names)), strict=True))
    address = random.choice(_numbers(random, piece)) if piece.ranges != addresses.EVERYWHERE else None
    party = Party(Endpoint("", name, tuple(sorted(own.items())), tuple(sorted(named)), False), labels, address)
    assert holds(piece.who, {}, own) or holds(piece.who, labels, own), (piece, labels, own)
    return party


def _value(random: Random, state: State) -> str | None:
    """A value of a label; None for its absence."""
    if state.absent and random.random() < 0.5:
        return None
    if not state.among:
        return f"{NOWHERE}{random.randrange(10)}"
    return random.choice(sorted(state.values)) if state.values else None


def ports_of(piece: Piece, destination: Endpoint | None) -> int:
    """The ports of a piece; names are looked up on the destination."""
    return piece.ports.numbered if destination is None else piece.ports.at(destination)


def some_ports(random: Random, ports: int) -> list[int]:
    """Single ports of a set: the ends of its runs, and one between."""
    found = [(protocol, number) for protocol, first, last in spans(ports)
             for number in (first, last, random.randint(first, last))]  # fmt: skip
    return [span(protocol, number, number) for protocol, number in random.sample(found, min(6, len(found)))]


def is_in(piece: Piece, labels: Mapping[str, str], other: Party) -> bool:
    """Whether a party is one of a piece."""
    if other.endpoint is None:
        assert other.address is not None
        return (piece.who is None or isinstance(piece.who, Unsure)) and addresses.holds(piece.ranges, other.address)
    if isinstance(piece.who, Workload):
        return piece.who.name == other.endpoint.workload
    known = [] if other.address is None else [other.address]
    return has(piece, labels, dict(other.endpoint.labels), known)


__all__ = ["PROTOCOLS", "at", "is_in", "parties", "ports_of", "possible", "some_ports"]
