"""Two ways through a space: all of a small one, a sample of a large one. Both train only what can win.

Timing is cheap and training dear. What is trained next is what is guessed to add most to the front, see
forecast. `exact` times every point and goes on until no point is left that could still be on the
front: what it finds is what brute force finds. `sampled` times as many points as it may (where there
are more, Optuna proposes them, and a walk goes from the front to its neighbours) and ends when no training
is guessed to add anything worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sflsim.errors import SflsimError
from sflsim.planner.evaluator import Knowledge
from sflsim.planner.objectives import weigh
from sflsim.planner.pareto import Values, dominated
from sflsim.planner.selection import weights_of
from sflsim.planner.space import Axis, Point, Space
from sflsim.planner.surrogate import Forecast
from sflsim.scenario.plan_block import Search

STEPS = 50
"""How often the walk goes round the front at most."""
ENOUGH = 1e-3
"""The share of the front's hypervolume below which a gain is not worth a training."""


def exact(space: Space, knowledge: Knowledge, limit: int | None) -> None:
    """Time all points; settle all that could be on the front, with at most `limit` trainings."""
    points = knowledge.time(space.points())
    pursue(points, Forecast(knowledge), limit)
    settle(points, knowledge, limit)


def settle(points: Sequence[Point], knowledge: Knowledge, limit: int | None) -> None:
    """Train, most promising first, until none of `points` could still win."""
    while still := _open(points, knowledge, limit):
        first, *then = _most_promising(still, knowledge)
        knowledge.train(first, knowledge.front, then)


def pursue(points: Sequence[Point], forecast: Forecast, limit: int | None) -> None:
    """Train what is guessed to add most to the front, until no training of `points` is worth it.

    Each algorithm is tried once first, so that there is something to guess from.
    """
    knowledge = forecast.knowledge
    while still := _open(points, knowledge, limit):
        names = _next(still, forecast)
        if not names:
            return
        first, *then = (next(one for one in still if knowledge.learning(one) == name) for name in names)
        knowledge.train(first, knowledge.front, then)


def _open(points: Sequence[Point], knowledge: Knowledge, limit: int | None) -> list[Point]:
    """Return the points that could still win; none when no more may be trained."""
    if limit is not None and knowledge.counts.trainings >= limit:
        return []
    front = knowledge.front
    return [point for point in points if knowledge.can_win(point, front)]


def _next(points: Sequence[Point], forecast: Forecast) -> list[str]:
    """Return the trainings that are worth it, the first to begin or to go on with first."""
    tried = {point.fields["algorithm"] for point in forecast.tried()}
    untried: dict[str, list[Point]] = {}
    for point in points:
        if point.fields["algorithm"] not in tried:
            untried.setdefault(point.fields["algorithm"], []).append(point)
    if untried:
        return [forecast.central(own) for own in untried.values()]
    gains = forecast.gains(points)
    return sorted((name for name in gains if gains[name] >= ENOUGH), key=lambda name: -gains[name])


def nearest(points: Sequence[Point], knowledge: Knowledge, limit: int | None) -> Point | None:
    """Return the point that breaks the constraints least, trained as far as that takes to know."""

    def worst(point: Point) -> tuple[float, int, float, int]:
        estimate = knowledge.estimate(point)
        broken = sorted(estimate.excess.values(), reverse=True)
        return (sum(broken), len(broken), float(estimate.values[0]), point.number)

    while points:
        best = min(points, key=worst)
        if knowledge.estimate(best).settled or (limit is not None and knowledge.counts.trainings >= limit):
            return best
        knowledge.train(best, None)
    return None


def sampled(space: Space, knowledge: Knowledge, search: Search) -> None:
    """Time a large space, or a sample of it by Optuna (NSGA-II, seeded) and a walk; train the promising."""
    forecast = Forecast(knowledge)
    if space.combinations <= search.timings:
        pursue(knowledge.time(space.points()), forecast, search.trainings)
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
    directions = [minimize] * len(knowledge.judge.plan.objectives)
    study = optuna.create_study(directions=directions, sampler=sampler)
    half, before = search.timings // 2, -1
    while before < knowledge.counts.timed < half:
        before = knowledge.counts.timed
        _generation(study, space, forecast, search, min(population, half - before))
    _walk(space, forecast, search)


def _generation(study: Any, space: Space, forecast: Forecast, search: Search, size: int) -> None:
    """Time as many new points as Optuna proposes, then train the most promising first, then tell it all."""
    knowledge = forecast.knowledge
    asked: list[tuple[Any, Point | None]] = []
    enough = knowledge.counts.timed + size
    while knowledge.counts.timed < enough and len(asked) < 10 * size:
        count = min(enough - knowledge.counts.timed, 10 * size - len(asked))
        trials = [study.ask() for _ in range(count)]
        points = [space.at(tuple(_suggested(trial, axis) for axis in space.axes)) for trial in trials]
        knowledge.time([point for point in points if point is not None], total=search.timings)
        possible = [point if point and point.number in knowledge.timings else None for point in points]
        asked += zip(trials, possible, strict=True)
    pursue([point for _, point in asked if point], forecast, search.trainings)
    guesses = forecast.guesses()
    for trial, point in asked:
        if point is None:
            study.tell(trial, state=_failed())
            continue
        values, excess = forecast.expected(point, guesses)
        study.tell(trial, [float(value) * (1.0 + 10.0 * excess) for value in values])


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def _suggested(trial: Any, axis: Axis) -> int:
    """Return the place on an axis that Optuna proposes."""
    if axis.ordered:
        return int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))
    return int(trial.suggest_categorical(axis.name, list(range(len(axis.values)))))


def _walk(space: Space, forecast: Forecast, search: Search) -> None:
    """Time the neighbours of the front, train those that may win, until the front stands still."""
    knowledge = forecast.knowledge
    seen: set[int] = set()
    for _ in range(STEPS):
        front = knowledge.front
        on_front = [point for point in knowledge.timed if _on(point, knowledge, front)]
        fresh = [point for point in on_front if point.number not in seen]
        if not fresh or knowledge.counts.timed >= search.timings:
            return
        seen.update(point.number for point in fresh)
        around = [other for point in _by_score(fresh, knowledge) for _, other in space.neighbours(point)]
        knowledge.time(around, search.timings - knowledge.counts.timed, search.timings)
        pursue(knowledge.timed, forecast, search.trainings)


def _on(point: Point, knowledge: Knowledge, front: Values) -> bool:
    estimate = knowledge.estimate(point)
    return estimate.settled and estimate.feasible and not dominated(estimate.values, front)


def _by_score(points: Sequence[Point], knowledge: Knowledge) -> list[Point]:
    values = np.array([knowledge.estimate(point).values for point in points])
    score = weigh(values, [1.0] * values.shape[1])
    return [points[place] for place in np.argsort(score, kind="stable")]


def _most_promising(points: Sequence[Point], knowledge: Knowledge) -> list[Point]:
    """Return the points by how near their bounds lie to the best of everything, the nearest first."""
    values = np.array([knowledge.estimate(point).values for point in points])
    order = np.argsort(weigh(values, weights_of(knowledge.judge)), kind="stable")
    return [points[place] for place in order]
