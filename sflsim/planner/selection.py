"""Which points nobody beats, and which of them is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sflsim.planner.objectives import Estimate
from sflsim.planner.pareto import dominated, front, scalarize, stacked
from sflsim.planner.space import Point


@dataclass(frozen=True)
class Selection:
    """The points that nothing beats, best balance first; `open` ones might join them if they were trained."""

    pareto: tuple[Point, ...]
    open: tuple[Point, ...]

    @property
    def recommended(self) -> Point | None:
        """Return the point of the best balance."""
        return self.pareto[0] if self.pareto else None


def select(points: Sequence[Point], estimates: Mapping[int, Estimate], weights: Sequence[float]) -> Selection:
    """Return the feasible points that no other dominates, by how far they are from the best of everything."""
    known = [point for point in points if estimates[point.number].surely_feasible]
    values = stacked([estimates[point.number].values for point in known], len(weights))
    best = np.flatnonzero(front(values))
    open_ = tuple(
        point
        for point in points
        if not estimates[point.number].exact
        and estimates[point.number].feasible
        and not dominated(estimates[point.number].values, values[best])
    )
    if not len(best):
        return Selection((), open_)
    order = best[np.argsort(scalarize(values[best], weights), kind="stable")]
    return Selection(tuple(known[row] for row in order), open_)
