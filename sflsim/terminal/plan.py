"""A plan on the terminal: its explanation, and its Pareto front."""

from __future__ import annotations

from typing import Literal

from rich.table import Table
from rich.text import Text

from sflsim.planner.columns import decisions, front, pareto_columns
from sflsim.planner.plan import Plan
from sflsim.terminal.tables import add_rows, new_table, over_lines

SHOWN = 12


def format_pareto(plan: Plan) -> Table | None:
    """Return the points of the front, the recommended one marked; None where nothing is feasible."""
    rows = front(plan).head(SHOWN)
    if rows.empty:
        return None
    shown, columns = decisions(plan), pareto_columns(plan, rows)
    table = new_table(padding=(0, 1))
    table.add_column("")
    for name in columns:
        side: Literal["left", "right"] = "left" if name in shown else "right"
        head = over_lines(name) if name in shown else name.replace(" ", "\n")
        table.add_column(Text(head), justify=side, vertical="bottom", no_wrap=True)
    marks = ["*" if mark else "" for mark in rows["recommended"]]
    add_rows(table, zip(marks, *columns.values(), strict=True))
    return table


def pareto_caption(plan: Plan) -> Text:
    """Return the line below the table: what its mark means, and how many points it leaves out."""
    more = len(plan.pareto) - SHOWN
    return Text("* recommended" + (f"; {more} more in points.parquet" if more > 0 else ""), style="italic")
