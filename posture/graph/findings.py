"""Paths as reasons of findings, and as findings of their own where no change of a domain made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from posture.drift.causes import absent
from posture.drift.findings import OwnerOf, fingerprint_of
from posture.kinds import BY_NAME
from posture.model import (
    INCOMPLETE,
    SEVERITIES,
    AttackPath,
    Cause,
    Change,
    Changed,
    Edit,
    Finding,
    Fix,
    Gap,
    Key,
    Snapshot,
    Unit,
    differences,
)
from posture.text import count

from . import crossing
from .agreement import Peers
from .attribution import Attribution, Gained, Own, Place, Signed, attributed, gravity, reason
from .catalogue import Escalation
from .compare import compare
from .evaluate import NAME, READS, Graph, assembled
from .paths import path
from .sentences import name, titled
from .trial import Trial

KEPT = 20
"""So many paths are kept with a finding, the gravest."""
TRIED = 20
"""So many ways back are tried in a run: each evaluates all domains again."""
NOT_TRIED = "there are many: posture explain path --cut looks for the smallest edit"
type Back = tuple[Fix | None, str]
"""A fix, or why there is none."""
STRUCTURE = ("serviceaccounts", *crossing.WORKLOAD_KINDS, *crossing.DOORS)


@dataclass(frozen=True, slots=True)
class Sides:
    """What paths are looked for in: the results of all domains, live and as agreed, and what domains found gained."""

    live: Mapping[str, Any]
    baselines: Sequence[Mapping[str, Any]]
    changes: Sequence[Change]
    peers: Peers

    @property
    def snapshot(self) -> Snapshot:
        """The live objects."""
        found: Snapshot = self.live["rbac"].snapshot
        return found

    def differ(self) -> bool:
        """Whether there can be a path that is new: something was gained, or runs or is reached in another way."""
        live = self.snapshot
        befores = [base["rbac"].snapshot for base in self.baselines]
        return bool(self.changes) or any(
            before.version != live.version or next(differences(before.index, live.index, STRUCTURE), None) is not None
            for before in befores
        )

    def graphs(self, escalations: Iterable[Escalation]) -> tuple[Graph, list[Graph]]:
        """The live graph, and those of baselines, which share what is the same."""
        live = assembled(self.live, escalations)
        found = []
        for results in self.baselines:
            before: Snapshot = results["rbac"].snapshot
            changed = [
                Changed(key, self.snapshot.get(key), before.get(key))
                for key, _, _ in differences(self.snapshot.index, before.index, READS)
            ]
            found.append(assembled(results, (), live, changed))
        return live, found


@dataclass(frozen=True, slots=True)
class Said:
    """What is new between graphs, and the live one."""

    attribution: Attribution
    live: Graph


def said(sides: Sides, escalations: Iterable[Escalation], signed: Signed) -> Said:
    """The paths that are new, each with what made it."""
    live, baselines = sides.graphs(escalations)
    gained = Gained(sides.changes)
    titles = titled(live.catalogue.all.values())
    return Said(attributed(compare(baselines, live, sides.peers, gained), gained, titles, signed), live)


def with_paths(
    drafts: Sequence[Finding], sides: Sides, escalations: Iterable[Escalation], draft: Callable[[Own, Back], Finding]
) -> list[Finding]:
    """Findings, those with new paths graver for it, and findings of paths that none of them made."""
    by_place: dict[Place, Finding] = {(one.domain, one.subject, one.scope, one.through): one for one in drafts}

    def signed(place: Place) -> tuple[str, str]:
        found = by_place.get(place)
        return (found.fingerprint, found.owner.name) if found else ("", "")

    new = said(sides, escalations, signed)
    by, before = new.attribution.by, [base["rbac"].snapshot for base in sides.baselines[:1]]
    found = [graver(one, by.get(place, ())) for place, one in by_place.items()]
    for number, own in enumerate(new.attribution.own):
        found.append(draft(own, back(own, new.live, before[0]) if before and number < TRIED else (None, NOT_TRIED)))
    return found


def back(own: Own, live: Graph, agreed: Snapshot) -> Back:
    """The checked way back of a path that no domain speaks of: its object as it was agreed to, or none."""
    key = crossing.key_of_fact(own.fact)
    old = agreed.get(key) if key else None
    if key is None or (old is None and key.resource not in crossing.DOORS):
        return None, "what runs there is new: how it runs is for its owner to say"
    trial = Trial(live, (Changed(key, live.snapshot.get(key), old),))
    text = f"Put {named(key)} back to what was agreed" if old is not None else f"Delete {named(key)}"
    if any(path(trial.graph.edges, one.source, one.target) is not None for one in own.paths):
        return None, f"{text}: it would still be possible"
    opened = trial.opens()
    if opened:
        return None, f"{text}: it would open something else: {opened}"
    return Fix(text, tuple(Edit(one.key, one.new, absent(one)) for one in trial.edits), trial.breaks()), ""


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
    key = crossing.key_of_fact(own.fact)
    return Change(NAME, "loosened", own.fact.subject, own.fact.scope, own.fact.through, gained, (), True,
                  (named(key) if key else str(own.fact.through),), (key,) if key else ())  # fmt: skip


def draft_of(own: Own, way: Back, cluster: str, now: str, cause: Callable[[Key], Cause], owner_of: OwnerOf) -> Finding:
    """The finding of a path that no change of a domain made: how something runs, or what leads to it, did."""
    change = change_of(own)
    causes = tuple(cause(key) for key in change.evidence)
    first = min(own.paths, key=gravity)
    made = Finding(
        cluster=cluster, fingerprint=fingerprint_of(change), domain=NAME, subject=change.subject, scope=change.scope,
        through=change.through, severity="low", effective=True, reasons=(), gained=change.gained,
        headline=headline(own.paths), path=change.path, causes=causes, fix=way[0],
        no_fix=way[1],
        owner=owner_of(change, causes, change.evidence[0] if change.evidence else None), opened=now, changed=now,
    )  # fmt: skip
    return graver(made, (first, *(one for one in own.paths if one != first)))


def headline(paths: Sequence[AttackPath], when: str = "now") -> str:
    """What became possible, in one sentence."""
    first = min(paths, key=gravity)
    more = sorted({one.target for one in paths} - {first.target})
    return f"{name(first.source)} can {when} reach {name(first.target)}" + (
        f" and {count(len(more), 'other target')}" if more else ""
    )


# What a domain does -------------------------------------------------------------------------------------------------


def named(key: Key) -> str:
    """An object for people."""
    return f"{BY_NAME[key.resource].kind} {key.namespace}/{key.name}"


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


def doubt(snapshot: Snapshot) -> Gap | None:
    """The gap because of which nobody can say that a path is gone."""
    return next((gap for gap in snapshot.gaps if gap.reason in INCOMPLETE and gap.resource in ("*", *READS)), None)
