"""Labels as numbers: read once over all splits, so that one label is one class wherever it stands.

Numbers may be written as texts ("10" is 10); words are numbered in the order of the training split's.
Pyarrow lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sflsim.errors import ScenarioError, refused
from sflsim.learning.data.source import TRAIN, Labels
from sflsim.readers.table import NUMBER

if TYPE_CHECKING:
    import pyarrow as pa

PATH = "workload.dataset.columns.label"
ALLOWED = "whole numbers from 0, or words"
MISSING = {"na", "n/a", "nan", "null", "none", "?", "-", "<na>", "missing", "unknown"}
"""What stands for no value among numbers."""
LARGEST = 2**31


@dataclass(frozen=True)
class ClassLabels:
    """The labels [N] of every split that has any, and the names of the classes where they have some."""

    numbers: Mapping[str, Labels]
    names: tuple[str, ...] | None

    @property
    def classes(self) -> int:
        """Return the number of classes: of the names, else one more than the largest label.

        Raises:
            ScenarioError: most of these numbers are the label of no sample.
        """
        if self.names is not None:
            return len(self.names)
        known = np.unique(np.concatenate([*self.numbers.values(), np.empty(0, np.int64)]))
        known = known[known >= 0]
        count = int(known[-1]) + 1 if len(known) else 0
        if count > 2 * len(known):
            found = f"labels up to {known[-1]}, of which only {len(known)} occur"
            raise refused(PATH, found, ALLOWED, "number the classes 0, 1, 2, ... or name them by words")
        return count


@dataclass(frozen=True)
class LabelColumn:
    """The labels of one table of a split; `place` tells where a row of it stands, for a message."""

    split: str
    values: pa.ChunkedArray
    place: Callable[[int], str]

    def refused(self, row: int, label: object, allowed: str = ALLOWED, remedy: str = "") -> ScenarioError:
        """Return the error of one label."""
        return refused(PATH, f"the label {label!r} in {self.split} {self.place(row)}", allowed, remedy)


@dataclass(frozen=True)
class _Read:
    """The labels of a column: as int64, or as texts (objects)."""

    column: LabelColumn
    labels: npt.NDArray[Any]

    @property
    def is_text(self) -> bool:
        return self.labels.dtype == object


def read_labels(columns: Sequence[LabelColumn], told: tuple[str, ...] | None) -> ClassLabels:
    """Return the labels of all columns; `told` are names that came with the data.

    Raises:
        ScenarioError: a label is missing or none, or they are words in one place and numbers in another.
    """
    parts = [_Read(column, _values(column)) for column in columns]
    words = {word for part in parts if part.is_text for word in part.labels.tolist()}
    if told is None and not _are_numbers(words):
        _check_words(words, parts)
        trained = [part.labels.tolist() for part in parts if part.is_text and part.column.split == TRAIN]
        told = tuple(sorted(set().union(*trained)))
    numbered = {name: place for place, name in enumerate(told)} if told is not None else None
    numbers: dict[str, list[Labels]] = {}
    for part in parts:
        numbers.setdefault(part.column.split, []).append(_numbers(part, numbered))
    return ClassLabels({split: np.concatenate(known) for split, known in numbers.items()}, told)


def _values(column: LabelColumn) -> npt.NDArray[Any]:
    import pyarrow as pa

    values = column.values
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if not len(values):
        return np.empty(0, np.int64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(values.to_pylist(), object)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise refused(PATH, f"labels of the type {kind} in {column.split}", ALLOWED)
    return _whole(values.to_numpy(), column)


def _whole(values: npt.NDArray[Any], column: LabelColumn) -> Labels:
    """Return numbers as int64, if they are whole and within reason."""
    wide = values.astype(np.float64)
    wrong = ~(np.abs(wide) < LARGEST) | (wide != np.floor(wide))
    if wrong.any():
        row = int(wrong.argmax())
        raise column.refused(row, values[row].item())
    return values.astype(np.int64)


def _are_numbers(words: Iterable[str]) -> bool:
    return all(NUMBER.fullmatch(word.strip()) for word in words)


def _check_words(words: set[str], parts: Sequence[_Read]) -> None:
    """Refuse words beside numbers, a missing label, and two spellings of one word."""
    word = min(word for word in words if not NUMBER.fullmatch(word.strip()))
    part = next(part for part in parts if part.is_text and word in part.labels.tolist())
    row = part.labels.tolist().index(word)
    number = next((other for other in parts if not other.is_text and len(other.labels)), None)
    others = [other for other in words if other.strip().lower() not in MISSING and other.strip()]
    if not word.strip() or (_are_numbers(others) and (others or number)):
        raise part.column.refused(row, word, "a label in each row", "leave such rows out")
    if number is not None:
        allowed = f"words everywhere, not numbers as in {number.column.split} {number.column.place(0)}"
        raise part.column.refused(row, word, allowed)
    stripped: dict[str, str] = {}
    for other in sorted(words):
        if stripped.setdefault(other.strip(), other) != other:
            found = f"the labels {stripped[other.strip()]!r} and {other!r}"
            raise refused(PATH, found, "one spelling of each", "take the blanks around them away")


def _numbers(part: _Read, numbered: Mapping[str, int] | None) -> Labels:
    """Return the numbers of labels: their places among the names, where they are words."""
    if not part.is_text:
        return part.labels
    if numbered is None:
        return _whole(np.array([float(word) for word in part.labels]), part.column)
    for row, word in enumerate(part.labels):
        if word not in numbered:
            raise part.column.refused(row, word, f"those in train: {', '.join(numbered)}")
    return np.array([numbered[word] for word in part.labels], np.int64)
