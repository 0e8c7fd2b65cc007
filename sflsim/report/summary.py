"""One row per variant: what accuracy it reached and at what cost. Imports report modules only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from sflsim.report.amounts import NONE, byte_unit, count_text, joule_unit, number_text, target_text, time_unit
from sflsim.report.tables import (
    EVALUATION_COLUMNS,
    RUN_COLUMNS,
    first_at_target,
    last_evaluations,
    measured,
    variants_of,
    with_columns,
)

COSTS = {
    "rounds": "round",
    "time_s": "time_s",
    "uplink_bytes": "uplink_bytes",
    "downlink_bytes": "downlink_bytes",
    "client_busy_s": "client_busy_s",
    "server_busy_s": "server_busy_s",
    "energy_j": "energy_j",
}
SUMMARY_COLUMNS = (
    "variant",
    "status",
    "seeds",
    "accuracy_mean",
    "accuracy_std",
    "target",
    "seeds_reached",
    *COSTS,
    "peak_memory_bytes",
    "dropped",
    "wasted_s",
    "wasted_bytes",
)

WASTE = ("dropped", "wasted_s", "wasted_bytes")

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
WASTE_COLUMNS = (("wasted_s", "wasted time", time_unit), ("wasted_bytes", "wasted traffic", byte_unit))


def summarize(
    evaluations: pd.DataFrame | None, runs: pd.DataFrame | None, target: float | None = None
) -> pd.DataFrame:
    """Return one row per variant, in scenario order, with the columns `SUMMARY_COLUMNS`.

    `accuracy_mean` and `accuracy_std` (sample standard deviation, NaN for one seed) are over the last
    evaluation of every seed but those that diverged: these have no final accuracy. `rounds` to
    `energy_j` are means over the seeds that reached `target`, at their first evaluation at or above it,
    NaN where none did. Without a target, or when nothing was trained, they are means over all seeds that
    did not diverge at the end of the run, and `target` and `seeds_reached` have no value. `dropped`
    participations and what they did for nothing
    (seconds at the device, bytes) are means over all seeds, of the whole run.
    """
    runs = with_columns(runs, RUN_COLUMNS)
    accuracies = measured(evaluations)
    if accuracies.empty:
        target = None
    final = _not_diverged(last_evaluations(accuracies), runs)
    if target is None:
        costs = _not_diverged(_whole_runs(evaluations, runs), runs)
    else:
        costs = first_at_target(evaluations, target)
    rows = []
    for variant in variants_of(runs, with_columns(evaluations, EVALUATION_COLUMNS)):
        own, own_costs = runs[runs["variant"] == variant], costs[costs["variant"] == variant]
        accuracy = final.loc[final["variant"] == variant, "accuracy"].astype(float)
        rows.append(
            {
                "variant": variant,
                "status": status_of(own["status"]),
                "seeds": len(own) or len(accuracy),
                "accuracy_mean": accuracy.mean(),
                "accuracy_std": accuracy.std(ddof=1),
                "target": math.nan if target is None else target,
                "seeds_reached": pd.NA if target is None else len(own_costs),
                **{name: own_costs[column].astype(float).mean() for name, column in COSTS.items()},
                "peak_memory_bytes": own["client_memory_bytes"].astype(float).max(),
                **{name: own[name].astype(float).mean() for name in WASTE},
            }
        )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype(
        {"seeds": "int64", "seeds_reached": "Int64"}
    )


def _not_diverged(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs that did not diverge."""
    diverged = pd.MultiIndex.from_frame(runs.loc[runs["status"] == "diverged", ["variant", "seed"]])
    return table[~pd.MultiIndex.from_frame(table[["variant", "seed"]]).isin(diverged)]


