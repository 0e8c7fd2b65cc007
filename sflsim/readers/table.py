"""What the readers of text have in common: rows of cells under names, and what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
SHOWN = 40


class TableMistake(ValueError):
    """What is wrong with a table, where that stands, what is allowed, and a remedy."""

    def __init__(self, reason: str, found: str, allowed: str, remedy: str = "") -> None:
        self.reason, self.found, self.allowed, self.remedy = reason, found, allowed, remedy
        super().__init__(f"{reason}: {found}; allowed: {allowed}")


@dataclass(frozen=True)
class Row:
    """One row: the number of its first line in the file, and its cells (text, or values of JSON)."""

    line: int
    cells: list[Any]


@dataclass(frozen=True)
class TextTable:
    """The rows of a file under the names of its columns; no names where it has no header."""

    file: str
    names: list[str]
    rows: list[Row]

    def at(self, line: int) -> str:
        """Return a place in the file, for a message."""
        return f"in line {line} of {self.file}"


def shown(text: str) -> str:
    """Return the start of a line of the file, for a message."""
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def check_names(names: list[str], line: int, file: str, separator: str) -> None:
    """Refuse a header with a name twice, without a name, or with one that nobody can read."""
    place, allowed = f"in line {line} of {file}", "a header with a name of its own for each column"
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise TableMistake("has two columns of one name", f"{shown(twice[0])} twice {place}", allowed)
    other = next((one for one in (";", "\t", "|", ",") if one != separator and one in names[0]), None)
    if len(names) == 1 and other:
        kinds = {",": "a comma", "\t": "a tab"}
        allowed = f"{kinds[separator]} between columns (a tab in .tsv, a comma elsewhere)"
        raise TableMistake("has another separator", f"{shown(names[0])} {place}", allowed)
    if "" in names:
        found = f"no name for column {names.index('') + 1} {place}"
        raise TableMistake("has a column without a name", found, allowed, "pandas: to_csv(..., index=False)")
    unreadable = [name for name in names if not name.isprintable()]
    if unreadable:
        raise TableMistake(
            "has a name with a character that cannot be seen", f"{unreadable[0]!r} {place}", allowed
        )
