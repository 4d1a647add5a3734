"""Updates: after any sequence of edits the result is that of a full evaluation, and the cost follows the change."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from random import Random
from typing import Any

import pytest

from posture import admission
from posture.admission.cel import Evaluator
from posture.admission.evaluate import READS, Admission, evaluate
from posture.admission.policy import Asked, Engine, Verdict
from posture.admission.register import ANNOTATIONS, Entry, register
from posture.config import Config
from posture.inputs import Inputs
from posture.model import Changed, Gap, Key, Snapshot, Through, differences
from tests.admission.clusters import edited, evaluated, taken
from tests.conftest import FIGURE
from tests.generator import vap
from tests.generator.admission import cluster
from tests.generator.engines import FUTURE, validating_policy, webhook, webhooks
from tests.generator.objects import Object, namespace
from tests.generator.policies import RULES
from tests.generator.templates import SPOILS, clean, controlled

type Settings = dict[str, Any]
STEPS = 5
MANY = 250


@lru_cache(maxsize=1)
def checks() -> admission.Matcher:
    """The shipped checks."""
    return admission.Matcher(Inputs(Config()).checks)


def changes(before: Snapshot, after: Snapshot) -> list[Changed]:
    """The objects that differ."""
    return [Changed(key, before.get(key), after.get(key))
            for key, _, _ in differences(before.index, after.index, READS)]  # fmt: skip


def updated(before: Admission, snapshot: Snapshot) -> Admission:
    """The result for a snapshot, from the one before."""
    return evaluate(snapshot, before, changes(before.snapshot, snapshot))


def said(entry: Entry) -> tuple[Any, ...]:
    """All that an entry says, without the objects by which the evaluation tells policies apart."""
    whole = [getattr(entry, one.name) for one in fields(entry) if one.name not in ("exemption", "policies")]
    policies = [(policy.engine, policy.through) for policy in entry.policies]
    return (*whole, policies, entry.keys, entry.exemption.what, entry.exemption.shape, entry.exemption.removal)


def state(result: Admission) -> dict[str, Any]:
    """All that a result says of each namespace and exception, and where checks hold."""
    return {
        "enforced": {name: (one.profile.refused, one.profile.unknown, {**one.profile.opened})
                     for name, one in result.spaces.items()},
        "policies": [(policy.engine, policy.through, policy.content, policy.up) for policy in result.policies],
        "register": {through: said(entry) for through, entry in register(result).items()},
        "hits": {*admission.match(checks(), result)},
        "until": admission.until(result),
    }  # fmt: skip


def holds(random: Random, settings: Settings) -> None:
    """An update, after each of some edits, against a full evaluation; differences to the first and the last state."""
    objects = cluster(random)
    baseline = result = evaluated(objects, settings)
    for _ in range(STEPS):
        objects = edited(objects, random, random.choice((1, 1, 1, 2)))
        snapshot, before = taken(objects, settings), result
        result, full = updated(before, snapshot), evaluate(snapshot)
        assert state(result) == state(full)
        for other in (baseline, before):
            for growth in (False, True):
                mine, theirs = (admission.compare(other, one, growth=growth) for one in (result, full))
                assert (mine.changes, mine.notes, {*mine.unknown}) == (theirs.changes, theirs.notes, {*theirs.unknown})
        loosened = [
            one for one in admission.compare(before, result, growth=True).changes if one.direction == "loosened"
        ]
        assert {change.where[:2] for change in loosened} <= result.touched
        within = admission.compare(before, result, None, result.touched, growth=True).changes
        assert within == tuple(loosened)


@pytest.mark.parametrize("seed", range(6))
def test_an_update_equals_a_full_evaluation(seed: int, settings: Settings) -> None:
    """Enforcement, exceptions, whom they serve, hits of checks and differences; no place that differs is untouched."""
    holds(Random(f"updates:{seed}"), settings)


def test_what_is_made_in_a_namespace_is_asked_in_one(settings: Settings) -> None:
    """In whatever order an update comes to a namespace and to the cluster, to which a policy is the same."""
    spaces = [namespace("web", team="a"), *(namespace(f"other-{number}") for number in range(9))]
    asked = {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}
    nowhere = {"namespaceSelector": {"matchExpressions": [{"key": "nobody", "operator": "Exists"}]}}
    result = evaluated([*spaces, validating_policy("pods", "true", matchConstraints=asked)], settings)
    for rule in ("true", RULES["host-path"]):  # first only the cluster changes, which is the last from then on
        policies = [validating_policy("pods", rule, matchConstraints=asked),
                    validating_policy("nowhere", "true", matchConstraints=nowhere)]  # fmt: skip
        snapshot = taken([*spaces, *policies], settings)
        result = updated(result, snapshot)

        assert state(result) == state(evaluate(snapshot))


def test_who_no_longer_needs_an_exception_touches_wherever_it_counts(settings: Settings) -> None:
    """It is unused in the other namespace from then on, too."""
    pod = {**clean("agent"), "metadata": {"labels": {"app": "agent"}}}
    SPOILS["host-path"](pod["spec"])
    objects = [*small(), namespace("old", skip="yes")]
    before = evaluated([*objects, controlled("Deployment", "agent", "lab", pod, {"app": "agent"})], settings)
    after = updated(before, taken(objects, settings))
    unused = {change.scope for change in admission.compare(before, after).changes if change.direction == "loosened"}

    assert unused == {"lab", "old"}
    assert unused <= {scope for _, scope in after.touched}


@pytest.mark.prove
def test_updates_equal_full_evaluations_of_many_clusters(
    settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    """The same for many more; POSTURE_SEED repeats a run."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    for number in range(MANY):
        holds(Random(f"{seed}:{number}"), settings)
    record_property(FIGURE, f"admission: {MANY * STEPS:,} updates equal full evaluations ({seed})")


