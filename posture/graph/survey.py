"""Everybody's paths at once: what would be told twice is told once."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from . import sentences
from .compare import order, sources
from .evaluate import Graph
from .following import EVERYWHERE
from .nodes import CLOUD, CLUSTER_ADMIN, ENGINE, NAMESPACE_ADMIN, NODE, SECRETS, STRUCTURE, Edge
from .paths import Path, held, proof
from .reach import Reach, Value, explored

_RANKS = (CLUSTER_ADMIN, NODE, SECRETS, f"{SECRETS}/", NAMESPACE_ADMIN, ENGINE, CLOUD)
type Nodes = Mapping[str, Sequence[Edge]]


class Found(NamedTuple):
    """A path, and other sources that reach its target in the same way, or on it."""

    path: Path
    others: tuple[str, ...] = ()


def of_everybody(graph: Graph, sink: str = "") -> list[Found]:
    """Paths from every source that matters to every target, or to one sink, the gravest first.

    The shortest chain of single steps is told, or else the shortest proof. With it are told: sources that lie on it,
    and those whose paths have the same steps by roles and policies of the same names, in whatever namespace.
    """
    names = [name for name in sources(graph) if name != sink]
    nodes = explored(graph.edges, names)
    reach = Reach(nodes, {edge for edges in nodes.values() for edge in edges if edge.head == sink})
    classes: dict[Any, list[str]] = {}
    for name in names:
        if reach.value(name):
            classes.setdefault((reach.value(name), _first_steps(nodes[name], name, reach)), []).append(name)
    survey = _Survey(graph, nodes)
    wanted: dict[Value, list[str]] = {}
    for (value, _), (first, *others) in classes.items():
        if value not in wanted:
            wanted[value] = _wanted(reach, first, sink)
        for target in wanted[value]:
            survey.tell(first, others, target)
    return sorted((Found(one, tuple(more)) for one, more in survey.told), key=ease)


class _Survey:
    """The paths that were told so far, each with the other sources."""

    def __init__(self, graph: Graph, nodes: Nodes) -> None:
        self._graph = graph
        self._chains = _Chains(nodes)
        self._shapes: dict[Any, int] = {}
        self._on_path: dict[tuple[str, str], int] = {}
        self._held: tuple[str, dict[str, Edge | None]] = "", {}
        self.told: list[tuple[Path, list[str]]] = []

    def tell(self, first: str, others: Sequence[str], target: str) -> None:
        """A path of sources that begin with the same steps."""
        place = self._on_path.get((first, target))
        if place is not None:
            self.told[place][1].extend((first, *others))
            return
        one = self._chains.path(first, target) or self._proof(first, target)
        if one is None:
            return
        place = self._shapes.setdefault(_shape(one), len(self.told))
        if place == len(self.told):
            self.told.append((one, [*others]))
        else:
            self.told[place][1].extend((first, *others))
        for node in _suffice(one):
            self._on_path.setdefault((node, target), place)

    def _proof(self, source: str, target: str) -> Path | None:
        if self._held[0] != source:
            self._held = source, held(self._graph.edges, [source])
        return to(self._held[1], source, target)


class _Chains:
    """Shortest paths by edges of one tail: the distances to a target serve all sources."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._before: dict[str, list[str]] = {}
        self._far: dict[str, dict[str, int]] = {}
        for node, edges in nodes.items():
            for edge in edges:
                if len(edge.tail) == 1:
                    self._before.setdefault(edge.head, []).append(node)

    def path(self, source: str, target: str) -> Path | None:
        """The shortest chain; of equal ones the first in the order of edges."""
        found = self._to(source, target)
        if found is not None:
            return Path(source, target, found)
        for node in _wider((SECRETS, CLUSTER_ADMIN), target):
            found = self._to(source, node)
            if found is not None:
                return Path(source, target, (*found, implied(node, target)))
        return None

    def _to(self, source: str, target: str) -> tuple[Edge, ...] | None:
        far = self._distances(target)
        if source not in far:
            return None
        edges: list[Edge] = []
        node = source
        while node != target:
            edge = next(one for one in self._nodes[node]
                        if len(one.tail) == 1 and far.get(one.head, -1) == far[node] - 1)  # fmt: skip
            edges.append(edge)
            node = edge.head
        return tuple(edges)

    def _distances(self, target: str) -> Mapping[str, int]:
        if target not in self._far:
            found = self._far[target] = {target: 0}
            frontier = [target]
            while frontier:
                following = dict.fromkeys(
                    node for head in frontier for node in self._before.get(head, ()) if node not in found
                )
                found.update(dict.fromkeys(following, found[frontier[0]] + 1))
                frontier = [*following]
        return self._far[target]


