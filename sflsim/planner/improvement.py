"""What a training is expected to add to the front: the expected improvement of its hypervolume.

The rounds that a training needs are predicted with their uncertainty; the clock of every point turns them
into objectives. A prediction orders trainings; it never decides what is on a front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sflsim.planner.objectives import Estimate, Expectation
from sflsim.planner.pareto import Values, dominated, hypervolume
from sflsim.planner.pareto import front as front_of
from sflsim.planner.surrogate import Prediction

DEVIATIONS = np.array([NormalDist().inv_cdf((number + 0.5) / 31) for number in range(31)])
"""Equally likely values of the standard normal law, which stand for it."""


@dataclass(frozen=True)
class Candidate:
    """A point that may be trained: the name of its training, what is known of it, what it may be worth."""

    training: str
    estimate: Estimate
    expectation: Expectation

    def likely(self, prediction: Prediction | None) -> tuple[Values, float]:
        """Return its objectives and how far it violates constraints, known or predicted."""
        if self.estimate.exact or prediction is None:
            return self.estimate.values, sum(self.estimate.violations.values())
        row = int(np.median(_rows(self.expectation, prediction)))
        if row == len(self.expectation.rounds):
            return self.expectation.values[-1], 1.0
        return self.expectation.values[row], float(self.expectation.violation[row])


def gains(
    candidates: Sequence[Candidate], predictions: Mapping[str, Prediction], front: Values
) -> dict[str, float]:
    """Return which share of the front's hypervolume each training is expected to add, by its name.

    One that adds nothing is not listed. The expectation is over the predictions' normal laws.
    """
    sharing: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        sharing.setdefault(candidate.training, []).append(candidate)
    outcomes = {name: _outcomes(points, predictions[name]) for name, points in sharing.items()}
    front = front[front_of(front)]
    everything = np.concatenate([front, *(values for each in outcomes.values() for values, _ in each)])
    if not len(everything):
        return {}
    reference = _reference(candidates, predictions, front, everything)
    base = hypervolume(front, reference)

    def gain(values: Values) -> float:
        new = values[[not dominated(row, front) for row in values]]
        return hypervolume(np.concatenate([front, new]), reference) - base if len(new) else 0.0

    gained = {
        name: sum(probability * gain(values) for values, probability in each)
        for name, each in outcomes.items()
    }
    whole = hypervolume(everything, reference)
    return {name: volume / whole for name, volume in gained.items() if volume > 0}


def _reference(
    candidates: Sequence[Candidate], predictions: Mapping[str, Prediction], front: Values, everything: Values
) -> Values:
    """Return what is a tenth worse than the worst of the known, the likely and the hoped-for front."""
    expected = (candidate.likely(predictions.get(candidate.training)) for candidate in candidates)
    likely = [values for values, violation in expected if not violation]
    fronts = [front, everything[front_of(everything)]]
    if likely:
        together = np.concatenate([front, np.stack(likely)])
        fronts.append(together[front_of(together)])
    worst = np.concatenate(fronts).max(axis=0)
    return np.where(worst > 0, 1.1 * worst, 1.0)


def _outcomes(points: Sequence[Candidate], prediction: Prediction) -> list[tuple[Values, float]]:
    """Return what points of one training may be worth, the best of them, each with its probability."""
    expectations = [point.expectation for point in points]
    cases, counts = np.unique(
        [_rows(expectation, prediction) for expectation in expectations], axis=1, return_counts=True
    )
    outcomes = []
    for rows, count in zip(cases.T, counts, strict=True):
        feasible = [
            expectation.values[row]
            for expectation, row in zip(expectations, rows, strict=True)
            if row < len(expectation.rounds) and not expectation.violation[row]
        ]
        if feasible:
            values = np.stack(feasible)
            outcomes.append((values[front_of(values)], count / len(DEVIATIONS)))
    return outcomes


def _rows(expectation: Expectation, prediction: Prediction) -> npt.NDArray[np.intp]:
    """Return, for each of DEVIATIONS, the first evaluation after so many rounds; their number if none."""
    rows = np.searchsorted(expectation.rounds, prediction.rounds(DEVIATIONS))
    return np.maximum(rows, min(prediction.earliest, len(expectation.rounds)))
