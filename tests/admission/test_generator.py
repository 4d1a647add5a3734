"""The clusters that laws and the bench are about: what a real server takes, and that every trap is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from posture.admission.cel import Program, Question, Value
from posture.cel import Process
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.generator import large, large_admission, vap
from tests.generator.admission import EDITS, change, cluster, place
from tests.generator.engines import PAST
from tests.generator.large_admission import ISSUE, MODERN, NEEDS, SILENT, SMALL, edit_of, labels_of, ns
from tests.generator.objects import Object, snapshot
from tests.generator.policies import PSS, RULES
from tests.generator.templates import controlled

BASE = f"/apis/{vap.ADMISSION}"
SEEDS = range(150)
ANY_OBJECT = "has(request.operation) && request.operation == 'DELETE' && object == null ? oldObject : object"
PARAMS = "!has(params.spec) ? null : !has(params.spec.parameters) ? null : params.spec.parameters"


@pytest.fixture(scope="module")
def clusters() -> list[list[Object]]:
    """Small clusters, each after a few edits."""
    return [edited(Random(seed), 6) for seed in SEEDS]


def edited(random: Random, times: int) -> list[Object]:
    """A small cluster after some edits."""
    made = cluster(random)
    for _ in range(times):
        made = change(random, made)
    return made


# What a real server takes -------------------------------------------------------------------------------------------


def as_policy(*expressions: str, conditions: Sequence[Object] = (), **spec: Any) -> Object:
    """CEL of another engine as a policy of the server's own, which compiles it as all of them do."""
    more = {"matchConditions": [*conditions]} if conditions else {}
    return vap.policy("p", *expressions, **more, **spec)


def as_policies(one: Object) -> Iterator[Object]:
    """All that an object says in CEL."""
    spec = one.get("spec") or {}
    if one["kind"] == "ValidatingPolicy":
        texts = [rule["expression"] for rule in spec["validations"]]
        yield as_policy(*texts, conditions=spec.get("matchConditions", ()), matchConstraints=spec["matchConstraints"])
    elif one["kind"] == "PolicyException" and spec.get("matchConditions"):
        yield as_policy(*(condition["expression"] for condition in spec["matchConditions"]))
    elif one["kind"] == "ClusterPolicy":
        for rule in spec["rules"]:
            texts = [each["expression"] for each in rule["validate"].get("cel", {}).get("expressions", ())]
            yield as_policy(*(texts or ["true"]), conditions=rule.get("celPreconditions", ()))
    elif one["kind"] == "ConstraintTemplate" and "code" in spec["targets"][0]:
        source = spec["targets"][0]["code"][0]["source"]
        given = [{"name": "anyObject", "expression": ANY_OBJECT}, {"name": "params", "expression": PARAMS}]
        kind = {"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": spec["crd"]["spec"]["names"]["kind"]}
        texts = [rule["expression"] for rule in source["validations"]]
        yield as_policy(*texts, variables=[*given, *source["variables"]], paramKind=kind)


