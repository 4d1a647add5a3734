"""Where no pod is admitted at all, whatever it is and whoever asks: a policy refuses each.

A policy that refuses the plain pod may let another one pass: one with a label that it asks for, or of somebody else.
Only of one that says so whatever it is asked (`Policy.always`), and that nothing takes anything out of in a namespace,
is it known that it refuses every pod. Whoever creates a workload there gets none.
"""

from __future__ import annotations

from posture.admission.evaluate import ENGINES, Admission, variants_of
from posture.admission.policy import Asked, Policy, Space, Variant
from posture.admission.requests import pod_creation
from posture.admission.violations import NEW, USERS
from posture.model import CLUSTER_SCOPE

_POD = {"metadata": {"name": "test-request"}, "spec": {"containers": [{"name": "c", "image": "c"}]}}


def may_be(admission: Admission) -> bool:
    """Whether there is a policy that may close a namespace: without one nothing has to be asked."""
    known: dict[str, bool] = admission.__dict__.setdefault("_closing", {})
    if not known:
        known["may"] = any(policy.always and policy.enforces for policy in admission.policies)
    return known["may"]


def is_closed(admission: Admission, scope: str, without: str = "", *, new: bool = False) -> bool:
    """Whether no pod is admitted in a namespace; for the scope `*` in one of all, or if `new` in one that may come.
    `without` is an engine that refuses nothing any more.
    """
    if not may_be(admission):
        return False
    known: dict[tuple[str, str], bool] = admission.__dict__.setdefault("_closed", {})
    place = (NEW if new and scope == CLUSTER_SCOPE else scope, without)
    if place not in known:
        everywhere = place[0] == CLUSTER_SCOPE
        known[place] = (
            any(name and is_closed(admission, name, without) for name in admission.spaces) if everywhere
            else _is_closed(admission, *place)
        )  # fmt: skip
    return known[place]


def _is_closed(admission: Admission, namespace: str, without: str) -> bool:
    there = admission.spaces.get(namespace)
    space = there.space if there else Space.of(NEW, None)
    mine = (policy for policy in admission.policies if policy.always and policy.engine != without)
    return any(_refuses(admission, *one, space) for one in variants_of(mine, space))


def _refuses(admission: Admission, policy: Policy, variant: Variant, space: Space) -> bool:
    """Whether a policy refuses the plain pod in a namespace, for sure and from everybody."""
    if not policy.enforces or variant.why or variant.exemptions or policy.opaque:
        return False
    requests = (
        pod_creation(_POD, space.name, space.object, user=one.name, groups=one.groups) for one in USERS
    )  # fmt: skip
    asked = [Asked(policy, request) for request in requests]
    return all(one.refuses is True for one in ENGINES[policy.engine].judged(asked, admission.cel))
