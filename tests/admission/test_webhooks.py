"""Webhooks: what each is asked about, what takes requests out of it, and which ones belong to engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Missing
from posture.admission.engines import webhooks as engine
from posture.admission.engines.webhooks import MUTATING, VALIDATING, gaps, judged, policies, variant
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import NAMESPACES, Request, Resource, pod_creation
from posture.cel import Process
from posture.kinds import API_RESOURCES
from posture.model import Key, Snapshot, Through
from tests.generator.engines import NAME, NOW, answering, authority, conditions, webhook, webhooks, where
from tests.generator.objects import Object, metadata, snapshot

UNKNOWN = Verdict(None, "what it refuses is decided by its own code")
PAY = Space.of("pay", {"labels": {"team": "pay"}})
CLUSTER = Space.of("", None)


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def cluster(*objects: Object) -> Snapshot:
    """A cluster in which pay/hook answers."""
    return replace(snapshot([*answering("pay", "hook"), *objects]), settings={"now": NOW})


def only(**fields: Any) -> Policy:
    """The policy of the one webhook of a configuration."""
    (found,) = policies(cluster(webhooks("checks", webhook("a.example.com", "pay/hook", **fields))))
    return found


def pod(space: Space = PAY, **labels: str) -> Request:
    """The creation of a pod."""
    given = {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    return pod_creation(given, space.name, space.object, user="ann")


def verdict(policy: Policy, request: Request, cel: Any = None, space: Space = PAY) -> Verdict:
    """With all exemptions that count in a namespace; what the webhook is not meant for it admits."""
    there = variant(policy, space)
    if there is None:
        return ADMITS
    return judged([Asked(policy, request, there.exemptions)], cel or Missing())[0]


def excused(policy: Policy, found: Verdict) -> list[str]:
    """What took a request out."""
    assert found.refuses is False
    return sorted(policy.exemptions[number].through.name for number in found.excused)


# What it is asked about ---------------------------------------------------------------------------------------------

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
WEBHOOK = Resource("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
REVIEW = Resource("authentication.k8s.io", "v1", "tokenreviews")
ALL = {field: ["*"] for field in ("operations", "apiGroups", "apiVersions")} | {"resources": ["*/*"]}


def creation(resource: Resource, **metadata_: Any) -> Request:
    """The creation of something that is in no namespace."""
    return Request("CREATE", resource, "", "", "x", {"metadata": {"name": "x", **metadata_}})


@pytest.mark.parametrize(
    ("fields", "request_", "space", "expected"),
    [
        ({"rules": [RULE]}, pod(), PAY, UNKNOWN),
        ({"rules": [RULE | {"operations": ["DELETE"]}]}, pod(), PAY, ADMITS),
        ({"rules": [RULE | {"resources": ["deployments"]}]}, pod(), PAY, ADMITS),
        ({"rules": []}, pod(), PAY, ADMITS),
        ({"rules": "x", "objectSelector": 7, "namespaceSelector": ["x"]}, pod(), PAY, ADMITS),
        ({"rules": [ALL]}, creation(WEBHOOK), CLUSTER, ADMITS),
        ({"rules": [ALL]}, creation(REVIEW), CLUSTER, UNKNOWN),
        ({"rules": [ALL], "namespaceSelector": {"matchLabels": {"team": "pay"}}}, pod(), PAY, UNKNOWN),
        ({"rules": [ALL], "namespaceSelector": {"matchLabels": {"team": "shop"}}}, pod(), PAY, ADMITS),
        ({"rules": [ALL], "namespaceSelector": {"matchLabels": {"team": "shop"}}}, creation(REVIEW), CLUSTER, UNKNOWN),
        ({"rules": [ALL], "namespaceSelector": {"matchLabels": {"team": "pay"}}},
         Request("CREATE", NAMESPACES, "", "new", "new", {"metadata": {"labels": {"team": "shop"}}}), CLUSTER, ADMITS),
    ],
)  # fmt: skip
def test_what_it_is_asked_about(fields: Object, request_: Request, space: Space, expected: Verdict) -> None:
    """Its rules and selectors decide; what they select is unknown. No webhook is asked about webhooks."""
    assert verdict(only(**fields), request_, space=space) == expected


def test_a_mutating_webhook_denies_nothing() -> None:
    """It changes requests; that it is there, and for what, is told."""
    made = webhooks("inject", webhook("a.example.com", "pay/hook")) | {"kind": "MutatingWebhookConfiguration"}
    (found,) = policies(cluster(made))
    assert (found.denies, found.enforces, found.through.kind) == (False, False, "MutatingWebhookConfiguration")
    assert found.keys[0] == Key(MUTATING, "", "inject")
    assert found.opaque.startswith("mutates: ")


# What takes requests out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "space", "labels", "names"),
    [
        ({"namespaceSelector": where("skip", "DoesNotExist")}, Space.of("pay", {"labels": {"skip": ""}}), {},
         ["checks/webhooks[a.example.com].namespaceSelector[skip DoesNotExist]"]),
        ({"namespaceSelector": where("skip", "DoesNotExist")}, PAY, {}, None),
        ({"namespaceSelector": where(NAME, "NotIn", "kube-system", "pay")}, PAY, {},
         [f"checks/webhooks[a.example.com].namespaceSelector[{NAME} NotIn]"]),
        ({"objectSelector": where("skip", "NotIn", "yes")}, PAY, {"skip": "yes"},
         ["checks/webhooks[a.example.com].objectSelector"]),
        ({"objectSelector": where("skip", "NotIn", "yes")}, PAY, {"skip": "no"}, None),
        ({"matchConditions": conditions("request.userInfo.username != 'ann'", "true")}, PAY, {},
         ["checks/webhooks[a.example.com].matchConditions[c0]"]),
        ({"matchConditions": conditions("request.userInfo.username != 'bob'")}, PAY, {}, None),
        ({"matchConditions": conditions("object.spec.nope == 1", "false")}, PAY, {},
         ["checks/webhooks[a.example.com].matchConditions[c1]"]),
        ({"matchConditions": conditions("object.spec.nope == 1"), "failurePolicy": "Ignore"}, PAY, {},
         ["checks/webhooks[a.example.com].matchConditions[c0]"]),
        ({"objectSelector": where("skip", "DoesNotExist"), "matchConditions": conditions("false")}, PAY, {"skip": ""},
         ["checks/webhooks[a.example.com].matchConditions[c0]", "checks/webhooks[a.example.com].objectSelector"]),
    ],
)  # fmt: skip
def test_what_takes_a_request_out(
    fields: Object, space: Space, labels: dict[str, str], names: list[str] | None, cel: Process
) -> None:
    """Each selector and each condition by itself; without it the webhook is asked."""
    policy = only(**fields)
    found = verdict(policy, pod(space, **labels), cel, space)
    if names is None:
        assert found == UNKNOWN
        return
    assert excused(policy, found) == names
    assert judged([Asked(policy, pod(space, **labels), NONE)], cel) == [UNKNOWN]


def test_an_error_in_a_condition_refuses_where_the_webhook_fails_closed(cel: Process) -> None:
    """The server does not ask the webhook then: that is exact."""
    policy = only(matchConditions=conditions("object.spec.nope == 1"))
    assert verdict(policy, pod(), cel) == REFUSES
    assert judged([Asked(policy, pod(), NONE)], cel) == [UNKNOWN]


def test_conditions_without_an_evaluator_are_unknown() -> None:
    """Whether it is asked, nobody can say then."""
    assert verdict(only(matchConditions=conditions("false")), pod()) == Verdict(None, Missing.WHY)


def test_each_exemption_names_its_edit() -> None:
    """The configuration without the one selector or condition, everything else as it is."""
    policy = only(
        namespaceSelector=where("skip", "DoesNotExist") | {"matchLabels": {"team": "pay"}},
        objectSelector=where("skip", "DoesNotExist"),
        matchConditions=conditions("true", "false"),
    )
    found = {}
    for one in policy.exemptions:
        (change,) = one.removal
        assert change.old is not None
        assert change.new is not None
        assert one.keys == (change.key,) == (Key(VALIDATING, "", "checks"),)
        (old,), (new,) = change.old["webhooks"], change.new["webhooks"]
        found[one.through.name.partition("].")[2]] = {
            field: new.get(field) for field in old if new.get(field) != old[field]
        }
    assert found == {
        "namespaceSelector[skip DoesNotExist]": {"namespaceSelector": {"matchLabels": {"team": "pay"}}},
        "objectSelector": {"objectSelector": None},
        "matchConditions[c0]": {"matchConditions": conditions("true", "false")[1:]},
        "matchConditions[c1]": {"matchConditions": conditions("true", "false")[:1]},
    }
    assert [one.labels for one in policy.exemptions] == [(), ("skip",), (), ()]


def test_namespaces_that_are_alike_share_an_answer() -> None:
    """Only where a condition may look at the namespace's name do they differ."""
    policy = only(namespaceSelector=where("skip", "DoesNotExist"), matchConditions=conditions("has(object.spec)"))
    one, other = (variant(policy, Space.of(name, {"labels": {"at": name}})) for name in ("a", "b"))
    assert one == other
    assert variant(only(), CLUSTER) != variant(only(), PAY)
    named = only(matchConditions=conditions("request.namespace != 'a'"))
    assert variant(named, Space.of("a", None)) != variant(named, Space.of("b", None))
    assert named.users is False
    assert only(matchConditions=conditions("request.userInfo.username != 'a'")).users is True


