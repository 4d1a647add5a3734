"""Kyverno: what each policy refuses, and what takes requests out of it. Exceptions and patterns stand apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Evaluator, Missing
from posture.admission.engines import kyverno
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import Request, Resource, pod_creation
from posture.cel import Process
from posture.model import Gap, Snapshot, Through
from tests.generator.kyverno import PODS as PODS_RULE
from tests.generator.kyverno import (
    PRIVILEGED,
    cluster_policy,
    config_map,
    controller,
    pod_security,
    rule,
    validating_policy,
    webhook,
    webhooks,
)
from tests.generator.objects import Object, namespace, snapshot

PAY = Space.of("pay", {"labels": {"team": "pay"}})
SHOP = Space.of("shop", {"labels": {"team": "shop"}})
SYSTEM = Space.of("kube-system", None)
SOMEBODY: dict[str, Any] = {"user": "somebody", "groups": ("system:authenticated",)}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def pod(
    space: Space = PAY, *, labels: Any = None, annotations: Any = None, image: str = "web:1", **security: Any
) -> Request:  # fmt: skip
    """The creation of a pod whose container is privileged, or has another security context."""
    container = {"name": "a", "image": image, "securityContext": security or {"privileged": True}}
    meta = {"name": "p", "labels": labels or {}, "annotations": annotations or {}}
    return pod_creation({"metadata": meta, "spec": {"containers": [container]}}, space.name, space.object, **SOMEBODY)


def policies(*objects: Object, **settings: Any) -> list[Policy]:
    """The policies of some objects."""
    return [*kyverno.policies(replace(snapshot(objects), settings=settings))]


def judged(
    policy: Policy, request: Request, cel: Evaluator, space: Space = PAY, without: Sequence[int] = ()
) -> Verdict:  # fmt: skip
    """The verdict with all exemptions of the namespace, or without some."""
    variant = kyverno.variant(policy, space)
    if variant is None:
        return ADMITS
    return kyverno.judged([Asked(policy, request, variant.exemptions.difference(without))], cel)[0]


def out(policy: Policy, request: Request, cel: Evaluator, space: Space = PAY) -> list[str]:
    """Through what a request is taken out of a policy that refuses it without."""
    every = range(len(policy.exemptions))
    assert judged(policy, request, cel, space, every) == REFUSES
    verdict = judged(policy, request, cel, space)
    assert verdict.refuses is not bool(verdict.excused)
    return [str(policy.exemptions[number].through) for number in sorted(verdict.excused)]


# ValidatingPolicies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, True),
        ({"validations": [{"expression": "true"}]}, False),
        ({"validations": [{"expression": "true"}, {"expression": "false"}]}, True),
        ({"validations": [{"expression": "object.spec.nope == 1"}]}, True),
        ({"validations": [{"expression": "object.spec.nope == 1"}], "failurePolicy": "Ignore"}, None),
        ({"validations": [{"expression": "false"}], "failurePolicy": "Ignore"}, True),
        ({"validations": [{"expression": "'text'"}]}, True),
        ({"variables": [{"name": "bad", "expression": "object.spec.nope"}]}, True),
        ({"variables": [{"name": "v", "expression": "object.spec.containers.size()"}],
          "validations": [{"expression": "variables.v == 1"}]}, False),
        ({"validations": [{"expression": "true"}],
          "auditAnnotations": [{"key": "k", "valueExpression": "object.spec.nope"}]}, True),
        ({"matchConditions": [{"name": "c", "expression": "false"}]}, False),
        ({"matchConditions": [{"name": "c", "expression": "namespaceObject.metadata.labels.team == 'pay'"}]}, True),
        ({"matchConditions": [{"name": "c", "expression": "object.spec.nope"}]}, True),
        ({"matchConditions": [{"name": "c", "expression": "object.spec.nope"}], "failurePolicy": "Ignore"}, False),
        ({"matchConditions": [{"name": "c", "expression": "object.spec.nope"},
                              {"name": "d", "expression": "false"}]}, False),
        ({"validations": [{"expression": "resource.Get('v1', 'configmaps', 'a', 'b').data.x == 'y'"}]}, None),
        ({"validations": [{"expression": "globalContext.Get('a', 'b') == 1"}]}, None),
        ({"validations": [{"expression": "images.containers.all(i, image(i).registry() == 'x')"}]}, None),
        ({"validations": [{"expression": "http.Get('https://x').ok"}, {"expression": "false"}]}, True),
    ],
)  # fmt: skip
def test_what_a_validating_policy_refuses(cel: Evaluator, given: Object, refused: bool | None) -> None:
    """Validations in order, lazy variables, errors; what only Kyverno's own libraries can say is unknown."""
    (policy,) = policies(validating_policy("v", **given))
    assert judged(policy, pod(), cel).refuses is refused


