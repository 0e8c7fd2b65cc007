"""How many rounds will a training need? Predicted from those done, to choose the next one.

Points that learn alike share one training. What tells trainings apart (algorithm, tau, cut, batch,
participants ...) is a row of numbers, the logarithm of the rounds to the target a function of it: a
Gaussian process, which also says how sure it is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sflsim.planner.pareto import Values
from sflsim.planner.progress import SharedTraining
from sflsim.planner.space import VARIANT, Point
from sflsim.planner.values import leaves, size_of, text_of

NOISE = 0.04
"""The variance of a logarithm of rounds: what evaluating now and then, and luck, make of it at least."""
MIN_FITTED = 8
"""Trainings from which on the process fits its own scales."""


@dataclass(frozen=True)
class Prediction:
    """The logarithm of a training's rounds to the target: expected, and the standard deviation."""

    mean: float
    deviation: float
    earliest: int
    """The evaluation before which the target is known not to be reached."""

    def rounds(self, deviations: Values) -> Values:
        """Return the rounds, so many standard deviations above what is expected."""
        rounds: Values = np.exp(self.mean + deviations * self.deviation)
        return rounds


class Surrogate:
    """Predicts the rounds that trainings need; keeps their features until there are new points."""

    def __init__(self) -> None:
        self._points = -1
        self._features: Values = np.zeros((0, 0))

    def predictions(self, trainings: Sequence[SharedTraining]) -> dict[str, Prediction]:
        """Return a prediction for every training by its name; none before any has begun."""
        observed = {
            row: math.log(training.rounds)
            for row, training in enumerate(trainings)
            if training.rounds is not None
        }
        if not observed:
            return {}
        features = self._features_of(trainings)
        mean, deviation = _process(features[list(observed)], np.array(list(observed.values())), features)
        return {
            training.name: Prediction(float(mean[row]), float(deviation[row]), training.earliest)
            for row, training in enumerate(trainings)
        }

    def central(self, trainings: Sequence[SharedTraining], names: Collection[str]) -> str:
        """Return which of some trainings lies in their middle."""
        rows = [row for row, training in enumerate(trainings) if training.name in names]
        features = self._features_of(trainings)[rows]
        middle = int(np.argmin(np.square(features - features.mean(axis=0)).sum(axis=1)))
        return trainings[rows[middle]].name

    def _features_of(self, trainings: Sequence[SharedTraining]) -> Values:
        points = sum(len(training.points) for training in trainings)
        if points != self._points:
            self._points = points
            self._features = _features([training.points for training in trainings])
        return self._features


def _process(rows: Values, logs: Values, wanted: Values) -> tuple[Values, Values]:
    """Return mean and standard deviation of a Gaussian process at `wanted`, after `logs` at `rows`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    trend = ConstantKernel(1.0, (1e-2, 1e2)) * DotProduct(1.0, (1e-1, 1e1))
    bends = ConstantKernel(0.3, (1e-3, 1e1)) * RBF(1.0, (0.3, 10.0))
    kernel = trend + bends + WhiteKernel(NOISE, (NOISE, 0.5))
    fitted = "fmin_l_bfgs_b" if len(rows) >= MIN_FITTED else None
    process = GaussianProcessRegressor(kernel, optimizer=fitted, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at a bound: it is only a prediction
        process.fit(rows, logs - logs.mean())
    mean, deviation = process.predict(wanted, return_std=True)
    return np.asarray(mean + logs.mean(), np.float64), np.asarray(deviation, np.float64)


def _features(groups: Sequence[Sequence[Point]]) -> Values:
    """Return a row of numbers for each group of points that learn alike, columns from 0 to 1."""
    columns: dict[str, list[float]] = {}
    for row, group in enumerate(groups):
        for point in group:
            for name, value in _described(point):
                column = columns.setdefault(name, [0.0] * len(groups))
                column[row] += value / len(group)
    table = np.array(list(columns.values()), dtype=np.float64).T.reshape(len(groups), len(columns))
    low, high = table.min(axis=0), table.max(axis=0)
    return np.asarray((table - low) / np.where(high > low, high - low, 1.0), np.float64)


def _described(point: Point) -> Iterator[tuple[str, float]]:
    """Yield what was chosen at a point as numbers: logarithms of amounts, 1 for each other choice."""
    chosen = {**point.fields, **{name: value for name, value in point.choices.items() if name != VARIANT}}
    for name in [name for name, value in chosen.items() if isinstance(value, dict)]:
        mapping = chosen.pop(name)
        chosen |= {".".join((name, *path)): value for path, value in leaves(mapping)}
    for name, value in chosen.items():
        plain = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        size = _size(value) if plain else None
        if size is not None and size > 0:
            yield name, math.log(size)
        elif value is not None:
            yield f"{name} {text_of(value)}", 1.0


_size = lru_cache(maxsize=4096)(size_of)
