"""posture findings: list, show, decide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from posture import actions, graph, pipeline, sources
from posture.drift.agreed import Yardstick
from posture.drift.lifecycle import TRANSIENT, lasted, was_possible
from posture.errors import OK, UsageError
from posture.graph.attribution import PATH, severity
from posture.graph.sentences import name as name_of
from posture.graph.sentences import with_others
from posture.groups import grouped
from posture.inputs import Inputs
from posture.model import SEVERITIES, AttackPath, Finding
from posture.report import _document
from posture.scan import agreed_of
from posture.store import Store, baselines, snapshots
from posture.store import findings as stored
from posture.store.decisions import Deed
from posture.text import ago, count, format_time, listed, parse_time, visible

from . import fixes, options, printer


def _statuses(tally: Mapping[str, int]) -> list[str]:
    """The status that all members share, or how many have which."""
    return [f"{number} {status}" if len(tally) > 1 else status for status, number in tally.items()]


def _newcomers(group: Mapping[str, Any]) -> str:
    """` (+2)` where two members joined a group that was known."""
    return f" (+{group['new']})" if 0 < group["new"] < group["count"] else ""


NAMES = [*(domain.NAME for domain in pipeline.DOMAINS), graph.NAME]
STATUSES = ("open", "acknowledged", "accepted", "false positive", "agreed", "unknown", "resolved")
COLUMNS = (
    printer.Column("GROUP", lambda one: one["id"]),
    printer.Column("SEVERITY", lambda one: one["severity"]),
    printer.Column("STATUS", lambda one: ", ".join(_statuses(one["status"]))),
    printer.Column("COUNT", lambda one: f"{one['count']}{_newcomers(one)}"),
    printer.Column("OWNER", lambda one: ", ".join(one["owners"][:2]) + (" …" if len(one["owners"]) > 2 else "")),
    printer.Column("CHECK", lambda one: one["rule"], wide=True),
    printer.Column("THROUGH", lambda one: f"{one['through']['kind']} {one['through']['name']}", wide=True),
    printer.Column("FINDING", lambda one: one["message"]),
)  # fmt: skip
MEMBERS = (
    printer.Column("ID", lambda one: one["id"][:12]),
    printer.field("SEVERITY", "severity"),
    printer.field("STATUS", "status"),
    printer.field("MARK", "mark"),
    printer.field("OWNER", "owner"),
    printer.field("OWNER WHY", "ownerWhy", wide=True),
    printer.field("FINDING", "message"),
)  # fmt: skip


PASSED = (
    *MEMBERS[:-1],
    printer.field("SINCE", "opened"),
    printer.Column("FOR", lambda one: _passed(one).removeprefix("was possible for ")),
    MEMBERS[-1],
)


@click.group(cls=options.Group)
def findings() -> None:
    """List, show and decide about findings.

    An ID is a finding's or a group's, or the beginning of one; a group stands for all of its findings.
    """


@findings.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([*STATUSES, "all"]),
    help="Which ones; may be repeated. [default: open, acknowledged and unknown]",
)
@click.option("--severity", type=options.severity, help="At least this severe.")
@click.option("--owner", default="", help="Whose.")
@click.option("-n", "--namespace", default="", help="Of subjects or scopes in this namespace.")
@click.option("--domain", type=click.Choice(NAMES), help="Only of this domain.")
@click.option("--new", "only_new", is_flag=True, help="Only new, widened and regressed ones.")
@click.option("--transient", is_flag=True, help="What was possible for five minutes at most, and is resolved.")
@click.option("--members", is_flag=True, help="Every finding instead of groups.")
@click.option("--standing", is_flag=True, help="What checks found when the baseline was approved: agreed, not drift.")
@options.named_cluster
@options.output
@options.database
@options.configuration
def list_(
    statuses: tuple[str, ...], severity: str | None, owner: str, namespace: str, domain: str | None, only_new: bool,
    transient: bool, members: bool, standing: bool, cluster: str, output: str, db: str | None, config_path: Path | None,
) -> int:  # fmt: skip
    """List groups of findings, or single findings with --members."""
    now = format_time(sources.now_utc())
    with options.store_of(db, config_path) as store:
        if standing:
            if statuses or owner or only_new or transient or members:
                raise UsageError(
                    "--standing lists what was agreed to, which has no status, owner or mark",
                    "leave out --status, --owner, --new, --transient and --members",
                )
            records = [
                one for one in _standing(store, options.inputs_of(config_path), cluster)
                if (not severity or SEVERITIES.index(one["severity"]) <= SEVERITIES.index(severity))
                and (not namespace or namespace in (one["scope"], _home(one["subject"])))
                and (not domain or domain == one["domain"])
            ]  # fmt: skip
            printer.emit(records, STANDING, output, name="subject", empty="nothing is standing")
            return OK
        where, args = ("f.cluster = ?", (sources.cluster_of(store, cluster),)) if cluster else ("", ())
        wanted = set(statuses or (("all",) if transient else ("open", "acknowledged", "unknown")))
        found = [
            one for one in stored.rows(store, where, args)
            if ("all" in wanted or one.status(now) in wanted)
            and (not severity or one.rank <= SEVERITIES.index(severity))
            and (not owner or owner == one.whose)
            and (not namespace or namespace in (one.scope, _home(one.subject)))
            and (not domain or domain == one.domain)
            and (not only_new or one.mark not in ("", TRANSIENT))
            and (not transient or one.mark == TRANSIENT)
        ]  # fmt: skip
        empty = "nothing to show; `posture findings list --status all` shows every finding"
        if members or transient:  # each was there for its own time
            each = sorted((stored.whole(store, one) for one in found), key=_document.order)
            records = [_document.finding_record(one, now, _permissions, {}, history=True) for one in each]
            printer.emit(records, PASSED if transient else MEMBERS, output, empty=empty)
        else:
            groups = grouped(found, lambda row: stored.whole(store, row))
            printer.emit([_document.group_record(one, now) for one in groups], COLUMNS, output, empty=empty)
    return OK


def _home(subject: str) -> str:
    """The namespace that a subject lives in; users and groups live in none, whatever they are called."""
    kind, _, name = subject.partition(":")
    return name.partition("/")[0] if kind == "serviceaccount" else ""


def _permissions(domain: str, units: Any) -> Any:
    return pipeline.domain_of(domain).permissions(units)


STANDING = tuple(printer.field(name.upper(), name) for name in ("severity", "check", "subject", "scope", "path"))


def _standing(store: Store, inputs: Inputs, cluster: str) -> list[dict[str, Any]]:
    """What was agreed to though a check holds there: found anew, since it is never a finding."""
    one = sources.cluster_of(store, cluster)
    approved, revision = baselines.latest(store, one), snapshots.latest(store, one)
    if revision is None or not (approved or inputs.config.baseline):
        raise UsageError("there is no baseline yet, so nothing is standing", "`posture baseline approve` makes one")
    loaded = snapshots.load(store, one, revision).snapshot
    snapshot = replace(loaded, settings=inputs.rules.at(revision.time).settings)
    agreed = agreed_of(store, snapshot, approved, inputs)
    records: list[dict[str, Any]] = []
    checks = {check.id: check for check in inputs.rules.applying(snapshot)}
    for domain in pipeline.DOMAINS:
        live = domain.evaluate(snapshot)
        matcher = domain.Matcher(checks.values())
        yardstick = Yardstick(domain, matcher, live, agreed, pipeline.NAMESPACED)
        gains, _ = yardstick.gains(live)
        hits = yardstick.standing(live)
        for subject, scope, through in sorted({(hit.subject, hit.scope, hit.through) for hit in hits} - gains.keys()):
            change = domain.as_change(matcher, live, (subject, scope), through)
            held = sorted(
                domain.reasons(matcher, change, live), key=lambda check: (SEVERITIES.index(check.severity), check.id)
            )
            records.append({"domain": domain.NAME, "subject": subject, "scope": scope, "through": str(through),
                            "severity": held[0].severity, "check": held[0].id, "title": held[0].title,
                            "path": " → ".join(change.path)})  # fmt: skip
    return sorted(
        records, key=lambda row: (SEVERITIES.index(row["severity"]), row["check"], row["subject"], row["scope"])
    )


@findings.command("show")
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--fix", "only_fix", is_flag=True, help="Print the checked fix as YAML; posture never applies it.")
@options.named_cluster
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@options.database
@options.configuration
def show(
    ids: tuple[str, ...], only_fix: bool, cluster: str, output: str, db: str | None, config_path: Path | None
) -> int:
    """Show findings with cause, owner, reasons and fix."""
    now = format_time(sources.now_utc())
    with options.store_of(db, config_path) as store:
        found = actions.find(store, ids, cluster)
    if only_fix:
        return _fixes(found)
    checks = {check.id: check for check in options.inputs_of(config_path).checks}
    records = [_document.finding_record(one, now, _permissions, checks, history=True) for one in found]
    if output == "json":
        printer.document(records)
        return OK
    for number, record in enumerate(records):
        if number:
            click.echo()
        for line in _lines(record, now):
            click.echo(line)
    return OK


SHOWN_REASONS, SHOWN_GAINED, SHOWN_PATHS = 6, 12, 4
STEP = " "
"""In the place of a row's name: a step of the row above."""


