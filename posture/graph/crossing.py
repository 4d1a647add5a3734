"""Edges that cross from one domain to another: what runs as whom and where, what may be reached from outside.

Sources: a token is mounted unless the pod, or else its ServiceAccount, says no (kubernetes v1.36.3,
plugin/pkg/admission/serviceaccount/admission.go, shouldAutomount); what has a node's root has its pods and their tokens
(pkg/kubelet/volumemanager); a DaemonSet runs on every node that its template allows (pkg/controller/daemon); instance
metadata at 169.254.169.254 is the clouds' convention. A cloud's identity needs no token for the API server: on EKS a
webhook mounts one of its own into each pod of an annotated ServiceAccount (aws/amazon-eks-pod-identity-webhook,
pkg/handler/handler.go, MutatePod), on AKS into those that are labelled azure.workload.identity/use (Azure Workload
Identity, Service Account Labels and Annotations), on GKE the node's metadata server gives it to pods that have a
network of their own, which need a way to it (Workload Identity Federation for GKE: 169.254.169.254 on port 80 with
Dataplane V2, else 169.254.169.252 on port 988).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from posture.kinds import API_RESOURCES, BY_NAME
from posture.model import Key, Snapshot, Through
from posture.network import addresses
from posture.network.allowed import NON_ISOLATED, pieces_of
from posture.network.compare import representatives
from posture.network.connectivity import Connectivity, Space
from posture.network.effect import ends
from posture.network.endpoints import ENDED, NAMESPACE, PODS, WORKLOADS, Endpoint, key_of, template_of, workload_of
from posture.network.exposure import GATEWAYS, INGRESSES, ROUTES, SERVICES, SLICES, Entry, entries
from posture.network.policies import Direction
from posture.network.ports import span
from posture.network.regions import Term
from posture.rbac import cloud
from posture.rbac.evaluate import CLUSTER_ROLES, ROLES, SERVICE_ACCOUNTS

from .escapes import escape, with_claims
from .nodes import CLOUD, EVERY_NODE, MACHINE, NODE, NODE_IDENTITY, OUTSIDE, STRUCTURE, Edge, Fact

DOORS = (SERVICES, SLICES, INGRESSES, GATEWAYS, *ROUTES)
"""The kinds that lead in from outside."""
DOOR_KINDS = frozenset(BY_NAME[resource].kind for resource in DOORS)
VOLUMES = "persistentvolumes"
WORKLOAD_KINDS = (PODS, *WORKLOADS)
"""The kinds that say how something runs."""
RUNS_AS, ON_NODE, ESCAPES, RUNS_THERE = "runs-as", "runs-on", "privileged-workload", "pods-of-node"
EXPOSED, METADATA, ASSUMES = "exposed-to-outside", "cloud-metadata", "assumes-cloud-identity"
METADATA_ADDRESS = addresses.union([addresses.network("169.254.169.254/32")])
_GKE_ADDRESS = addresses.union([addresses.network("169.254.169.252/32")])
_PRIVATE = ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "224.0.0.0/3", "::/3", "fc00::/7", "fe80::/10", "ff00::/8")  # fmt: skip
PUBLIC = addresses.minus(addresses.EVERYWHERE, addresses.union(map(addresses.network, _PRIVATE)))
"""The addresses of the outside: those that are nobody's own (RFC 1918, 4193, 6598, 6890)."""
_AT = ((METADATA_ADDRESS, span("TCP", 80, 80)),)
"""Where instance metadata is: at which addresses, on which ports."""
_AT_GKE = (*_AT, (_GKE_ADDRESS, span("TCP", 988, 988)))
_LABEL_OF_AZURE = "azure.workload.identity/use"
EVERYWHERE = "*"
"""In place of nodes: on every one."""


