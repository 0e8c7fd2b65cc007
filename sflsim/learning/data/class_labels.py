"""Labels as numbers: read once over all splits, so that one label is one class wherever it stands.

Numbers may be written as texts ("10" is 10); words are numbered in the order of the training split's.
Pyarrow lazily.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sflsim.learning.data.source import TRAIN, Labels, refused
from sflsim.readers.text import NUMBER

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


def read_labels(
    columns: Mapping[str, Sequence[pa.ChunkedArray]], told: tuple[str, ...] | None
) -> ClassLabels:
    """Return the labels of the columns of each split; `told` are names that came with the data.

    Raises:
        ScenarioError: a label is missing or none, or they are words in one place and numbers in another.
    """
    parts = {split: [_values(column, split) for column in known] for split, known in columns.items()}
    flat = [(split, one) for split, known in parts.items() for one in known if len(one)]
    texts = [(split, one) for split, one in flat if one.dtype == object]
    words = {word for _, one in texts for word in one.tolist()}
    if told is None and words and not _are_numbers(words):
        _check_words(words, [(split, one) for split, one in flat if one.dtype != object], texts)
        told = tuple(sorted({word for split, one in texts if split == TRAIN for word in one.tolist()}))
    numbered = {name: place for place, name in enumerate(told)} if told is not None else None
    numbers = {
        split: np.concatenate([*(_numbers(one, split, numbered) for one in known), np.empty(0, np.int64)])
        for split, known in parts.items()
    }
    return ClassLabels(numbers, told)


def _values(column: pa.ChunkedArray, split: str) -> npt.NDArray[Any]:
    """Return labels as int64, or as texts (objects) stripped of nothing."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_null(kind) and not len(column):
        return np.empty(0, np.int64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return np.array(column.to_pylist(), object)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise refused(PATH, f"labels of the type {kind} in {split}", ALLOWED)
    return _whole(column.to_numpy(), split)


def _whole(values: npt.NDArray[Any], split: str) -> Labels:
    """Return numbers as int64, if they are whole and within reason."""
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(values.astype(np.float64)) < LARGEST) | (values != np.floor(values.astype(np.float64)))
    if bad.any():
        raise refused(PATH, f"the label {values[bad.argmax()]} in {split}", ALLOWED)
    return values.astype(np.int64)


def _are_numbers(words: set[str]) -> bool:
    return all(NUMBER.fullmatch(word.strip()) for word in words)


def _check_words(
    words: set[str],
    numbers: Sequence[tuple[str, npt.NDArray[Any]]],
    texts: Sequence[tuple[str, npt.NDArray[Any]]],
) -> None:
    """Refuse words beside numbers, a missing label, and two spellings of one word."""
    example = min(word for word in words if not NUMBER.fullmatch(word.strip()))
    split = next(split for split, one in texts if example in one.tolist())
    others = {word for word in words if word.strip().lower() not in MISSING and word.strip()}
    if not example.strip() or (others and (numbers or len(others) < len(words)) and _are_numbers(others)):
        raise refused(PATH, f"the label {example!r} in {split}", "a label in each row", "leave such rows out")
    if numbers:
        other, known = numbers[0]
        found = f"the number {known[0]} in {other} and the word {example!r} in {split}"
        raise refused(PATH, found, "numbers everywhere, or words everywhere")
    stripped: dict[str, str] = {}
    for word in sorted(words):
        if stripped.setdefault(word.strip(), word) != word:
            found = f"the labels {stripped[word.strip()]!r} and {word!r}"
            raise refused(PATH, found, "one spelling of each", "take the blanks around them away")


def _numbers(values: npt.NDArray[Any], split: str, numbered: Mapping[str, int] | None) -> Labels:
    """Return the numbers of labels: their places among the names, where they are words."""
    if values.dtype != object:
        return values
    if numbered is None:
        return _whole(np.array([float(word) for word in values]), split)
    return np.fromiter(_places(values, split, numbered), np.int64, len(values))


def _places(values: npt.NDArray[Any], split: str, numbered: Mapping[str, int]) -> Iterator[int]:
    for word in values:
        if word not in numbered:
            found = f"the label {word!r} in {split}"
            raise refused(PATH, found, f"those in train: {', '.join(numbered)}")
        yield numbered[word]
