"""Which paths are new: who reaches a target by what was not agreed to, and could not before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from posture.rbac import subjects

from . import crossing
from .evaluate import Graph
from .nodes import ACCOUNT, CLUSTER_ADMIN, GROUP, OUTSIDE, STRUCTURE, USER, WORKLOAD, Edge, Fact, namespace_of
from .paths import Path, held, proof
from .reach import Reach, explored

ANONYMOUS, ANYBODY = GROUP + subjects.UNAUTHENTICATED, GROUP + subjects.AUTHENTICATED
type Peers = Mapping[str, tuple[str, ...]]
"""{a namespace that is new in live: the namespaces of the baseline that it is judged by}"""


class NewPath(NamedTuple):
    """A path that was not there; `fresh` are its edges that were not agreed to, `others` the sources that reach the
    target by the same of them.
    """

    path: Path
    fresh: tuple[Edge, ...]
    others: tuple[str, ...]


def sources(graph: Graph) -> list[str]:
    """Everybody of whom it matters what he reaches, the gravest first."""
    found = {OUTSIDE, ANONYMOUS, ANYBODY, *graph.of.subjects}
    found |= {f"{ACCOUNT}{namespace}/{name}" for namespace, names in graph.of.accounts.items() for name in names}
    found |= {name for namespace in graph.of.namespaces for name in graph.runs(namespace)}
    masters = GROUP + subjects.MASTERS
    return sorted((name for name in found if name != masters and _is_somebody(name)), key=order)


def _is_somebody(name: str) -> bool:
    return name == OUTSIDE or name.startswith((USER, GROUP, ACCOUNT, WORKLOAD))


def order(source: str) -> tuple[int, str]:
    """Sources by how little it takes to be one."""
    ranks = {OUTSIDE: 0, ANONYMOUS: 1, ANYBODY: 2}
    rank = ranks.get(source, 3 if source.startswith(WORKLOAD) else 4 if source.startswith(ACCOUNT) else 5)
    return rank, source


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

    def __call__(self, edge: Edge) -> bool:
        """Whether an edge was."""
        node = edge.tail[0]
        if any(base.edges(node) is self.live.edges(node) or edge.step in self._steps(base, node)
               for base in self.baselines):  # fmt: skip
            return True
        return all(any(self._agreed(fact, edge) for fact in need) for need in edge.needs)

    def _steps(self, base: Graph, node: str) -> Collection[tuple[tuple[str, ...], str, str]]:
        return {one.step for one in base.edges(node)}

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


def compare(
    baselines: Sequence[Graph], live: Graph, peers: Peers | None = None, gained: Callable[[Fact], bool] = lambda _: True
) -> list[NewPath]:
    """The paths that are new, the gravest sources first: one for those sources that reach the same targets by the same
    new edges. What one of several baselines agrees to is agreed.
    """
    agreed = Agreement(tuple(baselines), live, gained, peers or {})
    everybody = sources(live)
    nodes = explored(live.edges, everybody)
    fresh = frozenset(edge for edges in nodes.values() for edge in edges if not agreed(edge))
    if not fresh:
        return []
    before = [Reach(explored(base.edges, [name for name in everybody if name in nodes])) for base in baselines]
    kept, now = Reach(nodes, lambda edge: edge not in fresh), Reach(nodes, None, sorted(fresh))
    classes: dict[tuple[int, ...], list[str]] = {}
    for name in everybody:
        value = now.value(name)
        if value & now.marked:
            classes.setdefault((value, *(side.value(name) for side in (kept, *before))), []).append(name)
    return [*_new(live, classes, now, (kept, *before), fresh)]


def _new(
    live: Graph, classes: Mapping[tuple[int, ...], list[str]], now: Reach, known: Sequence[Reach],
    fresh: frozenset[Edge],
) -> Iterable[NewPath]:  # fmt: skip
    for names in classes.values():
        first, *others = names
        before = {target for side in known for target in side.targets(first)}
        new = [] if CLUSTER_ADMIN in before else [one for one in now.targets(first) if one not in before]
        found = held(live.edges, [first]) if new else {}
        for target in new:
            path = proof(found, first, target)
            if path is not None:
                yield NewPath(path, tuple(edge for edge in path.edges if edge in fresh), tuple(others))


__all__ = ["ANONYMOUS", "ANYBODY", "Agreement", "NewPath", "compare", "order", "sources"]
