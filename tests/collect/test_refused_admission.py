"""Admission policies, bindings and webhooks in files: refused and defaulted as a real API server does it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import objects
from posture.kinds import ADMISSION, BY_KIND, malformed
from tests.collect.test_refused import LEFT_OUT, ODD, SELECTORS, asked, there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.controlplane.controlplane import ControlPlane

RULE: dict[str, Any] = {
    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
}  # fmt: skip
MATCH: dict[str, Any] = {"resourceRules": [RULE]}
VALID: dict[str, Any] = {"expression": "true"}
PATCH: dict[str, Any] = {"expression": "Object{}"}
HOOK: dict[str, Any] = {
    "name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    "clientConfig": {"url": "https://none.invalid/x"},
}  # fmt: skip
SERVICE: dict[str, Any] = {"name": "s", "namespace": "n"}
MUTATION: dict[str, Any] = {"patchType": "ApplyConfiguration", "applyConfiguration": PATCH}

FEW: Any = (None, "", "x", 5, [], {})
"""What stands for the wrong types where each value costs a request to the server."""


def vap(**spec: Any) -> dict[str, Any]:
    return {"spec": there({"matchConstraints": MATCH, "validations": [VALID], **spec})}


def bound(**spec: Any) -> dict[str, Any]:
    return {"spec": there({"policyName": "p", "validationActions": ["Deny"], **spec})}


def mutating(**spec: Any) -> dict[str, Any]:
    given = {"matchConstraints": MATCH, "mutations": [MUTATION], "reinvocationPolicy": "Never"}
    return {"spec": there({**given, **spec})}


def bound_mutating(**spec: Any) -> dict[str, Any]:
    return {"spec": there({"policyName": "p", **spec})}


def hook(**fields: Any) -> dict[str, Any]:
    return {"webhooks": [there(HOOK | fields)]}


def each(make: Callable[..., dict[str, Any]], field: str, *values: Any) -> list[dict[str, Any]]:
    """One object for each value of a field, and one without it."""
    return [make(**{field: value}) for value in (LEFT_OUT, *values)]


TEXTS: list[Any] = [*FEW, ["x"], [""], ["*"], ["*", "x"], ["x", "x"], [5], [None]]
RULES = [
    *FEW, RULE | {"x": 5},
    *(there(RULE | {field: value}) for field in ("apiGroups", "apiVersions") for value in (LEFT_OUT, *TEXTS)),
    *(there(RULE | {"operations": value}) for value in (
        LEFT_OUT, *TEXTS, ["CREATE", "DELETE"], ["create"], ["CREATE", "*"], ["CREATE", "CREATE"], ["CONNECT"])),
    *(there(RULE | {"resources": value}) for value in (
        LEFT_OUT, *TEXTS, ["*/*"], ["*/*", "pods"], ["*", "pods"], ["pods", "*"], ["*", "pods/log"], ["pods/*", "pods"],
        ["pods/*", "pods/log"], ["pods/log", "pods/*"], ["*/log", "pods/log"], ["pods/log", "*/log"], ["a/b/c"],
        ["pods/*", "pods/*"], ["*", "*/*"], ["/"], ["pods/"])),
    *(RULE | {"scope": value} for value in (*FEW, "*", "Cluster", "Namespaced", "cluster")),
]  # fmt: skip
NAMED = [
    RULE | {"resourceNames": names}
    for names in (*FEW, ["a"], ["a", "a"], [".."], ["a/b"], ["a%b"], [""], [".a"], ["A b"], [5], [None])
]
MATCHES: list[Any] = [
    *FEW, {"x": 5}, {"resourceRules": None}, {"resourceRules": []}, {"resourceRules": {}}, {"resourceRules": [None]},
    *({"resourceRules": [one]} for one in NAMED), *({**MATCH, "excludeResourceRules": [one]} for one in (RULE, {}, 5)),
    *({**MATCH, "matchPolicy": value} for value in (*FEW, "Exact", "Equivalent", "exact")),
    *({**MATCH, field: value} for field in ("namespaceSelector", "objectSelector")
      for value in (*FEW, {"matchLabels": {"a": "b"}}, {"matchLabels": {"-": "b"}})),
]  # fmt: skip
CONDITIONS = [
    *FEW, [None], [{"name": "a"}], [{"expression": "true"}], [{"name": "a", "expression": " "}],
    [{"name": "a", "expression": " true\n"}], [{"name": "a", "expression": 5}], [{"name": 5, "expression": "true"}],
    [{"name": "a", "expression": "true"}] * 2, [{"name": "a b", "expression": "true"}],
    [{"name": "a.b/c", "expression": "true"}], [{"name": "a", "expression": "true", "x": 5}],
    [{"name": f"a{number}", "expression": "true"} for number in range(64)],
    [{"name": f"a{number}", "expression": "true"} for number in range(65)],
]  # fmt: skip
PARAM_KINDS = [
    *FEW, *({"apiVersion": version, "kind": "Limit"} for version in
            (None, "", "v1", "/v1", "/", "v1/", "a/b/c", "rules.example/v1", "Rules/v1", "rules.example/V1", "1", 5)),
    *({"apiVersion": "v1", "kind": kind} for kind in (None, "", "Config-Map", "Config Map", "1", "a" * 64, 5)),
]  # fmt: skip
PARAM_REFS = [
    *FEW, *(there({"name": name, "selector": selector, "parameterNotFoundAction": "Deny"})
            for name, selector in product(("a", "", LEFT_OUT, "..", "a/b", 5), ({}, None, {"matchLabels": {"a": 5}}))),
    *(there({"name": "a", "parameterNotFoundAction": value}) for value in (LEFT_OUT, "", "Allow", "allow", None, 5)),
    *({"name": "a", "namespace": value, "parameterNotFoundAction": "Allow"} for value in ("", "b", "B/c", None, 5)),
]  # fmt: skip
NAMES = ("p", "", None, "P", "a.b", "a_b", "-", "a" * 253, "a" * 254, 5)


def policies() -> Iterator[tuple[str, dict[str, Any]]]:
    """What both kinds of policies have, and what is of one of them."""
    one: Any
    for kind, make in (("ValidatingAdmissionPolicy", vap), ("MutatingAdmissionPolicy", mutating)):
        found = [{}, *({"spec": odd} for odd in ODD), make(x=5), *each(make, "failurePolicy", *FEW, "Fail", "Ignore")]
        found += each(make, "matchConstraints", *MATCHES)
        found += each(make, "matchConditions", *CONDITIONS) + each(make, "paramKind", *PARAM_KINDS)
        for one in ([], {}, [{"name": "a"}], [{"expression": "1"}], [{"name": "a", "expression": " "}], [None]):
            found.append(make(variables=one))
        for name in ("a", "_A1", "a-b", "1a", "", " ", "in", "while", "inn", 5, None, "\u00e4"):
            found.append(make(variables=[{"name": name, "expression": "1"}]))
        yield from ((kind, one) for one in found)
    rules: list[dict[str, Any]] = [{"resourceRules": [rule]} for rule in RULES]
    rules += [{**MATCH, "excludeResourceRules": [rule]} for rule in RULES if isinstance(rule, dict)]
    yield from (("ValidatingAdmissionPolicy", vap(matchConstraints=one)) for one in rules)
    yield from (("ValidatingAdmissionPolicy", vap(matchConstraints={**MATCH, "namespaceSelector": one}))
                for one in SELECTORS[::4])  # fmt: skip
    yield from (("MutatingAdmissionPolicy", mutating(matchConstraints={field: [RULE | {"operations": [one]}], **more}))
                for one in ("CREATE", "UPDATE", "DELETE", "CONNECT", "*")
                for field, more in (("resourceRules", {}), ("excludeResourceRules", MATCH)))  # fmt: skip


def validations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Validations, audit annotations and mutations."""
    found = each(vap, "validations", *FEW, [None], [{}], [VALID, {"expression": " "}], [VALID | {"x": 5}])
    for field in ("message", "messageExpression"):
        values = (*FEW, " ", "'a'", "'a'\n")
        found += [vap(validations=[VALID | {field: value}]) for value in values if (field, value) != (
            "messageExpression", "x")]  # fmt: skip
    found += [vap(validations=[VALID | {"message": value}]) for value in ("a\nb", "a\rb", "\na\n")]
    found += [vap(validations=[VALID | {"reason": value}])
              for value in (*FEW, "Forbidden", "Invalid", "Unauthorized", "RequestEntityTooLarge")]  # fmt: skip
    annotation = {"key": "k", "valueExpression": "'v'"}
    long, longer = (f"'{'v' * size}'" for size in (5 * 1024 - 2, 5 * 1024 - 1))
    found += each(vap, "auditAnnotations", *FEW, [annotation], [annotation] * 2, [annotation | {"x": 5}], [{}], [None])
    found += [vap(auditAnnotations=[annotation | {"key": value}]) for value in (*FEW, "a b", "a/b", "a" * 63, "a" * 64)]
    found += [vap(auditAnnotations=[annotation | {"valueExpression": value}]) for value in ("", " ", long, longer, 5)]
    found += [vap(auditAnnotations=[annotation | {"key": f"k{n}"} for n in range(size)]) for size in (20, 21)]
    found += [vap(validations=LEFT_OUT, auditAnnotations=value) for value in ([], [annotation])]
    yield from (("ValidatingAdmissionPolicy", one) for one in found)
    found = each(mutating, "reinvocationPolicy", *FEW, "Never", "IfNeeded")
    found += each(mutating, "mutations", *FEW, [None], [{}], [MUTATION, {}], [MUTATION | {"x": 5}])
    patches: Any = (LEFT_OUT, None, {}, PATCH, {"expression": " "}, 5)
    found += [
        mutating(mutations=[there({"patchType": kind, "applyConfiguration": one, "jsonPatch": other})])
        for kind, one, other in product(("ApplyConfiguration", "", "x", LEFT_OUT), patches, (LEFT_OUT, None, PATCH))
    ]
    patch = {"expression": '[JSONPatch{op: "test", path: "/kind", value: "Pod"}]'}
    found += [mutating(mutations=[there({"patchType": "JSONPatch", "jsonPatch": one, "applyConfiguration": other})])
              for one, other in ((patch, LEFT_OUT), (patch, PATCH), (LEFT_OUT, PATCH), ({}, LEFT_OUT))]  # fmt: skip
    yield from (("MutatingAdmissionPolicy", one) for one in found)


