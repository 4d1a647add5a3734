"""A small cluster that crosses the domains: a shop that is open to the outside, and an administrator beside it."""

from __future__ import annotations

from posture.graph.catalogue import escalation_of
from tests.generator.network import deployment
from tests.generator.objects import (
    Object,
    account,
    binding,
    metadata,
    namespace,
    role,
    rule,
    service_account,
)
from tests.graph.proving import catalogue

WEB, WEB_ACCOUNT, PAY_ADMIN = "workload:pay/web[Deployment]", "serviceaccount:pay/web", "serviceaccount:pay/admin"
LOWER_AND_RUN = escalation_of({
    "id": "lower-and-run", "domain": "graph", "title": "Lower Pod Security, then run a pod",
    "requests": [
        {"any": [{"verbs": ["patch"], "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["$name"]}]},
        {"any": [
            {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["create"], "apiGroups": ["batch"], "resources": ["jobs"]},
        ]},
    ],
    "effect": {"reach": ["node"]}, "why": "One drops the label, another runs the pod.", "remedy": "Grant neither.",
    "references": ["MITRE T1611"],
})  # fmt: skip
"""What two identities can do together."""
_USED = ("create-pods", "create-serviceaccount-token", "escape-to-node", "hold-everything",
         "label-namespace", "read-secrets", "run-as-serviceaccount")  # fmt: skip
ESCALATIONS = (*(one for one in catalogue() if one.id in _USED), LOWER_AND_RUN)
"""Few, so that it is plain which step is the shortest."""


def service(where: str, name: str, kind: str = "LoadBalancer") -> Object:
    """A Service of the pods with a label `app`."""
    ports = [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, where),
        "spec": {"type": kind, "selector": {"app": name}, "ports": ports},
    }  # fmt: skip


def runs(where: str, name: str, as_account: str) -> Object:
    """A Deployment that runs as a ServiceAccount."""
    return deployment(where, name, {"app": name}, [{"containerPort": 8080}], serviceAccountName=as_account)


def open_shop() -> list[Object]:
    """The outside reaches a workload, which may run pods beside an administrator's ServiceAccount."""
    return [
        namespace("pay"), namespace("lab"), namespace("kube-system"),
        service_account("pay", "web"), service_account("pay", "admin"), service_account("lab", "idle"),
        runs("pay", "web", "web"), runs("lab", "job", "idle"), service("pay", "web"),
        role("deployer", rule("create", "pods"), namespace="pay"),
        binding("deployer", "Role/deployer", account("pay", "web"), namespace="pay"),
        role("cluster-admin", rule("*", "*", "*")),
        binding("admin", "ClusterRole/cluster-admin", account("pay", "admin")),
    ]  # fmt: skip
