"""Network policy by brute force, written from the documentation and without anything of posture.

One question about one connection, answered rule by rule. What the documentation leaves open, or the objects do not
say, is a fact that may be one thing or another: the question is answered in every world that these facts allow, and
where the worlds disagree the answer is None. Sources: the concept page on network policies and the API reference of
kubernetes.io; apis/v1alpha1 and apis/v1alpha2 of kubernetes-sigs/network-policy-api.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

type Object = Mapping[str, Any]
type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

NAME_LABEL = "kubernetes.io/metadata.name"
MOST_WORLDS = 100_000
TIERED = ("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
ACTIONS = {"Accept": "Accept", "Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
"""The actions of v1alpha2, and of v1alpha1 by their names in v1alpha2."""


class Question(NamedTuple):
    """May the source open a connection to this port of the destination? Both are NS/POD or an address."""

    source: str
    destination: str
    protocol: str
    port: int


# What is not known --------------------------------------------------------------------------------------------------


class World:
    """One way that the facts may be; a fact is settled when it is first asked for, and then stays."""

    def __init__(self, taken: Sequence[int]) -> None:
        """`taken` says which option the first facts take; the others take their first."""
        self.taken = taken
        self.settled: dict[tuple[str, ...], Any] = {}
        self.choices: list[tuple[int, int]] = []

    def ask[Option](self, options: Sequence[Option], *fact: str) -> Option:
        """What a fact is in this world."""
        if fact not in self.settled:
            number = len(self.choices)
            option = self.taken[number] if number < len(self.taken) else 0
            self.choices.append((option, len(options)))
            self.settled[fact] = options[option]
        found: Option = self.settled[fact]
        return found

    def holds(self, *fact: str) -> bool:
        """Whether a fact that is true or false is true in this world."""
        return self.ask((False, True), *fact)


def in_every_world(judge: Callable[[World], bool]) -> bool | None:
    """The answer on which all worlds agree, else None."""
    taken: list[int] = []
    answers = set()
    for _ in range(MOST_WORLDS):
        world = World(taken)
        answers.add(judge(world))
        if len(answers) == 2:
            return None
        left = world.choices  # like counting: the last fact that has another option takes it, those behind start anew
        while left and left[-1][0] + 1 == left[-1][1]:
            left.pop()
        if not left:
            return answers.pop()
        taken = [option for option, _ in left]
        taken[-1] += 1
    raise RuntimeError("too many worlds for a test")


# Labels and addresses -----------------------------------------------------------------------------------------------


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches: everything that it lists must hold, so an empty one matches all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
        if operator == "In" and not (key in labels and labels[key] in values):
            return False
        if operator == "NotIn" and key in labels and labels[key] in values:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


@cache
def address_of(text: str) -> Address:
    """An address, read once."""
    return ip_address(text)


@cache
def network_of(text: str) -> Network:
    """A range in CIDR form, read once; bits behind the prefix are ignored."""
    return ip_network(text, strict=False)


def inside(address: str, block: Object) -> bool:
    """Whether an address lies in the range of a block and in none of its exceptions."""
    one = address_of(address)
    return one in network_of(block["cidr"]) and not any(one in network_of(out) for out in block.get("except") or ())


# Who speaks ---------------------------------------------------------------------------------------------------------


def written(value: Any) -> str:
    """A value as text that is the same for equal values."""
    return json.dumps(value, sort_keys=True)


def host_addresses(pod: Object) -> list[str]:
    """The addresses of the node on which a pod runs; none when it is not known."""
    status = pod.get("status") or {}
    if status.get("hostIPs"):
        return [one["ip"] for one in status["hostIPs"]]
    return [status["hostIP"]] if status.get("hostIP") else []


def pod_addresses(pod: Object) -> list[str]:
    """The addresses of a pod; none when it has none yet."""
    status = pod.get("status") or {}
    if status.get("podIPs"):
        return [one["ip"] for one in status["podIPs"]]
    return [status["podIP"]] if status.get("podIP") else []


def on_host(pod: Object) -> bool:
    """Whether a pod uses the network of its node."""
    return bool(pod["spec"].get("hostNetwork"))


def terminated(pod: Object) -> bool:
    """Whether a pod has ended; it keeps its address in its status all the same."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class End(NamedTuple):
    """One end of a connection, with the one address that the connection uses, where it is known."""

    name: str
    """NS/POD or the address as asked for."""
    pod: Object | None
    """The pod that selectors can see; None for an address and for a pod on the host network."""
    address: str | None


