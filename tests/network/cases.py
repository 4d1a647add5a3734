"""What the documentation says of network policies, as questions with their answers, written by hand.

Each row is a small cluster, a question, the answer and the sentence that decides. Sources: the concept page on network
policies and the API reference of kubernetes.io; apis/v1alpha1 and apis/v1alpha2 of kubernetes-sigs/network-policy-api.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.generator.network import (
    admin_policy,
    baseline_policy,
    cluster_policy,
    container,
    network_policy,
    pod,
    port,
)
from tests.generator.objects import Object, namespace
from tests.oracles.network import Question


class Case(NamedTuple):
    """A question about a cluster: True allowed, False denied, None unknown."""

    name: str
    rule: str
    objects: list[Object]
    question: Question
    expected: bool | None
    pods_by_ip: str = "unknown"


API, DB, FRONT, SIX, BOTH = "pay/api", "pay/db", "web/front", "web/six", "pay/both"
HERE, THERE = "192.168.0.10", "192.168.0.11"
"""The nodes: api, six and both run on the first, db and front on the second."""
OUT, OUT6 = "203.0.113.7", "2001:db8::7"

WORLD: list[Object] = [
    namespace("pay", team="a", env="prod"),
    namespace("web", team="b"),
    pod("pay", "api", {"app": "api"}, ["10.244.1.2"], [HERE], [port(8080, "http"), port(53, "dns", "UDP")]),
    pod("pay", "db", {"app": "db", "tier": "back"}, ["10.244.1.3"], [THERE], [port(5432, "db"), port(9090, "http")]),
    pod("web", "front", {"app": "web"}, ["10.244.2.2"], [THERE], [port(80, "http")]),
    pod("web", "six", {"app": "six"}, ["fd00:10:244:2::2"], ["fd00:a::10"]),
    pod("pay", "both", {"app": "both"}, ["10.244.1.4", "fd00:10:244:1::4"], [HERE, "fd00:a::10"]),
]
"""Two namespaces with pods of IPv4, IPv6 and both. In every row, with more beside it."""

CASES: list[Case] = []


def row(
    name: str,
    rule: str,
    expected: bool | None,
    source: str,
    destination: str,
    *objects: Object,
    protocol: str = "TCP",
    port: int = 80,
    pods_by_ip: str = "unknown",
) -> None:
    """Add a row of the table."""
    asked = Question(source, destination, protocol, port)
    CASES.append(Case(name, rule, [*WORLD, *objects], asked, expected, pods_by_ip))


def into(*rules: Object, name: str = "in", **more: object) -> Object:
    """A policy for what reaches the pods of the namespace `pay`."""
    return network_policy("pay", name, policyTypes=["Ingress"], ingress=list(rules), **{"podSelector": {}, **more})


def out_of(*rules: Object, name: str = "out", **more: object) -> Object:
    """A policy for what leaves the pods of the namespace `pay`."""
    return network_policy("pay", name, policyTypes=["Egress"], egress=list(rules), **{"podSelector": {}, **more})


def app(name: str) -> Object:
    """The selector of an `app` label."""
    return {"matchLabels": {"app": name}}


def either(key: str, operator: str, *values: str) -> Object:
    """A selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": list(values)} if values else {})]}


# Isolation ----------------------------------------------------------------------------------------------------------

RULE = "A pod is not isolated in a direction until some policy with that direction selects it."
row("default allows", RULE, True, FRONT, API)
row("default allows out", RULE, True, API, OUT)
row("default allows in", RULE, True, OUT, API)
row("isolated for ingress", RULE, False, FRONT, API, into())
row("isolated for ingress, from outside", RULE, False, OUT, API, into())
row("one direction says nothing about the other", RULE, True, API, FRONT, into())
row("isolated for egress", RULE, False, API, FRONT, out_of())
row("isolated for egress, still reached", RULE, True, FRONT, API, out_of())
row("another pod is selected", RULE, True, FRONT, API, into(podSelector=app("db")))
row("a policy of another namespace", RULE, True, API, FRONT, into())

RULE = "Policies add up: what any rule of any selecting policy allows is allowed."
row("a second policy allows", RULE, True, FRONT, API, into(), into({}, name="open"))
row("the rules of one policy", RULE, True, FRONT, API, into({"ports": [{"port": 1}]}, {"ports": [{"port": 80}]}))

RULE = "A connection needs the egress of its source and the ingress of its destination."
row("egress yes, ingress no", RULE, False, API, DB, out_of({}), into())
row("egress no, ingress yes", RULE, False, API, DB, out_of(), into({}))
row("both ends", RULE, True, API, DB, out_of({}), into({}))
row("from outside only ingress counts", RULE, True, OUT, API, out_of(), into({}))

RULE = "Without policyTypes a policy is for Ingress, and for Egress only if it has egress rules."
row("no types: ingress", RULE, False, FRONT, API, network_policy("pay", "p", podSelector={}))
row("no types, no egress rules", RULE, True, API, FRONT, network_policy("pay", "p", podSelector={}, egress=[]))
row("no types, egress rules", RULE, False, API, FRONT,
    network_policy("pay", "p", podSelector={}, egress=[{"to": [{"podSelector": {}}]}]))  # fmt: skip
row("no types, only egress rules: ingress too", RULE, False, FRONT, API,
    network_policy("pay", "p", podSelector={}, egress=[{}]))  # fmt: skip
row("empty types are none", RULE, False, FRONT, API, network_policy("pay", "p", podSelector={}, policyTypes=[]))
row("[Egress] with ingress rules", "Rules of a direction that policyTypes does not name are ignored.", True, FRONT, API,
    network_policy("pay", "p", podSelector={}, policyTypes=["Egress"], ingress=[]))  # fmt: skip
