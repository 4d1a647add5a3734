"""HTTP as bytes in and bytes out; over HTTP/2 the other end is h2 as well, as a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from posture.collect.wire import Data, End, Gone, Head, Heard, Http1, Http2, Request, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

ASKED = Request("https", "api.example:6443", "/api/v1/pods?watch=true", (("Authorization", "Bearer t"),))


class Server:
    """The server's end of an HTTP/2 connection."""

    def __init__(self, streams: int = 100) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        code = h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values={code: streams})
        self.connection.initiate_connection()
        self.requests: dict[int, dict[str, str]] = {}

    def hear(self, session: Session) -> None:
        for event in self.connection.receive_data(session.sending()):
            if isinstance(event, h2.events.RequestReceived):
                self.requests[event.stream_id] = {_text(name): _text(value) for name, value in event.headers}

    def begin(self, stream: int, status: int = 200, **headers: str) -> None:
        self.connection.send_headers(stream, [(":status", str(status)), *headers.items()])

    def said(self) -> bytes:
        return self.connection.data_to_send()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def joined(heard: Iterable[Heard]) -> list[Heard]:
    """The same, with neighbouring data of one stream as one."""
    found: list[Heard] = []
    for each in heard:
        if isinstance(each, Data) and found and isinstance(found[-1], Data) and found[-1].stream == each.stream:
            found[-1] = Data(each.stream, found[-1].data + each.data)
        else:
            found.append(each)
    return found


def connected(streams: int = 100) -> tuple[Http2, Server]:
    session, server = Http2(), Server(streams)
    server.hear(session)
    assert list(session.receive(server.said())) == []
    server.hear(session)
    return session, server


class TestHttp2:
    def test_takes_as_many_requests_as_the_server_says_and_none_before(self) -> None:
        session, server = Http2(), Server(streams=2)
        assert (session.room, session.undecided) == (0, True)
        server.hear(session)
        list(session.receive(server.said()))
        assert (session.room, session.undecided) == (2, False)
        session.request(ASKED)
        session.request(ASKED)
        assert session.room == 0

    def test_asks_with_the_headers(self) -> None:
        session, server = connected()
        stream = session.request(ASKED)
        server.hear(session)
        assert server.requests[stream] == {
            ":method": "GET", ":scheme": "https", ":authority": "api.example:6443", ":path": "/api/v1/pods?watch=true",
            "authorization": "Bearer t",
        }  # fmt: skip

    @pytest.mark.parametrize("piece", [1, 7, 1000])
    def test_tells_answers_apart_however_the_bytes_come(self, piece: int) -> None:
        session, server = connected()
        first, second = session.request(ASKED), session.request(ASKED)
        server.hear(session)
        server.begin(first)
        server.begin(second, 429, **{"retry-after": "7"})
        server.connection.send_data(first, b"one\n")
        server.connection.send_data(second, b"no", end_stream=True)
        server.connection.send_data(first, b"two\n", end_stream=True)
        said = server.said()
        heard = [each for at in range(0, len(said), piece) for each in session.receive(said[at : at + piece])]
        assert joined(heard) == [
            Head(first, 200, "", ""), Head(second, 429, "", "7"), Data(first, b"one\n"), Data(second, b"no"),
            End(second), Data(first, b"two\n"), End(first),
        ]  # fmt: skip

    def test_reads_for_ever_within_its_window(self) -> None:
        """What was read is acknowledged, or the server would stop after a megabyte."""
        session, server = connected()
        stream = session.request(ASKED)
        server.hear(session)
        server.begin(stream)
        total = 0
        for _ in range(500):
            server.connection.send_data(stream, b"x" * 16000)
            total += sum(len(each.data) for each in session.receive(server.said()) if isinstance(each, Data))
            server.hear(session)
        assert total == 500 * 16000

    def test_hears_a_refusal_that_comes_with_the_end_of_the_connection(self) -> None:
        """An API server tells a client whose credentials it does not take to go away, in the same breath."""
        session, server = connected()
        open_, refused = session.request(ASKED), session.request(ASKED)
        server.hear(session)
        server.begin(open_)
        server.begin(refused, 401)
        before = server.said()
        server.connection.send_data(open_, b"one\n")
        server.connection.send_data(refused, b"{}", end_stream=True)
        after = server.said()
        goaway = bytes.fromhex("000008 07 00 00000000") + (2**31 - 1).to_bytes(4) + (0).to_bytes(4)
        assert list(session.receive(before + goaway + after)) == [
            Head(open_, 200, "", ""), Head(refused, 401, "", ""), Data(open_, b"one\n"), Data(refused, b"{}"),
            End(refused),
        ]  # fmt: skip
        assert (session.room, session.used, session.undecided) == (0, True, False)
        server.connection.send_data(open_, b"two\n", end_stream=True)
        assert list(session.receive(server.said())) == [Data(open_, b"two\n"), End(open_)]

    def test_is_told_which_requests_a_server_that_goes_will_not_answer(self) -> None:
        session, _ = connected()
        first, second = session.request(ASKED), session.request(ASKED)
        goaway = bytes.fromhex("000008 07 00 00000000") + first.to_bytes(4) + (0).to_bytes(4)
        assert list(session.receive(goaway)) == [End(second, "the server is about to end the connection")]

    def test_ends_with_an_error_of_the_server(self) -> None:
        session, server = connected()
        stream = session.request(ASKED)
        server.hear(session)
        server.connection.close_connection(error_code=11)
        assert list(session.receive(server.said())) == [Gone("the server ended the connection (HTTP/2 error 11)")]
        assert stream == 1

    def test_a_stream_that_the_server_resets_is_broken(self) -> None:
        session, server = connected(streams=1)
        stream = session.request(ASKED)
        server.hear(session)
        server.connection.reset_stream(stream, error_code=2)
        assert list(session.receive(server.said())) == [End(stream, "the server reset the stream (HTTP/2 error 2)")]
        assert session.room == 1

    def test_a_stream_that_is_cancelled_makes_room_and_what_still_comes_does_no_harm(self) -> None:
        session, server = connected(streams=1)
        stream = session.request(ASKED)
        server.hear(session)
        server.begin(stream)
        list(session.receive(server.said()))
        server.connection.send_data(stream, b"late")
        assert session.cancel(stream)
        assert session.room == 1
        assert not [each for each in session.receive(server.said()) if isinstance(each, End | Gone)]
        server.hear(session)
        assert session.request(ASKED) > stream

    def test_a_ping_is_answered(self) -> None:
        session, server = connected()
        assert session.ping()
        server.hear(session)
        assert server.said()

    @pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 100, b"\x00\x00\x01\x01\x00" * 9])
    def test_what_is_no_http2_ends_the_connection(self, data: bytes) -> None:
        session, _ = connected()
        session.request(ASKED)
        (gone,) = session.receive(data)
        assert isinstance(gone, Gone)

    def test_no_bytes_are_the_end(self) -> None:
        session, _ = connected()
        assert list(session.receive(b"")) == [Gone("the server closed the connection")]


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno"