def _lines(record: dict[str, Any], now: str) -> list[str]:
    lines = printer.wrapped(" " * 5 + record["message"], " " * 5)
    lines[0] = printer.severity(record["severity"], 4) + lines[0][4:]

    def row(name: str, text: str) -> None:
        indent = " " * (14 if name == STEP else 12)
        lines.extend(printer.wrapped(f"  {name.strip():<10}{text}", indent))

    row("id", f"{record['id']}   group {record['group']}")
    row("status", record["status"] + (f", {record['mark']}" if record["mark"] else "") + _decided(record["decision"]))
    passed = f", {_passed(record)}" if record["mark"] == TRANSIENT else ""
    row("since", f"{record['opened']} ({ago(record['opened'], parse_time(now))}){passed}")
    row(
        "owner",
        f"{record['owner']}: {record['ownerWhy']}" + (f"; told: {', '.join(record['told'])}" if record["told"] else ""),
    )
    for cause in record["causes"]:
        key = cause["object"]
        name = "/".join(part for part in (key.get("namespace"), key["name"]) if part)
        by = _document.made_by(cause)
        row("cause", f"{key.get('kind') or key['resource']} {name} {cause['what']}{by} {cause['time']}".rstrip())
        if one := cause["audit"]:
            row("", f"{one['request']} with {one['userAgent'] or 'an unnamed client'} (audit {one['id']})")
    reasons = [one for one in record["reasons"] if not (record["attackPaths"] and one["check"].startswith(PATH))]
    for number, reason in enumerate(reasons[:SHOWN_REASONS]):
        row("check", f"{reason['check']} ({reason['severity']}): {reason['title']}")
        if number == 0 and "why" in reason:
            row("", reason["why"])
            row("", reason["remedy"])
    if len(reasons) > SHOWN_REASONS:
        row("", f"and {count(len(reasons) - SHOWN_REASONS, 'more check')}, see -o json")
    for head, text in _paths(record["attackPaths"]):
        row(head, text)
    gained = [*_folded(record["gained"])]
    for text in gained[:SHOWN_GAINED]:
        row("gained", text)
    if len(gained) > SHOWN_GAINED or not record["gainedComplete"]:
        more = "" if record["gainedComplete"] else "more than "
        row("", f"and more: {more}{count(len(record['gained']), 'permission')} in all, see -o json")
    if record["fix"]:
        row("fix", f"{record['fix']['text']}   (checked; --fix prints it)")
        for text in record["fix"]["breaks"]:
            row("", f"also: {text}")
        for text in record["fix"]["stays"]:
            row("", f"but: {text}")
    else:
        row("fix", f"none found: {record['noFix']}")
    return lines


