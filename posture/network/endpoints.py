"""Who sends and receives: pods, folded into classes that no policy can tell apart, of workloads.

Two pods are of one class when they are of one workload and agree in the labels, port names and addresses that some
policy looks at; a rollout with two sets of labels is two classes of one workload. A workload that runs no pod yet is
represented by its template: what its pods will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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


class Seen(NamedTuple):
    """What policies look at: label keys, port names, and where their blocks of addresses begin and end.

    `pods`: whether the addresses of pods matter beside those of their nodes.
    """

    keys: frozenset[str]
    ports: frozenset[str]
    edges: tuple[int, ...]
    pods: bool


class Endpoint(NamedTuple):
    """A class of pods: equal to every policy. `named` are its container ports: ((name, protocol), number)…

    `node`: it lives in the network of its node. `addresses` are those of its pods (of their node then), as far as
    blocks tell them apart; empty where none is known.
    """

    workload: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    named: tuple[tuple[tuple[str, str], int], ...]
    node: bool
    addresses: frozenset[int]

    def port(self, name: str, protocol: str) -> Iterator[tuple[str, int]]:
        """The ports of a name: (protocol, number); of any protocol for ""."""
        for (found, its), number in self.named:
            if found == name and protocol in ("", its):
                yield its, number


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod as it is asked for. `index` is its class; None when it has ended and neither sends nor receives."""

    index: int | None
    addresses: frozenset[int]
    hosts: frozenset[int]


def folded(snapshot: Snapshot, seen: Seen) -> tuple[tuple[Endpoint, ...], Mapping[tuple[str, str], Pod]]:
    """The classes of a snapshot, sorted, and the pods that are in them."""
    made: list[tuple[tuple[str, str], Endpoint | None, Pod]] = []
    running: set[str] = set()
    for key, content in snapshot.objects(PODS):
        status = content.get("status") or {}
        hosts = _numbers([status.get("hostIP"), *(one.get("ip") for one in status.get("hostIPs") or ())])
        own = _numbers(one.get("ip") for one in status.get("podIPs") or ())
        name = workload_of(snapshot, key, content)
        if status.get("phase") in ENDED:
            made.append(((key.namespace, key.name), None, Pod(None, own, hosts)))
            continue
        running.add(name)
        endpoint = _endpoint(name, key.namespace, content.get("labels"), content.get("spec") or {}, seen)
        if endpoint.node or seen.pods:
            near = (addresses.like(seen.edges, one) for one in (hosts if endpoint.node else own))
            endpoint = endpoint._replace(addresses=frozenset(near))
        made.append(((key.namespace, key.name), endpoint, Pod(None, own, hosts)))
    classes = {endpoint for _, endpoint, _ in made if endpoint is not None}
    classes.update(_future(snapshot, seen, running))
    ordered = tuple(sorted(classes, key=_order))
    index = {endpoint: number for number, endpoint in enumerate(ordered)}
    pods = {
        name: Pod(None if endpoint is None else index[endpoint], pod.addresses, pod.hosts)
        for name, endpoint, pod in made
    }
    return ordered, pods


def _order(endpoint: Endpoint) -> tuple[Any, ...]:
    return (*endpoint[:5], sorted(endpoint.addresses))


def _future(snapshot: Snapshot, seen: Seen, running: set[str]) -> Iterator[Endpoint]:
    """Workloads that run no pod: what their templates would make."""
    for resource, (kind, path) in _TEMPLATES.items():
        for key, content in snapshot.objects(resource):
            template: Any = content
            for part in path:
                template = (template or {}).get(part)
            if template is None or _controller(content) is not None:
                continue
            name = f"workload:{key.namespace}/{key.name}[{kind}]"
            if name not in running:
                labels = (template.get("metadata") or {}).get("labels")
                yield _endpoint(name, key.namespace, labels, template.get("spec") or {}, seen)


def _endpoint(
    workload: str, namespace: str, labels: Mapping[str, str] | None, spec: Mapping[str, Any], seen: Seen
) -> Endpoint:
    kept = tuple(sorted((key, value) for key, value in (labels or {}).items() if key in seen.keys))
    node = bool(spec.get("hostNetwork"))
    return Endpoint(workload, namespace, kept, _named(spec, seen.ports), node, frozenset())


def _named(spec: Mapping[str, Any], wanted: frozenset[str]) -> tuple[tuple[tuple[str, str], int], ...]:
    """Container ports by name, the first of a name: as pkg/api/v1/pod FindPort, sidecars behind containers."""
    found: dict[tuple[str, str], int] = {}
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") in wanted:
                found.setdefault((port["name"], port.get("protocol") or "TCP"), port["containerPort"])
    return tuple(sorted(found.items()))


def _numbers(given: Iterable[str | None]) -> frozenset[int]:
    found = set()
    for address in given:
        try:
            found.add(addresses.number(address or ""))
        except ValueError:
            continue  # an address that is none is not known
    return frozenset(found)


def _controller(content: Content) -> Mapping[str, Any] | None:
    return next((owner for owner in content.get("ownerReferences") or () if owner.get("controller")), None)


def workload_of(snapshot: Snapshot, key: Key, content: Content) -> str:
    """`workload:NS/NAME[Kind]`: the controller that a pod belongs to in the end, or the pod itself."""
    kind, name = "Pod", key.name
    for _ in range(4):  # pod, ReplicaSet, Deployment, and a controller of its own above that
        owner = _controller(content)
        if owner is None:
            break
        kind, name = owner["kind"], owner["name"]
        resource = _BY_KIND.get(kind)
        found = snapshot.get(Key(resource, key.namespace, name)) if resource else None
        if found is None:
            break
        content = found
    return f"workload:{key.namespace}/{name}[{kind}]"
