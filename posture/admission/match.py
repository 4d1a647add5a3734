"""Where checks of this domain hold: what is admitted in a namespace, and what is wrong with exceptions and policies.

A check's `match` is `any` of conditions; checks/check.schema.json says what each means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

from posture.model import Change, Check, Hit, Key, Through, Unit

from .compare import NAME, opening, states
from .evaluate import NAMESPACES, Admission, Enforced, Where, namespace_of
from .gaps import doubt, named_through
from .policy import ANY
from .register import entry_of, wanting
from .units import ordered, violated
from .violations import CONTROLS, VIOLATIONS

_NOTHING = Through("", "", "")
BUDGET = "Exceptions"
"""The kind of what one would edit where a namespace has too many exceptions."""
_NUMBERS = {one.id: number for number, one in enumerate(VIOLATIONS)}


def _pattern(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs)))


@dataclass(frozen=True)
class Condition:
    """One condition: violations of some controls, states of exceptions or policies, mutations, or a number."""

    mask: int
    whole: tuple[int, ...]
    exceptions: frozenset[str]
    policies: frozenset[str]
    mutations: bool
    most: int | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Condition:
        """A condition as a check's file says it. Raises ValueError for a control that there is none of."""
        wanted = [_pattern([glob]) for glob in given.get("controls", ())]
        for glob, one in zip(given.get("controls", ()), wanted, strict=True):
            if not any(one.match(control) for control in CONTROLS):
                raise ValueError(f"{glob} names no control")
        masks = tuple(sum(1 << number for number in numbers) for control, numbers in CONTROLS.items()
                      if any(one.match(control) for one in wanted))  # fmt: skip
        return cls(
            sum(masks), masks if given.get("enforced") == "not" else (), frozenset(given.get("exceptions", ())),
            frozenset(given.get("policies", ())), bool(given.get("mutations")), given.get("moreExceptionsThan"),
        )  # fmt: skip

    def admitted(self, mask: int) -> int:
        """The violations, of those admitted, for which it holds: of a control all have to be, where it says so."""
        if not self.whole:
            return mask & self.mask
        return sum(one for one in self.whole if not one & ~mask)

    def says(self, unit: Unit) -> bool:
        """Whether it holds for a unit that is no violation."""
        return (
            unit.get("exception") in self.exceptions
            or unit.get("policy") in self.policies
            or (self.mutations and "mutation" in unit)
        )


@dataclass(frozen=True)
class Rules:
    """A compiled check."""

    check: Check
    only: re.Pattern[str] | None
    but: re.Pattern[str] | None
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, check: Check) -> Rules:
        """A check, compiled. Raises ValueError."""
        only, but = (_pattern(check.match[key]) if key in check.match else None
                     for key in ("namespaces", "exceptNamespaces"))  # fmt: skip
        return cls(check, only, but, tuple(map(Condition.of, check.match["any"])))

    def looks_at(self, namespace: str) -> bool:
        """Whether it speaks of a namespace."""
        return not (self.but and self.but.match(namespace)) and not (self.only and not self.only.match(namespace))

    def admitted(self, mask: int) -> int:
        """The violations, of those admitted, for which it holds."""
        found = 0
        for one in self.conditions:
            found |= one.admitted(mask)
        return found

    def says(self, units: Iterable[Unit]) -> list[Unit]:
        """The units for which it holds, of those that are no violations."""
        return [unit for unit in units if any(one.says(unit) for one in self.conditions)]

    @property
    def most(self) -> int | None:
        """How many exceptions a namespace may have."""
        return next((one.most for one in self.conditions if one.most is not None), None)


class Matcher:
    """Compiled checks of this domain."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self.rules = [Rules.of(check) for check in checks if check.domain == NAME]


def _admitted(space: Enforced) -> int:
    return space.asked & ~space.profile.refused & ~space.profile.unknown


def _held(matcher: Matcher, live: Admission, where: Where) -> Iterator[tuple[Rules, Through, list[Unit]]]:
    """What holds at a place: the check, what one would edit, and for which units."""
    name = namespace_of(where)
    space = live.spaces.get(name)
    if space is None:
        return
    open_here = _exceptions(space)
    told: list[tuple[Through, list[Unit]]] = [
        (entry.through, [{"exception": state} for state in wanting(entry)])
        for through in open_here if (entry := entry_of(live, through)) is not None
    ]  # fmt: skip
    shaped = [(one.exemption.through_in(name), one.shape, space.profile.opened[one.through].violations)
              for one in space.profile.openings if one.shape != ANY and not one.exemption.built_in]  # fmt: skip
    if not name:
        told += [(policy.through, [*states(policy)]) for policy in live.policies]
    admitted = _admitted(space)
    for rules in matcher.rules:
        if not rules.looks_at(name):
            continue
        mask = rules.admitted(admitted)
        for through, part, _ in opening(space, mask) if mask else ():
            yield rules, through, [*violated(part)]
        for through, shape, opened in shaped:
            if part := rules.admitted(opened):
                yield rules, through, [*violated(part, shape)]
        for through, units in told:
            if said := rules.says(units):
                yield rules, through, said
        if rules.most is not None and len(open_here) > rules.most:
            yield rules, Through(BUDGET, name, ""), [{"exceptions": str(len(open_here))}]


def _exceptions(space: Enforced) -> list[Through]:
    """The exceptions that open something in a namespace."""
    return [through for through, share in space.shares.items() if share.opens and not share.exemption.built_in]


def match(matcher: Matcher, live: Admission, within: Iterable[Where] | None = None) -> Iterator[Hit]:
    """Where checks hold."""
    for where in live.places if within is None else within:
        if live.snapshot.gaps and doubt(live, *where, _NOTHING, live.snapshot) is not None:
            continue  # what was not read may refuse it
        for rules, through, _ in _held(matcher, live, where):
            yield Hit(rules.check.id, *where, through)


def reasons(matcher: Matcher, change: Change, live: Admission) -> list[Check]:
    """The checks that hold because of a change."""
    name = namespace_of((change.subject, change.scope))
    units = change.gained or change.lost
    mask = _mask(units)
    others = [unit for unit in units if "violation" not in unit]
    space = live.spaces.get(name)
    admitted = mask | (_admitted(space) if space is not None and change.gained else 0)
    count = len(_exceptions(space)) if space is not None else 0
    opened = change.through.kind == BUDGET or (space is not None and change.through in space.shares)
    return [
        rules.check for rules in matcher.rules
        if rules.looks_at(name) and (
            rules.admitted(admitted) & mask or rules.says(others)
            or (rules.most is not None and opened and count > rules.most)
        )
    ]  # fmt: skip


def _mask(units: Iterable[Unit]) -> int:
    wanted = {unit["violation"] for unit in units if "violation" in unit}
    return sum(1 << number for identity, number in _NUMBERS.items() if identity in wanted) if wanted else 0


def as_change(matcher: Matcher, live: Admission, where: Where, through: Through) -> Change:
    """All that checks say of one place and thing, as a change."""
    units = [unit for _, what, found in _held(matcher, live, where) if what == through for unit in found]
    name = namespace_of(where)
    entry = entry_of(live, through)
    keys = entry.keys if entry else tuple(
        key for policy in live.policies if policy.through == through for key in policy.keys
    )  # fmt: skip
    keys = (*keys, *([Key(NAMESPACES, "", name)] if name else []))
    return Change(NAME, "loosened", *where, through, ordered(units), path=(named_through(through),), evidence=keys)
