"""Which requests a policy's match rules select: MatchResources, as policies and bindings of VAP and MAP have them.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/policy/matching and plugin/webhook/predicates. None is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from posture import selectors

from .pods import mapping, mappings
from .requests import NAMESPACES, Request

ADMISSION = "admissionregistration.k8s.io"
_CONFIGURATIONS = frozenset(
    {
        "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings", "validatingwebhookconfigurations", "mutatingwebhookconfigurations",
    }
)  # fmt: skip
_REVIEWS = frozenset(
    {
        ("authentication.k8s.io", "selfsubjectreviews"), ("authentication.k8s.io", "tokenreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"), ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"), ("authorization.k8s.io", "subjectaccessreviews"),
    }
)  # fmt: skip
_ONE_VERSION = frozenset({"", "apps", "batch", "rbac.authorization.k8s.io", "policy"})
"""Groups that serve each resource in one version and under one name (but for events)."""


class Match(NamedTuple):
    """Whether a request is selected; None with why nobody can say."""

    holds: bool | None
    why: str = ""


YES, NO = Match(True), Match(False)


def invisible(request: Request) -> bool:
    """Whether no policy written in CEL ever sees the request, so that nobody locks himself out."""
    group, resource = request.resource.group, request.resource.resource
    return (group == ADMISSION and resource in _CONFIGURATIONS) or (group, resource) in _REVIEWS


def matches(given: Mapping[str, Any], request: Request) -> Match:
    """Whether MatchResources select a request. What they do not name they do not narrow."""
    excluded = _any(mappings(given.get("excludeResourceRules")), given, request)
    rules = mappings(given.get("resourceRules"))
    found = [
        _namespace(given.get("namespaceSelector"), request),
        _object(given.get("objectSelector"), request),
        Match(None if excluded.holds is None else not excluded.holds, excluded.why),
        _any(rules, given, request) if rules else YES,
    ]
    if NO in found:
        return NO
    return next((one for one in found if one.holds is None), YES)


def _empty(selector: Any) -> bool:
    return not (mapping(selector).get("matchLabels") or mapping(selector).get("matchExpressions"))


def _labels(holder: Mapping[str, Any] | None) -> Mapping[str, str]:
    return mapping(mapping(mapping(holder).get("metadata")).get("labels"))


def _namespace(selector: Any, request: Request) -> Match:
    """The namespace that is in force: of the request itself where it makes or changes one."""
    about = request.resource.resource == NAMESPACES.resource
    if _empty(selector) or (not request.namespace and not about):
        return YES
    if about and not request.subresource and request.operation in ("CREATE", "UPDATE"):
        return Match(selectors.matches(selector, _labels(request.object)))
    if request.namespace_object is None:
        return Match(None, f"namespace {request.namespace} is not known")
    return Match(selectors.matches(selector, _labels(request.namespace_object)))


def _object(selector: Any, request: Request) -> Match:
    """Either of the object and what it was before, so that a label cannot be taken off to get out."""
    if _empty(selector):
        return YES
    there = [one for one in (request.object, request.old) if one is not None]
    return Match(any(selectors.matches(selector, _labels(one)) for one in there))


def _any(rules: Sequence[Mapping[str, Any]], given: Mapping[str, Any], request: Request) -> Match:
    if any(_selects(rule, request, group=True) for rule in rules):
        return YES
    if (given.get("matchPolicy") or "Equivalent") == "Exact" or _one_version(request):
        return NO
    # The same object may be served by other versions too, and a rule for one of these selects it.
    if any(_selects(rule, request, group=False) for rule in rules):
        return Match(None, f"which other versions of {request.resource.resource} are served is not known")
    return NO


def _one_version(request: Request) -> bool:
    return request.resource.group in _ONE_VERSION and request.resource.resource != "events"


def _selects(rule: Mapping[str, Any], request: Request, *, group: bool) -> bool:
    """Whether a rule selects it; without `group`, in whatever group and version."""
    names = rule.get("resourceNames") or ()
    return (
        _scope(rule.get("scope") or "*", request)
        and _listed(rule, "operations", request.operation)
        and _resource(rule, request)
        and (not names or request.name in names)
        and (
            not group
            or (
                _listed(rule, "apiGroups", request.resource.group)
                and _listed(rule, "apiVersions", request.resource.version)
            )
        )
    )


def _listed(rule: Mapping[str, Any], field: str, wanted: str) -> bool:
    items = rule.get(field) or ()
    return "*" in items or wanted in items


def _scope(scope: str, request: Request) -> bool:
    namespaced = request.resource != NAMESPACES and bool(request.namespace)
    return scope in ("*", "Namespaced" if namespaced else "Cluster")


def _resource(rule: Mapping[str, Any], request: Request) -> bool:
    for item in rule.get("resources") or ():
        resource, _, subresource = str(item).partition("/")
        if resource in ("*", request.resource.resource) and subresource in ("*", request.subresource):
            return True
    return False
