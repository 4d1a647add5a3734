"""An API server that fails in every way, and a watch that ends where one scan of it would once it has recovered."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from posture import actions
from posture.collect.access import Access
from posture.collect.client import Backoff, Client
from posture.collect.following import Following
from posture.collect.live import LiveSource
from posture.collect.reflector import Pace
from posture.errors import CannotJudge
from posture.kinds import KINDS, RBAC
from posture.scan import Request, scan
from posture.store import Store, open_store, snapshots, upkeep
from posture.store.decisions import Deed
from posture.watch import Watch
from tests.collect.faulty import FaultyServer, Resource
from tests.conftest import FIGURE
from tests.follow import indexed, present
from tests.generator import small
from tests.generator.objects import Object
from tests.generator.source import resource_of
from tests.test_watch_laws import inputs

MANY = 200
STEPS = 5
SECONDS = 30.0
ID = "the-cluster"
FOLLOWED = [kind for kind in KINDS if kind.name in ("namespaces", "serviceaccounts") or kind.group == RBAC]
FAST = Pace(
    first=0.01, cap=0.05, asked=0.1, steady=0.1, shortest=1, longest=2, silence=0.5, verify=0.4, grace=0.3,
    poll=0.1, patience=0.3, certain=0.1,
)  # fmt: skip
CHANCES = {"lost": 0.05, "doubled": 0.05, "swapped": 0.05, "cut": 0.05, "hang": 0.01,
           "dropped": 0.05, "403": 0.05, "410": 0.05, "429": 0.03, "500": 0.05, "503": 0.03}  # fmt: skip


class Storm:
    """A server whose objects change while it fails, and who follows it, with pauses."""

    def __init__(self, folder: Path, random: Random, server: FaultyServer) -> None:
        self.random, self.server, self.folder = random, server, folder
        self.path, self.ticks = folder / "posture.db", 0
        self.counts: Counter[str] = Counter()
        self.objects = small.random_cluster(random, roles=5, bindings=7)
        self._become(self.objects)
        server.store.put("/api/v1/namespaces", "kube-system")
        with closing(open_store(str(self.path))) as store:
            self.scan(store)
            newest = snapshots.latest(store, ID)
            assert newest is not None
            actions.approve(store, newest.id, Deed("agreed", "ann", self.now(), "as it is"))
            store.connection.execute("VACUUM INTO ?", (str(folder / "before.db"),))

    def now(self) -> str:
        """Some seconds later."""
        self.ticks += 1
        hours, seconds = divmod(self.ticks, 3600)
        return f"2026-11-20T{hours:02}:{seconds // 60:02}:{seconds % 60:02}Z"

    def client(self) -> Client:
        return Client(Access(self.server.url, name="prod"), None, backoff=Backoff(tries=2, first=0.01, cap=0.01))

    def scan(self, store: Store) -> None:
        with self.client() as client:
            scan(store, LiveSource(client, kinds=FOLLOWED), inputs(), Request(self.now()))

    def live(self) -> None:
        """Follow it twice while it fails, with a kill in between; then let it recover, and hear of everything."""
        self.server.faults.chances = CHANCES
        for last in (False, True):
            with suppress(CannotJudge):  # as a Deployment, it is started again
                self._follow(last=last)
        self.server.faults.chances = {}
        with closing(open_store(str(self.path))) as store, self._following() as following:
            watch = Watch(store, following, inputs(), Request(self.now()), now=self.now)
            end = time.monotonic() + SECONDS
            while not self._agrees(watch) or watch.turn(0.05):
                watch.turn(0.05)
                assert time.monotonic() < end, "it never came to hold what the server holds"
            watch.turn(0.05)
            self.check(store)

    def _following(self) -> Following:
        return Following(self.client(), kinds=FOLLOWED, pace=FAST, limit=3, survey=0.2, quiet=0.3,
                         chance=self.random.random)  # fmt: skip

    def _follow(self, *, last: bool) -> None:
        with closing(open_store(str(self.path))) as store, self._following() as following:
            watch = Watch(store, following, inputs(), Request(self.now()), now=self.now)
            for _ in range(STEPS):
                self.objects = small.random_edit(self.random, self.objects)
                self._become(self.objects)
                for _ in range(self.random.randrange(4)):
                    watch.turn(0.02)
                roll = self.random.random()
                if roll < 0.2:
                    self.server.drop()
                elif roll < 0.3:
                    self.server.store.compact()
                elif roll < 0.4:
                    self.server.down()
                    self.server.up()
            if last:
                watch.remember()
            self.counts += watch.counts

    def _become(self, objects: list[Object]) -> None:
        """Make the server hold these objects."""
        store = self.server.store
        paths = {kind.name: Resource.of(kind).path for kind in FOLLOWED}
        wanted = {(paths[resource_of(raw)], raw["metadata"].get("namespace", ""), raw["metadata"]["name"]): raw
                  for raw in objects if resource_of(raw) in paths}  # fmt: skip
        there = {(path, *name): item for path in store.resources for name, item in store.objects(path).items()}
        for path, namespace, name in there.keys() - wanted.keys():
            if name != "kube-system":
                store.delete(path, name, namespace)
        for (path, namespace, name), raw in wanted.items():
            known = there.get((path, namespace, name))
            metadata = {**raw["metadata"], "uid": known["metadata"]["uid"] if known else f"uid-{store.version}"}
            if known is None or _said({**raw, "metadata": metadata}) != _said(known):
                store.put(path, name, namespace, **{**raw, "metadata": metadata})
                self.counts["writes"] += 1

    def _agrees(self, watch: Watch) -> bool:
        """Whether what was heard is what is there, by resourceVersion."""
        store = self.server.store
        there = {
            kind.name: {name: item["metadata"]["resourceVersion"]
                        for name, item in store.objects(Resource.of(kind).path).items()} for kind in FOLLOWED
        }  # fmt: skip
        held = {
            kind.name: {name: entry.resource_version for name, entry in watch.snapshot.index.get(kind.name, {}).items()}
            for kind in FOLLOWED
        }
        return watch.ready and not watch.snapshot.gaps and held == there

    def check(self, store: Store) -> None:
        """The findings are those of one scan of what it is now, by a database from before all that."""
        with closing(open_store(str(self.folder / "before.db"))) as other:
            self.scan(other)
            newest, scanned = snapshots.latest(store, ID), snapshots.latest(other, ID)
            assert indexed(snapshots.load(store, ID, newest).snapshot.index) == indexed(
                snapshots.load(other, ID, scanned).snapshot.index)  # fmt: skip
            assert present(store, ID) == present(other, ID)
        upkeep.verify(store)


def _said(item: Object) -> Object:
    return {**item, "metadata": {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}}


def storm(random: Random) -> Counter[str]:
    """One run; what went wrong in it."""
    with tempfile.TemporaryDirectory() as folder, FaultyServer(map(Resource.of, FOLLOWED), bookmark=0.1) as server:
        server.faults.random = random
        one = Storm(Path(folder), random, server)
        one.live()
        return one.counts + server.counts


@examples(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_a_server_does_wrong_a_watch_ends_where_a_scan_would(seed: int) -> None:
    """Lost, doubled and swapped events, broken and silent connections, refusals, compactions, restarts, a kill."""
    storm(Random(seed))


@pytest.mark.prove
def test_many_storms_end_where_a_scan_would(record_property: Callable[[str, object], None]) -> None:
    """The same for many more. POSTURE_SEED repeats what is written; what happens when is up to threads."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    counts: Counter[str] = Counter()
    for number in range(MANY):
        counts += storm(Random(f"{seed}:{number}"))
    faults = ", ".join(f"{counts[name]:,} {name}" for name in CHANCES)
    record_property(
        FIGURE,
        f"watch of a server that fails: {MANY} storms, {counts['writes']:,} writes ({faults}; "
        f"{counts['corrections']:,} lost events found) end where a scan would ({seed})",
    )
