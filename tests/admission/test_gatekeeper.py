"""Gatekeeper: what a constraint refuses, where it does not, and why. See test_gatekeeper_exemptions.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Missing
from posture.admission.engines import gatekeeper
from posture.admission.engines.gatekeeper.webhook import CONFIGS, CONFIGURATIONS
from posture.admission.policy import ADMITS, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import NAMESPACES, Request, Resource, pod_creation
from posture.cel import Process
from posture.model import Gap, Snapshot, Through
from tests.generator.gatekeeper import (
    IMAGES,
    TEMPLATES,
    WEBHOOK,
    config,
    constraint,
    excluding,
    pods_rule,
    rego,
    template,
    template_of,
    webhook,
)
from tests.generator.objects import Object, namespace, snapshot

PAY = namespace("pay", team="pay")
SLICE: Object = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "a", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
    "endpoints": [{"conditions": {"ready": True}}],
}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def space(raw: Object = PAY) -> Space:
    """A namespace as requests are made in it."""
    return Space.of(raw["metadata"]["name"], {"labels": raw["metadata"].get("labels")})


def pod(spec: Object | None = None, raw: Object = PAY, labels: dict[str, str] | None = None, **more: Any) -> Request:
    """The creation of a pod; `spec` is added to one container, `containers` replaces it."""
    given = {"containers": [{"name": "a", "image": "x"}], **(spec or {})}
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels or {}}, "spec": given}
    return pod_creation(one, raw["metadata"]["name"], space(raw).object, **more)


def container(image: str = "x", **security: Any) -> Object:
    """A container with a security context."""
    return {"name": image.replace("/", "-"), "image": image, "securityContext": security}


PRIVILEGED = {"containers": [container(privileged=True)]}


def only(objects: list[Object], gaps: tuple[Gap, ...] = ()) -> Policy:
    """The one policy of a cluster."""
    (found,) = gatekeeper.policies(snapshot(objects, gaps))
    return found


def verdict(policy: Policy, request: Request, cel: Process, raw: Object = PAY) -> Verdict:
    """The answer with all exemptions of the namespace in force; what is not meant for it admits."""
    found = gatekeeper.variant(policy, space(raw))
    if found is None:
        return ADMITS
    return gatekeeper.judged([Asked(policy, request, found.exemptions)], cel)[0]


def asked(constrained: Object, request: Request, cel: Process, *more: Object) -> Verdict:
    """The answer of one constraint, whose template is one of ours."""
    return verdict(only([PAY, TEMPLATES[constrained["kind"]], constrained, *more]), request, cel)


# What is refused ----------------------------------------------------------------------------------------------------

DROPPED: Object = {"capabilities": {"drop": ["ALL"]}}
HOST = {"volumes": [{"name": "v", "hostPath": {"path": "/var/log/app"}}]}


@pytest.mark.parametrize(
    ("kind", "parameters", "spec", "refuses"),
    [
        ("Privileged", {}, {}, False),
        ("Privileged", {}, PRIVILEGED, True),
        ("Privileged", {}, {"containers": [container(privileged=False)]}, False),
        ("Privileged", {}, {"initContainers": [container("i", privileged=True)]}, True),
        ("Privileged", {"exemptImages": ["x"]}, PRIVILEGED, False),
        ("Privileged", {"exemptImages": ["y"]}, PRIVILEGED, True),
        ("Privileged", None, PRIVILEGED, True),
        ("Privileged", None, {}, False),
        ("HostNetwork", {}, {"hostNetwork": True}, True),
        ("HostNetwork", {}, {}, False),
        ("HostNetwork", {"hostNetwork": True}, {"hostNetwork": True}, False),
        ("HostFilesystem", {}, HOST, True),
        ("HostFilesystem", {}, {"volumes": [{"name": "v", "emptyDir": {}}]}, False),
        ("HostFilesystem", {"allowedHostPaths": [{"pathPrefix": "/var/log"}]}, HOST, False),
        ("HostFilesystem", {"allowedHostPaths": [{"pathPrefix": "/etc"}]}, HOST, True),
        ("Capabilities", {"allowedCapabilities": [], "requiredDropCapabilities": ["ALL"]}, {}, True),
        ("Capabilities", {"allowedCapabilities": [], "requiredDropCapabilities": ["ALL"]},
         {"containers": [container(**DROPPED)]}, False),
        ("Capabilities", {"allowedCapabilities": ["CHOWN"], "requiredDropCapabilities": []},
         {"containers": [container(capabilities={"add": ["CHOWN"]})]}, False),
        ("Capabilities", {"allowedCapabilities": ["CHOWN"], "requiredDropCapabilities": []},
         {"containers": [container(capabilities={"add": ["CHOWN", "SYS_ADMIN"]})]}, True),
        ("Capabilities", {"requiredDropCapabilities": []}, {"containers": [container(capabilities={"add": ["A"]})]},
         True),
        ("Escalation", {}, {}, True),
        ("Escalation", {}, {"containers": [container(allowPrivilegeEscalation=False)]}, False),
        ("Escalation", {}, {"containers": [container(allowPrivilegeEscalation=True)]}, True),
    ],
)  # fmt: skip
def test_templates_in_cel(kind: str, parameters: Object | None, spec: Object, refuses: bool, cel: Process) -> None:
    """A template's validations decide, with the constraint's parameters."""
    found = asked(constraint(kind, parameters=parameters), pod(spec), cel)
    assert found.refuses is refuses, found.why


def test_parameters_have_the_defaults_of_their_schema(cel: Process) -> None:
    """As the server and Gatekeeper fill them in, at any depth."""
    inner = {"type": "object", "properties": {"max": {"type": "integer", "default": 1}}}
    schema = {"type": "object", "default": {}, "properties": {"rules": {"type": "array", "items": inner}}}
    made = template("Deep", "variables.params.rules.all(r, r.max > 1)", schema=schema)
    few = constraint("Deep", parameters={"rules": [{"max": 2}, {}]})
    many = constraint("Deep", parameters={"rules": [{"max": 2}]})
    assert [verdict(only([PAY, made, one]), pod(), cel) for one in (few, many)] == [REFUSES, ADMITS]
    absent = template("Absent", "size(variables.params) == 0", schema=schema)
    assert verdict(only([PAY, absent, constraint("Absent")]), pod(), cel) == ADMITS


@pytest.mark.parametrize(
    ("expression", "refuses"),
    [
        ("variables.params == null", False),
        ("!has(variables.params.x)", False),
        ("!variables.params.?x.hasValue()", False),
        ("has(variables.params.x)", True),
        ("variables.params.x == 1", True),
        ("size(variables.params) == 0", True),
        ("variables.params == null && !has(variables.params.x)", None),  # true, which is not told from an error here
    ],
)
def test_absent_parameters_are_null(expression: str, refuses: bool | None, cel: Process) -> None:
    """Which has no fields; what else is asked of it is an error."""
    assert verdict(only([PAY, template("T", expression), constraint("T")]), pod(), cel).refuses is refuses


@pytest.mark.parametrize(
    ("policy", "expression", "refuses"),
    [
        ("Fail", "object.spec.nope.nope == 1", True),
        ("Ignore", "object.spec.nope.nope == 1", False),
        (None, "object.spec.nope.nope == 1", True),
        ("Ignore", "object.spec.hostPID", False),
        ("Ignore", "false", True),
    ],
)
def test_errors_refuse_unless_the_template_ignores_them(
    policy: str | None, expression: str, refuses: bool, cel: Process
) -> None:
    """The template's failure policy, whatever the webhook's is."""
    source: Object = {"failurePolicy": policy} if policy else {}
    made = template("T", expression, **source)
    assert verdict(only([PAY, made, constraint("T")]), pod(), cel).refuses is refuses


def test_deletions_are_judged_by_the_old_object(cel: Process) -> None:
    """`anyObject` is the old one, `object` null, and matching looks at the old one."""
    hook = webhook(rules=[pods_rule("pods", operations=["DELETE"])])
    made = template("T", "variables.anyObject.metadata.name != 'p' || object != null")
    one = pod()
    gone = replace(one, operation="DELETE", object=None, old=one.object)
    policy = only([PAY, hook, made, constraint("T")])
    assert [verdict(policy, request, cel) for request in (gone, one)] == [REFUSES, ADMITS]


@pytest.mark.parametrize(
    ("operations", "refuses"), [([], True), (["CREATE"], True), (["UPDATE"], False), (["*"], True), (["DELETE"], False)]
)
def test_operations_of_a_template(operations: list[str], refuses: bool, cel: Process) -> None:
    """A template may name the operations that it is for."""
    code = [{"engine": "K8sNativeValidation", "source": {"validations": [{"expression": "false"}]}}]
    made = template_of("T", code, operations=operations)
    assert verdict(only([PAY, made, constraint("T")]), pod(), cel).refuses is refuses


def test_what_gatekeeper_sees_of_a_namespace(cel: Process) -> None:
    """A namespace is an object outside of any: its request has none, and there is no namespaceObject."""
    made = template("T", "!has(request.namespace) && namespaceObject == null && object.metadata.name == 'pay'")
    request = Request("CREATE", NAMESPACES, "", "pay", "pay", PAY)
    assert verdict(only([made, constraint("T", match={})]), request, cel) == ADMITS
    inside = template("T", "request.namespace == 'pay' && namespaceObject.metadata.labels.team == 'pay'")
    assert verdict(only([inside, constraint("T", match={})]), pod(), cel) == ADMITS


# What is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "refuses"),
    [
        ({}, True),
        ({"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}]}, True),
        ({"kinds": [{"kinds": ["Pod"]}]}, True),
        ({"kinds": [{"apiGroups": ["*"], "kinds": ["*"]}]}, True),
        ({"kinds": [{"apiGroups": ["apps"], "kinds": ["Pod"]}]}, False),
        ({"kinds": [{"apiGroups": ["apps"], "kinds": ["Deployment"]}, {"kinds": ["Pod"]}]}, True),
        ({"scope": "Namespaced"}, True),
        ({"scope": "Cluster"}, False),
        ({"scope": "cluster"}, True),
        ({"scope": "Namespace"}, True),
        ({"namespaces": ["pay"]}, True),
        ({"namespaces": ["pa*"]}, True),
        ({"namespaces": ["*ay"]}, True),
        ({"namespaces": ["*a*"]}, True),
        ({"namespaces": ["p*y"]}, False),
        ({"namespaces": ["shop", "x*"]}, False),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "shop"}}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}}, False),
        ({"name": "p"}, True),
        ({"name": "p*"}, True),
        ({"name": "q*"}, False),
        ({"source": "Original"}, True),
        ({"source": "All"}, True),
        ({"source": "Generated"}, False),
    ],
)
def test_match(match: Object, refuses: bool, cel: Process) -> None:
    """`*` counts at the front and at the end of a name; a scope that is none is no scope."""
    found = verdict(only([PAY, template("T", "false"), constraint("T", match=match)]), pod(), cel)
    assert found == (REFUSES if refuses else ADMITS)


@pytest.mark.parametrize(
    ("match", "refuses"),
    [
        ({"scope": "Cluster"}, True),
        ({"scope": "Namespaced"}, False),
        ({"namespaces": ["pay"]}, True),
        ({"namespaces": ["shop"]}, False),
        ({"namespaceSelector": {"matchLabels": {"team": "pay"}}}, True),
        ({"excludedNamespaces": ["pay"]}, False),
    ],
)
def test_match_of_namespaces_themselves(match: Object, refuses: bool, cel: Process) -> None:
    """A namespace is cluster-scoped, and in itself as far as names and labels of namespaces are concerned."""
    request = Request("CREATE", NAMESPACES, "", "pay", "pay", PAY)
    policy = only([template("T", "false"), constraint("T", match=match)])
    assert verdict(policy, request, cel).refuses is refuses


def test_objects_outside_of_namespaces_have_none(cel: Process) -> None:
    """No rule on namespaces narrows what it asks of them."""
    match = {"namespaces": ["pay"], "namespaceSelector": {"matchLabels": {"team": "pay"}}}
    policy = only([PAY, template("T", "false"), constraint("T", match=match)])
    role: Object = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}}
    request = Request("CREATE", Resource("rbac.authorization.k8s.io", "v1", "clusterroles"), "", "", "r", role)
    outside = gatekeeper.variant(policy, Space("", {}, {}))
    assert outside is not None
    assert outside != gatekeeper.variant(policy, space())
    assert gatekeeper.judged([Asked(policy, request)], cel) == [REFUSES]


EPHEMERAL = {"ephemeralContainers": [container("debug", privileged=True)]}


def test_templates_that_skip_updates_admit_ephemeral_containers(cel: Process) -> None:
    """They are added by an UPDATE of `pods/ephemeralcontainers`, which the webhook is asked about."""
    request = replace(pod(EPHEMERAL), operation="UPDATE", subresource="ephemeralcontainers", old=pod().object)
    assert asked(constraint("Privileged", parameters={}), request, cel, webhook()) == ADMITS
    assert asked(constraint("Escalation", parameters={}), request, cel, webhook()) == REFUSES


@pytest.mark.parametrize(
    ("hook", "refuses"),
    [
        ([], True),  # a folder: the chart's
        ([webhook()], True),
        ([webhook(rules=[pods_rule("pods")])], False),
        ([webhook(rules=[pods_rule("*")])], False),
        ([webhook(rules=[pods_rule("*/*")])], True),
        ([webhook(rules=[pods_rule("pods/*", operations=["CREATE"])])], False),
        ([webhook(rules=[])], False),
    ],
)
def test_the_webhook_is_asked_by_its_rules(hook: list[Object], refuses: bool, cel: Process) -> None:
    """What its rules do not select nobody asks Gatekeeper about: here ephemeral containers."""
    request = replace(pod(EPHEMERAL), operation="UPDATE", subresource="ephemeralcontainers", old=pod().object)
    assert asked(constraint("Escalation", parameters={}), request, cel, *hook).refuses is refuses


def test_only_one_webhook_of_the_configuration_asks_about_constraints(cel: Process) -> None:
    """Another one guards the label by which namespaces are left out."""
    hook = webhook()
    hook["webhooks"].insert(0, hook["webhooks"][0] | {"name": "check-ignore-label.gatekeeper.sh", "rules": []})
    assert asked(constraint("Escalation", parameters={}), pod(), cel, hook) == REFUSES


@pytest.mark.parametrize(("pattern", "refuses"), [("web-*", True), ("web-", False), ("*b-", False), ("*b-*", True)])
def test_names_that_the_server_makes_up(pattern: str, refuses: bool, cel: Process) -> None:
    """A pattern that ends with `*` matches what they begin with too."""
    one = pod()
    assert one.object is not None
    made = replace(one, object={**one.object, "metadata": {"name": "", "generateName": "web-", "namespace": "pay"}})
    policy = only([PAY, template("T", "false"), constraint("T", match={"name": pattern})])
    assert verdict(policy, made, cel).refuses is refuses


def test_no_webhook_ever_sees_webhooks(cel: Process) -> None:
    """Nor policies: whoever may write them is outside of admission."""
    policy = only([template("T", "false"), constraint("T", match={})])
    resource = Resource("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
    request = Request("UPDATE", resource, "", "", "w", {"metadata": {"name": "w"}})
    assert gatekeeper.judged([Asked(policy, request)], cel) == [ADMITS]


# Actions, and whether it answers ------------------------------------------------------------------------------------


ABSENT = "Service gatekeeper-system/gatekeeper-webhook-service does not exist"
OUTSIDE = "answers at a URL outside the cluster"


def scoped(action: str, *points: str) -> Object:
    """An item of scopedEnforcementActions."""
    return {"action": action, "enforcementPoints": [{"name": point} for point in points]}


@pytest.mark.parametrize(
    ("spec", "denies"),
    [
        ({}, True),
        ({"enforcementAction": "deny"}, True),
        ({"enforcementAction": "warn"}, False),
        ({"enforcementAction": "dryrun"}, False),
        ({"enforcementAction": "Deny"}, False),
        ({"enforcementAction": ["deny"]}, False),
        ({"enforcementAction": "scoped"}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [scoped("deny", WEBHOOK)]}, True),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [scoped("deny", "*")]}, True),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [scoped("warn", "*")]}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [scoped("deny", "audit.gatekeeper.sh")]}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [scoped("deny", "vap.k8s.io")]}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": [
            scoped("warn", WEBHOOK), scoped("deny", "gator.gatekeeper.sh", "*")]}, True),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": "deny"}, False),
        ({"scopedEnforcementActions": [scoped("warn", "*")]}, True),
        ({"enforcementAction": "dryrun", "scopedEnforcementActions": [scoped("deny", "*")]}, False),
    ],
)  # fmt: skip
def test_actions(spec: Object, denies: bool) -> None:
    """Only `deny` refuses; scoped actions count where the action is `scoped`, at the webhook's point or all."""
    assert only([TEMPLATES["Privileged"], constraint("Privileged", **spec)]).denies is denies


