"""What people read of the graph: nodes, single edges, and paths in as few lines as still are proofs."""

from __future__ import annotations

import re

import pytest

from posture.graph import sentences
from posture.graph.catalogue import Escalation, escalation_of
from posture.graph.nodes import Edge, Fact, can
from posture.graph.paths import path
from posture.graph.words import Words
from posture.model import Through
from tests.generator.network import pod
from tests.generator.objects import namespace
from tests.graph.graphs import graph_of
from tests.graph.proving import catalogue
from tests.graph.scene import ESCALATIONS, WEB, open_shop

TITLES = sentences.titled(ESCALATIONS)
DOOR = frozenset({Fact("graph", WEB, "pay", Through("Service", "pay", "web"))})
ROLE, WIDE = Through("Role", "pay", "deployer"), Through("ClusterRole", "", "reader")


def rbac(subject: str, through: Through, scope: str = "pay") -> frozenset[Fact]:
    """What one role reference gives."""
    return frozenset({Fact("rbac", subject, scope, through)})


def network(*names: str, kind: str = "NetworkPolicy") -> frozenset[Fact]:
    """What one of some policies allows."""
    return frozenset(Fact("network", WEB, "pay", Through(kind, "pay", name)) for name in names)


def admits(kind: str, violation: str) -> frozenset[Fact]:
    """What a namespace admits."""
    return frozenset({Fact("admission", "namespace:pay", "pay", Through(kind, "pay", violation))})


@pytest.mark.parametrize(("node", "text"), [
    ("outside", "the outside"),
    ("serviceaccount:pay/web", "ServiceAccount pay/web"),
    ("serviceaccount:pay/*", "any ServiceAccount of pay"),
    ("serviceaccount:*/*", "any ServiceAccount"),
    ("absent:pay/old", "ServiceAccount pay/old that does not exist yet"),
    ("workload:pay/web[Deployment]", "Deployment pay/web"),
    ("workload:pay/a[b[Pod]", "Pod pay/a[b"),
    ("workload:pay/*", "any workload of pay"),
    ("user:ann", "User ann"),
    ("user:*", "any User that grants name"),
    ("group:system:authenticated", "Group system:authenticated"),
    ("node", "a node"),
    ("node:*", "every node"),
    ("node:n1", "node n1"),
    ("cluster-admin", "cluster-admin"),
    ("secrets", "every Secret"),
    ("secrets/kube-system", "the Secrets of kube-system"),
    ("namespace-admin/pay", "namespace-admin of pay"),
    ("namespace-admin/*", "namespace-admin of every namespace"),
    ("engine/kyverno", "engine kyverno"),
    ("cloud/node", "the cloud identity of a node"),
    ("cloud/aws:arn:x", "cloud identity aws:arn:x"),
    ("role:ClusterRole/edit@pay", "whoever is granted ClusterRole edit in pay"),
    ("rewrite:ClusterRole/*@*", "whoever may give any ClusterRole any rule"),
    ("can:create-pods@pay", "whoever can run pods in pay"),
    ("can:read-secrets@pay", "whoever can read every Secret of pay"),
    ("can:read-secrets@*", "whoever can read every Secret of every namespace"),
    (can("create-serviceaccount-token", "pay", {"$name": "a", "$other": "b"}),
     "whoever can create a token of a ServiceAccount in pay (a and b only)"),
    (can("create-serviceaccount-token", "pay", {"$name": "a@b]@c"}),
     "whoever can create a token of a ServiceAccount in pay (a@b]@c only)"),
    ("can:lower-and-run#0@pay", "whoever can patch namespaces in pay"),
    ("can:lower-and-run#1@*", "whoever can create pods or create jobs cluster-wide"),
    ("can:of-tomorrow@pay", "whoever can of-tomorrow in pay"),
])  # fmt: skip
def test_nodes_have_names_for_people(node: str, text: str) -> None:
    """Kubernetes' own words, whether it is one, a set or an ability."""
    assert sentences.name(node, TITLES) == text


