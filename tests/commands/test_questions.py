"""posture explain access, alone and in bulk, and posture who-can: the same answers from every source."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import NOW, World, posture, process, write
from tests.generator.objects import account, binding, group, namespace, role, rule, urls, user

EXPLAIN = ("explain", "access")
API = "system:serviceaccount:pay:api"


@pytest.mark.parametrize("source", [
    ("--from", "drifted.json"), ("--snapshot", "latest"), ("--snapshot", "2"), ("--at", NOW), ("--at", "-0d"),
    ("--snapshot", "latest", "--cluster", "small"),
])  # fmt: skip
def test_every_source_gives_the_same_answer(world: World, source: tuple[str, ...]) -> None:
    """Manifests and stored snapshots, by number and by time; where it comes from is said on standard error."""
    ran = posture(*EXPLAIN, "get", "secrets", "-n", "pay", "--as", "serviceaccount:pay/api", *source)

    assert ran.out == "yes\n  by RoleBinding pay/debug → ClusterRole debug, rule 0, as serviceaccount:pay/api\n"
    assert ran.err.startswith("answered from ")


def test_the_past_had_another_answer(world: World) -> None:
    """`--at` asks what was stored then."""
    ask = (*EXPLAIN, "get", "secrets", "-n", "pay", "--as", "serviceaccount:pay/api")

    assert posture(*ask, "--at", "2026-10-21").out == "no: nothing grants it\n"
    assert posture(*ask, "--at", "-7d").out == "no: nothing grants it\n"


@pytest.mark.parametrize(("question", "allowed"), [
    ("get secrets --as eve", True),
    ("get secrets --as ann", False),
    ("get secrets --as ann --as-group operators", True),
    ("get secrets -n web --as ann --as-group pay", True),
    ("get secrets -n pay --as ann --as-group pay", False),
    ("get secrets -n pay --as serviceaccount:pay/api", True),
    (f"get secrets -n pay --as {API}", True),
    (f"get secrets -n pay --as {API} --as-group system:authenticated", True),
    ("get secrets db -n pay --as serviceaccount:pay/api", True),
    ("delete secrets -n pay --as serviceaccount:pay/api", False),
    ("get secrets/status -n pay --as serviceaccount:pay/api", False),
    ("get tags.acme.example -n lab --as serviceaccount:lab/reader", True),
    ("get tags.other.example -n lab --as serviceaccount:lab/reader", False),
    ("get /healthz --as ann", True),
    ("get /metrics --as ann", False),
    ("get /metrics --as ann --as-group system:masters", True),
])  # fmt: skip
def test_what_is_asked(surroundings: Path, question: str, allowed: bool) -> None:
    """Verbs, resources with groups and subresources, names, URLs, users, ServiceAccounts in both spellings, groups."""
    write(surroundings / "c.json", [
        binding("operators", "ClusterRole/cluster-admin", group("operators"), user("eve")),
        role("debug", rule("get,list", "secrets")), role("health", urls("get", "/healthz")),
        binding("debug", "ClusterRole/debug", account("pay", "api"), namespace="pay"),
        binding("debug", "ClusterRole/debug", group("pay"), namespace="web"),
        binding("health", "ClusterRole/health", group("system:authenticated")),
        role("tags", rule("get", "tags", groups="acme.example"), namespace="lab"),
        binding("tags", "Role/tags", account("lab", "reader"), namespace="lab"),
    ])  # fmt: skip
    ran = posture(*EXPLAIN, *question.split(), "--from", "c.json", "-o", "json")

    assert ran.json["allowed"] is allowed
    assert bool(ran.json["by"]) is allowed
    assert set(ran.json) == {"allowed", "by", "groups"}


def test_a_gap_makes_no_into_unknown(surroundings: Path) -> None:
    """Nobody says no where a grant may be hidden: null, why, and exit code 3. What is certain stays yes."""
    write(surroundings / "c" / "a.json", [
        binding("x", "ClusterRole/cluster-admin", user("eve")),
        binding("y", "Role/r", namespace="pay") | {"subjects": 1},
    ])  # fmt: skip
    ran = posture(*EXPLAIN, "get", "pods", "-n", "pay", "--as", "ann", "--from", "c", code=3)
    assert ran.out.startswith("unknown: ")
    said = posture(*EXPLAIN, "get", "pods", "-n", "pay", "--as", "ann", "--from", "c", "-o", "json", code=3).json
    assert (said["allowed"], said["by"]) == (None, [])
    assert "RoleBinding pay/y" in said["why"]

    posture(*EXPLAIN, "get", "pods", "-n", "pay", "--as", "eve", "--from", "c")
    ran = posture("who-can", "get", "pods", "-n", "pay", "--from", "c", "-o", "json", code=3)
    assert "user:eve" in {one["subject"] for one in ran.json}
    assert "there may be more" in ran.err


def test_a_grant_that_no_request_can_use(surroundings: Path) -> None:
    """A RoleBinding to a cluster-scoped resource: allowed, as a review says, and inert."""
    write(surroundings / "c.json", [
        namespace("pay"), role("nodes", rule("get", "nodes"), namespace="pay"),
        binding("nodes", "Role/nodes", user("ann"), namespace="pay"),
    ])  # fmt: skip
    ask = (*EXPLAIN, "get", "nodes", "-n", "pay", "--as", "ann", "--from", "c.json")

    assert posture(*ask).out.startswith("yes, but inert: no request can use it\n")
    assert posture(*ask, "-o", "json").json["inert"] is True
    rows = posture("who-can", "get", "nodes", "-n", "pay", "--from", "c.json", "-o", "json").json
    assert [one["inert"] for one in rows if one["subject"] == "user:ann"] == [True]


# In bulk ------------------------------------------------------------------------------------------------------------


def batch(world: World, questions: Iterable[Any], code: int = 0) -> tuple[list[Any], str]:
    """Ask by a file; the answers, and what is said aside."""
    path = world.folder / "questions.jsonl"
    lines = (one if isinstance(one, str) else json.dumps(one) for one in questions)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    ran = posture(*EXPLAIN, "--batch", path, "--from", world.drifted, code=code)
    return [json.loads(line) for line in ran.out.splitlines()], ran.err


def test_one_line_in_one_line_out_in_order(world: World) -> None:
    """With every key of the contract; null is unknown."""
    answers, _ = batch(world, [
        {"user": API, "verb": "get", "apiGroup": "", "resource": "secrets", "namespace": "pay", "name": "db"},
        {"user": API, "verb": "get", "resource": "secrets", "subresource": "status", "namespace": "pay"},
        {"user": API, "groups": [], "verb": "get", "resource": "secrets", "namespace": "pay"},
        {"groups": ["pay"], "verb": "list", "resource": "secrets", "namespace": "web"},
        {"user": "system:node:n1", "verb": "get", "resource": "pods"},
        {"user": "eve", "verb": "get", "path": "/metrics"},
        {"user": "system:anonymous", "verb": "get", "path": "/metrics"},
        {"user": "eve", "verb": "*", "resource": "*", "apiGroup": "*", "namespace": None},
    ])  # fmt: skip

    assert [one["allowed"] for one in answers] == [True, False, True, True, None, True, False, True]
    assert all(set(one) <= {"allowed", "by", "groups", "inert", "why"} for one in answers)
    assert answers[0]["by"] == [
        {
            "binding": "RoleBinding pay/debug",
            "role": "ClusterRole debug",
            "rule": 0,
            "subject": "serviceaccount:pay/api",
        }
    ]
    assert answers[0]["groups"] == ["system:serviceaccounts", "system:serviceaccounts:pay", "system:authenticated"]
    assert answers[2]["groups"] == []
    assert answers[6]["groups"] == ["system:unauthenticated"]
    assert "Node authorizer" in answers[4]["why"]


def test_questions_come_from_standard_input(world: World) -> None:
    """`-`, and the answers are ASCII whatever was asked."""
    question = json.dumps({"user": "Jürgen", "groups": ["käse"], "verb": "get", "resource": "pods"}, ensure_ascii=False)
    ran = process(*EXPLAIN, "--batch", "-", "--from", world.drifted, input=f"{question}\n\n{question}\n")

    assert ran.out.isascii()
    assert [json.loads(line)["groups"] for line in ran.out.splitlines()] == [["käse"], ["käse"]]


@pytest.mark.parametrize(("line", "said"), [
    ("x", "line 2: no JSON: Expecting value"),
    ("[]", "line 2: not a JSON object"),
    ("[" * 100_000, "line 2: "),
    ({}, "line 2: verb is missing"),
    ({"usr": "ann"}, "line 2: unknown key 'usr'; known are apiGroup, groups,"),
    ({"user": "ann", "verb": "get"}, "line 2: one of resource and path is needed"),
    ({"user": "ann", "verb": "get", "resource": "pods", "path": "/x"}, "line 2: one of resource and path is needed"),
    ({"verb": "get", "resource": "pods"}, "line 2: user is missing"),
    ({"user": 0, "verb": "get", "resource": "pods"}, "line 2: user is not a string"),
    ({"user": "ann", "verb": "get", "resource": "pods", "namespace": False}, "line 2: namespace is not a string"),
    ({"user": "ann", "verb": "get", "resource": "pods", "groups": "x"}, "line 2: groups is not a list of strings"),
])  # fmt: skip
def test_a_question_that_is_none(world: World, line: object, said: str) -> None:
    """The line is named; what was answered before it stands, and nothing after it is answered."""
    fine = {"user": "ann", "verb": "get", "resource": "pods"}
    answers, err = batch(world, [fine, line, fine], code=2)

    assert len(answers) == 1
    assert f"error: {said}" in err
    assert "docs/contracts.md" in err


def test_a_question_without_end(world: World) -> None:
    """A file that has no line ends is not read for ever."""
    ran = posture(*EXPLAIN, "--batch", "/dev/zero", "--from", world.drifted, code=2)
    assert "error: a question is longer than 1,000,000 characters" in ran.err


# who-can ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "holders"), [
    ("get secrets -n pay", {"serviceaccount:pay/api"}),
    ("get secrets -n web", {"group:pay"}),
    ("get secrets", {"serviceaccount:pay/api", "group:pay"}),
    ("get secrets db -n pay", {"serviceaccount:pay/api"}),
    ("delete secrets -n pay", set()),
    ("get tags.acme.example", {"serviceaccount:lab/reader"}),
    ("get tags", {"serviceaccount:lab/reader"}),
    ("patch deployments", set()),
    ("get /healthz", set()),
])  # fmt: skip
def test_everyone_who_can(world: World, question: str, holders: set[str]) -> None:
    """Where and through what, beside those who may do anything; a resource without a group is looked up."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tags.acme.example"},
        "spec": {"group": "acme.example", "names": {"plural": "tags", "kind": "Tag"}, "scope": "Namespaced"},
    }  # fmt: skip
    known = [json.loads(world.drifted.read_text(encoding="utf-8")), definition]
    write(world.folder / "known.json", known)
    rows = posture("who-can", *question.split(), "--from", "known.json", "-o", "json").json

    assert {one["subject"] for one in rows} == holders | {"group:operators", "user:eve", "group:system:masters"}
    assert all(set(one) == {"subject", "scope", "path", "inert"} for one in rows)
    assert posture("who-can", *question.split(), "--from", "known.json", "-o", "name").out.split() == list(
        dict.fromkeys(one["subject"] for one in rows)
    )
