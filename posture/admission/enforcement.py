"""What is refused in a namespace, and by which policies: worked out once, above all engines.

A violation is enforced where some policy refuses its test request and is up, or refuses what it cannot answer. Sets of
violations are integers: bit n is the n-th of `violations.VIOLATIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from posture.model import Through

from .cel import Evaluator
from .policy import ANY, NONE, Asked, Engine, Exemption, Policy, Shape, Space, Variant, Verdict
from .requests import PODS, Request
from .violations import OLDER, USERS, VIOLATIONS, Violation
from .workloads import User

ALL = (1 << len(VIOLATIONS)) - 1
CLUSTER = sum(1 << number for number, one in enumerate(VIOLATIONS) if one.scope == "cluster")
"""The violations that are made in no namespace."""
OF_PODS = sum(
    1 << number for number, one in enumerate(VIOLATIONS) if one.resource == PODS and one.operation != "CONNECT"
)
"""Those that a workload's pods can make."""
RELAXED = sum(1 << number for number, one in enumerate(VIOLATIONS) if OLDER in one.control)
"""Those that the newest version of the standards admits."""
_NUMBERS = {one: number for number, one in enumerate(VIOLATIONS)}


class Row(NamedTuple):
    """What a policy says of the test requests that it was asked: those that it refuses, those of which nobody can say,
    and why. `excused` are those that exemptions took out, by the number of the exemption.
    """

    asked: int = 0
    refused: int = 0
    unknown: int = 0
    why: str = ""
    excused: Mapping[int, int] = {}

    def and_(self, other: Row) -> Row:
        """With what was asked later."""
        excused = {number: self.excused.get(number, 0) | other.excused.get(number, 0)
                   for number in {*self.excused, *other.excused}}  # fmt: skip
        return Row(
            self.asked | other.asked, self.refused | other.refused, self.unknown | other.unknown,
            self.why or other.why, excused,
        )  # fmt: skip


class Asking(NamedTuple):
    """What was asked of a policy: which variant, with which exemptions, in which shape; `first` without any of them."""

    variant: Variant
    exemptions: frozenset[int]
    shape: Shape
    first: bool = False


class Part(NamedTuple):
    """A policy as it is in a namespace, and what it says there."""

    policy: Policy
    variant: Variant
    row: Row

    def key(self, shape: Shape, exemptions: frozenset[int]) -> Asking:
        """What is asked with some exemptions only."""
        return Asking(self.variant, exemptions, shape)

    def row_of(self, shape: Shape, exemptions: frozenset[int]) -> Row:
        """What it says of requests of a shape with some exemptions only."""
        found: Row = self.policy.rows[self.key(shape, exemptions)]
        return found

    @property
    def base(self) -> int:
        """What it refuses, or may, without any exemption."""
        row: Row = self.policy.rows[_base(self.variant)]
        return row.refused | row.unknown

    @property
    def sure(self) -> bool:
        """Whether what it refuses is refused."""
        return self.policy.enforces is True and not self.variant.why

    @property
    def refused(self) -> int:
        """The violations that are refused because of it."""
        return self.row.refused if self.sure else 0

    @property
    def unknown(self) -> int:
        """The violations of which nobody can say whether it has them refused."""
        if self.policy.enforces is False:
            return 0
        return self.row.unknown if self.sure else self.row.unknown | self.row.refused

    @property
    def why(self) -> str:
        """Why nobody can say."""
        return self.variant.why or (self.policy.why if self.policy.enforces is None else "") or self.row.why

    @property
    def silent(self) -> bool:
        """Whether no test request explains what it refuses: then it is a control of its own."""
        explained = self.row.refused or self.row.excused
        return self.policy.enforces is not False and bool(self.policy.opaque or not explained)


class Opened(NamedTuple):
    """What an exemption takes out in a namespace: what would be refused without it, and what may be."""

    violations: int = 0
    unknown: int = 0


