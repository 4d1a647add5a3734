"""What a rule allows, what it covers, and what one set of rules holds beyond another."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings

from posture.rbac.rules import EMPTY, allows, allows_url, from_units, minus, parse, units, url_covers
from tests.generator.objects import Object, rule, urls
from tests.oracles.rbac import Vocabulary
from tests.rbac.strategies import rules

RBAC = "rbac.authorization.k8s.io"


def asked(text: str) -> tuple[str, str, str, str, str]:
    """`"get apps/deployments:scale foo"` → verb, group, resource, subresource, name; the core group is left out."""
    verb, thing, *name = text.split(" ")
    thing, _, subresource = thing.partition(":")
    group, _, resource = thing.rpartition("/")
    return verb, group, resource, subresource, name[0] if name else ""


ALLOWED = [
    (rule("get", "pods"), "get pods"),
    (rule("get", "pods"), "get pods foo"),
    (rule("*", "pods"), "escalate pods"),
    (rule("*", "pods"), "* pods"),
    (rule("get", "*"), "get secrets"),
    (rule("get", "*"), "get pods:log"),
    (rule("get", "pods/log"), "get pods:log foo"),
    (rule("get", "*/log"), "get pods:log"),
    (rule("get", "*/log"), "get anything:log"),
    (rule("update", "*/scale", "apps"), "update apps/deployments:scale"),
    (rule("get", "pods/*"), "get pods:*"),
    (rule("get", "*/*"), "get pods:*"),
    (rule("get", "deployments", "*"), "get deployments"),
    (rule("get", "deployments", "*"), "get apps/deployments"),
    (rule("get", "deployments", "*"), "get example.com/deployments"),
    (rule("get", "pods", names=["foo", "bar"]), "get pods bar"),
    (rule("list", "pods", names=[""]), "list pods"),
    (rule("create", "pods", names=[""]), "create pods"),
    (rule("get", "pods", names=[]), "get pods foo"),
    (rule("get", "pods", names=["*"]), "get pods *"),
    (rule("create", "pods/exec", names=["foo"]), "create pods:exec foo"),
    (rule("get", ["a/b/c"]), "get a:b/c"),
]  # fmt: skip
REFUSED = [
    (rule("get", "pods"), "list pods"),
    (rule("get", "pods"), "GET pods"),
    (rule("GET", "pods"), "get pods"),
    (rule("get", "pods"), "get Pods"),
    (rule("get", "pods"), "* pods"),
    (rule("get", "pods"), "get pods:log"),
    (rule("get", "pods"), "get apps/pods"),
    (rule("get", "deployments", "apps"), "get deployments"),
    (rule("get", "deployments", "apps"), "get extensions/deployments"),
    (rule("get", "pods/*"), "get pods:log"),
    (rule("get", "pods/*"), "get pods"),
    (rule("get", "*/*"), "get pods"),
    (rule("get", "*/*"), "get pods:log"),
    (rule("get", "*/log"), "get pods"),
    (rule("get", "*/log"), "get pods:logs"),
    (rule("get", "*/"), "get pods"),
    (rule("get", "pods/"), "get pods"),
    (rule("get", "pods", names=["foo"]), "get pods"),
    (rule("get", "pods", names=["foo"]), "get pods Foo"),
    (rule("list", "pods", names=["foo"]), "list pods"),
    (rule("create", "pods", names=["foo"]), "create pods"),
    (rule("get", "pods", names=["*"]), "get pods foo"),
    (rule("get", "pods", names=[""]), "get pods foo"),
]  # fmt: skip


@pytest.mark.parametrize(("held", "request_"), ALLOWED)
def test_a_rule_allows(held: Object, request_: str) -> None:
    """One rule is enough, and each of its fields must hold the request's value or be open."""
    (one,) = parse([held]).resources

    assert allows(one, *asked(request_))


