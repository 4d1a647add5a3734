"""A pod, or a pod template, as the controls of Pod Security read it: raw JSON of any shape.

null is absent, and an item that is null is an empty one, as the API server reads them. What has a type that no server
takes (a text where a mapping is due) is an empty one too, so that nothing here raises; a value of another type is none
of those that a control allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
"""The fields of a pod's spec that hold containers, in the order in which the server visits them."""

_EMPTY: Mapping[str, Any] = {}


class Place(NamedTuple):
    """A pod's spec, or a container of it: where it stands, all of it, and its security context."""

    path: str
    raw: Mapping[str, Any]
    security: Mapping[str, Any]


class Pod(NamedTuple):
    """What the controls ask of a pod. `places` are the pod itself, then its containers."""

    spec: Mapping[str, Any]
    annotations: Mapping[str, Any]
    places: list[Place]
    containers: list[Place]


def read(raw: Any) -> Pod:
    """Read a pod or a pod template: what has `metadata` and `spec`."""
    spec = mapping(mapping(raw).get("spec"))
    containers = [
        Place(f"spec.{field}[{number}]", one, mapping(one.get("securityContext")))
        for field in CONTAINERS
        if field in spec
        for number, one in enumerate(mappings(spec[field]))
    ]
    places = [Place("spec", spec, mapping(spec.get("securityContext"))), *containers]
    return Pod(spec, mapping(mapping(mapping(raw).get("metadata")).get("annotations")), places, containers)


# Parts of any shape -------------------------------------------------------------------------------------------------


def mapping(value: Any) -> Mapping[str, Any]:
    """The value; an empty mapping where it is none."""
    return value if isinstance(value, dict) else _EMPTY


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The items of a list of mappings; none where it is no list."""
    return [mapping(item) for item in value] if isinstance(value, list) else []


def texts(value: Any) -> list[Any]:
    """The items of a list of texts; none where it is no list."""
    if not isinstance(value, list):
        return []
    return ["" if item is None else item for item in value] if None in value else value


def text(holder: Mapping[str, Any], field: str) -> Any:
    """A field that is a text: empty where it is absent."""
    found = holder.get(field)
    return "" if found is None else found


def parts(places: list[Place], field: str) -> list[tuple[Place, Mapping[str, Any]]]:
    """The parts of security contexts that are there, each with its place: an empty one is there."""
    return [(one, mapping(found)) for one in places if (found := one.security.get(field)) is not None]


def sources(volume: Mapping[str, Any]) -> list[str]:
    """The names of a volume's sources. The API knows one at most."""
    return [str(field) for field, value in volume.items() if field != "name" and value is not None]


def is_windows(pod: Pod) -> bool:
    """Whether the pod says that its containers are for Windows."""
    return mapping(pod.spec.get("os")).get("name") == "windows"


def in_user_namespace(pod: Pod) -> bool:
    """Whether the pod's users are others than the host's."""
    return pod.spec.get("hostUsers") is False
