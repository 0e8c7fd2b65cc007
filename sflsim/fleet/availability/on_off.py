"""When one device is there: timelines that are there and away by turns, known in advance.

All are asked the same two questions, in any order: is the device there at a time, and until when
does that hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf
from typing import Protocol

from sflsim.fleet.profiles import Profile

DAY_S = 86400.0


class Timeline(Protocol):
    """The times at which a device is there; a state holds from its first instant up to the next state."""

    def available_at(self, t_s: float) -> bool:
        """Return whether the device is there at `t_s`."""

    def until(self, t_s: float) -> float:
        """Return when the state at `t_s` ends; inf if it never does."""


class Always:
    """There for good."""

    def available_at(self, t_s: float) -> bool:
        """Return true."""
        return True

    def until(self, t_s: float) -> float:
        """Return inf."""
        return inf


ALWAYS = Always()


class Switching:
    """States that follow on each other with given lengths: `length_s(i)` of the i-th, first there or not."""

    __slots__ = ("_ends_s", "_first", "_length_s")

    def __init__(self, first: bool, length_s: Callable[[int], float]) -> None:
        self._first = first
        self._length_s = length_s
        self._ends_s: list[float] = []

    def _state(self, t_s: float) -> int:
        """Return the number of the state at `t_s`."""
        ends_s = self._ends_s
        while not ends_s or ends_s[-1] <= t_s:
            ends_s.append((ends_s[-1] if ends_s else 0.0) + self._length_s(len(ends_s)))
        return bisect_right(ends_s, t_s)

    def available_at(self, t_s: float) -> bool:
        """Return whether the state at `t_s` is one of being there."""
        return self._first == (self._state(t_s) % 2 == 0)

    def until(self, t_s: float) -> float:
        """Return the end of the state at `t_s`."""
        return self._ends_s[self._state(t_s)]


class Daily:
    """There from one time of day to another, each day moved by a little of its own.

    Day `n` begins at `n * DAY_S - start_s`; `moves_s(n)` are what its two times are moved by. Less
    than half of the window and of the gap, so that days stay apart.
    """

    __slots__ = ("_from_s", "_length_s", "_moves_s", "_start_s")

    def __init__(
        self, from_s: float, to_s: float, start_s: float, moves_s: Callable[[int], tuple[float, float]]
    ) -> None:
        self._from_s = from_s
        self._length_s = (to_s - from_s) % DAY_S
        self._start_s = start_s
        self._moves_s = moves_s

    def _window(self, day: int) -> tuple[float, float]:
        begin_s = day * DAY_S + self._from_s - self._start_s
        first_s, last_s = self._moves_s(day)
        return begin_s + first_s, begin_s + self._length_s + last_s

    def _next(self, t_s: float) -> tuple[float, float]:
        """Return the first window that ends after `t_s`."""
        day = int((t_s + self._start_s) // DAY_S) - 2
        while True:
            window = self._window(day)
            if window[1] > t_s:
                return window
            day += 1

    def available_at(self, t_s: float) -> bool:
        """Return whether `t_s` lies in a window."""
        return self._next(t_s)[0] <= t_s

    def until(self, t_s: float) -> float:
        """Return the end of the window, or the beginning of the next."""
        begin_s, end_s = self._next(t_s)
        return end_s if begin_s <= t_s else begin_s


class Traced:
    """There wherever a profile of zeros and ones is one."""

    __slots__ = ("_most", "_profile")

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._most = len(profile.times_s) + 1  # changes after which every value has come up

    def available_at(self, t_s: float) -> bool:
        """Return whether the profile is one at `t_s`."""
        return self._profile.value_at(t_s) > 0

    def until(self, t_s: float) -> float:
        """Return the first time at which the profile has the other value."""
        state, change_s = self.available_at(t_s), t_s
        for _ in range(self._most):
            change_s = self._profile.next_change(change_s)
            if change_s == inf or self.available_at(change_s) != state:
                return change_s
        return inf


class Scripted:
    """There and away by turns at given times; before the first of them `first`."""

    __slots__ = ("_first", "_times_s")

    def __init__(self, first: bool, times_s: Sequence[float]) -> None:
        assert all(earlier < later for earlier, later in pairwise(times_s))
        self._first = first
        self._times_s = list(times_s)

    def available_at(self, t_s: float) -> bool:
        """Return whether it is there at `t_s`."""
        return self._first == (bisect_right(self._times_s, t_s) % 2 == 0)

    def until(self, t_s: float) -> float:
        """Return the next of its times."""
        following = bisect_right(self._times_s, t_s)
        return self._times_s[following] if following < len(self._times_s) else inf


class Both:
    """There where two timelines are, of which the second changes a finite number of times."""

    __slots__ = ("_one", "_other")

    def __init__(self, one: Timeline, other: Timeline) -> None:
        self._one = one
        self._other = other

    def available_at(self, t_s: float) -> bool:
        """Return whether both are there."""
        return self._other.available_at(t_s) and self._one.available_at(t_s)

    def until(self, t_s: float) -> float:
        """Return when the first of them leaves, or when both are back."""
        if self.available_at(t_s):
            return min(self._one.until(t_s), self._other.until(t_s))
        while t_s < inf and not self.available_at(t_s):
            away = self._one if self._other.available_at(t_s) else self._other
            t_s = away.until(t_s)
        return t_s
