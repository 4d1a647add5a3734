"""Sentences of this domain, as a person would say them."""

from __future__ import annotations

from collections.abc import Sequence

from posture.model import CLUSTER_SCOPE, Change, Check, Unit
from posture.text import count, listed

from . import subjects
from .evaluate import Access

_READ = {"get", "list", "watch"}
_CHANGE = {"create", "update", "patch", "delete", "deletecollection"}


def _verbs(verbs: Sequence[str]) -> str:
    """`read`, `read and change`, `do anything with`, or the verbs themselves."""
    rest = set(verbs)
    if "*" in rest:
        return "do anything with"
    words = []
    for word, group in (("read", _READ), ("change", _CHANGE)):
        if group <= rest:
            words.append(word)
            rest -= group
    return listed(words + sorted(rest), 4)


def _things(unit: Unit) -> str:
    groups = [group for group in unit["apiGroups"] if group not in ("", "*")]
    names = ["everything" if name == "*" else name for name in unit["resources"]]
    text = listed(names, 3)
    if groups and len(groups) <= 2 and any("." in group for group in groups):
        text += f" ({listed(groups)})"
    if "resourceNames" in unit:
        shown = [name or '""' for name in unit["resourceNames"]]
        text += f" named {listed(shown, 2)}"
    return text


def phrase(unit: Unit) -> str:
    """One unit in words: `read secrets`, `get URL /metrics`, `act as aws:…`."""
    if "assume" in unit:
        return f"act as {listed(unit['assume'])}"
    if "nonResourceURLs" in unit:
        return f"{_verbs(unit['verbs'])} URL {listed(unit['nonResourceURLs'], 2)}"
    return f"{_verbs(unit['verbs'])} {_things(unit)}"


def where(scope: str, access: Access) -> str:
    """`pay`, or `every namespace (41 today)`."""
    if scope != CLUSTER_SCOPE:
        return scope
    today = len(access.snapshot.index.get("namespaces", {}))
    return f"every namespace ({today:,} today)" if today else "every namespace"


def sentence(change: Change, check: Check | None, live: Access) -> str:
    """What a change makes possible, or no longer possible, in one sentence without the way there."""
    loosened = change.direction == "loosened"
    given = change.gained if loosened else change.lost
    subject = subjects.shown(change.subject)
    if change.subject.startswith(subjects.ROLE):
        subject = f"Whoever is bound to ClusterRole {change.through.name}"
    place = where(change.scope, live)
    if given and all("role" in unit for unit in given):
        role = f"{change.through.kind} {change.through.name}"
        state = "whose rules were not read" if change.effective else "which does not exist yet"
        return f"{subject} is {'now' if loosened else 'no longer'} bound to {role} in {place}, {state}"
    verb = "can now" if loosened else "can no longer"
    if check is not None:
        return f"{subject} {verb} {check.can.replace('{where}', place)}"
    what = phrase(given[0]) if given else "do nothing more"
    if given and not {"assume", "nonResourceURLs"} & set(given[0]):
        what += f" in {place}"
    if len(given) > 1:
        what += f", and {count(len(given) - 1, 'more rule')}"
    return f"{subject} {verb} {what}"
