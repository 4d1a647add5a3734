"""A constraint as it is judged: its match, its template, its parameters and what takes something out of it.

Source: as in match, templates and exemptions; what is asked when: pkg/webhook/policy.go (Handle, reviewRequest).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from posture import selectors
from posture.admission.cel import (
    Answer,
    Evaluator,
    Program,
    Question,
    Value,
    about_itself,
    about_name,
    about_user,
    namespace_mark,
)
from posture.admission.matching import NO, names, of_namespaces
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Space, Variant, Verdict
from posture.admission.requests import Object, Request

from .exemptions import ACCOUNT, Own, Ways
from .match import Match, labels_of
from .templates import Template, conditioned
from .webhook import Webhook

_ELSEWHERE = "several webhooks ask Gatekeeper, and another one may select it"


@dataclass(frozen=True, eq=False)
class Rule:
    """A constraint. `numbers` are those of the webhook's fields among what is `common` to all constraints.

    `dead` says why it is asked nothing, `opaque` why nobody can say what it refuses, `doubt` why nobody can say whom.
    """

    webhook: Webhook
    common: Ways
    numbers: Mapping[str, int]
    own: Own
    match: Match
    template: Template
    parameters: Any
    dead: str = ""
    opaque: str = ""
    doubt: str = ""
    expanded: frozenset[tuple[str, str]] = frozenset()
    """The (group, kind) of objects from which an ExpansionTemplate makes others, which are judged as well."""
    _values: dict[frozenset[int], Value] = field(default_factory=dict)

    def variant(self, space: Space) -> Variant | None:
        """What it is in a namespace ("" is outside of any); None where it is not meant for that."""
        name, labels = space.name, space.labels
        if name and not (self.match.meant_for(name, labels) and self.webhook.meant_for(labels)):
            return None
        if self.match.source == "Generated" and not self.expanded:
            return None
        if not name:  # namespaces are made there, and each is taken out by its own name and labels
            return Variant("", self._everywhere, self.doubt)
        exemptions = self.common.within(name, labels) | self.own.ways.within(name, labels)
        conditions, validations = self.template.programs()
        mark = self._whole(space) if self._seen else namespace_mark(validations, space)
        within: Hashable = tuple(namespace_mark(one, space) for one in (conditions, self.webhook.program()))
        if self._seen_out:
            within = self._whole(space)
        return Variant(mark, exemptions, self.doubt, within)

    @staticmethod
    def _whole(space: Space) -> Hashable:
        """All that a namespace is: it can be seen where the object is the namespace itself."""
        return space.name, tuple(sorted(space.labels.items())), tuple(sorted(space.annotations.items()))

    @cached_property
    def _itself(self) -> bool:
        """Whether a namespace itself is asked about."""
        kinds = self.match.kinds
        named = not kinds or any(one.has("", "Namespace") for one in kinds)
        return (
            named
            and self.match.scope != "Namespaced"
            and of_namespaces({"resourceRules": self.webhook.given.get("rules")})
        )

    @cached_property
    def _seen(self) -> bool:
        return self._itself and (bool(self.match.name) or about_itself(self.template.programs()[1]))

    @cached_property
    def _seen_out(self) -> bool:
        by_labels = bool(self.match.labels.keys or self.webhook.objects.keys)
        conditions = self.template.programs()[0], self.webhook.program()
        return self._itself and (by_labels or any(map(about_itself, conditions)))

    @cached_property
    def names(self) -> bool:
        """Whether it matters what an object is called."""
        rules = {"resourceRules": self.webhook.given.get("rules")}
        return bool(self.match.name) or names(rules) or any(map(about_name, self._programs))

    @cached_property
    def users(self) -> bool:
        """Whether it matters who asks, but for Gatekeeper's own account."""
        return any(about_user(one) for one in self._programs)

    @property
    def fails(self) -> bool:
        """Whether match conditions may have an error that refuses."""
        template, webhook = self.template, self.webhook
        return (bool(template.conditions) and template.closed) or (bool(webhook.conditions) and not webhook.open)

    @cached_property
    def _everywhere(self) -> frozenset[int]:
        found = (*self.common.exemptions, *self.own.ways.exemptions)
        return frozenset(number for number, one in enumerate(found) if not one.local)

    @cached_property
    def _programs(self) -> tuple[Program, ...]:
        return *self.template.programs(), self.webhook.program()

    def params(self, images: frozenset[int]) -> Value:
        """The constraint as expressions see it, with some of its exempted images."""
        if images not in self._values:
            given = self.parameters
            if self.own.images and isinstance(given, dict):
                places = self.own.images.items()
                gone = {place for number, some in places if number not in images for place in some}
                kept = [one for place, one in enumerate(given["exemptImages"]) if place not in gone]
                given = {name: one for name, one in given.items() if name != "exemptImages"}
                given |= {"exemptImages": kept} if kept else {}
            self._values[images] = Value({"spec": {} if given is None else {"parameters": given}})
        return self._values[images]


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """For each question, in order, whether its constraint refuses the request."""
    cases = [_Case(one.policy.rule, one.request, one.exemptions) for one in asked]
    _ask(cel, [(case, question) for case in cases for question in case.about_webhook()])
    _ask(cel, [(case, question) for case in cases for question in case.about_conditions()])
    _ask(cel, [(case, question) for case in cases for question in case.about_validations()])
    _ask(cel, [(case, question) for case in cases for question in case.about_images()])
    return [case.verdict for case in cases]


