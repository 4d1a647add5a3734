"""Ways in from outside: Services with an address or port of their own, Ingresses, Routes attached to Gateways, and
ports of nodes that lead to a pod (`hostPort`; CNI plugin portmap: from any address, with its source kept).

What only opens a way as long as something else takes part is held for open: an Ingress or Gateway needs a controller,
a Route that leads to another namespace a ReferenceGrant, which is not read, and of a Gateway's listeners only their
name, port and namespaces are compared with the Route. `loadBalancerSourceRanges` close nothing: they hold for the
address of the load balancer, while the node ports behind it stay open.

Pods in the network of their node are behind a door only where a Service leads to them: which addresses they listen at
their objects do not say, and the agents of most clusters are such pods, many of them on the loopback address alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, Literal, NamedTuple

from posture import selectors
from posture.model import Content, Key, Snapshot

from .endpoints import ENDED, NAME_LABEL, PODS, VOLATILE, Endpoint, key_of, numbers, workload_of
from .ports import span

type How = Literal["LoadBalancer", "NodePort", "ExternalIP", "Ingress", "Gateway", "HostPort"]
SERVICES, SLICES = "services", "endpointslices.discovery.k8s.io"
INGRESSES = "ingresses.networking.k8s.io"
GATEWAY_API = "gateway.networking.k8s.io"
GATEWAYS = f"gateways.{GATEWAY_API}"
_ROUTES: Mapping[str, str] = {
    f"grpcroutes.{GATEWAY_API}": "TCP",
    f"httproutes.{GATEWAY_API}": "TCP",
    f"tcproutes.{GATEWAY_API}": "TCP",
    f"tlsroutes.{GATEWAY_API}": "TCP",
    f"udproutes.{GATEWAY_API}": "UDP",
}
"""Kinds of Routes, and the protocol that they hand on to backends."""
ROUTES = tuple(_ROUTES)
_HOW: Mapping[str, How] = {"ClusterIP": "ExternalIP", "LoadBalancer": "LoadBalancer", "NodePort": "NodePort"}
"""How the types of Services are open, a ClusterIP by its externalIPs only."""
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


class Entry(NamedTuple):
    """A way in to the pods of a class. `by` is what opens it, which leads to `service` or is that Service itself; of a
    port of its nodes both are the workload.

    `ports` are those of the pods, where the way ends; `at` says where it begins: addresses, or hosts with paths.
    """

    by: Key
    how: How
    service: Key
    endpoint: Endpoint
    ports: int
    at: tuple[str, ...]


type _End = tuple[tuple[Key, How, Key, Endpoint], int, str]
"""An entry but for its ports and where it begins, of each of which it may have several."""


class _Way(NamedTuple):
    """A way to one port (a number or a name) of a Service."""

    how: How
    service: Key
    port: int | str | None
    protocol: str
    at: str


def entries(snapshot: Snapshot, endpoints: Iterable[Endpoint]) -> Iterator[Entry]:
    """The ways in to these classes of pods, sorted. What is malformed opens nothing."""
    endpoints = tuple(endpoints)
    targets = _Targets(snapshot, endpoints)
    found: dict[tuple[Key, How, Key, Endpoint], tuple[int, set[str]]] = {}
    for place, ports, where in chain(_through(snapshot, targets), _hosted(targets, endpoints)):
        before, at = found.get(place, (0, set()))
        found[place] = before | ports, at | {where}
    for place in sorted(found, key=lambda place: (*place[:3], place[3].what)):
        ports, at = found[place]
        yield Entry(*place, ports, tuple(sorted(at)))


def _through(snapshot: Snapshot, targets: _Targets) -> Iterator[_End]:
    """The ways through Services."""
    for resource, read in _READ.items():
        for key, content in snapshot.objects(resource):
            try:
                ways = [*read(snapshot, key, content)]
            except _MALFORMED:
                continue
            for way in ways:
                for endpoint, ports in targets.of(way):
                    yield (key, way.how, way.service, endpoint), ports, way.at


def _hosted(targets: _Targets, endpoints: Iterable[Endpoint]) -> Iterator[_End]:
    """The ways through ports of nodes."""
    for one in endpoints:
        by = targets.object_of(one) if one.host else None
        if by is not None:
            for (protocol, at), number in one.host:
                yield (by, "HostPort", by, one), _ports(protocol, [number]), f"its nodes:{at}"


# What opens a way ---------------------------------------------------------------------------------------------------


def _from_service(_: Snapshot, key: Key, content: Content) -> Iterator[_Way]:
    spec = content["spec"]
    how = _HOW.get(spec.get("type") or "ClusterIP")
    if how is None or spec.get("clusterIP") == "None":
        return
    addresses = [*(spec.get("externalIPs") or ())]
    if how == "LoadBalancer":
        given = ((content.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        addresses += [one.get("ip") or one["hostname"] for one in given] or ["load balancer"]
    for port in spec.get("ports") or ():
        number = port["port"]
        at = [f"[{one}]:{number}" if ":" in one else f"{one}:{number}" for one in addresses]
        if how == "NodePort":
            at.append(f"every node:{port['nodePort']}" if port.get("nodePort") else "every node")
        for one in at:
            yield _Way(how, key, number, port.get("protocol") or "TCP", one)


def _from_ingress(_: Snapshot, key: Key, content: Content) -> Iterator[_Way]:
    spec = content["spec"]
    backends = [
        (f"{rule.get('host') or '*'}{path.get('path') or '/'}", path.get("backend"))
        for rule in spec.get("rules") or ()
        for path in (rule.get("http") or {}).get("paths") or ()
    ]
    for at, backend in [("*/", spec.get("defaultBackend")), *backends]:
        service = (backend or {}).get("service")
        if service:
            port = service.get("port") or {}
            yield _Way("Ingress", Key(SERVICES, key.namespace, service["name"]),
                       port.get("number") or port.get("name"), "TCP", at)  # fmt: skip


def _from_route(snapshot: Snapshot, key: Key, content: Content) -> Iterator[_Way]:
    spec = content["spec"]
    if not any(_attached(snapshot, key, parent) for parent in spec.get("parentRefs") or ()):
        return
    for rule in spec.get("rules") or ():
        for backend in _backends(rule):
            if (backend.get("group") or "", backend.get("kind") or "Service") == ("", "Service"):
                service = Key(SERVICES, backend.get("namespace") or key.namespace, backend["name"])
                for host in spec.get("hostnames") or ("*",):
                    for match in rule.get("matches") or [{}]:
                        at = f"{host}{_path(match)}"
                        yield _Way("Gateway", service, backend.get("port"), _ROUTES[key.resource], at)


def _backends(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where a rule sends requests, and where it sends copies of them."""
    backends = [one for one in rule.get("backendRefs") or () if one.get("weight") != 0]
    yield from backends
    for holder in (rule, *backends):
        for one in holder.get("filters") or ():
            if "requestMirror" in one:
                yield one["requestMirror"]["backendRef"]


