"""A few pages over HTTP, for probes and for Prometheus: only GET, one request a connection, bounded in all it does.

It has threads of its own and asks nobody who works: a page is made of what is known already.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple, Self

from posture.errors import UsageError
from posture.text import visible

SECONDS = 5.0
"""For one request and its answer."""
MOST = 8
"""So many requests at a time; one more is turned away."""
HEAD_BYTES = 8192
TEXT = "text/plain; charset=utf-8"
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>\d{1,5})")


class Page(NamedTuple):
    """An answer."""

    status: int
    body: str
    kind: str = TEXT


def listener(address: str) -> socket.socket:
    """A socket that listens on `ADDRESS:PORT`, `[IPv6]:PORT` or `:PORT` (all addresses). Raises UsageError."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise UsageError(f"{visible(address, 60)} is no address to listen on", "write 127.0.0.1:8080, or :8080")
    host, six = found["six"] or found["host"], found["six"] is not None
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", int(found["port"])), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server((host, int(found["port"])), family=socket.AF_INET6 if six else socket.AF_INET)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"cannot listen on {visible(address, 60)}: {why}", "give another address or port") from error


class Server:
    """Answers on a listening socket while its `with` block runs. `answer` gives the page of a path, None for none."""

    def __init__(self, listening: socket.socket, answer: Callable[[str], Page | None]) -> None:
        self._listening, self._answer = listening, answer
        self._free = threading.BoundedSemaphore(MOST)
        self._closed = False

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port, *_ = self._listening.getsockname()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="posture-serve", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # close alone would not wake the thread
        self._listening.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                time.sleep(0.1)  # no more descriptors, perhaps: not in a hurry
                continue
            if self._free.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), name="posture-page", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        until = time.monotonic() + SECONDS
        try:
            with connection, suppress(OSError):  # whoever asked is gone, or slow
                reply = self._reply(_head(connection, until))
                connection.settimeout(max(0.1, until - time.monotonic()))
                connection.sendall(reply)
        finally:
            self._free.release()

    def _reply(self, head: bytes) -> bytes:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or b"\r\n\r\n" not in head:
            return _message(Page(400, "this is no request, or too long a one\n"))
        method, target, _ = words
        if method not in ("GET", "HEAD"):
            return _message(Page(405, "only GET\n"))
        try:
            page = self._answer(target.partition("?")[0])
        except Exception as error:  # noqa: BLE001 - a page that fails is no reason to stop answering
            page = Page(500, f"{type(error).__name__}\n")
        return _message(page or Page(404, "there is /metrics, /healthz and /readyz\n"), whole=method == "GET")


def _head(connection: socket.socket, until: float) -> bytes:
    """The request up to its empty line, or as much of it as is allowed. Raises OSError when it takes too long."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
        connection.settimeout(max(0.001, until - time.monotonic()))
        part = connection.recv(4096)
        if not part:
            break
        head += part
    return head


def _message(page: Page, *, whole: bool = True) -> bytes:
    body = page.body.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\nContent-Type: {page.kind}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
        f"{'Allow: GET, HEAD\r\n' if page.status == 405 else ''}\r\n"
    )
    return head.encode("ascii") + (body if whole else b"")
