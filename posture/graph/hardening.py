"""A pod specification without what leads to it or on from it: its node, its node's network and ports, its token.

Which parts lead to the node is asked of `escapes`: all that may are taken out, and then each is put back that does
not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .escapes import escape, with_claims

MOUNT = "automountServiceAccountToken"
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_HOW = ("securityContext", "volumeMounts", "volumeDevices", "ports")
"""What a container says of how it runs, and not of what."""
type Path = tuple[str | int, ...]


class Hardened(NamedTuple):
    """A pod specification without some parts, and what these were, in words."""

    spec: Mapping[str, Any]
    gone: list[str]


def without_escape(spec: Mapping[str, Any], claims: Mapping[str, str]) -> Hardened:
    """Without as little as gives its node away; `claims` are the paths of nodes that its claims are, by name."""
    seen = with_claims(spec, claims)
    gone = dict(_parts(seen))
    for path in [*gone]:
        if not escape(_without(seen, gone.keys() - {path})):
            del gone[path]
    return Hardened(_without_volumes(spec, _without(spec, gone.keys())), [*dict.fromkeys(gone.values())])


def without_host_network(spec: Mapping[str, Any]) -> Hardened:
    """In a network of its own."""
    return Hardened({field: value for field, value in spec.items() if field != "hostNetwork"}, ["hostNetwork"])


def without_host_ports(spec: Mapping[str, Any]) -> Hardened:
    """Without ports of its node."""
    ports: dict[Path, str] = {
        (field, number, "ports", place, "hostPort"): f"hostPort {port['hostPort']}" for field in _CONTAINERS
        for number, one in enumerate(_items(spec.get(field)))
        for place, port in enumerate(_items(one.get("ports"))) if port.get("hostPort")
    }  # fmt: skip
    gone = ports | ({("hostNetwork",): "hostNetwork"} if spec.get("hostNetwork") else {})
    return Hardened(_without(spec, gone.keys()), [*dict.fromkeys(gone.values())])


def without_token(spec: Mapping[str, Any]) -> Hardened:
    """Without the token that is mounted where nobody says otherwise; one of a volume of its own stays."""
    return Hardened({**spec, MOUNT: False}, ["its token"])


def put_back(content: Mapping[str, Any], agreed: Mapping[str, Any], pod_spec: str) -> Mapping[str, Any]:
    """A workload that runs as it was agreed to; what it runs stays: images, commands, the environment. `pod_spec` is
    the path of its pod specification. A container that was not there goes, one that was does not come again.
    """
    path = pod_spec.split(".")
    now, then = (_at(side, *path) or {} for side in (content, agreed))
    spec = dict(then)
    for field in _CONTAINERS:
        before = {one.get("name"): one for one in _items(then.get(field))}
        kept = [_as_agreed(one, before[one.get("name")]) for one in _items(now.get(field)) if one.get("name") in before]
        spec = {name: value for name, value in spec.items() if name != field} | ({field: kept} if kept else {})
    whole, template = reshaped(content, path, spec), path[:-1]
    metadata = _at(agreed, *template, "metadata") if template else None
    return reshaped(whole, [*template, "metadata"], metadata) if metadata else whole


def _as_agreed(one: Mapping[str, Any], before: Mapping[str, Any]) -> Mapping[str, Any]:
    kept = {field: value for field, value in one.items() if field not in _HOW}
    return kept | {field: before[field] for field in _HOW if field in before}


def _parts(spec: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What may give a node away, in the order in which it is put back if it does not matter."""
    hosts = {one.get("name"): path for one in _items(spec.get("volumes"))
             if (path := _at(one, "hostPath", "path")) is not None}  # fmt: skip
    for field in _CONTAINERS:
        for number, one in enumerate(_items(spec.get(field))):
            where: Path = (field, number)
            own: Path = (*where, "securityContext")
            for place, mount in enumerate(_items(one.get("volumeMounts"))):
                if mount.get("name") in hosts:
                    yield (*where, "volumeMounts", place), f"the host's {hosts[mount.get('name')]}"
            for place, name in enumerate(_at(one, "securityContext", "capabilities", "add") or ()):
                yield (*own, "capabilities", "add", place), f"the capability {name}"
            if _at(one, "securityContext", "privileged") is not None:
                yield (*own, "privileged"), "privileged"
            if _at(one, "securityContext", "windowsOptions", "hostProcess") is not None:
                yield (*own, "windowsOptions", "hostProcess"), "hostProcess"
    if _at(spec, "securityContext", "windowsOptions", "hostProcess") is not None:
        yield ("securityContext", "windowsOptions", "hostProcess"), "hostProcess"
    if spec.get("hostPID") is not None:
        yield ("hostPID",), "hostPID"


def _without(given: Any, gone: Collection[Path], at: Path = ()) -> Any:
    """A value without its parts at some paths, and without what these leave empty."""
    if isinstance(given, Mapping):
        kept = {field: (value, _without(value, gone, (*at, field))) for field, value in given.items()
                if (*at, field) not in gone}  # fmt: skip
        return {field: new for field, (old, new) in kept.items() if new or not old or old is new}
    if isinstance(given, list):
        return [_without(one, gone, (*at, number)) for number, one in enumerate(given) if (*at, number) not in gone]
    return given


def _without_volumes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """A specification without the volumes of the host that nothing mounts any more."""
    before, after = ({mount.get("name") for field in _CONTAINERS for one in _items(spec.get(field))
                      for mount in _items(one.get("volumeMounts"))} for spec in (old, new))  # fmt: skip
    volumes = [one for one in new.get("volumes") or () if one.get("name") not in before - after]
    kept = {field: value for field, value in new.items() if field != "volumes"}
    return {**kept, "volumes": volumes} if volumes else kept


def _items(given: Any) -> Sequence[Mapping[str, Any]]:
    return given if isinstance(given, list) and all(isinstance(one, Mapping) for one in given) else ()


def _at(given: Any, *path: str) -> Any:
    for field in path:
        given = given.get(field) if isinstance(given, Mapping) else None
    return given


def part(content: Any, path: Sequence[str]) -> Any:
    """What lies at a path in an object; None if nothing does."""
    return _at(content, *path)


def reshaped(content: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """An object with something else at a path in it."""
    head, *rest = path
    return {**content, head: reshaped(content.get(head) or {}, rest, value) if rest else value}
