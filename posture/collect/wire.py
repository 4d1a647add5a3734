"""HTTP as bytes in and bytes out: answers that go on for long, many over one HTTP/2 connection, or one over HTTP/1.1.

Nothing here touches a socket: the protocols themselves are h2's and h11's. (httpx would not do: httpcore passes the
right to read an HTTP/2 connection round its streams, and one that waits for an event may be last in the row.)
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import h11

_WINDOW = 1 << 20
"""What the server may send on one stream before we have read it; on the connection, sixteen times that."""


class Head(NamedTuple):
    """The beginning of an answer."""

    stream: int
    status: int
    reason: str
    retry_after: str


class Data(NamedTuple):
    """Some of an answer's body."""

    stream: int
    data: bytes


class End(NamedTuple):
    """Nothing more comes of an answer; `broken` says why where it is not whole."""

    stream: int
    broken: str = ""


class Gone(NamedTuple):
    """Nothing more comes of this connection."""

    why: str


type Heard = Head | Data | End | Gone


@dataclass(frozen=True, slots=True)
class Request:
    """One GET: the URL's scheme, host with port, path with query, and the headers."""

    scheme: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...]


class Session(Protocol):
    """What is said on one connection. Every method gives, or leaves in `sending`, bytes for the server."""

    @property
    def room(self) -> int:
        """How many more requests the server takes now."""

    @property
    def undecided(self) -> bool:
        """Whether the server has not said yet how many requests it takes."""

    @property
    def used(self) -> bool:
        """Whether it takes no request any more once those under way have ended."""

    def request(self, request: Request) -> int:
        """Ask; gives the number of the stream that the answer comes on."""

    def cancel(self, stream: int) -> bool:
        """Want no more of an answer. Says whether the connection can be kept."""

    def ping(self) -> bool:
        """Ask for a sign of life. Says whether the protocol knows such a thing."""

    def receive(self, data: bytes) -> Iterable[Heard]:
        """What bytes of the server mean; none at all is the end of the connection."""

    def sending(self) -> bytes:
        """The bytes to be sent now, once."""


