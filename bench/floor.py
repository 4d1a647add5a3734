"""The floor: the same client, pages and decoder as `posture scan`, and nothing else."""

from __future__ import annotations

from posture import sources
from posture.collect import Page


def main() -> None:
    """Read every kind of the current context and count what came."""
    source = sources.live(sources.Cluster())
    print(sum(len(event.items) for event in source.events() if isinstance(event, Page)))


main()