def test_a_policy_is_its_constraint() -> None:
    """It is what one edits; the template and the webhook decide too."""
    objects = [TEMPLATES["Privileged"], webhook(), constraint("Privileged", "b"), constraint("Privileged", "a")]
    found = list(gatekeeper.policies(snapshot(objects)))
    assert [one.through for one in found] == [Through("Privileged", "", "a"), Through("Privileged", "", "b")]
    assert [key.name for key in found[0].keys][:3] == [
        "Privileged/a", "privileged", "gatekeeper-validating-webhook-configuration",
    ]  # fmt: skip
    assert not list(gatekeeper.policies(snapshot([PAY, webhook()])))


def test_equal_content_is_what_refuses_alike() -> None:
    """Where it applies, its action and its exemptions are no part of it; parameters and expressions are."""
    same = [
        constraint("Privileged", parameters={}),
        constraint("Privileged", parameters={"exemptImages": ["a"]}, enforcementAction="warn"),
        constraint("Privileged", parameters={}, match={"kinds": [{"apiGroups": [""], "kinds": ["Pod"]}],
                                                       "excludedNamespaces": ["a"], "namespaces": ["b"]}),
    ]  # fmt: skip
    other = [constraint("Privileged", parameters={"x": 1}), constraint("Privileged", parameters={}, match={})]
    found = [only([TEMPLATES["Privileged"], one]).content for one in (*same, *other)]
    assert len(set(found[:3])) == 1
    assert len(set(found)) == 3
    changed = template("Privileged", "true")
    assert only([changed, same[0]]).content not in found


