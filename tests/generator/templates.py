"""Pod templates that restricted takes but for one thing, and workloads made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .objects import Object, metadata
from .pods import container

HOST_PATH = {"name": "logs", "hostPath": {"path": "/var/log"}}


def clean(name: str) -> Object:
    """A pod that restricted takes."""
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return {"metadata": metadata(name), "spec": {"securityContext": security, "containers": [container("main")]}}


def controlled(kind: str, name: str, inside: str, pod: Object, labels: dict[str, str] | None = None) -> Object:
    """A workload whose template a pod is."""
    meta = metadata(name, inside, **({"labels": labels} if labels else {}))
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": kind, **pod, "metadata": pod["metadata"] | meta,
                "status": {"phase": "Running"}}  # fmt: skip
    if kind in ("Job", "CronJob"):
        pod = pod | {"spec": pod["spec"] | {"restartPolicy": "Never"}}
    spec: Object = {"template": pod}
    if kind == "CronJob":
        spec = {"schedule": "15 3 * * *", "jobTemplate": {"spec": spec}}
    elif kind != "Job":  # a Job's selector is the server's business
        spec |= {"selector": {"matchLabels": pod["metadata"]["labels"]}}
    group = "batch/v1" if kind in ("CronJob", "Job") else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": meta, "spec": spec}


def _main(spec: Object) -> Object:
    found: Object = spec["containers"][0]
    return found


def _security(holder: Object) -> Object:
    """The security context of a pod's spec or of a container, made where there is none."""
    found: Object = holder.get("securityContext") or {}
    holder["securityContext"] = found
    return found


def _without(*fields: str) -> Callable[[Object], None]:
    """Takes fields out of the security contexts of a pod and of its first container."""

    def spoil(spec: Object) -> None:
        for one in (spec, _main(spec)):
            for field in fields:
                _security(one).pop(field, None)

    return spoil


def _privileged(spec: Object) -> None:
    _main(spec)["securityContext"] = {"privileged": True}


def _capabilities(spec: Object) -> None:
    _security(_main(spec))["capabilities"] = {"drop": ["ALL"], "add": ["NET_ADMIN"]}


def _sysctl(spec: Object) -> None:
    _security(spec)["sysctls"] = [{"name": "kernel.msgmax", "value": "1"}]


def _host_port(spec: Object) -> None:
    _main(spec)["ports"] = [{"name": "host", "containerPort": 9000, "hostPort": 9000}]


def _init(spec: Object) -> None:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec["initContainers"] = [{"name": "init", "image": "registry.example.com/init:1", "securityContext": security}]


SPOILS: Mapping[str, Callable[[Object], Any]] = {
    "privileged": _privileged,
    "host-network": lambda spec: spec.update(hostNetwork=True),
    "host-path": lambda spec: spec.setdefault("volumes", []).append(HOST_PATH),
    "capabilities": _capabilities,
    "keeps-capabilities": _without("capabilities"),
    "root": _without("runAsNonRoot"),
    "escalates": _without("allowPrivilegeEscalation"),
    "no-seccomp": _without("seccompProfile"),
    "host-port": _host_port,
    "sysctl": _sysctl,
    "init": _init,
}
"""What each shape does to the spec of a pod."""
