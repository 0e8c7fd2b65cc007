"""Intervals of a mean over few seeds, and how many more seeds would decide.

Student's t, since a bootstrap over three seeds covers three times in four what it should cover 19 times in 20
(docs/background/comparison.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

LEVEL = 0.95
POWER = 0.8
"""The chance that so many seeds decide, if the mean and the spread over seeds are as they are now."""
MOST_SEEDS = 1000
"""More seeds than this are told as infinitely many."""


class Interval(NamedTuple):
    """An estimate, and the ends of its interval of confidence `LEVEL`; infinite where nothing bounds it."""

    estimate: float
    low: float
    high: float


def mean_interval(values: Values) -> Interval:
    """Return the mean of independent values and its interval of Student's t; one value bounds nothing."""
    if not len(values) or not np.isfinite(values).all():
        return Interval(math.nan, -math.inf, math.inf)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def bounded_interval(low: Values, high: Values) -> Interval:
    """Return the mean of values of which some are known only to lie from `low` to `high`, by their bounds.

    The mean is at least that of the lower bounds, so the lower end of their interval is one of the mean, too;
    likewise above. The estimate is the mean of the bounds that are all finite: the mean itself, or the least
    or the most that it can be.
    """
    at_least, at_most = mean_interval(low), mean_interval(high)
    known = at_most if math.isnan(at_least.estimate) else at_least
    return Interval(known.estimate, at_least.low, at_most.high)


def more_seeds(low: Values, high: Values) -> float:
    """Return about how many more values would put zero outside of `bounded_interval`, with chance `POWER`.

    Infinite for more than `MOST_SEEDS`; NaN where one value says nothing of the spread, or where bounds leave
    both sides open, so that longer runs are wanted and not more.
    """
    sides = [side for side, sign in ((low, 1), (high, -1)) if sign * mean_interval(side).estimate >= 0]
    if not sides or len(low) < 2:
        return math.nan
    from scipy.special import nctdtr, stdtrit

    mean, deviation = abs(sides[0].mean()), sides[0].std(ddof=1)
    if deviation == 0:
        return math.inf
    counts = np.arange(len(low) + 1, MOST_SEEDS + 1)
    bound = stdtrit(counts - 1, (1 + LEVEL) / 2)
    enough = counts[1 - nctdtr(counts - 1, np.sqrt(counts) * mean / deviation, bound) >= POWER]
    return float(enough[0] - len(low)) if len(enough) else math.inf


def share_interval(certain: float, possible: float, count: int) -> Interval:
    """Return the share of `count` seeds that are `certain`, and Clopper and Pearson's interval of the chance.

    Its lower end is that of `certain`, its upper end that of `possible` seeds; both may hold parts of a seed.
    """
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    from scipy.special import betaincinv

    tail = (1 - LEVEL) / 2
    low = betaincinv(certain, count - certain + 1, tail) if certain > 0 else 0.0
    high = betaincinv(possible + 1, count - possible, 1 - tail) if possible < count else 1.0
    return Interval(certain / count, float(low), float(high))
