"""What a live graph and its baselines reach, kept with the live graph so that an update of it costs what it changes.

Three states are held against each other: the live graph (`now`), what of it was agreed to (`kept`), and each baseline
(`before`). The first is made from nothing once, and the others are updates of it, as it is itself after a change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from .agreement import Agreement
from .alone import Opened
from .evaluate import Graph
from .nodes import Edge
from .paths import Path, held, proof
from .places import ALL, NOTHING, Gone, nodes_of
from .reach import Reach


@dataclass(frozen=True, eq=False)
class Study:
    """The result: of whom it matters (`sources`) what he reaches in each state, and the paths that were asked for."""

    agreed: Agreement
    sources: Collection[str]
    now: Reach
    kept: Reach
    before: tuple[Reach, ...]
    known: dict[tuple[str, str], Path] = field(default_factory=dict)
    opened: Opened = field(default_factory=Opened)
    """What each thing that was not agreed to opens by itself."""
    _leads: dict[tuple[str, bool], Callable[[str], bool]] = field(default_factory=dict)

    def paths(self, source: str, targets: Collection[str]) -> Iterator[Path]:
        """Proofs that a source reaches some targets: the shortest, of those without AND nodes where there are any."""
        for target in targets:
            if (source, target) not in self.known:
                path = self._path(source, target)
                if path is not None:
                    self.known[source, target] = path
            if (source, target) in self.known:
                yield self.known[source, target]

    def _path(self, source: str, target: str) -> Path | None:
        live = self.agreed.live
        leads = self._towards(target, alone=self.now.reaches_alone(source, target))

        def edges(node: str) -> Iterator[Edge]:
            return (edge for edge in live.edges(node) if leads(edge.head))

        return proof(held(edges, [source], target), source, target)

    def _towards(self, target: str, *, alone: bool) -> Callable[[str], bool]:
        place = target, alone
        if place not in self._leads:
            self._leads[place] = self.now.towards(target, alone=alone)
        return self._leads[place]


def studied(agreed: Agreement, sources: Collection[str]) -> Study:
    """The states of a live graph; an update of those of the graph that it was made from, where these are known."""
    live, key = agreed.live, tuple(map(id, agreed.baselines))
    old, since = live.studies.get(key, (None, ALL))
    found = _made(agreed, sources) if old is None else _updated(old, since, agreed, sources)
    live.studies[key] = found, NOTHING
    return found


def _made(agreed: Agreement, sources: Collection[str]) -> Study:
    now = Reach().updated(agreed.live.edges, (), sources, agreed.fresh)
    fresh = [node for node in now if agreed.fresh(node)]
    kept = now.updated(agreed.kept, fresh, sources)
    before = (now.updated(base.edges, _apart(now, agreed.live, base), sources) for base in agreed.baselines)
    return Study(agreed, sources, now, kept, tuple(before))


def _updated(old: Study, since: Gone, agreed: Agreement, sources: Collection[str]) -> Study:
    was = old.agreed
    lost = {*nodes_of(was.live.known, since)}
    agreed.others.update((node, edges) for node, edges in was.others.items() if node not in lost)
    changed = lost | {node for node in agreed.others if agreed.fresh(node) != was.fresh(node)}
    more = [name for name in sources if name not in old.sources]
    now = old.now.updated(agreed.live.edges, changed, more, agreed.fresh)
    kept = old.kept.updated(agreed.kept, changed, more)
    before = (
        side.updated(base.edges, (), more) if more else side
        for side, base in zip(old.before, agreed.baselines, strict=True)
    )
    known = {
        (source, target): path for (source, target), path in old.known.items()
        if now.is_alone(source) and all(len(edge.tail) == 1 for edge in path.edges)
    }  # fmt: skip
    differ = [node for node in changed if was.kept(node) != agreed.kept(node)]
    opened = old.opened.after(old.kept, kept, differ, agreed.kept)
    return Study(agreed, sources, now, kept, tuple(before), known, opened)


def _apart(now: Reach, live: Graph, base: Graph) -> Iterable[str]:
    """The nodes that may have other edges in a baseline."""
    lost = live.apart.get(base, ALL)
    return now if lost.places is None else nodes_of(live.known, lost)