# What is not asked again --------------------------------------------------------------------------------------------


def small() -> list[Object]:
    """Three namespaces and a policy with an exception."""
    skip = {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
    return [
        namespace("pay"), namespace("web"), namespace("lab", skip="yes"),
        vap.policy("host", RULES["host-path"], matchConstraints={"namespaceSelector": skip}), vap.binding("host"),
        *(vap.policy(f"other-{number}", RULES["privileged"]) for number in range(3)),
        *(vap.binding(f"other-{number}") for number in range(3)),
    ]  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Every question that any engine is asked from now on."""
    found: list[Asked] = []

    def listening(engine: Engine) -> Any:
        judged = engine.judged

        def noted(given: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
            found.extend(given)
            return judged(given, cel)

        return noted

    for engine in admission.ENGINES.values():
        monkeypatch.setattr(engine, "judged", listening(engine))
    return found


def labelled(settings: Settings, name: str, **labels: str) -> Snapshot:
    """The small cluster, with a namespace of other labels."""
    return taken([*(one for one in small() if one["metadata"]["name"] != name), namespace(name, **labels)], settings)


def test_only_a_policy_that_changed_is_asked(settings: Settings, asked: list[Asked]) -> None:
    """An edited policy is asked; the others are the same objects as before, and say what they said."""
    before = evaluated(small(), settings)
    edited_policy = [vap.policy("host", RULES["host-namespaces"])]
    asked.clear()
    after = updated(before, taken([*small(), *edited_policy], settings))

    assert {one.policy.through.name.split("/")[0] for one in asked} == {"host"}
    changed = {one.through.name for one in {*before.policies} ^ {*after.policies}}
    assert changed == {"host"}


def test_a_label_that_no_policy_looks_at_asks_nothing(settings: Settings, asked: list[Asked]) -> None:
    """A namespace that is to all policies as others are has their profile."""
    before = evaluated(small(), settings)
    asked.clear()
    after = updated(before, labelled(settings, "pay", colour="blue"))

    assert asked == []
    assert after.spaces["pay"].profile is before.spaces["web"].profile
    assert after.spaces["web"] is before.spaces["web"]


def test_a_label_that_exempts_is_seen(settings: Settings) -> None:
    """A namespace that gets the label of the exception is as the one that had it, and only it is touched."""
    before = evaluated(small(), settings)
    after = updated(before, labelled(settings, "pay", skip="yes"))

    assert after.spaces["pay"].profile is after.spaces["lab"].profile
    assert {scope for _, scope in after.touched} == {"pay"}


def test_what_is_not_read_changes_nothing(settings: Settings) -> None:
    """A change of another domain's object: the same spaces, none touched."""
    before = evaluated(small(), settings)
    snapshot = before.snapshot.replaced([(Key("services", "pay", "api"), None)])
    after = evaluate(snapshot, before, [Changed(Key("networkpolicies.networking.k8s.io", "pay", "x"), None, {})])

    assert after.spaces is before.spaces
    assert after.touched == frozenset()


def test_time_alone_is_a_change(settings: Settings) -> None:
    """Other settings evaluate everything: an exception may have ended since."""
    skipping: Object = small()[3]
    skipping["metadata"]["annotations"] = {ANNOTATIONS["expires"][0]: FUTURE}
    objects = [*small()[:3], skipping, *small()[4:]]
    before = evaluated(objects, settings)
    later: Mapping[str, Any] = {**settings, "now": "2028-01-01T00:00:00Z"}
    after = evaluate(taken(objects, later), before, [])
    through = Through(
        "ValidatingAdmissionPolicy", "", "host/spec.matchConstraints.namespaceSelector[skip DoesNotExist]"
    )

    assert [register(one)[through].overdue for one in (before, after)] == [False, True]
    assert admission.until(before) == FUTURE


def test_gaps_come_and_go(settings: Settings) -> None:
    """A gap beside the same objects makes an update doubt what it did not, and the end of the gap ends that."""
    before = evaluated(small(), settings)
    gap = Gap("clusterpolicies.kyverno.io", "", "forbidden", "forbidden")
    during = evaluate(taken(small(), settings, gap), before, [])
    after = evaluate(taken(small(), settings), during, [])
    place = ("namespace:pay", "pay", Through("Label", "pay", ""))

    assert [admission.doubt(one, *place) for one in (before, during, after)] == [None, gap, None]


@pytest.mark.parametrize("kind", ["endpointslices.discovery.k8s.io", "*"])
def test_a_gap_alone_is_a_change(kind: str, settings: Settings) -> None:
    """That nobody could read what answers for a webhook makes another policy of it, whatever objects there are."""
    objects = [*small(), webhooks("hooks", webhook("hook.example.com", "hooks/checker"))]
    there, hidden = taken(objects, settings), taken(objects, settings, Gap(kind, "", "forbidden", "forbidden"))
    states = [state(evaluate(one)) for one in (there, hidden)]

    assert states[0]["policies"] != states[1]["policies"]
    assert state(evaluate(hidden, evaluate(there), [])) == states[1]
    assert state(evaluate(there, evaluate(hidden), [])) == states[0]