PATHS = {
    "ValidatingAdmissionPolicy": f"{BASE}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{BASE}/validatingadmissionpolicybindings",
    "ValidatingWebhookConfiguration": f"{BASE}/validatingwebhookconfigurations",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
    **{kind: f"/apis/apps/v1/namespaces/default/{kind.lower()}s"
       for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    **{kind: f"/apis/batch/v1/namespaces/default/{kind.lower()}s" for kind in ("Job", "CronJob")},
    "Pod": "/api/v1/namespaces/default/pods",
}  # fmt: skip


def refused(plane: ControlPlane, one: Object) -> str:
    """What the server has against an object; "" if nothing. Nothing is stored."""
    meta = {name: value for name, value in one["metadata"].items() if name not in ("namespace", "ownerReferences")}
    try:
        plane.request("POST", f"{PATHS[one['kind']]}?dryRun=All", one | {"metadata": meta})
    except RefusedError as error:
        return f"{one['kind']} {one['metadata']['name']}: {error.body['message']}"
    return ""


def all_of(made: Sequence[Object]) -> Iterator[Object]:
    """What of a cluster a server can be shown: its own kinds, and CEL of others."""
    for one in made:
        if one["kind"] in PATHS:
            yield one
        yield from as_policies(one)


def test_a_server_takes_what_the_small_clusters_hold(control_plane: ControlPlane, clusters: list[list[Object]]) -> None:
    """Every CEL text compiles, every workload and webhook configuration is valid."""
    shown = [one for made in clusters[:40] for one in all_of(made)]
    assert len(shown) > 300
    assert [said for one in shown if (said := refused(control_plane, one))] == []


def test_a_server_takes_what_the_large_cluster_holds(control_plane: ControlPlane) -> None:
    """One tenth of the size has every template and policy of the whole."""
    shown = {repr(one.get("spec") or one): one for one in all_of([*large_admission.cluster(SMALL)])}
    assert len(shown) > 100
    assert [said for one in shown.values() if (said := refused(control_plane, one))] == []


def test_a_server_says_what_it_does_not_take(control_plane: ControlPlane) -> None:
    """CEL that does not compile, variables that are not there and a workload without containers are refused."""
    empty = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}
    wrong = (
        as_policy("object.spec."),
        as_policy("variables.none == 1"),
        controlled("Deployment", "x", "default", empty),
    )
    assert all(refused(control_plane, one) for one in wrong)


# Small clusters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_is_a_cluster(seed: int) -> None:
    """The same objects and edits each time, all of kinds that are read, and no two of one name."""
    made = edited(Random(seed), 30)
    assert made == edited(Random(seed), 30)
    assert len({place(one) for one in made}) == len(made)
    assert sum(len(found) for found in snapshot(made).index.values()) == len(made)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_leaves_what_it_was_given(name: str) -> None:
    """Every edit finds something to do, and gives other objects instead of changing those there were."""
    done = 0
    for seed in range(30):
        random = Random(seed)
        before = cluster(random)
        kept = deepcopy(before)
        after = EDITS[name](random, list(before))
        assert before == kept
        done += after is not None and after != before
    assert done > 3


def _specs(made: Sequence[Object], *kinds: str) -> list[Object]:
    return [one["spec"] for one in made if one["kind"] in kinds]


def _labels(made: Sequence[Object], key: str) -> set[str]:
    return {one["metadata"].get("labels", {}).get(key, "none") for one in made if one["kind"] == "Namespace"}


TRAPS: dict[str, Callable[[list[Object]], object]] = {
    "a level that no server takes": lambda made: _labels(made, f"{PSS}/enforce") & {"Baseline", ""},
    "a version without a level": lambda made: any(
        f"{PSS}/enforce-version" in one["metadata"]["labels"] and f"{PSS}/enforce" not in one["metadata"]["labels"]
        for one in made if one["kind"] == "Namespace"),
    "Gatekeeper does not see a namespace": lambda made: len(_labels(made, "admission.gatekeeper.sh/ignore")) > 1,
    "a policy without a binding": lambda made: {
        one["metadata"]["name"] for one in made if one["kind"] == "ValidatingAdmissionPolicy"
    } - {spec["policyName"] for spec in _specs(made, "ValidatingAdmissionPolicyBinding")},
    "parameters": lambda made: [one for one in _specs(made, "ValidatingAdmissionPolicy") if "paramKind" in one],
    "match conditions": lambda made: [
        one for one in _specs(made, "ValidatingAdmissionPolicy") if "matchConditions" in one],
    "a negative selector": lambda made: [
        one for one in _specs(made, "ValidatingAdmissionPolicy")
        if "DoesNotExist" in str(one["matchConstraints"].get("namespaceSelector"))],
    "excluded rules": lambda made: "excludeResourceRules" in str(_specs(made, "ValidatingAdmissionPolicy")),
    "a rule with an exclude": lambda made: "exclude" in str(_specs(made, "ClusterPolicy")),
    "an exception that has expired": lambda made: [
        one for one in _specs(made, "PolicyException") if one.get("expiresAt") == PAST],
    "an exception without conditions": lambda made: [
        one for one in _specs(made, "PolicyException") if "policyRefs" in one and "matchConditions" not in one],
    "an exception from a rule that is not there": lambda made: "no-such-rule" in str(_specs(made, "PolicyException")),
    "exceptions are switched off": lambda made: any(
        one["metadata"]["name"] == "kyverno-admission-controller"
        and not one["spec"]["template"]["spec"]["containers"][0]["args"] for one in made),
    "an exclusion in the wrong place": lambda made: [one for one in made if one["kind"] == "PostureHost"
                                                     and "excludedNamespaces" in one["spec"]],
    "a constraint without a template": lambda made: [one for one in made if one["kind"] == "PostureGone"],
    "a Config of another name": lambda made: [
        one for one in made if one["kind"] == "Config" and one["metadata"]["name"] != "config"],
    "a webhook without a Service": lambda made: "hooks/checker" in str(_services(made)),
    "a Service without an endpoint": lambda made: [
        one for one in made if one["kind"] == "EndpointSlice" and not one["endpoints"]],
    "an endpoint that is not ready": lambda made: [one for one in made if one["kind"] == "EndpointSlice" and any(
        not endpoint["conditions"]["ready"] for endpoint in one["endpoints"])],
}  # fmt: skip


