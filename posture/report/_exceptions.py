"""Exceptions for documents and lists: what they open and where, whom they serve, whose they are and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posture.admission.enforcement import bits
from posture.admission.gaps import named_through
from posture.admission.register import FACTS, Entry
from posture.admission.violations import CONTROLS, VIOLATIONS
from posture.model import CLUSTER_SCOPE, fingerprint

SHOWN = 20
"""Places, workloads and sets of controls that a report holds of an exception, beside how many there are."""
_REST = ("unknown", "used", "misplaced", "expired", "inert", "built in")


def identity(entry: Entry) -> str:
    """What an exception is called in short: the same in every cluster."""
    return fingerprint("exception", *entry.through)[:12]


def order(entry: Entry) -> tuple[Any, ...]:
    """What deserves attention first: what nobody uses, what is past its end, what any tenant can have, what nobody
    owns or ends; of these what opens most. Then the rest.
    """
    opens = sum(mask.bit_count() for mask in (*entry.opens.values(), *entry.maybe.values()))
    ranks = (
        entry.state == "unused",
        entry.overdue,
        bool(entry.exemption.labels and opens),
        entry.state == "used" and not (entry.fact("owner") and entry.fact("expires")),
    )
    rank = ranks.index(True) if True in ranks else len(ranks) + _REST.index(entry.state)
    return rank, -opens, entry.through


def record(entry: Entry, shown: int | None = None) -> dict[str, Any]:
    """An exception as JSON, with the first `shown` of each list; the counts are of all."""
    return {
        "id": identity(entry), "name": str(entry.through), "exception": said(entry),
        "kind": entry.through.kind, "namespace": entry.through.namespace,
        "engines": sorted({policy.engine for policy in entry.policies}),
        "policies": sorted({named_through(policy.through_in(entry.through.namespace)) for policy in entry.policies}),
        "state": entry.state, "also": list(entry.states[1:]), "why": entry.exemption.idle,
        "labels": list(entry.exemption.labels),
        "opens": _opened(entry.opens, shown), "opensIn": len(entry.opens),
        "mayOpen": _opened(entry.maybe, shown), "mayOpenIn": len(entry.maybe),
        "serves": list(entry.serves[:shown]), "servesCount": len(entry.serves),
        "created": entry.created,
        **{name: dict(zip(("text", "from"), entry.facts[name], strict=True)) if name in entry.facts else None
           for name in FACTS},
    }  # fmt: skip


def said(entry: Entry) -> str:
    """An exception for people: what one edits, and what it does."""
    return f"{named_through(entry.through)} {entry.exemption.what}"


def _opened(opens: Mapping[str, int], shown: int | None) -> list[dict[str, Any]]:
    """What is opened, with the places for which it is the same; most first."""
    places: dict[int, list[str]] = {}
    for name, mask in sorted(opens.items()):
        places.setdefault(mask, []).append(name or CLUSTER_SCOPE)
    rows = sorted(places.items(), key=lambda row: (-row[0].bit_count(), row[1]))[:shown]
    return [{"namespaces": names[:shown], "count": len(names), "controls": _controls(mask)} for mask, names in rows]


def _controls(mask: int) -> list[dict[str, Any]]:
    """The controls of some violations: how many of each are meant."""
    found: dict[str, int] = {}
    for number in bits(mask):
        control = VIOLATIONS[number].control
        found[control] = found.get(control, 0) + 1
    return [{"control": control, "opened": number, "of": len(CONTROLS[control])} for control, number in found.items()]


def violations(entry: Entry) -> dict[str, list[str]]:
    """By place, the violations themselves, as test requests are called."""
    return {name or CLUSTER_SCOPE: [VIOLATIONS[number].id for number in bits(mask)]
            for name, mask in sorted(entry.opens.items())}  # fmt: skip