@pytest.mark.parametrize(
    ("given", "denies"),
    [
        ({}, True),
        ({"validationActions": ["Audit"]}, False),
        ({"validationActions": ["Warn", "Deny"]}, True),
        ({"validationActions": []}, True),
        ({"evaluation": {"admission": {"enabled": False}}}, False),
        ({"evaluation": {"admission": {"enabled": True}}}, True),
    ],
)
def test_whether_a_validating_policy_denies(given: Object, denies: bool) -> None:
    """Deny is what it does unless other actions are named, or admission is switched off."""
    (policy,) = policies(validating_policy("v", **given))
    assert policy.denies is denies


def test_json_policies_are_not_for_admission() -> None:
    """A policy that is evaluated on payloads is asked by no API server."""
    assert policies(validating_policy("v", evaluation={"mode": "JSON"})) == []


def test_a_namespaced_policy_is_for_its_namespace(cel: Evaluator) -> None:
    """A NamespacedValidatingPolicy says nothing elsewhere."""
    (policy,) = policies(validating_policy("v", namespace="pay"))
    assert policy.through == Through("NamespacedValidatingPolicy", "pay", "v")
    assert kyverno.variant(policy, SHOP) is None
    assert judged(policy, pod(), cel) == REFUSES


def test_what_match_constraints_leave_out(cel: Evaluator) -> None:
    """Negative requirements, the object selector and match conditions are exemptions; labels of a tenant are named."""
    constraints = {
        "resourceRules": [PODS_RULE],
        "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]},
        "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
    }
    conditions = [{"name": "web", "expression": "object.spec.containers[0].image != 'free'"}]
    (policy,) = policies(validating_policy("v", matchConstraints=constraints, matchConditions=conditions))
    assert out(policy, pod(), cel) == []
    path = "ValidatingPolicy/v/spec.matchConstraints"
    assert out(policy, pod(SHOP), cel, SHOP) == [f"{path}.namespaceSelector[team NotIn]"]
    assert out(policy, pod(labels={"skip": ""}), cel) == [f"{path}.objectSelector"]
    assert out(policy, pod(image="free"), cel) == ["ValidatingPolicy/v/spec.matchConditions[web]"]
    assert [one.labels for one in policy.exemptions] == [(), ("skip",), ()]


def test_each_edit_of_a_validating_policy_takes_one_exemption_away() -> None:
    """The others are left as they are."""
    selector = {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}
    constraints = {"resourceRules": [PODS_RULE], "namespaceSelector": selector, "objectSelector": selector}
    conditions = [{"name": name, "expression": "true"} for name in ("a", "b")]
    made = snapshot([validating_policy("v", matchConstraints=constraints, matchConditions=conditions)])
    (policy,) = kyverno.policies(made)
    names = [one.through.name for one in policy.exemptions]
    for one in policy.exemptions:
        (change,) = one.removal
        (after,) = kyverno.policies(made.replaced([(change.key, change.new)]))
        assert [other.through.name for other in after.exemptions] == [x for x in names if x != one.through.name]


def test_without_the_extra_nothing_is_known(cel: Evaluator) -> None:
    """Without CEL all verdicts are unknown, and a gap says so."""
    (policy,) = policies(validating_policy("v"))
    assert judged(policy, pod(), Missing()).refuses is None
    there = replace(snapshot([validating_policy("v")]), settings={"cel": Missing()})
    resource = "validatingpolicies.policies.kyverno.io"
    assert [*kyverno.gaps(there)] == [
        Gap(resource, "", "extra missing", f"{Missing.WHY}: what these policies refuse is unknown")
    ]


def test_image_policies_are_opaque(cel: Evaluator) -> None:
    """Nobody can say which signatures there are."""
    made = validating_policy("v") | {"kind": "ImageValidatingPolicy"}
    (policy,) = policies(made)
    assert (policy.opaque, judged(policy, pod(), cel).refuses) == ("verifies images", None)


# ClusterPolicies -----------------------------------------------------------------------------------------------------

BASELINE = rule(podSecurity=pod_security())
ALL_PODS = {"resources": {"kinds": ["Pod"]}}


@pytest.mark.parametrize(
    ("spec", "validate", "denies"),
    [
        ({}, {}, True),
        ({"validationFailureAction": "enforce"}, {}, True),
        ({"validationFailureAction": "Audit"}, {}, False),
        ({"validationFailureAction": None}, {}, False),
        ({"validationFailureAction": "Audit"}, {"failureAction": "Enforce"}, True),
        ({}, {"failureAction": "Audit"}, False),
        ({"admission": False}, {}, False),
    ],
)
def test_whether_a_cluster_policy_denies(spec: Object, validate: Object, denies: bool) -> None:
    """Audit unless it says Enforce; the rule's own action counts first."""
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security(), **validate), **spec))
    assert policy.denies is denies


