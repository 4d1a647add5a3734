"""Whatever the order of scans, gaps, decisions and approvals: statuses are a small model's, no decision is lost.

The model knows nothing of rules: each grant holds a set of verbs, the baseline another, and a finding is what it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posture import actions
from posture.store import findings, upkeep
from posture.text import format_time
from tests.drift.world import BINDINGS, CLUSTER, World, grant

NAMES = ("one", "two", "three")
VERBS = (frozenset[str](), frozenset({"get"}), frozenset({"get", "list"}), frozenset({"get", "list", "delete"}))


@dataclass(slots=True)
class Expected:
    """What is known of one grant's finding."""

    gained: frozenset[str] = frozenset()
    presence: str = "present"
    agreed: bool = False
    action: str = ""
    covers: frozenset[str] = frozenset()
    until: datetime | None = None
    assignee: str = ""

    def status(self, now: datetime) -> str:
        """As design.md derives it."""
        if self.presence == "absent":
            return "resolved"
        if self.agreed:
            return "agreed"
        if self.presence == "unknown":
            return "unknown"
        decided = self.action in ("acknowledged", "accepted", "false positive")
        covered = self.gained <= self.covers and (self.until is None or now < self.until)
        return self.action if decided and covered else "open"


@dataclass(slots=True)
class Model:
    """A cluster of three grants, what was agreed to, and what is known."""

    agreed: dict[str, frozenset[str]] = field(default_factory=lambda: dict.fromkeys(NAMES, frozenset()))
    hidden: bool = False
    found: dict[str, Expected] = field(default_factory=dict)
    decisions: int = 0

    def scan(self, live: dict[str, frozenset[str]], *, gap: bool) -> None:
        for name in NAMES:
            self._look(name, live[name], gap=gap)

    def _look(self, name: str, live: frozenset[str], *, gap: bool) -> None:
        gained, known = live - self.agreed[name], self.found.get(name)
        if gap or self.hidden:
            # Nobody can say what is beyond the baseline: what is known is in doubt, and nothing opens.
            if known and known.presence != "absent" and not known.agreed:
                known.presence = "unknown"
        elif gained:
            known = self.found.setdefault(name, Expected())
            known.gained, known.presence, known.agreed = gained, "present", False
        elif known and known.presence != "absent" and not known.agreed:
            known.agreed = known.gained <= live  # the baseline covers it by now
            known.presence = "present" if known.agreed else "absent"

    def approve(self, live: dict[str, frozenset[str]], *, gap: bool) -> None:
        self.agreed = dict.fromkeys(NAMES, frozenset[str]()) if gap else dict(live)
        self.hidden = gap
        for known in self.found.values():
            if known.presence == "present" and not known.agreed:
                known.agreed, known.action, known.until = True, "agreed", None
                self.decisions += 1

    def decide(self, name: str, action: str, until: datetime | None) -> bool:
        """Whether the decision is taken."""
        known = self.found.get(name)
        if known is None or (known.agreed and action != "assigned"):
            return False
        if known.presence == "absent" and action in ("acknowledged", "accepted", "false positive"):
            return False
        self.decisions += 1
        if action == "assigned":
            known.assignee = "blue"
        else:
            known.action, known.covers, known.until = action, known.gained, until
        return True


SCANS = st.tuples(st.just("scan"), st.tuples(*[st.sampled_from(VERBS)] * 3), st.sampled_from([False, False, True]))
DECISIONS = st.tuples(
    st.just("decide"), st.sampled_from(NAMES),
    st.sampled_from(["acknowledged", "accepted", "false positive", "reopened", "assigned"]), st.integers(1, 4),
)  # fmt: skip
STEPS = st.lists(st.one_of(SCANS, SCANS, DECISIONS, st.tuples(st.just("approve"))), max_size=14)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_statuses_follow_from_what_is_there_and_what_was_decided(steps: list[Any]) -> None:
    """After every step each finding has the model's status and assignee; at the end the journal is whole."""
    world, model = World(), Model()
    live, gap = dict.fromkeys(NAMES, frozenset[str]()), False
    world.scan()
    world.approve()
    for step, *what in steps:
        if step == "scan":
            live, gap = dict(zip(NAMES, what[0], strict=True)), what[1]
            world.scan(*(grant(name, ",".join(sorted(verbs)), subject=name) for name, verbs in live.items() if verbs),
                       gaps=[BINDINGS] if gap else [])  # fmt: skip
            model.scan(live, gap=gap)
        elif step == "approve":
            world.approve(with_gaps=True)
            model.approve(live, gap=gap)
        else:
            name, action, days = what
            until = world.day + timedelta(days=days) if action == "accepted" else None
            if model.decide(name, action, until):
                finding = next(one for one in findings.select(world.store) if one.through.name == name)
                end = format_time(until) if until else ""
                deed = world.deed(action, until=end, assignee="blue" if action == "assigned" else "")
                actions.decide_on(world.store, [finding], deed)
        told = {f.through.name: (f.status(world.now), f.assignee) for f in findings.select(world.store)}
        assert told == {name: (one.status(world.day), one.assignee) for name, one in model.found.items()}
    assert upkeep.verify(world.store)[1] == model.decisions
    world.store.close()


def test_an_unknown_finding_is_never_agreed_to_by_approving() -> None:
    """The model's assumption in words: what a gap hides is in no snapshot."""
    world = World()
    world.scan()
    world.approve()
    world.scan(grant("one"))
    world.scan(gaps=[BINDINGS])
    world.approve(with_gaps=True)
    assert [one.agreed for one in findings.current(world.store, CLUSTER).values()] == [False]
