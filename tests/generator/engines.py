"""Builders of what admission engines read, with sane defaults: policies, exceptions, and what answers for them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .objects import Object, metadata
from .vap import ADMISSION

NOW = "2026-11-03T00:00:00Z"
PAST, FUTURE = "2026-10-01T00:00:00Z", "2027-03-01T00:00:00Z"
NAME = "kubernetes.io/metadata.name"
IGNORE = "admission.gatekeeper.sh/ignore"
PODS: Object = {
    "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
    "resources": ["pods", "pods/ephemeralcontainers"],
}  # fmt: skip


def where(key: str, operator: str, *values: str) -> Object:
    """A label selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": [*values]} if values else {})]}


def conditions(*texts: str) -> list[Object]:
    """Match conditions."""
    return [{"name": f"c{number}", "expression": text} for number, text in enumerate(texts)]


def _validations(expressions: Iterable[str]) -> list[Object]:
    return [{"expression": text, "message": "no"} for text in expressions]


# Kyverno ------------------------------------------------------------------------------------------------------------


def kyverno_rule(name: str, validate: Object, exclude: Sequence[Object] = (), **more: Any) -> Object:
    """A rule for pods. Each of `exclude` is a filter of resources; any of them takes out."""
    found: Object = {"name": name, "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": validate}
    return found | ({"exclude": {"any": [{"resources": one} for one in exclude]}} if exclude else {}) | more


def pod_security(level: str = "baseline", *exclude: Object, version: str = "latest", action: str = "") -> Object:
    """What a rule validates with Pod Security's controls."""
    found: Object = {"failureAction": action} if action else {}
    return found | {"podSecurity": {"level": level, "version": version} | ({"exclude": [*exclude]} if exclude else {})}


def cel(*expressions: str, action: str = "") -> Object:
    """What a rule validates with CEL."""
    found: Object = {"failureAction": action} if action else {}
    return found | {"cel": {"expressions": _validations(expressions)}}


def cluster_policy(name: str, *rules: Object, namespace: str = "", action: str = "Enforce", **spec: Any) -> Object:
    """A ClusterPolicy, or a Policy in a namespace."""
    return {
        "apiVersion": "kyverno.io/v1", "kind": "Policy" if namespace else "ClusterPolicy",
        "metadata": metadata(name, namespace),
        "spec": {"validationFailureAction": action, "background": True, "rules": [*rules], **spec},
    }  # fmt: skip


def validating_policy(name: str, *expressions: str, actions: Sequence[str] = ("Deny",), **spec: Any) -> Object:
    """A ValidatingPolicy on pods; what `matchConstraints` name is added to these."""
    constraints = {"resourceRules": [PODS], **spec.pop("matchConstraints", {})}
    return {
        "apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "metadata": metadata(name),
        "spec": {"validationActions": [*actions], "matchConstraints": constraints,
                 "validations": _validations(expressions), **spec},
    }  # fmt: skip


def exception(
    name: str, namespace: str, refs: Sequence[tuple[str, Sequence[str]]], resources: Object, **spec: Any
) -> Object:
    """A PolicyException of kyverno.io from (policy, names of rules), for pods that a filter of resources selects."""
    exceptions = [{"policyName": policy, "ruleNames": [*rules]} for policy, rules in refs]
    match = {"any": [{"resources": {"kinds": ["Pod"], **resources}}]}
    return {
        "apiVersion": "kyverno.io/v2", "kind": "PolicyException", "metadata": metadata(name, namespace),
        "spec": {"exceptions": exceptions, "match": match, **spec},
    }  # fmt: skip


def cel_exception(name: str, namespace: str, policies: Sequence[str], *texts: str, **spec: Any) -> Object:
    """A PolicyException of policies.kyverno.io from ValidatingPolicies, under some conditions."""
    refs = [{"kind": "ValidatingPolicy", "name": policy} for policy in policies]
    matching = {"matchConditions": conditions(*texts)} if texts else {}
    return {
        "apiVersion": "policies.kyverno.io/v1", "kind": "PolicyException", "metadata": metadata(name, namespace),
        "spec": {"policyRefs": refs, **matching, **spec},
    }  # fmt: skip


