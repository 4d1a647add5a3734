"""Test requests: requests that are valid but for one violation each. Where one is refused, its violation is enforced.

Pods first: each field that a control of Pod Security reads, in each kind of container, with each class of value that
policies tell apart. All else in them is what restricted wants, and what common policies ask for beside it (resources,
probes, a read-only root, an image by its digest), so that little but the violation can be the reason of a refusal: a
policy that refuses the request without its violation (`harmless`) too says nothing about it.

What only older versions of the standards forbid is a control of its own, `sysctls/until-1.31`: to no longer ask for it
is a loosening, to admit it is none where the newest version is enforced in full. Windows pods may not say what 1.24
wants of every pod, whatever they ask for: they are one control. procMount until 1.34 is the request of
procMount_restricted.

Source: controls.py; what a server stores: kubernetes v1.36.3, pkg/apis/core/validation. By it no ephemeral container
has ports, probes or hooks; a privileged one may escalate; an unmasked /proc needs a user namespace (which baseline
allows since 1.35, so that `procMount` has no violation of its own); what is a host process on Windows is one in all of
its containers, on the host's network. Seccomp's annotations are no violation: since 1.27 no kubelet reads them.
Configurations of webhooks and policies are not here either: no policy is ever asked about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

from posture.kinds import RBAC

from .controls import APPARMOR, BASELINE, PRIVILEGED, RESTRICTED, SYSCTLS, SYSCTLS_27, SYSCTLS_29, SYSCTLS_32
from .pods import CONTAINERS
from .policy import Space
from .requests import NAME_LABEL, NAMESPACES, PODS, Object, Operation, Request, Resource, pod_creation
from .workloads import User, controller

type Scope = Literal["namespace", "cluster"]

USERS = (User("somebody", ("system:authenticated",)), controller("replicaset-controller"))
"""Who may ask: a person, and who makes the pods of Deployments."""
NAME = "test-request"
NEW = "new-namespace"
"""What stands for the name of a namespace that may come."""
ENFORCE = "pod-security.kubernetes.io/enforce"
OLDER = "/until-"
"""In the name of a control that only older versions of the standards know, before the last of these."""


@dataclass(frozen=True, eq=False)
class Violation:
    """A violation and its test request. `implies` are the controls that no valid request could but violate as well.

    `objects` gives the object and what it was before, in a namespace. `harmless` is the same request without the
    violation, where there is one.
    """

    id: str
    control: str
    operation: Operation
    resource: Resource
    subresource: str
    objects: Callable[[Space], tuple[Object, Object | None]]
    name: str = NAME
    scope: Scope = "namespace"
    implies: tuple[str, ...] = ()
    harmless: Violation | None = None
    hidden: tuple[str, ...] = ()

    def request(self, space: Space, user: str | None = None, groups: tuple[str, ...] = ()) -> Request:
        """The whole request in a namespace, by somebody; what is made in no namespace is the same in all."""
        if self.scope == "namespace" and not space.name:
            space = Space(NEW, {**space.labels, NAME_LABEL: NEW}, space.annotations)
        found, old = self.objects(space)
        namespace, name, there = space.name, self.name, None
        if self.scope == "cluster":
            namespace = ""
        elif self.resource == NAMESPACES:
            name = namespace
        else:
            there = space.object
        return Request(
            self.operation, self.resource, self.subresource, namespace, name, found, old, user, groups, there, False,
            self.hidden,
        )  # fmt: skip


# Pods: what is set where --------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    """A field below a pod's spec and what it is set to; None takes it away. Of a list the first item is meant.

    `*` stands for a kind of container, `+` for the pod and each kind.
    """

    path: str
    value: Any


class _Row(NamedTuple):
    """Fields that violate a control together. `label` says so after the control's name.

    `harmless` are fields that the request without the violation has as well, beside what is in every pod.
    """

    control: str
    label: str
    fields: tuple[_Field, ...]
    kinds: tuple[str, ...] = CONTAINERS
    implies: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    harmless: tuple[_Field, ...] = ()


def _row(control: str, path: str, value: Any, *beside: tuple[str, Any], label: str = "", **more: Any) -> _Row:
    shown = "unset" if value is None else str(value).lower() if isinstance(value, bool) else value
    fields = (*(_Field(*one) for one in beside), _Field(path, value))
    return _Row(control, label or f"{path}={shown}", fields, **more)


def _volume(control: str, source: str, value: Any, *beside: tuple[str, Any], label: str = "") -> _Row:
    return _row(control, "volumes", [{"name": "v", source: value}], *beside, label=label or f"volumes.{source}")


_AT, _CAPABILITIES = "securityContext", "*.securityContext.capabilities"
_BOTH = ("containers", "initContainers")
_ESCALATES = (f"*.{_AT}.allowPrivilegeEscalation", True)
_SERVER, _HOST = "192.0.2.1", "10.0.0.1"
_SOURCES: Mapping[str, Any] = {
    "awsElasticBlockStore": {"volumeID": "v"},
    "azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/c/d"},
    "azureFile": {"secretName": "s", "shareName": "s"}, "cephfs": {"monitors": [_SERVER]}, "cinder": {"volumeID": "v"},
    "fc": {"targetWWNs": ["w"], "lun": 0}, "flexVolume": {"driver": "example.com/driver"},
    "flocker": {"datasetName": "d"}, "gcePersistentDisk": {"pdName": "p"}, "gitRepo": {"repository": "r"},
    "glusterfs": {"endpoints": "e", "path": "p"},
    "iscsi": {"targetPortal": f"{_SERVER}:3260", "iqn": "iqn.2001-04.com.example:a", "lun": 0},
    "nfs": {"server": _SERVER, "path": "/"}, "photonPersistentDisk": {"pdID": "p"},
    "portworxVolume": {"volumeID": "v"}, "quobyte": {"registry": "r:1", "volume": "v"},
    "rbd": {"monitors": [_SERVER], "image": "i"},
    "scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}},
    "storageos": {"volumeName": "v"}, "vsphereVolume": {"volumePath": "v"},
}  # fmt: skip
"""The sources of volumes that restricted forbids and baseline does not."""
_USERNS = (("hostUsers", False),)
_OWN_USERS = (_Field("hostUsers", False),)
_HOST_PATHS = ("/", "/var/log", "/run/containerd/containerd.sock")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")


def _of_host_paths() -> Iterator[_Row]:
    for path in _HOST_PATHS:
        mount = {"name": "v", "mountPath": "/v"}
        for mounted, said in ((mount, ""), ({**mount, "readOnly": True}, ",readOnly")):
            label = f"volumes.hostPath.path={path}{said}"
            beside = ("containers.volumeMounts", [mounted])
            yield _volume("hostPathVolumes", "hostPath", {"path": path}, beside, label=label)


def _of_probes() -> Iterator[_Row]:
    """Init containers have them if they go on running."""
    for kind, beside in (("containers", ()), ("initContainers", (("*.restartPolicy", "Always"),))):
        for field in _PROBES:
            for handler in ("httpGet", "tcpSocket"):
                label = f"*.{field}.{handler}.host={_HOST}"
                value = {handler: {"port": 8080, "host": _HOST}}
                yield _row("hostProbesAndHostLifecycle", f"*.{field}", value, *beside, label=label, kinds=(kind,))


def _inherited(control: str, field: str, good: Any, *beside: tuple[str, Any], **more: Any) -> Iterator[_Row]:
    """One kind of container says nothing, and there is nothing to inherit."""
    for kind in CONTAINERS:
        fields = (*beside, (f"{_AT}.{field}", None), (f"containers.{_AT}.{field}", good))
        yield _row(control, f"*.{_AT}.{field}", None, *fields, kinds=(kind,), **more)


def _sysctls(control: str, *names: str) -> Iterator[_Row]:
    for name in names:
        yield _row(control, f"{_AT}.sysctls", [{"name": name, "value": "1"}], label=f"{_AT}.sysctls.name={name}")


def _until(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, ...]:
    """The sysctls that a version allows and the one before it does not."""
    return tuple(name for name in after if name not in before)


def _windows() -> _Row:
    """The settings of security that only pods for Linux may have are not there."""
    gone = [(f"containers.{_AT}.{field}", None)
            for field in ("readOnlyRootFilesystem", "allowPrivilegeEscalation", "capabilities")]  # fmt: skip
    without = (*gone, (f"{_AT}.seccompProfile", None))
    return _row("windows/until-1.24", "os.name", "windows", *without, kinds=("containers",),
                harmless=(_Field(*gone[0]),))  # fmt: skip


def _host_processes() -> Iterator[_Row]:
    more: dict[str, Any] = {"kinds": ("containers",), "implies": ("hostNamespaces",)}
    for place in ("", "*."):
        path = f"{place}{_AT}.windowsOptions.hostProcess"
        yield _row("windowsHostProcess", path, True, ("hostNetwork", True), **more)


_ROWS: tuple[_Row, ...] = (
    _row("appArmorProfile", f"+.{_AT}.appArmorProfile", {"type": "Unconfined"},
         label=f"+.{_AT}.appArmorProfile.type=Unconfined"),
    *(_Row("appArmorProfile", f"metadata.annotations[{APPARMOR}{name}]=unconfined", (), (kind,),
           annotations={f"{APPARMOR}{name}": "unconfined"}) for kind, name in zip(_BOTH, ("app", "init"), strict=True)),
    *(_row("capabilities_baseline", f"{_CAPABILITIES}.add", [name], label=f"{_CAPABILITIES}.add={name}")
      for name in ("NET_RAW", "SYS_ADMIN", "ALL")),
    *(_row("hostNamespaces", field, True) for field in ("hostNetwork", "hostPID", "hostIPC")),
    *_of_host_paths(),
    _row("hostPorts", "*.ports", [{"containerPort": 8080, "hostPort": 8080}], label="*.ports.hostPort=8080",
         kinds=_BOTH),
    *_of_probes(),
    _row("privileged", f"*.{_AT}.privileged", True, _ESCALATES, implies=("allowPrivilegeEscalation",)),
    *(_row("seLinuxOptions", f"+.{_AT}.seLinuxOptions.{field}", value)
      for field, value in (("type", "spc_t"), ("user", "system_u"), ("role", "system_r"))),
    _row("seccompProfile_baseline", f"+.{_AT}.seccompProfile", {"type": "Unconfined"},
         label=f"+.{_AT}.seccompProfile.type=Unconfined"),
    *_sysctls("sysctls", "kernel.msgmax", "kernel.shmmax", "net.core.somaxconn", "net.ipv4.ip_forward",
              "fs.mqueue.msg_max"),
    *_host_processes(),
    *(_row("allowPrivilegeEscalation", f"*.{_AT}.allowPrivilegeEscalation", value) for value in (True, None)),
    _row("capabilities_restricted", f"{_CAPABILITIES}.add", ["CHOWN"], label=f"{_CAPABILITIES}.add=CHOWN"),
    _row("capabilities_restricted", f"{_CAPABILITIES}.drop", ["NET_RAW"], label=f"{_CAPABILITIES}.drop=NET_RAW"),
    _row("capabilities_restricted", _CAPABILITIES, None),
    _row("procMount_restricted", f"*.{_AT}.procMount", "Unmasked", *_USERNS, harmless=_OWN_USERS),
    *(_volume("restrictedVolumes", source, value) for source, value in _SOURCES.items()),
    _row("runAsNonRoot", f"+.{_AT}.runAsNonRoot", False),
    *_inherited("runAsNonRoot", "runAsNonRoot", True),
    _row("runAsUser", f"+.{_AT}.runAsUser", 0),
    *_inherited("seccompProfile_restricted", "seccompProfile", {"type": "RuntimeDefault"}),
    _windows(),
    *_sysctls("sysctls/until-1.26", *_until(SYSCTLS, SYSCTLS_27)),
    *_sysctls("sysctls/until-1.28", *_until(SYSCTLS_27, SYSCTLS_29)),
    _row("seLinuxOptions/until-1.30", f"+.{_AT}.seLinuxOptions.type", "container_engine_t"),
    *_sysctls("sysctls/until-1.31", *_until(SYSCTLS_29, SYSCTLS_32)),
    _row("runAsNonRoot/until-1.34", f"+.{_AT}.runAsNonRoot", False, *_USERNS, harmless=_OWN_USERS),
    *_inherited("runAsNonRoot/until-1.34", "runAsNonRoot", True, *_USERNS, harmless=_OWN_USERS),
    _row("runAsUser/until-1.34", f"+.{_AT}.runAsUser", 0, *_USERNS, harmless=_OWN_USERS),
)  # fmt: skip


# Pods: what is made of it -------------------------------------------------------------------------------------------


def _container(name: str, **more: Any) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return {"name": name, "image": f"app:1.0@sha256:{'0' * 64}", "securityContext": security, **more}


def _pod(kind: str, *, ephemeral: bool = True) -> dict[str, Any]:
    """The pod that restricted takes in all versions, with a container of a kind beside its main one."""
    resources = {"cpu": "100m", "memory": "64Mi"}
    kept = {"resources": {"limits": dict(resources), "requests": dict(resources)}}
    probes = {"livenessProbe": {"exec": {"command": ["true"]}}, "readinessProbe": {"tcpSocket": {"port": 8080}}}
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": security,
        "containers": [_container("app", **kept, **probes)],
    }
    if kind == "initContainers":
        spec[kind] = [_container("init", **kept)]
    elif kind == "ephemeralContainers" and ephemeral:
        spec[kind] = [_container("debug")]
    return {"metadata": {"name": NAME, "labels": {"app": NAME, "app.kubernetes.io/name": NAME}}, "spec": spec}


def _set(holder: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for step in above:
        below = holder.setdefault(step, {})
        holder = below[0] if isinstance(below, list) else below
    if value is None:
        holder.pop(last, None)
    else:
        holder[last] = deepcopy(value)


def _places(row: _Row) -> Iterator[tuple[str, str, str]]:
    """The kind of container that a row is about, and what stands for `*` and `+`."""
    paths = [one.path for one in row.fields]
    if any(path.startswith("+") for path in paths):
        yield "containers", "+.", ""
    if any(path.startswith(("*", "+")) for path in paths):
        yield from ((kind, "+." if paths[-1].startswith("+") else "*.", f"{kind}.") for kind in row.kinds)
    else:
        yield row.kinds[0], "", ""


def _with(row: _Row, kind: str, sign: str, place: str, *, ephemeral: bool = True) -> dict[str, Any]:
    """The pod with what a row sets; of an ephemeral container's nothing, where the pod has none yet."""
    pod = _pod(kind, ephemeral=ephemeral)
    for path, value in row.fields:
        found = path.replace(sign, place, 1) if sign and path.startswith(sign) else path
        if ephemeral or not found.startswith("ephemeralContainers."):
            _set(pod["spec"], found, value)
    if row.annotations:
        pod["metadata"]["annotations"] = dict(row.annotations)
    return pod


