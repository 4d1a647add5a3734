"""What may talk to what: policies decided tier by tier, for all ports at once, in three values.

Order, for each direction by itself (network-policy-api, `ClusterNetworkPolicy`): the Admin tier, NetworkPolicies,
which are final for the pods that one selects, the Baseline tier, and what nobody decided is allowed. A connection
needs the source's egress and the destination's ingress. It uses one family of addresses: pods that have both may talk
when they may in one of them.

What the objects of a cluster do not say is a fact that is true or false, the same one wherever it is asked for. All
worlds are tried that differ in the facts which are asked for; what they agree in is known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, product
from typing import Any, Literal, NamedTuple

from posture import selectors
from posture.model import Key, Snapshot

from . import addresses
from .addresses import EVERYWHERE, Ranges, common, holds, minus
from .endpoints import NAME_LABEL, NAMESPACE, Endpoint, Pod
from .opaque import Opaque, may_select
from .policies import (
    ADMIN_POLICIES,
    BASELINE_POLICIES,
    CLUSTER_POLICIES,
    NETWORK_POLICIES,
    Block,
    Direction,
    Peer,
    Pods,
    Policy,
    Ports,
    Rule,
    Unsure,
)
from .ports import EVERY, span

TIERS = (CLUSTER_POLICIES, ADMIN_POLICIES, BASELINE_POLICIES)
POLICIES = (NETWORK_POLICIES, *TIERS)
FACTS, WORLDS = 8, 1000
"""Facts that are tried both ways, and worlds that wait to be; what depends on more of them is unknown."""
type PodsByIp = Literal["yes", "no", "unknown"]
"""Whether an ipBlock of a NetworkPolicy matches the addresses of pods: plugins differ."""
NOWHERE: Mapping[str, str] = {}
_IN: Direction = "ingress"
_OUT: Direction = "egress"


class Party(NamedTuple):
    """One end of a connection: pods of a class, at one of their addresses if it is known, or an address of nobody's.

    `labels` are its namespace's, `hosts` the addresses of the node that it runs on; `name` tells pods of a class apart
    where nothing is known of their addresses.
    """

    endpoint: Endpoint | None
    labels: Mapping[str, str] = NOWHERE
    address: int | None = None
    hosts: frozenset[int] = frozenset()
    name: str = ""

    @property
    def judged(self) -> bool:
        """Whether policies speak of it: not those in their node's network, and nobody outside."""
        return self.endpoint is not None and not self.endpoint.node


STRANGER = Party(Endpoint("", "", (), (), False))
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


@dataclass(frozen=True, eq=False)
class Profile:
    """The policies that select a class in one direction, in tiers and groups of equal priority. One for equal ones.

    `networks` None: not isolated. `old` is the BaselineAdminNetworkPolicy, which has no priority among the Baseline
    tier's. `broken` cannot be read: they decide nothing that anybody could know, and what the others say is known all
    the same. `unmodelled`: a policy of another maker may select it.
    """

    direction: Direction
    admin: tuple[tuple[Policy, ...], ...] = ()
    networks: tuple[Policy, ...] | None = None
    baseline: tuple[tuple[Policy, ...], ...] = ()
    old: tuple[Policy, ...] = ()
    broken: tuple[Policy, ...] = ()
    unmodelled: bool = False

    @property
    def unknown(self) -> bool:
        """Whether nobody knows what happens to it."""
        return bool(self.broken) or self.unmodelled

    @property
    def undecided(self) -> Iterator[tuple[Policy, tuple[str, str]]]:
        """What nobody knows who decides, with the policy: rules of one priority, peers of others than Accept rules
        whose addresses the cluster's objects do not say.
        """
        for group in (*self.admin, *self.baseline, self.old):
            for policy in group:
                for rule in policy.rules(self.direction) or ():
                    if len(group) > 1:
                        yield policy, (rule.action, policy.tier)
                    elif rule.action != "accept":
                        yield from ((policy, (rule.action, repr(peer))) for peer in rule.peers or ()
                                    if isinstance(peer, Unsure))  # fmt: skip

    @property
    def empty(self) -> bool:
        """Whether no policy judges it."""
        return not (self.admin or self.baseline or self.old or self.networks is not None or self.unknown)

    def policies(self) -> Iterator[Policy]:
        """Every policy, tier by tier."""
        for group in (*self.admin, self.networks or (), *self.baseline, self.old):
            yield from group

    def rules(self) -> Iterator[tuple[Policy, Rule]]:
        """Every rule that may decide something."""
        for policy in self.policies():
            for rule in policy.rules(self.direction) or ():
                yield policy, rule

    @cached_property
    def says(self) -> str:
        """What policies say, whatever they are called and in however many NetworkPolicies they say it."""

        def texts(policy: Policy) -> list[str]:
            return [repr(rule) for rule in policy.rules(self.direction) or ()]

        networks = None
        if self.networks is not None:
            networks = sorted({text for policy in self.networks for text in texts(policy)})
        tiers = [[sorted(texts(policy) for policy in group) for group in tier]
                 for tier in (self.admin, self.baseline, (self.old,))]  # fmt: skip
        return repr((networks, tiers))


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


