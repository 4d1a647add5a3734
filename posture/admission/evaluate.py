"""What is refused in each namespace of a snapshot; an update asks only what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType
from typing import NamedTuple, cast
from weakref import WeakValueDictionary

from posture.layer import Layer
from posture.model import CLUSTER_SCOPE, Changed, Key, Snapshot, Through

from . import enforcement
from .cel import Evaluator, Missing
from .enforcement import ALL, CLUSTER, OF_PODS, RELAXED, Profile, Questions, ask, ask_openings, parts_of
from .engines import gatekeeper, kyverno, mutating, opaque, podsecurity, scc, sigstore, vap, webhooks
from .lineage import alike, renewed
from .policy import Asked, Engine, Exemption, Policy, Shape, Space, Variant
from .served import Served, Serving, judged
from .workloads import WORKLOADS, requests_of

NAMESPACES = "namespaces"
NAMESPACE = "namespace:"
CLUSTER_SUBJECT = "cluster"
_MODULES: tuple[ModuleType, ...] = (podsecurity, vap, mutating, kyverno, gatekeeper, webhooks, sigstore, scc, opaque)
ENGINES: Mapping[str, Engine] = {module.NAME: cast("Engine", module) for module in _MODULES}
READS = tuple(dict.fromkeys((NAMESPACES, *WORKLOADS, *(kind for engine in ENGINES.values() for kind in engine.READS))))
type Where = tuple[str, str]
type _Key = tuple[bool, tuple[tuple[int, Variant], ...]]


class Share(NamedTuple):
    """What an exception means in one namespace: what it opens there and what it may, and whom it serves."""

    exemption: Exemption
    policies: tuple[Policy, ...]
    opens: int
    maybe: int
    serves: tuple[str, ...]
    sure: bool
    """Whether all that it takes out is known."""


@dataclass(frozen=True, eq=False)
class Enforced:
    """A namespace ("" is the cluster, for what is made in none) and what is refused in it.

    `served` are the workloads that a policy, as it is there, would refuse without an exemption, by what one edits;
    `barred` are those of them that some policy refuses all the same.
    """

    space: Space
    profile: Profile
    served: Mapping[tuple[Policy, Variant], Served]
    barred: frozenset[str] = frozenset()

    @property
    def where(self) -> Where:
        """Its place."""
        return place_of(self.space.name)

    @cached_property
    def shares(self) -> Mapping[Through, Share]:
        """What each exception means here, by what one edits."""
        name = self.space.name
        found: dict[Through, Share] = {}
        for one in self.profile.openings:
            opened = self.profile.opened[one.through]
            policies = tuple(part.policy for part, _ in one.own)
            serves = {subject for part, _ in one.own
                      for subject in self.served.get((part.policy, part.variant), {}).get(one.through, ())}  # fmt: skip
            exemption = one.exemption
            sure = exemption.shape is not None and not any(policy.opaque for policy in policies)
            through = exemption.through_in(name)
            mine = tuple(sorted(serves - self.barred))
            opens, maybe = opened
            found[through] = Share(exemption, policies, opens, maybe, mine, sure)
        return found

    @property
    def asked(self) -> int:
        """The violations that can be made there."""
        return _asked(self.space.name)


def place_of(namespace: str) -> Where:
    """The place of a namespace; "" is the cluster's."""
    return (f"{NAMESPACE}{namespace}", namespace) if namespace else (CLUSTER_SUBJECT, CLUSTER_SCOPE)


def namespace_of(where: Where) -> str:
    """The namespace of a place; "" is the cluster."""
    return "" if where[1] == CLUSTER_SCOPE else where[1]


@dataclass(frozen=True, eq=False)
class Admission:
    """A result: the policies, in order, and each namespace's state."""

    snapshot: Snapshot
    policies: tuple[Policy, ...]
    strays: Mapping[str, tuple[Exemption, ...]]
    """Exceptions of which no policy knows, by engine."""
    spaces: Mapping[str, Enforced]
    shares: Mapping[Through, Mapping[str, Share]] = field(default_factory=dict)
    """What each exception means, by namespace."""
    touched: frozenset[Where] = frozenset()
    profiles: WeakValueDictionary[_Key, Profile] = field(default_factory=WeakValueDictionary)

    @property
    def cel(self) -> Evaluator:
        """Who answers expressions."""
        return _cel(self.snapshot)

    @cached_property
    def places(self) -> frozenset[Where]:
        """Every namespace, and the cluster."""
        return frozenset(map(place_of, self.spaces))


