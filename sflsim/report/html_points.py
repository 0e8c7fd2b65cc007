"""The reports of a sweep and of a plan: many experiments as points, from their one table.

A sweep's table has a row per point, variant and seed; a plan's has a row per point, with the
booleans `pareto` and `recommended` (and, if it likes, `feasible`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sflsim.formatting import counted
from sflsim.report.html import Section, escape, page, short, table_html
from sflsim.report.html_curves import looks
from sflsim.report.html_run import origin
from sflsim.report.style import PALETTE

MOST_ROWS = 20_000
MEASURED = re.compile(
    r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*((?:[A-Za-z%/][A-Za-z%/ ]*)?)", re.ASCII
)
FLAGS = {"pareto": False, "recommended": False, "feasible": True, "exact": True}
"""The booleans of a plan's points, and what holds where a table has no such column."""
NAMES = {
    "accuracy": "final accuracy",
    "loss": "final loss",
    "time_s": "time",
    "rounds": "rounds",
    "uplink_bytes": "uplink",
    "downlink_bytes": "downlink",
    "client_busy_s": "client busy",
    "server_busy_s": "server busy",
    "energy_j": "energy",
    "peak_memory_bytes": "client memory",
    "run_rounds": "rounds of the whole run",
    "run_time_s": "time of the whole run",
}
SWEEP_FIGURES = ("time_s", "accuracy", *(name for name in NAMES if name not in ("time_s", "accuracy")))
SWEEP_TEXTS = ("variant", "seed", "status", "error")
SWEPT = (
    "Mean over seeds, the band spans the lowest and the highest. Where a target was set, time, rounds, "
    "bytes and energy are those to reach it; an open mark says that not every seed got there."
)
LONG = 24
"""Characters from which a text of a plain table gets a column of some width, so that it needs few lines."""
ROWS = "One row per point, variant and seed. Click a heading to sort."
FRONT = "Each mark is one way to build it. No other is better in all objectives than those of the front."


