"""Policies, bindings and webhooks of admissionregistration.k8s.io as the API server would store them.

As k8s.io/api admissionregistration/v1 decodes them, pkg/apis/admissionregistration/v1 defaults them and its validation
checks them (Kubernetes 1.36). Whether an expression compiles is not looked at: what does not is refused there and held
here. tests/collect/test_refused_admission.py compares the rest with a real server.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from posture.collect.fields import (
    RefusedError,
    filled,
    integer,
    items,
    mapping,
    one_of,
    port_number,
    qualified,
    quoted,
    segment,
    selector,
    subdomain,
    text,
)  # fmt: skip

_FAILURE = ("Fail", "Ignore")
_MATCH = ("Equivalent", "Exact")
_OPERATIONS = ("CREATE", "UPDATE", "DELETE", "CONNECT", "*")
_MUTATED = ("CREATE", "UPDATE", "CONNECT", "*")
"""No other request has an object that can be mutated."""
_REINVOCATION = ("Never", "IfNeeded")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_REVIEWS = ("v1", "v1beta1")
_MOST_CONDITIONS = 64
_MOST_ANNOTATIONS = 20
_LONGEST_ANNOTATION = 5 * 1024
_VERSION = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    }
)  # fmt: skip
_NO_URL = re.compile(r"[\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@ ]+)?(?::[0-9]*)?")


def refused(kind: str, raw: Mapping[str, Any]) -> str:
    """What the API server would refuse in an object of a kind of this group; "" when nothing."""
    try:
        stored(kind, raw)
    except RefusedError as error:
        return str(error)
    return ""


def stored(kind: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object with the API's defaults and without what means nothing.

    Raises RefusedError for what the server refuses.
    """
    if kind.endswith("WebhookConfiguration"):
        hooks = [_webhook(path, hook, kind) for path, hook in items("webhooks", raw.get("webhooks"))]
        _distinct("webhooks", [hook["name"] for hook in hooks])
        return {"webhooks": hooks}
    spec, mutating = mapping("spec", raw.get("spec")), kind.startswith("Mutating")
    if kind.endswith("Binding"):
        return {"spec": _binding(spec, mutating=mutating)}
    return {"spec": _policy(spec, raw["metadata"]["name"], mutating=mutating)}


# Policies -----------------------------------------------------------------------------------------------------------


def _policy(spec: Mapping[str, Any], name: str, *, mutating: bool) -> dict[str, Any]:
    constraints = spec.get("matchConstraints")
    if constraints is None:
        raise RefusedError("spec.matchConstraints is missing")
    found = {
        "failurePolicy": _chosen("spec.failurePolicy", spec.get("failurePolicy"), _FAILURE),
        "matchConstraints": _match("spec.matchConstraints", constraints, _MUTATED if mutating else _OPERATIONS),
        **filled(
            paramKind=_param_kind(spec.get("paramKind")),
            matchConditions=_conditions("spec.matchConditions", spec.get("matchConditions")),
            variables=[_variable(*one) for one in items("spec.variables", spec.get("variables"))],
        ),
    }
    if "resourceRules" not in found["matchConstraints"]:
        raise RefusedError("spec.matchConstraints.resourceRules is empty")
    if mutating:
        mutations = [_mutation(*one) for one in items("spec.mutations", spec.get("mutations"))]
        if not mutations:
            raise RefusedError("spec.mutations is empty")
        again = one_of("spec.reinvocationPolicy", spec.get("reinvocationPolicy"), _REINVOCATION)
        return found | {"mutations": mutations, "reinvocationPolicy": again}
    validations = [_validation(*one) for one in items("spec.validations", spec.get("validations"))]
    annotations = [_annotation(*one, name) for one in items("spec.auditAnnotations", spec.get("auditAnnotations"))]
    if not validations and not annotations:
        raise RefusedError("spec has neither validations nor auditAnnotations")
    if len(annotations) > _MOST_ANNOTATIONS:
        raise RefusedError(f"spec.auditAnnotations has {len(annotations)} items, more than {_MOST_ANNOTATIONS}")
    _distinct("spec.auditAnnotations", [one["key"] for one in annotations])
    return found | filled(validations=validations, auditAnnotations=annotations)


