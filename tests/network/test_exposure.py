"""Ways in from outside end at pods: which, on which of their ports, and what opens them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.model import Key
from posture.network.exposure import Entry, entries
from posture.network.ports import shown, span
from tests.generator.network import deployment, pod, port
from tests.generator.objects import Object, metadata, namespace
from tests.network.clusters import evaluated

GATEWAY = "gateway.networking.k8s.io/v1"
API = pod("pay", "api", {"app": "api"}, ports=[port(8080, "http"), port(9090, "dns", "UDP")])
DB = pod("pay", "db", {"app": "db"}, ports=[port(5432, "http")])
FRONT = pod("web", "front", {"app": "api"}, ports=[port(3000, "http")])
PODS = [namespace("pay", team="a"), namespace("web"), API, DB, FRONT]


def service(name: str = "svc", where: str = "pay", ports: Any = (80,), status: Any = None, **spec: Any) -> Object:
    """A Service, of pods with app=api unless it says otherwise; a port may be given as its number."""
    made = [{"port": one} if isinstance(one, int) else one for one in ports]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, where),
        "spec": {"selector": {"app": "api"}, "ports": made, **spec}, "status": {"loadBalancer": status or {}},
    }  # fmt: skip


def ingress(*rules: Object, where: str = "pay", **spec: Any) -> Object:
    """An Ingress."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata("web", where),
            "spec": {"rules": list(rules), **spec}}  # fmt: skip


def to(service: str = "svc", **port: Any) -> Object:
    """The backend of an Ingress."""
    return {"service": {"name": service, "port": port or {"number": 80}}}


def path(backend: Object, host: str = "", at: str = "") -> Object:
    """A rule of an Ingress with one path."""
    return ({"host": host} if host else {}) | {"http": {"paths": [{"backend": backend} | ({"path": at} if at else {})]}}


def gateway(where: str = "pay", *listeners: Object) -> Object:
    """A Gateway, with one listener for Routes of its own namespace unless others are given."""
    return {"apiVersion": GATEWAY, "kind": "Gateway", "metadata": metadata("gw", where),
            "spec": {"listeners": list(listeners) or [listener()]}}  # fmt: skip


def listener(which: str = "", selector: Object | None = None, name: str = "web", number: int = 443) -> Object:
    """A listener of a Gateway, for Routes of these namespaces."""
    namespaces = ({"from": which} if which else {}) | ({"selector": selector} if selector else {})
    return {"name": name, "port": number} | ({"allowedRoutes": {"namespaces": namespaces}} if namespaces else {})


def route(*backends: Object, kind: str = "HTTPRoute", parent: Object | None = None, **more: Any) -> Object:
    """A Route in pay with one rule; to svc port 80 unless it says otherwise."""
    rule = {"backendRefs": list(backends) or [{"name": "svc", "port": 80}], **more.pop("rule", {})}
    return {"apiVersion": GATEWAY, "kind": kind, "metadata": metadata("r", "pay"),
            "spec": {"parentRefs": [{"name": "gw", **(parent or {})}], "rules": [rule], **more}}  # fmt: skip


def found(*objects: Object) -> list[Entry]:
    """The ways in."""
    result = evaluated([*PODS, *objects])
    return [*entries(result.snapshot, result.classes)]


def opened(*objects: Object) -> set[tuple[str, str, str]]:
    """How what is open, and on which ports: `("NodePort", "pay/api", "TCP 80")`."""
    return {
        (one.how, one.endpoint.workload.removeprefix("workload:").removesuffix("[Pod]"), shown(one.ports))
        for one in found(*objects)
    }  # fmt: skip