@dataclass(frozen=True, eq=False)
class Profile:
    """What is refused in all namespaces that are alike to every policy. Its parts are in the order of policies."""

    parts: tuple[Part, ...]
    asked: int
    """The violations that can be made there: in a namespace, or in none."""

    @cached_property
    def refused(self) -> int:
        """The violations that are enforced."""
        found = 0
        for part in self.parts:
            found |= part.refused
        return found & self.asked

    @cached_property
    def unknown(self) -> int:
        """The violations of which nobody can say whether they are enforced."""
        found = 0
        for part in self.parts:
            found |= part.unknown
        return found & self.asked & ~self.refused

    def by(self, number: int) -> Iterator[Part]:
        """The policies that refuse a violation."""
        return (part for part in self.parts if part.refused >> number & 1)

    @cached_property
    def opened(self) -> Mapping[Through, Opened]:
        """What each exemption takes out of what would be enforced: without it, everywhere, a request of its shape would
        be refused. Raises KeyError unless that was asked (`ask_openings`).
        """
        found = {}
        for opening in self.openings:
            sure, maybe = 0, opening.doubtful
            for part, numbers, excused in opening.owners():
                without = part.row_of(opening.shape, part.variant.exemptions - numbers)
                certain = part.sure
                sure |= without.refused & excused if certain else 0
                maybe |= (without.unknown if certain else without.unknown | without.refused) & excused
            sure, maybe = sure & self.asked, maybe & self.asked
            kept, doubt = opening.refused_else(sure | maybe)
            found[opening.through] = Opened(sure & ~kept & ~doubt, (maybe | sure & doubt) & ~kept)
        return {through: one._replace(unknown=one.unknown & ~one.violations) for through, one in found.items()}

    @cached_property
    def openings(self) -> tuple[Opening, ...]:
        """The exemptions that count here, each once whatever the number of policies."""
        found: dict[Through, dict[int, set[int]]] = {}
        for place, (policy, variant, _) in enumerate(self.parts):
            for number in variant.exemptions if policy.enforces is not False else ():
                found.setdefault(policy.exemptions[number].through, {}).setdefault(place, set()).add(number)
        openings = []
        for through in sorted(found):
            own = tuple((self.parts[place], frozenset(numbers)) for place, numbers in sorted(found[through].items()))
            exemption = own[0][0].policy.exemptions[min(own[0][1])]
            openings.append(Opening(self.parts, exemption, exemption.shape or ANY, own))
        return tuple(openings)

    @cached_property
    def through(self) -> Mapping[Through, tuple[Part, ...]]:
        """The policies by what one edits: of one object there may be several."""
        found: dict[Through, list[Part]] = {}
        for part in self.parts:
            found.setdefault(part.policy.through, []).append(part)
        return {through: tuple(parts) for through, parts in found.items()}


def bits(mask: int) -> Iterator[int]:
    """The numbers of the violations in a set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Questions:
    """Asks each policy test requests for each of its variants, once. What is asked together is asked of its engine in
    one call.
    """

    def __init__(self, engines: Mapping[str, Engine], cel: Evaluator) -> None:
        self._engines = engines
        self._cel = cel
        self._wanted: dict[tuple[Policy, Asking], tuple[Space, int]] = {}
        self._requests: dict[tuple[Violation, str, User, Shape], Request] = {}

    def want(self, policy: Policy, key: Asking, space: Space, mask: int) -> None:
        """Ask later, for a namespace of this variant, which of some violations a policy refuses."""
        known = policy.rows.get(key)
        missing = mask & ~known.asked if known is not None else mask
        if missing or known is None:
            there, more = self._wanted.get((policy, key), (space, 0))
            there = there if there.name else space  # what is made in a namespace cannot be asked in none
            self._wanted[policy, key] = there, missing | more

    def answer(self) -> None:
        """Ask all that is wanted. The answers are kept with the policies."""
        by_engine: dict[str, list[tuple[Policy, Asking]]] = {}
        for wanted in self._wanted:
            by_engine.setdefault(wanted[0].engine, []).append(wanted)
        for name, found in by_engine.items():
            tests = [[*_tests(self._wanted[one][1], first=one[1].first)] for one in found]
            asked = [
                Asked(policy, self._request(test, self._wanted[policy, key][0], user, key.shape), key.exemptions)
                for (policy, key), rows in zip(found, tests, strict=True)
                for test in rows
                for user in _users(policy, key.shape)
            ]
            verdicts = iter(self._engines[name].judged(asked, self._cel))
            for (policy, key), rows in zip(found, tests, strict=True):
                said = {test: [next(verdicts) for _ in _users(policy, key.shape)] for test in rows}
                row = _row(said, self._wanted[policy, key][1])
                policy.rows[key] = policy.rows[key].and_(row) if key in policy.rows else row
        self._wanted.clear()
        self._requests.clear()

    def _request(self, test: Violation, space: Space, user: User, shape: Shape) -> Request:
        """A test request; the same one for all policies, since each writes it out once."""
        key = (test, space.name, user, shape)
        if key not in self._requests:
            found = test.request(space, *user)
            self._requests[key] = found if shape == ANY else found.shaped(*shape)
        return self._requests[key]


def _tests(mask: int, *, first: bool) -> list[Violation]:
    """The test requests of some violations; when they are asked first, the same without these too."""
    found = [VIOLATIONS[number] for number in bits(mask)]
    return [*found, *dict.fromkeys(one.harmless for one in found if first and one.harmless is not None)]


def _users(policy: Policy, shape: Shape) -> tuple[User, ...]:
    """Everybody who matters; of requests that somebody in particular makes, he."""
    return USERS if policy.users and not shape.user else USERS[:1]


def _row(said: Mapping[Violation, Sequence[Verdict]], asked: int) -> Row:
    """A violation is refused only if it is whoever asks, and not what is harmless about the request as well."""
    refused = unknown = 0
    excused: dict[int, int] = {}
    why = ""
    for test, verdicts in said.items():
        number = _NUMBERS.get(test)
        if number is None:
            continue
        for verdict in verdicts:
            for exemption in verdict.excused:
                excused[exemption] = excused.get(exemption, 0) | 1 << number
        found = _all(verdicts)
        without = said.get(test.harmless, ()) if test.harmless is not None else ()
        otherwise = _all(without) if without else False
        if found is False or otherwise is True:
            continue
        if found and otherwise is False:
            refused |= 1 << number
        else:
            unknown |= 1 << number
            why = why or next(verdict.why for verdict in (*verdicts, *without) if verdict.refuses is None)
    return Row(asked, refused, unknown, why, excused)


def _all(verdicts: Iterable[Verdict]) -> bool | None:
    """Whether everybody is refused."""
    found = [verdict.refuses for verdict in verdicts]
    return False if False in found else None if None in found else True


def parts_of(variants: Iterable[tuple[Policy, Variant]]) -> tuple[Part, ...]:
    """Policies with what they said."""
    return tuple(Part(policy, variant, _in_force(policy, variant)) for policy, variant in variants)


def _base(variant: Variant) -> Asking:
    return Asking(Variant(variant.mark, NONE, variant.why), NONE, ANY, first=True)


def _in_force(policy: Policy, variant: Variant) -> Row:
    """What a policy says with all its exemptions: they only take out of what it says without any."""
    base: Row = policy.rows[_base(variant)]
    if not variant.exemptions:
        return base
    row: Row = policy.rows[Asking(variant, variant.exemptions, ANY)]
    return row._replace(
        asked=base.asked, refused=base.refused & row.refused, why=row.why or base.why,
        unknown=row.unknown | base.unknown & row.refused,
    )  # fmt: skip


def ask(questions: Questions, wanted: Iterable[tuple[Policy, Variant, Space, int]]) -> None:
    """Ask policies, as they are in namespaces, what they refuse of some violations: first without their exemptions."""
    given = [*wanted]
    for policy, variant, space, mask in given:
        questions.want(policy, _base(variant), space, mask)
    questions.answer()
    for policy, variant, space, mask in given:
        if variant.exemptions:
            base = policy.rows[_base(variant)]
            questions.want(
                policy, Asking(variant, variant.exemptions, ANY), space, mask & (base.refused | base.unknown)
            )
    questions.answer()


# What exemptions open -----------------------------------------------------------------------------------------------


class Opening(NamedTuple):
    """An exemption in namespaces that are alike, and an example of what it takes out."""

    parts: tuple[Part, ...]
    exemption: Exemption
    """As the first policy has it."""
    shape: Shape
    own: tuple[tuple[Part, frozenset[int]], ...]
    """The policies out of which it may take something, each with its numbers there."""

    @property
    def through(self) -> Through:
        """What one edits, for a namespace's own without its name."""
        return self.exemption.through

    def owners(self) -> Iterator[tuple[Part, frozenset[int], int]]:
        """The same with what it took out of them."""
        for part, numbers in self.own:
            row = part.row_of(self.shape, part.variant.exemptions)
            excused = 0
            for number in numbers:
                excused |= row.excused.get(number, 0)
            if excused:
                yield part, numbers, excused

    @property
    def doubtful(self) -> int:
        """What is refused without any exemption, and may be with all of them: nobody can say whether one counts."""
        found = 0
        for part, _ in self.own:
            base: Row = part.policy.rows[_base(part.variant)]
            found |= part.row_of(self.shape, part.variant.exemptions).unknown & base.refused
        return found

    def others(self) -> Iterator[Part]:
        """The policies that might say another thing of a request of this shape."""
        return (part for part in self.parts if self.shape != ANY and part.variant.exemptions)

    def refused_else(self, mask: int) -> tuple[int, int]:
        """Of some violations those that are refused all the same, and those that may be."""
        return refused_as(self.parts, self.shape, mask)


