"""A ValidatingAdmissionPolicy as one of its bindings applies it, and what it refuses.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/policy/validating and generic. Read there, and easily missed:
match conditions do not see the namespace; of several parameters each one may refuse; an error in finding parameters or
in an audit annotation refuses whatever the binding's actions are, as far as the policy fails closed (here a binding
that does not deny is no control, even where such an error makes it refuse).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from posture import selectors
from posture.admission import matching
from posture.admission.cel import Answer, Evaluator, Program, Question, Value, about_itself, about_name, namespace_mark
from posture.admission.matching import NO, YES, Match, Way, invisible, matches
from posture.admission.pods import mapping, mappings, texts
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Space, Variant, Verdict
from posture.admission.requests import Request
from posture.model import Key


class Params(NamedTuple):
    """The objects of a policy's paramKind; `why` nobody can say which there are. `resource` is what holds them."""

    objects: tuple[Mapping[str, Any], ...] = ()
    namespaced: bool = True
    why: str = ""
    resource: str = ""


type _Numbers = frozenset[int]


@dataclass(frozen=True, eq=False)
class Bound:
    """A policy as one of its bindings applies it. `params` are all objects of its kind of parameters, `parent` is the
    object of another engine that both were made of.

    Its ways out have numbers: first those of the match rules (`ways`), then the match conditions by name, then that it
    admits everything where no parameter is found.
    """

    key: Key
    binding: Key
    spec: Mapping[str, Any]
    bound: Mapping[str, Any]
    params: Params = field(default_factory=Params)
    parent: Key | None = None

    @property
    def fails_open(self) -> bool:
        """Whether what cannot be evaluated is admitted."""
        return self.spec.get("failurePolicy") == "Ignore"

    @property
    def denies(self) -> bool:
        """Whether a violation refuses, rather than warns or is only written down."""
        return "Deny" in texts(self.bound.get("validationActions"))

    @property
    def always(self) -> bool:
        """Whether it refuses each request that it is meant for, whatever that holds."""
        return "false" in map(str.strip, self._texts("validations"))

    @cached_property
    def scopes(self) -> tuple[Mapping[str, Any], ...]:
        """The match rules without any way out: the policy's, and the binding's."""
        return tuple(matching.scope(given) for given in self._rules)

    @cached_property
    def ways(self) -> tuple[tuple[bool, Way], ...]:
        """The ways out of the match rules; True for the binding's."""
        return tuple((binding, way) for binding, given in enumerate(self._rules) for way in matching.ways(given))  # type: ignore[misc]

    @property
    def _rules(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return mapping(self.spec.get("matchConstraints")), mapping(self.bound.get("matchResources"))

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """The names of match conditions, each once."""
        return tuple(dict.fromkeys(self._texts("matchConditions", "name")))

    @cached_property
    def condition_of(self) -> tuple[int, ...]:
        """The number of each match condition as a way out."""
        return tuple(len(self.ways) + self.conditions.index(name) for name in self._texts("matchConditions", "name"))

    @cached_property
    def lenient(self) -> int | None:
        """The number of the way out that no parameter is found, if there is any."""
        deny = self.reference.get("parameterNotFoundAction") == "Deny"
        if deny or self.fails_open or not self.spec.get("paramKind") or not self.reference:
            return None
        return len(self.ways) + len(self.conditions)

    @property
    def reference(self) -> Mapping[str, Any]:
        """Which parameters the binding names."""
        return mapping(self.bound.get("paramRef"))

    def programs(self, hidden: tuple[str, ...] = ()) -> tuple[Program, Program]:
        """Its match conditions, and its validations with its audit annotations behind them."""
        if hidden not in self._programs:
            variables = tuple(zip(self._texts("variables", "name"), self._texts("variables"), strict=True))
            validations = self._texts("validations") + self._texts("auditAnnotations", "valueExpression")
            conditions = Program(self._texts("matchConditions"), variables, hidden)
            self._programs[hidden] = conditions, Program(validations, variables, hidden)
        return self._programs[hidden]

    @cached_property
    def _programs(self) -> dict[tuple[str, ...], tuple[Program, Program]]:
        return {}

    def _texts(self, field: str, name: str = "expression") -> tuple[str, ...]:
        return tuple(str(one.get(name) or "") for one in mappings(self.spec.get(field)))

    def parameters(self, namespace: str | None) -> list[Mapping[str, Any]]:
        """The parameters that the binding names, for requests in a namespace; None for all that it may name."""
        wanted = self.reference.get("namespace") or (namespace if self.params.namespaced else "")
        there = [one for one in self.params.objects if wanted in (None, metadata(one).get("namespace") or "")]
        if name := self.reference.get("name"):
            return [one for one in there if metadata(one).get("name") == name]
        chosen = matching.selector(self.reference.get("selector"))
        return [one for one in there if selectors.matches(chosen, mapping(metadata(one).get("labels")))]

    @property
    def names(self) -> bool:
        """Whether it may matter what an object is called."""
        return any(map(matching.names, self._rules)) or any(map(about_name, self.programs()))

    def value(self, params: Mapping[str, Any] | None) -> Value | None:
        """A parameter as expressions see it, written out once; None for what is no JSON of 64-bit numbers."""
        if id(params) not in self._values:
            try:
                self._values[id(params)] = Value(params)
            except TypeError:
                self._values[id(params)] = None
        return self._values[id(params)]

    @cached_property
    def _values(self) -> dict[int, Value | None]:
        return {}

    @cached_property
    def place(self) -> Place:
        """What decides what it is in a namespace."""
        return Place(self)


def metadata(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object's metadata."""
    return mapping(one.get("metadata"))


# Namespaces ---------------------------------------------------------------------------------------------------------


class Place:
    """What decides what a policy is in a namespace, worked out once."""

    def __init__(self, one: Bound) -> None:
        self._reaches = {
            cluster: all(matching.reaches(given, cluster) for given in one.scopes) for cluster in (True, False)
        }
        self._meant = [given["namespaceSelector"] for given in one.scopes if "namespaceSelector" in given]
        self._keeps = [(number, way.keeps) for number, (_, way) in enumerate(one.ways) if way.keeps is not None]
        every = frozenset(range(len(one.ways) + len(one.conditions)))
        self._steady = every - {number for number, _ in self._keeps}
        self._conditions, self._validations = one.programs()
        itself = all(map(matching.of_namespaces, one.scopes))
        self._seen = itself and about_itself(self._validations)
        self._seen_out = itself and (any(way.labels for _, way in one.ways) or about_itself(self._conditions))
        self._lenient = NONE if one.lenient is None else frozenset({one.lenient})
        self._local = one.params.namespaced and not one.reference.get("namespace")
        self._found = (
            {metadata(given).get("namespace") or "" for given in one.parameters(None)} if one.reference else set()
        )

    def variant(self, space: Space) -> Variant | None:
        """What it is there; "" is the cluster, for what is made in none. None where it is not meant for that."""
        if not self._reaches[not space.name]:
            return None
        numbers = self._steady
        if space.name:
            labels = space.labels
            if not all(selectors.matches(meant, labels) for meant in self._meant):
                return None
            out = [number for number, keeps in self._keeps if not selectors.matches(keeps, labels)]
            numbers = numbers.union(out) if out else numbers
        found = space.name in self._found if self._local else bool(self._found)
        if not found:
            numbers |= self._lenient
        seen = _whole(space) if self._seen else namespace_mark(self._validations, space)
        mark = (space.name, seen) if self._local and found else seen
        within = _whole(space) if self._seen_out else namespace_mark(self._conditions, space)
        return Variant(mark, numbers, within=within)


def _whole(space: Space) -> Hashable:
    """All that a namespace is: it can be seen in a request for the namespace itself."""
    return space.name, tuple(sorted(space.labels.items())), tuple(sorted(space.annotations.items()))


# One policy and request, with each of its parameters ----------------------------------------------------------------


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """For each question, in order, whether the policy refuses the request. One call is cheaper than many.

    Validations are evaluated for what is taken out, too: it was taken out only if it would be refused otherwise.
    """
    cases = [_Case.of(one) for one in asked]
    evaluated = [one for case in cases for one in case.evaluations]
    for one, answers in zip(evaluated, cel.answers([one.condition for one in evaluated]), strict=True):
        one.conditions = answers
    for one, answers in zip(evaluated, cel.answers([one.validation for one in evaluated]), strict=True):
        one.verdict = _validated(answers, one.bound)
    return [case.verdict() for case in cases]


@dataclass
class _Evaluation:
    """A policy with one parameter, or with none, asked of one request."""

    bound: Bound
    condition: Question
    validation: Question
    conditions: Sequence[Answer] = ()
    verdict: Verdict = ADMITS

    def said(self, counting: _Numbers) -> Verdict:
        """The verdict of the validations, as far as those match conditions that count let it."""
        return _narrowed(self.verdict, _selected([answer for _, answer in self._counting(counting)], self.bound), self)

    def out(self, counting: _Numbers) -> Iterator[int]:
        """The match conditions that take the request out."""
        outcomes = ("false", "error") if self.bound.fails_open else ("false",)
        return (number for number, answer in self._counting(counting) if answer.outcome in outcomes)

    def _counting(self, counting: _Numbers) -> Iterator[tuple[int, Answer]]:
        every = zip(self.bound.condition_of, self.conditions, strict=False)  # none are asked where none counts
        return ((number, answer) for number, answer in every if number in counting)


@dataclass
class _Case:
    """What is settled without looking at expressions, and the evaluations that settle the rest.

    `ways` are the ways out of the match rules that may take the request out, `selected` whether it is meant at all.
    """

    asked: Asked
    selected: Match
    ways: dict[int, Match] = field(default_factory=dict)
    evaluations: list[_Evaluation] = field(default_factory=list)
    misread: bool = False
    """Whether the binding names parameters where there can be none."""
    found: bool | None = True
    """Whether there are parameters, or need not be; None where nobody can say."""

    @classmethod
    def of(cls, asked: Asked) -> _Case:
        bound: Bound = asked.policy.rule
        request = asked.request
        if invisible(request):
            return cls(asked, NO)
        selected = [matches(given, request) for given in bound.scopes]
        if NO in selected:
            return cls(asked, NO)
        case = cls(asked, next((one for one in selected if one.holds is None), YES))
        for number in sorted(asked.exemptions):
            if number < len(bound.ways) and (out := bound.ways[number][1].out(request)).holds is not False:
                case.ways[number] = out
        case._read(bound, request)
        return case

    def _read(self, bound: Bound, request: Request) -> None:
        """The parameters to evaluate with, one after the other."""
        given: list[Mapping[str, Any] | None] = [None]
        if bound.spec.get("paramKind") and bound.reference:
            if bound.params.why:
                self.found = None
            else:
                namespace = bound.reference.get("namespace") or (request.namespace if bound.params.namespaced else "")
                self.misread = bound.params.namespaced != bool(namespace)
                given = [] if self.misread else [*bound.parameters(request.namespace)]
                self.found = bool(given)
        self.evaluations = [_evaluation(bound, self.asked, one, known=self.found is not None) for one in given]

    def verdict(self) -> Verdict:
        counting = self.asked.exemptions
        found = self._said(counting)
        if found.refuses is not False or self.selected is NO:
            return found
        out = {number for number, way in self.ways.items() if way.holds}
        out.update(number for one in self.evaluations for number in one.out(counting))
        if self.found is False:
            out.update(counting & {self._bound.lenient})
        if out and self._said(counting - out).refuses is not False:
            return Verdict(False, "", frozenset(out))
        return found

    @property
    def _bound(self) -> Bound:
        bound: Bound = self.asked.policy.rule
        return bound

    def _said(self, counting: _Numbers) -> Verdict:
        """What it comes to if some ways out count."""
        ways = [way for number, way in self.ways.items() if number in counting]
        if self.selected is NO or any(way.holds for way in ways):
            return ADMITS
        verdict = self._evaluated(counting)
        doubt = next((one for one in (self.selected, *ways) if one.holds is None), None)
        return Verdict(None, doubt.why) if doubt is not None and verdict.refuses is not False else verdict

    def _evaluated(self, counting: _Numbers) -> Verdict:
        if self.misread:
            return _failed(self._bound)
        without = ADMITS if self._bound.lenient in counting else _failed(self._bound)
        if self.found is False:
            return without
        verdicts = [one.said(counting) for one in self.evaluations]
        if self.found is None and any(one != without for one in verdicts):  # each is possible, and they disagree
            return Verdict(None, next((one.why for one in verdicts if one.why), self._bound.params.why))
        if REFUSES in verdicts:
            return REFUSES
        return next((one for one in verdicts if one.refuses is None), ADMITS)


def _failed(bound: Bound) -> Verdict:
    """What an error of configuration does."""
    return ADMITS if bound.fails_open else REFUSES


def _evaluation(bound: Bound, asked: Asked, params: Mapping[str, Any] | None, *, known: bool) -> _Evaluation:
    values = dict(asked.request.values)
    if known and (value := bound.value(params)) is not None:
        values["params"] = value
    conditions, validations = bound.programs(asked.request.unread)
    if asked.exemptions.isdisjoint(bound.condition_of):
        conditions = _NOTHING
    return _Evaluation(bound, Question(conditions, {**values, "namespaceObject": _NULL}), Question(validations, values))


_NULL = Value(None)
_NOTHING = Program(())


# What answers mean --------------------------------------------------------------------------------------------------


def _selected(answers: Sequence[Answer], bound: Bound) -> Match:
    """Whether match conditions let a request through to the validations: one that is false is enough that they do not.

    An error is `Match(None, "")`: what it does is for `_narrowed` to say.
    """
    if any(one.outcome == "false" for one in answers):
        return NO
    if unknown := next((one for one in answers if one.outcome not in ("true", "error")), None):
        return Match(None, unknown.why or "a match condition is no truth value")
    if any(one.outcome == "error" for one in answers):
        return NO if bound.fails_open else Match(None)
    return YES


def _narrowed(verdict: Verdict, selected: Match, one: _Evaluation) -> Verdict:
    """The verdict of the validations, as far as the match conditions let it count."""
    if selected.holds:
        return verdict
    if selected is NO:
        return ADMITS
    error = _failed(one.bound)
    if not selected.why:
        return error
    possible = {ADMITS.refuses, error.refuses, verdict.refuses}  # not selected, an error, selected
    return ADMITS if possible == {False} else Verdict(None, selected.why)


def _validated(answers: Sequence[Answer], bound: Bound) -> Verdict:
    """What validations and audit annotations come to."""
    validations = len(mappings(bound.spec.get("validations")))
    found = [_validation(one, bound) for one in answers[:validations]]
    found += [_annotation(one, bound) for one in answers[validations:]]
    if REFUSES in found:
        return REFUSES
    return next((one for one in found if one.refuses is None), ADMITS)


def _validation(answer: Answer, bound: Bound) -> Verdict:
    if answer.outcome == "true":
        return ADMITS
    if answer.outcome == "false":
        return REFUSES
    if answer.outcome == "error":
        return _failed(bound)
    return Verdict(None, answer.why or "a validation is no truth value")


def _annotation(answer: Answer, bound: Bound) -> Verdict:
    if bound.fails_open or answer.outcome in ("text", "null"):
        return ADMITS
    if answer.outcome == "error":
        return REFUSES
    return Verdict(None, answer.why or "an audit annotation is no text")
