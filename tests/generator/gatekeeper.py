"""Builders of Gatekeeper's objects, and templates in CEL, in the shape of the library's and for the same violations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .objects import Object, metadata

TARGET = "admission.k8s.gatekeeper.sh"
CONFIGURATION, WEBHOOK = "gatekeeper-validating-webhook-configuration", "validation.gatekeeper.sh"
IGNORE = "admission.gatekeeper.sh/ignore"
SYSTEM = "gatekeeper-system"

CONTAINERS = (
    ("containers", "has(variables.anyObject.spec.containers) ? variables.anyObject.spec.containers : []"),
    ("initContainers", "has(variables.anyObject.spec.initContainers) ? variables.anyObject.spec.initContainers : []"),
    ("ephemeralContainers",
     "has(variables.anyObject.spec.ephemeralContainers) ? variables.anyObject.spec.ephemeralContainers : []"),
    ("all", "variables.containers + variables.initContainers + variables.ephemeralContainers"),
)  # fmt: skip
EXEMPTED = (
    *CONTAINERS,
    ("images", "!has(variables.params.exemptImages) ? [] : variables.params.exemptImages"),
    ("prefixes", "variables.images.filter(i, i.endsWith('*')).map(i, string(i).replace('*', ''))"),
    ("prefixed", "variables.all.filter(c, variables.prefixes.exists(p, string(c.image).startsWith(p)))"),
    ("asked", "variables.all.filter(c, !(c.image in variables.images) && !(c in variables.prefixed))"),
)  # fmt: skip
"""Containers but for those with an exempted image; `*` stands for the rest of one."""
_PATHS = "variables.params.allowedHostPaths"
UPDATED = ("isUpdate", "has(request.operation) && request.operation == 'UPDATE'")
IMAGES: Object = {"type": "object", "properties": {"exemptImages": {"type": "array", "items": {"type": "string"}}}}


def template(
    kind: str, *validations: str, variables: Sequence[tuple[str, str]] = (), schema: Object | None = None, **source: Any
) -> Object:
    """A template in CEL."""
    written = {
        "variables": [{"name": name, "expression": text} for name, text in variables],
        "validations": [{"expression": text, "message": "refused"} for text in validations],
        **source,
    }
    return template_of(kind, [{"engine": "K8sNativeValidation", "source": written}], schema)


def template_of(kind: str, code: Sequence[Object], schema: Object | None = None, **target: Any) -> Object:
    """A template with code for some engines."""
    crd: Object = {"names": {"kind": kind}}
    if schema is not None:
        crd["validation"] = {"openAPIV3Schema": schema}
    spec = {"crd": {"spec": crd}, "targets": [{"target": TARGET, "code": list(code), **target}]}
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": metadata(kind.lower()),
        "spec": spec,
    }


def rego(kind: str) -> Object:
    """A template in Rego."""
    return template_of(kind, [{"engine": "Rego", "source": {"rego": "package a\nviolation[{}] { true }"}}])


def constraint(
    kind: str, name: str = "c", match: Object | None = None, parameters: Object | None = None, **spec: Any
) -> Object:
    """A constraint on pods, unless `match` says otherwise."""
    given: Object = {"match": {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]} if match is None else match, **spec}
    if parameters is not None:
        given["parameters"] = parameters
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": kind,
        "metadata": metadata(name),
        "spec": given,
    }


def config(*entries: Object, name: str = "config", namespace: str = SYSTEM) -> Object:
    """Gatekeeper's Config. An entry is one of `excluding`."""
    return {
        "apiVersion": "config.gatekeeper.sh/v1alpha1",
        "kind": "Config",
        "metadata": metadata(name, namespace),
        "spec": {"match": list(entries)},
    }


def excluding(*namespaces: str, processes: Sequence[str] = ("*",), **more: Any) -> Object:
    """An entry of a Config."""
    return {"excludedNamespaces": list(namespaces), "processes": list(processes), **more}


def webhook(selector: Sequence[Object] | None = None, **more: Any) -> Object:
    """The chart's ValidatingWebhookConfiguration; `selector` are requirements on namespaces beside the chart's own."""
    own = [
        {"key": IGNORE, "operator": "DoesNotExist"},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [SYSTEM]},
    ]
    one = {
        "name": WEBHOOK,
        "clientConfig": {"service": {"namespace": SYSTEM, "name": "gatekeeper-webhook-service"}},
        "failurePolicy": "Ignore",
        "matchPolicy": "Exact",
        "namespaceSelector": {"matchExpressions": [*own, *(selector or ())]},
        "rules": [pods_rule("pods", "pods/ephemeralcontainers", "namespaces")],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": metadata(CONFIGURATION),
        "webhooks": [one],
    }


def pods_rule(*resources: str, operations: Sequence[str] = ("CREATE", "UPDATE")) -> Object:
    """A rule of a webhook on resources of the core group."""
    return {"apiGroups": [""], "apiVersions": ["*"], "operations": list(operations), "resources": list(resources)}


TEMPLATES: Mapping[str, Object] = {
    one["spec"]["crd"]["spec"]["names"]["kind"]: one
    for one in (
        template(
            "Privileged",
            "variables.isUpdate || variables.asked.all(c,"
            " !(has(c.securityContext) && has(c.securityContext.privileged) && c.securityContext.privileged))",
            variables=(*EXEMPTED, UPDATED),
            schema=IMAGES,
        ),
        template(
            "HostNetwork",
            "variables.params.hostNetwork || !has(variables.anyObject.spec.hostNetwork)"
            " || !variables.anyObject.spec.hostNetwork",
            schema={"type": "object", "properties": {"hostNetwork": {"type": "boolean", "default": False}}},
        ),
        template(
            "HostFilesystem",
            "!has(variables.anyObject.spec.volumes) || variables.anyObject.spec.volumes.all(v, !has(v.hostPath)"
            " || variables.allowed.exists(p, string(v.hostPath.path).startsWith(p)))",
            variables=[("allowed", f"has({_PATHS}) ? {_PATHS}.map(p, p.pathPrefix) : []")],
        ),
        template(
            "Capabilities",
            "variables.asked.all(c, !has(c.securityContext) || !has(c.securityContext.capabilities)"
            " || !has(c.securityContext.capabilities.add)"
            " || c.securityContext.capabilities.add.all(one, one in variables.params.allowedCapabilities))",
            "variables.asked.all(c, variables.params.requiredDropCapabilities.all(one,"
            " has(c.securityContext) && has(c.securityContext.capabilities)"
            " && has(c.securityContext.capabilities.drop) && one in c.securityContext.capabilities.drop))",
            variables=EXEMPTED,
        ),
        template(
            "Escalation",
            "variables.asked.all(c, has(c.securityContext) && has(c.securityContext.allowPrivilegeEscalation)"
            " && !c.securityContext.allowPrivilegeEscalation)",
            variables=EXEMPTED,
        ),
    )
}  # fmt: skip
"""By kind."""
