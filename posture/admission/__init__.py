"""Admission: which requests are refused, and what takes a subject out of that.

Satisfies `posture.domain.Domain`; pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from posture.model import Content, Key, Snapshot

from .compare import NAME, again, carriers, compare
from .edits import agreed, edits, evidence, settle, stakeholders
from .evaluate import ENGINES, NAMESPACES, READS, Admission, evaluate
from .gaps import doubt, gaps, named
from .match import Matcher, as_change, match, reasons
from .register import Entry, register, until
from .sentences import sentence
from .units import beyond, permissions


def speaks(keys: Collection[Key]) -> bool:
    """Whether a baseline file that holds these objects bounds what is admitted: it names namespaces, or policies."""
    kinds = {NAMESPACES, *(kind for engine in ENGINES.values() for kind in engine.READS if "polic" in kind)}
    return any(key.resource in kinds for key in keys)


def completed(
    snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]
) -> tuple[Mapping[Key, Content], tuple[str, ...]]:
    """Nothing: a running cluster adds no policies that its objects do not name."""
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


__all__ = [
    "ENGINES",
    "NAME",
    "READS",
    "Admission",
    "Entry",
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
    "register",
    "restored",
    "sentence",
    "settle",
    "speaks",
    "stakeholders",
    "until",
    "upgraded",
]
