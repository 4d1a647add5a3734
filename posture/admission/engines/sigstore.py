"""ClusterImagePolicies of sigstore's policy controller: which images each is for; whether a signature is good nobody
here can say.

Source: policy-controller, pkg/webhook/validator.go (an image must pass every policy that matches it, a policy passes
with one authority; what matches none is refused unless `no-match-policy` says otherwise), pkg/apis/glob/glob.go,
pkg/config/store.go (the default is deny), go-containerregistry pkg/name. Namespaces are selected by its webhook, by
default those with the label policy.sigstore.dev/include.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from posture import selectors
from posture.admission import shapes
from posture.admission.cel import Evaluator
from posture.admission.matching import selector
from posture.admission.pods import CONTAINERS, mapping, mappings
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Exemption, Policy, Shape, Space, Variant, Verdict
from posture.admission.requests import PODS, Request
from posture.kinds import ADMISSION, BY_NAME
from posture.model import Changed, Content, Gap, Key, Snapshot, Through, canonical

from . import liveness, scope
from .webhooks import served

NAME = "sigstore"
POLICIES = "clusterimagepolicies.policy.sigstore.dev"
WEBHOOKS = f"validatingwebhookconfigurations.{ADMISSION}"
_CONFIGMAPS = "configmaps"
READS = (POLICIES, WEBHOOKS, _CONFIGMAPS, *liveness.READS)

_CONFIGURATION, _CONFIG = Key(WEBHOOKS, "", "policy.sigstore.dev"), "config-policy-controller"
_NO_MATCH = "no-match-policy"
_ANYTHING = "\0"
_RESOURCE = ("group", "version", "resource")
_LIBRARY = {"*": "index.docker.io/library/*", "*/*": "index.docker.io/*/*"}
"""Globs that stand for others."""
_WHY = "it depends on the signatures of images"
_INCLUDED: Mapping[str, Any] = {
    "matchExpressions": [{"key": "policy.sigstore.dev/include", "operator": "In", "values": ["true"]}]
}
_RULES = [
    {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources}
    for group, resources in (
        ("", ["pods", "pods/ephemeralcontainers"]),
        ("apps", ["deployments", "replicasets", "statefulsets", "daemonsets"]),
        ("batch", ["jobs", "cronjobs"]),
    )
]
"""What the controller asks for, where its webhook was not read."""


@dataclass(frozen=True, eq=False)
class _Images:
    """A ClusterImagePolicy: the images that it is for, and whether one is admitted (None: by its signatures)."""

    name: str
    globs: tuple[str, ...]
    wanted: tuple[Mapping[str, Any], ...]
    admits: bool | None
    unknown: bool

    def matches(self, image: str, request: Request) -> bool | None:
        """Whether it is for an image; None for a regular expression."""
        if self.wanted and not any(_about(one, request) for one in self.wanted):
            return False
        names = _names(image)
        if any(_globbed(glob, name) for glob in self.globs for name in names):
            return True
        return None if self.unknown else False


@dataclass(frozen=True, eq=False)
class _Rule(scope.Scope):
    """What the webhook selects, and the one policy of images; None is for what no policy is for.

    `static` are the policies, by the number of the exemption, that admit whatever they are for.
    """

    images: _Images | None = None
    others: tuple[_Images, ...] = ()
    static: tuple[_Images, ...] = ()


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """One for each ClusterImagePolicy, and one for the images that none of them is for."""
    found = sorted(snapshot.objects(POLICIES), key=lambda one: one[0])
    if not found and not (snapshot.get(_CONFIGURATION) and served(snapshot, POLICIES)):
        return
    asked = _Asking(snapshot)
    for key, content in found:
        yield asked.policy(key, content)
    yield asked.rest(found)


class _Asking:
    """How the server asks the controller."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        content = snapshot.get(_CONFIGURATION)
        self.content: Content = content or {}
        webhooks = mappings(self.content.get("webhooks"))
        self.webhook = webhooks[0] if webhooks else {}
        self.client = mapping(self.webhook.get("clientConfig"))
        given = scope.selectors_of(self.webhook, "rules")
        given["resourceRules"] = given["resourceRules"] or _RULES
        if not webhooks:
            given["namespaceSelector"] = _INCLUDED
        self.given = given
        self.conditions = mappings(self.webhook.get("matchConditions"))
        self.open = self.webhook.get("failurePolicy") == "Ignore"
        self.up, self.why = self._up(bool(webhooks))
        self.keys = (_CONFIGURATION, *liveness.keys(snapshot, self.client))

    def _up(self, there: bool) -> tuple[bool | None, str]:
        if there:
            return liveness.up(self.snapshot, self.client)
        if gap := self.snapshot.gap(WEBHOOKS):
            self.open = True
            return None, f"{WEBHOOKS}: {gap.message}"
        self.open = liveness.of_cluster(self.snapshot)
        return not self.open, "no webhook asks it" if self.open else ""

    def _put(self, given: Mapping[str, Any], conditions: scope.Conditions) -> Content:
        others = mappings(self.content.get("webhooks"))
        return {**self.content, "webhooks": [scope.with_selectors(self.webhook, given, conditions), *others[1:]]}

    def exemptions(self, rule: _Rule) -> tuple[Exemption, ...]:
        """What takes requests out of the webhook."""
        name = str(self.webhook.get("name") or 0)
        kind = BY_NAME[WEBHOOKS].kind
        return rule.exemptions(scope.Place(_CONFIGURATION, kind, f"webhooks[{name}]", self.content, self._put))

    def policy(self, key: Key, content: Content) -> Policy:
        """A ClusterImagePolicy."""
        spec = mapping(content.get("spec"))
        rule = _Rule(self.given, self.conditions, self.open, images=_images(key, spec))
        digest, _ = canonical({field: value for field, value in spec.items() if field != "mode"})
        return Policy(
            NAME,
            Through(BY_NAME[POLICIES].kind, "", key.name),
            (key, *self.keys),
            rule=rule,
            content=digest,
            denies=spec.get("mode") != "warn",
            up=self.up,
            open=self.open,
            why=self.why,
            opaque=_WHY if rule.images and rule.images.admits is None else "",
            exemptions=self.exemptions(rule),
            users=rule.users,
            names=rule.names,
            fails=rule.fails,
        )

    def rest(self, found: Sequence[tuple[Key, Content]]) -> Policy:
        """What becomes of an image that no policy is for. A policy that admits all that it is for is an exception."""
        images = [(key, content, _images(key, mapping(content.get("spec")))) for key, content in found]
        static = [one for one in images if one[2].admits]
        rule = _Rule(
            self.given, self.conditions, self.open,
            others=tuple(one for _, _, one in images if not one.admits), static=tuple(one for _, _, one in static),
        )  # fmt: skip
        namespace = str(mapping(self.client.get("service")).get("namespace") or "cosign-system")
        key = Key(_CONFIGMAPS, namespace, _CONFIG)
        data = mapping((self.snapshot.get(key) or {}).get("data"))
        gap = self.snapshot.gap(_CONFIGMAPS, namespace) if not data else None
        return Policy(
            NAME,
            Through("ConfigMap", namespace, f"{_CONFIG}/data.{_NO_MATCH}"),
            (key, *self.keys, *(key for key, _ in found)),
            rule=rule,
            content=canonical({"for": [[one.globs, one.wanted] for one in rule.others]})[0],
            denies=data.get(_NO_MATCH) not in ("allow", "warn"),
            up=None if gap else self.up,
            open=True if gap else self.open,
            why=f"{_CONFIGMAPS} in {namespace}: {gap.message}" if gap else self.why,
            exemptions=(*self.exemptions(rule), *(_passing(key, content, one) for key, content, one in static)),
            users=rule.users,
            names=rule.names,
            fails=rule.fails,
        )


