"""Databases that hold something, for the tests of what becomes of it."""

from __future__ import annotations

from pathlib import Path

from posture.config import Config
from posture.inputs import Inputs
from posture.scan import Request, Scanned, scan
from posture.store import Store, open_store
from tests.generator.objects import Object, account, binding, role, rule
from tests.generator.source import Given


def some_objects(number: int = 3) -> list[Object]:
    """Roles and bindings in a namespace, with a permission that some check knows."""
    made = [role("reader", rule("get,list", "secrets"), namespace="pay")]
    made += [
        binding(f"b{index}", "Role/reader", account("pay", f"s{index}"), namespace="pay") for index in range(number)
    ]
    return made


def scanned(store: Store, source: Given, time: str = "2026-10-20T10:00:00Z", config: Config | None = None) -> Scanned:
    """One scan of a source."""
    return scan(store, source, Inputs(config or Config()), Request(time))


def a_database(path: Path, number: int = 3) -> None:
    """A database with one scan in it, all of it in the one file."""
    with open_store(str(path)) as store:
        scanned(store, Given(some_objects(number)))
