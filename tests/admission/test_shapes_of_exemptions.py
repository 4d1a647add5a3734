"""What variants and shapes promise, over random clusters: namespaces of equal variants answer alike; what is shaped as
an exemption says is taken out by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from posture.admission.cel import Evaluator, Program, Question
from posture.admission.evaluate import ENGINES
from posture.admission.policy import ANY, NONE, Asked, Policy, Shape, Space, Variant
from posture.admission.requests import NAME_LABEL
from posture.admission.shapes import example, failing, holding, left_out, merged, selected
from posture.admission.violations import USERS, VIOLATIONS, Violation
from posture.cel import Process
from posture.model import Snapshot
from posture.selectors import matches
from tests.generator import vap
from tests.generator.admission import change, cluster
from tests.generator.engines import (
    NOW,
    PODS,
    cel_exception,
    cluster_policy,
    conditions,
    constraint,
    exception,
    kyverno,
    kyverno_rule,
    template,
    validating_policy,
    where,
)
from tests.generator.engines import cel as validates
from tests.generator.objects import namespace, snapshot
from tests.generator.policies import EXCEPT, EXCEPTED, LABELS, LEVELS, PSS, VERSIONS

SEEDS = range(25)
TESTS = 14
"""Test requests of each policy, chosen at random."""


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


NO = "false"
ENV = "namespaceObject.metadata.?labels[?'env'].orValue('') != 'prod'"
TEAM = "object.metadata.?labels[?'team'].orValue('') != 'pay'"
NAMESPACES = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["namespaces"]}


def refusing() -> Iterator[dict[str, Any]]:
    """Policies of every engine that refuse everything, or what namespaces differ in, with all that takes pods out."""
    for name, labels in {"a": {"env": "prod"}, "b": {"env": "test"}, "c": {}, "d": {"team": "pay"}}.items():
        yield namespace(name, **labels)
    except_ = conditions(ENV, *EXCEPT[:2], EXCEPT[4])
    for name, text in {"all": NO, "env": ENV}.items():
        yield vap.policy(name, text, rules=[PODS], matchConditions=except_)
        yield vap.binding(name, ["Deny"], matchResources={"objectSelector": where("skip", "NotIn", "yes")})
        yield validating_policy(name, text, matchConditions=except_)
        yield cluster_policy(name, kyverno_rule("check", validates(text), EXCLUDED))
        yield template(f"T{name}", text, matchCondition=conditions(EXCEPT[4], "request.namespace != 'b'"))
        yield constraint(f"T{name}", "one", match={"labelSelector": where("skip", "DoesNotExist")})
    yield vap.policy("labelled", TEAM, rules=[NAMESPACES])
    yield vap.binding("labelled", ["Deny"])
    yield template("Tlabelled", TEAM.replace("object.", "variables.anyObject."))
    yield constraint("Tlabelled", "one", match={"kinds": [{"apiGroups": ["*"], "kinds": ["*"]}]})
    pattern = {"pattern": {"metadata": {"namespace": "!a*"}}}
    labelled = kyverno_rule("labelled", validates(TEAM))
    labelled["match"]["any"][0]["resources"]["kinds"] = ["Namespace"]
    yield cluster_policy("others", kyverno_rule("named", pattern), labelled)
    yield from kyverno("--enablePolicyException=true", "--exceptionNamespace=*")
    for number, one in enumerate(EXCLUDED):
        yield exception(f"e{number}", "c", [("env", ["check"])], one)
    for number, text in enumerate((*EXCEPTED, "object.metadata.name == 'x' && request.userInfo.username == 'ann'")):
        yield cel_exception(f"c{number}", "c", ["all", "env"], text)


EXCLUDED: tuple[dict[str, Any], ...] = (
    {"names": ["legacy-*", "old-?"]}, {"selector": {"matchLabels": {"app*": "?gent"}}, "namespaces": ["a", "d*"]},
    {"annotations": {"example.com/*": "yes"}}, {"selector": where("skip", "In", "yes"), "name": "x*"},
    {"namespaceSelector": where("env", "In", "test"), "selector": where("skip", "Exists")},
)  # fmt: skip


def made(seed: int, random: Random) -> Snapshot:
    """A cluster after some edits; of the first seed, one of policies that refuse everything."""
    if seed == SEEDS[0]:
        return replace(snapshot(refusing()), settings={"now": NOW})
    objects = cluster(random)
    for _ in range(4):
        objects = change(random, objects)
    return replace(snapshot(objects), settings={"now": NOW})


def spaces(random: Random, given: Snapshot) -> Iterator[Space]:
    """The namespaces of a cluster, and others that differ from these in a label or in nothing but their names."""
    there = [Space.of(key.name, content) for key, content in given.objects("namespaces")]
    yield from there
    for number, one in enumerate(there):
        name = f"{random.choice((one.name, 'other'))}-{number}"
        labels = {**one.labels, NAME_LABEL: name}
        key, values = random.choice(
            (*LABELS.items(), (f"{PSS}/enforce", LEVELS), (f"{PSS}/enforce-version", VERSIONS), ("note", ("x",)))
        )
        yield Space(name, {**labels, key: random.choice(values)}, one.annotations)
        yield Space(f"{name}-a", {**labels, NAME_LABEL: f"{name}-a"}, {"note": "x"})


def policies(given: Snapshot) -> Iterator[Policy]:
    """Those of every engine."""
    for engine in ENGINES.values():
        yield from engine.policies(given)


def judged(asked: list[Asked], cel: Evaluator) -> list[Any]:
    """What an engine says of questions about its policies."""
    return ENGINES[asked[0].policy.engine].judged(asked, cel) if asked else []


def requests_of(random: Random) -> list[Violation]:
    """Some test requests, also about a namespace itself."""
    some = [one for one in VIOLATIONS if one.scope == "namespace"]
    itself = [one for one in some if one.control.startswith("namespaces")]
    return [*random.sample(some, TESTS), *itself]


# Variants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_namespaces_of_equal_variants_answer_alike(seed: int, cel: Process) -> None:
    """With all of the variant's exemptions; without any, those of equal marks do."""
    random = Random(seed)
    given = made(seed, random)
    there = [*spaces(random, given)]
    for policy in policies(given):
        variants = [(one, variant) for one in there if (variant := ENGINES[policy.engine].variant(policy, one))]
        some, user = requests_of(random), random.choice(USERS)
        for with_exemptions in (True, False):
            groups: dict[Any, list[tuple[Space, Variant]]] = {}
            for one, variant in variants:
                groups.setdefault(variant if with_exemptions else (variant.mark, variant.why), []).append(
                    (one, variant)
                )
            for group in groups.values():
                asked = [
                    Asked(policy, test.request(one, *user), variant.exemptions if with_exemptions else NONE)
                    for one, variant in group for test in some
                ]  # fmt: skip
                verdicts = judged(asked, cel)
                first = verdicts[: len(some)]
                for number, (one, variant) in enumerate(group):
                    said = verdicts[number * len(some) : (number + 1) * len(some)]
                    for test, mine, other in zip(some, said, first, strict=True):
                        alike = mine.refuses is other.refuses and mine.excused == other.excused
                        assert alike, (policy.through, test.id, one, group[0][0], variant, mine, other)


