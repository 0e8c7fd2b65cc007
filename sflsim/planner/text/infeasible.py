"""Where nothing is feasible: what is in the way, what loosening it would free, and what is nearest.

A point that was not trained to the end violates what its bounds violate, and may violate more. So "nothing
else" is said of exact points only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sflsim.formatting import counted, target_text
from sflsim.planner.evaluator import Evaluator
from sflsim.planner.objectives import Estimate
from sflsim.planner.space import Point
from sflsim.planner.text.wording import diverged_remedy, diverged_text, limit_text, limit_words, listed
from sflsim.scenario.plan_criteria import constraint


@dataclass(frozen=True)
class Obstacle:
    """A constraint that points violate, and what becomes feasible without it."""

    name: str
    violated: int
    """Points that violate it for certain."""
    doubtful: int
    """Points that may violate it, since they were not trained to the end."""
    frees: Point | None
    """Of the exact points that violate nothing else, the one that violates it least."""
    open: int
    """Points not trained to the end that may violate nothing else."""


def obstacles(points: Sequence[Point], evaluator: Evaluator) -> list[Obstacle]:
    """Return the constraints that points violate, the most frequent first."""
    estimates = [(point, evaluator.estimate(point)) for point in points]
    names = dict.fromkeys(name for _, estimate in estimates for name in estimate.violations)
    return sorted((_obstacle(name, estimates) for name in names), key=lambda one: -one.violated)


def _obstacle(name: str, estimates: Sequence[tuple[Point, Estimate]]) -> Obstacle:
    alone = [(point, estimate) for point, estimate in estimates if set(estimate.violations) <= {name}]
    freed = [
        (estimate.violations[name], point.number, point)
        for point, estimate in alone
        if estimate.exact and estimate.violations
    ]
    return Obstacle(
        name,
        violated=sum(name in estimate.violations for _, estimate in estimates),
        doubtful=sum(name not in estimate.violations and not estimate.exact for _, estimate in estimates),
        frees=min(freed)[-1] if freed else None,
        open=sum(not estimate.exact for _, estimate in alone),
    )


def attainable(point: Point, evaluator: Evaluator) -> float:
    """Return a target that all runs of a point are known to reach with every constraint kept; 0: none."""
    timings = evaluator.timings[point.number]
    kept = np.flatnonzero(evaluator.expectation(point).violation == 0.0)
    if not len(kept):
        return 0.0
    seen = [
        [evaluator.known.get(key, (0.0, 0.0))[0] for key in one.keys[1 : kept[-1] + 1]] for one in timings
    ]
    return min(max(each, default=0.0) for each in seen)


def explained(evaluator: Evaluator, nearest: Point | None) -> list[str]:
    """Return why nothing is feasible, and what would be."""
    points = evaluator.timed
    certain = sum(bool(evaluator.estimate(point).violations) for point in points)
    lines = [f"Nothing is feasible: each of {counted(len(points), 'point')} violates a constraint."]
    if certain < len(points):
        lines = [
            f"Nothing is known to be feasible: {certain} of {counted(len(points), 'point')} violate "
            "a constraint, the others were not trained."
        ]
    found = obstacles(points, evaluator)
    lines += [f"  - In the way: {_in_the_way(one, evaluator, len(found) > 1)}" for one in found]
    lines += [f"  - {line}" for line in _lower_target(points, evaluator)]
    if nearest is not None:
        lines += [f"Nearest: {nearest.label}"]
        lines += [f"  - {line}" for line in _needs(evaluator, nearest)]
    return lines


def _in_the_way(obstacle: Obstacle, evaluator: Evaluator, several: bool) -> str:
    """Return how many points violate a constraint, and, where there are several, what it alone stops."""
    least = "at least " if obstacle.doubtful else ""
    text = f"{limit_words(obstacle.name)}; {least}{obstacle.violated} points violate it."
    if obstacle.violated == 1:
        text = f"{limit_words(obstacle.name)}; {least}1 point violates it."
    diverged = sum(bool(evaluator.diverged(point)) for point in evaluator.timed)
    if obstacle.name == "target" and diverged:
        text = f"{text} {counted(diverged, 'point')} diverged."
    if not several or obstacle.name == "target":  # what a lower target frees is told by itself
        return text
    if obstacle.frees is not None:
        by = 100 * evaluator.estimate(obstacle.frees).violations[obstacle.name]
        amount = f"{by:.3g} %{_or_less(obstacle)}"
        return f"{text} Nothing else stops {obstacle.frees.label}, which violates it by {amount}."
    if obstacle.open:
        doubt = f"{counted(obstacle.open, 'point')} not trained to the end may violate nothing else"
        return f"{text} Whether loosening it alone would help is not known: {doubt}."
    return f"{text} Loosening it alone would free nothing."


def _or_less(obstacle: Obstacle) -> str:
    points = counted(obstacle.open, "point")
    return f" ({points} not trained to the end may do with less)" if obstacle.open else ""


def _lower_target(points: Sequence[Point], evaluator: Evaluator) -> Iterator[str]:
    """Yield the highest target known to be feasible, if there is any."""
    if evaluator.target is None:
        return
    best = max(points, key=lambda point: attainable(point, evaluator))
    reached = attainable(best, evaluator)
    if 0.0 < reached < evaluator.target:
        yield f"A target of {_floored(reached)} would be feasible, with {best.label}."


def _floored(accuracy: float) -> str:
    return target_text(math.floor(1000 * accuracy) / 1000)


def _needs(evaluator: Evaluator, point: Point) -> Iterator[str]:
    """Yield what would have to give for a point to be feasible, the worst first."""
    estimate = evaluator.estimate(point)
    least = "at least " if not estimate.exact or "target" in estimate.violations else ""
    share = evaluator.plan.constraints.probability
    for path, violation in sorted(estimate.violations.items(), key=lambda item: -item[1]):
        if path == "target":
            yield f"{_missed(evaluator, point)}: {_remedy(evaluator, point)}."
            continue
        words, currency = limit_words(path), evaluator.plan.prices.currency
        taken, limit = (limit_text(path, amount, currency) for amount in estimate.limited[path])
        yield constraint(path)[0].sentence.format(
            Words=f"{words[0].upper()}{words[1:]}",
            least=least,
            taken=taken,
            limit=limit,
            times=f"{1 + violation:.3g}",
            seeds="" if share == 1 else f" in {target_text(share)} of the seeds",
        )
    if not estimate.exact:
        yield "It was not trained to the end, and may violate more."


def _missed(evaluator: Evaluator, point: Point) -> str:
    """Return how many seeds reach the target, and how far the worst of the others comes."""
    reaches = evaluator.reaches(evaluator.timings[point.number])
    target = target_text(evaluator.target or 1.0)
    if reasons := evaluator.diverged(point):
        return f"Its training diverged {diverged_text(reasons)}"
    worst = target_text(round(min(one.best for one in reaches if not one.reached), 3))
    if len(reaches) == 1:
        return f"It does not reach {target}, and comes to {worst} at best"
    reached = sum(one.reached and one.exact for one in reaches)
    start = f"{reached or 'None'} of {len(reaches)} seeds reach{'' if reached > 1 else 'es'} {target}"
    return f"{start}; the worst comes to {worst} at best"


def _remedy(evaluator: Evaluator, point: Point) -> str:
    """Return what may help a point that misses the target."""
    if reasons := evaluator.diverged(point):
        return diverged_remedy(reasons)
    violations = evaluator.estimate(point).violations
    violated = [limit_words(path) for path in violations if path != "target" and constraint(path)[0].grows]
    reached = attainable(point, evaluator)
    lower = f"lower the target (to {_floored(reached)} it keeps every constraint)" if reached else ""
    if violated:
        why = f"more rounds would only violate {listed(violated)} by more"
        return f"{lower}; {why}" if lower else why
    return f"raise 'stop', or {lower or 'lower the target'}"
