"""What a constraint's `spec.match` says, of whatever shape, and the label selectors of webhooks.

Source: Gatekeeper v3.23.0, pkg/mutation/match/match.go and pkg/wildcard; pkg/target/matcher.go (the object or what it
was before: one of them is enough).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from posture import selectors
from posture.admission.pods import mapping, mappings
from posture.admission.requests import Object, Request

_SOURCES = ("", "All", "Original", "Generated")
_VALUED, _BARE = ("In", "NotIn"), ("Exists", "DoesNotExist")


def globbed(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern: `*` stands for anything at the front and at the end, nowhere else."""
    middle = pattern.removeprefix("*").removesuffix("*")
    if pattern.startswith("*") and pattern.endswith("*"):
        return middle in name
    if pattern.startswith("*"):
        return name.endswith(middle)
    return name.startswith(middle) if pattern.endswith("*") else name == pattern


def words(value: Any) -> tuple[str, ...]:
    """The texts of a list; what is none is left out."""
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


class Requirement(NamedTuple):
    """Items of `matchExpressions` that leave out what has a label, and their places in that list."""

    key: str
    operator: str
    items: tuple[Mapping[str, Any], ...]
    places: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name among the others of a selector."""
        return f"!{self.key}" if self.operator == "DoesNotExist" else self.key

    @property
    def shown(self) -> str:
        """What it leaves out, after `with`: `the label a in (b,c)`."""
        values = ",".join(dict.fromkeys(value for one in self.items for value in one.get("values") or ()))
        return f"the label {self.key}" + (f" in ({values})" if values else "")

    def leaves_out(self, labels: Mapping[str, str]) -> bool:
        """Whether it leaves out what has these labels."""
        return not selectors.matches({"matchExpressions": self.items}, labels)


class Selector(NamedTuple):
    """A LabelSelector: all of it, what it asks for, and what it leaves out. Nothing is asked for by an empty one."""

    whole: Mapping[str, Any]
    asked: Mapping[str, Any]
    left_out: tuple[Requirement, ...] = ()
    malformed: bool = False

    @classmethod
    def of(cls, value: Any) -> Selector:
        """A selector as an object holds it; null is an empty one."""
        raw = mapping(value)
        labels, items = raw.get("matchLabels") or {}, raw.get("matchExpressions") or []
        good = value is None or isinstance(value, dict)
        good = good and isinstance(labels, dict) and all(isinstance(one, str) for one in labels.values())
        if not (good and isinstance(items, list) and all(_reads(one) for one in items)):
            return cls({}, {}, malformed=True)
        left = dict.fromkeys(
            (one["key"], one["operator"]) for one in items if one["operator"] in ("NotIn", "DoesNotExist")
        )
        asked = [one for one in items if one["operator"] in ("In", "Exists")]
        return cls(
            {"matchLabels": labels, "matchExpressions": items} if labels or items else {},
            {"matchLabels": labels, "matchExpressions": asked} if labels or asked else {},
            tuple(_requirement(items, *one) for one in left),
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """The labels that it looks at."""
        found = [*self.whole.get("matchLabels", ()), *(one["key"] for one in self.whole.get("matchExpressions", ()))]
        return tuple(dict.fromkeys(found))


def _requirement(items: list[Any], key: str, operator: str) -> Requirement:
    places = tuple(place for place, one in enumerate(items) if (one["key"], one["operator"]) == (key, operator))
    return Requirement(key, operator, tuple(items[place] for place in places), places)


def _reads(item: Any) -> bool:
    """Whether Kubernetes takes a requirement."""
    if not isinstance(item, dict) or not isinstance(item.get("key"), str):
        return False
    values = item.get("values") or []
    if not isinstance(values, list) or len(words(values)) != len(values):
        return False
    return item.get("operator") in (_VALUED if values else _BARE)


class Kinds(NamedTuple):
    """An item of `kinds`. What it does not name it does not narrow."""

    groups: tuple[str, ...]
    kinds: tuple[str, ...]

    def has(self, group: str, kind: str) -> bool:
        """Whether it names a kind."""
        return _listed(self.kinds, kind) and _listed(self.groups, group)


def _listed(names: tuple[str, ...], name: str) -> bool:
    return not names or "*" in names or name in names


@dataclass(frozen=True)
class Match:
    """A constraint's `spec.match`. `malformed` names a field that is not one of the API."""

    kinds: tuple[Kinds, ...]
    scope: str
    namespaces: tuple[str, ...]
    name: str
    source: str
    labels: Selector
    spaces: Selector
    malformed: str

    @classmethod
    def of(cls, value: Any) -> Match:
        """The fields, of any shape."""
        given = mapping(value)
        kinds = tuple(
            Kinds(words(one.get("apiGroups")), words(one.get("kinds"))) for one in mappings(given.get("kinds"))
        )
        labels, spaces = Selector.of(given.get("labelSelector")), Selector.of(given.get("namespaceSelector"))
        texts = {field: given.get(field) or "" for field in ("scope", "name", "source")}
        bad = [field for field, one in texts.items() if not isinstance(one, str)]
        bad += ["labelSelector"] * labels.malformed + ["namespaceSelector"] * spaces.malformed
        bad += ["source"] * (not bad and texts["source"] not in _SOURCES)
        namespaces = words(given.get("namespaces"))
        return cls(kinds, str(texts["scope"]), namespaces, str(texts["name"]), str(texts["source"]), labels, spaces,
                   bad[0] if bad else "")  # fmt: skip

    def meant_for(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether it is meant for a namespace, but for what it leaves out."""
        if self.namespaces and not any(globbed(one, name) for one in self.namespaces):
            return False
        return not self.spaces.asked or selectors.matches(self.spaces.asked, labels)

    def objects(self, request: Request) -> list[Object]:
        """Those of a request's objects that are of its kinds, scope and name."""
        group, _, kind = request.kind
        if self.source == "Generated":
            return []
        if self.kinds and not any(one.has(group, kind) for one in self.kinds):
            return []
        inside = bool(request.namespace) and not request.of_namespace
        # A scope that is none of the two, such as `cluster`, matches everything.
        if (self.scope == "Cluster" and inside) or (self.scope == "Namespaced" and not inside):
            return []
        return [
            one
            for one in (request.object, request.old)
            if one is not None and self._named(mapping(one.get("metadata")))
        ]

    def _named(self, metadata: Mapping[str, Any]) -> bool:
        pattern, generated = self.name, str(metadata.get("generateName") or "")
        if not pattern or globbed(pattern, str(metadata.get("name") or "")):
            return True
        return pattern.endswith("*") and globbed(pattern, generated)


def labels_of(one: Object | None) -> Mapping[str, str]:
    """An object's labels."""
    return mapping(mapping(mapping(one).get("metadata")).get("labels"))
