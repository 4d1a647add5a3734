"""What tests of whole clusters share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from posture.cel import Process
from tests.generator.engines import NOW


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, Any]]:
    """What is said of a cluster: the time, and who evaluates expressions, one process for a module."""
    with Process() as cel:
        yield {"now": NOW, "cel": cel}
