"""Which requests a policy's match rules select: MatchResources, as policies and bindings of VAP and MAP have them.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/policy/matching and plugin/webhook/predicates. None is unknown.

What they select is what they are meant for (`scope`) without what each of their `ways` takes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture import selectors
from posture.kinds import CLUSTER_SCOPED, OWN_GROUPS

from . import shapes
from .pods import mapping, mappings, texts
from .policy import ANY, Shape
from .requests import NAME_LABEL, NAMESPACES, Request

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
    rules = mappings(given.get("resourceRules"))
    found = [_any(rules, given, request) if rules else YES]
    if found[0] is NO:
        return NO
    if chosen := given.get("namespaceSelector"):
        found.append(_namespace(selector(chosen), request))
    if chosen := given.get("objectSelector"):
        found.append(_object(selector(chosen), request))
    if excluded := given.get("excludeResourceRules"):
        found.append(_negated(_any(mappings(excluded), given, request)))
    if NO in found:
        return NO
    return next((one for one in found if one.holds is None), YES)


def _negated(match: Match) -> Match:
    return Match(None if match.holds is None else not match.holds, match.why)


# What they are meant for, and what they take out of it --------------------------------------------------------------

_NEGATIVE = ("NotIn", "DoesNotExist")


class Way(NamedTuple):
    """One way by which MatchResources take requests out.

    `path` says where it stands below them (without numbers, which change when something else does), `rest` is what
    they are without it. `keeps` is the selector of namespaces that it leaves in, None where it is not about these;
    `labels` are those by which whoever makes an object takes it out, `shape` is an
    example of what it takes out.
    """

    path: str
    what: str
    out: Callable[[Request], Match]
    rest: Mapping[str, Any]
    keeps: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    shape: Shape | None = ANY


def selector(given: Any) -> Mapping[str, Any]:
    """A LabelSelector of any shape as one that `selectors` take."""
    labels = {str(key): text for key, text in mapping(mapping(given).get("matchLabels")).items()}
    requirements = [
        {"key": str(one.get("key") or ""), "operator": one.get("operator"), "values": texts(one.get("values"))}
        for one in mappings(mapping(given).get("matchExpressions"))
    ]
    return ({"matchLabels": labels} if labels else {}) | ({"matchExpressions": requirements} if requirements else {})


def scope(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """MatchResources without any way out: their resource rules, and the namespaces that they ask for."""
    found = {field: given[field] for field in ("resourceRules", "matchPolicy") if field in given}
    wanted = selector(given.get("namespaceSelector"))
    positive = [one for one in wanted.get("matchExpressions", ()) if one["operator"] not in _NEGATIVE]
    asked = {field: value for field, value in {**wanted, "matchExpressions": positive}.items() if value}
    return found | ({"namespaceSelector": asked} if asked else {})


def ways(given: Mapping[str, Any]) -> Iterator[Way]:
    """Each way out: requirements on namespaces by label and operator, the object selector, excluded resources."""
    negative = [one for one in selector(given.get("namespaceSelector")).get("matchExpressions", ())
                if one["operator"] in _NEGATIVE]  # fmt: skip
    for key, operator in dict.fromkeys((one["key"], one["operator"]) for one in negative):
        some = [one for one in negative if (one["key"], one["operator"]) == (key, operator)]
        yield _namespace_way(given, key, operator, some)
    chosen = selector(given.get("objectSelector"))
    if chosen:
        yield _object_way(given, chosen)
    rules = mappings(given.get("excludeResourceRules"))
    for name in dict.fromkeys(map(_rule, rules)):
        yield _resources_way(given, name, [rule for rule in rules if _rule(rule) == name])


def _namespace_way(given: Mapping[str, Any], key: str, operator: str, some: Sequence[Mapping[str, Any]]) -> Way:
    keeps = {"matchExpressions": some}
    values = ",".join(dict.fromkeys(str(value) for one in some for value in one["values"]))
    if operator == "DoesNotExist":
        what = f"excludes namespaces with the label {key}"
    elif key == NAME_LABEL:
        what = f"excludes the namespaces {values}"
    else:
        what = f"excludes namespaces with the label {key} in ({values})"
    chosen = mapping(given.get("namespaceSelector"))
    others = {"matchExpressions": [
        one for one in mappings(chosen.get("matchExpressions"))
        if (str(one.get("key") or ""), one.get("operator")) != (key, operator)
    ]}  # fmt: skip
    left = {field: value for field, value in {**chosen, **others}.items() if value}
    return Way(
        f"namespaceSelector[{key} {operator}]", what, lambda request: _negated(_namespace(keeps, request)),
        {**given, "namespaceSelector": left}, keeps,
    )  # fmt: skip


def _object_way(given: Mapping[str, Any], chosen: Mapping[str, Any]) -> Way:
    labels = [*chosen.get("matchLabels", ()), *(one["key"] for one in chosen.get("matchExpressions", ()))]
    return Way(
        "objectSelector", f"selects only objects that match {_shown(chosen)}",
        lambda request: _negated(_object(chosen, request)),
        {field: value for field, value in given.items() if field != "objectSelector"}, None,
        tuple(dict.fromkeys(labels)), shapes.left_out(chosen),
    )  # fmt: skip


def _shown(chosen: Mapping[str, Any]) -> str:
    labels = {key: str(value) for key, value in chosen.get("matchLabels", {}).items()}
    requirements = [
        {**one, "values": [str(value) for value in one["values"]]} for one in chosen.get("matchExpressions", ())
    ]
    return selectors.shown({"matchLabels": labels, "matchExpressions": requirements})


def _rule(rule: Mapping[str, Any]) -> str:
    """What names a rule that excludes resources: these, and the objects if it names some."""
    resources = ",".join(map(str, texts(rule.get("resources"))))
    names = ",".join(map(str, texts(rule.get("resourceNames"))))
    return f"{resources}:{names}" if names else resources


def _resources_way(given: Mapping[str, Any], name: str, rules: Sequence[Mapping[str, Any]]) -> Way:
    operations = {str(one) for rule in rules for one in texts(rule.get("operations"))}
    resources, _, names = name.partition(":")
    what = f"excludes {resources}" if "*" in operations else f"excludes {','.join(sorted(operations))} of {resources}"
    others = [rule for rule in mappings(given.get("excludeResourceRules")) if _rule(rule) != name]
    rest = {field: value for field, value in {**given, "excludeResourceRules": others}.items() if value}
    first = next((str(one) for rule in rules for one in texts(rule.get("resourceNames"))), "")
    return Way(
        f"excludeResourceRules[{name}]", what + (f" named {names}" if names else ""),
        lambda request: _any(rules, given, request), rest, shape=Shape(name=first),
    )  # fmt: skip


def names(given: Mapping[str, Any]) -> bool:
    """Whether it may matter what an object is called."""
    rules = (*mappings(given.get("resourceRules")), *mappings(given.get("excludeResourceRules")))
    return any(texts(rule.get("resourceNames")) for rule in rules)


# What they may select at all ----------------------------------------------------------------------------------------

_EVERYTHING = {"apiGroups": ["*"], "resources": ["*"]}
_CLUSTER_NAMES = frozenset(name.partition(".")[0] for name in CLUSTER_SCOPED)


def _rules_of(given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(given.get("resourceRules")) or [_EVERYTHING]


def reaches(given: Mapping[str, Any], cluster: bool) -> bool:
    """Whether match rules may select what is made in a namespace, or in none. A namespace itself counts as both."""
    wanted = ("*", "Cluster" if cluster else "Namespaced")
    return any(
        _of_namespaces(rule)
        or ((rule.get("scope") or "*") in wanted and any(_scoped(*one, cluster) for one in _resources(rule)))
        for rule in _rules_of(given)
    )


def _resources(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for item in texts(rule.get("resources")):
        yield from ((str(item).partition("/")[0], str(group)) for group in texts(rule.get("apiGroups")))


def of_namespaces(given: Mapping[str, Any]) -> bool:
    """Whether match rules may select a namespace itself."""
    return any(map(_of_namespaces, _rules_of(given)))


def _of_namespaces(rule: Mapping[str, Any]) -> bool:
    return rule.get("scope") != "Namespaced" and any(
        resource in ("*", NAMESPACES.resource) and group in ("*", "") for resource, group in _resources(rule)
    )


def _scoped(resource: str, group: str, cluster: bool) -> bool:
    """Whether a resource may be one of the cluster, or of a namespace: of custom ones nobody knows."""
    if resource == "*" or group not in ("", "*", *OWN_GROUPS):
        return True
    if group == "*":
        return (resource in _CLUSTER_NAMES) is cluster
    return ((f"{resource}.{group}" if group else resource) in CLUSTER_SCOPED) is cluster


# What selects a request ---------------------------------------------------------------------------------------------


def _labels(holder: Mapping[str, Any] | None) -> Mapping[str, str]:
    return mapping(mapping(mapping(holder).get("metadata")).get("labels"))


def _namespace(wanted: Mapping[str, Any], request: Request) -> Match:
    """The namespace that is in force: of the request itself where it makes or changes one."""
    about = request.resource.resource == NAMESPACES.resource
    if not any(wanted.values()) or (not request.namespace and not about):
        return YES
    if about and not request.subresource and request.operation in ("CREATE", "UPDATE"):
        return Match(selectors.matches(wanted, _labels(request.object)))
    if request.namespace_object is None:
        return Match(None, f"namespace {request.namespace} is not known")
    return Match(selectors.matches(wanted, _labels(request.namespace_object)))


def _object(wanted: Mapping[str, Any], request: Request) -> Match:
    """Either of the object and what it was before, so that a label cannot be taken off to get out."""
    if not wanted:
        return YES
    there = [one for one in (request.object, request.old) if one is not None]
    return Match(any(selectors.matches(wanted, _labels(one)) for one in there))


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
    names = texts(rule.get("resourceNames"))
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
    items = texts(rule.get(field))
    return "*" in items or wanted in items


def _scope(scope: str, request: Request) -> bool:
    namespaced = request.resource != NAMESPACES and bool(request.namespace)
    return scope in ("*", "Namespaced" if namespaced else "Cluster")


def _resource(rule: Mapping[str, Any], request: Request) -> bool:
    for item in texts(rule.get("resources")):
        resource, _, subresource = str(item).partition("/")
        if resource in ("*", request.resource.resource) and subresource in ("*", request.subresource):
            return True
    return False
