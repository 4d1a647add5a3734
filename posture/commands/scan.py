"""posture scan: the CronJob's command."""

from __future__ import annotations

import functools
import gc
import random
import time as clock
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from posture import reading, resources, sources
from posture import scan as scanning
from posture.collect import Source
from posture.collect.audit import Log
from posture.drift.lifecycle import TRANSIENT
from posture.errors import CANNOT_JUDGE, DRIFT, OK, PostureError, UsageError, complain
from posture.graph.sentences import reaching
from posture.groups import Group, grouped
from posture.inputs import Inputs
from posture.kinds import called
from posture.model import SEVERITIES, AttackPath, Cause
from posture.operations import interrupts
from posture.report._document import cause_record, made_by
from posture.scan import Request, Scanned
from posture.store import MEMORY, Store, findings, lock, open_store
from posture.store.findings import Row
from posture.text import ago, count, cut, flowed, format_time, gap_place, listed, parse_time, visible

from . import options, printer

INDENT = "      "


@click.command(short_help="Read a cluster and say what became possible that was not agreed.")
@click.option("--context", "contexts", multiple=True, help="A kubeconfig context; several are scanned one by one.")
@click.option("--from", "paths", multiple=True, metavar="PATH", help="Scan manifests: a folder, a file or - for stdin.")
@click.option("--at", default="", metavar="TIME", help="The moment that manifests show; now if left out.")
@options.named_cluster
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Read only this namespace; may be repeated.")
@options.cluster_flags
@options.judged
@options.database
@options.kubernetes_version
@click.option(
    "--fail-on",
    type=options.severity,
    help="Exit 1 when a finding that is open or acknowledged is at least this severe, 3 when gaps hide some.",
)
@click.option(
    "--jitter", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Begin after up to so long, by chance."
)
@click.option(
    "--deadline", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="End with 3 if it takes longer."
)
@options.audit_logs
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def scan(
    contexts: tuple[str, ...], paths: tuple[str, ...], at: str, cluster: str, namespaces: tuple[str, ...],
    kubeconfig: str | None, request_timeout: float, db: str | None, config_path: Path | None,
    kubernetes_version: str, fail_on: str | None, jitter: float, deadline: float,
    audit_logs: tuple[str, ...], output: str, **judged: Any,
) -> int:  # fmt: skip
    """Read a cluster, or manifests, and say what became possible that was not agreed.

    The result is kept in the database: what is found again is not new. Without a baseline nothing is called drift:
    checks say what deserves a look. Exits 0 also when there is drift, 3 when a required kind could not be read.
    """
    if paths and (contexts or namespaces or kubeconfig):
        raise UsageError("--from reads files; --context, --kubeconfig and -n read a cluster", "give one or the other")
    if at and not paths:
        raise UsageError("--at needs --from: a live cluster is read as it is now", "leave --at out")
    if cluster and len(contexts) > 1:
        raise UsageError("--cluster names one cluster, and several contexts are given", "leave --cluster out")
    if audit_logs and len(contexts) > 1:
        raise UsageError("an audit log is of one cluster, and several contexts are given", "scan them one by one")
    logs = [Log(one, functools.partial(click.echo, err=True)) for one in audit_logs]
    inputs = options.inputs_of(config_path, **judged)
    version = options.version_of(kubernetes_version)
    path = options.database_of(db, config_path)
    pause(jitter, random.random, clock.sleep)
    # A scan makes hundreds of thousands of objects without cycles and then ends: collecting costs it a tenth.
    gc.disable()
    codes: list[int] = []
    scanned: list[str] = []
    with (
        interrupts.within(deadline, "nothing was half-written; is the cluster slow, or --deadline too short for it?"),
        open_store(path) as store,
        lock.held(path, "posture scan", format_time(sources.now_utc())),
    ):
        for read in _reads(contexts, paths, namespaces, kubeconfig, request_timeout, inputs):
            now = sources.now_utc()
            request = Request(sources.moment(at, now) if at else format_time(now), cluster, version, bool(paths))
            start = clock.monotonic()
            try:
                done = scanning.scan(store, read(), inputs, request, lambda: (r for log in logs for r in log.read()))
            except PostureError as error:
                if len(contexts) < 2:
                    raise
                complain(str(error), error.hint)  # the other clusters are scanned all the same
                codes.append(error.exit_code)
                continue
            present = findings.rows(store, "f.cluster = ? AND f.presence = 'present'", (done.snapshot.cluster,))
            if output == "table":
                click.echo("\n" * bool(scanned), nl=False)
                show(store, done, present, request.time, clock.monotonic() - start)
            codes.append(_code(done, present, request.time, fail_on))
            scanned.append(done.snapshot.cluster)
        if output == "json" and scanned:
            from posture.commands.report import built

            printer.document(built(store, inputs, list(dict.fromkeys(scanned)), memory=path == MEMORY))
    return DRIFT if DRIFT in codes else max(codes)


