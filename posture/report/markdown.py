"""Markdown: groups as headings with their findings, for a pull request or a ticket."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from posture.drift.lifecycle import TRANSIENT, lasted, was_possible
from posture.graph.sentences import reaching
from posture.model import AttackPath
from posture.report import Report
from posture.text import ago, begun, count, gap_place, listed, parse_time, visible

_MARKUP = re.compile(r"([\\`*_\[\]<>&|~#$]|:(?=//)|(?<=www)\.)")
_LIST = re.compile(r"[-+=]|\d+[.)]")
_CALLING = re.compile(r"(@|#(?=\d))")
"""Who is mentioned gets a mail, and GitHub looks for mentions after the backslashes are gone (github/markup#1168)."""

_UNUSED = 20
"""Exceptions of one owner that are shown."""


def escape(text: str) -> str:
    """A text that Markdown shows as it is, on one line, in visible characters only; it links and calls nobody."""
    shown = _CALLING.sub(r"\1&#8203;", _MARKUP.sub(r"\\\1", visible(text).strip(" ")))
    start = _LIST.match(shown)
    return shown[: start.end() - 1] + "\\" + shown[start.end() - 1 :] if start else shown


def render(report: Report) -> str:
    """The report as Markdown text."""
    run = report["run"]
    lines = ["# posture", ""]
    files = listed([escape(path) for path in run["baselineFiles"]])
    none = f"baseline in {files}" if files else "no baseline yet"
    for cluster in run["clusters"]:
        baseline = cluster["baseline"]
        agreed = f"baseline of {baseline['time'][:10]} by {escape(baseline['by'])}" if baseline else none
        objects, standing = count(cluster["objects"], "object"), cluster["standing"]
        lines += [f"{escape(cluster['name'])}: {objects}, {agreed}, {standing} standing", ""]
    several = len(run["clusters"]) > 1
    names = {one["id"]: f" of cluster {escape(one['name'])}" if several else "" for one in run["clusters"]}
    by_group: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for finding in report["findings"]:
        by_group[finding["cluster"], finding["group"]].append(finding)
    proofs: dict[Any, str] = {}
    for group in report["groups"]:
        lines += _group(group, by_group[group["cluster"], group["id"]], names[group["cluster"]], proofs)
    if not report["groups"]:
        read = ", as far as it could be read" if report["gaps"] else ""
        lines += [f"Nothing became possible that was not agreed{read}.", ""]
    open_ = [one for one in report.get("balance", ()) if one["verdict"] != "tightened"]
    if open_:
        lines += ["## Balance of the network since the baseline", ""]
        lines += [f"- {_balance(one)}{names[one['cluster']]}" for one in open_]
        lines.append("")
    for cluster in run["clusters"]:
        mine = [one for one in report["exceptions"] if one["cluster"] == cluster["id"]]
        lines += _exceptions(mine, names[cluster["id"]], cluster["time"]) if mine else []
    if report["gaps"]:
        lines += ["## Not read", ""]
        for gap in report["gaps"]:
            where = gap_place(gap["resource"], gap["namespace"], escape)
            lines.append(f"- {where}{names[gap['cluster']]}: {gap['reason']}, {escape(gap['message'])}")
        lines.append("")
    return "\n".join(lines)


def _balance(one: Any) -> str:
    opened = f"{count(one['opened'], 'opening')} ({one['effective']} in effect with nothing closed in return)"
    return f"{escape(one['namespace'])}: {one['verdict']}, {opened}, {count(one['closed'], 'closing')}"


def _exceptions(found: list[Any], cluster: str, now: str) -> list[str]:
    """How many exceptions are in which state; those that nobody uses by owner, the oldest first."""
    states = Counter(state for one in found for state in (one["state"], *one["also"]))
    lines = [f"## Exceptions{cluster}", ""]
    lines += [f"{count(len(found), 'exception')}: {listed([f'{n:,} {state}' for state, n in states.items()], 9)}.", ""]
    unused: dict[str, list[Any]] = defaultdict(list)
    for one in sorted(found, key=lambda one: one["created"] or now):
        if one["state"] == "unused":
            unused[one["owner"]["text"] if one["owner"] else ""].append(one)
    lines += ["Nobody uses:", ""] if unused else []
    for owner, mine in sorted(unused.items(), key=lambda row: (-len(row[1]), row[0])):
        whose = f"of {escape(owner)}" if owner else "of nobody who is known"
        lines.append(f"- {len(mine):,} {whose}")
        lines += [f"  - `{one['id']}`{_age(one, now)} {escape(one['exception'])}" for one in mine[:_UNUSED]]
        lines += [f"  - and {len(mine) - _UNUSED:,} more"] if len(mine) > _UNUSED else []
    return [*lines, ""] if unused else lines


def _age(one: Any, now: str) -> str:
    return f" ({ago(one['created'], parse_time(now))})" if one["created"] else ""


def _path(path: Any, proofs: dict[Any, str], finding: str) -> list[str]:
    """A path with its proof; one that was printed with another finding is only named."""
    said = escape(begun(reaching(AttackPath(path["source"], path["sink"], (), path["others"]))))
    proof = tuple(step["text"] for step in path["steps"])
    if not proof:
        return [f"{said} by it.", ""]
    known = proofs.setdefault((path["sink"], proof), finding)
    if known != finding:
        return [f"{said} by the steps that `{known[:8]}` shows.", ""]
    return [f"{said} by it:", "", *(f"1. {escape(step['text'])}{_whose(step)}" for step in path["steps"]), ""]


def _whose(step: Any) -> str:
    return f" ({escape(step['owner'])}, `{step['finding'][:8]}`)" if step["finding"] else ""


def _status(finding: Any) -> str:
    if finding["mark"] != TRANSIENT or "opened" not in finding:
        return str(finding["status"])
    return f"{TRANSIENT}: {was_possible(lasted(finding['opened'], finding['resolved']))}"


def _group(group: Any, members: list[Any], cluster: str, proofs: dict[Any, str]) -> list[str]:
    first = members[0]
    lines = [f"## {group['severity'].upper()} {escape(group['message'])}", ""]
    lines += [f"Owner: {escape(', '.join(group['owners']))}. Group `{group['id']}`{cluster}.", ""]
    for reason in first["reasons"][:1]:
        if "why" in reason:
            lines += [f"{escape(reason['why'])} {escape(reason['remedy'])}", ""]
    for path in first["attackPaths"][:1]:
        lines += _path(path, proofs, first["id"])
    shown = members[:20]
    for finding in shown:
        status = "" if finding["status"] == "open" else f" ({_status(finding)})"
        fix = f" Fix: {escape(finding['fix']['text'])}." if finding["fix"] else ""
        lines.append(f"- `{finding['id'][:8]}`{status} {escape(finding['message'])}.{fix}")
    if len(members) > len(shown):
        lines.append(f"- and {len(members) - len(shown)} more")
    return [*lines, ""]
