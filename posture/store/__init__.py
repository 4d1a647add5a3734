"""Store: objects, gaps, findings and decisions ↔ one SQLite file."""

from __future__ import annotations

from .database import MEMORY, Store, default_path, open_store

__all__ = ["MEMORY", "Store", "default_path", "open_store"]
