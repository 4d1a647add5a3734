"""A control plane for people: `python -m tests.controlplane up`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import yaml

from tests.controlplane import build
from tests.controlplane.controlplane import ControlPlane, ControlPlaneError
from tests.controlplane.defaults import write_defaults
from tests.controlplane.manifests import LoadError, read_manifests

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.command == "up":
            return _up(options.version, options.load, options.kubeconfig)
        for minor in options.versions or build.minors():
            print(build.binaries(minor) if options.command == "build" else write_defaults(minor), flush=True)
    except KeyboardInterrupt:
        return 130
    except (build.BuildError, ControlPlaneError, LoadError, OSError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    versions = build.minors()
    up = commands.add_parser("up", help="start a control plane and keep it until Ctrl-C")
    up.add_argument("--version", choices=versions, default=build.NEWEST, help="default: %(default)s")
    up.add_argument("--load", type=Path, metavar="FOLDER", help="apply the manifests of this folder")
    up.add_argument("--kubeconfig", type=Path, metavar="PATH", help="write the kubeconfig here; removed at the end")
    for name, text in (
        ("build", "build the programs into the cache and print their folder"),
        ("defaults", "write the default RBAC policy of fresh servers to baselines/defaults/"),
    ):
        command = commands.add_parser(name, help=f"{text}; without a version, for all")
        command.add_argument("versions", nargs="*", metavar="VERSION", help=f"one of {', '.join(versions)}")
    return parser


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _up(minor: str, load: Path | None, kubeconfig: Path | None) -> int:
    if kubeconfig is not None and not _may_replace(kubeconfig):
        print(f"error: {kubeconfig} is there and was not written by this command; name another path", file=sys.stderr)
        return 2
    objects = read_manifests(load) if load else []
    build.binaries(minor)
    started = time.monotonic()
    with ControlPlane(minor) as plane:
        path = kubeconfig.resolve() if kubeconfig else plane.kubeconfig()
        plane.write_kubeconfig(path)
        try:
            _say(f"Kubernetes {plane.version} at {plane.url}, ready after {time.monotonic() - started:.1f} s")
            if load:
                _say(f"{plane.apply(objects)} objects applied from {load}")
            print(f"export KUBECONFIG={path}", flush=True)
            _say(f"kubectl of this version: {plane.programs / build.KUBECTL}\nlogs: {plane.folder}\nCtrl-C stops it.")
            while not plane.ended():
                time.sleep(0.5)
            name = plane.ended()[0]
            _say(f"error: {name} ended by itself:\n{plane.log(name).read_text(errors='replace')[-2000:]}")
        finally:
            path.unlink(missing_ok=True)
    return 1


def _may_replace(path: Path) -> bool:
    """Says whether nothing is there, or a kubeconfig that an earlier `up` left when it was killed."""
    if not path.exists():
        return True
    try:
        return str(json.loads(path.read_text())["current-context"]).startswith("posture-")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
