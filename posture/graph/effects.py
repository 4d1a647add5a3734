"""What follows from an escalation: the nodes that its effect names, in a scope and for some names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, NamedTuple

from posture.admission.enforcement import Profile, bits
from posture.admission.evaluate import Admission, like, place_of
from posture.admission.explain import decided
from posture.admission.policy import Space
from posture.admission.requests import NAMESPACES, Request
from posture.admission.violations import NEW, VIOLATIONS
from posture.kinds import API_RESOURCES
from posture.model import CLUSTER_SCOPE, Snapshot, Through
from posture.network.connectivity import Connectivity
from posture.rbac import subjects
from posture.rbac.evaluate import CLUSTER_ROLES, SERVICE_ACCOUNTS, Access

from .catalogue import IN_NEW, UNLABELLED, Escalation
from .nodes import (
    ACCOUNT,
    CLUSTER_ADMIN,
    ENGINE,
    EVERY_NODE,
    NAMESPACE_ADMIN,
    NODE,
    REWRITE,
    can,
    role,
)

ANY = "*"
POD_SECURITY = "podsecurity"


class Inventory:
    """What there is in a cluster: the members of the sets of nodes. Made once for a graph."""

    def __init__(self, rbac: Access, network: Connectivity, admission: Admission) -> None:
        self.rbac = rbac
        self.network = network
        self.admission = admission

    @property
    def snapshot(self) -> Snapshot:
        """The objects."""
        return self.rbac.snapshot

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace: listed ones, and those that hold an object that some domain reads."""
        return tuple(sorted({*self.network.spaces, *self.accounts, *(name for name in self.admission.spaces if name)}))

    @property
    def accounts(self) -> Mapping[str, Collection[str]]:
        """The names of the ServiceAccounts that exist, by namespace."""
        kept = self.snapshot.derived_from(SERVICE_ACCOUNTS)
        if "by namespace" not in kept:
            found: dict[str, list[str]] = {}
            for namespace, name in sorted(self.snapshot.index.get(SERVICE_ACCOUNTS, {})):
                found.setdefault(namespace, []).append(name)
            kept["by namespace"] = found
        known: Mapping[str, Collection[str]] = kept["by namespace"]
        return known

    @cached_property
    def subjects(self) -> Collection[str]:
        """Every subject that grants name, sorted."""
        return sorted({subject for subject, _ in self.rbac.grants})

    @cached_property
    def absent(self) -> Mapping[str, Collection[str]]:
        """The names of ServiceAccounts that grants name and that do not exist, by namespace."""
        found: dict[str, list[str]] = {}
        for subject in self.subjects:
            if subject.startswith(ACCOUNT):
                namespace, _, name = subject.removeprefix(ACCOUNT).partition("/")
                if name not in self.accounts.get(namespace, ()):
                    found.setdefault(namespace, []).append(name)
        return found

    @cached_property
    def engines(self) -> Collection[str]:
        """The engines that have a policy which may refuse something."""
        return sorted({policy.engine for policy in self.admission.policies if policy.enforces is not False})

    @cached_property
    def aggregated(self) -> Collection[str]:
        """The ClusterRoles that are made of others, by their labels."""
        found = ((key.name, content.get("aggregationRule")) for key, content in self.snapshot.objects(CLUSTER_ROLES))
        return sorted(name for name, rule in found if isinstance(rule, Mapping) and rule.get("clusterRoleSelectors"))

    def aggregating(self, node: str) -> Iterator[str]:
        """The roles that may be given any rule because another one may: a label on it has them take its rules in.

        To change a ClusterRole's rules is to change its labels (pkg/registry/rbac/clusterrole); the controller copies
        what the labels select (pkg/controller/clusterroleaggregation), whatever it is.
        """
        name = node.removeprefix(f"{REWRITE}ClusterRole/").removesuffix(f"@{CLUSTER_SCOPE}")
        if node == _rewrite("ClusterRole", name) and ("", name) in self.snapshot.index.get(CLUSTER_ROLES, {}):
            yield from (_rewrite("ClusterRole", other) for other in self.aggregated if other != name)

    def serves(self, resource: str) -> bool:
        """Whether the API serves a resource (`applications.argoproj.io`)."""
        return ("", resource) in self.snapshot.index.get(API_RESOURCES, {})


