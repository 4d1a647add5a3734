"""Beside the shortest proof of a new path: what else that was not agreed to opens the same by itself.

Of two changes of which each is enough, closing one closes nothing: both have to be told. What a source comes to by what
was agreed to is known, and so is what it lacks there: only where that alone opens something is a proof looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from .agreement import Agreement, Need, lack, need_of
from .nodes import CLUSTER_ADMIN, LACK
from .paths import Edges, Path, nearest, proof
from .reach import Beside, Beyond, Reach

TRIED = 20
"""So many proofs are told in a run; of what opens more no steps are."""
type Maker = frozenset[str]
"""What edges lack of what was agreed to, as nodes: those that lack the same are made by the same."""


@dataclass(slots=True)
class Opened:
    """What was found out of what was agreed to, as far as it was asked for, each with the nodes that it rests upon."""

    makers: dict[str, tuple[list[Maker], frozenset[str]]] = field(default_factory=dict)
    """Of a source, those of which it lacks nothing else, the smallest first."""
    targets: dict[tuple[str, Maker], Beside] = field(default_factory=dict)
    """What it reaches with one of them."""
    proofs: dict[tuple[str, Maker, str], tuple[Path | None, frozenset[str]]] = field(default_factory=dict)
    """The shortest proof of it."""
    far: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many edges there are at least from nodes to a target (`Reach.far`)."""

    beyond: dict[frozenset[str], Beyond] = field(default_factory=dict)
    """What `kept` did not look at behind some nodes."""

    def after(self, old: Reach, kept: Reach, changed: Collection[str], edges: Edges) -> Opened:
        """What is still so after an update, of which `changed` are all nodes that have other edges."""
        beyond = {node for node in changed if node not in old}
        new = {node for node in kept.touched if node not in old}

        def stays(rests: frozenset[str]) -> bool:
            return kept.moved.isdisjoint(rests) and beyond.isdisjoint(rests)

        far = {target: its for target, its in self.far.items() if _is_least(its, kept, changed, edges)}
        for its in far.values():
            for node in new:
                its.setdefault(node, 1)
        return Opened(
            {place: found for place, found in self.makers.items() if stays(found[1])},
            {place: found for place, found in self.targets.items() if stays(found.rests)},
            {place: found for place, found in self.proofs.items()
             if place[2] in far and found[1].isdisjoint(changed)},
            far,
            {heads: found for heads, found in self.beyond.items() if found.nodes.isdisjoint(beyond | new)},
        )  # fmt: skip


def _is_least(far: Mapping[str, int], kept: Reach, changed: Iterable[str], edges: Edges) -> bool:
    """Whether distances that were at least so long still are: no edge that is new is a short cut."""

    def least(node: str) -> float:
        return far.get(node, inf if node in kept else 1)

    joined = (edge for node in changed for edge in edges(node))
    return all(least(tail) <= 1 + least(edge.head) for edge in joined for tail in edge.tail if tail in kept)


@dataclass(slots=True)
class Alone:
    """The proofs of a run, of which `left` may still be told. `kept` is what is reached by what was agreed to, `known`
    what was found out of it.
    """

    agreed: Agreement
    kept: Reach
    known: Opened
    left: int = TRIED

    def paths(
        self, source: str, told: Collection[Path], before: Collection[str]
    ) -> Iterator[tuple[Path, tuple[Need, ...]]]:
        """Proofs beside those that are `told` of what a source reaches by agreed edges and those of one maker, and did
        not `before`, in a fixed order, each with what it lacks; without edges where none is `left` to be told.
        """
        said = {(one.target, self._maker(one)) for one in told}
        makers = self._makers(source)
        for maker in makers:
            if any((CLUSTER_ADMIN, less) in said for less in makers if less <= maker):
                continue  # it opens all that there is
            for target in self._targets(source, maker):
                if target in before or any((target, less) in said for less in makers if less <= maker):
                    continue
                path = self._path(source, maker, target) if self.left else Path(source, target, ())
                self.left -= bool(self.left)
                by = self._maker(path) if path is not None and path.edges else maker
                if path is not None and (target, by) not in said:
                    said.add((target, by))
                    yield path, tuple(map(need_of, sorted(by)))

    def _maker(self, path: Path) -> Maker:
        fresh = (self.agreed.fresh(edge.tail[0]).get(edge, ()) for edge in path.edges)
        return frozenset(lack(need) for lacks in fresh for need in lacks)

    def _makers(self, source: str) -> list[Maker]:
        known = self.known.makers
        if source not in known:
            lacking, rests = self.kept.lacking(source)
            known[source] = sorted(lacking, key=lambda maker: (len(maker), sorted(maker))), rests
        return known[source][0]

    def _targets(self, source: str, maker: Maker) -> list[str]:
        known, place = self.known.targets, (source, maker)
        if place not in known:
            known[place] = self.kept.beside(source, maker, self.agreed.kept, self.known.beyond)
        return known[place].targets

    def _path(self, source: str, maker: Maker, target: str) -> Path | None:
        known, place = self.known.proofs, (source, maker, target)
        if place not in known:
            if target not in self.known.far:
                self.known.far[target] = self.kept.far(target)
            far, kept = self.known.far[target], self.kept
            found, followed = nearest(
                self.agreed.kept, [source, *maker], target, lambda node: far.get(node, inf) if node in kept else 1
            )
            known[place] = _plain(proof(found, source, target)), frozenset(followed)
        return known[place][0]


def _plain(path: Path | None) -> Path | None:
    """A proof by the edges as they are, without what they lack."""
    if path is None:
        return None
    edges = (edge._replace(tail=tuple(one for one in edge.tail if not one.startswith(LACK))) for edge in path.edges)
    return Path(path.source, path.target, tuple(edges))


__all__ = ["TRIED", "Alone", "Opened"]
