"""Policies of which nobody here can say what they refuse: one table. Adding a kind is adding a row.

What they select is known, so that what no policy selects stays exact. Source: Kubewarden controller, api/policies/v1
(GetUniqueName, GetRules, GetNamespaceSelector, PolicyStatusEnum); Kyverno 1.19, api/policies.kyverno.io/v1
(ImageValidatingPolicySpec); Ratify's Policy refuses nothing by itself: a constraint of Gatekeeper asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.admission.cel import Evaluator
from posture.admission.pods import mapping, mappings, texts
from posture.admission.policy import Asked, Exemption, Policy, Space, Variant, Verdict
from posture.kinds import ADMISSION, BY_NAME, KYVERNO_CEL
from posture.model import Content, Gap, Key, Snapshot, Through, canonical

from . import liveness, scope

NAME = "opaque"
_VALIDATING = f"validatingwebhookconfigurations.{ADMISSION}"


class Row(NamedTuple):
    """A kind of policies. `place` is the field of its spec that holds selectors and `rules` ("" is the spec itself),
    `webhook` the configuration by which the server asks. With a `place`, match conditions are the engine's own.
    """

    kind: str
    why: str
    denies: Callable[[Mapping[str, Any]], bool]
    place: str = ""
    rules: str = "rules"
    webhook: Callable[[Key], str] = lambda _: ""

    @property
    def namespaced(self) -> bool:
        """Whether each is for its own namespace only."""
        return BY_NAME[self.kind].namespaced


def _protects(spec: Mapping[str, Any]) -> bool:
    return (spec.get("mode") or "protect") != "monitor"


def _denies(spec: Mapping[str, Any]) -> bool:
    admission = mapping(mapping(spec.get("evaluation")).get("admission")).get("enabled")
    actions = spec.get("validationActions")
    return admission is not False and (not actions or "Deny" in texts(actions))


def _never(_: Mapping[str, Any]) -> bool:
    return False


def _made_for(scoped: str) -> Callable[[Key], str]:
    """The name that Kubewarden gives to the configuration of a policy."""
    return lambda key: "-".join(part for part in (scoped, key.namespace, key.name) if part)


_WASM = "it is a WebAssembly module"
KUBEWARDEN = tuple(
    f"{scoped}{name}.policies.kubewarden.io"
    for scoped in ("cluster", "")
    for name in ("admissionpolicies", "admissionpolicygroups")
)  # fmt: skip
_PREFIXES = ("clusterwide", "clusterwide-group", "namespaced", "namespaced-group")
_IMAGES = tuple(f"{scoped}imagevalidatingpolicies.{KYVERNO_CEL}" for scoped in ("", "namespaced"))

ROWS = (
    *(Row(kind, _WASM, _protects, webhook=_made_for(prefix))
      for kind, prefix in zip(KUBEWARDEN, _PREFIXES, strict=True)),
    *(Row(kind, "it verifies signatures of images", _denies, "matchConstraints", "resourceRules",
          lambda _: "kyverno-resource-validating-webhook-cfg") for kind in _IMAGES),
    Row("policies.config.ratify.deislabs.io", "a constraint of Gatekeeper asks it", _never),
)  # fmt: skip
_ROWS = {row.kind: row for row in ROWS}
READS = (*_ROWS, _VALIDATING, *liveness.READS)


def configurations(snapshot: Snapshot) -> Iterator[str]:
    """The names of the webhook configurations that Kubewarden makes for the policies that are there."""
    for kind in KUBEWARDEN:
        for namespace, name in snapshot.index.get(kind, {}):
            yield _ROWS[kind].webhook(Key(kind, namespace, name))


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """Those of every row, in the order of the table and of their names."""
    for row in ROWS:
        for key, content in sorted(snapshot.objects(row.kind), key=lambda one: one[0]):
            yield _policy(snapshot, row, key, content)


def _policy(snapshot: Snapshot, row: Row, key: Key, content: Content) -> Policy:
    spec = mapping(content.get("spec"))
    kind, selected = BY_NAME[row.kind].kind, _scope(row, key, spec)
    up, why, client = _up(snapshot, row, key, content)
    active = _status(content) == "active"
    return Policy(
        NAME,
        Through(kind, key.namespace, key.name),
        (key, *liveness.keys(snapshot, client)),
        rule=selected,
        content=_content(row, spec),
        denies=row.denies(spec),
        up=up,
        open=selected.fails_open or not active,
        why=why,
        opaque=row.why,
        exemptions=selected.exemptions(scope.Place(key, kind, "spec", content, _put(row, content), row.place)),
        users=selected.users,
        names=selected.names,
    )


def _scope(row: Row, key: Key, spec: Mapping[str, Any]) -> scope.Scope:
    """A namespaced policy is for its namespace, whatever selector of namespaces it may have, and nothing else."""
    given = scope.selectors_of(mapping(spec.get(row.place)) if row.place else spec, row.rules)
    conditions, fails_open = mappings(spec.get("matchConditions")), spec.get("failurePolicy") == "Ignore"
    foreign = bool(row.place)
    if not row.namespaced:
        return scope.Scope(given, conditions, fails_open, foreign=foreign)
    given.pop("namespaceSelector", None)
    given["resourceRules"] = [{**rule, "scope": "Namespaced"} for rule in given["resourceRules"]]
    return scope.Scope(given, conditions, fails_open, key.namespace, foreign)


def _put(row: Row, content: Content) -> Callable[[Mapping[str, Any], scope.Conditions], Content]:
    spec = mapping(content.get("spec"))

    def put(given: Mapping[str, Any], conditions: scope.Conditions) -> Content:
        if not row.place:
            return {**content, "spec": scope.with_selectors(spec, given, conditions)}
        there = scope.with_selectors(mapping(spec.get(row.place)), given, ())
        changed = scope.with_selectors({**spec, row.place: there}, {}, conditions)
        return {**content, "spec": changed}

    return put


def _content(row: Row, spec: Mapping[str, Any]) -> bytes:
    """All of it but for its action, where it applies and what is taken out."""
    beside = {"mode", "validationActions", "failurePolicy", "namespaceSelector", "objectSelector", "matchConditions"}
    kept = {field: value for field, value in spec.items() if field not in (*beside, row.place)}
    digest, _ = canonical({**kept, "rules": mapping(spec.get(row.place)).get(row.rules) if row.place else None})
    return digest


def _status(content: Content) -> str:
    """What Kubewarden says of a policy; where nothing is said it is taken as it is written."""
    return str(mapping(content.get("status")).get("policyStatus") or "active")


def _up(snapshot: Snapshot, row: Row, key: Key, content: Content) -> tuple[bool | None, str, Mapping[str, Any]]:
    """Whether something answers, why not, and where the server asks. A policy that nobody serves yet is not asked."""
    if (status := _status(content)) != "active":
        return (False if status == "unscheduled" else None), f"its status is {status}", {}
    made = snapshot.get(Key(_VALIDATING, "", row.webhook(key)))
    webhooks = mappings(made.get("webhooks")) if made else []
    if not webhooks:
        return True, "", {}
    client = mapping(webhooks[0].get("clientConfig"))
    return *liveness.up(snapshot, client), client


def variant(policy: Policy, space: Space) -> Variant | None:
    """Where it asks for the namespace."""
    return scope.variant(policy, space)


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """Unknown is what a policy selects."""
    return scope.judged(asked, cel)


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """That policies are there which nobody evaluates, a row for each kind that can refuse something."""
    for row in ROWS:
        found = sum(row.denies(mapping(content.get("spec"))) for _, content in snapshot.objects(row.kind))
        if found:
            kind = BY_NAME[row.kind].kind
            yield Gap(row.kind, "", "not modelled", f"{found} of kind {kind}: {row.why}")


def strays(snapshot: Snapshot) -> Iterable[Exemption]:
    """None: what takes requests out stands in the policies."""
    del snapshot
    return ()
