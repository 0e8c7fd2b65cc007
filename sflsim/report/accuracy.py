"""Accuracy over simulated time and over rounds, and the time to a target."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sflsim.formatting import number_text, target_text, time_unit
from sflsim.metrics.tables import RUN_COLUMNS, first_at_target, measured, variants_of, with_columns
from sflsim.report.style import (
    INK,
    MUTED,
    PAGE,
    Look,
    Page,
    bar_rows,
    in_style,
    legend_below,
    look,
    message_figure,
    new_figure,
)

MARKS = 7
TARGET_LINE: dict[str, Any] = {"color": MUTED, "linewidth": 0.9, "linestyle": (0, (2, 2)), "zorder": 1}


def accuracy_band(evaluations: pd.DataFrame, against: str) -> pd.DataFrame:
    """Return mean, low and high over the seeds of one variant, indexed by `against`.

    `against` is a column that never falls: time_s, round, or what was spent so far.
    Each seed is a step function: an evaluation holds until the next one, the last one to the end.
    The steps of all seeds are the grid, so the mean is exact; it begins where every seed has a value.
    """
    table = evaluations[evaluations["accuracy"].notna()].sort_values("time_s", kind="stable")
    last = table.drop_duplicates(["seed", against], keep="last")
    steps = (
        last.pivot(index=against, columns="seed", values="accuracy")
        .astype(float)
        .sort_index()
        .ffill()
        .dropna()
    )
    return pd.DataFrame({"mean": steps.mean(axis=1), "low": steps.min(axis=1), "high": steps.max(axis=1)})


@in_style
def accuracy_figure(
    evaluations: pd.DataFrame | None,
    runs: pd.DataFrame | None = None,
    target: float | None = None,
    against: Literal["time_s", "round"] = "time_s",
    page: Page = PAGE,
) -> Figure:
    """Return test accuracy against simulated time or rounds: mean line and min-max band over seeds.

    A cross marks where a seed diverged; `runs` says which did.
    """
    table = measured(evaluations)
    if table.empty:
        return message_figure("no accuracy was evaluated")
    figure = new_figure(page.column_in, 2.35)
    axes = figure.subplots()
    unit, scale = time_unit(float(table["time_s"].max())) if against == "time_s" else ("", 1.0)
    handles: list[Artist] = []
    labels: list[str] = []
    for index, variant in enumerate(variants_of(runs, evaluations)):
        own = table[table["variant"] == variant]
        if own.empty:
            continue
        handles.append(_draw_band(axes, accuracy_band(own, against), scale, look(index), index))
        labels.append(
            variant + _draw_diverged(axes, own, with_columns(runs, RUN_COLUMNS), against, scale, look(index))
        )
    axes.set_xlabel(f"simulated time ({unit})" if against == "time_s" else "rounds")
    several = table.groupby("variant", observed=True)["seed"].nunique().max() > 1
    axes.set_ylabel("test accuracy (mean, range)" if several else "test accuracy")
    longest = float(table[against].max()) / scale or 1.0
    axes.set_xlim(-0.02 * longest, 1.02 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=against == "round"))
    if target is not None:
        handles.append(axes.axhline(target, **TARGET_LINE))
        labels.append(f"target {target_text(target)}")
    _accuracy_axis(axes)
    legend_below(axes, handles, labels)
    return figure


def _draw_band(axes: Axes, band: pd.DataFrame, scale: float, look: Look, index: int) -> Line2D:
    """Draw one variant's steps and return its line for the legend."""
    x = band.index.to_numpy(dtype=float) / scale
    axes.fill_between(x, band["low"], band["high"], step="post", color=look.color, alpha=0.16, linewidth=0)
    every = max(1, len(band) // MARKS)
    (line,) = axes.plot(
        x,
        band["mean"],
        drawstyle="steps-post",
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        markevery=(index % every, every),
        markeredgecolor="white",
        markeredgewidth=0.4,
    )
    return line


def _draw_diverged(
    axes: Axes, own: pd.DataFrame, runs: pd.DataFrame, against: str, scale: float, look: Look
) -> str:
    """Put a cross on the last evaluation of each diverged seed and return the note for the legend."""
    runs = runs[runs["variant"] == own["variant"].iloc[0]]
    diverged = runs.loc[runs["status"] == "diverged", "seed"]
    last = own.sort_values("time_s", kind="stable").drop_duplicates("seed", keep="last")
    last = last[last["seed"].isin(diverged)]
    axes.scatter(
        last[against] / scale, last["accuracy"], marker="x", s=22, color=look.color, linewidths=1.3, zorder=4
    )
    if diverged.empty:
        return ""
    return "\n(diverged)" if len(diverged) == len(runs) else f"\n({len(diverged)} of {len(runs)} diverged)"


def _accuracy_axis(axes: Axes) -> None:
    """Show the y axis in percent, within 0 to 100 %."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y")
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))


@in_style
def time_to_accuracy_figure(
    evaluations: pd.DataFrame | None, runs: pd.DataFrame | None, target: float | None, page: Page = PAGE
) -> Figure:
    """Return a bar per variant: mean simulated time to `target` over the seeds that got there, seeds as dots.

    A bar over a part of the seeds is hatched and says how many; a variant without any says 'not reached'.
    """
    table = measured(evaluations)
    if table.empty or target is None:
        return message_figure("no accuracy was evaluated" if table.empty else "no target accuracy was given")
    variants = variants_of(runs, evaluations)
    figure, axes = bar_rows(variants, page)
    reached = first_at_target(table, target)
    longest_s = float(reached["time_s"].max() if len(reached) else table["time_s"].max())
    unit, length_s = time_unit(longest_s)
    for row, variant in enumerate(variants):
        times_s = reached.loc[reached["variant"] == variant, "time_s"].astype(float)
        seeds = _seeds(variant, table, with_columns(runs, RUN_COLUMNS))
        _draw_time(axes, row, times_s, seeds, unit, length_s, look(row).color)
    axes.set_xlim(0, longest_s / length_s * 1.4 or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"simulated time to {target_text(target)} accuracy ({unit})", loc="right")
    return figure


def _seeds(variant: str, table: pd.DataFrame, runs: pd.DataFrame) -> int:
    """Return the number of seeds of a variant, also those that diverged before any evaluation."""
    counts = [int(frame.loc[frame["variant"] == variant, "seed"].nunique()) for frame in (table, runs)]
    return max(counts)


def _draw_time(
    axes: Axes, row: int, times_s: pd.Series[float], seeds: int, unit: str, length_s: float, color: str
) -> None:
    """Draw one variant's bar, its seeds and its text."""
    if times_s.empty:
        axes.annotate(
            "not reached",
            (0, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=MUTED,
            fontstyle="italic",
        )
        return
    partial = len(times_s) < seeds
    mean = float(times_s.mean()) / length_s
    bar = axes.barh(row, mean, height=0.66, color=color, alpha=0.5 if partial else 1.0, linewidth=0)
    if partial:
        bar.patches[0].set(hatch="////", edgecolor="white")
    if seeds > 1:
        axes.plot(
            times_s / length_s,
            [row] * len(times_s),
            linestyle="none",
            marker="o",
            markersize=3.2,
            color="white",
            markeredgecolor=INK,
            markeredgewidth=0.6,
        )
    text = f"{number_text(mean)} {unit}" + (f"\n{len(times_s)} of {seeds} seeds" if partial else "")
    end = max(mean, float(times_s.max()) / length_s)
    axes.annotate(
        text, (end, row), (4, 0), textcoords="offset points", va="center", fontsize=6, linespacing=1.0
    )
