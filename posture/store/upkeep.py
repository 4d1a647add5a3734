"""Keeping a database small and sound: pruning, checking, verifying."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from typing import NamedTuple

from posture.errors import StoreError

from . import decisions
from .database import Store, failure
from .snapshots import hashed, packed


class Pruned(NamedTuple):
    """What pruning took away."""

    revisions: int
    versions: int
    contents: int


def prune(store: Store, before: str) -> Pruned:
    """Forget revisions older than a time (RFC 3339), but for approved ones and each cluster's newest.

    Versions that no remaining revision holds go with them, then projections that nothing refers to. Findings, events
    and decisions stay.
    """
    with store.transaction() as connection:
        revisions = connection.execute(
            """DELETE FROM revision WHERE time < ? AND id NOT IN (SELECT revision FROM baseline)
                 AND id NOT IN (SELECT max(id) FROM revision GROUP BY cluster)""",
            (before,),
        ).rowcount
        versions = connection.execute(
            """DELETE FROM version WHERE until IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM revision r JOIN object o ON o.cluster = r.cluster
                 WHERE o.id = version.object AND r.id >= version.since AND r.id < version.until)"""
        ).rowcount
        connection.execute(
            """DELETE FROM gap WHERE until IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM revision r WHERE r.cluster = gap.cluster AND r.id >= gap.since AND r.id < gap.until)"""
        )
        connection.execute(
            """DELETE FROM unverified WHERE until IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM revision r JOIN object o ON o.cluster = r.cluster
                 WHERE o.id = unverified.object AND r.id >= unverified.since AND r.id < unverified.until)"""
        )
        connection.execute("DELETE FROM object WHERE id NOT IN (SELECT object FROM version)")
        contents = connection.execute(
            """DELETE FROM content WHERE id NOT IN (SELECT content FROM version)
                 AND id NOT IN (SELECT content FROM baseline_object WHERE content IS NOT NULL)"""
        ).rowcount
    try:
        store.connection.execute("VACUUM")
    except sqlite3.Error as error:
        raise failure(store.path, error) from error
    return Pruned(revisions, versions, contents)


def check(store: Store) -> None:
    """Ask SQLite whether the file is sound. Raises StoreError with its first complaint."""
    for (line,) in store.connection.execute("PRAGMA quick_check"):
        if line != "ok":
            raise StoreError(f"{store.path} is damaged: {line}", "restore a backup")
    for table, *_ in store.connection.execute("PRAGMA foreign_key_check"):
        raise StoreError(f"{store.path}: rows of {table} refer to what is not there", "restore a backup")


def verify(store: Store) -> tuple[int, int]:
    """Check that nothing was altered: projections and revisions against their hashes, the journal's chain.

    Returns the numbers of projections and of decisions. Raises StoreError at the first that does not hold.
    """
    check(store)
    total = 0
    for digest, body in store.connection.execute("SELECT CAST(hash AS BLOB), CAST(body AS BLOB) FROM content"):
        total += 1
        if hashlib.blake2b(body, digest_size=16).digest() != digest:
            raise StoreError(f"{store.path}: the projection {digest.hex()} was altered", "restore a backup")
    _verify_revisions(store)
    return total, decisions.verify(store)


_INTERVALS = (
    # (cluster, since, until, sign, what was hashed): objects while they hold, but for where they are unverified; gaps.
    """SELECT o.cluster, v.since, v.until, 1, o.resource, o.namespace, o.name, c.hash
       FROM version v JOIN object o ON o.id = v.object JOIN content c ON c.id = v.content""",
    """SELECT o.cluster, u.since, u.until, -1, o.resource, o.namespace, o.name, c.hash
       FROM unverified u JOIN object o ON o.id = u.object
       JOIN version v ON v.object = u.object AND v.since <= u.since AND (v.until IS NULL OR v.until > u.since)
       JOIN content c ON c.id = v.content""",
    "SELECT cluster, since, until, 1, resource, namespace, reason, message FROM gap",
)


def _verify_revisions(store: Store) -> None:
    """Every revision against the hash of what it held, all in one pass over the intervals."""
    steps: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for query in _INTERVALS:
        for cluster, since, until, sign, *parts in store.connection.execute(query):
            amount = sign * hashed(*parts)
            steps[cluster][since] += amount
            if until is not None:
                steps[cluster][until] -= amount
    for cluster, axis in steps.items():
        revisions = dict(store.connection.execute("SELECT id, state FROM revision WHERE cluster = ?", (cluster,)))
        total = 0
        for number in sorted(axis.keys() | revisions.keys()):
            total += axis.get(number, 0)
            if number in revisions and packed(total) != bytes(revisions[number]):
                raise StoreError(f"{store.path}: snapshot {number} is not what was written", "restore a backup")