# Services -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (service(), set()),
        (service(type="ClusterIP"), set()),
        (service(type="NodePort"), {("NodePort", "pay/api", "TCP 80")}),
        (service(type="LoadBalancer"), {("LoadBalancer", "pay/api", "TCP 80")}),
        (service(externalIPs=["203.0.113.7"]), {("ExternalIP", "pay/api", "TCP 80")}),
        (service(externalIPs=["203.0.113.7"], clusterIP="None"), set()),
        (service(type="NodePort", externalIPs=["203.0.113.7"]), {("NodePort", "pay/api", "TCP 80")}),
        (service(type="ExternalName", externalName="example.com", externalIPs=["203.0.113.7"]), set()),
        (service(type="NodePort", selector={}), set()),
        (service(type="NodePort", selector={"app": "api", "tier": "x"}), set()),
        (service(type="NodePort", selector={"app": "db"}), {("NodePort", "pay/db", "TCP 80")}),
        (service(where="web", type="NodePort"), {("NodePort", "web/front", "TCP 80")}),
        (service(where="lab", type="NodePort"), set()),
    ],
)
def test_which_services_are_open_to_which_pods(given: Object, expected: set[tuple[str, str, str]]) -> None:
    """By type and externalIPs; of their own namespace and with all labels of the selector."""
    assert opened(given) == expected


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([80, 443], "TCP 80,443"),
        ([{"port": 80, "targetPort": 8081}], "TCP 8081"),
        ([{"port": 80, "targetPort": "http"}], "TCP 8080"),
        ([{"port": 80, "targetPort": "dns"}], ""),
        ([{"port": 53, "targetPort": "dns", "protocol": "UDP"}], "UDP 9090"),
        ([{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}], "TCP 53, UDP 53"),
        ([{"port": 80, "targetPort": "none"}, {"port": 81, "targetPort": 81}], "TCP 81"),
        ([{"port": 80, "targetPort": 70000}], ""),
    ],
)
def test_the_ports_are_those_of_the_pods(ports: list[Any], expected: str) -> None:
    """`targetPort` by number, or by the name that it has in the pod, of the protocol of the Service's port."""
    assert opened(service(type="NodePort", ports=ports)) == ({("NodePort", "pay/api", expected)} if expected else set())


def test_a_malformed_pod_hides_no_other() -> None:
    """A folder may hold a pod whose port is none."""
    bad = pod("pay", "bad", {"app": "api"}, ports=[{"name": "http", "containerPort": "x"}])
    given = service(type="NodePort", ports=[{"port": 80, "targetPort": "http"}])

    assert opened(bad, given) == {("NodePort", "pay/api", "TCP 8080")}


def test_a_name_is_another_port_in_another_pod() -> None:
    """Of two classes behind one Service each has its own."""
    both = service(type="NodePort", ports=[{"port": 80, "targetPort": "http"}], selector={"tier": "x"})
    pods = [
        pod("lab", name, {"tier": "x"}, ports=[port(number, "http")]) for name, number in (("a", 1001), ("b", 1002))
    ]
    both["metadata"]["namespace"] = "lab"

    assert opened(*pods, both) == {("NodePort", "lab/a", "TCP 1001"), ("NodePort", "lab/b", "TCP 1002")}


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]), ("every node:30080",)),
        (service(type="NodePort"), ("every node",)),
        (service(type="LoadBalancer"), ("load balancer:80",)),
        (service(type="LoadBalancer", status={"ingress": [{"ip": "203.0.113.7"}, {"hostname": "lb.example"}]}),
         ("203.0.113.7:80", "lb.example:80")),
        (service(type="LoadBalancer", externalIPs=["2001:db8::7"], status={"ingress": [{"ip": "203.0.113.7"}]}),
         ("203.0.113.7:80", "[2001:db8::7]:80")),
    ],
)  # fmt: skip
def test_where_a_service_is_open(given: Object, at: tuple[str, ...]) -> None:
    """For people: addresses with ports."""
    assert [one.at for one in found(given)] == [at]


