"""Audit logs: who really wrote an object, from where, with which request.

One event of audit.k8s.io/v1 a line, as kube-apiserver's log backend writes them (k8s.io/apiserver
pkg/apis/audit/v1/types.go). Read whole, or followed through rotation (renamed or copied away, compressed or not).
"""

from __future__ import annotations

import gzip
import os
import re
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import orjson

from posture.errors import UsageError
from posture.kinds import BY_NAME
from posture.model import Audited, Key
from posture.text import parse_time, visible

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
STDIN = "-"
POLL_SECONDS = 0.2
LINE_BYTES = 64_000_000
"""The longest line that is read: an object is 1.5 MB at most, and an event holds two."""
KEPT, TAKEN = 20_000, 1_000
"""So many records wait to be taken, older ones are dropped; so many are taken at once."""
_GROUPS = {name.partition(".")[2]: name for name in BY_NAME if name.startswith("*.")}
"""Groups of which every kind is held together, and under which name."""
_TEXT = 1024
_FIRST_YEAR = 2000
"""An event without a time has that of the year 1."""


class Record(NamedTuple):
    """A request that wrote an object, or with no name all of a kind in a namespace ("": everywhere).

    `resource_version` is that of the object after it, "" where the log's level does not tell.
    """

    key: Key
    verb: str
    resource_version: str
    audited: Audited


class BadLineError(ValueError):
    """A line that is no event of an audit log."""


def records_of(line: bytes) -> list[Record]:
    """The writes that a line tells of: none for what read, failed, was tried only, or is of no kind that is kept.

    A deletion of many tells of each where its answer lists them. Raises BadLineError.
    """
    try:
        event = orjson.loads(line)
        said = event["kind"], event["apiVersion"]
        if said == ("Event", "audit.k8s.io/v1"):
            return _records(event)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadLineError(f"{type(error).__name__}: {error}") from error
    raise BadLineError(f"it is a {said[0]} of {said[1]}")


def _records(event: Mapping[str, Any]) -> list[Record]:
    verb, told = event["verb"], event.get("objectRef")
    if event["stage"] != "ResponseComplete" or verb not in WRITES or not told:
        return []
    if not (event.get("responseStatus") or {}).get("code", 999) < 300 or _is_tried(event):
        return []
    subresource = told.get("subresource") or ""
    if subresource in ("status", "proxy") or (verb == "create" and subresource not in ("", "eviction")):
        return []  # a token, a shell in a pod: nothing that is kept of the object
    resource, group = told["resource"], told.get("apiGroup") or ""
    name = f"{resource}.{group}" if group else resource
    prefix = f"{resource}/" if group in _GROUPS else ""
    if name not in BY_NAME and not prefix:
        return []
    key = Key(_GROUPS.get(group, name), told.get("namespace") or "", "")
    answer = event.get("responseObject") or {}
    audited = _audited(event, verb)
    if verb == "deletecollection":
        if listed := answer.get("items"):
            each = (one["metadata"] for one in listed)
            return [_record(key, prefix, {"namespace": key.namespace} | one, "delete", "", audited) for one in each]
        asked = parse_qs(urlsplit(event["requestURI"]).query)
        return [] if asked.keys() & {"labelSelector", "fieldSelector"} else [Record(key, verb, "", audited)]
    written = answer.get("metadata") or {} if answer.get("kind") != "Status" else {}
    version = str(written.get("resourceVersion") or "") if verb != "delete" and not subresource else ""
    named = {"namespace": key.namespace, "name": told.get("name") or written.get("name") or ""}
    verb = "delete" if subresource == "eviction" else verb
    return [_record(key, prefix, named, verb, version, audited)] if named["name"] else []


def _record(key: Key, prefix: str, named: Mapping[str, str], verb: str, version: str, audited: Audited) -> Record:
    # A namespace is its own objectRef.namespace, and belongs to none.
    place = Key(key.resource, "" if key.resource == "namespaces" else named["namespace"], prefix + named["name"])
    if not isinstance(place.namespace, str):
        raise TypeError("a namespace is a string")
    return Record(place, verb, version, audited)


