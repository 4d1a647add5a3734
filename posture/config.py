"""Settings: flags go before environment variables, these before the configuration file, that before the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posture import files
from posture.errors import UsageError

PEER_LABELS = ("environment", "env", "tier")
DOCUMENT_BYTES = 32_000_000
NODES = 1_000_000
_SPOKEN = {True: "yes", False: "no"}
"""In YAML an unquoted yes or no is a boolean."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the configuration file says, with the defaults for the rest. Paths are relative to the file."""

    db: str = ""
    checks: tuple[Path, ...] = ()
    baseline: tuple[Path, ...] = ()
    owners: Path | None = None
    new_namespaces: Literal["like-peers", "review"] = "like-peers"
    peer_labels: tuple[str, ...] = PEER_LABELS
    pods_by_ip: Literal["yes", "no", "unknown", "detect"] = "detect"
    pod_security: Mapping[str, Any] | None = None
    """What the API server's PodSecurityConfiguration holds; None where nobody says."""
    annotations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The annotations that say who owns an exception, and so on."""
    register: Path | None = None
    document_bytes: int = DOCUMENT_BYTES
    nodes: int = NODES


def default_path() -> Path:
    """`$POSTURE_CONFIG`, else config.yaml in the user's configuration folder, or in /etc for who has none."""
    if os.environ.get("POSTURE_CONFIG"):
        return Path(os.environ["POSTURE_CONFIG"])
    folder = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(folder) if folder else Path.home() / ".config") / "posture" / "config.yaml"
    except RuntimeError:  # a container's user need have no home
        return Path("/etc/posture/config.yaml")


def load(path: Path | None = None) -> Config:
    """The settings of a file; the defaults when there is none at the default place.

    Raises UsageError when a file that was named is missing, FileError when it says the wrong thing.
    """
    named = path is not None or bool(os.environ.get("POSTURE_CONFIG"))
    path = path or default_path()
    if not path.exists():
        if named:
            raise UsageError(f"there is no configuration file {path}", "check --config and POSTURE_CONFIG")
        return Config()
    given = files.read(path, "posture", "config.schema.json").value or {}
    limits, exceptions = given.get("limits") or {}, given.get("exceptions") or {}
    by_ip = given.get("podsByIp", "detect")

    def beside(name: str) -> Path:
        return path.parent / Path(name).expanduser()

    return Config(
        db=str(beside(given["db"])) if "db" in given else "",
        checks=tuple(map(beside, given.get("checks", ()))),
        baseline=tuple(map(beside, given.get("baseline", ()))),
        owners=beside(given["owners"]) if "owners" in given else None,
        new_namespaces=given.get("newNamespaces", "like-peers"),
        peer_labels=tuple(given.get("peerLabels", PEER_LABELS)),
        pods_by_ip=_SPOKEN.get(by_ip, by_ip),
        pod_security=given.get("podSecurity"),
        annotations=exceptions.get("annotations") or {},
        register=beside(exceptions["register"]) if "register" in exceptions else None,
        document_bytes=limits.get("documentBytes", DOCUMENT_BYTES),
        nodes=limits.get("nodes", NODES),
    )