@pytest.mark.parametrize(("edge", "text"), [
    (Edge(("outside",), WEB, "exposed-to-outside", (DOOR, network("open"))),
     "the outside reaches Deployment pay/web through Service pay/web (NetworkPolicy pay/open lets it in)"),
    (Edge(("outside",), WEB, "exposed-to-outside", (DOOR, network("ingress", kind="NonIsolated"))),
     "the outside reaches Deployment pay/web through Service pay/web (no policy isolates it for ingress)"),
    (Edge(("outside",), WEB, "exposed-to-outside",
          (frozenset({Fact("graph", WEB, "pay", Through("Deployment", "pay", "web"))}), network("open"))),
     ("the outside reaches Deployment pay/web through a port of its nodes (hostPort) "
      "(NetworkPolicy pay/open lets it in)")),
    (Edge((WEB,), "serviceaccount:pay/web", "runs-as"), "Deployment pay/web runs as ServiceAccount pay/web"),
    (Edge((WEB,), "node", "privileged-workload"), "Deployment pay/web has the root of its node"),
    (Edge((WEB,), "node:n1", "privileged-workload"), "Deployment pay/web has the root of node n1"),
    (Edge((WEB,), "cloud/node", "cloud-metadata", (network("a", "b"),)),
     ("Deployment pay/web reaches the cloud's metadata service, and so acts as its node "
      "(NetworkPolicy pay/a lets it out or NetworkPolicy pay/b lets it out)")),
    (Edge(("node:n1",), WEB, "pods-of-node"), "node n1 runs Deployment pay/web"),
    (Edge(("node:*",), "workload:*/*", "pods-of-node"), "every node runs every workload"),
    (Edge(("serviceaccount:pay/web",), "can:create-pods@pay", "holds", (rbac("serviceaccount:pay/web", ROLE),)),
     "ServiceAccount pay/web can run pods in pay, through Role pay/deployer"),
    (Edge(("serviceaccount:pay/web",), "can:read-secrets@*", "holds",
          (rbac("group:system:authenticated", WIDE, "*"), rbac("serviceaccount:pay/web", ROLE, "*"))),
     ("ServiceAccount pay/web can read every Secret of every namespace, through ClusterRole reader of Group "
      "system:authenticated and Role pay/deployer")),
    (Edge(("can:create-pods@pay",), "node:*", "escape-to-node", (admits("admits", "privileged:containers.x"),)),
     "whoever can run pods in pay gets every node (escape-to-node; Namespace pay admits privileged pods)"),
    (Edge(("can:label-namespace@pay",), "node:*", "x", (admits("admitsUnlabelled", "privileged:containers.x"),)),
     ("whoever can change pay's labels gets every node (x; without its Pod Security labels Namespace pay would admit "
      "privileged pods)")),
    (Edge(("can:label-namespace@pay", "can:create-pods@pay"), "can:both@pay", "both"),
     "whoever can change pay's labels together with whoever can run pods in pay can both in pay (both)"),
    (Edge(("serviceaccount:pay/*",), "serviceaccount:pay/a", "one-of"),
     "ServiceAccount pay/a is a ServiceAccount of pay"),
    (Edge(("serviceaccount:pay/a",), "group:devs", "member-of"), "ServiceAccount pay/a is a member of Group devs"),
    (Edge(("can:create-pods@*",), "can:create-pods@pay", "everywhere"),
     "whoever can run pods cluster-wide can run pods in pay"),
    (Edge(("secrets",), "secrets/kube-system", "everywhere"), "every Secret includes the Secrets of kube-system"),
    (Edge(("cluster-admin",), "node", "everything"), "cluster-admin includes a node"),
    (Edge(("can:x@*",), "engine/kyverno", "x"), "whoever can x cluster-wide switches engine kyverno off (x)"),
    (Edge(("can:x@pay",), "role:Role/r@pay", "x"), "whoever can x in pay is granted Role r in pay (x)"),
    (Edge(("serviceaccount:pay/a",), "cloud/aws:x", "assumes-cloud-identity", (rbac("serviceaccount:pay/a", WIDE),)),
     "ServiceAccount pay/a acts as cloud identity aws:x, through ClusterRole reader"),
    (Edge(("can:change-clusterrolebinding@*",), "cluster-admin", "change-clusterrolebinding"),
     "whoever can change-clusterrolebinding gets cluster-admin (change-clusterrolebinding)"),
])  # fmt: skip
def test_one_edge_is_one_sentence(edge: Edge, text: str) -> None:
    """Who holds the tail, what follows, and by what: from the edge and the titles of escalations alone."""
    assert sentences.sentence(edge, TITLES) == text


