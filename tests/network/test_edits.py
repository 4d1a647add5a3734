"""What is left of a policy when something is taken out of it: as little as needed is gone."""

from __future__ import annotations

from typing import Any

import pytest

from posture.model import Key
from posture.network.edits import narrowed
from posture.network.policies import NETWORK_POLICIES

KEY = Key(NETWORK_POLICIES, "pay", "api")
METADATA = {"cidrs": ["169.254.169.254/32"]}
WORLD, TCP = {"ipBlock": {"cidr": "0.0.0.0/0"}}, {"protocol": "TCP", "port": 80}
WITHOUT = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}
WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
OWN_WEB = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "pay"}},
           "podSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip

CASES: dict[str, tuple[list[Any], Any, list[Any], list[Any]]] = {
    "one address of a block becomes an exception": ([{"to": [WORLD]}], METADATA, [], [{"to": [WITHOUT]}]),
    "of the ports that were gained only": (
        [{"to": [WORLD], "ports": [TCP, {"protocol": "TCP", "port": 443}]}], METADATA, [TCP],
        [{"to": [WORLD], "ports": [{"protocol": "TCP", "port": 443}]}, {"to": [WITHOUT], "ports": [TCP]}],
    ),
    "a block that was gained whole is gone": (
        [{"to": [WORLD, WEB]}], {"cidrs": ["0.0.0.0/0"]}, [], [{"to": [WEB]}]
    ),
    "a peer keeps its other ports": (
        [{"to": [WEB], "ports": [{"protocol": "TCP", "port": 80, "endPort": 82}]}], OWN_WEB, [TCP],
        [{"to": [WEB], "ports": [{"protocol": "TCP", "port": 81, "endPort": 82}]}],
    ),
    "another peer is left alone": ([{"to": [WORLD]}], OWN_WEB, [], [{"to": [WORLD]}]),
    "a rule for anybody is gone": ([{"ports": [TCP]}], OWN_WEB, [TCP], []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_policy_is_narrowed_by_what_was_gained(case: str) -> None:
    """Peers lose ports, blocks get exceptions, and only what has nothing left is taken out."""
    rules, peer, ports, left = CASES[case]
    content = {"spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}}

    made = narrowed(KEY, content, [{"direction": "egress", "peer": peer, "ports": ports}])

    assert made["spec"]["egress"] == left
    assert content["spec"]["egress"] == rules, "the policy itself is not changed"
