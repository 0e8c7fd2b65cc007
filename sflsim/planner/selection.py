"""Which points nobody beats, and which of them is recommended, under a judge's prices and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sflsim.planner.objectives import Estimate, Judge, weigh
from sflsim.planner.pareto import dominated, front, stacked
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


def select(points: Sequence[Point], estimates: Mapping[int, Estimate], judge: Judge) -> Selection:
    """Return the feasible points that no other dominates, by how far they are from the best of everything."""
    known = [
        point for point in points if estimates[point.number].settled and estimates[point.number].feasible
    ]
    columns = len(judge.plan.objectives)
    values = stacked([estimates[point.number].values for point in known], columns)
    best = [place for place, on in enumerate(front(values)) if on]
    rows = values[best]
    unsettled = [
        point
        for point in points
        if not estimates[point.number].settled
        and estimates[point.number].feasible
        and not dominated(estimates[point.number].values, rows)
    ]
    if not best:
        return Selection((), tuple(unsettled))
    order = np.argsort(weigh(rows, weights_of(judge)), kind="stable")
    return Selection(tuple(known[best[place]] for place in order), tuple(unsettled))


def weights_of(judge: Judge) -> list[float]:
    """Return the weight of every objective, in order."""
    return [judge.plan.weights.get(name, 1.0) for name in judge.plan.objectives]
