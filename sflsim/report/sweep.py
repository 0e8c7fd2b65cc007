"""The pictures of a sweep: what each swept field does to the time and to the accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sflsim.formatting import target_text, time_unit
from sflsim.report.style import PAGE, Page, in_style, legend_below, look, message_figure, new_figure, wrapped

SPREAD = 100.0
"""Ratio of the largest to the smallest amount from which on the axis is logarithmic."""


@in_style
def sweep_figure(table: pd.DataFrame, path: str, amounts: str | None = None, page: Page = PAGE) -> Figure:
    """Return a picture of a swept `path`: time and final accuracy, a line for each variant.

    A mark is a point of the sweep (mean over seeds), the line the mean over all that is swept besides.
    `amounts` is the column of the path's numbers; without one the values stand in their order.
    """
    done = table[table["status"] == "completed"]
    figures = [name for name in ("time_s", "accuracy") if done[name].notna().any()]
    if not figures:
        return message_figure("no point of the sweep has a time or an accuracy")
    labels = [str(value) for value in table[path].unique()]
    places = _places(table, path, amounts, labels)
    figure = new_figure(page.whole_in, 2.4)
    panes = figure.subplots(1, len(figures), squeeze=False)[0]
    variants = [str(name) for name in table["variant"].unique()]
    for axes, name in zip(panes, figures, strict=True):
        _draw(axes, done, path, places, variants, name)
        if amounts is not None and _is_wide(list(places.values())):
            axes.set_xscale("log")
        axes.set_xticks([places[label] for label in labels], [wrapped(label, 12) for label in labels])
        axes.minorticks_off()
        axes.set_xlabel(path)
    handles = panes[0].get_lines()
    legend_below(panes[0], handles, [wrapped(str(line.get_label()), 40) for line in handles])
    return figure


def _places(table: pd.DataFrame, path: str, amounts: str | None, labels: Sequence[str]) -> dict[str, float]:
    """Return where each value stands on the axis; an infinite amount one step beyond the largest."""
    kind = table[path].dtype
    if amounts is None and pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        return {label: float(label) for label in labels}
    if amounts is None:
        return {label: float(place) for place, label in enumerate(labels)}
    numbers = dict(zip(table[path].astype(str), table[amounts].astype(float), strict=True))
    finite = [number for number in numbers.values() if np.isfinite(number)]
    beyond = max(finite) * (2.0 if len(finite) > 1 else 1.5) or 1.0
    return {label: number if np.isfinite(number) else beyond for label, number in numbers.items()}


def _is_wide(numbers: Sequence[float]) -> bool:
    return min(numbers) > 0 and max(numbers) / min(numbers) >= SPREAD


def _draw(
    axes: Axes, done: pd.DataFrame, path: str, places: dict[str, float], variants: Sequence[str], name: str
) -> None:
    points = done.groupby(["point", path, "variant"], sort=False)[name].mean().reset_index()
    unit, size, title = _unit(done, name)
    for index, variant in enumerate(variants):
        drawn: Any = look(index)
        own = points[points["variant"] == variant].dropna(subset=[name])
        at, values = own[path].astype(str).map(places), own[name] / size
        axes.scatter(at, values, s=9, color=drawn.color, marker=drawn.marker, alpha=0.5, linewidths=0)
        means = values.groupby(at).mean().sort_index()
        axes.plot(means.index, means, color=drawn.color, linestyle=drawn.line, label=variant)
    axes.set_ylabel(f"{title} ({unit})")
    axes.grid(axis="y")


def _unit(done: pd.DataFrame, name: str) -> tuple[str, float, str]:
    if name == "accuracy":
        return "%", 0.01, "final accuracy"
    targets = done.loc[done["accuracy"].notna(), "target"].dropna().unique()
    title = f"time to {target_text(float(targets[0]))}" if len(targets) == 1 else "time"
    return *time_unit(float(done[name].max())), title
