"""What is known of every point: its timings, the accuracies of its training, and what both make of it.

A training stops where it cannot matter any more: at the last evaluation at which reaching the target
would still put some point that learns alike on the front.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sflsim.errors import ScenarioError
from sflsim.planner.objectives import Estimate, Expectation, Objectives, Table
from sflsim.planner.pareto import Values, dominated, stacked
from sflsim.planner.progress import (
    Counts,
    PlanCallback,
    PlanProgress,
    SharedTraining,
    TimeToTarget,
    rounds_needed,
    time_to_target,
)
from sflsim.planner.space import Point
from sflsim.planner.timer import Timer
from sflsim.planner.trainings import Training, Trainings
from sflsim.retime.rebuild import changed
from sflsim.retime.timing import Timing
from sflsim.workers.calls import Workers


class Evaluator:
    """Times and trains the points that the search asks for, and says what each is worth by what is known."""

    def __init__(
        self,
        objectives: Objectives,
        seeds: list[int],
        device: str = "cpu",
        cache: Path | None = None,
        tell: PlanCallback | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.objectives = objectives
        self.plan = objectives.plan
        self.target = objectives.target
        self.seeds = seeds
        self.known: dict[str, tuple[float, float]] = {}
        self.reasons: dict[str, str] = {}
        """By the key of an evaluation that diverged, when, and which setting to change."""
        self.counts = Counts()
        self.points: dict[int, Point] = {}
        self.timings: dict[int, list[Timing]] = {}
        self.tables: dict[int, list[Table]] = {}
        self.impossible: dict[int, ScenarioError] = {}
        self._estimates: dict[int, tuple[Estimate, tuple[str, ...]]] = {}
        """Each holds until one of the evaluations that it waits for is known."""
        self._expectations: dict[int, Expectation] = {}
        self._promised: set[str] = set()
        self._most = 0
        """Trainings that may come, those done included: the most so far, so that the progress never falls."""
        self._tell = tell or (lambda step: None)
        workers = Workers() if workers is None else workers
        self._workers = workers.count
        self._trainings = Trainings(workers, device, cache)
        self.timer = Timer(seeds, self.known, self._tell, workers)

    @property
    def front(self) -> Values:
        """Return the objectives of the points that are known to be feasible."""
        estimates = [self.estimate(point) for point in self.timed]
        rows = [estimate.values for estimate in estimates if estimate.surely_feasible]
        return stacked(rows, len(self.plan.objectives))

    @property
    def timed(self) -> list[Point]:
        """Return the points that have been timed, in order."""
        return [self.points[number] for number in sorted(self.timings)]

    def training(self, point: Point) -> str:
        """Return the name of what a timed point learns under all seeds: points of one name learn alike."""
        return " ".join(timing.keys[-1] for timing in self.timings[point.number])

    def shared_trainings(self) -> list[SharedTraining]:
        """Return the trainings of the points timed so far."""
        sharing: dict[str, list[Point]] = {}
        for point in self.timed:
            sharing.setdefault(self.training(point), []).append(point)
        return [self._shared(name, points) for name, points in sharing.items()]

    def _shared(self, name: str, points: list[Point]) -> SharedTraining:
        timings = self.timings[points[0].number]
        reaches = self.reaches(timings)
        rounds = rounds_needed(timings, reaches, self.known, self.target)
        return SharedTraining(name, points, rounds, min(reach.row for reach in reaches))

    def time(self, points: Sequence[Point], most: int | None = None, total: int | None = None) -> list[Point]:
        """Run points on the clock, in order, until `most` were timed; return those that are possible.

        `total` is how many the search will time at most, for the progress; else these are all.
        """
        seen = self.timings.keys() | self.impossible.keys()
        new = {point.number: point for point in points if point.number not in seen}
        left, enough = list(new.values()), None if most is None else self.counts.timed + most
        total = self.counts.timed + len(left) if total is None else total
        while left and (enough is None or self.counts.timed < enough):
            batch = left if enough is None else left[: enough - self.counts.timed]
            left = left[len(batch) :]
            results = self.timer.timings([point.scenario for point in batch], self.target)
            for point, timings in zip(batch, results, strict=True):
                self.add(point, timings)
                self._tell(PlanProgress("points timed", self.counts.timed, total, self._workers))
        return [point for point in points if point.number in self.timings]

    def add(self, point: Point, timings: list[Timing] | ScenarioError) -> None:
        """Take in the timings of a point, or why there are none."""
        if isinstance(timings, ScenarioError):
            self.impossible[point.number] = timings
            return
        self.points[point.number] = point
        self.timings[point.number] = timings
        self.tables[point.number] = [self.objectives.table(point.scenario, timing) for timing in timings]
        self.counts.timed += 1

    def reaches(self, timings: Sequence[Timing]) -> list[TimeToTarget]:
        """Return where each run reaches the target."""
        return [time_to_target(timing, self.known, self.target) for timing in timings]

    def estimate(self, point: Point) -> Estimate:
        """Return what is known of a timed point."""
        estimate, awaited = self._estimates.get(point.number, (None, ()))
        if estimate is None or any(key in self.known for key in awaited):
            timings = self.timings[point.number]
            reaches = self.reaches(timings)
            runs = zip(timings, reaches, strict=True)
            awaited = tuple(timing.keys[reach.row] for timing, reach in runs if not reach.exact)
            estimate = self.objectives.estimate(self.tables[point.number], timings, reaches)
            self._estimates[point.number] = estimate, awaited
        return estimate

    def expectation(self, point: Point) -> Expectation:
        """Return what a timed point is worth if its runs reach the target at one evaluation, for each."""
        if point.number not in self._expectations:
            tables, timings = self.tables[point.number], self.timings[point.number]
            self._expectations[point.number] = self.objectives.expectation(tables, timings)
        return self._expectations[point.number]

    def diverged(self, point: Point) -> dict[int, str]:
        """Return by seed when a point's training diverged, and which setting to change."""
        reasons = {
            timing.seed: next((self.reasons[key] for key in timing.keys if key in self.reasons), "")
            for timing in self.timings[point.number]
        }
        return {seed: reason for seed, reason in reasons.items() if reason}

    def can_win(self, point: Point, front: Values) -> bool:
        """Tell whether training a timed point may still put it on the front."""
        estimate = self.estimate(point)
        return not estimate.exact and estimate.feasible and not dominated(estimate.values, front)

    def train(self, point: Point, front: Values | None, then: Sequence[Point] = ()) -> None:
        """Learn a point's next inexact seed, as far as it may matter (or to its end without a front).

        `then` are points that are likely to be trained next, the likeliest first.
        """
        run, *others = self._inexact(point)
        likely = [(point, other) for other in others]
        likely += [(other, runs[0]) for other in then if (runs := self._inexact(other))]
        inexact = [(each, other) for each in (point, *then) for other in self._inexact(each)]
        left = {self.timings[each.number][other].keys[-1] for each, other in inexact}
        ahead = (
            self._training(each, self.timings[each.number][other], self._last(each, other, front))
            for each, other in likely
        )
        timing = self.timings[point.number][run]
        self._learn(point, timing, self._last(point, run, front), ahead, len(left))

    def _inexact(self, point: Point) -> list[int]:
        """Return the runs of a point, by number, that are not known to their end."""
        reaches = self.reaches(self.timings[point.number])
        return [run for run, reach in enumerate(reaches) if not reach.exact]

    def _last(self, point: Point, run: int, front: Values | None) -> int:
        """Return the last evaluation of a run at which any point that learns alike could still win."""
        timing = self.timings[point.number][run]
        if front is None:
            return len(timing.keys) - 1
        row = self.reaches([timing])[0].row
        alike = [
            number for number, timings in self.timings.items()
            if len(timings[run].keys) > row and timings[run].keys[row] == timing.keys[row]
        ]  # fmt: skip
        useful = (
            self.objectives.last_that_wins(
                self.tables[number], self.timings[number], self.reaches(self.timings[number]), run, row, front
            )
            for number in alike
        )
        return min(max(useful), len(timing.keys) - 1)

    def _training(self, point: Point, timing: Timing, last: int, target: float | None = None) -> Training:
        """Return the training of a point's run up to evaluation number `last`, or to the target."""
        target = self.target if target is None else target
        assert target is not None
        rounds = max(int(timing.rounds[last]), 1)
        scenario = changed(point.scenario, accuracy=target, rounds=rounds, seeds=[timing.seed])
        return Training(scenario, timing.keys[: last + 1], target)

    def _learn(
        self,
        point: Point,
        timing: Timing,
        last: int,
        likely: Iterator[Training],
        left: int,
        target: float | None = None,
    ) -> None:
        """Train a point's run and keep what it showed; `left`: trainings that may come, this included."""
        before = next(row for row, key in enumerate(timing.keys) if key not in self.known)
        self._most = max(self._most, self.counts.trainings + left)
        if timing.keys[before] not in self._promised:  # else an earlier training goes on
            self.counts.trainings += 1
        self._promised.update(timing.keys[before:])
        self._most = max(self._most, self.counts.trainings)
        step = ("trainings, at most", self.counts.trainings, self._most)
        self._tell(PlanProgress(*step, self._workers, f"{point.label}, seed {timing.seed}"))
        shown = self._trainings.evaluations(self._training(point, timing, last, target), likely, left)
        for key, (accuracy, loss, reason) in zip(timing.keys, shown, strict=False):
            self.known[key] = (accuracy, loss)
            if reason and key not in self.reasons:
                self.reasons[key] = reason
                self.counts.diverged += 1
        after = len(shown) - 1
        self.counts.rounds += int(timing.rounds[after] - timing.rounds[min(max(before - 1, 0), after)])

    def extend(self, points: Sequence[Point], target: float) -> list[list[Timing]]:
        """Train the runs of exact points on to another target; return their timings up to there."""
        scenarios = [point.scenario for point in points]
        runs = [
            (point, timing, len(timing.keys) - 1)
            for point, timings in zip(points, self.timer.timings(scenarios, target), strict=True)
            for timing in _possible(timings)
        ]
        for number, (point, timing, last) in enumerate(runs):
            if not time_to_target(timing, self.known, target).exact:
                ahead = [
                    run for run in runs[number + 1 :] if not time_to_target(run[1], self.known, target).exact
                ]
                likely = (self._training(*run, target) for run in ahead)
                self._learn(point, timing, last, likely, 1 + len(ahead), target)
        return [_possible(timings) for timings in self.timer.timings(scenarios, target)]


def _possible(timings: list[Timing] | ScenarioError) -> list[Timing]:
    """Return the timings of a scenario that has been timed before."""
    if isinstance(timings, ScenarioError):
        raise timings
    return timings
