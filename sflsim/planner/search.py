"""Two ways through a space: all of a small one, a sample of a large one. Both train only what can win.

Timing is cheap and training dear. What is trained next is what is predicted to add most to the front.
`exact` times every point and goes on until no point is left that could still be on the front: what it finds
is what brute force finds. `sampled` times as many points as it may (where there are more, Optuna proposes
them, and a walk goes from the front to its neighbours) and ends when no training is predicted to add
anything worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sflsim.errors import SflsimError
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.improvement import Candidate, gains
from sflsim.planner.pareto import dominated, scalarize
from sflsim.planner.selection import Selection, select
from sflsim.planner.space import Axis, Point, Space
from sflsim.planner.surrogate import Prediction, Surrogate
from sflsim.scenario.plan_block import Search

STEPS = 50
"""The most steps of the walk along the front."""
MIN_GAIN = 1e-3
"""The share of the front's hypervolume below which a gain is not worth a training."""


def search(space: Space, evaluator: Evaluator) -> Selection:
    """Time and train points as far as the plan allows; return those that nothing beats.

    Raises:
        ScenarioError: no point is possible.
        SflsimError: the space is large, and Optuna is not installed.
    """
    settings = evaluator.plan.search
    if is_exact(space, settings):
        points = evaluator.time(space.points())
        _pursue(points, evaluator, Surrogate(), settings.trainings)
        _train_to_the_end(points, evaluator, settings.trainings)
    else:
        _sampled(space, evaluator, settings)
    if not evaluator.timings:
        errors = [*space.refused.values(), *evaluator.impossible.values()]
        raise space.scenario.located(errors[0])
    estimates = {point.number: evaluator.estimate(point) for point in evaluator.timed}
    return select(evaluator.timed, estimates, evaluator.objectives.weights)


def is_exact(space: Space, settings: Search) -> bool:
    """Tell whether a space is small enough to be gone through whole."""
    return space.combinations <= settings.exact_up_to


def nearest(evaluator: Evaluator) -> Point:
    """Return the point that violates the constraints least, trained as far as that takes to know."""
    limit = evaluator.plan.search.trainings

    def worst(point: Point) -> tuple[float, int, float, int]:
        estimate = evaluator.estimate(point)
        violations = sorted(estimate.violations.values(), reverse=True)
        return (sum(violations), len(violations), float(estimate.values[0]), point.number)

    while True:
        best = min(evaluator.timed, key=worst)
        if evaluator.estimate(best).exact or (limit is not None and evaluator.counts.trainings >= limit):
            return best
        evaluator.train(best, None)


def _pursue(points: Sequence[Point], evaluator: Evaluator, surrogate: Surrogate, limit: int | None) -> None:
    """Train what is predicted to add most to the front, until no training of `points` is worth it.

    Each algorithm is tried once first, so that there is something to predict from.
    """
    while still := _open(points, evaluator, limit):
        names = _next(still, evaluator, surrogate)
        if not names:
            return
        first, *then = (next(point for point in still if evaluator.training(point) == name) for name in names)
        evaluator.train(first, evaluator.front, then)


def _train_to_the_end(points: Sequence[Point], evaluator: Evaluator, limit: int | None) -> None:
    """Train, most promising first, until none of `points` could still win."""
    while still := _open(points, evaluator, limit):
        first, *then = _by_score(still, evaluator, evaluator.objectives.weights)
        evaluator.train(first, evaluator.front, then)


def _open(points: Sequence[Point], evaluator: Evaluator, limit: int | None) -> list[Point]:
    """Return the points that could still win; none when no more may be trained."""
    if limit is not None and evaluator.counts.trainings >= limit:
        return []
    front = evaluator.front
    return [point for point in points if evaluator.can_win(point, front)]


def _next(points: Sequence[Point], evaluator: Evaluator, surrogate: Surrogate) -> list[str]:
    """Return the trainings that are worth it, the first to begin or to go on with first."""
    trainings = evaluator.shared_trainings()
    begun = (training for training in trainings if training.rounds is not None)
    tried = {training.points[0].fields["algorithm"] for training in begun}
    untried: dict[str, set[str]] = {}
    for point in points:
        if point.fields["algorithm"] not in tried:
            untried.setdefault(point.fields["algorithm"], set()).add(evaluator.training(point))
    if untried:
        return [surrogate.central(trainings, names) for names in untried.values()]
    candidates = [_candidate(point, evaluator) for point in points]
    gain = gains(candidates, surrogate.predictions(trainings), evaluator.front)
    return sorted((name for name in gain if gain[name] >= MIN_GAIN), key=lambda name: -gain[name])


