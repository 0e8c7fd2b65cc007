"""How many rounds will a training need? Predicted from those done, to choose the next one.

Points that learn alike share one training. What tells trainings apart (algorithm, tau, cut, batch,
participants ...) is a row of numbers, the logarithm of the rounds to the target a function of it: a
Gaussian process, which also says how sure it is. Its prediction, read on the clock of every point, tells what
a training may add to the front. A prediction orders trainings; it never decides what is on a front.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import TimeToTarget
from sflsim.planner.pareto import Values, dominated, hypervolume
from sflsim.planner.pareto import front as front_of
from sflsim.planner.space import VARIANT, Point, leaves, size_of, text_of
from sflsim.retime.timing import Timing

LEAST_PROGRESS, MOST_PROGRESS = 0.1, 0.95
"""Between these lies the share of the way to the target that an unfinished training is taken to have gone."""
DEVIATIONS = np.array([NormalDist().inv_cdf((place + 0.5) / 31) for place in range(31)])
"""Equally likely values of the standard normal law, which stand for it."""
NOISE = 0.04
"""The variance of a logarithm of rounds: what evaluating now and then, and luck, make of it at least."""
LEAST = 8
"""Trainings from which on the process fits its own scales."""


@dataclass(frozen=True)
class Expectation:
    """What a point is worth if all its runs reach the target at one evaluation, for each of them."""

    values: Values
    """[evaluations, objectives]"""
    violation: Values
    """How far constraints are violated, summed; zero where all are kept."""
    rounds: npt.NDArray[np.int64]

    def rows(self, prediction: Prediction) -> npt.NDArray[np.intp]:
        """Return, for each of DEVIATIONS, the first evaluation after so many rounds; their number if none."""
        rows = np.searchsorted(self.rounds, prediction.rounds(DEVIATIONS))
        return np.maximum(rows, min(prediction.earliest, len(self.rounds)))


@dataclass(frozen=True)
class Prediction:
    """The logarithm of a training's rounds to the target: expected, and the standard deviation."""

    mean: float
    deviation: float
    earliest: int
    """The evaluation before which it is known not to be there."""

    def rounds(self, deviations: Values) -> Values:
        """Return the rounds, so many standard deviations above what is expected."""
        rounds: Values = np.exp(self.mean + deviations * self.deviation)
        return rounds


