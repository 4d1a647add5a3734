"""What may talk to what in a snapshot, namespace by namespace; an update makes only those anew that changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from posture import selectors
from posture.layer import Layer
from posture.model import Changed, Key, Snapshot

from . import cni
from .connectivity import TIERS, Connectivity, Space, places_of, selects
from .endpoints import NAME_LABEL, PODS, VOLATILE, WORKLOADS, Endpoint, folded
from .lookup import Lookup
from .opaque import OPAQUE, Opaque, opaques
from .opaque import keys as labels_of
from .policies import NETWORK_POLICIES, Pods, Policy, Rule, compiled

NAMESPACES = "namespaces"
_MEMBERS = (PODS, *WORKLOADS, NETWORK_POLICIES)
READS = (NAMESPACES, *_MEMBERS, *TIERS, *OPAQUE)
SETTING, DETECT = "podsByIp", "detect"


def evaluate(snapshot: Snapshot, previous: Connectivity | None = None, changed: Iterable[Changed] = ()) -> Connectivity:
    """What is possible. Without `previous` an update from nothing; the cost follows `changed`."""
    if previous is None:
        return _Update(snapshot, Connectivity(snapshot, {}, (), "unknown"), [*_all(snapshot)]).result()
    keys = [change.key for change in changed]
    if not keys and snapshot.settings == previous.snapshot.settings:
        return replace(previous, snapshot=snapshot, touched=frozenset())
    return _Update(snapshot, previous, keys).result()


def _all(snapshot: Snapshot) -> Iterator[Key]:
    for resource in READS:
        for namespace, name in snapshot.index.get(resource, {}):
            yield Key(resource, namespace, name)


def seeing(result: Connectivity, seen: frozenset[str]) -> Connectivity:
    """A result whose classes some more volatile labels tell apart. Rare: policies seldom look at such labels."""
    if seen <= result.seen:
        return result
    return _Update(result.snapshot, result, [], result.seen | seen).result()


class _Update:
    """One update: which namespaces have to be made anew, and the result with these."""

    def __init__(
        self, snapshot: Snapshot, previous: Connectivity, keys: Collection[Key], seen: frozenset[str] = frozenset()
    ) -> None:
        self.snapshot = snapshot
        self.previous = previous
        self.moved: dict[str, dict[Key, None]] = {}
        for key in keys:
            if key.resource in _MEMBERS:
                self.moved.setdefault(key.namespace, {})[key] = None
            elif key.resource == NAMESPACES:
                self.moved.setdefault(key.name, {})
        self.above = self._above([key for key in keys if key.resource in TIERS])
        self.policies = {name: self._policies(name) for name in self.moved}
        self.other = any(key.resource in OPAQUE for key in keys)
        self.opaque = _by_namespace(opaques(snapshot)) if self.other else previous.opaque
        looked = (label for policies in (self.above, *self.policies.values()) for policy in policies
                  for label in _labels(policy))  # fmt: skip
        opaque = self.opaque.values() if self.other else ()
        others = (label for found in opaque for one in found for label in labels_of(one))
        self.seen = previous.seen | seen | VOLATILE.intersection([*looked, *others])

    def _above(self, keys: Collection[Key]) -> tuple[Policy, ...]:
        """The policies of the whole cluster; those whose objects did not change are the same objects as before."""
        return self._recompiled(self.previous.above, keys)

    def _policies(self, name: str) -> tuple[Policy, ...]:
        space = self.previous.spaces.get(name)
        moved = [key for key in self.moved[name] if key.resource == NETWORK_POLICIES]
        return self._recompiled(space.policies if space else (), moved)

    def _recompiled(self, policies: tuple[Policy, ...], keys: Collection[Key]) -> tuple[Policy, ...]:
        """Policies, of which some were changed, made or deleted."""
        if not keys:
            return policies
        known = {policy.key: policy for policy in policies}
        for key in keys:
            content = self.snapshot.get(key)
            known.pop(key, None)
            if content is not None:
                known[key] = compiled(key, content)
        return tuple(known[key] for key in sorted(known))

    def result(self) -> Connectivity:
        """The namespaces that changed, made anew, above the others."""
        before = self.previous.spaces
        spaces: Layer[str, Space] = before.fork() if isinstance(before, Layer) else Layer(before or None)
        anew: set[str] = set(self.moved)
        if self.seen != self.previous.seen or self.other:
            anew |= set(before)
        if self.above is not self.previous.above:
            anew |= set(self._below(before))
        for name in anew:
            space = self._space(name, before.get(name))
            if space is not None:
                spaces[name] = space
            elif name in spaces:
                del spaces[name]
        settings = self.snapshot.settings or self.previous.snapshot.settings
        by_ip = cni.detected(self.snapshot) if settings.get(SETTING, DETECT) == DETECT else settings[SETTING]
        found = Connectivity(self.snapshot, spaces, self.above, by_ip, self.seen, self.opaque)
        if not before:
            return replace(found, touched=found.places)
        lookup = Lookup(lookup_of(self.previous))
        for name in anew:
            lookup.replace(before.get(name), spaces.get(name))
        found.__dict__[_LOOKUP] = lookup
        touched = replace(found, touched=frozenset(_touched(self.previous, found, anew)))
        touched.__dict__[_LOOKUP] = lookup
        return touched

    def _below(self, spaces: Mapping[str, Space]) -> Iterator[str]:
        """The namespaces that a policy of the cluster may select which is new, gone or another than before."""
        old, new = ({id(policy): policy for policy in side} for side in (self.previous.above, self.above))
        different = [policy for side, other in ((old, new), (new, old)) for mark, policy in side.items()
                     if mark not in other]  # fmt: skip
        for name, space in spaces.items():
            if any(_above(policy, space.labels) for policy in different):
                yield name

    def _space(self, name: str, old: Space | None) -> Space | None:
        """A namespace as it is now; None for one that is gone with all that was in it."""
        moved = self.moved.get(name, {})
        names = dict.fromkeys(old.names) if old else {}
        for key in moved:
            names.pop(key, None)
            if self.snapshot.entry(key) is not None:
                names[key] = None
        own = self.snapshot.get(Key(NAMESPACES, "", name))
        if own is None and not names:
            return None
        labels = {**((own or {}).get("labels") or {}), NAME_LABEL: name}
        above = tuple(policy for policy in self.above if _above(policy, labels))
        policies = self.policies.get(name, old.policies if old else ())
        if old and self.seen == self.previous.seen and all(key.resource == NETWORK_POLICIES for key in moved):
            classes, pods = old.classes, old.pods
        else:
            keys = (key for key in names if key.resource != NETWORK_POLICIES)
            classes, pods = folded(self.snapshot, keys, self.seen)
        opaque = (*self.opaque.get("", ()), *(self.opaque.get(name, ()) if name else ()))
        return Space(name, labels, tuple(names), policies, above, classes, pods, opaque)


def _by_namespace(given: Iterable[Opaque]) -> Mapping[str, Sequence[Opaque]]:
    found: dict[str, list[Opaque]] = {}
    for one in given:
        found.setdefault(one.namespace, []).append(one)
    return found


def _above(policy: Policy, labels: Mapping[str, str]) -> bool:
    """Whether a policy of the cluster may select pods in a namespace of some labels."""
    return policy.subject.namespaces is not None and selectors.matches(policy.subject.namespaces, labels)


def _labels(policy: Policy) -> Iterator[str]:
    """The labels of pods that a policy looks at."""
    yield from _keys(policy.subject.pods)
    for rule in (*(policy.ingress or ()), *(policy.egress or ())):
        for peer in rule.peers or ():
            if isinstance(peer, Pods):
                yield from _keys(peer.pods)


def _keys(selector: Mapping[str, Any]) -> Iterator[str]:
    yield from selector.get("matchLabels") or ()
    yield from (one["key"] for one in selector.get("matchExpressions") or ())


# What an update may have changed elsewhere --------------------------------------------------------------------------


type Seat = tuple[Mapping[str, str], Endpoint]
"""the labels of a namespace, and a class in it"""
type Move = tuple[list[Seat], list[Seat]]
"""the classes of one workload before and after"""


def _touched(before: Connectivity, after: Connectivity, anew: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The places of the namespaces that were made anew, and those whose policies name what has other labels now."""
    moved: list[Move] = []
    for name in anew:
        sides = [side.spaces.get(name) for side in (before, after)]
        for space in sides:
            if space is not None:
                yield from places_of(space)
        if before.spaces:
            moved += moves(*sides)
    if moved:
        for name in users((before, after), moved):
            if name in after.spaces:
                yield from places_of(after.spaces[name])


