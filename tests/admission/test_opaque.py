"""Policies that nobody evaluates: what each selects, whether it denies and whether somebody serves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.engines.opaque import NAME, ROWS, gaps, judged, policies, variant
from posture.admission.policy import ADMITS, NONE, Asked, Policy, Space, Verdict
from posture.admission.requests import Request, pod_creation
from posture.cel import Process
from posture.kinds import BY_NAME
from posture.model import Key, Snapshot, Through
from tests.generator.engines import NOW, PODS, answering, conditions, webhook, webhooks, where
from tests.generator.objects import Object, metadata, snapshot

PAY, SHOP = Space.of("pay", {"labels": {"team": "pay"}}), Space.of("shop", {"labels": {"skip": ""}})
CLUSTER = Space.of("", None)
WASM = Verdict(None, "it is a WebAssembly module")
SIGNED = Verdict(None, "it verifies signatures of images")


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def thing(kind: str, version: str, namespace: str = "", status: str = "", **spec: Any) -> Object:
    """A policy."""
    made: Object = {"apiVersion": version, "kind": kind, "metadata": metadata("x", namespace), "spec": spec}
    return made | ({"status": {"policyStatus": status}} if status else {})


def kubewarden(kind: str = "ClusterAdmissionPolicy", namespace: str = "", status: str = "", **spec: Any) -> Object:
    """A policy of Kubewarden about pods."""
    usual = {"module": "registry://example.com/psp:v1", "rules": [PODS], "mutating": False}
    return thing(kind, "policies.kubewarden.io/v1", namespace, status, **(usual | spec))


def images(kind: str = "ImageValidatingPolicy", namespace: str = "", **spec: Any) -> Object:
    """A policy of Kyverno that verifies images of pods."""
    usual = {"matchConstraints": {"resourceRules": [PODS]}}
    return thing(kind, "policies.kyverno.io/v1", namespace, **(usual | spec))


def cluster(*objects: Object) -> Snapshot:
    """A cluster."""
    return replace(snapshot([*answering("kubewarden", "server"), *objects]), settings={"now": NOW})


def only(*objects: Object) -> Policy:
    """The one policy that objects make."""
    (found,) = policies(cluster(*objects))
    return found


def pod(space: Space = PAY, **labels: str) -> Request:
    """The creation of a pod."""
    given = {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    return pod_creation(given, space.name, space.object)


def verdict(policy: Policy, space: Space, cel: Process, request: Request | None = None) -> Verdict | None:
    """With the exemptions that count in a namespace; None where it is not meant for that."""
    there = variant(policy, space)
    if there is None:
        return None
    return judged([Asked(policy, request or pod(space), there.exemptions)], cel)[0]


# Whether it denies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "denies"),
    [
        (kubewarden(), True),
        (kubewarden(mode="protect"), True),
        (kubewarden(mode="monitor"), False),
        (kubewarden("ClusterAdmissionPolicyGroup", mode="monitor"), False),
        (kubewarden("AdmissionPolicyGroup", "pay", expression="a() || b()"), True),
        (images(), True),
        (images(validationActions=["Audit", "Deny"]), True),
        (images(validationActions=["Audit"]), False),
        (images(evaluation={"admission": {"enabled": False}}), False),
        (thing("Policy", "config.ratify.deislabs.io/v1beta1", type="rego-policy"), False),
        (kubewarden() | {"spec": ["x"]}, True),
        (images() | {"spec": {"matchConstraints": "x", "validationActions": 1, "evaluation": []}}, False),
    ],
)
def test_whether_it_denies(given: Object, denies: bool) -> None:
    """Its mode or its actions say so, of whatever shape they are."""
    found = only(given)
    assert found.denies is denies
    assert found.through == Through(given["kind"], given["metadata"].get("namespace", ""), "x")
    assert found.engine == NAME
    assert found.opaque


@pytest.mark.parametrize(
    ("status", "policy", "up", "enforces"),
    [
        ("", "Fail", True, True),
        ("active", "Fail", True, True),
        ("active", "Ignore", True, True),
        ("pending", "Fail", None, None),
        ("scheduled", "Fail", None, None),
        ("unscheduled", "Fail", False, False),
    ],
)
def test_a_policy_that_nobody_serves_is_not_asked(
    status: str, policy: str, up: bool | None, enforces: bool | None
) -> None:
    """Kubewarden makes its webhook only when a server has the policy; what a folder holds is taken as it is written."""
    found = only(kubewarden(status=status, failurePolicy=policy))
    assert (found.up, found.enforces) == (up, enforces)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (kubewarden(), "clusterwide-x"),
        (kubewarden("ClusterAdmissionPolicyGroup"), "clusterwide-group-x"),
        (kubewarden("AdmissionPolicy", "pay"), "namespaced-pay-x"),
        (kubewarden("AdmissionPolicyGroup", "pay"), "namespaced-group-pay-x"),
        (images(), "kyverno-resource-validating-webhook-cfg"),
    ],
)
def test_it_is_up_as_its_webhook_is(given: Object, name: str) -> None:
    """The configuration that the engine makes for it names where the server asks."""
    assert only(given, webhooks(name, webhook("x", "kubewarden/server"))).up is True
    found = only(given, webhooks(name, webhook("x", "kubewarden/gone")))
    assert (found.up, found.why) == (False, "Service kubewarden/gone does not exist")
    assert Key("services", "kubewarden", "gone") in found.keys


# What it selects ----------------------------------------------------------------------------------------------------

CREATE = PODS | {"operations": ["DELETE"]}


@pytest.mark.parametrize(
    ("given", "space", "expected"),
    [
        (kubewarden(), PAY, WASM),
        (kubewarden(rules=[CREATE]), PAY, ADMITS),
        (kubewarden(rules=[]), PAY, ADMITS),
        (kubewarden(namespaceSelector={"matchLabels": {"team": "pay"}}), PAY, WASM),
        (kubewarden(namespaceSelector={"matchLabels": {"team": "pay"}}), SHOP, None),
        (kubewarden("AdmissionPolicy", "pay"), PAY, WASM),
        (kubewarden("AdmissionPolicy", "pay"), SHOP, None),
        (kubewarden("AdmissionPolicy", "pay"), CLUSTER, None),
        (kubewarden("AdmissionPolicy", "pay", namespaceSelector=where("x", "Exists")), PAY, WASM),
        (images(), PAY, SIGNED),
        (images(matchConstraints={"resourceRules": [CREATE]}), PAY, ADMITS),
        (images("NamespacedImageValidatingPolicy", "pay"), PAY, SIGNED),
        (images("NamespacedImageValidatingPolicy", "pay"), SHOP, None),
        (images(matchConditions=conditions("images.size() > 0")), PAY, ...),
        (thing("Policy", "config.ratify.deislabs.io/v1beta1"), PAY, ADMITS),
        (kubewarden() | {"spec": ["x"]}, PAY, ADMITS),
    ],
)
def test_what_it_selects(given: Object, space: Space, expected: Any, cel: Process) -> None:
    """What it does not select it admits; of the rest nobody can say, nor of what only its engine can evaluate."""
    found = verdict(only(given), space, cel)
    if expected is ...:
        assert found is not None
        assert found.refuses is None
        return
    assert found == expected


@pytest.mark.parametrize(
    ("given", "request_", "path", "edited"),
    [
        (kubewarden(namespaceSelector=where("skip", "DoesNotExist")), pod(SHOP),
         "x/spec.namespaceSelector[skip DoesNotExist]", "namespaceSelector"),
        (kubewarden(objectSelector=where("skip", "DoesNotExist")), pod(SHOP, skip=""), "x/spec.objectSelector",
         "objectSelector"),
        (kubewarden(matchConditions=conditions("false")), pod(SHOP), "x/spec.matchConditions[c0]", "matchConditions"),
        (images(matchConstraints={"resourceRules": [PODS], "objectSelector": where("skip", "DoesNotExist")}),
         pod(SHOP, skip=""), "x/spec.matchConstraints.objectSelector", "matchConstraints"),
        (images(matchConditions=conditions("namespaceObject.metadata.name != 'shop'")), pod(SHOP),
         "x/spec.matchConditions[c0]", "matchConditions"),
    ],
)  # fmt: skip
def test_what_takes_a_request_out(given: Object, request_: Request, path: str, edited: str, cel: Process) -> None:
    """With the one edit that takes it away."""
    policy = only(given)
    found = verdict(policy, SHOP, cel, request_)
    assert found is not None
    assert found.refuses is False
    (number,) = found.excused
    assert policy.exemptions[number].through.name == path
    (change,) = policy.exemptions[number].removal
    assert change.new is not None
    assert change.new["spec"].get(edited) != given["spec"][edited]
    rest = {field: value for field, value in given["spec"].items() if field != edited}
    assert {field: value for field, value in change.new["spec"].items() if field != edited} == rest
    assert judged([Asked(policy, request_, NONE)], cel)[0].refuses is None


def test_its_content_is_what_decides_what_it_refuses() -> None:
    """Other settings are another policy; another mode, or other namespaces, are not."""
    usual = only(kubewarden(settings={"allow": ["a"]}))
    assert only(kubewarden(settings={"allow": ["a"]}, mode="monitor", objectSelector={})).content == usual.content
    assert only(kubewarden(settings={"allow": ["a", "b"]})).content != usual.content
    assert only(images()).content != only(images(matchConstraints={"resourceRules": [CREATE]})).content
    scoped = {"resourceRules": [PODS], "namespaceSelector": where("skip", "DoesNotExist")}
    assert only(images()).content == only(images(matchConstraints=scoped)).content


# The table ----------------------------------------------------------------------------------------------------------


def test_every_row_is_a_kind_that_is_read() -> None:
    """And a gap says how many of it nobody evaluates."""
    assert {row.kind for row in ROWS} <= set(BY_NAME)
    found = cluster(kubewarden(), kubewarden("AdmissionPolicy", "pay", mode="monitor"), images())
    assert sorted(gaps(found)) == [
        ("clusteradmissionpolicies.policies.kubewarden.io", "", "not modelled",
         "1 of kind ClusterAdmissionPolicy: it is a WebAssembly module"),
        ("imagevalidatingpolicies.policies.kyverno.io", "", "not modelled",
         "1 of kind ImageValidatingPolicy: it verifies signatures of images"),
    ]  # fmt: skip
