"""Where the watcher goes on from after a restart: the resourceVersion of each list, written with what it led to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from posture.collect import Listing

from .database import Store, shaped


def read(store: Store, cluster: str) -> dict[Listing, str]:
    """The positions of a cluster's lists; none where something else than the watcher wrote the newest revision."""
    rows = store.connection.execute(
        "SELECT resource, namespace, part, resource_version FROM position WHERE cluster = ?", (cluster,)
    )
    with store.decoding():
        return {Listing(*names): version for *names, version in (shaped(row, "tttt") for row in rows)}


def write(connection: sqlite3.Connection, cluster: str, positions: Mapping[Listing, str]) -> None:
    """Replace the positions of a cluster, inside the caller's transaction."""
    connection.execute("DELETE FROM position WHERE cluster = ?", (cluster,))
    connection.executemany(
        "INSERT INTO position (cluster, resource, namespace, part, resource_version) VALUES (?, ?, ?, ?, ?)",
        [(cluster, *listing, version) for listing, version in sorted(positions.items()) if version],
    )
