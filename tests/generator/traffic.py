"""The network of the demo's cluster: what listens where, who may talk to whom, and how that loosens over five weeks."""

from __future__ import annotations

from typing import Any

from .cluster import CREATE, EDIT, FLUX, LABEL, Cluster, by_flux
from .network import container, network_policy, port
from .objects import Object, metadata, namespace, service_account

ALL_PODS: Object = {}
DATABASES = {"payments": "ledger", "search": "index"}
"""What the database of a product is called; `db` elsewhere."""
BOTH = ["Ingress", "Egress"]


HARDENED: Object = {
    "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
"""What Pod Security's `restricted` wants of a container."""
ROOT: Object = {"allowPrivilegeEscalation": False, "runAsUser": 0}
PRIVILEGED: Object = {"privileged": True}


def workload(
    where: str, name: str, *ports: Object, kind: str = "Deployment", runs_as: str = "",
    security: Object = HARDENED, **spec: Any,
) -> Object:  # fmt: skip
    """A workload of one container, whose pods are labelled `app: NAME`."""
    main = container(name, *ports, image=f"example.com/{where}/{name}:1.4.2", securityContext=dict(security))
    account = {"serviceAccountName": runs_as} if runs_as else {}
    template = {"metadata": {"labels": {"app": name}}, "spec": account | {"containers": [main]} | spec}
    whose: Object = {"selector": {"matchLabels": {"app": name}}, "template": template}
    if kind == "CronJob":
        again = template | {"spec": template["spec"] | {"restartPolicy": "OnFailure"}}
        whose = {"schedule": "15 3 * * *", "jobTemplate": {"spec": {"template": again}}}
    elif kind == "StatefulSet":
        whose = {"serviceName": name} | whose
    count = {"replicas": 2} if kind == "Deployment" else {}
    group = "batch/v1" if kind == "CronJob" else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": metadata(name, where), "spec": count | whose}


def allow(number: int, *protocols: str) -> list[Object]:
    """A port of a policy, for each protocol."""
    return [{"protocol": protocol, "port": number} for protocol in protocols or ("TCP",)]


def apps(*names: str) -> Object:
    """Selects the pods of some apps."""
    if len(names) == 1:
        return {"matchLabels": {"app": names[0]}}
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": [*names]}]}


def inside(name: str, pods: Object | None = None) -> Object:
    """The peer that is pods of one namespace by its name."""
    found = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    return found | ({"podSelector": pods} if pods else {})


# The approved day ---------------------------------------------------------------------------------------------------


def workloads(where: str) -> list[Object]:
    """What a product runs: an API, a worker and a database."""
    return [
        workload(where, "api", port(8080, "http"), port(9090, "metrics"), runs_as="api"),
        workload(where, "worker", runs_as="worker"),
        workload(where, DATABASES.get(where, "db"), port(5432, "postgres"), kind="StatefulSet"),
    ]


def policies(where: str) -> list[Object]:
    """What the platform's template allows a product: nothing but names, its front door, its database and metrics."""
    api = [
        {"from": [inside("ingress-nginx", apps("controller"))], "ports": allow(8080)},
        {"from": [inside("monitoring", apps("prometheus"))], "ports": allow(9090)},
    ]
    database = DATABASES.get(where, "db")
    db = [{"from": [{"podSelector": apps("api", "worker")}], "ports": allow(5432)}]
    dns = [{"to": [inside("kube-system", apps("coredns"))], "ports": allow(53, "UDP", "TCP")}]
    to_db = [{"to": [{"podSelector": apps(database)}]}]
    return [
        network_policy(where, "default-deny", podSelector=ALL_PODS, policyTypes=BOTH),
        network_policy(where, "dns", podSelector=ALL_PODS, policyTypes=["Egress"], egress=dns),
        network_policy(where, "api", podSelector=apps("api"), policyTypes=["Ingress"], ingress=api),
        network_policy(where, database, podSelector=apps(database), policyTypes=["Ingress"], ingress=db),
        network_policy(
            where, f"{database}-clients", podSelector=apps("api", "worker"), policyTypes=["Egress"], egress=to_db
        ),
    ]


def payments() -> list[Object]:
    """What payments allows besides: what is in production may call it, and it calls the bank."""
    clients = [{"from": [{"namespaceSelector": {"matchLabels": {"env": "prod"}}}], "ports": allow(8080)}]
    bank = [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": allow(443)}]
    found = [
        network_policy("payments", "clients", podSelector=apps("api"), policyTypes=["Ingress"], ingress=clients),
        network_policy("payments", "bank", podSelector=apps("worker"), policyTypes=["Egress"], egress=bank),
    ]
    return [by_flux(one, "payments", "payments") for one in found]


def indexer() -> list[Object]:
    """What the indexer's chart runs in search."""
    return [
        workload("search", "indexer", port(9200, "bulk"), runs_as="indexer", security=ROOT),
        workload("search", "reindex", kind="CronJob", runs_as="indexer"),
    ]


def platform() -> list[Object]:
    """The front door, the network's plugin, and who may ask the monitoring."""
    web = [{"ports": allow(80) + allow(443)}]
    agent = workload("kube-system", "cilium", kind="DaemonSet", security=PRIVILEGED, hostNetwork=True)
    agent["spec"]["template"]["spec"]["containers"][0]["name"] = "cilium-agent"
    return [
        namespace("ingress-nginx", team="platform"),
        service_account("ingress-nginx", "controller"),
        workload("ingress-nginx", "controller", port(80, "http"), port(443, "https"), runs_as="controller"),
        network_policy(
            "ingress-nginx", "web", podSelector=apps("controller"), policyTypes=["Ingress"], ingress=web
        ),
        network_policy("monitoring", "default-deny-ingress", podSelector=ALL_PODS, policyTypes=["Ingress"]),
        agent,
    ]  # fmt: skip


# What happened afterwards -------------------------------------------------------------------------------------------


def database_for_all(cluster: Cluster) -> None:
    """In the night of the incident somebody lets every namespace in to checkout's database, to be sure."""
    db = cluster.get("NetworkPolicy", "checkout", "db")
    db["spec"]["ingress"][0]["from"].append({"namespaceSelector": {}})
    cluster.write(EDIT, "2026-10-15T22:58:34Z", db)


def whole_internet(cluster: Cluster) -> None:
    """The bank announces new addresses, and payments' worker may call every address, the cloud's metadata included."""
    bank = cluster.get("NetworkPolicy", "payments", "bank")
    bank["spec"]["egress"] = [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]
    cluster.write(EDIT, "2026-10-19T16:41:09Z", bank)


def tidied(cluster: Cluster) -> None:
    """Flux splits catalog's rule for names in two policies and gives another a better name: the effect is the same."""
    dns, api = (cluster.get("NetworkPolicy", "catalog", name) for name in ("dns", "api"))
    for name in ("dns", "api"):
        cluster.delete("NetworkPolicy", "catalog", name)
    for protocol in ("UDP", "TCP"):
        rule = dns["spec"]["egress"][0] | {"ports": allow(53, protocol)}
        split = network_policy("catalog", f"dns-{protocol.lower()}", **(dns["spec"] | {"egress": [rule]}))
        cluster.write(FLUX, "2026-10-22T11:40:19Z", by_flux(split, "catalog", "catalog"))
    api["metadata"]["name"] = "front-door"
    api["spec"]["ingress"].reverse()
    cluster.write(FLUX, "2026-10-22T11:40:19Z", api)


def port_moves(cluster: Cluster) -> None:
    """Payments moves its ledger to another port and closes the old one."""
    ledger = cluster.get("NetworkPolicy", "payments", "ledger")
    ledger["spec"]["ingress"][0]["ports"] = allow(5433)
    runs = workload("payments", "ledger", port(5433, "postgres"), kind="StatefulSet")
    cluster.write(FLUX, "2026-11-02T10:20:00Z", ledger, by_flux(runs, "payments", "payments"))


def debug_label(cluster: Cluster) -> None:
    """Catalog gets a policy for pods labelled for debugging, which everybody may reach: no pod is, so far."""
    everybody: list[Object] = [{"from": [{"namespaceSelector": {}}]}]
    pods = {"matchLabels": {"debug": "true"}}
    made = network_policy("catalog", "debug", podSelector=pods, policyTypes=["Ingress"], ingress=everybody)
    cluster.write(CREATE, "2026-11-02T18:10:52Z", made)


def labelled_prod(cluster: Cluster) -> None:
    """Somebody labels the namespace of CI as production, for a dashboard: payments lets production in."""
    ci = cluster.get("Namespace", "", "ci")
    ci["metadata"]["labels"]["env"] = "prod"
    cluster.write(LABEL, "2026-11-09T11:05:27Z", ci)


def isolation_lost(cluster: Cluster) -> None:
    """Search's default deny is deleted: what no other policy selects is open to everyone."""
    cluster.delete("NetworkPolicy", "search", "default-deny")
