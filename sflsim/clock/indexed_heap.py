"""A priority queue whose keys change: the lowest key is known at once, a change costs O(log n) on average.

The heap deletes lazily: an outdated entry stays in it until it reaches the top.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

Item = TypeVar("Item")

SPARE_ENTRIES = 64  # outdated entries allowed, beyond as many as there are items, before a rebuild


class IndexedHeap(Generic[Item]):
    """Items by key, lowest first; of equal keys the one that was set earlier."""

    __slots__ = ("_entries", "_heap", "_pushed")

    def __init__(self) -> None:
        self._entries: dict[Item, tuple[float, int, Item]] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: Item) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[Item]:
        return iter(self._entries)

    def set(self, item: Item, key: float) -> None:
        """Add an item, or change its key."""
        entry = self._entries.get(item)
        if entry is not None and entry[0] == key:
            return
        self._pushed += 1
        self._entries[item] = entry = (key, self._pushed, item)
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + SPARE_ENTRIES:
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def remove(self, item: Item) -> None:
        """Remove an item, if it is in the heap."""
        self._entries.pop(item, None)

    @property
    def first_key(self) -> float:
        """The lowest key; inf if the heap is empty."""
        return self._heap[0][0] if self._drop_outdated() else inf

    @property
    def first(self) -> Item:
        """The item with the lowest key.

        Raises:
            IndexError: the heap is empty.
        """
        self._drop_outdated()
        return self._heap[0][2]

    def _drop_outdated(self) -> bool:
        """Remove outdated entries from the top; tell whether any entry is left."""
        heap, entries = self._heap, self._entries
        while heap and entries.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        return bool(heap)
