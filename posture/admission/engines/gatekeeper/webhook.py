"""The webhook by which the API server asks Gatekeeper: what it is asked about, and whether it answers.

Source: Gatekeeper v3.23.0, charts/gatekeeper (values.yaml and the ValidatingWebhookConfiguration); what selects a
request: k8s.io/apiserver v0.36.3, pkg/admission/plugin/webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from posture import selectors
from posture.admission.cel import Program
from posture.admission.engines import liveness
from posture.admission.matching import NO, Match, invisible, matches
from posture.admission.pods import mapping, mappings
from posture.admission.requests import Request
from posture.kinds import ADMISSION
from posture.model import Content, Key, Snapshot

from .match import Selector, labels_of

CONFIGS = "configs.config.gatekeeper.sh"
CONFIGURATIONS = f"validatingwebhookconfigurations.{ADMISSION}"
NAME = "gatekeeper-validating-webhook-configuration"
WEBHOOK = "validation.gatekeeper.sh"
NAMESPACE = "gatekeeper-system"
_SUBRESOURCES = (
    *(f"pods/{name}" for name in ("ephemeralcontainers", "exec", "log", "eviction", "portforward", "proxy", "attach",
                                  "binding", "resize")),
    *("deployments/scale", "replicasets/scale", "statefulsets/scale", "replicationcontrollers/scale"),
    *("services/proxy", "nodes/proxy", "services/status"),
)  # fmt: skip


def _chart(namespace: str) -> Mapping[str, Any]:
    left_out = [
        {"key": "admission.gatekeeper.sh/ignore", "operator": "DoesNotExist"},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]},
    ]
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "scope": "*",
            "resources": ["*", *_SUBRESOURCES]}  # fmt: skip
    return {
        "name": WEBHOOK,
        "clientConfig": {"service": {"namespace": namespace}},
        "failurePolicy": "Ignore",
        "matchPolicy": "Exact",
        "namespaceSelector": {"matchExpressions": left_out},
        "rules": [rule],
    }


@dataclass(frozen=True)
class Webhook:
    """An item of a ValidatingWebhookConfiguration. `content` None is the chart's, assumed where no cluster says it."""

    key: Key
    content: Content | None
    place: int
    given: Mapping[str, Any]
    namespace: str
    spaces: Selector
    objects: Selector
    conditions: tuple[tuple[str, str], ...]
    open: bool
    up: bool | None = True
    why: str = ""
    decide: tuple[Key, ...] = ()
    """Other objects that decide: whether it answers, and whether it is the only one."""
    others: bool = False
    """Whether there are more of them, that may be asked about what this one is not."""

    @property
    def keys(self) -> tuple[Key, ...]:
        """The object that says it."""
        return () if self.content is None else (self.key, *self.decide)

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.given.get("name"))

    @property
    def malformed(self) -> bool:
        """Whether a selector is not one of the API."""
        return self.spaces.malformed or self.objects.malformed

    def ignores(self, label: str) -> bool:
        """Whether namespaces with a label are left out."""
        return any(one.key == label and one.operator == "DoesNotExist" for one in self.spaces.left_out)

    def meant_for(self, labels: Mapping[str, str]) -> bool:
        """Whether it is asked about a namespace, but for what it leaves out."""
        return not self.spaces.asked or selectors.matches(self.spaces.asked, labels)

    def asked_about(self, request: Request) -> Match:
        """Whether its rules select a request."""
        if invisible(request) and request.resource.group == ADMISSION:
            return NO
        policy = self.given.get("matchPolicy") or "Equivalent"
        rules = mappings(self.given.get("rules"))
        return matches({"resourceRules": rules, "matchPolicy": policy}, request) if rules else NO

    def program(self, hidden: tuple[str, ...] = ()) -> Program:
        """Its match conditions. `hidden` are fields that a request's objects may lack."""
        return Program(tuple(text for _, text in self.conditions), (), hidden)

    def selects_object(self, request: Request) -> bool:
        """Whether its object selector selects the object, or what it was."""
        there = [one for one in (request.object, request.old) if one is not None]
        return any(selectors.matches(self.objects.whole, labels_of(one)) for one in there)


def find(snapshot: Snapshot) -> Webhook:
    """The webhook of a cluster.

    In a folder (see `liveness.of_cluster`) that holds none, the chart's is assumed to be there and to answer.
    """
    found = [
        (key, content, place, one)
        for key, content in snapshot.objects(CONFIGURATIONS)
        for place, one in enumerate(mappings(content.get("webhooks")))
        if one.get("name") == WEBHOOK
    ]
    found.sort(key=lambda one: (one[0].name != NAME, one[0], one[2]))
    if not found:
        return _assumed(snapshot)
    key, content, place, given = found[0]
    up = liveness.up(snapshot, mapping(given.get("clientConfig")))
    hook = _webhook(key, content, place, given, up)
    others = dict.fromkeys(one[0] for one in found[1:])
    backend = liveness.keys(snapshot, mapping(given.get("clientConfig")))
    return replace(hook, decide=(*backend, *others), others=len(found) > 1)


def _assumed(snapshot: Snapshot) -> Webhook:
    up: tuple[bool | None, str] = (True, "")
    if gap := snapshot.gap(CONFIGURATIONS):
        up = None, f"{CONFIGURATIONS}: {gap.message}"
    elif liveness.of_cluster(snapshot):
        up = False, "no webhook asks Gatekeeper"
    places = {key.namespace for key, _ in snapshot.objects(CONFIGS) if key.name == "config"}
    given = _chart(places.pop() if len(places) == 1 else NAMESPACE)
    return _webhook(Key(CONFIGURATIONS, "", NAME), None, 0, given, up)


def _webhook(
    key: Key, content: Content | None, place: int, given: Mapping[str, Any], up: tuple[bool | None, str]
) -> Webhook:
    service = mapping(mapping(given.get("clientConfig")).get("service"))
    conditions = tuple(
        (str(one.get("name") or ""), str(one.get("expression") or "")) for one in mappings(given.get("matchConditions"))
    )
    return Webhook(
        key, content, place, given, str(service.get("namespace") or NAMESPACE),
        Selector.of(given.get("namespaceSelector")), Selector.of(given.get("objectSelector")), conditions,
        given.get("failurePolicy") == "Ignore", *up,
    )  # fmt: skip
