"""The semantic difference of two results: what each workload may send or receive that it could not, through what.

The unit is one direction of one workload, whoever is at the other end: what policies say is compared for all pods that
there could be, so that a loosening is found which nobody can use yet. Pods and namespaces whose labels changed are
looked at besides, with the labels of each side. Addresses of pods come and go and are no change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from posture.kinds import BY_NAME
from posture.layer import differing
from posture.model import (
    CLUSTER_SCOPE,
    Change,
    Changed,
    Comparison,
    Gap,
    Key,
    Note,
    Snapshot,
    Through,
    Unknown,
    differences,
)

from .addresses import EVERYWHERE
from .allowed import HOST_NETWORK, NON_ISOLATED, is_intricate, pieces_of, through_of
from .balance import weighed
from .connectivity import Connectivity, Profile, Space, places_of
from .effect import ends
from .endpoints import NAMESPACE, Endpoint, key_of
from .evaluate import NAMESPACES, Move, Seat, empty, like, moves, seeing, users
from .gaps import doubt, named, unreadable
from .opaque import OPAQUE
from .policies import DIRECTIONS, NETWORK_POLICIES, Direction
from .portset import PortSet
from .regions import Piece, Term, Workload, gathered, has, plain, resolved, subtracted, within
from .units import unit_of

NAME = "network"
type Where = tuple[str, str]
type Peers = Mapping[str, tuple[str, ...]]
"""{a namespace that is new in live: the namespaces of the baseline that it is judged by}"""


def compare(
    baseline: Connectivity,
    live: Connectivity,
    peers: Peers | None = None,
    within: Collection[Where] | None = None,
    *,
    growth: bool = False,
    both: bool = False,
) -> Comparison:
    """What became possible, and what no longer is. `baseline` is what was agreed.

    `peers` say by which namespaces of the baseline a namespace is judged that is new in live; a new workload is judged
    by the baseline's policies. With `growth` nothing was agreed for what is new. `within` limits the look to gains at
    some places, not weighed, or with `both` to all that is found there.
    """
    baseline, live = seeing(baseline, live.seen), seeing(live, baseline.seen)
    gains = Gains(baseline, live, peers or {}, growth=growth)
    losses = Gains(live, baseline, {}, growth=growth)
    if within is not None:
        found = [change for where in within for change in gains.at(where)]
        if not both:
            return Comparison(tuple(sorted(found, key=_order)), (), tuple(gains.unknown))
        found += [change.mirrored() for where in within for change in losses.at(where)]
        opaque = _unmodelled(baseline.snapshot, live.snapshot)
        unmodelled = [one for one in opaque if (one.subject, one.scope) in within]
        unknown = tuple(dict.fromkeys([*gains.unknown, *losses.unknown, *unmodelled]))
        return Comparison(tuple(sorted(weighed(found), key=_order)), (), unknown)
    found = [change for where in gains.places() for change in gains.at(where)]
    found += [change.mirrored() for where in losses.places() for change in losses.at(where)]
    found = [*weighed(found)]
    unknown = tuple(dict.fromkeys([*gains.unknown, *losses.unknown, *_unmodelled(baseline.snapshot, live.snapshot)]))
    return Comparison(tuple(sorted(found, key=_order)), tuple(sorted(_notes(gains, found))), unknown)


def again(
    baseline: Connectivity, live: Connectivity, changed: Collection[Changed], told: Collection[Where]
) -> Collection[Where]:
    """Where an update may have made another comparison: the places that it touched and what was agreed there, those of
    gains that only the other end's policies keep from being used, and those of policies that nobody evaluates.
    """
    found = {_opaque_place(key) for key, _, _ in changed if key.resource in OPAQUE}
    if not live.touched:
        return found
    scopes = {scope for _, scope in live.touched} & baseline.spaces.keys()
    return found.union(live.touched, told, *(places_of(baseline.spaces[name]) for name in scopes))


def carriers(result: Connectivity, where: Where) -> Collection[Key]:
    """The policies that may select pods of a place; those of the whole cluster may once they are others."""
    space = result.spaces.get(where[1])
    return [policy.key for policy in (*(space.policies if space else ()), *result.above)]


def _opaque_place(key: Key) -> Where:
    return (f"{NAMESPACE}{key.namespace}", key.namespace) if key.namespace else ("cluster", CLUSTER_SCOPE)


def _unmodelled(before: Snapshot, after: Snapshot) -> Iterator[Unknown]:
    """Policies of other makers that differ: whatever they allow or deny now, nobody here can say."""
    for key, old, new in differences(before.index, after.index, sorted(OPAQUE)):
        what = "is new" if old is None else "is gone" if new is None else "changed"
        kind = BY_NAME[key.resource].kind if key.resource in BY_NAME else key.resource
        gap = Gap(key.resource, key.namespace, "not modelled", f"{named(key)} {what}: what it decides is not evaluated")
        yield Unknown(NAME, *_opaque_place(key), Through(kind, key.namespace, key.name), gap)


def _order(change: Change) -> tuple[Any, ...]:
    return change.direction, change.subject, change.scope, change.through


def _notes(gains: Gains, changes: Iterable[Change]) -> Iterator[Note]:
    """Namespaces whose policies changed without effect."""
    moved = {change.scope for change in changes}
    for name in differing(gains.baseline.spaces, gains.live.spaces):
        before, space = gains.baseline.spaces.get(name), gains.live.spaces.get(name)
        if before is None or space is None or name in moved or before.policies == space.policies or gains.hidden(name):
            continue
        yield Note(NAME, "equal", f"{NAMESPACE}{name}", name, "its policies changed, and what they allow did not")


class Gains:
    """What `live` allows beyond `baseline`, namespace by namespace; only those that are not the same are looked at."""

    def __init__(self, baseline: Connectivity, live: Connectivity, peers: Peers, *, growth: bool) -> None:
        self.baseline = baseline
        self.live = live
        self.peers = peers
        self.growth = growth
        self.unknown: list[Unknown] = []
        self._views: dict[str, list[Space]] = {}
        self._known: dict[tuple[Any, ...], tuple[list[Piece], list[Unknown]]] = {}

    def places(self) -> list[Where]:
        """Where anything may have been gained."""
        names = self.different | self._users.keys()
        return [place for name in sorted(names) if name in self.live.spaces
                for place in places_of(self.live.spaces[name])]  # fmt: skip

    @cached_property
    def different(self) -> frozenset[str]:
        """The namespaces that are not the same on both sides, and those that a gap hides."""
        found = {name for name in differing(self.baseline.spaces, self.live.spaces) if name in self.live.spaces}
        if self.baseline.snapshot.gaps or self.live.snapshot.gaps:
            found |= {name for name in self.live.spaces if self.hidden(name)}
        return frozenset(found | self.peers.keys())

    @cached_property
    def _moves(self) -> list[Move]:
        return [move for name in sorted(self.different)
                for move in moves(self.baseline.spaces.get(name), self.live.spaces.get(name))]  # fmt: skip

    @cached_property
    def _users(self) -> Mapping[str, Collection[int]]:
        """The namespaces whose policies say another thing of what moved, each with the places of that in the list."""
        return users((self.baseline, self.live), self._moves)

    def hidden(self, name: str) -> Gap | None:
        """The gap, on either side, because of which nothing can be said of a namespace."""
        if not self.baseline.snapshot.gaps and not self.live.snapshot.gaps:
            return None
        place = f"{NAMESPACE}{name}", name, Through("", "", "")
        return doubt(self.baseline, *place, self.live.snapshot) or doubt(self.live, *place, self.baseline.snapshot)

    def at(self, where: Where) -> Iterator[Change]:
        """The changes at one place, one for each thing that allows something new."""
        subject, scope = where
        space = self.live.spaces.get(scope)
        if space is None or (scope not in self.different and scope not in self._users):
            return
        future = subject.startswith(NAMESPACE)
        gap = self.hidden(scope)
        if gap is not None:
            if future:
                self.unknown.append(Unknown(NAME, *where, Through("", "", ""), gap))
            return
        bad = next((one for one in (*space.policies, *space.above) if one.error), None)
        if bad is not None and future:
            self.unknown.append(Unknown(NAME, *where, through_of(bad), unreadable(bad)))
        found = self._future(space) if future else self._present(space, subject)
        by: dict[Through, list[tuple[Direction, Piece, Any]]] = {}
        for direction, piece, pods in found:
            by.setdefault(piece.through, []).append((direction, piece, pods))
        for through, parts in sorted(by.items()):
            effective = not future and self._is_used(space, subject, parts)
            gained = tuple(unit_of(*part[1::-1], part[2], latent=not effective) for part in parts)
            path, evidence = way(self.live, space, subject, through, self._differing(space, subject))
            yield Change(NAME, "loosened", *where, through, gained, (), effective, path, evidence)

    # Who ------------------------------------------------------------------------------------------------------------

    def _present(self, space: Space, workload: str) -> Iterator[tuple[Direction, Piece, None]]:
        for direction in DIRECTIONS:
            pieces = [piece for one in space.classes if one.workload == workload
                      for piece in self._gained(space, one, direction)]  # fmt: skip
            yield from ((direction, piece, None) for piece in gathered(pieces))

    def _future(self, space: Space) -> Iterator[tuple[Direction, Piece, Any]]:
        """Pods that a policy speaks of and that are not there: what is gained through something that nobody gained."""
        before = self.baseline.spaces.get(space.name)
        if before is not None and before.policies == space.policies and before.above == space.above:
            return
        present = {(direction, piece.through) for one in space.classes for direction in DIRECTIONS
                   if not one.node for piece in self._gained(space, one, direction)}  # fmt: skip
        known: set[tuple[Direction, Piece]] = set()
        for one, selector in representatives(space, before):
            for direction in DIRECTIONS:
                for piece in self._gained(space, one, direction, present=False):
                    if before is None and piece.through.kind == NON_ISOLATED:
                        continue  # nobody opened what was never closed: its workloads will say so when there are some
                    if (direction, piece.through) not in present and (direction, piece) not in known:
                        known.add((direction, piece))
                        yield direction, piece, selector

    # What -----------------------------------------------------------------------------------------------------------

    def _gained(self, space: Space, one: Endpoint, direction: Direction, *, present: bool = True) -> list[Piece]:
        """What a class is allowed and was not, or would not have been."""
        place = space.name, direction, present, one.what
        if place not in self._known:
            told = len(self.unknown)
            pieces = self._beyond(space, one, direction, present=present)
            self._known[place] = pieces, self.unknown[told:]
        else:
            subject = one.workload or f"{NAMESPACE}{one.namespace}"
            self.unknown += [known._replace(subject=subject) for known in self._known[place][1]]
        return self._known[place][0]

    def _beyond(self, space: Space, one: Endpoint, direction: Direction, *, present: bool) -> list[Piece]:
        own = self._own(one)
        found: list[Piece] = []
        for views in self._agreed(space) or [[]]:
            found += self._beyond_one(space, one, direction, own, views, present=present)
        return gathered(found)

    def _own(self, one: Endpoint) -> tuple[Space | None, list[Endpoint]]:
        """The namespace as it was, and what a class is judged by there: itself, else the classes of its workload, else
        itself as it would have been.
        """
        before = self.baseline.spaces.get(one.namespace)
        if before is None:
            if one.namespace in self.peers or self.growth:
                return None, []
            return empty(self.baseline, self.live.spaces[one.namespace]), [one._replace(node=False)]
        were = [other for other in before.classes if other.workload == one.workload and (one.node or not other.node)]
        if not were and self.growth and one.workload:
            return None, []
        # The network of its node was not agreed to for what is new.
        return before, [other for other in were if other.what == one.what] or were or [one._replace(node=False)]

    def _agreed(self, space: Space) -> list[list[Space]]:
        """The peers of a new namespace as if they were it; each must have been allowed what is allowed here."""
        if space.name not in self._views:
            made = [like(self.baseline, peer, space) for peer in self.peers.get(space.name, ())]
            self._views[space.name] = list({_says(view): view for view in made}.values())
        return [[view] for view in self._views[space.name]]

    def _beyond_one(
        self, space: Space, one: Endpoint, direction: Direction, own: tuple[Space | None, list[Endpoint]],
        views: list[Space], *, present: bool,
    ) -> list[Piece]:  # fmt: skip
        before, were = own
        sides = [(before, other) for other in were] if before is not None else []
        sides += [(view, one._replace(node=False)) for view in views]
        profile = space.profile(one, direction)
        now = resolved(pieces_of(space, one, direction, present=present), self._labels_now)
        alike = any(
            side.profile(other, direction).says == profile.says
            and (direction == "egress" or other.named == one.named)
            and other.node == one.node
            for side, other in sides
        )
        if not alike and present:
            self._doubt(one, profile, sides, now)
        if not alike and any(
            is_intricate(side, other, direction, present=present) for side, other in (*sides, (space, one))
        ):
            self._give_up(one, direction)
            return []
        was = [] if alike else [
            piece for side, other in sides
            for piece in resolved(pieces_of(side, other, direction, present=present), self._labels_before)
        ]  # fmt: skip
        left = [] if alike else resolved(subtracted(now, was, self._labels_before), self._labels_now)
        found = [plain(piece, self._labels_now) for piece in left]
        if self._moves and space.name in self._users:
            was = was or [
                piece for side, other in sides for piece in pieces_of(side, other, direction, present=present)
            ]
            now = pieces_of(space, one, direction, present=present)
            found += subtracted(self._of_moved(now, was, direction, one, found), found, self._labels_now)
        return found

    def _doubt(self, one: Endpoint, profile: Profile, sides: list[tuple[Space, Endpoint]], now: list[Piece]) -> None:
        """Say where nobody knows what was decided before, and that is not so now: more may be allowed than is told."""
        addresses = any(not isinstance(piece.who, Term | Workload) for piece in now)
        still = {what for _, what in profile.undecided}
        for side, other in sides:
            for policy, what in side.profile(other, profile.direction).undecided:
                if what in still or not (now if what[1] == policy.tier else addresses):
                    continue
                text = f"what {named(policy.key)} decided before is not known: more may be allowed now"
                gap = Gap(policy.key.resource, "", "not modelled", text)
                self.unknown.append(Unknown(NAME, one.workload, one.namespace, through_of(policy), gap))

    def _give_up(self, one: Endpoint, direction: Direction) -> None:
        """Say that two sets of policies are too intricate to be compared: nobody knows what was gained."""
        subject = one.workload or f"{NAMESPACE}{one.namespace}"
        text = f"the policies for {direction} of {subject} differ, and are too intricate to be compared"
        gap = Gap(NETWORK_POLICIES, one.namespace, "failed", text)
        self.unknown.append(Unknown(NAME, subject, one.namespace, Through("", "", ""), gap))

    def _labels_now(self, name: str) -> Mapping[str, str] | None:
        space = self.live.spaces.get(name)
        return space.labels if space else None

    def _labels_before(self, name: str) -> Mapping[str, str] | None:
        space = self.baseline.spaces.get(name) or self.live.spaces.get(name)
        return space.labels if space else None

    def _of_moved(
        self, now: list[Piece], was: list[Piece], direction: Direction, one: Endpoint, known: list[Piece]
    ) -> list[Piece]:
        """What is gained with regard to namespaces and workloads that have other labels or port names than before,
        beside what is known to be gained.
        """
        found: list[Piece] = []
        for place in sorted(self._users[one.namespace]):  # a namespace comes before the workloads in it
            before, after = self._moves[place]
            end = after[0][1]
            if not end.workload:
                there = [[piece for each in side if (piece := within(each, end.namespace, seats[0][0]))]
                         for side, seats in ((now, after), (was, before))]  # fmt: skip
                found += subtracted(there[0], there[1])
            elif end.workload != one.workload:
                others = [piece for piece in (*known, *found) if isinstance(piece.who, Term)]
                found += self._of_workload(now, was, before, after, direction, others)
        return found

    def _of_workload(
        self, now: list[Piece], was: list[Piece], before: list[Seat], after: list[Seat], direction: Direction,
        found: list[Piece],
    ) -> Iterator[Piece]:  # fmt: skip
        if all(one.node for _, one in before):
            return  # no policy spoke of it before: it is judged as one that is new
        old = held(was, before, direction).values()
        gained: dict[Through, int] = {}
        for seat in after:  # of a rollout one class may gain what another is known to
            known = [*old, *held(found, [seat], direction).values()]
            for through, ports in held(now, [seat], direction).items():
                rest = ports
                for other in known:
                    rest &= ~other
                gained[through] = gained.get(through, 0) | rest
        for through, ports in sorted(gained.items()):
            if ports:
                yield Piece(Workload(after[0][1].workload), EVERYWHERE, PortSet(ports), through)

    # Around it ------------------------------------------------------------------------------------------------------

    def _is_used(self, space: Space, subject: str, parts: Iterable[tuple[Direction, Piece, Any]]) -> bool:
        """Whether somebody can use some of it today: addresses always can, pods when their own end allows it."""
        classes = [one for one in space.classes if one.workload == subject]
        return any(
            not isinstance(piece.who, Term | Workload)
            or any(ends(self.live).users(one, direction, piece, 1) for one in classes)
            for direction, piece, _ in parts
        )

    def _differing(self, space: Space, subject: str) -> Iterator[Key]:
        """The objects whose change may have made a gain, beside what it goes through."""
        yield from self._changed(space)
        for side in (self.live, self.baseline):
            own = key_of(side.snapshot, subject)
            if own is not None:
                yield own
        for _, now in (self._moves[place] for place in sorted(self._users.get(space.name, ()))):
            moved = key_of(self.live.snapshot, now[0][1].workload)
            yield moved or Key(NAMESPACES, "", now[0][1].namespace)

    def _changed(self, space: Space) -> Iterator[Key]:
        """The policies that differ and may select pods of a namespace."""
        before = self.baseline.spaces.get(space.name)
        sides = [{policy.key: policy for policy in (*side.policies, *side.above)} if side else {}
                 for side in (before, space)]  # fmt: skip
        for key in sorted(sides[0].keys() | sides[1].keys()):
            if sides[0].get(key) != sides[1].get(key):
                yield key


def way(
    live: Connectivity, space: Space, subject: str, through: Through, differing: Iterable[Key] = ()
) -> tuple[tuple[str, ...], tuple[Key, ...]]:
    """The way there for people, and the objects whose change may have made it."""
    carrier = next((policy.key for policy in (*space.policies, *space.above) if through_of(policy) == through), None)
    own = key_of(live.snapshot, subject)
    first = [key for key in (carrier, own) if key is not None]
    evidence = dict.fromkeys([*first[:1], *differing, *first, Key(NAMESPACES, "", space.name)])
    if carrier is not None:
        return (named(carrier),), tuple(evidence)
    if through.kind == HOST_NETWORK:
        return ("the network of its node, of which no policy speaks",), tuple(evidence)
    return ("the default for pods that no policy isolates",), tuple(evidence)


def _says(space: Space) -> tuple[str, ...]:
    return tuple(sorted(repr(policy[1:]) for policy in space.policies))


def held(pieces: Iterable[Piece], seats: Iterable[Seat], direction: Direction) -> dict[Through, int]:
    """The ports that pieces allow to, or from, the classes of a workload, by what allows them."""
    found: dict[Through, int] = {}
    for labels, one in seats:
        for piece in pieces:
            if one.node or not has(piece, labels, dict(one.labels), one.addresses):
                continue
            numbered = piece.ports.at(one) if direction == "egress" else piece.ports.numbered
            found[piece.through] = found.get(piece.through, 0) | numbered
    return found


def representatives(space: Space, before: Space | None = None) -> Iterator[tuple[Endpoint, dict[str, Any]]]:
    """Pods that policies of a namespace may select: one with no labels, and one for each selector in use."""
    selectors: dict[str, Mapping[str, Any]] = {"{}": {}}
    for side in (space, before):
        for policy in (*side.policies, *side.above) if side else ():
            selectors.setdefault(repr(policy.subject.pods), policy.subject.pods)
    for selector in selectors.values():
        labels = dict(selector.get("matchLabels") or {})
        for one in selector.get("matchExpressions") or ():
            if one["operator"] in ("In", "Exists"):
                labels.setdefault(one["key"], (one.get("values") or ["…"])[0])
        yield Endpoint("", space.name, tuple(sorted(labels.items())), (), False), dict(selector)
        for one in selector.get("matchExpressions") or ():
            if one["operator"] in ("NotIn", "DoesNotExist"):  # and a pod that it leaves out
                value = (one.get("values") or ["…"])[0]
                left_out = {"matchLabels": {**(selector.get("matchLabels") or {}), one["key"]: value}}
                pod = tuple(sorted({**labels, one["key"]: value}.items()))
                yield Endpoint("", space.name, pod, (), False), left_out
