"""PolicyExceptions of both groups: whether Kyverno reads them, what they take out, and of which policies.

Source: kyverno v1.19.0: cmd/internal/{flag,engine}.go, pkg/cel/engine/exception.go (the namespace of an exception does
not limit it; one that has expired is passed over), api/kyverno/v2/policy_exception_types.go, and policies.kyverno.io's
PolicyException. Two traps: an exception of policies.kyverno.io without conditions, images and values takes everything
everywhere out of a policy; and with no --exceptionNamespace those of kyverno.io are ignored, while the others count
from every namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from posture.admission import shapes
from posture.admission.cel import Program
from posture.admission.engines.liveness import moment
from posture.admission.matching import Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import Exemption, Shape
from posture.admission.requests import Request
from posture.model import Changed, Content, Key, Snapshot, Through

from .configuration import Flags
from .expressions import IMAGES, VALUES, Allowed, Validations, named_in, shaped_for
from .filters import Block, block, labels_of, said
from .podsecurity import PodSecurity
from .ways import EVERYWHERE, EXCEPTION, Area, Body, Place, Way
from .wildcards import any_matches, strings

LEGACY, CEL = "policyexceptions.kyverno.io", "policyexceptions.policies.kyverno.io"
KIND = "PolicyException"
REFERENCES: Mapping[str, str] = {
    "ValidatingPolicy": "validatingpolicies.policies.kyverno.io",
    "NamespacedValidatingPolicy": "namespacedvalidatingpolicies.policies.kyverno.io",
    "ImageValidatingPolicy": "imagevalidatingpolicies.policies.kyverno.io",
    "NamespacedImageValidatingPolicy": "namespacedimagevalidatingpolicies.policies.kyverno.io",
    "MutatingPolicy": "mutatingpolicies.policies.kyverno.io",
    "NamespacedMutatingPolicy": "namespacedmutatingpolicies.policies.kyverno.io",
}
_AUTOGEN = ("autogen-", "autogen-cronjob-")
_GIVEN = {
    "owner": "owner", "team": "owner", "reason": "reason", "justification": "reason", "ticket": "ticket",
    "approved-by": "approved", "approvedby": "approved", "approver": "approved", "approved": "approved",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Read:
    """An exception, and its way out as far as that is the same for all policies."""

    key: Key
    content: Content
    exemption: Exemption

    @property
    def spec(self) -> Mapping[str, Any]:
        return mapping(self.content.get("spec"))


class Exceptions:
    """The exceptions of a snapshot."""

    def __init__(self, snapshot: Snapshot, flags: Flags) -> None:
        self._snapshot, self._flags = snapshot, flags
        now = moment(snapshot)
        self._legacy: dict[str, list[tuple[_Read, tuple[str, ...]]]] = {}
        self._cel: dict[tuple[str, str], list[_Read]] = {}
        for key, content in sorted(snapshot.objects(LEGACY), key=lambda one: one[0]):
            one = _Read(key, content, _exemption(key, content, self._flags.ignores(key, legacy=True), now))
            for entry in mappings(one.spec.get("exceptions")):
                place = self._legacy.setdefault(str(entry.get("policyName") or ""), [])
                place.append((one, strings(entry.get("ruleNames"))))
        for key, content in sorted(snapshot.objects(CEL), key=lambda one: one[0]):
            one = _Read(key, content, _exemption(key, content, self._flags.ignores(key, legacy=False), now))
            for reference in _references(one.spec):
                self._cel.setdefault(reference, []).append(one)

    # Of kyverno.io ---------------------------------------------------------------------------------------------------

    def of_rule(self, policy: str, rule: str, body: Body) -> Iterator[Way]:
        """Those for a rule, which is named as exceptions name it: with its policy's namespace, if that has one."""
        done: set[Key] = set()
        for one, names in self._legacy.get(policy, ()):
            if one.key in done:
                continue
            pods = any_matches(names, rule)
            if pods or any(any_matches(names, prefix + rule) for prefix in _AUTOGEN):
                done.add(one.key)
                yield _legacy_way(one, body, pods)

    # Of policies.kyverno.io ------------------------------------------------------------------------------------------

    def of_policy(self, kind: str, name: str, lenient: bool, body: Body, namespaced: bool) -> Iterator[Way]:
        """Those for a policy, whatever their namespace is. `lenient` ones are passed over where a condition fails;
        `namespaced` says that all that the policy selects is in namespaces.
        """
        return (_cel_way(one, kind, name, lenient, body, namespaced) for one in self._cel.get((kind, name), ()))

    # Of no policy ----------------------------------------------------------------------------------------------------

    def strays(self) -> Iterator[Exemption]:
        """Exceptions all of whose policies or rules are not there."""
        missing: dict[Key, tuple[Exemption, list[str]]] = {}
        met: set[Key] = set()
        for name, entries in self._legacy.items():
            rules = self._rules(name)
            for one, names in entries:
                if rules is not None and any(any_matches(names, p + r) for r in rules for p in ("", *_AUTOGEN)):
                    met.add(one.key)
                else:
                    what = f"there is no policy {name}"
                    if rules is not None:
                        what = f"policy {name} has no rule {', '.join(names)}"
                    missing.setdefault(one.key, (one.exemption, []))[1].append(what)
        for (kind, name), found in self._cel.items():
            there = kind not in REFERENCES or name in self._names(kind)
            for one in found:
                if there:
                    met.add(one.key)
                else:
                    missing.setdefault(one.key, (one.exemption, []))[1].append(f"there is no {kind} {name}")
        for key, (exemption, whys) in sorted(missing.items()):
            if key not in met:
                yield replace(exemption, what="names policies or rules that are not there", idle="; ".join(whys))

    def _rules(self, policy: str) -> list[str] | None:
        namespace, _, name = policy.rpartition("/")
        key = Key("policies.kyverno.io" if namespace else "clusterpolicies.kyverno.io", namespace, name)
        content = self._snapshot.get(key)
        if content is None:
            return [""] if self._snapshot.gap(key.resource, namespace) else None
        return [str(one.get("name") or "") for one in mappings(mapping(content.get("spec")).get("rules"))]

    def _names(self, kind: str) -> set[str]:
        return self._there.setdefault(kind, {name for _, name in self._snapshot.index.get(REFERENCES[kind], {})})

    @cached_property
    def _there(self) -> dict[str, set[str]]:
        return {}