def bindings() -> Iterator[tuple[str, dict[str, Any]]]:
    actions: list[Any] = [*FEW, *map(list, product(("Deny", "Warn", "Audit", "deny", None), repeat=2))]
    actions += [["Deny"], ["Audit"], ["Audit", "Warn", "Deny"], [5]]
    for kind, make in (
        ("ValidatingAdmissionPolicyBinding", bound),
        ("MutatingAdmissionPolicyBinding", bound_mutating),
    ):
        found = [{}, *({"spec": odd} for odd in ODD), make(x=5), *each(make, "policyName", *NAMES)]
        found += each(make, "paramRef", *PARAM_REFS) + each(make, "matchResources", *MATCHES)
        found += [make(matchResources={"resourceRules": [RULE | {"operations": [one]}]}) for one in ("DELETE", "*")]
        yield from ((kind, one) for one in (*found, *each(make, "validationActions", *actions)))


def webhooks() -> Iterator[tuple[str, dict[str, Any]]]:
    found: list[dict[str, Any]] = [{}, *({"webhooks": odd} for odd in ODD), {"webhooks": [HOOK, HOOK]}, hook(x=5)]
    found += [{"webhooks": [HOOK, HOOK | {"name": "b.example.org"}]}]
    found += each(hook, "name", *FEW, "a.b", "a.b.c", "A.b.c", "a..c", "a.b.c.", "a.b.c/d")
    found += each(hook, "failurePolicy", *FEW, "Ignore", "Fail") + each(hook, "matchPolicy", *FEW, "Exact")
    found += each(hook, "sideEffects", *FEW, "None", "NoneOnDryRun", "Some", "Unknown")
    found += each(hook, "timeoutSeconds", *FEW, 0, 1, 30, 31, -1, 1.5, True, 1 << 40)
    found += each(hook, "reinvocationPolicy", "IfNeeded", "Never", None)
    found += each(
        hook, "admissionReviewVersions", *TEXTS, ["v1", "v1"], ["v1beta1"], ["v2"], ["v2", "v1"], ["V2", "v1"]
    )
    found += each(hook, "matchConditions", *CONDITIONS) + each(hook, "rules", None, [], {}, [None], RULES[6:9])
    found += [hook(rules=[rule]) for rule in RULES if isinstance(rule, dict)]
    for field in ("namespaceSelector", "objectSelector"):
        found += each(hook, field, *FEW, *SELECTORS[::12])
    urls = (
        "https://h", "http://h", "HTTPS://h/p", "https://", "https:///p", "https://u@h", "https://u:p@h",
        "https://h?q", "https://h?", "https://h#f", "https://h#", "https://h:1/p", "https://h:x", "https://h:",
        "https://[::1]:8/", "https://[::1", "https://h%zz", "https://h/%zz", "https://h/a b", "https://h b", "h",
        "//h", "https://h\n", "https://:80",
    )  # fmt: skip
    found += each(hook, "clientConfig", *FEW, *({"url": url} for url in (*FEW, *urls)), {"service": None},
                  {"url": urls[0], "service": SERVICE}, {"url": None, "service": SERVICE}, {"service": {}})  # fmt: skip
    # Go takes a list of bytes as well, which nobody writes.
    found += [hook(clientConfig={"url": urls[0], "caBundle": value})
              for value in (*FEW[:4], {}, "YQ==", "YQ", "YQ==\n", "Y Q==", "\u00e4", "YWI=")]  # fmt: skip
    found += [hook(clientConfig={"service": there(SERVICE | {field: value})})
              for field in ("name", "namespace") for value in (*FEW, LEFT_OUT, "A b")]  # fmt: skip
    found += [hook(clientConfig={"service": SERVICE | {"port": value}}) for value in (*FEW, 0, 1, 65535, 65536)]
    paths = (*FEW, "/", "//", "/a", "/a/", "/a//b", "/a/b", "a/b", "/A", "/a_b", "///", "/a?b")
    found += [hook(clientConfig={"service": SERVICE | {"path": value}}) for value in paths]
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        yield from ((kind, one) for one in found)


