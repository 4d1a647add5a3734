"""Who of those that are there can use what one end allows: the other end has to allow it too."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from . import evaluate as updates
from .addresses import EVERYWHERE
from .connectivity import Connectivity, Space, selects
from .endpoints import Endpoint, namespace_of
from .lookup import opened
from .policies import Direction
from .regions import Piece, Term, Workload, has, holds

OTHER: dict[Direction, Direction] = {"ingress": "egress", "egress": "ingress"}


class Ends:
    """The other ends of one result; what is the same for many questions is worked out once."""

    def __init__(self, result: Connectivity) -> None:
        self.of = result
        self._open: dict[tuple[Term, Direction], list[str]] = {}
        self._sets: dict[tuple[Term, Direction], frozenset[str]] = {}

    def users(self, one: Endpoint, direction: Direction, piece: Piece, limit: int = 0) -> list[str]:
        """The workloads that can use a piece of what a class allows, sorted; no more than `limit`, if it is given.

        A class itself counts as its own user only where it is several pods, which nobody knows: it does not count.
        """
        found = self._users(one, direction, piece, every=not limit)
        return sorted(islice(found, limit) if limit else found)

    def _users(self, one: Endpoint, direction: Direction, piece: Piece, *, every: bool) -> Iterator[str]:
        if isinstance(piece.who, Workload) and self._uses_workload(one, direction, piece, piece.who.name):
            yield piece.who.name
        if not isinstance(piece.who, Term):
            return
        found = {one.workload}
        for name in self._free(one, direction, piece, every=every):
            if name not in found:
                found.add(name)
                yield name
        yield from self._judged(one, direction, piece, found)

    def everyone(self, one: Endpoint, direction: Direction, piece: Piece) -> frozenset[str]:
        """All `users`, and perhaps the class itself. Where nothing judges them it is one set for all who ask."""
        if not isinstance(piece.who, Term) or piece.ranges != EVERYWHERE or piece.ports.named:
            return frozenset(self.users(one, direction, piece))
        place = piece.who, OTHER[direction]
        if place not in self._sets:
            self._sets[place] = frozenset(self._opened(*place, every=True))
        more = frozenset(self._judged(one, direction, piece, self._sets[place]))
        return self._sets[place] | more if more else self._sets[place]

    def _judged(self, one: Endpoint, direction: Direction, piece: Piece, known: Collection[str]) -> Iterator[str]:
        """The workloads that can use a piece though policies judge them, but for those that are known."""
        assert isinstance(piece.who, Term)
        found = {one.workload}
        spaces = Term(piece.who.part(pods=False))
        names = updates.lookup_of(self.of).meant(piece.who)
        named = (self.of.spaces[name] for name in names or () if name in self.of.spaces)
        for space in self._candidates(one, OTHER[direction]) if names is None else named:
            allowing: dict[tuple[Any, ...], bool] = {}
            for other in space.classes if holds(spaces, space.labels, {}) else ():
                profile = space.profile(other, OTHER[direction])
                if other.workload in found or other.workload in known or other.node or profile.empty:
                    continue
                if not has(piece, space.labels, dict(other.labels), other.addresses):
                    continue
                alike = id(profile), other.named, other.addresses
                if alike not in allowing:
                    allowing[alike] = self._allows(one, direction, piece, other)
                if allowing[alike]:
                    found.add(other.workload)
                    yield other.workload

    def _uses_workload(self, one: Endpoint, direction: Direction, piece: Piece, name: str) -> bool:
        space = self.of.spaces.get(namespace_of(name))
        return space is not None and any(
            other.workload == name and self._allows(one, direction, piece, other) for other in space.classes
        )

    def _allows(self, one: Endpoint, direction: Direction, piece: Piece, other: Endpoint) -> bool:
        """Whether the other end may allow some of the ports."""
        mine, theirs = self.of.party(one), self.of.party(other)
        source, target = (theirs, mine) if direction == "ingress" else (mine, theirs)
        ports = piece.ports.at(one if direction == "ingress" else other)
        return bool(ports and self.of.between(source, target).accept & ports)

    def _free(self, one: Endpoint, direction: Direction, piece: Piece, *, every: bool) -> Iterable[str]:
        """The workloads of a piece of whose own end nothing judges."""
        assert isinstance(piece.who, Term)
        if piece.ranges == EVERYWHERE and not piece.ports.named:
            return self._opened(piece.who, OTHER[direction], every=every)
        return (
            other.workload for space in self._unjudged(piece.who, OTHER[direction])
            for other in opened(space, OTHER[direction])
            if has(piece, space.labels, dict(other.labels), other.addresses)
            and piece.ports.at(one if direction == "ingress" else other)
        )  # fmt: skip

    def _unjudged(self, term: Term, direction: Direction) -> Iterator[Space]:
        """The namespaces that a term may be about, with pods of which nothing judges a direction."""
        names = [term.namespace] if term.namespace else updates.lookup_of(self.of).unjudged(direction)
        return (self.of.spaces[name] for name in names if name in self.of.spaces)

    def _opened(self, term: Term, direction: Direction, *, every: bool) -> Iterable[str]:
        """The workloads of a term of which nothing judges this direction."""
        place = term, direction
        found = (one.workload for space in self._unjudged(term, direction) for one in opened(space, direction)
                 if holds(term, space.labels, dict(one.labels)))  # fmt: skip
        if every and place not in self._open:
            self._open[place] = sorted(found)
        return self._open.get(place, found)

    def _candidates(self, one: Endpoint, direction: Direction) -> Iterator[Space]:
        """The namespaces with a policy that may let some of their pods reach a class, or be reached by it; its own
        first, and last those that need not name it.
        """
        labels, seen = self.of.labels_of(one.namespace), {one.namespace}
        yield self.of.spaces[one.namespace]
        for peer, using in updates.lookup_of(self.of).naming(labels, dict(one.labels)):
            if selects(peer, one, labels):
                for name in using:
                    if name not in seen:
                        seen.add(name)
                        yield self.of.spaces[name]
        for name in updates.lookup_of(self.of).unnamed(direction, one.addresses, self.of.pods_by_ip):
            if name not in seen:
                seen.add(name)
                yield self.of.spaces[name]


def ends(result: Connectivity) -> Ends:
    """The other ends of a result; made once."""
    found = result.__dict__.get("_ends")
    if found is None:
        found = result.__dict__["_ends"] = Ends(result)
    return found
