"""The pod that restricted takes in every version, with some fields set to something."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from tests.generator.objects import Object
from tests.generator.pods import container

GONE: Any = ...
"""What is put where a field is taken away."""
CONTAINERS = ("spec.containers[0]", "spec.initContainers[0]", "spec.ephemeralContainers[0]")


def pod() -> Object:
    """The pod that restricted takes in all versions, with a container of each kind."""
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    kinds = {"containers": "a", "initContainers": "i", "ephemeralContainers": "e"}
    spec = {"securityContext": security, **{kind: [container(name)] for kind, name in kinds.items()}}
    return {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": spec}


def steps(path: str) -> list[Any]:
    """`spec.containers[0].name` → `["spec", "containers", 0, "name"]`; a key in brackets is one step."""
    found = re.findall(r"([^.\[\]]+)|\[([^\]]+)\]", path)
    return [name or (int(key) if key.isdigit() else key) for name, key in found]


def put(holder: Any, path: str, value: Any) -> None:
    """Set a field; what it is in is made where it is not there."""
    *above, last = steps(path)
    for step, below in zip(above, [*above[1:], last], strict=True):
        if isinstance(step, int):
            holder.extend({} for _ in range(step + 1 - len(holder)))
        elif step not in holder:
            holder[step] = [] if isinstance(below, int) else {}
        holder = holder[step]
    if value is GONE:
        del holder[last]
    elif isinstance(last, int):
        holder.insert(last, value)
    else:
        holder[last] = value


def changed(*changes: tuple[str, Any]) -> Object:
    """The good pod with some fields set."""
    made = pod()
    for path, value in changes:
        put(made, path, deepcopy(value))
    return made
