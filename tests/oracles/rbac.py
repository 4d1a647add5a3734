"""RBAC by brute force, read a second time from the authorizer's source and without anything of posture.

From plain Kubernetes objects to the answer of one request, and to the set of every request a subject may make, over
a vocabulary that is finite: the values that some rule names, and in each field one that none names, which stands for
all others. Sources: pkg/registry/rbac/validation/rule.go, pkg/apis/rbac/v1/evaluation_helpers.go,
plugin/pkg/auth/authorizer/rbac/rbac.go, pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

type Object = Mapping[str, Any]
type Rule = Mapping[str, Any]
type Where = tuple[str, str]
"""(subject, scope): scope is a namespace, or "*" for what is granted cluster-wide."""

OTHER = "~"
"""A value that no rule names."""
EVERYWHERE = "*"
ACCOUNT = "system:serviceaccount:"


class Point(NamedTuple):
    """One request, whoever makes it: for a resource, or (with a path) for a URL that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""


class Extra(NamedTuple):
    """What is held and is no request: a cloud identity (`assume`), or a `role` that does not exist."""

    word: str
    value: str


type Held = frozenset[Point | Extra]

# One request --------------------------------------------------------------------------------------------------------


def has(values: Sequence[str] | None, wanted: str) -> bool:
    """Whether a list names a value, or all of them with a star."""
    return "*" in (values or ()) or wanted in (values or ())


def has_resource(rule: Rule, resource: str, subresource: str) -> bool:
    """Whether a rule is about a resource. The star covers subresources, `*/scale` the scale of everything."""
    for written in rule.get("resources") or ():
        if written in ("*", f"{resource}/{subresource}" if subresource else resource):
            return True
        if subresource and written == "*/" + subresource:
            return True
    return False


def has_name(rule: Rule, name: str) -> bool:
    """Whether a rule is about an object: no names are all names; a star is nothing special here."""
    return not rule.get("resourceNames") or name in rule["resourceNames"]


def has_path(rule: Rule, path: str) -> bool:
    """Whether a rule is about a URL: a star at the end is any ending, elsewhere it is a star."""
    for written in rule.get("nonResourceURLs") or ():
        if written in ("*", path) or (written.endswith("*") and path.startswith(written.rstrip("*"))):
            return True
    return False


def rule_allows(rule: Rule, point: Point) -> bool:
    """Whether one rule allows one request."""
    if not has(rule.get("verbs"), point.verb):
        return False
    if point.path:
        return has_path(rule, point.path)
    return (
        has(rule.get("apiGroups"), point.group)
        and has_resource(rule, point.resource, point.subresource)
        and has_name(rule, point.name)
    )


def place(one: Object) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    return one["kind"], one["metadata"].get("namespace") or "", one["metadata"]["name"]


def is_binding(one: Object) -> bool:
    """Whether an object grants a role."""
    return str(one["kind"]).endswith("Binding")


def role_of(binding: Object) -> tuple[str, str, str]:
    """Kind, namespace and name of the role that a binding refers to."""
    kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
    return kind, (place(binding)[1] if kind == "Role" else ""), name


def names_user(subject: Object, namespace: str, user: str, groups: Iterable[str]) -> bool:
    """Whether a subject of a binding in a namespace ("" for a ClusterRoleBinding) is who asks."""
    if subject["kind"] == "User":
        return bool(user == subject["name"])
    if subject["kind"] == "Group":
        return subject["name"] in groups
    where = subject.get("namespace") or namespace
    return subject["kind"] == "ServiceAccount" and bool(where) and user == f"{ACCOUNT}{where}:{subject['name']}"


