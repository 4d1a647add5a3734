"""A policy that cannot be read ends nothing: what it may select is unknown, and all else is as it was."""

from __future__ import annotations

from typing import Any

import pytest

from posture.network import flow
from posture.network.connectivity import Connectivity
from tests.generator.network import network_policy, pod
from tests.generator.objects import Object, namespace
from tests.network.clusters import evaluated

WORLD: list[Object] = [
    namespace("pay"), namespace("web"), pod("pay", "api", {}, ["10.0.0.1"]), pod("pay", "db", {}, ["10.0.0.2"]),
    pod("web", "front", {}, ["10.0.0.3"]), pod("web", "back", {}, ["10.0.0.4"]),
]  # fmt: skip
SPECS: list[Any] = [
    {"ingress": "x"}, {"ingress": [{"from": [{}]}]}, {"ingress": [{"from": [{"ipBlock": {"cidr": "nowhere"}}]}]},
    {"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, {"ingress": [{"ports": [{"port": 70000}]}]},
    {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}, {"ingress": [{"from": 5}]},
    {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]}, {"podSelector": "x"},
    {"podSelector": {"matchLabels": {"a": 1}}}, {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
    {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, {"ingress": [None]},
]  # fmt: skip


def allowed(result: Connectivity, source: str, destination: str) -> bool | None:
    """Whether one may reach the other on TCP 80."""
    return flow.answer(result, flow.Question(source, destination, "TCP", 80)).allowed


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_its_namespace_is_unknown_and_no_other(spec: Any) -> None:
    """Whatever is wrong in it, and whatever good policies say beside it."""
    bad = network_policy("pay", "bad", **{"podSelector": {}, **spec})
    good = network_policy("web", "good", podSelector={}, policyTypes=["Ingress"])
    result = evaluated([*WORLD, bad, good])

    assert [policy.key.name for policy in result.policies if policy.error] == ["bad"]
    assert allowed(result, "pay/api", "pay/db") is None
    steps = flow.answer(result, flow.Question("pay/api", "pay/db", "TCP", 80)).by
    assert {(step.policy.name, step.action) for step in steps if step.policy} == {("bad", "unknown")}, "and says why"
    assert allowed(result, "web/front", "pay/db") is None
    assert allowed(result, "pay/db", "web/front") is False, "web denies it, whatever pay does"
    assert allowed(result, "web/back", "web/front") is False


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (("pay/none", "pay/db", "TCP", 80), "there is no pod pay/none"), (("pay/api", "x", "TCP", 80), "'x' does not"),
        (("pay/api", "pay/db", "ICMP", 80), "ICMP is none of"), (("pay/api", "pay/db", "TCP", 0), "0 to 0 are no"),
    ],
)  # fmt: skip
def test_a_question_that_is_none(question: tuple[str, str, str, int], why: str) -> None:
    """What is wrong with it."""
    with pytest.raises(ValueError, match=why):
        flow.answer(evaluated(WORLD), flow.Question(*question))
