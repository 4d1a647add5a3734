"""The language of this domain's checks: conditions on one thing that a workload may send or receive.

All fields of a condition must hold (checks/check.schema.json says what each means). Some are yes or no; those that name
addresses, ports or a namespace hold for a part of what is allowed: that part is what a finding tells, and takes back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import cache, lru_cache
from typing import Any, Literal

from posture.model import Content, Key

from . import addresses
from .addresses import Ranges, common, minus, union
from .connectivity import Connectivity, Space
from .endpoints import PODS
from .evaluate import NAMESPACES
from .policies import Direction, Unsure
from .ports import LAST, PROTOCOLS, span
from .portset import PortSet, common_ports, without_ports
from .regions import Piece, Term, holds, within
from .units import ports_in


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is allowed, and to whom. `isolated`: by a policy, not for want of one."""

    of: Connectivity
    space: Space
    direction: Direction
    piece: Piece
    isolated: bool


type Holds = Callable[[Asked], bool]
type Part = Callable[[Asked], Piece | None]
"""What of a thing a field holds for; None where it holds for nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. `far`: other namespaces than the workload's have a say in it.

    `direction`, `isolated` and `peers` are what it asks of a thing at first sight, None for any.
    """

    direction: Direction | None
    isolated: bool | None
    peers: Literal["pods", "addresses"] | None
    whole: tuple[Holds, ...]
    parts: tuple[Part, ...]
    far: bool

    def part(self, asked: Asked) -> Piece | None:
        """What of a thing the condition holds for; None where it does not hold."""
        if not all(holds_for(asked) for holds_for in self.whole):
            return None
        for part in self.parts:
            piece = part(asked)
            if piece is None:
                return None
            if piece is not asked.piece:
                asked = replace(asked, piece=piece)
        return asked.piece


_NAMESPACES = ("peerNamespaces", "exceptPeerNamespaces", "otherTenant")
_FAR = frozenset({"apiServer", "nodes", *_NAMESPACES})
_OF_PODS = frozenset({"everyNamespace", *_NAMESPACES})
_OF_ADDRESSES = frozenset(
    {"world", "addresses", "addressesBeyond", "addressesBeyondDeclared", "apiServer", "nodes"}
)  # fmt: skip


def condition(given: Mapping[str, Any]) -> Condition:
    """A condition from a check. Raises ValueError for an address, port or range that is none."""
    whole: list[Holds] = []
    if given.get("world"):
        whole.append(_world)
    if given.get("everyNamespace"):
        whole.append(_every_namespace)
    if "everyPort" in given:
        whole.append(lambda asked: _every_port(asked) == given["everyPort"])
    peers: Literal["pods", "addresses"] | None = None
    if not given.keys().isdisjoint(_OF_PODS):
        peers = "pods"
    elif not given.keys().isdisjoint(_OF_ADDRESSES):
        peers = "addresses"
    return Condition(
        given.get("direction"), given.get("isolated"), peers, tuple(whole), tuple(_parts(given)),
        not _FAR.isdisjoint(given),
    )  # fmt: skip


def _parts(given: Mapping[str, Any]) -> Iterator[Part]:
    if "ports" in given:
        yield _in_ports(ports_in(given["ports"]), common_ports)
    if "portsBeyond" in given:
        yield _in_ports(ports_in(given["portsBeyond"]), without_ports)
    if "addresses" in given:
        yield _in_ranges(common, union(map(addresses.network, given["addresses"])))
    if "addressesBeyond" in given:
        yield _in_ranges(minus, union(map(addresses.network, given["addressesBeyond"])))
    if "addressesBeyondDeclared" in given:
        yield _beyond_declared(given["addressesBeyondDeclared"])
    if given.get("apiServer"):
        yield lambda asked: _only(asked.piece, common(asked.piece.ranges, api_servers(asked.of)))
    if given.get("nodes"):
        yield _nodes
    if any(field in given for field in _NAMESPACES):
        yield _Namespaces(given)


