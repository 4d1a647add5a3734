"""A real Kubernetes control plane of plain processes: etcd, kube-apiserver and three of the controllers.

There is no kubelet, no scheduler, no network and nothing behind a webhook: objects are stored, watched, authorized and
admitted as in any cluster, and no container ever runs.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import http.client
import io
import json
import os
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from tests.controlplane import build, manifests
from tests.controlplane.aggregation import aggregated
from tests.controlplane.client import Client, RefusedError
from tests.controlplane.folders import TemporaryFolder
from tests.controlplane.processes import Process, reserve_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ADMIN: Final = "admin"
CONTROLLERS: Final = ("clusterrole-aggregation-controller", "serviceaccount-controller", "namespace-controller")
START_SECONDS: Final = 60.0
KUBECTL_SECONDS: Final = 120.0
MASTERS: Final = ("system:masters",)


class ControlPlaneError(RuntimeError):
    """The control plane did not start, or kubectl failed; the message shows the last lines of the log, or stderr."""


class ControlPlane:
    """One control plane. As a context manager it runs inside the block; else `start()` and `stop()`.

    Values to read: `minor`, `version` (as in `v1.36.3`); after the start `url` (`https://127.0.0.1:PORT`), `programs`
    (the folder of the binaries) and `folder` (temporary, for this user alone: data, certificates, logs, kubeconfigs).
    """

    def __init__(
        self,
        minor: str = build.NEWEST,
        *,
        users: Mapping[str, Sequence[str]] | None = None,
        apiserver_flags: Sequence[str] = (),
        controllers: Sequence[str] = CONTROLLERS,
        wait_for_defaults: bool = True,
    ) -> None:
        """Says what to start; nothing runs yet.

        `users` are user names with their groups; `admin` in system:masters is always there. `apiserver_flags` come
        after the usual ones, so that the last word is theirs. Without `controllers` no controller manager runs, and
        with `wait_for_defaults` the start also waits for what the usual ones make of a fresh server: the rules of
        aggregated roles and the default ServiceAccount.
        """
        self.minor = minor
        self.version = build.version_of(minor)
        self.apiserver_flags = list(apiserver_flags)
        self._controllers = list(controllers)
        self._wait_for_defaults = wait_for_defaults and set(CONTROLLERS) <= set(controllers)
        self._groups = {ADMIN: MASTERS, **(users or {})}
        self._tokens = {user: secrets.token_hex(16) for user in self._groups}
        self._running: dict[str, Process] = {}  # by program, in the order of the start
        self._port: socket.socket | None = None
        self._client: Client | None = None
        self._temporary: TemporaryFolder | None = None
        self.url = ""
        self.programs = Path()
        self.folder = Path()

    def __enter__(self) -> Self:
        """Starts."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stops."""
        self.stop()

    def start(self) -> Self:
        """Builds the programs if need be, starts them and waits until they are ready.

        build.BuildError or ControlPlaneError when it fails; then nothing is left running.
        """
        self.programs = build.binaries(self.minor)
        self._temporary = TemporaryFolder()
        self.folder = self._temporary.path
        try:
            self._port = reserve_port()
            self.url = f"https://127.0.0.1:{self._port.getsockname()[1]}"
            self._write_secrets()
            self._start_etcd()
            self._start_apiserver()
            if self._controllers:
                self._start_controllers()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops every process that was started, the last one first, and removes the folder. May be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None
        while self._running:
            self._running.popitem()[1].stop()
        if self._port is not None:
            self._port.close()
        if self._temporary is not None:
            self._temporary.remove()

    def restart_apiserver(self, apiserver_flags: Sequence[str] | None = None) -> None:
        """Stops kube-apiserver and starts it on the same port with the same data; perhaps with other flags than before.

        Its watch cache is empty after that, and all connections are closed.
        """
        if apiserver_flags is not None:
            self.apiserver_flags = list(apiserver_flags)
        self._running[build.APISERVER].stop()
        self._start_apiserver()  # in the same place of _running: the controllers are stopped before it, etcd after it

    def ended(self) -> list[str]:
        """Gives the names of the programs that ended though nobody stopped them."""
        return [program for program, process in self._running.items() if not process.running()]

    @property
    def ca_file(self) -> Path:
        """The file to verify the server's certificate with: its own certificate and the authority that signed it."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that runs, by the program's name."""
        return {program: process.pid for program, process in self._running.items()}

    def log(self, program: str) -> Path:
        """Gives the log file of `etcd`, `kube-apiserver` or `kube-controller-manager`."""
        return self.folder / f"{program}.log"

    def user_token(self, user: str = ADMIN) -> str:
        """Gives the bearer token of one of the users. KeyError for another name."""
        return self._tokens[user]

    def token(self, namespace: str, serviceaccount: str, *, seconds: int = 3600) -> str:
        """Asks for a real token of a ServiceAccount (TokenRequest). RefusedError if there is no such account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{serviceaccount}/token"
        answer: str = self.request("POST", path, {"spec": {"expirationSeconds": seconds}})["status"]["token"]
        return answer

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Sends one request, as admin unless there is a token, and gives the decoded JSON (or text).

        RefusedError(status, body) for a status of 400 or more. An empty token sends none: the anonymous user. With the
        headers Impersonate-User and Impersonate-Group admin acts as anyone.
        """
        if self._client is None:
            raise ControlPlaneError("the control plane is not running")
        sent = self.user_token() if token is None else token
        return self._client.request(method, path, body, token=sent, headers=headers)

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """Gives the path of a kubeconfig for one of the users, in the folder. KeyError for another name."""
        path = self.folder / f"kubeconfig-{quote(user, safe='')}"
        if not path.exists():  # another thread's kubectl may be reading it
            self.write_kubeconfig(path, user)
        return path

    def write_kubeconfig(self, path: Path, user: str = ADMIN) -> None:
        """Writes a kubeconfig for one of the users, which only this user may read. It names no other file."""
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        name = f"posture-{self.minor}"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": self.user_token(user)}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        }
        _write_secret(path, json.dumps(content, indent=2) + "\n")  # JSON is YAML

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 (its name in the standard library's subprocess.run)
        user: str = ADMIN,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as a user; gives its exit code and output. ControlPlaneError if it fails and `check` is set."""
        places = [f"--kubeconfig={self.kubeconfig(user)}", f"--cache-dir={self.folder / 'kubectl-cache'}"]
        done = subprocess.run(
            [self.programs / build.KUBECTL, *places, *args],
            input=input, capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS,
        )  # fmt: skip
        if check and done.returncode:
            raise ControlPlaneError(f"kubectl {' '.join(args)} failed with exit code {done.returncode}:\n{done.stderr}")
        return done

    def load(self, folder: Path, *, manager: str = "kubectl") -> int:
        """Applies all manifests of a folder (or one file) as a field manager; gives how many objects there were.

        Namespaces come first, then CustomResourceDefinitions; what could refuse the others (policies, webhooks) comes
        last. manifests.LoadError names what was refused.
        """
        return self.apply(manifests.read_manifests(Path(folder)), manager=manager)

    def apply(self, objects: Iterable[manifests.Object], *, manager: str = "kubectl") -> int:
        """Does what `load` does, for objects instead of files."""
        with contextlib.closing(Client(self.url, self.ca_file)) as client:
            return manifests.apply(client, self.user_token(), objects, manager=manager)

    def compact(self) -> None:
        """Makes etcd forget all past versions of objects.

        A list at exactly an older resourceVersion is then answered with 410 Gone. The watch cache remembers on its own:
        only after `restart_apiserver()` a watch from an older one gets an ERROR event with the code 410.
        """
        with contextlib.closing(_EtcdConnection(self._etcd_socket)) as etcd:
            revision = etcd.call("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
            etcd.call("/v3/kv/compaction", {"revision": revision, "physical": True})

    @property
    def _etcd_socket(self) -> Path:
        return self.folder / "etcd.sock"

    def _write_secrets(self) -> None:
        table = io.StringIO()
        for user, token in self._tokens.items():
            groups = [",".join(self._groups[user])] if self._groups[user] else []  # an empty field is a group named ""
            csv.writer(table).writerow([token, user, user, *groups])
        _write_secret(self.folder / "tokens.csv", table.getvalue())
        _write_secret(self.folder / "serviceaccounts.key", _signing_key())

    def _start_etcd(self) -> None:
        # Sockets in a folder that only this user may enter: etcd asks nobody for a password. The peer address, which a
        # single member never uses, must have a port, and is relative to the folder that the process runs in.
        self._run(
            build.ETCD, "--name=posture", "--data-dir=etcd", "--log-level=warn", "--unsafe-no-fsync",
            f"--listen-client-urls=unix://{self._etcd_socket}", "--advertise-client-urls=http://localhost:2379",
            "--listen-peer-urls=unix://peer:0", "--initial-advertise-peer-urls=http://localhost:2380",
            "--initial-cluster=posture=http://localhost:2380", "--heartbeat-interval=50", "--election-timeout=250",
            "--quota-backend-bytes=8589934592",
        )  # fmt: skip

    def _start_apiserver(self) -> None:
        key = "serviceaccounts.key"
        self._run(
            build.APISERVER, f"--etcd-servers=unix://{self._etcd_socket}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self.url.rpartition(':')[2]}", "--permit-port-sharing",
            "--cert-dir=certificates", "--token-auth-file=tokens.csv", "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged",
            "--endpoint-reconciler-type=none",  # it would refuse to publish a loopback address, again and again
            *self.apiserver_flags,
        )  # fmt: skip
        self._wait("ready", self._ready)

    def _start_controllers(self) -> None:
        self._run(
            build.CONTROLLER_MANAGER, f"--controllers={','.join(self._controllers)}",
            f"--kubeconfig={self.kubeconfig()}", "--leader-elect=false", "--secure-port=0",
            "--kube-api-qps=200", "--kube-api-burst=400",
        )  # fmt: skip
        if self._wait_for_defaults:
            self._wait("complete with the default roles and accounts", self._defaults_there)

    def _run(self, program: str, *flags: str) -> None:
        self._running[program] = Process([self.programs / program, *flags], self.log(program))

    def _ready(self) -> bool:
        if self._client is None:
            self._client = Client(self.url, self.ca_file)
        return bool(self.request("GET", "/readyz") == "ok")

    def _defaults_there(self) -> bool:
        roles = self.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]
        return aggregated(roles) and bool(self.request("GET", "/api/v1/namespaces/default/serviceaccounts/default"))

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Asks until the answer is yes; ControlPlaneError when a process ended or the time is over."""
        deadline = time.monotonic() + START_SECONDS
        last = "no answer"
        while time.monotonic() < deadline:
            for program in self.ended():
                tail = self._running[program].tail()
                raise ControlPlaneError(
                    f"{program} of {self.version} ended before the control plane was {what}:\n{tail}"
                )
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException, RefusedError) as error:  # not listening yet, or not ready
                last = str(error)
            time.sleep(0.05)
        program, process = list(self._running.items())[-1]
        raise ControlPlaneError(
            f"not {what} after {START_SECONDS:.0f} s ({last}); the last lines of {program}:\n{process.tail()}"
        )


class _EtcdConnection(http.client.HTTPConnection):
    """Speaks with etcd's JSON gateway through its socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def call(self, path: str, body: object) -> Any:
        self.request("POST", path, json.dumps(body))
        response = self.getresponse()
        text = response.read().decode()
        if response.status != http.HTTPStatus.OK:
            raise ControlPlaneError(f"etcd answered {response.status}: {text}")
        return json.loads(text)


def _signing_key() -> str:
    """Makes a P-256 key for ServiceAccount tokens: the private number alone is a whole key in PEM (RFC 5915)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    number = (1 + secrets.randbelow(order - 1)).to_bytes(32)
    content = bytes.fromhex("30310201010420") + number + bytes.fromhex("a00a06082a8648ce3d030107")
    return f"-----BEGIN EC PRIVATE KEY-----\n{base64.encodebytes(content).decode()}-----END EC PRIVATE KEY-----\n"


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
