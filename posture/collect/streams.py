"""Watches of one API server: answers that go on for minutes, over as few connections as the server allows.

Everything happens in callbacks of one event loop, and all methods are called there; connections are made in threads of
their own. What comes of a stream is told to its Hearer, the end of it exactly once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from posture import __version__
from posture.collect import wire
from posture.collect.access import Access
from posture.collect.client import JSON
from posture.collect.connection import connect, relayed
from posture.collect.problem import RequestProblem, refused
from posture.errors import PostureError
from posture.text import visible

MAX_LINE = 64 << 20
"""The largest event: far above what etcd stores of one object, managedFields and all."""
MAX_REFUSAL = 1 << 16
"""How much of the body of a refusal is read."""
SEND_SECONDS = 10.0
QUIET_SECONDS = 30.0
"""After so long without a byte an HTTP/2 server is asked for a sign of life, as client-go does; and is given half as
long to answer (ReadIdleTimeout and PingTimeout in k8s.io/apimachinery, pkg/util/net/http.go)."""

_CHUNK = 1 << 16
_TURNS = 32
"""How often one connection is read before the others have their turn."""


class Hearer(Protocol):
    """Who a stream is for."""

    def opened(self) -> None:
        """The server answers 200: lines follow."""

    def line(self, line: bytes) -> None:
        """One line of the answer."""

    def ended(self, problem: RequestProblem | None) -> None:
        """Nothing more comes; without a problem it was the server's wish. Not told where the stream was closed.

        The problem is `fatal` where there is no connection to be had.
        """


class Stream:
    """One answer under way."""

    def __init__(self, target: str, hearer: Hearer) -> None:
        self.target, self.hearer = target, hearer
        self.link: Link | None = None
        self.number = 0
        self._status = 0
        self._head: wire.Head | None = None
        self._rest = bytearray()
        self._searched = 0

    @property
    def path(self) -> str:
        """What was asked for, to be shown."""
        return visible(self.target.partition("?")[0], 300)

    def begin(self, head: wire.Head) -> None:
        """The answer begins."""
        self._head = head
        if head.status == 200:
            self.hearer.opened()

    def take(self, data: bytes) -> RequestProblem | None:
        """Some of the body; gives why no more of it is wanted."""
        self._rest += data
        if self._head is None or self._head.status != 200:
            del self._rest[MAX_REFUSAL:]
            return None
        while (found := self._rest.find(b"\n", self._searched)) >= 0:
            line = bytes(self._rest[:found])
            del self._rest[: found + 1]
            self._searched = 0
            if line:
                self.hearer.line(line)
            if self.link is None:
                return None  # closed by who heard that line
        self._searched = len(self._rest)
        if len(self._rest) > MAX_LINE:
            return RequestProblem(f"GET {self.path}: an event is larger than {MAX_LINE:,} bytes")
        return None

    def problem(self, broken: str) -> RequestProblem | None:
        """What its end means."""
        if self._head is not None and self._head.status != 200:
            head = self._head
            return refused(head.status, head.reason, head.retry_after, self._rest, self.path)
        if broken or self._head is None or self._rest:
            text = visible(broken, 200) or "it broke off in the middle of an event"
            return RequestProblem(f"GET {self.path}: {text}", again=True)
        return None


class Streams:
    """The streams of one server."""

    def __init__(
        self,
        access: Access,
        loop: asyncio.AbstractEventLoop,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._access, self._loop, self._quiet = access, loop, quiet
        self._waiting: list[Stream] = []
        self._links: list[Link] = []
        self._dialling = 0
        self._closed = False
        self.connections = 0

    def open(self, target: str, hearer: Hearer) -> Stream:
        """Ask for a path with its query. The answer's lines go to the hearer, never before this returns."""
        stream = Stream(target, hearer)
        self._waiting.append(stream)
        self._loop.call_soon(self._place)
        return stream

    def close(self, stream: Stream) -> None:
        """Want no more of a stream: its hearer hears nothing more."""
        if stream in self._waiting:
            self._waiting.remove(stream)
        elif stream.link is not None:
            stream.link.cancel(stream)

    def use(self, access: Access, *, retire: bool = False) -> None:
        """Ask with these credentials from now on; with `retire` over new connections. What is open goes on: servers
        look at credentials when a request begins.
        """
        self._access = access
        for link in list(self._links) if retire else ():
            link.retire()

    def shut(self) -> None:
        """Close everything, for good. Nobody hears anything more."""
        self._closed = True
        self._waiting.clear()
        for link in list(self._links):
            link.shut()

    def _place(self) -> None:
        """Ask on connections that have room, and make one where none has."""
        for link in list(self._links):
            while self._waiting and link.room > 0:
                link.ask(self._waiting.pop(0), self._request)
        undecided = self._dialling + sum(link.undecided for link in self._links)
        # Until a server has said how many streams it takes, one connection may be enough for all.
        needed = len(self._waiting) if self._access.multiplexed is None else min(1, len(self._waiting))
        for _ in range(needed - undecided):
            self._dialling += 1
            threading.Thread(target=self._connect, args=(self._access,), name="posture-dial", daemon=True).start()

    def _request(self, target: str) -> wire.Request:
        parts = urlsplit(self._access.server)
        whole = f"{parts.path.rstrip('/')}{target}"
        headers = (("User-Agent", f"posture/{__version__}"), ("Accept", JSON), *self._access.headers)
        if (proxied := relayed(self._access)) is not None:
            whole, headers = f"{self._access.server}{target}", (*headers, *proxied.items())
        return wire.Request(parts.scheme, self._access.host, whole, headers)

    def _connect(self, access: Access) -> None:
        """In a thread of its own, which ends with the connection made or given up."""
        made, problem = None, RequestProblem("no connection could be made")
        try:
            made = connect(access)
        except PostureError as error:
            problem = RequestProblem(str(error), hint=error.hint)
        except RequestProblem as error:
            problem = error
        finally:
            try:
                self._loop.call_soon_threadsafe(partial(self._dialled, made, problem))
            except RuntimeError:  # the loop was closed meanwhile
                if made is not None:
                    made.close()

    def _dialled(self, made: socket.socket | None, problem: RequestProblem) -> None:
        self._dialling -= 1
        if made is None:
            self._fail(problem)
        elif self._closed:
            made.close()
        else:
            self.connections += 1
            self._links.append(Link(made, self._loop, self._quiet, self._changed, self._dropped))
            self._place()

    def _fail(self, problem: RequestProblem) -> None:
        problem.fatal = True
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            stream.hearer.ended(problem)

    def _changed(self) -> None:
        if self._waiting and not self._closed:
            self._place()

    def _dropped(self, link: Link, why: str) -> None:
        self._links.remove(link)
        if why and not link.carried:
            server = visible(self._access.server, 300)
            self._fail(RequestProblem(f"no use of the connection to {server}: {visible(why, 200)}", again=True))
        self._changed()


