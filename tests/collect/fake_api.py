"""A small HTTP server on loopback that fails on demand, where a real API server cannot be made to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request is answered with.

    `body` is sent as JSON unless it is bytes. `cut` announces the whole body and sends only so many bytes of it;
    `every` seconds pass between single bytes; `held` sends nothing until the server stops.
    """

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    every: float = 0.0
    held: bool = False

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `path` without its query, `query` with the first value of each parameter, `headers` as sent."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    connection: int


def status(code: int, reason: str = "", message: str = "", **headers: str) -> Answer:
    """A Status object as an API server sends it."""
    content = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer({**content, "reason": reason, "message": message}, code, named)


def page(*names: str, token: str = "", version: str = "7") -> Answer:
    """A page of a list, with objects of these names; `token` is its `continue`."""
    metadata = {"resourceVersion": version, **({"continue": token} if token else {})}
    return Answer({"kind": "List", "metadata": metadata, "items": [{"metadata": {"name": name}} for name in names]})


class FakeApi:
    """Answers each path with its answers in turn; the last one is repeated, and other paths give 404.

    `requests` are those received so far. A context manager: the server runs inside the block.
    """

    def __init__(self, answers: Mapping[str, Answer | Sequence[Answer]]) -> None:
        self._answers = {path: [given] if isinstance(given, Answer) else list(given) for path, given in answers.items()}
        self._given: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self.asked = threading.Event()
        self.requests: list[Request] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self.asked.set()
            answers = self._answers.get(request.path, [status(404, "NotFound", "the server could not find it")])
            turn = self._given[request.path]
            self._given[request.path] += 1
            return answers[min(turn, len(answers) - 1)]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, api: FakeApi) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """End the connections that clients keep, so that nobody waits for their next request."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = STOP_SECONDS
    wbufsize = -1  # headers and body in one packet
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""

    def do_GET(self) -> None:
        """Any other method is answered with 501, and fails the test that sent it."""
        api = cast("_Server", self.server).api
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answer = api.answer(Request(self.command, parts.path, query, dict(self.headers), self.client_address[1]))
        if answer.held:
            api.stopping.wait(STOP_SECONDS)
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.data)))
        self.end_headers()
        if answer.every:
            for byte in answer.data:
                if api.stopping.wait(answer.every):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            self.wfile.write(answer.data[: answer.cut])
        self.close_connection = answer.cut is not None
