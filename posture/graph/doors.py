"""How a cluster is built, edited: what leads in from outside, and whose token a workload's pods get.

Sources: a Service of type ClusterIP without externalIPs has no address outside (kubernetes v1.36.3, pkg/proxy);
`automountServiceAccountToken: false` in a pod wins over its ServiceAccount (plugin/pkg/admission/serviceaccount).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Changed, Content, Key, Snapshot, Through
from posture.network.endpoints import PODS, WORKLOADS, template_of, workload_of
from posture.network.exposure import SERVICES

from . import crossing
from .nodes import Edge, Fact

_MOUNT = "automountServiceAccountToken"
_INJECTED = "kube-api-access-"
_OUTSIDE = ("externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass", "loadBalancerIP",
            "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts")  # fmt: skip
type Row = tuple[str, tuple[Changed, ...], bool, tuple[str, ...]]
"""(text, edits, whether it is a last resort, what breaks and no domain speaks of)"""


def key_of(through: Through) -> Key:
    """The object behind something to edit; a resource that is named by its kind, or by its first word."""
    kinds = (BY_NAME[name] for name in (*crossing.DOORS, PODS, *WORKLOADS))
    found = (kind.name for kind in kinds if through.kind in (kind.kind, kind.name.partition(".")[0]))
    return Key(next(found, ""), through.namespace, through.name)


def named(key: Key) -> str:
    """An object for people: `Service pay/web`."""
    return f"{BY_NAME[key.resource].kind} {key.namespace}/{key.name}"


def ways(snapshot: Snapshot, edge: Edge, fact: Fact) -> Iterator[Row]:
    """How what an edge needs of the way a cluster is built can be edited away."""
    key = key_of(fact.through)
    content = snapshot.get(key)
    if content is None:
        return
    if edge.rule == crossing.RUNS_AS and key.resource in WORKLOADS:
        new = _tokenless(content, key.resource)
        if new is not None:
            account = edge.head.partition(":")[2]
            said = f"pods of {fact.subject} get no token of {account}: whatever they ask the API server for is refused"
            yield f"Mount no token in the pods of {named(key)}", (Changed(key, content, new),), True, (said,)
    elif edge.rule == crossing.EXPOSED and key.resource == SERVICES:
        yield f"Make {named(key)} a ClusterIP", (Changed(key, content, _inner(content)),), True, ()
    elif edge.rule == crossing.EXPOSED:
        yield f"Delete {named(key)}", (Changed(key, content, None),), True, ()


def _inner(service: Content) -> Content:
    """A Service that only the cluster reaches."""
    spec = {field: value for field, value in (service.get("spec") or {}).items() if field not in _OUTSIDE}
    ports = [{field: value for field, value in port.items() if field != "nodePort"} for port in spec.get("ports") or ()]
    rest = {field: value for field, value in service.items() if field != "status"}
    return {**rest, "spec": {**spec, "type": "ClusterIP", "ports": ports}}


def _tokenless(content: Content, resource: str) -> Content | None:
    """A workload whose pods get no token; None where they ask for one themselves."""
    template = template_of(Key(resource, "", ""), content) or {}
    volumes = (template.get("spec") or {}).get("volumes") or ()
    if any("serviceAccountToken" in source for volume in volumes
           for source in (volume.get("projected") or {}).get("sources") or ()):  # fmt: skip
        return None
    path = (
        ("spec", "jobTemplate", "spec", "template", "spec") if "cronjobs" in resource else ("spec", "template", "spec")
    )
    return _with(content, path, _MOUNT, value=False)


def _with(content: Mapping[str, Any], path: tuple[str, ...], field: str, *, value: object) -> Content:
    if not path:
        return {**content, field: value}
    return {**content, path[0]: _with(content.get(path[0]) or {}, path[1:], field, value=value)}


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes, and what a rollout makes of them: the pods of a workload without a token have none either."""
    given = {change.key: change for change in changed}
    for key, _, new in [*given.values()]:
        template = template_of(key, new) if key.resource in WORKLOADS and new is not None else None
        if (template or {}).get("spec", {}).get(_MOUNT) is not False:
            continue
        workload = f"workload:{key.namespace}/{key.name}[{BY_NAME[key.resource].kind}]"
        for namespace, name in snapshot.index.get(PODS, {}):
            pod = Key(PODS, namespace, name)
            before = snapshot.get(pod) if namespace == key.namespace else None
            if before is not None and workload_of(snapshot, pod, before) == workload:
                after = given[pod].new if pod in given else before
                if after is not None:
                    given[pod] = Changed(pod, before, _without_token(after))
    return tuple(given.values())


def _without_token(pod: Content) -> Content:
    spec = pod.get("spec") or {}
    volumes = [one for one in spec.get("volumes") or () if not str(one.get("name", "")).startswith(_INJECTED)]
    return {**pod, "spec": {**spec, _MOUNT: False, **({"volumes": volumes} if "volumes" in spec else {})}}
