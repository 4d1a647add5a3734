"""What hides a policy, and what was read and cannot be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Gap, Key, Snapshot, Through
from posture.text import listed

from .cel import Missing
from .engines.liveness import SERVICES, SLICES
from .engines.scc import CONSTRAINTS as SCCS
from .engines.scc import READS as SCC_READS
from .evaluate import ENGINES, NAMESPACES, READS, Admission
from .workloads import WORKLOADS

_OTHER = frozenset({"services", "endpointslices.discovery.k8s.io", "serviceaccounts"})
_DECIDING = tuple(
    kind for kind in READS if kind in BY_NAME and not BY_NAME[kind].pod_spec and kind not in _OTHER
)  # fmt: skip
"""The kinds whose objects decide what is refused. Workloads do not, and of what answers engines say it themselves."""
_WITHOUT_SCCS = tuple(kind for kind in _DECIDING if kind not in SCC_READS or kind == SCCS)
_ANSWERING = (SLICES, SERVICES)
_WITHIN = frozenset(kind for kind in _DECIDING if BY_NAME[kind].namespaced and "olicies" in kind) | {NAMESPACES}
"""The kinds whose objects decide in their own namespace only; exceptions may be anywhere."""


def deciding(snapshot: Snapshot) -> tuple[str, ...]:
    """The kinds that decide what is refused in a cluster: where there are no SCCs, nobody's right to use one does."""
    return _DECIDING if snapshot.index.get(SCCS) else _WITHOUT_SCCS


def named(key: Key) -> str:
    """An object of this domain for people: `PolicyException pay/legacy`."""
    kind = BY_NAME[key.resource].kind if key.resource in BY_NAME else key.resource
    if kind == "*":
        kind, _, name = key.name.partition("/")
        return f"{kind} {name}"
    return f"{kind} {key.namespace}/{key.name}" if key.namespace else f"{kind} {key.name}"


def named_through(through: Through) -> str:
    """What one edits, for people."""
    if through.kind == "Label":
        return f"label {through.name} of Namespace {through.namespace}"
    if through.kind == "NoPolicy":
        return "no policy"
    if not through.name:
        return f"the {through.kind.lower()} of Namespace {through.namespace}"
    return (
        f"{through.kind} {through.namespace}/{through.name}" if through.namespace else f"{through.kind} {through.name}"
    )


def doubt(result: Admission, subject: str, scope: str, through: Through, other: Snapshot | None = None) -> Gap | None:
    """The gap that may hide a policy, or the labels by which one is meant for a namespace; None when all was read.

    What was read and cannot be evaluated hides nothing else.
    """
    del subject
    snapshot = result.snapshot
    if not snapshot.gaps:
        return None
    if any(policy.through == through and policy.up is None for policy in result.policies):
        answering = unanswered(snapshot)
        if answering is not None:
            return answering
    name = scope.removeprefix("*")
    if through in result.shares and (gap := unseen(snapshot, name)) is not None and gap.reason != "not collected":
        return gap  # whether it is used
    said = _said(snapshot)
    for gap in snapshot.gaps:
        if gap in said or gap.reason in ("not modelled", "extra missing"):
            continue
        for resource in deciding(snapshot):
            where = name if resource in _WITHIN else ""
            if gap.touches(resource, where):
                twin = other.gap(resource, where) if other is not None else None
                if gap.reason != "not collected" or twin is None or twin.reason != "not collected":
                    return gap
    return None


def unanswered(snapshot: Snapshot) -> Gap | None:
    """The gap that may hide what answers for policies."""
    return next((gap for kind in _ANSWERING if (gap := snapshot.gap(kind))), None)


def unseen(snapshot: Snapshot, namespace: str) -> Gap | None:
    """The gap that may hide workloads of a namespace."""
    if not snapshot.gaps:
        return None
    return next((gap for kind in WORKLOADS if (gap := snapshot.gap(kind, namespace))), None)


def _said(snapshot: Snapshot) -> frozenset[Gap]:
    known = snapshot.derived_from("gaps of admission")
    if "said" not in known:
        known["said"] = frozenset(gaps(snapshot))
    found: frozenset[Gap] = known["said"]
    return found


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """What engines read and cannot evaluate. That expressions are not is one gap, whatever the engines."""
    for engine in ENGINES.values():
        yield from (gap for gap in engine.gaps(snapshot) if gap.reason != "extra missing")
    if isinstance(snapshot.settings.get("cel"), Missing):
        found = [kind for kind in _DECIDING if any(_expressive(content) for _, content in snapshot.objects(kind))]
        if found:
            others = f" and those of {listed(found[1:])}" if found[1:] else ""
            what = f"what their expressions{others} refuse is unknown"
            yield Gap(found[0], "", "extra missing", f"{Missing.WHY}: {what}; pip install 'posture[cel]'")


def _expressive(given: Any) -> bool:
    """Whether there is an expression of CEL somewhere: every engine calls that `expression`."""
    stack = [given]
    while stack:
        one = stack.pop()
        if isinstance(one, Mapping):
            if isinstance(one.get("expression"), str):
                return True
            stack += one.values()
        elif isinstance(one, list):
            stack += one
    return False
