"""The one printer: records as a table, JSON, YAML or names. Everything shown passes `visible`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click
import yaml

from posture.text import cut, visible

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


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, size: int) -> str:
    """A text filled up to a number of columns."""
    return text + " " * max(0, size - cells(text))


def table(records: Sequence[Record], columns: Sequence[Column]) -> None:
    """Rows under headings; the last column is cut where the terminal ends."""
    rows = [[column.title for column in columns]]
    rows += [[visible(column.show(record), 500) for column in columns] for record in records]
    sizes = [max(cells(row[number]) for row in rows) for number in range(len(columns))]
    limit = width()
    for row in rows:
        line = "   ".join(pad(text, size) for text, size in zip(row, sizes, strict=True)).rstrip()
        click.echo(cut(line, limit))


COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan", "info": None}


def severity(name: str, size: int = 0) -> str:
    """A severity as it is shown: in words, in colour where the terminal takes it."""
    shown = {"medium": "MED", "critical": "CRIT"}.get(name, name.upper())
    shown = pad(shown, size)
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return shown
    return click.style(shown, fg=COLOURS.get(name), bold=name in ("critical", "high"))
