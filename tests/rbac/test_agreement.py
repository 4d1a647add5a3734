"""posture answers what the real API server answers: 10,000 times in every run, 100,000 on two minors to prove it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable

import pytest

from tests.conftest import FIGURE
from tests.controlplane.controlplane import ControlPlane
from tests.rbac.agreement import agreement


@pytest.mark.parametrize(
    ("minor", "questions"),
    [
        ("1.36", 10_000),
        pytest.param("1.36", 100_000, marks=pytest.mark.prove),
        pytest.param("1.34", 100_000, marks=pytest.mark.prove),
    ],
)
def test_random_questions_get_the_api_servers_answer(
    control_plane_of: Callable[[str], ControlPlane],
    record_property: Callable[[str, object], None],
    minor: str,
    questions: int,
) -> None:
    """Seeded afresh, or with $POSTURE_SEED: not one answer differs."""
    seed = int(os.environ.get("POSTURE_SEED") or secrets.randbits(32))

    found = agreement(control_plane_of(minor), seed, questions)

    record_property(
        FIGURE,
        f"agreement with the API server of {minor}: {found.questions:,} questions, {found.allowed:,} allowed, "
        f"{len(found.disagreements)} disagreements (POSTURE_SEED={seed})",
    )
    assert found.disagreements[:20] == []
    assert found.questions == questions
    assert found.allowed > questions // 50, "too few questions are allowed to prove anything"
