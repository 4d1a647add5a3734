"""posture report: one document for tickets and other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from posture import admission, pipeline, sources
from posture import report as reports
from posture.drift.lifecycle import TRANSIENT
from posture.errors import OK, UsageError
from posture.inputs import Inputs
from posture.report import _document, _exceptions
from posture.store import Store, baselines, findings, snapshots
from posture.text import format_time, parse_time

from . import balance, options

LATELY = timedelta(days=7)
"""So long what was possible for a moment is reported."""


@click.command(short_help="Write a report for tickets and other tools.")
@click.option("-o", "--output", "form", type=click.Choice(reports.formats()), default="json", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Resolved, accepted and agreed findings too.")
@options.named_cluster
@options.judged
@options.database
def report(form: str, everything: bool, cluster: str, db: str | None, config_path: Path | None, **judged: Any) -> int:
    """Write what was found, in one document: {run, groups[], findings[], gaps[], exceptions[]}.

    With an approved baseline it adds balance[]: what each namespace opened and closed in the network since. The JSON
    Schema is `posture/report/report.schema.json`. Two reports of one snapshot are the same bytes.
    """
    inputs = options.inputs_of(config_path, **judged)
    with options.store_of(db, config_path) as store:
        wanted = [sources.cluster_of(store, cluster)] if cluster else [one for one, _ in snapshots.clusters(store)]
        click.echo(reports.render(built(store, inputs, wanted, everything=everything), form), nl=False)
    return OK


def built(
    store: Store, inputs: Inputs, wanted: Sequence[str], *, everything: bool = False, memory: bool = False
) -> dict[str, Any]:
    """The report of what the store holds of some clusters (ids). Without history (`memory`) it knows no since when.

    Raises UsageError when there is nothing to report on.
    """
    if not wanted:
        raise UsageError(f"there is no snapshot in {store.path}", "run `posture scan` first")
    names = dict(snapshots.clusters(store))
    clusters, gaps, found, excepted, now = [], [], [], [], ""
    balanced: list[dict[str, Any]] | None = None
    for one in wanted:
        revision = snapshots.latest(store, one)
        assert revision is not None
        now = max(now, revision.time)
        approved = baselines.latest(store, one)
        clusters.append({
            "id": one, "name": names[one], "snapshot": revision.id, "time": revision.time, "source": revision.source,
            "version": revision.version, "assumed": list(revision.assumed), "complete": revision.complete,
            "objects": revision.summary.get("objects", 0), "standing": revision.summary.get("standing", 0),
            "unknown": revision.summary.get("unknown", 0),
            "baseline": {"id": approved.id, "snapshot": approved.revision, "time": approved.time, "by": approved.by,
                         "why": approved.why} if approved else None,
        })  # fmt: skip
        snapshot = snapshots.load(store, one, revision).snapshot
        snapshot = replace(snapshot, settings=inputs.settings | {"now": revision.time})
        gaps += [(one, gap) for gap in snapshot.gaps]
        since = balance.since_baseline(store, inputs, snapshot)
        if since is not None:
            balanced = [*(balanced or ()), *(balance.record(one, each) for each in since)]
        entries = sorted(admission.register(admission.evaluate(snapshot)).values(), key=_exceptions.order)
        excepted += [{"cluster": one, **_exceptions.record(entry, _exceptions.SHOWN)} for entry in entries]
        found += list(findings.select(store, "f.cluster = ?", (one,)))
    lately = format_time(parse_time(now) - LATELY) if now else ""
    shown = [
        one for one in found
        if everything or one.status(now) in ("open", "acknowledged", "unknown", "accepted")
        or (one.mark == TRANSIENT and one.resolved >= lately)
    ]  # fmt: skip
    run = {"time": now or format_time(sources.now_utc()), "clusters": clusters,
           "baselineFiles": [str(path) for path in inputs.config.baseline],
           "unowned": sum(one.owner.unowned and not one.assignee for one in shown)}  # fmt: skip
    return _document.report(
        run, shown, gaps, now, lambda domain, units: pipeline.domain_of(domain).permissions(units),
        {check.id: check for check in inputs.checks}, history=not memory, exceptions=excepted, balances=balanced,
    )  # fmt: skip
