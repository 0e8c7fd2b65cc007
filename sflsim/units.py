"""Quantities as users write them ("10 Mbit/s", "35 ms") and as the code holds them (SI floats).

A field of a Config is annotated with one of the types below. It is read from text with a unit
(or a number where the quantity has none), checked for dimension, sign and finiteness, held as a
float in the base unit that its name ends in, and written back as text that reads to the same
float. The one home of pint; nothing of the package is imported here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import pint
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@cache
def registry() -> pint.UnitRegistry[float]:
    """Return the unit registry: pint's own, with FLOP, sample-free bytes and percent."""
    units: pint.UnitRegistry[float] = pint.UnitRegistry(cache_folder=None)
    units.define("FLOP = [computation] = FLOPs")
    return units


def parse(text: str, unit: str) -> float:
    """Return the quantity `text` ("10 Mbit/s") as a float in `unit` ("byte/s").

    Raises:
        ValueError: no quantity, another dimension, or not finite; the text says which.
    """
    head, tail = text.strip()[:1], text.strip().lower()
    if (
        not (head.isdigit() or head in "+-.")
        or tail[:4].lstrip("+-").startswith(("nan", "inf"))
        or len(text) > 64
    ):
        raise ValueError("is no number with a unit")
    if "**" in text or "^" in text or "(" in text:
        raise ValueError("is no number with a unit")
    try:
        number, _, name = _split(text.strip())
        value = _converted(float(number), _factor(name, unit)) if name else None
    except pint.DimensionalityError as error:
        raise ValueError("is in another unit of measure") from error
    except pint.UndefinedUnitError as error:
        raise ValueError(f"has an unknown unit {str(error).split(chr(39))[1]!r}") from error
    except (
        ValueError,
        pint.PintError,
        TypeError,
        AttributeError,
        OverflowError,
        SyntaxError,
        AssertionError,
    ) as error:
        raise ValueError("is no number with a unit") from error
    if value is None:
        raise ValueError("has no unit")
    if not math.isfinite(value):
        raise ValueError("is not finite")
    return value


def _factor(name: str, unit: str) -> float:
    """Return how many `unit` one `name` is; to pint a bit is a mere number, so a Hz would be a bit/s."""
    units = registry()
    if units.Unit(name) == units.Unit(unit):
        return 1.0
    if units.get_root_units(name)[1] != units.get_root_units(unit)[1]:
        raise pint.DimensionalityError(name, unit)
    return float(units.Quantity(1.0, name).to(unit).magnitude)


def _converted(number: float, factor: float) -> float:
    """Return `number` times `factor`; divided by a whole number where that is the same, as it is exact."""
    divisor = round(1 / factor) if factor < 1 else 0
    return number / divisor if divisor and abs(divisor * factor - 1) < 1e-12 else number * factor


def _split(text: str) -> tuple[str, str, str]:
    """Split "1.5e3 Mbit/s" into number, blank and unit."""
    end = 0
    for end in range(len(text), 0, -1):
        try:
            float(text[:end])
        except ValueError:
            continue
        break
    if "_" in text[:end]:
        raise ValueError("digits with underscores")
    return text[:end], "", text[end:].strip()


