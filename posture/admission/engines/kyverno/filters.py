"""The match and exclude blocks of Kyverno's policies, and the match blocks of its exceptions.

Source: kyverno v1.19.0, pkg/engine/utils/{match,exceptions}.go. Both read a block alike, but for operations and for the
labels of a namespace of which an exception is asked. Roles of who asks are not worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from posture import selectors
from posture.admission import shapes
from posture.admission.matching import NO, YES, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import ANY, Shape
from posture.admission.requests import Object, Request

from .ways import EVERYWHERE, Area, Place
from .wildcards import any_matches, kinds_meet, matches, of_kind, selects, strings

_USERS = ("subjects", "roles", "clusterRoles")


@dataclass(frozen=True)
class Filter:
    """One entry of a block: what it names must all hold. `of_exception` is for the differences."""

    resources: Mapping[str, Any]
    users: Mapping[str, Any]
    of_exception: bool = False

    @property
    def empty(self) -> bool:
        """Whether it names nothing: then it holds for nothing."""
        return not any(self.resources.values()) and not any(self.users.values())

    @property
    def place(self) -> Place | None:
        """The namespaces that it names; None where it names none."""
        names = strings(self.resources.get("namespaces")) or None
        selector = self.resources.get("namespaceSelector")
        if names is None and selector is None:
            return None
        return Place(names, mapping(selector) if selector is not None else None)

    @property
    def by_user(self) -> bool:
        """Whether it matters who asks."""
        return any(self.users.values())

    @property
    def by_name(self) -> bool:
        """Whether it matters what the object is called."""
        return bool(self.resources.get("name") or self.resources.get("names"))

    @property
    def by_metadata(self) -> bool:
        """Whether it matters what the object is called or labelled."""
        found = self.resources
        return self.by_name or found.get("selector") is not None or bool(found.get("annotations"))

    @property
    def shape(self) -> Shape | None:
        """An example of what it holds for."""
        given = self.resources
        annotations = mapping(given.get("annotations"))
        noted = Shape(annotations=tuple((_any(key), _any(str(value))) for key, value in annotations.items()))
        labels = _labelled(given["selector"]) if given.get("selector") is not None else ANY
        return None if self.empty else shapes.merged((_called(given), noted, labels, self._asking))

    @property
    def _asking(self) -> Shape | None:
        subjects = mappings(self.users.get("subjects"))
        if not subjects or self.users.get("roles") or self.users.get("clusterRoles"):
            return None if self.by_user else ANY
        kind, name = subjects[0].get("kind"), str(subjects[0].get("name") or "")
        if kind == "ServiceAccount":
            return Shape(user=_any(f"system:serviceaccount:{subjects[0].get('namespace') or ''}:{name}"))
        if kind == "Group":
            return Shape(user=_any(""), groups=(_any(name),))
        return Shape(user=_any(name)) if kind == "User" else None

    def selects(self, request: Request) -> Match:
        """Whether it holds for a request."""
        if self.empty:
            return NO
        found = [*self._about(request), self._asked_by(request)]
        if NO in found:
            return NO
        return next((one for one in found if one.holds is None), YES)

    def _about(self, request: Request) -> Iterator[Match]:
        given, there = self.resources, mapping(request.object if request.object is not None else request.old)
        operations = strings(given.get("operations"))
        if operations and not self.of_exception:
            yield Match(request.operation in operations)
        if kinds := strings(given.get("kinds")):
            yield Match(of_kind(kinds, request))
        metadata = mapping(there.get("metadata"))
        name = str(metadata.get("name") or metadata.get("generateName") or "")
        if given.get("name"):
            yield Match(matches(str(given["name"]), name))
        if names := strings(given.get("names")):
            yield Match(any_matches(names, name))
        if namespaces := strings(given.get("namespaces")):
            yield Match(any_matches(namespaces, name if request.of_namespace else str(metadata.get("namespace") or "")))
        if annotations := mapping(given.get("annotations")):
            yield Match(_annotated(annotations, mapping(metadata.get("annotations"))))
        if given.get("selector") is not None:
            yield Match(selects(given["selector"], _texts(metadata.get("labels"))))
        if given.get("namespaceSelector") is not None:
            yield self._of_namespace(request)

    def _of_namespace(self, request: Request) -> Match:
        if request.of_namespace:
            return Match(self.of_exception)
        if request.namespace and request.namespace_object is None:
            return Match(None, f"namespace {request.namespace} is not known")
        labels = mapping(mapping(request.namespace_object).get("metadata")).get("labels")
        return Match(selects(self.resources["namespaceSelector"], _texts(labels)))

    def _asked_by(self, request: Request) -> Match:
        subjects = mappings(self.users.get("subjects"))
        if not self.by_user:
            return YES
        if request.user is None:
            return Match(None, "who asks is not known")
        if subjects and not any(_is_subject(one, request.user, request.groups) for one in subjects):
            return NO
        if self.users.get("roles") or self.users.get("clusterRoles"):
            return Match(None, "the roles of who asks are not worked out")
        return YES


def _any(pattern: str) -> str:
    return shapes.example(pattern) or "x"


def _called(given: Mapping[str, Any]) -> Shape | None:
    """What is named as both of its fields say."""
    patterns = [[text for text in given_texts if text] for given_texts in ((str(given.get("name") or ""),),
                                                                           strings(given.get("names")))]  # fmt: skip
    examples = [shapes.example(one) for some in patterns for one in some[:1]]
    name = next((one for one in examples if one), "")
    return Shape(name=name) if all(not some or not name or any_matches(some, name) for some in patterns) else None


def _labelled(selector: Any) -> Shape | None:
    """What a selector selects, which may have wildcards."""
    labels = mapping(mapping(selector).get("matchLabels"))
    plain = {_any(key): _any(value) for key, value in labels.items() if isinstance(value, str)}
    found = shapes.selected({**mapping(selector), "matchLabels": plain})
    if found is None or not selects(selector, {key: text for key, text in found.labels if text is not None}):
        return None
    return found


def _texts(value: Any) -> Mapping[str, str]:
    return {key: text for key, text in mapping(value).items() if isinstance(text, str)}


def _annotated(wanted: Mapping[str, Any], annotations: Mapping[str, Any]) -> bool:
    there = _texts(annotations)
    return all(
        any(matches(key, one) and matches(str(value), text) for one, text in there.items())
        for key, value in wanted.items()
    )


def _is_subject(subject: Mapping[str, Any], user: str, groups: Iterable[str]) -> bool:
    kind, name = subject.get("kind"), str(subject.get("name") or "")
    if kind == "ServiceAccount":
        return matches(f"system:serviceaccount:{subject.get('namespace') or ''}:{name}", user)
    if kind == "Group":
        return any(matches(name, one) for one in groups)
    return kind == "User" and matches(name, user)


# Blocks --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """Filters of which one must hold, or every one."""

    filters: tuple[Filter, ...]
    every: bool = False

    @property
    def area(self) -> Area:
        """The namespaces in which it may hold."""
        places = [one.place for one in self.filters]
        if self.every:
            return (tuple(one for one in places if one is not None),)
        if not any(places):
            return EVERYWHERE if places else ()
        return tuple(() if one is None else (one,) for one in places)

    @property
    def by_user(self) -> bool:
        """Whether it matters who asks."""
        return any(one.by_user for one in self.filters)

    @property
    def by_name(self) -> bool:
        """Whether it matters what the object is called."""
        return any(one.by_name for one in self.filters)

    @property
    def by_metadata(self) -> bool:
        """Whether it matters what the object is called or labelled."""
        return any(one.by_metadata for one in self.filters)

    @property
    def shape(self) -> Shape | None:
        """An example of what it holds for: of pods if it is for these, and in every namespace that it is for."""
        about_pods = [one for one in self.filters if _of_pods(one)] or list(self.filters)
        if self.every:
            return shapes.merged(one.shape for one in self.filters)
        if all(one.place == about_pods[0].place for one in about_pods):
            return next((found for one in about_pods if (found := one.shape) is not None), None)
        return shapes.merged(one.shape for one in about_pods)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that it names; `*/*` where it may be any."""
        if not self.filters or (not self.every and not all(one.resources.get("kinds") for one in self.filters)):
            return ("*/*",)
        return tuple(kind for one in self.filters for kind in strings(one.resources.get("kinds"))) or ("*/*",)

    def selects(self, request: Request) -> Match:
        """Whether it holds for a request."""
        found = [one.selects(request) for one in self.filters]
        strong, weak = (NO, YES) if self.every else (YES, NO)
        if not found or strong in found:
            return strong if found else NO
        return next((one for one in found if one.holds is None), weak)


