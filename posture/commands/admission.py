"""posture explain admission: is this pod admitted, which policy refuses it, which exception lets it through?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from posture import admission
from posture.admission.explain import Answer, Question, answer, decided
from posture.admission.policy import Space
from posture.admission.sentences import phrase
from posture.admission.workloads import requests_of
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.model import Key, Snapshot
from posture.text import listed, visible

from . import bulk, options, printer

EXAMPLE = "posture explain admission pay/api, or posture explain admission pod.yaml -n pay"


@click.command(
    "admission", short_help="Is this pod admitted, which policy refuses it, which exception lets it through?"
)
@click.argument("pod", required=False, default="", metavar="NAMESPACE/NAME|FILE|-")
@click.option("-n", "--namespace", default="", help="The namespace of a pod from a file.")
@click.option("--as", "user", default="", metavar="USER", help="Who creates it; anybody if left out.")
@click.option("--as-group", "groups", multiple=True, help="The groups of the user.")
@click.option("--update", is_flag=True, help="Its ephemeral containers are added, rather than the pod created.")
@bulk.option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@options.asked_of
def explain_admission(
    ask: Callable[..., Snapshot], pod: str, namespace: str, user: str, groups: tuple[str, ...], update: bool,
    batch: str | None, output: str,
) -> int:  # fmt: skip
    """Is this pod admitted, which policies refuse it, and which exceptions let it through?

    A workload of the cluster is asked by its name, as its controller would make its pods again; a pod that is not there
    yet by its manifest.
    """
    if batch:
        bulk.alone(batch, asked=bool(pod or namespace or user or groups or update), flags="POD, -n, --as and --update")
        bulk.answered(batch, lambda: _answering(admission.evaluate(ask(roles=False))))
        return OK
    if not pod:
        raise UsageError("a workload or a manifest is needed", EXAMPLE)
    if groups and not user:
        raise UsageError("--as-group needs --as", EXAMPLE)
    manifest = _manifest(pod) if pod == "-" or Path(pod).is_file() else None
    live = admission.evaluate(ask(roles=False))
    if manifest is not None:
        given = {"namespace": namespace, "pod": manifest, "operation": "UPDATE" if update else "CREATE"}
        try:
            said = answer(live, Question.of(given | ({"user": user, "groups": list(groups)} if user else {})))
        except ValueError as error:
            raise UsageError(visible(str(error), 200), "-n says in which namespace; " + EXAMPLE) from error
        title = f"{visible(pod)} in {visible(namespace or str(manifest.get('metadata', {}).get('namespace', '')))}"
    else:
        title, said = _of_workload(live, pod)
    if output == "json":
        printer.document(record(said))
    else:
        _say(title, said)
    return CANNOT_JUDGE if said.allowed is None else OK


def _manifest(name: str) -> dict[str, Any]:
    """The first document of a file; of a workload, its template."""
    try:
        text = (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode()
        found = next(iter(yaml.safe_load_all(text)), None)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{visible(name, 200)} cannot be read: {visible(str(error), 200)}", EXAMPLE) from error
    spec = found.get("spec") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(spec, dict):
        raise UsageError(f"{visible(name, 200)} holds no pod", EXAMPLE)
    if found.get("kind") == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template") if found.get("kind") != "Pod" else None
    if isinstance(template, dict):
        home = (found.get("metadata") or {}).get("namespace")
        return {**template, "metadata": {"namespace": home, **(template.get("metadata") or {})}} if home else template
    return found


def _of_workload(live: admission.Admission, name: str) -> tuple[str, Answer]:
    """A workload of the cluster, by `NAMESPACE/NAME` or `workload:NAMESPACE/NAME[Kind]`."""
    wanted = name.removeprefix("workload:")
    namespace = wanted.partition("/")[0]
    found = [
        (subject, request) for subject, request in requests_of(live.snapshot, namespace)
        if wanted in (exact := subject.removeprefix("workload:"), exact.partition("[")[0])
    ]  # fmt: skip
    if len(found) != 1:
        what = "there is no file or workload" if not found else "there are several workloads"
        raise UsageError(f"{what} {visible(name, 100)}", f"{EXAMPLE}; workload:NAMESPACE/NAME[Kind] names one exactly")
    subject, request = found[0]
    space = Space.of(namespace, live.snapshot.get(Key("namespaces", "", namespace)))
    return subject, decided(live, space, request)


def _answering(live: admission.Admission) -> bulk.Answering:
    return lambda given: record(answer(live, Question.of(given)))


def record(said: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    by = [{"policy": step.policy, "says": step.says} | ({"why": step.why} if step.why else {})
          | ({"exceptions": list(step.exceptions)} if step.exceptions else {}) for step in said.by]  # fmt: skip
    controls = [{"control": one.control, "enforced": one.enforced, "by": list(one.by)} for one in said.controls]
    return {"allowed": said.allowed, "by": by, "controls": controls} | ({"why": said.why} if said.why else {})


def _say(title: str, said: Answer) -> None:
    word = {True: "admitted", False: "refused", None: "unknown"}[said.allowed]
    lines = [f"{word}: {title}" + (f": {said.why}" if said.why else "")]
    for step in said.by:
        text = f"  {step.policy} {step.says}"
        text += f" but for {listed(list(step.exceptions))}" if step.exceptions else ""
        lines.append(text + (f": {step.why}" if step.why else ""))
    lines += [f"  violates {one.control} ({phrase(one.control)}), which is enforced {one.enforced} there"
              + (f", by {listed(list(one.by))}" if one.by else "") for one in said.controls]  # fmt: skip
    for line in lines:
        for piece in printer.wrapped(line, " " * 4):
            click.echo(piece)
