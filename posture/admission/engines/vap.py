"""ValidatingAdmissionPolicy: what each policy refuses through each of its bindings.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/policy/validating and generic. Read there, and easily missed: an
error in finding parameters or in an audit annotation refuses whatever the binding's actions are, as far as the policy
fails closed; match conditions do not see the namespace; of several parameters each one may refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from posture import selectors
from posture.admission.cel import Answer, Evaluator, Missing, Program, Question, Value
from posture.admission.matching import NO, YES, Match, invisible, matches
from posture.admission.pods import mapping, mappings
from posture.admission.requests import Request
from posture.kinds import ADMISSION, BY_KIND, manifest
from posture.model import Gap, Key, Snapshot

NAME = "vap"
POLICIES = f"validatingadmissionpolicies.{ADMISSION}"
BINDINGS = f"validatingadmissionpolicybindings.{ADMISSION}"

HIDDEN = (
    "uid", "creationTimestamp", "managedFields", "resourceVersion", "generation", "selfLink", "finalizers", "options",
    "extra", "conditions", "qosClass",
)  # fmt: skip
"""What the server knows of every request or object, and posture does not."""


class Params(NamedTuple):
    """The objects of a policy's paramKind; `why` nobody can say which there are."""

    objects: tuple[Mapping[str, Any], ...] = ()
    namespaced: bool = True
    why: str = ""


type Parameters = Callable[[str, str], Params]
"""By apiVersion and kind."""


class Verdict(NamedTuple):
    """Whether a policy refuses a request; None with why nobody can say."""

    refuses: bool | None
    why: str = ""


ADMITS, REFUSES = Verdict(False), Verdict(True)


@dataclass(frozen=True)
class Policy:
    """A policy as one of its bindings applies it. `params` are all objects of its kind of parameters."""

    key: Key
    binding: Key
    spec: Mapping[str, Any]
    bound: Mapping[str, Any]
    params: Params = field(default_factory=Params)

    @property
    def fails_open(self) -> bool:
        """Whether what cannot be evaluated is admitted."""
        return self.spec.get("failurePolicy") == "Ignore"

    @property
    def denies(self) -> bool:
        """Whether a violation refuses, rather than warns or is only written down."""
        return "Deny" in (self.bound.get("validationActions") or ())

    @property
    def inert(self) -> bool:
        """Whether it refuses nothing, whatever is asked."""
        return not self.denies and self.fails_open

    def programs(self, hidden: tuple[str, ...]) -> tuple[Program, Program]:
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


def policies(snapshot: Snapshot, parameters: Parameters | None = None) -> Iterator[Policy]:
    """Each binding with its policy. The server ignores a binding whose policy is not there."""
    read = parameters or (lambda version, kind: parameters_of(snapshot, version, kind))
    for binding, content in snapshot.objects(BINDINGS):
        bound = mapping(content.get("spec"))
        key = Key(POLICIES, "", str(bound.get("policyName") or ""))
        policy = snapshot.get(key)
        if policy is not None:
            spec = mapping(policy.get("spec"))
            wanted = mapping(spec.get("paramKind"))
            params = read(str(wanted.get("apiVersion")), str(wanted.get("kind"))) if wanted else Params()
            yield Policy(key, binding, spec, bound, params)


def parameters_of(snapshot: Snapshot, version: str, kind: str) -> Params:
    """The objects of a kind that a snapshot holds as a whole."""
    if (version, kind) in (("v1", "ConfigMap"), ("v1", "Secret")):
        return Params(why=f"parameters are of kind {kind}, whose objects are never read")
    known = BY_KIND.get((version.rpartition("/")[0], kind))
    if known is None or "spec" not in known.keep or known.pod_spec:
        return Params(why=f"parameters are of kind {kind}, whose objects are not read")
    if gap := snapshot.gap(known.name):
        return Params(why=f"{known.name}: {gap.message}")
    return Params(tuple(manifest(*one) for one in snapshot.objects(known.name)), known.namespaced)


def gaps(snapshot: Snapshot, cel: Evaluator) -> Iterator[Gap]:
    """What keeps the policies that are there from being judged."""
    if isinstance(cel, Missing) and any(True for _ in snapshot.objects(BINDINGS)):
        yield Gap(POLICIES, "", "extra missing", f"{Missing.WHY}: what these policies refuse is unknown")


def refuses(policy: Policy, request: Request, cel: Evaluator) -> Verdict:
    """Whether one policy refuses one request."""
    return judged([(policy, request)], cel)[0]


def judged(asked: Sequence[tuple[Policy, Request]], cel: Evaluator) -> list[Verdict]:
    """For each policy and request, in order, whether it refuses it. One call is cheaper than many."""
    cases = [_case(policy, request) for policy, request in asked]
    evaluated = [one for case in cases for one in case.evaluations]
    for one, answers in zip(evaluated, cel.answers([one.condition for one in evaluated]), strict=True):
        one.selected = _selected(answers, one.policy)
    wanted = [one for one in evaluated if one.selected.holds is not False]
    for one, answers in zip(wanted, cel.answers([one.validation for one in wanted]), strict=True):
        one.verdict = _narrowed(_validated(answers, one.policy), one)
    return [case.verdict for case in cases]


# One policy and request, with each of its parameters ----------------------------------------------------------------


@dataclass
class _Evaluation:
    """A policy with one parameter, or with none, asked of one request."""

    policy: Policy
    condition: Question
    validation: Question
    selected: Match = NO
    verdict: Verdict = ADMITS