def test_a_path_is_told_in_few_lines() -> None:
    """What grants, where one is in a set and what follows are one line, in an order in which it is a proof."""
    graph = graph_of(open_shop(), ESCALATIONS)
    found = path(graph.edges, "outside", "cluster-admin")
    assert found is not None
    told = sentences.steps(found.edges, TITLES)

    assert [text for text, _ in told] == [
        "the outside reaches Deployment pay/web through Service pay/web (no policy isolates it for ingress)",
        "Deployment pay/web runs as ServiceAccount pay/web",
        ("ServiceAccount pay/web can run pods in pay, through Role pay/deployer, and so becomes any ServiceAccount "
         "of pay (run-as-serviceaccount)"),
        ("ServiceAccount pay/admin is one of them and can hold every permission in the whole cluster, "
         "through ClusterRole cluster-admin, and so gets cluster-admin (hold-everything)"),
    ]  # fmt: skip
    assert [edge for _, edges in told for edge in edges] == [*found.edges]


def test_what_two_have_to_do_together_is_told_apart() -> None:
    """Each of those that meet a part has a line; what follows from both is one."""
    one, two = "serviceaccount:pay/a", "serviceaccount:pay/b"
    edges = [
        Edge((one,), "can:lower-and-run#0@pay", "holds", (rbac(one, ROLE),)),
        Edge((two,), "group:devs", "member-of"),
        Edge(("group:devs",), "can:lower-and-run#1@*", "holds", (rbac("group:devs", WIDE, "*"),)),
        Edge(("can:lower-and-run#1@*",), "can:lower-and-run#1@pay", "everywhere"),
        Edge(("can:lower-and-run#0@pay", "can:lower-and-run#1@pay"), "can:lower-and-run@pay", "lower-and-run",
             (admits("admits", "runAsNonRoot:x"),)),
        Edge(("can:lower-and-run@pay",), "node:*", "lower-and-run", (admits("admits", "privileged:x"),)),
    ]  # fmt: skip
    told = sentences.steps(edges, TITLES)

    assert [text for text, _ in told] == [
        "ServiceAccount pay/a can patch namespaces in pay, through Role pay/deployer",
        ("ServiceAccount pay/b, as a member of Group devs, can create pods or create jobs cluster-wide, "
         "through ClusterRole reader, and so can create pods or create jobs in pay"),
        ("ServiceAccount pay/a together with ServiceAccount pay/b gets every node (lower-and-run; Namespace pay admits "
         "pods that may run as root, and privileged pods)"),
    ]  # fmt: skip
    assert {edge for _, found in told for edge in found} == {*edges}


def test_what_one_does_alone_is_told_of_one() -> None:
    """The parts that one identity meets are one sentence, by whichever of its groups; that a node is one is none."""
    one = "serviceaccount:pay/a"
    edges = [
        Edge((one,), "can:lower-and-run#0@pay", "holds", (rbac(one, ROLE),)),
        Edge((one,), "group:devs", "member-of"),
        Edge(("group:devs",), "can:lower-and-run#1@pay", "holds", (rbac("group:devs", WIDE, "*"),)),
        Edge(("can:lower-and-run#0@pay", "can:lower-and-run#1@pay"), "can:lower-and-run@pay", "lower-and-run",
             (admits("admits", "runAsNonRoot:x"),)),
        Edge(("can:lower-and-run@pay",), "node:*", "lower-and-run"),
        Edge(("node:*",), "node", "runs-on"),
    ]  # fmt: skip
    ((text, told),) = sentences.steps(edges, TITLES)

    assert text == (
        "ServiceAccount pay/a can patch namespaces in pay, through Role pay/deployer, and as a member of Group devs "
        "can create pods or create jobs in pay, through ClusterRole reader, and so gets every node (lower-and-run; "
        "Namespace pay admits pods that may run as root)"
    )
    assert {*told} == {*edges}


