"""The large cluster on a real API server."""

from __future__ import annotations

import time

from tests.controlplane.controlplane import ControlPlane
from tests.generator.large import Size, cluster


def fill(plane: ControlPlane, size: Size) -> None:
    """Write it, and wait for what controllers add."""
    start = time.perf_counter()
    number = plane.apply(cluster(size))
    seconds = time.perf_counter() - start
    for _ in range(600):  # every namespace gets its default ServiceAccount from a controller, in its own time
        if len(plane.request("GET", "/api/v1/serviceaccounts")["items"]) >= 3 * size.namespaces:
            break
        time.sleep(0.5)
    print(f"{number:,} objects written in {seconds:.0f} s ({number / seconds:,.0f}/s)", flush=True)
