"""What the server fills in before it asks whether a pod is admitted: defaults of the API, and of its own plugins.

Source: kubernetes v1.36.3, pkg/apis/core/v1/defaults.go and the plugins ServiceAccount, Priority and
DefaultTolerationSeconds as they are by default. Mutating policies and webhooks, LimitRanges and the image pull secrets
of a ServiceAccount come on top of it; what they would do is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .controls import APPARMOR
from .pods import CONTAINERS, mapping, mappings, sources

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where it is mounted
TOKEN_VOLUME = "kube-api-access-00000"  # noqa: S105 - its name; the server's ends in five random letters

type _Fields = dict[str, Any]

_SPEC: Mapping[str, Any] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_MODE = {"defaultMode": 420}
_SOURCES: Mapping[str, Mapping[str, Any]] = {
    "secret": _MODE, "configMap": _MODE, "downwardAPI": _MODE, "projected": _MODE, "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}  # fmt: skip
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def pod(raw: Mapping[str, Any], *, token: bool = True) -> dict[str, Any]:
    """A pod as the server looks at it when it is created. `token` says whether it gets its ServiceAccount's."""
    spec = _filled(_without_null(mapping(mapping(raw).get("spec"))), _SPEC)
    spec["securityContext"] = {
        field: one for field, one in mapping(spec["securityContext"]).items() if field not in _OF_CONTAINERS
    }
    if spec.get("volumes"):
        spec["volumes"] = [_volume(one) for one in mappings(spec["volumes"])]
    for field in CONTAINERS:
        if spec.get(field):
            network = spec.get("hostNetwork") is True and field != "ephemeralContainers"
            spec[field] = [_container(one, on_host=network, field=field) for one in mappings(spec[field])]
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec |= {"serviceAccountName": account, "serviceAccount": account}
    if token and spec.get("automountServiceAccountToken") is not False:
        _with_token(spec)
    _tolerate(spec)
    if "priorityClassName" not in spec:
        spec = {"priority": 0, "preemptionPolicy": "PreemptLowerPriority", **spec}
    metadata = {name: one for name, one in mapping(mapping(raw).get("metadata")).items() if one not in (None, [], {})}
    _with_app_armor(spec, mapping(metadata.get("annotations")))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def _filled(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> _Fields:
    return {**given, **{name: value for name, value in defaults.items() if given.get(name) in (None, "", 0)}}


_OMITTED = frozenset(
    {
        *((field, False) for field in ("hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "readOnly")),
        *((field, "") for field in ("host", "type", "user", "role", "level", "medium", "value")),
    }
)
"""Fields that are not there where they have these values."""
_OF_CONTAINERS = ("privileged", "procMount", "capabilities", "allowPrivilegeEscalation", "readOnlyRootFilesystem")
"""Fields that the security context of a pod does not have: the server drops them."""


def _without_null(value: Any) -> Any:
    """null is absent, and so is an empty list: no field of a pod tells them apart."""
    if isinstance(value, dict):
        kept = ((name, one) for name, one in value.items() if one is not None and one != [])
        return {name: _without_null(one) if isinstance(one, dict | list) else one
                for name, one in kept if one or not _omitted(name, one)}  # fmt: skip
    return [_without_null(one) for one in value] if isinstance(value, list) else value


def _omitted(name: Any, value: Any) -> bool:
    return (value is False or value == "") and (name, value) in _OMITTED


# Volumes ------------------------------------------------------------------------------------------------------------


def _volume(given: Mapping[str, Any]) -> _Fields:
    found: _Fields = dict(given) if sources(given) else {**given, "emptyDir": {}}
    for name, defaults in _SOURCES.items():
        if name in found:
            present = mapping(found[name])
            found[name] = {**{field: value for field, value in defaults.items() if field not in present}, **present}
    if "downwardAPI" in found:
        found["downwardAPI"] = _downward(mapping(found["downwardAPI"]))
    if "projected" in found:
        projections = [_projection(one) for one in mappings(found["projected"].get("sources"))]
        found["projected"] = {**found["projected"], "sources": projections or None}
    if "image" in found:
        image = mapping(found["image"])
        found["image"] = _filled(image, {"pullPolicy": pull_policy(image.get("reference"))})
    if template := mapping(mapping(found.get("ephemeral")).get("volumeClaimTemplate")):
        claim = _filled(mapping(template.get("spec")), {"volumeMode": "Filesystem", "resources": {}})
        found["ephemeral"] = {"volumeClaimTemplate": {"metadata": {}, **template, "spec": claim}}
    return found


def _projection(given: Mapping[str, Any]) -> _Fields:
    found = dict(given)
    if "downwardAPI" in found:
        found["downwardAPI"] = _downward(mapping(found["downwardAPI"]))
    if "serviceAccountToken" in found:
        found["serviceAccountToken"] = _filled(mapping(found["serviceAccountToken"]), {"expirationSeconds": 3600})
    return found


def _downward(given: Mapping[str, Any]) -> _Fields:
    items = [_field_reference(one) for one in mappings(given.get("items"))]
    return {**given, "items": items} if items else dict(given)


def _field_reference(given: Mapping[str, Any]) -> _Fields:
    """What has a `fieldRef` has it of a version."""
    found = dict(given)
    if isinstance(found.get("fieldRef"), dict):
        found["fieldRef"] = _filled(found["fieldRef"], {"apiVersion": "v1"})
    return found


# Containers ---------------------------------------------------------------------------------------------------------


def pull_policy(image: Any) -> str:
    """Always for an image without tag and digest, or with the tag `latest`."""
    text = str(image or "")
    name, _, digest = text.partition("@")
    _, _, tag = name.rpartition("/")[2].partition(":")
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def _container(given: Mapping[str, Any], *, on_host: bool, field: str) -> _Fields:
    defaults = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": pull_policy(given.get("image")),
    }
    found = _filled(given, defaults)
    limits = mapping(mapping(found["resources"]).get("limits"))
    if limits and field != "ephemeralContainers":
        requests = {**limits, **mapping(found["resources"].get("requests"))}
        found["resources"] = {**found["resources"], "requests": requests}
    if found.get("ports"):
        found["ports"] = [_port(one, on_host=on_host) for one in mappings(found["ports"])]
    if found.get("env"):
        found["env"] = [
            {**one, "valueFrom": _field_reference(one["valueFrom"])} if isinstance(one.get("valueFrom"), dict) else one
            for one in mappings(found["env"])
        ]
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in found:
            found[name] = _handler(_filled(mapping(found[name]), _PROBE))
    if "lifecycle" in found:
        found["lifecycle"] = {
            name: _handler(one) if name in ("postStart", "preStop") else one
            for name, one in mapping(found["lifecycle"]).items()
        }
    return found


def _port(given: Mapping[str, Any], *, on_host: bool) -> _Fields:
    found = _filled(given, {"protocol": "TCP"})
    if on_host and not found.get("hostPort"):
        found["hostPort"] = found.get("containerPort")
    if found.get("hostPort") == 0:
        del found["hostPort"]
    return found


def _handler(given: Any) -> Any:
    found = dict(mapping(given))
    if isinstance(found.get("httpGet"), dict):
        found["httpGet"] = _filled(found["httpGet"], {"path": "/", "scheme": "HTTP"})
    if isinstance(found.get("grpc"), dict):
        found["grpc"] = {"service": "", **found["grpc"]}
    return found


# What plugins add ---------------------------------------------------------------------------------------------------


def _with_token(spec: _Fields) -> None:
    """Mounted in each container that mounts nothing there; ephemeral ones come later."""
    name, needed = TOKEN_VOLUME, False
    for one in mappings(spec.get("volumes")):
        if re.match("kube-api-access-", str(one.get("name"))):
            name = one["name"]
    for field in ("initContainers", "containers"):
        for one in spec.get(field) or ():
            mounts = mappings(one.get("volumeMounts"))
            if all(mount.get("mountPath") != TOKEN_PATH for mount in mounts):
                one["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}]
                needed = True
    if needed and all(one.get("name") != name for one in mappings(spec.get("volumes"))):
        spec["volumes"] = [*mappings(spec.get("volumes")), _token_volume(name)]


def _token_volume(name: str) -> _Fields:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    found = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": found, **_MODE}}


def _with_app_armor(spec: _Fields, annotations: Mapping[str, Any]) -> None:
    """What an old annotation says of a container without a profile becomes its profile."""
    if mapping(spec.get("os")).get("name") == "windows":
        return
    for field in CONTAINERS:
        for one in spec.get(field) or ():
            security = mapping(one.get("securityContext"))
            profile = _profile(annotations.get(f"{APPARMOR}{one.get('name')}"))
            if (
                profile
                and "appArmorProfile" not in security
                and spec["securityContext"].get("appArmorProfile") != profile
            ):
                one["securityContext"] = {**security, "appArmorProfile": profile}


def _profile(annotation: Any) -> _Fields | None:
    if annotation in ("runtime/default", "unconfined"):
        return {"type": "RuntimeDefault" if annotation == "runtime/default" else "Unconfined"}
    if isinstance(annotation, str) and annotation.startswith("localhost/"):
        name = annotation.removeprefix("localhost/")
        return {"type": "Localhost", "localhostProfile": name} if name else None
    return None


def _tolerate(spec: _Fields) -> None:
    """Five minutes of a node that is gone, unless the pod says how long."""
    there = mappings(spec.get("tolerations"))
    for key in _TAINTS:
        if not any(one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "") for one in there):
            added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec["tolerations"] = [*mappings(spec.get("tolerations")), added]