row("[Ingress] with egress rules", "Rules of a direction that policyTypes does not name are ignored.", True, API, FRONT,
    network_policy("pay", "p", podSelector={}, policyTypes=["Ingress"], egress=[{"ports": [{"port": 1}]}]))  # fmt: skip

RULE = "An empty podSelector selects all pods of the namespace; a missing one is empty."
row("empty selector", RULE, False, FRONT, DB, network_policy("pay", "p", podSelector={}, policyTypes=["Ingress"]))
row("missing selector", RULE, False, FRONT, DB, network_policy("pay", "p", policyTypes=["Ingress"]))

RULE = "A missing or empty list of rules allows nothing; one empty rule allows everything."
row("ingress: []", RULE, False, FRONT, API, into())
row("ingress missing", RULE, False, FRONT, API, network_policy("pay", "p", policyTypes=["Ingress"]))
row("ingress: [{}]", RULE, True, FRONT, API, into({}))
row("egress: [{}] to outside", RULE, True, API, OUT, out_of({}))
row("egress missing", RULE, False, API, FRONT, network_policy("pay", "p", podSelector={}, policyTypes=["Egress"]))
row("both directions, no rules, out", RULE, False, API, FRONT,
    network_policy("pay", "p", podSelector={}, policyTypes=["Ingress", "Egress"]))  # fmt: skip
row("both directions, no rules, in", RULE, False, FRONT, API,
    network_policy("pay", "p", podSelector={}, policyTypes=["Ingress", "Egress"]))  # fmt: skip

# Peers --------------------------------------------------------------------------------------------------------------

RULE = "A missing or empty `from` or `to` is every source or destination, the outside included."
row("from: []", RULE, True, OUT, API, into({"from": []}))
row("from missing", RULE, True, OUT, API, into({"ports": [{"port": 80}]}))
row("from with one item", RULE, False, OUT, API, into({"from": [{"podSelector": {}}]}))
row("to: []", RULE, True, API, OUT, out_of({"to": []}))
row("from: [], a node", RULE, True, THERE, API, into({"from": []}))
row("to: [], a node", RULE, True, API, THERE, out_of({"to": []}))
row("to missing", RULE, True, API, OUT, out_of({"ports": [{"port": 80}]}))
row("to with one item", RULE, False, API, OUT, out_of({"to": [{"namespaceSelector": {}}]}))
row("items are alternatives", RULE, True, FRONT, API,
    into({"from": [{"podSelector": app("no")}, {"namespaceSelector": {}}]}))  # fmt: skip

RULE = "A podSelector alone is about pods of the policy's namespace."
row("pods of the namespace", RULE, True, DB, API, into({"from": [{"podSelector": app("db")}]}))
row("pods of another namespace", RULE, False, FRONT, API, into({"from": [{"podSelector": app("web")}]}))
row("all pods of the namespace", RULE, False, FRONT, API, into({"from": [{"podSelector": {}}]}))

