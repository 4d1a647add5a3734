"""judge: the one function under scan, watch, diff and the demo. Pure: clock, objects and history are passed in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from posture import admission, graph, network, owners, rbac
from posture.domain import Domain
from posture.drift.agreed import NAMESPACES, Agreed, Place, Yardstick
from posture.drift.causes import Investigation, Wrote
from posture.drift.findings import OwnerOf, reasons_of, severity_of
from posture.drift.lifecycle import Life, Outcome, Settled
from posture.drift.measured import Measured, Moment, measured
from posture.graph import attribution
from posture.graph import findings as path_findings
from posture.graph.catalogue import Escalation
from posture.graph.findings import Pathed, Sides
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS, KINDS
from posture.model import (
    SEVERITIES,
    AttackPath,
    Cause,
    Change,
    Changed,
    Check,
    Content,
    Finding,
    Gap,
    Key,
    Note,
    Severity,
    Snapshot,
    Unknown,
    Version,
)
from posture.text import parse_time

DOMAINS: tuple[Domain, ...] = (cast("Domain", rbac), cast("Domain", network), cast("Domain", admission))
type Shipped = Callable[[Version | None], Iterable[tuple[Key, Content]]]
"""The default objects of a Kubernetes minor; of the newest known one for None."""
JUDGED = tuple(
    dict.fromkeys((NAMESPACES, API_RESOURCES, *(kind for domain in DOMAINS for kind in domain.READS), *graph.READS))
)
"""The kinds that a judgement depends on."""
NAMESPACED = frozenset(kind.name for kind in KINDS if kind.namespaced)


@dataclass(frozen=True, slots=True)
class Rules:
    """What people wrote: checks, who owns what, and what is given beside the objects (`Snapshot.settings`)."""

    checks: Sequence[Check]
    owners: owners.Owners
    settings: Mapping[str, Any] = field(default_factory=dict)
    escalations: Callable[[], Sequence[Escalation]] = tuple
    """The catalogue of the graph, read when it is needed."""

    def at(self, now: str) -> Rules:
        """The same at a moment (RFC 3339)."""
        return replace(self, settings={**self.settings, "now": now})

    def applying(self, snapshot: Snapshot) -> list[Check]:
        """The checks that are meant for a cluster of this version."""
        return [check for check in self.checks if check.applies(snapshot.version)]


@dataclass(frozen=True, slots=True)
class History:
    """What is known of findings: those not resolved, any of them by fingerprint or alias, and the last run's time;
    and of objects, which request made them what they are.
    """

    current: Mapping[str, Finding] = field(default_factory=dict)
    known: Callable[[str], Finding | None] = lambda _: None
    last: str = ""
    wrote: Wrote = lambda _: None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a run found: what became of the findings, and all that the next judgement can go on from."""

    outcome: Outcome
    snapshot: Snapshot
    agreed: Agreed
    parts: Mapping[str, Measured]
    """What each domain says."""
    settled: Mapping[str, Settled]
    paths: Pathed | None = None
    present: int = 0

    @property
    def live(self) -> dict[str, Any]:
        """The results of all domains."""
        return {name: part.live for name, part in self.parts.items()}

    @property
    def standing(self) -> list[Place]:
        """What was there when the baseline was approved."""
        return [place for part in self.parts.values() for place in part.standing]

    @property
    def unknown(self) -> list[Unknown]:
        """What cannot be said."""
        return [one for part in self.parts.values() for one in part.unknown]

    @property
    def until(self) -> str:
        """When the same objects will mean something else (RFC 3339); "" where time is no matter."""
        ends = (domain_of(name).until(part.live) for name, part in self.parts.items())
        return min(filter(None, ends), default="")


def domain_of(name: str) -> Domain:
    """The domain of this name, or the graph, which says of its findings what a domain says. Raises KeyError."""
    return {domain.NAME: domain for domain in (*DOMAINS, cast("Domain", graph))}[name]


def beyond(domain: str, given: Any, recorded: Any) -> Any:
    """The units of a domain that recorded ones do not cover."""
    return domain_of(domain).beyond(given, recorded)


