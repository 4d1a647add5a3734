"""Kyverno: its policies in CEL and its older ones, its exceptions, and what its configuration leaves out.

Source: kyverno v1.19.0, API groups kyverno.io and policies.kyverno.io. What releases do differently is unknown.
ValidatingAdmissionPolicies that Kyverno makes of a policy are the server's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from posture.admission.cel import Evaluator, Missing
from posture.admission.engines import liveness
from posture.admission.policy import Asked, Exemption, Policy, Space, Variant, Verdict
from posture.model import Gap, Snapshot

from . import cel_policies, legacy, ways
from .configuration import CONFIGMAPS, DEPLOYMENTS, WEBHOOKS, Setup
from .exceptions import CEL, LEGACY, REFERENCES, Exceptions
from .written import CLUSTER, LOCAL

NAME = "kyverno"
_POLICIES = (*(name for kind, name in REFERENCES.items() if "Mutating" not in kind), CLUSTER, LOCAL)
READS = (*_POLICIES, CEL, LEGACY, CONFIGMAPS, DEPLOYMENTS, WEBHOOKS, *liveness.READS)


def policies(snapshot: Snapshot) -> Iterable[Policy]:
    """Its policies, those in CEL first. Rules of one object are policies of their own that are edited as one."""
    if not any(snapshot.index.get(name) for name in _POLICIES):
        return ()
    setup = Setup(snapshot)
    exceptions = Exceptions(snapshot, setup.flags)
    return [
        *cel_policies.policies(snapshot, NAME, setup, exceptions), *legacy.policies(snapshot, NAME, setup, exceptions)
    ]  # fmt: skip


def variant(policy: Policy, space: Space) -> Variant | None:
    """What a policy is in a namespace; None where it is not meant for that."""
    found: Variant | None = policy.rule.variant(space)
    return found


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """For each question, in order, whether the policy refuses the request."""
    return ways.judged(asked, cel)


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """What keeps the policies that are there from being judged."""
    if isinstance(snapshot.settings.get("cel"), Missing):
        for name in (REFERENCES["ValidatingPolicy"], REFERENCES["NamespacedValidatingPolicy"]):
            if snapshot.index.get(name):
                yield Gap(name, "", "extra missing", f"{Missing.WHY}: what these policies refuse is unknown")
    opaque = Counter(legacy.opaque(snapshot))
    for (resource, why), count in sorted(opaque.items()):
        yield Gap(resource, "", "not modelled", f"{count} rule{'s' if count > 1 else ''} of Kyverno: {why}")


def strays(snapshot: Snapshot) -> Iterator[Exemption]:
    """Exceptions of which no policy knows."""
    if snapshot.index.get(LEGACY) or snapshot.index.get(CEL):
        yield from Exceptions(snapshot, Setup(snapshot).flags).strays()
