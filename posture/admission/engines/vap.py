"""ValidatingAdmissionPolicy: what each policy refuses through each of its bindings, and who is taken out of it.

Kyverno makes some of its own policies; Gatekeeper makes one of a template, and a binding of each constraint. While what
it was made of is there, that is what one edits: both are one policy to whoever counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import orjson

from posture.admission import shapes
from posture.admission.cel import Missing, about_user
from posture.admission.engines.bound import Bound, Params, judged, metadata
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ANY, Exemption, Policy, Space, Variant
from posture.kinds import ADMISSION, CONSTRAINTS, KINDS, KYVERNO, KYVERNO_CEL, called, kind_of, manifest
from posture.model import Changed, Content, Gap, Key, Snapshot, Through

__all__ = ["NAME", "READS", "gaps", "judged", "policies", "strays", "variant"]

NAME = "vap"
POLICIES = f"validatingadmissionpolicies.{ADMISSION}"
BINDINGS = f"validatingadmissionpolicybindings.{ADMISSION}"
PARAMETERS = f"*.{CONSTRAINTS}"
"""The only parameters that are read: those of the policies that Gatekeeper makes."""
_PARENTS = frozenset({KYVERNO, KYVERNO_CEL, CONSTRAINTS, "templates.gatekeeper.sh"})
"""The groups of what makes policies out of itself."""
_TEMPLATES = "constrainttemplates.templates.gatekeeper.sh"
READS: tuple[str, ...] = (
    POLICIES, BINDINGS, *(kind.name for kind in KINDS if kind.group in _PARENTS and not kind.namespaced)
)  # fmt: skip

type Parameters = Callable[[str, str], Params]
"""By apiVersion and kind."""

# Policies -----------------------------------------------------------------------------------------------------------


def bound(snapshot: Snapshot, parameters: Parameters | None = None) -> Iterator[Bound]:
    """Each binding with its policy. The server ignores a binding whose policy is not there."""
    read = parameters or (lambda version, kind: parameters_of(snapshot, version, kind))
    for binding, content in snapshot.objects(BINDINGS):
        applied = mapping(content.get("spec"))
        key = Key(POLICIES, "", str(applied.get("policyName") or ""))
        policy = snapshot.get(key)
        if policy is not None:
            spec = mapping(policy.get("spec"))
            wanted = mapping(spec.get("paramKind"))
            params = read(str(wanted.get("apiVersion")), str(wanted.get("kind"))) if wanted else Params()
            yield Bound(key, binding, spec, applied, params, parent(content, policy))


def parameters_of(snapshot: Snapshot, version: str, kind: str) -> Params:
    """The objects of a kind, if that is one of those that are read."""
    known = kind_of(version.rpartition("/")[0], kind)
    if known is None or known.name != PARAMETERS:
        return Params(why=f"parameters are of kind {kind}, whose objects are not read")
    if gap := snapshot.gap(PARAMETERS):
        return Params(why=f"{PARAMETERS}: {gap.message}")
    objects = (manifest(key, content) for key, content in sorted(snapshot.objects(PARAMETERS), key=lambda one: one[0])
               if _kind(key) == kind)  # fmt: skip
    return Params(tuple(objects), known.namespaced, resource=PARAMETERS)


def _kind(key: Key) -> str:
    return key.name.partition("/")[0]


def parent(*contents: Content) -> Key | None:
    """The object of another engine that some generated objects say they were made of."""
    for owner in (owner for content in contents for owner in mappings(content.get("ownerReferences"))):
        group, name = str(owner.get("apiVersion")).rpartition("/")[0], str(owner.get("name"))
        kind = kind_of(group, str(owner.get("kind"))) if group in _PARENTS else None
        if kind is not None:
            return Key(kind.name, "", f"{owner.get('kind')}/{name}" if kind.kind == "*" else name)
    return None


def policies(snapshot: Snapshot, parameters: Parameters | None = None) -> Iterator[Policy]:
    """Each binding with its policy. What one edits is the policy, or the binding where it has several."""
    found = sorted(bound(snapshot, parameters), key=lambda one: (one.key.name, one.binding.name))
    count = Counter(one.key for one in found)
    for one in found:
        conditions, validations = one.programs()
        keys = _keys(snapshot, one, count[one.key] == 1)
        yield Policy(
            NAME, through(keys[0]), keys, one,
            content=_content(one), denies=one.denies, why=_warned(snapshot, one),
            exemptions=tuple(_exemptions(snapshot, one)), users=about_user(conditions) or about_user(validations),
            names=one.names, always=one.always, fails=bool(one.conditions) and not one.fails_open,
        )  # fmt: skip


def through(key: Key, path: str = "") -> Through:
    """What one edits, and where in it."""
    _, kind, name = called(key)
    return Through(kind, key.namespace, f"{name}/{path}" if path else name)


def _keys(snapshot: Snapshot, one: Bound, alone: bool) -> tuple[Key, ...]:
    """First what one edits: what it was made of, the policy, or the binding where the policy has several."""
    own = (one.key, one.binding) if alone else (one.binding, one.key)
    made = (one.parent,) if one.parent else ()
    found = one.parameters(None) if one.reference and one.params.resource else []
    given = (Key(one.params.resource, "", f"{each['kind']}/{metadata(each)['name']}") for each in found)
    origin = _origin(snapshot, one)
    return tuple(dict.fromkeys((*([origin] if origin else []), *own, *made, *given)))


def _origin(snapshot: Snapshot, one: Bound) -> Key | None:
    """The policy of another engine that it was made of, if that is there: of a template, the constraint."""
    found = one.parent
    if found is not None and found.resource == _TEMPLATES:
        found = Key(PARAMETERS, "", f"{mapping(one.spec.get('paramKind')).get('kind')}/{one.reference.get('name')}")
    return found if found is not None and snapshot.get(found) is not None else None


def _content(one: Bound) -> Hashable:
    """A hash over what decides what it refuses."""
    _, validations = one.programs()
    chosen = [{**given, "metadata": {**metadata(given), "annotations": None}} for given in one.parameters(None)]
    rules = [{field: given.get(field) for field in ("resourceRules", "matchPolicy")} for given in one.scopes]
    body = [validations.body, len(mappings(one.spec.get("validations"))), one.spec.get("failurePolicy"), rules,
            one.spec.get("paramKind"), {**one.reference, "parameterNotFoundAction": ""}, chosen]  # fmt: skip
    return hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _warned(snapshot: Snapshot, one: Bound) -> str:
    """The server's own check of types finds what fails when it is evaluated."""
    status = mapping(mapping((snapshot.get(one.key) or {}).get("status")).get("typeChecking"))
    fields = ", ".join(str(warning.get("fieldRef")) for warning in mappings(status.get("expressionWarnings")))
    return f"the server warns of {fields}, and what fails is admitted" if fields and one.fails_open else ""


