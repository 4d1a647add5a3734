"""posture explain admission: one pod, a workload, a manifest, and questions in bulk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.admitted import cluster, workload
from tests.commands.running import posture, process, write
from tests.generator.objects import Object, namespace

EXPLAIN = ("explain", "admission")
PRIVILEGED = {"containers": [{"name": "a", "image": "b", "securityContext": {"privileged": True}}]}
PLAIN = {"containers": [{"name": "a", "image": "b", "securityContext": {"allowPrivilegeEscalation": False}}]}


@pytest.fixture
def here(surroundings: Path) -> Path:
    """The cluster as a file."""
    return write(surroundings / "c.json", cluster())


def pod(spec: Object, **metadata: Any) -> Object:
    """A pod as a manifest."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}, "spec": spec}


def manifest(folder: Path, *documents: Any) -> Path:
    """A file of some documents."""
    path = folder / "given.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return path


def asked(here: Path, *args: str | Path, code: int = 0) -> Any:
    """The answer as JSON."""
    return posture(*EXPLAIN, *args, "--from", here, "-o", "json", code=code).json


@pytest.mark.parametrize(("given", "where", "flags", "allowed"), [
    (pod(PLAIN, namespace="web"), "web", [], True),
    (pod(PRIVILEGED), "old", ["-n", "old", "--as", "ann"], True),
    (pod(PRIVILEGED), "exceptions", ["-n", "exceptions", "--as", "ann"], False),
    (pod(PRIVILEGED), "exceptions", ["-n", "exceptions", "--as", "x", "--as-group", "system:nodes"], True),
    (pod({"containers": [{"name": "a", "image": "b"}]}), "shop", ["-n", "shop"], False),
    (pod({"containers": [{"name": "a", "image": "b"}]}, labels={"skip": "yes"}), "shop", ["-n", "shop"], True),
    (workload("shop", "new", allowPrivilegeEscalation=False), "shop", [], True),
    (workload("shop", "new"), "shop", [], False),
    (workload("exceptions", "new", "StatefulSet", privileged=True), "exceptions", ["-n", "exceptions"], False),
])  # fmt: skip
def test_a_manifest_is_asked_where_it_says_or_where_one_says(
    here: Path, given: Object, where: str, flags: list[str], allowed: bool
) -> None:
    """Pods as they are written, workloads as their controllers make pods; -n where the file names no namespace."""
    path = manifest(here.parent, given)

    assert asked(here, path, *flags)["allowed"] is allowed
    shown = posture(*EXPLAIN, path, *flags, "--from", here).out.partition("\n")[0]
    assert shown.startswith("admitted: " if allowed else "refused: ")
    assert where in shown


def test_the_first_pod_or_workload_of_a_file_counts(here: Path) -> None:
    """Several documents, a List among them, and what is neither before it."""
    first = {"apiVersion": "v1", "kind": "List", "items": [namespace("x"), workload("shop", "api")]}
    path = manifest(here.parent, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, first,
                    pod(PLAIN, namespace="web"))  # fmt: skip

    assert posture(*EXPLAIN, path, "--from", here).out.startswith("refused: workload:shop/api[Deployment]\n")


def test_standard_input(here: Path) -> None:
    """`-` is a manifest, too."""
    text = json.dumps(pod(PRIVILEGED, namespace="exceptions"))

    ran = process(*EXPLAIN, "-", "--from", here, "--as", "ann", input=text)

    assert ran.out.startswith("refused: - in exceptions\n  ClusterPolicy levels refuses\n")


@pytest.mark.parametrize("name", ["agents/agent", "workload:agents/agent[DaemonSet]", "agents/agent[DaemonSet]"])
def test_a_workload_of_the_cluster(here: Path, name: str) -> None:
    """By any of its names; it says which exception lets it through, and how far what it violates is enforced."""
    said = asked(here, name)

    assert said["allowed"] is True
    assert {"policy": "ClusterPolicy levels", "says": "would refuse",
            "exceptions": ["PolicyException exceptions/agents"]} in said["by"]  # fmt: skip
    assert {"control": "privileged", "enforced": "not", "by": []} in said["controls"]
    assert "  ClusterPolicy levels would refuse but for PolicyException exceptions/agents\n" in (
        posture(*EXPLAIN, name, "--from", here).out
    )


@pytest.mark.parametrize(("text", "flags", "error"), [
    ("a: [", [], "given.yaml, line 2: while parsing a flow node: did not find expected node content"),
    ("", [], "given.yaml holds no pod and no workload"),
    ("5", [], "given.yaml holds no pod and no workload"),
    ("kind: List\nitems: 5", [], "given.yaml holds no pod and no workload"),
    ("apiVersion: v1\nkind: Service\nmetadata: {name: a}", [], "given.yaml holds no pod and no workload"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: 5}", [],
     "given.yaml: Pod: spec.containers is not a list"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}", ["-n", "web"], "given.yaml: pod has no containers"),
    (json.dumps(pod(PLAIN)), [], "given.yaml: Pod: it names no namespace, and neither does -n"),
    (json.dumps(pod(PLAIN, namespace="a")), ["-n", "web"], "given.yaml: Pod: it is of namespace a, and -n names web"),
    (json.dumps(pod(PLAIN)), ["-n", "web", "--as-group", "g"], "--as-group needs --as"),
    (json.dumps(workload("web", "a")), ["--as", "ann"], "-n, --as and --update are for a pod of a file"),
])  # fmt: skip
def test_a_manifest_that_is_none(here: Path, text: str, flags: list[str], error: str) -> None:
    """One clear sentence, and no trace."""
    path = here.parent / "given.yaml"
    path.write_text(text, encoding="utf-8")

    ran = posture(*EXPLAIN, path.name, *flags, "--from", here, code=2)

    said = [line for line in ran.err.splitlines() if not line.startswith("answered")]
    assert said[0] == f"error: {error}"
    assert [line.partition(":")[0] for line in said[1:]] == ["hint"]