def allowed(objects: Iterable[Object], user: str, groups: Sequence[str], point: Point, namespace: str = "") -> bool:
    """The answer to one request: some rule of some binding that names who asks, here or cluster-wide."""
    found = {place(one): one for one in objects}
    if "system:masters" in groups:
        return True
    for one in found.values():
        inside = place(one)[1]
        if not is_binding(one) or (inside and (inside != namespace or point.path)):
            continue
        if not any(names_user(subject, inside, user, groups) for subject in one.get("subjects") or ()):
            continue
        role = found.get(role_of(one))
        if role is not None and any(rule_allows(rule, point) for rule in role.get("rules") or ()):
            return True
    return False


# Every request ------------------------------------------------------------------------------------------------------


class Vocabulary:
    """The values that some rules name, and one more in each field."""

    def __init__(self, rules: Iterable[Rule], names: Iterable[str] = ()) -> None:
        """`names` are further names of objects that matter."""
        given = list(rules)

        def values(field: str) -> set[str]:
            return {value for rule in given for value in rule.get(field) or ()}

        self.verbs = sorted(values("verbs") | {OTHER})
        self.groups = sorted(values("apiGroups") | {OTHER})
        self.names = sorted(values("resourceNames") | {"", OTHER, *names})
        whole = {
            tuple(written.split("/", 1)) if written.partition("/")[2] else (written, "")
            for written in values("resources")
        }
        below = {subresource for _, subresource in whole} | {OTHER}
        self.resources = sorted(whole | {(OTHER, subresource) for subresource in below | {""}})
        paths = values("nonResourceURLs")
        self.paths = sorted(paths | {path.rstrip("*") + end for path in paths for end in ("", OTHER)} - {""} | {OTHER})

    def held(self, rules: Iterable[Rule]) -> Held:
        """Every request of the vocabulary that some of the rules allows."""
        return frozenset(point for rule in rules for point in self._of(rule))

    def points(self) -> list[Point]:
        """Every request."""
        found = [
            Point(verb, group, resource, subresource, name)
            for verb, group, (resource, subresource), name in product(
                self.verbs, self.groups, self.resources, self.names
            )
        ]
        return found + [Point(verb, path=path) for verb, path in product(self.verbs, self.paths)]

    def _of(self, rule: Rule) -> Iterator[Point]:
        verbs = [verb for verb in self.verbs if has(rule.get("verbs"), verb)]
        if rule.get("resources"):
            groups = [group for group in self.groups if has(rule.get("apiGroups"), group)]
            resources = [pair for pair in self.resources if has_resource(rule, *pair)]
            names = [name for name in self.names if has_name(rule, name)]
            for verb, group, (resource, subresource), name in product(verbs, groups, resources, names):
                yield Point(verb, group, resource, subresource, name)
        for verb, path in product(verbs, [path for path in self.paths if has_path(rule, path)]):
            yield Point(verb, path=path)


CLUSTER_SCOPED = frozenset(
    {
        ("nodes", ""), ("namespaces", ""), ("persistentvolumes", ""), ("users", ""), ("groups", ""),
        ("clusterroles", "rbac.authorization.k8s.io"), ("clusterrolebindings", "rbac.authorization.k8s.io"),
    }
)  # fmt: skip
REQUESTS = frozenset({"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"})


INSIDE: Rule = {
    "verbs": ["bind"],
    "apiGroups": ["", "rbac.authorization.k8s.io"],
    "resources": ["namespaces", "namespaces/status", "namespaces/finalize", "clusterroles"],
}
"""What lives in no namespace and is asked for with one all the same."""


def asked_inside(point: Point | Extra, namespace: str) -> bool | None:
    """Whether anything ever asks the authorizer for this with a namespace; None where nobody can say.

    No request for a URL, or for a resource that lives in no namespace, carries one. But a namespace is its own, and
    binding a ClusterRole is checked in the namespace of the RoleBinding. What other verbs mean their checkers know.
    """
    if isinstance(point, Extra):
        return True
    if point.path:
        return False
    if (point.resource, point.group) not in CLUSTER_SCOPED:
        return None if point.resource in {resource for resource, _ in CLUSTER_SCOPED} else True
    if point.resource == "clusterroles" and point.verb == "bind" and not point.subresource:
        return True
    if point.resource == "namespaces" and point.subresource in ("", "status", "finalize") and point.name == namespace:
        return point.verb not in ("create", "list", "deletecollection") if point.verb in REQUESTS else None
    return False if point.verb in REQUESTS else None