def _param_kind(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    given = mapping("spec.paramKind", value)
    version, kind = (text(f"spec.paramKind.{field}", given.get(field)) for field in ("apiVersion", "kind"))
    group, _, last = version.rpartition("/")
    if group:
        subdomain("spec.paramKind.apiVersion", group)
    if not _VERSION.fullmatch(last):
        raise RefusedError(f"spec.paramKind.apiVersion is {quoted(version)}, no version of an API")
    if not _VERSION.fullmatch(kind.lower()):
        raise RefusedError(f"spec.paramKind.kind is {quoted(kind)}, no kind's name")
    return {"apiVersion": version, "kind": kind}


def _conditions(path: str, value: Any) -> list[dict[str, str]]:
    found = []
    for where, one in items(path, value):
        given = mapping(where, one)
        expression = _expression(f"{where}.expression", given.get("expression"))
        found.append({"name": qualified(f"{where}.name", given.get("name")), "expression": expression})
    if len(found) > _MOST_CONDITIONS:
        raise RefusedError(f"{path} has {len(found)} items, more than {_MOST_CONDITIONS}")
    _distinct(path, [one["name"] for one in found])
    return found


def _variable(path: str, value: Any) -> dict[str, str]:
    given = mapping(path, value)
    name = text(f"{path}.name", given.get("name"))
    if not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
        raise RefusedError(f"{path}.name is {quoted(name)}, no identifier of CEL")
    return {"name": name, "expression": _expression(f"{path}.expression", given.get("expression"))}


def _validation(path: str, value: Any) -> dict[str, str]:
    given = mapping(path, value)
    expression = _expression(f"{path}.expression", given.get("expression"))
    texts = {field: text(f"{path}.{field}", given.get(field)) for field in ("message", "messageExpression")}
    for field, said in texts.items():
        if said and not said.strip():
            raise RefusedError(f"{path}.{field} is blank")
    if re.search(r"[\n\r]", texts["message"].strip()):
        raise RefusedError(f"{path}.message has a line break")
    reason = given.get("reason")
    reason = None if reason is None else one_of(f"{path}.reason", reason, _REASONS)
    return {"expression": expression, **filled(reason=reason), **{name: said for name, said in texts.items() if said}}


def _annotation(path: str, value: Any, policy: str) -> dict[str, str]:
    given = mapping(path, value)
    key = text(f"{path}.key", given.get("key"))
    qualified(f"{path}.key", f"{policy}/{key}")
    expression = _expression(f"{path}.valueExpression", given.get("valueExpression"))
    if len(expression.strip().encode()) > _LONGEST_ANNOTATION:
        raise RefusedError(f"{path}.valueExpression is longer than {_LONGEST_ANNOTATION} bytes")
    return {"key": key, "valueExpression": expression}


def _mutation(path: str, value: Any) -> dict[str, Any]:
    given = mapping(path, value)
    patch = one_of(f"{path}.patchType", given.get("patchType"), tuple(_PATCHES))
    for other, field in _PATCHES.items():
        if (given.get(field) is None) == (other == patch):
            state = "missing" if other == patch else "there"
            raise RefusedError(f"{path}.{field} is {state}, and patchType is {patch}")
    field = _PATCHES[patch]
    where = f"{path}.{field}"
    expression = mapping(where, given[field]).get("expression")
    return {"patchType": patch, field: {"expression": _expression(f"{where}.expression", expression)}}


def _expression(path: str, value: Any) -> str:
    found = text(path, value)
    if not found.strip():
        raise RefusedError(f"{path} is empty")
    return found


# Bindings -----------------------------------------------------------------------------------------------------------


def _binding(spec: Mapping[str, Any], *, mutating: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"policyName": subdomain("spec.policyName", spec.get("policyName"))}
    if spec.get("paramRef") is not None:
        found["paramRef"] = _param_ref(mapping("spec.paramRef", spec["paramRef"]))
    if spec.get("matchResources") is not None:
        operations = _MUTATED if mutating else _OPERATIONS
        found["matchResources"] = _match("spec.matchResources", spec["matchResources"], operations)
    if mutating:
        return found
    actions = _texts("spec.validationActions", spec.get("validationActions"), ("Deny", "Warn", "Audit"))
    _distinct("spec.validationActions", actions)
    if {"Deny", "Warn"} <= set(actions):
        raise RefusedError("spec.validationActions has both Deny and Warn")
    return found | {"validationActions": actions}


def _param_ref(given: Mapping[str, Any]) -> dict[str, Any]:
    name, namespace = (text(f"spec.paramRef.{field}", given.get(field)) for field in ("name", "namespace"))
    if bool(name) == (given.get("selector") is not None):
        raise RefusedError(f"spec.paramRef has {'both a name and' if name else 'neither a name nor'} a selector")
    found: dict[str, Any] = {"namespace": namespace} if namespace else {}
    found |= (
        {"name": segment("spec.paramRef.name", name)}
        if name
        else {"selector": selector("spec.paramRef.selector", given["selector"])}
    )
    path = "spec.paramRef.parameterNotFoundAction"
    return found | {"parameterNotFoundAction": one_of(path, given.get("parameterNotFoundAction"), ("Allow", "Deny"))}


# Webhooks -----------------------------------------------------------------------------------------------------------


def _webhook(path: str, value: Any, kind: str) -> dict[str, Any]:
    given = mapping(path, value)
    name = subdomain(f"{path}.name", given.get("name"))
    if name.count(".") < 2:
        raise RefusedError(f"{path}.name is {quoted(name)}, no name of three segments")
    timeout = given.get("timeoutSeconds")
    reviews = _texts(f"{path}.admissionReviewVersions", given.get("admissionReviewVersions"))
    _distinct(f"{path}.admissionReviewVersions", reviews)
    if not all(map(_VERSION.fullmatch, reviews)) or not set(reviews) & set(_REVIEWS):
        raise RefusedError(f"{path}.admissionReviewVersions has none of {', '.join(_REVIEWS)}, or no version's name")
    found = {
        "name": name,
        "clientConfig": _client(f"{path}.clientConfig", mapping(f"{path}.clientConfig", given.get("clientConfig"))),
        "failurePolicy": _chosen(f"{path}.failurePolicy", given.get("failurePolicy"), _FAILURE),
        "sideEffects": one_of(f"{path}.sideEffects", given.get("sideEffects"), ("None", "NoneOnDryRun")),
        "timeoutSeconds": 10 if timeout is None else integer(f"{path}.timeoutSeconds", timeout, 1, 30),
        "admissionReviewVersions": reviews,
        **_selected(path, given),
        **filled(
            rules=[_rule(*one, _OPERATIONS) for one in items(f"{path}.rules", given.get("rules"))],
            matchConditions=_conditions(f"{path}.matchConditions", given.get("matchConditions")),
        ),
    }
    if kind.startswith("Mutating"):
        again = _chosen(f"{path}.reinvocationPolicy", given.get("reinvocationPolicy"), _REINVOCATION)
        found["reinvocationPolicy"] = again
    return found


def _client(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    url, service = given.get("url"), given.get("service")
    if (url is None) == (service is None):
        raise RefusedError(f"{path} has {'neither a url nor' if url is None else 'both a url and'} a service")
    found: dict[str, Any] = {}
    if bundle := text(f"{path}.caBundle", given.get("caBundle")):
        try:
            decoded = base64.b64decode(bundle.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError(f"{path}.caBundle is no base64") from None
        found["caBundle"] = base64.b64encode(decoded).decode()
    if url is not None:
        return found | {"url": _url(f"{path}.url", text(f"{path}.url", url))}
    return found | {"service": _service(f"{path}.service", mapping(f"{path}.service", service))}


def _url(path: str, url: str) -> str:
    try:
        scheme, host, _, query, fragment = urlsplit("" if _NO_URL.search(url) else url)
    except ValueError:
        host = ""
    if not host or scheme != "https" or not _AUTHORITY.fullmatch(host) or query or fragment:
        raise RefusedError(f"{path} is {quoted(url)}, not https://host/path")
    return url


def _service(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    named = {field: text(f"{path}.{field}", given.get(field)) for field in ("name", "namespace")}
    for field, name in named.items():
        if not name:
            raise RefusedError(f"{path}.{field} is missing")
    port = given.get("port")
    found: dict[str, Any] = {**named, "port": 443 if port is None else port_number(f"{path}.port", port)}
    if given.get("path") is None:
        return found
    called = text(f"{path}.path", given["path"])
    if called not in ("", "/"):
        if not called.startswith("/"):
            raise RefusedError(f"{path}.path is {quoted(called)}, and does not start with /")
        for step in called[1:].removesuffix("/").split("/"):
            subdomain(f"{path}.path", step)
    return found | {"path": called}


# What is matched ----------------------------------------------------------------------------------------------------


def _match(path: str, value: Any, operations: tuple[str, ...]) -> dict[str, Any]:
    given = mapping(path, value)
    rules = {
        field: [_named_rule(where, one, allowed) for where, one in items(f"{path}.{field}", given.get(field))]
        for field, allowed in (("resourceRules", operations), ("excludeResourceRules", _OPERATIONS))
    }
    return _selected(path, given) | filled(**rules)


def _selected(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "matchPolicy": _chosen(f"{path}.matchPolicy", given.get("matchPolicy"), _MATCH),
        **{field: selector(f"{path}.{field}", given.get(field)) for field in ("namespaceSelector", "objectSelector")},
    }


def _named_rule(path: str, value: Any, operations: tuple[str, ...]) -> dict[str, Any]:
    given = mapping(path, value)
    names = [segment(*one) for one in items(f"{path}.resourceNames", given.get("resourceNames"))]
    _distinct(f"{path}.resourceNames", names)
    return _rule(path, given, operations) | filled(resourceNames=names)


def _rule(path: str, value: Any, operations: tuple[str, ...]) -> dict[str, Any]:
    given = mapping(path, value)
    found: dict[str, Any] = {
        field: _texts(f"{path}.{field}", given.get(field), operations if field == "operations" else ())
        for field in ("operations", "apiGroups", "apiVersions", "resources")
    }
    for field in ("operations", "apiGroups", "apiVersions"):
        if "*" in found[field] and len(found[field]) > 1:
            raise RefusedError(f"{path}.{field} has * and others beside it")
    for field in ("apiVersions", "resources"):
        if "" in found[field]:
            raise RefusedError(f"{path}.{field} has an empty item")
    if _overlapping(found["resources"]):
        raise RefusedError(f"{path}.resources has what a * in it stands for already")
    return found | {"scope": _chosen(f"{path}.scope", given.get("scope"), ("*", "Cluster", "Namespaced"))}


def _overlapping(resources: list[str]) -> bool:
    """As validateResources has it: the order matters, `[pods, "*"]` is taken and `["*", pods]` is not."""
    if len(resources) > 1 and "*/*" in resources:
        return True
    plain = [one for one in resources if "/" not in one]
    if "*" in plain and plain[-1] != "*":
        return True
    seen: set[str] = set()
    for one in resources:
        resource, slash, below = one.partition("/")
        if slash and {f"{resource}/*", f"*/{below}"} & seen:
            return True
        seen.add(one)
    return False


def _texts(path: str, value: Any, known: tuple[str, ...] = ()) -> list[str]:
    """A list of strings that is not empty, all of them known where any are."""
    found = [one_of(*one, known) if known else text(*one) for one in items(path, value)]
    if not found:
        raise RefusedError(f"{path} is empty")
    return found


def _chosen(path: str, value: Any, known: tuple[str, ...]) -> str:
    """One of the strings that are known; where it is left out, the first."""
    return known[0] if value is None else one_of(path, value, known)


def _distinct(path: str, names: list[str]) -> None:
    if twice := next((name for number, name in enumerate(names) if name in names[:number]), None):
        raise RefusedError(f"{path} has {quoted(twice)} twice")
