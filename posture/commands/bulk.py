"""Questions in bulk: one JSON line in, one JSON line out, in order."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click

from posture.errors import UsageError
from posture.text import visible

LONGEST = 1_000_000
"""Characters of a question; a file without line ends is not read for ever."""

type Answering = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""One question to its answer; raises ValueError for what is no question."""
option = click.option(
    "--batch", metavar="FILE|-", help="Questions in bulk: one JSON line in, one JSON line out, in order."
)


def alone(batch: str, *, asked: bool, flags: str) -> None:
    """Refuse a question beside `--batch`, and two things that are standard input. Raises UsageError."""
    if asked:
        raise UsageError("--batch brings its own questions", f"leave out {flags}")
    context = click.get_current_context()
    if batch == "-" and "-" in context.params.get("paths", ()):
        raise UsageError(
            "the questions and the manifests are both standard input, which can be read once",
            "name a file for one of them",
        )


def answered(batch: str, answering: Callable[[], Answering]) -> None:
    """Print the answer to each question of a file, once there is one; `answering` makes what answers."""
    with _opened(batch) as lines:
        for line in _answers(lines, answering()):
            click.echo(line)


def _opened(batch: str) -> IO[str]:
    if batch == "-":
        return open(sys.stdin.fileno(), encoding="utf-8", closefd=False)
    try:
        return Path(batch).open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {visible(batch, 200)}: {error.strerror}", "name a file, or -") from error


def _answers(lines: IO[str], answer: Answering) -> Iterator[str]:
    for number, line in enumerate(_decoded(lines), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            if not isinstance(given, dict):
                raise ValueError("not a JSON object")  # noqa: TRY004, TRY301 - one error for a line that is wrong
            said = answer(given)
        except (ValueError, RecursionError) as error:
            what = f"no JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise UsageError(
                f"line {number}: {what}", "write one JSON object for each question, as docs/contracts.md says"
            ) from error
        yield json.dumps(said, ensure_ascii=True)


def _decoded(lines: IO[str]) -> Iterator[str]:
    try:
        while line := lines.readline(LONGEST):
            if len(line) == LONGEST:
                raise UsageError(f"a question is longer than {LONGEST:,} characters", "write one a line")
            yield line
    except UnicodeDecodeError as error:
        raise UsageError(f"the questions are no UTF-8: {error.reason}", "write them as UTF-8") from error