def _services(made: Sequence[Object]) -> set[str]:
    """The Services that webhooks name, and that are not there."""
    there = {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in made if one["kind"] == "Service"}
    named = {
        f"{hook['clientConfig']['service']['namespace']}/{hook['clientConfig']['service']['name']}"
        for one in made if one["kind"] == "ValidatingWebhookConfiguration"
        for hook in one["webhooks"] if "service" in hook["clientConfig"]
    }  # fmt: skip
    return named - there


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_common(clusters: list[list[Object]], name: str) -> None:
    """At least one cluster in fifty has it, and at least one in fifty has not."""
    found = sum(bool(TRAPS[name](made)) for made in clusters)
    assert len(clusters) // 50 <= found <= len(clusters) * 49 // 50


# The large cluster --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> list[Object]:
    """The cluster of the bench."""
    return [*large_admission.cluster()]


def test_the_large_cluster_is_as_large_as_agreed(whole: list[Object]) -> None:
    """3,000 namespaces and 15,000 workloads beside those of the engines, 30 policies, 1,000 exceptions."""
    count = Counter(one["kind"] for one in whole)
    workloads = sum(count[kind] for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"))
    own = 2  # Kyverno's and Gatekeeper's own Deployments and webhook configurations
    kinds = ("ValidatingAdmissionPolicy", "ClusterPolicy", "ValidatingPolicy", "ValidatingWebhookConfiguration")
    constraints = sum("enforcementAction" in one.get("spec", {}) for one in whole)
    policies = {kind: count[kind] for kind in kinds} | {"constraints": constraints}
    assert (count["Namespace"] - 4, workloads - own) == (ISSUE.namespaces, ISSUE.workloads)
    assert list(policies.values()) == [10, 8, 4, 2 + own, 6]
    assert sum(policies.values()) - own == 30
    assert exceptions(whole) == ISSUE.exceptions


def exceptions(made: Sequence[Object]) -> int:
    """How many ways out of a policy there are: objects, entries of lists, negative selectors, conditions."""
    count = sum(one["kind"] == "PolicyException" for one in made)
    for one in made:
        spec = one.get("spec") or {}
        if one["kind"] == "Config":
            count += sum(len(entry["excludedNamespaces"]) for entry in spec["match"])
        elif one["kind"] == "ClusterPolicy":
            for rule in spec["rules"]:
                count += len(rule.get("exclude", {}).get("any", ()))
                count += len(rule["validate"].get("podSecurity", {}).get("exclude", ()))
        elif "match" in spec and "enforcementAction" in spec:
            count += len(spec["match"]["excludedNamespaces"])
        elif "matchConstraints" in spec:
            negative = str(spec["matchConstraints"]).count("DoesNotExist") + str(spec["matchConstraints"]).count(
                "NotIn"
            )
            count += negative + len(spec.get("matchConditions", ()))
            count += len(spec["matchConstraints"].get("excludeResourceRules", ()))
    return count


def test_the_large_cluster_is_the_same_each_time(whole: list[Object]) -> None:
    """Its seed decides what its workloads are, and nothing else does."""
    assert snapshot(whole).digest == snapshot(large_admission.cluster()).digest
    assert snapshot(whole).digest != snapshot(large_admission.cluster(seed=6)).digest


def test_the_large_cluster_has_sixty_shapes(whole: list[Object]) -> None:
    """Twelve that differ in what is refused, each in five sizes."""
    templates = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for one in whole
        if one["kind"] in ("Deployment", "StatefulSet")
        and "app.kubernetes.io/name" not in one["spec"]["template"]["metadata"]["labels"]
    }
    assert len(templates) == 60


