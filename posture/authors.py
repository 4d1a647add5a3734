"""Who made a change: requests of audit logs, matched with the changes that were seen."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from posture.collect.audit import Record
from posture.model import Audited, Cause, Entry, Finding, Key
from posture.store import Store, audited, findings, snapshots
from posture.store.audited import What
from posture.text import format_time, parse_time

BOUND = timedelta(minutes=5)
"""So long before a change was seen its request may have come, while a cluster is followed."""
_SECOND = timedelta(seconds=1)
"""Times of revisions are whole seconds, cut off."""
_MOMENT = timedelta(microseconds=1)
_OBJECTS = {True: 5_000, False: 200_000}
_EACH = 8
"""So many records are remembered: of how many objects while a cluster is followed, and in a scan; and of each."""
_FITTING: dict[What, frozenset[str]] = {
    "created": frozenset({"create", "patch", "update"}),  # applying makes what is not there
    "changed": frozenset({"update", "patch", "create"}),  # deleted and made anew, between two scans
    "deleted": frozenset({"delete", "deletecollection"}),
}


class Authors:
    """Who made the changes of one cluster's objects. Call it with a key: the request that made an object as it is.

    A record belongs to a change of its object if it has the resourceVersion that came of it (the first that has it:
    a request that changes nothing is answered with the same one), else, where the log does not tell versions, if it is
    the last before the change was seen. No request makes two changes of an object.
    """

    def __init__(self, store: Store, cluster: str, *, followed: bool = False) -> None:
        """Changes of a cluster that is `followed` are seen at once; else any time since the revision before."""
        self._store, self._cluster, self._followed = store, cluster, followed
        self._records: OrderedDict[Key, deque[Record]] = OrderedDict()
        self._fresh: dict[Key, Audited | None] = {}

    def __call__(self, key: Key) -> Audited | None:
        """The request that made an object what it is, as far as anybody knows."""
        if key in self._fresh:
            return self._fresh[key]
        return audited.made(self._store, self._cluster, key)

    def hear(self, records: Iterable[Record], among: Collection[Key] | None = None) -> frozenset[Key]:
        """Remember records; those of changes that are written already are kept with them. Which objects these are.

        `among`: of no others is that looked for.
        """
        heard = [*records]
        for record in heard:
            self._remember(record)
        late: list[tuple[int, int, Audited]] = []
        keys: set[Key] = set()
        for key in {self._named(record.key) for record in heard if record.key.name}:
            found = [*self._late(key)] if among is None or key in among else []
            late += found
            keys |= {key} if found else set()
        if late:
            with self._store.transaction() as connection:
                audited.write(connection, late)
        return frozenset(keys)

    def _late(self, key: Key) -> Iterator[tuple[int, int, Audited]]:
        """Who made changes of an object that are written: those of which more is known now."""
        later = datetime.max.replace(tzinfo=UTC)
        for change in reversed(audited.changes(self._store, self._cluster, key)):
            known = change.audited
            if change.time:
                seen = parse_time(change.time)
                # The next request may come in the second in which this change was seen: it does not stand in for the
                # one that is known.
                last = min(seen if known else seen + _SECOND, later - _MOMENT)
                found = self._made(key, change.what, change.resource_version, self._first(change.before, seen), last)
                if found and (known is None or parse_time(known.time) < parse_time(found.time)):
                    known = found
                    yield change.object, change.revision, found
            later = parse_time(known.time) if known else later

    def _first(self, before: str, seen: datetime) -> datetime:
        """When a change may have been made at first."""
        bound = seen - BOUND
        if self._followed:
            return bound
        return min(parse_time(before), bound) if before else datetime.min.replace(tzinfo=UTC)

    def judging(
        self, changed: Iterable[tuple[Key, Entry | None, Entry | None]], before: str, now: str, *, resumed: bool = False
    ) -> None:
        """These objects changed (before, after), as is seen now; `before` is the time of the revision before.

        `resumed`: nobody looked in between.
        """
        changed = [*changed]
        self._fresh = dict.fromkeys((key for key, _, _ in changed), None)
        if not self._records:
            return
        seen = parse_time(now)
        first = self._first(before, seen)
        if resumed:
            first = parse_time(before) if before else datetime.min.replace(tzinfo=UTC)
        for key, old, new in changed:
            what: What = "created" if old is None else "deleted" if new is None else "changed"
            if _place(key) in self._records or what == "deleted":
                known = [parse_time(one.time) for one in audited.requests(self._store, self._cluster, key)[:1]]
                version = new.resource_version if new else ""
                after = max(first, *(time + _MOMENT for time in known)) if known else first
                self._fresh[key] = self._made(key, what, version, after, seen + _SECOND)

    def write(self, connection: sqlite3.Connection, revision: int) -> None:
        """Keep who made the changes that were judged, with the revision that has them."""
        found = [(key, one) for key, one in self._fresh.items() if one]
        audited.write_of(connection, self._cluster, revision, found)

    def written(self) -> None:
        """The changes that were judged are in the store now."""
        self._fresh = {}

    def lately(self) -> list[Finding]:
        """The transient findings of the last day: no log tells of others any more."""
        newest = snapshots.latest(self._store, self._cluster)
        since = format_time(parse_time(newest.time) - timedelta(days=1)) if newest else ""
        where = "f.cluster = ? AND f.presence = 'absent' AND f.mark = 'transient' AND f.resolved >= ?"
        return [*findings.select(self._store, where, (self._cluster, since))]

    def passed(self, keys: Collection[Key]) -> list[Finding]:
        """The transient findings that these objects caused, with who did: nothing drafts them any more."""
        found = []
        for one in self.lately():
            if any(cause.key in keys for cause in one.causes):
                causes = tuple(self._of(cause, one) if cause.key in keys else cause for cause in one.causes)
                found += [replace(one, causes=causes)] if causes != one.causes else []
        return found

    def _of(self, cause: Cause, finding: Finding) -> Cause:
        """The cause of what came and went, with who made it."""
        for change in reversed(audited.changes(self._store, self._cluster, cause.key)):
            if (change.what == "deleted") is (cause.what == "deleted") and change.time <= finding.opened:
                return cause._replace(audited=change.audited or cause.audited)
        return cause

    # Matching -------------------------------------------------------------------------------------------------------

    def _remember(self, record: Record) -> None:
        place = _place(record.key)
        self._records.setdefault(place, deque(maxlen=_EACH)).append(record)
        self._records.move_to_end(place)
        if len(self._records) > _OBJECTS[self._followed]:
            self._records.popitem(last=False)

    def _made(self, key: Key, what: What, version: str, first: datetime, last: datetime) -> Audited | None:
        """The request of a change that was made between two moments."""
        place = _place(key)
        mine: list[Record] = [*self._records.get(place, ())]
        if what == "deleted":
            for home in {place.namespace, ""}:
                mine += self._records.get(Key(place.resource, home, ""), ())
        mine = [one for one in mine if one.verb in _FITTING[what] and _time(one) <= last]
        exact = [one for one in mine if one.resource_version and one.resource_version == version]
        if exact:
            return min(exact, key=_time).audited
        near = [one for one in mine if not one.resource_version and _time(one) >= first]
        return max(near, key=lambda one: (bool(one.key.name), _time(one))).audited if near else None

    def _named(self, key: Key) -> Key:
        """The key under which an object is kept: a log names some kinds by their resource, in lower case."""
        if not key.resource.startswith("*"):
            return key
        return audited.spelled(self._store, self._cluster, key)


def _time(record: Record) -> datetime:
    return parse_time(record.audited.time)


def _place(key: Key) -> Key:
    """A key as records are remembered by."""
    if not key.resource.startswith("*"):
        return key
    kind, slash, name = key.name.partition("/")
    return key._replace(name=f"{kind.lower()}{slash}{name}")
