"""posture owners: try out who owns what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from posture import actions, inputs, pipeline, sources
from posture import owners as owning
from posture.errors import OK, UsageError
from posture.model import Finding, Owner, Snapshot
from posture.store import findings, snapshots
from posture.text import format_time, visible

from . import options, printer


@click.group(cls=options.Group)
def owners() -> None:
    """Try out who owns what, and why."""


@owners.command("test")
@click.argument("path", type=options.path, metavar="OWNERS.YAML")
@options.named_cluster
@options.output
@options.database
@options.configuration
def test(path: Path, cluster: str, output: str, db: str | None, config_path: Path | None) -> int:
    """Say which open findings an owners file would give to whom, beside who has them now."""
    rules = inputs.read_owners(path)
    now = format_time(sources.now_utc())
    with options.store_of(db, config_path) as store:
        one = sources.cluster_of(store, cluster)
        revision = snapshots.latest(store, one)
        settings = options.inputs_of(config_path).settings | {"now": revision.time if revision else now}
        snapshot = replace(snapshots.load(store, one, revision).snapshot, settings=settings)
        live = {domain.NAME: domain.evaluate(snapshot) for domain in pipeline.DOMAINS}
        records = []
        for finding in findings.current(store, one).values():
            if finding.status(now) not in ("open", "acknowledged"):
                continue
            then = _owner(rules, snapshot, finding, live)
            records.append({
                "id": finding.fingerprint[:12], "owner": then.name, "was": finding.owner.name, "why": then.why,
                "finding": finding.message,
            })  # fmt: skip
    records.sort(key=lambda row: (row["owner"] == row["was"], row["owner"], row["id"]))
    columns = [printer.field(name.upper(), name) for name in ("id", "owner", "was", "why", "finding")]
    printer.emit(records, columns, output, empty="no open finding to try it on")
    return OK


def _owner(rules: owning.Owners, snapshot: Snapshot, finding: Finding, live: Mapping[str, Any]) -> Owner:
    edited = finding.fix.edits[0].key if finding.fix else finding.causes[0].key if finding.causes else None
    asked = owning.Asked(finding.domain, finding.subject, finding.scope, edited)
    stakeholders = pipeline.domain_of(finding.domain).stakeholders
    return rules.owner(snapshot, asked, lambda key: stakeholders(live[finding.domain], key))


@owners.command("explain")
@click.argument("identity", metavar="ID")
@options.named_cluster
@options.database
@options.configuration
def explain(identity: str, cluster: str, db: str | None, config_path: Path | None) -> int:
    """Say whose a finding is and why."""
    with options.store_of(db, config_path) as store:
        for finding in actions.find(store, [identity], cluster):
            name, why = (finding.assignee, "assigned by hand") if finding.assignee else finding.owner[:2]
            told = f"; told: {', '.join(finding.owner.told)}" if finding.owner.told else ""
            said = f"{finding.fingerprint[:12]}  {visible(name, 100)}: {visible(why + told, 400)}"
            for line in printer.wrapped(said, " " * 14):
                click.echo(line)
    return OK


@owners.command("suggest")
@options.named_cluster
@options.output
@options.database
@options.configuration
def suggest(cluster: str, output: str, db: str | None, config_path: Path | None) -> int:
    """Say which labels of namespaces may name teams, and on how many they are."""
    with options.store_of(db, config_path) as store:
        one = sources.cluster_of(store, cluster)
        snapshot = snapshots.load(store, one, snapshots.latest(store, one)).snapshot
        if "namespaces" not in snapshot.index:
            raise UsageError("no namespaces are stored", "scan with the permission to list them")
        records = [
            {"label": label, "namespaces": found, "of": total} for label, found, total in owning.suggestions(snapshot)
        ]
    columns = (
        printer.field("LABEL", "label"),
        printer.Column("ON", lambda row: f"{row['namespaces']} of {row['of']} namespaces"),
    )
    printer.emit(records, columns, output, name="label", empty="no label of a namespace looks like a team")
    return OK
