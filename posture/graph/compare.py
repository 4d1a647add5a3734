"""Which paths are new: who reaches a target by what was not agreed to, and could not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from posture.rbac import subjects

from .agreement import Agreement, Need, Peers
from .alone import Alone
from .evaluate import Graph
from .nodes import ACCOUNT, CLUSTER_ADMIN, GROUP, OUTSIDE, USER, WORKLOAD, Edge, Fact, is_set
from .paths import Path
from .study import Study, studied

ANONYMOUS, ANYBODY = GROUP + subjects.UNAUTHENTICATED, GROUP + subjects.AUTHENTICATED
NOBODY = USER + subjects.ANONYMOUS
"""Whoever sends a request without a credential, by the user's name; ANONYMOUS is the group that he is in."""
EASY = {OUTSIDE: 0, ANONYMOUS: 1, NOBODY: 2, ANYBODY: 3}
"""Whom anybody is or may become, the easiest first."""


class NewPath(NamedTuple):
    """A path that was not there; `fresh` are its edges that were not agreed to, `lacking` what of their needs was not,
    `others` the sources that reach the target by the same edges. Of a path of which no proof was looked for there are
    no edges, but what it lacks.
    """

    path: Path
    fresh: tuple[Edge, ...]
    lacking: tuple[Need, ...]
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
    rank = EASY.get(source, 4 if source.startswith(WORKLOAD) else 5 if source.startswith(ACCOUNT) else 6)
    return rank, source


def compare(
    baselines: Sequence[Graph], live: Graph, peers: Peers | None = None,
    gained: Callable[[Fact], bool] = lambda _: True, bounded: frozenset[str] = frozenset(),
) -> list[NewPath]:  # fmt: skip
    """The paths that are new, the gravest sources first: one for those sources that reach the same targets by the same
    new edges, and one more for each other thing that opens the same alone. What one of several baselines agrees to is
    agreed; in `bounded` namespaces a file says what may be held. After an update of the live graph the cost follows
    what it changed.
    """
    found = studied(Agreement(tuple(baselines), live, gained, peers or {}, bounded), everybody(live))
    classes: dict[tuple[object, ...], list[str]] = {}
    for name in sorted((name for name in found.sources if _may_gain(found, name)), key=order):
        known = (side.numbers(name) for side in (found.kept, *found.before))
        classes.setdefault((found.now.told(name), *known), []).append(name)
    alone = Alone(found.agreed, found.kept, found.opened)
    return [path for names in classes.values() for path in _new(found, names, alone)]


def _may_gain(found: Study, name: str) -> bool:
    """Whether a source reaches a target that it did not."""
    value, sides = found.now.value(name), (found.kept, *found.before)
    if not value or any(side.value(name) is value for side in sides):
        return False
    now = found.now.numbers(name)
    return bool(now) and all(not now <= side.numbers(name) for side in sides)


def _new(found: Study, names: Sequence[str], alone: Alone) -> Iterator[NewPath]:
    """The new paths of sources that reach the same by the same."""
    first, *others = names
    before = {target for side in (found.kept, *found.before) for target in side.targets(first)}
    if CLUSTER_ADMIN in before:
        return
    told = [*found.paths(first, [one for one in found.now.targets(first) if one not in before])]
    for path in told:
        lacking = dict.fromkeys(need for edge in _fresh(found.agreed, path) for need in found.agreed.lacking(edge))
        yield NewPath(path, _fresh(found.agreed, path), tuple(lacking), tuple(others))
    for path, lacks in alone.paths(first, told, before):
        yield NewPath(path, _fresh(found.agreed, path), lacks, tuple(others))


def _fresh(agreed: Agreement, path: Path) -> tuple[Edge, ...]:
    return tuple(edge for edge in path.edges if edge in agreed.fresh(edge.tail[0]))


__all__ = ["ANONYMOUS", "ANYBODY", "EASY", "NOBODY", "Agreement", "NewPath", "compare", "everybody", "order", "sources"]
