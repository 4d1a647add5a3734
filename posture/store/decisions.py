"""The journal of decisions: what a person decided about findings, who, when and why. Append-only, hash-chained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from posture.errors import StoreError, UsageError
from posture.model import Action, Finding

from . import findings as stored
from .database import Store, shaped


class Deed(NamedTuple):
    """One decision about some findings. `until` is RFC 3339, "" for no end; `assignee` only where one is assigned."""

    action: Action
    by: str
    time: str
    reason: str = ""
    until: str = ""
    assignee: str = ""


FIELDS = "time, decided_by, cluster, fingerprint, action, reason, until, assignee, covers"


def _hash(previous: bytes, row: tuple[str, ...]) -> bytes:
    return hashlib.blake2b(previous + orjson.dumps(row), digest_size=16).digest()


def append(store: Store, row: tuple[str, ...]) -> int:
    """Write one entry (its FIELDS) inside the caller's transaction, hashed over the one before. Returns its number."""
    last = store.connection.execute("SELECT hash FROM decision ORDER BY id DESC LIMIT 1").fetchone()
    with store.decoding():
        previous: bytes = shaped(last, "b")[0] if last else b""
    number = store.connection.execute(
        f"INSERT INTO decision ({FIELDS}, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, _hash(previous, row))
    ).lastrowid
    assert number is not None
    return number


def newest(store: Store) -> int:
    """The number of the last decision; 0 when there is none."""
    found: int = store.connection.execute("SELECT coalesce(max(id), 0) FROM decision").fetchone()[0]
    return found


def decide(store: Store, findings: Iterable[Finding], deed: Deed) -> int:
    """Write one decision about each finding: all or none. Returns how many.

    The decision covers the units that the finding was seen with. A mark (new, widened, regressed) is seen with it.
    Raises UsageError when a scan changed a finding after it was looked at.
    """
    found = sorted(findings, key=lambda finding: (finding.cluster, finding.fingerprint))
    with store.transaction() as connection, stored.summing(connection, found):
        for finding in found:
            if deed.action != "assigned":
                _unchanged(store, finding)
            row = (
                deed.time, deed.by, finding.cluster, finding.fingerprint, deed.action, deed.reason, deed.until,
                deed.assignee, orjson.dumps(finding.recorded).decode(),
            )  # fmt: skip
            number = append(store, row)
            where = (finding.cluster, finding.fingerprint)
            if deed.action == "assigned":
                connection.execute(
                    "UPDATE finding SET assignee = ?, owner = ?, unowned = 0 WHERE cluster = ? AND fingerprint = ?",
                    (deed.assignee, deed.assignee or finding.owner.name, *where),
                )
            else:
                connection.execute(
                    "UPDATE finding SET decision = ?, exceeded = 0, mark = '', agreed = ? "
                    "WHERE cluster = ? AND fingerprint = ?",
                    (number, deed.action == "agreed", *where),
                )
    return len(found)


def _unchanged(store: Store, seen: Finding) -> None:
    now = stored.known(store, seen.cluster, seen.fingerprint)
    if now is None or (now.recorded, now.agreed) != (seen.recorded, seen.agreed):
        raise UsageError(
            f"finding {seen.fingerprint[:12]} changed while you looked at it",
            "look again, then decide; nothing was written",
        )


def verify(store: Store) -> int:
    """Check the journal's chain, which holds whatever was its end at a scan; the number of decisions.

    Raises StoreError at the first that was altered.
    """
    ends = dict(store.connection.execute("SELECT CAST(journal AS BLOB), min(id) FROM revision GROUP BY 1 ORDER BY 2"))
    previous, total = b"", 0
    ends.pop(previous, None)
    rows = store.connection.execute(f"SELECT id, hash, {FIELDS} FROM decision ORDER BY id")
    for row_id, given, *row in rows:
        total += 1
        previous = _hash(previous, tuple(row))
        if previous != bytes(given):
            raise StoreError(
                f"{store.path}: decision {row_id} was altered, or one before it taken away", "restore a backup"
            )
        ends.pop(previous, None)
    written = store.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'decision'").fetchone()
    if written is not None and written[0] != total:
        raise StoreError(f"{store.path}: decision {written[0]} was taken away", "restore a backup")
    for number in ends.values():
        raise StoreError(f"{store.path}: decisions from before snapshot {number} were taken away", "restore a backup")
    for cluster, fingerprint in store.connection.execute(_UNFOUNDED):
        raise StoreError(
            f"{store.path}: finding {fingerprint[:12]} of {cluster} does not show what was decided last",
            "restore a backup",
        )
    return total


_UNFOUNDED = """
    SELECT cluster, fingerprint FROM finding f
    WHERE decision IS NOT (SELECT max(id) FROM decision d
                           WHERE d.cluster = f.cluster AND d.fingerprint = f.fingerprint AND d.action != 'assigned')
       OR assignee != coalesce((SELECT assignee FROM decision d
                                WHERE d.cluster = f.cluster AND d.fingerprint = f.fingerprint AND d.action = 'assigned'
                                ORDER BY id DESC LIMIT 1), '')
       OR agreed != EXISTS (SELECT 1 FROM decision d WHERE d.id = f.decision AND d.action = 'agreed')
          AND NOT EXISTS (SELECT 1 FROM event e WHERE e.finding = f.id
                          AND (agreed AND e.kind = 'agreed' OR NOT agreed AND e.kind IN ('widened', 'regressed')))
"""
"""Findings whose decision or assignee is not the journal's last word on them, or that neither the journal nor a scan
made agreed, or open again."""
