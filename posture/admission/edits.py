"""What one would edit: an exception that is taken away, a namespace that gets the strictest level that cuts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from posture.model import Change, Changed, Content, Key, Snapshot

from . import pss
from .compare import LABEL
from .controls import BASELINE, RESTRICTED
from .evaluate import NAMESPACES, Admission, namespace_of
from .register import entry_of, register
from .violations import ENFORCE
from .workloads import requests_once


def evidence(live: Admission, change: Change) -> tuple[Key, ...]:
    """The objects whose change may have made a gain."""
    del live
    return change.evidence


def edits(live: Admission, change: Change) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """Ways to take a gain back when there is no agreed version to go back to."""
    entry = entry_of(live, change.through)
    if entry is not None:
        removal = removed(live.snapshot, change.through.namespace, entry.exemption.removal, local=entry.exemption.local,
                          label=change.through.name)  # fmt: skip
        if removal:
            yield f"Take it away: it {entry.exemption.what}", removal
        else:
            yield "it is no object of the cluster: take it out of the file that says it", ()
    elif change.through.kind == LABEL:
        yield from _labelled(live, namespace_of((change.subject, change.scope)))


def removed(
    snapshot: Snapshot, namespace: str, removal: tuple[Changed, ...], *, local: bool, label: str
) -> tuple[Changed, ...]:
    """The edits that take an exception away; of a part of the namespace, the namespace without its label."""
    if not local:
        return removal
    key = Key(NAMESPACES, "", namespace)
    content = snapshot.get(key)
    if content is None or label not in (content.get("labels") or {}):
        return ()
    labels = {name: text for name, text in content["labels"].items() if name != label}
    return (Changed(key, content, {**content, "labels": labels}),)


def _labelled(live: Admission, namespace: str) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """The strictest level of the Pod Security Standards that refuses nothing of what runs there."""
    key = Key(NAMESPACES, "", namespace)
    content = live.snapshot.get(key)
    if content is None:
        return
    own = (content.get("labels") or {}).get(ENFORCE)
    levels = [level for level in (RESTRICTED, BASELINE) if own not in (RESTRICTED, level)]
    runs = False
    for _, request in requests_once(live.snapshot, namespace):
        runs = True
        levels = [level for level in levels if request.object is None or not pss.violations(request.object, level)]
        if not levels:
            break
    for level in levels:
        labels = {**(content.get("labels") or {}), ENFORCE: level}
        what = "nothing that runs there violates it" if runs else "nothing runs there"
        yield (
            f"Enforce Pod Security {level} in {namespace}: {what}",
            (Changed(key, content, {**content, "labels": labels}),),
        )
    yield "what runs there violates both Pod Security levels: mend the workloads first", ()


def stakeholders(live: Admission, key: Key) -> frozenset[str] | None:
    """The namespaces in which an object opens something or decides; None for what is meant for the whole cluster."""
    if key.resource == NAMESPACES:
        return frozenset({key.name})
    opened = {name for entry in register(live).values() if key in entry.exemption.keys[:1] for name in entry.opens}
    return frozenset(opened) or (frozenset({key.namespace}) if key.namespace else None)


def agreed(change: Change, live: Admission) -> tuple[tuple[Key, Content], ...]:
    """The objects as they are now that admit what a change gained, to stand in a baseline in place of others."""
    found = [(key, live.snapshot.get(key)) for key in _carriers(change, live)]
    return tuple((key, content) for key, content in found if content is not None)


def _carriers(change: Change, live: Admission) -> Iterable[Key]:
    """The objects that say what a change goes through; a stored finding knows of these no more than the name."""
    through = change.through
    if through.kind == LABEL:
        return (Key(NAMESPACES, "", through.namespace),)
    entry = entry_of(live, through)
    if entry is not None:
        return entry.keys[:1]
    namespace = namespace_of((change.subject, change.scope))
    return [key for policy in live.policies if policy.through_in(namespace) == through for key in policy.keys]


def settle(snapshot: Snapshot, changed: Iterable[Changed]) -> tuple[Changed, ...]:
    """The changes themselves: no controller makes more of them that counts here."""
    del snapshot
    return tuple(changed)
