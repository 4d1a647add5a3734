"""Findings as rows: what is queried has a column, the rest is one JSON text."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from posture.drift.lifecycle import Event, Outcome
from posture.model import (
    SEVERITIES,
    AttackPath,
    Audited,
    Cause,
    Decision,
    Edit,
    Finding,
    Fix,
    Key,
    Owner,
    Reason,
    Severity,
    Status,
    Step,
    Through,
    status_of,
)

from . import audited
from .database import Store, shaped
from .snapshots import number_of, packed

_COLUMNS = (
    "f.cluster, f.fingerprint, f.domain, f.subject, f.scope, f.severity, f.presence, f.mark, f.agreed, f.exceeded, "
    "f.assignee, f.opened, f.changed, f.resolved, f.content, "
    "d.action, d.decided_by, d.time, d.reason, d.until, d.covers"
)
_FROM = "FROM finding f LEFT JOIN decision d ON d.id = f.decision"


class Row(NamedTuple):
    """The columns of a finding that lists are made from: a hundred thousand of them are read in a moment."""

    cluster: str
    fingerprint: str
    group: str
    domain: str
    subject: str
    scope: str
    rank: int
    presence: str
    mark: str
    agreed: int
    exceeded: int
    whose: str
    unowned: int
    action: str | None
    until: str | None

    @property
    def severity(self) -> Severity:
        """How severe it is."""
        return SEVERITIES[self.rank]

    def status(self, now: str) -> Status:
        """As Finding.status."""
        action, until = self.action or "", self.until or ""
        return status_of(self.presence, action, until, now, agreed=bool(self.agreed), exceeded=bool(self.exceeded))


def rows(store: Store, where: str = "", args: Iterable[Any] = ()) -> list[Row]:
    """Findings by a condition over the table `f`, as rows."""
    condition = f"WHERE {where}" if where else ""
    found = store.connection.execute(
        "SELECT f.cluster, f.fingerprint, f.grp, f.domain, f.subject, f.scope, f.severity, f.presence, f.mark, "
        f"f.agreed, f.exceeded, f.owner, f.unowned, d.action, d.until {_FROM} {condition}",
        tuple(args),
    )
    with store.decoding():
        return [_row(row) for row in found]


def _row(values: tuple[Any, ...]) -> Row:
    row = Row(*shaped(values, "ttttttittiitiTT"))
    _severity(row.rank)
    return row


def _severity(rank: int) -> Severity:
    if rank < 0:
        raise IndexError(rank)
    return SEVERITIES[rank]


def whole(store: Store, row: Row) -> Finding:
    """The finding of a row."""
    return next(select(store, "f.cluster = ? AND f.fingerprint = ?", (row.cluster, row.fingerprint)))


def expiring(store: Store, cluster: str, last: str, now: str) -> list[Row]:
    """Findings whose acceptance ran out after one time and not after another (lifecycle.ran_out, as a query)."""
    condition = (
        "f.cluster = ? AND d.action = 'accepted' AND d.until > ? AND d.until <= ? "
        "AND f.presence != 'absent' AND NOT f.agreed AND NOT f.exceeded"
    )
    return rows(store, condition, (cluster, last, now))


def _content(finding: Finding) -> str:
    fix = finding.fix
    # orjson takes no named tuples by itself; as lists they are read back in _finding.
    return orjson.dumps({
        "through": finding.through, "effective": finding.effective, "reasons": finding.reasons,
        "gained": finding.gained, "headline": finding.headline, "path": finding.path, "causes": finding.causes,
        "fix": fix and {"text": fix.text, "edits": fix.edits, "breaks": fix.breaks, "stays": fix.stays},
        "no_fix": finding.no_fix, "owner": finding.owner, "paths": finding.paths,
    }, default=list).decode()  # fmt: skip


def _finding(row: tuple[Any, ...]) -> Finding:
    (cluster, fingerprint, domain, subject, scope, severity, presence, mark, agreed, exceeded, assignee,
     opened, changed, resolved, content, action, by, time, reason, until, covers) = shaped(
        row, "tttttittiitttttTTTTTT")  # fmt: skip
    more: Mapping[str, Any] = orjson.loads(content)
    name, why, unowned, told = more["owner"]
    return Finding(
        cluster=cluster, fingerprint=fingerprint, domain=domain, subject=subject, scope=scope,
        through=Through(*more["through"]), severity=_severity(severity), effective=more["effective"],
        reasons=tuple(Reason(*reason) for reason in more["reasons"]), gained=tuple(more["gained"]),
        headline=more["headline"], path=tuple(more["path"]),
        causes=tuple(map(_cause, more["causes"])),
        fix=_fix(more["fix"]), no_fix=more["no_fix"], owner=Owner(name, why, unowned, tuple(told)),
        opened=opened, changed=changed, presence=presence, mark=mark, resolved=resolved, agreed=bool(agreed),
        decision=Decision(action, by, time, reason, until, tuple(orjson.loads(covers))) if action else None,
        exceeded=bool(exceeded), assignee=assignee, paths=tuple(map(_path, more.get("paths", ()))),
    )  # fmt: skip


def _cause(given: Sequence[Any]) -> Cause:
    key, what, actor, time, *more = given
    request, origin, outside = more or (None, "", False)  # what was stored before audit logs were read has none
    return Cause(Key(*key), what, actor, time, Audited(*request) if request else None, origin, outside)


def _path(given: Sequence[Any]) -> AttackPath:
    source, target, steps, others = given
    return AttackPath(source, target, tuple(Step(*step) for step in steps), others)


def _fix(given: Mapping[str, Any] | None) -> Fix | None:
    if given is None:
        return None
    edits = tuple(Edit(Key(*key), new, tuple(map(tuple, absent)), *more) for key, new, absent, *more in given["edits"])
    return Fix(given["text"], edits, tuple(given["breaks"]), tuple(given.get("stays", ())))


def select(store: Store, where: str = "", args: Iterable[Any] = ()) -> Iterator[Finding]:
    """Findings by a condition over the table `f`, gravest first, in a stable order."""
    condition = f"WHERE {where}" if where else ""
    rows = store.connection.execute(
        f"SELECT {_COLUMNS} {_FROM} {condition} ORDER BY f.severity, f.cluster, f.grp, f.fingerprint",
        tuple(args),
    )
    return _read(store, rows)


def _read(store: Store, rows: Iterable[tuple[Any, ...]]) -> Iterator[Finding]:
    with store.decoding():
        for row in rows:
            yield _finding(row)


def current(store: Store, cluster: str) -> dict[str, Finding]:
    """The findings of a cluster that are not resolved, by fingerprint."""
    found = select(store, "f.cluster = ? AND f.presence != 'absent'", (cluster,))
    return {finding.fingerprint: finding for finding in found}


def known(store: Store, cluster: str, fingerprint: str) -> Finding | None:
    """A finding by its fingerprint, else by an alias; resolved ones too."""
    args = (cluster, fingerprint)
    own = next(select(store, "f.cluster = ? AND f.fingerprint = ?", args), None)
    if own is not None:
        return own
    alias = "f.id = (SELECT finding FROM alias WHERE cluster = ? AND fingerprint = ?)"
    return next(select(store, alias, args), None)


def write(connection: sqlite3.Connection, cluster: str, outcome: Outcome, revision: int | None, time: str) -> None:
    """Write what a run made of the findings, inside the caller's transaction."""
    with summing(connection, outcome.findings.values()):
        save(connection, outcome.findings.values())
    connection.executemany(
        "INSERT OR REPLACE INTO alias (cluster, fingerprint, finding) "
        "SELECT cluster, ?, id FROM finding WHERE cluster = ? AND fingerprint = ?",
        [(alias, cluster, target) for alias, target in sorted(outcome.aliases.items())],
    )
    record(connection, cluster, outcome.events, revision, time)


