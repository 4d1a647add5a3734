"""Sentences of this domain, as a person would say them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from posture.model import Change, Check, Unit
from posture.text import count, listed

from .evaluate import Admission, namespace_of
from .gaps import named_through
from .register import entry_of
from .violations import CONTROLS

PHRASES = {
    "privileged": "privileged pods",
    "hostNamespaces": "pods in the node's namespaces",
    "hostPathVolumes": "pods with hostPath volumes",
    "hostPorts": "pods with ports of the node",
    "windowsHostProcess": "Windows HostProcess pods",
    "appArmorProfile": "pods without AppArmor",
    "seLinuxOptions": "pods with SELinux options of their own",
    "capabilities_baseline": "pods with added capabilities",
    "procMount": "pods with an unmasked /proc",
    "procMount_restricted": "pods with an unmasked /proc in a user namespace",
    "seccompProfile_baseline": "pods with seccomp unconfined",
    "sysctls": "pods with unsafe sysctls",
    "hostProbesAndHostLifecycle": "pods whose probes reach other hosts",
    "restrictedVolumes": "pods with volumes of other types",
    "allowPrivilegeEscalation": "pods that may gain privileges",
    "runAsNonRoot": "pods that may run as root",
    "runAsUser": "pods that run as root",
    "seccompProfile_restricted": "pods without a seccomp profile",
    "capabilities_restricted": "pods that keep capabilities",
}
_ORDER = {control: number for number, control in enumerate(dict.fromkeys((*PHRASES, *CONTROLS)))}
_STATES = {
    "unused": "is used by nobody",
    "overdue": "is past its end and still there",
    "self-exemptable": "can be had by whoever sets a label",
}
_SHOWN = 2


def phrase(control: str) -> str:
    """The violations of a control, for people."""
    return PHRASES.get(control, control)


def sentence(change: Change, check: Check | None, live: Admission) -> str:
    """What a change makes possible, or no longer possible, in one sentence without the way there."""
    loosened = change.direction == "loosened"
    units = change.gained if loosened else change.lost
    name = namespace_of((change.subject, change.scope))
    parts = [*_admitted(name, units, loosened=loosened), *_own(name, units, loosened=loosened)]
    parts += [*_of_exception(change, units, loosened=loosened, alone=not parts)]
    parts += [*_of_policy(change, units, loosened=loosened)]
    text = listed(parts) if len(parts) > 1 else "".join(parts)
    if not text:
        return check.title if check is not None else named_through(change.through)
    return text + (_served(change, live) if loosened else "")


def _place(name: str) -> str:
    return f"Namespace {name}" if name else "The cluster"


def _admitted(name: str, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    by: dict[str, set[str]] = {}
    for unit in units:
        if "violation" in unit:
            by.setdefault(unit.get("for", ""), set()).add(unit["control"])
    for like, found in sorted(by.items()):
        controls = sorted(found, key=_ORDER.__getitem__)
        more = [count(len(controls) - _SHOWN, "more kind") + " of pods"] if len(controls) > _SHOWN + 1 else []
        said = listed([*(phrase(one) for one in controls[: _SHOWN if more else _SHOWN + 1]), *more])
        yield f"{_place(name)} {'now admits' if loosened else 'no longer admits'} {said}{f' {like}' if like else ''}"


def _own(name: str, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    for unit in units:
        if unit.keys() == {"control"}:
            yield f"{_place(name)} is {'no longer' if loosened else 'now'} subject to {unit['control']}"
        elif "except" in unit:
            word = "now" if loosened else "no longer"
            yield f"{unit['control']} {word} {unit['except']} in {_place(name)}"


def _of_exception(change: Change, units: Iterable[Unit], *, loosened: bool, alone: bool) -> Iterator[str]:
    states = [unit["exception"] for unit in units if "exception" in unit]
    if states and alone:
        lacking = [state for state in states if state.startswith("no ")]
        said = [_STATES[state] for state in states if state in _STATES]
        said += [f"has {listed(lacking, len(lacking))}"] if lacking else []
        prefix = named_through(change.through)
        yield f"{prefix} {listed(said)}" if loosened else f"{prefix} no longer {listed(said)}"
    for unit in units:
        if "exceptions" in unit:
            yield f"{_place(change.through.namespace)} has {unit['exceptions']} exceptions that open something"


def _of_policy(change: Change, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    for unit in units:
        if "policy" in unit:
            what = {"fails open": "admits what it cannot answer", "down": "has nothing that answers for it"}
            text = what[unit["policy"]]
            yield f"{named_through(change.through)} {text if loosened else f'no longer {text}'}"
        elif "mutation" in unit:
            yield f"{named_through(change.through)} {'now changes' if loosened else 'no longer changes'} requests"


def _served(change: Change, live: Admission) -> str:
    """Whom it serves."""
    entry = entry_of(live, change.through)
    if entry is None or not any("violation" in unit for unit in change.gained):
        return ""
    mine = [one for one in entry.serves if one.startswith(f"workload:{change.scope}/")]
    return f" ({count(len(mine), 'workload')} there could not run without it)" if mine else " (nothing there needs it)"
