"""ConstraintTemplates: the CEL of one, as the expressions of a ValidatingAdmissionPolicy, or why there is none.

Source: Gatekeeper v3.23.0, pkg/drivers/k8scel/{driver,schema/schema,transform/cel_snippets}.go; the choice of an
engine, operations and defaults of parameters: open-policy-agent/frameworks, constraint/pkg/client. Read there, and
easily missed: the field of match conditions is `matchCondition`; an expression reads nothing of a constraint but
`variables.params`; an error refuses unless the template's failure policy is Ignore, whatever the webhook's is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from posture.admission.cel import Answer, Program
from posture.admission.matching import NO, YES, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ADMITS, REFUSES, Verdict
from posture.model import Content, Key

from .match import words

TARGET, CEL = "admission.k8s.gatekeeper.sh", "K8sNativeValidation"
BOUND = (
    ("anyObject", 'has(request.operation) && request.operation == "DELETE" && object == null ? oldObject : object'),
    ("params", "!has(params.spec) ? null : !has(params.spec.parameters) ? null: params.spec.parameters"),
)
"""The variables that every template has before its own."""

_RESERVED = "gatekeeper_internal_"
_WHOLE = re.compile(r"\bvariables\.params\b(?!\s*\.\s*\??\s*[A-Za-z_])")
_PARAMS = re.compile(r"(?<![\w.])params\b")
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_DEEPEST = 32


@dataclass(frozen=True)
class Template:
    """A template. `refused` says why Gatekeeper does not take it, `opaque` why nobody can say what it refuses."""

    key: Key
    refused: str = ""
    opaque: str = ""
    closed: bool = True
    """Whether an error refuses."""
    conditions: tuple[tuple[str, str], ...] = ()
    validations: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    operations: tuple[str, ...] = ()
    place: int = 0
    """Where its code stands among those of other engines."""
    schema: Any = None
    """What the parameters may be: an OpenAPI schema."""
    misplaced: tuple[str, ...] = ()
    """Names of conditions in a field that is not read."""
    by_field: bool = False
    """Whether expressions look at nothing of the parameters but their fields."""

    def programs(self, hidden: tuple[str, ...] = ()) -> tuple[Program, Program]:
        """Its match conditions and its validations. `hidden` are fields that a request's objects may lack."""
        if hidden not in self._programs:
            variables = (*BOUND, *self.variables)
            conditions = Program(tuple(one for _, one in self.conditions), variables, hidden)
            self._programs[hidden] = conditions, Program(self.validations, variables, hidden)
        return self._programs[hidden]

    @cached_property
    def _programs(self) -> dict[tuple[str, ...], tuple[Program, Program]]:
        return {}

    def parameters(self, given: Any) -> Any:
        """A constraint's parameters as expressions see them, with the defaults of their schema.

        Without any they are null, of which the server says that it lacks each field, as an empty mapping does.
        """
        found = defaulted(given, self.schema)
        return {} if found is None and self.by_field else found

    def verdict(self, answers: Sequence[Answer]) -> Verdict:
        """What the answers of its validations come to."""
        found = [self._validated(one) for one in answers]
        if REFUSES in found:
            return REFUSES
        return next((one for one in found if one.refuses is None), ADMITS)

    def _validated(self, answer: Answer) -> Verdict:
        if answer.outcome == "true":
            return ADMITS
        if answer.outcome == "false":
            return REFUSES
        if answer.outcome == "error":
            return REFUSES if self.closed else ADMITS
        return Verdict(None, answer.why or "a validation is no truth value")


def read(key: Key, content: Content, kind: str) -> Template:
    """The template of a kind of constraints."""
    spec = mapping(content.get("spec"))
    crd = mapping(mapping(spec.get("crd")).get("spec"))
    targets = mappings(spec.get("targets"))
    if mapping(crd.get("names")).get("kind") != kind:
        return Template(key, f"its template {key.name} is for another kind")
    if len(targets) != 1 or targets[0].get("target") != TARGET:
        return Template(key, f"its template has no target {TARGET} alone")
    code = mappings(targets[0].get("code"))
    engines = [one.get("engine") for one in code]
    if CEL not in engines:
        if "Rego" in engines or targets[0].get("rego"):
            return Template(key, opaque="its template is written in Rego")
        return Template(key, opaque="its template is in no language that is known here")
    schema = mapping(crd.get("validation")).get("openAPIV3Schema")
    place = engines.index(CEL)
    template = _of_source(key, mapping(code[place].get("source")))
    return replace(template, operations=words(targets[0].get("operations")), place=place, schema=schema)


def _of_source(key: Key, source: Mapping[str, Any]) -> Template:
    policy = source.get("failurePolicy")
    variables = _named(source, "variables")
    conditions = _named(source, "matchCondition")
    if not source or policy not in (None, "Fail", "Ignore"):
        return Template(key, "Gatekeeper does not take its template: its source is not valid")
    names = [name for name, _ in (*variables, *conditions)]
    if any(name.startswith(_RESERVED) for name in names) or {name for name, _ in variables} & dict(BOUND).keys():
        return Template(key, "Gatekeeper does not take its template: a name in it is reserved")
    validations = tuple(str(one.get("expression") or "") for one in mappings(source.get("validations")))
    texts = (*validations, *(text for _, text in (*variables, *conditions)))
    bare = any(_PARAMS.search(_QUOTED.sub("''", text)) for text in texts)
    opaque = "its template reads params otherwise than as variables.params" if bare else ""
    by_field = not any(_WHOLE.search(text) for text in texts)
    misplaced = tuple(name for name, _ in _named(source, "matchConditions"))
    return Template(
        key, "", opaque, policy != "Ignore", conditions, validations, variables, misplaced=misplaced, by_field=by_field
    )


def _named(source: Mapping[str, Any], field: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(one.get("name") or ""), str(one.get("expression") or "")) for one in mappings(source.get(field)))


def conditioned(answers: Mapping[int, Answer], *, closed: bool) -> tuple[Match, frozenset[int]]:
    """Whether match conditions, by number, let a request through, and which of them do not.

    One that is false is enough that they do not. An error is `Match(None, "")` where it refuses the request.
    """
    outs = frozenset(number for number, one in answers.items() if one.outcome == "false")
    if outs:
        return NO, outs
    if unknown := next((one for one in answers.values() if one.outcome not in ("true", "error")), None):
        return Match(None, unknown.why or "a match condition is no truth value"), outs
    errors = frozenset(number for number, one in answers.items() if one.outcome == "error")
    if errors:
        return (Match(None), outs) if closed else (NO, errors)
    return YES, outs


def defaulted(value: Any, schema: Any, depth: int = 0) -> Any:
    """Parameters with the defaults of their schema, as the server and Gatekeeper fill them in."""
    schema = mapping(schema)
    if value is None and not depth:
        value = schema.get("default")
    if depth > _DEEPEST:
        return value
    if isinstance(value, list):
        return [defaulted(one, schema.get("items"), depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    properties, others = mapping(schema.get("properties")), mapping(schema.get("additionalProperties"))
    found = dict(value)
    for name, one in ((name, mapping(one)) for name, one in properties.items()):
        if "default" in one and (name not in found or (found[name] is None and not one.get("nullable"))):
            found[name] = one["default"]
    return {name: defaulted(one, properties.get(name, others), depth + 1) for name, one in found.items()}
