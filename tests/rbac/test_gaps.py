"""What could not be read opens nothing, passes nothing and resolves nothing: whatever it hides, what is said is true.

A judgement with a gap is compared with the complete judgements of every cluster that may be behind the gap: what it
opens all of them open, what it resolves all of them resolve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from posture import rbac
from posture.config import Config
from posture.drift.agreed import Agreed
from posture.inputs import Inputs, shipped
from posture.model import Decision, Finding, Gap, GapReason
from posture.pipeline import History, Judgement, Rules, judge
from posture.resources import NEWEST
from tests.generator.objects import Object, snapshot
from tests.generator.small import NAMESPACES, random_edit
from tests.generator.source import resource_of
from tests.rbac.strategies import clusters, seeds

NOW, LATER, LAST = "2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z"
KINDS = (*rbac.READS, "namespaces")
OPENS = {"opened", "widened", "regressed"}
type Place = tuple[str, str, str]


@lru_cache(maxsize=1)
def rules() -> Rules:
    """The shipped checks; nobody owns anything."""
    return Inputs(Config()).rules


@dataclass(frozen=True)
class Hole:
    """A gap, and which of the objects behind it were not read: all of them, or some."""

    gap: Gap
    seed: int | None = None

    def hides(self, one: Object) -> bool:
        """Whether an object was not read."""
        if not self.touches(one):
            return False
        return self.seed is None or Random(f"{self.seed}{one['kind']}{one['metadata']['name']}").random() < 0.5

    def touches(self, one: Object) -> bool:
        """Whether an object is of the kind and namespace that may not have been read."""
        return self.gap.touches(resource_of(one), one["metadata"].get("namespace") or "-")


@dataclass
class Book:
    """What is known of findings, as a store keeps it."""

    findings: dict[str, Finding] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    last: str = ""

    def history(self) -> History:
        """For a judgement."""
        current = {mark: finding for mark, finding in self.findings.items() if finding.presence != "absent"}
        return History(
            current, lambda mark: self.findings.get(mark) or self.findings.get(self.aliases.get(mark, "")), self.last
        )

    def after(self, judgement: Judgement, now: str) -> Book:
        """What is known then."""
        outcome = judgement.outcome
        return Book(self.findings | outcome.findings, self.aliases | outcome.aliases, now)

    def decided(self, random: Random) -> Book:
        """Some findings acknowledged, some accepted."""
        found = {}
        for mark, finding in self.findings.items():
            action = random.choice((None, "acknowledged", "accepted", "false positive"))
            decision = Decision(action, "ann", NOW, "why", "2027-01-01T00:00:00Z", finding.gained) if action else None  # type: ignore[arg-type]
            found[mark] = replace(finding, decision=decision)
        return Book(found, self.aliases, self.last)

    def told(self) -> dict[str, tuple[object, ...]]:
        """All that people see of the findings, but for the times at which it came about."""
        return {
            mark: (
                one.presence,
                one.mark,
                one.decision,
                one.exceeded,
                one.agreed,
                one.gained,
                one.severity,
                one.through,
            )
            for mark, one in self.findings.items()
        }


@dataclass(frozen=True)
class State:
    """One moment: what was agreed, what is there, and what of both could not be read."""

    agreed: Sequence[Object] | None
    live: Sequence[Object]
    agreed_gaps: tuple[Gap, ...] = ()
    live_gaps: tuple[Gap, ...] = ()

    def judge(self, book: Book, now: str) -> Judgement:
        """What the pipeline makes of it."""
        known = () if self.agreed is None else (snapshot(self.agreed, self.agreed_gaps),)
        agreed = Agreed(known, (), shipped(NEWEST), peer_labels=("env",))
        return judge(snapshot(self.live, self.live_gaps), agreed, book.history(), rules(), now)


def place(finding: Finding) -> Place:
    """Where a finding is."""
    return finding.subject, finding.scope, str(finding.through)


def events(judgement: Judgement, book: Book, kinds: Iterable[str]) -> set[Place]:
    """The places of findings to which something of some kinds happened."""
    after = book.after(judgement, "").findings
    return {place(after[event.fingerprint]) for event in judgement.outcome.events if event.kind in kinds}


def seen(objects: Sequence[Object], hole: Hole | None) -> list[Object]:
    """What was read of a cluster."""
    return [one for one in objects if hole is None or not hole.hides(one)]


def completions(objects: Sequence[Object], hole: Hole | None, others: Sequence[Sequence[Object]]) -> list[list[Object]]:
    """Clusters that may be behind a gap: this one, nothing more than was read, or what other clusters have there."""
    if hole is None:
        return [list(objects)]
    read = seen(objects, hole)

    def name(one: Object) -> tuple[str, str | None, str]:
        return one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]

    names = set(map(name, read))

    def behind(cluster: Sequence[Object]) -> list[Object]:
        return [one for one in cluster if hole.touches(one) and name(one) not in names]

    return [list(objects), read, *([*read, *behind(other)] for other in others)]


def sound(book: Book, said: Judgement, truths: Iterable[Judgement]) -> None:
    """What is said with gaps is what would be said of every cluster that may be behind them."""
    for truth in truths:
        assert events(said, book, OPENS) <= events(truth, book, OPENS), "a gap opened something"
        assert events(said, book, {"resolved"}) <= events(truth, book, {"resolved"}), "a gap resolved something"
        assert events(said, book, {"agreed"}) <= events(truth, book, {"agreed"}), "a gap passed something"
    after = book.after(said, LATER)
    happened = {event.fingerprint for event in said.outcome.events if event.kind in OPENS | {"resolved", "agreed"}}
    for mark, finding in book.findings.items():
        assert after.findings[mark].decision == finding.decision, "a decision was lost"
        if mark not in happened:
            assert after.findings[mark].mark == finding.mark, "a mark was lost"


def world(
    objects: Sequence[Object], edits: Sequence[int]
) -> tuple[Sequence[Object], Sequence[Object], Sequence[Object]]:
    """A cluster on the agreed day, on the day of the first run, and today."""
    states = [objects]
    for number, seed in enumerate(edits):
        states.append(random_edit(Random(seed), states[-1]))
        if number in (1, 2):
            states.append(states[-1])
    return states[0], states[len(states) // 2], states[-1]


REASONS: tuple[GapReason, ...] = ("forbidden", "failed", "truncated", "extra missing")
gaps = st.builds(
    Gap, st.sampled_from(KINDS), st.sampled_from(("", *NAMESPACES)), st.sampled_from(REASONS), st.just("it was refused")
)
holes = st.builds(Hole, gaps, st.one_of(st.none(), seeds))
sides = st.sampled_from(("live", "agreed", "both"))
histories = st.lists(seeds, min_size=2, max_size=6)


class Story(NamedTuple):
    """A cluster that was agreed to (or never was), once scanned, and its run today, of which a hole hides something."""

    agreed: Sequence[Object]
    first: Sequence[Object]
    today: Sequence[Object]
    start: Sequence[Object] | None
    there: Hole | None
    here: Hole | None
    book: Book

    @property
    def gapped(self) -> State:
        """What today's run sees."""
        return State(
            None if self.start is None else seen(self.start, self.there),
            seen(self.today, self.here),
            (self.there.gap,) if self.there else (),
            (self.here.gap,) if self.here else (),
        )


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """The hole is on either side or on both, of any kind, of one namespace or of all, wholly or in part."""
    agreed, first, today = world(draw(clusters), draw(histories))
    hole, side, baseline = draw(holes), draw(sides), draw(st.booleans())
    start = agreed if baseline else None
    book = Book().after(State(start, first).judge(Book(), NOW), NOW).decided(Random(draw(seeds)))
    there, here = hole if side != "live" and baseline else None, hole if side != "agreed" or not baseline else None
    return Story(agreed, first, today, start, there, here, book)


@settings(max_examples=150, deadline=None)
@given(stories())
def test_whatever_a_gap_hides_what_is_said_is_true(story: Story) -> None:
    """In each cluster that looks like what was read."""
    agreed, first, today, start, there, here, book = story
    truths = [
        State(before, live).judge(book, LATER)
        for before in ([None] if start is None else completions(start, there, (first, today)))
        for live in completions(today, here, (agreed, first))
    ]
    sound(book, story.gapped.judge(book, LATER), truths)


@settings(max_examples=60, deadline=None)
@given(stories())
def test_when_a_gap_is_gone_all_is_as_without_it(story: Story) -> None:
    """Presence, marks, decisions and what was gained are as if the run in between had never been."""
    book = story.book
    between = book.after(story.gapped.judge(book, LATER), LATER)
    complete = State(story.start, story.today)

    assert (
        between.after(complete.judge(between, LAST), LAST).told() == book.after(complete.judge(book, LAST), LAST).told()
    )
