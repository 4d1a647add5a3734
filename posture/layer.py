"""A mapping that shares its parts: a fork costs what it changes, and what it was forked from stays valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

_GONE = object()
_DEEPEST = 8


class Layer[K, V](MutableMapping[K, V]):
    """A dict above another mapping. Write to a layer only until it is forked; values are never None."""

    __slots__ = ("_below", "_depth", "_own", "_size")

    def __init__(self, below: Mapping[K, V] | None = None) -> None:
        self._own: dict[K, V | object] = {}
        self._below = below
        self._depth: int = below._depth + 1 if isinstance(below, Layer) else 0
        self._size: int = 0 if below is None else len(below)

    def fork(self) -> Layer[K, V]:
        """A layer above this one; deep or heavy chains are laid flat first."""
        if self._depth >= _DEEPEST or (self._below is not None and 4 * len(self._own) > len(self._below)):
            return Layer(dict(self.items()))
        return Layer(self)

    def _find(self, key: K) -> V | object | None:
        layer: Mapping[K, V] | None = self
        while isinstance(layer, Layer):
            value = layer._own.get(key)
            if value is not None:
                return None if value is _GONE else value
            layer = layer._below
        return None if layer is None else layer.get(key)

    def __getitem__(self, key: K) -> V:
        value = self._find(key)
        if value is None:
            raise KeyError(key)
        return value  # type: ignore[return-value]

    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]
        """As dict.get."""
        value = self._find(key)
        return default if value is None else value  # type: ignore[return-value]

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._size += 1
        self._own[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._size -= 1
        if self._below is None:
            del self._own[key]
        else:
            self._own[key] = _GONE

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not None  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[K]:
        for key in self._below or ():
            if key not in self._own:
                yield key
        for key, value in self._own.items():
            if value is not _GONE:
                yield key

    def __len__(self) -> int:
        return self._size
