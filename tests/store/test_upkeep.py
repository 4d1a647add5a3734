"""Pruning keeps what counts, byte for byte; verifying finds whatever was altered."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture import actions
from posture.errors import StoreError
from posture.model import Gap, Key
from posture.store import MEMORY, Store, baselines, findings, open_store, snapshots, upkeep
from posture.store.baselines import Approved
from posture.store.database import TRIGGERS
from posture.store.decisions import Deed
from tests.generator.objects import binding, user
from tests.generator.source import Given
from tests.store.histories import HISTORIES, Moment, written
from tests.store.stored import scanned, some_objects
from tests.store.test_snapshots import held, loaded, rows

DEED = Deed("acknowledged", "ann", "2026-10-20T12:00:00Z")


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.integers(0, 8), st.sets(st.integers(1, 7), max_size=2))
def test_pruning_keeps_every_remaining_revision(history: list[Moment], day: int, approved: set[int]) -> None:
    """Approved revisions and each cluster's newest stay whatever their age, the others while they are young enough."""
    with open_store(MEMORY) as store:
        snapshot_of = written(store, history)
        for number in approved & snapshot_of.keys():
            revision = snapshots.revision(store, number)
            baselines.approve(store, Approved(0, revision.cluster, number, revision.time, "ann", ""))
        upkeep.prune(store, f"2026-10-{day:02}T00:00:00Z")
        newest = {moment.cluster: number for number, moment in enumerate(history, 1)}
        expected = {n for n in snapshot_of if n >= day or n in approved or n in newest.values()}
        assert {row.id for cluster in newest for row in snapshots.revisions(store, cluster)} == expected
        for number in expected:
            assert held(loaded(store, number)) == held(snapshot_of[number])
        upkeep.verify(store)
        _nothing_is_left_over(store)


def _nothing_is_left_over(store: Store) -> None:
    """Every row that remains is needed by some revision."""
    for table in ("version", "unverified"):
        assert store.connection.execute(
            f"""SELECT count(*) FROM {table} t JOIN object o ON o.id = t.object WHERE NOT EXISTS (
                  SELECT 1 FROM revision r WHERE r.cluster = o.cluster AND r.id >= t.since
                  AND (t.until IS NULL OR r.id < t.until))"""
        ).fetchone() == (0,)
    assert store.connection.execute(
        "SELECT count(*) FROM content WHERE id NOT IN (SELECT content FROM version)"
    ).fetchone() == (0,)


def test_after_pruning_history_goes_on(tmp_path: Path) -> None:
    """A scan after pruning finds everything as it was, and the agreed objects of a baseline are kept."""
    with open_store(str(tmp_path / "posture.db")) as store:
        objects = some_objects()
        scanned(store, Given(objects), "2026-10-01T00:00:00Z")
        deed = Deed("agreed", "ann", "2026-10-01T00:00:00Z")
        actions.approve(store, 1, deed)
        more = [*objects, binding("late", "Role/reader", user("eve"), namespace="pay")]
        scanned(store, Given(more), "2026-10-02T00:00:00Z")
        found = [one for one in findings.current(store, "7c1e").values() if not one.agreed]
        assert found
        approved = actions.approve_findings(store, found, deed)
        agreed = held(baselines.snapshot(store, approved))
        scanned(store, Given(objects), "2026-10-03T00:00:00Z")
        done = upkeep.prune(store, "2027-01-01T00:00:00Z")
        assert done == (1, 1, 1)
        assert held(baselines.snapshot(store, approved)) == agreed
        assert not scanned(store, Given(objects), "2026-10-04T00:00:00Z").events
        upkeep.verify(store)


def test_pruning_keeps_findings_events_and_decisions(tmp_path: Path) -> None:
    """What people said, and about what, is not history that can go."""
    with open_store(str(tmp_path / "posture.db")) as store:
        scanned(store, Given(some_objects()), "2026-10-01T00:00:00Z")
        actions.decide_on(store, list(findings.select(store)), DEED)
        scanned(store, Given([]), "2026-10-02T00:00:00Z")
        before = [rows(store, table) for table in ("finding", "event", "decision")]
        upkeep.prune(store, "2027-01-01T00:00:00Z")
        assert [rows(store, table) for table in ("finding", "event", "decision")] == before


# What verify finds --------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database with four snapshots, a gap that came and went, findings, decisions, an assignee and a baseline."""
    path = str(tmp_path / "posture.db")
    hidden = Gap("roles.rbac.authorization.k8s.io", "pay", "forbidden", "no")
    with open_store(path) as store:
        scanned(store, Given(some_objects(1)), "2026-10-01T00:00:00Z")
        scanned(store, Given(some_objects(3), [hidden]), "2026-10-02T00:00:00Z")
        found = list(findings.select(store))
        actions.decide_on(store, found[:1], DEED)
        actions.decide_on(store, found[:1], Deed("assigned", "ann", DEED.time, assignee="blue"))
        actions.decide_on(store, found[:1], Deed("false positive", "bob", DEED.time, "known"))
        scanned(store, Given(some_objects(2)), "2026-10-03T00:00:00Z")
        scanned(store, Given(some_objects(2)), "2026-10-04T00:00:00Z")
        first = baselines.approve(store, Approved(0, "7c1e", 1, DEED.time, "ann", "the audit"))
        baselines.approve(
            store, Approved(0, "7c1e", 1, DEED.time, "bob", ""), [(Key("nodes", "", "a"), {"x": 1})], first
        )
        assert upkeep.verify(store)[1:] == (3, 2)
    return path