class Runs(NamedTuple):
    """How a workload runs: as which ServiceAccounts (names, of those whose token its pods have), on which nodes (of
    those that its pods name; EVERYWHERE if none does and it is meant for all), and by what it has a node's root ("" if
    it has not). `unmounted` are ServiceAccounts as which it runs without their token, and `clouds` those of these whose
    identities in a cloud it has all the same: (name, identity).
    """

    accounts: frozenset[str]
    nodes: frozenset[str]
    escape: str
    through: Through
    unmounted: frozenset[str] = frozenset()
    clouds: frozenset[tuple[str, str]] = frozenset()
    held: frozenset[str] = frozenset()
    """Of the nodes those of which it has the root: all, where its template is privileged, else those of such pods."""

    def and_(self, other: Runs) -> Runs:
        """With other pods of it."""
        return Runs(
            self.accounts | other.accounts, self.nodes | other.nodes, self.escape or other.escape, self.through,
            self.unmounted | other.unmounted, self.clouds | other.clouds, self.held | other.held,
        )  # fmt: skip


def claims(snapshot: Snapshot) -> Mapping[str, Mapping[str, str]]:
    """The paths of nodes that PersistentVolumeClaims are, by namespace and name; of most nobody knows one."""
    kept = snapshot.derived_from(VOLUMES)
    if "claims" not in kept:
        found: dict[str, dict[str, str]] = {}
        for _, content in snapshot.objects(VOLUMES):
            namespace, _, name = str(content.get("claim", "")).partition("/")
            if name:
                found.setdefault(namespace, {})[name] = content["path"]
        kept["claims"] = found
    known: Mapping[str, Mapping[str, str]] = kept["claims"]
    return known


def workloads(snapshot: Snapshot, keys: Iterable[Key], paths: Mapping[str, str]) -> dict[str, Runs]:
    """The workloads of a namespace, of whose objects these are the keys; `paths` are those of its claims. Pods that
    have ended are none.
    """
    found: dict[str, Runs] = {}
    widely: list[str] = []
    wholly: list[str] = []
    for key in sorted(keys):  # of several pods of a controller that is not read the first is what one would edit
        content = snapshot.get(key) if key.resource in (PODS, *WORKLOADS) else None
        if content is None:
            continue
        pod: Any = content if key.resource == PODS else template_of(key, content) or {}
        spec = pod.get("spec")
        ended = (content.get("status") or {}).get("phase") in ENDED
        if not isinstance(spec, Mapping) or ended:
            continue
        name = workload_of(snapshot, key, content)
        node = spec.get("nodeName") if key.resource == PODS else None
        account = str(spec.get("serviceAccountName") or "default")
        has = mounted(snapshot, key.namespace, account, spec)
        mine = Runs(
            frozenset({account} if has else ()), frozenset({str(node)} if node else ()),
            escape(with_claims(spec, paths)), _through(snapshot, name, key), frozenset(() if has else {account}),
            frozenset(() if has else _clouds(snapshot, Key(SERVICE_ACCOUNTS, key.namespace, account), pod)),
        )  # fmt: skip
        mine = mine._replace(held=mine.nodes) if mine.escape else mine
        found[name] = found[name].and_(mine) if name in found else mine
        if key.resource != PODS and mine.escape:
            wholly.append(name)
        if key.resource == "daemonsets.apps" and not spec.get("nodeSelector") and not spec.get("affinity"):
            widely.append(name)
    for name in wholly:
        found[name] = found[name]._replace(held=found[name].nodes)
    for name in widely:
        if not found[name].nodes:
            found[name] = found[name]._replace(nodes=frozenset({EVERYWHERE}), held=frozenset({EVERYWHERE}))
    return found


_BY_KIND = {
    BY_NAME[resource].kind: resource
    for resource in (*WORKLOAD_KINDS, SERVICE_ACCOUNTS, CLUSTER_ROLES, ROLES, *DOORS, VOLUMES)
} | {"CustomResourceDefinition": API_RESOURCES}
"""The kinds that facts name as what one would edit, each with its resource."""


def _through(snapshot: Snapshot, workload: str, key: Key) -> Through:
    """The object to edit: the controller where it is read, else the pod itself."""
    found = key_of(snapshot, workload) or key
    return Through(BY_NAME[found.resource].kind, found.namespace, found.name)