REGO = {"engine": "Rego", "source": {}}
NATIVE = {"engine": "K8sNativeValidation", "source": {"validations": [{"expression": "false"}]}}


def test_with_two_languages_only_cel_counts(cel: Process) -> None:
    """There is no way back to Rego, in whatever order they stand."""
    for code in ([REGO, NATIVE], [NATIVE, REGO]):
        policy = only([PAY, template_of("T", code), constraint("T")])
        assert not policy.opaque
        assert verdict(policy, pod(), cel) == REFUSES


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (rego("T"), "its template is written in Rego"),
        (template_of("T", [], rego="package a"), "its template is written in Rego"),
        (template_of("T", [{"engine": "Other", "source": {}}]), "its template is in no language that is known here"),
        (template("T", "params.spec.x == 1"), "its template reads params otherwise than as variables.params"),
    ],
)
def test_opaque_templates(made: Object, why: str, cel: Process) -> None:
    """Nobody can say what they refuse; whom they are not asked about is still known."""
    match = {"excludedNamespaces": ["shop"]}
    policy = only([PAY, made, constraint("T", match=match)])
    assert policy.opaque == why
    assert policy.enforces
    assert verdict(policy, pod(), cel) == Verdict(None, why)
    shop = namespace("shop")
    assert verdict(policy, pod(raw=shop), cel, shop).refuses is False
    assert [gap.message for gap in gatekeeper.gaps(snapshot([made, constraint("T")]))] == [
        f"what 1 constraint of Gatekeeper refuses is unknown: {why}"
    ]