def _passing(key: Key, content: Content, images: _Images) -> Exemption:
    return Exemption(
        Through(BY_NAME[POLICIES].kind, "", key.name), (key,), f"admits images {','.join(images.globs)} unsigned",
        (Changed(key, content, None),), shape=_shape(images),
    )  # fmt: skip


def _shape(images: _Images) -> Shape | None:
    """A pod that a policy is for."""
    for wanted in images.wanted or ({},):
        about = all(wanted.get(field) in (None, "", value) for field, value in zip(_RESOURCE, PODS, strict=True))
        chosen = shapes.selected(selector(wanted.get("selector"))) if about else None
        for glob in images.globs:
            if chosen is None:
                continue
            found = chosen._replace(image=shapes.example(_LIBRARY.get(glob, glob)) or "x")
            if any(_globbed(glob, name) for name in _names(found.image)):
                return found
    return None


def _images(key: Key, spec: Mapping[str, Any]) -> _Images:
    images = mappings(spec.get("images"))
    actions = [mapping(one.get("static")).get("action") for one in mappings(spec.get("authorities"))]
    admits: bool | None = None
    if "pass" in actions and not spec.get("policy"):
        admits = True
    elif actions and all(action == "fail" for action in actions):
        admits = False
    return _Images(
        key.name,
        tuple(str(one["glob"]) for one in images if one.get("glob")),
        tuple(mappings(spec.get("match"))),
        admits,
        any(not one.get("glob") for one in images),
    )


# What engines answer ------------------------------------------------------------------------------------------------


