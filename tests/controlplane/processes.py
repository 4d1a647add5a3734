"""Plain child processes that cannot outlive the process that started them, each with a log file."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# kube-apiserver would wait for a minute for the clients that still watch. Nothing is lost when it is killed: what it
# answered for is in etcd, and the data of etcd outlive only a restart of kube-apiserver.
STOP_SECONDS: Final = 2.0
TAIL_LINES: Final = 25

# Runs in the child before the program: asks Linux to kill it when its parent dies, in a way that survives exec.
# The parent may have died before that, which the last look at getppid finds out. A preexec_fn would need a fork of a
# process that may have threads. Elsewhere than on Linux only a normal exit of the parent stops the children.
LAUNCH: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

# Linux means the parent's *thread* when it says parent: a child started in a short-lived thread would die with that.
# So one thread starts all of them and lives until the interpreter ends.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="controlplane-starter")


class Process:
    """One running program. It is stopped by its own process id only, and its output goes to `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        """Starts the command (an absolute path first), in a session of its own: Ctrl-C reaches only the parent."""
        self.log = log
        self._popen = _starter.submit(self._start, [str(part) for part in command]).result()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        # Variables named ETCD_… would change etcd's flags.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), *command]
        with self.log.open("ab") as output:
            return subprocess.Popen(
                launcher, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.log.parent,
                env=environment, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id, also after the process ended."""
        return self._popen.pid

    def running(self) -> bool:
        """Says whether the process has not ended yet."""
        return self._popen.poll() is None

    def stop(self) -> None:
        """Asks the process to end, and kills it if it has not after `STOP_SECONDS`. Does nothing if it has ended."""
        if self.running():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        if self.running():
            self._popen.kill()
        self._popen.wait()

    def tail(self) -> str:
        """Gives the last lines of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-TAIL_LINES:]) or "(the log is empty)"


def reserve_port() -> socket.socket:
    """Takes a free loopback port and holds it for as long as the socket is open.

    The socket never listens, so no connection reaches it. A server of the same user can listen on the port if it also
    sets SO_REUSEPORT (kube-apiserver: --permit-port-sharing): nobody takes the port while the server is started again.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held