def test_two_of_three_exceptions_have_a_workload_that_needs_them(whole: list[Object]) -> None:
    """What is excepted is run in the namespace of the exception."""
    inside: dict[str, set[str]] = {}
    for one in whole:
        if one["kind"] == "Deployment":
            shape = one["spec"]["template"]["metadata"]["labels"].get("app", "").rpartition("-")[0]
            inside.setdefault(one["metadata"]["namespace"], set()).add(shape)
    needed = total = 0
    for one in whole:
        if one["kind"] == "PolicyException":
            refs = one["spec"].get("policyRefs") or one["spec"]["exceptions"]
            total += 1
            needed += NEEDS[refs[0].get("name") or refs[0]["policyName"]] in inside[one["metadata"]["namespace"]]
    assert 0.6 < needed / total < 0.75


@pytest.mark.parametrize("name", [*MODERN, "drop-all", "capabilities"])
def test_what_needs_an_exception_is_refused(name: str) -> None:
    """The policy's text is false for the shape that is named so, and true for a clean one."""
    with Process() as evaluator:
        pods = [large_admission._template(shape, 2, "pay") for shape in (NEEDS[name], "clean")]
        questions = [Question(Program((RULES[name],)), {"object": Value(pod)}) for pod in pods]
        assert [answer[0].outcome for answer in evaluator.answers(questions)] == ["false", "true"]


@pytest.mark.parametrize(("size", "edited"), [(ISSUE, 30), (SMALL, 8)])
def test_edits_are_of_namespaces_that_nothing_else_exempts(size: large_admission.Size, edited: int) -> None:
    """As many as asked, of every kind, only namespaces, and only where one policy alone refuses."""
    before, after = ([*large_admission.cluster(size, number)] for number in (0, edited))
    changed = {old["metadata"]["name"]: (old, new) for old, new in zip(before, after, strict=True) if old != new}
    edits = edit_of(size, edited)
    assert set(changed) == {ns(number) for number in edits}
    assert {old["kind"] for old, _ in changed.values()} == {"Namespace"}
    assert set(edits.values()) == {*large_admission.EDITS}
    assert {*SILENT} < {*large_admission.EDITS}
    given = {one["metadata"]["namespace"] for one in before if one["kind"] == "PolicyException"}
    assert not given & set(changed)
    assert all(labels_of(number)[f"{PSS}/enforce"] == "baseline" for number in edits)


def test_the_first_milestones_cluster_has_pod_security_labels() -> None:
    """Every team's namespace, those of the planted patterns too."""
    objects = [*large.cluster(large.SMALL), *(one for plant in large.plants(large.SMALL) for one in plant.objects)]
    levels = [one["metadata"]["labels"].get(f"{PSS}/enforce") for one in objects if one["kind"] == "Namespace"]
    assert set(levels) == {"baseline", "restricted"}
