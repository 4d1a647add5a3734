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

from .enforcement import OF_PODS, RELAXED
from .evaluate import NAMESPACES, Admission, Share
from .gaps import unseen
from .policy import Exemption, Policy

type State = Literal["used", "unused", "inert", "expired", "misplaced", "built in", "unknown"]
FACTS = ("owner", "reason", "ticket", "approved", "expires")
SETTING = "exceptions"
ANNOTATIONS: Mapping[str, tuple[str, ...]] = {
    "owner": ("posture.dev/exception-owner",),
    "reason": ("posture.dev/exception-reason",),
    "ticket": ("posture.dev/exception-ticket",),
    "approved": ("posture.dev/exception-approved-by",),
    "expires": ("posture.dev/exception-expires",),
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
        known = result.__dict__["_register"] = {through: _entry(result, *row) for through, row in _all(result)}
    return known


def entry_of(result: Admission, through: Through) -> Entry | None:
    """An exception that counts in some namespace; None where there is none of the name."""
    known: dict[Through, Entry] | None = result.__dict__.get("_register")
    if known is not None:
        return known.get(through)
    shares = result.shares.get(through)
    if shares is None:
        return None
    entries: dict[Through, Entry] = result.__dict__.setdefault("_entries", {})
    if through not in entries:
        entries[through] = _entry(result, through, next(iter(shares.values())).exemption, shares, ())
    return entries[through]


type _Row = tuple[Through, Exemption, Mapping[str, Share], tuple[Policy, ...]]


def _all(result: Admission) -> Iterator[tuple[Through, _Row]]:
    """Those that count somewhere, those of policies that do not, and those of which no policy knows."""
    rows: dict[Through, _Row] = {
        through: (through, next(iter(shares.values())).exemption, shares, ())
        for through, shares in result.shares.items()
    }
    for policy in result.policies:
        for one in policy.exemptions:
            if not one.local and one.through not in result.shares:
                old = rows.get(one.through, (one.through, one, {}, ()))
                rows[one.through] = (*old[:3], (*old[3], policy))
    for one in (one for strays in result.strays.values() for one in strays):
        rows.setdefault(one.through, (one.through, one, {}, ()))
    for through in sorted(rows):
        yield through, rows[through]


def _entry(
    result: Admission, through: Through, exemption: Exemption, shares: Mapping[str, Share], more: tuple[Policy, ...]
) -> Entry:
    if "_facts" not in result.__dict__:
        result.__dict__["_facts"] = _Facts(result.snapshot)
    about: _Facts = result.__dict__["_facts"]
    key = Key(NAMESPACES, "", through.namespace) if exemption.local else next(iter(exemption.keys), None)
    facts = about.of(through, exemption, key)
    known = result.snapshot.entry(key) if key else None
    among = (policy for _, share in sorted(shares.items()) for policy in share.policies)
    policies = {policy.root: policy for policy in (*among, *more)}  # after an update one may be there as it was, too
    opens = {name: share.opens for name, share in sorted(shares.items()) if share.opens}
    maybe = {name: share.maybe for name, share in sorted(shares.items()) if share.maybe}
    serves = tuple(sorted({subject for share in shares.values() for subject in share.serves}))
    asked = -1 if serves else ~RELAXED  # of what is relaxed, releases of engines say different things
    doubt = any(mask & asked for mask in maybe.values()) or not all(share.sure for share in shares.values())
    state = _state(exemption, opens=bool(opens), serves=bool(serves), sure=not doubt)
    of_pods = any(mask & OF_PODS for mask in opens.values())
    if state == "unused" and (not of_pods or any(unseen(result.snapshot, name) for name in shares)):
        state = "unknown"  # who asks for other things than pods, nobody can see
    ends = facts.get("expires", ("", ""))[0]
    overdue = bool(about.now and ends and ends <= about.now) and state not in ("expired", "misplaced", "inert")
    return Entry(
        through, exemption, tuple(policies.values()), tuple(sorted(shares)), opens, maybe, serves, facts,
        known.created if known else "", state, overdue,
    )  # fmt: skip


class _Facts:
    """Who is said to own an exception, and why it is there."""

    def __init__(self, snapshot: Snapshot) -> None:
        given: Mapping[str, Any] = snapshot.settings.get(SETTING) or {}
        self._snapshot = snapshot
        self.now: str = snapshot.settings.get("now") or ""
        self._annotations: Mapping[str, Iterable[str]] = {**ANNOTATIONS, **(given.get("annotations") or {})}
        self._rows = [(re.compile(translate(row["exception"])), row) for row in given.get("register") or ()]

    def of(self, through: Through, exemption: Exemption, key: Key | None) -> dict[str, tuple[str, str]]:
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


def _state(exemption: Exemption, *, opens: bool, serves: bool, sure: bool) -> State:
    if exemption.built_in:
        return "built in"
    if exemption.expired:
        return "expired"
    if exemption.idle:
        return "misplaced"
    if serves:
        return "used"
    if opens:
        return "unused"
    return "inert" if sure else "unknown"


def wanting(entry: Entry) -> Iterator[str]:
    """What is wrong with an exception that opens something, as units say it; nothing with an engine's own."""
    if entry.exemption.built_in:
        return
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
