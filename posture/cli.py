"""The command line: one lazy group, so that `posture --help` loads nothing; errors and exit codes in one place."""

from __future__ import annotations

import io
import os
import sys
import traceback
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from posture import __version__
from posture.errors import CANNOT_JUDGE, DRIFT, INTERRUPTED, OK, USAGE, PostureError, complain
from posture.text import visible

COMMANDS: dict[str, tuple[str, str]] = {
    "scan": ("scan:scan", "Read a cluster and say what became possible that was not agreed."),
    "watch": ("watch:watch", "Follow a cluster, and say at once what became possible that was not agreed."),
    "diff": ("diff:diff", "Compare two states: what became possible, and what no longer is."),
    "explain": ("explain:explain", "Say why an answer is what it is."),
    "who-can": ("who_can:who_can", "List everyone who may do something, and through what."),
    "baseline": ("baseline:baseline", "Approve, show, export and validate what is agreed."),
    "findings": ("findings:findings", "List, show and decide about findings."),
    "exceptions": (
        "exceptions:exceptions",
        "List and show what takes a subject out of a policy, and whether it is needed.",
    ),
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a name that is none, say which one is meant: click knows only what it has loaded."""
        close = get_close_matches(args[0], COMMANDS, 1)
        if close and close[0] != args[0]:
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {close[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

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


class Output(io.TextIOWrapper):
    """Standard output whose reader may leave early (`| head`): the rest is dropped, and the command ends as it would.

    Its exit code is a gate's answer, so it must not depend on who reads.
    """

    def write(self, text: str) -> int:
        """Write, or drop what nobody reads."""
        try:
            return super().write(text)
        except BrokenPipeError:
            drop_output()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what nobody reads."""
        try:
            super().flush()
        except BrokenPipeError:
            drop_output()


def drop_output() -> None:
    """From here on standard output goes nowhere, what is still buffered included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit."""
    _open_standard_streams()
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        encoding, buffered = out.encoding, out.line_buffering
        sys.stdout = Output(out.buffer, encoding, "backslashreplace", line_buffering=buffered)
    code = run(args)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _unwritten(error)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Where the caller closed one (`>&-`), the database would get its number, and output would be written into it."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115


def run(args: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    try:
        result: Any = posture.main(args=args, standalone_mode=False, prog_name="posture")
    except PostureError as error:
        complain(str(error), error.hint)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        complain(error.format_message(), f"`{error.ctx.command_path} --help` lists what there is" if error.ctx else "")
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted", "")
        return INTERRUPTED
    except OSError as error:
        return _unwritten(error)
    except Exception as error:  # noqa: BLE001 - exit code 1 would say that there is drift
        for line in traceback.format_exc().splitlines():
            click.echo(visible(line), err=True)
        complain(f"posture failed: {type(error).__name__}: {error}", "this is a bug; please report the lines above")
        return CANNOT_JUDGE
    return result if isinstance(result, int) else OK


def _unwritten(error: OSError) -> int:
    """A full disk behind standard output, a file that vanished: nothing that posture foresees."""
    drop_output()
    what = f"{error.filename}: {error.strerror}" if error.filename else f"cannot write the output: {error.strerror}"
    complain(what, "nothing in the database was half-written; run it again")
    return CANNOT_JUDGE


__all__ = ["COMMANDS", "DRIFT", "main", "posture", "run"]
