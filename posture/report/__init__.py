"""Reports: findings → documents. A format is a module with `render(report)`, a pure function of the report."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

type Report = Mapping[str, Any]


def formats() -> list[str]:
    """The formats there are: the modules of this package that render."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def render(report: Report, form: str) -> str:
    """A report as text."""
    found: Callable[[Report], str] = import_module(f"{__name__}.{form}").render
    return found(report)
