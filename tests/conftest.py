"""What all tests share."""

from __future__ import annotations

import pytest

FIGURE = "figure"
"""The name of a recorded property that is printed at the end, as `make test` and `make prove` publish it."""

pytest_plugins = ["tests.controlplane.fixtures"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `make prove` asks, unless markers are chosen."""
    if config.getoption("-m"):
        return
    kept = [item for item in items if item.get_closest_marker("prove") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded: what they measured, and the seed that repeats it."""
    found = [
        value for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties if name == FIGURE
    ]  # fmt: skip
    if found:
        terminalreporter.section("figures")
    for line in sorted(found):
        terminalreporter.write_line(str(line))
