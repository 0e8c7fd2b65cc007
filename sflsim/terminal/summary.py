"""The summary of a run as a table for the terminal."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table

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
from sflsim.terminal.tables import add_rows, new_table

UNDECIDED = "~"
LINE = 80
"""Characters that a terminal has at least."""


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


def format_summary(summary: pd.DataFrame) -> Table:
    """Return `summarize`'s table for a terminal: one unit per column, and a caption that explains it."""
    targets = summary["target"].dropna()
    thrown_away = summary["dropped"].fillna(0).max() > 0
    target = float(targets.iloc[0]) if len(targets) else None
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
    metered = summary["energy_j"].fillna(0).max() > 0
    # 80 characters hold no more: energy stands in place of busy seconds, and waste is then told below.
    beside = WASTE_COLUMNS if thrown_away else ()
    shown = METERED_COLUMNS if metered else (*COLUMNS, *beside)
    for column, header, unit_of in shown:
        header, texts = in_one_unit(header, summary[column], unit_of)
        if column == "time_s":
            marked = summary["undecided"] & summary["time_s"].notna()
            texts = [text + UNDECIDED * is_one for text, is_one in zip(texts, marked, strict=True)]
        columns[header] = texts
    table = new_table(caption=_caption(summary, target, told=metered), padding=0)
    # Only names wrap, so that eleven columns stay readable in a terminal of 80 characters.
    for header in columns:
        if header == "variant":
            words = [len(word) for name in columns[header] for word in name.split()]
            left = LINE - sum(_width(name, cells) + 1 for name, cells in columns.items() if name != header)
            least = min(max(words, default=0), 24, max(left, len(header)))
            table.add_column(header, overflow="fold", vertical="bottom", min_width=least)
        else:
            table.add_column(header.replace(" ", "\n"), justify="right", no_wrap=True)
    add_rows(table, zip(*columns.values(), strict=True))
    return table


def _width(header: str, cells: Sequence[str]) -> int:
    """Return the width of a column of figures, its heading in a line for each word."""
    return max(map(len, [*header.split(), *cells]))


def _name(row: Mapping[Hashable, Any]) -> str:
    """Return a variant's name, with its status where a run was not completed."""
    return str(row["variant"]) + ("" if row["status"] in ("completed", "") else f" ({row['status']})")


def _waste_text(row: Mapping[Hashable, Any]) -> str:
    """Return what the dropped participants of a variant did: "38 min, 417 MiB"."""
    return ", ".join(in_unit(float(row[column]), unit_of) for column, _, unit_of in WASTE_COLUMNS)


def _caption(summary: pd.DataFrame, target: float | None, told: bool) -> str:
    """Return what the figures mean, and what '-' says in the table; the waste if it is `told` here."""
    lines = ["No accuracy was evaluated."]
    if summary["accuracy_mean"].notna().any():
        spread = ", mean ± standard deviation over seeds" if summary["accuracy_std"].notna().any() else ""
        lines = [f"Final accuracy: at the last evaluation{spread}."]
    if summary["status"].str.contains("diverged").any():
        lines.append("Runs that diverged have none; the means leave them out.")
    if summary["dropped"].fillna(0).max() > 0:
        lines.append("Wasted: what dropped participants did, at the device, over the whole run.")
        lines += [f"  {_name(row)}: {_waste_text(row)}" for row in summary.to_dict("records") if told]
    if target is None:
        return "\n".join(
            [*lines, PEAK, "Rounds to server busy: the whole run, mean over seeds. '-': not measured."]
        )
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
    return "\n".join(lines)
