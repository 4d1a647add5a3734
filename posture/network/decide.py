"""What decides one port at one end of a connection: the steps that the policies take, tier by tier.

In three values: what an end may do is a set of LETS and DENIES, both where some fact is not known. The engine gives
the same answer for all ports at once (connectivity.py); here each policy and rule is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from posture.model import Key

from .connectivity import ACCEPTED, DENIED, Connectivity, Party, Profile, worlds
from .policies import Block, Direction, Peer, Pods, Policy, Rule, Unsure
from .ports import span

LETS, DENIES = 1, 2
_PASSES, _RESTS = 4, 8
_BITS = {"accept": LETS, "deny": DENIES, "pass": _PASSES}
type Tier = Literal["Admin", "NetworkPolicy", "Baseline", "default", ""]
type Memo = dict[Any, Any]


class Port(NamedTuple):
    """One port."""

    protocol: str
    number: int


class Step(NamedTuple):
    """What one policy does at one end. `rule` is the index of the rule, None where the policy isolates and no rule of
    it allows this, or where there is no policy. `reason` says why where it is no rule, or what is not known of it.
    """

    direction: Direction
    tier: Tier
    policy: Key | None
    rule: int | None
    action: Literal["accept", "deny", "pass", "unknown"]
    reason: str = ""
    sure: bool = True


type _Verdict = tuple[int, tuple[Step, ...]]


def decide(
    of: Connectivity, profile: Profile, subject: Party, other: Party, port: Port, memo: Memo,
    unknown: Callable[[], Iterable[tuple[Key, str]]],
) -> _Verdict:  # fmt: skip
    """What an end may do, and the steps to it. `unknown` are the policies because of which nobody knows."""
    if profile.unknown:
        steps = (Step(profile.direction, "", key, None, "unknown", why, sure=False) for key, why in unknown())
        return LETS | DENIES, tuple(steps)
    rules = _with_port(profile, port, memo)
    target = subject if profile.direction == "ingress" else other
    states = tuple(
        _holds(of, rule, other) if numbered or _named(rule, target, port) else "" for rule, numbered in rules
    )
    own = _own_node(subject, other)
    place = profile, port, states, own
    if place not in memo:
        hits = {id(rule): state for (rule, _), state in zip(rules, states, strict=True) if state}
        memo[place] = _Walk(profile, hits, own).verdict()
    found: _Verdict = memo[place]
    return found


def _with_port(profile: Profile, port: Port, memo: Memo) -> Sequence[tuple[Rule, bool]]:
    """The rules that speak of a port, by its number or perhaps by a name."""
    place = profile, port
    if place not in memo:
        bit = span(*port, port.number)
        found = [(rule, bool(rule.ports.numbered & bit)) for _, rule in profile.rules()]
        memo[place] = [(rule, numbered) for rule, numbered in found if numbered or rule.ports.named]
    rules: Sequence[tuple[Rule, bool]] = memo[place]
    return rules


def _named(rule: Rule, target: Party, port: Port) -> bool:
    return target.endpoint is not None and target.judged and any(
        found == port for name, protocol in rule.ports.named for found in target.endpoint.port(name, protocol)
    )  # fmt: skip


_SURELY = "surely"


def _holds(of: Connectivity, rule: Rule, other: Party) -> str:
    """Whether a rule is about the other end: "" if not, else `surely`, or what is not known."""
    if rule.peers is None:
        return _SURELY
    doubt = ""
    for peer in rule.peers:
        if isinstance(peer, Pods) or (isinstance(peer, Block) and not other.judged and other.address is not None):
            if of.matches({}, peer, other):
                return _SURELY
            continue
        found = worlds(lambda world, peer=peer: ACCEPTED if of.matches(world, peer, other) else DENIED)  # type: ignore[misc]
        if not found.deny:
            return _SURELY
        if found.accept:
            doubt = doubt or _doubt(of, peer, other)
    return doubt


def _doubt(of: Connectivity, peer: Peer, other: Party) -> str:
    if isinstance(peer, Unsure):
        return f"which addresses its {peer.what} have is not known"
    if isinstance(peer, Block) and other.judged and peer.pods is None and of.pods_by_ip == "unknown":
        return "whether an ipBlock matches addresses of pods is not known (podsByIp)"
    return "the address of the other end is not known"


def _own_node(subject: Party, other: Party) -> bool | None:
    """Whether the other end is the node that a pod runs on."""
    if other.judged or not subject.hosts:
        return False
    return None if other.address is None else other.address in subject.hosts


class _Walk(NamedTuple):
    """The way through the tiers for one port, where each rule's part in it is known."""

    profile: Profile
    hits: dict[int, str]
    own: bool | None

    def verdict(self) -> _Verdict:
        """All tiers in order. No policy stops what a node sends to its own pods."""
        direction = self.profile.direction
        if self.own and direction == "ingress":
            return LETS, (Step(direction, "default", None, None, "accept", "a node always reaches its own pods"),)
        steps: list[Step] = []
        found = self._chain(self.profile.admin, "Admin", steps)
        if found & (_PASSES | _RESTS):
            found = found & (LETS | DENIES) | self._below(steps)
        if self.own is None and direction == "ingress":
            found |= LETS
        return found, tuple(steps)

    def _below(self, steps: list[Step]) -> int:
        """NetworkPolicies, which are final where one selects the pod, else the Baseline tier and the default."""
        direction = self.profile.direction
        if self.profile.networks is not None:
            return self._networks(self.profile.networks, steps)
        found = self._chain(self.profile.baseline, "Baseline", steps)
        if self.profile.old:  # before, after or between the others
            other = self._chain((self.profile.old,), "Baseline", steps)
            found = (found | other) & ~_RESTS | found & other & _RESTS
        if found & _RESTS:
            steps.append(Step(direction, "default", None, None, "accept", f"no policy isolates it for {direction}"))
        return found & (LETS | DENIES) | (LETS if found & (_PASSES | _RESTS) else 0)

    def _networks(self, policies: Iterable[Policy], steps: list[Step]) -> int:
        direction = self.profile.direction
        if self.own and direction == "egress":
            steps.append(
                Step(
                    direction, "NetworkPolicy", None, None, "accept", "no NetworkPolicy stops what goes to its own node"
                )
            )
            return LETS
        found = [step for policy in policies for step in self._steps(policy, "NetworkPolicy")]
        surely = any(step.sure for step in found)
        if not found:
            why = "it isolates the pod, and no rule allows this"
            found = [Step(direction, "NetworkPolicy", policy.key, None, "deny", why) for policy in policies]
            steps += found
            return DENIES | (LETS if self.own is None and direction == "egress" else 0)
        steps += found
        return LETS if surely else LETS | DENIES

    def _steps(self, policy: Policy, tier: Tier) -> Iterable[Step]:
        """The rules of a policy that are, or may be, about this, in order."""
        for number, rule in enumerate(policy.rules(self.profile.direction) or ()):
            state = self.hits.get(id(rule))
            if state:
                sure = state == _SURELY
                yield Step(
                    self.profile.direction, tier, policy.key, number, rule.action, "" if sure else state, sure=sure
                )

    def _chain(self, groups: Iterable[Sequence[Policy]], tier: Tier, steps: list[Step]) -> int:
        """One tier. Of policies with equal priority any may be first: each decides as if it were."""
        found = 0
        for group in groups:
            left = _RESTS
            for policy in group:
                mine = _RESTS
                for step in self._steps(policy, tier):
                    steps.append(step)
                    found |= _BITS[step.action]
                    if step.sure:
                        mine = 0
                        break
                left &= mine
            if not left:
                return found
        return found | _RESTS
