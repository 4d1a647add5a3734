"""What one class is allowed in one direction, whoever is at the other end: pods that are not there yet too.

In three values this is what may be allowed: where nobody knows (policies of equal priority, peers whose addresses the
cluster's objects do not say), it is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from posture.kinds import BY_NAME
from posture.model import Through

from .addresses import EVERYWHERE
from .connectivity import Profile
from .endpoints import Endpoint
from .policies import Block, Direction, Pods, Policy, Ports, Rule
from .ports import span
from .regions import ALL, ANYONE, Piece, gathered, overlap, subtracted, term_of

NON_ISOLATED = "NonIsolated"
"""The kind of `through` where no policy decides: the pods are not isolated in that direction."""


def through_of(policy: Policy) -> Through:
    """A policy as what one would edit."""
    return Through(BY_NAME[policy.key.resource].kind, policy.key.namespace, policy.key.name)


def allowed(profile: Profile, one: Endpoint, *, present: bool = True) -> list[Piece]:
    """All that may be allowed to a class, each piece with what allows it.

    Names of ports in ingress are looked up on the class itself, but for pods that are not `present`: theirs are names.
    """
    found: list[Piece] = []
    rest, passed = _tier(profile.admin, list(ANYONE), profile, one, found, present=present)
    rest += passed
    if profile.networks is not None:
        for policy in profile.networks:
            for rule in policy.rules(profile.direction) or ():
                peers = [*regions(rule, policy, profile.direction, one if present else None)]
                found += [both for region in peers for part in rest if (both := overlap(part, region))]
        return gathered(found)
    old = (profile.old,) if profile.old else ()
    tiers = [profile.baseline + old]
    if old and profile.baseline:  # before, after or between the others
        tiers.append(old + profile.baseline)
    nobody = Through(NON_ISOLATED, one.namespace, profile.direction)
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
                left = subtracted(left, peers)
            undecided = left if len(group) == 1 else _common(undecided, left)
        rest = undecided
    return rest, passed


def _common(one: list[Piece], other: list[Piece]) -> list[Piece]:
    return [both for part in one for region in other if (both := overlap(part, region))]


def regions(rule: Rule, policy: Policy, direction: Direction, one: Endpoint | None = None) -> Iterator[Piece]:
    """The peers of a rule with its ports. Names of ports in ingress are looked up on a class that is there."""
    through, ports = through_of(policy), rule.ports
    if ports.named and direction == "ingress" and one is not None:
        numbered = ports.numbered
        for name, protocol in ports.named:
            for its, number in one.port(name, protocol):
                numbered |= span(its, number, number)
        ports = Ports(numbered)
    if not ports.numbered and not ports.named:
        return
    if rule.peers is None:
        yield from (piece._replace(ports=ports, through=through) for piece in ANYONE)
    for peer in rule.peers or ():
        if isinstance(peer, Pods):
            term = term_of(peer)
            if term is not None:
                yield Piece(term, EVERYWHERE, ports, through)
        elif isinstance(peer, Block):
            # In a NetworkPolicy it is the plugin that says whether the addresses of pods are meant as well.
            yield Piece(None, peer.ranges, Ports(ports.numbered), through)
            if peer.pods:
                yield Piece(ALL, peer.ranges, Ports(ports.numbered), through)
        else:
            yield Piece(peer, EVERYWHERE, Ports(ports.numbered), through)
