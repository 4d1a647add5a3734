"""JSON: the report itself, everything escaped that is not ASCII."""

from __future__ import annotations

import json

from posture.report import Report


def render(report: Report) -> str:
    """The report as JSON text."""
    return json.dumps(report, indent=2, ensure_ascii=True) + "\n"
