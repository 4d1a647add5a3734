"""posture explain admission: is this pod admitted, which policy refuses it, which exception lets it through?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from posture import admission
from posture.admission.explain import Answer, Question, answer, decided
from posture.admission.policy import Space
from posture.admission.requests import Request
from posture.admission.sentences import phrase
from posture.admission.workloads import requests_of
from posture.errors import CANNOT_JUDGE, OK, UsageError
from posture.kinds import BY_KIND, KINDS, key_of, kind_of, malformed, project
from posture.model import Key, Snapshot
from posture.text import listed, visible

from . import bulk, options, printer

EXAMPLE = "posture explain admission pay/api, or posture explain admission pod.yaml -n pay"
WORST = (False, None, True)


@click.command(
    "admission", short_help="Is this pod admitted, which policy refuses it, which exception lets it through?"
)
@click.argument("pod", required=False, default="", metavar="NAMESPACE/NAME|FILE|-")
@click.option("-n", "--namespace", default="", help="The namespace of what a file holds.")
@click.option("--as", "user", default="", metavar="USER", help="Who creates the pod of a file; anybody if left out.")
@click.option("--as-group", "groups", multiple=True, help="The groups of the user.")
@click.option("--update", is_flag=True, help="The pod's ephemeral containers are added, rather than it created.")
@bulk.option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@options.asked_of
def explain_admission(
    ask: Callable[..., Snapshot], pod: str, namespace: str, user: str, groups: tuple[str, ...], update: bool,
    batch: str | None, output: str,
) -> int:  # fmt: skip
    """Is this pod admitted, which policies refuse it, and which exceptions let it through?

    A workload is asked as its controller would make its pods: one of the cluster by its name, or the first pod or
    workload of a file. A pod is asked as it is written.
    """
    if batch:
        flags = "POD, -n, --as, --as-group and --update"
        bulk.alone(batch, asked=bool(pod or namespace or user or groups or update), flags=flags)
        bulk.answered(batch, lambda: _answering(admission.evaluate(ask(roles=False))))
        return OK
    if not pod:
        raise UsageError("a workload or a manifest is needed", EXAMPLE)
    if groups and not user:
        raise UsageError("--as-group needs --as", EXAMPLE)
    written = _written(pod, namespace) if pod == "-" or Path(pod).is_file() else None
    of_pod: dict[str, Any] = {"user": user, "groups": list(groups)} if user else {}
    if written is not None and written["kind"] == "Pod":
        of_pod |= {"namespace": namespace, "pod": written, "operation": "UPDATE" if update else "CREATE"}
        title, said = _of_pod(admission.evaluate(ask(roles=False)), visible(pod, 200), of_pod)
    elif user or update or (written is None and namespace):
        raise UsageError("-n, --as and --update are for a pod of a file", "the pods of a workload are its controller's")
    else:
        title, said = _of_workload(admission.evaluate(ask(roles=False)), pod, written)
    if output == "json":
        printer.document(record(said))
    else:
        _say(title, said)
    return CANNOT_JUDGE if said.allowed is None else OK


def _of_pod(live: admission.Admission, file: str, given: Mapping[str, Any]) -> tuple[str, Answer]:
    try:
        question = Question.of(given)
    except ValueError as error:
        raise UsageError(f"{file}: {visible(str(error), 200)}", f"-n says in which namespace; {EXAMPLE}") from error
    return f"{file} in {question.namespace}", answer(live, question)


def _of_workload(live: admission.Admission, name: str, written: Mapping[str, Any] | None) -> tuple[str, Answer]:
    """A workload, by `NAMESPACE/NAME` or `workload:NAMESPACE/NAME[Kind]`, or as it is written in a file.

    Of pods of it that differ (a sidecar, a container for debugging), what becomes of the one that fares worst.
    """
    snapshot = live.snapshot
    if written is not None:
        kind = BY_KIND[str(written["apiVersion"]).rpartition("/")[0], written["kind"]]
        key, subject = key_of(kind, written), f"{key_of(kind, written).namespace}/{written['metadata']['name']}"
        snapshot = snapshot.replaced([(key, project(kind, written))])
        name = f"{subject}[{kind.kind}]"
    wanted = name.removeprefix("workload:")
    space = Space.of(wanted.partition("/")[0], snapshot.get(Key("namespaces", "", wanted.partition("/")[0])))
    found: dict[str, list[Request]] = {}
    for subject, request in requests_of(snapshot, space.name):
        exact = subject.removeprefix("workload:")
        if wanted in (exact, exact.rpartition("[")[0]):
            found.setdefault(subject, []).append(request)
    if len(found) != 1:
        what = "there is no file or workload" if not found else "there are several workloads"
        raise UsageError(f"{what} {visible(name, 100)}", f"{EXAMPLE}; workload:NAMESPACE/NAME[Kind] names one exactly")
    ((subject, requests),) = found.items()
    answers = [decided(live, space, request) for request in (requests[:1] if written else requests)]
    return subject, min(answers, key=lambda one: WORST.index(one.allowed))


def _written(file: str, namespace: str) -> dict[str, Any]:
    """The first pod or workload of a manifest, as the server would store it. Raises UsageError."""
    from posture.collect.manifest import Broken, documents
    from posture.collect.objects import misshapen, normal

    shown, kinds = visible(file, 200), [*(kind.kind for kind in KINDS if kind.pod_spec)]
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror}", EXAMPLE) from error
    for document in documents(BytesIO(text)):
        if isinstance(document, Broken):
            raise UsageError(f"{shown}, line {document.line}: {visible(document.reason, 200)}", "mend the file")
        for one in _items(document.value):
            kind = kind_of(str(one.get("apiVersion") or "").rpartition("/")[0], str(one.get("kind") or ""))
            if kind is None or not kind.pod_spec:
                continue
            wrong = malformed(kind, one) or misshapen(kind, one)
            home = one["metadata"].get("namespace") if not wrong else ""
            if not wrong and namespace and home and home != namespace:
                wrong = f"it is of namespace {home}, and -n names {namespace}"
            if not wrong and not (home or namespace):
                wrong = "it names no namespace, and neither does -n"
            if wrong:
                raise UsageError(f"{shown}: {kind.kind}: {visible(wrong, 200)}", EXAMPLE)
            try:
                return normal(kind, one, home=namespace or "default") | {"kind": kind.kind}
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise UsageError(f"{shown}: {kind.kind}: a field has not the type that the API requires",
                                 "kubectl apply --dry-run=server says which") from error  # fmt: skip
    raise UsageError(f"{shown} holds no pod and no workload", f"it may be a {listed(kinds, len(kinds))}")


def _items(value: Any) -> list[dict[str, Any]]:
    """An object, or the objects of a List."""
    found = value.get("items") if isinstance(value, dict) and str(value.get("kind")).endswith("List") else [value]
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


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
    lines += [f"  violates {one.control} ({phrase(one.control)}), which is {one.enforced} enforced there"
              + (f", by {listed(list(one.by))}" if one.by else "") for one in said.controls]  # fmt: skip
    for line in lines:
        for piece in printer.wrapped(line, " " * 4):
            click.echo(piece)
