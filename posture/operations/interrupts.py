"""Ending in time: when a signal asks for it, or when a deadline is over. For the main thread only, as signals are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from posture.errors import CannotJudge

GRACE_SECONDS = 2.0
"""So long whoever is asked to stop may take for it."""
AGAIN_SECONDS = 1.0
"""And so long for what it does when it is interrupted. What is raised in a finalizer is lost: hence again and again."""
type Handler = Callable[[int, FrameType | None], None]


class Interrupted(KeyboardInterrupt):
    """Raised wherever the main thread is. Transactions that are open are rolled back by it, as by any exception."""


@dataclass(slots=True)
class Stop:
    """Whether somebody asked to stop."""

    asked: bool = False


@contextmanager
def stopping(grace: float = GRACE_SECONDS) -> Iterator[Stop]:
    """SIGTERM and SIGINT ask the block to stop. After `grace` seconds, or a second signal, it is interrupted.

    Either way the block just ends: nothing is raised out of it.
    """
    stop = Stop()

    def ask(*_: object) -> None:
        if stop.asked:
            raise Interrupted
        stop.asked = True
        signal.setitimer(signal.ITIMER_REAL, grace, AGAIN_SECONDS)

    with _handling({signal.SIGTERM: ask, signal.SIGINT: ask, signal.SIGALRM: _interrupt}), suppress(Interrupted):
        yield stop


@contextmanager
def within(seconds: float, hint: str) -> Iterator[None]:
    """The block must end within so many seconds; 0 is no limit. Raises CannotJudge with the hint if it does not."""
    if not seconds:
        yield
        return
    late = False
    with _handling({signal.SIGALRM: _interrupt}):
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
            yield
        except Interrupted:
            late = True
    if late:  # out of the handler: what was under way is let go of before
        raise CannotJudge(f"it took longer than {seconds:g} s", hint)


def _interrupt(*_: object) -> None:
    raise Interrupted


@contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals in the block, and have no alarm after it."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
