"""Paths as reasons of findings, and as findings of their own where no change of a domain made them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from posture.drift.causes import UPGRADE, edit_of
from posture.drift.findings import OwnerOf, fingerprint_of
from posture.kinds import API_RESOURCES, BY_NAME
from posture.model import (
    CLUSTER_SCOPE,
    INCOMPLETE,
    SEVERITIES,
    AttackPath,
    Cause,
    Change,
    Changed,
    Finding,
    Fix,
    Gap,
    Key,
    Snapshot,
    Unit,
    Unknown,
    Version,
    differences,
)
from posture.patch import UnwritableError
from posture.rbac.evaluate import CLUSTER_ROLES, ROLES, SERVICE_ACCOUNTS
from posture.text import begun, count

from . import crossing
from .agreement import Peers
from .attribution import Attribution, Gained, Own, Place, Signed, attributed, gravity, reason
from .catalogue import Escalation
from .compare import compare
from .cut import goals_of, paths_from
from .evaluate import DOMAINS, NAME, READS, Graph, assembled
from .hardening import put_back
from .nodes import namespace_of
from .origin import Origins
from .paths import path
from .sentences import name
from .structure import ESCALATION
from .trial import Trial
from .words import Words

KEPT = 20
"""So many paths are kept with a finding, the gravest."""
TRIED = 20
"""So many ways back, and fixes of findings with paths, are tried in a run: each evaluates all domains again."""
NOT_TRIED = "there are many: posture explain path --cut looks for the smallest edit"
_DELETED = (CLUSTER_ROLES, ROLES, *crossing.DOORS)
"""What is new of these kinds may be deleted again: nothing runs by it."""
_WHOSE = {
    SERVICE_ACCOUNTS: "the ServiceAccount is new: whether it is to exist is for its owner to say",
    API_RESOURCES: "the resource is new: whether its controller is to run is for its owner to say",
    crossing.VOLUMES: "the volume is new: whether pods are to mount a place of their node is for its owner to say",
}
type Back = tuple[Fix | None, str]
"""A fix, or why there is none."""
STRUCTURE = (API_RESOURCES, CLUSTER_ROLES, ROLES, SERVICE_ACCOUNTS, *crossing.WORKLOAD_KINDS, *crossing.DOORS,
             crossing.VOLUMES)  # fmt: skip
"""The kinds of objects that make paths though no domain tells a change."""


@dataclass(frozen=True, slots=True)
class Sides:
    """What paths are looked for in: the results of all domains, live and as agreed, and what domains found gained."""

    live: Mapping[str, Any]
    baselines: Sequence[Mapping[str, Any]]
    changes: Sequence[Change]
    peers: Peers
    bounded: frozenset[str] = frozenset()
    """The namespaces of which a file says what they may hold."""
    previous: Pathed | None = None
    """What was found before `changed`, of the same baselines."""
    changed: Collection[Changed] = ()
    later: bool = False
    """Whether paths are looked for another time, and those that are known stand until then."""

    @property
    def snapshot(self) -> Snapshot:
        """The live objects."""
        found: Snapshot = self.live["rbac"].snapshot
        return found

    def differ(self) -> bool:
        """Whether there can be a path that is new: something was gained, or runs or is reached in another way."""
        if self.previous:
            return bool(self.changes) or self.previous.said is not None or any(
                one.key.resource in STRUCTURE for one in self.changed
            )  # fmt: skip
        live = self.snapshot
        befores = [base["rbac"].snapshot for base in self.baselines]
        return bool(self.changes) or any(
            before.version != live.version or next(differences(before.index, live.index, STRUCTURE), None) is not None
            for before in befores
        )

    def graphs(self, escalations: Iterable[Escalation]) -> tuple[Graph, list[Graph]]:
        """The live graph, and those of baselines, which share what is the same."""
        if self.previous and self.previous.said:
            known = self.previous.said
            return assembled(self._near(known.live), (), known.live, self.changed), known.baselines
        live = assembled(self.live, escalations)
        found = []
        for results in self.baselines:
            before: Snapshot = results["rbac"].snapshot
            changed = [
                Changed(key, self.snapshot.get(key), before.get(key))
                for key, _, _ in differences(self.snapshot.index, before.index, (*READS, API_RESOURCES))
            ]
            near = results
            if self.previous is not None:  # these were updates of a live state that is no more
                near = {name: one.evaluate(before, self.live[name], changed) for name, one in DOMAINS.items()}
            found.append(assembled(near, (), live, changed))
        return live, found

    def _near(self, live: Graph) -> Mapping[str, Any]:
        """The results as one update of those of a graph: what was touched is said of the last update only."""
        if not (self.previous and self.previous.waiting):
            return self.live
        return {name: one.evaluate(self.snapshot, live.results[name], self.changed) for name, one in DOMAINS.items()}


@dataclass(frozen=True, slots=True)
class Said:
    """What is new between graphs, and these."""

    attribution: Attribution
    live: Graph
    baselines: list[Graph]


@dataclass(frozen=True, slots=True)
class Pathed:
    """Findings with the paths that they made possible, and what the next judgement goes on from.

    `made` are findings by place as they were given, and as they became; `own` those of paths that none of them made.
    """

    findings: list[Finding]
    said: Said | None = None
    waiting: tuple[Changed, ...] = ()
    """What changed since paths were looked for."""
    made: Mapping[Place, tuple[Finding, Finding]] = field(default_factory=dict)
    own: Mapping[Own, Back] = field(default_factory=dict)


def said(sides: Sides, escalations: Iterable[Escalation], signed: Signed) -> Said:
    """The paths that are new, each with what made it."""
    live, baselines = sides.graphs(escalations)
    gained = Gained(sides.changes)
    new = compare(baselines, live, sides.peers, gained, sides.bounded)
    origins = Origins(live, baselines[0] if baselines else None)
    return Said(attributed(new, gained, origins, Words(live), signed), live, baselines)


def with_paths(
    drafts: Sequence[Finding], sides: Sides, escalations: Iterable[Escalation], draft: Callable[[Own, Back], Finding]
) -> Pathed:
    """Findings, those with new paths graver for it, and findings of paths that none of them made."""
    if sides.later and sides.previous:
        return _as_before(drafts, sides.previous, sides.changed, draft)
    if not sides.differ():
        return Pathed([*drafts])
    by_place: dict[Place, Finding] = {(one.domain, one.subject, one.scope, one.through): one for one in drafts}

    def signed(place: Place) -> tuple[str, str]:
        found = by_place.get(place)
        return (found.fingerprint, found.owner.name) if found else ("", "")

    new = said(sides, escalations, signed)
    by, before = new.attribution.by, [base["rbac"].snapshot for base in sides.baselines[:1]]
    found = {place: graver(one, by.get(place, ())) for place, one in by_place.items()}
    made: dict[Place, tuple[Finding, Finding]] = {}
    left = TRIED - len(new.attribution.own)
    for place in sorted(by.keys() & found.keys(), key=lambda place: (SEVERITIES.index(found[place].severity), place)):
        one = found[place]
        if left > 0 and one.fix:
            found[place] = _with_stays(one, new.live)
            made[place], left = (one, found[place]), left - 1
    own = {
        one: back(one, new.live, before[0]) if before and number < TRIED else (None, NOT_TRIED)
        for number, one in enumerate(new.attribution.own)
    }
    drafted = (draft(one, way) for one, way in own.items())
    return Pathed([*found.values(), *drafted], new, made=made, own=own)


def _as_before(
    drafts: Sequence[Finding], known: Pathed, changed: Collection[Changed], draft: Callable[[Own, Back], Finding]
) -> Pathed:
    """Findings with the paths that are known of them."""
    by = known.said.attribution.by if known.said else {}
    found = []
    for one in drafts:
        place = (one.domain, one.subject, one.scope, one.through)
        with_its, made = graver(one, by.get(place, ())), known.made.get(place)
        found.append(made[1] if made and made[0] == with_its else with_its)
    own = [draft(one, way) for one, way in known.own.items()]
    return replace(known, findings=[*found, *own], waiting=(*known.waiting, *changed))


def merged(changes: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes one after another as one: of each object the first state and the last, where these differ."""
    found: dict[Key, Changed] = {}
    for one in changes:
        found[one.key] = one._replace(old=found[one.key].old) if one.key in found else one
    return tuple(one for one in found.values() if one.old != one.new)


