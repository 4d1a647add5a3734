"""The lock beside a database: one scan at a time, named holders, freed by the kernel, never in the way of decisions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posture import actions
from posture.errors import StoreError
from posture.store import MEMORY, findings, lock, open_store
from posture.store.decisions import Deed
from tests.generator.source import Given
from tests.store.stored import scanned, some_objects

NOW = "2026-10-20T10:00:00Z"
HOLD = """
import sys
from posture.store import lock
with lock.held(sys.argv[1], "posture scan", "2026-10-20T09:00:00Z"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `posture.db`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "posture.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take(path: Path) -> None:
    with lock.held(str(path), "posture scan", NOW):
        pass


def test_a_second_process_is_told_who_holds_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """What runs, its process id, where and since when: enough to find and judge it."""
    with pytest.raises(StoreError) as caught:
        take(tmp_path / "posture.db")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/posture.db is locked by posture scan, process {holder.pid} on ")
    assert said.endswith(" since 2026-10-20T09:00:00Z")
    assert "frees itself" in caught.value.hint


def test_a_killed_holder_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """The kernel lets go of the lock; nobody has to delete a file."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    take(tmp_path / "posture.db")


def test_another_name_of_the_file_is_the_same_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """A symbolic link to a database leads to the same lock."""
    (tmp_path / "posture.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "posture.db")
    with pytest.raises(StoreError, match="is locked by"):
        take(tmp_path / "link.db")


def test_it_can_be_taken_again_and_again(tmp_path: Path) -> None:
    """Also after an error inside."""
    with pytest.raises(KeyError), lock.held(str(tmp_path / "posture.db"), "posture scan", NOW):
        raise KeyError
    take(tmp_path / "posture.db")


def test_a_holder_that_says_nothing_is_another_process(tmp_path: Path) -> None:
    """Whatever a lock file holds, the sentence can be said."""
    path = tmp_path / "posture.db"
    with lock.held(str(path), "posture scan", NOW):
        Path(f"{path}.lock").write_text("[]", encoding="utf-8")
        with pytest.raises(StoreError, match="is locked by another process"):
            take(path)


def test_memory_is_never_locked() -> None:
    """Nobody else can see a database in memory."""
    with lock.held(MEMORY, "posture scan", NOW), lock.held(MEMORY, "posture scan", NOW):
        pass


def test_decisions_are_written_while_a_scan_holds_the_lock(tmp_path: Path) -> None:
    """A long scan keeps nobody from deciding."""
    path = str(tmp_path / "posture.db")
    with open_store(path) as store, lock.held(path, "posture scan", NOW):
        scanned(store, Given(some_objects()))
        with open_store(path, create=False) as other:
            found = actions.find(other, [next(findings.select(other)).fingerprint])
            assert actions.decide_on(other, found, Deed("acknowledged", "ann", NOW)) == 1
