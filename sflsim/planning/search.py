"""Two ways through a space: all of a small one, a sample of a large one. Both train only what can win.

Timing is cheap and training dear. `exact` times every point and then trains, most promising first,
until no point is left that could still be on the front: what it finds is what brute force finds.
`sampled` lets Optuna propose points of a large space, then walks from the front to its neighbours.
Imports knowledge and space; optuna only in `sampled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sflsim.errors import SflsimError
from sflsim.planning.judge import weigh
from sflsim.planning.knowledge import Knowledge
from sflsim.planning.pareto import Values, dominated
from sflsim.planning.selection import weights_of
from sflsim.planning.space import VARIANT, Axis, Point, Space
from sflsim.scenario.plan_block import Search

STEPS = 50
"""How often the walk goes round the front at most."""


def exact(space: Space, knowledge: Knowledge, limit: int | None) -> None:
    """Time all points; settle all that could be on the front, with at most `limit` trainings."""
    points = [point for point in space.points() if knowledge.time(point)]
    settle(points, knowledge, limit)


def settle(points: Sequence[Point], knowledge: Knowledge, limit: int | None, guess: bool = False) -> None:
    """Train, most promising first, until none of `points` could still win.

    With `guess` a point is taken to need as long as its variant did before, so each variant is tried first.
    """
    while limit is None or knowledge.counts.trainings < limit:
        front = knowledge.front
        still = [point for point in points if knowledge.can_win(point, front, guess)]
        if not still:
            return
        fresh = [point for point in still if guess and point.choices[VARIANT] not in knowledge.needed]
        knowledge.train(_most_promising(fresh or still, knowledge), front)


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
    """Sample a large space with Optuna (NSGA-II, seeded), then walk on from the front."""
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
        _generation(study, space, knowledge, search, min(population, half - before))
    _walk(space, knowledge, search)


def _generation(study: Any, space: Space, knowledge: Knowledge, search: Search, size: int) -> None:
    """Time as many new points as Optuna proposes, then train the most promising first, then tell it all."""
    asked: list[tuple[Any, Point | None]] = []
    enough = knowledge.counts.timed + size
    while knowledge.counts.timed < enough and len(asked) < 10 * size:
        trial = study.ask()
        point = space.at(tuple(_suggested(trial, axis) for axis in space.axes))
        asked.append((trial, point if point is not None and knowledge.time(point) else None))
    settle([point for _, point in asked if point], knowledge, search.trainings, guess=True)
    for trial, point in asked:
        if point is None:
            study.tell(trial, state=_failed())
            continue
        estimate = knowledge.estimate(point, guess=True)
        penalty = 1.0 + 10.0 * sum(estimate.excess.values())
        study.tell(trial, [float(value) * penalty for value in estimate.values])


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL


def _suggested(trial: Any, axis: Axis) -> int:
    """Return the place on an axis that Optuna proposes."""
    if axis.ordered:
        return int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))
    return int(trial.suggest_categorical(axis.name, list(range(len(axis.values)))))


def _walk(space: Space, knowledge: Knowledge, search: Search) -> None:
    """Time the neighbours of the front, settle those that could win, until the front stands still."""
    seen: set[int] = set()
    for _ in range(STEPS):
        front = knowledge.front
        on_front = [point for point in knowledge.timed if _on(point, knowledge, front)]
        fresh = [point for point in on_front if point.number not in seen]
        if not fresh or knowledge.counts.timed >= search.timings:
            return
        for point in _by_score(fresh, knowledge):
            seen.add(point.number)
            for _, other in space.neighbours(point):
                if knowledge.counts.timed >= search.timings:
                    break
                knowledge.time(other)
        settle(knowledge.timed, knowledge, search.trainings, guess=True)


def _on(point: Point, knowledge: Knowledge, front: Values) -> bool:
    estimate = knowledge.estimate(point)
    return estimate.settled and estimate.feasible and not dominated(estimate.values, front)


def _by_score(points: Sequence[Point], knowledge: Knowledge) -> list[Point]:
    values = np.array([knowledge.estimate(point).values for point in points])
    score = weigh(values, [1.0] * values.shape[1])
    return [points[place] for place in np.argsort(score, kind="stable")]


def _most_promising(points: Sequence[Point], knowledge: Knowledge) -> Point:
    """Return the point whose bound, guessed from its like, lies nearest to the best of everything."""
    values = np.array([knowledge.estimate(point, guess=True).values for point in points])
    return points[int(np.argmin(weigh(values, weights_of(knowledge.judge))))]