@pytest.mark.parametrize(("held", "request_"), REFUSED)
def test_a_rule_does_not_allow(held: Object, request_: str) -> None:
    """Values are compared letter by letter; a star stands for anything only where the authorizer says so."""
    (one,) = parse([held]).resources

    assert not allows(one, *asked(request_))


def test_a_star_is_all_resources_but_a_slash_never_makes_one() -> None:
    """`*` holds subresources too; `pods/*` holds only what is literally called so."""
    (star,) = parse([rule("get", "*")]).resources
    (below,) = parse([rule("get", "pods/*")]).resources

    assert [allows(one, "get", "", "pods", "log", "") for one in (star, below)] == [True, False]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/api", "/api", True),
        ("/api", "/api/", False),
        ("/api", "/apis", False),
        ("/api/*", "/api/v1", True),
        ("/api/*", "/api/", True),
        ("/api/*", "/api", False),
        ("/api*", "/apis/apps", True),
        ("/api**", "/api", True),
        ("/api**", "/apis", True),
        ("*", "/anything", True),
        ("**", "/anything", True),
        ("/a*b", "/a*b", True),
        ("/a*b", "/aXb", False),
        ("/a*b*", "/a*bc", True),
        ("/a*b*", "/aXbc", False),
        ("/API", "/api", False),
    ],
)
def test_a_url_pattern(pattern: str, path: str, expected: bool) -> None:
    """Stars at the end are any ending; elsewhere a star is a star."""
    (one,) = parse([urls("get", [pattern])]).urls

    assert allows_url(one, "get", path) is expected


def test_urls_have_verbs_like_resources() -> None:
    """A rule on URLs is limited to its verbs."""
    (one,) = parse([urls("get", ["/metrics"])]).urls

    assert [allows_url(one, verb, "/metrics") for verb in ("get", "post", "*")] == [True, False, False]


@pytest.mark.parametrize(
    "held",
    [
        {"verbs": [], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": [], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": []},
        {"verbs": ["get"], "apiGroups": None, "resources": None, "nonResourceURLs": None},
        {"verbs": ["get"]},
        {"nonResourceURLs": ["/"]},
        {},
    ],
)
def test_a_rule_with_an_empty_field_holds_nothing(held: Object) -> None:
    """Manifests may say less than the API server would store."""
    assert parse([held]) is EMPTY


def test_a_rule_with_resources_and_urls_counts_as_both() -> None:
    """The API server refuses to store one, but the authorizer would read it by the kind of the request."""
    held = parse([rule("get", "pods") | urls("get", ["/metrics"])])

    assert (len(held.resources), len(held.urls)) == (1, 1)


# What is covered ----------------------------------------------------------------------------------------------------

