"""Laws of this domain over whole random clusters: enforcement, exceptions and differences are what requests say."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

import pytest

from posture import admission
from posture.admission.edits import removed
from posture.admission.evaluate import READS, Admission, evaluate
from posture.admission.gaps import doubt
from posture.admission.policy import ANY, Policy
from posture.admission.register import Entry, register
from posture.admission.units import ordered, violated
from posture.admission.violations import VIOLATIONS, Violation
from posture.config import Config
from posture.inputs import Inputs
from posture.model import Change, Changed, Gap, Through, Unit
from tests.admission.clusters import BY_ID, NUMBERS, Said, admitted, edited, evaluated, ids, made_in, refused
from tests.conftest import FIGURE
from tests.generator.admission import cluster
from tests.generator.engines import config, constraint, endpoint_slice, gatekeeper, template, webhook, webhooks
from tests.generator.objects import Object, namespace
from tests.generator.policies import Maker

type Settings = dict[str, Any]
type Law = Callable[[Random, Settings], int]
"""Holds for whatever is drawn; gives the number of cases that it was held against."""
SEEDS = range(4)
MANY = 60
ASKED = 12
"""Violations, drawn at random, that single requests are asked about in each namespace."""
HIDDEN = 5
"""Kinds, drawn at random, that may not be read one after the other."""


def drawn(random: Random) -> list[Object]:
    """A small cluster after some edits."""
    return edited(cluster(random), random, 3)


def some(random: Random, namespace: str, known: int = 0) -> list[Violation]:
    """Violations that can be made in a namespace: some drawn at random, and some of those known."""
    mine = [BY_ID[identity] for identity in sorted(ids(known))]
    found = made_in(namespace, [*random.sample(VIOLATIONS, 3 * ASKED)])[:ASKED]
    return [*{one.id: one for one in (*found, *random.sample(mine, min(len(mine), ASKED // 2)))}.values()]


@lru_cache(maxsize=1)
def checks() -> admission.Matcher:
    """The shipped checks."""
    return admission.Matcher(Inputs(Config()).checks)


# Enforcement --------------------------------------------------------------------------------------------------------


def what_is_enforced_is_what_single_requests_say(random: Random, settings: Settings) -> int:
    """In every namespace, of each violation: enforced, not, or unknown."""
    live, cases = evaluated(drawn(random), settings), 0
    for name, one in live.spaces.items():
        for identity, said in refused(live, one.space, some(random, name)).items():
            number = NUMBERS[identity]
            unknown = one.profile.unknown >> number & 1
            told = True if one.profile.refused >> number & 1 else None if unknown else False
            assert told is said, (name, identity)
            cases += 1
    return cases


def more(random: Random, objects: Sequence[Object]) -> list[Object]:
    """One more policy, of whatever engine is there."""
    maker = Maker(random)
    ways: list[Callable[[], list[Object]]] = [
        lambda: maker.validated("added"),
        lambda: [webhooks("added", webhook("added.example.com", "hooks/checker"))],
    ]
    if any(one["kind"] == "ClusterPolicy" for one in objects):
        ways += [lambda: [maker.cluster_policy("added")], lambda: [maker.validating_policy("added")]]
    kinds = [one["spec"]["crd"]["spec"]["names"]["kind"] for one in objects if one["kind"] == "ConstraintTemplate"]
    if kinds:
        ways.append(lambda: [maker.constraint(random.choice(kinds))])
    added = random.choice(ways)()
    for one in added if len(added) == 1 else ():
        one["metadata"]["name"] = "added"
    return added


def adding_a_policy_never_loses_a_control(random: Random, settings: Settings) -> int:
    """What is refused only grows, and nothing that was refused is said to be admitted."""
    objects = drawn(random)
    before = evaluated(objects, settings)
    for _ in range(3):
        after = evaluated([*objects, *more(random, objects)], settings)
        for name, one in before.spaces.items():
            assert not one.profile.refused & ~after.spaces[name].profile.refused, name
        assert lost_controls(before, after) == []
    return 3


def lost_controls(before: Admission, after: Admission) -> list[tuple[Change, Unit]]:
    """The controls that are enforced no longer, each with the change that tells it."""
    found = admission.compare(before, after, growth=True).changes
    return [(change, unit) for change in found if change.direction == "loosened" for unit in change.gained
            if "control" in unit]  # fmt: skip


TWINS = ("ValidatingAdmissionPolicy", "ClusterPolicy", "ValidatingPolicy")


def twins(random: Random, objects: Sequence[Object]) -> tuple[list[Object], list[Object], list[Object]] | None:
    """A policy with its bindings, the same under other names, and all other objects; no exception names either."""
    rest = [one for one in objects if one["kind"] != "PolicyException"]
    chosen = [one for one in rest if one["kind"] in TWINS or one["apiVersion"].startswith("constraints.gatekeeper.sh")]
    if not chosen:
        return None
    policy = random.choice(chosen)
    name = policy["metadata"]["name"]
    bound = [one for one in rest if one["kind"] == "ValidatingAdmissionPolicyBinding"
             and policy["kind"] == "ValidatingAdmissionPolicy" and one["spec"]["policyName"] == name]  # fmt: skip
    first = [policy, *bound]
    second = deepcopy(first)
    for number, one in enumerate(second):
        one["metadata"]["name"] = f"twin-{number}"
        if "policyName" in one["spec"]:
            one["spec"]["policyName"] = "twin-0"
    return first, second, [one for one in rest if not any(one is mine for mine in first)]


def removing_one_of_two_equal_policies_is_never_drift(random: Random, settings: Settings) -> int:
    """Whichever of them goes: no control is lost, and there is a note where it refused something."""
    found = twins(random, drawn(random))
    if found is None:
        return 0
    first, second, rest = found
    both = evaluated([*rest, *first, *second], settings)
    for gone, left in ((first, second), (second, first)):
        comparison = admission.compare(both, evaluated([*rest, *left], settings))
        assert [change for change in comparison.changes if change.direction == "loosened"] == []
        name = gone[0]["metadata"]["name"]
        mine = [part for one in both.spaces.values() for part in one.profile.parts
                if part.policy.through.name == name and part.policy.through.kind == gone[0]["kind"]]  # fmt: skip
        noted = [note for note in comparison.notes if note.message.startswith(f"{gone[0]['kind']} {name} ")]
        assert bool(noted) or not any(part.refused for part in mine)
    return 2


# Exceptions ---------------------------------------------------------------------------------------------------------


def without(live: Admission, entry: Entry) -> Admission | None:
    """What is refused when an exception is taken away; None where it is no object of the cluster.

    An update, which costs a tenth of an evaluation: test_updates.py is where both are held against each other.
    """
    exemption, through = entry.exemption, entry.through
    away = removed(live.snapshot, through.namespace, exemption.removal, local=exemption.local, label=through.name)
    return evaluate(live.snapshot.replaced((one.key, one.new) for one in away), live, away) if away else None


def entries(random: Random, live: Admission, most: int = 8) -> Iterator[tuple[Entry, Admission]]:
    """Some exceptions, those that open something first, each with what is refused without it."""
    found = [*register(live).values()]
    random.shuffle(found)
    found.sort(key=lambda entry: not entry.opens)
    for entry in found[:most]:
        after = without(live, entry)
        if after is not None:
            yield entry, after


def reach(entry: Entry, live: Admission) -> list[str]:
    """Where an exception may open something: in its own namespace, or anywhere."""
    return [entry.through.namespace] if entry.exemption.local else sorted(live.spaces)


def an_exception_opens_what_is_refused_without_it(random: Random, settings: Settings) -> int:
    """Take it away and evaluate again: what is refused more, in requests of its shape, is exactly what it opens."""
    live, cases = evaluated(drawn(random), settings), 0
    for entry, after in entries(random, live):
        if entry.exemption.shape is None:
            continue
        opened: Counter[bool] = Counter()
        for name in reach(entry, live):
            tests = some(random, name, entry.opens.get(name, 0))
            was = refused(live, live.spaces[name].space, tests, entry.exemption.shape)
            now = refused(after, after.spaces[name].space, tests, entry.exemption.shape)
            for test in tests:
                said = opens(was[test.id], now[test.id])
                told = bool(entry.opens.get(name, 0) >> NUMBERS[test.id] & 1)
                assert said is None or said is told, (entry.through, name, test.id)
                opened[told] += 1
        if entry.state in ("inert", "misplaced", "expired"):
            assert not opened[True]
            for name, one in live.spaces.items():
                refused_now = after.spaces[name].profile.refused
                assert not refused_now & ~one.profile.refused, (entry.through, name)
                if not entry.through.name.endswith("-version"):  # an older release may refuse what newer ones relaxed
                    assert not one.profile.refused & ~refused_now, (entry.through, name)
        cases += opened.total()
    return cases


def opens(was: Said, now: Said) -> Said:
    """Whether what is refused `now` and not before was opened; None where nobody can say."""
    if was is True or now is False:
        return False
    return None if was is None or now is None else True


def an_exception_serves_who_is_refused_without_it(random: Random, settings: Settings) -> int:
    """Its workloads are exactly those that are admitted with it and refused without; by this it is used or not."""
    live, cases = evaluated(drawn(random), settings), 0
    for entry, after in entries(random, live):
        for name in filter(None, reach(entry, live)):
            without_it = admitted(after, name)
            for subject, said in admitted(live, name).items():
                if said is None or without_it[subject] is None:
                    continue
                needs = said and not without_it[subject]
                assert (subject in entry.serves) is needs, (entry.through, subject)
                cases += 1
        if entry.state in ("used", "unused"):
            assert (entry.state == "used") is bool(entry.serves)
    return cases


def a_new_exception_is_told_by_what_it_opens(random: Random, settings: Settings) -> int:
    """Against the cluster without it: what it opens is gained through it in each namespace, and nothing else is.

    Where another policy may refuse the same, as it may have before, that it is opened is told all the same. What an
    engine brings itself is nobody's drift.
    """
    live, cases = evaluated(drawn(random), settings), 0
    for entry, before in entries(random, live, 5):
        if entry.exemption.built_in:
            continue
        comparison = admission.compare(before, live)
        gains = (change for change in comparison.changes if change.direction == "loosened")
        found = {change.scope: change for change in gains if change.through == entry.through}
        unsure = {one.scope for one in comparison.unknown}
        for name in reach(entry, live):
            place = name or "*"
            units = [unit for unit in (found[place].gained if place in found else ()) if "violation" in unit]
            told = sum(1 << NUMBERS[unit["violation"]] for unit in units)
            shape = entry.exemption.shape or ANY
            assert ordered(units) == ordered(violated(told, shape)), (entry.through, name)
            if place not in unsure:
                opened = entry.opens.get(name, 0)
                assert not opened & ~told, (entry.through, name)
                assert not told & ~(opened | entry.maybe.get(name, 0)), (entry.through, name)
                cases += 1
    return cases


# Differences --------------------------------------------------------------------------------------------------------


def a_cluster_does_not_differ_from_itself(random: Random, settings: Settings) -> int:
    """Nothing gained, nothing lost, nothing to note, nothing unknown; in whatever order its objects come."""
    objects = drawn(random)
    again = objects.copy()
    random.shuffle(again)
    one, other = evaluated(objects, settings), evaluated(again, settings)
    found = admission.compare(one, other)

    assert (found.changes, found.notes, found.unknown) == ((), (), ())
    assert [*map(said, one.policies)] == [*map(said, other.policies)]
    return 1


def said(policy: Policy) -> tuple[Any, ...]:
    """What one edits of a policy, and the objects that are named with it, in order."""
    return policy.engine, policy.through, policy.keys, [(one.through, one.keys) for one in policy.exemptions]


def differences_mirror_each_other(random: Random, settings: Settings) -> int:
    """What is gained on the way there is lost on the way back.

    But for what is said of an exception that is unknown on one side: that it is better kept there nobody can say.
    """
    objects = drawn(random)
    before, after = evaluated(objects, settings), evaluated(edited(objects, random, random.randint(1, 3)), settings)
    there = admission.compare(before, after).changes
    back = admission.compare(after, before).changes
    unknown = {through for side in (before, after) for through, entry in register(side).items()
               if entry.state == "unknown"}  # fmt: skip

    assert {(*one.where, one.direction): one for one in sure(there, unknown)} == {
        (*one.where, one.direction): one for one in sure(map(Change.mirrored, back), unknown)
    }
    assert len({(*one.where, one.direction) for one in there}) == len(there)
    return 1


def sure(changes: Iterable[Change], unknown: Collection[Through]) -> Iterator[Change]:
    """Changes without what they say of exceptions that are unknown."""
    for change in changes:
        gained, lost = (
            tuple(unit for unit in units if "exception" not in unit or change.through not in unknown)
            for units in (change.gained, change.lost)
        )
        if gained or lost:
            yield replace(change, gained=gained, lost=lost)


def differences_are_exact_and_complete(random: Random, settings: Settings) -> int:
    """Each request that was refused and is admitted is one unit of its namespace, once, and nothing else is.

    What was refused for sure and now, if at all, by a policy that may have refused it before, is no longer refused.
    """
    objects = drawn(random)
    before, after = evaluated(objects, settings), evaluated(edited(objects, random, random.randint(1, 3)), settings)
    comparison = admission.compare(before, after)
    unsure = {one.scope for one in comparison.unknown}
    told: Counter[tuple[str, str]] = Counter(
        ("" if change.scope == "*" else change.scope, unit["violation"])
        for change in comparison.changes if change.direction == "loosened"
        for unit in change.gained if "violation" in unit and "for" not in unit
    )  # fmt: skip
    cases = 0
    for name, one in after.spaces.items():
        known = sum(1 << NUMBERS[identity] for where, identity in told if where == name)
        tests = some(random, name, known)
        was = refused(before, before.spaces[name].space, tests)
        now = refused(after, one.space, tests)
        for test in tests:
            count = told[name, test.id]
            cases += 1
            if was[test.id] is True and now[test.id] is False:
                assert count == 1, (name, test.id)
            elif was[test.id] is True and now[test.id] is None:
                assert count == 1 or (name or "*") in unsure, (name, test.id)
            else:
                assert count == 0, (name, test.id)
    return cases


# Gaps ---------------------------------------------------------------------------------------------------------------


def hidden(live: Admission, kind: str, *, gap: bool = True) -> Admission:
    """The same without the objects of a kind, because it was forbidden, or because there are none."""
    index = {name: objects for name, objects in live.snapshot.index.items() if name != kind}
    gaps = (Gap(kind, "", "forbidden", f"{kind} is forbidden"),) if gap else ()
    gone = [Changed(key, content, None) for key, content in live.snapshot.objects(kind)]
    return evaluate(replace(live.snapshot, index=index, gaps=gaps, derived={}), live, gone)


def a_gap_opens_nothing_and_resolves_nothing(random: Random, settings: Settings) -> int:
    """On whichever side a kind is forbidden: nothing changed, no check begins to hold, and none ends without a doubt.

    Where its absence would be a change, it is unknown.
    """
    live = evaluated(drawn(random), settings)
    kinds = random.sample(sorted(kind for kind in READS if kind in live.snapshot.index), HIDDEN)
    holds = {*admission.match(checks(), live)}
    for kind in kinds:
        gapped = hidden(live, kind)
        found = admission.compare(live, gapped)
        assert found.changes == (), kind
        assert admission.compare(gapped, live).changes == (), kind
        absent = admission.compare(live, hidden(live, kind, gap=False)).changes
        assert found.unknown or not any(change.direction == "loosened" for change in absent), kind
        held = {*admission.match(checks(), gapped)}
        assert not held - holds, kind
        for hit in holds - held:
            assert doubt(gapped, hit.subject, hit.scope, hit.through, live.snapshot), (kind, hit)
    return len(kinds)


def test_objects_come_in_any_order(settings: Settings) -> None:
    """Several of what random clusters have one of: slices of a Service, webhooks, Configs, expansions."""
    slices = [endpoint_slice("hooks", "checker", (True,)), endpoint_slice("hooks", "checker", (False,))]
    slices[1]["metadata"] = {**slices[1]["metadata"], "name": "checker-a"}
    hooks = [one for one in gatekeeper() if one["kind"] == "ValidatingWebhookConfiguration"]
    renamed = [{**hooks[0], "metadata": {"name": name}} for name in ("b", "a")]
    expansions: list[Object] = [
        {"apiVersion": "expansion.gatekeeper.sh/v1beta1", "kind": "ExpansionTemplate", "metadata": {"name": name},
         "spec": {"applyTo": [{"groups": ["apps"], "versions": ["v1"], "kinds": ["Deployment"]}]}}
        for name in ("b", "a")
    ]  # fmt: skip
    objects = [
        namespace("pay"), *slices, webhooks("checker", webhook("checker.example.com", "hooks/checker")), *renamed,
        *expansions, template("Never", "false"), constraint("Never", "b"), constraint("Never", "a"),
        config((["pay"], ["*"])), config((["pay"], ["*"]), name="other"),
    ]  # fmt: skip
    one, other = evaluated(objects, settings), evaluated([*reversed(objects)], settings)

    assert [*map(said, one.policies)] == [*map(said, other.policies)]
    assert [policy.content for policy in one.policies] == [policy.content for policy in other.policies]


# What runs them -----------------------------------------------------------------------------------------------------

LAWS: tuple[Law, ...] = (
    what_is_enforced_is_what_single_requests_say,
    adding_a_policy_never_loses_a_control,
    removing_one_of_two_equal_policies_is_never_drift,
    an_exception_opens_what_is_refused_without_it,
    an_exception_serves_who_is_refused_without_it,
    a_new_exception_is_told_by_what_it_opens,
    a_cluster_does_not_differ_from_itself,
    differences_mirror_each_other,
    differences_are_exact_and_complete,
    a_gap_opens_nothing_and_resolves_nothing,
)
CASES: dict[str, int] = {
    "removing_one_of_two_equal_policies_is_never_drift": 6, "adding_a_policy_never_loses_a_control": 12,
    "a_cluster_does_not_differ_from_itself": 4, "differences_mirror_each_other": 4,
}  # fmt: skip
"""So many cases, at the least, the seeds give together, of other laws 20: that a law holds says something."""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_holds(law: Law, settings: Settings) -> None:
    """For some random clusters after random edits; the assertion names what broke it, the seed is in the locals."""
    cases = sum(law(Random(f"{law.__name__}:{seed}"), settings) for seed in SEEDS)

    assert cases >= CASES.get(law.__name__, 20)


@pytest.mark.prove
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_law_holds_for_many_clusters(
    law: Law, settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    """The same for many more; POSTURE_SEED repeats a run."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    cases = 0
    for number in range(MANY):
        try:
            cases += law(Random(f"{seed}:{number}"), settings)
        except AssertionError as error:
            error.add_note(f"POSTURE_SEED={seed}, cluster {number}")
            raise
    record_property(FIGURE, f"admission: {law.__name__.replace('_', ' ')}: {cases:,} cases in {MANY} clusters ({seed})")

    assert cases
