"""The process that evaluates expressions: `python -m posture.cel.worker`, frames of JSON on its input and output.

It may not be trusted to end: whoever starts it kills it when an answer is late. It limits itself, since an expression
can ask for any amount of memory and of processor time within one call that nothing interrupts.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import orjson

from .environment import Program

MEMORY = 1 << 30
PROGRAMS = 256
"""How many compiled programs are kept."""

_LENGTH = struct.Struct(">I")


def limit(memory: int) -> None:
    """No files, no other process' output, no more memory than this."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        with contextlib.suppress(ValueError, OSError):  # not every system knows every limit; the deadline stays
            resource.setrlimit(what, (most, most))


def limit_time(seconds: int) -> None:
    """The kernel ends the process when it has used so many more seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, most))


def answered(question: Mapping[str, Any], kept: dict[str, Program]) -> list[Any]:
    """The answers of one program to each of some inputs. `kept` are compiled programs by their digests."""
    program = kept.get(question["digest"])
    if program is None:
        if len(kept) >= PROGRAMS:
            kept.clear()
            gc.collect()
        program = kept[question["digest"]] = Program(**question["program"])
    values = question["values"]
    return [program.answers({name: values[at] for name, at in inputs.items()}) for inputs in question["inputs"]]


def read(source: BinaryIO) -> bytes | None:
    """A frame; None at the end."""
    head = source.read(_LENGTH.size)
    return source.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def serve(source: BinaryIO, sink: BinaryIO, before: Callable[[int], None] = limit_time) -> None:
    """Answer until there is nothing more to read."""
    kept: dict[str, Program] = {}
    _write(sink, "ready")
    while (frame := read(source)) is not None:
        question = orjson.loads(frame)
        before(question["seconds"])
        _write(sink, answered(question, kept))


def _write(sink: BinaryIO, answer: Any) -> None:
    body = orjson.dumps(answer)
    sink.write(_LENGTH.pack(len(body)) + body)
    sink.flush()


if __name__ == "__main__":
    gc.disable()  # a pause would look like an expression that takes long
    limit(MEMORY)
    serve(sys.stdin.buffer, sys.stdout.buffer)
