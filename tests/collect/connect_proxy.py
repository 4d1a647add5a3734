"""A tiny HTTP proxy on loopback that knows CONNECT and leads every tunnel to one server, or lets it fall silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

STOP_SECONDS = 10.0


class ConnectProxy:
    """Notes the head of each request that it made a tunnel for in `heads`.

    A context manager: the proxy runs inside the block.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.heads: list[str] = []
        self._silenced = 0
        self._cut: list[socket.socket] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def silence(self) -> None:
        """From now on what comes through the tunnels that are open goes nowhere, and nobody is told."""
        self._silenced = len(self.heads)

    def cut(self) -> None:
        """End every connection that is open."""
        opened, self._open = self._open, []
        for each in opened:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._cut += opened

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in [self._listening, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        for each in [self._listening, *self._open, *self._cut]:
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                client, _ = self._listening.accept()
                head = b""
                while b"\r\n\r\n" not in head and (some := client.recv(4096)):
                    head += some
                self._open.append(client)
                try:
                    server = socket.create_connection(self._target)
                except ConnectionError:
                    client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                    client.shutdown(socket.SHUT_RDWR)
                    continue
                self.heads.append(head.decode())
                self._open.append(server)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._start(self._pump, client, server, len(self.heads))
                self._start(self._pump, server, client, len(self.heads))

    def _pump(self, source: socket.socket, sink: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while some := source.recv(65536):
                if number > self._silenced:
                    sink.sendall(some)
            sink.shutdown(socket.SHUT_WR)
