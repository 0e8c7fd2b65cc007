"""Tables of the terminal: a line below the headings, none around, titles and captions on the left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

UNLIMITED = 1_000_000
LEFT_OUT = "Left out, for want of width"


class FittedTable(Table):
    """A table that leaves columns of figures out, the last first, where a terminal is too narrow for all."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its parts."""
        shown = copy(self)
        left_out: list[str] = []
        unlimited = options.update(width=UNLIMITED)
        while Table.__rich_measure__(shown, console, unlimited).minimum > options.max_width:
            figures = [column for column in shown.columns if column.justify == "right"]
            if not figures:
                break
            shown.columns = [column for column in shown.columns if column is not figures[-1]]
            left_out.insert(0, str(figures[-1].header).replace("\n", " "))
        if left_out:
            lines = [str(self.caption)] if self.caption else []
            shown.caption = "\n".join([*lines, f"{LEFT_OUT}: {', '.join(left_out)}."])
        yield from Table.__rich_console__(shown, console, options)


def new_table(title: str | None = None, caption: str | None = None, **options: Any) -> Table:
    """Return a table without columns."""
    return FittedTable(
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
