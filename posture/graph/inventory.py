"""What there is in a cluster, as escalations ask for it: members of sets of nodes, roles, bindings, what runs where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

from posture.admission.engines.kyverno.configuration import NAME, Flags, Setup
from posture.admission.engines.kyverno.exceptions import LEGACY
from posture.admission.evaluate import Admission
from posture.admission.pods import mapping, mappings
from posture.kinds import API_RESOURCES
from posture.model import CLUSTER_SCOPE, Key, Snapshot, Through
from posture.network.connectivity import Connectivity
from posture.network.endpoints import ENDED, PODS, template_of, workload_of
from posture.rbac import subjects
from posture.rbac.evaluate import (
    CLUSTER_ROLES,
    ROLES,
    SERVICE_ACCOUNTS,
    Access,
)

from . import crossing
from .nodes import (
    ACCOUNT,
    GROUP,
    WORKLOAD,
    namespace_of,
    rewrite,
    role,
    role_of,
)

ANY, LATENT = "*", ""
"""In place of a role's name: every one that exists, and one that does not exist yet."""


type Runs = Callable[[str], Mapping[str, crossing.Runs]]
"""How the workloads of a namespace run."""


class Inventory:
    """What there is in a cluster: the members of the sets of nodes. Made once for a graph."""

    def __init__(self, rbac: Access, network: Connectivity, admission: Admission, runs: Runs) -> None:
        self.rbac = rbac
        self.network = network
        self.admission = admission
        self.runs = runs

    @property
    def snapshot(self) -> Snapshot:
        """The objects."""
        return self.rbac.snapshot

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace: listed ones, and those that hold an object that some domain reads."""
        return tuple(sorted({*self.network.spaces, *self.accounts, *(name for name in self.admission.spaces if name)}))

    def has(self, scope: str) -> bool:
        """Whether anything can be in a scope: a request names a namespace that there is."""
        return scope == CLUSTER_SCOPE or scope in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.namespaces)

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
    def awaited(self) -> Collection[str]:
        """The namespaces that do not exist, of which grants name a ServiceAccount or all of them."""
        groups = f"{GROUP}{subjects.SERVICE_ACCOUNTS}:"
        named = {namespace_of(one) or one.removeprefix(groups) for one in self.subjects
                 if one.startswith((ACCOUNT, groups))}  # fmt: skip
        return sorted(name for name in named if name and not self.has(name) and ":" not in name)

    @cached_property
    def engines(self) -> Collection[str]:
        """The engines that have a policy which may refuse something."""
        return sorted({policy.engine for policy in self.admission.policies if policy.enforces is not False})

    @cached_property
    def roles(self) -> Mapping[str, Collection[str]]:
        """The names of the Roles that exist, by namespace."""
        found: dict[str, list[str]] = {}
        for namespace, name in sorted(self.snapshot.index.get(ROLES, {})):
            found.setdefault(namespace, []).append(name)
        return found

    def exists(self, role: Through) -> bool:
        """Whether a role is there, or may be, in a gap."""
        return role in self.rbac.roles or self.rbac.missing(role) is not None

    def bindings(self, resource: str, namespace: str) -> Collection[str]:
        """The names of the bindings of a namespace, or of those of none."""
        kept = self.snapshot.derived_from(resource)
        if "by namespace" not in kept:
            found: dict[str, list[str]] = {}
            for where, name in sorted(self.snapshot.index.get(resource, {})):
                found.setdefault(where, []).append(name)
            kept["by namespace"] = found
        known: Mapping[str, Collection[str]] = kept["by namespace"]
        return known.get(namespace, ())

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
        through, _ = role_of(node)
        if through.kind == "ClusterRole" and through.name != ANY:
            yield from (rewrite("ClusterRole", other) for other in self.aggregated if other != through.name)

    def rewrites(self, role: Through) -> tuple[str, ...]:
        """The nodes that say of a role that it may be given any rule: by its name, as one of those that exist, or as
        one that does not yet.
        """
        if role.kind not in ("ClusterRole", "Role") or role.name == ANY:
            return ()
        names = dict.fromkeys((role.name, ANY if self.exists(role) else LATENT))
        return tuple(rewrite(role.kind, name, role.namespace or CLUSTER_SCOPE) for name in names)

    def granted_as(self, node: str) -> Iterator[str]:
        """The nodes of roles that are granted, in some scope, of which one says that they may be given any rule."""
        through, scope = role_of(node)
        if through.kind == "ClusterRole":
            places = (CLUSTER_SCOPE, *self.namespaces) if through.name != ANY else ()
            yield from (role(through, place) for place in places)
        else:
            names = self.roles.get(scope, ()) if through.name == ANY else (through.name, ANY)
            yield from (role(through._replace(name=name), scope) for name in names)

    @cached_property
    def exceptions(self) -> tuple[bool, str]:
        """Whether Kyverno reads exceptions, and in which namespace; of another one's nobody asks."""
        found = Setup(self.snapshot).flags if NAME in self.engines else Flags()
        return found.exceptions, found.namespace

    def reads_exceptions(self, api_group: str, namespace: str) -> bool:
        """Whether Kyverno reads the exceptions of an API group in a namespace."""
        key = Key(f"policyexceptions.{api_group}", namespace, "")
        return not Flags(*self.exceptions).ignores(key, legacy=key.resource == LEGACY)

    @cached_property
    def machines(self) -> Mapping[str, Collection[str]]:
        """What runs on which node of the cluster; on every one what is meant for all."""
        found: dict[str, list[str]] = {}
        for namespace in self.namespaces:
            for name, runs in self.runs(namespace).items():
                for machine in runs.nodes:
                    found.setdefault(machine, []).append(name)
        return found

    def on_machine(self, name: str) -> Collection[str]:
        """What runs on a node of the cluster, on any where nobody knows what runs where."""
        if not self.machines:
            return (f"{WORKLOAD}*/*",)
        return dict.fromkeys((*self.machines.get(name, ()), *self.machines.get(crossing.EVERYWHERE, ())))

    def attached(self, namespace: str, pod: str | None) -> Iterator[str]:
        """The workloads of which a container reads what somebody who attaches to it writes; that of a pod, or all."""
        space = self.network.spaces.get(namespace)
        found: dict[str, None] = {}
        for key in sorted(space.names) if space else ():
            content = self.snapshot.get(key) if key.resource in crossing.WORKLOAD_KINDS else None
            if content is not None and (pod is None or (key.resource == PODS and key.name == pod)):
                spec: Any = content if key.resource == PODS else template_of(key, content) or {}
                read = (one.get("stdin") for one in mappings(mapping(spec.get("spec")).get("containers")))
                if any(read) and mapping(content.get("status")).get("phase") not in ENDED:
                    found[workload_of(self.snapshot, key, content)] = None
        yield from found

    def is_there(self, resource: str, namespace: str, name: str) -> bool:
        """Whether an object is there, or may be: in a gap, or where nothing of its kind is, as pods in a folder."""
        there = self.snapshot.index.get(resource, {})
        return not there or (namespace, name) in there or self.snapshot.gap(resource, namespace) is not None

    def serves(self, resource: str) -> bool:
        """Whether the API serves a resource (`applications.argoproj.io`)."""
        return ("", resource) in self.snapshot.index.get(API_RESOURCES, {})
