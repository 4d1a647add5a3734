"""make docs: writes what lists something from what it lists, and quotes the demo where a document asks for it.

docs/cli.md comes from the command line, docs/checks.md and docs/escalations.md from checks/, and each block below a
`<!-- demo: FROM … TO -->` comment from the demo's output. tests/test_docs.py fails when a file is not as this writes
it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from posture import cli, errors
from posture.admission.controls import CONTROLS as STANDARD
from posture.admission.sentences import PHRASES
from posture.admission.violations import CONTROLS
from posture.model import SEVERITIES
from posture.pipeline import DOMAINS

ROOT = Path(__file__).parents[1]
QUOTING = ("README.md", "docs/semantics.md")
"""The documents that may quote the demo."""

EXIT_CODES = {
    "OK": "nothing at or above the threshold; for commands that are no gate: it worked, drift or not",
    "DRIFT": "drift, only where the command is a gate: `diff`, and `scan --fail-on`. It goes before 3",
    "USAGE": "a flag, a file or a question that cannot be understood",
    "CANNOT_JUDGE": "a required kind was forbidden or failed, or the cluster could not be reached",
    "STORE": "the database is locked, older, newer or damaged",
    "INTERRUPTED": "interrupted",
}
ENVIRONMENT = {
    "POSTURE_DB": "the database, where `--db` is not given",
    "POSTURE_CONFIG": "the configuration file, where `--config` is not given",
    "POSTURE_USER": "who decides, where `--by` is not given",
    "POSTURE_NOW": "the time that counts as now, so that a run can be repeated: `2026-10-20T12:00:00Z`",
    "KUBECONFIG": "as kubectl has it",
    "XDG_CONFIG_HOME": "where `posture/config.yaml` is looked for; else `~/.config`",
    "XDG_STATE_HOME": "where `posture/posture.db` is kept; else `~/.local/state`",
    "NO_COLOR": "no colours",
    "COLUMNS": "the width of the output, also where it is no terminal",
}
DOMAIN = {
    "rbac": "What may be done (rbac)",
    "network": "What may be sent and received (network)",
    "admission": "What is admitted (admission)",
}
SHOWN = 3
"""So many alternatives of a condition stand in the table."""
HEAD = "<!-- Written by `make docs`. Edit what it is made from, not this file. -->\n\n"


def codes() -> dict[str, int]:
    """The exit codes, by their name in posture.errors."""
    return {name: value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}


# The command line ---------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[click.Context, click.Command]]:
    """Every command, with the groups that hold some."""
    context = click.Context(cli.posture, info_name="posture")
    for name in cli.posture.list_commands(context):
        command = cli.posture.get_command(context, name)
        assert command is not None
        yield from _below(click.Context(command, info_name=name, parent=context), command)


def _below(context: click.Context, command: click.Command) -> Iterator[tuple[click.Context, click.Command]]:
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _below(click.Context(found, info_name=name, parent=context), found)


def cli_page() -> str:
    """docs/cli.md."""
    every = list(commands())
    lines = ["# The command line", "",
             "Results go to standard output, everything else to standard error, so that output can be piped. JSON and",
             "YAML hold nothing but ASCII; what a table shows of a cluster is shown in visible characters only.", "",
             "| command | |", "|---|---|"]  # fmt: skip
    for context, command in every:
        if not isinstance(command, click.Group):
            path = context.command_path
            lines.append(f"| [`{path}`](#{anchor(path)}) | {_cell(_sentence(command))} |")
    lines += ["", "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {value} | {EXIT_CODES[name]} |" for name, value in sorted(codes().items(), key=lambda row: row[1])]
    lines += ["", "## Environment", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items()]
    for context, command in every:
        if not isinstance(command, click.Group):
            lines += ["", *_command(context, command)]
    return HEAD + "\n".join(lines) + "\n"


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f"## {context.command_path}"
    yield ""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"    {context.command_path} {usage}"
    yield ""
    for paragraph in (command.help or "").split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""
    yield "| flag | meaning |"
    yield "|---|---|"
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _sentence(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# The checks ---------------------------------------------------------------------------------------------------------


def checks() -> list[dict[str, Any]]:
    """Every shipped check, gravest first."""
    found = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for domain in DOMAINS
        for path in (ROOT / "checks" / domain.NAME).glob("*.yaml")
    ]
    return sorted(found, key=lambda check: (SEVERITIES.index(check["severity"]), check["id"]))


def checks_page() -> str:
    """docs/checks.md."""
    every = checks()
    lines = [
        "# Checks", "",
        f"posture ships {len(every)} checks. A check is a file: a rule about what is possible, why it matters and what",
        "to do instead. With a baseline, checks say how grave a change is; without one, where they hold is what is",
        "reported. What no check knows is `low`. Each one has an example that fails and one that passes in",
        "[checks/examples](../checks/examples). Folders of your own are added with `--checks`; the form is",
        "[checks/check.schema.json](../checks/check.schema.json); [contracts.md](contracts.md#checks) explains it.",
    ]  # fmt: skip
    for domain in DOMAINS:
        lines += ["", f"{DOMAIN[domain.NAME]}:", ""]
        lines += ["| check | severity | condition | Kubernetes |", "|---|---|---|---|"]
        lines += [
            f"| [`{one['id']}`](#{one['id']}) | {one['severity']} | {_cell(one['title'])} | {_versions(one)} |"
            for one in every if one["domain"] == domain.NAME
        ]  # fmt: skip
    lines += ["", *_controls()]
    for one in every:
        lines += ["", *_check(one)]
    return HEAD + "\n".join(lines) + "\n"


def _controls() -> Iterator[str]:
    yield "The controls that a check of what is admitted may name, and how many requests that violate it are asked for"
    yield "each; [admission.md](admission.md) explains them:"
    yield ""
    yield "| control | what violates it | Pod Security Standard | requests |"
    yield "|---|---|---|---|"
    levels = {one.id: one.level for one in STANDARD}
    for control, numbers in sorted(CONTROLS.items(), key=lambda row: [*PHRASES].index(row[0])):
        yield f"| `{control}` | {PHRASES[control]} | {levels.get(control, '')} | {len(numbers)} |"


def _check(check: dict[str, Any]) -> Iterator[str]:
    example = f"../checks/examples/{check['id']}/fail.yaml"
    match = yaml.safe_dump(check["match"], sort_keys=False, default_flow_style=None, width=100).rstrip()
    yield f"## {check['id']}"
    yield ""
    can = f" Who holds it can {_can(check)}." if "can" in check else ""
    yield f"**{check['severity']}**: {check['title']}.{can}"
    yield ""
    yield " ".join(check["why"].split())
    yield ""
    yield f"**Instead.** {' '.join(check['remedy'].split())}"
    yield ""
    if _versions(check):
        yield f"Kubernetes {_versions(check)}."
        yield ""
    yield from ("```yaml", match, "```", "")
    yield f"References: {', '.join(check.get('references', ())) or 'none'}. Example: [fail.yaml]({example})."


def _can(check: dict[str, Any]) -> str:
    match = check["match"]
    anywhere = {"cluster": "every namespace", "namespace": "a namespace"}.get(
        match.get("scope"), "the namespaces that it is granted in"
    )
    where = " and ".join(match["namespaces"]) if "namespaces" in match else anywhere
    return str(check["can"]).replace("{where}", where)


def _versions(check: dict[str, Any]) -> str:
    given = check.get("versions") or {}
    since, until = given.get("since"), given.get("until")
    if since and until:
        return f"{since} to {until}"
    return f"{since} and newer" if since else f"up to {until}" if until else ""


# The escalations ----------------------------------------------------------------------------------------------------


def escalations() -> list[dict[str, Any]]:
    """Every shipped escalation, as its file says it."""
    files = sorted((ROOT / "checks" / "escalations").glob("*.yaml"))
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]


def escalations_page() -> str:
    """docs/escalations.md."""
    every = escalations()
    lines = [
        "# Escalations", "",
        f"posture ships {len(every)} escalations: the steps of [attack paths](graph.md) that follow from permissions.",
        "Each is a file in [checks/escalations](../checks/escalations). Folders of your own are added:",
        "[escalations-own.md](escalations-own.md) says how.", "",
        "Conditions are in short here and in full below; of several verbs or resources, any is enough. A condition is",
        "met in a namespace, `$ns`, or cluster-wide, which is in every one. One identity has to hold all that *and*",
        "joins; what *together with* joins may be held by several, in the same namespace.", "",
        "Each condition is shown by real requests: accepted with exactly what it asks for, refused with any part of it",
        "missing. Where *all* is shown, so is what follows. Of the others it says below what has to act beside an API",
        "server, and where that is written.", "",
        "| escalation | step | condition | gives | Kubernetes | shown |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in every:
        shown = "all" if "unproven" not in one else "condition"
        cells = (one["title"], _condition(one), _effect(one, every), _versions(one), shown)
        lines.append(f"| [`{one['id']}`](#{one['id']}) | {' | '.join(map(_cell, cells))} |")
    for one in every:
        lines += ["", *_escalation(one)]
    return HEAD + "\n".join(lines) + "\n"


def _condition(one: dict[str, Any]) -> str:
    """What has to be allowed and what has to hold, in short."""
    where = one.get("where") or {}
    parts = [" together with ".join(_placed(request) for request in one.get("requests", ()))]
    parts += [f"[`{name}`](#{name})" for name in one.get("uses", ())]
    parts += [f"{name} is held" for name in one.get("holds", ())]
    for word, text in (("admits", "$ns admits"), ("admitsUnlabelled", "without Pod Security labels $ns would admit"),
                       ("admitsInNewNamespace", "a new namespace admits")):  # fmt: skip
        controls = dict.fromkeys(f"`{pattern.partition(':')[0]}`" for pattern in where.get(word, ()))
        parts += [f"{text} {' or '.join(controls)}"] if controls else []
    parts += ["no policy refuses every pod in $ns"] if "admitsPods" in where else []
    parts += ["a pod of one's own in $ns reaches the metadata service"] if "reachesMetadata" in where else []
    parts += ["a namespace may be created"] if "newNamespace" in where else []
    parts += ["a container reads its standard input"] if "stdin" in where else []
    parts += [f"Kyverno reads exceptions of {where['exceptions']} in $ns"] if "exceptions" in where else []
    parts += [f"the API serves `{where['serves']}`"] if "serves" in where else []
    parts += [f"an existing {where['refers'].partition('/')[0]} refers to the role"] if "refers" in where else []
    return "; ".join(filter(None, parts))


def _placed(request: dict[str, Any]) -> str:
    """What one identity has to be allowed, and where."""
    only = " or ".join(f"`{name}`" for name in request.get("namespaces", ()))
    return _asked(request) + (f" in {only}" if only else " cluster-wide" if request.get("scope") == "cluster" else "")


def _asked(tree: dict[str, Any], *, inner: bool = False) -> str:
    """A tree of permissions, each as `verbs resources`; of many alternatives the first ones."""
    for word, between in (("all", " and "), ("any", " or ")):
        if word in tree:
            parts = list(dict.fromkeys(_asked(part, inner=True) for part in tree[word]))
            more = f"{between}…" if len(parts) > SHOWN else ""
            text = between.join(parts[:SHOWN]) + more
            return f"({text})" if inner and len(parts) > 1 else text
    groups = [group for group in tree["apiGroups"] if group]
    names = [name for name in tree.get("resourceNames", ()) if not name.startswith("$")]
    of = f".{groups[0]}" if groups and groups != ["*"] else ""
    text = f"{','.join(tree['verbs'])} {','.join(f'{resource}{of}' for resource in tree['resources'])}"
    return f"`{text}`" + (f" named {' or '.join(f'`{name}`' for name in names)}" if names else "")


def _effect(one: dict[str, Any], every: list[dict[str, Any]]) -> str:
    """What whoever meets the condition gets, in short."""
    ((kind, given),) = one["effect"].items()
    if kind == "ability" and given is not True:
        return f"what `{given}` gives"
    if kind == "ability":
        users = [f"`{other['id']}`" for other in every if one["id"] in other.get("uses", ())]
        return f"a part of {', '.join(users)}" if users else "nothing by itself; your own escalations may use it"
    names = ", ".join(f"`{name}`" for name in ([given] if isinstance(given, str) else given))
    words = {"become": "becomes", "reach": "reaches", "switchOff": "switches off", "grantRulesOf": "is granted",
             "rewrite": "gives any rule to", "make": "makes with any rule"}  # fmt: skip
    return f"{words[kind]} {names}"


def _escalation(one: dict[str, Any]) -> Iterator[str]:
    meaning = {field: one[field] for field in ("requests", "uses", "where", "effect") if field in one}
    yield f"## {one['id']}"
    yield ""
    yield f"**{one['title']}.** {' '.join(one['why'].split())}"
    yield ""
    yield f"**Instead.** {' '.join(one['remedy'].split())}"
    yield ""
    if _versions(one):
        yield f"Kubernetes {_versions(one)}."
        yield ""
    text = yaml.safe_dump(meaning, sort_keys=False, default_flow_style=None, width=100).rstrip()
    yield from ("```yaml", text, "```", "")
    if "unproven" in one:
        said = " ".join(one["unproven"].split())
        yield f"**What no request shows.** {said[0].upper()}{said[1:]}"
        yield ""
    yield f"References: {', '.join(one['references'])}."


# Quotes of the demo -------------------------------------------------------------------------------------------------


def demo() -> list[str]:
    """The lines that the demo prints; the seconds of a scan are one tenth, whatever the machine."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "posture-demo.db"
        done = subprocess.run(
            [sys.executable, "-m", "examples.demo", str(database)], cwd=ROOT, text=True, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip
    return re.sub(r" in \d+\.\d s\b", " in 0.1 s", done.stdout.replace(str(database), "posture-demo.db")).splitlines()


QUOTE = re.compile(r"(<!-- demo: ([^\n]+?) … ([^\n]+?) -->\n```text\n).*?(```\n)", re.DOTALL)


def quoted(text: str, output: list[str]) -> str:
    """A document with what its comments ask for: the demo's lines from one that begins so up to one that begins so."""

    def replaced(found: re.Match[str]) -> str:
        first = next(number for number, line in enumerate(output) if line.startswith(found[2]))
        last = next(number for number in range(first + 1, len(output)) if output[number].startswith(found[3]))
        return found[1] + "\n".join(output[first:last]).strip("\n") + "\n" + found[4]

    return QUOTE.sub(replaced, text)


def files() -> dict[str, str]:
    """Every generated file, by its path in the checkout."""
    output = demo()
    found = {"docs/cli.md": cli_page(), "docs/checks.md": checks_page(),
             "docs/escalations.md": escalations_page()}  # fmt: skip
    for path in QUOTING:
        found[path] = quoted((ROOT / path).read_text(encoding="utf-8"), output)
    return found


def main() -> int:
    """Write them."""
    for path, text in files().items():
        (ROOT / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
