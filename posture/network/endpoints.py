"""Who sends and receives: pods, folded into classes that no policy can tell apart, of workloads.

Two pods are of one class when they are of one workload and agree in labels and port names; a rollout with two sets of
labels is two classes of one workload. A workload that runs no pod yet is represented by its template: what its pods
will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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


class Endpoint(NamedTuple):
    """A class of pods: equal to every policy. `named` are its container ports: ((name, protocol), number)…

    `node`: it lives in the network of its node. `addresses` are those of its pods (of their nodes then); empty where
    none is known. They come and go with pods and are no part of what the class is.
    """

    workload: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    named: tuple[tuple[tuple[str, str], int], ...]
    node: bool
    addresses: frozenset[int] = frozenset()

    @property
    def what(self) -> tuple[Any, ...]:
        """All but the addresses."""
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
    pods: list[tuple[str, tuple[Any, ...] | None, frozenset[int], frozenset[int]]] = []
    templates: list[tuple[str, Content]] = []
    for key in keys:
        content = snapshot.get(key)
        if content is None:
            continue
        if key.resource != PODS:
            template = template_of(key, content)
            if template is not None:
                templates.append((f"workload:{key.namespace}/{key.name}[{_TEMPLATES[key.resource][0]}]", template))
            continue
        status, spec = content.get("status") or {}, content.get("spec") or {}
        hosts = _numbers([status.get("hostIP"), *(one.get("ip") for one in status.get("hostIPs") or ())])
        own = _numbers(one.get("ip") for one in status.get("podIPs") or ())
        what = None
        if status.get("phase") not in ENDED:
            what = _what(workload_of(snapshot, key, content), key.namespace, content.get("labels"), spec, seen)
            found.setdefault(what, set()).update(hosts if spec.get("hostNetwork") else own)
        pods.append((key.name, what, own, hosts))
    running = {what[0] for what in found}
    for name, template in templates:  # workloads that run no pod: what their templates would make
        if name not in running:
            labels = (template.get("metadata") or {}).get("labels")
            found.setdefault(_what(name, namespace_of(name), labels, template.get("spec") or {}, seen), set())
    made = {what: Endpoint._make((*what, frozenset(found[what]))) for what in sorted(found)}
    return tuple(made.values()), {
        name: Pod(made[what] if what else None, own, hosts) for name, what, own, hosts in pods
    }


def namespace_of(workload: str) -> str:
    """The namespace of `workload:NS/NAME[Kind]`."""
    return workload.partition(":")[2].partition("/")[0]


def template_of(key: Key, content: Content) -> Mapping[str, Any] | None:
    """The pod template of a workload; None for one that another controls, and where there is none."""
    template: Any = content
    for part in _TEMPLATES[key.resource][1]:
        template = (template or {}).get(part)
    return None if controller_of(content) is not None else template


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


def _numbers(given: Iterable[str | None]) -> frozenset[int]:
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


def workload_of(snapshot: Snapshot, key: Key, content: Content) -> str:
    """`workload:NS/NAME[Kind]`: the controller that a pod belongs to in the end, or the pod itself."""
    kind, name = "Pod", key.name
    for _ in range(4):  # pod, ReplicaSet, Deployment, and a controller of its own above that
        owner = controller_of(content)
        if owner is None:
            break
        kind, name = owner["kind"], owner["name"]
        resource = _BY_KIND.get(kind)
        found = snapshot.get(Key(resource, key.namespace, name)) if resource else None
        if found is None:
            break
        content = found
    return f"workload:{key.namespace}/{name}[{kind}]"


def key_of(snapshot: Snapshot, workload: str) -> Key | None:
    """The object that a workload is; None for a controller of a kind that is not read."""
    if not workload.startswith("workload:"):
        return None
    name, _, kind = workload.partition("/")[2].rpartition("[")
    resource = PODS if kind == "Pod]" else _BY_KIND.get(kind.removesuffix("]"))
    key = Key(resource, namespace_of(workload), name) if resource else None
    return key if key is not None and snapshot.entry(key) is not None else None