def refused_as(parts: Iterable[Part], shape: Shape, mask: int) -> tuple[int, int]:
    """Of some violations those that are refused in requests of a shape, and those that may be."""
    refused = unknown = 0
    for part in parts if mask else ():
        if part.policy.enforces is False or not (part.row.refused | part.row.unknown) & mask:
            continue
        row = part.row_of(shape, part.variant.exemptions) if part.variant.exemptions else part.row
        refused |= row.refused if part.sure else 0
        unknown |= row.unknown if part.sure else row.unknown | row.refused
    return refused & mask, unknown & mask & ~refused


def ask_openings(questions: Questions, profiles: Iterable[tuple[Profile, Space]]) -> None:
    """Ask what each policy says of requests of the shape of each exemption, with it and without."""
    openings = [(one, space) for profile, space in profiles for one in profile.openings]
    for one, space in openings:
        if one.shape != ANY:
            for part, _ in one.own:
                questions.want(part.policy, part.key(one.shape, part.variant.exemptions), space, part.base)
    questions.answer()
    for one, space in openings:
        for part, numbers, excused in one.owners():
            questions.want(part.policy, part.key(one.shape, part.variant.exemptions - numbers), space, excused)
    questions.answer()
    for one, space in openings:
        mask = 0
        for part, numbers, excused in one.owners():
            without = part.row_of(one.shape, part.variant.exemptions - numbers)
            mask |= excused & (without.refused | without.unknown)
        for part in one.others():
            if mask & (part.row.refused | part.row.unknown):
                questions.want(part.policy, part.key(one.shape, part.variant.exemptions), space, mask & part.base)
    questions.answer()
