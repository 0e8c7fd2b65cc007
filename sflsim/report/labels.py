"""A picture of the labels that each client holds: discs for a few clients, a heat map for many.

Drawn from a table (client, label, samples).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from sflsim.report.style import BLUE, INK, MUTED, PAGE, in_style, new_figure

Counts = npt.NDArray[np.int64]

DISCS = (40, 20)
"""Up to so many clients and labels each count is a disc: its area can be compared across the picture."""
FROM_WHITE = LinearSegmentedColormap.from_list("from white", ["#ffffff", BLUE, "#00263d"])


@in_style
def labels_figure(counts: pd.DataFrame, title: str = "") -> Figure:
    """Return the picture of a table (client, label, samples): clients across, labels up, samples on top."""
    table: Counts = counts.pivot(index="label", columns="client", values="samples").to_numpy()
    labels, clients = table.shape
    discs = clients <= DISCS[0] and labels <= DISCS[1]
    cell_in = 0.16
    wide_in = min(max(PAGE.column_in, 0.7 + cell_in * clients), PAGE.whole_in)
    high_in = 0.8 + (cell_in * labels if labels <= DISCS[1] else 3.2)
    figure = new_figure(wide_in, 0.75 + high_in)
    top, main = figure.subplots(2, 1, sharex=True, height_ratios=[0.75, high_in])
    _draw_samples(top, table)
    (_draw_discs if discs else _draw_heat)(main, table)
    main.set_xlabel("client")
    main.set_ylabel("label")
    main.set_xlim(-0.6, clients - 0.4)
    main.set_ylim(-0.6, labels - 0.4)
    for axis, count in ((main.xaxis, clients), (main.yaxis, labels)):
        each = FixedLocator(range(count))
        axis.set_major_locator(each if count <= 20 else MaxNLocator(nbins=20, integer=True))
    if title:
        top.set_title(title, loc="left")
    return figure


def _draw_samples(axes: Axes, table: Counts) -> None:
    """Draw how many samples each client holds."""
    axes.bar(np.arange(table.shape[1]), table.sum(axis=0), width=0.8, color=MUTED)
    axes.set_ylabel("samples")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _draw_discs(axes: Axes, table: Counts) -> None:
    """Draw each count as a disc whose area goes with it; the largest fills its cell."""
    label, client = np.nonzero(table)
    samples = table[label, client]
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()  # the cells have their size only once the figure is laid out
    box = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    side_in = min(box.width / table.shape[1], box.height / table.shape[0])
    largest = (0.9 * side_in * 72) ** 2  # points squared, as scatter takes areas
    axes.scatter(client, label, s=largest * samples / table.max(), color=BLUE, linewidths=0)
    axes.set_aspect("auto")
    axes.grid(visible=True)
    axes.text(
        1.0, 1.01, f"largest disc: {table.max():,} samples", ha="right", va="bottom", color=INK,
        fontsize=6.5, transform=axes.transAxes,
    )  # fmt: skip


def _draw_heat(axes: Axes, table: Counts) -> None:
    """Draw each count as a shade, by its root, so that a single sample is still seen."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    shades = PowerNorm(0.5, 0, table.max())
    drawn = axes.imshow(table, FROM_WHITE, shades, aspect="auto", origin="lower", interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=60, fraction=0.04)
    bar.set_label("samples of a label")
    bar.locator = MaxNLocator(nbins=10, integer=True)
    bar.update_ticks()