@pytest.mark.parametrize(
    ("match", "refused"),
    [
        ({"any": [ALL_PODS]}, True),
        ({"resources": {"kinds": ["Pod"]}}, True),
        ({"any": [{"resources": {"kinds": ["v1/Pod"]}}]}, True),
        ({"any": [{"resources": {"kinds": ["*"]}}]}, True),
        ({"any": [{"resources": {"kinds": ["P?d"]}}]}, True),
        ({"any": [{"resources": {"kinds": ["apps/*/Deployment", "*/Pod"]}}]}, True),
        ({"any": [{"resources": {"kinds": ["Service"]}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod/exec"]}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "names": ["q*"]}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "name": "p"}}]}, True),
        ({"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["pa?"]}}]}, True),
        ({"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["shop", "kube-*"]}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"team": "p*"}}}}]}, True),
        ({"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"team": "x*"}}}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "selector": {"matchLabels": {"a*": "?"}}}}]}, True),
        ({"any": [{"resources": {"kinds": ["Pod"], "selector": {"matchLabels": {"a*": "??"}}}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "annotations": {"n*": "1*"}}}]}, True),
        ({"any": [{"resources": {"kinds": ["Pod"], "annotations": {"n*": "2*"}}}]}, False),
        ({"any": [{"resources": {"kinds": ["Pod"], "operations": ["UPDATE"]}}]}, False),
        ({"any": [{"resources": {"kinds": ["Service"]}}, ALL_PODS]}, True),
        ({"all": [ALL_PODS, {"resources": {"names": ["q"]}}]}, False),
        ({"all": [ALL_PODS, {"resources": {"names": ["p"]}}]}, True),
        ({"any": [{**ALL_PODS, "subjects": [{"kind": "User", "name": "some*"}]}]}, True),
        ({"any": [{**ALL_PODS, "subjects": [{"kind": "Group", "name": "admins"}]}]}, False),
        ({"any": [{**ALL_PODS, "clusterRoles": ["edit"]}]}, None),
        ({"any": [{}]}, False),
        ({}, False),
    ],
)
def test_what_a_match_block_selects(cel: Evaluator, match: Object, refused: bool | None) -> None:
    """All that an entry names must hold, with wildcards; roles of who asks are not worked out."""
    (policy,) = policies(cluster_policy("c", rule(match=match or {"any": []}, podSecurity=pod_security())))
    assert judged(policy, pod(labels={"app": "x"}, annotations={"note": "12"}), cel).refuses is refused


def test_a_block_that_names_a_namespace_in_one_entry_only_is_told_apart(cel: Evaluator) -> None:
    """Namespaces of equal variants answer alike, also where only one of several entries is about a namespace."""
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["pay"]}}, {"resources": {"kinds": ["Service"]}}]}
    (policy,) = policies(cluster_policy("c", rule(match=match, podSecurity=pod_security())))
    assert kyverno.variant(policy, PAY) != kyverno.variant(policy, SHOP)
    assert (judged(policy, pod(), cel), judged(policy, pod(SHOP), cel, SHOP)) == (REFUSES, ADMITS)


@pytest.mark.parametrize(
    ("exclude", "request_", "through"),
    [
        ({"any": [{"resources": {"namespaces": ["pay"]}}]}, pod(), "everything in pay"),
        ({"any": [{"resources": {"namespaces": ["shop"]}}]}, pod(), ""),
        ({"any": [{"resources": {"selector": {"matchLabels": {"skip": "yes"}}}}]}, pod(labels={"skip": "yes"}),
         "everything with skip=yes"),
        ({"resources": {"names": ["p*"]}}, pod(), "everything named p*"),
        ({"all": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"names": ["p"]}}]}, pod(),
         "Pod and everything named p"),
        ({"all": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"names": ["q"]}}]}, pod(), ""),
        ({"any": [{"subjects": [{"kind": "User", "name": "some*"}]}]}, pod(), "everything by User some*"),
        ({"any": [{"subjects": [{"kind": "User", "name": "other"}]}]}, pod(), ""),
        ({"any": [{}]}, pod(), ""),
    ],
)  # fmt: skip
def test_what_an_exclude_block_takes_out(cel: Evaluator, exclude: Object, request_: Request, through: str) -> None:
    """Each entry is an exemption of its own; those of an `all` together are one."""
    (policy,) = policies(cluster_policy("c", rule(exclude=exclude, podSecurity=pod_security())))
    expected = [f"ClusterPolicy/c/rules[check].exclude[{through}]"] if through else []
    assert out(policy, request_, cel) == expected


def test_labels_by_which_a_tenant_takes_himself_out_are_named() -> None:
    """An exclude by label can be used by whoever makes the object."""
    exclude = {"any": [{"resources": {"selector": {"matchLabels": {"skip": "yes"}}}},
                       {"resources": {"namespaces": ["x"]}}]}  # fmt: skip
    (policy,) = policies(cluster_policy("c", rule(exclude=exclude, podSecurity=pod_security())))
    assert [one.labels for one in policy.exemptions] == [("skip=yes",), ()]


