"""Patterns and `podSecurity` of Kyverno against its own packages, as its admission controller of v1.19.0 has them."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import batched
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson
import pytest

from posture.admission.cel import Missing
from posture.admission.controls import BASELINE, RESTRICTED
from posture.admission.engines import kyverno
from posture.admission.engines.kyverno import patterns
from posture.admission.policy import NONE, Asked, Policy, Space, Verdict
from posture.admission.requests import PODS, Request
from tests.conftest import FIGURE
from tests.controlplane import build
from tests.generator.kyverno import (
    cluster_policy,
    imaged,
    object_like,
    pod_security,
    random_exclusions,
    random_pattern,
    rule,
)
from tests.generator.objects import Object, snapshot
from tests.generator.pods import random_pod

pytestmark = pytest.mark.prove

SOURCE = Path(__file__).with_name("kyverno")
NUMBER = 60_000
EACH = 2_000
VERSIONS = ("latest", *(f"v1.{minor}" for minor in range(19, 33)))
"""Those that the schema of a ClusterPolicy takes."""
PAY = Space.of("pay", None)

type Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program around Kyverno's packages, built with the Go that builds the control planes."""
    program = tmp_path_factory.mktemp("kyverno") / "kyverno"
    build.go_program(SOURCE, program)
    return program


def theirs(program: Path, questions: Sequence[Object]) -> list[str]:
    """What Kyverno says."""
    asked = b"".join(orjson.dumps(one) + b"\n" for one in questions)
    done = subprocess.run([program], input=asked, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(questions)
    return lines


def seeded() -> int:
    """A fresh seed, or the one that is to be repeated."""
    return int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))


# Patterns ------------------------------------------------------------------------------------------------------------


def ours(pattern: Object, there: Object) -> str:
    """What a pattern gives for an object; `unknown` where that cannot be told."""
    assert patterns.unsupported(pattern) == ""
    try:
        return patterns.judged(pattern, there)
    except patterns.Unanswered:
        return "unknown"


def test_random_patterns(library: Path, record_property: Record) -> None:
    """The same result for each pair of a pattern and an object."""
    seed = seeded()
    random, count = Random(seed), Counter[str]()
    every = (random_pattern(random) for _ in range(NUMBER))
    for some in batched(every, EACH):
        asked: list[Object] = [{"pattern": one, "object": object_like(random, one)} for one in some]
        for question, expected in zip(asked, theirs(library, asked), strict=True):
            found = ours(question["pattern"], question["object"])
            assert found in (expected, "unknown"), (seed, orjson.dumps(question), expected)
            count[found] += 1
    assert all(count[result] > NUMBER // 200 for result in ("pass", "skip", "fail", "error"))
    assert count["unknown"] < NUMBER // 50
    figure = f"Kyverno: {NUMBER:,} pairs of patterns and objects, {count['pass']:,} pass, {count['skip']:,} skip, "
    figure += f"{count['fail'] + count['error']:,} fail, {count['unknown']:,} unknown, 0 differences with its own "
    record_property(FIGURE, f"{figure}packages (POSTURE_SEED={seed})")


# podSecurity ---------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A rule with `podSecurity`, and a pod."""

    given: Object
    pod: Object

    @classmethod
    def any(cls, random: Random) -> Case:
        level = random.choice((BASELINE, RESTRICTED))
        version = random.choice((*("latest",) * len(VERSIONS), *VERSIONS))
        pod = {"apiVersion": "v1", "kind": "Pod"} | imaged(random, random_pod(random))
        return cls(pod_security(level, version=version, exclude=random_exclusions(random)), pod)

    @property
    def request(self) -> Request:
        return Request("CREATE", PODS, "", PAY.name, "p", self.pod, namespace_object=PAY.object)

    @property
    def questions(self) -> tuple[Object, Object]:
        """Of the rule as it is, and without what it leaves out."""
        return (
            {"podSecurity": self.given, "object": self.pod},
            {"podSecurity": self.given | {"exclude": []}, "object": self.pod},
        )


def judged(cases: Sequence[Case]) -> list[tuple[Verdict, Verdict]]:
    """What the engine says of ClusterPolicies, with all that they leave out and without."""
    made = snapshot(cluster_policy(f"p{n:06}", rule(podSecurity=one.given)) for n, one in enumerate(cases))
    found: list[Policy] = [*kyverno.policies(made)]
    asked = []
    for policy, one in zip(found, cases, strict=True):
        there = kyverno.variant(policy, PAY)
        assert there is not None
        assert len(there.exemptions) == len(one.given["exclude"])
        asked += [Asked(policy, one.request, there.exemptions), Asked(policy, one.request, NONE)]
    return [(one, other) for one, other in batched(kyverno.judged(asked, Missing()), 2)]


def test_random_rules_with_pod_security(library: Path, record_property: Record) -> None:
    """The same verdict for each rule and pod, with what the rule leaves out, which excuses, and without.

    Unknown is what releases of Kyverno do not agree on.
    """
    seed = seeded()
    random, count = Random(seed), Counter[str]()
    for some in batched((Case.any(random) for _ in range(NUMBER)), EACH):
        said = theirs(library, [question for one in some for question in one.questions])
        for one, (asked, expected) in zip(some, zip(judged(some), batched(said, 2), strict=True), strict=True):
            for verdict, result in zip(asked, expected, strict=True):
                assert verdict.refuses in (result == "fail", None), (seed, orjson.dumps([*one]), verdict, result)
                count["unknown"] += verdict.refuses is None
            verdict, without = asked
            if None not in (verdict.refuses, without.refuses):
                assert bool(verdict.excused) is (without.refuses is not verdict.refuses), (seed, orjson.dumps([*one]))
                count["excused"] += bool(verdict.excused)
            count["refused"] += bool(verdict.refuses)
    assert 0.2 < count["refused"] / NUMBER < 0.8
    assert count["excused"] > NUMBER // 50
    assert count["unknown"] < NUMBER // 10
    figure = f"Kyverno: {NUMBER:,} rules with podSecurity and pods, {count['refused']:,} refused, "
    figure += f"{count['excused']:,} excused, {count['unknown']:,} of {2 * NUMBER:,} answers unknown, "
    record_property(FIGURE, f"{figure}0 differences with its own packages (POSTURE_SEED={seed})")