RULE = "A namespaceSelector alone is all pods of the namespaces; an empty one all namespaces, but nothing outside."
row(
    "namespace by label",
    RULE,
    True,
    FRONT,
    API,
    into({"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}),
)
row("other namespace", RULE, False, FRONT, API, into({"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}))
row("all namespaces", RULE, True, FRONT, API, into({"from": [{"namespaceSelector": {}}]}))
row("all namespaces are not the outside", RULE, False, OUT, API, into({"from": [{"namespaceSelector": {}}]}))
row("all namespaces are not the nodes", RULE, False, THERE, API, into({"from": [{"namespaceSelector": {}}]}))
row(
    "not its own namespace",
    RULE,
    False,
    DB,
    API,
    into({"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}),
)
row("namespace by name", "Every namespace has the label kubernetes.io/metadata.name.", True, FRONT, API,
    into({"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}]}))  # fmt: skip

RULE = "Selectors of namespaces are selectors of labels like all others."
for word, selector, holds in (
    ("name In", either("kubernetes.io/metadata.name", "In", "lab", "web"), True),
    ("NotIn", either("team", "NotIn", "b"), False),
    ("NotIn, no key", either("env", "NotIn", "prod"), True),
    ("Exists, no key", either("env", "Exists"), False),
    ("DoesNotExist", either("env", "DoesNotExist"), True),
):
    row(f"namespace: {word}", RULE, holds, FRONT, API, into({"from": [{"namespaceSelector": selector}]}))

RULE = "Both selectors in one item must match; in two items either may."
WEB, DATA = {"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"podSelector": app("db")}
row("one item: not the namespace", RULE, False, DB, API, into({"from": [WEB | DATA]}))
row("one item: not the pod", RULE, False, FRONT, API, into({"from": [WEB | DATA]}))
row("one item: both", RULE, True, FRONT, API, into({"from": [WEB | {"podSelector": app("web")}]}))
row("two items: first", RULE, True, FRONT, API, into({"from": [WEB, DATA]}))
row("two items: second", RULE, True, DB, API, into({"from": [WEB, DATA]}))

RULE = "In, NotIn (true without the key), Exists, DoesNotExist; all of a selector must hold."
for word, selector, holds in (
    ("In", either("app", "In", "x", "db"), True),
    ("In, other value", either("app", "In", "x", "y"), False),
    ("In, no key", either("no", "In", "x"), False),
    ("NotIn", either("app", "NotIn", "x"), True),
    ("NotIn, that value", either("app", "NotIn", "db"), False),
    ("NotIn, no key", either("no", "NotIn", "x"), True),
    ("Exists", either("tier", "Exists"), True),
    ("Exists, no key", either("no", "Exists"), False),
    ("DoesNotExist", either("no", "DoesNotExist"), True),
    ("DoesNotExist, but does", either("tier", "DoesNotExist"), False),
    ("labels and expressions", app("db") | either("tier", "In", "front"), False),
    ("two labels", {"matchLabels": {"app": "db", "tier": "back"}}, True),
    ("two labels, one other", {"matchLabels": {"app": "db", "tier": "front"}}, False),
):
    row(f"selector: {word}", RULE, holds, DB, API, into({"from": [{"podSelector": selector}]}))

RULE = "An ipBlock is its range without its exceptions, of IPv4 or of IPv6."
BLOCK = {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.8/29"]}}
row("in the range", RULE, True, OUT, API, into({"from": [BLOCK]}))
row("first of the exception", RULE, False, "203.0.113.8", API, into({"from": [BLOCK]}))
row("last of the exception", RULE, False, "203.0.113.15", API, into({"from": [BLOCK]}))
row("behind the exception", RULE, True, "203.0.113.16", API, into({"from": [BLOCK]}))
row("behind the range", RULE, False, "203.0.114.0", API, into({"from": [BLOCK]}))
row("to the range", RULE, True, API, OUT, out_of({"to": [BLOCK]}))
row("excepted here, allowed there", RULE, True, API, "203.0.113.9",
    out_of({"to": [BLOCK]}, {"to": [{"ipBlock": {"cidr": "203.0.113.9/32"}}]}))  # fmt: skip
row("IPv6 range", RULE, True, OUT6, BOTH, into({"from": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}))
row(
    "all of IPv4 says nothing about IPv6", RULE, False, OUT6, BOTH, into({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})
)
row("all of IPv6 says nothing about IPv4", RULE, False, OUT, BOTH, into({"from": [{"ipBlock": {"cidr": "::/0"}}]}))
SIXES = {"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8::/64"]}}
row("in the exception, IPv6", RULE, False, BOTH, OUT6, out_of({"to": [SIXES]}))
row("behind the exception, IPv6", RULE, True, BOTH, "2001:db8:0:1::", out_of({"to": [SIXES]}))

RULE = "Whether an ipBlock matches the addresses of pods is up to the plugin."
POD = into({"from": [{"ipBlock": {"cidr": "10.244.2.0/24"}}]})
row("plugin matches pods", RULE, True, FRONT, API, POD, pods_by_ip="yes")
row("plugin does not match pods", RULE, False, FRONT, API, POD, pods_by_ip="no")
row("plugin not known", RULE, None, FRONT, API, POD)
row("plugin not known, not in the range", RULE, False, DB, API, POD)
row("plugin not known, allowed anyway", RULE, True, FRONT, API, POD, into({}, name="open"))
row("plugin matches pods, but not the exception", RULE, False, FRONT, API,
    into({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.244.2.0/24"]}}]}), pods_by_ip="yes")  # fmt: skip
row("to a pod by its address", RULE, None, API, FRONT, out_of({"to": [{"ipBlock": {"cidr": "10.244.2.2/32"}}]}))
row("in ranges on both ends, plugin not known", RULE, None, API, DB,
    out_of({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}),
    into({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}))  # fmt: skip
row("a pod without an address", "Whether an address that is not known lies in a range is not known.", None,
    "pay/new", API, POD, pod("pay", "new", phase="Pending"), pods_by_ip="yes")  # fmt: skip
row("a pod without an address, plugin without pods", RULE, False,
    "pay/new", API, POD, pod("pay", "new", phase="Pending"), pods_by_ip="no")  # fmt: skip

RULE = "A connection is of one address family: one that is allowed is enough."
row("both families, one range", RULE, True, BOTH, "pay/two", pod("pay", "two", {}, ["10.244.1.9", "fd00:10:244:1::9"]),
    cluster_policy("c", "Admin", 1, egress=[{"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}]))  # fmt: skip
row("both families, both ranges", RULE, False, BOTH, "pay/two",
    pod("pay", "two", {}, ["10.244.1.9", "fd00:10:244:1::9"]),
    cluster_policy("c", "Admin", 1,
                   egress=[{"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]}]))  # fmt: skip
row("IPv4 out and IPv6 in is no connection", RULE, False, BOTH, "pay/two",
    pod("pay", "two", {}, ["10.244.1.9", "fd00:10:244:1::9"]),
    out_of({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}), into({"from": [{"ipBlock": {"cidr": "::/0"}}]}),
    pods_by_ip="yes")  # fmt: skip
row("no family in common", RULE, False, API, SIX)

# Ports --------------------------------------------------------------------------------------------------------------

RULE = "Missing or empty `ports` are all ports and protocols; an item without `port` all of its protocol, TCP if none."
row("ports: []", RULE, True, FRONT, API, into({"ports": []}), protocol="SCTP")
row("ports missing", RULE, True, FRONT, API, into({"from": [WEB]}), protocol="UDP")
row("ports: [{}]", RULE, True, FRONT, API, into({"ports": [{}]}), port=65535)
row("ports: [{}] is TCP only", RULE, False, FRONT, API, into({"ports": [{}]}), protocol="UDP")
row("all UDP", RULE, True, FRONT, API, into({"ports": [{"protocol": "UDP"}]}), protocol="UDP")
row("all UDP is not TCP", RULE, False, FRONT, API, into({"ports": [{"protocol": "UDP"}]}))
row("port of TCP", RULE, True, FRONT, API, into({"ports": [{"port": 80}]}))
row("port of UDP", RULE, False, FRONT, API, into({"ports": [{"port": 80}]}), protocol="UDP")
row("SCTP", RULE, True, FRONT, API, into({"ports": [{"protocol": "SCTP", "port": 80}]}), protocol="SCTP")
row("another port", RULE, False, FRONT, API, into({"ports": [{"port": 81}]}))
row("one of the ports", RULE, True, FRONT, API, into({"ports": [{"port": 81}, {"port": 80}]}))
row("port of the peer of another rule", "A rule allows what its ports and its peers both match.", False, FRONT, API,
    into({"ports": [{"port": 80}], "from": [DATA]}, {"ports": [{"port": 81}], "from": [WEB]}))  # fmt: skip

RULE = "A range is from `port` to `endPort`, both included."
for number, inside in ((79, False), (80, True), (85, True), (90, True), (91, False)):
    ranged = into({"ports": [{"port": 80, "endPort": 90}]})
    row(f"80 to 90: {number}", RULE, inside, FRONT, API, ranged, port=number)
row("80 to 80", RULE, True, FRONT, API, into({"ports": [{"port": 80, "endPort": 80}]}))
HIGH = {"ports": [{"protocol": "UDP", "port": 1024, "endPort": 65535}]}
row("UDP 1024 to the last", RULE, True, API, FRONT, out_of(HIGH), protocol="UDP", port=65535)
row("UDP 1024 to the last, TCP", RULE, False, API, FRONT, out_of(HIGH), port=65535)

RULE = "Ports are those of pods, behind a Service: its `targetPort`, not its `port`."
SERVICE: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "pay", "name": "api"}, "spec": {
    "clusterIP": "10.96.0.7", "selector": {"app": "api"}, "ports": [{"port": 80, "targetPort": 8080}]}}  # fmt: skip
row("the pod's port", RULE, True, FRONT, API, SERVICE, into({"ports": [{"port": 8080}]}), port=8080)
row("the Service's port", RULE, False, FRONT, API, SERVICE, into({"ports": [{"port": 80}]}), port=8080)

RULE = "A named port is the port of that name and protocol of the destination pod; none means nothing."
HTTP = {"ports": [{"port": "http"}]}
row("named port of one pod", RULE, True, FRONT, API, into(HTTP), port=8080)
row("named port of another pod", RULE, True, FRONT, DB, into(HTTP), port=9090)
row("the other pod's number", RULE, False, FRONT, DB, into(HTTP), port=8080)
row("another protocol", RULE, False, FRONT, API, into({"ports": [{"port": "http", "protocol": "UDP"}]}), protocol="UDP",
    port=8080)  # fmt: skip
row("name of a UDP port, asked for as TCP", RULE, False, FRONT, API, into({"ports": [{"port": "dns"}]}), port=53)
row("name of a UDP port", RULE, True, FRONT, API, into({"ports": [{"port": "dns", "protocol": "UDP"}]}), protocol="UDP",
    port=53)  # fmt: skip
row("no such name", RULE, False, FRONT, API, into({"ports": [{"port": "db"}]}), port=5432)
row("egress: the destination's name", RULE, True, API, FRONT, out_of(HTTP))
row("egress: not the source's name", RULE, False, API, FRONT, out_of(HTTP), port=8080)
row("egress to an address", "Names of ports mean nothing for addresses.", False, API, OUT, out_of(HTTP), port=8080)
row("egress to an ipBlock", "Names of ports mean nothing for addresses.", False, API, OUT,
    out_of(HTTP | {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}), port=8080)  # fmt: skip
SIDECAR = pod("pay", "car", {}, ["10.244.1.8"], initContainers=[
    container("setup", port(7001, "early")), container("car", port(7002, "late"), restartPolicy="Always")])  # fmt: skip
row("named port of a sidecar", "A sidecar is an init container that keeps running; its ports are the pod's.", True,
    FRONT, "pay/car", SIDECAR, into({"ports": [{"port": "late"}]}), port=7002)  # fmt: skip
row("named port of an init container", "An init container has ended before the pod is ready.", False,
    FRONT, "pay/car", SIDECAR, into({"ports": [{"port": "early"}]}), port=7001)  # fmt: skip

# Traffic that is special --------------------------------------------------------------------------------------------

RULE = "A pod on the host network is no subject and no peer of selectors; it has the address of its node."
HOSTED = pod("pay", "agent", {"app": "agent"}, ["192.168.0.20"], ["192.168.0.20"], [port(80, "http")], hostNetwork=True)
row("host network: no ingress policy", RULE, True, API, "pay/agent", HOSTED, into())
row("host network: no egress policy", RULE, True, "pay/agent", FRONT, HOSTED, out_of())
row("host network: no peer", RULE, False, "pay/agent", API, HOSTED, into({"from": [{"namespaceSelector": {}}]}))
row("host network: everything", RULE, True, "pay/agent", API, HOSTED, into({"from": []}))
row("host network: its node's address", RULE, True, "pay/agent", API, HOSTED,
    into({"from": [{"ipBlock": {"cidr": "192.168.0.20/32"}}]}), pods_by_ip="no")  # fmt: skip
row("host network: as a destination", RULE, False, API, "pay/agent", HOSTED, out_of({"to": [{"podSelector": {}}]}))
row("host network: its ports have no names", RULE, False, API, "pay/agent", HOSTED, out_of(HTTP))
row("host network to the outside", "What no policy can be about is not judged.", None, "pay/agent", OUT, HOSTED)
row("host network to a node", "What no policy can be about is not judged.", None, "pay/agent", THERE, HOSTED)
row("outside to outside", "What no policy can be about is not judged.", None, OUT, OUT6)
LOST = pod("pay", "agent", {}, phase="Pending", hostNetwork=True)
row("host network, node not known, in a range?", "Whether an address that is not known lies in a range is not known.",
    None, API, "pay/agent", LOST, out_of({"to": [{"ipBlock": {"cidr": "192.168.0.0/16"}}]}))  # fmt: skip
row("host network, node not known, may be the pod's own", "Whether an unknown node is the pod's own is not known.",
    None, "pay/agent", API, LOST, into())  # fmt: skip
row("host network, node not known, allowed anyway", RULE, True, "pay/agent", API, LOST, into({}))

RULE = "Traffic to and from the node where a pod is running is always allowed."
row("from its node", RULE, True, HERE, API, into())
row("from another node", RULE, False, THERE, API, into())
row("from its node, denied by the cluster", RULE, True, HERE, API, into(),
    cluster_policy("c", "Admin", 1, ingress=[{"action": "Deny", "from": [{"namespaces": {}}]}]))  # fmt: skip
row("from a pod on the host network of its node", RULE, True, "pay/agent", API, into(),
    pod("pay", "agent", {}, [HERE], [HERE], hostNetwork=True))  # fmt: skip
row("to its node", RULE, True, API, HERE, out_of())
row("to another node", RULE, False, API, THERE, out_of())
row("from its node's IPv6 address", RULE, True, "fd00:a::10", BOTH, into())

RULE = "A pod cannot block access to itself."
row("to itself", RULE, True, API, API, into(), out_of())
row("to itself, denied by the cluster", "Traffic of a pod to its own address is not subject.", True, API, API,
    cluster_policy("c", "Admin", 1, egress=[{"action": "Deny", "to": [{"namespaces": {}}]}]))  # fmt: skip
row("to its own address", RULE, True, API, "10.244.1.2", into(), out_of())
TWINS = [pod("pay", f"twin-{number}", {"app": "twin"}, [f"10.244.1.2{number}"], [HERE], owner="twin-77c9")
         for number in (1, 2)]  # fmt: skip
row("to another pod of its workload", "Only the pod itself is itself.", False, "pay/twin-1", "pay/twin-2", *TWINS,
    into())  # fmt: skip
row("to itself, beside another pod of its workload", RULE, True, "pay/twin-1", "pay/twin-1", *TWINS, into(), out_of())
row("from the address of a pod", "An address that a pod has is that pod.", True, "10.244.1.3", API,
    into({"from": [DATA]}))  # fmt: skip

RULE = "A pod that has ended neither sends nor receives; its address is nobody's."
for phase in ("Succeeded", "Failed"):
    ended = pod("pay", "job", {"app": "job"}, ["10.244.1.7"], [HERE], phase=phase)
    row(f"to a pod that {phase}", RULE, False, API, "pay/job", ended)
    row(f"from a pod that {phase}", RULE, False, "pay/job", API, ended)
    row(f"its node to a pod that {phase}", RULE, False, HERE, "pay/job", ended)
    row(f"to itself when {phase}", RULE, False, "pay/job", "pay/job", ended)
    row(f"from its address when {phase}", RULE, False, "10.244.1.7", API, ended,
        into({"from": [{"podSelector": app("job")}]}))  # fmt: skip

row("the address of a pod that has ended is any address", RULE, True, "10.244.1.7", API, ended)

RULE = "A pod that is pending counts by its labels, with an address or without."
PENDING = pod("pay", "new", {"app": "new"}, phase="Pending")
row("from a pending pod", RULE, True, "pay/new", API, PENDING, into({"from": [{"podSelector": app("new")}]}))
row("to a pending pod", RULE, False, API, "pay/new", PENDING, into())
row("phase Unknown counts as well", RULE, False, API, "pay/new", into(),
    pod("pay", "new", {}, ["10.244.1.9"], phase="Unknown"))  # fmt: skip

# ClusterNetworkPolicy -----------------------------------------------------------------------------------------------

ALL: list[Object] = [{"namespaces": {}}]


def rule(action: str, *peers: Object, side: str = "from", **more: object) -> Object:
    """A rule of a tiered policy; for all pods without peers."""
    return {"action": action, side: list(peers) or ALL, **more}


def admin(*rules: Object, name: str = "admin", priority: int = 5, tier: str = "Admin", **more: Object) -> Object:
    """A ClusterNetworkPolicy for what reaches pods."""
    return cluster_policy(name, tier, priority, more.get("subject"), ingress=list(rules))


def outward(*rules: Object, name: str = "admin", priority: int = 5, tier: str = "Admin") -> Object:
    """A ClusterNetworkPolicy for what leaves pods."""
    return cluster_policy(name, tier, priority, egress=list(rules))


def tcp(number: int) -> Object:
    """An item of `protocols`: one TCP port."""
    return {"tcp": {"destinationPort": {"number": number}}}


RULE = "Admin tier, then NetworkPolicy, which is final for isolated pods, then Baseline tier, then allowed."
BASE = admin(rule("Deny"), tier="Baseline", name="base")
row("Admin Deny beats NetworkPolicy", RULE, False, FRONT, API, admin(rule("Deny")), into({}))
row("Admin Accept beats NetworkPolicy", RULE, True, FRONT, API, admin(rule("Accept")), into())
row("Admin Accept beats Baseline", RULE, True, FRONT, API, admin(rule("Accept")), BASE)
row("Baseline Deny of a pod not isolated", RULE, False, FRONT, API, BASE)
row("NetworkPolicy allows before Baseline", RULE, True, FRONT, API, BASE, into({}))
row("NetworkPolicy denies before Baseline", RULE, False, FRONT, API, into(),
    admin(rule("Accept"), tier="Baseline"))  # fmt: skip
row("isolated in the other direction only", RULE, False, FRONT, API, BASE, out_of({}))
row("Baseline by priority", RULE, True, FRONT, API, BASE, admin(rule("Accept"), tier="Baseline", priority=4))
row("Accept of ingress, Deny of egress", "A connection needs both ends.", False, DB, API, admin(rule("Accept")),
    outward(rule("Deny", side="to"), name="out"))  # fmt: skip
row("Accept on one end only", "Accept of egress: the ingress rules at the destination still apply.", False, API, DB,
    outward(rule("Accept", side="to")), into())  # fmt: skip

RULE = "Pass leaves the tier."
row("Pass over a Deny of the same policy", RULE, True, FRONT, API, admin(rule("Pass"), rule("Deny")))
row("Pass over a Deny of another policy", RULE, True, FRONT, API, admin(rule("Pass")),
    admin(rule("Deny"), name="later", priority=6))  # fmt: skip
row("Pass to NetworkPolicy", RULE, False, FRONT, API, admin(rule("Pass"), rule("Accept")), into())
row("Pass to Baseline", RULE, False, FRONT, API, admin(rule("Pass")), BASE)
row("Pass in Baseline", RULE, True, FRONT, API, admin(rule("Pass"), rule("Deny"), tier="Baseline"))

RULE = "The rules of a policy are tried in their order, policies by priority, lower first."
row("first rule", RULE, True, FRONT, API, admin(rule("Accept"), rule("Deny")))
row(
    "first rule that matches",
    RULE,
    False,
    FRONT,
    API,
    admin(rule("Accept", {"namespaces": {"matchLabels": {"team": "a"}}}), rule("Deny")),
)
row("lower priority first", RULE, True, FRONT, API, admin(rule("Deny"), name="a", priority=6),
    admin(rule("Accept"), name="b", priority=0))  # fmt: skip
row("lower priority does not match", RULE, False, FRONT, API, admin(rule("Deny"), name="a", priority=6),
    admin(rule("Accept", protocols=[tcp(81)]), name="b", priority=0))  # fmt: skip

RULE = "Of policies with equal priority that match, any may be applied."
row("equal, other outcomes", RULE, None, FRONT, API, admin(rule("Deny"), name="a"), admin(rule("Accept"), name="b"))
row("equal, same outcome", RULE, False, FRONT, API, admin(rule("Deny"), name="a"), admin(rule("Deny"), name="b"))
row("equal, only one matches", RULE, True, FRONT, API, admin(rule("Deny", protocols=[tcp(81)]), name="a"),
    admin(rule("Accept"), name="b"))  # fmt: skip
row("equal, in two tiers", RULE, True, FRONT, API, admin(rule("Accept"), name="a"), BASE)
row("equal, behind a lower one", RULE, True, FRONT, API, admin(rule("Accept"), name="first", priority=1),
    admin(rule("Deny"), name="a"), admin(rule("Accept"), name="b"))  # fmt: skip
row("equal, Accept or Pass to what allows", RULE, True, FRONT, API, admin(rule("Pass"), name="a"),
    admin(rule("Accept"), name="b"), into({}))  # fmt: skip
row("equal, Accept or Pass to what denies", RULE, None, FRONT, API, admin(rule("Pass"), name="a"),
    admin(rule("Accept"), name="b"), into())  # fmt: skip
row("equal, egress denied anyway", RULE, False, API, DB, admin(rule("Deny"), name="a"), admin(rule("Accept"), name="b"),
    out_of())  # fmt: skip

RULE = "The subject is chosen by namespaces, or by namespaces and pods; what it does not match goes on."
SUBJECT = {"pods": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": app("api")}}
row("subject by pods", RULE, False, FRONT, API, admin(rule("Deny"), subject=SUBJECT))
row("not the pod", RULE, True, FRONT, DB, admin(rule("Deny"), subject=SUBJECT))
row(
    "not the namespace",
    RULE,
    True,
    API,
    FRONT,
    admin(rule("Deny"), subject={"namespaces": {"matchLabels": {"team": "a"}}}),
)
row(
    "subject by namespace",
    RULE,
    False,
    FRONT,
    DB,
    admin(rule("Deny"), subject={"namespaces": {"matchLabels": {"team": "a"}}}),
)
row("no implicit isolation", RULE, True, FRONT, API, admin(rule("Accept", protocols=[tcp(81)])))
row("host network is no subject", RULE, True, FRONT, "pay/agent", HOSTED, admin(rule("Deny")))
row("the outside is no pod", "Peers of ingress are pods.", True, OUT, API, admin(rule("Deny")))
row("host network is no peer", "Peers of ingress are pods.", True, "pay/agent", API, HOSTED, admin(rule("Deny")))
row("peer by pods", "A peer `pods` is of namespaces and pods.", False, DB, API,
    admin(rule("Deny", {"pods": {"namespaceSelector": {}, "podSelector": app("db")}})))  # fmt: skip
row("peer by pods, another", "A peer `pods` is of namespaces and pods.", True, FRONT, API,
    admin(rule("Deny", {"pods": {"namespaceSelector": {}, "podSelector": app("db")}})))  # fmt: skip

RULE = "Networks match the traffic between pods as well, whatever an ipBlock does."
NET4 = {"networks": ["0.0.0.0/0"]}
row("networks deny pods", RULE, False, API, FRONT, outward(rule("Deny", NET4, side="to")), pods_by_ip="no")
row("networks deny the outside", RULE, False, API, OUT, outward(rule("Deny", NET4, side="to")))
row("networks of the other family", RULE, True, BOTH, OUT6, outward(rule("Deny", NET4, side="to")))
row(
    "pods passed before networks",
    RULE,
    True,
    API,
    FRONT,
    outward(rule("Pass", side="to"), rule("Deny", NET4, side="to")),
)
row(
    "one of the networks",
    RULE,
    False,
    API,
    OUT,
    outward(rule("Deny", {"networks": ["10.0.0.0/8", "203.0.113.0/24"]}, side="to")),
)
row("none of the networks", RULE, True, API, OUT, outward(rule("Deny", {"networks": ["10.0.0.0/8"]}, side="to")))
row("networks, a pod on the host network", RULE, False, API, "pay/agent", HOSTED,
    outward(rule("Deny", {"networks": ["192.168.0.20/32"]}, side="to")))  # fmt: skip
row("networks, a pod without an address", RULE, None, API, "pay/new", PENDING,
    outward(rule("Deny", {"networks": ["10.0.0.0/8"]}, side="to")), pods_by_ip="no")  # fmt: skip

RULE = "A peer that is not known fails closed: Accept matches nothing, Deny and Pass deny all."
STRANGE: Object = {"services": {}}
row("unknown peer, Accept", RULE, False, FRONT, API, admin(rule("Accept", STRANGE)), into())
row("unknown peer beside a known one, Accept", RULE, False, FRONT, API, admin(rule("Accept", STRANGE, *ALL)), into())
row("unknown peer, Deny", RULE, False, FRONT, API, admin(rule("Deny", STRANGE)), into({}))
row("unknown peer, Pass", RULE, False, FRONT, API, admin(rule("Pass", STRANGE)), into({}))
row("unknown peer, Deny, from outside", RULE, False, OUT, API, admin(rule("Deny", STRANGE)))
row("unknown peer, Deny of another port", RULE, False, FRONT, API, admin(rule("Deny", STRANGE, protocols=[tcp(81)])))
row("unknown peer, Deny behind an Accept", RULE, True, FRONT, API, admin(rule("Accept"), rule("Deny", STRANGE)))
row("unknown peer, egress", RULE, False, API, OUT, outward(rule("Deny", STRANGE, side="to")))
row("unknown peer, another subject", RULE, True, FRONT, DB, admin(rule("Deny", STRANGE), subject=SUBJECT))

RULE = "A protocol that is not known fails closed as well (NPEP-187: an item that is empty to an older client)."
GRE: list[Object] = [{"gre": {}}]
row("unknown protocol, Accept", RULE, False, FRONT, API, admin(rule("Accept", protocols=GRE)), into())
row("unknown protocol beside a known one, Accept", RULE, False, FRONT, API,
    admin(rule("Accept", protocols=[*GRE, tcp(80)])), into())  # fmt: skip
row("unknown protocol, Deny", RULE, False, FRONT, API, admin(rule("Deny", protocols=GRE)), into({}))
row("unknown protocol, Pass", RULE, False, FRONT, API, admin(rule("Pass", protocols=GRE)), into({}))
row("unknown peer: networks of ingress", "Peers of ingress are namespaces and pods in v1alpha2.", False, FRONT, API,
    admin(rule("Deny", {"networks": ["1.1.1.1/32"]})))  # fmt: skip
row("unknown peer, Deny, from its node", "Traffic to and from the node where a pod is running is always allowed.", True,
    HERE, API, admin(rule("Deny", STRANGE)))  # fmt: skip

RULE = "Which addresses `nodes` and `domainNames` are is not known from these objects; pods they are not."
DOMAIN: Object = {"domainNames": ["*.example.com"]}
NODE: Object = {"nodes": {}}
CLOSED = outward(rule("Deny", NET4, side="to"), name="closed", priority=9)
row("domain name", RULE, None, API, OUT, outward(rule("Accept", DOMAIN, side="to")), CLOSED)
row(
    "domain name of an address that is allowed anyway", RULE, True, API, OUT, outward(rule("Accept", DOMAIN, side="to"))
)
row("domain name, a pod", RULE, False, API, FRONT, outward(rule("Accept", DOMAIN, side="to")), CLOSED)
row(
    "domain name, another port",
    RULE,
    False,
    API,
    OUT,
    outward(rule("Accept", DOMAIN, side="to", protocols=[tcp(443)])),
    CLOSED,
)
row("nodes", RULE, None, API, THERE, outward(rule("Deny", NODE, side="to")))
row("nodes, a pod", RULE, True, API, FRONT, outward(rule("Deny", NODE, side="to")))
row("nodes, a pod on the host network", RULE, None, API, "pay/agent", HOSTED, outward(rule("Deny", NODE, side="to")))
row("nodes, denied anyway", RULE, False, API, THERE, outward(rule("Deny", NODE, side="to")), CLOSED)
row("nodes, the same selector is the same fact", RULE, True, API, THERE, outward(rule("Pass", NODE, side="to")),
    outward(rule("Deny", NODE, side="to"), name="later", priority=6))  # fmt: skip

RULE = "`protocols`: one port or an inclusive range of TCP, UDP or SCTP; without the field, everything."
UDP = {"udp": {"destinationPort": {"range": {"start": 80, "end": 90}}}}
row("tcp number", RULE, False, FRONT, API, admin(rule("Deny", protocols=[tcp(80)])))
row("tcp number, UDP", RULE, True, FRONT, API, admin(rule("Deny", protocols=[tcp(80)])), protocol="UDP")
row("no protocols", RULE, False, FRONT, API, admin(rule("Deny")), protocol="SCTP")
row(
    "sctp",
    RULE,
    False,
    FRONT,
    API,
    admin(rule("Deny", protocols=[{"sctp": {"destinationPort": {"number": 80}}}])),
    protocol="SCTP",
)
for number, inside in ((79, True), (80, False), (90, False), (91, True)):
    row(
        f"udp 80 to 90: {number}",
        RULE,
        inside,
        FRONT,
        API,
        admin(rule("Deny", protocols=[UDP])),
        protocol="UDP",
        port=number,
    )
row("one of the protocols", RULE, False, FRONT, API, admin(rule("Deny", protocols=[UDP, tcp(80)])))
row("tcp without a port", "Without destinationPort it is every port of the protocol (site: API overview).", False,
    FRONT, API, admin(rule("Deny", protocols=[{"tcp": {}}])), port=65535)  # fmt: skip
row("tcp without a port, UDP", "Without destinationPort it is every port of the protocol (site: API overview).", True,
    FRONT, API, admin(rule("Deny", protocols=[{"tcp": {}}])), protocol="UDP")  # fmt: skip

RULE = "A destinationNamedPort is the port of that name of the destination pod, whatever its protocol."
WORD = [{"destinationNamedPort": "http"}]
row("named port, ingress", RULE, False, FRONT, API, admin(rule("Deny", protocols=WORD)), port=8080)
row("named port, another pod", RULE, True, FRONT, DB, admin(rule("Deny", protocols=WORD)), port=8080)
row("named port, egress", RULE, False, API, DB, outward(rule("Deny", side="to", protocols=WORD)), port=9090)
row(
    "named UDP port",
    RULE,
    False,
    FRONT,
    API,
    admin(rule("Deny", protocols=[{"destinationNamedPort": "dns"}])),
    protocol="UDP",
    port=53,
)
row(
    "named UDP port, TCP",
    RULE,
    True,
    FRONT,
    API,
    admin(rule("Deny", protocols=[{"destinationNamedPort": "dns"}])),
    port=53,
)

# AdminNetworkPolicy and BaselineAdminNetworkPolicy ------------------------------------------------------------------

RULE = "v1alpha1: AdminNetworkPolicy before NetworkPolicy, BaselineAdminNetworkPolicy behind it; Allow is Accept."
OLD = baseline_policy(ingress=[rule("Deny")])
row("ANP Deny", RULE, False, FRONT, API, admin_policy("a", 5, ingress=[rule("Deny")]), into({}))
row("ANP Allow", RULE, True, FRONT, API, admin_policy("a", 5, ingress=[rule("Allow")]), into())
row(
    "ANP Pass to NetworkPolicy",
    RULE,
    False,
    FRONT,
    API,
    admin_policy("a", 5, ingress=[rule("Pass"), rule("Allow")]),
    into(),
)
row("ANP Pass to BANP", RULE, False, FRONT, API, admin_policy("a", 5, ingress=[rule("Pass")]), OLD)
row("BANP Deny", RULE, False, FRONT, API, OLD)
row("BANP behind NetworkPolicy", RULE, True, FRONT, API, OLD, into({}))
row(
    "ANP by priority",
    RULE,
    True,
    FRONT,
    API,
    admin_policy("a", 5, ingress=[rule("Deny")]),
    admin_policy("b", 4, ingress=[rule("Allow")]),
)
row("ANP equal", "v1alpha1: the order of equal priorities is not defined.", None, FRONT, API,
    admin_policy("a", 5, ingress=[rule("Deny")]), admin_policy("b", 5, ingress=[rule("Allow")]))  # fmt: skip
row("ANP beside CNP, equal", "Both versions are one Admin tier.", None, FRONT, API,
    admin_policy("a", 5, ingress=[rule("Deny")]), admin(rule("Accept")))  # fmt: skip
row("BANP beside CNP Baseline", "A BaselineAdminNetworkPolicy has no priority: its order is not defined.", None, FRONT,
    API, OLD, admin(rule("Accept"), tier="Baseline"))  # fmt: skip
row("ANP subject", RULE, True, FRONT, DB, admin_policy("a", 5, SUBJECT, ingress=[rule("Deny")]))
row("ANP networks match pods", RULE, False, API, FRONT, admin_policy("a", 5, egress=[rule("Deny", NET4, side="to")]))
row("ANP unknown peer", RULE, False, FRONT, API, admin_policy("a", 5, ingress=[rule("Pass", STRANGE)]))

RULE = "v1alpha1 `ports`: portNumber and portRange with a protocol (TCP if none), or namedPort; none are all."
for word, item, protocol, number, denied in (
    ("portNumber", {"portNumber": {"protocol": "TCP", "port": 80}}, "TCP", 80, True),
    ("portNumber, default TCP", {"portNumber": {"port": 80}}, "TCP", 80, True),
    ("portNumber, other protocol", {"portNumber": {"protocol": "UDP", "port": 80}}, "TCP", 80, False),
    ("portNumber, other number", {"portNumber": {"protocol": "TCP", "port": 81}}, "TCP", 80, False),
    ("portRange, first", {"portRange": {"protocol": "UDP", "start": 80, "end": 90}}, "UDP", 80, True),
    ("portRange, last", {"portRange": {"protocol": "UDP", "start": 80, "end": 90}}, "UDP", 90, True),
    ("portRange, behind", {"portRange": {"protocol": "UDP", "start": 80, "end": 90}}, "UDP", 91, False),
    ("portRange, other protocol", {"portRange": {"start": 80, "end": 90}}, "UDP", 80, False),
    ("namedPort", {"namedPort": "http"}, "TCP", 8080, True),
    ("namedPort, other number", {"namedPort": "http"}, "TCP", 80, False),
):
    denying = admin_policy("a", 5, ingress=[rule("Deny", ports=[item])])
    row(f"ANP {word}", RULE, not denied, FRONT, API, denying, protocol=protocol, port=number)
row("ANP without ports", RULE, False, FRONT, API, admin_policy("a", 5, ingress=[rule("Deny")]), protocol="SCTP")

# What NetworkPolicy says of nodes holds in its tier only
RULE = "Only NetworkPolicy is powerless against traffic to a pod's own node; the tiers of the cluster are not."
row("to its node, denied by the cluster", RULE, False, API, HERE, outward(rule("Deny", NET4, side="to")))
