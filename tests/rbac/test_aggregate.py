"""Aggregated ClusterRoles: what posture says the controller writes is what the real controller writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from posture.inputs import shipped
from posture.kinds import BY_NAME, RBAC, project
from posture.model import Changed, Content, Key, Version
from posture.rbac.aggregate import contributors, rules, settle
from posture.rbac.evaluate import CLUSTER_ROLES
from posture.rbac.offline import completed
from posture.rbac.rules import parse, units
from posture.resources import NEWEST, SUPPORTED
from tests.controlplane.controlplane import ControlPlane
from tests.generator.objects import Object, role, rule, snapshot, urls
from tests.rbac.agreement import listing

PATH = f"/apis/{RBAC}/v1/clusterroles"
SECONDS = 10.0


def made_of(name: str, *selectors: Object, **labels: str) -> Object:
    """A ClusterRole whose rules come from others."""
    made = role(name, labels={"aggregate-test": "yes", **labels})
    del made["rules"]  # as people write them; the API server defaults nothing
    return made | {"aggregationRule": {"clusterRoleSelectors": list(selectors)}}


def part(name: str, *given: Object, **labels: str) -> Object:
    """A ClusterRole that others may be made of."""
    return role(name, *given, labels={"aggregate-test": "yes", **labels})


def matching(**labels: str) -> Object:
    """A selector of equal labels."""
    return {"matchLabels": labels}


def where(key: str, operator: str, *values: str) -> Object:
    """A selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": list(values)} if values else {})]}


OURS = matching(**{"aggregate-test": "yes"})
CLUSTERS: dict[str, list[Object]] = {
    "sorted by name, selector after selector": [
        part("z-a", rule("get", "a"), t="one"), part("z-b", rule("get", "b"), t="two"),
        part("z-c", rule("get", "c"), t="one"), made_of("z-whole", matching(t="two"), matching(t="one")),
    ],
    "equal rules once, in whatever role and however often": [
        part("y-a", rule("get", "a"), rule("get", "a"), rule("get", "b"), t="y"), part("y-b", rule("get", "b"), t="y"),
        part("y-c", rule("get", "b,a"), t="y"), made_of("y-whole", matching(t="y")),
    ],
    "a role that others select, made of others itself": [
        part("x-a", rule("get", "a"), urls("get", "/x"), t="x"), made_of("x-inner", matching(t="x"), t="x2"),
        made_of("x-outer", matching(t="x2"), matching(t="x")),
    ],
    "two that select each other": [
        part("w-a", rule("get", "a"), t="w"),
        made_of("w-one", matching(t="w"), t="w"), made_of("w-two", matching(t="w"), t="w"),
    ],
    "expressions": [
        part("v-a", rule("get", "a"), v="1"), part("v-b", rule("get", "b"), v="2", w="x"),
        part("v-c", rule("get", "c"), w="y"),
        made_of("v-in", where("v", "In", "1", "2")), made_of("v-exists", where("v", "Exists")),
        made_of("v-not", {**where("w", "NotIn", "x"), **matching(v="1")}),
        made_of("v-none", {"matchExpressions": [{"key": "v", "operator": "DoesNotExist"},
                                                {"key": "w", "operator": "Exists"}]}),
    ],
    "nothing that is selected": [made_of("u-whole", matching(t="nobody-has-this"))],
    "names in the order of bytes": [
        part("t-B", rule("get", "b"), t="t"), part("t-a", rule("get", "a"), t="t"),
        part("t-:", rule("get", "c"), t="t"), made_of("t-whole", matching(t="t")),
    ],
}  # fmt: skip


