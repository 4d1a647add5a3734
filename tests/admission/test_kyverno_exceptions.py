"""Kyverno's exceptions: which are read, what they take out, and those that take nothing out as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Evaluator
from posture.admission.engines import kyverno
from posture.admission.policy import ADMITS, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import Request, pod_creation
from posture.cel import Process
from posture.model import Through
from tests.generator.kyverno import (
    cel_exception,
    cluster_policy,
    controller,
    exception,
    pod_security,
    rule,
    validating_policy,
)
from tests.generator.objects import Object, snapshot

PAY = Space.of("pay", {"labels": {"team": "pay"}})
SHOP = Space.of("shop", {"labels": {"team": "shop"}})
NOW = "2026-11-21T12:00:00Z"


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def pod(space: Space = PAY, *, labels: Any = None, image: str = "web:1", **security: Any) -> Request:
    """The creation of a pod whose container is privileged, or has another security context."""
    container = {"name": "a", "image": image, "securityContext": security or {"privileged": True}}
    made = {"metadata": {"name": "p", "labels": labels or {}}, "spec": {"containers": [container]}}
    return pod_creation(made, space.name, space.object, user="somebody", groups=("system:authenticated",))


def policy_of(*objects: Object, **settings: Any) -> Policy:
    """The one policy of some objects, at a moment."""
    (found,) = kyverno.policies(replace(snapshot(objects), settings={"now": NOW} | settings))
    return found


def judged(policy: Policy, request: Request, cel: Evaluator, space: Space = PAY) -> Verdict:
    """The verdict with all exemptions of the namespace."""
    variant = kyverno.variant(policy, space)
    assert variant is not None
    return kyverno.judged([Asked(policy, request, variant.exemptions)], cel)[0]


BASELINE = rule(podSecurity=pod_security())
LEGACY, VPOL = cluster_policy("c", BASELINE), validating_policy("v")
ENABLED = "--enablePolicyException=true"


# Which are read ------------------------------------------------------------------------------------------------------

OFF = "Kyverno runs without --enablePolicyException"
ELSEWHERE = "Kyverno reads exceptions only in namespace other"
NOWHERE = "Kyverno reads exceptions of kyverno.io only with --exceptionNamespace"


@pytest.mark.parametrize(
    ("arguments", "legacy", "cel_"),
    [
        (None, "", ""),
        ((), OFF, OFF),
        (("--enablePolicyException=false", "--exceptionNamespace=*"), OFF, OFF),
        ((ENABLED, "--exceptionNamespace=other"), ELSEWHERE, ELSEWHERE),
        ((ENABLED, "--exceptionNamespace=exceptions"), "", ""),
        ((ENABLED, "--exceptionNamespace", "exceptions"), "", ""),
        ((ENABLED, "--exceptionNamespace=*"), "", ""),
        (("--enablePolicyException", "--exceptionNamespace=*"), "", ""),
        ((ENABLED,), NOWHERE, ""),
        ((ENABLED, "--exceptionNamespace="), NOWHERE, ""),
    ],
)
def test_which_exceptions_kyverno_reads(
    cel: Evaluator, arguments: tuple[str, ...] | None, legacy: str, cel_: str
) -> None:
    """kyverno#7355: in another namespace they are inert. With no namespace only those of policies.kyverno.io count."""
    beside = [] if arguments is None else [controller(*arguments)]
    for made, given, idle in ((LEGACY, exception("e", "c"), legacy), (VPOL, cel_exception("e", "v"), cel_)):
        policy = policy_of(made, given, *beside)
        (exemption,) = policy.exemptions
        assert exemption.idle == idle
        assert judged(policy, pod(), cel) == (REFUSES if idle else Verdict(False, "", frozenset({0})))


def test_other_controllers_of_kyverno_say_nothing_of_admission() -> None:
    """The background controller has flags of its own."""
    other = controller(ENABLED, "--exceptionNamespace=other")
    other["metadata"] = {**other["metadata"], "name": "kyverno-background-controller",
                         "labels": {"app.kubernetes.io/component": "background-controller"}}  # fmt: skip
    assert policy_of(LEGACY, exception("e", "c"), other).exemptions[0].idle == ""


