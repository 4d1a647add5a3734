"""Groups: what people see, count, accept in bulk and get one ticket for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from posture.model import CLUSTER_SCOPE, SEVERITIES, Finding, Severity, Status
from posture.text import count


class Member(Protocol):
    """What a group must know of each of its findings; a whole finding will do, and so will a row with a few columns."""

    @property
    def cluster(self) -> str:
        """The cluster's id."""

    @property
    def fingerprint(self) -> str:
        """The finding's id within its cluster."""

    @property
    def group(self) -> str:
        """The group's id."""

    @property
    def severity(self) -> Severity:
        """How severe it is."""

    @property
    def subject(self) -> str:
        """Who gained."""

    @property
    def scope(self) -> str:
        """Where."""

    @property
    def mark(self) -> str:
        """New, widened, regressed or nothing."""

    @property
    def whose(self) -> str:
        """Who must act."""

    def status(self, now: str) -> Status:
        """The derived status."""


def order(member: Member) -> tuple[int, str]:
    """Within a group: gravest first, then by id."""
    return SEVERITIES.index(member.severity), member.fingerprint


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of one cluster, one domain, one leading rule and one kind and name of `through`; `first` leads it."""

    first: Finding
    members: Sequence[Member]

    @property
    def owners(self) -> list[str]:
        """Everyone who must act."""
        return sorted({one.whose for one in self.members})

    @property
    def new(self) -> int:
        """How many are new."""
        return sum(one.mark == "new" for one in self.members)

    def statuses(self, now: str) -> dict[str, int]:
        """How many members have which status."""
        return dict(sorted(Counter(one.status(now) for one in self.members).items()))

    @property
    def headline(self) -> str:
        """The group in one line."""
        first = self.first
        if len(self.members) == 1:
            return first.headline
        subjects, scopes = len({one.subject for one in self.members}), {one.scope for one in self.members}
        where = f"in {count(len(scopes), 'namespace')}" if len(scopes) > 1 else f"in {first.scope}"
        where = "cluster-wide" if scopes == {CLUSTER_SCOPE} else where
        what = f": {first.reasons[0].title}" if first.reasons else f", such as: {first.headline}"
        kinds = {one.subject.partition(":")[0] for one in self.members}
        if kinds == {"namespace"}:
            return f"{count(subjects, 'namespace')}{what}"
        return f"{count(subjects, 'workload' if kinds == {'workload'} else 'subject')} {where}{what}"

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it stands among groups: gravest first, then by rule and name."""
        first = self.first
        return SEVERITIES.index(first.severity), first.rule, first.through.kind, first.through.name, first.cluster


def grouped[Any_: Member](found: Iterable[Any_], whole: Callable[[Any_], Finding]) -> list[Group]:
    """Groups of findings in their order; `whole` gives the finding of a member that leads its group."""
    groups: dict[tuple[str, str], list[Any_]] = {}
    for one in found:
        groups.setdefault((one.cluster, one.group), []).append(one)
    made = []
    for members in groups.values():
        members.sort(key=order)
        made.append(Group(whole(members[0]), members))
    return sorted(made, key=lambda group: group.place)