class TestHttp1:
    def asked(self) -> Http1:
        session = Http1()
        assert (session.room, session.used, session.undecided) == (1, False, False)
        session.request(ASKED)
        assert (session.room, session.used, session.undecided) == (0, True, False)
        assert session.sending() == (
            b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: api.example:6443\r\nAuthorization: Bearer t\r\n"
            b"Connection: close\r\n\r\n"
        )
        return session

    @pytest.mark.parametrize(
        ("said", "heard"),
        [
            (CHUNKED, [Head(1, 200, "OK", ""), Data(1, b"one\ntwo\n")]),
            (CHUNKED + b"0\r\n\r\n", [Head(1, 200, "OK", ""), Data(1, b"one\ntwo\n"), End(1)]),
            (REFUSED, [Head(1, 429, "Too Many Requests", "7"), Data(1, b"no"), End(1)]),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSED,
             [Head(1, 429, "Too Many Requests", "7"), Data(1, b"no"), End(1)]),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("piece", [1, 7, 1000])
    def test_tells_an_answer_however_its_bytes_come(self, said: bytes, heard: list[Heard], piece: int) -> None:
        session = self.asked()
        found = [each for at in range(0, len(said), piece) for each in session.receive(said[at : at + piece])]
        assert joined(found) == heard

    def test_an_answer_that_ends_with_the_connection_is_whole(self) -> None:
        """As proxies of the old version send it."""
        session = self.asked()
        assert list(session.receive(b"HTTP/1.0 200 OK\r\n\r\none\n")) == [Head(1, 200, "OK", ""), Data(1, b"one\n")]
        assert list(session.receive(b"")) == [End(1), Gone("the server closed the connection")]

    @pytest.mark.parametrize("said", [CHUNKED, REFUSED[:-1], b"", b"SSH-2.0-OpenSSH_9.9\r\n"])
    def test_an_answer_that_is_cut_or_none_is_broken(self, said: bytes) -> None:
        session = self.asked()
        heard = [*session.receive(said), *session.receive(b"")]
        assert isinstance(heard[-1], Gone)
        assert not any(isinstance(each, End) for each in heard)

    def test_knows_no_ping_and_cannot_be_kept(self) -> None:
        session = self.asked()
        assert not session.ping()
        assert not session.cancel(1)
