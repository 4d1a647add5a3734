"""What is told of a watch: corrections, delays, troubles, gaps; and what the watch itself keeps when it is ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

import posture.watch
from posture import actions
from posture.collect import Listing, Served
from posture.collect.problem import RequestProblem
from posture.model import Gap, Key, Version
from posture.operations.log import Log
from posture.operations.metrics import Metrics
from posture.operations.observer import LINES, TELL_SECONDS, Observer
from posture.pipeline import Judgement, judge
from posture.store import Store, findings, open_store, positions, snapshots, upkeep
from posture.store.decisions import Deed
from posture.watch import Written
from tests.generator.objects import Object, binding, guarded, role, rule, user
from tests.operations.fed import LISTS, NOW, Fed, watching

ROLES = "clusterroles.rbac.authorization.k8s.io"
BINDINGS = "clusterrolebindings.rbac.authorization.k8s.io"


def some() -> list[Object]:
    """A cluster in which nothing deserves a look."""
    return [guarded("pay"), role("root", rule("*", "*", "*")), role("look", rule("get", "configmaps"))]


def root(name: str) -> Object:
    """Everything, for a user."""
    return binding(name, "ClusterRole/root", user(name))


class Told:
    """An observed watch of a list of changes, with clocks that stand still, and the lines of its log."""

    def __init__(self, store: Store) -> None:
        self.source, self.lines = Fed(), list[dict[str, Any]]()
        self.clock, self.wall = 0.0, 1_800_000_000.0
        self.troubles: deque[RequestProblem] = deque()

        class Kept(Log):
            def __call__(_, event: str, message: str, **fields: Any) -> None:  # noqa: N805
                self.lines.append({"event": event, "message": message, **fields})

        self.observer = Observer(
            self.source, Kept("text", print, lambda: NOW), Metrics(store.path), troubles=self.troubles,
            now=lambda: NOW, clock=lambda: self.clock, wall=lambda: self.wall,
        )  # fmt: skip
        self.watch = watching(store, self.observer, self.observer.written)

    def turn(self) -> None:
        self.watch.turn(0)
        self.observer.turned(self.watch)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    with open_store(str(tmp_path / "posture.db")) as opened:
        yield opened


@pytest.fixture
def told(store: Store) -> Told:
    """One that has read everything."""
    made = Told(store)
    made.source.lists(some())
    made.turn()
    return made


def approve(store: Store) -> None:
    newest = snapshots.latest(store)
    assert newest is not None
    actions.approve(store, newest.id, Deed("agreed", "ann", NOW))


# What is told -------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named_until_it_is_there(store: Store) -> None:
    """First the server's answer, then each list, then the first judgement; then it is ready."""
    told = Told(store)
    assert "the first answer" in told.observer.page("/readyz").body  # type: ignore[union-attr]
    told.turn()
    assert "what the server serves" in told.observer.page("/readyz").body  # type: ignore[union-attr]
    told.source.feed(Served(frozenset(LISTS), (), Version(1, 36)))
    told.turn()
    assert told.observer.page("/readyz").body.splitlines()[1:] == sorted(one.resource for one in LISTS)  # type: ignore[union-attr]
    assert told.events("ready") == []
    told.source.lists(some())
    told.turn()
    page = told.observer.page("/readyz")
    assert page is not None
    assert page.status == 200
    assert len(told.events("ready")) == 1


def test_lost_events_are_counted_and_told(told: Told) -> None:
    """A list that is read again to verify, and differs from what was told, is corrected and said."""
    told.source.list(Listing(ROLES), some()[1:2], "9", verified=True)  # the other role went, unseen
    told.turn()
    assert told.events("corrected") == [
        {"event": "corrected", "resource": ROLES, "objects": 1,
         "message": f"{ROLES}: the server had not told of changes of 1 object"}
    ]  # fmt: skip
    assert told.observer.metrics.counts.corrections[ROLES,] == 1
    assert told.observer.metrics.counts.lists[ROLES, "verify"] == 1


def test_how_long_it_took(told: Told) -> None:
    """From the write, by managedFields, to the revision; a first reading is no delay."""
    lag = told.observer.metrics
    assert "posture_lag_seconds_count 0.0" in lag.page()
    raw = root("eve")
    raw["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "time": "2027-01-15T07:59:57Z", "fieldsV1": {"f:subjects": {}}}
    ]
    told.source.see("ADDED", raw, "5")  # seen at 2027-01-15T08:00:00Z
    told.turn()
    assert "posture_lag_seconds_sum 3.0" in lag.page()
    assert "posture_batch_seconds_count 1.0" in lag.page()