def test_an_ability_that_two_steps_use_is_told_before_both() -> None:
    """No step begins at what was not said yet."""
    one = "serviceaccount:pay/a"
    edges = [
        Edge((one,), "can:create-pods@pay", "holds", (rbac(one, ROLE),)),
        Edge(("can:create-pods@pay",), "serviceaccount:pay/b", "run-as-serviceaccount"),
        Edge(("serviceaccount:pay/b",), "can:label-namespace@pay", "holds", (rbac("serviceaccount:pay/b", WIDE),)),
        Edge(("can:create-pods@pay", "can:label-namespace@pay"), "node:*", "both"),
    ]  # fmt: skip
    assert [text for text, _ in sentences.steps(edges, TITLES)] == [
        "ServiceAccount pay/a can run pods in pay, through Role pay/deployer",
        "ServiceAccount pay/a becomes ServiceAccount pay/b (run-as-serviceaccount)",
        "ServiceAccount pay/b can change pay's labels, through ClusterRole reader",
        "ServiceAccount pay/a together with ServiceAccount pay/b gets every node (both)",
    ]  # fmt: skip


def test_a_graph_says_by_what() -> None:
    """By what a workload has its node's root, and which exception admits what a policy would refuse."""
    lowered = namespace("lab", **{"pod-security.kubernetes.io/enforce": "privileged"})
    root = pod("lab", "root", containers=[{"name": "c", "securityContext": {"privileged": True}}])
    words = Words(graph_of([lowered, root], ESCALATIONS))
    fact = Fact("admission", "namespace:lab", "lab", Through("admits", "lab", "privileged:containers.securityContext"))
    edges = (
        Edge(("workload:lab/root[Pod]",), "node", "privileged-workload"),
        Edge(("can:create-pods@lab",), "node:*", "escape-to-node", (frozenset({fact}),)),
    )

    assert [sentences.sentence(edge, words) for edge in edges] == [
        "Pod lab/root has the root of its node, by a privileged container",
        "whoever can run pods in lab gets every node (escape-to-node; Namespace lab admits privileged pods)",
    ]
    assert words["create-pods"] == "Run pods"
    assert "escape workload:lab/none[Pod]" not in words
    assert dict(words) == sentences.titled(ESCALATIONS)


def test_alternatives_that_say_more_are_left_out() -> None:
    """To create an object by its name takes patch besides: who may create it anyway needs none of that."""
    leaf = {"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}
    named = leaf | {"resourceNames": ["$name"]}
    one = escalation_of({
        "id": "x", "domain": "graph", "title": "X",
        "requests": [{"any": [leaf, {"all": [named, named | {"verbs": ["patch"]}]}]}] * 2,
        "effect": {"reach": ["node"]}, "why": "x", "remedy": "x", "references": ["x"],
    })  # fmt: skip
    assert sentences.name("can:x#0@pay", sentences.titled([one])) == "whoever can create pods in pay"


@pytest.mark.parametrize("one", catalogue(), ids=lambda one: one.id)
def test_every_shipped_title_says_where(one: Escalation) -> None:
    """In a namespace a title names it, whether it speaks of one or not; cluster-wide it means none."""
    titles = sentences.titled([one])

    assert sentences.name(f"can:{one.id}@q7", titles).count("q7") == 1
    assert not re.search(r"\b(of|in) a namespace\b", sentences.name(f"can:{one.id}@*", titles))
    assert sentences.name(f"can:{one.id}@*", titles) != sentences.name(f"can:{one.id}@q7", titles)
