"""Opening the one SQLite file: WAL, migrations, and a clear word when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import product
from pathlib import Path
from types import NoneType
from typing import Any, Self

from posture.errors import StoreError, UsageError

BUSY_SECONDS = 30
MEMORY = ":memory:"
PRIVATE = 0o600
"""The mode of files that posture makes; SQLite gives it to those that it keeps beside the database."""


def default_path() -> str:
    """`$POSTURE_DB`, else `posture.db` in the user's state folder. Raises UsageError where there is none."""
    if os.environ.get("POSTURE_DB"):
        return os.environ["POSTURE_DB"]
    state = os.environ.get("XDG_STATE_HOME")
    try:
        return str((Path(state) if state else Path.home() / ".local" / "state") / "posture" / "posture.db")
    except RuntimeError as error:  # a container's user need have no home
        raise UsageError(
            "there is no home folder to keep the database in", "name it with --db or POSTURE_DB"
        ) from error


class Store:
    """An open database. Use it in a `with` block: what SQLite complains of there is raised as StoreError."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise failure(self.path, error) from error

    def close(self) -> None:
        """Close the connection; nothing that was committed is lost by forgetting it."""
        self.connection.close()

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Around whatever makes records of rows: one that posture did not write so is damage, not a bug.

        Raises StoreError.
        """
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise StoreError(
                f"{self.path} is damaged: a row is not as posture writes it ({type(error).__name__}: {error})",
                "run `posture db verify`, or restore a backup",
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; one inside another is part of it. Waits for another writer up to BUSY_SECONDS.

        Raises StoreError.
        """
        if self.connection.in_transaction:
            yield self.connection
            return
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()
        except sqlite3.Error as error:
            raise failure(self.path, error) from error


def shaped(row: tuple[Any, ...], shape: str) -> tuple[Any, ...]:
    """A row whose values have the types of a shape: SQLite keeps anything in any column. Raises TypeError.

    A letter a column: `t` text, `i` integer, `b` blob, and as capitals those that may be NULL.
    """
    found = tuple(map(type, row))
    if found not in _fitting(shape):
        raise TypeError(f"columns of the types {', '.join(one.__name__ for one in found)}")
    return row


@cache
def _fitting(shape: str) -> frozenset[tuple[type, ...]]:
    types = {"t": str, "i": int, "b": bytes}
    return frozenset(product(*((types[one.lower()], *(NoneType,) * one.isupper()) for one in shape)))


def failure(path: str, error: sqlite3.Error) -> StoreError:
    """What SQLite says, as a sentence about the file."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{path} is being written by another process for more than {BUSY_SECONDS} s", "try again")
    if name.startswith("SQLITE_NOTADB"):
        return StoreError(f"{path} is no SQLite database", "name another file with --db, or restore a backup")
    if name.startswith("SQLITE_CORRUPT"):
        return StoreError(f"{path} is damaged: {error}", "run `posture db check`, or restore a backup")
    if name.startswith("SQLITE_FULL"):
        return StoreError(f"no space left for {path}", "free some space; nothing was half-written")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"cannot open {path}: {error}", "check that the file and its folder are yours to write")
    return StoreError(f"{path}: {error}", "run `posture db check`")


def open_store(path: str, *, create: bool = True) -> Store:
    """Open a database and bring it to this version's schema.

    Raises StoreError when it is missing (and not to be created), damaged, or of a newer posture.
    """
    if path != MEMORY:
        file = Path(path)
        if not file.exists() and not create:
            raise StoreError(f"there is no database at {path}", "run `posture scan` first, or name one with --db")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the folder of {path}: {error.strerror}", "name another place with --db"
            ) from error
        if not file.exists():
            _make_private(path)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise failure(path, error) from error
    store = Store(path, connection)
    try:
        pending = KNOWN - _applied(store)  # first of all: nothing is changed in a file that is not posture's
        _refuse_foreign_triggers(store)
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if pending:
            _migrate(store)
    except sqlite3.Error as error:
        store.close()
        raise failure(path, error) from error
    except StoreError:
        store.close()
        raise
    return store


def _make_private(path: str) -> None:
    """Make a file that is not there, for its owner alone: it says where a cluster is weak."""
    with suppress(OSError):  # SQLite says what is wrong with the path
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE))


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set WAL. SQLite does not wait for another process that sets it at the same moment, so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _applied(store: Store) -> set[str]:
    """The migrations that a database has. Raises StoreError when it is not posture's, or a newer one's."""
    tables = {name for (name,) in store.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found: set[str] = set()
    if _MIGRATIONS in tables:
        rows = store.connection.execute(f"SELECT name FROM {_MIGRATIONS} WHERE migration_set = 'posture'")
        found = {name for (name,) in rows}
    if not found and tables - {_MIGRATIONS, "sqlite_sequence"}:
        raise StoreError(f"{store.path} is the database of another program", "name another file with --db")
    if found - KNOWN:
        raise StoreError(
            f"{store.path} was written by a newer posture (it has {min(found - KNOWN)})",
            "update posture; an older one must not write to it",
        )
    return found


def _refuse_foreign_triggers(store: Store) -> None:
    """A trigger that somebody put in would undo, unseen, what is written. Raises StoreError."""
    for name, sql in store.connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"):
        if sql not in TRIGGERS:
            raise StoreError(f"{store.path} is damaged: the trigger {name} is not posture's", "restore a backup")


def _migrate(store: Store) -> None:
    """Apply what is missing, all or nothing. The library is loaded only now: it costs 60 ms."""
    from sqlite_utils import Database  # noqa: PLC0415 - see above

    from posture.store.schema import migrations  # noqa: PLC0415

    with store.transaction() as connection:
        migrations.apply(Database(connection))


_REFUSES = "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
TRIGGERS = (
    f"CREATE TRIGGER decision_stays BEFORE UPDATE ON decision {_REFUSES}",
    f"CREATE TRIGGER decision_kept BEFORE DELETE ON decision {_REFUSES}",
)
"""All triggers of this version, as the schema makes them: no other may be there."""

_MIGRATIONS = "_sqlite_migrations"
KNOWN = frozenset({"0001_axis_objects_findings", "0002_positions", "0003_audited"})
"""The migrations of this version; tests/store compares them with the schema's own list."""
