"""One domain of a judgement, kept from one moment to the next: a judgement from nothing is an update of none.

What an update costs follows what changed: places that it did not touch keep their gains, and a finding is drafted anew
only where something that its draft looked at is another now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from posture.domain import Domain, Where
from posture.model import Change, Changed, Check, Finding, Hit, Key, Snapshot, Unknown

from .agreed import NAMESPACES, Agreed, Place, Yardstick
from .causes import Investigation, Wrote
from .findings import Drafter, OwnerOf, edited


@dataclass(frozen=True, slots=True)
class Moment:
    """What all domains of a judgement share. `changed` is what differs from the judgement before, `written` are the
    objects of which anything was written since, content or not.
    """

    snapshot: Snapshot
    agreed: Agreed
    checks: Mapping[str, Check]
    now: str
    namespaced: Collection[str]
    assigner: Callable[[Domain, Any], OwnerOf]
    changed: Collection[Changed] = ()
    written: Collection[Key] = ()
    wrote: Wrote = lambda _: None


class Draft(NamedTuple):
    """A finding as drafted, and all that its draft looked at: objects, and the places that trials touched."""

    finding: Finding
    edited: Key | None
    keys: frozenset[Key]
    places: tuple[frozenset[Where], ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one domain says of a moment."""

    yardstick: Yardstick
    live: Any
    gains: Mapping[Place, Change]
    unknown: tuple[Unknown, ...]
    hits: frozenset[Hit]
    drafts: Mapping[Place, Draft]
    investigation: Investigation
    stakeholders: Mapping[Key, frozenset[str] | None] = field(default_factory=dict)

    @property
    def standing(self) -> list[Place]:
        """Where checks hold that held when the baseline was approved: agreed, counted, never opened."""
        return sorted({(hit.subject, hit.scope, hit.through) for hit in self.hits} - self.gains.keys())


def measured(domain: Domain, moment: Moment, previous: Measured | None = None) -> Measured:
    """What a domain says of a moment; `previous` is what it said before `moment.changed`."""
    snapshot, changed = moment.snapshot, moment.changed
    live = domain.evaluate(snapshot, previous.live, changed) if previous else domain.evaluate(snapshot)
    before = previous.yardstick if previous else None
    matcher = before.matcher if before else domain.Matcher(moment.checks.values())
    yardstick = Yardstick(domain, matcher, live, moment.agreed, moment.namespaced, before, changed)
    within = _within(domain, live, yardstick, previous, changed) if previous else None
    gains: dict[Place, Change] = {}
    unknown: list[Unknown] = []
    hits: frozenset[Hit] = frozenset()
    if within is None or within:
        gains, unknown = yardstick.gains(live, within, both=within is not None)
    touched = frozenset(live.touched).union(within or ())
    if previous:
        hits = frozenset(hit for hit in previous.hits if (hit.subject, hit.scope) not in touched)
    if not previous or touched:
        hits |= yardstick.standing(live, touched if previous else None)
    if previous and within is not None:
        gains = {where: change for where, change in previous.gains.items() if where[:2] not in within} | gains
        unknown = [one for one in previous.unknown if (one.subject, one.scope) not in within] + unknown
    shipped = frozenset(key for key, _ in moment.agreed.shipped)
    investigation = Investigation(yardstick, live, gains, shipped, moment.wrote)
    found = Measured(yardstick, live, gains, tuple(unknown), hits, {}, investigation)
    return _drafted(domain, moment, found, previous, within)


def _within(
    domain: Domain, live: Any, yardstick: Yardstick, previous: Measured, changed: Collection[Changed]
) -> frozenset[Where] | None:
    """The places that are compared again; None is all."""
    told = {*(where[:2] for where in previous.gains), *((one.subject, one.scope) for one in previous.unknown)}
    found = domain.again(yardstick.baseline, live, changed, told)
    if found is None or not yardstick.moved:
        return None if found is None else frozenset(found)
    places = (where for where in (*live.places, *told) if where[1] in yardstick.moved)
    return frozenset((*found, *places))


# Findings -----------------------------------------------------------------------------------------------------------


