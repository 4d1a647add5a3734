"""RBAC: who can do what, through what. Satisfies `posture.domain.Domain`; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from posture.model import Gap, Key, Snapshot, Unit

from .aggregate import settle
from .compare import NAME, again, carriers, compare, doubt, named
from .defaults import restored, upgraded
from .edits import agreed, edits, evidence, stakeholders
from .evaluate import READS, Access, evaluate
from .match import Matcher, as_change, match, reasons
from .offline import completed
from .rules import from_units, minus, permissions, units
from .sentences import sentence


def speaks(keys: Collection[Key]) -> bool:
    """Whether a baseline file that holds these objects bounds grants: an empty one lets nothing be granted."""
    return not keys or any(key.resource in READS for key in keys)


def gaps(snapshot: Snapshot) -> Iterable[Gap]:
    """None: whatever is read is evaluated."""
    del snapshot
    return ()


def beyond(given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The units that recorded ones do not cover."""
    return units(minus(from_units(given), frozenset({from_units(recorded)})))


def until(result: Access) -> str:
    """Never: time is no matter here."""
    del result
    return ""


__all__ = [
    "NAME",
    "READS",
    "Access",
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
]
