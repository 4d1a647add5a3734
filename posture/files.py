"""Files that people write: read with their lines, held against a JSON Schema, refused in one clear sentence."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from posture import resources
from posture.errors import FileError, UsageError
from posture.text import listed, visible

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

YAML = (".yaml", ".yml")
MOST_BYTES = 64_000_000


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


def data(path: Path | Traversable) -> bytes:
    """The bytes of a file, or of a pipe. Raises UsageError when it cannot be read, and for what might never end."""
    name = visible(str(path) if isinstance(path, Path) else path.name, 300)
    try:
        mode = path.stat().st_mode if isinstance(path, Path) else stat.S_IFREG
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path) == os.devnull:
            return path.read_bytes()
        found = _pipe(path) if isinstance(path, Path) and stat.S_ISFIFO(mode) else None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}", "check the path and its permissions") from error
    if found is None:
        raise UsageError(f"{name} is no file", "name a file, or a pipe that ends")
    if len(found) > MOST_BYTES:
        raise UsageError(f"the pipe {name} gives more than {MOST_BYTES:,} bytes", "name a file instead")
    return found


@cache
def _pipe(path: Path) -> bytes:
    """The start of what a pipe gives: it can be read once, and a file that people write is often needed twice."""
    with path.open("rb") as stream:
        return stream.read(MOST_BYTES + 1)


def read(path: Path | Traversable, package: str = "", schema: str = "") -> Written:
    """Read one YAML or JSON file. Raises UsageError when it cannot be read, FileError when it says the wrong thing."""
    from posture.collect.document import ManifestError  # noqa: PLC0415 - the parser is needed by few commands
    from posture.collect.manifest import load_with_lines  # noqa: PLC0415

    name = visible(str(path) if isinstance(path, Path) else path.name, 300)
    try:
        value, line_of = load_with_lines(data(path))
    except ManifestError as error:
        raise FileError(f"{name}:{error.line}: {error.reason}", "it must be one YAML or JSON document") from error
    if value is None and schema:  # nothing but comments: every key is left out
        value = {}
    written = Written(value, line_of, name)
    if schema:
        _validate(written, resources.schema(package, schema), schema)
    return written


def _validate(written: Written, schema: dict[str, object], title: str) -> None:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - costs 60 ms
    from jsonschema.exceptions import relevance  # noqa: PLC0415
    from referencing import Registry, Resource  # noqa: PLC0415

    shared = resources.schema("posture.checks", "check.schema.json")  # others refer to its words
    registry: Registry[Any] = Registry().with_resource("posture:check", Resource.from_contents(shared))
    errors = list(Draft202012Validator(schema, registry=registry).iter_errors(written.value))
    if not errors:
        return
    error = _nearest(max(errors, key=relevance))
    path, instance = list(error.absolute_path), error.instance
    within: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == _UNKNOWN and isinstance(instance, dict):
        known = sorted(within.get("properties") or ())
        unknown = min(str(key) for key in instance if key not in known)
        raise written.error([*path, unknown], "is not known here", _suggested(unknown, known))
    if error.validator == "enum":
        known = [str(one) for one in within["enum"]]
        raise written.error(path, f"{_form(instance)} is not known here", _suggested(str(instance), known))
    if error.validator == "required" and isinstance(instance, dict):
        missing = next(name for name in within["required"] if name not in instance)
        raise written.error(
            [*path, missing], "is missing", within.get("description") or f"{title} says what belongs here"
        )
    raise written.error(path, _said(error), within.get("description") or f"{title} says what belongs here")


def _suggested(given: str, known: Sequence[str]) -> str:
    close = get_close_matches(given, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {listed(list(known), 20)}"


_UNKNOWN = "additionalProperties"
_NAMES = {"object": "a mapping", "array": "a list", "string": "a string", "integer": "an integer", "number": "a number",
          "boolean": "true or false", "null": "null"}  # fmt: skip


def _named(types: str | list[str]) -> str:
    """JSON Schema's types in YAML's words."""
    return " or ".join(_NAMES[one] for one in ([types] if isinstance(types, str) else types))


def _form(value: Any) -> str:
    """What a value is, in the same words; a plain one is quoted as it was read."""
    if isinstance(value, dict | list):
        return _NAMES["object" if isinstance(value, dict) else "array"]
    if isinstance(value, str):
        return f"the string {value!r}" if len(value) <= 60 else "a string"
    return json.dumps(value)


def _said(error: ValidationError) -> str:
    """What is wrong with a value."""
    wanted: Any = error.validator_value
    if error.validator == "type":
        return f"must be {_named(wanted)}, and is {_form(error.instance)}"
    if error.validator == "const":
        return f"must be {json.dumps(wanted)}"
    if error.validator == "minItems":
        return "must not be empty"
    if error.validator == "oneOf" and isinstance(error.instance, dict):
        keys = [key for form in wanted for key in form.get("required", ()) if key in error.instance]
        return f"only one of {listed(keys)} can stand here"
    if error.validator is None:  # where the schema is `false`
        return "holds fields that do not go together"
    return error.message if len(error.message) <= 200 else error.message[:80] + " … " + error.message[-100:]


def _nearest(error: ValidationError) -> ValidationError:
    """Of several forms that a value may have, what is wrong with the one that it resembles most."""
    while error.validator in ("anyOf", "oneOf") and error.context:
        forms: dict[Any, list[ValidationError]] = {}
        for one in error.context:
            forms.setdefault(one.schema_path[0], []).append(one)
        error = min(forms.values(), key=_strangeness)[0]
    return error


def _strangeness(errors: Sequence[ValidationError]) -> int:
    """How many of a value's keys a form does not know, and what it misses."""
    within: list[tuple[Any, Any]] = [(one.instance, one.schema) for one in errors if one.validator == _UNKNOWN]
    unknown = sum(len(set(instance) - set(schema["properties"])) for instance, schema in within)
    return unknown + sum(one.validator in ("required", "oneOf") for one in errors)


def yaml_files(folder: Path | Traversable, suffixes: tuple[str, ...] = YAML) -> Iterable[Path | Traversable]:
    """All YAML files below a folder, sorted by path; what is named itself when it is no folder."""
    if not folder.is_dir():
        yield folder
        return
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.is_dir() and not item.name.startswith("."):
            yield from yaml_files(item, suffixes)
        elif item.name.endswith(suffixes):
            yield item
