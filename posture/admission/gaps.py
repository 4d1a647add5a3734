"""What hides a policy, and what was read and cannot be evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from posture.kinds import BY_NAME
from posture.model import Gap, Key, Snapshot, Through

from .evaluate import ENGINES, NAMESPACES, READS, Admission

_OTHER = frozenset({"services", "endpointslices.discovery.k8s.io", "serviceaccounts"})
_DECIDING = tuple(
    kind for kind in READS if kind in BY_NAME and not BY_NAME[kind].pod_spec and kind not in _OTHER
)  # fmt: skip
"""The kinds whose objects decide what is refused. Workloads do not, and of what answers engines say it themselves."""
_WITHIN = frozenset(kind for kind in _DECIDING if BY_NAME[kind].namespaced and "olicies" in kind) | {NAMESPACES}
"""The kinds whose objects decide in their own namespace only; exceptions may be anywhere."""


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
    return (
        f"{through.kind} {through.namespace}/{through.name}" if through.namespace else f"{through.kind} {through.name}"
    )


def doubt(result: Admission, subject: str, scope: str, through: Through, other: Snapshot | None = None) -> Gap | None:
    """The gap that may hide a policy, or the labels by which one is meant for a namespace; None when all was read.

    What was read and cannot be evaluated hides nothing else.
    """
    del subject, through
    snapshot = result.snapshot
    if not snapshot.gaps:
        return None
    said = _said(snapshot)
    name = scope.removeprefix("*")
    for gap in snapshot.gaps:
        if gap in said or gap.reason in ("not modelled", "extra missing"):
            continue
        for resource in _DECIDING:
            where = name if resource in _WITHIN else ""
            if gap.touches(resource, where):
                twin = other.gap(resource, where) if other is not None else None
                if twin is None or twin.reason != gap.reason:
                    return gap
    return None


def _said(snapshot: Snapshot) -> frozenset[Gap]:
    known = snapshot.derived_from("gaps of admission")
    if "said" not in known:
        known["said"] = frozenset(gaps(snapshot))
    found: frozenset[Gap] = known["said"]
    return found


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """What engines read and cannot evaluate."""
    for engine in ENGINES.values():
        yield from engine.gaps(snapshot)
