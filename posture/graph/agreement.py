"""What was agreed to, of the edges of a graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from . import crossing
from .evaluate import Graph
from .nodes import STRUCTURE, Edge, Fact, namespace_of
from .places import ALL, place_of

type Peers = Mapping[str, tuple[str, ...]]
"""{a namespace that is new in live: the namespaces of the baseline that it is judged by}"""
_NONE: frozenset[Edge] = frozenset()


@dataclass(frozen=True, eq=False)
class Agreement:
    """Which edges of a live graph were agreed to.

    An edge of a baseline was. Of another one each need must be given by something that was: by what no domain found
    gained beyond all that was agreed (`gained`), or by how a workload runs, where that is growth.
    """

    baselines: tuple[Graph, ...]
    live: Graph
    gained: Callable[[Fact], bool]
    peers: Peers
    others: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    """The edges that no baseline has, of the nodes that were asked for and may have some."""

    def fresh(self, node: str) -> frozenset[Edge]:
        """The edges of a node that were not agreed to."""
        if not self._may_differ(node):
            return _NONE
        if node not in self.others:
            self.others[node] = self._others(node)
        if node not in self._fresh:
            self._fresh[node] = frozenset(edge for edge in self.others[node] if not self._is_given(edge))
        return self._fresh[node]

    @cached_property
    def _fresh(self) -> dict[str, frozenset[Edge]]:
        return {}

    def _may_differ(self, node: str) -> bool:
        """Whether a node may have other edges than in every baseline."""
        place = place_of(node)
        return all(places is None or place in places or node in nodes for places, nodes in self._apart)

    @cached_property
    def _apart(self) -> Collection[tuple[frozenset[str] | None, frozenset[str]]]:
        return [self.live.apart.get(base, ALL) for base in self.baselines]

    def _others(self, node: str) -> tuple[Edge, ...]:
        mine, theirs = self.live.edges(node), [base.edges(node) for base in self.baselines]
        if mine in theirs:
            return ()
        steps = {edge.step for edges in theirs for edge in edges}
        return tuple(edge for edge in mine if edge.step not in steps)

    def __call__(self, edge: Edge) -> bool:
        """Whether an edge was."""
        return edge not in self.fresh(edge.tail[0])

    def _is_given(self, edge: Edge) -> bool:
        return all(any(self._agreed(fact, edge) for fact in need) for need in edge.needs)

    def _agreed(self, fact: Fact, edge: Edge) -> bool:
        if fact.domain != STRUCTURE:
            return not self.gained(fact)
        if edge.rule == crossing.EXPOSED:
            return not self.baselines or fact in self._doors
        return not self.baselines or any(self._grown(base, fact, edge) for base in self.baselines)

    @cached_property
    def _doors(self) -> frozenset[Fact]:
        return frozenset(fact for base in self.baselines for fact in crossing.doors(base.results["network"]))

    def _grown(self, base: Graph, fact: Fact, edge: Edge) -> bool:
        """Whether a workload is new and runs as others did at approval: in its namespace, or in all of its peers."""
        namespace = namespace_of(fact.subject)
        places = (namespace,) if namespace in base.of.namespaces else self.peers.get(namespace, ())
        if fact.subject in base.runs(namespace):
            return False
        name = edge.head.rpartition("/")[2]
        return bool(places) and all(
            any(
                name in runs.accounts if edge.rule == crossing.RUNS_AS else bool(runs.escape)
                for runs in base.runs(place).values()
            )
            for place in places
        )
