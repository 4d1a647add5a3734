"""Who reaches whom, for all classes at once: cost follows what policies name, not the number of pairs.

For one class and direction nearly all others are strangers, to whom the same happens. Only those that some peer of its
policies may be about are looked at, and those that the same peers are about, once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeGuard

from posture import selectors

from . import addresses
from .addresses import EVERYWHERE, Ranges
from .connectivity import (
    ACCEPTED,
    DENIED,
    STRANGER,
    UNKNOWN,
    Connectivity,
    Outcome,
    Party,
    Profile,
    selects,
    worlds,
)
from .effect import OTHER
from .evaluate import lookup_of
from .gaps import hidden
from .lookup import EVERYONE
from .policies import Block, Direction, Peer, Pods

FEW = 64
"""Classes that are rather asked one by one than looked up at the other end."""
type _Subject = tuple[Profile, tuple[Any, ...]]


class Reach(NamedTuple):
    """What happens in one direction: to strangers, and to the classes that policies name.

    `nowhere` are strangers that no address is known of, which a block may be about. `unsure` are classes of which both
    ends have to be asked together, since they have addresses that blocks tell apart.
    """

    strangers: Outcome
    nowhere: Outcome
    named: Mapping[int, Outcome]
    unsure: frozenset[int]


_HIDDEN = Reach(UNKNOWN, UNKNOWN, {}, frozenset())


class Reaches:
    """All of a result, made when it is asked for."""

    def __init__(self, result: Connectivity) -> None:
        self.of = result
        gaps = bool(result.snapshot.gaps)
        self._hidden = frozenset(name for name in result.spaces if gaps and hidden(result.snapshot, name))
        self._members: dict[str, frozenset[int]] = {}
        self._made: dict[_Subject, Reach] = {}
        self._met: dict[tuple[int, int], Outcome] = {}
        self._reaches: dict[tuple[int, Direction], Reach] = {}
        self._outside: dict[_Subject, list[tuple[Ranges, Outcome]]] = {}
        self._alike: dict[tuple[int, ...], tuple[Mapping[int, frozenset[int]], frozenset[int]]] = {}

    @cached_property
    def places(self) -> Mapping[str, list[int]]:
        """The classes of each namespace."""
        found: dict[str, list[int]] = {}
        for number, one in enumerate(self.of.classes):
            found.setdefault(one.namespace, []).append(number)
        return found

    @cached_property
    def _nodes(self) -> frozenset[int]:
        """Classes in the network of their node."""
        return frozenset(number for number, one in enumerate(self.of.classes) if one.node)

    @cached_property
    def _nowhere(self) -> frozenset[int]:
        """The judged classes that no address is known of."""
        return frozenset(number for number, one in enumerate(self.of.classes) if not one.addresses and not one.node)

    @cached_property
    def _seats(self) -> Sequence[tuple[int, int]]:
        """The addresses of judged classes, sorted, each with its class."""
        return sorted(
            (each, number) for number, one in enumerate(self.of.classes) if not one.node for each in one.addresses
        )

    @cached_property
    def _families(self) -> Sequence[frozenset[int]]:
        """The families of addresses that each class has; none where none is known."""
        return [frozenset(map(addresses.family, one.addresses)) for one in self.of.classes]

    def _atoms(self, marks: tuple[int, ...]) -> tuple[Mapping[int, frozenset[int]], frozenset[int]]:
        """The addresses of each class as far as blocks tell them apart, and the classes that have several of them."""
        if marks not in self._alike:
            found = {
                number: frozenset(addresses.like(marks, one) for one in each.addresses)
                for number, each in enumerate(self.of.classes) if each.addresses
            }  # fmt: skip
            self._alike[marks] = found, frozenset(number for number, each in found.items() if len(each) > 1)
        return self._alike[marks]

    def members(self, peer: Peer) -> frozenset[int]:
        """The judged classes that a peer is, or may be."""
        text = repr(peer)
        if text not in self._members:
            self._members[text] = frozenset(self._found(peer))
        return self._members[text]

    def _found(self, peer: Peer) -> Iterator[int]:
        if isinstance(peer, Pods):
            names = [peer.namespace] if peer.namespaces is None else self.of.namespaces_of(peer.namespaces)
            for name in names:
                for number in self.places.get(name, ()):
                    one = self.of.classes[number]
                    if not one.node and selectors.matches(peer.pods, dict(one.labels)):
                        yield number
        elif self._is_about_pods(peer):
            for first, last in peer.ranges:
                start, end = bisect_left(self._seats, (first, 0)), bisect_left(self._seats, (last + 1, 0))
                yield from (number for _, number in self._seats[start:end])

    def _is_about_pods(self, peer: Peer) -> TypeGuard[Block]:
        """Whether a block may match addresses of pods."""
        return isinstance(peer, Block) and (peer.pods or (peer.pods is None and self.of.pods_by_ip != "no"))

    def reach(self, number: int, direction: Direction) -> Reach:
        """What happens between a class and all others, in one direction. Nothing judges those in a node's network."""
        known = self._reaches.get((number, direction))
        if known is None:
            known = self._reaches[number, direction] = self._known(number, direction)
        return known

    def _known(self, number: int, direction: Direction) -> Reach:
        subject = self.of.classes[number]
        if subject.node:
            return Reach(ACCEPTED, ACCEPTED, {}, frozenset())
        if subject.namespace in self._hidden:
            return _HIDDEN
        profile = self.of.profile(subject, direction)
        place: _Subject = (profile, subject.named if direction == "ingress" else ())
        if place not in self._made:
            self._made[place] = self._reach(number, direction, profile)
        return self._made[place]

    def _reach(self, number: int, direction: Direction, profile: Profile) -> Reach:
        if profile.unknown:
            return _HIDDEN
        rules = [rule for _, rule in profile.rules()]
        peers = list({repr(peer): peer for rule in rules for peer in rule.peers or ()}.values())
        named_by: dict[int, int] = {}
        for bit, peer in enumerate(peers):
            for other in self.members(peer):
                named_by[other] = named_by.get(other, 0) | 1 << bit
        by_address = any(not isinstance(peer, Pods) for peer in peers)
        about_pods = any(map(self._is_about_pods, peers))
        blocks = [peer.ranges for peer in peers if isinstance(peer, Block)]
        atoms, several = self._atoms(addresses.edges(blocks)) if by_address else ({}, frozenset())
        unsure = several if about_pods else several & self._nodes
        names = direction == "egress" and any(rule.ports.named for rule in rules)
        for other in self._nodes if by_address or names else ():
            named_by.setdefault(other, 0)
        if names:
            for other, one in enumerate(self.of.classes):
                if one.named:
                    named_by.setdefault(other, 0)
        subject = self.of.party(self.of.classes[number])
        memo: dict[tuple[Any, ...], Outcome] = {}
        found: dict[int, Outcome] = {}
        for other, bits in named_by.items():
            if other in unsure:
                continue
            one = self.of.classes[other]
            like = bits, one.node, one.named if names else (), atoms.get(other)
            if like not in memo:
                memo[like] = self._once(subject, direction, self._single(other))
            found[other] = memo[like]
        strangers = nowhere = self._once(subject, direction, STRANGER)
        one_of_them = next((other for other in self._nowhere if other not in named_by), None)
        if about_pods and one_of_them is not None:
            nowhere = self._once(subject, direction, self.party(one_of_them))
        return Reach(strangers, nowhere, found, unsure)

    def _once(self, subject: Party, direction: Direction, other: Party) -> Outcome:
        return worlds(lambda world: self.of.end(world, subject, direction, other))

    def party(self, number: int) -> Party:
        """The pods of a class as one end of a connection."""
        return self.of.party(self.of.classes[number])

    def _single(self, number: int) -> Party:
        """The pods of a class at one of its addresses, where all are alike."""
        party = self.party(number)
        return party._replace(address=min(self.of.classes[number].addresses, default=None))

    def outside(self, number: int, direction: Direction) -> list[tuple[Ranges, Outcome]]:
        """What happens between a class and addresses that are no pod's: sets of them to which the same happens.

        Judged at this end alone: where an address belongs to a pod after all, that pod's policies count too.
        """
        subject = self.of.classes[number]
        if subject.node:
            return []
        if subject.namespace in self._hidden:
            return [(EVERYWHERE, UNKNOWN)]
        profile = self.of.profile(subject, direction)
        place: _Subject = (profile, subject.named if direction == "ingress" else ())
        if place not in self._outside:
            rules = [] if profile.unknown else [rule for _, rule in profile.rules()]
            blocks = [peer.ranges for rule in rules for peer in rule.peers or () if isinstance(peer, Block)]
            marks = addresses.edges(blocks)
            found: dict[Outcome, list[tuple[int, int]]] = {}
            for first, after in zip(marks, (*marks[1:], EVERYWHERE[-1][1] + 1), strict=True):
                outcome = self._once(self.party(number), direction, Party(None, address=first))
                found.setdefault(outcome, []).append((first, after - 1))
            self._outside[place] = [(addresses.union(ranges), outcome) for outcome, ranges in found.items()]
        return self._outside[place]

    # Pairs ----------------------------------------------------------------------------------------------------------

    def pairs(self) -> Iterator[tuple[int, int, Outcome]]:
        """Every two classes of which one may reach the other on some port; a class and itself too: it may be two pods.

        What a node sends to its own pods, and a pod to itself, is left out: nothing ever stops it. So is what goes from
        node to node: no policy speaks of it.
        """
        for source in range(len(self.of.classes)):
            for destination, found in self.from_one(source):
                yield source, destination, found

    def from_one(self, source: int) -> Iterator[tuple[int, Outcome]]:
        """The classes that a class may reach, in order."""
        out = self.reach(source, "egress")
        for destination in self._others(source, "egress", out):
            found = self._both(source, destination, out, self.reach(destination, "ingress"))
            if found.accept:
                yield destination, found

    def around(self, number: int) -> Iterator[tuple[int, int, Outcome]]:
        """The pairs of `pairs` that a class is an end of; it and itself comes twice."""
        for destination, found in self.from_one(number):
            yield number, destination, found
        into = self.reach(number, "ingress")
        for source in self._others(number, "ingress", into):
            found = self._both(source, number, self.reach(source, "egress"), into)
            if found.accept:
                yield source, number, found

    def _others(self, number: int, direction: Direction, reach: Reach) -> Iterable[int]:
        """The classes at the other end that both ends may accept, and some more, sorted."""
        if reach.strangers.accept:
            return sorted(self._accepting(number, OTHER[direction]))
        mine = {number for number, one in reach.named.items() if one.accept} | reach.unsure
        if reach.nowhere.accept:
            mine |= self._nowhere - reach.named.keys()
        return sorted(mine if len(mine) < FEW else mine & self._accepting(number, OTHER[direction]))

    def _accepting(self, number: int, direction: Direction) -> frozenset[int]:
        """The classes that may accept a class in one direction, as far as their policies' peers say."""
        one = self.of.classes[number]
        labels = self.of.labels_of(one.namespace)
        names = {one.namespace}
        for peer, using in lookup_of(self.of).naming(labels, dict(one.labels)):
            if peer == EVERYONE or selects(peer, one, labels):
                names.update(using)
        return self._by_default[direction] | {other for name in names for other in self.places.get(name, ())}

    @cached_property
    def _by_default(self) -> Mapping[Direction, frozenset[int]]:
        """The classes that accept in a direction whom no peer of theirs names, or who has some address."""
        found: dict[Direction, set[int]] = {"ingress": set(self._nodes), "egress": set(self._nodes)}
        known: dict[Profile, bool] = {}
        for number, one in enumerate(self.of.classes):
            for direction, numbers in found.items():
                profile = self.of.profile(one, direction)
                if profile not in known:
                    known[profile] = profile.unknown or profile.networks is None or any(
                        not isinstance(peer, Pods) for _, rule in profile.rules() for peer in rule.peers or ()
                    )  # fmt: skip
                if known[profile] or one.namespace in self._hidden:
                    numbers.add(number)
        return {direction: frozenset(numbers) for direction, numbers in found.items()}

    def both(self, source: int, destination: int) -> Outcome:
        """What may go from one class to another."""
        return self._both(source, destination, self.reach(source, "egress"), self.reach(destination, "ingress"))

    def _both(self, source: int, destination: int, out: Reach, into: Reach) -> Outcome:
        ends = self._families[source], self._families[destination]
        if (ends[0] and ends[1] and not ends[0] & ends[1]) or {source, destination} <= self._nodes:
            return DENIED
        hides = out is _HIDDEN or into is _HIDDEN
        if destination in out.unsure or source in into.unsure:
            return UNKNOWN if hides else self.of.between(self.party(source), self.party(destination))
        one, other = self._outcome(out, destination), self._outcome(into, source)
        met = self._met.get((id(one), id(other)))  # few outcomes meet again and again; each is kept with its reach
        if met is None:
            met = self._met[id(one), id(other)] = Outcome(one.accept & other.accept, one.deny | other.deny)
        if not met.accept or hides:
            return met
        if one.accept & one.deny & other.accept & other.deny:  # what nobody knows is the same at both
            return self.of.between(self.party(source), self.party(destination))
        return met

    def _outcome(self, reach: Reach, other: int) -> Outcome:
        found = reach.named.get(other)
        return found or (reach.nowhere if other in self._nowhere else reach.strangers)
