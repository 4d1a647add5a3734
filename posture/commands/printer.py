"""The one printer: records as a table, JSON, YAML or names. Everything shown passes `visible`."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import click
import yaml

from posture.collect import scalars
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
        click.echo(_yaml([list(records)]), nl=False)
    elif output == "name":
        for shown in dict.fromkeys(visible(str(record[name])) for record in records):
            click.echo(shown)
    elif not records:
        if empty:
            click.echo(empty, err=True)
    else:
        wide = output == "wide"
        table(records, [column for column in columns if wide or not column.wide], whole=wide)


def document(value: Any) -> None:
    """One JSON document, everything escaped that is not ASCII."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def yaml_documents(values: Sequence[Any]) -> None:
    """YAML documents that `kubectl apply` takes, everything escaped that is not ASCII."""
    click.echo(_yaml(values), nl=False)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that kubectl would read as something else: a namespace `y`, a label `1e3`, a name `08`."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A string, plain where that is still one."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if scalars.is_text(text) or not text else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _yaml(values: Sequence[Any]) -> str:
    plain: list[Any] = json.loads(json.dumps(values))  # YAML's dumper knows no tuples or mappings of other kinds
    return yaml.dump_all(plain, Dumper=_Dumper, sort_keys=False, width=math.inf)


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


READABLE = 60
"""Columns of the terminal that the last cell of a row needs; where fewer are left, it gets a line of its own."""


def table(records: Sequence[Record], columns: Sequence[Column], *, whole: bool = False) -> None:
    """Rows under headings. What finds no room goes below the rest of its row, in lines of its own.

    The last cell is cut where the terminal ends and much of it can be read; not at all with `whole`.
    """
    shown = [
        [column.title, *(visible(column.show(record), 500) for record in records)] for column in columns
    ]  # fmt: skip
    rows = list(zip(*(column for column in shown if any(column)), strict=True))
    sizes = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    limit = width()
    ends = [end - 3 for end in accumulate(size + 3 for size in sizes)]
    fitting = len(sizes)
    if limit - (ends[-1] - sizes[-1]) < (sizes[-1] if whole else min(READABLE, sizes[-1])):
        fitting = max(1, sum(end <= limit for end in ends[:-1]))
    for row in rows:
        padded = [pad(text, size) for text, size in zip(row, sizes, strict=True)]
        click.echo(cut("   ".join(padded[:fitting]).rstrip(), limit))
        for text in ("   ".join(filter(None, row[fitting:-1])), row[-1] if fitting < len(row) else ""):
            for line in wrapped("   " + text, "   ") if text else ():
                click.echo(line)


COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan", "info": None}


def severity(name: str, size: int = 0) -> str:
    """A severity as it is shown: in words, in colour where the terminal takes it."""
    shown = {"medium": "MED", "critical": "CRIT"}.get(name, name.upper())
    shown = pad(shown, size)
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return shown
    return click.style(shown, fg=COLOURS.get(name), bold=name in ("critical", "high"))