class Http2:
    """Many streams over one connection (RFC 9113)."""

    def __init__(self) -> None:
        self._told = self._leaving = False
        self._streams: set[int] = set()
        self._received = bytearray()
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration())
        codes = h2.settings.SettingCodes
        self._connection.local_settings = h2.settings.Settings(
            client=True, initial_values={codes.INITIAL_WINDOW_SIZE: _WINDOW, codes.ENABLE_PUSH: 0}
        )
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(_WINDOW << 4)

    @property
    def room(self) -> int:
        """See Session. Nothing before the server has said how many streams it takes."""
        if self._leaving or not self._told:
            return 0
        return self._connection.remote_settings.max_concurrent_streams - self._connection.open_outbound_streams

    @property
    def undecided(self) -> bool:
        """See Session."""
        return not (self._told or self._leaving)

    @property
    def used(self) -> bool:
        """See Session. There are a billion numbers for streams."""
        return self._leaving

    def request(self, request: Request) -> int:
        """See Session."""
        stream = self._connection.get_next_available_stream_id()
        headers = [
            (":method", "GET"),
            (":scheme", request.scheme),
            (":authority", request.host),
            (":path", request.target),
            *((name.lower(), value) for name, value in request.headers),
        ]
        self._connection.send_headers(stream, headers, end_stream=True)
        self._streams.add(stream)
        return stream

    def cancel(self, stream: int) -> bool:
        """See Session."""
        self._streams.discard(stream)
        with suppress(h2.exceptions.ProtocolError):  # it has just ended
            self._connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        return True

    def ping(self) -> bool:
        """See Session."""
        self._connection.ping(b"posture?")
        return True

    def receive(self, data: bytes) -> Iterable[Heard]:
        """See Session."""
        self._received += data
        try:
            while (frame := self._frame()) is not None:
                state = self._connection.state_machine.state
                for event in self._connection.receive_data(frame):
                    yield from self._heard(event, state)
        except h2.exceptions.ProtocolError as error:
            yield Gone(f"the server does not keep to HTTP/2: {error}")
            return
        if not data:
            yield Gone("the server closed the connection")

    def _frame(self) -> bytes | None:
        """The next frame, alone (RFC 9113 §4.1): what comes in one piece with a GOAWAY would be lost with it."""
        size = 9 + int.from_bytes(self._received[:3])
        if size > 9 + self._connection.max_inbound_frame_size:
            raise h2.exceptions.FrameTooLargeError("a frame is larger than was agreed")
        if len(self._received) < size:
            return None
        frame = bytes(self._received[:size])
        del self._received[:size]
        return frame

    def _heard(self, event: h2.events.Event, state: h2.connection.ConnectionState) -> Iterable[Heard]:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self._told = True
        elif isinstance(event, h2.events.ResponseReceived):
            yield _head(event.stream_id, "", event.headers)
        elif isinstance(event, h2.events.DataReceived):
            if event.flow_controlled_length:
                self._acknowledge(event.flow_controlled_length, event.stream_id)
            yield Data(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            self._streams.discard(event.stream_id)
            yield End(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._streams.discard(event.stream_id)
            yield End(event.stream_id, f"the server reset the stream (HTTP/2 error {int(event.error_code)})")
        elif isinstance(event, h2.events.ConnectionTerminated):
            if event.error_code:
                yield Gone(f"the server ended the connection (HTTP/2 error {int(event.error_code)})")
                return
            # It takes no more requests, and answers those that it has: so does an API server after each 401, and when
            # it is about to stop. For h2 the connection is over now; the state before lets it go on (RFC 9113 §6.8).
            self._leaving, self._connection.state_machine.state = True, state
            for stream in [each for each in self._streams if each > (event.last_stream_id or 0)]:
                self._streams.discard(stream)
                yield End(stream, "the server is about to end the connection")

    def _acknowledge(self, size: int, stream: int) -> None:
        try:
            self._connection.acknowledge_received_data(size, stream)
        except h2.exceptions.ProtocolError:
            return  # of a stream that was cancelled; the connection's own window was given back

    def sending(self) -> bytes:
        """See Session."""
        return self._connection.data_to_send()


class Http1:
    """One answer, after which the connection ends (RFC 9112)."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.CLIENT)
        self._sending = b""
        self._asked = False

    @property
    def room(self) -> int:
        """See Session."""
        return 0 if self._asked else 1

    @property
    def undecided(self) -> bool:
        """See Session."""
        return False

    @property
    def used(self) -> bool:
        """See Session."""
        return self._asked

    def request(self, request: Request) -> int:
        """See Session."""
        self._asked = True
        headers = [("Host", request.host), *request.headers, ("Connection", "close")]
        asked = h11.Request(method="GET", target=request.target, headers=headers)
        self._sending += (self._connection.send(asked) or b"") + (self._connection.send(h11.EndOfMessage()) or b"")
        return 1

    def cancel(self, stream: int) -> bool:  # noqa: ARG002 - there is one
        """See Session."""
        return False

    def ping(self) -> bool:
        """See Session."""
        return False

    def receive(self, data: bytes) -> Iterable[Heard]:
        """See Session."""
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.Response):
                    status = (b":status", b"%d" % event.status_code)
                    yield _head(1, event.reason.decode("latin-1"), [status, *event.headers])
                elif isinstance(event, h11.Data):
                    yield Data(1, bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    yield End(1)
                elif not isinstance(event, h11.InformationalResponse):
                    break  # nothing more for now, or for ever
        except h11.RemoteProtocolError as error:
            yield Gone(str(error))
            return
        if not data:
            yield Gone("the server closed the connection")

    def sending(self) -> bytes:
        """See Session."""
        sending, self._sending = self._sending, b""
        return sending


def _head(stream: int, reason: str, headers: Iterable[tuple[bytes | str, bytes | str]]) -> Head:
    texts = {_text(name): _text(value) for name, value in headers}
    return Head(stream, int(texts[":status"]), reason, texts.get("retry-after", ""))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
