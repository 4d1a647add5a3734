"""Policies over updates: what is kept of one of which exemptions came or went is what asking anew would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from posture.admission.evaluate import Admission, evaluate
from posture.admission.register import ANNOTATIONS, register
from tests.admission.clusters import evaluated, taken
from tests.admission.test_updates import state, updated
from tests.generator.engines import cluster_policy, exception, kyverno, kyverno_rule, pod_security
from tests.generator.objects import Object, namespace

type Settings = dict[str, Any]


def excepting(name: str, *spaces: str, **more: Any) -> Object:
    """An exception for all pods of some namespaces."""
    return exception(name, "kyverno", [("pss", ["restricted"])], {"namespaces": [*spaces]}, **more)


def made(*exceptions: Object, label: str = "", level: str = "restricted") -> list[Object]:
    """Two namespaces, one policy, and exceptions from it."""
    rule = kyverno_rule("restricted", pod_security(level), [{"namespaces": ["gone"]}])
    spaces = [namespace("pay"), namespace("web", **({"team": label} if label else {}))]
    settings = {"enablePolicyException=true", "exceptionNamespace=kyverno"}
    return [*spaces, *kyverno(*(f"--{one}" for one in sorted(settings))), cluster_policy("pss", rule), *exceptions]


def noted(one: Object) -> Object:
    """The same with a note that changes nothing but the object itself, which an edit puts back."""
    return {**one, "metadata": {**one["metadata"], "annotations": {ANNOTATIONS["reason"][0]: "why"}}}


A, B = excepting("a", "pay"), excepting("b", "web")
WIDER = excepting("b", "web", "pay")
RENUMBERED = (made(A, B), made(B), made(B, label="x"))
STEPS: dict[str, Sequence[list[Object]]] = {
    "one goes": (made(A, B), made(B)),
    "one goes, and a namespace where another counts is another": RENUMBERED,
    "one comes before another": (made(B), made(A, B), made(A, B, label="x")),
    "one is wider": (made(A, B), made(A, WIDER)),
    "one is wider, where nothing else counts": (made(B), made(WIDER)),
    "the policy is another": (made(A, B), made(A, B, level="baseline")),
    "the policy and an exception are others": (made(A, B), made(B, level="baseline")),
    "the exception says why": (made(A, B), made(A, noted(B))),
    "the policy says why": (made(A, B), [noted(one) if one["kind"] == "ClusterPolicy" else one for one in made(A, B)]),
    "one goes and comes again": (made(A, B), made(B), made(A, B)),
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_what_is_kept_is_what_asking_anew_gives(steps: Sequence[list[Object]], settings: Settings) -> None:
    """Step by step, against a full evaluation."""
    result: Admission = evaluated(steps[0], settings)
    assert any(entry.opens for entry in register(result).values())
    for objects in steps[1:]:
        snapshot = taken(objects, settings)
        result = updated(result, snapshot)
        assert state(result) == state(evaluate(snapshot))
