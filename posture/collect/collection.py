"""Which lists make up a kind, and where a server has them: the same for reading once and for following."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from posture.collect import Listing
from posture.collect.client import Client, ListPage
from posture.collect.discovery import Discovery
from posture.collect.problem import RequestProblem
from posture.kinds import API_RESOURCES, RBAC, Kind
from posture.model import Gap
from posture.text import listed, visible

NAMESPACES = "namespaces"


class Collection(NamedTuple):
    """What one list reads: a collection, as the API's documentation calls it.

    `paths` are to be tried in order while the server says 404: it is not known which version is served. With a `name`
    only objects of this name are asked for. `kind` is that of its objects, where it takes part in their names. `alone`:
    there is no list, the one path is that of an object.
    """

    listing: Listing
    paths: tuple[str, ...]
    name: str = ""
    kind: str = ""
    alone: bool = False

    def typed(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Objects with their kind, where it takes part in their names: lists leave it out."""
        return [{**item, "kind": self.kind} for item in items] if self.kind else items

    def gap(self, problem: RequestProblem) -> Gap:
        """The gap that a problem leaves of it."""
        return problem.gap(self.listing.resource, self.listing.part if self.alone else self.listing.namespace)


def collections_of(
    kind: Kind, discovery: Discovery, namespaces: Sequence[str] = ()
) -> tuple[list[Collection], list[Gap]]:
    """The lists that make up a kind, and what they leave open; no list where it is not served.

    With `namespaces` only these are read. Listing namespaces takes a permission in the whole cluster: they are read one
    by one.
    """
    parts, gaps = _parts(kind, discovery)
    if not parts:
        return [], gaps
    if not namespaces:
        return [part.collection(kind, "") for part in parts], gaps
    names = listed(list(namespaces))
    only = f"only namespace {names} was read" if len(namespaces) == 1 else f"only namespaces {names} were read"
    if kind.name == NAMESPACES:
        found = [
            Collection(Listing(NAMESPACES, "", name), (f"/api/v1/namespaces/{name}",), alone=True)
            for name in namespaces
        ]
    elif not kind.namespaced:
        return [], [*gaps, Gap(kind.name, "", "not collected", f"{kind.name} are cluster-scoped; {only}")]
    else:
        found = [part.collection(kind, namespace) for namespace in namespaces for part in parts]
    return found, [*gaps, Gap(kind.name, f"!{','.join(namespaces)}", "not collected", only)]


def pages_of(client: Client, collection: Collection, limit: int) -> Iterator[tuple[str, ListPage]]:
    """The pages of a collection's list, each with the path that it was read at. Raises RequestProblem.

    An object of its own that is not there is an empty page.
    """
    if collection.alone:
        (path,) = collection.paths
        yield path, ListPage(_alone(client, path), "", restarted=False)
        return
    for path in collection.paths:
        try:
            for page in client.pages(path, limit, collection.name):
                yield path, page._replace(items=collection.typed(page.items))
        except RequestProblem as problem:
            if problem.status != 404 or path == collection.paths[-1]:
                raise
        else:
            return


def _alone(client: Client, path: str) -> list[dict[str, Any]]:
    try:
        return [client.named(path)]
    except RequestProblem as problem:
        if problem.status != 404:
            raise
        return []


class _Part(NamedTuple):
    """A resource in the versions to try, with the only name that is asked for, or the kind of its objects."""

    resource: str
    versions: tuple[str, ...]
    name: str = ""
    kind: str = ""

    def collection(self, kind: Kind, namespace: str) -> Collection:
        """Its objects in a namespace, or all of them."""
        within = f"namespaces/{namespace}/" if namespace else ""
        roots = [f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}" for version in self.versions]
        paths = tuple(f"{root}/{within}{self.resource}" for root in roots)
        return Collection(Listing(kind.name, namespace, self.name or self.kind), paths, self.name, self.kind)


def _parts(kind: Kind, discovery: Discovery) -> tuple[list[_Part], list[Gap]]:
    if kind.resource != "*":
        versions, gap = _versions(kind, kind.resource, discovery)
        names = kind.named or ("",) if versions else ()
        return [_Part(kind.resource, versions, name) for name in names], [gap] if gap else []
    parts: list[_Part] = []
    gaps: list[Gap] = []
    for resource, of in discovery.kinds(kind.group).items():
        versions, gap = _versions(kind, resource, discovery)
        parts += [_Part(resource, versions, kind=of)] if versions else []
        gaps += [gap] if gap else []
    if discovery.may_serve(kind):
        gaps.append(Gap(kind.name, "", "failed", f"which kinds {kind.group} has is not known: see {API_RESOURCES}"))
    return parts, gaps


def _versions(kind: Kind, resource: str, discovery: Discovery) -> tuple[tuple[str, ...], Gap | None]:
    """The versions of a resource to try, in order; none, perhaps with a gap, when it is not served."""
    name = f"{resource}.{kind.group}" if kind.group else resource
    served: Mapping[str, tuple[str, ...]] = discovery.versions
    readable = tuple(version for version in kind.versions if version in served.get(name, ()))
    if readable:
        return readable[:1], None
    if others := served.get(name):
        text = f"{visible(name, 300)} is served only as {visible(', '.join(others), 100)}"
        return (), Gap(kind.name, "", "not modelled", text)
    if discovery.may_serve(kind):
        return kind.versions, None
    if kind.group == RBAC:
        return (), Gap(kind.name, "", "failed", "the RBAC API is not served: who may do what is decided elsewhere")
    return (), None