def mounted(snapshot: Snapshot, namespace: str, account: str, spec: Mapping[str, Any]) -> bool:
    """Whether a pod of this specification has a token of its ServiceAccount for the API server."""
    own = spec.get("automountServiceAccountToken")
    if own is None:
        own = (snapshot.get(Key(SERVICE_ACCOUNTS, namespace, account)) or {}).get("automountServiceAccountToken")
    return own is not False or any(
        isinstance(token := source.get("serviceAccountToken"), Mapping) and _is_for_server(token.get("audience"))
        for volume in _all(spec, "volumes") for source in _all(volume.get("projected"), "sources")
    )  # fmt: skip


def _clouds(snapshot: Snapshot, account: Key, pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The cloud identities that a pod, or a template of pods, has by the annotations of its ServiceAccount."""
    labels = (pod if "labels" in pod else pod.get("metadata") or {}).get("labels") or {}
    without = {
        "azure" if labels.get(_LABEL_OF_AZURE) != "true" else "",
        "gcp" if pod["spec"].get("hostNetwork") else "",
    }
    for identity in cloud.identities(snapshot.get(account) or {}):
        if identity.partition(":")[0] not in without:
            yield account.name, identity


def _is_for_server(audience: Any) -> bool:
    """Whether the API server takes a token: one for nobody in particular, or for the issuer that most servers have."""
    return not audience or "kubernetes.default" in str(audience)


def _all(given: Any, field: str) -> Iterator[Mapping[str, Any]]:
    found = given.get(field) if isinstance(given, Mapping) else None
    yield from (one for one in found or () if isinstance(one, Mapping))


def of_workload(name: str, runs: Runs, namespace: str) -> Iterator[Edge]:
    """What whoever has taken a workload over holds: its ServiceAccounts, and its nodes where it is privileged."""
    needs = (frozenset({Fact(STRUCTURE, name, namespace, runs.through)}),)
    for account in sorted(runs.accounts):
        yield Edge((name,), f"serviceaccount:{namespace}/{account}", RUNS_AS, needs)
    if runs.escape:
        yield Edge((name,), NODE, ESCAPES, needs)
        for node in sorted(runs.held):  # that of EVERYWHERE is EVERY_NODE
            yield Edge((name,), f"{MACHINE}{node}", ESCAPES, needs)


def of_every_node() -> Iterator[Edge]:
    """Who has every node has every workload."""
    yield Edge((EVERY_NODE,), NODE, ON_NODE)
    yield Edge((EVERY_NODE,), "workload:*/*", RUNS_THERE)


# The network --------------------------------------------------------------------------------------------------------


def exposed(live: Connectivity) -> Iterator[Edge]:
    """The workloads that somebody outside reaches through a Service, an Ingress or a Route, as policies let him.

    A way in is held for a way to take the workload over. What a policy may or may not allow is no edge. Behind an
    Ingress or a Gateway requests come from its controller's pods: some pod of another namespace must be let in.
    """
    for entry in entries(live.snapshot, live.classes):
        one = entry.endpoint
        lets = frozenset(_letting(live, one, entry.ports, through_pods=entry.how in ("Ingress", "Gateway")))
        if one.node or lets:
            door = frozenset({_door(entry)})
            yield Edge((OUTSIDE,), one.workload, EXPOSED, (door, lets) if lets else (door,))


def unsure(live: Connectivity) -> Iterator[str]:
    """The workloads that something leads to from outside, and nobody can say whether policies let it in."""
    for entry in entries(live.snapshot, live.classes):
        one = entry.endpoint
        if not one.node and live.spaces[one.namespace].profile(one, "ingress").unknown:
            yield one.workload


def doors(live: Connectivity) -> Iterator[Fact]:
    """What leads in from outside, whether policies let anybody pass or not."""
    yield from map(_door, entries(live.snapshot, live.classes))


def _door(entry: Entry) -> Fact:
    one, by = entry.endpoint, entry.by
    return Fact(STRUCTURE, one.workload, one.namespace, Through(BY_NAME[by.resource].kind, by.namespace, by.name))


def key_of_fact(fact: Fact) -> Key | None:
    """The object that a fact of this module is about."""
    through = fact.through
    found = _BY_KIND.get(through.kind)
    return Key(found, through.namespace, through.name) if found else None


def _letting(live: Connectivity, one: Endpoint, ports: int, *, through_pods: bool) -> Iterator[Fact]:
    """What lets the outside in at some ports of a class."""
    space = live.spaces[one.namespace]
    if one.node or space.profile(one, "ingress").unknown:
        return
    for piece in pieces_of(space, one, "ingress"):
        if not piece.ports.at(one) & ports:
            continue
        world = piece.who is None and addresses.common(piece.ranges, PUBLIC)
        pods = through_pods and isinstance(piece.who, Term) and any(
            not name.startswith(f"workload:{one.namespace}/") for name in ends(live).users(one, "ingress", piece, 5)
        )  # fmt: skip
        if world or pods:
            yield _fact(one, piece.through)


def of_new_pods(live: Connectivity, namespace: str) -> frozenset[Fact]:
    """What lets a pod that somebody makes in a namespace talk to the metadata service: its labels are its author's.

    Looked at are a pod without labels, and one that each policy in use selects.
    """
    space = live.spaces.get(namespace)
    if space is None:
        return frozenset()
    mine = (one._replace(workload=f"{NAMESPACE}{namespace}") for one, _ in representatives(space))
    return frozenset(fact for one in mine for fact in _to_metadata(space, one, present=False))


def _to_metadata(
    space: Space, one: Endpoint, *, present: bool = True, at: Iterable[tuple[addresses.Ranges, int]] = _AT
) -> Iterator[Fact]:
    """What lets a class talk to the metadata service; nothing where nobody knows."""
    direction: Direction = "egress"
    for piece in () if space.profile(one, direction).unknown else pieces_of(space, one, direction, present=present):
        if piece.who is None and any(
            addresses.common(piece.ranges, where) and piece.ports.at(one) & ports for where, ports in at
        ):
            yield _fact(one, piece.through)


def _fact(one: Endpoint, through: Through) -> Fact:
    """What lets a class do something; where no policy does, it is the namespace that lacks one."""
    subject = f"{NAMESPACE}{one.namespace}" if through.kind == NON_ISOLATED else one.workload
    return Fact("network", subject, one.namespace, through)


def metadata(live: Connectivity, namespace: str, workload: str) -> Iterator[Edge]:
    """Whether a workload may talk to the cloud's metadata service, and so get its node's identity."""
    for space, one in _classes(live, namespace, workload):
        if one.node:
            yield Edge((one.workload,), NODE_IDENTITY, METADATA)
        elif found := frozenset(_to_metadata(space, one)):
            yield Edge((one.workload,), NODE_IDENTITY, METADATA, (found,))


def assumed(live: Connectivity, name: str, runs: Runs, namespace: str) -> Iterator[Edge]:
    """The cloud identities that a workload has without a token for the API server."""
    for account, identity in sorted(runs.clouds):
        annotated = Fact("rbac", f"serviceaccount:{namespace}/{account}", namespace,
                         Through("ServiceAccount", namespace, account))  # fmt: skip
        needs = frozenset({Fact(STRUCTURE, name, namespace, runs.through)}), frozenset({annotated})
        if not identity.startswith("gcp:"):
            yield Edge((name,), f"{CLOUD}{identity}", ASSUMES, needs)
            continue
        for space, one in _classes(live, namespace, name):
            if not one.node and (lets := frozenset(_to_metadata(space, one, at=_AT_GKE))):
                yield Edge((name,), f"{CLOUD}{identity}", ASSUMES, (*needs, lets))


def _classes(live: Connectivity, namespace: str, workload: str) -> Iterator[tuple[Space, Endpoint]]:
    space = live.spaces.get(namespace)
    if space is not None:
        yield from ((space, one) for one in space.classes if one.workload == workload)
