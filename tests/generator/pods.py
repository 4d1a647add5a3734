"""Random pods for the Pod Security Standards: close to restricted, with a few fields set to anything.

Every field that a control reads, on the pod and on each kind of container, and every class of value that it tells
apart; what no API server stores included, unless `valid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, NamedTuple

from .objects import Object, metadata

KINDS = ("containers", "initContainers", "ephemeralContainers")


class Values(NamedTuple):
    """What a field may be set to; `odd` ones are decoded by an API server, but never stored. None is null."""

    stored: Sequence[Any]
    odd: Sequence[Any] = ()

    def one(self, random: Random, *, valid: bool) -> Any:
        """One of them."""
        return deepcopy(random.choice(self.stored if valid or not self.odd else (*self.stored, *self.odd)))


# Values -------------------------------------------------------------------------------------------------------------

TRUTH = Values((True, False, None))
PROFILE = Values(
    (
        {"type": "RuntimeDefault"},
        {"type": "Localhost", "localhostProfile": "p"},
        {"type": "Unconfined"},
        {"type": "Unconfined"},
        None,
    ),
    ({}, {"type": None}, {"type": ""}, {"type": "Runtime/Default"}, {"type": "runtimedefault"}, {"type": "Localhost"}),
)
SELINUX = Values(
    (
        *({"type": kind} for kind in ("container_t", "container_init_t", "container_kvm_t", "container_engine_t")),
        *({"type": kind} for kind in ("container_engine_t", "spc_t", "Container_t", "container_kvm_t ")),
        {}, {"type": ""}, {"type": None}, {"user": "u"}, {"role": "r"}, {"user": "", "role": None}, {"level": "s0:c1"},
        {"user": "u", "role": "r", "type": "spc_t"}, None,
    )
)  # fmt: skip
WINDOWS = Values(
    ({"hostProcess": True}, {"hostProcess": True}, {"hostProcess": False}, {"hostProcess": None}, {}, None)
)
USER = Values((0, 0, 1, 1000, None))
CAPABILITY = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "NET_RAW", "SYS_ADMIN", "ALL", "CAP_CHOWN", "chown",
    "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN", "all", "",
)  # fmt: skip
DROP = Values((["ALL"], ["ALL"], ["ALL"], ["NET_RAW", "ALL"], ["all"], ["CAP_ALL"], ["NET_RAW"], [], None), ([None],))
CONTAINER_SECURITY = {
    "privileged": TRUTH,
    "allowPrivilegeEscalation": TRUTH,
    "runAsNonRoot": TRUTH,
    "runAsUser": USER,
    "procMount": Values(("Default", "Unmasked", "Unmasked", None), ("", "default", "Masked")),
    "seccompProfile": PROFILE,
    "appArmorProfile": PROFILE,
    "seLinuxOptions": SELINUX,
    "windowsOptions": WINDOWS,
}
POD_SECURITY = {
    "runAsNonRoot": TRUTH,
    "runAsUser": USER,
    "seccompProfile": PROFILE,
    "appArmorProfile": PROFILE,
    "seLinuxOptions": SELINUX,
    "windowsOptions": WINDOWS,
    # Fields of containers alone: here they are unknown, and mean nothing.
    "privileged": TRUTH,
    "allowPrivilegeEscalation": TRUTH,
    "procMount": Values(("Unmasked",)),
    "capabilities": Values(({"add": ["SYS_ADMIN"]}, {"drop": ["ALL"]})),
}
POD = {
    "hostNetwork": TRUTH,
    "hostPID": TRUTH,
    "hostIPC": TRUTH,
    "hostUsers": Values((False, False, False, True, None)),
    "os": Values(({"name": "windows"}, {"name": "windows"}, {"name": "linux"}, None), ({}, {"name": "Windows"})),
}
SYSCTL = Values(
    (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "kernel.msgmax",
        "net/ipv4/tcp_syncookies", "net.ipv4.ip_forward", "net.core.somaxconn",
    ),
    ("", None, "Kernel.shm_rmid_forced"),
)  # fmt: skip
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SOURCES: dict[str, Any] = {
    "configMap": {"name": "c"}, "csi": {"driver": "d"}, "downwardAPI": {}, "emptyDir": {},
    "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}, "image": {"reference": "x"},
    "persistentVolumeClaim": {"claimName": "c"}, "projected": {"sources": []}, "secret": {"secretName": "s"},
    "hostPath": {"path": "/"}, "nfs": {"server": "s", "path": "/"}, "gitRepo": {"repository": "r"},
    "awsElasticBlockStore": {"volumeID": "v"}, "gcePersistentDisk": {"pdName": "p"},
    "iscsi": {"targetPortal": "127.0.0.1:3260", "iqn": "iqn.2001-04.com.example:a", "lun": 0},
    "glusterfs": {"endpoints": "e", "path": "p"}, "rbd": {"monitors": ["m"], "image": "i"},
    "flexVolume": {"driver": "a/b"}, "cinder": {"volumeID": "v"}, "cephfs": {"monitors": ["m"]},
    "flocker": {"datasetName": "d"}, "fc": {"targetWWNs": ["w"], "lun": 0},
    "azureFile": {"secretName": "s", "shareName": "s"}, "vsphereVolume": {"volumePath": "v"},
    "quobyte": {"registry": "r:1", "volume": "v"}, "azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/c/d"},
    "photonPersistentDisk": {"pdID": "p"}, "portworxVolume": {"volumeID": "v"},
    "scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}},
    "storageos": {"volumeName": "v"},
}  # fmt: skip
USUAL = ("configMap", "emptyDir", "image", "hostPath", "ephemeral", "nfs")
HOST = Values(("10.0.0.1", "localhost", "", None))
HANDLER: tuple[Callable[[Any], Object], ...] = (
    lambda host: {"httpGet": {"port": 80, "path": "/", "host": host}},
    lambda host: {"tcpSocket": {"port": 80, "host": host}},
    lambda _: {"exec": {"command": ["true"]}},
    lambda _: {"tcpSocket": {"port": 80}},
)
APPARMOR = "container.apparmor.security.beta.kubernetes.io"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io"
APPARMOR_VALUE = Values(
    ("runtime/default", "localhost/p", "unconfined", "unconfined", ""),
    (None, "docker/default", "localhost", "Runtime/default", "RuntimeDefault"),
)
SECCOMP_VALUE = Values(
    ("runtime/default", "docker/default", "docker/default", "localhost/p", "unconfined"),
    (None, "", "localhost", "RuntimeDefault"),
)


# Changes ------------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """What changes a pod, with the randomness that it needs."""

    pod: Object
    random: Random
    valid: bool

    def value(self, values: Values) -> Any:
        return values.one(self.random, valid=self.valid)

    def container(self) -> Object:
        spec = self.pod["spec"]
        every = [one for kind in KINDS for one in spec.get(kind, ())]
        found: Object = self.random.choice(every)
        return found

    def security(self, holder: Object) -> Object:
        """A security context that is there."""
        if holder.get("securityContext") is None:
            holder["securityContext"] = {}
        found: Object = holder["securityContext"]
        return found


def container_security(change: Change) -> None:
    field = change.random.choice(tuple(CONTAINER_SECURITY))
    change.security(change.container())[field] = change.value(CONTAINER_SECURITY[field])


def capabilities(change: Change) -> None:
    adds: list[Any] = change.random.sample(CAPABILITY, change.random.choice((0, 1, 1, 2)))
    if not change.valid and change.random.random() < 0.1:
        adds = [*adds, None]
    made = {"add": adds, "drop": change.value(DROP)}
    change.security(change.container())["capabilities"] = change.random.choice((made, made, made, made, {}, None))


def without(change: Change) -> None:
    """A field that restricted asks for is left out."""
    holder = change.random.choice((change.pod["spec"], change.container()))
    fields = ("runAsNonRoot", "seccompProfile", "capabilities", "allowPrivilegeEscalation")
    change.security(holder).pop(change.random.choice(fields), None)


def without_security(change: Change) -> None:
    holder = change.random.choice((change.pod["spec"], change.container()))
    if change.random.random() < 0.5:
        holder.pop("securityContext", None)
    else:
        holder["securityContext"] = change.random.choice((None, {}))


def pod_security(change: Change) -> None:
    field = change.random.choice(tuple(POD_SECURITY))
    change.security(change.pod["spec"])[field] = change.value(POD_SECURITY[field])


def pod_field(change: Change) -> None:
    field = change.random.choice(tuple(POD))
    change.pod["spec"][field] = change.value(POD[field])


def sysctls(change: Change) -> None:
    names = dict.fromkeys(change.value(SYSCTL) for _ in range(change.random.choice((1, 1, 2))))
    change.security(change.pod["spec"])["sysctls"] = [{"name": name, "value": "1"} for name in names]


def volumes(change: Change) -> None:
    made = []
    for number in range(change.random.choice((1, 1, 2))):
        source = change.random.choice(change.random.choice((tuple(SOURCES), USUAL)))
        volume = {"name": f"v{number}", source: deepcopy(SOURCES[source])}
        shape = 1.0 if change.valid else change.random.random()
        if shape < 0.1:
            volume |= {change.random.choice(tuple(SOURCES)): {}}  # two sources
        elif shape < 0.2:
            volume[source] = change.random.choice((None, {}))
        made.append(volume if change.random.random() > 0.05 else {"name": f"v{number}"})
    change.pod["spec"]["volumes"] = [*made, *([] if change.valid or change.random.random() < 0.9 else [None])]


def ports(change: Change) -> None:
    change.container()["ports"] = [
        {"containerPort": port} | change.random.choice(({}, {"hostPort": 0}, {"hostPort": None}, {"hostPort": port}))
        for port in change.random.sample(range(8000, 60000), change.random.choice((1, 1, 2)))
    ]


def handler(change: Change) -> None:
    made = change.random.choice(HANDLER)(change.value(HOST))
    if not change.valid and change.random.random() < 0.1:
        odd: tuple[Any, ...] = (None, {}, {**made, "tcpSocket": {"port": 80, "host": "10.0.0.2"}})
        made = change.random.choice(odd)
    one = change.container()
    if change.random.random() < 0.6:
        one[change.random.choice(("livenessProbe", "readinessProbe", "startupProbe"))] = made
    else:
        one["lifecycle"] = {change.random.choice(("postStart", "preStop")): made}


def annotation(change: Change) -> None:
    name = change.container()["name"]
    other = name if change.valid else change.random.choice((name, name, "gone", ""))
    kind = change.random.random()
    if kind < 0.4:
        found = {f"{APPARMOR}/{other}": change.value(APPARMOR_VALUE)}
    elif kind < 0.7:
        found = {SECCOMP: change.value(SECCOMP_VALUE)}
    else:
        found = {f"{SECCOMP_CONTAINER}/{other}": change.value(SECCOMP_VALUE)}
    meta = change.pod["metadata"]
    meta["annotations"] = {**(meta.get("annotations") or {}), **found}


def emptied(change: Change) -> None:
    """null where something was due: decoded as if it were empty."""
    spec = change.pod["spec"]
    field = change.random.choice(("containers", "initContainers", "annotations", "securityContext"))
    if field == "annotations":
        change.pod["metadata"]["annotations"] = None
    elif field == "securityContext":
        spec["securityContext"] = None
    else:
        spec[field] = change.random.choice(([*(spec.get(field) or ()), {}], [*(spec.get(field) or ()), {"name": None}]))


CHANGES: dict[Callable[[Change], None], int] = {
    container_security: 6, capabilities: 3, without: 3, without_security: 1, pod_security: 4, pod_field: 3, sysctls: 2,
    volumes: 3, ports: 1, handler: 3, annotation: 3,
}  # fmt: skip


# Pods ---------------------------------------------------------------------------------------------------------------


def random_pod(random: Random, name: str = "p", *, valid: bool = False) -> Object:
    """A pod; a `valid` one is stored by an API server of 1.36 (ephemeral containers are added to it once it is)."""
    spec: Object = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    for kind, most in (("containers", (1, 1, 2)), ("initContainers", (0, 0, 1)), ("ephemeralContainers", (0, 0, 1))):
        made = [container(f"{kind[0]}{number}") for number in range(random.choice(most))]
        if made:
            spec[kind] = made
    for field in ("os", "hostUsers"):  # what relaxes other fields is worth having beside each of them
        if random.random() < 0.15:
            spec[field] = POD[field].one(random, valid=valid)
    change = Change({"metadata": metadata(name), "spec": spec}, random, valid)
    some, weights = tuple(CHANGES), tuple(CHANGES.values())
    for chosen in random.choices(some, weights, k=random.choice((0, 1, 1, 2, 2, 3, 4, 6))):
        chosen(change)
    if valid:
        return storable(change.pod)
    if random.random() < 0.05:
        emptied(change)
    return change.pod


def container(name: str) -> Object:
    """A container that restricted takes in every version."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {"name": name, "image": "x", "securityContext": security}


