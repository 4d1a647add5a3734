"""watch: a cluster that is followed, one revision for each batch of changes.

Everything behind the source of objects is what `scan` does: the same judgement, the same rows. Changes are gathered for
a moment and written together; two different contents of one object never are, so that what was there for a second only
is a revision of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Protocol

from posture import reading
from posture.authors import Authors
from posture.collect import (
    Change,
    Facts,
    Listed,
    Listing,
    Lost,
    Page,
    Position,
    ReadProblem,
    Restart,
    Seen,
    Served,
    body_of,
    entry_of,
)
from posture.collect.audit import Record
from posture.drift.agreed import Agreed
from posture.drift.lifecycle import Event, Outcome
from posture.inputs import Inputs
from posture.kinds import BY_NAME, key_of
from posture.model import INCOMPLETE, Changed, Content, Entry, Finding, Gap, Key, Snapshot, Version, fingerprint
from posture.pipeline import JUDGED, History, Judgement, judge
from posture.scan import Request, agreed_of, counted, identity, is_missing, refuse_taken_name
from posture.store import Store, baselines, decisions, findings, positions, snapshots
from posture.store.snapshots import Commit, Contents, Stored
from posture.text import parse_time

GATHER_SECONDS = 0.02
"""So long a batch waits for more, once something happened."""
GATHER_MOST = 1000
PATHS_SECONDS, PATHS_MOST, PATHS_SHARE = 0.2, 5.0, 4.0
"""After so long without a change paths are looked for, and while changes go on at least so often; but not again until
so many times as long passed as it took: what changes meanwhile is told before.
"""
REMEMBER_SECONDS = 60.0
"""So often the places to go on from are written while nothing changes."""
type Name = tuple[str, str]


class Source(Protocol):
    """A cluster that is followed: collect.following.Following, or a list of changes in a test."""

    @property
    def title(self) -> str:
        """What is followed, for people."""

    def introduce(self) -> Facts:
        """Which cluster it is. Raises CannotJudge."""

    def start(self, positions: Mapping[Listing, str]) -> None:
        """Begin; lists with a position go on from there."""

    def get(self, timeout: float | None) -> Change | None:
        """The next change; None when there is none for so many seconds, or ever."""


@dataclass(frozen=True, slots=True)
class Written:
    """A revision that was written: its number, what happened to findings, and the counts of the run.

    `findings` are those that changed, as they are now.
    """

    revision: int
    time: str
    events: tuple[Event, ...]
    changed: tuple[Key, ...]
    summary: Mapping[str, int]
    findings: Mapping[str, Finding] = field(default_factory=dict)


@dataclass(slots=True)
class Pending:
    """What came and is not written yet: objects by key in rounds, one content of each object in a round."""

    rounds: list[dict[Key, Entry | None]] = field(default_factory=list)
    corrected: int = 0

    def add(self, key: Key, entry: Entry | None, known: Entry | None) -> None:
        """One more state of an object; `known` is the one before all rounds. What differs in no content is the same."""
        last = next((number for number in reversed(range(len(self.rounds))) if key in self.rounds[number]), None)
        before = known if last is None else self.rounds[last][key]
        if before is None and entry is None:
            return
        same = before is not None and entry is not None and before.digest == entry.digest
        place = (0 if last is None else last) if same or last is None else last + 1
        while len(self.rounds) <= place:
            self.rounds.append({})
        self.rounds[place][key] = entry


class Watch:
    """The state of a cluster that is followed, and of its judgement."""

    def __init__(
        self, store: Store, source: Source, inputs: Inputs, request: Request, *,
        now: Callable[[], str], tell: Callable[[Written], None] = lambda _: None,
        audits: Callable[[], Iterable[Record]] = tuple, clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        """`now` gives the time (RFC 3339), `clock` seconds that only grow; `tell` is told of every revision; `audits`
        gives the requests that audit logs told of since. The caller holds the store's lock.
        """
        self.store = store
        self.counts: Counter[str] = Counter()
        self._source, self._inputs, self._request = source, inputs, request
        self._now, self._tell, self._audits, self._clock = now, tell, audits, clock
        self._pending = Pending()
        self._bodies: list[tuple[bytes, bytes]] = []
        self._pages: dict[Listing, dict[Name, Entry]] = {}
        self._listings: frozenset[Listing] = frozenset()
        self._synced: set[Listing] = set()
        self._lost: dict[Listing, Gap] = {}
        self._apart: tuple[Gap, ...] = ()
        self._unreadable: dict[Key, Gap] = {}
        self._positions: dict[Listing, str] = {}
        self._judgement: Judgement | None = None
        self._agreed: Agreed | None = None
        self._pathed, self._rested = clock(), clock()
        self._judged_with: tuple[tuple[Gap, ...], Version | None] | None = None
        self._open()

    def _open(self) -> None:
        """What the store knows of the cluster, and where its lists go on from."""
        facts = self._source.introduce()
        cluster = identity(self.store, facts, self._request)
        self.name = self._request.cluster or facts.name or cluster
        refuse_taken_name(self.store, cluster, self._request.cluster or facts.name)
        self._stored = snapshots.load(self.store, cluster, snapshots.latest(self.store, cluster))
        self._snapshot = replace(
            self._stored.snapshot, cluster=cluster, contents=Contents(self.store), version=facts.version
        )
        unsure = {gap.resource for gap in self._stored.snapshot.gaps if gap.reason in INCOMPLETE}
        known = positions.read(self.store, cluster) if not unsure & {"*"} else {}
        self._positions = {listing: version for listing, version in known.items() if listing.resource not in unsure}
        self._synced = {*self._positions}
        self._authors = Authors(self.store, cluster, followed=True)
        self._reload()
        self._source.start(self._positions)

    @property
    def ready(self) -> bool:
        """Whether every list was read, or is a gap that is told."""
        return bool(self._listings) and not self.waiting

    @property
    def waiting(self) -> frozenset[Listing]:
        """The lists that were not read yet, and are no gap that is told."""
        return self._listings - self._synced - self._lost.keys()

    @property
    def judged(self) -> bool:
        """Whether the cluster was judged since the start, and that was written."""
        return self._judgement is not None

    @property
    def findings(self) -> Mapping[str, Finding]:
        """The findings that are not resolved, by fingerprint, as they were last written."""
        return self._current

    @property
    def snapshot(self) -> Snapshot:
        """What is known of the cluster, as it was last written."""
        return self._snapshot

    # One turn -------------------------------------------------------------------------------------------------------

    def turn(self, timeout: float) -> bool:
        """Wait for a change, gather what follows at once, and write what there is; whether anything came."""
        change = self._source.get(min(timeout, PATHS_SECONDS) if self._waits_for_paths else timeout)
        came = change is not None
        gathered = 0
        while change is not None:
            self._take(change)
            gathered += 1
            change = self._source.get(GATHER_SECONDS) if gathered < GATHER_MOST else None
        late = self._authors.hear(self._audits())
        if self.ready:
            self._write(idle=not came)
        if late:
            self._attribute(late)
        return came

    def _take(self, change: Change) -> None:
        match change:
            case Page():
                self._read(change)
            case Restart():
                self._pages[change.listing] = {}
            case Seen(listing, kind, item):
                self._follow(listing)
                self._positions[listing] = change.resource_version
                self._see(listing, item, gone=kind == "DELETED")
            case Position(listing, version):
                self._follow(listing)
                self._positions[listing] = version
            case Listed():
                self._compare(change)
            case Lost(listing, gap):
                self._lost[listing] = gap
                self._positions.pop(listing, None)
            case Served():
                self._serve(change)

    def _follow(self, listing: Listing) -> None:
        self._lost.pop(listing, None)
        self._synced.add(listing)

    def _entry(self, resource: str, raw: Mapping[str, Any]) -> tuple[Key, Entry | None]:
        """An object as it is kept; one that has not the shape of its kind is in a gap."""
        kind, metadata = BY_NAME.get(resource), raw["metadata"]
        name = key_of(kind, raw).name if kind else metadata["name"]
        key = Key(resource, metadata.get("namespace") or "", name)
        try:
            digest, body = body_of(kind, raw)
            entry = entry_of(digest, metadata)
        except ReadProblem as problem:
            text = f"{key.name} has not the shape of its kind: {problem}"
            self._unreadable[key] = Gap(resource, key.namespace, "failed", text)
            return key, None
        self._unreadable.pop(key, None)
        self._bodies.append((digest, body))
        return key, entry

    def _read(self, page: Page) -> None:
        found = self._pages.setdefault(page.listing, {})
        for raw in page.items:
            key, entry = self._entry(page.resource, raw)
            if entry is not None:
                found[key.namespace, key.name] = entry
        self._put()

    def _put(self) -> None:
        """Keep the projections of what came."""
        bodies, self._bodies = self._bodies, []
        snapshots.put(self.store, bodies)

    def _see(self, listing: Listing, raw: Mapping[str, Any], *, gone: bool) -> None:
        key, entry = self._entry(listing.resource, raw)
        self.counts["events"] += 1
        self._pending.add(key, None if gone else entry, self._snapshot.entry(key))

    def _latest(self, key: Key) -> Entry | None:
        for one in reversed(self._pending.rounds):
            if key in one:
                return one[key]
        return self._snapshot.entry(key)

    def _held(self, listing: Listing) -> set[Name]:
        """The objects of a list that are there, with what is not written yet."""
        names = {name for name in self._snapshot.index.get(listing.resource, {}) if listing.holds(*name)}
        for one in self._pending.rounds:
            for key, entry in one.items():
                if key.resource == listing.resource and listing.holds(key.namespace, key.name):
                    (names.discard if entry is None else names.add)((key.namespace, key.name))
        return names

    def _compare(self, listed: Listed) -> None:
        """A whole list against what is known of it: whatever differs is a change, or a correction."""
        listing = listed.listing
        found = self._pages.pop(listing, {})
        for name in sorted(self._held(listing) | found.keys()):
            key, entry = Key(listing.resource, *name), found.get(name)
            before = self._latest(key)
            if name in listed.newer or (before and entry and before == entry):
                continue
            if listed.verified and (before and before.digest) != (entry and entry.digest):
                self.counts["corrections"] += 1
            self._pending.add(key, entry, self._snapshot.entry(key))
        self._follow(listing)
        self._positions[listing] = listed.resource_version

    def _serve(self, served: Served) -> None:
        """Other kinds than before: objects of a list that is gone are gone, those of a restart's snapshot too."""
        lists: dict[str, list[Listing]] = {}
        for listing in served.listings:
            lists.setdefault(listing.resource, []).append(listing)
        gone = {listing.resource for listing in self._listings - served.listings}
        for resource in sorted(gone or (self._snapshot.index.keys() if not self._listings else ())):
            for name in self._held(Listing(resource)):
                if not any(listing.holds(*name) for listing in lists.get(resource, ())):
                    key = Key(resource, *name)
                    self._pending.add(key, None, self._snapshot.entry(key))
        self._positions = {one: version for one, version in self._positions.items() if one in served.listings}
        self._listings = served.listings
        self._lost = {listing: gap for listing, gap in self._lost.items() if listing in served.listings}
        self._synced &= served.listings
        self._apart = served.gaps
        if served.version not in (None, self._snapshot.version):
            self._snapshot, self._agreed = replace(self._snapshot, version=served.version), None

    # Judging and writing --------------------------------------------------------------------------------------------

    def _gaps(self) -> tuple[Gap, ...]:
        return tuple(sorted({*self._apart, *self._lost.values(), *self._unreadable.values()}))

    def _write(self, *, idle: bool) -> None:
        """Every round as one revision; and one where time or people, or what could not be read, changed something.

        Paths are looked for once nothing happens: what a change itself made possible is told before that.
        """
        self._put()
        rounds, self._pending.rounds = self._pending.rounds, []
        for left, one in enumerate(rounds, 1 - len(rounds)):
            self._commit(one, last=not left)
        if not rounds and self._is_due():
            self._commit({})
        elif (
            self._waits_for_paths
            and self._clock() >= self._rested
            and (idle or self._clock() - self._pathed > PATHS_MOST)
        ):
            began = self._clock()
            self._commit({}, quiet=True)
            self._rested = self._clock() + PATHS_SHARE * (self._clock() - began)

    @property
    def _waits_for_paths(self) -> bool:
        known = self._judgement
        return known is not None and known.paths is not None and bool(known.paths.waiting)

    def _is_due(self) -> bool:
        known = self._judgement
        if known is None or self._is_decided():
            return True
        now = self._now()
        ends = (one.decision.until for one in self._current.values() if one.decision and one.decision.until)
        due = min((end for end in (known.until, *ends) if end and end > self._last), default="")
        if due and parse_time(due) <= parse_time(now):
            return True
        return self._judged_with != (self._gaps(), self._snapshot.version)

    def _is_decided(self) -> bool:
        """Whether somebody decided something, or agreed to something, since."""
        return (decisions.newest(self.store), self._approval()) != self._seen

    def _approval(self) -> int:
        approved = baselines.latest(self.store, self._snapshot.cluster)
        return approved.id if approved else 0

    def _reload(self) -> None:
        """What people decided and agreed to."""
        cluster = self._snapshot.cluster
        self._seen = decisions.newest(self.store), self._approval()
        self._approved = baselines.latest(self.store, cluster)
        self._current: dict[str, Finding] = findings.current(self.store, cluster)
        self._agreed = None
        self._last = self._stored.revision.time if self._stored.revision else ""

    def _commit(self, entries: Mapping[Key, Entry | None], *, last: bool = True, quiet: bool = False) -> None:
        """Judge the cluster with some objects as they are now, and write that; if `quiet` only where it says something.

        Where to go on from is written with the last round of a batch: before that, it would leave out the others.
        """
        before = self._snapshot
        changed = [
            Changed(key, before.get(key), self._content(entry))
            for key, entry in entries.items() if (before.entry(key) or _NONE).digest != (entry or _NONE).digest
        ] if self._judgement else []  # fmt: skip
        after = self._complete(before.updated(entries.items()))
        same_gaps = after.gaps == self._stored.snapshot.gaps and self._stored.revision is not None
        if self._judgement is not None and not changed and same_gaps and not quiet and not self._is_due():
            self._touch(entries, after, last=last)
            if self._is_caused_by(entries):
                self._attribute(entries.keys())
            return
        moved = [(key, before.entry(key), entry) for key, entry in entries.items()
                 if (before.entry(key) or _NONE).digest != (entry or _NONE).digest]  # fmt: skip
        while True:
            now = self._now()
            self._authors.judging(moved, self._last, now, resumed=self._judgement is None)
            judgement = self._judged(after, changed, entries, now)
            if judgement.paths is None or not judgement.paths.waiting:
                self._pathed = self._clock()
            if quiet and not judgement.outcome.findings and not judgement.outcome.events and not self._is_decided():
                self._judgement = judgement
                return
            summary = counted(judgement, after)
            digest = fingerprint(self._inputs.digest, str(self._approved.id if self._approved else 0))
            complete = not any(map(is_missing, after.gaps))
            commit = Commit(now, self._source.title, self.name, complete, digest, summary)
            with self.store.transaction() as connection:
                if self._is_decided():  # meanwhile: it may cover less than there is now, or agree to more
                    continue
                number = snapshots.write(connection, self._stored, after, commit, [*entries] if same_gaps else None)
                findings.write(connection, after.cluster, judgement.outcome, number, now)
                self._authors.write(connection, number)
                if last:
                    positions.write(connection, after.cluster, self._positions)
                break
        self._authors.written()
        self._advance(after, number, entries, judgement, same=same_gaps)
        outcome = judgement.outcome
        self._tell(Written(number, now, tuple(outcome.events), tuple(entries), summary, outcome.findings))

    def _is_caused_by(self, keys: Collection[Key]) -> bool:
        """Whether a finding names one of these as its cause: who wrote it last is told with it."""
        return any(cause.key in keys for one in self._current.values() for cause in one.causes)

    def _judged(
        self, after: Snapshot, changed: Sequence[Changed], entries: Mapping[Key, Entry | None], now: str
    ) -> Judgement:
        """What a state of the cluster means, by what people decided and agreed to until now."""
        if self._is_decided():
            self._reload()
        if self._agreed is None:
            self._agreed = agreed_of(self.store, after, self._approved, self._inputs)
        history = History(self._current, self._known, self._last, self._authors)
        judged = [one for one in changed if one.key.resource in JUDGED]
        known = self._judgement
        return judge(
            after, self._agreed, history, self._inputs.rules, now, known, judged, entries, later=bool(judged)
        )  # fmt: skip

    def _attribute(self, keys: Collection[Key]) -> None:
        """Say of findings who caused them, where a log told of it after they were written: no revision of its own."""
        cluster, outcome = self._snapshot.cluster, Outcome()
        known, agreed = self._judgement, self._agreed
        if known is not None and agreed is not None and not self._is_decided() and self._is_caused_by(keys):
            history = History(self._current, self._known, self._last, self._authors)
            known = judge(self._snapshot, agreed, history, self._inputs.rules, self._last, known, (), keys, later=True)
            outcome = known.outcome
        with self.store.transaction() as connection:
            findings.resave(connection, self._authors.passed(keys))
            if self._is_decided():  # all is judged anew in a moment, with them
                return
            revision = self._stored.revision
            findings.write(connection, cluster, outcome, revision.id if revision else None, self._last)
        self._judgement = known
        self._keep(outcome)

    def _content(self, entry: Entry | None) -> Content | None:
        return None if entry is None else self._snapshot.contents[entry.digest]

    def _complete(self, snapshot: Snapshot) -> Snapshot:
        """With the gaps of now: what could not be read, and what was read and cannot be evaluated."""
        known = replace(snapshot, gaps=self._gaps(), assumed=reading.unknown_version(snapshot.version))
        found = reading.unevaluated(known)
        return replace(found, gaps=tuple(sorted(set(found.gaps))))

    def _touch(self, entries: Mapping[Key, Entry | None], after: Snapshot, *, last: bool) -> None:
        """Objects that were written and say what they said: times and managers, no revision of their own."""
        with self.store.transaction() as connection:
            snapshots.touch(connection, self._stored, entries)
            if last:
                positions.write(connection, after.cluster, self._positions)
        self._snapshot = after
        self._stored = replace(self._stored, snapshot=after)

    def _advance(
        self, after: Snapshot, number: int, entries: Mapping[Key, Entry | None], judgement: Judgement, *, same: bool
    ) -> None:
        cluster = after.cluster
        if same:
            self._stored = snapshots.advanced(self.store, self._stored, after, number, entries)
        else:
            stored = snapshots.load(self.store, cluster, snapshots.revision(self.store, number))
            self._stored = Stored(after, stored.ids, stored.hidden, stored.revision)
        self._snapshot, self._judgement = after, judgement
        self._judged_with = self._gaps(), after.version
        self._last = self._stored.revision.time if self._stored.revision else ""
        self._keep(judgement.outcome)

    def _keep(self, outcome: Outcome) -> None:
        """The findings that are known from now on."""
        for name, finding in outcome.findings.items():
            if finding.presence == "absent":
                self._current.pop(name, None)
            else:
                self._current[name] = finding

    def _known(self, name: str) -> Finding | None:
        return self._current.get(name) or findings.known(self.store, self._snapshot.cluster, name)

    def remember(self) -> None:
        """Write where lists go on from, though nothing changed."""
        if self._judgement is not None and not self._pending.rounds:
            with self.store.transaction() as connection:
                positions.write(connection, self._snapshot.cluster, self._positions)


_NONE = Entry(b"")


__all__: Sequence[str] = ("GATHER_SECONDS", "REMEMBER_SECONDS", "Pending", "Source", "Watch", "Written")


def batches(watch: Watch, stop: Callable[[], bool], clock: Callable[[], float], wait: float = 1.0) -> Iterator[bool]:
    """Turns until it is to stop, remembering now and then where lists go on from."""
    remembered = clock()
    while not stop():
        yield watch.turn(wait)
        if clock() - remembered > REMEMBER_SECONDS:
            watch.remember()
            remembered = clock()
    watch.remember()