def _asked(pod: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A pod with what the server fills in, and the fields that others may."""
    request = pod_creation(pod, "")
    return dict(request.object or {}), request.hidden


def _placed(space: Space, found: Object, old: Object | None) -> tuple[Object, Object | None]:
    return _in(space.name, found), None if old is None else _in(space.name, old)


def _in(namespace: str, one: Object) -> Object:
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}} if "metadata" in one else one


def _of_pod(identity: str, row: _Row, place: tuple[str, str, str], harmless: Violation | None) -> Violation:
    found, hidden = _asked(_with(row, *place))
    operation: Operation = "CREATE"
    subresource, old = "", None
    if place[0] == "ephemeralContainers":
        operation, subresource = "UPDATE", "ephemeralcontainers"
        old, _ = _asked(_with(row, *place, ephemeral=False))
    return Violation(
        identity, row.control, operation, PODS, subresource, partial(_placed, found=found, old=old),
        implies=row.implies, harmless=harmless, hidden=hidden,
    )  # fmt: skip


def _harmless(kind: str, fields: tuple[_Field, ...]) -> Violation:
    told = "".join(f",{field.path}={'unset' if field.value is None else str(field.value).lower()}" for field in fields)
    return _of_pod(f"pods:{kind}{told}", _Row("", "", fields), (kind, "", ""), None)


def _of_pods() -> Iterator[Violation]:
    known = cache(_harmless)
    for row in _ROWS:
        for place in _places(row):
            kind, sign, text = place
            label = row.label.replace(sign, text, 1) if sign else row.label
            yield _of_pod(f"{row.control}:{label}", row, place, known(kind, row.harmless))


# Other kinds: what leads to more ------------------------------------------------------------------------------------


def _binding(kind: str, role: str) -> Violation:
    inside = kind == "RoleBinding"
    found = {
        "apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": NAME, "labels": {"app": NAME}},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": USERS[0].name}],
    }  # fmt: skip
    return Violation(
        f"bindings/cluster-admin:{kind}.roleRef={role}", "bindings/cluster-admin", "CREATE",
        Resource(RBAC, "v1", f"{kind.lower()}s"), "",
        partial(_placed, found=found, old=None) if inside else lambda _: (found, None),
        scope="namespace" if inside else "cluster",
        harmless=_binding(kind, "view") if role == "cluster-admin" else None,
    )  # fmt: skip


def _relabelled(space: Space, added: Mapping[str, str | None]) -> tuple[Object, Object]:
    """A namespace that enforces something, with other labels and without some."""
    enforced = space.labels.get(ENFORCE)
    labels = {**space.labels, ENFORCE: enforced if enforced in (BASELINE, RESTRICTED) else RESTRICTED}
    there = {**space.object, "spec": {"finalizers": ["kubernetes"]}}
    new = {name: text for name, text in {**labels, **added}.items() if text is not None}
    return _labelled(there, new), _labelled(there, labels)


def _labelled(there: Object, labels: Mapping[str, str]) -> Object:
    return {**there, "metadata": {**there["metadata"], "labels": labels}}


def _label(said: str, added: Mapping[str, str | None], harmless: Violation | None = None) -> Violation:
    return Violation(
        f"namespaces/pod-security-label:metadata.labels[{ENFORCE}]={said}", "namespaces/pod-security-label", "UPDATE",
        NAMESPACES, "", partial(_relabelled, added=added), harmless=harmless,
    )  # fmt: skip


def _connection(subresource: str, kind: str, **options: Any) -> Violation:
    found = {"apiVersion": "v1", "kind": kind, **options}
    return Violation(f"pods/{subresource}:CONNECT", f"pods/{subresource}", "CONNECT", PODS, subresource,
                     lambda _: (found, None))  # fmt: skip


def _service(**more: Any) -> dict[str, Any]:
    port = {"protocol": "TCP", "port": 80, "targetPort": 8080}
    spec = {"selector": {"app": NAME}, "ports": [port], "type": "ClusterIP", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster"}  # fmt: skip
    metadata = {"name": NAME, "labels": {"app": NAME}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**spec, **more}}


def _of_service(identity: str, harmless: Violation | None = None, **more: Any) -> Violation:
    return Violation(
        identity, "services/external-ips", "CREATE", Resource("", "v1", "services"), "",
        partial(_placed, found=_service(**more), old=None), harmless=harmless,
        hidden=("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "status"),
    )  # fmt: skip


def _token() -> Violation:
    found = {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": "default"},
        "spec": {"audiences": ["api"], "expirationSeconds": 3600, "boundObjectRef": None},
    }  # fmt: skip
    return Violation(
        "serviceaccounts/token:CREATE", "serviceaccounts/token", "CREATE", Resource("", "v1", "serviceaccounts"),
        "token", partial(_placed, found=found, old=None), name="default", hidden=("status",),
    )  # fmt: skip


def _of_other_kinds() -> Iterator[Violation]:
    yield from (_binding(kind, "cluster-admin") for kind in ("RoleBinding", "ClusterRoleBinding"))
    harmless = _label("kept", {"app": NAME})
    yield _label("unset", {ENFORCE: None}, harmless)
    yield _label(PRIVILEGED, {ENFORCE: PRIVILEGED}, harmless)
    both = {"stdin": True, "stdout": True, "tty": True, "container": "app"}
    yield _connection("attach", "PodAttachOptions", **both)
    yield _connection("exec", "PodExecOptions", **both, command=["sh"])
    yield _token()
    plain = _of_service("services:ClusterIP")
    yield _of_service(
        f"services/external-ips:spec.externalIPs={_SERVER}",
        plain,
        externalIPs=[_SERVER],
        externalTrafficPolicy="Cluster",
    )


VIOLATIONS: tuple[Violation, ...] = (*_of_pods(), *_of_other_kinds())
"""All of them: those of pods in the order of the controls, then those of other kinds."""


def _by_control() -> Mapping[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for number, one in enumerate(VIOLATIONS):
        found.setdefault(one.control, []).append(number)
    return {control: tuple(numbers) for control, numbers in found.items()}


CONTROLS = _by_control()
"""The violations of each control, by their numbers."""
