"""One API server that fails in every way that HTTP knows, and what a GET makes of it."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect.access import Access
from posture.collect.client import Backoff, Client, ListPage, ahead
from posture.collect.problem import RequestProblem
from posture.errors import CannotJudge, UsageError
from tests.collect.fake_api import Answer, FakeApi, page, status
from tests.controlplane.processes import reserve_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = Answer({"answer": 42})
PATH = "/api/v1/pods"
GZIP = {"Content-Encoding": "gzip"}


class Clock:
    """A clock that only sleeping moves, by what was asked for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def read(self) -> float:
        return sum(self.slept)


def client_of(
    url: str, clock: Clock | None = None, reload: Callable[[], Access] | None = None, **options: Any
) -> Client:
    used = clock or Clock()
    settings: dict[str, Any] = {"sleep": used.sleep, "clock": used.read, "jitter": lambda: 1.0, **options}
    return Client(Access(url), reload, **settings)


def answered_once(api: FakeApi, clock: Clock | None = None, **options: Any) -> Client:
    """A client that has had an answer before, so that it tries for long."""
    client = client_of(api.url, clock, **options)
    client.get("/version")
    return client


def problem_of(ask: Callable[[], object]) -> RequestProblem:
    with pytest.raises(RequestProblem) as caught:
        ask()
    return caught.value


