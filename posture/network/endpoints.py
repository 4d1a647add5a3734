"""Who sends and receives: pods, folded into classes that no policy can tell apart, of workloads.

Two pods are of one class when they are of one workload and agree in labels and port names; a rollout with two sets of
labels is two classes of one workload. A workload that runs no pod yet is represented by its template: what its pods
will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from posture import selectors
from posture.model import Content, Key, Snapshot

from . import addresses

PODS = "pods"
NAME_LABEL = "kubernetes.io/metadata.name"
_TEMPLATES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "replicationcontrollers": ("ReplicationController", ("spec", "template")),
    "replicasets.apps": ("ReplicaSet", ("spec", "template")),
    "deployments.apps": ("Deployment", ("spec", "template")),
    "statefulsets.apps": ("StatefulSet", ("spec", "template")),
    "daemonsets.apps": ("DaemonSet", ("spec", "template")),
    "jobs.batch": ("Job", ("spec", "template")),
    "cronjobs.batch": ("CronJob", ("spec", "jobTemplate", "spec", "template")),
}
WORKLOADS = tuple(_TEMPLATES)
_BY_KIND = {kind: resource for resource, (kind, _) in _TEMPLATES.items()}
_POD = "Pod"
_CONTROLLERS: Mapping[str, frozenset[str]] = {
    PODS: frozenset({"ReplicationController", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"}),
    "replicasets.apps": frozenset({"Deployment"}),
    "jobs.batch": frozenset({"CronJob"}),
}
"""The kinds that control what: anybody may write any owner reference, and no controller believes it."""
NAMESPACE = "namespace:"
"""How a namespace is named as a subject: for the pods that it may get, or lacks a policy for."""
ENDED = frozenset({"Succeeded", "Failed"})


VOLATILE = frozenset(
    {
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "job-name",
        "controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
    }
)
"""Labels that controllers give to single pods or rollouts. They tell pods apart only where a policy looks at them."""
_UNKNOWN = "\N{HORIZONTAL ELLIPSIS}"
"""A value that no selector can name: the label is there, and none of the values that a policy lists."""
_OF_JOBS = ("job-name", "batch.kubernetes.io/job-name", "controller-uid", "batch.kubernetes.io/controller-uid")
_ADDED: Mapping[str, Mapping[str, str]] = {
    "deployments.apps": {"pod-template-hash": _UNKNOWN},
    "statefulsets.apps": {
        "controller-revision-hash": _UNKNOWN,
        "statefulset.kubernetes.io/pod-name": "{name}-0",
        "apps.kubernetes.io/pod-index": "0",
    },
    "daemonsets.apps": {"controller-revision-hash": _UNKNOWN, "pod-template-generation": _UNKNOWN},
    "jobs.batch": {label: "{name}" if label.endswith("job-name") else _UNKNOWN for label in _OF_JOBS},
    "cronjobs.batch": dict.fromkeys(_OF_JOBS, _UNKNOWN),
}
"""What controllers add to the labels of a template. A ReplicaSet that no Deployment controls adds nothing."""


class Endpoint(NamedTuple):
    """A class of pods: equal to every policy. `named` are its container ports: ((name, protocol), number)…

    `node`: it lives in the network of its node. `addresses` are those of its pods (of their nodes then); empty where
    none is known. They come and go with pods and are no part of what the class is, nor is `host`: which of its ports
    are reached at ports of its nodes, ((protocol, port of the node), port of the pod)….
    """

    workload: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    named: tuple[tuple[tuple[str, str], int], ...]
    node: bool
    addresses: frozenset[int] = frozenset()
    host: tuple[tuple[tuple[str, int], int], ...] = ()

    @property
    def what(self) -> tuple[Any, ...]:
        """All but the addresses, its own and its nodes'."""
        return self[:5]

    def port(self, name: str, protocol: str) -> Iterator[tuple[str, int]]:
        """The ports of a name: (protocol, number); of any protocol for ""."""
        for (found, its), number in self.named:
            if found == name and name and protocol in ("", its):
                yield its, number


