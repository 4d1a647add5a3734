"""Commands as whole processes: wall time, processor time and peak memory, as the operating system accounts for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

# A process's peak memory starts at that of the process that started it, so a small one stands between.
_LAUNCH = """
import json, os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
row = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
os.write(int(sys.argv[1]), json.dumps(row).encode())
"""


class Run(NamedTuple):
    """One finished process. Times in seconds, memory in MB."""

    wall: float
    cpu: float
    memory: float
    code: int
    output: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end; `output` is stdout and stderr together."""
    figures, told = os.pipe()
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", _LAUNCH, str(told), *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, pass_fds=(told,),
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    wall = time.perf_counter() - start
    os.close(told)
    with os.fdopen(figures) as pipe:
        code, cpu, memory = json.loads(pipe.read())
    return Run(wall, cpu, memory, code, done.stdout)


def middle(runs: Sequence[Run]) -> Run:
    """The median of each figure, the largest memory; code and output of the last."""
    return Run(
        median(one.wall for one in runs), median(one.cpu for one in runs), max(one.memory for one in runs),
        runs[-1].code, runs[-1].output,
    )  # fmt: skip