def test_what_does_not_compile_is_unknown(cel: Process) -> None:
    """No server says what Gatekeeper makes of it."""
    found = verdict(only([PAY, template("T", "object.("), constraint("T")]), pod(), cel)
    assert found.refuses is None
    assert "does not compile" in found.why


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([], "its template does not exist"),
        ([template("Other", "false")], "its template does not exist"),
        ([template_of("T", [NATIVE], target="other")], "its template has no target admission.k8s.gatekeeper.sh alone"),
        ([template("T", "false", failurePolicy="Open")],
         "Gatekeeper does not take its template: its source is not valid"),
        ([template("T", "false", variables=[("params", "1")])],
         "Gatekeeper does not take its template: a name in it is reserved"),
        ([template("T", "false") | {"status": {"created": False}}], "Gatekeeper has not taken its template"),
    ],
)  # fmt: skip
def test_a_constraint_without_its_template_refuses_nothing(made: list[Object], why: str) -> None:
    """Even where the webhook fails closed: that is answered."""
    policy = only([PAY, *made, constraint("T"), webhook(failurePolicy="Fail")])
    assert (policy.up, policy.why, policy.enforces) == (False, why, False)


def test_a_template_that_a_server_has_and_nobody_took() -> None:
    """`created` is left out where it is false, and where nobody writes the status."""
    made = template("T", "false")
    made["metadata"]["uid"] = "1"
    assert only([made, constraint("T")]).enforces is None
    assert only([made | {"status": {"created": True}}, constraint("T")]).enforces is True
    assert only([made, constraint("T"), SLICE]).enforces is False


