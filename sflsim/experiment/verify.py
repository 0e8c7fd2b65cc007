"""Whether a run's scenario gives the same again: its tables compared, value by value, and what made them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sflsim.errors import RunError
from sflsim.experiment.run import SAVED, Run
from sflsim.experiment.simulate import ProgressCallback, simulate
from sflsim.scenario.loading import load_scenario

TABLES = ("runs", *SAVED)
DIFFERENCES = ("table", "rows", "rows_again", "column", "differing", "largest")


@dataclass(frozen=True)
class Verification:
    """How a run compares with another of its scenario.

    `differences` has a row per table that is the same (no `column`) and per column that is not: how many
    values differ, and by which share of the larger value at most (NaN for texts, and where the numbers of
    rows differ). `versions` has what made both, then and now, by name; `changed_files` the tables of delays,
    rates and availability that do not say what they said when the run read them.
    """

    differences: pd.DataFrame
    versions: Mapping[str, tuple[str, str]]
    changed_files: list[str]

    @property
    def same(self) -> bool:
        """Tell whether all tables are equal to the last bit."""
        return not self.differences["differing"].any()


def verify(
    folder: str | Path,
    again: str | Path | None = None,
    *,
    trust: bool = False,
    workers: int = 1,
    cache: str | Path | bool | None = None,
    progress: ProgressCallback | None = None,
) -> Verification:
    """Simulate the scenario of a run folder as the run did, and return how the tables compare.

    With `again`, the folder of another run, nothing is simulated. Of a run that was interrupted, what had
    ended is compared. Without a cache all is computed anew.

    Raises:
        RunError: a folder is none of a run, or damaged, or nothing in it had ended.
        ScenarioError: what the scenario names is not here, or not trusted.
    """
    run = Run.load(folder, trust=trust)
    if (run.runs["status"] == "interrupted").all():
        raise RunError(f"{folder}: no run of it had ended, so there is nothing to compare; run it again")
    if again is not None:
        return compared(run, Run.load(again, trust=trust))
    made = run.manifest
    return compared(
        run,
        simulate(
            load_scenario(folder, trust=trust),
            workers=workers,
            device=made.get("device", "cpu"),
            timing_only=made.get("timing_only", False),
            keep_spans=made.get("spans") != "none",
            cache=cache,
            progress=progress,
        ),
    )


def compared(run: Run, again: Run) -> Verification:
    """Return how two runs of one scenario compare."""
    ended = None if run.status == "completed" else run.runs[run.runs["status"] != "interrupted"]
    rows = [
        row for name in TABLES for row in _differences(name, *(_of(ended, one, name) for one in (run, again)))
    ]
    files, files_again = (dict(one.manifest.get("files") or {}) for one in (run, again))
    left = sorted(files_again.values())
    changed = [file for file, content in files.items() if content not in left]
    return Verification(
        pd.DataFrame(rows, columns=list(DIFFERENCES)), _versions(run.manifest, again.manifest), changed
    )


def _of(ended: pd.DataFrame | None, run: Run, name: str) -> pd.DataFrame:
    """Return a table; if not all runs ended, its rows of the variants and seeds that did."""
    table: pd.DataFrame = getattr(run, name)
    if ended is None:
        return table
    of_table, keys = (pd.MultiIndex.from_frame(one[["variant", "seed"]]) for one in (table, ended))
    return table[of_table.isin(keys)].reset_index(drop=True)


def _differences(name: str, table: pd.DataFrame, again: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield a row per column that differs, or one for a table that does not."""
    counts = (name, len(table), len(again))
    if len(table) != len(again):
        yield (*counts, "", abs(len(table) - len(again)), math.nan)
        return
    found, missing = 0, pd.Series(math.nan, index=table.index)
    for column in table.columns.union(again.columns, sort=False):
        one, other = (held.get(column, missing) for held in (table, again))
        differ = ((one != other) & ~(one.isna() & other.isna())).to_numpy(dtype=bool)
        if differ.any():
            found += 1
            yield (*counts, column, int(differ.sum()), _largest(one[differ], other[differ]))
    if not found:
        yield (*counts, "", 0, 0.0)


def _largest(one: pd.Series[Any], other: pd.Series[Any]) -> float:
    """Return the largest difference of two columns as a share of the larger value; NaN for texts."""
    if not all(map(pd.api.types.is_numeric_dtype, (one, other))):
        return math.nan
    values, others = one.to_numpy(np.float64), other.to_numpy(np.float64)
    with np.errstate(invalid="ignore"):
        shares = np.abs(values - others) / np.maximum(np.abs(values), np.abs(others))
    return float(np.nan_to_num(shares, nan=math.inf, posinf=math.inf).max())


def _versions(made: Mapping[str, Any], made_again: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return versions, commit and platform of both, by name."""
    both = [
        {
            **one.get("versions", {}),
            **{name: one.get("provenance", {}).get(name) for name in ("commit", "platform")},
        }
        for one in (made, made_again)
    ]
    names = dict.fromkeys(name for one in both for name, value in one.items() if value)
    return {name: (str(both[0].get(name) or "?"), str(both[1].get(name) or "?")) for name in names}
