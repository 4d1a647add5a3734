"""How an API server is reached, and as whom: from a kubeconfig, or from the ServiceAccount of the pod this runs in.

The kubernetes client reads the cluster's and the user's entry: addresses, certificates, basic authentication, proxies.
Before that the files are merged here as kubectl merges them, and what the client leaves out is done here: the first
`current-context` wins, paths are relative to the file that names them, token files rotate, credential plugins may fail
or expire, impersonation, proxies with a password, private keys that do not stay on the disk, no second TLS dialect.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

import yaml

from posture.collect import plugin
from posture.errors import CannotJudge, FileError, UsageError
from posture.text import listed, visible

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_FILE_SECONDS = 60.0
"""A token file is read again after this time, as client-go does: the kubelet rotates it in place."""

_FILE_FIELDS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_SECTIONS = ("clusters", "contexts", "users")


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and the credentials for it.

    `server` is its URL without a slash at the end; `headers` are sent with every request (Authorization,
    Impersonate-…); `tls` is None for plain HTTP; `multiplexed` is the same, but offers HTTP/2 where it is there;
    `proxy` "" is none; `expires`, in seconds since the epoch, is when to load the credentials again. `context` is "" in
    a pod; `verified` False where the certificate is not checked.
    """

    server: str
    name: str = ""
    context: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    multiplexed: ssl.SSLContext | None = field(default=None, repr=False)
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    compressed: bool = True
    verified: bool = True
    expires: float | None = None

    @property
    def host(self) -> str:
        """The server's host, with its port where it has one."""
        return urlsplit(self.server).netloc.rpartition("@")[2]


class Multiplexed(ssl.SSLContext):
    """Offers HTTP/2 before what urllib3, which says this each time that it connects, knows of."""

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """See SSLContext."""
        super().set_alpn_protocols(["h2", *alpn_protocols])


class _Entry(NamedTuple):
    """A cluster, context or user of a kubeconfig, and the folder of the file that it came from."""

    content: dict[str, Any]
    folder: Path


type _Merged = dict[str, dict[str, _Entry]]


def load(
    context: str | None = None,
    kubeconfig: str | None = None,
    *,
    interactive: bool = False,
    service_account: Path = SERVICE_ACCOUNT,
    now: Callable[[], float] = time.time,
) -> Access:
    """Read what a context names, as kubectl does: `kubeconfig`, else KUBECONFIG, else ~/.kube/config, else the pod's.

    `interactive` allows credential plugins to ask on the terminal. Raises UsageError (FileError with the place) when
    there is no configuration, the context is unknown or an entry is wrong, and CannotJudge when credentials that it
    names cannot be had.
    """
    files = _files(kubeconfig)
    if not files:
        if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return _of_pod(service_account, now)
        raise UsageError(
            "there is no kubeconfig: neither --kubeconfig nor KUBECONFIG nor ~/.kube/config names a file that exists",
            "name one with --kubeconfig, or read manifests with --from PATH",
        )
    merged, current = _merge(files)
    chosen = context or current
    names = listed([visible(name, 100) for name in sorted(merged["contexts"])], 10) or "none"
    if not chosen:
        raise UsageError("the kubeconfig has no current context", f"choose one with --context: {names}")
    if chosen not in merged["contexts"]:
        raise UsageError(f"the kubeconfig has no context {visible(chosen, 100)}", f"there are: {names}")
    return _of_context(chosen, merged, interactive, now)


def _files(kubeconfig: str | None) -> list[Path]:
    if kubeconfig:
        path = Path(kubeconfig).expanduser()
        if not path.exists():
            raise UsageError(f"the kubeconfig {visible(kubeconfig, 300)} does not exist", "check --kubeconfig")
        return [path]
    named = os.environ.get("KUBECONFIG")
    paths = named.split(os.pathsep) if named else ["~/.kube/config"]
    return [path for path in (Path(part).expanduser() for part in paths if part) if path.exists()]


def _merge(files: list[Path]) -> tuple[_Merged, str]:
    """The entries by section and name, and the current context: in both, the first file that says something wins."""
    merged: _Merged = {section: {} for section in _SECTIONS}
    current = ""
    for path in files:
        document = _document(path)
        current = current or str(document.get("current-context") or "")
        for section in _SECTIONS:
            for entry in document.get(section) or ():
                content = entry.get(section[:-1]) if isinstance(entry, dict) else None
                if not isinstance(entry, dict) or "name" not in entry or not isinstance(content or {}, dict):
                    raise FileError(f"{visible(str(path), 300)}: {section}: an entry has no name, or is no mapping")
                merged[section].setdefault(str(entry["name"]), _Entry(content or {}, path.absolute().parent))
    return merged, current


