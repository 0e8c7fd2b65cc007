"""How far the seeds' spread leaves an answer open: would other seeds have led to another one?

What a plan compares are means over a few seeds. The difference of two points, seed by seed, has a spread
of its own; by Student's t it says how probable it is that the other is the better one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sflsim.planner.objectives import Estimate
from sflsim.planner.pareto import scalarize
from sflsim.retime.timing import Numbers


def chance_better(mine: Estimate, other: Estimate, weights: Sequence[float]) -> float:
    """Return how probable it is that another exact point is the better balance; NaN with one seed.

    The statistic is the difference of the points' scores (`scalarize` of their means), its standard error
    that of the jackknife over the seeds, in which both points are paired; n - 1 degrees of freedom.
    """
    seeds = len(mine.by_seed)
    if seeds < 2:
        return math.nan

    def ahead(kept: Sequence[int]) -> float:
        means = np.stack([point.by_seed[list(kept)].mean(axis=0) for point in (mine, other)])
        ours, theirs = scalarize(means, weights)
        return float(theirs - ours)

    every = range(seeds)
    without = np.array([ahead([seed for seed in every if seed != out]) for out in every])
    error = math.sqrt((seeds - 1) / seeds * float(np.square(without - without.mean()).sum()))
    lead = ahead(every)
    if error <= 1e-12:  # the seeds differ in nothing that counts here
        return 0.5 if abs(lead) <= 1e-12 else float(lead < 0)
    return _t_below(-lead / error, seeds - 1)


def chance_kept(figures: Numbers, limit: float) -> float:
    """Return how probable it is that one more seed stays within a limit; NaN with one seed.

    The figures are taken to be log-normal: that of a further seed lies around their mean with their spread,
    and the mean itself is uncertain.
    """
    seeds = len(figures)
    if seeds < 2 or not np.all(np.isfinite(figures)) or not np.all(figures > 0) or limit <= 0:
        return math.nan
    logs = np.log(figures)
    error = float(logs.std(ddof=1)) * math.sqrt(1 + 1 / seeds)
    room = math.log(limit) - float(logs.mean())
    return float(room >= 0) if error <= 1e-12 else _t_below(room / error, seeds - 1)


def deviation(figures: Numbers) -> float:
    """Return the standard deviation over the seeds; NaN with one seed, or where one did not get there."""
    known = len(figures) > 1 and bool(np.all(np.isfinite(figures)))
    return float(np.std(figures, ddof=1)) if known else math.nan


def _t_below(value: float, degrees: int) -> float:
    """Return the probability that Student's t is below a value."""
    from scipy.special import stdtr

    return float(stdtr(degrees, value))
