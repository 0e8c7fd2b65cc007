"""How far the training of a point has come: where it reaches the target, and after how many rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sflsim.formatting import counted
from sflsim.planner.space import Point
from sflsim.retime.timing import Known, Timing

LEAST_PROGRESS, MOST_PROGRESS = 0.1, 0.95
"""Between these lies the share of the way to the target that an unfinished training is taken to have gone."""


@dataclass(frozen=True)
class PlanProgress:
    """How far a plan is; `str` says it in words."""

    doing: str
    """What is counted: "points timed", "trainings, at most", or a step of the sensitivity."""
    done: int
    total: int
    """Of those; of trainings the most that may come."""
    workers: int = 1
    about: str = ""
    """Which training: its point and seed."""

    def __str__(self) -> str:
        beside = f", {counted(self.workers, 'worker')}" if self.workers > 1 else ""
        about = f"; {self.about}" if self.about else ""
        return f"{self.doing}: {self.done} / {self.total}{beside}{about}"


PlanCallback = Callable[[PlanProgress], None]


@dataclass
class Counts:
    """What the search has cost."""

    timed: int = 0
    """Points run on the clock, each under every seed."""
    trainings: int = 0
    """Runs (a way to learn, under one seed) that were trained, each counted once."""
    diverged: int = 0
    """Of these, those that diverged."""
    rounds: int = 0
    """Rounds trained in them."""


@dataclass(frozen=True)
class TimeToTarget:
    """Where a run reaches the target: the row of the evaluation, and what is known for certain about it."""

    row: int
    exact: bool
    """Whether this is it; else the target is reached there at the earliest."""
    reached: bool
    best: float = 0.0
    """The best accuracy known."""


@dataclass(frozen=True)
class SharedTraining:
    """What points that learn alike have in common, and how far their training has come."""

    name: str
    points: list[Point]
    rounds: float | None
    """To the target, as far as can be told; None before it has begun."""
    earliest: int
    """The evaluation before which the target is known not to be reached."""


def time_to_target(timing: Timing, known: Known, target: float | None) -> TimeToTarget:
    """Return where a timed run reaches the target."""
    last = len(timing.keys) - 1
    if target is None:
        return TimeToTarget(last, True, True)
    best = 0.0
    for row, key in enumerate(timing.keys):
        if key not in known:
            return TimeToTarget(row, False, True, best)
        accuracy, loss = known[key]
        if not math.isfinite(loss):
            return TimeToTarget(last, True, False, best)
        best = max(best, accuracy)
        if accuracy >= target:
            return TimeToTarget(row, True, True, best)
    return TimeToTarget(last, True, False, best)


def rounds_needed(
    timings: Sequence[Timing], reaches: Sequence[TimeToTarget], known: Known, target: float | None
) -> float | None:
    """Return the rounds that the trainings of all seeds need (their geometric mean), as far as begun."""
    if target is None:  # nothing is trained
        return None
    rounds = [
        _rounds_of_run(timing, reach, known, target)
        for timing, reach in zip(timings, reaches, strict=True)
        if reach.row > 1 or reach.exact
    ]
    return float(np.exp(np.mean(np.log(rounds)))) if rounds else None


def _rounds_of_run(timing: Timing, reach: TimeToTarget, known: Known, target: float) -> float:
    """Return the rounds to the target, accuracy taken as straight lines between evaluations.

    Where a run did not come to it, on the straight line from its start to its best.
    """
    accuracies = [known[key][0] for key in timing.keys[: reach.row + 1] if key in known]
    if reach.exact and reach.reached and reach.row:
        before, after = max(accuracies[:-1]), accuracies[-1]
        low, high = timing.rounds[reach.row - 1 : reach.row + 1]
        return max(1.0, float(low + (high - low) * (target - before) / (after - before)))
    rounds = max(1.0, float(timing.rounds[reach.row]))
    progress = (reach.best - accuracies[0]) / max(target - accuracies[0], 1e-9)
    return rounds / min(max(progress, LEAST_PROGRESS), MOST_PROGRESS)
