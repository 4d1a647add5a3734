"""ValidatingAdmissionPolicy as an engine: what takes something out of a policy, where it counts, how it is undone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from posture.admission import matching
from posture.admission.cel import Missing
from posture.admission.engines.bound import Params
from posture.admission.engines.vap import BINDINGS, POLICIES, READS, gaps, judged, policies, strays, through, variant
from posture.admission.evaluate import evaluate
from posture.admission.policy import Asked, Policy, Space, Variant, Verdict
from posture.admission.requests import Request, Resource, pod_creation
from posture.cel import Process
from posture.kinds import CONSTRAINTS
from posture.model import Changed, Key, Through
from tests.generator import vap
from tests.generator.objects import Object, snapshot
from tests.generator.vap import Case, binding, policy

SEEDS = range(6)
KIND = {"apiVersion": f"{CONSTRAINTS}/v1beta1", "kind": "Limit"}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def only(*objects: Object) -> Policy:
    """The one policy that some objects make."""
    (found,) = policies(snapshot(objects))
    return found


def space(name: str = "pay", **labels: str) -> Space:
    """A namespace."""
    return Space.of(name, {"labels": labels})


def pod(where: Space, name: str = "p", **labels: str) -> Request:
    """The creation of a pod."""
    given = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    return pod_creation(given, where.name, where.object, user="ann")


def asked(found: Policy, request: Request, where: Space) -> Asked:
    """With the exemptions that count in a namespace."""
    there = variant(found, where)
    assert there is not None
    return Asked(found, request, there.exemptions)


def names(found: Policy, verdict: Verdict) -> list[str]:
    """What took the request out."""
    return sorted({found.exemptions[number].through.name for number in verdict.excused})


def selector(key: str, operator: str, *values: str) -> Object:
    """A selector of one requirement."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
SKIP = "!has(object.metadata.labels) || !('skip' in object.metadata.labels)"
LIMITED = {"paramKind": KIND, "matchConstraints": {}}


# What takes something out -------------------------------------------------------------------------------------------

WAYS: list[tuple[str, Object, Object, Space, dict[str, str]]] = [
    ("p/spec.matchConstraints.namespaceSelector[skip DoesNotExist]",
     {"matchConstraints": {"namespaceSelector": selector("skip", "DoesNotExist")}}, {}, space(skip=""), {}),
    ("p/spec.matchConstraints.namespaceSelector[kubernetes.io/metadata.name NotIn]",
     {"matchConstraints": {"namespaceSelector": selector("kubernetes.io/metadata.name", "NotIn", "pay")}}, {}, space(),
     {}),
    ("p/spec.matchResources.namespaceSelector[env NotIn]", {},
     {"matchResources": {"namespaceSelector": selector("env", "NotIn", "dev")}}, space(env="dev"), {}),
    ("p/spec.matchConstraints.objectSelector",
     {"matchConstraints": {"objectSelector": selector("skip", "DoesNotExist")}}, {}, space(), {"skip": "yes"}),
    ("p/spec.matchResources.objectSelector", {}, {"matchResources": {"objectSelector": {"matchLabels": {"app": "x"}}}},
     space(), {}),
    ("p/spec.matchConstraints.excludeResourceRules[pods:p]",
     {"matchConstraints": {"excludeResourceRules": [RULE | {"resourceNames": ["p"]}]}}, {}, space(), {}),
    ("p/spec.matchConditions[skip]", {"matchConditions": [{"name": "skip", "expression": SKIP}]}, {}, space(),
     {"skip": ""}),
    ("p/spec.paramRef.parameterNotFoundAction", LIMITED,
     {"paramRef": {"name": "gone", "parameterNotFoundAction": "Allow"}}, space(), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "bound", "where", "labels"), WAYS)
