"""By what a workload that runs already has the root of its node: what its pods say, and nothing else.

Sources: MITRE T1611; the NSA/CISA Kubernetes Hardening Guide; capabilities(7) for what only root's processes have;
proc(5) and kernel.org admin-guide/sysctl/kernel for core_pattern and modprobe; KubeHound's CE_* attacks; KEP 127 for
user namespaces, KEP 1981 for Windows, KEP 3857 for read-only mounts that leave what is mounted below them writable.

What is none: devices below /dev, whose cgroup refuses them to all but privileged containers (runc,
libcontainer/specconv AllowedDevices), and so MKNOD; /home and /mnt, of which nobody knows what they hold; /var/log,
which takes somebody who reads logs beside it; host namespaces alone.

A PersistentVolumeClaim is what its volume is, where that is a place of the node. Below the folders in which the
provisioners of k3s (pkg/cli/server, default-local-storage-path) and MicroK8s (addons/hostpath-storage) keep volumes
there is nothing but these.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

_CAPABILITIES = ("ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH")
"""Each is as much as root on the node: they load code into its kernel, write to its disks, or open its files."""
_TRACING = frozenset({"BPF", "PERFMON"})
"""Together they read the memory of every process of the node."""
_SOCKETS = (
    "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/docker.sock", "/run/cri-dockerd.sock",
    "/run/k3s/containerd/containerd.sock", "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
)  # fmt: skip
"""A container runtime's: whoever connects starts anything, through a read-only mount as well (containerd,
pkg/sys/socket_unix.go: root and the group 0)."""
_CREDENTIALS = (
    "/etc/kubernetes", "/etc/rancher", "/root", "/var/lib/etcd", "/var/lib/k0s", "/var/lib/kubelet/kubeconfig",
    "/var/lib/kubelet/pki", "/var/lib/kubelet/pods", "/var/lib/rancher", "/var/snap/microk8s",
)  # fmt: skip
"""Whoever reads them as root is the node, the control plane, or each of the node's pods."""
_RUN_BY_ROOT = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/opt/cni/bin", "/proc/sys/kernel", "/run/systemd/system",
    "/sbin", "/sys/kernel/uevent_helper", "/usr", "/var/lib/cloud", "/var/lib/containerd", "/var/lib/docker",
    "/var/lib/kubelet", "/var/spool/cron",
)  # fmt: skip
"""Whoever writes there as root says what the node's root, its kernel or its other containers run."""
_HARMLESS = (
    "/etc/ca-certificates", "/etc/hostname", "/etc/hosts", "/etc/localtime", "/etc/machine-id", "/etc/os-release",
    "/etc/pki", "/etc/resolv.conf", "/etc/ssl", "/etc/timezone", "/usr/share/ca-certificates",
    "/usr/share/zoneinfo", "/usr/src", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/plugins",
    "/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/pod-resources", "/var/lib/rancher/k3s/storage",
    "/var/snap/microk8s/common/default-storage",
)  # fmt: skip
"""Below these, though many mount them for writing, nothing is run and nothing is secret."""
_EXPANDED = re.compile(r"\$\([^)]*\)")


def escape(spec: Mapping[str, Any]) -> str:
    """By what a pod has the root of its node, in words; "" if by nothing that it says.

    One of its containers is enough. What only root can do counts where a process may be root: its user says so or
    nothing says another, or it may raise its privileges (as in checks/escalations/run-root-processes.yaml).
    """
    pod = _mapping(spec, "securityContext")
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for one in _items(spec, field):
            found = _of_container(one, pod, spec)
            if found:
                return found
    return ""


def with_claims(spec: Mapping[str, Any], claims: Mapping[str, str]) -> Mapping[str, Any]:
    """A pod specification in which a claim of which the path is known is that path of its node."""

    def placed(volume: Mapping[str, Any]) -> Mapping[str, Any]:
        source = _mapping(volume, "persistentVolumeClaim")
        path = claims.get(str(source.get("claimName")))
        if path is None:
            return volume
        return {"name": volume.get("name"), "hostPath": {"path": path, "readOnly": source.get("readOnly")}}

    return {**spec, "volumes": [*map(placed, _items(spec, "volumes"))]} if claims else spec


