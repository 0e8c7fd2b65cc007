"""Samples in tables: parquet, Arrow (also what `save_to_disk` wrote), CSV, TSV, JSON, or from the hub.

A column of images holds their bytes; a path in it is never followed. Pyarrow and pandas lazily.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sflsim.learning.data.image_folder import Picture
from sflsim.learning.data.source import TEST, TRAIN, VALIDATION, Labels, refused, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = {TRAIN: "train(?:ing)?", TEST: "test(?:ing)?|eval(?:uation)?", VALIDATION: "valid(?:ation)?|dev|val"}
SUFFIXES = (".parquet", ".arrow", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


def local_tables(path: Path, splits: dict[str, str] | None = None) -> dict[str, list[Path]]:
    """Return the files of each split in a folder: by a word in the file's or its folder's name.

    `splits` gives other words than the usual ones. A single file is the training split.
    """
    if path.is_file():
        return {TRAIN: [path]} if path.suffix.lower() in SUFFIXES else {}
    files = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES and _is_data(one)]
    words = {split: re.escape(word) for split, word in (splits or {}).items()}
    found = {
        split: [file for file in files if _says(words.get(split, usual), file.relative_to(path))]
        for split, usual in WORDS.items()
    }
    known = {split: chosen for split, chosen in found.items() if chosen}
    return known or ({TRAIN: files} if files else {})


def _is_data(file: Path) -> bool:
    """Tell whether a file may hold samples: what the libraries write beside them does not."""
    beside = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
    return file.is_file() and file.name not in beside and not file.name.startswith((".", "cache-"))


def _says(words: str, file: Path) -> bool:
    """Tell whether a split's word stands by itself in a path, e.g. data/train-00000-of-00001.parquet."""
    return re.search(rf"(?:^|[^a-z])(?:{words})(?:[^a-z]|$)", file.as_posix(), re.IGNORECASE) is not None


def column_names(parts: Mapping[str, Sequence[pa.Table | Path]]) -> list[str]:
    """Return the columns of the training split; none where there is no such split."""
    return list(_table(parts[TRAIN][0]).column_names) if TRAIN in parts else []


def _table(part: pa.Table | Path) -> pa.Table:
    return _read(part) if isinstance(part, Path) else part


def _read(file: Path) -> pa.Table:
    """Return what one file holds, all of it in memory."""
    try:
        return READERS[file.suffix.lower()](file)
    except Exception as error:  # each library has its own family of errors for a broken file
        found = f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise unreadable(file, found, f"a whole {file.suffix[1:]} file") from error


def _parquet(file: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(file, partitioning=None)


def _arrow(file: Path) -> pa.Table:
    """Read the stream or the file format, as far as possible without copying."""
    import pyarrow as pa

    mapped = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(mapped).read_all()


def _separated(separator: str) -> Callable[[Path], pa.Table]:
    def read(file: Path) -> pa.Table:
        import pandas as pd
        import pyarrow as pa

        frame = pd.read_csv(file, sep=separator, keep_default_na=False, encoding="utf-8")
        return pa.Table.from_pandas(frame, preserve_index=False)

    return read


def _json(file: Path) -> pa.Table:
    """Read a list of objects, or one object in each line."""
    import pyarrow as pa

    text = file.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else list(map(json.loads, text.splitlines()))
    return pa.Table.from_pylist(rows)


READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _json),
}


@dataclass(frozen=True)
class TableSource:
    """Splits of tables with a column of samples (images or texts) and one of labels.

    `parts` are the tables of each split, or the files that hold them, which are read when asked for.
    Labels are numbers, or words that are numbered in order.
    """

    parts: Mapping[str, Sequence[pa.Table | Path]]
    inputs_in: tuple[str, ...]
    labels_in: str
    picture: Picture | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits that there are."""
        return tuple(self.parts)

    def labels(self, split: str) -> Labels:
        """Return the labels [N]."""
        values = self.column(split, self.labels_in)
        if values.dtype.kind not in "biuf":
            return self._numbered(values.astype(str), split)
        numbers = values.astype(np.int64)
        if values.dtype.kind == "f" and not np.array_equal(numbers, values):
            wrong = values[np.flatnonzero(numbers != values)[0]]
            raise refused("workload.dataset.columns.label", f"the label {wrong}", "whole numbers or words")
        return numbers

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Return the names of the classes, where the training table or its labels have any."""
        told = _class_names(self._tables(TRAIN)[0], self.labels_in)
        if told is not None:
            return told
        values = self.column(TRAIN, self.labels_in)
        return None if values.dtype.kind in "biuf" else tuple(map(str, np.unique(values.astype(str))))

    def inputs(self, split: str, which: Labels) -> Any:
        """Return some images [N, rows, columns, channels] as bytes, or texts (pairs, of two columns)."""
        if self.picture is not None:
            return self.picture.decode_all(
                self._contents(split, which), (f"image {row} of {split}" for row in which)
            )
        columns = [self.column(split, name)[which].tolist() for name in self.inputs_in]
        for name, texts in zip(self.inputs_in, columns, strict=True):
            if not all(isinstance(text, str) for text in texts):
                raise refused("workload.dataset.columns.text", f"the column {name!r} of numbers", "of texts")
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def column(self, split: str, name: str) -> npt.NDArray[Any]:
        """Return the values [N] of a column, none of them missing."""
        chunks = []
        for table in self._tables(split):
            if name not in table.column_names:
                raise _no_column(name, table, split)
            if table.column(name).null_count:
                raise refused(
                    "workload.dataset", f"a missing value in {name!r} of {split}", "a value in each row"
                )
            chunks.append(table.column(name).to_numpy())
        return np.concatenate(chunks)

    def _contents(self, split: str, which: Labels) -> list[bytes]:
        """Return the contents of some images of a split."""
        (name,) = self.inputs_in
        rows: list[Any] = []
        first = 0
        for table in self._tables(split):
            if name not in table.column_names:
                raise _no_column(name, table, split)
            here = which[(which >= first) & (which < first + len(table))] - first
            rows += table.column(name).take(here).to_pylist()
            first += len(table)
        found = [row.get("bytes") if isinstance(row, dict) else row for row in rows]
        contents = [content for content in found if isinstance(content, bytes)]
        if len(contents) < len(rows):
            text = f"the column {name!r} of {split} without the bytes of its images"
            remedy = "embed the images: datasets' to_parquet and save_to_disk do"
            raise refused("workload.dataset.columns.image", text, "encoded images, such as PNG", remedy)
        return contents

    def _numbered(self, words: npt.NDArray[Any], split: str) -> Labels:
        names = self.names or ()
        numbers = {name: number for number, name in enumerate(names)}
        unknown = sorted(set(words.tolist()) - set(numbers))
        if unknown:
            found = f"the label {unknown[0]!r} in {split}"
            raise refused("workload.dataset.columns.label", found, f"those in train: {', '.join(names)}")
        return np.array([numbers[word] for word in words.tolist()], np.int64)

    @cached_property
    def _kept(self) -> dict[str, Sequence[pa.Table]]:
        return {}

    def _tables(self, split: str) -> Sequence[pa.Table]:
        """Return the tables of a split, read once."""
        if split not in self._kept:
            self._kept[split] = [_table(part) for part in self.parts[split]]
        return self._kept[split]


def _class_names(table: pa.Table, column: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face's libraries keep in a table's metadata."""
    try:
        facts = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = facts["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _no_column(name: str, table: pa.Table, split: str) -> Exception:
    found = f"no column {name!r} in {split}"
    return refused(
        "workload.dataset.columns", found, ", ".join(table.column_names), "name them with columns:"
    )
