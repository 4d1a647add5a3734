"""Changes → findings: which checks say why it matters, how severe it is, what caused it, whose it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from posture.model import SEVERITIES, Cause, Change, Check, Finding, Fix, Key, Owner, Reason, Severity, fingerprint

from .causes import Investigation

type OwnerOf = Callable[[Change, tuple[Cause, ...], Key | None], Owner]
"""Who must act on a change; the last argument is the object to edit."""


def severity_of(severity: Severity, change: Change) -> Severity:
    """One severity lower for what nobody can use yet, one higher where nothing was closed in return."""
    place = SEVERITIES.index(severity) + (not change.effective) - change.uncompensated
    return SEVERITIES[max(0, min(place, len(SEVERITIES) - 1))]


def reasons_of(checks: Sequence[Check], change: Change) -> tuple[Reason, ...]:
    """The checks that hold, the gravest first."""
    found = [Reason(c.id, severity_of(c.severity, change), c.title) for c in checks]
    return tuple(sorted(found, key=lambda reason: (SEVERITIES.index(reason.severity), reason.check)))


def fingerprint_of(change: Change) -> str:
    """The identity of a finding within its cluster; the same in every cluster."""
    return fingerprint(change.domain, change.subject, change.scope, *change.through)


def edited(fix: Fix | None, causes: Sequence[Cause]) -> Key | None:
    """The object to edit: whoever can commit that is the owner."""
    return fix.edits[0].key if fix else causes[0].key if causes else None


class Drafter:
    """Makes findings of one domain's changes."""

    def __init__(
        self,
        cluster: str,
        now: str,
        investigation: Investigation,
        live: Any,
        checks: Mapping[str, Check],
        owner_of: OwnerOf,
    ) -> None:
        self.cluster = cluster
        self.now = now
        self.investigation = investigation
        self.live = live
        self.checks = checks
        self.owner_of = owner_of

    def said(self, change: Change) -> dict[str, Any]:
        """What checks and sentences say of a change; both may look at all that there is."""
        domain, matcher = self.investigation.domain, self.investigation.yardstick.matcher
        reasons = reasons_of(domain.reasons(matcher, change, self.live), change)
        check = self.checks.get(reasons[0].check) if reasons else None
        severity = reasons[0].severity if reasons else severity_of("low", change)
        return {"reasons": reasons, "severity": severity, "headline": domain.sentence(change, check, self.live)}

    def draft(self, change: Change) -> Finding:
        """A finding as it is when nothing is known of it yet: open, new, undecided."""
        causes = self.investigation.causes(change)
        fix, no_fix = self.investigation.fix(change, causes)
        to_edit = edited(fix, causes)
        return Finding(
            cluster=self.cluster,
            fingerprint=fingerprint_of(change),
            domain=change.domain,
            subject=change.subject,
            scope=change.scope,
            through=change.through,
            effective=change.effective,
            gained=change.gained,
            **self.said(change),
            path=change.path,
            causes=causes,
            fix=fix,
            no_fix=no_fix,
            owner=self.owner_of(change, causes, to_edit),
            opened=self.now,
            changed=self.now,
        )
