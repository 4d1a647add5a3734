"""Which targets each node reaches: of all nodes at once, where a search from each would cost its whole reach.

What a node reaches is a set of small numbers, one for each target; nodes that reach the same share it. Edges of one
tail node carry such sets backwards through the components of the graph. What is part of the tail of an AND node has a
number of its own, so that a source whose set holds all of a tail also holds all that is behind the head. That is exact:
what is behind two nodes together is what is behind either, and what AND nodes add to both. Beside cluster-admin no
other target is kept.

After some edges changed only the nodes from which one may come to these are looked at again; to look at all is an
update from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, KeysView, Mapping, MutableMapping, Sequence, Set
from itertools import compress
from operator import not_
from typing import NamedTuple

from .nodes import CLUSTER_ADMIN, LACK, REWRITE, Edge, is_target
from .paths import Edges

type Value = frozenset[int]
"""All that a node reaches: numbers of targets, parts of AND nodes and marked edges."""
type Marks = Callable[[str], Collection[Edge]]
"""The edges of a node that are to be remembered."""
_NOTHING: Value = frozenset()


def explored(edges: Edges, sources: Iterable[str]) -> dict[str, tuple[Edge, ...]]:
    """Every node that the sources reach together, with its edges."""
    found: dict[str, tuple[Edge, ...]] = {}
    pending = [*sources]
    while pending:
        node = pending.pop()
        if node not in found:
            found[node] = () if node == CLUSTER_ADMIN else tuple(edges(node))
            pending += _behind(found[node], found)
    return found


def _behind(edges: Iterable[Edge], known: Collection[str]) -> Iterator[str]:
    """The nodes that follow from known ones by some edges and are not known themselves."""
    for edge in edges:
        if edge.head not in known and (len(edge.tail) == 1 or all(node in known for node in edge.tail)):
            yield edge.head


def _heads(edges: Iterable[Edge]) -> set[str]:
    """What follows from a node alone."""
    return {edge.head for edge in edges if len(edge.tail) == 1}


def _joined(edges: Iterable[Edge]) -> Iterator[str]:
    """The nodes that take part in AND nodes."""
    return (node for edge in edges if len(edge.tail) > 1 for node in edge.tail)


def _guard(tail: tuple[str, ...]) -> str:
    """The part of an AND node that is the least likely to be held."""
    for kind in (LACK, REWRITE):
        for node in tail:
            if node.startswith(kind):
                return node
    return next((node for node in tail if "#" in node), tail[-1])


def _is_admin(edge: Edge, edges: Edges, known: dict[str, bool]) -> bool:
    """Whether an edge leads to cluster-admin, by one more at most: beside it nothing matters."""
    head = edge.head
    if len(edge.tail) > 1:
        return False
    if head not in known:
        known[head] = head == CLUSTER_ADMIN or any(
            one.head == CLUSTER_ADMIN and len(one.tail) == 1 for one in edges(head)
        )  # fmt: skip
    return known[head]


class Beside(NamedTuple):
    """The targets that somebody reaches, and nodes: as long as nothing changes at and behind them, these are all."""

    targets: list[str]
    rests: frozenset[str]


class Beyond(NamedTuple):
    """Nodes that were not looked at, those at their border that were, and the AND nodes that the first take part in."""

    nodes: frozenset[str]
    borders: frozenset[str]
    joined: list[Edge]


class _Family:
    """What a Reach and its updates share: numbers, and what leads to a node by itself, in any of them."""

    def __init__(self) -> None:
        self.names: list[str | Edge] = []
        self.numbers: dict[str | Edge, int] = {}
        self.marked: set[int] = set()
        self.targets: set[int] = set()
        self.before: dict[str, list[str]] = {}
        self.guards: dict[int, dict[int, None]] = {}
        """Of AND nodes, the part that is the least likely to be reached: the first parts of those that have it."""
        self.admin = self.number(CLUSTER_ADMIN)

    def number(self, name: str | Edge) -> int:
        """The number of a target, a part of an AND node or a marked edge."""
        found = self.numbers.setdefault(name, len(self.names))
        if found == len(self.names):
            self.names.append(name)
            if isinstance(name, Edge):
                self.marked.add(found)
            elif is_target(name):
                self.targets.add(found)
        return found


class Reach:
    """What each of some nodes reaches; `marked` edges are remembered beside it."""

    def __init__(self, nodes: Mapping[str, Sequence[Edge]] | None = None, marked: Iterable[Edge] = ()) -> None:
        self._family = _Family()
        self._nodes: dict[str, tuple[Edge, ...]] = {}
        self._marks: dict[str, frozenset[Edge]] = {}
        self._plain: dict[str, Value] = {}
        self._ands: dict[int, tuple[Edge, ...]] = {}
        self._closed: dict[Value, Value] = {}
        self.touched: KeysView[str] = self._nodes.keys()
        """The nodes that the last update looked at again."""
        self.moved: frozenset[str] = frozenset()
        """Those of which it changed what they reach, or the AND nodes on their way."""
        self._joints: set[str] = set()
        if nodes is not None:
            edges = {node: tuple(its) for node, its in nodes.items()}
            wanted = frozenset(marked)
            self._settle(lambda node: edges.get(node, ()), (), edges, lambda node: wanted.intersection(edges[node]))

    def updated(
        self, edges: Edges, changed: Iterable[str] = (), sources: Iterable[str] = (), marks: Marks = lambda _: ()
    ) -> Reach:
        """The same where the edges, or the marked ones, of `changed` nodes (perhaps unknown ones) are others, and for
        more sources. What lies beyond cluster-admin is not looked at.
        """
        found = Reach()
        found._family = self._family
        found._nodes, found._marks = dict(self._nodes), dict(self._marks)
        found._plain, found._ands, found._closed = dict(self._plain), dict(self._ands), self._closed
        found._settle(edges, [node for node in changed if node in self._nodes], sources, marks)
        return found

    def __contains__(self, node: object) -> bool:
        """Whether it was looked at."""
        return node in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def targets(self, node: str) -> list[str]:
        """The targets that a node reaches, sorted; who reaches cluster-admin reaches all, and it stands for them."""
        return self._named(self.value(node))

    def beside(
        self, node: str, parts: Iterable[str], edges: Edges, beyond: MutableMapping[frozenset[str], Beyond]
    ) -> Beside:
        """The same of whoever holds some parts of AND nodes beside it, with what that rests upon; what was not looked
        at is looked at as far as it leads there, and is remembered in `beyond`.
        """
        number, numbers = self._family.number, self._family.numbers
        region, inside = set[str](), list[Edge]()
        value = self.value(node).union(numbers[one] for one in parts)
        while True:
            value = self._close(self._kept(value))
            joined = self._guarded(value)
            inside = [edge for edge in inside if edge.head not in region]
            ahead = (*(edge for edge in joined if edge.head not in self._nodes), *inside)
            far = {edge.head for edge in ahead if edge.head not in region
                   and all(one in region or numbers.get(one) in value for one in edge.tail)}  # fmt: skip
            if not far:
                break
            heads = frozenset(far)
            if heads not in beyond:
                beyond[heads] = self._beyond(heads, edges)
            nodes, borders, more = beyond[heads]
            region.update(nodes, borders)
            inside += more
            own = (number(one) for one in nodes if is_target(one) or one in numbers)
            value = value.union(own, *{self._plain.get(one, _NOTHING) for one in borders})
        return Beside(self._named(value), frozenset(edge.head for edge in joined).union((node,), region))

    def _beyond(self, heads: frozenset[str], edges: Edges) -> Beyond:
        """What was not looked at behind some nodes, AND nodes aside."""
        nodes: dict[str, tuple[Edge, ...]] = {}
        borders: set[str] = set()
        pending = [*heads]
        while pending:
            node = pending.pop()
            if node in self._nodes:
                borders.add(node)
            elif node not in nodes:
                nodes[node] = tuple(edges(node))
                pending += [edge.head for edge in nodes[node] if len(edge.tail) == 1 and edge.head not in nodes]
        joined = [edge for its in nodes.values() for edge in its if len(edge.tail) > 1]
        return Beyond(frozenset(nodes), frozenset(borders), joined)

    def _named(self, value: Value) -> list[str]:
        if self._family.admin in value:
            return [CLUSTER_ADMIN]
        return sorted(str(self._family.names[number]) for number in value & self._family.targets)

    def lacking(self, node: str) -> tuple[set[frozenset[str]], frozenset[str]]:
        """Of AND nodes that may lead a node further, what is lacking where it reaches all other parts; and the nodes
        that this rests upon.
        """
        value, numbers = self.value(node), self._family.numbers
        at = (edge for first in self._ands.keys() & value for edge in self._ands[first])
        found: dict[str, set[frozenset[str]]] = {}
        for edge in (edge for edge in at if edge.tail[-1].startswith(LACK)):
            lacks = frozenset(one for one in edge.tail if numbers[one] not in value)
            if all(one.startswith(LACK) for one in lacks):
                found.setdefault(edge.head, set()).add(lacks)
        ahead = (head for head in found if head not in self._nodes or not self.value(head) <= value)
        lacking = set[frozenset[str]]().union(*map(found.__getitem__, ahead))
        return lacking, frozenset((node, *found, *(edge.head for edge in self._guarded(value))))

    def _guarded(self, value: Collection[int]) -> list[Edge]:
        """The AND nodes that may follow from numbers: the rest lacks its guard."""
        guards = self._family.guards
        firsts = {first for guard in guards.keys() & value for first in guards[guard]}
        return [edge for first in self._ands.keys() & firsts for edge in self._ands[first]]

    def numbers(self, node: str) -> Value:
        """The targets that a node reaches as numbers, the same ones in all updates."""
        return self.value(node) & self._family.targets

    def told(self, node: str) -> Value:
        """The targets that a node reaches and the marked edges on its way, whatever AND nodes it is a part of."""
        value = self.value(node)
        return (value & self._family.targets) | (value & self._family.marked)

    def marks(self, node: str) -> list[Edge]:
        """The marked edges on the way of a node."""
        names = (self._family.names[number] for number in self.value(node) & self._family.marked)
        return sorted(name for name in names if isinstance(name, Edge))

    def is_marked(self, node: str) -> bool:
        """Whether there are any."""
        return not self.value(node).isdisjoint(self._family.marked)

    def value(self, node: str) -> Value:
        """All that a node reaches: equal for nodes that reach the same by the same marked edges."""
        plain = self._plain.get(node, _NOTHING)
        if self._family.guards.keys().isdisjoint(plain):
            return plain
        if plain not in self._closed:
            self._closed[plain] = self._close(plain)
        return self._closed[plain]

    def towards(self, target: str, *, alone: bool) -> Callable[[str], bool]:
        """Whether a node may be on a way to a target: by itself or, unless it is to be `alone`, with others."""
        numbers, plain = self._family.numbers, self._plain
        wanted = {numbers.get(target)}
        rest = [] if alone else [edge for its in self._ands.values() for edge in its]
        while True:
            behind = [wanted.isdisjoint(plain.get(edge.head, _NOTHING)) for edge in rest]
            if all(behind):
                return lambda node: not wanted.isdisjoint(plain.get(node, _NOTHING))
            wanted.update(numbers[one] for edge in compress(rest, map(not_, behind)) for one in edge.tail)
            rest = [*compress(rest, behind)]

    def far(self, target: str) -> dict[str, int]:
        """How many edges there are at least from nodes to a target; others that were looked at do not lead there."""
        before, nodes = self._family.before, self._nodes
        joined: dict[str, list[str]] = {}
        for edge in (edge for its in self._ands.values() for edge in its):
            joined.setdefault(edge.head if edge.head in nodes else "", []).extend(edge.tail)
        found, frontier, steps = {target: 0, "": 1}, [target], 0
        while frontier:
            steps += 1
            tails = (tail for head in frontier for tail in (*before.get(head, ()), *joined.get(head, ())))
            frontier = [tail for tail in dict.fromkeys(tails) if tail not in found]
            found.update(dict.fromkeys(frontier, steps))
            if steps == 1:
                frontier.append("")  # whatever was not looked at, from which the target may be the next
        return found

    def reaches_alone(self, node: str, target: str) -> bool:
        """Whether a node reaches a target without any AND node."""
        return self._family.numbers.get(target) in self._plain.get(node, _NOTHING)

    def is_alone(self, node: str) -> bool:
        """Whether a node reaches what it reaches without any AND node, and the last update did not look at it again."""
        return node not in self.touched and self.value(node) is self._plain.get(node, _NOTHING)

    # Made, from nothing or from what was known before --------------------------------------------------------------

    def _settle(self, edges: Edges, changed: Sequence[str], sources: Iterable[str], marks: Marks) -> None:
        again = self._explore(edges, changed, sources, marks)
        above = self._above(again)
        self.touched = self._nodes.keys() if len(above) == len(self._nodes) else above.keys()
        if any(one.head in above for its in self._ands.values() for one in its):
            self._closed = {plain: value for plain, value in self._closed.items() if value is plain}
        was = {node: self._plain.pop(node, _NOTHING) for node in above}
        for members in components(above, lambda node: self._below(node, above)):
            value = self._together(members)
            if value:
                self._plain.update(dict.fromkeys(members, value))
        moved = (node for node, value in was.items() if self._plain.get(node, _NOTHING) != value)
        self.moved = frozenset(moved).union(self._above(self._joints))
        self._joints.clear()

    def _explore(self, edges: Edges, changed: Sequence[str], sources: Iterable[str], marks: Marks) -> set[str]:
        """Look at what changed and at what it leads to; the nodes that have to be valued again."""
        again: set[str] = set()
        pending = [*sources]
        followed: set[str] = set()
        for node in changed:
            old = self._nodes[node]
            if self._look(node, edges, marks, old):
                again.update((node, *_joined(old)))
                followed.add(node)
                if any(edge.head == CLUSTER_ADMIN for edge in old):  # what led here may lead on elsewhere
                    followed.update(one for one in self._family.before.get(node, ()) if one in self._nodes)
        pending += followed
        admin: dict[str, bool] = {}
        while pending:
            node = pending.pop()
            if node in self._nodes and node not in followed:
                continue
            if node not in self._nodes:
                self._look(node, edges, marks, ())
            followed.discard(node)
            mine = self._nodes[node]
            again.update((node, *_joined(mine)))
            if mine and _is_admin(mine[0], edges, admin):
                mine = mine[:1]
            pending += _behind([edge for edge in mine if len(edge.tail) == 1 or not self._is_above(edge)], self._nodes)
        return {node for node in again if node in self._nodes}

    def _is_above(self, edge: Edge) -> bool:
        """Whether who holds the tail of an edge has cluster-admin, and needs no more."""
        firsts = (self._nodes.get(node, ())[:1] for node in edge.tail)
        return any(one.head == CLUSTER_ADMIN and len(one.tail) == 1 for first in firsts for one in first)

    def _look(self, node: str, edges: Edges, marks: Marks, old: tuple[Edge, ...]) -> bool:
        """Take the edges of a node as they are now; whether they are others."""
        mine = () if node == CLUSTER_ADMIN else tuple(edges(node))
        marked = frozenset(marks(node)) if mine else frozenset()
        if node in self._nodes and mine == old and marked == self._marks.get(node, frozenset()):
            return False
        self._nodes[node] = mine
        self._marks.pop(node, None)
        if marked:
            self._marks[node] = marked
        before = self._family.before
        for head in _heads(mine).difference(_heads(old)):
            before.setdefault(head, []).append(node)
        self._join(node, old, mine, marked)
        before_joined, joined = ([edge for edge in its if len(edge.tail) > 1] for its in (old, mine))
        if before_joined or joined:
            self._closed = {}
        if before_joined and joined and before_joined != joined:
            self._joints.add(node)
        return True

    def _join(self, node: str, old: Iterable[Edge], new: Iterable[Edge], marked: Collection[Edge]) -> None:
        """The AND nodes of which a node is the first of the tail."""
        number = self._family.number
        joined = tuple(edge for edge in new if len(edge.tail) > 1 and edge.tail[0] == node)
        for one in {one for edge in joined for one in edge.tail}:
            number(one)
        for edge in joined:
            if edge in marked:
                number(edge)
            self._family.guards.setdefault(number(_guard(edge.tail)), {})[number(node)] = None
        if joined:
            self._ands[number(node)] = joined
        elif any(len(edge.tail) > 1 for edge in old):
            self._ands.pop(number(node), None)

    def _above(self, nodes: Iterable[str]) -> dict[str, None]:
        """Nodes, and all from which one comes to them by edges of one tail node."""
        before = self._family.before
        found = dict.fromkeys(nodes)
        pending = [*found]
        while pending:
            for node in before.get(pending.pop(), ()):
                if node not in found and node in self._nodes:
                    found[node] = None
                    pending.append(node)
        return found

    def _below(self, node: str, among: Collection[str]) -> list[str]:
        return [edge.head for edge in self._nodes[node] if len(edge.tail) == 1 and edge.head in among]

    def _together(self, members: Sequence[str]) -> Value:
        """What the nodes of a component reach."""
        number, nodes, plain = self._family.number, self._nodes, self._plain
        own: set[int] = set()
        below: set[Value] = set()
        for node in members:
            if is_target(node):
                own.add(number(node))
            for edge in nodes[node]:
                if len(edge.tail) == 1:
                    below.add(plain.get(edge.head, _NOTHING))
                else:
                    own.add(number(node))
            own.update(number(edge) for edge in self._marks.get(node, ()) if len(edge.tail) == 1)
        below.discard(_NOTHING)
        if len(below) == 1 and not own:
            return below.pop()
        return self._kept(own.union(*below))

    def _kept(self, found: Set[int]) -> Value:
        if self._family.admin not in found:
            return frozenset(found)
        return frozenset({self._family.admin, *(found & self._family.marked)})

    def _close(self, value: Value) -> Value:
        """All that is reached when AND nodes count."""
        numbers = self._family.numbers
        waiting = self._guarded(value)
        while True:
            more: set[int] = set()
            rest = []
            for one in waiting:
                if all(numbers[node] in value for node in one.tail):
                    more.update(self._plain.get(one.head, _NOTHING))
                    if one in self._marks.get(one.tail[0], ()):
                        more.add(numbers[one])
                else:
                    rest.append(one)
            more -= value
            if not more:
                return value
            waiting = rest + self._guarded(more)
            value = self._kept(more.union(value))


def components(nodes: Iterable[str], below: Callable[[str], Iterable[str]]) -> Iterator[list[str]]:
    """The strongly connected components of a graph, each after those that it leads to (Tarjan 1972)."""
    low: dict[str, int] = {}
    done: set[str] = set()
    waiting: list[str] = []
    for root in nodes:
        if root in low:
            continue
        order = {root: len(low)}
        low[root] = order[root]
        waiting.append(root)
        work = [(root, iter(below(root)))]
        while work:
            node, heads = work[-1]
            for head in heads:
                if head not in low:
                    low[head] = order[head] = len(low)
                    waiting.append(head)
                    work.append((head, iter(below(head))))
                    break
                if head not in done:
                    low[node] = min(low[node], order[head])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    members = [waiting.pop()]
                    while members[-1] != node:
                        members.append(waiting.pop())
                    done.update(members)
                    yield members
