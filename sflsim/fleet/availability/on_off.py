"""When one device is available: on/off timelines that are known in advance.

All answer the same two queries, in any order: is the device available at a time, and until when
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
    """The times at which a device is available; a state includes its first instant, not its last."""

    def available_at(self, t_s: float) -> bool:
        """Return whether the device is available at `t_s`."""

    def until(self, t_s: float) -> float:
        """Return when the state at `t_s` ends; inf if it never does."""


class Always:
    """Available at all times."""

    def available_at(self, t_s: float) -> bool:
        """Return true."""
        return True

    def until(self, t_s: float) -> float:
        """Return inf."""
        return inf


ALWAYS = Always()


class OnOffProcess:
    """Alternating states; `length_s(i)` is the length of the i-th, `first` whether the first is available."""

    __slots__ = ("_ends_s", "_first", "_length_s")

    def __init__(self, first: bool, length_s: Callable[[int], float]) -> None:
        self._first = first
        self._length_s = length_s
        self._ends_s: list[float] = []

    def _state(self, t_s: float) -> int:
        """Return the index of the state at `t_s`."""
        ends_s = self._ends_s
        while not ends_s or ends_s[-1] <= t_s:
            ends_s.append((ends_s[-1] if ends_s else 0.0) + self._length_s(len(ends_s)))
        return bisect_right(ends_s, t_s)

    def available_at(self, t_s: float) -> bool:
        """Return whether the device is available at `t_s`."""
        return self._first == (self._state(t_s) % 2 == 0)

    def until(self, t_s: float) -> float:
        """Return the end of the state at `t_s`."""
        return self._ends_s[self._state(t_s)]


class Daily:
    """Available from one time of day to another, with a jitter on both times of each day.

    Day `n` begins at `n * DAY_S - start_s`; `jitter_s(n)` is added to its two times. It is less
    than half of the window and of the gap, so windows never overlap.
    """

    __slots__ = ("_from_s", "_jitter_s", "_length_s", "_start_s")

    def __init__(
        self, from_s: float, to_s: float, start_s: float, jitter_s: Callable[[int], tuple[float, float]]
    ) -> None:
        self._from_s = from_s
        self._length_s = (to_s - from_s) % DAY_S
        self._start_s = start_s
        self._jitter_s = jitter_s

    def _window(self, day: int) -> tuple[float, float]:
        nominal_s = day * DAY_S + self._from_s - self._start_s
        start_jitter_s, end_jitter_s = self._jitter_s(day)
        return nominal_s + start_jitter_s, nominal_s + self._length_s + end_jitter_s

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
        """Return the end of the window, or the start of the next."""
        start_s, end_s = self._next(t_s)
        return end_s if start_s <= t_s else start_s


class Traced:
    """Available wherever a profile of zeros and ones is one."""

    __slots__ = ("_max_changes", "_profile")

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._max_changes = len(profile.times_s) + 1  # every value occurs within as many

    def available_at(self, t_s: float) -> bool:
        """Return whether the profile is one at `t_s`."""
        return self._profile.value_at(t_s) > 0

    def until(self, t_s: float) -> float:
        """Return the first time at which the profile has the other value."""
        state, change_s = self.available_at(t_s), t_s
        for _ in range(self._max_changes):
            change_s = self._profile.next_change(change_s)
            if change_s == inf or self.available_at(change_s) != state:
                return change_s
        return inf


class ScheduledOnOff:
    """Changes state at given times; `first` is whether the device is available before the first of them."""

    __slots__ = ("_first", "_times_s")

    def __init__(self, first: bool, times_s: Sequence[float]) -> None:
        assert all(earlier < later for earlier, later in pairwise(times_s))
        self._first = first
        self._times_s = list(times_s)

    def available_at(self, t_s: float) -> bool:
        """Return whether the device is available at `t_s`."""
        return self._first == (bisect_right(self._times_s, t_s) % 2 == 0)

    def until(self, t_s: float) -> float:
        """Return the next of the times."""
        following = bisect_right(self._times_s, t_s)
        return self._times_s[following] if following < len(self._times_s) else inf


class Intersection:
    """Available when both timelines are; the second must change a finite number of times."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Timeline, second: Timeline) -> None:
        self._first = first
        self._second = second

    def available_at(self, t_s: float) -> bool:
        """Return whether both are available at `t_s`."""
        return self._second.available_at(t_s) and self._first.available_at(t_s)

    def until(self, t_s: float) -> float:
        """Return when the first of the two ends, or when both are available."""
        if self.available_at(t_s):
            return min(self._first.until(t_s), self._second.until(t_s))
        while t_s < inf and not self.available_at(t_s):
            blocking = self._first if self._second.available_at(t_s) else self._second
            t_s = blocking.until(t_s)
        return t_s
