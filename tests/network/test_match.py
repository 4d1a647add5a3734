"""The language of checks on what may be sent and received: each field, where it holds and where not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.cli import run
from posture.errors import OK, USAGE
from posture.model import Changed, Check, Gap, Key, Through
from posture.network import Connectivity, Matcher, as_change, evaluate, match
from tests.generator.network import cluster_policy, container, network_policy, pod, port
from tests.generator.objects import Object, metadata, namespace, snapshot

PODS = [
    pod("pay", "api", {"app": "api"}, ["10.244.1.2"], ["192.168.0.10"], [port(8080, "http"), port(9090, "metrics")]),
    pod("web", "front", {"app": "web"}, ["10.244.2.2"], ["192.168.0.11", "fd00:a::11"], [port(80, "http")]),
    pod("kube-system", "kube-apiserver-cp", {"component": "kube-apiserver"}, [], ["192.168.0.5"], hostNetwork=True),
]
SPACES = [
    namespace("pay", team="pay"), namespace("web", team="web", shop="yes"), namespace("jobs", team="pay"),
    namespace("tools"), namespace("kube-system"),
]  # fmt: skip
CLOSED = network_policy("pay", "closed", policyTypes=["Ingress", "Egress"])
"""Whatever is allowed beside it is allowed by a policy."""


def checked(**given: Any) -> Check:
    """A check of what one condition, or what else is given, asks for."""
    return Check("asked", "network", "Asked", "", "medium", given, "Because.", "Do not.")


def result_of(*objects: Object, gaps: Iterable[Gap] = ()) -> Connectivity:
    """What may talk in the small cluster, with more beside it."""
    return evaluate(replace(snapshot([*SPACES, *PODS, *objects], [*gaps]), settings={"podsByIp": "no"}))


def found(check: Check, *objects: Object, gaps: Iterable[Gap] = ()) -> set[tuple[str, str]]:
    """Where a check holds in namespace pay: (subject, name of what it holds through)."""
    hits = match(Matcher([check]), result_of(*objects, gaps=gaps))
    return {(hit.subject, hit.through.name) for hit in hits if hit.scope == "pay"}


def ingress(*peers: Object, ports: Iterable[Object] = ()) -> Object:
    """A policy that lets some peers reach the pods of pay."""
    rule: Object = {"from": list(peers), "ports": list(ports)}
    return network_policy("pay", "some", policyTypes=["Ingress"], ingress=[rule])


def egress(*peers: Object, ports: Iterable[Object] = ()) -> Object:
    """A policy that lets the pods of pay reach some peers."""
    return network_policy("pay", "some", policyTypes=["Egress"], egress=[{"to": list(peers), "ports": list(ports)}])


def block(cidr: str, *excepted: str) -> Object:
    """Addresses as a peer."""
    return {"ipBlock": {"cidr": cidr} | ({"except": list(excepted)} if excepted else {})}


def spaces(*expressions: Object, **labels: str) -> Object:
    """The pods of some namespaces as a peer; of all, where nothing is said."""
    selector: Object = {"matchLabels": labels} if labels else {}
    return {"namespaceSelector": selector | ({"matchExpressions": list(expressions)} if expressions else {})}


def named(name: str) -> Object:
    """The pods of one namespace as a peer."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def tiered(peer: Object) -> Object:
    """A ClusterNetworkPolicy that accepts what pods of pay send to a peer, before any NetworkPolicy is asked."""
    subject = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "pay"}}}
    return cluster_policy("some", "Admin", 1, subject, egress=[{"action": "Accept", "to": [peer]}])


HERE: Object = {"podSelector": {}}
NOT_WEB = {"key": "team", "operator": "NotIn", "values": ["web"]}
EIGHTY, RANGE, ALL_TCP = {"port": 80}, {"port": 8000, "endPort": 9000}, {"protocol": "TCP"}
DNS: list[Object] = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
SOME: list[Object] = [{"protocol": "TCP", "port": 80}]
SIX, CLOUD = "2001:db8::/32", ["169.254.169.254/32", "fd00:ec2::254/128"]

