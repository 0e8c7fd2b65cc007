"""What a point is worth: its objectives and how far it breaks a constraint, as far as is known.

What is not known is bounded from below: time, money, energy and bytes only grow from one evaluation
to the next, so a run that has not reached the target by one evaluation costs at least as much as
it has at the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sflsim.retime.timing import Known, Numbers, Timing
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.schema import Scenario

HOUR_S, GIGABYTE, KILOWATT_HOUR_J, TERA = 3600.0, 1e9, 3.6e6, 1e12
INFINITE = float("inf")
MEANS = ("time", "cost", "energy", "bytes")
"""What counts as its mean over the seeds."""
Figure = float | Numbers
"""At one evaluation, or at all of them."""


@dataclass(frozen=True)
class TimeToTarget:
    """Where a run reaches the target: the row of the evaluation, and what is sure about it."""

    row: int
    exact: bool
    """Whether this is it; else the target is reached there at the earliest."""
    reached: bool
    best: float = 0.0
    """The best accuracy known."""


@dataclass(frozen=True)
class Estimate:
    """Objectives and violations of a point: what they are where `exact`, else what they are at least."""

    values: Numbers
    violations: dict[str, float]
    """By constraint, how far it is violated, as a share of its limit; kept constraints are not listed."""
    exact: bool
    facts: dict[str, float]
    limited: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By constraint that is set, what is limited, and to what."""
    by_seed: Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    """The objectives of each seed's run: [seeds, objectives]."""
    times_s: Numbers = field(default_factory=lambda: np.zeros(0))
    """The time of each seed's run, infinite where it does not reach the target."""

    @property
    def margins(self) -> dict[str, float]:
        """Return by constraint which share of its limit is left; less than nothing where it is violated."""
        return {name: -over(found, limit) if found else 1.0 for name, (found, limit) in self.limited.items()}

    @property
    def feasible(self) -> bool:
        """Whether no constraint is violated, or known to be."""
        return not self.violations


def reach(timing: Timing, known: Known, target: float | None) -> TimeToTarget:
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


