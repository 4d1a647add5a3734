"""Gatekeeper: every way to take something out of a constraint, with and without it. See test_gatekeeper.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from posture.admission.engines import gatekeeper
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Exemption, Policy, Space, Verdict
from posture.admission.requests import NAMESPACES, Request, pod_creation
from posture.cel import Process
from posture.model import Through
from tests.generator.gatekeeper import (
    CONFIGURATION,
    IGNORE,
    SYSTEM,
    TEMPLATES,
    WEBHOOK,
    config,
    constraint,
    excluding,
    rego,
    template,
    webhook,
)
from tests.generator.objects import Object, namespace, snapshot

PAY = namespace("pay", team="pay")
NEVER = template("Never", "false")
HOOK = f"{CONFIGURATION}/webhooks[{WEBHOOK}]"


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def space(raw: Object = PAY) -> Space:
    """A namespace as requests are made in it."""
    return Space.of(raw["metadata"]["name"], {"labels": raw["metadata"].get("labels")})


def pod(*containers: Object, raw: Object = PAY, labels: dict[str, str] | None = None, **more: Any) -> Request:
    """The creation of a pod."""
    given = list(containers) or [{"name": "a", "image": "x"}]
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels or {}},
           "spec": {"containers": given}}  # fmt: skip
    return pod_creation(one, raw["metadata"]["name"], space(raw).object, **more)


def privileged(image: str) -> Object:
    """A privileged container."""
    return {"name": image.replace("/", "-"), "image": image, "securityContext": {"privileged": True}}


def only(*objects: Object) -> Policy:
    """The one policy of a cluster."""
    (found,) = gatekeeper.policies(snapshot(objects))
    return found


def within(policy: Policy, raw: Object = PAY) -> list[Through]:
    """The exemptions that may take something out in a namespace, but for Gatekeeper's own account."""
    found = gatekeeper.variant(policy, space(raw))
    assert found is not None
    named = [policy.exemptions[number].through for number in sorted(found.exemptions)]
    return [one for one in named if one.kind != "ServiceAccount"]


def number(policy: Policy, name: str) -> int:
    """The number of an exemption, by the end of its name."""
    (found,) = [place for place, one in enumerate(policy.exemptions) if one.through.name.endswith(name)]
    return found


def exemption(policy: Policy, name: str) -> Exemption:
    """An exemption by the end of its name."""
    return policy.exemptions[number(policy, name)]


def asked(policy: Policy, request: Request, cel: Process, *without: str, raw: Object = PAY) -> Verdict:
    """The answer with the exemptions of the namespace in force, but for some."""
    found = gatekeeper.variant(policy, space(raw))
    if found is None:
        return ADMITS
    force = found.exemptions - {number(policy, name) for name in without}
    return gatekeeper.judged([Asked(policy, request, force)], cel)[0]


def removed(policy: Policy, name: str, *objects: Object) -> list[Any]:
    """What an object holds after the removal of an exemption, with the policy of a cluster that holds it."""
    one = exemption(policy, name)
    before = snapshot(objects)
    assert [before.get(change.key) for change in one.removal] == [change.old for change in one.removal]
    after = before.replaced([(change.key, change.new) for change in one.removal])
    (found,) = gatekeeper.policies(after)
    return [found, *(change.new for change in one.removal)]


# One table of ways --------------------------------------------------------------------------------------------------

LOOSE = {"key": "loose", "operator": "DoesNotExist"}
TEAMS = {"key": "team", "operator": "NotIn", "values": ["pay", "shop"]}
IGNORED = namespace("pay", **{"team": "pay", IGNORE: "migration, TICKET-1"})

