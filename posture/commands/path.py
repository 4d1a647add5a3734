"""posture explain path: who can reach what, by which steps, and what is lost with one token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from posture import graph
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.graph import explain as questions
from posture.graph import sentences
from posture.graph.dot import dot
from posture.graph.evaluate import DOMAINS
from posture.graph.explain import Blast, Found
from posture.graph.nodes import NAMESPACE_ADMIN, SECRETS, is_target
from posture.graph.words import Words
from posture.model import Snapshot
from posture.network import cni
from posture.text import count, listed, visible

from . import bulk, cut, options, printer

EXAMPLE = "posture explain path --source pay/web --sink cluster-admin"
SHOWN = 3
_KINDS = {"users": "User", "groups": "Group", "serviceaccounts": "ServiceAccount", "workloads": "workload"}


@click.command("path", short_help="Who can reach what an attacker wants, and by which steps?")
@click.option("--source", default="", metavar="NAME", help="From whom: outside, a workload or a subject.")
@click.option("--sink", default="", metavar="TARGET", help="To what: a target, or whatever can be a source.")
@click.option("--all", "everything", is_flag=True, help="From every source that matters to every target.")
@click.option("--blast", default="", metavar="NAME", help="What is lost with this token or workload.")
@click.option("--cut", "cutting", is_flag=True, help="The fewest objects to edit so that it is no path.")
@bulk.option
@click.option("-o", "--output", type=click.Choice(["table", "json", "dot"]), default="table", show_default=True)
@click.option("--checks", multiple=True, type=options.path, metavar="PATH", help="A folder of more escalations.")
@options.asked_of
def path(
    ask: Callable[..., Snapshot], source: str, sink: str, everything: bool, blast: str, cutting: bool,
    batch: str | None, output: str, checks: tuple[Path, ...],
) -> int:  # fmt: skip
    """Who can reach what an attacker wants, and by which steps? Each path is a proof.

    NAME is outside, NAMESPACE/NAME of a workload, workload:NAMESPACE/NAME[Kind], serviceaccount:NAMESPACE/NAME,
    user:NAME, group:NAME or node:NAME. TARGET is cluster-admin, node, secrets, secrets/NAMESPACE,
    namespace-admin/NAMESPACE, engine/NAME or cloud/NAME. Without --sink every target is looked for, without --source
    everybody is. What may or may not be so, because nobody can say, is no step of a path.
    """
    if cutting and not (source and sink):
        raise UsageError("--cut needs --source and --sink", f"{EXAMPLE} --cut")
    if cutting and output == "dot":
        raise UsageError("--cut is no picture: -o table or json", f"{EXAMPLE} --cut")
    _check(source or sink, everything=everything, blast=blast, batch=batch, output=output)
    if batch:
        bulk.answered(batch, lambda: _answering(_graph(ask, checks)))
        return OK
    asked = _graph(ask, checks)
    source, sink, blast = _named(asked, source, sink, blast)
    if source and sink:
        return _cut(asked, source, sink, output) if cutting else _one(asked, source, sink, output)
    doubts = questions.doubts(asked, *filter(None, (source, blast)))
    if blast:
        _say_blast(questions.blast(asked, blast), doubts, Words(asked), output)
    else:
        found = questions.of_source(asked, source) if source else questions.of_everybody(asked, sink)
        what = f"from {_end(source)} to any target" if source else f"to {_end(sink)}" if sink else "to any target"
        _say_all(found, doubts, what, Words(asked), output)
    for why in doubts:
        _flowed(f"{why}; there may be more", err=True)
    return CANNOT_JUDGE if questions.incomplete(asked.snapshot) else OK


def _check(asked: str, *, everything: bool, blast: str, batch: str | None, output: str) -> None:
    """Refuse what does not go together. Raises UsageError."""
    if batch:
        bulk.alone(batch, asked=bool(asked or everything or blast), flags="--source, --sink, --all and --blast")
        if output == "dot":
            raise UsageError("--batch answers in JSON", "leave out -o")
    elif sum(map(bool, (asked, everything, blast))) > 1:
        raise UsageError("--all and --blast are questions of their own", "ask one thing at a time")
    elif not (asked or everything or blast):
        raise UsageError("--source, --sink, --all or --blast is needed", EXAMPLE)


def _graph(ask: Callable[..., Snapshot], checks: tuple[Path, ...]) -> graph.Graph:
    """The graph of the source that is asked; said besides when nothing there enforces its network policies."""
    escalations = options.inputs_of(click.get_current_context().params.get("config_path"), checks=checks).escalations
    snapshot = ask(*graph.READS)
    if why := cni.unenforced(snapshot):
        click.echo(visible(why, 300), err=True)
    return graph.assembled({name: domain.evaluate(snapshot) for name, domain in DOMAINS.items()}, escalations)


def _named(asked: graph.Graph, source: str, sink: str, blast: str) -> tuple[str, str, str]:
    """What is asked as nodes; said besides where a user or a group is nobody's that a grant names."""
    try:
        found = (
            questions.source_of(asked, source) if source else "", questions.sink_of(asked, sink) if sink else "",
            questions.source_of(asked, blast) if blast else "",
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error), f"for example: {EXAMPLE}") from error
    for node in found:
        if why := questions.unknown(asked, node):
            _flowed(why, err=True)
    return found