# Who holds what -----------------------------------------------------------------------------------------------------

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ACCOUNT = re.compile(rf"{ACCOUNT}({_LABEL}):([a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)")


def user_called(user: str) -> str:
    """`serviceaccount:NS/NAME` for the user name of one, else `user:NAME`."""
    account = _ACCOUNT.fullmatch(user)
    return f"serviceaccount:{account[1]}/{account[2]}" if account else f"user:{user}"


def subject_called(subject: Object, namespace: str) -> str | None:
    """The name of a binding's subject; None when it can be nobody."""
    if subject["kind"] == "Group":
        return f"group:{subject['name']}"
    if subject["kind"] == "User":
        return user_called(subject["name"])
    where = subject.get("namespace") or namespace
    return user_called(f"{ACCOUNT}{where}:{subject['name']}") if where and subject["kind"] == "ServiceAccount" else None


def groups_of(subject: str) -> list[str]:
    """The groups that everyone of this name is in, as subjects."""
    kind, _, name = subject.partition(":")
    if kind == "serviceaccount":
        return ["group:system:serviceaccounts", f"group:system:serviceaccounts:{name.partition('/')[0]}",
                "group:system:authenticated"]  # fmt: skip
    if subject == "user:system:anonymous":
        return ["group:system:unauthenticated"]
    if subject in ("group:system:unauthenticated", "group:system:authenticated"):
        return []
    found = ["group:system:authenticated"]
    if subject.startswith("group:system:serviceaccounts:"):
        found.append("group:system:serviceaccounts")
    if subject.startswith("user:system:node:"):
        found.append("group:system:nodes")
    return found


