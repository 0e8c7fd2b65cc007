"""What a point is worth: its objectives, and how far it violates constraints, as far as is known.

What is not known is bounded from below: time, money, energy and bytes only grow from one evaluation
to the next, so a run that has not reached the target by one evaluation costs at least as much as
it has at the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sflsim.planner.pareto import Values, dominated
from sflsim.planner.progress import TimeToTarget
from sflsim.retime.timing import Numbers, Timing
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.plan_criteria import OBJECTIVES, constraint
from sflsim.scenario.schema import Scenario

INFINITE = float("inf")
Table = dict[str, Numbers]
"""Figures by evaluation: of each objective by its column, of each limit by its `limit_key`."""


@dataclass(frozen=True)
class Estimate:
    """Objectives and violations of a point: what they are where `exact`, else what they are at least."""

    values: Numbers
    violations: dict[str, float]
    """By constraint, how far it is violated, as a share of its limit; kept constraints are not listed."""
    exact: bool
    facts: dict[str, float]
    """By column of the plan's points."""
    limited: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By constraint that is set, what is limited, and to what."""
    by_seed: Numbers = field(default_factory=lambda: np.zeros((0, 0)))
    """The objectives of each seed's run: [seeds, objectives]."""
    times_s: Numbers = field(default_factory=lambda: np.zeros(0))
    """The time of each seed's run, infinite where it does not reach the target."""

    @property
    def margins(self) -> dict[str, float]:
        """Return by constraint which share of its limit is left; less than nothing where it is violated."""
        return {
            name: -over(amount, limit) if amount else 1.0 for name, (amount, limit) in self.limited.items()
        }

    @property
    def feasible(self) -> bool:
        """Whether no constraint is violated, or known to be."""
        return not self.violations

    @property
    def surely_feasible(self) -> bool:
        """Whether it is known to be feasible."""
        return self.exact and self.feasible


@dataclass(frozen=True)
class Expectation:
    """What a point is worth if all its runs reach the target at one evaluation, for each of them."""

    values: Values
    """[evaluations, objectives]"""
    violation: Numbers
    """How far constraints are violated, summed; zero where all are kept."""
    rounds: Any
    """[evaluations], whole numbers."""


