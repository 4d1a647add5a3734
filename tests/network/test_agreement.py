"""The engine's answers against the documentation, row by row, and against a brute-force reading of random clusters."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import get_args

import pytest

from posture.network import flow
from posture.network.connectivity import PodsByIp
from tests.conftest import FIGURE
from tests.generator.network import questions, random_network
from tests.network.cases import CASES, Case
from tests.network.clusters import evaluated
from tests.oracles.network import answer

SETTINGS: tuple[PodsByIp, ...] = get_args(PodsByIp.__value__)
EACH = 10


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_documentation(case: Case) -> None:
    """Each row is a sentence of the documentation."""
    result = evaluated(case.objects, case.pods_by_ip)
    assert flow.answer(result, flow.Question(*case.question)).allowed is case.expected, case.rule


@pytest.mark.parametrize(
    "number", [pytest.param(12_000, id="normal"), pytest.param(120_000, id="prove", marks=pytest.mark.prove)]
)
def test_random_questions(number: int, record_property: Callable[[str, object], None]) -> None:
    """Over random clusters with every feature, whatever the plugin does with addresses of pods: no difference."""
    seed = int(os.environ.get("POSTURE_SEED") or Random().randrange(2**32))
    random = Random(seed)
    answers: Counter[bool | None] = Counter()
    while answers.total() < number:
        objects = random_network(random)
        for setting in SETTINGS:
            result = evaluated(objects, setting)
            for asked in questions(random, objects, EACH):
                said = flow.answer(result, flow.Question(*asked)).allowed
                assert said is answer(objects, asked, setting), (seed, setting, asked)
                answers[said] += 1
    figure = f"network: {answers.total():,} questions, {answers[True]:,} allowed, {answers[None]:,} unknown"
    record_property(FIGURE, f"{figure}, 0 disagreements with a brute-force reading (POSTURE_SEED={seed})")
