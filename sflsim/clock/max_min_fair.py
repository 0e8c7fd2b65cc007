"""Max-min fair allocation of one capacity, by water filling.

A flow gets the smaller of its own bound and the water level, which all flows share. The level solves
sum of weight * min(bound, level) = capacity. A demand is *bottlenecked* here if it gets the level, and
*satisfied* if it gets its bound. Source: Bertsekas and Gallager, Data Networks, section 6.5.2.
"""

from __future__ import annotations

from math import inf
from typing import Generic, TypeVar

from sflsim.clock.indexed_heap import IndexedHeap

Owner = TypeVar("Owner")

OVERLOAD = 1.0 + 1e-12  # relative: a sum of bounds above the capacity by rounding alone is no overload


class Demand(Generic[Owner]):
    """What `weight` equal flows of one owner ask of a capacity: `bound` each, at most."""

    __slots__ = ("bottlenecked", "bound", "owner", "weight")

    def __init__(self, owner: Owner, bound: float, weight: int = 0) -> None:
        self.owner = owner
        self.bound = bound
        self.weight = weight
        self.bottlenecked = False


class MaxMinAllocator(Generic[Owner]):
    """One capacity and the demands on it; `level` is inf while every bound can be met.

    Changes take effect in `reallocate`, which moves only the demands that change sides, in O(log n) each.
    All rates are in byte/s.
    """

    __slots__ = ("_bottlenecked", "_satisfied", "_satisfied_bytes_per_s", "_weight", "capacity", "level")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.level = inf
        self._bottlenecked: IndexedHeap[Demand[Owner]] = IndexedHeap()  # lowest bound first
        self._satisfied: IndexedHeap[Demand[Owner]] = IndexedHeap()  # highest bound first
        self._weight = 0  # of the bottlenecked
        self._satisfied_bytes_per_s = 0.0  # sum over the satisfied

    @property
    def allocated(self) -> float:
        """The sum of all allocations, as of the last `reallocate`."""
        return self.capacity if self._weight else min(self._satisfied_bytes_per_s, self.capacity)

    def set_weight(self, demand: Demand[Owner], weight: int) -> None:
        """Change the number of flows of a demand: it enters with the first and leaves with the last.

        A new demand takes the side where the present level puts it.
        """
        before, demand.weight = demand.weight, weight
        if not before:
            self._add(demand, bottlenecked=demand.bound > self.level or demand.bound == inf)
        elif not weight:
            demand.weight = before
            self._remove(demand)
            demand.weight = 0
        elif demand.bottlenecked:
            self._weight += weight - before
        else:
            self._satisfied_bytes_per_s += (weight - before) * demand.bound

    def set_bound(self, demand: Demand[Owner], bound: float) -> None:
        """Change what each flow of a demand gets at most."""
        self._remove(demand)
        demand.bound = bound
        self._add(demand, demand.bottlenecked or bound == inf)

    def reallocate(self) -> list[Demand[Owner]]:
        """Compute the level; return the demands that changed sides (some may be back on their old side).

        Bottlenecking a demand whose bound exceeds the level raises the level; so does satisfying one whose
        bound the level has passed. Hence one pass of each is enough.
        """
        moved = []
        while len(self._satisfied) and -self._satisfied.first_key > self._candidate_level():
            moved.append(demand := self._satisfied.first)
            self._remove(demand)
            self._add(demand, bottlenecked=True)
        while len(self._bottlenecked) and self._bottlenecked.first_key <= self._candidate_level():
            moved.append(demand := self._bottlenecked.first)
            self._remove(demand)
            self._add(demand, bottlenecked=False)
        self.level = self._candidate_level() if self._weight else inf
        return moved

    def _candidate_level(self) -> float:
        """Return the level if no demand changed sides; -inf if the satisfied alone exceed the capacity."""
        if self._weight:
            return (self.capacity - self._satisfied_bytes_per_s) / self._weight
        return inf if self._satisfied_bytes_per_s <= self.capacity * OVERLOAD else -inf

    def _add(self, demand: Demand[Owner], bottlenecked: bool) -> None:
        demand.bottlenecked = bottlenecked
        if bottlenecked:
            self._bottlenecked.set(demand, demand.bound)
            self._weight += demand.weight
        else:
            self._satisfied.set(demand, -demand.bound)
            self._satisfied_bytes_per_s += demand.weight * demand.bound

    def _remove(self, demand: Demand[Owner]) -> None:
        if demand.bottlenecked:
            self._bottlenecked.remove(demand)
            self._weight -= demand.weight
        else:
            self._satisfied.remove(demand)
            self._satisfied_bytes_per_s -= demand.weight * demand.bound
            if not len(self._satisfied):
                self._satisfied_bytes_per_s = 0.0  # rounding errors end with the last one