def resave(connection: sqlite3.Connection, found: Collection[Finding]) -> None:
    """Write findings of which more is known now, and nothing happened, inside the caller's transaction."""
    if found:
        with summing(connection, found):
            save(connection, found)


def record(
    connection: sqlite3.Connection, cluster: str, events: Iterable[Event], revision: int | None, time: str
) -> None:
    """Add events to the history of findings."""
    connection.executemany(
        "INSERT INTO event (finding, revision, time, kind, detail) "
        "SELECT id, ?, ?, ?, ? FROM finding WHERE cluster = ? AND fingerprint = ?",
        [(revision, time, event.kind, event.detail, cluster, event.fingerprint) for event in events],
    )


def save(connection: sqlite3.Connection, found: Iterable[Finding]) -> None:
    """Insert or update findings; which decision counts is the journal's business."""
    connection.executemany(
        """INSERT INTO finding (cluster, fingerprint, grp, domain, subject, scope, severity, presence, mark, agreed,
             exceeded, assignee, owner, unowned, opened, changed, resolved, content)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (cluster, fingerprint) DO UPDATE SET grp = excluded.grp, severity = excluded.severity,
             presence = excluded.presence, mark = excluded.mark, agreed = excluded.agreed,
             exceeded = excluded.exceeded, owner = excluded.owner, unowned = excluded.unowned, opened = excluded.opened,
             changed = excluded.changed, resolved = excluded.resolved, content = excluded.content""",
        [
            (f.cluster, f.fingerprint, f.group, f.domain, f.subject, f.scope, SEVERITIES.index(f.severity), f.presence,
             f.mark, f.agreed, f.exceeded, f.assignee, f.whose, f.owner.unowned and not f.assignee, f.opened, f.changed,
             f.resolved,
             _content(f))
            for f in sorted(found, key=lambda finding: finding.fingerprint)
        ],
    )  # fmt: skip


