"""What is done about one list that is followed: servers that answer whatever they like, on a clock of our own."""

from __future__ import annotations

import heapq
import random
from itertools import count, pairwise
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posture.collect.problem import RequestProblem
from posture.collect.reflector import Close, Complete, Gate, List, Lose, Pace, Reflector, Step, Wait, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PACE = Pace()
NAME = ("ns", "role")


class Listed(NamedTuple):
    """An answer to a list, after so many seconds: a failure, or a state that is so much newer than the last known."""

    after: float
    status: int = 200
    retry: float = 0.0
    newer: int = 1
    version: str | None = None


class Watched(NamedTuple):
    """An answer to a watch: a refusal; or events (so much newer each) every second, and an end after so many seconds,
    perhaps with an ERROR event.
    """

    after: float
    status: int = 200
    retry: float = 0.0
    events: tuple[int, ...] = ()
    lasts: float = inf
    error: int = 0


GOOD_LIST, GOOD_WATCH = Listed(0.1), Watched(0.1)


class Simulation:
    """A reflector, a server that gives its answers and after that good ones, and the time that passes."""

    def __init__(
        self,
        lists: Iterable[Listed] = (),
        watches: Iterable[Watched] = (),
        *,
        pace: Pace = PACE,
        position: str = "",
        watched: bool = True,
        seed: int = 0,
    ) -> None:
        chance = random.Random(seed).random
        self.now, self.version = 0.0, 1000
        self.given = {position} - {""}
        self.log: list[tuple[float, Step]] = []
        self.news: list[str] = []
        self.gate = Gate(pace, chance)
        self.reflector = Reflector(pace, self.gate, chance, 0.0, position, watched=watched)
        self._lists, self._watches = iter(lists), iter(watches)
        self._due: list[tuple[float, int, int, Callable[[], None]]] = []
        self._number = count()
        self._watch = 0  # which watch is open: what was under way of another comes no more

    def run(self, until: float) -> Simulation:
        """Let the time pass. Fails when nothing could ever happen again, or too much happens at once."""
        while self.now < until:
            for _ in range(10):
                step = self.reflector.next(self.now)
                if isinstance(step, Wait):
                    break
                self.log.append((self.now, step))
                self._do(step)
            else:
                raise AssertionError("it does not come to rest")
            moment = min(step.until, self._due[0][0] if self._due else inf)
            assert moment < inf, "nothing will ever happen again"
            assert moment > self.now or self._due, "it waits for what is over"
            self.now = max(self.now, min(moment, until))
            while self._due and self._due[0][0] <= self.now:
                _, _, watch, call = heapq.heappop(self._due)
                if watch in (0, self._watch):
                    call()
        return self

    def times(self, *steps: type) -> list[float]:
        return [now for now, step in self.log if isinstance(step, steps)]

    def steps(self, *steps: type) -> list[Any]:
        return [step for _, step in self.log if isinstance(step, steps)]

    @property
    def followed(self) -> bool:
        """Whether it is known, and a watch is open that tells what happens."""
        last = [step for _, step in self.log if isinstance(step, Complete | Lose)]
        lost = bool(last) and isinstance(last[-1], Lose) and not (self.news and self.news[-1] == "found")
        return self._watch > 0 and bool(last) and not lost

    def _later(self, seconds: float, watch: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._number), watch, call))

    def _do(self, step: Step) -> None:
        match step:
            case List():
                listed = next(self._lists, GOOD_LIST)
                self._later(listed.after, 0, lambda: self._listed(listed))
            case Watch(resource_version, seconds):
                assert resource_version in self.given, "a resourceVersion that the server never gave"
                assert self._watch <= 0, "a second watch"
                assert seconds > 0
                self._watch = next(self._number) + 1
                answer = next(self._watches, GOOD_WATCH._replace(lasts=float(seconds)))
                self._watching(answer, self._watch)
            case Close():
                assert self._watch > 0, "there is no watch to close"
                self._watch = -1
            case Complete() | Lose():
                self.news.append("complete" if isinstance(step, Complete) else "lost")

    def _listed(self, answer: Listed) -> None:
        if answer.status != 200:
            self.reflector.failed(problem(answer.status, answer.retry), self.now)
            return
        self.version += answer.newer
        version = str(self.version) if answer.version is None else answer.version
        self.given.add(version)
        self.reflector.listed(version, self.now)

    def _watching(self, answer: Watched, watch: int) -> None:
        if answer.status == 200:
            self._later(answer.after, watch, lambda: self.reflector.opened(self.now))
            for number, newer in enumerate(answer.events, 1):
                self._later(answer.after + number, watch, lambda newer=newer: self._event(newer))  # type: ignore[misc]
            if answer == GOOD_WATCH._replace(lasts=answer.lasts) and answer.lasts < inf:
                for minute in range(1, int(answer.lasts // 60) + 1):
                    self._later(60.0 * minute, watch, self._bookmark)
            self._later(answer.after + answer.lasts, watch, lambda: self._ended(answer.error, 0.0))
        else:
            self._later(answer.after, watch, lambda: self._ended(answer.status, answer.retry))

    def _event(self, newer: int) -> None:
        version = str(max(0, self.version + newer))
        self.version = max(self.version, int(version))
        self.given.add(version)
        if self.reflector.seen(version, NAME, self.now):
            self.news.append("found")

    def _bookmark(self) -> None:
        self.version += 1
        self.given.add(str(self.version))
        if self.reflector.marked(str(self.version), self.now):
            self.news.append("found")

    def _ended(self, status: int, retry: float) -> None:
        self._watch = -1
        self.reflector.ended(problem(status, retry) if status else None, self.now)


def problem(status: int, after: float = 0.0) -> RequestProblem:
    return RequestProblem(f"{status}", status if status > 1 else 0, again=True, after=after)


STATUSES = st.sampled_from([1, 400, 401, 403, 404, 410, 429, 500, 503, 504])  # 1: no answer
SECONDS = st.sampled_from([0.0, 0.01, 0.3, 2.0, 31.0, 70.0])
RETRY = st.sampled_from([0.0, 0.0, 1.0, 1e9])
VERSIONS = st.sampled_from([None, None, None, "", "v7", "12/34", "007", "9" * 100])
LISTS = st.lists(
    st.builds(Listed, SECONDS, st.just(200) | STATUSES, RETRY, st.sampled_from([0, 1, 5, -50]), VERSIONS), max_size=25
)
WATCHES = st.lists(
    st.builds(
        Watched, SECONDS, st.just(200) | STATUSES, RETRY,
        st.lists(st.sampled_from([1, 1, 3, 0, -2, -2000]), max_size=5).map(tuple),
        st.sampled_from([0.0, 0.5, 5.0, 29.0, 31.0, 100.0, 1e6]), st.just(0) | STATUSES,
    ), max_size=25,
)  # fmt: skip


class TestWhateverTheServerAnswers:
    @given(LISTS, WATCHES, st.sampled_from(["", "900", "v5"]), st.integers(0, 5))
    @settings(max_examples=300, deadline=None)
    def test_it_never_asks_in_a_hurry_and_gets_there_once_the_server_does(
        self, lists: Sequence[Listed], watches: Sequence[Watched], position: str, seed: int
    ) -> None:
        """Every watch begins where the server said, it comes to rest, and at most 45 requests go in any minute.

        Retry-After counts up to five minutes: each answer may cost that, and then all is well.
        """
        simulation = Simulation(lists, watches, position=position, seed=seed)
        simulation.run(3600.0 + 400.0 * (len(lists) + len(watches)))
        times = simulation.times(List, Watch)
        for begin in times:
            assert sum(begin <= time < begin + 60.0 for time in times) <= 45
        assert simulation.followed or next(simulation._lists, None) or next(simulation._watches, None)

    @pytest.mark.parametrize("status", [1, 400, 401, 403, 404, 410, 429, 500, 503])
    def test_failures_that_stay_are_asked_about_ever_less(self, status: int) -> None:
        for lists, watches in (([Listed(0.0, status)] * 999, []), ([], [Watched(0.0, status)] * 999),
                               ([], [Watched(0.0, lasts=0.0, error=status)] * 999)):  # fmt: skip
            times = Simulation(lists, watches).run(3600.0).times(List, Watch)
            assert times[-1] > 3400.0, "it never gives up"
            assert len(times) <= 2 * (10 + 3600 / 30)

    def test_a_watch_that_ends_at_once_without_an_error_is_no_reason_to_hurry(self) -> None:
        times = Simulation([], [Watched(0.0, lasts=0.0)] * 999).run(600.0).times(Watch)
        assert len(times) <= 30


class TestWatching:
    def test_begins_where_the_list_ended_and_goes_on_where_the_watch_did(self) -> None:
        simulation = Simulation([Listed(1.0)], [Watched(0.1, events=(1, 1), lasts=40.0)]).run(60.0)
        assert [step.resource_version for step in simulation.steps(Watch)] == ["1001", "1003"]
        assert len(simulation.steps(List)) == 1
        assert all(300 <= step.seconds <= 600 for step in simulation.steps(Watch))

    def test_that_lasted_goes_on_at_once(self) -> None:
        first, second = Simulation([], [Watched(0.1, lasts=31.0)]).run(60.0).times(Watch)
        assert second - first == pytest.approx(31.1)

    def test_from_a_position_needs_no_list(self) -> None:
        simulation = Simulation(position="900").run(60.0)
        assert [type(step) for _, step in simulation.log] == [Watch]

    @pytest.mark.parametrize("answer", [Watched(0.1, 410), Watched(0.1, lasts=0.0, error=410), Watched(0.1, 400)])
    def test_from_what_is_forgotten_ends_in_a_list(self, answer: Watched) -> None:
        simulation = Simulation([], [answer], position="900").run(30.0)
        assert [type(step) for _, step in simulation.log] == [Watch, List, Complete, Watch]
        assert simulation.steps(Complete) == [Complete("1001", verified=False, newer=frozenset())]

    @pytest.mark.parametrize("status", [1, 401, 429, 500, 503])
    def test_that_fails_for_another_reason_goes_on_without_a_list(self, status: int) -> None:
        simulation = Simulation([], [Watched(0.1, status)], position="900").run(30.0)
        assert [step.resource_version for step in simulation.steps(Watch)] == ["900", "900"]
        assert not simulation.steps(List)

    @pytest.mark.parametrize(("asked", "waits"), [(7.0, 7.0), (1e9, PACE.asked)])
    def test_waits_as_long_as_the_server_asks_within_reason(self, asked: float, waits: float) -> None:
        first, second = Simulation([], [Watched(0.0, 429, asked)], position="900").run(302.0).times(Watch)
        assert second - first == pytest.approx(waits)

    def test_in_silence_is_ended_and_begun_again(self) -> None:
        simulation = Simulation([], [Watched(0.1)], position="900").run(200.0)
        assert [type(step) for _, step in simulation.log] == [Watch, Close, Watch]
        assert simulation.times(Close) == [pytest.approx(0.1 + PACE.silence)]

    def test_events_that_come_late_or_twice_are_no_news_and_hasten_the_next_list(self) -> None:
        simulation = Simulation([], [Watched(0.1, events=(1, 0, -1), lasts=1e6)]).run(70.0)
        assert simulation.news == ["complete", "found"]
        assert 60.0 <= simulation.times(List)[1] <= 61.0

    def test_a_bookmark_that_goes_back_moves_nothing(self) -> None:
        found = Simulation().run(1.0).reflector
        assert not found.marked("900", 2.0)
        found.ended(None, 40.0)
        step = found.next(40.0)
        assert isinstance(step, Watch)
        assert step.resource_version == "1001"


class TestVerifying:
    QUIET = PACE._replace(silence=1e9)

    def verified(self, made: int, events: tuple[int, ...]) -> Simulation:
        """A list that is verified while the watch, open since its end, tells of events every second after that."""
        reflector = Simulation(pace=self.QUIET)
        reflector.run(1.0)
        found = reflector.reflector
        found._list.verify = 1.0
        assert isinstance(found.next(1.0), List)
        for newer in events:
            found.seen(str(1001 + newer), (f"ns{newer}", "role"), 2.0)
        found.listed(str(1001 + made), 3.0)
        return reflector

    def test_waits_until_the_watch_has_told_as_much(self) -> None:
        found = self.verified(5, (3,)).reflector
        assert isinstance(found.next(3.0), Wait)
        found.marked("1006", 10.0)
        assert found.next(10.0) == Complete("1006", verified=True, newer=frozenset())

    def test_names_what_was_told_after_the_list_was_made(self) -> None:
        found = self.verified(5, (3, 5, 8)).reflector
        assert found.next(3.0) == Complete("1009", verified=True, newer=frozenset({("ns8", "role")}))

    def test_goes_on_from_the_list_when_the_watch_tells_nothing(self) -> None:
        found = self.verified(5, ()).reflector
        late = 3.0 + PACE.grace
        steps = [found.next(late) for _ in range(3)]
        assert steps[:2] == [Close(), Complete("1006", verified=True, newer=frozenset())]
        assert isinstance(steps[2], Watch)
        assert steps[2].resource_version == "1006"

    def test_takes_a_list_that_went_back_in_time(self) -> None:
        """The cluster was restored from a backup: the watch waits for what has been."""
        found = self.verified(-500, ()).reflector
        assert [found.next(3.0), found.next(3.0)] == [Close(), Complete("501", verified=False, newer=frozenset())]

    def test_a_list_that_a_410_overtook_is_read_again(self) -> None:
        simulation = Simulation(pace=self.QUIET).run(1.0)
        found = simulation.reflector
        found._list.verify = 1.0
        assert isinstance(found.next(1.0), List)
        found.ended(problem(410), 2.0)
        found.listed("1005", 3.0)
        assert isinstance(found.next(4.0), List)
        found.listed("1006", 5.0)
        assert found.next(5.0) == Complete("1006", verified=False, newer=frozenset())

    def test_of_versions_that_are_no_numbers_stops_the_watch_first(self) -> None:
        lists = [Listed(0.1, version="a"), Listed(0.1, version="b")]
        simulation = Simulation(lists, [Watched(0.2, lasts=3600.0)], pace=self.QUIET).run(800.0)
        assert [type(step) for _, step in simulation.log] == [List, Complete, Watch, Close, List, Complete, Watch]
        assert simulation.steps(Watch)[1].resource_version == "b"
        assert not simulation.steps(Complete)[1].verified

    def test_comes_every_ten_minutes_give_or_take_a_quarter(self) -> None:
        times = Simulation().run(6 * 3600.0).times(List)
        gaps = [after - before for before, after in pairwise(times[1:])]
        assert all(450.0 <= gap <= 850.0 for gap in gaps), "and up to a minute for the bookmark"
        assert max(gaps) - min(gaps) > 60.0


class TestLosing:
    def test_what_was_never_known_is_lost_at_the_first_failure(self) -> None:
        simulation = Simulation([Listed(0.1, 500)]).run(5.0)
        assert [type(step) for _, step in simulation.log] == [List, Lose, List, Complete, Watch]

    def test_what_is_forbidden_is_lost_after_a_moment(self) -> None:
        simulation = Simulation([Listed(0.1, 403)] * 99, [Watched(0.1, 403)] * 99, position="900").run(60.0)
        (lost,) = simulation.times(Lose)
        assert PACE.certain <= lost <= PACE.certain + 2.0

    def test_a_list_that_is_forbidden_while_its_watch_goes_on_is_lost_too(self) -> None:
        """Servers look at permissions when a watch begins: it would go on for ten minutes."""
        simulation = Simulation([Listed(0.1)] + [Listed(0.1, 403)] * 99).run(900.0)
        assert [type(step) for _, step in simulation.log if not isinstance(step, List)][-2:] == [Lose, Close]

    def test_a_server_that_is_away_is_no_loss_before_two_minutes(self) -> None:
        simulation = Simulation([], [Watched(0.1, 1)] * 99, position="900").run(300.0)
        assert simulation.times(Lose) == [pytest.approx(PACE.patience, abs=60.0)]
        assert not simulation.steps(List)

    def test_a_server_that_is_away_is_a_loss_of_those_too_that_wait_for_the_one_that_tries(self) -> None:
        """Their own watches ended as they should; since then only another list was asked for, in vain."""
        simulation = Simulation(position="900").run(1.0)
        reflector, gate = simulation.reflector, simulation.gate
        reflector.ended(None, 1.0)
        for second in range(1, 200):
            gate.failed(problem(1), float(second))
            step = reflector.next(float(second))
            if isinstance(step, Lose):
                break
            assert isinstance(step, Wait)
        assert second == 1 + PACE.patience

    def test_what_was_lost_is_found_by_the_next_word_of_its_watch_and_lost_again_when_that_ends(self) -> None:
        """The bookmark is news though it moves nothing."""
        simulation = Simulation([], [Watched(0.1, 1)] * 10 + [Watched(0.1)], position="900").run(150.0)
        assert len(simulation.steps(Lose)) == 1
        reflector = simulation.run(400.0).reflector
        assert [reflector.marked("900", 400.0), reflector.marked("900", 401.0)] == [True, False]
        reflector.ended(problem(1), 500.0)
        assert isinstance(reflector.next(500.0), Watch)
        reflector.ended(problem(1), 501.0)
        steps = [reflector.next(time) for time in (501.0, 500.0 + PACE.patience)]
        assert [type(step) for step in steps] == [Wait, Lose]

    def test_what_cannot_be_watched_is_listed_every_minute(self) -> None:
        simulation = Simulation(watched=False).run(600.0)
        assert not simulation.steps(Watch, Lose)
        assert 9 <= len(simulation.steps(List)) <= 11
        assert {step.resource_version for step in simulation.steps(Complete)} == {""}


class TestGate:
    def test_lets_a_burst_through_and_then_so_many_a_second(self) -> None:
        gate = Gate(PACE, lambda: 1.0, rate=10.0, burst=5)
        let = sum(gate.ask(step / 1000) <= step / 1000 for step in range(2000))
        assert let == 5 + 19, "not yet the twentieth"

    def test_lets_one_try_while_there_is_no_connection(self) -> None:
        gate = Gate(PACE, lambda: 1.0)
        gate.failed(problem(1), 0.0)
        assert gate.ask(0.1) == PACE.first
        assert gate.ask(0.3) == 0.3
        assert gate.ask(0.3) > 0.3
        gate.failed(problem(1), 0.4)
        assert gate.ask(0.4) == 0.4 + 2 * PACE.first
        assert gate.ask(1.0) == 1.0
        gate.answered()
        assert [gate.ask(1.0) for _ in range(5)] == [1.0] * 5

    def test_counts_many_failures_of_one_moment_as_one(self) -> None:
        gate = Gate(PACE, lambda: 1.0)
        for _ in range(60):
            gate.failed(problem(1), 0.0)
        assert gate.ask(0.0) == PACE.first
