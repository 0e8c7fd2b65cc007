"""Files of tables in a folder: which split each belongs to, and what it holds. Pyarrow lazily."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sflsim.learning.data.source import TEST, TRAIN, VALIDATION, unreadable
from sflsim.readers.columnar import read_arrow, read_parquet
from sflsim.readers.files import files_below, reason
from sflsim.readers.table import TableMistake
from sflsim.readers.text import JSON, read_table

if TYPE_CHECKING:
    import pyarrow as pa

USUAL_WORDS = {
    TRAIN: "train(?:ing)?(?:set)?",
    TEST: "test(?:ing)?(?:set)?|eval(?:uation)?",
    VALIDATION: "valid(?:ation)?|dev|val",
}
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
TEXTS = (".csv", ".tsv", *JSON)
COLUMNAR: dict[str, Callable[[Path], Any]] = {".parquet": read_parquet, ".arrow": read_arrow}
SUFFIXES = (*COLUMNAR, *TEXTS)


def local_tables(path: Path, splits: Mapping[str, str] | None = None) -> dict[str, list[Path]]:
    """Return the files of each split in a folder: by the nearest word in a file's or its folders' names.

    `splits` gives other words than the usual ones. A single file is the training split, and so are
    files none of which has such a word.

    Raises:
        ScenarioError: a file belongs to two splits, or is packed.
    """
    below = [] if os.path.isfile(path) else _below(path)
    _refuse_packed([path, *below])
    if os.path.isfile(path):
        return {TRAIN: [path]} if path.suffix.lower() in SUFFIXES else {}
    files = [one for one in below if one.suffix.lower() in SUFFIXES and _is_data(one)]
    given = {split: re.escape(word) for split, word in (splits or {}).items()}
    usual = {split: words for split, words in USUAL_WORDS.items() if split not in given}
    found: dict[str, list[Path]] = {split: [] for split in USUAL_WORDS}
    for file in files:
        split = _split_of(file.relative_to(path), (given, usual))
        if split is not None:
            found[split].append(file)
    known = {split: chosen for split, chosen in found.items() if chosen}
    return known or ({TRAIN: files} if files else {})


def _below(path: Path) -> list[Path]:
    try:
        return list(files_below(path))
    except OSError as error:
        raise unreadable(path, reason(error), "a folder that holds the data set alone") from error


def _refuse_packed(files: Iterable[Path]) -> None:
    """Refuse a packed table, which would be left out silently; one beside its unpacked file is the same."""
    for file in files:
        unpacked = file.with_suffix("")
        if file.suffix.lower() in PACKED and unpacked.suffix.lower() in SUFFIXES and not unpacked.exists():
            raise unreadable(file, "a packed table", "tables that are not packed", "unpack it")


def _is_data(file: Path) -> bool:
    """Tell whether a file may hold samples: what the libraries write beside them does not."""
    beside = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
    return file.name not in beside and not file.name.startswith((".", "cache-"))


def _split_of(file: PurePath, vocabularies: tuple[Mapping[str, str], ...]) -> str | None:
    """Return the split that the file's name tells, else its folder's, else that one's folder's, and so on.

    Raises:
        ScenarioError: a name tells two splits and none is nearer.
    """
    for name in reversed(file.parts):
        for words in vocabularies:
            told = [split for split, word in words.items() if _says(word, name)]
            if len(told) > 1:
                remedy = "rename it, or name the splits with train: and test:"
                raise unreadable(
                    Path(file), f"{name!r} tells {' and '.join(told)}", "a file in one split", remedy
                )
            if told:
                return told[0]
    return None


def _says(words: str, name: str) -> bool:
    """Tell whether a split's word stands by itself in a name: train-00000-of-00001.parquet, testData.csv."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return any(
        re.search(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)", one, re.IGNORECASE) for one in (name, apart)
    )


def read_file(file: Path) -> pa.Table:
    """Return what one file holds, all of it in memory and valid.

    Cells of CSV and TSV are texts, missing where they are empty.

    Raises:
        ScenarioError: it is damaged, ambiguous, or has two columns of one name.
    """
    suffix = file.suffix.lower()
    try:
        table = _from_text(file) if suffix in TEXTS else COLUMNAR[suffix](file)
    except TableMistake as error:
        raise unreadable(file, f"{error.found}, which {error.reason}", error.allowed, error.remedy) from error
    except Exception as error:  # each library has its own family of errors for a broken file
        found = f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise unreadable(file, found, f"a whole {file.suffix[1:]} file") from error
    names: list[str] = table.column_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise unreadable(file, f"two columns {twice[0]!r}", "a name of its own for each column")
    return table


def _from_text(file: Path) -> pa.Table:
    import pyarrow as pa

    read = read_table(file)
    is_json = file.suffix.lower() in JSON
    columns: dict[str, Any] = {}
    for place, name in enumerate(read.names):
        values = [row.cells[place] for row in read.rows]
        try:
            columns[name] = pa.array(values if is_json else [cell or None for cell in values])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
            reason = f"holds values of several types, or none that can be kept ({error})"
            allowed = "texts alone, or numbers alone"
            raise TableMistake(reason, f"the column {name!r} of {file.name}", allowed) from error
    return pa.table(columns)


def place_of(file: Path, row: int) -> str:
    """Return where a row of a file stands, for a message."""
    if file.suffix.lower() in TEXTS:
        read = read_table(file)
        return read.at(read.rows[row].line)
    return f"in row {row + 1} of {file.name}"
