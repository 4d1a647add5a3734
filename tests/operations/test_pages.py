"""The server of probes and metrics: what it answers, and what nobody can make of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from posture.errors import UsageError
from posture.operations import serve
from posture.operations.serve import Page, Server, listener


def answer(path: str) -> Page | None:
    """Pages as a watcher has them, and one that fails."""
    if path == "/broken":
        raise KeyError(path)
    return {"/healthz": Page(200, "ok\n"), "/readyz": Page(503, "not ready\n")}.get(path)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(listener("127.0.0.1:0"), answer) as running:
        yield running


def connected(server: Server) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def told(connection: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    found = b""
    try:
        while part := connection.recv(4096):
            found += part
    except ConnectionResetError:
        pass
    return found


def ask(server: Server, request: bytes) -> tuple[int, bytes]:
    """A request as bytes; the status and the body of the answer."""
    with connected(server) as connection:
        connection.sendall(request)
        head, _, body = told(connection).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /healthz HTTP/1.1", 200, b"ok\n"),
        ("GET /readyz?verbose HTTP/1.0", 503, b"not ready\n"),
        ("HEAD /healthz HTTP/1.1", 200, b""),
        ("GET /other HTTP/1.1", 404, b"there is /metrics, /healthz and /readyz\n"),
        ("GET /broken HTTP/1.1", 500, b"KeyError\n"),
        ("POST /healthz HTTP/1.1", 405, b"only GET\n"),
        ("GET /healthz", 400, b"this is no request, or too long a one\n"),
        ("\x16\x03\x01 what is this", 400, b"this is no request, or too long a one\n"),
    ],
)
def test_what_is_answered(server: Server, request_line: str, status: int, body: bytes) -> None:
    """Pages for GET; everything else is refused with a status."""
    assert ask(server, f"{request_line}\r\nHost: here\r\n\r\n".encode("latin-1")) == (status, body)


def test_a_long_request_is_refused(server: Server) -> None:
    """Whoever sends headers without end is answered after some, and cut off."""
    with connected(server) as connection:
        try:
            for _ in range(1000):
                connection.sendall(b"X: " + b"y" * 4000 + b"\r\n")
        except OSError:
            pass
        else:
            pytest.fail("all of it was taken")
    assert ask(server, b"GET /healthz HTTP/1.1\r\n\r\n") == (200, b"ok\n")


def test_the_slow_are_cut_off_and_the_many_turned_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that say nothing, or a byte now and then, hold it up for a few seconds at most."""
    monkeypatch.setattr(serve, "SECONDS", 1.0)
    idle = [connected(server) for _ in range(serve.MOST)]
    try:
        time.sleep(0.2)
        with connected(server) as one_more:
            assert told(one_more) == b""
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            time.sleep(0.1)
            try:
                idle[0].sendall(b"G")
            except OSError:
                break
        assert ask(server, b"GET /healthz HTTP/1.1\r\n\r\n") == (200, b"ok\n")
        assert [told(each).partition(b"\r\n")[0] for each in idle[1:]] == [b""] * (serve.MOST - 1)
    finally:
        for each in idle:
            each.close()


def test_it_leaves_nothing_behind() -> None:
    """The port is free again, and its thread is gone."""
    with Server(listener("127.0.0.1:0"), answer) as server:
        address = server.address
        assert ask(server, b"GET /healthz HTTP/1.1\r\n\r\n")[0] == 200
    listener(address).close()
    until = time.monotonic() + 5
    while any(each.name == "posture-serve" for each in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("address", ["", "8080", "127.0.0.1", "host:port", "127.0.0.1:65536", "a b:1", "::1:80"])
def test_what_is_no_address(address: str) -> None:
    """It says how one is written."""
    with pytest.raises(UsageError, match="is no address to listen on"):
        listener(address)


@pytest.mark.parametrize("address", [":0", "0.0.0.0:0", "127.0.0.1:0", "localhost:0"])
def test_where_it_listens(address: str) -> None:
    """On one address, or on all."""
    with Server(listener(address), answer) as server:
        port = int(server.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass


def test_a_port_that_is_taken_is_named(server: Server) -> None:
    """One sentence, with what the system says."""
    with pytest.raises(UsageError, match=f"cannot listen on {server.address}: Address already in use"):
        listener(server.address)
