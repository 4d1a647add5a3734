"""What an opaque policy selects, and what takes requests out of that: for all engines whose policies nobody evaluates.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/webhook/{generic/webhook.go,predicates,matchconditions}. Match
conditions see no namespace but its name; one that is false takes the request out whatever the others are; an error
refuses where the policy fails closed, and takes the request out where it fails open.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from posture import selectors
from posture.admission import shapes
from posture.admission.cel import (
    Answer,
    Evaluator,
    Program,
    Question,
    about_itself,
    about_name,
    about_user,
    namespace_mark,
)
from posture.admission.matching import NO, Match, Way, matches, names, of_namespaces
from posture.admission.matching import scope as meant_for
from posture.admission.matching import ways as ways_of
from posture.admission.pods import mapping, mappings
from posture.admission.policy import (
    ADMITS,
    ANY,
    NONE,
    REFUSES,
    Asked,
    Exemption,
    Policy,
    Shape,
    Space,
    Variant,
    Verdict,
)
from posture.admission.requests import Request
from posture.model import Changed, Content, Key, Through

type Conditions = Sequence[Mapping[str, Any]]


class Place(NamedTuple):
    """Where a scope stands: `path` is the field with the match conditions, `below` the one in it with the selectors.

    `put` gives the object's content with other MatchResources and match conditions.
    """

    key: Key
    kind: str
    path: str
    content: Content
    put: Callable[[Mapping[str, Any], Conditions], Content]
    below: str = ""


@dataclass(frozen=True, eq=False)
class Scope:
    """What a policy selects: MatchResources, and conditions behind them. Its exemptions are `ways`, then conditions.

    `only` is the one namespace that it is for; without resource rules it selects nothing. `foreign` conditions are
    evaluated by someone who knows more than the API server does, the namespace too: an error is no answer.
    """

    given: Mapping[str, Any]
    conditions: Conditions = ()
    fails_open: bool = False
    only: str = ""
    foreign: bool = False

    @cached_property
    def meant(self) -> Mapping[str, Any]:
        """What it is meant for."""
        return meant_for(self.given)

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """What its MatchResources take out."""
        return tuple(ways_of(self.given))

    @cached_property
    def expressions(self) -> tuple[str, ...]:
        """Its match conditions."""
        return tuple(str(one.get("expression") or "") for one in self.conditions)

    @cached_property
    def anywhere(self) -> frozenset[int]:
        """The exemptions that may take something out in every namespace."""
        ways = (number for number, way in enumerate(self.ways) if way.keeps is None)
        return frozenset((*ways, *range(len(self.ways), len(self.ways) + len(self.conditions))))

    @cached_property
    def program(self) -> Program:
        """Its match conditions, all of them."""
        return Program(self.expressions)

    @cached_property
    def itself(self) -> bool:
        """Whether exemptions may look at all of a namespace, where something is asked about the namespace itself."""
        return of_namespaces(self.given) and (any(way.labels for way in self.ways) or about_itself(self.program))

    @cached_property
    def names(self) -> bool:
        """Whether it may matter what an object is called."""
        return names(self.given) or about_name(self.program)

    @cached_property
    def users(self) -> bool:
        """Whether it matters who asks."""
        return about_user(self.program)

    @property
    def fails(self) -> bool:
        """Whether match conditions may have an error that refuses."""
        return bool(self.conditions) and not self.fails_open

    def exemptions(self, place: Place) -> tuple[Exemption, ...]:
        """What takes requests out, in the order of their numbers."""
        below = f"{place.below}." if place.below else ""
        found = [
            _exemption(place, below + way.path, way.what, way.rest, self.conditions, way.labels, way.shape)
            for way in self.ways
        ]
        for one in self.conditions:
            name = str(one.get("name") or "")
            rest = [other for other in self.conditions if other is not one]
            what = f"excludes requests by the match condition {name}"
            shape = shapes.failing(str(one.get("expression") or ""))
            found.append(_exemption(place, f"matchConditions[{name}]", what, self.given, rest, shape=shape))
        return tuple(found)


def _exemption(
    place: Place, path: str, what: str, given: Mapping[str, Any], conditions: Conditions, labels: tuple[str, ...] = (),
    shape: Shape | None = ANY,
) -> Exemption:  # fmt: skip
    through = Through(place.kind, place.key.namespace, f"{place.key.name}/{place.path}.{path}")
    removal = Changed(place.key, place.content, place.put(given, conditions))
    return Exemption(through, (place.key,), what, (removal,), labels=labels, shape=shape)


def selectors_of(spec: Mapping[str, Any], rules: str) -> dict[str, Any]:
    """A webhook's fields as MatchResources; `rules` is the field that holds its resource rules."""
    found = {field: spec[field] for field in ("matchPolicy", "namespaceSelector", "objectSelector") if field in spec}
    return found | {"resourceRules": mappings(spec.get(rules))}