ROWS: list[tuple[str, dict[str, Any], list[Object], list[Object]]] = [
    ("direction ingress", {"direction": "ingress"}, [ingress(HERE)], [egress(HERE)]),
    ("direction egress", {"direction": "egress"}, [egress(HERE)], [ingress(HERE)]),
    ("isolated by a policy", {"isolated": True}, [ingress(HERE), egress(block("10.0.0.0/8"))], []),
    ("addresses", {"addresses": CLOUD}, [egress(block("169.254.0.0/16")), egress(block("fd00:ec2::/32"))],
     [egress(block("0.0.0.0/0", "169.254.169.254/32")), egress(block("fd00:ec3::/32")), egress(spaces())]),
    ("some of the addresses", {"addresses": ["10.0.0.0/8"]},
     [egress(block("10.1.2.3/32"))], [egress(block("11.0.0.0/8"))]),
    ("addressesBeyond", {"addressesBeyond": ["10.0.0.0/8", SIX]},
     [egress(block("10.0.0.0/7")), egress(block("2001:db8::/31")), egress()],
     [egress(block("10.1.0.0/16"), block("2001:db8:1::/48")), egress(spaces())]),
    ("world", {"world": True},
     [egress(block("0.0.0.0/0")), egress(block("::/0")), egress(block("2000::/3")), egress(), ingress(),
      egress(block("128.0.0.0/1")), egress(block("0.0.0.0/0", "10.0.0.0/8", "52.0.0.0/8")),
      egress(block("0.0.0.0/2"), block("64.0.0.0/2"))],
     [egress(block("10.0.0.0/8")), egress(block("224.0.0.0/3")), egress(block("fc00::/6")), egress(block("52.0.0.0/8")),
      egress(spaces())]),
    ("everyNamespace", {"everyNamespace": True},
     [ingress(spaces()), ingress(spaces() | {"podSelector": {"matchLabels": {"app": "x"}}}), ingress(),
      ingress(spaces(NOT_WEB))],
     [ingress(HERE), ingress(spaces(team="web")), ingress(block("0.0.0.0/0"))]),
    ("peerNamespaces", {"peerNamespaces": ["web"]},
     [ingress(named("web")), ingress(spaces(shop="yes")), ingress(spaces()),
      ingress(named("web") | {"podSelector": {"matchLabels": {"app": "x"}}})],
     [ingress(HERE), ingress(named("jobs")), ingress(spaces(NOT_WEB)), ingress(block("0.0.0.0/0"))]),
    ("patterns of peerNamespaces", {"peerNamespaces": ["w*", "none"]},
     [ingress(named("web"))], [ingress(named("jobs"))]),
    ("never the own one", {"peerNamespaces": ["pay"]}, [], [ingress(HERE), ingress(spaces())]),
    ("a namespace that is not there", {"peerNamespaces": ["gone"]}, [], [ingress(named("gone")), ingress(spaces())]),
    ("exceptPeerNamespaces", {"exceptPeerNamespaces": ["web", "kube-*", "tools"]},
     [ingress(named("jobs")), ingress(spaces(team="pay")), ingress(spaces())],
     [ingress(named("web")), ingress(named("tools")), ingress(spaces(shop="yes")), ingress(HERE)]),
    ("otherTenant", {"otherTenant": ["owner", "team"]},
     [ingress(named("web")), ingress(spaces()), egress(spaces(shop="yes"))],
     [ingress(named("jobs")), ingress(spaces(team="pay")), ingress(named("tools")), ingress(HERE),
      ingress(named("gone"))]),
    ("one namespace for both", {"otherTenant": ["team"], "exceptPeerNamespaces": ["web"]}, [],
     [ingress(spaces()), ingress(named("web")), ingress(named("tools"))]),
    ("apiServer", {"apiServer": True}, [egress(block("192.168.0.4/31")), egress()],
     [egress(block("192.168.0.10/32")), egress(block("192.168.0.0/24", "192.168.0.5/32")),
      egress(named("kube-system"))]),
    ("nodes", {"nodes": True},
     [egress(block("192.168.0.10/32")), egress(block("fd00:a::/64")), tiered({"nodes": {}})],
     [egress(block("192.168.1.0/24")), egress(spaces()), tiered({"domainNames": ["example.com"]})]),
    ("ports", {"ports": SOME}, [ingress(HERE, ports=[EIGHTY]), ingress(HERE, ports=[{"port": 1, "endPort": 80}]),
                                ingress(HERE), ingress(HERE, ports=[ALL_TCP])],
     [ingress(HERE, ports=[{"port": 81}]), ingress(HERE, ports=[{"port": 80, "protocol": "UDP"}])]),
    ("a range of ports", {"ports": [{"protocol": "TCP", "port": 8000, "endPort": 8100}]},
     [ingress(HERE, ports=[{"port": 8080}]), ingress(HERE, ports=[{"port": 8100, "endPort": 9000}])],
     [ingress(HERE, ports=[EIGHTY])]),
    ("a port's name is the number that the pods have", {"ports": [{"protocol": "TCP", "port": 8080}]},
     [ingress(HERE, ports=[{"port": "http"}])], [ingress(HERE, ports=[{"port": "metrics"}])]),
    ("a port's name may be any number elsewhere", {"ports": SOME},
     [egress(spaces(), ports=[{"port": "http"}])], [egress(spaces(), ports=[{"port": "dns", "protocol": "UDP"}])]),
    ("portsBeyond", {"portsBeyond": DNS},
     [egress(spaces(), ports=[*DNS, EIGHTY]), egress(spaces()), egress(spaces(), ports=[{"port": "http"}])],
     [egress(spaces(), ports=DNS), egress(spaces(), ports=DNS[:1])]),
    ("everyPort", {"everyPort": True},
     [ingress(HERE), ingress(HERE, ports=[ALL_TCP]), ingress(HERE, ports=[{"port": 1024, "endPort": 65535}])],
     [ingress(HERE, ports=[RANGE]), ingress(HERE, ports=[{"port": 1, "endPort": 9999}])]),
    ("not everyPort", {"everyPort": False},
     [ingress(HERE, ports=[RANGE])], [ingress(HERE), ingress(HERE, ports=[ALL_TCP])]),
    ("all fields for one thing", {"direction": "ingress", "everyNamespace": True, "ports": SOME},
     [ingress(spaces(), ports=[EIGHTY])], [egress(spaces(), ports=[EIGHTY]), ingress(HERE, ports=[EIGHTY]),
                                           ingress(spaces(), ports=[RANGE])]),
]  # fmt: skip
CASES = [
    pytest.param(condition, policy, holds, id=f"{name} {'holds' if holds else 'does not'} {number}")
    for name, condition, good, bad in ROWS
    for holds, policies in ((True, good), (False, bad))
    for number, policy in enumerate(policies)
]