@pytest.mark.parametrize(("args", "error"), [
    ([], "a workload or a manifest is needed"),
    (["web/none"], "there is no file or workload web/none"),
    (["web/front", "-n", "web"], "-n, --as and --update are for a pod of a file"),
    (["web/front", "--batch", "x"], "--batch brings its own questions"),
])  # fmt: skip
def test_a_question_that_is_none(here: Path, args: list[str], error: str) -> None:
    """What is missing, or does not go together."""
    ran = posture(*EXPLAIN, *args, "--from", here, code=2)

    assert f"error: {error}\n" in ran.err


def bulk(here: Path, *lines: Any, code: int = 0) -> Any:
    """What `--batch` writes for some questions."""
    path = here.parent / "questions"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return posture(*EXPLAIN, "--batch", path, "--from", here, code=code)


def test_questions_in_bulk(here: Path) -> None:
    """One answer a line, in order, the same as one at a time; null with why where nobody can say."""
    ran = bulk(
        here,
        {"namespace": "web", "pod": {"spec": PLAIN}},
        {"namespace": "exceptions", "pod": pod(PRIVILEGED), "user": "ann"},
        {"pod": pod(PRIVILEGED, namespace="exceptions"), "user": "ann", "groups": ["system:nodes"]},
        {"namespace": "exceptions", "pod": {"spec": PRIVILEGED}},
        {"namespace": "shop", "pod": {"spec": {"containers": [{"name": "a"}]}}, "operation": "UPDATE"},
    )
    answers = [json.loads(line) for line in ran.out.splitlines()]

    assert [one["allowed"] for one in answers] == [True, False, True, None, True]
    assert answers[1]["by"] == [{"policy": "ClusterPolicy levels", "says": "refuses"}]
    assert {"control": "privileged", "enforced": "fully", "by": ["ClusterPolicy levels"]} in answers[1]["controls"]
    assert answers[3]["why"] == "ClusterPolicy levels: who asks is not known"
    assert answers[1] == asked(here, manifest(here.parent, pod(PRIVILEGED)), "-n", "exceptions", "--as", "ann")


GOOD = {"namespace": "web", "pod": {"spec": PLAIN}}


@pytest.mark.parametrize(("line", "error"), [
    ("{", "no JSON: Expecting property name enclosed in double quotes"),
    ("5", "not a JSON object"),
    ({}, "pod is no pod: an object with metadata and spec is needed"),
    (GOOD | {"pod": 5}, "pod is no pod: an object with metadata and spec is needed"),
    (GOOD | {"pod": {"spec": 5}}, "pod is no pod: an object with metadata and spec is needed"),
    (GOOD | {"pod": {"kind": "Job", "spec": PLAIN}}, "pod is no pod: an object with metadata and spec is needed"),
    (GOOD | {"pod": {"spec": {"containers": []}}}, "pod has no containers"),
    (GOOD | {"pod": {"spec": {"containers": 5}}}, "pod has no containers"),
    (GOOD | {"pod": {"spec": {"containers": [{"name": 1 << 70}]}}},
     "pod is no JSON that an API server takes: Integer exceeds 64-bit range"),
    ({"pod": {"spec": PLAIN}}, "namespace is missing"),
    (GOOD | {"namespace": ["web"]}, "namespace is missing"),
    (GOOD | {"pod": pod(PLAIN, namespace="pay")}, "pod is of namespace pay, and web is asked about"),
    (GOOD | {"operation": "DELETE"}, "operation is neither CREATE nor UPDATE"),
    (GOOD | {"operation": []}, "operation is neither CREATE nor UPDATE"),
    (GOOD | {"user": 5}, "user is a name, and groups a list of names"),
    (GOOD | {"user": "ann", "groups": "g"}, "user is a name, and groups a list of names"),
    (GOOD | {"groups": ["g"]}, "groups are given without user"),
    (GOOD | {"who": "ann"}, "who is no field of a question"),
])  # fmt: skip
def test_a_wrong_line_is_one_sentence(here: Path, line: Any, error: str) -> None:
    """With its number; what came before it was answered."""
    ran = bulk(here, GOOD, line, code=2)

    assert len(ran.out.splitlines()) == 1
    assert f"error: line 2: {error}\n" in ran.err


def test_a_pod_of_any_shape_gets_an_answer(here: Path) -> None:
    """The API server would refuse to decode it; here nothing fails on it."""
    fields = ("securityContext", "volumes", "initContainers", "ephemeralContainers", "hostNetwork", "os", "tolerations",
              "nodeSelector", "serviceAccountName", "imagePullSecrets")  # fmt: skip
    values: tuple[Any, ...] = (5, "x", [5], [[]], {"a": 5}, None, True)
    lines = [
        {"namespace": "web", "pod": {"metadata": value, "spec": PLAIN | {field: value}}, "user": "ann"}
        for field in fields for value in values
    ]  # fmt: skip

    answers = [json.loads(line)["allowed"] for line in bulk(here, *lines).out.splitlines()]

    assert len(answers) == len(lines)
    assert {*answers} <= {True, False, None}
