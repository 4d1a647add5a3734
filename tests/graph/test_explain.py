"""Questions to the graph: proofs, everybody at once, what is lost with one, and how it is drawn."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.graph import explain, sentences
from posture.graph.compare import sources
from posture.graph.dot import dot
from posture.graph.evaluate import DOMAINS, Graph, assembled
from posture.graph.nodes import Edge
from posture.graph.paths import Path, held, targets
from posture.model import Gap
from tests.generator.network import network_policy
from tests.generator.objects import Object, account, binding, group, namespace, role, rule, snapshot, user
from tests.graph.graphs import graph_of
from tests.graph.scene import ESCALATIONS, PAY_ADMIN, WEB, WEB_ACCOUNT, open_shop, runs, service

TITLES = sentences.titled(ESCALATIONS)
JOB = "workload:lab/job[Deployment]"


def shop(*more: Object) -> Graph:
    """The graph of the shop, and of more."""
    return graph_of([*open_shop(), *more], ESCALATIONS)


def without_admin() -> list[Object]:
    """The shop, in which nobody is an administrator."""
    return [one for one in open_shop() if one["kind"] != "ClusterRoleBinding"]


def is_proof(one: Path) -> bool:
    """Whether each edge begins at what the source or an edge before it gave, and the last gives the target."""
    known = {one.source}
    for edge in one.edges:
        if not known.issuperset(edge.tail):
            return False
        known.add(edge.head)
    return one.target in known


# One path -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "sink", "rules"), [
    ("outside", "cluster-admin",
     "exposed-to-outside runs-as holds run-as-serviceaccount one-of holds hold-everything"),
    (WEB, WEB_ACCOUNT, "runs-as"),
    (PAY_ADMIN, "cluster-admin", "holds hold-everything"),
    (PAY_ADMIN, "secrets", "holds read-secrets"),
    (PAY_ADMIN, "secrets/lab", "holds read-secrets everywhere"),
    (PAY_ADMIN, "engine/podsecurity", "holds hold-everything everything"),
    (PAY_ADMIN, "namespace-admin/pay", "holds hold-everything everything"),
    (JOB, "secrets", None),
    (JOB, PAY_ADMIN, None),
    ("user:nobody", "cluster-admin", None),
])  # fmt: skip
def test_the_shortest_proof(source: str, sink: str, rules: str | None) -> None:
    """From anybody to a target or an identity; who has cluster-admin has what he does not reach otherwise."""
    found = explain.path(shop(), source, sink)

    assert (None if found is None else " ".join(edge.rule for edge in found.edges)) == rules
    assert found is None or is_proof(found)


def test_all_targets_of_a_source_the_gravest_first() -> None:
    """Secrets of one namespace are not named beside all."""
    reader = [role("reader", rule("get", "secrets")), binding("reader", "ClusterRole/reader", user("ann"))]
    keeper = [role("keeper", rule("create", "pods"), namespace="lab"),
              binding("keeper", "Role/keeper", user("ann"), namespace="lab")]  # fmt: skip
    found = explain.of_source(graph_of([*without_admin(), *reader, *keeper], ESCALATIONS), "user:ann")

    assert [one.path.target for one in found] == ["node", "secrets", "cloud/node"]
    assert all(is_proof(one.path) for one in found)


# Everybody ----------------------------------------------------------------------------------------------------------


def test_sources_that_do_the_same_are_told_once() -> None:
    """Those of the same grant, and those on another's path: the first is named, the others are with it."""
    more = binding("admins", "ClusterRole/cluster-admin", group("a"), user("b"), account("lab", "idle"))
    found = explain.of_everybody(shop(more))
    told = {(one.path.source, one.path.target): set(one.others) for one in found}

    assert told["outside", "cluster-admin"] >= {WEB, WEB_ACCOUNT}
    assert told[JOB, "cluster-admin"] == {"serviceaccount:lab/idle", PAY_ADMIN, "group:a", "user:b"}
    assert found[0].path.source == "outside"
    assert len(told) == len(found)


def test_everybody_to_one_sink() -> None:
    """Only paths that end there; the sink itself is no source."""
    found = explain.of_everybody(shop(), PAY_ADMIN)

    assert {one.path.target for one in found} == {PAY_ADMIN}
    assert PAY_ADMIN not in {name for one in found for name in (one.path.source, *one.others)}
    assert {"outside", WEB, WEB_ACCOUNT} <= {name for one in found for name in (one.path.source, *one.others)}


