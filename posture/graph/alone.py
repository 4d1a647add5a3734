"""Beside the shortest proof of a new path: what else that was not agreed to opens the same by itself.

Of two changes of which each is enough, closing one closes nothing: both have to be told. Whatever opens a path alone
begins where the source comes by what was agreed to, so that only this border is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .agreement import Agreement, Need
from .nodes import CLUSTER_ADMIN, Edge
from .paths import Edges, Path, held, proof, targets

TRIED = 20
"""So many searches are made in a run."""
type Maker = frozenset[Need]
"""What an edge lacks of what was agreed to: edges that lack the same are made by the same."""


class Sides(NamedTuple):
    """The edges of a node that may lead to a target: those that were agreed to, and the others by what makes them."""

    kept: tuple[Edge, ...]
    made: Mapping[Maker, tuple[Edge, ...]]


@dataclass(slots=True)
class Alone:
    """The searches of a run, of which `left` may still be made. `leads`: whether a node may be on a way to a target."""

    agreed: Agreement
    leads: Callable[[str], bool]
    left: int = TRIED
    _sides: dict[str, Sides] = field(default_factory=dict)

    def paths(self, source: str, told: Collection[Path]) -> Iterator[Path]:
        """Proofs beside those that are `told` of what a source reaches by agreed edges and those of one maker, and does
        not by agreed edges, in a fixed order.
        """
        if self.left <= 0:
            return
        self.left -= 1
        known = held(lambda node: self._of(node).kept, [source])
        makers: dict[Maker, set[str]] = {}
        for node in known:
            for maker, edges in self._of(node).made.items():
                if any(all(one in known for one in edge.tail) for edge in edges):
                    makers.setdefault(maker, set()).add(node)
        said = {(one.target, *self._makers(one)) for one in told}
        for maker in sorted(makers, key=_order)[: self.left]:
            self.left -= 1
            found = held(self._with(maker), sorted(makers[maker]), CLUSTER_ADMIN, known)
            more = [node for node in targets(found) if node not in known and (node, maker) not in said]
            yield from (path for node in more if (path := proof(found, source, node)))

    def _makers(self, path: Path) -> set[Maker]:
        return {frozenset(self.agreed.lacking(one)) for one in path.edges if one in self.agreed.fresh(one.tail[0])}

    def _of(self, node: str) -> Sides:
        if node not in self._sides:
            fresh, made = self.agreed.fresh(node), dict[Maker, tuple[Edge, ...]]()
            mine = [edge for edge in self.agreed.live.edges(node) if self.leads(edge.head)]
            for edge in mine if fresh else ():
                if edge in fresh:
                    maker = frozenset(self.agreed.lacking(edge))
                    made[maker] = (*made.get(maker, ()), edge)
            self._sides[node] = Sides(tuple(edge for edge in mine if edge not in fresh), made)
        return self._sides[node]

    def _with(self, maker: Maker) -> Edges:
        """The edges that were agreed to and those that are made by this."""

        def edges(node: str) -> Iterable[Edge]:
            kept, made = self._of(node)
            return [*(edge for each, its in made.items() if each <= maker for edge in its), *kept] if made else kept

        return edges


def _order(maker: Collection[Need]) -> list[list[tuple[object, ...]]]:
    return sorted(sorted(need) for need in maker)


__all__ = ["TRIED", "Alone"]
