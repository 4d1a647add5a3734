"""The floor: the same client or parser, pages and decoder as posture itself, and nothing else."""

from __future__ import annotations

import sys

from posture import reading, sources
from posture.collect import Page
from posture.config import Config


def main(paths: list[str]) -> None:
    """Read every kind of the current context, or folders of manifests, and count what came."""
    found = [reading.folder([path], Config()) for path in paths] or [sources.live(sources.Cluster())]
    print(sum(len(event.items) for source in found for event in source.events() if isinstance(event, Page)))


main(sys.argv[1:])
