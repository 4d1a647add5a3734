"""Revisions and objects: history as intervals, so that it costs what changed and any past moment is one range query."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from posture.collect import Bodies
from posture.errors import UsageError
from posture.model import Content, Entry, Gap, Key, Snapshot, Version
from posture.text import parse_time

from .database import Store, shaped

_CACHED = 20_000


class Contents(Mapping[bytes, Content]):
    """Projected objects by digest, read when they are asked for and kept for a while. Altered ones are refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection
        self._kept: OrderedDict[bytes, Content] = OrderedDict()

    def __getitem__(self, digest: bytes) -> Content:
        found = self._kept.get(digest)
        if found is None:
            row = self._connection.execute("SELECT body FROM content WHERE hash = ?", (digest,)).fetchone()
            if row is None:
                raise KeyError(digest)
            with self._store.decoding():
                if hashlib.blake2b(row[0], digest_size=16).digest() != digest:
                    raise ValueError(f"projection {digest.hex()} was altered")
                found = orjson.loads(row[0])
            self._kept[digest] = found
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)
        return found

    def __iter__(self) -> Iterator[bytes]:
        return (digest for (digest,) in self._connection.execute("SELECT hash FROM content"))

    def __len__(self) -> int:
        found: int = self._connection.execute("SELECT count(*) FROM content").fetchone()[0]
        return found


class Revision(NamedTuple):
    """One moment on a cluster's axis."""

    id: int
    cluster: str
    time: str
    source: str
    complete: bool
    version: str | None
    assumed: tuple[str, ...]
    inputs: str
    summary: Mapping[str, Any]
    state: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot as the store has it, with the row ids of its objects, and what is unverified there."""

    snapshot: Snapshot
    ids: Mapping[Key, int]
    hidden: Mapping[Key, Entry]
    revision: Revision | None


_COLUMNS = "id, cluster, time, source, complete, server_version, assumed, inputs, summary, state"


def _revision(store: Store, row: tuple[Any, ...]) -> Revision:
    with store.decoding():
        number, cluster, time, source, complete, version, assumed, inputs, summary, state = shaped(row, "itttiTtttb")
        parse_time(time)
        if version is not None:
            Version.parse(version)
        filled = tuple(orjson.loads(assumed))
        shaped(filled, "t" * len(filled))
        counts = {name: int(value) for name, value in orjson.loads(summary).items()}
        return Revision(number, cluster, time, source, bool(complete), version, filled, inputs, counts, state)


def put(store: Store, bodies: Bodies) -> None:
    """Keep projections. They are content-addressed: what a killed scan leaves behind is found again or pruned."""
    rows = list(bodies)
    if rows:
        with store.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO content (hash, body) VALUES (?, ?)", rows)


def latest(store: Store, cluster: str | None = None) -> Revision | None:
    """The newest revision, of one cluster or of any."""
    where, args = ("WHERE cluster = ?", (cluster,)) if cluster else ("", ())
    row = store.connection.execute(f"SELECT {_COLUMNS} FROM revision {where} ORDER BY id DESC LIMIT 1", args).fetchone()
    return None if row is None else _revision(store, row)


def revisions(store: Store, cluster: str) -> list[Revision]:
    """All revisions of a cluster, oldest first."""
    rows = store.connection.execute(f"SELECT {_COLUMNS} FROM revision WHERE cluster = ? ORDER BY id", (cluster,))
    return [_revision(store, row) for row in rows]


def revision(store: Store, number: int) -> Revision:
    """One revision. Raises UsageError when there is none of this number."""
    row = store.connection.execute(f"SELECT {_COLUMNS} FROM revision WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise UsageError(f"there is no snapshot {number} in {store.path}", "`posture snapshots` lists them")
    return _revision(store, row)


def revision_before(store: Store, cluster: str, time: str) -> Revision:
    """The newest revision that is not after a time. Raises UsageError when history starts later."""
    row = store.connection.execute(
        f"SELECT {_COLUMNS} FROM revision WHERE cluster = ? AND time <= ? ORDER BY id DESC LIMIT 1",
        (cluster, time),
    ).fetchone()
    if row is None:
        raise UsageError(f"there is no snapshot at or before {time}", "`posture snapshots` lists them")
    return _revision(store, row)


def cluster_named(store: Store, name: str) -> str | None:
    """The id of a cluster, by its id or by a name that it had."""
    row = store.connection.execute("SELECT id FROM cluster WHERE id = ?", (name,)).fetchone()
    row = row or store.connection.execute("SELECT cluster FROM cluster_name WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def clusters(store: Store) -> list[tuple[str, str]]:
    """Every cluster as (id, name), by name."""
    rows = store.connection.execute("SELECT id, name FROM cluster ORDER BY name, id")
    with store.decoding():
        return [(number, name) for number, name in (shaped(row, "tt") for row in rows)]


def load(store: Store, cluster: str, at: Revision | None) -> Stored:
    """The snapshot of a cluster at a revision; an empty one when `at` is None. Unverified objects are left out."""
    index: dict[str, dict[tuple[str, str], Entry]] = {}
    ids: dict[Key, int] = {}
    unverified: dict[Key, Entry] = {}
    contents = Contents(store)
    if at is None:
        return Stored(Snapshot(cluster, index, contents), ids, unverified, None)
    rows = store.connection.execute(
        """SELECT o.id, o.resource, o.namespace, o.name, c.hash, v.uid, v.created, v.resource_version, v.managers,
                  EXISTS (SELECT 1 FROM unverified u WHERE u.object = o.id AND u.since <= :at
                          AND (u.until IS NULL OR u.until > :at))
           FROM object o JOIN version v ON v.object = o.id JOIN content c ON c.id = v.content
           WHERE o.cluster = :cluster AND v.since <= :at AND (v.until IS NULL OR v.until > :at)
           ORDER BY o.id""",
        {"cluster": cluster, "at": at.id},
    )
    with store.decoding():
        for row in rows:
            number, resource, namespace, name, digest, *beside, hidden = shaped(row, "itttbtttti")
            key, entry = Key(resource, namespace, name), Entry(digest, *beside)
            ids[key] = number
            if hidden:
                unverified[key] = entry
            else:
                index.setdefault(resource, {})[namespace, name] = entry
    version = Version.parse(at.version) if at.version else None
    snapshot = Snapshot(cluster, index, contents, gaps(store, at), version, at.assumed)
    return Stored(snapshot, ids, unverified, at)


def gaps(store: Store, revision: Revision) -> tuple[Gap, ...]:
    """What could not be read at a revision, sorted: asked alone where the objects are not needed."""
    rows = store.connection.execute(
        """SELECT resource, namespace, reason, message FROM gap
           WHERE cluster = :cluster AND since <= :at AND (until IS NULL OR until > :at)""",
        {"cluster": revision.cluster, "at": revision.id},
    )
    with store.decoding():
        return tuple(sorted(Gap(*shaped(row, "tttt")) for row in rows))


@dataclass(frozen=True, slots=True)
class Commit:
    """What is written of a run beside its objects."""

    time: str
    source: str
    name: str
    complete: bool
    inputs: str
    summary: Mapping[str, Any]


def hashed(*parts: str | bytes) -> int:
    """What one object (its key and its digest) or one gap adds to the state of a revision."""
    return number_of(repr(parts).encode("utf-8", "surrogatepass"))


def number_of(text: bytes) -> int:
    """The hash of a text as a number to add up."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=STATE_BYTES).digest())


