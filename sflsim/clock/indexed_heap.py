"""Items by a key that changes: the lowest is known at once, moving one costs O(log n) on average."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")

SPARE = 64  # outdated entries kept, beyond as many as there are items, before the heap is made anew


class Ranking(Generic[Item]):
    """A heap that forgets outdated entries when they come up; of equal keys the earlier set is first."""

    __slots__ = ("_entries", "_heap", "_pushed")

    def __init__(self) -> None:
        self._entries: dict[Item, tuple[float, int, Item]] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._entries)

    def set(self, item: Item, key: float) -> None:
        """Add an item, or give it another key."""
        entry = self._entries.get(item)
        if entry is not None and entry[0] == key:
            return
        self._pushed += 1
        self._entries[item] = entry = (key, self._pushed, item)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + SPARE:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def drop(self, item: Item) -> None:
        """Take an item out, if it is in."""
        self._entries.pop(item, None)

    @property
    def first_key(self) -> float:
        """The lowest key; inf where nothing is in."""
        return self._heap[0][0] if self._clean() else inf

    @property
    def first(self) -> Item:
        """The item with the lowest key.

        Raises:
            IndexError: nothing is in.
        """
        self._clean()
        return self._heap[0][2]

    def _clean(self) -> bool:
        """Forget outdated entries on top; tell whether any entry is left."""
        heap, entries = self._heap, self._entries
        while heap and entries.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        return bool(heap)
