"""MutatingAdmissionPolicy: what changes requests before they are judged.

Source: k8s.io/apiserver v0.36.3, pkg/admission/plugin/policy/mutating: v1 of 1.36, v1beta1 of 1.34.

A mutation changes no verdict: what policies refuse is asked of objects as they arrive after it. It weakens in another
way. It can write into an object what nobody asked for and no policy refuses, and it can set the label by which an
object selector takes an object out of a policy, for whoever was not to set that label himself. What it writes depends
on expressions of a kind that posture does not evaluate, so that each binding is told as a whole: that it is there,
where, and that what it does is another. Who is taken out of a mutation is left alone by it: no exemption.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from posture import selectors
from posture.admission import matching
from posture.admission.cel import Evaluator
from posture.admission.engines.vap import parent
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ADMITS, Asked, Exemption, Policy, Space, Variant, Verdict
from posture.kinds import ADMISSION
from posture.model import Gap, Key, Snapshot, Through

NAME = "mutating"
POLICIES = f"mutatingadmissionpolicies.{ADMISSION}"
BINDINGS = f"mutatingadmissionpolicybindings.{ADMISSION}"
READS: tuple[str, ...] = (POLICIES, BINDINGS)


@dataclass(frozen=True, eq=False)
class Bound:
    """A policy as one of its bindings applies it. `rules` are the match rules of both, `namespaces` their selectors."""

    key: Key
    binding: Key
    spec: Mapping[str, Any]
    bound: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], Mapping[str, Any]]
    namespaces: tuple[Mapping[str, Any], ...]
    parent: Key | None = None


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """Each binding with its policy. The server ignores a binding whose policy is not there."""
    found = sorted(_bound(snapshot), key=lambda one: (one.key.name, one.binding.name))
    count = Counter(one.key for one in found)
    for one in found:
        alone = count[one.key] == 1
        own = (one.key, one.binding) if alone else (one.binding, one.key)
        kind = "MutatingAdmissionPolicy" if alone else "MutatingAdmissionPolicyBinding"
        made = (one.parent,) if one.parent else ()
        yield Policy(
            NAME, Through(kind, "", own[0].name), (*own, *made), one, content=_content(one), denies=False,
            opaque="mutates: what it writes into objects is not evaluated",
            names=any(map(matching.names, one.rules)),
        )  # fmt: skip


def _bound(snapshot: Snapshot) -> Iterator[Bound]:
    for binding, content in snapshot.objects(BINDINGS):
        applied = mapping(content.get("spec"))
        key = Key(POLICIES, "", str(applied.get("policyName") or ""))
        policy = snapshot.get(key)
        if policy is not None:
            spec = mapping(policy.get("spec"))
            rules = mapping(spec.get("matchConstraints")), mapping(applied.get("matchResources"))
            namespaces = (matching.selector(given.get("namespaceSelector")) for given in rules)
            yield Bound(key, binding, spec, applied, rules, tuple(namespaces), parent(content, policy))


def _content(one: Bound) -> str:
    """A hash over all that decides what it does to a request, but for the namespace."""
    mutations = [
        [mapping(given.get(field)).get("expression") for field in ("applyConfiguration", "jsonPatch")]
        for given in mappings(one.spec.get("mutations"))
    ]
    fields = ("variables", "matchConditions", "paramKind", "failurePolicy", "reinvocationPolicy")
    rules = [{field: value for field, value in given.items() if field != "namespaceSelector"} for given in one.rules]
    body = [mutations, [one.spec.get(field) for field in fields], rules, one.bound.get("paramRef")]
    return hashlib.blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def variant(policy: Policy, space: Space) -> Variant | None:
    """What a mutation is in a namespace; "" is the cluster, for what is made in none."""
    one: Bound = policy.rule
    if not all(matching.reaches(given, not space.name) for given in one.rules):
        return None
    if space.name and not all(selectors.matches(wanted, space.labels) for wanted in one.namespaces):
        return None
    return Variant()


def judged(asked: Sequence[Asked], _cel: Evaluator) -> list[Verdict]:
    """For each question, in order: a mutation that succeeds refuses nothing, one that fails may."""
    return [_judged(one) for one in asked]


def _judged(asked: Asked) -> Verdict:
    one: Bound = asked.policy.rule
    if one.spec.get("failurePolicy") == "Ignore" or matching.invisible(asked.request):
        return ADMITS
    if any(matching.matches(given, asked.request).holds is False for given in one.rules):
        return ADMITS
    return Verdict(None, "a mutation that fails is refused, and whether it does is not evaluated")


def gaps(_snapshot: Snapshot) -> Iterator[Gap]:
    """None: each mutation is told as a whole."""
    return iter(())


def strays(_snapshot: Snapshot) -> Iterator[Exemption]:
    """None: what it leaves alone is no exception."""
    return iter(())
