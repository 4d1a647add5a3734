"""Who of those that are there can use what one end allows: the other end has to allow it too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import evaluate as updates
from .connectivity import Connectivity, Outcome, Party, Space, selects, worlds
from .endpoints import Endpoint, namespace_of
from .policies import Direction
from .ports import span
from .regions import Piece, Term, Workload, has, holds

OTHER: dict[Direction, Direction] = {"ingress": "egress", "egress": "ingress"}


class Ends:
    """The other ends of one result; what is the same for many questions is worked out once."""

    def __init__(self, result: Connectivity) -> None:
        self.of = result
        self._open: dict[tuple[Term, Direction], list[str]] = {}

    def users(self, one: Endpoint, direction: Direction, piece: Piece, limit: int = 0) -> list[str]:
        """The workloads that can use a piece of what a class allows, sorted; no more than `limit`, if it is given.

        A class itself counts as its own user only where it is several pods, which nobody knows: it does not count.
        """
        if isinstance(piece.who, Workload):
            found = {piece.who.name} if self._uses_workload(one, direction, piece, piece.who.name) else set()
            return sorted(found)
        if not isinstance(piece.who, Term):
            return []
        found = {name for name in self._opened(piece.who, OTHER[direction]) if name != one.workload}
        if limit and len(found) >= limit:
            return sorted(found)[:limit]
        for space in self._candidates(one):
            for other in space.classes:
                if other.workload in found or other.workload == one.workload or other.node:
                    continue
                if space.profile(other, OTHER[direction]).empty:
                    continue
                if not has(piece, space.labels, dict(other.labels), other.addresses):
                    continue
                if self._allows(one, direction, piece, other):
                    found.add(other.workload)
                    if limit and len(found) >= limit:
                        return sorted(found)
        return sorted(found)

    def _uses_workload(self, one: Endpoint, direction: Direction, piece: Piece, name: str) -> bool:
        space = self.of.spaces.get(namespace_of(name))
        return space is not None and any(
            other.workload == name and self._allows(one, direction, piece, other) for other in space.classes
        )

    def _allows(self, one: Endpoint, direction: Direction, piece: Piece, other: Endpoint) -> bool:
        """Whether the other end may allow some of the ports."""
        ports = piece.ports.numbered
        target = one if direction == "ingress" else other
        for name, protocol in piece.ports.named:
            for its, number in target.port(name, protocol):
                ports |= span(its, number, number)
        party, subject = self.of.party(one), self.of.party(other)
        return bool(_end(self.of, subject, OTHER[direction], party).accept & ports)

    def _opened(self, term: Term, direction: Direction) -> list[str]:
        """The workloads of a term of which nothing judges this direction."""
        place = term, direction
        if place not in self._open:
            name = term.namespace
            spaces: Sequence[Space | None] = [self.of.spaces.get(name)] if name else [*self.of.spaces.values()]
            found = {
                one.workload
                for space in spaces if space is not None
                for one in space.classes
                if not one.node and space.profile(one, direction).empty and holds(term, space.labels, dict(one.labels))
            }  # fmt: skip
            self._open[place] = sorted(found)
        return self._open[place]

    def _candidates(self, one: Endpoint) -> Iterator[Space]:
        """The namespaces with a policy that may let some of their pods reach a class, or be reached by it."""
        names = {one.namespace}
        for peer, using in updates.far(self.of):
            if selects(peer, one, self.of.labels_of(one.namespace)):
                names |= using
        return (self.of.spaces[name] for name in sorted(names) if name in self.of.spaces)


def _end(result: Connectivity, subject: Party, direction: Direction, other: Party) -> Outcome:
    return worlds(lambda world: result.end(world, subject, direction, other))


def ends(result: Connectivity) -> Ends:
    """The other ends of a result; made once."""
    found = result.__dict__.get("_ends")
    if found is None:
        found = result.__dict__["_ends"] = Ends(result)
    return found
