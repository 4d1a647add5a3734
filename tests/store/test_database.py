"""Opening the database: what becomes of each file that may lie there, and what is said of those it cannot use."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from posture import actions
from posture.errors import STORE, StoreError, UsageError
from posture.model import Gap
from posture.store import (
    MEMORY,
    Store,
    baselines,
    database,
    findings,
    lock,
    open_store,
    schema,
    snapshots,
    upkeep,
)
from posture.store.decisions import Deed
from tests.generator.source import Given
from tests.store.stored import a_database, scanned, some_objects

NOBODY = 65534


def refusal(path: Path | str, *, create: bool = True) -> StoreError:
    """What is said when a path cannot be opened."""
    with pytest.raises(StoreError) as caught:
        open_store(str(path), create=create)
    assert caught.value.exit_code == STORE
    assert caught.value.hint
    return caught.value


def test_the_known_migrations_are_the_schemas() -> None:
    """Opening compares names without loading the library, so both lists must be the same; so for triggers."""
    schema.migrations.apply(made := Database(memory=True))
    assert {row["name"] for row in made["_sqlite_migrations"].rows} == database.KNOWN
    assert {trigger.sql for trigger in made.triggers} == set(database.TRIGGERS)


@pytest.mark.parametrize("make", [lambda _: None, Path.touch], ids=["no file", "an empty file"])
def test_nothing_becomes_a_database(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A missing file, folders included, and an empty one are made into a sound database in WAL mode."""
    path = tmp_path / "posture.db"
    make(path)
    with open_store(str(path)) as store:
        upkeep.check(store)
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "deep" / "er").exists() is False
    open_store(str(tmp_path / "deep" / "er" / "posture.db")).close()


def test_a_missing_file_is_not_made_by_reading(tmp_path: Path) -> None:
    """Commands that only read say that there is nothing instead of leaving an empty file."""
    path = tmp_path / "posture.db"
    assert str(refusal(path, create=False)) == f"there is no database at {path}"
    assert not path.exists()


def test_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`:memory:` leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    open_store(MEMORY).close()
    assert not list(tmp_path.iterdir())


def test_the_default_is_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$POSTURE_DB goes before $XDG_STATE_HOME, that before the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POSTURE_DB", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert database.default_path() == str(tmp_path / "home" / ".local" / "state" / "posture" / "posture.db")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert database.default_path() == str(tmp_path / "state" / "posture" / "posture.db")
    monkeypatch.setenv("POSTURE_DB", "elsewhere.db")
    assert database.default_path() == "elsewhere.db"


# Files that are not posture's ---------------------------------------------------------------------------------------


def another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipe (name TEXT)")


def another_program_with_the_same_library(path: Path) -> None:
    theirs = Migrations("recipes")

    @theirs(name="0001_first")
    def _(db: Database) -> None:
        db.execute("CREATE TABLE recipe (name TEXT)")

    theirs.apply(Database(path))


FOREIGN: list[tuple[str, Callable[[Path], object], str]] = [
    ("a text", lambda path: path.write_text("hello, this is no database at all\n" * 50), "{} is no SQLite database"),
    ("another program's", another_program, "{} is the database of another program"),
    ("of the same library", another_program_with_the_same_library, "{} is the database of another program"),
]


