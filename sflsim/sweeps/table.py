"""The one table of a sweep: a row per point, variant and seed; a column for each path that is swept.

Beside a path whose values are amounts stands a column of their numbers (`sflsim.sweeps.swept`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from sflsim.sweeps.swept import amounts_of, swept_columns

FIGURES = {
    "variant": "str",
    "seed": "int64",
    "algorithm": "str",
    "status": "str",
    "reason": "str",
    "error": "str",
    "accuracy": "float64",
    "loss": "float64",
    "target": "float64",
    "reached": "bool",
    "rounds": "float64",
    "time_s": "float64",
    "uplink_bytes": "float64",
    "downlink_bytes": "float64",
    "client_busy_s": "float64",
    "server_busy_s": "float64",
    "energy_j": "float64",
    "peak_memory_bytes": "float64",
    "run_rounds": "float64",
    "run_time_s": "float64",
}
"""`accuracy` and `loss` are those of the last evaluation, NaN of a run that diverged; `rounds` to
`energy_j` are up to the first evaluation at `target` (NaN if it was not `reached`), or up to the run's end
where there is no target;
`run_rounds` and `run_time_s` are the whole run's. `status` is completed, diverged or failed."""
ABSENT = {"str": "", "float64": math.nan, "bool": False}
COSTS = ("accuracy", "rounds", "time_s", "uplink_bytes", "downlink_bytes", "energy_j")


def sweep_table(over: Mapping[str, Sequence[Any]], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table; a row gives `point`, its `values` by path, and the figures it has."""
    rows = list(rows)
    columns: dict[str, pd.Series[Any]] = {"point": pd.Series([row["point"] for row in rows], dtype="int64")}
    for path, values in over.items():
        kind = _kind(values)
        cells = [row["values"][path] for row in rows]
        columns[path] = pd.Series([_text(cell) for cell in cells] if kind == "str" else cells, dtype=kind)
        if kind == "str" and (amounts := amounts_of(path, values)) is not None:
            name, numbers = amounts
            by_text = dict(zip(map(_text, values), numbers, strict=True))
            columns[name] = pd.Series([by_text[_text(cell)] for cell in cells], dtype="float64")
    for name, kind in FIGURES.items():
        columns[name] = pd.Series([row.get(name, ABSENT.get(kind)) for row in rows], dtype=kind)
    return pd.DataFrame(columns)


def _kind(values: Sequence[Any]) -> str:
    """Return the type of a path's column: numbers where all values are, else text."""
    kinds = {type(value) for value in values}
    if kinds <= {int}:
        return "int64"
    if kinds <= {int, float}:
        return "float64"
    return "bool" if kinds == {bool} else "str"


def _text(value: Any) -> str:
    """Return a value as one would write it in YAML, in one line."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def summarize_sweep(table: pd.DataFrame, over: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return one row per point and variant: means over the seeds, how many reached the target or failed."""
    keys = ["point", *swept_columns(over, map(str, table)), "variant"]
    groups = table.groupby(keys, sort=False, dropna=False)
    counts = groups.agg(
        seeds=("seed", "size"),
        broken=("status", lambda status: int((status != "completed").sum())),
        reached=("reached", "sum"),
    )
    return pd.concat([counts, groups[list(COSTS)].mean()], axis=1).reset_index()
