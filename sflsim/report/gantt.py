"""Who computes, sends, waits and serves in the first rounds: a Gantt picture.

The upper half of a client's row shows its processor, the lower half its radio, which may work at the same
time. Each slot of the server has a row of its own. Where there are no rounds that
clients share, the picture shows a window of time, and a line where the global model was updated.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sflsim.formatting import time_unit
from sflsim.metrics.contributions import SERVER
from sflsim.metrics.tables import SPAN_COLUMNS, with_columns
from sflsim.report.attribution import COLORS
from sflsim.report.style import (
    INK,
    MUTED,
    PAGE,
    Page,
    in_style,
    legend_below,
    message_figure,
    new_figure,
    wrapped,
)
from sflsim.rows import CONTRIBUTION

# activity: (legend, colour, top and bottom of its bar in a row of height 1)
BARS = {
    "absence": ("absence", COLORS["absence"], -0.4, 0.4),
    "wait": ("waiting for stragglers", COLORS["wait"], -0.4, 0.1),
    "server": ("at the server (queue or serve)", "#f6cdb0", -0.4, 0.1),
    "slowdown": ("straggler slowdown", COLORS["slowdown"], -0.4, 0.1),
    "compute": ("client compute", COLORS["compute"], -0.4, 0.1),
    "latency": ("latency", COLORS["latency"], 0.22, 0.34),
    "uplink": ("uplink", COLORS["uplink"], 0.16, 0.4),
    "downlink": ("downlink", COLORS["downlink"], 0.16, 0.4),
    "serve": ("server serves", COLORS["server"], -0.36, 0.36),
}
LEGEND = ("compute", "slowdown", "uplink", "downlink", "latency", "server", "absence", "wait", "serve")


@in_style
def gantt_figure(
    spans: pd.DataFrame | None,
    variant: str,
    seed: int | None = None,
    rounds: int = 3,
    max_clients: int = 16,
    max_slots: int = 8,
    page: Page = PAGE,
) -> Figure:
    """Return the first `rounds` rounds of one variant and seed (default: its first) as a Gantt picture.

    Where there are none, the first `window`. Only clients that took part have a row; where they or the
    server's slots are more than fit, a part of them is drawn and a note says so.
    """
    table = with_columns(spans, SPAN_COLUMNS)
    table = table[table["variant"] == variant]
    seed = int(table["seed"].iloc[0]) if seed is None and len(table) else seed
    table = table[table["seed"] == seed]
    table = table[np.isfinite(table["end_s"].astype(float))]
    if table.empty:
        return message_figure("no spans were recorded")
    until_s, updates = window(table, rounds), updates_s(table)
    if until_s is None:
        table = table[table["round"].isin(sorted(table["round"].unique())[:rounds])]
        until_s = float(table["end_s"].max())
    table = with_rows(table[table["start_s"] <= until_s])
    rows, note = _rows(table, max_clients, max_slots)
    figure = new_figure(page.whole_in, 0.75 + 0.19 * len(rows))
    axes = figure.subplots()
    unit, length_s = time_unit(until_s)
    table = table.assign(start=table["start_s"] / length_s, end=table["end_s"] / length_s)
    begin, end = float(table["start"].min()), until_s / length_s
    drawn = [activity for activity in BARS if _draw_activity(axes, table, activity, rows, end - begin)]
    if updates is None:
        _draw_rounds(axes, table)
    else:
        _draw_updates(axes, updates[updates <= until_s] / length_s, begin, end)
    _label_axes(axes, rows, f"simulated time ({unit})", note)
    axes.set_xlim(begin, end * 1.002 or 1.0)
    shown = [activity for activity in LEGEND if activity in drawn]
    legend_below(axes, [Patch(facecolor=BARS[name][1]) for name in shown], [BARS[name][0] for name in shown])
    return figure


def window(table: pd.DataFrame, lengths: int) -> float | None:
    """Return the end of the picture of a run without shared rounds, None of any other.

    It is as long as so many mean contributions, and shows an update where there is one.
    """
    updates = updates_s(table)
    if updates is None:
        return None
    whole = table[table["activity"] == CONTRIBUTION]
    until_s = lengths * float((whole["end_s"] - whole["start_s"]).mean())
    first_s = float(updates.iloc[0]) if len(updates) else 0.0
    return min(max(until_s, first_s), float(table["end_s"].max()))


def updates_s(table: pd.DataFrame) -> pd.Series | None:
    """Return by round when the global model of one run was updated; None where its clients share rounds.

    That is the end of each round; the last one may have none. Of updates in one instant the first is there.
    """
    whole = table[table["activity"] == CONTRIBUTION]
    if whole.empty:
        return None
    ends_s = table.groupby("round")["end_s"].max()
    if whole["end_s"].max() < ends_s.iloc[-1]:
        ends_s = ends_s.iloc[:-1]
    return ends_s


def with_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the spans with `row_of`, their actor's; a job at the server stands in its client's row too."""
    jobs = table[table["activity"].isin(["queue", "serve"])]
    jobs = jobs.assign(row_of=jobs["client"].fillna("").astype(str), activity="server")
    return pd.concat([table.assign(row_of=table["actor"].astype(str)), jobs], ignore_index=True)


