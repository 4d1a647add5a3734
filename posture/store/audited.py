"""Who made objects what they are: the request of an audit log that belongs to the last change of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple

from posture.errors import StoreError
from posture.model import Audited, Key

from .database import Store, shaped
from .snapshots import hashed, packed

type What = Literal["created", "changed", "deleted"]
LAST = 8
"""So many versions of an object are looked at when a request is told late."""
SHOWN = 100
"""So many requests of one object are told, the newest."""
_NAMED = "o.cluster = ? AND o.resource = ? AND o.namespace = ? AND o.name = ?"
_FIELDS = "a.user, a.acting_as, a.address, a.agent, a.request, a.identity, a.time"


class Happened(NamedTuple):
    """One change of an object: what happened, which revision has it, when that was and when the one before it was.

    Times are "" where a revision was pruned or there was none. `resource_version` is that which the object had then.
    """

    object: int
    revision: int
    what: What
    before: str
    time: str
    resource_version: str
    audited: Audited | None


def changes(store: Store, cluster: str, key: Key) -> list[Happened]:
    """The last changes of an object's content, its deletions included, oldest first; empty where it never was."""
    rows = store.connection.execute(
        f"""SELECT v.object, v.since, v.until, v.resource_version FROM object o JOIN version v ON v.object = o.id
            WHERE {_NAMED} ORDER BY v.since DESC LIMIT {LAST}""",
        (cluster, *key),
    )
    with store.decoding():
        versions = [shaped(row, "iiIt") for row in rows][::-1]
    found: list[Happened] = []
    ended = None
    for number, since, until, version in versions:
        what: What = "changed" if ended == since else "created"
        found.append(_happened(store, cluster, number, since, what, version))
        ended = until
        if until is not None and not any(other[1] == until for other in versions):
            found.append(_happened(store, cluster, number, until, "deleted", ""))
    return found


def _happened(store: Store, cluster: str, number: int, revision: int, what: What, version: str) -> Happened:
    row = store.connection.execute(
        """SELECT coalesce((SELECT time FROM revision WHERE cluster = :cluster AND id < :id ORDER BY id DESC LIMIT 1),
                           ''), coalesce((SELECT time FROM revision WHERE id = :id), '')""",
        {"cluster": cluster, "id": revision},
    ).fetchone()
    with store.decoding():
        before, time = shaped(row, "tt")
    return Happened(number, revision, what, before, time, version, _made(store, number, revision))


def made(store: Store, cluster: str, key: Key) -> Audited | None:
    """The request that made an object what it is now, or is no longer."""
    row = store.connection.execute(
        f"""SELECT v.object, coalesce(v.until, v.since) FROM object o JOIN version v ON v.object = o.id
            WHERE {_NAMED} ORDER BY v.since DESC LIMIT 1""",
        (cluster, *key),
    ).fetchone()
    return _made(store, *row) if row else None


def _made(store: Store, number: int, revision: int) -> Audited | None:
    row = store.connection.execute(
        f"SELECT {_FIELDS} FROM audited a WHERE a.object = ? AND a.revision = ?", (number, revision)
    ).fetchone()
    with store.decoding():
        return Audited(*shaped(row, "ttttttt")) if row else None


def write(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, Audited]]) -> None:
    """Keep who made changes, as (object's row id, revision, request), inside the caller's transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO audited (object, revision, user, acting_as, address, agent, request, identity, time, "
        "hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(number, revision, *one, _hash(number, revision, one)) for number, revision, one in rows],
    )


def write_of(connection: sqlite3.Connection, cluster: str, revision: int, found: Iterable[tuple[Key, Audited]]) -> None:
    """Keep who made the changes of a revision that is written, inside the caller's transaction."""
    rows = []
    for key, one in found:
        row = connection.execute(f"SELECT o.id FROM object o WHERE {_NAMED}", (cluster, *key)).fetchone()
        rows += [(row[0], revision, one)] if row else []  # none: what came and went between two scans
    write(connection, rows)


def spelled(store: Store, cluster: str, key: Key) -> Key:
    """An object `Kind/name` of which only the resource is known (its kind in lower case), as it is kept."""
    row = store.connection.execute(
        "SELECT name FROM object o WHERE o.cluster = ? AND o.resource = ? AND o.namespace = ? AND lower(o.name) = ?",
        (cluster, *key),
    ).fetchone()
    return key._replace(name=row[0]) if row else key


def requests(store: Store, cluster: str, key: Key) -> list[Audited]:
    """The requests that changed an object, the newest first."""
    rows = store.connection.execute(
        f"SELECT {_FIELDS} FROM object o JOIN audited a ON a.object = o.id WHERE {_NAMED} "
        "ORDER BY a.revision DESC LIMIT ?",
        (cluster, *key, SHOWN),
    )
    with store.decoding():
        return [Audited(*shaped(row, "ttttttt")) for row in rows]


def prune(connection: sqlite3.Connection) -> None:
    """Forget requests whose change is forgotten."""
    connection.execute(
        """DELETE FROM audited WHERE NOT EXISTS (
             SELECT 1 FROM version v WHERE v.object = audited.object
               AND (v.since = audited.revision OR v.until = audited.revision))"""
    )


def verify(store: Store) -> None:
    """Check every row against its hash. Raises StoreError."""
    rows = store.connection.execute(f"SELECT a.object, a.revision, {_FIELDS}, CAST(a.hash AS BLOB) FROM audited a")
    for row in rows:
        number, revision, *fields, digest = shaped(row, "iitttttttb")
        if digest != _hash(number, revision, Audited(*fields)):
            raise StoreError(f"{store.path}: who changed an object is not what was written", "restore a backup")


def _hash(number: int, revision: int, one: Audited) -> bytes:
    return packed(hashed(str(number), str(revision), *one))
