"""Learning rates that change by round: constant, by steps or along a cosine, each after a warm-up.

A rate of a scenario is a number or a schedule. `Simulation.learn` puts the rate of the round in place of each
schedule, so no math and no key ever sees one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from sflsim.component_fields import OneOf
from sflsim.fields import COUNT, Count, FieldFormat, Fraction, StepSize
from sflsim.mistakes import mistake_at, wrong_value

NUMBER = TypeAdapter(StepSize)
EXAMPLE = "{kind: cosine, rate: 0.1, rounds: 300}"


class Schedule(BaseModel):
    """A learning rate by round, after a warm-up in which it rises in equal steps.

    Round r (from 0) of a warm-up over W rounds has the share (r + 1) / (W + 1) of `rate`; what follows counts
    its rounds from the end of the warm-up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rate: StepSize = Field(description="learning rate of the first round after the warm-up")
    warm_up: Annotated[int, Field(strict=True, ge=0), COUNT] = Field(
        default=0, description="rounds in which the rate rises in equal steps, before all others"
    )

    def at(self, round: int) -> float:
        """Return the rate of a round, counted from 0."""
        if round < self.warm_up:
            return self.rate * (round + 1) / (self.warm_up + 1)
        return self.after_warm_up(round - self.warm_up)

    @abstractmethod
    def after_warm_up(self, round: int) -> float:
        """Return the rate of a round, counted from 0 at the end of the warm-up."""


class Constant(Schedule):
    """The same rate in every round after the warm-up."""

    kind: Literal["constant"] = "constant"

    def after_warm_up(self, round: int) -> float:
        """Return the rate."""
        return self.rate


class Step(Schedule):
    """A rate that is multiplied by `factor` after every so many rounds (torch's StepLR)."""

    kind: Literal["step"] = "step"
    factor: Fraction = Field(description="what the rate is multiplied by, e.g. 0.5")
    rounds: Count = Field(description="rounds of each rate")

    def after_warm_up(self, round: int) -> float:
        """Return rate * factor^(round // rounds)."""
        return float(self.rate * self.factor ** (round // self.rounds))


class Cosine(Schedule):
    """A rate that falls to `final` along half a cosine, and stays there (torch's CosineAnnealingLR)."""

    kind: Literal["cosine"] = "cosine"
    rounds: Count = Field(description="rounds from the first rate to the final one")
    final: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="rate after these rounds, at most 'rate'"
    )

    @model_validator(mode="after")
    def _falls(self) -> Cosine:
        if self.final > self.rate:
            allowed = f"a number from 0 to 'rate' ({self.rate:g})"
            raise mistake_at("final", "is above the first rate", self.final, allowed)
        return self

    def after_warm_up(self, round: int) -> float:
        """Return final + (rate - final) (1 + cos(pi round / rounds)) / 2."""
        share = min(round / self.rounds, 1.0)
        return self.final + (self.rate - self.final) * (1 + math.cos(math.pi * share)) / 2


KINDS: dict[str, type[Any]] = {"constant": Constant, "step": Step, "cosine": Cosine}
SCHEDULES = OneOf(lambda: KINDS)


class RateFormat(FieldFormat):
    """Reads a learning rate: a number, or a mapping that describes a schedule."""

    def read(self, value: Any, info: ValidationInfo | None = None) -> Any:
        """Return the number or the schedule."""
        if isinstance(value, (Mapping, Schedule)):
            return SCHEDULES.read(value, info)
        try:
            return NUMBER.validate_python(value)
        except ValidationError:
            if isinstance(value, (int, float)):
                raise
            allowed = f"a number above zero, or a schedule, e.g. {EXAMPLE}"
            raise wrong_value(repr(value), allowed) from None

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is a number, or a mapping that names a kind of schedule."""
        _, mapping = SCHEDULES.json_schema(handler)["anyOf"]
        return {"anyOf": [handler(NUMBER.core_schema), mapping]}


Rate = Annotated[float | Schedule, RateFormat()]


def rate_at(rate: float | Schedule, round: int) -> float:
    """Return a learning rate in a round, counted from 0."""
    return rate.at(round) if isinstance(rate, Schedule) else rate


def at_round(settings: Mapping[str, Any], round: int) -> dict[str, Any]:
    """Return settings with the rate of a round in place of each schedule, also in mappings among them."""
    resolved = {}
    for name, value in settings.items():
        if isinstance(value, Schedule):
            value = value.at(round)
        elif isinstance(value, dict):
            value = at_round(value, round)
        resolved[name] = value
    return resolved
