"""What the server fills in, against a real one: pods sent as dry runs come back as a policy sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
import pytest

from posture.admission import defaults
from tests.admission.test_server import parted
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, service_account
from tests.generator.pods import random_pod

NAMESPACE = "defaults"
VOLATILE = ("uid", "creationTimestamp", "managedFields", "generation", "resourceVersion")
FIELD = {"fieldRef": {"fieldPath": "metadata.name"}}

EVERYTHING: Object = {
    "metadata": {"name": "everything", "annotations": {"a": "b"}},
    "spec": {
        "containers": [
            {"name": "a", "image": "x", "tty": False, "livenessProbe": {"httpGet": {"port": 80}},
             "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
             "env": [{"name": "A", "valueFrom": FIELD}, {"name": "B", "value": ""}],
             "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}}},
            {"name": "b", "image": "x:1@sha256:" + "a" * 64, "lifecycle": {"preStop": {"httpGet": {"port": 80}}}},
            {"name": "c", "image": "r.io:5000/x:latest", "readinessProbe": {"grpc": {"port": 3}, "periodSeconds": 3},
             "volumeMounts": [{"name": "empty", "mountPath": "/e", "readOnly": False}]},
            {"name": "d", "image": "r.io:5000/x", "imagePullPolicy": "Never",
             "volumeMounts": [{"name": "token", "mountPath": defaults.TOKEN_PATH}]},
        ],
        "initContainers": [{"name": "i", "image": "r.io:5000/x:2", "securityContext": {}}],
        "volumes": [
            {"name": "empty"}, {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
            {"name": "config", "configMap": {"name": "m"}}, {"name": "host", "hostPath": {"path": "/"}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [{"path": "x", **FIELD}]}}]}},
            {"name": "down", "downwardAPI": {"items": [{"path": "x", **FIELD}]}},
            {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
            {"name": "iscsi", "iscsi": {"targetPortal": "1.2.3.4", "iqn": "iqn.2001-04.com.example:storage", "lun": 0}},
            {"name": "image", "image": {"reference": "x"}},
            {"name": "azure", "azureDisk": {"diskName": "d", "diskURI": "https://x.blob.core.windows.net/a/b.vhd"}},
            {"name": "rbd", "rbd": {"monitors": ["a"], "image": "i"}},
        ],
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "securityContext": {"privileged": True, "runAsUser": 1},
    },
}  # fmt: skip
QUIET: Object = {
    "metadata": {"name": "quiet", "labels": {}},
    "spec": {
        "automountServiceAccountToken": False,
        "hostNetwork": True,
        "hostPID": False,
        "restartPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}], "volumeMounts": None}],
    },
}


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A server with a namespace for pods that are not stored."""
    control_plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    control_plane.apply([service_account(NAMESPACE, "default")])
    yield control_plane
    control_plane.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def comparable(pod: Object) -> Any:
    """A pod without what differs each time it is sent."""
    for volume in pod["spec"].get("volumes", ()):
        if volume["name"].startswith("kube-api-access-"):
            pod = orjson.loads(orjson.dumps(pod).replace(volume["name"].encode(), b"token-of-account"))
    metadata = {name: value for name, value in pod["metadata"].items() if name not in VOLATILE}
    status = {name: value for name, value in pod["status"].items() if name != "qosClass"}
    return {**pod, "metadata": metadata, "status": status}


def check(plane: ControlPlane, pod: Object) -> None:
    """Send a pod, and fill it in."""
    pod = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {**pod["metadata"], "namespace": NAMESPACE}}
    answer = plane.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)

    assert comparable(defaults.pod(pod)) == comparable(answer)


@pytest.mark.parametrize("pod", [EVERYTHING, QUIET], ids=["everything", "quiet"])
def test_every_default(plane: ControlPlane, pod: Object) -> None:
    """One pod with all that has a default, and one with nothing to fill in."""
    check(plane, pod)


@pytest.mark.parametrize("number", [60, pytest.param(2000, marks=pytest.mark.prove)])
def test_random_pods(plane: ControlPlane, number: int) -> None:
    """As the server stores them."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    print(f"POSTURE_SEED={seed}")
    random = Random(seed)
    for index in range(number):
        check(plane, parted(random_pod(random, f"p{index}", valid=True))[0])
