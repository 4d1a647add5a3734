"""The seam: a domain is a module that satisfies `Domain`; `pipeline.DOMAINS` lists them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Protocol

from posture.model import Change, Changed, Check, Comparison, Content, Gap, Hit, Key, Snapshot, Through, Unit

type Where = tuple[str, str]
"""(subject, scope)"""


class Result(Protocol):
    """What `evaluate` returns; only the domain looks further inside."""

    @property
    def snapshot(self) -> Snapshot:
        """The objects it was made from."""

    @property
    def places(self) -> Collection[Where]:
        """Where anything is possible."""

    @property
    def touched(self) -> frozenset[Where]:
        """The places that the last update looked at again."""


class Domain(Protocol):
    """What a domain does. Every function is pure; `Any` stands for the domain's own result and matcher."""

    NAME: str
    READS: tuple[str, ...]
    """The kinds without which it cannot judge."""

    def evaluate(self, snapshot: Snapshot, previous: Any = None, changed: Iterable[Changed] = ()) -> Any:
        """What is possible. Without `previous` an update from nothing; the cost follows `changed`."""

    def compare(
        self,
        baseline: Any,
        live: Any,
        peers: Mapping[str, tuple[str, ...]] | None = None,
        within: Collection[Where] | None = None,
        *,
        growth: bool = False,
        both: bool = False,
    ) -> Comparison:
        """What became possible and what no longer is. `within` limits it to gains at some places, or with `both` to
        all that is found there, exactly.

        With `growth` nothing was agreed for subjects that are new; where grants name their subjects that is so anyway.
        """

    def again(
        self, baseline: Any, live: Any, changed: Collection[Changed], told: Collection[Where]
    ) -> Collection[Where] | None:
        """Where an update to `live` may have made another comparison; `told` are the places of gains and unknown ones.

        None is everywhere.
        """

    def carriers(self, result: Any, where: Where) -> Collection[Key]:
        """The objects through which anything is possible at a place, or by which it is refused."""

    def doubt(
        self, result: Any, subject: str, scope: str, through: Through, other: Snapshot | None = None
    ) -> Gap | None:
        """The gap because of which nobody can say that something is absent.

        What the user chose not to collect, here and in `other`, is no reason to doubt.
        """

    def beyond(self, given: tuple[Unit, ...], recorded: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """The units that recorded ones do not cover."""

    def permissions(self, given: Iterable[Unit]) -> Iterator[dict[str, str]]:
        """Every single unit, in the words of `explain --batch`."""

    def Matcher(self, checks: Iterable[Check]) -> Any:  # noqa: N802 - a class of the domain, called as one
        """Compiled checks."""

    def match(self, matcher: Any, live: Any, within: Iterable[Where] | None = None) -> Iterator[Hit]:
        """Where checks hold."""

    def reasons(self, matcher: Any, change: Change, live: Any) -> list[Check]:
        """The checks that hold because of a change."""

    def as_change(self, matcher: Any, live: Any, where: Where, through: Through) -> Change:
        """All that checks say of one place and thing, as a change."""

    def evidence(self, live: Any, change: Change) -> tuple[Key, ...]:
        """The objects whose change may have made a gain."""

    def speaks(self, keys: Collection[Key]) -> bool:
        """Whether a baseline file that holds these objects bounds what this domain finds."""

    def gaps(self, snapshot: Snapshot) -> Iterable[Gap]:
        """What was read and cannot be evaluated."""

    def until(self, result: Any) -> str:
        """When the same objects will mean something else (RFC 3339); "" where time is no matter."""

    def settle(self, snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
        """Changes, and what the cluster's own controllers would do about them."""

    def edits(self, live: Any, change: Change) -> Iterator[tuple[str, tuple[Changed, ...]]]:
        """Ways to take a gain back, each in words and as edits, the narrowest first; none say why."""

    def stakeholders(self, live: Any, key: Key) -> frozenset[str] | None:
        """The namespaces of all subjects that an object serves; None when some live in none."""

    def agreed(self, change: Change, live: Any) -> tuple[tuple[Key, Content], ...]:
        """Kubernetes objects that grant exactly what a change gained, to add to a baseline."""

    def completed(
        self, snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]
    ) -> tuple[Mapping[Key, Content], tuple[str, ...]]:
        """What a running cluster would have added to a folder's objects, and the same in words."""

    def upgraded(self, snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]) -> Snapshot:
        """A baseline in which another minor's default objects count as agreed."""

    def restored(self, snapshot: Snapshot, shipped: Iterable[tuple[Key, Content]]) -> Snapshot:
        """A cluster as it is, but for its default objects, which are as shipped."""

    def sentence(self, change: Change, check: Check | None, live: Any) -> str:
        """A change in one sentence."""

    def named(self, key: Key) -> str:
        """An object for people: `RoleBinding pay/debug`."""