# Of policies.kyverno.io ----------------------------------------------------------------------------------------------


def test_an_exception_without_conditions_takes_everything_everywhere_out(cel: Evaluator) -> None:
    """Its own namespace does not limit it, and nothing else does."""
    policy = policy_of(VPOL, cel_exception("e", "v"))
    (exemption,) = policy.exemptions
    assert (exemption.through, exemption.what) == (
        Through("PolicyException", "exceptions", "e"), "excludes every resource everywhere"
    )  # fmt: skip
    for space in (PAY, SHOP):
        assert judged(policy, pod(space), cel, space).excused == {0}


@pytest.mark.parametrize(
    ("conditions", "more", "verdict"),
    [
        (["object.metadata.namespace == 'pay'"], {}, False),
        (["object.metadata.namespace == 'shop'"], {}, True),
        (["object.metadata.namespace in ['a', 'pay']"], {}, False),
        (["namespaceObject.metadata.labels.team == 'pay'"], {}, False),
        (["object.metadata.name == 'p'", "object.metadata.name == 'q'"], {}, True),
        (["object.spec.nope == 1"], {}, True),
        (["object.spec.nope == 1"], {"failurePolicy": "Ignore"}, True),
        (["object.spec.nope == 1", "false"], {}, True),
        (["resource.Get('v1', 'configmaps', 'a', 'b').x"], {}, None),
    ],
)
def test_conditions_of_an_exception(cel: Evaluator, conditions: list[str], more: Object, verdict: bool | None) -> None:
    """All must be true; an error refuses where the policy fails closed, and is passed over where it fails open."""
    policy = policy_of(validating_policy("v", **more), cel_exception("e", "v", conditions=conditions))
    assert judged(policy, pod(), cel).refuses is verdict


def test_a_condition_that_fails_refuses_even_what_the_policy_admits(cel: Evaluator) -> None:
    """The error comes before the policy is evaluated; with another exception nobody knows which comes first."""
    broken = cel_exception("broken", "v", conditions=["object.spec.nope == 1"])
    admits = validating_policy("v", "true")
    assert judged(policy_of(admits), pod(), cel) == ADMITS
    assert judged(policy_of(admits, broken), pod(), cel) == REFUSES
    assert judged(policy_of(VPOL, broken, cel_exception("e", "v")), pod(), cel).refuses is None


def test_exceptions_for_a_namespace_count_only_there(cel: Evaluator) -> None:
    """So that a thousand of them cost nothing elsewhere."""
    made = [cel_exception(f"e{n}", "v", conditions=[f"object.metadata.namespace == 'n{n}'"]) for n in range(50)]
    policy = policy_of(VPOL, *made)
    assert kyverno.variant(policy, PAY) == kyverno.variant(policy, SHOP)
    there = kyverno.variant(policy, Space.of("n7", None))
    assert there is not None
    assert [policy.exemptions[number].through.name for number in there.exemptions] == ["e7"]


READS = "object.spec.containers.all(c, c.image in exceptions.allowedImages || !c.securityContext.privileged)"
VALUES = "exceptions.allowedValues.exists(v, v == object.metadata.name)"


@pytest.mark.parametrize(
    ("expression", "more", "idle", "refused"),
    [
        (READS, {"images": ["web:1"]}, "", False),
        (READS, {"images": ["db:1"]}, "", True),
        (VALUES, {"allowedValues": ["p"]}, "", False),
        (VALUES, {"allowedValues": ["q"]}, "", True),
        (VALUES, {"images": ["web:1"]}, "ValidatingPolicy v does not read exceptions.allowedImages", True),
        ("false", {"allowedValues": ["p"]}, "ValidatingPolicy v does not read exceptions.allowedValues", True),
        ("false", {"images": [], "allowedValues": []}, "", False),
    ],
)
def test_partial_exceptions(cel: Evaluator, expression: str, more: Object, idle: str, refused: bool) -> None:
    """Images and values allow only what the policy itself reads of them."""
    policy = policy_of(validating_policy("v", expression), cel_exception("e", "v", **more))
    (exemption,) = policy.exemptions
    verdict = judged(policy, pod(), cel)
    assert (exemption.idle, verdict.refuses, bool(verdict.excused)) == (idle, refused, not refused)


