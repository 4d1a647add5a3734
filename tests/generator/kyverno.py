"""Builders of Kyverno's objects: policies, exceptions, its ConfigMap, its admission controller and its webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
