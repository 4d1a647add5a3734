"""A rule of Kyverno, and the ways by which requests are taken out of it: how one request is judged.

Source: kyverno v1.19.0: the API server asks a webhook (its selectors and match conditions); what the ConfigMap leaves
out follows (pkg/webhooks/handlers/filter.go), then a rule's own blocks or match constraints, then exceptions, then a
policy's match conditions, then what it asks for. An error in an exception's conditions refuses, unless
another one takes the request out before; which of two comes first nobody can say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from posture import selectors
from posture.admission.cel import (
    Answer,
    Evaluator,
    Program,
    Question,
    Value,
    about_itself,
    about_name,
    about_namespace,
    about_user,
    namespace_mark,
)
from posture.admission.matching import YES, Match
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Exemption, Space, Variant, Verdict
from posture.admission.requests import Request

from .wildcards import any_matches, selects, wild

type Asking[T] = Generator[list[Question], list[tuple[Answer, ...]], T]
"""Something that asks expressions on the way to its result."""

NOT_MODELLED = "rules that Kyverno makes for the controllers of pods are not modelled"
CONTROLLERS = frozenset(
    {"deployments", "daemonsets", "statefulsets", "jobs", "replicasets", "replicationcontrollers", "cronjobs"}
)


# Where ---------------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Namespaces by name, with wildcards, by labels, and those that a selector leaves out; None where it is all."""

    names: tuple[str, ...] | None = None
    selector: Mapping[str, Any] | None = None
    beside: Mapping[str, Any] | None = None

    def holds(self, space: Space) -> bool:
        """Whether it is one of these namespaces."""
        if self.names is not None and not any_matches(self.names, space.name):
            return False
        if self.beside is not None and selectors.matches(self.beside, space.labels):
            return False
        return self.selector is None or selects(self.selector, space.labels)


type Area = tuple[tuple[Place, ...], ...]
"""Alternatives, each of which is all of its places."""

EVERYWHERE: Area = ((),)


def fits(area: Area, space: Space) -> tuple[int, ...]:
    """The alternatives of an area that a namespace is in."""
    return tuple(number for number, places in enumerate(area) if all(one.holds(space) for one in places))


def _patterns(area: Area) -> frozenset[str] | None:
    """The names of the only namespaces that an area may hold, with wildcards; None where it does not name any."""
    found: set[str] = set()
    for places in area:
        named = next((one.names for one in places if one.names is not None), None)
        if named is None:
            return None
        found.update(named)
    return frozenset(found)


