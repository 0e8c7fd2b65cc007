"""What a plan knows so far: timings of points, accuracies by key, the front; and what training adds.

A training stops where it cannot matter any more: at the last evaluation at which reaching the target
would still put some point that learns alike on the front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sflsim.errors import ScenarioError
from sflsim.planner.objectives import Estimate, Objectives, TimeToTarget, reach
from sflsim.planner.pareto import Values, dominated, stacked
from sflsim.planner.space import Point
from sflsim.planner.trainings import Training, Trainings
from sflsim.planner.workers import Workers, timed
from sflsim.retime.rebuild import changed
from sflsim.retime.timing import Known, Numbers, Timing, timings
from sflsim.scenario.schema import Scenario
from sflsim.session import SessionCache


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


class Evaluator:
    """Times points, trains what it is told to, and says what that makes of every point."""

    def __init__(
        self,
        objectives: Objectives,
        seeds: list[int],
        device: str = "cpu",
        cache: Path | None = None,
        tell: Callable[[str], None] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.objectives = objectives
        self.seeds = seeds
        self.known: dict[str, tuple[float, float]] = {}
        self.counts = Counts()
        self.points: dict[int, Point] = {}
        self.timings: dict[int, list[Timing]] = {}
        self.tables: dict[int, list[dict[str, Numbers]]] = {}
        self.impossible: dict[int, ScenarioError] = {}
        self._kept: dict[int, _Kept] = {}
        self._promised: set[str] = set()
        self._cache = SessionCache()
        self._workers = Workers() if workers is None else workers
        self._trainings = Trainings(self._workers, device, cache)
        self._tell = tell or (lambda text: None)

    @property
    def front(self) -> Values:
        """Return the objectives of the exact feasible points."""
        exact = [self.estimate(point) for point in self.timed]
        rows = [one.values for one in exact if one.exact and one.feasible]
        return stacked(rows, len(self.objectives.plan.objectives))

    @property
    def timed(self) -> list[Point]:
        """Return the points that have been timed, in order."""
        return [self.points[number] for number in sorted(self.timings)]

    def learning(self, point: Point) -> str:
        """Return the name of what a timed point learns under all seeds: points of one name learn alike."""
        return " ".join(timing.keys[-1] for timing in self.timings[point.number])

    def time(self, points: Sequence[Point], most: int | None = None, total: int | None = None) -> list[Point]:
        """Run points on the clock, in order, until `most` were timed; return those that are possible.

        `total` is how many the search will time at most, for the progress; else these are all.
        """
        seen = self.timings.keys() | self.impossible.keys()
        new = {one.number: one for one in points if one.number not in seen}
        left, enough = list(new.values()), None if most is None else self.counts.timed + most
        total = self.counts.timed + len(left) if total is None else total
        while left and (enough is None or self.counts.timed < enough):
            batch = left if enough is None else left[: enough - self.counts.timed]
            left = left[len(batch) :]
            for point, found in zip(batch, self.timings_of_all([one.scenario for one in batch]), strict=True):
                self._note(point, found)
                self._tell(f"timed {self.counts.timed} / {total} points")
        return [point for point in points if point.number in self.timings]

    def _note(self, point: Point, found: list[Timing] | ScenarioError) -> None:
        if isinstance(found, ScenarioError):
            self.impossible[point.number] = found
            return
        self.points[point.number] = point
        self.timings[point.number] = found
        self.tables[point.number] = [self.objectives.table(point.scenario, timing) for timing in found]
        self.counts.timed += 1

    def timings_of_all(
        self, scenarios: Sequence[Scenario], target: float | None = None, what: str = ""
    ) -> Iterator[list[Timing] | ScenarioError]:
        """Yield the timings of each scenario's first variant under every seed, or why there are none."""
        target = self.objectives.target if target is None else target
        there = None
        if target is not None:
            there = {key: shown for key, shown in self.known.items() if shown[0] >= target}
        jobs = [
            (changed(one, accuracy=target, seeds=self.seeds), self.seeds, there, one.trusted)
            for one in scenarios
        ]
        for place, found in enumerate(self._workers.map(timed, jobs, self._cache), 1):
            if what:
                self._tell(f"{what} {place} / {len(jobs)}")
            yield found

    def timings_of(self, scenario: Scenario, keep: bool = False, target: float | None = None) -> list[Timing]:
        """Return the timings of a scenario's first variant under each seed."""
        target = self.objectives.target if target is None else target
        scenario = changed(scenario, accuracy=target, seeds=self.seeds)
        known = None if target is None else self.known
        return timings(scenario, self.seeds, self._cache, known, keep)

    def reaches(self, timings: list[Timing]) -> list[TimeToTarget]:
        """Return where each run reaches the target."""
        return [reach(timing, self.known, self.objectives.target) for timing in timings]

    def estimate(self, point: Point) -> Estimate:
        """Return what is known of a timed point."""
        kept = self._kept.get(point.number)
        if kept is None or not kept.holds(self.known):
            timings = self.timings[point.number]
            reaches = self.reaches(timings)
            missing = [t.keys[one.row] for t, one in zip(timings, reaches, strict=True) if not one.exact]
            estimate = self.objectives.estimate(self.tables[point.number], timings, reaches)
            kept = self._kept[point.number] = _Kept(estimate, tuple(missing))
        return kept.estimate

    def can_win(self, point: Point, front: Values) -> bool:
        """Tell whether training a timed point may still put it on the front."""
        estimate = self.estimate(point)
        return not estimate.exact and estimate.feasible and not dominated(estimate.values, front)

    def train(self, point: Point, front: Values | None, then: Sequence[Point] = ()) -> None:
        """Learn a point's next inexact seed, as far as it may matter (or to its end without a front).

        `then` are points that are likely to be trained next, the likeliest first.
        """
        place, *others = self._inexact(point)
        timing = self.timings[point.number][place]
        likely = [(point, other) for other in others]
        likely += [(other, places[0]) for other in then if (places := self._inexact(other))]
        left = {
            self.timings[one.number][each].keys[-1] for one in (point, *then) for each in self._inexact(one)
        }
        trainings = (
            self._training(one, self.timings[one.number][each], self._last(one, each, front))
            for one, each in likely
        )
        self._learn(point, timing, self._last(point, place, front), trainings, len(left))

    def _inexact(self, point: Point) -> list[int]:
        reaches = self.reaches(self.timings[point.number])
        return [place for place, one in enumerate(reaches) if not one.exact]

    def _last(self, point: Point, place: int, front: Values | None) -> int:
        """Return the last evaluation to which a seed's run is to be trained."""
        if front is None:
            return len(self.timings[point.number][place].keys) - 1
        return self._worth(point, place, front)

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
            tried = [*reaches[:place], TimeToTarget(row, False, True), *reaches[place + 1 :]]
            estimate = self.objectives.estimate(tables, timings, tried)
            return estimate.feasible and not dominated(estimate.values, front)

        if not wins(low):
            return low
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if wins(middle) else (low, middle - 1)
        return low

    def _training(self, point: Point, timing: Timing, last: int, target: float | None = None) -> Training:
        """Return the training of a point's run up to evaluation number `last`, or to the target."""
        target = self.objectives.target if target is None else target
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
        most = self.counts.trainings + left
        if timing.keys[before] not in self._promised:  # else an earlier training goes on
            self.counts.trainings += 1
        self._promised.update(timing.keys[before:])
        done = f"training {self.counts.trainings} / {max(most, self.counts.trainings)} at most"
        self._tell(f"{done}: {point.label}, seed {timing.seed}")
        shown = self._trainings.evaluations(self._training(point, timing, last, target), likely, left)
        self.known.update(zip(timing.keys, shown, strict=False))
        after = len(shown) - 1
        self.counts.rounds += int(timing.rounds[after] - timing.rounds[min(max(before - 1, 0), after)])

    def extend(self, points: Sequence[Point], target: float) -> list[list[Timing]]:
        """Train the runs of exact points on to another target; return their timings up to there."""
        scenarios = [point.scenario for point in points]
        runs = [
            (point, timing)
            for point, found in zip(points, self.timings_of_all(scenarios, target), strict=True)
            for timing in _possible(found)
        ]
        for place, (point, timing) in enumerate(runs):
            if not reach(timing, self.known, target).exact:
                ahead = [
                    (other, one, len(one.keys) - 1)
                    for other, one in runs[place + 1 :]
                    if not reach(one, self.known, target).exact
                ]
                likely = (self._training(*one, target) for one in ahead)
                self._learn(point, timing, len(timing.keys) - 1, likely, 1 + len(ahead), target)
        return [_possible(found) for found in self.timings_of_all(scenarios, target)]


def _possible(found: list[Timing] | ScenarioError) -> list[Timing]:
    """Return the timings of a scenario that has been timed before."""
    if isinstance(found, ScenarioError):
        raise found
    return found
