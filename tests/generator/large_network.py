"""A large cluster that is all workloads and NetworkPolicies, the same for the same size, and namespaces edited in it.

Every namespace has ten Deployments in four tiers and six policies, as a platform's template and its teams write them:
default deny both ways, DNS, and one for each tier, with a named port, a block with an exception, a range of ports, an
expression, another namespace by name, and a seventeenth of all namespaces by a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .network import container, network_policy, pod, port
from .objects import Object, metadata, namespace

NAME = "kubernetes.io/metadata.name"
TIERS = ("frontend",) * 2 + ("backend",) * 3 + ("db",) + ("worker",) * 4
"""The tier of each Deployment of a namespace."""
SHARDS = 17
_PORTS = {"frontend": port(8080, "http"), "backend": port(9090, "grpc"), "db": port(5432), "worker": port(9100)}
HTTP = {"port": "http", "protocol": "TCP"}
SQL = {"port": 5432, "protocol": "TCP"}


def ns(number: int) -> str:
    """The name of a namespace."""
    return f"ns-{number:05}"


def cluster(namespaces: int, edited: int = 0) -> Iterator[Object]:
    """Every object as in a folder of manifests: no pod runs, so that templates speak for their pods.

    The first `edited` of each hundred namespaces are edited, each kind of edit as often.
    """
    yield namespace("kube-system")
    yield deployment("kube-system", "coredns", {"k8s-app": "kube-dns"}, port(53, "dns", "UDP"))
    yield network_policy("kube-system", "dns", podSelector=_labels(**{"k8s-app": "kube-dns"}), policyTypes=["Ingress"],
                         ingress=[{"ports": _dns()}])  # fmt: skip
    for number in range(namespaces):
        made = [*in_namespace(number, namespaces)]
        kind = edit_of(number, edited)
        yield from EDITS[kind](number, made) if kind else made


def in_namespace(number: int, namespaces: int) -> Iterator[Object]:
    """Everything of one namespace."""
    name = ns(number)
    yield namespace(name, team=f"team-{number % 50}", shard=f"s{number % SHARDS}")
    for index, tier in enumerate(TIERS):
        labels = {"app": f"{tier}-{index}", "tier": tier, "app.kubernetes.io/part-of": name}
        yield deployment(name, f"{tier}-{index}", labels, _PORTS[tier])
    yield from policies(number, namespaces)


def running(objects: Iterable[Object]) -> Iterator[Object]:
    """The same cluster alive: Calico runs it, and in place of each Deployment a Pod with an address."""
    yield {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata("calico-node", "kube-system"), "spec": {}}
    number = 0
    for one in objects:
        if one["kind"] == "Deployment":
            number += 1
            meta, template = one["metadata"], one["spec"]["template"]
            ports = template["spec"]["containers"][0].get("ports", ())
            address = f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
            yield pod(meta["namespace"], meta["name"], template["metadata"]["labels"], [address], ports=ports)
        else:
            yield one


def deployment(where: str, name: str, labels: dict[str, str], *ports: Object) -> Object:
    """A Deployment of which no pod is there yet: its template speaks for its pods."""
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container("main", *ports)]}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, where),
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }  # fmt: skip


def policies(number: int, namespaces: int) -> Iterator[Object]:
    """The six policies of a namespace."""
    name, both = ns(number), ["Ingress", "Egress"]
    every: Object = {"podSelector": {}}
    system = {"namespaceSelector": _labels(**{NAME: "kube-system"}), "podSelector": _labels(**{"k8s-app": "kube-dns"})}
    yield network_policy(name, "default-deny", **every, policyTypes=both)
    yield network_policy(name, "dns", **every, policyTypes=["Egress"], egress=[{"to": [system], "ports": _dns()}])
    yield network_policy(
        name, "frontend", podSelector=_labels(tier="frontend"), policyTypes=both,
        ingress=[{"from": [_block("0.0.0.0/0", "10.0.0.0/8")], "ports": [HTTP]}],
        egress=[{"to": [_tier("backend")], "ports": [{"port": 9090, "protocol": "TCP"}]}],
    )  # fmt: skip
    other = {"namespaceSelector": _labels(**{NAME: ns((number + 1) % namespaces)}),
             "podSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}}  # fmt: skip
    yield network_policy(
        name, "backend", podSelector=_labels(tier="backend"), policyTypes=both,
        ingress=[{"from": [_tier("frontend")], "ports": [{"port": 9090, "endPort": 9099, "protocol": "TCP"}]},
                 {"from": [other], "ports": [{"port": "grpc", "protocol": "TCP"}]}],
        egress=[{"to": [_tier("db")], "ports": [SQL]}],
    )  # fmt: skip
    yield network_policy(name, "db", podSelector=_labels(tier="db"), policyTypes=["Ingress"],
                         ingress=[{"from": [_tier("backend")], "ports": [SQL]}])  # fmt: skip
    shard = {"namespaceSelector": _labels(shard=f"s{(number + 5) % SHARDS}"), "podSelector": _labels(tier="backend")}
    yield network_policy(
        name, "worker", podSelector=_labels(tier="worker"), policyTypes=["Egress"],
        egress=[{"to": [shard], "ports": [{"port": 9090, "protocol": "TCP"}]},
                {"to": [_block(_range(number))], "ports": [{"port": 443, "protocol": "TCP"}]}],
    )  # fmt: skip


def _range(number: int) -> str:
    return f"10.{number // 250 % 250}.{number % 250}.0/24"


def _labels(**labels: str) -> Object:
    return {"matchLabels": labels}


def _tier(name: str) -> Object:
    return {"podSelector": _labels(tier=name)}


def _block(cidr: str, *excepted: str) -> Object:
    return {"ipBlock": {"cidr": cidr} | ({"except": list(excepted)} if excepted else {})}


def _dns() -> list[Object]:
    return [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


# Edits --------------------------------------------------------------------------------------------------------------

type Edit = Callable[[int, Sequence[Object]], list[Object]]


def edit_of(number: int, edited: int) -> str:
    """How a namespace is edited; "" for those that are not."""
    at = number % 100
    return list(EDITS)[(number // 100 * edited + at) % len(EDITS)] if at < edited else ""


def loosened(number: int, made: Sequence[Object]) -> list[Object]:
    """The database takes every port from every namespace: the workers of some can use it."""
    del number
    return _changed(made, "db", ingress=[{"from": [{"namespaceSelector": {}}]}])


def refactored(number: int, made: Sequence[Object]) -> list[Object]:
    """Another text with the same meaning: a policy in two, a block as its halves."""
    name = ns(number)
    _, blocked = _policy(made, "worker")["spec"]["egress"]
    halves = [_block(_range(number).replace(".0/24", f".{half}/25")) for half in (0, 128)]
    found = _changed(made, "worker", egress=_policy(made, "worker")["spec"]["egress"][:1])
    return [*found, network_policy(name, "worker-block", podSelector=_labels(tier="worker"), policyTypes=["Egress"],
                                   egress=[{**blocked, "to": halves}])]  # fmt: skip


def compensated(number: int, made: Sequence[Object]) -> list[Object]:
    """The database moved to another port."""
    del number
    return _changed(made, "db", ingress=[{"from": [_tier("backend")], "ports": [{"port": 5433, "protocol": "TCP"}]}])


def latent(number: int, made: Sequence[Object]) -> list[Object]:
    """The database takes pods that are nowhere yet."""
    del number
    debug = {"namespaceSelector": _labels(purpose="debug")}
    rule = {"from": [_tier("backend"), debug], "ports": [SQL]}
    return _changed(made, "db", ingress=[rule])


def relabelled(number: int, made: Sequence[Object]) -> list[Object]:
    """A worker calls itself a frontend: it gets what frontends have."""
    del number
    found = []
    for one in made:
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "worker-9":
            labels = {**one["spec"]["template"]["metadata"]["labels"], "tier": "frontend"}
            one = deployment(one["metadata"]["namespace"], "worker-9", labels, _PORTS["worker"])  # noqa: PLW2901
        found.append(one)
    return found


EDITS: dict[str, Edit] = {one.__name__: one for one in (loosened, refactored, compensated, latent, relabelled)}


def _policy(made: Sequence[Object], name: str) -> Object:
    return next(one for one in made if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == name)


def _changed(made: Sequence[Object], name: str, **spec: Any) -> list[Object]:
    """Objects, of which one policy says another thing."""
    mine = _policy(made, name)
    return [{**one, "spec": {**one["spec"], **spec}} if one is mine else one for one in made]
