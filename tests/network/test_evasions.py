"""Ways to open a connection without a word: each is told, whatever stands beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from posture.cli import run
from tests.generator.network import cluster_policy, network_policy, pod
from tests.generator.objects import Object, namespace
from tests.network.test_bounds import deployment

DENY = network_policy("a", "deny", podSelector={}, policyTypes=["Ingress", "Egress"])
BASE: list[Object] = [namespace("a"), namespace("b", team="b"), deployment("a", "web"), deployment("a", "db"),
                      deployment("b", "job")]  # fmt: skip
OPEN = network_policy("a", "w", podSelector={"matchLabels": {"app": "db"}}, policyTypes=["Ingress"], ingress=[{}])
NODES = cluster_policy("nodes", "Admin", 1, egress=[{"name": "rule", "action": "Deny", "to": [{"nodes": {}}]}])
EVERYONE: list[Object] = [{"namespaces": {}}]
TIE = [cluster_policy(name, "Admin", 5, ingress=[{"name": "rule", "action": name.capitalize(), "from": EVERYONE}])
       for name in ("accept", "deny")]  # fmt: skip
type Diff = Callable[[Sequence[Object], Sequence[Object]], tuple[int, Any]]


def hosted(where: str, name: str) -> Object:
    """A Deployment in the network of its nodes."""
    made = deepcopy(deployment(where, name))
    made["spec"]["template"]["spec"]["hostNetwork"] = True
    return made


def intricate(number: int, *more: Object) -> Object:
    """A policy of the cluster that makes exceptions, each by labels of its own."""

    def peer(at: int) -> Object:
        return {"pods": {"namespaceSelector": {"matchLabels": {f"n{at}": "x"}},
                         "podSelector": {"matchLabels": {f"p{at}": "x"}}}}  # fmt: skip

    rules = [{"name": f"r{at}", "action": "Deny", "from": [peer(at)]} for at in range(number)]
    return cluster_policy("intricate", "Admin", 1, ingress=[*rules, *more])


@pytest.fixture
def diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Diff:
    """The exit code and the document of `posture diff`."""

    def compared(before: Sequence[Object], after: Sequence[Object]) -> tuple[int, Any]:
        paths = []
        for name, objects in (("a", before), ("b", after)):
            path = tmp_path / f"{name}.yaml"
            path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
            paths.append(str(path))
        capsys.readouterr()
        code = run(["diff", *paths, "--domain", "network", "-o", "json"])
        said = capsys.readouterr()
        assert said.out, said.err
        return code, json.loads(said.out)

    return compared


def loosened(document: Any) -> set[tuple[str, str]]:
    """Who gained, through what kind of thing."""
    return {(one["subject"].partition("[")[0].partition(":")[2], one["through"]["kind"]) for one in document["changes"]
            if one["direction"] == "loosened"}  # fmt: skip


def test_the_network_of_the_node_is_out_of_reach_of_policies(diff: Diff) -> None:
    """Of a workload that was isolated, and of a new one beside it; the way back is a tightening."""
    before, after = [*BASE, DENY], [*BASE[:2], hosted("a", "web"), *BASE[3:], DENY]

    code, told = diff(before, after)
    assert code == 1
    assert ("a/web", "HostNetwork") in loosened(told)

    assert ("a/new", "HostNetwork") in loosened(diff(before, [*before, hosted("a", "new")])[1])
    assert loosened(diff(after, before)[1]) == set()
    assert diff(after, after)[0] == 0


@pytest.mark.parametrize("bad", [
    cluster_policy("zz", "Super", 1, {"pods": {"podSelector": {"matchLabels": {"app": "nothing"}}}}),
    network_policy("a", "zeros", podSelector={"matchLabels": {"none": "none"}}, policyTypes=["Ingress"],
                   ingress=[{"from": [{"ipBlock": {"cidr": "010.0.0.0/8"}}]}]),
], ids=["a tier that is none", "leading zeros"])  # fmt: skip
def test_a_policy_that_cannot_be_read_hides_nothing_of_the_others(diff: Diff, bad: Object) -> None:
    """On one side or on both: what the others open is told, or the command says that it cannot judge."""
    for before in ([*BASE, DENY], [*BASE, DENY, bad]):
        code, told = diff(before, [*BASE, DENY, OPEN, bad])
        assert code in (1, 3)
        assert code == 3 or ("a/db", "NetworkPolicy") in loosened(told)


@pytest.mark.parametrize(("before", "after"), [
    ([NODES], []), (TIE, TIE[:1]), (TIE, []),
    ([NODES], [cluster_policy("nodes", "Admin", 1, egress=[
        {"name": "rule", "action": "Deny", "to": [{"nodes": {"matchLabels": {"a": "b"}}}]}])]),
], ids=["a denial of nodes is gone", "a tie is decided", "a tie is gone", "fewer nodes are denied"])  # fmt: skip
def test_what_was_not_known_and_is_open_now_is_no_silence(
    diff: Diff, before: list[Object], after: list[Object]
) -> None:
    """Nobody knows whether it was closed, so nobody says that nothing became possible."""
    _, told = diff([*BASE, *before], [*BASE, *after])

    assert told["changes"] or told["unknown"]


def test_policies_too_intricate_to_compare_are_unknown_at_once(diff: Diff) -> None:
    """Twenty-five exceptions by labels of their own are more than can be laid out: a gate does not pass them unseen."""
    accept = {"name": "all", "action": "Accept", "from": EVERYONE}

    code, told = diff([*BASE, DENY, intricate(24)], [*BASE, DENY, intricate(24, accept)])

    assert code in (1, 3)
    assert any("too intricate" in one["gap"]["message"] for one in told["unknown"])
    assert diff([*BASE, intricate(24)], [*BASE, intricate(24)])[0] == 0


@pytest.mark.parametrize("selector", [
    {"matchExpressions": [{"key": "optout", "operator": "DoesNotExist"}]},
    {"matchExpressions": [{"key": "optout", "operator": "NotIn", "values": ["yes"]}]},
], ids=["DoesNotExist", "NotIn"])  # fmt: skip
def test_a_way_out_for_pods_that_may_come_is_told(diff: Diff, selector: Object) -> None:
    """A policy for all pods becomes one that a label takes pods out of: nobody has it yet."""
    code, told = diff([*BASE, DENY], [*BASE, {**DENY, "spec": {**DENY["spec"], "podSelector": selector}}])

    assert code == 1
    assert {(one["subject"], one["effective"]) for one in told["changes"]} == {("namespace:a", False)}


def replicas(*labels: dict[str, str]) -> list[Object]:
    """Pods of one workload."""
    return [pod("b", f"web-{at}", {"set": "web", **one}, [f"10.0.0.{at + 1}"], owner="web")
            for at, one in enumerate(labels)]  # fmt: skip


def denying(*peers: Object) -> Object:
    """A policy that denies some pods the way to all others."""
    return cluster_policy("deny", "Admin", 1, ingress=[{"name": "rule", "action": "Deny", "from": list(peers)}])


def labelled(key: str, value: str) -> Object:
    """A peer: pods with a label, of any namespace."""
    return {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {key: value}}}}


@pytest.mark.parametrize(("peers", "before", "after", "told"), [
    ([labelled("a", "x")], [{"a": "x"}, {"a": "x"}], [{"a": "x"}, {"a": "other"}], True),
    ([labelled("a", "x")], [{"a": "x"}, {"a": "other"}], [{"a": "other"}, {"a": "more"}], False),
    ([labelled("a", "x"), labelled("c", "x")], [{"a": "x"}, {"c": "x"}], [{"a": "x", "c": "x"}, {"a": "other"}], True),
    ([labelled("a", "x"), labelled("c", "x")], [{"a": "x"}, {"c": "x"}], [{"a": "x", "c": "x"}, {"c": "x"}], False),
], ids=["one leaves", "one was out already", "one takes both, another none", "one takes both"])  # fmt: skip
def test_some_pods_of_a_workload_that_leave_a_denial_are_told(
    diff: Diff, peers: list[Object], before: list[dict[str, str]], after: list[dict[str, str]], told: bool
) -> None:
    """While others of its pods stay in it: what the workload may reach then, it could not before."""
    _, document = diff([*BASE, denying(*peers), *replicas(*before)], [*BASE, denying(*peers), *replicas(*after)])

    assert ("a/db" in {name for name, _ in loosened(document)}) is told