def _cel(snapshot: Snapshot) -> Evaluator:
    found: Evaluator = snapshot.settings.get("cel") or Missing()
    return found


def evaluate(snapshot: Snapshot, previous: Admission | None = None, changed: Iterable[Changed] = ()) -> Admission:
    """What is refused. Without `previous` an update from nothing; the cost follows `changed`, and gaps that differ."""
    keys = [change.key for change in changed]
    if previous is None:
        return _Update(snapshot, None, keys).result()
    if not snapshot.settings:
        snapshot = replace(snapshot, settings=previous.snapshot.settings)
    same = snapshot.settings == previous.snapshot.settings and snapshot.version == previous.snapshot.version
    if not same:
        return _Update(snapshot, None, keys).result()
    kinds = {key.resource for key in keys} | _gapped(previous.snapshot, snapshot)
    if kinds.isdisjoint(_READ):
        return replace(previous, snapshot=snapshot, touched=frozenset())
    return _Update(snapshot, previous, keys, kinds).result()


def _gapped(before: Snapshot, after: Snapshot) -> frozenset[str]:
    """The kinds whose gaps differ: beside the same objects, a gap may be why nobody can say what answers."""
    found = frozenset(gap.resource for gap in {*before.gaps} ^ {*after.gaps})
    return _READ if "*" in found else found


_READ = frozenset(READS)


