"""Where checks of this domain hold: conditions on what a workload may send or receive, and through what.

A check's `match` is `any` of conditions; all fields of one condition must hold for one thing that is allowed. A field
that is left out holds for anything (checks/check.schema.json says what each means).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from posture.model import Change, Check, Content, Hit, Key, Through

from . import addresses
from .addresses import Ranges, common, minus, union
from .allowed import NON_ISOLATED, through_of
from .compare import NAME, Where, pieces_of, way
from .connectivity import Connectivity, Space, selects
from .endpoints import PODS, Endpoint
from .evaluate import NAMESPACES
from .policies import DIRECTIONS, Direction, Policy, Ports, Rule
from .ports import LAST, span, spans
from .regions import Piece, Term, common_ports, gathered, holds, without_ports
from .units import piece_of, ports_in, unit_of

NAMESPACE = "namespace:"
_PRIVATE = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "224.0.0.0/3", "::/3", "fc00::/6", "fe80::/9")  # fmt: skip
PUBLIC = minus(addresses.EVERYWHERE, union(map(addresses.network, _PRIVATE)))
"""Addresses of the Internet: RFC 6890 names the others."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing that is allowed, and to whom."""

    of: Connectivity
    space: Space
    direction: Direction
    piece: Piece
    isolated: bool


type Holds = Callable[[Asked], bool]


def _world(asked: Asked) -> bool:
    """At least half of the Internet's addresses, of either family."""
    if asked.piece.who is not None:
        return False
    families = [tuple(span for span in PUBLIC if addresses.family(span[0]) == family) for family in (4, 6)]
    return any(2 * _size(common(asked.piece.ranges, public)) >= _size(public) for public in families)


def _size(ranges: Ranges) -> int:
    return sum(last - first + 1 for first, last in ranges)


def _every_namespace(asked: Asked) -> bool:
    return isinstance(asked.piece.who, Term) and not asked.piece.who.part(pods=False)


def _reaches_namespace(asked: Asked, name: str) -> bool:
    who = asked.piece.who
    labels = asked.of.labels_of(name)
    return isinstance(who, Term) and bool(labels) and holds(Term(who.part(pods=False)), labels, {})


def _of_namespaces(names: Iterable[str]) -> Holds:
    return lambda asked: any(asked.space.name != name and _reaches_namespace(asked, name) for name in names)


def _other_tenant(keys: list[str]) -> Holds:
    """Pods of a namespace of another tenant: one whose first of these labels has another value."""

    def tenant(labels: Mapping[str, str]) -> str:
        return next((labels[key] for key in keys if labels.get(key)), "")

    def holds_for(asked: Asked) -> bool:
        mine = tenant(asked.space.labels)
        return bool(mine) and any(
            tenant(other.labels) not in ("", mine) and other.classes and _reaches_namespace(asked, other.name)
            for other in _spaces(asked)
        )

    return holds_for


def _spaces(asked: Asked) -> Iterable[Space]:
    """The namespaces that a thing may be about."""
    name = asked.piece.who.namespace if isinstance(asked.piece.who, Term) else ""
    if name:
        found = asked.of.spaces.get(name)
        return [found] if found else []
    return asked.of.spaces.values()


def _declared(key: str) -> Holds:
    """Addresses beyond those that the namespace itself declares, in a label or annotation."""

    def holds_for(asked: Asked) -> bool:
        content: Content = asked.of.snapshot.get(Key(NAMESPACES, "", asked.space.name)) or {}
        text = (content.get("annotations") or {}).get(key) or (content.get("labels") or {}).get(key)
        if not text or asked.piece.who is not None:
            return False
        try:
            ranges = union(addresses.network(one.strip()) for one in text.split(","))
        except ValueError:
            return True  # what cannot be read allows nothing
        return bool(minus(asked.piece.ranges, ranges))

    return holds_for


def _api_server(asked: Asked) -> bool:
    known = api_servers(asked.of)
    return asked.piece.who is None and any(addresses.holds(asked.piece.ranges, one) for one in known)