def packed(total: int) -> bytes:
    """A sum of hashes as it is stored: sums come and go object by object, so all revisions are checked in one pass."""
    return (total % (1 << 8 * STATE_BYTES)).to_bytes(STATE_BYTES)


STATE_BYTES = 16


def write(
    connection: sqlite3.Connection, before: Stored, after: Snapshot, commit: Commit, keys: Iterable[Key] | None = None
) -> int:
    """Write one revision inside the caller's transaction: what changed, and what could not be read. Returns its id.

    `keys` are the only objects that may differ, where no gap does; then the cost follows them.
    """
    cluster = after.cluster
    connection.execute(
        "INSERT INTO cluster (id, name) VALUES (?, ?) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE excluded.name != id",
        (cluster, commit.name or cluster),
    )
    if commit.name:
        connection.execute("INSERT OR IGNORE INTO cluster_name (name, cluster) VALUES (?, ?)", (commit.name, cluster))
    considered = [*(_differing(before, after) if keys is None else keys)]
    number = connection.execute(
        "INSERT INTO revision (cluster, time, source, complete, server_version, assumed, inputs, summary, state, "
        "findings, journal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "coalesce((SELECT findings FROM revision WHERE cluster = ? ORDER BY id DESC LIMIT 1), ?), "
        "coalesce((SELECT hash FROM decision ORDER BY id DESC LIMIT 1), x''))",
        (cluster, commit.time, commit.source, commit.complete, str(after.version) if after.version else None,
         orjson.dumps(after.assumed).decode(), commit.inputs, orjson.dumps(commit.summary).decode(),
         _state(before, after, considered), cluster, packed(0)),
    ).lastrowid  # fmt: skip
    assert number is not None
    _write_objects(connection, before, after, number, considered)
    if keys is None:
        _write_gaps(connection, cluster, after.gaps, number)
    return number


def _differing(before: Stored, after: Snapshot) -> Iterator[Key]:
    """The objects of which anything may have to be written."""
    for resource, entries in after.index.items():
        was = before.snapshot.index.get(resource, {})
        yield from (Key(resource, *name) for name, entry in entries.items() if was.get(name) is not entry)
    yield from (key for key in before.ids if after.entry(key) is None)


