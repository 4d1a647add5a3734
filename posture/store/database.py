"""Opening the one SQLite file: WAL, migrations, and a clear word when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from posture.errors import StoreError

BUSY_SECONDS = 30
MEMORY = ":memory:"


def default_path() -> str:
    """`$POSTURE_DB`, else `posture.db` in the user's state folder."""
    if os.environ.get("POSTURE_DB"):
        return os.environ["POSTURE_DB"]
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(state) / "posture" / "posture.db")


class Store:
    """An open database. Close it, or use it in a `with` block."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; nothing that was committed is lost by forgetting it."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Waits for another writer up to BUSY_SECONDS. Raises StoreError."""
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


def failure(path: str, error: sqlite3.Error) -> StoreError:
    """What SQLite says, as a sentence about the file."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{path} is being written by another process for more than {BUSY_SECONDS} s", "try again")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(
            f"{path} is damaged or no SQLite database: {error}", "run `posture db check`, or restore a backup"
        )
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
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(path, connection)
    except sqlite3.Error as error:
        raise failure(path, error) from error
    return Store(path, connection)


def _migrate(path: str, connection: sqlite3.Connection) -> None:
    """Apply what is missing. The library is loaded only when there is something to do: it costs 60 ms."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    applied: set[str] = set()
    if "_sqlite_migrations" in tables:
        rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'posture'")
        applied = {name for (name,) in rows}
    elif tables:
        raise StoreError(f"{path} is the database of another program", "name another file with --db")
    if applied == KNOWN:
        return
    if applied - KNOWN:
        raise StoreError(
            f"{path} was written by a newer posture (it has {min(applied - KNOWN)})",
            "update posture; an older one must not write to it",
        )
    from sqlite_utils import Database  # noqa: PLC0415 - see above

    from posture.store.schema import migrations  # noqa: PLC0415

    migrations.apply(Database(connection))


KNOWN = frozenset({"0001_axis_objects_findings"})
"""The migrations of this version; tests/store compares them with the schema's own list."""
