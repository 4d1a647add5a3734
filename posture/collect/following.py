"""A cluster that is followed: every list is read, watched from there on, and listed again now and then.

Two threads: one for the watches (an event loop with callbacks: `Streams`, and a `Reflector` for each list, which says
what to do next), one for lists, discovery and credentials, which share the Client and come one after another. What they
give goes through one Inbox, in order for each list.

Lists come in pages, also where a server could stream them (KEP-3157): one list at a time, now and then and from the
server's cache (KEP-2340), costs it little, and one way of reading a list is enough.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from queue import PriorityQueue
from typing import Any, NamedTuple, Self

from posture.collect import Change, Facts, Listed, Listing, Page, Restart, Served
from posture.collect.client import Client
from posture.collect.collection import Collection, collections_of, pages_of
from posture.collect.discovery import Discovery, discover, unchanged
from posture.collect.follower import Follower
from posture.collect.inbox import Inbox
from posture.collect.live import flags_of, introduced, namespaces_of, title_of, version_of
from posture.collect.problem import RequestProblem
from posture.collect.reflector import Gate, Pace, Reflector
from posture.collect.streams import QUIET_SECONDS, Stream, Streams
from posture.errors import CannotJudge
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS, KINDS, Kind
from posture.model import Version

STOP_SECONDS = 4.0
RESOURCES, FLAGS = Listing(API_RESOURCES), Listing(API_SERVER_FLAGS)
"""What is no list of the API, and is read with discovery."""

_TROUBLES = 1000
_URGENT, _NEW, _AGAIN = 0, 1, 2
_HELD_UP_SECONDS = 1.0
_SOON_SECONDS = 2.0


class Survey(NamedTuple):
    """What a server says of itself at one time."""

    discovery: Discovery
    version: Version | None
    flags: list[dict[str, Any]]


class Following:
    """A cluster that is followed. `introduce`, then `start`, then `get` what happens until `stop`.

    With `namespaces` only these are followed, and all else is a gap `not collected`. Use it from one thread.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespaces: Sequence[str] = (),
        kinds: Sequence[Kind] = KINDS,
        limit: int = 500,
        room: int = 2000,
        pace: Pace | None = None,
        survey: float = 30.0,
        quiet: float = QUIET_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`limit` is the number of objects in a page, `room` about how many wait for `get`; every `survey` seconds the
        server is asked whether it serves other kinds, and after `quiet` whether it lives. `chance` gives 0 to 1.

        Raises UsageError for a name that no namespace can have.
        """
        self._client, self._namespaces, self._kinds = client, namespaces_of(namespaces), tuple(kinds)
        self._limit, self._pace, self._interval = limit, pace or Pace(), survey
        self._chance = chance
        self._facts = Facts(name=client.access.name)
        self._inbox = Inbox(room)
        self._jobs: PriorityQueue[tuple[int, int, Callable[[], None] | None]] = PriorityQueue()
        self._numbered = 0
        self._loop = asyncio.new_event_loop()
        self._threads: list[threading.Thread] = []
        self._access = client.access
        self._survey: Survey | None = None
        self._surveyed = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._surveying, self._renewing, self._away = False, False, False
        self._retired = -inf
        self._failure: BaseException | None = None
        self._served: Served | None = None
        self._followers: dict[Listing, Follower] = {}
        self._gate = Gate(self._pace, chance)
        self._streams = Streams(client.access, self._loop, quiet)
        self.counts: Counter[str] = Counter()
        self.troubles: deque[RequestProblem] = deque(maxlen=_TROUBLES)
        """Why lists and watches ended before their time, the oldest first; whoever tells of them takes them out."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def title(self) -> str:
        """The cluster's name and address."""
        return title_of(self._client.access)

    @property
    def facts(self) -> Facts:
        """What `introduce` found."""
        return self._facts

    @property
    def connections(self) -> int:
        """How many connections were made for watches so far."""
        return self._streams.connections

    def introduce(self) -> Facts:
        """Ask which cluster it is, and what it serves. Raises CannotJudge where that has no answer."""
        try:
            self._facts = introduced(self._client)
            discovery = discover(self._client)
            self._survey = Survey(discovery, self._facts.version, flags_of(self._client))
        except RequestProblem as problem:
            raise CannotJudge(str(problem), problem.hint) from problem
        return self._facts

    def start(self, positions: Mapping[Listing, str] | None = None) -> None:
        """Begin. Lists with a position (a resourceVersion) are followed from there, without being listed first.

        The first change is Served. Whoever gives positions holds what the lists were there.
        """
        assert self._survey is not None, "introduce first"
        self._loop.set_exception_handler(lambda _, context: self._fail(context.get("exception") or context))
        self._loop.call_soon(self._begin, self._survey, dict(positions or {}))
        for name, target in (("posture-watches", self._watch), ("posture-lists", self._work)):
            thread = threading.Thread(target=self._run, args=(target,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def get(self, timeout: float | None = None) -> Change | None:
        """The next change; None when nothing happened for `timeout` seconds, or after `stop`.

        Raises what a thread failed with, if ever one does: to go on without it would be to miss everything in silence.
        """
        change = self._inbox.get(timeout)
        if change is None and self._failure is not None:
            raise RuntimeError("the cluster is not followed any more") from self._failure
        return change

    def stop(self) -> None:
        """End everything, within a few seconds. The Client is closed."""
        self._inbox.close()
        self._client.close()
        self._jobs.put((-1, 0, None))
        if not self._threads:
            self._loop.close()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told by `get`
            self._fail(error)

    def _fail(self, error: object) -> None:
        self._failure = error if isinstance(error, BaseException) else RuntimeError(str(error))
        self._inbox.close()

    # What follows runs in the thread of the watches.

    def _watch(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _end(self) -> None:
        self._streams.shut()
        self._loop.stop()

    def _begin(self, survey: Survey, positions: dict[Listing, str]) -> None:
        self._serve(survey, positions)
        self._plan(self._interval)

    def _serve(self, survey: Survey, positions: Mapping[Listing, str]) -> None:
        """Follow what there is, and nothing else."""
        wanted: dict[Listing, Collection] = {}
        gaps = set(survey.discovery.gaps)
        for kind in self._kinds:
            collections, missing = collections_of(kind, survey.discovery, self._namespaces)
            wanted |= {one.listing: one for one in collections}
            gaps.update(missing)
        for listing, follower in list(self._followers.items()):
            if wanted.get(listing) != follower.collection:
                del self._followers[listing]
                follower.stop()
        served = Served(frozenset(wanted) | {RESOURCES, FLAGS}, tuple(sorted(gaps)), survey.version)
        if served != self._served:
            self._served = served
            self.put(served)
        for listing, items in ((RESOURCES, survey.discovery.resources), (FLAGS, survey.flags)):
            self.put(Restart(*listing))
            self.put(Page(listing.resource, "", items))
            self.put(Listed(listing, ""))
        for listing, collection in wanted.items():
            if listing not in self._followers:
                # Where the version is not known, only a list tells it.
                position = positions.get(listing, "") if len(collection.paths) == 1 else ""
                self._followers[listing] = follower = Follower(self, collection, position)
                follower.step()

    def put(self, change: Change, wanted: Callable[[], bool] = lambda: True) -> None:
        """Give a change to who waits for it."""
        began = self.now()
        self._inbox.put(change, wanted)
        if self.now() - began > _HELD_UP_SECONDS:  # nobody listened meanwhile: that is no silence
            for follower in self._followers.values():
                follower.reflector.heard(self.now())

    def now(self) -> float:
        """The time of the loop, which no change of the clock moves."""
        return self._loop.time()

    def reflector(self, position: str, *, watched: bool) -> Reflector:
        """A reflector for one more list."""
        return Reflector(self._pace, self._gate, self._chance, self.now(), position, watched=watched)

    def open(self, target: str, follower: Follower) -> Stream:
        """Begin a watch."""
        self.counts["watches"] += 1
        return self._streams.open(target, follower)

    def close(self, stream: Stream) -> None:
        """End a watch."""
        self._streams.close(stream)

    def list(self, follower: Follower, *, again: bool) -> None:
        """Have a list read: those that are known already have time."""
        self._do(_AGAIN if again else _NEW, partial(self._list, follower))

    def alarm(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call at a time."""
        return self._loop.call_at(when, call)

    def answered(self, problem: RequestProblem | None = None) -> None:
        """The server gave an answer; a problem may mean more than this one list."""
        if problem is not None:
            self.troubles.append(problem)
        if problem is not None and not problem.status:
            if problem.fatal:
                self._gate.failed(problem, self.now())
                self._away = True  # one that comes back may be another version, or serve other kinds
            return
        self._gate.answered()
        if problem is not None and problem.status == 401 and not self._renewing:
            self._renewing = True
            self._do(_URGENT, self._renew)
        if self._away or (problem is not None and problem.status == 404):
            self._away = False
            self._soon()

    def _use(self, before: Any, access: Any, *, renewed: bool) -> None:
        """Fresh credentials. Where they are in no header they may be in the TLS connection."""
        retire = renewed and access.headers == before.headers and self.now() - self._retired > self._pace.cap
        self._retired = self.now() if retire else self._retired
        self._renewing = self._renewing and not renewed
        self._streams.use(access, retire=retire)

    def _plan(self, wait: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(wait, self._ask)

    def _soon(self) -> None:
        """Something changed that discovery may know of."""
        wait = _SOON_SECONDS * (0.5 + self._chance() / 2)
        self._surveyed = -self._pace.verify
        if not self._surveying and self._timer is not None and self._timer.when() > self.now() + wait:
            self._plan(wait)

    def _ask(self) -> None:
        if not self._surveying:
            self._surveying = True
            due = self.now() >= self._surveyed + self._pace.verify
            assert self._survey is not None
            self._do(_URGENT, partial(self._discover, self._survey, due=due))

    def _asked(self, survey: Survey | None, *, due: bool) -> None:
        self._surveying = False
        if due:
            self._surveyed = self.now()
        if survey is not None and survey != self._survey:
            self._survey = survey
            self._serve(survey, {})
        self._plan(self._interval)

    # What follows runs in the thread of the lists, but for _do and _call.

    def _do(self, priority: int, job: Callable[[], None]) -> None:
        self._numbered += 1
        self._jobs.put((priority, self._numbered, job))

    def _call(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _work(self) -> None:
        while (job := self._jobs.get()[2]) is not None:
            job()
            if self._client.access is not self._access:
                before, self._access = self._access, self._client.access
                self._call(partial(self._use, before, self._access, renewed=False))

    def _list(self, follower: Follower) -> None:
        self.counts["lists"] += 1
        collection = follower.collection
        resource, namespace, part = collection.listing
        put = partial(self._inbox.put, wanted=lambda: not follower.gone)
        path, version = collection.paths[0], ""
        wanted = put(Restart(*collection.listing))
        try:
            for path, page in pages_of(self._client, collection, self._limit) if wanted else ():  # noqa: B007
                if page.restarted:
                    put(Restart(*collection.listing))
                version = page.resource_version
                if not put(Page(resource, namespace, page.items, part)):
                    return
        except RequestProblem as problem:
            put(Restart(*collection.listing))
            self._call(partial(follower.failed, problem))
        else:
            self._call(partial(follower.listed, path, version))

    def _renew(self) -> None:
        before = self._access
        try:
            self._client.renew()
        except RequestProblem:
            pass  # whoever asks next is told
        finally:
            self._access = self._client.access
            self._call(partial(self._use, before, self._access, renewed=True))

    def _discover(self, before: Survey, *, due: bool) -> None:
        survey = None
        try:
            if due or unchanged(self._client) is False:
                found = discover(self._client).over(before.discovery)
                survey = Survey(found, version_of(self._client) or before.version, flags_of(self._client))
        except RequestProblem:
            due = False  # asked again at the next turn
        self._call(partial(self._asked, survey, due=due))
