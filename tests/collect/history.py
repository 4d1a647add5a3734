"""Objects as an API server keeps them: one resourceVersion for all, and a history that reaches back so far."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from posture.kinds import Kind

type Object = dict[str, Any]
type Name = tuple[str, str]


class Resource(NamedTuple):
    """What is served under one path."""

    group: str
    version: str
    name: str
    kind: str
    namespaced: bool

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}/{self.name}" if self.group else f"/api/{self.version}/{self.name}"

    @classmethod
    def of(cls, kind: Kind) -> Resource:
        return cls(kind.group, kind.versions[0], kind.resource, kind.kind, kind.namespaced)


class Written(NamedTuple):
    """One write: ADDED, MODIFIED or DELETED, with the object after it, or the last before."""

    version: int
    path: str
    type: str
    object: Object


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, reason: str, message: str = "", *, after: int | None = None) -> None:
        super().__init__(message or reason)
        self.code, self.after = code, after
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                       "reason": reason, "message": message or reason}  # fmt: skip


class Store:
    """The objects and their history; thread-safe. `changed` is notified of every write."""

    def __init__(self, resources: Iterable[Resource], window: int) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 100
        self.compacted = 0
        self.resources = {each.path: each for each in resources}
        self._window = window
        self._objects: dict[str, dict[Name, Object]] = {path: {} for path in self.resources}
        self._history: deque[Written] = deque()

    def objects(self, path: str) -> dict[Name, Object]:
        """All objects of a resource now."""
        with self.changed:
            return dict(self._objects[path])

    def serve(self, resource: Resource) -> None:
        """A kind comes."""
        with self.changed:
            self.resources[resource.path] = resource
            self._objects.setdefault(resource.path, {})

    def unserve(self, resource: Resource) -> None:
        """A kind goes, and its objects with it."""
        with self.changed:
            for namespace, name in self.objects(resource.path):
                self.delete(resource.path, name, namespace)
            del self.resources[resource.path], self._objects[resource.path]
            self.changed.notify_all()

    def put(self, path: str, name: str, namespace: str = "", **content: Any) -> Object:
        """Create or update; gives the object."""
        with self.changed:
            before = self._objects[path].get((namespace, name))
            metadata = dict(before["metadata"]) if before else {
                "name": name, "uid": f"uid-{self.version}", "creationTimestamp": "2026-01-01T00:00:00Z",
                **({"namespace": namespace} if namespace else {}),
            }  # fmt: skip
            return self._write(path, "MODIFIED" if before else "ADDED", {"metadata": metadata, **content})

    def delete(self, path: str, name: str, namespace: str = "") -> None:
        """Delete; KeyError if it is not there."""
        with self.changed:
            self._write(path, "DELETED", self._objects[path][namespace, name])

    def compact(self) -> None:
        """Forget the history: what is older than now is gone."""
        with self.changed:
            self._history.clear()
            self.compacted = self.version
            self.changed.notify_all()

    def restore(self, version: int) -> None:
        """The cluster is restored from a backup: no object changes, and the resourceVersion is an older one."""
        with self.changed:
            self._history.clear()
            self.version = self.compacted = version
            self.changed.notify_all()

    def since(self, version: int, path: str) -> list[Written]:
        """The writes after a version, oldest first. Refusal 410 when they are not all known."""
        with self.changed:
            if version < self.compacted:
                raise Refusal(410, "Expired", f"too old resource version: {version} ({self.compacted})")
            return [each for each in self._history if each.version > version and each.path == path]

    def _write(self, path: str, type_: str, content: Object) -> Object:
        self.version += 1
        made = {**content, "metadata": {**content["metadata"], "resourceVersion": str(self.version)}}
        name = (made["metadata"].get("namespace", ""), made["metadata"]["name"])
        if type_ == "DELETED":
            del self._objects[path][name]
        else:
            self._objects[path][name] = made
        self._history.append(Written(self.version, path, type_, made))
        while len(self._history) > self._window:
            self.compacted = self._history.popleft().version
        self.changed.notify_all()
        return made
