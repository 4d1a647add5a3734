"""CSV: one row for each finding, RFC 4180, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re

from posture.report import Report
from posture.text import visible

COLUMNS = ("id", "group", "cluster", "domain", "severity", "status", "mark", "owner", "subject", "scope", "through",
           "message", "fix", "checks")  # fmt: skip


_FORMULA = re.compile(r"""(?:^|(?<=;))(?=[ "']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
"""Where one could begin, behind quotes too: a cell, or what follows a semicolon, which separates cells where the comma
is for decimals."""


def cell(text: str) -> str:
    """A cell that no spreadsheet reads as a formula (OWASP CSV injection), in visible characters only."""
    return _FORMULA.sub("'", visible(text))


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