def waited(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    return condition()


@pytest.fixture
def threads() -> Iterator[None]:
    """No thread that was started meanwhile is left."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(status(429, "TooManyRequests", "slow down"), id="429"),
        pytest.param(status(500, "InternalError", "etcdserver: leader changed"), id="500"),
        pytest.param(Answer(b"<html>Bad Gateway", 502, {"Content-Type": "text/html"}), id="502 of a proxy"),
        pytest.param(status(503, "ServiceUnavailable", "apiserver is shutting down"), id="503"),
        pytest.param(status(504, "Timeout", "request timed out"), id="504"),
        pytest.param(Answer({"answer": 42}, cut=5), id="a body that is cut off"),
        pytest.param(Answer({"answer": 42}, cut=0), id="headers and no body"),
        pytest.param(Answer(b'{"answer": 4'), id="JSON that ends too early"),
        pytest.param(Answer(b"not gzip", headers=GZIP), id="a body that cannot be decompressed"),
    ],
)
def test_what_may_yet_be_answered_is_asked_again(trouble: Answer) -> None:
    with FakeApi({"/version": GOOD, PATH: [trouble, trouble, GOOD]}) as api, answered_once(api) as client:
        assert client.get(PATH) == {"answer": 42}
        assert api.paths == ["/version", PATH, PATH, PATH]


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (status(403, "Forbidden", 'pods is forbidden: User "x"'), 403, 'pods is forbidden: User "x"'),
        (Answer(b"no", 403), 403, f"GET {PATH}: 403 Forbidden"),
        (status(404, "NotFound", "could not find it"), 404, f"GET {PATH}: 404 Not Found: could not find it"),
        (status(400, "BadRequest", "\x1b[2Jhidden"), 400, f"GET {PATH}: 400 Bad Request: \\x1b[2Jhidden"),
        (Answer(b"", 302, {"Location": "https://login.example"}), 302, f"GET {PATH}: 302 Found"),
        (Answer([1, 2]), 0, f"GET {PATH}: the answer is no JSON object"),
        (Answer({"message": {"a": 1}}, 418), 418, f"GET {PATH}: 418 I'm a Teapot"),
    ],
)
def test_a_final_answer_is_believed_at_once(answer: Answer, code: int, message: str) -> None:
    with FakeApi({PATH: answer}) as api, client_of(api.url) as client:
        problem = problem_of(lambda: client.get(PATH))
        assert (problem.status, str(problem)) == (code, message)
        assert len(api.requests) == 1


def test_waits_grow_up_to_a_cap_and_the_tries_are_counted() -> None:
    clock, backoff = Clock(), Backoff(tries=7, first=0.5, cap=4.0)
    with FakeApi({"/version": GOOD, PATH: status(503, "ServiceUnavailable", "down")}) as api:
        client = answered_once(api, clock, backoff=backoff)
        text = f"GET {PATH}: 503 Service Unavailable: down (tried 7 times)"
        assert str(problem_of(lambda: client.get(PATH))) == text
        assert clock.slept == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_jitter_takes_up_to_half_of_a_wait() -> None:
    clock = Clock()
    with FakeApi({"/version": GOOD, PATH: [status(503), GOOD]}) as api:
        answered_once(api, clock, jitter=lambda: 0.0).get(PATH)
        assert clock.slept == [0.25]


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("7", 7.0), ("3600", 30.0), ("0", 0.5), ("-5", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5), ("\u0663", 0.5)],
)
def test_retry_after_is_respected_up_to_a_cap(asked: str, waited: float) -> None:
    clock = Clock()
    trouble = status(429, "TooManyRequests", "wait", Retry_After=asked.encode().decode("latin-1"))
    with FakeApi({"/version": GOOD, PATH: [trouble, GOOD]}) as api:
        answered_once(api, clock).get(PATH)
        assert clock.slept == [waited]


def test_a_storm_of_429_ends_with_the_total_time() -> None:
    clock, backoff = Clock(), Backoff(tries=1000, total=100.0)
    with FakeApi({"/version": GOOD, PATH: status(429, Retry_After="30")}) as api:
        client = answered_once(api, clock, backoff=backoff)
        text = f"GET {PATH}: 429 Too Many Requests (tried 4 times)"
        assert str(problem_of(lambda: client.get(PATH))) == text
        assert clock.slept == [30.0, 30.0, 30.0]


def test_no_answer_is_waited_for_only_so_long() -> None:
    with FakeApi({PATH: Answer(held=True)}) as api, client_of(api.url, request_timeout=0.1) as client:
        problem = problem_of(lambda: client.get(PATH))
        assert str(problem) == f"GET {PATH}: no answer from {api.url} within 0.1 s (tried 2 times)"
        assert not problem.fatal


def test_a_body_that_drips_is_waited_for_only_so_long() -> None:
    """Every byte comes in time, the whole never does."""
    with FakeApi({PATH: Answer({"a": "b" * 1000}, every=0.02)}) as api:
        client = Client(Access(api.url), request_timeout=0.2, backoff=Backoff(tries=1))
        began = time.monotonic()
        assert str(problem_of(lambda: client.get(PATH))) == f"GET {PATH}: the answer took longer than 0.2 s"
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "a gzip bomb"])
def test_a_body_that_is_too_large_is_refused_before_it_is_whole(packed: bool) -> None:
    data = json.dumps({"a": "b" * 10_000_000}).encode()
    answer = Answer(gzip.compress(data), headers=GZIP) if packed else Answer(data)
    with FakeApi({PATH: [answer, GOOD]}) as api, client_of(api.url, max_bytes=1_000_000) as client:
        text = f"GET {PATH}: the answer is larger than 1,000,000 bytes"
        assert str(problem_of(lambda: client.get(PATH))) == text
        assert client.get(PATH) == {"answer": 42}, "what was left of that body was not taken for this answer"


def test_one_connection_carries_all_requests() -> None:
    with FakeApi({PATH: [page("a", token="t"), page("b")], "/version": GOOD}) as api, client_of(api.url) as client:
        client.get("/version")
        assert sum(len(found.items) for found in client.pages(PATH)) == 2
        assert len({request.connection for request in api.requests}) == 1


def test_the_connection_survives_a_refusal_and_not_half_a_body() -> None:
    answers = [status(404), status(404), Answer({"answer": 42}, cut=3), GOOD, GOOD]
    with FakeApi({"/version": GOOD, PATH: answers}) as api, answered_once(api) as client:
        for _ in range(2):
            problem_of(lambda: client.get(PATH))
        assert client.get(PATH) == client.get(PATH)
        seen = [request.connection for request in api.requests]
        assert len(set(seen[:4])) == 1
        assert seen[4] == seen[5] != seen[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_not_compressed(host: str) -> None:
    with FakeApi({PATH: GOOD}) as api:
        client_of(api.url.replace("127.0.0.1", host)).get(PATH)
        assert api.requests[0].headers["Accept-Encoding"] == "identity"


def test_what_comes_from_afar_is_compressed() -> None:
    """A proxy on loopback stands for the distance: the server behind it is another machine."""
    packed = Answer(gzip.compress(b'{"answer": 42}'), headers=GZIP)
    with FakeApi({PATH: packed, "http://api.example/api/v1/pods": packed}) as api:
        client = Client(Access("http://api.example", proxy=api.url))
        assert client.get(PATH) == {"answer": 42}
        assert api.requests[0].headers["Accept-Encoding"] == "gzip"
        assert api.requests[0].headers["Host"] == "api.example"


def test_only_get_is_sent_and_says_who_asks() -> None:
    with FakeApi({PATH: page("a")}) as api, client_of(api.url) as client:
        list(client.pages(PATH, 5))
        (request,) = api.requests
        assert (request.method, request.path, request.query) == ("GET", PATH, {"limit": "5"})
        assert request.headers["User-Agent"].startswith("posture/")
        assert request.headers["Accept"] == "application/json"


def test_a_server_below_a_path_is_asked_there() -> None:
    """As Rancher and other proxies of many clusters serve it."""
    with FakeApi({"/k8s/clusters/c-1/version": GOOD}) as api:
        assert client_of(f"{api.url}/k8s/clusters/c-1").get("/version") == {"answer": 42}


def test_a_refused_connection_is_tried_twice_and_said_in_one_sentence() -> None:
    clock = Clock()
    with reserve_port() as held:
        port = held.getsockname()[1]
        problem = problem_of(lambda: client_of(f"http://127.0.0.1:{port}", clock).get(PATH))
    assert str(problem) == f"cannot connect to http://127.0.0.1:{port}: Connection refused (tried 2 times)"
    assert problem.fatal
    assert problem.hint
    assert len(clock.slept) == 1


def test_a_server_that_does_not_take_the_connection_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(3):  # more than the queue of a server that accepts nobody holds
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        problem = problem_of(lambda: client_of(url, request_timeout=0.1).get(PATH))
    assert str(problem) == f"no connection to {url} within 0.1 s (tried 2 times)"
    assert problem.fatal


def test_a_name_that_does_not_resolve_is_said_so() -> None:
    problem = problem_of(lambda: client_of("https://posture.invalid").get(PATH))
    assert str(problem) == "the name of https://posture.invalid cannot be resolved (tried 2 times)"
    assert problem.fatal


def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    with reserve_port() as held:
        access = Access("https://api.example", proxy=f"http://me:secret@127.0.0.1:{held.getsockname()[1]}")
        text = str(problem_of(lambda: Client(access, sleep=lambda _: None).get(PATH)))
    assert text.startswith("cannot reach https://api.example through the proxy http://127.0.0.1:")
    assert "Connection refused" in text
    assert "secret" not in text + repr(access)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://me:secret@proxy.example:1080", "the proxy socks5://proxy.example:1080 needs the package pysocks"),
        ("ftp://me:secret@proxy.example", "the proxy ftp://proxy.example is no URL of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_an_error(monkeypatch: pytest.MonkeyPatch, proxy: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(UsageError) as caught:
        Client(Access("https://api.example", proxy=proxy))
    assert str(caught.value) == message


class TestCredentials:
    def test_are_loaded_again_once_after_a_401(self) -> None:
        with FakeApi({PATH: [status(401), GOOD]}) as api:
            fresh = Access(api.url, headers=(("Authorization", "Bearer new"),))
            assert client_of(api.url, reload=lambda: fresh).get(PATH) == {"answer": 42}
            assert [request.headers.get("Authorization") for request in api.requests] == [None, "Bearer new"]

    def test_that_are_refused_twice_are_no_good(self) -> None:
        with FakeApi({PATH: status(401, "Unauthorized", "Unauthorized")}) as api:
            problem = problem_of(lambda: client_of(api.url, reload=lambda: Access(api.url)).get(PATH))
            assert str(problem) == f"GET {PATH}: 401 Unauthorized: Unauthorized"
            assert problem.fatal
            assert len(api.requests) == 2

    def test_that_expire_are_loaded_before_they_are_refused(self) -> None:
        now = [100.0]
        loaded: list[float] = []

        def reload() -> Access:
            loaded.append(now[0])
            return Access(api.url, expires=now[0] + 60)

        with FakeApi({PATH: GOOD}) as api:
            client = Client(Access(api.url, expires=160.0), reload, now=lambda: now[0])
            for now[0] in (100.0, 159.0, 160.0, 161.0, 219.0, 220.0):
                client.get(PATH)
            assert loaded == [160.0, 220.0]

    def test_that_cannot_be_renewed_end_it(self) -> None:
        def reload() -> Access:
            raise CannotJudge("the plugin failed", "log in again")

        with FakeApi({PATH: status(401)}) as api:
            problem = problem_of(lambda: client_of(api.url, reload=reload).get(PATH))
            assert str(problem) == "credentials cannot be renewed: the plugin failed"
            assert (problem.fatal, problem.hint) == (True, "log in again")

    def test_of_another_server_are_not_taken(self) -> None:
        """The context was pointed elsewhere meanwhile: half of a snapshot must not come from another cluster."""
        with FakeApi({PATH: status(401)}) as api:
            other = Access("http://127.0.0.2:1", context="prod")
            problem = problem_of(lambda: client_of(api.url, reload=lambda: other).get(PATH))
            assert str(problem) == "context prod now names another server"

    def test_may_be_several_headers_of_one_name(self) -> None:
        groups = (("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
        with FakeApi({PATH: GOOD}) as api:
            Client(Access(api.url, headers=groups)).get(PATH)
            assert api.requests[0].headers["Impersonate-Group"] in ("a", "b", "a, b")


def names_of(pages: list[ListPage]) -> list[str]:
    """The names that are left when what came before a restart is dropped."""
    kept: list[str] = []
    for found in pages:
        kept = [] if found.restarted else kept
        kept += [item["metadata"]["name"] for item in found.items]
    return kept


class TestPages:
    def test_follow_continue(self) -> None:
        with FakeApi({PATH: [page("a", token="t/1="), page("b", token="t2"), page("c")]}) as api:
            found = list(client_of(api.url).pages(PATH, 1))
            assert names_of(found) == ["a", "b", "c"]
            assert [each.resource_version for each in found] == ["7", "7", "7"]
            asked = [request.query for request in api.requests]
            assert asked == [{"limit": "1"}, {"limit": "1", "continue": "t/1="}, {"limit": "1", "continue": "t2"}]

    def test_of_nothing_are_one_empty_page(self) -> None:
        empty = Answer({"metadata": {"resourceVersion": "9"}, "items": None})
        with FakeApi({PATH: empty}) as api:
            assert list(client_of(api.url).pages(PATH)) == [ListPage([], "9", restarted=False)]

    def test_that_expired_start_again_without_the_token_that_the_server_offers(self) -> None:
        gone = status(410, "Expired", "The provided continue parameter is too old")
        gone.body["metadata"] = {"continue": "inconsistent"}
        answers = [page("a", "b", token="t"), gone, page("a", token="u", version="9"), page("c", version="9")]
        with FakeApi({PATH: answers}) as api:
            found = list(client_of(api.url).pages(PATH, 2))
            assert [each.restarted for each in found] == [False, True, False]
            assert names_of(found) == ["a", "c"]
            assert [request.query.get("continue") for request in api.requests] == [None, "t", None, "u"]

    def test_that_expire_again_and_again_are_given_up(self) -> None:
        gone = status(410, "Expired", "too old")
        with FakeApi({PATH: [page("a", token="t"), gone] * 10}) as api:
            problem = problem_of(lambda: list(client_of(api.url).pages(PATH)))
            text = f"GET {PATH}: 410 Gone: too old (for the 4th time; its pages expire before all are read)"
            assert (problem.status, str(problem)) == (410, text)
            assert len(api.requests) == 8

    def test_that_fail_in_the_middle_fail(self) -> None:
        with FakeApi({PATH: [page("a", token="t"), status(403, "Forbidden", "no more")]}) as api:
            pages = client_of(api.url).pages(PATH)
            assert names_of([next(pages)]) == ["a"]
            assert str(problem_of(lambda: next(pages))) == "no more"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"kind": "PodList"}, ": the answer is no list"),
            ({"metadata": {}, "items": {"a": 1}}, "items without metadata.name"),
            ({"metadata": {}, "items": ["a"]}, "items without metadata.name"),
            ({"metadata": {}, "items": [{"metadata": {}}]}, "items without metadata.name"),
            ({"metadata": {}, "items": [{"metadata": {"name": "a", "namespace": 5}}]}, "items without metadata.name"),
        ],
    )  # fmt: skip
    def test_of_something_else_are_a_problem(self, body: Any, message: str) -> None:
        with FakeApi({PATH: Answer(body)}) as api, pytest.raises(RequestProblem, match=message):
            list(client_of(api.url).pages(PATH))

    def test_that_repeat_for_ever_end(self) -> None:
        with FakeApi({PATH: page("a", token="t")}) as api:
            problem = problem_of(lambda: list(client_of(api.url).pages(PATH)))
            assert str(problem) == f"GET {PATH}: the server gave the same page twice"
            assert len(api.requests) == 2


@pytest.mark.usefixtures("threads")
class TestAhead:
    def test_makes_one_item_while_the_caller_works_and_never_two(self) -> None:
        made: list[int] = []

        def items() -> Iterator[int]:
            for number in range(6):
                made.append(number)
                yield number

        for number in ahead(items(), lambda: None):
            assert waited(lambda: len(made) >= min(number + 2, 6))  # noqa: B023 - called at once
            time.sleep(0.02)
            assert made == list(range(min(number + 2, 6)))

    def test_passes_an_exception_through_in_its_place(self) -> None:
        def items() -> Iterator[int]:
            yield 1
            yield 2
            raise CannotJudge("that was all")

        got: list[int] = []
        with pytest.raises(CannotJudge, match="that was all"):
            got.extend(ahead(items(), lambda: None))
        assert got == [1, 2]

    def test_leaves_no_thread_when_the_caller_stops_early(self) -> None:
        """The server holds the second page back: only closing the connection ends the wait for it."""
        with FakeApi({PATH: [page("a", token="t"), Answer(held=True)]}) as api:
            client = client_of(api.url)
            pages = ahead(client.pages(PATH), client.close)
            next(pages)
            assert waited(lambda: len(api.requests) == 2)
            began = time.monotonic()
            pages.close()  # type: ignore[attr-defined]  # a generator
            assert time.monotonic() - began < 2
            assert not [each for each in threading.enumerate() if each.name.startswith("posture-ahead")]

    def test_does_not_wait_out_a_back_off_when_the_caller_stops_early(self) -> None:
        patient = Backoff(first=60.0, cap=60.0, total=600.0)
        with FakeApi({PATH: [page("a", token="t"), status(503)]}) as api:
            client = Client(Access(api.url), backoff=patient)
            pages = ahead(client.pages(PATH), client.close)
            next(pages)
            assert waited(lambda: len(api.requests) == 2)
            began = time.monotonic()
            pages.close()  # type: ignore[attr-defined]  # a generator
            assert time.monotonic() - began < 2

    def test_a_closed_client_asks_nothing(self) -> None:
        with FakeApi({PATH: GOOD}) as api:
            client = client_of(api.url)
            client.close()
            assert str(problem_of(lambda: client.get(PATH))) == "the connection was closed"
            assert not api.requests


def test_a_server_that_is_no_http_server_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            for _ in range(2):
                accepted, _ = listening.accept()
                with accepted:
                    accepted.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        talker = threading.Thread(target=talk)
        talker.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        text = str(problem_of(lambda: client_of(url).get(PATH)))
        assert text.startswith(f"GET {PATH}: the answer of {url} broke off: ")
        talker.join(5)
        assert not talker.is_alive()


def test_what_did_not_change_is_told_by_its_tag() -> None:
    """None, True and False: the server never said, says that it is the same, and gave another."""
    first, same, other = (Answer({"answer": 1}, headers={"ETag": '"1"'}), Answer(b"", 304),
                          Answer({"answer": 2}, headers={"ETag": '"2"'}))  # fmt: skip
    with FakeApi({PATH: [first, same, other, same]}) as api, client_of(api.url) as client:
        assert client.unchanged(PATH) is None
        client.get(PATH)
        assert [client.unchanged(PATH) for _ in range(3)] == [True, False, True]
        assert [request.headers.get("If-None-Match") for request in api.requests] == [None, '"1"', '"1"', '"2"']
