"""Why a GET has no usable answer, in words."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import orjson
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from posture.collect.access import Access
from posture.model import Gap
from posture.text import visible

_RETRIED: Final = frozenset({429, 500, 502, 503, 504})


class RequestProblem(Exception):
    """A GET without a usable answer: what and where, in text that passed `visible`. A gap follows, or CannotJudge.

    `status` is the HTTP status, 0 when no answer came. `fatal`: asking anything else is pointless, there is no
    connection or the credentials are not accepted. `again`: the same request may yet be answered, after at least
    `after` seconds. `hint` says what to do.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        *,
        fatal: bool = False,
        again: bool = False,
        after: float = 0.0,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.fatal = fatal
        self.again = again
        self.after = after
        self.hint = hint

    def tried(self, times: int) -> RequestProblem:
        """The same problem, final: it says how often an answer was tried for. (Not how long: two runs agree.)"""
        text = f"{self} (tried {times} times)" if times > 1 else str(self)
        return RequestProblem(text, self.status, fatal=self.fatal, hint=self.hint)

    def gap(self, resource: str, namespace: str, what: str = "") -> Gap:
        """The gap that it leaves; `what` says what was asked for."""
        message = f"{what}: {self}" if what else str(self)
        return Gap(resource, namespace, "forbidden" if self.status == 403 else "failed", message)


def refused(status: int, reason: str, retry_after: str, body: bytes | bytearray, path: str) -> RequestProblem:
    """What an answer other than 200 says: the message of its Status, or what HTTP calls it. `path` is visible."""
    try:
        message = orjson.loads(body)["message"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        message = ""
    text = visible(message, 500) if isinstance(message, str) else ""
    if status != 403 or not text:
        phrase = visible(f"{status} {reason}".strip(), 100)
        text = f"GET {path}: {phrase}{': ' * bool(text)}{text}"
    return RequestProblem(
        text,
        status,
        fatal=status == 401,
        again=status in _RETRIED,
        after=float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0,
        hint="the server does not accept the credentials of this context" if status == 401 else "",
    )


def unanswered(error: Exception, access: Access, path: str, connect: float, read: float) -> RequestProblem:
    """Why no whole answer came for a (visible) path; `connect` and `read` are the seconds that were allowed."""
    server = visible(access.server, 300)
    if isinstance(error, ProxyError):
        text = f"cannot reach {server} through the proxy {without_password(access.proxy)}: {_reason(error)}"
        return RequestProblem(text, fatal=True, again=True, hint="check HTTPS_PROXY, NO_PROXY and proxy-url")
    if isinstance(error, NameResolutionError):
        text = f"the name of {server} cannot be resolved"
        return RequestProblem(text, fatal=True, again=True, hint="check the server's address in the kubeconfig")
    if isinstance(error, NewConnectionError):
        text = f"cannot connect to {server}: {_reason(error)}"
        return RequestProblem(text, fatal=True, again=True, hint="does the cluster run, and is this its address?")
    if isinstance(error, ConnectTimeoutError):
        text = f"no connection to {server} within {connect:g} s"
        return RequestProblem(text, fatal=True, again=True, hint="is the network there, and a VPN if it needs one?")
    if isinstance(error, ReadTimeoutError):
        return RequestProblem(f"GET {path}: no answer from {server} within {read:g} s", again=True)
    if isinstance(error, SSLError):
        return _untrusted(error, server)
    return RequestProblem(f"GET {path}: the answer of {server} broke off: {_reason(error)}", again=True)


def _untrusted(error: SSLError, server: str) -> RequestProblem:
    verdict = getattr(error.args[0] if error.args else None, "verify_message", "")
    if not verdict:  # a handshake that was cut off, or a server that speaks something else
        return RequestProblem(f"no TLS connection to {server}: {_reason(error)}", fatal=True, again=True)
    text = f"the certificate of {server} is not trusted: {visible(verdict, 200)}"
    hint = "the context's certificate-authority or tls-server-name does not fit this server"
    return RequestProblem(text, fatal=True, hint=hint)


def _reason(error: BaseException) -> str:
    """What the innermost error says: urllib3 wraps what the system said, some of it twice."""
    while inner := error.__cause__ or next((each for each in error.args if isinstance(each, BaseException)), None):
        error = inner
    return visible(getattr(error, "strerror", None) or str(error) or type(error).__name__, 200)


def without_password(proxy: str) -> str:
    """A proxy's URL, to be shown."""
    parts = urlsplit(proxy)
    return visible(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), 200)
