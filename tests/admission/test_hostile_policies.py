"""Policies made to stop whoever evaluates them: they cost bounded time, and nothing but their own verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from posture import admission
from posture.admission.enforcement import Part
from posture.admission.evaluate import Admission
from posture.admission.register import register
from posture.admission.violations import VIOLATIONS
from posture.cel import Process
from posture.model import Through
from tests.admission.clusters import evaluated, ids
from tests.generator import vap
from tests.generator.admission import cluster
from tests.generator.engines import (
    NOW,
    cel,
    cel_exception,
    cluster_policy,
    conditions,
    constraint,
    gatekeeper,
    kyverno,
    kyverno_rule,
    pod_security,
    template,
    validating_policy,
)
from tests.generator.objects import Object, metadata, namespace
from tests.generator.policies import CONSTRAINTS, RULES
from tests.generator.templates import clean, controlled

type Settings = dict[str, Any]
BOUND = 60.0
"""Seconds that a whole evaluation may take on a busy machine."""
HOST_PATHS = {one.id for one in VIOLATIONS if one.control == "hostPathVolumes"}
PODS = {one.id for one in VIOLATIONS if one.resource.resource == "pods" and not one.subresource}
PRIVILEGED = "privileged:containers.securityContext.privileged=true"
CONTAINERS = "object.spec.containers"


def nested(depth: int, items: int = 64) -> str:
    """A condition that walks through a list of numbers for each of its own, many levels deep; true in the end."""
    numbers = f"[{','.join(map(str, range(items)))}]"
    text = "true"
    for level in range(depth):
        text = f"{numbers}.all(v{level}, {text})"
    return text


EXPLODING = {
    "nested comprehensions": nested(6),
    "a text that doubles": f"{CONTAINERS}.all(c, [c.name].map(a, a{' + a' * 40}).map(a, a{' + a' * 400})"
    f".map(a, a{' + a' * 400}).all(a, a.matches('(x+x+)+y')))",
    "a catastrophic regular expression": f"'{'a' * 5000}!'.matches('^((a+)+)+$') || {nested(5)}",
    "a regular expression of a million states": f"'{'a' * 500}'.matches('((a{{1,1000}}){{1,1000}}){{1,1000}}b')",
    "a huge literal": f"size('{'x' * 2_000_000}') > 0 && {nested(5)}",
    "a list that grows": f"[1].map(a, {nested(4)}).all(a, a) && {nested(6)}",
    "brackets a hundred thousand deep": "(" * 100_000 + "true" + ")" * 100_000,
    "negations a hundred thousand deep": "!" * 100_000 + "true",
    "a conditional that never ends": "true ? " * 20_000 + "true" + " : false" * 20_000,
    "no expression at all": "\x00\ud7ff" * 50,
}


def rest() -> list[Object]:
    """Two namespaces, and a policy that is what it seems."""
    return [namespace("pay"), namespace("web"), vap.policy("honest", RULES["host-path"]), vap.binding("honest")]


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """What is said of the cluster; a program may take a second, so that many of them are soon through."""
    with Process(seconds=1.0) as process:
        yield {"now": NOW, "cel": process}


def timed(objects: Sequence[Object], settings: Settings) -> Admission:
    """What a cluster refuses, which takes no longer than it may."""
    began = time.monotonic()
    live = evaluated(objects, settings)
    assert time.monotonic() - began < BOUND
    return live


def check(live: Admission, name: str) -> None:
    """The honest policy is exact in every namespace; what the hostile one of this name refuses is unknown, with why."""
    for space in ("pay", "web"):
        profile = live.spaces[space].profile
        assert ids(profile.refused) == HOST_PATHS
        (hostile,) = [part for part in profile.parts if part.policy.through.name == name]
        assert ids(hostile.row.unknown) == PODS
        assert 0 < len(hostile.why) < 400


@pytest.mark.parametrize("name", EXPLODING)
def test_an_expression_costs_bounded_time(name: str, settings: Settings) -> None:
    """Endless, exploding or broken: what follows from it is unknown, and only from it."""
    live = timed([*rest(), vap.policy("hostile", EXPLODING[name]), vap.binding("hostile")], settings)

    check(live, "hostile")


def variables(*texts: str) -> list[Object]:
    """Variables v0, v1 and so on."""
    return [{"name": f"v{number}", "expression": text} for number, text in enumerate(texts)]


DOUBLING = variables("'x'", *(f"variables.v{number} + variables.v{number}" for number in range(60)))
"""The last would be a text of a billion billion letters."""


def test_a_policy_that_kills_who_evaluates_it(settings: Settings) -> None:
    """It takes all memory that there is for it: it is given up, and the next policy is asked of a new process."""
    hostile = vap.policy("hostile", "variables.v60.size() > 0", variables=DOUBLING)
    live = timed([*rest(), hostile, vap.binding("hostile"), *another("zebra")], settings)

    check(live, "hostile")
    assert ids(part_of(live, "zebra").row.refused) == HOST_PATHS


def another(name: str) -> list[Object]:
    """One more honest policy, which is asked after those before it in the alphabet. Nothing that it says is known."""
    return [vap.policy(name, f"{RULES['host-path']} && true"), vap.binding(name)]


def part_of(live: Admission, name: str) -> Part:
    """What a policy says in a namespace."""
    (found,) = [part for part in live.spaces["pay"].profile.parts if part.policy.through.name == name]
    return found


@pytest.mark.parametrize("texts", [
    ("variables.v1", "variables.v0"),
    ("variables.v0",),
    (*(f"variables.v{number + 1}" for number in range(300)), "variables.v0"),
], ids=["two", "itself", "three hundred"])  # fmt: skip
def test_variables_in_a_circle(texts: Sequence[str], settings: Settings) -> None:
    """A variable sees those before it alone: each evaluation fails, which refuses everything, whatever it violates."""
    hostile = vap.policy("hostile", "variables.v0 == 1", variables=variables(*texts))
    live = timed([*rest(), hostile, vap.binding("hostile")], settings)

    assert part_of(live, "hostile").silent
    assert ids(live.spaces["pay"].profile.refused) == HOST_PATHS


def test_parameters_of_ten_megabytes(settings: Settings) -> None:
    """A list of a million images: what the server would say of so much nobody knows."""
    images = [f"example.com/{number:07}" for number in range(500_000)]
    kind = "PosturePrivileged"
    objects = [*gatekeeper(), template(kind, *CONSTRAINTS[kind]), constraint(kind, "hostile", {"exemptImages": images})]

    live = timed([*rest(), *objects], settings)
    unknown = live.spaces["pay"].profile.unknown

    assert ids(live.spaces["pay"].profile.refused) == HOST_PATHS
    assert PRIVILEGED in ids(unknown)
    assert "large" in part_of(live, "hostile").why


def test_what_takes_half_of_the_time_that_there_is_each_time(settings: Settings) -> None:
    """A hundred hostile policies take a hundred times what one does, and no more."""
    made = [one for number in range(100) for one in (
        vap.policy(f"hostile-{number}", f"{EXPLODING['nested comprehensions']} || {number} > 0"),
        vap.binding(f"hostile-{number}"))]  # fmt: skip
    live = timed([*rest(), *made], settings)

    for number in range(100):
        check(live, f"hostile-{number}")


BAD = EXPLODING["nested comprehensions"]


def legacy(*preconditions: str) -> Object:
    """A ClusterPolicy whose rule, or a condition of that, is hostile."""
    more = {"celPreconditions": conditions(*preconditions)} if preconditions else {}
    return cluster_policy("hostile", kyverno_rule("r", cel(RULES["privileged"] if preconditions else BAD), **more))


ELSEWHERE = {
    "a match condition": [
        vap.policy("hostile", RULES["privileged"], matchConditions=conditions(BAD)),
        vap.binding("hostile"),
    ],
    "a rule of Kyverno": [*kyverno(data={"excludeGroups": ""}), legacy()],
    "a ValidatingPolicy": [*kyverno(data={"excludeGroups": ""}), validating_policy("hostile", BAD)],
    "a template of Gatekeeper": [*gatekeeper(), template("Hostile", BAD), constraint("Hostile", "hostile")],
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_in_every_engine(name: str, settings: Settings) -> None:
    """The same expression, wherever expressions are: the policy that has it is unknown, the honest one is not."""
    live = timed([*rest(), *ELSEWHERE[name]], settings)

    assert part_of(live, "hostile").row.refused == 0
    assert ids(live.spaces["pay"].profile.refused) == HOST_PATHS
    assert ids(live.spaces["pay"].profile.unknown)


def test_a_hostile_exception_makes_unknown_what_it_may_open(settings: Settings) -> None:
    """Whether it takes out what its policy refuses nobody can say; what others refuse it leaves alone."""
    objects = [*kyverno("--enablePolicyException=true", "--exceptionNamespace=kyverno", data={"excludeGroups": ""}),
               validating_policy("host", RULES["privileged"]),
               cel_exception("agent", "kyverno", ["host"], BAD)]  # fmt: skip
    live = timed([*rest(), *objects], settings)
    one = register(live)[Through("PolicyException", "kyverno", "agent")]

    assert (one.state, dict(one.opens)) == ("unknown", {})
    assert ids(live.spaces["pay"].profile.refused) == HOST_PATHS
    assert PRIVILEGED in ids(live.spaces["pay"].profile.unknown)


GLOB = "*a" * 40 + "*b"
"""Against many letters a: a matcher that goes back over each star never ends."""
LONG = "a" * 60


@pytest.mark.parametrize("resources", [
    {"namespaces": [GLOB]}, {"names": [GLOB]}, {"selector": {"matchLabels": {GLOB: GLOB}}},
    {"namespaceSelector": {"matchLabels": {GLOB: GLOB}}}, {"annotations": {GLOB: GLOB}},
    {"namespaces": [GLOB] * 5000}, {"kinds": [GLOB]},
], ids=lambda one: next(iter(one)))  # fmt: skip
def test_wildcards_without_end(resources: Object, settings: Settings) -> None:
    """Excluded by names with eighty wildcards: the other policy is exact, and no time is lost."""
    exclude = cluster_policy("hostile", kyverno_rule("r", cel(RULES["privileged"]), [resources]))
    long = namespace(LONG, **{LONG: LONG})
    pod = clean(LONG)
    pod["metadata"] = {"labels": {"app": "x", LONG: LONG}, "annotations": {LONG: LONG}}
    workload = controlled("Deployment", LONG, LONG, pod, {"app": "x"})
    live = timed([*rest(), long, workload, *kyverno(data={"excludeGroups": ""}), exclude], settings)

    assert {ids(live.spaces[name].profile.refused) >= HOST_PATHS for name in ("pay", "web", LONG)} == {True}
    assert PRIVILEGED in ids(live.spaces["pay"].profile.refused)


def test_image_patterns_without_end(settings: Settings) -> None:
    """Of Gatekeeper, Kyverno's controls and sigstore: each is matched in bounded time."""
    kind = "PosturePrivileged"
    image: Object = {"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy",
                     "metadata": metadata("images"),
                     "spec": {"images": [{"glob": GLOB}, {"glob": "**" * 60}],
                              "authorities": [{"static": {"action": "fail"}}]}}  # fmt: skip
    capabilities = {"controlName": "Capabilities", "images": [GLOB]}
    objects = [
        *gatekeeper(), template(kind, *CONSTRAINTS[kind]), constraint(kind, "c", {"exemptImages": [GLOB]}),
        *kyverno(), cluster_policy("images", kyverno_rule("r", pod_security("baseline", capabilities))), image,
    ]  # fmt: skip
    live = timed([*rest(), namespace("x", **{"policy.sigstore.dev/include": "true"}), *objects], settings)

    assert ids(live.spaces["pay"].profile.refused) >= HOST_PATHS | {PRIVILEGED}