def test_each_way_out_is_an_exemption(
    cel: Process, name: str, given: Object, bound: Object, where: Space, labels: dict[str, str]
) -> None:
    """With it the request is admitted and it is named; without it the policy refuses; its removal is the edit."""
    objects = [policy("p", "false", **given), binding(**bound)]
    found = only(*objects)
    request = pod(where, **labels)
    verdict, without = judged([asked(found, request, where), Asked(found, request)], cel)
    (exemption,) = found.exemptions
    edited = only(*vap.edited(objects, exemption.removal))

    assert verdict.refuses is False
    assert names(found, verdict) == [name]
    assert without == Verdict(True)
    assert edited.exemptions == ()
    assert judged([asked(edited, request, where)], cel) == [Verdict(True)]
    assert exemption.keys == (Key(BINDINGS if "matchResources" in bound or "paramRef" in bound else POLICIES, "", "p"),)


@pytest.mark.parametrize(("name", "given", "bound", "where", "labels"), WAYS)
def test_nothing_is_taken_out_of_a_policy_that_admits_it(
    cel: Process, name: str, given: Object, bound: Object, where: Space, labels: dict[str, str]
) -> None:
    """An exemption that nobody needs excuses nothing."""
    found = only(policy("p", "object.metadata.name == 'p'", **given), binding(**bound))
    (verdict,) = judged([asked(found, pod(where, **labels), where)], cel)

    assert verdict.refuses is False
    assert bool(verdict.excused) is name.endswith("parameterNotFoundAction")  # without it everything is refused


def test_what_policies_are_meant_for_is_no_exemption() -> None:
    """Nor are the names of resources: namespaces without the label were never in."""
    rules = [RULE | {"resourceNames": ["p"]}]
    wanted = {"matchLabels": {"team": "pay"}, **selector("env", "In", "prod", "test")}
    found = only(policy("p", "false", rules=rules, matchConstraints={"namespaceSelector": wanted}), binding())

    assert found.exemptions == ()
    assert variant(found, space(team="pay", env="prod")) == Variant()
    assert variant(found, space(team="pay")) is None


def test_whoever_makes_an_object_sets_its_labels() -> None:
    """The labels of an object selector are told; what it says in words, too."""
    chosen = {"matchLabels": {"app": "x"}, **selector("skip", "DoesNotExist")}
    (exemption,) = only(policy("p", "false", matchConstraints={"objectSelector": chosen}), binding()).exemptions

    assert exemption.labels == ("app", "skip")
    assert exemption.what == "selects only objects that match app=x,!skip"


def test_requirements_of_one_label_are_one_exemption(cel: Process) -> None:
    """Two NotIn of one label have one name, and are removed together; another label is another one."""
    chosen = {"matchExpressions": [*selector("env", "NotIn", "a")["matchExpressions"],
                                   *selector("env", "NotIn", "b")["matchExpressions"],
                                   *selector("skip", "DoesNotExist")["matchExpressions"]]}  # fmt: skip
    objects = [policy("p", "false", matchConstraints={"namespaceSelector": chosen}), binding()]
    found = only(*objects)
    env, skip = found.exemptions
    where = space(env="b")

    assert env.what == "excludes namespaces with the label env in (a,b)"
    assert skip.what == "excludes namespaces with the label skip"
    assert variant(found, where) == Variant(None, frozenset({0}))
    assert judged([asked(only(*vap.edited(objects, env.removal)), pod(where), where)], cel) == [Verdict(True)]


def test_two_ways_out_are_both_named(cel: Process) -> None:
    """So that each can be asked about without the other."""
    conditions = [{"name": "a", "expression": "false"}, {"name": "b", "expression": "true"}]
    given = policy("p", "false", matchConditions=conditions,
                   matchConstraints={"namespaceSelector": selector("skip", "DoesNotExist")})  # fmt: skip
    found, where = only(given, binding()), space(skip="")
    (verdict,) = judged([asked(found, pod(where), where)], cel)

    assert [found.exemptions[number].through.name for number in sorted(verdict.excused)] == [
        "p/spec.matchConstraints.namespaceSelector[skip DoesNotExist]", "p/spec.matchConditions[a]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "expression", "counts", "verdict"),
    [
        ("Fail", "object.nope", True, Verdict(True)),
        ("Fail", "object.nope", False, Verdict(False)),
        ("Ignore", "object.nope", True, Verdict(False)),
    ],
)
def test_a_match_condition_that_fails_refuses_only_while_it_counts(
    cel: Process, failure: str, expression: str, counts: bool, verdict: Verdict
) -> None:
    """An error of it is the policy's; what the validations say no longer matters."""
    given = policy("p", "true", failurePolicy=failure, matchConditions=[{"name": "c", "expression": expression}])
    found = only(given, binding())

    assert judged([Asked(found, pod(space()), frozenset({0} if counts else ()))], cel) == [verdict]


