"""What two clusters differ in: the pairs of workloads, or of a workload and addresses, that may talk on other ports.

Two classes that look alike to all policies and are selected by policies of the same content, on both sides, differ in
nothing between them: only pairs with an end that is not the same are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from . import addresses
from .connectivity import DENIED, Connectivity, Outcome, Profile
from .evaluate import seeing
from .pairs import external, joined, outside
from .policies import DIRECTIONS
from .reach import Reaches

type Pair = tuple[str, str]


class Different(NamedTuple):
    """Two ends, and what may go from one to the other before and after. Ports of any pod of a workload count."""

    source: str
    destination: str
    before: Outcome
    after: Outcome


def differences(before: Connectivity, after: Connectivity) -> Iterator[Different]:
    """The pairs of workloads that differ, sorted."""
    yield from _pairs(*_sides(before, after))


def everywhere(before: Connectivity, after: Connectivity) -> Iterator[Different]:
    """The pairs of workloads that differ, then those of a workload and a range of addresses outside."""
    sides, moved = _sides(before, after)
    yield from _pairs(sides, moved)
    yield from _outside(sides, moved)


def _sides(before: Connectivity, after: Connectivity) -> tuple[list[Reaches], frozenset[str]]:
    """Both sides with the same classes, and the workloads that are not the same on both."""
    sides = seeing(before, after.seen), seeing(after, before.seen)
    looks = [_looks(side) for side in sides]
    same = set(looks[0]) & set(looks[1])
    return [Reaches(side) for side in sides], frozenset(
        look[0][0] for side in looks for look in side if look not in same
    )


def _pairs(sides: Sequence[Reaches], moved: frozenset[str]) -> Iterator[Different]:
    found = [_around(side, moved) for side in sides]
    for pair in sorted(found[0].keys() | found[1].keys()):
        one, other = (side.get(pair, DENIED) for side in found)
        if one != other:
            yield Different(*pair, one, other)


def _outside(sides: Sequence[Reaches], moved: frozenset[str]) -> Iterator[Different]:
    numbers: list[dict[str, list[int]]] = [{}, {}]
    for side, found in zip(sides, numbers, strict=True):
        for number, one in enumerate(side.of.classes):
            if one.workload in moved:
                found.setdefault(one.workload, []).append(number)
    for workload in sorted(moved):
        for direction in DIRECTIONS:
            was, now = (outside(side, found.get(workload, []), direction)
                        for side, found in zip(sides, numbers, strict=True))  # fmt: skip
            parts: dict[tuple[Outcome, Outcome], list[tuple[int, int]]] = {}
            for ranges, old in was:
                for others, new in now:
                    if old != new and (both := addresses.common(ranges, others)):
                        parts.setdefault((old, new), []).extend(both)
            for spans, (old, new) in sorted((addresses.union(spans), pair) for pair, spans in parts.items()):
                for cidr in addresses.cidrs(spans):
                    source, destination, _ = external(workload, direction, cidr, old)
                    yield Different(source, destination, old, new)


type _Look = tuple[tuple[Any, ...], tuple[tuple[str, str], ...], str, tuple[Any, ...], tuple[Any, ...]]


def _looks(side: Connectivity) -> list[_Look]:
    """For each class all that decides what it may do: itself, its namespace's labels, and what selects it says."""
    found: list[_Look] = []
    for one in side.classes:
        labels = tuple(sorted(side.labels_of(one.namespace).items()))
        into, out = (_says(side.profile(one, direction)) for direction in DIRECTIONS)
        found.append((one, labels, side.pods_by_ip, into, out))
    return found


def _says(profile: Profile) -> tuple[Any, ...]:
    return profile.says, profile.unmodelled


def _around(side: Reaches, moved: frozenset[str]) -> dict[Pair, Outcome]:
    """What may talk with workloads that are not the same: for each pair what any of their classes may."""
    found: dict[Pair, Outcome] = {}
    for number, one in enumerate(side.of.classes):
        if one.workload in moved:
            for source, destination, outcome in side.around(number):
                pair = side.of.classes[source].workload, side.of.classes[destination].workload
                found[pair] = joined(found.get(pair, DENIED), outcome)
    return found
