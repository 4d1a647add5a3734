"""The one source parser: what a flag or an argument names → something to read, or a snapshot."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from posture import reading
from posture.collect import Problem, Source
from posture.errors import UsageError
from posture.inputs import Inputs
from posture.kinds import KINDS
from posture.model import Snapshot, Version
from posture.pipeline import JUDGED
from posture.store import Store, snapshots
from posture.text import format_time, parse_time, visible

if TYPE_CHECKING:
    from posture.collect.following import Following
    from posture.store.snapshots import Revision

_AGO = re.compile(r"-(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Cluster:
    """How a live cluster is reached. `namespaces` limits what is read."""

    context: str | None = None
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    timeout: float = 60.0


def live(cluster: Cluster, *, judged_only: bool = False, also: Collection[str] = ()) -> Source:
    """A live cluster, or only the kinds that are judged and some beside them (a question needs no more).

    Raises CannotJudge or UsageError when it cannot be reached at all.
    """
    from posture.collect.client import open_client  # noqa: PLC0415 - the kubernetes client costs 0.2 s
    from posture.collect.live import LiveSource  # noqa: PLC0415

    client = open_client(cluster.context, cluster.kubeconfig, cluster.timeout)
    kinds = [kind for kind in KINDS if kind.name in (*JUDGED, *also) or not judged_only]
    return LiveSource(client, namespaces=cluster.namespaces, kinds=kinds)


def followed(cluster: Cluster) -> Following:
    """A live cluster to follow. Raises CannotJudge or UsageError when it cannot be reached at all."""
    from posture.collect.client import open_client  # noqa: PLC0415 - the kubernetes client costs 0.2 s
    from posture.collect.following import Following  # noqa: PLC0415

    client = open_client(cluster.context, cluster.kubeconfig, cluster.timeout)
    return Following(client, namespaces=cluster.namespaces)


def moment(text: str, now: datetime) -> str:
    """`-7d`, `-12h` or an RFC 3339 time, as RFC 3339. Raises UsageError."""
    relative = _AGO.fullmatch(text)
    try:
        if relative:
            return format_time(now - timedelta(**{_UNITS[relative[2]]: int(relative[1])}))
        return format_time(parse_time(text))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{visible(text, 60)} is no time", "write 2026-10-20, 2026-10-20T12:00:00Z, -7d or -12h"
        ) from error


def stored(store: Store, cluster: str, *, number: str = "", at: str = "") -> tuple[Snapshot, Revision]:
    """A snapshot from the store: by its number, `latest`, or the newest at a time (RFC 3339).

    Raises UsageError when there is none, or when several clusters are stored and none is named.
    """
    if number and number != "latest":
        if not number.isdigit():
            raise UsageError(
                f"{visible(number, 60)} is no snapshot", "give a number, or latest; `posture snapshots` lists them"
            )
        revision = snapshots.revision(store, int(number))
        return snapshots.load(store, revision.cluster, revision).snapshot, revision
    found = cluster_of(store, cluster)
    revision = snapshots.revision_before(store, found, at) if at else _latest(store, found)
    return snapshots.load(store, found, revision).snapshot, revision


def _latest(store: Store, cluster: str) -> Revision:
    found = snapshots.latest(store, cluster)
    if found is None:
        raise UsageError(f"there is no snapshot in {store.path}", "run `posture scan` first")
    return found


def cluster_of(store: Store, name: str) -> str:
    """The id of the cluster that is meant: the named one, or the only one. Raises UsageError."""
    if name:
        found = snapshots.cluster_named(store, name)
        if found is None:
            raise UsageError(f"there is no cluster {visible(name, 60)} in {store.path}", f"known are: {_known(store)}")
        return found
    every = snapshots.clusters(store)
    if not every:
        raise UsageError(f"there is no snapshot in {store.path}", "run `posture scan` first")
    if len(every) > 1:
        raise UsageError(
            "several clusters are stored; say which one is meant with --cluster", f"known are: {_known(store)}"
        )
    return every[0][0]


def _known(store: Store) -> str:
    """The clusters by name, with their ids where a name is that of several."""
    every = snapshots.clusters(store)
    names = [name for _, name in every]
    known = [visible(name, 60) + f" ({visible(one, 60)})" * (names.count(name) > 1) for one, name in every]
    return ", ".join(known) or "none yet"


@dataclass(frozen=True, slots=True)
class State:
    """One side of a diff: a snapshot, what it is called, and what went wrong on the way."""

    title: str
    snapshot: Snapshot
    problems: Sequence[Problem] = ()


def state(
    text: str, inputs: Inputs, cluster: Cluster, store: Store | None, name: str, now: datetime, version: Version | None
) -> State:
    """What an argument of `posture diff` names: `live`, `context:NAME`, a stored number, `@TIME`, `@-7d`, a path, `-`.

    `store` is None where no database exists. Raises UsageError when it is none of these.
    """
    if text == "live" or text.startswith("context:"):
        context = text.removeprefix("context:") if text != "live" else cluster.context
        source = live(replace(cluster, context=context), judged_only=True)
        snapshot = reading.snapshot_of(source, inputs.shipped, offline=False)
        return State(source.title, snapshot, source.facts.problems)
    if text.startswith("@") or text.isdigit():
        if store is None:
            raise UsageError(
                f"{visible(text, 60)} names a stored snapshot, and there is no database", "name one with --db"
            )
        at = moment(text[1:], now) if text.startswith("@") else ""
        snapshot, revision = stored(store, name, number="" if at else text, at=at)
        return State(f"snapshot {revision.id} of {revision.time}", snapshot)
    if text != "-" and not Path(text).exists():
        raise UsageError(
            f"there is no file or folder {visible(text, 200)}",
            "A and B are a path, -, a snapshot's number, @TIME, @-7d, live or context:NAME",
        )
    source = reading.folder([text], inputs.config)
    snapshot = reading.snapshot_of(source, inputs.shipped, offline=True, version=version)
    return State(source.title, snapshot, source.facts.problems)


def now_utc() -> datetime:
    """The wall clock, or the time that `$POSTURE_NOW` sets, so that a run can be repeated. Raises UsageError."""
    given = os.environ.get("POSTURE_NOW", "")
    try:
        return parse_time(given) if given else datetime.now(UTC)
    except ValueError as error:
        raise UsageError(f"POSTURE_NOW is no time: {visible(given, 60)}", "write 2026-10-20T12:00:00Z") from error