def _with_stays(finding: Finding, live: Graph) -> Finding:
    """A finding whose fix says what it leaves open: who reaches the same by another way."""
    fix, paths = finding.fix, finding.paths
    assert fix is not None
    after = Trial(live, tuple(Changed(one.key, live.snapshot.get(one.key), one.new) for one in fix.edits)).graph
    still = (
        f"{name(one.source)} still reaches {name(one.target)} by another way" for one in paths
        if next(paths_from(after.edges, [one.source], goals_of(one.target)), None) is not None
    )  # fmt: skip
    return replace(finding, fix=replace(fix, stays=tuple(dict.fromkeys(still))))


def back(own: Own, live: Graph, agreed: Snapshot) -> Back:
    """The checked way back of a path that no domain speaks of: its object as it was agreed to, or none."""
    key, old = own.key, agreed.get(own.key) if own.key else None
    if own.fact.through.kind == ESCALATION:
        return None, "what was granted is what was agreed: it is the server's version that makes more of it"
    if key is None or (old is None and key.resource not in _DELETED):
        return None, _WHOSE.get(
            key.resource if key else "", "what runs there is new: how it runs is for its owner to say"
        )
    text = f"Put {named(key)} back to what was agreed" if old is not None else f"Delete {named(key)}"
    now = live.snapshot.get(key)
    if old is not None and now is not None and BY_NAME[key.resource].pod_spec:
        old = put_back(now, old, BY_NAME[key.resource].pod_spec)
    trial = Trial(live, (Changed(key, now, old),))
    if any(path(trial.graph.edges, one.source, one.target) is not None for one in own.paths):
        return None, f"{text}: it would still be possible"
    opened = trial.opens()
    if opened:
        return None, f"{text}: it would open something else: {opened}"
    try:
        return Fix(text, tuple(map(edit_of, trial.edits)), trial.breaks()), ""
    except UnwritableError as error:
        return None, f"{text}: {error}"


