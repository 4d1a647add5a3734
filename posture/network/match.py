"""Where checks of this domain hold: what a workload may send or receive, and policies that say nothing.

A check's `match` is `any` of conditions (conditions.py), of which one must hold for something that one thing allows; or
it asks something of policies themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from posture.model import Change, Check, Hit, Through

from .allowed import NON_ISOLATED, pieces_of, through_of
from .compare import NAME, Where, way
from .conditions import Asked, Condition, condition, pattern
from .connectivity import Connectivity, Space, selects
from .endpoints import NAMESPACE, PODS, WORKLOADS, Endpoint
from .gaps import doubt
from .policies import ANY_PORT, DIRECTIONS, Direction, Policy
from .regions import Piece, Term, Workload, gathered
from .units import piece_of, unit_of

_NOTHING = Through("", "", "")


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled check: where it looks, its conditions, and what it asks of policies themselves."""

    check: Check
    only: re.Pattern[str] | None
    but: re.Pattern[str] | None
    conditions: tuple[Condition, ...]
    policy: str

    @classmethod
    def of(cls, check: Check) -> Rules:
        """A check, compiled. Raises ValueError for an address, port or range that is none."""
        only, but = (pattern(check.match[key]) if key in check.match else None
                     for key in ("namespaces", "exceptNamespaces"))  # fmt: skip
        conditions = tuple(map(condition, check.match.get("any", ())))
        return cls(check, only, but, conditions, check.match.get("policy", ""))

    def looks_at(self, namespace: str) -> bool:
        """Whether it speaks of a namespace."""
        return not (self.but and self.but.match(namespace)) and not (self.only and not self.only.match(namespace))


type _Parts = list[tuple[Direction, Piece]]
type _Held = list[tuple[list[str], Through, _Parts]]
"""What the workloads of a namespace are allowed, by what allows it: (workloads, through, what)."""


class _Table:
    """Checks by what their conditions ask for at first sight: few of them have to look twice at one thing."""

    def __init__(self, rules: Iterable[Rules]) -> None:
        self.rules = [*rules]
        self._rows: dict[tuple[Direction, bool, str], list[tuple[int, Condition]]] = {
            (direction, isolated, peers): [
                (number, one)
                for number, rules in enumerate(self.rules)
                for one in rules.conditions
                if one.direction in (None, direction)
                and one.isolated in (None, isolated)
                and one.peers in (None, peers)
            ]
            for direction in DIRECTIONS for isolated in (True, False) for peers in ("pods", "addresses")
        }  # fmt: skip

    def holding(self, result: Connectivity, space: Space, through: Through, parts: _Parts) -> dict[int, _Parts]:
        """The checks that hold for what one thing allows, by number, each with the parts that it holds for."""
        found: dict[int, _Parts] = {}
        isolated = through.kind != NON_ISOLATED
        for direction, piece in parts:
            asked = Asked(result, space, direction, piece, isolated)
            peers = "pods" if isinstance(piece.who, Term | Workload) else "addresses"
            for number, one in self._rows[direction, isolated, peers]:
                part = one.part(asked) if self.rules[number].looks_at(space.name) else None
                if part is not None:
                    found.setdefault(number, []).append((direction, part))
        return found


class Matcher:
    """Compiled checks of this domain."""

    def __init__(self, checks: Iterable[Check]) -> None:
        rules = [Rules.of(check) for check in checks if check.domain == NAME]
        self.policies = [one for one in rules if one.policy]
        far = [any(one.far for one in each.conditions) for each in rules]
        self._tables = [_Table(each for each, its in zip(rules, far, strict=True) if its == side)
                        for side in (False, True)]  # fmt: skip
        self._known: dict[str, tuple[Space, list[Hit]]] = {}

    def holding(
        self, result: Connectivity, space: Space, through: Through, parts: _Parts
    ) -> dict[str, tuple[Check, _Parts]]:
        """The checks that hold for what one thing allows in a namespace, each with the parts that it holds for."""
        return {
            table.rules[number].check.id: (table.rules[number].check, found)
            for table in self._tables
            for number, found in table.holding(result, space, through, parts).items()
        }

    def of_policies(self, result: Connectivity, space: Space) -> Iterator[tuple[Check, Policy]]:
        """The checks of policies themselves that hold in a namespace."""
        for rules in self.policies:
            if rules.looks_at(space.name):
                for policy in space.policies:
                    if not policy.error and _OF_POLICIES[rules.policy](result, space, policy):
                        yield rules.check, policy

    def hits(self, result: Connectivity, space: Space) -> list[Hit]:
        """Every hit in a namespace.

        A namespace that did not change is the same in two results: what other namespaces have no say in is worked out
        once.
        """
        near, far = self._tables
        held = _held(space)
        known = self._known.get(space.name)
        if known is None or known[0] is not space:
            place = f"{NAMESPACE}{space.name}", space.name
            policies = [Hit(check.id, *place, through_of(one)) for check, one in self.of_policies(result, space)]
            known = self._known[space.name] = space, [*_hits(near, result, space, held), *policies]
        return [*known[1], *_hits(far, result, space, held)]


def _hits(table: _Table, result: Connectivity, space: Space, held: _Held) -> Iterator[Hit]:
    for workloads, through, parts in held:
        for number in table.holding(result, space, through, parts):
            for workload in workloads:
                yield Hit(table.rules[number].check.id, workload, space.name, through)


