"""Approved baselines: a revision, and objects that stand in for the revision's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from posture.model import Content, Key, Snapshot, canonical

from . import snapshots
from .database import Store


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
    """Write a baseline; `on` is one whose stand-ins it keeps. The id of `given` is not looked at."""
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
    return given._replace(id=number)


def latest(store: Store, cluster: str) -> Approved | None:
    """The baseline that counts for a cluster; None when nothing was approved yet."""
    row = store.connection.execute(
        "SELECT id, cluster, revision, time, approved_by, why FROM baseline WHERE cluster = ? ORDER BY id DESC LIMIT 1",
        (cluster,),
    ).fetchone()
    return None if row is None else Approved(*row)


def every(store: Store, cluster: str) -> list[Approved]:
    """All baselines of a cluster, oldest first."""
    rows = store.connection.execute(
        "SELECT id, cluster, revision, time, approved_by, why FROM baseline WHERE cluster = ? ORDER BY id", (cluster,)
    )
    return [Approved(*row) for row in rows]


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
    rows = store.connection.execute(
        "SELECT b.resource, b.namespace, b.name, c.hash FROM baseline_object b LEFT JOIN content c ON c.id = b.content "
        "WHERE b.baseline = ? ORDER BY 1, 2, 3",
        (approved.id,),
    )
    return base.replaced(
        (Key(*key), None if digest is None else base.contents[digest]) for *key, digest in rows
    )  # fmt: skip