def test_removal_takes_one_entry_of_an_exclude_block_away(cel: Evaluator) -> None:
    """What is left of the object no longer has that exemption, and nothing else differs."""
    exclude = {"any": [{"resources": {"namespaces": ["pay"]}}, {"resources": {"namespaces": ["shop"]}}]}
    made = snapshot([cluster_policy("c", rule(exclude=exclude, podSecurity=pod_security()))])
    (policy,) = kyverno.policies(made)
    (change,) = policy.exemptions[0].removal
    (after,) = kyverno.policies(made.replaced([(change.key, change.new)]))
    assert [one.what for one in after.exemptions] == ["excludes everything in shop"]
    assert judged(after, pod(), cel) == REFUSES
    (last,) = after.exemptions[0].removal
    assert last.new is not None
    assert "exclude" not in last.new["spec"]["rules"][0]


OPERATION = "{{ request.operation || 'BACKGROUND' }}"


def test_preconditions_on_the_operation_are_evaluated(cel: Evaluator) -> None:
    """The one precondition that nearly all published rules have; others are opaque."""
    given = {"all": [{"key": OPERATION, "operator": "NotEquals", "value": "CREATE"}]}
    (policy,) = policies(cluster_policy("c", rule(preconditions=given, podSecurity=pod_security())))
    assert out(policy, pod(), cel) == ["ClusterPolicy/c/rules[check].preconditions"]
    other = {"all": [{"key": "{{ request.object.spec.x }}", "operator": "Equals", "value": "y"}]}
    (opaque,) = policies(cluster_policy("c", rule(preconditions=other, podSecurity=pod_security())))
    assert opaque.opaque == "has preconditions in JMESPath"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"name": "r", "match": {"any": [ALL_PODS]}, "verifyImages": [{"imageReferences": ["*"]}]}, "verifies images"),
        (rule(deny={"conditions": {}}), "denies by JMESPath"),
        (rule(foreach=[{"list": "request.object.spec.containers"}]), "asks by foreach"),
        (rule(pattern={"spec": {"x": "{{ request.name }}"}}), "its pattern has variables"),
        (rule(podSecurity=pod_security()) | {"context": [{"name": "x"}]}, "loads data from elsewhere"),
        (rule(cel={"paramKind": {"kind": "X"}, "expressions": []}), "reads parameters"),
        (rule(message="x"), "asks for nothing that is known"),
    ],
)
def test_rules_that_nobody_can_evaluate_are_opaque(cel: Evaluator, made: Object, why: str) -> None:
    """They say why, their verdict is unknown, and a gap names them."""
    (policy,) = policies(cluster_policy("c", made))
    assert (policy.opaque, judged(policy, pod(), cel)) == (why, Verdict(None, why))
    gap = Gap("clusterpolicies.kyverno.io", "", "not modelled", f"1 rule of Kyverno: {why}")
    assert [*kyverno.gaps(snapshot([cluster_policy("c", made)]))] == [gap]


def test_rules_that_change_or_make_objects_refuse_nothing() -> None:
    """mutate and generate rules are no policies; each rule that validates is one."""
    rules = [{"name": "m", "mutate": {}}, {"name": "g", "generate": {}}, BASELINE, rule("other", pattern={})]
    assert [one.through for one in policies(cluster_policy("c", *rules))] == [Through("ClusterPolicy", "", "c")] * 2


def test_a_policy_in_a_namespace_is_for_that(cel: Evaluator) -> None:
    """A Policy says nothing elsewhere."""
    (policy,) = policies(cluster_policy("c", BASELINE, namespace="pay"))
    assert (policy.through, kyverno.variant(policy, SHOP)) == (Through("Policy", "pay", "c"), None)
    assert judged(policy, pod(), cel) == REFUSES


def test_rules_in_cel_fail_closed(cel: Evaluator) -> None:
    """validate.cel is evaluated as a ValidatingAdmissionPolicy; preconditions do not see the namespace."""
    for expression, refused in (("false", True), ("true", False), ("object.spec.nope", True), (PRIVILEGED, True)):
        (policy,) = policies(cluster_policy("c", rule(cel={"expressions": [{"expression": expression}]})))
        assert judged(policy, pod(), cel).refuses is refused
    made = rule(cel={"expressions": [{"expression": "false"}]})
    made["celPreconditions"] = [{"name": "n", "expression": "object.metadata.name != 'p'"}]
    (policy,) = policies(cluster_policy("c", made))
    assert out(policy, pod(), cel) == ["ClusterPolicy/c/rules[check].celPreconditions[n]"]