EMPTY = hashlib.blake2b(b"{}", digest_size=16).hexdigest()


def past_triggers(statements: str) -> str:
    """As somebody does it who knows the triggers: away with them, and back."""
    return f"DROP TRIGGER decision_stays; DROP TRIGGER decision_kept; {statements}; {'; '.join(TRIGGERS)};"


NOT_WRITTEN = "the findings of .* are not what was written"
ALTERED = [
    ("a projection", "UPDATE content SET body = replace(body, 'reader', 'admins')", r"projection \w{32} was altered"),
    ("a projection and its hash", f"UPDATE content SET body = '{{}}', hash = x'{EMPTY}' WHERE id = 1",
     "snapshot 1 is not what was written"),
    ("an interval that ends too late", "UPDATE version SET until = 4 WHERE until = 3", "snapshot 3 is not"),
    ("an interval that ends too early", "UPDATE version SET until = 4 WHERE until IS NULL", "snapshot 4 is not"),
    ("an interval that begins too late", "UPDATE version SET since = 2 WHERE since = 1", "snapshot 1 is not"),
    ("an interval that is gone", "DELETE FROM version WHERE since = 2", "snapshot 2 is not what was written"),
    ("another version of an object", "UPDATE version SET content = (SELECT min(content) FROM version)", "is not what"),
    ("another name", "UPDATE object SET name = 'else' WHERE name = 'b0'", "snapshot 1 is not what was written"),
    ("a stretch that was not read", "DELETE FROM unverified", "snapshot 2 is not what was written"),
    ("a stretch that grew", "UPDATE unverified SET until = 4", "snapshot 3 is not what was written"),
    ("a gap", "DELETE FROM gap", "snapshot 2 is not what was written"),
    ("a gap's words", "UPDATE gap SET message = 'fine'", "snapshot 2 is not what was written"),
    ("a decision's reason", past_triggers("UPDATE decision SET reason = 'x' WHERE id = 3"), "decision 3 was altered"),
    ("who decided", past_triggers("UPDATE decision SET decided_by = 'eve' WHERE id = 1"), "decision 1 was altered"),
    ("a decision in the middle", past_triggers("PRAGMA foreign_keys = OFF; DELETE FROM decision WHERE id = 1"),
     "decision 2 was altered, or one before it taken away"),
    ("the last decision", past_triggers("DELETE FROM decision WHERE id = 5"), "decision 5 was taken away"),
    ("what a finding shows", "UPDATE finding SET decision = 1 WHERE decision = 3", "does not show what was decided"),
    ("a decision that a finding lost", "UPDATE finding SET decision = NULL", "does not show what was decided"),
    ("a decision that nobody made", "UPDATE finding SET decision = 3", "does not show what was decided"),
    ("an assignee", "UPDATE finding SET assignee = 'red' WHERE assignee = 'blue'", "does not show what was decided"),
    ("an agreement", "UPDATE finding SET agreed = 1", "does not show what was decided"),
    ("who approved", "UPDATE baseline SET approved_by = 'ciso' WHERE id = 1", "baseline 1 is not what was approved"),
    ("why it was approved", "UPDATE baseline SET why = 'because' WHERE id = 2", "baseline 2 is not what was approved"),
    ("what was approved", "UPDATE baseline SET revision = 4 WHERE id = 1", "baseline 1 is not what was approved"),
    ("an approval that nobody gave", "INSERT INTO baseline VALUES (3, '7c1e', 4, '2026-10-20T12:00:00Z', 'ann', '')",
     "baseline 3 is not what was approved"),
    ("an approval that is gone", "DELETE FROM baseline WHERE id = 1", "baseline 1 is not what was approved"),
    ("an object that stands in", "UPDATE baseline_object SET content = NULL", "baseline 2 is not what was approved"),
    ("an object that stands in no more", "DELETE FROM baseline_object", "baseline 2 is not what was approved"),
    ("an approved snapshot of another hash",
     "DELETE FROM version; DELETE FROM unverified; DELETE FROM gap; UPDATE revision SET state = zeroblob(16)",
     "baseline 1 is not what was approved"),
    ("a severity", "UPDATE finding SET severity = 9", "is damaged: a row is not as posture writes it"),
    ("a finding's content", "UPDATE finding SET content = 'null'", "is damaged: a row is not as posture writes it"),
    ("findings that nobody decided about",
     "DELETE FROM event; DELETE FROM finding WHERE decision IS NULL AND assignee = ''", NOT_WRITTEN),
    ("a presence", "UPDATE finding SET presence = 'absent'", NOT_WRITTEN),
    ("how severe it is", "UPDATE finding SET severity = 4", NOT_WRITTEN),
    ("an agreement with its event",
     "UPDATE finding SET agreed = 1; INSERT INTO event SELECT NULL, id, 1, '', 'agreed', '' FROM finding", NOT_WRITTEN),
    ("what was gained", "UPDATE finding SET content = replace(content, 'secrets', 'pods')", NOT_WRITTEN),
    ("the sum of the findings", "UPDATE revision SET findings = x''", NOT_WRITTEN),
    ("the end of the journal", past_triggers(
        "UPDATE finding SET decision = 1 WHERE decision = 3; DELETE FROM baseline_object; DELETE FROM baseline; "
        "DELETE FROM decision WHERE id > 2; UPDATE sqlite_sequence SET seq = 2 WHERE name = 'decision'"),
     "decisions from before snapshot 3 were taken away"),
    ("all of the journal", past_triggers(
        "UPDATE finding SET decision = NULL, assignee = ''; DELETE FROM baseline_object; DELETE FROM baseline; "
        "DELETE FROM decision; DELETE FROM sqlite_sequence WHERE name = 'decision'"),
     "decisions from before snapshot 3 were taken away"),
    ("a reference", "PRAGMA foreign_keys = OFF; DELETE FROM object WHERE name = 'b0'",
     "rows of .* refer to what is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "said"), [row[1:] for row in ALTERED], ids=[row[0] for row in ALTERED])
def test_verify_finds_what_was_altered(path: str, statements: str, said: str) -> None:
    """Any change of a projection, an interval, a gap or a decision that posture did not make itself."""
    with sqlite3.connect(path) as connection:
        connection.executescript(statements)
        assert connection.total_changes
    connection.close()
    with open_store(path) as store, pytest.raises(StoreError, match=said) as caught:
        upkeep.verify(store)
    assert caught.value.hint == "restore a backup"


@pytest.mark.parametrize("statement", ["UPDATE decision SET reason = 'other'", "DELETE FROM decision"])
def test_the_journal_refuses_to_be_changed(path: str, statement: str) -> None:
    """The database itself is append-only there, whoever writes."""
    with open_store(path) as store, pytest.raises(sqlite3.IntegrityError, match="the journal is append-only"):
        store.connection.execute(statement)


def test_approvals_since_the_last_scan_can_be_cut_off_unseen(path: str) -> None:
    """The limit that docs/contracts.md names: a scan holds the journal's end, and findings what they show."""
    cut = "DELETE FROM baseline_object; DELETE FROM baseline; DELETE FROM decision WHERE id > {0}; "
    cut += "UPDATE sqlite_sequence SET seq = {0} WHERE name = 'decision'"
    with open_store(path) as store:
        store.connection.executescript(past_triggers(cut.format(3)))
        assert upkeep.verify(store)[1:] == (3, 0)
        actions.decide_on(store, list(findings.select(store, "f.decision IS NULL AND f.presence = 'present'")), DEED)
        undecided = "UPDATE finding SET decision = NULL WHERE decision > 3;"
        store.connection.executescript(past_triggers(undecided + cut.format(3)))
        with pytest.raises(StoreError, match=NOT_WRITTEN):
            upkeep.verify(store)


def test_what_was_altered_stays_visible_when_posture_writes(path: str) -> None:
    """Neither a decision nor a scan that judges all anew makes new hashes of what somebody else wrote."""
    with open_store(path) as store:
        store.connection.execute("UPDATE finding SET opened = '2020-01-01T00:00:00Z' WHERE id = 1")
        deed = Deed("assigned", "ann", DEED.time, assignee="blue")
        actions.decide_on(store, list(findings.select(store, "f.id = 2")), deed)
        assert scanned(store, Given(some_objects(4)), "2026-10-05T00:00:00Z").problems
        with pytest.raises(StoreError, match=NOT_WRITTEN):
            upkeep.verify(store)


@pytest.mark.parametrize(("statement", "said"), [
    ("CREATE TRIGGER gone AFTER INSERT ON revision BEGIN DELETE FROM finding; END", "trigger gone is not posture's"),
    ("CREATE VIEW seen AS SELECT 1", "view seen is not posture's"),
    ("CREATE TABLE more (name TEXT)", "table more is not posture's"),
    ("CREATE INDEX by_name ON object(name)", "index by_name is not posture's"),
    ("ALTER TABLE event ADD COLUMN more", "table event is not posture's"),
    ("DROP TRIGGER decision_kept", "trigger decision_kept is missing"),
    ("DROP INDEX event_of_finding", "index event_of_finding is missing"),
])  # fmt: skip
def test_a_schema_that_is_not_postures_is_damage(path: str, statement: str, said: str) -> None:
    """What is there and what is missing, to `db check` and to `db verify`; what SQLite's ANALYZE adds is none."""
    with open_store(path) as store:
        store.connection.execute("ANALYZE")
        upkeep.check(store)
        store.connection.execute(statement)
        for asked in (upkeep.check, upkeep.verify):
            with pytest.raises(StoreError, match=f"is damaged: the {said}"):
                asked(store)
