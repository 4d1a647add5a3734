"""What a snapshot's RBAC objects make possible: own and effective permissions of every subject at every scope.

Sources: pkg/registry/rbac/validation/rule.go (VisitRulesFor, GetRoleReferenceRules, appliesToUser). The authorizer
uses an aggregated ClusterRole's stored rules; so does this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from posture.kinds import API_RESOURCES, CHECKED_BY_WEBHOOKS, CLUSTER_SCOPED, RBAC
from posture.layer import Layer
from posture.model import CLUSTER_SCOPE, Changed, Content, Gap, Key, Snapshot, Through

from . import cloud, subjects
from .rules import ALL, EMPTY, OWN, Rule, RuleSet, allows, parse, renamed, rule_set

CLUSTER_ROLE_BINDINGS = f"clusterrolebindings.{RBAC}"
ROLE_BINDINGS = f"rolebindings.{RBAC}"
CLUSTER_ROLES = f"clusterroles.{RBAC}"
ROLES = f"roles.{RBAC}"
SERVICE_ACCOUNTS = "serviceaccounts"
READS = (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS, CLUSTER_ROLES, ROLES, SERVICE_ACCOUNTS)

type Where = tuple[str, str]
"""(subject, scope): the unit that holds permissions. Scope is a namespace, or "*"."""


class Grant(NamedTuple):
    """A binding, read: what it refers to, to whom, where."""

    through: Through
    scope: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """The result: who holds which role where, and what each role holds.

    `roles` are the roles that exist, `grants` the role references and their bindings by (subject, scope), `bound` the
    bindings of a role reference, `inside` the namespaces where a subject has grants. A role reference that is in
    `grants` and not in `roles` is dangling, or in a gap.
    """

    snapshot: Snapshot
    roles: Layer[Through, RuleSet]
    grants: Layer[Where, dict[Through, frozenset[Key]]]
    bound: Layer[Through, Layer[Key, bool]]
    inside: Layer[str, Layer[str, bool]]
    touched: frozenset[Where]

    @property
    def places(self) -> Collection[Where]:
        """Every (subject, scope) with a grant, and the place of every default role."""
        return [*self.grants, *(place_of(through) for through in self.roles if default_role(through))]

    def own(self, where: Where) -> dict[Through, frozenset[Key]]:
        """The role references granted to a subject at a scope, with their bindings."""
        return self.grants.get(where) or {}

    def wheres(self, subject: str, scope: str) -> Iterator[Where]:
        """Where grants count for a subject at a scope: its own and its implicit groups', here and cluster-wide."""
        for name in (subject, *subjects.implied(subject)):
            yield name, CLUSTER_SCOPE
            if scope != CLUSTER_SCOPE:
                yield name, scope

    def effective(self, subject: str, scope: str) -> frozenset[RuleSet]:
        """Everything a subject holds at a scope: own, cluster-wide, and through implicit groups."""
        return frozenset(
            rules
            for where in self.wheres(subject, scope)
            for through in self.own(where)
            if (rules := self.roles.get(through)) is not None
        )

    def is_bound(self, through: Through) -> bool:
        """Whether a role reference is granted to anyone."""
        found = ((key, self.snapshot.get(key)) for key in self.bound.get(through) or ())
        grants = (grant_of(key, content) for key, content in found if content is not None)
        return any(grant is not None and grant.subjects for grant in grants)

    def missing(self, through: Through) -> Gap | None:
        """The gap that hides the role of a reference which does not resolve; None when it is truly absent."""
        return self.snapshot.gap(CLUSTER_ROLES if through.kind == "ClusterRole" else ROLES, through.namespace)


def default_role(through: Through) -> bool:
    """Whether Kubernetes itself ships a ClusterRole of this name; such roles get bound by convention later."""
    name = through.name
    return through.kind == "ClusterRole" and (
        name in ("cluster-admin", "admin", "edit", "view")
        or (name.startswith("system:") and not name.startswith("system:aggregate-to-"))
    )


def place_of(role: Through) -> Where:
    """Where a default role counts while nobody is bound to it: for whoever will be."""
    return subjects.ROLE + role.name, CLUSTER_SCOPE


def role_of(key: Key) -> Through:
    """What a role, or a ServiceAccount with a cloud identity, is called as something to edit."""
    kind = {CLUSTER_ROLES: "ClusterRole", ROLES: "Role"}.get(key.resource, "ServiceAccount")
    return Through(kind, key.namespace, key.name)


