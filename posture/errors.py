"""Everything that posture raises on purpose, and the exit codes, in one place.

PostureError
├── UsageError          2   a flag, a file or a question that cannot be understood
│   └── FileError       2   a file that people write: file, line and field are named
├── CannotJudge         3   a required kind was forbidden or failed, or a cluster cannot be reached
└── StoreError          4   the database is locked, older, newer or damaged

Exit codes: 0 nothing at or above the threshold; 1 drift, only where the command is a gate, and it beats 3; 2 usage;
3 cannot judge; 4 store or integrity; 130 interrupted.
"""

from __future__ import annotations

import click

from posture.text import visible

OK = 0
DRIFT = 1
USAGE = 2
CANNOT_JUDGE = 3
STORE = 4
INTERRUPTED = 130


class PostureError(Exception):
    """One clear sentence: what, where, and (in `hint`) what to do."""

    exit_code = USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(PostureError):
    """A flag, a file or a question that cannot be understood."""


class FileError(UsageError):
    """A file that people write does not say what it should. The message starts with `FILE:LINE: FIELD`."""


class CannotJudge(PostureError):
    """A required kind was forbidden or failed, or the cluster cannot be reached."""

    exit_code = CANNOT_JUDGE


class StoreError(PostureError):
    """The database is locked, older, newer or damaged."""

    exit_code = STORE


def complain(message: str, hint: str) -> None:
    """Say on stderr what is wrong and what to do."""
    click.echo(f"error: {visible(message, 2000)}", err=True)
    if hint:
        click.echo(f"hint: {visible(hint, 2000)}", err=True)
