"""Keeping a database small and sound: pruning, checking, verifying."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from posture.errors import StoreError

from . import decisions
from .database import Store


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
        connection.execute("DELETE FROM unverified WHERE object NOT IN (SELECT object FROM version)")
        connection.execute("DELETE FROM object WHERE id NOT IN (SELECT object FROM version)")
        contents = connection.execute(
            """DELETE FROM content WHERE id NOT IN (SELECT content FROM version)
                 AND id NOT IN (SELECT content FROM baseline_object WHERE content IS NOT NULL)"""
        ).rowcount
    store.connection.execute("VACUUM")
    return Pruned(revisions, versions, contents)


def check(store: Store) -> None:
    """Ask SQLite whether the file is sound. Raises StoreError with its first complaint."""
    for (line,) in store.connection.execute("PRAGMA quick_check"):
        if line != "ok":
            raise StoreError(f"{store.path} is damaged: {line}", "restore a backup")
    for table, *_ in store.connection.execute("PRAGMA foreign_key_check"):
        raise StoreError(f"{store.path}: rows of {table} refer to what is not there", "restore a backup")


def verify(store: Store) -> tuple[int, int]:
    """Check that nothing was altered: projections against their hashes, intervals, the journal's chain.

    Returns the numbers of projections and of decisions. Raises StoreError at the first that does not hold.
    """
    check(store)
    total = 0
    for digest, body in store.connection.execute("SELECT hash, body FROM content"):
        total += 1
        if hashlib.blake2b(body, digest_size=16).digest() != digest:
            raise StoreError(f"{store.path}: the projection {digest.hex()} was altered", "restore a backup")
    overlap = store.connection.execute(
        """SELECT a.object FROM version a JOIN version b ON b.object = a.object AND b.since > a.since
           WHERE a.until IS NULL OR a.until > b.since LIMIT 1"""
    ).fetchone()
    if overlap is not None:
        raise StoreError(f"{store.path}: two versions of object {overlap[0]} hold at once", "restore a backup")
    return total, decisions.verify(store)