def pause(most: float, chance: Callable[[], float], sleep: Callable[[float], object]) -> None:
    """Wait up to so many seconds, so that not all clusters' scans begin at once; `chance` gives 0 to 1."""
    if seconds := most * chance():
        click.echo(f"begins in {seconds:.0f} s", err=True)
        sleep(seconds)


def _reads(
    contexts: tuple[str, ...], paths: tuple[str, ...], namespaces: tuple[str, ...], kubeconfig: str | None,
    timeout: float, inputs: Inputs,
) -> list[Callable[[], Source]]:  # fmt: skip
    """What is to be scanned, each opened when its turn comes."""
    if paths:
        return [lambda: reading.folder(paths, inputs.config)]
    clusters = [sources.Cluster(context, kubeconfig, namespaces, timeout) for context in contexts or (None,)]
    return [functools.partial(sources.live, one) for one in clusters]


def _code(done: Scanned, present: Sequence[Row], now: str, fail_on: str | None) -> int:
    if fail_on:
        limit = SEVERITIES.index(fail_on)
        if any(row.rank <= limit and row.status(now) in ("open", "acknowledged") for row in present):
            return DRIFT
        if done.summary["unknown"]:
            return CANNOT_JUDGE  # also when it is the baseline that lacks something: a gate does not pass unseen
    return CANNOT_JUDGE if done.missing else OK


def show(store: Store, done: Scanned, present: Sequence[Row], now: str, seconds: float) -> None:
    """The result of a scan, as people read it."""
    for problem in done.problems:
        click.echo(f"{visible(problem.place, 300)}: {visible(problem.message, 500)}", err=True)
    for text in done.snapshot.assumed:
        click.echo(f"assumed: {visible(text, 300)}", err=True)
    open_now = [row for row in present if row.status(now) == "open"]
    statuses: Counter[str] = Counter(row.status(now) for row in present)
    lines = flowed(_headline(done, seconds), printer.width(), indent=INDENT)
    lines += flowed(_tally(done, open_now, statuses, kept=store.path != MEMORY), printer.width(), ", ", INDENT)
    for line in lines:
        for piece in printer.wrapped(line, INDENT):
            click.echo(piece)
    for line in group_lines(grouped(open_now, lambda row: findings.whole(store, row)), now):
        click.echo(line)
    if any(gap.reason == "not collected" for gap in done.snapshot.gaps):
        click.echo("only what -n names was read: grants of other namespaces and cluster-wide ones are not judged")
    for gap in done.snapshot.gaps:
        if gap.reason != "not collected":
            _echo(f"gap   {gap_place(gap.resource, gap.namespace)}: {gap.reason}, {visible(gap.message, 300)}")
    if done.summary["unknown"] and done.unagreed:
        what = listed(sorted({gap_place(gap.resource, gap.namespace) for gap in done.unagreed}))
        _echo(f"the baseline was approved without {what}: what they may grant was neither agreed to nor judged; "
              "approve a complete snapshot")  # fmt: skip


def _echo(text: str) -> None:
    for line in printer.wrapped(text, INDENT):
        click.echo(line)


def _headline(done: Scanned, seconds: float) -> list[str]:
    snapshot, approved = done.snapshot, done.approved
    version = str(snapshot.version or f"{resources.nearest(None)} assumed")
    agreed = [visible(file, 60) for file in done.files]
    if approved:
        why = f' "{visible(approved.why, 60)}"' if approved.why else ""
        agreed.insert(0, f"approved {approved.time[:10]} by {visible(approved.by, 60)}{why}")
    nothing = "no baseline yet: nothing is called drift, checks say what deserves a look"
    parts = [
        visible(done.name, 60),
        version,
        f"{count(done.summary['objects'], 'object')} in {seconds:.1f} s",
        f"baseline: {listed(agreed)}" if agreed else nothing,
    ]
    gaps = [gap for gap in snapshot.gaps if gap.reason != "not collected"]
    if gaps:
        parts.append(count(len(gaps), "gap"))
    return parts