def moves(old: Space | None, new: Space | None) -> Iterator[Move]:
    """The workloads that are on both sides and look another way to policies: their classes before and after.

    A namespace with other labels is one for itself, with a class that is no workload's: all pods that it may get.
    """
    if old is None or new is None or (old.classes is new.classes and old.labels == new.labels):
        return
    if old.labels != new.labels:
        anyone = Endpoint("", new.name, (), (), False)
        yield [(old.labels, anyone)], [(new.labels, anyone)]
    elif [one.what for one in old.classes] == [one.what for one in new.classes]:
        return
    sides: tuple[dict[str, list[Seat]], dict[str, list[Seat]]] = ({}, {})
    for space, found in zip((old, new), sides, strict=True):
        for one in space.classes:
            found.setdefault(one.workload, []).append((space.labels, one))
    for workload, was in sides[0].items():
        now = sides[1].get(workload)
        if now and [(labels, one.what) for labels, one in was] != [(labels, one.what) for labels, one in now]:
            yield was, now


def users(results: Sequence[Connectivity], moved: Sequence[Move]) -> Mapping[str, Collection[int]]:
    """The namespaces whose policies tell these workloads apart another way than before, and the namespaces that these
    are in. Each with the places of those in the list.
    """
    found: dict[str, set[int]] = {}
    for place, (was, now) in enumerate(moved):
        for _, one in now:
            found.setdefault(one.namespace, set()).add(place)
        for name, picked in _picked(results, was, now).items():
            looks = [*zip(*picked, (_ends(seat) for seat in (*was, *now)), strict=True)]
            if {*looks[: len(was)]} != {*looks[len(was) :]}:  # some may be named as before, and others no longer
                found.setdefault(name, set()).add(place)
    return found