def with_selectors(spec: Mapping[str, Any], given: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    """A webhook with other selectors and match conditions."""
    changed = {field: given.get(field) for field in ("namespaceSelector", "objectSelector")}
    changed["matchConditions"] = [*conditions]
    return {field: value for field, value in {**spec, **changed}.items() if field not in changed or value}


# What engines answer ------------------------------------------------------------------------------------------------


def variant(policy: Policy, space: Space) -> Variant | None:
    """What is made in no namespace is taken out by no selector of namespaces, but for namespaces themselves."""
    scope: Scope = policy.rule
    if not space.name:
        return None if scope.only else Variant("", frozenset(range(len(policy.exemptions))))
    if scope.only not in ("", space.name):
        return None
    if not selectors.matches(mapping(scope.meant.get("namespaceSelector")), space.labels):
        return None
    out = [
        number
        for number, way in enumerate(scope.ways)
        if way.keeps is not None and not selectors.matches(way.keeps, space.labels)
    ]
    within: Hashable = namespace_mark(scope.program, space)
    if scope.itself:
        within = space.name, tuple(sorted(space.labels.items())), tuple(sorted(space.annotations.items()))
    return Variant(None, scope.anywhere.union(out), within=within)


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """Unknown is what is selected; what is not, or is taken out, is admitted."""
    found = zip(asked, settled(asked, cel), strict=True)
    return [Verdict(None, one.policy.opaque) if verdict is None else verdict for one, verdict in found]


def settled(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict | None]:
    """What selectors and match conditions decide; None is what they leave to the policy."""
    selected = [_selection(one) for one in asked]
    wanted = [match != NO and bool(one.policy.rule.conditions) for one, (match, _) in zip(asked, selected, strict=True)]
    answers = iter(cel.answers([_question(one) for one, there in zip(asked, wanted, strict=True) if there]))
    return [
        _settled(one, match, out, next(answers) if there else ())
        for one, (match, out), there in zip(asked, selected, wanted, strict=True)
    ]


def _selection(asked: Asked) -> tuple[Match, frozenset[int]]:
    """Whether a policy is meant for a request, and the exemptions that take it out without an expression."""
    scope, request = asked.policy.rule, asked.request
    if scope.only and request.namespace != scope.only:
        return NO, NONE
    match = matches(scope.meant, request) if scope.given.get("resourceRules") else NO
    if match == NO:
        return NO, NONE
    return match, frozenset(
        number for number, way in enumerate(scope.ways) if number in asked.exemptions and _out(way, request)
    )


def _out(way: Way, request: Request) -> bool:
    """Where the namespace is not known, `variant` has looked at it."""
    holds = way.out(request).holds
    return way.keeps is not None if holds is None else holds


def _question(asked: Asked) -> Question:
    program = Program(asked.policy.rule.expressions, (), asked.request.unread)
    values = asked.request.values
    seen = {name: value for name, value in values.items() if name != "namespaceObject" or asked.policy.rule.foreign}
    return Question(program, seen)


def _settled(asked: Asked, match: Match, out: frozenset[int], answers: Sequence[Answer]) -> Verdict | None:
    if match == NO:
        return ADMITS
    scope: Scope = asked.policy.rule
    first = len(scope.ways)
    counted = [(first + number, one) for number, one in enumerate(answers) if first + number in asked.exemptions]
    out |= {number for number, one in counted if one.outcome == "false"}
    if out:
        return Verdict(False, "", out)
    known = ("true",) if scope.foreign else ("true", "error")
    if unsure := next((one for _, one in counted if one.outcome not in known), None):
        return Verdict(None, unsure.why or "a match condition cannot be evaluated")
    errors = frozenset(number for number, one in counted if one.outcome == "error")
    if errors and scope.fails_open:
        return Verdict(False, "", errors)
    if match.holds is None:
        return Verdict(None, match.why)
    return REFUSES if errors else None