ALL_VERBS = "get,list,watch,create,update,patch,delete,deletecollection"
COVERED = [
    ([rule("get,list", "pods,secrets")], [rule("list", "secrets")]),
    ([rule("get", "pods"), rule("list", "pods")], [rule("get,list", "pods")]),
    ([rule("get", "pods"), rule("get", "secrets")], [rule("get", "pods,secrets")]),
    ([rule("get", "pods", ""), rule("get", "pods", "apps")], [rule("get", "pods", ["", "apps"])]),
    ([rule("get", "pods", names=["a"]), rule("get", "pods", names=["b"])], [rule("get", "pods", names=["b", "a"])]),
    ([rule("*", "pods")], [rule("get,escalate", "pods")]),
    ([rule("*", "pods")], [rule("*", "pods")]),
    ([rule("get", "*")], [rule("get", "pods,pods/log,*/scale,*")]),
    ([rule("get", "*/scale", "apps")], [rule("get", "deployments/scale,*/scale", "apps")]),
    ([rule("get", "*/b/c")], [rule("get", "a/b/c")]),
    ([rule("get", "pods", "*")], [rule("get", "pods", ["", "apps", "*"])]),
    ([rule("get", "pods")], [rule("get", "pods", names=["a", ""])]),
    ([rule("*", "*", "*")], [rule(ALL_VERBS, "nodes/proxy", "x.io", names=["a"])]),
    ([urls("get", ["/api/*"])], [urls("get", ["/api/v1", "/api/*", "/api/v1/*", "/api/"])]),
    ([urls("*", ["*"])], [urls("post", ["/a**", "*"])]),
    ([urls("get", ["/a"]), urls("get", ["/b"])], [urls("get", ["/a", "/b"])]),
    ([rule("get", "pods")], []),
]  # fmt: skip
BEYOND: list[tuple[list[Object], list[Object], list[Object]]] = [
    ([], [rule("get", "pods")], [rule("get", "pods")]),
    ([rule("get", "pods")], [rule("get,list", "pods")], [rule("list", "pods")]),
    ([rule("get", "pods,secrets")], [rule("*", "pods")], [rule("*", "pods")]),
    ([rule(ALL_VERBS, "pods")], [rule("*", "pods")], [rule("*", "pods")]),
    ([rule("get", "pods", names=["a"])], [rule("get", "pods")], [rule("get", "pods")]),
    ([rule("get", "pods", names=["*"])], [rule("get", "pods")], [rule("get", "pods")]),
    ([rule("get", "pods", names=["*"])], [rule("get", "pods", names=["a"])], [rule("get", "pods", names=["a"])]),
    ([rule("get", "pods", names=["a"])], [rule("get", "pods", names=["a", "b"])], [rule("get", "pods", names=["b"])]),
    ([rule("list", "pods", names=["a"])], [rule("list", "pods", names=[""])], [rule("list", "pods", names=[""])]),
    ([rule("get", "pods")], [rule("get", "pods/log")], [rule("get", "pods/log")]),
    ([rule("get", "pods/*")], [rule("get", "pods/log")], [rule("get", "pods/log")]),
    ([rule("get", "*/*")], [rule("get", "pods/log")], [rule("get", "pods/log")]),
    ([rule("get", "*/")], [rule("get", "pods,pods/log")], [rule("get", "pods,pods/log")]),
    ([rule("get", "*/scale")], [rule("get", "*/scale,*/log")], [rule("get", "*/log")]),
    ([rule("get", "a/scale,b/scale")], [rule("get", "*/scale")], [rule("get", "*/scale")]),
    ([rule("get", "pods", ["", "apps"])], [rule("get", "pods", "*")], [rule("get", "pods", "*")]),
    # Each permission must be held by one rule: two halves of it are not it.
    ([rule("get", "pods"), rule("list", "secrets")], [rule("get,list", "pods,secrets")],
     [rule("get", "secrets"), rule("list", "pods")]),
    ([rule("get", "pods", "apps"), rule("get", "secrets", "")],
     [rule("get", "secrets", "apps")], [rule("get", "secrets", "apps")]),
    ([urls("get", ["/api"])], [urls("get", ["/api/*"])], [urls("get", ["/api/*"])]),
    ([urls("get", ["/api/*"])], [urls("get", ["/api", "/api/x"])], [urls("get", ["/api"])]),
    ([urls("get", ["/a*b"])], [urls("get", ["/aXb"])], [urls("get", ["/aXb"])]),
    ([urls("get", ["/a"])], [urls("get,post", ["/a"])], [urls("post", ["/a"])]),
    ([rule("get", "*", "*")], [urls("get", ["/a"])], [urls("get", ["/a"])]),
    ([urls("*", ["*"])], [rule("get", "pods")], [rule("get", "pods")]),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "servant"), COVERED)
def test_rules_that_are_covered(owner: list[Object], servant: list[Object]) -> None:
    """Nothing is held beyond rules each of whose permissions another rule holds."""
    assert minus(parse(servant), frozenset({parse(owner)})) is EMPTY