def test_what_violates_a_rule_already_may_be_changed(cel: Evaluator) -> None:
    """An update of what was refused today passes, unless allowExistingViolations is off; an added one does not."""
    clean, dirty = pod(privileged=False).object, pod().object
    for allow, old, refused in ((True, dirty, False), (True, clean, True), (False, dirty, True)):
        made = rule(podSecurity=pod_security(), allowExistingViolations=allow)
        (policy,) = policies(cluster_policy("c", made))
        update = replace(pod(), operation="UPDATE", old=old)
        assert judged(policy, update, cel).refuses is refused


def test_ephemeral_containers_are_judged_with_pods(cel: Evaluator) -> None:
    """Who names pods names the ephemeral containers that are added to them."""
    (policy,) = policies(cluster_policy("c", BASELINE))
    update = replace(pod(), operation="UPDATE", subresource="ephemeralcontainers", old=pod(privileged=False).object)
    assert judged(policy, update, cel) == REFUSES


def test_rules_for_the_controllers_of_pods_are_unknown(cel: Evaluator) -> None:
    """What Kyverno makes of a rule for Deployments is not modelled, unless it makes none."""
    deployment = replace(pod(), resource=Resource("apps", "v1", "deployments"),
                         object={"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}})  # fmt: skip
    (policy,) = policies(cluster_policy("c", BASELINE))
    assert judged(policy, deployment, cel).refuses is None
    none = {"pod-policies.kyverno.io/autogen-controllers": "none"}
    (alone,) = policies(cluster_policy("c", BASELINE, annotations=none))
    assert judged(alone, deployment, cel) == ADMITS


# Overrides of the action ---------------------------------------------------------------------------------------------


def override(action: str, *namespaces: str, **selector: str) -> Object:
    """An override for namespaces by name, by label, or both."""
    found: Object = {"action": action}
    if namespaces:
        found["namespaces"] = [*namespaces]
    return found | ({"namespaceSelector": {"matchLabels": selector}} if selector else {})


def test_an_override_to_audit_is_an_exemption(cel: Evaluator) -> None:
    """Where it is for a namespace it takes all of that out, and taking it away refuses again."""
    made = snapshot([cluster_policy("c", BASELINE, validationFailureActionOverrides=[override("Audit", "pa*")])])
    (policy,) = kyverno.policies(made)
    assert out(policy, pod(), cel) == ["ClusterPolicy/c/validationFailureActionOverrides[in pa*]"]
    assert out(policy, pod(SHOP), cel, SHOP) == []
    (change,) = policy.exemptions[0].removal
    (after,) = kyverno.policies(made.replaced([(change.key, change.new)]))
    assert (after.exemptions, judged(after, pod(), cel)) == ((), REFUSES)


@pytest.mark.parametrize(
    ("spec", "validate", "pay", "shop"),
    [
        ({"validationFailureAction": "Audit", "validationFailureActionOverrides": [override("Enforce", "pay")]}, {},
         True, False),
        ({"validationFailureActionOverrides": [override("Audit", team="pay")]}, {}, False, True),
        ({"validationFailureActionOverrides": [override("Enforce", "pay"), override("Audit")]}, {}, True, False),
        ({"validationFailureActionOverrides": [override("Audit"), override("Enforce", "pay")]}, {}, False, False),
        ({}, {"failureActionOverrides": [override("Audit", "shop")]}, True, False),
        ({"validationFailureActionOverrides": [override("Audit", "pay")]}, {"failureAction": "Enforce"}, False, True),
        ({"validationFailureAction": "Audit", "validationFailureActionOverrides": [override("Enforce", "pay")]},
         {"failureAction": "Audit"}, False, False),
        ({"validationFailureActionOverrides": [override("Audit", "shop", team="pay")]}, {}, False, False),
    ],
)  # fmt: skip
def test_overrides_by_namespace(cel: Evaluator, spec: Object, validate: Object, pay: bool, shop: bool) -> None:
    """The first that fits counts. Names and selector are read once as either and once as both: both must enforce."""
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security(), **validate), **spec))
    found = (judged(policy, pod(), cel).refuses, judged(policy, pod(SHOP), cel, SHOP).refuses)
    assert tuple(one and policy.denies for one in found) == (pay, shop)


# podSecurity ---------------------------------------------------------------------------------------------------------

