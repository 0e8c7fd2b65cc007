"""An explanation of a run for the terminal, and the trace of chosen rounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd
from rich.table import Table

from sflsim.errors import SflsimError
from sflsim.explainer.explain import Explanation
from sflsim.formatting import NONE, counted, csv_text, number_text, seconds_text
from sflsim.terminal.tables import add_columns, add_rows, new_table

SLOWEST = 5
"""Clients that are shown for each variant."""
MOST_VARIANTS = 8
"""Variants in the main finding, so that it fits on a screen of 24 lines."""
TABLES = ("shares", "slowest", "what_if")


def format_finding(found: Explanation) -> Iterator[str | Table]:
    """Yield the main finding in less than a screen: what takes most of the time, and what would save most.

    A variant has one row; where there is one variant, why that is so comes first.
    """
    if len(found.words) == 1:
        yield from found.words.values()
    with_gain = bool(len(found.what_if))
    table = new_table()
    add_columns(table, ["variant", "most of the time"], [], overflow="fold")
    if with_gain:
        add_columns(table, ["what would help most"], ["saved"], overflow="fold")
    for variant in list(found.words)[:MOST_VARIANTS]:
        most = found.shares[found.shares["variant"] == variant].iloc[0]
        cells = [variant, f"{100 * most['share']:.0f} % {most['activity']}, {most['where']}"]
        if with_gain:
            gains = found.what_if[found.what_if["variant"] == variant]
            best = gains.iloc[0] if len(gains) and gains["gain"].iloc[0] > 0 else None
            cells += [NONE, NONE] if best is None else [str(best["change"]), _percent(best["gain"])]
        add_rows(table, [cells])
    yield table
    left_out = len(found.words) - MOST_VARIANTS
    yield "All reasons, tables and changes: --all. One variant: --variant. As data: --csv." + (
        f" {counted(left_out, 'variant')} more: --all." if left_out > 0 else ""
    )


def format_explanation(found: Explanation) -> Iterator[str | Table]:
    """Yield for each variant its sentences, shares, slowest clients and what twice as fast would save."""
    for variant, words in found.words.items():
        yield f"\n{variant}: {words}"
        yield _shares(found.shares[found.shares["variant"] == variant], found.has_rounds[variant])
        yield _slowest(found.slowest[found.slowest["variant"] == variant], found.has_rounds[variant])
        own = found.what_if[found.what_if["variant"] == variant]
        if len(own):
            yield _what_if(own)


def as_csv(found: Explanation) -> str:
    """Return the three tables as one CSV; the column `table` says which a row is of."""
    parts = [getattr(found, name).assign(table=name) for name in TABLES]
    joined = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return csv_text(joined[["table", *(name for name in joined if name != "table")]])


def read_rounds(text: str | None) -> tuple[int, int] | None:
    """Return first and last of "1-10", or of "3"; None for all.

    Raises:
        SflsimError: it is neither.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text.strip(), re.ASCII)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if first > last:
        raise SflsimError(
            f"--rounds: found {text!r}; allowed: one round, e.g. 3, or the first and last, 1-10"
        )
    return first, last


def _table(*columns: str, title: str, words: int = 1) -> Table:
    """Return an empty table whose first `words` columns hold words, the others numbers."""
    table = new_table(title)
    add_columns(table, columns[:words], columns[words:])
    return table


def _shares(rows: pd.DataFrame, has_rounds: bool) -> Table:
    title = "on the critical path" if has_rounds else "what the contributions' time goes to"
    table = _table("where", "activity", "time", "share", title=title, words=2)
    for row in rows.to_dict("records"):
        share = f"{100 * row['share']:.1f} %"
        table.add_row(str(row["where"]), str(row["activity"]), seconds_text(row["seconds"]), share)
    return table


def _slowest(rows: pd.DataFrame, has_rounds: bool) -> Table:
    title, made = ("who came last", "last in") if has_rounds else ("who contributed", "contributions")
    table = _table("client", "group", made, "time of those", title=title, words=2)
    total = int(rows["rounds"].sum())
    for row in rows.head(SLOWEST).to_dict("records"):
        table.add_row(
            str(row["client"]), str(row["group"]), f"{row['rounds']} of {total}", seconds_text(row["seconds"])
        )
    return table


def _what_if(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    with_target = bool(rows["target_s"].notna().any())
    columns = ["what if", "time of all rounds", "saved", "of a share of"]
    columns += ["to the target", "saved"] if with_target else []
    table = _table(*columns, title=f"now: {seconds_text(first['time_s'])}")
    if not rows["same_learning"].all():
        table.caption = "* other timing, other learning: equal rounds are compared"
    for row in rows.to_dict("records"):
        cells = [
            f"{row['change']}{'' if row['same_learning'] else ' *'}",
            seconds_text(row["changed_s"]),
            _percent(row["gain"]),
            _percent(row["share"]),
        ]
        if with_target:
            cells += [seconds_text(row["changed_target_s"]), _percent(row["target_gain"])]
        table.add_row(*cells)
    return table


def _percent(share: float) -> str:
    return NONE if share != share else f"{number_text(100 * share) if abs(share) >= 5e-4 else '0'} %"