class Objectives:
    """Turns timings into estimates, as a plan's objectives, prices and constraints have it."""

    def __init__(self, plan: PlanConfig, target: float | None) -> None:
        self.plan = plan
        self.target = target
        self.limits = plan.constraints.limits()
        self._constraints = {path: constraint(path) for path in self.limits}
        self.minimised = [OBJECTIVES[name] for name in plan.objectives]
        self.weights = [plan.weights.get(name, 1.0) for name in plan.objectives]
        self._recorded = [
            one
            for one in OBJECTIVES.values()
            if one.name in plan.objectives or one.need is None or not one.need.field
        ]

    def table(self, scenario: Scenario, timing: Timing) -> Table:
        """Return the figures of a timed run."""
        figures = {one.column: one.figure(self.plan, scenario, timing) for one in self._recorded}
        for path, (limited, group) in self._constraints.items():
            figures[limit_key(path)] = limited.figure(self.plan, scenario, timing, group)
        return figures

    def estimate(
        self, tables: Sequence[Table], timings: Sequence[Timing], reaches: Sequence[TimeToTarget]
    ) -> Estimate:
        """Return what a point is worth, from the table, the timing and the time to target of each seed.

        Objectives are means over the seeds; a seed that never reaches the target counts with all that
        its run took. Where too few seeds reach it the deadline is violated as well, by no less than the
        slowest run is above it: so no violation ever shrinks as more becomes known.
        """
        rows = [one.row for one in reaches]
        reached = np.array([one.reached for one in reaches])
        at_end = {
            name: np.array([table[name][row] for table, row in zip(tables, rows, strict=True)])
            for name in tables[0]
        }
        limited = {
            path: (float(self._over_seeds(path, at_end[limit_key(path)], reached)), limit)
            for path, limit in self.limits.items()
        }
        shares = dict(limited)
        needed = self._needed(len(reaches))
        if reached.sum() < needed:
            best = sorted((INFINITE if one.reached else one.best for one in reaches), reverse=True)
            shares["target"] = (self.target or 1.0, max(best[needed - 1], 1e-3))
        violations = {name: over(amount, limit) for name, (amount, limit) in shares.items() if amount > limit}
        busiest = [timing.busiest_bytes[row].max() for timing, row in zip(timings, rows, strict=True)]
        facts = {
            **{one.column: float(np.mean(at_end[one.column])) for one in self._recorded},
            "rounds": float(np.mean([timing.rounds[row] for timing, row in zip(timings, rows, strict=True)])),
            "accuracy": self._best_seen(reaches),
            "seeds_reached": float(sum(one.reached and one.exact for one in reaches)),
            "busiest_client_bytes": float(max(busiest)),
            "memory_share": max(timing.memory_share for timing in timings),
            "server_memory_bytes": max(timing.server_memory_bytes for timing in timings),
        }
        return Estimate(
            values=np.array([facts[one.column] for one in self.minimised]),
            violations=violations,
            exact=all(one.exact for one in reaches),
            facts=facts,
            limited=limited,
            by_seed=np.stack([at_end[one.column] for one in self.minimised], axis=1),
            times_s=np.where(reached, at_end[OBJECTIVES["time"].column], INFINITE),
        )

    def expectation(self, tables: Sequence[Table], timings: Sequence[Timing]) -> Expectation:
        """Return what a point is worth if all seeds reach the target at one evaluation, for each of them."""
        rounds = min((timing.rounds for timing in timings), key=len)
        rows, reached = len(rounds), np.ones(len(timings), bool)
        stacked = {name: np.stack([table[name][:rows] for table in tables]) for name in tables[0]}
        violation = np.zeros(rows)
        for path, limit in self.limits.items():
            amount = self._over_seeds(path, stacked[limit_key(path)], reached)
            violation += np.where(amount > limit, over(amount, limit), 0.0)
        values = np.stack([stacked[one.column].mean(axis=0) for one in self.minimised], axis=1)
        return Expectation(values, violation, rounds)

    def last_that_wins(
        self,
        tables: Sequence[Table],
        timings: Sequence[Timing],
        reaches: Sequence[TimeToTarget],
        run: int,
        row: int,
        front: Values,
    ) -> int:
        """Return the last evaluation at which a run may reach the target and the point still win.

        It is found from `row` on by bisection, since nothing shrinks; `row` itself where it cannot win.
        """

        def wins(tried: int) -> bool:
            there = [*reaches[:run], TimeToTarget(tried, False, True), *reaches[run + 1 :]]
            estimate = self.estimate(tables, timings, there)
            return estimate.feasible and not dominated(estimate.values, front)

        low, high = row, len(timings[run].keys) - 1
        if high < low or not wins(low):
            return low
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if wins(middle) else (low, middle - 1)
        return low

    def _over_seeds(self, path: str, amounts: Numbers, reached: Numbers) -> Any:
        """Return which amount of those of the seeds [seeds, ...] a constraint limits."""
        over_seeds = self._constraints[path][0].over_seeds
        if over_seeds == "mean":
            return amounts.mean(axis=0)
        needed = self._needed(len(amounts))
        if over_seeds == "probability" and reached.sum() >= needed:
            return np.sort(amounts[reached], axis=0)[needed - 1]
        return amounts.max(axis=0)

    def _best_seen(self, reaches: Sequence[TimeToTarget]) -> float:
        """Return the best accuracies' mean over the seeds that were trained at all; NaN where none was."""
        seen = [one.best for one in reaches if one.exact or one.best > 0]
        return float(np.mean(seen)) if seen and self.target is not None else math.nan

    def _needed(self, seeds: int) -> int:
        """Return how many of the seeds must reach the target."""
        return math.ceil(self.plan.constraints.probability * seeds - 1e-9)


def over(amount: Any, limit: float) -> Any:
    """Return by which share of its limit an amount is above it."""
    return amount / limit - 1.0 if limit else INFINITE


def limit_key(path: str) -> str:
    """Return the name of a constraint's figure in a table: `bytes_per_client` is a column, too."""
    return f"constraints.{path}"
