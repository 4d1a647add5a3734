"""What one would edit: a policy without the peers or ports that were gained; and what one agrees to instead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Change, Changed, Content, Key, Snapshot
from posture.selectors import matches

from . import addresses
from .allowed import NON_ISOLATED, pieces_of, regions, through_of
from .connectivity import Connectivity
from .endpoints import NAME_LABEL, PODS, WORKLOADS, namespace_of, template_of, workload_of
from .evaluate import NAMESPACES
from .gaps import named
from .policies import FIELDS, NETWORK_POLICIES, Direction, compiled
from .portset import NO_PORTS, PortSet, common_ports, joined_ports, port_set, without_ports
from .regions import Piece, Term, overlap, subtracted
from .units import piece_of, ports_written

MOST_EXCEPTIONS = 8


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
        yield "what its pods need has to be allowed before they are isolated: see the remedy", ()
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


def narrowed(key: Key, content: Content, gained: Iterable[Mapping[str, Any]]) -> Content:
    """A policy without what was gained through it: fewer peers, or the same ones with fewer ports."""
    spec = dict(content["spec"])
    units = [(unit["direction"], piece_of(unit)) for unit in gained]
    for direction, (_, peers) in FIELDS.items():
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
        hit = NO_PORTS
        for region in _regions(key, alone, direction):
            for piece in pieces:
                if _meets(region, piece):
                    hit = joined_ports(hit, common_ports(ports, piece.ports))
        if not hit.numbered and not hit.named:
            kept.append(peer)
            continue
        left = without_ports(ports, hit)
        if "action" not in rule:
            if written := ports_written(left):
                yield {**alone, "ports": written}
            block, written = _excepted(peer, pieces), ports_written(hit)
            if block is not None and written:  # none would be every port
                yield {**alone, field: [{"ipBlock": block}]} | ({"ports": written} if alone.get("ports") else {})
    if kept == [None]:
        yield dict(rule)
    elif kept:
        yield {**rule, field: kept}


def _excepted(peer: Mapping[str, Any] | None, pieces: Iterable[Piece]) -> dict[str, Any] | None:
    """A block without the addresses that were gained; None where none are left, or it would take a list of them."""
    if not peer or "ipBlock" not in peer:
        return None
    block = peer["ipBlock"]
    ranges = addresses.block(block["cidr"], block.get("except") or ())
    gained = addresses.union(span for piece in pieces if piece.who is None for span in piece.ranges)
    gone = addresses.cidrs(addresses.common(ranges, gained))
    if not addresses.minus(ranges, gained) or len(gone) > MOST_EXCEPTIONS:
        return None
    return {"cidr": block["cidr"], "except": [*(block.get("except") or ()), *gone]}


def _meets(region: Piece, piece: Piece) -> bool:
    if overlap(region, piece) is not None:
        return True
    return not isinstance(piece.who, Term) and piece.who is not None and isinstance(region.who, Term)


def _regions(key: Key, rule: Mapping[str, Any], direction: Direction) -> list[Piece]:
    policy = _alone(key, rule, direction)
    return [region for one in policy.rules(direction) or () for region in regions(one, policy, direction)]


def _ports_of(key: Key, rule: Mapping[str, Any], direction: Direction) -> PortSet:
    rules = _alone(key, rule, direction).rules(direction) or ()
    return port_set(rules[0].ports) if rules else NO_PORTS


def _alone(key: Key, rule: Mapping[str, Any], direction: Direction) -> Any:
    spec = {"policyTypes": [FIELDS[direction][0]], "subject": {"namespaces": {}}, "tier": "Admin", direction: [rule]}
    return compiled(key, {"spec": spec})


# Agreeing -----------------------------------------------------------------------------------------------------------


def agreed(change: Change, live: Connectivity) -> tuple[tuple[Key, Content], ...]:
    """NetworkPolicies that allow exactly what a change gained to exactly its pods, to add to a baseline.

    None at all where NetworkPolicy cannot say it: what a policy of the whole cluster decides, pods that have the labels
    of others, addresses that nobody knows. Such a gain is agreed to with the object that made it.
    """
    if change.through.kind not in ("NetworkPolicy", NON_ISOLATED):
        return ()
    found: dict[str, tuple[Key, Content]] = {}
    for unit in change.gained:
        direction: Direction = unit["direction"]
        selector = _of_nobody(live, change.scope, unit) if "podSelector" in unit else _alone_in(live, change.subject)
        kind, peers = FIELDS[direction]
        rules = None if selector is None or not _of_all(live, change, unit) else _rules(live, unit, peers)
        if selector is None or rules is None:
            return ()
        mark = repr((change.where, direction, sorted(selector.items(), key=repr))).encode("utf-8", "surrogatepass")
        name = "posture-agreed-" + hashlib.blake2b(mark, digest_size=6).hexdigest()
        if name not in found:
            spec: dict[str, Any] = {"podSelector": selector, "policyTypes": [kind], direction: []}
            found[name] = Key(NETWORK_POLICIES, change.scope, name), {"spec": spec}
        found[name][1]["spec"][direction] += rules
    return tuple(found.values())


def _of_all(live: Connectivity, change: Change, unit: Mapping[str, Any]) -> bool:
    """Whether all pods of a workload are allowed it, and not only those of one side of a rollout."""
    space = live.spaces.get(change.scope)
    mine = [one for one in space.classes if one.workload == change.subject and not one.node] if space else []
    if space is None or len(mine) < 2:
        return True
    return all(not subtracted([piece_of(unit)], pieces_of(space, one, unit["direction"])) for one in mine)


def _of_nobody(live: Connectivity, namespace: str, unit: Mapping[str, Any]) -> dict[str, Any] | None:
    """The selector of pods that are not there yet; None where it picks some that are, which gained nothing."""
    space = live.spaces.get(namespace)
    classes = space.classes if space else ()
    found: dict[str, Any] = unit["podSelector"]
    return None if any(not one.node and matches(found, dict(one.labels)) for one in classes) else found


def _alone_in(live: Connectivity, workload: str) -> dict[str, Any] | None:
    """A selector of a workload's pods and of no others of its namespace; None where their labels are not enough."""
    space = live.spaces.get(namespace_of(workload))
    labels = [dict(one.labels) for one in space.classes if one.workload == workload] if space else []
    if space is None or not labels:
        return None
    same = dict(set.intersection(*(set(one.items()) for one in labels)))
    others = [dict(one.labels) for one in space.classes if one.workload != workload and not one.node]
    if any(same.items() <= one.items() for one in others):
        return None
    return {"matchLabels": same} if same else {}


