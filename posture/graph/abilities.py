"""Who meets the conditions of escalations, by the permissions that one identity holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from posture.model import CLUSTER_SCOPE, Through
from posture.rbac import subjects
from posture.rbac.evaluate import Access, Scopes, scopes, usable
from posture.rbac.match import Permission, Tree, part, solve
from posture.rbac.rules import RuleSet

from .catalogue import Escalation
from .nodes import Fact

RBAC = "rbac"
type Names = tuple[tuple[str, frozenset[str] | None], ...]
"""What each variable is limited to; None is any name."""


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


type _Way = tuple[tuple[Permission, ...], Names]


class Conditions:
    """The requests of escalations, with what was already found out about rule sets."""

    def __init__(self, escalations: Iterable[Escalation]) -> None:
        self._all = [_Condition(one, number, tree)
                     for one in escalations for number, tree in enumerate(one.trees)]  # fmt: skip
        self._near: dict[tuple[RuleSet, Scopes | None], frozenset[int]] = {}
        self._parts: dict[tuple[Permission, RuleSet, Scopes | None], bool] = {}
        self._ways: dict[tuple[int, frozenset[tuple[RuleSet, Scopes | None]]], list[_Way]] = {}

    def _gives(self, leaf: Permission, grant: Grant) -> bool:
        """Whether a grant gives some of a permission."""
        place = leaf, grant.held, grant.inside
        if place not in self._parts:
            self._parts[place] = bool(part(leaf, grant.held, grant.inside))
        return self._parts[place]

    def near(self, held: RuleSet, inside: Scopes | None) -> frozenset[int]:
        """The conditions of which a rule set holds a part."""
        place = held, inside
        if place not in self._near:
            self._near[place] = frozenset(
                number for number, one in enumerate(self._all)
                if any(part(leaf, held, inside) for leaf in one.tree.leaves())
            )  # fmt: skip
        return self._near[place]

    def _ways_of(self, number: int, grants: Sequence[Grant]) -> list[_Way]:
        sets = frozenset((one.held, one.inside) for one in grants)
        place = number, sets
        if place not in self._ways:
            found = dict.fromkeys(
                (tuple(dict.fromkeys(used)), tuple(sorted(names.items())))
                for used, names in solve(self._all[number].tree, sets, {})
            )
            self._ways[place] = [*found]
        return self._ways[place]

    def met(self, grants: Sequence[Grant], own: Iterable[Grant], subject: str, scope: str) -> Iterator[Ability]:
        """What is met by grants that one identity holds at a scope, `own` ones among them taking part."""
        mine = {one.fact for one in own}
        numbers = frozenset().union(*(self.near(one.held, one.inside) for one in grants if one.fact in mine))
        for number in sorted(numbers):
            condition = self._all[number]
            places = [*condition.at(scope)]
            for used, names in self._ways_of(number, grants) if places else ():
                needs = [frozenset(one.fact for one in grants if part(leaf, one.held, one.inside)) for leaf in used]
                if not any(need & mine for need in needs):
                    continue  # an implied group's own
                facts = tuple(frozenset(fact for fact in need if fact) for need in needs if need != {None})
                for place in places:
                    yield Ability(condition.escalation.id, condition.number, subject, place, names, facts)


def granted(access: Access, subject: str, scope: str) -> Iterator[Grant]:
    """Every role reference that resolves and counts for a subject at a scope: its own, and those of implied groups."""
    for where in access.wheres(subject, scope):
        inside = None if where[1] == CLUSTER_SCOPE else scopes(access.snapshot)
        for through in access.own(where):
            held = access.roles.get(through)
            if held is not None:
                yield Grant(Fact(RBAC, *where, through), usable(held, where[1], access.snapshot), inside)


def of_subject(access: Access, conditions: Conditions, subject: str) -> Iterator[Ability]:
    """What a subject meets by itself: with what its implied groups hold beside its own grants."""
    names = (subject, *subjects.implied(subject))
    own_scopes = sorted(access.inside.get(subject) or ())
    everywhere = (subject, CLUSTER_SCOPE) in access.grants
    more = {scope for name in names[1:] for scope in access.inside.get(name) or ()} if everywhere else set()
    for scope in dict.fromkeys((*((CLUSTER_SCOPE,) if everywhere else ()), *own_scopes, *sorted(more))):
        grants = [*granted(access, subject, scope)]
        own = [one for one in grants if one.fact is not None and one.fact.subject == subject]
        for ability in conditions.met(grants, own, subject, scope):
            # What is held cluster-wide is met cluster-wide, and told there.
            if scope == CLUSTER_SCOPE or not all(_everywhere(need) for need in ability.needs):
                yield ability


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
