"""The default roles and bindings that a Kubernetes minor ships, laid over a snapshot.

Source: plugin/pkg/auth/authorizer/rbac/bootstrappolicy, and pkg/registry/rbac/rest/storage_rbac.go: at its start an
API server adds what is missing to them and takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterable

from posture.model import Content, Key, Snapshot

type Objects = Iterable[tuple[Key, Content]]


def upgraded(snapshot: Snapshot, shipped: Objects) -> Snapshot:
    """A baseline in which another minor's defaults count as agreed: each default object holds both."""
    return snapshot.replaced((key, _both(snapshot.get(key), content)) for key, content in shipped)


def _both(old: Content | None, new: Content) -> Content:
    if old is None:
        return new
    both = dict(old)
    for field in ("rules", "subjects"):
        if new.get(field):
            both[field] = [
                *(old.get(field) or ()),
                *(item for item in new[field] if item not in (old.get(field) or ())),
            ]
    return both


def restored(snapshot: Snapshot, shipped: Objects) -> Snapshot:
    """A cluster as it is, but for its default objects, which are as shipped."""
    return snapshot.replaced((key, content) for key, content in shipped if snapshot.entry(key) is not None)
