"""Rates by kind of operation: how long work takes on a processor that is not equally fast at everything.

`seconds = work / rates`, the sum over the kinds (see `sflsim.work`). One FLOP/s is off by up to twenty times
between networks; how well rates by kind do is in docs/background/device-rates.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue

from sflsim.fields import Compute, FieldFormat, Quantity, Seconds
from sflsim.mistakes import mistake, mistakes
from sflsim.work import Kinds, WorkByKind

Throughput = Annotated[float, Quantity("byte/s", "2.8 GB/s")]


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds for each FLOP of a kind, for each byte moved, for each operation and for each pass."""

    seconds: Kinds

    def __rtruediv__(self, work: float) -> float:
        """Return the time in s of work whose kinds are known."""
        if isinstance(work, WorkByKind):
            a, b, c, d, e, f = work.kinds
            p, q, r, s, t, u = self.seconds
            return a * p + b * q + c * r + d * s + e * t + f * u
        assert work == 0, f"{work} FLOP of unknown kinds"
        return 0.0

    def __mul__(self, factor: float) -> Rates:
        """Return rates that are `factor` times as fast."""
        return Rates(Kinds(*(one / factor for one in self.seconds)))


class RatesConfig(BaseModel):
    """Rates of a device or server by kind of operation; what is left out takes no time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    convolution: Compute | None = Field(default=None, description="dense convolutions")
    depthwise: Compute | None = Field(default=None, description="convolutions of each channel by itself")
    matmul: Compute | None = Field(default=None, description="matrix products and attention")
    memory: Throughput | None = Field(default=None, description="what operations read and write")
    per_operation: Seconds = Field(default=0.0, description="added for each operation")
    per_pass: Seconds = Field(default=0.0, description="added for each pass of a batch")

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.rates() == Rates(Kinds()):
            allowed = (
                "a rate for at least one of convolution, depthwise, matmul and memory, or a time per_..."
            )
            raise mistakes([((), mistake("takes no time", "no rate", allowed))])
        return self

    def rates(self) -> Rates:
        """Return the rates as times."""
        a, b, c, d = (
            1 / rate if rate else 0.0 for rate in (self.convolution, self.depthwise, self.matmul, self.memory)
        )
        return Rates(Kinds(a, b, c, d, self.per_operation, self.per_pass))


class RatesByKind(FieldFormat):
    """Reads a mapping of rates by kind in a field that otherwise is of the form `other`."""

    def __init__(self, other: FieldFormat) -> None:
        self._other = other

    def read(self, value: Any, info: ValidationInfo | None = None) -> Any:
        """Return the Config of rates by kind, or what the other form reads."""
        if isinstance(value, RatesConfig):
            return value
        if isinstance(value, Mapping) and "kind" not in value:
            return RatesConfig.model_validate(dict(value), context=info and info.context)
        return self._other.read(value, info)

    def write(self, value: Any) -> Any:
        """Return what `read` turns into the same value."""
        if isinstance(value, RatesConfig):
            return value.model_dump(mode="json", exclude_defaults=True)
        return self._other.write(value) if self._other.write else value

    def json_schema(self, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return that it is a mapping of rates, or of the other form."""
        return {"anyOf": [self._other.json_schema(handler), handler(RatesConfig.__pydantic_core_schema__)]}
