"""Which targets each source reaches: of all sources at once, where a search from each would cost its whole reach.

A set of targets is an integer, one bit a target. Edges of one tail node carry such sets backwards through the
components of the graph; what an AND node needs has bits of its own, so that a source whose set holds all of a tail
also holds all that is behind the head. That is exact: what is behind two nodes together is what is behind either, and
what AND nodes add to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from .nodes import CLUSTER_ADMIN, Edge, is_target
from .paths import Edges


class _And(NamedTuple):
    """An edge with several tail nodes: all their bits, the head, and the edge's own mark."""

    mask: int
    head: str
    mark: int


def explored(edges: Edges, sources: Iterable[str]) -> dict[str, tuple[Edge, ...]]:
    """Every node that may be reached from the sources, were each AND node an OR, with its edges."""
    found: dict[str, tuple[Edge, ...]] = {}
    pending = [*sources]
    while pending:
        node = pending.pop()
        if node in found:
            continue
        found[node] = () if node == CLUSTER_ADMIN else tuple(edges(node))
        pending += [edge.head for edge in found[node] if edge.head not in found]
    return found


class Reach:
    """What each of some nodes reaches by edges that a condition lets pass; `marked` edges are remembered beside it."""

    def __init__(
        self, nodes: Mapping[str, Sequence[Edge]], passing: Callable[[Edge], bool] | None = None,
        marked: Iterable[Edge] = (),
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._passing = passing
        self._marks: dict[Edge, int] = {}
        self._names: list[str | Edge] = []
        self._bits: dict[str, int] = {}
        for edge in marked:
            self._marks[edge] = 1 << len(self._names)
            self._names.append(edge)
        self._closed: dict[int, int] = {}
        self.marked = (1 << len(self._names)) - 1
        """The bits of marked edges in a value."""

    def targets(self, node: str) -> list[str]:
        """The targets that a node reaches, sorted; who reaches cluster-admin reaches all, and it stands for them."""
        found = sorted(name for name in self._of(node) if isinstance(name, str) and is_target(name))
        return [CLUSTER_ADMIN] if CLUSTER_ADMIN in found else found

    def marks(self, node: str) -> list[Edge]:
        """The marked edges on the way of a node."""
        return [name for name in self._of(node) if isinstance(name, Edge)]

    def value(self, node: str) -> int:
        """All that a node reaches as one number: equal for nodes that reach the same by the same marked edges."""
        plain = self._plain.get(node, 0)
        if plain not in self._closed:
            self._closed[plain] = self._close(plain)
        return self._closed[plain]

    def _of(self, node: str) -> Iterable[str | Edge]:
        return self.named(self.value(node))

    def named(self, value: int) -> Iterable[str | Edge]:
        """The targets, parts of AND nodes and marked edges in a value."""
        while value:
            low = value & -value
            yield self._names[low.bit_length() - 1]
            value ^= low

    def _bit(self, node: str) -> int:
        if node not in self._bits:
            self._bits[node] = 1 << len(self._names)
            self._names.append(node)
        return self._bits[node]

    @cached_property
    def _ands(self) -> Mapping[int, list[_And]]:
        """The AND nodes by the bit of their first tail node."""
        found: dict[int, list[_And]] = {}
        edges = {edge for its in self._nodes.values() for edge in its if len(edge.tail) > 1 and self._lets(edge)}
        for edge in sorted(edges):
            bits = [self._bit(node) for node in edge.tail]
            found.setdefault(bits[0], []).append(_And(sum(bits), edge.head, self._marks.get(edge, 0)))
        return found

    def _lets(self, edge: Edge) -> bool:
        return self._passing is None or self._passing(edge)

    @cached_property
    def _plain(self) -> Mapping[str, int]:
        """What each node reaches without any AND node; nodes that reach nothing are left out."""
        import networkx as nx  # noqa: PLC0415 - costs a tenth of a second, for commands that never ask

        self._ands  # noqa: B018 - their parts have bits
        own = {node: self._bits.get(node, 0) for node in self._nodes}
        graph: Any = nx.DiGraph()
        graph.add_nodes_from(self._nodes)
        for node, edges in self._nodes.items():
            if is_target(node):
                own[node] |= self._bit(node)
            mine = [edge for edge in edges if len(edge.tail) == 1 and self._lets(edge)]
            graph.add_edges_from((node, edge.head) for edge in mine)
            if self._marks:
                own[node] |= sum({self._marks[edge] for edge in mine if edge in self._marks})
        found: dict[str, int] = {}
        same: dict[int, int] = {}
        for members in nx.strongly_connected_components(graph):  # what lies behind others comes before them
            value = 0
            for node in members:
                value |= own[node]
                for below in graph.succ[node]:
                    value |= found[below] if below not in members else 0
            value = same.setdefault(value, value)
            found.update(dict.fromkeys(members, value))
        return found

    def _close(self, value: int) -> int:
        """All that is reached when AND nodes count."""
        firsts = self._firsts
        done, pending = 0, value & firsts
        waiting: dict[int, None] = {}
        while True:
            while pending:
                low = pending & -pending
                pending ^= low
                waiting[low] = None
            done |= value & firsts
            before = value
            for bit in waiting:
                for one in self._ands[bit]:
                    if one.mask & value == one.mask:
                        value |= self._plain.get(one.head, 0) | one.mark
            if value == before:
                return value
            pending = value & firsts & ~done

    @cached_property
    def _firsts(self) -> int:
        return sum(self._ands)
