"""The report: one JSON document with a published schema, from which every other format is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from posture import __version__
from posture.kinds import BY_NAME, manifest
from posture.model import SEVERITIES, Check, Decision, Finding, Fix, Gap, Key, Unit
from posture.text import count

SCHEMA = "posture.report/v1"
SHOWN_MEMBERS = 20
SHOWN_PERMISSIONS = 1000

type Permissions = Callable[[str, Sequence[Unit]], Iterator[Mapping[str, str]]]
"""(domain, units) → every single permission"""


def order(finding: Finding) -> tuple[Any, ...]:
    """Gravest first, then by group, then by name."""
    return (
        SEVERITIES.index(finding.severity),
        finding.rule,
        finding.through.kind,
        finding.through.name,
        finding.fingerprint,
    )


def reference(key: Key) -> dict[str, str]:
    """An object as other tools name it."""
    kind = BY_NAME.get(key.resource)
    found = {"resource": key.resource, "kind": kind.kind if kind else "", "namespace": key.namespace, "name": key.name}
    return {name: value for name, value in found.items() if value}


def finding_record(
    finding: Finding, now: str, permissions: Permissions, checks: Mapping[str, Check], *, history: bool
) -> dict[str, Any]:
    """A finding as a report holds it. Without `history` nobody knows since when it has been there."""
    gained = list(islice(permissions(finding.domain, finding.gained), SHOWN_PERMISSIONS + 1))
    record: dict[str, Any] = {
        "id": finding.fingerprint,
        "key": f"posture:{finding.cluster}:{finding.fingerprint}",
        "group": finding.group,
        "cluster": finding.cluster,
        "domain": finding.domain,
        "severity": finding.severity,
        "status": finding.status(now),
        "presence": finding.presence,
        "mark": finding.mark,
        "message": finding.message,
        "subject": finding.subject,
        "scope": finding.scope,
        "through": {"kind": finding.through.kind, "namespace": finding.through.namespace, "name": finding.through.name},
        "effective": finding.effective,
        "gained": gained[:SHOWN_PERMISSIONS],
        "gainedComplete": len(gained) <= SHOWN_PERMISSIONS,
        "reasons": [_reason(reason.check, reason.severity, reason.title, checks) for reason in finding.reasons],
        "path": list(finding.path),
        "causes": [
            {"object": reference(cause.key), "what": cause.what, "actor": cause.actor, "claimed": bool(cause.actor),
             "time": cause.time}
            for cause in finding.causes
        ],
        "owner": finding.assignee or finding.owner.name,
        "ownerWhy": "assigned" if finding.assignee else finding.owner.why,
        "unowned": finding.owner.unowned and not finding.assignee,
        "told": list(finding.owner.told),
        "fix": _fix(finding.fix),
        "noFix": finding.no_fix,
        "decision": _decision(finding.decision),
    }  # fmt: skip
    if history:
        record |= {"opened": finding.opened, "changed": finding.changed, "resolved": finding.resolved}
    return record


def _reason(check: str, severity: str, title: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    known = checks.get(check)
    found: dict[str, Any] = {"check": check, "severity": severity, "title": title}
    if known is not None:
        found |= {"why": known.why, "remedy": known.remedy, "references": list(known.references)}
    return found


def _fix(fix: Fix | None) -> dict[str, Any] | None:
    if fix is None:
        return None
    edits = [
        {"object": reference(edit.key), "delete": edit.new is None,
         "manifest": None if edit.new is None else manifest(edit.key, edit.new)}
        for edit in fix.edits
    ]  # fmt: skip
    return {"text": fix.text, "edits": edits, "breaks": list(fix.breaks)}


def _decision(decision: Decision | None) -> dict[str, str] | None:
    if decision is None:
        return None
    return {"action": decision.action, "by": decision.by, "time": decision.time, "reason": decision.reason,
            "until": decision.until}  # fmt: skip


def headline(members: Sequence[Finding]) -> str:
    """A group in one line."""
    first = members[0]
    if len(members) == 1:
        return first.headline
    subjects, scopes = len({one.subject for one in members}), {one.scope for one in members}
    where = f"in {count(len(scopes), 'namespace')}" if len(scopes) > 1 else f"in {first.scope}"
    where = "cluster-wide" if scopes == {"*"} else where
    what = (
        first.reasons[0].title
        if first.reasons
        else f"new permissions through {first.through.kind} {first.through.name}"
    )
    return f"{count(subjects, 'subject')} {where}: {what}"


def group_records(found: Sequence[Finding], now: str) -> list[dict[str, Any]]:
    """The groups of findings, gravest first."""
    records = []
    for (cluster, group), each in groupby(sorted(found, key=_by_group), key=lambda one: (one.cluster, one.group)):
        members = sorted(each, key=order)
        first = members[0]
        records.append({
            "id": group,
            "cluster": cluster,
            "domain": first.domain,
            "rule": first.rule,
            "severity": first.severity,
            "through": {"kind": first.through.kind, "name": first.through.name},
            "message": headline(members),
            "owners": sorted({one.assignee or one.owner.name for one in members}),
            "count": len(members),
            "new": sum(one.mark == "new" for one in members),
            "status": dict(sorted(_tally(one.status(now) for one in members).items())),
            "members": [one.fingerprint for one in members[:SHOWN_MEMBERS]],
        })  # fmt: skip
    return sorted(records, key=lambda one: (SEVERITIES.index(one["severity"]), one["rule"], one["through"]["kind"],
                                            one["through"]["name"], one["cluster"]))  # fmt: skip


def _by_group(finding: Finding) -> tuple[str, str]:
    return finding.cluster, finding.group


def _tally(words: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def report(
    run: Mapping[str, Any], found: Sequence[Finding], gaps: Sequence[tuple[str, Gap]], now: str,
    permissions: Permissions, checks: Mapping[str, Check], *, history: bool,
) -> dict[str, Any]:  # fmt: skip
    """The whole report; `gaps` are (cluster, gap). All that differs between two runs of one state is in `run`."""
    found = sorted(found, key=order)
    return {
        "run": {"schema": SCHEMA, "tool": "posture", "version": __version__, **run},
        "groups": group_records(found, now),
        "findings": [finding_record(one, now, permissions, checks, history=history) for one in found],
        "gaps": [
            {"cluster": cluster, "resource": gap.resource, "namespace": gap.namespace, "reason": gap.reason,
             "message": gap.message}
            for cluster, gap in sorted(gaps)
        ],
    }  # fmt: skip