def _document(path: Path) -> dict[str, Any]:
    place = visible(str(path), 300)
    try:
        document = yaml.safe_load(path.read_bytes()) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FileError(f"{place}:{line}: the kubeconfig is not valid YAML: {error.problem}") from error
    except (OSError, yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"{place}: the kubeconfig cannot be read: {visible(reason, 300)}") from error
    if not isinstance(document, dict) or not all(isinstance(document.get(s) or [], list) for s in _SECTIONS):
        raise FileError(f"{place}: this is no kubeconfig")
    return document


def _of_context(name: str, merged: _Merged, interactive: bool, now: Callable[[], float]) -> Access:
    context = merged["contexts"][name].content
    label = f"context {visible(name, 100)}"
    cluster = merged["clusters"].get(str(context.get("cluster")))
    user = merged["users"].get(str(context.get("user")), _Entry({}, Path()))
    if cluster is None or not cluster.content.get("server"):
        raise UsageError(f"{label} of the kubeconfig names no cluster that has a server")
    settings, identity = _absolute(cluster), _absolute(user)
    authorization, certificate, expires = _credential(identity, settings, user.folder, interactive, now)
    # OpenSSL reads certificates from files and from nothing else: they are there for as long as that takes.
    with tempfile.TemporaryDirectory(prefix="posture-") as folder:
        configuration = _configuration(settings, identity | certificate, Path(folder), label)
        found = _access(configuration, label)
    authorization = authorization or configuration.auth_settings().get("BearerToken", {}).get("value") or ""
    return replace(
        found,
        name=str(context.get("cluster")),
        context=name,
        headers=_headers(authorization, _impersonation(identity), label),
        proxy=str(settings.get("proxy-url") or "") or _proxy(found.server),
        compressed=not settings.get("disable-compression"),
        expires=expires,
    )


def _absolute(entry: _Entry) -> dict[str, Any]:
    """The entry without empty fields (an empty `…-data` must not hide the file beside it), with absolute paths."""
    content = {name: value for name, value in entry.content.items() if value not in (None, "")}
    for name in _FILE_FIELDS:
        if name in content:
            content[name] = str(entry.folder / str(content[name]))
    return content


def _credential(
    user: dict[str, Any], cluster: Mapping[str, Any], folder: Path, interactive: bool, now: Callable[[], float]
) -> tuple[str, dict[str, str], float | None]:
    """The Authorization header, a plugin's certificate as fields of a user, and when to ask again; as client-go does.

    The header is "" where certificates or basic authentication are left to the kubernetes client.
    """
    if "tokenFile" in user:
        return f"Bearer {_token_of(Path(user['tokenFile']))}", {}, now() + TOKEN_FILE_SECONDS
    if "token" in user:
        return f"Bearer {str(user['token']).strip()}", {}, None
    if isinstance(user.get("exec"), dict):
        found = plugin.run(user["exec"], cluster, folder, interactive=interactive)
        pair = {"client-certificate-data": found.certificate, "client-key-data": found.key}
        encoded = {name: b64encode(text.encode()).decode() for name, text in pair.items() if text}
        return f"Bearer {found.token}" if found.token else "", encoded, found.expires
    provider = user.get("auth-provider")
    if isinstance(provider, dict):
        # Kubernetes 1.26 dropped all but oidc. A refresh token is never spent here: many servers take it only once,
        # and the next one would have to be written into somebody's kubeconfig.
        token = (provider.get("config") or {}).get("id-token") if provider.get("name") == "oidc" else None
        if not token:
            name = visible(str(provider.get("name")), 100)
            raise UsageError(f"the kubeconfig's auth-provider {name} has no token to use", "use a credential plugin")
        return f"Bearer {token}", {}, None
    return "", {}, None


