"""What a tracker of experiments takes: trials, each with settings and with figures over simulated time.

A trial is one variant under one seed of a run, one row of a sweep's table, or one point of a plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sflsim.experiment.run import Run
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep
from sflsim.sweeps.swept import swept_columns

AT_THE_END = ("client_memory_bytes", "server_memory_bytes", "dropped", "wasted_s", "wasted_bytes")
"""Columns of `runs` that evaluations do not have."""
OF_A_ROW = ("variant", "seed", "algorithm", "status", "reason", "error")
"""Columns of a sweep that say what a row is, and how it ended."""
Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Moment:
    """Figures at one time; all are finite."""

    time_s: float
    round: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One experiment of a tracker."""

    name: str
    settings: Mapping[str, str | int | float | bool]
    moments: Sequence[Moment]


def trials_of(result: Run | Sweep | Plan) -> list[Trial]:
    """Return the trials of a result, in the order of its tables."""
    if isinstance(result, Run):
        return list(_of_run(result))
    return list(_of_sweep(result) if isinstance(result, Sweep) else _of_plan(result))


def _of_run(run: Run) -> Iterator[Trial]:
    evaluations = dict(iter(run.evaluations.groupby(["variant", "seed"], sort=False)))
    figures = [name for name in run.evaluations if name not in ("variant", "seed", "round")]
    for row in run.runs.to_dict("records"):
        rows = evaluations.get((row["variant"], row["seed"]), run.evaluations.iloc[:0])
        moments = [_moment(one["time_s"], one["round"], one, figures) for one in rows.to_dict("records")]
        end = _moment(row["time_s"], row["rounds"], row, AT_THE_END)
        settings = _settings(row, ("algorithm", "variant", "seed", "status"))
        yield Trial(f"{row['variant']} seed {row['seed']}", settings, [*moments, end])


def _of_sweep(sweep: Sweep) -> Iterator[Trial]:
    paths = swept_columns(sweep.over, map(str, sweep.table))
    settings = ["point", *paths, *OF_A_ROW]
    figures = [name for name in sweep.table if name not in settings]
    for row in sweep.table.to_dict("records"):
        moment = _moment(row["run_time_s"], row["run_rounds"], row, figures)
        name = f"point {row['point']} {row['variant']} seed {row['seed']}"
        yield Trial(name, _settings(row, settings), [moment])


def _of_plan(plan: Plan) -> Iterator[Trial]:
    decided = ["point", *plan.manifest["decided"]]
    figures = [name for name in plan.points.select_dtypes(["number", "bool"]) if name not in decided]
    for row in plan.points.to_dict("records"):
        moment = _moment(row.get("time_s", 0.0), row["rounds"], row, figures)
        yield Trial(f"point {row['point']}", _settings(row, [*decided, "violated"]), [moment])


def _settings(row: Row, names: Sequence[str]) -> dict[str, str | int | float | bool]:
    """Return what a row is, without what is empty."""
    kept = {str(name): row[name] for name in names}
    return {name: value for name, value in kept.items() if value != "" and value == value}


def _moment(time_s: float, round: float, row: Row, names: Sequence[Any]) -> Moment:
    """Return the finite figures of a row; a time or a round that nothing has counts as 0."""
    figures = {str(name): float(row[name]) for name in names}
    finite = {name: figure for name, figure in figures.items() if math.isfinite(figure)}
    time_s, rounds = (one if math.isfinite(one) else 0.0 for one in (float(time_s), float(round)))
    return Moment(time_s, int(rounds), finite)
