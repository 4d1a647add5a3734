"""What two clusters differ in: the pairs of workloads that may talk on other ports.

Two classes that look alike to all policies and are selected by policies of the same content, on both sides, differ in
nothing between them: only pairs with an end that is not the same are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .connectivity import DENIED, Connectivity, Outcome
from .evaluate import seeing
from .policies import DIRECTIONS
from .ports import EVERY
from .reach import Reaches

type Pair = tuple[str, str]


class Different(NamedTuple):
    """Two workloads, and what may go from one to the other before and after. Ports of any of their pods count."""

    source: str
    destination: str
    before: Outcome
    after: Outcome


def differences(before: Connectivity, after: Connectivity) -> Iterator[Different]:
    """The pairs of workloads that differ, sorted."""
    sides = seeing(before, after.seen), seeing(after, before.seen)
    looks = [_looks(side) for side in sides]
    same = set(looks[0]) & set(looks[1])
    moved = {look[0][0] for side in looks for look in side if look not in same}
    found = [_around(side, moved) for side in sides]
    for pair in sorted(found[0].keys() | found[1].keys()):
        one, other = (side.get(pair, DENIED) for side in found)
        if one != other:
            yield Different(*pair, one, other)


type _Look = tuple[tuple[Any, ...], tuple[tuple[str, str], ...], str, str]


def _looks(side: Connectivity) -> list[_Look]:
    """For each class all that decides what it may do: itself, its namespace's labels, and what selects it says."""
    found: list[_Look] = []
    for one in side.classes:
        labels = tuple(sorted(side.labels_of(one.namespace).items()))
        into, out = (side.profile(one, direction).says for direction in DIRECTIONS)
        found.append((one, labels, into, out))
    return found


def _around(side: Connectivity, moved: set[str]) -> dict[Pair, Outcome]:
    """What may talk with workloads that are not the same: for each pair what any of their classes may."""
    reaches = Reaches(side)
    found: dict[Pair, Outcome] = {}
    for number, one in enumerate(side.classes):
        if one.workload in moved:
            for source, destination, outcome in reaches.around(number):
                pair = side.classes[source].workload, side.classes[destination].workload
                known = found.get(pair, DENIED)
                surely = known.allowed | outcome.allowed
                found[pair] = Outcome(known.accept | outcome.accept, EVERY & ~surely)
    return found
