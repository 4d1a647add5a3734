"""Who meets the conditions of escalations, by the permissions that one identity holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, product
from typing import NamedTuple

from posture.model import CLUSTER_SCOPE, Through
from posture.rbac import subjects
from posture.rbac.evaluate import Access, Scopes, grant_of, scopes, usable
from posture.rbac.match import Permission, Sets, Tree, part, solve
from posture.rbac.rules import RuleSet

from .catalogue import Escalation
from .nodes import Fact

RBAC = "rbac"
type Names = tuple[tuple[str, frozenset[str]], ...]
"""What variables are limited to; one that is not there may be any name."""


class Ability(NamedTuple):
    """A request of an escalation (by its number) that an identity may make at a scope, and what gives it that."""

    escalation: str
    request: int
    subject: str
    scope: str
    names: Names
    needs: tuple[frozenset[Fact], ...]


class Grant(NamedTuple):
    """A role reference that counts for an identity, with what it holds where it is used."""

    fact: Fact | None
    held: RuleSet
    inside: Scopes | None


class _Condition(NamedTuple):
    """One request of an escalation."""

    escalation: Escalation
    number: int
    tree: Tree

    @property
    def only(self) -> Sequence[str] | None:
        """The namespaces that it is about, if not all."""
        found: Sequence[str] | None = self.escalation.requests[self.number].get("namespaces")
        return found

    def at(self, scope: str) -> Iterable[str]:
        """The scopes at which it is met by what is held at a scope."""
        wanted = self.escalation.requests[self.number].get("scope")
        if wanted and (wanted == "cluster") != (scope == CLUSTER_SCOPE):
            return ()
        if self.only is None:
            return (scope,)
        return self.only if scope == CLUSTER_SCOPE else [one for one in self.only if one == scope]


type _Shape = tuple[tuple[RuleSet, Scopes | None, bool], ...]
"""What grants hold, and whether each is the identity's own."""
type _Needs = tuple[frozenset[int], ...]
"""For each permission of some the grants that give it, as places in a shape."""
type _Met = tuple[int, Names, _Needs]
"""A condition, what its variables are limited to, and what gives the permissions that it uses."""


class _Given(NamedTuple):
    """The grants that give a permission for any name, and those that give it for one name besides."""

    any: frozenset[int]
    named: Mapping[str, frozenset[int]]


class Conditions:
    """The requests of escalations, with what was already found out about rule sets."""

    def __init__(self, escalations: Iterable[Escalation]) -> None:
        self._all = [_Condition(one, number, tree)
                     for one in escalations for number, tree in enumerate(one.trees)]  # fmt: skip
        self._near: dict[tuple[RuleSet, Scopes | None], frozenset[int]] = {}
        self._ways: dict[tuple[int, Sets], list[tuple[Permission, ...]]] = {}
        self._shapes: dict[_Shape, tuple[_Met, ...]] = {}

    def near(self, held: RuleSet, inside: Scopes | None) -> frozenset[int]:
        """The conditions of which a rule set holds a part."""
        place = held, inside
        if place not in self._near:
            self._near[place] = frozenset(
                number for number, one in enumerate(self._all)
                if any(part(leaf, held, inside) for leaf in one.tree.leaves())
            )  # fmt: skip
        return self._near[place]

    def _ways_of(self, number: int, sets: Sets) -> list[tuple[Permission, ...]]:
        """The permissions that meet a condition, where all of these rule sets are held."""
        place = number, sets
        if place not in self._ways:
            found = (tuple(dict.fromkeys(used)) for used, _ in solve(self._all[number].tree, sets, {}))
            self._ways[place] = [*dict.fromkeys(found)]
        return self._ways[place]

    def _met_by(self, shape: _Shape) -> Iterator[_Met]:
        """What is met by grants that hold this, own ones among them taking part."""
        sets = frozenset((held, inside) for held, inside, _ in shape)
        numbers = frozenset().union(*(self.near(held, inside) for held, inside, own in shape if own))
        given: dict[Permission, _Given] = {}
        for number in sorted(numbers):
            apart = self._all[number].escalation.tells_apart
            for used in self._ways_of(number, sets):
                given.update((leaf, _given(leaf, shape)) for leaf in used if leaf not in given)
                for names, needs in _chosen({leaf: given[leaf] for leaf in used}, apart):
                    if any(shape[place][2] for need in needs for place in need):  # else it is an implied group's own
                        yield number, names, needs

    def met(self, grants: Sequence[Grant], own: Iterable[Grant], subject: str, scope: str) -> Iterator[Ability]:
        """What is met by grants that one identity holds at a scope, `own` ones among them taking part."""
        mine = {one.fact for one in own}
        shape = tuple((one.held, one.inside, one.fact in mine) for one in grants)
        if shape not in self._shapes:
            self._shapes[shape] = tuple(dict.fromkeys(self._met_by(shape)))
        facts: dict[frozenset[int], frozenset[Fact]] = {}
        for number, names, needs in self._shapes[shape]:
            condition = self._all[number]
            for need in needs:
                if need not in facts:
                    facts[need] = frozenset(fact for place in need if (fact := grants[place].fact))
            found = tuple(facts[need] for need in needs if facts[need])
            for place in condition.at(scope):
                yield Ability(condition.escalation.id, condition.number, subject, place, names, found)


