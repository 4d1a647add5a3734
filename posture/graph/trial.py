"""Edits tried in memory: every domain and the graph evaluated again, and what became and what is no longer possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from math import prod

from posture.model import CLUSTER_SCOPE, Change, Changed

from . import crossing, doors
from .evaluate import DOMAINS, Graph, updated
from .nodes import OUTSIDE
from .sentences import name as name_of

_SHOWN = 20
_MANY = 20
"""What a star stands for, where what is lost is weighed."""


def settled(graph: Graph, edits: Iterable[Changed]) -> tuple[Changed, ...]:
    """Edits, and what the cluster's controllers would do about them."""
    changed = tuple(edits)
    for domain in DOMAINS.values():
        changed = domain.settle(graph.snapshot, changed)
    return doors.settle(graph.snapshot, changed)


class Trial:
    """A graph as it would be after some edits of another."""

    def __init__(self, before: Graph, edits: tuple[Changed, ...]) -> None:
        self.before = before
        self.edits = edits
        changed = settled(before, edits)
        after = before.snapshot.replaced((one.key, one.new) for one in changed)
        self.graph = updated(before, after, changed)

    def opens(self) -> str:
        """What would be possible that was not, in a sentence, or cannot be told; "" if nothing."""
        for name, domain in DOMAINS.items():
            old, new = self.before.results[name], self.graph.results[name]
            found = domain.compare(old, new, None, new.touched)
            if found.changes:
                return str(domain.sentence(found.changes[0], None, new))
            if found.unknown:
                return f"nobody can say what it opens: {found.unknown[0].gap.message}"
        new_doors = sorted(self._outside(self.graph) - self._outside(self.before)) if self._door else []
        return f"{name_of(new_doors[0])} would be reached from outside" if new_doors else ""

    @property
    def _door(self) -> bool:
        return any(one.key.resource in (*crossing.DOORS, *crossing.WORKLOAD_KINDS) for one in self.edits)

    @staticmethod
    def _outside(graph: Graph) -> set[str]:
        return {edge.head for edge in graph.edges(OUTSIDE)}

    @cached_property
    def losses(self) -> tuple[tuple[str, Change], ...]:
        """What would no longer be possible, by domain."""
        found: list[tuple[str, Change]] = []
        for name, domain in DOMAINS.items():
            old, new = self.before.results[name], self.graph.results[name]
            gone = domain.compare(new, old, None, new.touched).changes
            found += [(name, change.mirrored()) for change in gone]
        return tuple(found)

    @property
    def weight(self) -> int:
        """How much would no longer be possible: what is held everywhere counts for each namespace, a star as many."""
        namespaces = len(self.before.of.namespaces) or 1
        return sum(
            prod(_MANY if "*" in value else len(value) or 1 for value in unit.values() if isinstance(value, list))
            * (namespaces if change.scope == CLUSTER_SCOPE else 1)
            for _, change in self.losses for unit in change.lost
        )  # fmt: skip

    def breaks(self, more: Iterable[str] = ()) -> tuple[str, ...]:
        """What stops working for whom, a sentence each; `more` is what no domain speaks of."""
        found = sorted({*self._told(), *more})
        rest = len(found) - _SHOWN
        return tuple(found) if rest <= 0 else (*found[:_SHOWN], f"and {rest} more")

    def _told(self) -> Iterator[str]:
        for name, change in self.losses:
            yield DOMAINS[name].sentence(change, None, self.before.results[name])
        if self._door:
            for workload in self._outside(self.before) - self._outside(self.graph):
                yield f"{name_of(workload)} is no longer reached from outside"
