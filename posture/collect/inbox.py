"""Changes on their way from the threads that read to the one that judges: as many as fit, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from posture.collect import Change, Page


class Inbox:
    """A queue that holds about `room` objects; who would put more waits, and with it the server."""

    def __init__(self, room: int) -> None:
        self._room, self._held, self._closed = room, 0, False
        self._changes: deque[Change] = deque()
        self._changed = threading.Condition()

    def put(self, change: Change, wanted: Callable[[], bool]) -> bool:
        """Put it last, if it is still wanted by then. Whether it was."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._held < self._room)
            if self._closed or not wanted():
                return False
            self._changes.append(change)
            self._held += _size(change)
            self._changed.notify_all()
            return True

    def get(self, timeout: float | None) -> Change | None:
        """The first one; None when there is none for `timeout` seconds, or there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._changes), timeout)
            if not self._changes:
                return None
            change = self._changes.popleft()
            self._held -= _size(change)
            self._changed.notify_all()
            return change

    def close(self) -> None:
        """Take nothing more; whoever waits goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _size(change: Change) -> int:
    return max(1, len(change.items)) if isinstance(change, Page) else 1
