"""Policies of policy.networking.k8s.io in files: what their definitions refuse is no policy, and the rest is read."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from posture.collect import objects
from posture.kinds import BY_KIND, malformed
from posture.model import Key
from posture.network.policies import compiled
from tests.generator.network import admin_policy, baseline_policy, cluster_policy, random_tiered

GROUP = "policy.networking.k8s.io"
ALL: dict[str, Any] = {"namespaces": {}}
PODS: dict[str, Any] = {"pods": {"namespaceSelector": {}, "podSelector": {}}}


def rule(peers: Any = None, side: str = "to", action: str = "Deny", **fields: Any) -> dict[str, Any]:
    return {"action": action, side: [ALL] if peers is None else peers, **fields}


def cnp(egress: Any = None, **spec: Any) -> dict[str, Any]:
    made = cluster_policy("c", "Admin", 5, egress=[rule()] if egress is None else egress)
    made["spec"] |= spec
    return made


def anp(**fields: Any) -> dict[str, Any]:
    return admin_policy("a", 5, egress=[rule(**fields)])


def port(protocol: Any) -> dict[str, Any]:
    return cnp([rule(protocols=[protocol])])


def networks(*cidrs: str) -> dict[str, Any]:
    return {"networks": list(cidrs)}


def refused(one: dict[str, Any]) -> str:
    kind = BY_KIND[GROUP, one["kind"]]
    return malformed(kind, one) or objects.misshapen(kind, one)


GOOD: list[dict[str, Any]] = [
    cnp(), cnp([]), cnp(priority=0), cnp(priority=1000), cnp(priority=10.0), cnp(tier="Baseline"), cnp(subject=PODS),
    cnp(ingress=[rule(side="from")] * 25), cnp([rule([networks("10.0.0.5/8", "::/0")])]), cnp(ingress=None),
    cnp(subject={"pods": {"podSelector": {}}}), cnp(subject={"namespaces": {}, "pods": None}),
    cnp([rule([{"nodes": {}}])]), cnp([rule([{"domainNames": ["*.example.com"]}], action="Accept")]),
    port({"tcp": {"destinationPort": {"number": 80}}}), port({"destinationNamedPort": "http"}),
    port({"sctp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}),
    anp(), anp(action="Allow"), anp(action="Pass"), anp(ports=[{"portNumber": {"port": 80}}]),
    anp(ports=[{"portRange": {"protocol": "UDP", "start": 8, "end": 8}}]), anp(ports=[{"namedPort": "http"}]),
    admin_policy("a", 5, egress=[rule()] * 100), baseline_policy(egress=[rule(), rule(action="Allow")]),
]  # fmt: skip


@pytest.mark.parametrize("one", GOOD)
def test_what_a_definition_takes_is_read(one: dict[str, Any]) -> None:
    """And the engine can read what is kept of it."""
    assert refused(one) == ""
    stored = objects.normal(BY_KIND[GROUP, one["kind"]], one)
    assert not compiled(Key(BY_KIND[GROUP, one["kind"]].name, "", "c"), stored).error


BAD: list[tuple[dict[str, Any], str]] = [
    (cnp(tier="Super"), "spec.tier is Super, not Admin or Baseline"),
    (cnp(tier=None), "spec.tier is empty, not Admin or Baseline"),
    *((cnp(priority=one), "spec.priority is no integer from 0 to 1000") for one in (None, -1, 1001, "10", 1.5, True)),
    (cnp(subject=None), "spec.subject has none of namespaces, pods, not one"),
    (cnp(subject={"serviceAccounts": {}}), "spec.subject has none of namespaces, pods, not one"),
    (cnp(subject=ALL | PODS), "spec.subject has 2 of namespaces, pods, not one"),
    (cnp(subject={"pods": {"namespaceSelector": {}}}), "spec.subject.pods.podSelector is missing"),
    (cnp(subject={"namespaces": {"matchLabels": {"a": 1}}}),
     "spec.subject.namespaces.matchLabels[a] is not a string"),
    (cnp("x"), "spec.egress is not a list"), (cnp([rule()] * 26), "spec.egress has 26 items, not 0 to 25"),
    (cnp([{"to": [ALL]}]), "spec.egress[0].action is empty, not Accept or Deny or Pass"),
    (cnp([rule(action="Allow")]), "spec.egress[0].action is Allow, not Accept or Deny or Pass"),
    (cnp([rule([])]), "spec.egress[0].to has 0 items, not 1 to 25"),
    (cnp([{"action": "Deny"}]), "spec.egress[0].to has 0 items, not 1 to 25"),
    (cnp([rule([{"foo": {}}])]),
     "spec.egress[0].to[0] has none of namespaces, pods, networks, nodes, domainNames, not one"),
    (cnp([rule([PODS | networks("0.0.0.0/0")])]),
     "spec.egress[0].to[0] has 2 of namespaces, pods, networks, nodes, domainNames, not one"),
    (cnp(ingress=[rule([networks("10.0.0.0/8")], "from")]),
     "spec.ingress[0].from[0] has none of namespaces, pods, not one"),
    (cnp([rule([networks("bogus")])]), "spec.egress[0].to[0].networks[0] is bogus, no CIDR"),
    (cnp([rule([networks()])]), "spec.egress[0].to[0].networks has 0 items, not 1 to 25"),
    (cnp([rule([networks("::/0", "::/0")])]), "spec.egress[0].to[0].networks has the same item twice"),
    *((cnp([rule([networks(cidr)])]),
       f"spec.egress[0].to[0].networks[0] is {cidr}, no CIDR without leading zeros or IPv4 inside of IPv6")
      for cidr in ("010.0.0.0/8", "10.0.0.0/08", "::ffff:0:0/96", "::ffff:10.0.0.0/104")),
    (cnp([rule([{"domainNames": ["a..b"]}])]), "spec.egress[0].to[0].domainNames[0] is a..b, no domain's name"),
    (cnp([rule(name="n" * 101)]), "spec.egress[0].name is longer than 100 characters"),
    (cnp([rule(protocols=[])]), "spec.egress[0].protocols has 0 items, not 1 to 25"),
    (port({}), "spec.egress[0].protocols[0] has none of tcp, udp, sctp, destinationNamedPort, not one"),
    (port({"tcp": {"destinationPort": {"number": 99999}}}),
     "spec.egress[0].protocols[0].tcp.destinationPort.number is no port number from 1 to 65535"),
    (port({"tcp": {}}), "spec.egress[0].protocols[0].tcp.destinationPort is missing"),
    (port({"tcp": {"destinationPort": {}}}),
     "spec.egress[0].protocols[0].tcp.destinationPort has none of number, range, not one"),
    (port({"udp": {"destinationPort": {"range": {"start": 8, "end": 8}}}}),
     "spec.egress[0].protocols[0].udp.destinationPort.range.start is not less than end"),
    (cnp([rule([networks("::/0")], protocols=[{"destinationNamedPort": "http"}])]),
     "spec.egress[0] has the name of a port beside networks, nodes, domainNames, which have none"),
    (anp(action="Accept"), "spec.egress[0].action is Accept, not Allow or Deny or Pass"),
    (anp(peers=[{"pods": {"podSelector": {}}}]), "spec.egress[0].to[0].pods.namespaceSelector is missing"),
    (anp(ports=[{"portRange": {"start": 9, "end": 8}}]),
     "spec.egress[0].ports[0].portRange.start is not less than end"),
    (admin_policy("a", 5, egress=[rule()] * 101), "spec.egress has 101 items, not 0 to 100"),
    (baseline_policy(egress=[rule(action="Pass")]), "spec.egress[0].action is Pass, not Allow or Deny"),
    (baseline_policy(egress=[rule([{"domainNames": ["a.b"]}])]),
     "spec.egress[0].to[0] has none of namespaces, pods, networks, nodes, not one"),
    (baseline_policy() | {"metadata": {"name": "other"}},
     "metadata.name is not default, and there is no other BaselineAdminNetworkPolicy"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "why"), BAD)
def test_what_a_definition_refuses_is_said(one: dict[str, Any], why: str) -> None:
    """With the field that is wrong."""
    assert refused(one) == why


def test_a_field_of_another_version_means_nothing() -> None:
    """The server drops it: `ports` of v1alpha1 do not narrow a rule of v1alpha2."""
    one = cnp([rule(ports=[{"portNumber": {"port": 80}}])])
    assert objects.normal(BY_KIND[GROUP, one["kind"]], one)["spec"] == cnp()["spec"]


def test_random_policies_mean_the_same_when_they_are_stored() -> None:
    """Those with a peer that only a later version may know are refused, and no others."""
    kinds = set()
    for seed in range(150):
        for one in random_tiered(Random(seed), banp=True):
            kind = BY_KIND[GROUP, one["kind"]]
            assert bool(refused(one)) == ("'services'" in str(one["spec"]))
            if not refused(one):
                key = Key(kind.name, "", one["metadata"]["name"])
                assert compiled(key, objects.normal(kind, one)) == compiled(key, one)
                kinds.add(kind.kind)
    assert len(kinds) == 3
