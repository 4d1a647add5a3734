"""Collect: a cluster, a folder, a file or stdin → one snapshot. The only room that reads networks and manifests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from posture.kinds import API_RESOURCES, BY_NAME, Kind, key_of, project
from posture.model import Content, Entry, Gap, Index, Snapshot, Version, canonical

type Bodies = Iterable[tuple[bytes, bytes]]
"""(digest, canonical JSON) of projected objects."""


class Listing(NamedTuple):
    """Which list: its kind's GroupResource, its namespace ("" is all of them), and which it is of several that are one
    kind together: a kind of its group, or a name.
    """

    resource: str
    namespace: str = ""
    part: str = ""

    def holds(self, namespace: str, name: str) -> bool:
        """Whether an object of this GroupResource, named as in a Key, is in this list."""
        if self.namespace not in ("", namespace):
            return False
        kinds = self.resource.startswith("*")
        return not self.part or (name.startswith(f"{self.part}/") if kinds else name == self.part)


class Page(NamedTuple):
    """Raw objects of one list, in the order of the source. The other fields are those of its Listing."""

    resource: str
    namespace: str
    items: list[dict[str, Any]]
    part: str = ""

    @property
    def listing(self) -> Listing:
        """Which list they are of."""
        return Listing(self.resource, self.namespace, self.part)


class Restart(NamedTuple):
    """What came so far of this list is void: it starts (again), or it failed and a gap follows."""

    resource: str
    namespace: str
    part: str = ""

    @property
    def listing(self) -> Listing:
        """Which list it is."""
        return Listing(*self)


type Event = Page | Restart | Gap


class Served(NamedTuple):
    """Exactly these lists are followed from now on. Whatever was of another list is gone: its kind is not served.

    `gaps` are all that belong to no list; those of a Served before are over. `version` is the server's.
    """

    listings: frozenset[Listing]
    gaps: tuple[Gap, ...]
    version: Version | None


class Listed(NamedTuple):
    """A list is complete: what its Pages since its last Restart held is all there is, but for the objects `newer`.

    These, (namespace, name) as in a Key, were changed after the list was made, by events that were given already.
    `verified`: the list was followed without a break, so that whatever differs is what the server failed to tell.
    `resource_version` is where it is followed from; "" where it cannot be.
    """

    listing: Listing
    resource_version: str
    verified: bool = False
    newer: frozenset[tuple[str, str]] = frozenset()


class Seen(NamedTuple):
    """One object of a list was ADDED, MODIFIED or DELETED; `item` is the raw object after that, or the last before."""

    listing: Listing
    type: str
    item: dict[str, Any]

    @property
    def resource_version(self) -> str:
        """The list's state after this event."""
        return str(self.item["metadata"].get("resourceVersion") or "")


class Position(NamedTuple):
    """All that happened to a list up to this resourceVersion was given."""

    listing: Listing
    resource_version: str


class Lost(NamedTuple):
    """A list cannot be followed: what is known of it may be old. The next Listed, Seen or Position of it ends that."""

    listing: Listing
    gap: Gap


type Change = Served | Page | Restart | Listed | Seen | Position | Lost
"""What comes of following a cluster: of one list in the order in which it happened, and no event twice."""


class Problem(NamedTuple):
    """Something in a source that a person may want to mend. `place` is FILE:LINE, or a URL's path."""

    place: str
    message: str


@dataclass(slots=True)
class Facts:
    """What a source learns about itself while it is read."""

    cluster: str = ""
    name: str = ""
    version: Version | None = None
    problems: list[Problem] = field(default_factory=list)


class Source(Protocol):
    """Anything that objects come from. `facts` are complete once `events` is exhausted."""

    @property
    def title(self) -> str:
        """What is read, for people."""

    @property
    def facts(self) -> Facts:
        """The cluster's id and name, the server's version, and problems met on the way."""

    def events(self) -> Iterator[Event]:
        """Pages, restarts and gaps, kind after kind. Raises CannotJudge when nothing at all can be read."""


class ReadProblem(Exception):
    """An object that cannot be projected: its shape is not what the API would return."""


def name_of(kind: Kind | None, raw: Mapping[str, Any]) -> tuple[str, str]:
    """The (namespace, name) by which a snapshot holds an object."""
    metadata = raw["metadata"]
    return metadata.get("namespace") or "", key_of(kind, raw).name if kind else metadata["name"]