def judge(
    snapshot: Snapshot, agreed: Agreed, history: History, rules: Rules, now: str, previous: Judgement | None = None,
    changed: Collection[Changed] = (), written: Collection[Key] = (), *, later: bool = False,
) -> Judgement:  # fmt: skip
    """What is possible in a snapshot that was not agreed, and what that makes of the findings that are known.

    With `previous`, the judgement of the state before `changed` by the same rules, the cost follows what changed;
    `written` are the objects of which anything was written since, content or not. The answer is the same without, but
    that with `later` the paths that are known stand: those of now are for a judgement without it to find.
    """
    if previous and not _goes_on(previous, snapshot, agreed, changed, now):
        previous = None
    snapshot = replace(snapshot, settings=(previous.snapshot if previous else rules.at(now)).settings)
    checks = {check.id: check for check in rules.applying(snapshot)}

    def assigner(domain: Domain, live: Any) -> OwnerOf:
        return owners.assigner(rules.owners, snapshot, lambda key: domain.stakeholders(live, key))

    moment = Moment(snapshot, agreed, checks, now, NAMESPACED, assigner, changed, written, history.wrote)
    parts = {
        domain.NAME: measured(domain, moment, previous.parts[domain.NAME] if previous else None) for domain in DOMAINS
    }
    drafts = [draft.finding for part in parts.values() for draft in part.drafts.values()]
    unknown = [one for part in parts.values() for one in part.unknown]
    paths: Pathed | None = None
    if agreed.snapshots or agreed.bounds:  # without them nothing is new: `explain path` tells what there is
        paths = _with_paths(drafts, parts, moment, rules, previous.paths if previous else None, later=later)
        drafts = [path_findings.kept(one, history.known(one.fingerprint), snapshot, unknown) for one in paths.findings]

    def doubt(finding: Finding) -> Gap | None:
        if finding.domain == graph.NAME:
            return path_findings.doubt(finding, snapshot, unknown)
        part = parts[finding.domain]
        return part.yardstick.doubt(part.live, finding.subject, finding.scope, finding.through)

    def covered(finding: Finding) -> bool:
        if finding.domain == graph.NAME:
            return False
        part, place = parts[finding.domain], (finding.subject, finding.scope, finding.through)
        return part.yardstick.covers(part.live, *place, finding.gained)

    life = Life(history.current, history.known, beyond, previous.settled if previous else {})
    outcome = life.merge(drafts, doubt, covered, now, history.last)
    return Judgement(outcome, snapshot, agreed, parts, life.settled, paths, len(drafts))


def _goes_on(previous: Judgement, snapshot: Snapshot, agreed: Agreed, changed: Collection[Changed], now: str) -> bool:
    """Whether a judgement can be brought up to date: what is not an object, and what the API serves, is as it was."""
    before, until = previous.snapshot, previous.until
    return (
        previous.agreed is agreed
        and (before.version, before.gaps, before.assumed) == (snapshot.version, snapshot.gaps, snapshot.assumed)
        and not any(key.resource in (API_RESOURCES, API_SERVER_FLAGS) for key, _, _ in changed)
        and (not until or parse_time(now) < parse_time(until))
    )


def _with_paths(
    drafts: list[Finding], parts: Mapping[str, Measured], moment: Moment, rules: Rules, previous: Pathed | None,
    *, later: bool,
) -> Pathed:  # fmt: skip
    """Findings with the paths that they made possible, and those of paths that none of them made."""
    snapshot, agreed, now = moment.snapshot, moment.agreed, moment.now
    count = len(agreed.snapshots)
    live = {name: part.live for name, part in parts.items()}
    bases = [{name: part.yardstick.approved[number][0] for name, part in parts.items()} for number in range(count)]
    judged_by = parts[rbac.NAME].yardstick.approved[0][1] if count else {}
    changes = [part.gains[where] for part in parts.values() for where in sorted(part.gains)]
    bounded = frozenset(scope for bound in agreed.bounds for scope in bound.scopes(snapshot))
    changed = moment.changed if later or not previous else path_findings.merged((*previous.waiting, *moment.changed))
    sides = Sides(live, bases, changes, judged_by, bounded, previous, changed, later)
    before = agreed.snapshots[0].version if count else snapshot.version
    owner_of = owners.assigner(rules.owners, snapshot, lambda key: graph.stakeholders(None, key))
    cause = parts[network.NAME].investigation.cause
    return path_findings.with_paths(
        drafts,
        sides,
        rules.escalations(),
        lambda own, way: path_findings.draft_of(
            own, way, snapshot.cluster, now, path_findings.causes_of(own, cause, before, snapshot.version), owner_of
        ),
    )


# Two states against each other --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One change of a diff with its sentence, its causes, and the checks that classify it."""

    change: Change
    headline: str
    causes: tuple[Cause, ...]
    checks: tuple[Check, ...]
    paths: tuple[AttackPath, ...] = ()
    """What it makes possible across domains, or closes, the gravest first."""

    @property
    def message(self) -> str:
        """What differs, and the way there, in one sentence."""
        return f"{self.headline}, through {' → '.join(self.change.path)}"

    @property
    def severity(self) -> Severity:
        """The leading check's, one lower for what nobody can use yet; that of a path where it is graver."""
        reasons = reasons_of(self.checks, self.change)
        own = reasons[0].severity if reasons else severity_of("low", self.change)
        return min((own, *(attribution.severity(path) for path in self.paths)), key=SEVERITIES.index)