def random_pods(random: Random, number: int, *, valid: bool = False) -> Iterator[Object]:
    """As many pods."""
    return (random_pod(random, f"p{index}", valid=valid) for index in range(number))


# What an API server would refuse (k8s.io/kubernetes pkg/apis/core/validation) ---------------------------------------

UNIX = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "sysctls", "runAsUser", "capabilities", "privileged",
    "allowPrivilegeEscalation", "procMount",
)  # fmt: skip
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")


def storable(pod: Object) -> Object:
    """The pod without what cannot stand beside something else in it."""
    spec = pod["spec"]
    every = [one for kind in KINDS for one in spec.get(kind, ())]
    contexts = [one["securityContext"] for one in (spec, *every) if one.get("securityContext")]
    _system(pod, contexts)
    _host_process(spec, every)
    if not spec.get("hostNetwork") and any(one.get("procMount") == "Unmasked" for one in contexts):
        spec.setdefault("hostUsers", False)
    if spec.get("hostUsers") is False:
        _drop(spec, "hostNetwork", "hostPID", "hostIPC")
    if spec.get("hostNetwork") or spec.get("hostIPC"):
        _drop(spec.get("securityContext"), "sysctls")
    _annotations(pod, contexts)
    for kind in KINDS:
        for one in spec.get(kind, ()):
            _container(spec, kind, one)
    return pod