class Pod(NamedTuple):
    """One pod as it is asked for. `endpoint` is its class; None when it has ended and neither sends nor receives."""

    endpoint: Endpoint | None
    addresses: frozenset[int]
    hosts: frozenset[int]


def folded(
    snapshot: Snapshot, keys: Iterable[Key], seen: frozenset[str]
) -> tuple[tuple[Endpoint, ...], Mapping[str, Pod]]:
    """The pods and workloads among the objects of one namespace as classes, sorted, and the pods by name.

    `seen` are the volatile labels that some policy looks at.
    """
    found: dict[tuple[Any, ...], set[int]] = {}
    hosted: dict[tuple[Any, ...], set[tuple[tuple[str, int], int]]] = {}
    pods: list[tuple[str, tuple[Any, ...] | None, frozenset[int], frozenset[int]]] = []
    templates: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = []
    for key in keys:
        content = snapshot.get(key)
        if content is None:
            continue
        if key.resource != PODS:
            template = template_of(key, content)
            if template is not None and not _is_hidden(snapshot, key, content):
                name, spec = workload_of(snapshot, key, content), template.get("spec") or {}
                templates.append((_what(name, key.namespace, _made(key, content, template), spec, seen), spec))
            continue
        status, spec = content.get("status") or {}, content.get("spec") or {}
        hosts = numbers([status.get("hostIP"), *(one.get("ip") for one in status.get("hostIPs") or ())])
        own = numbers(one.get("ip") for one in status.get("podIPs") or ())
        what = None
        if status.get("phase") not in ENDED:
            what = _what(workload_of(snapshot, key, content), key.namespace, content.get("labels"), spec, seen)
            found.setdefault(what, set()).update(hosts if spec.get("hostNetwork") else own)
            hosted.setdefault(what, set()).update(_hosted(spec))
        pods.append((key.name, what, own, hosts))
    running: dict[str, list[tuple[Any, ...]]] = {}
    for what in found:
        running.setdefault(what[0], []).append(what[2])
    for what, spec in templates:  # what their pods will be, unless there are such pods already
        lasting = {pair for pair in what[2] if pair[0] not in VOLATILE}
        if not any(lasting <= {*labels} for labels in running.get(what[0], ())):
            found.setdefault(what, set())
            hosted.setdefault(what, set()).update(_hosted(spec))
    made = {
        what: Endpoint._make((*what, frozenset(found[what]), tuple(sorted(hosted[what])))) for what in sorted(found)
    }
    return tuple(made.values()), {
        name: Pod(made[what] if what else None, own, hosts) for name, what, own, hosts in pods
    }


def namespace_of(workload: str) -> str:
    """The namespace of `workload:NS/NAME[Kind]`."""
    return workload.partition(":")[2].partition("/")[0]


def template_of(key: Key, content: Content) -> Mapping[str, Any] | None:
    """The pod template of a workload; None where none is kept."""
    template: Mapping[str, Any] | None = content
    for part in _TEMPLATES[key.resource][1]:
        template = (template or {}).get(part)
    return template


def _is_hidden(snapshot: Snapshot, key: Key, content: Content) -> bool:
    """Whether the template of a workload is that of another, which controls it and is there."""
    owner = _owner(key.resource, content)
    return owner is not None and owner.resource is not None and snapshot.entry(owner.key(key.namespace)) is not None


def _made(key: Key, content: Content, template: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of the pods of a template.

    A Job with a selector adds nothing: the API server wrote both into it, or it asks for labels of its own.
    """
    labels = (template.get("metadata") or {}).get("labels") or {}
    if key.resource == "jobs.batch" and (content.get("spec") or {}).get("selector"):
        return labels
    added = {label: value.format(name=key.name) for label, value in _ADDED.get(key.resource, {}).items()}
    return {**labels, **added}


def _what(
    workload: str, namespace: str, labels: Mapping[str, str] | None, spec: Mapping[str, Any], seen: frozenset[str]
) -> tuple[Any, ...]:
    kept = tuple(sorted(pair for pair in (labels or {}).items() if pair[0] in seen or pair[0] not in VOLATILE))
    return workload, namespace, kept, _named(spec), bool(spec.get("hostNetwork"))


def _containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Containers, and sidecars behind them."""
    yield from spec.get("containers") or ()
    yield from (one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always")


def _named(spec: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], int], ...]:
    """Container ports, by name if they have one. One that several containers use is any of their ports."""
    found = {
        ((str(port.get("name") or ""), port.get("protocol") or "TCP"), port["containerPort"])
        for container in _containers(spec)
        for port in container.get("ports") or ()
        if isinstance(port.get("containerPort"), int)
    }
    return tuple(sorted(found))