def variant(policy: Policy, space: Space) -> Variant | None:
    """Where the webhook asks for the namespace."""
    found = scope.variant(policy, space)
    own = range(len(policy.exemptions) - len(policy.rule.static), len(policy.exemptions))
    return found._replace(exemptions=found.exemptions.union(own)) if found and own else found


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """What the webhook is asked about, image by image."""
    return [
        _verdict(one)
        if settled is None
        else settled
        if settled.refuses is not None
        else _either(settled, _verdict(one))
        for one, settled in zip(asked, scope.settled(asked, cel), strict=True)
    ]


def _either(unknown: Verdict, verdict: Verdict) -> Verdict:
    """A verdict where nobody knows whether the webhook is asked at all."""
    return verdict if verdict.refuses is False else unknown


def _verdict(asked: Asked) -> Verdict:
    images = _of(asked.request)
    rule: _Rule = asked.policy.rule
    if rule.images is None:
        return _unmatched(asked, images)
    found = [rule.images.matches(image, asked.request) for image in images]
    if rule.images.admits or not any(one is not False for one in found):
        return ADMITS
    if rule.images.admits is False and True in found:
        return REFUSES
    return Verdict(None, _WHY)


def _unmatched(asked: Asked, images: Sequence[str]) -> Verdict:
    rule: _Rule = asked.policy.rule
    first = len(asked.policy.exemptions) - len(rule.static)
    excused = NONE
    unsure = False
    for image in images:
        if any(one.matches(image, asked.request) for one in rule.others):
            continue
        passing = {
            first + number
            for number, one in enumerate(rule.static)
            if first + number in asked.exemptions and one.matches(image, asked.request)
        }
        if passing:
            excused |= passing
        elif any(one.matches(image, asked.request) is None for one in (*rule.others, *rule.static)):
            unsure = True
        else:
            return REFUSES
    return Verdict(None, "images are chosen by a regular expression") if unsure else Verdict(False, "", excused)


def _of(request: Request) -> list[str]:
    """The images of a pod, or of a template."""
    spec = mapping(mapping(request.object).get("spec"))
    for field in ("jobTemplate", "spec", "template", "spec"):
        spec = mapping(spec[field]) if field in spec else spec
    return [str(one.get("image") or "") for field in CONTAINERS for one in mappings(spec.get(field))]


def _about(wanted: Mapping[str, Any], request: Request) -> bool:
    resource = request.resource
    labels = mapping(mapping(mapping(request.object).get("metadata")).get("labels"))
    return (
        all(
            wanted.get(field) in (None, "", value)
            for field, value in zip(_RESOURCE, resource, strict=True)
        )
        and selectors.matches(selector(wanted.get("selector")), labels)
    )  # fmt: skip


@lru_cache(1024)
def _names(image: str) -> tuple[str, ...]:
    """How an image is named: in full, and as it is written."""
    base, at, digest = image.partition("@")
    host, slash, path = base.partition("/")
    if not slash or not ({".", ":"} & set(host) or host == "localhost"):
        host, path = "index.docker.io", base
    if host == "docker.io":
        host = "index.docker.io"
    name, colon, tag = path.partition(":")
    if host == "index.docker.io" and "/" not in name:
        name = f"library/{name}"
    full = f"{host}/{name}@{digest}" if at else f"{host}/{name}:{tag if colon else 'latest'}"
    return full, image


@lru_cache(4096)
def _globbed(glob: str, name: str) -> bool:
    """Whether a glob matches all of a name: `*` is all but a slash, `**` everything. Costs their lengths' product."""
    glob = _LIBRARY.get(glob, glob)
    places = {0}
    for part in glob.replace("**", _ANYTHING):
        if part == _ANYTHING:
            places = set(range(min(places), len(name) + 1))
        elif part == "*":
            places = _up_to_slash(places, name)
        else:
            places = {at + 1 for at in places if at < len(name) and name[at] == part}
        if not places:
            return False
    return len(name) in places


def _up_to_slash(places: set[int], name: str) -> set[int]:
    """From each place on to the next slash: what a place before has reached is not walked again."""
    found: set[int] = set()
    end = -1
    for start in sorted(places):
        if start > end:
            slash = name.find("/", start)
            end = len(name) if slash < 0 else slash
            found.update(range(start, end + 1))
    return found


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """That signatures decide."""
    found = sum(
        _images(key, mapping(content.get("spec"))).admits is None for key, content in snapshot.objects(POLICIES)
    )
    if found:
        yield Gap(POLICIES, "", "not modelled", f"{found} of kind ClusterImagePolicy: {_WHY}")


def strays(snapshot: Snapshot) -> Iterable[Exemption]:
    """None: what takes images out is in the policies and in the webhook."""
    del snapshot
    return ()