WAYS: dict[str, tuple[list[Object], str, Request]] = {
    "Config": ([constraint("Never"), config(excluding("pay"))], "config/spec.match[0].excludedNamespaces/pay", pod()),
    "Config, webhook": ([constraint("Never"), config(excluding("p*", processes=["webhook", "audit"]))],
                        "spec.match[0].excludedNamespaces/p*", pod()),
    "excludedNamespaces": ([constraint("Never", match={"excludedNamespaces": ["a", "pay"]})],
                           "c/spec.match.excludedNamespaces/pay", pod()),
    "excludedNamespaces, glob": ([constraint("Never", match={"excludedNamespaces": ["*y"]})],
                                 "c/spec.match.excludedNamespaces/*y", pod()),
    "namespaceSelector": ([constraint("Never", match={"namespaceSelector": {"matchExpressions": [TEAMS]}})],
                          "c/spec.match.namespaceSelector/team", pod()),
    "labelSelector": ([constraint("Never", match={"labelSelector": {"matchLabels": {"app": "web"}}})],
                      "c/spec.match.labelSelector", pod()),
    "labelSelector, negative": ([constraint("Never", match={"labelSelector": {"matchExpressions": [LOOSE]}})],
                                "c/spec.match.labelSelector", pod(labels={"loose": ""})),
    "webhook's namespaceSelector": ([constraint("Never"), webhook([TEAMS])], f"{HOOK}.namespaceSelector/team", pod()),
    "webhook's objectSelector": ([constraint("Never"), webhook(objectSelector={"matchExpressions": [LOOSE]})],
                                 f"{HOOK}.objectSelector", pod(labels={"loose": ""})),
    "webhook's condition": (
        [constraint("Never"), webhook(matchConditions=[{"name": "no-pods", "expression": "object.kind != 'Pod'"}])],
        f"{HOOK}.matchConditions/no-pods", pod()),
    "ignore label": ([constraint("Never"), webhook(), IGNORED], IGNORE, pod(raw=IGNORED)),
    "exemptImages": ([constraint("Privileged", parameters={"exemptImages": ["y", "reg/*"]})],
                     "c/spec.parameters.exemptImages/reg/*", pod(privileged("reg/a"))),
    "template's condition": (
        [constraint("Some"), template("Some", "false", matchCondition=[{"name": "named", "expression": "false"}])],
        "some/matchCondition/named", pod()),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_with_and_without(way: str, cel: Process) -> None:
    """In force it takes the request out and is named; without its number the constraint refuses."""
    objects, name, request = WAYS[way]
    raw = IGNORED if way == "ignore label" else PAY
    policy = only(PAY, NEVER, TEMPLATES["Privileged"], *objects)
    assert asked(policy, request, cel, raw=raw) == Verdict(False, "", frozenset({number(policy, name)}))
    assert asked(policy, request, cel, name, raw=raw) == REFUSES
    assert exemption(policy, name).through in within(policy, raw)


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"ignore label"}))
def test_removal(way: str, cel: Process) -> None:
    """The edits take it away, and the cluster then is the one without its number."""
    objects, name, request = WAYS[way]
    made = [PAY, NEVER, TEMPLATES["Privileged"], *objects]
    policy = only(*made)
    after, *_ = removed(policy, name, *made)
    assert all(not one.through.name.endswith(name) for one in after.exemptions)
    assert asked(after, request, cel) == REFUSES
    assert exemption(policy, name).keys[0] == exemption(policy, name).removal[0].key


@pytest.mark.parametrize(
    ("way", "other"),
    [
        ("Config", pod(raw=namespace("shop"))),
        ("excludedNamespaces, glob", pod(raw=namespace("shop"))),
        ("namespaceSelector", pod(raw=namespace("bank", team="bank"))),
        ("namespaceSelector", pod(raw=namespace("bank"))),
        ("labelSelector", pod(labels={"app": "web"})),
        ("labelSelector, negative", pod()),
        ("webhook's namespaceSelector", pod(raw=namespace("bank"))),
        ("webhook's objectSelector", pod()),
        ("ignore label", pod()),
        ("exemptImages", pod(privileged("docker.io/reg/a"))),
        ("exemptImages", pod(privileged("reg/a"), privileged("z"))),
    ],
)
def test_whom_it_leaves_in(way: str, other: Request, cel: Process) -> None:
    """What it does not name is refused, with all of them in force."""
    objects, *_ = WAYS[way]
    policy = only(PAY, NEVER, TEMPLATES["Privileged"], *objects)
    assert other.namespace_object is not None
    raw = {"metadata": other.namespace_object["metadata"]}
    assert asked(policy, other, cel, raw=raw) == REFUSES


