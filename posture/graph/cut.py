"""The cut: the fewest objects to edit so that no path is left from some sources to a target.

A proof stands until an edit takes away a fact of it, so a set of edits that closes everything has to take one away from
each proof. The search takes a proof that stands and tries each way to edit one of its facts; then a proof that stands
after that edit, and so on: every set of ways that closes all is met on some branch. Each set is evaluated in all
domains, so what an edit does beside its purpose counts, and one that opens anything is no proposal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from posture import rbac
from posture.drift.causes import edit_of
from posture.model import Changed, Fix, Key, canonical
from posture.rbac.evaluate import CLUSTER_ROLES, ROLES
from posture.text import listed

from . import crossing
from .bound import disjoint
from .evaluate import MEMBER, Graph
from .nodes import CLUSTER_ADMIN, SECRETS, Edge
from .paths import Edges, Path, held, proof, targets
from .trial import Trial
from .ways import Way, narrowed, needs, objects, ways

EXACT = 3
"""Up to so many objects every set of ways is tried."""
BUDGET = 300
"""Evaluations that a search may take."""
_MOST = 20
"""Objects that a greedy cut may edit."""
_PROPOSALS = 3
_ANY = 1 << 30
_SAME = (MEMBER, crossing.RUNS_AS, crossing.EXPOSED)
"""The rules of edges to what acts for whoever holds their beginning."""
_ROLES = (CLUSTER_ROLES, ROLES)
type Mark = frozenset[tuple[Key, bytes]]


@dataclass(frozen=True, slots=True)
class Cut:
    """What closes all paths from some sources to a target.

    `open` are the paths, one for each source that has one. `fixes` close all of them, each by itself, the best first;
    where there are none, `reason` says why. No set of fewer than `bound` objects does, by the ways that posture knows;
    `exact`: some fix edits no more than that. It is the first, unless it is a last resort and one object more is none:
    a last resort ends something that works, or takes back a grant of somebody else than the sources. `tried` are the
    evaluations that it took; `spent` says that there were not enough, or that not all ways were looked at.
    """

    sink: str
    open: tuple[Path, ...]
    fixes: tuple[Fix, ...] = ()
    bound: int = 0
    reason: str = ""
    tried: int = 0
    spent: bool = False

    @property
    def exact(self) -> bool:
        """Whether no fewer objects will do, by the ways that are known for what the proofs need.

        An edit that is meant for something else may close more: then fewer do after all.
        """
        return any(len(fix.edits) == self.bound for fix in self.fixes)


def cut(graph: Graph, sources: Iterable[str], sink: str, budget: int = BUDGET) -> Cut:
    """The smallest sets of edits after which no source reaches a target. Who reaches cluster-admin reaches any target.

    `budget` bounds the evaluations of sets of edits. With none left the smallest set found so far counts, or what a
    greedy search finds.
    """
    search = Search(graph, tuple(dict.fromkeys(sources)), sink, budget)
    if not search.open:
        return Cut(sink, ())
    bound = disjoint(graph, lambda edges: next(paths_from(edges, search.sources, search.goals), None))
    if bound is None:
        return Cut(sink, search.open, reason="one of the paths holds by nothing that posture knows how to edit")
    found: list[Proposal] = []
    for size in range(max(bound, 1), EXACT + 1):
        found = search.of_size(size)
        if found or search.spent:
            bound = max(bound, size)
            break
        bound = size + 1
    if found and all(one.cost.last for one in found):
        found += search.gentle(bound + 1)
    if not found:
        found = search.greedy()
    fixes, spent = tuple(one.fix for one in _best(found)), search.spent or search.partial
    return Cut(sink, search.open, fixes, bound, "" if fixes else search.reason, search.tried, spent)


def _best(found: Iterable[Proposal]) -> list[Proposal]:
    """The proposals that are shown, the best first, one of as few objects as there are among them."""
    best = sorted(found, key=lambda one: one.cost)
    smallest = min(best, key=lambda one: one.cost.objects, default=None)
    shown = best[:_PROPOSALS]
    return shown if smallest is None or smallest in shown else [*shown[:-1], smallest]


def goals_of(sink: str) -> tuple[str, ...]:
    """What is not to be held: the target, and what is more."""
    return tuple(dict.fromkeys((sink, *([SECRETS] if sink.startswith(f"{SECRETS}/") else []), CLUSTER_ADMIN)))


def paths_from(edges: Edges, sources: Iterable[str], goals: Sequence[str]) -> Iterator[Path]:
    """The shortest path of each source that reaches one of the goals."""
    for source in sources:
        found = held(_until(edges, goals), [source])
        for goal in goals:
            path = proof(found, source, goal) if goal != source else None
            if path is not None:
                yield path
                break


def _until(edges: Edges, goals: Sequence[str]) -> Edges:
    """Edges that end once a goal is held: what else a powerful source holds is nearly everything."""
    reached = False

    def looked(node: str) -> Iterator[Edge]:
        nonlocal reached
        for edge in () if reached else edges(node):
            reached = reached or (edge.head in goals and len(edge.tail) == 1)
            yield edge

    return looked


# Sets of edits ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Plan:
    """A set of edits, each object once, and the words for them."""

    edits: Mapping[Key, Changed] = field(default_factory=dict)
    words: Mapping[frozenset[Key], str] = field(default_factory=dict)
    last: int = 0
    breaks: tuple[str, ...] = ()

    @property
    def mark(self) -> Mark:
        """Equal for equal edits."""
        return frozenset((key, b"" if one.new is None else canonical(one.new)[0]) for key, one in self.edits.items())

    def with_(self, way: Way) -> Plan:
        """These edits and those of a way that was found after them."""
        edits = dict(self.edits)
        for key, old, new in way.changed:
            edits[key] = Changed(key, edits[key].old if key in edits else old, new)
        keys = frozenset(one.key for one in way.changed)
        text = narrowed(edits[key] for key in sorted(keys)) if all(key.resource in _ROLES for key in keys) else way.text
        words = {its: said for its, said in self.words.items() if not its <= keys} | {keys: text}
        return Plan(edits, words, self.last + way.last, (*self.breaks, *way.breaks))

    def without(self, key: Key) -> Plan | None:
        """These edits without one; None where it belongs to a way of several edits."""
        if frozenset({key}) not in self.words:
            return None
        edits = {its: one for its, one in self.edits.items() if its != key}
        words = {its: said for its, said in self.words.items() if its != frozenset({key})}
        return Plan(edits, words, self.last, self.breaks)

    @property
    def text(self) -> str:
        """What to do, in a sentence."""
        first, *rest = self.words.values()
        return listed([first, *(f"{text[0].lower()}{text[1:]}" for text in rest)], len(self.words))


class Cost(NamedTuple):
    """What a plan costs, what weighs most first: for how many it breaks how much comes last."""

    resort: bool
    objects: int
    last: int
    losses: int
    weight: int
    text: str


class Proposal(NamedTuple):
    """A proven plan."""

    cost: Cost
    fix: Fix


class _Spent(Exception):
    """The budget is used up."""


class Search:
    """What was tried so far, and the proofs that are known: one that still stands spares a search for another."""

    def __init__(self, graph: Graph, sources: tuple[str, ...], sink: str, budget: int) -> None:
        self.graph = graph
        self.sources = sources
        self.goals = goals_of(sink)
        self.budget = budget
        self.open = tuple(paths_from(graph.edges, sources, self.goals))
        self.own = _own(graph, sources)
        self.tried = 0
        self.spent = self.partial = False
        self.reason = "nothing that posture knows how to edit closes it"
        self._proofs: dict[Path, None] = dict.fromkeys(self.open)
        self._branches: dict[Mark, list[Way]] = {}
        self._closing: dict[Mark, Proposal | None] = {}

    def gentle(self, size: int) -> list[Proposal]:
        """The proven plans of up to so many objects that are no last resort, as far as the budget goes; all that is
        smaller was tried.
        """
        spent = self.spent
        found = [one for one in self.of_size(size, last=0) if not one.cost.last]
        self.spent = spent
        return found

    def of_size(self, size: int, last: int = _ANY) -> list[Proposal]:
        """Every proven plan of up to so many objects, as far as the budget goes; with `last` no more of a last resort
        than that.
        """
        found: dict[Mark, Proposal] = {}
        seen: set[Mark] = set()
        pending = [Plan()]
        while pending:
            plan = pending.pop()
            if plan.mark in seen:
                continue
            seen.add(plan.mark)
            try:
                branches = self._looked_at(plan)
            except _Spent:
                self.spent = True
                break
            proposal = self._closing.get(plan.mark)
            if proposal is not None:
                found[plan.mark] = proposal
            following = (plan.with_(way) for way in reversed(branches))
            pending += [one for one in following if len(one.edits) <= size and one.last <= last]
        return [*found.values()]

    def _looked_at(self, plan: Plan) -> list[Way]:
        """The ways to go on from a plan; none where it closes everything."""
        mark = plan.mark
        if mark not in self._branches:
            trial = self._trial(plan)
            standing = self._standing(trial.graph)
            self._branches[mark] = [] if standing is None else [*self._ways(trial.graph, standing, plan)]
            if standing is None:
                self._closing[mark] = self._proven(plan, trial)
        return self._branches[mark]

    def _trial(self, plan: Plan) -> Trial:
        if self.tried >= self.budget:
            raise _Spent
        self.tried += bool(plan.edits)
        return Trial(self.graph, tuple(plan.edits[key] for key in sorted(plan.edits)))

    def _standing(self, graph: Graph) -> tuple[Edge, ...] | None:
        """The edges of a proof that stands, as they are now; None where all is closed."""
        for known in self._proofs:
            edges = _now(known, graph)
            if edges is not None:
                return edges
        path = next(paths_from(graph.edges, self.sources, self.goals), None)
        if path is None:
            return None
        self._proofs[path] = None
        return path.edges

    def _ways(self, graph: Graph, edges: Iterable[Edge], plan: Plan) -> Iterator[Way]:
        """The ways to take a fact of a proof away. A role that is narrowed already is narrowed by all that is used:
        nothing closes more.
        """
        known: set[Mark] = {plan.mark}
        for edge in edges:
            for fact in sorted({fact for need in needs(graph, edge) for fact in need}):
                again = any(key.resource in _ROLES for key in objects(graph, fact) & plan.edits.keys())
                of_others = int(fact.domain == rbac.NAME and fact.subject not in self.own)
                for way in ways(graph, edge, fact, whole=again):
                    self.partial = self.partial or not way.changed
                    mark = plan.with_(way).mark if way.changed else plan.mark
                    if mark not in known:
                        known.add(mark)
                        yield way._replace(last=way.last + of_others)

    # Beyond what can be tried -----------------------------------------------------------------------------------------

    def greedy(self) -> list[Proposal]:
        """A proven plan of as many objects as it takes: each time the way after which the fewest proofs stand."""
        self.budget += self.budget
        plan = Plan()
        try:
            while len(plan.edits) <= _MOST and (branches := self._looked_at(plan)):
                plan = self._best(plan, branches)
            found = self._without_needless(plan) if plan.mark in self._closing else plan
            self._looked_at(found)
        except _Spent:
            self.spent = True
            self.reason = f"no cut was found by {self.tried} evaluations"
            return []
        proposal = self._closing.get(found.mark)
        return [] if proposal is None else [proposal]

    def _best(self, plan: Plan, branches: Iterable[Way]) -> Plan:
        """The plan with the way after which the fewest sources and proofs are left, of those that open nothing."""
        tried = []
        for number, way in enumerate(branches):
            following = plan.with_(way)
            trial = self._trial(following)
            sources = sum(1 for _ in paths_from(trial.graph.edges, self.sources, self.goals))
            left = sum(1 for known in self._proofs if _now(known, trial.graph) is not None)
            tried.append(((sources, left, len(following.edits), following.last, number), following, trial))
        tried.sort(key=lambda one: one[0])
        return next((following for _, following, trial in tried if not trial.opens()), tried[0][1])

    def _without_needless(self, plan: Plan) -> Plan:
        """A plan without the edits that later ones made needless."""
        for key in sorted(plan.edits):
            less = plan.without(key)
            if less is not None and not self._looked_at(less) and self._closing.get(less.mark) is not None:
                plan = less
        return plan

    # Proving ----------------------------------------------------------------------------------------------------------

    def _proven(self, plan: Plan, trial: Trial) -> Proposal | None:
        """A plan that closes everything, if it opens nothing."""
        opens = trial.opens() or self._new_targets(trial.graph)
        if opens:
            self.reason = f"{plan.text}: it would open something else: {opens}"
            return None
        edits = tuple(map(edit_of, trial.edits))
        cost = Cost(plan.last > 0, len(edits), plan.last, len(trial.losses), trial.weight, plan.text)
        return Proposal(cost, Fix(plan.text, edits, trial.breaks(plan.breaks)))

    def _new_targets(self, graph: Graph) -> str:
        for source in self.sources:
            known = targets(held(self.graph.edges, [source], CLUSTER_ADMIN))
            new = [] if CLUSTER_ADMIN in known else [*{*targets(held(graph.edges, [source]))}.difference(known)]
            if new:
                return f"{source} would reach {min(new)}"
        return ""


def _own(graph: Graph, sources: Iterable[str]) -> frozenset[str]:
    """The sources, their groups, and as whom they run: their grants are taken back before those of anybody else."""
    pending = [*sources]
    found: set[str] = set()
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += [edge.head for edge in graph.edges(node) if edge.rule in _SAME]
    return frozenset(found)


def _now(known: Path, graph: Graph) -> tuple[Edge, ...] | None:
    """The edges of a proof as they are in a graph; None where one is gone."""
    found = []
    for edge in known.edges:
        now = next((one for one in graph.edges(edge.tail[0]) if one.step == edge.step), None)
        if now is None:
            return None
        found.append(now)
    return tuple(found)