def key_of(through: Through) -> Key:
    """The object behind something to edit."""
    resource = {"ClusterRole": CLUSTER_ROLES, "Role": ROLES}.get(through.kind, SERVICE_ACCOUNTS)
    return Key(resource, through.namespace, through.name)


def grant_of(key: Key, content: Content) -> Grant | None:
    """What a binding grants; None when its role reference can never resolve."""
    reference = content.get("roleRef") or {}
    kind, name = reference.get("kind"), reference.get("name") or ""
    if kind == "ClusterRole":
        through = Through("ClusterRole", "", name)
    elif kind == "Role" and key.namespace:
        through = Through("Role", key.namespace, name)
    else:
        return None
    found = (subjects.of_subject(subject, key.namespace) for subject in content.get("subjects") or ())
    return Grant(through, key.namespace or CLUSTER_SCOPE, tuple(dict.fromkeys(name for name in found if name)))


def rules_of(key: Key, content: Content) -> RuleSet:
    """What a role, or a ServiceAccount's annotations, hold."""
    if key.resource == SERVICE_ACCOUNTS:
        identities = cloud.identities(content)
        return rule_set(opaque=frozenset(("assume", name) for name in identities)) if identities else EMPTY
    return parse(content.get("rules") or ())


def _own[K, V](layer: Layer[K, Layer[V, bool]], key: K, copied: set[Any]) -> Layer[V, bool]:
    """The set (as the keys of a layer) that an update may write to: a fork of the one before, made once."""
    if key not in copied:
        copied.add(key)
        before = layer.get(key)
        layer[key] = Layer() if before is None else before.fork()
    return layer[key]


class _Builder:
    """One update: forks of the previous layers, copied entry by entry as they change."""

    def __init__(self, previous: Access | None) -> None:
        self.roles: Layer[Through, RuleSet] = previous.roles.fork() if previous else Layer()
        self.grants: Layer[Where, dict[Through, frozenset[Key]]] = previous.grants.fork() if previous else Layer()
        self.bound: Layer[Through, Layer[Key, bool]] = previous.bound.fork() if previous else Layer()
        self.inside: Layer[str, Layer[str, bool]] = previous.inside.fork() if previous else Layer()
        self.touched: set[Where] = set()
        self._copied: set[Through | str] = set()
        self._changed_roles: set[Through] = set()

    def apply(self, change: Changed) -> None:
        """Take one object's old version out and put its new one in."""
        key, old, new = change
        if key.resource in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            if old is not None and (grant := grant_of(key, old)):
                self._revoke(key, grant)
            if new is not None and (grant := grant_of(key, new)):
                self._grant(key, grant)
        elif key.resource in (CLUSTER_ROLES, ROLES):
            self._set_role(role_of(key), None if new is None else rules_of(key, new))
        elif key.resource == SERVICE_ACCOUNTS:
            self._set_identity(key, None if new is None else rules_of(key, new))

    def _set_role(self, through: Through, rules: RuleSet | None) -> None:
        if rules is not None:
            self.roles[through] = rules
        elif through in self.roles:
            del self.roles[through]
        self._changed_roles.add(through)
        self._touch_default(through)

    def _touch_default(self, through: Through) -> None:
        if default_role(through):
            self.touched.add(place_of(through))

    def _set_identity(self, key: Key, rules: RuleSet | None) -> None:
        through = role_of(key)
        grant = Grant(through, key.namespace, (subjects.of_user(f"system:serviceaccount:{key.namespace}:{key.name}"),))
        if through in self.roles:
            self._revoke(key, grant)
            self._set_role(through, None)
        if rules:
            self._grant(key, grant)
            self._set_role(through, rules)

    def _bindings(self, through: Through) -> Layer[Key, bool]:
        return _own(self.bound, through, self._copied)

    def _namespaces(self, subject: str) -> Layer[str, bool]:
        return _own(self.inside, subject, self._copied)

    def _grant(self, key: Key, grant: Grant) -> None:
        self._bindings(grant.through)[key] = True
        self._touch_default(grant.through)
        for subject in grant.subjects:
            where = (subject, grant.scope)
            held = self.grants.get(where) or {}
            if not held and grant.scope != CLUSTER_SCOPE:
                self._namespaces(subject)[grant.scope] = True
            self.grants[where] = held | {grant.through: held.get(grant.through, frozenset()) | {key}}
            self.touched.add(where)

    def _revoke(self, key: Key, grant: Grant) -> None:
        del self._bindings(grant.through)[key]
        self._touch_default(grant.through)
        for subject in grant.subjects:
            where = (subject, grant.scope)
            held = dict(self.grants[where])
            held[grant.through] -= {key}
            if not held[grant.through]:
                del held[grant.through]
            if held:
                self.grants[where] = held
            else:
                del self.grants[where]
                if grant.scope != CLUSTER_SCOPE:
                    del self._namespaces(subject)[grant.scope]
            self.touched.add(where)

    def result(self, snapshot: Snapshot) -> Access:
        """The finished update; whoever holds a role that changed is touched too."""
        for through in self._changed_roles:
            for key in self.bound.get(through) or ():
                content = snapshot.get(key)
                if content is not None and (grant := grant_of(key, content)):
                    self.touched.update((subject, grant.scope) for subject in grant.subjects)
        return Access(snapshot, self.roles, self.grants, self.bound, self.inside, frozenset(self.touched))


