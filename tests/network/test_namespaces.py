"""Namespaces: by their labels policies pick them, so a label is a change, and labels that were not read are a doubt."""

from __future__ import annotations

from collections.abc import Sequence

from posture import network
from posture.model import Changed, Comparison, Gap, Snapshot, Through, differences
from tests.generator.network import network_policy, pod
from tests.generator.objects import Object, namespace, snapshot

FORBIDDEN = Gap("namespaces", "", "forbidden", "list is not allowed")
API, CLIENTS = "workload:pay/api[Pod]", Through("NetworkPolicy", "pay", "clients")
PROD: Object = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
POLICY = network_policy("pay", "clients", podSelector={}, policyTypes=["Ingress"], ingress=[{"from": [PROD]}])
PODS = [pod("pay", "api", {"app": "api"}), pod("ci", "runner", {"app": "runner"})]


def cluster(*namespaces: Object, gaps: Sequence[Gap] = ()) -> Snapshot:
    """Payments lets production in; namespaces as given."""
    return snapshot([POLICY, *PODS, *namespaces], gaps)


def compared(before: Snapshot, after: Snapshot, judged: bool = False) -> Comparison:
    """Two clusters as a run compares them: the baseline is an update of what is live."""
    live = network.evaluate(after)
    changed = [Changed(key, after.get(key), before.get(key))
               for key, _, _ in differences(after.index, before.index, network.READS)]  # fmt: skip
    peers = {"new": ()} if judged else None
    return network.compare(network.evaluate(before, live, changed), live, peers)


def test_a_label_of_a_namespace_that_lets_it_in_is_a_loosening() -> None:
    """No policy and no pod changed; the namespace is among what may have caused it."""
    (change,) = compared(
        cluster(namespace("pay"), namespace("ci")), cluster(namespace("pay"), namespace("ci", env="prod"))
    ).changes

    assert (change.subject, change.through, change.direction) == (API, CLIENTS, "loosened")
    assert ("namespaces", "", "ci") in change.evidence


def test_labels_that_were_not_read_resolve_nothing() -> None:
    """The namespaces are forbidden: whom a policy lets in is unknown, neither opened nor closed."""
    after = cluster(gaps=[FORBIDDEN])
    found = compared(cluster(namespace("pay"), namespace("ci", env="prod")), after)

    assert found.changes == ()
    assert {one.scope for one in found.unknown} == {"pay", "ci"}
    assert network.doubt(network.evaluate(after), API, "pay", CLIENTS) == FORBIDDEN


def test_a_new_namespace_without_pods_opened_nothing() -> None:
    """That no policy isolates pods which may come is how every namespace begins; pods that are there say so."""
    before, after = cluster(namespace("pay")), cluster(namespace("pay"), namespace("new"))
    assert compared(before, after, judged=True).changes == ()

    inhabited = snapshot([POLICY, *PODS, namespace("pay"), namespace("new"), pod("new", "api", {"app": "api"})])
    opened = {(one.subject, one.through.kind) for one in compared(before, inhabited, judged=True).changes}
    assert opened == {("workload:new/api[Pod]", "NonIsolated")}
