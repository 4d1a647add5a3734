"""What was agreed, and how a live cluster is measured against it.

The agreed state is an approved snapshot, files that bound what a namespace (or the cluster) may hold, or both: what
either agrees to is agreed. Where neither speaks there is no baseline yet: nothing is called drift there, and what is
reported are the checks that hold beyond what Kubernetes itself ships.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from posture.domain import Domain, Where
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS
from posture.model import (
    CLUSTER_SCOPE,
    Change,
    Changed,
    Content,
    Gap,
    Hit,
    Key,
    Snapshot,
    Through,
    Unit,
    Unknown,
    differences,
)
from posture.selectors import matches

NAMESPACES = "namespaces"
EACH = "*"
type Place = tuple[str, str, Through]
"""(subject, scope, through): what identifies a change within its domain"""
type Objects = tuple[tuple[Key, Content], ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A file that says what may be held: in every namespace that a selector picks, or cluster-wide (None).

    Objects of namespaced kinds without a namespace stand for one in each selected namespace, and a Namespace of the
    name `*` for each of these itself, with its own labels beside those that it says.
    """

    title: str
    selector: Mapping[str, Any] | None
    objects: Objects

    def scopes(self, snapshot: Snapshot) -> frozenset[str]:
        """The scopes that it speaks for."""
        if self.selector is None:
            return frozenset({CLUSTER_SCOPE})
        return frozenset(
            key.name for key, content in snapshot.objects(NAMESPACES)
            if matches(self.selector, content.get("labels") or {})
        )  # fmt: skip

    def over(
        self, base: Snapshot, live: Snapshot, scopes: Iterable[str], namespaced: Collection[str], shipped: Objects = ()
    ) -> Snapshot:
        """A snapshot of what the file says, what Kubernetes itself binds and, for references, `base`'s roles."""
        found = [(key, content) for key, content in shipped if not key.resource.startswith("clusterroles.")]
        for key, content in self.objects:
            if key.resource in namespaced and not key.namespace:
                found += [(key._replace(namespace=scope), content) for scope in sorted(scopes)]
            elif key.resource == NAMESPACES and key.name == EACH:
                found += [(key._replace(name=scope), _labelled(live, scope, content)) for scope in sorted(scopes)]
            else:
                found.append((key, content))
        index = {name: entries for name, entries in base.index.items() if name.startswith("clusterroles.")}
        return replace(base, index=index, gaps=(), derived={}).replaced(found)


def _labelled(live: Snapshot, name: str, content: Content) -> Content:
    """A namespace as it is, with the labels that a file wants: what has their prefix is for the file to say."""
    own, wanted = live.get(Key(NAMESPACES, "", name)) or {}, content.get("labels") or {}
    prefixes = {label.partition("/")[0] for label in wanted if "/" in label}
    kept = {label: text for label, text in (own.get("labels") or {}).items() if label.partition("/")[0] not in prefixes}
    return {**own, "labels": {**kept, **wanted}}


@dataclass(frozen=True, slots=True)
class Agreed:
    """All that was agreed: snapshots (the first holds the agreed versions of objects) and bounds.

    `shipped` are the default objects of the live server's minor.
    """

    snapshots: tuple[Snapshot, ...]
    bounds: tuple[Bound, ...]
    shipped: Objects
    growth: Literal["like-peers", "review"] = "like-peers"
    peer_labels: tuple[str, ...] | None = ()
    """The keys whose values make namespaces peers; None where new namespaces are not looked at (a diff)."""
    apart: frozenset[str] = frozenset()
    """Namespaces that are in the snapshots only for what was agreed to in them finding by finding: new all the same."""


def known_namespaces(snapshot: Snapshot) -> frozenset[str]:
    """The namespaces of a snapshot: listed ones, and those that hold an object (a folder may list none)."""
    listed = (name for _, name in snapshot.index.get(NAMESPACES, {}))
    return frozenset(listed) | {ns for entries in snapshot.index.values() for ns, _ in entries if ns}


def peers(before: Snapshot, live: Snapshot, agreed: Agreed) -> dict[str, tuple[str, ...]]:
    """By which namespaces of a baseline each new namespace is judged: those with its labels on the agreed keys."""
    if agreed.peer_labels is None:
        return {}
    keys = agreed.peer_labels
    old = known_namespaces(before) - agreed.apart

    def labels(snapshot: Snapshot, name: str) -> tuple[str | None, ...]:
        content = snapshot.get(Key(NAMESPACES, "", name)) or {}
        return tuple((content.get("labels") or {}).get(key) for key in keys)

    alike: dict[tuple[str | None, ...], list[str]] = {}
    if agreed.growth == "like-peers":
        for name in sorted(old):
            if name != "default" and not name.startswith("kube-"):
                alike.setdefault(labels(before, name), []).append(name)
    unlabelled = (None,) * len(keys)
    found = {name: labels(live, name) for name in sorted(known_namespaces(live) - old)}
    return {name: () if keys and kind == unlabelled else tuple(alike.get(kind, ())) for name, kind in found.items()}


