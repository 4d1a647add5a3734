"""The one matcher of permissions: where a check of this domain holds. The escalation catalogue uses it too.

A check's `match` is a tree of `any` and `all` over permissions, each shaped like a PolicyRule: verbs, apiGroups,
resources, resourceNames (a name that starts with `$` is a variable: equal wherever it stands), names (`any`: not
limited to names, the default; `some`: limited or not), or nonResourceURLs, `assume` a cloud identity, or the `role`
of a reference that does not resolve. A field that is left out holds for anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, NamedTuple

from posture.model import CLUSTER_SCOPE, Change, Check, Hit, Through

from .compare import NAME, path
from .evaluate import Access, Scopes, Where, latent, scopes, usable
from .rules import EMPTY, Rule, RuleSet, UrlRule, from_units, rule_set, units_in, url_covers

_UNNAMED_VERBS = frozenset({"create", "list", "watch", "deletecollection", "escalate"})
# Below an object its name is part of every request; these are only asked in reviews, without one.
_UNNAMED_BELOW = frozenset({
    "certificatesigningrequests/nodeclient", "certificatesigningrequests/selfnodeclient", "resourceclaims/binding",
})  # fmt: skip


class Permission(NamedTuple):
    """One permission of a check, compiled. None is anything."""

    verbs: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    names: frozenset[str] | None
    variable: str
    named: bool
    urls: tuple[str, ...] | None
    opaque: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """`all` or `any` of permissions and trees. `plain`: one permission is enough, whatever else is held."""

    every: bool
    parts: tuple[Permission | Tree, ...]
    plain: bool

    def leaves(self) -> Iterator[Permission]:
        """Every permission in the tree."""
        for part in self.parts:
            if isinstance(part, Tree):
                yield from part.leaves()
            else:
                yield part


def _tuple(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _permission(node: Mapping[str, Any]) -> Permission:
    names = node.get("resourceNames") or ()
    variable = names[0] if names and names[0].startswith("$") else ""
    opaque = tuple((word, pattern) for word in ("assume", "role") for pattern in node.get(word) or ())
    return Permission(
        _tuple(node.get("verbs")), _tuple(node.get("apiGroups")), _tuple(node.get("resources")),
        frozenset(names) if names and not variable else None, variable, node.get("names") == "some",
        _tuple(node.get("nonResourceURLs")), opaque,
    )  # fmt: skip


def compiled(match: Mapping[str, Any]) -> Tree:
    """The tree of a check's `match`."""
    every = "all" in match
    nodes = match["all" if every else "any"]
    parts = tuple(compiled(node) if "all" in node or "any" in node else _permission(node) for node in nodes)
    alone = all(part.plain if isinstance(part, Tree) else not part.variable for part in parts)
    return Tree(every, parts, alone and (len(parts) == 1 or not every))


def _among(wanted: tuple[str, ...] | None, held: frozenset[str]) -> frozenset[str]:
    """Which of the wanted values a held set allows; all that is held when anything is wanted."""
    return held if wanted is None else frozenset(value for value in wanted if "*" in held or value in held)


def _part(wanted: Permission, rule: Rule, inside: Scopes | None) -> Rule | None:
    """The part of a rule that a permission asks for; None when the rule holds none of it.

    Inside a namespace (`inside` is given) a star holds only what lives in namespaces; the rest is named there.
    """
    verbs, groups = _among(wanted.verbs, rule.verbs), _among(wanted.groups, rule.groups)
    if not verbs or not groups:
        return None
    resources = rule.resources if wanted.resources is None else frozenset(
        whole for whole in wanted.resources
        if whole in rule.resources or (
            ("*" in rule.resources or "*/" + (whole.partition("/")[2] or "/") in rule.resources)
            and (inside is None or any(inside.namespaced(group, whole) for group in groups))
        )
    )  # fmt: skip
    names = rule.names
    if wanted.names is not None:
        names = wanted.names if names is None else wanted.names & names
    elif names is not None and not wanted.variable and (not wanted.named or names == {""}):
        # A rule for the empty name allows what asks for no name: to list, to create, to escalate while creating.
        verbs, names = (verbs & _UNNAMED_VERBS, frozenset({""})) if "" in names else (frozenset(), None)
        resources = frozenset(whole for whole in resources if "/" not in whole or whole in _UNNAMED_BELOW)
    if not verbs or not resources or (names is not None and not names):
        return None
    return Rule(verbs, groups, resources, names)


