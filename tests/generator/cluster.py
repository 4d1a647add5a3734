"""A cluster while people and controllers work on it: every write is recorded as a real server records it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

from .objects import Object


class Actor(NamedTuple):
    """A field manager and how it writes."""

    manager: str
    operation: str


FLUX = Actor("kustomize-controller", "Apply")
HELM = Actor("helm", "Update")
ARGOCD = Actor("argocd-controller", "Apply")
EDIT = Actor("kubectl-edit", "Update")
CREATE = Actor("kubectl-create", "Update")
LABEL = Actor("kubectl-label", "Update")


class Cluster:
    """The objects of one cluster while people work on it."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}

    def __iter__(self) -> Iterator[Object]:
        """Every object, namespaces first, then by kind and name."""
        for key in sorted(self._objects, key=lambda key: (key[0] != "Namespace", key)):
            yield self._objects[key]

    def write(self, actor: Actor, time: str, *objects: Object) -> None:
        """Create or replace objects, and record who did it as managedFields do."""
        for given in objects:
            made = deepcopy(given)
            before = self._objects.get(_key(made), {})
            known = before.get("metadata", {})
            made["metadata"] |= {
                "uid": known.get("uid") or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{'/'.join(_key(made))} {time}")),
                "creationTimestamp": known.get("creationTimestamp") or time,
                "managedFields": _managed(known.get("managedFields", ()), actor, time, made, before),
            }
            self._objects[_key(made)] = made

    def delete(self, kind: str, where: str, name: str) -> None:
        """Take an object away."""
        del self._objects[kind, where, name]

    def get(self, kind: str, where: str, name: str) -> Object:
        """A copy of an object, to write it back changed."""
        return deepcopy(self._objects[kind, where, name])


def _key(one: Object) -> tuple[str, str, str]:
    return one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _managed(known: Iterable[Object], actor: Actor, time: str, made: Object, before: Object) -> list[Object]:
    """The entries of an object after a write: an Apply owns all that it sends, an Update what it changed."""
    fields: Object = {}
    for name, value in made.items():
        if name not in ("apiVersion", "kind", "metadata") and (actor.operation == "Apply" or before.get(name) != value):
            fields[f"f:{name}"] = {}
    for name in ("annotations", "labels"):
        value, was = made["metadata"].get(name), before.get("metadata", {}).get(name)
        if value and (actor.operation == "Apply" or value != was):
            fields.setdefault("f:metadata", {})[f"f:{name}"] = {}
    kept = [entry for entry in known if entry["manager"] != actor.manager]
    entry = {"manager": actor.manager, "operation": actor.operation, "apiVersion": made["apiVersion"], "time": time,
             "fieldsType": "FieldsV1", "fieldsV1": fields}  # fmt: skip
    return [*kept, entry]


def by_flux(one: Object, name: str, where: str) -> Object:
    """An object that a Flux Kustomization delivers."""
    labels = {f"kustomize.toolkit.fluxcd.io/{field}": value for field, value in (("name", name), ("namespace", where))}
    one["metadata"]["labels"] = one["metadata"].get("labels", {}) | labels
    return one


def by_helm(one: Object, release: str, where: str) -> Object:
    """An object that a Helm release delivers."""
    annotations = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": where}
    one["metadata"]["labels"] = one["metadata"].get("labels", {}) | {"app.kubernetes.io/managed-by": "Helm"}
    one["metadata"]["annotations"] = one["metadata"].get("annotations", {}) | annotations
    return one