class Surrogate:
    """Guesses what trainings of the points timed so far would add to the front."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._alike: dict[str, list[Point]] = {}
        self._features: Values = np.zeros((0, 0))
        self._seen = 0
        self._ahead: dict[int, Expectation] = {}

    def tried(self) -> Iterator[Point]:
        """Yield a point of each training that has been begun."""
        self._survey()
        for own in self._alike.values():
            if self._observed(self._reaches(own[0])) is not None:
                yield own[0]

    def central(self, points: Sequence[Point]) -> str:
        """Return the name of the training that lies in the middle of those of some points."""
        self._survey()
        names = {self.evaluator.learning(point) for point in points}
        places = [place for place, name in enumerate(self._alike) if name in names]
        rows = self._features[places]
        middle = int(np.argmin(np.square(rows - rows.mean(axis=0)).sum(axis=1)))
        return list(self._alike)[places[middle]]

    def gains(self, points: Sequence[Point]) -> dict[str, float]:
        """Return which share of the front's hypervolume the training of each point is expected to add.

        By the name of the training, see `Evaluator.learning`; one that adds nothing is not listed. The
        expectation is over the prediction's normal law.
        """
        predictions = self.predictions()
        alike: dict[str, list[Point]] = {}
        for point in points:
            alike.setdefault(self.evaluator.learning(point), []).append(point)
        hopes = {name: self._hopes(own, predictions[name]) for name, own in alike.items()}
        front = self.evaluator.front
        front = front[front_of(front)]
        everything = np.concatenate([front, *(values for each in hopes.values() for values, _ in each)])
        if not len(everything):
            return {}
        reference = self._reference(points, predictions, front, everything)
        base = hypervolume(front, reference)

        def gain(values: Values) -> float:
            new = values[[not dominated(row, front) for row in values]]
            return hypervolume(np.concatenate([front, new]), reference) - base if len(new) else 0.0

        gained = {name: sum(weight * gain(values) for values, weight in each) for name, each in hopes.items()}
        whole = hypervolume(everything, reference)
        return {name: one / whole for name, one in gained.items() if one > 0}

    def _reference(
        self,
        points: Sequence[Point],
        predictions: Mapping[str, Prediction],
        front: Values,
        everything: Values,
    ) -> Values:
        """Return what is a tenth worse than the worst of the known, the likely and the hoped-for front."""
        likely = [
            values
            for values, violation in (self.expected(one, predictions) for one in points)
            if not violation
        ]
        fronts = [front, everything[front_of(everything)]]
        if likely:
            together = np.concatenate([front, np.stack(likely)])
            fronts.append(together[front_of(together)])
        worst = np.concatenate(fronts).max(axis=0)
        return np.where(worst > 0, 1.1 * worst, 1.0)

    def predictions(self) -> Mapping[str, Prediction]:
        """Return a prediction for every training; none before anything has been trained."""
        self._survey()
        reaches = {name: self._reaches(own[0]) for name, own in self._alike.items()}
        observed = {
            place: math.log(rounds)
            for place, each in enumerate(reaches.values())
            if (rounds := self._observed(each)) is not None
        }
        if not observed:
            return {}
        rows, logs = self._features[list(observed)], np.array(list(observed.values()))
        mean, deviation = _process(rows, logs, self._features)
        return {
            name: Prediction(float(mean[place]), float(deviation[place]), min(one.row for _, one in each))
            for place, (name, each) in enumerate(reaches.items())
        }

    def expected(self, point: Point, predictions: Mapping[str, Prediction]) -> tuple[Values, float]:
        """Return a timed point's objectives and how far it breaks constraints, known or guessed."""
        estimate = self.evaluator.estimate(point)
        prediction = predictions.get(self.evaluator.learning(point))
        if estimate.exact or prediction is None:
            return estimate.values, sum(estimate.violations.values())
        ahead = self._expectation(point)
        row = int(np.median(ahead.rows(prediction)))
        if row == len(ahead.rounds):
            return ahead.values[-1], 1.0
        return ahead.values[row], float(ahead.violation[row])

    def _hopes(self, points: Sequence[Point], prediction: Prediction) -> list[tuple[Values, float]]:
        """Return what points of one training may be worth, the best of them, each with its probability."""
        aheads = [self._expectation(point) for point in points]
        cases, counts = np.unique([ahead.rows(prediction) for ahead in aheads], axis=1, return_counts=True)
        hopes = []
        for rows, count in zip(cases.T, counts, strict=True):
            there = zip(aheads, rows, strict=True)
            reached = [(ahead, row) for ahead, row in there if row < len(ahead.rounds)]
            kept = [ahead.values[row] for ahead, row in reached if not ahead.violation[row]]
            if kept:
                values = np.stack(kept)
                hopes.append((values[front_of(values)], count / len(DEVIATIONS)))
        return hopes

    def _survey(self) -> None:
        """Group the timed points by what they learn, if there are new ones."""
        if self._seen == len(self.evaluator.timings):
            return
        self._seen, self._alike = len(self.evaluator.timings), {}
        for point in self.evaluator.timed:
            self._alike.setdefault(self.evaluator.learning(point), []).append(point)
        self._features = _features(list(self._alike.values()))

    def _reaches(self, point: Point) -> list[tuple[Timing, TimeToTarget]]:
        timings = self.evaluator.timings[point.number]
        return list(zip(timings, self.evaluator.reaches(timings), strict=True))

    def _observed(self, reaches: Sequence[tuple[Timing, TimeToTarget]]) -> float | None:
        """Return the rounds that the trainings of all seeds need (their geometric mean), as far as begun."""
        target = self.evaluator.objectives.target
        if target is None:  # nothing is trained
            return None
        each = [self._needed(timing, one, target) for timing, one in reaches if one.row > 1 or one.exact]
        return float(np.exp(np.mean(np.log(each)))) if each else None

    def _needed(self, timing: Timing, one: TimeToTarget, target: float) -> float:
        """Return the rounds to the target, accuracy taken as straight lines between evaluations.

        Where a run did not come to it, on the straight line from its start to its best.
        """
        known = self.evaluator.known
        accuracies = [known[key][0] for key in timing.keys[: one.row + 1] if key in known]
        if one.exact and one.reached and one.row:
            before, there = max(accuracies[:-1]), accuracies[-1]
            low, high = timing.rounds[one.row - 1 : one.row + 1]
            return max(1.0, float(low + (high - low) * (target - before) / (there - before)))
        rounds = max(1.0, float(timing.rounds[one.row]))
        progress = (one.best - accuracies[0]) / max(target - accuracies[0], 1e-9)
        return rounds / min(max(progress, LEAST_PROGRESS), MOST_PROGRESS)

    def _expectation(self, point: Point) -> Expectation:
        if point.number not in self._ahead:
            timings = self.evaluator.timings[point.number]
            values, violation = self.evaluator.objectives.ahead(self.evaluator.tables[point.number], timings)
            rounds = min((timing.rounds for timing in timings), key=len)
            self._ahead[point.number] = Expectation(values, violation, rounds)
        return self._ahead[point.number]


