"""A place of its own for every test of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.commands.running import NOW, World, make


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, a database in it, a clock, and nothing of the user's own."""
    _surround(tmp_path, monkeypatch)
    return tmp_path


def _surround(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("POSTURE_CONFIG", "KUBECONFIG", "NO_COLOR", "COLUMNS", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(folder))
    patch.setenv("POSTURE_DB", str(folder / "posture.db"))
    patch.setenv("POSTURE_NOW", NOW)
    patch.setenv("POSTURE_USER", "bob")
    patch.chdir(folder)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world, made once."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        _surround(folder, patch)
        make(folder)
    return folder


@pytest.fixture
def world(made: Path, surroundings: Path) -> World:
    """A copy of the small world."""
    for path in made.glob("*.json"):
        shutil.copy(path, surroundings)
    shutil.copy(made / "posture.db", surroundings)
    return World(surroundings)
