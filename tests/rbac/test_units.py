"""Units: one canonical form of a set of permissions, and rules too large to be written out."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from posture import rbac
from posture.collect import api_resource
from posture.config import Config
from posture.inputs import Inputs
from posture.model import Change, Unit
from posture.rbac.access import Question, answer
from posture.rbac.rules import from_units, minus, parse, permissions, units
from tests.generator.objects import Object, account, binding, discovery, namespace, role, rule, snapshot, urls
from tests.oracles.rbac import Vocabulary
from tests.rbac.rewrites import FIELDS, rewritten
from tests.rbac.strategies import rules, seeds


@settings(max_examples=300)
@given(rules, seeds)
def test_units_are_canonical(given: list[Object], seed: int) -> None:
    """However the same permissions are written, the units are equal."""
    assert units(parse(rewritten(Random(seed), given))) == units(parse(given))


@given(rules)
def test_units_hold_what_the_rules_hold(given: list[Object]) -> None:
    """Request by request, and nothing in them is said twice."""
    words = Vocabulary(given)
    found = units(parse(given))

    assert words.held(found) == words.held(given)
    for one in found:
        rest = [other for other in found if other is not one]
        assert words.held([one]) - words.held(rest), f"{one} says nothing that {rest} does not say"


@given(rules)
def test_units_can_be_read_back(given: list[Object]) -> None:
    """From plain JSON they make the same set, so that stored findings compare as living ones."""
    found = units(parse(given))
    copied: list[Unit] = [{key: list(values) for key, values in unit.items()} for unit in found]
    again = from_units(copied)

    assert units(again) == found
    assert not minus(again, frozenset({parse(given)}))
    assert not minus(parse(given), frozenset({again}))


@given(rules)
def test_single_permissions_add_up_to_the_units(given: list[Object]) -> None:
    """`permissions` names each one once, and together they are the whole."""
    single = list(permissions(units(parse(given))))
    words = Vocabulary(given)

    assert words.held(_as_rule(one) for one in single) == words.held(given)
    assert len({tuple(sorted(one.items())) for one in single}) == len(single)


def _as_rule(one: dict[str, str]) -> Object:
    if "path" in one:
        return urls(one["verb"], [one["path"]])
    whole = one["resource"] + (f"/{one['subresource']}" if "subresource" in one else "")
    return rule(one["verb"], [whole], [one["apiGroup"]], [one["name"]] if "name" in one else None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([rule("list,get", "secrets,pods")],
         [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}]),
        ([rule("get", "pods"), rule("list", "pods")],
         [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]),
        ([rule("get", "pods", names=["a"]), rule("get", "pods")],
         [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        ([rule("get", "pods", names=["b", "a", "b"])],
         [{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"], "verbs": ["get"]}]),
        ([rule("*,get", "*,pods", ["*", ""])], [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
        ([rule("get", "*/log,pods/log")], [{"apiGroups": [""], "resources": ["*/log"], "verbs": ["get"]}]),
        ([rule("get", "*/,pods")], [{"apiGroups": [""], "resources": ["*/", "pods"], "verbs": ["get"]}]),
        ([urls("get", ["/api/**", "/api/x"])], [{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}]),
        ([urls("get", ["/api/*"]), urls("get", ["/api/x"])], [{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}]),
        ([urls("get", ["/api/*"]), urls("get,post", ["/api/x"])],
         [{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}, {"nonResourceURLs": ["/api/x"], "verbs": ["post"]}]),
        ([urls("*", ["/api/x"]), urls("get", ["/api/*"])],
         [{"nonResourceURLs": ["/api/*"], "verbs": ["get"]}, {"nonResourceURLs": ["/api/x"], "verbs": ["*"]}]),
        ([], []),
    ],
)  # fmt: skip
def test_units_are_the_shortest_way_to_say_it(given: list[Object], expected: list[Unit]) -> None:
    """What another permission covers is left out; what belongs together stands together, sorted."""
    assert list(units(parse(given))) == expected


# Rules of millions of permissions -----------------------------------------------------------------------------------


def many(prefix: str, count: int) -> list[str]:
    """`count` values."""
    return [f"{prefix}{number}" for number in range(count)]


def large(name: str, prefix: str = "") -> Object:
    """A rule of 4.8 million, 10^9 or 3 * 10^7 permissions."""

    def values(word: str, count: int) -> list[str]:
        return many(prefix + word, count)

    return {
        "names": rule(values("v", 8), values("r", 20), [""], values("n", 30_000)),
        "cube": rule(values("v", 1_000), values("r", 1_000), values("g", 1_000)),
        "paths": urls(values("v", 1_000), values("/p", 30_000)),
    }[name]


CUBE = large("cube")


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """What happens inside must be done in so many seconds of processor time."""
    gc.collect()
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds


def without_one(given: Object) -> Object:
    """The rule without one value of its widest field."""
    field = max((field for field in FIELDS if given.get(field)), key=lambda field: len(given[field]))
    return given | {field: given[field][1:]}


def cluster(*given: Object, where: str = "") -> list[Object]:
    """One account that holds the rules of one ClusterRole, everywhere or in one namespace."""
    bound = binding("large", "ClusterRole/large", account("pay", "api"), namespace=where)
    return [namespace("pay"), *discovery(), role("large", *given), bound]


def judged(given: Object, where: str) -> Change:
    """The only change when a rule gets one more value, after everything that is done with it was done."""
    before, after = (rbac.evaluate(snapshot(cluster(one, where=where))) for one in (without_one(given), given))
    matcher = rbac.Matcher(Inputs(Config()).checks)
    (change,) = rbac.compare(before, after).changes
    rbac.reasons(matcher, change, after)
    list(rbac.match(matcher, after))
    assert rbac.sentence(change, None, after)
    assert len(list(islice(rbac.permissions(change.gained), 5))) == 5
    line = {
        "user": "system:serviceaccount:pay:api",
        "verb": "v1",
        "resource": "r1",
        "apiGroup": "g1",
        "namespace": "pay",
    }
    assert answer(after, Question.of(line)).allowed is not None
    return change


LARGE = [("names", ""), ("cube", ""), ("paths", ""), ("names", "pay"), ("cube", "pay")]


@pytest.mark.parametrize(("name", "where"), LARGE)
def test_a_rule_of_millions_of_permissions_is_judged_as_a_whole(name: str, where: str) -> None:
    """Evaluated, compared, held against checks, put into words in a second or two: it is never broken out."""
    with bounded(seconds=2):
        change = judged(large(name), where)

    (unit,) = change.gained
    assert any(len(unit[field]) == 1 for field in unit if field != "apiGroups"), "one value in one field is new"


@pytest.mark.parametrize(("name", "where"), LARGE)
def test_a_rule_of_millions_of_permissions_takes_the_memory_of_its_values(name: str, where: str) -> None:
    """The same, with rules that no cache has seen."""
    given = large(name, f"{where}m")
    tracemalloc.start()
    try:
        judged(given, where)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


def test_large_rules_are_equal_however_they_are_divided() -> None:
    """Halves of a rule of a thousand million permissions are that rule."""
    halves = [CUBE | {"verbs": CUBE["verbs"][:500]}, CUBE | {"verbs": CUBE["verbs"][500:]}]
    with bounded(seconds=2):
        before, after = (rbac.evaluate(snapshot(cluster(*one))) for one in ([CUBE], halves))
        assert rbac.compare(before, after).changes == ()
        assert rbac.compare(after, before).changes == ()


@pytest.mark.parametrize("fields", [FIELDS[:3], FIELDS[:4]])
def test_small_rules_are_taken_from_a_large_one(fields: tuple[str, ...]) -> None:
    """Rules that hold one value each in every field divide a product into parts, not into its permissions."""
    size = 500
    whole: dict[str, Any] = {field: many(field[0] + "x", size) for field in fields}
    small = [{field: [whole[field][number]] for field in fields} for number in range(size)]
    with bounded(seconds=2):
        left = minus(parse([whole]), frozenset({parse(small)}))

    assert sum(one.size() for one in left.resources) == size ** len(fields) - size
    assert len(left.resources) < 4 * size


def test_a_rule_that_others_cut_too_finely_counts_as_held_by_none() -> None:
    """Two versions of a role may differ in 10^9 parts: the difference is bounded, and never silent."""
    random = Random(7)
    small = [{field: random.sample(values, 500) for field, values in CUBE.items()} for _ in range(20)]
    with bounded(seconds=4):
        left = minus(parse([CUBE]), frozenset({parse(small)}))

    assert left is parse([CUBE])


def test_every_single_permission_can_be_named_one_after_another() -> None:
    """Of a thousand million, the last of the first million costs no memory."""
    with bounded(seconds=4):
        last = next(islice(permissions(units(parse([CUBE]))), 1_000_000, None))

    assert set(last) == {"verb", "apiGroup", "resource"}


def test_urls_that_stars_cover_are_found_among_tens_of_thousands() -> None:
    """Deciding which paths a pattern covers does not compare each with each."""
    paths = [f"/p{number}/{end}" for number, end in product(range(15_000), ("x", "*"))]
    with bounded(seconds=2):
        held = parse([urls("get", paths)])
        left = minus(held, frozenset({parse([urls("get", paths[: len(paths) // 2])])}))

    assert sum(len(one.urls) for one in held.urls) == 15_000
    assert sum(len(one.urls) for one in left.urls) == 7_500


def test_a_custom_resource_does_not_take_a_name_from_kubernetes_own() -> None:
    """Offline, a cluster-scoped `secrets.example.com` says nothing about `secrets` for a rule of every group."""
    custom = api_resource("secrets", "example.com", "", namespaced=False) | {"kind": "APIResource"}
    grant = [role("wide", rule("get", "secrets", "*"), namespace="pay"),
             binding("wide", "Role/wide", account("pay", "api"), namespace="pay")]  # fmt: skip
    plain, beside = (rbac.compare(rbac.evaluate(snapshot(before)), rbac.evaluate(snapshot([*before, *grant]))).changes
                     for before in ([namespace("pay")], [namespace("pay"), custom]))  # fmt: skip

    assert [change.gained for change in beside] == [change.gained for change in plain] != []
