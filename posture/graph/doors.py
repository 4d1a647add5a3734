"""How a cluster is built, edited: what leads in from outside, and whose token pods get.

Sources: a Service of type ClusterIP without externalIPs has no address outside (kubernetes v1.36.3, pkg/proxy; its node
ports are given back: pkg/registry/core/service/strategy.go, dropTypeDependentFields); a pod that does not say whether
it wants a token gets what its ServiceAccount says (plugin/pkg/admission/serviceaccount/admission.go, shouldAutomount).
A workload that runs is edited by a patch: of its template a snapshot holds no literal environment values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Changed, Content, Key, Snapshot
from posture.network.endpoints import PODS, WORKLOADS, key_of, template_of, workload_of
from posture.network.exposure import SERVICES
from posture.patch import FIXED, UnwritableError, difference, patch_of, patched
from posture.rbac.evaluate import SERVICE_ACCOUNTS
from posture.text import listed

from . import crossing
from .hardening import (
    MOUNT,
    Hardened,
    part,
    reshaped,
    without_escape,
    without_host_network,
    without_host_ports,
    without_token,
)
from .nodes import ACCOUNT, WORKLOAD, Edge, Fact, namespace_of
from .sentences import name as name_of

LAST = 1
"""How much of a last resort an edit is: above that only what ends a pod."""
_INJECTED = "kube-api-access-"
_OUTSIDE = ("externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass", "loadBalancerIP",
            "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts")  # fmt: skip
type Row = tuple[str, tuple[Changed, ...], int, tuple[str, ...]]
"""(text, edits, how much of a last resort it is, what breaks and no domain speaks of)"""


def account_of(subject: str) -> Key:
    """The object of a ServiceAccount."""
    namespace, _, name = subject.removeprefix(ACCOUNT).partition("/")
    return Key(SERVICE_ACCOUNTS, namespace, name)


def ways(snapshot: Snapshot, edge: Edge, fact: Fact, users: Iterable[str]) -> Iterator[Row]:
    """How what an edge needs of the way a cluster is built can be edited away, each as a last resort. `users` are the
    workloads that run as the ServiceAccount of the edge.
    """
    if edge.rule == crossing.RUNS_AS:
        yield from _without_account(snapshot, edge, users)
    key = crossing.key_of_fact(fact)
    content = snapshot.get(key) if key else None
    if key is None or content is None:
        return
    if edge.rule in _HARDENED and BY_NAME[key.resource].pod_spec:
        yield from _hardened(snapshot, key, content, edge)
    elif edge.rule == crossing.EXPOSED and key.resource == SERVICES:
        yield f"Make {_name(key)} a ClusterIP", (Changed(key, content, _inner(content)),), LAST, ()
    elif edge.rule == crossing.EXPOSED and key.resource in crossing.DOORS:
        yield f"Delete {_name(key)}", (Changed(key, content, None),), LAST, ()


def _without_account(snapshot: Snapshot, edge: Edge, users: Iterable[str]) -> Iterator[Row]:
    """A ServiceAccount whose token is mounted nowhere but where a pod asks for it."""
    key = account_of(edge.head)
    content = snapshot.get(key)
    if content is not None and content.get(MOUNT) is not False:
        said = tuple(map(_tokenless, users, repeat(_name(key))))
        yield f"Mount no token of {_name(key)}", (Changed(key, content, {**content, MOUNT: False}),), LAST, said


def _tokenless(workload: str, account: str) -> str:
    return f"new pods of {name_of(workload)} get no token of {account}, and may ask the API server for nothing"


def _hardened(snapshot: Snapshot, key: Key, content: Content, edge: Edge) -> Iterator[Row]:
    """A workload that runs otherwise; where Kubernetes takes no such edit, none at all."""
    path = BY_NAME[key.resource].pod_spec.split(".")
    spec = part(content, path)
    if not isinstance(spec, Mapping):
        return
    found = _hardening(snapshot, key, edge, spec)
    if not found.gone or found.spec == spec:
        return
    changed = Changed(key, content, reshaped(content, path, found.spec))
    try:
        patch_of(changed)
    except UnwritableError:
        yield from ending(snapshot, edge)
        return
    if edge.rule == crossing.RUNS_AS and not crossing.mounted(snapshot, key.namespace, "", found.spec):
        said = _tokenless(edge.tail[0], f"ServiceAccount {edge.head.removeprefix(ACCOUNT)}")
        yield f"Mount no token in pods of {_name(key)}", (changed,), LAST, (said,)
    elif edge.rule != crossing.RUNS_AS:
        what = listed(found.gone)
        said = f"{_name(key)} runs without {what}, and what needs that stops"
        yield f"Take {what} out of {_name(key)}", (changed,), LAST, (said,)


def ending(snapshot: Snapshot, edge: Edge) -> Iterator[Row]:
    """The end of the workload that an edge leads to or on from, where how it runs cannot be edited."""
    key = key_of(snapshot, edge.head if edge.rule == crossing.EXPOSED else edge.tail[0])
    content = snapshot.get(key) if key is not None and key.resource in FIXED else None
    if key is None or content is None:
        return
    if not any(owner.get("controller") for owner in content.get("ownerReferences") or ()):  # else it comes again
        yield f"Delete {_name(key)}", (Changed(key, content, None),), LAST + 1, (f"{_name(key)} no longer runs",)


_HARDENED = (crossing.RUNS_AS, crossing.ESCAPES, crossing.METADATA, crossing.EXPOSED)
"""The rules of edges that lead on from a workload, or to it, by how it runs."""


def _hardening(snapshot: Snapshot, key: Key, edge: Edge, spec: Mapping[str, Any]) -> Hardened:
    """A pod specification without what an edge leads on by."""
    if edge.rule == crossing.RUNS_AS:
        return without_token(spec)
    if edge.rule == crossing.ESCAPES:
        return without_escape(spec, crossing.claims(snapshot).get(key.namespace, {}))
    return without_host_network(spec) if edge.rule == crossing.METADATA else without_host_ports(spec)


def _name(key: Key) -> str:
    return f"{BY_NAME[key.resource].kind} {key.namespace}/{key.name}"


def _inner(service: Content) -> Content:
    """A Service that only the cluster reaches."""
    spec = {field: value for field, value in (service.get("spec") or {}).items() if field not in _OUTSIDE}
    ports = [{field: value for field, value in port.items() if field != "nodePort"} for port in spec.get("ports") or ()]
    return {**service, "spec": {**spec, "type": "ClusterIP", "ports": ports}}


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes, and what a restart makes of pods: they differ as their workload's template does, and who does not ask
    for a token gets what its ServiceAccount says.
    """
    given = {change.key: change for change in changed}
    tokenless = {(key.namespace, key.name) for key, _, new in given.values()
                 if key.resource == SERVICE_ACCOUNTS and (new or {}).get(MOUNT) is False}  # fmt: skip
    patches = {f"{WORKLOAD}{key.namespace}/{key.name}[{BY_NAME[key.resource].kind}]": _patch(key, old, new)
               for key, old, new in given.values() if key.resource in WORKLOADS and old and new}  # fmt: skip
    places = {namespace for namespace, _ in tokenless} | {*map(namespace_of, patches)}
    for namespace, name in snapshot.index.get(PODS, {}) if places else ():
        pod = Key(PODS, namespace, name)
        before = snapshot.get(pod) if namespace in places and not _is_gone(given.get(pod)) else None
        if before is None:
            continue
        patch = patches.get(workload_of(snapshot, pod, before)) if patches else None
        after = patched(before, patch) if patch else before
        spec = after.get("spec") or {}
        account = str(spec.get("serviceAccountName") or "default")
        own = spec.get(MOUNT)
        if own is False or (own is None and (namespace, account) in tokenless):
            after = _without_token(after, spec)
        if after != before:
            given[pod] = Changed(pod, before, after)
    return tuple(given.values())


def _is_gone(change: Changed | None) -> bool:
    return change is not None and change.new is None


def _patch(key: Key, old: Content, new: Content) -> Mapping[str, Any]:
    """What differs between two templates, as a patch of a pod."""
    found = difference(*(template_of(key, side) or {} for side in (old, new)))
    metadata = found.pop("metadata", None)
    return {**found, **(metadata or {})}


def _without_token(pod: Content, spec: Mapping[str, Any]) -> Content:
    """A pod without the volume that the API server puts in."""
    volumes = [one for one in spec.get("volumes") or () if not str(one.get("name", "")).startswith(_INJECTED)]
    return {**pod, "spec": {**spec, **({"volumes": volumes} if "volumes" in spec else {})}}
