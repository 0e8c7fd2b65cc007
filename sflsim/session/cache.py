"""What sessions of similar scenarios share, made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Key = tuple[Any, ...]
Value = TypeVar("Value")


class SessionCache:
    """Data, labels, shards, costs and tasks, each under its kind and a key of all that it is made from."""

    def __init__(self, values: Mapping[Key, object] | None = None) -> None:
        self._values: dict[Key, object] = dict(values or {})

    def of_kind(self, kind: str) -> dict[Key, object]:
        """Return all values of a kind, for the cache of another process."""
        return {key: value for key, value in self._values.items() if key[0] == kind}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value under `key`; `make` it if there is none yet."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]  # type: ignore[return-value]
