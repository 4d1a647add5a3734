"""Approved baselines: a revision, and objects that stand in for the revision's own. The journal vouches for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from posture.errors import StoreError
from posture.model import Content, Key, Snapshot, canonical

from . import decisions, snapshots
from .database import Store, shaped

APPROVED = "approved"
"""The action of approvals in the journal; they are about no finding."""


class Approved(NamedTuple):
    """An approved baseline: which revision, when, by whom and why."""

    id: int
    cluster: str
    revision: int
    time: str
    by: str
    why: str


def approve(
    store: Store, given: Approved, replaced: Iterable[tuple[Key, Content]] = (), on: Approved | None = None
) -> Approved:
    """Write a baseline, and into the journal that it was approved; `on` is one whose stand-ins it keeps.

    The id of `given` is not looked at.
    """
    with store.transaction() as connection:
        number = connection.execute(
            "INSERT INTO baseline (cluster, revision, time, approved_by, why) VALUES (?, ?, ?, ?, ?)", given[1:]
        ).lastrowid
        assert number is not None
        if on is not None:
            connection.execute(
                "INSERT INTO baseline_object SELECT ?, resource, namespace, name, content FROM baseline_object "
                "WHERE baseline = ?",
                (number, on.id),
            )
        for key, content in replaced:
            digest, body = canonical(content)
            connection.execute("INSERT OR IGNORE INTO content (hash, body) VALUES (?, ?)", (digest, body))
            connection.execute(
                "INSERT OR REPLACE INTO baseline_object SELECT ?, ?, ?, ?, id FROM content WHERE hash = ?",
                (number, *key, digest),
            )
        approved = given._replace(id=number)
        decisions.append(store, _entry(store, approved))
    return approved


def _entry(store: Store, approved: Approved) -> tuple[str, ...]:
    """The journal's entry of an approval: who, when and why, and hashes of all that was agreed to."""
    held = [snapshots.hashed(*key, digest or b"") for *key, digest in _replaced(store, approved)]
    covers = {
        "baseline": approved.id,
        "snapshot": approved.revision,
        "state": snapshots.revision(store, approved.revision).state.hex(),
        "objects": snapshots.packed(sum(held)).hex(),
    }
    return (approved.time, approved.by, approved.cluster, "", APPROVED, approved.why, "", "",
            orjson.dumps(covers).decode())  # fmt: skip


def verify(store: Store) -> int:
    """Check every baseline against the journal; how many there are. Raises StoreError at the first that differs."""
    held = {one.id: _entry(store, one) for one in _approved(store, "")}
    entries = store.connection.execute(
        f"SELECT {decisions.FIELDS} FROM decision WHERE action = ? ORDER BY id", (APPROVED,)
    )
    written = {orjson.loads(row[-1])["baseline"]: row for row in entries}
    for number in sorted(held.keys() | written.keys()):
        if held.get(number) != written.get(number):
            raise StoreError(f"{store.path}: baseline {number} is not what was approved", "restore a backup")
    return len(held)


def latest(store: Store, cluster: str) -> Approved | None:
    """The baseline that counts for a cluster; None when nothing was approved yet."""
    found = _approved(store, "WHERE cluster = ? ORDER BY id DESC LIMIT 1", cluster)
    return found[0] if found else None


def every(store: Store, cluster: str) -> list[Approved]:
    """All baselines of a cluster, oldest first."""
    return _approved(store, "WHERE cluster = ? ORDER BY id", cluster)


def _approved(store: Store, which: str, *args: str) -> list[Approved]:
    rows = store.connection.execute(f"SELECT id, cluster, revision, time, approved_by, why FROM baseline {which}", args)
    with store.decoding():
        return [Approved(*shaped(row, "itittt")) for row in rows]


def apart(store: Store, approved: Approved) -> frozenset[str]:
    """The namespaces of objects that stand in for others, of which the revision itself knows nothing."""
    rows = store.connection.execute(
        """SELECT DISTINCT b.namespace FROM baseline_object b
           WHERE b.baseline = :baseline AND b.namespace != '' AND NOT EXISTS (
             SELECT 1 FROM object o JOIN version v ON v.object = o.id
             WHERE o.cluster = :cluster AND v.since <= :at AND (v.until IS NULL OR v.until > :at)
               AND (o.namespace = b.namespace OR (o.resource = 'namespaces' AND o.name = b.namespace)))""",
        {"baseline": approved.id, "cluster": approved.cluster, "at": approved.revision},
    )
    return frozenset(namespace for (namespace,) in rows)


def snapshot(store: Store, approved: Approved) -> Snapshot:
    """The agreed state as a snapshot: the revision's objects, with those that stand in for them."""
    base = snapshots.load(store, approved.cluster, snapshots.revision(store, approved.revision)).snapshot
    return base.replaced(
        (Key(*key), None if digest is None else base.contents[digest]) for *key, digest in _replaced(store, approved)
    )


def _replaced(store: Store, approved: Approved) -> list[tuple[Any, ...]]:
    """What stands in for the revision's objects: resource, namespace, name, digest (None: taken out)."""
    rows = store.connection.execute(
        "SELECT b.resource, b.namespace, b.name, c.hash FROM baseline_object b LEFT JOIN content c ON c.id = b.content "
        "WHERE b.baseline = ? ORDER BY 1, 2, 3",
        (approved.id,),
    )
    with store.decoding():
        return [shaped(row, "tttB") for row in rows]