def _state(before: Stored, after: Snapshot, considered: Iterable[Key]) -> bytes:
    """The sum of the hashes of objects and gaps: that of the revision before, moved by what came and went."""
    total = int.from_bytes(before.revision.state) if before.revision else 0
    for key in considered:
        was, now = before.snapshot.entry(key), after.entry(key)
        if (was and was.digest) != (now and now.digest):
            total += (hashed(*key, now.digest) if now else 0) - (hashed(*key, was.digest) if was else 0)
    known = before.snapshot.gaps if before.revision else ()
    total += sum(hashed(*gap) for gap in after.gaps if gap not in known)
    return packed(total - sum(hashed(*gap) for gap in known if gap not in after.gaps))


def _write_objects(
    connection: sqlite3.Connection, before: Stored, after: Snapshot, number: int, considered: Iterable[Key]
) -> None:
    """Close, open and touch versions."""
    opened: list[tuple[Key, Entry]] = []
    closed: list[int] = []
    touched: list[tuple[str, str, str, str, int]] = []
    hidden: list[int] = []
    shown: list[int] = []
    for key in considered:
        entry, old = after.entry(key), before.snapshot.entry(key) or before.hidden.get(key)
        if entry is None and old is not None and after.gap(key.resource, key.namespace):
            hidden += [before.ids[key]] if key not in before.hidden else []
            continue
        shown += [before.ids[key]] if key in before.hidden else []
        if entry is None:
            closed += [before.ids[key]] if old else []
        elif old is None or old.digest != entry.digest:
            opened.append((key, entry))
            closed += [before.ids[key]] if old else []
        else:
            touched.append((entry.uid, entry.created, entry.resource_version, entry.managers, before.ids[key]))
    connection.executemany(
        "UPDATE version SET until = ? WHERE object = ? AND until IS NULL", [(number, one) for one in closed]
    )
    connection.executemany(
        "UPDATE version SET uid = ?, created = ?, resource_version = ?, managers = ? "
        "WHERE object = ? AND until IS NULL",
        touched,
    )
    _open(connection, after.cluster, opened, number)
    connection.executemany(
        "UPDATE unverified SET until = ? WHERE object = ? AND until IS NULL", [(number, one) for one in shown]
    )
    connection.executemany(
        "INSERT INTO unverified (object, since) VALUES (?, ?)", [(one, number) for one in sorted(hidden)]
    )


def touch(connection: sqlite3.Connection, before: Stored, entries: Mapping[Key, Entry | None]) -> None:
    """Write the times and managers of objects that say what they said, inside the caller's transaction."""
    connection.executemany(
        "UPDATE version SET uid = ?, created = ?, resource_version = ?, managers = ? "
        "WHERE object = ? AND until IS NULL",
        [(*entry[1:], before.ids[key]) for key, entry in entries.items() if entry is not None and key in before.ids],
    )


def advanced(store: Store, before: Stored, after: Snapshot, number: int, keys: Iterable[Key]) -> Stored:
    """What the store has once a revision of which only some objects differ is written; costs what differs.

    `before` is used up: its row ids are brought up to date in place.
    """
    ids = before.ids
    assert isinstance(ids, dict)
    for key in keys:
        if after.entry(key) is None:
            ids.pop(key, None)
        elif key not in ids:
            row = store.connection.execute(
                "SELECT id FROM object WHERE cluster = ? AND resource = ? AND namespace = ? AND name = ?",
                (after.cluster, *key),
            ).fetchone()
            ids[key] = row[0]
    return Stored(after, ids, before.hidden, revision(store, number))


def _open(connection: sqlite3.Connection, cluster: str, opened: list[tuple[Key, Entry]], number: int) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO object (cluster, resource, namespace, name) VALUES (?, ?, ?, ?)",
        [(cluster, *key) for key, _ in opened],
    )
    connection.executemany(
        """INSERT INTO version (object, since, content, uid, created, resource_version, managers)
           SELECT o.id, ?, c.id, ?, ?, ?, ? FROM object o, content c
           WHERE o.cluster = ? AND o.resource = ? AND o.namespace = ? AND o.name = ? AND c.hash = ?""",
        [(number, e.uid, e.created, e.resource_version, e.managers, cluster, *key, e.digest) for key, e in opened],
    )


def _write_gaps(connection: sqlite3.Connection, cluster: str, gaps: tuple[Gap, ...], number: int) -> None:
    rows = connection.execute(
        "SELECT rowid, resource, namespace, reason, message FROM gap WHERE cluster = ? AND until IS NULL", (cluster,)
    ).fetchall()
    open_now = {Gap(*row[1:]): row[0] for row in rows}
    connection.executemany("UPDATE gap SET until = ? WHERE rowid = ?",
                           [(number, row) for gap, row in open_now.items() if gap not in gaps])  # fmt: skip
    connection.executemany(
        "INSERT INTO gap (cluster, resource, namespace, reason, message, since) VALUES (?, ?, ?, ?, ?, ?)",
        [(cluster, *gap, number) for gap in gaps if gap not in open_now],
    )
