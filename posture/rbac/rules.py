"""PolicyRules as sets of permissions: what a rule allows, what it covers, and what one set holds beyond another.

A permission is (verb, group, resource/subresource, name) or (verb, URL). Rules stay factored (four sets, their product
is the permissions), because a tenant can write a rule of millions of permissions in one object. Sources of the rules:
k8s.io/kubernetes pkg/apis/rbac/v1/evaluation_helpers.go (what a rule allows) and
k8s.io/component-helpers auth/rbac/validation/policy_comparator.go (what a rule covers).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from posture.model import Unit

type _Held = Callable[[frozenset[str], Set[str]], Set[str]]
type _Classes = list[tuple[int, frozenset[Any]]]

ALL = frozenset({"*"})
OWN = "\ud800 the namespace's own name"
"""Among the names of a rule that is used inside a namespace: that namespace. No name that JSON can carry."""
EXPANDED_LIMIT = 5_000
"""Up to so many permissions are brought into one canonical shape; more stay in the rules' own shape, sorted."""

DIVIDED_LIMIT = 2_000_000
"""In so many steps a rule is divided by what others hold of it; where they cut it finer, it counts as held by none."""


class Rule(NamedTuple):
    """Permissions on resources: the product of four sets. `names` None is every name, "" among them is no name."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str] | None

    def size(self) -> int:
        """How many permissions."""
        return len(self.verbs) * len(self.groups) * len(self.resources) * len(self.names or (None,))


class UrlRule(NamedTuple):
    """Permissions on URLs of the API server that are no resources."""

    verbs: frozenset[str]
    urls: frozenset[str]


class RuleSet:
    """The rules of one role, interned: two roles that say the same are one object, compared by identity.

    `opaque` are grants that are no rules: `assume` a cloud identity, or all that a `role` holds which nobody can read.
    """

    __slots__ = ("__weakref__", "opaque", "resources", "urls")

    def __init__(
        self, resources: frozenset[Rule], urls: frozenset[UrlRule], opaque: frozenset[tuple[str, str]]
    ) -> None:
        self.resources = resources
        self.urls = urls
        self.opaque = opaque

    def __bool__(self) -> bool:
        return bool(self.resources or self.urls or self.opaque)


def rule_set(
    resources: frozenset[Rule] = frozenset(),
    urls: frozenset[UrlRule] = frozenset(),
    opaque: frozenset[tuple[str, str]] = frozenset(),
) -> RuleSet:
    """The one RuleSet of these rules."""
    return _interned(resources, urls, opaque)


_interned = lru_cache(maxsize=65_536)(RuleSet)


EMPTY = rule_set()


def _reduced(values: Iterable[str]) -> frozenset[str]:
    found = frozenset(values)
    return ALL if "*" in found else found


def _prefixes(patterns: Iterable[str]) -> list[str]:
    """What patterns with a trailing star begin with, sorted, without those that begin with another."""
    found: list[str] = []
    for prefix in sorted({pattern.rstrip("*") for pattern in patterns if pattern.endswith("*")}):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


def _begins(value: str, prefixes: list[str]) -> bool:
    """Whether a value begins with one of them; only the last one that sorts before it can be that."""
    place = bisect_right(prefixes, value)
    return place > 0 and value.startswith(prefixes[place - 1])


def _urls(values: Iterable[str]) -> frozenset[str]:
    """URL patterns with one trailing star each (`/api**` is `/api*`) and none that another covers."""
    found = frozenset(values)
    prefixes = _prefixes(found)
    plain = (value for value in found if not value.endswith("*") and not _begins(value, prefixes))
    return frozenset(plain).union(prefix + "*" for prefix in prefixes)


def parse(rules: Iterable[Mapping[str, Any]]) -> RuleSet:
    """The RuleSet of a role's `rules` as the API returns them. A rule with resources and URLs counts as both."""
    resources: set[Rule] = set()
    urls: set[UrlRule] = set()
    for rule in rules:
        verbs = _reduced(rule.get("verbs") or ())
        groups, names = _reduced(rule.get("apiGroups") or ()), rule.get("resourceNames")
        if verbs and groups and rule.get("resources"):
            # `pods/log` beside `*/log` stays: a review for the resource "pods/log" is matched by the first only.
            held = _reduced(rule["resources"])
            resources.add(Rule(verbs, groups, held, frozenset(names) if names else None))
        if verbs and rule.get("nonResourceURLs"):
            urls.add(UrlRule(verbs, _urls(rule["nonResourceURLs"])))
    return rule_set(frozenset(resources), frozenset(urls))


