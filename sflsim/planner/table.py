"""The table of a plan's points: what was decided, what it takes, what of it is known for certain."""

from __future__ import annotations

import math

import pandas as pd

from sflsim.planner.evaluator import Evaluator
from sflsim.planner.selection import Selection
from sflsim.planner.space import VARIANT, Point, Space
from sflsim.planner.spread import chance_better, deviation
from sflsim.planner.text.wording import diverged_text
from sflsim.planner.values import text_of
from sflsim.scenario.plan_criteria import OBJECTIVES

FIGURES = {
    "rounds": "rounds",
    "accuracy": "best accuracy seen",
    "seeds_reached": "seeds there",
    "busiest_client_bytes": "bytes of the busiest client",
    "memory_share": "share of memory",
    "server_memory_bytes": "server memory",
}
"""Columns that every plan has beside its objectives, and what a page calls them."""
LABELS = {
    **{one.column: one.words for one in OBJECTIVES.values()},
    **FIGURES,
    "time_sd_s": "standard deviation of the time",
    "chance_better": "probability of being better than the recommended",
}
FLAGS = ("exact", "feasible", "pareto", "recommended")


def decided(space: Space) -> list[str]:
    """Return the columns that say what a point is: its variant, and what was chosen."""
    return list(
        dict.fromkeys([VARIANT, "algorithm", *space.differing, *(axis.name for axis in space.axes[1:])])
    )


def points_table(space: Space, evaluator: Evaluator, selection: Selection) -> pd.DataFrame:
    """Return a row for each point that was timed; `sflsim.Plan` says what its columns mean."""
    frame = pd.DataFrame([_row(point, evaluator, selection) for point in evaluator.timed])
    names = decided(space)
    for name in names:
        numbers = all(type(value) is int for value in frame[name]) or pd.api.types.is_float_dtype(frame[name])
        if not numbers:
            frame[name] = [text_of(value) for value in frame[name]]
    first = ["point", *names]
    return frame[[*first, *(name for name in frame if name not in first)]]


def _row(point: Point, evaluator: Evaluator, selection: Selection) -> dict[str, object]:
    estimate, chosen = evaluator.estimate(point), selection.recommended
    return {
        "point": point.number,
        **point.fields,
        **point.choices,
        **estimate.facts,
        "time_sd_s": deviation(estimate.times_s) if estimate.exact else math.nan,
        **{f"{name}_margin": margin for name, margin in estimate.margins.items()},
        "chance_better": _chance(point, evaluator, chosen),
        "violated": ", ".join(estimate.violations),
        "diverged": diverged_text(evaluator.diverged(point)),
        "exact": estimate.exact,
        "feasible": estimate.surely_feasible,
        "pareto": point in selection.pareto,
        "recommended": point is chosen,
    }


def _chance(point: Point, evaluator: Evaluator, chosen: Point | None) -> float:
    """Return the probability that a point beats the recommended one, as far as it is known."""
    estimate = evaluator.estimate(point)
    if chosen is None or point is chosen or not estimate.surely_feasible:
        return math.nan
    return chance_better(evaluator.estimate(chosen), estimate, evaluator.objectives.weights)
