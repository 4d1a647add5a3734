"""Sources read into memory: for questions, for diffs, and for baselines that are folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from posture import cel
from posture.collect import Bodies, Source, collect
from posture.config import Config
from posture.errors import UsageError
from posture.model import Content, Snapshot, Version, canonical
from posture.pipeline import DOMAINS, Shipped
from posture.resources import NEWEST, SUPPORTED, nearest


class Held(Mapping[bytes, Content]):
    """Projected objects by digest, in memory: kept as bytes, parsed when they are asked for."""

    def __init__(self) -> None:
        self._bodies: dict[bytes, bytes] = {}

    def put(self, bodies: Bodies) -> None:
        """Keep projections."""
        self._bodies.update(bodies)

    def __getitem__(self, digest: bytes) -> Content:
        found: Content = orjson.loads(self._bodies[digest])
        return found

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._bodies)

    def __len__(self) -> int:
        return len(self._bodies)


def folder(paths: Sequence[str | Path], config: Config) -> Source:
    """Manifest folders, files or `-` for stdin.

    Raises UsageError for an empty path (a variable that is not set), which would be the current folder.
    """
    if "" in paths:
        raise UsageError("the path is empty", "name a manifest, a folder of manifests, or - for standard input")
    from posture.collect.document import Limits  # noqa: PLC0415 - the parser is needed by few commands
    from posture.collect.folder import FolderSource  # noqa: PLC0415

    limits = Limits(document=config.document_bytes, nodes=config.nodes)
    return FolderSource([path if path == "-" else Path(path) for path in paths], limits=limits)


def snapshot_of(source: Source, shipped: Shipped, *, offline: bool, version: Version | None = None) -> Snapshot:
    """Read a source into memory. A folder (`offline`) gets what a running cluster would have added."""
    held = Held()
    snapshot = unevaluated(collect(source, lambda _: None, held.put, held))
    snapshot = replace(snapshot, version=snapshot.version or version)
    return completed(snapshot, shipped, held.put) if offline else snapshot


def unevaluated(snapshot: Snapshot) -> Snapshot:
    """A snapshot that was just read with the gaps of what was read and cannot be evaluated."""
    known = replace(snapshot, settings={"cel": cel.evaluator()})
    more = tuple(gap for domain in DOMAINS for gap in domain.gaps(known))
    return replace(snapshot, gaps=(*snapshot.gaps, *more)) if more else snapshot


def completed(snapshot: Snapshot, shipped: Shipped, put: Callable[[Bodies], None]) -> Snapshot:
    """A folder's snapshot with what a running cluster would have added; `put` keeps the added projections."""
    snapshot = replace(snapshot, assumed=snapshot.assumed + unknown_version(snapshot.version))
    for domain in DOMAINS:
        objects, assumed = domain.completed(snapshot, shipped(snapshot.version))
        put([canonical(content) for content in objects.values()])
        fuller = snapshot.replaced(objects.items())
        snapshot = replace(fuller, contents=snapshot.contents, assumed=snapshot.assumed + assumed)
    return snapshot


def unknown_version(version: Version | None) -> tuple[str, ...]:
    """What is assumed about a server whose default roles posture does not ship."""
    if version is None or version in SUPPORTED:
        return ()
    return (f"default roles as in {nearest(version)}: those of {version} are not among {SUPPORTED[0]} to {NEWEST}",)
