"""A realistic cluster of any size, the same for the same size, and 30 patterns of drift planted at known places.

Every namespace is a team's: accounts, roles and bindings as charts and platform teams write them, Deployments of a few
kilobytes, NetworkPolicies. The planted patterns are what weeks of operational convenience leave behind; beside them
lie changes without effect, which must stay silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

from .objects import (
    Object,
    account,
    aggregated,
    binding,
    group,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    urls,
    user,
)

TEAMS = ("pay", "web", "data", "search", "mobile", "core", "risk", "ads")
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is of what. Bindings, Deployments and policies are spread evenly over the namespaces."""

    namespaces: int
    bindings: int
    deployments: int
    policies: int


ISSUE = Size(3_000, 20_000, 15_000, 6_000)
SMALL = Size(60, 400, 60, 60)


class Place(NamedTuple):
    """Where a planted pattern must be found."""

    subject: str
    scope: str
    through: str


@dataclass(frozen=True, slots=True)
class Plant:
    """One pattern: what it does to the objects, and the places where it must be found. No places: it is silent."""

    name: str
    objects: tuple[Object, ...]
    gone: tuple[Object, ...] = ()
    places: frozenset[Place] = frozenset()


def ns(number: int) -> str:
    """The name of a namespace."""
    return f"{TEAMS[number % len(TEAMS)]}-{number:04}"


def shared() -> list[Object]:
    """What the platform has beside what Kubernetes ships: roles for everybody, a few cluster-wide grants."""
    return [
        role("app-operator", rule(READ, "pods,pods/log,configmaps,services"), rule("patch", "deployments", "apps")),
        role("app-deployer", rule((*READ, *WRITE), "deployments,statefulsets", "apps"), rule(READ, "pods,events")),
        role("metrics-reader", rule(READ, "pods,nodes", "metrics.k8s.io"), urls("get", "/metrics")),
        role("secret-reader", rule(READ, "secrets")),
        role("debugger", rule(READ, "pods,pods/log")),
        role("backup", rule(READ, "persistentvolumeclaims,configmaps")),
        role("node-viewer", rule(READ, "nodes")),
        role("status-pages", urls("get", "/healthz,/readyz")),
        role("crd-viewer", rule(READ, "widgets", "example.com"), labels={"example.com/part": "widgets"}),
        aggregated("widget-admin", {"example.com/part": "widgets"}, rules=[rule(READ, "widgets", "example.com")]),
        binding("metrics", "ClusterRole/metrics-reader", account("pay-0000", "metrics")),
        binding("backup", "ClusterRole/backup", account("core-0005", "backup")),
        binding("node-viewers", "ClusterRole/node-viewer", group("sre")),
        binding("status", "ClusterRole/status-pages", group("status")),
        binding("widget-admins", "ClusterRole/widget-admin", group("widgets")),
        binding("sre-view", "ClusterRole/view", group("sre")),
    ]


def in_namespace(number: int, size: Size) -> Iterator[Object]:
    """Everything of one namespace."""
    name, team = ns(number), TEAMS[number % len(TEAMS)]
    yield team_namespace(name, team, "prod" if number % 3 else "test")
    for one in ("default", "api", "worker"):
        yield service_account(name, one)
    yield role("config", rule(READ, "configmaps"), rule("get", "secrets", names=["api-tls"]), namespace=name)
    own = (
        ("edit", "Role/config", account("", "api")),
        ("view", "ClusterRole/view", group(f"{team}-readers")),
        ("operator", "ClusterRole/app-operator", account("", "worker"), group(f"{team}-oncall")),
        ("deployer", "ClusterRole/app-deployer", account("", "ci"), account("core-0005", "deployer")),
        ("debug", "ClusterRole/debugger", group(f"{team}-devs")),
        ("jobs", "Role/config", account("", "worker")),
        ("pipeline", "ClusterRole/app-deployer", user(f"{team}-bot")),
    )
    wanted = _share(size.bindings, size.namespaces, number)
    for index in range(wanted):
        label, reference, *subjects = own[index % len(own)]
        yield binding(label if index < len(own) else f"{label}-{index}", reference, *subjects, namespace=name)
    for index in range(_share(size.deployments, size.namespaces, number)):
        yield deployment(name, f"app-{index}", team)
    for index in range(_share(size.policies, size.namespaces, number)):
        yield policy(name, f"policy-{index}")