@dataclass
class _Case:
    """What is settled without looking at expressions, and the evaluations that settle the rest."""

    settled: Verdict | None
    evaluations: list[_Evaluation]
    selected: Match = YES
    without: Verdict | None = None
    """What it would be if there were no parameter, where nobody can say that there is one."""

    @property
    def verdict(self) -> Verdict:
        if self.settled is not None:
            return self.settled
        found = [one.verdict for one in self.evaluations] + ([self.without] if self.without else [])
        if self.without is not None:  # each is possible, and they may disagree
            first = found[0]
            verdict = first if all(one == first for one in found) else Verdict(None, self._why(found))
        elif REFUSES in found:
            verdict = REFUSES
        else:
            verdict = next((one for one in found if one.refuses is None), ADMITS)
        if self.selected.holds is None and verdict.refuses is not False:
            return Verdict(None, self.selected.why)
        return verdict

    def _why(self, found: Iterable[Verdict]) -> str:
        return next((one.why for one in found if one.why), "its parameters are not known")


def _case(policy: Policy, request: Request) -> _Case:
    if policy.inert or invisible(request):
        return _Case(ADMITS, [])
    selected = [matches(mapping(policy.spec.get("matchConstraints")), request)]
    selected.append(matches(mapping(policy.bound.get("matchResources")), request))
    if any(one.holds is False for one in selected):
        return _Case(ADMITS, [])
    doubt = next((one for one in selected if one.holds is None), YES)
    found = _params(policy, request)
    if isinstance(found, Verdict):
        settled = Verdict(None, doubt.why) if doubt.holds is None and found.refuses is not False else found
        return _Case(settled, [])
    if found is None:
        evaluations = [_evaluation(policy, request, {})]
        return _Case(None, evaluations, doubt, _none_found(policy))
    return _Case(None, [_evaluation(policy, request, {"params": one}) for one in found], doubt)


def _failed(policy: Policy) -> Verdict:
    """What an error of configuration does, whatever the binding's actions are."""
    return ADMITS if policy.fails_open else REFUSES


def _none_found(policy: Policy) -> Verdict:
    deny = mapping(policy.bound.get("paramRef")).get("parameterNotFoundAction") == "Deny"
    return _failed(policy) if deny else ADMITS


def _params(policy: Policy, request: Request) -> list[Any] | Verdict | None:
    """The parameters to evaluate with, one after the other; a verdict where there is none; None for unknown."""
    reference = policy.bound.get("paramRef")
    if not policy.spec.get("paramKind") or not isinstance(reference, Mapping):
        return [None]
    if policy.params.why:
        return None
    namespace = str(reference.get("namespace") or "")
    if policy.params.namespaced:
        namespace = namespace or request.namespace
    if policy.params.namespaced != bool(namespace):
        return _failed(policy)  # a namespace is due for a namespaced kind, and for no other
    there = [one for one in policy.params.objects if (_meta(one).get("namespace") or "") == namespace]
    if name := reference.get("name"):
        found = [one for one in there if _meta(one).get("name") == name]
    else:
        found = [one for one in there if _chosen(reference.get("selector"), one)]
    return found or _none_found(policy)


def _meta(one: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(one.get("metadata"))


def _chosen(selector: Any, one: Mapping[str, Any]) -> bool:
    return selectors.matches(mapping(selector), mapping(_meta(one).get("labels")))


def _evaluation(policy: Policy, request: Request, params: Mapping[str, Any]) -> _Evaluation:
    values = dict(request.values)
    for name, one in params.items():
        try:
            values[name] = Value(one)
        except TypeError:  # no JSON of 64-bit numbers
            continue
    conditions, validations = policy.programs((*HIDDEN, *request.unread))
    return _Evaluation(
        policy, Question(conditions, {**values, "namespaceObject": _NULL}), Question(validations, values)
    )


_NULL = Value(None)


# What answers mean --------------------------------------------------------------------------------------------------


def _selected(answers: Sequence[Answer], policy: Policy) -> Match:
    """Whether match conditions let a request through to the validations: one that is false is enough that they do not.

    An error is `Match(None, "")`: what it does is for `_narrowed` to say.
    """
    if any(one.outcome == "false" for one in answers):
        return NO
    if unknown := next((one for one in answers if one.outcome not in ("true", "error")), None):
        return Match(None, unknown.why or "a match condition is no truth value")
    if any(one.outcome == "error" for one in answers):
        return NO if policy.fails_open else Match(None)
    return YES


def _narrowed(verdict: Verdict, one: _Evaluation) -> Verdict:
    """The verdict of the validations, as far as the match conditions let it count."""
    if one.selected.holds:
        return verdict
    error = REFUSES if one.policy.denies and not one.policy.fails_open else ADMITS
    if not one.selected.why:
        return error
    possible = {ADMITS.refuses, error.refuses, verdict.refuses}  # not selected, an error, selected
    return ADMITS if possible == {False} else Verdict(None, one.selected.why)


def _validated(answers: Sequence[Answer], policy: Policy) -> Verdict:
    """What validations and audit annotations come to."""
    validations = len(mappings(policy.spec.get("validations")))
    found = [_validation(one, policy) for one in answers[:validations]]
    found += [_annotation(one, policy) for one in answers[validations:]]
    if REFUSES in found:
        return REFUSES
    return next((one for one in found if one.refuses is None), ADMITS)


def _validation(answer: Answer, policy: Policy) -> Verdict:
    if not policy.denies or answer.outcome == "true":
        return ADMITS
    if answer.outcome == "false":
        return REFUSES
    if answer.outcome == "error":
        return _failed(policy)
    return Verdict(None, answer.why or "a validation is no truth value")


def _annotation(answer: Answer, policy: Policy) -> Verdict:
    if policy.fails_open or answer.outcome in ("text", "null"):
        return ADMITS
    if answer.outcome == "error":
        return REFUSES
    return Verdict(None, answer.why or "an audit annotation is no text")
