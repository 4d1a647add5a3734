"""Silence and sensitivity, over whole random clusters: only a change of what is possible is drift, and all of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture import rbac
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs, shipped
from posture.kinds import manifest
from posture.model import Change, Finding, Snapshot, Unit
from posture.pipeline import History, Rules, diff, judge
from posture.resources import NEWEST
from tests.generator.objects import Object, snapshot
from tests.generator.small import (
    ACCOUNTS,
    API_GROUPS,
    NAMES,
    NAMESPACES,
    RESOURCES,
    USERS,
    VERBS,
    random_cluster,
    random_edit,
)
from tests.oracles.rbac import (
    EVERYWHERE,
    Cluster,
    Extra,
    Held,
    Vocabulary,
    aggregated,
    asked_inside,
    gains,
    groups_of,
    is_binding,
    user_called,
    vocabulary,
)
from tests.rbac.rewrites import REWRITES
from tests.rbac.strategies import clusters, seeds

NOW = "2026-11-20T12:00:00Z"
type Places = Mapping[tuple[str, str, str], Change]


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The shipped checks; nobody owns anything."""
    return Inputs(Config()).rules


def compared(before: Sequence[Object], after: Sequence[Object]) -> tuple[Places, Places]:
    """What was gained and what was lost between two clusters, by subject, scope and role reference."""
    found = rbac.compare(rbac.evaluate(snapshot(before)), rbac.evaluate(snapshot(after)))
    assert found.unknown == ()
    both: tuple[dict[tuple[str, str, str], Change], ...] = {}, {}
    for change in found.changes:
        places = both[change.direction == "tightened"]
        assert (change.subject, change.scope, str(change.through)) not in places
        places[change.subject, change.scope, str(change.through)] = change
    return both[0], both[1]


# Silence ------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(clusters, st.lists(st.tuples(st.sampled_from(REWRITES), seeds), min_size=1, max_size=6))
def test_what_means_the_same_is_silent(
    objects: list[Object], plan: Sequence[tuple[Callable[[Random, list[Object]], list[Object]], int]]
) -> None:
    """Any composition of rewrites with equal effect: no difference in either direction, no finding."""
    after = list(objects)
    for number, (rewrite, seed) in enumerate(plan):
        after = rewrite(Random(f"{number}:{seed}"), aggregated(after))

    found = diff(snapshot(objects), snapshot(after), rules(), lambda _: ())
    outcome = judge(snapshot(after), Agreed((snapshot(objects),), (), ()), History(), rules(), NOW).outcome

    assert [difference.message for difference in found.differences] == []
    assert (found.unknown, outcome.events, outcome.findings) == ((), [], {})


@pytest.mark.parametrize("rewrite", REWRITES)
def test_every_rewrite_changes_objects(rewrite: Callable[[Random, list[Object]], list[Object]]) -> None:
    """So that their silence says something."""
    changed = 0
    for seed in range(20):
        objects = random_cluster(Random(seed))
        before = snapshot(objects)
        after = snapshot(rewrite(Random(seed), list(objects)))
        changed += (
            before.digest != after.digest
            or [*before.index] != [*after.index]
            or objects != rewrite(Random(seed), list(objects))
        )

    assert changed >= 5


@settings(max_examples=50, deadline=None)
@given(clusters)
def test_a_cluster_does_not_differ_from_itself(objects: list[Object]) -> None:
    """Nothing gained, nothing lost, nothing to note."""
    found = diff(snapshot(objects), snapshot(objects), rules(), lambda _: ())

    assert (found.differences, found.notes, found.unknown) == ((), (), ())


# Sensitivity --------------------------------------------------------------------------------------------------------


def points(units: Iterable[Unit], words: Vocabulary) -> Held:
    """Every request that some units hold, and what is no request."""
    extras = {Extra(word, name) for unit in units for word in ("role", "assume") for name in unit.get(word, ())}
    return words.held(units) | extras


def single(units: Iterable[Unit]) -> list[Unit]:
    """Each permission as a rule of its own."""
    found: list[Unit] = []
    for one in rbac.permissions(units):
        if "path" in one:
            found.append({"verbs": [one["verb"]], "nonResourceURLs": [one["path"]]})
        elif "verb" in one:
            whole = one["resource"] + (f"/{one['subresource']}" if "subresource" in one else "")
            names = {"resourceNames": [one["name"]]} if "name" in one else {}
            found.append({"verbs": [one["verb"]], "apiGroups": [one["apiGroup"]], "resources": [whole], **names})
        else:
            found.append({word: [name] for word, name in one.items()})
    return found


def asked(scope: str, found: Held, *, surely: bool) -> Held:
    """What of a set anything asks for at a scope: for sure, or perhaps."""
    if scope == EVERYWHERE:
        return found
    return frozenset(one for one in found if (answer := asked_inside(one, scope)) or (answer is None and not surely))


