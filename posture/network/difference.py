"""What two clusters differ in: the pairs of workloads that may talk on other ports.

Two classes that look alike to all policies and are selected by policies of the same content, on both sides, differ in
nothing between them: only pairs with an end that is not the same are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .connectivity import DENIED, Connectivity, Outcome, Profile
from .endpoints import Endpoint
from .policies import DIRECTIONS, Direction
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
    """The pairs of workloads that differ, sorted. Both sides must tell their classes apart alike (`beside`)."""
    sides = before, after
    looks = [_looks(side) for side in sides]
    same = set(looks[0]) & set(looks[1])
    moved = {look[0].workload for side in looks for look in side if look not in same}
    found = [_around(side, moved) for side in sides]
    for pair in sorted(found[0].keys() | found[1].keys()):
        one, other = (side.get(pair, DENIED) for side in found)
        if one != other:
            yield Different(*pair, one, other)


type _Look = tuple[Endpoint, tuple[tuple[str, str], ...], str, str]


def _looks(side: Connectivity) -> list[_Look]:
    """For each class all that decides what it may do: itself, its namespace's labels, and what selects it says."""
    texts = [{way: [repr(rule) for rule in one.rules(way) or ()] for way in DIRECTIONS} for one in side.policies]
    known: dict[tuple[Profile, Direction], str] = {}

    def content(profile: Profile, direction: Direction) -> str:
        if (profile, direction) not in known:
            known[profile, direction] = _content(profile, [text[direction] for text in texts])
        return known[profile, direction]

    found: list[_Look] = []
    for number, one in enumerate(side.classes):
        labels = tuple(sorted(side.labels_of(one.namespace).items()))
        into, out = (content(side.profiles[direction][number], direction) for direction in DIRECTIONS)
        found.append((one, labels, into, out))
    return found


def _content(profile: Profile, texts: Sequence[Sequence[str]]) -> str:
    """What policies say, whatever they are called and in however many NetworkPolicies they say it."""
    networks = None
    if profile.networks is not None:
        networks = sorted({text for number in profile.networks for text in texts[number]})
    tiers = [[sorted(list(texts[number]) for number in group) for group in tier]
             for tier in (profile.admin, profile.baseline, (profile.old,))]  # fmt: skip
    return repr((networks, tiers, profile.broken))


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