class Effects:
    """The heads of edges: what an effect means in a scope."""

    def __init__(self, inventory: Inventory) -> None:
        self.of = inventory

    def heads(self, effect: Mapping[str, Any], scope: str, names: Mapping[str, str]) -> Iterator[str]:
        """The nodes; `names` are what variables are limited to, "" or missing is anything."""
        for pattern in effect.get("become", ()):
            yield from self._identities(pattern, scope, names)
        for target in effect.get("reach", ()):
            yield _target(target, scope)
        for pattern in effect.get("switchOff", ()):
            yield from (f"{ENGINE}{name}" for name in self.of.engines if fnmatchcase(name, pattern))
        if "grantRulesOf" in effect:
            yield from self._roles(effect["grantRulesOf"], scope, names)
        if "rewrite" in effect:
            kind, _, variable = effect["rewrite"].partition("/")
            place = scope if kind == "Role" else CLUSTER_SCOPE
            yield _rewrite(kind, _filled(variable, names), place)
        if "aggregate" in effect:
            yield from (_rewrite("ClusterRole", name) for name in self.of.aggregated)
        if isinstance(effect.get("ability"), str):
            yield can(effect["ability"], scope)

    def _identities(self, pattern: str, scope: str, names: Mapping[str, str]) -> Iterator[str]:
        kind, _, text = pattern.partition(":")
        if kind in ("user", "group"):
            name = _filled(text, names)
            if name == subjects.MASTERS and text.startswith("$"):
                return  # constrained impersonation refuses it by name too; who does reach it says so
            if kind == "user" and subjects.of_user(name).startswith(ACCOUNT):
                return  # impersonation asks for such a name as a ServiceAccount
            yield f"{kind}:{name}"
            return
        namespace, _, name = text.partition("/")
        namespace = scope if namespace == "$ns" else namespace
        limit = names.get(name) if name.startswith("$") else None
        name = _filled(name, names)
        if text.endswith("$workload"):
            yield from self._controller(namespace, name)
        elif name == ANY:
            yield f"{kind}:{namespace}/{ANY}"
        elif kind == "workload":
            yield from self._workload(namespace, name)
        else:
            for place in self.of.namespaces if namespace == CLUSTER_SCOPE else (namespace,):
                there = self.of.accounts.get(place, ())
                if kind == "absent":
                    valid = subjects.of_user(f"system:serviceaccount:{place}:{name}").startswith(ACCOUNT)
                    found = [name] if valid and name not in there else []
                else:  # a name that rules are limited to is no pattern
                    found = [one for one in there if (one == name if limit else fnmatchcase(one, name))]
                yield from (f"{ACCOUNT}{place}/{one}" for one in found)

    def _controller(self, namespace: str, name: str) -> Iterator[str]:
        """The workloads whose controllers have a name; pods of their own have none."""
        spaces = self.of.network.spaces
        for place in spaces if namespace == CLUSTER_SCOPE else (namespace,):
            there = spaces[place].classes if place in spaces else ()
            yield from dict.fromkeys(
                one.workload for one in there
                if not one.workload.endswith("[Pod]")
                and (name == ANY or one.workload.startswith(f"workload:{place}/{name}["))
            )  # fmt: skip

    def _workload(self, namespace: str, pod: str) -> Iterator[str]:
        """The workload that a pod belongs to; none for a pod that is not there."""
        spaces = self.of.network.spaces
        for place in spaces if namespace == CLUSTER_SCOPE else (namespace,):
            found = spaces[place].pods.get(pod) if place in spaces else None
            if found is not None and found.endpoint is not None:
                yield found.endpoint.workload

    def _roles(self, pattern: str, scope: str, names: Mapping[str, str]) -> Iterator[str]:
        kind, _, name = pattern.partition("/")
        name = _filled(name, names)
        if name != ANY:
            yield role(Through(kind, "", name), scope)
        elif kind == "ClusterRole":
            yield CLUSTER_ADMIN if scope == CLUSTER_SCOPE else f"{NAMESPACE_ADMIN}{scope}"
        else:
            roles = (through for through in self.of.rbac.roles if through.kind == "Role")
            yield from sorted(
                role(through, through.namespace)
                for through in roles if scope in (CLUSTER_SCOPE, through.namespace)
            )  # fmt: skip


