"""Which network plugin runs is read from DaemonSets, or from their pods; what is not sure is unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from posture import network
from posture.model import Gap, Key, Through
from posture.network import cni
from tests.generator.network import container
from tests.generator.objects import Object, metadata, namespace, snapshot

HIDDEN = Gap("daemonsets.apps", "", "forbidden", "may not list them")
NODEAGENT = container("aws-eks-nodeagent", args=["--enable-ipv6=false", "--enable-network-policy=true"])
NO_FIREWALL = container("kube-router", args=["--run-router=true", "--run-firewall=false"])


def daemonset(name: str, *containers: Object, where: str = "kube-system", **labels: str) -> Object:
    """A DaemonSet."""
    return {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata(name, where, labels=labels),
        "spec": {"template": {"spec": {"containers": list(containers) or [container("main")]}}},
    }  # fmt: skip


def agent(owner: str, *containers: Object, **labels: str) -> Object:
    """A pod of a DaemonSet."""
    owned = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "controller": True}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": metadata(f"{owner}-x2f4k", "kube-system", labels=labels, ownerReferences=[owned]),
        "spec": {"containers": list(containers) or [container("main")]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("daemonsets", "names", "by_ip"),
    [
        ([], (), "unknown"),
        ([daemonset("fluent-bit")], (), "unknown"),
        ([daemonset("calico-node", where="calico-system")], ("calico",), "yes"),
        ([daemonset("rke2-canal", container("calico-node"), container("kube-flannel"))], ("calico", "flannel"), "yes"),
        ([daemonset("cilium")], ("cilium",), "no"),
        ([daemonset("anetd", **{"k8s-app": "cilium"})], ("cilium",), "no"),
        ([daemonset("cilium-envoy", **{"k8s-app": "cilium-envoy"})], (), "unknown"),
        ([daemonset("kindnet")], ("kindnet",), "yes"),
        ([daemonset("weave-net")], ("weave",), "unknown"),
        ([daemonset("aws-node", NODEAGENT)], ("aws-node",), "yes"),
        ([daemonset("aws-node", container("aws-node"))], ("aws-node",), "unknown"),
        ([daemonset("aws-node", container("aws-node")), daemonset("cilium")], ("aws-node", "cilium"), "no"),
        ([daemonset("aws-node", NODEAGENT), daemonset("calico-node")], ("aws-node", "calico"), "yes"),
        ([daemonset("aws-node", NODEAGENT), daemonset("cilium")], ("aws-node", "cilium"), "unknown"),
        ([daemonset("calico-node"), daemonset("weave-net")], ("calico", "weave"), "unknown"),
        ([daemonset("kube-router", NO_FIREWALL), daemonset("cilium")], ("cilium", "kube-router"), "no"),
        ([daemonset("kube-flannel-ds")], ("flannel",), "unknown"),
        ([daemonset("kube-flannel-ds", container("kube-network-policies"))], ("flannel", "kube-network-policies"),
         "yes"),
    ],
)  # fmt: skip
def test_the_plugins_that_enforce_policies_decide(daemonsets: list[Object], names: tuple[str, ...], by_ip: str) -> None:
    """By the name of a DaemonSet, its label k8s-app or a container; those that differ: unknown."""
    read = snapshot(daemonsets)

    assert (cni.plugin(read), cni.detected(read)) == (names, by_ip)


@pytest.mark.parametrize(
    "daemonsets", [[daemonset("kindnet")], [daemonset("kube-flannel-ds", where="kube-flannel")], []]
)
def test_a_tenant_has_no_plugin(daemonsets: list[Object]) -> None:
    """Anybody may call a DaemonSet cilium: in a namespace where none is installed it changes no answer."""
    alone = snapshot(daemonsets)
    beside = snapshot(
        [*daemonsets, daemonset("cilium", container("cilium-agent"), where="pay", **{"k8s-app": "cilium"})]
    )

    for said in (cni.plugin, cni.detected, cni.unenforced):
        assert said(beside) == said(alone)


@pytest.mark.parametrize("where", ["pay", "cilium"])
def test_a_tenant_s_pods_are_no_plugin(where: str) -> None:
    """Nor where DaemonSets could not be read."""
    pod = agent("cilium")
    pod["metadata"]["namespace"] = where

    assert bool(cni.plugin(snapshot([pod], [HIDDEN]))) is (where == "cilium")


@pytest.mark.parametrize(
    "pod", [agent("cilium"), agent("x", **{"k8s-app": "cilium"}), agent("x", container("cilium-agent"))]
)
def test_pods_speak_for_daemonsets_that_could_not_be_read(pod: Object) -> None:
    """Only then: a DaemonSet that was read says more."""
    assert cni.detected(snapshot([pod], [HIDDEN])) == "no"
    assert cni.detected(snapshot([pod])) == "unknown"


def test_pods_of_no_daemonset_are_no_plugin() -> None:
    """Anybody may call a pod cilium."""
    pod = agent("cilium", **{"k8s-app": "cilium"})
    del pod["metadata"]["ownerReferences"]

    assert cni.plugin(snapshot([pod], [HIDDEN])) == ()


@pytest.mark.parametrize(
    ("daemonsets", "gaps", "why"),
    [
        ([], [], ""),
        ([daemonset("calico-node")], [], ""),
        ([daemonset("weave-net")], [], ""),
        ([daemonset("kube-flannel-ds"), daemonset("kube-router")], [], ""),
        ([daemonset("canal", container("calico-node"), container("kube-flannel"))], [], ""),
        ([daemonset("kube-flannel-ds")], [HIDDEN], ""),
        ([daemonset("kube-flannel-ds")], [HIDDEN._replace(namespace="lab")], ""),
        ([daemonset("kube-flannel-ds")], [HIDDEN._replace(resource="secrets")], "flannel enforces no NetworkPolicy"),
        ([daemonset("aws-node")], [], "aws-node without --enable-network-policy=true enforces no NetworkPolicy"),
        ([daemonset("kube-flannel-ds"), daemonset("kube-router", NO_FIREWALL)], [],
         "flannel and kube-router with --run-firewall=false enforce no NetworkPolicy"),
    ],
)  # fmt: skip
def test_policies_without_effect_are_said_only_when_every_daemonset_was_seen(
    daemonsets: list[Object], gaps: list[Gap], why: str
) -> None:
    """A plugin that enforces nothing is there, none that does, and no gap may hide one."""
    said = cni.unenforced(snapshot(daemonsets, gaps))

    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_what_enforces_nothing_is_a_gap_that_hides_nothing() -> None:
    """The plugin's, of NetworkPolicies; also of a state that was changed in memory it hides no policy."""
    read = snapshot([namespace("pay"), daemonset("kube-flannel-ds", where="kube-flannel")])
    (gap,) = network.gaps(read)
    text = "flannel enforces no NetworkPolicy: what is said of connections holds only where something does"
    changed = replace(read, gaps=(gap,)).replaced([(Key("daemonsets.apps", "kube-flannel", "kube-flannel-ds"), None)])

    assert gap == Gap("networkpolicies.networking.k8s.io", "", "not modelled", text)
    for state in (replace(read, gaps=(gap,)), changed):
        assert network.doubt(network.evaluate(state), "namespace:pay", "pay", Through("", "", "")) is None
    assert list(network.gaps(changed)) == []


@pytest.mark.parametrize("spec", ["x", {"template": "x"}, {"template": {"spec": {"containers": "x"}}},
                                  {"template": {"spec": {"containers": [{"args": [1]}]}}}])  # fmt: skip
def test_a_malformed_daemonset_hides_no_other(spec: Any) -> None:
    """A folder may hold anything."""
    assert cni.detected(snapshot([daemonset("a") | {"spec": spec}, daemonset("cilium")])) == "no"
