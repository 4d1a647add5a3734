"""How many objects have to be edited at the least: proofs of which no two hang on the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from posture.kinds import RBAC
from posture.model import CLUSTER_SCOPE, Key

from .doors import account_of
from .evaluate import ONE_OF, Graph
from .nodes import ACCOUNT, GROUP, USER, Edge, Fact
from .paths import Edges, Path
from .ways import needs, objects


def disjoint(graph: Graph, path_of: Callable[[Edges], Path | None]) -> int | None:
    """A number of objects below which nothing closes all paths; None where no edit at all does. `path_of` finds a path
    by the edges that it is given.

    Why it is a bound: of each proof one fact is chosen for each need. A set of edits that closes all breaks the proof,
    so it takes away one of these facts (a need that is left without any fact is left without the chosen one), and so
    it edits one of the objects that this fact hangs on. No two proofs share such an object, so there are as many edits.
    """
    hanging = _Hanging(graph)
    used: frozenset[Key] = frozenset()
    number = 0
    while True:
        path = path_of(lambda node, taken=used: [one for one in graph.edges(node) if hanging.free(one, taken)])  # type: ignore[misc]
        if path is None:
            return number
        mine = frozenset(key for edge in path.edges for key in hanging.chosen(edge, used))
        if not mine:
            return None
        used |= mine
        number += 1


class _Hanging:
    """What edges hang on."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._facts: dict[Fact, frozenset[Key]] = {}

    def _of(self, fact: Fact) -> frozenset[Key]:
        if fact not in self._facts:
            self._facts[fact] = objects(self._graph, fact)
        return self._facts[fact]

    def free(self, edge: Edge, used: frozenset[Key]) -> bool:
        """Whether an edge holds by objects that are not used yet."""
        return not used & self._itself(edge) and all(
            any(not used & self._of(fact) for fact in need) for need in needs(self._graph, edge)
        )

    def chosen(self, edge: Edge, used: frozenset[Key]) -> Iterable[Key]:
        """The objects of one fact for each need, of those that hang on the fewest."""
        yield from self._itself(edge)
        for need in needs(self._graph, edge):
            free = (self._of(fact) for fact in sorted(need) if not used & self._of(fact))
            yield from min(free, key=len)

    def _itself(self, edge: Edge) -> frozenset[Key]:
        """What an edge hangs on without a need: the grants because of which somebody is one of all."""
        if edge.rule == ONE_OF and edge.head.startswith((USER, GROUP, ACCOUNT)):
            live = self._graph.results["rbac"]
            if self._graph.snapshot.entry(account_of(edge.head)) is not None:
                return frozenset()
            places = (CLUSTER_SCOPE, *(live.inside.get(edge.head) or ()))
            return frozenset(key for scope in places for keys in live.own((edge.head, scope)).values() for key in keys
                             if key.resource.endswith(RBAC))  # fmt: skip
        return frozenset()
