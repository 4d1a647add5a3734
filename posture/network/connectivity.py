"""What may talk to what: policies decided tier by tier, for all ports at once, in three values.

Order, for each direction by itself (network-policy-api, `ClusterNetworkPolicy`): the Admin tier, NetworkPolicies,
which are final for the pods that one selects, the Baseline tier, and what nobody decided is allowed. A connection
needs the source's egress and the destination's ingress. It uses one family of addresses: pods that have both may talk
when they may in one of them.

What the objects of a cluster do not say is a fact that is true or false, the same one wherever it is asked for. All
worlds are tried that differ in the facts which are asked for; what they agree in is known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from typing import Any, Literal, NamedTuple

from posture import selectors
from posture.model import Snapshot

from . import addresses, endpoints
from .addresses import EVERYWHERE, Ranges, common, holds, minus
from .endpoints import NAME_LABEL, Endpoint, Pod, Seen
from .policies import (
    ADMIN_POLICIES,
    BASELINE_POLICIES,
    CLUSTER_POLICIES,
    DIRECTIONS,
    NETWORK_POLICIES,
    Block,
    Direction,
    Peer,
    Pods,
    Policy,
    Ports,
    Rule,
    Unsure,
    compiled,
)
from .ports import EVERY, span

POLICIES = (NETWORK_POLICIES, CLUSTER_POLICIES, ADMIN_POLICIES, BASELINE_POLICIES)
FACTS, WORLDS = 8, 1000
"""Facts that are tried both ways, and worlds that wait to be; what depends on more of them is unknown."""
type PodsByIp = Literal["yes", "no", "unknown"]
"""Whether an ipBlock of a NetworkPolicy matches the addresses of pods: plugins differ."""


class Party(NamedTuple):
    """One end of a connection: pods of a class, at one of their addresses if it is known, or an address of nobody's.

    `number` is the class's; `hosts` are the addresses of the node that it runs on, `name` tells pods of a class apart
    where nothing is known of their addresses.
    """

    endpoint: Endpoint | None
    number: int = -1
    address: int | None = None
    hosts: frozenset[int] = frozenset()
    name: str = ""

    @property
    def judged(self) -> bool:
        """Whether policies speak of it: not those in their node's network, and nobody outside."""
        return self.endpoint is not None and not self.endpoint.node


STRANGER = Party(Endpoint("", "", (), (), False, frozenset()))
"""A pod that no peer is about."""


class Outcome(NamedTuple):
    """Ports that may be accepted and ports that may be denied; what is in both is not known."""

    accept: int
    deny: int

    @property
    def allowed(self) -> int:
        """The ports that are surely accepted."""
        return self.accept & ~self.deny


ACCEPTED = Outcome(EVERY, 0)
DENIED = Outcome(0, EVERY)
UNKNOWN = Outcome(EVERY, EVERY)


class Profile(NamedTuple):
    """The policies that select a class in one direction: indices, in tiers and groups of equal priority.

    `networks` None: not isolated. `old` is the BaselineAdminNetworkPolicy, which has no priority among the Baseline
    tier's. `broken`: one that cannot be read may select it.
    """

    admin: tuple[tuple[int, ...], ...]
    networks: tuple[int, ...] | None
    baseline: tuple[tuple[int, ...], ...]
    old: tuple[int, ...]
    broken: bool


class _Open(Exception):
    """A fact that no world says yet, and what it may be."""

    def __init__(self, fact: Hashable, *options: bool | Ranges) -> None:
        self.fact = fact
        self.options = options


type World = Mapping[Hashable, bool | Ranges]


def _said(world: World, *fact: Hashable) -> bool:
    if fact not in world:
        raise _Open(fact, True, False)
    return bool(world[fact])


def _lies_in(world: World, name: str, ranges: Ranges) -> bool:
    """Whether an address that nobody knows lies in a block: it is the same address for all blocks."""
    possible = world.get(("address", name), EVERYWHERE)
    assert isinstance(possible, tuple)
    inside = common(possible, ranges)
    if inside and inside != possible:
        raise _Open(("address", name), inside, minus(possible, ranges))
    return bool(inside)


def worlds(evaluate: Callable[[World], Outcome]) -> Outcome:
    """What is possible in some world; each fact is tried both ways when it is first asked for."""
    accept = deny = 0
    pending: list[World] = [{}]
    while pending:
        world = pending.pop()
        try:
            found = evaluate(world)
        except _Open as question:
            if len(world) == FACTS or len(pending) > WORLDS:
                return UNKNOWN
            pending += [{**world, question.fact: option} for option in question.options]
            continue
        accept, deny = accept | found.accept, deny | found.deny
    return Outcome(accept, deny)