def _tally(done: Scanned, open_now: Sequence[Row], statuses: Mapping[str, int], *, kept: bool) -> list[str]:
    events = [event.kind for event in done.events]
    words = {
        "opened": "new",
        "widened": "widened",
        "regressed": "regressed",
        "expired": "expired",
        "agreed": "agreed",
        "resolved": "resolved",
    }
    parts = [f"{events.count(kind)} {word}" for kind, word in words.items() if kind in events]
    passed = sum(event.kind == "resolved" and event.detail.startswith(TRANSIENT) for event in done.events)
    if passed:
        parts[-1] += f" ({passed} transient)"
    parts = parts or ["0 new"]
    parts.append(f"{len(open_now)} open")
    parts += [f"{statuses[one]} {one}" for one in ("acknowledged", "accepted", "false positive") if one in statuses]
    unowned = sum(one.unowned for one in open_now)
    if unowned:
        parts.append(f"{unowned} without an owner")
    if done.summary["unknown"]:
        parts.append(f"{done.summary['unknown']} unknown because of gaps")
    if done.summary["unevaluated"]:
        parts.append(f"{done.summary['unevaluated']} not evaluated")
    if done.summary["standing"]:
        shown = " (posture findings list --standing)" if done.approved else ""
        parts.append(f"{done.summary['standing']} standing{shown}")
    if kept and not done.approved and not done.files:
        parts.append("`posture baseline approve` agrees to what is possible today")
    return parts


WHOSE = 38
"""Columns of owner, age and group."""


def group_lines(groups: Sequence[Group], now: str) -> Iterator[str]:
    """Groups: what became possible, whose it is, through what, by whom. Two lines each, or as many as it takes."""
    width = printer.width()
    narrow = width < len(INDENT) + WHOSE + 56
    room = min(width - len(INDENT) - WHOSE - 2, 100)
    if groups:
        yield ""
    for group in groups:
        first, owners = group.first, group.owners
        owner = owners[0] if len(owners) == 1 else f"{len(owners)} owners"
        age = ago(first.causes[0].time or first.opened, parse_time(now)) if first.causes else ""
        whose = f"{printer.pad(cut(visible(owner), 14), 14)}  {printer.pad(age, 8)}  {first.group}"
        mark = f"{first.mark}: " if first.mark in ("widened", "regressed") else ""
        text = visible(mark + group.headline)
        way = f"through {visible(' → '.join(first.path), 300)}{_by(first.causes)}"
        severity = printer.severity(first.severity, 4)
        if narrow:
            start, *rest = printer.wrapped(INDENT + text, INDENT)
            yield f"{severity}  {start[len(INDENT) :]}"
            yield from (*rest, *printer.wrapped(INDENT + whose, INDENT), *printer.wrapped(INDENT + way, INDENT))
        else:
            yield f"{severity}  {printer.pad(cut(text, room), room)}  {whose}"
            yield INDENT + cut(way, width - len(INDENT))
        for line in _path(first.paths):
            yield from printer.wrapped(INDENT + line, INDENT + "  ")


def _path(paths: Sequence[AttackPath]) -> Iterator[str]:
    """The gravest path that a finding made possible, and who has a part in it."""
    for path in paths[:1]:
        owners = dict.fromkeys(step.owner for step in path.steps if step.owner)
        if owners or not path.steps:  # otherwise the headline says it
            hold = f": {listed([*owners])} each hold a step" if len(owners) > 1 else ""
            yield visible(f"so {reaching(path)}{hold}", 300)


def _by(causes: Sequence[Cause]) -> str:
    if not causes:
        return ""
    cause = causes[0]
    if cause.what == "server version":
        return f", by an upgrade: {visible(cause.actor, 60)}"
    what = f"{cause.what}{visible(made_by(cause_record(cause)), 200)}"
    more = f" and {count(len(causes) - 1, 'other change')}" if len(causes) > 1 else ""
    return f", {visible(called(cause.key).name, 60)} {what}{more}"
