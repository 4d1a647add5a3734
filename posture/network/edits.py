"""What one would edit: a policy without the peers or ports that were gained; and what one agrees to instead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Change, Changed, Content, Key, Snapshot

from .allowed import NON_ISOLATED, regions, through_of
from .compare import named
from .connectivity import Connectivity, Space
from .endpoints import NAME_LABEL, PODS, WORKLOADS, template_of, workload_of
from .policies import NETWORK_POLICIES, Direction, Ports, compiled
from .regions import Piece, Term, common_ports, overlap, without_ports
from .units import piece_of, ports_out

_FIELDS: Mapping[Direction, tuple[str, str]] = {"ingress": ("Ingress", "from"), "egress": ("Egress", "to")}


def evidence(live: Connectivity, change: Change) -> tuple[Key, ...]:
    """The objects whose change may have made a gain."""
    del live
    return change.evidence


def edits(live: Connectivity, change: Change) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """Ways to take a gain back when there is no agreed version to go back to."""
    space = live.spaces.get(change.scope)
    if space is None:
        return
    if change.through.kind == NON_ISOLATED:
        yield from _isolating(live, change)
        return
    for policy in (*space.policies, *space.above):
        if through_of(policy) == change.through:
            content = live.snapshot.get(policy.key)
            if content is not None and change.gained:
                yield (
                    f"Take what was gained out of {named(policy.key)}",
                    (Changed(policy.key, content, narrowed(policy.key, content, change.gained)),),
                )
            elif content is not None:
                yield f"Delete {named(policy.key)}", (Changed(policy.key, content, None),)


def _isolating(live: Connectivity, change: Change) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """A policy that isolates the pods of the workload alone, then one for all pods of the namespace."""
    direction = change.through.name
    kind = _FIELDS[direction][0]  # type: ignore[index]
    selectors: list[tuple[str, Mapping[str, Any]]] = [("all pods of the namespace", {})]
    labels = _labels(live, change)
    if labels:
        name = change.subject.partition("/")[2].partition("[")[0]
        selectors.insert(0, (name, {"matchLabels": labels}))
    for whom, selector in selectors:
        name = f"default-deny-{direction}" if not selector else f"{whom}-deny-{direction}"
        key = Key(NETWORK_POLICIES, change.scope, name)
        if live.snapshot.entry(key) is None:
            spec: dict[str, Any] = {"podSelector": dict(selector), "policyTypes": [kind]}
            yield f"Add {named(key)}, which isolates {whom} for {direction}", (Changed(key, None, {"spec": spec}),)


def _labels(live: Connectivity, change: Change) -> dict[str, str]:
    """The labels that all pods of a workload have."""
    space: Space = live.spaces[change.scope]
    found = [dict(one.labels).items() for one in space.classes if one.workload == change.subject]
    return dict(set.intersection(*map(set, found))) if found else {}


def narrowed(key: Key, content: Content, gained: Iterable[Mapping[str, Any]]) -> Content:
    """A policy without what was gained through it: fewer peers, or the same ones with fewer ports."""
    spec = dict(content["spec"])
    units = [(unit["direction"], piece_of(unit)) for unit in gained]
    for direction, (_, peers) in _FIELDS.items():
        pieces = [piece for way, piece in units if way == direction]
        if pieces and spec.get(direction) is not None:
            spec[direction] = [
                made for rule in spec[direction] for made in _narrower(key, rule, direction, peers, pieces)
            ]
    return {**content, "spec": spec}


def _narrower(
    key: Key, rule: Mapping[str, Any], direction: Direction, field: str, pieces: list[Piece]
) -> Iterator[dict[str, Any]]:
    """A rule as the rules that are left of it. Rules that deny or pass on are left alone."""
    if rule.get("action", "Accept") not in ("Accept", "Allow"):
        yield dict(rule)
        return
    kept: list[Any] = []
    for peer in rule.get(field) or [None]:
        alone = {**rule, field: [peer]} if peer is not None else dict(rule)
        ports = _ports_of(key, alone, direction)
        hit = Ports(0)
        for region in _regions(key, alone, direction):
            for piece in pieces:
                if _meets(region, piece):
                    common = common_ports(ports, piece.ports)
                    hit = Ports(hit.numbered | common.numbered, (*hit.named, *common.named))
        if not hit.numbered and not hit.named:
            kept.append(peer)
            continue
        left = without_ports(ports, hit)
        if (left.numbered or left.named) and "action" not in rule:
            yield {**alone, "ports": ports_out(left)}
    if kept == [None]:
        yield dict(rule)
    elif kept:
        yield {**rule, field: kept}


def _meets(region: Piece, piece: Piece) -> bool:
    if overlap(region, piece) is not None:
        return True
    return not isinstance(piece.who, Term) and piece.who is not None and isinstance(region.who, Term)


def _regions(key: Key, rule: Mapping[str, Any], direction: Direction) -> list[Piece]:
    policy = _alone(key, rule, direction)
    return [region for one in policy.rules(direction) or () for region in regions(one, policy, direction)]


def _ports_of(key: Key, rule: Mapping[str, Any], direction: Direction) -> Ports:
    rules = _alone(key, rule, direction).rules(direction) or ()
    return rules[0].ports if rules else Ports(0)


def _alone(key: Key, rule: Mapping[str, Any], direction: Direction) -> Any:
    spec = {"policyTypes": [_FIELDS[direction][0]], "subject": {"namespaces": {}}, "tier": "Admin", direction: [rule]}
    return compiled(key, {"spec": spec})


# Agreeing -----------------------------------------------------------------------------------------------------------


def agreed(change: Change, live: Connectivity) -> tuple[tuple[Key, Content], ...]:
    """NetworkPolicies that allow exactly what a change gained to exactly its pods, to add to a baseline."""
    found: dict[str, tuple[Key, Content]] = {}
    labels = _labels(live, change) if change.scope in live.spaces else {}
    for unit in change.gained:
        direction: Direction = unit["direction"]
        selector = unit.get("podSelector", {"matchLabels": labels} if labels else {})
        mark = repr((change.where, direction, sorted(selector.items(), key=repr))).encode("utf-8", "surrogatepass")
        name = "posture-agreed-" + hashlib.blake2b(mark, digest_size=6).hexdigest()
        key = Key(NETWORK_POLICIES, change.scope, name)
        kind, peers = _FIELDS[direction]
        if name not in found:
            found[name] = key, {"spec": {"podSelector": selector, "policyTypes": [kind], direction: []}}
        spec = found[name][1]["spec"]
        spec[direction] += _rules(live, unit, peers)
    return tuple(found.values())


def _rules(live: Connectivity, unit: Mapping[str, Any], field: str) -> Iterator[dict[str, Any]]:
    """The rules of a NetworkPolicy that allow what a unit says; none for what a NetworkPolicy cannot say."""
    ports: list[dict[str, Any]] = []
    for port in unit["ports"]:
        protocols = [port["protocol"]] if port["protocol"] else ["TCP", "UDP", "SCTP"]
        ports += [{**port, "protocol": protocol} for protocol in protocols]
    more = {"ports": ports} if ports else {}
    peer = unit["peer"]
    if "workload" in peer:
        namespace = peer["workload"].partition(":")[2].partition("/")[0]
        space = live.spaces.get(namespace)
        for one in space.classes if space else ():
            if one.workload == peer["workload"]:
                where = {"matchLabels": {NAME_LABEL: namespace}}
                yield {field: [{"namespaceSelector": where, "podSelector": {"matchLabels": dict(one.labels)}}], **more}
    elif "podSelector" in peer:
        for spaces in _plain(peer["namespaceSelector"]):
            for pods in _plain(peer["podSelector"]):
                yield {field: [{"namespaceSelector": spaces, "podSelector": pods}], **more}
    elif "other" not in peer:
        yield {field: [{"ipBlock": {"cidr": cidr}} for cidr in peer["cidrs"]], **more}


def _plain(selector: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A selector as selectors that Kubernetes knows: what is one of some values or absent takes two."""
    found: list[dict[str, Any]] = [dict(selector)]
    for one in selector.get("matchExpressions") or ():
        if one["operator"] == "InOrAbsent":
            ways = [{**one, "operator": "In"}, {"key": one["key"], "operator": "DoesNotExist"}]
            found = [
                {**each, "matchExpressions": [way if other == one else other for other in each["matchExpressions"]]}
                for each in found for way in ways
            ]  # fmt: skip
    return found