def _is_tried(event: Mapping[str, Any]) -> bool:
    """Whether nothing was to be written: dryRun in the URL, or in what was sent with a deletion."""
    sent = event.get("requestObject") or {}
    return bool(parse_qs(urlsplit(event["requestURI"]).query).get("dryRun") or sent.get("dryRun"))


def _audited(event: Mapping[str, Any], verb: str) -> Audited:
    user, other = event["user"], event.get("impersonatedUser") or {}
    *claimed, address = event.get("sourceIPs") or ("",)  # the client may have written all but the last
    found = Audited(
        user.get("username") or "", other.get("username") or "",
        f"{address} (for {claimed[0]}, claimed)" if claimed else address,
        event.get("userAgent") or "", f"{verb} {event['requestURI']}", event.get("auditID") or "",
        event["requestReceivedTimestamp"],
    )  # fmt: skip
    if parse_time(found.time).year < _FIRST_YEAR:
        raise ValueError(f"the time {found.time}")
    return Audited(*(_kept(text) for text in found))


def _kept(text: str) -> str:
    """A text as it can be stored: no lone surrogates, and not endless."""
    return text.encode("utf-8", "backslashreplace").decode()[:_TEXT]


# Files --------------------------------------------------------------------------------------------------------------


class Log:
    """One audit log. Lines that are no events are counted, and the first is told of."""

    def __init__(self, path: str, tell: Callable[[str], None] = lambda _: None) -> None:
        """`path` is a file, perhaps compressed with gzip, or - for stdin. Raises UsageError where there is none."""
        self.path, self.bad = path, 0
        self._tell = tell
        self._named = "the audit log on stdin" if path == STDIN else f"the audit log {visible(path, 300)}"
        if path != STDIN:
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                raise UsageError(
                    f"cannot read {self._named}: {error.strerror}", "check the path and its permissions"
                ) from error

    def read(self) -> Iterator[Record]:
        """All records up to the end, which for stdin is when its writer ends."""
        with _opened(self.path) as file:
            for line in Lines(file).rest():
                yield from self.records(line)

    def records(self, line: bytes) -> list[Record]:
        """The records of a line; one that is bad is counted."""
        if not line.strip():
            return []
        try:
            return records_of(line)
        except BadLineError as error:
            self.bad += 1
            if self.bad == 1:
                self._tell(f"{self._named} has a line that is no event of audit.k8s.io/v1 "
                           f"({visible(str(error), 200)}); such lines are left out")  # fmt: skip
            return []