def to(found: Mapping[str, Edge | None], source: str, sink: str) -> Path | None:
    """The path to a sink in what was found held, or to what includes it; None where neither is."""
    if sink in found:
        return proof(found, source, sink)
    wider = _wider(found, sink)
    return proof({**found, sink: implied(wider[0], sink)}, source, sink) if wider else None


def _wider(found: Container[str], sink: str) -> list[str]:
    """What is more than a sink, of what was found: all Secrets, and cluster-admin, which is more than anything."""
    wider = [*([SECRETS] if sink.startswith(f"{SECRETS}/") else []), CLUSTER_ADMIN]
    return [node for node in wider if node in found and node != sink]


def implied(wider: str, sink: str) -> Edge:
    """That who has the one has the other."""
    return Edge((wider,), sink, sentences.IMPLIED if wider == CLUSTER_ADMIN else EVERYWHERE)


def widest(found: Sequence[str]) -> list[str]:
    """Targets, but for Secrets of one namespace where all are among them."""
    return [target for target in found if SECRETS not in found or not target.startswith(f"{SECRETS}/")]


def _wanted(reach: Reach, source: str, sink: str) -> list[str]:
    found = reach.targets(source)
    if not sink:
        return widest(found)
    return [sink] if reach.is_marked(source) or _wider(found, sink) else []


def _first_steps(edges: Iterable[Edge], source: str, reach: Reach) -> frozenset[Any]:
    """The steps with which a source begins, whoever it is: where they lead, and by what."""
    return frozenset(
        (edge.rule, edge.head, tuple(node for node in edge.tail if node != source), _named(edge, places=True))
        for edge in edges if reach.value(edge.head)
    )  # fmt: skip


def _shape(one: Path) -> Any:
    """What makes paths alike: the target, and the steps by roles and policies of the same names."""
    return one.target, tuple((edge.rule, len(edge.tail), _named(edge, places=False)) for edge in one.edges)


def _named(edge: Edge, *, places: bool) -> tuple[tuple[str, ...], ...]:
    """What one would edit of an edge; how a workload runs is its own."""
    facts = {fact for need in edge.needs for fact in need if fact.domain != STRUCTURE}
    return tuple(sorted({
        (fact.domain, fact.through.kind, fact.through.name, fact.through.namespace if places else "") for fact in facts
    }))  # fmt: skip


def _suffice(one: Path) -> Iterator[str]:
    """The nodes of a path from which alone its edges lead to the target."""
    for node in {node: None for edge in one.edges for node in edge.tail}:
        known = {node}
        for edge in one.edges:
            if known.issuperset(edge.tail):
                known.add(edge.head)
        if one.target in known:
            yield node


def ease(found: Found) -> tuple[Any, ...]:
    """Paths by how little it takes to be their source, then by what they reach."""
    source, target = found.path.source, found.path.target
    weights = (number for number, kind in enumerate(_RANKS)
               if target == kind or (kind.endswith("/") and target.startswith(kind)))  # fmt: skip
    rank, name = order(source)
    return min(rank, 3), next(weights, len(_RANKS)), target, rank, name
