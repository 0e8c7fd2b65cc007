"""The picture of where the time goes: a bar per variant, a part per activity."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sflsim.formatting import time_unit
from sflsim.metrics.attribution import of_whom, where_time_goes
from sflsim.report.style import (
    BLUE,
    GREEN,
    ORANGE,
    PAGE,
    PURPLE,
    SKY,
    VERMILLION,
    Page,
    bar_rows,
    in_style,
    legend_below,
    message_figure,
)

COLORS = {
    "compute": BLUE,
    "slowdown": ORANGE,
    "uplink": GREEN,
    "server": VERMILLION,
    "downlink": SKY,
    "latency": PURPLE,
    "absence": "#555555",
    "wait": "#c9c9c9",
    "other": "#ffffff",
}
# In the order in which an exchange goes through them.
LABELS = {
    "compute": "client compute",
    "slowdown": "straggler slowdown",
    "uplink": "uplink",
    "server": "server (queue or serve)",
    "downlink": "downlink",
    "latency": "latency",
    "absence": "absence",
    "wait": "waiting for stragglers",
    "other": "other",
}


@in_style
def where_time_goes_figure(spans: pd.DataFrame | None, page: Page = PAGE) -> Figure:
    """Return stacked bars, one per variant: mean seconds of a participant's round, with shares inside."""
    means = where_time_goes(spans)
    if means.empty:
        return message_figure("no spans were recorded")
    figure, axes = bar_rows(means.index.to_list(), page)
    totals = means.sum(axis=1)
    unit, length_s = time_unit(float(totals.max()))
    shown = [category for category in LABELS if means[category].max() > 1e-9 * totals.max()]
    left = np.zeros(len(means))
    for category in shown:
        values = means[category].to_numpy(dtype=np.float64) / length_s
        edge = "#999999" if category == "other" else "white"
        axes.barh(
            range(len(means)),
            values,
            left=left,
            height=0.68,
            color=COLORS[category],
            edgecolor=edge,
            linewidth=0.4,
        )
        for row, value in enumerate(values):
            if value > 0.12 * totals.max() / length_s:
                ink = "black" if category in ("wait", "other", "slowdown", "downlink", "latency") else "white"
                text = f"{100 * value * length_s / totals.iloc[row]:.0f} %"
                axes.text(
                    left[row] + value / 2, row, text, ha="center", va="center_baseline", color=ink, fontsize=6
                )
        left = left + values
    axes.set_xlim(0, float(totals.max()) / length_s * 1.02 or 1.0)
    axes.set_xlabel(f"mean time of {of_whom(spans)} ({unit})", loc="right")
    axes.spines["left"].set_visible(False)
    handles = [
        Patch(facecolor=COLORS[category], edgecolor="#999999" if category == "other" else "none")
        for category in shown
    ]
    legend_below(axes, handles, [LABELS[category] for category in shown])
    return figure