def _token_of(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotJudge(f"the token file {visible(str(path), 300)} cannot be read: {reason}") from error
    if not token:
        raise CannotJudge(f"the token file {visible(str(path), 300)} is empty")
    return token


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of `as`, `as-uid`, `as-groups` and `as-user-extra`: without them one would read as somebody else."""
    single = (("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid")))
    pairs = [(name, str(value)) for name, value in single if value]
    pairs += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for name, values in sorted((user.get("as-user-extra") or {}).items()):
        pairs += [(f"Impersonate-Extra-{quote(str(name), safe='')}", str(value)) for value in values]
    return pairs


def _headers(authorization: str, others: list[tuple[str, str]], label: str) -> tuple[tuple[str, str], ...]:
    pairs = [("Authorization", authorization), *others] if authorization else others
    for name, value in pairs:
        if not (value.isascii() and value.isprintable()):
            raise UsageError(f"{label}: what {name} should say has characters that HTTP cannot carry")
    return tuple(pairs)


def _kubernetes() -> tuple[Any, Any]:
    """kubernetes.client and kubernetes.config: not typed throughout, and 0.2 s to import."""
    import kubernetes.config.incluster_config  # noqa: PLC0415

    return kubernetes.client, kubernetes.config


def _configuration(cluster: dict[str, Any], user: dict[str, Any], folder: Path, label: str) -> Any:
    """The kubernetes client's Configuration of one cluster and one user, whose certificates are put into a folder."""
    client, config = _kubernetes()
    ours = ("tokenFile", "token", "exec", "auth-provider")
    user = {name: value for name, value in user.items() if name not in ours}
    configuration = client.Configuration()
    try:
        content = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "clusters": [{"name": "c", "cluster": _in_files(cluster, folder)}],
            "users": [{"name": "c", "user": _in_files(user, folder)}],
        }
        config.load_kube_config_from_dict(content, client_configuration=configuration)
    except (config.ConfigException, ValueError, TypeError, AttributeError, OSError) as error:
        raise UsageError(f"{label} of the kubeconfig cannot be used: {visible(str(error), 300)}") from error
    return configuration


def _in_files(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The entry with files in place of the data in it. (Those that the client makes stay until the process ends.)"""
    content = dict(entry)
    for name in _FILE_FIELDS:
        if data := content.pop(f"{name}-data", None):
            path = folder / name
            path.touch(0o600)
            path.write_bytes(b64decode(data))
            content[name] = str(path)
    return content


def _of_pod(folder: Path, now: Callable[[], float]) -> Access:
    client, config = _kubernetes()
    configuration = client.Configuration()
    loader = config.incluster_config.InClusterConfigLoader(
        token_filename=str(folder / "token"),
        cert_filename=str(folder / "ca.crt"),
        try_refresh_token=False,
        environ=os.environ,
    )
    try:
        loader.load_and_set(configuration)
    except (config.ConfigException, OSError) as error:
        raise CannotJudge(
            f"there is no kubeconfig, and this pod has no ServiceAccount to use: {visible(str(error), 300)}",
            "set automountServiceAccountToken: true",
        ) from error
    label = "the pod's ServiceAccount"
    found = _access(configuration, label)
    return replace(
        found,
        headers=_headers(f"Bearer {_token_of(folder / 'token')}", [], label),
        proxy=_proxy(found.server),
        expires=now() + TOKEN_FILE_SECONDS,
    )


def _access(configuration: Any, label: str) -> Access:
    """The server and its TLS; reads the files that the configuration names."""
    server = str(configuration.host).rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{label}: the server {visible(server, 200)} is no http or https URL")
    tls, multiplexed = None, None
    if parts.scheme == "https":
        tls, multiplexed = _tls(configuration, label, ssl.SSLContext), _tls(configuration, label, Multiplexed)
    server_name = str(getattr(configuration, "tls_server_name", None) or "")
    found = Access(
        server, tls=tls, multiplexed=multiplexed, tls_server_name=server_name, verified=bool(configuration.verify_ssl)
    )
    return replace(found, name=found.host)


def _tls(configuration: Any, label: str, kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    try:
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        if configuration.ssl_ca_cert:
            context.load_verify_locations(configuration.ssl_ca_cert)
        elif configuration.verify_ssl:
            context.load_default_certs()
        # As Go does, and Python up to 3.12: authorities without key identifiers, as many clusters have, are trusted,
        # and so is an intermediate one that the kubeconfig names.
        context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            # Without a password function OpenSSL would ask on the terminal.
            context.load_cert_chain(configuration.cert_file, configuration.key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{label}: the certificate authority or the client certificate cannot be used: {visible(str(error), 200)}"
        ) from error
    return context


def _proxy(server: str) -> str:
    """The environment's proxy for a server. As in Go there is none for loopback, whatever the environment says."""
    proxies = getproxies()
    proxy = proxies.get(urlsplit(server).scheme) or proxies.get("all") or ""
    if not proxy or is_loopback(server):
        return ""
    client, _ = _kubernetes()
    return "" if client.rest.should_bypass_proxies(server, proxies.get("no") or "") else proxy


def is_loopback(server: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_authorization(proxy: str) -> str:
    """`user:password` for a proxy's Basic authentication; "" when its URL has none."""
    parts = urlsplit(proxy)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