class Cluster:
    """Objects, read: who is bound to which roles where."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = {place(one): one for one in objects}
        self.bound: dict[Where, set[str]] = {}
        self.extras: dict[tuple[Where, str], Held] = {}
        for (kind, namespace, name), one in self.objects.items():
            if kind == "ServiceAccount":
                self._identities(namespace, name, one)
            elif is_binding(one) and (one["roleRef"]["kind"] == "ClusterRole" or namespace):
                for subject in one.get("subjects") or ():
                    called = subject_called(subject, namespace)
                    if called:
                        where = called, namespace or EVERYWHERE
                        self.bound.setdefault(where, set()).add("/".join(part for part in role_of(one) if part))
        self.roles = {
            "/".join(part for part in key if part): one for key, one in self.objects.items() if key[0].endswith("Role")
        }

    def _identities(self, namespace: str, name: str, account: Object) -> None:
        marks = {"eks.amazonaws.com/role-arn": "aws", "iam.gke.io/gcp-service-account": "gcp",
                 "azure.workload.identity/client-id": "azure"}  # fmt: skip
        found = account["metadata"].get("annotations") or {}
        held = frozenset(Extra("assume", f"{cloud}:{found[key]}") for key, cloud in marks.items() if found.get(key))
        if held:
            where, through = (f"serviceaccount:{namespace}/{name}", namespace), f"ServiceAccount/{namespace}/{name}"
            self.bound.setdefault(where, set()).add(through)
            self.extras[where, through] = held

    def rules(self) -> Iterator[Rule]:
        """Every rule of every role."""
        for role in self.roles.values():
            yield from role.get("rules") or ()

    def through(self, where: Where, reference: str, words: Vocabulary) -> Held:
        """What one role reference (or an account's annotations) gives; a `role` extra where the role is missing."""
        if (where, reference) in self.extras:
            return self.extras[where, reference]
        role = self.roles.get(reference)
        return frozenset({Extra("role", reference)}) if role is None else words.held(role.get("rules") or ())

    def effective(self, where: Where, words: Vocabulary) -> Held:
        """All that a subject holds at a scope: its own, its groups', here and cluster-wide.

        Who is bound to a role holds whatever may be missing of it: its coming to life is what is new then.
        """
        subject, scope = where
        if subject.startswith("clusterrole:"):
            return self.through(where, f"ClusterRole/{subject.removeprefix('clusterrole:')}", words)
        held: set[Point | Extra] = set()
        for name, inside in product([subject, *groups_of(subject)], {scope, EVERYWHERE}):
            for reference in self.bound.get((name, inside), ()):
                held |= self.through((name, inside), reference, words) | {Extra("role", reference)}
        return frozenset(held)


def vocabulary(*clusters: Cluster) -> Vocabulary:
    """The words of some clusters: what their rules name, and their namespaces."""
    names = {key[1] for cluster in clusters for key in cluster.objects} | {
        key[2] for cluster in clusters for key in cluster.objects if key[0] == "Namespace"
    }
    return Vocabulary([INSIDE, *(rule for cluster in clusters for rule in cluster.rules())], names - {""})


def gains(before: Cluster, after: Cluster, words: Vocabulary) -> dict[tuple[str, str, str], Held]:
    """What each role reference gives in `after` that its subject did not hold there in `before`; no empty ones.

    Inside a namespace, only what is asked there, or may be. A default role that nobody is bound to counts by itself.
    """
    found: dict[tuple[str, str, str], Held] = {}
    for (subject, scope), references in after.bound.items():
        if subject == "group:system:masters":
            continue
        held = before.effective((subject, scope), words)
        for reference in references:
            new = after.through((subject, scope), reference, words) - held
            if scope != EVERYWHERE:
                new = frozenset(point for point in new if asked_inside(point, scope) is not False)
            if new:
                found[subject, scope, reference] = new
    for reference in sorted(DEFAULT_ROLES & before.roles.keys() & after.roles.keys()):
        if not any(reference in references for references in after.bound.values()):
            where = f"clusterrole:{reference.removeprefix('ClusterRole/')}", EVERYWHERE
            if new := after.through(where, reference, words) - before.through(where, reference, words):
                found[*where, reference] = new
    return found


DEFAULT_ROLES = frozenset(
    {"ClusterRole/cluster-admin", "ClusterRole/admin", "ClusterRole/edit", "ClusterRole/view"}
) | {"ClusterRole/system:monitoring"}
"""Of the roles that Kubernetes ships, those that tests write: what they gain counts before anyone is bound to them."""


# Aggregation --------------------------------------------------------------------------------------------------------


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector; an empty one is satisfied by any."""
    wanted = (selector.get("matchLabels") or {}).items()
    if any(labels.get(key) != value for key, value in wanted):
        return False
    for one in selector.get("matchExpressions") or ():
        value, values = labels.get(one["key"]), one.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[one["operator"]]:
            return False
    return True


def aggregated(objects: Iterable[Object]) -> list[dict[str, Any]]:
    """The objects after the controller has written the rules of aggregated ClusterRoles until nothing moves."""
    found = [dict(one) for one in objects]
    roles = sorted((one for one in found if one["kind"] == "ClusterRole"), key=lambda one: str(one["metadata"]["name"]))
    for _ in range(len(roles) + 1):
        moved = False
        for role in roles:
            rules = _drawn(role, roles) if role.get("aggregationRule") else role.get("rules")
            moved = moved or rules != role.get("rules")
            role["rules"] = rules
        if not moved:
            break
    return found


def _drawn(role: Object, roles: Iterable[Object]) -> list[Rule]:
    rules: list[Rule] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for source in roles:
            if source is not role and selects(selector, source["metadata"].get("labels") or {}):
                for rule in source.get("rules") or ():
                    if rule not in rules:
                        rules.append(rule)
    return rules
