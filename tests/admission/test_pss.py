"""The Pod Security Standards, row by row: each field, on each kind of container, in each version.

Every pod here is the one that restricted takes in all versions, with one thing changed: so a row says all that there is
to say about it, and whatever else was found would fail it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from posture.admission.controls import BASELINE, PRIVILEGED, RESTRICTED, Field, Level
from posture.admission.pss import LATEST, Violation, clamped, version_of, violations
from tests.admission.changes import CONTAINERS, GONE, changed, pod
from tests.generator.pods import SOURCES

VERSIONS = (*range(40), LATEST)
LEVELS: tuple[Level, ...] = (PRIVILEGED, BASELINE, RESTRICTED)
LAST = LATEST
EVERYWHERE = ("spec", *CONTAINERS)
AA = "container.apparmor.security.beta.kubernetes.io"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_OF = "container.seccomp.security.alpha.kubernetes.io"
WINDOWS = ("spec.os.name", "windows")
USERS = ("spec.hostUsers", False)


# What is forbidden, and since when ----------------------------------------------------------------------------------


class Row(NamedTuple):
    """A field set to a value, beside others, violates one control from one version to another, at one level.

    `*` in a path stands for each container, `+` for the pod and each container. `at` is the field that is told, where
    it is another one; `found` its value.
    """

    control: str
    level: Level
    path: str
    value: Any
    since: int = 0
    until: int = LAST
    beside: tuple[tuple[str, Any], ...] = ()
    at: str = ""


def each(row: Row) -> Iterator[Row]:
    """The row for every place that it stands for."""
    places = CONTAINERS if row.path.startswith("*") else EVERYWHERE if row.path.startswith("+") else ("",)
    for place in places:
        yield row._replace(path=re.sub(r"^[*+]", place, row.path), at=re.sub(r"^[*+]", place, row.at))


def baseline(control: str, path: str, value: Any, **more: Any) -> Row:
    return Row(control, BASELINE, path, value, **more)


def restricted(control: str, path: str, value: Any, **more: Any) -> Row:
    return Row(control, RESTRICTED, path, value, **more)


SC = "securityContext"
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")
OWN_HANDLERS: tuple[Any, ...] = (
    None,
    {},
    {"exec": {}},
    {"httpGet": {"port": 1, "host": ""}},
    {"tcpSocket": {"host": None}},
)
SYSCTL = f"spec.{SC}.sysctls[0].name"
ADD, DROP = f"*.{SC}.capabilities.add[0]", f"*.{SC}.capabilities.drop"
PROFILES = ("Unconfined", "", None, "runtime/default", "localhost")
FORBIDDEN: list[Row] = [one for row in (
    *(baseline("hostNamespaces", f"spec.{field}", True) for field in ("hostNetwork", "hostPID", "hostIPC")),
    baseline("privileged", f"*.{SC}.privileged", True),
    baseline("hostPorts", "*.ports[0].hostPort", 80),
    baseline("hostPorts", "*.ports[1].hostPort", 80),
    baseline("hostPathVolumes", "spec.volumes[0].hostPath", {"path": "/"}),
    baseline("hostPathVolumes", "spec.volumes[1].hostPath", {}),
    baseline("windowsHostProcess", f"+.{SC}.windowsOptions.hostProcess", True),
    *(baseline("appArmorProfile", f"+.{SC}.appArmorProfile.type", value) for value in PROFILES),
    baseline("appArmorProfile", f"+.{SC}.appArmorProfile", {}, at=f"+.{SC}.appArmorProfile.type"),
    *(baseline("appArmorProfile", f"metadata.annotations[{AA}/{name}]", value)
      for name in ("a", "e", "not-there", "") for value in ("unconfined", "docker/default", "localhost")),
    *(baseline("seLinuxOptions", f"+.{SC}.seLinuxOptions.type", value) for value in ("spc_t", "Container_t")),
    baseline("seLinuxOptions", f"+.{SC}.seLinuxOptions.type", "container_engine_t", until=30),
    baseline("seLinuxOptions", f"+.{SC}.seLinuxOptions.user", "u"),
    baseline("seLinuxOptions", f"+.{SC}.seLinuxOptions.role", "r"),
    *(baseline("capabilities_baseline", ADD, value)
      for value in ("NET_RAW", "SYS_ADMIN", "ALL", "CAP_CHOWN", "chown", "")),
    *(baseline("procMount", f"*.{SC}.procMount", value) for value in ("Unmasked", "", "default")),
    *(baseline("seccompProfile_baseline", f"metadata.annotations[{key}]", value, until=18)
      for key in (SECCOMP, f"{SECCOMP_OF}/a", f"{SECCOMP_OF}/i", f"{SECCOMP_OF}/e")
      for value in ("unconfined", "", "localhost", "RuntimeDefault")),
    *(baseline("seccompProfile_baseline", f"+.{SC}.seccompProfile.type", value, since=19) for value in PROFILES),
    *(baseline("sysctls", SYSCTL, name)
      for name in ("kernel.msgmax", "net.ipv4.ip_forward", "net/ipv4/tcp_syncookies", "")),
    baseline("sysctls", f"spec.{SC}.sysctls[0]", {"value": "1"}, at=SYSCTL),
    baseline("sysctls", SYSCTL, "net.ipv4.ip_local_reserved_ports", until=26),
    *(baseline("sysctls", SYSCTL, f"net.ipv4.tcp_{name}", until=28)
      for name in ("keepalive_time", "keepalive_intvl", "keepalive_probes", "fin_timeout")),
    *(baseline("sysctls", SYSCTL, f"net.ipv4.tcp_{name}", until=31) for name in ("rmem", "wmem")),
    *(baseline("hostProbesAndHostLifecycle", f"*.{handler}.{kind}.host", "10.0.0.1", since=34)
      for handler in HANDLERS for kind in ("httpGet", "tcpSocket")),
    *(restricted("restrictedVolumes", f"spec.volumes[0].{source}", SOURCES[source])
      for source in sorted(SOURCES.keys() - {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image",
                                             "persistentVolumeClaim", "projected", "secret", "hostPath"})),
    restricted("restrictedVolumes", "spec.volumes[0]", {"name": "v"}),
    restricted("restrictedVolumes", "spec.volumes[0]", {"name": "v", "emptyDir": None}),
    *(restricted("allowPrivilegeEscalation", f"*.{SC}.allowPrivilegeEscalation", value, since=8)
      for value in (True, None, GONE)),
    restricted("allowPrivilegeEscalation", f"*.{SC}.allowPrivilegeEscalation", True, since=8, until=24,
               beside=(WINDOWS,)),
    restricted("runAsNonRoot", f"+.{SC}.runAsNonRoot", False),
    restricted("runAsNonRoot", f"+.{SC}.runAsNonRoot", False, until=34, beside=(USERS,)),
    restricted("runAsNonRoot", f"+.{SC}.runAsNonRoot", False, beside=(WINDOWS,)),
    restricted("runAsUser", f"+.{SC}.runAsUser", 0, since=23),
    restricted("runAsUser", f"+.{SC}.runAsUser", 0, since=23, until=34, beside=(USERS,)),
    restricted("runAsUser", f"+.{SC}.runAsUser", 0, since=23, beside=(WINDOWS,)),
    *(restricted("capabilities_restricted", DROP, value, since=22)
      for value in (["all"], ["CAP_ALL"], ["NET_RAW"], [], None, GONE)),
    restricted("capabilities_restricted", DROP, [], since=22, until=24, beside=(WINDOWS,)),
    restricted("capabilities_restricted", DROP, [], since=22, beside=(("spec.os.name", "linux"),)),
    *(restricted("capabilities_restricted", ADD, value, since=22) for value in ("CHOWN", "KILL", "SETUID")),
) for one in each(row)]  # fmt: skip


@pytest.mark.parametrize("row", FORBIDDEN, ids=lambda row: f"{row.control}-{row.path}-{row.value}"[:90])
def test_a_field_is_forbidden_in_these_versions_and_no_others(row: Row) -> None:
    """The one control is told, with the field and its value; a level below takes the pod in every version."""
    given = changed(*row.beside, (row.path, row.value))
    at, value = row.at or row.path, None if row.value is GONE or row.at else row.value
    expected = [Violation(row.control, (Field(at, value),))]
    for version in VERSIONS:
        there = row.since <= version <= row.until
        assert violations(given, row.level, version) == (expected if there else []), version
        below = LEVELS[LEVELS.index(row.level) - 1]
        assert violations(given, below, version) == []
        assert bool(violations(given, RESTRICTED, version)) == there  # restricted asks for no less, here


# What is allowed ----------------------------------------------------------------------------------------------------

ALLOWED: list[Row] = [one for row in (
    *(restricted("", f"spec.{field}", value)
      for field in ("hostNetwork", "hostPID", "hostIPC") for value in (False, None)),
    *(restricted("", f"*.{SC}.privileged", value) for value in (False, None)),
    *(restricted("", f"spec.{SC}.{field}", value)  # unknown there: fields of containers alone
      for field, value in (("privileged", True), ("procMount", "Unmasked"), ("capabilities", {"add": ["NET_RAW"]}))),
    *(restricted("", "*.ports[0].hostPort", none) for none in (0, None)),
    *(restricted("", f"spec.volumes[0].{source}", SOURCES[source])
      for source in ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
                     "projected", "secret")),
    restricted("", "spec.volumes[0]", {"name": "v", "hostPath": None, "secret": {}}),
    *(restricted("", f"+.{SC}.windowsOptions.hostProcess", value) for value in (False, None)),
    *(restricted("", f"+.{SC}.{field}.type", value)
      for field in ("appArmorProfile", "seccompProfile") for value in ("RuntimeDefault", "Localhost")),
    *(restricted("", f"+.{SC}.appArmorProfile", value) for value in (None,)),
    *(restricted("", f"metadata.annotations[{AA}/a]", value)
      for value in ("", None, "runtime/default", "localhost/", "localhost/p")),
    restricted("", f"metadata.annotations[x.{AA}/a]", "unconfined"),
    *(restricted("", f"+.{SC}.seLinuxOptions.type", value)
      for value in ("", None, "container_t", "container_init_t", "container_kvm_t")),
    restricted("", f"+.{SC}.seLinuxOptions.type", "container_engine_t", since=31),
    *(restricted("", f"+.{SC}.seLinuxOptions", odd) for odd in ({}, None, {"level": "s0:c1"}, {"user": ""})),
    restricted("", ADD, "NET_BIND_SERVICE"),
    *(Row("", BASELINE, ADD, value) for value in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")),
    *(restricted("", f"*.{SC}.procMount", value) for value in ("Default", None)),
    *(restricted("", f"metadata.annotations[{key}]", value)
      for key in (SECCOMP, f"{SECCOMP_OF}/a") for value in ("runtime/default", "docker/default", "localhost/p")),
    restricted("", f"metadata.annotations[{SECCOMP_OF}/not-there]", "unconfined"),
    *(restricted("", SYSCTL, f"net.ipv4.{name}")
      for name in ("ip_local_port_range", "tcp_syncookies", "ping_group_range", "ip_unprivileged_port_start")),
    restricted("", SYSCTL, "kernel.shm_rmid_forced"),
    *(restricted("", f"*.{handler}", value) for handler in HANDLERS
      for value in OWN_HANDLERS),
    *(restricted("", DROP, value) for value in (["ALL"], ["NET_RAW", "ALL"])),
    *(restricted("", f"+.{SC}.runAsUser", value) for value in (1, None)),
    restricted("", f"spec.{SC}.runAsNonRoot", GONE,
               beside=tuple((f"{place}.{SC}.runAsNonRoot", True) for place in CONTAINERS)),
    restricted("", f"spec.{SC}.seccompProfile", GONE,
               beside=tuple((f"{place}.{SC}.seccompProfile.type", "Localhost") for place in CONTAINERS)),
) for one in each(row)]  # fmt: skip


@pytest.mark.parametrize("row", ALLOWED, ids=lambda row: f"{row.path}-{row.value}"[:90])
def test_a_field_is_allowed(row: Row) -> None:
    """In all versions, or from one on."""
    given = changed(*row.beside, (row.path, row.value))
    assert {version: found for version in VERSIONS if (found := violations(given, row.level, version))}.keys() == set(
        range(row.since)
    )


# What is inherited, and what takes the place of what ----------------------------------------------------------------


def controls(given: Mapping[str, Any], level: Level, version: int = LATEST) -> list[str]:
    return [found.control for found in violations(given, level, version)]


@pytest.mark.parametrize(
    ("control", "field", "since"),
    [("runAsNonRoot", "runAsNonRoot", 0), ("seccompProfile_restricted", "seccompProfile", 19)],
)
def test_what_neither_pod_nor_container_says_is_told_of_each_container(control: str, field: str, since: int) -> None:
    """In the order in which the server visits them."""
    given = changed((f"spec.{SC}.{field}", GONE))
    places = ("spec.initContainers[0]", "spec.containers[0]", "spec.ephemeralContainers[0]")
    found = Violation(control, tuple(Field(f"{place}.{SC}.{field}", None) for place in places))
    for version in VERSIONS:
        assert violations(given, RESTRICTED, version) == ([found] if version >= since else [])
        assert violations(given, BASELINE, version) == []


@pytest.mark.parametrize("place", CONTAINERS)
def test_a_container_that_says_so_itself_does_not_inherit(place: str) -> None:
    """The others do."""
    given = changed(
        (f"spec.{SC}", {}), *((f"{place}.{SC}.{field}", value) for field, value in pod()["spec"][SC].items())
    )
    told = [field.path for found in violations(given, RESTRICTED, LATEST) for field in found.fields]
    others = [other for other in CONTAINERS if other != place]
    assert sorted(told) == sorted(f"{one}.{SC}.{field}" for one in others for field in pod()["spec"][SC])


OVERRIDDEN = [
    # (what is changed, at baseline, at restricted), each by the version from which it is so
    ((("spec.volumes[0].hostPath", {}),), {0: ["hostPathVolumes"]}, {0: ["restrictedVolumes"]}),
    ((("spec.volumes[0].hostPath", {}), ("spec.volumes[0].secret", {})), {0: ["hostPathVolumes"]}, {0: []}),
    (((f"spec.containers[0].{SC}.capabilities.add", ["NET_RAW"]),), {0: ["capabilities_baseline"]},
     {0: ["capabilities_baseline"], 22: ["capabilities_restricted"]}),
    (((f"spec.containers[0].{SC}.capabilities.add", ["NET_RAW"]), WINDOWS), {0: ["capabilities_baseline"]},
     {0: ["capabilities_baseline"], 22: ["capabilities_restricted"], 25: []}),
    (((f"spec.{SC}.seccompProfile.type", "Unconfined"),), {0: [], 19: ["seccompProfile_baseline"]},
     {0: [], 19: ["seccompProfile_restricted"]}),
    (((f"spec.{SC}.seccompProfile.type", "Unconfined"), WINDOWS), {0: [], 19: ["seccompProfile_baseline"]},
     {0: [], 19: ["seccompProfile_restricted"], 25: []}),
    (((f"spec.containers[0].{SC}.procMount", "Unmasked"),), {0: ["procMount"]},
     {0: ["procMount"], 35: ["procMount_restricted"]}),
    (((f"spec.containers[0].{SC}.procMount", "Unmasked"), USERS), {0: ["procMount"], 35: []},
     {0: ["procMount"], 35: ["procMount_restricted"]}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "at_baseline", "at_restricted"), OVERRIDDEN)
def test_one_violation_is_told_by_one_control(
    changes: tuple[tuple[str, Any], ...], at_baseline: Mapping[int, list[str]], at_restricted: Mapping[int, list[str]]
) -> None:
    """A control of restricted takes the place of its like at baseline, even where it then asks less."""
    given = changed(*changes)
    for version in VERSIONS:
        for level, expected in ((BASELINE, at_baseline), (RESTRICTED, at_restricted)):
            since = max(one for one in expected if one <= version)
            assert controls(given, level, version) == expected[since], (level, version)


def test_every_field_of_a_control_is_told() -> None:
    """Not only the first one; and controls in the order of the server's message: baseline first, by their ids."""
    given = changed(
        *((f"{place}.{SC}.privileged", True) for place in CONTAINERS), ("spec.hostPID", True), ("spec.hostIPC", True),
        (f"spec.containers[0].{SC}.allowPrivilegeEscalation", GONE),
    )  # fmt: skip
    assert [(one.control, len(one.fields)) for one in violations(given, RESTRICTED)] == [
        ("hostNamespaces", 2), ("privileged", 3), ("allowPrivilegeEscalation", 1),
    ]  # fmt: skip


# Versions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "version"),
    [("latest", LATEST), ("v1.0", 0), ("v1.24", 24), ("v1.136", 136), ("1.24", None), ("v1.024", None), ("", None),
     ("v1.", None), ("v2.1", None), ("v1.24\n", None), ("Latest", None), ("v1.24.0", None), ("v1.\u0661", None)],
)  # fmt: skip
def test_a_version_is_latest_or_v1_and_a_number(label: str, version: int | None) -> None:
    """As the server parses the label."""
    assert version_of(label) == version


def test_a_server_evaluates_no_version_newer_than_its_own() -> None:
    """Whether it is a number that it does not know, or its latest."""
    given = changed(("spec.containers[0].livenessProbe.tcpSocket.host", "10.0.0.1"))
    assert (clamped(36, 33), clamped(LATEST, 33), clamped(20, 33)) == (33, 33, 20)
    assert controls(given, BASELINE, clamped(LATEST, 33)) == []
    assert controls(given, BASELINE, clamped(LATEST, 34)) == ["hostProbesAndHostLifecycle"]
