"""Which points nobody beats, and which of them is recommended, under a plan's prices and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sflsim.planner.objectives import Estimate, Objectives, scalarize
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


def select(points: Sequence[Point], estimates: Mapping[int, Estimate], objectives: Objectives) -> Selection:
    """Return the feasible points that no other dominates, by how far they are from the best of everything."""
    known = [point for point in points if estimates[point.number].exact and estimates[point.number].feasible]
    columns = len(objectives.plan.objectives)
    values = stacked([estimates[point.number].values for point in known], columns)
    best = [place for place, on in enumerate(front(values)) if on]
    rows = values[best]
    inexact = [
        point
        for point in points
        if not estimates[point.number].exact
        and estimates[point.number].feasible
        and not dominated(estimates[point.number].values, rows)
    ]
    if not best:
        return Selection((), tuple(inexact))
    order = np.argsort(scalarize(rows, weights_of(objectives)), kind="stable")
    return Selection(tuple(known[best[place]] for place in order), tuple(inexact))


def weights_of(objectives: Objectives) -> list[float]:
    """Return the weight of every objective, in order."""
    return [objectives.plan.weights.get(name, 1.0) for name in objectives.plan.objectives]
