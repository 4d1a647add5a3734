"""Who is about whom in a whole cluster, kept from update to update: what a change concerns is found without a scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from posture.layer import Layer

from .addresses import Ranges, holds
from .connectivity import Space
from .endpoints import NAME_LABEL, Endpoint
from .policies import DIRECTIONS, Block, Direction, Pods
from .regions import Term

type Hook = tuple[bool, str, str] | None
"""A label that a pod (True) or its namespace (False) must have to be picked; None where no single one must."""
type Far = tuple[Direction, Ranges, bool | None]
"""A block, with whether it is meant for pods too."""
EVERYONE = Pods("", {}, {})


class Shelf[K]:
    """Names by key. A fork costs what is written to it; write to a shelf only until it is forked."""

    def __init__(self, below: Shelf[K] | None = None) -> None:
        self.names: Layer[K, Layer[str, bool]] = below.names.fork() if below else Layer()
        self._copied: set[K] = set()

    def of(self, key: K) -> Iterable[str]:
        """The names of a key."""
        return self.names.get(key) or ()

    def replace(self, name: str, were: Iterable[K], are: Iterable[K]) -> None:
        """A name with other keys than before."""
        old, new = {*were}, {*are}
        for key in old - new:
            names = self._own(key)
            del names[name]
            if not names:
                del self.names[key]
        for key in new - old:
            self._own(key)[name] = True

    def _own(self, key: K) -> Layer[str, bool]:
        """The names that may be written to: a fork of those below, made once."""
        before = self.names.get(key)
        if before is None or key not in self._copied:
            self.names[key] = Layer() if before is None else before.fork()
            self._copied.add(key)
        return self.names[key]


class Lookup:
    """The namespaces of a cluster by what concerns them.

    `peers`, by their text, may be pods of other namespaces than those whose pods they speak to or of; they are found by
    `hooks`. `blocks` may hold addresses of pods. Nothing judges some pods of `open` namespaces in one direction;
    policies of `loose` ones may allow what they do not name.
    """

    def __init__(self, below: Lookup | None = None) -> None:
        self.texts: Layer[str, Pods] = below.texts.fork() if below else Layer()
        self.peers: Shelf[str] = Shelf(below.peers if below else None)
        self.hooks: Shelf[Hook] = Shelf(below.hooks if below else None)
        self.blocks: Shelf[Far] = Shelf(below.blocks if below else None)
        self.labels: Shelf[tuple[str, str]] = Shelf(below.labels if below else None)
        self.open: Shelf[Direction] = Shelf(below.open if below else None)
        self.loose: Shelf[Direction] = Shelf(below.loose if below else None)

    def replace(self, old: Space | None, new: Space | None) -> None:
        """A namespace as it was and as it is now."""
        name = (old or new).name  # type: ignore[union-attr]
        before, after = (far(space) if space else {} for space in (old, new))
        self.peers.replace(name, before, after)
        for text, peer in {**before, **after}.items():
            there = text in self.peers.names
            if there != (text in self.texts):
                self.hooks.replace(text, *([hook_of(peer)] if side else () for side in (not there, there)))
                if there:
                    self.texts[text] = peer
                else:
                    del self.texts[text]
        sides = old, new
        self.blocks.replace(name, *(blocks(space) if space else () for space in sides))
        self.labels.replace(name, *(labels(space) if space else () for space in sides))
        self.open.replace(name, *(unjudged(space) if space else () for space in sides))
        self.loose.replace(name, *(loose(space) if space else () for space in sides))

    def naming(self, space: Mapping[str, str], pod: Mapping[str, str] | None) -> Iterator[tuple[Pods, Iterable[str]]]:
        """The peers that a pod might be, by its labels and its namespace's, with the namespaces that use them.

        Without a pod: those that say something of the namespace.
        """
        hooks: list[Hook] = [None, *((False, key, value) for key, value in space.items())]
        hooks += [(True, key, value) for key, value in (pod or {}).items()]
        for hook in hooks:
            for text in self.hooks.of(hook):
                yield self.texts[text], self.peers.of(text)

    def unjudged(self, direction: Direction) -> Iterable[str]:
        """The namespaces with pods of which nothing judges this direction."""
        return self.open.of(direction)

    def unnamed(self, direction: Direction, places: frozenset[int], by_ip: str) -> Iterator[str]:
        """The namespaces whose policies may be about a pod that they do not name: it has some addresses, if they are
        known.
        """
        yield from self.loose.of(direction)
        for (way, ranges, pods), names in self.blocks.names.items():
            if way == direction and (pods or (pods is None and by_ip != "no")) and (
                not places or any(holds(ranges, each) for each in places)
            ):  # fmt: skip
                yield from names

    def meant(self, who: Term) -> Iterable[str] | None:
        """The namespaces that a term may be about, found by a label that they must have; None where it may be any."""
        if who.names:
            return sorted(who.names)
        for (_, key), state in who.part(pods=False):
            if state.among and not state.absent:
                return [name for value in sorted(state.values) for name in self.labels.of((key, value))]
        return None


# One namespace ------------------------------------------------------------------------------------------------------


def hook_of(peer: Pods) -> Hook:
    """The label by which a peer is found: of its namespace; of the pod only where any namespace will do."""
    spaces = (peer.namespaces or {}).get("matchLabels") or {}
    if spaces:
        key = NAME_LABEL if NAME_LABEL in spaces else next(iter(spaces))
        return False, key, spaces[key]
    pods = peer.pods.get("matchLabels") or {}
    if pods and not peer.namespaces:
        key = next(iter(pods))
        return True, key, pods[key]
    return None


def far(space: Space) -> Mapping[str, Pods]:
    """The peers in a namespace's policies that may be pods of other namespaces, by their text; worked out once."""
    memo: Mapping[str, Pods] | None = space.memo.get("far")
    if memo is None:
        memo = space.memo["far"] = {
            repr(peer): peer
            for policy in (*space.policies, *space.above)
            for rule in (*(policy.ingress or ()), *(policy.egress or ()))
            for peer in ((EVERYONE,) if rule.peers is None else rule.peers)
            if isinstance(peer, Pods) and peer.namespaces is not None
        }
    return memo


def blocks(space: Space) -> Iterator[Far]:
    """The blocks that policies of a namespace speak of."""
    for policy in (*space.policies, *space.above):
        for direction in DIRECTIONS:
            for rule in policy.rules(direction) or ():
                for peer in rule.peers or ():
                    if isinstance(peer, Block):
                        yield direction, peer.ranges, peer.pods


def labels(space: Space) -> Iterator[tuple[str, str]]:
    """The labels of a namespace but for its name, by which it is found without."""
    return (pair for pair in space.labels.items() if pair[0] != NAME_LABEL)


def unjudged(space: Space) -> Iterator[Direction]:
    """The directions in which nothing judges some pods of a namespace."""
    return (direction for direction in DIRECTIONS if opened(space, direction))


def loose(space: Space) -> Iterator[Direction]:
    """The directions in which pods of a namespace are judged by what leaves open what nobody decides, or by what nobody
    knows.
    """
    for direction in DIRECTIONS:
        found = (space.profile(one, direction) for one in space.classes if not one.node)
        if any(not one.empty and (one.networks is None or one.unknown) for one in found):
            yield direction


def opened(space: Space, direction: Direction) -> tuple[Endpoint, ...]:
    """The classes of a namespace of which nothing judges a direction; worked out once."""
    place = "opened", direction
    if place not in space.memo:
        space.memo[place] = tuple(one for one in space.classes if not one.node and space.profile(one, direction).empty)
    found: tuple[Endpoint, ...] = space.memo[place]
    return found