def _rows(table: pd.DataFrame, max_clients: int, max_slots: int) -> tuple[dict[str, int], str]:
    """Return the row number of each actor shown, clients first, and a note on those left out."""
    actors = [name for name in table["row_of"].unique() if name not in ("", "server")]
    clients = sorted((name for name in actors if not re.fullmatch(SERVER, name)), key=natural)
    slots = sorted((name for name in actors if re.fullmatch(SERVER, name)), key=natural)
    parts = [(clients, max_clients, "clients"), (slots, max_slots, "server slots")]
    notes = [f"{most} of {len(names)} {what}" for names, most, what in parts if len(names) > most]
    shown = spread(clients, max_clients) + slots[:max_slots]
    return {name: row for row, name in enumerate(shown)}, ", ".join(notes) + (" shown" if notes else "")


def spread(names: list[str], most: int) -> list[str]:
    """Return at most `most` of `names`, spread evenly, so that every group of a large fleet is seen."""
    return names if len(names) <= most else [names[len(names) * place // most] for place in range(most)]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts phone-2 before phone-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _draw_activity(
    axes: Axes, table: pd.DataFrame, activity: str, rows: dict[str, int], length: float
) -> bool:
    """Draw all spans of one activity as one collection; say whether there were any."""
    own = table[(table["activity"] == activity) & table["row_of"].isin(list(rows))]
    _, color, top, bottom = BARS[activity]
    row = own["row_of"].map(rows).to_numpy(dtype=float)
    start, end = own["start"].to_numpy(dtype=float), own["end"].to_numpy(dtype=float)
    x = np.stack([start, end, end, start], axis=1)
    y = np.stack([row + top, row + top, row + bottom, row + bottom], axis=1)
    # A hair of an edge keeps spans visible that are shorter than a pixel; a white one parts the longer ones.
    wide = end - start > 0.004 * length
    edges = np.where(wide & (activity != "server"), "white", color).tolist()
    vertices = list(np.stack([x, y], axis=2))
    bars = PolyCollection(vertices, facecolors=color, edgecolors=edges, linewidths=0.3)
    bars.set_label(activity)
    axes.add_collection(bars, autolim=False)
    return len(own) > 0


def _draw_rounds(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a line at each round's end and the round's number above its middle."""
    bounds = table.groupby("round").agg(start=("start", "min"), end=("end", "max"))
    whole = table["end"].max() - table["start"].min()
    for number, start, end in bounds.itertuples():
        axes.axvline(end, color=INK, linewidth=0.7, linestyle=(0, (3, 2)), zorder=3, clip_on=False)
        text = f"round {number}" if end - start > 0.07 * whole else str(number)
        axes.text(
            (start + end) / 2, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom"
        )


def _draw_updates(axes: Axes, updates: pd.Series, begin: float, end: float) -> None:
    """Draw a line at each update of the global model and its number left of it, where there is room."""
    last = begin
    for number, at in updates.items():
        axes.axvline(at, color=INK, linewidth=0.7, linestyle=(0, (3, 2)), zorder=3, clip_on=False)
        room = (at - last) / (end - begin) if end > begin else 0.0
        if room > 0.025:
            text = f"update {number}" if room > 0.09 else str(number)
            axes.text(at, 1.01, text, transform=axes.get_xaxis_transform(), ha="right", va="bottom")
            last = at


def _label_axes(axes: Axes, rows: dict[str, int], label: str, note: str) -> None:
    """Name the rows, part the server from the clients, and say what was left out."""
    names = [re.sub(r"^server:(\d+)$", r"server slot \1", name) for name in rows]
    axes.set_yticks(range(len(rows)), [wrapped(name, 28) for name in names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    clients = sum(not re.fullmatch(SERVER, name) for name in rows)
    if 0 < clients < len(rows):
        axes.axhline(clients - 0.5, color=MUTED, linewidth=0.6)
    axes.set_xlabel(label + (f"    ({note})" if note else ""))