def evaluate(snapshot: Snapshot, previous: Access | None = None, changed: Iterable[Changed] = ()) -> Access:
    """Who holds what. Without `previous` it is an update from nothing.

    `changed` are the differences between the snapshot of `previous` and `snapshot`; the cost follows them. `previous`
    stays valid and shares its parts.
    """
    if previous is None:
        changed = (Changed(key, None, content) for resource in READS for key, content in snapshot.objects(resource))
    builder = _Builder(previous)
    for change in changed:
        builder.apply(change)
    return builder.result(snapshot)


# What can never take effect ----------------------------------------------------------------------------------------


class Scopes:
    """Which resources live in namespaces, as discovery says, or as Kubernetes ships them where it says nothing."""

    def __init__(self, snapshot: Snapshot) -> None:
        found = {key.name: bool(content["namespaced"]) for key, content in snapshot.objects(API_RESOURCES)}
        known = dict.fromkeys(CLUSTER_SCOPED, False) | found
        self._known: dict[str, set[str]] = {"*": set()}
        self._outside: dict[str, set[str]] = {"*": set()}
        for name, namespaced in known.items():
            base, _, group = name.partition(".")
            for place in (group, "*"):
                self._known.setdefault(place, set()).add(base)
                if not namespaced:
                    self._outside.setdefault(place, set()).add(base)
        for base, _, group in (name.partition(".") for name in CHECKED_BY_WEBHOOKS):
            self._outside.setdefault(group, set()).add(base)
            if group in self._known:
                self._known[group].add(base)
        self._outside["*"] -= {name.partition(".")[0] for name, namespaced in known.items() if namespaced}
        # A folder has no discovery, only its CustomResourceDefinitions: there, nothing is known to be absent, and a
        # custom resource says nothing about one of Kubernetes that has its name.
        self._complete = "pods" in found and snapshot.gap(API_RESOURCES) is None
        if not self._complete:
            self._outside["*"] &= {name.partition(".")[0] for name in CLUSTER_SCOPED}

    def namespaced(self, group: str, resource: str) -> bool:
        """Whether a resource (or the resource of a subresource) lives in namespaces; unknown ones count as if."""
        return resource.partition("/")[0] not in self._outside.get(group, ())

    def outside(self, group: str, resources: frozenset[str]) -> frozenset[str]:
        """The resources of a group that live in no namespace. A star lives anywhere."""
        known = self._outside.get(group)
        return frozenset(r for r in resources if r.partition("/")[0] in known) if known else frozenset()

    def served(self, rule: Rule) -> bool:
        """Whether the API serves one of a rule's resources, or checks it without serving it."""
        bases = {resource.partition("/")[0] for resource in rule.resources}
        if not self._complete or "*" in bases:
            return True
        return any(not bases.isdisjoint(self._known.get(group, ())) for group in rule.groups)


def scopes(snapshot: Snapshot) -> Scopes:
    """The Scopes of a snapshot, made once."""
    kept = snapshot.derived_from(API_RESOURCES)
    if Scopes not in kept:
        kept[Scopes] = Scopes(snapshot)
    found: Scopes = kept[Scopes]
    return found


_NO_NAME = frozenset({"create", "list", "deletecollection"})
_REQUESTS = _NO_NAME | {"get", "watch", "update", "patch", "delete", "escalate", "approve", "sign", "attest"}
_ITSELF = frozenset({"namespaces", "namespaces/status", "namespaces/finalize"})
# What is checked with the namespace of another request, though the resource lives in none: binding a ClusterRole
# (pkg/registry/rbac/escalation_check.go, BindingAuthorized), using an OpenShift security context constraint.
_CHECKED_INSIDE = (
    ("bind", RBAC, "clusterroles"),
    ("use", "security.openshift.io", "securitycontextconstraints"),
)


