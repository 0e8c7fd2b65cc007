"""The curves of the report: mean and band of every variant on four axes, and what each seed took."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sflsim.formatting import byte_unit, joule_unit, time_unit
from sflsim.metrics.tables import RUN_COLUMNS, variants_of, with_columns
from sflsim.report.accuracy import accuracy_band
from sflsim.report.html import short
from sflsim.report.style import LINES, look

MOST_POINTS = 600
"""Points of one curve on one axis; longer ones are thinned evenly."""
COLUMNS = ("variant", "seed", "accuracy", "time_s", "round", "uplink_bytes", "downlink_bytes", "energy_j")
COSTS = ("time_s", "round", "uplink_bytes", "downlink_bytes", "energy_j")
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
    """Return what the accuracy section draws, variants in order; None where no accuracy was evaluated.

    `bands[axis][variant]` is mean, low and high over seeds in the axis's unit, with the crosses of
    seeds that diverged; `seeds[variant]` lists for every seed the evaluations that set a record of
    accuracy with what was spent so far: enough to find the first at any target.
    """
    table = with_columns(evaluations, COLUMNS)
    table = table[table["accuracy"].notna()].sort_values("time_s", kind="stable")
    if table.empty:
        return None
    table = table.assign(bytes=table["uplink_bytes"].fillna(0.0) + table["downlink_bytes"].fillna(0.0))
    table["energy_j"] = table["energy_j"].fillna(0.0)
    names = variants_of(runs, evaluations)
    runs = with_columns(runs, RUN_COLUMNS)
    by_name = {name: table[table["variant"] == name] for name in names}
    axes = _axes(table)
    return {
        "axes": [{key: axis[key] for key in ("key", "name", "label", "unit", "any")} for axis in axes],
        "bands": {
            axis["key"]: [_band(by_name[name], runs, axis["key"], axis["scale"]) for name in names]
            for axis in axes
        },
        "seeds": [
            [_records(own) for _, own in by_name[name].groupby("seed", observed=True)] for name in names
        ],
        "started": [
            max(runs.loc[runs["variant"] == name, "seed"].nunique(), by_name[name]["seed"].nunique())
            for name in names
        ],
        "target": target,
    }


def _axes(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the four axes; one along which nothing was spent has `any` false."""
    time, bytes_, energy = (
        unit_of(float(table[column].max()))
        for unit_of, column in ((time_unit, "time_s"), (byte_unit, "bytes"), (joule_unit, "energy_j"))
    )
    rows: list[tuple[str, str, str, tuple[str, float]]] = [
        ("time_s", "time", "simulated time", time),
        ("round", "rounds", "rounds", ("rounds", 1.0)),
        ("bytes", "bytes", "bytes sent up and down, all clients", bytes_),
        ("energy_j", "joules", "energy of the clients", energy),
    ]
    return [
        {
            "key": key,
            "name": name,
            "label": label if key == "round" else f"{label} ({unit})",
            "unit": unit,
            "scale": scale,
            "any": bool(table[key].max() > 0),
        }
        for key, name, label, (unit, scale) in rows
    ]


def _band(own: pd.DataFrame, runs: pd.DataFrame, against: str, scale: float) -> dict[str, Any] | None:
    if own.empty:
        return None
    band = accuracy_band(own, against)
    kept = np.unique(np.linspace(0, len(band) - 1, min(len(band), MOST_POINTS)).round().astype(int))
    band = band.iloc[kept]
    diverged = runs[(runs["variant"] == own["variant"].iloc[0]) & (runs["status"] == "diverged")]["seed"]
    last = own.drop_duplicates("seed", keep="last")
    last = last[last["seed"].isin(diverged)]
    return {
        "x": [short(x / scale) for x in band.index],
        **{column: [short(value, 5) for value in band[column]] for column in ("mean", "low", "high")},
        "crosses": {
            "x": [short(x / scale) for x in last[against]],
            "y": [short(y, 5) for y in last["accuracy"]],
        },
    }


def _records(own: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return the evaluations of one seed that are better than all before, in full digits."""
    best = own["accuracy"].cummax().shift(fill_value=-1.0)
    record = own[own["accuracy"] > best]
    return {name: [short(value, 17) for value in record[name]] for name in ("accuracy", *COSTS)}
