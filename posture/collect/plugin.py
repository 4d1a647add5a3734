"""Exec credential plugins: a program that a kubeconfig names, which prints a token or a client certificate.

Rules: KEP-541 and client-go's plugin/pkg/client/auth/exec. The kubernetes client's own runner logs a failure and goes
on as nobody, gives a plugin that must not ask anything the terminal, and waits for ever for one that hangs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from posture.errors import CannotJudge, UsageError
from posture.text import parse_time, visible

API_GROUP = "client.authentication.k8s.io"
SECONDS = 60.0
"""How long a plugin may take that cannot ask a person anything."""

_CLUSTER_FIELDS = (
    "server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url",
    "disable-compression",
)  # fmt: skip


class Credential(NamedTuple):
    """What a plugin printed: a bearer token, a certificate with its key (PEM), or both; "" is none.

    `expires` is in seconds since the epoch; None is good until the server refuses it.
    """

    token: str
    certificate: str
    key: str
    expires: float | None


def run(
    config: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path, *, interactive: bool, seconds: float = SECONDS
) -> Credential:
    """Run the plugin of a kubeconfig's `users[].user.exec` and read what it prints.

    `cluster` is the kubeconfig's entry, passed on where `provideClusterInfo` asks for it; a command with a slash is
    relative to `folder`; `interactive` says that a person can answer on the terminal. Raises UsageError when the
    configuration is wrong, and CannotJudge when the plugin fails or prints no ExecCredential.
    """
    command, version = str(config.get("command") or ""), str(config.get("apiVersion") or "")
    name = f"credential plugin {visible(command, 200)}"
    if not command or version not in (f"{API_GROUP}/v1", f"{API_GROUP}/v1beta1"):
        raise UsageError(f"{name}: a kubeconfig's exec needs a command and apiVersion {API_GROUP}/v1 (or v1beta1)")
    mode = config.get("interactiveMode") or "IfAvailable"
    if mode == "Always" and not interactive:
        raise CannotJudge(f"{name} must ask a person (interactiveMode: Always), and there is no terminal")
    asks = interactive and mode != "Never"
    if "/" in command:
        command = str(folder / command)
    arguments = [command, *(str(argument) for argument in config.get("args") or ())]
    printed = _output(arguments, _environment(config, _request(version, config, cluster, asks)), asks, seconds, config)
    return _credential(printed, version, name)


def _request(version: str, config: Mapping[str, Any], cluster: Mapping[str, Any], asks: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": asks}
    if config.get("provideClusterInfo"):
        spec["cluster"] = {field: cluster[field] for field in _CLUSTER_FIELDS if field in cluster}
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == f"{API_GROUP}/exec":
                spec["cluster"]["config"] = extension.get("extension")
    return {"apiVersion": version, "kind": "ExecCredential", "spec": spec}


def _environment(config: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, str]:
    added = {str(entry["name"]): str(entry.get("value", "")) for entry in config.get("env") or ()}
    return {**os.environ, **added, "KUBERNETES_EXEC_INFO": orjson.dumps(request).decode()}


def _output(
    arguments: list[str], environment: Mapping[str, str], asks: bool, seconds: float, config: Mapping[str, Any]
) -> bytes:
    name = f"credential plugin {visible(arguments[0], 200)}"
    hint = visible(str(config.get("installHint") or ""), 1000)
    try:
        done = subprocess.run(
            arguments,
            stdin=None if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if asks else subprocess.PIPE,
            env=environment,
            timeout=None if asks else seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotJudge(f"{name} did not end within {seconds:g} s", hint) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotJudge(f"{name} cannot be started: {visible(reason, 300)}", hint) from error
    if done.returncode:
        said = visible((done.stderr or b"").decode(errors="replace").strip(), 500)
        raise CannotJudge(f"{name} failed with exit code {done.returncode}{': ' * bool(said)}{said}", hint)
    return done.stdout


def _credential(printed: bytes, version: str, name: str) -> Credential:
    try:
        document = orjson.loads(printed)
        status = document["status"]
        said = [status.get(field) or "" for field in ("token", "clientCertificateData", "clientKeyData")]
        token, certificate, key = (text.strip() for text in said)
        expires = parse_time(text).timestamp() if (text := status.get("expirationTimestamp")) else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CannotJudge(f"{name} printed no ExecCredential with a status") from error
    if document.get("apiVersion") != version or document.get("kind") != "ExecCredential":
        raise CannotJudge(f"{name} printed something else than an ExecCredential of {version}")
    if bool(certificate) != bool(key) or not (token or certificate):
        raise CannotJudge(f"{name} printed neither a token nor a client certificate with its key")
    return Credential(token, certificate, key, expires)
