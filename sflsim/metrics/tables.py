"""Reading a run's tables: columns that exist, variants in order, chosen evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sflsim.record.tables import COLUMNS, SPANS

EVALUATION_COLUMNS, RUN_COLUMNS = tuple(COLUMNS["evaluations"]), tuple(COLUMNS["runs"])
SPAN_COLUMNS = tuple(SPANS)

NO_SPANS = (
    "the run kept no spans (--spans none, or keep_spans=False); run it again with them, if it is large "
    "for a few rounds alone (--set stop.rounds=5)"
)


def why_no_spans(manifest: Mapping[str, Any]) -> str:
    """Return why the table of spans of a run is empty, and the remedy."""
    return NO_SPANS if manifest.get("spans") == "none" else "no spans were recorded"


def with_columns(table: pd.DataFrame | None, columns: Sequence[str]) -> pd.DataFrame:
    """Return `table` with exactly `columns`; missing ones are NaN."""
    return (pd.DataFrame() if table is None else table).reindex(columns=list(columns))


def measured(evaluations: pd.DataFrame | None) -> pd.DataFrame:
    """Return the evaluations that have an accuracy; a timing-only run has none."""
    table = with_columns(evaluations, EVALUATION_COLUMNS)
    return table[table["accuracy"].notna()]


def variants_of(*tables: pd.DataFrame | None) -> list[str]:
    """Return the variants named in any of `tables`, in the order of their first appearance."""
    names = [
        name
        for table in tables
        if table is not None and "variant" in table
        for name in table["variant"].unique()
    ]
    return list(dict.fromkeys(str(name) for name in names))


def first_at_target(evaluations: pd.DataFrame | None, target: float) -> pd.DataFrame:
    """Return, for each variant and seed that reached `target`, its first evaluation at or above it."""
    table = measured(evaluations)
    reached = table[table["accuracy"] >= target].sort_values("time_s", kind="stable")
    return reached.drop_duplicates(["variant", "seed"]).sort_index()


def last_evaluations(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of each variant and seed."""
    return evaluations.sort_values("time_s", kind="stable").drop_duplicates(["variant", "seed"], keep="last")
