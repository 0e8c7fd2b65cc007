"""Two ways through a space: all of a small one, a sample of a large one. Both train only what can win.

Timing is cheap and training dear. What is trained next is what is predicted to add most to the front, see
surrogate. `exact` times every point and goes on until no point is left that could still be on the
front: what it finds is what brute force finds. `sampled` times as many points as it may (where there
are more, Optuna proposes them, and a walk goes from the front to its neighbours) and ends when no training
is predicted to add anything worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sflsim.errors import SflsimError
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import scalarize
from sflsim.planner.pareto import Values, dominated
from sflsim.planner.selection import weights_of
from sflsim.planner.space import Axis, Point, Space
from sflsim.planner.surrogate import Surrogate
from sflsim.scenario.plan_block import Search

STEPS = 50
"""How often the walk goes round the front at most."""
ENOUGH = 1e-3
"""The share of the front's hypervolume below which a gain is not worth a training."""


def exact(space: Space, evaluator: Evaluator, limit: int | None) -> None:
    """Time all points; train to the end all that could be on the front, with at most `limit` trainings."""
    points = evaluator.time(space.points())
    pursue(points, Surrogate(evaluator), limit)
    train_to_the_end(points, evaluator, limit)


def train_to_the_end(points: Sequence[Point], evaluator: Evaluator, limit: int | None) -> None:
    """Train, most promising first, until none of `points` could still win."""
    while still := _open(points, evaluator, limit):
        first, *then = _most_promising(still, evaluator)
        evaluator.train(first, evaluator.front, then)


def pursue(points: Sequence[Point], surrogate: Surrogate, limit: int | None) -> None:
    """Train what is predicted to add most to the front, until no training of `points` is worth it.

    Each algorithm is tried once first, so that there is something to predict from.
    """
    evaluator = surrogate.evaluator
    while still := _open(points, evaluator, limit):
        names = _next(still, surrogate)
        if not names:
            return
        first, *then = (next(one for one in still if evaluator.learning(one) == name) for name in names)
        evaluator.train(first, evaluator.front, then)


def _open(points: Sequence[Point], evaluator: Evaluator, limit: int | None) -> list[Point]:
    """Return the points that could still win; none when no more may be trained."""
    if limit is not None and evaluator.counts.trainings >= limit:
        return []
    front = evaluator.front
    return [point for point in points if evaluator.can_win(point, front)]


def _next(points: Sequence[Point], surrogate: Surrogate) -> list[str]:
    """Return the trainings that are worth it, the first to begin or to go on with first."""
    tried = {point.fields["algorithm"] for point in surrogate.tried()}
    untried: dict[str, list[Point]] = {}
    for point in points:
        if point.fields["algorithm"] not in tried:
            untried.setdefault(point.fields["algorithm"], []).append(point)
    if untried:
        return [surrogate.central(own) for own in untried.values()]
    gains = surrogate.gains(points)
    return sorted((name for name in gains if gains[name] >= ENOUGH), key=lambda name: -gains[name])


def nearest(points: Sequence[Point], evaluator: Evaluator, limit: int | None) -> Point | None:
    """Return the point that breaks the constraints least, trained as far as that takes to know."""

    def worst(point: Point) -> tuple[float, int, float, int]:
        estimate = evaluator.estimate(point)
        violated = sorted(estimate.violations.values(), reverse=True)
        return (sum(violated), len(violated), float(estimate.values[0]), point.number)

    while points:
        best = min(points, key=worst)
        if evaluator.estimate(best).exact or (limit is not None and evaluator.counts.trainings >= limit):
            return best
        evaluator.train(best, None)
    return None