def graver(finding: Finding, paths: Sequence[AttackPath]) -> Finding:
    """A finding with the paths that it made possible, as reasons behind those that it has."""
    if not paths:
        return finding
    kept = tuple(paths[:KEPT])
    reasons = tuple(dict.fromkeys((*finding.reasons, *map(reason, kept))))
    grave = min((finding.severity, *(one.severity for one in reasons)), key=SEVERITIES.index)
    return replace(finding, paths=kept, reasons=reasons, severity=grave)


def change_of(own: Own) -> Change:
    """A path of its own as a change: what was gained are targets."""
    units = {(one.source, one.target): None for one in own.paths}
    gained: tuple[Unit, ...] = tuple({"source": source, "target": target} for source, target in sorted(units))
    return Change(NAME, "loosened", own.fact.subject, own.fact.scope, own.fact.through, gained, (), True,
                  (named(own.key) if own.key else str(own.fact.through),), (own.key,) if own.key else ())  # fmt: skip


def causes_of(
    own: Own, cause: Callable[[Key], Cause], before: Version | None, after: Version | None
) -> tuple[Cause, ...]:
    """What made a path of its own: an object's change, or the server's version; none where nobody can say it."""
    if own.key is None:
        return ()
    if own.fact.through.kind == ESCALATION:
        return (Cause(own.key, UPGRADE, f"Kubernetes {before} → {after}"),)
    return (cause(own.key),) if own.differs else ()


def draft_of(own: Own, way: Back, cluster: str, now: str, causes: tuple[Cause, ...], owner_of: OwnerOf) -> Finding:
    """The finding of a path that no change of a domain made: how something runs, or what leads to it, did."""
    change = change_of(own)
    first = min(own.paths, key=gravity)
    made = Finding(
        cluster=cluster, fingerprint=fingerprint_of(change), domain=NAME, subject=change.subject, scope=change.scope,
        through=change.through, severity="low", effective=True, reasons=(), gained=change.gained,
        headline=headline(own.paths), path=change.path, causes=causes, fix=way[0],
        no_fix=way[1],
        owner=owner_of(change, causes, own.key), opened=now, changed=now,
    )  # fmt: skip
    return graver(made, (first, *(one for one in own.paths if one != first)))


def headline(paths: Sequence[AttackPath], when: str = "now") -> str:
    """What became possible, in one sentence."""
    first = min(paths, key=gravity)
    more = sorted({one.target for one in paths} - {first.target})
    text = f"{name(first.source)} can {when} reach {name(first.target)}"
    return begun(text) + (f" and {count(len(more), 'other target')}" if more else "")


# What a domain does -------------------------------------------------------------------------------------------------


def named(key: Key) -> str:
    """An object for people."""
    kind = BY_NAME[key.resource].kind if key.resource in BY_NAME else "CustomResourceDefinition"
    return f"{kind} {key.namespace}/{key.name}" if key.namespace else f"{kind} {key.name}"


def beyond(given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """The targets, by their sources, that recorded ones do not hold."""
    return tuple(unit for unit in given if unit not in recorded)


def permissions(given: Iterable[Unit]) -> Iterable[dict[str, str]]:
    """Every target with who reaches it."""
    return ({"source": str(unit["source"]), "target": str(unit["target"])} for unit in given)


def stakeholders(live: Any, key: Key) -> frozenset[str] | None:
    """The namespace of what runs there."""
    del live
    return frozenset({key.namespace}) if key.namespace else None


def doubt(finding: Finding, snapshot: Snapshot, unknown: Iterable[Unknown]) -> Gap | None:
    """The gap because of which nobody can say that the paths of a finding are gone: what was not read, and what a
    domain cannot say where they begin, end or lead through what made them.
    """
    names = {finding.subject, *(str(name) for unit in finding.gained for name in unit.values())}
    names |= {name for one in finding.paths for name in (one.source, one.target)}
    places = {finding.scope, finding.through.namespace, *map(namespace_of, names)} - {"", CLUSTER_SCOPE}
    for gap in snapshot.gaps:
        if gap.resource in ("*", *READS) and (
            gap.reason in INCOMPLETE
            or (gap.reason == "not collected" and any(gap.touches(gap.resource, place) for place in places))
        ):
            return gap
    return next((one.gap for one in unknown if one.scope in (*places, CLUSTER_SCOPE)), None)


def kept(finding: Finding, known: Finding | None, snapshot: Snapshot, unknown: Iterable[Unknown]) -> Finding:
    """A finding with the paths that it had when it was known, where nobody can say that they are gone."""
    if known is None or known.domain == NAME or known.presence == "absent":
        return finding
    mine = {(one.source, one.target) for one in finding.paths}
    lost = [one for one in known.paths if (one.source, one.target) not in mine]
    if not lost or doubt(known, snapshot, unknown) is None:
        return finding
    return graver(finding, sorted((*finding.paths, *lost), key=gravity))
