"""The Pareto front of a plan as columns of texts, for the terminal, notebooks and LaTeX."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from sflsim.formatting import UNIT_OF, in_one_unit, number_text, shorten
from sflsim.scenario.plan_criteria import OBJECTIVES

if TYPE_CHECKING:
    from sflsim.planner.plan import Plan

WIDTH = 24


def front(plan: Plan) -> pd.DataFrame:
    """Return the points of the front, the recommended one first."""
    return plan.pareto.sort_values("recommended", ascending=False, kind="stable")


def decisions(plan: Plan) -> list[str]:
    """Return the columns of what was decided: the variant and the paths, as far as points differ in them."""
    paths = [] if plan.scenario.plan is None else list(plan.scenario.plan.decisions)
    decided = [name for name in plan.manifest["decided"] if plan.points[name].nunique(dropna=False) > 1]
    return [name for name in decided if name in ("variant", *paths)]


def pareto_columns(plan: Plan, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return what was decided in some rows of `plan.points`, and each objective in one unit, by heading."""
    columns = {name: [_text(value) for value in rows[name]] for name in decisions(plan)}
    for objective in plan.manifest["objectives"]:
        columns |= _amounts(plan, rows, objective)
    return columns


def _amounts(plan: Plan, rows: pd.DataFrame, objective: str) -> dict[str, list[str]]:
    declared = OBJECTIVES[objective]
    amounts = rows[declared.column]
    if declared.unit == "money":
        return {f"{objective} ({plan.manifest['currency']})": [number_text(amount) for amount in amounts]}
    return dict([in_one_unit(objective, amounts, UNIT_OF[declared.unit])])


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return shorten(str(value), WIDTH)