def _process(rows: Values, logs: Values, wanted: Values) -> tuple[Values, Values]:
    """Return mean and standard deviation of a Gaussian process at `wanted`, after `logs` at `rows`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    trend = ConstantKernel(1.0, (1e-2, 1e2)) * DotProduct(1.0, (1e-1, 1e1))
    bends = ConstantKernel(0.3, (1e-3, 1e1)) * RBF(1.0, (0.3, 10.0))
    kernel = trend + bends + WhiteKernel(NOISE, (NOISE, 0.5))
    fitted = "fmin_l_bfgs_b" if len(rows) >= LEAST else None
    process = GaussianProcessRegressor(kernel, optimizer=fitted, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at a bound: it is only a prediction
        process.fit(rows, logs - logs.mean())
    mean, deviation = process.predict(wanted, return_std=True)
    return np.asarray(mean + logs.mean(), np.float64), np.asarray(deviation, np.float64)


def _features(groups: Sequence[Sequence[Point]]) -> Values:
    """Return a row of numbers for each group of points that learn alike, columns from 0 to 1."""
    columns: dict[str, list[float]] = {}
    for place, group in enumerate(groups):
        for point in group:
            for name, value in _described(point):
                column = columns.setdefault(name, [0.0] * len(groups))
                column[place] += value / len(group)
    table = np.array(list(columns.values()), dtype=np.float64).T.reshape(len(groups), len(columns))
    low, high = table.min(axis=0), table.max(axis=0)
    return np.asarray((table - low) / np.where(high > low, high - low, 1.0), np.float64)


def _described(point: Point) -> Iterator[tuple[str, float]]:
    """Yield what was chosen at a point as numbers: logarithms of amounts, 1 for each other choice."""
    chosen = {**point.fields, **{name: value for name, value in point.choices.items() if name != VARIANT}}
    for name in [name for name, value in chosen.items() if isinstance(value, dict)]:
        whole = chosen.pop(name)
        chosen |= {".".join((name, *path)): value for path, value in leaves(whole)}
    for name, value in chosen.items():
        plain = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        size = _size(value) if plain else None
        if size is not None and size > 0:
            yield name, math.log(size)
        elif value is not None:
            yield f"{name} {text_of(value)}", 1.0


_size = lru_cache(maxsize=4096)(size_of)
