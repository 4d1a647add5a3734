"""What a request is, as whoever may refuse it sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from . import defaults
from .cel import Value
from .pods import CONTAINERS, mapping, mappings

type Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
type Object = Mapping[str, Any]

NAME_LABEL = "kubernetes.io/metadata.name"
SUFFIX = "00000"
"""What stands for the five random letters at the end of a name that the server makes up."""
_HIDDEN = (
    "uid", "creationTimestamp", "managedFields", "resourceVersion", "generation", "selfLink", "finalizers", "options",
    "extra", "conditions", "qosClass",
)  # fmt: skip
"""What the server knows of every request or object, and posture does not."""
_FILLED = ("priorityClassName", "priority", "preemptionPolicy", "imagePullSecrets", "overhead")
"""Fields of a pod that other objects may fill in: PriorityClasses, a ServiceAccount, a RuntimeClass."""


class Resource(NamedTuple):
    """A GroupVersionResource."""

    group: str
    version: str
    resource: str


PODS = Resource("", "v1", "pods")
NAMESPACES = Resource("", "v1", "namespaces")


@dataclass(frozen=True)
class Request:
    """A request at admission, after everything that changes it.

    `namespace` is a namespace's own name where the object is one. `user` None is anybody, `namespace_object` None a
    namespace that is not known; `hidden` are the names of fields that `object` and `old` may lack.
    """

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    object: Object | None
    old: Object | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    namespace_object: Object | None = None
    dry_run: bool = False
    hidden: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, str, str]:
        """The GroupVersionKind of the object."""
        there = self.object if self.object is not None else mapping(self.old)
        group, _, version = str(there.get("apiVersion") or "").rpartition("/")
        return group, version, str(there.get("kind") or "")

    @property
    def of_namespace(self) -> bool:
        """Whether the object is a namespace."""
        return self.resource == NAMESPACES

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """What CEL's variables `object`, `oldObject`, `request` and `namespaceObject` hold; the last if it is known.

        A value that is no JSON of 64-bit numbers is not known.
        """
        given: dict[str, Any] = {"object": self.object, "oldObject": self.old, "request": self._review()}
        if self.namespace_object is not None or not self.namespace or self.of_namespace:
            given["namespaceObject"] = None if self.of_namespace else self.namespace_object
        found = {}
        for name, value in given.items():
            try:
                found[name] = Value(value)
            except TypeError:
                continue
        return found

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Names of fields that the values lack although the server has them."""
        return (*_HIDDEN, *self.hidden, *(("userInfo",) if self.user is None else ()))

    def shaped(
        self, name: str, labels: Iterable[tuple[str, str | None]], annotations: Iterable[tuple[str, str | None]],
        image: str, user: str, groups: tuple[str, ...],
    ) -> Request:  # fmt: skip
        """The same request about an object of another name, with other labels and so on, or by somebody else."""

        def other(one: Object | None) -> Object | None:
            if one is None:
                return None
            metadata = dict(mapping(one.get("metadata")))
            metadata |= {"name": name} if name else {}
            for field, given in (("labels", labels), ("annotations", annotations)):
                texts = {
                    key: text
                    for key, text in {**mapping(metadata.get(field)), **dict(given)}.items()
                    if text is not None
                }
                metadata = {key: value for key, value in metadata.items() if key != field} | (
                    {field: texts} if texts else {}
                )
            spec = dict(mapping(one.get("spec")))
            for field in CONTAINERS if image else ():
                if field in spec:
                    spec[field] = [{**container, "image": image} for container in mappings(spec[field])]
            return {**one, "metadata": metadata} | ({"spec": spec} if "spec" in one else {})

        found = replace(self, name=name or self.name, object=other(self.object), old=other(self.old))
        return replace(found, user=user, groups=groups) if user else found

    def _review(self) -> dict[str, Any]:
        """The AdmissionRequest: what is empty is left out where the API leaves it out."""
        kind = dict(zip(("group", "version", "kind"), self.kind, strict=True))
        resource = self.resource._asdict()
        found: dict[str, Any] = {"kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource}
        texts = {
            "subResource": self.subresource,
            "requestSubResource": self.subresource,
            "name": self.name,
            "namespace": self.namespace,
        }
        found |= {field: text for field, text in texts.items() if text}
        user = {"username": self.user} if self.user else {}
        groups = {"groups": list(self.groups)} if self.groups else {}
        return found | {"operation": self.operation, "userInfo": user | groups, "dryRun": self.dry_run}


def pod_creation(
    pod: Object,
    namespace: str,
    namespace_object: Object | None = None,
    *,
    user: str | None = None,
    groups: tuple[str, ...] = (),
    token: bool = True,
    dry_run: bool = False,
    hidden: tuple[str, ...] = (),
) -> Request:
    """The creation of a pod, from a pod or a pod template, with what the server fills in.

    What has no name gets one from its `generateName`; the request has none then. `hidden` are fields that the pod may
    have had and that were not kept, such as the `value` of an environment variable.
    """
    metadata, spec = dict(mapping(pod.get("metadata"))), mapping(pod.get("spec"))
    name = str(metadata.get("name") or "")
    metadata |= {"namespace": namespace, "name": name or f"{metadata.get('generateName') or 'pod-'}{SUFFIX}"}
    found = defaults.pod({"metadata": metadata, "spec": spec}, token=token)
    unread = (*hidden, *(field for field in _FILLED if field not in spec))
    return Request(
        "CREATE", PODS, "", namespace, name, found, None, user, groups, namespace_object, dry_run, unread
    )  # fmt: skip
