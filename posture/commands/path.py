"""posture explain path: who can reach what, by which steps, and what is lost with one token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from posture import graph
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.graph import explain as questions
from posture.graph import sentences
from posture.graph.dot import dot
from posture.graph.evaluate import DOMAINS
from posture.graph.explain import Blast, Found
from posture.model import Gap, Snapshot
from posture.network import cni
from posture.text import count, gap_place, listed, visible

from . import bulk, cut, options, printer

EXAMPLE = "posture explain path --source pay/web --sink cluster-admin"
SHOWN = 3


@click.command("path", short_help="Who can reach what an attacker wants, and by which steps?")
@click.option("--source", default="", metavar="NAME", help="From whom: outside, a workload or a subject.")
@click.option("--sink", default="", metavar="TARGET", help="To what: a target, or whatever can be a source.")
@click.option("--all", "everything", is_flag=True, help="From every source that matters to every target.")
@click.option("--blast", default="", metavar="NAME", help="What is lost with this token or workload.")
@click.option("--cut", "cutting", is_flag=True, help="The fewest objects to edit so that it is no path.")
@bulk.option
@click.option("-o", "--output", type=click.Choice(["table", "json", "dot"]), default="table", show_default=True)
@options.asked_of
def path(
    ask: Callable[..., Snapshot], source: str, sink: str, everything: bool, blast: str, cutting: bool,
    batch: str | None, output: str,
) -> int:  # fmt: skip
    """Who can reach what an attacker wants, and by which steps? Each path is a proof.

    NAME is outside, NAMESPACE/NAME of a workload, workload:NAMESPACE/NAME[Kind], serviceaccount:NAMESPACE/NAME,
    user:NAME, group:NAME or node:NAME. TARGET is cluster-admin, node, secrets, secrets/NAMESPACE,
    namespace-admin/NAMESPACE, engine/NAME or cloud/NAME. Without --sink every target is looked for, without --source
    everybody is. What may or may not be so, because nobody can say, is no step of a path.
    """
    _check(source or sink, everything=everything, blast=blast, batch=batch)
    if cutting and (not (source and sink) or output == "dot"):
        raise UsageError("--cut needs --source and --sink, and -o table or json", f"{EXAMPLE} --cut")
    if batch:
        bulk.answered(batch, lambda: _answering(_graph(ask)))
        return OK
    asked = _graph(ask)
    titles = sentences.titled(asked.catalogue.all.values())
    source, sink, blast = _named(asked, source, sink, blast)
    if blast:
        _say_blast(questions.blast(asked, blast), titles, output)
    elif cutting:
        cut.say(asked, source, sink, output)
    elif source and sink:
        return _one(asked, source, sink, titles, output)
    else:
        found = questions.of_source(asked, source) if source else questions.everybody(asked, sink)
        _say_all(found, titles, output)
    return _doubts(asked.snapshot)


def _check(asked: str, *, everything: bool, blast: str, batch: str | None) -> None:
    """Refuse what does not go together. Raises UsageError."""
    if batch:
        bulk.alone(batch, asked=bool(asked or everything or blast), flags="--source, --sink, --all and --blast")
    elif sum(map(bool, (asked, everything, blast))) > 1:
        raise UsageError("--all and --blast are questions of their own", "ask one thing at a time")
    elif not (asked or everything or blast):
        raise UsageError("--source, --sink, --all or --blast is needed", EXAMPLE)


def _graph(ask: Callable[..., Snapshot]) -> graph.Graph:
    """The graph of the source that is asked; said besides when nothing there enforces its network policies."""
    escalations = options.inputs_of(click.get_current_context().params.get("config_path")).escalations
    snapshot = ask(*graph.READS)
    if why := cni.unenforced(snapshot):
        click.echo(visible(why, 300), err=True)
    return graph.assembled({name: domain.evaluate(snapshot) for name, domain in DOMAINS.items()}, escalations)


def _named(asked: graph.Graph, source: str, sink: str, blast: str) -> tuple[str, str, str]:
    try:
        return (
            questions.source_of(asked, source) if source else "", questions.sink_of(asked, sink) if sink else "",
            questions.source_of(asked, blast) if blast else "",
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error), f"for example: {EXAMPLE}") from error


def _answering(asked: graph.Graph) -> bulk.Answering:
    titles = sentences.titled(asked.catalogue.all.values())

    def answered(given: Mapping[str, Any]) -> dict[str, Any]:
        names = {field: given.get(field) for field in ("source", "sink")}
        wrong = [field for field, value in names.items() if not isinstance(value, str) or not value]
        if wrong or given.keys() - names:
            raise ValueError("a question has a source and a sink, which are texts, and nothing else")
        source, sink, _ = _named(asked, str(names["source"]), str(names["sink"]), "")
        return _record(asked, source, sink, titles)

    return answered


def _record(asked: graph.Graph, source: str, sink: str, titles: sentences.Titles) -> dict[str, Any]:
    """The answer to one question; null where no path was found and a gap may hide one."""
    found = questions.path(asked, source, sink)
    if found is not None:
        return {"allowed": True, "by": [questions.edge_record(edge, titles) for edge in found.edges]}
    gap = questions.doubt(asked.snapshot)
    return {"allowed": None if gap else False, "by": []} | ({"why": _why(gap)} if gap else {})


def _why(gap: Gap) -> str:
    return f"{gap_place(gap.resource, gap.namespace, str)}: {gap.reason}, {gap.message}"


def _one(asked: graph.Graph, source: str, sink: str, titles: sentences.Titles, output: str) -> int:
    found = questions.path(asked, source, sink)
    gap = questions.doubt(asked.snapshot) if found is None else None
    if output != "table":
        _document([Found(found)] if found else [], titles, output)
    elif found is not None:
        _say(Found(found), titles)
    else:
        _flowed(
            f"{'unknown' if gap else 'no'}: no path was found, {source} → {sink}" + (f"; {_why(gap)}" if gap else "")
        )
    if gap and output != "table":
        _flowed(f"gap: {_why(gap)}; there may be a path", err=True)
    return CANNOT_JUDGE if gap else OK


# What is shown ------------------------------------------------------------------------------------------------------


def _document(found: Sequence[Found], titles: sentences.Titles, output: str) -> None:
    """Paths for programs."""
    if output == "json":
        printer.document({"paths": [questions.record(one, titles) for one in found]})
    else:
        click.echo(dot((one.path for one in found), titles))


def _say_all(found: Sequence[Found], titles: sentences.Titles, output: str) -> None:
    if output != "table":
        _document(found, titles, output)
    elif not found:
        click.echo("no path was found", err=True)
    else:
        for one in found:
            _say(one, titles)


def _say(found: Found, titles: sentences.Titles) -> None:
    """A path: who reaches what, and its steps in order."""
    one = found.path
    _flowed(f"{one.source} → {one.target}")
    steps = [text for text, _ in sentences.steps(one.edges, titles)]
    size = len(str(len(steps)))
    for number, text in enumerate(steps, 1):
        _flowed(f"  {number:>{size}}  {text}", indent=" " * (size + 4))
    if found.others:
        names = [visible(name, 200) for name in found.others]
        _flowed(f"  {' ' * size}  also from {listed(names, SHOWN)}", indent=" " * (size + 4))


def _say_blast(found: Blast, titles: sentences.Titles, output: str) -> None:
    """What is lost with one, by its numbers and then by its paths."""
    if output == "dot":
        click.echo(dot((one.path for one in found.paths), titles))
        return
    if output == "json":
        printer.document(questions.blast_record(found, titles))
        return
    reached = [one.path.target for one in found.paths]
    more = ", and so everybody and everything" if found.everything else ""
    _flowed(f"{found.source} reaches {listed(reached, questions.FIRST) if reached else 'no target'}{more}")
    for word, names in found.identities.items():
        _counted(f"becomes {count(len(names), word.removesuffix('s'))}", names)
    if found.namespaces:
        _counted(f"can run pods in {count(len(found.namespaces), 'namespace')}", found.namespaces)
    if found.connections:
        _counted(f"may talk to {count(len(found.connections), 'workload')} of other namespaces", found.connections)
    for one in found.paths:
        _say(one, titles)


def _counted(what: str, names: Iterable[str]) -> None:
    _flowed(f"  {what}: {listed([*names], questions.FIRST)}")


def _flowed(text: str, indent: str = "    ", *, err: bool = False) -> None:
    for line in printer.wrapped(text, indent):
        click.echo(line, err=err)


def _doubts(snapshot: Snapshot) -> int:
    """Say what was not read; the exit code."""
    gap = questions.doubt(snapshot)
    if gap is not None:
        _flowed(f"gap: {_why(gap)}; there may be more", err=True)
    return CANNOT_JUDGE if gap else OK