class Cluster(NamedTuple):
    """The objects that matter, by kind."""

    pods: Mapping[str, Object]
    namespaces: Mapping[str, Mapping[str, str]]
    """The labels of each namespace; its name is one of them."""
    policies: Sequence[Object]
    tiered: Sequence[Object]
    pods_by_ip: str
    samples: Sequence[str]
    """An address of every kind that the policies tell apart: where a range begins, and behind its end."""


def place(one: Object) -> str:
    """NS/NAME."""
    return f"{one['metadata'].get('namespace') or 'default'}/{one['metadata']['name']}"


def read(objects: Sequence[Object], pods_by_ip: str) -> Cluster:
    """Sort the objects by kind."""
    pods = {place(one): one for one in objects if one["kind"] == "Pod"}
    spaces = {
        one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in objects if one["kind"] == "Namespace"
    }
    names = set(spaces) | {name.partition("/")[0] for name in pods}
    return Cluster(
        pods,
        {name: {**spaces.get(name, {}), NAME_LABEL: name} for name in names},
        [one for one in objects if one["kind"] == "NetworkPolicy"],
        [one for one in objects if one["kind"] in TIERED],
        pods_by_ip,
        samples_of([one for one in objects if one["kind"] in ("NetworkPolicy", *TIERED)]),
    )


def samples_of(policies: Any) -> list[str]:
    """The first address of each range that is written somewhere, and the one behind its last."""
    found = {ip_address("0.0.0.0"), ip_address("::")}
    for text in ranges_in(policies):
        found.add(network_of(text).network_address)
        last = network_of(text).broadcast_address
        if int(last) + 1 < 2**last.max_prefixlen:
            found.add(last + 1)
    return sorted(map(str, found))


def ranges_in(value: Any) -> list[str]:
    """Every CIDR that is written in some objects."""
    if isinstance(value, str):
        return [value] if "/" in value and value[0] in "0123456789abcdef:" and is_range(value) else []
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for one in inner for text in ranges_in(one)]


def is_range(text: str) -> bool:
    """Whether a text is a CIDR."""
    try:
        network_of(text)
    except ValueError:
        return False
    return True


def namespace_of(pod: Object) -> str:
    """The namespace of a pod."""
    return place(pod).partition("/")[0]


def labels_of(one: Object) -> Mapping[str, str]:
    """The labels of an object."""
    return one["metadata"].get("labels") or {}


# NetworkPolicy v1 ---------------------------------------------------------------------------------------------------


def types_of(policy: Object) -> list[str]:
    """The directions of a policy; where it does not say: Ingress, and Egress if it has egress rules."""
    spec = policy["spec"]
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def named(pod: Object | None, name: str) -> list[tuple[str, int]]:
    """Protocol and number of the ports of a pod with some name. Containers that end before the others start have none.

    An address has no names for its ports.
    """
    if pod is None:
        return []
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    return [
        (port.get("protocol") or "TCP", port["containerPort"])
        for container in [*spec["containers"], *sidecars]
        for port in container.get("ports") or ()
        if port.get("name") == name
    ]


def port_matches(item: Object, asked: Question, destination: End) -> bool:
    """Whether one item of `ports` is about the asked port. Without `port` it is all ports of the protocol."""
    if (item.get("protocol") or "TCP") != asked.protocol:
        return False
    port = item.get("port")
    if port is None:
        return True
    if isinstance(port, str):
        return (asked.protocol, asked.port) in named(destination.pod, port)
    return bool(port <= asked.port <= (item.get("endPort") or port))