def _given(leaf: Permission, shape: _Shape) -> _Given:
    whole: list[int] = []
    named: dict[str, list[int]] = {}
    parts: dict[tuple[RuleSet, Scopes | None], RuleSet] = {}
    for place, (held, inside, _) in enumerate(shape):
        if (held, inside) not in parts:
            parts[held, inside] = part(leaf, held, inside)
        mine = parts[held, inside]
        if leaf.variable and all(rule.names is not None for rule in mine.resources):
            # No object has the empty name: what is limited to it allows nothing that is asked by a name.
            for name in frozenset().union(*(rule.names or () for rule in mine.resources)) - {""}:
                named.setdefault(name, []).append(place)
        elif mine:
            whole.append(place)
    return _Given(frozenset(whole), {name: frozenset(places) for name, places in sorted(named.items())})


def _chosen(given: Mapping[Permission, _Given], apart: Callable[[str], bool]) -> Iterator[tuple[Names, _Needs]]:
    """What gives permissions together, a variable being the same name in all of them. Names are told of variables that
    are told `apart`, and those together that need the same.
    """
    found: list[list[tuple[Names, _Needs]]] = []
    for variable in dict.fromkeys(leaf.variable for leaf in given):
        ways = _for_one_name([one for leaf, one in given.items() if leaf.variable == variable])
        if apart(variable):
            found.append([(((variable, frozenset(names)),) if names else (), needs) for needs, names in ways.items()])
        else:
            found.append([((), needs) for needs in _for_some_name(ways)])
    for chosen in product(*found):
        names = sorted(chain.from_iterable(names for names, _ in chosen))
        yield tuple(names), tuple(chain.from_iterable(needs for _, needs in chosen))


def _for_one_name(given: Sequence[_Given]) -> Mapping[_Needs, list[str]]:
    """What gives permissions for the same name, each with the names; with none what gives them for any."""
    whole = tuple(one.any for one in given)
    found: dict[_Needs, list[str]] = {whole: []} if all(whole) else {}
    for name in dict.fromkeys(chain.from_iterable(one.named for one in given)):
        ways = ([way for way in (one.any, one.named.get(name)) if way] for one in given)
        for needs in product(*ways):
            if needs != whole:
                found.setdefault(needs, []).append(name)
    return found


def _for_some_name(ways: Iterable[_Needs]) -> Iterator[_Needs]:
    """The same whatever the name is. Where the same grants give every permission any of them is enough: that is one."""
    same: set[int] = set()
    size = 0
    for needs in ways:
        if len(set(needs)) > 1:
            yield needs
        else:
            same |= needs[0]
            size = len(needs)
    if same:
        yield (frozenset(same),) * size


def granted(access: Access, subject: str, scope: str) -> Iterator[Grant]:
    """Every role reference that resolves and counts for a subject at a scope: its own, and those of implied groups."""
    for where in access.wheres(subject, scope):
        found = (_grant(access, where, through) for through in access.own(where))
        yield from (one for one in found if one is not None)


def _grant(access: Access, where: tuple[str, str], through: Through) -> Grant | None:
    held = access.roles.get(through)
    if held is None:
        return None
    inside = None if where[1] == CLUSTER_SCOPE else scopes(access.snapshot)
    return Grant(Fact(RBAC, *where, through), usable(held, where[1], access.snapshot), inside)