def stakeholders(live: Connectivity, key: Key) -> frozenset[str] | None:
    """The namespaces whose pods a policy may select; None for what is no policy of this domain."""
    if key.namespace:
        return frozenset({key.namespace})
    found = {name for name, space in live.spaces.items() if any(policy.key == key for policy in space.above)}
    return frozenset(found) or None


# What controllers would do ------------------------------------------------------------------------------------------


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """Changes, and what they do to pods: a workload's pods get the labels, ports and network of its template."""
    given = {change.key: change for change in changed}
    for change in [*given.values()]:
        if change.key.resource in WORKLOADS:
            for pod in _pods_after(snapshot, change):
                given.setdefault(pod.key, pod)
    return tuple(given.values())


def _pods_after(snapshot: Snapshot, change: Changed) -> Iterator[Changed]:
    old = template_of(change.key, change.old) if change.old else None
    new = template_of(change.key, change.new) if change.new else None
    kind = BY_NAME[change.key.resource].kind
    workload = f"workload:{change.key.namespace}/{change.key.name}[{kind}]"
    for namespace, name in snapshot.index.get(PODS, {}):
        key = Key(PODS, namespace, name)
        content = snapshot.get(key) if namespace == change.key.namespace else None
        if content is None or workload_of(snapshot, key, content) != workload:
            continue
        if new is None:
            yield Changed(key, content, None)
        elif old is not None:
            yield Changed(key, content, _reshaped(content, old, new))


def _reshaped(pod: Content, old: Mapping[str, Any], new: Mapping[str, Any]) -> Content:
    """A pod of one template as it would be of another."""
    were, are = ((side.get("metadata") or {}).get("labels") or {} for side in (old, new))
    labels = {key: value for key, value in (pod.get("labels") or {}).items() if key not in were} | are
    spec = {**(pod.get("spec") or {})}
    for field in ("hostNetwork", "containers", "initContainers"):
        spec.pop(field, None)
        if (new.get("spec") or {}).get(field):
            spec[field] = new["spec"][field]
    return {**pod, "labels": labels, "spec": spec}
