"""Which object's change made a gain, who made it, and the checked way back.

Generic over domains: swap one object, evaluate the update, compare again. What a swap takes away was caused by that
object; a swap that takes everything away and opens nothing is the fix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import orjson

from posture.delivery import origin, out_of_band
from posture.domain import Where
from posture.kinds import BY_NAME
from posture.model import Audited, Cause, Change, Changed, Content, Edit, Entry, Fix, Key, Manager, Snapshot, canonical
from posture.patch import UnwritableError, patch_of
from posture.text import listed

from .agreed import Place, Yardstick

UPGRADE = "server version"
_SHOWN = 20
CONTROLLERS = frozenset({"clusterrole-aggregation-controller"})
_METADATA = ("labels", "annotations", "ownerReferences")
type Wrote = Callable[[Key], Audited | None]
"""The request that made an object what it is, where an audit log tells it"""


class Trial:
    """What is left of a run's gains when some objects are swapped. Many findings share one."""

    def __init__(self, of: Investigation, changed: tuple[Changed, ...]) -> None:
        self._of = of
        self.changed = changed
        snapshot: Snapshot = of.live.snapshot
        settled = of.domain.settle(snapshot, changed)
        after = snapshot.replaced((one.key, one.new) for one in settled)
        self._result = of.domain.evaluate(after, of.live, settled)
        self._left, _ = of.yardstick.gains(self._result, self._result.touched)

    @property
    def touched(self) -> frozenset[Where]:
        """The places that it looked at."""
        found: frozenset[Where] = self._result.touched
        return found

    def removes(self, change: Change) -> bool:
        """Whether some of a gain is gone."""
        if change.where[:2] not in self._result.touched:
            return False
        left = self._left.get(change.where)
        return left is None or bool(self._of.domain.beyond(change.gained, left.gained))

    def clears(self, change: Change) -> bool:
        """Whether all of a gain is gone."""
        return change.where[:2] in self._result.touched and change.where not in self._left

    @cached_property
    def opens(self) -> bool:
        """Whether anything became possible that was not before."""
        gains = self._of.gains
        return any(
            where not in gains or self._of.domain.beyond(change.gained, gains[where].gained)
            for where, change in self._left.items()
        )

    @cached_property
    def breaks(self) -> tuple[str, ...]:
        """What else would no longer be possible: losses that are no drift themselves."""
        domain, found = self._of.domain, []
        for loss in domain.compare(self._result, self._of.live, None, self._result.touched).changes:
            mine = self._of.gains.get(loss.where)
            rest = domain.beyond(loss.gained, mine.gained) if mine else loss.gained
            if rest:
                found.append(domain.sentence(loss.mirrored(), None, self._of.live))
        found.sort()
        more = len(found) - _SHOWN
        return tuple(found) if more <= 0 else (*found[:_SHOWN], f"and {more} more")


def edit_of(change: Changed) -> Edit:
    """The edit that makes a change; of a workload the fields that differ. Raises UnwritableError where nobody can write
    it down.
    """
    kind = BY_NAME.get(change.key.resource)
    if kind is None or not kind.pod_spec or change.new is None:
        return Edit(change.key, change.new, absent(change))
    return Edit(change.key, change.new, (), patch_of(change))


def absent(change: Changed) -> tuple[tuple[str, ...], ...]:
    """The paths of what an object would lose: applying a manifest leaves in what it does not name. Lists are whole."""
    if change.new is None:
        return ()
    old = {field: value for field, value in (change.old or {}).items() if field != "ownerReferences"}
    return tuple(sorted(_lost(old, {"labels": {}, "annotations": {}, **change.new})))


