"""Random small clusters with network policies, and questions about them: everything that the API server accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any

from tests.oracles.network import Question

from .objects import Object, metadata, namespace

NAMES = ("pay", "web", "lab", "ops")
PORT_NUMBERS = (22, 53, 80, 443, 5432, 8080, 8443)
PORT_NAMES = ("http", "dns", "db", "admin")
PROTOCOLS = ("TCP", "UDP", "SCTP")
LABELS = {"app": ("api", "db", "web"), "tier": ("front", "back"), "canary": ("", "yes")}
SPACE_LABELS = {"team": ("a", "b"), "env": ("prod", "test")}
NODES = (("192.168.0.10", "fd00:a::10"), ("192.168.0.11", "fd00:a::11"))
"""The addresses of the nodes, IPv4 and IPv6."""
OUTSIDE = ("169.254.169.254", "1.1.1.1", "203.0.113.7", "2001:db8::7", "fd00:a::99", "192.168.0.99")
BLOCKS = (
    ("0.0.0.0/0", ("10.0.0.0/8", "169.254.169.254/32", "203.0.113.0/24", "192.168.0.10/32")),
    ("10.0.0.0/8", ("10.244.0.0/16", "10.244.1.0/24", "10.244.1.2/32")),
    ("10.244.1.0/24", ("10.244.1.2/31", "10.244.1.4/32")),
    ("10.244.2.3/32", ()),
    ("192.168.0.0/16", ("192.168.0.10/32", "192.168.0.11/32")),
    ("203.0.113.0/24", ("203.0.113.0/29", "203.0.113.8/29")),
    ("1.1.1.1/32", ()),
    ("::/0", ("fd00::/8", "2001:db8::/32")),
    ("fd00:10:244::/48", ("fd00:10:244:1::/64", "fd00:10:244:1::3/128")),
    ("2001:db8::/32", ("2001:db8::/64",)),
    ("fd00:a::/64", ("fd00:a::10/128",)),
)
"""Ranges, each with exceptions that lie in it."""
DOMAINS = ("example.com", "*.example.com", "registry.k8s.io")

# Builders -----------------------------------------------------------------------------------------------------------


def container(name: str, *ports: Object, **more: Any) -> Object:
    """A container."""
    return {"name": name, "image": "registry.example/app:1"} | ({"ports": list(ports)} if ports else {}) | more


def port(number: int, name: str = "", protocol: str = "") -> Object:
    """A port of a container."""
    made: Object = {"containerPort": number}
    return made | ({"name": name} if name else {}) | ({"protocol": protocol} if protocol else {})


def pod(
    where: str,
    name: str,
    labels: dict[str, str] | None = None,
    ips: Sequence[str] = (),
    host: Sequence[str] = (),
    ports: Sequence[Object] = (),
    phase: str = "Running",
    owner: str = "",
    **spec: Any,
) -> Object:
    """A Pod with some addresses, on a node with some addresses."""
    owners = {"ownerReferences": [controller(owner)]} if owner else {}
    status: Object = {"phase": phase}
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if host:
        status |= {"hostIP": host[0], "hostIPs": [{"ip": ip} for ip in host]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, where, labels=labels or {}, uid=f"uid-{name}", **owners),  # as a server gives it
        "spec": {"containers": [container("main", *ports)], **spec},
        "status": status,
    }


def controller(name: str) -> Object:
    """The owner reference of a ReplicaSet that controls."""
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"uid-{name}", "controller": True}


def network_policy(where: str, name: str, **spec: Any) -> Object:
    """A NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(name, where), "spec": spec,
    }  # fmt: skip


def cluster_policy(name: str, tier: str, priority: int, subject: Object | None = None, **rules: Any) -> Object:
    """A ClusterNetworkPolicy v1alpha2; without a subject, for all pods."""
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": metadata(name),
        "spec": {"tier": tier, "priority": priority, "subject": subject or {"namespaces": {}}, **rules},
    }


def admin_policy(name: str, priority: int, subject: Object | None = None, **rules: Any) -> Object:
    """An AdminNetworkPolicy v1alpha1; without a subject, for all pods."""
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": "AdminNetworkPolicy",
        "metadata": metadata(name),
        "spec": {"priority": priority, "subject": subject or {"namespaces": {}}, **rules},
    }


