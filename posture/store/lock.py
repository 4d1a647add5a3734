"""One writer of revisions at a time, and who it is. The kernel lets go of the lock when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posture.errors import StoreError
from posture.text import visible

from .database import PRIVATE


@contextmanager
def held(database: str, what: str, now: str) -> Iterator[None]:
    """Hold the lock beside a database file. Raises StoreError that names the holder when another process has it."""
    if database == ":memory:":
        yield
        return
    path = Path(f"{os.path.realpath(database)}.lock")
    try:
        file = open(  # noqa: SIM115 - Path.open sets no mode
            path, "a+", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, PRIVATE)
        )
    except OSError as error:
        raise StoreError(f"cannot lock {database}: {error.strerror}", "the folder must be writable") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{database} is locked by {_holder(path)}", "wait until it ends; a lock whose holder died frees itself"
            ) from error
        file.truncate(0)
        file.write(json.dumps({"what": what, "pid": os.getpid(), "host": socket.gethostname(), "since": now}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return visible(f"{said['what']}, process {said['pid']} on {said['host']} since {said['since']}", 200)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
