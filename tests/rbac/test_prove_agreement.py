"""posture answers what the real API server answers, 100,000 times on the newest and on an older minor."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import pytest

from tests.controlplane.controlplane import ControlPlane
from tests.rbac.agreement import agreement

QUESTIONS = 100_000


@pytest.mark.prove
@pytest.mark.parametrize("minor", ["1.36", "1.34"])
def test_random_questions_get_the_api_servers_answer(
    control_plane_of: Callable[[str], ControlPlane], minor: str
) -> None:
    """Seeded afresh, or with $POSTURE_SEED: not one answer differs."""
    seed = int(os.environ.get("POSTURE_SEED") or secrets.randbits(32))
    print(f"{minor}: POSTURE_SEED={seed}")

    found = agreement(control_plane_of(minor), seed, QUESTIONS)

    print(
        f"{minor}: {found.questions:,} questions, {found.allowed:,} allowed, {len(found.disagreements)} disagreements"
    )
    assert found.disagreements[:20] == []
    assert found.questions == QUESTIONS
    assert found.allowed > QUESTIONS // 20, "too few questions are allowed to prove anything"
