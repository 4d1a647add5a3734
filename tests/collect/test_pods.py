"""Pods and pod templates whose shape the API server refuses are no pods: sent to a real one and read here."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from posture.collect import objects
from posture.kinds import BY_KIND, malformed
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import service_account

ODD: tuple[Any, ...] = (None, "x", 5, 5.5, True, [], ["x"], [None], [[]], {}, {"x": "y"})
"""Values of every type of JSON."""
POD: dict[str, Any] = {
    "metadata": {"name": "p", "labels": {"app": "x"}, "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}]},
    "spec": {
        "hostNetwork": False, "serviceAccountName": "default", "serviceAccount": "default",
        "containers": [{"name": "c", "image": "x", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                        "env": [{"name": "A", "value": "b"}]}],
        "initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always"}],
    },
}  # fmt: skip
KINDS = {
    ("", "Pod"): "/api/v1/namespaces/default/pods",
    ("apps", "Deployment"): "/apis/apps/v1/namespaces/default/deployments",
    ("batch", "CronJob"): "/apis/batch/v1/namespaces/default/cronjobs",
}
PATHS: tuple[tuple[str | int, ...], ...] = (
    ("metadata", "labels"), ("metadata", "labels", "app"), ("metadata", "ownerReferences"),
    ("metadata", "ownerReferences", 0), ("metadata", "ownerReferences", 0, "kind"),
    ("metadata", "ownerReferences", 0, "name"), ("metadata", "ownerReferences", 0, "controller"), ("spec",),
    ("spec", "serviceAccountName"), ("spec", "serviceAccount"),
    ("spec", "hostNetwork"), ("spec", "containers"), ("spec", "containers", 0), ("spec", "containers", 0, "name"),
    ("spec", "containers", 0, "ports"), ("spec", "containers", 0, "ports", 0),
    ("spec", "containers", 0, "ports", 0, "containerPort"), ("spec", "containers", 0, "ports", 0, "protocol"),
    ("spec", "containers", 0, "ports", 0, "name"), ("spec", "containers", 0, "env"), ("spec", "initContainers"),
    ("spec", "initContainers", 0), ("spec", "initContainers", 0, "restartPolicy"),
)  # fmt: skip


def wrapped(group: str, kind: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A pod, or what makes such pods."""
    version = f"{group}/v1" if group else "v1"
    if kind == "Pod":
        return {"apiVersion": version, "kind": kind, **pod}
    del pod["metadata"]["name"]
    if isinstance(pod["spec"], dict):
        pod["spec"]["restartPolicy"] = "Always" if kind == "Deployment" else "Never"
    if kind == "Deployment":
        spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "x"}}, "template": pod}
    else:
        spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": pod}}}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": spec}


def variants() -> Iterator[dict[str, Any]]:
    """The good pod, and one for each place and each odd value in it."""
    yield deepcopy(POD)
    for path in PATHS:
        for odd in ODD:
            if odd is None and path[-1] == "app":
                continue  # the server stores an empty text; here it is a gap, for nobody means that
            made = deepcopy(POD)
            place: Any = made
            for part in path[:-1]:
                place = place[part]
            place[path[-1]] = odd
            yield made


ACCOUNTS: tuple[dict[str, Any], ...] = (
    {"serviceAccount": "adm"}, {"serviceAccountName": "adm"}, {"serviceAccount": "old", "serviceAccountName": "new"},
    {"serviceAccount": "adm", "serviceAccountName": None}, {"serviceAccount": "adm", "serviceAccountName": ""},
    {"serviceAccount": "", "serviceAccountName": "adm"}, {"serviceAccount": None}, {},
)  # fmt: skip
"""The deprecated field and the one that took its place."""


def account_of(spec: dict[str, Any]) -> str:
    """As whom a pod runs, as all of posture reads it."""
    return spec.get("serviceAccountName") or "default"


def test_a_pod_of_a_file_runs_as_whom_the_server_says(control_plane: ControlPlane) -> None:
    """The deprecated serviceAccount counts where serviceAccountName is empty, in pods and whatever makes them."""
    control_plane.apply(service_account("default", name) for name in ("adm", "old", "new"))
    for (group, kind), where in KINDS.items():
        path = BY_KIND[group, kind].pod_spec.split(".")
        for given in ACCOUNTS:
            pod = deepcopy(POD)
            del pod["metadata"]["ownerReferences"], pod["spec"]["serviceAccountName"]
            pod["spec"] |= given
            one = wrapped(group, kind, pod)
            stored = control_plane.request("POST", f"{where}?dryRun=All", one)
            read: Any = objects.normal(BY_KIND[group, kind], one)
            for part in path:
                stored, read = stored[part], read[part]
            assert account_of(read) == account_of(stored), (kind, given)


def test_what_is_misshapen_is_refused_and_what_is_not_can_be_evaluated(control_plane: ControlPlane) -> None:
    """Nothing that a server takes is turned away. Of what it refuses, the shapes that cannot be read are seen."""
    refused = read = 0
    for (group, kind), where in KINDS.items():
        for pod in variants():
            one = wrapped(group, kind, pod)
            wrong = malformed(BY_KIND[group, kind], one) or objects.misshapen(BY_KIND[group, kind], one)
            try:
                control_plane.request("POST", f"{where}?dryRun=All", one)
            except RefusedError:
                refused += 1
            else:
                assert not wrong, (one, wrong)
            read += bool(wrong)
    assert read > 250
    assert refused >= read
