"""posture diff: two states against each other."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from posture import graph, network, pipeline, sources
from posture.errors import CANNOT_JUDGE, DRIFT, OK, UsageError
from posture.graph.sentences import reaching
from posture.model import CLUSTER_SCOPE, INCOMPLETE, SEVERITIES, Gap, Severity, Unknown
from posture.network.connectivity import Connectivity
from posture.network.difference import everywhere
from posture.network.groups import grouped
from posture.network.pairs import conn
from posture.pipeline import Diff, Difference
from posture.report import csv as report_csv
from posture.report._document import SHOWN_PERMISSIONS, attack_path, reference
from posture.scan import is_missing
from posture.text import count, format_time, gap_place, listed, visible

from . import options, printer

SHOWN_UNKNOWN, SHOWN_PATHS = 20, 20


@click.command(short_help="Compare two states: what became possible, and what no longer is.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--domain",
    type=click.Choice([domain.NAME for domain in pipeline.DOMAINS]),
    help="Only of this domain.",
)
@click.option(
    "--fail-on",
    type=options.severity,
    default="info",
    show_default=True,
    help="Exit 1 only when something loosened is at least this severe.",
)
@click.option("--notes", is_flag=True, help="Also what changed without effect.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="csv: one row for each pair that differs, with --domain network.",
)
@click.option("--context", help="The context that `live` means.")
@options.named_cluster
@options.cluster_flags
@options.judged
@options.database
@options.kubernetes_version
def diff(
    before: str, after: str, domain: str | None, fail_on: str, notes: bool, output: str, context: str | None,
    cluster: str, kubeconfig: str | None, request_timeout: float, db: str | None, config_path: Path | None,
    kubernetes_version: str, **judged: Any,
) -> int:  # fmt: skip
    """Compare two states: what became possible, and what no longer is. A is read as agreed.

    A and B are a folder, a file, - for stdin, a stored snapshot's number, @TIME or @-7d, live, or context:NAME. Exits 1
    when something was loosened, as a gate for CI.
    """
    if before == after == "-":
        raise UsageError("A and B are both standard input, which can be read once", "name a file for one of them")
    if output == "csv" and domain != network.NAME:
        raise UsageError("-o csv holds pairs that may talk", "add --domain network")
    inputs = options.inputs_of(config_path, **judged)
    reached = sources.Cluster(context, kubeconfig, (), request_timeout)
    now, version = sources.now_utc(), options.version_of(kubernetes_version)
    with options.store_if_any(db, config_path) as store:
        sides = [sources.state(text, inputs, reached, store, cluster, now, version) for text in (before, after)]
        for side in sides:
            for problem in side.problems:
                click.echo(f"{visible(problem.place, 300)}: {visible(problem.message, 500)}", err=True)
            for text in side.snapshot.assumed if domain != network.NAME else ():  # it is of roles
                click.echo(f"assumed in {visible(side.title, 100)}: {visible(text, 300)}", err=True)
        rules = inputs.rules.at(format_time(now))
        found = pipeline.diff(sides[0].snapshot, sides[1].snapshot, rules, inputs.shipped, domain or "")
    gaps = [(side.title, gap) for side in sides for gap in side.snapshot.gaps]
    if output == "json":
        printer.document(_document(found, gaps))
    elif output == "csv":
        _rows(*found.results[network.NAME])
    else:
        _show(found, gaps, notes=notes)
    limit = SEVERITIES.index(fail_on)
    if any(one.change.direction == "loosened" and SEVERITIES.index(one.severity) <= limit for one in found.differences):
        return DRIFT
    unknown = any(one.gap.reason != "not modelled" for one in found.unknown)
    return CANNOT_JUDGE if unknown or any(is_missing(gap) for _, gap in gaps) else OK


def _document(found: Diff, gaps: list[tuple[str, Any]]) -> dict[str, Any]:
    """The contract's shape: {changes, notes, gaps}."""
    return {
        "changes": [_record(one) for one in found.differences],
        "notes": [note._asdict() for note in found.notes],
        "gaps": [{"source": title, **gap._asdict()} for title, gap in gaps],
        "unknown": [
            {"domain": one.domain, "subject": one.subject, "scope": one.scope, "through": one.through._asdict(),
             "gap": one.gap._asdict()}
            for one in found.unknown
        ],
    }  # fmt: skip


