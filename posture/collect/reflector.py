"""What to do next about one list that is followed: list it, watch it, or wait. Named after client-go's reflector.

A state machine without clock, chance or I/O of its own: it is told what happened and when, and `next` says what to do.
However the server answers, it never asks in a hurry, never gives up, and watches only from a resourceVersion that the
server gave for this list.

**Verifying.** While a list that is followed is listed again, its watch goes on. Both are states of one history, which
resourceVersions order: they may be compared as numbers (KEP-5504; so it is in every server that stores in etcd). The
new list, of the resourceVersion R, is complete only once the watch has told everything up to R: until then its
difference might be what is still under way. Objects that the watch told of after R are named, since the list is older.
Where resourceVersions are no numbers the watch ends before the list begins, and goes on from the list's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from posture.collect.problem import RequestProblem

FORBIDDEN, GONE = 403, 410
_DIGITS = 40
_WHOLE = 1.0 - 1e-6  # of a sum of fractions
_PASSING = frozenset({401, 408, 429})
"""The 4xx that say nothing about the resourceVersion or the path that was asked for."""

type Name = tuple[str, str]
"""(namespace, name) of an object."""


class Pace(NamedTuple):
    """How long things take, in seconds.

    `first`: before what failed is tried again, doubled with every further failure up to `cap`. A server's Retry-After
    may ask for more, up to `asked`. A watch that lasted `steady` has recovered. The server is asked to end a watch
    after a time between `shortest` and `longest`, as client-go does. After `silence` without an event or a bookmark,
    which come about every minute, a watch is taken for dead. Every `verify` a list is listed again, give or take a
    quarter, and its watch given `grace` to tell as much; what cannot be watched is listed every `poll`. A list that
    could not be followed for `patience` is lost; `certain` is long enough where the server forbids it (one that has
    just started may do so for a moment).
    """

    first: float = 0.25
    cap: float = 60.0
    asked: float = 300.0
    steady: float = 30.0
    shortest: float = 300.0
    longest: float = 600.0
    silence: float = 180.0
    verify: float = 600.0
    grace: float = 90.0
    poll: float = 60.0
    patience: float = 120.0
    certain: float = 5.0

    def wait(self, failures: int, chance: Callable[[], float]) -> float:
        """After so many failures in a row: seconds, half of them by chance, so that not all come back at once."""
        return min(self.cap, self.first * 2.0 ** min(failures - 1, 30)) * (0.5 + chance() / 2)


class Gate:
    """How fast requests go to one server, for all lists together: `rate` a second after the first `burst`.

    While there is no connection, for the `problem`, one request at a time tries, with growing waits.
    """

    def __init__(self, pace: Pace, chance: Callable[[], float], rate: float = 20.0, burst: int = 20) -> None:
        self._pace, self._chance, self._rate, self._burst = pace, chance, rate, burst
        self._left, self._counted = float(burst), -inf
        self._failures, self._until, self._trying = 0, -inf, False
        self.problem: RequestProblem | None = None

    def ask(self, now: float) -> float:
        """May a request go? When to ask again; a time that is not after `now` is yes, and counts it."""
        if now < self._until:
            return min(self._until, now + self._pace.first) if self._trying else self._until
        self._left = min(float(self._burst), self._left + (now - self._counted) * self._rate)
        self._counted = now
        if self._left < _WHOLE:
            return now + (1.0 - self._left) / self._rate
        self._left -= 1.0
        if self._failures:
            self._trying, self._until = True, now + self._pace.cap
        return now

    def failed(self, problem: RequestProblem, now: float) -> None:
        """There was no connection."""
        self.problem = problem
        if self._trying or now >= self._until:
            self._failures += 1
            self._trying, self._until = False, now + self._pace.wait(self._failures, self._chance)

    def answered(self) -> None:
        """The server gave an answer, whichever."""
        self.problem = None
        self._failures, self._until, self._trying = 0, -inf, False


class List(NamedTuple):
    """List it, and say `listed` or `failed`."""


class Watch(NamedTuple):
    """Watch it from here, for so many seconds; say `opened`, `seen`, `marked`, and `ended` when it did."""

    resource_version: str
    seconds: int


class Close(NamedTuple):
    """End the watch."""


class Complete(NamedTuple):
    """What was listed last is all there is: see Listed."""

    resource_version: str
    verified: bool
    newer: frozenset[Name]


class Lose(NamedTuple):
    """It cannot be followed: see Lost."""

    problem: RequestProblem


class Wait(NamedTuple):
    """Nothing until then, unless something happens."""

    until: float


type Step = List | Watch | Close | Complete | Lose | Wait


class Reflector:
    """One list. `position` is where it was followed to before, "" is nowhere; it may be `watched`, or only listed."""

    def __init__(
        self,
        pace: Pace,
        gate: Gate,
        chance: Callable[[], float],
        now: float,
        position: str = "",
        *,
        watched: bool = True,
    ) -> None:
        self._pace, self._gate, self._chance, self._watched = pace, gate, chance, watched
        self._position = position
        self._list = _Lists(again=now, verify=now + pace.verify * chance())
        self._watch = _Watches(again=now)
        self._made: _Made | None = None
        self._touched: dict[Name, str] = {}
        self._known = bool(position)
        self._good = now
        self._problem: RequestProblem | None = None
        self._lost = False
        self._until = inf

    def next(self, now: float) -> Step:
        """What to do now. All but Wait count as begun."""
        self._until = inf
        steps = (self._completed, self._losing, self._silent, self._listing, self._watching)
        for step in (each(now) for each in steps):
            if step is not None:
                return step
        return Wait(self._until)

    def listed(self, resource_version: str, now: float) -> None:
        """The list is read to its end."""
        void, self._list.under_way = self._list.void, False
        self._list.failures, self._list.refused, self._list.at = 0, inf, now
        self._list.verify = now + self._pace.verify * (0.75 + self._chance() / 2)
        self._list.again = self._watch.again if void else now
        self._good = now
        if not void:
            found = resource_version if self._watched else ""
            self._made = _Made(found, now + self._pace.grace)
            if not found:
                self._list.again = now + self._pace.poll

    def failed(self, problem: RequestProblem, now: float) -> None:
        """The list could not be read."""
        one = self._list
        one.under_way = False
        one.failures += 1
        one.again = now + max(self._pace.wait(one.failures, self._chance), min(problem.after, self._pace.asked))
        one.refused = min(one.refused, now) if problem.status == FORBIDDEN else inf
        self._problem = problem

    def opened(self, now: float) -> None:
        """The watch was accepted."""
        self._watch.open, self._watch.heard = True, now

    def heard(self, now: float) -> None:
        """Something came of the watch, or nobody listened until now."""
        self._watch.heard = now

    def seen(self, resource_version: str, name: Name, now: float) -> bool:
        """The watch told of an object. Whether that is news: it is not where it was told before, or comes too late.

        What comes after something newer shows that the server does not keep the order: the list is verified soon.
        """
        if not (self._watch.under_way and self._position):
            return False
        self.heard(now)
        new, last = _number(resource_version), _number(self._position)
        if new is not None and last is not None and new <= last:
            if new < last:
                self._list.verify = min(self._list.verify, max(now, self._list.at + self._pace.verify / 10))
            return False
        self._follow(resource_version, now)
        if self._list.under_way or self._made:
            self._touched[name] = resource_version
        return True

    def marked(self, resource_version: str, now: float) -> bool:
        """The watch has told everything up to here. Whether that is news."""
        if not (self._watch.under_way and self._position):
            return False
        self.heard(now)
        new, last = _number(resource_version), _number(self._position)
        if not resource_version or (new is not None and last is not None and new < last):
            return False
        news = self._lost or resource_version != self._position
        self._follow(resource_version, now)
        return news

    def ended(self, problem: RequestProblem | None, now: float) -> None:
        """The watch ended without having been closed; without a problem the server's time for it was over."""
        one = self._watch
        if not one.under_way:
            return
        if one.open:
            self._good = now
        steady = one.open and now - one.began >= self._pace.steady
        one.end(0 if steady else one.failures + 1)
        after = min(problem.after, self._pace.asked) if problem else 0.0
        one.again = now + max(self._pace.wait(one.failures, self._chance) if one.failures else 0.0, after)
        if problem is not None:
            self._problem = problem
            if problem.status == GONE or (400 <= problem.status < 500 and problem.status not in _PASSING):
                self._forget()
                self._list.again = max(self._list.again, one.again)

    def _follow(self, resource_version: str, now: float) -> None:
        self._position = resource_version or self._position
        self._good, self._problem, self._lost = now, None, False

    def _forget(self) -> None:
        """What was followed is of no use: it has to be listed, after whatever is under way."""
        self._position, self._made, self._list.void = "", None, self._list.under_way

    def _at(self, time: float) -> None:
        self._until = min(self._until, time)

    def _completed(self, now: float) -> Step | None:
        if self._made is None:
            return None
        made, position, begun = _number(self._made.resource_version), _number(self._position), _number(self._list.begun)
        back = made is not None and begun is not None and made < begun  # the server was restored from a backup
        if made is not None and position is not None and not back:
            if position >= made:
                return self._complete(self._position, verified=True)
            if now < self._made.until:
                self._at(self._made.until)
                return None
            self._made = self._made._replace(verified=self._made.verified or self._watch.open)
        if self._watch.under_way:
            self._watch.end(self._watch.failures)
            return Close()
        return self._complete(self._made.resource_version, verified=self._made.verified)

    def _complete(self, position: str, *, verified: bool) -> Complete:
        assert self._made is not None
        made = _number(self._made.resource_version) or 0
        newer = frozenset(name for name, last in self._touched.items() if made and (_number(last) or 0) > made)
        self._made, self._touched = None, {}
        self._position, self._known, self._lost, self._problem = position, True, False, None
        return Complete(position, verified, newer)

    def _losing(self, now: float) -> Step | None:
        problem = self._problem or self._gate.problem
        if self._lost or problem is None:
            return None
        refused = self._list.refused + self._pace.certain
        quiet = inf if self._watch.open else self._good + self._pace.patience
        if self._known and now < min(refused, quiet):
            self._at(min(refused, quiet))
            return None
        if self._known and now >= refused:
            self._forget()
        self._lost = True
        return Lose(problem)

    def _silent(self, now: float) -> Step | None:
        one = self._watch
        if not one.under_way:
            return None
        if self._position and now < one.heard + self._pace.silence:
            self._at(one.heard + self._pace.silence)
            return None
        if one.open:
            self._good = now  # of some servers nothing comes when nothing happens
        else:
            self._problem = RequestProblem(f"no answer to a watch within {self._pace.silence:g} s", again=True)
        one.end(one.failures + 1)
        one.again = now + self._pace.wait(one.failures, self._chance)
        return Close()

    def _listing(self, now: float) -> Step | None:
        one = self._list
        if one.under_way or self._made is not None:
            return None
        due = max(one.again, one.verify) if self._position else one.again
        if now < due:
            self._at(due)
            return None
        if self._watch.under_way and _number(self._position) is None:
            self._watch.end(self._watch.failures)
            return Close()
        if not self._may(now):
            return None
        one.under_way, one.void, one.begun, self._touched = True, False, self._position, {}
        return List()

    def _watching(self, now: float) -> Step | None:
        one = self._watch
        if one.under_way or not self._position:
            return None
        if (self._list.under_way or self._made is not None) and _number(self._position) is None:
            return None
        if now < one.again:
            self._at(one.again)
            return None
        if not self._may(now):
            return None
        one.under_way, one.open, one.began, one.heard = True, False, now, now
        seconds = self._pace.shortest + (self._pace.longest - self._pace.shortest) * self._chance()
        return Watch(self._position, int(seconds))

    def _may(self, now: float) -> bool:
        again = self._gate.ask(now)
        if again > now:
            self._at(again)
        return again <= now


@dataclass(slots=True)
class _Lists:
    """Listing: is it `under_way`, of no use when it ends (`void`), from which position did it begin; when next."""

    again: float
    verify: float
    under_way: bool = False
    void: bool = False
    begun: str = ""
    at: float = -inf
    failures: int = 0
    refused: float = inf


@dataclass(slots=True)
class _Watches:
    """Watching: is it `under_way`, and accepted (`open`); since when, and when was it heard last; when next."""

    again: float
    under_way: bool = False
    open: bool = False
    began: float = -inf
    heard: float = -inf
    failures: int = 0

    def end(self, failures: int) -> None:
        """It ended, after so many failures in a row."""
        self.under_way, self.open, self.failures = False, False, failures


class _Made(NamedTuple):
    """A list that was read, and until when the watch has time to tell as much."""

    resource_version: str
    until: float
    verified: bool = False


def _number(resource_version: str) -> int | None:
    """KEP-5504: a decimal number without a sign or leading zeros."""
    short = resource_version.isascii() and resource_version.isdigit() and len(resource_version) <= _DIGITS
    return int(resource_version) if short else None