class Lines:
    """The whole lines of a file that grows."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._start = file, b""
        self._long = False

    def grown(self) -> Iterator[bytes]:
        """The lines that are complete by now."""
        while block := self._block():
            *lines, last = (self._start + block).split(b"\n")
            for line in lines:
                if not self._long:
                    yield line
                self._long = False
            self._start = last
            if len(last) > LINE_BYTES:
                self._start, self._long = b"", True

    def rest(self) -> Iterator[bytes]:
        """The lines that are complete, and what is left: nobody goes on writing it."""
        yield from self.grown()
        if self._start and not self._long:
            yield self._start
        self._start, self._long = b"", False

    def _block(self) -> bytes:
        try:
            return self._file.read1(1 << 20) if hasattr(self._file, "read1") else self._file.read(1 << 20)
        except (EOFError, zlib.error, gzip.BadGzipFile):  # a compressed file of which the end is missing
            return b""


def _opened(path: str | Path) -> IO[bytes]:
    """A log as it was written, compressed or not."""
    if path == STDIN:
        return sys.stdin.buffer
    file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    if file.read(2) == b"\x1f\x8b":
        file.close()
        return cast("IO[bytes]", gzip.open(path, "rb"))
    file.seek(0)
    return file


def rotated(path: Path) -> list[Path]:
    """The files that a log was rotated to, oldest first: audit-TIME.log as kube-apiserver names them (lumberjack),
    audit.log.1 as logrotate does, compressed or not; of one that is being compressed only the plain one.
    """
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(rf"(?:{stem}-[0-9T:.-]+{suffix}|{stem}{suffix}[.-]\d+)(\.gz)?")
    found = {one.name: one for one in path.parent.iterdir() if name.fullmatch(one.name)}
    kept = [one for text, one in found.items() if text.removesuffix(".gz") == text or text[:-3] not in found]
    return sorted(kept, key=_written)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed or renamed meanwhile
        return 0.0


class Follower:
    """An audit log that is followed in a thread of its own; `take` gives what came since."""

    def __init__(self, log: Log, since: float = 0.0, poll: float = POLL_SECONDS) -> None:
        """Begins at once, with what is there; files that it was rotated to are read too where they were written after
        `since` (seconds of the epoch).
        """
        self._log, self._since, self._poll = log, since, poll
        self._found: deque[Record] = deque(maxlen=KEPT)
        self._stop = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def take(self) -> list[Record]:
        """The records that came since the last time, the oldest first; not all at once where there are many.

        Raises RuntimeError if following it came to an end: one would miss what is told, in silence.
        """
        if self._failed:
            raise RuntimeError(f"the audit log {visible(self._log.path, 300)} is followed no more") from self._failed
        return [self._found.popleft() for _ in range(min(TAKEN, len(self._found)))]

    def stop(self) -> None:
        """End. What waits for stdin cannot be woken: the process ends without it."""
        self._stop.set()
        if self._log.path != STDIN:
            self._thread.join(5)

    def _run(self) -> None:
        try:
            (self._drain if self._log.path == STDIN else self._follow)()
        except Exception as error:  # noqa: BLE001 - raised where somebody sees it
            self._failed = error

    def _take(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            self._found.extend(self._log.records(line))
            if self._stop.is_set():
                return

    def _drain(self) -> None:
        # Not sys.stdin: whoever waits in it holds a lock that the interpreter wants when it ends.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as file:
            self._take(Lines(file).rest())

    def _follow(self) -> None:
        path, seen = Path(self._log.path), set[int]()
        while not self._stop.is_set():
            try:
                self._missed(path, seen)
                with _opened(path) as file:
                    node = os.fstat(file.fileno()).st_ino
                    seen.add(node)
                    self._grow(path, file, node)
            except OSError:  # between a rotation and the first line of the next file there is none
                self._stop.wait(self._poll)

    def _grow(self, path: Path, file: IO[bytes], node: int) -> None:
        """Read a file until another is in its place."""
        lines = Lines(file)
        while not self._stop.is_set():
            gone = _node(path) != node
            self._take(lines.grown())
            if gone:  # nobody opens it to write any more, and the last was read after that
                self._take(lines.rest())
                self._since = max(self._since, os.fstat(file.fileno()).st_mtime)
                return
            if isinstance(file, gzip.GzipFile):
                self._stop.wait(self._poll)
                continue
            if os.fstat(file.fileno()).st_size < file.tell():  # copied away and truncated
                file.seek(0)
                lines = Lines(file)
            self._stop.wait(self._poll)

    def _missed(self, path: Path, seen: set[int]) -> None:
        """Read what the log was rotated to without having been followed."""
        for one in rotated(path):
            with _opened(one) as file:
                about = os.fstat(file.fileno())
                if about.st_ino not in seen and about.st_mtime > self._since:
                    self._take(Lines(file).rest())
                seen.add(about.st_ino)


def _node(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


class Followers:
    """Several audit logs that are followed."""

    def __init__(self, paths: Sequence[str], tell: Callable[[str], None] = lambda _: None, since: float = 0.0) -> None:
        """Raises UsageError where one cannot be read; then none is followed."""
        logs = [Log(path, tell) for path in paths]
        self._each: Collection[Follower] = [Follower(log, since) for log in logs]

    def take(self) -> list[Record]:
        """The records that came since the last time."""
        return [record for one in self._each for record in one.take()]

    def stop(self) -> None:
        """End all."""
        for one in self._each:
            one.stop()


__all__ = ["STDIN", "BadLineError", "Follower", "Followers", "Lines", "Log", "Record", "records_of", "rotated"]