def of_subject(access: Access, conditions: Conditions, subject: str) -> Iterator[Ability]:
    """What a subject meets by itself: with what its implied groups hold beside its own grants."""
    groups = subjects.implied(subject)
    wide = _near(access, conditions, subject, CLUSTER_SCOPE)
    own_scopes = sorted(access.inside.get(subject) or ())
    told: set[tuple[object, ...]] = set()
    more = {scope for name in groups for scope in access.inside.get(name) or ()} if wide else set()
    for scope in dict.fromkeys((CLUSTER_SCOPE, *own_scopes, *sorted(more))):
        own = wide if scope == CLUSTER_SCOPE else wide + _near(access, conditions, subject, scope)
        if not own:
            continue
        where = (CLUSTER_SCOPE,) if scope == CLUSTER_SCOPE else (CLUSTER_SCOPE, scope)
        theirs = [one for name in groups for place in where for one in _near(access, conditions, name, place)]
        for ability in conditions.met([*own, *theirs], own, subject, scope):
            # What is held cluster-wide is met cluster-wide, and told there; by other names it may be met here.
            names = product(*([(name, value) for value in values] for name, values in ability.names))
            what = {(*ability[:2], *each) for each in names}
            if scope == CLUSTER_SCOPE:
                told |= what
            if scope == CLUSTER_SCOPE or not what <= told or not all(_everywhere(need) for need in ability.needs):
                yield ability


def _near(access: Access, conditions: Conditions, subject: str, scope: str) -> list[Grant]:
    """The role references granted to a subject at exactly this scope that hold a part of some condition."""
    found = (_grant(access, (subject, scope), through) for through in access.own((subject, scope)))
    return [one for one in found if one is not None and conditions.near(one.held, one.inside)]


def meaning(access: Access, conditions: Conditions, where: tuple[str, str]) -> frozenset[tuple[Through, RuleSet]]:
    """What is granted there and is a part of some condition, or more than rules."""
    held = ((through, access.roles.get(through)) for through in access.own(where))
    found = {(through, one) for through, one in held if one and one.opaque}
    near = ((one.fact, one.held) for one in _near(access, conditions, *where))
    return frozenset(found.union((fact.through, one) for fact, one in near if fact))


def bearers(access: Access, conditions: Conditions) -> frozenset[str]:
    """Every subject that is granted a role which holds a part of some condition."""
    inside = scopes(access.snapshot)
    found: set[str] = set()
    for through, held in access.roles.items():
        if held.resources or held.urls:
            here = usable(held, through.namespace or "default", access.snapshot)
            if conditions.near(held, None) or conditions.near(here, inside):
                for key in access.bound.get(through) or ():
                    content = access.snapshot.get(key)
                    grant = grant_of(key, content) if content is not None else None
                    found.update(grant.subjects if grant else ())
    return frozenset(found)


def _everywhere(need: frozenset[Fact]) -> bool:
    return any(fact.scope == CLUSTER_SCOPE for fact in need)


def abilities(
    access: Access, escalations: Iterable[Escalation], only: Iterable[str] | None = None
) -> Iterator[Ability]:
    """Who meets which request of which escalation. `only` names subjects; all that grants name if it is left out."""
    conditions = Conditions(escalations)
    names = sorted({subject for subject, _ in access.grants}) if only is None else only
    for subject in names:
        yield from of_subject(access, conditions, subject)


def of_role(access: Access, conditions: Conditions, through: Through, scope: str, subject: str) -> Iterator[Ability]:
    """What whoever is granted a role at a scope meets by it alone."""
    held = access.roles.get(through)
    if held is not None:
        inside = None if scope == CLUSTER_SCOPE else scopes(access.snapshot)
        grant = Grant(None, usable(held, scope, access.snapshot), inside)
        yield from conditions.met([grant], [grant], subject, scope)


def by_name(abilities: Iterable[Ability]) -> Mapping[str, list[Ability]]:
    """Abilities by the id of their escalation."""
    found: dict[str, list[Ability]] = {}
    for one in abilities:
        found.setdefault(one.escalation, []).append(one)
    return found