@dataclass(frozen=True)
class Connectivity:
    """The result of a snapshot. Classes and policies are numbered; `pods` says of which class a pod is."""

    snapshot: Snapshot
    policies: tuple[Policy, ...]
    classes: tuple[Endpoint, ...]
    pods: Mapping[tuple[str, str], Pod]
    pods_by_ip: PodsByIp

    @cached_property
    def profiles(self) -> Mapping[Direction, tuple[Profile, ...]]:
        """What selects each class."""
        return {direction: tuple(self._profile(one, direction) for one in self.classes) for direction in DIRECTIONS}

    @cached_property
    def _namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """The labels of every namespace, with the one that the API server adds."""
        found = {key.name: content.get("labels") or {} for key, content in self.snapshot.objects("namespaces")}
        places = {one.namespace for one in self.classes} - found.keys()
        return {name: {**labels, NAME_LABEL: name} for name, labels in (found | {key: {} for key in places}).items()}

    @cached_property
    def _near(self) -> Mapping[str, list[int]]:
        """The policies of each namespace; those that may select pods of any under ""."""
        found: dict[str, list[int]] = {}
        for number, policy in enumerate(self.policies):
            found.setdefault(policy.subject.namespace, []).append(number)
        return found

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace that has pods."""
        return self._namespaces[namespace]

    def namespaces_of(self, selector: Mapping[str, Any]) -> Iterator[str]:
        """The namespaces that a selector picks, of those that have pods."""
        return (name for name, labels in self._namespaces.items() if selectors.matches(selector, labels))

    def selects(self, pods: Pods, one: Endpoint) -> bool:
        """Whether a selector picks the pods of a class. Those in their node's network are nobody's."""
        if one.node:
            return False
        if pods.namespaces is None:
            if pods.namespace != one.namespace:
                return False
        elif not selectors.matches(pods.namespaces, self._namespaces[one.namespace]):
            return False
        return selectors.matches(pods.pods, dict(one.labels))

    def _profile(self, one: Endpoint, direction: Direction) -> Profile:
        tiers: dict[str, list[int]] = {"admin": [], "": [], "baseline": [], "old": []}
        broken = False
        for number in self._near.get("", []) + (self._near.get(one.namespace) or []):
            policy = self.policies[number]
            if policy.rules(direction) is not None and self.selects(policy.subject, one):
                broken = broken or bool(policy.error)
                tiers["old" if policy.key.resource == BASELINE_POLICIES else policy.tier].append(number)

        def groups(tier: str) -> tuple[tuple[int, ...], ...]:
            ordered = sorted(tiers[tier], key=lambda number: self.policies[number].priority)
            return tuple(tuple(found) for _, found in groupby(ordered, lambda number: self.policies[number].priority))

        networks = tuple(tiers[""]) or None
        return Profile(groups("admin"), networks, groups("baseline"), tuple(tiers["old"]), broken)

    # One connection -------------------------------------------------------------------------------------------------

    def between(self, source: Party, destination: Party) -> Outcome:
        """What may go from one party to another, both ends together. Between parties that no policy judges: unknown."""
        if not source.judged and not destination.judged:
            return UNKNOWN
        pairs = [*_pairs(source, destination)]

        def evaluate(world: World) -> Outcome:
            accept, deny = 0, EVERY
            for here, there in pairs:
                out = self.end(world, here, "egress", there)
                into = self.end(world, there, "ingress", here)
                accept, deny = accept | out.accept & into.accept, deny & (out.deny | into.deny)
            return Outcome(accept, deny)

        return worlds(evaluate)

    def end(self, world: World, subject: Party, direction: Direction, other: Party) -> Outcome:
        """What happens at one end, in one world."""
        if not subject.judged:
            return ACCEPTED
        profile = self.profiles[direction][subject.number]
        if profile.broken:
            return UNKNOWN
        return _Decision(self, world, direction, subject, other).outcome(profile)

    def matches(self, world: World, peer: Peer, other: Party) -> bool:
        """Whether a peer is this party."""
        if other is STRANGER:
            return False
        if isinstance(peer, Pods):
            return other.endpoint is not None and self.selects(peer, other.endpoint)
        if isinstance(peer, Unsure):
            return not other.judged and _said(world, peer, other.address, other.name)
        if other.judged:
            by_ip = {"yes": True, "no": False, "unknown": None}[self.pods_by_ip] if peer.pods is None else peer.pods
            if by_ip is False or (other.address is not None and not holds(peer.ranges, other.address)):
                return False
            if by_ip is None and not _said(world, "ipBlock matches pods"):
                return False
        if other.address is None:  # of one pod, or of pods of one class alike
            return _lies_in(world, other.name, peer.ranges)
        return holds(peer.ranges, other.address)


def _pairs(source: Party, destination: Party) -> Iterator[tuple[Party, Party]]:
    """The addresses that a connection may use: of one family at both ends, but for a pod and its own node.

    Unknown ones may be of any family.
    """
    ends = [[one] if one.address is not None or one.endpoint is None or not one.endpoint.addresses
            else [one._replace(address=address) for address in sorted(one.endpoint.addresses)]
            for one in (source, destination)]  # fmt: skip
    for here, there in product(*ends):
        mine, theirs = here.address, there.address
        alike = mine is None or theirs is None or addresses.family(mine) == addresses.family(theirs)
        if alike or mine in there.hosts or theirs in here.hosts:
            yield here, there


@dataclass(frozen=True, slots=True)
class _Decision:
    """One direction of one connection in one world."""

    of: Connectivity
    world: World
    direction: Direction
    subject: Party
    other: Party

    def outcome(self, profile: Profile) -> Outcome:
        """All tiers in order. No policy stops what a node sends to its own pods."""
        if self.direction == "ingress" and self._is_own_node():
            return ACCEPTED
        still, accept, deny, passed = self._chain(profile.admin, EVERY)
        still |= passed
        if profile.networks is not None:
            allowed = self._networks(profile.networks)
            return Outcome(accept | still & allowed, deny | still & ~allowed)
        chains = [self._chain(profile.baseline, still)]
        if profile.old:  # before, after or between the others
            chains.append(self._chain((profile.old,), still))
        for rest, more, less, passed in chains:
            accept, deny, still = accept | more | passed, deny | less, still & rest  # nothing comes after this tier
        return Outcome(accept | still, deny)

    def _chain(self, groups: Iterable[tuple[int, ...]], still: int) -> tuple[int, int, int, int]:
        """One tier: the ports that are left, and those that may be accepted, denied and passed on.

        Of policies with equal priority any may be first: each decides as if it were.
        """
        accept = deny = passed = 0
        for group in groups:
            rest = still
            for number in group:
                left = still
                for rule in self.of.policies[number].rules(self.direction) or ():
                    hit = left & self._ports(rule)
                    left &= ~hit
                    if rule.action == "accept":
                        accept |= hit
                    elif rule.action == "deny":
                        deny |= hit
                    else:
                        passed |= hit
                rest &= left
            still = rest
        return still, accept, deny, passed

    def _networks(self, numbers: tuple[int, ...]) -> int:
        """The ports that some NetworkPolicy allows. Nothing of them stops what a pod sends to its own node."""
        if self.direction == "egress" and self._is_own_node():
            return EVERY
        found = 0
        for number in numbers:
            for rule in self.of.policies[number].rules(self.direction) or ():
                found |= self._ports(rule)
        return found

    def _is_own_node(self) -> bool:
        if self.other.judged or not self.subject.hosts:
            return False
        if self.other.address is None:
            return _said(self.world, "same node", self.subject.name, self.other.name)
        return self.other.address in self.subject.hosts

    def _ports(self, rule: Rule) -> int:
        """The ports of a rule; none when its peers are others."""
        ports = self._ports_at(rule.ports)
        if not ports or rule.peers is None:
            return ports
        return ports if any(self.of.matches(self.world, peer, self.other) for peer in rule.peers) else 0

    def _ports_at(self, ports: Ports) -> int:
        """The ports at the destination: names are looked up on its pods, and nowhere else."""
        found = ports.numbered
        target = self.subject if self.direction == "ingress" else self.other
        if ports.named and target.endpoint is not None and target.judged:
            for name, protocol in ports.named:
                for its, number in target.endpoint.port(name, protocol):
                    found |= span(its, number, number)
        return found


def evaluate(snapshot: Snapshot, pods_by_ip: PodsByIp = "unknown", beside: Iterable[Policy] = ()) -> Connectivity:
    """What may talk to what in a snapshot; its classes tell apart what policies `beside` its own look at, too."""
    found = tuple(
        compiled(key, content)
        for resource in POLICIES
        for key, content in sorted(snapshot.objects(resource), key=lambda row: row[0])
    )
    classes, pods = endpoints.folded(snapshot, _seen((*found, *beside), pods_by_ip))
    return Connectivity(snapshot, found, classes, pods, pods_by_ip)


def _seen(policies: Iterable[Policy], pods_by_ip: PodsByIp) -> Seen:
    """What policies look at."""
    keys: set[str] = set()
    ports: set[str] = set()
    blocks: list[Ranges] = []
    by_address = False
    for policy in policies:
        keys.update(_keys(policy.subject.pods))
        for rule in (*(policy.ingress or ()), *(policy.egress or ())):
            ports.update(name for name, _ in rule.ports.named)
            for peer in rule.peers or ():
                if isinstance(peer, Pods):
                    keys.update(_keys(peer.pods))
                elif isinstance(peer, Block):
                    blocks.append(peer.ranges)
                    by_address = by_address or peer.pods is True or pods_by_ip != "no"
    return Seen(frozenset(keys), frozenset(ports), addresses.edges(blocks), by_address)


def _keys(selector: Mapping[str, Any]) -> Iterator[str]:
    yield from selector.get("matchLabels") or ()
    yield from (one["key"] for one in selector.get("matchExpressions") or ())
