"""What an edge into a condition needs: of what is granted, that which gives it, by the names that it is limited to."""

from __future__ import annotations

from collections.abc import Iterable
from time import process_time

import pytest

from posture.graph.following import HOLDS
from posture.graph.nodes import condition
from tests.generator.objects import Object, binding, namespace, role, rule, user
from tests.graph.clusters import evaluated
from tests.graph.test_cut import asked, texts
from tests.graph.test_new_paths import ADMIN, Cluster, may

EVE = user("eve")
RBAC = "rbac.authorization.k8s.io"
type Needs = set[tuple[str, ...]]
"""For each edge, what each of its needs is given by."""


def tokens(*names: str) -> Object:
    """To create tokens of ServiceAccounts of these names, or of any."""
    return rule("create", "serviceaccounts/token", names=names or None)


def bindings(verbs: str, *names: str) -> Object:
    """To do something with RoleBindings of these names, or of any."""
    return rule(verbs, "rolebindings", RBAC, names or None)


def bind(*names: str) -> Object:
    """To bind Roles of these names, or any."""
    return rule("bind", "roles", RBAC, names or None)


def granted(rules: Iterable[Object]) -> list[Object]:
    """The Roles r0, r1 and so on for eve, one for each rule."""
    return [one for place, each in enumerate(rules) for one in may(f"r{place}", EVE, each)]


def needed(escalation: str, objects: Iterable[Object]) -> dict[str, Needs]:
    """What eve's edges into an escalation's condition need, by the name that it is limited to; "" is any."""
    found: dict[str, Needs] = {}
    for edge in evaluated([namespace("pay"), *objects]).edges("user:eve"):
        if edge.rule == HOLDS and condition(edge.head).escalation == escalation:
            name = condition(edge.head).names.get("$name", "")
            texts = (",".join(sorted(fact.through.name for fact in need)) for need in edge.needs)
            found.setdefault(name, set()).add(tuple(texts))
    return found


@pytest.mark.parametrize(("rules", "expected"), [
    ([tokens()], {"": {("r0",)}}),
    ([tokens("a")], {"a": {("r0",)}}),
    ([tokens("a", "b")], {"a": {("r0",)}, "b": {("r0",)}}),
    ([tokens("a"), tokens("b")], {"a": {("r0",)}, "b": {("r1",)}}),
    ([tokens("a", "b"), tokens("b")], {"a": {("r0",)}, "b": {("r0,r1",)}}),
    ([tokens(), tokens()], {"": {("r0,r1",)}}),
    ([tokens(), tokens("a")], {"": {("r0",)}, "a": {("r1",)}}),
    ([tokens("")], {}),
])  # fmt: skip
def test_a_name_needs_what_allows_that_name(rules: list[Object], expected: dict[str, Needs]) -> None:
    """And any name what is limited to none."""
    assert needed("create-serviceaccount-token", granted(rules)) == expected


@pytest.mark.parametrize(("rules", "expected"), [
    ([bind("a"), bindings("create")], {"a": {("r0", "r1")}}),
    ([bind("a"), bind("b"), bindings("create")], {"a": {("r0", "r2")}, "b": {("r1", "r2")}}),
    ([bind("a"), bindings("create,patch", "x"), bindings("create,patch", "y")], {"a": {("r0", "r1,r2", "r1,r2")}}),
    ([bind("a"), bindings("create", "x"), bindings("patch", "y")], {}),
    ([bind("a"), bindings("create", "x"), bindings("patch", "x", "y"), bindings("create", "y")],
     {"a": {("r0", "r1", "r2"), ("r0", "r3", "r2")}}),
    ([bind("a"), bindings("create", "x"), bindings("patch")], {"a": {("r0", "r1", "r2")}}),
])  # fmt: skip
def test_permissions_for_one_name_are_needed_for_the_same_one(rules: list[Object], expected: dict[str, Needs]) -> None:
    """Here that of the new RoleBinding, which leads nowhere by itself: what gives all of it for some name is enough."""
    assert needed("create-rolebinding-to-role", granted(rules)) == expected


@pytest.mark.parametrize(("here", "wide", "expected"), [
    (tokens("a"), tokens("b"), {"a": {("r0",)}, "b": {("wide",)}}),
    (tokens("a"), tokens("a", "b"), {"a": {("wide",)}, "b": {("wide",)}}),
    (tokens("a", "c"), tokens("a", "b"), {"a": {("wide",)}, "b": {("wide",)}, "c": {("r0",)}}),
    (tokens("a"), tokens(), {"": {("wide",)}, "a": {("r0",)}}),
    (tokens(), tokens("a"), {"": {("r0",)}, "a": {("wide",)}}),
])  # fmt: skip
def test_what_is_granted_cluster_wide_is_told_there(here: Object, wide: Object, expected: dict[str, Needs]) -> None:
    """And in a namespace only what is met there besides."""
    objects = [*granted([here]), role("wide", wide), binding("wide", "ClusterRole/wide", EVE)]

    assert needed("create-serviceaccount-token", objects) == expected


def test_a_finding_has_no_part_in_a_path_by_another_name() -> None:
    """Only one of two new roles is for the token of the administrator."""
    found = Cluster([ADMIN]).told([*ADMIN, *may("idle", EVE, tokens("idle")), *may("admin", EVE, tokens("admin"))])

    assert [str(one.through) for one in found if one.paths] == ["Role/pay/admin"]


def test_a_cut_closes_no_more_than_the_name_that_leads_there() -> None:
    """The role for another name stays."""
    objects = [*ADMIN, *may("idle", EVE, tokens("idle")), *may("admin", EVE, tokens("admin"))]

    assert texts(asked(objects, "cluster-admin", "user:eve"))[0] == "Delete RoleBinding pay/admin"


@pytest.mark.parametrize("kind", ["of one name each", "of one name each, and of any"])
def test_thousands_of_limited_roles_take_no_square_of_time(kind: str) -> None:
    """Four times as many take no sixteen times as long."""

    def seconds(number: int) -> float:
        free = number if kind.endswith("any") else 0
        rules = [tokens(f"n{place}") for place in range(number)] + [tokens()] * free
        graph = evaluated(granted(rules))
        start = process_time()
        assert sum(edge.rule == HOLDS for edge in graph.edges("user:eve")) >= number
        return process_time() - start

    seconds(10)
    assert seconds(2000) < 9 * seconds(500)