def by_namespace(escalation: Escalation) -> bool:
    """Whether what is met cluster-wide follows in each namespace by itself: a RoleBinding grants nothing beyond one."""
    named = "grantRulesOf" in escalation.effect
    return named and not any(one.get("scope") == "cluster" for one in escalation.requests)


def rewrites(through: Through) -> tuple[str, ...]:
    """The nodes that say of a role that it may be given any rule."""
    if through.kind == "ClusterRole":
        return _rewrite(through.kind, through.name), _rewrite(through.kind, ANY)
    if through.kind != "Role":
        return ()  # a ServiceAccount with a cloud identity
    scopes = (through.namespace, CLUSTER_SCOPE)
    return tuple(_rewrite(through.kind, name, scope) for name in (through.name, ANY) for scope in scopes)


def _rewrite(kind: str, name: str, scope: str = CLUSTER_SCOPE) -> str:
    return f"{REWRITE}{kind}/{name}@{scope}"


def _filled(text: str, names: Mapping[str, str]) -> str:
    """A pattern with its variable filled in; what a variable is not limited to is anything."""
    return (names.get(text) or ANY) if text.startswith("$") else text


def _target(target: str, scope: str) -> str:
    if target == NODE:
        return EVERY_NODE  # whoever makes a pod says on which node
    found = target.replace("$ns", scope)
    return "secrets" if found == f"secrets/{CLUSTER_SCOPE}" else found


# What a permission cannot say ---------------------------------------------------------------------------------------


class Admitted(NamedTuple):
    """Violations, by their numbers, that are admitted in a namespace, and those of which nobody can say."""

    sure: int
    unknown: int


def violations(patterns: Iterable[str]) -> int:
    """The violations of which the control or the id is one of some shell-style patterns, as a set of bits."""
    wanted = [*patterns]
    return sum(
        1 << number for number, one in enumerate(VIOLATIONS)
        if any(fnmatchcase(one.control, pattern) or fnmatchcase(one.id, pattern) for pattern in wanted)
    )  # fmt: skip


def admitted(admission: Admission, word: str, namespace: str, wanted: int, without: str = "") -> Admitted:
    """Which of some violations are admitted in a namespace, as a predicate means it: `admits` as it is there,
    `admitsUnlabelled` if it had no Pod Security labels, `admitsInNewNamespace` in one that may come (for which the
    scope is `*`). `without` is an engine that refuses nothing any more.
    """
    if word == IN_NEW:
        profile = _in_new(admission, without) if namespace == CLUSTER_SCOPE else None
    else:
        space = admission.spaces.get(namespace)
        profile = space.profile if space else None
    if profile is None:
        return Admitted(0, wanted)
    off = {without, POD_SECURITY if word == UNLABELLED else ""} - {""}
    if off:
        profile = _without(profile, frozenset(off))
    return Admitted(wanted & ~profile.refused & ~profile.unknown, wanted & profile.unknown)


def _without(profile: Profile, engines: frozenset[str]) -> Profile:
    """What is refused without some engines."""
    known: dict[frozenset[str], Profile] = profile.__dict__.setdefault("_without_engines", {})
    if engines not in known:
        parts = tuple(part for part in profile.parts if part.policy.engine not in engines)
        known[engines] = Profile(parts, profile.asked)
    return known[engines]


def subject_of(scope: str) -> str:
    """Of whom admission speaks in a scope."""
    return place_of("" if scope == CLUSTER_SCOPE else scope)[0]


def _in_new(admission: Admission, without: str) -> Profile | None:
    """What is refused in a namespace that may come, without labels; None where none can be created so, for sure."""
    known: dict[str, Profile | None] = admission.__dict__.setdefault("_in_new_namespace", {})
    if without not in known:
        space = Space.of(NEW, None)
        others = tuple(policy for policy in admission.policies if policy.engine != without)
        request = Request("CREATE", NAMESPACES, "", NEW, NEW, space.object)
        answer = decided(replace(admission, policies=others), space, request)
        known[without] = like(admission, space) if answer.allowed else None
    return known[without]


def named(mask: int) -> str:
    """The first violation of a set."""
    return VIOLATIONS[next(bits(mask))].id
