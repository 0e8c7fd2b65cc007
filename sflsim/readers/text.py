"""Tables that users hand in as text: CSV, TSV and JSON lines, read whole and strictly or refused.

Every row has as many cells as the header has names, so no cell is lost and none is made up. Nothing
is guessed: no separator, no encoding, no type. Imports nothing of the package.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEPARATORS = {".tsv": "\t"}
"""By the end of a file's name; any other is separated by commas."""
JSON = (".json", ".jsonl", ".ndjson")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "a gzip archive",
    b"PK\3\4": "a ZIP archive or an Excel file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}
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


def read_table(file: str | Path, may_lack_header: bool = False) -> TextTable:
    """Return the table of a file: JSON where its name says so, else cells in UTF-8 with separators.

    Raises:
        OSError: the file cannot be opened.
        TableMistake: it is no such table, or an ambiguous one.
    """
    path = Path(file)
    return parse_table(path.read_bytes(), path.name, may_lack_header=may_lack_header)


def parse_table(
    content: bytes, name: str, *, quoted: bool = True, may_lack_header: bool = False
) -> TextTable:
    """Return the table that the content of the file `name` holds.

    Without `quoted` a quotation mark is a character as any other. With `may_lack_header` a first row
    of numbers is one of values.
    """
    text = _decoded(content, name)
    suffix = Path(name).suffix.lower()
    if suffix in JSON:
        return _json_table(text, name)
    separator = SEPARATORS.get(suffix, ",")
    rows = list(_separated(text, name, separator, quoted))
    if not rows:
        raise TableMistake("is empty", f"nothing in {name}", "a table with at least one row")
    first = [cell.strip() for cell in rows[0].cells]
    if may_lack_header and all(map(_is_amount, first)):
        return TextTable(name, [], rows)
    _check_names(first, rows[0].line, name, separator)
    return TextTable(name, first, rows[1:])


def _is_amount(cell: str) -> bool:
    """Tell whether a cell looks like a number, maybe with a unit, and not like a name."""
    return re.match(r"[-+]?(\.?\d|(nan|inf(inity)?)\b)", cell, re.IGNORECASE) is not None


def _decoded(content: bytes, name: str) -> str:
    """Return text in UTF-8, with or without its mark; what else it may be is named."""
    allowed = "text in UTF-8"
    known = next((kind for mark, kind in MARKS.items() if content.startswith(mark)), None)
    if known is not None:
        remedy = "save it as UTF-8" if known.startswith("UTF") else ""
        raise TableMistake("is in another format", f"{known} in {name}", allowed, remedy)
    place = content.find(b"\0")
    if place >= 0:
        found = f"a NUL byte in line {_line(content, place)} of {name}"
        raise TableMistake("cannot be read", found, allowed, "save it as UTF-8, if it is UTF-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(content, error.start)
        found = f"the byte 0x{content[error.start]:02x} in line {line} of {name}, which is no UTF-8"
        raise TableMistake("cannot be read", found, allowed, "save it as UTF-8, if it is Latin-1") from error
    again = text.find("\ufeff")
    if again >= 0 and text[again - 1 : again] in ("", "\n", "\r"):
        found = f"a byte order mark in line {_line(text[:again].encode(), -1)} of {name}"
        raise TableMistake("cannot be read", found, "one at most, at the start", "were two files joined?")
    return text


def _line(content: bytes, place: int) -> int:
    """Return the number of the line that a byte stands in; of the end, for -1."""
    before = content[:place] if place >= 0 else content
    return 1 + len(re.findall(rb"\r\n|\r|\n", before))


def _shown(text: str) -> str:
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _separated(text: str, name: str, separator: str, quoted: bool) -> Iterator[Row]:
    """Yield the rows, all with as many cells as the first."""
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
                raise _uneven(cells, rows, f"{_shown(lines[line - 1])} in line {line} of {name}")
            rows.append(Row(line, cells))
    except csv.Error as error:
        found = f"{_shown(lines[before])} in line {before + 1} of {name}"
        remedy = 'write a cell that holds a quotation mark as "say ""yes"""'
        reason = f"has a stray quotation mark ({error})"
        raise TableMistake(reason, found, "cells in whole quotation marks, or without", remedy) from error
    _check_line_breaks(rows, lines, name, separator)
    yield from rows


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
                found = f"{_shown(lines[row.line - 1])} in line {row.line} of {name}"
                reason = f"has a quotation mark that swallows the rows down to line {last}"
                raise TableMistake(reason, found, "quotation marks around whole cells, doubled within them")


def _fitting(column: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a cell may belong to a column."""
    known = set(column)
    if all(NUMBER.fullmatch(cell.strip()) for cell in known):
        return lambda cell: NUMBER.fullmatch(cell.strip()) is not None
    return known.__contains__


def _check_names(names: list[str], line: int, file: str, separator: str) -> None:
    """Refuse a header with a name twice, without a name, or with one that nobody can read."""
    place, allowed = f"in line {line} of {file}", "a header with a name of its own for each column"
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise TableMistake("has two columns of one name", f"{_shown(twice[0])} twice {place}", allowed)
    other = next((one for one in (";", "\t", "|", ",") if one != separator and one in names[0]), None)
    if len(names) == 1 and other:
        kinds = {",": "a comma", "\t": "a tab"}
        allowed = f"{kinds[separator]} between columns (a tab in .tsv, a comma elsewhere)"
        raise TableMistake("has another separator", f"{_shown(names[0])} {place}", allowed)
    if "" in names:
        found = f"no name for column {names.index('') + 1} {place}"
        raise TableMistake("has a column without a name", found, allowed, "pandas: to_csv(..., index=False)")
    unreadable = [name for name in names if not name.isprintable()]
    if unreadable:
        raise TableMistake("has a name with control characters", f"{unreadable[0]!r} {place}", allowed)


def _json_table(text: str, file: str) -> TextTable:
    """Return the objects of JSON lines, or of one list of objects; a key that is missing is None."""
    numbered = list(_objects(text, file))
    if not numbered:
        raise TableMistake("is empty", f"nothing in {file}", "a table with at least one row")
    names = list(dict.fromkeys(name for _, one in numbered for name in one))
    _check_names([name.strip() for name in names], numbered[0][0], file, "")
    rows = [Row(line, [one.get(name) for name in names]) for line, one in numbered]
    return TextTable(file, names, rows)


def _objects(text: str, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with its line; in a list, with its number."""
    if text.lstrip().startswith("["):
        listed = _loaded(text, 1, file)
        yield from ((number, _object(one, number, file)) for number, one in enumerate(listed, start=1))
        return
    lines = text.rstrip().split("\n")  # not splitlines: a text may hold U+2028
    for line, one in enumerate(lines if text.strip() else [], start=1):
        yield line, _object(_loaded(one, line, file), line, file)


def _loaded(text: str, line: int, file: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"the key {twice[0]!r} twice")
        return dict(pairs)

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        at = line + getattr(error, "lineno", 1) - 1
        found = f"{_shown(text)} in line {at} of {file} ({error})"
        allowed = "an object in each line, or one list of objects"
        raise TableMistake("cannot be read", found, allowed) from error


def _object(value: Any, line: int, file: str) -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return value
    found = f"{_shown(json.dumps(value))} in line {line} of {file}"
    raise TableMistake("has a row that is no object", found, 'rows such as {"text": "good", "label": 1}')
