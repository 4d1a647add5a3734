"""The graph says what a naive reading of the catalogue says, one namespace, identity and name at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings

from posture.graph.compare import sources
from posture.graph.paths import held, targets
from posture.graph.reach import Reach, explored
from tests.conftest import FIGURE
from tests.generator.network import network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    binding,
    group,
    metadata,
    namespace,
    role,
    rule,
    service_account,
)
from tests.graph.clusters import Size, clusters, evaluated, files, random_cluster
from tests.oracles.graph import World

MANY = 3000
MINORS = (None, 34)
"""The versions for which escalations are tried: the newest, and one for which others hold."""


def agree(objects: Sequence[Object], minor: int | None = None) -> Counter[str]:
    """Hold the search from each source, the search from all at once and the oracle against each other.

    Returns how often each target was reached.
    """
    graph = evaluated(objects, minor)
    world = World(objects, files(), minor)
    everybody = sources(graph)
    reach = Reach(explored(graph.edges, everybody))
    found: Counter[str] = Counter()
    for source in everybody:
        expected = world.reached(source)
        assert targets(held(graph.edges, [source])) == expected, source
        assert reach.targets(source) == expected, source
        found.update(target.partition("/")[0] for target in expected)
    return found


RBAC = "rbac.authorization.k8s.io"
X, Y = account("a", "x"), account("a", "y")
SOURCE = "serviceaccount:a/x"


def cluster(*objects: Object) -> list[Object]:
    """Two namespaces with ServiceAccounts, of which boss is cluster-admin."""
    return [
        namespace("kube-system"), namespace("a"), *(service_account("a", name) for name in ("x", "y", "boss")),
        role("cluster-admin", rule("*", "*", "*")), binding("boss", "ClusterRole/cluster-admin", account("a", "boss")),
        *objects,
    ]  # fmt: skip


def granted(*rules: Object, where: str = "", who: Object = X) -> tuple[Object, Object]:
    """A role, and who is bound to it, in a namespace or everywhere."""
    made = role("r", *rules, namespace=where)
    return made, binding("r", f"{made['kind']}/r", who, namespace=where)


CASES = {
    "a-name-everywhere-and-any-in-one-namespace": (
        [*granted(rule("create", "serviceaccounts/token", names=["y"])),
         *granted(rule("create", "serviceaccounts/token"), where="a")], ["cluster-admin"]),
    "bindings-in-every-namespace-are-none-beyond": (
        [*granted(rule("bind", "clusterroles", RBAC, ["reader"]), rule("create", "rolebindings", RBAC)),
         role("reader", rule("list", "secrets"))], ["secrets/kube-system"]),
    "one-request-everywhere-and-one-in-a-namespace": (
        [*granted(rule("create", "serviceaccounts")),
         binding("ghost", "ClusterRole/cluster-admin", account("kube-system", "ghost")),
         role("token", rule("create", "serviceaccounts/token"), namespace="kube-system"),
         binding("token", "Role/token", X, namespace="kube-system")], ["cluster-admin"]),
    "requests-in-two-namespaces": (
        [*granted(rule("create", "serviceaccounts"), where="a"),
         binding("ghost", "ClusterRole/cluster-admin", account("kube-system", "ghost")),
         role("token", rule("create", "serviceaccounts/token"), namespace="kube-system"),
         binding("token", "Role/token", X, namespace="kube-system")], []),
    "half-of-a-condition-by-a-group": (
        [*granted(rule("bind", "clusterroles", RBAC)), role("half", rule("create", "clusterrolebindings", RBAC)),
         binding("half", "ClusterRole/half", group("system:authenticated"))], ["cluster-admin"]),
    "half-of-a-condition-by-another-identity": (
        [*granted(rule("bind", "clusterroles", RBAC), rule("impersonate", "serviceaccounts", "", ["y"])),
         role("half", rule("create", "clusterrolebindings", RBAC)), binding("half", "ClusterRole/half", Y)], []),
    "the-name-that-is-a-star": (granted(rule("create", "serviceaccounts/token", names=["*"]), where="a"), []),
    "a-name-that-looks-like-a-pattern": (granted(rule("impersonate", "serviceaccounts", names=["bo*"])), []),
    "a-group-that-looks-like-all-groups": (
        [binding("all", "ClusterRole/cluster-admin", group("system:serviceaccounts:*")),
         *granted(rule("impersonate", "serviceaccounts", names=["y"]))], []),
    "an-account-that-does-not-exist-is-impersonated": (
        [*granted(rule("impersonate", "serviceaccounts", names=["ghost"])),
         binding("ghost", "ClusterRole/cluster-admin", account("a", "ghost"))], ["cluster-admin"]),
    "and-has-no-token": (
        [*granted(rule("create", "serviceaccounts/token", names=["ghost"])),
         binding("ghost", "ClusterRole/cluster-admin", account("a", "ghost"))], []),
    "a-user-that-is-an-account-is-asked-for-as-one": (
        granted(rule("impersonate", "users", names=["system:serviceaccount:a:boss"])), []),
    "a-role-that-rewrites-a-role-of-another-account": (
        [*granted(rule("bind", "clusterroles", RBAC, ["rewriter"]), rule("create", "clusterrolebindings", RBAC),
                  rule("impersonate", "serviceaccounts", "", ["y"])),
         role("rewriter", rule("escalate,update", "clusterroles", RBAC, ["weak"])), role("weak"),
         binding("weak", "ClusterRole/weak", Y)], ["cluster-admin"]),
    "an-account-with-a-cloud-identity-is-no-role": (
        [service_account("a", "x", **{"eks.amazonaws.com/role-arn": "arn"}),
         *granted(rule("escalate,patch", "roles", RBAC))], ["cloud/aws:arn"]),
    "a-binding-that-exists-is-joined": (
        [*granted(rule("bind", "clusterroles", RBAC, ["ops"]), rule("patch", "clusterrolebindings", RBAC, ["ops"])),
         role("ops", rule("*", "*", "*")), binding("ops", "ClusterRole/ops", group("devs"))], ["cluster-admin"]),
    "and-one-without-subjects-too": (
        [*granted(rule("bind", "clusterroles", RBAC, ["ops"]), rule("update", "clusterrolebindings", RBAC)),
         role("ops", rule("*", "*", "*")), binding("ops", "ClusterRole/ops")], ["cluster-admin"]),
    "but-not-one-of-another-role-than-one-may-bind": (
        [*granted(rule("bind", "clusterroles", RBAC, ["weak"]), rule("patch", "clusterrolebindings", RBAC)),
         role("ops", rule("*", "*", "*")), binding("ops", "ClusterRole/ops", group("devs")), role("weak")], []),
    "nor-one-of-another-name": (
        [*granted(rule("bind", "clusterroles", RBAC, ["ops"]), rule("patch", "clusterrolebindings", RBAC, ["other"])),
         role("ops", rule("*", "*", "*")), binding("ops", "ClusterRole/ops", group("devs"))], []),
    "nor-without-bind": (
        [*granted(rule("patch,update", "rolebindings", RBAC), where="a"), role("all", rule("*", "*", "*")),
         binding("all", "ClusterRole/all", group("devs"), namespace="a")], []),
    "a-rolebinding-that-exists-is-joined": (
        [*granted(rule("bind", "roles", RBAC), rule("patch", "rolebindings", RBAC, ["all"]), where="a"),
         role("all", rule("*", "*", "*"), namespace="a"),
         binding("all", "Role/all", group("devs"), namespace="a")], ["cluster-admin"]),
    "a-rolebinding-to-a-clusterrole-is-joined": (
        [*granted(rule("bind", "clusterroles", RBAC), rule("patch", "rolebindings", RBAC), where="a"),
         role("all", rule("*", "*", "*")),
         binding("all", "ClusterRole/all", group("devs"), namespace="a")], ["cluster-admin"]),
    "a-role-that-one-waits-for-is-made": (
        [*granted(rule("create,escalate", "roles", RBAC), where="a"),
         binding("ghost", "Role/ghost", X, namespace="a")], ["cluster-admin"]),
    "a-role-that-another-one-waits-for-is-made": (
        [*granted(rule("create,escalate", "roles", RBAC), rule("impersonate", "serviceaccounts", names=["y"]),
                  where="a"),
         binding("ghost", "Role/ghost", Y, namespace="a")], ["cluster-admin"]),
    "a-role-is-made-without-escalate": (
        [*granted(rule("create,update,patch", "roles", RBAC), where="a"),
         binding("ghost", "Role/ghost", X, namespace="a")], []),
    "a-role-is-made-in-another-namespace": (
        [*granted(rule("create,escalate", "roles", RBAC), where="a"), namespace("b"),
         binding("ghost", "Role/ghost", X, namespace="b")], []),
    "a-role-of-another-name-is-made": (
        [*granted(rule("create,escalate,patch", "roles", RBAC, ["spirit"]), where="a"),
         binding("ghost", "Role/ghost", X, namespace="a")], []),
    "a-role-that-exists-is-not-made": (granted(rule("create,escalate", "roles", RBAC), where="a"), []),
    "a-clusterrole-that-one-waits-for-is-made": (
        [*granted(rule("create,escalate", "clusterroles", RBAC)),
         binding("ghost", "ClusterRole/ghost", X, namespace="a")], ["cluster-admin"]),
    "a-role-is-made-and-bound": (
        granted(rule("create,escalate,bind", "roles", RBAC), rule("create", "rolebindings", RBAC)),
        ["cluster-admin"]),
    "a-role-of-a-name-is-made-and-bound": (
        [role("r", rule("create,escalate,bind,patch", "roles", RBAC, ["n"]), rule("create", "rolebindings", RBAC)),
         binding("r", "ClusterRole/r", X, namespace="a")], ["cluster-admin"]),
    "a-role-of-a-name-is-made-and-another-one-bound": (
        [role("r", rule("create,escalate,patch", "roles", RBAC, ["n"]), rule("bind", "roles", RBAC, ["m"]),
              rule("create", "rolebindings", RBAC)), binding("r", "ClusterRole/r", X, namespace="a")], []),
    "a-role-that-may-be-bound-is-rewritten": (
        [role("r", rule("escalate,patch,bind", "roles", RBAC, ["weak"]), rule("create", "rolebindings", RBAC)),
         role("weak", namespace="a"), binding("r", "ClusterRole/r", X, namespace="a")], ["cluster-admin"]),
    "a-role-that-does-not-exist-is-not-rewritten": (
        [*granted(rule("escalate,patch", "roles", RBAC, ["ghost"]), where="a"),
         binding("ghost", "Role/ghost", X, namespace="a")], []),
    "a-namespace-that-one-waits-for-is-made": (
        [*granted(rule("create", "namespaces,pods")),
         binding("gone", "ClusterRole/cluster-admin", group("system:serviceaccounts:gone"))], ["cluster-admin"]),
    "a-namespace-is-made-and-pods-elsewhere": (
        [*granted(rule("create", "namespaces")), role("p", rule("create", "pods")), namespace("b"),
         service_account("b", "z"), binding("p", "ClusterRole/p", X, namespace="b"),
         binding("gone", "ClusterRole/cluster-admin", account("gone", "default"))],
        ["cloud/node", "node"]),
    "impersonating-a-node-is-asked-for-everywhere": (
        granted(rule("impersonate:arbitrary-node", "nodes", "authentication.k8s.io"),
                rule("impersonate-on:arbitrary-node:get", "secrets"), where="kube-system"), []),
}  # fmt: skip


@pytest.mark.parametrize(("objects", "expected"), CASES.values(), ids=CASES)
def test_what_is_easily_taken_for_something_else(objects: Sequence[Object], expected: list[str]) -> None:
    """Names, scopes and identities that look like others: what is reached, by all three."""
    whole = cluster(*objects)

    agree(whole)
    assert World(whole, files()).reached(SOURCE) == expected


def test_who_gets_in_from_outside() -> None:
    """A Service of type LoadBalancer leads to its pods, but not where a policy isolates them."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata("web", "a"), "spec": {
        "type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}  # fmt: skip
    way_in = [pod("a", "web", {"app": "web"}, serviceAccountName="boss"), service]
    closed = [network_policy("a", "closed", podSelector={}, policyTypes=["Ingress"])]

    for more, expected in (([], ["cluster-admin"]), (closed, [])):
        whole = cluster(*way_in, *more)
        agree(whole)
        assert World(whole, files()).reached("outside") == expected