@contextmanager
def summing(connection: sqlite3.Connection, touched: Collection[Finding]) -> Iterator[None]:
    """Around whatever writes findings: the cluster's sum of hashes moves by what they were and what they are.

    It is not added up anew, so that whatever else was changed since stays visible.
    """
    named: dict[str, list[str]] = defaultdict(list)
    for finding in touched:
        named[finding.cluster].append(finding.fingerprint)
    before = {cluster: _sum(connection, cluster, names) for cluster, names in named.items()}
    yield
    for cluster, names in named.items():
        moved = _sum(connection, cluster, names) - before[cluster]
        connection.execute(
            "UPDATE revision SET findings = ? WHERE id = (SELECT max(id) FROM revision WHERE cluster = ?)",
            (packed(int.from_bytes(_stored_sum(connection, cluster)) + moved), cluster),
        )


def untouched(store: Store, cluster: str) -> bool:
    """Whether the findings of a cluster are what posture wrote."""
    with store.transaction() as connection:  # both at one moment: people decide meanwhile
        return packed(_sum(connection, cluster)) == _stored_sum(connection, cluster)


def _sum(connection: sqlite3.Connection, cluster: str, among: Iterable[str] | None = None) -> int:
    """The hashes of some findings of a cluster, or of all, added up: every column but the number counts.

    SQLite makes one text of a row: every scan asks for all of them, and a value of Python's for each column costs more.
    """
    some, args = "", [cluster]
    if among is not None:
        some, args = "AND fingerprint IN (SELECT value FROM json_each(?))", [cluster, orjson.dumps([*among]).decode()]
    rows = connection.execute(
        "SELECT CAST(json_array(cluster, fingerprint, grp, domain, subject, scope, severity, presence, mark, agreed, "
        "exceeded, decision, assignee, owner, unowned, opened, changed, resolved) || content AS BLOB) "
        f"FROM finding WHERE cluster = ? {some}",
        args,
    )
    return sum(number_of(text) for (text,) in rows)


def _stored_sum(connection: sqlite3.Connection, cluster: str) -> bytes:
    row = connection.execute(
        "SELECT CAST(findings AS BLOB) FROM revision WHERE cluster = ? ORDER BY id DESC LIMIT 1", (cluster,)
    ).fetchone()
    return row[0] if row else packed(0)


def history(store: Store, finding: Finding) -> list[tuple[str, str, str]]:
    """What happened to a finding and what was decided, oldest first: (time, what, detail).

    And who changed the objects that caused it, where audit logs told.
    """
    rows = store.connection.execute(
        """SELECT time, kind, detail, 0 AS part, id FROM event
           WHERE finding = (SELECT id FROM finding WHERE cluster = :cluster AND fingerprint = :fingerprint)
           UNION ALL
           SELECT time, action, 'by ' || decided_by || CASE until WHEN '' THEN '' ELSE ', until ' || until END
             || CASE assignee WHEN '' THEN '' ELSE ', to ' || assignee END
             || CASE reason WHEN '' THEN '' ELSE ': ' || reason END, 1, id
           FROM decision WHERE cluster = :cluster AND fingerprint = :fingerprint
           ORDER BY 1, 4, 5""",
        {"cluster": finding.cluster, "fingerprint": finding.fingerprint},
    )
    with store.decoding():
        found = [(time, kind, detail) for time, kind, detail in (shaped(row[:3], "ttt") for row in rows)]
    keys = dict.fromkeys(cause.key for cause in finding.causes)
    told = [(one.time, "audited", f"{one.request} by {one}") for key in keys
            for one in audited.requests(store, finding.cluster, key)]  # fmt: skip
    return sorted([*told, *found], key=lambda row: row[0]) if told else found