# What answers, and what decides -------------------------------------------------------------------------------------


def test_it_is_up_as_its_backend_is() -> None:
    """And where it fails open, what it would refuse is refused only while it is up."""
    down = [*answering("pay", "hook", [False])]
    for policy, enforces in (("Fail", True), ("Ignore", False)):
        made = webhooks("checks", webhook("a.example.com", "pay/hook", failurePolicy=policy))
        (found,) = policies(replace(snapshot([*down, made]), settings={"now": NOW}))
        assert (found.up, found.why) == (False, "no endpoint of Service pay/hook is ready")
        assert found.enforces is enforces
    assert [key.resource for key in found.keys] == [VALIDATING, "services", "endpointslices.discovery.k8s.io"]


def test_its_content_is_what_it_is_asked_and_where() -> None:
    """A new certificate or timeout is no other webhook; another Service or other rules are."""
    bundle = authority("2028-01-01T00:00:00Z")
    usual = only()
    assert only(timeoutSeconds=1).content == usual.content
    assert only(objectSelector=where("skip", "DoesNotExist")).content == usual.content
    assert only(rules=[RULE]).content != usual.content
    (renewed,) = policies(cluster(webhooks("checks", webhook("a.example.com", "pay/hook", bundle=bundle))))
    assert renewed.content == usual.content
    (moved,) = policies(cluster(webhooks("checks", webhook("a.example.com", "shop/hook"))))
    assert moved.content != usual.content


