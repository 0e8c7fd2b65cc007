"""What users hand in as text: tables in CSV, TSV and JSON lines, and JSON, read strictly or refused.

Every row has as many cells as the header has names, so no cell is lost and none is made up. Nothing
is guessed: no separator, no encoding, no type.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sflsim.readers.files import TABLE_BYTES, check_file, read_bytes
from sflsim.readers.json_lines import read_json, read_object
from sflsim.readers.separated import read_separated
from sflsim.readers.table import TableMistake, TextTable

SEPARATORS = {".tsv": "\t"}
"""By the end of a file's name; any other is separated by commas."""
START_BYTES = 4096
JSON = (".json", ".jsonl", ".ndjson")
MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "a gzip archive",
    b"PK\3\4": "a ZIP archive or an Excel file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}


def read_table(file: str | Path, may_lack_header: bool = False) -> TextTable:
    """Return the table of a file: JSON where its name says so, else cells in UTF-8 with separators.

    Raises:
        OSError: it is no regular file, or cannot be read.
        TableMistake: it is no such table, or an ambiguous one.
    """
    return parse_table(_content(file), Path(file).name, may_lack_header=may_lack_header)


def read_json_file(file: str | Path) -> dict[str, Any]:
    """Return the one object that a JSON file holds.

    Raises:
        OSError: it is no regular file, or cannot be read.
        TableMistake: it holds something else, or a key twice.
    """
    name = Path(file).name
    return read_object(_decoded(_content(file), name), name)


def read_lines(file: str | Path) -> list[str]:
    """Return the lines of a text, without blank ones at its end.

    Raises:
        OSError: it is no regular file, or cannot be read.
        TableMistake: it is no text in UTF-8.
    """
    return _decoded(_content(file), Path(file).name).rstrip().splitlines()


def _content(file: str | Path) -> bytes:
    """Return what a file of text holds; of one that is no text, the start."""
    path = Path(file)
    check_file(path, TABLE_BYTES)
    with path.open("rb") as opened:
        start = opened.read(START_BYTES)
    return start if b"\0" in start else read_bytes(path, TABLE_BYTES)  # no text, however much follows


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
        return read_json(text, name)
    return read_separated(text, name, SEPARATORS.get(suffix, ","), quoted, may_lack_header)


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
