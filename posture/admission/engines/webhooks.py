"""Webhooks: what each selects, whether it answers, what takes requests out. What it refuses, only its own code knows.

Those of the engines that posture evaluates are left out: what they refuse is worked out from their policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from posture.admission.cel import Evaluator
from posture.admission.matching import invisible
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ADMITS, Asked, Exemption, Policy, Space, Variant, Verdict
from posture.kinds import ADMISSION, API_RESOURCES, BY_NAME, KYVERNO, KYVERNO_CEL
from posture.model import Content, Gap, Key, Snapshot, Through, canonical
from posture.text import count

from . import liveness, opaque, scope

NAME = "webhook"
VALIDATING = f"validatingwebhookconfigurations.{ADMISSION}"
MUTATING = f"mutatingwebhookconfigurations.{ADMISSION}"
_WHY = {
    VALIDATING: "what it refuses is decided by its own code",
    MUTATING: "mutates: what it changes is decided by its own code",
}

_KYVERNO = tuple(
    f"kyverno-{what}-webhook-cfg"
    for what in (
        "resource-validating", "resource-mutating", "policy-validating", "policy-mutating", "verify-mutating",
        "exception-validating", "cel-exception-validating", "global-context-validating", "cleanup-validating",
        "ttl-validating",
    )
)  # fmt: skip
_OF_ENGINES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((f"clusterpolicies.{KYVERNO}", f"policies.{KYVERNO}", f"validatingpolicies.{KYVERNO_CEL}",
      f"namespacedvalidatingpolicies.{KYVERNO_CEL}", f"imagevalidatingpolicies.{KYVERNO_CEL}",
      f"namespacedimagevalidatingpolicies.{KYVERNO_CEL}"), _KYVERNO),
    (("constrainttemplates.templates.gatekeeper.sh",),
     ("gatekeeper-validating-webhook-configuration", "gatekeeper-mutating-webhook-configuration")),
    (("clusterimagepolicies.policy.sigstore.dev",),
     ("policy.sigstore.dev", *(f"{what}.clusterimagepolicy.sigstore.dev" for what in ("validating", "defaulting")))),
)  # fmt: skip
"""The kinds of an engine, and the configurations that it makes for itself. A name alone proves nothing: whoever makes
webhooks may use it where the engine is not installed."""

READS = (
    VALIDATING, MUTATING, *liveness.READS, *opaque.KUBEWARDEN, *(kind for kinds, _ in _OF_ENGINES for kind in kinds),
)  # fmt: skip


def of_engines(snapshot: Snapshot) -> frozenset[str]:
    """The names of the configurations that belong to engines that are evaluated, as far as these are installed."""
    found = [
        name for kinds, names in _OF_ENGINES if any(served(snapshot, kind) for kind in kinds) for name in names
    ]  # fmt: skip
    return frozenset((*found, *opaque.configurations(snapshot)))


def served(snapshot: Snapshot, kind: str) -> bool:
    """Whether a kind is there: an object of it, or what discovery says."""
    return bool(snapshot.index.get(kind)) or snapshot.entry(Key(API_RESOURCES, "", kind)) is not None


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """One for each webhook of each configuration that is no engine's own."""
    for key, content in _configurations(snapshot):
        for number, webhook in enumerate(mappings(content.get("webhooks"))):
            yield _policy(snapshot, key, content, number, webhook)


def _configurations(snapshot: Snapshot) -> Iterator[tuple[Key, Content]]:
    own = of_engines(snapshot)
    for kind in (VALIDATING, MUTATING):
        for key, content in sorted(snapshot.objects(kind), key=lambda one: one[0]):
            if key.name not in own:
                yield key, content


def _policy(snapshot: Snapshot, key: Key, content: Content, number: int, webhook: Mapping[str, Any]) -> Policy:
    kind, name = BY_NAME[key.resource].kind, str(webhook.get("name") or number)
    client = mapping(webhook.get("clientConfig"))
    fails_open = webhook.get("failurePolicy") == "Ignore"
    selected = scope.Scope(
        scope.selectors_of(webhook, "rules"), mappings(webhook.get("matchConditions")), fails_open
    )  # fmt: skip

    def put(given: Mapping[str, Any], conditions: scope.Conditions) -> Content:
        others = mappings(content.get("webhooks"))
        others[number] = scope.with_selectors(webhook, given, conditions)
        return {**content, "webhooks": others}

    up, why = liveness.up(snapshot, client)
    return Policy(
        NAME,
        Through(kind, "", f"{key.name}/{name}"),
        (key, *liveness.keys(snapshot, client)),
        rule=selected,
        content=_content(webhook, client),
        denies=key.resource == VALIDATING,
        up=up,
        open=fails_open,
        why=why,
        opaque=_WHY[key.resource],
        exemptions=selected.exemptions(scope.Place(key, kind, f"webhooks[{name}]", content, put)),
        users=selected.users,
        names=selected.names,
    )


def _content(webhook: Mapping[str, Any], client: Mapping[str, Any]) -> bytes:
    """What decides: where it is asked, and about what. Certificates and timeouts do not."""
    asked = {field: client.get(field) for field in ("service", "url")}
    digest, _ = canonical({"rules": webhook.get("rules"), "matchPolicy": webhook.get("matchPolicy"), **asked})
    return digest


def variant(policy: Policy, space: Space) -> Variant | None:
    """Where its selector of namespaces asks for it."""
    return scope.variant(policy, space)


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """Unknown is what a webhook is asked about; no webhook is ever asked about webhooks and policies in CEL."""
    verdicts = iter(scope.judged([one for one in asked if not _exempt(one)], cel))
    return [ADMITS if _exempt(one) else next(verdicts) for one in asked]


def _exempt(asked: Asked) -> bool:
    return asked.request.resource.group == ADMISSION and invisible(asked.request)


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """That webhooks decide by code that nobody here sees, a row for those that validate."""
    found = sum(len(mappings(content.get("webhooks"))) for key, content in _configurations(snapshot)
                if key.resource == VALIDATING)  # fmt: skip
    if found:
        yield Gap(
            VALIDATING, "", "not modelled", f"{count(found, 'webhook')}: code of their own decides what is refused"
        )


def strays(snapshot: Snapshot) -> Iterable[Exemption]:
    """None: what takes requests out of a webhook stands in its configuration."""
    del snapshot
    return ()
