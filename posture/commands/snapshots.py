"""posture snapshots: what is stored."""

from __future__ import annotations

from pathlib import Path

import click

from posture import sources
from posture.errors import OK
from posture.store import baselines
from posture.store import snapshots as stored

from . import options, printer


@click.command(short_help="List the snapshots that are stored.")
@options.named_cluster
@options.output
@options.database
@options.configuration
def snapshots(cluster: str, output: str, db: str | None, config_path: Path | None) -> int:
    """List the snapshots that are stored, oldest first."""
    with options.store_of(db, config_path) as store:
        wanted = [sources.cluster_of(store, cluster)] if cluster else [one for one, _ in stored.clusters(store)]
        names = dict(stored.clusters(store))
        records = []
        for one in wanted:
            approved = {row.revision for row in baselines.every(store, one)}
            records += [
                {
                    "id": row.id, "cluster": names[one], "time": row.time, "version": row.version or "assumed",
                    "objects": row.summary.get("objects", 0), "complete": "yes" if row.complete else "no",
                    "approved": "yes" if row.id in approved else "", "source": row.source,
                }
                for row in stored.revisions(store, one)
            ]  # fmt: skip
    columns = [
        printer.Column(name.upper(), lambda one, name=name: str(one[name]), wide=name == "source")  # type: ignore[misc]
        for name in ("id", "cluster", "time", "version", "objects", "complete", "approved", "source")
    ]
    printer.emit(
        sorted(records, key=lambda row: row["id"]), columns, output, empty="nothing is stored yet; run `posture scan`"
    )
    return OK