class _Update:
    """One update: the policies that are others now, the namespaces for which that matters, and the result."""

    def __init__(
        self, snapshot: Snapshot, previous: Admission | None, keys: Collection[Key], kinds: Collection[str] = ()
    ) -> None:
        self.snapshot = snapshot
        self.previous = previous
        self.keys = keys
        self.all = previous is None
        self.kinds = frozenset(kinds)
        self.profiles: WeakValueDictionary[_Key, Profile] = previous.profiles if previous else WeakValueDictionary()
        self.cel = _cel(snapshot)
        self.questions = Questions(ENGINES, self.cel)

    def result(self) -> Admission:
        """The namespaces for which something changed, made anew, above the others."""
        previous = self.previous
        policies = tuple(policy for name in ENGINES for policy in self._policies(name))
        strays = {name: self._strays(name) for name in ENGINES}
        before: Mapping[str, Enforced] = previous.spaces if previous else {}
        old = frozenset(previous.policies) if previous else frozenset()
        new = [policy for policy in policies if policy not in old]
        gone = old - frozenset(policies)
        moved = self._moved()
        there = self._namespaces(before)
        anew = {name for name in moved if name in there}
        if self.all:
            anew = set(there)
        chosen = {name: [*variants_of(policies, self._space(name))] for name in sorted(anew)}
        if new or gone:
            chosen |= self._others(before, policies, new, gone, anew & moved, there)
        spaces = {name: self._space(name) for name in chosen}
        ask(self.questions, ((policy, variant, spaces[name], _asked(name))
                             for name, variants in chosen.items() for policy, variant in variants))  # fmt: skip
        return self._made(policies, strays, before, chosen, moved, there)

    # Policies -------------------------------------------------------------------------------------------------------

    def _policies(self, name: str) -> list[Policy]:
        """An engine's policies; those that are as they were are the same objects as before."""
        engine = ENGINES[name]
        old = [policy for policy in self.previous.policies if policy.engine == name] if self.previous else []
        if self.previous is not None and not self.kinds.intersection(engine.READS):
            return old
        made = engine.policies(self.snapshot)
        return renewed(old, self.previous.snapshot, made, self.snapshot) if self.previous else [*made]

    def _strays(self, name: str) -> tuple[Exemption, ...]:
        if self.previous is not None and not self.kinds.intersection(ENGINES[name].READS):
            return self.previous.strays[name]
        return tuple(ENGINES[name].strays(self.snapshot))

    # Namespaces -----------------------------------------------------------------------------------------------------

    def _namespaces(self, before: Mapping[str, Enforced]) -> Collection[str]:
        """The namespaces that are there: listed ones, those that hold an object, and the cluster."""
        listed = self.snapshot.index.get(NAMESPACES, {})
        if self.previous is not None and all(name in before and ("", name) in listed for name in self._moved()):
            return before.keys()
        found = {name for _, name in listed}
        for kind in WORKLOADS:
            found |= {namespace for namespace, _ in self.snapshot.index.get(kind, {})}
        return {"", *found}

    def _moved(self) -> set[str]:
        """The namespaces of which an object changed, or they themselves."""
        return {key.name if key.resource == NAMESPACES else key.namespace
                for key in self.keys if key.resource == NAMESPACES or key.resource in WORKLOADS}  # fmt: skip

    def _space(self, name: str) -> Space:
        return Space.of(name, self.snapshot.get(Key(NAMESPACES, "", name)) if name else None)

    def _others(
        self, before: Mapping[str, Enforced], policies: tuple[Policy, ...], new: list[Policy], gone: frozenset[Policy],
        anew: Collection[str], there: Collection[str],
    ) -> dict[str, list[tuple[Policy, Variant]]]:  # fmt: skip
        """The namespaces that did not change themselves and for which a policy that did is meant now, or was before."""
        found: dict[str, list[tuple[Policy, Variant]]] = {}
        order = {policy.root: number for number, policy in enumerate(policies)}
        changed = {policy.root for policy in (*new, *gone)}
        for name, old in before.items():
            if name in anew or name not in there:
                continue
            was = {part.policy.root: part for part in old.profile.parts if part.policy.root in changed}
            now = {policy.root: (policy, variant) for policy, variant in variants_of(new, old.space)}
            if was.keys() == now.keys() and all(
                alike(part.policy, part.variant, *now[root]) for root, part in was.items()
            ):
                continue
            kept = [(part.policy, part.variant) for part in old.profile.parts if part.policy.root not in changed]
            found[name] = sorted([*kept, *now.values()], key=lambda one: order[one[0].root])
        return found

    def _made(
        self, policies: tuple[Policy, ...], strays: Mapping[str, tuple[Exemption, ...]], before: Mapping[str, Enforced],
        chosen: Mapping[str, list[tuple[Policy, Variant]]], moved: Collection[str], there: Collection[str],
    ) -> Admission:  # fmt: skip
        wanted = {
            name: (self._space(name), _profile(self.profiles, name, variants)) for name, variants in chosen.items()
        }
        fresh = {
            id(profile): (profile, space) for space, profile in wanted.values() if "opened" not in profile.__dict__
        }
        ask_openings(self.questions, fresh.values())
        whole = len(wanted) * 4 > len(before)
        spaces: dict[str, Enforced] | Layer[str, Enforced]
        spaces = dict(before) if whole else before.fork() if isinstance(before, Layer) else Layer(before or None)
        touched = set()
        served = self._served(before, wanted, moved)
        barred = self._barred(wanted, served)
        for name, (space, profile) in wanted.items():
            spaces[name] = Enforced(space, profile, served[name], barred.get(name, frozenset()))
            touched.add(place_of(name))
        for name in [name for name in moved if name in before and name not in there]:
            del spaces[name]
            touched.add(place_of(name))
        if self.previous is None or policies != self.previous.policies:
            touched.add(place_of(""))
        shares = self._shares(before, spaces, touched)
        touched |= self._turned(before, spaces, shares, touched)
        return Admission(self.snapshot, policies, strays, spaces, shares, frozenset(touched), self.profiles)

    def _shares(
        self, before: Mapping[str, Enforced], after: Mapping[str, Enforced], touched: Iterable[Where]
    ) -> Mapping[Through, Mapping[str, Share]]:
        """What each exception means, with what the namespaces that changed have to say."""
        old = self.previous.shares if self.previous else {}
        fresh: dict[Through, dict[str, Share]] = {}
        for name in map(namespace_of, touched):
            was, now = before.get(name), after.get(name)
            if was is now:
                continue
            for through in was.shares if was else ():
                fresh.setdefault(through, dict(old.get(through, {}))).pop(name, None)
            for through, share in (now.shares if now else {}).items():
                fresh.setdefault(through, dict(old.get(through, {})))[name] = share
        found: Layer[Through, Mapping[str, Share]] = old.fork() if isinstance(old, Layer) else Layer(old or None)
        for through, by in fresh.items():
            if by:
                found[through] = by
            elif through in found:
                del found[through]
        return found

    def _turned(
        self, before: Mapping[str, Enforced], after: Mapping[str, Enforced],
        shares: Mapping[Through, Mapping[str, Share]], touched: Iterable[Where],
    ) -> set[Where]:  # fmt: skip
        """Where exceptions count whose state may be another because of what changed in the namespaces touched."""
        old = self.previous.shares if self.previous else {}
        names = [namespace_of(where) for where in touched]
        there = (one for name in names for one in (before.get(name), after.get(name)) if one is not None)
        mine = {through for one in there for through in one.shares if through in old and through in shares}
        turned = [shares[through] for through in mine if _sum(old[through]) != _sum(shares[through])]
        return {place_of(name) for by in turned for name, share in by.items() if share.opens}

    def _served(
        self, before: Mapping[str, Enforced], wanted: Mapping[str, tuple[Space, Profile]], moved: Collection[str]
    ) -> dict[str, dict[tuple[Policy, Variant], Served]]:
        """Whom exemptions serve; asked again only where workloads or a policy are others."""
        found: dict[str, dict[tuple[Policy, Variant], Served]] = {}
        asking = Serving(self.snapshot, ENGINES, self.cel)
        for name, (_, profile) in wanted.items():
            old = before.get(name) if name not in moved else None
            found[name] = {}
            for policy, variant, _ in profile.parts:
                if name and variant.exemptions and policy.enforces is not False:
                    known = old.served.get((policy, variant)) if old else None
                    found[name][policy, variant] = asking.want(name, policy, variant) if known is None else known
        asking.answer()
        return found

    def _barred(
        self, wanted: Mapping[str, tuple[Space, Profile]], served: Mapping[str, Mapping[tuple[Policy, Variant], Served]]
    ) -> dict[str, frozenset[str]]:
        """Of the workloads that need an exemption those that are refused although they have it."""
        rows: list[tuple[str, str, Asked]] = []
        for name, (_, profile) in wanted.items():
            needy = {subject for by in served[name].values() for subjects in by.values() for subject in subjects}
            for subject, request in requests_of(self.snapshot, name) if needy else ():
                rows += [(name, subject, Asked(part.policy, request, part.variant.exemptions))
                         for part in profile.parts if subject in needy and part.sure]  # fmt: skip
        found: dict[str, set[str]] = {}
        verdicts = judged([question for _, _, question in rows], ENGINES, self.cel)
        for (name, subject, _), verdict in zip(rows, verdicts, strict=True):
            if verdict.refuses:
                found.setdefault(name, set()).add(subject)
        return {name: frozenset(subjects) for name, subjects in found.items()}


