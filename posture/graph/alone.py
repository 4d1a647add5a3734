"""Beside the shortest proof of a new path: what else that was not agreed to opens the same by itself.

Of two changes of which each is enough, closing one closes nothing: both have to be told. What a source comes to by what
was agreed to is known, and so is what it lacks there: only where that alone opens something is a proof looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from .agreement import LACK, Agreement, Need, lack, need_of
from .nodes import CLUSTER_ADMIN, Edge
from .paths import Path, held, proof, targets
from .reach import Reach

TRIED = 20
"""So many proofs are looked for in a run; of what opens more no steps are told."""
type Maker = frozenset[str]
"""What edges lack of what was agreed to, as nodes: those that lack the same are made by the same."""


@dataclass(slots=True)
class Alone:
    """The proofs of a run, of which `left` may still be looked for. `kept` is what is reached by what was agreed to."""

    agreed: Agreement
    kept: Reach
    left: int = TRIED
    _known: dict[str, tuple[Edge, ...]] = field(default_factory=dict)

    def paths(
        self, source: str, told: Collection[Path], before: Collection[str]
    ) -> Iterator[tuple[Path, tuple[Need, ...]]]:
        """Proofs beside those that are `told` of what a source reaches by agreed edges and those of one maker, and did
        not `before`, in a fixed order, each with what it lacks; without edges where none is `left` to be looked for.
        """
        said = {(one.target, self._maker(one)) for one in told}
        makers = {lacks for lacks, _ in self.kept.lacking(source) if self._is_maker(lacks)}
        for maker in sorted(makers, key=lambda maker: (len(maker), sorted(maker))):
            if any((CLUSTER_ADMIN, less) in said for less in makers if less <= maker):
                continue  # it opens all that there is
            reached, found = self.kept.beside(source, maker), dict[str, Edge | None]()
            if reached is None:
                found = self._held(source, maker)
                reached = targets(found)
            for target in reached:
                if target in before or any((target, less) in said for less in makers if less <= maker):
                    continue
                if self.left and not found:
                    found = self._held(source, maker)
                path = _plain(proof(found, source, target)) if self.left else Path(source, target, ())
                self.left -= bool(self.left)
                by = self._maker(path) if path is not None and path.edges else maker
                if path is not None and (target, by) not in said:
                    said.add((target, by))
                    yield path, tuple(map(need_of, sorted(by)))

    def _maker(self, path: Path) -> Maker:
        fresh = (self.agreed.fresh(edge.tail[0]).get(edge, ()) for edge in path.edges)
        return frozenset(lack(need) for lacks in fresh for need in lacks)

    @staticmethod
    def _is_maker(parts: frozenset[str]) -> bool:
        return all(one.startswith(LACK) for one in parts)

    def _held(self, source: str, maker: Maker) -> dict[str, Edge | None]:
        """What a source comes to hold by agreed edges and those of a maker."""
        return held(self._edges, [source, *maker], CLUSTER_ADMIN)

    def _edges(self, node: str) -> tuple[Edge, ...]:
        """The edges of a node, with what they lack, that may lead to something: what was not looked at may."""
        found = self._known.get(node)
        if found is None:
            found = tuple(one for one in self.agreed.kept(node) if self.kept.may_lead(one.head))
            self._known[node] = found
        return found


def _plain(path: Path | None) -> Path | None:
    """A proof by the edges as they are, without what they lack."""
    if path is None:
        return None
    edges = (edge._replace(tail=tuple(one for one in edge.tail if not one.startswith(LACK))) for edge in path.edges)
    return Path(path.source, path.target, tuple(edges))


__all__ = ["TRIED", "Alone"]
