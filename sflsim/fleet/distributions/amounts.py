"""Amounts of a distribution: floats with one of the fleet's units.

A duration, a rate, a computing rate, a distance or a bare factor may be random. An `Amount` is read in any
of these units; the distribution then checks that its amounts agree in unit and suit the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue

from sflsim.fields import FieldFormat
from sflsim.mistakes import mistake
from sflsim.units import NoQuantity, measure, refuse_beyond, split

EXAMPLES = {"s": "2 s", "byte/s": "10 Mbit/s", "FLOP/s": "16 GFLOP/s", "km": "0.5 km", "": "1.5"}
UNITS = tuple(unit for unit in EXAMPLES if unit)


def allowed_in(unit: str | None, positive: bool = True) -> str:
    """Return what an amount in `unit` (None: in any unit) may look like."""
    sign = "above zero" if positive else "zero or more"
    if unit is None:
        return f"a number, alone or with a unit, {sign}, e.g. 1.5, '2 s' or '10 Mbit/s'"
    return f"a number{' with a unit' if unit else ''}, {sign}, e.g. '{EXAMPLES[unit]}'"


class Amount(float):
    """A float in `unit`, one of "s", "byte/s", "FLOP/s", "km" and "" (a bare factor).

    `found` is what the user wrote, for messages only.
    """

    __slots__ = ("found", "unit")
    unit: str
    found: str

    def __new__(cls, value: float, unit: str = "", found: str = "") -> Amount:
        """Return `value`, already in `unit`, as an amount."""
        amount = super().__new__(cls, value)
        amount.unit = unit
        amount.found = found or repr(str(amount))
        return amount

    def __str__(self) -> str:
        return f"{float(self)!r} {self.unit}" if self.unit else repr(float(self))


@dataclass(frozen=True)
class AmountOf(FieldFormat):
    """A field that holds an `Amount`; `positive` refuses zero."""

    positive: bool = True

    def read(self, value: Any, info: ValidationInfo | None = None) -> Amount:
        """Return `value` ("2 s", 1.5, "10 Mbit/s") in the base unit of its dimension."""
        if isinstance(value, Amount):
            amount = value
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._wrong(value, "is no quantity")
        else:
            amount = self._parsed(value) if isinstance(value, str) else self._bare(value)
        try:
            refuse_beyond(amount, amount.unit, self.positive)
        except NoQuantity as error:
            raise self._wrong(value, str(error), error.remedy) from None
        if amount < 0 or (self.positive and not amount):
            raise self._wrong(value, "must be above zero" if self.positive else "must not be negative")
        return amount

    def write(self, value: float) -> str | float:
        """Return an amount as text that reads back to the same float in the same unit."""
        return str(value) if getattr(value, "unit", "") else float(value)

    def _bare(self, value: float) -> Amount:
        try:
            return Amount(float(value) + 0.0, found=repr(value))
        except OverflowError as error:
            raise self._wrong(value, "is not finite") from error

    def _parsed(self, text: str) -> Amount:
        if not text.strip():
            raise self._wrong(text, "is empty")
        try:
            number, name = split(text)
            number, unit = measure(text, UNITS) if name else (number, "")
        except NoQuantity as error:
            raise self._wrong(text, str(error), error.remedy) from None
        return Amount(number, unit, repr(text))

    def _wrong(self, value: Any, reason: str, remedy: str = "") -> Exception:
        return mistake(reason, repr(value), allowed_in(None, self.positive), remedy)

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is text with a unit, or a number."""
        return {"anyOf": [{"type": "string"}, {"type": "number"}], "examples": list(EXAMPLES.values())}