class Index:
    """Which of many areas a namespace is in, found without a look at each: by name, by how a name starts."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas = areas
        self._always = frozenset(number for number, area in enumerate(areas) if area == EVERYWHERE)
        self._named: dict[str, list[int]] = {}
        self._starting: dict[str, list[int]] = {}
        self._others: list[int] = []
        for number, area in enumerate(areas):
            patterns = _patterns(area)
            if number in self._always:
                continue
            if patterns is None:
                self._others.append(number)
            for pattern in patterns or ():
                start = re.split(r"[*?]", pattern, maxsplit=1)[0]
                (self._starting if wild(pattern) else self._named).setdefault(start, []).append(number)
        self._lengths = sorted({len(start) for start in self._starting})

    def at(self, space: Space) -> tuple[frozenset[int], tuple[tuple[int, tuple[int, ...]], ...]]:
        """The numbers of the areas, and which alternatives of those that have several."""
        wanted = {*self._others, *self._named.get(space.name, ())}
        for length in self._lengths:
            wanted.update(self._starting.get(space.name[:length], ()))
        if not wanted:
            return self._always, ()
        found = {number: there for number in sorted(wanted) if (there := fits(self._areas[number], space))}
        several = tuple((number, there) for number, there in found.items() if len(self._areas[number]) > 1)
        return self._always.union(found), several


# Ways out ------------------------------------------------------------------------------------------------------------

type Stage = Literal[0, 1, 2]
BEFORE: Stage = 0
EXCEPTION: Stage = 1
CONDITION: Stage = 2


@dataclass(frozen=True, eq=False)
class Way:
    """How an exemption takes requests out: those for which `takes` holds and, where there is a program, all of its
    expressions are true; with `unless`, one of them is false.

    An error of an expression refuses, unless the way is `lenient`. `blind` expressions do not see the namespace. With
    `part` it takes out only a part of what is asked, which the body of the rule understands. `users`, `names` and
    `metadata` say whether `takes` looks at who asks, at the object's name, or at its name and labels.
    """

    exemption: Exemption
    stage: Stage
    area: Area = EVERYWHERE
    takes: Callable[[Request], Match] | None = None
    program: Program | None = None
    unless: bool = False
    lenient: bool = False
    blind: bool = False
    part: Any = None
    users: bool = False
    names: bool = False
    metadata: bool = False

    @property
    def fails(self) -> bool:
        """Whether it may have an error that refuses."""
        return self.program is not None and not self.lenient

    @property
    def by_user(self) -> bool:
        """Whether it matters who asks."""
        return self.users or (self.program is not None and about_user(self.program))

    @property
    def by_name(self) -> bool:
        """Whether it matters what the object is called."""
        return self.names or (self.program is not None and about_name(self.program))

    @property
    def by_metadata(self) -> bool:
        """Whether it matters what the object is called or labelled."""
        return self.metadata or self.by_name or (self.program is not None and about_itself(self.program))


class Effect(NamedTuple):
    """What a way does to a request. `failed` is an error that refuses."""

    out: bool | None
    why: str = ""
    failed: bool = False


def effect(way: Way, request: Request) -> Asking[Effect]:
    """What a way does to a request."""
    taken = way.takes(request) if way.takes else YES
    if taken.holds is False:
        return Effect(False)
    if way.program is None:
        return Effect(taken.holds, taken.why)
    (answers,) = yield [question(way.program, request, blind=way.blind)]
    found = _unless(way, answers) if way.unless else _if_all(way, answers)
    if found.out is False and not found.failed:
        return found
    return found if taken.holds else Effect(None, taken.why)


def _unless(way: Way, answers: Sequence[Answer]) -> Effect:
    if any(one.outcome == "false" for one in answers):
        return Effect(True)
    if doubt := next((one for one in answers if one.outcome == "unknown"), None):
        return Effect(None, doubt.why)
    if all(one.outcome == "true" for one in answers):
        return Effect(False)
    return Effect(True) if way.lenient else Effect(False, failed=True)


def _if_all(way: Way, answers: Sequence[Answer]) -> Effect:
    if any(one.outcome == "false" for one in answers):
        return Effect(False)
    if doubt := next((one for one in answers if one.outcome == "unknown"), None):
        return Effect(None, doubt.why)
    if all(one.outcome == "true" for one in answers):
        return Effect(True)
    return Effect(False) if way.lenient else Effect(False, failed=True)


_NULL = Value(None)


def question(
    program: Program, request: Request, more: Mapping[str, Value] | None = None, *, blind: bool = False
) -> Question:
    """A program with what a request gives it."""
    values = {**request.values, **(more or {}), **({"namespaceObject": _NULL} if blind else {})}
    return Question(_hiding(program, request.unread), values)


@lru_cache(4096)
def _hiding(program: Program, unread: tuple[str, ...]) -> Program:
    return Program(program.expressions, program.variables, unread)


# Rules ---------------------------------------------------------------------------------------------------------------


class Body(Protocol):
    """What a rule asks for."""

    @property
    def by_user(self) -> bool:
        """Whether it matters who asks."""

    @property
    def by_name(self) -> bool:
        """Whether it matters what the object is called."""

    @property
    def by_metadata(self) -> bool:
        """Whether it matters what the object is called or labelled."""

    def mark(self, space: Space, /) -> Hashable:
        """What of a namespace matters."""

    def judge(self, request: Request, parts: Mapping[int, Any], /) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Whether it refuses a request, and the numbers of the parts that changed what it finds."""


class Actions(Protocol):
    """In which namespaces a rule refuses rather than only notes down."""

    def at(self, space: Space) -> tuple[Any, frozenset[int]] | None:
        """What it is in a namespace, and the exemptions that make it note down; None where it never refuses."""

    def enforced(self, request: Request, exemptions: frozenset[int]) -> Match:
        """Whether it refuses, with these exemptions in force."""

    def matching(self, request: Request) -> frozenset[int]:
        """The exemptions that are for the namespace of a request."""


@dataclass(frozen=True, eq=False)
class Rule:
    """What a policy of Kyverno is to this engine. `ways` have the numbers of its exemptions.

    `only` is the one namespace that it is for. `spares` holds where what violates it already may be changed. `itself`
    and `itself_out` say whether it, and its ways, look at all of a namespace that is the object.
    """

    body: Body
    meant: Callable[[Request], Match]
    ways: tuple[Way, ...] = ()
    area: Area = EVERYWHERE
    only: str = ""
    actions: Actions | None = None
    spares: bool = False
    itself: bool = False
    itself_out: bool = False
    index: Index = field(init=False)
    programs: Mapping[int, Program] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", Index([way.area for way in self.ways]))
        read = {n: way.program for n, way in enumerate(self.ways) if way.program and about_namespace(way.program)}
        object.__setattr__(self, "programs", read)

    def variant(self, space: Space) -> Variant | None:
        """What it is in a namespace; None where it is not meant for that. What is in no namespace is told by itself."""
        if not space.name:
            return None if self.only else Variant(None, frozenset(range(len(self.ways))))
        if self.only not in ("", space.name):
            return None
        there = fits(self.area, space)
        if not there:
            return None
        numbers, several = self.index.at(space)
        overridden: Any = None
        if self.actions is not None:
            found = self.actions.at(space)
            if found is None:
                return None
            overridden, numbers = found[0], numbers | found[1]
        seen = tuple((n, namespace_mark(program, space)) for n, program in self.programs.items() if n in numbers)
        mark = there if len(self.area) > 1 else (), _whole(space) if self.itself else self.body.mark(space)
        within = several, overridden, _whole(space) if self.itself_out else seen
        return Variant(None if mark == ((), None) else mark, numbers, within=within)


