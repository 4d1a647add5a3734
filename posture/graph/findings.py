"""Paths as reasons of findings, and as findings of their own where no change of a domain made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from posture.drift.findings import OwnerOf, fingerprint_of
from posture.kinds import BY_NAME
from posture.model import (
    INCOMPLETE,
    SEVERITIES,
    AttackPath,
    Cause,
    Change,
    Changed,
    Finding,
    Gap,
    Key,
    Snapshot,
    Unit,
    differences,
)
from posture.text import count

from . import crossing
from .attribution import Gained, Own, Place, attributed, gravity, reason
from .catalogue import Escalation
from .compare import Peers, compare
from .evaluate import NAME, READS, Graph, assembled
from .sentences import name, titled

KEPT = 20
"""So many paths are kept with a finding, the gravest."""
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


def with_paths(
    drafts: Sequence[Finding], sides: Sides, escalations: Iterable[Escalation], draft: Callable[[Own], Finding]
) -> list[Finding]:
    """Findings, those with new paths graver for it, and findings of paths that none of them made."""
    live, baselines = sides.graphs(escalations)
    gained = Gained(sides.changes)
    by_place: dict[Place, Finding] = {(one.domain, one.subject, one.scope, one.through): one for one in drafts}

    def signed(place: Place) -> tuple[str, str]:
        found = by_place.get(place)
        return (found.fingerprint, found.owner.name) if found else ("", "")

    titles = titled(live.catalogue.all.values())
    said = attributed(compare(baselines, live, sides.peers, gained), gained, titles, signed)
    found = [graver(one, said.by.get(place, ())) for place, one in by_place.items()]
    return found + [draft(one) for one in said.own]


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
    units = {(path.source, path.target): None for path in own.paths}
    gained: tuple[Unit, ...] = tuple({"source": source, "target": target} for source, target in sorted(units))
    key = crossing.key_of_fact(own.fact)
    return Change(NAME, "loosened", own.fact.subject, own.fact.scope, own.fact.through, gained, (), True,
                  (named(key) if key else str(own.fact.through),), (key,) if key else ())  # fmt: skip


def draft_of(own: Own, cluster: str, now: str, cause: Callable[[Key], Cause], owner_of: OwnerOf) -> Finding:
    """The finding of a path that no change of a domain made: how something runs, or what leads to it, did."""
    change = change_of(own)
    causes = tuple(cause(key) for key in change.evidence)
    first = min(own.paths, key=gravity)
    made = Finding(
        cluster=cluster, fingerprint=fingerprint_of(change), domain=NAME, subject=change.subject, scope=change.scope,
        through=change.through, severity="low", effective=True, reasons=(), gained=change.gained,
        headline=headline(own.paths), path=change.path, causes=causes, fix=None,
        no_fix="posture explain path --cut looks for the smallest edit",
        owner=owner_of(change, causes, change.evidence[0] if change.evidence else None), opened=now, changed=now,
    )  # fmt: skip
    return graver(made, (first, *(path for path in own.paths if path != first)))


def headline(paths: Sequence[AttackPath]) -> str:
    """What became possible, in one sentence."""
    first = min(paths, key=gravity)
    more = sorted({path.target for path in paths} - {first.target})
    return f"{name(first.source)} can now reach {name(first.target)}" + (
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
