"""Revisions: what was written is what is read back at every moment, and history costs only what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from posture.config import Config
from posture.errors import UsageError
from posture.inputs import Inputs
from posture.model import Gap, Snapshot
from posture.scan import Request, scan
from posture.store import MEMORY, Store, open_store, snapshots, upkeep
from tests.generator.source import Given
from tests.store.histories import HISTORIES, Moment, cost, written
from tests.store.stored import scanned, some_objects


def held(snapshot: Snapshot) -> object:
    """All that a snapshot says, in a form that can be compared."""
    objects = {key: content for resource in snapshot.index for key, content in snapshot.objects(resource)}
    return objects, snapshot.gaps, snapshot.version, snapshot.assumed, snapshot.digest


def loaded(store: Store, number: int) -> Snapshot:
    revision = snapshots.revision(store, number)
    return snapshots.load(store, revision.cluster, revision).snapshot


def rows(store: Store, table: str) -> int:
    found: int = store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


OVERLAPS = """SELECT count(*) FROM {0} a JOIN {0} b ON b.object = a.object AND b.since > a.since
              WHERE a.until IS NULL OR a.until > b.since"""


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_every_revision_is_read_back_as_it_was_written(history: list[Moment]) -> None:
    """Objects, gaps and versions of two clusters; what could not be read is left out; every hash holds."""
    with open_store(MEMORY) as store:
        for number, snapshot in written(store, history).items():
            assert held(loaded(store, number)) == held(snapshot)
        for table in ("version", "unverified"):
            assert store.connection.execute(OVERLAPS.format(table)).fetchone() == (0,)
        upkeep.verify(store)


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_history_costs_only_what_changed(history: list[Moment]) -> None:
    """One row for each change of an object, for each stretch in which it was not read, for each gap that opened."""
    with open_store(MEMORY) as store:
        written(store, history)
        expected = cost(history)
        assert rows(store, "version") == expected.versions
        assert rows(store, "unverified") == expected.unverified
        assert rows(store, "gap") == expected.gaps
        assert rows(store, "revision") == len(history)


def test_a_thousand_equal_scans_cost_a_thousand_small_rows(tmp_path: Path) -> None:
    """A revision of which nothing changed is one row, whatever the cluster holds."""
    history = [Moment("one", {"role1": 0, "binding2": 1}, [], None)] * 28
    with open_store(str(tmp_path / "posture.db")) as store:
        written(store, history)
        assert [rows(store, table) for table in ("revision", "version", "content", "object")] == [28, 2, 2, 2]


def test_equal_objects_are_stored_once(tmp_path: Path) -> None:
    """In any namespace, of any cluster, at any time."""
    with open_store(str(tmp_path / "posture.db")) as store:
        written(
            store, [Moment(name, {"role1": 0, "role2": 0, "clusterrole1": 0}, [], None) for name in ("one", "other")]
        )
        assert rows(store, "content") == 1
        assert rows(store, "version") == 6


def test_managers_and_times_move_without_a_version(tmp_path: Path) -> None:
    """What stands beside the content is the newest, and costs nothing."""
    objects = some_objects(1)
    with open_store(str(tmp_path / "posture.db")) as store:
        scanned(store, Given(objects))
        manager = {"manager": "kubectl-edit", "operation": "Update", "time": "2026-10-21T00:00:00Z", "fieldsV1": {}}
        objects[0]["metadata"] |= {"resourceVersion": "7", "managedFields": [manager]}
        before = rows(store, "version")
        done = scanned(store, Given(objects))
        assert rows(store, "version") == before
        entry = loaded(store, done.revision).index["roles.rbac.authorization.k8s.io"]["pay", "reader"]
        assert (entry.resource_version, "kubectl-edit" in entry.managers) == ("7", True)


@pytest.mark.parametrize(("time", "expected"), [
    ("2026-10-01T00:00:00Z", 1), ("2026-10-01T23:59:59Z", 1), ("2026-10-02T00:00:00Z", 2), ("2027-01-01T00:00:00Z", 3),
])  # fmt: skip
def test_a_time_names_the_newest_revision_not_after_it(time: str, expected: int) -> None:
    """`@TIME` is what was known then."""
    with open_store(MEMORY) as store:
        written(store, [Moment("one", {}, [], None)] * 3)
        assert snapshots.revision_before(store, "one", time).id == expected


def test_before_the_first_revision_there_is_nothing() -> None:
    """A moment without a snapshot, and a number that was never given, are said in a sentence."""
    with open_store(MEMORY) as store:
        written(store, [Moment("one", {}, [], None)])
        with pytest.raises(UsageError, match="no snapshot at or before 2026-09-30"):
            snapshots.revision_before(store, "one", "2026-09-30T00:00:00Z")
        with pytest.raises(UsageError, match="no snapshot 7"):
            snapshots.revision(store, 7)


def test_a_cluster_is_found_by_its_id_and_by_every_name_it_had(tmp_path: Path) -> None:
    """A renamed context is the same cluster."""
    with open_store(str(tmp_path / "posture.db")) as store:
        for cluster, name in (
            ("uid-1", "old"),
            ("uid-1", "prod"),
            ("uid-2", "test"),
            ("uid-1", "uid-1"),
            ("uid-1", ""),
        ):
            scanned(store, Given([], cluster=cluster, name=name))
        assert snapshots.clusters(store) == [("uid-1", "prod"), ("uid-2", "test")]
        found = {
            name: snapshots.cluster_named(store, name) for name in ("prod", "old", "test", "uid-1", "uid-2", "none")
        }
        assert found == {"prod": "uid-1", "old": "uid-1", "test": "uid-2", "uid-1": "uid-1", "uid-2": "uid-2",
                         "none": None}  # fmt: skip


@pytest.mark.parametrize("name", ["prod", "old", "uid-1"])
def test_a_name_or_id_of_another_cluster_is_refused(name: str) -> None:
    """A name never moves: what is decided about one cluster would be about another. Nothing is written."""
    with open_store(MEMORY) as store:
        for was in ("old", "prod"):
            scanned(store, Given([], cluster="uid-1", name=was))
        with pytest.raises(UsageError, match=f"{name} is already the cluster uid-1, and this one is uid-2") as caught:
            scanned(store, Given([], cluster="uid-2", name=name))
        assert "another name with --cluster" in caught.value.hint
        assert snapshots.clusters(store) == [("uid-1", "prod")]
        assert rows(store, "revision") == 2


@pytest.mark.parametrize(("offline", "cluster", "expected"), [
    (True, "", ("local", "local")), (True, "pr-123", ("pr-123", "pr-123")), (True, "prod", ("uid-1", "prod")),
    (False, "", ("uid-1", "prod")), (False, "pr-123", ("uid-1", "pr-123")),
])  # fmt: skip
def test_manifests_are_the_cluster_that_is_named(offline: bool, cluster: str, expected: tuple[str, str]) -> None:
    """What uid is written in them chooses nothing; a live cluster is its uid, and --cluster its name."""
    with open_store(MEMORY) as store:
        scanned(store, Given(some_objects(), cluster="uid-1", name="prod"))
        before = dict(snapshots.clusters(store))
        source = Given([], cluster="uid-1", name="" if offline else "prod")
        request = Request("2026-10-21T10:00:00Z", cluster, offline=offline)
        assert scan(store, source, Inputs(Config()), request).snapshot.cluster == expected[0]
        assert dict(snapshots.clusters(store)) == before | dict([expected])


def test_manifests_that_nobody_names_are_not_a_cluster_called_local() -> None:
    """`local` may be the name of a cluster by now."""
    with open_store(MEMORY) as store:
        scanned(store, Given([], cluster="uid-1", name="local"))
        with pytest.raises(UsageError, match="local is already the cluster uid-1, and this one is local"):
            scan(store, Given([], cluster="", name=""), Inputs(Config()), Request("2026-10-21T10:00:00Z", offline=True))


def test_what_could_not_be_read_is_asked_alone() -> None:
    """The gaps of every revision, as the snapshot has them."""
    gone = [Gap("roles.x", "", "failed", "no"), Gap("*", "pay", "forbidden", "no")]
    with open_store(MEMORY) as store:
        written(store, [Moment("one", {}, held, None) for held in ([], gone, gone[:1], [])])
        found = [snapshots.gaps(store, one) for one in snapshots.revisions(store, "one")]
        assert found == [(), (gone[1], gone[0]), (gone[0],), ()]
