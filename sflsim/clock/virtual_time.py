"""Bytes passed since a start, at a rate that changes, and who reaches a mark next.

What flows of equal rate have in common, so that a change of the rate is one change for all of
them. Times are given; knows no events.
"""

from __future__ import annotations

from math import inf
from typing import Any

from sflsim.clock.indexed_heap import Ranking


class Odometer:
    """Runs at a rate of its own, or a constant ahead of another odometer that it rides on.

    `marks` holds, by the reading at which they are reached, flows or the odometers that ride on it.
    """

    __slots__ = ("_offset_bytes", "_rate_bytes_per_s", "_since_s", "marks", "on")

    def __init__(self, now_s: float) -> None:
        self.on: Odometer | None = None
        self._offset_bytes = 0.0
        self._rate_bytes_per_s = 0.0
        self._since_s = now_s
        self.marks: Ranking[Any] = Ranking()

    def reading(self, now_s: float) -> float:
        """Return the bytes passed."""
        if self.on is not None:
            return self.on.reading(now_s) + self._offset_bytes
        return self._offset_bytes + self._rate_bytes_per_s * (now_s - self._since_s)

    @property
    def rate_bytes_per_s(self) -> float:
        """The rate at which it runs now."""
        return self._rate_bytes_per_s if self.on is None else self.on.rate_bytes_per_s

    def run(self, rate_bytes_per_s: float, now_s: float) -> None:
        """Run at a rate of its own from now on."""
        if self.on is None and rate_bytes_per_s == self._rate_bytes_per_s:
            return
        self._offset_bytes = self.reading(now_s)
        self.get_off()
        self._since_s = now_s
        self._rate_bytes_per_s = rate_bytes_per_s

    def ride(self, on: Odometer, now_s: float) -> None:
        """Run along with another one from now on."""
        if self.on is not on:
            reading = self.reading(now_s)
            self.get_off()
            self._offset_bytes = reading - on.reading(now_s)
            self.on = on

    def get_off(self) -> None:
        """Leave what it rides on; `run` or `ride` has to follow."""
        if self.on is not None:
            self.on.marks.drop(self)
            self.on = None

    def reset(self, now_s: float) -> None:
        """Stand still at zero: nobody needs its reading, and rounding errors end here."""
        self.get_off()
        self._offset_bytes = self._rate_bytes_per_s = 0.0
        self._since_s = now_s

    def next_s(self) -> float:
        """Return when the first mark is reached at a rate of its own; inf if never."""
        first_bytes = self.marks.first_key
        if first_bytes == inf or self._rate_bytes_per_s <= 0:
            return inf
        return self._since_s + max(first_bytes - self._offset_bytes, 0.0) / self._rate_bytes_per_s

    def pass_on(self) -> Odometer | None:
        """Tell what it rides on when its first mark is reached; return that, if its own first is new."""
        on = self.on
        assert on is not None
        before_bytes, first_bytes = on.marks.first_key, self.marks.first_key
        if first_bytes < inf:
            on.marks.set(self, first_bytes - self._offset_bytes)
        else:
            on.marks.drop(self)
        return None if on.marks.first_key == before_bytes else on
