"""What was agreed to, of the edges of a graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from posture.model import CLUSTER_SCOPE, Through
from posture.rbac import subjects

from . import crossing, structure
from .evaluate import Graph
from .nodes import ACCOUNT, EVERY_NODE, GROUP, LACK, MACHINE, NODE, STRUCTURE, WORKLOAD, Edge, Fact, namespace_of
from .places import ALL, place_of

type Peers = Mapping[str, tuple[str, ...]]
"""{a namespace that is new in live: the namespaces of the baseline that it is judged by}"""
type Need = frozenset[Fact]
type Fresh = Mapping[Edge, frozenset[Need]]
"""Edges that were not agreed to, each with what it lacks."""
_NONE: Fresh = {}


@dataclass(frozen=True, eq=False)
class Agreement:
    """Which edges of a live graph were agreed to.

    An edge of a baseline was. Of another one each need must be given by something that was: by what no domain found
    gained beyond all that was agreed (`gained`), or by what exists and how it runs, where that was so or is growth. In
    `bounded` namespaces a file says what may be held. What a baseline could not read was there as well as not.
    """

    baselines: tuple[Graph, ...]
    live: Graph
    gained: Callable[[Fact], bool]
    peers: Peers
    bounded: frozenset[str] = frozenset()
    others: dict[str, tuple[Edge, ...]] = field(default_factory=dict)
    """The edges that no baseline has, of the nodes that were asked for and may have some."""

    def fresh(self, node: str) -> Fresh:
        """The edges of a node that were not agreed to."""
        known = self._fresh.get(node)
        if known is not None:
            return known
        if node not in self.others:
            if not self._may_differ(node):
                return _NONE
            self.others[node] = self._others(node)
        found = ((edge, frozenset(self._lacking(edge))) for edge in self.others[node])
        self._fresh[node] = {edge: lacks for edge, lacks in found if lacks}
        return self._fresh[node]

    @cached_property
    def _fresh(self) -> dict[str, Fresh]:
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

    def kept(self, node: str) -> tuple[Edge, ...]:
        """The edges of a node; one that was not agreed to takes what it lacks beside, which nobody holds."""
        mine, fresh = self.live.edges(node), self.fresh(node)
        return tuple(_beside(edge, fresh[edge]) if edge in fresh else edge for edge in mine) if fresh else mine

    def lacking(self, edge: Edge) -> tuple[Need, ...]:
        """The needs of an edge that no baseline has which nothing that was agreed to gives."""
        return tuple(self._lacking(edge))

    def _lacking(self, edge: Edge) -> Iterator[Need]:
        yield from (need for need in edge.needs if not any(self._agreed(fact, edge) for fact in need))
        if self.baselines:
            for fact in structure.facts(edge, self.live):
                if not self._agreed(fact, edge):
                    yield frozenset({fact})
            yield from (frozenset({fact}) for fact in structure.opened(edge, self.live, self.baselines)
                        if self.gained(fact))  # fmt: skip

    def _agreed(self, fact: Fact, edge: Edge) -> bool:
        if fact.domain != STRUCTURE:
            return not self.gained(fact)
        return not self.baselines or any(self._was(base, fact, edge) for base in self.baselines)

    # What exists and how it runs ------------------------------------------------------------------------------------

    def _was(self, base: Graph, fact: Fact, edge: Edge) -> bool:
        """Whether a fact of this room held for a baseline, or is growth beside it."""
        kind, _, name = fact.through
        if kind == structure.ESCALATION:
            return name in base.catalogue.all
        key = crossing.key_of_fact(fact)
        if key is not None and any(
            graph.snapshot.gap(key.resource, key.namespace) is not None
            for graph in (base, self.live) if graph.snapshot.get(key) is None
        ):  # fmt: skip
            return True  # it may have been there as well as not
        if kind == "CustomResourceDefinition":
            return base.of.serves(name)
        if fact.subject.startswith(WORKLOAD) and edge.rule != crossing.EXPOSED:
            return self._runs(base, fact, edge)
        if kind == "ServiceAccount" and not self._awaited(base, fact):
            return True
        if kind in ("ClusterRole", "Role") and key is not None:
            old, new = base.snapshot.entry(key), self.live.snapshot.entry(key)
            if old is not None and new is not None and old.digest == new.digest:
                return True
        if edge.rule == crossing.EXPOSED and fact in self._doors:
            return True
        return self._grown(base, fact, edge)

    def _awaited(self, base: Graph, fact: Fact) -> bool:
        """Whether that a ServiceAccount came, or went, gives anybody what a baseline had granted to it already: what is
        granted to it since is a change of its own.
        """
        namespace, name = fact.through[1:]
        was, now = (name in graph.of.accounts.get(namespace, ()) for graph in (base, self.live))
        rbac = base.results["rbac"]
        names = (fact.subject, f"{GROUP}{subjects.SERVICE_ACCOUNTS}:{namespace}")
        waits = any(rbac.own((one, CLUSTER_SCOPE)) or rbac.inside.get(one) for one in names)
        return bool(was != now and (was or waits))

    def _grown(self, base: Graph, fact: Fact, edge: Edge) -> bool:
        """Whether a namespace is new and a file speaks for it, or all of its peers had the same."""
        namespace = namespace_of(fact.subject) or fact.scope
        if namespace in base.of.namespaces:
            return False
        if namespace in self.bounded and edge.rule != crossing.EXPOSED:
            return True
        tail, head, rule = edge.step
        places = self.peers.get(namespace, ())
        return bool(places) and all(
            any(
                one.step == (tuple(structure.moved(node, namespace, place) for node in tail),
                             structure.moved(head, namespace, place), rule)
                for one in base.edges(structure.moved(tail[0], namespace, place))
            )
            for place in places
        )  # fmt: skip

    @cached_property
    def _doors(self) -> frozenset[Fact]:
        return frozenset(fact for base in self.baselines for fact in crossing.doors(base.results["network"]))

    def _runs(self, base: Graph, fact: Fact, edge: Edge) -> bool:
        """Whether a workload did so before, on whatever node, or is new and runs as others did at approval: in its
        namespace, or in all of its peers.
        """
        namespace = namespace_of(fact.subject)
        if fact.subject in base.runs(namespace):
            return _way(edge, namespace) in {_way(one, namespace) for one in base.edges(fact.subject)}
        known = namespace in base.of.namespaces
        if not known and namespace in self.bounded and edge.rule == crossing.RUNS_AS:
            return True
        places = (namespace,) if known else self.peers.get(namespace, ())
        return bool(places) and all(_way(edge, namespace) in self._ways(base, place) for place in places)

    def _ways(self, base: Graph, namespace: str) -> frozenset[tuple[str, str]]:
        """How the workloads of a namespace ran."""
        place = base, namespace
        if place not in self._known_ways:
            edges = (edge for name in base.runs(namespace) for edge in base.edges(name))
            self._known_ways[place] = frozenset(_way(edge, namespace) for edge in edges)
        return self._known_ways[place]

    @cached_property
    def _known_ways(self) -> dict[tuple[Graph, str], frozenset[tuple[str, str]]]:
        return {}


def lack(need: Need) -> str:
    """The node of what is lacking."""
    return f"{LACK}{json.dumps(sorted(need))}"


def need_of(node: str) -> Need:
    """What is lacking, of its node."""
    facts = json.loads(node.removeprefix(LACK))
    return frozenset(Fact(domain, subject, scope, Through(*through)) for domain, subject, scope, through in facts)


def _beside(edge: Edge, lacks: Iterable[Need]) -> Edge:
    return edge._replace(tail=(*edge.tail, *sorted(map(lack, lacks))))


def _way(edge: Edge, namespace: str) -> tuple[str, str]:
    """What running in a way gives, whatever the namespace; which node it is, is for the scheduler to say."""
    head = edge.head
    if head == EVERY_NODE or head.startswith(MACHINE):
        head = NODE
    return edge.rule, head.removeprefix(f"{ACCOUNT}{namespace}/")
