"""Which object made a fact of structure so that was not: of those that it rests upon, the one that differs.

What leads in from outside rests upon the door (a Service, perhaps with EndpointSlices that are written by hand, an
Ingress with its Service, a Route with its Gateway) and on the workload, whose labels and ports are what it leads to;
how a workload runs, on the workload, its ServiceAccount and the volumes of its claims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Content, Key, Through
from posture.network.endpoints import PODS, key_of, template_of
from posture.network.exposure import GATEWAYS, ROUTES, SERVICES, SLICES, entries
from posture.rbac.evaluate import SERVICE_ACCOUNTS

from . import crossing
from .evaluate import Graph
from .nodes import ACCOUNT, CLOUD, WORKLOAD, Edge, Fact, namespace_of


class Origins:
    """Of the facts of a live graph that a baseline has not; without a baseline all that there is made them."""

    def __init__(self, live: Graph, base: Graph | None) -> None:
        self._live = live
        self._base = base

    def of(self, fact: Fact, edges: Iterable[Edge]) -> Key | None:
        """The object of which the change made a fact that `edges` need; where none differs, what the fact is about."""
        about = crossing.key_of_fact(fact)
        if about is None:
            return None
        mine = [edge for edge in edges if any(fact in need for need in edge.needs)]
        return next(filter(self.differs, self._behind(fact, about, mine)), about)

    def differs(self, key: Key) -> bool:
        """Whether an object is not as it was in the baseline: annotations, and labels but for a pod's, say nothing."""
        if self._base is None:
            return True
        old, new = self._base.snapshot.get(key), self._live.snapshot.get(key)
        return bool(_what(key, old) != _what(key, new))

    def _behind(self, fact: Fact, about: Key, edges: Collection[Edge]) -> Iterator[Key]:
        """What a fact rests upon, what one would edit first."""
        if any(edge.rule == crossing.EXPOSED for edge in edges):
            yield about
            yield from self._beyond(about)
            workload = key_of(self._live.snapshot, fact.subject)
            if workload is not None:
                yield workload
        elif fact.subject.startswith(WORKLOAD):
            yield from self._unlocked(fact.subject, edges)
            yield about
            if any(edge.rule == crossing.ESCAPES for edge in edges):
                yield from self._volumes(about)
        yield about

    def _beyond(self, door: Key) -> Iterator[Key]:
        """What else takes part where a door leads on: the Services behind it, what says where these lead, the Gateways
        that it is attached to.
        """
        services = self._services.get(door, ())
        yield from sorted(services)
        for key, content in self._live.snapshot.objects(SLICES):
            if content.get("addresses") and Key(SERVICES, key.namespace, content["service"]) in services:
                yield key
        if door.resource in ROUTES:
            spec: Any = (self._live.snapshot.get(door) or {}).get("spec") or {}
            for parent in spec.get("parentRefs") or ():
                yield Key(GATEWAYS, parent.get("namespace") or door.namespace, str(parent.get("name")))

    @cached_property
    def _services(self) -> Mapping[Key, Collection[Key]]:
        found: dict[Key, set[Key]] = {}
        live = self._live.results["network"]
        for entry in entries(live.snapshot, live.classes):
            found.setdefault(entry.by, set()).add(entry.service)
        return found

    def _volumes(self, about: Key) -> Iterator[Key]:
        """The places of nodes that a workload claims."""
        content = self._live.snapshot.get(about) or {}
        pod: Any = content if about.resource == PODS else template_of(about, content) or {}
        volumes = (pod.get("spec") or {}).get("volumes") or ()
        claims = {f"{about.namespace}/{(one.get('persistentVolumeClaim') or {}).get('claimName')}" for one in volumes}
        for key, volume in self._live.snapshot.objects(crossing.VOLUMES):
            if volume.get("claim") in claims:
                yield key

    def _unlocked(self, workload: str, edges: Iterable[Edge]) -> Iterator[Key]:
        """The ServiceAccounts as which a workload ran without a token, and that give it one now, or a cloud's."""
        namespace = namespace_of(workload)
        ran = self._base.runs(namespace).get(workload) if self._base else None
        heads = {edge.head for edge in edges}
        for name in sorted(ran.unmounted) if ran is not None else ():
            if f"{ACCOUNT}{namespace}/{name}" in heads or any(head.startswith(CLOUD) for head in heads):
                yield Key(SERVICE_ACCOUNTS, namespace, name)


def through_of(key: Key) -> Through:
    """An object as what one would edit."""
    return Through(BY_NAME[key.resource].kind, key.namespace, key.name)


def _what(key: Key, content: Content | None) -> Any:
    """What an object says for the graph."""
    if content is None or key.resource == SERVICE_ACCOUNTS:
        return content
    said = {"annotations"} if key.resource == PODS else {"annotations", "labels", "ready"}
    return {field: value for field, value in content.items() if field not in said}
