"""The Pod Security Standards: which controls a pod violates, at a level, in a version.

A version is a number, the 24 of `v1.24`; LATEST is what the server knows best. Exact for servers of 1.33 to 1.36 with
the feature gates that they have by default, once a version is clamped to the server's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .controls import BASELINE, CONTROLS, PRIVILEGED, RESTRICTED, Control, Field, Level, Variant
from .pods import read

LATEST = 1 << 30
"""Newer than any version, as the server takes it."""

type Standard = tuple[tuple[str, Variant], ...]
"""What is asked of a pod at one level, in one version: the controls' ids, each with its variant."""


class Violation(NamedTuple):
    """A control that a pod violates, and the fields by which it does."""

    control: str
    fields: tuple[Field, ...]


def version_of(label: str) -> int | None:
    """The version that a label's value names, such as `v1.24` or `latest`; None for what is no version."""
    if label == "latest":
        return LATEST
    match = re.fullmatch(r"v1\.(0|[1-9][0-9]*)", label)
    return int(match[1]) if match else None


def clamped(version: int, server: int) -> int:
    """The version that a server of a minor (the one that it emulates, if it does) evaluates when asked for another."""
    return min(version, server)


def standard(level: Level, version: int, controls: tuple[Control, ...] = CONTROLS) -> Standard:
    """What is asked of a pod, in the order in which the server names it."""
    levels = {PRIVILEGED: (), BASELINE: (BASELINE,), RESTRICTED: (BASELINE, RESTRICTED)}[level]
    there = [one for one in controls if one.level in levels and one.variants[0].since <= version]
    overridden = {one.overrides for one in there}
    return tuple(
        (one.id, next(variant for variant in reversed(one.variants) if variant.since <= version))
        for one in there
        if one.id not in overridden
    )


def judged(pod: Any, asked: Standard) -> list[Violation]:
    """The controls of a standard that a pod violates."""
    seen = read(pod)
    found = []
    for control, (_, rule, allowed, spares) in asked:
        if spares is None or not spares(seen):
            fields = tuple(rule(seen, allowed))
            if fields:
                found.append(Violation(control, fields))
    return found


def violations(pod: Mapping[str, Any], level: Level, version: int = LATEST) -> list[Violation]:
    """The controls that a pod, or a pod template, violates: none means that it is admitted. Never raises.

    The server judges pods as it stores them: of a pod that it has not defaulted yet, ask what `defaults.pod` gives.
    """
    return judged(pod, _STANDARDS[level][min(version, _NEWEST)])


_NEWEST = max(variant.since for control in CONTROLS for variant in control.variants)
_LEVELS: tuple[Level, ...] = (PRIVILEGED, BASELINE, RESTRICTED)
_STANDARDS = {level: tuple(standard(level, version) for version in range(_NEWEST + 1)) for level in _LEVELS}
