"""The graph of a snapshot: who can become whom and reach what. It is implicit: the edges from a node are made when they
are first asked for, and an update keeps those of the places that did not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, product
from typing import Any
from weakref import WeakKeyDictionary

from posture import admission, network, rbac
from posture.model import CLUSTER_SCOPE, Changed, Snapshot, Through, Version
from posture.rbac import subjects
from posture.rbac.evaluate import SERVICE_ACCOUNTS, Where, grant_of, scopes, usable
from posture.rbac.rules import ALL, Rule, parse

from . import crossing, effects
from .abilities import Ability, Conditions, Grant, bearers, matters, of_role, of_subject
from .catalogue import Escalation
from .nodes import (
    ACCOUNT,
    CAN,
    CLOUD,
    CLUSTER_ADMIN,
    EVERY_NODE,
    GROUP,
    MACHINE,
    NAMESPACE_ADMIN,
    NODE,
    OUTSIDE,
    REWRITE,
    ROLE,
    SECRETS,
    USER,
    WORKLOAD,
    Edge,
    Fact,
    can,
    is_set,
    namespace_of,
    secrets,
)
from .places import Gone, gone, kept, place_of

NAME = "graph"
DOMAINS: Mapping[str, Any] = {"rbac": rbac, "network": network, "admission": admission}
READS = tuple(dict.fromkeys((
    *(kind for domain in DOMAINS.values() for kind in domain.READS),
    *crossing.DOORS,
)))  # fmt: skip
MEMBER, ONE_OF, ASSUMES, EVERYWHERE, HOLDS = "member-of", "one-of", "assumes-cloud-identity", "everywhere", "holds"
_MASTERS = GROUP + subjects.MASTERS


class Catalogue:
    """The escalations that hold for a version of Kubernetes, compiled."""

    def __init__(self, escalations: Iterable[Escalation], version: Version | None) -> None:
        self.given, self.version = tuple(escalations), version
        self.all = {one.id: one for one in sorted(self.given, key=_plainness) if one.applies(version)}
        self.conditions = Conditions(self.all.values())
        self.users: dict[str, list[Escalation]] = {}
        for one in self.all.values():
            for used in one.uses:
                self.users.setdefault(used, []).append(one)
        self.wanted = {
            (one.id, field): effects.violations(one.where[field])
            for one in self.all.values() for field in ("admits", "admitsUnlabelled") if field in one.where
        }  # fmt: skip
        self.variables = {
            one.id: _variables(one.effect) if self.single(one) else frozenset() for one in self.all.values()
        }
        """What the names are that each leads to by itself."""
        self.parts = {
            one.id: [*(_part(one, number) for number in range(len(one.requests))), *one.uses]
            for one in self.all.values()
        }  # fmt: skip
        """The abilities that make each."""
        self.rewriting = Conditions(one for one in self.all.values() if "rewrite" in one.effect)
        self.wide = frozenset(
            name for one in self.all.values() for name in (one.id, *one.uses)
            if any(":*/" in text and not text.endswith("/*") for text in one.effect.get("become", ()))
        )  # fmt: skip
        """Those that lead to some identities of every namespace, wherever they are met."""

    def single(self, one: Escalation) -> bool:
        """Whether one identity meets it, and nothing else has to hold."""
        return len(one.requests) == 1 and not one.uses


def _plainness(one: Escalation) -> tuple[bool, int, str]:
    """What takes fewest permissions is told first, and before all that whoever holds everything holds everything."""
    leaves = [leaf for tree in one.trees for leaf in tree.leaves()]
    return not any(leaf.verbs == ("*",) for leaf in leaves), len(leaves), one.id


@dataclass(frozen=True, eq=False)
class Graph:
    """The result: those of all domains, and the edges that were asked for so far, by place and node."""

    results: Mapping[str, Any]
    catalogue: Catalogue
    known: dict[str, dict[str, tuple[Edge, ...]]] = field(default_factory=dict)
    studies: dict[Any, tuple[Any, Gone]] = field(default_factory=dict)
    """What was worked out from the edges of this graph, or of one before it, and what has changed since."""
    ran: dict[str, Mapping[str, crossing.Runs]] = field(default_factory=dict)
    """The workloads of the namespaces that were asked for."""
    apart: WeakKeyDictionary[Graph, Gone] = field(default_factory=WeakKeyDictionary)
    """In what this graph may differ from others."""

    @property
    def snapshot(self) -> Snapshot:
        """The objects."""
        found: Snapshot = self.results["rbac"].snapshot
        return found

    @cached_property
    def of(self) -> effects.Inventory:
        """What there is."""
        return effects.Inventory(self.results["rbac"], self.results["network"], self.results["admission"])

    def edges(self, node: str) -> tuple[Edge, ...]:
        """The edges that a node takes part in as (part of) their tail."""
        found = self._asked.get(node)
        if found is None:
            found = self._asked[node] = self._kept_at(node)
        return found

    @cached_property
    def _asked(self) -> dict[str, tuple[Edge, ...]]:
        return {}

    def _kept_at(self, node: str) -> tuple[Edge, ...]:
        """The same, kept where graphs that differ elsewhere find it."""
        wide = self.catalogue.wide
        name = "" if node.startswith(CAN) and _named(node)[0].partition("#")[0] in wide else place_of(node)
        place = self.known.get(name)
        if place is None:
            place = self.known[name] = {}
        found = place.get(node)
        if found is None:
            found = place[node] = tuple(dict.fromkeys(self._made(node)))
        return found

    def runs(self, namespace: str) -> Mapping[str, crossing.Runs]:
        """The workloads of a namespace."""
        found = self.ran.get(namespace)
        if found is None:
            found = self.ran[namespace] = self._runs(namespace)
        return found

    def _runs(self, namespace: str) -> Mapping[str, crossing.Runs]:
        kept: dict[str, Any] = self.snapshot.derived_from("workloads as nodes")
        space = self.results["network"].spaces.get(namespace)
        index = self.snapshot.index.get(SERVICE_ACCOUNTS, {})  # an account says whether its pods get a token
        mark = (space, tuple((name, index[namespace, name].digest) for name in self.of.accounts.get(namespace, ())))
        old = kept.get(namespace)
        if old is None or old[0][0] is not mark[0] or old[0][1] != mark[1]:
            old = kept[namespace] = mark, crossing.workloads(self.snapshot, space.names if space else ())
        found: Mapping[str, crossing.Runs] = old[1]
        return found

    # Edges, by the kind of node they begin at -----------------------------------------------------------------------

    def _made(self, node: str) -> Iterator[Edge]:
        if node == OUTSIDE:
            yield from crossing.exposed(self.results["network"])
        elif node == EVERY_NODE:
            yield from crossing.of_every_node()
        elif node.startswith(CAN):
            yield from self._of_ability(node)
        elif node.startswith(ROLE):
            yield from self._of_role(node)
        elif node.startswith(REWRITE):
            yield from self._of_rewrite(node)
        elif is_set(node):
            yield from self._of_set(node)
        elif node.startswith(MACHINE):
            yield from self._of_machine(node)
        elif node.startswith(WORKLOAD):
            yield from self._of_workload(node)
        elif node.startswith(NAMESPACE_ADMIN):
            yield from self._of_namespace_admin(node)
        elif node == SECRETS:
            yield Edge((node,), secrets("kube-system"), EVERYWHERE)
        elif node.startswith((USER, GROUP, ACCOUNT)):
            yield from self._of_subject(node)

    def _of_subject(self, node: str) -> Iterator[Edge]:
        live = self.results["rbac"]
        if node == _MASTERS:
            yield Edge((node,), CLUSTER_ADMIN, "system-masters")
            return
        for ability in of_subject(live, self.catalogue.conditions, node):
            yield from self._of_met(node, ability)
        yield from self._of_rewritten(node)
        for where, through, held in self._own(node):
            for word, name in sorted(held.opaque):
                if word == "assume":
                    fact = Fact("rbac", *where, through)
                    yield Edge((node,), f"{CLOUD}{name}", ASSUMES, (frozenset({fact}),))
        for group in subjects.implied(node):
            if self.edges(group):
                yield Edge((node,), group, MEMBER)

    def _own(self, subject: str) -> Iterator[tuple[tuple[str, str], Through, Any]]:
        live = self.results["rbac"]
        for scope in (CLUSTER_SCOPE, *sorted(live.inside.get(subject) or ())):
            for through in live.own((subject, scope)):
                held = live.roles.get(through)
                if held is not None and held.opaque:
                    yield (subject, scope), through, held

    def _of_met(self, node: str, ability: Ability) -> Iterator[Edge]:
        """The edges from whoever meets one request of an escalation."""
        escalation = self.catalogue.all[ability.escalation]
        if not self._is_served(escalation):
            return
        wanted, tail = self.catalogue.variables[escalation.id], (node,)
        limits = [
            (name, sorted(values - {"*"}))  # a name like any other, that no object has
            for name, values in ability.names if values is not None and name in wanted
        ]  # fmt: skip
        for values in product(*(values for _, values in limits)):
            names = dict(zip((name for name, _ in limits), values, strict=True))
            for place in self._narrowed(ability, escalation):
                yield Edge(tail, _request(escalation, ability.request, place, names), HOLDS, ability.needs)

    def _narrowed(self, ability: Ability, escalation: Escalation) -> Iterable[str]:
        """The scopes that an ability is about; a variable $ns is the namespace itself."""
        scope, only = ability.scope, escalation.where.get("namespaces")
        named = dict(ability.names).get("$ns")
        places: Iterable[str] = (scope,)
        if scope == CLUSTER_SCOPE and named is not None:
            places = sorted(named.intersection(self.of.namespaces))
        if only is None:
            return places
        return only if [*places] == [CLUSTER_SCOPE] else [one for one in only if one in places]

    # Conditions of escalations --------------------------------------------------------------------------------------

    def _of_ability(self, node: str) -> Iterator[Edge]:
        """What follows where the condition of an escalation, or one request of it, is met."""
        name, scope, names = _named(node)
        identity, _, number = name.partition("#")
        escalation = self.catalogue.all.get(identity)
        if escalation is None:
            return
        if number:
            yield from self._joined(escalation, scope)
            if scope == CLUSTER_SCOPE:
                yield from (Edge((node,), f"{CAN}{name}@{place}", EVERYWHERE) for place in self.of.namespaces)
            return
        if self._holds_here(escalation, scope):
            yield from self._effect(node, escalation, scope, names)
        if scope == CLUSTER_SCOPE and self._is_local(escalation):
            yield from (Edge((node,), f"{node.rpartition('@')[0]}@{place}", EVERYWHERE) for place in self.of.namespaces)
        if not names:
            for user in self.catalogue.users.get(identity, ()):
                yield from self._joined(user, scope)

    def _is_local(self, escalation: Escalation) -> bool:
        """Whether it has to be looked at namespace by namespace."""
        local = {"admits", "admitsUnlabelled"} & escalation.where.keys()
        return bool(local or escalation.id in self.catalogue.users or effects.by_namespace(escalation))

    def _joined(self, escalation: Escalation, scope: str) -> Iterator[Edge]:
        """The edge into a condition that several requests, or other escalations, make together."""
        if scope != CLUSTER_SCOPE and escalation.id not in self.catalogue.users and (
            not self._holds_here(escalation, scope) or self._admitted(escalation, scope) is None
        ):  # fmt: skip
            return  # nothing follows
        tail = tuple(sorted({can(part, scope) for part in self.catalogue.parts[escalation.id]}))
        used = [self._admitted(one, scope) for one in map(self.catalogue.all.get, escalation.uses) if one]
        if None in used:
            return
        needs = tuple(chain.from_iterable(one for one in used if one))
        if len(tail) > 1 or escalation.id in self.catalogue.users:
            yield Edge(tail, can(escalation.id, scope), escalation.id, needs)
        elif self._holds_here(escalation, scope):
            yield from self._effect(tail[0], escalation, scope, {}, needs)

    def _is_served(self, escalation: Escalation) -> bool:
        """Whether anything can follow: what is used by others counts whether the API serves it or not."""
        serves = escalation.where.get("serves")
        return not serves or escalation.id in self.catalogue.users or self.of.serves(serves)

    def _holds_here(self, escalation: Escalation, scope: str) -> bool:
        serves = escalation.where.get("serves")
        if serves and not self.of.serves(serves):
            return False
        local = {"admits", "admitsUnlabelled"} & escalation.where.keys() or effects.by_namespace(escalation)
        return scope != CLUSTER_SCOPE or not local

    def _admitted(self, escalation: Escalation, scope: str) -> tuple[frozenset[Fact], ...] | None:
        """What admits an escalation in a scope, for whoever meets it; None where something refuses it."""
        needs: list[frozenset[Fact]] = []
        for word in ("admits", "admitsUnlabelled"):
            if word not in escalation.where:
                continue
            wanted = self.catalogue.wanted[escalation.id, word]
            found = effects.admitted(self.results["admission"], scope, wanted, unlabelled=word == "admitsUnlabelled")
            if not found.sure:
                return None
            through = Through(word, scope, effects.named(found.sure))
            needs.append(frozenset({Fact("admission", f"namespace:{scope}", scope, through)}))
        return tuple(needs)

    def _effect(
        self, node: str, escalation: Escalation, scope: str, names: Mapping[str, str],
        more: tuple[frozenset[Fact], ...] = (),
    ) -> Iterator[Edge]:  # fmt: skip
        needs = self._admitted(escalation, scope)
        if needs is not None:
            for head in effects.Effects(self.of).heads(escalation.effect, scope, names):
                yield Edge((node,), head, escalation.id, more + needs)

    @cached_property
    def rewritable(self) -> frozenset[str]:
        """The roles that somebody may give any rule (nodes; `*` is every name)."""
        found: set[str] = set()
        live, conditions = self.results["rbac"], self.catalogue.rewriting
        theirs = chain.from_iterable(of_subject(live, conditions, one) for one in bearers(live, conditions))
        for ability in chain(theirs, self._rewriting_roles()):
            escalation = self.catalogue.all[ability.escalation]
            for edge in self._of_met(ability.subject, ability):
                _, scope, names = _named(edge.head)
                found.update(effects.Effects(self.of).heads(escalation.effect, scope, names))
        return frozenset(found)

    def _rewriting_roles(self) -> Iterator[Ability]:
        """What roles meet by which other roles are rewritten, for who may grant them to himself; who holds everything
        needs no other.
        """
        live, conditions = self.results["rbac"], self.catalogue.rewriting
        everything = Rule(ALL, ALL, ALL, None)
        for through, held in live.roles.items():
            if everything not in held.resources and conditions.near(held, None):
                inside = (through.namespace,) if through.kind == "Role" else (CLUSTER_SCOPE, *self.of.namespaces)
                for scope in inside:
                    yield from of_role(live, conditions, through, scope, str(through))

    def _of_rewritten(self, subject: str) -> Iterator[Edge]:
        """What a subject gets when a role that it is granted is given other rules."""
        roles = self.rewritable
        live = self.results["rbac"]
        for scope in (CLUSTER_SCOPE, *sorted(live.inside.get(subject) or ())) if roles else ():
            for through in live.own((subject, scope)):
                for node in sorted(roles.intersection(effects.rewrites(through))):
                    yield self._rewriting(node, (subject, scope), through)

    def _rewriting(self, node: str, where: tuple[str, str], through: Through) -> Edge:
        subject, scope = where
        head = CLUSTER_ADMIN if scope == CLUSTER_SCOPE else f"{NAMESPACE_ADMIN}{scope}"
        need = frozenset({Fact("rbac", *where, through)})
        return Edge(tuple(sorted((node, subject))), head, "rewritten-role", (need,))

    def _of_rewrite(self, node: str) -> Iterator[Edge]:
        """What a role that may be given any rule gives to those who are granted it."""
        for through in self._by_rewrite.get(node, ()):
            yield from (self._rewriting(node, where, through) for where in self.granted(through))

    @cached_property
    def _by_rewrite(self) -> Mapping[str, list[Through]]:
        found: dict[str, list[Through]] = {}
        for through in self.results["rbac"].bound:
            for node in effects.rewrites(through):
                found.setdefault(node, []).append(through)
        return found

    def granted(self, through: Through) -> Iterator[Where]:
        """To whom a role is granted, and where."""
        live = self.results["rbac"]
        for key in live.bound.get(through) or ():
            content = live.snapshot.get(key)
            grant = grant_of(key, content) if content is not None else None
            yield from ((subject, grant.scope) for subject in (grant.subjects if grant else ()))  # type: ignore[union-attr]

    def matters(self, where: Where) -> bool:
        """Whether anything may follow from what is granted somewhere."""
        live = self.results["rbac"]
        return matters(live, self.catalogue.conditions, where) or any(
            not self.rewritable.isdisjoint(effects.rewrites(through)) for through in live.own(where)
        )

    # Sets, roles, workloads -----------------------------------------------------------------------------------------

    def _of_role(self, node: str) -> Iterator[Edge]:
        reference, _, scope = node.removeprefix(ROLE).rpartition("@")
        kind, _, name = reference.partition("/")
        through = Through(kind, scope if kind == "Role" else "", name)
        live = self.results["rbac"]
        for ability in of_role(live, self.catalogue.conditions, through, scope, node):
            yield from self._of_met(node, ability)

    def _of_set(self, node: str) -> Iterator[Edge]:
        """A set of nodes, and what is in it."""
        kind, _, rest = node.partition(":")
        if kind in ("user", "group"):
            found = (subject for subject in self.of.subjects if subject.startswith(f"{kind}:"))
            yield from (Edge((node,), subject, ONE_OF) for subject in found if subject != _MASTERS)
            return
        namespace = rest.partition("/")[0]
        if namespace == CLUSTER_SCOPE:
            yield from (Edge((node,), f"{kind}:{place}/*", ONE_OF) for place in self.of.namespaces)
        elif kind == "workload":
            yield from (Edge((node,), name, ONE_OF) for name in sorted(self.runs(namespace)))
        else:
            members = (self.of.accounts if kind == "serviceaccount" else self.of.absent).get(namespace, ())
            yield from (Edge((node,), f"{ACCOUNT}{namespace}/{name}", ONE_OF) for name in members)

    def _of_workload(self, node: str) -> Iterator[Edge]:
        namespace = namespace_of(node)
        runs = self.runs(namespace).get(node)
        if runs is not None:
            yield from crossing.of_workload(node, runs, namespace)
        yield from crossing.metadata(self.results["network"], namespace, node)

    def _of_machine(self, node: str) -> Iterator[Edge]:
        yield Edge((node,), NODE, crossing.ON_NODE)
        for name in self._by_machine.get(node.removeprefix(MACHINE), ()):
            yield Edge((node,), name, crossing.RUNS_THERE)

    @cached_property
    def _by_machine(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for namespace in self.of.namespaces:
            for name, runs in self.runs(namespace).items():
                for machine in runs.nodes:
                    found.setdefault(machine, []).append(name)
        return found

    def _of_namespace_admin(self, node: str) -> Iterator[Edge]:
        """Who may do everything in a namespace meets what can be met there."""
        scope = node.removeprefix(NAMESPACE_ADMIN)
        if scope == CLUSTER_SCOPE:
            yield from (Edge((node,), f"{NAMESPACE_ADMIN}{place}", EVERYWHERE) for place in self.of.namespaces)
            return
        for head in self._by_star(scope):
            yield Edge((node,), head, "namespace-admin")

    def _by_star(self, scope: str) -> list[str]:
        live = self.results["rbac"]
        star = parse([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
        grant = Grant(None, usable(star, scope, live.snapshot), scopes(live.snapshot))
        found: dict[str, None] = {}
        for ability in self.catalogue.conditions.met([grant], [grant], "", scope):
            escalation = self.catalogue.all[ability.escalation]
            for place in self._narrowed(ability, escalation):
                found[_request(escalation, ability.request, place, {})] = None
        return [*found]


def _variables(effect: Mapping[str, Any]) -> frozenset[str]:
    texts = (*effect.get("become", ()), effect.get("grantRulesOf", ""), effect.get("rewrite", ""))
    return frozenset(part for text in texts for part in (text.rpartition("/")[2], text.partition(":")[2])
                     if part.startswith("$") and part != "$ns")  # fmt: skip


def _part(escalation: Escalation, number: int) -> str:
    """The name of one request of an escalation, as an ability: its own where it is all that there is to it."""
    return escalation.id if len(escalation.requests) == 1 and not escalation.uses else f"{escalation.id}#{number}"


def _request(escalation: Escalation, number: int, scope: str, names: Mapping[str, str]) -> str:
    limit = "\0".join(f"{name}={value}" for name, value in sorted(names.items()))
    return can(_part(escalation, number), scope, limit)


def _named(node: str) -> tuple[str, str, dict[str, str]]:
    """The name of an ability, its scope, and what its variables are limited to."""
    name, _, scope = node.removeprefix(CAN).rpartition("@")
    name, _, limit = name.partition("[")
    return name, scope, dict(part.split("=", 1) for part in limit[:-1].split("\0")) if limit else {}


def _rewritten(one: Graph, other: Graph) -> Iterator[Where]:
    """Who is granted roles that may be given any rule in one of two graphs only."""
    roles = one.rewritable ^ other.rewritable
    for graph in (one, other) if roles else ():
        for through in graph.results["rbac"].bound:
            if not roles.isdisjoint(effects.rewrites(through)):
                yield from graph.granted(through)


def assembled(
    results: Mapping[str, Any], escalations: Iterable[Escalation], previous: Graph | None = None,
    changed: Iterable[Changed] = (),
) -> Graph:  # fmt: skip
    """The graph of the results of all domains. With `previous` these are updates of its results by what `changed`, and
    what did not change is shared.
    """
    version = results["rbac"].snapshot.version
    if previous is None or previous.catalogue.version != version:
        return Graph(results, Catalogue(previous.catalogue.given if previous else escalations, version))
    found = Graph(results, previous.catalogue)
    if found.of.engines != previous.of.engines:
        return found
    lost = gone(results, changed, (previous, found), _rewritten(previous, found))
    found.known.update(kept(previous.known, lost))
    previous.apart[found] = lost
    found.apart.update({other: since | lost for other, since in previous.apart.items() if other is not found})
    found.apart[previous] = lost
    if lost.places is not None:
        found.ran.update((place, its) for place, its in previous.ran.items() if place not in lost.places)
        found.studies.update({key: (study, since | lost) for key, (study, since) in previous.studies.items()})
    return found


def updated(previous: Graph, snapshot: Snapshot, changed: Iterable[Changed]) -> Graph:
    """The graph of a snapshot that differs by some objects: every domain is updated by these."""
    changed = tuple(changed)
    results = {name: domain.evaluate(snapshot, previous.results[name], changed) for name, domain in DOMAINS.items()}
    return assembled(results, (), previous, changed)
