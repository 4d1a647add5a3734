"""Network: what may talk to what. Satisfies `posture.domain.Domain`; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from posture.model import Content, Key, Snapshot

from .balance import weighed
from .compare import NAME, again, carriers, compare
from .connectivity import POLICIES, Connectivity
from .edits import agreed, edits, evidence, settle, stakeholders
from .evaluate import READS, evaluate
from .gaps import doubt, gaps, named
from .match import Matcher, as_change, match, reasons
from .sentences import sentence
from .units import beyond, permissions


def speaks(keys: Collection[Key]) -> bool:
    """Whether a baseline file that holds these objects bounds connections: one without a policy isolates nothing."""
    return any(key.resource in POLICIES for key in keys)


def completed(
    snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]
) -> tuple[Mapping[Key, Content], tuple[str, ...]]:
    """Nothing: a running cluster adds no policies, and what templates will make is worked out of them."""
    del snapshot, shipped
    return {}, ()


def upgraded(snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]) -> Snapshot:
    """The baseline itself: no version of Kubernetes ships policies."""
    del shipped
    return snapshot


def restored(snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]) -> Snapshot:
    """The cluster itself: Kubernetes ships no policies."""
    del shipped
    return snapshot


def until(result: Connectivity) -> str:
    """Never: time is no matter here."""
    del result
    return ""


__all__ = [
    "NAME",
    "READS",
    "Connectivity",
    "Matcher",
    "again",
    "agreed",
    "as_change",
    "beyond",
    "carriers",
    "compare",
    "completed",
    "doubt",
    "edits",
    "evaluate",
    "evidence",
    "gaps",
    "match",
    "named",
    "permissions",
    "reasons",
    "restored",
    "sentence",
    "settle",
    "speaks",
    "stakeholders",
    "until",
    "upgraded",
    "weighed",
]