def _lost(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field, value in old.items():
        if field not in new:
            yield (*path, field)
        elif isinstance(value, Mapping) and isinstance(new[field], Mapping):
            yield from _lost(value, new[field], (*path, field))


def actor(entry: Entry | None, fields: Collection[str] = ()) -> Manager | None:
    """The field manager that wrote last, of those that clients choose; a claim, never an identity.

    Of `fields` ("rules", "metadata.labels") one of those that own some of them, where there is one: who labels an
    object afterwards did not change its rules.
    """
    if entry is None:
        return None
    rows = [
        Manager(name, operation, time, tuple(fields)) for name, operation, time, fields in orjson.loads(entry.managers)
    ]
    mine = [row for row in rows if row.name not in CONTROLLERS]
    owning = [row for row in mine if not set(fields).isdisjoint(row.fields)]
    return max(owning or mine or rows, key=lambda row: (row.time, row.name), default=None)


def moved(old: Content | None, new: Content | None) -> frozenset[str]:
    """The fields that differ between two contents of an object, as managedFields names them."""
    old, new = old or {}, new or {}
    names = (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return frozenset(f"metadata.{name}" if name in _METADATA else name for name in names)


class Investigation:
    """Causes and fixes of one domain's gains in one run; each swap is tried once."""

    def __init__(
        self, yardstick: Yardstick, live: Any, gains: Mapping[Place, Change], shipped: Collection[Key],
        wrote: Wrote = lambda _: None,
    ) -> None:  # fmt: skip
        self.wrote = wrote
        self.yardstick = yardstick
        self.domain = yardstick.domain
        self.live = live
        self.gains = gains
        self.shipped = shipped
        self.looked: dict[int, frozenset[Where]] = {}
        """The places that trials touched since this was cleared, by the identity of these sets."""
        self._tried: dict[tuple[Key, ...], Trial] = {}
        self._edited: dict[tuple[tuple[Key, bytes | None], ...], Trial] = {}

    # Causes ---------------------------------------------------------------------------------------------------------

    def causes(self, change: Change) -> tuple[Cause, ...]:
        """The objects whose change made a gain: each alone takes some of it away when it is put back."""
        differing = self._differing(change)
        found = [key for key in differing if self._back(key).removes(change)]
        if not found and differing and not self.yardstick.approved:
            found = self._added(change)
        if not found:
            found = differing if len(differing) <= 1 else [k for k in differing if self._alone(k, change)] or differing
        if not found:
            # Nothing differs: there is no baseline yet, or a newer server reads the same objects otherwise.
            found = [key for key in change.evidence if self.live.snapshot.entry(key) is not None][:1]
        return tuple(self.cause(key) for key in found)

    def _differing(self, change: Change) -> list[Key]:
        before, after = self.yardstick.baseline.snapshot, self.live.snapshot
        found = []
        for key in dict.fromkeys(self.domain.evidence(self.live, change)):
            old, new = before.entry(key), after.entry(key)
            if (old and old.digest) != (new and new.digest):
                found.append(key)
        return found

    def _added(self, change: Change) -> list[Key]:
        """What Kubernetes does not ship and a default object is made of: without a baseline it differs from nothing."""
        live = self.live.snapshot
        others = (key for key in dict.fromkeys(self.domain.evidence(self.live, change)) if key not in self.shipped)
        return [key for key in others if self._used(Trial(self, (Changed(key, live.get(key), None),))).removes(change)]

    def _used(self, trial: Trial) -> Trial:
        self.looked[id(trial.touched)] = trial.touched
        return trial

    def _back(self, *keys: Key) -> Trial:
        """The trial in which some objects are as agreed."""
        if keys not in self._tried:
            before, after = self.yardstick.baseline.snapshot, self.live.snapshot
            self._tried[keys] = Trial(self, tuple(Changed(key, after.get(key), before.get(key)) for key in keys))
        return self._used(self._tried[keys])

    def _alone(self, key: Key, change: Change) -> bool:
        """Whether this object's new version alone, on the agreed state, makes some of the gain."""
        if not self.yardstick.approved:
            return False
        approved = self.yardstick.baseline
        swap = (Changed(key, approved.snapshot.get(key), self.live.snapshot.get(key)),)
        settled = self.domain.settle(approved.snapshot, swap)
        after = approved.snapshot.replaced((one.key, one.new) for one in settled)
        result = self.domain.evaluate(after, approved, settled)
        found = self.domain.compare(approved, result, None, result.touched).changes
        return any(one.where == change.where for one in found)

    def cause(self, key: Key) -> Cause:
        """What happened to an object between the agreed state and now, and who says to have done it."""
        before, after = self.yardstick.baseline.snapshot, self.live.snapshot
        old, new = before.entry(key), after.entry(key)
        was, content = before.get(key), after.get(key)
        audited = self.wrote(key)
        source = origin(key, content or {}) or origin(key, was or {})
        named = source.name if source else ""
        if new is None:
            return Cause(key, "deleted", "", "", audited, named, out_of_band(source, "", audited))
        manager = actor(new, moved(was, content))
        name, time = (manager.name, manager.time) if manager else ("", "")
        if key in self.shipped and before.version != after.version and name in ("", "kube-apiserver"):
            return Cause(key, UPGRADE, f"Kubernetes {before.version} → {after.version}", time)
        outside = out_of_band(source, name, audited)
        if old is None or old.digest == new.digest:
            return Cause(key, "created", name, new.created or time, audited, named, outside)
        return Cause(key, "changed", name, time, audited, named, outside)

    # Fixes ----------------------------------------------------------------------------------------------------------

    def fix(self, change: Change, causes: Sequence[Cause]) -> tuple[Fix | None, str]:
        """The checked way back, or None and why there is none. The first that breaks nothing else wins."""
        spare: Fix | None = None
        reason = "nothing that posture can edit takes it away"
        for text, trial in self._ways(change, causes):
            if trial is None:
                reason = text
                continue
            if not trial.clears(change):
                reason = f"{text}: it would still be possible"
                continue
            if trial.opens:
                reason = f"{text}: it would open something else"
                continue
            try:
                fix = Fix(text, tuple(map(edit_of, trial.changed)), trial.breaks)
            except UnwritableError as error:
                reason = f"{text}: {error}"
                continue
            if not fix.breaks:
                return fix, ""
            spare = spare or fix
        return spare, "" if spare else reason

    def _ways(self, change: Change, causes: Sequence[Cause]) -> Iterable[tuple[str, Trial | None]]:
        before = self.yardstick.baseline.snapshot
        if self.yardstick.approved:
            keys = [cause.key for cause in causes if cause.what != UPGRADE and not self._is_wanted(cause.key, before)]
            for group in [[key] for key in keys] + ([keys] if len(keys) > 1 else []):
                yield self._words(group, before), self._back(*group)
        for text, changed in self.domain.edits(self.live, change):
            if not changed:
                yield text, None
                continue
            wanted = tuple((one.key, canonical(one.new)[0] if one.new is not None else None) for one in changed)
            if wanted not in self._edited:
                self._edited[wanted] = Trial(self, changed)
            yield text, self._used(self._edited[wanted])

    def _is_wanted(self, key: Key, before: Snapshot) -> bool:
        """Whether to put an object back would be to delete what runs, or a whole namespace: no way back for anybody."""
        runs = key.resource in BY_NAME and bool(BY_NAME[key.resource].pod_spec)
        return (runs or key.resource == "namespaces") and before.entry(key) is None

    def _words(self, keys: Sequence[Key], before: Snapshot) -> str:
        back = [self.domain.named(key) for key in keys if before.entry(key) is not None]
        gone = [self.domain.named(key) for key in keys if before.entry(key) is None]
        words = [f"put {listed(back)} back to what was agreed"] if back else []
        words += [f"delete {listed(gone)}"] if gone else []
        text = listed(words)
        return text[0].upper() + text[1:]