@pytest.mark.parametrize(("make", "said"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_what_is_not_postures_is_left_as_it_is(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    """A file of somebody else is named as such, and not a byte of it changes."""
    path = tmp_path / "their.db"
    make(path)
    before = path.read_bytes()
    assert str(refusal(path)) == said.format(path)
    assert path.read_bytes() == before


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """A path that cannot hold a file is named with what the system says."""
    assert str(refusal(tmp_path)) == f"cannot open {tmp_path}: unable to open database file"
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "posture.db"
    assert str(refusal(below)) == f"cannot make the folder of {below}: File exists"


# Other versions -----------------------------------------------------------------------------------------------------


def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    """An older posture says what it met and writes nothing."""
    path = tmp_path / "posture.db"
    a_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('posture', '0999_future', '')"
        )
    connection.close()
    before = path.read_bytes()
    assert str(refusal(path)) == f"{path} was written by a newer posture (it has 0999_future)"
    assert path.read_bytes() == before


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes posture the next version, whose one more migration runs some statements."""

    def upgrade(*statements: str) -> None:
        migrations = Migrations("posture")
        for one in schema.migrations._migrations:
            if one.name != "0002_more":
                migrations(name=one.name)(one.fn)

        @migrations(name="0002_more")
        def _(db: Database) -> None:
            for statement in statements:
                db.execute(statement)

        monkeypatch.setattr(schema, "migrations", migrations)
        monkeypatch.setattr(database, "KNOWN", database.KNOWN | {"0002_more"})

    return upgrade


def test_an_older_database_is_brought_up_to_date(tmp_path: Path, upgrade: Callable[..., None]) -> None:
    """Only what is missing is applied, once, and what was stored stays."""
    path = tmp_path / "posture.db"
    a_database(path)
    with open_store(str(path)) as store:
        stored = store.connection.execute("SELECT * FROM content").fetchall()
    upgrade("CREATE TABLE more (name TEXT)", "INSERT INTO more VALUES ('once')")
    for _ in range(2):
        with open_store(str(path)) as store:
            assert store.connection.execute("SELECT * FROM more").fetchall() == [("once",)]
            assert store.connection.execute("SELECT * FROM content").fetchall() == stored


def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path, upgrade: Callable[..., None]) -> None:
    """All of the missing migrations are applied or none, so that the next start begins anew."""
    path = tmp_path / "posture.db"
    upgrade("CREATE TABLE more (name TEXT)", "SELECT broken")
    assert "no such column: broken" in str(refusal(path))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    upgrade("SELECT 1")
    with open_store(str(path)) as store:
        upkeep.check(store)


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """The first CronJob and a person at the same moment: both find a database, made once."""
    path = tmp_path / "posture.db"
    script = "import sys; from posture.store import open_store; open_store(sys.argv[1]).close()"
    running = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    with open_store(str(path), create=False) as store:
        upkeep.check(store)


# Damage, and no room ------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_called_damaged(tmp_path: Path) -> None:
    """Half of a database is found out when it is opened or read, and named."""
    path = tmp_path / "posture.db"
    a_database(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="is damaged"), open_store(str(path)) as store:
        upkeep.check(store)


def test_a_damaged_page_is_found_by_check(tmp_path: Path) -> None:
    """`db check` finds garbage in any page that holds rows."""
    path = tmp_path / "posture.db"
    a_database(path)
    with sqlite3.connect(path) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'version'").fetchone()[0]
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : (page - 1) * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged") as caught, open_store(str(path)) as store:
        upkeep.check(store)
    assert caught.value.hint


def test_damage_met_while_reading_is_a_store_error(tmp_path: Path) -> None:
    """Whatever SQLite complains of inside the `with` block is a sentence about the file."""
    path = tmp_path / "posture.db"
    with pytest.raises(StoreError, match="no such table: gone"), open_store(str(path)) as store:
        store.connection.execute("SELECT * FROM gone")


@pytest.mark.parametrize("name", ["gone", "decision_stays"])
def test_a_trigger_of_somebody_else_is_not_written_through(tmp_path: Path, name: str) -> None:
    """It would undo, in the moment of writing, what a scan found; its name does not matter."""
    path = tmp_path / "posture.db"
    a_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(f"CREATE TRIGGER {name} AFTER INSERT ON revision BEGIN DELETE FROM finding; END")
    connection.close()
    assert str(refusal(path)) == f"{path} is damaged: the trigger {name} is not posture's"


DAMAGE = [
    "UPDATE finding SET content = 'null'", "UPDATE finding SET content = '{}'", "UPDATE finding SET severity = 9",
    "UPDATE finding SET severity = -1", "UPDATE finding SET opened = x'ff'", "UPDATE content SET body = x'00ff'",
    "UPDATE content SET body = '{}'", "UPDATE content SET hash = 5 WHERE id = 1", "UPDATE revision SET time = x'ff'",
    "UPDATE revision SET time = 'soon'", "UPDATE revision SET server_version = 5", "UPDATE revision SET summary = '[]'",
    "UPDATE revision SET assumed = '[5]'", "UPDATE cluster SET name = x'ff'", "UPDATE version SET managers = x'ff'",
    "UPDATE gap SET reason = x'ff'", "UPDATE event SET kind = x'ff'", "UPDATE decision SET covers = '{'",
    "UPDATE baseline SET time = x'ff'",
]  # fmt: skip


@pytest.mark.parametrize("statement", DAMAGE)
def test_a_row_that_posture_did_not_write_is_damage(tmp_path: Path, statement: str) -> None:
    """Values that cannot be decoded: a sentence about the file and what to do, never a bug."""
    path = tmp_path / "posture.db"
    with open_store(str(path)) as store:
        scanned(store, Given(some_objects(), [Gap("nodes", "", "failed", "no")]))
        actions.decide_on(store, list(findings.select(store))[:1], Deed("acknowledged", "ann", "2026-10-20T12:00:00Z"))
        actions.approve(store, 1, Deed("agreed", "ann", "2026-10-20T12:00:00Z"), with_gaps=True)
        store.connection.executescript("DROP TRIGGER decision_stays;" + statement)
    with pytest.raises(StoreError, match="is damaged: a row is not as posture writes it") as caught:
        read_all(path)
    assert caught.value.hint.startswith("run `posture db verify`")


def read_all(path: Path) -> None:
    """Read back every record."""
    with open_store(str(path)) as store:
        for cluster, _ in snapshots.clusters(store):
            for revision in snapshots.revisions(store, cluster):
                snapshot = snapshots.load(store, cluster, revision).snapshot
                assert all(list(snapshot.objects(resource)) for resource in snapshot.index)
            assert baselines.every(store, cluster)
        assert findings.rows(store)
        assert [findings.history(store, found) for found in findings.select(store)]


def test_what_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    """A database says where a cluster is weak. The mode of one that is there is its owner's business."""
    path = tmp_path / "posture.db"
    for mode in (0o600, 0o640):
        with open_store(str(path)) as store, lock.held(str(path), "posture scan", "2026-10-20T10:00:00Z"):
            scanned(store, Given(some_objects()))
            found = {file.name.removeprefix("posture.db"): file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        assert found == {"": mode, "-wal": mode, "-shm": mode, ".lock": 0o600}
        path.chmod(0o640)
    (tmp_path / "link.db").symlink_to(tmp_path / "behind.db")
    open_store(str(tmp_path / "link.db")).close()
    assert (tmp_path / "behind.db").stat().st_mode & 0o777 == 0o600


def test_other_errors_pass_the_database(tmp_path: Path) -> None:
    """What is not SQLite's is not the database's fault."""
    with pytest.raises(UsageError, match="mine"), open_store(str(tmp_path / "posture.db")):
        raise UsageError("mine")


def test_a_full_disk_writes_nothing_half(tmp_path: Path) -> None:
    """A transaction that finds no room is undone, and says so."""
    path = tmp_path / "posture.db"
    with open_store(str(path)) as store:
        (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match=r"no space left for .*posture\.db"), store.transaction() as connection:
            connection.executemany(
                "INSERT INTO content (hash, body) VALUES (?, zeroblob(?))", [(b"a", 5), (b"b", 1_000_000)]
            )
        assert store.connection.execute("SELECT count(*) FROM content").fetchone() == (0,)


def test_a_writer_waits_for_another_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers at once: the second waits its time, then names the file."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    path = str(tmp_path / "posture.db")
    with open_store(path) as one, open_store(path) as other:
        said = "is being written by another process"
        with one.transaction(), pytest.raises(StoreError, match=said), other.transaction():
            pass
        with other.transaction():
            pass


def test_a_transaction_inside_another_is_part_of_it(tmp_path: Path) -> None:
    """Functions that write can be put together: all of it or nothing."""

    def write(store: Store) -> None:
        with store.transaction():
            with store.transaction() as connection:
                connection.execute("INSERT INTO content (hash, body) VALUES (x'00', '{}')")
            raise UsageError("changed my mind")

    with open_store(str(tmp_path / "posture.db")) as store:
        with pytest.raises(UsageError):
            write(store)
        assert store.connection.execute("SELECT count(*) FROM content").fetchone() == (0,)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user for whom permissions count; root passes all of them."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_folder_without_the_right_to_write_is_named() -> None:
    """Neither a new file nor an existing one can be used where nothing may be written."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a_database(folder / "there.db")
        folder.chmod(0o555)
        with unprivileged():
            assert str(refusal(folder / "new.db")).startswith(f"cannot open {folder / 'new.db'}: ")
            assert str(refusal(folder / "there.db")).startswith(f"cannot open {folder / 'there.db'}: ")
            assert "Permission denied" in str(refusal(folder / "below" / "new.db"))
        folder.chmod(0o755)