def kyverno(*args: str, endpoints: Sequence[bool] = (True,), data: dict[str, str] | None = None) -> list[Object]:
    """Kyverno itself: its Deployment with flags, its ConfigMap and its webhooks."""
    settings: Object = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("kyverno", "kyverno"),
        "data": {"excludeGroups": "system:nodes", **(data or {})},
    }  # fmt: skip
    own: Object = {
        "rules": [{**PODS, "scope": "*"}],
        "namespaceSelector": where(NAME, "NotIn", "kube-system", "kyverno"),
    }
    asked = [
        webhook(f"{kind}validate.kyverno.svc-{end}", "kyverno/kyverno-svc", path=f"/{path}/{end}",
                failurePolicy=end.capitalize(), sideEffects="NoneOnDryRun", **own)
        for kind, path in (("", "validate"), ("vpol.", "vpol")) for end in ("fail", "ignore")
    ]  # fmt: skip
    return [
        controller("kyverno", "kyverno-admission-controller", "kyverno", *args),
        settings,
        *answering("kyverno", "kyverno-svc", endpoints),
        webhooks("kyverno-resource-validating-webhook-cfg", *asked),
    ]


# Gatekeeper ---------------------------------------------------------------------------------------------------------

VARIABLES = (
    ("containers", "has(variables.anyObject.spec.containers) ? variables.anyObject.spec.containers : []"),
    ("initContainers", "has(variables.anyObject.spec.initContainers) ? variables.anyObject.spec.initContainers : []"),
    ("exemptImages", "!has(variables.params.exemptImages) ? [] : variables.params.exemptImages"),
    ("exempt", ("variables.containers.filter(c, variables.exemptImages.exists(e, e.endsWith('*')"
                " ? string(c.image).startsWith(string(e).replace('*', '')) : c.image == e)).map(c, c.image)")),
    ("judged", "(variables.containers + variables.initContainers).filter(c, !(c.image in variables.exempt))"),
    ("isUpdate", "has(request.operation) && request.operation == 'UPDATE'"),
)  # fmt: skip
"""What templates define before they validate; each may refer to those before it."""

REGO = """package posture
violation[{"msg": msg}] {
  not input.review.object.metadata.labels.team
  msg := "no team"
}
"""


def template(kind: str, *expressions: str, **source: Any) -> Object:
    """A ConstraintTemplate in CEL; without expressions, in Rego."""
    given = {"variables": [{"name": name, "expression": text} for name, text in VARIABLES]}
    code = {"engine": "K8sNativeValidation", "source": given | {"validations": _validations(expressions)} | source}
    parameters = {"type": "object", "properties": {"exemptImages": {"type": "array", "items": {"type": "string"}}}}
    target: Object = {"target": "admission.k8s.gatekeeper.sh"}
    return {
        "apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate", "metadata": metadata(kind.lower()),
        "spec": {
            "crd": {"spec": {"names": {"kind": kind}, "validation": {"openAPIV3Schema": parameters}}},
            "targets": [target | ({"code": [code]} if expressions else {"rego": REGO})],
        },
        "status": {"created": True},
    }  # fmt: skip


def constraint(kind: str, name: str, parameters: Object | None = None, **spec: Any) -> Object:
    """A constraint on pods; what `match` names is added to these."""
    match = {"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}], **spec.pop("match", {})}
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": kind, "metadata": metadata(name),
        "spec": {"match": match} | ({"parameters": parameters} if parameters else {}) | spec,
    }  # fmt: skip


def config(*exclusions: tuple[Sequence[str], Sequence[str]], name: str = "config") -> Object:
    """The Config of Gatekeeper, from (namespaces, processes). Of another name it means nothing."""
    match = [{"excludedNamespaces": [*names], "processes": [*processes]} for names, processes in exclusions]
    return {
        "apiVersion": "config.gatekeeper.sh/v1alpha1", "kind": "Config",
        "metadata": metadata(name, "gatekeeper-system"), "spec": {"match": match},
    }  # fmt: skip