@pytest.mark.parametrize(("owner", "servant", "rest"), BEYOND)
def test_rules_that_are_not_covered(owner: list[Object], servant: list[Object], rest: list[Object]) -> None:
    """What is held beyond is exactly the permissions that no single rule holds, a star as a whole."""
    assert units(minus(parse(servant), frozenset({parse(owner)}))) == units(parse(rest))


def test_opaque_grants_are_covered_by_themselves_only() -> None:
    """A cloud identity, or all that an unknown role holds, is nothing that rules could cover."""
    everything = from_units([rule("*", "*", "*"), urls("*", ["*"])])
    assume = from_units([{"assume": ["aws:arn"]}])

    assert minus(assume, frozenset({everything})) is assume
    assert minus(assume, frozenset({assume, everything})) is EMPTY


# Laws ---------------------------------------------------------------------------------------------------------------


def covers(owner: Iterable[Object], servant: Iterable[Object]) -> bool:
    """Whether nothing is held beyond the owner."""
    return minus(parse(servant), frozenset({parse(owner)})) is EMPTY


@given(rules)
def test_covering_is_reflexive(held: list[Object]) -> None:
    """Everything covers itself."""
    assert covers(held, held)


@given(rules, rules, rules)
def test_covering_is_transitive(one: list[Object], two: list[Object], three: list[Object]) -> None:
    """What covers a cover covers; drawn so that it often does."""
    middle = one + two
    assert covers(middle, one)
    assert covers(middle + three, middle)
    assert covers(middle + three, one)
    if covers(one, two) and covers(two, three):
        assert covers(one, three)


@given(rules, rules, rules)
def test_more_owners_leave_less(held: list[Object], owner: list[Object], more: list[Object]) -> None:
    """Removing is monotone on both sides."""
    left = minus(parse(held), frozenset({parse(owner)}))
    less = minus(parse(held), frozenset({parse(owner), parse(more)}))
    wider = minus(parse(held + more), frozenset({parse(owner)}))

    assert minus(less, frozenset({left})) is EMPTY
    assert minus(left, frozenset({wider})) is EMPTY


@given(rules, rules)
def test_what_is_taken_away_and_what_is_left_are_the_whole(held: list[Object], owner: list[Object]) -> None:
    """Nothing is lost by a difference, and nothing of the owner's is left in it."""
    left = minus(parse(held), frozenset({parse(owner)}))

    assert minus(parse(held), frozenset({left, parse(owner)})) is EMPTY
    assert minus(left, frozenset({parse(owner)})) is left or units(minus(left, frozenset({parse(owner)}))) == units(
        left
    )
    assert minus(left, frozenset({parse(held)})) is EMPTY


@settings(max_examples=400)
@given(rules, rules)
def test_a_difference_is_exact(held: list[Object], owner: list[Object]) -> None:
    """Request by request, brute force finds the same: all that is new, and no permission in which nothing is."""
    words = Vocabulary([*held, *owner])
    new = words.held(held) - words.held(owner)
    left = units(minus(parse(held), frozenset({parse(owner)})))

    assert words.held(left) - words.held(owner) == new
    assert words.held(left) <= words.held(held)
    for single in left:
        for permission in units(from_units([single])):
            assert words.held([permission]) & new, f"{permission} holds nothing new"


@given(rules, rules)
def test_owners_in_one_role_or_in_several_leave_the_same(held: list[Object], owner: list[Object]) -> None:
    """By which role a subject holds something does not matter."""
    together = minus(parse(held), frozenset({parse(owner)}))
    apart = minus(parse(held), frozenset(parse([one]) for one in owner))

    assert units(together) == units(apart)


@pytest.mark.parametrize(
    ("owner", "path"), [("*", "/x"), ("**", "*"), ("/a*", "/a"), ("/a*", "/a*b*"), ("/a", "/a"), ("/a**", "/a*")]
)
def test_url_patterns_cover_paths_and_patterns(owner: str, path: str) -> None:
    """A pattern is covered as if it were a path: by what its text begins with."""
    assert url_covers(owner, path)
