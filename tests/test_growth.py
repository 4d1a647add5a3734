"""Growth is not drift, and neither is an upgrade: what is new is judged by what was agreed for its like."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture import rbac
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.drift.causes import UPGRADE
from posture.inputs import Inputs, shipped
from posture.kinds import manifest
from posture.model import Snapshot, Unit, Version
from posture.pipeline import History, Judgement, Rules, judge
from posture.resources import NEWEST
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
    urls,
    user,
)
from tests.generator.small import NAMESPACES, random_rule
from tests.oracles.rbac import aggregated
from tests.rbac.strategies import clusters, seeds

NOW = "2026-11-20T12:00:00Z"
MINORS = [Version(1, minor) for minor in (33, 34, 35, 36)]
NEW = "new"
type Place = tuple[str, str, str]
type Gains = dict[Place, tuple[Unit, ...]]


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The shipped checks; nobody owns anything."""
    return Inputs(Config()).rules


def gained(judgement: Judgement) -> Gains:
    """What is found, by subject, scope and role reference."""
    found = judgement.outcome.findings.values()
    return {(one.subject, one.scope, str(one.through)): one.gained for one in found}


def judged(
    before: Snapshot, after: Snapshot, growth: str = "like-peers", labels: tuple[str, ...] = ("env",)
) -> Judgement:
    """What a first run says of a cluster that grew since it was approved."""
    agreed = Agreed((before,), (), shipped(NEWEST), growth, labels)  # type: ignore[arg-type]
    return judge(after, agreed, History(), rules(), NOW)


# Namespaces ---------------------------------------------------------------------------------------------------------


def team(name: str, env: str = "prod", *more: Object) -> list[Object]:
    """A namespace as every team has it: its workload reads ConfigMaps, its people view, its pods report metrics."""
    return [
        namespace(name, env=env), service_account(name, "api"),
        role("reader", rule("get", "configmaps"), rule("patch", "namespaces", names=[name]), namespace=name),
        binding("reader", "Role/reader", account(name, "api"), namespace=name),
        binding("people", "ClusterRole/viewer", group("devs"), namespace=name),
        binding("pods", "ClusterRole/reporter", group(f"system:serviceaccounts:{name}"), namespace=name),
        *more,
    ]  # fmt: skip


PLATFORM = [role("viewer", rule("get,list", "pods")), role("reporter", rule("create", "events"))]
"""ClusterRoles that all teams share."""


def reaching(*names: str) -> list[Object]:
    """What accounts of namespaces hold outside of them: everywhere, and in the platform's own namespace."""
    return [
        *(binding("nodes", "ClusterRole/nodes", *(account(name, "api") for name in names)),
          role("nodes", rule("list", "nodes"))),
        binding("tools", "ClusterRole/viewer", *(account(name, "api") for name in names), namespace="tools"),
    ]  # fmt: skip


AGREED = [*PLATFORM, namespace("tools", env="platform"), *team("pay"), *team("web"), *team("lab", "test")]
ALIKE = [*AGREED, *team(NEW)]
GET: Unit = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
SECRETS: Unit = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


def extra(*rules: Object, name: str = "api") -> list[Object]:
    """A Role more in the new namespace, and who holds it."""
    return [
        role("extra", *rules, namespace=NEW),
        binding("extra", "Role/extra", account(NEW, name), namespace=NEW),
    ]


