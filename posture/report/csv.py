"""CSV: one row for each finding, RFC 4180, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io

from posture.report import Report
from posture.text import visible

COLUMNS = ("id", "group", "cluster", "domain", "severity", "status", "mark", "owner", "subject", "scope", "through",
           "message", "fix", "checks")  # fmt: skip


def cell(text: str) -> str:
    """A cell that no spreadsheet reads as a formula (OWASP CSV injection), in visible characters only."""
    shown = visible(text)
    return "'" + shown if shown.startswith(("=", "+", "-", "@")) else shown


def render(report: Report) -> str:
    """The findings as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for finding in report["findings"]:
        through = finding["through"]
        row = finding | {
            "through": "/".join(part for part in (through["kind"], through["namespace"], through["name"]) if part),
            "fix": finding["fix"]["text"] if finding["fix"] else "",
            "checks": " ".join(reason["check"] for reason in finding["reasons"]),
        }
        writer.writerow([cell(str(row[column])) for column in COLUMNS])
    return out.getvalue()