def baseline_policy(subject: Object | None = None, **rules: Any) -> Object:
    """The BaselineAdminNetworkPolicy v1alpha1, of which there is one."""
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": "BaselineAdminNetworkPolicy",
        "metadata": metadata("default"),
        "spec": {"subject": subject or {"namespaces": {}}, **rules},
    }


# Pods ---------------------------------------------------------------------------------------------------------------


def random_labels(random: Random, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Some labels; at times none."""
    return {key: random.choice(values) for key, values in known.items() if random.random() < 0.6}


def random_ports(random: Random, taken: set[str]) -> list[Object]:
    """The ports of a container; one name is one port of a pod, but another number in another pod."""
    found = []
    for number in random.sample(PORT_NUMBERS, random.choice((0, 1, 1, 2))):
        free = [name for name in PORT_NAMES if name not in taken]
        name = random.choice(free) if free and random.random() < 0.7 else ""
        taken.add(name)
        found.append(port(number, name, random.choice(("", "", "TCP", "UDP", "SCTP"))))
    return found


def random_pod(random: Random, number: int, where: str, families: str) -> Object:
    """A Pod of any kind: sidecars, host network, any phase, with and without addresses."""
    node = random.choice(NODES)
    if random.random() < 0.05:
        families = random.choice(("4", "6", "46"))

    def of_families(both: Sequence[str]) -> list[str]:
        return [ip for ip, family in zip(both, "46", strict=True) if family in families]

    net = NAMES.index(where) + 1
    ips, host = of_families((f"10.244.{net}.{number}", f"fd00:10:244:{net}::{number:x}")), of_families(node)
    if families == "46" and random.random() < 0.2:
        ips.reverse()
    phase = random.choice(("Running",) * 10 + ("Pending", "Pending", "Succeeded", "Failed", "Unknown"))
    on_host = random.random() < 0.12
    if on_host:
        ips = host
    if phase == "Pending" and random.random() < 0.7:
        ips, host = [], random.choice(([], host))
    elif random.random() < 0.03:
        ips, host = [], []
    taken: set[str] = set()
    spec: Object = {"hostNetwork": True} if on_host else {}
    ports = random_ports(random, taken)
    if random.random() < 0.3:
        starts = [container("sidecar", *random_ports(random, taken), restartPolicy="Always")]
        spec["initContainers"] = [container("setup", port(8080, random.choice(PORT_NAMES))), *starts]
    made = pod(
        where, f"p{number}", random_labels(random, LABELS), ips, host, ports, phase,
        random.choice(("", "api-5d4f", "db-77c9")), **spec,
    )  # fmt: skip
    if random.random() < 0.2:
        made["spec"]["containers"].append(container("second", *random_ports(random, taken)))
    return made


# NetworkPolicies ----------------------------------------------------------------------------------------------------


def random_selector(random: Random, known: Mapping[str, Sequence[str]]) -> Object:
    """A label selector with labels, expressions, both or nothing."""
    made: Object = {}
    if random.random() < 0.25:
        return made
    if random.random() < 0.6:
        key = random.choice(sorted(known))
        made["matchLabels"] = {key: random.choice(known[key])}
    if not made or random.random() < 0.3:
        made["matchExpressions"] = [random_expression(random, known) for _ in range(random.choice((1, 1, 2)))]
    return made


def random_expression(random: Random, known: Mapping[str, Sequence[str]]) -> Object:
    """One expression of a selector."""
    key = random.choice((*sorted(known), "nowhere"))
    operator = random.choice(("In", "NotIn", "NotIn", "Exists", "DoesNotExist"))
    values = known.get(key, ("x", "y"))
    some = {"values": random.sample(values, random.randint(1, len(values)))} if operator in ("In", "NotIn") else {}
    return {"key": key, "operator": operator, **some}


def random_space_selector(random: Random) -> Object:
    """A selector of namespaces, at times by their name."""
    return random_selector(random, SPACE_LABELS | {"kubernetes.io/metadata.name": NAMES})


def random_block(random: Random) -> Object:
    """An ipBlock."""
    cidr, outs = random.choice(BLOCKS)
    if random.random() < 0.6 or not outs:
        return {"cidr": cidr} if random.random() < 0.9 else {"cidr": cidr, "except": []}
    return {"cidr": cidr, "except": random.sample(outs, random.randint(1, len(outs)))}


def random_peer(random: Random) -> Object:
    """One item of `from` or `to`."""
    form = random.choice(("pods", "pods", "spaces", "spaces", "both", "both", "block", "block", "block"))
    if form == "block":
        return {"ipBlock": random_block(random)}
    made: Object = {}
    if form != "pods":
        made["namespaceSelector"] = random_space_selector(random)
    if form != "spaces":
        made["podSelector"] = random_selector(random, LABELS)
    return made


def random_policy_port(random: Random) -> Object:
    """One item of `ports`."""
    made: Object = {}
    if random.random() < 0.6:
        made["protocol"] = random.choice(("TCP", "TCP", "UDP", "SCTP"))
    form = random.choice(("none", "number", "number", "number", "name", "name", "range", "range"))
    if form == "name":
        made["port"] = random.choice(PORT_NAMES)
    elif form != "none":
        made["port"] = random.choice((*PORT_NUMBERS, 1, 65535))
    if form == "range":
        made["endPort"] = min(65535, made["port"] + random.choice((0, 1, 400, 9000)))
    return made


def random_list(random: Random, field: str, values: Sequence[Object]) -> Object:
    """A field with a list that may be empty or missing."""
    return {field: list(values)} if values or random.random() < 0.5 else {}


def random_rule(random: Random, peers: str) -> Object:
    """A rule of a NetworkPolicy; an empty one at times."""
    items = [random_peer(random) for _ in range(random.choice((0, 1, 1, 1, 2, 3)))]
    ports = [random_policy_port(random) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    return random_list(random, peers, items) | random_list(random, "ports", ports)


def random_policy(random: Random, number: int, where: str) -> Object:
    """A NetworkPolicy with every field absent, empty or full."""
    spec: Object = {}
    if random.random() < 0.9:
        spec["podSelector"] = random_selector(random, LABELS)
    for field, peers in (("ingress", "from"), ("egress", "to")):
        rules = [random_rule(random, peers) for _ in range(random.choice((0, 1, 1, 2)))]
        spec |= random_list(random, field, rules)
    if random.random() < 0.7:
        spec["policyTypes"] = random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"], ["Egress", "Ingress"]))
    return network_policy(where, f"np{number}", **spec)


# Tiered policies ----------------------------------------------------------------------------------------------------


def random_chosen(random: Random) -> Object:
    """A subject, or a peer that selects pods; often of all pods, so that policies meet."""
    if random.random() < 0.4:
        return random.choice(({"namespaces": {}}, {"pods": {"namespaceSelector": {}, "podSelector": {}}}))
    if random.random() < 0.5:
        return {"namespaces": random_space_selector(random)}
    return {
        "pods": {"namespaceSelector": random_space_selector(random), "podSelector": random_selector(random, LABELS)}
    }


def random_tiered_peer(random: Random, field: str, *, selectable: bool, domains: bool) -> Object:
    """A peer of a rule. `selectable`: one of pods, as rules with named ports want; `domains`: at times domain names."""
    roll = random.random()
    if not selectable and roll < 0.04:
        return {"services": {"matchLabels": {"app": "api"}}}  # of a version that is newer than what is known
    if field == "from" or selectable or roll < 0.55:
        return random_chosen(random)
    if roll < 0.85:
        cidrs = ["0.0.0.0/0", "::/0"] if random.random() < 0.3 else [cidr for cidr, _ in BLOCKS]
        return {"networks": sorted(random.sample(cidrs, random.choice((1, 1, 2))))}
    if domains and roll < 0.93:
        return {"domainNames": random.sample(DOMAINS, random.choice((1, 2)))}
    return {"nodes": random_selector(random, {"kubernetes.io/os": ("linux", "windows")})}


def random_numbers(random: Random) -> tuple[int, int]:
    """The ends of a range of ports."""
    start = random.choice((1, *PORT_NUMBERS))
    return start, random.choice((start + 1, start + 400, 65535, 65535))


def random_protocol(random: Random, *, name: bool) -> Object:
    """One item of `protocols` of v1alpha2."""
    if name and random.random() < 0.5:
        return {"destinationNamedPort": random.choice(PORT_NAMES)}
    start, end = random_numbers(random)
    number: Object = {"number": random.choice(PORT_NUMBERS)}
    return {
        random.choice(("tcp", "tcp", "udp", "sctp")): {
            "destinationPort": random.choice((number, {"range": {"start": start, "end": end}}))
        }
    }


def random_old_port(random: Random, *, name: bool) -> Object:
    """One item of `ports` of v1alpha1."""
    if name and random.random() < 0.5:
        return {"namedPort": random.choice(PORT_NAMES)}
    protocol = random.choice(({}, {"protocol": "TCP"}, {"protocol": "UDP"}, {"protocol": "SCTP"}))
    start, end = random_numbers(random)
    if random.random() < 0.5:
        return {"portNumber": {**protocol, "port": random.choice(PORT_NUMBERS)}}
    return {"portRange": {**protocol, "start": start, "end": end}}


def random_tiered_rule(random: Random, field: str, actions: Sequence[str], *, old: bool) -> Object:
    """A rule of a tiered policy."""
    action, named = random.choice(actions), random.random() < 0.3
    domains = "Pass" in actions and action in ("Accept", "Allow")  # the BaselineAdminNetworkPolicy has none
    made: Object = {
        "action": action,
        field: [
            random_tiered_peer(random, field, selectable=named, domains=domains)
            for _ in range(random.choice((1, 1, 2)))
        ],
    }
    if random.random() < 0.2:
        made["name"] = "rule"
    items = range(random.choice((0, 0, 0, 1, 2)))
    if items and old:
        made["ports"] = [random_old_port(random, name=named) for _ in items]
    elif items:
        made["protocols"] = [random_protocol(random, name=named) for _ in items]
    return made


def random_tiered(random: Random, *, banp: bool) -> Iterator[Object]:
    """Tiered policies of one or both versions, with priorities that are often equal."""
    kinds = random.choice((("CNP",), ("CNP",), ("ANP",), ("CNP", "ANP")))
    for number in range(random.randint(1, 4)):
        kind, priority = random.choice(kinds), random.choice((0, 5, 5, 10, 1000))
        old = kind == "ANP"
        actions = ("Allow", "Deny", "Pass") if old else ("Accept", "Deny", "Pass")
        rules = random_tiered_rules(random, actions, old=old)
        if old:
            yield admin_policy(f"t{number}", priority, random_chosen(random), **rules)
        else:
            tier = random.choice(("Admin", "Admin", "Baseline"))
            yield cluster_policy(f"t{number}", tier, priority, random_chosen(random), **rules)
    if banp:
        yield baseline_policy(random_chosen(random), **random_tiered_rules(random, ("Allow", "Deny"), old=True))


def random_tiered_rules(random: Random, actions: Sequence[str], *, old: bool) -> Object:
    """The rules of a tiered policy for both directions."""
    return {
        direction: [random_tiered_rule(random, field, actions, old=old) for _ in range(random.randint(1, 3))]
        for direction, field in (("ingress", "from"), ("egress", "to"))
        if random.random() < 0.7
    }


def random_network(random: Random) -> list[Object]:
    """A small cluster with policies."""
    spaces = random.sample(NAMES, random.randint(2, 4))
    found = [namespace(name, **random_labels(random, SPACE_LABELS)) for name in spaces]
    families = random.choice(("4", "4", "6", "46", "46"))
    found += [random_pod(random, number, random.choice(spaces), families) for number in range(2, random.randint(5, 10))]
    found += [random_policy(random, number, random.choice(spaces)) for number in range(random.randint(0, 8))]
    if random.random() < 0.4:
        found += random_tiered(random, banp=random.random() < 0.4)
    return found


# Workloads ----------------------------------------------------------------------------------------------------------


def deployment(where: str, name: str, labels: Mapping[str, str], ports: Sequence[Object] = (), **spec: Any) -> Object:
    """A Deployment with the template of its pods. It selects them by their label `set` if there is one, else by all."""
    selector = {"set": labels["set"]} if "set" in labels else dict(labels)
    template = {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container("main", *ports)], **spec}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, where, labels={"app": name}),
        "spec": {"replicas": 2, "selector": {"matchLabels": selector}, "template": template},
    }  # fmt: skip


def replica_set(where: str, name: str, owner: str) -> Object:
    """A ReplicaSet of a Deployment."""
    owners = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "uid": f"uid-{owner}", "controller": True}]
    return {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata(name, where, ownerReferences=owners),
        "spec": {"replicas": 2},
    }  # fmt: skip


def random_workload(random: Random, number: int, where: str) -> Iterator[Object]:
    """A Deployment in a rollout: none, some or all of its pods have the labels and ports of the template before."""
    name, net = f"d{number}", NAMES.index(where) + 1
    new, old = (({**random_labels(random, LABELS), "set": name}, random_ports(random, set())) for _ in range(2))
    yield deployment(where, name, *new)
    for at in range(random.choice((0, 1, 2, 3))):
        labels, ports = random.choice((new, new, old))
        revision = f"{name}-{'new' if labels is new[0] else 'old'}"
        yield replica_set(where, revision, name)
        yield pod(where, f"{revision}-{at}", labels, [f"10.244.{net}.{16 * number + at}"], NODES[0][:1], ports,
                  owner=revision)  # fmt: skip


def random_cluster(random: Random) -> list[Object]:
    """A small cluster with policies and with workloads of several pods."""
    found = random_network(random)
    spaces = [one["metadata"]["name"] for one in found if one["kind"] == "Namespace"]
    for number in range(2, 2 + random.choice((0, 1, 2))):
        found += random_workload(random, number, random.choice(spaces))
    named = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in found}
    return list(named.values())


# Edits --------------------------------------------------------------------------------------------------------------


def is_tiered(one: Object) -> bool:
    """Whether an object is a policy of the whole cluster."""
    return str(one["apiVersion"]).startswith("policy.networking.k8s.io/")


def relabelled(one: Object, random: Random, known: Mapping[str, Sequence[str]]) -> Object:
    """An object of which one label has another value, or is new, or gone."""
    labels = dict(one["metadata"].get("labels") or {})
    key = random.choice(sorted(known))
    if key in labels and random.random() < 0.3:
        del labels[key]
    else:
        labels[key] = random.choice([value for value in known[key] if value != labels.get(key)])
    return {**one, "metadata": {**one["metadata"], "labels": labels}}


def _policy_edited(random: Random, one: Object) -> Object:
    """A policy of which one part is another."""
    spec = dict(one["spec"])
    rules = [(field, number) for field in ("ingress", "egress") for number in range(len(spec.get(field) or ()))]
    roll = random.random()
    if is_tiered(one):
        if roll < 0.25 and "priority" in spec:
            spec["priority"] = random.choice((0, 5, 10, 1000))
        elif roll < 0.5 or not rules:
            spec["subject"] = random_chosen(random)
        else:
            field, number = random.choice(rules)
            mine = list(spec[field])
            accept = "Accept" if one["kind"] == "ClusterNetworkPolicy" else "Allow"
            mine[number] = {**mine[number], "action": "Deny" if mine[number]["action"] == accept else accept}
            spec[field] = mine if roll < 0.8 else [*mine[:number], *mine[number + 1 :]]
        return {**one, "spec": spec}
    if roll < 0.15:
        spec["podSelector"] = random_selector(random, LABELS)
    elif roll < 0.25:
        spec["policyTypes"] = random.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    elif not rules or roll < 0.4:
        field, peers = random.choice((("ingress", "from"), ("egress", "to")))
        spec[field] = [*(spec.get(field) or ()), random_rule(random, peers)]
    else:
        field, number = random.choice(rules)
        mine = [dict(rule) for rule in spec[field]]
        peers = "from" if field == "ingress" else "to"
        part, fresh = random.choice(((peers, random_peer), ("ports", random_policy_port)))
        items = list(mine[number].get(part) or ())
        if items and random.random() < 0.5:
            items.pop(random.randrange(len(items)))
        else:
            items.insert(0, fresh(random))
        mine[number][part] = items
        spec[field] = mine if roll < 0.9 else [*mine[:number], *mine[number + 1 :]]
    return {**one, "spec": spec}


def _ports_renamed(random: Random, one: Object) -> Object:
    """A pod whose container ports have other names."""
    containers = [
        {**each, "ports": [{**port, "name": random.choice(PORT_NAMES)} for port in each.get("ports", ())[:1]]}
        for each in one["spec"]["containers"]
    ]
    return {**one, "spec": {**one["spec"], "containers": containers}}


def random_edit(random: Random, objects: Sequence[Object]) -> list[Object]:
    """One object is another, new or gone: a policy, a pod or workload, a namespace's labels, the name of a port."""
    found = list(objects)
    spaces = [one["metadata"]["name"] for one in found if one["kind"] == "Namespace"]
    chosen = {kind: [at for at, one in enumerate(found) if one["kind"] == kind]
              for kind in ("NetworkPolicy", "Pod", "Namespace", "Deployment")}  # fmt: skip
    policies = [*chosen["NetworkPolicy"], *(at for at, one in enumerate(found) if is_tiered(one))]
    roll = random.random()
    if roll < 0.4 and policies:
        at = random.choice(policies)
        found[at] = _policy_edited(random, found[at])
    elif roll < 0.5 and policies:
        found.pop(random.choice(policies))
    elif roll < 0.6:
        found.append(random_policy(random, random.randrange(100, 1000), random.choice(spaces)))
    elif roll < 0.65:
        names = {one["metadata"]["name"] for one in found}
        found += [one for one in random_tiered(random, banp=False) if one["metadata"]["name"] not in names]
    elif roll < 0.75 and chosen["Pod"]:
        at = random.choice(chosen["Pod"])
        found[at] = relabelled(found[at], random, LABELS)
    elif roll < 0.8 and chosen["Pod"]:
        at = random.choice(chosen["Pod"])
        found[at] = _ports_renamed(random, found[at])
    elif roll < 0.88:
        at = random.choice(chosen["Namespace"])
        found[at] = relabelled(found[at], random, SPACE_LABELS)
    elif roll < 0.95:
        number = random.randrange(20, 200)
        found.append(random_pod(random, number, random.choice(spaces), "4"))
    elif chosen["Pod"]:
        found.pop(random.choice(chosen["Pod"]))
    return found


# Questions ----------------------------------------------------------------------------------------------------------


def mentioned(value: Any, fields: Sequence[str]) -> Iterator[Any]:
    """Every value, however deep, of fields with some names; of lists each item."""
    if isinstance(value, list):
        for one in value:
            yield from mentioned(one, fields)
    elif isinstance(value, dict):
        for field, one in value.items():
            if field in fields:
                yield from one if isinstance(one, list) else [one]
            yield from mentioned(one, fields)


def interesting_ports(objects: Sequence[Object]) -> list[int]:
    """The ports that rules and containers name, and those beside them."""
    fields = ("port", "endPort", "containerPort", "number", "start", "end")
    named = {one for one in mentioned(list(objects), fields) if isinstance(one, int)} | {80}
    return sorted({one + step for one in named for step in (-1, 0, 1)} & set(range(1, 65536)))


def interesting_addresses(objects: Sequence[Object]) -> list[str]:
    """The first and the last address of every range that rules name, those beside them, the nodes' and some others.

    No address of a pod: the pod is asked for by its name.
    """
    found = {ip_address(text) for text in (*OUTSIDE, *(ip for node in NODES for ip in node))}
    for text in mentioned(list(objects), ("cidr", "except", "networks")):
        block = ip_network(text)
        for edge, step in ((block.network_address, -1), (block.broadcast_address, 1)):
            found.add(edge)
            if 0 <= int(edge) + step < 2**block.max_prefixlen:
                found.add(edge + step)
    taken = {
        ip_address(one["ip"])
        for made in objects
        if made["kind"] == "Pod" and not made["spec"].get("hostNetwork")
        for one in made["status"].get("podIPs", ())
    }
    return sorted(map(str, found - taken))


def questions(random: Random, objects: Sequence[Object], number: int) -> list[Question]:
    """Questions from pods to pods, from pods to addresses and from addresses to pods, near to what rules say."""
    pods = {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one for one in objects if one["kind"] == "Pod"}
    addresses, ports = interesting_addresses(objects), interesting_ports(objects)
    sure = sorted({one for one in mentioned(list(objects), ("containerPort", "port")) if isinstance(one, int)}) or ports

    def address(of: str) -> str:
        """Mostly of a family that the pod has: with the other there is no connection, whatever the policies say."""
        versions = {ip_address(one["ip"]).version for one in pods[of]["status"].get("podIPs", ())} or {4, 6}
        usable = [one for one in addresses if ip_address(one).version in versions]
        return random.choice(usable if usable and random.random() < 0.95 else addresses)

    found = []
    for _ in range(number):
        roll = random.random()
        source, destination = random.choice(list(pods)), random.choice(list(pods))
        if roll < 0.25:
            destination = address(source)
        elif roll < 0.5:
            source = address(destination)
        asked = random.choice(random.choice((ports, sure)))
        found.append(Question(source, destination, random.choice(("TCP", "TCP", *PROTOCOLS)), asked))
    return found


__all__ = [
    "admin_policy",
    "baseline_policy",
    "cluster_policy",
    "container",
    "deployment",
    "interesting_addresses",
    "interesting_ports",
    "network_policy",
    "pod",
    "port",
    "questions",
    "random_cluster",
    "random_edit",
    "random_network",
    "replica_set",
]
