"""The evaluator against the library that the API server judges with: k8s.io/pod-security-admission.

Random pods, what no server stores included, at both levels in all versions: the same controls, in the same order.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import batched
from pathlib import Path
from random import Random

import orjson
import pytest

from posture.admission.controls import BASELINE, RESTRICTED, Level
from posture.admission.pss import LATEST, version_of, violations
from tests.conftest import FIGURE
from tests.controlplane import build
from tests.generator.objects import Object
from tests.generator.pods import random_pods

pytestmark = pytest.mark.prove

SOURCE = Path(__file__).with_name("podsecurity")
NUMBER = 100_000
EACH = 5_000
LEVELS: tuple[Level, ...] = (BASELINE, RESTRICTED)
LABELS = [f"v1.{minor}" for minor in range(37)]
VERSIONS = [version_of(label) or 0 for label in LABELS]

type Ids = list[list[list[str]]]
"""By level and version, the ids of the controls that a pod violates."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program around the library, built with the Go that builds the control planes."""
    program = tmp_path_factory.mktemp("podsecurity") / "podsecurity"
    build.go_program(SOURCE, program)
    return program


def theirs(program: Path, pods: Sequence[Object], labels: Sequence[str]) -> Iterator[Ids]:
    """What the library forbids."""
    asked = b"".join(orjson.dumps({"pod": pod, "levels": LEVELS, "versions": labels}) + b"\n" for pod in pods)
    done = subprocess.run([program], input=asked, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(pods)
    return map(orjson.loads, lines)


def ours(pod: Object, versions: Sequence[int]) -> Ids:
    """What the evaluator says."""
    return [[[control for control, _ in violations(pod, level, version)] for version in versions] for level in LEVELS]


def test_random_pods(library: Path, record_property: Callable[[str, object], None]) -> None:
    """No difference, in no version."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    answers = allowed = violated = 0
    for pods in batched(random_pods(Random(seed), NUMBER), EACH):
        for pod, expected in zip(pods, theirs(library, pods, LABELS), strict=True):
            assert ours(pod, VERSIONS) == expected, (seed, orjson.dumps(pod))
            every = [ids for by_version in expected for ids in by_version]
            answers, allowed = answers + len(every), allowed + every.count([])
            violated += sum(map(len, every))
    assert 0.2 < allowed / answers < 0.8
    figure = (
        f"pod security: {NUMBER:,} pods in {len(VERSIONS)} versions at 2 levels, {allowed:,} of {answers:,} allowed"
    )
    figure += f", {violated:,} violated controls, 0 differences with the library (POSTURE_SEED={seed})"
    record_property(FIGURE, figure)


def test_versions_that_are_not_there_yet(library: Path) -> None:
    """`latest`, and every number after the newest one that the library knows, are that one."""
    pods = list(random_pods(Random(5), 2000))
    for pod, expected in zip(pods, theirs(library, pods, ["latest", "v1.36", "v1.99"]), strict=True):
        assert ours(pod, [LATEST, 36, 99]) == expected