def test_a_service_for_one_pod_opens_its_workload() -> None:
    """The labels that a StatefulSet gives to each pod are no part of a class; an unknown pod opens none."""
    owned = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    replicas = []
    for number, phase in ((0, "Running"), (1, "Failed")):
        one = pod("lab", f"db-{number}", {"statefulset.kubernetes.io/pod-name": f"db-{number}"}, phase=phase)
        one["metadata"]["ownerReferences"] = [owned]
        replicas.append(one)

    for name, expected in (("db-0", {("NodePort", "lab/db[StatefulSet]", "TCP 80")}), ("db-1", set()), ("db-2", set())):
        selector = {"statefulset.kubernetes.io/pod-name": name}
        assert opened(*replicas, service(where="lab", type="NodePort", selector=selector)) == expected


def test_a_workload_without_pods_is_open_by_its_template() -> None:
    """What its pods will be."""
    template = {"metadata": {"labels": {"app": "api"}}, "spec": API["spec"]}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("app", "lab"),
                  "spec": {"template": template}}  # fmt: skip
    given = service(where="lab", type="NodePort", ports=[{"port": 80, "targetPort": "http"}])

    assert opened(deployment, given) == {("NodePort", "lab/app[Deployment]", "TCP 8080")}


def test_only_what_is_asked_for() -> None:
    """The ways to some classes, of all that are open."""
    result = evaluated([*PODS, service(type="NodePort"), service(where="web", type="NodePort")])
    wanted = [one for one in result.classes if one.namespace == "web"]

    assert [one.endpoint for one in entries(result.snapshot, wanted)] == wanted


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_services_open_what_a_reading_pod_by_pod_says(seed: int) -> None:
    """On clusters with pods of all phases, labels and ports, written out the plain way."""
    random = Random(seed)
    labels: dict[str, list[str]] = {"app": ["api", "db"], "pod-template-hash": ["1", "2"], "tier": ["", "x"]}
    pods, services = [], []
    for number in range(5):
        worn = {key: random.choice(values) for key, values in labels.items() if random.random() < 0.7}
        named = [port(random.randint(1, 9), name, random.choice(["", "TCP", "UDP"])) for name in "ab"]
        phase = random.choice(["Running", "Pending", "Succeeded", "Failed"])
        pods.append(pod(random.choice(["pay", "web"]), f"p{number}", worn, ports=named, phase=phase))
        wanted = {key: random.choice(values) for key, values in labels.items() if random.random() < 0.4}
        ports = [{"port": one, **random.choice([{}, {"targetPort": "a"}, {"targetPort": 7}]),
                  **random.choice([{}, {"protocol": "UDP"}])} for one in random.sample(range(1, 9), 2)]  # fmt: skip
        kind = random.choice(["NodePort", "LoadBalancer", "ClusterIP"])
        services.append(service(f"s{number}", random.choice(["pay", "web"]), ports, selector=wanted, type=kind))
    result = evaluated([*pods, *services])

    told = {(one.by.name, one.endpoint.workload, shown(one.ports)) for one in entries(result.snapshot, result.classes)}

    assert told == {answer for one in services for answer in _pod_by_pod(one, pods)}


