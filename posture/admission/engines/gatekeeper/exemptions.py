"""What takes something out of constraints, by number, and where: Gatekeeper's Config, its webhook, a constraint itself.

Source: Gatekeeper v3.23.0, pkg/controller/config/process/excluder.go, pkg/webhook/{common,policy}.go and
charts/gatekeeper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from posture.admission import shapes
from posture.admission.pods import mapping, mappings
from posture.admission.policy import NONE, Exemption, Shape
from posture.model import Changed, Content, Key, Snapshot, Through

from .match import Match, Requirement, globbed, words
from .templates import Template
from .webhook import CONFIGS, Webhook

IGNORE = "admission.gatekeeper.sh/ignore"
ACCOUNT = "gatekeeper-admin"
MOST_IMAGES = 32
"""Exempted images of one constraint that are exceptions of their own; of more than these the list is one."""
_MISPLACED = "Gatekeeper reads excludedNamespaces only under spec.match"
_UNREAD = "Gatekeeper reads match conditions only under matchCondition"
_READ_ENTRY = {"excludedNamespaces", "processes"}


class Ways:
    """Exemptions, numbered from `first`, and which of them may take something out in a namespace."""

    def __init__(self, first: int = 0) -> None:
        self.exemptions: list[Exemption] = []
        self.anywhere: frozenset[int] = NONE
        """Those that no namespace decides."""
        self.doubts: dict[int, str] = {}
        """Why nobody can say whether one of them takes out what it names."""
        self._first = first
        self._exact: dict[str, frozenset[int]] = {}
        self._globs: list[tuple[str, int]] = []
        self._ignored: int | None = None
        self._left_out: list[tuple[Requirement, int]] = []
        self._within: dict[str, tuple[Mapping[str, str], frozenset[int]]] = {}

    def add(self, exemption: Exemption, *, anywhere: bool = True) -> int:
        """The number of an exemption. One that is idle takes nothing out anywhere."""
        number = self._first + len(self.exemptions)
        self.exemptions.append(exemption)
        if anywhere and not exemption.idle:
            self.anywhere |= {number}
        return number

    def named(self, pattern: str, exemption: Exemption, doubt: str = "") -> None:
        """One for the namespaces whose name matches a pattern."""
        number = self.add(exemption, anywhere=False)
        if doubt:
            self.doubts[number] = doubt
        if "*" in pattern:
            self._globs.append((pattern, number))
        else:
            self._exact[pattern] = self._exact.get(pattern, NONE) | {number}

    def ignored(self, exemption: Exemption) -> None:
        """The one for namespaces with the label `IGNORE`. It is theirs too where nobody reads the label."""
        self._ignored = self.add(exemption, anywhere=False)

    def left_out(self, requirement: Requirement, exemption: Exemption) -> None:
        """One for the namespaces that a requirement leaves out."""
        self._left_out.append((requirement, self.add(exemption, anywhere=False)))

    @property
    def reads_labels(self) -> bool:
        """Whether the labels of a namespace decide."""
        return bool(self._left_out) or self._ignored is not None

    def by_name(self, name: str) -> frozenset[int]:
        """Those that take everything out of a namespace because of its name."""
        found = self._exact.get(name, NONE)
        globs = [number for pattern, number in self._globs if globbed(pattern, name)]
        return found.union(globs) if globs else found

    def by_labels(self, labels: Mapping[str, str]) -> frozenset[int]:
        """Those that take everything out of a namespace because of its labels."""
        found = [number for one, number in self._left_out if one.leaves_out(labels)]
        if self._ignored is not None and IGNORE in labels:
            found.append(self._ignored)
        return frozenset(found)

    def active(self, numbers: frozenset[int]) -> frozenset[int]:
        """Those that are not idle."""
        return frozenset(one for one in numbers if not self.exemptions[one - self._first].idle)

    def within(self, name: str, labels: Mapping[str, str]) -> frozenset[int]:
        """All that may take something out in a namespace; remembered, since it is asked for every constraint."""
        known = self._within.get(name)
        if known is None or known[0] is not labels:
            known = labels, self.anywhere | self.by_name(name) | self.by_labels(labels)
            self._within[name] = known
        return known[1]


type _Path = tuple[str | int, ...]


def without(content: Any, path: _Path) -> Any:
    """A copy without what stands at a path; a list that would be empty goes too."""
    head, rest = path[0], path[1:]
    last = not rest or (len(rest) == 1 and isinstance(content[head], list) and len(content[head]) == 1)
    if isinstance(head, int):
        changed = [] if last else [without(content[head], rest)]
        return [*content[:head], *changed, *content[head + 1 :]]
    others = {name: one for name, one in content.items() if name != head}
    return others if last else others | {head: without(content[head], rest)}


class Edited:
    """An object from which exemptions are taken: makes them."""

    def __init__(self, kind: str, key: Key, name: str, content: Content | None) -> None:
        """`content` None is an object that is assumed."""
        self._kind, self._key, self._name, self._content = kind, key, name, content

    def exemption(self, where: str, what: str, *paths: _Path, **more: Any) -> Exemption:
        """One that stands at some paths of the object; `where` names it there, as others come and go."""
        through = Through(self._kind, self._key.namespace, f"{self._name}/{where}")
        if self._content is None:
            return Exemption(through, (), what, built_in=True, **more)
        rest = self._content
        for path in reversed(paths):
            rest = without(rest, path)
        return Exemption(through, (self._key,), what, (Changed(self._key, self._content, rest),), **more)


# What is common to all constraints ----------------------------------------------------------------------------------


def common(snapshot: Snapshot, webhook: Webhook) -> tuple[Ways, Mapping[str, int]]:
    """What takes something out of every constraint; the numbers of the webhook's own fields and of the account."""
    ways = Ways()
    numbers: dict[str, int] = {}
    for key, content in sorted(snapshot.objects(CONFIGS), key=lambda one: one[0]):
        _config(ways, key, content, webhook.namespace)
    edited = Edited("ValidatingWebhookConfiguration", webhook.key, webhook.key.name, webhook.content)
    at, named = ("webhooks", webhook.place), f"webhooks[{webhook.name}]"
    for one in webhook.spaces.left_out:
        if (one.key, one.operator) == (IGNORE, "DoesNotExist"):
            continue  # each namespace with the label is one
        paths = [(*at, "namespaceSelector", "matchExpressions", place) for place in one.places]
        what = f"is not asked about namespaces with {one.shown}"
        ways.left_out(one, edited.exemption(f"{named}.namespaceSelector/{one.name}", what, *paths))
    if keys := webhook.objects.keys:
        what = f"is asked only about objects with the labels that it selects: {', '.join(keys)}"
        shape = shapes.left_out(webhook.objects.whole)
        made = edited.exemption(f"{named}.objectSelector", what, (*at, "objectSelector"), labels=keys, shape=shape)
        numbers["objects"] = ways.add(made)
    for place, (name, text) in enumerate(webhook.conditions):
        where, what = f"{named}.matchConditions/{name}", f"is not asked where its match condition {name} does not hold"
        made = edited.exemption(where, what, (*at, "matchConditions", place), shape=shapes.failing(text))
        numbers[f"condition {place}"] = ways.add(made)
    idle = "" if webhook.ignores(IGNORE) else "no webhook of Gatekeeper leaves namespaces with this label out"
    what = "takes the namespace out of every constraint"
    ways.ignored(Exemption(Through("Label", "", IGNORE), (), what, idle=idle, local=True))
    account = Key("serviceaccounts", webhook.namespace, ACCOUNT)
    through = Through("ServiceAccount", webhook.namespace, ACCOUNT)
    shape = Shape(user=f"system:serviceaccount:{webhook.namespace}:{ACCOUNT}")
    what = "is let through, whatever it asks for"
    numbers["account"] = ways.add(Exemption(through, (account,), what, shape=shape, built_in=True))
    return ways, numbers