def _record(one: Difference) -> dict[str, Any]:
    change = one.change
    broken = pipeline.domain_of(change.domain).permissions
    return {
        "domain": change.domain, "direction": change.direction, "effective": change.effective,
        "severity": one.severity, "subject": change.subject, "scope": change.scope,
        "through": change.through._asdict(),
        "gained": list(islice(broken(change.gained), SHOWN_PERMISSIONS)),
        "lost": list(islice(broken(change.lost), SHOWN_PERMISSIONS)),
        "message": one.message,
        "causes": [{"object": reference(cause.key), "what": cause.what, "actor": cause.actor, "time": cause.time}
                   for cause in one.causes],
        "checks": [check.id for check in one.checks],
        "attackPaths": [attack_path(path) for path in one.paths[:SHOWN_PATHS]],
    }  # fmt: skip


def _rows(before: Connectivity, after: Connectivity) -> None:
    """One row for each pair of workloads, or of a workload and a range of addresses, that differs."""
    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(("diff-type", "source", "destination", "before", "after"))
    for one in everywhere(before, after):
        texts = conn(one.before), conn(one.after)
        kind = "changed" if all(texts) else "added" if texts[1] else "removed"
        writer.writerow(map(report_csv.cell, (kind, one.source, one.destination, *texts)))


def _messages(mine: Sequence[Difference], found: Diff) -> Iterator[tuple[Severity, str]]:
    """What to say of differences, each with its severity. Those of connections that read alike are one line."""
    for one in mine:
        if one.change.domain != network.NAME:
            yield one.severity, one.message + _so(one)
    several = [one for one in mine if one.change.domain == network.NAME]
    if several:
        before, after = found.results[network.NAME]
        live = after if several[0].change.direction == "loosened" else before
        for group in grouped(several, lambda one: (one.severity, one.change), live):
            first = group.members[0]
            so = next((text for member in group.members if (text := _so(member))), "")
            yield first.severity, (group.text if len(group.members) > 1 else first.message) + so


def _so(one: Difference) -> str:
    """The gravest path that a difference makes possible, or closes."""
    if not one.paths or one.change.domain == graph.NAME:
        return ""
    return f"; so {reaching(one.paths[0], 'can' if one.change.direction == 'loosened' else 'can no longer')}"


def _show(found: Diff, gaps: list[tuple[str, Any]], *, notes: bool) -> None:
    for direction, sign in (("loosened", "+"), ("tightened", "-")):
        mine = [one for one in found.differences if one.change.direction == direction]
        if mine:
            click.echo(f"{direction}: {count(len(mine), 'change')}")
        for severity, message in sorted(_messages(mine, found), key=lambda line: (SEVERITIES.index(line[0]), line[1])):
            shown = printer.severity(severity, 4) if direction == "loosened" else "    "
            start, *rest = printer.wrapped(" " * 8 + message, " " * 8)
            for line in (f"{sign} {shown}  {start[8:]}", *rest):
                click.echo(line)
    if not found.differences:
        unread = found.unknown or any(gap.reason in INCOMPLETE for _, gap in gaps)
        click.echo(f"no difference in what is possible{', as far as it could be read' if unread else ''}")
    if notes:
        for note in found.notes:
            for line in printer.wrapped(f"note    {note.subject} in {note.scope}: {note.message}", " " * 8):
                click.echo(line)
    for line in (*_gaps(gaps), *_unknown(found)):
        for piece in printer.wrapped(line, " " * 8):
            click.echo(piece, err=True)


def _gaps(gaps: list[tuple[str, Gap]]) -> Iterator[str]:
    """What was not read, or not evaluated. What both sides have is said once."""
    titles: dict[Gap, dict[str, None]] = {}
    for title, gap in gaps:
        if gap.reason != "not collected":
            titles.setdefault(gap, {})[visible(title, 60)] = None
    for gap, sides in titles.items():
        place = gap_place(gap.resource, gap.namespace)
        yield f"gap     {listed([*sides])}: {place}: {gap.reason}, {visible(gap.message, 300)}"


def _unknown(found: Diff) -> Iterator[str]:
    """What cannot be said: whose, through what, and why."""
    for title, read in (("unknown because of gaps", False), ("not evaluated", True)):
        mine = [one for one in found.unknown if (one.gap.reason == "not modelled") is read]
        if mine:
            yield f"{title}: {count(len(mine), 'change')}"
        for one in mine[:SHOWN_UNKNOWN]:
            yield f"        {_whose(one)}: {visible(one.gap.message, 300)}"
        if len(mine) > SHOWN_UNKNOWN:
            yield f"        and {len(mine) - SHOWN_UNKNOWN:,} more"


def _whose(one: Unknown) -> str:
    where = "the whole cluster" if one.scope == CLUSTER_SCOPE else one.scope
    parts = [one.subject if one.domain == network.NAME else f"{one.subject} in {where}"]  # it names its namespace
    if one.through.kind:
        name = "/".join(filter(None, one.through[1:]))
        parts.append(f"through {one.through.kind} {name}")
    return visible(", ".join(parts), 300)
