"""What proofs of escalations by pods, nodes, admission and extension are about: requests and objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from posture.kinds import ADMISSION
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, metadata
from tests.graph.proving import Proof
from tests.rbac.accounts import APPLY, DRY, INSIDE, NS, Grant
from tests.rbac.requests import Asked

NODE, KEPT = "proof-node", "proof-kept"
REGISTRATION = f"/apis/{ADMISSION}/v1"
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
ENFORCE = "pod-security.kubernetes.io/enforce"
UNLABELLED: Object = {"metadata": {"labels": {ENFORCE: None}}}
PRIVILEGED: Object = {"privileged": True}


def ask(request: str, body: Object | None = None, headers: Mapping[str, str] | None = None) -> Asked:
    """A request, METHOD PATH."""
    method, _, path = request.partition(" ")
    return Asked(method, path, body=body, headers=headers or {})


def applied(path: str, body: Object) -> Asked:
    """A server-side apply, which creates what is not there."""
    return Asked("PATCH", f"{path}?fieldManager=proof&force=true&{DRY}", body=body, headers=dict(APPLY))


def proof(edge: str, name: str, grants: tuple[Grant, ...], *requests: Asked, **more: Any) -> Proof:
    """A proof by one identity."""
    return Proof(edge, name, (grants,), tuple((0, one) for one in requests), **more)


def pod(name: str, where: str = NS, *, security: Object | None = None, **spec: Any) -> Object:
    """A pod with one container."""
    container = {"name": "c", "image": "own", "securityContext": security or {}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata(name, where),
        "spec": {"containers": [container], **spec},
    }  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """A kind that makes pods of a template, and whether the template may be changed later."""

    group: str
    resource: str
    kind: str
    changeable: bool = True

    @property
    def path(self) -> str:
        """Where those of the namespace are."""
        return f"/apis/{self.group}/v1/namespaces/{NS}/{self.resource}" if self.group else f"{INSIDE}/{self.resource}"

    def object(self, name: str, account: str = "someone") -> Object:
        """One, with pods that run as an account."""
        labels = {"app": name}
        template: Object = {"metadata": {"labels": labels}, "spec": {
            "serviceAccountName": account, "containers": [{"name": "c", "image": "own"}]}}  # fmt: skip
        spec: Object = {"template": template, "selector": {"matchLabels": labels}}
        if self.kind == "ReplicationController":
            spec["selector"] = labels
        elif self.group == "batch":
            template["spec"]["restartPolicy"] = "Never"
            spec = {"template": template}
            if self.kind == "CronJob":
                spec = {"schedule": "0 0 * * *", "jobTemplate": {"spec": spec}}
        version = f"{self.group}/v1" if self.group else "v1"
        return {"apiVersion": version, "kind": self.kind, "metadata": metadata(name, NS), "spec": spec}


WORKLOADS = (
    Workload("apps", "daemonsets", "DaemonSet"), Workload("apps", "deployments", "Deployment"),
    Workload("apps", "replicasets", "ReplicaSet"), Workload("apps", "statefulsets", "StatefulSet"),
    Workload("batch", "cronjobs", "CronJob"), Workload("batch", "jobs", "Job", changeable=False),
    Workload("", "replicationcontrollers", "ReplicationController"),
)  # fmt: skip


def configuration(name: str, kind: str = "ValidatingWebhookConfiguration", **webhook: Any) -> Object:
    """A webhook's configuration, of no webhook where nothing is said of one."""
    default = {
        "name": "proof.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://192.0.2.1/"},
    }  # fmt: skip
    webhooks = [{**default, **webhook}] if webhook else []
    return {"apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": metadata(name), "webhooks": webhooks}


def config_map(name: str, where: str, **data: str) -> Object:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name, where), "data": data}


def volume(name: str) -> Object:
    """A PersistentVolume over a node's root folder."""
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata(name),
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}},
    }  # fmt: skip


def claim(name: str, where: str, *, admin: bool) -> Object:
    """A ResourceClaim for a device."""
    exactly = {"deviceClassName": "gpu", **({"adminAccess": True} if admin else {})}
    return {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata(name, where),
        "spec": {"devices": {"requests": [{"name": "d", "exactly": exactly}]}},
    }  # fmt: skip


def claim_template(name: str, where: str) -> Object:
    """A ResourceClaimTemplate of the same."""
    spec = claim(name, where, admin=False)["spec"]
    return {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": metadata(name, where),
        "spec": {"spec": spec},
    }  # fmt: skip


def clear(plane: ControlPlane, paths: Iterable[str]) -> None:
    """Take away what is in no namespace of the tests' own; other tests read the same cluster."""
    for path in paths:
        with contextlib.suppress(RefusedError):
            plane.request("DELETE", path)