def team_namespace(name: str, team: str, env: str) -> Object:
    """A namespace as the platform makes it for a team: Pod Security enforces what the team agreed to."""
    level = "restricted" if team in ("pay", "risk") else "baseline"
    return namespace(name, team=f"{team}-team", env=env, **{"pod-security.kubernetes.io/enforce": level})


def _share(total: int, parts: int, number: int) -> int:
    return total * (number + 1) // parts - total * number // parts


def deployment(where: str, name: str, team: str) -> Object:
    """A Deployment of at least 4 KB, as charts write them."""
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": team, "app": name}
    container = {
        "name": "app", "image": f"registry.example.com/{team}/{name}:1.{len(where)}.0",
        "args": ["--config=/etc/app/config.yaml", "--listen=:8080", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "env": [{"name": f"SETTING_{number}", "value": f"value-{number}-of-{name}-in-{where}"} for number in range(24)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": True, "runAsNonRoot": True},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    template = {
        "metadata": {"labels": labels, "annotations": {"checksum/config": "0" * 64}},
        "spec": {
            "serviceAccountName": "api", "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
        },
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata(name, where, labels=labels, annotations={"example.com/notes": "n" * 256}),
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    }  # fmt: skip


def policy(where: str, name: str) -> Object:
    """A NetworkPolicy that lets one application in."""
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(name, where),
        "spec": {
            "podSelector": {"matchLabels": {"app": "app-0"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "app-1"}}}],
                         "ports": [{"port": 8080, "protocol": "TCP"}]}],
        },
    }  # fmt: skip


def cluster(size: Size) -> Iterator[Object]:
    """Every object of the agreed day, namespaces before what is in them."""
    yield from shared()
    for number in range(size.namespaces):
        yield from in_namespace(number, size)


# What is planted ----------------------------------------------------------------------------------------------------


def _places(through: str, *where: tuple[str, str]) -> frozenset[Place]:
    return frozenset(Place(subject, scope, through) for subject, scope in where)


def _bound(size: Size, reference: str) -> list[tuple[str, str]]:
    """Who is bound to a shared role, and where, on the agreed day."""
    found = []
    for number in range(size.namespaces):
        for one in in_namespace(number, size):
            if one["kind"] == "RoleBinding" and one["roleRef"]["name"] == reference:
                where = one["metadata"]["namespace"]
                found += [(_name(subject, where), where) for subject in one["subjects"]]
    return found


