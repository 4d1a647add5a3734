"""Nodes are names, and whatever is in a name is read back as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from posture.graph.following import HOLDS
from posture.graph.nodes import CAN, can, condition
from posture.graph.sentences import name
from tests.generator.objects import account, binding, namespace, role, rule, service_account
from tests.graph.graphs import graph_of, held_by
from tests.graph.proving import catalogue

HOSTILE = ("a\0b", "a=b", "]", "[", "a]@b", '","', "\\", '"', "a\nb", "@*", "#0", "*", "", "\N{RIGHT-TO-LEFT OVERRIDE}")
TEXTS = some.text() | some.sampled_from(HOSTILE)


@given(names=some.dictionaries(TEXTS, TEXTS), number=some.none() | some.integers(0, 9))
def test_a_condition_is_read_as_it_was_written(names: dict[str, str], number: int | None) -> None:
    """Whatever the names are that its variables are limited to."""
    edge = "run-pods" if number is None else f"run-pods#{number}"
    assert condition(can(edge, "pay", names)) == ("run-pods", number, "pay", names)


@given(one=some.dictionaries(TEXTS, TEXTS), other=some.dictionaries(TEXTS, TEXTS))
def test_conditions_of_other_names_are_other_nodes(one: dict[str, str], other: dict[str, str]) -> None:
    """No name can be written so that it means another one."""
    assert (can("run-pods", "pay", one) == can("run-pods", "pay", other)) == (one == other)


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_a_role_limited_to_a_strange_name_is_a_role_like_any_other(hostile: str) -> None:
    """An API server stores such names; whoever writes a Role of his own namespace does not stop the graph."""
    tokens = rule("create", "serviceaccounts/token", names=[hostile, "boss"])
    objects = [
        namespace("pay"),
        *(service_account("pay", one) for one in ("eve", "boss")),
        role("r", tokens, namespace="pay"),
        binding("r", "Role/r", account("pay", "eve"), namespace="pay"),
    ]
    graph = graph_of(objects, catalogue())
    source = "serviceaccount:pay/eve"

    assert "serviceaccount:pay/boss" in held_by(graph, source)
    told = [edge.head for edge in graph.edges(source) if edge.rule == HOLDS and edge.head.startswith(CAN)]
    assert all(name(node) for node in told)
    assert {condition(node).names["$name"] for node in told if condition(node).names} >= {"boss"}
