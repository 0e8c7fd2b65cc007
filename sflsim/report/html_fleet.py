"""The fleet of the report: devices by speed and bandwidth."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sflsim.metrics.tables import with_columns
from sflsim.report.html import short
from sflsim.report.html_curves import SYMBOLS
from sflsim.report.style import look

KEYS = ["group", "flop_per_s", "up_bytes_per_s", "down_bytes_per_s", "memory_bytes"]
MOST_POINTS = 3000
MOST_SEEDS = 3
MOST_NAMES = 6


def fleet(clients: pd.DataFrame | None) -> dict[str, Any] | None:
    """Return what the fleet section draws, None where no device has a known bandwidth.

    Devices that are alike in group, speed, bandwidth and memory are one point with their number.
    An unlimited rate is the text "inf": JSON has no number for it.
    """
    table = with_columns(clients, ("seed", "client", *KEYS)).drop_duplicates(["seed", "client"])
    table = table[table["up_bytes_per_s"].notna() & table["down_bytes_per_s"].notna()]
    if table.empty:
        return None
    groups = [str(name) for name in table["group"].unique()]
    seeds = list(table["seed"].unique())[:MOST_SEEDS]
    return {
        "groups": [
            {"name": name, "color": look(place).color, "symbol": SYMBOLS[look(place).marker]}
            for place, name in enumerate(groups)
        ],
        "seeds": [{"seed": int(seed), **_devices(table[table["seed"] == seed], groups)} for seed in seeds],
    }


def _devices(table: pd.DataFrame, groups: list[str]) -> dict[str, Any]:
    """Return the devices of one seed as points, at most `MOST_POINTS`, spread over the fleet."""
    alike = list(table.groupby(KEYS, sort=False, dropna=False, observed=True)["client"])
    every = -(-len(alike) // MOST_POINTS)
    points = [_point(key, names, groups) for key, names in alike[::every]]
    shown = sum(point["count"] for point in points)
    return {"points": points, "devices": len(table), "shown": shown}


def _point(key: Any, names: pd.Series[str], groups: list[str]) -> dict[str, Any]:
    """Return the point of devices that are alike: their KEYS, their number and the first names."""
    group, flop_per_s, up, down, memory_bytes = key
    return {
        "group": groups.index(str(group)),
        "flop_per_s": _rate(flop_per_s),
        "up": _rate(up),
        "down": _rate(down),
        "memory_bytes": short(memory_bytes),
        "count": len(names),
        "names": [str(name) for name in names.iloc[:MOST_NAMES]],
    }


def _rate(value: float) -> float | str | None:
    return "inf" if value == float("inf") else short(value)
