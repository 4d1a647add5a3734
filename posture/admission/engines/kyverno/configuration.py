"""How Kyverno is set up: the flags of its admission controller, its ConfigMap, and the webhooks by which it is asked.

Source: kyverno v1.19.0: cmd/internal/flag.go, pkg/config/{config,types}.go, pkg/webhooks/handlers/filter.go,
pkg/controllers/webhook. Without its ConfigMap Kyverno filters nothing. Which roles who asks has is not worked out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from posture.admission import matching, shapes
from posture.admission.cel import Program
from posture.admission.engines import liveness
from posture.admission.matching import NO, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import Exemption, Shape
from posture.admission.requests import Request
from posture.model import Changed, Content, Key, Snapshot, Through

from .edits import changed
from .expressions import named_in
from .ways import BEFORE, EVERYWHERE, Area, Place, Way
from .wildcards import any_matches, kind_selector, kinds_meet, matches, selects_kind, strings, wild

CONFIGMAPS, DEPLOYMENTS = "configmaps", "deployments.apps"
WEBHOOKS = "validatingwebhookconfigurations.admissionregistration.k8s.io"
CONFIGURATION = "kyverno-resource-validating-webhook-cfg"
NAME = "kyverno"
_COMPONENT = "app.kubernetes.io/component"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FILTER = re.compile(r"\[([^\[\]]*)\]")
NODES = "system:nodes"
"""The chart leaves it out, since kubelets make no pods but mirrors of their own, which NodeRestriction looks at."""
_USERS = {"excludeGroups": "the group", "excludeUsernames": "the user", "excludeRoles": "the role",
          "excludeClusterRoles": "the ClusterRole"}  # fmt: skip


# Flags ---------------------------------------------------------------------------------------------------------------


class Flags(NamedTuple):
    """What the admission controller was told of exceptions. Where it was not found, it reads all of them."""

    exceptions: bool = True
    namespace: str = "*"
    open: bool = False
    """Whether every policy fails open."""
    key: Key | None = None

    def ignores(self, exception: Key, *, legacy: bool) -> str:
        """Why an exception is not read; "" where it is."""
        if not self.exceptions:
            return "Kyverno runs without --enablePolicyException"
        if legacy and not self.namespace:
            return "Kyverno reads exceptions of kyverno.io only with --exceptionNamespace"
        if self.namespace not in ("", "*", exception.namespace):
            return f"Kyverno reads exceptions only in namespace {self.namespace}"
        return ""


def flags(snapshot: Snapshot, namespaces: Iterable[str]) -> Flags:
    """The flags of the admission controller. Only Deployments that may be Kyverno's are looked at."""
    wanted = {*namespaces, NAME}
    for namespace, name in sorted(snapshot.index.get(DEPLOYMENTS, {})):
        if namespace in wanted or NAME in name:
            key = Key(DEPLOYMENTS, namespace, name)
            content = snapshot.get(key) or {}
            given = _arguments(content)
            if _is_controller(content, given):
                return Flags(
                    given.get("enablePolicyException") in _TRUE, given.get("exceptionNamespace", ""),
                    given.get("forceFailurePolicyIgnore") in _TRUE, key,
                )  # fmt: skip
    return Flags()


def _is_controller(content: Content, given: Mapping[str, str]) -> bool:
    labels = mapping(content.get("labels"))
    if labels.get(_COMPONENT) == "admission-controller":
        return NAME in str(labels.get("app.kubernetes.io/part-of") or labels.get("app.kubernetes.io/name") or NAME)
    return _COMPONENT not in labels and ("enablePolicyException" in given or "exceptionNamespace" in given)


def _arguments(content: Content) -> dict[str, str]:
    template = mapping(mapping(content.get("spec")).get("template"))
    found: dict[str, str] = {}
    for container in mappings(mapping(template.get("spec")).get("containers")):
        arguments = [*strings(container.get("command")), *strings(container.get("args"))]
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
            if argument.startswith("-"):
                name, equal, value = argument.lstrip("-").partition("=")
                apart = name == "exceptionNamespace" and not equal and not following.startswith("-")
                found[name] = value if equal else following if apart else "true"
    return found


