"""What one class is allowed in one direction, whoever is at the other end: pods that are not there yet too.

In three values this is what may be allowed: where nobody knows (policies of equal priority, peers whose addresses the
cluster's objects do not say), it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from posture.kinds import BY_NAME
from posture.model import Through

from .addresses import EVERYWHERE
from .connectivity import Profile, Space
from .endpoints import Endpoint
from .policies import Block, Direction, Pods, Policy, Rule
from .portset import PortSet, port_set
from .regions import ALL, ANYONE, IntricateError, Piece, gathered, overlap, subtracted, term_of

HOST_NETWORK = "HostNetwork"
"""The kind of `through` of pods in the network of their node, of which no policy speaks."""
NON_ISOLATED = "NonIsolated"
"""The kind of `through` where no policy decides: the pods are not isolated in that direction."""


def through_of(policy: Policy) -> Through:
    """A policy as what one would edit."""
    return Through(BY_NAME[policy.key.resource].kind, policy.key.namespace, policy.key.name)


def allowed(profile: Profile, one: Endpoint, *, present: bool = True) -> list[Piece]:
    """All that may be allowed to a class, each piece with what allows it.

    Names of ports in ingress are looked up on the class itself, but for pods that are not `present`: theirs are names.
    """
    if one.node:
        outside = Through(HOST_NETWORK, one.namespace, profile.direction)
        return [piece._replace(through=outside) for piece in reversed(ANYONE)]
    nobody = Through(NON_ISOLATED, one.namespace, profile.direction)
    if profile.networks is None and not (profile.admin or profile.baseline or profile.old):
        return [piece._replace(through=nobody) for piece in reversed(ANYONE)]
    found: list[Piece] = []
    rest, passed = _tier(profile.admin, list(ANYONE), profile, one, found, present=present)
    rest += passed
    if profile.networks is not None:
        for policy in profile.networks:
            for rule in policy.rules(profile.direction) or ():
                peers = regions(rule, policy, profile.direction, one if present else None)
                if not profile.admin:  # nothing was decided before
                    found += peers
                else:
                    found += [both for region in peers for part in rest if (both := overlap(part, region))]
        return gathered(found)
    old = (profile.old,) if profile.old else ()
    tiers = [profile.baseline + old]
    if old and profile.baseline:  # before, after or between the others
        tiers.append(old + profile.baseline)
    for tier in tiers:
        left, passed = _tier(tier, rest, profile, one, found, present=present)
        found += [piece._replace(through=nobody) for piece in left + passed]
    return gathered(found)


def _tier(
    groups: Iterable[Sequence[Policy]], rest: list[Piece], profile: Profile, one: Endpoint, found: list[Piece],
    *, present: bool,
) -> tuple[list[Piece], list[Piece]]:  # fmt: skip
    """One tier: what nobody decided, and what was passed on; what is accepted goes to `found`.

    Of policies with equal priority any may be first: each decides as if it were.
    """
    passed: list[Piece] = []
    for group in groups:
        undecided = rest
        for policy in group:
            left = rest
            for rule in policy.rules(profile.direction) or ():
                peers = [*regions(rule, policy, profile.direction, one if present else None)]
                hits = [both for region in peers for part in left if (both := overlap(part, region))]
                if rule.action == "accept":
                    found += hits
                elif rule.action == "pass":
                    passed += hits
                left = subtracted(left, peers, exactly=True)
            undecided = left if len(group) == 1 else _common(undecided, left)
        rest = undecided
    return rest, passed


def _common(one: list[Piece], other: list[Piece]) -> list[Piece]:
    return [both for part in one for region in other if (both := overlap(part, region))]


def regions(rule: Rule, policy: Policy, direction: Direction, one: Endpoint | None = None) -> Iterator[Piece]:
    """The peers of a rule with its ports. Names of ports in ingress are looked up on a class that is there."""
    through, ports = through_of(policy), port_set(rule.ports)
    if direction == "ingress" and one is not None:
        ports = PortSet(ports.at(one))
    by_number = PortSet(ports.numbered)  # an address has no names for its ports
    if not ports.numbered and not ports.named:
        return
    if rule.peers is None:
        yield Piece(ALL, EVERYWHERE, ports, through)
    for peer in rule.peers or ():
        if isinstance(peer, Pods):
            term = term_of(peer)
            if term is not None:
                yield Piece(term, EVERYWHERE, ports, through)
    for peer in (Block(EVERYWHERE, None),) if rule.peers is None else rule.peers:
        if isinstance(peer, Pods) or not by_number.numbered:
            continue
        if isinstance(peer, Block):
            # In a NetworkPolicy it is the plugin that says whether the addresses of pods are meant as well.
            yield Piece(None, peer.ranges, by_number, through)
            if peer.pods:
                yield Piece(ALL, peer.ranges, by_number, through)
        else:
            yield Piece(peer, EVERYWHERE, by_number, through)


def pieces_of(space: Space, one: Endpoint, direction: Direction, *, present: bool = True) -> list[Piece]:
    """What a class is allowed in a namespace; nothing where that is more than can be compared."""
    return _known(space, one, direction, present=present) or []


def is_intricate(space: Space, one: Endpoint, direction: Direction, *, present: bool = True) -> bool:
    """Whether what a class is allowed is more than can be compared."""
    return _known(space, one, direction, present=present) is None


def _known(space: Space, one: Endpoint, direction: Direction, *, present: bool) -> list[Piece] | None:
    """What a class is allowed, worked out once; None where it takes too many pieces."""
    profile = space.profile(one, direction)
    place = "allowed", id(profile), one.named if direction == "ingress" else (), present, one.node
    if place not in space.memo:
        try:
            space.memo[place] = allowed(profile, one, present=present)
        except IntricateError:
            space.memo[place] = None
    found: list[Piece] | None = space.memo[place]
    return found