# What is none, or takes nothing out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [["audit"], ["sync", "mutation-webhook"], []])
def test_a_config_for_other_processes_is_no_exemption(processes: list[str], cel: Process) -> None:
    """Audit skips the namespace, admission does not (gatekeeper#3167, #3112: the two are set apart from each other)."""
    policy = only(PAY, NEVER, constraint("Never"), config(excluding("pay", processes=processes)))
    assert not any(one.through.kind == "Config" for one in policy.exemptions)
    assert asked(policy, pod(), cel) == REFUSES


def test_excluded_namespaces_in_the_wrong_place_are_idle(cel: Process) -> None:
    """Outside of `match` nobody reads them (gatekeeper#959)."""
    policy = only(PAY, NEVER, constraint("Never", excludedNamespaces=["pay", "shop"]))
    assert exemption(policy, "spec.excludedNamespaces/pay").idle == (
        "Gatekeeper reads excludedNamespaces only under spec.match"
    )
    assert asked(policy, pod(), cel) == REFUSES
    everything = frozenset(range(len(policy.exemptions)))
    assert gatekeeper.judged([Asked(policy, pod(), everything)], cel) == [REFUSES]


def test_match_conditions_in_the_wrong_place_are_idle(cel: Process) -> None:
    """The field of a template is `matchCondition`, unlike that of a ValidatingAdmissionPolicy."""
    made = template("Some", "false", matchConditions=[{"name": "named", "expression": "false"}])
    policy = only(PAY, made, constraint("Some"))
    assert exemption(policy, "named").idle == "Gatekeeper reads match conditions only under matchCondition"
    assert asked(policy, pod(), cel) == REFUSES


@pytest.mark.parametrize(("name", "where"), [("config", "elsewhere"), ("other", SYSTEM)])
def test_another_config_is_idle(name: str, where: str, cel: Process) -> None:
    """Gatekeeper reads the one named `config` in its own namespace, which is that of its webhook's Service."""
    policy = only(PAY, NEVER, webhook(), constraint("Never"), config(excluding("pay"), name=name, namespace=where))
    assert exemption(policy, "excludedNamespaces/pay").idle == f"Gatekeeper reads only the Config {SYSTEM}/config"
    assert asked(policy, pod(), cel) == REFUSES


def test_the_config_of_a_folder_tells_where_gatekeeper_is(cel: Process) -> None:
    """Where no webhook is there to tell it."""
    policy = only(PAY, NEVER, constraint("Never"), config(excluding("pay"), namespace="gk"))
    assert asked(policy, pod(), cel).refuses is False
    assert exemption(policy, "gatekeeper-admin").through.namespace == "gk"


def test_the_ignore_label_counts_where_the_webhook_reads_it(cel: Process) -> None:
    """It is a part of the namespace; without the webhook's requirement it is idle."""
    policy = only(IGNORED, NEVER, webhook(), constraint("Never"))
    found = exemption(policy, IGNORE)
    assert found.local
    assert found.through_in("pay") == Through("Label", "pay", IGNORE)
    read = only(IGNORED, NEVER, webhook(namespaceSelector={}), constraint("Never"))
    assert exemption(read, IGNORE).idle == "no webhook of Gatekeeper leaves namespaces with this label out"
    assert found.through in within(read, IGNORED)
    assert asked(read, pod(raw=IGNORED), cel, raw=IGNORED) == REFUSES


def test_namespaces_that_come_with_the_ignore_label_are_out() -> None:
    """It needs no namespace that is there."""
    policy = only(PAY, NEVER, constraint("Never"))
    assert [one.name for one in within(policy, namespace("new", **{IGNORE: ""}))] == [IGNORE]
    assert within(policy, namespace("new")) == []


def test_strays() -> None:
    """A Config that excludes namespaces from constraints that are not there."""
    (found,) = gatekeeper.strays(snapshot([config(excluding("a")), IGNORED]))
    assert (found.through.name, found.idle) == ("config/spec.match[0].excludedNamespaces/a", "there is no constraint")
    assert not [*gatekeeper.strays(snapshot([config(excluding("a")), constraint("Never")]))]