@pytest.mark.parametrize(("minor", "expected"), [(34, ["cluster-admin"]), (None, [])])
def test_what_holds_for_a_version_only(minor: int | None, expected: list[str]) -> None:
    """Until 1.34 getting pods/exec was enough to run a command in a pod."""
    running = pod("a", "web", {"app": "web"}, serviceAccountName="boss")
    whole = cluster(running, *granted(rule("get", "pods/exec"), where="a"))

    agree(whole, minor)
    assert World(whole, files(), minor).reached(SOURCE) == expected


@settings(max_examples=220, deadline=None)
@given(clusters)
def test_every_source_reaches_what_the_oracle_says(objects: list[Object]) -> None:
    """The search from a source, that of all sources at once, and the oracle name the same targets."""
    agree(objects)


@settings(max_examples=30, deadline=None)
@given(clusters)
def test_another_version_of_kubernetes_has_other_escalations(objects: list[Object]) -> None:
    """The same for a server for which some escalations do not hold yet, or hold still."""
    agree(objects, 34)


def test_the_clusters_reach_every_kind_of_target() -> None:
    """What is drawn is worth asking: most kinds of targets are reached, and many sources reach none."""
    found: Counter[str] = Counter()
    for seed in range(40):
        found += agree(random_cluster(Random(seed), Size()))
    assert set(found) >= {"cluster-admin", "node", "secrets", "namespace-admin", "cloud", "engine"}


@pytest.mark.prove
def test_many_clusters_agree_with_the_oracle(record_property: Callable[[str, object], None]) -> None:
    """The same, over many more."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    random = Random(seed)
    found: Counter[str] = Counter()
    for number in range(MANY):
        size = Size(random.randint(2, 4), random.randint(1, 9), random.randint(0, 4), random.randint(0, 4))
        found += agree(random_cluster(random, size), MINORS[number % 5 == 0])
    text = f"graph: {found.total():,} targets reached in {MANY:,} clusters, as a naive reading of the catalogue says"
    record_property(FIGURE, f"{text} (POSTURE_SEED={seed})")