RESTRICTED: Object = {
    "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("exclude", "security", "taken"),
    [
        ([], {"privileged": True}, []),
        ([{"controlName": "Privileged Containers", "images": ["*"]}], {"privileged": True}, [0]),
        ([{"controlName": "Privileged Containers", "images": ["web:*"]}], {"privileged": True}, [0]),
        ([{"controlName": "Privileged Containers", "images": ["db:*"]}], {"privileged": True}, []),
        ([{"controlName": "Privileged Containers"}], {"privileged": True}, []),
        ([{"controlName": "Host Namespaces"}], {"privileged": True}, []),
        ([{"controlName": "Capabilities", "images": ["*"]}], {"capabilities": {"add": ["NET_RAW"]}}, [0]),
        ([{"controlName": "Capabilities", "images": ["*"], "values": ["NET_*"],
           "restrictedField": "spec.containers[*].securityContext.capabilities.add"}],
         {"capabilities": {"add": ["NET_RAW"]}}, [0]),
        ([{"controlName": "Capabilities", "images": ["*"], "values": ["NET_*"],
           "restrictedField": "spec.containers[*].securityContext.capabilities.add"}],
         {"capabilities": {"add": ["NET_RAW", "SYS_ADMIN"]}}, []),
        ([{"controlName": "Capabilities", "images": ["*"], "values": ["*"],
           "restrictedField": "spec.initContainers[*].securityContext.capabilities.add"}],
         {"capabilities": {"add": ["NET_RAW"]}}, []),
        ([{"controlName": "Privileged Containers", "images": ["*"]}, {"controlName": "Capabilities", "images": ["*"]}],
         {"privileged": True, "capabilities": {"add": ["NET_RAW"]}}, [0, 1]),
        ([{"controlName": "Privileged Containers", "images": ["*"]}],
         {"privileged": True, "capabilities": {"add": ["NET_RAW"]}}, []),
    ],
)  # fmt: skip
def test_what_entries_of_pod_security_leave_out(
    cel: Evaluator, exclude: list[Object], security: Object, taken: list[int]
) -> None:
    """Per control: by images for what containers say, without them for what the pod says; by field and values."""
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security(exclude=exclude))))
    verdict = judged(policy, pod(**security), cel)
    assert (verdict.refuses, sorted(verdict.excused)) == (not taken, taken)


def test_a_seccomp_profile_that_is_not_there_is_left_out_by_its_type(cel: Evaluator) -> None:
    """As the error of Kyverno's library names it: not the profile, but its type is missing."""
    field = "spec.containers[*].securityContext.seccompProfile.type"
    exclude = [{"controlName": "Seccomp", "images": ["*"], "restrictedField": field}]
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security("restricted", exclude=exclude))))
    request = pod(**{name: value for name, value in RESTRICTED.items() if name != "seccompProfile"})
    assert judged(policy, request, cel) == Verdict(False, "", frozenset({0}))


def test_pod_security_is_not_pod_security_admission(cel: Evaluator) -> None:
    """At restricted the baseline's controls are asked too: a Windows pod that adds a capability is refused."""
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security("restricted"))))
    security = {"runAsNonRoot": True, "capabilities": {"add": ["SYS_ADMIN"]}}
    spec = {"os": {"name": "windows"}, "containers": [{"name": "a", "image": "x", "securityContext": security}]}
    request = pod_creation({"metadata": {"name": "p"}, "spec": spec}, "pay", PAY.object, **SOMEBODY)
    assert judged(policy, request, cel) == REFUSES
    assert judged(policy, pod(**RESTRICTED), cel) == ADMITS


@pytest.mark.parametrize(("level", "version"), [("strict", "latest"), ("baseline", "v2")])
def test_a_standard_that_is_none_is_unknown(cel: Evaluator, level: str, version: str) -> None:
    """What no server would take is not guessed."""
    (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security(level, version=version))))
    assert judged(policy, pod(), cel).refuses is None


def test_versions_in_which_releases_differ_are_unknown(cel: Evaluator) -> None:
    """A sysctl that is safe since 1.29: releases before 1.19 asked every older form too."""
    spec = {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}]},
            "containers": [{"name": "a", "image": "x"}]}  # fmt: skip
    request = pod_creation({"metadata": {"name": "p"}, "spec": spec}, "pay", PAY.object, **SOMEBODY)
    for version, refused in (("latest", False), ("v1.29", None), ("v1.24", True)):
        (policy,) = policies(cluster_policy("c", rule(podSecurity=pod_security(version=version))))
        assert judged(policy, request, cel).refuses is refused


# The ConfigMap and webhooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "space", "through"),
    [
        ("[*/*,kube-system,*] [Event,*,*]", SYSTEM, "[*/*,kube-system,*]"),
        ("[*/*,kube-system,*]", PAY, ""),
        ("[Pod,pay,p]", PAY, "[Pod,pay,p]"),
        ("[Pod,pay,q*]", PAY, ""),
        ("[Pod/exec,pay,*]", PAY, ""),
        ("[*,pa?,*]", PAY, "[*,pa?,*]"),
        ("[Service,*,*]", PAY, ""),
        ("[Pod]", PAY, ""),
    ],
)
def test_resource_filters(cel: Evaluator, filters: str, space: Space, through: str) -> None:
    """Kind, namespace and name with wildcards; for policies of both groups."""
    for made in (cluster_policy("c", BASELINE), validating_policy("v")):
        (policy,) = policies(made, config_map(resourceFilters=filters))
        expected = [f"ConfigMap/kyverno/kyverno/resourceFilters{through}"] if through else []
        assert out(policy, pod(space), cel, space) == expected


