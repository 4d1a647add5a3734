"""A source of given objects, read as a live cluster is: kind after kind, gaps where something could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from posture.collect import Event, Facts, Page
from posture.kinds import API_RESOURCES, KINDS, kind_of
from posture.model import Gap, Version

from .objects import Object


class Given:
    """`objects` are all that there is; what a gap touches is not read. `cluster` is the cluster's own id."""

    def __init__(
        self,
        objects: Iterable[Object],
        gaps: Sequence[Gap] = (),
        *,
        cluster: str = "7c1e",
        name: str = "prod",
        version: Version | None = None,
    ) -> None:
        self.title = f"context:{name}"
        self.facts = Facts(cluster, name, version)
        self._gaps = gaps
        self._items: dict[str, list[Object]] = {name: [] for name in (*(kind.name for kind in KINDS), API_RESOURCES)}
        for raw in objects:
            self._items[resource_of(raw)].append(raw)

    def events(self) -> Iterator[Event]:
        """A page of every kind, then the gaps."""
        for resource, items in self._items.items():
            read = [raw for raw in items if not self._hidden(resource, raw["metadata"].get("namespace") or "")]
            yield Page(resource, "", read)
        yield from self._gaps

    def _hidden(self, resource: str, namespace: str) -> bool:
        return any(gap.touches(resource, namespace or "-") for gap in self._gaps)  # no namespace is called "-"


def resource_of(raw: Object) -> str:
    """The resource that an object is of."""
    if raw["kind"] == "APIResource":
        return API_RESOURCES
    kind = kind_of(raw["apiVersion"].rpartition("/")[0], raw["kind"])
    assert kind is not None, f"{raw['apiVersion']} {raw['kind']} is not read"
    return kind.name
