"""One API server, read only: GET with retries, renewed credentials, lists in pages.

Bodies are decoded once, by orjson; the kubernetes client's model classes are never made. What a GET cannot answer is a
RequestProblem, which becomes a gap.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import orjson
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from posture import __version__
from posture.collect import access as accesses
from posture.collect import nesting
from posture.collect.access import Access
from posture.collect.connection import CONNECT_SECONDS, pool_of
from posture.collect.problem import RequestProblem, refused, unanswered
from posture.errors import PostureError, UsageError
from posture.text import visible

JSON = "application/json"
MAX_BYTES = 256 << 20
"""The largest body, decompressed: 500 objects of half a megabyte each, far above what pages hold."""

RESTARTS = 3
"""How often a list may start again because its pages expired: etcd forgets after five minutes by default."""

_CHUNK = 1 << 16


class Backoff(NamedTuple):
    """How often and how long a GET is tried: `tries` in all, waits from `first` doubling up to `cap`, `total` seconds.

    A server's Retry-After may ask for longer waits, up to `asked`. Before the server has answered anything at all,
    two tries must do: then a wrong address is likelier than a moment's trouble.
    """

    tries: int = 6
    first: float = 0.5
    cap: float = 10.0
    asked: float = 30.0
    total: float = 120.0


BACKOFF = Backoff()


class ListPage(NamedTuple):
    """Some objects of a list. `restarted`: the list started again, and what came before this page is void."""

    items: list[dict[str, Any]]
    resource_version: str
    restarted: bool


def open_client(
    context: str | None = None,
    kubeconfig: str | None = None,
    request_timeout: float = 60.0,
    *,
    interactive: bool | None = None,
) -> Client:
    """A client for what a context names (see `access.load`); nothing is sent yet.

    `request_timeout` in seconds is for one try, body included; `interactive` lets credential plugins ask on the
    terminal (None: if standard input is one). Raises UsageError or CannotJudge where the configuration, the
    credentials or the timeout are no good.
    """
    if request_timeout <= 0:
        raise UsageError("the request timeout must be more than 0 seconds", "leave --request-timeout out, or write 60")
    if interactive is None:
        interactive = sys.stdin is not None and sys.stdin.isatty()
    access = accesses.load(context, kubeconfig, interactive=interactive)
    # By name: whoever changes the current context meanwhile must not change the cluster that is read.
    reload = partial(accesses.load, access.context or None, kubeconfig, interactive=interactive)
    return Client(access, reload, request_timeout=request_timeout)


class Client:
    """GET requests to one API server over one kept connection. One thread at a time may ask; any may close."""

    def __init__(
        self,
        access: Access,
        reload: Callable[[], Access] | None = None,
        *,
        request_timeout: float = 60.0,
        backoff: Backoff = BACKOFF,
        max_bytes: int = MAX_BYTES,
        sleep: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`reload` gives fresh credentials for the same server; without it a 401 is final.

        `sleep` (seconds), `jitter` (0 to 1), `clock` (monotonic) and `now` (since the epoch) are for tests.
        """
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._reload, self._timeout, self._backoff, self._max_bytes = reload, request_timeout, backoff, max_bytes
        self._sleep, self._jitter, self._clock, self._now = sleep or self._closed.wait, jitter, clock, now
        self._answered = False
        self._etags: dict[tuple[str, str], str] = {}
        self._use(access)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def access(self) -> Access:
        """How the server is reached, and as whom."""
        return self._access

    def close(self) -> None:
        """Close the connection for good. A request under way in another thread fails at once."""
        self._closed.set()
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown, which takes the TLS state from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._pool.clear()

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, accept: str = JSON) -> dict[str, Any]:
        """The JSON object at a path of the server.

        Tried again, with growing waits, where an answer may yet come: no connection, no or half an answer, 429, 500,
        502, 503 and 504. After a 401 the credentials are loaded again, once. Raises RequestProblem for the rest.
        """
        return self._get(f"{path}?{urlencode(params)}" if params else path, accept)

    def unchanged(self, path: str, *, accept: str = JSON) -> bool | None:
        """Whether the server says that the object at a path is the one that was read last; None where it never says.

        Raises RequestProblem.
        """
        etag = self._etags.get((path, accept), "")
        if not etag:
            return None
        try:
            self._get(path, accept, etag)
        except RequestProblem as problem:
            if problem.status != 304:
                raise
            return True
        return False

    def renew(self) -> None:
        """Load the credentials again, where that is possible. Raises RequestProblem."""
        if self._reload:
            self._renew()

    def _get(self, target: str, accept: str, etag: str = "") -> dict[str, Any]:
        began, tried, renewed = self._clock(), 0, False
        while True:
            try:
                self._renew_expired()
                return self._ask(target, accept, etag)
            except RequestProblem as problem:
                if problem.status == 401 and self._reload and not renewed:
                    renewed = True
                    self._renew()
                    continue
                tried += 1
                wait = self._wait(problem, tried)
                if wait is None or self._clock() - began + wait > self._backoff.total:
                    raise problem.tried(tried) from problem
                self._sleep(wait)

    def named(self, path: str) -> dict[str, Any]:
        """The object at a path; it has a name. Raises RequestProblem."""
        found = self.get(path)
        if not is_named(found):
            raise RequestProblem(f"GET {visible(path)}: the answer is no object with a metadata.name")
        return found

    def pages(self, path: str, limit: int = 500, name: str = "") -> Iterator[ListPage]:
        """A list, page after page of one state of the cluster; an empty list is one empty page.

        With a `name` only objects of this name are asked for: whoever may list these by name needs no more.
        When its pages expire while it is read (410 Gone), it starts again. The token that the server offers then
        would go on with another state of the cluster: objects would be missing or doubled. Raises RequestProblem.
        """
        for start in range(1 + RESTARTS):
            restarted = start > 0
            try:
                for page in self._pages(path, limit, name):
                    yield page._replace(restarted=restarted)
                    restarted = False
            except RequestProblem as problem:
                if problem.status != 410:
                    raise
                expired = problem
            else:
                return
        raise RequestProblem(f"{expired} (for the {1 + RESTARTS}th time; its pages expire before all are read)", 410)

    def _pages(self, path: str, limit: int, name: str) -> Iterator[ListPage]:
        asked: dict[str, str | int] = {"limit": limit} | ({"fieldSelector": f"metadata.name={name}"} if name else {})
        params = asked
        while True:
            document = self.get(path, params)
            metadata = document.get("metadata")
            if not isinstance(metadata, dict):
                raise RequestProblem(f"GET {visible(path)}: the answer is no list")
            yield ListPage(_items(document, path), str(metadata.get("resourceVersion") or ""), restarted=False)
            token = metadata.get("continue")
            if not token:
                return
            if token == params.get("continue"):
                raise RequestProblem(f"GET {visible(path)}: the server gave the same page twice")
            params = {**asked, "continue": str(token)}

    def _use(self, access: Access) -> None:
        self._access = access
        self._pool = pool_of(access, self._opened)
        self._headers = urllib3.HTTPHeaderDict({"User-Agent": f"posture/{__version__}"})
        for name, value in access.headers:
            self._headers.add(name, value)
        # Compression costs the server more time than loopback saves.
        near = accesses.is_loopback(access.server) and not access.proxy
        self._headers["Accept-Encoding"] = "gzip" if access.compressed and not near else "identity"

    def _renew_expired(self) -> None:
        if self._reload and self._access.expires is not None and self._now() >= self._access.expires:
            self._renew()

    def _renew(self) -> None:
        assert self._reload
        try:
            access = self._reload()
        except PostureError as error:
            raise RequestProblem(f"credentials cannot be renewed: {error}", fatal=True, hint=error.hint) from error
        if access.server != self._access.server:
            raise RequestProblem(f"context {visible(access.context)} now names another server", fatal=True)
        self._pool.clear()
        self._use(access)

    def _wait(self, problem: RequestProblem, tried: int) -> float | None:
        """Seconds until the next try; None is never."""
        tries = self._backoff.tries if self._answered else min(2, self._backoff.tries)
        if not problem.again or tried >= tries or self._closed.is_set():
            return None
        grown = min(self._backoff.cap, self._backoff.first * 2.0 ** (tried - 1)) * (0.5 + self._jitter() / 2)
        return max(grown, min(problem.after, self._backoff.asked))

    def _ask(self, target: str, accept: str, etag: str) -> dict[str, Any]:
        if self._closed.is_set():
            raise RequestProblem("the connection was closed", fatal=True)
        connect, read = min(CONNECT_SECONDS, self._timeout), self._timeout
        path, deadline = visible(target.partition("?")[0], 300), self._clock() + read
        headers = self._headers.copy()
        headers["Accept"] = accept
        if etag:
            headers["If-None-Match"] = etag
        try:
            response = self._pool.urlopen(
                "GET",
                self._access.server + target,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=connect, read=read),
            )
            body = self._body(response, deadline, path)
        except (HTTPError, OSError) as error:
            raise unanswered(error, self._access, path, connect, read) from error
        self._answered = True
        if response.status != 200:
            asked = response.headers.get("Retry-After", "")
            raise refused(response.status, response.reason or "", asked, body, path)
        try:
            document = nesting.loads(body)
        except orjson.JSONDecodeError as error:
            kind = visible(response.headers.get("Content-Type", "nothing"), 100)
            raise RequestProblem(f"GET {path}: the answer ({kind}) is no JSON: {error}", again=True) from error
        if not isinstance(document, dict):
            raise RequestProblem(f"GET {path}: the answer is no JSON object")
        if etag := response.headers.get("ETag", ""):
            self._etags[target, accept] = etag
        return document

    def _body(self, response: urllib3.BaseHTTPResponse, deadline: float, path: str) -> bytearray:
        """The whole body. One read at a time: a server that sends a byte now and then must not hold us for ever."""
        body = bytearray()
        try:
            while chunk := response.read1(_CHUNK):
                body += chunk
                self._check(len(body), deadline, path)
        except BaseException:
            response.close()  # half an answer must not be taken for the start of the next
            raise
        response.release_conn()
        return body

    def _check(self, size: int, deadline: float, path: str) -> None:
        if size > self._max_bytes:
            raise RequestProblem(f"GET {path}: the answer is larger than {self._max_bytes:,} bytes")
        if self._clock() > deadline:
            raise RequestProblem(f"GET {path}: the answer took longer than {self._timeout:g} s", again=True)

    def _opened(self, connection: HTTPConnection) -> None:
        self._socket = connection.sock
        if self._closed.is_set():
            self.close()


def ahead[T](items: Iterator[T], interrupt: Callable[[], None]) -> Iterator[T]:
    """The same items; while the caller works on one, the next is made in a thread: one, never more.

    An exception passes through in its place. When the caller stops early, `interrupt` must make the thread's work end
    soon; it is waited for, and no thread is left.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="posture-ahead") as thread:
        following = thread.submit(next, items, end)
        try:
            while (item := following.result()) is not end:
                following = thread.submit(next, items, end)
                yield item  # type: ignore[misc]  # not `end`, so a T
        except (GeneratorExit, KeyboardInterrupt):
            interrupt()
            raise


def _items(document: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    items = document.get("items")
    if items is None:  # how Go writes an empty list that was never made
        return []
    if isinstance(items, list) and all(map(is_named, items)):
        return items
    raise RequestProblem(f"GET {visible(path)}: the list has items without metadata.name")


def is_named(item: Any) -> bool:
    """Whether something is an object as far as it must be: it has a name, and perhaps a namespace."""
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return (
        isinstance(metadata, dict)
        and isinstance(metadata.get("name"), str)
        and isinstance(metadata.get("namespace") or "", str)
    )
