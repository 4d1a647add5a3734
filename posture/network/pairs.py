"""Every pair that may talk, by the names that people know: workloads, and ranges of addresses outside.

Ports of any pod of a workload count. Addresses are judged at the workload's end alone: where one belongs to a pod or a
node after all, policies there count too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from . import addresses
from .addresses import EVERYWHERE, Ranges
from .connectivity import ACCEPTED, DENIED, Connectivity, Outcome
from .policies import DIRECTIONS, Direction
from .ports import shown
from .reach import Reaches

type Sets = list[tuple[Ranges, Outcome]]
"""Disjoint sets of addresses, and what happens to those in each"""

ANYONE: Sets = [(EVERYWHERE, ACCEPTED)]


class Row(NamedTuple):
    """Who may talk to whom: `workload:NS/NAME[Kind]` or `external:CIDR`, one of each at least."""

    source: str
    destination: str
    found: Outcome


def rows(result: Connectivity, namespace: str = "") -> Iterator[Row]:
    """All of them, workload by workload; with a namespace, those with an end there."""
    reaches = Reaches(result)
    numbered = groupby(range(len(result.classes)), lambda number: result.classes[number].workload)
    for workload, numbers in numbered:
        mine = [*numbers]
        near = result.classes[mine[0]].namespace == namespace
        found: dict[str, Outcome] = {}
        if not namespace or near:
            for number in mine:
                for other, outcome in reaches.from_one(number):
                    name = result.classes[other].workload
                    found[name] = joined(found.get(name, DENIED), outcome)
        else:
            found = _into(reaches, mine, namespace)
        yield from (Row(workload, other, found[other]) for other in sorted(found))
        if not namespace or near:
            for direction in DIRECTIONS:
                for ranges, outcome in outside(reaches, mine, direction):
                    if outcome.accept:
                        yield from (external(workload, direction, cidr, outcome) for cidr in addresses.cidrs(ranges))


def _into(reaches: Reaches, numbers: Iterable[int], namespace: str) -> dict[str, Outcome]:
    """What classes may reach in a namespace."""
    found: dict[str, Outcome] = {}
    for number in numbers:
        for other in reaches.places.get(namespace, ()):
            outcome = reaches.both(number, other)
            if outcome.accept:
                name = reaches.of.classes[other].workload
                found[name] = joined(found.get(name, DENIED), outcome)
    return found


def external(workload: str, direction: Direction, cidr: str, outcome: Outcome) -> Row:
    """A row of a workload and a range."""
    ends = (f"external:{cidr}", workload) if direction == "ingress" else (workload, f"external:{cidr}")
    return Row(*ends, outcome)


def joined(one: Outcome, other: Outcome) -> Outcome:
    """What any of two pods may: surely what one surely may."""
    return Outcome(one.accept | other.accept, one.deny & other.deny)


def outside(reaches: Reaches, numbers: Collection[int], direction: Direction) -> Sets:
    """What happens between a workload, which is some classes, and addresses that are no pod's."""
    found: Sets = [(EVERYWHERE, DENIED)]
    for number in numbers:
        families = {addresses.family(each) for each in reaches.of.classes[number].addresses} or {4, 6}
        within = tuple(span for span in EVERYWHERE if addresses.family(span[0]) in families)
        found = [
            (both, joined(known, outcome) if inside else known)
            for ranges, known in found
            for part, outcome in reaches.outside(number, direction) or [(EVERYWHERE, DENIED)]
            for inside, half in ((True, addresses.common(part, within)), (False, addresses.minus(part, within)))
            if (both := addresses.common(ranges, half))
        ]
    return merged(found)


def merged(given: Iterable[tuple[Ranges, Outcome]]) -> Sets:
    """The same with one set for each outcome."""
    found: dict[Outcome, list[tuple[int, int]]] = {}
    for ranges, outcome in given:
        found.setdefault(outcome, []).extend(ranges)
    return [(addresses.union(ranges), outcome) for outcome, ranges in found.items()]


def conn(found: Outcome) -> str:
    """What may go, in words: `TCP 80,443`, `every port`; what is not known is behind `unknown: `; "" is nothing."""
    unknown = found.accept & found.deny
    parts = [shown(found.allowed)] if found.allowed else []
    return ", ".join([*parts, f"unknown: {shown(unknown)}"] if unknown else parts)