def _of_container(one: Mapping[str, Any], pod: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    own = _mapping(one, "securityContext")
    if _either(_mapping(own, "windowsOptions"), _mapping(pod, "windowsOptions"), "hostProcess") is True:
        return "a Windows host process"
    root = _may_be_root(own, pod)
    if spec.get("hostUsers") is not False:  # else its root is nobody on the node, but for the files that it mounts
        if own.get("privileged") is True:
            return "a privileged container"
        found = _capability(own, traces=spec.get("hostPID") is True) if root else ""
        if found:
            return found
    return next((f"the host's {place}" for place in sorted(_places(one, own, pod, spec, root=root))), "")


def _capability(own: Mapping[str, Any], *, traces: bool) -> str:
    """An added capability that is enough; runtimes take its name in any case, with CAP_ or without."""
    added = _mapping(own, "capabilities").get("add")
    names = {text.upper().removeprefix("CAP_") for text in added or () if isinstance(text, str)}
    found = [name for name in _CAPABILITIES if name in names]
    if names >= _TRACING:
        found.append("BPF with PERFMON")
    if traces and "SYS_PTRACE" in names:
        found.append("SYS_PTRACE beside the node's processes")
    return f"the capability {found[0]}" if found else ""


def _may_be_root(own: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    user = _either(own, pod, "runAsUser")
    other = user != 0 if user is not None else _either(own, pod, "runAsNonRoot") is True
    return not other or own.get("allowPrivilegeEscalation") is not False


def _places(
    one: Mapping[str, Any], own: Mapping[str, Any], pod: Mapping[str, Any], spec: Mapping[str, Any], *, root: bool
) -> Iterator[str]:
    """The host's places that a container mounts and by which it has the node."""
    hosts = {
        volume.get("name"): (path, source.get("readOnly") is True) for volume in _items(spec, "volumes")
        if isinstance(path := (source := _mapping(volume, "hostPath")).get("path"), str)
    }  # fmt: skip
    connects = root or _in_group_of_root(own, pod)
    for mount in _items(one, "volumeMounts"):
        path, closed = hosts.get(mount.get("name"), ("", False))
        if not path:
            continue
        below = _EXPANDED.sub("x", str(mount.get("subPath") or mount.get("subPathExpr") or ""))
        place = _normal(f"{path}/{below}")
        writes = not closed and mount.get("readOnly") is not True
        if place in _SOCKETS or (connects and _holds(place, _SOCKETS)) or (
            root and (_is_secret(place) or (writes and _leads_to(place, _RUN_BY_ROOT)))
        ):  # fmt: skip
            yield place


def _in_group_of_root(own: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a process has the group 0, as it has where nobody says another."""
    more = pod.get("supplementalGroups")
    return _either(own, pod, "runAsGroup") in (None, 0) or pod.get("fsGroup") == 0 or (
        isinstance(more, list) and 0 in more
    )  # fmt: skip


def _normal(path: str) -> str:
    """A path of a node as it is meant; /var/run is a link to /run."""
    found = posixpath.normpath(f"/{path.lstrip('/')}")
    return found.removeprefix("/var") if found == "/var/run" or found.startswith("/var/run/") else found


def _is_secret(place: str) -> bool:
    """Whether a place holds credentials; certificates without their keys are none."""
    return not place.endswith(".crt") and _leads_to(place, _CREDENTIALS)


def _leads_to(place: str, wanted: tuple[str, ...]) -> bool:
    """Whether a place is one of those that are wanted, lies below one, or holds one."""
    if any(_is_below(place, one) for one in _HARMLESS):
        return False
    return any(_is_below(place, one) for one in wanted) or _holds(place, wanted)


def _holds(place: str, wanted: tuple[str, ...]) -> bool:
    return any(_is_below(one, place) for one in wanted)


def _is_below(place: str, other: str) -> bool:
    return place == other or place.startswith(f"{other.rstrip('/')}/")


def _either(own: Mapping[str, Any], pod: Mapping[str, Any], field: str) -> Any:
    """What a container says, or else its pod."""
    return pod.get(field) if own.get(field) is None else own[field]


def _mapping(given: Any, field: str) -> Mapping[str, Any]:
    found = given.get(field) if isinstance(given, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _items(given: Mapping[str, Any], field: str) -> Iterator[Mapping[str, Any]]:
    found = given.get(field)
    yield from (one for one in found if isinstance(one, Mapping)) if isinstance(found, list | tuple) else ()
