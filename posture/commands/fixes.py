"""Edits as YAML that kubectl takes; what is to be deleted or patched as commands in comments. posture never applies
them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

import click

from posture.kinds import called, manifest
from posture.model import Edit, Key
from posture.text import visible

from . import printer


def emit(edits: Iterable[tuple[str, Edit]]) -> None:
    """Print edits, each with what it is for; every object once."""
    first: dict[Key, tuple[str, Edit]] = {}
    for text, edit in edits:
        first.setdefault(edit.key, (text, edit))
    for text, edit in first.values():
        command = _command(edit)
        if command:
            click.echo(f"# {visible(text)}: {command}")
    documents = [manifest(one.key, one.new, one.absent) for _, one in first.values()
                 if one.new is not None and one.patch is None]  # fmt: skip
    if documents:
        printer.yaml_documents(documents)


def _command(edit: Edit) -> str:
    """The command for what `kubectl apply` cannot do, or not without the whole object; "" for the rest."""
    named = " ".join(_named(edit.key))
    if edit.new is None:
        return f"kubectl delete {named}"
    if edit.patch is None:
        return ""
    patch = json.dumps(edit.patch, separators=(",", ":"))  # what is not ASCII is escaped
    return f"kubectl patch --type strategic --patch {shlex.quote(patch)} {named}"


def _named(key: Key) -> list[str]:
    """An object as arguments of kubectl."""
    resource, _, name = called(key)
    where = ["-n", _quoted(key.namespace)] if key.namespace else []
    return [resource, *where, *(["--"] if name.startswith("-") else []), _quoted(name)]  # a name, not all there are


def _quoted(name: str) -> str:
    """A name for a shell: as it is, in quotes, or in bash's `$'…'` where it holds what cannot be seen."""
    if visible(name) == name:
        return shlex.quote(name)
    escaped = name.replace("\\", r"\\").replace("'", r"\'")
    parts = (c if visible(c) == c else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in escaped)
    return "$'" + "".join(parts) + "'"