def _pod_by_pod(given: Object, pods: list[Object]) -> Iterator[tuple[str, str, str]]:
    """What a Service opens: (its name, the workload, ports)."""
    spec, where = given["spec"], given["metadata"]["namespace"]
    if spec["type"] == "ClusterIP" or not spec["selector"]:
        return
    for one in pods:
        meta = one["metadata"]
        if meta["namespace"] != where or one["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        if any(meta["labels"].get(key) != value for key, value in spec["selector"].items()):
            continue
        open_: dict[str, set[int]] = {"TCP": set(), "UDP": set()}
        for way in spec["ports"]:
            protocol, target = way.get("protocol", "TCP"), way.get("targetPort", way["port"])
            for its in one["spec"]["containers"][0]["ports"]:
                if target == its["name"] and protocol == its.get("protocol", "TCP"):
                    target = its["containerPort"]
            if target != "a":
                open_[protocol].add(target)
        if any(open_.values()):
            numbers = sum(span(protocol, number, number) for protocol, ones in open_.items() for number in ones)
            yield given["metadata"]["name"], f"workload:{where}/{meta['name']}[Pod]", shown(numbers)


# Ingresses and Routes -----------------------------------------------------------------------------------------------

NAMED = service("named", ports=[{"port": 80, "name": "web", "targetPort": "http"}])


@pytest.mark.parametrize(
    ("given", "expected", "at"),
    [
        (ingress(defaultBackend=to()), "TCP 80", ("*/",)),
        (ingress(path(to())), "TCP 80", ("*/",)),
        (ingress(path(to(), "a.example", "/x"), path(to(), "b.example")), "TCP 80", ("a.example/x", "b.example/")),
        (ingress(path(to("named"))), "TCP 8080", ("*/",)),
        (ingress(path(to("named", name="web"))), "TCP 8080", ("*/",)),
        (ingress(path(to(number=81))), "", ()),
        (ingress(path(to("named", name="other"))), "", ()),
        (ingress(path(to("none"))), "", ()),
        (ingress(path({"resource": {"kind": "StorageBucket", "name": "svc"}})), "", ()),
        (ingress({"host": "a.example"}), "", ()),
        (ingress(path(to()), where="web"), "", ()),
        (ingress(path(to("headless"))), "TCP 80", ("*/",)),
        (ingress(path(to("udp"))), "", ()),
        (ingress(path(to("elsewhere"))), "", ()),
    ],
)
def test_an_ingress_opens_the_ports_of_its_backends(given: Object, expected: str, at: tuple[str, ...]) -> None:
    """By number or name of the Service's port, over TCP; a headless Service is as good a backend as another."""
    others = [
        service("headless", clusterIP="None"), service("udp", ports=[{"port": 80, "protocol": "UDP"}]),
        service("elsewhere", type="ExternalName", externalName="example.com"),
    ]  # fmt: skip
    ways = found(service(), NAMED, *others, given)

    assert [(shown(one.ports), one.at) for one in ways] == ([(expected, at)] if expected else [])
    assert {(one.how, one.by.name, one.by.resource) for one in ways} <= {
        ("Ingress", "web", "ingresses.networking.k8s.io")
    }


MIRROR = {"requestMirror": {"backendRef": {"name": "svc", "port": 80}}}
UDP = service("udp", ports=[{"port": 53, "protocol": "UDP", "targetPort": "dns"}])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (route(), "TCP 80"),
        *[(route(kind=kind), "TCP 80") for kind in ("GRPCRoute", "TLSRoute", "TCPRoute")],
        (route({"name": "udp", "port": 53}, kind="UDPRoute"), "UDP 9090"),
        (route({"name": "udp", "port": 53}, kind="TCPRoute"), ""),
        (route(kind="UDPRoute"), ""),
        (route({"name": "svc"}), ""),
        (route({"name": "svc", "port": 81}), ""),
        (route({"name": "svc", "port": 80, "weight": 0}), ""),
        (route({"name": "svc", "port": 80, "kind": "ServiceImport", "group": "multicluster.x-k8s.io"}), ""),
        (route({"name": "x", "port": 80}, rule={"filters": [MIRROR]}), "TCP 80"),
        (route({"name": "x", "port": 80, "filters": [MIRROR]}), "TCP 80"),
        (route(parent={"name": "none"}), ""),
        (route(parent={"namespace": "web"}), ""),
        (route(parent={"kind": "Service", "group": ""}), ""),
        (route(parent={"sectionName": "web"}), "TCP 80"),
        (route(parent={"sectionName": "other"}), ""),
        (route(parent={"port": 443}), "TCP 80"),
        (route(parent={"port": 80}), ""),
    ],
)  # fmt: skip
def test_a_route_opens_what_it_leads_to_from_a_gateway_that_exists(given: Object, expected: str) -> None:
    """Backends of kind Service with a weight, and copies of requests; by Routes of all kinds."""
    assert opened(service(), UDP, gateway(), given) == ({("Gateway", "pay/api", expected)} if expected else set())


