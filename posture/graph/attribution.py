"""Whose doing a new path is: the changes without which it would not be there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from posture.model import SEVERITIES, AttackPath, Change, Key, Reason, Severity, Step, Through
from posture.network.allowed import NON_ISOLATED
from posture.network.endpoints import NAMESPACE
from posture.text import begun

from . import crossing
from .compare import EASY, NewPath
from .nodes import (
    CLOUD,
    CLUSTER_ADMIN,
    ENGINE,
    NAMESPACE_ADMIN,
    NODE,
    SECRETS,
    STRUCTURE,
    WORKLOAD,
    Edge,
    Fact,
)
from .origin import Origins, through_of
from .sentences import reaching, steps
from .structure import ESCALATION

type Place = tuple[str, str, str, Through]
"""(domain, subject, scope, through): what identifies a change"""
_NOWHERE = Through("", "", "")
PATH = "path-"
"""How the checks begin that stand for paths: behind it is what they lead to."""


class Gained:
    """The changes that domains found beyond what was agreed, by the facts that they may have made."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._places: dict[Place, list[Place]] = {}
        for change in changes:
            place = (change.domain, *change.where)
            for known in self._keys(*place):
                self._places.setdefault(known, []).append(place)

    def of(self, fact: Fact) -> Collection[Place]:
        """The changes that may have made a fact."""
        return self._places.get(self._key(fact), ())

    def __call__(self, fact: Fact) -> bool:
        """Whether some change made it."""
        return self._key(fact) in self._places

    @staticmethod
    def _key(fact: Fact) -> Place:
        """Admission tells of a namespace by what one edits, a fact by what is admitted there; and where no policy
        isolates, a workload lacks what its namespace lacks.
        """
        domain, subject, scope, through = fact
        if domain == "admission":
            return domain, "", scope, _NOWHERE
        return domain, "" if through.kind == NON_ISOLATED else subject, scope, through

    def _keys(self, domain: str, subject: str, scope: str, through: Through) -> Iterable[Place]:
        """What a policy lets a workload do it lets pods do that somebody makes like it: a fact of their namespace."""
        yield self._key(Fact(domain, subject, scope, through))
        if domain == "network" and subject.startswith(WORKLOAD):
            yield self._key(Fact(domain, f"{NAMESPACE}{scope}", scope, through))


class Own(NamedTuple):
    """Paths that no change of a domain made, but what exists, how it runs, what leads to it, or the server's version.
    `key` is the object that this is about: of what a version opens, the role by which somebody uses it. `differs`: it
    is that object's change that made them.
    """

    fact: Fact
    key: Key | None
    paths: tuple[AttackPath, ...]
    differs: bool


class Attribution(NamedTuple):
    """Paths by the change that is a reason of them, and those that are findings of their own."""

    by: Mapping[Place, tuple[AttackPath, ...]]
    own: tuple[Own, ...]


type Signed = Callable[[Place], tuple[str, str]]
"""The finding of a change, and its owner."""


def attributed(
    new: Iterable[NewPath], gained: Gained, origins: Origins, titles: Mapping[str, str], signed: Signed
) -> Attribution:
    """Each new path with every change that it needs; `titles` are those of escalations."""
    by: dict[Place, list[AttackPath]] = {}
    own: dict[Fact, list[AttackPath]] = {}
    keys: dict[Fact, Key | None] = {}
    for one in new:
        places = dict.fromkeys(place for need in one.lacking for fact in sorted(need) for place in gained.of(fact))
        written = AttackPath(
            one.path.source, one.path.target, tuple(_steps(one, gained, titles, signed)), len(one.others)
        )  # fmt: skip
        for place in places:
            by.setdefault(place, []).append(written)
        if not places:
            fact, key = _first(one, origins)
            own.setdefault(fact, []).append(written)
            keys.setdefault(fact, key)
    found = {place: tuple(sorted(paths, key=gravity)) for place, paths in by.items()}
    mine = (
        Own(fact, keys[fact], tuple(sorted(own[fact], key=gravity)), _differs(keys[fact], origins))
        for fact in sorted(own)
    )
    return Attribution(found, tuple(mine))


def _differs(key: Key | None, origins: Origins) -> bool:
    return key is not None and origins.differs(key)


def _made(edge: Edge, gained: Gained) -> Iterable[Place]:
    """The changes that an edge needs: of a need that something else gives as well, none."""
    for need in edge.needs:
        if all(map(gained, need)):
            for fact in sorted(need):
                yield from gained.of(fact)


def _first(new: NewPath, origins: Origins) -> tuple[Fact, Key | None]:
    """What one would edit of a path that no change made, and its object: the one of which the change made it; of what
    a version opens, the first role on the way by which it is used.
    """
    facts = [fact for need in new.lacking for fact in sorted(need)]
    fact = next((fact for fact in facts if fact.domain == STRUCTURE), facts[0])
    if fact.through.kind == ESCALATION:
        used = (one for edge in (*new.fresh, *new.path.edges) for need in edge.needs for one in sorted(need))
        return fact, next(filter(None, map(crossing.key_of_fact, used)), None)
    key = origins.of(fact, new.fresh)
    if key is None or key == crossing.key_of_fact(fact):
        return fact, key
    return fact._replace(through=through_of(key)), key


def _steps(new: NewPath, gained: Gained, titles: Mapping[str, str], signed: Signed) -> Iterable[Step]:
    def whose(edge: Edge) -> tuple[str, str] | None:
        place = next(iter(_made(edge, gained)), None) if edge in new.fresh else None
        return signed(place) if place else None

    for text, edges in steps(new.path.edges, titles, whose):
        yield Step(text, *next(filter(None, map(whose, edges)), ()))


def gravity(path: AttackPath) -> tuple[int, str, str]:
    """The gravest first."""
    return SEVERITIES.index(severity(path)), path.source, path.target


def severity(path: AttackPath) -> Severity:
    """How severe it is that somebody reaches a target: by what it takes to be him, and what he gets."""
    anybody = path.source in EASY
    if path.target == CLUSTER_ADMIN:
        return "critical" if anybody or path.source.startswith(WORKLOAD) else "high"
    if path.target in (NODE, SECRETS) or path.target.startswith(f"{SECRETS}/"):
        return "critical" if anybody else "high"
    return "high" if anybody else "medium"


def reason(path: AttackPath) -> Reason:
    """A path as why a change matters."""
    kind = next((k for k in (SECRETS, NAMESPACE_ADMIN, ENGINE, CLOUD) if path.target.startswith(k)), path.target)
    return Reason(f"{PATH}{kind.strip('/')}", severity(path), begun(reaching(path)))


__all__ = ["Attribution", "Gained", "Own", "attributed", "gravity", "reason", "severity"]