def in_block(world: World, cluster: Cluster, end: End, block: Object) -> bool:
    """Whether the address of an end lies in a block; where it is not known it may be any, the same for all blocks."""
    return inside(end.address or world.ask(cluster.samples, "address", end.name), block)


def block_matches(world: World, cluster: Cluster, peer: End, block: Object) -> bool:
    """Whether an ipBlock matches: for the address of a pod, plugins differ, but each plugin is always the same."""
    if not in_block(world, cluster, peer, block):
        return False
    if peer.pod is None or cluster.pods_by_ip == "yes":
        return True
    return cluster.pods_by_ip == "unknown" and world.holds("ipBlock matches pods")


def peer_matches(world: World, cluster: Cluster, policy: Object, item: Object, peer: End) -> bool:
    """Whether one item of `from` or `to` is about a peer."""
    if item.get("ipBlock") is not None:
        return block_matches(world, cluster, peer, item["ipBlock"])
    if peer.pod is None:
        return False
    where = namespace_of(peer.pod)
    spaces, pods = item.get("namespaceSelector"), item.get("podSelector")
    if spaces is None and where != namespace_of(policy):
        return False
    if spaces is not None and not selects(spaces, cluster.namespaces[where]):
        return False
    return pods is None or selects(pods, labels_of(peer.pod))


def rule_matches(
    world: World, cluster: Cluster, policy: Object, rule: Object, peers: str, asked: Question, peer: End, to: End
) -> bool:
    """Whether one rule allows: any of its ports (all without any) and any of its peers (all without any)."""
    ports = rule.get("ports") or ()
    if ports and not any(port_matches(item, asked, to) for item in ports):
        return False
    items = rule.get(peers) or ()
    return not items or any(peer_matches(world, cluster, policy, item, peer) for item in items)


def policies_say(
    world: World, cluster: Cluster, direction: str, pod: Object, asked: Question, peer: End, to: End
) -> bool | None:
    """What the NetworkPolicies say of one direction: None when none selects the pod, else whether any rule allows."""
    selecting = [
        policy
        for policy in cluster.policies
        if namespace_of(policy) == namespace_of(pod)
        and direction in types_of(policy)
        and selects(policy["spec"].get("podSelector") or {}, labels_of(pod))
    ]
    if not selecting:
        return None
    rules, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    return any(
        rule_matches(world, cluster, policy, rule, peers, asked, peer, to)
        for policy in selecting
        for rule in policy["spec"].get(rules) or ()
    )


# ClusterNetworkPolicy v1alpha2, and v1alpha1 ------------------------------------------------------------------------


def tier_of(policy: Object) -> str:
    """Admin or Baseline."""
    if policy["kind"] == "ClusterNetworkPolicy":
        return str(policy["spec"]["tier"])
    return "Admin" if policy["kind"] == "AdminNetworkPolicy" else "Baseline"


def chosen(cluster: Cluster, selection: Object, pod: Object) -> bool:
    """Whether a subject or a peer of the form {namespaces} or {pods} selects a pod."""
    spaces = cluster.namespaces[namespace_of(pod)]
    if selection.get("namespaces") is not None:
        return selects(selection["namespaces"], spaces)
    both = selection["pods"]
    return selects(both.get("namespaceSelector") or {}, spaces) and selects(
        both.get("podSelector") or {}, labels_of(pod)
    )


def known(peer: Object, direction: str) -> bool:
    """Whether a peer is one of those that the API has for the direction."""
    egress = ("nodes", "networks", "domainNames") if direction == "Egress" else ()
    return sum(peer.get(kind) is not None for kind in ("namespaces", "pods", *egress)) == 1


PORTS = ("tcp", "udp", "sctp", "destinationNamedPort", "portNumber", "portRange", "namedPort")


