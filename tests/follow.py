"""A cluster as a history of writes, and all the ways in which one may hear of them: for a Watch without a server."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from posture.collect import Change, Facts, Listed, Listing, Lost, Page, Position, Restart, Seen, Served
from posture.collect import name_of as name_in
from posture.kinds import API_RESOURCES, BY_NAME, KINDS
from posture.model import Finding, Gap, Version
from posture.store import Store, findings
from tests.generator.objects import Object
from tests.generator.source import resource_of

VERSION = Version(1, 36)
RESOURCES = Listing(API_RESOURCES)
MANAGERS = ("kubectl-edit", "flux", "helm")
_ALWAYS = frozenset(Listing(kind.name) for kind in KINDS if kind.resource != "*") | {RESOURCES}
type Name = tuple[str, str]


class Write(NamedTuple):
    """What a server tells of one write."""

    version: int
    type: str
    item: Object


def listing_of(raw: Object) -> Listing:
    """The list that an object is in."""
    resource = resource_of(raw)
    return Listing(resource, "", raw["kind"] if resource.startswith("*") else "")


def name_of(raw: Object) -> Name:
    """How an object is named in its list."""
    return name_in(BY_NAME.get(resource_of(raw)), raw)


class Cluster:
    """The objects of a server by list, and every write of each list."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self.version = 100
        self.served = _ALWAYS | frozenset(listings)
        self.objects: dict[Listing, dict[Name, Object]] = defaultdict(dict)
        self.log: dict[Listing, list[Write]] = defaultdict(list)

    def __iter__(self) -> Iterator[Object]:
        return (raw for found in self.objects.values() for raw in found.values())

    def put(self, raw: Object, manager: str = MANAGERS[0]) -> None:
        """Create or update."""
        listing, name = listing_of(raw), name_of(raw)
        before = self.objects[listing].get(name)
        self.version += 1
        metadata = {
            **raw["metadata"],
            "uid": before["metadata"]["uid"] if before else f"uid-{self.version}",
            "resourceVersion": str(self.version),
            "managedFields": [{"manager": manager, "operation": "Update", "time": "2026-11-20T00:00:00Z",
                               "fieldsV1": {f"f:{field}": {} for field in raw if field not in ("kind", "apiVersion")}}],
        }  # fmt: skip
        made = {**raw, "metadata": metadata}
        self.objects[listing][name] = made
        self.log[listing].append(Write(self.version, "MODIFIED" if before else "ADDED", made))

    def delete(self, listing: Listing, name: Name) -> None:
        """Delete; the event has a resourceVersion of its own."""
        self.version += 1
        gone = self.objects[listing].pop(name)
        item = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self.log[listing].append(Write(self.version, "DELETED", item))

    def become(self, random: Random, objects: Iterable[Object]) -> Iterator[Listing]:
        """Write what makes it hold these objects, in any order, and on the way at times what is taken back at once.

        Gives the list of each write, after it.
        """
        wanted = {(listing_of(raw), name_of(raw)): raw for raw in objects if listing_of(raw) in self.served}
        there = [(listing, name) for listing, found in self.objects.items() for name in found]
        places = sorted({*wanted, *there})
        random.shuffle(places)
        for listing, name in places:
            new, old = wanted.get((listing, name)), self.objects[listing].get(name)
            if new is not None and (old is None or not _same(old, new) or random.random() < 0.1):
                for raw in [new, old, new] if old is not None and random.random() < 0.2 else [new]:
                    self.put(raw, random.choice(MANAGERS))
                    yield listing
            elif new is None and old is not None:
                self.delete(listing, name)
                yield listing
                if random.random() < 0.2:
                    self.put(old, random.choice(MANAGERS))
                    yield listing
                    self.delete(listing, name)
                    yield listing


def _same(one: Object, other: Object) -> bool:
    """Whether two objects differ in nothing that is written by hand."""
    return _plain(one) == _plain(other)


def _plain(raw: Object) -> Object:
    given = {k: v for k, v in raw["metadata"].items() if k not in ("uid", "resourceVersion", "managedFields")}
    return {**raw, "metadata": given}


