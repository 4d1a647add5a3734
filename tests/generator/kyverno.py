"""Builders of Kyverno's objects: policies, exceptions, its ConfigMap, its admission controller and its webhooks.

And random patterns, objects that are nearly as these say, and random entries of `podSecurity.exclude`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from .objects import Object, metadata

CEL = "policies.kyverno.io/v1"
NAMESPACE = "kyverno"
PODS: Object = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}
PRIVILEGED = "object.spec.containers.all(c, !(c.?securityContext.?privileged.orValue(false)))"


def validating_policy(name: str, *validations: str, namespace: str = "", **spec: Any) -> Object:
    """A ValidatingPolicy on pods, or a NamespacedValidatingPolicy where there is a namespace."""
    kind = "NamespacedValidatingPolicy" if namespace else "ValidatingPolicy"
    body = {"matchConstraints": {"resourceRules": [PODS]}, "validationActions": ["Deny"],
            "validations": [{"expression": one} for one in validations or (PRIVILEGED,)]}  # fmt: skip
    return {"apiVersion": CEL, "kind": kind, "metadata": metadata(name, namespace), "spec": body | spec}


def cel_exception(
    name: str, *policies: str, namespace: str = "exceptions", conditions: Sequence[str] = (), **spec: Any
) -> Object:  # fmt: skip
    """A PolicyException of policies.kyverno.io; `policies` are names of ValidatingPolicies, or KIND/NAME."""
    refs = [{"kind": one.rpartition("/")[0] or "ValidatingPolicy", "name": one.rpartition("/")[2]} for one in policies]
    body: Object = {"policyRefs": refs}
    if conditions:
        body["matchConditions"] = [{"name": f"c{n}", "expression": one} for n, one in enumerate(conditions)]
    return {"apiVersion": CEL, "kind": "PolicyException", "metadata": metadata(name, namespace), "spec": body | spec}


def rule(
    name: str = "check", match: Any = None, exclude: Any = None, preconditions: Any = None, **validate: Any
) -> Object:  # fmt: skip
    """A rule that validates pods."""
    made: Object = {"name": name, "match": match or {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": validate}
    if exclude is not None:
        made["exclude"] = exclude
    return made | ({"preconditions": preconditions} if preconditions is not None else {})


def cluster_policy(name: str, *rules: Object, namespace: str = "", annotations: Any = None, **spec: Any) -> Object:
    """A ClusterPolicy that enforces, or a Policy where there is a namespace."""
    more = {"annotations": annotations} if annotations else {}
    body = {"validationFailureAction": "Enforce", "rules": list(rules)} | spec
    return {"apiVersion": "kyverno.io/v1", "kind": "Policy" if namespace else "ClusterPolicy",
            "metadata": metadata(name, namespace, **more), "spec": body}  # fmt: skip


def pod_security(level: str = "baseline", **more: Any) -> Object:
    """What `validate.podSecurity` holds."""
    return {"level": level, "version": "latest"} | more


def exception(
    name: str, policy: str, *rules: str, namespace: str = "exceptions", match: Any = None, **spec: Any
) -> Object:  # fmt: skip
    """A PolicyException of kyverno.io for pods."""
    body = {"exceptions": [{"policyName": policy, "ruleNames": list(rules) or ["*"]}],
            "match": match or {"any": [{"resources": {"kinds": ["Pod"]}}]}}  # fmt: skip
    return {"apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata(name, namespace),
            "spec": body | spec}  # fmt: skip


def config_map(namespace: str = NAMESPACE, **data: str) -> Object:
    """Kyverno's ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("kyverno", namespace), "data": data}


def controller(*arguments: str, namespace: str = NAMESPACE) -> Object:
    """The Deployment of Kyverno's admission controller."""
    labels = {"app.kubernetes.io/component": "admission-controller", "app.kubernetes.io/part-of": "kyverno"}
    container = {"name": "kyverno", "image": "kyverno", "args": list(arguments)}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": metadata("kyverno-admission-controller", namespace, labels=labels),
        "spec": {"selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    }  # fmt: skip


def webhooks(*hooks: Mapping[str, Any]) -> Object:
    """The configuration of webhooks that Kyverno makes."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": metadata("kyverno-resource-validating-webhook-cfg"), "webhooks": list(hooks),
    }  # fmt: skip


def webhook(name: str = "validate.kyverno.svc-fail", resources: Sequence[str] = ("pods",), **more: Any) -> Object:
    """One of them, which asks Kyverno's Service."""
    rules = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [*resources]}]
    service = {"name": "kyverno-svc", "namespace": NAMESPACE, "path": "/validate/fail"}
    return {"name": name, "failurePolicy": "Fail", "rules": rules, "clientConfig": {"service": service}} | more


# Random -------------------------------------------------------------------------------------------------------------

