"""What tests of whole clusters share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from posture.cel import Process
from tests.generator.engines import NOW

PATIENT = 300.0
"""Seconds for a message to the process: on a busy machine no answer is to be late, which would make it unknown."""


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, Any]]:
    """What is said of a cluster: the time, and who evaluates expressions, one process for a module."""
    with Process(seconds=PATIENT) as cel:
        yield {"now": NOW, "cel": cel}