class Link:
    """One connection with its streams."""

    def __init__(
        self,
        made: socket.socket,
        loop: asyncio.AbstractEventLoop,
        quiet: float,
        changed: Callable[[], None],
        dropped: Callable[[Link, str], None],
    ) -> None:
        self._socket, self._loop, self._quiet, self._changed, self._dropped = made, loop, quiet, changed, dropped
        offered = getattr(made, "selected_alpn_protocol", None)
        self._session: wire.Session = wire.Http2() if offered and offered() == "h2" else wire.Http1()
        self._streams: dict[int, Stream] = {}
        self._retired = False
        self._open = True
        self.carried = False
        self._heard = loop.time()
        self._asked: float | None = None
        made.settimeout(0)
        loop.add_reader(made.fileno(), self._readable)
        self._alarm = loop.call_later(quiet, self._check)
        self._send()

    @property
    def room(self) -> int:
        """How many more streams it takes now."""
        return 0 if self._retired or not self._open else self._session.room

    @property
    def undecided(self) -> bool:
        """Whether it may yet take streams: the server has not said how many."""
        return self._open and not self._retired and self._session.undecided

    def ask(self, stream: Stream, request: Callable[[str], wire.Request]) -> None:
        """Begin a stream."""
        stream.link = self
        self.carried = True
        stream.number = self._session.request(request(stream.target))
        self._streams[stream.number] = stream
        self._send()

    def cancel(self, stream: Stream) -> None:
        """Want no more of a stream."""
        stream.link = None
        if self._streams.pop(stream.number, None) is None or not self._open:
            return
        if self._session.cancel(stream.number):
            self._send()
            self._after()
        else:
            self.shut()
            self._dropped(self, "")

    def retire(self) -> None:
        """Take no new streams, and end with the last."""
        self._retired = True
        if self._open:
            self._after()

    def shut(self) -> None:
        """Close the connection; no stream hears of it."""
        if self._open:
            self._open = False
            self._alarm.cancel()
            self._loop.remove_reader(self._socket.fileno())
            with suppress(OSError):
                self._socket.close()

    def _check(self) -> None:
        """Whether the server lives: one that is gone without a word sends no byte, not even for a ping."""
        self._readable()  # the loop may have been held up, with the answer in the kernel's buffer
        if not self._open:
            return
        now = self._loop.time()
        if self._asked is not None and self._heard <= self._asked:
            self._drop(f"no sign of life from the server for {now - self._heard:.0f} s")
            return
        self._asked = None
        wait = self._heard + self._quiet - now
        if wait <= 0:
            wait = self._quiet
            if self._session.ping():
                self._asked, wait = now, self._quiet / 2
                self._send()
        if self._open:
            self._alarm = self._loop.call_later(wait, self._check)

    def _readable(self) -> None:
        for _ in range(_TURNS):
            try:
                data = self._socket.recv(_CHUNK)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._drop(error.strerror or str(error))
                return
            self._heard = self._loop.time()
            for heard in self._session.receive(data):
                self._told(heard)
                if not self._open:
                    return
            self._send()
            if self._open:
                self._after()
            if not self._open:
                return
        self._loop.call_soon(self._more)  # TLS may hold more than the kernel knows of

    def _more(self) -> None:
        if self._open:
            self._readable()

    def _told(self, heard: wire.Heard) -> None:
        if isinstance(heard, wire.Gone):
            self._drop(heard.why)
            return
        stream = self._streams.get(heard.stream)
        if stream is None:
            return  # closed, and what was under way still came
        if isinstance(heard, wire.Head):
            stream.begin(heard)
        elif isinstance(heard, wire.Data):
            if problem := stream.take(heard.data):
                self.cancel(stream)
                stream.hearer.ended(problem)
        else:
            del self._streams[heard.stream]
            stream.link = None
            stream.hearer.ended(stream.problem(heard.broken))

    def _after(self) -> None:
        """What follows when streams have ended or the server has said more."""
        if not self._streams and (self._retired or self._session.used):
            self.shut()
            self._dropped(self, "")
        elif not self._streams and not self._session.undecided and self._session.room <= 0:
            self._drop("the server takes no requests on it")
        else:
            self._changed()

    def _send(self) -> None:
        data = self._session.sending()
        if not (data and self._open):
            return
        try:
            # A few hundred bytes: they find room in the kernel's buffer, or the server is gone.
            self._socket.settimeout(SEND_SECONDS)
            self._socket.sendall(data)
            self._socket.settimeout(0)
        except OSError as error:
            self._loop.call_soon(self._drop, error.strerror or str(error))

    def _drop(self, why: str) -> None:
        """The connection is no more: every stream ends."""
        if not self._open:
            return
        self.shut()
        streams, self._streams = list(self._streams.values()), {}
        self._dropped(self, why)
        for stream in streams:
            stream.link = None
            stream.hearer.ended(stream.problem(why))
