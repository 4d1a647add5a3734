"""posture explain: why an answer is what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from posture import rbac
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.model import Snapshot
from posture.rbac.access import Answer, Question, answer
from posture.rbac.subjects import groups_of as implicit
from posture.text import visible

from . import bulk, options, printer
from .admission import explain_admission
from .flow import flow
from .path import path
from .who_can import groups_of, question_of


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
@bulk.option
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
        flags = "VERB, RESOURCE, NAME, --as, --as-group and -n"
        bulk.alone(batch, asked=bool(verb or user or groups or namespace), flags=flags)
        bulk.answered(batch, lambda: _answering(rbac.evaluate(ask())))
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


def _answering(result: rbac.Access) -> bulk.Answering:
    def answered(given: Mapping[str, Any]) -> dict[str, Any]:
        question = Question.of(given)
        return _record(question, answer(result, question))

    return answered


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


explain.add_command(flow)
explain.add_command(explain_admission)
explain.add_command(path)
