"""What people do: decide about findings, approve a baseline. The command line and the screen both call these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from posture import graph, pipeline
from posture.domain import Domain
from posture.errors import CannotJudge, UsageError
from posture.model import INCOMPLETE, SEVERITIES, Change, Changed, Content, Finding, Gap, Key, Snapshot
from posture.sources import cluster_of
from posture.store import Store, baselines, findings, snapshots
from posture.store.baselines import Approved
from posture.store.decisions import Deed, decide
from posture.store.snapshots import Revision
from posture.text import count, format_time, parse_time, visible

SHORTEST_ID = 4
_DURATION = re.compile(r"(\d+)([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def find(store: Store, ids: Sequence[str], cluster: str = "") -> list[Finding]:
    """The findings that ids (or unambiguous beginnings of ids) of findings or groups name.

    A group stands for those of its findings that are neither resolved nor agreed, if there are any. Raises UsageError
    for an id that names nothing, or several things.
    """
    cluster = cluster_of(store, cluster) if cluster else ""
    found: dict[tuple[str, str], Finding] = {}
    for given in ids:
        if len(given) < SHORTEST_ID or not re.fullmatch(r"[0-9a-f]+", given):
            raise UsageError(
                f"{visible(given, 60) or 'an empty text'} is no id of a finding", "`posture findings list` shows them"
            )
        where, args = "(f.fingerprint LIKE ? OR f.grp LIKE ?)", [given + "%", given + "%"]
        if cluster:
            where, args = where + " AND f.cluster = ?", [*args, cluster]
        matching = list(findings.select(store, where, args))
        own = [finding for finding in matching if finding.fingerprint.startswith(given)]
        groups = {finding.group for finding in matching if finding.group.startswith(given)}
        if not matching:
            raise UsageError(f"there is no finding {given}", "`posture findings list --status all` shows all of them")
        if len({finding.fingerprint for finding in own} | groups) > 1:
            raise UsageError(f"{given} is the beginning of several ids", "write more of it")
        if own:
            found |= {(finding.cluster, finding.fingerprint): finding for finding in own}
        else:
            members = [one for one in matching if one.presence != "absent" and not one.agreed] or matching
            found |= {(finding.cluster, finding.fingerprint): finding for finding in members}
    return sorted(found.values(), key=lambda one: (SEVERITIES.index(one.severity), one.cluster, one.fingerprint))


def until(text: str, now: datetime) -> str:
    """The end of an acceptance: a date, a time, or how long from now (`30d`, `2w`). Raises UsageError."""
    duration = _DURATION.fullmatch(text)
    try:
        end = now + timedelta(**{_UNITS[duration[2]]: int(duration[1])}) if duration else parse_time(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{visible(text, 60)} is no date", "write 2027-01-31, or 30d") from error
    if end <= now:
        raise UsageError(
            f"{visible(text, 60)} is not in the future", "an acceptance needs an end that is still to come"
        )
    return format_time(end)


def decide_on(store: Store, found: Sequence[Finding], deed: Deed) -> int:
    """Write a decision about findings. Raises UsageError when a reason, an end or an owner is missing."""
    if deed.action in ("accepted", "false positive") and not deed.reason.strip():
        what = "what is accepted" if deed.action == "accepted" else "a false positive"
        raise UsageError(f"{what} needs a reason", "say why with --reason")
    if deed.action == "accepted" and not deed.until:
        raise UsageError("what is accepted needs an end", "say until when with --until")
    if deed.action == "assigned" and not deed.assignee.strip():
        raise UsageError("what is assigned needs an owner", "say to whom with --to")
    if not deed.by.strip():
        raise UsageError("who decides is not known", "say it with --by")
    absent = [finding for finding in found if finding.presence == "absent"]
    if absent and deed.action in ("acknowledged", "accepted", "false positive"):
        raise UsageError(
            f"finding {absent[0].fingerprint[:12]} is resolved: there is nothing to decide", "leave it out"
        )
    agreed = [finding for finding in found if finding.agreed]
    if agreed and deed.action != "assigned":
        raise UsageError(
            f"finding {agreed[0].fingerprint[:12]} is agreed to: it is part of the baseline",
            "leave it out, or approve a snapshot without it",
        )
    return decide(store, found, deed)


def approve(store: Store, number: int, deed: Deed, *, with_gaps: bool = False) -> Approved:
    """Agree to a snapshot: what is possible in it is the baseline, and its open findings are agreed.

    Raises CannotJudge when it has gaps, or leaves out what the last baseline knows, and `with_gaps` is not said.
    """
    with store.transaction():  # all of it: snapshots come and go while a watcher runs
        revision = snapshots.revision(store, number)
        gaps = _unseen(store, revision)
        if gaps and not with_gaps:
            first = f"{gaps[0].resource}: {gaps[0].message}"
            raise CannotJudge(
                f"snapshot {number} has {count(len(gaps), 'gap')} ({visible(first, 200)})",
                "read it completely, or agree to what was read with --with-gaps",
            )
        given = Approved(0, revision.cluster, number, deed.time, deed.by, deed.reason)
        approved = baselines.approve(store, given)
        newest = snapshots.latest(store, revision.cluster)
        if newest is not None and newest.id == number:
            # What a gap hides is not in the snapshot, so nobody has agreed to it.
            present = (one for one in findings.current(store, revision.cluster).values() if one.presence == "present")
            _agree(store, present, deed)
    return approved


def _unseen(store: Store, revision: Revision) -> list[Gap]:
    """What nobody agrees to by accident: gaps, and what was left out (`-n`) and is known to the last baseline."""
    before = baselines.latest(store, revision.cluster)
    known = snapshots.gaps(store, snapshots.revision(store, before.revision)) if before else None
    return [
        gap for gap in snapshots.gaps(store, revision)
        if gap.reason in INCOMPLETE or (
            known is not None and gap.reason == "not collected" and gap.resource in (*pipeline.JUDGED, "*")
            and not any(one.covers(gap) for one in known)
        )
    ]  # fmt: skip


def approve_findings(
    store: Store, found: Sequence[Finding], deed: Deed, settings: Mapping[str, Any] = MappingProxyType({})
) -> Approved:
    """Move the baseline by some findings only: exactly what they gained is agreed, and nothing else.

    `settings` are what the findings were judged with (`Inputs.settings`). Raises UsageError when there is no baseline
    yet, or the findings are of several clusters.
    """
    clusters = {finding.cluster for finding in found}
    if len(clusters) != 1:
        raise UsageError(
            "the findings are of several clusters", "approve those of one cluster at a time, with --cluster"
        )
    cluster = clusters.pop()
    before = baselines.latest(store, cluster)
    newest = snapshots.latest(store, cluster)
    if before is None or newest is None:
        raise UsageError("there is no baseline yet to move", "approve a snapshot first: `posture baseline approve`")
    absent = [finding for finding in found if finding.presence == "absent"]
    if absent:
        raise UsageError(
            f"finding {absent[0].fingerprint[:8]} is resolved: there is nothing to agree to", "leave it out"
        )
    routes = [finding for finding in found if finding.domain == graph.NAME]
    if routes:
        raise _cannot(routes[0], "it is a path through several objects")
    settings = {**settings, "now": newest.time}
    live = replace(snapshots.load(store, cluster, newest).snapshot, settings=settings)
    base = replace(baselines.snapshot(store, before), settings=settings)
    agreed = [row for domain in pipeline.DOMAINS for row in _agreed(domain, found, base, live)]
    given = Approved(0, cluster, before.revision, deed.time, deed.by, deed.reason)
    with store.transaction():
        if baselines.latest(store, cluster) != before:
            raise UsageError("the baseline was moved while you looked at it", "look again; nothing was written")
        approved = baselines.approve(store, given, agreed, before)
        _agree(store, found, deed)
    return approved


def _agreed(domain: Domain, found: Sequence[Finding], base: Snapshot, live: Snapshot) -> list[tuple[Key, Content]]:
    """Objects that agree to exactly what some findings of a domain gained. Raises UsageError when there are none.

    Not every gain can be said by objects beside the others: a policy that denies for the whole cluster stands above any
    that a namespace could get.
    """
    mine = [finding for finding in found if finding.domain == domain.NAME]
    if not mine:
        return []
    now = domain.evaluate(live)
    objects = {key: content for finding in mine for key, content in domain.agreed(_change(finding), now)}
    changed = [Changed(key, base.get(key), content) for key, content in objects.items()]
    old = domain.evaluate(base)
    new = domain.evaluate(base.replaced(objects.items()), old, changed)
    before, after = ({one.where: one for one in domain.compare(side, now).changes if one.direction == "loosened"}
                     for side in (old, new))  # fmt: skip
    for finding in mine:
        left = after.get((finding.subject, finding.scope, finding.through))
        if left is not None and domain.beyond(finding.gained, domain.beyond(finding.gained, left.gained)):
            raise _cannot(finding, "it would still be there")
    for where, change in after.items():
        # What nobody can use yet may show once what is there is agreed to: that was so before, and is for later.
        if change.effective and domain.beyond(change.gained, before[where].gained if where in before else ()):
            raise _cannot(mine[0], f"{change.subject} would be judged by it too")
    return list(objects.items())


def _cannot(finding: Finding, why: str) -> UsageError:
    return UsageError(
        f"finding {finding.fingerprint[:8]} cannot be agreed to by itself: {visible(why, 200)}",
        "approve the whole snapshot, or accept the finding until a date",
    )


def _agree(store: Store, found: Iterable[Finding], deed: Deed) -> None:
    decide(store, [finding for finding in found if not finding.agreed], deed)


def _change(finding: Finding) -> Change:
    return Change(
        finding.domain, "loosened", finding.subject, finding.scope, finding.through, finding.gained, (),
        finding.effective, finding.path,
    )  # fmt: skip
