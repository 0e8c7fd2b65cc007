"""CSV files that a scenario names: found next to it, read whole, refused with a reason.

Imports mistakes only.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from pydantic import ValidationInfo

from sflsim.fleet.mistakes import mistake, mistakes

FILE_LIMIT_BYTES = 256 * 2**20
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")

Rows = list[tuple[int, list[str]]]


def found(file: str, info: ValidationInfo) -> str:
    """Return the absolute path, so that the resolved scenario reads the same file from anywhere.

    Raises:
        PydanticCustomError: it is no file, or too large.
    """
    base = (info.context or {}).get("base_dir") or "."
    try:
        path = (Path(base) / file).resolve()
        if path.is_file() and path.stat().st_size <= FILE_LIMIT_BYTES:
            return str(path)
        reason = "is larger than 256 MiB" if path.is_file() else "is no file"
    except (OSError, ValueError):
        reason = "is no file"
    raise mistake(reason, f"{file!r}", "a CSV file, its path relative to the scenario's folder")


def rows(file: str) -> Rows:
    """Return (line, stripped cells) of every row that is not blank; there is at least one.

    Raises:
        ValidationError: the file cannot be read or is empty.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
        if CONTROL.search(text):
            raise csv.Error("no text")
        reader = csv.reader(io.StringIO(text, newline=""))
        read = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise at("file", "cannot be read", f"{file!r}", "a CSV file in UTF-8") from error
    filled = [(line, row) for line, row in read if any(row)]
    if not filled:
        raise at("file", "is empty", "an empty file", "a CSV file with at least one number")
    return filled


def at(key: str, reason: str, found: str, allowed: str, remedy: str = "") -> Exception:
    """Return the error that reports one mistake at a key."""
    return mistakes([((key,), mistake(reason, found, allowed, remedy))])