def test_a_match_condition_that_fails_takes_out_of_a_policy_that_fails_open(cel: Process) -> None:
    """As one that is false does, and it is named."""
    conditions = [{"name": "c", "expression": "object.nope"}]
    found = only(policy("p", "false", failurePolicy="Ignore", matchConditions=conditions), binding())
    (verdict,) = judged([asked(found, pod(space()), space())], cel)

    assert verdict == Verdict(False, "", frozenset({0}))


def test_each_excluded_resource_is_removed_alone() -> None:
    """The others stay as they are."""
    rules = [RULE | {"resources": [name]} for name in ("pods/exec", "services")]
    first, second = only(policy("p", "false", matchConstraints={"excludeResourceRules": rules}), binding()).exemptions
    (change,) = first.removal

    assert change.new is not None
    assert change.new["spec"]["matchConstraints"]["excludeResourceRules"] == [rules[1]]
    assert (first.what, second.what) == ("excludes CREATE of pods/exec", "excludes CREATE of services")


def test_a_doubtful_way_out_is_unknown_and_named_by_nobody(cel: Process) -> None:
    """Another version of a custom resource may be excluded."""
    rule = {"operations": ["*"], "apiGroups": ["x.y"], "apiVersions": ["v1"], "resources": ["things"]}
    given = policy(
        "p", "false", rules=[rule], matchConstraints={"excludeResourceRules": [rule | {"apiVersions": ["v2"]}]}
    )
    found, where = only(given, binding()), space()
    request = Request("CREATE", Resource("x.y", "v1", "things"), "", where.name, "t", {"metadata": {}})
    verdict, without = judged([asked(found, request, where), Asked(found, request)], cel)

    assert verdict == Verdict(None, "which other versions of things are served is not known")
    assert without == Verdict(True)


# Against the policy as it would be without --------------------------------------------------------------------------

PARAMS = {
    ("v1", "ConfigMap"): Params(tuple(one for one in vap.parameters() if one["kind"] == "ConfigMap")),
    (f"{vap.GROUP}/v1", "Limit"): Params(tuple(one for one in vap.parameters() if one["kind"] == "Limit")),
    (f"{vap.GROUP}/v1", "ClusterLimit"): Params(
        tuple(one for one in vap.parameters() if one["kind"] == "ClusterLimit"), namespaced=False
    ),
}
SPACES = [Space.of(name, {"labels": labels}) for name, labels in vap.NAMESPACES.items()]


def random_cases(seed: int) -> list[tuple[Case, Policy]]:
    """Policies with their requests, of which only the new ones can be asked here."""
    cases = [*vap.random_cases(Random(seed), 25)]
    return [(case, bound(case.policy, case.binding)) for case in cases]


def bound(*objects: Object) -> Policy:
    """A policy with random parameters."""
    return next(iter(policies(snapshot(objects), lambda *kind: PARAMS[kind])))


