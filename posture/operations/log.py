"""What happens, a line for each event, for people or for a machine. Every text passes `visible`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from posture.text import visible

FORMATS = ("text", "json")
type Name = Literal[
    "listening", "started", "resumed", "ready", "revision", "opened", "widened", "regressed", "resolved", "expired",
    "more", "gap", "closed", "corrected", "trouble", "audit", "stopped",
]  # fmt: skip
"""All events; docs/watch.md says what each is."""
_WIDTH = 10
_LIMIT = 1000


class Log:
    """Events as lines: `TIME  EVENT  MESSAGE`, or JSON objects with `time`, `event`, `message` and fields."""

    def __init__(self, form: str, write: Callable[[str], object], now: Callable[[], str]) -> None:
        """`form` is one of FORMATS, `write` takes a line, `now` gives the time (RFC 3339)."""
        self._form, self._write, self._now = form, write, now

    def __call__(self, event: Name, message: str, **fields: Any) -> None:
        """Write one event. `fields` are for machines: the message says what people need. Who reads may be gone."""
        time = self._now()
        with suppress(OSError):
            if self._form == "json":
                self._write(json.dumps({"time": time, "event": event, "message": _shown(message)}
                                       | {name: _shown(value) for name, value in fields.items()}))  # fmt: skip
            else:
                self._write(f"{time}  {event:<{_WIDTH}} {_shown(message)}")


def _shown(value: Any) -> Any:
    match value:
        case str():
            return visible(value, _LIMIT)
        case list() | tuple():
            return [_shown(one) for one in value]
        case dict():
            return {_shown(name): _shown(one) for name, one in value.items()}
    return value