@pytest.mark.parametrize(
    ("listeners", "attached"),
    [
        ([listener()], False),
        ([listener("Same")], False),
        ([listener("All")], True),
        ([listener("Selector", {"matchLabels": {"team": "a"}})], True),
        ([listener("Selector", {"matchLabels": {"team": "b"}})], False),
        ([listener("Selector", {"matchLabels": {"kubernetes.io/metadata.name": "pay"}})], True),
        ([listener("Selector")], False),
        ([listener(), listener("All", name="open", number=80)], True),
    ],
)
def test_a_gateway_of_another_namespace_has_to_let_a_route_in(listeners: list[Object], attached: bool) -> None:
    """One of its listeners; without a word only Routes of its own namespace."""
    ways = opened(service(), gateway("web", *listeners), route(parent={"namespace": "web"}))

    assert bool(ways) == attached


def test_a_route_to_another_namespace_counts_as_granted() -> None:
    """ReferenceGrants are not read: what one may allow is open."""
    there = route({"name": "svc", "namespace": "web", "port": 80})

    assert opened(service(where="web"), gateway(), there) == {("Gateway", "web/front", "TCP 80")}


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (route(), ("*/",)),
        (route(hostnames=["a.example", "b.example"], rule={"matches": [{"path": {"value": "/x"}}, {"method": "GET"}]}),
         ("a.example/", "a.example/x", "b.example/", "b.example/x")),
        (route(kind="GRPCRoute", rule={"matches": [{"method": {"service": "pay.v1.Pay", "method": "Get"}}]}),
         ("*/pay.v1.Pay/Get",)),
    ],
)  # fmt: skip
def test_where_a_route_is_open(given: Object, at: tuple[str, ...]) -> None:
    """For people: hosts and paths."""
    assert [one.at for one in found(service(), gateway(), given)] == [at]


# Ports of nodes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "spec", "expected"),
    [
        ([{"containerPort": 8080, "hostPort": 80}], {}, "TCP 8080"),
        ([{"containerPort": 53, "hostPort": 53, "protocol": "UDP"}], {}, "UDP 53"),
        ([{"containerPort": 8080, "hostPort": 80, "hostIP": "0.0.0.0"}], {}, "TCP 8080"),
        ([{"containerPort": 8080, "hostPort": 80, "hostIP": "::"}], {}, "TCP 8080"),
        ([{"containerPort": 8080, "hostPort": 80, "hostIP": "127.0.0.1"}], {}, ""),
        ([{"containerPort": 8080, "hostPort": 80, "hostIP": "::1"}], {}, ""),
        ([{"containerPort": 8080}], {}, ""),
        ([{"containerPort": 8080, "hostPort": 0}], {}, ""),
        ([{"containerPort": 8080, "hostPort": "http"}], {}, ""),
        ([{"containerPort": 8080, "hostPort": 8080}], {"hostNetwork": True}, ""),
        ([{"containerPort": 8080, "hostPort": 80}, {"containerPort": 9090, "hostPort": 90}], {}, "TCP 8080,9090"),
    ],
)
def test_a_port_of_the_node_leads_to_the_pod(ports: list[Object], spec: Object, expected: str) -> None:
    """At any address of the node but its loopback. In the node's network a container listens where it wants."""
    found_ = opened(pod("pay", "edge", ports=ports, **spec))

    assert found_ == ({("HostPort", "pay/edge", expected)} if expected else set())


def test_what_opens_a_port_of_the_node_is_what_runs() -> None:
    """The controller, by its template; where no controller is read, a pod of it."""
    ports = [{"containerPort": 8080, "hostPort": 80}]
    ways = found(deployment("pay", "edge", {"app": "edge"}, ports), pod("pay", "stray", ports=ports, owner="nobody"))

    deployed, stray = Key("deployments.apps", "pay", "edge"), Key("pods", "pay", "stray")
    assert [(one.by, one.service, one.at) for one in ways] == [
        (deployed, deployed, ("its nodes:80",)), (stray, stray, ("its nodes:80",)),
    ]  # fmt: skip


# Services without a selector ----------------------------------------------------------------------------------------


