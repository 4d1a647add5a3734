"""Small clusters, evaluated; and what single requests say of them: each policy is asked each, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from posture.admission.evaluate import ENGINES, Admission, evaluate
from posture.admission.policy import ANY, NONE, Asked, Policy, Shape, Space, Variant
from posture.admission.violations import USERS, VIOLATIONS, Violation
from posture.admission.workloads import requests_of
from posture.model import Gap, Snapshot
from tests.generator.admission import change
from tests.generator.objects import Object, snapshot

NUMBERS = {one.id: number for number, one in enumerate(VIOLATIONS)}
BY_ID = {one.id: one for one in VIOLATIONS}
type Said = bool | None


def taken(objects: Iterable[Object], settings: Mapping[str, Any], *gaps: Gap) -> Snapshot:
    """The snapshot of some objects with what is said of the cluster."""
    return replace(snapshot(objects, gaps), settings=settings)


def evaluated(objects: Iterable[Object], settings: Mapping[str, Any], *gaps: Gap) -> Admission:
    """What a cluster of some objects refuses."""
    return evaluate(taken(objects, settings, *gaps))


def edited(objects: Sequence[Object], random: Random, times: int) -> list[Object]:
    """A cluster after some random edits."""
    found = list(objects)
    for _ in range(times):
        found = change(random, found)
    return found


def ids(mask: int) -> set[str]:
    """The violations of a set."""
    return {identity for identity, number in NUMBERS.items() if mask >> number & 1}


def made_in(namespace: str, tests: Iterable[Violation]) -> list[Violation]:
    """Those of some violations that can be made in a namespace; "" is the cluster."""
    return [one for one in tests if (one.scope == "cluster") is (not namespace)]


# Single requests ----------------------------------------------------------------------------------------------------


def meant(live: Admission, space: Space) -> list[tuple[Policy, Variant]]:
    """The policies that are meant for a namespace and may have something refused."""
    found = ((policy, ENGINES[policy.engine].variant(policy, space)) for policy in live.policies)
    return [(policy, variant) for policy, variant in found if variant is not None and policy.enforces is not False]


def _surely(policy: Policy, variant: Variant) -> bool:
    return policy.enforces is True and not variant.why


def _all(found: Iterable[Said]) -> Said:
    said = [*found]
    return False if False in said else None if None in said else True


def _any(found: Iterable[Said]) -> Said:
    said = [*found]
    return True if True in said else None if None in said else False


def refused(live: Admission, space: Space, tests: Sequence[Violation], shape: Shape = ANY) -> dict[str, Said]:
    """Whether each violation is refused in a namespace, in requests of a shape; None where nobody can say.

    It is where some policy that is up, or fails closed, refuses its request whoever makes it, and does not refuse the
    same without the violation as well, which would say nothing about it.
    """
    found: dict[str, list[Said]] = {test.id: [] for test in tests}
    for policy, variant in meant(live, space):
        users = USERS if policy.users else USERS[:1]

        def asked(
            test: Violation, exemptions: frozenset[int], shape: Shape, users: Any = users, policy: Policy = policy
        ) -> list[Asked]:
            requests = (test.request(space, *user) for user in users)
            return [Asked(policy, one if shape == ANY else one.shaped(*shape), exemptions) for one in requests]

        rows = [
            (asked(test, NONE, ANY), asked(test.harmless, NONE, ANY) if test.harmless else [],
             asked(test, variant.exemptions, shape))
            for test in tests
        ]  # fmt: skip
        verdicts = iter(ENGINES[policy.engine].judged([one for row in rows for part in row for one in part], live.cel))
        for test, row in zip(tests, rows, strict=True):
            bare, fine, real = (_all([next(verdicts).refuses for _ in part]) for part in row)
            if not row[1]:
                fine = False
            if False in (bare, real) or fine is True:
                said: Said = False
            else:
                said = True if bare and real and fine is False and _surely(policy, variant) else None
            found[test.id].append(said)
    return {identity: _any(said) for identity, said in found.items()}


def admitted(live: Admission, namespace: str) -> dict[str, Said]:
    """Whether each workload of a namespace would be admitted if it came today."""
    space = live.spaces[namespace].space
    requests = requests_of(live.snapshot, namespace)
    found: dict[str, list[Said]] = {subject: [] for subject, _ in requests}
    for policy, variant in meant(live, space):
        asked = [Asked(policy, request, variant.exemptions) for _, request in requests]
        verdicts = ENGINES[policy.engine].judged(asked, live.cel)
        for (subject, _), verdict in zip(requests, verdicts, strict=True):
            unsure = verdict.refuses is not False and not _surely(policy, variant)
            found[subject].append(None if unsure else verdict.refuses)
    return {subject: None if (said := _any(refuses)) is None else not said for subject, refuses in found.items()}