def gatekeeper(*args: str, endpoints: Sequence[bool] = (True,), failure: str = "Ignore") -> list[Object]:
    """Gatekeeper itself: its Deployment with flags and its webhooks."""
    own: Object = {"namespaceSelector": {"matchExpressions": [
        {"key": IGNORE, "operator": "DoesNotExist"},
        {"key": NAME, "operator": "NotIn", "values": ["gatekeeper-system"]},
    ]}}  # fmt: skip
    everything = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    labels = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["namespaces"]}
    service = "gatekeeper-system/gatekeeper-webhook-service"
    asked = [
        webhook("validation.gatekeeper.sh", service, "/v1/admit", failurePolicy=failure, rules=[everything], **own),
        webhook("check-ignore-label.gatekeeper.sh", service, "/v1/admitlabel", failurePolicy="Fail", rules=[labels]),
    ]
    return [
        controller("gatekeeper-system", "gatekeeper-controller-manager", "manager", *args),
        *answering("gatekeeper-system", "gatekeeper-webhook-service", endpoints),
        webhooks("gatekeeper-validating-webhook-configuration", *asked),
    ]


# Webhooks, and what answers for them --------------------------------------------------------------------------------


@cache
def authority(until: str = FUTURE) -> str:
    """The base64 text of a CA's certificate that is valid until a day; the same each time."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "posture tests")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime.fromisoformat(until))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    return base64.b64encode(made.public_bytes(Encoding.PEM)).decode()


def webhook(name: str, service: str, path: str = "/validate", bundle: str = "", **more: Any) -> Object:
    """A webhook for pods that is asked at a Service NAMESPACE/NAME."""
    namespace, _, called = service.partition("/")
    client = {"service": {"namespace": namespace, "name": called, "path": path, "port": 443}}
    return {
        "name": name, "clientConfig": client | {"caBundle": bundle or authority()}, "rules": [PODS],
        "failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None", "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1"], **more,
    }  # fmt: skip


def webhooks(name: str, *made: Object) -> Object:
    """A ValidatingWebhookConfiguration."""
    return {
        "apiVersion": ADMISSION, "kind": "ValidatingWebhookConfiguration", "metadata": metadata(name),
        "webhooks": [*made],
    }  # fmt: skip


def answering(namespace: str, name: str, endpoints: Sequence[bool] = (True,)) -> list[Object]:
    """A Service of port 443, and its EndpointSlice with an endpoint for each that is ready or not."""
    port = {"name": "https", "protocol": "TCP", "port": 443}
    service: Object = {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace),
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "selector": {"app": name},
                 "ports": [port | {"targetPort": "https"}]},
    }  # fmt: skip
    return [service, endpoint_slice(namespace, name, endpoints)]


def endpoint_slice(namespace: str, name: str, endpoints: Sequence[bool]) -> Object:
    """The EndpointSlice of a Service, as its controller makes it."""
    owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": f"uid-{name}", "controller": True}
    labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller"}
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": metadata(f"{name}-x7k2p", namespace, labels=labels, ownerReferences=[owner]),
        "endpoints": [
            {"addresses": [f"10.0.0.{number + 10}"], "nodeName": "node-1",
             "conditions": {"ready": ready, "serving": ready, "terminating": False},
             "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{number}"}}
            for number, ready in enumerate(endpoints)
        ],
        "ports": [{"name": "https", "protocol": "TCP", "port": 9443}],
    }  # fmt: skip


def controller(namespace: str, name: str, container: str, *args: str) -> Object:
    """The Deployment of an engine, whose flags decide how it behaves."""
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
    main = {"name": container, "image": f"registry.example.com/{name}:1", "args": [*args], "securityContext": security}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, namespace, labels=labels),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": {"containers": [main]}}},
    }  # fmt: skip
