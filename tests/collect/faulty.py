"""An API server on loopback that keeps objects as a real one does, and fails on demand, which a real one does not.

What is real in it: one resourceVersion for everything, which every write raises; a history that is kept for so many
writes or until it is compacted; lists of one state in pages, whose tokens expire with it; watches from any state that
the history reaches, with bookmarks and an end after timeoutSeconds; a 410 as a status or as an ERROR event; discovery
with an ETag. It speaks HTTP/1.1. Everything that goes wrong is asked for: by a script, or from a seeded Random.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from tests.collect.history import Refusal, Resource, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.collect.history import Object

STOP_SECONDS = 5.0

__all__ = ["Faults", "FaultyServer", "Resource"]


@dataclass
class Faults:
    """What goes wrong. `chances` are those of each event or request to do so, by name; `script` comes first, in order.

    Events: lost, doubled, swapped with the next, cut (the connection ends in the middle of the line), hang (the
    connection stays, and nothing comes any more). Requests: a status as a number, `dropped` without an answer.
    """

    chances: Mapping[str, float] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    events: deque[str] = field(default_factory=deque)
    requests: deque[str] = field(default_factory=deque)
    retry_after: int | None = None
    forbidden: set[str] = field(default_factory=set)
    forbidden_to_watch: set[str] = field(default_factory=set)
    tokens: set[str] | None = None

    EVENTS = ("lost", "doubled", "swapped", "cut", "hang")
    REQUESTS = ("dropped", "403", "410", "429", "500", "503")

    def event(self) -> str:
        """What becomes of the next event; "" is told as it should be."""
        return self.events.popleft() if self.events else self._chosen(self.EVENTS)

    def request(self) -> str:
        """What becomes of the next list or watch."""
        return self.requests.popleft() if self.requests else self._chosen(self.REQUESTS)

    def _chosen(self, names: Iterable[str]) -> str:
        return next((name for name in names if self.random.random() < self.chances.get(name, 0.0)), "")


class Asked(NamedTuple):
    """One request as it came."""

    time: float
    path: str
    query: Mapping[str, str]
    token: str

    @property
    def watch(self) -> bool:
        return self.query.get("watch") == "true"


class FaultyServer:
    """The server. As a context manager it runs inside the block. `asked` are all requests, `faults` may be changed."""

    def __init__(
        self,
        resources: Iterable[Resource] = (),
        *,
        faults: Faults | None = None,
        window: int = 1000,
        bookmark: float = 0.2,
        expired_as_event: bool = True,
        comparable: bool = True,
    ) -> None:
        """`bookmark` is the seconds between bookmarks; a watch from what is forgotten gets a 410 as an ERROR event, or
        as a status. Without `comparable` resourceVersions are not numbers.
        """
        self.store = Store(resources, window)
        self.faults = faults or Faults()
        self.asked: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self.bookmark, self.expired_as_event, self.prefix = bookmark, expired_as_event, "" if comparable else "v"
        self.pages: dict[str, tuple[int, list[Object]]] = {}
        self.generation = 0
        self._sockets: set[socket.socket] = set()
        self._port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def down(self) -> None:
        """Stop listening, and end all connections."""
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self.drop()
        self._server.server_close()
        self._thread.join(STOP_SECONDS)

    def drop(self) -> None:
        """End all connections."""
        with self.store.changed:
            self.generation += 1
            self.store.changed.notify_all()
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def lists(self, path: str = "") -> list[Asked]:
        """The lists that were asked for, first pages only."""
        return [each for each in self._of(path) if not each.watch and "continue" not in each.query]

    def watches(self, path: str = "") -> list[Asked]:
        return [each for each in self._of(path) if each.watch]

    def _of(self, path: str) -> list[Asked]:
        known = {path} if path else set(self.store.resources)
        return [each for each in list(self.asked) if each.path in known]

    def discovery(self, root: str) -> Object:
        """Aggregated discovery, of the core group or of all others."""
        groups: dict[str, dict[str, list[Object]]] = {}
        for each in self.store.resources.values():
            if bool(each.group) == (root == "/apis"):
                row = {"resource": each.name, "scope": "Namespaced" if each.namespaced else "Cluster",
                       "responseKind": {"kind": each.kind}}  # fmt: skip
                groups.setdefault(each.group, {}).setdefault(each.version, []).append(row)
        items = [
            {
                "metadata": {"name": group} if group else {},
                "versions": [
                    {"version": version, "resources": rows, "freshness": "Current"}
                    for version, rows in versions.items()
                ],
            }
            for group, versions in groups.items()
        ]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}

    def tell(self, version: int) -> str:
        """A resourceVersion as this server writes it."""
        return f"{self.prefix}{version}"

    def told(self, item: Object) -> Object:
        """An object with its resourceVersion as this server writes it."""
        metadata = item["metadata"]
        return {**item, "metadata": {**metadata, "resourceVersion": f"{self.prefix}{metadata['resourceVersion']}"}}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], api: FaultyServer) -> None:
        super().__init__(address, _Handler)
        self.api = api

    def process_request(self, request: Any, client_address: Any) -> None:
        self.api._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.api._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Tests read `asked`."""

    def do_GET(self) -> None:
        api, parts = self.server.api, urlsplit(self.path)
        self._generation = api.generation
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Asked(time.monotonic(), parts.path, query, token)
        api.asked.append(asked)
        try:
            self._answer(asked)
        except Refusal as refusal:
            api.counts[str(refusal.code)] += 1
            self._send(refusal.status, refusal.code, {"Retry-After": str(refusal.after)} if refusal.after else {})
        except OSError:
            self.close_connection = True

    def _answer(self, asked: Asked) -> None:
        api = self.server.api
        if api.faults.tokens is not None and asked.token not in api.faults.tokens:
            raise Refusal(401, "Unauthorized")
        if asked.path in ("/api", "/apis"):
            document = api.discovery(asked.path)
            etag = f'"{zlib.crc32(json.dumps(document).encode()):x}"'
            if self.headers.get("If-None-Match") == etag:
                self._send(None, 304)
            else:
                self._send(document, 200, {"ETag": etag})
        elif asked.path == "/version":
            self._send({"gitVersion": "v1.36.0"})
        elif asked.path == "/api/v1/namespaces/kube-system":
            self._send({"metadata": {"name": "kube-system", "uid": "the-cluster"}})
        else:
            self._resource(asked)

    def _resource(self, asked: Asked) -> None:
        api = self.server.api
        found = _found(asked.path, api.store.resources)
        if found is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        path, namespace, name = found
        faults = api.faults
        if path in faults.forbidden or (asked.watch and path in faults.forbidden_to_watch):
            raise Refusal(403, "Forbidden", f"{path} is forbidden")
        fault = faults.request()
        if fault == "dropped":
            api.counts[fault] += 1
            self.close_connection = True
        elif fault:
            raise Refusal(int(fault), "Fault", "on demand", after=faults.retry_after)
        elif name:
            item = api.store.objects(path).get((namespace, name)) or api.store.objects(path).get(("", name))
            if item is None:
                raise Refusal(404, "NotFound", f"{name} not found")
            self._send(api.told(item))
        elif asked.watch:
            self._watch(path, _matching(namespace, asked), asked)
        else:
            self._list(path, _matching(namespace, asked), asked)

    def _list(self, path: str, matching: Callable[[Object], bool], asked: Asked) -> None:
        api = self.server.api
        with api.store.changed:
            if token := asked.query.get("continue"):
                version, rest = api.pages[token]
                if version < api.store.compacted:
                    raise Refusal(410, "Expired", "the provided continue parameter is too old")
            else:
                version = api.store.version
                rest = [item for _, item in sorted(api.store.objects(path).items()) if matching(item)]
            limit = int(asked.query.get("limit", "500"))
            metadata = {"resourceVersion": api.tell(version)}
            if len(rest) > limit:
                metadata["continue"] = f"{len(api.pages)}"
                api.pages[metadata["continue"]] = (version, rest[limit:])
        self._send({"kind": "List", "metadata": metadata, "items": [api.told(item) for item in rest[:limit]]})

    def _watch(self, path: str, matching: Callable[[Object], bool], asked: Asked) -> None:
        api, store = self.server.api, self.server.api.store
        version = int(asked.query["resourceVersion"].removeprefix("v"))
        if not api.expired_as_event:
            store.since(version, path)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        end = time.monotonic() + float(asked.query.get("timeoutSeconds", "60"))
        try:
            for event in self._events(path, version, matching, end):
                if not self._tell(event):
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def _events(self, path: str, version: int, matching: Callable[[Object], bool], end: float) -> Iterator[Object]:
        """Events and bookmarks until the time is over, the resource is not served any more or the server is stopped."""
        api, store, generation = self.server.api, self.server.api.store, self._generation
        held: Object | None = None
        while time.monotonic() < end:
            with store.changed:
                try:
                    news = store.since(version, path)
                except Refusal as refusal:
                    api.counts["410"] += 1
                    yield {"type": "ERROR", "object": refusal.status}
                    return
                if not news and path in store.resources and api.generation == generation:
                    store.changed.wait(min(api.bookmark, max(0.0, end - time.monotonic())))
                    news = store.since(version, path) if version >= store.compacted else []
                if api.generation != generation:
                    raise ConnectionAbortedError
                gone, now = path not in store.resources, store.version
            if not news:
                if gone:
                    return
                version = max(version, now)
                marked = {"kind": "Bookmark", "metadata": {"resourceVersion": api.tell(version)}}
                yield {"type": "BOOKMARK", "object": marked}
            for each in news:
                version = each.version
                if not matching(each.object):
                    continue
                event = {"type": each.type, "object": api.told(each.object)}
                fault = api.faults.event()
                api.counts[fault] += bool(fault)
                if fault == "swapped" and held is None:
                    held = event
                    continue
                if fault in ("cut", "hang"):
                    yield {"fault": fault, **event}
                if fault != "lost":
                    yield event
                if fault == "doubled":
                    yield event
                if held is not None:
                    yield held
                    held = None

    def _tell(self, event: Object) -> bool:
        """Send one event; False when the connection is to end."""
        fault = event.pop("fault", "")
        line = json.dumps(event).encode() + b"\n"
        if fault == "hang":  # the connection stays, and nothing comes
            api, generation = self.server.api, self._generation
            with api.store.changed:
                api.store.changed.wait_for(lambda: api.generation != generation, 60.0)
            return False
        if fault == "cut":
            line = line[: len(line) // 2]
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.flush()
        return fault != "cut"

    def _send(self, body: Object | None, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _found(path: str, resources: Mapping[str, Resource]) -> tuple[str, str, str] | None:
    """The resource's path, the namespace and the name that a path asks for."""
    root, _, rest = path.partition("/namespaces/")
    for known in resources:
        if path == known:
            return known, "", ""
        if path.startswith(f"{known}/"):
            return known, "", path[len(known) + 1 :]
        if rest and known.startswith(f"{root}/"):
            namespace, _, below = rest.partition("/")
            resource, _, name = below.partition("/")
            if known == f"{root}/{resource}":
                return known, namespace, name
    return None


def _matching(namespace: str, asked: Asked) -> Callable[[Object], bool]:
    name = asked.query.get("fieldSelector", "").removeprefix("metadata.name=")

    def matching(item: Object) -> bool:
        metadata = item["metadata"]
        return namespace in ("", metadata.get("namespace", "")) and name in ("", metadata["name"])

    return matching