def _of_pods(one: Filter) -> bool:
    kinds = strings(one.resources.get("kinds"))
    return not kinds or any(kinds_meet(kind, "Pod") for kind in kinds)


def block(given: Any, *, of_exception: bool = False) -> Block:
    """A match or exclude block: `any`, else `all`, else what it names itself."""
    given = mapping(given)
    for field in ("any", "all"):
        if entries := mappings(given.get(field)):
            return Block(tuple(filter_of(one, of_exception) for one in entries), field == "all")
    if of_exception or not any(given.get(field) for field in ("resources", *_USERS)):
        return Block(())
    return Block((filter_of(given, of_exception),))


def filter_of(given: Mapping[str, Any], of_exception: bool = False) -> Filter:
    """One entry of a block."""
    return Filter(mapping(given.get("resources")), {one: given[one] for one in _USERS if given.get(one)}, of_exception)


def said(one: Filter) -> str:
    """A filter in words: `Pod named a in namespaces b with the label c=d`."""
    given = one.resources
    parts = [", ".join(strings(given.get("kinds"))) or "everything"]
    names = (*((str(given["name"]),) if given.get("name") else ()), *strings(given.get("names")))
    if names:
        parts.append(f"named {', '.join(names)}")
    if namespaces := strings(given.get("namespaces")):
        parts.append(f"in {', '.join(namespaces)}")
    if given.get("namespaceSelector") is not None:
        parts.append(f"in namespaces with {shown(given['namespaceSelector'])}")
    if given.get("selector") is not None:
        parts.append(f"with {shown(given['selector'])}")
    if annotations := mapping(given.get("annotations")):
        parts.append("annotated " + ",".join(f"{key}={value}" for key, value in sorted(annotations.items())))
    if operations := strings(given.get("operations")):
        parts.append(f"on {', '.join(operations)}")
    subjects = [f"{x.get('kind')} {x.get('name')}" for x in mappings(one.users.get("subjects"))]
    who = [*subjects, *strings(one.users.get("roles")), *strings(one.users.get("clusterRoles"))]
    if who:
        parts.append(f"by {', '.join(who)}")
    return " ".join(parts)


def shown(selector: Any) -> str:
    """A selector in words; of a shape that no server takes, just that it is one."""
    try:
        return selectors.shown(mapping(selector)) or "any labels"
    except (AttributeError, KeyError, TypeError):
        return "a selector"


def labels_of(one: Filter | Object) -> tuple[str, ...]:
    """The labels of an object by which a filter selects it: `key=value`, or `key` where any value does."""
    selector = mapping(one.resources.get("selector") if isinstance(one, Filter) else one)
    found = [f"{key}={value}" for key, value in mapping(selector.get("matchLabels")).items()]
    for requirement in mappings(selector.get("matchExpressions")):
        key, operator = str(requirement.get("key") or ""), requirement.get("operator")
        if operator == "Exists":
            found.append(key)
        elif operator == "In":
            found += [f"{key}={value}" for value in strings(requirement.get("values"))]
    return tuple(sorted(found))