def _whole(space: Space) -> Hashable:
    """All that a namespace is."""
    return space.name, tuple(sorted(space.labels.items())), tuple(sorted(space.annotations.items()))


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """For each question, in order, whether the policy refuses the request. What all need of CEL is asked at once."""
    found: list[Verdict] = [ADMITS] * len(asked)
    running: list[tuple[int, Asking[Verdict], list[Question]]] = []
    for number, one in enumerate(asked):
        _step(running, found, number, _judge(one), None)
    while running:
        answers = iter(cel.answers([question for _, _, questions in running for question in questions]))
        waiting, running = running, []
        for number, asking, questions in waiting:
            _step(running, found, number, asking, [next(answers) for _ in questions])
    return found


def _step(
    running: list[tuple[int, Asking[Verdict], list[Question]]],
    found: list[Verdict],
    number: int,
    asking: Asking[Verdict],
    answers: list[tuple[Answer, ...]] | None,
) -> None:
    try:
        questions = next(asking) if answers is None else asking.send(answers)
    except StopIteration as done:
        found[number] = done.value
    else:
        running.append((number, asking, questions))


def _judge(asked: Asked) -> Asking[Verdict]:
    rule: Rule = asked.policy.rule
    request = asked.request
    verdict = yield from _once(asked, request)
    if verdict.refuses and rule.spares and request.operation == "UPDATE" and request.old is not None:
        before = replace(request, operation="CREATE", object=request.old, old=None)
        was = yield from _once(asked, before)
        return Verdict(None, was.why) if was.refuses is None else ADMITS if was.refuses else verdict
    return verdict


def _once(asked: Asked, request: Request) -> Asking[Verdict]:
    rule: Rule = asked.policy.rule
    meant = rule.meant(request)
    if meant.holds is False:
        return ADMITS
    numbers = [one for one in sorted(asked.exemptions) if one < len(rule.ways) and not rule.ways[one].exemption.idle]
    if meant.why == NOT_MODELLED:
        return Verdict(None, meant.why)
    base, _ = yield from rule.body.judge(request, {})
    if base.refuses is False and not any(rule.ways[one].program for one in numbers):
        return ADMITS
    effects = {}
    for number in numbers:
        effects[number] = yield from effect(rule.ways[number], request)
    verdict = yield from _with(rule, base, effects, request)
    if rule.actions is not None and verdict.refuses is not False:
        verdict = _acted(rule.actions, verdict, request, asked.exemptions)
    if meant.holds is None and verdict.refuses is not False:
        return Verdict(None, meant.why)
    return verdict


def _with(rule: Rule, base: Verdict, effects: Mapping[int, Effect], request: Request) -> Asking[Verdict]:
    """What is left of a verdict with all that may take the request out."""
    outs = {number: rule.ways[number] for number, one in effects.items() if one.out and rule.ways[number].part is None}
    failed = {rule.ways[number].stage for number, one in effects.items() if one.failed}
    doubt = next((one.why for one in effects.values() if one.out is None), "")
    stages = {way.stage for way in outs.values()}
    excused = frozenset(outs) if base.refuses is not False or failed else NONE
    if BEFORE in stages:
        return Verdict(False, "", excused)
    if BEFORE in failed or (EXCEPTION in failed and EXCEPTION in stages):
        return Verdict(None, "conditions that take it out cannot be evaluated")
    if EXCEPTION in failed:
        return Verdict(None, doubt) if doubt else REFUSES
    if outs:
        return Verdict(False, "", excused)
    if CONDITION in failed:
        return Verdict(None, doubt) if doubt else REFUSES
    parts = {n: rule.ways[n].part for n, one in effects.items() if one.out and rule.ways[n].part is not None}
    verdict, used = base, NONE
    if parts:
        verdict, used = yield from rule.body.judge(request, parts)
    if verdict.refuses is False:
        return Verdict(False, "", used) if base.refuses is not False else ADMITS
    return Verdict(None, doubt) if doubt else verdict


def _acted(actions: Actions, verdict: Verdict, request: Request, exemptions: frozenset[int]) -> Verdict:
    """A verdict where overrides of the action may let the request pass."""
    enforced = actions.enforced(request, exemptions)
    if enforced.holds is None:
        return Verdict(None, enforced.why)
    if enforced.holds:
        return verdict
    return Verdict(False, "", exemptions & actions.matching(request))
