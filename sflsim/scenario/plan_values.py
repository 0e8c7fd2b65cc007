"""The values in a `plan:` block: lists and ranges to choose from, prices, a deadline."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from sflsim.fields import PERIOD, AtMost, Fraction, Period
from sflsim.mistakes import wrong_value
from sflsim.units import NoQuantity, split

PRODUCT = AtMost(1e15, "products of amounts would leave the range of 64-bit floats")
Price = Annotated[float, Field(ge=0), PRODUCT]
PositiveNumber = Annotated[float, Field(gt=0), PRODUCT]
RANGE = "a list, e.g. [1, 2, 4], or a range, e.g. {from: 1 TFLOP/s, to: 16 TFLOP/s, steps: 5, scale: log}"
MAX_VALUES = 1000
DEADLINE = "'2 h', or {within: 2 h, probability: 95%}"


class Block(BaseModel):
    """Base of the block's parts: frozen and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


End = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | str


class Range(Block):
    """Values from one number to another, both included; with a unit if the field has one."""

    from_: End = Field(alias="from")
    to: End
    steps: int | None = Field(
        default=None, strict=True, ge=2, le=MAX_VALUES, description="how many; 5, or every whole number"
    )
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _readable(self) -> Range:
        low, high = number_of(self.from_), number_of(self.to)
        if low is None or high is None or low[1] != high[1]:
            raise wrong_value(
                f"from {self.from_} to {self.to}", "two numbers with the same unit, or with none"
            )
        if not low[0] < high[0] or (self.scale == "log" and low[0] <= 0):
            raise wrong_value(
                f"from {self.from_} to {self.to}", "'from' below 'to', and above zero on a log scale"
            )
        if self._whole and self.steps is None and high[0] - low[0] >= MAX_VALUES:
            raise wrong_value(f"{high[0] - low[0] + 1:.0f} values", f"at most {MAX_VALUES}", "give 'steps'")
        return self

    @property
    def _whole(self) -> bool:
        return isinstance(self.from_, int) and isinstance(self.to, int)

    @property
    def values(self) -> list[Any]:
        """Return the values in order, each once; whole numbers stay whole."""
        (low, unit), (high, _) = number_of(self.from_) or (0.0, ""), number_of(self.to) or (0.0, "")
        steps = self.steps or (int(high - low) + 1 if self._whole and self.scale == "linear" else 5)
        shares = [share / (steps - 1) for share in range(steps)]
        if self.scale == "log":
            numbers = [math.exp(math.log(low) + share * (math.log(high) - math.log(low))) for share in shares]
        else:
            numbers = [low + share * (high - low) for share in shares]
        if self._whole:
            return list(dict.fromkeys(round(number) for number in numbers))
        texts = [f"{number:.6g}" for number in numbers]
        return list(dict.fromkeys(f"{text} {unit}" if unit else float(text) for text in texts))


class Deadline(Block):
    """The target must be reached `within` a time, in at least this share of the seeds."""

    within: Period
    probability: Fraction = 1.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Take a bare time for the mapping that it stands for."""
        if isinstance(value, (dict, Deadline)):
            return value
        try:
            PERIOD.read(value)
        except PydanticCustomError:
            remedy = "the probability is the share of the seeds that reach the target in time"
            raise wrong_value(repr(value), DEADLINE, remedy) from None
        return {"within": value}


Values = Annotated[
    Annotated[list[Any], Field(min_length=1, max_length=MAX_VALUES), Tag("list")]
    | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "range"),
]


def number_of(value: Any) -> tuple[float, str] | None:
    """Return number and unit of 3, 0.5 or "10 Mbit/s"; None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return split(str(value))
    except NoQuantity:
        return None
