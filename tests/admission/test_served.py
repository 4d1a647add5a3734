"""Whom exceptions serve: each workload that a policy would refuse without them, however few are asked for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from posture.admission.cel import Evaluator
from posture.admission.evaluate import ENGINES
from posture.admission.policy import Asked, Policy, Space, Variant, Verdict
from posture.admission.requests import Request
from posture.admission.served import Served, Serving
from posture.admission.workloads import requests_of
from posture.cel import Process
from posture.model import Snapshot, Through
from tests.generator.admission import cluster
from tests.generator.engines import NOW, cluster_policy, kyverno_rule
from tests.generator.engines import cel as validates
from tests.generator.large_admission import Size
from tests.generator.large_admission import cluster as large
from tests.generator.objects import Object, namespace, snapshot
from tests.generator.templates import controlled

SEEDS = range(12)


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def one_by_one(given: Snapshot, namespace: str, policy: Policy, variant: Variant, cel: Evaluator) -> Served:
    """What the engine says of every single workload, with all exemptions and without each of them."""

    def judged(request: Request, exemptions: frozenset[int]) -> Verdict:
        return ENGINES[policy.engine].judged([Asked(policy, request, exemptions)], cel)[0]

    found: dict[Through, set[str]] = {}
    for subject, request in requests_of(given, namespace):
        excused = judged(request, variant.exemptions).excused
        for through in {policy.exemptions[number].through for number in excused}:
            numbers = {number for number in excused if policy.exemptions[number].through == through}
            if judged(request, variant.exemptions - numbers).refuses is not False:
                found.setdefault(through, set()).add(subject)
    return {through: tuple(sorted(subjects)) for through, subjects in sorted(found.items())}


def agreed(objects: list[Object], cel: Evaluator) -> int:
    """Compare; how many workloads are served."""
    given = replace(snapshot(objects), settings={"now": NOW})
    asking = Serving(given, ENGINES, cel)
    wanted = [
        (key.name, policy, variant, asking.want(key.name, policy, variant))
        for engine in ENGINES.values()
        for policy in engine.policies(given)
        for key, content in given.objects("namespaces")
        if (variant := engine.variant(policy, Space.of(key.name, content))) is not None and variant.exemptions
    ]
    asking.answer()
    for name, policy, variant, served in wanted:
        assert served == one_by_one(given, name, policy, variant, cel), (name, policy.through, variant)
    return sum(len(subjects) for *_, served in wanted for subjects in served.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_asked_once_is_as_if_asked_for_each(seed: int, cel: Process) -> None:
    """In random clusters, of every engine."""
    agreed(cluster(Random(seed)), cel)


def test_whom_the_exceptions_of_a_large_cluster_serve(cel: Process) -> None:
    """There most workloads are alike, and some exceptions are needed."""
    assert agreed([*large(Size(30, 90, 14))], cel) > 5


def test_workloads_of_one_template_are_told_apart_by_name_where_that_matters(cel: Process) -> None:
    """One of the two is called as the policy excludes."""
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    policy = cluster_policy("all", kyverno_rule("check", validates("false"), [{"names": ["legacy-*"]}]))
    given = [namespace("a"), policy, *(controlled("Deployment", name, "a", template) for name in ("api", "legacy"))]
    assert agreed(given, cel) == 1