def _config(ways: Ways, key: Key, content: Content, namespace: str) -> None:
    """The namespaces that a Config takes out of the webhook."""
    idle = ""
    if (key.namespace, key.name) != (namespace, "config"):
        idle = f"Gatekeeper reads only the Config {namespace}/config"
    edited = Edited("Config", key, key.name, content)
    for entry, one in enumerate(mappings(mapping(content.get("spec")).get("match"))):
        if not {"webhook", "*"} & set(words(one.get("processes"))):
            continue
        other = sorted(one.keys() - _READ_ENTRY)
        doubt = f"its Config narrows what it excludes by {other[0]}, which not every Gatekeeper reads" if other else ""
        at: _Path = ("spec", "match", entry)
        patterns = _placed(one.get("excludedNamespaces"))
        for pattern, places in patterns.items():
            # Without the last one the whole entry goes: later versions exclude everything by one that names none.
            paths = [(*at, "excludedNamespaces", place) for place in places] if len(patterns) > 1 else [at]
            where = f"spec.match[{entry}].excludedNamespaces/{pattern}"
            what = f"excludes the namespaces {pattern} from every constraint"
            made = edited.exemption(where, what, *paths, idle=idle)
            if idle:
                ways.add(made)
            else:
                ways.named(pattern, made, doubt)


