"""Stands between a source and the Watch that follows it, and tells of what came, what was written and what is wrong."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import orjson

from posture.collect import Change, Facts, Listed, Listing, Position, Seen, Served, name_of
from posture.collect.problem import RequestProblem
from posture.drift.lifecycle import Event, EventKind
from posture.kinds import BY_NAME
from posture.model import Finding, Gap, Key
from posture.report._document import cause_record, made_by
from posture.text import count, gap_place, listed, parse_time
from posture.watch import Source, Watch, Written

from .log import Log, Name
from .metrics import TEXT_FORMAT, Levels, Metrics, findings_by, gaps_by, kind_of
from .serve import Page

STUCK_SECONDS = 600.0
"""A watcher that did nothing for so long, not even wait, does not work any more."""
TELL_SECONDS = 60.0
"""Trouble of one kind is told so often."""
TALLY_SECONDS = 1.0
LINES = 20
"""So many findings of one revision are told one by one."""
TOLD: Mapping[EventKind, Name] = {
    "opened": "opened", "widened": "widened", "regressed": "regressed", "resolved": "resolved", "expired": "expired",
}  # fmt: skip
"""What is worth a line of its own; the rest is counted."""


class Observer:
    """A Source, as the Watch sees it. `troubles` are those of the source, which are taken out; all else is its own."""

    def __init__(
        self, source: Source, log: Log, metrics: Metrics, *, now: Callable[[], str],
        troubles: deque[RequestProblem] | None = None, work: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`work` gives numbers of the source's own (`watches`, `connections`), `now` the time (RFC 3339), `wall` it in
        seconds since the epoch, `clock` seconds that no change of the clock moves.
        """
        self._source, self._log, self.metrics = source, log, metrics
        self._troubles, self._work = deque[RequestProblem]() if troubles is None else troubles, work
        self._now, self._clock, self._wall = now, clock, wall
        self._watch: Watch | None = None
        self._last: Change | None = None
        self._corrected = 0
        self._began: float | None = None
        self._seen: set[Key] = set()
        self._synced: dict[Listing, float] = {}
        self._gaps: frozenset[Gap] = frozenset()
        self._told: dict[str, float] = {}
        self._untold: dict[str, list[str]] = {}
        self._waits: Sequence[str] = ("the first answer",)
        self._turned, self._tallied, self._dirty = clock(), -TALLY_SECONDS, True

    # The source, as the Watch sees it ---------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is followed, for people."""
        return self._source.title

    def introduce(self) -> Facts:
        """Which cluster it is. Raises CannotJudge."""
        return self._source.introduce()

    def start(self, positions: Mapping[Listing, str]) -> None:
        """Begin; says whether it is from nothing or from where it was."""
        how = f"{count(len(positions), 'list')} go on from where they were" if positions else "everything is read first"
        self._log("resumed" if positions else "started", f"following {self.title}: {how}", lists=len(positions))
        self._source.start(positions)

    def get(self, timeout: float | None) -> Change | None:
        """The next change, which is counted; the one before was dealt with by now."""
        self._settle()
        change = self._last = self._source.get(timeout)
        if change is not None:
            self._came(change)
        return change

    def _came(self, change: Change) -> None:
        counts = self.metrics.counts
        if self._began is None:
            self._began = self._clock()
        match change:
            case Seen(listing, kind, item):
                counts.events[kind_of(listing.resource), kind.lower()] += 1
                self._synced[listing] = self._wall()
                self._seen.add(Key(listing.resource, *name_of(BY_NAME.get(listing.resource), item)))
            case Listed(listing, _, verified, _):
                counts.lists[kind_of(listing.resource), "verify" if verified else "sync"] += 1
                self._synced[listing] = self._wall()
            case Position(listing, _):
                self._synced[listing] = self._wall()
            case Served(listings):
                self._synced = {one: at for one, at in self._synced.items() if one in listings}
                for one in listings:  # a counter that first shows as 1 has not grown, for Prometheus
                    counts.corrections[kind_of(one.resource),] += 0

    def _settle(self) -> None:
        """What the change that came last led to."""
        if self._watch is None or not isinstance(self._last, Listed):
            return
        number = self._watch.counts["corrections"] - self._corrected
        if number:
            self._corrected += number
            listing = self._last.listing
            self.metrics.counts.corrections[kind_of(listing.resource),] += number
            self._log("corrected", f"{gap_place(*listing[:2])}: the server had not told of changes of "
                      f"{count(number, 'object')}", resource=listing.resource, objects=number)  # fmt: skip

    # What is done with it ---------------------------------------------------------------------------------------------

    def written(self, written: Written) -> None:
        """A revision was written."""
        self._dirty = True
        metrics, happened = self.metrics, Counter(event.kind for event in written.events)
        metrics.counts.totals["revisions",] += 1
        metrics.counts.happened.update((kind,) for kind in happened.elements())
        first = metrics.counts.totals["revisions",] == 1  # that one is a scan
        if self._began is not None and self._watch is not None and not first:
            metrics.batches.observe(self._clock() - self._began)
            self._lagged(self._watch, written)
        said = [f"{number} {kind}" for kind, number in happened.items()]
        self._log("revision", f"{written.revision}: {listed([count(len(written.changed), 'object'), *said], 12)}",
                  revision=written.revision, objects=len(written.changed), events=dict(happened))  # fmt: skip
        worth = [event for event in written.events if event.kind in TOLD]
        for event in worth[:LINES]:
            self._event(written, event)
        if len(worth) > LINES:
            self._log("more", f"and {count(len(worth) - LINES, 'event')} of findings: `posture findings list`",
                      revision=written.revision, events=len(worth) - LINES)  # fmt: skip

    def _event(self, written: Written, event: Event) -> None:
        known = self._watch.findings if self._watch else {}
        finding = written.findings.get(event.fingerprint) or known.get(event.fingerprint)
        fields = {"revision": written.revision, "finding": event.fingerprint}
        if finding is None:
            self._log(TOLD[event.kind], f"{event.fingerprint[:8]} {event.detail}", **fields)
            return
        fields |= {"severity": finding.severity, "owner": finding.whose, "domain": finding.domain,
                   "subject": finding.subject, "scope": finding.scope, "through": list(finding.path)}  # fmt: skip
        self._log(TOLD[event.kind], _sentence(finding, event), **fields)

    def _lagged(self, watch: Watch, written: Written) -> None:
        """How long after their writes the objects of a revision that watches told of are judged and written."""
        now = self._wall()
        for key in self._seen.intersection(written.changed):
            entry = watch.snapshot.entry(key)
            times = [str(row[2]) for row in orjson.loads(entry.managers)] if entry else []
            with suppress(ValueError):  # none there, or no time
                newest = max(times)
                self.metrics.lag.observe(max(0.0, now - parse_time(newest).timestamp()))

    def turned(self, watch: Watch) -> None:
        """A turn of the watch is over: whatever came is written, or waits for what is to come."""
        first = self._watch is None
        self._watch, self._turned = watch, self._clock()
        self._settle()
        self._last = None
        if watch.ready:
            self._began = None
            self._seen.clear()
        self._tell_troubles()
        self._tell_gaps(watch)
        waits = _waits(watch)
        if first or bool(waits) != bool(self._waits):
            self._dirty = True
        waited, self._waits = self._waits, waits
        if waited and not waits:
            objects, findings = sum(map(len, watch.snapshot.index.values())), len(watch.findings)
            text = f"every kind is followed or is a gap: {count(objects, 'object')}, {count(findings, 'finding')}"
            self._log("ready", text, objects=objects, findings=findings)
        if self._turned - self._tallied >= TALLY_SECONDS:
            self._tally(watch)

    def _tell_gaps(self, watch: Watch) -> None:
        gaps = frozenset(gap for gap in watch.snapshot.gaps if gap.reason != "not collected")
        if not watch.judged or gaps == self._gaps:
            return
        for gap in sorted(gaps - self._gaps):
            self._gap("gap", gap, f"{gap_place(*gap[:2])}: {gap.reason}, {gap.message}")
        for gap in sorted(self._gaps - gaps):
            self._gap("closed", gap, f"the gap {gap_place(*gap[:2])}")
        self._gaps = gaps

    def _gap(self, event: Name, gap: Gap, text: str) -> None:
        self._log(event, text, resource=gap.resource, namespace=gap.namespace, reason=gap.reason)

    def _tell_troubles(self) -> None:
        while self._troubles:
            problem = self._troubles.popleft()
            reason = _reason(problem)
            self.metrics.counts.troubles[reason,] += 1
            self._untold.setdefault(reason, []).append(str(problem))
        now = self._clock()
        self._told = {reason: at for reason, at in self._told.items() if now - at < TELL_SECONDS}
        for reason in [one for one in self._untold if one not in self._told]:
            first, *others = self._untold.pop(reason)
            self._told[reason] = now
            more = f", and so {count(len(others), 'more time')}" if others else ""
            self._log("trouble", f"{first}{more}; tried again", reason=reason, times=1 + len(others))

    def _tally(self, watch: Watch) -> None:
        self._tallied = self._clock()
        levels, now = self.metrics.levels, self._now()
        if self._dirty or any(one.decision and one.decision.until for one in watch.findings.values()):
            snapshot = watch.snapshot
            objects: Counter[tuple[str, ...]] = Counter()
            for resource, found in snapshot.index.items():
                objects[kind_of(resource),] += len(found)
            info = watch.name, snapshot.cluster, str(snapshot.version or "")
            levels = Levels(findings_by(watch.findings.values(), now), gaps_by(snapshot.gaps), objects, {}, info)
        self._dirty = False
        for name, number in self._work().items():
            self.metrics.counts.totals[name,] = number
        self.metrics.levels = levels._replace(synced=self._oldest(), ready=not self._waits)

    def _oldest(self) -> dict[tuple[str, ...], float]:
        """Of each kind, when the list that is behind the others was last known to be up to date."""
        oldest: dict[tuple[str, ...], float] = {}
        for listing, at in self._synced.items():
            if listing.resource not in BY_NAME:
                continue  # discovery, which is asked whether it changed
            kind = kind_of(listing.resource)
            oldest[kind,] = min(at, oldest.get((kind,), at))
        return oldest

    # What is asked for, by another thread -----------------------------------------------------------------------------

    def page(self, path: str) -> Page | None:
        """The page of a path; it waits for nobody."""
        match path:
            case "/metrics":
                return Page(200, self.metrics.page(), TEXT_FORMAT)
            case "/healthz":
                idle = self._clock() - self._turned
                return Page(200, "ok\n") if idle < STUCK_SECONDS else Page(503, f"nothing happened for {idle:.0f} s\n")
            case "/readyz":
                waits = self._waits
                return Page(503, f"not ready, waiting for:\n{'\n'.join(waits)}\n") if waits else Page(200, "ok\n")
        return None


def _waits(watch: Watch) -> Sequence[str]:
    """What is missing before the watcher is ready."""
    if watch.waiting:
        return tuple(f"{gap_place(*one[:2])}{f' ({one.part})' if one.part else ''}" for one in sorted(watch.waiting))
    if not watch.ready:
        return ("what the server serves",)
    return () if watch.judged else ("the first judgement",)


def _sentence(finding: Finding, event: Event) -> str:
    if event.kind == "resolved":
        return f"{finding.headline} [{finding.fingerprint[:8]}]{f': {event.detail}' if event.detail else ''}"
    text = f"{finding.severity.upper():<8} {finding.headline}, through {' → '.join(finding.path)}"
    cause = finding.causes[0] if finding.causes else None
    by = f", {cause.what}{made_by(cause_record(cause))}" if cause and cause.what else ""
    return f"{text}{by}  ({finding.whose}) [{finding.fingerprint[:8]}]"


def _reason(problem: RequestProblem) -> str:
    if not problem.status:
        return "no connection" if problem.fatal else "no answer"
    return str(problem.status) if 100 <= problem.status < 600 else "other"
