"""What each control of the Pod Security Standards forbids: the table at the end, and the rules that it names.

Source: k8s.io/pod-security-admission v0.36.3, policy/check_*.go; the ids and the order are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from .pods import Pod, in_user_namespace, is_windows, mapping, mappings, parts, sources, text, texts

type Level = Literal["privileged", "baseline", "restricted"]
PRIVILEGED: Level = "privileged"
BASELINE: Level = "baseline"
RESTRICTED: Level = "restricted"


class Field(NamedTuple):
    """A field that a control forbids as it is: its path as Kubernetes writes it, and the value, None where absent."""

    path: str
    value: Any


type Rule = Callable[[Pod, tuple[str, ...]], Iterator[Field]]
"""Gives the fields of a pod that are not as a control wants them. Some rules take the values that are allowed."""


class Variant(NamedTuple):
    """A control from one minor version on. It asks nothing of the pods that `spares` holds for."""

    since: int
    rule: Rule
    allowed: tuple[str, ...] = ()
    spares: Callable[[Pod], bool] | None = None


class Control(NamedTuple):
    """One row of the standards. Its variants are in the order of versions; before the first one there is no control.

    From then on it takes the place of the one that it `overrides`, even for pods of which it asks nothing.
    """

    id: str
    level: Level
    variants: tuple[Variant, ...]
    overrides: str = ""


_OFF = (None, False)  # where a control forbids `true`, it forbids what is no truth value too


# Fields of the pod --------------------------------------------------------------------------------------------------


def _host_namespaces(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field) not in _OFF:
            yield Field(f"spec.{field}", pod.spec[field])


def _sysctls(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """By the name with dots: the form with slashes, which means the same, is not allowed."""
    for number, one in enumerate(mappings(pod.places[0].security.get("sysctls"))):
        if text(one, "name") not in allowed:
            yield Field(f"spec.securityContext.sysctls[{number}].name", one.get("name"))


def _host_path_volumes(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for number, volume in enumerate(mappings(pod.spec.get("volumes"))):
        if volume.get("hostPath") is not None:
            yield Field(f"spec.volumes[{number}].hostPath", volume["hostPath"])


def _volume_types(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """One source that is allowed is enough: no server stores a volume with two, and the standards do not ask."""
    for number, volume in enumerate(mappings(pod.spec.get("volumes"))):
        for source in volume:
            if source in allowed and volume[source] is not None:
                break
        else:
            found, path = sources(volume), f"spec.volumes[{number}]"
            yield Field(f"{path}.{found[0]}", volume[found[0]]) if found else Field(path, volume)


# Fields of containers -----------------------------------------------------------------------------------------------


def _privileged(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.containers:
        if one.security.get("privileged") not in _OFF:
            yield Field(f"{one.path}.securityContext.privileged", one.security["privileged"])


def _privilege_escalation(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.containers:
        found = one.security.get("allowPrivilegeEscalation")
        if found is not False:
            yield Field(f"{one.path}.securityContext.allowPrivilegeEscalation", found)


def _host_ports(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.containers:
        for number, port in enumerate(mappings(one.raw.get("ports"))):
            if port.get("hostPort"):
                yield Field(f"{one.path}.ports[{number}].hostPort", port["hostPort"])


def _proc_mount(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.containers:
        found = one.security.get("procMount")
        if found is not None and found not in allowed:
            yield Field(f"{one.path}.securityContext.procMount", found)


def _added_capabilities(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """By the name that the API takes: with CAP_ in front, or in small letters, it is another one."""
    for one, capabilities in parts(pod.containers, "capabilities"):
        for number, name in enumerate(texts(capabilities.get("add"))):
            if name not in allowed:
                yield Field(f"{one.path}.securityContext.capabilities.add[{number}]", name)


def _restricted_capabilities(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.containers:
        drop = mapping(one.security.get("capabilities")).get("drop")
        if not isinstance(drop, list) or "ALL" not in drop:
            yield Field(f"{one.path}.securityContext.capabilities.drop", drop)
    yield from _added_capabilities(pod, allowed)


def _host_handlers(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    """Probes and life cycle hooks by which the kubelet would speak with any host, not with the container."""
    for one in pod.containers:
        yield from _hosts(one.path, one.raw, "livenessProbe", "readinessProbe", "startupProbe")
        if "lifecycle" in one.raw:
            yield from _hosts(f"{one.path}.lifecycle", mapping(one.raw["lifecycle"]), "postStart", "preStop")


def _hosts(path: str, holder: Mapping[str, Any], *fields: str) -> Iterator[Field]:
    for field in fields:
        if field in holder:
            for kind in ("httpGet", "tcpSocket"):
                host = text(mapping(mapping(holder[field]).get(kind)), "host")
                if host != "":
                    yield Field(f"{path}.{field}.{kind}.host", host)


# Fields of the pod and of containers --------------------------------------------------------------------------------

APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def _host_process(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for one, options in parts(pod.places, "windowsOptions"):
        if options.get("hostProcess") not in _OFF:
            yield Field(f"{one.path}.securityContext.windowsOptions.hostProcess", options["hostProcess"])


def _selinux(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    for one, options in parts(pod.places, "seLinuxOptions"):
        for field, good in (("type", allowed), ("user", ("",)), ("role", ("",))):
            if text(options, field) not in good:
                yield Field(f"{one.path}.securityContext.seLinuxOptions.{field}", options.get(field))


def _profile_types(pod: Pod, field: str, allowed: tuple[str, ...]) -> Iterator[Field]:
    """A profile without a type has none that is allowed."""
    for one, profile in parts(pod.places, field):
        if text(profile, "type") not in allowed:
            yield Field(f"{one.path}.securityContext.{field}.type", profile.get("type"))


def _app_armor(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """Annotations too, in every version, and whether or not there is a container of that name."""
    yield from _profile_types(pod, "appArmorProfile", allowed)
    for key, value in pod.annotations.items():
        named = isinstance(key, str) and key.startswith(APPARMOR)
        if named and not _names_profile(value, None, "", "runtime/default"):
            yield Field(f"metadata.annotations[{key}]", value)


def _seccomp_annotations(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """What seccomp was before it had fields. Unlike with AppArmor, an empty value is forbidden."""
    keys = [SECCOMP_POD, *(f"{SECCOMP_CONTAINER}{text(one.raw, 'name')}" for one in pod.containers)]
    for key in dict.fromkeys(keys) if pod.annotations else ():
        if key in pod.annotations and not _names_profile(pod.annotations[key], *allowed):
            yield Field(f"metadata.annotations[{key}]", pod.annotations[key])


def _names_profile(value: Any, *allowed: str | None) -> bool:
    return value in allowed or (isinstance(value, str) and value.startswith("localhost/"))


def _seccomp(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    return _profile_types(pod, "seccompProfile", allowed)


def _restricted_seccomp(pod: Pod, allowed: tuple[str, ...]) -> Iterator[Field]:
    """A container without a profile inherits the pod's; what it inherits is told once, of the pod."""
    yield from _profile_types(pod, "seccompProfile", allowed)
    if pod.places[0].security.get("seccompProfile") is None:
        for one in pod.containers:
            if one.security.get("seccompProfile") is None:
                yield Field(f"{one.path}.securityContext.seccompProfile", None)