@dataclass(frozen=True, eq=False, slots=True)
class Space:
    """A namespace: its labels (with the one that the API server adds), its policies, those of the cluster that may
    select pods in it, its classes and its pods. `names` are the objects that it was made from, `opaque` the policies of
    other makers that may select its pods.

    Where nothing in it changed it is the same object in two results.
    """

    name: str
    labels: Mapping[str, str]
    names: tuple[Key, ...]
    policies: tuple[Policy, ...]
    above: tuple[Policy, ...]
    classes: tuple[Endpoint, ...]
    pods: Mapping[str, Pod]
    opaque: tuple[Opaque, ...] = ()
    memo: dict[Any, Any] = field(default_factory=dict)
    """What was worked out of it alone."""

    def profile(self, one: Endpoint, direction: Direction) -> Profile:
        """What selects a class that is here, or would be."""
        place = direction, one.labels, one.node
        known: Profile | None = self.memo.get(place)
        if known is None:
            found = [policy for policy in self._selecting(one) if policy.rules(direction) is not None]
            unmodelled = not one.node and any(
                may_select(policy, self.name, self.labels, dict(one.labels)) for policy in self.opaque
            )
            shared = (direction, unmodelled, *map(id, found))
            if shared not in self.memo:
                self.memo[shared] = replace(_profile(direction, found), unmodelled=unmodelled)
            known = self.memo[place] = self.memo[shared]
        return known

    def _selecting(self, one: Endpoint) -> list[Policy]:
        """The policies that select a class, in both directions."""
        place = "selecting", one.labels, one.node
        known: list[Policy] | None = self.memo.get(place)
        if known is None:
            known = self.memo[place] = [
                policy for policy in (*self.above, *self.policies) if selects(policy.subject, one, self.labels)
            ]
        return known


def selects(pods: Pods, one: Endpoint, labels: Mapping[str, str]) -> bool:
    """Whether a selector picks the pods of a class in a namespace of some labels; never those in a node's network."""
    if one.node:
        return False
    if pods.namespaces is None:
        if pods.namespace != one.namespace:
            return False
    elif not selectors.matches(pods.namespaces, labels):
        return False
    return not pods.pods or selectors.matches(pods.pods, dict(one.labels))


def _profile(direction: Direction, found: Iterable[Policy]) -> Profile:
    tiers: dict[str, list[Policy]] = {"admin": [], "": [], "baseline": [], "old": [], "broken": []}
    for policy in found:
        tier = "old" if policy.key.resource == BASELINE_POLICIES else policy.tier
        tiers["broken" if policy.error else tier].append(policy)

    def groups(tier: str) -> tuple[tuple[Policy, ...], ...]:
        ordered = sorted(tiers[tier], key=lambda policy: policy.priority)
        return tuple(tuple(group) for _, group in groupby(ordered, lambda policy: policy.priority))

    networks = tuple(tiers[""]) or None
    old, broken = tuple(tiers["old"]), tuple(tiers["broken"])
    return Profile(direction, groups("admin"), networks, groups("baseline"), old, broken)


