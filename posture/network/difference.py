"""What two clusters differ in: the pairs of workloads that may talk on other ports.

Two classes that look alike to all policies and are selected by policies of the same content, on both sides, differ in
nothing between them: only pairs with an end that is not the same are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .connectivity import DENIED, Connectivity, Outcome, Profile
from .policies import DIRECTIONS, Direction
from .reach import Reaches

type Pair = tuple[str, str]


class Different(NamedTuple):
    """Two workloads, and what may go from one to the other before and after. Ports of any of their pods count."""

    source: str
    destination: str
    before: Outcome
    after: Outcome


def differences(before: Connectivity, after: Connectivity) -> Iterator[Different]:
    """The pairs of workloads that differ, sorted. Both sides must tell their classes apart alike (`beside`)."""
    sides = before, after
    same = _same(before) & _same(after)
    places = [{one: number for number, one in enumerate(side.classes)} for side in sides]
    moved = {
        one.workload
        for side in sides
        for number, one in enumerate(side.classes)
        if (one, _look(side, number)) not in same
    }
    found = [_around(side, moved, place) for side, place in zip(sides, places, strict=True)]
    for pair in sorted(found[0].keys() | found[1].keys()):
        one, other = (side.get(pair, DENIED) for side in found)
        if one != other:
            yield Different(*pair, one, other)


def _same(side: Connectivity) -> set[tuple[Any, ...]]:
    return {(one, _look(side, number)) for number, one in enumerate(side.classes)}


def _look(side: Connectivity, number: int) -> tuple[Any, ...]:
    """All beside itself that decides what a class may do: its namespace's labels, and what selects it says."""
    labels = tuple(sorted(side.labels_of(side.classes[number].namespace).items()))
    return labels, *(_content(side, side.profiles[direction][number], direction) for direction in DIRECTIONS)


def _content(side: Connectivity, profile: Profile, direction: Direction) -> str:
    """What policies say, whatever they are called and in however many NetworkPolicies they say it."""

    def said(numbers: tuple[int, ...]) -> list[str]:
        return [repr(side.policies[number].rules(direction)) for number in numbers]

    networks = None if profile.networks is None else sorted(
        {repr(rule) for number in profile.networks for rule in side.policies[number].rules(direction) or ()}
    )  # fmt: skip
    tiers = [[sorted(said(group)) for group in tier] for tier in (profile.admin, profile.baseline, (profile.old,))]
    return repr((networks, tiers, profile.broken))


def _around(side: Connectivity, moved: set[str], places: Mapping[Any, int]) -> dict[Pair, Outcome]:
    """What may talk with workloads that are not the same: for each pair what any of their classes may."""
    reaches = Reaches(side)
    found: dict[Pair, Outcome] = {}
    for one, number in places.items():
        if one.workload in moved:
            for source, destination, outcome in reaches.around(number):
                pair = side.classes[source].workload, side.classes[destination].workload
                known = found.get(pair, DENIED)
                surely = known.allowed | outcome.allowed
                accept = known.accept | outcome.accept
                found[pair] = Outcome(accept, DENIED.deny & ~surely)
    return found