POOL = (
    binding("b1", "ClusterRole/cluster-admin", user("b"), account("lab", "idle")),
    binding("b2", "Role/deployer", account("lab", "idle"), user("c"), namespace="pay"),
    role("reader", rule("get", "secrets")),
    binding("b3", "ClusterRole/reader", group("system:authenticated")),
    binding("b4", "ClusterRole/reader", user("c"), user("d"), namespace="kube-system"),
    role("label", rule("patch", "namespaces")), binding("b5", "ClusterRole/label", user("d"), group("e")),
    binding("b6", "ClusterRole/label", account("pay", "web"), namespace="pay"),
    role("token", rule("create", "serviceaccounts/token", names=["admin"]), namespace="pay"),
    binding("b7", "Role/token", user("f"), account("lab", "ghost"), namespace="pay"),
    network_policy("pay", "closed", podSelector={}, policyTypes=["Ingress", "Egress"]),
    service("lab", "job"), runs("kube-system", "tool", "default"), namespace("pay", **{
        "pod-security.kubernetes.io/enforce": "restricted"}),
    binding("b8", "Role/deployer", group("system:serviceaccounts:lab"), namespace="pay"),
)  # fmt: skip


def all_pairs(graph: Graph, sink: str = "") -> set[tuple[str, str]]:
    """Who reaches what, asked of each source by itself."""
    pairs = set()
    for source in sources(graph):
        found = held(graph.edges, [source])
        reached = targets(found)
        if sink:
            pairs |= {(source, sink)} if explain.path(graph, source, sink) and source != sink else set()
        else:
            pairs |= {(source, target) for target in reached
                      if "secrets" not in reached or target != "secrets/kube-system"}  # fmt: skip
    return pairs


def as_pairs(found: Iterable[explain.Found]) -> list[tuple[str, str]]:
    """Who reaches what, as it is told."""
    return [(name, one.path.target) for one in found for name in (one.path.source, *one.others)]


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(range(len(POOL)))), st.sampled_from(["", "cluster-admin", "secrets/pay", PAY_ADMIN]))
def test_everybody_is_each_by_himself(chosen: set[int], sink: str) -> None:
    """Asking all at once gives every source with every target that a search from it alone gives, once, proven."""
    graph = shop(*(POOL[number] for number in sorted(chosen)))
    found = explain.of_everybody(graph, sink)
    told = as_pairs(found)

    assert sorted(told) == sorted(all_pairs(graph, sink))
    assert all(is_proof(one.path) for one in found)
    assert found == explain.of_everybody(graph, sink)


# What is lost with one ----------------------------------------------------------------------------------------------


def test_what_is_lost_with_a_workload() -> None:
    """Its targets, whom it becomes, where it can run pods, and whom it may talk to in other namespaces."""
    hardened = namespace("pay", **{"pod-security.kubernetes.io/enforce": "restricted"})
    found = explain.blast(graph_of([*without_admin(), hardened], ESCALATIONS), WEB)

    assert [one.path.target for one in found.paths] == ["cloud/node"]
    assert not found.everything
    assert found.identities == {"serviceaccounts": (PAY_ADMIN, WEB_ACCOUNT)}
    assert found.namespaces == ("pay",)
    assert found.connections == (JOB,)


def test_who_reaches_cluster_admin_is_everybody() -> None:
    """No identity is listed then, and pods are run everywhere."""
    found = explain.blast(shop(), PAY_ADMIN)

    assert (found.everything, found.identities, found.connections) == (True, {}, ())
    assert found.namespaces == ("kube-system", "lab", "pay")
    assert explain.blast_record(found, TITLES)["namespaces"] == {"count": 3, "first": ["kube-system", "lab", "pay"]}


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "node"), [
    ("outside", "outside"),
    ("pay/web", WEB),
    ("workload:pay/web", WEB),
    (WEB, WEB),
    (WEB_ACCOUNT, WEB_ACCOUNT),
    ("user:system:serviceaccount:pay/web", "user:system:serviceaccount:pay/web"),
    ("user:system:serviceaccount:pay:web", WEB_ACCOUNT),
    ("user:nobody", "user:nobody"),
    ("group:system:authenticated", "group:system:authenticated"),
])  # fmt: skip
def test_names_of_sources(text: str, node: str) -> None:
    """As everywhere in posture; users and groups are known to nobody but who authenticates them."""
    assert explain.source_of(shop(), text) == node
    assert text == "outside" or explain.sink_of(shop(), text) == node


@pytest.mark.parametrize(("text", "error"), [
    ("pay/wbe", "there is no workload pay/wbe; near to it: pay/web"),
    ("pray/web", "there is no workload pray/web; near to it: pay/web"),
    ("serviceaccount:pay/adnim", "there is no ServiceAccount pay/adnim; near to it: serviceaccount:pay/admin"),
    ("serviceaccount:pray/admin", "there is no ServiceAccount pray/admin; near to it: serviceaccount:pay/admin"),
    ("web", "web is nobody's name: write outside"),
    ("user:", "user: is nobody's name"),
    ("node:n1", "no pod is known to run on node n1"),
])  # fmt: skip
def test_a_source_that_is_nothing(text: str, error: str) -> None:
    """It is said, with near names."""
    with pytest.raises(ValueError, match=re.escape(error)):
        explain.source_of(shop(), text)


@pytest.mark.parametrize(("text", "near"), [
    ("clusteradmin", "cluster-admin"), ("nodes", "node"), ("secrets/pya", "secrets/pay"),
    ("namespace-admin/lba", "namespace-admin/lab"), ("engine/pod-security", "engine/podsecurity"),
])  # fmt: skip
def test_a_sink_that_is_nothing(text: str, near: str) -> None:
    """It is said, with near names."""
    with pytest.raises(ValueError, match=f"there is no target {text}; near to it: .*{near}"):
        explain.sink_of(shop(), text)


