"""A distribution made of measurements: the numbers of a file, drawn with replacement.

The file is read when the scenario is read, so that a bad cell is a mistake with a place and a
draw never touches the disk.
"""

# ruff: noqa: D102 -- DistributionConfig documents what is overridden here
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from sflsim.errors import did_you_mean
from sflsim.fleet import files
from sflsim.fleet.distributions.amounts import Amount, AmountOf
from sflsim.fleet.distributions.base import DistributionConfig, Draws
from sflsim.fleet.files import Cell, Table
from sflsim.mistakes import mistake, mistake_at
from sflsim.readers.table import NUMBER

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
    """Measurements from the `file` (CSV, TSV or JSON lines, relative to the scenario's), all equally likely.

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
        return files.absolute_path(file, info)

    def model_post_init(self, context: Any, /) -> None:
        cells = _cells(self.file, self.column)
        self._measurements = measured(cells, self.values_in)

    def content(self) -> bytes:
        """Return what was read, to be told from other content."""
        return self._measurements.values.tobytes() + self._measurements.unit.encode()

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


def _cells(file: str, column: str | None) -> list[Cell]:
    """Return every cell of the column."""
    table = files.table(file, may_lack_header=True)
    place = _column(table, column)
    return [row[place] for row in table.filled()]


def _column(table: Table, column: str | None) -> int:
    """Return the column's place."""
    names = table.names
    if not names and (len(table.rows[0]) > 1 or column is not None):
        first = table.rows[0]
        found = f"{', '.join(cell.text for cell in first)!r} {first[0].place}"
        allowed = "a first line with the names of the columns, or one column alone"
        raise mistake_at(
            "file", "has no header", found, allowed, "write 12.5, not 12,5, where it is one number"
        )
    if column is not None and column not in names:
        remedy = did_you_mean(column, names)
        raise mistake_at(
            "column", "is no column of the file", repr(column), ", ".join(map(repr, names)), remedy
        )
    if column is None and len(names) > 1:
        raise mistake_at("column", "is missing", "nothing", f"the column to use, one of {', '.join(names)}")
    return 0 if column is None else names.index(column)


def measured(cells: list[Cell], values_in: str | None) -> Measurements:
    """Read every cell; all must be in one unit."""
    scale = _unit(values_in)
    amounts = [_amount(cell, scale) for cell in cells]
    unit = amounts[0].unit
    allowed = f"the unit of the first row, {cells[0].text!r}"
    for cell, amount in zip(cells, amounts, strict=True):
        if amount.unit != unit:
            raise mistake_at("file", "mixes units", str(cell), allowed)
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
        raise mistake_at("values_in", "is no unit", repr(values_in), allowed, remedy) from error


def _amount(cell: Cell, scale: Amount) -> Amount:
    try:
        if NUMBER.fullmatch(cell.text):
            return _CELL.read(Amount(_CELL.read(cell.number) * scale, scale.unit, repr(cell.text)))
        amount = _CELL.read(cell.text)
        if not amount.unit:  # digits that only Python reads, such as 1_000
            raise mistake("is no number", cell.text, "")
        return amount
    except PydanticCustomError as error:
        allowed = "numbers, zero or more and finite, in every row"
        remedy = "write 12.5, not 12,5; 1250000, not 1,250,000" if "," in cell.text else ""
        if not any(letter.isdigit() for letter in cell.text):
            remedy = "leave the row out, if nothing was measured"
        raise mistake_at("file", f"has a cell that {error.message()}", str(cell), allowed, remedy) from error
