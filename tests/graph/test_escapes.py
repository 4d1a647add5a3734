"""By what a workload that runs has the root of its node: pass and fail tables of single pods, and where that leads."""

from __future__ import annotations

from typing import Any

import pytest

from posture.graph.escapes import escape
from posture.graph.evaluate import updated
from posture.model import Changed
from tests.generator.network import deployment, pod
from tests.generator.objects import Object, metadata, namespace, snapshot
from tests.graph.graphs import graph_of, held_by
from tests.graph.scene import ESCALATIONS

NOBODY = {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "allowPrivilegeEscalation": False}
"""A process that is not root and cannot become it."""
DAEMON = "workload:pay/agent[DaemonSet]"


def adds(*names: str, **security: Any) -> Object:
    """A pod with a container that adds capabilities."""
    return {"containers": [{"name": "c", "securityContext": {"capabilities": {"add": [*names]}, **security}}]}


def mounts(path: str, security: Object | None = None, **mount: Any) -> Object:
    """A pod with a container that mounts a path of its node, for writing unless it says otherwise."""
    return {
        "volumes": [{"name": "v", "hostPath": {"path": path}}],
        "containers": [{"name": "c", "securityContext": security or {},
                        "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}],
    }  # fmt: skip


def reads(path: str, security: Object | None = None) -> Object:
    """A pod that mounts a path of its node for reading."""
    return mounts(path, security, readOnly=True)


@pytest.mark.parametrize("path", [
    "/", "//", "/.", "//etc", "/./etc", "/etc/", "/etc", "/etc/cni", "/root", "/usr/local/bin", "/bin", "/lib", "/sbin",
    "/boot", "/opt/cni/bin", "/opt", "/var", "/var/lib", "/var/lib/kubelet", "/var/lib/kubelet/pods",
    "/var/lib/docker", "/var/lib/containerd", "/var/run", "/run", "/run/containerd", "/var/run/docker.sock", "/proc",
    "/sys", "/proc/sys/kernel/core_pattern",
])  # fmt: skip
def test_whoever_writes_there_as_root_has_the_node(path: str) -> None:
    """However the path is spelled, and where it only holds such a place."""
    assert escape(mounts(path)).startswith("the host's /")


@pytest.mark.parametrize("path", [
    "/", "/etc", "/etc/kubernetes", "/root", "/var", "/var/lib", "/var/lib/kubelet", "/var/lib/kubelet/pki", "/run",
    "/var/lib/etcd", "/var/run/docker.sock", "/run/containerd/containerd.sock",
])  # fmt: skip
def test_reading_is_enough_where_credentials_or_a_runtime_are(path: str) -> None:
    """A socket is connected to through a read-only mount."""
    assert escape(reads(path)).startswith("the host's /")


@pytest.mark.parametrize("spec", [
    mounts("/etc/localtime"), reads("/etc/localtime"), reads("/usr/share/zoneinfo"), reads("/lib/modules"),
    reads("/proc"), reads("/sys"), reads("/usr"), mounts("/dev/kmsg"), mounts("/dev"), mounts("/dev/sda"),
    mounts("/home"), mounts("/mnt"), mounts("/var/log"), mounts("/srv/data"), mounts("/sys/kernel/debug"),
    mounts("/etcetera"), mounts("/var/lib/kubelet/device-plugins"), reads("/etc/kubernetes/pki/ca.crt"),
    reads("/", NOBODY), mounts("/etc", NOBODY), reads("/proc", NOBODY),
    mounts("/var/lib", subPath="mine"), mounts("/var/lib", subPathExpr="$(NAME)"),
    {"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": [{"name": "c"}]},
    {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
     "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
    {"volumes": [None, {"name": "v", "hostPath": {"path": 5}}, {"name": "w", "hostPath": None}],
     "containers": [None, {"name": "c", "securityContext": None, "volumeMounts": [None, {"name": "v"}]}]},
], ids=str)  # fmt: skip
def test_what_is_on_the_host_and_gives_nothing(spec: Object) -> None:
    """Files that hold no secret, devices that a cgroup refuses, what nothing mounts, and processes without rights."""
    assert escape(spec) == ""


def test_a_part_of_a_volume_is_what_counts() -> None:
    """A subPath is below the volume's path."""
    assert escape(mounts("/var", subPath="lib/kubelet")) == "the host's /var/lib/kubelet"
    assert escape(mounts("/etc", subPathExpr="$(NAME)")) == "the host's /etc/x"


def test_the_group_of_root_may_connect_to_a_runtime_below_a_folder() -> None:
    """The socket is its; the credentials beside it are root's alone."""
    grouped = NOBODY | {"runAsGroup": 0}
    assert escape(reads("/run", grouped)) == "the host's /run"
    assert escape(reads("/etc/kubernetes", grouped)) == ""
    assert escape(reads("/run", NOBODY) | {"securityContext": {"supplementalGroups": [0]}}) == "the host's /run"


@pytest.mark.parametrize(("spec", "by"), [
    (adds("SYS_ADMIN"), "the capability SYS_ADMIN"),
    (adds("sys_admin"), "the capability SYS_ADMIN"),
    (adds("CAP_SYS_MODULE"), "the capability SYS_MODULE"),
    (adds("cap_dac_read_search"), "the capability DAC_READ_SEARCH"),
    (adds("all"), "the capability ALL"),
    (adds("BPF", "PERFMON"), "the capability BPF with PERFMON"),
    (adds("SYS_PTRACE") | {"hostPID": True}, "the capability SYS_PTRACE beside the node's processes"),
    (adds("SYS_ADMIN", runAsNonRoot=True), "the capability SYS_ADMIN"),
    (adds("SYS_ADMIN", runAsNonRoot=True, allowPrivilegeEscalation=False), ""),
    (adds("SYS_ADMIN", runAsUser=1000, allowPrivilegeEscalation=False), ""),
    (adds("SYS_ADMIN", allowPrivilegeEscalation=False) | {"securityContext": {"runAsNonRoot": True}}, ""),
    (adds("SYS_ADMIN", allowPrivilegeEscalation=False, runAsUser=0), "the capability SYS_ADMIN"),
    (adds("SYS_ADMIN") | {"hostUsers": False}, ""),
    (adds("BPF"), ""), (adds("SYS_PTRACE"), ""), (adds("MKNOD"), ""), (adds("NET_ADMIN"), ""), ({"hostPID": True}, ""),
])  # fmt: skip
def test_capabilities(spec: Object, by: str) -> None:
    """In any case, with CAP_ or without; of root's processes or of those that may become root's."""
    assert escape(spec) == by


@pytest.mark.parametrize(("spec", "by"), [
    ({"containers": [{"name": "c", "securityContext": {"privileged": True, **NOBODY}}]}, "a privileged container"),
    ({"initContainers": [{"name": "c", "securityContext": {"privileged": True}}]}, "a privileged container"),
    ({"containers": [{"name": "c", "securityContext": {"privileged": True}}], "hostUsers": False}, ""),
    ({"securityContext": {"windowsOptions": {"hostProcess": True}}, "containers": [{"name": "c"}]},
     "a Windows host process"),
    ({"containers": [{"name": "c", "securityContext": {"windowsOptions": {"hostProcess": True}}}]},
     "a Windows host process"),
])  # fmt: skip
def test_containers_that_are_their_node(spec: Object, by: str) -> None:
    """Whoever their user is, but for a pod whose users are its own (KEP 127)."""
    assert escape(spec) == by


# Where it leads -----------------------------------------------------------------------------------------------------


def agent(**placed: Any) -> Object:
    """A privileged DaemonSet."""
    privileged = [{"name": "c", "securityContext": {"privileged": True}}]
    return deployment("pay", "agent", {"app": "agent"}, containers=privileged, **placed) | {"kind": "DaemonSet"}


def one_of_it(node: str) -> Object:
    """A pod of the DaemonSet, on a node."""
    made = pod("pay", f"agent-{node}", {"app": "agent"}, nodeName=node)
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u", "controller": True}
    ]
    return made


@pytest.mark.parametrize(("objects", "nodes"), [
    ([agent()], {"node:*"}),
    ([agent(nodeSelector={"disk": "ssd"})], set()),
    ([agent(affinity={"nodeAffinity": {}, "podAffinity": {"x": []}})], set()),
    ([agent(), one_of_it("n1"), one_of_it("n2")], {"node:n1", "node:n2"}),
    ([agent() | {"kind": "Deployment"}], set()),
])  # fmt: skip
def test_the_nodes_of_a_privileged_workload(objects: list[Object], nodes: set[str]) -> None:
    """Those of its pods; where none is known, every one of a DaemonSet that goes anywhere."""
    graph = graph_of([namespace("pay"), *objects], ESCALATIONS)
    (name,) = graph.runs("pay")
    found = held_by(graph, name)

    assert "node" in found
    assert {node for node in found if node.startswith("node:")} == nodes


# Volumes that are places of a node ----------------------------------------------------------------------------------


def volume(path: str, claim: str = "pay/data", kind: str = "hostPath") -> Object:
    """A PersistentVolume that is a place of its node, bound to a claim; of pay/data unless it says otherwise."""
    namespace_, _, name = claim.partition("/")
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata(f"pv-{name}"),
            "spec": {kind: {"path": path}, "claimRef": {"namespace": namespace_, "name": name}}}  # fmt: skip


def claims(claim: str = "data", closed: bool = False, **mount: Any) -> Object:
    """A Deployment that mounts a claim."""
    source = {"claimName": claim} | ({"readOnly": True} if closed else {})
    containers = [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v", **mount}]}]
    return deployment("pay", "agent", {"app": "agent"}, containers=containers,
                      volumes=[{"name": "v", "persistentVolumeClaim": source}])  # fmt: skip


@pytest.mark.parametrize(("objects", "has_it"), [
    ([volume("/"), claims()], True),
    ([volume("/", kind="local"), claims()], True),
    ([volume("/usr"), claims()], True),
    ([volume("/usr"), claims(closed=True)], False),
    ([volume("/usr"), claims(readOnly=True)], False),
    ([volume("/etc/kubernetes"), claims(closed=True)], True),
    ([volume("/", kind="nfs"), claims()], False),
    ([volume("/"), claims("other")], False),
    ([volume("/", "ops/data"), claims()], False),
    ([volume("/", "/"), claims()], False),
    ([volume("/mnt/disks/ssd1", kind="local"), claims()], False),
    ([volume("/var/lib/rancher/k3s/storage/pvc-1_pay_data"), claims()], False),
    ([volume("/var/snap/microk8s/common/default-storage/pay-data"), claims()], False),
    ([claims()], False),
], ids=str)  # fmt: skip
def test_a_claim_is_the_place_of_its_volume(objects: list[Object], has_it: bool) -> None:
    """Where that is one of a node: as a hostPath that the pod mounts itself, and as far."""
    graph = graph_of([namespace("pay"), *objects], ESCALATIONS)

    assert ("node" in held_by(graph, "workload:pay/agent[Deployment]")) == has_it


def test_an_update_knows_a_volume_that_is_bound_now() -> None:
    """The graph of what changed is that of the whole."""
    before = [namespace("pay"), claims()]
    base = graph_of(before, ESCALATIONS)
    assert "node" not in held_by(base, "workload:pay/agent[Deployment]")
    (key, content), *_ = snapshot([volume("/")]).objects("persistentvolumes")
    after = updated(base, snapshot([*before, volume("/")]), [Changed(key, None, content)])
    back = updated(after, snapshot(before), [Changed(key, content, None)])

    assert "node" in held_by(after, "workload:pay/agent[Deployment]")
    assert "node" not in held_by(back, "workload:pay/agent[Deployment]")
