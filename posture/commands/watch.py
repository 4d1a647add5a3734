"""posture watch: the same as scan, continuously."""

from __future__ import annotations

import gc
import time as clock
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from posture import sources
from posture.collect.audit import Followers
from posture.errors import OK
from posture.operations.interrupts import Stop, stopping
from posture.operations.log import FORMATS, Log
from posture.operations.metrics import Metrics
from posture.operations.observer import Observer
from posture.operations.serve import Server, listener
from posture.scan import Request
from posture.store import lock, open_store
from posture.text import format_time
from posture.watch import Watch, batches

from . import options


@click.command(short_help="Follow a cluster, and say at once what became possible that was not agreed.")
@click.option("--context", default=None, help="A kubeconfig context.")
@options.named_cluster
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Follow only this namespace; may be repeated.")
@options.cluster_flags
@options.judged
@options.database
@options.audit_logs
@click.option(
    "--listen", metavar="ADDRESS:PORT", help="Serve /metrics, /healthz and /readyz there: :8080 is everywhere."
)
@click.option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True, help="Of the log on stderr."
)
def watch(
    context: str | None, cluster: str, namespaces: tuple[str, ...], kubeconfig: str | None, request_timeout: float,
    db: str | None, config_path: Path | None, audit_logs: tuple[str, ...], listen: str | None,
    log_format: str, **judged: Any,
) -> int:  # fmt: skip
    """Follow a cluster: each change becomes a finding within a second, and what was there for seconds is kept.

    Everything else is as in `posture scan`. What happens is logged on stderr. Ends on SIGTERM or SIGINT within 5
    seconds, and goes on from there when started again. Decisions and approvals that are made meanwhile count at once.
    """
    inputs = options.inputs_of(config_path, **judged)
    path = options.database_of(db, config_path)
    log = Log(log_format, lambda line: click.echo(line, err=True), _now)
    with (
        stopping() as stop,
        open_store(path) as store,
        lock.held(path, "posture watch", _now()),
        sources.followed(sources.Cluster(context, kubeconfig, namespaces, request_timeout)) as following,
    ):
        observer = Observer(
            following, log, Metrics(path), troubles=following.troubles, now=_now,
            work=lambda: {"watches": following.counts["watches"], "connections": following.connections},
        )  # fmt: skip
        with _served(listen, observer, log), _audited(audit_logs, log) as audits:
            request = Request(_now(), cluster)
            one = Watch(store, observer, inputs, request, now=_now, tell=observer.written, audits=audits.take)
            _turns(one, observer, stop)
    log("stopped", "the next start goes on from here")
    return OK


def _now() -> str:
    return format_time(sources.now_utc())


def _turns(one: Watch, observer: Observer, stop: Stop) -> None:
    """Turn after turn, until it is asked to stop."""
    settled = False
    for _ in batches(one, lambda: stop.asked, clock.monotonic):
        observer.turned(one)
        if one.judged and not settled:
            settled = True
            gc.collect()
            gc.freeze()  # what is known of the cluster stays: looking through it again and again costs much


AUDIT_SECONDS = 3600.0
"""So old may be what an audit log was rotated to: it is read too, since it may tell of what happened meanwhile."""


@contextmanager
def _audited(paths: Sequence[str], log: Log) -> Iterator[Followers]:
    """Audit logs that are followed while the block runs."""
    audits = Followers(paths, lambda text: log("audit", text), clock.time() - AUDIT_SECONDS)
    try:
        yield audits
    finally:
        audits.stop()


@contextmanager
def _served(listen: str | None, observer: Observer, log: Log) -> Iterator[None]:
    """Pages over HTTP while the block runs, if an address is given."""
    if listen is None:
        yield
        return
    with Server(listener(listen), observer.page) as server:
        log("listening", f"http://{server.address}/metrics, /healthz and /readyz", address=server.address)
        yield
