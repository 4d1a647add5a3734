"""posture exceptions: the register of everything that takes a subject out of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import click

from posture import admission
from posture.admission.edits import removed
from posture.admission.enforcement import bits
from posture.admission.gaps import named_through
from posture.admission.register import FACTS, Entry, State
from posture.admission.sentences import phrase
from posture.admission.violations import VIOLATIONS
from posture.errors import OK, UsageError
from posture.kinds import manifest
from posture.model import INCOMPLETE, Snapshot, fingerprint
from posture.text import ago, count, listed, parse_time, visible

from . import options, printer

STATES = (*get_args(State.__value__), "expired but active", "self-exemptable")


def _opens(record: Mapping[str, Any]) -> str:
    controls = {control for row in record["opens"] for control in row["controls"]}
    if not controls:
        return "unknown" if record["mayOpen"] else ""
    places = [row["namespace"] or "the cluster" for row in record["opens"]]
    return f"{count(len(controls), 'control')} in {listed(places, 2)}"


COLUMNS = (
    printer.Column("ID", lambda one: one["id"]),
    printer.Column("STATE", lambda one: ", ".join(one["states"])),
    printer.Column("OPENS", _opens),
    printer.Column("SERVES", lambda one: str(len(one["serves"]))),
    printer.Column("OWNER", lambda one: one["owner"]["text"]),
    printer.Column("EXPIRES", lambda one: one["expires"]["text"][:10]),
    printer.Column("AGE", lambda one: one["age"]),
    printer.Column("ENGINE", lambda one: ", ".join(one["engines"]), wide=True),
    printer.Column("TICKET", lambda one: one["ticket"]["text"], wide=True),
    printer.Column("REASON", lambda one: one["reason"]["text"], wide=True),
    printer.Column("POLICIES", lambda one: ", ".join(one["policies"]), wide=True),
    printer.Column("EXCEPTION", lambda one: one["exception"]),
)  # fmt: skip


@click.group(cls=options.Group)
def exceptions() -> None:
    """List and show everything that takes a subject out of a policy, whatever the engine.

    used: something that runs would be refused without it. unused: it opens something, and nothing needs that. inert:
    nothing would be refused without it. expired, misplaced: it takes nothing out any more, or never did.
    """


@exceptions.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; may be repeated.")
@click.option("-n", "--namespace", default="", help="Of this namespace, or opening something in it.")
@click.option("--owner", default="", help="Whose.")
@click.option("--engine", default="", type=click.Choice(["", *admission.ENGINES]), help="Only of this engine.")
@options.output
@options.asked_of
def list_(
    ask: Callable[..., Snapshot], states: tuple[str, ...], namespace: str, owner: str, engine: str, output: str
) -> int:
    """List exceptions: their state, what they open, whom they serve, whose they are and until when."""
    records = [
        one for one in _records(ask)
        if (not states or set(states) & set(one["states"]))
        and (not namespace or namespace in (one["namespace"], *(row["namespace"] for row in one["opens"])))
        and (not owner or owner == one["owner"]["text"])
        and (not engine or engine in one["engines"])
    ]  # fmt: skip
    printer.emit(records, COLUMNS, output, name="name", empty="there is no exception")
    return OK


@exceptions.command("show")
@click.argument("name", metavar="ID|NAME")
@click.option("--fix", is_flag=True, help="What takes it away, as YAML that kubectl apply takes.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
@options.asked_of
def show(ask: Callable[..., Snapshot], name: str, fix: bool, output: str) -> int:
    """Show one exception: what it opens and where, whom it serves, and who says so."""
    result = _result(ask)
    found = [entry for entry in admission.register(result).values()
             if identity(entry).startswith(name) or str(entry.through) == name]  # fmt: skip
    if len(found) != 1:
        what = "there is no exception" if not found else "there are several exceptions"
        raise UsageError(f"{what} {visible(name, 100)}", "`posture exceptions list` shows them all")
    record = _record(found[0], result.snapshot.settings.get("now", ""))
    if fix:
        _fix(found[0], result)
    elif output == "table":
        _say(record)
    else:
        printer.emit([record], COLUMNS, output)
    return OK


def identity(entry: Entry) -> str:
    """What an exception is called in short: the same in every cluster."""
    return fingerprint("exception", *entry.through)[:12]


def _result(ask: Callable[..., Snapshot]) -> admission.Admission:
    snapshot = ask(roles=False)
    for gap in snapshot.gaps:
        if gap.resource in admission.READS and gap.reason in INCOMPLETE:
            click.echo(f"gap: {visible(gap.resource)}: {visible(gap.message, 300)}", err=True)
    return admission.evaluate(snapshot)


def _records(ask: Callable[..., Snapshot]) -> list[dict[str, Any]]:
    result = _result(ask)
    now = result.snapshot.settings.get("now", "")
    return [_record(entry, now) for entry in admission.register(result).values()]


def _record(entry: Entry, now: str) -> dict[str, Any]:
    """An exception as JSON."""
    record: dict[str, Any] = {
        "id": identity(entry), "name": str(entry.through),
        "exception": f"{named_through(entry.through)} {entry.exemption.what}",
        "kind": entry.through.kind, "namespace": entry.through.namespace,
        "engines": sorted({policy.engine for policy in entry.policies}),
        "policies": sorted({named_through(policy.through_in(entry.through.namespace)) for policy in entry.policies}),
        "state": entry.state, "states": list(entry.states),
        "why": entry.exemption.idle, "labels": list(entry.exemption.labels),
        "opens": [_opened(name, mask) for name, mask in sorted(entry.opens.items())],
        "mayOpen": sorted(entry.maybe), "serves": list(entry.serves),
        "created": entry.created, "age": _age(entry.created, now),
    }  # fmt: skip
    for name in FACTS:
        text, where = entry.facts.get(name, ("", ""))
        record[name] = {"text": text, "from": where}
    return record


def _age(created: str, now: str) -> str:
    return ago(created, parse_time(now)).removesuffix(" ago") if created and now else ""


def _opened(namespace: str, mask: int) -> dict[str, Any]:
    controls: dict[str, list[str]] = {}
    for number in bits(mask):
        controls.setdefault(VIOLATIONS[number].control, []).append(VIOLATIONS[number].id)
    return {"namespace": namespace, "controls": controls}


def _say(record: Mapping[str, Any]) -> None:
    rows: list[tuple[str, str]] = [
        ("exception", record["exception"]), ("id", record["id"]), ("name", record["name"]),
        ("state", ", ".join(record["states"]) + (f": {record['why']}" if record["why"] else "")),
        ("policies", listed(record["policies"], 5)),
        *((name, _fact(record[name])) for name in FACTS),
        ("created", f"{record['created']} ({record['age']} ago)" if record["created"] else ""),
        ("labels", ", ".join(record["labels"]) and f"whoever sets {', '.join(record['labels'])} has it"),
    ]  # fmt: skip
    rows += [
        ("opens", f"{row['namespace'] or 'the cluster'}: {listed([phrase(one) for one in row['controls']], 8)}")
        for row in record["opens"]
    ]
    rows += [("serves", workload) for workload in record["serves"]]
    for title, text in rows:
        if text:
            for line in printer.wrapped(f"{title:<10} {text}", " " * 11):
                click.echo(line)


def _fact(fact: Mapping[str, str]) -> str:
    return f"{fact['text']} (said by {fact['from']})" if fact["text"] else ""


def _fix(entry: Entry, result: admission.Admission) -> None:
    """The edits that take an exception away."""
    exemption = entry.exemption
    found = removed(result.snapshot, entry.through.namespace, exemption.removal, local=exemption.local,
                    label=entry.through.name)  # fmt: skip
    if not found:
        raise UsageError("it is no object of the cluster", "take it out of the file that says it")
    for one in found:
        if one.new is None:
            click.echo(f"# delete {visible(admission.named(one.key))}")
        else:
            printer.yaml_documents([manifest(one.key, one.new)])
    for workload in entry.serves:
        click.echo(f"# {visible(workload)} would be refused when it is made again")
