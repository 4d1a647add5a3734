"""In which namespaces a rule refuses rather than only notes down.

Source: kyverno v1.19.0, pkg/engine/api/engineresponse.go (a rule's own overrides and action count before the policy's;
an override is for namespaces that its names and its selector both hold) and pkg/policycache/cache.go (a policy's
overrides count before a rule's own action; either is enough). A rule refuses where both take its action for Enforce.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posture.admission.matching import NO, Match
from posture.admission.pods import mapping, mappings
from posture.admission.policy import NONE, Exemption, Space
from posture.admission.requests import NAME_LABEL, Request

from .edits import Path, without
from .filters import shown
from .ways import BEFORE, EVERYWHERE, Area, Place, Way
from .wildcards import any_matches, selects, strings
from .written import Given


def enforces(action: Any) -> bool:
    """Whether an action refuses. What is not said only notes down."""
    return action in ("Enforce", "enforce")


@dataclass(frozen=True)
class _Override:
    """An override of the action; `number` is that of the exemption that it is."""

    given: Mapping[str, Any]
    number: int | None

    def fits(self, name: str, labels: Mapping[str, str], every: bool) -> bool:
        """Whether it is for a namespace: as its names and its selector say, or as one of them does."""
        names, selector = self.given.get("namespaces"), self.given.get("namespaceSelector")
        if names is None and selector is None:
            return True
        named = any_matches(strings(names), name)
        chosen = selector is not None and selects(selector, labels)
        if every:
            return (names is None or named) and (selector is None or chosen)
        return named or chosen


class Overrides:
    """The action of a rule, by namespace. Overrides that only note down are exemptions, the first ones of the rule."""

    def __init__(self, given: Given) -> None:
        self.ways: list[Way] = []
        spec, validate = given.spec, given.validate
        base = ("spec", "validationFailureActionOverrides")
        own_path = given.at("validate", "failureActionOverrides")
        self._own = self._read(given, validate.get("failureActionOverrides"), own_path)
        self._spec = self._read(given, spec.get("validationFailureActionOverrides"), base)
        images = [one.get("failureAction") for one in mappings(given.rule.get("verifyImages"))]
        own = validate.get("failureAction") if validate else next((one for one in images if one), None)
        self._first = None if own is None else enforces(own)
        self._last = enforces(spec.get("validationFailureAction"))
        self.enforces_some = any(one.number is None for one in (*self._own, *self._spec))

    def _read(self, given: Given, found: Any, path: Path) -> list[_Override]:
        made = []
        for number, one in enumerate(mappings(found)):
            action = one.get("action")
            if enforces(action):
                made.append(_Override(one, None))
            elif action in ("Audit", "audit"):
                made.append(_Override(one, len(self.ways)))
                self.ways.append(_noted(given, one, (*path, number)))
        return made

    @property
    def ever(self) -> bool:
        """Whether it refuses in some namespace, with or without its overrides."""
        heard = self._own if self._first is False else self._all
        return (self._last if self._first is None else self._first) or any(one.number is None for one in heard)

    def at(self, space: Space) -> tuple[Any, frozenset[int]] | None:
        """Which overrides are for a namespace; None where it refuses nothing even without those that note down."""
        every = tuple(self._fitting(space.name, space.labels, every=True))
        some = tuple(self._fitting(space.name, space.labels, every=False))
        if not self._enforced(space.name, space.labels, NONE):
            return None
        numbers = frozenset(one.number for one in self._all if one.number is not None and one in (*every, *some))
        return (self._marks(every), self._marks(some)), numbers

    @property
    def _all(self) -> list[_Override]:
        return [*self._own, *self._spec]

    def _marks(self, found: Sequence[_Override]) -> tuple[int, ...]:
        return tuple(number for number, one in enumerate(self._all) if any(one is other for other in found))

    def _fitting(self, name: str, labels: Mapping[str, str], *, every: bool) -> Iterator[_Override]:
        return (one for one in self._all if one.fits(name, labels, every))

    def enforced(self, request: Request, exemptions: frozenset[int]) -> Match:
        """Whether it refuses in the namespace of a request, with these exemptions in force."""
        where = self._where(request)
        if where is None:
            return Match(None, f"namespace {request.namespace} is not known")
        return Match(self._enforced(*where, exemptions))

    def matching(self, request: Request) -> frozenset[int]:
        """The overrides that only note down, for the namespace of a request."""
        where = self._where(request) or ("", {})
        found = [one for every in (True, False) for one in self._fitting(*where, every=every)]
        return frozenset(one.number for one in found if one.number is not None)

    def _where(self, request: Request) -> tuple[str, Mapping[str, str]] | None:
        if not request.namespace:
            return "", {}
        if request.namespace_object is None:
            if any(one.given.get("namespaceSelector") is not None for one in self._all):
                return None
            return request.namespace, {NAME_LABEL: request.namespace}
        labels = mapping(mapping(request.namespace_object.get("metadata")).get("labels"))
        return request.namespace, labels

    def _enforced(self, name: str, labels: Mapping[str, str], exemptions: frozenset[int]) -> bool:
        def first(found: Sequence[_Override], every: bool) -> bool | None:
            there = (one for one in found if one.number is None or one.number in exemptions)
            return next((one.number is None for one in there if one.fits(name, labels, every)), None)

        own = [one for one in self._own if one.number is None or one.number in exemptions]
        cached = first(own or self._spec, every=False)
        if cached is None:
            cached = self._last if self._first is None else self._first
        answered = first(own, every=True)
        if answered is None:
            answered = self._first
        if answered is None:
            answered = first(self._spec, every=True)
        return cached and (self._last if answered is None else answered)


def _noted(given: Given, override: Mapping[str, Any], path: Path) -> Way:
    names, selector = strings(override.get("namespaces")), override.get("namespaceSelector")
    where = [f"in {', '.join(names)}"] if names else []
    where += [f"in namespaces with {shown(selector)}"] if selector is not None else []
    text = " and ".join(where) or "everywhere"
    field = "validationFailureActionOverrides"
    if path[1] == "rules":
        field = f"rules[{given.name}].validate.failureActionOverrides"
    exemption = Exemption(
        given.through(f"{field}[{text}]"), (given.key,), f"only notes down violations {text}",
        (without(given.key, given.content, path),),
    )  # fmt: skip
    area: Area = ((Place(names),),) if names else ()
    area += ((Place(None, mapping(selector)),),) if selector is not None else ()
    return Way(exemption, BEFORE, area or EVERYWHERE, lambda _: NO)