def test_the_chart_leaves_its_own_namespace_out(cel: Process) -> None:
    """In a folder that is assumed, and no object says it."""
    system = namespace(SYSTEM)
    for objects in ([], [webhook()]):
        policy = only(system, NEVER, constraint("Never"), *objects)
        found = exemption(policy, f"{HOOK}.namespaceSelector/kubernetes.io/metadata.name")
        assert bool(found.removal) is bool(objects)
        assert bool(found.keys) is bool(objects)
        assert asked(policy, pod(raw=system), cel, raw=system).refuses is False
        assert asked(policy, pod(raw=system), cel, "kubernetes.io/metadata.name", raw=system) == REFUSES


def test_gatekeeper_lets_its_own_account_through(cel: Process) -> None:
    """By its name in Gatekeeper's namespace."""
    policy = only(PAY, NEVER, constraint("Never"))
    own = pod(user=f"system:serviceaccount:{SYSTEM}:gatekeeper-admin")
    assert asked(policy, own, cel) == Verdict(False, "", frozenset({number(policy, "gatekeeper-admin")}))
    assert asked(policy, own, cel, "gatekeeper-admin") == REFUSES
    assert asked(policy, pod(user="system:serviceaccount:pay:gatekeeper-admin"), cel) == REFUSES


def test_labels_by_which_one_takes_oneself_out() -> None:
    """Whoever makes an object sets its labels; those of a namespace he does not."""
    match = {"labelSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [LOOSE]}}
    hook = webhook(objectSelector={"matchExpressions": [LOOSE]})
    policy = only(NEVER, constraint("Never", match=match), hook, IGNORED)
    assert exemption(policy, "labelSelector").labels == ("app", "loose")
    assert exemption(policy, "objectSelector").labels == ("loose",)
    assert exemption(policy, IGNORE).labels == ()


def test_a_positive_selector_is_no_exemption() -> None:
    """It says whom the constraint is meant for."""
    match = {"namespaceSelector": {"matchLabels": {"team": "pay"}}, "namespaces": ["pay"]}
    policy = only(PAY, NEVER, constraint("Never", match=match))
    assert within(policy) == []
    assert gatekeeper.variant(policy, space(namespace("shop"))) is None


def test_an_exemption_common_to_all_is_one() -> None:
    """The same Through, number and object in every constraint."""
    objects = [config(excluding("a")), webhook([TEAMS]), IGNORED, NEVER, rego("Other")]
    found = list(gatekeeper.policies(snapshot([*objects, constraint("Never"), constraint("Other")])))
    first, second = (one.exemptions for one in found)
    assert [one.through for one in first] == [one.through for one in second]
    assert [one.kind for one in (exemption.through for exemption in first)] == [
        "Config", "ValidatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Label", "ServiceAccount",
    ]  # fmt: skip


def test_variants_name_only_what_may_take_out_there() -> None:
    """Of a thousand excluded namespaces each has its own."""
    names = [f"n{place}" for place in range(1000)]
    policy = only(PAY, NEVER, constraint("Never", match={"excludedNamespaces": names}), config(excluding("n1", "n*")))
    prefix = "spec.match.excludedNamespaces/"
    assert [one.name for one in within(policy, namespace("n1"))] == [
        "config/spec.match[0].excludedNamespaces/n1", "config/spec.match[0].excludedNamespaces/n*", f"c/{prefix}n1",
    ]  # fmt: skip
    assert within(policy) == []


def test_a_config_entry_goes_with_its_last_pattern() -> None:
    """Later versions of Gatekeeper exclude everything by an entry that names no namespace."""
    objects = [NEVER, constraint("Never"), config(excluding("a", "b", "a"), excluding("c"))]
    policy = only(*objects)
    _, one = removed(policy, "[0].excludedNamespaces/a", *objects)
    assert one["spec"] == {"match": [excluding("b"), excluding("c")]}
    _, one = removed(policy, "[1].excludedNamespaces/c", *objects)
    assert one["spec"] == {"match": [excluding("a", "b", "a")]}
    _, one = removed(only(*objects[:2], config(excluding("a"))), "/a", *objects[:2], config(excluding("a")))
    assert one["spec"] == {}


def test_a_config_entry_that_is_narrowed_is_unknown(cel: Process) -> None:
    """Versions differ in whether they read more of it than namespaces; another exclusion is certain."""
    narrowed = excluding("pay", kinds=["Service"])
    policy = only(PAY, NEVER, constraint("Never"), config(narrowed))
    assert asked(policy, pod(), cel).refuses is None
    assert asked(only(PAY, NEVER, constraint("Never"), config(narrowed, excluding("p*"))), pod(), cel).refuses is False


# Several at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "containers", "excused"),
    [
        (["a", "b"], ["a"], ["a"]),
        (["a", "b"], ["a", "b"], ["a", "b"]),  # both are needed
        (["a", "a*"], ["a"], ["a", "a*"]),  # one is enough
        (["a", "a*", "b"], ["a", "b"], ["b"]),
        (["a", "b", "z"], ["a", "b"], ["a", "b"]),
        (["a", "a*", "z"], ["a"], ["a", "a*"]),
        (["*"], ["a", "b"], ["*"]),
        (["z"], [], []),
    ],
)
def test_which_images_take_a_pod_out(
    images: list[str], containers: list[str], excused: list[str], cel: Process
) -> None:
    """Those of which one is enough, and those without which it is refused."""
    policy = only(PAY, TEMPLATES["Privileged"], constraint("Privileged", parameters={"exemptImages": images}))
    found = asked(policy, pod(*map(privileged, containers)), cel)
    names = {f"c/spec.parameters.exemptImages/{image}" for image in excused}
    assert found.refuses is False
    assert {policy.exemptions[place].through.name for place in found.excused} == names


