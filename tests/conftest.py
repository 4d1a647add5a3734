"""What all tests share."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.controlplane.fixtures"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make prove` asks, unless markers are chosen."""
    if config.getoption("-m"):
        return
    kept = [item for item in items if item.get_closest_marker("prove") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
