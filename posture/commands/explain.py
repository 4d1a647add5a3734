"""posture explain: why an answer is what it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from posture import rbac
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.model import Snapshot
from posture.rbac.access import Answer, Question, answer
from posture.rbac.subjects import groups_of as implicit
from posture.text import visible

from . import options, printer
from .who_can import groups_of, question_of

LONGEST = 1_000_000
"""Characters of a question in bulk; a file without line ends is not read for ever."""


@click.group(cls=options.Group)
def explain() -> None:
    """Say why an answer is what it is."""


@explain.command("access", short_help="May this user do that, and by which binding?")
@click.argument("verb", required=False, default="")
@click.argument("resource", required=False, default="", metavar="RESOURCE[.GROUP][/SUBRESOURCE]|URL")
@click.argument("name", required=False, default="")
@click.option("--as", "user", default="", metavar="USER", help="Who: a user name, or serviceaccount:NS/NAME.")
@click.option("--as-group", "groups", multiple=True, help="Exactly these groups instead of the implicit ones.")
@click.option("-n", "--namespace", default="", help="In this namespace; cluster-wide if left out.")
@click.option("--batch", metavar="FILE|-", help="Questions in bulk: one JSON line in, one JSON line out, in order.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@options.asked_of
def access(
    ask: Callable[[], Snapshot], verb: str, resource: str, name: str, user: str, groups: tuple[str, ...],
    namespace: str, batch: str | None, output: str,
) -> int:  # fmt: skip
    """May this user do that, and by which binding? Answers as a SubjectAccessReview does.

    It adds `inert` where the grant can never take effect. null is unknown: a gap may hide a grant.
    """
    if batch:
        _alone(batch, asked=bool(verb or user or groups or namespace))
        with _lines_of(batch) as lines:
            for line in _batch(rbac.evaluate(ask()), lines):
                click.echo(line)
        return OK
    if not verb or not resource or not user:
        raise UsageError("VERB, RESOURCE and --as are needed", "posture explain access get secrets -n pay --as ann")
    snapshot = ask()
    result = rbac.evaluate(snapshot)
    if user.startswith("serviceaccount:"):
        user = "system:" + user.replace("/", ":", 1)
    found = groups_of(snapshot, resource)
    question = question_of(verb, resource, found[0], namespace, name)
    given = groups or implicit(user)
    question = Question(user, tuple(given), question.verb, question.group, question.resource, question.subresource,
                        question.namespace, question.name, question.path)  # fmt: skip
    said = answer(result, question)
    if output == "json":
        printer.document(_record(question, said))
    else:
        _say(said)
    return CANNOT_JUDGE if said.allowed is None else OK


def _say(said: Answer) -> None:
    if said.allowed is None:
        click.echo(f"unknown: {visible(said.why)}")
    elif not said.allowed:
        click.echo("no: nothing grants it")
    else:
        click.echo("yes" + (", but inert: no request can use it" if said.inert else ""))
        for grant in said.by:
            if "binding" in grant:
                text = f"{grant['binding']} → {grant['role']}, rule {grant['rule']}, as {grant['subject']}"
            else:
                text = f"{grant['group']} {grant['reason']}"
            for line in printer.wrapped(f"  by {text}", "     "):
                click.echo(line)


def _record(question: Question, said: Answer) -> dict[str, Any]:
    record: dict[str, Any] = {"allowed": said.allowed, "by": list(said.by), "groups": list(question.groups)}
    if said.inert:
        record["inert"] = True
    if said.why:
        record["why"] = said.why
    return record


def _alone(batch: str, *, asked: bool) -> None:
    if asked:
        raise UsageError("--batch brings its own questions", "leave out VERB, RESOURCE, NAME, --as, --as-group and -n")
    context = click.get_current_context()
    if batch == "-" and "-" in context.params.get("paths", ()):
        raise UsageError(
            "the questions and the manifests are both standard input, which can be read once",
            "name a file for one of them",
        )


def _lines_of(batch: str) -> IO[str]:
    if batch == "-":
        return open(sys.stdin.fileno(), encoding="utf-8", closefd=False)
    try:
        return Path(batch).open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {visible(batch, 200)}: {error.strerror}", "name a file, or -") from error


def _batch(result: rbac.Access, lines: IO[str]) -> Iterator[str]:
    for number, line in enumerate(_decoded(lines), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if not isinstance(given, dict):
                raise ValueError("not a JSON object")  # noqa: TRY004, TRY301 - one error for a line that is wrong
            question = Question.of(given)
        except (ValueError, RecursionError) as error:
            what = f"no JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise UsageError(
                f"line {number}: {what}", "write one JSON object for each question, as docs/contracts.md says"
            ) from error
        yield json.dumps(_record(question, answer(result, question)), ensure_ascii=True)


def _decoded(lines: IO[str]) -> Iterator[str]:
    try:
        while line := lines.readline(LONGEST):
            if len(line) == LONGEST:
                raise UsageError(f"a question is longer than {LONGEST:,} characters", "write one a line")
            yield line
    except UnicodeDecodeError as error:
        raise UsageError(f"the questions are no UTF-8: {error.reason}", "write them as UTF-8") from error