def test_without_its_last_image_the_list_is_not_there(cel: Process) -> None:
    """As after the removal."""
    made = template("Some", "has(variables.params.exemptImages)")
    policy = only(PAY, made, constraint("Some", parameters={"exemptImages": ["a"]}))
    assert asked(policy, pod(), cel).refuses is False
    assert asked(policy, pod(), cel, "exemptImages/a") == REFUSES


def test_two_ways_are_both_named(cel: Process) -> None:
    """Neither alone is what lets the request through."""
    policy = only(
        PAY, NEVER, constraint("Never", match={"excludedNamespaces": ["pay", "p*"]}), config(excluding("pay"))
    )
    names = ("c/spec.match.excludedNamespaces/pay", "c/spec.match.excludedNamespaces/p*", "config/spec.match[0]")
    everything = gatekeeper.variant(policy, space())
    assert everything is not None
    config_number = number(policy, "[0].excludedNamespaces/pay")
    own = frozenset(number(policy, name) for name in names[:2])
    assert gatekeeper.judged([Asked(policy, pod(), everything.exemptions)], cel)[0].excused == {config_number}
    rest = everything.exemptions - {config_number}
    assert gatekeeper.judged([Asked(policy, pod(), rest)], cel)[0].excused == own
    assert gatekeeper.judged([Asked(policy, pod(), NONE)], cel) == [REFUSES]


@pytest.mark.parametrize(
    ("expression", "policy", "refuses"),
    [
        ("true", "Fail", True),
        ("false", "Fail", False),
        ("object.spec.nope.nope", "Fail", True),
        ("object.spec.nope.nope", "Ignore", False),
        ("authorizer.group('').check('x')", "Ignore", None),
        ("authorizer.group('').check('x')", "Fail", None),
    ],
)
def test_errors_of_match_conditions(expression: str, policy: str, refuses: bool | None, cel: Process) -> None:
    """Of the webhook and of the template alike: what is closed refuses, what is open asks nothing."""
    conditions = [{"name": "c", "expression": expression}]
    hook = only(PAY, NEVER, constraint("Never"), webhook(matchConditions=conditions, failurePolicy=policy))
    made = template("Some", "false", matchCondition=conditions, failurePolicy=policy)
    for one in (hook, only(PAY, made, constraint("Some"))):
        assert asked(one, pod(), cel).refuses is refuses


def test_match_conditions_see_no_namespace(cel: Process) -> None:
    """`namespaceObject` is null for those of a template; parameters they see."""
    seen = "namespaceObject == null && variables.params.on && object.metadata.name == 'p'"
    made = template("Some", "namespaceObject == null", matchCondition=[{"name": "c", "expression": seen}])
    assert asked(only(PAY, made, constraint("Some", parameters={"on": True})), pod(), cel) == REFUSES
    assert asked(only(PAY, made, constraint("Some", parameters={"on": False})), pod(), cel).refuses is False