@pytest.mark.parametrize(
    ("until", "expired"),
    [("2026-11-20T00:00:00Z", True), ("2026-11-22T00:00:00Z", False), ("2026-11-21T13:00:00+02:00", True),
     ("soon", False)],
)  # fmt: skip
def test_what_has_expired_is_denied_again(cel: Evaluator, until: str, expired: bool) -> None:
    """kyverno#17473: reports may say skip, admission denies."""
    policy = policy_of(VPOL, cel_exception("e", "v", expiresAt=until))
    (exemption,) = policy.exemptions
    assert exemption.expired is expired
    assert exemption.idle.startswith("expired 2026-11-2") is expired
    assert judged(policy, pod(), cel).refuses is expired
    assert exemption.given == ({} if until == "soon" else {"expires": until})


def test_without_a_time_nothing_expires() -> None:
    """Nobody says what time it is."""
    policy = policy_of(VPOL, cel_exception("e", "v", expiresAt="2020-01-01T00:00:00Z"), now="")
    assert not policy.exemptions[0].expired


def test_what_an_exception_says_of_itself() -> None:
    """Its properties and its end."""
    properties = {"reason": "old driver", "ticket": "SEC-1", "approved-by": "ann", "owner": "pay", "colour": "red"}
    policy = policy_of(VPOL, cel_exception("e", "v", properties=properties, reportResult="pass"))
    (exemption,) = policy.exemptions
    assert exemption.given == {"reason": "old driver", "ticket": "SEC-1", "approved": "ann", "owner": "pay"}
    assert exemption.what == "excludes every resource everywhere, and reports say pass"
    (removal,) = exemption.removal
    assert removal.new is None


