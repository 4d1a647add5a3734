"""python -m posture."""

from __future__ import annotations

from posture.cli import main

main()
