"""The graph of a snapshot: who can become whom and reach what. It is implicit: the edges from a node are made when they
are first asked for, and an update keeps those of the places that did not change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

from posture import admission, network, rbac
from posture.model import CLUSTER_SCOPE, Changed, Snapshot, Through
from posture.rbac import subjects
from posture.rbac.evaluate import SERVICE_ACCOUNTS, Where, grant_of, scopes, usable
from posture.rbac.rules import ALL, Rule, parse

from . import crossing, effects
from .abilities import Ability, Grant, bearers, meaning, of_role, of_subject
from .catalogue import Escalation
from .following import EVERYWHERE, Catalogue, Following, request
from .inventory import ANY, LATENT, Inventory
from .nodes import (
    ACCOUNT,
    CAN,
    CLOUD,
    CLUSTER_ADMIN,
    ENGINE,
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
    condition,
    is_set,
    namespace_of,
    role,
    role_of,
    secrets,
)
from .places import Gone, gone, kept, place_of

NAME = "graph"
DOMAINS: Mapping[str, Any] = {"rbac": rbac, "network": network, "admission": admission}
READS = tuple(dict.fromkeys((
    *(kind for domain in DOMAINS.values() for kind in domain.READS),
    *crossing.DOORS, crossing.VOLUMES,
)))  # fmt: skip
MEMBER, ONE_OF, LATENT_ROLE = "member-of", "one-of", "latent-role"
_MASTERS = GROUP + subjects.MASTERS


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
    def of(self) -> Inventory:
        """What there is."""
        rbac, network, admission = (self.results[name] for name in DOMAINS)
        return Inventory(rbac, network, admission, self.runs)

    @cached_property
    def following(self) -> Following:
        """What follows from conditions."""
        return Following(self.of, self.catalogue)

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
        name = "" if node.startswith(CAN) and condition(node).escalation in wide else place_of(node)
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
        accounts = tuple((name, index[namespace, name].digest) for name in self.of.accounts.get(namespace, ()))
        paths = crossing.claims(self.snapshot).get(namespace, {})
        mark = space, (accounts, paths)
        old = kept.get(namespace)
        if old is None or old[0][0] is not mark[0] or old[0][1] != mark[1]:
            old = kept[namespace] = mark, crossing.workloads(self.snapshot, space.names if space else (), paths)
        found: Mapping[str, crossing.Runs] = old[1]
        return found

    # Edges, by the kind of node they begin at -----------------------------------------------------------------------

    def _made(self, node: str) -> Iterator[Edge]:
        if node == OUTSIDE:
            yield from crossing.exposed(self.results["network"])
        elif node == EVERY_NODE:
            yield from crossing.of_every_node()
        elif node == NODE:
            yield from self.following.of_target(node)
        elif node.startswith(ENGINE):
            yield from self.following.of_engine(node)
        elif node.startswith(CAN):
            yield from self.following.of_condition(node)
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
            yield from self.following.met_by(node, ability)
        yield from self._of_rewritten(node)
        for where, through, held in self._own(node):
            for word, name in sorted(held.opaque):
                if word == "assume":
                    fact = Fact("rbac", *where, through)
                    yield Edge((node,), f"{CLOUD}{name}", crossing.ASSUMES, (frozenset({fact}),))
        for group in subjects.implied(node):
            if self._leads(group):
                yield Edge((node,), group, MEMBER)

    def _leads(self, group: str) -> bool:
        """Whether anything may follow from what a group is granted: an update that changes that tells its members."""
        known = self._leading
        if group not in known:
            scopes_of = (CLUSTER_SCOPE, *(self.results["rbac"].inside.get(group) or ()))
            known[group] = any(self.meaning((group, scope))[1] for scope in scopes_of)
        return known[group]

    @cached_property
    def _leading(self) -> dict[str, bool]:
        return {}

    def _own(self, subject: str) -> Iterator[tuple[tuple[str, str], Through, Any]]:
        live = self.results["rbac"]
        for scope in (CLUSTER_SCOPE, *sorted(live.inside.get(subject) or ())):
            for through in live.own((subject, scope)):
                held = live.roles.get(through)
                if held is not None and held.opaque:
                    yield (subject, scope), through, held

    # Roles that may be given any rule --------------------------------------------------------------------------------

    @cached_property
    def rewritable(self) -> frozenset[str]:
        """The roles that somebody may give any rule (nodes; `*` is every name)."""
        found: set[str] = set()
        known: set[str] = set()
        live, conditions = self.results["rbac"], self.catalogue.rewriting
        theirs = chain.from_iterable(of_subject(live, conditions, one) for one in bearers(live, conditions))
        for ability in chain(theirs, self._rewriting_roles()):
            escalation = self.catalogue.all[ability.escalation]
            for head in {edge.head for edge in self.following.met_by(ability.subject, ability)} - known:
                known.add(head)
                _, _, scope, names = condition(head)
                everywhere = scope == CLUSTER_SCOPE and effects.by_namespace(escalation)
                for place in self.of.namespaces if everywhere else (scope,):
                    found.update(effects.Effects(self.of).heads(escalation.effect, place, names))
        return frozenset(found.union(*map(self.of.aggregating, found)))

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
                for node in sorted(roles.intersection(self.of.rewrites(through))):
                    yield self._rewriting(node, (subject, scope), through)

    def _rewriting(self, node: str, where: tuple[str, str], through: Through | None = None) -> Edge:
        """What a subject that is granted a role, or whoever is (the role's node), gets when it is rewritten."""
        holder, scope = where
        head = CLUSTER_ADMIN if scope == CLUSTER_SCOPE else f"{NAMESPACE_ADMIN}{scope}"
        needs = (frozenset({Fact("rbac", *where, through)}),) if through else ()
        return Edge(tuple(sorted((node, holder))), head, "rewritten-role", needs)

    def _of_rewrite(self, node: str) -> Iterator[Edge]:
        """What a role that may be given any rule gives to those who are granted it. Whoever may rewrite every
        ClusterRole may do so by one that he is granted cluster-wide.
        """
        if node == f"{REWRITE}ClusterRole/*@*":
            yield Edge((node,), CLUSTER_ADMIN, "rewritten-role")
        for through in self._by_rewrite.get(node, ()):
            yield from (self._rewriting(node, where, through) for where in self.granted(through))
        yield from (self._rewriting(node, (one, role_of(one)[1])) for one in self.of.granted_as(node))
        yield from (Edge((node,), other, "aggregated-role") for other in self.of.aggregating(node))

    @cached_property
    def _by_rewrite(self) -> Mapping[str, list[Through]]:
        found: dict[str, list[Through]] = {}
        for through in self.results["rbac"].bound:
            for node in self.of.rewrites(through):
                found.setdefault(node, []).append(through)
        return found

    def granted(self, through: Through) -> Iterator[Where]:
        """To whom a role is granted, and where."""
        live = self.results["rbac"]
        for key in live.bound.get(through) or ():
            content = live.snapshot.get(key)
            grant = grant_of(key, content) if content is not None else None
            yield from ((subject, grant.scope) for subject in (grant.subjects if grant else ()))  # type: ignore[union-attr]

    def meaning(self, where: Where) -> tuple[object, bool]:
        """What may follow from what is granted somewhere: equal where the same does."""
        live = self.results["rbac"]
        found = meaning(live, self.catalogue.conditions, where)
        return found, bool(found) or any(
            not self.rewritable.isdisjoint(self.of.rewrites(through)) for through in live.own(where)
        )

    # Sets, roles, workloads -----------------------------------------------------------------------------------------

    def _of_role(self, node: str) -> Iterator[Edge]:
        through, scope = role_of(node)
        live = self.results["rbac"]
        for ability in of_role(live, self.catalogue.conditions, through, scope, node):
            yield from self.following.met_by(node, ability)
        yield from (self._rewriting(one, (node, scope)) for one in sorted(self._rewritten_as(through)))
        latent = through._replace(name=LATENT)
        if through not in (latent, through._replace(name=ANY)) and not self.of.exists(through):
            yield Edge((node,), role(latent, scope), LATENT_ROLE)

    def _rewritten_as(self, through: Through) -> Collection[str]:
        """What says of a role that somebody may grant himself that it may be given any rule; of all of a namespace,
        what says so of one.
        """
        if through.name != ANY:
            latent = through.name != LATENT and not self.of.exists(through)  # its node leads to that of all
            return self.rewritable.intersection(self.of.rewrites(through)[: 1 if latent else None])
        here = (node for node in self.rewritable if role_of(node)[0].namespace == through.namespace)
        return [node for node in here if role_of(node)[0].name != ANY]

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
            yield from crossing.assumed(self.results["network"], node, runs, namespace)
        yield from crossing.metadata(self.results["network"], namespace, node)

    def _of_machine(self, node: str) -> Iterator[Edge]:
        yield Edge((node,), NODE, crossing.ON_NODE)
        for name in self.of.machines.get(node.removeprefix(MACHINE), ()):
            yield Edge((node,), name, crossing.RUNS_THERE)

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
            for place in self.following.narrowed(ability, escalation) if self.following.is_served(escalation) else ():
                found[request(escalation, ability.request, place, {})] = None
        return [*found]


def _rewritten(one: Graph, other: Graph) -> Iterator[Where]:
    """Who is granted roles that may be given any rule in one of two graphs only."""
    roles = one.rewritable ^ other.rewritable
    for graph in (one, other) if roles else ():
        for through in graph.results["rbac"].bound:
            if not roles.isdisjoint(graph.of.rewrites(through)):
                yield from graph.granted(through)


def _paired(one: Graph, other: Graph) -> Gone:
    """The nodes of roles that somebody may grant himself, of which only one of two graphs says that they may be given
    any rule.
    """
    return Gone(frozenset(), frozenset(
        node for rewrite in one.rewritable ^ other.rewritable for node in other.of.granted_as(rewrite)
    ))  # fmt: skip


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
    if (found.of.engines, found.of.exceptions) != (previous.of.engines, previous.of.exceptions):
        return found
    lost = gone(results, changed, (previous, found), _rewritten(previous, found)) | _paired(previous, found)
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
