"""Whether one SecurityContextConstraints admits a pod.

Source: openshift/apiserver-library-go, pkg/securitycontextconstraints: sccmatching/{provider,checks,matcher}.go,
seccomp, sysctl, capabilities, user, selinux, group.

Before it looks at a pod it fills in what the pod does not say. Where that makes another pod of it, one that another
control would have taken for a violation, nobody can say that it is admitted: the answer is unknown, and says what is
filled in. Levels of SELinux, groups and the user of a pod that is not to run as root are filled in without a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from posture.admission.pods import Place, Pod, mapping, mappings, sources, texts
from posture.model import Content

UIDS, GROUPS = "openshift.io/sa.scc.uid-range", "openshift.io/sa.scc.supplemental-groups"
_FIRST = 1_000_000_000
"""Where the identifiers begin that OpenShift gives to namespaces by itself."""

_SAFE = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    }
)  # fmt: skip
_NEWER = frozenset(
    {
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
_RUNTIME_DEFAULT = frozenset({"runtime/default", "docker/default"})
_VOLUMES = {"cephfs": "cephFS", "storageos": "storageOS", "vsphereVolume": "vsphere"}


class Doubt(NamedTuple):
    """Why a pod is not admitted as it is; without `refused`, why nobody can say."""

    why: str
    refused: bool = True


def mark(annotations: Mapping[str, Any]) -> Hashable:
    """What a namespace's identifiers are to pods: those that OpenShift hands out are alike to all smaller ones."""
    given = (annotations.get(UIDS), annotations.get(GROUPS))
    return "usual" if given[0] and all(_usual(one) for one in given if one) else given


def doubts(constraint: Content, pod: Pod, annotations: Mapping[str, Any]) -> Iterator[Doubt]:
    """Why constraints may not admit a pod as it is, in a namespace with these annotations; none where they do."""
    yield from _host(constraint, pod)
    yield from _volumes(constraint, pod)
    yield from _sysctls(constraint, pod)
    yield from _groups(constraint, pod, annotations)
    yield from _selinux(constraint, pod)
    yield from _seccomp(constraint, pod)
    for container in pod.containers:
        yield from _container(constraint, container)
        yield from _user(mapping(constraint.get("runAsUser")), pod, container, annotations)
        yield from _capabilities(constraint, container)


def _host(constraint: Content, pod: Pod) -> Iterator[Doubt]:
    for field, allowed in (
        ("hostPID", "allowHostPID"), ("hostNetwork", "allowHostNetwork"), ("hostIPC", "allowHostIPC")
    ):  # fmt: skip
        if pod.spec.get(field) is True and not constraint.get(allowed):
            yield Doubt(field)
    if constraint.get("userNamespaceLevel") == "RequirePodLevel" and pod.spec.get("hostUsers") is not False:
        yield Doubt("hostUsers", pod.spec.get("hostUsers") is True)


def _volumes(constraint: Content, pod: Pod) -> Iterator[Doubt]:
    allowed = texts(constraint.get("volumes"))
    drivers = [one.get("driver") for one in mappings(constraint.get("allowedFlexVolumes"))]
    for volume in mappings(pod.spec.get("volumes")):
        for source in sources(volume):
            kind = _VOLUMES.get(source, source)
            if (
                kind == "hostPath"
                and (kind in allowed or "*" in allowed)
                and not constraint.get("allowHostDirVolumePlugin")
            ):
                yield Doubt("hostPath", False)
            elif kind not in allowed and "*" not in allowed:
                token = kind == "projected" and "secret" in allowed
                if not token or not _is_token(mapping(volume[source])):
                    yield Doubt(f"volumes of type {kind}", bool(allowed) and kind != "image" and not token)
            elif kind == "flexVolume" and drivers and mapping(volume[source]).get("driver") not in drivers:
                yield Doubt("volumes of type flexVolume")


def _is_token(projected: Mapping[str, Any]) -> bool:
    """Whether a volume holds what every ServiceAccount's token comes with: whoever may mount Secrets may have it."""
    usual = {"serviceAccountToken", "configMap", "downwardAPI"}
    found = mappings(projected.get("sources"))
    tokens = [mapping(one["serviceAccountToken"]) for one in found if "serviceAccountToken" in one]
    maps = [mapping(one["configMap"]).get("name") for one in found if "configMap" in one]
    return (
        all(one and usual.issuperset(one) for one in found)
        and all(one.get("path") == "token" and not one.get("audience") for one in tokens)
        and all(name == "kube-root-ca.crt" for name in maps)
        and all(_names_namespace(mapping(one["downwardAPI"])) for one in found if "downwardAPI" in one)
    )


