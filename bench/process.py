"""Commands as whole processes: wall time, processor time and peak memory, as the operating system accounts for them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Run(NamedTuple):
    """One finished process. Times in seconds, memory in MB."""

    wall: float
    cpu: float
    memory: float
    code: int
    output: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end."""
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(environment or {})}
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode, output)


def middle(runs: Sequence[Run]) -> Run:
    """The median of each figure; code and output of the last."""
    return Run(
        median(one.wall for one in runs), median(one.cpu for one in runs), max(one.memory for one in runs),
        runs[-1].code, runs[-1].output,
    )  # fmt: skip
