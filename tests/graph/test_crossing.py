"""Edges that cross domains: which cloud a workload acts in, and what of it the outside reaches."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.graph.compare import compare
from posture.graph.evaluate import updated
from posture.graph.paths import held, targets
from posture.model import Changed
from tests.generator.network import deployment, network_policy, pod
from tests.generator.objects import (
    Object,
    account,
    binding,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
)
from tests.graph.graphs import graph_of, held_by
from tests.graph.scene import ESCALATIONS

WEB, ACCOUNT = "workload:pay/web[Deployment]", "serviceaccount:pay/web"
AWS, GCP, AZURE = "eks.amazonaws.com/role-arn", "iam.gke.io/gcp-service-account", "azure.workload.identity/client-id"
LABELLED = {"azure.workload.identity/use": "true"}


def web(labels: Object | None = None, **spec: Any) -> Object:
    """A Deployment whose pods mount no token unless it says otherwise."""
    asked = {"serviceAccountName": "web", "automountServiceAccountToken": False, **spec}
    return deployment("pay", "web", {"app": "web", **(labels or {})}, **asked)


def egress(*to: str, port: int = 0) -> Object:
    """A policy that lets the pods of a namespace out to some addresses only."""
    ports = {"ports": [{"protocol": "TCP", "port": port}]} if port else {}
    rules = [{"to": [{"ipBlock": {"cidr": one}} for one in to], **ports}] if to else []
    return network_policy("pay", "out", podSelector={}, policyTypes=["Egress"], egress=rules)


def clouds(annotation: str, *objects: Object) -> tuple[bool, bool]:
    """Whether the workload is its ServiceAccount, and whether it has the identity that this one is annotated with."""
    annotated = service_account("pay", "web", **{annotation: "it"})
    found = held_by(graph_of([namespace("pay"), annotated, *objects], ESCALATIONS), WEB)
    return ACCOUNT in found, any(node.startswith("cloud/") and node.endswith(":it") for node in found)


class TestTheCloudWithoutAToken:
    """What a cloud gives a pod does not take the token for the API server."""

    @pytest.mark.parametrize(
        ("annotation", "objects", "has_it"),
        [
            (AWS, [web()], True),
            (AWS, [web(hostNetwork=True)], True),
            (AWS, [web(), egress()], True),
            (AWS, [web(serviceAccountName="other")], False),
            (AZURE, [web(LABELLED)], True),
            (AZURE, [web()], False),
            (AZURE, [web({"azure.workload.identity/use": "false"})], False),
            (GCP, [web()], True),
            (GCP, [web(hostNetwork=True)], False),
            (GCP, [web(), egress()], False),
            (GCP, [web(), egress("169.254.169.254/32", port=80)], True),
            (GCP, [web(), egress("169.254.169.252/32", port=988)], True),
            (GCP, [web(), egress("169.254.169.252/32", port=443)], False),
            ("example.com/role", [web()], False),
        ],
    )
    def test_its_webhook_or_metadata_server_gives_it(
        self, annotation: str, objects: list[Object], has_it: bool
    ) -> None:
        """A webhook mounts a token of its own, on Azure where the pod asks for it; Google's server is asked over the
        network, by pods that have one of their own.
        """
        assert clouds(annotation, *objects) == (False, has_it)

    def test_with_a_token_it_is_the_account_s(self) -> None:
        """And so the workload's."""
        assert clouds(AWS, web(automountServiceAccountToken=True)) == (True, True)

    def test_taking_the_annotation_off_takes_it_away(self) -> None:
        """What gives it is the annotation and how the workload runs; each by itself is enough to lose it."""
        annotated = service_account("pay", "web", **{AWS: "it"})
        (edge,) = (
            one for one in graph_of([namespace("pay"), annotated, web()], ESCALATIONS).edges(WEB)
            if one.head == "cloud/aws:it"
        )  # fmt: skip

        assert [str(fact.through) for need in edge.needs for fact in need] == [
            "Deployment/pay/web", "ServiceAccount/pay/web",
        ]  # fmt: skip


