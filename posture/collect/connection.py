"""Connections to an API server, which urllib3 makes: proxies, tunnels and TLS as an Access says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from posture.collect import access as accesses
from posture.collect.access import Access
from posture.collect.problem import unanswered, without_password
from posture.errors import UsageError

CONNECT_SECONDS = 10.0

_SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), seconds)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]
"""A server that is gone without a word is noticed after a minute, by a connection that waits for it."""


class _Connected(Exception):
    """Carries a connection out of the pool that made it."""

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__()
        self.socket, connection.sock = connection.sock, None  # else the pool would close it


def connect(access: Access, timeout: float = CONNECT_SECONDS) -> socket.socket:
    """A new connection as a Client makes them, proxy, tunnel and TLS included, which may speak HTTP/2.

    `timeout` in seconds. Raises RequestProblem, UsageError for a proxy that cannot be used.
    """

    def take(connection: HTTPConnection) -> None:
        raise _Connected(connection)

    pool = pool_of(replace(access, tls=access.multiplexed or access.tls), take)
    try:
        pool.urlopen("GET", access.server, retries=False, timeout=urllib3.Timeout(timeout))
    except _Connected as connected:
        return cast("socket.socket", connected.socket)
    except (HTTPError, OSError) as error:
        raise unanswered(error, access, "/", timeout, timeout) from error
    raise AssertionError("the pool asked without a connection")


def relayed(access: Access) -> dict[str, str] | None:
    """The headers for a proxy that passes on requests, as it does for plain HTTP; None where there is no such proxy."""
    return _login(access.proxy) if access.tls is None and access.proxy.startswith("http") else None


def _login(proxy: str) -> dict[str, str]:
    login = accesses.proxy_authorization(proxy)
    return dict(urllib3.make_headers(proxy_basic_auth=login)) if login else {}


def pool_of(access: Access, opened: Callable[[HTTPConnection], None]) -> urllib3.PoolManager:
    """The kubernetes client's pool (rest.RESTClientObject) for an Access; `opened` is told of every connection."""
    if not access.verified:
        urllib3.disable_warnings(InsecureRequestWarning)  # said once, as a problem of the source
    options: dict[str, Any] = {"maxsize": 1, "ssl_context": access.tls, "socket_options": _SOCKET_OPTIONS}
    if access.tls_server_name:
        options["server_hostname"] = access.tls_server_name
    pool: urllib3.PoolManager
    try:
        if access.proxy.startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - needs an extra

            pool = SOCKSProxyManager(access.proxy, **options)
        elif access.proxy:
            pool = urllib3.ProxyManager(access.proxy, proxy_headers=_login(access.proxy), **options)
        else:
            pool = urllib3.PoolManager(**options)
    except ImportError as error:
        raise UsageError(f"the proxy {without_password(access.proxy)} needs the package pysocks") from error
    except (HTTPError, ValueError) as error:
        raise UsageError(f"the proxy {without_password(access.proxy)} is no URL of a proxy") from error
    pool.pool_classes_by_scheme = {
        scheme: _telling(base, opened) for scheme, base in pool.pool_classes_by_scheme.items()
    }
    return pool


def _telling(base: type[HTTPConnectionPool], opened: Callable[[HTTPConnection], None]) -> type[HTTPConnectionPool]:
    """A class of pools that tell of their sockets: closing one ends a request that another thread waits for."""

    class Connection(base.ConnectionCls):  # type: ignore[name-defined, misc]  # a class that is chosen at run time
        def connect(self) -> None:
            super().connect()
            opened(self)

    return type(base.__name__, (base,), {"ConnectionCls": Connection})
