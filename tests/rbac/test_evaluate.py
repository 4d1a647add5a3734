"""Who holds what: read from nothing, and kept up to date change by change."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posture import rbac
from posture.model import Changed, Key, Snapshot, differences
from posture.rbac.evaluate import Access, role_of
from posture.rbac.rules import units
from tests.generator.objects import Object, account, binding, group, role, rule, service_account, snapshot, user
from tests.generator.small import random_edit
from tests.oracles.rbac import Cluster
from tests.rbac.strategies import clusters, seeds


def changes(old: Snapshot, new: Snapshot) -> list[Changed]:
    """The differences of two snapshots."""
    return [Changed(key, old.get(key), new.get(key)) for key, _, _ in differences(old.index, new.index, rbac.READS)]


def state(access: Access) -> dict[str, Any]:
    """All that a result says, as plain values: roles, who holds them through what, and the ways back."""
    return {
        "roles": {through: units(rules) for through, rules in access.roles.items()},
        "grants": {where: dict(found) for where, found in access.grants.items()},
        "bound": {through: set(found) for through, found in access.bound.items() if found},
        "inside": {subject: set(found) for subject, found in access.inside.items() if found},
    }


def held(access: Access) -> dict[tuple[str, str], Any]:
    """What each subject is granted at each scope, with the bindings."""
    return {
        where: {through: (bindings, access.roles.get(through)) for through, bindings in found.items()}
        for where, found in access.grants.items()
    }


@settings(max_examples=200, deadline=None)
@given(clusters, st.lists(seeds, max_size=8), seeds)
def test_an_update_is_an_evaluation_from_nothing(objects: list[Object], edits: Sequence[int], seed: int) -> None:
    """After any sequence of changes; every result on the way stays as it was, and says which places it looked at."""
    steps = [rbac.evaluate(snapshot(objects))]
    for edit in edits:
        before = steps[-1]
        objects = random_edit(Random(edit), objects)
        after = snapshot(objects)
        changed = changes(before.snapshot, after)
        Random(seed).shuffle(changed)
        steps.append(rbac.evaluate(after, before, changed))
        one, two = held(before), held(steps[-1])
        assert {where for where in one | two if one.get(where) != two.get(where)} <= steps[-1].touched

    for step in steps:
        assert state(step) == state(rbac.evaluate(step.snapshot))


@settings(max_examples=100, deadline=None)
@given(clusters, st.lists(seeds, min_size=2, max_size=6))
def test_many_updates_of_one_result_do_not_disturb_each_other(objects: list[Object], edits: Sequence[int]) -> None:
    """Trials swap objects in one result again and again, and compare what comes of it."""
    start = rbac.evaluate(snapshot(objects))
    results = []
    for edit in edits:
        after = snapshot(random_edit(Random(edit), objects))
        results.append(rbac.evaluate(after, start, changes(start.snapshot, after)))

    for result in [*results, start]:
        assert state(result) == state(rbac.evaluate(result.snapshot))


def test_a_change_that_changes_nothing_is_no_change() -> None:
    """An object that is named as changed, and is as it was, leaves the result as it was."""
    objects = [role("r", rule()), binding("b", "ClusterRole/r", user("ann")), service_account("pay", "api")]
    access = rbac.evaluate(snapshot(objects))
    same = [Changed(key, content, content) for name in rbac.READS for key, content in access.snapshot.objects(name)]

    assert state(rbac.evaluate(access.snapshot, access, same)) == state(access)


@settings(max_examples=100)
@given(clusters)
def test_grants_are_what_the_bindings_say(objects: list[Object]) -> None:
    """Each subject, scope and role reference, read a second time by brute force, and the bindings it comes from."""
    access = rbac.evaluate(snapshot(objects))
    cluster = Cluster(objects)
    found = {where: {str(through) for through in grants} for where, grants in access.grants.items()}

    assert found == cluster.bound
    assert {str(through) for through in access.roles if through.kind != "ServiceAccount"} == set(cluster.roles)
    for where, grants in access.grants.items():
        for through, bindings in grants.items():
            assert bindings
            for key in bindings:
                assert key == _named(access, key)
                assert through.kind == "ServiceAccount" or key.namespace in ("", where[1])


def _named(access: Access, key: Key) -> Key:
    assert access.snapshot.get(key) is not None
    return key


def test_the_work_follows_the_change() -> None:
    """A binding in one namespace touches its subjects there; a role, all that are bound to it; nothing else."""
    objects = [role("r", rule()), role("other", rule())]
    for where in ("pay", "web", "lab"):
        objects += [binding("b", "ClusterRole/r", account("", "api"), group("devs"), namespace=where),
                    binding("c", "ClusterRole/other", user("ann"), namespace=where)]  # fmt: skip
    start = rbac.evaluate(snapshot(objects))

    def touched(*more: Object) -> set[tuple[str, str]]:
        after = snapshot([*objects, *more])
        return set(rbac.evaluate(after, start, changes(start.snapshot, after)).touched)

    assert touched(binding("c", "ClusterRole/other", user("ann"), user("bob"), namespace="pay")) == {
        ("user:ann", "pay"), ("user:bob", "pay"),
    }  # fmt: skip
    assert touched(role("r", rule("get,list"))) == {
        (subject, where) for where in ("pay", "web", "lab") for subject in (f"serviceaccount:{where}/api", "group:devs")
    }
    assert touched(service_account("pay", "api", note="nothing")) == set()


def test_a_role_that_is_made_again_is_found_through_old_bindings() -> None:
    """Dangling references come to life without any change of the binding."""
    bound = [binding("b", "Role/r", user("ann"), namespace="pay")]
    start = rbac.evaluate(snapshot(bound))
    after = snapshot([*bound, role("r", rule(), namespace="pay")])
    alive = rbac.evaluate(after, start, changes(start.snapshot, after))
    reference = role_of(Key("roles.rbac.authorization.k8s.io", "pay", "r"))

    assert reference not in start.roles
    assert reference in alive.roles
    assert alive.touched == {("user:ann", "pay")}
    assert [bool(one.effective("user:ann", "pay")) for one in (start, alive)] == [False, True]