def _answering(asked: graph.Graph) -> bulk.Answering:
    titles = Words(asked)

    def answered(given: Mapping[str, Any]) -> dict[str, Any]:
        names = {field: given.get(field) for field in ("source", "sink")}
        wrong = [field for field, value in names.items() if not isinstance(value, str) or not value]
        if wrong or given.keys() - names:
            raise ValueError("a question has a source and a sink, which are texts, and nothing else")
        source, sink = questions.source_of(asked, str(names["source"])), questions.sink_of(asked, str(names["sink"]))
        return _record(asked, source, sink, titles)

    return answered


def _record(asked: graph.Graph, source: str, sink: str, titles: sentences.Titles) -> dict[str, Any]:
    """The answer to one question; null where no path was found and there may be one."""
    found = questions.path(asked, source, sink)
    if found is not None:
        return {"allowed": True, "by": [questions.edge_record(edge, titles) for edge in found.edges]}
    doubts = questions.doubts(asked, source)
    said = doubts or [*filter(None, (questions.unknown(asked, node) for node in (source, sink)))]
    return {"allowed": None if doubts else False, "by": []} | ({"why": "; ".join(said)} if said else {})


def _one(asked: graph.Graph, source: str, sink: str, output: str) -> int:
    found, titles = questions.path(asked, source, sink), Words(asked)
    doubts = [] if found else questions.doubts(asked, source)
    if output == "json":
        allowed = True if found else None if doubts else False
        printer.document({"allowed": allowed} | _document([Found(found)] if found else [], doubts, titles))
    elif output == "dot":
        _say_all([Found(found)] if found else [], doubts, "", titles, output)
    elif found is not None:
        _say(Found(found), titles)
    else:
        _say_none(f"from {_end(source)} to {_end(sink)}", doubts)
    if doubts and output == "dot":
        _flowed(f"unknown: {'; '.join(doubts)}", err=True)
    return CANNOT_JUDGE if doubts else OK


def _cut(asked: graph.Graph, source: str, sink: str, output: str) -> int:
    doubts = [] if questions.path(asked, source, sink) else questions.doubts(asked, source)
    cut.say(asked, source, sink, doubts, output)
    return CANNOT_JUDGE if doubts else OK


# What is shown ------------------------------------------------------------------------------------------------------


def _end(node: str) -> str:
    """A source or a sink for people; targets have their own names."""
    return node if is_target(node) or node.startswith(f"{SECRETS}/") else sentences.name(node)


def _document(found: Sequence[Found], doubts: Sequence[str], titles: sentences.Titles) -> dict[str, Any]:
    """Paths for programs, and why there may be more."""
    return {"paths": [questions.record(one, titles) for one in found], "doubts": list(doubts)}