def _held(space: Space) -> _Held:
    """Worked out once: a namespace that did not change is asked for on both sides."""
    if "held" not in space.memo:
        space.memo["held"] = [*_holding(space)]
    found: _Held = space.memo["held"]
    return found


def _holding(space: Space) -> Iterator[tuple[list[str], Through, _Parts]]:
    """Workloads that are allowed the same stand together: in most namespaces these are many."""
    pieces: dict[str, dict[int, tuple[Direction, bool, list[Piece]]]] = {}
    for one in space.classes:
        for direction in DIRECTIONS:
            profile = space.profile(one, direction)
            if not one.node:
                found = pieces_of(space, one, direction)
                pieces.setdefault(one.workload, {})[id(found)] = direction, profile.unknown, found
    alike: dict[tuple[int, ...], list[str]] = {}
    for workload, its in pieces.items():
        alike.setdefault(tuple(its), []).append(workload)
    nobody: dict[Through, _Parts] = {}
    for workloads in alike.values():
        by: dict[Through, _Parts] = {}
        for direction, unmodelled, found in pieces[workloads[0]].values():
            for piece in found:
                # Nobody knows whether a policy of another maker isolates it.
                if not (unmodelled and piece.through.kind == NON_ISOLATED):
                    by.setdefault(piece.through, []).append((direction, piece))
        for through, parts in by.items():
            if through.kind == NON_ISOLATED:  # it is the namespace that lacks a policy
                nobody.setdefault(through, parts)
            else:
                yield workloads, through, parts
    for through, parts in nobody.items():
        yield [f"{NAMESPACE}{space.name}"], through, parts


# Policies themselves ------------------------------------------------------------------------------------------------


def _selected(space: Space, policy: Policy) -> list[Endpoint]:
    return [one for one in space.classes if selects(policy.subject, one, space.labels)]


def _selects_nothing(_: Connectivity, space: Space, policy: Policy) -> bool:
    return not any(selects(policy.subject, one, space.labels) for one in space.classes)


def _port_of_nobody(result: Connectivity, space: Space, policy: Policy) -> bool:
    """Whether an ingress rule has a port that none of the pods has which it selects.

    Containers need not list their ports: where some pod lists none, only names are sure to be of nobody.
    """
    if not policy.ingress or all(rule.ports is ANY_PORT for rule in policy.ingress):
        return False
    selected = _selected(space, policy)
    spec = (result.snapshot.get(policy.key) or {}).get("spec") or {}
    given = [port for rule in spec.get("ingress") or () for port in rule.get("ports") or () if "port" in port]
    return bool(selected and policy.ingress) and any(_is_of_nobody(port, selected) for port in given)


def _is_of_nobody(port: Mapping[str, Any], selected: list[Endpoint]) -> bool:
    wanted, protocol = port["port"], port.get("protocol") or "TCP"
    if isinstance(wanted, str):
        return not any(True for one in selected for _ in one.port(wanted, protocol))
    numbers = range(wanted, (port.get("endPort") or wanted) + 1)
    return all(one.named for one in selected) and not any(
        its == protocol and number in numbers for one in selected for (_, its), number in one.named
    )


_OF_POLICIES: Mapping[str, Callable[[Connectivity, Space, Policy], bool]] = {
    "selectsNothing": _selects_nothing,
    "portOfNobody": _port_of_nobody,
}


# The seam -----------------------------------------------------------------------------------------------------------


def match(matcher: Matcher, live: Connectivity, within: Iterable[Where] | None = None) -> Iterator[Hit]:
    """Where checks hold: one hit for each check, workload and thing that allows it.

    None where a gap may hide a policy, and none of a policy itself where it may hide pods.
    """
    wanted = None if within is None else {*within}
    for name in live.spaces if wanted is None else sorted({scope for _, scope in wanted}):
        space = live.spaces.get(name)
        if space is None or doubt(live, f"{NAMESPACE}{name}", name, _NOTHING, live.snapshot) is not None:
            continue
        unsure = any(live.snapshot.gap(resource, name) for resource in (PODS, *WORKLOADS))
        for hit in matcher.hits(live, space):
            if wanted is not None and (hit.subject, hit.scope) not in wanted:
                continue
            if not (unsure and hit.subject.startswith(NAMESPACE)):
                yield hit


def reasons(matcher: Matcher, change: Change, live: Connectivity) -> list[Check]:
    """The checks that hold because of what a change gained."""
    space = live.spaces.get(change.scope)
    if space is None:
        return []
    parts: _Parts = [(unit["direction"], piece_of(unit)) for unit in change.gained]
    found = [check for check, _ in matcher.holding(live, space, change.through, parts).values()]
    if not parts:
        found += [check for check, one in matcher.of_policies(live, space) if through_of(one) == change.through]
    return found


def as_change(matcher: Matcher, live: Connectivity, where: Where, through: Through) -> Change:
    """All that checks say of one thing, in the form of a change: what was found is what is gained."""
    subject, scope = where
    space = live.spaces[scope]
    parts = [part for whose, its, found in _held(space) if subject in whose and its == through for part in found]
    holding = [part for _, found in matcher.holding(live, space, through, parts).values() for part in found]
    gained = [
        unit_of(piece, direction)
        for direction in DIRECTIONS
        for piece in gathered(piece for way_of, piece in holding if way_of == direction)
    ]
    return Change(
        NAME, "loosened", subject, scope, through, tuple(gained), (), True, *way(live, space, subject, through)
    )
