"""Fixtures with a control plane: `pytest_plugins = ["tests.controlplane.fixtures"]` in the outermost conftest.py.

A control plane is shared by all tests of a session (with pytest-xdist: of a worker). Tests make namespaces and names of
their own, and start a `ControlPlane` of their own where they change what others see.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.controlplane.build import NEWEST
from tests.controlplane.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# alice has a group and no permission of her own; nobody has neither.
USERS = {"alice": ("developers",), "nobody": ()}


@pytest.fixture(scope="session")
def control_plane_of() -> Iterator[Callable[[str], ControlPlane]]:
    """Gives a running control plane of a minor version such as "1.34": one of each, started when first asked for."""
    with contextlib.ExitStack() as stack:
        running: dict[str, ControlPlane] = {}

        def control_plane_of(minor: str) -> ControlPlane:
            if minor not in running:
                running[minor] = stack.enter_context(ControlPlane(minor, users=USERS))
            return running[minor]

        yield control_plane_of


@pytest.fixture(scope="session")
def control_plane(control_plane_of: Callable[[str], ControlPlane]) -> ControlPlane:
    """A running control plane of the newest minor version, with the users `admin`, `alice` and `nobody`."""
    return control_plane_of(NEWEST)