def requests(case: Case) -> list[tuple[Space, Request]]:
    """What can be asked without a server, with where it is."""
    there = {one.name: dict(one.object) for one in SPACES}
    return [(vap.space_of(ask), vap.request_of(ask, there, {})) for ask in case.asks if ask.operation == "CREATE"]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_an_exemption_is_as_if_its_field_were_not_there(cel: Process, seed: int) -> None:
    """For each exemption of random policies: not counted, or removed, is the same."""
    mine, theirs = [], []
    for case, found in random_cases(seed):
        for number, exemption in enumerate(found.exemptions):
            edited = bound(*vap.edited([case.policy, case.binding], exemption.removal))
            every = frozenset(range(len(found.exemptions)))
            for _, request in requests(case):
                mine.append(Asked(found, request, every - {number}))
                theirs.append(Asked(edited, request, frozenset(range(len(edited.exemptions)))))

    assert len(mine) > 50
    assert [one.refuses for one in judged(mine, cel)] == [one.refuses for one in judged(theirs, cel)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_exemptions_of_a_variant_are_all_that_count(cel: Process, seed: int) -> None:
    """In a namespace the others take nothing out; where a policy is not meant for it, it refuses nothing."""
    mine, theirs, there = [], [], []
    for case, found in random_cases(seed):
        for where, request in requests(case):
            known = variant(found, where)
            there.append(known is not None)
            mine.append(Asked(found, request, known.exemptions if known else frozenset()))
            theirs.append(Asked(found, request, frozenset(range(len(found.exemptions)))))
    verdicts = judged(theirs, cel)

    assert [
        found if known else Verdict(False) for known, found in zip(there, judged(mine, cel), strict=True)
    ] == verdicts
    for one, verdict in zip(theirs, verdicts, strict=True):
        if verdict.excused:
            assert verdict.refuses is False
            assert judged([one._replace(exemptions=one.exemptions - verdict.excused)], cel)[0].refuses is not False


@pytest.mark.parametrize("seed", SEEDS)
def test_namespaces_of_equal_variants_answer_alike(cel: Process, seed: int) -> None:
    """The same pod, in each of them."""
    count = 0
    for case, found in random_cases(seed):
        answers: dict[tuple[Variant, str], set[Verdict]] = {}
        for ask in case.asks:
            for where in SPACES if ask.kind == "Pod" and ask.operation == "CREATE" else ():
                known = variant(found, where)
                if known is not None:
                    request = pod_creation(ask.object, where.name, where.object, user="dev")
                    (verdict,) = judged([Asked(found, request, known.exemptions)], cel)
                    answers.setdefault((known, ask.name), set()).add(verdict)
                    count += 1
        assert all(len(some) == 1 for some in answers.values()), found.through
    assert count > 100


@pytest.mark.parametrize("seed", SEEDS)
def test_match_rules_are_what_they_are_meant_for_without_what_they_take_out(seed: int) -> None:
    """Of random match rules and requests."""
    for case in vap.random_cases(Random(seed), 60):
        for given in (case.policy["spec"]["matchConstraints"], case.binding["spec"].get("matchResources", {})):
            for _, request in requests(case):
                whole = matching.matches(given, request).holds
                parts = [matching.matches(matching.scope(given), request).holds]
                parts += [None if (out := way.out(request).holds) is None else not out for way in matching.ways(given)]
                assert whole is (False if False in parts else None if None in parts else True)


# Where a policy is --------------------------------------------------------------------------------------------------


def rule(resources: str, groups: str = "", **more: Any) -> Object:
    """A resource rule."""
    return {"operations": ["*"], "apiVersions": ["*"], "apiGroups": [groups], "resources": [resources], **more}


@pytest.mark.parametrize(
    ("given", "cluster", "namespaced"),
    [
        (rule("pods"), False, True),
        (rule("pods/exec"), False, True),
        (rule("pods", "*"), False, True),
        (rule("clusterroles", "rbac.authorization.k8s.io"), True, False),
        (rule("clusterroles", "*"), True, False),
        (rule("nodes"), True, False),
        (rule("namespaces"), True, True),
        (rule("namespaces", scope="Namespaced"), False, False),
        (rule("*"), True, True),
        (rule("*", scope="Cluster"), True, True),  # namespaces are among them
        (rule("*", "apps", scope="Cluster"), True, False),
        (rule("*", scope="Namespaced"), False, True),
        (rule("things", "example.com"), True, True),
        (rule("things", "example.com", scope="Namespaced"), False, True),
    ],
)
def test_where_a_policy_is_meant_for(given: Object, cluster: bool, namespaced: bool) -> None:
    """In namespaces, and in the cluster for what is made in none; of custom resources nobody knows which they are."""
    found = only(policy("p", "false", rules=[given]), binding())

    assert (variant(found, Space.of("", None)) is not None) is cluster
    assert (variant(found, space()) is not None) is namespaced


@pytest.mark.parametrize(
    ("given", "differs"),
    [
        (policy("p", "object.spec.hostPID"), False),
        (policy("p", "object.metadata.labels.a == 'b'"), False),
        (policy("p", "object.metadata.namespace == 'x'"), True),
        (policy("p", "namespaceObject.metadata.annotations.a == 'b'"), True),
        (policy("p", "true", matchConditions=[{"name": "c", "expression": "request.namespace != 'x'"}]), True),
        (policy("p", "variables.n == 'x'", variables=[{"name": "n", "expression": "request.namespace"}]), True),
        (policy("p", "object.spec.hostPID", rules=[rule("*")]), False),
        (policy("p", "object.metadata.labels.a == 'b'", rules=[rule("*")]), True),  # of a namespace these are its own
        (policy("p", "true", rules=[rule("*")], matchConstraints={"objectSelector": selector("a", "Exists")}), True),
    ],
)
def test_where_more_of_a_namespace_matters(given: Object, differs: bool) -> None:
    """Then no two namespaces are of one variant; else all are."""
    found = only(given, binding())
    one, other = variant(found, space("a", x="1")), variant(found, space("b", x="2"))
    assert one is not None
    assert other is not None

    assert (one != other) is differs
    assert hash(one) != 0


def test_parameters_of_a_namespace_count_there() -> None:
    """Where there are some, it is of its own; where there are none, that is the way out."""
    given = binding(paramRef={"name": "strict", "parameterNotFoundAction": "Allow"})
    found = next(iter(policies(
        snapshot([policy("p", "false", paramKind={"apiVersion": "v1", "kind": "ConfigMap"}), given]),
        lambda *kind: PARAMS[kind],
    )))  # fmt: skip
    one, two, bare = (variant(found, where) for where in SPACES)

    assert one != two
    assert bare == Variant(None, frozenset({0}))
    assert variant(found, space("other")) == bare


# What is told of a policy -------------------------------------------------------------------------------------------


def test_what_one_edits() -> None:
    """The policy; its binding where it has several, since each is lost for itself."""
    second = {**binding(), "metadata": {"name": "second"}}

    assert only(policy("p"), binding()).through == Through("ValidatingAdmissionPolicy", "", "p")
    assert only(policy("p"), binding()).keys == (Key(POLICIES, "", "p"), Key(BINDINGS, "", "p"))
    assert [(str(one.through), one.keys[0].name) for one in policies(snapshot([policy("p"), binding(), second]))] == [
        ("ValidatingAdmissionPolicyBinding/p", "p"), ("ValidatingAdmissionPolicyBinding/second", "second"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("actions", "denies"), [(["Deny"], True), (["Deny", "Audit"], True), (["Warn"], False), ([], False)]
)
def test_only_deny_refuses(cel: Process, actions: list[str], denies: bool) -> None:
    """What the others would refuse is known all the same."""
    found = only(policy("p", "false"), binding(actions=actions))

    assert found.denies is denies
    assert judged([Asked(found, pod(space()))], cel) == [Verdict(True)]


@pytest.mark.parametrize(
    ("given", "bound", "same"),
    [
        (policy("p", "object.spec.a"), binding(), True),
        (policy("p", "object.spec.b"), binding(), False),
        (policy("p", "object.spec.a", failurePolicy="Ignore"), binding(), False),
        (policy("p", "object.spec.a", rules=[rule("services")]), binding(), False),
        (policy("p", "object.spec.a"), binding(actions=("Warn",)), True),
        (
            policy("p", "object.spec.a", matchConstraints={"namespaceSelector": selector("a", "In", "b")}),
            binding(),
            True,
        ),
        (policy("p", "object.spec.a", matchConditions=[{"name": "c", "expression": "true"}]), binding(), True),
        (policy("p", "object.spec.a"), binding(matchResources={"objectSelector": selector("a", "Exists")}), True),
        (policy("p", "object.spec.a", variables=[{"name": "a", "expression": "1"}]), binding(), False),
    ],
)
def test_the_content_is_what_it_refuses(given: Object, bound: Object, same: bool) -> None:
    """Not where, not what happens then, and not who is taken out."""
    assert (only(given, bound).content == only(policy("p", "object.spec.a"), binding()).content) is same


def limit(name: str = "l", **spec: Any) -> Object:
    """A constraint of Gatekeeper."""
    return {**KIND, "metadata": {"name": name}, "spec": spec}


def test_constraints_are_read_as_parameters(cel: Process) -> None:
    """As the policies that Gatekeeper makes name them; what they say is part of the content, their keys are known."""
    given = policy("p", "object.metadata.name != params.spec.forbidden", paramKind=KIND)
    objects = [given, binding(paramRef={"name": "l", "parameterNotFoundAction": "Deny"})]
    found, other = only(*objects, limit(forbidden="p"), limit("m")), only(*objects, limit(forbidden="q"))

    assert judged([Asked(found, pod(space())), Asked(other, pod(space()))], cel) == [Verdict(True), Verdict(False)]
    assert found.content != other.content
    assert found.keys[2:] == (Key(f"*.{CONSTRAINTS}", "", "Limit/l"),)


@pytest.mark.parametrize(
    ("owner", "parent"),
    [
        ({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "name": "x"},
         Key("clusterpolicies.kyverno.io", "", "x")),
        ({"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "name": "x"},
         Key("validatingpolicies.policies.kyverno.io", "", "x")),
        ({"apiVersion": "constraints.gatekeeper.sh/v1beta1", "kind": "K8sRoot", "name": "x"},
         Key("*.constraints.gatekeeper.sh", "", "K8sRoot/x")),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, None),
        ({"apiVersion": None, "kind": ["x"]}, None),
    ],
)  # fmt: skip
def test_a_generated_policy_names_its_parent(owner: Object, parent: Key | None) -> None:
    """Both are one policy to whoever counts them."""
    made = {**binding(), "metadata": {"name": "p", "ownerReferences": [owner]}}
    found = only(policy("p"), made)

    assert found.rule.parent == parent
    assert found.keys[2:] == ((parent,) if parent else ())


def owned(one: Object, version: str, kind: str, name: str) -> Object:
    """An object that says of which other one it was made."""
    owner = {"apiVersion": version, "kind": kind, "name": name, "uid": "1"}
    return {**one, "metadata": {**one["metadata"], "ownerReferences": [owner]}}


def of_kyverno(version: str, kind: str) -> list[Object]:
    """A policy with two bindings, made of one of Kyverno's that is not there yet."""
    made = (policy("p"), binding(), {**binding(), "metadata": {"name": "second"}})
    return [owned(one, version, kind, "x") for one in made]


TEMPLATE = {"apiVersion": "templates.gatekeeper.sh/v1", "kind": "ConstraintTemplate", "metadata": {"name": "limit"},
            "spec": {"crd": {"spec": {"names": {"kind": "Limit"}}}}}  # fmt: skip
VALIDATING = {"apiVersion": "policies.kyverno.io/v1", "kind": "ValidatingPolicy", "metadata": {"name": "x"}, "spec": {}}
CLUSTER_POLICY = {"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "x"}, "spec": {}}


def of_gatekeeper(name: str = "l", *, owner: bool = True) -> list[Object]:
    """A policy made of a template; its binding is made of a constraint, or somebody wrote it himself."""
    bound = binding(paramRef={"name": name, "parameterNotFoundAction": "Deny"} if name else {"selector": {}})
    given = policy("p", "params.spec.x == 'y'", paramKind=KIND)
    made = owned(given, "templates.gatekeeper.sh/v1", "ConstraintTemplate", "limit")
    return [made, owned(bound, KIND["apiVersion"], "Limit", "l") if owner else bound]


OWN = Through("ValidatingAdmissionPolicy", "", "p")
SEVERAL = {Through("ValidatingAdmissionPolicyBinding", "", name) for name in ("p", "second")}


@pytest.mark.parametrize(
    ("generated", "parents", "expected"),
    [
        (of_kyverno("policies.kyverno.io/v1", "ValidatingPolicy"), [VALIDATING],
         {Through("ValidatingPolicy", "", "x")}),
        (of_kyverno("policies.kyverno.io/v1alpha1", "ValidatingPolicy"), [VALIDATING],
         {Through("ValidatingPolicy", "", "x")}),
        (of_kyverno("kyverno.io/v1", "ClusterPolicy"), [CLUSTER_POLICY], {Through("ClusterPolicy", "", "x")}),
        (of_kyverno("kyverno.io/v1", "ClusterPolicy"), [VALIDATING], SEVERAL),
        (of_kyverno("policies.kyverno.io/v1", "ValidatingPolicy"), [], SEVERAL),
        (of_gatekeeper(), [TEMPLATE, limit()], {Through("Limit", "", "l")}),
        (of_gatekeeper(), [TEMPLATE], {OWN}),
        (of_gatekeeper(owner=False), [TEMPLATE, limit()], {Through("Limit", "", "l")}),
        (of_gatekeeper(owner=False), [limit()], {Through("Limit", "", "l")}),
        (of_gatekeeper("", owner=False), [TEMPLATE, limit()], {OWN}),
    ],
)  # fmt: skip
def test_what_is_generated_is_edited_where_it_comes_from(
    generated: list[Object], parents: list[Object], expected: set[Through]
) -> None:
    """As long as that is there: of the constraint, not of the template. Else it stands for itself."""
    found = [*policies(snapshot([*generated, *parents]))]

    assert {one.through for one in found} == expected
    assert {through(one.keys[0]) for one in found} == expected
    assert all({one.rule.key, one.rule.binding} < {*one.keys} for one in found)
    assert all(len(one.keys) == len(set(one.keys)) for one in found)


@pytest.mark.parametrize(
    ("generated", "parents"),
    [
        (of_kyverno("policies.kyverno.io/v1", "ValidatingPolicy"), [VALIDATING]),
        (of_kyverno("kyverno.io/v1", "ClusterPolicy"), [CLUSTER_POLICY]),
        (of_gatekeeper(), [limit()]),
        (of_gatekeeper(owner=False), [TEMPLATE, limit()]),
    ],
)
def test_a_parent_that_comes_or_goes_is_noticed(generated: list[Object], parents: list[Object]) -> None:
    """Its kind is read: an update says the same as a full evaluation."""
    alone, both = snapshot(generated), snapshot([*generated, *parents])
    changed = [Changed(key, None, content) for one in {*READS} for key, content in both.objects(one)
               if alone.get(key) is None]  # fmt: skip
    gone = [Changed(one.key, one.new, None) for one in changed]
    here = evaluate(both, evaluate(alone), changed)

    for live, full in ((here, evaluate(both)), (evaluate(alone, here, gone), evaluate(alone))):
        assert [(one.through, one.keys) for one in live.policies] == [(one.through, one.keys) for one in full.policies]


def test_what_a_generated_policy_leaves_out_is_its_own() -> None:
    """An exemption that somebody wrote into it is edited there."""
    given = policy("p", "false", matchConstraints={"namespaceSelector": selector("skip", "DoesNotExist")})
    made = (owned(one, "policies.kyverno.io/v1", "ValidatingPolicy", "x") for one in (given, binding()))
    found = only(*made, VALIDATING)

    assert [str(one.through) for one in found.exemptions] == [
        "ValidatingAdmissionPolicy/p/spec.matchConstraints.namespaceSelector[skip DoesNotExist]"
    ]
    assert found.exemptions[0].keys == (Key(POLICIES, "", "p"),)


@pytest.mark.parametrize(
    ("expressions", "users"),
    [
        ({"validations": "request.userInfo.username == 'x'"}, True),
        ({"matchConditions": "authorizer.path('/x').check('get').allowed()"}, True),
        ({"validations": "object.spec.a"}, False),
    ],
)
def test_whether_it_matters_who_asks(expressions: dict[str, str], users: bool) -> None:
    """In validations, or in match conditions."""
    spec = {field: [{"name": "x", "expression": text}] for field, text in expressions.items()}

    assert only(policy("p", "true", **spec), binding()).users is users


def test_a_warning_of_the_server_is_told_where_errors_are_admitted() -> None:
    """Its check of types finds what fails when it is evaluated."""
    status = {"typeChecking": {"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": "no"}]}}
    given = {name: {**policy("p", "object.nope", failurePolicy=name), "status": status} for name in ("Ignore", "Fail")}

    assert "spec.validations[0].expression" in only(given["Ignore"], binding()).why
    assert only(given["Fail"], binding()).why == ""


def test_parameters_that_are_not_read_are_a_gap() -> None:
    """One row, however many policies there are."""
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    reference = {"name": "x", "parameterNotFoundAction": "Deny"}
    objects = [one for name in "abc" for one in (policy(name, paramKind=kind), binding(name, paramRef=reference))]

    assert [(gap.reason, gap.message) for gap in gaps(snapshot(objects))] == [
        ("not modelled", "parameters are of kind ConfigMap, whose objects are not read")
    ]
    assert [*strays(snapshot(objects))] == []


JUNK: tuple[Any, ...] = (None, 7, "x", ["x"], [7, None], {"x": 7}, [{"x": 7}], {}, [], [[]])
FIELDS = ("matchConstraints", "validations", "matchConditions", "variables", "auditAnnotations", "paramKind",
          "failurePolicy")  # fmt: skip
RULES = ("namespaceSelector", "objectSelector", "resourceRules", "excludeResourceRules", "matchPolicy")


@pytest.mark.parametrize("junk", JUNK)
def test_objects_of_any_shape_are_judged(junk: Any) -> None:
    """What no server would store raises nothing."""
    objects = [policy("p", "false"), binding()]
    selectors = [{"matchLabels": junk}, {"matchExpressions": junk}, {"matchExpressions": [{"key": junk}]},
                 {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": junk}]}]  # fmt: skip
    rules = [RULE | {field: junk} for field in (*RULE, "resourceNames", "scope")]
    shapes: list[tuple[Object, Object]] = [({field: junk}, {}) for field in FIELDS]
    shapes += [({"matchConstraints": {field: junk}}, {"matchResources": {field: junk}}) for field in RULES]
    shapes += [({"matchConstraints": {field: one}}, {}) for one in selectors for field in RULES[:2]]
    shapes += [({"matchConstraints": {field: [one]}}, {}) for one in rules for field in RULES[2:4]]
    shapes += [({"paramKind": KIND}, {"paramRef": one}) for one in (junk, {"name": junk}, {"selector": junk},
                                                                     {"namespace": junk})]  # fmt: skip
    shapes += [({}, {field: junk}) for field in ("validationActions", "matchResources", "paramRef")]
    for spec, applied in shapes:
        given = [{**one, "spec": {**one["spec"], **more}} for one, more in zip(objects, (spec, applied), strict=True)]
        for found in policies(snapshot([*given, limit()])):
            for where in (space(), Space.of("", None)):
                variant(found, where)
            every = frozenset(range(len(found.exemptions)))
            judged([Asked(found, pod(space()), numbers) for numbers in (frozenset[int](), every)], Missing())


def test_many_namespaces_and_policies_cost_little() -> None:
    """3,000 namespaces and 30 policies, each of which excludes some: below a second, where it takes 0.2."""
    chosen = {"namespaceSelector": selector("kubernetes.io/metadata.name", "NotIn", "kube-system")}
    objects = [one for n in range(30) for one in (policy(f"p{n}", SKIP, matchConstraints=chosen), binding(f"p{n}"))]
    spaces = [space(f"ns{n}", team=f"t{n % 20}") for n in range(3000)]
    found = [*policies(snapshot(objects))]
    start = time.process_time()
    variants = {variant(one, where) for one in found for where in spaces}

    assert time.process_time() - start < 1.0
    assert variants == {Variant(None, frozenset())}
