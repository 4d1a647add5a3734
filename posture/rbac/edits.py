"""What one would edit: a binding without the subject, a role without the rule; and what one agrees to instead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from posture.model import CLUSTER_SCOPE, Change, Changed, Content, Key
from posture.text import listed

from . import cloud, subjects
from .aggregate import aggregated, contributors
from .compare import named
from .evaluate import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Access,
    default_role,
    grant_of,
    key_of,
    role_of,
)
from .rules import from_units, minus, parse, units

BINDINGS = (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS)


def evidence(live: Access, change: Change) -> tuple[Key, ...]:
    """The objects whose change may have made a gain: bindings, the role, and what an aggregated role is made of."""
    return (*change.evidence, *contributors(live.snapshot, key_of(change.through)))


def _without_subject(live: Access, change: Change) -> tuple[Changed, ...]:
    """Every binding that grants the role to the subject here, without the subject; gone when it was the only one."""
    found = []
    for key in change.evidence:
        content = live.snapshot.get(key) if key.resource in BINDINGS else None
        if content is None:
            continue
        kept = [s for s in content.get("subjects") or () if subjects.of_subject(s, key.namespace) != change.subject]
        found.append(Changed(key, content, {**content, "subjects": kept} if kept else None))
    return tuple(found)


def _without_rules(live: Access, change: Change) -> tuple[Changed, ...]:
    """The role, or each role it is made of, without the permissions that were gained."""
    role = key_of(change.through)
    gained = frozenset({from_units(change.gained)})
    found = []
    for key in contributors(live.snapshot, role) if role in aggregated(live.snapshot) else (role,):
        content = live.snapshot.get(key) if key.resource in (CLUSTER_ROLES, ROLES) else None
        if content is None:
            continue
        held = parse(content.get("rules") or ())
        left = minus(held, gained)
        if left is not held:
            found.append(Changed(key, content, {**content, "rules": [dict(unit) for unit in units(left)]}))
    return tuple(found)


def edits(live: Access, change: Change) -> Iterator[tuple[str, tuple[Changed, ...]]]:
    """Ways to take a gain back when there is no agreed version to go back to.

    A role is narrowed for everybody who is bound to it, in one edit; a role that Kubernetes ships is left alone, and
    the subject taken out of its bindings.
    """
    if change.through.kind == "ServiceAccount":
        key = key_of(change.through)
        content = live.snapshot.get(key)
        if content is not None:
            yield f"Take the cloud identity off {named(key)}", (Changed(key, content, cloud.without(content)),)
        return
    narrower = _without_rules(live, change)
    if narrower and not default_role(change.through):
        yield f"Take what was gained out of {listed([named(one.key) for one in narrower])}", narrower
    if without := _without_subject(live, change):
        gone = [named(one.key) for one in without if one.new is None]
        kept = [named(one.key) for one in without if one.new is not None]
        words = [f"delete {listed(gone)}"] if gone else []
        words += [f"take {subjects.shown(change.subject)} out of {listed(kept)}"] if kept else []
        text = listed(words)
        yield text[0].upper() + text[1:], without


def agreed(change: Change, live: Access) -> tuple[tuple[Key, Content], ...]:
    """Kubernetes objects that grant exactly what a change gained to exactly its subject, to add to a baseline."""
    if change.through.kind == "ServiceAccount":
        key = key_of(change.through)
        content = live.snapshot.get(key)
        return () if content is None else ((key, content),)
    if change.subject.startswith(subjects.ROLE):
        key = key_of(change.through)
        content = live.snapshot.get(key)
        return () if content is None else ((key, content),)
    name = (
        "posture-agreed-"
        + hashlib.blake2b(repr(change.where).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    )
    namespace = "" if change.scope == CLUSTER_SCOPE else change.scope
    role_kind, role_resource = ("Role", ROLES) if namespace else ("ClusterRole", CLUSTER_ROLES)
    binding = Key(ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS, namespace, name)
    dangling = change.through not in live.roles
    reference: Mapping[str, str] = {
        "kind": change.through.kind if dangling else role_kind, "name": change.through.name if dangling else name,
    }  # fmt: skip
    objects: list[tuple[Key, Content]] = [(binding, {"roleRef": reference, "subjects": [_subject(change.subject)]})]
    if not dangling:
        objects.append((Key(role_resource, namespace, name), {"rules": [dict(unit) for unit in change.gained]}))
    return tuple(objects)


def _subject(subject: str) -> dict[str, Any]:
    kind, _, name = subject.partition(":")
    if kind == "serviceaccount":
        namespace, _, name = name.partition("/")
        return {"kind": "ServiceAccount", "namespace": namespace, "name": name}
    return {"kind": "Group" if kind == "group" else "User", "name": name}


def stakeholders(live: Access, key: Key) -> frozenset[str] | None:
    """The namespaces of all subjects that a binding, or the bindings of a role, serve; None for users and groups.

    A role serves those too who are bound to a role that is made of it.
    """
    bindings = [key]
    if key.resource not in BINDINGS:
        made = (role for role in aggregated(live.snapshot) if key in contributors(live.snapshot, role))
        bindings = [binding for role in (key, *made) for binding in live.bound.get(role_of(role)) or ()]
    found: set[str] = set()
    for binding in bindings:
        content = live.snapshot.get(binding)
        grant = grant_of(binding, content) if content is not None else None
        found |= {subjects.namespace_of(subject) for subject in grant.subjects} if grant else set()
    return None if "" in found or not found else frozenset(found)
