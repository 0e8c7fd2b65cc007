"""Table files that a scenario names, relative to its folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationInfo

from sflsim.mistakes import mistake, mistake_at
from sflsim.readers.files import absolute, check_file, read_bytes, reason
from sflsim.readers.table import NUMBER, TableMistake
from sflsim.readers.text import read_json_file, read_lines, read_table

FILE_LIMIT_BYTES = 256 * 2**20
Held = TypeVar("Held")
ALLOWED = "a CSV file (or .tsv, .jsonl)"


@dataclass(frozen=True, slots=True)
class Cell:
    """The text of one cell and its place in the file, for messages."""

    text: str
    place: str

    def __str__(self) -> str:
        return f"{self.text!r} {self.place}"

    @property
    def number(self) -> float:
        """Return the cell as a number; NaN if it is none."""
        return float(self.text) if NUMBER.fullmatch(self.text) else math.nan


@dataclass(frozen=True)
class Table:
    """Rows of cells under the names of their columns; no names if the file has no header."""

    names: list[str]
    rows: list[list[Cell]]

    def filled(self) -> list[list[Cell]]:
        """Return the rows, at least one.

        Raises:
            ValidationError: there are no rows.
        """
        if not self.rows:
            raise mistake_at("file", "has no rows", "a header alone", "at least one row of values")
        return self.rows


def absolute_path(file: str, info: ValidationInfo, kind: str = ALLOWED) -> str:
    """Return the absolute path, so that the resolved scenario reads the same file from anywhere.

    `kind` says in a message what is read.

    Raises:
        PydanticCustomError: the path is no file, or too large.
    """
    path = absolute(Path((info.context or {}).get("base_dir") or ".") / file)
    try:
        check_file(path, FILE_LIMIT_BYTES)
    except OSError as error:
        allowed = f"{kind}, its path relative to the scenario's folder"
        raise mistake(f"is no file that can be read ({reason(error)})", f"{file!r}", allowed) from error
    return str(path)


def table(file: str, may_lack_header: bool = False) -> Table:
    """Return the table of a file, with cells stripped; all rows are of one length.

    Raises:
        ValidationError: the file cannot be read or is ambiguous.
    """
    read = _held(partial(read_table, may_lack_header=may_lack_header), file, ALLOWED)
    rows = [
        [Cell(_text(value), place) for value in row.cells]
        for row, place in ((row, read.at(row.line)) for row in read.rows)
    ]
    return Table(read.names, rows)


def digest(file: str, allowed: str) -> str:
    """Return a hash of what a file holds; `allowed` says in a message what it should be.

    Raises:
        ValidationError: the file cannot be read.
    """
    content = _held(lambda name: read_bytes(Path(name), FILE_LIMIT_BYTES), file, allowed)
    return hashlib.blake2b(content).hexdigest()


def json_object(file: str) -> dict[str, Any]:
    """Return the one JSON object that a file holds.

    Raises:
        ValidationError: the file cannot be read, or holds something else.
    """
    return _held(read_json_file, file, "a JSON file")


def lines(file: str) -> list[str]:
    """Return the lines of a text file, without blank ones at its end.

    Raises:
        ValidationError: the file cannot be read.
    """
    return _held(read_lines, file, "a text file")


def _held(read: Callable[[str], Held], file: str, allowed: str) -> Held:
    """Return what a file holds; a mistake in it is reported at `file`."""
    try:
        return read(file)
    except OSError as error:
        raise mistake_at("file", "cannot be read", f"{file!r}", allowed) from error
    except TableMistake as error:
        raise mistake_at("file", error.reason, error.found, error.allowed, error.remedy) from error


def _text(value: object) -> str:
    """Return a cell as text; other JSON values as their repr."""
    return value.strip() if isinstance(value, str) else "" if value is None else repr(value)
