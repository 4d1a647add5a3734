"""What came of a source, for assertions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from posture.collect import Page, Restart, collect
from posture.collect.live import LiveSource
from posture.model import Gap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from posture.collect import Event
    from posture.collect.client import Client
    from posture.model import Snapshot


def read(client: Client, **options: Any) -> Snapshot:
    """A whole snapshot, with its bodies in memory."""
    bodies: dict[bytes, bytes] = {}
    decoded: dict[bytes, Any] = {}
    snapshot = collect(LiveSource(client, **options), lambda _: None, bodies.update, decoded)
    decoded.update({digest: json.loads(body) for digest, body in bodies.items()})
    return snapshot


def lists(events: Iterable[Event]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The objects of each list, as a collector keeps them."""
    parts: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for event in events:
        if isinstance(event, Page):
            parts.setdefault((event.resource, event.namespace, event.part), []).extend(event.items)
        elif isinstance(event, Restart):
            parts.pop((event.resource, event.namespace, event.part), None)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (resource, namespace, _), items in parts.items():
        found.setdefault((resource, namespace), []).extend(items)
    return found


def gaps(events: Iterable[Event]) -> list[Gap]:
    return [event for event in events if isinstance(event, Gap)]


def names(items: Iterable[Mapping[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]
