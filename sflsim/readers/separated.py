"""Rows of cells with separators: CSV and TSV, read by Python's own reader in its strict mode."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from sflsim.readers.table import NUMBER, Row, TableMistake, TextTable, check_names, shown


def read_separated(text: str, name: str, separator: str, quoted: bool, may_lack_header: bool) -> TextTable:
    """Return the table of a text. What the arguments mean is told by `text.parse_table`."""
    rows = _rows(text, name, separator, quoted)
    if not rows:
        raise TableMistake("is empty", f"nothing in {name}", "a table with at least one row")
    first = [cell.strip() for cell in rows[0].cells]
    if may_lack_header and all(map(_is_amount, first)):
        return TextTable(name, [], rows)
    check_names(first, rows[0].line, name, separator)
    return TextTable(name, first, rows[1:])


def _is_amount(cell: str) -> bool:
    """Tell whether a cell looks like a number, maybe with a unit, and not like a name."""
    return re.match(r"[-+]?(\.?\d|(nan|inf(inity)?)\b)", cell, re.IGNORECASE) is not None


def _rows(text: str, name: str, separator: str, quoted: bool) -> list[Row]:
    """Return the rows, all with as many cells as the first."""
    lines = list(io.StringIO(text, newline=""))
    while lines and not lines[-1].strip():
        del lines[-1]
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))  # a long text is a cell as any other
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
    rows: list[Row] = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if (rows and len(cells) != len(rows[0].cells)) or not lines[line - 1].strip(" \r\n"):
                raise _uneven(cells, rows, f"{shown(lines[line - 1])} in line {line} of {name}")
            rows.append(Row(line, cells))
    except csv.Error as error:
        found = f"{shown(lines[before])} in line {before + 1} of {name}"
        remedy = 'write a cell that holds a quotation mark as "say ""yes"""'
        reason = f"has a stray quotation mark ({error})"
        raise TableMistake(reason, found, "cells in whole quotation marks, or without", remedy) from error
    _check_line_breaks(rows, lines, name, separator)
    return rows


def _uneven(cells: list[str], rows: list[Row], found: str) -> TableMistake:
    """Return the mistake of a row with more or fewer cells than the first."""
    if not any(cells):
        return TableMistake("has a blank line", found, "a value in every row, blank lines at the end only")
    reason = f"has {len(cells)} cells" if len(cells) != 1 else "has one cell"
    remedy = ""
    if len(cells) > len(rows[0].cells):
        remedy = 'write 12.5, not 12,5; 1250000, not 1,250,000; and texts with separators as "a, b"'
    return TableMistake(reason, found, f"{len(rows[0].cells)} in every row, as in the first", remedy)


def _check_line_breaks(rows: list[Row], lines: list[str], name: str, separator: str) -> None:
    """Refuse a cell of several lines that would be rows by themselves: a stray mark has opened it.

    They would be if each had the right number of cells and, in one of the other columns, a number
    among numbers or a value that other rows have too.
    """
    long = [row for row in rows if any("\n" in cell or "\r" in cell for cell in row.cells)]
    if not long:
        return
    opened = {row.line for row in long}
    columns = list(zip(*(row.cells for row in rows[1:] if row.line not in opened), strict=True))
    fits = [_fitting(column) for column in columns]
    for row in long:
        for place, cell in enumerate(row.cells):
            parts = re.split(r"\r\n|\r|\n", cell)
            if len(parts) == 1:
                continue
            inner = [part.split(separator) for part in parts]
            inner[0] = [*row.cells[:place], *inner[0]]
            inner[-1] = [*inner[-1], *row.cells[place + 1 :]]
            apart = [cells for cells in inner if any(cells)]
            even = all(len(cells) == len(row.cells) for cells in apart)
            if even and any(
                all(fit(cells[other]) for cells in apart) for other, fit in enumerate(fits) if other != place
            ):
                last = row.line + len(parts) - 1
                found = f"{shown(lines[row.line - 1])} in line {row.line} of {name}"
                reason = f"has a quotation mark that swallows the rows down to line {last}"
                raise TableMistake(reason, found, "quotation marks around whole cells, doubled within them")


def _fitting(column: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a cell may belong to a column."""
    known = set(column)
    if all(NUMBER.fullmatch(cell.strip()) for cell in known):
        return lambda cell: NUMBER.fullmatch(cell.strip()) is not None
    return known.__contains__
