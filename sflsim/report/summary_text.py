"""The summary of a run in words: a column of texts for each figure, and what the figures mean.

The terminal, notebooks and LaTeX show the same columns.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from sflsim.formatting import (
    accuracy_text,
    byte_unit,
    in_one_unit,
    in_unit,
    joule_unit,
    mean_text,
    target_text,
    time_unit,
)

UNDECIDED = "~"


# column, header, and how its unit is chosen from the largest value
COLUMNS = (
    ("time_s", "time", time_unit),
    ("uplink_bytes", "uplink", byte_unit),
    ("downlink_bytes", "downlink", byte_unit),
    ("client_busy_s", "client busy", time_unit),
    ("server_busy_s", "server busy", time_unit),
    ("peak_memory_bytes", "client memory", byte_unit),
)


METERED_COLUMNS = tuple(
    ("energy_j", "client energy", joule_unit) if column[0] == "client_busy_s" else column
    for column in COLUMNS
)


PEAK = "Client memory: its peak in the whole run."
WASTE_COLUMNS = (("wasted_s", "wasted time", time_unit), ("wasted_bytes", "wasted traffic", byte_unit))


def summary_columns(summary: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of `summarize`'s table as texts, by heading: one unit per column."""
    target = _target(summary)
    columns = {"variant": [_name(row) for row in summary.to_dict("records")]}
    columns["final accuracy (%)"] = [
        accuracy_text(mean, std)
        for mean, std in zip(summary["accuracy_mean"], summary["accuracy_std"], strict=True)
    ]
    if target is not None:
        pairs = zip(summary["seeds_reached"], summary["seeds"], strict=True)
        columns[f"seeds at {target_text(target)}".replace(" %", "%")] = [
            f"{reached}/{seeds}" for reached, seeds in pairs
        ]
    columns["rounds"] = [mean_text(rounds) for rounds in summary["rounds"]]
    # 80 characters hold no more: energy stands in place of busy seconds, and waste is then told below.
    beside = WASTE_COLUMNS if _has_waste(summary) else ()
    shown = METERED_COLUMNS if _is_metered(summary) else (*COLUMNS, *beside)
    for column, header, unit_of in shown:
        header, texts = in_one_unit(header, summary[column], unit_of)
        if column == "time_s":
            marked = summary["undecided"] & summary["time_s"].notna()
            texts = [text + UNDECIDED * is_one for text, is_one in zip(texts, marked, strict=True)]
        columns[header] = texts
    return columns


def _target(summary: pd.DataFrame) -> float | None:
    targets = summary["target"].dropna()
    return float(targets.iloc[0]) if len(targets) else None


def _is_metered(summary: pd.DataFrame) -> bool:
    return bool(summary["energy_j"].fillna(0).max() > 0)


def _has_waste(summary: pd.DataFrame) -> bool:
    return bool(summary["dropped"].fillna(0).max() > 0)


def _name(row: Mapping[Hashable, Any]) -> str:
    """Return a variant's name, with its status where a run was not completed."""
    return str(row["variant"]) + ("" if row["status"] in ("completed", "") else f" ({row['status']})")


def _waste_text(row: Mapping[Hashable, Any]) -> str:
    """Return what the dropped participants of a variant did: "38 min, 417 MiB"."""
    return ", ".join(in_unit(float(row[column]), unit_of) for column, _, unit_of in WASTE_COLUMNS)


def summary_notes(summary: pd.DataFrame) -> list[str]:
    """Return lines on what the figures mean, and what '-' says; on waste that has no columns."""
    target = _target(summary)
    lines = ["No accuracy was evaluated."]
    if summary["accuracy_mean"].notna().any():
        spread = ", mean ± standard deviation over seeds" if summary["accuracy_std"].notna().any() else ""
        lines = [f"Final accuracy: at the last evaluation{spread}."]
    if summary["status"].str.contains("diverged").any():
        lines.append("Runs that diverged have none; the means leave them out.")
    if _has_waste(summary):
        lines.append("Wasted: what dropped participants did, at the device, over the whole run.")
        lines += [
            f"  {_name(row)}: {_waste_text(row)}"
            for row in summary.to_dict("records")
            if _is_metered(summary)
        ]
    if summary["client_accuracy_std"].notna().any():
        lines.append("Among clients the accuracy of the last model differs by (standard deviation):")
        lines += [
            f"  {_name(row)}: {100 * float(row['client_accuracy_std']):.1f} points"
            for row in summary.to_dict("records")
            if not math.isnan(row["client_accuracy_std"])
        ]
    if target is None:
        return [*lines, PEAK, "Rounds to server busy: the whole run, mean over seeds. '-': not measured."]
    seeds = "mean over the seeds that got there" if summary["seeds"].max() > 1 else "in its one seed"
    lines.append(
        f"Rounds to server busy: up to the first evaluation at {target_text(target)} or more, {seeds}."
    )
    nobody = "not reached by any seed" if summary["seeds"].max() > 1 else "not reached"
    lines += [PEAK, f"'-': {nobody}."]
    if (summary["undecided"] & summary["time_s"].notna()).any():
        same = "these seeds cannot tell its time from that of the fastest ('sflsim compare RUN')"
        lines.append(f"'{UNDECIDED}': {same}.")
    if summary["seeds_reached"].max() == 0:
        lines.append("No variant reached the target: 'sflsim summary RUN --target ...' shows another.")
    return lines