class TestDoors:
    """What of a workload the outside reaches."""

    @pytest.mark.parametrize(
        ("spec", "policies", "reached"),
        [
            ({}, [], True),
            ({}, [network_policy("pay", "in", podSelector={}, policyTypes=["Ingress"])], False),
            ({}, [network_policy("pay", "in", podSelector={}, policyTypes=["Ingress"], ingress=[{}])], True),
            ({"hostNetwork": True}, [], False),
        ],
    )
    def test_a_port_of_its_nodes_is_one(self, spec: Object, policies: list[Object], reached: bool) -> None:
        """As a node port is, where policies let somebody in; not what listens in the node's network itself."""
        at = [{"containerPort": 8080, "hostPort": 80}]
        graph = graph_of([namespace("pay"), deployment("pay", "web", {"app": "web"}, at, **spec), *policies],
                         ESCALATIONS)  # fmt: skip

        assert (WEB in held_by(graph, "outside")) == reached

    def test_what_one_would_edit_is_the_workload(self) -> None:
        """Nothing else opens that port."""
        at = [{"containerPort": 8080, "hostPort": 80}]
        graph = graph_of([namespace("pay"), deployment("pay", "web", {"app": "web"}, at)], ESCALATIONS)
        (edge,) = graph.edges("outside")

        assert "Deployment/pay/web" in {str(fact.through) for need in edge.needs for fact in need}

    @pytest.mark.parametrize("last", ["the port", "the slice"])
    def test_an_update_knows_what_opened(self, last: str) -> None:
        """A port of its nodes, or an EndpointSlice that somebody wrote for a Service that selects nothing."""
        where = {"name": "c", "ports": [{"containerPort": 8080, "hostPort": 80}]}
        before, after, resource = {
            "the port": ([pod("pay", "web")], [pod("pay", "web", containers=[where])], "pods"),
            "the slice": ([BEHIND, NODE_PORT], [BEHIND, NODE_PORT, BY_HAND], "endpointslices.discovery.k8s.io"),
        }[last]
        old, new = (snapshot([namespace("pay"), *side]) for side in (before, after))
        ((key, content),) = new.objects(resource)
        shut = graph_of([namespace("pay"), *before], ESCALATIONS)
        open_ = updated(shut, new, [Changed(key, old.get(key), content)])
        again = updated(open_, old, [Changed(key, content, old.get(key))])

        found = ["workload:pay/web[Pod]" in held_by(graph, "outside") for graph in (shut, open_, again)]
        assert found == [False, True, False]


BEHIND = pod("pay", "web", ips=["10.0.0.7"])
NODE_PORT: Object = {"apiVersion": "v1", "kind": "Service", "metadata": metadata("door", "pay"),
                     "spec": {"type": "NodePort", "ports": [{"port": 80}]}}  # fmt: skip
BY_HAND: Object = {
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": metadata("s", "pay", labels={"kubernetes.io/service-name": "door"}),
    "endpoints": [{"addresses": ["10.0.0.7"]}], "ports": [{"port": 8080, "protocol": "TCP"}],
}  # fmt: skip


# Where pods run -----------------------------------------------------------------------------------------------------

NODES = ("n1", "n2", "n3")


def scattered(random: Random) -> list[Object]:
    """Pods on nodes, many of them privileged, a few of a ServiceAccount that may do everything."""
    found = [namespace("pay"), service_account("pay", "boss"), service_account("pay", "idle"),
             role("cluster-admin", rule("*", "*", "*")),
             binding("boss", "ClusterRole/cluster-admin", account("pay", "boss"))]  # fmt: skip
    for number in range(random.randint(1, 5)):
        spec: Object = {"nodeName": random.choice(NODES), "serviceAccountName": random.choice(("boss", "idle", "idle"))}
        made = pod("pay", f"p{number}", owner=random.choice(("", "a", "b")), **spec)
        made["spec"]["containers"][0]["securityContext"] = {"privileged": random.random() < 0.6}
        found.append(made)
    return found


def moved(random: Random, objects: list[Object]) -> list[Object]:
    """The same, each pod on any of the nodes."""
    return [
        {**one, "spec": {**one["spec"], "nodeName": random.choice(NODES)}} if one["kind"] == "Pod" else one
        for one in objects
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_where_pods_run_is_no_news(seed: int) -> None:
    """A scheduler put them elsewhere: no path is new, and who chooses the node of a pod reaches what he did."""
    random = Random(seed)
    objects = scattered(random)
    before, after = (graph_of(one, ESCALATIONS) for one in (objects, moved(random, objects)))

    assert compare([before], after) == []
    assert targets(held(before.edges, ["node:*"])) == targets(held(after.edges, ["node:*"]))
