"""Weeks of following on a clock that runs fast: memory stays what it was, and the database grows with changes only."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from posture import actions
from posture.scan import Request
from posture.store import Store, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.text import format_time
from posture.watch import Watch, batches
from tests.conftest import FIGURE
from tests.follow import RESOURCES, Cluster, Heard, listing_of
from tests.generator import small
from tests.test_watch_laws import ID, inputs

STEP = timedelta(minutes=20)
STEPS = timedelta(days=1) // STEP
APPLIED = 12
"""So many objects are applied again at every step, and say what they said."""
SPARE = 256 * 1024
"""Bytes that may come and go: pages of SQLite, caches that are not full yet."""


class Weeks:
    """A cluster that deliverers write all the time, and in which people change something on some days."""

    def __init__(self, path: Path) -> None:
        self.random, self.time = Random(7), datetime(2026, 11, 1, tzinfo=UTC)
        self.objects = small.random_cluster(self.random, roles=8, bindings=12)
        self.cluster = Cluster(map(listing_of, self.objects))
        for raw in self.objects:
            self.cluster.put(raw)
        self.store: Store = open_store(str(path))
        self.heard = Heard(self.cluster, self.random, meanwhile=0)
        self.watch = Watch(self.store, self.heard, inputs(), Request(self.now()), now=self.now)
        self.turns = batches(self.watch, lambda: False, self._clock, 0)
        self.changes = 0
        self._hear()
        newest = snapshots.latest(self.store, ID)
        assert newest is not None
        actions.approve(self.store, newest.id, Deed("agreed", "ann", self.now(), "as it is"))
        self._hear()

    def _clock(self) -> float:
        return self.time.timestamp()

    def now(self) -> str:
        return format_time(self.time)

    def day(self, *, changes: int) -> None:
        """One day, with so many changes by people; each list is verified once an hour."""
        at = {self.random.randrange(STEPS) for _ in range(changes)}
        for step in range(STEPS):
            self.time += STEP
            for raw in self.random.sample([*self.cluster], APPLIED):
                self.cluster.put(raw, self.random.choice(("flux", "helm")))
            if step in at:
                self._change()
            for listing in sorted(self.cluster.served - {RESOURCES}):
                self.heard.tell(listing)
                if step % 3 == 0:
                    self.heard.relist(listing, verified=True)
            self.cluster.log.clear()
            self._hear()

    def _change(self) -> None:
        self.objects = small.random_edit(self.random, self.objects)
        for _ in self.cluster.become(Random(0), self.objects):
            pass
        self.changes += 1

    def _hear(self) -> None:
        while next(self.turns):
            pass

    @property
    def revisions(self) -> int:
        return len(snapshots.revisions(self.store, ID))

    @property
    def bytes(self) -> int:
        """The size of the database, but for what SQLite has free in it."""
        pages, free, size = (self.store.connection.execute(f"PRAGMA {name}").fetchone()[0]
                             for name in ("page_count", "freelist_count", "page_size"))  # fmt: skip
        return int((pages - free) * size)


def memory() -> int:
    """The bytes that Python holds."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def soak(path: Path, days: int) -> str:
    """Half of the days something changes, then nothing does; what that cost, in words."""
    tracemalloc.start()
    try:
        weeks = Weeks(path)
        with closing(weeks.store):
            begun = weeks.revisions
            for _ in range(days - days // 2):
                weeks.day(changes=2)
            made, size, held = weeks.revisions, weeks.bytes, memory()
            assert begun < made <= begun + 8 * weeks.changes, "a change is a few writes, each in a revision at most"
            for _ in range(days // 2):
                weeks.day(changes=0)
            grown = memory() - held
            assert weeks.revisions == made, "what was applied again is no change"
            assert weeks.bytes <= size + SPARE
            assert grown < SPARE
            events = weeks.watch.counts["events"]
            assert weeks.watch.counts["corrections"] == 0
            upkeep.verify(weeks.store)
    finally:
        tracemalloc.stop()
    return (f"watch: {days} days, {events:,} events, {weeks.changes} changes: {made} revisions, {size // 1024:,} kB; "
            f"{days // 2} days without a change: {grown / 1024:+.0f} kB of memory")  # fmt: skip


def test_days_without_a_change_cost_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Four days: what deliverers apply again, and lists that are verified, leave no revision and no memory."""
    record_property(FIGURE, soak(tmp_path / "posture.db", 4))


@pytest.mark.prove
def test_a_month_costs_what_changed(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Thirty days."""
    record_property(FIGURE, soak(tmp_path / "posture.db", 30))