FIELDS = ("a", "b", "c", "d")
ANCHORS = ("({})",) * 3 + ("=({})",) * 3 + ("X({})",) * 2 + ("<({})",) * 2 + ("^({})",) * 3 + ("{}",) * 13
WANTED = (
    "x", "xy", "y*", "?*", "*", "!x", "!", "=", "x|y", "x & !y", "!x & !y | z", "true", "null", True, False,
    None, 0, 1, 2, "0", "1", "+1", ">1", "> 1", "<=2", ">=-1", "1-3", "2!-3", "1.5", "1000m", "0m", "1Gi", "<1Gi",
    "1k-1Mi", "1e3", "10s", "90m", ">1h", "!1h30m", "0.5h-2h",
)  # fmt: skip
THERE: tuple[Any, ...] = (
    "x", "xy", "y", "z", "", "true", True, False, None, 0, 1, 2, 3, -1, 1000, 1.5, "0", "1", "2", "-1", "1.50", "500m",
    "1Gi", "1024Mi", "1k", "10s", "90m", "60m", "1h30m", {}, [], {"a": "x"}, ["x"],
)  # fmt: skip
LISTS = ("containers", "containers", "initContainers", "ephemeralContainers")
POD, CONTAINER = "spec.securityContext", "spec.{}[*].securityContext"
CONTROLS: Mapping[str, tuple[str, ...]] = {
    "HostProcess": (f"{POD}.windowsOptions.hostProcess", f"{CONTAINER}.windowsOptions.hostProcess"),
    "Host Namespaces": ("spec.hostNetwork", "spec.hostPID", "spec.hostIPC"),
    "Privileged Containers": (f"{CONTAINER}.privileged",),
    "Capabilities": (f"{CONTAINER}.capabilities.add", f"{CONTAINER}.capabilities.drop"),
    "HostPath Volumes": ("spec.volumes[*].hostPath",),
    "Host Ports": ("spec.{}[*].ports[*].hostPort",),
    "AppArmor": ("metadata.annotations", f"{POD}.appArmorProfile.type", f"{CONTAINER}.appArmorProfile.type"),
    "SELinux": tuple(f"{one}.seLinuxOptions.{field}" for one in (POD, CONTAINER) for field in ("type", "user", "role")),
    "/proc Mount Type": (f"{CONTAINER}.procMount",),
    "Seccomp": (f"{POD}.seccompProfile.type", f"{CONTAINER}.seccompProfile.type"),
    "Sysctls": (f"{POD}.sysctls[*].name",),
    "Volume Types": ("spec.volumes[*].hostPath", "spec.volumes[*].nfs", "spec.volumes[*].gitRepo"),
    "Privilege Escalation": (f"{CONTAINER}.allowPrivilegeEscalation",),
    "Running as Non-root": (f"{POD}.runAsNonRoot", f"{CONTAINER}.runAsNonRoot"),
    "Running as Non-root user": (f"{POD}.runAsUser", f"{CONTAINER}.runAsUser"),
}
"""The controls, each with fields that an entry may restrict it to."""
VALUES = ("*", "*", "?*", "true", "false", "nil", "nil", "0", "NET_*", "ALL", "Un*", "spc_t", "net.*", "/")
IMAGES = ("x", "y", "xy")


def random_pattern(random: Random) -> Object:
    """What `validate.pattern` holds: anchors on any field, nested up to four deep."""
    found: Object = {}
    while not found:
        found = _mapping(random, 4)
    return found


def _mapping(random: Random, deep: int) -> Object:
    keys = [random.choice(ANCHORS).format(random.choice(FIELDS)) for _ in range(random.choice((0, 1, 1, 2, 2, 3)))]
    return {key: _pattern(random, deep - 1) for key in keys}


def _pattern(random: Random, deep: int) -> Any:
    kind = random.random() if deep else 0
    if kind < 0.35:
        return random.choice(WANTED)
    if kind < 0.75:
        return _mapping(random, deep)
    return [_pattern(random, deep - 1) for _ in range(random.choice((0, 1, 1, 2)))]


def object_like(random: Random, pattern: Object) -> Object:
    """An object that is nearly as a pattern says."""
    found = {key.strip("=X<^()"): _like(random, value) for key, value in pattern.items() if random.random() < 0.8}
    return found | ({random.choice(FIELDS): random.choice(THERE)} if random.random() < 0.2 else {})


def _like(random: Random, pattern: Any) -> Any:
    if random.random() < 0.1:
        return random.choice(THERE)
    if isinstance(pattern, dict):
        return object_like(random, pattern)
    if isinstance(pattern, list):
        items = [random.choice(pattern or THERE) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        return [_like(random, one) for one in items]
    if random.random() < 0.4:
        return pattern.strip("!*?<>= ") if isinstance(pattern, str) else pattern
    return random.choice(THERE)


def imaged(random: Random, pod: Object) -> Object:
    """A pod whose containers have images that entries tell apart."""
    for one in (one for kind in sorted({*LISTS}) for one in pod["spec"].get(kind) or ()):
        one["image"] = random.choice(IMAGES)
    return pod


def random_exclusions(random: Random) -> list[Object]:
    """What `validate.podSecurity.exclude` holds: some controls, or all but that one is left out in part alone."""
    whole: list[Object] = []
    some = random.sample(sorted(CONTROLS), random.choice((1, 1, 0, 2, 4, 8)))
    if len(some) == 1:
        others = [one for one in CONTROLS if one not in some]
        whole = [{"controlName": one} | more for one in others for more in ({}, {"images": ["*"]})]
    found = whole + [_exclusion(random, one) for one in some for _ in range(random.choice((1, 2, 2, 3)))]
    return random.sample(found, len(found))


def _exclusion(random: Random, control: str) -> Object:
    found: Object = {"controlName": control}
    if random.random() < 0.6:
        found["images"] = [random.choice(("*", "*", "*", *IMAGES, "x*"))]
    if random.random() < 0.3:
        found["restrictedField"] = random.choice(CONTROLS[control]).format(random.choice(LISTS))
        if random.random() < 0.7:
            found["values"] = random.sample(VALUES, random.choice((1, 1, 2)))
    return found
