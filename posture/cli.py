"""The command line: one lazy group, so that `posture --help` loads nothing; errors and exit codes in one place."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from posture import __version__
from posture.errors import DRIFT, INTERRUPTED, OK, USAGE, PostureError
from posture.text import visible

COMMANDS: dict[str, tuple[str, str]] = {
    "scan": ("scan:scan", "Read a cluster and say what became possible that was not agreed."),
    "diff": ("diff:diff", "Compare two states: what became possible, and what no longer is."),
    "explain": ("explain:explain", "Say why an answer is what it is."),
    "who-can": ("who_can:who_can", "List everyone who may do something, and through what."),
    "baseline": ("baseline:baseline", "Approve, show, export and validate what is agreed."),
    "findings": ("findings:findings", "List, show and decide about findings."),
    "owners": ("owners:owners", "Try out who owns what, and why."),
    "report": ("report:report", "Write a report for tickets and other tools."),
    "snapshots": ("snapshots:snapshots", "List the snapshots that are stored."),
    "clusterrole": ("clusterrole:clusterrole", "Print the ClusterRole that posture itself needs."),
    "db": ("db:db", "Check, prune and verify the database."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their help lines are here."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(f"posture.commands.{module}"), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="posture")
def posture() -> None:
    """What is possible in a Kubernetes cluster that was not agreed, through which change, and whose it is.

    Results go to stdout, everything else to stderr. Exit codes: 0 nothing at or above the threshold, 1 drift (only
    where the command is a gate), 2 usage, 3 cannot judge, 4 database, 130 interrupted.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        code = run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough. Python would complain again when it flushes at exit.
        sys.stdout = open("/dev/null", "w")  # noqa: PTH123, SIM115
        code = OK
    sys.exit(code)


def run(args: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    try:
        result: Any = posture.main(args=args, standalone_mode=False, prog_name="posture")
    except PostureError as error:
        complain(str(error), error.hint)
        return error.exit_code
    except click.UsageError as error:
        complain(error.format_message(), f"`{error.ctx.command_path} --help` lists what there is" if error.ctx else "")
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted", "")
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def complain(message: str, hint: str) -> None:
    """Say on stderr what is wrong and what to do."""
    click.echo(f"error: {visible(message, 2000)}", err=True)
    if hint:
        click.echo(f"hint: {visible(hint, 2000)}", err=True)


__all__ = ["COMMANDS", "DRIFT", "main", "posture", "run"]