def _run_as_non_root(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    """A container that says nothing inherits what the pod says; what it inherits is told once, of the pod."""
    for one in pod.places:
        if one.security.get("runAsNonRoot") is False:
            yield Field(f"{one.path}.securityContext.runAsNonRoot", False)
    if not isinstance(pod.places[0].security.get("runAsNonRoot"), bool):
        for one in pod.containers:
            found = one.security.get("runAsNonRoot")
            if not isinstance(found, bool):
                yield Field(f"{one.path}.securityContext.runAsNonRoot", found)


def _run_as_user(pod: Pod, _: tuple[str, ...]) -> Iterator[Field]:
    for one in pod.places:
        found = one.security.get("runAsUser")
        if found is not None and (found == 0 or not isinstance(found, int)):
            yield Field(f"{one.path}.securityContext.runAsUser", found)


# The table ----------------------------------------------------------------------------------------------------------

CAPABILITIES = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
                "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")  # fmt: skip
PROFILES = ("RuntimeDefault", "Localhost")
SELINUX = ("", "container_t", "container_init_t", "container_kvm_t")
SYSCTLS = ("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
           "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start")  # fmt: skip
SYSCTLS_27 = (*SYSCTLS, "net.ipv4.ip_local_reserved_ports")
SYSCTLS_29 = (*SYSCTLS_27, "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
              "net.ipv4.tcp_keepalive_probes")  # fmt: skip
