"""A plan on the terminal: its explanation, and its Pareto front."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
from rich.table import Table
from rich.text import Text

from sflsim.formatting import UNIT_OF, in_one_unit, number_text, shorten
from sflsim.planner.plan import Plan
from sflsim.scenario.plan_criteria import OBJECTIVES
from sflsim.terminal.tables import add_rows, new_table, over_lines

SHOWN = 12
WIDTH = 24


def format_pareto(plan: Plan) -> Table | None:
    """Return the points of the front, the recommended one marked; None where nothing is feasible."""
    rows = plan.pareto.sort_values("recommended", ascending=False, kind="stable").head(SHOWN)
    if rows.empty:
        return None
    paths = [] if plan.scenario.plan is None else list(plan.scenario.plan.decisions)
    decided = [name for name in plan.manifest["decided"] if plan.points[name].nunique(dropna=False) > 1]
    shown = [name for name in decided if name in ("variant", *paths)]
    columns = {name: [_text(value) for value in rows[name]] for name in shown}
    for objective in plan.manifest["objectives"]:
        columns |= _amounts(plan, rows, objective)
    table = new_table(padding=(0, 1))
    table.add_column("")
    for name in columns:
        side: Literal["left", "right"] = "left" if name in shown else "right"
        head = over_lines(name) if name in paths else name.replace(" ", "\n")
        table.add_column(Text(head), justify=side, vertical="bottom", no_wrap=True)
    marks = ["*" if mark else "" for mark in rows["recommended"]]
    add_rows(table, zip(marks, *columns.values(), strict=True))
    return table


def pareto_caption(plan: Plan) -> Text:
    """Return the line below the table: what its mark means, and how many points it leaves out."""
    more = len(plan.pareto) - SHOWN
    return Text("* recommended" + (f"; {more} more in points.parquet" if more > 0 else ""), style="italic")


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