def endpoint_slice(*addresses: str, by: str = "", **port: Any) -> Object:
    """An EndpointSlice of the Service svc in pay."""
    labels = {"kubernetes.io/service-name": "svc"} | ({"endpointslice.kubernetes.io/managed-by": by} if by else {})
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata("s", "pay", labels=labels),
        "addressType": "IPv4", "endpoints": [{"addresses": [one]} for one in addresses],
        "ports": [{"protocol": "TCP", **port}],
    }  # fmt: skip


BEHIND = pod("web", "behind", ips=["10.0.0.7"])
MIRRORED, SLICED = "endpointslicemirroring-controller.k8s.io", "endpointslice-controller.k8s.io"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (endpoint_slice("10.0.0.7", name="http", port=8080), "TCP 8080"),
        (endpoint_slice("10.0.0.7", name="http", port=8080, by=MIRRORED), "TCP 8080"),
        (endpoint_slice("10.0.0.7", "10.0.0.8", name="http"), "TCP"),
        (endpoint_slice("10.0.0.7", name="other", port=8080), ""),
        (endpoint_slice("10.0.0.7", name="http", port=8080, protocol="UDP"), ""),
        (endpoint_slice("10.0.0.9", name="http", port=8080), ""),
        (endpoint_slice("example.com", name="http", port=8080), ""),
    ],
)
def test_a_service_without_a_selector_leads_where_its_slices_say(given: Object, expected: str) -> None:
    """To pods of any namespace, at the port that a slice names as the Service does."""
    door = service(type="LoadBalancer", selector={}, ports=[{"port": 80, "name": "http"}])

    assert opened(BEHIND, door, given) == ({("LoadBalancer", "web/behind", expected)} if expected else set())


@pytest.mark.parametrize("by", ["", SLICED])
def test_a_service_with_a_selector_leads_to_what_it_selects(by: str) -> None:
    """Whatever slices say: the controller writes them, and pods are asked for by their labels."""
    given = endpoint_slice("10.0.0.7", name="http", port=8080, by=by)

    assert opened(BEHIND, service(type="LoadBalancer"), given) == {("LoadBalancer", "pay/api", "TCP 80")}


# All of it ----------------------------------------------------------------------------------------------------------

WHOLE = [service(type="LoadBalancer", status={"ingress": [{"ip": "203.0.113.7"}]}), NAMED, ingress(path(to("named"))),
         gateway(), route(hostnames=["a.example"])]  # fmt: skip


def test_ways_come_sorted_and_once() -> None:
    """By what opens them, however often it does and in whatever order it was read."""
    ways = found(*WHOLE)

    assert [(one.by.resource.partition(".")[0], one.how, one.service.name) for one in ways] == [
        ("httproutes", "Gateway", "svc"), ("ingresses", "Ingress", "named"), ("services", "LoadBalancer", "svc"),
    ]  # fmt: skip
    assert ways == found(*reversed(WHOLE))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_malformed_object_opens_nothing_and_hides_no_other(seed: int) -> None:
    """Whatever value of it is something else: what the others open stays as it was."""
    random = Random(seed)
    number = random.randrange(len(WHOLE))
    broken = [*WHOLE]
    broken[number] = _spoiled(random, {**WHOLE[number], "metadata": {**WHOLE[number]["metadata"], "name": "bad"}})
    rest = [one for place, one in enumerate(WHOLE) if place != number]

    ways = found(*broken)

    assert {one for one in ways if "bad" not in (one.by.name, one.service.name)} == set(found(*rest))


def _spoiled(random: Random, value: Any) -> Any:
    """A value with one value in its spec or status replaced by junk."""
    junk = random.choice([None, 5, "x", ["x"], {"x": "y"}, [], {}, [5], True])
    made = dict(value)
    at: Any = made
    name: Any = "spec"
    while True:
        inner = dict(at[name]) if isinstance(at[name], dict) else list(at[name]) if isinstance(at[name], list) else None
        if not inner or random.random() < 0.2:
            at[name] = junk
            return made
        at[name] = inner
        at, name = inner, random.choice([*(inner if isinstance(inner, dict) else range(len(inner)))])
