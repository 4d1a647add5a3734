"""Sentences of this domain, as a person would say them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from posture.model import Change, Check, Through, Unit
from posture.text import count, listed

from .enforcement import OF_PODS
from .evaluate import Admission, namespace_of
from .gaps import named_through
from .register import entry_of
from .violations import CONTROLS, OLDER

PHRASES = {
    "privileged": "privileged pods",
    "hostNamespaces": "pods in the node's namespaces",
    "hostPathVolumes": "pods with hostPath volumes",
    "hostPorts": "pods with ports of the node",
    "windowsHostProcess": "Windows HostProcess pods",
    "capabilities_baseline": "pods with added capabilities",
    "appArmorProfile": "pods without AppArmor",
    "seLinuxOptions": "pods with SELinux options of their own",
    "procMount": "pods with an unmasked /proc",
    "seccompProfile_baseline": "pods with seccomp unconfined",
    "sysctls": "pods with unsafe sysctls",
    "hostProbesAndHostLifecycle": "pods whose probes reach other hosts",
    "runAsUser": "pods that run as root",
    "allowPrivilegeEscalation": "pods that may gain privileges",
    "seccompProfile_restricted": "pods without a seccomp profile",
    "capabilities_restricted": "pods that keep the default capabilities",
    "runAsNonRoot": "pods that may run as root",
    "restrictedVolumes": "pods with volumes of other types",
    "procMount_restricted": "pods with an unmasked /proc in a user namespace",
    "bindings/cluster-admin": "bindings to cluster-admin",
    "namespaces/pod-security-label": "a lower Pod Security label",
    "pods/attach": "attaching to containers",
    "pods/exec": "commands in containers",
    "serviceaccounts/token": "tokens of ServiceAccounts",
    "services/external-ips": "Services with external IPs",
    "runAsUser/until-1.34": "pods that run as root in a user namespace",
    "runAsNonRoot/until-1.34": "pods that may run as root in a user namespace",
    "seLinuxOptions/until-1.30": "pods with the SELinux type of container engines",
    "sysctls/until-1.31": "pods with sysctls that are safe since 1.32",
    "sysctls/until-1.28": "pods with sysctls that are safe since 1.29",
    "sysctls/until-1.26": "pods with sysctls that are safe since 1.27",
    "windows/until-1.24": "Windows pods",
}
"""The violations of each control, the gravest first."""
_ORDER = {control: number for number, control in enumerate(dict.fromkeys((*PHRASES, *CONTROLS)))}
_STATES = {
    "unused": ("is used by nobody", "is used again"),
    "overdue": ("is past its end and still there", "is no longer past its end"),
    "self-exemptable": ("can be had by whoever sets a label", "can no longer be had by whoever sets a label"),
}
"""What is wrong with an exception, and that it no longer is."""
_REMARKS = {"overdue": "its end is past", "self-exemptable": "whoever sets the label has it"}
_FACTS = {
    "no owner": "owner", "no reason": "reason", "no ticket": "ticket", "no expires": "end", "no approved": "approval",
}  # fmt: skip
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
    wrong = [unit["exception"] for unit in units if "exception" in unit]
    remarks = _remarks(change, wrong, live) if parts and loosened else []
    parts += [] if parts else [*_of_exception(named_through(change.through), wrong, loosened=loosened)]
    parts += [*_of_number(change.through, units), *_of_policy(change, units, loosened=loosened)]
    text = listed(parts)
    if not text:
        return check.title if check is not None else named_through(change.through)
    return f"{text} ({'; '.join(remarks)})" if remarks else text


def _place(name: str) -> str:
    return f"Namespace {name}" if name else "The cluster"


def _admitted(name: str, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    by: dict[str, set[str]] = {}
    for unit in units:
        if "violation" in unit:
            by.setdefault(unit.get("for", ""), set()).add(unit["control"])
    for like, found in sorted(by.items()):
        newest = {one for one in found if OLDER not in one}  # what all versions forbid says enough
        controls = sorted(newest or found, key=_ORDER.__getitem__)
        shown = controls if len(controls) <= _SHOWN + 1 else controls[:_SHOWN]
        said = listed([*map(phrase, shown), *_more(controls[len(shown) :])], len(controls))
        if like:
            said += f", if they are like one {like}"
        yield f"{_place(name)} {'now admits' if loosened else 'no longer admits'} {said}"


def _more(controls: Sequence[str]) -> Iterator[str]:
    """How many controls are not named."""
    if controls:
        of_pods = all(OF_PODS >> CONTROLS[one][0] & 1 for one in controls)
        yield f"{count(len(controls), 'more kind')} of pods" if of_pods else f"{len(controls)} more"


def _own(name: str, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    for unit in units:
        if unit.keys() == {"control"}:
            yield f"{_place(name)} is {'no longer' if loosened else 'now'} subject to {unit['control']}"
        elif "except" in unit:
            word = "now" if loosened else "no longer"
            where = f"Namespace {name}" if name else "what is made in no namespace"
            yield f"{unit['control']} {word} {unit['except']} in {where}"


def _of_exception(name: str, wrong: Collection[str], *, loosened: bool) -> Iterator[str]:
    """What is wrong with an exception that opens nothing else, or no longer is."""
    said = [_STATES[state][not loosened] for state in wrong if state in _STATES]
    lacking = [fact for state, fact in _FACTS.items() if state in wrong]
    if len(lacking) == len(_FACTS) and not loosened:
        said, lacking = ["is gone, or kept in order now"], []
    if lacking:
        said.append(f"has {_lacking(lacking)}" if loosened else f"says its {listed(lacking, len(lacking))} now")
    if said:
        yield f"{name} {listed(said, len(said))}"


def _lacking(facts: Sequence[str]) -> str:
    return listed([f"no {fact}" for fact in facts], len(facts))


def _of_number(through: Through, units: Iterable[Unit]) -> Iterator[str]:
    for unit in units:
        if "exceptions" in unit:
            yield f"{_place(through.namespace)} has {unit['exceptions']} exceptions that open something"


def _of_policy(change: Change, units: Iterable[Unit], *, loosened: bool) -> Iterator[str]:
    for unit in units:
        if "policy" in unit:
            what = {"fails open": "admits what it cannot answer", "down": "has nothing that answers for it"}
            text = what[unit["policy"]]
            yield f"{named_through(change.through)} {text if loosened else f'no longer {text}'}"
        elif "mutation" in unit:
            yield f"{named_through(change.through)} {'now changes' if loosened else 'no longer changes'} requests"


def _remarks(change: Change, wrong: Collection[str], live: Admission) -> list[str]:
    """Whom an exception serves where it opens something, and what is wrong with it."""
    entry = entry_of(live, change.through)
    if entry is None:
        return []
    said = [text for state, text in _REMARKS.items() if state in wrong]
    if any("violation" in unit for unit in change.gained):
        mine = [one for one in entry.serves if one.startswith(f"workload:{change.scope}/")]
        needs = f"{count(len(mine), 'workload')} there could not run without it" if mine else "nothing there needs it"
        said.insert(0, needs)
    lacking = [fact for state, fact in _FACTS.items() if state in wrong]
    if len(lacking) == len(_FACTS):
        return [*said, "nobody wrote down whose it is, why and until when"]
    return [*said, *([f"it has {_lacking(lacking)}"] if lacking else [])]
