"""Rules written in CEL: those of a ValidatingPolicy, and `validate.cel` of a ClusterPolicy.

Source: kyverno v1.19.0, pkg/cel/policies/vpol/compiler/policy.go, pkg/engine/handlers/validation/validate_cel.go. Of a
ValidatingPolicy the first validation that does not hold decides, and an error refuses; from the release after 1.19.0
on it does so only where the policy fails closed. Kyverno's own functions have no answer.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from posture.admission import shapes
from posture.admission.cel import Answer, Program, Value, about_itself, about_name, about_user, namespace_mark
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ADMITS, NONE, REFUSES, Shape, Space, Verdict
from posture.admission.requests import Request

from .ways import Asking, question

IMAGES, VALUES = "allowedImages", "allowedValues"
_READS = re.compile(rf"\bexceptions\s*\.\s*\??\s*({IMAGES}|{VALUES})\b")
_EXCEPTIONS = re.compile(r"\bexceptions\b")
ERRORS_OPEN = "an expression fails, and releases of Kyverno differ in whether that refuses"


class Allowed(NamedTuple):
    """What an exception gives a ValidatingPolicy to read."""

    images: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


def program(spec: Mapping[str, Any], expressions: str, field: str = "expression") -> Program:
    """The expressions of one field of a policy, with its variables."""
    variables = tuple((str(one.get("name") or ""), str(one.get("expression") or "")) for one in
                      mappings(spec.get("variables")))  # fmt: skip
    return Program(tuple(str(one.get(field) or "") for one in mappings(spec.get(expressions))), variables)


class _Looking:
    """What of a request a body in CEL looks at."""

    program: Program

    @property
    def by_user(self) -> bool:
        """Whether it matters who asks."""
        return about_user(self.program)

    @property
    def by_name(self) -> bool:
        """Whether it matters what the object is called."""
        return about_name(self.program)

    @property
    def by_metadata(self) -> bool:
        """Whether it matters what the object is called or labelled."""
        return about_itself(self.program)

    def mark(self, space: Space) -> Hashable:
        """What of a namespace matters."""
        return namespace_mark(self.program, space)


class Validations(_Looking):
    """The body of a ValidatingPolicy. Its parts are what exceptions allow."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        asked, noted = program(spec, "validations"), program(spec, "auditAnnotations", "valueExpression")
        self.program = Program(asked.expressions + noted.expressions, asked.variables)
        self.open = spec.get("failurePolicy") == "Ignore"
        self._count = len(asked.expressions)
        texts = (*self.program.expressions, *(text for _, text in self.program.variables))
        self.reads = frozenset(name for text in texts for name in _READS.findall(text))
        self._given = any(_EXCEPTIONS.search(text) for text in texts)

    def judge(self, request: Request, parts: Mapping[int, Any]) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Whether it refuses a request; every part that it reads counts as used where it is admitted with them."""
        given: dict[str, Value] = {}
        if self._given:
            images = [image for one in parts.values() for image in one.images]
            values = [value for one in parts.values() for value in one.values]
            given["exceptions"] = Value({IMAGES: images, VALUES: values})
        (answers,) = yield [question(self.program, request, given)]
        return self._come_to(answers), frozenset(parts)

    def _come_to(self, answers: Sequence[Answer]) -> Verdict:
        failed = Verdict(None, ERRORS_OPEN) if self.open else REFUSES
        doubt: Verdict | None = None
        for number, one in enumerate(answers):
            expected = "true" if number < self._count else "text"
            if one.outcome == "unknown":
                doubt = doubt or Verdict(None, one.why)
            elif one.outcome != expected:
                found = REFUSES if one.outcome == "false" and number < self._count else failed
                return found if doubt is None or (found is REFUSES and not self.open) else doubt
        return doubt or ADMITS


class Expressions(_Looking):
    """The body of a rule with `validate.cel`, which fails closed."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given` is `validate.cel`."""
        self.program = program(given, "expressions")

    def judge(self, request: Request, _: Mapping[int, Any]) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Whether it refuses a request."""
        (answers,) = yield [question(self.program, request)]
        if any(one.outcome in ("false", "error") for one in answers):
            return REFUSES, NONE
        doubt = next((one for one in answers if one.outcome != "true"), None)
        return (Verdict(None, doubt.why or "a validation is no truth value") if doubt else ADMITS), NONE


class Opaque:
    """The body of a rule of which nobody can say what it refuses."""

    by_user = by_name = by_metadata = False

    def __init__(self, why: str) -> None:
        self.why = why

    def mark(self, _: Space) -> Hashable:
        """Nothing of a namespace matters."""
        return None

    def judge(self, _request: Request, _: Mapping[int, Any]) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Nobody can say."""
        yield from ()
        return Verdict(None, self.why), NONE


def shaped_for(texts: Sequence[str]) -> tuple[tuple[str, ...] | None, Shape | None]:
    """The namespaces outside of which some expressions do not all hold, for what is in a namespace, None if unknown;
    and an example of what they hold for there.
    """
    parts = [part for text in texts for part in shapes.parts(text)]
    named = [match for part in parts if (match := _NAMED.fullmatch(part))]
    shape = shapes.holding(part for part in parts if not _NAMED.fullmatch(part))
    if not named:
        return None, shape
    names = tuple(one[1:-1] for one in re.findall(_TEXT, named[0][1] or named[0][2]))
    return names, shape if len(named) == 1 else None


_TEXT = r"(?:'[^'\\\n]*'|\"[^\"\\\n]*\")"
_NAMED = re.compile(
    r"(?:object\.metadata\.namespace|request\.namespace|namespaceObject\.metadata\.name)\s*"
    rf"(?:==\s*({_TEXT})|in\s*\[((?:\s*{_TEXT}\s*,)*\s*{_TEXT}\s*)\])"
)


def named_in(spec: Mapping[str, Any], field: str) -> tuple[tuple[str, str], ...]:
    """The names and expressions of match conditions."""
    return tuple((str(one.get("name") or ""), str(one.get("expression") or "")) for one in mappings(spec.get(field)))


def admission(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a CEL policy is evaluated at admission."""
    return mapping(mapping(spec.get("evaluation")).get("admission"))
