"""Runs CEL in a process of its own, which gets nothing of this one's and is killed when it is late."""

from __future__ import annotations

import importlib.util
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import orjson

from posture.admission.cel import Answer, Evaluator, Missing, Program, Question, Value, unknown

SECONDS = 5.0
"""How long a program may take for one message of questions."""
START = 30.0
"""How long the process may take to be ready."""
BATCH = 256
"""Questions of one program in a message."""
LARGEST = 128 << 10
"""Bytes of what an evaluation may look at. The server stops at a cost, of which the lengths of texts are a part that
time does not show: below this a text's length alone does not reach it."""
KEPT = 200_000
"""Answers that are remembered."""

_LARGE = "what it looks at is large, and nobody knows whether the server would stop it"
_LENGTH = struct.Struct(">I")

type _Key = tuple[str, tuple[tuple[str, bytes], ...]]


class _LateError(Exception):
    """The process did not answer: the message says why."""


class Process:
    """An evaluator. The process starts with the first question; one that died is started again for the next program.

    A program at which the process died or was late is not tried again: its answers are unknown, and only its.
    """

    def __init__(self, *, seconds: float = SECONDS, largest: int = LARGEST) -> None:
        """`seconds` is what a program may take for one message, `largest` the bytes that it may look at."""
        self._seconds, self._largest = seconds, largest
        self._running: subprocess.Popen[bytes] | None = None
        self._known: dict[_Key, tuple[Answer, ...]] = {}
        self._given_up: dict[str, str] = {}
        self._broken = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process. The next question starts another one."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.communicate()

    @property
    def pid(self) -> int | None:
        """The id of the process that runs."""
        return self._running.pid if self._running else None

    def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """For each question, in order, one answer for each of its program's expressions."""
        keys: list[_Key] = []
        asked: dict[str, tuple[Program, dict[_Key, dict[str, Value]]]] = {}
        if len(self._known) > KEPT:
            self._known.clear()
        for program, inputs in questions:
            read = program.reads(inputs)
            key = program.digest, tuple((name, value.digest) for name, value in sorted(read.items()))
            keys.append(key)
            if not program.expressions:
                self._known[key] = ()
            elif sum(len(value.body) for value in read.values()) > self._largest:
                self._known[key] = unknown(program, _LARGE)
            elif key not in self._known:
                asked.setdefault(program.digest, (program, {}))[1][key] = read
        found: dict[_Key, tuple[Answer, ...]] = {}
        for program, wanted in asked.values():
            found.update(self._asked(program, list(wanted.items())))
        self._known.update(found)
        return [self._known[key] for key in keys]

    def _asked(
        self, program: Program, wanted: list[tuple[_Key, dict[str, Value]]]
    ) -> Iterator[tuple[_Key, tuple[Answer, ...]]]:
        for first in range(0, len(wanted), BATCH):
            some = wanted[first : first + BATCH]
            if program.digest not in self._given_up:
                try:
                    answers = self._exchange(_message(program, [inputs for _, inputs in some], self._seconds))
                    yield from ((key, _answers(one)) for (key, _), one in zip(some, answers, strict=True))
                    continue
                except _LateError as late:
                    self._given_up[program.digest] = str(late)
            yield from ((key, unknown(program, self._given_up[program.digest])) for key, _ in some)

    def _exchange(self, message: bytes) -> Any:
        running = self._process()
        try:
            assert running.stdin is not None
            running.stdin.write(_LENGTH.pack(len(message)) + message)
            running.stdin.flush()
            return self._answer(running, self._seconds)
        except (_LateError, OSError, ValueError) as error:
            self.close()
            late = error if isinstance(error, _LateError) else _LateError("the process that evaluated it died")
            raise late from None
        except BaseException:  # interrupted: what still comes must not be read as the next answer
            self.close()
            raise

    def _answer(self, running: subprocess.Popen[bytes], seconds: float) -> Any:
        end = time.monotonic() + seconds
        (length,) = _LENGTH.unpack(self._read(running, _LENGTH.size, end))
        return orjson.loads(self._read(running, length, end))

    def _read(self, running: subprocess.Popen[bytes], length: int, end: float) -> bytes:
        assert running.stdout is not None
        found = b""
        while len(found) < length:
            ready, _, _ = select.select([running.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise _LateError(f"evaluating it takes more than {self._seconds:g} s")
            part = running.stdout.read1(min(length - len(found), 1 << 20))  # type: ignore[attr-defined]
            if not part:
                raise _LateError("the process that evaluated it died, of too much memory or time")
            found += part
        return found

    def _process(self) -> subprocess.Popen[bytes]:
        """The process that runs. One that cannot be started is not tried again."""
        if self._broken:
            raise _LateError(self._broken)
        if self._running is None:
            try:
                self._running = _started()
                self._answer(self._running, START)
            except (_LateError, OSError, ValueError):
                self.close()
                self._broken = "the process that evaluates CEL cannot be started"
                raise _LateError(self._broken) from None
        return self._running


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "posture.cel.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,  # a key pressed at the terminal is for this process
    )


def evaluator() -> Evaluator:
    """The evaluator of this installation."""
    return Process() if installed() else Missing()


def installed() -> bool:
    """Whether the extra `cel` is."""
    return importlib.util.find_spec("cel_expr_python") is not None


def _message(program: Program, inputs: Sequence[dict[str, Value]], seconds: float) -> bytes:
    at: dict[bytes, int] = {}
    values: list[orjson.Fragment] = []
    for one in inputs:
        for value in one.values():
            if value.digest not in at:
                at[value.digest] = len(values)
                values.append(orjson.Fragment(value.body))
    return orjson.dumps(
        {
            "digest": program.digest,
            "program": program.body,
            "seconds": int(seconds) + 1,
            "values": values,
            "inputs": [{name: at[value.digest] for name, value in one.items()} for one in inputs],
        }
    )


def _answers(given: Sequence[Any]) -> tuple[Answer, ...]:
    return tuple(
        Answer("true" if one else "false") if isinstance(one, bool) else Answer(one[0], one[1]) for one in given
    )
