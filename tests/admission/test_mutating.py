"""MutatingAdmissionPolicy: told as a whole, wherever it is; it refuses nothing by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Missing
from posture.admission.engines.mutating import BINDINGS, POLICIES, gaps, judged, policies, strays, variant
from posture.admission.policy import ADMITS, Asked, Policy, Space, Variant
from posture.admission.requests import Resource, pod_creation
from posture.model import Key, Through
from tests.generator.objects import Object, snapshot

VERSION = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


def mutation(expression: str = "Object{}") -> Object:
    """A mutation that applies a configuration."""
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def policy(name: str = "m", *mutations: Object, **spec: Any) -> Object:
    """A policy that changes pods as they are made."""
    given = {"matchConstraints": {"resourceRules": [RULE]}, "mutations": list(mutations or [mutation()]), **spec}
    return {"apiVersion": VERSION, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": given}


def binding(name: str = "m", policy: str = "m", **spec: Any) -> Object:
    """A binding of it."""
    return {"apiVersion": VERSION, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": policy, **spec}}  # fmt: skip


def only(*objects: Object) -> Policy:
    """The one policy that some objects make."""
    (found,) = policies(snapshot(objects))
    return found


def space(name: str = "pay", **labels: str) -> Space:
    """A namespace."""
    return Space.of(name, {"labels": labels})


def test_a_mutation_is_told_as_a_whole() -> None:
    """Through the policy, by both objects; it is no control and nothing is taken out of it."""
    found = only(policy(), binding())

    assert found.through == Through("MutatingAdmissionPolicy", "", "m")
    assert found.keys == (Key(POLICIES, "", "m"), Key(BINDINGS, "", "m"))
    assert found.enforces is False
    assert found.opaque.startswith("mutates")
    assert found.exemptions == ()
    assert [*gaps(snapshot([policy(), binding()])), *strays(snapshot([policy(), binding()]))] == []


def test_each_of_several_bindings_is_one() -> None:
    """In the order of their names; what is not bound, or bound to nothing, changes nothing."""
    objects = [policy(), binding("z"), binding("a"), policy("alone"), binding("stray", "gone")]

    assert [str(one.through) for one in policies(snapshot(objects))] == [
        "MutatingAdmissionPolicyBinding/a", "MutatingAdmissionPolicyBinding/z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "bound", "same"),
    [
        (policy("m", mutation("Object{}")), binding(), True),
        (policy("m", mutation("Object{spec: Object.spec{}}")), binding(), False),
        (policy("m", mutation(), mutation()), binding(), False),
        (policy("m", {"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}}), binding(), False),
        (policy(variables=[{"name": "v", "expression": "1"}]), binding(), False),
        (policy(matchConditions=[{"name": "c", "expression": "true"}]), binding(), False),
        (policy(failurePolicy="Ignore"), binding(), False),
        (policy(), binding(matchResources={"objectSelector": {"matchLabels": {"a": "b"}}}), False),
        (policy(), binding(paramRef={"name": "x"}), False),
        (policy(), binding(matchResources={"namespaceSelector": {"matchLabels": {"a": "b"}}}), True),
    ],
)
def test_the_content_is_what_it_does(given: Object, bound: Object, same: bool) -> None:
    """To a request; the namespaces are told by where it is."""
    assert (only(given, bound).content == only(policy(), binding()).content) is same


@pytest.mark.parametrize(
    ("wanted", "labels", "there"),
    [
        ({"matchLabels": {"env": "dev"}}, {"env": "dev"}, True),
        ({"matchLabels": {"env": "dev"}}, {}, False),
        ({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}, {"skip": ""}, False),
        ({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}, {}, True),
    ],
)
@pytest.mark.parametrize("bound", [True, False])
def test_where_it_is(wanted: Object, labels: dict[str, str], there: bool, bound: bool) -> None:
    """By the selectors of both; a mutation of pods is not in the cluster as such."""
    given: Object = {"resourceRules": [RULE]}
    applied: Object = {}
    (applied if bound else given)["namespaceSelector"] = wanted
    found = only(policy(matchConstraints=given), binding(matchResources=applied))

    assert variant(found, space(**labels)) == (Variant() if there else None)
    assert variant(found, Space.of("", None)) is None


@pytest.mark.parametrize(
    ("spec", "resource", "refuses"),
    [
        ({}, "pods", None),
        ({"failurePolicy": "Ignore"}, "pods", False),
        ({"matchConstraints": {"resourceRules": [RULE | {"resources": ["services"]}]}}, "pods", False),
        ({}, "services", False),
    ],
)
def test_only_one_that_fails_refuses(spec: Object, resource: str, refuses: bool | None) -> None:
    """Whether it does is not known, where it is asked and closed."""
    request = pod_creation({"metadata": {"name": "p"}, "spec": {"containers": []}}, "pay", space().object)
    request = replace(request, resource=Resource("", "v1", resource))
    (verdict,) = judged([Asked(only(policy(**spec), binding()), request)], Missing())

    assert verdict.refuses is refuses
    assert bool(verdict.why) is (verdict != ADMITS)


def test_a_generated_one_names_its_parent() -> None:
    """Kyverno makes them of its own policies."""
    owner = {"apiVersion": "policies.kyverno.io/v1", "kind": "MutatingPolicy", "name": "x"}
    found = only(policy(), {**binding(), "metadata": {"name": "m", "ownerReferences": [owner]}})

    assert found.rule.parent == Key("mutatingpolicies.policies.kyverno.io", "", "x")
    assert found.keys[2:] == (found.rule.parent,)


@pytest.mark.parametrize("junk", [None, 7, "x", ["x"], {"x": 7}, [{"x": 7}], [[]]])
def test_objects_of_any_shape_are_told(junk: Any) -> None:
    """What no server would store raises nothing."""
    for spec in ({field: junk} for field in ("mutations", "matchConstraints", "variables", "failurePolicy")):
        for found in policies(snapshot([policy(**spec), binding(matchResources=junk)])):
            variant(found, space())
            judged([Asked(found, pod_creation({}, "pay"))], Missing())