# What a rule allows -----------------------------------------------------------------------------------------------


def allows(rule: Rule, verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
    """Whether one rule allows one request (`VerbMatches` … `ResourceNameMatches` of evaluation_helpers.go)."""
    if not ("*" in rule.verbs or verb in rule.verbs) or not ("*" in rule.groups or group in rule.groups):
        return False
    if rule.names is not None and name not in rule.names:
        return False
    whole = f"{resource}/{subresource}" if subresource else resource
    held = rule.resources
    return "*" in held or whole in held or bool(subresource and f"*/{subresource}" in held)


def allows_url(rule: UrlRule, verb: str, path: str) -> bool:
    """Whether one rule allows one request for a URL that is no resource."""
    if not ("*" in rule.verbs or verb in rule.verbs):
        return False
    return any(url_covers(pattern, path) for pattern in rule.urls)


# What a rule covers -----------------------------------------------------------------------------------------------


def url_covers(owner: str, path: str) -> bool:
    """Whether a URL pattern holds another pattern, or a path, entirely (`nonResourceURLCovers`)."""
    return owner in ("*", path) or (owner.endswith("*") and path.startswith(owner.rstrip("*")))


def _star(held: frozenset[str] | None, held_of: _Held) -> bool:
    """Whether a field holds every value. Among names a star is a name like any other."""
    return held is None or ("*" in held and held_of is not _name)


def _plain(held: frozenset[str], values: Set[str]) -> Set[str]:
    return held & values


def _name(held: frozenset[str], values: Set[str]) -> Set[str]:
    return held & values


def _resource(held: frozenset[str], values: Set[str]) -> Set[str]:
    stars = {value[2:] for value in held if value.startswith("*/")} - {""}  # "*/" is only itself
    if not stars:
        return held & values
    return {value for value in values if value in held or value.partition("/")[2] in stars}


def _url(held: frozenset[str], values: Set[str]) -> Set[str]:
    prefixes = _prefixes(held)
    return {value for value in values if value in held or _begins(value, prefixes)}


# For each field of a rule: which of some values a held set holds, where the set is not all of them.
_RESOURCE_FIELDS: tuple[_Held, ...] = (_plain, _plain, _resource, _name)
_URL_FIELDS: tuple[_Held, ...] = (_plain, _url)


def _classes(values: Set[Any], field: int, owners: Sequence[Any], held_of: _Held) -> _Classes:
    """Values grouped by the owners (a bitmask) that hold them in one field. The cost is the size of what is held."""
    everywhere = 0
    masks: dict[Any, int] = dict.fromkeys(values, 0)
    for position, owner in enumerate(owners):
        if _star(owner[field], held_of):
            everywhere |= 1 << position
        else:
            for value in held_of(owner[field], values):
                masks[value] |= 1 << position
    grouped: dict[int, list[Any]] = defaultdict(list)
    for value, mask in masks.items():
        grouped[mask | everywhere].append(value)
    return [(mask, frozenset(group)) for mask, group in grouped.items()]


def _beyond[AnyRule: (Rule, UrlRule)](
    rule: AnyRule, owners: Iterable[AnyRule], fields: tuple[_Held, ...]
) -> list[AnyRule]:
    """The permissions of a rule that no single owner holds, as disjoint rules; `[]` when all are held.

    Every permission is held by one owner or by none (`Covers`), so values that the same owners hold in a field need
    one look together: the cost follows the number of such classes, never the number of permissions.
    """
    values: list[Set[Any]] = [frozenset({None}) if field is None else field for field in rule]
    near = [
        owner
        for owner in owners
        if all(_star(h, of) or of(h or ALL, wanted) for h, wanted, of in zip(owner, values, fields, strict=True))
    ]
    if not near:
        return [rule]
    dimensions = [_classes(wanted, field, near, fields[field]) for field, wanted in enumerate(values)]
    try:
        cells = list(_unheld(dimensions, -1, [DIVIDED_LIMIT]))
    except OverflowError:
        return [rule]
    left = []
    for cell in cells:
        parts: list[Any] = [None if field is None else part for field, part in zip(rule, cell, strict=True)]
        left.append(type(rule)(*parts))
    return left


def _unheld(dimensions: Sequence[_Classes], owners: int, budget: list[int]) -> Iterator[tuple[frozenset[Any], ...]]:
    """The parts of a product that no owner holds; what no owner is left for is not divided further.

    Raises OverflowError after as many steps as the budget holds.
    """
    if not owners:
        yield tuple(frozenset().union(*(values for _, values in classes)) for classes in dimensions)
        return
    if not dimensions:
        return
    budget[0] -= len(dimensions[0])
    if budget[0] < 0:
        raise OverflowError
    merged: dict[int, list[frozenset[Any]]] = defaultdict(list)
    for mask, values in dimensions[0]:
        merged[mask & owners].append(values)
    for mask, parts in merged.items():
        first = parts[0].union(*parts[1:])
        yield from ((first, *rest) for rest in _unheld(dimensions[1:], mask, budget))


@lru_cache(maxsize=65_536)
def minus(held: RuleSet, owners: frozenset[RuleSet]) -> RuleSet:
    """What a rule set holds that none of the owners' rules holds."""
    if held in owners:
        return EMPTY
    rules = {rule for owner in owners for rule in owner.resources}
    url_rules = {rule for owner in owners for rule in owner.urls}
    return rule_set(
        frozenset(rest for rule in held.resources - rules for rest in _beyond(rule, rules, _RESOURCE_FIELDS)),
        frozenset(rest for rule in held.urls - url_rules for rest in _beyond(rule, url_rules, _URL_FIELDS)),
        held.opaque.difference(*(owner.opaque for owner in owners)),
    )


@lru_cache(maxsize=65_536)
def names_of(held: RuleSet) -> frozenset[str]:
    """Every name that some rule is limited to."""
    return frozenset(name for rule in held.resources for name in rule.names or ())


def renamed(held: RuleSet, old: str, new: str) -> RuleSet:
    """A rule set with the name of one namespace, where rules name it, replaced by another's."""
    if old not in names_of(held):
        return held
    return rule_set(
        frozenset(
            Rule(rule.verbs, rule.groups, rule.resources, (rule.names - {old}) | {new})
            if rule.names and old in rule.names
            else rule
            for rule in held.resources
        ),
        held.urls,
        held.opaque,
    )


# Units: the same in plain JSON --------------------------------------------------------------------------------------


type _Cell = tuple[str, str, str, str | None]


def _expand(rules: Iterable[Rule]) -> set[_Cell]:
    """Single permissions, without those that another of them covers."""
    found: set[_Cell] = {cell for r in rules for cell in product(r.verbs, r.groups, r.resources, r.names or (None,))}
    verbs, groups, resources, names = (frozenset(cell[field] for cell in found) for field in range(4))
    stars = frozenset(resource for resource in resources if resource and resource.startswith("*")) - {"*/"}
    starred = bool(stars) or "*" in verbs or "*" in groups
    if not starred and (None not in names or len(names) == 1):
        return found

    def covered(cell: _Cell) -> bool:
        verb, group, resource, name = cell
        if not starred:
            return name is not None and (verb, group, resource, None) in found
        wider = product(
            {verb, "*"} & verbs, {group, "*"} & groups,
            {resource, *({"*", "*/" + resource.partition("/")[2]} & stars)}, {name, None} & names,
        )  # fmt: skip
        return any(other != cell and other in found for other in wider)

    return {cell for cell in found if not covered(cell)}


def _merged(cells: set[_Cell]) -> list[Rule]:
    """Single permissions as few rules: verbs, then resources, then names, then groups are drawn together."""
    verbs: dict[Any, set[str]] = defaultdict(set)
    for verb, group, resource, name in cells:
        verbs[group, resource, name].add(verb)
    resources: dict[Any, set[str]] = defaultdict(set)
    for (group, resource, name), v in verbs.items():
        resources[frozenset(v), group, name].add(resource)
    names: dict[Any, set[str]] = defaultdict(set)
    for (v, group, name), r in resources.items():
        names[v, group, frozenset(r), name is None].add(name)
    groups: dict[Any, set[str]] = defaultdict(set)
    for (v, group, r, _), n in names.items():
        groups[v, r, None if None in n else frozenset(n)].add(group)
    return [Rule(v, frozenset(g), r, n) for (v, r, n), g in groups.items()]


def _merged_urls(rules: Iterable[UrlRule]) -> list[UrlRule]:
    """Permissions on URLs as few rules: a verb stands at a path only where no wider pattern has it."""
    held: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for path in rule.urls:
            held[path] |= rule.verbs
    lengths = {len(path) - 1 for path in held if path.endswith("*")}
    paths: dict[frozenset[str], set[str]] = defaultdict(set)
    for path, verbs in held.items():
        text = path.removesuffix("*")
        patterns = {text[:length] + "*" for length in lengths if length <= len(text)} - {path}
        wider = frozenset().union(*(held[pattern] for pattern in patterns & held.keys()))
        if "*" not in wider and verbs - wider:
            paths[_reduced(verbs - wider)].add(path)
    return [UrlRule(verbs, frozenset(found)) for verbs, found in paths.items()]


@lru_cache(maxsize=65_536)
def units(held: RuleSet) -> tuple[Unit, ...]:
    """A rule set in PolicyRule's own shape, sorted: one canonical form for one set of permissions."""
    rules: Iterable[Rule] = held.resources
    if sum(rule.size() for rule in rules) <= EXPANDED_LIMIT:
        rules = _merged(_expand(rules))
    found: list[dict[str, list[str]]] = []
    for rule in rules:
        unit = {"apiGroups": sorted(rule.groups), "resources": sorted(rule.resources), "verbs": sorted(rule.verbs)}
        if rule.names is not None:
            unit["resourceNames"] = sorted(rule.names)
        found.append(unit)
    url_rules: Iterable[UrlRule] = held.urls
    if sum(len(rule.verbs) * len(rule.urls) for rule in url_rules) <= EXPANDED_LIMIT:
        url_rules = _merged_urls(url_rules)
    found += [{"nonResourceURLs": sorted(rule.urls), "verbs": sorted(rule.verbs)} for rule in url_rules]
    found += [{word: [name]} for word, name in held.opaque]
    result = tuple(sorted(found, key=lambda unit: sorted(unit.items())))
    if len(_MADE) > 65_536:
        _MADE.clear()
    _MADE[id(result)] = result, held
    return result


def units_in(held: RuleSet, scope: str) -> tuple[Unit, ...]:
    """The units of what is held in a namespace, with its name where `OWN` stands."""
    found = units(held)
    if OWN not in names_of(held):
        return found
    placed = []
    for unit in found:
        names = unit.get("resourceNames") or ()
        if OWN in names:
            placed.append({**unit, "resourceNames": sorted({scope if name == OWN else name for name in names})})
        else:
            placed.append(dict(unit))
    return tuple(sorted(placed, key=lambda unit: sorted(unit.items())))


_MADE: dict[int, tuple[tuple[Unit, ...], RuleSet]] = {}
"""The rule sets of units that were made here, so that they need not be read again. Kept units keep their id."""


def from_units(given: Iterable[Unit]) -> RuleSet:
    """The rule set of units."""
    made = _MADE.get(id(given))
    if made is not None and made[0] is given:
        return made[1]
    given = list(given)
    opaque = frozenset((word, name) for unit in given for word in ("assume", "role") for name in unit.get(word, ()))
    parsed = parse(given)
    return rule_set(parsed.resources, parsed.urls, opaque)


def permissions(given: Iterable[Unit]) -> Iterator[dict[str, str]]:
    """Every single permission, in the keys that `explain access --batch` takes; made one after another."""
    for unit in given:
        for path in unit.get("nonResourceURLs", ()):
            yield from ({"verb": verb, "path": path} for verb in unit["verbs"])
        for word in ("assume", "role"):
            yield from ({word: name} for name in unit.get(word, ()))
        names: Iterable[str | None] = unit.get("resourceNames") or (None,)
        verbs = unit.get("verbs", ())
        for group, whole, verb, name in product(unit.get("apiGroups", ()), unit.get("resources", ()), verbs, names):
            resource, _, subresource = whole.partition("/")
            one = {"verb": verb, "apiGroup": group, "resource": resource if subresource else whole}
            if subresource:
                one["subresource"] = subresource
            yield one if name is None else one | {"name": name}