def _names_namespace(given: Mapping[str, Any]) -> bool:
    paths = [mapping(one.get("fieldRef")).get("fieldPath") for one in mappings(given.get("items"))]
    return all(path == "metadata.namespace" for path in paths)


def _sysctls(constraint: Content, pod: Pod) -> Iterator[Doubt]:
    for one in mappings(pod.places[0].security.get("sysctls")):
        name = str(one.get("name") or "")
        if _listed(name, constraint.get("forbiddenSysctls")):
            yield Doubt(f"sysctl {name}")
        elif name not in _SAFE and not _listed(name, constraint.get("allowedUnsafeSysctls")):
            yield Doubt(f"sysctl {name}", name not in _NEWER)


def _listed(name: str, patterns: Any) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in map(str, texts(patterns)))


def _container(constraint: Content, container: Place) -> Iterator[Doubt]:
    security = container.security
    if security.get("privileged") is True and not constraint.get("allowPrivilegedContainer"):
        yield Doubt("privileged")
    if constraint.get("readOnlyRootFilesystem") is True and security.get("readOnlyRootFilesystem") is False:
        yield Doubt("readOnlyRootFilesystem")
    if not constraint.get("allowHostPorts") and any(
        one.get("hostPort") for one in mappings(container.raw.get("ports"))
    ):
        yield Doubt("hostPort")
    forbidden, default = constraint.get("allowPrivilegeEscalation") is False, constraint.get(
        "defaultAllowPrivilegeEscalation"
    )  # fmt: skip
    escalates = security.get("allowPrivilegeEscalation")
    if escalates is True and forbidden:
        yield Doubt("allowPrivilegeEscalation")
    elif escalates is None and (forbidden or default is False):
        yield Doubt("fills in allowPrivilegeEscalation", False)


def _capabilities(constraint: Content, container: Place) -> Iterator[Doubt]:
    given = mapping(container.security.get("capabilities"))
    allowed = texts(constraint.get("allowedCapabilities"))
    if "*" not in allowed:
        known = (*allowed, *texts(constraint.get("defaultAddCapabilities")))
        yield from (Doubt(f"capability {one}") for one in texts(given.get("add")) if one not in known)
    if "ALL" in texts(constraint.get("requiredDropCapabilities")) and "ALL" not in texts(given.get("drop")):
        yield Doubt("fills in capabilities.drop", False)


# Users, groups and labels -------------------------------------------------------------------------------------------


def _user(rule: Mapping[str, Any], pod: Pod, container: Place, annotations: Mapping[str, Any]) -> Iterator[Doubt]:
    user, not_root = (_effective(pod, container, field) for field in ("runAsUser", "runAsNonRoot"))
    strategy = rule.get("type")
    if strategy not in ("RunAsAny", "MustRunAs", "MustRunAsRange", "MustRunAsNonRoot"):
        yield Doubt("runAsUser", False)
    elif strategy == "MustRunAsNonRoot" and (not_root is False or user == 0):
        yield Doubt("runAsNonRoot" if not_root is False else "runAsUser")
    elif strategy != "RunAsAny" and user is None and not_root is None:
        yield Doubt("fills in runAsNonRoot", False)
    elif strategy == "MustRunAs" and user is not None and user != (rule.get("uid") or 0):
        yield Doubt("runAsUser", "uid" in rule)
    elif strategy == "MustRunAsRange" and user is not None:
        yield from _judged("runAsUser", _in_range(user, rule, annotations))


def _effective(pod: Pod, container: Place, field: str) -> Any:
    own = container.security.get(field)
    return pod.places[0].security.get(field) if own is None else own


def _in_range(user: Any, rule: Mapping[str, Any], annotations: Mapping[str, Any]) -> bool | None:
    low, high = rule.get("uidRangeMin"), rule.get("uidRangeMax")
    if low is None and high is None:
        return _within(user, annotations.get(UIDS))
    if not all(isinstance(one, int) for one in (user, low, high)):
        return None
    return bool(low <= user <= high)


