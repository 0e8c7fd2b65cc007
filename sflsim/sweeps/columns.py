"""The summary of a sweep as columns of texts, for the terminal, notebooks and LaTeX."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from sflsim.formatting import NONE, byte_unit, in_one_unit, time_unit

if TYPE_CHECKING:
    from sflsim.sweeps.sweep import Sweep


def sweep_columns(sweep: Sweep, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of rows of `sweep.summary()` as texts, by heading: one unit per column."""
    columns = {name: [str(cell) for cell in rows[name]] for name in ("point", *sweep.over, "variant")}
    if rows["broken"].any():
        columns["broken"] = [str(count) if count else "" for count in rows["broken"]]
    columns["accuracy (%)"] = [NONE if math.isnan(one) else f"{100 * one:.1f}" for one in rows["accuracy"]]
    if sweep.table["target"].notna().any():
        pairs = zip(rows["reached"], rows["seeds"], strict=True)
        columns["seeds there"] = [f"{reached}/{seeds}" for reached, seeds in pairs]
    for column, header, unit_of in (("time_s", "time", time_unit), ("uplink_bytes", "uplink", byte_unit)):
        header, texts = in_one_unit(header, rows[column], unit_of)
        columns[header] = texts
    return columns