type Sets = frozenset[tuple[RuleSet, Scopes | None]]
"""Rule sets that a subject holds together, each with what lives in namespaces where it is used inside one."""


def part(wanted: Permission, held: RuleSet, inside: Scopes | None) -> RuleSet:
    """What of a rule set a permission asks for."""
    if wanted.opaque:
        return rule_set(opaque=frozenset(
            (word, name) for word, name in held.opaque
            if any(word == asked and fnmatchcase(name, pattern) for asked, pattern in wanted.opaque)
        ))  # fmt: skip
    urls: set[UrlRule] = set()
    anything = wanted.resources is None and wanted.groups is None and wanted.names is None
    if wanted.urls is not None or anything:
        for rule in held.urls:
            verbs = _among(wanted.verbs, rule.verbs)
            paths = (
                rule.urls
                if wanted.urls is None
                else frozenset(path for path in wanted.urls if any(url_covers(pattern, path) for pattern in rule.urls))
            )
            if verbs and paths:
                urls.add(UrlRule(verbs, paths))
    found = () if wanted.urls is not None else (_part(wanted, rule, inside) for rule in held.resources)
    return rule_set(frozenset(rule for rule in found if rule), frozenset(urls))


type _Names = Mapping[str, frozenset[str] | None]
type _Way = tuple[tuple[Permission, ...], _Names]


def solve(node: Permission | Tree, sets: Sets, names: _Names) -> Iterator[_Way]:
    """The ways to satisfy a tree: the permissions used, and what its variables may be (None is any name)."""
    if isinstance(node, Tree):
        if node.every:
            yield from _solve_all(node.parts, sets, names)
        else:
            for below in node.parts:
                yield from solve(below, sets, names)
        return
    found = [mine for held, inside in sets if (mine := part(node, held, inside))]
    if not found:
        return
    if not node.variable:
        yield (node,), names
        return
    rules = [rule for mine in found for rule in mine.resources]
    free = any(rule.names is None for rule in rules)
    # No object has the empty name: what is limited to it allows nothing that is asked by a name.
    candidates = None if free else frozenset(chain.from_iterable(rule.names or () for rule in rules)) - {""}
    bound = names.get(node.variable)
    both = candidates if bound is None else bound if candidates is None else candidates & bound
    if both is None or both:
        yield (node,), {**names, node.variable: both}


def _solve_all(parts: tuple[Permission | Tree, ...], sets: Sets, names: _Names) -> Iterator[_Way]:
    if not parts:
        yield (), names
        return
    for used, bound in solve(parts[0], sets, names):
        for more, final in _solve_all(parts[1:], sets, bound):
            yield used + more, final


