"""The summary: one row per variant, with its accuracy and its costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sflsim.metrics.client_accuracy import spreads
from sflsim.metrics.comparison import times_to_target, undecided_beside_fastest
from sflsim.metrics.tables import (
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
    "undecided",
    "peak_memory_bytes",
    "dropped",
    "wasted_s",
    "wasted_bytes",
    "client_accuracy_std",
)

WASTE = ("dropped", "wasted_s", "wasted_bytes")


def summarize(
    evaluations: pd.DataFrame | None,
    runs: pd.DataFrame | None,
    target: float | None = None,
    clients: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row per variant, in scenario order, with the columns `SUMMARY_COLUMNS`.

    `accuracy_mean` and `accuracy_std` (sample standard deviation, NaN for one seed) are over the last
    evaluations of the seeds that did not diverge. `rounds` to `energy_j` are means over the seeds that
    reached `target`, at their first evaluation at or above it; NaN if none did. Without a target or without
    training, they are means over the seeds that did not diverge, at the end of the run, and `target` and
    `seeds_reached` have no value. `undecided` says whether the seeds cannot tell its time to the target from
    that of the fastest (95 % interval of the ratio, paired by seed). `dropped`, `wasted_s` (seconds of
    clients) and `wasted_bytes` are means over all seeds, of the whole run. `client_accuracy_std` is how far
    the accuracies of the last model differ among `clients`, if they were evaluated: their standard
    deviation, mean over the seeds.
    """
    runs = with_columns(runs, RUN_COLUMNS)
    accuracies = measured(evaluations)
    if accuracies.empty:
        target = None
    undecided: list[str] = []
    final = _not_diverged(last_evaluations(accuracies), runs)
    if target is None:
        costs = _not_diverged(_whole_runs(evaluations, runs), runs)
    else:
        costs = first_at_target(evaluations, target)
        undecided = undecided_beside_fastest(times_to_target(accuracies, runs, target))
    spread = spreads(clients)
    rows = []
    for variant in variants_of(runs, with_columns(evaluations, EVALUATION_COLUMNS)):
        of_variant, its_costs = runs[runs["variant"] == variant], costs[costs["variant"] == variant]
        accuracy = final.loc[final["variant"] == variant, "accuracy"].astype(float)
        rows.append(
            {
                "variant": variant,
                "status": status_of(of_variant["status"]),
                "seeds": len(of_variant) or len(accuracy),
                "accuracy_mean": accuracy.mean(),
                "accuracy_std": accuracy.std(ddof=1),
                "target": math.nan if target is None else target,
                "seeds_reached": pd.NA if target is None else len(its_costs),
                **{name: its_costs[column].astype(float).mean() for name, column in COSTS.items()},
                "undecided": variant in undecided,
                "peak_memory_bytes": of_variant["client_memory_bytes"].astype(float).max(),
                **{name: of_variant[name].astype(float).mean() for name in WASTE},
                "client_accuracy_std": spread.get(variant, math.nan),
            }
        )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS)).astype(
        {"seeds": "int64", "seeds_reached": "Int64", "undecided": "bool"}
    )


def _not_diverged(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs that did not diverge."""
    diverged = pd.MultiIndex.from_frame(runs.loc[runs["status"] == "diverged", ["variant", "seed"]])
    return table[~pd.MultiIndex.from_frame(table[["variant", "seed"]]).isin(diverged)]


def _whole_runs(evaluations: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the costs of whole runs: rounds, time and server from `runs`, the rest from the last evaluation.

    The rest is NaN if the last evaluation precedes the run's last round.
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
    """Return a line for each run that stalled or diverged, with the reason."""
    early = runs[runs["status"].isin(["stalled", "diverged"])]
    return [
        f"{row['variant']} seed {row['seed']} {row['status']} {row['reason']}"
        for row in early.to_dict(orient="records")
    ]


def derived_costs(manifest: Mapping[str, Any]) -> list[str]:
    """Return a line on the costs that a timing-only run derived from the model, if any."""
    keys = manifest.get("derived_costs", [])
    if not keys:
        return []
    return [f"note: torch was loaded to derive what workload.costs leaves out: {', '.join(keys)}"]
