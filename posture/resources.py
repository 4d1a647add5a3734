"""The data that ships in the wheel: checks, default roles, templates, schemas."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import orjson

from posture.model import Version

SUPPORTED = (Version(1, 33), Version(1, 34), Version(1, 35), Version(1, 36))
NEWEST = SUPPORTED[-1]


def checks() -> Traversable:
    """The folder of shipped checks."""
    return files("posture.checks")


def baselines() -> Traversable:
    """The folder of shipped baselines."""
    return files("posture.baselines")


@cache
def schema(package: str, name: str) -> dict[str, object]:
    """A JSON Schema by the package and file that hold it."""
    found: dict[str, object] = orjson.loads(files(package).joinpath(name).read_bytes())
    return found


def nearest(version: Version | None) -> Version:
    """The supported minor whose defaults are nearest to a server's version; the newest for None."""
    if version is None:
        return NEWEST
    return min(SUPPORTED, key=lambda known: (abs(known.minor - version.minor), -known.minor))