def known_port(item: Object) -> bool:
    """Whether one item of `protocols` or `ports` is one of those that the API has."""
    return any(item.get(kind) is not None for kind in PORTS)


def tiered_peer_matches(world: World, cluster: Cluster, item: Object, peer: End) -> bool:
    """Whether one peer of a rule is the other end. Networks see the addresses of pods too; nodes and names do not."""
    if item.get("networks") is not None:
        return any(in_block(world, cluster, peer, {"cidr": cidr}) for cidr in item["networks"])
    if item.get("nodes") is not None or item.get("domainNames") is not None:
        return peer.pod is None and world.holds("is one of", written(item), peer.address or peer.name)
    return peer.pod is not None and chosen(cluster, item, peer.pod)


def protocol_matches(item: Object, asked: Question, to: End) -> bool:
    """Whether one item of `protocols` (v1alpha2) or `ports` (v1alpha1) is about the asked port."""
    name = item.get("destinationNamedPort") or item.get("namedPort")
    if name:
        return (asked.protocol, asked.port) in named(to.pod, name)
    if item.get("portNumber"):
        one = item["portNumber"]
        return (one.get("protocol") or "TCP", one["port"]) == (asked.protocol, asked.port)
    if item.get("portRange"):
        one = item["portRange"]
        return (one.get("protocol") or "TCP") == asked.protocol and bool(one["start"] <= asked.port <= one["end"])
    found = item.get(asked.protocol.lower())
    if found is None:
        return False
    port = found.get("destinationPort")
    if port is None:
        return True
    if port.get("range"):
        return bool(port["range"]["start"] <= asked.port <= port["range"]["end"])
    return bool(port["number"] == asked.port)


def tiered_rule_says(
    world: World, cluster: Cluster, rule: Object, direction: str, asked: Question, peer: End, to: End
) -> str | None:
    """The action of a rule when it matches. With a peer or a protocol that is not known it fails closed, as a whole."""
    action = ACTIONS[rule["action"]]
    items = rule["from" if direction == "Ingress" else "to"]
    ports = rule.get("protocols") or rule.get("ports") or ()
    if not (all(known(item, direction) for item in items) and all(map(known_port, ports))):
        return None if action == "Accept" else "Deny"
    if ports and not any(protocol_matches(item, asked, to) for item in ports):
        return None
    return action if any(tiered_peer_matches(world, cluster, item, peer) for item in items) else None


def tiered_policy_says(
    world: World, cluster: Cluster, policy: Object, direction: str, asked: Question, peer: End, to: End
) -> str | None:
    """The action of the first rule of a policy that matches."""
    for rule in policy["spec"].get(direction.lower()) or ():
        action = tiered_rule_says(world, cluster, rule, direction, asked, peer, to)
        if action:
            return action
    return None


def any_of(world: World, actions: Mapping[str, str], *why: str) -> str:
    """The action of one of several policies that all match and have no order; one fact for each direction."""
    if len(set(actions.values())) == 1:
        return next(iter(actions.values()))
    return actions[world.ask(sorted(actions), "goes first", *why, *sorted(actions))]


def tier_says(
    world: World, cluster: Cluster, tier: str, direction: str, pod: Object, asked: Question, peer: End, to: End
) -> str | None:
    """The action of a tier: of the matching policy with the lowest priority.

    Of several with the same priority any may go first; BaselineAdminNetworkPolicy has none at all.
    """
    says = {
        f"{policy['kind']}/{policy['metadata']['name']}": (policy["spec"].get("priority"), action)
        for policy in cluster.tiered
        if tier_of(policy) == tier
        and chosen(cluster, policy["spec"]["subject"], pod)
        and (action := tiered_policy_says(world, cluster, policy, direction, asked, peer, to))
    }
    if not says:
        return None
    lowest = min((priority for priority, _ in says.values() if priority is not None), default=None)
    first = {name: action for name, (priority, action) in says.items() if priority in (lowest, None)}
    return any_of(world, first, direction, to.address or "")


