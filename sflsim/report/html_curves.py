"""The curves of the report: mean and band of every variant on four axes, and what each seed took.

Amounts are in s, bytes and J; the page chooses the units to show them in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sflsim.metrics.tables import RUN_COLUMNS, variants_of, with_columns
from sflsim.report.accuracy import accuracy_band
from sflsim.report.html import short
from sflsim.report.style import LINES, look

MOST_POINTS = 600
"""Points of one curve on one axis; longer ones are thinned evenly."""
COLUMNS = ("variant", "seed", "accuracy", "time_s", "round", "uplink_bytes", "downlink_bytes", "energy_j")
COSTS = ("time_s", "round", "uplink_bytes", "downlink_bytes", "energy_j")
AXES = ("time_s", "round", "bytes", "energy_j")
"""What accuracy is drawn against; `bytes` are those up and down."""
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross",
    "<": "triangle-left", ">": "triangle-right", "*": "star", "h": "hexagon", "p": "pentagon",
    "d": "diamond-tall",
}  # fmt: skip
LINE_PX = 2.0


def looks(names: list[str]) -> list[dict[str, str]]:
    """Return name, colour, dashes and symbol of each variant: those of the pictures, as plotly has them."""
    return [
        {"name": name, "color": one.color, "dash": _dash(one.line), "symbol": SYMBOLS[one.marker]}
        for name, one in ((name, look(index)) for index, name in enumerate(names))
    ]


def _dash(line: Any) -> str:
    """Return matplotlib's dashes (in line widths) as plotly's (in pixels)."""
    if line == LINES[0]:
        return "solid"
    return ",".join(f"{max(2.0, length * LINE_PX):g}px" for length in line[1])


def curves(
    evaluations: pd.DataFrame | None, runs: pd.DataFrame | None, target: float | None
) -> dict[str, Any] | None:
    """Return what the accuracy section draws, variants in order; None where no accuracy was evaluated."""
    table = with_columns(evaluations, COLUMNS)
    if not table["accuracy"].notna().any():
        return None
    runs = with_columns(runs, RUN_COLUMNS)
    each = [
        curve(table[table["variant"] == name], runs[runs["variant"] == name])
        for name in variants_of(runs, evaluations)
    ]
    return {"curves": each, "target": target}


def curve(evaluations: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Return the curve of one variant from its evaluations and runs.

    `bands[axis]` is mean, low and high over seeds, with the crosses of seeds that diverged (no axis where
    nothing was evaluated); `seeds` lists for every seed the evaluations that set a record of accuracy with
    what was spent so far: enough to find the first at any target.
    """
    own = evaluations[evaluations["accuracy"].notna()].sort_values("time_s", kind="stable")
    spent_bytes = own["uplink_bytes"].fillna(0.0) + own["downlink_bytes"].fillna(0.0)
    own = own.assign(bytes=spent_bytes, energy_j=own["energy_j"].fillna(0.0))
    return {
        "bands": {} if own.empty else {axis: _band(own, runs, axis) for axis in AXES},
        "seeds": [_records(seed) for _, seed in own.groupby("seed", observed=True)],
        "started": max(runs["seed"].nunique(), own["seed"].nunique()),
    }


def _band(own: pd.DataFrame, runs: pd.DataFrame, against: str) -> dict[str, Any]:
    band = accuracy_band(own, against)
    kept = np.unique(np.linspace(0, len(band) - 1, min(len(band), MOST_POINTS)).round().astype(int))
    band = band.iloc[kept]
    diverged = runs[runs["status"] == "diverged"]["seed"]
    last = own.drop_duplicates("seed", keep="last")
    last = last[last["seed"].isin(diverged)]
    return {
        "x": [short(x) for x in band.index],
        **{column: [short(value, 5) for value in band[column]] for column in ("mean", "low", "high")},
        "crosses": {"x": [short(x) for x in last[against]], "y": [short(y, 5) for y in last["accuracy"]]},
    }


def _records(own: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return the evaluations of one seed that are better than all before, in full digits."""
    best = own["accuracy"].cummax().shift(fill_value=-1.0)
    record = own[own["accuracy"] > best]
    return {name: [short(value, 17) for value in record[name]] for name in ("accuracy", *COSTS)}