# Of kyverno.io -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "request_", "excused"),
    [
        (exception("e", "c"), pod(), True),
        (exception("e", "c", "check"), pod(), True),
        (exception("e", "c", "ch*"), pod(), True),
        (exception("e", "c", match={"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["pay"]}}]}), pod(), True),
        (exception("e", "c", match={"any": [{"resources": {"kinds": ["Pod"], "namespaces": ["shop"]}}]}), pod(), False),
        (exception("e", "c", match={"any": [{"resources": {"kinds": ["Pod"], "names": ["p*"]}}]}), pod(), True),
        (exception("e", "c", match={"all": [{"resources": {"kinds": ["Pod"]}},
                                            {"resources": {"selector": {"matchLabels": {"a": "b"}}}}]}),
         pod(labels={"a": "b"}), True),
        (exception("e", "c", match={"any": [{"subjects": [{"kind": "User", "name": "somebody"}]}]}), pod(), True),
        (exception("e", "c", match={"any": []}), pod(), False),
    ],
)  # fmt: skip
def test_what_an_exception_matches(cel: Evaluator, given: Object, request_: Request, excused: bool) -> None:
    """By rule and by what it matches, wherever it stands itself."""
    verdict = judged(policy_of(LEGACY, given), request_, cel)
    assert verdict == (Verdict(False, "", frozenset({0})) if excused else REFUSES)


def test_conditions_in_jmespath_are_unknown(cel: Evaluator) -> None:
    """Whether such an exception applies nobody can say; where it does not match it surely does not."""
    conditions = {"any": [{"key": "{{ request.object.x }}", "operator": "Equals", "value": "y"}]}
    assert judged(policy_of(LEGACY, exception("e", "c", conditions=conditions)), pod(), cel).refuses is None
    match = {"any": [{"resources": {"kinds": ["Pod"], "names": ["q"]}}]}
    given = exception("e", "c", conditions=conditions, match=match)
    assert judged(policy_of(LEGACY, given), pod(), cel) == REFUSES


def test_an_exception_from_some_controls(cel: Evaluator) -> None:
    """Of a rule with podSecurity it leaves out only what it names; several come together; other rules it skips."""
    privileged = exception("one", "c", podSecurity=[{"controlName": "Privileged Containers", "images": ["*"]}])
    capabilities = exception("two", "c", podSecurity=[{"controlName": "Capabilities", "images": ["*"]}])
    both = pod(privileged=True, capabilities={"add": ["NET_RAW"]})
    assert judged(policy_of(LEGACY, privileged), pod(), cel).excused == {0}
    assert judged(policy_of(LEGACY, privileged), both, cel) == REFUSES
    assert judged(policy_of(LEGACY, privileged, capabilities), both, cel) == Verdict(False, "", frozenset({0, 1}))
    assert judged(policy_of(LEGACY, capabilities), pod(), cel) == REFUSES
    patterned = cluster_policy("c", rule(pattern={"metadata": {"name": "q"}}))
    assert judged(policy_of(patterned, privileged), pod(), cel).excused == {0}


def test_an_exception_for_a_policy_in_a_namespace(cel: Evaluator) -> None:
    """It names the namespace before the policy."""
    local = cluster_policy("c", BASELINE, namespace="pay")
    assert judged(policy_of(local, exception("e", "pay/c")), pod(), cel).excused == {0}
    assert policy_of(local, exception("e", "c")).exemptions == ()


def test_an_exception_that_names_only_rules_for_controllers_leaves_pods_refused(cel: Evaluator) -> None:
    """Kyverno names the rules that it makes for controllers autogen-… and autogen-cronjob-…"""
    for names in (("autogen-check",), ("autogen-cronjob-check", "autogen-check"), ("autogen-*",)):
        policy = policy_of(LEGACY, exception("e", "c", *names))
        assert policy.exemptions[0].idle == "it names only rules for the controllers of pods"
        assert judged(policy, pod(), cel) == REFUSES
    assert judged(policy_of(LEGACY, exception("e", "c", "check", "autogen-check")), pod(), cel).excused == {0}


def test_a_label_by_which_a_tenant_excuses_himself_is_named() -> None:
    """Whoever makes the pod may set it."""
    match = {"any": [{"resources": {"kinds": ["Pod"], "selector": {"matchLabels": {"skip": "yes"}}}}]}
    assert policy_of(LEGACY, exception("e", "c", match=match)).exemptions[0].labels == ("skip=yes",)


# Of no policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        (exception("e", "gone"), "there is no policy gone"),
        (exception("e", "pay/c"), "there is no policy pay/c"),
        (exception("e", "c", "nope", "autogen-nope"), "policy c has no rule nope, autogen-nope"),
        (exception("e", "c"), None),
        (cel_exception("e", "gone"), "there is no ValidatingPolicy gone"),
        (cel_exception("e", "NamespacedValidatingPolicy/v"), "there is no NamespacedValidatingPolicy v"),
        (cel_exception("e", "gone", "v"), None),
        (cel_exception("e", "DeletingPolicy/x"), None),
    ],
)
def test_exceptions_of_no_policy(given: Object, idle: str | None) -> None:
    """An exception none of whose policies or rules is there is told, with what is missing."""
    strays = [*kyverno.strays(snapshot([LEGACY, VPOL, given]))]
    assert [(one.through, one.idle) for one in strays] == (
        [] if idle is None else [(Through("PolicyException", "exceptions", "e"), idle)]
    )


ODD: tuple[Any, ...] = ("x", 1, None, [], [1], {"a": 1}, ["x", {"any": 1}], True)


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_no_shape_of_an_exception_raises(cel: Evaluator, odd: Any) -> None:
    """What no schema holds for is read as far as it can be."""
    given = [
        exception("a", "c", match=odd or {"any": odd}, podSecurity=odd, conditions=odd),
        exception("b", "c", exceptions=odd), exception("d", "c", match={"any": odd}),
        cel_exception("a", "v", matchConditions=odd, images=odd, properties=odd),
        cel_exception("b", "v", policyRefs=odd, expiresAt=odd),
        cel_exception("f", "v", allowedValues=odd, expiresAt=odd),
    ]  # fmt: skip
    made = replace(snapshot([LEGACY, VPOL, *given]), settings={"now": NOW})
    for policy in kyverno.policies(made):
        judged(policy, pod(), cel)
    assert isinstance([*kyverno.strays(made)], list)
