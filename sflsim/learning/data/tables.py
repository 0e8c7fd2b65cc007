"""Samples in tables: parquet, Arrow (also what `save_to_disk` wrote), CSV, TSV, JSON, or from the hub.

A column of images holds their bytes; a path in it is never followed. Pyarrow lazily.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sflsim.errors import refused
from sflsim.learning.data.class_labels import ClassLabels, LabelColumn, read_labels
from sflsim.learning.data.image_folder import Picture
from sflsim.learning.data.source import TRAIN, Labels
from sflsim.learning.data.table_files import place_of, read_file
from sflsim.readers.table import NUMBER

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)


def column_names(parts: Mapping[str, Sequence[pa.Table | Path]]) -> list[str]:
    """Return the columns of the training split; none where there is no such split."""
    return list(_table(parts[TRAIN][0]).column_names) if TRAIN in parts else []


def _table(part: pa.Table | Path) -> pa.Table:
    return read_file(part) if isinstance(part, Path) else part


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
        if split not in self._labels.numbers:
            self._arrays(split, self.labels_in)  # says what is wrong with them
        return self._labels.numbers[split]

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return self._labels.classes

    @cached_property
    def _labels(self) -> ClassLabels:
        """Return the labels of all splits; one that has none is refused when it is used."""
        known = [split for split in self.splits if any(map(self._has_labels, self._tables(split)))]
        told = {split: _class_names(self._tables(split)[0], self.labels_in) for split in known}
        columns = [
            LabelColumn(split, values, partial(_place, part))
            for split in known
            for part, values in zip(self.parts[split], self._arrays(split, self.labels_in), strict=True)
        ]
        _check_names(told)
        self._check_copies()
        return read_labels(columns, next(filter(None, told.values()), None))

    def _has_labels(self, table: pa.Table) -> bool:
        there = self.labels_in in table.column_names
        return there and not 0 < len(table) == table.column(self.labels_in).null_count

    def inputs(self, split: str, which: Labels) -> Any:
        """Return some images [N, rows, columns, channels] as bytes, or texts (pairs, of two columns)."""
        if self.picture is not None:
            return self.picture.decode_all(
                self._contents(split, which), (f"image {row} of {split}" for row in which)
            )
        columns = []
        for name in self.inputs_in:
            values = np.concatenate([np.array(one.to_pylist(), object) for one in self._arrays(split, name)])
            if not all(isinstance(text, str) for text in values) or all(map(NUMBER.fullmatch, values)):
                raise refused("workload.dataset.columns.text", f"the column {name!r} of numbers", "of texts")
            columns.append(values[which].tolist())
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def column(self, split: str, name: str) -> npt.NDArray[Any]:
        """Return the values [N] of a column, none missing; whole numbers are such if written as texts."""
        found = [one.to_numpy() for one in self._arrays(split, name)]
        kinds = {"text" if one.dtype.kind in "OU" else "number" for one in found if len(one)}
        if len(kinds) > 1:
            raise refused("workload.dataset", f"numbers and texts in {name!r} of {split}", "one of both")
        values = np.concatenate(found)
        if kinds == {"text"} and all(map(WHOLE.fullmatch, map(str, values))):
            return values.astype(np.int64)
        return values

    def _arrays(self, split: str, name: str) -> list[pa.ChunkedArray]:
        """Return a column of each table of a split, no value of which is missing."""
        arrays = []
        for part, table in zip(self.parts[split], self._tables(split), strict=True):
            if name not in table.column_names:
                raise _no_column(name, table, split)
            array = table.column(name)
            if array.null_count:
                row = array.is_null().to_pylist().index(True)
                found = f"a missing value in {name!r} of {split} {_place(part, row)}"
                raise refused("workload.dataset", found, "a value in each row")
            arrays.append(array)
        return arrays

    def _check_copies(self) -> None:
        """Refuse the same samples in two tables: they would be trained on twice, or tested on.

        A table is refused beside its parts, too: all other tables of its split together.
        """
        named = {
            split: [
                (part.name if isinstance(part, Path) else split, table)
                for part, table in zip(self.parts[split], self._tables(split), strict=True)
                if {*self.inputs_in, self.labels_in} <= set(table.column_names) and len(table)
            ]
            for split in self.splits
        }
        lengths = Counter(len(table) for tables in named.values() for _, table in tables)
        seen: dict[tuple[int, ...], str] = {}
        for name, table in chain.from_iterable(named.values()):
            rows = self._rows(table) if lengths[len(table)] > 1 else ()
            if rows in seen:
                raise _twice(seen[rows], name)
            seen |= {rows: name} if rows else {}
        for tables in named.values():
            name, whole = max(tables, key=lambda one: len(one[1]), default=("", None))
            parts = [one for one in tables if one[1] is not whole]
            if whole is not None and len(whole) == sum(len(table) for _, table in parts):
                together = sorted(chain.from_iterable(self._rows(table) for _, table in parts))
                if tuple(together) == self._rows(whole):
                    raise _twice(name, " and ".join(part for part, _ in parts))

    def _rows(self, table: pa.Table) -> tuple[int, ...]:
        """Return hashes of a table's samples, whatever their order and the format that they came in."""
        columns = [[_plain(value) for value in table.column(name).to_pylist()] for name in self.inputs_in]
        labels = [_as_number(value) for value in table.column(self.labels_in).to_pylist()]
        return tuple(sorted(map(hash, zip(*columns, labels, strict=True))))

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

    @cached_property
    def _kept(self) -> dict[str, Sequence[pa.Table]]:
        return {}

    def _tables(self, split: str) -> Sequence[pa.Table]:
        """Return the tables of a split, read once."""
        if split not in self._kept:
            self._kept[split] = [_table(part) for part in self.parts[split]]
        return self._kept[split]


def _place(part: pa.Table | Path, row: int) -> str:
    return place_of(part, row) if isinstance(part, Path) else f"in row {row + 1}"


def _class_names(table: pa.Table, column: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face's libraries keep in a table's metadata."""
    try:
        facts = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = facts["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _check_names(told: Mapping[str, tuple[str, ...] | None]) -> None:
    """Refuse splits whose classes are named otherwise: the same number would be another class."""
    named = {split: names for split, names in told.items() if names is not None}
    for split, names in named.items():
        first = next(iter(named))
        if names != named[first]:
            found, allowed = f"the classes {', '.join(names)} in {split}", f"{', '.join(named[first])}"
            raise refused("workload.dataset.columns.label", found, f"{allowed}, as in {first}")


def _twice(one: str, other: str) -> Exception:
    found = f"the same samples in {one} and in {other}"
    return refused("workload.dataset.path", found, "each table once", "take one of them away")


def _plain(value: Any) -> Any:
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else str(content).strip()


def _as_number(label: Any) -> Any:
    """Return a label as a number where it is one: 1, 1.0, true, "1" and "01" are one class."""
    text = str(int(label) if isinstance(label, bool) else label).strip()
    return float(text) if NUMBER.fullmatch(text) else text


def _no_column(name: str, table: pa.Table, split: str) -> Exception:
    found = f"no column {name!r} in {split}"
    return refused(
        "workload.dataset.columns", found, ", ".join(table.column_names), "name them with columns:"
    )