# Shapes -------------------------------------------------------------------------------------------------------------

POD = [one for one in VIOLATIONS if (one.operation, one.resource.resource, one.subresource) == ("CREATE", "pods", "")]


PARTS = (
    "leaves out", "allows", "lets", "lowers", "asks only for", "exempts the images", "excludes Deployment",
)  # fmt: skip
WITHIN = (" from the control ", "pods/ephemeralcontainers")


def takes_a_part(policy: Policy, number: int) -> bool:
    """Whether what an exemption says is only about some violations, or about other objects than pods."""
    what = policy.exemptions[number].what
    return what.startswith(PARTS) or any(word in what for word in WITHIN)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shaped_request_is_taken_out(seed: int, cel: Process) -> None:
    """Whenever the policy would refuse it if that exemption were not there."""
    random = Random(seed)
    given = made(seed, random)
    there = [*spaces(random, given)]
    for policy in policies(given):
        done: set[tuple[Variant, int]] = set()
        for one in there:
            variant = ENGINES[policy.engine].variant(policy, one)
            for number in sorted(variant.exemptions) if variant else ():
                exemption, shape = policy.exemptions[number], policy.exemptions[number].shape
                left = exemption.idle or takes_a_part(policy, number) or (variant, number) in done
                if variant is None or shape is None or left:
                    continue
                done.add((variant, number))
                shaped = [test.request(one, *USERS[0]).shaped(*shape) for test in random.sample(POD, TESTS)]
                without = judged([Asked(policy, each, variant.exemptions - {number}) for each in shaped], cel)
                real = judged([Asked(policy, each, variant.exemptions) for each in shaped], cel)
                for each, mine, other in zip(shaped, real, without, strict=True):
                    if other.refuses:
                        assert number in mine.excused, (mine, variant, exemption, policy.through, one, each.object)


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    """A selector of one requirement."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": [*values]}]}


@pytest.mark.parametrize(
    ("selector", "out", "inside"),
    [
        ({"matchLabels": {"a": "b"}}, {"a": None}, {"a": "b"}),
        (requirement("a", "Exists"), {"a": None}, {"a": "x"}),
        (requirement("a", "In", "b", "c"), {"a": None}, {"a": "b"}),
        (requirement("a", "NotIn", "b"), {"a": "b"}, {"a": None}),
        (requirement("a", "DoesNotExist"), {"a": "x"}, {"a": None}),
        ({"matchLabels": {"a": "b"}, **requirement("c", "DoesNotExist")}, {"c": "x"}, {"a": "b", "c": None}),
        ({"matchLabels": {"a": "b"}, **requirement("a", "DoesNotExist")}, {"a": "x"}, None),
        (requirement("a", "NotIn"), None, {"a": None}),
        (requirement("a", "Sometimes"), {"a": None}, None),
        ({"matchLabels": {"a": 5}}, {"a": None}, None),
        ({}, None, {}),
    ],
)
def test_examples_of_labels(
    selector: dict[str, Any], out: dict[str, str | None] | None, inside: dict[str, str | None] | None
) -> None:
    """What is left out by a label is set, what is selected by one is without it; None where nothing is sure."""
    for found, wanted, selects in ((left_out(selector), out, False), (selected(selector), inside, True)):
        if wanted is None:
            assert found is None
            continue
        assert found == Shape(labels=tuple(wanted.items()))
        for there in ({}, {"a": "b"}, {"a": "x", "c": "d"}):
            labels = {**there, **wanted}
            assert matches(selector, {key: text for key, text in labels.items() if text is not None}) is selects


FAILING = (
    ("request.userInfo.username != 'ann'", Shape(user="ann")),
    ("!(request.userInfo.username == 'ann')", Shape(user="ann")),
    ("!(request.userInfo.username in ['ann', \"bob\"])", Shape(user="ann")),
    ("!request.userInfo.username.startsWith('system:')", Shape(user="system:x")),
    ("!('system:nodes' in request.userInfo.groups)", Shape(user="x", groups=("system:nodes",))),
    ("!request.userInfo.groups.exists(g, g == 'ops')", Shape(user="x", groups=("ops",))),
    ("!object.metadata.name.startsWith('legacy-')", Shape(name="legacy-x")),
    ("!object.spec.containers.all(c, c.image.startsWith('trusted/'))", Shape(image="trusted/x")),
    ("has(object.spec) && object.metadata.name != 'a'", Shape(name="a")),
    ("request.userInfo.username != 'a && b'", Shape(user="a && b")),
    ("object.a == 1 && request.userInfo.username != 'x' || true", None),
    ("(object.a == 1 && request.userInfo.username != 'x')", None),
    ("object.a ? true : object.b && request.userInfo.username != 'x'", None),
    ("[')', object.a && request.userInfo.username != 'x' && '('].size() > 0", None),
    ("request.userInfo.username != variables.x", None),
    ("!request.userInfo.groups.exists(g, h == 'ops')", None),
    ("!object.spec.containers.exists(c, c.image.startsWith('trusted/'))", None),
    ("true", None),
)


@pytest.mark.parametrize(("expression", "shape"), FAILING)
def test_examples_of_what_a_condition_takes_out(expression: str, shape: Shape | None) -> None:
    """Only plain comparisons are read; whatever else stands beside them by `&&` does not matter."""
    assert failing(expression) == shape


@pytest.mark.parametrize(("expression", "shape"), [row for row in FAILING if row[1] is not None])
def test_an_example_makes_the_condition_fail(expression: str, shape: Shape, cel: Process) -> None:
    """As evaluated."""
    request = POD[0].request(Space.of("a", {}), *USERS[0]).shaped(*shape)
    ((answer,),) = cel.answers([Question(Program((expression,)), request.values)])
    assert answer.outcome == "false"


def test_examples_of_several() -> None:
    """All that expressions say holds of the example; what contradicts itself has none."""
    texts = ["object.metadata.name == 'a'", "request.userInfo.username == 'ann'"]
    assert holding(texts) == Shape(name="a", user="ann")
    assert holding([" && ".join(texts)]) == Shape(name="a", user="ann")
    assert holding([*texts, "object.metadata.name == 'b'"]) is None
    assert holding([*texts, "object.spec.x == 1"]) is None
    assert holding([]) == ANY
    assert merged([Shape(labels=(("a", "b"),)), Shape(labels=(("a", None),))]) is None
    assert merged([Shape(labels=(("a", "b"),)), Shape(labels=(("c", None),))]) == Shape(
        labels=(("a", "b"), ("c", None))
    )


@pytest.mark.parametrize(
    ("pattern", "text"), [("a", "a"), ("a-*", "a-x"), ("*", ""), ("**", ""), ("?*", "xx"), ("", "")]
)
def test_examples_of_texts(pattern: str, text: str) -> None:
    """Where every text is one there is none to give."""
    assert example(pattern) == text
