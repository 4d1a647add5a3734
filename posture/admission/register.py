"""The register: every way by which something is taken out of a policy, as one kind of entry.

What an exception opens and whom it serves follows from enforcement with and without it. Who owns it, why it is there
and until when is read from the object itself, else from annotations, else from the register file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Literal

from posture.model import Key, Snapshot, Through
from posture.text import format_time, parse_time

from .enforcement import Opened
from .evaluate import NAMESPACES, Admission
from .policy import Exemption, Policy

type State = Literal["used", "unused", "inert", "expired", "misplaced", "unknown"]
FACTS = ("owner", "reason", "ticket", "approved", "expires")
SETTING = "exceptions"
ANNOTATIONS: Mapping[str, tuple[str, ...]] = {
    "owner": ("posture.io/exception-owner",),
    "reason": ("posture.io/exception-reason",),
    "ticket": ("posture.io/exception-ticket",),
    "approved": ("posture.io/exception-approved-by",),
    "expires": ("posture.io/exception-expires",),
}
"""The annotations that are read where the configuration names none."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One exception. `opens` are, by namespace, the violations that would be refused without it, `maybe` those that
    may be; `serves` the workloads that would be refused. `facts` are owner, reason, ticket, approved and expires, as
    far as anybody said them, each with where that is written.
    """

    through: Through
    exemption: Exemption
    policies: tuple[Policy, ...]
    namespaces: tuple[str, ...]
    """Where it counts."""
    opens: Mapping[str, int]
    maybe: Mapping[str, int]
    serves: tuple[str, ...]
    facts: Mapping[str, tuple[str, str]]
    created: str
    state: State
    overdue: bool
    """Whether somebody said an end that is past, and it is still there and takes something out."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The objects that say it, the first the one to edit."""
        found = self.exemption.keys
        return (Key(NAMESPACES, "", self.through.namespace), *found) if self.exemption.local else found

    def fact(self, name: str) -> str:
        """What somebody said of it; "" where nobody did."""
        return self.facts.get(name, ("", ""))[0]

    @property
    def states(self) -> tuple[str, ...]:
        """All that is said of its state."""
        more = ["expired but active"] if self.overdue else []
        return (self.state, *more, *(["self-exemptable"] if self.exemption.labels else []))


def register(result: Admission) -> Mapping[Through, Entry]:
    """Every exception, by what one edits. Worked out once for a result."""
    known: dict[Through, Entry] | None = result.__dict__.get("_register")
    if known is None:
        known = result.__dict__["_register"] = _register(result)
    return known


@dataclass
class _Sum:
    exemption: Exemption
    policies: dict[Policy, None]
    opens: dict[str, int]
    maybe: dict[str, int]
    serves: set[str]
    namespaces: dict[str, None]
    sure: bool = True


def _register(result: Admission) -> dict[Through, Entry]:
    found: dict[Through, _Sum] = {}
    for policy in result.policies:
        for exemption in policy.exemptions:
            if not exemption.local:
                _sum(found, exemption.through, exemption).policies[policy] = None
    for name, space in result.spaces.items():
        for policy, variant, _ in space.profile.parts:
            served = space.served.get((policy, variant), {})
            for number in sorted(variant.exemptions):
                exemption = policy.exemptions[number]
                one = _sum(found, exemption.through_in(name), exemption)
                one.policies[policy] = None
                one.namespaces[name] = None
                one.serves.update(served.get(exemption.through, ()))
                opened = space.profile.opened.get(exemption.through, Opened(0))
                if opened.violations:
                    one.opens[name] = opened.violations
                if opened.unknown:
                    one.maybe[name] = opened.unknown
                if policy.enforces is not False and (policy.opaque or exemption.shape is None):
                    one.sure = False  # what is taken out of it, nobody can say
    for exemption in result.strays:
        _sum(found, exemption.through, exemption)
    about = _Facts(result.snapshot)
    return {through: about.entry(through, one) for through, one in sorted(found.items())}


def _sum(found: dict[Through, _Sum], through: Through, exemption: Exemption) -> _Sum:
    if through not in found:
        found[through] = _Sum(exemption, {}, {}, {}, set(), {})
    return found[through]


class _Facts:
    """Who is said to own an exception, and why it is there."""

    def __init__(self, snapshot: Snapshot) -> None:
        given: Mapping[str, Any] = snapshot.settings.get(SETTING) or {}
        self._snapshot = snapshot
        self._now: str = snapshot.settings.get("now") or ""
        self._annotations: Mapping[str, Iterable[str]] = {**ANNOTATIONS, **(given.get("annotations") or {})}
        self._rows = [(re.compile(translate(row["exception"])), row) for row in given.get("register") or ()]

    def entry(self, through: Through, one: _Sum) -> Entry:
        key = Key(NAMESPACES, "", through.namespace) if one.exemption.local else next(iter(one.exemption.keys), None)
        facts = self._of(through, one.exemption, key)
        known = self._snapshot.entry(key) if key else None
        state = _state(one)
        ends = facts.get("expires", ("", ""))[0]
        overdue = bool(self._now and ends and ends <= self._now) and state not in ("expired", "misplaced", "inert")
        return Entry(
            through, one.exemption, tuple(one.policies), tuple(sorted(one.namespaces)), one.opens, one.maybe,
            tuple(sorted(one.serves)), facts, known.created if known else "", state, overdue,
        )  # fmt: skip

    def _of(self, through: Through, exemption: Exemption, key: Key | None) -> dict[str, tuple[str, str]]:
        """The first that says a fact counts: the object's own fields, annotations, the register file."""
        annotations = ((self._snapshot.get(key) if key else None) or {}).get("annotations") or {}
        rows = [row for pattern, row in self._rows if pattern.match(str(through))]
        found: dict[str, tuple[str, str]] = {}
        for name in FACTS:
            ways: Iterator[tuple[str, str]] = iter((
                (exemption.given.get(name, ""), "the object"),
                *((annotations.get(one, ""), f"annotation {one}") for one in self._annotations.get(name, ())),
                *((row.get(name, ""), "the register") for row in rows),
            ))  # fmt: skip
            good = _end if name == "expires" else str.strip
            said = next(((known, where) for text, where in ways if (known := good(text))), None)
            if said is not None:
                found[name] = said
        return found


def _end(text: str) -> str:
    """A date or time as RFC 3339; "" for what is neither: such an end never comes."""
    try:
        return format_time(parse_time(text.strip()))
    except (ValueError, OverflowError):
        return ""


def _state(one: _Sum) -> State:
    if one.exemption.expired:
        return "expired"
    if one.exemption.idle:
        return "misplaced"
    if one.serves and (one.opens or one.maybe or not one.sure):
        return "used"
    if one.opens:
        return "unused"
    return "unknown" if one.maybe or not one.sure else "inert"


def wanting(entry: Entry) -> Iterator[str]:
    """What is wrong with an exception that opens something, as units say it."""
    if entry.state == "unused":
        yield "unused"
    if entry.overdue:
        yield "overdue"
    yield from (f"no {name}" for name in FACTS if not entry.fact(name))
    if entry.exemption.labels:
        yield "self-exemptable"


def until(result: Admission) -> str:
    """When the same objects will mean something else: the first end of an exception that is still to come."""
    now = result.snapshot.settings.get("now") or ""
    ends = (entry.fact("expires") for entry in register(result).values())
    return min((end for end in ends if end > now), default="")