def _groups(constraint: Content, pod: Pod, annotations: Mapping[str, Any]) -> Iterator[Doubt]:
    security = pod.places[0].security
    given = annotations.get(GROUPS) or annotations.get(UIDS)
    wanted = [security["fsGroup"]] if security.get("fsGroup") is not None else []
    supplemental = texts(security.get("supplementalGroups"))
    for field, groups in (("fsGroup", wanted), ("supplementalGroups", supplemental)):
        rule = mapping(constraint.get(field))
        if rule.get("type") == "RunAsAny" or not groups:
            continue
        if rule.get("type") != "MustRunAs":
            yield Doubt(field, False)
        for group in groups if rule.get("type") == "MustRunAs" else ():
            ranges = mappings(rule.get("ranges"))
            if ranges:
                yield from _judged(field, _in_any(group, ranges))
            else:
                yield from _judged(field, _within(group, given, first=field == "fsGroup"))


def _in_any(group: Any, ranges: list[Mapping[str, Any]]) -> bool | None:
    bounds = [(one.get("min") or 0, one.get("max") or 0) for one in ranges]
    if not all(isinstance(one, int) for one in (group, *(bound for pair in bounds for bound in pair))):
        return None
    return any(low <= group <= high for low, high in bounds)


def _judged(field: str, inside: bool | None) -> Iterator[Doubt]:
    if not inside:
        yield Doubt(field, inside is False)


def _blocks(text: Any) -> list[tuple[int, int]]:
    """The identifiers in an annotation: `START/SIZE` or `START-END`, perhaps several; none where it cannot be read."""
    found = []
    for part in str(text or "").split(","):
        match = re.fullmatch(r"(\d{1,12})([/-])(\d{1,12})", part)
        if match is None:
            return []
        start, end = int(match[1]), int(match[3])
        found.append((start, start + end - 1 if match[2] == "/" else end))
    return found


def _usual(text: Any) -> bool:
    blocks = _blocks(text)
    return bool(blocks) and all(start >= _FIRST for start, _ in blocks)


def _within(number: Any, text: Any, *, first: bool = False) -> bool | None:
    """Whether a namespace has an identifier; None where that differs among namespaces of the same mark."""
    blocks = _blocks(text)
    if not blocks or not isinstance(number, int):
        return None
    if _usual(text):
        return False if number < _FIRST else None
    if first:
        return number == blocks[0][0]
    return any(start <= number <= end for start, end in blocks)


def _selinux(constraint: Content, pod: Pod) -> Iterator[Doubt]:
    rule = mapping(constraint.get("seLinuxContext"))
    there = [mapping(one.security["seLinuxOptions"]) for one in pod.places
             if one.security.get("seLinuxOptions") is not None]  # fmt: skip
    if rule.get("type") == "RunAsAny" or not there:
        return
    wanted = mapping(rule.get("seLinuxOptions"))
    for given in there:
        if any((given.get(field) or "") != (wanted.get(field) or "") for field in ("user", "role", "type")):
            yield Doubt("seLinuxOptions", rule.get("type") == "MustRunAs")
        elif not given.get("level") or _level(given["level"]) != _level(wanted.get("level")):
            known = rule.get("type") == "MustRunAs" and bool(wanted.get("level") or not given.get("level"))
            yield Doubt("seLinuxOptions.level", known)


def _level(text: Any) -> tuple[str, list[str]]:
    """A sensitivity and its categories, in whatever order."""
    sensitivity, _, categories = str(text or "").partition(":")
    return sensitivity, sorted(categories.split(","))


def _seccomp(constraint: Content, pod: Pod) -> Iterator[Doubt]:
    given = [str(one) for one in texts(constraint.get("seccompProfiles"))]
    allowed = [one for one in given if one != "*"]
    whole = _profile(pod.places[0]) or str(pod.annotations.get("seccomp.security.alpha.kubernetes.io/pod") or "")
    own = [
        _profile(one)
        or str(pod.annotations.get(f"container.seccomp.security.alpha.kubernetes.io/{one.raw.get('name')}") or "")
        or whole
        for one in pod.containers
    ]
    if allowed and "" in own:
        yield Doubt("fills in seccompProfile", False)
    if "*" in given:
        return
    runtime = _RUNTIME_DEFAULT if _RUNTIME_DEFAULT.intersection(allowed) else frozenset()
    for profile in dict.fromkeys((whole, *own)):
        if profile and profile not in allowed and profile not in runtime:
            yield Doubt(f"seccompProfile {profile}")


def _profile(place: Place) -> str:
    profile = mapping(place.security.get("seccompProfile"))
    if profile.get("type") == "Localhost":
        return f"localhost/{profile['localhostProfile']}" if profile.get("localhostProfile") else ""
    return {"Unconfined": "unconfined", "RuntimeDefault": "runtime/default"}.get(str(profile.get("type")), "")