def api_servers(result: Connectivity) -> frozenset[int]:
    """The addresses of the API servers that run as pods of kube-system; none where they run elsewhere."""
    memo = result.__dict__.get("_api_servers")
    if memo is None:
        space = result.spaces.get("kube-system")
        found: set[int] = set()
        for name, pod in space.pods.items() if space else ():
            content = result.snapshot.get(Key(PODS, "kube-system", name)) or {}
            if (content.get("labels") or {}).get("component") == "kube-apiserver":
                found |= pod.hosts
        memo = result.__dict__["_api_servers"] = frozenset(found)
    return memo


def _condition(given: Mapping[str, Any]) -> Holds:
    """All fields of one condition."""
    parts: list[Holds] = []
    ranges = {field: union(map(addresses.network, given[field])) for field in ("addresses", "addressesBeyond")
              if field in given}  # fmt: skip
    ports = {field: ports_in(given[field]) for field in ("ports", "portsBeyond") if field in given}
    if "direction" in given:
        parts.append(lambda asked: asked.direction == given["direction"])
    if "isolated" in given:
        parts.append(lambda asked: asked.isolated == given["isolated"])
    if "addresses" in ranges:
        parts.append(lambda asked: asked.piece.who is None and bool(common(asked.piece.ranges, ranges["addresses"])))
    if "addressesBeyond" in ranges:
        parts.append(
            lambda asked: asked.piece.who is None and bool(minus(asked.piece.ranges, ranges["addressesBeyond"]))
        )
    if "ports" in ports:
        parts.append(lambda asked: not _none(common_ports(asked.piece.ports, ports["ports"])))
    if "portsBeyond" in ports:
        parts.append(lambda asked: not _none(without_ports(asked.piece.ports, ports["portsBeyond"])))
    plain = {"world": _world, "everyNamespace": _every_namespace, "apiServer": _api_server}
    parts += [holds_for for field, holds_for in plain.items() if given.get(field)]
    if "peerNamespaces" in given:
        parts.append(_of_namespaces(given["peerNamespaces"]))
    if "otherTenant" in given:
        parts.append(_other_tenant(given["otherTenant"]))
    if "addressesBeyondDeclared" in given:
        parts.append(_declared(given["addressesBeyondDeclared"]))
    return lambda asked: all(part(asked) for part in parts)


def _none(ports: Ports) -> bool:
    return not ports.numbered and not ports.named


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled check: where it looks, its conditions, and what it asks of policies themselves."""

    check: Check
    namespaces: tuple[str, ...]
    but: tuple[str, ...]
    conditions: tuple[Holds, ...]
    policy: str

    def looks_at(self, namespace: str) -> bool:
        """Whether it speaks of a namespace."""
        if any(fnmatchcase(namespace, pattern) for pattern in self.but):
            return False
        return not self.namespaces or any(fnmatchcase(namespace, pattern) for pattern in self.namespaces)


class Matcher:
    """Compiled checks of this domain."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self.rules = [
            Rules(
                check, tuple(check.match.get("namespaces", ())), tuple(check.match.get("exceptNamespaces", ())),
                tuple(_condition(one) for one in check.match.get("any", ())), check.match.get("policy", ""),
            )
            for check in checks if check.domain == NAME
        ]  # fmt: skip
        self._known: dict[int, tuple[Space, list[Hit]]] = {}

    def holding(self, result: Connectivity, space: Space, through: Through, parts: Iterable[tuple[Direction, Piece]]
                ) -> Iterator[tuple[Check, list[tuple[Direction, Piece]]]]:  # fmt: skip
        """The checks that hold for what is allowed in a namespace through one thing, each with what makes it hold."""
        given = [*parts]
        for rules in self.rules:
            if not rules.looks_at(space.name):
                continue
            found = [
                (direction, piece) for direction, piece in given
                if any(holds_for(Asked(result, space, direction, piece, through.kind != NON_ISOLATED))
                       for holds_for in rules.conditions)
            ]  # fmt: skip
            if found:
                yield rules.check, found

    def of_policies(self, space: Space) -> Iterator[tuple[Check, Policy]]:
        """The checks of policies themselves that hold in a namespace."""
        for rules in self.rules:
            if rules.policy and rules.looks_at(space.name):
                for policy in space.policies:
                    if not policy.error and _OF_POLICIES[rules.policy](space, policy):
                        yield rules.check, policy

    def hits(self, result: Connectivity, space: Space) -> list[Hit]:
        """Every hit in a namespace, worked out once: a namespace that did not change is the same in two results."""
        known = self._known.get(id(space))
        if known is None or known[0] is not space:
            found = [
                Hit(check.id, workload, space.name, through)
                for workload, through, parts in _held(space)
                for check, _ in self.holding(result, space, through, parts)
            ]
            place = f"{NAMESPACE}{space.name}", space.name
            found += [Hit(check.id, *place, through_of(policy)) for check, policy in self.of_policies(space)]
            known = self._known[id(space)] = space, found
        return known[1]


