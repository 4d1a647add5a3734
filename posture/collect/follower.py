"""One list that is followed: its Reflector says what to do, and is told what came of it, as is whoever waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlencode

import orjson

from posture.collect import Change, Listed, Lost, Position, Seen, name_of, nesting
from posture.collect.client import is_named
from posture.collect.collection import Collection
from posture.collect.problem import RequestProblem
from posture.collect.reflector import Close, Complete, List, Lose, Reflector, Wait, Watch
from posture.collect.streams import Stream
from posture.kinds import BY_NAME
from posture.text import visible


class Owner(Protocol):
    """What all followers of a cluster share."""

    counts: Counter[str]

    def put(self, change: Change) -> None:
        """Give a change to who waits for it."""

    def now(self) -> float:
        """The time, which no change of the clock moves."""

    def reflector(self, position: str, *, watched: bool) -> Reflector:
        """A reflector for one more list."""

    def open(self, target: str, follower: Follower) -> Stream:
        """Begin a watch."""

    def close(self, stream: Stream) -> None:
        """End a watch."""

    def list(self, follower: Follower, *, again: bool) -> None:
        """Have a list read: one that is known already has time."""

    def alarm(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call at a time."""

    def answered(self, problem: RequestProblem | None = None) -> None:
        """The server gave an answer, or none; a problem may mean more than one list."""


class Follower:
    """One list that is followed: does what its reflector says, and tells it what came of that."""

    def __init__(self, owner: Owner, collection: Collection, position: str) -> None:
        self.collection = collection
        self.gone = False
        self.reflector = owner.reflector(position, watched=not collection.alone)
        self._owner = owner
        self._kind = BY_NAME[collection.listing.resource]
        self._path = collection.paths[0]
        self._known = bool(position)
        self._stream: Stream | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """It is not served any more."""
        self.gone = True
        self._close()
        if self._alarm is not None:
            self._alarm.cancel()

    def step(self) -> None:
        """Do all that is to be done now."""
        owner, listing = self._owner, self.collection.listing
        while not self.gone:
            match self.reflector.next(owner.now()):
                case List():
                    owner.list(self, again=self._known)
                case Watch(resource_version, seconds):
                    self._stream = owner.open(self._target(resource_version, seconds), self)
                case Close():
                    self._close()
                case Complete(resource_version, verified, newer):
                    self._known = True
                    owner.put(Listed(listing, resource_version, verified, newer))
                case Lose(problem):
                    owner.put(Lost(listing, self.collection.gap(problem)))
                case Wait(until):
                    self._wait(until)
                    return

    def listed(self, path: str, resource_version: str) -> None:
        """The list was read, at this path."""
        self._path = path
        self._owner.answered()
        self.reflector.listed(resource_version, self._owner.now())
        self.step()

    def failed(self, problem: RequestProblem) -> None:
        """The list could not be read."""
        self._owner.answered(problem)
        self.reflector.failed(problem, self._owner.now())
        self.step()

    def opened(self) -> None:
        """See Hearer."""
        self._owner.answered()
        self.reflector.opened(self._owner.now())

    def ended(self, problem: RequestProblem | None) -> None:
        """See Hearer."""
        self._stream = None
        self._owner.answered(problem)
        self.reflector.ended(problem, self._owner.now())
        self.step()

    def line(self, line: bytes) -> None:
        """See Hearer."""
        try:
            self._event(nesting.loads(line))
        except RequestProblem as problem:
            self._close()
            self.ended(problem)
            return
        except orjson.JSONDecodeError as error:
            self._close()
            self.ended(RequestProblem(f"GET {self._path}: an event is no JSON: {error}", again=True))
            return
        self.step()

    def _event(self, event: Any) -> None:
        owner, listing = self._owner, self.collection.listing
        owner.counts["events"] += 1
        kind, item = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
        if kind == "ERROR":
            raise _error(item, self._path)
        content = item if isinstance(item, dict) else {}
        metadata = content.get("metadata")
        version = str(metadata.get("resourceVersion") or "") if isinstance(metadata, dict) else ""
        if kind == "BOOKMARK":
            if self.reflector.marked(version, owner.now()):
                owner.put(Position(listing, version))
        elif kind in ("ADDED", "MODIFIED", "DELETED") and version and is_named(content):
            (typed,) = self.collection.typed([content])
            if self.reflector.seen(version, name_of(self._kind, typed), owner.now()):
                owner.put(Seen(listing, kind, typed))
        else:
            raise RequestProblem(f"GET {self._path}: what came is no event of a watch", again=True)

    def _target(self, resource_version: str, seconds: int) -> str:
        asked = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        if self.collection.name:
            asked["fieldSelector"] = f"metadata.name={self.collection.name}"
        return f"{self._path}?{urlencode(asked)}"

    def _close(self) -> None:
        if self._stream is not None:
            self._owner.close(self._stream)
            self._stream = None

    def _wait(self, until: float) -> None:
        """Be called again by then; an alarm that comes earlier does no harm."""
        if self._alarm is not None and self._alarm.when() <= until:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._owner.alarm(until, self._alarmed) if until != float("inf") else None

    def _alarmed(self) -> None:
        self._alarm = None
        self.step()


def _error(item: Any, path: str) -> RequestProblem:
    """What an ERROR event says, a Status as an answer other than 200 would be."""
    code, message = (item.get("code"), item.get("message")) if isinstance(item, dict) else (None, None)
    text = visible(message, 500) if isinstance(message, str) else "an error"
    return RequestProblem(f"GET {visible(path, 300)}: {text}", code if isinstance(code, int) else 500, again=True)