class Objectives:
    """Turns timings into estimates, as a plan's objectives, prices and constraints have it."""

    def __init__(self, plan: PlanConfig, target: float | None) -> None:
        self.plan = plan
        self.target = target
        self.limits = plan.constraints.limits()

    def money(self, scenario: Scenario, timing: Timing) -> Numbers:
        """Return what the run is charged up to each evaluation."""
        prices, fleet, server = self.plan.prices, scenario.fleet, scenario.server
        names, counts = fleet.group_names(), fleet.group_counts()

        def each(name: str) -> Numbers:
            own = [getattr(prices.groups.get(group), name, None) for group in names]
            return np.array([getattr(prices, name) if price is None else price for price in own])

        tflops = prices.tflops_hour * server.slots * server.compute / TERA if prices.tflops_hour else 0.0
        total: Numbers = timing.time_s / HOUR_S * (prices.server_hour + tflops)
        total = total + timing.up_bytes @ each("gigabyte_up") / GIGABYTE
        total = total + timing.down_bytes @ each("gigabyte_down") / GIGABYTE
        total = total + timing.energy_j / KILOWATT_HOUR_J * prices.kilowatt_hour
        return total + float(each("device") @ np.array(counts, dtype=np.float64))

    def table(self, scenario: Scenario, timing: Timing) -> dict[str, Numbers]:
        """Return every figure that an objective or a constraint may ask for, by evaluation."""
        both = timing.up_bytes.sum(axis=1) + timing.down_bytes.sum(axis=1)
        names = scenario.fleet.group_names()
        return {
            "time": timing.time_s,
            "cost": self.money(scenario, timing),
            "energy": timing.energy_j,
            "bytes": both / scenario.fleet.clients,
            "busiest": timing.busiest_bytes.max(axis=1),
            **{name: self._of_devices(name, timing, names) for name in self.limits if per_device(name)},
        }

    def _of_devices(self, name: str, timing: Timing, names: Sequence[str]) -> Numbers:
        """Return what a limit on bytes or memory of devices limits, by evaluation."""
        group, rule = split(name)
        if rule == "device_memory":
            most_bytes = max(
                (timing.memory_bytes[place] for place, one in enumerate(names) if one == group), default=0.0
            )
            return np.full(len(timing.keys), most_bytes)
        others = {one for one, own in self.plan.constraints.groups.items() if getattr(own, rule) is not None}
        places = [place for place, one in enumerate(names) if (one == group if group else one not in others)]
        busiest: Numbers = timing.busiest_bytes[:, places].max(axis=1, initial=0.0)
        scale = self.plan.runs_per_month if rule.endswith("month") else 1.0
        most: Numbers = busiest * scale
        return most

    def estimate(
        self, tables: Sequence[dict[str, Numbers]], timings: Sequence[Timing], reaches: Sequence[TimeToTarget]
    ) -> Estimate:
        """Return what a point is worth, from a table, a timing and a reach for each seed.

        Objectives are means over the seeds; a seed that never reaches the target counts with all that
        its run took. Where too few seeds reach it the deadline is violated as well, by no less than the
        slowest run is above it: so no violation ever shrinks as more becomes known.
        """
        rows = [one.row for one in reaches]
        mean = {
            name: float(np.mean([table[name][row] for table, row in zip(tables, rows, strict=True)]))
            for name in MEANS
        }
        busiest = max(table["busiest"][row] for table, row in zip(tables, rows, strict=True))
        times = [
            table["time"][one.row] if one.reached else INFINITE
            for table, one in zip(tables, reaches, strict=True)
        ]
        needed = self._needed(len(times))
        missed = sorted(times)[needed - 1] == INFINITE
        slowest = max(table["time"][row] for table, row in zip(tables, rows, strict=True))
        slowest = slowest if missed else sorted(times)[needed - 1]
        worst = {
            name: float(max(table[name][row] for table, row in zip(tables, rows, strict=True)))
            for name in self.limits
            if per_device(name)
        }
        limited = self._limited(mean, slowest, worst, timings)
        shares = dict(limited)
        if missed:
            best = sorted((INFINITE if one.reached else one.best for one in reaches), reverse=True)
            shares["target"] = (self.target or 1.0, max(best[needed - 1], 1e-3))
        violation = {name: over(found, limit) for name, (found, limit) in shares.items() if found > limit}
        facts = {
            **mean,
            "rounds": float(np.mean([timing.rounds[row] for timing, row in zip(timings, rows, strict=True)])),
            "busiest_client_bytes": float(busiest),
            "memory_share": max(timing.memory_share for timing in timings),
            "server_memory_bytes": max(timing.server_memory_bytes for timing in timings),
            "seeds_reached": float(sum(one.reached and one.exact for one in reaches)),
            "accuracy": self._best_seen(reaches),
        }
        values = np.array([mean[name] for name in self.plan.objectives])
        by_seed = [
            [table[name][row] for name in self.plan.objectives]
            for table, row in zip(tables, rows, strict=True)
        ]
        exact = all(one.exact for one in reaches)
        return Estimate(values, violation, exact, facts, limited, np.array(by_seed), np.array(times))

    def _best_seen(self, reaches: Sequence[TimeToTarget]) -> float:
        """Return the best accuracies' mean over the seeds that were trained at all; NaN where none was."""
        seen = [one.best for one in reaches if one.exact or one.best > 0]
        return float(np.mean(seen)) if seen and self.target is not None else math.nan

    def ahead(
        self, tables: Sequence[dict[str, Numbers]], timings: Sequence[Timing]
    ) -> tuple[Numbers, Numbers]:
        """Return what a point is worth if every seed reaches the target at one evaluation, for each of them.

        Objectives [evaluations, objectives], and how far constraints are violated, summed [evaluations].
        """
        rows = min(len(timing.keys) for timing in timings)
        mean = {name: np.mean([table[name][:rows] for table in tables], axis=0) for name in MEANS}
        worst = {
            name: np.max([table[name][:rows] for table in tables], axis=0)
            for name in self.limits
            if per_device(name)
        }
        times = np.sort([table["time"][:rows] for table in tables], axis=0)
        limited = self._limited(mean, times[self._needed(len(times)) - 1], worst, timings)
        violation = np.zeros(rows)
        for found, limit in limited.values():
            violation += np.where(found > limit, over(found, limit), 0.0)
        return np.stack([mean[name] for name in self.plan.objectives], axis=1), violation

    def _needed(self, seeds: int) -> int:
        """Return how many of the seeds must reach the target."""
        deadline = self.plan.constraints.deadline
        return math.ceil((deadline.probability if deadline else 1.0) * seeds - 1e-9)

    def _limited(
        self,
        mean: Mapping[str, Figure],
        slowest: Figure,
        worst: Mapping[str, Figure],
        timings: Sequence[Timing],
    ) -> dict[str, tuple[Any, float]]:
        """Return what each constraint that is set limits, and to what."""
        found = {
            **worst,
            "server_memory": max(timing.server_memory_bytes for timing in timings),
            "device_memory": max(timing.memory_share for timing in timings),
            "budget": mean["cost"],
            "deadline": slowest,
        }
        return {name: (found[name], limit) for name, limit in self.limits.items()}


def split(name: str) -> tuple[str, str]:
    """Return group and rule of "groups.phone.device_memory"; of a general constraint no group."""
    group, _, rule = name.removeprefix("groups.").rpartition(".")
    return group, rule


def per_device(name: str) -> bool:
    """Tell whether a constraint limits bytes or memory of devices, so that it may differ between groups."""
    return name.startswith(("groups.", "bytes_per_client"))


def over(found: Figure, limit: float) -> Any:
    """Return by which share of its limit a figure is above it."""
    return found / limit - 1.0 if limit else INFINITE


def scalarize(
    values: Numbers, weights: Sequence[float], best: Numbers | None = None, worst: Numbers | None = None
) -> npt.NDArray[np.float64]:
    """Return how far each row is from the best of each objective, in weighted powers; less is better.

    The score is the weighted mean of log(value / best), so that twice the best time weighs as much
    as twice the lowest cost. An objective whose best is zero goes by its place between best and worst.
    """
    best = values.min(axis=0) if best is None else best
    worst = values.max(axis=0) if worst is None else worst
    share = np.array(weights) / sum(weights)
    score = np.zeros(len(values))
    for column in range(values.shape[1]):
        if best[column] > 0:
            score += share[column] * np.log(np.maximum(values[:, column], 1e-300) / best[column])
        elif worst[column] > best[column]:
            score += share[column] * (values[:, column] - best[column]) / (worst[column] - best[column])
    return score
