"""What sessions of similar scenarios share, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Value = TypeVar("Value")


class SessionCache:
    """Data, labels, shards, costs and tasks, each under a key of all that it is made from."""

    def __init__(self) -> None:
        self._values: dict[Hashable, object] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value under `key`; `make` it if there is none yet."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]  # type: ignore[return-value]
