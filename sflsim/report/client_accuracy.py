"""How unequal the accuracy of the last model is among the clients: a box for each variant."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sflsim.metrics.client_accuracy import by_client
from sflsim.metrics.tables import variants_of
from sflsim.report.style import INK, PAGE, Page, bar_rows, in_style, look, message_figure

DOTS = 60
"""Clients up to which each is a dot, too."""


@in_style
def client_accuracy_figure(clients: pd.DataFrame | None, page: Page = PAGE) -> Figure:
    """Return a box per variant: quartiles of the clients' accuracies (means over seeds), and their range.

    With few clients each of them is a dot.
    """
    table = by_client(clients)
    if table.empty:
        return message_figure("no accuracy of clients was evaluated")
    variants = variants_of(table)
    figure, axes = bar_rows(variants, page)
    for row, variant in enumerate(variants):
        values = table.loc[table["variant"] == variant, "client_accuracy"].to_numpy()
        low, first, median, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
        axes.hlines(row, low, high, color=INK, linewidth=0.7)
        axes.barh(row, third - first, left=first, height=0.6, color=look(row).color, alpha=0.6, linewidth=0)
        axes.vlines(median, row - 0.3, row + 0.3, color=INK, linewidth=1.0)
        if len(values) <= DOTS:
            axes.plot(values, [row] * len(values), "o", color=INK, markersize=1.8, alpha=0.7, linewidth=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel("accuracy of the last model by client, on its mix of labels", loc="right")
    return figure