@pytest.mark.parametrize(
    ("more", "up", "enforces", "why"),
    [
        ([], True, True, ""),  # a folder
        ([SLICE], False, False, "no webhook asks Gatekeeper"),
        ([webhook()], True, True, ""),
        ([SLICE, webhook()], False, False, ABSENT),
        ([SLICE, webhook(failurePolicy="Fail")], False, True, ABSENT),
        ([webhook(clientConfig={"url": "https://x.example"})], None, None, OUTSIDE),
        ([webhook(clientConfig={"url": "https://x.example"}, failurePolicy="Fail")], None, True, OUTSIDE),
    ],
)
def test_whether_it_answers(more: list[Object], up: bool | None, enforces: bool | None, why: str) -> None:
    """A webhook that fails open and does not answer enforces nothing."""
    policy = only([TEMPLATES["Privileged"], constraint("Privileged"), *more])
    assert (policy.up, policy.enforces, policy.why) == (up, enforces, why)


def test_what_could_not_be_read_is_unknown(cel: Process) -> None:
    """A gap is never an absence: of the Config, of the webhook, of a template."""
    objects = [PAY, template("T", "false"), constraint("T")]
    for resource in (CONFIGS, CONFIGURATIONS):
        policy = only(objects, (Gap(resource, "", "forbidden", "forbidden"),))
        found = gatekeeper.variant(policy, space())
        assert found is not None
        assert found.why == f"{resource}: forbidden"
        assert verdict(policy, pod(), cel) == Verdict(None, f"{resource}: forbidden")
    policy = only(objects[-1:], (Gap(gatekeeper.TEMPLATES, "", "forbidden", "forbidden"),))
    assert policy.opaque == "its template: forbidden"
    assert policy.enforces


