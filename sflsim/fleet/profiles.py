"""Profiles: a rate over time that is known in advance and piecewise constant.

Trace files, scheduled changes and daily patterns become profiles. A rate that never changes stays a
float.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sflsim.fleet.instants import RELATIVE_SLACK

Floats = npt.NDArray[np.float64]


class Profile:
    """`values[i]` (>= 0, finite) holds from `times_s[i]` to `times_s[i + 1]`; `times_s[0]` is 0.

    The last value holds for ever or, with `period_s` (above the last time), until the profile
    repeats. Times are zero or more.
    """

    __slots__ = ("_areas", "_times_s", "_values", "period_s")

    def __init__(
        self,
        times_s: Sequence[float] | Floats,
        values: Sequence[float] | Floats,
        period_s: float | None = None,
    ) -> None:
        """Take the points.

        Raises:
            ValueError: they are no such points; a Config that makes profiles checks before.
        """
        self._times_s: list[float] = np.asarray(times_s, dtype=np.float64).tolist()
        self._values: list[float] = np.asarray(values, dtype=np.float64).tolist()
        self.period_s = period_s
        self._check()
        ends_s = [*self._times_s[1:], *([] if period_s is None else [period_s])]
        self._areas = [0.0]  # the integral up to each time, and over a whole period
        for start_s, end_s, value in zip(self._times_s, ends_s, self._values, strict=False):
            self._areas.append(self._areas[-1] + value * (end_s - start_s))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        mine, theirs = (self._times_s, self._values), (other._times_s, other._values)
        return mine == theirs and self.period_s == other.period_s

    def __hash__(self) -> int:
        return hash((*self._times_s, *self._values, self.period_s))

    def _check(self) -> None:
        times_s, values, period_s = self._times_s, self._values, self.period_s
        if not times_s or len(times_s) != len(values) or times_s[0] != 0:
            raise ValueError("a profile has as many values as times, the first time is 0")
        if not all(earlier < later for earlier, later in pairwise(times_s)):
            raise ValueError("the times of a profile increase")
        if not all(0 <= value < math.inf for value in values):
            raise ValueError("the values of a profile are finite and not negative")
        if period_s is not None and not times_s[-1] < period_s < math.inf:
            raise ValueError("the period of a profile is longer than its last time")

    @property
    def times_s(self) -> Floats:
        """The times of change in one period, shape (points,); the first is 0."""
        return np.array(self._times_s)

    @property
    def values(self) -> Floats:
        """The value from each time on, shape (points,)."""
        return np.array(self._values)

    @property
    def mean(self) -> float:
        """The mean over a period, or up to the last change; the last value where nothing changes."""
        end_s = self._times_s[-1] if self.period_s is None else self.period_s
        return (self._areas[-1] / end_s if end_s else 0.0) or self._values[-1]

    def value_at(self, t_s: float) -> float:
        """Return the value that holds from `t_s` on."""
        return self._values[self._piece(self._split(t_s)[1])]

    def next_change(self, t_s: float) -> float:
        """Return the first time after `t_s` at which a new piece begins; inf if none does."""
        begun_s, phase_s = self._split(t_s)
        following = self._piece(phase_s) + 1
        if following < len(self._times_s):
            change_s = begun_s + self._times_s[following]
        else:
            change_s = math.inf if self.period_s is None else begun_s + self.period_s
        return change_s if change_s > t_s else math.nextafter(t_s, math.inf)  # one rounding too early

    def integral(self, start_s: float, end_s: float) -> float:
        """Return the integral from `start_s` to `end_s`."""
        (first_s, first_phase_s), (last_s, last_phase_s) = self._split(start_s), self._split(end_s)
        periods = 0.0 if self.period_s is None else round((last_s - first_s) / self.period_s)
        full_periods = periods * self._areas[-1] if periods else 0.0
        return full_periods + self._area(last_phase_s) - self._area(first_phase_s)

    def end_of(self, start_s: float, amount: float) -> float:
        """Return when the integral from `start_s` reaches `amount`; inf if it never does."""
        if amount <= 0:
            return start_s
        _, phase_s = self._split(start_s)
        wanted = self._area(phase_s) + amount
        if self.period_s is None or wanted <= self._areas[-1]:
            return start_s + (self._time_of(wanted) - phase_s)
        per_period = self._areas[-1]
        if per_period == 0:
            return math.inf
        periods = max(math.ceil(wanted / per_period) - 1, 0)
        rest = min(max(wanted - periods * per_period, 0.0), per_period)
        return start_s + (self.period_s - phase_s + (periods - 1) * self.period_s + self._time_of(rest))

    def _split(self, t_s: float) -> tuple[float, float]:
        """Return when the period that holds `t_s` began, and the time since then."""
        if self.period_s is None:
            return 0.0, t_s
        phase_s = t_s % self.period_s  # exact, and below the period
        return t_s - phase_s, phase_s

    def _piece(self, phase_s: float) -> int:
        return bisect_right(self._times_s, phase_s) - 1

    def _area(self, phase_s: float) -> float:
        """Return the integral from 0 to `phase_s`."""
        piece = self._piece(phase_s)
        return self._areas[piece] + self._values[piece] * (phase_s - self._times_s[piece])

    def _time_of(self, area: float) -> float:
        """Return the first time at which the integral from 0 is `area`."""
        piece = bisect_left(self._areas, area, hi=len(self._times_s)) - 1
        if piece < 0:
            return 0.0
        value, missing = self._values[piece], area - self._areas[piece]
        if 0 < missing <= RELATIVE_SLACK * area:  # reached before, perhaps at the start of a gap
            return self._time_of(self._areas[piece])
        return self._times_s[piece] + missing / value if value else math.inf