# Ports --------------------------------------------------------------------------------------------------------------


def _in_ports(wanted: PortSet, combined: Callable[[PortSet, PortSet], PortSet]) -> Part:
    def part(asked: Asked) -> Piece | None:
        ports = combined(asked.piece.ports, wanted)
        return asked.piece._replace(ports=ports) if ports.numbered or ports.named else None

    return part


_WHOLE = tuple(map(span, PROTOCOLS))


def _every_port(asked: Asked) -> bool:
    """Most ports of a protocol: a gain is what is left when those are taken out that were agreed."""
    numbered = asked.piece.ports.numbered
    return any(2 * (numbered & whole).bit_count() > LAST for whole in _WHOLE)


# Addresses ----------------------------------------------------------------------------------------------------------


_SPECIAL = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "224.0.0.0/3")  # fmt: skip
INTERNET: tuple[Ranges, Ranges] = (
    minus((addresses.network("0.0.0.0/0"),), union(map(addresses.network, _SPECIAL))),
    (addresses.network("2000::/3"),),
)
"""Addresses of the Internet, by family: the registries of RFC 6890 name the others, RFC 4291 those of IPv6."""


def _size(ranges: Ranges) -> int:
    return sum(last - first + 1 for first, last in ranges)


_QUARTERS = tuple(_size(ranges) // 4 for ranges in INTERNET)


def _world(asked: Asked) -> bool:
    return asked.piece.who is None and _is_world(asked.piece.ranges)


@lru_cache(maxsize=4096)
def _is_world(ranges: Ranges) -> bool:
    """At least a quarter of the Internet: who splits it in halves means all of it."""
    return any(_size(common(ranges, all_)) >= quarter for all_, quarter in zip(INTERNET, _QUARTERS, strict=True))


def _only(piece: Piece, ranges: Ranges) -> Piece | None:
    """The addresses of a piece that are among some, where they are its own and not those of pods."""
    if not ranges or piece.who is not None:
        return None
    return piece if ranges == piece.ranges else piece._replace(ranges=ranges)


def _in_ranges(combined: Callable[[Ranges, Ranges], Ranges], wanted: Ranges) -> Part:
    found = lru_cache(maxsize=4096)(lambda ranges: combined(ranges, wanted))  # few rules are about ranges of their own
    return lambda asked: _only(asked.piece, found(asked.piece.ranges)) if asked.piece.who is None else None


def _beyond_declared(key: str) -> Part:
    """Beyond the CIDRs that an annotation of the workload's namespace lists."""

    def part(asked: Asked) -> Piece | None:
        content: Content = asked.of.snapshot.get(Key(NAMESPACES, "", asked.space.name)) or {}
        text = (content.get("annotations") or {}).get(key)
        if text is None:
            return None
        who = asked.piece.who
        if isinstance(who, Unsure) and who.what == "domainNames":
            return asked.piece  # a name may be any address
        return _only(asked.piece, minus(asked.piece.ranges, _declared(text)))

    return part


@cache
def _declared(text: str) -> Ranges:
    """The addresses that a list declares; what cannot be read declares nothing, and so allows nothing."""
    found = []
    for one in text.split(","):
        try:
            found.append(addresses.network(one.strip()))
        except ValueError:
            continue
    return union(found)


def api_servers(result: Connectivity) -> Ranges:
    """The addresses of the API servers that run as pods of kube-system; none where they run elsewhere."""
    memo: Ranges | None = result.__dict__.get("_api_servers")
    if memo is None:
        space = result.spaces.get("kube-system")
        found: set[int] = set()
        for name, pod in space.pods.items() if space else ():
            content = result.snapshot.get(Key(PODS, "kube-system", name)) or {}
            if (content.get("labels") or {}).get("component") == "kube-apiserver":
                found |= pod.hosts
        memo = result.__dict__["_api_servers"] = union((one, one) for one in found)
    return memo


def _nodes(asked: Asked) -> Piece | None:
    who = asked.piece.who
    if isinstance(who, Unsure) and who.what == "nodes":
        return asked.piece
    return _only(asked.piece, common(asked.piece.ranges, nodes(asked.of)))


def nodes(result: Connectivity) -> Ranges:
    """The addresses of the nodes that run pods."""
    memo: Ranges | None = result.__dict__.get("_nodes")
    if memo is None:
        found: set[int] = set()
        for space in result.spaces.values():
            if "hosts" not in space.memo:
                space.memo["hosts"] = frozenset(host for pod in space.pods.values() for host in pod.hosts)
            found |= space.memo["hosts"]
        memo = result.__dict__["_nodes"] = union((one, one) for one in found)
    return memo


# Namespaces ---------------------------------------------------------------------------------------------------------


def _every_namespace(asked: Asked) -> bool:
    """Any namespace but for some: a gain is what is left when those are taken out that were agreed."""
    who = asked.piece.who
    return isinstance(who, Term) and all(state.absent and not state.among for _, state in who.part(pods=False))


def pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    """Shell-style patterns as one."""
    return re.compile("|".join(map(translate, patterns)))


class _Namespaces:
    """What is asked of a namespace at the other end: there must be one, not the workload's own, for which all holds."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        names: list[str] = given.get("peerNamespaces", ["*"])
        self.names = pattern(names)
        self.but = pattern(given["exceptPeerNamespaces"]) if "exceptPeerNamespaces" in given else None
        self.tenants: tuple[str, ...] = tuple(given.get("otherTenant", ()))
        self.one = names[0] if names == [re.sub(r"[*?\[]", "", names[0])] else ""
        """the only name that is asked for, if it is one"""

    def __call__(self, asked: Asked) -> Piece | None:
        piece = asked.piece
        mine = self._tenant(asked.space)
        if not isinstance(piece.who, Term) or (self.tenants and not mine):
            return None
        for tenant, name in self._reached(asked.of, piece.who):
            if name != asked.space.name and not (self.tenants and tenant in ("", mine)):
                return within(piece, name, asked.of.labels_of(name)) if self.one else piece
        return None

    def _tenant(self, space: Space) -> str:
        """Whose a namespace is: the first of the labels that it has says so."""
        return next((space.labels[key] for key in self.tenants if space.labels.get(key)), "")

    def _reached(self, result: Connectivity, who: Term) -> Iterable[tuple[str, str]]:
        """The namespaces with pods that are meant, each with its tenant: of each tenant no more than two."""
        name = who.namespace or self.one
        if name:
            space = result.spaces.get(name)
            return self._meant([space] if space else [], who)
        known: dict[Any, _Reached] = result.__dict__.setdefault("_reached", {})
        place = self, who.part(pods=False)
        if place not in known:
            spaces = (result.spaces[each] for each in result.spaces)  # one by one: most stop at the first
            known[place] = _Reached(self._meant(spaces, who))
        return known[place]

    def _meant(self, spaces: Iterable[Space], who: Term) -> Iterator[tuple[str, str]]:
        """Those among some namespaces that are asked for and that a term is about."""
        term = Term(who.part(pods=False))
        for space in spaces:
            if self.names.match(space.name) and not (self.but and self.but.match(space.name)) and holds(
                term, space.labels, {}
            ):  # fmt: skip
                yield self._tenant(space), space.name


class _Reached:
    """Namespaces with their tenants, found as far as somebody asks for them: of each tenant no more than two."""

    def __init__(self, found: Iterator[tuple[str, str]]) -> None:
        self._rest = found
        self._known: list[tuple[str, str]] = []
        self._number: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        place = 0
        while place < len(self._known) or self._next():
            yield self._known[place]
            place += 1

    def _next(self) -> bool:
        for tenant, name in self._rest:
            self._number[tenant] += 1
            if self._number[tenant] <= 2:
                self._known.append((tenant, name))
                return True
        return False
