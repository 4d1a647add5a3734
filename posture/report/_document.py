"""The report: one JSON document with a published schema, from which every other format is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from posture import __version__
from posture.delivery import around
from posture.drift.causes import UPGRADE
from posture.groups import Group, grouped
from posture.kinds import called, manifest
from posture.model import SEVERITIES, AttackPath, Audited, Cause, Check, Decision, Edit, Finding, Fix, Gap, Key, Unit

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
    resource, kind, name = called(key)
    found = {"resource": resource, "kind": kind, "namespace": key.namespace, "name": name}
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
        "attackPaths": [attack_path(path) for path in finding.paths],
        "causes": [
            cause_record(cause) for cause in finding.causes
        ],
        "owner": finding.whose,
        "ownerWhy": "assigned" if finding.assignee else finding.owner.why,
        "unowned": finding.owner.unowned and not finding.assignee,
        "told": list(finding.owner.told),
        "fix": fix_record(finding.fix) if finding.fix else None,
        "noFix": finding.no_fix,
        "decision": _decision(finding.decision),
    }  # fmt: skip
    if history:
        record |= {"opened": finding.opened, "changed": finding.changed, "resolved": finding.resolved}
    return record


def cause_record(cause: Cause) -> dict[str, Any]:
    """What made a finding, and who did, as a report holds it."""
    one = cause.audited
    return {
        "object": reference(cause.key), "what": cause.what, "actor": cause.actor,
        "claimed": bool(cause.actor) and cause.what != UPGRADE, "time": cause.time,
        "audit": None if one is None else {
            "user": one.user, "actingAs": one.acting_as, "address": one.address, "userAgent": one.agent,
            "request": one.request, "id": one.identity, "time": one.time,
        },
        "deliveredBy": cause.origin, "outOfBand": cause.out_of_band,
    }  # fmt: skip


def made_by(cause: Mapping[str, Any]) -> str:
    """Who made a change, of its record, in words to append: ` by alice from 10.1.2.3 (audited), outside Git (flux)`."""
    one, claimed = cause["audit"], f"{cause['actor']} (claimed)" if cause["claimed"] else cause["actor"]
    if one is not None:
        claimed = f"{Audited(one['user'], one['actingAs'], one['address'])} (audited)"
    outside = f", {around(cause['deliveredBy'])}" if cause["outOfBand"] else ""
    return (f" by {claimed}" if claimed else "") + outside


def _reason(check: str, severity: str, title: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    known = checks.get(check)
    found: dict[str, Any] = {"check": check, "severity": severity, "title": title}
    if known is not None:
        found |= {"why": known.why, "remedy": known.remedy, "references": list(known.references)}
    return found


def attack_path(path: AttackPath) -> dict[str, Any]:
    """A path as a report holds it."""
    steps = [{"text": step.text, "finding": step.finding, "owner": step.owner} for step in path.steps]
    return {"source": path.source, "sink": path.target, "others": path.others, "steps": steps}


def fix_record(fix: Fix) -> dict[str, Any]:
    """A fix as a report holds it."""
    return {"text": fix.text, "edits": [_edit(edit) for edit in fix.edits], "breaks": list(fix.breaks),
            "stays": list(fix.stays)}  # fmt: skip


def _edit(edit: Edit) -> dict[str, Any]:
    whole = edit.new if edit.patch is None else None
    return {"object": reference(edit.key), "delete": edit.new is None,
            "manifest": None if whole is None else manifest(edit.key, whole, edit.absent),
            "patch": edit.patch}  # fmt: skip


def _decision(decision: Decision | None) -> dict[str, str] | None:
    if decision is None:
        return None
    return {"action": decision.action, "by": decision.by, "time": decision.time, "reason": decision.reason,
            "until": decision.until}  # fmt: skip


def group_record(group: Group, now: str) -> dict[str, Any]:
    """A group as a report holds it: the first members by id, and how many there are."""
    first = group.first
    return {
        "id": first.group,
        "cluster": first.cluster,
        "domain": first.domain,
        "rule": first.rule,
        "severity": first.severity,
        "through": {"kind": first.through.kind, "name": first.through.name},
        "message": group.headline,
        "owners": group.owners,
        "count": len(group.members),
        "new": group.new,
        "status": group.statuses(now),
        "members": [one.fingerprint for one in group.members[:SHOWN_MEMBERS]],
    }


def report(
    run: Mapping[str, Any], found: Sequence[Finding], gaps: Sequence[tuple[str, Gap]], now: str,
    permissions: Permissions, checks: Mapping[str, Check], *, history: bool,
    exceptions: Sequence[Mapping[str, Any]], balances: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The whole report; `gaps` are (cluster, gap). All that differs between two runs of one state is in `run`.

    `exceptions` are records, `balances` those of clusters with an approved baseline; None where none has one.
    """
    found = sorted(found, key=order)
    whole = {
        "run": {"schema": SCHEMA, "tool": "posture", "version": __version__, **run},
        "groups": [group_record(group, now) for group in grouped(found, lambda one: one)],
        "findings": [finding_record(one, now, permissions, checks, history=history) for one in found],
        "gaps": [
            {"cluster": cluster, "resource": gap.resource, "namespace": gap.namespace, "reason": gap.reason,
             "message": gap.message}
            for cluster, gap in sorted(gaps)
        ],
        "exceptions": list(exceptions),
    }  # fmt: skip
    return whole if balances is None else whole | {"balance": list(balances)}