@pytest.mark.parametrize(("condition", "policy", "holds"), CASES)
def test_a_condition_holds_for_what_it_says(condition: dict[str, Any], policy: Object, holds: bool) -> None:
    """The pods of pay are isolated; one policy allows something beside that, and the condition holds or does not."""
    assert found(checked(any=[condition]), CLOSED, policy) == ({("workload:pay/api[Pod]", "some")} if holds else set())


def test_without_isolation_it_is_the_want_of_a_policy_that_allows() -> None:
    """`isolated: false` holds in the direction that no policy is about, and in no other."""
    check, api = checked(any=[{"isolated": False}]), "namespace:pay"

    assert found(check) == {(api, "ingress"), (api, "egress")}
    assert found(check, ingress(HERE)) == {(api, "egress")}
    assert found(check, CLOSED, ingress(HERE)) == set()


def test_one_of_the_conditions_is_enough() -> None:
    """`any` is any."""
    check = checked(any=[{"direction": "egress"}, {"direction": "ingress", "world": True}])

    assert found(check, CLOSED, ingress())
    assert found(check, CLOSED, egress(HERE))
    assert not found(check, CLOSED, ingress(HERE))


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"namespaces": ["pay"]}, True), ({"namespaces": ["p*", "x"]}, True), ({"namespaces": ["web"]}, False),
        ({"exceptNamespaces": ["kube-*"]}, True), ({"exceptNamespaces": ["pa?"]}, False),
        ({"namespaces": ["p*"], "exceptNamespaces": ["pay"]}, False),
    ],
)  # fmt: skip
def test_a_check_looks_at_the_namespaces_that_it_names(where: dict[str, list[str]], holds: bool) -> None:
    """Those of `namespaces`, or all, without those of `exceptNamespaces`."""
    assert bool(found(checked(**where, any=[{"direction": "ingress"}]), CLOSED, ingress(HERE))) == holds