SHAPES: tuple[Any, ...] = (None, "x", 7, -1.5, True, [], {}, [None], [[]], [{}], {"": None}, {"x": {"y": []}})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a value that is not the name of an object."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        if path or key in ("spec", "webhooks", "data", "status"):
            yield (*path, key)
            yield from places(below, (*path, key))


def put(holder: Any, path: tuple[Any, ...], value: Any) -> None:
    """Set what is at a path, unless what was put above it holds nothing there any more."""
    for step in path[:-1]:
        if not isinstance(holder, dict if isinstance(step, str) else list) or step not in [*_steps(holder)]:
            return
        holder = holder[step]
    if isinstance(holder, dict if isinstance(path[-1], str) else list) and path[-1] in [*_steps(holder)]:
        holder[path[-1]] = value


def _steps(holder: Any) -> Any:
    return holder if isinstance(holder, dict) else range(len(holder))


@pytest.mark.parametrize("seed", range(6))
def test_any_shape(seed: int, settings: Settings) -> None:
    """What no server validates may hold anything anywhere: nothing raises, in no function above the engines."""
    random = Random(f"shapes:{seed}")
    for _ in range(6):
        objects = deepcopy(cluster(random))
        before = evaluated(objects, settings)
        for one in objects:
            if one["kind"] in ("Namespace", "Pod") or "template" in (one.get("spec") or {}):
                continue
            for path in random.sample(found := [*places(one)], min(len(found), 2)):
                put(one, path, deepcopy(random.choice(SHAPES)))
        live = evaluated(objects, settings)
        for entry in register(live).values():
            assert entry.states
        admission.compare(before, live)
        admission.compare(live, before)
        assert [gap.reason for gap in admission.gaps(live.snapshot) if not gap.message] == []
