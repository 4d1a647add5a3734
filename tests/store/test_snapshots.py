"""Revisions: what was written is what is read back at every moment, and history costs only what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from posture.errors import UsageError
from posture.model import Snapshot
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
    """A renamed context is the same cluster; a name that moved is the new cluster's."""
    with open_store(str(tmp_path / "posture.db")) as store:
        for cluster, name in (("uid-1", "old"), ("uid-1", "prod"), ("uid-2", "old")):
            scanned(store, Given([], cluster=cluster, name=name))
        assert snapshots.clusters(store) == [("uid-2", "old"), ("uid-1", "prod")]
        found = {name: snapshots.cluster_named(store, name) for name in ("prod", "old", "uid-1", "uid-2", "none")}
        assert found == {"prod": "uid-1", "old": "uid-2", "uid-1": "uid-1", "uid-2": "uid-2", "none": None}