def _candidate(point: Point, evaluator: Evaluator) -> Candidate:
    return Candidate(evaluator.training(point), evaluator.estimate(point), evaluator.expectation(point))


def _sampled(space: Space, evaluator: Evaluator, settings: Search) -> None:
    """Time a large space, or a sample of it by Optuna (NSGA-II, seeded) and a walk; train the promising."""
    surrogate = Surrogate()
    if space.combinations <= settings.timings:
        _pursue(evaluator.time(space.points()), evaluator, surrogate, settings.trainings)
        return
    population = max(8, min(50, settings.timings // 10))
    study = _study(len(evaluator.plan.objectives), settings.seed, population, space.combinations)
    half, before = settings.timings // 2, -1
    while before < evaluator.counts.timed < half:
        before = evaluator.counts.timed
        _generation(study, space, evaluator, surrogate, min(population, half - before))
    _walk(space, evaluator, surrogate, settings)


def _study(objectives: int, seed: int, population: int, combinations: int) -> Any:
    """Return an Optuna study that minimises so many objectives, and knows of violated constraints."""
    try:
        import optuna
    except ImportError as error:
        raise SflsimError(
            f"a plan over {combinations} combinations is searched with Optuna, which is not installed: "
            "install sflsim[plan], or shorten the decisions"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=population)
    return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


def _generation(study: Any, space: Space, evaluator: Evaluator, surrogate: Surrogate, size: int) -> None:
    """Time as many new points as Optuna proposes, then train the most promising first, then tell it all."""
    settings = evaluator.plan.search
    asked: list[tuple[Any, Point | None]] = []
    enough = evaluator.counts.timed + size
    while evaluator.counts.timed < enough and len(asked) < 10 * size:
        count = min(enough - evaluator.counts.timed, 10 * size - len(asked))
        trials = [study.ask() for _ in range(count)]
        points = [space.at(tuple(_suggested(trial, axis) for axis in space.axes)) for trial in trials]
        evaluator.time([point for point in points if point is not None], total=settings.timings)
        possible = [point if point and point.number in evaluator.timings else None for point in points]
        asked += zip(trials, possible, strict=True)
    _pursue([point for _, point in asked if point], evaluator, surrogate, settings.trainings)
    predictions = surrogate.predictions(evaluator.shared_trainings())
    for trial, point in asked:
        _tell(study, trial, None if point is None else _candidate(point, evaluator), predictions)


def _tell(study: Any, trial: Any, candidate: Candidate | None, predictions: Mapping[str, Prediction]) -> None:
    """Tell Optuna what a trial is worth; one without a point has failed."""
    import optuna

    if candidate is None:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    values, violation = candidate.likely(predictions.get(candidate.training))
    trial.set_constraint("violation", violation)  # above zero where a constraint is violated
    study.tell(trial, [float(value) for value in values])


def _suggested(trial: Any, axis: Axis) -> int:
    """Return the place on an axis that Optuna proposes."""
    if axis.ordered:
        return int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))
    return int(trial.suggest_categorical(axis.name, list(range(len(axis.values)))))


def _walk(space: Space, evaluator: Evaluator, surrogate: Surrogate, settings: Search) -> None:
    """Time the neighbours of the front, train those that may win, until the front stands still."""
    seen: set[int] = set()
    for _ in range(STEPS):
        front = evaluator.front
        fresh = [
            point
            for point in evaluator.timed
            if point.number not in seen
            and evaluator.estimate(point).surely_feasible
            and not dominated(evaluator.estimate(point).values, front)
        ]
        if not fresh or evaluator.counts.timed >= settings.timings:
            return
        seen.update(point.number for point in fresh)
        by_score = _by_score(fresh, evaluator, [1.0] * front.shape[1])
        around = [other for point in by_score for _, other in space.neighbours(point)]
        evaluator.time(around, settings.timings - evaluator.counts.timed, settings.timings)
        _pursue(evaluator.timed, evaluator, surrogate, settings.trainings)


def _by_score(points: Sequence[Point], evaluator: Evaluator, weights: Sequence[float]) -> list[Point]:
    """Return the points by how near what they take (at least) is to the best of everything, nearest first."""
    values = np.array([evaluator.estimate(point).values for point in points])
    return [points[row] for row in np.argsort(scalarize(values, weights), kind="stable")]
