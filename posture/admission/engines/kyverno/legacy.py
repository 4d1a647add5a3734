"""ClusterPolicies and Policies: each rule that validates is a policy of its own, edited as one.

Source: kyverno v1.19.0: api/kyverno/v1, pkg/engine/{engine,validation}.go, pkg/engine/handlers/validation.
Rules that Kyverno makes for the controllers of pods are not modelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from posture.admission import shapes
from posture.admission.matching import NO, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ADMITS, NONE, REFUSES, Exemption, Policy, Space, Verdict
from posture.admission.requests import Request
from posture.model import Snapshot

from . import patterns
from .actions import Overrides, enforces
from .configuration import Gate, Setup
from .edits import Path, without
from .exceptions import Exceptions, image_of
from .expressions import Expressions, Opaque, named_in, program
from .filters import Block, block, labels_of, said
from .podsecurity import PodSecurity
from .ways import BEFORE, CONDITION, CONTROLLERS, NOT_MODELLED, Asking, Body, Rule, Way
from .wildcards import kind_selector, kinds_meet, strings
from .written import CLUSTER, LOCAL, Given

AUTOGEN = "pod-policies.kyverno.io/autogen-controllers"


def policies(snapshot: Snapshot, name: str, setup: Setup, exceptions: Exceptions) -> Iterator[Policy]:
    """A policy for each rule that validates, or that verifies images."""
    for resource in (CLUSTER, LOCAL):
        for key, content in sorted(snapshot.objects(resource), key=lambda one: one[0]):
            alike: Counter[Any] = Counter()
            for number, rule in enumerate(mappings(mapping(content.get("spec")).get("rules"))):
                if rule.get("validate") or rule.get("verifyImages"):
                    made = _policy(name, Given(key, content, number, rule), setup, exceptions)
                    yield replace(made, content=(made.content, alike[made.content]))
                    alike[made.content] += 1


def opaque(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """For each rule of which nobody can say what it refuses, its resource and why."""
    for resource in (CLUSTER, LOCAL):
        for key, content in snapshot.objects(resource):
            for number, rule in enumerate(mappings(mapping(content.get("spec")).get("rules"))):
                why = _opaque(Given(key, content, number, rule))
                if why and (rule.get("validate") or rule.get("verifyImages")):
                    yield resource, why


def _policy(engine: str, given: Given, setup: Setup, exceptions: Exceptions) -> Policy:
    spec, validate = given.spec, given.validate
    unclear = _opaque(given)
    webhook = spec.get("webhookConfiguration")
    fails_open = (mapping(webhook).get("failurePolicy") or spec.get("failurePolicy")) == "Ignore"
    body = Opaque(unclear) if unclear else _body(validate, fails_open)
    actions = Overrides(given)
    gate = setup.gate("", given.key, given.match.kinds, fails_open)
    ways = [*actions.ways, *_excluded(given), *_conditions(given, fails_open)]
    ways += [*_left_out(given), *gate.ways, *exceptions.of_rule(given.full_name, given.name, body)]
    namespaces = any(kinds_meet(kind, "Namespace") for kind in given.match.kinds)
    rule = Rule(
        body, _Meant(given, given.match, gate).of, tuple(ways), gate.area(given.match.area), given.key.namespace,
        actions if actions.ever and (actions.ways or actions.enforces_some) else None, _spares(given, body),
        namespaces and (body.by_metadata or given.match.by_metadata),
        namespaces and any(way.by_metadata for way in ways),
    )  # fmt: skip
    return Policy(
        engine, given.through(), (given.key, *gate.keys), rule,
        content=orjson.dumps([_asked(validate), given.rule.get("verifyImages"), given.rule.get("preconditions"),
                              given.match.kinds], option=orjson.OPT_SORT_KEYS, default=str),
        denies=spec.get("admission") is not False and actions.ever,
        up=gate.up, open=fails_open or gate.open, why=gate.why, opaque=unclear,
        exemptions=tuple(way.exemption for way in ways),
        users=given.match.by_user or any(way.by_user for way in ways) or body.by_user,
        names=given.match.by_name or any(way.by_name for way in ways) or body.by_name,
        fails=any(way.fails for way in ways),
    )  # fmt: skip


def _asked(validate: Mapping[str, Any]) -> Mapping[str, Any]:
    """What decides what a rule refuses, without its action and without what it leaves out."""
    beside = ("failureAction", "failureActionOverrides", "message")
    left = {name: value for name, value in validate.items() if name not in beside}
    if "podSecurity" in left:
        left["podSecurity"] = {n: v for n, v in mapping(left["podSecurity"]).items() if n != "exclude"}
    return left


def _spares(given: Given, body: Body) -> bool:
    """Whether what violates it already may be changed; rules in CEL do not look at what was."""
    action = given.validate.get("failureAction") or given.spec.get("validationFailureAction")
    allowed = given.validate.get("allowExistingViolations") is not False
    return enforces(action) and allowed and not isinstance(body, Expressions)


class _Meant(NamedTuple):
    """Which requests a rule is for."""

    given: Given
    match: Block
    gate: Gate

    def of(self, request: Request) -> Match:
        """Whether it is for one."""
        namespace = self.given.key.namespace
        if namespace and request.namespace != namespace:
            return NO
        found = self.match.selects(request)
        if found.holds is False and request.resource.resource in CONTROLLERS and self._for_controllers:
            return Match(None, NOT_MODELLED)
        return self.gate.meant(request, found)

    @property
    def _for_controllers(self) -> bool:
        controllers = mapping(self.given.content.get("annotations")).get(AUTOGEN)
        return controllers != "none" and "Pod" in {kind_selector(kind).kind for kind in self.match.kinds}


# What it asks for ----------------------------------------------------------------------------------------------------


def _opaque(given: Given) -> str:
    """Why nobody can say what a rule refuses; "" where it can be told."""
    validate = given.validate
    if not validate:
        return "verifies images"
    fields = ("manifests", "foreach", "deny", "assert")
    others = next((one for one in fields if validate.get(one) is not None), None)
    if others:
        known = {"manifests": "verifies signatures of manifests", "deny": "denies by JMESPath"}
        return known.get(others, f"asks by {others}")
    if given.rule.get("context"):
        return "loads data from elsewhere"
    if _precondition(given.rule.get("preconditions")) is None:
        return "has preconditions in JMESPath"
    if given.spec.get("applyRules") == "One" and given.number:
        return "is applied only where no rule before it is"
    if "pattern" in validate:
        return patterns.unsupported(validate["pattern"])
    if "anyPattern" in validate:
        return patterns.unsupported(validate["anyPattern"])
    if mapping(validate.get("cel")).get("paramKind"):
        return "reads parameters"
    return "" if validate.get("podSecurity") or validate.get("cel") else "asks for nothing that is known"


def _body(validate: Mapping[str, Any], fails_open: bool) -> Body:
    if validate.get("podSecurity"):
        return PodSecurity(mapping(validate["podSecurity"]))
    if validate.get("cel"):
        return Expressions(mapping(validate["cel"]))
    return Pattern(validate, fails_open)


class Pattern:
    """The body of a rule with a pattern, or with several of which one is enough."""

    by_user = False

    def __init__(self, validate: Mapping[str, Any], fails_open: bool) -> None:
        self._validate, self._open = validate, fails_open
        several = validate.get("anyPattern")
        wanted = [validate["pattern"]] if "pattern" in validate else several if isinstance(several, list) else []
        self.by_name = any(map(patterns.about_name, wanted))
        self.by_metadata = any(map(patterns.about_metadata, wanted))

    def mark(self, space: Space) -> Hashable:
        """What of a namespace matters: its name, where names matter."""
        return space.name if self.by_name else None

    def judge(self, request: Request, _: Mapping[int, Any]) -> Asking[tuple[Verdict, frozenset[int]]]:
        """Whether an object is not as the pattern says."""
        yield from ()
        if request.operation == "DELETE" or request.object is None:
            return ADMITS, NONE
        try:
            if "pattern" in self._validate:
                found = patterns.judged(self._validate["pattern"], request.object)
            else:
                wanted = self._validate["anyPattern"]
                found = patterns.judged_any(wanted if isinstance(wanted, list) else [], request.object)
        except patterns.Unanswered as why:
            return Verdict(None, str(why)), NONE
        if found == "error" and self._open:
            return Verdict(None, "its pattern cannot be applied, which refuses only where a policy fails closed"), NONE
        return (ADMITS if found in ("pass", "skip") else REFUSES), NONE


# What it leaves out --------------------------------------------------------------------------------------------------


def _excluded(given: Given) -> Iterator[Way]:
    """Each entry of an exclude block, or all of them where all must hold."""
    found = block(given.rule.get("exclude"))
    there = mapping(given.rule.get("exclude"))
    if found.every and found.filters:
        parts = [found]
        paths: list[Path] = [given.at("exclude")]
    else:
        parts = [Block((one,)) for one in found.filters]
        nested = bool(mappings(there.get("any")))
        paths = [given.at("exclude", "any", n) if nested else given.at("exclude") for n in range(len(parts))]
    for part, path in zip(parts, paths, strict=True):
        text = " and ".join(map(said, part.filters))
        labels = tuple(sorted({label for one in part.filters for label in labels_of(one)}))
        exemption = Exemption(
            given.through(f"rules[{given.name}].exclude[{text}]"), (given.key,), f"excludes {text}",
            (without(given.key, given.content, path),), labels=labels, shape=part.shape,
        )  # fmt: skip
        yield Way(exemption, BEFORE, part.area, part.selects, users=part.by_user, names=part.by_name,
                  metadata=part.by_metadata)  # fmt: skip


_OPERATION = ("{{request.operation}}", "{{request.operation||'BACKGROUND'}}", '{{request.operation||"BACKGROUND"}}')


def _precondition(given: Any) -> tuple[tuple[str, bool, tuple[str, ...]], ...] | None:
    """Preconditions on the operation alone, which many rules have; None where there are others.

    Of each, `any` or `all`, whether the operation is to be one of the values, and these.
    """
    found: list[tuple[str, bool, tuple[str, ...]]] = []
    blocks = given if isinstance(given, dict) else {"all": given} if given else {}
    for field, entries in blocks.items():
        for one in mappings(entries):
            value = one.get("value")
            values = strings(value) if isinstance(value, list) else (value,) if isinstance(value, str) else ()
            operator = str(one.get("operator") or "").lower()
            within = operator in ("equal", "equals", "in", "anyin")
            if "".join(str(one.get("key")).split()) not in _OPERATION or not values or field not in ("any", "all"):
                return None
            if not within and operator not in ("notequal", "notequals", "notin", "anynotin", "allnotin"):
                return None
            if any(not text.isalpha() for text in values):
                return None
            found.append((field, within, values))
        if entries and not mappings(entries):
            return None
    return tuple(found)


def _conditions(given: Given, fails_open: bool) -> Iterator[Way]:
    """Preconditions on the operation, and those in CEL."""
    found = _precondition(given.rule.get("preconditions"))
    if found:
        exemption = Exemption(
            given.through(f"rules[{given.name}].preconditions"), (given.key,),
            "excludes operations by its preconditions", (without(given.key, given.content, given.at("preconditions")),),
            shape=None,
        )  # fmt: skip
        yield Way(exemption, BEFORE, takes=_Operations(found).out)
    for number, (name, expression) in enumerate(named_in(given.rule, "celPreconditions")):
        path = given.at("celPreconditions", number)
        yield _by_expression(given, f"rules[{given.name}].celPreconditions[{name}]", name, path, expression)
    webhook = mapping(given.spec.get("webhookConfiguration"))
    for number, (name, expression) in enumerate(named_in(webhook, "matchConditions")):
        path = ("spec", "webhookConfiguration", "matchConditions", number)
        yield _by_expression(given, f"webhookConfiguration.matchConditions[{name}]", name, path, expression, fails_open)


class _Operations(NamedTuple):
    """Preconditions on the operation."""

    entries: tuple[tuple[str, bool, tuple[str, ...]], ...]

    def out(self, request: Request) -> Match:
        """Whether they do not hold."""
        held = [(field, (request.operation in values) is within) for field, within, values in self.entries]
        some = [holds for field, holds in held if field == "any"]
        return Match(not (all(holds for field, holds in held if field == "all") and (any(some) or not some)))


def _by_expression(
    given: Given, path: str, name: str, at: Path, expression: str, lenient: bool = False
) -> Way:  # fmt: skip
    exemption = Exemption(
        given.through(path), (given.key,), f"excludes requests by its match condition {name}",
        (without(given.key, given.content, at),), shape=shapes.failing(expression),
    )  # fmt: skip
    variables = mapping(given.validate.get("cel")).get("variables")
    asked = program({"c": [{"expression": expression}], "variables": variables}, "c")
    return Way(exemption, CONDITION, program=asked, unless=True, lenient=lenient, blind=True)


def _left_out(given: Given) -> Iterator[Way]:
    """The entries of `validate.podSecurity.exclude`."""
    pod_security = mapping(given.validate.get("podSecurity"))
    for number, one in enumerate(mappings(pod_security.get("exclude"))):
        path = given.at("validate", "podSecurity", "exclude", number)
        text = left_out(one)
        exemption = Exemption(
            given.through(f"rules[{given.name}].validate.podSecurity.exclude[{text}]"), (given.key,),
            f"leaves out {text}", (without(given.key, given.content, path),), shape=image_of(one),
        )  # fmt: skip
        yield Way(exemption, CONDITION, part=(one,))


def left_out(entry: Mapping[str, Any]) -> str:
    """An entry that leaves out a control, in words."""
    parts = [f"the control {entry.get('controlName')}"]
    if entry.get("restrictedField"):
        parts.append(f"in {entry['restrictedField']}")
    if values := strings(entry.get("values")):
        parts.append(f"with {', '.join(values)}")
    if images := strings(entry.get("images")):
        parts.append(f"for images {', '.join(images)}")
    return " ".join(parts)