def _paths(paths: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Attack paths, those to one target together, the first with its steps."""
    by_sink: dict[str, list[Mapping[str, Any]]] = {}
    for path in paths:
        by_sink.setdefault(path["sink"], []).append(path)
    for sink, mine in [*by_sink.items()][:SHOWN_PATHS]:
        others = {path["source"]: path["others"] for path in mine}  # a source may have several paths
        first = AttackPath(mine[0]["source"], sink, (), len(others) - 1 + sum(others.values()))
        yield "path", f"{with_others(first.source, first.others)} → {name_of(sink)} ({severity(first)})"
        for number, step in enumerate(mine[0]["steps"] if sink == paths[0]["sink"] else (), 1):
            whose = f"   [{step['owner']}, {step['finding'][:8]}]" if step["finding"] else ""
            yield STEP, f"{number} {step['text']}{whose}"
        if not mine[0]["steps"]:
            yield "", "its steps were not looked for, as there are many new paths: posture explain path shows them"
    if len(by_sink) > SHOWN_PATHS:
        yield "", f"and paths to {count(len(by_sink) - SHOWN_PATHS, 'more target')}, see -o json"


def _folded(gained: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What was gained, a line each; violations of one control in one line."""
    lines: dict[str, list[str]] = {}
    for one in gained:
        parts = (f"{name}={text!r}" if text == "" else f"{name}={text}"
                 for name, text in one.items() if name != "violation")  # fmt: skip
        lines.setdefault(" ".join(parts), []).extend([one["violation"]] if "violation" in one else [])
    for line, violations in lines.items():
        first = [text.partition(":")[2] or text for text in violations]
        yield line + (f": {listed(first, 2)}" if first else "")


def _passed(record: Mapping[str, Any]) -> str:
    """How long a transient finding was possible."""
    return was_possible(lasted(record["opened"], record["resolved"]))


def _decided(decision: dict[str, str] | None) -> str:
    if decision is None:
        return ""
    until = f" until {decision['until'][:10]}" if decision["until"] else ""
    reason = f': "{decision["reason"]}"' if decision["reason"] else ""
    return f" ({decision['action']} by {decision['by']}{until}{reason})"


def _fixes(found: Sequence[Finding]) -> int:
    """The checked fixes of findings."""
    for finding in found:
        if finding.fix is None:
            click.echo(f"{finding.fingerprint[:12]}: no fix was found: {visible(finding.no_fix)}", err=True)
    fixes.emit((one.fix.text, edit) for one in found if one.fix is not None for edit in one.fix.edits)
    return OK


@findings.command("history")
@click.argument("identity", metavar="ID")
@options.named_cluster
@options.output
@options.database
@options.configuration
def history(identity: str, cluster: str, output: str, db: str | None, config_path: Path | None) -> int:
    """What happened to a finding and what was decided, oldest first."""
    with options.store_of(db, config_path) as store:
        records = [
            {"id": finding.fingerprint, "time": time, "what": what, "detail": detail}
            for finding in actions.find(store, [identity], cluster)
            for time, what, detail in stored.history(store, finding)
        ]
    columns = [
        printer.Column("ID", lambda one: one["id"][:12]),
        *(printer.field(n.upper(), n) for n in ("time", "what", "detail")),
    ]
    printer.emit(records, columns, output)
    return OK


def _decide(
    action: Any, ids: tuple[str, ...], cluster: str, db: str | None, config_path: Path | None, **deed: Any
) -> int:
    now = sources.now_utc()
    if deed.get("until"):
        deed["until"] = actions.until(deed["until"], now)
    with options.store_of(db, config_path) as store:
        found = actions.find(store, ids, cluster)
        number = actions.decide_on(store, found, Deed(action, deed.pop("by"), format_time(now), **deed))
    click.echo(f"{count(number, 'finding')} {action}", err=True)
    return OK


def _decision(name: str, action: str, text: str, *extra: Any, required: bool = False) -> None:
    """Make one of the deciding commands: they differ in a word and a flag."""

    def command(**given: Any) -> int:
        return _decide(action, **given)

    command.__doc__ = text
    decorators = [
        findings.command(name), click.argument("ids", nargs=-1, required=True, metavar="ID…"), *extra,
        options.by_and_reason(required=required), options.named_cluster, options.database, options.configuration,
    ]  # fmt: skip
    for decorate in reversed(decorators):
        command = decorate(command)


_decision("ack", "acknowledged", "Acknowledge findings: they are seen, and somebody works on them.")
_decision("assign", "assigned", "Assign findings to another owner; no rule overrides it.",
          click.option("--to", "assignee", default="", type=options.text, help="The owner (required)."))  # fmt: skip
_decision(
    "accept",
    "accepted",
    "Accept findings until a date, with a reason. It covers what was gained by now; more comes back as widened.",
    click.option("--until", default="", metavar="DATE", help="2027-01-31, or 30d (required)."),
    required=True,
)
_decision("false-positive", "false positive", "Mark findings as false, with a reason.", required=True)
_decision("reopen", "reopened", "Open findings again that were decided about.")
