"""Who may create pods where a policy refuses every pod runs none: as nobody, on no node, in no cloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from posture.cel import Process
from posture.graph.paths import held
from posture.pipeline import diff
from tests.generator.objects import (
    Object,
    account,
    binding,
    metadata,
    namespace,
    role,
    rule,
    service_account,
    snapshot,
)
from tests.graph.graphs import graph_of
from tests.graph.proving import catalogue
from tests.rbac.test_gaps import rules

ADMISSION = "admissionregistration.k8s.io"
RUNNER = "serviceaccount:team/runner"
RUNS = {"serviceaccount:team/powerful", "node:*", "cloud/node"}
"""What whoever runs a pod in team gets."""


def closing(*refused: str, where: Object | None = None, action: str = "Deny", **spec: Any) -> list[Object]:
    """A policy that refuses each pod (or what else is named), and its binding to namespaces of some labels."""
    name = "freeze"
    resources = [{"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
                  "resources": [*refused] or ["pods"]}]  # fmt: skip
    chosen = {"matchResources": {"namespaceSelector": {"matchLabels": where}}} if where else {}
    return [
        {
            "apiVersion": f"{ADMISSION}/v1", "kind": kind, "metadata": metadata(name), "spec": one,
        } for kind, one in (
            ("ValidatingAdmissionPolicy", {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": resources},
                                           "validations": [{"expression": "false"}], **spec}),
            ("ValidatingAdmissionPolicyBinding", {"policyName": name, "validationActions": [action], **chosen}),
        )
    ]  # fmt: skip


def cluster(*granted: Object, where: str = "team") -> list[Object]:
    """Who may create pods in team, where somebody powerful is, and beside it a namespace of another label."""
    every = [rule("create", "pods"), *granted]
    return [
        namespace("team", kind="team"), namespace("other", kind="other"), service_account("team", "runner"),
        service_account("team", "powerful"), service_account("other", "powerful"),
        role("runs", *every), binding("runs", "ClusterRole/runs", account("team", "runner"), namespace=where),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """What answers for policies, in a process of its own."""
    with Process() as running:
        yield running


class Case(NamedTuple):
    """A policy, and whether it stops all that whoever runs pods gets."""

    name: str
    policy: list[Object]
    stops: bool


CONDITION = [{"name": "some", "expression": "object.metadata.name != 'x'"}]
SELECTED = {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                               "resources": ["pods"]}], "objectSelector": {"matchLabels": {"a": "b"}}}  # fmt: skip


@pytest.mark.parametrize("case", [
    Case("no-policy", [], False),
    Case("every-pod", closing(), True),
    Case("every-pod-there", closing(where={"kind": "team"}), True),
    Case("every-pod-elsewhere", closing(where={"kind": "other"}), False),
    Case("every-pod-and-more", closing("pods", "deployments"), True),
    Case("deployments-only", closing("deployments"), False),
    Case("it-only-warns", closing(action="Warn"), False),
    Case("but-for-a-condition", closing(matchConditions=CONDITION), False),
    Case("of-a-label", closing(matchConstraints=SELECTED), False),
    Case("what-has-no-label", closing(validations=[{"expression": "has(object.metadata.labels)"}]), False),
    Case("what-others-send", closing(validations=[{"expression": "request.userInfo.username == 'ann'"}]), False),
    Case("one-of-two-expressions", closing(validations=[{"expression": "true"}, {"expression": " false "}]), True),
], ids=lambda case: case.name)  # fmt: skip
def test_a_policy_that_refuses_every_pod_stops_all_that_takes_one(cel: Process, case: Case) -> None:
    """Only one that does so whatever a pod is, and whoever sends it: of others the author finds the way round."""
    found = held(graph_of([*cluster(), *case.policy], catalogue(), cel=cel).edges, [RUNNER])

    assert RUNS & found.keys() == (set() if case.stops else RUNS)


def test_with_the_policy_switched_off_it_is_possible(cel: Process) -> None:
    """By whoever may delete its binding."""
    off = rule("delete", "validatingadmissionpolicybindings", ADMISSION)
    graph = graph_of([*cluster(off, where=""), *closing()], catalogue(), cel=cel)

    assert held(graph.edges, [RUNNER]).keys() >= RUNS


def test_one_closed_namespace_closes_no_other(cel: Process) -> None:
    """Who may create pods everywhere runs them elsewhere, and in a namespace that comes."""
    spaces = rule("create", "namespaces")
    graph = graph_of([*cluster(spaces, where=""), *closing(where={"kind": "team"})], catalogue(), cel=cel)
    found = held(graph.edges, [RUNNER])

    assert "serviceaccount:other/powerful" in found
    assert "serviceaccount:team/powerful" not in found
    assert "node:*" in found


def test_what_it_kept_from_being_possible_is_told_of_the_policy(cel: Process) -> None:
    """Its binding is deleted: whoever could create pods and got none runs them now."""
    waiting = [role("cluster-admin", rule("*", "*", "*")),
               binding("boss", "ClusterRole/cluster-admin", account("team", "powerful"))]  # fmt: skip
    before = [*cluster(), *waiting, *closing()]
    asked = replace(rules(), settings={"cel": cel})
    found = diff(snapshot(before), snapshot(before[:-1]), asked, lambda _: ())
    paths = {
        (one.change.domain, path.source, path.target)
        for one in found.differences if one.change.direction == "loosened" for path in one.paths
    }  # fmt: skip

    assert ("admission", RUNNER, "cluster-admin") in paths