# One connection -----------------------------------------------------------------------------------------------------


def direction_allows(
    world: World, cluster: Cluster, direction: str, subject: End, asked: Question, peer: End, to: End
) -> bool:
    """Whether one end lets a connection pass: Admin tier, NetworkPolicies, Baseline tier, and allowed by default.

    What no selector can see (an address, a pod on the host network) has no policies. NetworkPolicy cannot stop the
    traffic of a pod with its own node.
    """
    pod = subject.pod
    if pod is None:
        return True
    action = tier_says(world, cluster, "Admin", direction, pod, asked, peer, to)
    if action in ("Accept", "Deny"):
        return action == "Accept"
    allowed = policies_say(world, cluster, direction, pod, asked, peer, to)
    if allowed is not None:
        return allowed or own_node(world, pod, peer)
    return tier_says(world, cluster, "Baseline", direction, pod, asked, peer, to) != "Deny"


def own_node(world: World, pod: Object, peer: End) -> bool:
    """Whether the other end is the node on which a pod runs; a fact for a host-network pod on who knows which node."""
    hosts = host_addresses(pod)
    if peer.pod is not None or not hosts:
        return False
    if peer.address is None:
        return world.holds("same node", place(pod), peer.name)
    return any(address_of(host) == address_of(peer.address) for host in hosts)


def pod_called(cluster: Cluster, name: str) -> Object | None:
    """The pod of a name, or the running pod that has an address; None for an address that no pod has."""
    if "/" in name:
        return cluster.pods[name]
    for pod in cluster.pods.values():
        if not on_host(pod) and not terminated(pod) and address_of(name) in map(address_of, pod_addresses(pod)):
            return pod
    return None


def ends_of(cluster: Cluster, name: str) -> list[End]:
    """An end of a connection with each address that it may use; with None when it is not known."""
    pod = pod_called(cluster, name)
    if "/" not in name:
        return [End(name, pod, str(address_of(name)))]
    assert pod is not None
    seen, addresses = (None, host_addresses(pod)) if on_host(pod) else (pod, pod_addresses(pod))
    return [End(name, seen, address) for address in addresses] or [End(name, seen, None)]


def same_family(one: End, other: End) -> bool:
    """Whether a connection between two addresses can be: both IPv4 or both IPv6, as far as they are known."""
    if one.address is None or other.address is None:
        return True
    return address_of(one.address).version == address_of(other.address).version


def connects(world: World, cluster: Cluster, source: End, destination: End, asked: Question) -> bool:
    """Whether the source may open one connection: its egress and the destination's ingress both allow it."""
    if destination.pod is not None and own_node(world, destination.pod, source):
        return True  # nothing keeps a node from its own pods
    return (
        same_family(source, destination)
        and direction_allows(world, cluster, "Egress", source, asked, destination, destination)
        and direction_allows(world, cluster, "Ingress", destination, asked, source, destination)
    )


def answer(objects: Sequence[Object], question: Question, pods_by_ip: str = "unknown") -> bool | None:
    """Whether a connection is allowed; None when that depends on what nobody knows.

    `pods_by_ip`: whether an ipBlock matches the addresses of pods: yes, no or unknown.
    """
    cluster = read(objects, pods_by_ip)
    source, destination = pod_called(cluster, question.source), pod_called(cluster, question.destination)
    if any(pod is not None and terminated(pod) for pod in (source, destination)):
        return False
    if source is not None and source is destination:
        return True
    sources, destinations = ends_of(cluster, question.source), ends_of(cluster, question.destination)
    if sources[0].pod is None and destinations[0].pod is None:
        return None
    ways = [(one, other) for one in sources for other in destinations]
    # One way in which the connection can be made is enough.
    return in_every_world(lambda world: any(connects(world, cluster, *way, question) for way in ways))
