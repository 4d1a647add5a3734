"""A mapping that shares its parts: a fork costs what it changes, and what it was forked from stays valid."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, ValuesView

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
            return Layer(self._flat())
        return Layer(self)

    def _flat(self) -> dict[K, V]:
        """All that is here, in the order of `__iter__`. Much faster than to look up key by key."""
        below = self._below
        found = below._flat() if isinstance(below, Layer) else dict(below or {})
        for key, value in self._own.items():
            found.pop(key, None)
            if value is not _GONE:
                found[key] = value
        return found

    def items(self) -> ItemsView[K, V]:
        """As dict.items, of what is here now."""
        return self._flat().items()

    def values(self) -> ValuesView[V]:
        """As dict.values, of what is here now."""
        return self._flat().values()

    def get(self, key: K, default: V | None = None) -> V | None:  # type: ignore[override]
        """As dict.get. The hottest call of all: it looks in its own part before it asks further down."""
        value = self._own.get(key)
        if value is None:
            return default if self._below is None else self._below.get(key, default)
        return default if value is _GONE else value  # type: ignore[return-value]

    def __getitem__(self, key: K) -> V:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

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
        return self.get(key) is not None  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[K]:
        for key in self._below or ():
            if key not in self._own:
                yield key
        for key, value in self._own.items():
            if value is not _GONE:
                yield key

    def __len__(self) -> int:
        return self._size


def differing[K, V](one: Mapping[K, V], other: Mapping[K, V]) -> Iterator[K]:
    """The keys whose values are not the same object. Costs what is not shared."""
    chains = [[*_chain(side)] for side in (one, other)]
    shared = {id(part) for part in chains[0]} & {id(part) for part in chains[1]}
    keys: dict[K, None] = {}
    for chain in chains:
        for part in chain:
            if id(part) in shared:
                break
            keys.update(dict.fromkeys(part._own if isinstance(part, Layer) else part))
    return (key for key in keys if one.get(key) is not other.get(key))


def _chain[K, V](side: Mapping[K, V] | None) -> Iterator[Mapping[K, V]]:
    while side is not None:
        yield side
        side = side._below if isinstance(side, Layer) else None
