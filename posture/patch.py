"""Strategic merge patches of workloads: only the fields that differ, since a snapshot holds no literal environment
values, and a whole object printed from it would empty them.

Sources: k8s.io/apimachinery pkg/util/strategicpatch; the keys of lists are the patchMergeKey tags of k8s.io/api core/v1
types.go; a pod that runs and the template of a Job take no other values (pkg/apis/core/validation ValidatePodUpdate,
pkg/apis/batch/validation ValidateJobUpdate), a selector of apps/v1 neither (pkg/apis/apps/validation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posture.kinds import BY_NAME
from posture.model import Changed, Content

MERGED: Mapping[str, str] = {
    "containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name", "env": "name",
    "volumeMounts": "mountPath", "volumeDevices": "devicePath", "ports": "containerPort", "imagePullSecrets": "name",
    "hostAliases": "ip", "resourceClaims": "name", "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
}  # fmt: skip
"""The lists of a pod specification whose items are merged, each by its key; any other list is replaced."""
_ORDER, _DIRECTIVE = "$setElementOrder/", "$patch"
FIXED = ("pods", "jobs.batch")
"""Of these only labels and annotations may be edited."""


class UnwritableError(ValueError):
    """No patch can be printed, and why."""


def patch_of(changed: Changed) -> dict[str, Any]:
    """The patch that makes a workload another, below the whole object. Raises UnwritableError."""
    key, old, new = changed
    found = difference(*({field: value for field, value in (side or {}).items()
                          if field not in ("ownerReferences", "status")} for side in (old, new)))  # fmt: skip
    metadata = {field: found.pop(field) for field in ("labels", "annotations") if field in found}
    spec = found.get("spec") or {}
    kind = BY_NAME[key.resource].kind
    if spec and key.resource in FIXED:
        raise UnwritableError(f"how a {kind} runs cannot be edited")
    if "selector" in spec:
        raise UnwritableError(f"the selector of a {kind} cannot be edited")
    if _holds_literal(found):
        raise UnwritableError("environment values are not kept, and so cannot be printed")
    return {"metadata": metadata, **found} if metadata else found


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that makes a mapping another."""
    found: dict[str, Any] = {field: None for field in old if field not in new}
    if "serviceAccountName" in found:  # else the deprecated field would still say it
        found["serviceAccount"] = None
    for field, value in new.items():
        before = old.get(field)
        if field in old and before == value:
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[field] = difference(before, value)
        elif isinstance(before, list) and _is_merged(field, before, value):
            found |= _items(field, before, value)
        elif field in MERGED and before and _are_mappings(value):
            found[field] = [*value, {_DIRECTIVE: "replace"}]
        else:
            found[field] = value
    return found


def _is_merged(field: str, *lists: Any) -> bool:
    """Whether items are merged by a key, and each side has every key once."""
    key = MERGED.get(field)
    if key is None or not all(_are_mappings(one) for one in lists):
        return False
    return all(len({item.get(key) for item in one}) == len(one) for one in lists)


def _are_mappings(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(item, Mapping) for item in given)


def _items(field: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The patch of a list whose items are merged. Where one comes its place is said: some run in their order."""
    key = MERGED[field]
    before, after = ({item.get(key): item for item in side} for side in (old, new))
    found: list[Any] = [{key: name, _DIRECTIVE: "delete"} for name in before if name not in after]
    for name, item in after.items():
        if name not in before:
            found.append(item)
        elif before[name] != item:
            found.append({key: name, **difference(before[name], item)})
    order = {} if after.keys() <= before.keys() else {f"{_ORDER}{field}": [{key: name} for name in after]}
    return {field: found, **order}


def _holds_literal(given: Any) -> bool:
    """Whether a patch would write an environment variable whose value is not known."""
    if isinstance(given, Mapping):
        env = given.get("env")
        literal = isinstance(env, list) and any(
            isinstance(one, Mapping) and _DIRECTIVE not in one and not one.get("valueFrom") for one in env
        )
        return literal or any(map(_holds_literal, given.values()))
    return isinstance(given, list) and any(map(_holds_literal, given))


def patched(given: Content, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with a patch applied; what comes to a list comes last."""
    found = dict(given)
    for field, value in patch.items():
        if field.startswith(_ORDER):
            continue
        if value is None:
            found.pop(field, None)
        elif isinstance(value, Mapping):
            found[field] = patched(found.get(field) or {}, value)
        elif field in MERGED and _are_mappings(value) and _are_mappings(found.get(field) or []):
            found[field] = _merged(MERGED[field], found.get(field) or [], value)
        else:
            found[field] = value
    return found


def _merged(key: str, given: Sequence[Mapping[str, Any]], patch: Sequence[Mapping[str, Any]]) -> list[Any]:
    whole = [item for item in patch if _DIRECTIVE not in item]
    if not given or any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return whole
    found = {item.get(key): item for item in given}
    for item in patch:
        if item.get(_DIRECTIVE) == "delete":
            found.pop(item.get(key), None)
        else:
            found[item.get(key)] = patched(found.get(item.get(key)) or {}, item)
    return [*found.values()]