def test_a_filter_for_all_kinds_does_not_hold_for_subresources(cel: Evaluator) -> None:
    """`*` is no subresource, `*/*` is every one."""
    update = replace(pod(), operation="UPDATE", subresource="ephemeralcontainers", old=pod(privileged=False).object)
    for filters, taken in (("[*,pay,*]", False), ("[*/*,pay,*]", True)):
        (policy,) = policies(cluster_policy("c", BASELINE), config_map(resourceFilters=filters))
        assert bool(out(policy, update, cel)) is taken


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        ({"excludeUsernames": "some*"}, True),
        ({"excludeUsernames": "other"}, False),
        ({"excludeGroups": "system:nodes, system:auth*"}, True),
        ({"excludeGroups": "system:nodes"}, False),
        ({"excludeGroups": "system:*", "excludeUsernames": "!somebody"}, False),
        ({"excludeUsernames": "some*,!somebody"}, False),
    ],
)
def test_who_is_not_asked(cel: Evaluator, data: dict[str, str], taken: bool) -> None:
    """Users and groups with wildcards; `!` puts somebody back, and wins."""
    (policy,) = policies(cluster_policy("c", BASELINE), config_map(**data))
    assert policy.users
    assert bool(out(policy, pod(), cel)) is taken


def test_roles_that_are_left_out_are_unknown(cel: Evaluator) -> None:
    """Which roles somebody has is not worked out here."""
    (policy,) = policies(cluster_policy("c", BASELINE), config_map(excludeClusterRoles="cluster-admin"))
    assert judged(policy, pod(), cel).refuses is None


def test_removal_takes_one_entry_of_the_config_map_away(cel: Evaluator) -> None:
    """The other entries stay as they are."""
    data = {"resourceFilters": "[*/*,kube-system,*] [Pod,pay,*]", "excludeGroups": "system:nodes,a"}
    made = snapshot([cluster_policy("c", BASELINE), config_map(**data)])
    (policy,) = kyverno.policies(made)
    by_name = {one.through.name: one for one in policy.exemptions}
    (filters,) = by_name["kyverno/resourceFilters[Pod,pay,*]"].removal
    (groups,) = by_name["kyverno/excludeGroups[a]"].removal
    assert filters.new is not None
    assert groups.new is not None
    assert filters.new["data"] == {**data, "resourceFilters": "[*/*,kube-system,*]"}
    assert groups.new["data"] == {**data, "excludeGroups": "system:nodes"}


NOT_SYSTEM = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
SELECTOR = {"matchExpressions": [NOT_SYSTEM]}
IN_MAP = json.dumps({"namespaceSelector": SELECTOR})


def test_what_webhooks_leave_out(cel: Evaluator) -> None:
    """The ConfigMap is what one edits where it says so, else the configuration of webhooks itself."""
    hooks = webhooks(webhook(namespaceSelector=SELECTOR))
    path = "namespaceSelector[kubernetes.io/metadata.name NotIn]"
    for objects, through in (
        ([config_map(webhooks=IN_MAP)], f"ConfigMap/kyverno/kyverno/webhooks.{path}"),
        ([hooks, config_map(webhooks=IN_MAP)], f"ConfigMap/kyverno/kyverno/webhooks.{path}"),
        ([hooks], f"ValidatingWebhookConfiguration/kyverno-resource-validating-webhook-cfg/{path}"),
    ):
        (policy,) = policies(cluster_policy("c", BASELINE), *objects)
        assert out(policy, pod(SYSTEM), cel, SYSTEM) == [through]
        assert out(policy, pod(), cel) == []
        edits = [(change.key, change.new) for change in policy.exemptions[0].removal]
        (after,) = kyverno.policies(snapshot([cluster_policy("c", BASELINE), *objects]).replaced(edits))
        assert after.exemptions == ()


def test_webhooks_for_certain_namespaces_only(cel: Evaluator) -> None:
    """Where webhooks ask for a label, a policy is not meant for other namespaces."""
    hooks = webhooks(webhook(namespaceSelector={"matchLabels": {"team": "pay"}}))
    (policy,) = policies(cluster_policy("c", BASELINE), hooks)
    assert kyverno.variant(policy, SHOP) is None
    assert judged(policy, pod(), cel) == REFUSES


@pytest.mark.parametrize(
    ("objects", "enforces"),
    [
        ([], True),
        ([webhooks(webhook())], True),
        ([webhooks(webhook("vpol.validate.kyverno.svc-fail"))], False),
        ([webhooks(webhook(resources=["services"]))], False),
        ([webhooks()], False),
        ([webhooks(webhook(resources=["*"]))], True),
        ([controller("--forceFailurePolicyIgnore=true"), webhooks(webhook(failurePolicy="Ignore"))], True),
    ],
)
def test_whether_anything_asks_kyverno(objects: list[Object], enforces: bool) -> None:
    """In a folder it is asked; where webhooks are there, one of them must be for the policy."""
    (policy,) = policies(cluster_policy("c", BASELINE), *objects)
    assert policy.enforces is enforces


