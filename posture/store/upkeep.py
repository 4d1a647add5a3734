"""Keeping a database small and sound: pruning, checking, verifying."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import NamedTuple

from posture.errors import StoreError

from . import audited, baselines, decisions, findings, snapshots
from .database import MEMORY, Store, failure
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
        audited.prune(connection)
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
    """Ask SQLite whether the file is sound, and whether its schema is posture's. Raises StoreError at the first no."""
    for (line,) in store.connection.execute("PRAGMA quick_check"):
        if line != "ok":
            raise StoreError(f"{store.path} is damaged: {line}", "restore a backup")
    for table, *_ in store.connection.execute("PRAGMA foreign_key_check"):
        raise StoreError(f"{store.path}: rows of {table} refer to what is not there", "restore a backup")
    _check_schema(store)


def _check_schema(store: Store) -> None:
    """A trigger that somebody put in changes what is written, and one that is missing protects nothing."""
    from sqlite_utils import Database  # noqa: PLC0415 - it costs 60 ms

    from .schema import migrations  # noqa: PLC0415

    with closing(sqlite3.connect(MEMORY)) as made:
        migrations.apply(Database(made))
        wanted = _schema(made)
    found = _schema(store.connection)
    for kind, name in sorted(found.keys() | wanted.keys()):
        if found.get((kind, name)) != wanted.get((kind, name)):
            what = "is not posture's" if (kind, name) in found else "is missing"
            raise StoreError(f"{store.path} is damaged: the {kind} {name} {what}", "restore a backup")


def _schema(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Tables, indexes, triggers and views, but for the migrations' own table and what SQLite keeps for itself."""
    return {
        (kind, name): sql
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        if kind != "table" or not name.startswith(("_sqlite_migrations", "sqlite_stat"))
    }


class Verified(NamedTuple):
    """How much was verified."""

    projections: int
    decisions: int
    approvals: int


def verify(store: Store) -> Verified:
    """Check that nothing was altered: what snapshots hold and findings against their hashes, the journal's chain,
    baselines and what findings show of decisions against the journal; and that every record can be read.

    The hashes have no key: they show damage and hand-made changes, not a forger who makes all of them anew. Raises
    StoreError at the first that does not hold.
    """
    check(store)
    try:
        with store.decoding():
            total = _verify_contents(store)
            _verify_revisions(store)
            entries, approvals = decisions.verify(store), baselines.verify(store)
            _read_back(store)
            _verify_findings(store)
            audited.verify(store)
    except StoreError as error:
        raise StoreError(str(error), "restore a backup") from error
    return Verified(total, entries - approvals, approvals)


def _read_back(store: Store) -> None:
    """Read what has no hash, which says whether it can be read."""
    for cluster, _ in snapshots.clusters(store):
        snapshots.revisions(store, cluster)
        snapshots.load(store, cluster, snapshots.latest(store, cluster))
    findings.rows(store)
    for _ in findings.select(store):
        pass


def _verify_findings(store: Store) -> None:
    for cluster, name in snapshots.clusters(store):
        if not findings.untouched(store, cluster):
            raise StoreError(f"{store.path}: the findings of {name} are not what was written", "restore a backup")


def _verify_contents(store: Store) -> int:
    total = 0
    for digest, body in store.connection.execute("SELECT CAST(hash AS BLOB), CAST(body AS BLOB) FROM content"):
        total += 1
        if hashlib.blake2b(body, digest_size=16).digest() != digest:
            raise StoreError(f"{store.path}: the projection {digest.hex()} was altered", "restore a backup")
    return total


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
    steps: dict[str, dict[int, int]] = {one: defaultdict(int) for one, _ in snapshots.clusters(store)}
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