def _whole_runs(evaluations: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame:
    """Return what each run cost: rounds, time and server from `runs`, the rest from its last evaluation.

    An evaluation that lies before the run's last round says nothing of the whole run.
    """
    last = last_evaluations(with_columns(evaluations, EVALUATION_COLUMNS))
    if runs.empty:
        return last
    keys = ["variant", "seed"]
    known = runs.rename(columns={"rounds": "round"})[[*keys, "round", "time_s", "server_busy_s"]]
    both = known.merge(last, on=keys, how="left", suffixes=("", "_evaluated"))
    for column in ("round", "time_s", "server_busy_s"):
        both[column] = both[column].astype(float).fillna(both[f"{column}_evaluated"].astype(float))
    traffic = ["uplink_bytes", "downlink_bytes", "client_busy_s", "energy_j"]
    both[traffic] = both[traffic].astype(float).where(both["round_evaluated"].astype(float) >= both["round"])
    return both


def status_of(statuses: pd.Series[str]) -> str:
    """Return "completed", or each other status with its number of runs: "diverged 1 of 3"."""
    counts = statuses.dropna().value_counts(sort=False)
    others = [name for name in counts.index if name != "completed"]
    if not others:
        return "completed" if len(counts) else ""
    if len(counts) == 1:
        return str(others[0])
    return ", ".join(f"{name} {counts[name]} of {len(statuses)}" for name in others)


def early_ends(runs: pd.DataFrame) -> list[str]:
    """Return a line for each run that stalled or diverged: which, when, and why or what to turn."""
    early = runs[runs["status"].isin(["stalled", "diverged"])]
    return [
        f"{row['variant']} seed {row['seed']} {row['status']} {row['reason']}"
        for row in early.to_dict(orient="records")
    ]


def format_summary(summary: pd.DataFrame) -> Table:
    """Return `summarize`'s table for a terminal: one unit per column, and a caption that explains it."""
    targets = summary["target"].dropna()
    thrown_away = summary["dropped"].fillna(0).max() > 0
    target = float(targets.iloc[0]) if len(targets) else None
    columns = {"variant": [_name(row) for row in summary.to_dict("records")]}
    columns["final accuracy (%)"] = [
        _accuracy_text(mean, std)
        for mean, std in zip(summary["accuracy_mean"], summary["accuracy_std"], strict=True)
    ]
    if target is not None:
        pairs = zip(summary["seeds_reached"], summary["seeds"], strict=True)
        columns[f"seeds at {target_text(target)}".replace(" %", "%")] = [
            f"{reached}/{seeds}" for reached, seeds in pairs
        ]
    columns["rounds"] = [count_text(rounds) for rounds in summary["rounds"]]
    metered = summary["energy_j"].fillna(0).max() > 0
    # 80 characters hold no more: energy stands in place of busy seconds, and waste is then told below.
    beside = WASTE_COLUMNS if thrown_away else ()
    shown = METERED_COLUMNS if metered else (*COLUMNS, *beside)
    for column, header, unit_of in shown:
        unit, size = unit_of(float(summary[column].max()))
        columns[f"{header} ({unit})" if summary[column].notna().any() else header] = [
            number_text(value / size) for value in summary[column].astype(float)
        ]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        caption=_caption(summary, target, told=metered),
        caption_justify="left",
        show_edge=False,
    )
    # Only names wrap, so that eleven columns stay readable in a terminal of 80 characters.
    for header in columns:
        if header == "variant":
            words = [len(word) for name in columns[header] for word in name.split()]
            left = LINE - sum(_width(name, cells) + 1 for name, cells in columns.items() if name != header)
            least = min(max(words, default=0), 24, max(left, len(header)))
            table.add_column(header, overflow="fold", vertical="bottom", min_width=least)
        else:
            table.add_column(header.replace(" ", "\n"), justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _width(header: str, cells: Sequence[str]) -> int:
    """Return the width of a column of figures, its heading in a line for each word."""
    return max(map(len, [*header.split(), *cells]))


def _name(row: Mapping[Hashable, Any]) -> str:
    """Return a variant's name, with its status where a run was not completed."""
    return str(row["variant"]) + ("" if row["status"] in ("completed", "") else f" ({row['status']})")


def _waste_text(row: Mapping[Hashable, Any]) -> str:
    """Return what the dropped participants of a variant did: "38 min, 417 MiB"."""
    texts = []
    for column, _, unit_of in WASTE_COLUMNS:
        unit, size = unit_of(float(row[column]))
        texts.append(f"{number_text(float(row[column]) / size)} {unit}")
    return ", ".join(texts)


def _accuracy_text(mean: float, std: float) -> str:
    spread = f" ±{100 * std:.1f}" if math.isfinite(std) else ""
    return f"{100 * mean:.1f}{spread}" if math.isfinite(mean) else NONE


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
            [*lines, "Rounds to server busy: the whole run, mean over seeds. '-': not measured."]
        )
    seeds = "mean over the seeds that got there" if summary["seeds"].max() > 1 else "in its one seed"
    lines.append(
        f"Rounds to server busy: up to the first evaluation at {target_text(target)} or more, {seeds}."
    )
    return "\n".join(
        [*lines, "'-': not reached by any seed." if summary["seeds"].max() > 1 else "'-': not reached."]
    )


def derived_costs(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line on the costs that a run of the clock alone had to ask the model for, if there are any."""
    keys = manifest.get("derived_costs", [])
    if not keys:
        return []
    return [f"note: torch was loaded to derive what workload.costs leaves out: {', '.join(keys)}"]
