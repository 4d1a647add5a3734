"""posture watch: the same as scan, continuously."""

from __future__ import annotations

import gc
import signal
import time as clock
from pathlib import Path
from threading import Event
from typing import Any

import click

from posture import sources
from posture.errors import OK
from posture.scan import Request
from posture.store import lock, open_store
from posture.text import count, format_time
from posture.watch import Watch, Written, batches

from . import options


@click.command(short_help="Follow a cluster, and say at once what became possible that was not agreed.")
@click.option("--context", default=None, help="A kubeconfig context.")
@options.named_cluster
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Follow only this namespace; may be repeated.")
@options.cluster_flags
@options.judged
@options.database
def watch(
    context: str | None, cluster: str, namespaces: tuple[str, ...], kubeconfig: str | None, request_timeout: float,
    db: str | None, config_path: Path | None, **judged: Any,
) -> int:  # fmt: skip
    """Follow a cluster: each change becomes a finding within a second, and what was there for seconds is kept.

    Everything else is as in `posture scan`. Ends on SIGTERM or SIGINT, and goes on from there when started again.
    """
    inputs = options.inputs_of(config_path, **judged)
    path = options.database_of(db, config_path)
    stop = Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())

    def now() -> str:
        return format_time(sources.now_utc())

    def tell(written: Written) -> None:
        happened = [f"{event.kind} {event.fingerprint}" for event in written.events]
        click.echo(f"{written.time} revision {written.revision}: {count(len(written.changed), 'object')}"
                   f"{'; ' if happened else ''}{', '.join(happened[:5])}", err=True)  # fmt: skip
        gc.freeze()

    with open_store(path) as store, lock.held(path, "posture watch", now()):
        following = sources.followed(sources.Cluster(context, kubeconfig, namespaces, request_timeout))
        with following:
            one = Watch(store, following, inputs, Request(now(), cluster), now=now, tell=tell)
            for _ in batches(one, stop.is_set, clock.monotonic):
                pass
    return OK