def test_one_of_several_workloads_has_to_be_named() -> None:
    """A Pod and a Deployment of one name are two."""
    alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "pay"},
             "spec": {"containers": [{"name": "c"}]}}  # fmt: skip
    with pytest.raises(ValueError, match=r"several workloads pay/web: pay/web\[Deployment\] and pay/web\[Pod\]"):
        explain.source_of(shop(alone), "pay/web")


@pytest.mark.parametrize(("gap", "hides"), [
    (Gap("roles.rbac.authorization.k8s.io", "pay", "forbidden", "no"), True),
    (Gap("services", "", "failed", "no"), True),
    (Gap("*", "", "truncated", "no"), True),
    (Gap("pods", "", "not collected", "asked for"), False),
    (Gap("certificates.cert-manager.io", "", "forbidden", "no"), False),
])  # fmt: skip
def test_a_gap_may_hide_a_path(gap: Gap, hides: bool) -> None:
    """Where a kind that some domain needs was not read; not where one did not want to."""
    read = snapshot(open_shop(), [gap])
    graph = assembled({name: domain.evaluate(read) for name, domain in DOMAINS.items()}, ESCALATIONS)

    assert (explain.incomplete(graph.snapshot) is not None) is hides


# Records and drawings -----------------------------------------------------------------------------------------------


def test_a_path_as_json() -> None:
    """The contract: names, and each need by the facts that give it."""
    found = explain.path(shop(), WEB_ACCOUNT, PAY_ADMIN)
    assert found is not None
    record = explain.record(explain.Found(found, ("user:x",)), TITLES)

    assert record == {
        "source": WEB_ACCOUNT, "sink": PAY_ADMIN,
        "edges": [
            {"from": [WEB_ACCOUNT], "to": "can:create-pods@pay", "rule": "holds",
             "needs": [[{"domain": "rbac", "subject": WEB_ACCOUNT, "scope": "pay", "kind": "Role", "namespace": "pay",
                         "name": "deployer"}]],
             "text": "ServiceAccount pay/web can run pods in pay, through Role pay/deployer"},
            {"from": ["can:create-pods@pay"], "to": "serviceaccount:pay/*", "rule": "run-as-serviceaccount",
             "needs": [],
             "text": "whoever can run pods in pay becomes any ServiceAccount of pay (run-as-serviceaccount)"},
            {"from": ["serviceaccount:pay/*"], "to": PAY_ADMIN, "rule": "one-of", "needs": [],
             "text": "ServiceAccount pay/admin is a ServiceAccount of pay"},
        ],
        "alike": {"count": 1, "first": ["user:x"]},
    }  # fmt: skip


STATEMENT = re.compile(r'  (?:rankdir=LR|[na]\d+(?: -> [na]\d+)?(?: \[(?:\w+=(?:\w+|"(?:[^"\\]|\\.)*")(?:, )?)+\])?);')


@pytest.mark.parametrize("name", ['a"b', "a\\", "a\\n", "\x1b]0;t\x07", "\u202ea", "a];b", "&lt;", "<b>", "a\nb", "%s"])
def test_a_drawing_holds_any_name(name: str) -> None:
    """Every line is a statement of DOT; quotes and backslashes stay inside of labels, and nothing is unseen."""
    end = f"user:{name}"
    drawn = dot([Path("outside", "node", (Edge(("outside",), end, "x"), Edge((end,), "node", "y")))], TITLES)
    head, *statements, foot = drawn.split("\n")

    assert (head, foot) == ("digraph posture {", "}")
    assert all(STATEMENT.fullmatch(line) for line in statements), drawn
    assert drawn.replace("\n", "").isprintable()


def test_a_drawing_shows_what_is_what() -> None:
    """From left to right; sources, targets, abilities and what takes several have shapes of their own."""
    edges = (Edge(("user:a",), "can:create-pods@pay", "holds"), Edge(("user:a",), "can:x@pay", "holds"),
             Edge(("can:create-pods@pay", "can:x@pay"), "node", "together"))  # fmt: skip
    drawn = dot([Path("user:a", "node", edges), Path("user:a", "node", edges)], TITLES)

    assert drawn.split("\n") == [
        "digraph posture {",
        "  rankdir=LR;",
        '  n0 [shape=box, style=bold, label="User a"];',
        '  n1 [shape=box, style=rounded, label="whoever can run pods in pay"];',
        '  n2 [shape=box, style=rounded, label="whoever can x in pay"];',
        '  n3 [shape=doubleoctagon, label="a node"];',
        '  n4 [shape=circle, label="all"];',
        '  n0 -> n1 [label="holds"];',
        '  n0 -> n2 [label="holds"];',
        "  n1 -> n4;",
        "  n2 -> n4;",
        '  n4 -> n3 [label="together"];',
        "}",
    ]
