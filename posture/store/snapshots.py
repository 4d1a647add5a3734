"""Revisions and objects: history as intervals, so that it costs what changed and any past moment is one range query."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
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


def _state(snapshot: Snapshot) -> bytes:
    objects = (
        hashed(resource, *name, entry.digest)
        for resource, entries in snapshot.index.items() for name, entry in entries.items()
    )  # fmt: skip
    return packed(sum(objects) + sum(hashed(*gap) for gap in snapshot.gaps))


STATE_BYTES = 16


def write(connection: sqlite3.Connection, before: Stored, after: Snapshot, commit: Commit) -> int:
    """Write one revision inside the caller's transaction: what changed, and what could not be read. Returns its id."""
    cluster = after.cluster
    connection.execute(
        "INSERT INTO cluster (id, name) VALUES (?, ?) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE excluded.name != id",
        (cluster, commit.name or cluster),
    )
    if commit.name:
        connection.execute("INSERT OR IGNORE INTO cluster_name (name, cluster) VALUES (?, ?)", (commit.name, cluster))
    number = connection.execute(
        "INSERT INTO revision (cluster, time, source, complete, server_version, assumed, inputs, summary, state, "
        "findings, journal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "coalesce((SELECT findings FROM revision WHERE cluster = ? ORDER BY id DESC LIMIT 1), ?), "
        "coalesce((SELECT hash FROM decision ORDER BY id DESC LIMIT 1), x''))",
        (cluster, commit.time, commit.source, commit.complete, str(after.version) if after.version else None,
         orjson.dumps(after.assumed).decode(), commit.inputs, orjson.dumps(commit.summary).decode(), b"",
         cluster, packed(0)),
    ).lastrowid  # fmt: skip
    assert number is not None
    changed = _write_objects(connection, before, after, number)
    _write_gaps(connection, cluster, after.gaps, number)
    same = before.revision is not None and not changed and before.snapshot.gaps == after.gaps
    state = before.revision.state if before.revision and same else _state(after)
    connection.execute("UPDATE revision SET state = ? WHERE id = ?", (state, number))
    return number


def _write_objects(connection: sqlite3.Connection, before: Stored, after: Snapshot, number: int) -> bool:
    """Close, open and touch versions; whether any object came, went or changed."""
    opened: list[tuple[Key, Entry]] = []
    closed: list[int] = []
    touched: list[tuple[str, str, str, str, int]] = []
    for resource, entries in after.index.items():
        was = before.snapshot.index.get(resource, {})
        for name, entry in entries.items():
            if was.get(name) is entry:
                continue
            key = Key(resource, *name)
            old = was.get(name) or before.hidden.get(key)
            if old is None or old.digest != entry.digest:
                opened.append((key, entry))
                closed += [before.ids[key]] if old else []
            else:
                touched.append((entry.uid, entry.created, entry.resource_version, entry.managers, before.ids[key]))
    missing = [key for key in before.ids if after.entry(key) is None]
    hidden = {key for key in missing if after.gap(key.resource, key.namespace)}
    closed += [before.ids[key] for key in missing if key not in hidden]
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
        "UPDATE unverified SET until = ? WHERE object = ? AND until IS NULL",
        [(number, before.ids[key]) for key in before.hidden if key not in hidden],
    )
    connection.executemany(
        "INSERT INTO unverified (object, since) VALUES (?, ?)",
        [(before.ids[key], number) for key in sorted(hidden) if key not in before.hidden],
    )
    return bool(opened or closed or hidden ^ before.hidden.keys())


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