def body_of(kind: Kind | None, raw: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The digest and the canonical JSON of an object's projection (all of it for resources of discovery).

    Raises ReadProblem when the object has not the shape that the API guarantees.
    """
    try:
        return canonical(project(kind, raw) if kind else {k: v for k, v in raw.items() if k != "metadata"})
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise ReadProblem(str(error)) from error


def _managers(metadata: Mapping[str, Any]) -> str:
    """managedFields as `[[name, operation, time, [field…]]…]`, without those of a subresource (status, scale)."""
    rows = []
    for entry in metadata.get("managedFields") or ():
        if entry.get("subresource"):
            continue
        fields = []
        for name, below in (entry.get("fieldsV1") or {}).items():
            if name == "f:metadata":
                fields += [f"metadata.{inner[2:]}" for inner in below if inner.startswith("f:")]
            elif name.startswith("f:"):
                fields.append(name[2:])
        rows.append([entry.get("manager", ""), entry.get("operation", ""), entry.get("time", ""), sorted(fields)])
    return orjson.dumps(rows).decode() if rows else "[]"


def entry_of(digest: bytes, metadata: Mapping[str, Any]) -> Entry:
    """What a snapshot keeps beside an object's content. Raises ReadProblem as `body_of` does."""
    try:
        uid, created, version = (
            str(metadata.get(name) or "") for name in ("uid", "creationTimestamp", "resourceVersion")
        )
        return Entry(digest, uid, created, version, _managers(metadata))
    except (AttributeError, TypeError, ValueError) as error:
        raise ReadProblem(str(error)) from error


def collect(
    source: Source,
    previous: Callable[[Facts], Snapshot | None],
    put: Callable[[Bodies], None],
    contents: Mapping[bytes, Content],
) -> Snapshot:
    """Read a source into a snapshot: every page is projected at once, and its bodies handed to `put`.

    `previous` is asked once, as soon as the source knows which cluster it is, for what is already known of it: an
    object whose uid and resourceVersion are the same is not looked at again, since the API promises that it is the
    same. `contents` is where the bodies can be read back by digest.
    """
    known: Index | None = None
    lists: dict[Listing, dict[tuple[str, str], Entry]] = {}
    gaps: list[Gap] = []
    for event in source.events():
        if isinstance(event, Gap):
            gaps.append(event)
        elif isinstance(event, Restart):
            lists.pop(event.listing, None)
        else:
            if known is None:
                before = previous(source.facts)
                known = before.index if before else {}
            found = lists.setdefault(event.listing, {})
            bodies: list[tuple[bytes, bytes]] = []
            gaps += _take(event, known.get(event.resource, {}), found, bodies)
            put(bodies)
    facts = source.facts
    index: dict[str, dict[tuple[str, str], Entry]] = {}
    for (resource, *_), found in lists.items():
        index.setdefault(resource, {}).update(found)
    return Snapshot(facts.cluster, index, contents, tuple(sorted(set(gaps))), facts.version)


def _take(
    page: Page,
    known: Mapping[tuple[str, str], Entry],
    found: dict[tuple[str, str], Entry],
    bodies: list[tuple[bytes, bytes]],
) -> Iterator[Gap]:
    kind = BY_NAME.get(page.resource)
    for raw in page.items:
        metadata, name = raw["metadata"], name_of(kind, raw)
        was = known.get(name)
        if (
            was is not None
            and was.resource_version
            and was.resource_version == metadata.get("resourceVersion")
            and was.uid == metadata.get("uid")
        ):
            found[name] = was
            continue
        try:
            digest, body = body_of(kind, raw)
            found[name] = entry_of(digest, metadata)
        except ReadProblem as problem:
            yield Gap(page.resource, name[0], "failed", f"{name[1]} has not the shape of its kind: {problem}")
            continue
        bodies.append((digest, body))


def api_resource(resource: str, group: str, kind: str, *, namespaced: bool) -> dict[str, Any]:
    """One resource of discovery as the object that snapshots keep under `apiresources`."""
    name = f"{resource}.{group}" if group else resource
    return {"metadata": {"name": name}, "kind": kind, "namespaced": namespaced}


__all__ = [
    "API_RESOURCES",
    "Bodies",
    "Change",
    "Event",
    "Facts",
    "Listed",
    "Listing",
    "Lost",
    "Page",
    "Position",
    "Problem",
    "ReadProblem",
    "Restart",
    "Seen",
    "Served",
    "Source",
    "api_resource",
    "body_of",
    "collect",
    "entry_of",
    "name_of",
]
