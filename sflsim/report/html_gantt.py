"""The Gantt data of the report: the first rounds of every run, as many as the page has room for.

A round of an asynchronous run is the time from one update of the global model to the next.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from sflsim.metrics.contributions import SERVER
from sflsim.metrics.tables import SPAN_COLUMNS, variants_of, with_columns
from sflsim.report.gantt import BARS, LEGEND, natural, spread, updates_s, with_rows
from sflsim.report.html import short
from sflsim.rows import CONTRIBUTION

MOST_SPANS = 40_000
"""Spans in one page, over all runs: about a megabyte."""
LEAST_SPANS = 600
"""Spans of a run below which fewer seeds are kept instead."""
MOST_CLIENTS = 20
MOST_SLOTS = 8


def gantt(spans: pd.DataFrame | None, names: list[str], room: int = MOST_SPANS) -> dict[str, Any] | None:
    """Return what the Gantt section draws, None without spans; `note` says what was left out."""
    table = _ended(spans)
    if table.empty:
        return None
    seeds = list(table["seed"].unique())
    variants = variants_of(table)
    kept = seeds[: max(1, room // (LEAST_SPANS * len(variants)))]
    each = room // (len(variants) * len(kept))
    runs = [
        {"variant": names.index(variant), "seed": int(seed), **_run(own, each)}
        for variant in variants
        for seed in kept
        if not (own := table[(table["variant"] == variant) & (table["seed"] == seed)]).empty
    ]
    note = f"seeds {', '.join(map(str, kept))} of {len(seeds)}" if len(kept) < len(seeds) else ""
    return gantt_of(runs, note)


def gantt_of(runs: list[dict[str, Any]], note: str = "") -> dict[str, Any]:
    """Return what the Gantt section draws of some runs, each with `variant` and `seed`."""
    drawn = {number for run in runs for number in run["activity"]}
    return {
        "activities": [
            {"name": name, "label": label, "color": color, "top": top, "bottom": bottom}
            for name, (label, color, top, bottom) in BARS.items()
        ],
        "legend": [name for name in LEGEND if list(BARS).index(name) in drawn],
        "runs": runs,
        "note": note,
    }


def gantt_run(spans: pd.DataFrame, room: int) -> dict[str, Any] | None:
    """Return the first rounds of one run, of at most about `room` spans; None without spans."""
    table = _ended(spans)
    return None if table.empty else _run(table, room)


def _ended(spans: pd.DataFrame | None) -> pd.DataFrame:
    """Return the spans that have a start and an end."""
    table = with_columns(spans, SPAN_COLUMNS)
    return table[np.isfinite(table["start_s"].astype(float)) & np.isfinite(table["end_s"].astype(float))]


def _run(own: pd.DataFrame, room: int) -> dict[str, Any]:
    """Return the spans of the first rounds of one run, column by column, and the rows they stand in."""
    updates = updates_s(own)
    own = own[own["activity"] != CONTRIBUTION]
    rounds = np.sort(own["round"].unique())
    server = own["actor"].astype(str).str.fullmatch(SERVER).to_numpy(dtype=bool)
    shown, parted = _shown_clients(own[~server])
    key = pd.MultiIndex.from_frame(own[["round", "client"]])
    fits = server | key.isin(shown)
    counts = own[fits].groupby("round").size().reindex(rounds, fill_value=0)
    some_jobs = int(counts.iloc[0]) > room
    if some_jobs:
        fits &= key.isin(shown)
        counts = own[fits].groupby("round").size().reindex(rounds, fill_value=0)
    first = rounds[: max(1, int((counts.cumsum() <= room).sum()))]
    inside = own["round"].isin(first).to_numpy()
    if updates is not None:  # what begins in the time shown and ends after it
        inside = inside | (own["start_s"] < own["end_s"][inside].max()).to_numpy()
    table = with_rows(own[fits & inside])
    seen = pd.MultiIndex.from_frame(table[["round", "row_of"]]).isin(shown)
    table = table[(table["activity"] != "server") | seen]
    slots = sorted((name for name in table["row_of"].unique() if re.fullmatch(SERVER, name)), key=natural)
    slots = [name for name in slots if name != "server"]
    clients = sorted(set(table["row_of"]) - {"", "server", *slots}, key=natural)
    rows = {name: row for row, name in enumerate([*clients, *slots[:MOST_SLOTS]])}
    table = table[table["row_of"].isin(list(rows)) & table["activity"].isin(list(BARS))]
    notes = [f"rounds {first[0]} to {first[-1]} of {rounds[-1]}"] if len(first) < len(rounds) else []
    notes += [f"up to {MOST_CLIENTS} of {parted} clients in a round"] if parted > MOST_CLIENTS else []
    notes += [f"{MOST_SLOTS} of {len(slots)} server slots"] if len(slots) > MOST_SLOTS else []
    notes += ["the server's work for these clients only"] if some_jobs else []
    return {
        "rows": [re.sub(r"^server:(\d+)$", r"server slot \1", name) for name in rows],
        "clients": len(clients),
        "rounds": [int(number) for number in first],
        "ends_s": None if updates is None else [short(value, 9) for value in _ends_s(own, first)],
        "notes": notes,
        "activity": table["activity"].map(list(BARS).index).tolist(),
        "row": table["row_of"].map(rows).tolist(),
        "round": table["round"].tolist(),
        "start_s": [short(value, 9) for value in table["start_s"]],
        "end_s": [short(value, 9) for value in table["end_s"]],
        "wasted": table["outcome"].isin(("wasted", "lost")).astype(int).tolist(),
    }


def _ends_s(own: pd.DataFrame, rounds: np.ndarray[Any, Any]) -> list[float]:
    """Return when each of some rounds ended."""
    ends_s = own.groupby("round")["end_s"].max()
    return [float(ends_s[number]) for number in rounds]


def _shown_clients(own: pd.DataFrame) -> tuple[list[tuple[int, str]], int]:
    """Return (round, client) of those drawn, spread evenly over each round's, and the most in a round."""
    shown: list[tuple[int, str]] = []
    most = 0
    for number, clients in own.groupby("round")["client"].unique().items():
        names = sorted((str(name) for name in clients), key=natural)
        most = max(most, len(names))
        shown += [(int(str(number)), name) for name in spread(names, MOST_CLIENTS)]
    return shown, most