def _sum(shares: Mapping[str, Share]) -> tuple[bool, ...]:
    """What decides of an exception, in all its namespaces together, whether it is used."""
    opens = maybe = 0
    for share in shares.values():
        opens, maybe = opens | share.opens, maybe | share.maybe
    serves, sure = any(share.serves for share in shares.values()), all(share.sure for share in shares.values())
    return serves, sure, opens != 0, opens & OF_PODS != 0, maybe != 0, maybe & ~RELAXED != 0


def like(result: Admission, space: Space) -> Profile:
    """What would be refused in a namespace that is not there."""
    variants = [*variants_of(result.policies, space)]
    questions = Questions(ENGINES, result.cel)
    ask(questions, ((policy, variant, space, _asked(space.name)) for policy, variant in variants))
    found = _profile(result.profiles, space.name, variants)
    if "opened" not in found.__dict__:
        ask_openings(questions, [(found, space)])
    return found


def explained(result: Admission, policy: Policy) -> bool:
    """Whether there is a namespace in which test requests say what a policy refuses."""
    known: dict[Policy, bool] = result.__dict__.setdefault("_explained", {})
    if policy not in known:
        parts = (
            part for space in result.spaces.values() for part in space.profile.parts if part.policy.root is policy.root
        )
        known[policy] = any(part.row.refused or part.row.excused for part in parts)
    return known[policy]


def refused_as(result: Admission, profile: Profile, space: Space, shape: Shape, mask: int) -> int:
    """Of some violations those that are refused for sure in requests of another shape."""
    questions = Questions(ENGINES, result.cel)
    for part in profile.parts:
        if part.policy.enforces is not False and part.variant.exemptions and part.base & mask:
            questions.want(part.policy, part.key(shape, part.variant.exemptions), space, part.base & mask)
    questions.answer()
    return enforcement.refused_as(profile.parts, shape, mask)[0]


def _profile(
    profiles: WeakValueDictionary[_Key, Profile], namespace: str, variants: Sequence[tuple[Policy, Variant]]
) -> Profile:
    """The one of all namespaces that are alike to every policy; policies are told apart as objects."""
    key = bool(namespace), tuple((id(policy), variant) for policy, variant in variants)
    found = profiles.get(key)
    if found is None:
        found = profiles[key] = Profile(parts_of(variants), _asked(namespace))
    return found


def _asked(namespace: str) -> int:
    """The violations that can be made there."""
    return ALL & ~CLUSTER if namespace else CLUSTER


def variants_of(policies: Iterable[Policy], space: Space) -> Iterator[tuple[Policy, Variant]]:
    """The policies that are meant for a namespace, as they are there."""
    for policy in policies:
        variant = ENGINES[policy.engine].variant(policy, space)
        if variant is not None:
            yield policy, variant