@dataclass(frozen=True)
class Quantity:
    """Annotation of a float field that is written with a unit.

    `unit` is the base unit held, `example` what a user may write, `positive` refuses zero,
    `unlimited` admits that word (held as infinity). Without a unit (`unit=""`) a bare number is
    expected.
    """

    unit: str
    example: str
    positive: bool = True
    unlimited: bool = False

    def read(self, value: Any) -> float:
        """Return `value` (text, or a number where there is no unit) as a float in `unit`."""
        if self.unlimited and value in ("unlimited", math.inf):
            return math.inf
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise self._error(value, "is no quantity")
        if isinstance(value, str):
            try:
                number = parse(value, self.unit) if self.unit else float(value)
            except ValueError as error:
                raise self._error(value, str(error) if self.unit else "is no number") from error
        elif self.unit:
            raise self._error(value, "is a bare number")
        else:
            number = float(value)
        if not math.isfinite(number):
            raise self._error(value, "is not finite")
        if number < 0 or (self.positive and number == 0):
            raise self._error(value, "must be above zero" if self.positive else "must not be negative")
        return number

    def write(self, value: float) -> str | float:
        """Return `value` as text that `read` turns into the same float."""
        if value == math.inf:
            return "unlimited"
        return f"{value!r} {self.unit}" if self.unit else value

    def shown(self, value: float) -> str:
        """Return `value` for a message, to six digits; less than a second in ms."""
        if self.unit == "s" and 0 < value < 1:
            return f"{1e3 * value:.6g} ms"
        return f"{value:.6g} {self.unit}"

    def _error(self, value: Any, reason: str) -> PydanticCustomError:
        sign = "above zero" if self.positive else "zero or more"
        kind = f"a number with a unit, {sign}, e.g. '{self.example}'" if self.unit else f"a number, {sign}"
        kind += ", or 'unlimited'" if self.unlimited else ""
        return PydanticCustomError(
            "quantity", "{reason}", {"reason": reason, "allowed": kind, "found": repr(value)}
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        examples = [self.example, *(["unlimited"] if self.unlimited else [])]
        return {"type": "string" if self.unit else "number", "examples": examples}


@dataclass(frozen=True)
class Percent:
    """Annotation of a share held as a fraction in (0, 1], written "70%" or 0.7.

    With `most` it is a share from zero (included) up to that.
    """

    example: str = "70%"
    most: float | None = None

    def read(self, value: Any) -> float:
        """Return `value` ("70%" or 0.7) as a fraction."""
        try:
            if isinstance(value, bool):
                raise ValueError
            text = str(value).strip()
            number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            number = math.nan
        if not (0 < number <= 1 if self.most is None else 0 <= number <= self.most):
            upper = 100 * (self.most or 1)
            example = float(self.example.rstrip("%")) / 100
            sign = "above 0" if self.most is None else "from 0%"
            raise PydanticCustomError(
                "quantity",
                "{reason}",
                {
                    "reason": "is no share",
                    "allowed": f"a share {sign} and up to {upper:g}%, e.g. '{self.example}' or {example:g}",
                    "found": repr(value),
                },
            )
        return number

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, {"type": "number"}], "examples": [self.example]}


SECONDS = Quantity("s", "2 s", positive=False)
PERIOD = Quantity("s", "30 s")
BYTES = Quantity("byte", "4 GiB")
TRAFFIC = Quantity("byte", "32 KiB", positive=False)
FLOP = Quantity("FLOP", "5.6 MFLOP", positive=False)
COMPUTE = Quantity("FLOP/s", "16 GFLOP/s")
SERVER_COMPUTE = Quantity("FLOP/s", "10 TFLOP/s", unlimited=True)
BANDWIDTH = Quantity("byte/s", "10 Mbit/s")
POWER = Quantity("W", "3.5 W", positive=False)
ENERGY = Quantity("J", "15 Wh")
TRANSMIT_POWER = Quantity("W", "0.2 W")
FREQUENCY = Quantity("Hz", "10 MHz")
NOISE = Quantity("W/Hz", "3.981e-21 W/Hz")
DISTANCE = Quantity("km", "0.5 km")
LOSS = Quantity("dB", "128.1 dB", positive=False)
FACTOR = Quantity("", "1.5")

Seconds = Annotated[float, SECONDS]
Period = Annotated[float, PERIOD]
Bytes = Annotated[float, BYTES]
Traffic = Annotated[float, TRAFFIC]
Flop = Annotated[float, FLOP]
Compute = Annotated[float, COMPUTE]
ServerCompute = Annotated[float, SERVER_COMPUTE]
Bandwidth = Annotated[float, BANDWIDTH]
Power = Annotated[float, POWER]
Energy = Annotated[float, ENERGY]
TransmitPower = Annotated[float, TRANSMIT_POWER]
Frequency = Annotated[float, FREQUENCY]
Noise = Annotated[float, NOISE]
Loss = Annotated[float, LOSS]
Fraction = Annotated[float, Percent()]
DutyCycle = Annotated[float, Percent("1%")]
LostShare = Annotated[float, Percent("2%", most=0.99)]
