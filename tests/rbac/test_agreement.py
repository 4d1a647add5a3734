"""posture answers what the real API server answers."""

from __future__ import annotations

import os
import secrets

from tests.controlplane.controlplane import ControlPlane
from tests.rbac.agreement import agreement


def test_random_questions_get_the_api_servers_answer(control_plane: ControlPlane) -> None:
    """10,000 random questions, seeded afresh: not one answer differs."""
    seed = int(os.environ.get("POSTURE_SEED") or secrets.randbits(32))
    print(f"POSTURE_SEED={seed}")

    found = agreement(control_plane, seed, 10_000)

    assert found.disagreements == []
    assert found.allowed > 500, "too few questions are allowed to prove anything"