def test_what_is_expanded_is_unknown(cel: Process) -> None:
    """A workload is judged by the pods that an ExpansionTemplate makes of it too."""
    expansion: Object = {
        "apiVersion": "expansion.gatekeeper.sh/v1beta1",
        "kind": "ExpansionTemplate",
        "metadata": {"name": "e"},
        "spec": {"applyTo": [{"groups": ["apps"], "versions": ["v1"], "kinds": ["Deployment"]}]},
    }
    one = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "pay"}}
    request = Request("CREATE", Resource("apps", "v1", "deployments"), "", "pay", "d", one,
                      namespace_object=space().object)  # fmt: skip
    objects = [PAY, template("T", "false"), constraint("T")]
    assert verdict(only(objects), request, cel) == ADMITS
    assert verdict(only([*objects, expansion]), request, cel).refuses is None
    assert verdict(only([*objects, expansion, config(excluding("pay"))]), request, cel).refuses is False


def test_without_cel_nothing_is_known() -> None:
    """But whom nobody asks."""
    policy = only([PAY, template("T", "false"), constraint("T")])
    assert gatekeeper.judged([Asked(policy, pod())], Missing()) == [Verdict(None, Missing.WHY)]


# Variants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "equal"),
    [
        ("variables.anyObject.spec.hostNetwork == true", True),
        ("request.operation == 'CREATE' || object.metadata.name != ''", True),
        ("request.namespace == 'pay'", False),
        ("namespaceObject.metadata.labels.team == 'pay'", False),
        ("object.metadata.namespace == 'pay'", False),
    ],
)
def test_namespaces_share_answers_unless_expressions_read_them(expression: str, equal: bool) -> None:
    """The mark holds the namespace where an expression may look at it."""
    policy = only([template("T", expression), constraint("T")])
    one, other = (gatekeeper.variant(policy, space(namespace(name, team=name))) for name in ("a", "b"))
    assert one is not None
    assert other is not None
    assert (one == other) is equal


