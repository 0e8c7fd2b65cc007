"""Where values live under their keys, so that none is computed twice.

`Store` is the port; `MemoryStore` keeps the values of one process. `Levels` puts it in front of a
`SharedStore`, which outlives the process and is shared with others (`disk_store`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from sflsim.learning.graph.lineage import Value


class Store(Protocol):
    """Values by key; a value may be forgotten (it is computed again), never changed."""

    def get(self, key: str) -> Value | None:
        """Return the value under `key`, or None."""

    def put(self, key: str, value: Value) -> None:
        """Keep a value, which nobody changes any more."""


class SharedStore(Store, Protocol):
    """A store that several processes use at once."""

    def put_all(self, values: Mapping[str, Value]) -> None:
        """Keep several values, all in one step or none."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Wait until nobody else computes what is under `key`, and keep others waiting for it."""


def size_bytes(value: Value) -> int:
    """Return the memory that a value takes: its tensors, or a little for plain numbers."""
    if isinstance(value, dict):
        return sum(tensor.numel() * tensor.element_size() for tensor in value.values())
    return 64


class MemoryStore:
    """The values of this process: small ones for good, weights up to a limit, oldest out first."""

    def __init__(self, limit_bytes: int = 512 * 2**20) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._numbers: dict[str, Value] = {}
        self._weights: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str) -> Value | None:
        """Return the value under `key`, or None if it was never kept or has been let go."""
        if key in self._weights:
            self._weights.move_to_end(key)
            return self._weights[key]
        return self._numbers.get(key)

    def put(self, key: str, value: Value) -> None:
        """Keep a value and let the longest unused weights go when they take too much memory."""
        if not isinstance(value, dict):
            self._numbers[key] = value
            return
        if key in self._weights:
            return
        self._weights[key] = value
        self.held_bytes += size_bytes(value)
        while self.held_bytes > self.limit_bytes and len(self._weights) > 1:
            self.held_bytes -= size_bytes(self._weights.popitem(last=False)[1])


class Levels:
    """Memory in front of a shared store: reads fall through, values stay in memory until they are kept."""

    def __init__(self, memory: Store, shared: SharedStore) -> None:
        self.memory = memory
        self.shared = shared
        self._kept: set[str] = set()

    def get(self, key: str) -> Value | None:
        """Return the value under `key` from memory, else from the shared store."""
        value = self.memory.get(key)
        if value is None:
            value = self.shared.get(key)
            if value is not None:
                self.memory.put(key, value)
                self._kept.add(key)
        return value

    def put(self, key: str, value: Value) -> None:
        """Keep a value in memory."""
        self.memory.put(key, value)

    def knows(self, key: str) -> bool:
        """Tell whether there is a value under `key`."""
        return key in self._kept or self.get(key) is not None

    def keep(self, keys: Iterable[str]) -> None:
        """Put those of the values that are in memory into the shared store, too."""
        new = [key for key in dict.fromkeys(keys) if key not in self._kept]
        values = {key: value for key in new if (value := self.memory.get(key)) is not None}
        if values:
            self.shared.put_all(values)
            self._kept.update(values)
