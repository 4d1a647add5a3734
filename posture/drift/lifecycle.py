"""The life of findings: what a run's findings mean beside those that are known. Decisions are never lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from posture.model import REACH, Finding, Gap, Unit
from posture.text import parse_time

type EventKind = Literal[
    "opened", "widened", "regressed", "resolved", "agreed", "unknown", "known", "changed", "renamed", "expired"
]
type Beyond = Callable[[str, tuple[Unit, ...], tuple[Unit, ...]], tuple[Unit, ...]]
"""(domain, given, recorded) → the units that recorded ones do not cover"""
type Doubt = Callable[[Finding], Gap | None]
"""the gap that may hide a finding"""
type Covered = Callable[[Finding], bool]
"""whether what a finding gained is still possible, and agreed to by now"""

CONTENT = (
    "severity",
    "effective",
    "reasons",
    "gained",
    "headline",
    "path",
    "causes",
    "fix",
    "no_fix",
    "owner",
    "through",
    "paths",
)


TOLD = ("severity", "effective", "gained", "owner")
"""Content whose change is an event; texts and counts move without one."""


TRANSIENT = "transient"
TRANSIENT_SECONDS = 300
"""What was possible for no longer was there and gone before anybody looked: it is kept, and marked."""


class Event(NamedTuple):
    """Something that happened to a finding; `detail` in words."""

    fingerprint: str
    kind: EventKind
    detail: str = ""


class Settled(NamedTuple):
    """A draft, and what became of it."""

    draft: Finding
    finding: Finding


@dataclass(slots=True)
class Outcome:
    """What a run makes of the findings: those that changed, what happened, and new names of old findings."""

    findings: dict[str, Finding] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, Gap] = field(default_factory=dict)


class Life:
    """Merges one run's drafts into what is known. `known` finds any finding, resolved ones and aliases included."""

    def __init__(
        self, current: Mapping[str, Finding], known: Callable[[str], Finding | None], beyond: Beyond,
        settled: Mapping[str, Settled] | None = None,
    ) -> None:  # fmt: skip
        """`settled` are drafts of the run before: where neither they nor the findings changed, nothing happened."""
        self.current = current
        self.known = known
        self.beyond = beyond
        self.settled: dict[str, Settled] = {}
        self._before = settled or {}

    def merge(self, drafts: Iterable[Finding], doubt: Doubt, covered: Covered, now: str, last: str) -> Outcome:
        """`last` is the time of the run before, for acceptances that ran out since."""
        outcome = Outcome()
        fresh: list[Finding] = []
        drafts, seen = self._unsettled(drafts)
        # A finding's own name goes before an old alias of it: a carrier that came back beside its successor is another.
        for draft, old in sorted(((d, self.known(d.fingerprint)) for d in drafts), key=_own_name_first):
            if old is None or old.fingerprint in seen:
                fresh.append(draft)
            else:
                seen.add(old.fingerprint)
                self._again(old, draft, outcome, now)
        missing = [finding for key, finding in self.current.items() if key not in seen and not finding.agreed]
        gone = []
        for finding in missing:
            gap = doubt(finding)
            if gap is not None:
                self._doubted(finding, gap, outcome)
            elif covered(finding):
                outcome.findings[finding.fingerprint] = replace(
                    finding, presence="present", agreed=True, mark="", changed=now
                )
                outcome.events.append(Event(finding.fingerprint, "agreed", "the baseline covers it"))
            else:
                gone.append(finding)
        self._arrive(fresh, gone, outcome, now)
        for old in self.current.values():
            finding = outcome.findings.get(old.fingerprint, old)
            if ran_out(finding, last, now):
                outcome.events.append(_expired(finding))
        return outcome

    def _unsettled(self, drafts: Iterable[Finding]) -> tuple[list[Finding], set[str]]:
        """The drafts that may mean something new, and the findings that the others stand for."""
        left: list[Finding] = []
        seen: set[str] = set()
        for draft in drafts:
            was = self._before.get(draft.fingerprint)
            if was and was.draft == draft and self.current.get(was.finding.fingerprint) is was.finding:
                self.settled[draft.fingerprint] = was
                seen.add(was.finding.fingerprint)
            else:
                left.append(draft)
        return left, seen

    def _again(self, old: Finding, draft: Finding, outcome: Outcome, now: str) -> None:
        """A finding that is known and was found again."""
        kept = {name: getattr(draft, name) for name in CONTENT}
        found = self._covered(replace(old, **kept, presence="present", resolved="", agreed=False))
        more = bool(self.beyond(old.domain, draft.gained, old.gained))
        worse = found.exceeded and not old.exceeded  # what it makes possible with others is more, too
        if draft.through != old.through:
            outcome.events.append(Event(old.fingerprint, "renamed", f"{old.through} → {draft.through}"))
        if old.presence == "absent" or (old.agreed and not more):
            found = replace(found, mark="regressed", opened=now, changed=now)
            outcome.events.append(Event(old.fingerprint, "regressed", draft.message))
        elif more or worse:
            found = replace(found, mark="widened", opened=now if old.agreed else old.opened, changed=now)
            outcome.events.append(Event(old.fingerprint, "widened", draft.message))
        elif any(getattr(old, name) != kept[name] for name in TOLD):
            found = replace(found, changed=now)
            outcome.events.append(Event(old.fingerprint, "changed", draft.message))
        if old.presence == "unknown":
            outcome.events.append(Event(old.fingerprint, "known"))
        if found != old:
            outcome.findings[old.fingerprint] = found
        self.settled[draft.fingerprint] = Settled(draft, outcome.findings.get(old.fingerprint, old))

    def _covered(self, finding: Finding) -> Finding:
        """Whether a decision still covers all that was gained; more comes back as widened."""
        decision = finding.decision
        if decision is None or decision.action not in ("acknowledged", "accepted", "false positive"):
            return replace(finding, exceeded=False) if finding.exceeded else finding
        covered = tuple(unit for unit in decision.covers if REACH not in unit)
        reached = [unit[REACH] for unit in decision.covers if REACH in unit]
        exceeded = any(path.reach not in reached for path in finding.paths) or bool(
            self.beyond(finding.domain, finding.gained, covered)
        )
        if exceeded == finding.exceeded:
            return finding
        return replace(finding, exceeded=exceeded, mark="widened" if exceeded else finding.mark)

    def _doubted(self, finding: Finding, gap: Gap, outcome: Outcome) -> None:
        """Not found, but a gap may hide it: neither there nor gone."""
        outcome.doubts[finding.fingerprint] = gap
        if finding.presence != "unknown":
            outcome.findings[finding.fingerprint] = replace(finding, presence="unknown")
            outcome.events.append(Event(finding.fingerprint, "unknown", f"{gap.resource}: {gap.reason}"))

    def _arrive(self, fresh: list[Finding], gone: list[Finding], outcome: Outcome, now: str) -> None:
        """New findings; one that carries exactly what another lost is that other under a new name."""
        carriers: dict[tuple[str, ...], list[Finding]] = {}
        for finding in sorted(gone, key=lambda finding: finding.fingerprint, reverse=True):
            carriers.setdefault(self._carried(finding), []).append(finding)
        for draft in sorted(fresh, key=lambda finding: finding.fingerprint):
            left = carriers.get(self._carried(draft))
            old = left.pop() if left else None
            if old is None:
                outcome.findings[draft.fingerprint] = draft
                self.settled[draft.fingerprint] = Settled(draft, draft)
                outcome.events.append(Event(draft.fingerprint, "opened", draft.message))
            else:
                gone.remove(old)
                outcome.aliases[draft.fingerprint] = old.fingerprint
                self._again(old, draft, outcome, now)
        for finding in gone:
            seconds = lasted(finding.opened, now)
            passing = seconds <= TRANSIENT_SECONDS
            outcome.findings[finding.fingerprint] = replace(
                finding, presence="absent", mark="transient" if passing else "", resolved=now, changed=now
            )
            detail = f"{TRANSIENT}: {was_possible(seconds)}" if passing else ""
            outcome.events.append(Event(finding.fingerprint, "resolved", detail))

    @staticmethod
    def _carried(finding: Finding) -> tuple[str, ...]:
        return finding.domain, finding.subject, finding.scope, repr(finding.gained)


def lasted(opened: str, resolved: str) -> int:
    """For how many seconds something was possible, as it was seen; none where a clock went back."""
    return max(0, int((parse_time(resolved) - parse_time(opened)).total_seconds()))


def was_possible(seconds: int) -> str:
    """`was possible for 3 s`; times are kept in whole seconds."""
    if seconds < 1:
        return "was possible for less than 1 s"
    minutes, rest = divmod(seconds, 60)
    return " ".join(["was possible for"] + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest))


def ran_out(finding: Finding, last: str, now: str) -> bool:
    """Whether an acceptance that still counted at one time no longer does at another."""
    decision = finding.decision
    if decision is None or decision.action != "accepted" or finding.presence == "absent":
        return False
    return last < decision.until <= now and not finding.agreed and not finding.exceeded


def _expired(finding: Finding) -> Event:
    return Event(finding.fingerprint, "expired", f"accepted until {finding.decision and finding.decision.until}")


def _own_name_first(pair: tuple[Finding, Finding | None]) -> tuple[bool, str]:
    draft, old = pair
    return old is not None and old.fingerprint != draft.fingerprint, draft.fingerprint