def _say_all(found: Sequence[Found], doubts: Sequence[str], what: str, titles: sentences.Titles, output: str) -> None:
    if output == "json":
        printer.document(_document(found, doubts, titles))
    elif output == "dot":
        click.echo(dot((one.path for one in found), titles))
    elif not found:
        _say_none(what, doubts)
    for one in found if output == "table" else ():
        _say(one, titles)


def _say_none(what: str, doubts: Sequence[str]) -> None:
    _flowed(f"{'unknown' if doubts else 'no'}: no path was found {'; '.join((what, *doubts))}")


def _say(found: Found, titles: sentences.Titles) -> None:
    """A path: who reaches what, and its steps in order."""
    one = found.path
    _flowed(f"{_end(one.source)} → {_end(one.target)}")
    steps = [text for text, _ in sentences.steps(one.edges, titles)]
    size = len(str(len(steps)))
    for number, text in enumerate(steps, 1):
        _flowed(f"  {number:>{size}}  {text}", indent=" " * (size + 4))
    if found.others:
        names = [sentences.name(node) for node in found.others]
        _flowed(f"  {' ' * size}  also from {listed(names, SHOWN)}", indent=" " * (size + 4))


def _say_blast(found: Blast, doubts: Sequence[str], titles: sentences.Titles, output: str) -> None:
    """What is lost with one, by its numbers and then by its paths."""
    if output == "dot":
        click.echo(dot((one.path for one in found.paths), titles))
        return
    if output == "json":
        printer.document(questions.blast_record(found, titles) | {"doubts": list(doubts)})
        return
    by_namespace = {start: [one for one in found.paths if one.path.target.startswith(start) and _is_many(one, found)]
                    for start in (f"{SECRETS}/", NAMESPACE_ADMIN)}  # fmt: skip
    apart = {one for many in by_namespace.values() for one in many}
    reached = [one.path.target for one in found.paths if one not in apart]
    more = ", and so everybody and everything" if found.everything else ""
    none = f"no target{' that was found' if doubts else ''}"
    if reached or not apart:
        _flowed(f"{_end(found.source)} reaches {listed(reached, questions.FIRST) if reached else none}{more}")
    else:
        _flowed(_end(found.source))
    _say_numbers(found, by_namespace)
    for one in found.paths:
        hidden = next((many[SHOWN:] for many in by_namespace.values() if one in many), [])
        if one not in hidden:
            _say(one, titles)


def _is_many(one: Found, found: Blast) -> bool:
    """Whether a target is one of a kind that every namespace has, and is told by their number."""
    return not found.everything and one.path.target != f"{SECRETS}/kube-system"


def _say_numbers(found: Blast, by_namespace: Mapping[str, Sequence[Found]]) -> None:
    for start, what in ((f"{SECRETS}/", "reads every Secret of"), (NAMESPACE_ADMIN, "may do everything in")):
        _namespaces(what, [one.path.target.removeprefix(start) for one in by_namespace[start]])
    for word, names in found.identities.items():
        kind = _KINDS[word]
        shown = [sentences.name(node).removeprefix(f"{kind} ") for node in names]
        _counted(f"becomes {count(len(names), kind)}", shown)
    if not found.everything:
        _namespaces("can run pods in", found.namespaces)
    if found.connections:
        shown = [sentences.name(node) for node in found.connections]
        _counted(f"may talk to {count(len(shown), 'workload')} of other namespaces", shown)


def _namespaces(what: str, names: Sequence[str]) -> None:
    if names:
        _counted(f"{what} {count(len(names), 'namespace')}", names)


def _counted(what: str, names: Iterable[str]) -> None:
    _flowed(f"  {what}: {listed([*names], questions.FIRST)}")


def _flowed(text: str, indent: str = "    ", *, err: bool = False) -> None:
    for line in printer.wrapped(text, indent):
        click.echo(line, err=err)