# What one constraint says -------------------------------------------------------------------------------------------


class Own(NamedTuple):
    """What takes something out of one constraint; the numbers of its fields, and the places of its images by number."""

    ways: Ways
    numbers: Mapping[str, int]
    images: Mapping[int, tuple[int, ...]]


def own(first: int, key: Key, content: Content, match: Match, template: Template, read: Content | None) -> Own:
    """`first` is the first number; `read` is the content of the template, None where it is not there."""
    kind, _, name = key.name.partition("/")
    edited, ways, numbers = Edited(kind, key, name, content), Ways(first), dict[str, int]()
    spec = mapping(content.get("spec"))
    for pattern, places in _placed(mapping(spec.get("match")).get("excludedNamespaces")).items():
        paths = [("spec", "match", "excludedNamespaces", place) for place in places]
        where = f"spec.match.excludedNamespaces/{pattern}"
        ways.named(pattern, edited.exemption(where, f"excludes the namespaces {pattern}", *paths))
    for one in match.spaces.left_out:
        below = [("spec", "match", "namespaceSelector", "matchExpressions", place) for place in one.places]
        where, what = f"spec.match.namespaceSelector/{one.name}", f"excludes namespaces with {one.shown}"
        ways.left_out(one, edited.exemption(where, what, *below))
    if keys := match.labels.keys:
        what = f"is only for objects with the labels that it selects: {', '.join(keys)}"
        path = ("spec", "match", "labelSelector")
        shape = shapes.left_out(match.labels.whole)
        numbers["labels"] = ways.add(edited.exemption("spec.match.labelSelector", what, path, labels=keys, shape=shape))
    images = {}
    exempted = _placed(mapping(spec.get("parameters")).get("exemptImages"))
    if len(exempted) > MOST_IMAGES:
        places = tuple(place for some in exempted.values() for place in some)
        path, what = ("spec", "parameters", "exemptImages"), f"exempts {len(exempted):,} images"
        shape = Shape(image=_image(next(iter(exempted))))
        images[ways.add(edited.exemption("spec.parameters.exemptImages", what, path, shape=shape))] = places
        exempted = {}
    for image, places in exempted.items():
        paths = [("spec", "parameters", "exemptImages", place) for place in places]
        # As far as the template compares images with these, of which `*` at the end is any text.
        shape = Shape(image=_image(image))
        where = f"spec.parameters.exemptImages/{image}"
        made = edited.exemption(where, f"exempts the images {image}", *paths, shape=shape)
        images[ways.add(made)] = places
    for pattern, places in _placed(spec.get("excludedNamespaces")).items():
        misplaced = [("spec", "excludedNamespaces", place) for place in places]
        what, idle = f"means to exclude the namespaces {pattern}", _MISPLACED
        ways.add(edited.exemption(f"spec.excludedNamespaces/{pattern}", what, *misplaced, idle=idle))
    if read is not None and (template.conditions or template.misplaced):
        numbers |= _of_template(ways, template, read)
    return Own(ways, numbers, images)


def _image(pattern: str) -> str:
    return f"{pattern[:-1]}x" if pattern.endswith("*") else pattern


def _placed(value: Any) -> Mapping[str, tuple[int, ...]]:
    """The texts of a list, with the places where each of them stands."""
    found: dict[str, tuple[int, ...]] = {}
    for place, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, str):
            found[one] = (*found.get(one, ()), place)
    return found


def _of_template(ways: Ways, template: Template, content: Content) -> Mapping[str, int]:
    """The match conditions of a template, for all of its constraints."""
    edited, numbers = Edited("ConstraintTemplate", template.key, template.key.name, content), dict[str, int]()
    at = ("spec", "targets", 0, "code", template.place, "source")
    for place, (name, text) in enumerate(template.conditions):
        what, shape = f"asks nothing where its match condition {name} does not hold", shapes.failing(text)
        made = edited.exemption(f"matchCondition/{name}", what, (*at, "matchCondition", place), shape=shape)
        numbers[f"condition {place}"] = ways.add(made)
    for place, name in enumerate(template.misplaced):
        what, idle = f"means to ask nothing where its match condition {name} does not hold", _UNREAD
        ways.add(edited.exemption(f"matchConditions/{name}", what, (*at, "matchConditions", place), idle=idle))
    return numbers
