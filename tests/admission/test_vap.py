"""ValidatingAdmissionPolicy: what selects a request, what refuses it, what nobody can say. See test_vap_server.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Evaluator, Missing
from posture.admission.engines.bound import Params
from posture.admission.engines.vap import gaps, judged, parameters_of, policies
from posture.admission.matching import matches
from posture.admission.policy import ADMITS, Asked, Policy, Space, Verdict
from posture.admission.requests import NAMESPACES, Request, Resource, pod_creation
from posture.cel import Process
from posture.model import Gap
from tests.generator.objects import Object, namespace, snapshot
from tests.generator.vap import binding, policy

NAMESPACE = namespace("pay", team="pay")


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def creation(name: str = "p", namespace: Object | None = NAMESPACE, **more: Any) -> Request:
    """The creation of a pod with a label."""
    pod = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    return pod_creation(pod, "pay", namespace, **more)


def made(policy: Object, binding: Object, params: Params | None = None) -> Policy:
    """The policy as the binding applies it."""
    return next(iter(policies(snapshot([policy, binding]), lambda *_: params or Params())))


def asked(policy: Policy, request: Request) -> Asked:
    """The question with all that takes something out."""
    return Asked(policy, request, frozenset(range(len(policy.exemptions))))


def refuses(policy: Policy, request: Request, cel: Evaluator) -> Verdict:
    """What the server says: a binding that does not deny refuses nothing."""
    verdict = judged([asked(policy, request)], cel)[0]
    return verdict if policy.denies else ADMITS


# Match rules --------------------------------------------------------------------------------------------------------

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
RESTORE = Resource("stable.example.com", "v1", "restores")
ROLE = Request("CREATE", Resource("rbac.authorization.k8s.io", "v1", "clusterroles"), "", "", "r", {"metadata": {}})
NEW = Request("CREATE", NAMESPACES, "", "new", "new", {"metadata": {"labels": {"team": "pay"}}})


def changed(**fields: Any) -> Request:
    """The creation of a pod, with other fields."""
    request = creation()
    return Request(**{**{name: getattr(request, name) for name in request.__dataclass_fields__}, **fields})


@pytest.mark.parametrize(
    ("given", "request_", "holds"),
    [
        ({}, creation(), True),
        ({"resourceRules": [RULE]}, creation(), True),
        ({"resourceRules": [RULE | {"operations": ["UPDATE"]}]}, creation(), False),
        ({"resourceRules": [RULE | {"operations": ["*"]}]}, creation(), True),
        ({"resourceRules": [RULE | {"apiGroups": ["apps"]}]}, creation(), False),
        ({"resourceRules": [RULE | {"apiVersions": ["v1beta1"]}]}, creation(), False),
        ({"resourceRules": [RULE | {"resources": ["*"]}]}, creation(), True),
        ({"resourceRules": [RULE | {"resources": ["*"]}]}, changed(subresource="exec"), False),
        ({"resourceRules": [RULE | {"resources": ["*/*"]}]}, changed(subresource="exec"), True),
        ({"resourceRules": [RULE | {"resources": ["pods/*"]}]}, creation(), True),
        ({"resourceRules": [RULE | {"resources": ["pods/exec"]}]}, creation(), False),
        ({"resourceRules": [RULE | {"resources": ["*/exec"]}]}, changed(subresource="exec"), True),
        ({"resourceRules": [RULE | {"scope": "Cluster"}]}, creation(), False),
        ({"resourceRules": [RULE | {"scope": "Namespaced"}]}, creation(), True),
        ({"resourceRules": [RULE | {"resources": ["*"], "scope": "Cluster"}]}, NEW, True),
        ({"resourceRules": [RULE | {"resources": ["*"], "scope": "Namespaced"}]}, NEW, False),
        ({"resourceRules": [RULE | {"resourceNames": ["q"]}]}, creation(), False),
        ({"resourceRules": [RULE | {"resourceNames": ["q", "p"]}]}, creation(), True),
        ({"resourceRules": [RULE | {"resourceNames": ["p"]}]}, changed(name=""), False),
        ({"resourceRules": [RULE], "excludeResourceRules": [RULE]}, creation(), False),
        ({"excludeResourceRules": [RULE | {"resourceNames": ["q"]}]}, creation(), True),
        ({"namespaceSelector": {}}, creation(), True),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}}, creation(), True),
        ({"namespaceSelector": {"matchLabels": {"team": "shop"}}}, creation(), False),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}}, creation(namespace=None), None),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}, "resourceRules": [RULE | {"operations": []}]},
         creation(namespace=None), False),
        ({"namespaceSelector": {"matchLabels": {"team": "none"}}}, ROLE, True),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}}, NEW, True),
        ({"namespaceSelector": {"matchLabels": {"team": "none"}}}, NEW, False),
        ({"objectSelector": {"matchLabels": {"app": "web"}}}, creation(), True),
        ({"objectSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, creation(), False),
        ({"objectSelector": {"matchLabels": {"app": "web"}}},
         changed(operation="UPDATE", object={"metadata": {}}, old=creation().object), True),
        ({"objectSelector": {"matchLabels": {"app": "web"}}},
         changed(operation="DELETE", object=None, old={"metadata": {}}), False),
        ({"resourceRules": [RULE | {"resources": ["restores"], "apiGroups": [RESTORE.group]}]},
         changed(resource=RESTORE), True),
        ({"resourceRules": [RULE | {"resources": ["restores"], "apiGroups": [RESTORE.group], "apiVersions": ["v2"]}]},
         changed(resource=RESTORE), None),
        ({"matchPolicy": "Exact", "resourceRules": [
            RULE | {"resources": ["restores"], "apiGroups": [RESTORE.group], "apiVersions": ["v2"]}]},
         changed(resource=RESTORE), False),
    ],
)  # fmt: skip
def test_what_match_resources_select(given: Object, request_: Request, holds: bool | None) -> None:
    """As the API server selects; None where an unknown namespace, or an unknown other version, decides."""
    assert matches(given, request_).holds is holds


# Verdicts -----------------------------------------------------------------------------------------------------------

FAILS = "object.spec.nope == 1"
NO_NAME = [{"name": "c", "expression": "request.userInfo.username != 'x'"}]
KIND = {"apiVersion": "x.y/v1", "kind": "Limit"}
GONE = {"name": "gone", "parameterNotFoundAction": "Deny"}
NOTE = [{"key": "k", "valueExpression": "string(object.spec.nope)"}]


@pytest.mark.parametrize(
    ("given", "bound", "refused"),
    [
        (policy("p", "true"), binding(), False),
        (policy("p", "false"), binding(), True),
        (policy("p", "true", "false", FAILS), binding(), True),
        (policy("p", "false"), binding(actions=("Warn", "Audit")), False),
        (policy("p", FAILS), binding(), True),
        (policy("p", FAILS, failurePolicy="Ignore"), binding(), False),
        (policy("p", FAILS, "false", failurePolicy="Ignore"), binding(), True),
        (policy("p", FAILS), binding(actions=("Warn",)), False),
        (policy("p", "false"), binding(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}}), False),
        (policy("p", "false", matchConditions=[{"name": "c", "expression": "false"}]), binding(), False),
        (policy("p", "true", matchConditions=[{"name": "c", "expression": FAILS}]), binding(), True),
        (policy("p", "false", failurePolicy="Ignore", matchConditions=[{"name": "c", "expression": FAILS}]),
         binding(), False),
        (policy("p", "false", matchConditions=[{"expression": FAILS}, {"expression": "false"}]), binding(), False),
        (policy("p", "false", matchConditions=[{"expression": "namespaceObject == null"}]), binding(), True),
        (policy("p", "namespaceObject.metadata.labels.team != 'pay'"), binding(), True),
        (policy("p", "true", auditAnnotations=NOTE), binding(), True),
        (policy("p", "true", auditAnnotations=NOTE, failurePolicy="Ignore"), binding(), False),
        (policy("p", "true", paramKind=KIND), binding(paramRef=GONE), True),
        (policy("p", "true", paramKind=KIND, failurePolicy="Ignore"), binding(paramRef=GONE), False),
        (policy("p", "object.metadata.uid == ''"), binding(), None),
        (policy("p", "has(object.spec.priorityClassName)"), binding(), None),
        (policy("p", "object.spec.restartPolicy == 'Always' && has(object.status.phase)"), binding(), False),
        (policy("p", "false", matchConditions=NO_NAME), binding(), None),
        (policy("p", "true", failurePolicy="Ignore", matchConditions=NO_NAME), binding(), False),
        (policy("p", "request.userInfo.username == 'x'", "false"), binding(), True),
        (policy("p", "request.userInfo.username == 'x'"), binding(actions=("Audit",)), False),
    ],
)  # fmt: skip
def test_what_is_refused(cel: Process, given: Object, bound: Object, refused: bool | None) -> None:
    """By a user of whom nothing is known."""
    assert refuses(made(given, bound), creation(), cel).refuses is refused


LIMIT = {"metadata": {"name": "l", "namespace": "pay", "labels": {"a": "b"}}, "spec": {"ok": False}}
OTHER = {"metadata": {"name": "m", "namespace": "pay"}, "spec": {"ok": True}}
UNREAD = Params(why="not read")


def reference(action: str = "Allow", **more: Any) -> Object:
    """A binding that names parameters."""
    return binding(paramRef={"parameterNotFoundAction": action, **more})


@pytest.mark.parametrize(
    ("bound", "params", "refused"),
    [
        (reference(name="l"), Params((LIMIT, OTHER)), True),
        (reference(name="m"), Params((LIMIT, OTHER)), False),
        (reference(selector={}), Params((LIMIT, OTHER)), True),
        (reference(selector={"matchLabels": {"a": "c"}}), Params((LIMIT,)), False),
        (reference(selector={"matchLabels": {"a": "c"}}, action="Deny"), Params((LIMIT,)), True),
        (reference(name="l", namespace="other"), Params((LIMIT,)), False),
        (reference(name="l", namespace="other", action="Deny"), Params((LIMIT,)), True),
        (reference(name="l", namespace="pay"), Params((LIMIT,), namespaced=False), True),
        (reference(name="l"), Params(({**LIMIT, "metadata": {"name": "l"}},), namespaced=False), True),
        (binding(), Params((LIMIT,)), True),  # params is null, and null.spec an error
        (reference(name="l"), UNREAD, None),
        (reference(name="l", action="Deny"), UNREAD, None),
    ],
)
def test_parameters(cel: Process, bound: Object, params: Params, refused: bool | None) -> None:
    """Each may refuse; where there is none the binding says what happens, and the policy whether it counts."""
    assert (
        refuses(made(policy("p", "params.spec.ok", paramKind=KIND), bound, params), creation(), cel).refuses is refused
    )


@pytest.mark.parametrize(
    ("expression", "action", "refused"),
    [("true", "Allow", False), ("false", "Allow", None), ("true", "Deny", None), ("false", "Deny", True)],
)
def test_unread_parameters_decide_only_what_hangs_on_them(
    cel: Process, expression: str, action: str, refused: bool | None
) -> None:
    """Whether there is one, and what it says: what holds either way is known."""
    given = made(policy("p", expression, paramKind=KIND), reference(name="l", action=action), UNREAD)

    assert refuses(given, creation(), cel).refuses is refused


def test_where_parameters_are_read_from() -> None:
    """Only constraints of Gatekeeper are read; a gap is said."""
    kind = "constraints.gatekeeper.sh/v1beta1"
    gap = Gap("*.constraints.gatekeeper.sh", "", "forbidden", "may not be listed")
    there = snapshot([{"apiVersion": kind, "kind": one, "metadata": {"name": "c"}, "spec": {}} for one in "AB"])

    assert "not read" in parameters_of(snapshot([]), "v1", "ConfigMap").why
    assert "not read" in parameters_of(snapshot([]), "x.y/v1", "Limit").why
    assert "may not be listed" in parameters_of(snapshot([], [gap]), kind, "A").why
    assert [one["kind"] for one in parameters_of(there, kind, "A").objects] == ["A"]
    assert not parameters_of(there, kind, "A").namespaced


@pytest.mark.parametrize(
    "resource",
    [
        Resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"),
        Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"),
        Resource("authorization.k8s.io", "v1", "subjectaccessreviews"),
    ],
)
def test_blind_spots(cel: Process, resource: Resource) -> None:
    """No policy sees what would lock everybody out."""
    given = policy(
        "p", "false", rules=[{name: ["*"] for name in ("operations", "apiGroups", "apiVersions", "resources")}]
    )
    request = Request("CREATE", resource, "", "", "x", {"metadata": {}})

    assert refuses(made(given, binding()), request, cel) == Verdict(False)
    assert refuses(made(given, binding()), ROLE, cel) == Verdict(True)


def test_a_binding_without_its_policy_is_ignored() -> None:
    """And a policy without a binding enforces nothing."""
    assert list(policies(snapshot([policy("p"), binding("q")]))) == []


def test_a_namespace_has_the_label_that_every_one_has() -> None:
    """Also one of which only the name is known."""
    known = Space.of("pay", {"labels": {"team": "pay"}})

    assert known.object["metadata"]["labels"] == {"team": "pay", "kubernetes.io/metadata.name": "pay"}
    assert Space.of("gone", None).labels == {"kubernetes.io/metadata.name": "gone"}


def test_without_the_extra_only_expressions_are_unknown() -> None:
    """What is settled without evaluating stays settled, and the gap is named."""
    objects = [policy("p", "false"), binding()]
    there = replace(snapshot(objects), settings={"cel": Missing()})
    one = next(iter(policies(there)))
    elsewhere = changed(operation="DELETE", resource=Resource("", "v1", "services"))

    assert judged([Asked(one, creation()), Asked(one, elsewhere)], Missing()) == [
        Verdict(None, Missing.WHY), Verdict(False),
    ]  # fmt: skip
    assert [gap.reason for gap in gaps(there)] == ["extra missing"]
    assert list(gaps(snapshot(objects))) == list(gaps(replace(snapshot([]), settings=there.settings))) == []


def test_a_template_has_no_name_yet(cel: Process) -> None:
    """The object gets one that the server makes up; the request says none. Fields that were not kept are not known."""
    pod = {"metadata": {"generateName": "web-"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    request = pod_creation(pod, "pay", NAMESPACE, hidden=("value",))
    named = policy("p", "object.metadata.name.startsWith('web-') && !has(request.name)")
    valued = policy("p", "object.spec.containers.all(c, c.?env.orValue([]).all(e, !has(e.value)))")

    assert refuses(made(named, binding()), request, cel) == Verdict(False)
    assert refuses(made(valued, binding()), request, cel).refuses is None


def test_a_request_for_anything(cel: Process) -> None:
    """Requests are not only for pods: the review holds what the API's does."""
    given = policy(
        "p",
        "request.resource.resource == 'deployments' && request.kind.kind == 'Deployment' && !has(request.subResource)"
        " && request.requestKind.group == 'apps' && request.operation == 'UPDATE' && oldObject.metadata.name == 'd'"
        " && request.userInfo.username == 'ann' && request.userInfo.groups == ['dev'] && !request.dryRun",
        rules=[{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["*"]}],
    )
    thing = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    request = Request("UPDATE", Resource("apps", "v1", "deployments"), "", "pay", "d", thing, thing, "ann", ("dev",))

    assert refuses(made(given, binding()), request, cel) == Verdict(False)