def sweep_report(
    table: pd.DataFrame,
    over: Sequence[str],
    *,
    name: str,
    description: str = "",
    scenario: str = "",
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Return the page of a sweep over the columns `over` of its table.

    Raises:
        SflsimError: plotly is not installed.
    """
    figures = [column for column in SWEEP_FIGURES if column in table and table[column].notna().any()]
    texts = [column for column in SWEEP_TEXTS if column in table and _tells(table[column])]
    names = [str(variant) for variant in table["variant"].unique()]
    shown = table.iloc[:MOST_ROWS]
    data = {
        "variants": looks(names),
        "points": {
            "over": list(over),
            "figures": figures,
            "columns": _columns(shown, [*over, *texts, *figures]),
            "variant": shown["variant"].map(names.index).tolist(),
        },
    }
    points = table["point"].nunique() if "point" in table else len(table.drop_duplicates(list(over)))
    failed = int((~table["status"].isin(["completed"])).sum()) if "status" in table else 0
    facts = [counted(points, "point"), counted(len(names), "variant"), counted(len(table), "run")]
    facts += [f"{failed} of them not completed"] if failed else []
    facts += [f"the first {MOST_ROWS} are in this file"] if len(table) > MOST_ROWS else []
    sections = [
        Section("sweep", "Sweep", SWEPT, drawn=True),
        Section("rows", "Table", ROWS, drawn=True),
        *origin(scenario, manifest),
    ]
    return page(name, description, facts, sections, data)


def plan_report(
    points: pd.DataFrame,
    *,
    decisions: Sequence[str],
    objectives: Sequence[str],
    name: str,
    description: str = "",
    reasons: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    scenario: str = "",
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Return the page of a plan: its answer in words, the front with hover, and `tables` below by title.

    All objectives are the better the less they are; a point that is not `exact` (where there is such
    a column) takes at least what its row says. `labels` are what columns are called, `units` those that no
    column name tells: a currency.

    Raises:
        SflsimError: plotly is not installed.
    """
    special = _flag(points, "pareto") | _flag(points, "recommended")
    ordinary = points.index[~special]
    every = max(1, -(-len(ordinary) // MOST_ROWS))
    kept = points[special | points.index.isin(ordinary[::every])]
    skip = {"point", *FLAGS, *decisions, *objectives}
    others = [str(column) for column in kept if column not in skip and _tells(kept[column])]
    data = {
        "variants": [],
        "plan": {
            "decisions": list(decisions),
            "objectives": list(objectives),
            "columns": [
                column | {"unit": (units or {}).get(column["key"], column["unit"])}
                for column in _columns(kept, [*decisions, *objectives, *others], labels or {})
            ],
            **{flag: _flag(kept, flag, default).astype(int).tolist() for flag, default in FLAGS.items()},
            "colors": {"front": PALETTE[0], "recommended": PALETTE[1]},
        },
    }
    facts = [counted(len(points), "point"), f"{int(_flag(points, 'pareto').sum())} on the front"]
    violating, open_ = ~_flag(points, "feasible", True), ~_flag(points, "exact", True)
    facts += [_given_up(points[open_])] if open_.any() else []
    facts += [f"{int((violating & ~open_).sum())} violate a constraint"] if (violating & ~open_).any() else []
    if "diverged" in points and (diverged := int((points["diverged"] != "").sum())):
        facts.append(f"{diverged} diverged")
    if len(kept) < len(points):
        facts.append(f"{len(kept)} of them are in this file")
    answer = "".join(_reason(text) for text in reasons)
    sections = [
        *([Section("answer", "Answer", "", answer)] if reasons else []),
        Section("plan", "Front", FRONT, drawn=True),
        *(
            Section(f"more-{number}", title, "", _plain_table(frame))
            for number, (title, frame) in enumerate((tables or {}).items())
        ),
        *origin(scenario, manifest),
    ]
    return page(name, description, facts, sections, data)


def _given_up(points: pd.DataFrame) -> str:
    """Return how many points were given up early, and how many of them for a constraint that they violate."""
    violating = int((points["violated"] != "").sum()) if "violated" in points else 0
    others = len(points) - violating
    known = [f"{violating} violate a constraint already"] if violating else []
    return f"{len(points)} given up early: " + ", ".join(known + ([f"{others} cannot win"] if others else []))


def _reason(text: str) -> str:
    """Return one line of the answer; "- " opens an item below the line before."""
    text = text.strip()
    kind = "answer item" if text.startswith("- ") else "answer"
    return f'<p class="{kind}">{escape(text.removeprefix("- "))}</p>'


def _columns(
    table: pd.DataFrame, names: Sequence[str], called: Mapping[str, str] = NAMES
) -> list[dict[str, Any]]:
    """Return each column as the page's scripts read it: values to show, and numbers to draw by, if any."""
    return [
        {"key": name, "name": called.get(name, name), **_numbers(table[name], name)}
        for name in dict.fromkeys(names)
    ]


def _numbers(column: pd.Series[Any], name: str) -> dict[str, Any]:
    """Return kind, unit and numbers of a column; texts such as "2 s" count where all have one unit."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = [short(value) for value in column.astype(float)]
        return {"kind": kind_of(name), "unit": "", "numbers": numbers, "texts": None}
    texts = ["" if value is None or value != value else str(value) for value in column]
    read = [MEASURED.fullmatch(text) for text in texts]
    units = {match[2].strip() for match in read if match}
    if texts and all(read) and len(units) == 1:
        numbers = [short(float(match[1])) for match in read if match]
        return {"kind": "", "unit": units.pop(), "numbers": numbers, "texts": texts}
    return {"kind": "text", "unit": "", "numbers": None, "texts": texts}


def kind_of(name: str) -> str:
    """Return what a column of figures measures, by the unit in its name: s, byte, J, share, or nothing."""
    if "accuracy" in name or name.endswith(("_share", "_margin")) or name.startswith("chance_"):
        return "share"
    if name.startswith("bytes_"):
        return "byte"
    ends = {"_s": "s", "_bytes": "byte", "_j": "J"}
    return next((kind for end, kind in ends.items() if name.endswith(end)), "")


def _flag(table: pd.DataFrame, name: str, default: bool = False) -> pd.Series[bool]:
    if name not in table:
        return pd.Series(default, index=table.index)
    return table[name].fillna(False).astype(bool)


def _tells(column: pd.Series[Any]) -> bool:
    """Tell whether a column has anything to say: a value that is there."""
    return bool((column.notna() & (column.astype(str) != "")).any())


def _plain_table(frame: pd.DataFrame) -> str:
    texts = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    first = next((place for place, kind in enumerate(frame.dtypes) if kind.kind in "fiu"), len(frame.columns))
    return table_html([str(name) for name in frame.columns], texts, text_columns=first, long=LONG)


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    return str(value)