SYSCTLS_32 = (*SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
           "secret")  # fmt: skip

CONTROLS = (
    Control("appArmorProfile", BASELINE, (Variant(0, _app_armor, PROFILES),)),
    Control("capabilities_baseline", BASELINE, (Variant(0, _added_capabilities, CAPABILITIES),)),
    Control("hostNamespaces", BASELINE, (Variant(0, _host_namespaces),)),
    Control("hostPathVolumes", BASELINE, (Variant(0, _host_path_volumes),)),
    Control("hostPorts", BASELINE, (Variant(0, _host_ports),)),
    Control("hostProbesAndHostLifecycle", BASELINE, (Variant(34, _host_handlers),)),
    Control("privileged", BASELINE, (Variant(0, _privileged),)),
    Control("procMount", BASELINE, (
        Variant(0, _proc_mount, ("Default",)),
        Variant(35, _proc_mount, ("Default",), in_user_namespace),
    )),
    Control("seLinuxOptions", BASELINE, (
        Variant(0, _selinux, SELINUX),
        Variant(31, _selinux, (*SELINUX, "container_engine_t")),
    )),
    Control("seccompProfile_baseline", BASELINE, (
        Variant(0, _seccomp_annotations, ("runtime/default", "docker/default")),
        Variant(19, _seccomp, PROFILES),
    )),
    Control("sysctls", BASELINE, (
        Variant(0, _sysctls, SYSCTLS),
        Variant(27, _sysctls, SYSCTLS_27),
        Variant(29, _sysctls, SYSCTLS_29),
        Variant(32, _sysctls, SYSCTLS_32),
    )),
    Control("windowsHostProcess", BASELINE, (Variant(0, _host_process),)),
    Control("allowPrivilegeEscalation", RESTRICTED, (
        Variant(8, _privilege_escalation),
        Variant(25, _privilege_escalation, (), is_windows),
    )),
    Control("capabilities_restricted", RESTRICTED, (
        Variant(22, _restricted_capabilities, ("NET_BIND_SERVICE",)),
        Variant(25, _restricted_capabilities, ("NET_BIND_SERVICE",), is_windows),
    ), overrides="capabilities_baseline"),
    Control("procMount_restricted", RESTRICTED, (Variant(35, _proc_mount, ("Default",)),), overrides="procMount"),
    Control("restrictedVolumes", RESTRICTED, (Variant(0, _volume_types, VOLUMES),), overrides="hostPathVolumes"),
    Control("runAsNonRoot", RESTRICTED, (
        Variant(0, _run_as_non_root),
        Variant(35, _run_as_non_root, (), in_user_namespace),
    )),
    Control("runAsUser", RESTRICTED, (
        Variant(23, _run_as_user),
        Variant(35, _run_as_user, (), in_user_namespace),
    )),
    Control("seccompProfile_restricted", RESTRICTED, (
        Variant(19, _restricted_seccomp, PROFILES),
        Variant(25, _restricted_seccomp, PROFILES, is_windows),
    ), overrides="seccompProfile_baseline"),
)  # fmt: skip
"""As of 1.36. Neither the levels nor the versions are ordered by strictness: 1.25, 1.27, 1.29, 1.31, 1.32 and 1.35
relax, 1.8, 1.19, 1.22, 1.23 and 1.34 tighten, and 1.35 does both."""
