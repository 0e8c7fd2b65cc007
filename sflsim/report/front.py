"""The picture of a plan: two of its objectives against each other, the Pareto front among all points."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from sflsim.formatting import UNIT_OF, Unit
from sflsim.report.style import (
    BLUE,
    MUTED,
    PAGE,
    VERMILLION,
    Page,
    in_style,
    legend_below,
    message_figure,
    new_figure,
)


@in_style
def front_figure(
    points: pd.DataFrame, across: tuple[str, str, str], up: tuple[str, str, str], page: Page = PAGE
) -> Figure:
    """Return a plan's feasible points over two objectives, each given as (column, name, unit).

    Only points that are known exactly have a place; the line joins those of the front.
    """
    names = [across[0], up[0]]
    table = points[points["feasible"] & points["exact"]].dropna(subset=names)
    if table.empty:
        return message_figure("no point of the plan is feasible")
    units = [_unit(table[column].max(), unit) for column, _, unit in (across, up)]
    table = table.assign(**{name: table[name] / size for name, (_, size) in zip(names, units, strict=True)})
    figure = new_figure(page.column_in, 2.35)
    axes = figure.subplots()
    front = table[table["pareto"]].sort_values(names)
    best = table[table["recommended"]]
    others = axes.scatter(table[names[0]], table[names[1]], s=9, color=MUTED, alpha=0.4, linewidths=0)
    (line,) = axes.plot(*(front[name] for name in names), color=BLUE, marker="o", drawstyle="steps-post")
    (star,) = axes.plot(
        *(best[name] for name in names), color=VERMILLION, marker="*", markersize=9, linestyle="none"
    )
    axes.set_xlabel(f"{across[1]} ({units[0][0]})")
    axes.set_ylabel(f"{up[1]} ({units[1][0]})")
    axes.grid(axis="y")
    legend_below(axes, [others, line, star], ["feasible", "Pareto front", "recommended"])
    return figure


def _unit(largest: float, unit: str) -> Unit:
    """Return what amounts are shown in; what is no time, bytes or energy is shown as it is."""
    return UNIT_OF[unit](largest) if unit in UNIT_OF else (unit, 1.0)