EXCEEDING: dict[str, tuple[list[Object], Gains]] = {
    "a permission more": (
        extra(rule("get", "secrets")), {(f"serviceaccount:{NEW}/api", NEW, f"Role/{NEW}/extra"): (SECRETS,)},
    ),
    "a permission more beside one that peers have": (
        extra(rule("get", "secrets,configmaps")),
        {(f"serviceaccount:{NEW}/api", NEW, f"Role/{NEW}/extra"): (SECRETS,)},
    ),
    "another account with what one of the peers has": (
        extra(rule("get", "configmaps"), name="job"),
        {(f"serviceaccount:{NEW}/job", NEW, f"Role/{NEW}/extra"): (GET,)},
    ),
    "someone of another namespace": (
        [binding("extra", "Role/reader", account("pay", "api"), namespace=NEW)],
        {("serviceaccount:pay/api", NEW, f"Role/{NEW}/reader"): (
            {"apiGroups": [""], "resourceNames": [NEW], "resources": ["namespaces"], "verbs": ["patch"]}, GET)},
    ),
    "a permission on another namespace's name": (
        extra(rule("get", "configmaps", names=["pay"]), rule("get", "secrets", names=["pay"])),
        {(f"serviceaccount:{NEW}/api", NEW, f"Role/{NEW}/extra"): ({**SECRETS, "resourceNames": ["pay"]},)},
    ),
    "more in the platform's namespace": (
        [binding("extra", "ClusterRole/reporter", account(NEW, "api"), namespace="tools")],
        {(f"serviceaccount:{NEW}/api", "tools", "ClusterRole/reporter"): (
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},)},
    ),
    "more in the whole cluster": (
        [role("healthy", urls("get", "/metrics")), binding("healthy", "ClusterRole/healthy", account(NEW, "api"))],
        {(f"serviceaccount:{NEW}/api", "*", "ClusterRole/healthy"): (
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},)},
    ),
    "a role that does not exist": (
        [binding("extra", "Role/ghost", account(NEW, "api"), namespace=NEW)],
        {(f"serviceaccount:{NEW}/api", NEW, f"Role/{NEW}/ghost"): ({"role": [f"Role/{NEW}/ghost"]},)},
    ),
    "a cloud identity": (
        [service_account(NEW, "api", **{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"})],
        {(f"serviceaccount:{NEW}/api", NEW, f"ServiceAccount/{NEW}/api"): (
            {"assume": ["aws:arn:aws:iam::1:role/admin"]},)},
    ),
}  # fmt: skip


def test_a_namespace_like_its_peers_is_silent() -> None:
    """Whatever its workloads, people and pods hold in it, its peers' hold too."""
    found = judged(snapshot(AGREED), snapshot(ALIKE))

    assert (gained(found), found.unknown, found.outcome.events) == ({}, [], [])


def test_what_a_new_namespaces_accounts_reach_outside_of_it_is_found() -> None:
    """Peers say what is held inside: whoever makes a namespace like theirs gets nowhere else with it."""
    before, after = [*AGREED, *reaching("pay", "web")], [*ALIKE, *reaching("pay", "web", NEW)]

    assert gained(judged(snapshot(before), snapshot(after))).keys() == {
        (f"serviceaccount:{NEW}/api", "tools", "ClusterRole/viewer"),
        (f"serviceaccount:{NEW}/api", "*", "ClusterRole/nodes"),
    }


def test_a_namespace_without_any_of_the_labels_is_like_no_other() -> None:
    """What nobody labelled has nothing in common but that."""
    bare = [namespace("bare-1"), *team("bare-2")[1:], namespace("bare-2")]
    new = [namespace(NEW), *team(NEW)[1:]]

    assert gained(judged(snapshot([*PLATFORM, *bare]), snapshot([*PLATFORM, *bare, *new]))).keys() == EVERYTHING_NEW


@pytest.mark.parametrize("name", EXCEEDING)
def test_a_namespace_that_exceeds_its_peers_is_found_with_the_excess(name: str) -> None:
    """Exactly what no peer has, and none of what they all have."""
    more, expected = EXCEEDING[name]

    assert gained(judged(snapshot(AGREED), snapshot([*ALIKE, *more]))) == expected


def test_an_account_of_the_only_peer_does_not_belong_there() -> None:
    """What it holds at home is no measure for what it may do in the namespace of others."""
    more, expected = EXCEEDING["someone of another namespace"]
    found = judged(snapshot([*PLATFORM, *team("pay")]), snapshot([*PLATFORM, *team("pay"), *team(NEW), *more]))

    assert gained(found) == expected


def test_what_everyone_holds_at_the_only_peer_its_own_accounts_hold_in_a_namespace_like_it() -> None:
    """As any stranger does; what they hold at home beyond that is their own."""
    everyone = group("system:serviceaccounts")
    before = [*PLATFORM, *team("pay"), binding("open", "ClusterRole/viewer", everyone, namespace="pay")]
    open_too = [binding("open", "ClusterRole/viewer", everyone, namespace=NEW)]
    again = [binding("again", "ClusterRole/viewer", account("pay", "api"), namespace=NEW)]
    after = [*before, *team(NEW), *open_too, *again]

    assert gained(judged(snapshot(before), snapshot(after))) == {}


def test_a_reference_that_leads_nowhere_at_all_peers_is_like_them() -> None:
    """A binding to a Role that is not there yet, of the same name in each namespace."""
    before = [*AGREED, *(binding("late", "Role/late", account(one, "api"), namespace=one) for one in ("pay", "web"))]
    after = [*before, *ALIKE, binding("late", "Role/late", account(NEW, "api"), namespace=NEW)]

    assert gained(judged(snapshot(before), snapshot(after))) == {}


def test_what_only_some_peers_have_is_an_excess() -> None:
    """A namespace is like its peers where all of them are alike."""
    before = [*AGREED, role("extra", rule("get", "secrets"), namespace="pay"),
              binding("extra", "Role/extra", account("pay", "api"), namespace="pay")]  # fmt: skip
    after = [*before[len(AGREED) :], *ALIKE, *extra(rule("get", "secrets"))]

    assert gained(judged(snapshot(before), snapshot(after))) == EXCEEDING["a permission more"][1]


EVERYTHING_NEW = {
    (f"serviceaccount:{NEW}/api", NEW, f"Role/{NEW}/reader"), ("group:devs", NEW, "ClusterRole/viewer"),
    (f"group:system:serviceaccounts:{NEW}", NEW, "ClusterRole/reporter"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("growth", "labels", "env", "silent"),
    [
        ("like-peers", ("env",), "prod", True),
        ("like-peers", (), "prod", False),  # without keys, lab and tools are peers too, and hold less
        ("like-peers", ("env", "tier"), "prod", True),
        ("like-peers", ("env",), "stage", False),  # nobody is like it
        ("review", ("env",), "prod", False),
    ],
)
def test_the_settings_say_who_is_a_peer(growth: str, labels: tuple[str, ...], env: str, silent: bool) -> None:
    """The values of the labels on the agreed keys, if new namespaces are to be judged like others at all."""
    found = gained(judged(snapshot(AGREED), snapshot([*AGREED, *team(NEW, env)]), growth, labels))

    if silent:
        assert found == {}
    elif growth == "review" or env == "stage":
        assert found.keys() == EVERYTHING_NEW
    else:
        assert {} != found.keys() <= EVERYTHING_NEW


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-extra"])
def test_the_clusters_own_namespaces_are_nobodys_peers(name: str) -> None:
    """What the control plane's namespaces hold is no measure for a team's."""
    before = [*PLATFORM, *team(name)]

    assert gained(judged(snapshot(before), snapshot([*before, *team(NEW)])))


ENFORCE = "pod-security.kubernetes.io/enforce"
LEVEL = ("namespace:new", NEW, f"Label/{NEW}/{ENFORCE}")
BELOW_RESTRICTED = {
    "allowPrivilegeEscalation", "capabilities_restricted", "procMount_restricted", "restrictedVolumes", "runAsNonRoot",
    "runAsUser", "seccompProfile_restricted",
}  # fmt: skip


@pytest.mark.parametrize(("peers", "level", "controls"), [
    ("restricted", "restricted", set()),
    ("baseline", "baseline", set()),
    ("baseline", "restricted", set()),
    ("privileged", "privileged", set()),
    ("restricted", "baseline", BELOW_RESTRICTED),
])  # fmt: skip
def test_a_namespace_admits_no_more_than_its_peers(peers: str, level: str, controls: set[str]) -> None:
    """The Pod Security label that all of them have is the measure: stricter is fine, a lower one is one finding."""
    before = [namespace(name, env="prod", **{ENFORCE: peers}) for name in ("pay", "web")]
    found = gained(judged(snapshot(before), snapshot([*before, namespace(NEW, env="prod", **{ENFORCE: level})])))

    assert found.keys() == ({LEVEL} if controls else set())
    assert {unit["control"] for units in found.values() for unit in units} == controls


def test_a_workload_more_is_like_a_namespace_only_in_a_new_one() -> None:
    """In a namespace that was there, an account that did not exist at approval holds nothing that was agreed."""
    late = [service_account("pay", "late"), binding("late", "Role/reader", account("pay", "late"), namespace="pay")]
    found = gained(judged(snapshot(AGREED), snapshot([*AGREED, *late])))

    assert found.keys() == {("serviceaccount:pay/late", "pay", "Role/pay/reader")}


# Any cluster --------------------------------------------------------------------------------------------------------


def moved(one: Object, old: str, new: str) -> Object:
    """An object of one namespace as another has it, its subjects moved along."""
    place = {"name": new} if one["kind"] == "Namespace" else {"namespace": new}
    found = {**one, "metadata": {**one["metadata"], **place}}
    return found | ({"subjects": [renamed(s, old, new) for s in one["subjects"]]} if one.get("subjects") else {})


def renamed(subject: Object, old: str, new: str) -> Object:
    """The subject of another namespace that plays the same part, however it is spelled."""
    if subject["kind"] == "ServiceAccount":
        return {**subject, "namespace": new} if subject.get("namespace") == old else subject
    name = subject["name"]
    if name == f"system:serviceaccounts:{old}":
        name = f"system:serviceaccounts:{new}"
    elif name.startswith(f"system:serviceaccount:{old}:"):
        name = name.replace(f":{old}:", f":{new}:", 1)
    return {**subject, "name": name}


def grown(objects: Sequence[Object], old: str, new: str = NEW) -> list[Object]:
    """The cluster with a namespace more that is like one of it, inside and wherever its accounts are bound."""
    found: list[Object] = []
    for one in objects:
        inside = one["metadata"].get("namespace", "")
        if old in (inside, one["metadata"]["name"] if one["kind"] == "Namespace" else ""):
            found += [one, moved(one, old, new)]
        elif one.get("subjects"):
            twins = [twin for s in one["subjects"] if (twin := renamed(s, old, new)) != s]
            found.append({**one, "subjects": [*one["subjects"], *twins]})
        else:
            found.append(one)
    return found


def peculiar(objects: Iterable[Object]) -> list[Object]:
    """The cluster with no two namespaces alike."""
    return [{**one, "metadata": {**one["metadata"], "labels": {"env": one["metadata"]["name"]}}}
            if one["kind"] == "Namespace" else one for one in objects]  # fmt: skip


def excess(random: Random, number: int) -> list[Object]:
    """Something more in the new namespace: a role, and some who hold it."""
    subjects = random.sample(
        (account(NEW, "api"), account("pay", "api"), account("web", "job"), user("ann"), group("devs"),
         group(f"system:serviceaccounts:{NEW}"), group("system:serviceaccounts:pay"), group("system:authenticated")), 2,
    )  # fmt: skip
    name = f"extra-{number}"
    return [
        role(name, random_rule(random, urls_too=False), namespace=NEW),
        binding(name, f"Role/{random.choice((name, name, name, 'ghost'))}", *subjects, namespace=NEW),
    ]


@settings(max_examples=150, deadline=None)
@given(clusters, st.sampled_from(NAMESPACES), st.booleans(), st.lists(seeds, max_size=3))
def test_growth_is_judged_as_if_its_like_had_been_agreed_to(
    objects: list[Object], old: str, twins: bool, seeded: Sequence[int]
) -> None:
    """A namespace like one of a random cluster is silent; with more in it, the finding is what is more, and only that.

    What is more is what would be found if the namespace had been there, like its peer, when the cluster was approved;
    outside of it, what would be found if it had no peers.
    """
    before = peculiar(objects)
    if twins:
        before = aggregated(grown(before, old, "twin"))
    alike = aggregated(grown(before, old))
    after = aggregated([*alike, *(one for n, seed in enumerate(seeded) for one in excess(Random(seed), n))])

    found = judged(snapshot(before), snapshot(after))
    assert found.unknown == []
    assert _in_new(found) == _in_new(judged(snapshot(alike), snapshot(after)))
    assert _outside(found) == _outside(judged(snapshot(before), snapshot(after), "review"))
    if not seeded:
        assert _in_new(found) == {}


def _in_new(judgement: Judgement) -> Gains:
    return {place: units for place, units in gained(judgement).items() if place[1] == NEW}


def _outside(judgement: Judgement) -> Gains:
    return {place: units for place, units in gained(judgement).items() if place[1] != NEW}


# Upgrades -----------------------------------------------------------------------------------------------------------

PEOPLE = [
    namespace("pay"), service_account("pay", "api"),
    *(binding(f"{name}-inside", f"ClusterRole/{name}", account("pay", "api"), namespace="pay")
      for name in ("view", "edit", "admin")),
    *(binding(f"{name}-everywhere", f"ClusterRole/{name}", group(f"{name}s")) for name in ("view", "edit", "admin")),
    binding("stats", "ClusterRole/system:monitoring", account("pay", "api")),
]  # fmt: skip
"""People who hold what Kubernetes ships, so that a default role that changes means something to someone."""


def defaults(version: Version) -> list[Object]:
    """A fresh cluster of a minor, and who uses it."""
    return [*(manifest(key, content) for key, content in shipped(version)), *PEOPLE]


def upgraded(before: Iterable[Object], old: Version, after: Iterable[Object], new: Version) -> Judgement:
    """What is said of a cluster of another minor than the one that was agreed to."""
    agreed = Agreed((snapshot(before, version=old),), (), shipped(new), peer_labels=("env",))
    return judge(snapshot(after, version=new), agreed, History(), rules(), NOW)


JUMPS = [pytest.param(*pair, id=f"{pair[0]} to {pair[1]}") for pair in permutations(MINORS, 2)]


def test_default_roles_differ_between_minors() -> None:
    """So that their silence says something."""
    for old, new in permutations(MINORS, 2):
        assert shipped(old) != shipped(new)
    oldest, newest = (rbac.evaluate(snapshot(defaults(minor), version=minor)) for minor in (MINORS[0], MINORS[-1]))
    changes = rbac.compare(oldest, newest).changes
    assert {change.direction for change in changes} == {"loosened", "tightened"}
    assert any(change.subject == "group:admins" for change in changes)


@pytest.mark.parametrize(("old", "new"), JUMPS)
def test_an_upgrade_is_silent_in_both_directions(old: Version, new: Version) -> None:
    """The default roles of a newer, or an older, minor are agreed to with the version."""
    found = upgraded(defaults(old), old, defaults(new), new)

    assert (gained(found), found.unknown, found.outcome.events) == ({}, [], [])


@pytest.mark.parametrize(("old", "new"), JUMPS)
def test_an_upgrade_takes_nothing_away_from_default_roles(old: Version, new: Version) -> None:
    """An API server adds what its minor ships and leaves what another shipped: a cluster holds both after a while."""
    both = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in defaults(old)}
    for one in defaults(new):
        place = one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]
        for field in ("rules", "subjects"):
            if place in both and one.get(field):
                kept = both[place].get(field) or []
                both[place] = {**both[place], field: [*kept, *(item for item in one[field] if item not in kept)]}
        both.setdefault(place, one)

    assert gained(upgraded(defaults(old), old, both.values(), new)) == {}


def edited(one: Object, manager: str) -> Object:
    """What view is made of with a rule more, a binding with a subject more, and who wrote them last."""
    more: Object = {}
    if (one["kind"], one["metadata"]["name"]) == ("ClusterRole", "system:aggregate-to-view"):
        more = {"rules": [*one["rules"], rule("get", "secrets")]}
    if (one["kind"], one["metadata"]["name"]) == ("ClusterRoleBinding", "system:monitoring"):
        more = {"subjects": [*one["subjects"], user("zoe")]}
    if not more:
        return one
    fields = [
        {"manager": manager, "operation": "Update", "time": NOW, "fieldsV1": {f"f:{field}": {} for field in more}}
    ]
    return {**one, **more, "metadata": {**one["metadata"], "managedFields": fields if manager else []}}


@pytest.mark.parametrize(("old", "new"), JUMPS)
@pytest.mark.parametrize("manager", ["kube-apiserver", "kubectl-edit", ""])
def test_what_an_upgrade_does_not_ship_is_found(old: Version, new: Version, manager: str) -> None:
    """One rule more in view, one subject more in a default binding: its cause is who wrote it, or the new version."""
    after = aggregated([edited(one, manager) for one in defaults(new)])
    found = upgraded(defaults(old), old, after, new)

    places = gained(found)
    assert places.pop(("group:views", "*", "ClusterRole/view")) == (SECRETS,)
    assert places.keys() == {("user:zoe", "*", "ClusterRole/system:monitoring")}
    causes = {(cause.what, cause.actor) for one in found.outcome.findings.values() for cause in one.causes}
    assert causes == {("changed", manager) if manager == "kubectl-edit" else (UPGRADE, f"Kubernetes {old} → {new}")}
