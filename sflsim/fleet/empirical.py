"""A distribution made of measurements: the numbers of a CSV file, drawn with replacement.

The file is read when the scenario is read, so that a bad cell is a mistake with a place and a
draw never touches the disk. Imports the distributions' base, amounts and files.
"""

# ruff: noqa: D102 -- DistributionConfig documents what is overridden here
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from sflsim.errors import did_you_mean
from sflsim.fleet import files
from sflsim.fleet.amounts import Amount, AmountOf
from sflsim.fleet.distribution import DistributionConfig, Draws
from sflsim.fleet.files import at

_CELL = AmountOf(positive=False)


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """The numbers of one column in a base unit, shape (rows,)."""

    values: Draws
    unit: str

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Measurements) and self.unit == other.unit
        return same and np.array_equal(self.values, other.values)  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]


class Empirical(DistributionConfig):
    """Measurements from the CSV `file` (relative to the scenario's), all equally likely.

    A cell holds an amount ("12 ms"), or a bare number in the unit that `values_in` names. Without
    `column` the file must have one column; a first line that is no number is its header.
    """

    kind: Literal["empirical"] = "empirical"
    file: str
    column: str | None = None
    values_in: Annotated[str, Field(max_length=32)] | None = None
    _measurements: Measurements = PrivateAttr()

    @field_validator("file", mode="after")
    @classmethod
    def _found(cls, file: str, info: ValidationInfo) -> str:
        """Return the absolute path, so that the resolved scenario reads the same file from anywhere."""
        return files.found(file, info)

    def model_post_init(self, context: Any, /) -> None:
        cells = _cells(self.file, self.column)
        self._measurements = measured(cells, self.values_in)

    def amounts(self) -> dict[str, Amount]:
        return {"file": Amount(float(self._measurements.values.min()), self._measurements.unit)}

    @property
    def can_be_zero(self) -> bool:
        return bool((self._measurements.values == 0).any())

    @property
    def mean(self) -> float:
        return float(self._measurements.values.mean())

    @property
    def variance(self) -> float:
        return float(self._measurements.values.var())

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        values = self._measurements.values
        return values[rng.integers(0, len(values), n)]


def _cells(file: str, column: str | None) -> list[tuple[int, str]]:
    """Return (line, text) of every cell of the column."""
    rows = files.rows(file)
    place, has_header = _column(rows[0][1], column)
    cells = [(line, row[place] if place < len(row) else "") for line, row in rows[has_header:]]
    if not cells:
        raise at("file", "has no rows", "a header alone", "a CSV file with at least one number")
    return cells


def _column(first: list[str], column: str | None) -> tuple[int, bool]:
    """Return the column's place and whether the first row is a header."""
    names = [name.strip() for name in first]
    if column is not None:
        if column not in names:
            remedy = did_you_mean(column, names)
            raise at("column", "is no column of the file", repr(column), ", ".join(names), remedy)
        return names.index(column), True
    if len(names) > 1:
        raise at("column", "is missing", "nothing", f"the column to use, one of {', '.join(names)}")
    return 0, re.match(r"[-+.\d]|nan|inf", names[0], re.IGNORECASE) is None


def measured(cells: list[tuple[int, str]], values_in: str | None) -> Measurements:
    """Read every cell; all must be in one unit."""
    scale = _unit(values_in)
    amounts = [_amount(line, text, scale) for line, text in cells]
    unit = amounts[0].unit
    allowed = f"the unit of the first row, {cells[0][1]!r}"
    for (line, text), amount in zip(cells, amounts, strict=True):
        if amount.unit != unit:
            raise at("file", "mixes units", f"{text!r} in line {line}", allowed)
    return Measurements(np.array(amounts, dtype=np.float64), unit)


def _unit(values_in: str | None) -> Amount:
    """Return what a bare 1 in a cell stands for."""
    if values_in is None:
        return Amount(1.0)
    try:
        return AmountOf().read(f"1 {values_in}")
    except PydanticCustomError as error:
        allowed = "a unit such as ms, s, Mbit/s or GFLOP/s"
        remedy = str((error.context or {}).get("remedy", ""))
        raise at("values_in", "is no unit", repr(values_in), allowed, remedy) from error


def _amount(line: int, text: str, scale: Amount) -> Amount:
    try:
        try:
            return Amount(_CELL.read(float(text)) * scale, scale.unit)
        except ValueError as error:
            if isinstance(error, PydanticCustomError):
                raise
            return _CELL.read(text)
    except PydanticCustomError as error:
        allowed = "numbers, zero or more and finite, in every row"
        reason, found = f"has a cell that {error.message()}", f"{text!r} in line {line}"
        raise at("file", reason, found, allowed) from error
