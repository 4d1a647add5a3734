"""Policies, compiled: NetworkPolicy and ClusterNetworkPolicy as rules in tiers, each with its peers and ports.

Sources: k8s.io/api networking/v1 types.go; network-policy-api apis/v1alpha2 (v0.2.0) and apis/v1alpha1, whose
AdminNetworkPolicy and BaselineAdminNetworkPolicy say the same in other words. What a policy cannot say in its API
(a peer or port of a later version) fails closed, as the specification of ClusterNetworkPolicy asks: Accept matches
nothing, Deny and Pass deny everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from posture.model import Content, Key

from . import addresses
from .addresses import Ranges
from .ports import EVERY, LAST, span

POLICY_API = "policy.networking.k8s.io"
NETWORK_POLICIES = "networkpolicies.networking.k8s.io"
CLUSTER_POLICIES = f"clusternetworkpolicies.{POLICY_API}"
ADMIN_POLICIES = f"adminnetworkpolicies.{POLICY_API}"
BASELINE_POLICIES = f"baselineadminnetworkpolicies.{POLICY_API}"

type Action = Literal["accept", "deny", "pass"]
type Direction = Literal["ingress", "egress"]
type Selector = Mapping[str, Any]
DIRECTIONS: tuple[Direction, Direction] = ("ingress", "egress")
FIELDS: Mapping[Direction, tuple[str, str]] = {"ingress": ("Ingress", "from"), "egress": ("Egress", "to")}
"""What a policy calls each direction among its policyTypes, and the peers of its rules."""
_ACTIONS: Mapping[str, Action] = {"Accept": "accept", "Allow": "accept", "Deny": "deny", "Pass": "pass"}


class Pods(NamedTuple):
    """Pods of namespaces: those of one (`namespace`), or those that a selector picks."""

    namespace: str
    namespaces: Selector | None
    pods: Selector


class Block(NamedTuple):
    """Addresses. `pods`: whether those of pods count too, which NetworkPolicy leaves to the plugin (None)."""

    ranges: Ranges
    pods: bool | None


class Unsure(NamedTuple):
    """What the objects of a cluster do not say: which addresses belong to `nodes`, or to some `domainNames`.

    `text` is the peer itself: where it is written twice, it is one thing that nobody knows.
    """

    what: str
    text: str


type Peer = Pods | Block | Unsure


class Ports(NamedTuple):
    """Numbered ports, and names to be looked up on the destination pod, each of a protocol ("" is any)."""

    numbered: int
    named: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Ports({_digest(self.numbered)}, {self.named})"  # written out it has 59,000 digits


@cache
def _digest(numbered: int) -> str:
    return blake2b(numbered.to_bytes(EVERY.bit_length() // 8 + 1), digest_size=16).hexdigest()


ANY_PORT = Ports(EVERY)


class Rule(NamedTuple):
    """What a policy does with some traffic of one direction. `peers` None is everyone, everywhere."""

    action: Action
    peers: tuple[Peer, ...] | None
    ports: Ports


class Policy(NamedTuple):
    """One policy. A direction that it does not speak of is None; NetworkPolicies are of the middle tier.

    `error` says why it cannot be read: whatever it may select is unknown then.
    """

    key: Key
    tier: Literal["admin", "", "baseline"]
    priority: int
    subject: Pods
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None
    error: str = ""

    def rules(self, direction: Direction) -> tuple[Rule, ...] | None:
        """The rules of one direction."""
        return self.ingress if direction == "ingress" else self.egress


def compiled(key: Key, content: Content) -> Policy:
    """A policy from its projected object. What cannot be read is a policy with an `error`, never an exception."""
    try:
        return _compiled(key, content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        return Policy(key, "", 0, _subject(key, content), (), (), why)


def _subject(key: Key, content: Content) -> Pods:
    """Whom a policy that cannot be read may select: everyone that it can, where that cannot be read either."""
    everyone = Pods(key.namespace, None if key.namespace else {}, {})
    try:
        spec = content.get("spec") or {}
        if key.resource == NETWORK_POLICIES:
            return everyone._replace(pods=_selector(spec.get("podSelector")))
        return _pods(spec["subject"]) or everyone
    except (AttributeError, KeyError, TypeError, ValueError):
        return everyone


def _compiled(key: Key, content: Content) -> Policy:
    spec = content.get("spec") or {}
    if key.resource == NETWORK_POLICIES:
        return _network_policy(key, spec)
    ingress, egress = (
        tuple(_cluster_rule(rule, field) for rule in spec.get(direction) or ())
        for direction, (_, field) in FIELDS.items()
    )
    tier: Literal["admin", "baseline"] = "admin"
    if key.resource == BASELINE_POLICIES or spec.get("tier") == "Baseline":
        tier = "baseline"
    elif key.resource == CLUSTER_POLICIES and spec.get("tier") != "Admin":
        raise ValueError(f"tier {spec.get('tier')} is not known")
    subject = _pods(spec["subject"])
    if subject is None:
        raise ValueError("its subject is of a kind that is not known")
    return Policy(key, tier, int(spec.get("priority", 0)), subject, ingress, egress)


def _selector(given: Selector | None) -> Selector:
    """A LabelSelector that can be read; an absent one selects all. Raises ValueError."""
    found = given or {}
    labels, expressions = found.get("matchLabels") or {}, found.get("matchExpressions") or ()
    if not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise ValueError("matchLabels is no map of texts")
    for one in expressions:
        operator, values = one.get("operator"), one.get("values") or ()
        if not isinstance(one.get("key"), str) or operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise ValueError(f"an expression of a selector has the operator {operator}")
        if not all(isinstance(value, str) for value in values) or bool(values) != (operator in ("In", "NotIn")):
            raise ValueError(f"the values of a selector's {operator} are not what it takes")
    return found


# NetworkPolicy ------------------------------------------------------------------------------------------------------


def _network_policy(key: Key, spec: Mapping[str, Any]) -> Policy:
    subject = Pods(key.namespace, None, _selector(spec.get("podSelector")))
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    ingress, egress = (
        tuple(_rule(key.namespace, rule, others) for rule in spec.get(field) or ()) if name in types else None
        for field, (name, others) in FIELDS.items()
    )
    return Policy(key, "", 0, subject, ingress, egress)


def _rule(namespace: str, rule: Mapping[str, Any], others: str) -> Rule:
    peers = tuple(_peer(namespace, peer) for peer in rule.get(others) or ()) or None
    return Rule("accept", peers, _ports(rule.get("ports") or ()))


def _peer(namespace: str, peer: Mapping[str, Any]) -> Peer:
    if "ipBlock" in peer:
        if len(peer) > 1:
            raise ValueError("a peer with ipBlock has another field beside it")
        return Block(addresses.block(peer["ipBlock"]["cidr"], peer["ipBlock"].get("except") or ()), None)
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if namespaces is None and pods is None:
        raise ValueError("a peer has no selector and no ipBlock")
    if namespaces is None:
        return Pods(namespace, None, _selector(pods))
    return Pods("", _selector(namespaces), _selector(pods))


def _ports(given: Sequence[Mapping[str, Any]]) -> Ports:
    if not given:
        return ANY_PORT
    return _listed(tuple((one.get("protocol") or "TCP", one.get("port"), one.get("endPort")) for one in given))


@lru_cache(maxsize=1 << 16)
def _listed(given: tuple[tuple[str, str | int | None, int | None], ...]) -> Ports:
    """Equal ports are one object: a set is as large as its highest port, and policies repeat a few of them."""
    numbered, named = 0, []
    for protocol, port, last in given:
        if port is None:
            numbered |= span(protocol)
        elif isinstance(port, str):
            span(protocol)
            named.append((port, protocol))
        else:
            numbered |= span(protocol, port, last or port)
    return Ports(numbered, tuple(sorted(set(named))))


# ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy -----------------------------------------------


def _cluster_rule(rule: Mapping[str, Any], others: str) -> Rule:
    action = _ACTIONS[rule["action"]]
    peers: list[Peer] = []
    closed = False
    for given in rule.get(others) or ():
        found = _cluster_peers(given, others)
        closed = closed or not found
        peers += found
    ports = _cluster_ports(rule)
    if closed or ports is None:
        return Rule("accept", (), ANY_PORT) if action == "accept" else Rule("deny", None, ANY_PORT)
    return Rule(action, tuple(peers), ports)


def _cluster_peers(peer: Mapping[str, Any], others: str) -> list[Peer]:
    """One peer; [] for one of a kind that is not known."""
    pods = _pods(peer)
    if pods is not None:
        return [pods]
    if peer.get("networks") and others == "to":
        return [Block(addresses.union(addresses.network(cidr) for cidr in peer["networks"]), True)]
    return [Unsure(what, repr(peer[what])) for what in ("nodes", "domainNames") if what in peer and others == "to"]


def _pods(peer: Mapping[str, Any]) -> Pods | None:
    if peer.get("namespaces") is not None:
        return Pods("", _selector(peer["namespaces"]), {})
    if peer.get("pods") is not None:
        return Pods("", _selector(peer["pods"].get("namespaceSelector")), _selector(peer["pods"].get("podSelector")))
    return None


def _cluster_ports(rule: Mapping[str, Any]) -> Ports | None:
    """The ports of a rule; None where one is of a kind that is not known."""
    old, new = rule.get("ports"), rule.get("protocols")
    if not old and not new:
        return ANY_PORT
    found = [_admin_port(one) for one in old or ()] + [_protocol(one) for one in new or ()]
    if not all(found):
        return None
    return _joined(one for one in found if one)


def _joined(ports: Iterable[Ports]) -> Ports:
    numbered, named = 0, set[tuple[str, str]]()
    for one in ports:
        numbered |= one.numbered
        named.update(one.named)
    return Ports(numbered, tuple(sorted(named)))


def _admin_port(port: Mapping[str, Any]) -> Ports | None:
    """A port of v1alpha1."""
    if "portNumber" in port:
        return Ports(span(port["portNumber"].get("protocol") or "TCP", port["portNumber"]["port"],
                          port["portNumber"]["port"]))  # fmt: skip
    if "portRange" in port:
        found = port["portRange"]
        return Ports(span(found.get("protocol") or "TCP", found["start"], found["end"]))
    return Ports(0, ((port["namedPort"], ""),)) if "namedPort" in port else None


def _protocol(given: Mapping[str, Any]) -> Ports | None:
    """A protocol of v1alpha2."""
    if "destinationNamedPort" in given:
        return Ports(0, ((given["destinationNamedPort"], ""),))
    for name in ("tcp", "udp", "sctp"):
        if name in given:
            port = (given[name] or {}).get("destinationPort")
            if port is None:
                return Ports(span(name.upper()))
            if "number" in port:
                return Ports(span(name.upper(), port["number"], port["number"]))
            if "range" in port:
                return Ports(span(name.upper(), port["range"].get("start", 1), port["range"].get("end", LAST)))
            return None
    return None
