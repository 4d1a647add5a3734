"""The policies of policies.kyverno.io: ValidatingPolicies, and ImageValidatingPolicies, which nobody can evaluate here.

Source: kyverno v1.19.0, pkg/cel/policies/vpol, pkg/cel/matching, and the API of the group. Match conditions see the
namespace and the exceptions' values, and no variables. Rules that Kyverno makes for the controllers of pods are not
modelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from posture.admission import matching, shapes
from posture.admission.cel import Program
from posture.admission.matching import NO, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import Exemption, Policy
from posture.admission.requests import Request
from posture.kinds import CLUSTER_SCOPED
from posture.model import Content, Key, Snapshot, Through

from .configuration import Gate, Setup
from .edits import changed, without
from .exceptions import REFERENCES, Exceptions
from .expressions import Opaque, Validations, admission, named_in
from .ways import BEFORE, CONDITION, CONTROLLERS, EVERYWHERE, NOT_MODELLED, Area, Body, Place, Rule, Way
from .wildcards import strings

_FAMILIES = {"ValidatingPolicy": "vpol.", "NamespacedValidatingPolicy": "nvpol.", "ImageValidatingPolicy": "ivpol.",
             "NamespacedImageValidatingPolicy": "nivpol."}  # fmt: skip
_CLUSTER_NAMES = frozenset(name.partition(".")[0] for name in CLUSTER_SCOPED)


def policies(snapshot: Snapshot, name: str, setup: Setup, exceptions: Exceptions) -> Iterator[Policy]:
    """A policy for each that validates at admission."""
    for kind in _FAMILIES:
        for key, content in sorted(snapshot.objects(REFERENCES[kind]), key=lambda one: one[0]):
            given = _Given(key, content, kind)
            if mapping(given.spec.get("evaluation")).get("mode", "Kubernetes") == "Kubernetes":
                yield _policy(name, given, setup, exceptions)


class _Given(NamedTuple):
    """A policy as it is written."""

    key: Key
    content: Content
    kind: str

    @property
    def spec(self) -> Mapping[str, Any]:
        return mapping(self.content.get("spec"))

    @property
    def constraints(self) -> Mapping[str, Any]:
        return mapping(self.spec.get("matchConstraints"))

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources that it is for; none where it names none."""
        rules = mappings(self.constraints.get("resourceRules"))
        return tuple(one for rule in rules for one in strings(rule.get("resources")))

    def through(self, path: str = "") -> Through:
        return Through(self.kind, self.key.namespace, f"{self.key.name}/{path}" if path else self.key.name)


def _policy(engine: str, given: _Given, setup: Setup, exceptions: Exceptions) -> Policy:
    spec = given.spec
    images = "Image" in given.kind
    body: Body = Opaque("verifies images") if images else Validations(spec)
    fails_open = spec.get("failurePolicy") == "Ignore"
    resources = tuple(one.partition("/")[0] for one in given.resources) or ("*",)
    gate = setup.gate(_FAMILIES[given.kind], given.key, _kinds(resources), fails_open, resources)
    namespaced = not any("*" in one or one in _CLUSTER_NAMES for one in resources)
    ways = (
        *_constrained(given), *_conditions(given, fails_open or setup.flags.open), *_others(gate, given),
        *exceptions.of_policy(given.kind, given.key.name, fails_open, body, namespaced),
    )  # fmt: skip
    meant = matching.scope(given.constraints)
    selector = mapping(meant.get("namespaceSelector"))
    area: Area = ((Place(None, selector),),) if selector else EVERYWHERE
    namespaces = matching.of_namespaces(given.constraints)
    rule = Rule(
        body, _Meant(given, gate, meant).of, ways, gate.area(area), given.key.namespace,
        itself=namespaces and body.by_metadata, itself_out=namespaces and any(way.by_metadata for way in ways),
    )  # fmt: skip
    actions = spec.get("validationActions")
    asked = {field: spec.get(field) for field in ("validations", "variables", "auditAnnotations", "failurePolicy",
                                                  "attestors", "attestations", "matchImageReferences", "images",
                                                  "validationConfigurations")}  # fmt: skip
    return Policy(
        engine, given.through(), (given.key, *gate.keys), rule,
        content=orjson.dumps([asked, mappings(given.constraints.get("resourceRules"))], option=orjson.OPT_SORT_KEYS),
        denies=(not actions or "Deny" in strings(actions)) and admission(spec).get("enabled") is not False,
        up=gate.up, open=fails_open or gate.open, why=gate.why, opaque=body.why if isinstance(body, Opaque) else "",
        exemptions=tuple(way.exemption for way in ways),
        users=any(way.by_user for way in ways) or body.by_user,
        names=matching.names(given.constraints) or any(way.by_name for way in ways) or body.by_name,
        fails=any(way.fails for way in ways),
    )  # fmt: skip


def _kinds(resources: tuple[str, ...]) -> list[str]:
    """Kinds of resources, as far as names tell: enough to see which filters are about them."""
    return [_KINDS.get(one, "*/*") for one in resources]


_KINDS = {"pods": "Pod", "deployments": "Deployment", "namespaces": "Namespace", "services": "Service"}


class _Meant(NamedTuple):
    """Which requests a policy is for."""

    given: _Given
    gate: Gate
    constraints: Mapping[str, Any]

    def of(self, request: Request) -> Match:
        """Whether it is for one."""
        namespace = self.given.key.namespace
        if (namespace and request.namespace != namespace) or not self.given.constraints or matching.invisible(request):
            return NO
        found = matching.matches(self.constraints, request)
        if found.holds is False and request.resource.resource in CONTROLLERS and self._for_controllers:
            return Match(None, NOT_MODELLED)
        return self.gate.meant(request, found)

    @property
    def _for_controllers(self) -> bool:
        controllers = mapping(mapping(self.given.spec.get("autogen")).get("podControllers")).get("controllers")
        return controllers != [] and {*self.given.resources} == {"pods"}


def _others(gate: Gate, given: _Given) -> Iterator[Way]:
    """What a webhook leaves out, but for what it has from the policy itself."""
    own = {way.what for way in matching.ways(given.constraints)}
    return (way for way in gate.ways if way.exemption.what not in own)


def _constrained(given: _Given) -> Iterator[Way]:
    """What the match constraints leave out."""
    for way in matching.ways(given.constraints):
        removal = changed(given.key, given.content, ("spec", "matchConstraints"), way.rest)
        exemption = Exemption(given.through(f"spec.matchConstraints.{way.path}"), (given.key,), way.what, (removal,),
                              labels=way.labels, shape=way.shape)  # fmt: skip
        area: Area = EVERYWHERE if way.keeps is None else ((Place(beside=way.keeps),),)
        yield Way(exemption, BEFORE, area, way.out, metadata=bool(way.labels))


def _conditions(given: _Given, lenient: bool) -> Iterator[Way]:
    """Match conditions, each of which may leave something out."""
    for number, (name, expression) in enumerate(named_in(given.spec, "matchConditions")):
        removal = without(given.key, given.content, ("spec", "matchConditions", number))
        what = f"excludes requests by its match condition {name}"
        exemption = Exemption(given.through(f"spec.matchConditions[{name}]"), (given.key,), what, (removal,),
                              shape=shapes.failing(expression))  # fmt: skip
        yield Way(exemption, CONDITION, program=Program((expression,)), unless=True, lenient=lenient)
