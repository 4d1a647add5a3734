"""How a cluster is built, edited: what leads in from outside, and whose token pods get.

Sources: a Service of type ClusterIP without externalIPs has no address outside (kubernetes v1.36.3, pkg/proxy; its node
ports are given back: pkg/registry/core/service/strategy.go, dropTypeDependentFields); a pod that does not say whether
it wants a token gets what its ServiceAccount says (plugin/pkg/admission/serviceaccount/admission.go, shouldAutomount).
A workload itself is not edited: of its template a snapshot holds no literal environment values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Changed, Content, Key, Snapshot
from posture.network.endpoints import PODS
from posture.network.exposure import SERVICES
from posture.rbac.evaluate import SERVICE_ACCOUNTS

from . import crossing
from .nodes import ACCOUNT, Edge, Fact
from .sentences import name as name_of

_MOUNT = "automountServiceAccountToken"
_INJECTED = "kube-api-access-"
_OUTSIDE = ("externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass", "loadBalancerIP",
            "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts")  # fmt: skip
type Row = tuple[str, tuple[Changed, ...], bool, tuple[str, ...]]
"""(text, edits, whether it is a last resort, what breaks and no domain speaks of)"""


def account_of(subject: str) -> Key:
    """The object of a ServiceAccount."""
    namespace, _, name = subject.removeprefix(ACCOUNT).partition("/")
    return Key(SERVICE_ACCOUNTS, namespace, name)


def ways(snapshot: Snapshot, edge: Edge, fact: Fact, users: Iterable[str]) -> Iterator[Row]:
    """How what an edge needs of the way a cluster is built can be edited away, each as a last resort. `users` are the
    workloads that run as the ServiceAccount of the edge.
    """
    key = account_of(edge.head) if edge.rule == crossing.RUNS_AS else crossing.key_of_fact(fact)
    content = snapshot.get(key) if key else None
    if key is None or content is None:
        return
    name = f"{BY_NAME[key.resource].kind} {key.namespace}/{key.name}"
    if edge.rule == crossing.RUNS_AS:
        said = tuple(f"new pods of {name_of(one)} get no token of {name}, and may ask the API server for nothing"
                     for one in users)  # fmt: skip
        yield f"Mount no token of {name}", (Changed(key, content, {**content, _MOUNT: False}),), True, said
    elif edge.rule == crossing.EXPOSED and key.resource == SERVICES:
        yield f"Make {name} a ClusterIP", (Changed(key, content, _inner(content)),), True, ()
    elif edge.rule == crossing.EXPOSED:
        yield f"Delete {name}", (Changed(key, content, None),), True, ()


def _inner(service: Content) -> Content:
    """A Service that only the cluster reaches."""
    spec = {field: value for field, value in (service.get("spec") or {}).items() if field not in _OUTSIDE}
    ports = [{field: value for field, value in port.items() if field != "nodePort"} for port in spec.get("ports") or ()]
    return {**service, "spec": {**spec, "type": "ClusterIP", "ports": ports}}


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes, and what a restart makes of pods: who does not ask for a token gets what its ServiceAccount says."""
    given = {change.key: change for change in changed}
    tokenless = {(key.namespace, key.name) for key, _, new in given.values()
                 if key.resource == SERVICE_ACCOUNTS and (new or {}).get(_MOUNT) is False}  # fmt: skip
    for namespace, name in snapshot.index.get(PODS, {}) if tokenless else ():
        pod = Key(PODS, namespace, name)
        before = given[pod].new if pod in given else snapshot.get(pod)
        spec = (before or {}).get("spec") or {}
        account = str(spec.get("serviceAccountName") or "default")
        if before is not None and (namespace, account) in tokenless and spec.get(_MOUNT) is not True:
            given[pod] = Changed(pod, snapshot.get(pod), _without_token(before, spec))
    return tuple(given.values())


def _without_token(pod: Content, spec: Mapping[str, Any]) -> Content:
    volumes = [one for one in spec.get("volumes") or () if not str(one.get("name", "")).startswith(_INJECTED)]
    return {**pod, "spec": {**spec, **({"volumes": volumes} if "volumes" in spec else {})}}
