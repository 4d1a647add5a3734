"""A cluster as a list of changes, for a Watch without a server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from posture.collect import Change, Facts, Listed, Listing, Page, Restart, Seen, Served
from posture.config import Config
from posture.inputs import Inputs
from posture.model import Gap, Version
from posture.scan import Request
from posture.store import Store
from posture.watch import Source, Watch, Written
from tests.generator.objects import Object
from tests.generator.source import resource_of

NOW = "2026-11-17T09:00:00Z"
LISTS = tuple(
    map(Listing, ("namespaces", *(f"{name}.rbac.authorization.k8s.io" for name in
                                  ("clusterrolebindings", "clusterroles", "rolebindings", "roles")))))  # fmt: skip


class Fed:
    """A Source that gives what it is fed. `started` are the positions that it was to go on from."""

    title = "context:prod"

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.started: Mapping[Listing, str] | None = None

    def introduce(self) -> Facts:
        return Facts("7c1e", "prod", Version(1, 36))

    def start(self, positions: Mapping[Listing, str]) -> None:
        self.started = dict(positions)

    def get(self, timeout: float | None) -> Change | None:  # noqa: ARG002 - nothing else will come
        return self.changes.popleft() if self.changes else None

    def feed(self, *changes: Change) -> None:
        self.changes.extend(changes)

    def lists(self, objects: Iterable[Object], version: str = "1", gaps: tuple[Gap, ...] = ()) -> None:
        """Every list, read whole."""
        self.feed(Served(frozenset(LISTS), gaps, Version(1, 36)))
        every = list(objects)
        for listing in LISTS:
            self.list(listing, [raw for raw in every if resource_of(raw) == listing.resource], version)

    def list(self, listing: Listing, objects: list[Object], version: str, *, verified: bool = False) -> None:
        """One list, read whole."""
        page = Page(listing.resource, "", [versioned(raw, version) for raw in objects])
        self.feed(Restart(*listing), page, Listed(listing, version, verified))

    def see(self, kind: str, raw: Object, version: str) -> None:
        """One event."""
        self.feed(Seen(Listing(resource_of(raw)), kind, versioned(raw, version)))


def versioned(raw: Object, version: str) -> dict[str, Any]:
    """An object as a server gives it."""
    return {**raw, "metadata": {"uid": raw["metadata"]["name"], **raw["metadata"], "resourceVersion": version}}


def watching(store: Store, source: Source, tell: Callable[[Written], None] = lambda _: None) -> Watch:
    """A watch of a source."""
    return Watch(store, source, Inputs(Config()), Request(NOW), now=lambda: NOW, tell=tell)