def _rules(live: Connectivity, unit: Mapping[str, Any], field: str) -> list[dict[str, Any]] | None:
    """The rules of a NetworkPolicy that allow what a unit says; None for what a NetworkPolicy cannot say."""
    peer = unit["peer"]
    more = {"ports": list(unit["ports"])} if unit["ports"] else {}
    if (
        any("numbers" in port for port in unit["ports"])
        or "other" in peer
        or ("podSelector" in peer and "cidrs" in peer)
    ):
        return None
    if "workload" in peer:
        selector = _alone_in(live, peer["workload"])
        where = {"matchLabels": {NAME_LABEL: namespace_of(peer["workload"])}}
        return None if selector is None else [{field: [{"namespaceSelector": where, "podSelector": selector}], **more}]
    if "cidrs" in peer:
        return [{field: [{"ipBlock": {"cidr": cidr}} for cidr in peer["cidrs"]], **more}]
    both = product(_plain(peer["namespaceSelector"]), _plain(peer["podSelector"]))
    return [{field: [{"namespaceSelector": spaces, "podSelector": pods} for spaces, pods in both], **more}]


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
    if key.namespace or key.resource == NAMESPACES:
        return frozenset({key.namespace or key.name})
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
        if namespace != change.key.namespace:
            continue
        key = Key(PODS, namespace, name)
        content = snapshot.get(key)
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