# Whose they are -----------------------------------------------------------------------------------------------------


def engine_object(kind: str, version: str, name: str = "x", **spec: Any) -> Object:
    """An object of an engine."""
    return {"apiVersion": version, "kind": kind, "metadata": metadata(name), "spec": spec}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("kyverno-resource-validating-webhook-cfg", engine_object("ClusterPolicy", "kyverno.io/v1")),
        ("kyverno-cel-exception-validating-webhook-cfg",
         engine_object("ValidatingPolicy", "policies.kyverno.io/v1")),
        ("gatekeeper-validating-webhook-configuration",
         engine_object("ConstraintTemplate", "templates.gatekeeper.sh/v1")),
        ("policy.sigstore.dev", engine_object("ClusterImagePolicy", "policy.sigstore.dev/v1beta1")),
        ("clusterwide-x", engine_object("ClusterAdmissionPolicy", "policies.kubewarden.io/v1")),
        ("clusterwide-group-x", engine_object("ClusterAdmissionPolicyGroup", "policies.kubewarden.io/v1")),
    ],
)  # fmt: skip
def test_an_engine_makes_configurations_of_its_own(name: str, owner: Object) -> None:
    """They are judged by the engine; the name alone, where the engine is not installed, hides nothing."""
    made = webhooks(name, webhook("a.example.com", "pay/hook"))
    assert [*policies(cluster(made, owner))] == []
    assert [*gaps(cluster(made, owner))] == []
    (found,) = policies(cluster(made))
    assert found.through == Through("ValidatingWebhookConfiguration", "", f"{name}/a.example.com")
    (other,) = policies(cluster(webhooks(f"{name}-2", webhook("a.example.com", "pay/hook")), owner))
    assert other.through.name == f"{name}-2/a.example.com"


def test_an_engine_without_policies_is_installed() -> None:
    """Discovery says so."""
    resource = {"apiVersion": "", "kind": "APIResource", "namespaced": False,
                "metadata": metadata("constrainttemplates.templates.gatekeeper.sh")}  # fmt: skip
    made = webhooks("gatekeeper-validating-webhook-configuration", webhook("a.example.com", "pay/hook"))
    found = cluster(made, resource)
    assert API_RESOURCES in found.index
    assert [*policies(found)] == []


def test_what_cannot_be_evaluated_is_counted() -> None:
    """One row, for all that validate."""
    made = webhooks("checks", webhook("a.example.com", "pay/hook"), webhook("b.example.com", "pay/hook"))
    (gap,) = gaps(cluster(made))
    assert gap == (VALIDATING, "", "not modelled", "2 webhooks: code of their own decides what is refused")
    assert [*engine.strays(cluster(made))] == []