def _drop(holder: Object | None, *fields: str) -> None:
    for field in fields:
        (holder or {}).pop(field, None)


def _system(pod: Object, contexts: Sequence[Object]) -> None:
    """Each system has fields of its own."""
    system = (pod["spec"].get("os") or {}).get("name", "")
    for security in contexts:
        _drop(security, *{"windows": UNIX, "linux": ("windowsOptions",)}.get(system, ()))
    if system == "windows":
        _drop(pod["spec"], "hostPID", "hostIPC", "hostUsers")


def _host_process(spec: Object, every: Sequence[Object]) -> None:
    """All containers are host processes, on the host's network, or none is."""
    options = [(one.get("securityContext") or {}).get("windowsOptions") or {} for one in (spec, *every)]
    if any(one.get("hostProcess") for one in options):
        spec["hostNetwork"] = True
        _drop(spec, "hostUsers")
        own = options[0].get("hostProcess")
        for one, container_options in zip(every, options[1:], strict=True):
            if own is not True or "hostProcess" in container_options:
                one["securityContext"] = {**(one.get("securityContext") or {}), "windowsOptions": {"hostProcess": True}}
        if own is False:
            options[0]["hostProcess"] = True


def _annotations(pod: Object, contexts: Sequence[Object]) -> None:
    """Annotations and fields must not contradict each other, and AppArmor's are of containers that are there."""
    there = [one["name"] for kind in ("containers", "initContainers") for one in pod["spec"].get(kind, ())]
    fields = any("appArmorProfile" in one for one in contexts)
    found = pod["metadata"].get("annotations") or {}
    for key in list(found):
        prefix, _, name = key.rpartition("/")
        if prefix == APPARMOR and (fields or name not in there):
            del found[key]
        elif prefix != APPARMOR:
            for security in contexts:
                _drop(security, "seccompProfile")


def _container(spec: Object, kind: str, one: Object) -> None:
    security = one.get("securityContext") or {}
    if security.get("procMount") == "Unmasked" and spec.get("hostUsers") is not False:
        _drop(security, "procMount")
    if security.get("privileged") or "CAP_SYS_ADMIN" in ((security.get("capabilities") or {}).get("add") or ()):
        _drop(security, "allowPrivilegeEscalation")
    if kind == "ephemeralContainers":
        _drop(one, "ports", *HANDLERS)
    if kind == "initContainers" and any(field in one for field in HANDLERS):
        one["restartPolicy"] = "Always"