@pytest.mark.parametrize(
    ("annotation", "cidrs", "beyond"),
    [
        (None, ["0.0.0.0/0"], []),
        ("10.0.0.0/8, 2001:db8::/32", ["10.1.0.0/16", "2001:db8:1::/48"], []),
        ("10.0.0.0/8", ["10.0.0.0/7"], ["11.0.0.0/8"]),
        ("10.0.0.0/8", ["10.1.0.0/16", "2001:db8::/32"], ["2001:db8::/32"]),
        ("", ["10.1.0.0/16"], ["10.1.0.0/16"]),
        ("10.0.0.0/8,Switzerland", ["10.1.0.0/16"], []),
        ("Switzerland", ["10.1.0.0/16"], ["10.1.0.0/16"]),
    ],
)
def test_addresses_are_held_against_what_the_namespace_declares(
    annotation: str | None, cidrs: list[str], beyond: list[str]
) -> None:
    """What lies beyond is told. Without the annotation nothing is declared; what cannot be read declares nothing."""
    annotations = {"posture.dev/egress-ranges": annotation} if annotation is not None else {}
    where = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata("pay", annotations=annotations)}
    matcher = Matcher([checked(any=[{"addressesBeyondDeclared": "posture.dev/egress-ranges"}])])
    result = result_of(where, CLOSED, egress(*map(block, cidrs)))

    hits = [hit for hit in match(matcher, result) if hit.scope == "pay"]
    change = as_change(matcher, result, ("workload:pay/api[Pod]", "pay"), Through("NetworkPolicy", "pay", "some"))

    assert bool(hits) == bool(beyond)
    assert [cidr for unit in change.gained for cidr in unit["peer"]["cidrs"]] == beyond


def test_a_domain_name_may_be_any_address() -> None:
    """Beyond declared ranges, therefore; whether it is one of the Internet's, nobody knows."""
    annotated = metadata("pay", annotations={"posture.dev/egress-ranges": "10.0.0.0/8"})
    objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": annotated}, CLOSED]
    check = checked(any=[{"addressesBeyondDeclared": "posture.dev/egress-ranges", "isolated": True}])

    assert found(check, *objects, tiered({"domainNames": ["example.com"]}))
    assert not found(check, *objects, tiered({"networks": ["10.0.0.0/9"]}))


def test_what_is_told_is_the_part_that_a_check_is_about() -> None:
    """Of a rule for every address and port, the metadata server; of one for every namespace, kube-system beyond DNS."""
    metadata_server = {"direction": "egress", "addresses": CLOUD[:1], "ports": SOME}
    beyond_dns = {"direction": "egress", "peerNamespaces": ["kube-system"], "portsBeyond": DNS}
    matcher, result = Matcher([checked(any=[metadata_server, beyond_dns])]), result_of(CLOSED, egress())

    change = as_change(matcher, result, ("workload:pay/api[Pod]", "pay"), Through("NetworkPolicy", "pay", "some"))

    by_peer = {json.dumps(unit["peer"]): unit["ports"] for unit in change.gained}
    assert by_peer[json.dumps({"cidrs": ["169.254.169.254/32"]})] == SOME
    (other,) = (peer for peer in by_peer if "namespaceSelector" in peer)
    assert json.loads(other)["namespaceSelector"] == named("kube-system")["namespaceSelector"]
    assert {"protocol": "UDP", "port": 1, "endPort": 52} in by_peer[other]


