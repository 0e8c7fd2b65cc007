"""Tables of the terminal: a line below the headings, none around, titles and captions on the left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def new_table(title: str | None = None, caption: str | None = None, **options: Any) -> Table:
    """Return a table without columns."""
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        **options,
    )


def add_columns(table: Table, words: Iterable[str], numbers: Iterable[str] = (), **options: Any) -> None:
    """Add columns of words, then columns of numbers, which stand on the right."""
    for name in words:
        table.add_column(name, **options)
    for name in numbers:
        table.add_column(name, justify="right", **options)


def add_rows(table: Table, rows: Iterable[Sequence[str]]) -> None:
    """Add rows of a user's texts, which are no markup of rich."""
    for cells in rows:
        table.add_row(*map(Text, cells))


def over_lines(path: str) -> str:
    """Return a path over several lines, one for each of its steps, as the heading of a column."""
    return path.replace(".", ".\n").replace("[", "\n[")