def exact(found: Places, before: Sequence[Object], after: Sequence[Object]) -> None:
    """What was found is what brute force finds: request by request, and no permission in which nothing is new."""
    old, new = Cluster(before), Cluster(after)
    words = vocabulary(old, new)
    expected = gains(old, new, words)
    sure = {place: held for place, everything in expected.items() if (held := asked(place[1], everything, surely=True))}
    assert sure.keys() <= found.keys() <= expected.keys()
    for place, change in found.items():
        units = change.gained if change.direction == "loosened" else change.lost
        held = points(units, words)
        assert sure.get(place, frozenset()) <= held
        assert asked(place[1], held - old.effective(place[:2], words), surely=False) <= expected[place]
        for permission in single(units):
            assert points([permission], words) & expected[place], f"{permission} was held before"


@settings(max_examples=120, deadline=None)
@given(clusters, st.lists(seeds, min_size=1, max_size=5))
def test_a_difference_is_exact(objects: list[Object], edits: Sequence[int]) -> None:
    """Between any two clusters, and in both directions: who, where, through what, and which requests."""
    after = list(objects)
    for seed in edits:
        after = random_edit(Random(seed), after)
    gained, lost = compared(objects, after)

    exact(gained, objects, after)
    exact(lost, after, objects)


@settings(max_examples=60, deadline=None)
@given(clusters, st.lists(seeds, max_size=5))
def test_differences_mirror_each_other(objects: list[Object], edits: Sequence[int]) -> None:
    """What is gained on the way there is lost on the way back."""
    after = list(objects)
    for seed in edits:
        after = random_edit(Random(seed), after)
    there = rbac.compare(rbac.evaluate(snapshot(objects)), rbac.evaluate(snapshot(after)))
    back = rbac.compare(rbac.evaluate(snapshot(after)), rbac.evaluate(snapshot(objects)))

    assert {(*change.where, change.direction): change for change in there.changes} == {
        (*change.where, change.direction): change for change in map(Change.mirrored, back.changes)
    }


def permission(random: Random, *, plain: bool) -> Object:
    """One permission on a resource; a plain one has no star and lives in namespaces."""

    def some(values: Sequence[str]) -> list[str]:
        return [random.choice([value for value in values if not plain or "*" not in value])]

    made: Object = {"verbs": some(VERBS), "apiGroups": some(API_GROUPS), "resources": some(RESOURCES)}
    if plain:
        made["resources"] = [random.choice(("pods", "secrets", "pods/log", "deployments", "widgets", "Pods", "a/b/c"))]
    return made | ({"resourceNames": some(NAMES)} if random.random() < 0.5 else {})


def role_of_someone(random: Random, objects: Sequence[Object]) -> int | None:
    """A role that is written by hand, rather one that somebody is bound to."""
    bound = {one["roleRef"]["name"] for one in objects if is_binding(one) and one.get("subjects")}
    own = [number for number, one in enumerate(objects) if "rules" in one and "aggregationRule" not in one]
    used = [number for number in own if objects[number]["metadata"]["name"] in bound]
    return random.choice(used or own) if own else None


def with_rule(objects: Sequence[Object], number: int, more: Object) -> list[Object]:
    """The cluster with one rule more in one role, and what the controller makes of it."""
    after = list(objects)
    after[number] = after[number] | {"rules": [*after[number]["rules"], more]}
    return aggregated(after)


@settings(max_examples=200, deadline=None)
@given(clusters, seeds, st.booleans())
def test_one_permission_more_is_that_permission(objects: list[Object], seed: int, plain: bool) -> None:
    """For exactly the subjects and scopes bound to its role that do not hold it otherwise; covered, it is silent."""
    random = Random(seed)
    number = role_of_someone(random, objects)
    if number is None:
        return
    one = permission(random, plain=plain)
    after = with_rule(objects, number, one)
    gained, lost = compared(objects, after)

    assert lost == {}
    exact(gained, objects, after)
    if plain:
        assert {str(single(change.gained)) for change in gained.values()} <= {str([_ordered(one)])}
        old, new = Cluster(objects), Cluster(after)
        assert gained.keys() == gains(old, new, vocabulary(old, new)).keys()


