"""posture explain flow: may this pod reach that one, what decides it, and what would close it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from posture import network
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.kinds import manifest
from posture.model import INCOMPLETE, Snapshot
from posture.network import addresses, cni, exposure, pairs
from posture.network.closing import Closing, tightest
from posture.network.connectivity import Connectivity
from posture.network.flow import Answer, Question, Step, answer, namespaces_of
from posture.network.ports import shown
from posture.network.reach import Reaches
from posture.report import csv as report_csv
from posture.report._document import reference
from posture.text import count, gap_place, listed, visible

from . import balance, bulk, options, printer

ENTRIES = (exposure.SERVICES, exposure.INGRESSES, exposure.GATEWAYS, *exposure.ROUTES)
SHOWN_STOPS = 10
EXAMPLE = "posture explain flow pay/api pay/db TCP/5432"


@click.command("flow", short_help="May this pod, workload or address reach that one, and which policies decide?")
@click.argument("source", required=False, default="")
@click.argument("destination", required=False, default="")
@click.argument("port", required=False, default="", metavar="[PROTOCOL/]PORT")
@click.option("--why", is_flag=True, help="Every tier in order, and the tightest edit that closes it, as YAML.")
@click.option("--all", "everything", is_flag=True, help="Every pair that may talk, instead of one question.")
@click.option("--exposed", is_flag=True, help="The ways in from outside, and which addresses ingress lets in there.")
@click.option("-n", "--namespace", default="", help="With --all and --exposed: of this namespace only.")
@bulk.option
@click.option("-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@options.asked_of
def flow(
    ask: Callable[..., Snapshot], source: str, destination: str, port: str, why: bool, everything: bool,
    exposed: bool, namespace: str, batch: str | None, output: str,
) -> int:  # fmt: skip
    """May this pod, workload or address reach that one, and which policies decide?

    SOURCE and DESTINATION are NAMESPACE/POD, NAMESPACE/NAME of a workload, workload:NAMESPACE/NAME[Kind] or an IP
    address. PORT is the pod's, not a Service's; its protocol is TCP unless it says UDP/ or SCTP/.
    """
    _check(source, port, why=why, everything=everything, exposed=exposed, namespace=namespace, batch=batch,
           output=output)  # fmt: skip
    if batch:
        bulk.answered(batch, lambda: _answering(_result(ask, exposure.SERVICES)))
        return OK
    if everything or exposed:
        result = _result(ask, *(ENTRIES if exposed else ()))
        (_exposed if exposed else _all)(result, namespace, output)
        return _doubts(result.snapshot)
    question = _question(source, destination, port)
    result = _result(ask, exposure.SERVICES)
    try:
        said = answer(result, question)
    except ValueError as error:
        raise UsageError(visible(str(error), 300), f"for example: {EXAMPLE}") from error
    closing = tightest(result, question, said) if why and said.allowed else None
    if output == "json":
        printer.document(_record(said) | (_edit(closing) if why else {}))
    elif why:
        _reasons(question, said, closing)
    else:
        _say(question, said)
        _say_balance(result, question)
    return CANNOT_JUDGE if said.allowed is None else OK


def _result(ask: Callable[..., Snapshot], *also: str) -> Connectivity:
    """What may talk to what in the source that is asked; said besides when nothing there enforces it."""
    snapshot = ask(*also, roles=False)
    if why := cni.unenforced(snapshot):
        click.echo(visible(why, 300), err=True)
    return network.evaluate(snapshot)


def _check(
    source: str, port: str, *, why: bool, everything: bool, exposed: bool, namespace: str, batch: str | None,
    output: str,
) -> None:  # fmt: skip
    """Refuse what does not go together. Raises UsageError."""
    if batch:
        flags = "SOURCE, DESTINATION, PORT, --why, --all, --exposed and -n"
        bulk.alone(batch, asked=bool(source or why or everything or exposed or namespace), flags=flags)
    elif everything or exposed:
        if source or why or (everything and exposed):
            raise UsageError("--all and --exposed are questions of their own", "ask one thing at a time")
    elif not port:
        raise UsageError("SOURCE, DESTINATION and PORT are needed", EXAMPLE)
    elif namespace:
        raise UsageError("-n is for --all and --exposed", "write the namespace before the name: pay/api")
    if output == "csv" and not everything:
        raise UsageError("-o csv is for --all", "-o json holds the same for other questions")


def _question(source: str, destination: str, port: str) -> Question:
    protocol, slash, number = port.rpartition("/")
    try:
        given = {"source": source, "destination": destination, "port": int(number)}
        return Question.of(given | ({"protocol": protocol.upper()} if slash else {}))
    except ValueError as error:
        why = str(error) if number.isdecimal() else f"{visible(port, 60)} is no port"
        raise UsageError(visible(why, 200), "write TCP/5432, UDP/53 or 5432") from error


def _answering(result: Connectivity) -> bulk.Answering:
    return lambda given: _record(answer(result, Question.of(given)))


# One answer ---------------------------------------------------------------------------------------------------------


def _record(said: Answer) -> dict[str, Any]:
    record: dict[str, Any] = {"allowed": said.allowed, "by": [_step(step) for step in said.by]}
    return record | ({"why": said.why} if said.why else {})


def _step(step: Step) -> dict[str, Any]:
    found = {
        "direction": step.direction, "tier": step.tier, "policy": network.named(step.policy) if step.policy else "",
        "rule": step.rule, "action": step.action, "reason": step.reason,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value not in ("", None)} | (
        {} if step.sure else {"sure": False}
    )


def _headline(question: Question, said: Answer) -> str:
    word = {True: "allowed", False: "denied", None: "unknown"}[said.allowed]
    text = f"{word}: {question.source} → {question.destination} on {question.protocol} {question.port}"
    return f"{text}: {said.why}" if said.why else text


def _say(question: Question, said: Answer) -> None:
    for line in (_headline(question, said), *(f"  {_shown(step)}" for step in said.by)):
        for piece in printer.wrapped(line, " " * 4):
            click.echo(piece)


def _shown(step: Step) -> str:
    who = network.named(step.policy) + (f", rule {step.rule}" if step.rule is not None else "") if step.policy else ""
    tier = f" ({step.tier} tier)" if step.tier in ("Admin", "Baseline") else ""
    what = step.reason if step.policy is None else f"{who}{tier}: {step.action}"
    doubt = f", {step.reason}" if step.reason and step.policy is not None else ""
    return f"{step.direction:<8} {what}{doubt}"


TIERS = ("Admin", "NetworkPolicy", "Baseline", "default")


def _reasons(question: Question, said: Answer, closing: Closing | None) -> None:
    """Each tier at both ends and what else would stop, as comments above the manifests."""
    lines = [_headline(question, said)]
    for direction in ("egress", "ingress"):
        steps = [step for step in said.by if step.direction == direction]
        last = max((TIERS.index(step.tier) for step in steps if step.tier in TIERS), default=-1)
        for tier in TIERS[: last + 1]:
            mine = [_shown(step) for step in steps if step.tier == tier]
            lines += [f"  {line}" for line in mine or [f"{direction:<8} {tier}: nothing decides"]]
        lines += [f"  {_shown(step)}" for step in steps if step.tier not in TIERS]
    if closing is not None:
        lines += [f"closed by: {closing.text} (checked)", *_stops(closing)]
    elif said.allowed:
        lines.append("closed by: no edit was found")
    for line in lines:
        click.echo(f"# {visible(line)}")
    if closing is not None:
        printer.yaml_documents([manifest(one.key, one.new) for one in closing.changed if one.new is not None])


def _stops(closing: Closing) -> Iterator[str]:
    if not closing.stops:
        yield "nothing else stops"
        return
    yield f"what stops with it: {count(len(closing.stops), 'other connection')}"
    for one in closing.stops[:SHOWN_STOPS]:
        lost = one.before._replace(accept=one.before.accept & ~one.after.accept)
        yield f"  {one.source} → {one.destination}: {pairs.conn(lost)}"
    if len(closing.stops) > SHOWN_STOPS:
        yield f"  and {len(closing.stops) - SHOWN_STOPS:,} more"


def _edit(closing: Closing | None) -> dict[str, Any]:
    if closing is None:
        return {"edit": None}
    stops = [
        {"source": one.source, "destination": one.destination, "before": pairs.conn(one.before),
         "after": pairs.conn(one.after)}
        for one in closing.stops
    ]  # fmt: skip
    edits = [{"object": reference(one.key), "manifest": manifest(one.key, one.new)}
             for one in closing.changed if one.new is not None]  # fmt: skip
    return {"edit": {"text": closing.text, "edits": edits, "stops": stops}}


def _say_balance(result: Connectivity, question: Question) -> None:
    """What was opened and closed in these namespaces since the baseline, where a stored snapshot was asked."""
    stored = click.get_current_context().meta.get(options.STORED)
    if stored is not None:
        store, inputs = stored
        for line in balance.lines(store, inputs, result.snapshot, namespaces_of(result, question)):
            click.echo(line)


# All of them --------------------------------------------------------------------------------------------------------


def _all(result: Connectivity, namespace: str, output: str) -> None:
    rows = ((row.source, row.destination, pairs.conn(row.found)) for row in pairs.rows(result, namespace))
    if output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\r\n")
        writer.writerow(("src", "dst", "conn"))
        writer.writerows(map(report_csv.cell, row) for row in rows)
    elif output == "json":
        for source, destination, conn in rows:
            sys.stdout.write(json.dumps({"src": source, "dst": destination, "conn": conn}) + "\n")
    else:
        for source, destination, conn in rows:
            sys.stdout.write(f"{visible(source)} → {visible(destination)}: {conn}\n")


def _lets_in(row: Mapping[str, Any]) -> str:
    parts = [_cidrs(row["addresses"])] if row["addresses"] else []
    parts += [f"perhaps {_cidrs(row['unknown'])}"] if row["unknown"] else []
    return ", ".join(parts) or "no address"


def _cidrs(found: list[str]) -> str:
    return "every address" if set(found) == {"0.0.0.0/0", "::/0"} else listed(found, 4)


COLUMNS = (
    printer.field("OPENED BY", "by"),
    printer.field("HOW", "how"),
    printer.Column("AT", lambda row: listed(row["at"], 3)),
    printer.field("WORKLOAD", "workload"),
    printer.field("PORTS", "ports"),
    printer.Column("LETS IN", _lets_in),
)


def _exposed(result: Connectivity, namespace: str, output: str) -> None:
    reaches = Reaches(result)
    numbers = {one: number for number, one in enumerate(result.classes)}
    records = [
        _entry(reaches, one, numbers[one.endpoint])
        for one in exposure.entries(result.snapshot, result.classes) if namespace in ("", one.service.namespace)
    ]  # fmt: skip
    empty = "nothing is open from outside"
    if not any(result.snapshot.index.get(resource) for resource in ENTRIES):
        empty = "no Service, Ingress or Gateway was read: what is open from outside is not known"
    printer.emit(records, COLUMNS, output, name="by", empty=empty)


def _entry(reaches: Reaches, one: exposure.Entry, number: int) -> dict[str, Any]:
    sets = pairs.outside(reaches, [number], "ingress") if not one.endpoint.node else pairs.ANYONE
    lets = addresses.union(span for ranges, found in sets if found.allowed & one.ports for span in ranges)
    may = addresses.union(span for ranges, found in sets if found.accept & one.ports for span in ranges)
    return {
        "by": network.named(one.by), "how": one.how, "at": list(one.at), "service": network.named(one.service),
        "workload": one.endpoint.workload, "ports": shown(one.ports), "addresses": list(addresses.cidrs(lets)),
        "unknown": list(addresses.cidrs(addresses.minus(may, lets))),
    }  # fmt: skip


def _doubts(snapshot: Snapshot) -> int:
    """Say what was not read; the exit code."""
    missing = [gap for gap in snapshot.gaps if gap.reason in INCOMPLETE and gap.resource in (*network.READS, "*")]
    for gap in missing:
        place = gap_place(gap.resource, gap.namespace)
        for line in printer.wrapped(
            f"gap: {place}: {gap.reason}, {visible(gap.message, 300)}; there may be more", "     "
        ):
            click.echo(line, err=True)
    return CANNOT_JUDGE if missing else OK
