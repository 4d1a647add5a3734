"""What follows where the condition of an escalation is met, and what meets it: the edges that the catalogue makes.

A condition that several requests or other escalations make together is an AND node; so is one that a policy engine
alone refuses, together with that engine switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, product

from posture.model import CLUSTER_SCOPE, Through, Version

from . import closed, crossing, effects
from .abilities import Ability, Conditions
from .catalogue import (
    ADMITTING,
    EXCEPTIONS,
    IN_COMING,
    IN_NEW,
    LOCAL,
    METADATA,
    NAMESPACE,
    PODS,
    REFERS,
    STDIN,
    THERE,
    Escalation,
)
from .inventory import Inventory
from .nodes import ENGINE, Edge, Fact, can, condition

EVERYWHERE, HOLDS = "everywhere", "holds"
type Needs = tuple[frozenset[Fact], ...]


class Catalogue:
    """The escalations that hold for a version of Kubernetes, compiled."""

    def __init__(self, escalations: Iterable[Escalation], version: Version | None) -> None:
        self.given, self.version = tuple(escalations), version
        wanted = {name for one in self.given for name in (*one.uses, one.effect.get("ability"))}
        self.all = {
            one.id: one for one in sorted(self.given, key=_plainness)
            if one.applies(version) and (one.effect.get("ability") is not True or one.id in wanted)
        }  # fmt: skip
        """Those that lead somewhere: what others may build on and none does is left out."""
        self.conditions = Conditions(self.all.values())
        self.users: dict[str, list[Escalation]] = {}
        for one in self.all.values():
            for used in one.uses:
                self.users.setdefault(used, []).append(one)
        self.wanted = {
            (one.id, field): effects.violations(one.where[field])
            for one in self.all.values() for field in sorted(ADMITTING & one.where.keys())
        }  # fmt: skip
        self.parts = {
            one.id: [*(_part(one, number) for number in range(len(one.requests))), *one.uses]
            for one in self.all.values()
        }  # fmt: skip
        """The abilities that make each."""
        self.rewriting = Conditions(one for one in self.all.values() if {"rewrite", "make"} & one.effect.keys())
        self.admitted = [
            one for one in self.all.values()
            if any(part.is_admitted for part in (one, *map(self.all.get, one.uses)) if part is not None)
        ]  # fmt: skip
        """Those that admission has a say in, or in what they use."""
        self.wide = frozenset(
            name for one in self.all.values() for name in (one.id, *one.uses)
            if any(":*/" in text and not text.endswith("/*") for text in one.effect.get("become", ()))
        )  # fmt: skip
        """Those that lead to some identities of every namespace, wherever they are met."""

    def makes_pods(self, escalation: Escalation) -> bool:
        """Whether it, or what it uses, takes pods that are admitted."""
        return any(PODS in one.where for one in (escalation, *filter(None, map(self.all.get, escalation.uses))))


def _plainness(one: Escalation) -> tuple[bool, int, str]:
    """What takes fewest permissions is told first, and before all that whoever holds everything holds everything."""
    leaves = [leaf for tree in one.trees for leaf in tree.leaves()]
    return not any(leaf.verbs == ("*",) for leaf in leaves), len(leaves), one.id


def _part(escalation: Escalation, number: int) -> str:
    """The name of one request of an escalation, as an ability: its own where it is all that there is to it."""
    return escalation.id if escalation.single else f"{escalation.id}#{number}"


def request(escalation: Escalation, number: int, scope: str, names: Mapping[str, str]) -> str:
    """The node of one request of an escalation that is met."""
    return can(_part(escalation, number), scope, names)


class Following:
    """The edges of escalations, in a cluster that has these things."""

    def __init__(self, inventory: Inventory, catalogue: Catalogue) -> None:
        self.of = inventory
        self.catalogue = catalogue

    def met_by(self, node: str, ability: Ability) -> Iterator[Edge]:
        """The edges from whoever meets one request of an escalation."""
        escalation = self.catalogue.all[ability.escalation]
        if not self.is_served(escalation):
            return
        tail = (node,)
        limits = [
            (name, sorted(values - {"*"}))  # a name like any other, that no object has
            for name, values in ability.names if name != NAMESPACE
        ]  # fmt: skip
        for values in product(*(values for _, values in limits)):
            names = dict(zip((name for name, _ in limits), values, strict=True))
            for place in self.narrowed(ability, escalation):
                yield Edge(tail, request(escalation, ability.request, place, names), HOLDS, ability.needs)

    def narrowed(self, ability: Ability, escalation: Escalation) -> Iterable[str]:
        """The scopes that an ability is about; a variable $ns is the namespace itself."""
        scope, only = ability.scope, escalation.where.get("namespaces")
        named = dict(ability.names).get(NAMESPACE)
        places: Iterable[str] = (scope,)
        if scope == CLUSTER_SCOPE and named is not None:
            places = sorted(named.intersection(self.of.namespaces))
        if only is None:
            return places
        return only if [*places] == [CLUSTER_SCOPE] else [one for one in only if one in places]

    def is_served(self, escalation: Escalation) -> bool:
        """Whether anything can follow: what is used by others counts whether the API serves it or not."""
        serves = escalation.where.get("serves")
        return not serves or escalation.id in self.catalogue.users or self.of.serves(serves)

    def of_condition(self, node: str) -> Iterator[Edge]:
        """What follows where the condition of an escalation, or one request of it, is met."""
        identity, number, scope, names = condition(node)
        escalation = self.catalogue.all.get(identity)
        if escalation is None or not self.of.has(scope):
            return
        if any(name.startswith(THERE) for name in names):
            yield from self._there(f"{identity}#{number}" if number is not None else identity, node)
            return
        if number is not None:
            yield from self._joined(escalation, scope)
            if scope == CLUSTER_SCOPE:
                yield from (
                    Edge((node,), can(f"{identity}#{number}", place), EVERYWHERE) for place in self.of.namespaces
                )
            return
        yield from self._met(escalation, scope, names)
        if scope == CLUSTER_SCOPE and self._is_local(escalation):
            yield from (Edge((node,), can(identity, place, names), EVERYWHERE) for place in self.of.namespaces)
        if not names:
            for user in self.catalogue.users.get(identity, ()):
                yield from self._joined(user, scope)

    def _there(self, part: str, node: str) -> Iterator[Edge]:
        """What is met by names of objects is met where these are there."""
        _, _, scope, names = condition(node)
        if scope == CLUSTER_SCOPE:
            yield from (Edge((node,), can(part, place, names), EVERYWHERE) for place in self.of.namespaces)
        elif all(self.of.is_there(name.removeprefix(THERE), scope, names[name])
                 for name in names if name.startswith(THERE)):  # fmt: skip
            others = {name: value for name, value in names.items() if not name.startswith(THERE)}
            yield Edge((node,), can(part, scope, others), EVERYWHERE)

    def of_target(self, node: str) -> Iterator[Edge]:
        """What follows from a target together with a condition."""
        for escalation in self.catalogue.all.values():
            if node in escalation.holds:
                for scope in (CLUSTER_SCOPE, *self.of.namespaces):
                    yield from self._joined(escalation, scope)

    def of_engine(self, node: str) -> Iterator[Edge]:
        """What an engine alone refuses, once it is switched off."""
        closing = closed.may_be(self.of.admission)
        for escalation in self.catalogue.all.values() if closing else self.catalogue.admitted:
            for scope in (CLUSTER_SCOPE, *self.of.namespaces):
                found = chain(self._joined(escalation, scope), self._met(escalation, scope, {}))
                yield from (edge for edge in found if node in edge.tail)

    def _is_local(self, escalation: Escalation) -> bool:
        """Whether it has to be looked at namespace by namespace."""
        local = LOCAL & escalation.where.keys()
        return bool(local or escalation.id in self.catalogue.users or effects.by_namespace(escalation))

    def _holds_here(self, escalation: Escalation, scope: str) -> bool:
        serves = escalation.where.get("serves")
        if serves and not self.of.serves(serves):
            return False
        if scope == CLUSTER_SCOPE:
            return not (LOCAL & escalation.where.keys() or effects.by_namespace(escalation))
        group = escalation.where.get(EXCEPTIONS)
        coming = {IN_NEW, IN_COMING} & escalation.where.keys()
        return not coming and (group is None or self.of.reads_exceptions(group, scope))

    def _met(self, escalation: Escalation, scope: str, names: Mapping[str, str]) -> Iterator[Edge]:
        """What follows from a condition that is met, as admission lets it."""
        if self._holds_here(escalation, scope):
            for engines, needs in self._let([escalation], scope, alone=bool(names)):
                yield from self._effect((can(escalation.id, scope, names), *engines), escalation, scope, names, needs)

    def _joined(self, escalation: Escalation, scope: str) -> Iterator[Edge]:
        """The edge into a condition that several requests, or other escalations, make together."""
        if scope != CLUSTER_SCOPE and escalation.id not in self.catalogue.users and (
            not self._holds_here(escalation, scope) or not self._let([escalation], scope)
        ):  # fmt: skip
            return  # nothing follows
        tail = {*(can(part, scope) for part in self.catalogue.parts[escalation.id]), *escalation.holds}
        apart = len(tail) > 1 or escalation.id in self.catalogue.users
        asked = [one for one in map(self.catalogue.all.get, escalation.uses) if one]
        new = bool({IN_NEW, IN_COMING} & escalation.where.keys())
        for engines, needs in self._let(asked if apart else [*asked, escalation], scope, new=new):
            if apart:
                yield Edge(tuple(sorted({*tail, *engines})), can(escalation.id, scope), escalation.id, needs)
            elif self._holds_here(escalation, scope):
                yield from self._effect((*tail, *engines), escalation, scope, {}, needs)

    def _let(
        self, asked: Iterable[Escalation], scope: str, *, alone: bool = False, new: bool = False
    ) -> list[tuple[tuple[str, ...], Needs]]:
        """What lets escalations pass in a scope: nothing more than the needs, or else each engine (a node) that is the
        only one to refuse them. Pod Security is a label, which has escalations of its own. `alone` leaves engines out.
        In the scope `*` a `new` namespace is meant.
        """
        given = tuple(asked)
        needs = self._given(given, scope, new=new)
        if needs is not None:
            return [((), needs)]
        if alone or not any(one.is_admitted or PODS in one.where for one in given):
            return []
        engines = (name for name in self.of.engines if name != effects.POD_SECURITY)
        found = ((f"{ENGINE}{name}", self._given(given, scope, name, new=new)) for name in engines)
        return [((engine,), needs) for engine, needs in found if needs is not None]

    def _given(self, asked: Iterable[Escalation], scope: str, without: str = "", *, new: bool) -> Needs | None:
        """What gives the predicates of escalations in a scope; None where one is refused, `without` an engine."""
        needs: list[frozenset[Fact]] = []
        for one in asked:
            if PODS in one.where and closed.is_closed(self.of.admission, scope, without, new=new):
                return None
            if IN_COMING in one.where and not effects.may_come(self.of.admission, without):
                return None
            for word in sorted(ADMITTING & one.where.keys()):
                wanted = self.catalogue.wanted[one.id, word]
                found = effects.admitted(self.of.admission, word, scope, wanted, without)
                if not found.sure:
                    return None
                through = Through(word, scope, effects.named(found.sure))
                subject = effects.subject_of(scope)
                needs.append(frozenset({Fact("admission", subject, scope, through)}))
            if METADATA in one.where:
                lets = crossing.of_new_pods(self.of.network, scope)
                if not lets:
                    return None
                needs.append(lets)
        return tuple(needs)

    def _effect(
        self, tail: Iterable[str], escalation: Escalation, scope: str, names: Mapping[str, str],
        needs: Needs,
    ) -> Iterator[Edge]:  # fmt: skip
        whole, found = tuple(sorted(tail)), effects.Effects(self.of)
        if REFERS in escalation.where:
            for head, need in found.referring(escalation, scope, names):
                yield Edge(whole, head, escalation.id, (*needs, need))
            return
        if STDIN in escalation.where:
            for pattern in escalation.effect["become"]:
                for head in self.of.attached(scope, names.get(pattern.rpartition("/")[2])):
                    yield Edge(whole, head, escalation.id, needs)
            return
        for head in found.heads(escalation.effect, scope, names):
            yield Edge(whole, head, escalation.id, needs)
