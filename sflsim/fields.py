"""Fields of Configs that users write in a form of their own: how such a field is read and written back.

A quantity is read from text with a unit (or a number where it has none), checked for dimension, sign and
finiteness, held as a float in the base unit that the field's name ends in, and written back as text that
reads to the same float.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sflsim.errors import SflsimError
from sflsim.mistakes import mistake
from sflsim.units import ADD_THE_UNIT, NoQuantity, bare, parse, refuse_beyond, split


class FieldFormat:
    """Base of the annotations of such fields."""

    write: Callable[[Any], Any] | None = None
    """What `read` turns into the same value; None: as pydantic writes it."""

    def read(self, value: Any, info: ValidationInfo | None = None) -> Any:
        """Return what a user's value is held as.

        Raises:
            PydanticCustomError: it is none.
        """
        raise NotImplementedError

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema of what may be written."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = self.write and core_schema.plain_serializer_function_ser_schema(self.write)
        return core_schema.with_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self.json_schema(handler)


@dataclass(frozen=True)
class Quantity(FieldFormat):
    """A float that is written with a unit.

    `unit` is the base unit held, `example` what a user may write, `positive` refuses zero,
    `unlimited` admits that word (held as infinity). Without a unit (`unit=""`) a bare number is
    expected. Above zero no amount is below `least`, for the reason `why`.
    """

    unit: str
    example: str
    positive: bool = True
    unlimited: bool = False
    least: float = 0.0
    why: str = ""

    def read(self, value: Any, info: ValidationInfo | None = None) -> float:
        """Return `value` (text, or a number where there is no unit) as a float in `unit`."""
        if self.unlimited and value in ("unlimited", math.inf):
            return math.inf
        try:
            number = self._number(value)
            refuse_beyond(number, self.unit, self.positive)
            if 0 < number < self.least:
                raise NoQuantity(f"is less than {self.shown(self.least)}", self.why)
            if number < 0 or (self.positive and number == 0):
                raise NoQuantity("must be above zero" if self.positive else "must not be negative")
        except NoQuantity as error:
            raise mistake(str(error), repr(value), self._allowed, error.remedy) from None
        return number

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise NoQuantity("is no quantity")
        if isinstance(value, str):
            return parse(value, self.unit) if self.unit else bare(value)
        if self.unit:
            raise NoQuantity("is a bare number", ADD_THE_UNIT)
        try:
            return float(value) + 0.0
        except OverflowError:
            return math.inf

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

    @property
    def _allowed(self) -> str:
        sign = "above zero" if self.positive else "zero or more"
        kind = f"a number with a unit, {sign}, e.g. '{self.example}'" if self.unit else f"a number, {sign}"
        return kind + (", or 'unlimited'" if self.unlimited else "")

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is text with a unit, or a number."""
        examples = [self.example, *(["unlimited"] if self.unlimited else [])]
        return {"type": "string" if self.unit else "number", "examples": examples}


@dataclass(frozen=True)
class Percent(FieldFormat):
    """A share held as a fraction in (0, 1], written "70%" or 0.7.

    With `most` it is a share from zero (included) up to that.
    """

    example: str = "70%"
    most: float | None = None

    def read(self, value: Any, info: ValidationInfo | None = None) -> float:
        """Return `value` ("70%" or 0.7) as a fraction."""
        remedy = ""
        try:
            number, unit = split(str(value))
            if unit == "%":
                number /= 100
            elif unit or isinstance(value, bool):
                raise NoQuantity("is no share")
            elif 1 < number <= 100:
                remedy = f"did you mean '{number:g}%'?"
        except NoQuantity as error:
            number, remedy = math.nan, error.remedy
        if not (0 < number <= 1 if self.most is None else 0 <= number <= self.most):
            sign = "above 0" if self.most is None else "from 0%"
            example = f"'{self.example}' or {float(self.example.rstrip('%')) / 100:g}"
            allowed = f"a share {sign} and up to {100 * (self.most or 1):g}%, e.g. {example}"
            raise mistake("is no share", repr(value), allowed, remedy)
        return number

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is text or a number."""
        return {"anyOf": [{"type": "string"}, {"type": "number"}], "examples": [self.example]}


@dataclass(frozen=True)
class AtMost:
    """Annotation of a number with an upper bound, and `why` there is one."""

    most: int | float
    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._bounded, handler(source))

    def _bounded(self, value: float) -> float:
        if value > self.most:
            reason = f"is more than {self.most}: {self.why}"
            raise mistake(reason, repr(value), f"a number up to {self.most}")
        return value

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "maximum": self.most}


def allowed_by(error: PydanticCustomError) -> str:
    """Return what a mistake says is allowed."""
    return str((error.context or {})["allowed"])


def read_argument(name: str, value: Any, form: FieldFormat) -> Any:
    """Return an option of a command, or an argument of a function, as a field of that form reads it.

    None where nothing is given.

    Raises:
        SflsimError: it cannot be read.
    """
    try:
        return None if value is None else form.read(value)
    except PydanticCustomError as error:
        remedy = (error.context or {}).get("remedy")
        text = f"{name}: found {value!r}; allowed: {allowed_by(error)}"
        raise SflsimError(f"{text}; {remedy}" if remedy else text) from None


SECONDS = Quantity("s", "2 s", positive=False)
JITTER = Quantity("s", "2 ms", positive=False, least=1e-15, why="no delay differs by that little")
PERIOD = Quantity("s", "30 s")
BYTES = Quantity("byte", "4 GiB")
PACKET = Quantity("byte", "1500 byte", least=1.0, why="a packet holds whole bytes")
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
COUNT = AtMost(10**9, "each is a step or a round that is gone through one by one")
PASSES = AtMost(4096, "each has a number of its own for its draws")
IN_MEMORY = AtMost(10**6, "each is held in memory")
ALPHA = AtMost(1e15, "shares are alike long before")
STEP_SIZE = AtMost(1e6, "parameters are 32-bit floats, which a larger step would overflow")

Count = Annotated[int, Field(strict=True, ge=1), COUNT]
Passes = Annotated[int, Field(ge=1), PASSES]
Held = Annotated[int, Field(ge=1), IN_MEMORY]
Alpha = Annotated[float, Field(gt=0), ALPHA]
StepSize = Annotated[float, Field(gt=0), STEP_SIZE]

Seconds = Annotated[float, SECONDS]
Period = Annotated[float, PERIOD]
Bytes = Annotated[float, BYTES]
Packet = Annotated[float, PACKET]
Traffic = Annotated[float, TRAFFIC]
Flop = Annotated[float, FLOP]
Compute = Annotated[float, COMPUTE]
Bandwidth = Annotated[float, BANDWIDTH]
Power = Annotated[float, POWER]
Energy = Annotated[float, ENERGY]
TransmitPower = Annotated[float, TRANSMIT_POWER]
Frequency = Annotated[float, FREQUENCY]
Noise = Annotated[float, NOISE]
Loss = Annotated[float, LOSS]
Fraction = Annotated[float, Percent()]
DutyCycle = Annotated[float, Percent("1%")]
Share = Annotated[float, Percent("50%", most=1.0)]
LostShare = Annotated[float, Percent("2%", most=0.99)]