def test_other_namespaces_have_a_say_after_an_update_too() -> None:
    """One matcher, two results that share the namespace: the label of another one makes the difference."""
    matcher = Matcher([checked(any=[{"otherTenant": ["team"]}])])
    before = result_of(CLOSED, ingress(named("tools")))
    key, labels = Key("namespaces", "", "tools"), {"labels": {"team": "tools"}}
    changed = Changed(key, before.snapshot.get(key), labels)
    after = evaluate(before.snapshot.replaced([(key, labels)]), before, [changed])

    def subjects(result: Connectivity) -> list[str]:
        return [hit.subject for hit in match(matcher, result) if hit.scope == "pay"]

    assert subjects(before) == []
    assert subjects(after) == ["workload:pay/api[Pod]"]
    assert subjects(before) == []


# Policies themselves ------------------------------------------------------------------------------------------------


def selecting(ports: Iterable[Object] = (), **labels: str) -> Object:
    """A policy for pods with some labels."""
    rule: Object = {"ports": list(ports)}
    return network_policy("pay", "some", podSelector={"matchLabels": labels}, policyTypes=["Ingress"], ingress=[rule])


JOB = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("idle", "pay"),
    "spec": {"template": {"metadata": {"labels": {"app": "idle"}}, "spec": {"containers": [container("main")]}}},
}  # fmt: skip
SECOND = pod("pay", "two", {"app": "api"}, ports=[port(81)])
SILENT = pod("pay", "silent", {"app": "api"})


@pytest.mark.parametrize(
    ("asked", "objects", "holds"),
    [
        ("selectsNothing", [selecting(app="apis")], True),
        ("selectsNothing", [selecting(app="api")], False),
        ("selectsNothing", [selecting()], False),
        ("selectsNothing", [selecting(app="idle"), JOB], False),
        ("selectsNothing", [selecting(app="web")], True),
        ("portOfNobody", [selecting([{"port": 80}])], True),
        ("portOfNobody", [selecting([{"port": 8080}])], False),
        ("portOfNobody", [selecting([{"port": 8080}, {"port": 8081}])], True),
        ("portOfNobody", [selecting([{"port": 8000, "endPort": 8100}])], False),
        ("portOfNobody", [selecting([{"port": 8080, "protocol": "UDP"}])], True),
        ("portOfNobody", [selecting([{"port": 81}]), SECOND], False),
        ("portOfNobody", [selecting([{"port": 80}]), SILENT], False),
        ("portOfNobody", [selecting([{"port": "https"}])], True),
        ("portOfNobody", [selecting([{"port": "https"}]), SILENT], True),
        ("portOfNobody", [selecting([{"port": "http"}])], False),
        ("portOfNobody", [selecting([{"port": "http", "protocol": "UDP"}])], True),
        ("portOfNobody", [selecting([{"protocol": "UDP"}])], False),
        ("portOfNobody", [selecting([{"port": 80}], app="none")], False),
    ],
)
def test_policies_that_say_nothing(asked: str, objects: list[Object], holds: bool) -> None:
    """A policy without pods; a port that none of its pods has, as far as they list their ports."""
    assert found(checked(policy=asked), *objects) == ({("namespace:pay", "some")} if holds else set())


# What was not read --------------------------------------------------------------------------------------------------