def _picked(results: Sequence[Connectivity], was: list[Seat], now: list[Seat]) -> Mapping[str, list[list[bool]]]:
    """By namespace, which of the classes of a workload each peer of its policies picks: of the peers that do not pick
    all classes as before.
    """
    found: dict[str, list[list[bool]]] = {}
    changed = {_ends(seat) for seat in was} != {_ends(seat) for seat in now}
    ends = [(labels, dict(one.labels) if one.workload else None) for labels, one in (*was, *now)]
    near = {repr(end): end for end in ends}.values()
    for peer, names in (each for result in results for end in near for each in lookup_of(result).naming(*end)):
        picks = [_picks(peer, one, labels) for labels, one in (*was, *now)]
        if any(picks) and (changed or not all(picks)):
            for name in names:
                found.setdefault(name, []).append(picks)
    return found


def _ends(seat: Seat) -> tuple[Any, ...]:
    """What peers see of a class beside its labels."""
    return seat[1].named, seat[1].node


def _picks(peer: Pods, one: Endpoint, labels: Mapping[str, str]) -> bool:
    """Whether a peer may be a class; of a class that is no workload's only the namespace is known."""
    return selectors.matches(peer.namespaces, labels) if not one.workload else selects(peer, one, labels)


_LOOKUP = "_lookup"


def lookup_of(result: Connectivity) -> Lookup:
    """Who is about whom in a result: made with an update, else when it is first asked for."""
    found: Lookup | None = result.__dict__.get(_LOOKUP)
    if found is None:
        found = result.__dict__[_LOOKUP] = Lookup()
        for space in result.spaces.values():
            found.replace(None, space)
    return found


# Namespaces that are not there --------------------------------------------------------------------------------------


def empty(result: Connectivity, other: Space) -> Space:
    """A namespace of another result as one would be here: without policies of its own."""
    above = tuple(policy for policy in result.above if _above(policy, other.labels))
    return Space(other.name, other.labels, (), (), above, (), {})


def like(result: Connectivity, peer: str, other: Space) -> Space:
    """A namespace of another result with the policies that a namespace has here."""
    space = result.spaces.get(peer)
    if space is None:
        return empty(result, other)
    policies = tuple(_renamed(policy, peer, other.name) for policy in space.policies)
    above = tuple(policy for policy in result.above if _above(policy, other.labels))
    return Space(other.name, other.labels, (), policies, above, (), {})


def _renamed(policy: Policy, old: str, new: str) -> Policy:
    """A NetworkPolicy as if it were in another namespace, also where it names its own."""

    def pods(given: Pods) -> Pods:
        if given.namespaces is None:
            return given._replace(namespace=new if given.namespace == old else given.namespace)
        labels = given.namespaces.get("matchLabels") or {}
        if labels.get(NAME_LABEL) != old:
            return given
        return given._replace(namespaces={**given.namespaces, "matchLabels": {**labels, NAME_LABEL: new}})

    def rules(given: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
        return given and tuple(
            rule._replace(
                peers=rule.peers and tuple(pods(peer) if isinstance(peer, Pods) else peer for peer in rule.peers)
            )
            for rule in given
        )

    return policy._replace(
        key=policy.key._replace(namespace=new), subject=pods(policy.subject), ingress=rules(policy.ingress),
        egress=rules(policy.egress),
    )  # fmt: skip