def _name(subject: Object, where: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"serviceaccount:{subject.get('namespace') or where}/{subject['name']}"
    return f"{subject['kind'].lower()}:{subject['name']}"


def _granted(name: str, rules: Iterable[Object], subject: Object, shown: str) -> Plant:
    """A new ClusterRole, bound cluster-wide."""
    made = role(name, *rules)
    return Plant(
        name, (made, binding(name, f"ClusterRole/{name}", subject)), (), _places(f"ClusterRole/{name}", (shown, "*"))
    )


def _granted_in(name: str, number: int, rules: Iterable[Object], one: str = "api") -> Plant:
    """A new Role, bound to an account of its namespace."""
    where = ns(number)
    objects = role(name, *rules, namespace=where), binding(name, f"Role/{name}", account("", one), namespace=where)
    return Plant(name, objects, (), _places(f"Role/{where}/{name}", (f"serviceaccount:{where}/{one}", where)))


def plants(size: Size) -> list[Plant]:
    """The 30 patterns, each a group of its own."""
    api = account(ns(1), "api")
    shown = f"serviceaccount:{ns(1)}/api"
    found = [
        Plant("cluster-admin", (binding("debug-friday", "ClusterRole/cluster-admin", api),), (),
              _places("ClusterRole/cluster-admin", (shown, "*"))),
        _granted("impersonator", [rule("impersonate", "users,groups")], user("ann"), "user:ann"),
        _granted("node-proxy", [rule("get,create", "nodes/proxy")], group("monitoring"), "group:monitoring"),
        _granted("webhooks", [rule(WRITE, "mutatingwebhookconfigurations", "admissionregistration.k8s.io")],
                 api, shown),
        _granted("csr-approver", [rule("create,get", "certificatesigningrequests", "certificates.k8s.io"),
                                  rule("update", "certificatesigningrequests/approval", "certificates.k8s.io"),
                                  rule("approve", "signers", "certificates.k8s.io",
                                       ["kubernetes.io/kube-apiserver-client"])], api, shown),
        _granted("volumes", [rule("create", "persistentvolumes")], user("bob"), "user:bob"),
        _granted("everyone-reads", [rule(READ, "configmaps")], group("system:authenticated"),
                 "group:system:authenticated"),
        _granted("open-door", [rule("list", "pods")], group("system:unauthenticated"), "group:system:unauthenticated"),
        _granted("all-urls", [urls("*", "*")], group("status"), "group:status"),
        _granted("spelled", [rule(READ, "secrets")], user(f"system:serviceaccount:{ns(2)}:worker"),
                 f"serviceaccount:{ns(2)}/worker"),
        _granted("future-crd", [rule("*", "gadgets", "gadgets.example.com")], api, shown),
        _granted_in("token-maker", 3, [rule("create", "serviceaccounts/token")]),
        _granted_in("shell", 4, [rule("create,get", "pods/exec")]),
        _granted_in("binder", 5, [rule("bind", "clusterroles", "rbac.authorization.k8s.io"),
                                  rule("create", "rolebindings", "rbac.authorization.k8s.io")]),
        _granted_in("escalator", 6, [rule("escalate,update", "roles", "rbac.authorization.k8s.io")]),
        _granted_in("own-namespace", 7, [rule("patch", "namespaces")]),
        _granted_in("star", 8, [rule("*", "*", "*")]),
        _granted_in("secret-sweep", 9, [rule("deletecollection", "secrets")]),
        _granted_in("ephemeral", 10, [rule("patch", "pods/ephemeralcontainers")]),
        Plant("dangling", (binding("soon", "ClusterRole/not-yet-there", group("contractors")),), (),
              _places("ClusterRole/not-yet-there", ("group:contractors", "*"))),
        Plant("cloud",
              (service_account(ns(11), "api", **{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}),), (),
              _places(f"ServiceAccount/{ns(11)}/api", (f"serviceaccount:{ns(11)}/api", ns(11)))),
    ]  # fmt: skip
    return [*found, *_wider(size), *_moved()]


def _wider(size: Size) -> list[Plant]:
    """Roles that grew for everyone who is bound to them, and grants that were repeated in many namespaces."""
    operator = next(one for one in shared() if one["metadata"]["name"] == "app-operator")
    widgets = role("crd-editor", rule(WRITE, "widgets", "example.com"), labels={"example.com/part": "widgets"})
    many = [ns(number) for number in range(12, 12 + min(40, size.namespaces - 12))]
    config = deepcopy(next(one for one in in_namespace(13, size) if one["kind"] == "Role"))
    del config["rules"][1]["resourceNames"]
    default = [ns(number) for number in range(20, 20 + min(25, size.namespaces - 20))]
    return [
        Plant("grown", (operator | {"rules": [*operator["rules"], rule("create", "pods/exec")]},), (),
              _places("ClusterRole/app-operator", *_bound(size, "app-operator"))),
        Plant("aggregated", (widgets,), (), _places("ClusterRole/widget-admin", ("group:widgets", "*"))),
        Plant("repeated",
              tuple(binding("read-secrets", "ClusterRole/secret-reader", account("", "worker"), namespace=name)
                    for name in many), (),
              _places("ClusterRole/secret-reader", *((f"serviceaccount:{name}/worker", name) for name in many))),
        Plant("unnamed", (config,), (), _places(f"Role/{ns(13)}/config", *((f"serviceaccount:{ns(13)}/{one}", ns(13))
                                                                        for one in ("api", "worker")))),
        Plant("defaults", tuple(made for name in default for made in (
            role("quick-fix", rule((*READ, *WRITE), "configmaps"), namespace=name),
            binding("quick-fix", "Role/quick-fix", account("", "default"), namespace=name),
        )), (), frozenset(Place(f"serviceaccount:{name}/default", name, f"Role/{name}/quick-fix") for name in default)),
    ]  # fmt: skip


def _moved() -> list[Plant]:
    """Grants that went from one place to a wider one, and a namespace that exceeds its peers."""
    new = "pay-9000"
    return [
        Plant("lifted", (binding("lifted", "ClusterRole/debugger", group("pay-devs")),), (),
              _places("ClusterRole/debugger", ("group:pay-devs", "*"))),
        Plant("accounts", (binding("all-accounts", "ClusterRole/backup", group(f"system:serviceaccounts:{ns(14)}"),
                                   namespace=ns(14)),), (),
              _places("ClusterRole/backup", (f"group:system:serviceaccounts:{ns(14)}", ns(14)))),
        Plant("exceeds", (team_namespace(new, "pay", "prod"),
                          role("extra", rule("create", "pods"), namespace=new),
                          binding("extra", "Role/extra", account("", "api"), namespace=new)), (),
              _places(f"Role/{new}/extra", (f"serviceaccount:{new}/api", new))),
        Plant("portforward", (role("tunnel", rule("create", "pods/portforward"), namespace=ns(15)),
                              binding("tunnel", "Role/tunnel", group("pay-devs"), namespace=ns(15))), (),
              _places(f"Role/{ns(15)}/tunnel", ("group:pay-devs", ns(15)))),
    ]  # fmt: skip


def silent(size: Size) -> list[Plant]:
    """Changes without effect: reordered, split, renamed, re-spelled, repeated, and a namespace like its peers."""
    deployer = next(one for one in shared() if one["metadata"]["name"] == "app-deployer")
    split = deployer | {"rules": [rule([verb], ["deployments", "statefulsets"], "apps") for verb in (*WRITE, *READ)]
                        + [rule(READ, "events"), rule(("watch", "list", "get"), "pods")]}  # fmt: skip
    renamed = [
        one for one in in_namespace(16, size) if one["kind"] == "RoleBinding" and one["metadata"]["name"] == "view"
    ]
    new = "web-9001"
    return [
        Plant("split", (split,)),
        Plant("renamed", tuple(one | {"metadata": one["metadata"] | {"name": "view-renamed"}} for one in renamed),
              tuple(renamed)),
        Plant("respelled",
              (binding("again", "Role/config", user(f"system:serviceaccount:{ns(17)}:api"), namespace=ns(17)),)),
        Plant("inert", (role("inert", rule("get", "nodes"), namespace=ns(18)),
                        binding("inert", "Role/inert", account("", "api"), namespace=ns(18)))),
        Plant("like-peers",
              (team_namespace(new, "web", "prod"), role("config", rule(READ, "configmaps"), namespace=new),
               binding("edit", "Role/config", account("", "api"), namespace=new))),
    ]  # fmt: skip


def drifted(size: Size) -> Iterator[Object]:
    """Every object after all that was planted."""
    changed: dict[tuple[str, str, str], Object | None] = {}
    for plant in (*plants(size), *silent(size)):
        changed |= {_key(one): None for one in plant.gone} | {_key(one): one for one in plant.objects}
    for one in cluster(size):
        now = changed.pop(_key(one), one)
        if now is not None:
            yield now
    yield from (one for one in changed.values() if one is not None)


def _key(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


type Planted = Callable[[Size], list[Plant]]
