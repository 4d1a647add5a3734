"""posture who-can: everyone who may do something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from posture import rbac
from posture.errors import CANNOT_JUDGE, OK
from posture.kinds import API_RESOURCES, BY_NAME, CLUSTER_SCOPED
from posture.model import Snapshot
from posture.rbac import subjects
from posture.rbac.access import Question, binding_gaps
from posture.rbac.access import who_can as holders
from posture.text import visible

from . import options, printer

MASTERS = subjects.GROUP + subjects.MASTERS
COLUMNS = (
    printer.field("SUBJECT", "subject"),
    printer.Column("SCOPE", lambda row: "every namespace" if row["scope"] == "*" else row["scope"]),
    printer.Column("THROUGH", lambda row: " → ".join(row["path"])),
    printer.Column("", lambda row: "inert: no request can use it" if row["inert"] else ""),
)


@click.command("who-can", short_help="List everyone who may do something, and through what.")
@click.argument("verb")
@click.argument("resource", metavar="RESOURCE[.GROUP][/SUBRESOURCE]|URL")
@click.argument("name", required=False, default="")
@click.option("-n", "--namespace", default="", help="In this namespace; everywhere if left out.")
@options.output
@options.asked_of
def who_can(ask: Callable[[], Snapshot], verb: str, resource: str, name: str, namespace: str, output: str) -> int:
    """List everyone who may do something, where, and through what.

    RESOURCE is as kubectl takes it: pods, pods/exec, deployments.apps; a URL starts with /.
    """
    snapshot = ask()
    access = rbac.evaluate(snapshot)
    records: list[dict[str, Any]] = []
    for group in groups_of(snapshot, resource):
        question = question_of(verb, resource, group, namespace, name)
        records += [
            {"subject": one.subject, "scope": one.scope, "path": list(one.path), "inert": one.inert}
            for one in holders(access, question)
            if one.subject != MASTERS
        ]
    records.append({"subject": MASTERS, "scope": "*", "path": ["always allowed, before RBAC"], "inert": False})
    gaps = binding_gaps(access, [namespace] if namespace else [])
    printer.emit(records, COLUMNS, output, name="subject")
    for gap in gaps:
        click.echo(f"gap: {visible(gap.resource)} {gap.reason}: {visible(gap.message)}; there may be more", err=True)
    return CANNOT_JUDGE if gaps else OK


def groups_of(snapshot: Snapshot, resource: str) -> Sequence[str]:
    """The API groups that a resource may be of: the named one, else those that serve it, else the core group.

    A folder has no discovery, only its CustomResourceDefinitions: there, the kinds that posture knows are served too.
    """
    base = resource.partition("/")[0]
    if resource.startswith("/"):
        return ("",)
    served = {name for _, name in snapshot.index.get(API_RESOURCES, {})}
    complete = "pods" in served and snapshot.gap(API_RESOURCES) is None
    known = served if complete else served | BY_NAME.keys() | CLUSTER_SCOPED
    found = sorted({name.partition(".")[2] for name in known if name.partition(".")[0] == base})
    virtual = {name.partition(".")[0] for name in CLUSTER_SCOPED - served}  # checked, and served by no endpoint
    if complete and base not in ("*", *virtual) and not (base in served if "." in base else found):
        click.echo(f"the cluster serves no resource {visible(base, 100)}; is it spelled as in a rule?", err=True)
    if "." in base:
        return (base.partition(".")[2],)
    return [group for group in found if group not in LEGACY] or ("",)


LEGACY = frozenset({"metrics.k8s.io"})
"""Groups that serve a resource of another group's name as numbers about it."""


def question_of(verb: str, resource: str, group: str, namespace: str, name: str) -> Question:
    """A question in SubjectAccessReview's words."""
    if resource.startswith("/"):
        return Question(verb=verb, path=resource)
    base, _, subresource = resource.partition("/")
    return Question(verb=verb, group=group, resource=base.partition(".")[0], subresource=subresource,
                    namespace=namespace, name=name)  # fmt: skip
