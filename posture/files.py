"""Files that people write: read with their lines, held against a JSON Schema, refused in one clear sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from posture import resources
from posture.errors import FileError, UsageError
from posture.text import listed, visible


class Written(NamedTuple):
    """A file's value, the line of any path in it, and what it is called in messages."""

    value: Any
    line_of: Callable[[tuple[Any, ...]], int]
    name: str

    def error(self, path: Sequence[Any], message: str, hint: str = "") -> FileError:
        """An error at a place in the file: `FILE:LINE: FIELD: message`."""
        return FileError(f"{self.name}:{self.line_of(tuple(path))}: {_field(path)}{visible(message)}", hint)


def _field(path: Sequence[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return f"{visible(text, 200)}: " if text else ""


def read(path: Path | Traversable, package: str = "", schema: str = "") -> Written:
    """Read one YAML or JSON file. Raises UsageError when it cannot be read, FileError when it says the wrong thing."""
    from posture.collect.document import ManifestError  # noqa: PLC0415 - the parser is needed by few commands
    from posture.collect.manifest import load_with_lines  # noqa: PLC0415

    name = visible(str(path) if isinstance(path, Path) else path.name, 300)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", "check the path and its permissions") from error
    try:
        value, line_of = load_with_lines(data)
    except ManifestError as error:
        raise FileError(f"{name}:{error.line}: {error.reason}", "it must be one YAML or JSON document") from error
    written = Written(value, line_of, name)
    if schema:
        _validate(written, resources.schema(package, schema), schema)
    return written


def _validate(written: Written, schema: dict[str, object], title: str) -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - costs 60 ms
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    error = best_match(Draft202012Validator(schema).iter_errors(written.value))
    if error is None:
        return
    path, instance = list(error.absolute_path), error.instance
    within: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and isinstance(instance, dict):
        known = sorted(within.get("properties") or ())
        unknown = min(str(key) for key in instance if key not in known)
        raise written.error([*path, unknown], "is not known here", _suggested(unknown, known))
    if error.validator == "enum":
        known = [str(one) for one in within["enum"]]
        raise written.error(path, f"{_plain(repr(instance))} is not known here", _suggested(str(instance), known))
    if error.validator == "required" and isinstance(instance, dict):
        missing = next(name for name in within["required"] if name not in instance)
        raise written.error(
            [*path, missing], "is missing", within.get("description") or f"{title} says what belongs here"
        )
    raise written.error(path, _plain(error.message), within.get("description") or f"{title} says what belongs here")


def _suggested(given: str, known: Sequence[str]) -> str:
    close = get_close_matches(given, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {listed(list(known), 20)}"


def _plain(message: str) -> str:
    """jsonschema's own sentence, without the dump of a whole value."""
    return message if len(message) <= 200 else message[:80] + " … " + message[-100:]


def yaml_files(folder: Path | Traversable) -> Iterable[Path | Traversable]:
    """All YAML files below a folder, sorted by path; the file itself when it is one."""
    if folder.is_file():
        yield folder
        return
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.is_dir() and not item.name.startswith("."):
            yield from yaml_files(item)
        elif item.name.endswith((".yaml", ".yml")):
            yield item