# Webhooks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Gate:
    """By what a policy is asked: whether that answers, what happens where it does not, and what it is never asked.

    `selector` is what the labels of a namespace must be like, None where it does not matter.
    """

    up: bool | None = True
    why: str = ""
    open: bool = False
    keys: tuple[Key, ...] = ()
    ways: tuple[Way, ...] = ()
    selector: Mapping[str, Any] | None = None

    def area(self, area: Area) -> Area:
        """An area, as far as anything is asked there."""
        return area if self.selector is None else tuple((*one, Place(None, self.selector)) for one in area)

    def meant(self, request: Request, found: Match) -> Match:
        """Whether a request that a policy is for is asked."""
        if self.selector is None or found.holds is False:
            return found
        asked = matching.matches({"namespaceSelector": self.selector}, request)
        return asked if asked.holds is not True else found


class Setup:
    """How Kyverno is set up in a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._key = Key(WEBHOOKS, "", CONFIGURATION)
        self._content = snapshot.get(self._key)
        self._hooks = mappings((self._content or {}).get("webhooks"))
        services = {str(mapping(mapping(one.get("clientConfig")).get("service")).get("namespace") or "")
                    for one in self._hooks} - {""}  # fmt: skip
        maps = sorted(namespace for namespace, name in snapshot.index.get(CONFIGMAPS, {}) if name == NAME)
        self.flags = flags(snapshot, (*services, *maps))
        own = [one for one in (*services, self.flags.key.namespace if self.flags.key else NAME, *maps) if one in maps]
        self._map = Key(CONFIGMAPS, own[0], NAME) if own else None
        self._data = mapping((snapshot.get(self._map) or {}).get("data")) if self._map else {}

    # Gates -----------------------------------------------------------------------------------------------------------

    def gate(
        self, family: str, key: Key, kinds: Sequence[str], fails_open: bool, resources: Sequence[str] = ()
    ) -> Gate:  # fmt: skip
        """What asks for a policy. `family` is what the names of its webhooks start with, such as `vpol.`; `kinds` are
        those that it is for, or `resources`.
        """
        keys = tuple(one for one in (self._map, self.flags.key) if one is not None)
        ways = tuple(way for one, way in self._filters if any(kinds_meet(one, kind) for kind in kinds)) + self._users
        fails_open = fails_open or self.flags.open
        if self._content is None:
            return self._without_webhooks(keys, ways, fails_open)
        wanted = set(resources) or {_plural(kind_selector(kind).kind) for kind in kinds}
        hooks = [one for one in self._of(family, key.name, fails_open) if _covers(one, wanted)]
        if not hooks:
            return Gate(False, "no webhook of Kyverno asks for it", True, (*keys, self._key), ways)
        up, why = liveness.up(self._snapshot, mapping(hooks[0].get("clientConfig")))
        given = [_selectors(one) for one in hooks]
        positive = mapping(matching.scope(given[0]).get("namespaceSelector"))
        deciding = (*keys, self._key, *liveness.keys(self._snapshot, mapping(hooks[0].get("clientConfig"))))
        return Gate(
            up, why, self.flags.open or all(one.get("failurePolicy") == "Ignore" for one in hooks), deciding,
            (*ways, *self._selected(given), *self._conditions(fails_open)), positive or None,
        )  # fmt: skip

    def _without_webhooks(self, keys: tuple[Key, ...], ways: tuple[Way, ...], fails_open: bool) -> Gate:
        """A folder says nothing of webhooks, which Kyverno makes; in a cluster they are there, or nothing asks."""
        ways = (*ways, *self._selected([self._chosen]), *self._conditions(fails_open))
        if gap := self._snapshot.gap(WEBHOOKS):
            return Gate(None, f"{WEBHOOKS}: {gap.message}", self.flags.open, keys, ways)
        if liveness.of_cluster(self._snapshot):
            return Gate(False, "there is no webhook of Kyverno", True, keys, ways)
        return Gate(open=self.flags.open, keys=keys, ways=ways)

    def _of(self, family: str, name: str, fails_open: bool) -> list[Mapping[str, Any]]:
        found = [one for one in self._hooks if str(one.get("name")).startswith(f"{family}validate.kyverno.svc")]
        named = [one for one in found if name in _path(one).split("/")]
        alike = [one for one in found if (one.get("failurePolicy") == "Ignore") is fails_open]
        return named or alike or found

    @cached_property
    def _chosen(self) -> Mapping[str, Any]:
        """What the ConfigMap says of the selectors of webhooks."""
        found = _json(self._data.get("webhooks"))
        return _selectors(mapping(found[0] if isinstance(found, list) and found else found))

    def _selected(self, given: Sequence[Mapping[str, Any]]) -> Iterator[Way]:
        """What the selectors of all webhooks leave out."""
        some = [{way.path: way for way in matching.ways(one)} for one in given]
        chosen = {way.path: way for way in matching.ways(self._chosen)}
        for path, way in some[0].items() if some else ():
            if not all(path in one for one in some):
                continue
            removal = [self._without(path)]
            if path in chosen and self._map is not None:
                rest = {field: value for field, value in chosen[path].rest.items() if value}
                through = self._through(f"webhooks.{path}")
                removal.insert(0, self._edit("webhooks", orjson.dumps(rest).decode() if rest else ""))
                keys: tuple[Key, ...] = (self._map, *((self._key,) if self._content is not None else ()))
            else:
                through = Through("ValidatingWebhookConfiguration", "", f"{CONFIGURATION}/{path}")
                keys = (self._key,)
            edits = tuple(one for one in removal if one is not None)
            exemption = Exemption(through, keys, way.what, edits, labels=way.labels, shape=way.shape)
            area: Area = EVERYWHERE if way.keeps is None else ((Place(beside=way.keeps),),)
            yield Way(exemption, BEFORE, area, way.out, metadata=bool(way.labels))

    def _without(self, path: str) -> Changed | None:
        if self._content is None:
            return None
        hooks = []
        for one in self._hooks:
            way = next((way for way in matching.ways(_selectors(one)) if way.path == path), None)
            others = {name: value for name, value in one.items() if name not in ("namespaceSelector", "objectSelector")}
            hooks.append(one if way is None else others | {name: value for name, value in way.rest.items() if value})
        return Changed(self._key, self._content, {**self._content, "webhooks": hooks})

    # The ConfigMap ---------------------------------------------------------------------------------------------------

    def _through(self, path: str) -> Through:
        assert self._map is not None
        return Through("ConfigMap", self._map.namespace, f"{NAME}/{path}")

    def _edit(self, field: str, text: str) -> Changed | None:
        if self._map is None:
            return None
        return changed(self._map, self._snapshot.get(self._map) or {}, ("data", field), text)

    def _way(self, path: str, what: str, removal: Changed | None, shape: Shape | None, **more: Any) -> Way:
        assert self._map is not None
        edits = (removal,) if removal else ()
        nodes = shape is not None and shape.groups == (NODES,)
        exemption = Exemption(self._through(path), (self._map,), what, edits, shape=shape, built_in=nodes)
        return Way(exemption, BEFORE, **more)

    @cached_property
    def _filters(self) -> tuple[tuple[str, Way], ...]:
        """Resource filters, each with the kind that it is for."""
        text = str(self._data.get("resourceFilters") or "")
        found = []
        for one in dict.fromkeys(_FILTER.findall(text)):
            parts = (*one.split(","), "", "")[:3] if one.count(",") < 3 else None
            if parts is None or not parts[0]:
                continue
            left = re.sub(r"\s+", " ", text.replace(f"[{one}]", "")).strip()
            area: Area = EVERYWHERE if parts[1] == "*" else ((Place((parts[1],)),),)
            what = f"excludes {one} by a resource filter"
            shape = Shape(name=shapes.example(parts[2]))
            way = self._way(f"resourceFilters[{one}]", what, self._edit("resourceFilters", left), shape, area=area,
                            takes=_Filtered(*parts).takes, names=bool(parts[2].strip("*")))  # fmt: skip
            found.append((parts[0], way))
        return tuple(found)

    @cached_property
    def _users(self) -> tuple[Way, ...]:
        """Who is not asked at all."""
        read = {field: _split(self._data.get(field)) for field in _USERS}
        kept = {field: tuple(one[1:].strip() for one in some if one.startswith("!")) for field, some in read.items()}
        found = []
        for field, some in read.items():
            for one in (one for one in some if not one.startswith("!")):
                left = ",".join(other for other in some if other != one)
                what = f"excludes what {_USERS[field]} {one} asks for"
                asked = _Asked(field, one, kept)
                way = self._way(f"{field}[{one}]", what, self._edit(field, left), asked.shape, takes=asked.takes,
                                users=True)  # fmt: skip
                found.append(way)
        return tuple(found)

    def _conditions(self, fails_open: bool) -> Iterator[Way]:
        """Match conditions that all webhooks get."""
        given = _json(self._data.get("matchConditions"))
        for name, expression in named_in({"c": given}, "c"):
            left = [one for one in mappings(given) if one.get("name") != name]
            removal = self._edit("matchConditions", orjson.dumps(left).decode() if left else "")
            what = f"excludes requests by the match condition {name}"
            yield self._way(f"matchConditions[{name}]", what, removal, shapes.failing(expression),
                            program=Program((expression,)), unless=True, lenient=fails_open, blind=True)  # fmt: skip


def _selectors(hook: Mapping[str, Any]) -> Mapping[str, Any]:
    return {field: hook[field] for field in ("namespaceSelector", "objectSelector") if hook.get(field)}


def _path(hook: Mapping[str, Any]) -> str:
    client = mapping(hook.get("clientConfig"))
    return str(mapping(client.get("service")).get("path") or client.get("url") or "")


def _covers(hook: Mapping[str, Any], wanted: set[str]) -> bool:
    found = {one.partition("/")[0] for rule in mappings(hook.get("rules")) for one in strings(rule.get("resources"))}
    return "*" in found or any(map(wild, wanted)) or not found.isdisjoint(wanted)


def _plural(kind: str) -> str:
    name = kind.lower()
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _json(text: Any) -> Any:
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return None


def _split(text: Any) -> tuple[str, ...]:
    return tuple(one.strip() for one in str(text or "").split(",") if one.strip(" !"))


class _Filtered(NamedTuple):
    """A resource filter."""

    kind: str
    namespace: str
    name: str

    def takes(self, request: Request) -> Match:
        """Whether it filters a request out. One for a namespace filters the Namespace itself out too."""
        selector = kind_selector(self.kind)
        if not selects_kind(selector, request.kind) or not matches(selector.subresource, request.subresource):
            return NO
        namespace = request.namespace
        if matches(self.namespace, namespace) and matches(self.name, request.name):
            return Match(True)
        return Match(request.kind == ("", "v1", "Namespace") and matches(self.namespace, request.name))


class _Asked(NamedTuple):
    """A user, group or role that is not asked; `kept` are those that are all the same."""

    field: str
    pattern: str
    kept: Mapping[str, Sequence[str]]

    def takes(self, request: Request) -> Match:
        """Whether who asks is not asked."""
        kept = _among(self.kept, request)
        if kept.holds is not False:
            return NO if kept.holds else kept
        return _among({self.field: (self.pattern,)}, request)

    @property
    def shape(self) -> Shape | None:
        """An example of who is not asked."""
        some = shapes.example(self.pattern) or "x"
        users, groups = self.kept.get("excludeUsernames", ()), self.kept.get("excludeGroups", ())
        shape = {"excludeUsernames": Shape(user=some), "excludeGroups": Shape(user="x", groups=(some,))}.get(self.field)
        if shape is None or any(self.kept.get(field) for field in ("excludeRoles", "excludeClusterRoles")):
            return None
        asked = any_matches(users, shape.user) or any(any_matches(groups, one) for one in shape.groups)
        return None if asked else shape


def _among(given: Mapping[str, Sequence[str]], request: Request) -> Match:
    """Whether who asks is one of some users, groups and roles."""
    if not any(given.values()):
        return NO
    if request.user is None:
        return Match(None, "who asks is not known")
    if any(matches(one, request.user) for one in given.get("excludeUsernames", ())):
        return Match(True)
    if any(matches(one, group) for one in given.get("excludeGroups", ()) for group in request.groups):
        return Match(True)
    if given.get("excludeRoles") or given.get("excludeClusterRoles"):
        return Match(None, "the roles of who asks are not worked out")
    return NO