def _path(match: Mapping[str, Any]) -> str:
    if "method" in match and isinstance(match["method"], Mapping):  # of gRPC; HTTPRoute has a text there
        method = match["method"]
        return "/" + "/".join(filter(None, (method.get("service"), method.get("method"))))
    return (match.get("path") or {}).get("value") or "/"


def _attached(snapshot: Snapshot, key: Key, parent: Mapping[str, Any]) -> bool:
    if (parent.get("group") or GATEWAY_API, parent.get("kind") or "Gateway") != (GATEWAY_API, "Gateway"):
        return False
    where = parent.get("namespace") or key.namespace
    gateway = snapshot.get(Key(GATEWAYS, where, parent["name"]))
    for listener in ((gateway or {}).get("spec") or {}).get("listeners") or ():
        wanted = ("sectionName", "name"), ("port", "port")
        if all(parent.get(ours) in (None, listener.get(theirs)) for ours, theirs in wanted):
            allowed = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
            if _admitted(snapshot, key.namespace, where, allowed):
                return True
    return False


def _admitted(snapshot: Snapshot, namespace: str, where: str, allowed: Mapping[str, Any]) -> bool:
    """Whether a listener lets in Routes of a namespace."""
    which = allowed.get("from") or "Same"
    if which == "Selector":
        labels = (snapshot.get(Key("namespaces", "", namespace)) or {}).get("labels") or {}
        return selectors.matches(allowed.get("selector"), {**labels, NAME_LABEL: namespace})
    return which == "All" or (which == "Same" and namespace == where)


_READ: Mapping[str, Callable[[Snapshot, Key, Content], Iterator[_Way]]] = {
    SERVICES: _from_service,
    INGRESSES: _from_ingress,
    **dict.fromkeys(ROUTES, _from_route),
}


# Where a way ends ---------------------------------------------------------------------------------------------------