@dataclass(frozen=True, eq=False)
class Connectivity:
    """The result of a snapshot: its namespaces, and the policies of the whole cluster.

    `seen` are the volatile labels that tell classes apart, `opaque` the policies of other makers by the namespace that
    they are about ("" is all), `touched` the places that the last update looked at.
    """

    snapshot: Snapshot
    spaces: Mapping[str, Space]
    above: tuple[Policy, ...]
    pods_by_ip: PodsByIp
    seen: frozenset[str] = frozenset()
    opaque: Mapping[str, Sequence[Opaque]] = field(default_factory=dict)
    touched: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def policies(self) -> tuple[Policy, ...]:
        """All policies: of the cluster, then by namespace and name."""
        return (*self.above, *(policy for name in sorted(self.spaces) for policy in self.spaces[name].policies))

    @cached_property
    def classes(self) -> tuple[Endpoint, ...]:
        """All classes, sorted."""
        return tuple(one for name in sorted(self.spaces) for one in self.spaces[name].classes)

    @cached_property
    def places(self) -> frozenset[tuple[str, str]]:
        """Every workload in its namespace, and every namespace for the pods that it may get."""
        return frozenset(place for space in self.spaces.values() for place in places_of(space))

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace."""
        return self.spaces[namespace].labels if namespace in self.spaces else NOWHERE

    def namespaces_of(self, selector: Mapping[str, Any]) -> Iterator[str]:
        """The namespaces that a selector picks."""
        name = (selector.get("matchLabels") or {}).get(NAME_LABEL)
        spaces = self.spaces.values() if name is None else [self.spaces[name]] if name in self.spaces else []
        return (space.name for space in spaces if selectors.matches(selector, space.labels))

    def profile(self, one: Endpoint, direction: Direction) -> Profile:
        """What selects a class in one direction."""
        return self.spaces[one.namespace].profile(one, direction)

    def pod(self, namespace: str, name: str) -> Pod | None:
        """A pod by its name."""
        space = self.spaces.get(namespace)
        return space.pods.get(name) if space else None

    def party(self, one: Endpoint) -> Party:
        """The pods of a class as one end of a connection."""
        return Party(one, self.labels_of(one.namespace), name=repr(one.what))

    # One connection -------------------------------------------------------------------------------------------------

    def between(self, source: Party, destination: Party) -> Outcome:
        """What may go from one party to another, both ends together. Between parties that no policy judges: unknown."""
        if not source.judged and not destination.judged:
            return UNKNOWN
        pairs = self.pairs(source, destination)

        def evaluate(world: World) -> Outcome:
            accept, deny = 0, EVERY
            for here, there in pairs:
                out = self.end(world, here, "egress", there)
                into = self.end(world, there, "ingress", here)
                accept, deny = accept | out.accept & into.accept, deny & (out.deny | into.deny)
            return Outcome(accept, deny)

        return worlds(evaluate)

    def pairs(self, source: Party, destination: Party) -> Sequence[tuple[Party, Party]]:
        """Both ends at each of their addresses that a connection may use, as far as policies tell them apart."""
        return [*_pairs(source, destination, self._marks(source, destination))]

    def _marks(self, source: Party, destination: Party) -> Sequence[int]:
        """Where the blocks begin and end that some policy at either end speaks of."""
        blocks = [
            peer.ranges
            for party, direction in ((source, _OUT), (destination, _IN)) if party.judged and party.endpoint
            for _, rule in self.profile(party.endpoint, direction).rules()
            for peer in rule.peers or () if isinstance(peer, Block)
        ]  # fmt: skip
        return addresses.edges(blocks)

    def end(self, world: World, subject: Party, direction: Direction, other: Party) -> Outcome:
        """What happens at one end, in one world."""
        if not subject.judged:
            return ACCEPTED
        assert subject.endpoint is not None
        profile = self.profile(subject.endpoint, direction)
        if profile.unknown:
            return UNKNOWN
        return _Decision(self, world, direction, subject, other).outcome(profile)

    def matches(self, world: World, peer: Peer, other: Party) -> bool:
        """Whether a peer is this party."""
        if other is STRANGER:
            return False
        if isinstance(peer, Pods):
            return other.endpoint is not None and selects(peer, other.endpoint, other.labels)
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


def _pairs(source: Party, destination: Party, marks: Sequence[int]) -> Iterator[tuple[Party, Party]]:
    """The addresses that a connection may use: of one family at both ends, but for a pod and its own node.

    Unknown ones may be of any family. Of those that are alike to all blocks one is enough.
    """
    known = source.hosts | destination.hosts
    ends = [[one] if one.address is not None or one.endpoint is None or not one.endpoint.addresses
            else [one._replace(address=address) for address in _unlike(one.endpoint.addresses, marks, known)]
            for one in (source, destination)]  # fmt: skip
    for here, there in product(*ends):
        mine, theirs = here.address, there.address
        alike = mine is None or theirs is None or addresses.family(mine) == addresses.family(theirs)
        if alike or mine in there.hosts or theirs in here.hosts:
            yield here, there


def _unlike(given: Iterable[int], marks: Sequence[int], hosts: frozenset[int]) -> list[int]:
    """Addresses of which no two are alike; those of nodes that matter are like no other."""
    found: dict[tuple[int, bool], int] = {}
    for address in sorted(given):
        found.setdefault((address, True) if address in hosts else (addresses.like(marks, address), False), address)
    return list(found.values())


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

    def _chain(self, groups: Iterable[tuple[Policy, ...]], still: int) -> tuple[int, int, int, int]:
        """One tier: the ports that are left, and those that may be accepted, denied and passed on.

        Of policies with equal priority any may be first: each decides as if it were.
        """
        accept = deny = passed = 0
        for group in groups:
            rest = still
            for policy in group:
                left = still
                for rule in policy.rules(self.direction) or ():
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

    def _networks(self, policies: tuple[Policy, ...]) -> int:
        """The ports that some NetworkPolicy allows. Nothing of them stops what a pod sends to its own node."""
        if self.direction == "egress" and self._is_own_node():
            return EVERY
        found = 0
        for policy in policies:
            for rule in policy.rules(self.direction) or ():
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


def places_of(space: Space) -> Iterator[tuple[str, str]]:
    """The places of a namespace: its workloads, and itself for the pods that it may get."""
    yield f"{NAMESPACE}{space.name}", space.name
    yield from ((workload, space.name) for workload in dict.fromkeys(one.workload for one in space.classes))
