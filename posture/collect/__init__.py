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


class Page(NamedTuple):
    """Raw objects of one resource, in the order of the source. `namespace` is the list's own: "" is all of them.

    `part` says which it is of several lists that are one kind together: a resource of its group, or a name.
    """

    resource: str
    namespace: str
    items: list[dict[str, Any]]
    part: str = ""


class Restart(NamedTuple):
    """What came so far of this list is void: it starts again, or it failed and a gap follows."""

    resource: str
    namespace: str
    part: str = ""


type Event = Page | Restart | Gap


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
    lists: dict[tuple[str, str, str], dict[tuple[str, str], Entry]] = {}
    gaps: list[Gap] = []
    for event in source.events():
        if isinstance(event, Gap):
            gaps.append(event)
        elif isinstance(event, Restart):
            lists.pop((event.resource, event.namespace, event.part), None)
        else:
            if known is None:
                before = previous(source.facts)
                known = before.index if before else {}
            found = lists.setdefault((event.resource, event.namespace, event.part), {})
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
        metadata = raw["metadata"]
        name = (metadata.get("namespace") or "", key_of(kind, raw).name if kind else metadata["name"])
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
    "Event",
    "Facts",
    "Page",
    "Problem",
    "ReadProblem",
    "Restart",
    "Source",
    "api_resource",
    "body_of",
    "collect",
    "entry_of",
]