def test_many_findings_at_once_are_summed_up(store: Store, told: Told) -> None:
    """A line for each of some, and one for the rest."""
    approve(store)
    told.turn()
    for number in range(LINES + 7):
        told.source.see("ADDED", root(f"u{number}"), str(10 + number))
    told.turn()
    assert len(told.events("opened")) == LINES
    assert told.events("more")[0]["events"] == 7
    assert told.events("revision")[-1]["events"] == {"opened": LINES + 7}


def test_trouble_is_told_now_and_then(told: Told) -> None:
    """All of one kind in one line, and again after a while; each is counted."""
    for _ in range(3):
        told.troubles.append(RequestProblem("cannot connect to https://prod: Connection refused", fatal=True))
        told.turn()
    told.clock += TELL_SECONDS
    told.turn()
    assert [line["message"] for line in told.events("trouble")] == [
        "cannot connect to https://prod: Connection refused; tried again",
        "cannot connect to https://prod: Connection refused, and so 1 more time; tried again",
    ]
    assert told.observer.metrics.counts.troubles["no connection",] == 3


def test_gaps_are_told_when_they_open_and_close(told: Told) -> None:
    """With their reason."""
    gap = Gap("pods", "", "forbidden", "pods is forbidden")
    told.source.feed(Served(frozenset(LISTS), (gap,), Version(1, 36)))
    told.turn()
    assert [line["message"] for line in told.events("gap")] == ["pods: forbidden, pods is forbidden"]
    told.source.feed(Served(frozenset(LISTS), (), Version(1, 36)))
    told.turn()
    assert [line["message"] for line in told.events("closed")] == ["the gap pods"]


def test_a_watcher_that_hangs_is_not_healthy(told: Told) -> None:
    """When no turn ends for minutes."""
    for clock, status in ((500.0, 200), (700.0, 503)):
        told.clock = clock
        page = told.observer.page("/healthz")
        assert page is not None
        assert page.status == status


# What the watch keeps -----------------------------------------------------------------------------------------------


class Ended(BaseException):
    """The process is killed."""


def test_where_to_go_on_from_is_written_with_the_last_of_a_batch(store: Store) -> None:
    """A role that was there for a moment is two revisions; ended between them, it is seen to the end once more."""
    written: list[Written] = []

    def tell(one: Written) -> None:
        written.append(one)
        if len(written) == 2:
            raise Ended

    source = Fed()
    one = watching(store, source, tell)
    source.lists(some())
    one.turn(0)
    before = positions.read(store, "7c1e")
    source.see("ADDED", root("eve"), "5")
    source.see("DELETED", root("eve"), "6")
    with pytest.raises(Ended):
        one.turn(0)
    assert positions.read(store, "7c1e") == before
    again = Fed()
    again.see("ADDED", root("eve"), "5")
    again.see("DELETED", root("eve"), "6")
    again.changes.appendleft(Served(frozenset(LISTS), (), Version(1, 36)))
    other = watching(store, again)
    other.turn(0)
    assert again.started == before
    assert other.snapshot.entry(Key(BINDINGS, "", "eve")) is None
    assert positions.read(store, "7c1e")[Listing(BINDINGS)] == "6"
    upkeep.verify(store)


@pytest.mark.parametrize("what", ["accepted", "approved"])
def test_what_is_decided_while_it_judges_counts(store: Store, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """It judges anew by that, and nothing that people wrote is lost."""
    source = Fed()
    one = watching(store, source)
    source.lists(some())
    one.turn(0)
    approve(store)
    one.turn(0)
    source.see("ADDED", root("eve"), "5")
    one.turn(0)
    one.turn(0)  # nothing happens: paths are looked for

    def deciding(*args: Any, **named: Any) -> Judgement:
        monkeypatch.setattr(posture.watch, "judge", judge)
        with open_store(store.path) as other:
            found = list(findings.select(other, "f.presence = 'present'"))
            if what == "accepted":
                deed = Deed("accepted", "ann", NOW, "on call", "2026-12-17T09:00:00Z")
                actions.decide_on(other, found, deed)
            else:
                approve(other)
        return judge(*args, **named)

    monkeypatch.setattr(posture.watch, "judge", deciding)
    source.see("ADDED", root("mallory"), "6")
    one.turn(0)
    status = {found.subject: found.status(NOW) for found in findings.select(store)}
    assert status == {"user:eve": "accepted" if what == "accepted" else "agreed", "user:mallory": "open"}
    assert {found.subject: found.status(NOW) for found in one.findings.values()} == status
    upkeep.verify(store)