@pytest.fixture
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The shared control plane; what a test made here is taken away after it."""
    yield control_plane
    control_plane.request("DELETE", f"{PATH}?labelSelector=aggregate-test%3Dyes")


def stored(plane: ControlPlane) -> dict[Key, Content]:
    """The ClusterRoles of the server, as a snapshot keeps them."""
    kind = BY_NAME[CLUSTER_ROLES]
    return {
        Key(CLUSTER_ROLES, "", raw["metadata"]["name"]): project(kind, raw)
        for raw in plane.request("GET", PATH)["items"]
    }


def eventually[Value](ask: Callable[[], Value], wanted: Callable[[Value], bool]) -> Value:
    """The answer once it is as wanted, or the last one: the assertion that follows says what is wrong with it."""
    deadline = time.monotonic() + SECONDS
    while True:
        answer = ask()
        if wanted(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


def written(found: dict[Key, Content], names: Iterable[str]) -> dict[str, Any]:
    """The rules that the server holds for some roles."""
    return {name: found[Key(CLUSTER_ROLES, "", name)].get("rules") or [] for name in names}


def computed(found: dict[Key, Content], names: Iterable[str]) -> dict[str, Any]:
    """The rules that posture computes for them from what the server holds."""
    return {name: rules(key := Key(CLUSTER_ROLES, "", name), found[key], found) for name in names}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_controller_writes_the_same_rules(plane: ControlPlane, name: str) -> None:
    """Rule by rule in the same order, once it has settled."""
    objects = CLUSTERS[name]
    wholes = [one["metadata"]["name"] for one in objects if "aggregationRule" in one]
    plane.apply(objects)

    # What is settled at first may be nothing at all: some role must have got rules, where some are selected.
    expected = any(one.get("rules") for one in objects)
    found = eventually(lambda: stored(plane), lambda all_: (
        computed(all_, wholes) == written(all_, wholes) and (not expected or all(written(all_, wholes).values()))
    ))  # fmt: skip

    assert computed(found, wholes) == written(found, wholes)
    assert not expected or all(written(found, wholes).values())


def test_an_empty_selector_selects_every_role(plane: ControlPlane) -> None:
    """`{}` in an aggregationRule makes an administrator, without any label."""
    plane.apply([made_of("s-everything", {})])
    found = eventually(lambda: stored(plane), lambda all_: bool(written(all_, ["s-everything"])["s-everything"]))

    assert computed(found, ["s-everything"]) == written(found, ["s-everything"])
    assert any(
        one["verbs"] == ["*"] == one.get("resources") for one in written(found, ["s-everything"])["s-everything"]
    )


LOOSE = part("r-a", rule("get", "a"), t="r")
MOVES: dict[str, tuple[Object | None, Object | None]] = {
    "a source made": (None, part("r-new", rule("delete", "a"), t="r")),
    "a source changed": (LOOSE, part("r-a", rule("get,list", "a"), t="r")),
    "a source deleted": (LOOSE, None),
    "a label taken off": (LOOSE, part("r-a", rule("get", "a"), t="other")),
    "a label put on": (part("r-b", rule("watch", "b"), t="other"), part("r-b", rule("watch", "b"), t="r")),
    "another selector": (made_of("r-whole", matching(t="r"), t="r2"), made_of("r-whole", matching(t="other"), t="r2")),
    "its rules overwritten": (made_of("r-whole", matching(t="r"), t="r2"),
                              made_of("r-whole", matching(t="r"), t="r2") | {"rules": [rule("*", "*", "*")]}),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_what_the_controller_will_do_about_a_change_is_foreseen(plane: ControlPlane, name: str) -> None:
    """`settle` adds the rules of roles that a change reaches; the real controller then writes the same."""
    wholes = ["r-outer", "r-whole"]
    base = [LOOSE, part("r-b", rule("watch", "b"), t="other"), made_of("r-whole", matching(t="r"), t="r2"),
            made_of("r-outer", matching(t="r2"))]  # fmt: skip
    plane.apply(base)
    before = eventually(lambda: stored(plane), lambda all_: all(written(all_, wholes).values()))
    old, new = MOVES[name]
    subject = (new or old or {})["metadata"]["name"]
    key = Key(CLUSTER_ROLES, "", subject)
    content = None if new is None else project(BY_NAME[CLUSTER_ROLES], new)
    snapshot_before = snapshot(listing(plane))
    foreseen = {one.key: one.new for one in settle(snapshot_before, [Changed(key, before.get(key), content)])}

    if new is None:
        plane.request("DELETE", f"{PATH}/{subject}")
    elif old is None:
        plane.apply([new])
    else:
        current = plane.request("GET", f"{PATH}/{subject}")
        plane.request("PUT", f"{PATH}/{subject}", new | {"metadata": current["metadata"] | new["metadata"]})

    def as_foreseen(found: dict[Key, Content]) -> bool:
        return all(
            units(parse(found[one].get("rules") or ())) == units(parse((wanted or {}).get("rules") or ()))
            for one, wanted in foreseen.items()
            if one.name in wholes
        )

    found = eventually(
        lambda: stored(plane), lambda all_: as_foreseen(all_) and computed(all_, wholes) == written(all_, wholes)
    )
    assert as_foreseen(found), (foreseen, written(found, wholes))
    assert computed(found, wholes) == written(found, wholes)
    untouched = {Key(CLUSTER_ROLES, "", name) for name in wholes} - foreseen.keys()
    assert all(
        units(parse(found[one].get("rules") or ())) == units(parse(before[one].get("rules") or ())) for one in untouched
    )


def test_contributors_are_the_roles_that_a_role_is_made_of() -> None:
    """So that a cause is looked for where the rule was written."""
    found = snapshot(
        [*CLUSTERS["a role that others select, made of others itself"], part("x-b", rule("get", "b"), t="no")]
    )

    assert [key.name for key in contributors(found, Key(CLUSTER_ROLES, "", "x-outer"))] == ["x-inner", "x-a"]
    assert contributors(found, Key(CLUSTER_ROLES, "", "x-a")) == ()
    assert contributors(found, Key(CLUSTER_ROLES, "", "gone")) == ()


def test_contributors_include_what_the_contributors_are_made_of() -> None:
    """`admin` is made of `edit`, and that of `view`: a rule that was written for `view` reaches them all."""
    found = snapshot([
        part("n-a", rule(), t="view"), made_of("n-view", matching(t="view"), t="edit"),
        made_of("n-edit", matching(t="edit"), t="admin"), made_of("n-admin", matching(t="admin"), t="admin"),
    ])  # fmt: skip

    assert [key.name for key in contributors(found, Key(CLUSTER_ROLES, "", "n-admin"))] == ["n-edit", "n-view", "n-a"]


def test_in_manifests_roles_are_filled_in_through_each_other() -> None:
    """In whatever order their names sort."""
    found = snapshot([
        part("m-z", rule("get", "a"), t="1"), made_of("m-c", matching(t="1"), t="2"),
        made_of("m-b", matching(t="2"), t="3"), made_of("m-a", matching(t="3")), role("view"),
    ])  # fmt: skip
    filled, said = completed(found, ())

    assert {key.name: content["rules"] for key, content in filled.items()} == {
        key: [rule("get", "a")] for key in ("m-a", "m-b", "m-c")
    }
    assert "m-a, m-b and m-c" in said[0]


def test_in_manifests_stored_rules_are_joined_by_those_of_roles_that_were_added() -> None:
    """A dump and one labelled role more: once applied, the controller would write the new rule too, through all."""
    found = snapshot([
        part("l-old", rule("get", "a"), t="1"), part("l-new", rule("*", "*", "*"), t="1"),
        made_of("l-inner", matching(t="1"), t="2") | {"rules": [rule("get", "a")]},
        made_of("l-outer", matching(t="2")) | {"rules": [rule("get", "a")]},
    ])  # fmt: skip
    filled, said = completed(found, ())

    assert {key.name: content["rules"] for key, content in filled.items()} == {
        key: [rule("get", "a"), rule("*", "*", "*")] for key in ("l-inner", "l-outer")
    }
    assert said == ("the rules of l-inner and l-outer, computed from the roles that they aggregate",)


def test_in_manifests_an_aggregated_role_keeps_rules_whose_sources_are_not_there() -> None:
    """A folder may hold only some of the parts: what is stored stays, and with nothing to add nothing is said."""
    found = snapshot([
        part("k-a", rule("get", "a"), t="k"),
        made_of("k-whole", matching(t="k")) | {"rules": [rule("get", "b"), rule("get", "a")]},
    ])  # fmt: skip

    assert completed(found, ()) == ({}, ())


@pytest.mark.parametrize("version", SUPPORTED, ids=str)
def test_a_whole_dump_is_left_as_it_is(version: Version) -> None:
    """Nothing is filled in and nothing is said where everything is there."""
    dump, _ = completed(snapshot([]), shipped(version))

    assert completed(snapshot([]).replaced(dump.items()), shipped(version)) == ({}, ())


def test_a_default_role_in_a_folder_speaks_for_itself_and_no_other() -> None:
    """Whoever writes their own rules for one still has a `cluster-admin` that bindings may name."""
    name = "system:node-proxier"
    own = role(name, rule("get", "a"), labels={"kubernetes.io/bootstrapping": "rbac-defaults"})
    filled, said = completed(snapshot([own]), shipped(NEWEST))
    names = {key.name for key in filled}

    assert name not in names
    assert {"cluster-admin", "view", "admin"} <= names
    default = [key for key, _ in shipped(NEWEST) if key.resource == CLUSTER_ROLES]
    assert said == (f"{len(default) - 1} default ClusterRoles as Kubernetes ships them",)


def test_what_a_manifest_of_a_default_role_leaves_out_stays_as_it_is_shipped() -> None:
    """As applying it to a server would: a stub takes nothing away, and a label on it is one label more."""
    stubs = [role("cluster-admin"), role("edit", labels={"rbac.authorization.k8s.io/aggregate-to-view": "true"})]
    for stub in stubs:
        del stub["rules"]
    filled, said = completed(snapshot(stubs), shipped(NEWEST))
    rules = {key.name: content["rules"] for key, content in filled.items()}

    assert {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]} in rules["cluster-admin"]
    assert all(one in rules["view"] for one in rules["edit"])
    assert any("secrets" in one.get("resources", ()) for one in rules["view"])
    assert "what is left out of cluster-admin and edit, as Kubernetes ships it" in said