ISOLATION = checked(any=[{"isolated": False}])
NOTHING = checked(policy="selectsNothing")
CILIUM = {
    "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata("own", "pay"),
    "spec": {"endpointSelector": {}, "ingress": [{}]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "scopes"),
    [
        (Gap("networkpolicies.networking.k8s.io", "pay", "forbidden", "may not list them"), {"web"}),
        (Gap("networkpolicies.networking.k8s.io", "", "failed", "reset"), set()),
        (Gap("clusternetworkpolicies.policy.networking.k8s.io", "", "forbidden", "may not list them"), set()),
        (Gap("*", "", "failed", "reset"), set()),
        (Gap("services", "", "forbidden", "may not list them"), {"pay", "web"}),
    ],
)
def test_where_policies_were_not_read_no_check_holds(gap: Gap, scopes: set[str]) -> None:
    """A policy that nobody saw may isolate a pod; elsewhere checks hold all the same."""
    assert {hit.scope for hit in match(Matcher([ISOLATION]), result_of(gaps=[gap]))} == scopes


@pytest.mark.parametrize("resource", ["pods", "deployments.apps"])
def test_where_pods_were_not_read_no_policy_selects_nothing(resource: str) -> None:
    """The pods that it selects may be among those that nobody saw."""
    assert found(NOTHING, selecting(app="apis"))
    assert not found(NOTHING, selecting(app="apis"), gaps=[Gap(resource, "pay", "forbidden", "may not list them")])


def test_a_pod_that_another_maker_s_policy_may_select_is_not_called_open() -> None:
    """Whether Cilium isolates it is not known; what a NetworkPolicy allows is said all the same."""
    assert found(ISOLATION)
    assert not found(ISOLATION, CILIUM)
    assert found(checked(any=[{"world": True}]), CILIUM, CLOSED, ingress())


# Checks of a user's own ---------------------------------------------------------------------------------------------


OWN: dict[str, Any] = {
    "id": "acme-partner-six", "domain": "network", "title": "The partner's network can be reached", "severity": "high",
    "match": {"any": [{"direction": "egress", "isolated": True, "addresses": ["2001:db8:ace::/48"]}]},
    "why": "It is theirs.", "remedy": "Go through the gateway.",
}  # fmt: skip


def scan(folder: Path, check: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """A scan of a cluster that reaches the range, with one check of a user's own in a folder that the config names."""
    (folder / "checks").mkdir()
    (folder / "checks" / "own.yaml").write_text(yaml.safe_dump(check), encoding="utf-8")
    (folder / "config.yaml").write_text("checks: [checks]\n", encoding="utf-8")
    objects = [*SPACES, *PODS, CLOSED, egress(block("2001:db8::/32"))]
    (folder / "cluster.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    code = run(
        ["scan", "--config", str(folder / "config.yaml"), "--db", ":memory:", "--from", str(folder / "cluster.yaml"),
         "-o", "json"]
    )  # fmt: skip
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_check_of_ones_own_leads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is judged with as the shipped ones are, and tells the part of the range that it is about."""
    code, out, err = scan(tmp_path, OWN, capsys)

    assert code == OK, err
    (finding,) = (one for one in json.loads(out)["findings"] if one["reasons"][0]["check"] == OWN["id"])
    assert (finding["severity"], finding["subject"]) == ("high", "workload:pay/api[Pod]")
    assert "2001:db8:ace::/48" in finding["message"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"addresses": ["10.0.0.0/33"]}, "10.0.0.0/33"),
        ({"ports": [{"protocol": "TCP", "port": 90, "endPort": 80}]}, "90 to 80 are no ports"),
        ({"world": False}, "must be true"),
        ({"direction": "both"}, "is not known here"),
        ({"adresses": ["10.0.0.0/8"]}, "did you mean addresses?"),
        ({}, "non-empty"),
    ],
)
def test_a_wrong_check_is_one_clear_sentence(
    wrong: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the file and the line, whether it is the form that is wrong or an address."""
    code, _, err = scan(tmp_path, OWN | {"match": {"any": [wrong]}}, capsys)

    assert code == USAGE
    assert "own.yaml:" in err
    assert said in err


def test_what_a_workload_can_do_is_no_word_of_this_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sentences say who reaches whom on which ports; a check's `can` would never be shown."""
    code, _, err = scan(tmp_path, OWN | {"can": "reach the partner"}, capsys)

    assert code == USAGE
    assert "can" in err
