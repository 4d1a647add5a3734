"""Which network plugin runs, whether it enforces policies, and whether its ipBlocks match the addresses of pods.

A plugin is recognized by its DaemonSet: its name, its label k8s-app, or the name of one of its containers (Canal is
Calico beside Flannel in one DaemonSet, and distributions rename DaemonSets rather than containers). Only where plugins
are installed: anybody may call a DaemonSet of their own cilium, and must not change what is said by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from posture.model import Content, Key, Snapshot
from posture.text import listed

from .connectivity import PodsByIp
from .endpoints import PODS, controller_of

DAEMONSETS = "daemonsets.apps"
HOMES = frozenset({
    "antrea-system", "calico-system", "cilium", "cilium-system", "kube-flannel", "kube-ovn", "kube-router",
    "kube-system", "openshift-ovn-kubernetes", "ovn-kubernetes", "tigera-operator", "weave",
})  # fmt: skip
"""The namespaces that plugins are installed in, by their own manifests and by distributions."""
UNENFORCED = "what is said of connections holds only where something does"


class Plugin(NamedTuple):
    """What is known of a plugin. `marks` are the names that it goes by, `block` whether its ipBlocks match pods.

    `needs` is the argument without which it enforces nothing, `unless` the one with which it enforces nothing.
    """

    name: str
    marks: tuple[str, ...]
    block: PodsByIp
    enforces: bool = True
    needs: str = ""
    unless: str = ""


# What no source says is unknown. Tests of Kubernetes itself (kubernetes#88301) ask for blocks that match pods, but
# nothing obliges a plugin to pass them.
PLUGINS: tuple[Plugin, ...] = (
    Plugin("antrea", ("antrea-agent",), "yes"),  # antrea#1764: a block that does not let pods in is a bug
    Plugin("aws-node", ("aws-node", "aws-eks-nodeagent"), "yes",  # amazon-network-policy-controller-k8s#41
           needs="--enable-network-policy=true"),
    Plugin("azure-npm", ("azure-npm",), "yes"),  # azure-container-networking#558: an except drops what pods get
    Plugin("calico", ("calico-node", "canal"), "yes"),  # calico#6634
    Plugin("cilium", ("cilium", "cilium-agent"), "no"),  # cilium#9209: pods go by identity, never by address
    Plugin("flannel", ("kube-flannel", "kube-flannel-ds"), "unknown", enforces=False),  # flannel#2004
    Plugin("kindnet", ("kindnet", "kindnet-cni"), "yes"),  # kind#3612: kube-network-policies inside, since 0.24
    Plugin("kube-network-policies", ("kube-network-policies",), "yes"),  # networkpolicy.go evaluateIPBlocks
    Plugin("kube-ovn", ("kube-ovn-cni",), "yes"),  # kube-ovn#5813: an except drops what a podSelector allows
    Plugin("kube-router", ("kube-router",), "yes",  # network_policy_controller.go evalIPBlockPeer: hash:net sets
           unless="--run-firewall=false"),
    Plugin("ovn-kubernetes", ("ovnkube-node",), "yes"),  # gress_policy.go: ip4.src == the block, for all traffic
    Plugin("weave", ("weave-net", "weave-npc"), "unknown"),
)  # fmt: skip


def found(snapshot: Snapshot) -> tuple[Plugin, ...]:
    """The plugins that run, in the order of the table; `enforces` is false for one that was told not to.

    Where DaemonSets could not be read, pods that a DaemonSet controls speak for it.
    """
    rows = [*_kept(snapshot, DAEMONSETS, _from_daemonset)]
    if any(gap.resource in ("*", DAEMONSETS) for gap in snapshot.gaps):
        rows += _kept(snapshot, PODS, _from_pod)
    return tuple(
        plugin._replace(enforces=any(one.enforces for one in rows if one.name == plugin.name))
        for plugin in PLUGINS
        if any(one.name == plugin.name for one in rows)
    )


def plugin(snapshot: Snapshot) -> tuple[str, ...]:
    """The names of the plugins that run; none where nothing says so."""
    return tuple(one.name for one in found(snapshot))


def detected(snapshot: Snapshot) -> PodsByIp:
    """Whether an ipBlock matches the addresses of pods here: what all plugins that enforce policies agree in.

    A gap that may hide one more of them does not unsay what was seen.
    """
    blocks = {one.block for one in found(snapshot) if one.enforces}
    return blocks.pop() if len(blocks) == 1 else "unknown"


def unenforced(snapshot: Snapshot) -> str:
    """What runs and enforces no NetworkPolicy, as a sentence; "" where something does, or nothing is known to run.

    That nothing enforces them takes having seen every DaemonSet: no gap may hide one.
    """
    there = found(snapshot)
    if not there or any(one.enforces for one in there) or snapshot.gap(DAEMONSETS) is not None:
        return ""
    whys = [f"{one.name} without {one.needs}" if one.needs else
            f"{one.name} with {one.unless}" if one.unless else one.name for one in there]  # fmt: skip
    does = "enforces" if len(there) == 1 else "enforce"
    return f"{listed(whys)} {does} no NetworkPolicy: {UNENFORCED}"


def _kept(snapshot: Snapshot, resource: str, read: Callable[[Key, Content], Iterator[Plugin]]) -> tuple[Plugin, ...]:
    """What the objects of one resource say, worked out once."""
    kept: dict[str, tuple[Plugin, ...]] = snapshot.derived_from(resource)
    if "plugins" not in kept:
        rows: dict[Plugin, None] = {}
        for key, content in snapshot.objects(resource):
            if key.namespace not in HOMES:
                continue
            try:
                rows.update(dict.fromkeys(read(key, content)))
            except (AttributeError, TypeError):
                continue  # a manifest that no API server would take runs nothing
        kept["plugins"] = tuple(rows)
    return kept["plugins"]


def _from_daemonset(key: Key, content: Content) -> Iterator[Plugin]:
    template = (content.get("spec") or {}).get("template") or {}
    return _recognized(key.name, content.get("labels") or {}, template.get("spec") or {})


def _from_pod(_: Key, content: Content) -> Iterator[Plugin]:
    owner = controller_of(content) or {}
    if owner.get("kind") == "DaemonSet":
        yield from _recognized(owner.get("name") or "", content.get("labels") or {}, content.get("spec") or {})


def _recognized(name: str, labels: Mapping[str, str], spec: Mapping[str, Any]) -> Iterator[Plugin]:
    containers = spec.get("containers") or ()
    names = {name, labels.get("k8s-app"), *(one.get("name") for one in containers)}
    said = " ".join(text for one in containers for text in (*(one.get("command") or ()), *(one.get("args") or ())))
    for one in PLUGINS:
        if not names.isdisjoint(one.marks):
            told = one.needs in said and not (one.unless and one.unless in said)
            yield one._replace(enforces=one.enforces and told)