def test_an_updated_object_is_out_only_with_both_of_its_states(cel: Process) -> None:
    """A label cannot be put on to get out; nor can the name of a namespace's labels."""
    match = {"labelSelector": {"matchExpressions": [LOOSE]}}
    policy = only(PAY, NEVER, constraint("Never", match=match))
    old, new = pod(), pod(labels={"loose": ""})
    update = Request("UPDATE", new.resource, "", "pay", "p", new.object, old.object, namespace_object=space().object)
    assert asked(policy, update, cel) == REFUSES
    both = Request("UPDATE", new.resource, "", "pay", "p", new.object, new.object, namespace_object=space().object)
    assert asked(policy, both, cel).refuses is False


def test_a_namespace_is_taken_out_by_its_own_labels(cel: Process) -> None:
    """As the API server and Gatekeeper select it."""
    policy = only(IGNORED, NEVER, webhook(), constraint("Never", match={}))
    request = Request("CREATE", NAMESPACES, "", "pay", "pay", IGNORED)
    assert asked(policy, request, cel, raw=IGNORED).excused == {number(policy, IGNORE)}
    bare = Request("CREATE", NAMESPACES, "", "pay", "pay", PAY)
    assert asked(policy, bare, cel, raw=IGNORED) == REFUSES


def test_a_namespace_that_is_made_is_taken_out_by_its_name(cel: Process) -> None:
    """By the Config and by the constraint; it is an object outside of any namespace."""
    request = Request("CREATE", NAMESPACES, "", "pay", "pay", PAY)
    for match, more in (({}, [config(excluding("p*"))]), ({"excludedNamespaces": ["pay"]}, [])):
        policy = only(NEVER, constraint("Never", match=match), *more)
        found = gatekeeper.variant(policy, Space("", {}, {}))
        assert found is not None
        assert not any(policy.exemptions[place].local for place in found.exemptions)
        verdicts = gatekeeper.judged([Asked(policy, request, found.exemptions), Asked(policy, request)], cel)
        assert [one.refuses for one in verdicts] == [False, True]


def test_of_an_unknown_namespace_only_its_name_counts(cel: Process) -> None:
    """Nobody knows its labels."""
    request = pod_creation({"metadata": {"name": "p"}, "spec": {"containers": []}}, "pay", None)
    policy = only(PAY, NEVER, constraint("Never"), config(excluding("pay")))
    force = frozenset({number(policy, "/pay")})
    found = gatekeeper.judged([Asked(policy, request, force), Asked(policy, request)], cel)
    assert found == [Verdict(False, "", force), Verdict(None, "namespace pay is not known")]


def test_a_second_webhook_may_ask_where_the_first_does_not(cel: Process) -> None:
    """Which of them selects what is told of one only."""
    other = webhook() | {"metadata": {"name": "another"}}
    objects = [PAY, NEVER, constraint("Never"), webhook([TEAMS]), other]
    assert asked(only(*objects), pod(), cel).refuses is None
    bank = namespace("bank")
    assert asked(only(*objects), pod(raw=bank), cel, raw=bank) == REFUSES
    assert [gap.reason for gap in gatekeeper.gaps(snapshot(objects))] == ["not modelled"]


@pytest.mark.prove
def test_a_large_cluster_stays_cheap() -> None:
    """3,000 namespaces, 30 constraints, 1,000 exemptions: policies within a second, a variant in 10 µs."""
    spaces = [namespace(f"n{place}", **({IGNORE: "x"} if place % 30 == 0 else {})) for place in range(3000)]
    names = [f"n{place}" for place in range(0, 3000, 100)]
    constraints = [
        constraint("Never", f"c{place}", match={"excludedNamespaces": names}, parameters={}) for place in range(30)
    ]
    found = snapshot([*spaces, NEVER, webhook(), config(excluding("kube-*", "n7")), *constraints])
    start = time.process_time()
    policies = list(gatekeeper.policies(found))
    made = time.process_time() - start
    places = [space(one) for one in spaces]
    start = time.process_time()
    variants = {gatekeeper.variant(policy, place) for policy in policies for place in places}
    each = (time.process_time() - start) / (len(policies) * len(places))
    assert len(variants) > 30
    assert made < 1
    assert each < 1e-5
