"""posture db: check, prune, verify."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import click

from posture import sources
from posture.errors import OK, UsageError
from posture.store import lock, upkeep
from posture.text import count, format_time, visible

from . import options


@click.group(cls=options.Group)
def db() -> None:
    """Check, prune and verify the database."""


@db.command("check")
@options.database
@options.configuration
def check(db: str | None, config_path: Path | None) -> int:
    """Ask SQLite whether the file is sound, and whether its schema is posture's."""
    with options.store_of(db, config_path) as store:
        upkeep.check(store)
        click.echo(f"{visible(store.path)} is sound")
    return OK


@db.command("prune")
@click.option(
    "--keep", default="90d", show_default=True, metavar="AGE", help="Keep snapshots this young: 90d, 12w; or a date."
)
@options.database
@options.configuration
def prune(keep: str, db: str | None, config_path: Path | None) -> int:
    """Forget old snapshots; approved ones, findings and decisions stay."""
    now = sources.now_utc()
    before = _before(keep, now)
    path = options.database_of(db, config_path)
    with options.store_of(db, config_path) as store, lock.held(path, "posture db prune", format_time(now)):
        done = upkeep.prune(store, before)
    click.echo(f"forgotten: {count(done.revisions, 'snapshot')} before {before}, {count(done.versions, 'version')} of "
               f"objects, {count(done.contents, 'projection')}")  # fmt: skip
    return OK


def _before(keep: str, now: datetime) -> str:
    try:
        return sources.moment(f"-{keep}" if re.fullmatch(r"\d+[a-z]", keep) else keep, now)
    except UsageError as error:
        raise UsageError(
            f"{visible(keep, 60) or 'an empty text'} is no age", "write 90d, 12w, or a date: 2026-10-20"
        ) from error


@db.command("verify")
@options.database
@options.configuration
def verify(db: str | None, config_path: Path | None) -> int:
    """Check that what snapshots hold, findings, baselines and decisions are as they were written.

    It compares the schema with posture's, recomputes the hashes of snapshots (objects and gaps) and of findings,
    follows the chain of the journal to what was its end at each scan, compares each baseline and each finding's
    decision, assignee and agreement with the journal, and reads every record once. What has no hash is not compared,
    as the time and source of a snapshot and the history of findings; entries of the journal that are newer than the
    last scan and that no finding shows can be cut off unseen. The hashes have no key: they show damage and changes by
    hand. Against somebody who may write the file and makes all hashes anew only a copy elsewhere helps.
    """
    with options.store_of(db, config_path) as store:
        done = upkeep.verify(store)
    click.echo(
        f"sound: {count(done.projections, 'projection')}, {count(done.decisions, 'decision')}, "
        f"{count(done.approvals, 'approval')}"
    )
    return OK
