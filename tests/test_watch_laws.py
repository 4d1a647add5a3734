"""However a cluster is heard of, a watch ends where one scan would: the same snapshot, and the same findings."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from posture import actions
from posture.collect import Listing
from posture.config import Config
from posture.inputs import Inputs
from posture.scan import Request, scan
from posture.store import Store, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.watch import Watch
from tests.conftest import FIGURE
from tests.follow import VERSION, Cluster, Heard, indexed, listing_of, names, present
from tests.generator import network, small
from tests.generator.admission import cluster as admission_cluster
from tests.generator.objects import snapshot
from tests.generator.source import Given
from tests.graph.clusters import Size
from tests.graph.clusters import random_cluster as graph_cluster
from tests.test_updates import Cluster as Generator
from tests.test_updates import Edit, edited

CLUSTERS: dict[str, tuple[Generator, Edit | None]] = {
    "rbac": (lambda random: small.random_cluster(random, roles=5, bindings=7),
             small.random_edit),
    "network": (network.random_cluster, None),
    "admission": (admission_cluster, None),
    "graph": (lambda random: graph_cluster(random, Size(2, 3, 2, 1)), None),
}  # fmt: skip
MANY = {"rbac": 500, "network": 300, "graph": 180, "admission": 20}
FEW = {"rbac": 4, "network": 3, "graph": 3, "admission": 1}
ID = "7c1e"
LATER = "2026-11-21T09:00:00Z"


@lru_cache(maxsize=1)
def inputs() -> Inputs:
    """The shipped checks; nobody owns anything."""
    return Inputs(replace(Config(), peer_labels=("team",)))


class Sequence:
    """One run: a database that some scan or watch left, a cluster that moves on, and who hears of it."""

    def __init__(self, folder: Path, random: Random, kind: str) -> None:
        self.random, self.folder = random, folder
        first, *self.states = edited(random, *CLUSTERS[kind])
        self.cluster = Cluster(listing_of(raw) for state in (first, *self.states) for raw in state)
        for _ in self.cluster.become(random, first):
            pass
        self.ticks = 0
        self.gone: list[Listing] = []
        self.counts: Counter[str] = Counter()
        self.path = folder / "posture.db"
        with closing(open_store(str(self.path))) as store:
            self.scan(store, self.now())
            if random.random() < 0.7:
                newest = snapshots.latest(store, ID)
                assert newest is not None
                actions.approve(store, newest.id, Deed("agreed", "ann", self.now(), "as it is"))
            if random.random() < 0.5:
                for _ in self.cluster.become(random, self.states.pop(0)):
                    pass
                self.scan(store, self.now())
            store.connection.execute("VACUUM INTO ?", (str(folder / "before.db"),))
        self.start()

    def now(self) -> str:
        """Some seconds later."""
        self.ticks += 1
        hours, seconds = divmod(self.ticks, 3600)
        return f"2026-11-20T{hours:02}:{seconds // 60:02}:{seconds % 60:02}Z"

    def scan(self, store: Store, time: str) -> None:
        """Read the cluster as it is, at once."""
        scan(store, Given(self.cluster, version=VERSION), inputs(), Request(time))

    def start(self) -> None:
        """Begin to follow, or go on after a kill or a restart."""
        self.store = open_store(str(self.path))
        self.heard = Heard(self.cluster, self.random)
        self.watch = Watch(self.store, self.heard, inputs(), Request(self.now()), now=self.now)

    def end(self) -> None:
        """Stop, or be killed: then what came is not written."""
        if self.random.random() < 0.5:
            self.watch.remember()
        self.counts += self.watch.counts
        self.counts["told"] += self.heard.told
        self.store.close()

    def run(self) -> None:
        """Live through all states, and end up where everything was listed once more."""
        for state in self.states:
            for _ in self.cluster.become(self.random, state):
                while self.random.random() < 0.6:
                    self.heard.happen()
                if self.random.random() < 0.15:
                    self.watch.turn(0)
                if self.random.random() < 0.01:
                    self.end()
                    self.start()
            self._custom()
        self.heard.settle()
        while self.watch.turn(0):
            pass

    def _custom(self) -> None:
        """A kind is not served any more, with all its objects; or again."""
        served = self.cluster.served
        custom = sorted(one for one in served if one.part or one.resource.endswith("kyverno.io"))
        if self.gone and self.random.random() < 0.5:
            self.cluster.served = served | {self.gone.pop()}
        elif custom and self.random.random() < 0.3:
            one = self.random.choice(custom)
            for name in [*self.cluster.objects[one]]:
                self.cluster.delete(one, name)
            self.cluster.served = served - {one}
            self.gone.append(one)

    def check(self) -> None:
        """The snapshot is the cluster, and the findings are those of one scan in place of all that."""
        wanted = indexed(snapshot(self.cluster, (), VERSION, ID).index)
        assert indexed(self.watch.snapshot.index) == wanted
        newest = snapshots.latest(self.store, ID)
        assert indexed(snapshots.load(self.store, ID, newest).snapshot.index) == wanted
        with closing(open_store(str(self.folder / "before.db"))) as other:
            self.scan(other, self.now())
            assert present(self.store, ID) == present(other, ID)
            if not _aliases(self.store) and not _aliases(other):
                assert names(self.store, ID) == names(other, ID)
        upkeep.verify(self.store)
        self.counts["revisions"] += len(snapshots.revisions(self.store, ID))
        self.end()


def _aliases(store: Store) -> int:
    """How many findings are known by another name: what moved at once for a scan came and went for a watch."""
    found: int = store.connection.execute("SELECT count(*) FROM alias").fetchone()[0]
    return found


def sequence(random: Random, kind: str) -> Counter[str]:
    """One run of a kind of cluster; what happened in it."""
    with tempfile.TemporaryDirectory() as folder:
        one = Sequence(Path(folder), random, kind)
        one.run()
        one.check()
        return one.counts


@pytest.mark.parametrize("kind", CLUSTERS)
def test_whatever_is_heard_in_whichever_way_ends_where_a_scan_would(kind: str) -> None:
    """Events early and late, lost ones, lists in pieces, gaps, kinds that go, kills and restarts."""

    @examples(max_examples=FEW[kind], deadline=None)
    @given(seed=st.integers(0, 2**32))
    def law(seed: int) -> None:
        sequence(Random(seed), kind)

    law()


@pytest.mark.prove
@pytest.mark.parametrize("kind", CLUSTERS)
def test_many_sequences_end_where_a_scan_would(kind: str, record_property: Callable[[str, object], None]) -> None:
    """The same for many more; POSTURE_SEED repeats a run."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    counts: Counter[str] = Counter()
    for number in range(MANY[kind]):
        counts += sequence(Random(f"{seed}:{number}"), kind)
    record_property(
        FIGURE,
        f"watch, {kind}: {MANY[kind]:,} sequences ({counts['told']:,} changes, {counts['events']:,} events, "
        f"{counts['corrections']:,} lost ones found, {counts['revisions']:,} revisions) end as a scan ({seed})",
    )
