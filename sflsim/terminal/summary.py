"""The summary of a run as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.table import Table

from sflsim.report.summary_text import summary_columns, summary_notes
from sflsim.terminal.tables import add_rows, new_table

LINE = 80
"""Characters that a terminal has at least."""


def format_summary(summary: pd.DataFrame) -> Table:
    """Return `summarize`'s table for a terminal: one unit per column, and a caption that explains it."""
    columns = summary_columns(summary)
    table = new_table(caption="\n".join(summary_notes(summary)), padding=0)
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
