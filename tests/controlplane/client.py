"""A small HTTPS client for JSON APIs, from the standard library, with one kept connection for each thread."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# How a kept connection shows that the server closed it before this request, for instance because it was started again.
_CLOSED_BY_SERVER = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError)


class RefusedError(RuntimeError):
    """The server answered with a status of 400 or more: `status` (the number), `body` (the decoded answer)."""

    def __init__(self, status: int, body: Any) -> None:
        message = body.get("message", body) if isinstance(body, dict) else body
        super().__init__(f"{status}: {message}")
        self.status = status
        self.body = body


class Client:
    """Speaks with one server, whose certificate is verified. Threads may share it."""

    def __init__(self, url: str, ca_file: Path, *, timeout: float = 60.0) -> None:
        """Takes `https://HOST:PORT`, the file of the certificate authority, and the seconds that an answer may take."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._timeout = timeout
        self._kept = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends one request and gives the decoded JSON, or the text where the answer is no JSON.

        `body` is sent as JSON; a PATCH has its Content-Type in `headers`. RefusedError for a status of 400 or more,
        OSError or http.client.HTTPException where no answer comes.
        """
        sent = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        status, kind, text = self._exchange(method, path, data, {**sent, **(headers or {})})
        answer = json.loads(text) if kind.startswith("application/json") and text else text.decode(errors="replace")
        if status >= HTTPStatus.BAD_REQUEST:
            raise RefusedError(status, answer)
        return answer

    def close(self) -> None:
        """Closes the connections of all threads. Requests after that open new ones."""
        for connection in self._opened:
            connection.close()

    def _exchange(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, str, bytes]:
        connection: http.client.HTTPSConnection | None = getattr(self._kept, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
            self._kept.connection = connection
            self._opened.append(connection)
        kept = connection.sock is not None
        try:
            return _send(connection, method, path, data, headers)
        except _CLOSED_BY_SERVER:
            if not kept:
                raise
            return _send(connection, method, path, data, headers)


def _send(
    connection: http.client.HTTPSConnection, method: str, path: str, data: bytes | None, headers: dict[str, str]
) -> tuple[int, str, bytes]:
    try:
        connection.request(method, path, body=data, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    except BaseException:
        connection.close()  # half an answer must not be read as the start of the next one
        raise