def cases() -> list[tuple[str, dict[str, Any]]]:
    return [*policies(), *validations(), *bindings(), *webhooks()]


def differences(plane: ControlPlane, given: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What only one of a server and posture refuses, and what the server would store otherwise."""
    different: list[Any] = []
    for name, fields in given:
        kind = BY_KIND[ADMISSION, name]
        one = {"apiVersion": f"{ADMISSION}/v1", "kind": name, "metadata": {"name": "p"}, **fields}
        refused, stored = asked(plane, f"/apis/{ADMISSION}/v1/{kind.resource}", one)
        read = malformed(kind, one) or objects.misshapen(kind, one)
        field = "webhooks" if "Webhook" in name else "spec"
        if bool(refused) != bool(read):
            different.append((name, fields, refused, read))
        elif not refused and (objects.normal(kind, one).get(field) or []) != stored.get(field, []):
            different.append((name, fields, stored.get(field), objects.normal(kind, one)[field]))
    return different


@pytest.mark.parametrize("part", [policies, validations, bindings, webhooks], ids=lambda part: part.__name__)
def test_it_is_misshapen_exactly_where_the_server_refuses_it(control_plane: ControlPlane, part: Any) -> None:
    """And what it takes is read as it would store it: with its defaults, without what means nothing."""
    given = list(part())
    assert differences(control_plane, given) == []
    assert len(given) > 100


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("ValidatingAdmissionPolicyBinding", bound(validationActions=["Deny", "Warn"]),
     "spec.validationActions has both Deny and Warn"),
    ("ValidatingAdmissionPolicyBinding", bound(validationActions=[]), "spec.validationActions is empty"),
    ("ValidatingAdmissionPolicyBinding", bound(policyName=LEFT_OUT), "spec.policyName is empty, no DNS subdomain"),
    ("ValidatingAdmissionPolicyBinding", bound(paramRef={"parameterNotFoundAction": "Deny"}),
     "spec.paramRef has neither a name nor a selector"),
    ("ValidatingAdmissionPolicy", vap(matchConstraints=LEFT_OUT), "spec.matchConstraints is missing"),
    ("ValidatingWebhookConfiguration", hook(timeoutSeconds=60),
     "webhooks[0].timeoutSeconds is no integer from 1 to 30"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "why"), BAD)
def test_what_the_server_refuses_is_said(kind: str, fields: dict[str, Any], why: str) -> None:
    """With the field that is wrong."""
    one = {"apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": {"name": "p"}, **fields}
    assert objects.misshapen(BY_KIND[ADMISSION, kind], one) == why


@pytest.mark.prove
def test_older_servers_refuse_the_same(control_plane_of: Callable[[str], ControlPlane]) -> None:
    """1.34 serves no MutatingAdmissionPolicy of v1."""
    given = [one for one in cases() if not one[0].startswith("MutatingAdmission")]
    assert differences(control_plane_of("1.34"), given) == []
