"""Who reaches whom, for all classes at once: cost follows what policies name, not the number of pairs.

For one class and direction nearly all others are strangers, to whom the same happens. Only those that some peer of its
policies may be about are looked at, and those that the same peers are about, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from posture import selectors

from . import addresses
from .addresses import EVERYWHERE, Ranges
from .connectivity import ACCEPTED, DENIED, STRANGER, UNKNOWN, Connectivity, Outcome, Party, Profile, worlds
from .policies import Block, Direction, Peer, Pods

type _Subject = tuple[Profile, tuple[Any, ...]]


class Reach(NamedTuple):
    """What happens in one direction: to strangers, and to the classes that policies name.

    `unsure` are classes of which both ends have to be asked together, since they have addresses of both families.
    """

    strangers: Outcome
    named: Mapping[int, Outcome]
    unsure: frozenset[int]


class Reaches:
    """All of a result, made when it is asked for."""

    def __init__(self, result: Connectivity) -> None:
        self.of = result
        self._members: dict[str, frozenset[int]] = {}
        self._made: dict[_Subject, Reach] = {}
        self._outside: dict[_Subject, list[tuple[Ranges, Outcome]]] = {}
        self._alike: dict[tuple[int, ...], tuple[Mapping[int, frozenset[int]], frozenset[int]]] = {}

    @cached_property
    def _places(self) -> Mapping[str, list[int]]:
        """The classes of each namespace."""
        found: dict[str, list[int]] = {}
        for number, one in enumerate(self.of.classes):
            found.setdefault(one.namespace, []).append(number)
        return found

    @cached_property
    def _nodes(self) -> frozenset[int]:
        """Classes in the network of their node."""
        return frozenset(number for number, one in enumerate(self.of.classes) if one.node)

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
                for number in self._places.get(name, ()):
                    one = self.of.classes[number]
                    if not one.node and selectors.matches(peer.pods, dict(one.labels)):
                        yield number
        elif isinstance(peer, Block) and (peer.pods or (peer.pods is None and self.of.pods_by_ip != "no")):
            for number, one in enumerate(self.of.classes):
                if not one.node and (not one.addresses or any(addresses.holds(peer.ranges, a) for a in one.addresses)):
                    yield number

    def reach(self, number: int, direction: Direction) -> Reach:
        """What happens between a class and all others, in one direction. Nothing judges those in a node's network."""
        subject = self.of.classes[number]
        if subject.node:
            return Reach(ACCEPTED, {}, frozenset())
        profile = self.of.profile(subject, direction)
        place: _Subject = (profile, subject.named if direction == "ingress" else ())
        if place not in self._made:
            self._made[place] = self._reach(number, direction, profile)
        return self._made[place]

    def _reach(self, number: int, direction: Direction, profile: Profile) -> Reach:
        if profile.unknown:
            return Reach(UNKNOWN, {}, frozenset())
        rules = [rule for _, rule in profile.rules()]
        peers = list({repr(peer): peer for rule in rules for peer in rule.peers or ()}.values())
        named_by: dict[int, int] = {}
        for bit, peer in enumerate(peers):
            for other in self.members(peer):
                named_by[other] = named_by.get(other, 0) | 1 << bit
        blocks = [peer.ranges for peer in peers if isinstance(peer, Block)]
        by_address = any(not isinstance(peer, Pods) for peer in peers)
        atoms, several = self._atoms(addresses.edges(blocks)) if by_address else ({}, frozenset())
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
            if other in several:
                continue
            one = self.of.classes[other]
            like = bits, one.node, one.named if names else (), atoms.get(other)
            if like not in memo:
                memo[like] = self._once(subject, direction, self._single(other))
            found[other] = memo[like]
        return Reach(self._once(subject, direction, STRANGER), found, several)

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

    def pairs(self) -> Iterator[tuple[int, int, Outcome]]:
        """Every two classes of which one may reach the other on some port; a class and itself too: it may be two pods.

        What a node sends to its own pods, and a pod to itself, is left out: nothing ever stops it. So is what goes from
        node to node: no policy speaks of it.
        """
        into = [self.reach(number, "ingress") for number in range(len(self.of.classes))]
        open_to = [number for number, one in enumerate(into) if one.strangers.accept]
        naming: dict[int, list[int]] = {}
        for number, one in enumerate(into):
            for other in (*one.named, *one.unsure):
                naming.setdefault(other, []).append(number)
        for source in range(len(self.of.classes)):
            out = self.reach(source, "egress")
            candidates = {*open_to, *naming.get(source, ())}
            if not out.strangers.accept:
                candidates &= {*out.named, *out.unsure}
            for destination in sorted(candidates):
                found = self._both(source, destination, out, into[destination])
                if found.accept:
                    yield source, destination, found

    def around(self, number: int) -> Iterator[tuple[int, int, Outcome]]:
        """The pairs of `pairs` that a class is an end of; it and itself comes twice."""
        everyone = range(len(self.of.classes))
        out, into = self.reach(number, "egress"), self.reach(number, "ingress")
        for other in everyone if out.strangers.accept else sorted({*out.named, *out.unsure}):
            found = self._both(number, other, out, self.reach(other, "ingress"))
            if found.accept:
                yield number, other, found
        for other in everyone if into.strangers.accept else sorted({*into.named, *into.unsure}):
            found = self._both(other, number, self.reach(other, "egress"), into)
            if found.accept:
                yield other, number, found

    def _both(self, source: int, destination: int, out: Reach, into: Reach) -> Outcome:
        ends = [{addresses.family(each) for each in self.of.classes[end].addresses} for end in (source, destination)]
        if (all(ends) and not ends[0] & ends[1]) or (
            self.of.classes[source].node and self.of.classes[destination].node
        ):
            return DENIED
        one, other = out.named.get(destination, out.strangers), into.named.get(source, into.strangers)
        unknown = one.accept & one.deny or other.accept & other.deny
        if unknown or destination in out.unsure or source in into.unsure:
            return self.of.between(self.party(source), self.party(destination))  # what nobody knows is the same at both
        return Outcome(one.accept & other.accept, one.deny | other.deny)