type _Tag = tuple[str, frozenset[int]]


def _ask(cel: Evaluator, questions: Sequence[tuple[_Case, tuple[_Tag, Question]]]) -> None:
    """Each case keeps its answers under the tag of the question."""
    answers = cel.answers([question for _, (_, question) in questions])
    for (case, (tag, _)), found in zip(questions, answers, strict=True):
        case.answers[tag] = found


class _Case:
    """One rule and one request. What is settled needs no further answer."""

    def __init__(self, rule: Rule, request: Request, force: frozenset[int]) -> None:
        self.rule, self.request, self.force = rule, request, force
        # Gatekeeper takes a namespace for an object outside of any.
        self._seen = replace(request, namespace="") if request.of_namespace else request
        self.answers: dict[_Tag, tuple[Answer, ...]] = {}
        self._doubt = rule.doubt
        self._images = frozenset(rule.own.images) & force
        self._settled = self._matched()

    # What selects it, without expressions

    def _matched(self) -> Verdict | None:
        rule, request = self.rule, self.request
        asked = NO if rule.dead else rule.webhook.asked_about(request)
        if asked.holds is False:
            return ADMITS if rule.dead else self._unasked(NONE)
        self._doubt = self._doubt or asked.why
        about = request.of_namespace
        name = (request.name or request.namespace) if about else request.namespace
        labels = self._labels(about, name)
        if labels is None:
            common = rule.common.by_name(name) - rule.common.doubts.keys()
            outs = (common | rule.own.ways.by_name(name)) & self.force
            return Verdict(False, "", outs) if outs else Verdict(None, f"namespace {name} is not known")
        if name and not rule.webhook.meant_for(labels):
            return self._unasked(NONE)
        if outs := self._common(name, labels):
            return self._unasked(outs) if outs - rule.common.doubts.keys() else self._unsure(outs)
        return self._of_constraint(name, labels)

    def _of_constraint(self, name: str, labels: Mapping[str, str]) -> Verdict | None:
        rule = self.rule
        there = rule.match.objects(self.request) if self._operation() else []
        if name:
            there = [one for one in there if rule.match.meant_for(name, self._space(one, labels))]
        outs = [self._own(one, name, self._space(one, labels)) for one in there]
        if there and not all(outs):
            return Verdict(None, self._doubt or rule.opaque) if rule.opaque else None
        return self._admitted(frozenset[int]().union(*outs))

    def _admitted(self, outs: frozenset[int] = NONE) -> Verdict:
        """It refuses the object itself not, but perhaps what that is expanded to."""
        group, _, kind = self.request.kind
        if (group, kind) in self.rule.expanded and not self.rule.dead:
            return Verdict(None, f"Gatekeeper judges what it expands a {kind} to, which is not known here")
        return Verdict(False, "", outs)

    def _operation(self) -> bool:
        operations = self.rule.template.operations
        return not operations or "*" in operations or self.request.operation in operations

    def _space(self, one: Object, labels: Mapping[str, str]) -> Mapping[str, str]:
        return labels_of(one) if self.request.of_namespace else labels

    def _labels(self, about: bool, name: str) -> Mapping[str, str] | None:
        """The labels of the namespace that decide for the webhook; None where they matter and nobody knows them."""
        request, rule = self.request, self.rule
        if about and request.operation in ("CREATE", "UPDATE") and not request.subresource:
            return labels_of(request.object)
        if request.namespace_object is not None:
            return labels_of(request.namespace_object)
        reads = rule.common.reads_labels or rule.own.ways.reads_labels
        reads = reads or bool(rule.webhook.spaces.asked or rule.match.spaces.asked)
        return None if name and reads else {}

    def _common(self, name: str, labels: Mapping[str, str]) -> frozenset[int]:
        rule, request, numbers = self.rule, self.request, self.rule.numbers
        found = set(rule.common.by_name(name) | rule.common.by_labels(labels)) if name else set()
        if "objects" in numbers and not rule.webhook.selects_object(request):
            found.add(numbers["objects"])
        if request.user == f"system:serviceaccount:{rule.webhook.namespace}:{ACCOUNT}":
            found.add(numbers["account"])
        return rule.common.active(frozenset(found & self.force))

    def _own(self, one: Object, name: str, labels: Mapping[str, str]) -> frozenset[int]:
        own, numbers = self.rule.own.ways, self.rule.own.numbers
        found = set(own.by_name(name) | own.by_labels(labels)) if name else set()
        if "labels" in numbers and not selectors.matches(self.rule.match.labels.whole, labels_of(one)):
            found.add(numbers["labels"])
        return frozenset(found & self.force)

    def _unasked(self, outs: frozenset[int]) -> Verdict:
        return Verdict(None, _ELSEWHERE) if self.rule.webhook.others else Verdict(False, "", outs)

    def _unsure(self, outs: frozenset[int]) -> Verdict:
        return Verdict(None, self.rule.common.doubts[min(outs)])

    # What expressions say

    def _values(self, images: frozenset[int]) -> dict[str, Value]:
        return {**self._seen.values, "params": self.rule.params(images)}

    def about_webhook(self) -> list[tuple[_Tag, Question]]:
        """The webhook's match conditions that are in force."""
        if self._settled is not None or not self._in_force(self.rule.numbers):
            return []
        values = {name: one for name, one in self.request.values.items() if name != "namespaceObject"}
        return [(_WEBHOOK, Question(self.rule.webhook.program(self.request.unread), values))]

    def about_conditions(self) -> list[tuple[_Tag, Question]]:
        """The template's match conditions that are in force, which do not see the namespace."""
        self._settle(_WEBHOOK, self.rule.numbers, closed=not self.rule.webhook.open)
        if self._settled is not None or not self._in_force(self.rule.own.numbers):
            return []
        program, _ = self.rule.template.programs(self.request.unread)
        return [(_CONDITIONS, Question(program, {**self._values(self._images), "namespaceObject": _NULL}))]

    def about_validations(self) -> list[tuple[_Tag, Question]]:
        """Its validations, with the exempted images that are in force, and without any."""
        self._settle(_CONDITIONS, self.rule.own.numbers, closed=self.rule.template.closed)
        if self._settled is not None:
            return []
        return [self._validation(images) for images in dict.fromkeys((self._images, NONE))]

    def about_images(self) -> list[tuple[_Tag, Question]]:
        """Where exempted images take it out: its validations with each of them alone, and without each."""
        if self._settled is not None or len(self._images) < 2 or not self._exempted:
            return []
        subsets = [one for number in sorted(self._images) for one in (frozenset({number}), self._images - {number})]
        return [self._validation(images) for images in dict.fromkeys(subsets)]

    def _validation(self, images: frozenset[int]) -> tuple[_Tag, Question]:
        _, program = self.rule.template.programs(self.request.unread)
        return (_VALIDATIONS, images), Question(program, self._values(images))

    def _in_force(self, numbers: Mapping[str, int]) -> dict[int, int]:
        """The places of match conditions that are in force, by their number."""
        found = ((number, name.removeprefix("condition ")) for name, number in numbers.items())
        return {number: int(place) for number, place in found if place.isdecimal() and number in self.force}

    def _settle(self, tag: _Tag, numbers: Mapping[str, int], *, closed: bool) -> None:
        if self._settled is not None or tag not in self.answers:
            return
        answers = self.answers[tag]
        given = {number: answers[place] for number, place in self._in_force(numbers).items()}
        selected, outs = conditioned(given, closed=closed)
        if selected.holds is False:
            self._settled = self._unasked(outs) if tag is _WEBHOOK else self._admitted(outs)
        elif selected.holds is None and not selected.why:
            self._settled = Verdict(None, self._doubt) if self._doubt else REFUSES
        elif selected.holds is None and closed:
            self._settled = Verdict(None, selected.why)  # it may be an error too
        elif selected.holds is None:
            self._doubt = self._doubt or selected.why

    def _with(self, images: frozenset[int]) -> Verdict:
        return self.rule.template.verdict(self.answers[_VALIDATIONS, images])

    @property
    def _exempted(self) -> bool:
        return self._with(self._images) == ADMITS and self._with(NONE) == REFUSES

    @property
    def verdict(self) -> Verdict:
        """What it comes to."""
        if self._settled is not None:
            return self._settled
        found = self._with(self._images)
        if found != ADMITS:
            return Verdict(None, self._doubt) if self._doubt else found
        return self._admitted(self._excused if self._exempted else NONE)

    @property
    def _excused(self) -> frozenset[int]:
        """The images of which one is enough, or which are needed."""
        if len(self._images) < 2:
            return self._images
        enough = {one for one in self._images if self._with(frozenset({one})) == ADMITS}
        needed = {one for one in self._images if self._with(self._images - {one}) != ADMITS}
        return frozenset(enough | needed) or self._images


_WEBHOOK: _Tag = ("webhook", NONE)
_CONDITIONS: _Tag = ("conditions", NONE)
_VALIDATIONS = "validations"
_NULL = Value(None)
