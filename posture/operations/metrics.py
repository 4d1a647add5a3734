"""What a watcher measures, as Prometheus reads it (text format 0.0.4), in a registry of its own.

Labels are bounded whatever a cluster holds: kinds are those that posture reads, owners the largest, and names of
objects are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as TEXT_FORMAT
from prometheus_client.registry import Collector

from posture import __version__
from posture.kinds import API_RESOURCES, API_SERVER_FLAGS, BY_NAME
from posture.model import Finding, Gap
from posture.text import visible

OWNERS = 50
"""So many owners have a series of their own; the findings of the others are counted together."""
OTHERS = "(others)"
_LENGTH = 60
_BATCH = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each of a histogram, which nobody asks for
_LAG = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
type Tally = Mapping[tuple[str, ...], float]
"""Numbers by the values of labels."""


class Levels(NamedTuple):
    """What is so at a moment."""

    findings: Tally = MappingProxyType({})
    gaps: Tally = MappingProxyType({})
    objects: Tally = MappingProxyType({})
    synced: Tally = MappingProxyType({})
    """When the list of a kind was last known to be complete, in seconds since the epoch."""
    info: tuple[str, str, str] = ("", "", "")
    """The cluster's name, its id and its server's version."""
    ready: bool = False


class Counts(NamedTuple):
    """What happened since the start: only ever more of it."""

    events: Counter[tuple[str, ...]]
    lists: Counter[tuple[str, ...]]
    corrections: Counter[tuple[str, ...]]
    troubles: Counter[tuple[str, ...]]
    happened: Counter[tuple[str, ...]]
    totals: Counter[tuple[str, ...]]


def kind_of(resource: str) -> str:
    """The value of a label for a GroupResource; whatever no version of posture reads is one."""
    return resource if resource in BY_NAME or resource in ("*", API_RESOURCES, API_SERVER_FLAGS) else OTHERS


def findings_by(found: Iterable[Finding], now: str) -> Tally:
    """How many findings there are by severity, status, domain and owner; `now` is RFC 3339."""
    every = Counter((one.severity, one.status(now), one.domain, one.whose) for one in found)
    owners: Counter[str] = Counter()
    for (*_, owner), number in every.items():
        owners[owner] += number
    told = {owner for owner, _ in sorted(owners.items(), key=lambda row: (-row[1], row[0]))[:OWNERS]}
    tally: Counter[tuple[str, ...]] = Counter()
    for (severity, status, domain, owner), number in every.items():
        tally[severity, status, domain, visible(owner, _LENGTH) if owner in told else OTHERS] += number
    return tally


def gaps_by(gaps: Iterable[Gap]) -> Tally:
    """How many gaps there are by kind and reason."""
    return Counter((kind_of(gap.resource), gap.reason) for gap in gaps)


class Metrics(Collector):
    """All of them. One thread sets `levels`, as a whole, and counts; another asks for the page."""

    def __init__(self, database: str) -> None:
        """`database` is the path of the file whose size is told."""
        self.levels = Levels()
        self.counts = Counts(Counter(), Counter(), Counter(), Counter(), Counter(), Counter())
        self._database = database
        self._registry = CollectorRegistry(auto_describe=False)
        self.batches = Histogram(
            "posture_batch_seconds", "From the first change of a batch that came, to its being judged and committed.",
            buckets=_BATCH, registry=self._registry,
        )  # fmt: skip
        self.lag = Histogram(
            "posture_lag_seconds",
            "From an object's write (the time in its managedFields, which has whole seconds) to its being committed.",
            buckets=_LAG, registry=self._registry,
        )  # fmt: skip
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> str:
        """The page, in TEXT_FORMAT."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        """What is set and counted here, as prometheus_client asks for it."""
        yield from _levels(self.levels)
        yield from _counts(self.counts)
        yield self._store()
        yield _gauge("build_info", "The version of posture.", ("version",), {(__version__,): 1})

    def _store(self) -> Metric:
        sizes: dict[tuple[str, ...], float] = {}
        for part, suffix in (("database", ""), ("log", "-wal")):
            try:
                sizes[part,] = Path(self._database + suffix).stat().st_size
            except OSError:  # in memory, or not written yet
                sizes[part,] = 0
        return _gauge("store_bytes", "The size of the database and of its write-ahead log.", ("file",), sizes)


def _levels(now: Levels) -> Iterator[Metric]:
    labels = ("severity", "status", "domain", "owner")
    yield _gauge("findings", "Findings that are not resolved.", labels, now.findings)
    yield _gauge("gaps", "What cannot be read, or is not evaluated.", ("resource", "reason"), now.gaps)
    yield _gauge("objects", "Objects that are known.", ("resource",), now.objects)
    yield _gauge("last_sync_timestamp_seconds", "When all lists of a kind were last known to be complete.",
                 ("resource",), now.synced)  # fmt: skip
    yield _gauge("ready", "Whether every kind is read or is a gap, and judged.", (), {(): float(now.ready)})
    yield _gauge(
        "cluster_info",
        "The cluster that is followed.",
        ("cluster", "id", "version"),
        {tuple(visible(one, _LENGTH) for one in now.info): 1},
    )


def _counts(now: Counts) -> Iterator[Metric]:
    now = Counts(*(one.copy() for one in now))  # in one step: another thread counts meanwhile
    yield _counter("events", "Changes of objects that watches told of.", ("resource", "type"), now.events)
    yield _counter("lists", "Lists that were read; those again of what is followed are to verify it.",
                   ("resource", "why"), now.lists)  # fmt: skip
    yield _counter("corrections", "Objects that a list showed to be other than watches had told: lost events.",
                   ("resource",), now.corrections)  # fmt: skip
    yield _counter("request_failures", "Lists and watches that ended before their time, by HTTP status.",
                   ("reason",), now.troubles)  # fmt: skip
    yield _counter("finding_events", "What happened to findings.", ("event",), now.happened)
    for name, text in (
        ("revisions", "Revisions that were written: batches of changes that meant something."),
        ("watches", "Watches that were begun."),
        ("connections", "Connections that were made for watches."),
    ):
        yield _counter(name, text, (), {(): now.totals[name,]})


def _gauge(name: str, text: str, labels: Iterable[str], values: Tally) -> Metric:
    return _filled(GaugeMetricFamily(f"posture_{name}", text, labels=[*labels]), values)


def _counter(name: str, text: str, labels: Iterable[str], values: Tally) -> Metric:
    return _filled(CounterMetricFamily(f"posture_{name}", text, labels=[*labels]), values)


def _filled[T: (GaugeMetricFamily, CounterMetricFamily)](family: T, values: Tally) -> T:
    for labels in sorted(values):
        family.add_metric(list(labels), values[labels])
    return family


__all__ = ["OTHERS", "OWNERS", "TEXT_FORMAT", "Levels", "Metrics", "findings_by", "gaps_by", "kind_of"]
