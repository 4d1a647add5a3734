"""Small clusters, evaluated; and what single requests say about them: an oracle that asks each policy each question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from posture.admission.evaluate import ENGINES, Admission, evaluate
from posture.admission.policy import ANY, NONE, Asked, Policy, Shape, Space, Variant, Verdict
from posture.admission.register import Entry
from posture.admission.requests import Request
from posture.admission.violations import USERS, VIOLATIONS, Violation
from posture.admission.workloads import requests_of
from posture.model import Gap, Snapshot
from tests.generator.admission import change
from tests.generator.objects import Object, snapshot

NUMBERS = {one.id: number for number, one in enumerate(VIOLATIONS)}


def taken(objects: Iterable[Object], settings: Mapping[str, Any], gaps: Sequence[Gap] = ()) -> Snapshot:
    """The snapshot of some objects with what is said of the cluster."""
    return replace(snapshot(objects, gaps), settings=settings)


def evaluated(objects: Iterable[Object], settings: Mapping[str, Any], gaps: Sequence[Gap] = ()) -> Admission:
    """What a cluster of some objects refuses."""
    return evaluate(taken(objects, settings, gaps))


def edited(objects: Sequence[Object], seeds: Iterable[int]) -> list[Object]:
    """A cluster after some random edits."""
    found = list(objects)
    for seed in seeds:
        found = change(Random(seed), found)
    return found


def spaces(live: Admission) -> Iterable[str]:
    """The namespaces, without the cluster itself."""
    return [name for name in live.spaces if name]


def ids(mask: int) -> set[str]:
    """The violations of a set."""
    return {one.id for number, one in enumerate(VIOLATIONS) if mask >> number & 1}


def mask_of(violations: Iterable[Violation]) -> int:
    """The set of some violations."""
    return sum(1 << NUMBERS[one.id] for one in violations)


def shaped(request: Request, shape: Shape) -> Request:
    """A request as one that an exemption takes out."""
    return request if shape == ANY else request.shaped(*shape)


# The oracle ---------------------------------------------------------------------------------------------------------


class Meant(NamedTuple):
    """A policy as it is meant for a namespace."""

    policy: Policy
    variant: Variant


def meant(live: Admission, space: Space) -> list[Meant]:
    """The policies that are meant for a namespace and can have something refused there."""
    found = ((policy, ENGINES[policy.engine].variant(policy, space)) for policy in live.policies)
    return [Meant(policy, variant) for policy, variant in found if variant is not None and policy.enforces is not False]


class Oracle:
    """Asks every policy about every request, and has no memory of enforcement's."""

    def __init__(self, live: Admission) -> None:
        self.live = live

    def said(self, one: Meant, request: Request, exemptions: frozenset[int]) -> Verdict:
        """What a policy says of one request."""
        return ENGINES[one.policy.engine].judged([Asked(one.policy, request, exemptions)], self.live.cel)[0]

    def refuses(
        self, one: Meant, test: Violation, space: Space, shape: Shape = ANY, without: frozenset[int] = NONE
    ) -> bool | None:
        """Whether a policy refuses a violation, whoever asks and only because of it; `without` are not in force."""
        bare = self._everybody(one, test, space, ANY, NONE)
        fine = self._everybody(one, test.harmless, space, ANY, NONE) if test.harmless else False
        if bare is False or fine is True:
            return False
        exempted = self._everybody(one, test, space, shape, one.variant.exemptions - without)
        sure = one.policy.enforces is True and not one.variant.why
        if exempted is False:
            return False
        return True if bare and exempted and fine is False and sure else None

    def _everybody(
        self, one: Meant, test: Violation, space: Space, shape: Shape, exemptions: frozenset[int]
    ) -> bool | None:
        users = USERS if one.policy.users else USERS[:1]
        found = [self.said(one, shaped(test.request(space, *user), shape), exemptions).refuses for user in users]
        return False if False in found else None if None in found else True

    def enforced(self, test: Violation, space: Space, shape: Shape = ANY) -> bool | None:
        """Whether a violation is refused in a namespace."""
        found = [self.refuses(one, test, space, shape) for one in meant(self.live, space)]
        return True if True in found else None if None in found else False

    def admitted(self, request: Request, space: Space) -> bool | None:
        """Whether one request is admitted."""
        unsure = False
        for one in meant(self.live, space):
            refuses = self.said(one, request, one.variant.exemptions).refuses
            if refuses and one.policy.enforces is True and not one.variant.why:
                return False
            unsure |= refuses is not False
        return None if unsure else True

    def workloads(self, namespace: str) -> dict[str, bool | None]:
        """Which workloads would be admitted if they came today."""
        space = self.live.spaces[namespace].space
        found: dict[str, bool | None] = {}
        for subject, request in requests_of(self.live.snapshot, namespace):
            said = self.admitted(request, space)
            found[subject] = said if subject not in found or found[subject] is not False else False
        return found


def shape_of(entry: Entry) -> Shape | None:
    """An example of what an entry takes out."""
    return entry.exemption.shape


__all__ = [
    "NUMBERS", "Meant", "Oracle", "edited", "evaluated", "ids", "mask_of", "meant", "shape_of", "shaped", "spaces",
    "taken",
]  # fmt: skip