def _hosted(spec: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int], int]]:
    """Container ports that are reached at a port of the node, but for those at its loopback address.

    In the node's network itself a container listens where it wants, whatever it says: its ports are none of these.
    """
    for container in () if spec.get("hostNetwork") else _containers(spec):
        for port in container.get("ports") or ():
            at, number, address = port.get("hostPort"), port.get("containerPort"), str(port.get("hostIP") or "")
            local = address.startswith("127.") or address == "::1"
            if isinstance(at, int) and isinstance(number, int) and at and not local:
                yield (port.get("protocol") or "TCP", at), number


def numbers(given: Iterable[str | None]) -> frozenset[int]:
    """Addresses as numbers; what is none is left out."""
    found = set()
    for address in given:
        try:
            found.add(addresses.number(address or ""))
        except ValueError:
            continue  # an address that is none is not known
    return frozenset(found)


def controller_of(content: Content) -> Mapping[str, Any] | None:
    """The owner reference of what controls an object."""
    return next((owner for owner in content.get("ownerReferences") or () if owner.get("controller")), None)


class _Owner(NamedTuple):
    """What controls an object; `resource` is None for a kind that is not read."""

    kind: str
    name: str
    resource: str | None

    def key(self, namespace: str) -> Key:
        """Where it is."""
        return Key(self.resource or "", namespace, self.name)


def _owner(resource: str, content: Content) -> _Owner | None:
    """What controls an object; None where an owner reference names what never controls such objects."""
    given = controller_of(content) or {}
    kind, name = given.get("kind"), given.get("name")
    if not kind or not name or kind == _POD:
        return None
    above = _BY_KIND.get(kind)
    if above is not None:
        group = (given.get("apiVersion") or "").rpartition("/")[0]
        if group != above.partition(".")[2] or kind not in _CONTROLLERS.get(resource, ()):
            return None
    return _Owner(kind, name, above)


def workload_of(snapshot: Snapshot, key: Key, content: Content) -> str:
    """`workload:NS/NAME[Kind]`: the controller that a pod or a workload belongs to in the end, or it itself.

    A pod that a controller on the way does not select is none of its pods, whatever its owner reference says.
    """
    own = _POD if key.resource == PODS else _TEMPLATES[key.resource][0]
    kind, name, resource, at = own, key.name, key.resource, content
    for _ in range(4):  # pod, ReplicaSet, Deployment, and a controller of its own above that
        owner = _owner(resource, at)
        if owner is None:
            break
        kind, name = owner.kind, owner.name
        found = snapshot.get(owner.key(key.namespace)) if owner.resource else None
        if owner.resource is None or found is None:
            break
        if key.resource == PODS and not _selects(owner.resource, found, content.get("labels") or {}):
            kind, name = own, key.name
            break
        resource, at = owner.resource, found
    return f"workload:{key.namespace}/{name}[{kind}]"


def _selects(resource: str, content: Content, labels: Mapping[str, str]) -> bool:
    """Whether a controller selects pods of some labels; true where its selector is not kept."""
    selector = (content.get("spec") or {}).get("selector")
    if not selector:
        return True
    return selectors.matches({"matchLabels": selector} if resource == "replicationcontrollers" else selector, labels)


def key_of(snapshot: Snapshot, workload: str) -> Key | None:
    """The object that a workload is; None for a controller of a kind that is not read."""
    if not workload.startswith("workload:"):
        return None
    name, _, kind = workload.partition("/")[2].rpartition("[")
    resource = PODS if kind == f"{_POD}]" else _BY_KIND.get(kind.removesuffix("]"))
    key = Key(resource, namespace_of(workload), name) if resource else None
    return key if key is not None and snapshot.entry(key) is not None else None