@settings(max_examples=200, deadline=None)
@given(clusters, seeds)
def test_one_permission_less_is_that_permission(objects: list[Object], seed: int) -> None:
    """Taken out of the middle of a rule that holds more."""
    random = Random(seed)
    number = role_of_someone(random, objects)
    if number is None or not objects[number]["rules"]:
        return
    place = random.randrange(len(objects[number]["rules"]))
    given_rule = objects[number]["rules"][place]
    cell = {field: random.choice(values) for field, values in given_rule.items() if values}
    rest = []
    for index, field in enumerate(cell):
        before, later = [*cell][:index], [*cell][index + 1 :]
        if left := [value for value in given_rule[field] if value != cell[field]]:
            narrowed = {other: [cell[other]] for other in before} | {other: given_rule[other] for other in later}
            rest.append(narrowed | {field: left})
    after = list(objects)
    kept = [*objects[number]["rules"][:place], *rest, *objects[number]["rules"][place + 1 :]]
    after[number] = objects[number] | {"rules": kept}
    after = aggregated(after)
    gained, lost = compared(objects, after)

    assert gained == {}
    exact(lost, after, objects)
    taken = str([_ordered({field: [value] for field, value in cell.items()})])
    stars = any("*" in value for value in cell.values())
    if not stars and cell.get("resources") not in ("nodes", "namespaces", "clusterroles", None):
        assert {str(single(change.lost)) for change in lost.values()} <= {taken}


def _ordered(rule: Object) -> Object:
    return {field: rule[field] for field in ("verbs", "apiGroups", "resources", "resourceNames") if field in rule}


@settings(max_examples=80, deadline=None)
@given(clusters, st.lists(seeds, min_size=1, max_size=4), seeds)
def test_no_request_of_anyone_becomes_possible_unseen(objects: list[Object], edits: Sequence[int], seed: int) -> None:
    """Whatever a real identity, groups and all, could not ask before and can ask now is gained by one of its names."""
    after = list(objects)
    for edit in edits:
        after = random_edit(Random(edit), after)
    gained, _ = compared(objects, after)
    old, new = Cluster(objects), Cluster(after)
    words = vocabulary(old, new)
    random = Random(seed)
    for _ in range(4):
        names = identity(random)
        scope = random.choice((EVERYWHERE, *NAMESPACES))
        before, now = (
            frozenset().union(*(one.effective((name, scope), words) for name in names)) for one in (old, new)
        )
        mine = [change for (subject, at, _), change in gained.items() if subject in names and at in (scope, EVERYWHERE)]
        held = frozenset().union(*(points(change.gained, words) for change in mine))
        for point in asked(scope, now - before, surely=True):
            assert point in held or isinstance(point, Extra), f"{names} can now {point} in {scope}"


def identity(random: Random) -> list[str]:
    """All names of someone who asks: a user or an account, and every group on the request."""
    name = random.choice(
        (*(f"serviceaccount:{where}/{one}" for where in NAMESPACES for one in ACCOUNTS), *map(user_called, USERS))
    )
    known = name.startswith("user:") and name != "user:system:anonymous"  # whoever has other groups has logged in
    groups = random.sample(("group:devs", "group:ops", "group:ann"), random.randint(0, 2)) if known else []
    return [name, *groups, *groups_of(name)]


# Fixes --------------------------------------------------------------------------------------------------------------


def applied(objects: Sequence[Object], finding: Finding) -> list[Object]:
    """The cluster after the fix of a finding, and what the controller makes of it."""
    assert finding.fix is not None
    edited = {edit.key: edit.new for edit in finding.fix.edits}
    kept = [one for one in objects if _key(one) not in {tuple(key) for key in edited}]
    return aggregated([*kept, *(manifest(key, new) for key, new in edited.items() if new is not None)])


def _key(one: Object) -> tuple[str, str, str]:
    group = one.get("apiVersion", "").rpartition("/")[0]
    resource = one["kind"].lower() + "s"
    return f"{resource}.{group}" if group else resource, one["metadata"].get("namespace", ""), one["metadata"]["name"]


def drift(objects: Sequence[Object], agreed: Snapshot | None) -> dict[tuple[str, str, str], Finding]:
    """The findings of a first run."""
    known = Agreed((agreed,) if agreed else (), (), shipped(NEWEST))
    found = judge(snapshot(objects), known, History(), rules(), NOW).outcome.findings.values()
    return {(finding.subject, finding.scope, str(finding.through)): finding for finding in found}


@settings(max_examples=40, deadline=None)
@given(clusters, st.lists(seeds, min_size=1, max_size=4), st.booleans(), seeds)
def test_a_proven_fix_removes_its_finding_and_opens_none(
    objects: list[Object], edits: Sequence[int], with_baseline: bool, seed: int
) -> None:
    """Applied to the objects, with what the controller does then, and judged again."""
    after = list(objects)
    for edit in edits:
        after = random_edit(Random(edit), after)
    agreed = snapshot(objects) if with_baseline else None
    found = drift(after, agreed)
    fixable = [place for place, finding in sorted(found.items()) if finding.fix]
    for place in Random(seed).sample(fixable, min(4, len(fixable))):
        left = drift(applied(after, found[place]), agreed)
        assert place not in left
        for other, finding in left.items():
            assert other in found, f"{found[place].fix} opens {finding.message}"
            assert not rbac.beyond(finding.gained, found[other].gained)
