"""Which paths are new: who reaches a target by what was not agreed to, and could not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from posture.rbac import subjects

from .agreement import Agreement, Peers
from .evaluate import Graph
from .nodes import ACCOUNT, CLUSTER_ADMIN, GROUP, OUTSIDE, USER, WORKLOAD, Edge, Fact, is_set
from .paths import Path
from .study import Study, studied

ANONYMOUS, ANYBODY = GROUP + subjects.UNAUTHENTICATED, GROUP + subjects.AUTHENTICATED


class NewPath(NamedTuple):
    """A path that was not there; `fresh` are its edges that were not agreed to, `others` the sources that reach the
    target by the same of them.
    """

    path: Path
    fresh: tuple[Edge, ...]
    others: tuple[str, ...]


def sources(graph: Graph) -> list[str]:
    """Everybody of whom it matters what he reaches, the gravest first."""
    return sorted(everybody(graph), key=order)


def everybody(graph: Graph) -> set[str]:
    """The same, in no order."""
    masters = GROUP + subjects.MASTERS
    named = {subject for subject, _ in graph.results["rbac"].grants}
    found = {name for name in named if name.startswith((USER, GROUP, ACCOUNT)) and not is_set(name) and name != masters}
    found.update((OUTSIDE, ANONYMOUS, ANYBODY))
    for namespace, names in graph.of.accounts.items():
        found.update(f"{ACCOUNT}{namespace}/{name}" for name in names)
    return found.union(*(graph.runs(namespace) for namespace in graph.of.namespaces))


def order(source: str) -> tuple[int, str]:
    """Sources by how little it takes to be one."""
    ranks = {OUTSIDE: 0, ANONYMOUS: 1, ANYBODY: 2}
    rank = ranks.get(source, 3 if source.startswith(WORKLOAD) else 4 if source.startswith(ACCOUNT) else 5)
    return rank, source


def compare(
    baselines: Sequence[Graph], live: Graph, peers: Peers | None = None, gained: Callable[[Fact], bool] = lambda _: True
) -> list[NewPath]:
    """The paths that are new, the gravest sources first: one for those sources that reach the same targets by the same
    new edges. What one of several baselines agrees to is agreed. After an update of the live graph the cost follows
    what it changed.
    """
    found = studied(Agreement(tuple(baselines), live, gained, peers or {}), everybody(live))
    classes: dict[tuple[object, ...], list[str]] = {}
    for name in sorted((name for name in found.sources if _may_gain(found, name)), key=order):
        known = (side.numbers(name) for side in (found.kept, *found.before))
        classes.setdefault((found.now.value(name), *known), []).append(name)
    return [path for names in classes.values() for path in _new(found, names)]


def _may_gain(found: Study, name: str) -> bool:
    """Whether a source reaches a target that it did not."""
    now = found.now.numbers(name)
    return bool(now) and all(not now <= side.numbers(name) for side in (found.kept, *found.before))


def _new(found: Study, names: Sequence[str]) -> Iterator[NewPath]:
    """The new paths of sources that reach the same by the same."""
    first, *others = names
    before = {target for side in (found.kept, *found.before) for target in side.targets(first)}
    new = [] if CLUSTER_ADMIN in before else [one for one in found.now.targets(first) if one not in before]
    for path in found.paths(first, new):
        fresh = tuple(edge for edge in path.edges if edge in found.agreed.fresh(edge.tail[0]))
        yield NewPath(path, fresh, tuple(others))


__all__ = ["ANONYMOUS", "ANYBODY", "Agreement", "NewPath", "compare", "everybody", "order", "sources"]