def _selected(space: Space, policy: Policy) -> list[Endpoint]:
    return [one for one in space.classes if selects(policy.subject, one, space.labels)]


def _selects_nothing(space: Space, policy: Policy) -> bool:
    return not _selected(space, policy)


def _port_of_nobody(space: Space, policy: Policy) -> bool:
    """Whether an ingress rule names a port that none of the pods has which it selects, and all of these name theirs."""
    selected = _selected(space, policy)
    if not selected or not all(one.named for one in selected):
        return False
    return any(_is_of_nobody(rule, selected) for rule in policy.ingress or ())


def _is_of_nobody(rule: Rule, selected: list[Endpoint]) -> bool:
    for name, protocol in rule.ports.named:
        if not any([*one.port(name, protocol)] for one in selected):
            return True
    for protocol, first, last in spans(rule.ports.numbered):
        wanted = span(protocol, first, last)
        if (first, last) != (1, LAST) and not any(
            wanted & span(its, number, number) for one in selected for (_, its), number in one.named
        ):
            return True
    return False


_OF_POLICIES: Mapping[str, Callable[[Space, Policy], bool]] = {
    "selectsNothing": _selects_nothing,
    "portOfNobody": _port_of_nobody,
}


def _held(space: Space) -> Iterator[tuple[str, Through, list[tuple[Direction, Piece]]]]:
    """What each workload of a namespace is allowed, by what allows it."""
    found: dict[tuple[str, Through], list[tuple[Direction, Piece]]] = {}
    for one in space.classes:
        if one.node:
            continue
        for direction in DIRECTIONS:
            for piece in pieces_of(space, one, direction):
                found.setdefault((one.workload, piece.through), []).append((direction, piece))
    yield from ((workload, through, parts) for (workload, through), parts in found.items())


def match(matcher: Matcher, live: Connectivity, within: Iterable[Where] | None = None) -> Iterator[Hit]:
    """Where checks hold: one hit for each check, workload and thing that allows it."""
    if within is None:
        for space in live.spaces.values():
            yield from matcher.hits(live, space)
        return
    wanted = {*within}
    for name in sorted({scope for _, scope in wanted}):
        if name in live.spaces:
            yield from (hit for hit in matcher.hits(live, live.spaces[name]) if (hit.subject, hit.scope) in wanted)


def reasons(matcher: Matcher, change: Change, live: Connectivity) -> list[Check]:
    """The checks that hold because of what a change gained."""
    space = live.spaces.get(change.scope)
    if space is None:
        return []
    parts = [(unit["direction"], piece_of(unit)) for unit in change.gained]
    found = [check for check, _ in matcher.holding(live, space, change.through, parts)]
    if not parts:
        found += [check for check, policy in matcher.of_policies(space) if through_of(policy) == change.through]
    return found


def as_change(matcher: Matcher, live: Connectivity, where: Where, through: Through) -> Change:
    """All that checks say of one thing, in the form of a change: what was found is what is gained."""
    subject, scope = where
    space = live.spaces[scope]
    parts = [part for workload, its, found in _held(space) if (workload, its) == (subject, through) for part in found]
    holding = [part for _, found in matcher.holding(live, space, through, parts) for part in found]
    gained = [
        unit_of(piece, direction)
        for direction in DIRECTIONS
        for piece in gathered(piece for way_of, piece in holding if way_of == direction)
    ]
    return Change(
        NAME, "loosened", subject, scope, through, tuple(gained), (), True, *way(live, space, subject, through)
    )