class Matcher:
    """Checks, compiled, with what was already found out about each rule set."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self.checks = [(check, compiled(check.match)) for check in checks if check.domain == NAME]
        self._near: dict[tuple[RuleSet, Scopes | None], list[tuple[int, RuleSet]]] = {}
        self._used: dict[tuple[int, Sets], frozenset[Permission]] = {}

    def _candidates(self, held: RuleSet, inside: Scopes | None) -> list[tuple[int, RuleSet]]:
        """The checks of which a rule set holds some permission, and what it holds of them."""
        place = (held, inside)
        if place not in self._near:
            found = []
            for number, (_, tree) in enumerate(self.checks):
                mine = [one for leaf in tree.leaves() if (one := part(leaf, held, inside))]
                if mine:
                    found.append((number, _union(mine)))
            self._near[place] = found
        return self._near[place]

    def _used_in(self, number: int, sets: Sets) -> frozenset[Permission]:
        """The permissions that take part in some way to satisfy a check, for a subject that holds these sets."""
        place = (number, sets)
        if place not in self._used:
            ways = solve(self.checks[number][1], sets, {})
            self._used[place] = frozenset(chain.from_iterable(used for used, _ in ways))
        return self._used[place]

    def holding(self, held: RuleSet, access: Access, subject: str, scope: str) -> Iterator[tuple[Check, RuleSet]]:
        """The checks that hold for a subject at a scope by means of one rule set, and the part that makes them.

        Where a check needs several permissions, the others may come from anywhere that counts for the subject: from
        cluster-wide grants, and for a cluster-wide one from those inside any one namespace.
        """
        inside = None if scope == CLUSTER_SCOPE else scopes(access.snapshot)
        for number, mine in self._candidates(held, inside):
            check, tree = self.checks[number]
            if tree.plain:
                if _in_place(check.match, subject, scope):
                    yield check, mine
                continue
            places = [scope]
            if scope == CLUSTER_SCOPE:
                places += sorted(access.inside.get(subject) or ())
            for place in places:
                if _in_place(check.match, subject, place):
                    used = self._used_in(number, _together(access, subject, place) | {(held, inside)})
                    found = [one for leaf in used if (one := part(leaf, held, inside))]
                    if found:
                        yield check, _union(found)
                        break


def _together(access: Access, subject: str, scope: str) -> Sets:
    """What a subject holds at a scope, cluster-wide grants included."""
    found: set[tuple[RuleSet, Scopes | None]] = set()
    for where in access.wheres(subject, scope):
        inside = None if where[1] == CLUSTER_SCOPE else scopes(access.snapshot)
        for through in access.own(where):
            held = access.roles.get(through)
            if held is not None:
                found.add((usable(held, where[1], access.snapshot), inside))
    return frozenset(found)


def _union(sets: list[RuleSet]) -> RuleSet:
    if len(sets) == 1:
        return sets[0]
    return rule_set(
        frozenset(chain.from_iterable(one.resources for one in sets)),
        frozenset(chain.from_iterable(one.urls for one in sets)),
        frozenset(chain.from_iterable(one.opaque for one in sets)),
    )


def _in_place(match: Mapping[str, Any], subject: str, scope: str) -> bool:
    wanted = match.get("scope")
    if wanted and (wanted == "cluster") != (scope == CLUSTER_SCOPE):
        return False
    if "namespaces" in match and scope not in match["namespaces"]:
        return False
    named = match.get("subjects")
    return not named or any(fnmatchcase(subject, pattern) for pattern in named)


def _grants(access: Access, within: Iterable[Where] | None) -> Iterator[tuple[Where, Through, RuleSet]]:
    for where in access.grants if within is None else within:
        for through in access.own(where):
            held = access.roles.get(through)
            if held is not None:
                yield where, through, usable(held, where[1], access.snapshot)
            elif access.missing(through) is None:
                yield where, through, rule_set(opaque=frozenset({("role", str(through))}))


def match(matcher: Matcher, live: Access, within: Iterable[Where] | None = None) -> Iterator[Hit]:
    """Where checks hold: one hit for each check, subject, scope and role reference."""
    for where, through, held in _grants(live, within):
        for check, _ in matcher.holding(held, live, *where):
            yield Hit(check.id, *where, through)


def reasons(matcher: Matcher, change: Change, live: Access) -> list[Check]:
    """The checks that hold for a subject because of what a change gained."""
    gained = from_units(change.gained)
    return [check for check, _ in matcher.holding(gained, live, change.subject, change.scope)]


def as_change(matcher: Matcher, live: Access, where: Where, through: Through) -> Change:
    """All that checks say of one role reference, in the form of a change: what was found is what is gained."""
    bindings = live.own(where)[through]
    resolved = live.roles.get(through)
    held = rule_set(opaque=frozenset({("role", str(through))})) if resolved is None else resolved
    held = usable(held, where[1], live.snapshot)
    parts = [mine for _, mine in matcher.holding(held, live, *where)]
    found = _union(parts) if parts else EMPTY
    effective = resolved is not None and not latent(found, live.snapshot)
    return Change(NAME, "loosened", *where, through, units_in(found, where[1]), (), effective, *path(through, bindings))