def _exemptions(snapshot: Snapshot, one: Bound) -> Iterator[Exemption]:
    """Each way out, in the order of the numbers."""
    for binding, way in one.ways:
        key, field = (one.binding, "matchResources") if binding else (one.key, "matchConstraints")
        removal = (_edited(snapshot, key, (field,), way.rest),)
        yield Exemption(through(key, f"spec.{field}.{way.path}"), (key,), way.what, removal, labels=way.labels,
                        shape=way.shape)  # fmt: skip
    for name in one.conditions:
        expressions = [str(given.get("expression") or "") for given in mappings(one.spec.get("matchConditions"))
                       if str(given.get("name") or "") == name]  # fmt: skip
        others = [given for given in mappings(one.spec.get("matchConditions")) if str(given.get("name") or "") != name]
        removal = (_edited(snapshot, one.key, ("matchConditions",), others),)
        what = f"excludes requests by its match condition {name}"
        yield Exemption(through(one.key, f"spec.matchConditions[{name}]"), (one.key,), what, removal,
                        shape=shapes.failing(expressions[0]))  # fmt: skip
    if one.lenient is not None:
        removal = (_edited(snapshot, one.binding, ("paramRef", "parameterNotFoundAction"), "Deny"),)
        path = "spec.paramRef.parameterNotFoundAction"
        shape = None if one.params.why else ANY
        yield Exemption(through(one.binding, path), (one.binding,), "admits what finds no parameters", removal,
                        shape=shape)  # fmt: skip


def _edited(snapshot: Snapshot, key: Key, path: tuple[str, ...], value: Any) -> Changed:
    """An edit of one field below `spec`; an empty value takes it away."""
    old = snapshot.get(key) or {}
    return Changed(key, old, {**old, "spec": _with(mapping(old.get("spec")), path, value)})


def _with(holder: Mapping[str, Any], path: tuple[str, ...], value: Any) -> Mapping[str, Any]:
    name, rest = path[0], path[1:]
    found = _with(mapping(holder.get(name)), rest, value) if rest else value
    others = {field: given for field, given in holder.items() if field != name}
    return {**others, name: found} if found else others


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """What keeps the policies that are there from being judged."""
    found = [*bound(snapshot)]
    if found and isinstance(snapshot.settings.get("cel"), Missing):
        yield Gap(POLICIES, "", "extra missing", f"{Missing.WHY}: what these policies refuse is unknown")
    for why in sorted({one.params.why for one in found if one.params.why and one.reference}):
        yield Gap(POLICIES, "", "not modelled", why)


def strays(_snapshot: Snapshot) -> Iterator[Exemption]:
    """None: what takes something out stands in the policies themselves."""
    return iter(())


def variant(policy: Policy, space: Space) -> Variant | None:
    """What a policy is in a namespace; "" is the cluster, for what is made in none."""
    one: Bound = policy.rule
    return one.place.variant(space)