def _usable_in(rule: Rule, namespace: str, found: Scopes) -> Iterator[Rule]:
    """The parts of a rule that a request inside a namespace can use; a star stands for what lives in namespaces.

    Cluster-scoped resources cannot be used: their requests carry no namespace, so no RoleBinding is looked at. But a
    namespace itself can: where its name is in the path, it is the namespace of the request too (apiserver
    pkg/endpoints/request/requestinfo.go). And verbs that are no request's are checked where their checker says.
    """
    by_resources: dict[frozenset[str], set[str]] = {}
    outside: dict[frozenset[str], set[str]] = {}
    for group in rule.groups:
        beyond = found.outside(group, rule.resources)
        by_resources.setdefault(rule.resources - beyond, set()).add(group)
        outside.setdefault(beyond, set()).add(group)
    for inside, groups in by_resources.items():
        if inside:
            yield rule._replace(groups=frozenset(groups), resources=inside)
    checked = frozenset(v for v in rule.verbs - _REQUESTS if v != "*" and not v.startswith("impersonate"))
    for beyond, groups in outside.items():
        if beyond and checked:
            yield Rule(checked, frozenset(groups), beyond, rule.names)
    for verb, group, resource in _CHECKED_INSIDE:
        named = allows(rule._replace(names=None), verb, group, resource, "", "")
        if named and not (verb in checked and any(resource in beyond for beyond in outside)):
            yield Rule(frozenset({verb}), frozenset({group}), frozenset({resource}), rule.names)
    itself = frozenset(r for r in _ITSELF if allows(rule._replace(names=None, verbs=ALL), "", "", *_split(r), ""))
    if itself and rule.verbs - _NO_NAME and (rule.names is None or namespace in rule.names):
        yield Rule(rule.verbs - _NO_NAME, frozenset({""}), itself, frozenset({OWN}))


def _split(whole: str) -> tuple[str, str]:
    resource, _, subresource = whole.partition("/")
    return resource, subresource


def usable(held: RuleSet, scope: str, snapshot: Snapshot) -> RuleSet:
    """What of a role's rules can take effect where it is bound: in a namespace, no URL and nothing cluster-scoped.

    The same for every namespace, but for rules that are limited to names: `OWN` is the namespace's own.
    """
    if scope == CLUSTER_SCOPE or not (held.resources or held.urls):
        return held
    memo: dict[tuple[RuleSet, str], RuleSet] = snapshot.derived_from(API_RESOURCES).setdefault("usable", {})
    named = any(rule.names is not None and not _ITSELF.isdisjoint(_whole(rule)) for rule in held.resources)
    place = (held, scope if named else "")
    if place not in memo:
        found = scopes(snapshot)
        parts = frozenset(part for rule in held.resources for part in _usable_in(rule, scope, found))
        memo[place] = rule_set(parts, opaque=held.opaque)
    return memo[place]


def _whole(rule: Rule) -> Iterable[str]:
    return _ITSELF if "*" in rule.resources or any(r.startswith("*/") for r in rule.resources) else rule.resources


def in_place(held: RuleSet, scope: str) -> RuleSet:
    """A usable rule set with the namespace's own name where it stands."""
    return renamed(held, OWN, scope)


def asked_inside(
    snapshot: Snapshot, namespace: str, verb: str, group: str, resource: str, subresource: str, name: str
) -> bool:
    """Whether a request like this can carry a namespace at all, so that its RoleBindings are looked at."""
    if scopes(snapshot).namespaced(group, resource):
        return True
    whole = f"{resource}/{subresource}" if subresource else resource
    if not group and whole in _ITSELF and name == namespace:
        return verb not in _NO_NAME
    return (verb, group, whole) in _CHECKED_INSIDE or not (verb in _REQUESTS or verb.startswith("impersonate"))


def latent(held: RuleSet, snapshot: Snapshot) -> bool:
    """Whether nothing of a rule set can be used today, because the API serves none of its resources."""
    if held.urls or held.opaque:
        return False
    found = scopes(snapshot)
    return not any(found.served(rule) for rule in held.resources)


__all__ = [
    "READS",
    "Access",
    "Grant",
    "asked_inside",
    "evaluate",
    "grant_of",
    "key_of",
    "latent",
    "role_of",
    "rules_of",
    "scopes",
    "usable",
]
