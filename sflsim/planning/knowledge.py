"""What a plan knows so far: timings of points, accuracies by key, the front; and what training adds.

A training stops where it cannot matter any more: at the last evaluation at which reaching the target
would still put some point that learns alike on the front. Imports judge, timing, space and experiment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sflsim.errors import ScenarioError
from sflsim.experiment import simulate
from sflsim.learning.store import MemoryStore
from sflsim.planning.judge import Estimate, Judge, Reach, reach
from sflsim.planning.pareto import Values, dominated, stacked
from sflsim.planning.scenarios import changed
from sflsim.planning.space import Point
from sflsim.planning.timing import Known, Numbers, Shared, Timer, Timing
from sflsim.scenario.schema import Scenario


@dataclass
class Counts:
    """What the search has cost."""

    timed: int = 0
    """Points run on the clock, each under every seed."""
    trainings: int = 0
    """Runs (a way to learn, under one seed) that were trained, each counted once."""
    rounds: int = 0
    """Rounds trained in them."""


@dataclass(frozen=True)
class _Kept:
    """An estimate that holds until one of the evaluations that it waits for (`open`) is known."""

    estimate: Estimate
    open: tuple[str, ...]

    def holds(self, known: Known) -> bool:
        """Tell whether nothing that it rests on has changed."""
        return not any(key in known for key in self.open)


class Knowledge:
    """Times points, trains what it is told to, and says what that makes of every point."""

    def __init__(
        self,
        judge: Judge,
        seeds: list[int],
        *,
        device: str = "cpu",
        cache: Path | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.judge = judge
        self.seeds = seeds
        self.known: dict[str, tuple[float, float]] = {}
        self.counts = Counts()
        self.points: dict[int, Point] = {}
        self.timings: dict[int, list[Timing]] = {}
        self.tables: dict[int, list[dict[str, Numbers]]] = {}
        self.impossible: dict[int, ScenarioError] = {}
        self._kept: dict[int, _Kept] = {}
        self._promised: set[str] = set()
        self._shared = Shared()
        self._simulate: dict[str, Any] = {"device": device, "store": MemoryStore()}
        if cache is not None:
            self._simulate["cache"] = cache
        self._tell = tell or (lambda text: None)

    @property
    def front(self) -> Values:
        """Return the objectives of the settled feasible points."""
        settled = [self.estimate(point) for point in self.timed]
        rows = [one.values for one in settled if one.settled and one.feasible]
        return stacked(rows, len(self.judge.plan.objectives))

    @property
    def timed(self) -> list[Point]:
        """Return the points that have been timed, in order."""
        return [self.points[number] for number in sorted(self.timings)]

    def learning(self, point: Point) -> str:
        """Return the name of what a timed point learns under all seeds: points of one name learn alike."""
        return " ".join(timing.keys[-1] for timing in self.timings[point.number])

    def time(self, point: Point) -> bool:
        """Run a point on the clock; return whether it is possible at all."""
        if point.number in self.impossible:
            return False
        if point.number not in self.timings:
            try:
                timings = self.timings_of(point.scenario)
            except ScenarioError as error:
                self.impossible[point.number] = error
                return False
            self.points[point.number] = point
            self.timings[point.number] = timings
            self.tables[point.number] = [self.judge.table(point.scenario, timing) for timing in timings]
            self.counts.timed += 1
            self._tell(f"{self.counts.timed} points timed, {self.counts.trainings} trainings")
        return True

    def timings_of(self, scenario: Scenario, keep: bool = False, target: float | None = None) -> list[Timing]:
        """Return the timings of a scenario's first variant under each seed."""
        target = self.judge.target if target is None else target
        timer = Timer(
            changed(scenario, accuracy=target, seeds=self.seeds), self.known, self._shared, target is not None
        )
        timer.check()
        timings = [timer.timed(seed, keep) for seed in self.seeds]
        self._shared.keep(timer)
        return timings

    def reaches(self, timings: list[Timing]) -> list[Reach]:
        """Return where each run reaches the target."""
        return [reach(timing, self.known, self.judge.target) for timing in timings]

    def estimate(self, point: Point) -> Estimate:
        """Return what is known of a timed point."""
        kept = self._kept.get(point.number)
        if kept is None or not kept.holds(self.known):
            timings = self.timings[point.number]
            reaches = self.reaches(timings)
            missing = [t.keys[one.row] for t, one in zip(timings, reaches, strict=True) if not one.settled]
            estimate = self.judge.estimate(self.tables[point.number], timings, reaches)
            kept = self._kept[point.number] = _Kept(estimate, tuple(missing))
        return kept.estimate

    def can_win(self, point: Point, front: Values) -> bool:
        """Tell whether training a timed point may still put it on the front."""
        estimate = self.estimate(point)
        return not estimate.settled and estimate.feasible and not dominated(estimate.values, front)

    def train(self, point: Point, front: Values | None) -> None:
        """Learn a point's next unsettled seed, as far as it may matter (or to its end without a front)."""
        timings = self.timings[point.number]
        place = next(place for place, one in enumerate(self.reaches(timings)) if not one.settled)
        timing, start = timings[place], self.reaches(timings)[place].row
        last = len(timing.keys) - 1 if front is None else self._worth(point, place, front)
        assert last >= start
        self._learn(point, timing, last)

    def _worth(self, point: Point, place: int, front: Values) -> int:
        """Return the last evaluation of a seed's run at which anybody who learns alike could still win."""
        timing = self.timings[point.number][place]
        row = self.reaches([timing])[0].row
        alike = [
            number for number, others in self.timings.items()
            if len(others[place].keys) > row and others[place].keys[row] == timing.keys[row]
        ]  # fmt: skip
        return max(self._worth_to(number, place, row, len(timing.keys) - 1, front) for number in alike)

    def _worth_to(self, number: int, place: int, low: int, high: int, front: Values) -> int:
        """Return the last row between `low` and `high` at which one point could win (by bisection)."""
        timings, tables = self.timings[number], self.tables[number]
        reaches = self.reaches(timings)
        if not timings[place].keys:
            return low
        high = min(high, len(timings[place].keys) - 1)

        def wins(row: int) -> bool:
            tried = [*reaches[:place], Reach(row, False, True), *reaches[place + 1 :]]
            estimate = self.judge.estimate(tables, timings, tried)
            return estimate.feasible and not dominated(estimate.values, front)

        if not wins(low):
            return low
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if wins(middle) else (low, middle - 1)
        return low

    def _learn(self, point: Point, timing: Timing, last: int, target: float | None = None) -> None:
        """Train a point's run up to evaluation number `last`, or to the target, and keep what it showed."""
        target = self.judge.target if target is None else target
        rounds = int(timing.rounds[last])
        scenario = changed(point.scenario, accuracy=target, rounds=max(rounds, 1), seeds=[timing.seed])
        before = next(row for row, key in enumerate(timing.keys) if key not in self.known)
        if timing.keys[before] not in self._promised:  # else an earlier training goes on
            self.counts.trainings += 1
        self._promised.update(timing.keys[before:])
        self._tell(f"training {self.counts.trainings}: {point.label}, seed {timing.seed}")
        run = simulate(scenario, **self._simulate)
        if run.status == "interrupted":
            raise KeyboardInterrupt
        rows = zip(run.evaluations["accuracy"], run.evaluations["loss"], strict=True)
        for key, (accuracy, loss) in zip(timing.keys, rows, strict=False):
            self.known[key] = (float(accuracy), float(loss))
        shown = len(run.evaluations)
        if run.runs["status"].iloc[0] == "diverged" and shown < len(timing.keys):
            self.known[timing.keys[shown]] = (0.0, math.inf)
            shown += 1
        after = min(shown, len(timing.keys)) - 1
        self.counts.rounds += int(timing.rounds[after] - timing.rounds[min(max(before - 1, 0), after)])

    def extend(self, point: Point, target: float) -> None:
        """Train a settled point's runs on to another target."""
        for timing in self.timings_of(point.scenario, target=target):
            if not reach(timing, self.known, target).settled:
                self._learn(point, timing, len(timing.keys) - 1, target)