def sampled(space: Space, evaluator: Evaluator, search: Search) -> None:
    """Time a large space, or a sample of it by Optuna (NSGA-II, seeded) and a walk; train the promising."""
    surrogate = Surrogate(evaluator)
    if space.combinations <= search.timings:
        pursue(evaluator.time(space.points()), surrogate, search.trainings)
        return
    try:
        import optuna
    except ImportError as error:
        raise SflsimError(
            f"a plan over {space.combinations} combinations is searched with Optuna, which is not installed: "
            "install sflsim[plan], or shorten the decisions"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    population = max(8, min(50, search.timings // 10))
    sampler = optuna.samplers.NSGAIISampler(seed=search.seed, population_size=population)
    minimize = optuna.study.StudyDirection.MINIMIZE
    directions = [minimize] * len(evaluator.objectives.plan.objectives)
    study = optuna.create_study(directions=directions, sampler=sampler)
    half, before = search.timings // 2, -1
    while before < evaluator.counts.timed < half:
        before = evaluator.counts.timed
        _generation(study, space, surrogate, search, min(population, half - before))
    _walk(space, surrogate, search)


def _generation(study: Any, space: Space, surrogate: Surrogate, search: Search, size: int) -> None:
    """Time as many new points as Optuna proposes, then train the most promising first, then tell it all."""
    evaluator = surrogate.evaluator
    asked: list[tuple[Any, Point | None]] = []
    enough = evaluator.counts.timed + size
    while evaluator.counts.timed < enough and len(asked) < 10 * size:
        count = min(enough - evaluator.counts.timed, 10 * size - len(asked))
        trials = [study.ask() for _ in range(count)]
        points = [space.at(tuple(_suggested(trial, axis) for axis in space.axes)) for trial in trials]
        evaluator.time([point for point in points if point is not None], total=search.timings)
        possible = [point if point and point.number in evaluator.timings else None for point in points]
        asked += zip(trials, possible, strict=True)
    pursue([point for _, point in asked if point], surrogate, search.trainings)
    predictions = surrogate.predictions()
    for trial, point in asked:
        if point is None:
            study.tell(trial, state=_failed())
            continue
        values, violation = surrogate.expected(point, predictions)
        study.tell(trial, [float(value) * (1.0 + 10.0 * violation) for value in values])


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def _suggested(trial: Any, axis: Axis) -> int:
    """Return the place on an axis that Optuna proposes."""
    if axis.ordered:
        return int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))
    return int(trial.suggest_categorical(axis.name, list(range(len(axis.values)))))


def _walk(space: Space, surrogate: Surrogate, search: Search) -> None:
    """Time the neighbours of the front, train those that may win, until the front stands still."""
    evaluator = surrogate.evaluator
    seen: set[int] = set()
    for _ in range(STEPS):
        front = evaluator.front
        on_front = [point for point in evaluator.timed if _on(point, evaluator, front)]
        fresh = [point for point in on_front if point.number not in seen]
        if not fresh or evaluator.counts.timed >= search.timings:
            return
        seen.update(point.number for point in fresh)
        around = [other for point in _by_score(fresh, evaluator) for _, other in space.neighbours(point)]
        evaluator.time(around, search.timings - evaluator.counts.timed, search.timings)
        pursue(evaluator.timed, surrogate, search.trainings)


def _on(point: Point, evaluator: Evaluator, front: Values) -> bool:
    estimate = evaluator.estimate(point)
    return estimate.exact and estimate.feasible and not dominated(estimate.values, front)


def _by_score(points: Sequence[Point], evaluator: Evaluator) -> list[Point]:
    values = np.array([evaluator.estimate(point).values for point in points])
    score = scalarize(values, [1.0] * values.shape[1])
    return [points[place] for place in np.argsort(score, kind="stable")]


def _most_promising(points: Sequence[Point], evaluator: Evaluator) -> list[Point]:
    """Return the points by how near their bounds lie to the best of everything, the nearest first."""
    values = np.array([evaluator.estimate(point).values for point in points])
    order = np.argsort(scalarize(values, weights_of(evaluator.objectives)), kind="stable")
    return [points[place] for place in order]
