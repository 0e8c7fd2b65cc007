"""What sessions of similar scenarios have in common, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Kept = TypeVar("Kept")


class SessionCache:
    """Data, labels, shards, costs and tasks by what each is made from; whoever needs one first makes it."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, object] = {}

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what is kept under `key`, made by `make` where there is none yet."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]
