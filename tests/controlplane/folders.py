"""Temporary folders that somebody removes even when the process that made them was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = "posture-controlplane-"


class TemporaryFolder:
    """A folder that only this user may enter, at `path`. Making one also removes those of processes that are gone."""

    def __init__(self) -> None:
        """Makes the folder and holds a lock in it, which the kernel lets go of when this process ends in any way."""
        _sweep()
        made = Path(tempfile.mkdtemp(prefix="posture-new-"))
        self._lock = os.open(made / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # The name that _sweep looks for comes last: no process sees such a folder without its lock.
        self.path = made.with_name(made.name.replace("posture-new-", PREFIX))
        made.rename(self.path)

    def remove(self) -> None:
        """Removes the folder. May be called twice."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _sweep() -> None:
    """Removes this user's folders that nobody holds the lock of any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / "lock", os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