@dataclass(frozen=True, slots=True)
class Diff:
    """All that differs between two states; the first is read as agreed. `results` are both, by domain."""

    differences: tuple[Difference, ...]
    notes: tuple[Note, ...]
    unknown: tuple[Unknown, ...]
    results: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def diff(before: Snapshot, after: Snapshot, rules: Rules, shipped: Shipped, only: str = "") -> Diff:
    """What became possible between two states and what no longer is; `only` names one domain.

    A tightening is the loosening that going back would be, so both directions are one computation.
    """
    before, after = (replace(side, settings=rules.settings) for side in (before, after))
    found: list[Difference] = []
    notes: list[Note] = []
    unknown: list[Unknown] = []
    results: dict[str, tuple[Any, Any]] = {}
    agreements: dict[bool, dict[str, tuple[Any, Any, Investigation]]] = {False: {}, True: {}}
    for domain in DOMAINS:
        if only not in ("", domain.NAME):
            continue
        matcher = domain.Matcher(rules.applying(after))
        sides = results[domain.NAME] = domain.evaluate(before), domain.evaluate(after)
        for agreed, live, mirrored in ((before, sides[1], False), (after, sides[0], True)):
            state = live.snapshot
            objects = tuple(shipped(state.version))
            yardstick = Yardstick(domain, matcher, live, Agreed((agreed,), (), objects, peer_labels=None), NAMESPACED)
            gains, doubts = yardstick.gains(live)
            investigation = Investigation(yardstick, live, gains, frozenset(key for key, _ in objects))
            found += [_difference(domain, matcher, investigation, gains[where], mirrored) for where in sorted(gains)]
            agreements[mirrored][domain.NAME] = live, yardstick.baseline, investigation
            # Seen from the other side, what is new would be gone: what was said of a place stands.
            said = {one[:4] for one in unknown} if mirrored else set()
            unknown += [one for one in doubts if one[:4] not in said]
            if not mirrored:
                notes += domain.compare(yardstick.baseline, live, growth=True).notes
    if not only:
        found = [
            row for mirrored in (False, True)
            for row in _with_paths_of(
                [one for one in found if (one.change.direction == "tightened") is mirrored], agreements[mirrored],
                rules, mirrored=mirrored,
            )
        ]  # fmt: skip
    return Diff(tuple(found), tuple(notes), tuple(dict.fromkeys(unknown)), results)


def _with_paths_of(
    rows: list[Difference], found: Mapping[str, tuple[Any, Any, Investigation]], rules: Rules, *, mirrored: bool
) -> list[Difference]:
    """Differences of one direction with the paths that they make possible, and the paths that none of them makes."""
    changes = [one.change.mirrored() if mirrored else one.change for one in rows]
    lives, bases = ({name: row[side] for name, row in found.items()} for side in (0, 1))
    sides = Sides(lives, [bases], changes, {})
    if not sides.differ():
        return rows
    said = path_findings.said(sides, rules.escalations(), lambda _: ("", "")).attribution
    made = [
        replace(one, paths=said.by.get((change.domain, *change.where), ()))
        for one, change in zip(rows, changes, strict=True)
    ]
    cause, base = found[network.NAME][2].cause, sides.baselines[0][rbac.NAME].snapshot.version
    for own in said.own:
        change = path_findings.change_of(own)
        first, then = (sides.snapshot.version, base) if mirrored else (base, sides.snapshot.version)
        causes = path_findings.causes_of(own, cause, first, then)
        causes = tuple(map(_undone, causes)) if mirrored else causes
        headline = path_findings.headline(own.paths, "no longer" if mirrored else "now")
        made.append(Difference(change.mirrored() if mirrored else change, headline, causes, (), own.paths))
    return made


def _difference(domain: Domain, matcher: Any, investigation: Investigation, gain: Change, mirrored: bool) -> Difference:
    live = investigation.live
    checks = domain.reasons(matcher, gain, live)
    checks.sort(key=lambda check: (SEVERITIES.index(check.severity), check.id))
    causes = investigation.causes(gain)
    if mirrored:
        causes = tuple(_undone(cause) for cause in causes)
    change = gain.mirrored() if mirrored else gain
    return Difference(change, domain.sentence(change, checks[0] if checks else None, live), causes, tuple(checks))


def _undone(cause: Cause) -> Cause:
    """What a cause was, seen from the other side."""
    what = {"created": "deleted", "deleted": "created"}.get(cause.what, cause.what)
    return cause._replace(what=what, actor="" if what == "deleted" else cause.actor)


__all__ = ["DOMAINS", "Diff", "Difference", "History", "Judgement", "Rules", "beyond", "diff", "domain_of", "judge"]
