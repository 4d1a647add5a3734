"""The shapes of pods, pod templates and EndpointSlices in files: what the API server would refuse of what is judged.

Source: k8s.io/api core/v1 and discovery/v1 types.go for the types, pkg/apis/core/validation validateContainerPorts for
ports. null is absent, as the server reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from posture.kinds import Kind


class Leaf(NamedTuple):
    """A value that is no mapping or list: what it must be, in words and as a test."""

    what: str
    holds: Callable[[Any], bool]


class Texts(NamedTuple):
    """A mapping from text to text."""


class Every(NamedTuple):
    """A list, each item of one shape."""

    item: Any


TEXT = Leaf("a string", lambda value: isinstance(value, str))
TRUTH = Leaf("true or false", lambda value: isinstance(value, bool))
PORT = Leaf("a port", lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536)
PROTOCOL = Leaf("TCP, UDP or SCTP", lambda value: value in ("TCP", "UDP", "SCTP"))
CONTAINER = {
    "name": TEXT,
    "image": TEXT,
    "restartPolicy": TEXT,
    "ports": Every({"name": TEXT, "containerPort": PORT, "protocol": PROTOCOL}),
    "env": Every({"name": TEXT}),
}
POD_SPEC = {
    "hostNetwork": TRUTH,
    "serviceAccountName": TEXT,
    "serviceAccount": TEXT,
    "containers": Every(CONTAINER),
    "initContainers": Every(CONTAINER),
    "ephemeralContainers": Every(CONTAINER),
}
ADDRESSES = Every({"ip": TEXT})
LABELS = {"labels": Texts()}
METADATA = {"ownerReferences": Every({"apiVersion": TEXT, "kind": TEXT, "name": TEXT, "controller": TRUTH})}
SELECTOR = {"matchLabels": Texts(), "matchExpressions": Every({"key": TEXT, "operator": TEXT, "values": Every(TEXT)})}
SLICE = {
    "ports": Every({"name": TEXT, "port": PORT, "protocol": PROTOCOL}),
    "endpoints": Every({"addresses": Every(TEXT), "conditions": {"ready": TRUTH}}),
}
VOLUME = {
    "hostPath": {"path": TEXT}, "local": {"path": TEXT}, "claimRef": {"namespace": TEXT, "name": TEXT},
}  # fmt: skip
STATUS = {"phase": TEXT, "hostIP": TEXT, "hostIPs": ADDRESSES, "podIPs": ADDRESSES}


def misshapen(kind: Kind, raw: Mapping[str, Any]) -> str:
    """What is wrong with a pod, what makes pods, an EndpointSlice, a volume, or anybody's owner references; "" when
    nothing.
    """
    shape: dict[str, Any] = {"metadata": METADATA}
    if kind.name == "pods":
        shape |= {"spec": POD_SPEC, "status": STATUS}
    elif kind.name == "endpointslices.discovery.k8s.io":
        shape |= SLICE
    elif kind.name == "persistentvolumes":
        shape |= {"spec": VOLUME}
    elif kind.pod_spec:
        made: Any = {"metadata": LABELS, "spec": POD_SPEC}
        for part in reversed(kind.pod_spec.split(".")[:-1]):
            made = {part: made}
        if "spec.selector" in kind.keep:
            made["spec"]["selector"] = Texts() if kind.kind == "ReplicationController" else SELECTOR
        shape |= made
    return _wrong(shape, raw, "")


def stored(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a pod in a file: the API server drops that of a new pod, so `phase` ends only one that it knows.

    Such a pod has a uid: `kubectl get -o yaml` writes it. Addresses stay, for those who want to say which they will be.
    """
    status = raw.get("status") or {}
    return status if raw["metadata"].get("uid") else {field: status[field] for field in status if field != "phase"}


def named(kind: Kind, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a pod, or of what makes pods, with the ServiceAccount where the API server has it.

    The deprecated serviceAccount counts where serviceAccountName is empty (Convert_v1_PodSpec_To_core_PodSpec in
    kubernetes pkg/apis/core/v1/conversion.go).
    """
    return _named(raw, kind.pod_spec.split(".")) if kind.pod_spec else {}


def _named(given: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    if not path:
        older = given.get("serviceAccount")
        return {"serviceAccountName": older} if older and not given.get("serviceAccountName") else {}
    below = given.get(path[0]) or {}
    changed = _named(below, path[1:])
    return {path[0]: {**below, **changed}} if changed else {}


def _wrong(shape: Any, value: Any, path: str) -> str:
    if value is None:
        return ""
    if isinstance(shape, Leaf):
        return "" if shape.holds(value) else f"{path} is not {shape.what}"
    if isinstance(shape, Every):
        if not isinstance(value, list):
            return f"{path} is not a list"
        found = (f"{path}[{number}] is null" if item is None else _wrong(shape.item, item, f"{path}[{number}]")
                 for number, item in enumerate(value))  # fmt: skip
        return next((wrong for wrong in found if wrong), "")
    if not isinstance(value, dict):
        return f"{path} is not a mapping"
    if isinstance(shape, Texts):
        return "" if all(isinstance(text, str) for text in value.values()) else f"{path} is not a map of strings"
    parts = (_wrong(below, value.get(field), f"{path}.{field}".lstrip(".")) for field, below in shape.items())
    return next((wrong for wrong in parts if wrong), "")