def _drafted(
    domain: Domain, moment: Moment, found: Measured, previous: Measured | None, within: Collection[Where] | None
) -> Measured:
    """With the findings that gains make; those of before stand where nothing that they rest on is another."""
    owner_of = moment.assigner(domain, found.live)
    drafter = Drafter(moment.snapshot.cluster, moment.now, found.investigation, found.live, moment.checks, owner_of)
    kept = _kept(domain, moment, found, previous) if previous else {}
    drafts: dict[Place, Draft] = {}
    for where in sorted(found.gains):
        drafts[where] = kept.get(where) or _draft(drafter, found.gains[where])
    to_edit = {draft.edited for draft in drafts.values() if draft.edited}
    stakeholders = {key: domain.stakeholders(found.live, key) for key in to_edit}
    if kept and previous:
        # Sentences count namespaces, and owners are read off their labels.
        unsure = any(one.key.resource == NAMESPACES for one in moment.changed)
        for where, draft in kept.items():
            key, change = draft.edited, found.gains[where]
            if unsure or within is None or where[:2] in within:
                draft = _changed(draft, **drafter.said(change))  # noqa: PLW2901 - the same draft, said anew
            if unsure or (key and stakeholders[key] != previous.stakeholders.get(key, _UNASKED)):
                draft = _changed(draft, owner=owner_of(change, draft.finding.causes, key))  # noqa: PLW2901
            drafts[where] = draft
    return replace(found, drafts=drafts, stakeholders=stakeholders)


_UNASKED = frozenset({""})


def _changed(draft: Draft, **content: Any) -> Draft:
    """A draft with other content; itself where it is the same."""
    finding = replace(draft.finding, **content)
    return draft if finding == draft.finding else draft._replace(finding=finding)


def _draft(drafter: Drafter, change: Change) -> Draft:
    investigation = drafter.investigation
    investigation.looked.clear()
    finding = drafter.draft(change)
    keys = {*investigation.domain.evidence(drafter.live, change), *(cause.key for cause in finding.causes)}
    keys |= {edit.key for edit in finding.fix.edits} if finding.fix else set()
    return Draft(finding, edited(finding.fix, finding.causes), frozenset(keys), tuple(investigation.looked.values()))


def _kept(domain: Domain, moment: Moment, found: Measured, previous: Measured) -> dict[Place, Draft]:
    """The drafts of before that stand."""
    live, old = found.live, previous.live
    changed = {where[:2] for where in _differing(found.gains, previous.gains)}
    touched = frozenset(live.touched) | changed
    written = {*moment.written, *(one.key for one in moment.changed)}
    for where in touched:  # what a draft may edit has an effect there too, now, before, or as it was agreed
        for state in (live, old, found.yardstick.baseline):
            written.update(domain.carriers(state, where))
    came = {one.key for one in moment.changed if _joins(one)}
    counted = any(key.resource == NAMESPACES and None in (was, now) for key, was, now in moment.changed)
    stale: dict[int, bool] = {}
    kept = {}
    for where, draft in previous.drafts.items():
        if where[:2] in touched or where not in found.gains or (counted and _counts(draft.finding)):
            continue
        for places in draft.places:
            if id(places) not in stale:
                stale[id(places)] = not touched.isdisjoint(places)
        if any(stale[id(places)] for places in draft.places) or not written.isdisjoint(draft.keys):
            continue
        if came and not came.isdisjoint(domain.evidence(live, found.gains[where])):
            continue  # another part of what it rests on, though nobody may do more by it
        kept[where] = draft
    return kept


def _joins(change: Changed) -> bool:
    """Whether an object may be chosen by labels from now on."""
    old, new = change.old, change.new
    return new is not None and (old is None or old.get("labels") != new.get("labels"))


_EVERY = "every namespace ("


def _counts(finding: Finding) -> bool:
    """Whether it says what else a fix breaks in every namespace, and so how many there are."""
    return finding.fix is not None and any(_EVERY in text for text in finding.fix.breaks)


def _differing(one: Mapping[Place, Change], other: Mapping[Place, Change]) -> Iterator[Place]:
    found: Iterable[Place] = one.keys() | other.keys()
    return (where for where in found if one.get(where) is not other.get(where) and one.get(where) != other.get(where))


__all__ = ["Draft", "Measured", "Moment", "measured"]
