"""posture baseline: approve, show, export, validate."""

from __future__ import annotations

from pathlib import Path

import click

from posture import actions, pipeline, reading, selectors, sources
from posture.drift.agreed import Objects
from posture.errors import OK, UsageError
from posture.kinds import BY_NAME, manifest
from posture.model import Version
from posture.store import baselines
from posture.store.decisions import Deed
from posture.text import count, format_time, visible

from . import options, printer


@click.group(cls=options.Group)
def baseline() -> None:
    """Approve, show, export and validate what is agreed."""


@baseline.command("approve")
@click.option(
    "--snapshot", "number", default="latest", show_default=True, metavar="ID", help="The snapshot to agree to."
)
@click.option("--finding", "ids", multiple=True, metavar="ID", help="Agree to these findings only; may be repeated.")
@click.option("--at", default="", metavar="TIME", help="When it was agreed; now if left out.")
@click.option("--with-gaps", is_flag=True, help="Agree to a snapshot that was not read completely.")
@options.by_and_reason(required=False)
@options.named_cluster
@options.database
@options.configuration
def approve(
    number: str, ids: tuple[str, ...], at: str, with_gaps: bool, by: str, reason: str, cluster: str, db: str | None,
    config_path: Path | None,
) -> int:  # fmt: skip
    """Agree to what is possible in a snapshot, or to some findings only."""
    now = sources.moment(at, sources.now_utc()) if at else format_time(sources.now_utc())
    if not by.strip():
        raise UsageError("who approves is not known", "say it with --by")
    deed = Deed("agreed", by, now, reason)
    with options.store_of(db, config_path) as store:
        if ids:
            found = actions.find(store, ids, cluster)
            actions.approve_findings(store, found, deed, options.inputs_of(config_path).settings)
            click.echo(f"agreed to {count(len(found), 'finding')}; the rest of the baseline is as it was", err=True)
        else:
            _, revision = sources.stored(store, cluster, number=number)
            actions.approve(store, revision.id, deed, with_gaps=with_gaps)
            click.echo(
                f"snapshot {revision.id} of {revision.time} is the baseline, approved by {visible(by, 60)}", err=True
            )
    return OK


@baseline.command("show")
@options.named_cluster
@options.output
@options.database
@options.configuration
def show(cluster: str, output: str, db: str | None, config_path: Path | None) -> int:
    """List the baselines of a cluster, the newest last; that one counts."""
    with options.store_of(db, config_path) as store:
        one = sources.cluster_of(store, cluster)
        records = [
            {"id": row.id, "snapshot": row.revision, "approved": row.time, "by": row.by, "why": row.why}
            for row in baselines.every(store, one)
        ]
    columns = [printer.field(name.upper(), name) for name in ("id", "snapshot", "approved", "by", "why")]
    printer.emit(records, columns, output, empty="no baseline yet; `posture baseline approve` makes one")
    return OK


@baseline.command("export")
@options.named_cluster
@options.database
@options.configuration
def export(cluster: str, db: str | None, config_path: Path | None) -> int:
    """Print the agreed state as manifests, to keep in Git and to use with --baseline."""
    with options.store_of(db, config_path) as store:
        approved = baselines.latest(store, sources.cluster_of(store, cluster))
        if approved is None:
            raise UsageError("there is no baseline yet", "`posture baseline approve` makes one")
        snapshot = baselines.snapshot(store, approved)
        kinds = [kind for kind in pipeline.JUDGED if kind in BY_NAME]
        objects = [
            (key, content)
            for kind in kinds
            for key, content in sorted(snapshot.objects(kind), key=lambda row: row[0])
            if not any(owner.get("controller") for owner in content.get("ownerReferences") or ())
        ]  # what others make again does not belong into Git
        printer.yaml_documents([manifest(key, content) for key, content in objects])
    return OK


@baseline.command("validate")
@click.argument("paths", nargs=-1, required=True, type=options.path, metavar="PATH…")
@options.configuration
def validate(paths: tuple[Path, ...], config_path: Path | None) -> int:
    """Check baseline files: their form, and what they speak for."""
    given = options.inputs_of(config_path, baseline=paths)
    lines = []
    for bound in given.bounds:
        selected = "every namespace" if bound.selector is not None else "what is held cluster-wide"
        if bound.selector and (labels := selectors.shown(bound.selector)):
            selected = f"namespaces with {labels}"
        lines.append(
            f"{visible(bound.title, 300)}: {count(len(bound.objects), 'object')}, for {visible(selected, 300)}"
        )
    for snapshot in given.snapshots:
        written = reading.folder(given.manifests, given.config)
        total = sum(len(entries) for entries in reading.snapshot_of(written, _nothing, offline=True).index.values())
        for problem in written.facts.problems:
            click.echo(f"{visible(problem.place, 300)}: {visible(problem.message, 500)}", err=True)
        for text in snapshot.assumed:
            click.echo(f"assumed: {visible(text, 300)}", err=True)
        lines.append(
            f"{count(len(given.manifests), 'file')} of manifests: {count(total, 'object')}, for the whole cluster"
        )
    for line in lines:
        click.echo(line)
    return OK


def _nothing(_: Version | None) -> Objects:
    """No default objects: only what is written is counted."""
    return ()
