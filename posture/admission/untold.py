"""What decides and changed without any test request showing it: told as unknown, never left out.

Test requests are examples. A policy that asks more than they show, or an exception that takes out more than its
example, may change in what they do not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from posture.model import CLUSTER_SCOPE, Change, Content, Gap, Key, Snapshot, Through, Unknown

from .engines.liveness import SLICES
from .evaluate import CLUSTER_SUBJECT, NAMESPACES, Admission
from .gaps import named
from .policy import Policy
from .workloads import WORKLOADS

_SEEN = frozenset({NAMESPACES, SLICES, *WORKLOADS})
"""Kinds of which everything that counts is evaluated, or whose objects change all the time."""
_METADATA = frozenset({"labels", "annotations", "ownerReferences", "status"})
_NO_MATTER = frozenset({"caBundle", "timeoutSeconds", "message", "messageExpression", "auditAnnotations"})
"""Fields that say nothing of what is refused."""


def untold(
    domain: str, baseline: Admission, live: Admission, changes: Iterable[Change], unknown: Iterable[Unknown]
) -> Iterator[Unknown]:
    """The objects that decided in the baseline, are others now or gone, and of which nothing was told as loosened."""
    told = {key for change in changes if change.direction == "loosened" for key in change.evidence}
    named_so = {(one.through.kind, one.through.name.partition("/")[0]) for one in unknown}
    for key, policies in sorted(_deciding(baseline).items()):
        old, new = baseline.snapshot.get(key), live.snapshot.get(key)
        if key in told or old is None or _same(old, new):
            continue
        if new is None and (_renamed(key, old, live.snapshot) or not any(key in policy.keys for policy in policies)):
            continue  # under another name, or an exception that is gone
        text = named(key)
        through = Through(text.partition(" ")[0], key.namespace, key.name.rpartition("/")[2])
        if (through.kind, through.name) in named_so or _hidden(key, live.snapshot):
            continue
        what = "is gone" if new is None else "changed"
        why = f"{text} {what}: what that means beyond the test requests is not evaluated"
        gap = Gap(key.resource, key.namespace, "not modelled", why)
        yield Unknown(domain, CLUSTER_SUBJECT, CLUSTER_SCOPE, through, gap)


def _deciding(result: Admission) -> Mapping[Key, list[Policy]]:
    """The objects of policies that enforce, and of what takes something out of these."""
    found: dict[Key, list[Policy]] = {}
    for policy in result.policies:
        if policy.enforces is False:
            continue
        for key in dict.fromkeys((*policy.keys, *(key for one in policy.exemptions for key in one.keys))):
            if key.resource not in _SEEN:
                found.setdefault(key, []).append(policy)
    return found


def _renamed(key: Key, old: Content, live: Snapshot) -> bool:
    """Whether the same stands under another name."""
    wanted = _meaning(old, names=False)
    return any(_meaning(content, names=False) == wanted for _, content in live.objects(key.resource))


def _same(old: Content, new: Content | None) -> bool:
    return new is not None and _meaning(old) == _meaning(new)


def _meaning(content: Content, *, names: bool = True) -> bytes:
    """What an object says, without what is no matter; without the names of others that it refers to if not wanted."""
    kept = {field: value for field, value in content.items() if field not in _METADATA}
    return orjson.dumps(
        _stripped(kept, _NO_MATTER if names else _NO_MATTER | {"policyName"}), option=orjson.OPT_SORT_KEYS
    )


def _stripped(value: Any, fields: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _stripped(below, fields) for key, below in value.items() if key not in fields}
    return [_stripped(one, fields) for one in value] if isinstance(value, list) else value


def _hidden(key: Key, snapshot: Snapshot) -> bool:
    """Whether a gap says already that it was not read."""
    gap = snapshot.gap(key.resource, key.namespace)
    return gap is not None and gap.reason not in ("not modelled", "extra missing")
