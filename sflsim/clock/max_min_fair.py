"""Max-min fair shares of one capacity: water is poured until everybody is full or nothing is left.

A share gets the smaller of its own bound and the level that all unfilled ones have in common; the
level solves sum of weight * min(bound, level) = capacity. Bertsekas and Gallager, Data Networks,
section 6.5.2.
"""

from __future__ import annotations

from math import inf
from typing import Generic, TypeVar

from sflsim.clock.indexed_heap import Ranking

Owner = TypeVar("Owner")

EXCESS = 1.0 + 1e-12  # a sum of bounds above the capacity by rounding alone is no overload


class Share(Generic[Owner]):
    """What `weight` equal flows of one owner get: each `bound`, or where `held` the pool's level."""

    __slots__ = ("bound", "held", "owner", "weight")

    def __init__(self, owner: Owner, bound: float, weight: int = 0) -> None:
        self.owner = owner
        self.bound = bound
        self.weight = weight
        self.held = False


class Pool(Generic[Owner]):
    """One capacity and the shares in it; `level` is inf while there is enough for every bound.

    Changes are gathered until `settle`, which moves only the shares that change sides, each in
    O(log n). All rates are in byte/s.
    """

    __slots__ = ("_full", "_full_bytes_per_s", "_held", "_weight", "capacity", "level")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.level = inf
        self._held: Ranking[Share[Owner]] = Ranking()  # lowest bound first
        self._full: Ranking[Share[Owner]] = Ranking()  # highest bound first
        self._weight = 0  # of the held
        self._full_bytes_per_s = 0.0  # sum over the full

    def __len__(self) -> int:
        return len(self._held) + len(self._full)

    @property
    def used(self) -> float:
        """What all shares get together, as settled last."""
        return self.capacity if self._weight else min(self._full_bytes_per_s, self.capacity)

    def weigh(self, share: Share[Owner], weight: int) -> None:
        """Change how many flows a share stands for: it enters with the first and leaves with the last.

        One that enters takes the side where the present level puts it.
        """
        before, share.weight = share.weight, weight
        if not before:
            self._put_in(share, held=share.bound > self.level or share.bound == inf)
        elif not weight:
            share.weight = before
            self._take_out(share)
            share.weight = 0
        elif share.held:
            self._weight += weight - before
        else:
            self._full_bytes_per_s += (weight - before) * share.bound

    def rebound(self, share: Share[Owner], bound: float) -> None:
        """Change what a share gets at most."""
        self._take_out(share)
        share.bound = bound
        self._put_in(share, share.held or bound == inf)

    def settle(self) -> list[Share[Owner]]:
        """Find the level that holds now; return the shares that changed sides (some may be back).

        Holding those whose bound is above the level raises it, and so does filling those whose
        bound it has passed; so each is done once, and no share is looked at that stays.
        """
        moved = []
        while len(self._full) and -self._full.first_key > self._found():
            moved.append(share := self._full.first)
            self._take_out(share)
            self._put_in(share, held=True)
        while len(self._held) and self._held.first_key <= self._found():
            moved.append(share := self._held.first)
            self._take_out(share)
            self._put_in(share, held=False)
        self.level = self._found() if self._weight else inf
        return moved

    def _found(self) -> float:
        """Return the level if nobody changed sides; minus infinity where the full alone are too much."""
        if self._weight:
            return (self.capacity - self._full_bytes_per_s) / self._weight
        return inf if self._full_bytes_per_s <= self.capacity * EXCESS else -inf

    def _put_in(self, share: Share[Owner], held: bool) -> None:
        share.held = held
        if held:
            self._held.set(share, share.bound)
            self._weight += share.weight
        else:
            self._full.set(share, -share.bound)
            self._full_bytes_per_s += share.weight * share.bound

    def _take_out(self, share: Share[Owner]) -> None:
        if share.held:
            self._held.drop(share)
            self._weight -= share.weight
        else:
            self._full.drop(share)
            self._full_bytes_per_s -= share.weight * share.bound
            if not len(self._full):
                self._full_bytes_per_s = 0.0  # rounding errors end with the last one
