"""The one printer: records as a table, JSON, YAML or names. Everything shown passes `visible`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click
import yaml

from posture.text import cells, cut, flowed, visible

type Record = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table: its heading and what it shows of a record. `wide` ones are shown with `-o wide`."""

    title: str
    show: Callable[[Record], str]
    wide: bool = False


def field(title: str, name: str, *, wide: bool = False) -> Column:
    """A column that shows one field."""
    return Column(title, lambda record: str(record.get(name) or ""), wide)


def emit(records: Sequence[Record], columns: Sequence[Column], output: str, name: str = "id", empty: str = "") -> None:
    """Print records in the form that `-o` asks for. `name` is the field of `-o name`, `empty` what to say of none."""
    if output == "json":
        document(list(records))
    elif output == "yaml":
        click.echo(yaml.safe_dump([_plain(record) for record in records], sort_keys=False), nl=False)
    elif output == "name":
        for record in records:
            click.echo(visible(str(record[name])))
    elif not records:
        if empty:
            click.echo(empty, err=True)
    else:
        table(records, [column for column in columns if output == "wide" or not column.wide])


def document(value: Any) -> None:
    """One JSON document, everything escaped that is not ASCII."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def yaml_documents(values: Sequence[Any]) -> None:
    """YAML documents that `kubectl apply` takes, everything escaped that is not ASCII."""
    click.echo(yaml.safe_dump_all([_plain(value) for value in values], sort_keys=False), nl=False)


def _plain(value: Any) -> Any:
    """JSON values only: YAML's dumper knows no tuples or mappings of other kinds."""
    return json.loads(json.dumps(value))


def width() -> int:
    """The terminal's columns, or `$COLUMNS`; unlimited where the output is no terminal and nobody says."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return shutil.get_terminal_size().columns if known else 10_000


def wrapped(text: str, indent: str) -> list[str]:
    """A text in visible characters, broken between words where the terminal ends."""
    return flowed(visible(text).split(" "), width(), " ", indent)


def pad(text: str, size: int) -> str:
    """A text filled up to a number of columns."""
    return text + " " * max(0, size - cells(text))


READABLE = 40
"""Columns that the last cell of a row needs; where the terminal has fewer left, it gets a line of its own."""


def table(records: Sequence[Record], columns: Sequence[Column]) -> None:
    """Rows under headings. The last cell is cut where the terminal ends, or goes below the others as a whole."""
    shown = [
        [column.title, *(visible(column.show(record), 500) for record in records)] for column in columns
    ]  # fmt: skip
    rows = list(zip(*(column for column in shown if any(column)), strict=True))
    sizes = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    limit = width()
    below = limit - sum(sizes[:-1]) - 3 * (len(sizes) - 1) < min(READABLE, sizes[-1])
    for row in rows:
        padded = [pad(text, size) for text, size in zip(row, sizes, strict=True)]
        if below:
            click.echo(cut("   ".join(padded[:-1]).rstrip(), limit))
            for line in wrapped("   " + row[-1], "   "):
                click.echo(line)
        else:
            click.echo(cut("   ".join(padded).rstrip(), limit))


COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan", "info": None}


def severity(name: str, size: int = 0) -> str:
    """A severity as it is shown: in words, in colour where the terminal takes it."""
    shown = {"medium": "MED", "critical": "CRIT"}.get(name, name.upper())
    shown = pad(shown, size)
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return shown
    return click.style(shown, fg=COLOURS.get(name), bold=name in ("critical", "high"))