class _Targets:
    """The classes of pods behind Services."""

    def __init__(self, snapshot: Snapshot, endpoints: Iterable[Endpoint]) -> None:
        self._snapshot = snapshot
        self._behind: dict[Key, list[Endpoint]] = {}
        self._endpoints: dict[str, list[Endpoint]] = {}
        self._all = tuple(endpoints)
        for one in self._all:
            self._endpoints.setdefault(one.namespace, []).append(one)

    def of(self, way: _Way) -> list[tuple[Endpoint, int]]:
        """The classes where a way ends, each with its ports there. Where a Service picks no pods itself EndpointSlices
        say it, by addresses.
        """
        try:
            spec = (self._snapshot.get(way.service) or {}).get("spec") or {}
            if spec.get("type") == "ExternalName":
                return []
            ports = [port for port in spec.get("ports") or ()
                     if way.port is not None and way.port in (port["port"], port.get("name"))
                     and way.protocol == (port.get("protocol") or "TCP")]  # fmt: skip
            if not spec.get("selector"):
                return [*self._listed(way.service, ports, way.protocol)]
            return [(one, found) for one in self._selected(way.service, spec["selector"])
                    if (found := _resolved(one, ports, way.protocol))]  # fmt: skip
        except _MALFORMED:
            return []

    def _listed(
        self, service: Key, ports: Sequence[Mapping[str, Any]], protocol: str
    ) -> Iterator[tuple[Endpoint, int]]:
        """The classes at the addresses of a Service's EndpointSlices, of pods of any namespace. A slice says by the
        name of a Service's port which port it is there; without a number it is every port.
        """
        for content in self._slices.get((service.namespace, service.name), ()):
            names = {port.get("name") or "" for port in ports}
            found = 0
            for port in content["ports"]:
                if port["name"] in names and port["protocol"] == protocol:
                    found |= _ports(protocol, [port["port"]]) if "port" in port else span(protocol, 1, 65535)
            there = numbers(content.get("addresses") or ())
            yield from ((one, found) for one in self._all if found and one.addresses & there)

    @cached_property
    def _slices(self) -> Mapping[tuple[str, str], list[Content]]:
        found: dict[tuple[str, str], list[Content]] = {}
        for key, content in self._snapshot.objects(SLICES):
            if content.get("addresses"):
                found.setdefault((key.namespace, content["service"]), []).append(content)
        return found

    def _selected(self, service: Key, selector: Mapping[str, str]) -> list[Endpoint]:
        if service not in self._behind:
            wanted = selector.items()
            lasting = {pair for pair in wanted if pair[0] not in VOLATILE}
            found = [one for one in self._endpoints.get(service.namespace, ()) if lasting <= {*one.labels}]
            if len(lasting) < len(wanted):  # classes do not show such labels: pods do
                workloads = set(self._workloads(service.namespace, selector))
                found = [one for one in found if one.workload in workloads]
            self._behind[service] = found
        return self._behind[service]

    def object_of(self, endpoint: Endpoint) -> Key | None:
        """What runs: the controller where it is read, else one of its pods."""
        known = key_of(self._snapshot, endpoint.workload)
        return known or next((
            key for key in sorted(self._pods.get(endpoint.namespace, ()))
            if workload_of(self._snapshot, key, self._snapshot.get(key) or {}) == endpoint.workload
        ), None)  # fmt: skip

    def _workloads(self, namespace: str, selector: Mapping[str, str]) -> Iterator[str]:
        """The workloads that run a pod with some labels."""
        for key in self._pods.get(namespace, ()):
            content = self._snapshot.get(key) or {}
            labels, phase = content.get("labels") or {}, (content.get("status") or {}).get("phase")
            if phase not in ENDED and selector.items() <= labels.items():
                yield workload_of(self._snapshot, key, content)

    @cached_property
    def _pods(self) -> Mapping[str, list[Key]]:
        found: dict[str, list[Key]] = {}
        for namespace, name in self._snapshot.index.get(PODS, {}):
            found.setdefault(namespace, []).append(Key(PODS, namespace, name))
        return found


def _resolved(endpoint: Endpoint, ports: Iterable[Mapping[str, Any]], protocol: str) -> int:
    """The ports of pods behind ports of a Service: `targetPort` is a number, or the name of a container's port.

    A name that several containers use is any of their ports here, while a Service takes the first.
    """
    found = 0
    for port in ports:
        target = port.get("targetPort") or port["port"]
        numbers = [number for _, number in endpoint.port(target, protocol)] if isinstance(target, str) else [target]
        found |= _ports(protocol, numbers)
    return found


def _ports(protocol: str, numbers: Iterable[int]) -> int:
    found = 0
    for number in numbers:
        try:
            found |= span(protocol, number, number)
        except (TypeError, ValueError):
            continue  # no port, of a manifest that no API server would take
    return found
