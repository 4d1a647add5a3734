"""Markdown: groups as headings with their findings, for a pull request or a ticket."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from posture.report import Report
from posture.text import count, visible

# What CommonMark or GitHub would read as markup, a mention or a link.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~@:&-])")


def escape(text: str) -> str:
    """A text that Markdown shows as it is, on one line, in visible characters only."""
    return _SPECIAL.sub(r"\\\1", visible(text))


def render(report: Report) -> str:
    """The report as Markdown text."""
    run = report["run"]
    lines = ["# posture", ""]
    for cluster in run.get("clusters", ()):
        baseline = cluster["baseline"]
        agreed = f"baseline of {baseline['time'][:10]} by {escape(baseline['by'])}" if baseline else "no baseline yet"
        objects, standing = count(cluster["objects"], "object"), cluster["standing"]
        lines += [f"{escape(cluster['name'])}: {objects}, {agreed}, {standing} standing", ""]
    by_group: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for finding in report["findings"]:
        by_group[finding["cluster"], finding["group"]].append(finding)
    for group in report["groups"]:
        lines += _group(group, by_group[group["cluster"], group["id"]])
    if not report["groups"]:
        lines += ["Nothing became possible that was not agreed.", ""]
    if report["gaps"]:
        lines += ["## Not read", ""]
        lines += [f"- {escape(gap['resource'])} {escape(gap['namespace'])}: {gap['reason']}, {escape(gap['message'])}"
                  for gap in report["gaps"]] + [""]  # fmt: skip
    return "\n".join(lines)


def _group(group: Any, members: list[Any]) -> list[str]:
    first = members[0]
    lines = [f"## {group['severity'].upper()} {escape(group['message'])}", ""]
    lines += [f"Owner: {escape(', '.join(group['owners']))}. Group `{group['id']}`.", ""]
    for reason in first["reasons"][:1]:
        if "why" in reason:
            lines += [f"{escape(reason['why'])} {escape(reason['remedy'])}", ""]
    shown = members[:20]
    for finding in shown:
        fix = f" Fix: {escape(finding['fix']['text'])}." if finding["fix"] else ""
        lines.append(f"- `{finding['id'][:8]}` {escape(finding['message'])}.{fix}")
    if len(members) > len(shown):
        lines.append(f"- and {len(members) - len(shown)} more")
    return [*lines, ""]
