"""posture exceptions: the register of everything that takes a subject out of a policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import click

from posture import admission
from posture.admission.edits import removed
from posture.admission.gaps import deciding
from posture.admission.register import FACTS, Entry, State
from posture.admission.sentences import phrase
from posture.admission.workloads import WORKLOADS
from posture.drift.causes import edit_of
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.model import CLUSTER_SCOPE, INCOMPLETE, Snapshot
from posture.report import _exceptions
from posture.text import ago, count, gap_place, listed, parse_time, visible

from . import fixes, options, printer

STATES = (*get_args(State.__value__), "expired but active", "self-exemptable")
SHORTEST_ID = 4
SHOWN = 20
"""Lines of a sort that `show` has in its table."""


def _columns(now: str) -> tuple[printer.Column, ...]:
    def age(one: printer.Record) -> str:
        return ago(one["created"], parse_time(now)).removesuffix(" ago") if one["created"] and now else ""

    return (
        printer.field("ID", "id"),
        printer.field("STATE", "state"),
        printer.Column("OPENS", _opens),
        printer.Column("SERVES", lambda one: str(one["servesCount"])),
        printer.Column("OWNER", lambda one: _text(one, "owner")),
        printer.Column("EXPIRES", lambda one: _text(one, "expires")[:10]),
        printer.Column("AGE", age),
        printer.Column("ENGINE", lambda one: ", ".join(one["engines"]), wide=True),
        printer.Column("TICKET", lambda one: _text(one, "ticket"), wide=True),
        printer.Column("REASON", lambda one: _text(one, "reason"), wide=True),
        printer.Column("APPROVED", lambda one: _text(one, "approved"), wide=True),
        printer.Column("POLICIES", lambda one: ", ".join(one["policies"]), wide=True),
        printer.Column("EXCEPTION", _titled),
    )


def _text(record: Mapping[str, Any], name: str) -> str:
    return record[name]["text"] if record[name] else ""


def _opens(record: Mapping[str, Any]) -> str:
    """How many controls, and where: `11 in lab`, `11 in 4 ns`; `3? in lab` where nobody can say for sure."""
    for rows, number, word in ((record["opens"], record["opensIn"], ""), (record["mayOpen"], record["mayOpenIn"], "?")):
        controls = {one["control"] for row in rows for one in row["controls"]}
        if controls:
            return f"{len(controls)}{word} in {rows[0]['namespaces'][0] if number == 1 else f'{number:,} ns'}"
    return ""


def _titled(record: Mapping[str, Any]) -> str:
    return str(record["exception"]) + (f" ({', '.join(record['also'])})" if record["also"] else "")


@click.group(cls=options.Group)
def exceptions() -> None:
    """List and show everything that takes a subject out of a policy, whatever the engine.

    used: something that runs would be refused without it. unused: it opens something, and nothing needs that. inert:
    nothing would be refused without it. expired, misplaced: it takes nothing out any more, or never did. built in: it
    comes with the engine. unknown: what it takes out cannot be evaluated.
    """


@exceptions.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; may be repeated.")
@click.option("-n", "--namespace", default="", help="Of this namespace, or opening something in it.")
@click.option("--owner", default="", help="Whose.")
@click.option("--without", multiple=True, type=click.Choice(FACTS), help="Of which nobody said this; may be repeated.")
@click.option("--engine", default="", type=click.Choice(["", *admission.ENGINES]), help="Only of this engine.")
@options.output
@options.asked_of
def list_(
    ask: Callable[..., Snapshot], states: tuple[str, ...], namespace: str, owner: str, without: tuple[str, ...],
    engine: str, output: str,
) -> int:  # fmt: skip
    """List exceptions: their state, what they open, whom they serve, whose they are and until when.

    First come those that nobody uses, then those past their end, those that any tenant can have, and those that are
    used and lack an owner or an end.
    """
    result = admission.evaluate(ask(roles=False))
    found = [
        one for one in _entries(result)
        if (not states or set(states) & set(one.states))
        and (not namespace or namespace in (one.through.namespace, *one.opens, *one.maybe))
        and (not owner or owner == one.fact("owner"))
        and not any(map(one.fact, without))
        and (not engine or engine in {policy.engine for policy in one.policies})
    ]  # fmt: skip
    now = result.snapshot.settings.get("now", "")
    printer.emit([_exceptions.record(one) for one in found], _columns(now), output, name="name",
                 empty="there is no exception")  # fmt: skip
    if found and output in ("table", "wide"):
        click.echo(visible(_tally(found)), err=True)
    return _doubts(result.snapshot)


def _tally(found: Sequence[Entry]) -> str:
    """How many exceptions are in which state."""
    states = Counter(state for one in found for state in one.states)
    return f"{count(len(found), 'exception')}: {', '.join(f'{states[one]:,} {one}' for one in STATES if states[one])}"


@exceptions.command("show")
@click.argument("name", metavar="ID|NAME")
@click.option("--fix", is_flag=True, help="What takes it away, as YAML; posture never applies it.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@options.asked_of
def show(ask: Callable[..., Snapshot], name: str, fix: bool, output: str) -> int:
    """Show one exception: what it opens and where, whom it serves, and who says so.

    ID is its id or the beginning of that, NAME what `list -o name` prints.
    """
    result = admission.evaluate(ask(roles=False))
    entry = _named(_entries(result), name)
    if fix:
        _fix(entry, result)
    elif output == "table":
        for title, text in _rows(entry, _exceptions.record(entry), result.snapshot.settings.get("now", "")):
            for line in printer.wrapped(f"{title:<10} {text}", " " * 11):
                click.echo(line)
    else:
        record = _exceptions.record(entry) | {"violations": _exceptions.violations(entry)}
        printer.emit([record], (), output)
    return _doubts(result.snapshot)


def _entries(result: admission.Admission) -> list[Entry]:
    return sorted(admission.register(result).values(), key=_exceptions.order)


def _named(entries: Sequence[Entry], name: str) -> Entry:
    """The exception of a name or of the beginning of an id. Raises UsageError."""
    found = [one for one in entries if str(one.through) == name]
    if not found and len(name) >= SHORTEST_ID and re.fullmatch(r"[0-9a-f]+", name):
        found = [one for one in entries if _exceptions.identity(one).startswith(name)]
    if len(found) > 1:
        raise UsageError(f"{visible(name, 100)} is the beginning of several ids", "write more of it")
    if not found:
        raise UsageError(f"there is no exception {visible(name, 200)}", "`posture exceptions list` shows them all")
    return found[0]


def _doubts(snapshot: Snapshot) -> int:
    """Say what was not read, or cannot be evaluated; the exit code."""
    kinds = {"*", *deciding(snapshot), *WORKLOADS}
    gaps = [gap for gap in snapshot.gaps if gap.resource in kinds and gap.reason != "not collected"]
    for gap in gaps:
        more = "; there may be more, and what seems unused may be used" if gap.reason in INCOMPLETE else ""
        text = f"gap: {gap_place(gap.resource, gap.namespace)}: {gap.reason}, {visible(gap.message, 300)}{more}"
        for line in printer.wrapped(text, "     "):
            click.echo(line, err=True)
    return CANNOT_JUDGE if any(gap.reason in INCOMPLETE for gap in gaps) else OK


def _rows(entry: Entry, record: Mapping[str, Any], now: str) -> Iterator[tuple[str, str]]:
    """What `show` says, each with its title."""
    yield "exception", record["exception"]
    yield "id", record["id"]
    yield "name", record["name"]
    yield "state", ", ".join(entry.states) + (f": {record['why']}" if record["why"] else "")
    yield "policies", listed(record["policies"], 5)
    for name in FACTS:
        if record[name]:
            yield name, f"{record[name]['text']} (said by {record[name]['from']})"
    missing = [name for name in FACTS if not record[name]]
    if missing:
        yield "unsaid", ", ".join(missing)
    if record["created"]:
        yield "created", f"{record['created']} ({ago(record['created'], parse_time(now))})"
    if record["labels"]:
        yield "labels", f"whoever sets {listed(record['labels'], 5)} has it"
    yield from _bounded("opens", [_opened(row) for row in record["opens"]])
    yield from _bounded("may open", [_opened(row) for row in record["mayOpen"]])
    yield from _bounded("serves", record["serves"])


def _bounded(title: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts[:SHOWN]:
        yield title, text
    if len(texts) > SHOWN:
        yield "", f"and {len(texts) - SHOWN:,} more, see -o json"


def _opened(row: Mapping[str, Any]) -> str:
    controls = [phrase(one["control"]) + (f" ({one['opened']} of {one['of']})" if one["opened"] < one["of"] else "")
                for one in row["controls"]]  # fmt: skip
    return f"{listed(_places(row['namespaces']), 5)}: {listed(controls, len(controls))}"


def _places(names: Sequence[str]) -> list[str]:
    return ["the cluster" if name == CLUSTER_SCOPE else name for name in names]


def _fix(entry: Entry, result: admission.Admission) -> None:
    """The edits that take an exception away, and whom that stops. Raises UsageError where there is none."""
    exemption = entry.exemption
    found = removed(result.snapshot, entry.through.namespace, exemption.removal, local=exemption.local,
                    label=entry.through.name)  # fmt: skip
    if not found:
        raise UsageError("it is no object of the cluster", "take it out of the file that says it")
    for _, workload in _bounded("", entry.serves):
        click.echo(f"# {visible(workload)} would be refused when its pods are made again")
    what = f"Take it away: it {exemption.what}"
    fixes.emit((what, edit_of(one)) for one in found)