def test_whether_it_matters_who_asks() -> None:
    """Where an expression reads it."""
    made = [template("T", expression) for expression in ("request.userInfo.username == 'a'", "request.operation == ''")]
    assert [only([one, constraint("T")]).users for one in made] == [True, False]


HOSTILE: list[Any] = [None, 7, "x", [], [None], [7], {"a": 1}, {"matchExpressions": [7]}, {"matchLabels": {"a": 7}}]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "field",
    ["spec", "match", "parameters", "excludedNamespaces", "exemptImages",
     *(f"match.{field}" for field in ("kinds", "excludedNamespaces", "labelSelector", "namespaceSelector", "name",
                                      "scope", "source", "namespaces"))],
)  # fmt: skip
def test_shapes(field: str, value: Any) -> None:
    """Whatever a folder holds, nobody stumbles over it."""
    made = constraint("T", parameters={})
    if field == "spec":
        made["spec"] = value
    elif field == "exemptImages":
        made["spec"]["parameters"] = {"exemptImages": value}
    elif field.startswith("match."):
        made["spec"]["match"] = {field.partition(".")[2]: value}
    else:
        made["spec"][field] = value
    policy = only([template("T", "false", schema=IMAGES), made])
    gatekeeper.variant(policy, space())
    assert len(gatekeeper.judged([Asked(policy, pod(), frozenset(range(len(policy.exemptions))))], Missing())) == 1


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("part", ["template", "targets", "code", "source", "config", "entry", "hook", "rules"])
def test_shapes_of_what_stands_around(part: str, value: Any) -> None:
    """Templates, the Config and webhooks too."""
    made, configured, hook = template("T", "false"), config(excluding("a")), webhook()
    target = made["spec"]["targets"][0]
    match part:
        case "template":
            made["spec"] = value
        case "targets":
            made["spec"]["targets"] = value
        case "code":
            target["code"] = value
        case "source":
            target["code"][0]["source"] = value
        case "config":
            configured["spec"] = value
        case "entry":
            configured["spec"]["match"] = [{"processes": ["*"], "excludedNamespaces": value}, value]
        case "hook":
            hook["webhooks"][0] |= {"namespaceSelector": value, "objectSelector": value, "matchConditions": value}
        case _:
            hook["webhooks"][0]["rules"] = value
    found: Snapshot = snapshot([PAY, made, configured, hook, constraint("T")])
    (policy,) = gatekeeper.policies(found)
    gatekeeper.variant(policy, space())
    list(gatekeeper.gaps(found))
    assert len(gatekeeper.judged([Asked(policy, pod(), frozenset(range(len(policy.exemptions))))], Missing())) == 1