class Heard:
    """A Source that tells of a Cluster by chance: early or late, in pieces, with losses that the next list repairs.

    What it gives keeps the contract of posture.collect.Change; lists are told independently of each other.
    """

    title = "context:prod"

    def __init__(self, cluster: Cluster, random: Random, meanwhile: float = 0.3) -> None:
        """`meanwhile` is the chance that something is written while a list is read that verifies."""
        self.cluster, self.random, self.meanwhile = cluster, random, meanwhile
        self.changes: deque[Change] = deque()
        self.lost: set[Listing] = set()
        self.told = 0
        self._served: frozenset[Listing] = frozenset()
        self._told: dict[Listing, int] = {}

    def introduce(self) -> Facts:
        return Facts("7c1e", "prod", VERSION)

    def start(self, positions: Mapping[Listing, str]) -> None:
        self._serve()
        for listing in sorted(self.cluster.served):
            if listing in positions:
                self._told[listing] = int(positions[listing])
            else:
                self.relist(listing)

    def get(self, timeout: float | None) -> Change | None:  # noqa: ARG002 - nothing else will come
        self.told += bool(self.changes)
        return self.changes.popleft() if self.changes else None

    def happen(self) -> None:
        """Tell something of one list."""
        if self.cluster.served != self._served:
            self.serve()
        listing = self.random.choice(sorted(self.cluster.served))
        behind = [one for one in sorted(self.cluster.served) if self._untold(one)]
        if behind and self.random.random() < 0.8:
            listing = self.random.choice(behind)
        if listing == RESOURCES:
            self.relist(listing)
            return
        roll = self.random.random()
        if roll < 0.7:
            self._tell(listing, self.random.randint(1, 4))
        elif roll < 0.78 and not self._untold(listing):
            self._mark(listing)
        elif roll < 0.86:
            self.relist(listing, verified=listing not in self.lost)
        elif roll < 0.92:
            self.relist(listing)
        elif roll < 0.96 and listing not in self.lost:
            self.lost.add(listing)
            self.changes.append(Lost(listing, Gap(listing.resource, "", "forbidden", "it may not be listed")))
        elif listing not in self.lost:
            self._miss(listing)

    def tell(self, listing: Listing) -> None:
        """Tell all that happened to a list."""
        self._tell(listing, len(self.cluster.log[listing]))

    def serve(self) -> None:
        """Tell which lists there are; new ones are listed."""
        new = self.cluster.served - self._served
        self._serve()
        for listing in sorted(new):
            self.relist(listing)

    def settle(self) -> None:
        """Tell everything, and list all again: as it is after the next verification."""
        self.serve()
        for listing in sorted(self.cluster.served):
            self.relist(listing, verified=listing not in self.lost and listing != RESOURCES)

    def relist(self, listing: Listing, *, verified: bool = False) -> None:
        """A whole list in pages, perhaps begun again; one that verifies, after all that was told until then.

        What is told by the watch meanwhile is newer than the list.
        """
        if verified:
            self.tell(listing)
        self.changes.append(Restart(*listing))
        version, items = self.cluster.version, [*self.cluster.objects[listing].values()]
        if items and self.random.random() < 0.2:
            self._page(listing, items[: self.random.randint(1, len(items))])
            self.changes.append(Restart(*listing))
        size = self.random.randint(1, 4)
        for start in range(0, len(items), size):
            self._page(listing, items[start : start + size])
        newer = frozenset(self._meanwhile(listing)) if verified and items else frozenset()
        self.changes.append(Listed(listing, "" if listing == RESOURCES else str(version), verified, newer))
        if not verified:
            self._told[listing] = version
        self.lost.discard(listing)

    def _meanwhile(self, listing: Listing) -> Iterator[Name]:
        """Something that is written and told while a list is read."""
        if self.random.random() < self.meanwhile:
            found = self.cluster.objects[listing]
            name = self.random.choice(sorted(found))
            if self.random.random() < 0.5:
                raw = found[name]
                self.cluster.delete(listing, name)
                self.cluster.put(raw)
            else:
                self.cluster.put(found[name], self.random.choice(MANAGERS))
            self._tell(listing, 2)
            yield name

    def _serve(self) -> None:
        for listing in self._served - self.cluster.served:
            self._told.pop(listing, None)
            self.lost.discard(listing)
        self._served = self.cluster.served
        self.changes.append(Served(self._served, (), VERSION))

    def _untold(self, listing: Listing) -> list[Write]:
        if listing == RESOURCES:
            return []
        return [one for one in self.cluster.log[listing] if one.version > self._told.get(listing, 0)]

    def _tell(self, listing: Listing, number: int) -> None:
        for one in self._untold(listing)[:number]:
            self._told[listing] = one.version
            self.changes.append(Seen(listing, one.type, one.item))
            self.lost.discard(listing)

    def _miss(self, listing: Listing) -> None:
        """An event that the server never tells, as one that failed to reach its watch cache."""
        for one in self._untold(listing)[:1]:
            self._told[listing] = one.version

    def _mark(self, listing: Listing) -> None:
        if self.cluster.version > self._told.get(listing, 0):
            self._told[listing] = self.cluster.version
            self.changes.append(Position(listing, str(self.cluster.version)))
            self.lost.discard(listing)

    def _page(self, listing: Listing, items: list[dict[str, Any]]) -> None:
        self.changes.append(Page(listing.resource, listing.namespace, items, listing.part))


# What became of it ---------------------------------------------------------------------------------------------------


def indexed(index: Mapping[str, Mapping[Any, Any]]) -> dict[str, dict[Any, Any]]:
    """The objects of a snapshot by kind, without kinds that have none."""
    return {resource: dict(found) for resource, found in index.items() if found}


def present(store: Store, cluster: str) -> dict[tuple[object, ...], Finding]:
    """The findings that are there and that nobody agreed to, by their place."""
    return {(one.domain, one.subject, one.scope, one.through): _timeless(one) for one in _current(store, cluster)}


def names(store: Store, cluster: str) -> set[str]:
    """By which names these are known."""
    return {one.fingerprint for one in _current(store, cluster)}


def _current(store: Store, cluster: str) -> Iterator[Finding]:
    return (one for one in findings.current(store, cluster).values() if not one.agreed)


def _timeless(finding: Finding) -> Finding:
    """A finding but for when things happened, and under which name it was once known."""
    causes = tuple(cause._replace(time="") for cause in finding.causes)
    paths = tuple(
        path._replace(steps=tuple(step._replace(finding="") for step in path.steps)) for path in finding.paths
    )
    return replace(finding, fingerprint="", opened="", changed="", resolved="", mark="", causes=causes, paths=paths)