def test_a_webhook_whose_service_is_gone() -> None:
    """Nothing answers: what fails closed refuses all the same, what fails open refuses nothing."""
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
              "metadata": {"name": "x", "namespace": "default"}}  # fmt: skip
    for action, enforces in (("Fail", True), ("Ignore", False)):
        hooks = webhooks(webhook(failurePolicy=action))
        (policy,) = policies(cluster_policy("c", BASELINE, failurePolicy=action), hooks, slices)
        assert (policy.up, policy.open, policy.enforces) == (False, action == "Ignore", enforces)


def test_a_gap_in_webhooks_is_unknown() -> None:
    """Forbidden is not absent."""
    gap = Gap("validatingwebhookconfigurations.admissionregistration.k8s.io", "", "forbidden", "no")
    there: Snapshot = snapshot([cluster_policy("c", BASELINE, failurePolicy="Ignore")], gaps=[gap])
    (policy,) = kyverno.policies(there)
    assert policy.enforces is None


def test_another_config_map_or_none_filters_nothing(cel: Evaluator) -> None:
    """Without its ConfigMap Kyverno filters nothing, the chart's defaults neither."""
    (policy,) = policies(cluster_policy("c", BASELINE))
    assert (policy.exemptions, judged(policy, pod(SYSTEM), cel, SYSTEM)) == ((), REFUSES)


# Shapes and cost -----------------------------------------------------------------------------------------------------

ODD: Sequence[Any] = ("x", 1, None, [], [1], {"a": 1}, ["x", {"any": 1}], True)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_shape_raises(cel: Evaluator, odd: Any) -> None:
    """What no schema holds for is read as far as it can be."""
    rules = [rule(match=odd, exclude=odd, preconditions=odd, podSecurity=odd, pattern=odd), rule(pattern=odd),
             rule(anyPattern=odd), rule(cel=odd), rule(podSecurity=pod_security(exclude=odd)), odd,
             rule(exclude={"any": odd}), rule(match={"any": [{"resources": odd, "subjects": odd}]}),
             rule(match={"any": [{"resources": {"kinds": odd, "selector": odd, "namespaces": odd, "annotations": odd,
                                                "namespaceSelector": odd, "names": odd, "operations": odd}}]},
                  pattern={})]  # fmt: skip
    objects = [cluster_policy("c", *rules, validationFailureActionOverrides=odd, webhookConfiguration=odd),
               cluster_policy("d", rules=odd), cluster_policy("e", *rules, namespace="pay"),
               validating_policy("v", matchConstraints=odd, matchConditions=odd, variables=odd, autogen=odd),
               validating_policy("w", validations=odd, validationActions=odd, evaluation=odd, auditAnnotations=odd),
               config_map(resourceFilters="[,,] [a,b,c,d] ]", webhooks="{", matchConditions="[1]")]  # fmt: skip
    for policy in policies(*objects):
        for space in (PAY, SHOP, Space("", {}, {})):
            judged(policy, pod(space), cel, space)
    assert isinstance([*kyverno.gaps(snapshot(objects))], list)


def test_namespaces_that_nothing_tells_apart_share_a_variant() -> None:
    """So that each is not asked for itself."""
    exclude = {"any": [{"resources": {"namespaces": ["a"]}}]}
    (policy,) = policies(cluster_policy("c", rule(exclude=exclude, podSecurity=pod_security())))
    assert kyverno.variant(policy, PAY) == kyverno.variant(policy, SHOP)
    assert kyverno.variant(policy, Space.of("a", None)) != kyverno.variant(policy, SHOP)


def test_an_expression_about_the_namespace_tells_namespaces_apart() -> None:
    """Its answer is not shared."""
    (policy,) = policies(validating_policy("v", "namespaceObject.metadata.labels.team == 'pay'"))
    assert kyverno.variant(policy, PAY) != kyverno.variant(policy, SHOP)


def test_an_unknown_namespace_is_unknown(cel: Evaluator) -> None:
    """A selector of namespaces says nothing of one that nobody knows."""
    match = {"any": [{"resources": {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {"team": "pay"}}}}]}
    (policy,) = policies(cluster_policy("c", rule(match=match, podSecurity=pod_security())))
    request = replace(pod(), namespace_object=None)
    assert kyverno.judged([Asked(policy, request, NONE)], cel)[0].refuses is None


def test_an_engine_that_is_not_there_costs_nothing() -> None:
    """No policies, no gaps, no strays."""
    empty = snapshot([namespace("pay")])
    assert ([*kyverno.policies(empty)], [*kyverno.gaps(empty)], [*kyverno.strays(empty)]) == ([], [], [])