class Yardstick:
    """One domain's agreed state, made once for a run: says what a live result gained beyond it.

    With `previous`, that of a run before with the same agreed state, server version and API, it shares what the
    `changed` objects leave as it was; `moved` are the namespaces that are judged by others now.
    """

    def __init__(
        self, domain: Domain, matcher: Any, live: Any, agreed: Agreed, namespaced: Collection[str],
        previous: Yardstick | None = None, changed: Collection[Changed] = (),
    ) -> None:  # fmt: skip
        self.domain = domain
        self.matcher = matcher
        self.moved: frozenset[str] = frozenset()
        self._growth = agreed.peer_labels is None
        self.memo: dict[str, Any] = previous.memo if previous else {}
        """What follows from what was agreed alone."""
        snapshot: Snapshot = live.snapshot
        grown = previous is None or _places_change(snapshot, changed)
        self.approved: list[tuple[Any, dict[str, tuple[str, ...]]]] = (
            self._still_approved(previous, snapshot, agreed, grown=grown) if previous
            else [self._approved(live, given, agreed) for given in agreed.snapshots]
        )  # fmt: skip
        if not agreed.snapshots:
            if not previous:
                self.memo["shipped"] = domain.evaluate(_only(snapshot, agreed.shipped))
                self.memo["hits"] = frozenset(domain.match(matcher, self.memo["shipped"]))
            self.restored = self._near(live, domain.restored(snapshot, agreed.shipped))
        if previous and not grown:
            self.bounds: list[tuple[frozenset[str], Any]] = previous.bounds
            return
        base = self.approved[0][0].snapshot if agreed.snapshots else self.memo["shipped"].snapshot
        self.bounds = []
        for bound in agreed.bounds:
            scopes = bound.scopes(snapshot)
            if scopes and domain.speaks([key for key, _ in bound.objects]):
                over = bound.over(base, snapshot, scopes, namespaced, agreed.shipped)
                self.bounds.append((scopes, domain.evaluate(over)))
        self.moved |= frozenset(
            scope for scopes, _ in (*self.bounds, *(previous.bounds if previous else ())) for scope in scopes
        )

    def _approved(self, live: Any, given: Snapshot, agreed: Agreed) -> tuple[Any, dict[str, tuple[str, ...]]]:
        snapshot: Snapshot = live.snapshot
        approved = replace(given, settings=snapshot.settings)
        judged_by = peers(approved, snapshot, agreed)
        if approved.version != snapshot.version:
            approved = self.domain.upgraded(approved, agreed.shipped)
        return self._near(live, approved), judged_by

    def _still_approved(
        self, previous: Yardstick, snapshot: Snapshot, agreed: Agreed, *, grown: bool
    ) -> list[tuple[Any, dict[str, tuple[str, ...]]]]:
        """What was approved, as it was evaluated before; which namespaces are new may be another matter."""
        if not grown:
            return previous.approved
        found = []
        for (result, before), given in zip(previous.approved, agreed.snapshots, strict=True):
            judged_by = peers(given, snapshot, agreed)
            self.moved |= {name for name in before.keys() | judged_by.keys() if before.get(name) != judged_by.get(name)}
            found.append((result, judged_by))
        return found

    def _near(self, live: Any, snapshot: Snapshot) -> Any:
        """The result of a snapshot that differs little from live: an update of it."""
        changed = [
            Changed(key, live.snapshot.get(key), snapshot.get(key))
            for key, _, _ in differences(live.snapshot.index, snapshot.index, self.domain.READS)
        ]
        return self.domain.evaluate(snapshot, live, changed)

    @property
    def baseline(self) -> Any:
        """The result whose snapshot holds the agreed versions of objects."""
        return self.approved[0][0] if self.approved else self.restored

    def gains(
        self, live: Any, within: Collection[Where] | None = None, *, both: bool = False
    ) -> tuple[dict[Place, Change], list[Unknown]]:
        """What live gained beyond all that was agreed, by (subject, scope, through), and what cannot be said.

        `within` limits it to some places; with `both` it is then what is found there without `within`, exactly.
        """
        found, unknown = self._hits(live, within, both=both) if not self.approved else ({}, [])
        for number, (approved, judged_by) in enumerate(self.approved):
            mine, doubts = self._beyond(approved, judged_by, live, within, both=both)
            found = self._shared(found, mine, found) if number else mine
            unknown += doubts
        for scopes, result in self.bounds:
            places = [where for where in (live.places if within is None else within) if where[1] in scopes]
            mine = {change.where: change for change in self.domain.compare(result, live, None, places).changes}
            inside = {where: change for where, change in found.items() if where[1] in scopes}
            found = self._shared(found, mine, inside) if self.approved else found | mine
        return found, unknown

    def _beyond(
        self, approved: Any, judged_by: dict[str, tuple[str, ...]], live: Any, within: Collection[Where] | None,
        *, both: bool,
    ) -> tuple[dict[Place, Change], list[Unknown]]:  # fmt: skip
        """What live gained beyond one approved state."""
        comparison = self.domain.compare(approved, live, judged_by, within, growth=self._growth, both=both)
        found = {change.where: change for change in comparison.changes if change.direction == "loosened"}
        unknown = list(comparison.unknown)
        gap: Gap | None = live.snapshot.gap(NAMESPACES) or approved.snapshot.gap(NAMESPACES)
        if gap is not None and gap.reason != "not collected":
            # Which namespaces are new cannot be said, nor by which peers they would be judged.
            for where in [where for where in found if where[1] in judged_by]:
                del found[where]
                unknown.append(Unknown(self.domain.NAME, *where, gap))
        return found, unknown

    def _shared(
        self, found: dict[Place, Change], other: dict[Place, Change], places: dict[Place, Change]
    ) -> dict[Place, Change]:
        """Gains, of which those at `places` are only what was gained beyond another agreed state too."""
        result = {where: change for where, change in found.items() if where not in places}
        for where, change in places.items():
            both = self._both(change, other.get(where))
            if both is not None:
                result[where] = both
        return result

    def _both(self, one: Change, other: Change | None) -> Change | None:
        """What was gained beyond two agreed states."""
        if other is None:
            return None
        shared = self.domain.beyond(one.gained, self.domain.beyond(one.gained, other.gained))
        return replace(one, gained=shared) if shared else None

    def _hits(
        self, live: Any, within: Collection[Where] | None, *, both: bool
    ) -> tuple[dict[Place, Change], list[Unknown]]:
        """No baseline yet: default objects that grant more than is shipped, and checks that hold beyond that."""
        comparison = self.domain.compare(self.restored, live, None, within, both=both)
        found = {change.where: change for change in comparison.changes if change.direction == "loosened"}
        places = {
            (hit.subject, hit.scope, hit.through) for hit in self.domain.match(self.matcher, live, within)
            if hit not in self.memo["hits"]
        }  # fmt: skip
        for subject, scope, through in places:
            found[subject, scope, through] = self.domain.as_change(self.matcher, live, (subject, scope), through)
        spoken = {scope for scopes, _ in self.bounds for scope in scopes}
        return {where: change for where, change in found.items() if change.scope not in spoken}, list(
            comparison.unknown
        )

    def standing(self, live: Any, within: Collection[Where] | None = None) -> frozenset[Hit]:
        """Where checks hold that held when the baseline was approved: agreed, counted, never opened."""
        if not self.approved:
            return frozenset()
        if "hits" not in self.memo:
            self.memo["hits"] = frozenset(self.domain.match(self.matcher, self.baseline))
        before: frozenset[Hit] = self.memo["hits"]
        return before.intersection(self.domain.match(self.matcher, live, within)) if before else before

    def covers(self, live: Any, subject: str, scope: str, through: Through, gained: tuple[Unit, ...]) -> bool:
        """Whether what was a gain is still possible: if it is none any more, it was agreed to, and not taken back."""
        spoken = {scope for scopes, _ in self.bounds for scope in scopes}
        if not self.approved and scope not in spoken:
            return False  # nobody agreed to anything: a check that does not hold any more is all there was
        held = self.domain.compare(self._nothing(live), live, None, [(subject, scope)], growth=True).changes
        mine = (change for change in held if change.where == (subject, scope, through))
        return any(not self.domain.beyond(gained, change.gained) for change in mine)

    def _nothing(self, live: Any) -> Any:
        """The result of a cluster without objects, with the API of the live one; made once."""
        if "nothing" not in self.memo:
            self.memo["nothing"] = self.domain.evaluate(_only(live.snapshot, ()))
        return self.memo["nothing"]

    def doubt(self, live: Any, subject: str, scope: str, through: Through) -> Gap | None:
        """The gap, on either side, because of which a finding cannot be called gone."""
        found = self.domain.doubt(live, subject, scope, through, self.baseline.snapshot)
        for approved, _ in self.approved:
            found = found or self.domain.doubt(approved, subject, scope, through, live.snapshot)
        return found


def _places_change(live: Snapshot, changed: Iterable[Changed]) -> bool:
    """Whether there may be other namespaces than before, or with other labels."""
    listed = live.index.get(NAMESPACES, {})
    return any(
        key.resource == NAMESPACES or (key.namespace and ("", key.namespace) not in listed) for key, _, _ in changed
    )


def _only(live: Snapshot, objects: Sequence[tuple[Key, Content]]) -> Snapshot:
    """A cluster of nothing but some objects, with the API of the live one and what its server was started with."""
    index = {kind: live.index.get(kind, {}) for kind in (API_RESOURCES, API_SERVER_FLAGS)}
    return replace(live, index=index, gaps=(), derived={}).replaced(objects)