def _references(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = mappings(spec.get("policyRefs"))
    return list(dict.fromkeys((str(one.get("kind") or ""), str(one.get("name") or "")) for one in found))


def _exemption(key: Key, content: Content, ignored: str, now: datetime | None) -> Exemption:
    spec = mapping(content.get("spec"))
    until = str(spec.get("expiresAt") or "") if key.resource == CEL else ""
    end = _moment(until)
    expired = bool(now and end and end < now)
    idle = f"expired {end.date() if end else ''}" if expired else ignored
    given = {_GIVEN[name.lower()]: str(text) for name, text in sorted(mapping(spec.get("properties")).items())
             if isinstance(name, str) and name.lower() in _GIVEN and isinstance(text, str)}  # fmt: skip
    return Exemption(
        Through(KIND, key.namespace, key.name), (key,), "", (Changed(key, content, None),), idle, expired,
        given=given | ({"expires": until} if end else {}),
    )  # fmt: skip


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# Ways ----------------------------------------------------------------------------------------------------------------


def _legacy_way(one: _Read, body: Body, pods: bool) -> Way:
    found = block(one.spec.get("match"), of_exception=True)
    parts = mappings(one.spec.get("podSecurity")) if isinstance(body, PodSecurity) else []
    text = (" and " if found.every else ", or ").join(map(said, found.filters)) or "nothing"
    what = f"excludes {text}"
    if parts:
        what += " from the control " + ", ".join(dict.fromkeys(str(part.get("controlName")) for part in parts))
    labels = tuple(sorted({label for entry in found.filters for label in labels_of(entry)}))
    idle = one.exemption.idle or ("" if pods else "it names only rules for the controllers of pods")
    conditions = one.spec.get("conditions")
    shape = None if conditions else shapes.merged((found.shape, *map(image_of, parts)))
    exemption = replace(one.exemption, what=what, labels=labels, idle=idle, shape=shape)
    return Way(exemption, EXCEPTION, found.area, _Matched(found, conditions).takes, part=tuple(parts) or None,
               users=found.by_user, names=found.by_name, metadata=found.by_metadata)  # fmt: skip


def image_of(part: Mapping[str, Any]) -> Shape:
    """An example of what an entry for some images is for."""
    return Shape(image=shapes.example(next(iter(strings(part.get("images"))), "")))


@dataclass(frozen=True)
class _Matched:
    """What an exception of kyverno.io matches. Conditions in JMESPath are not evaluated."""

    block: Block
    conditions: Any

    def takes(self, request: Request) -> Match:
        """Whether it takes a request out."""
        found = self.block.selects(request)
        if found.holds and self.conditions:
            return Match(None, "the conditions of an exception are written in JMESPath")
        return found


def _cel_way(one: _Read, kind: str, name: str, lenient: bool, body: Body, namespaced: bool) -> Way:
    spec = one.spec
    conditions = named_in(spec, "matchConditions")
    allowed = Allowed(strings(spec.get("images")), strings(spec.get("allowedValues")))
    partly = any(allowed)
    reads: frozenset[str] = body.reads if isinstance(body, Validations) else frozenset()
    idle = one.exemption.idle
    wanted = [field for field, value in ((IMAGES, allowed.images), (VALUES, allowed.values)) if value]
    if partly and not idle and reads.isdisjoint(wanted):
        idle = f"{kind} {name} does not read exceptions.{' or exceptions.'.join(wanted)}"
    some = " by its match conditions " + ", ".join(text for text, _ in conditions) if conditions else ""
    what = f"excludes {'requests' if some else 'every resource everywhere'}{some}"
    if partly:
        what = f"allows {', '.join((*allowed.images, *allowed.values))}{some or ' everywhere'}"
    if spec.get("reportResult") == "pass":
        what += ", and reports say pass"
    area: Area = EVERYWHERE
    expressions = tuple(text for _, text in conditions)
    names, shape = shaped_for(expressions)
    if partly:  # an example too, as far as the policy compares images with those that are allowed
        shape = shapes.merged((shape, image_of(spec))) if allowed.images and not allowed.values else None
    if names is not None and namespaced:
        area = ((Place(names=tuple(re.sub(r"[*?]", "", text) for text in names)),),)
    return Way(
        replace(one.exemption, what=what, idle=idle, shape=shape), EXCEPTION, area,
        program=Program(expressions) if expressions else None, lenient=lenient, part=allowed if partly else None,
    )  # fmt: skip
