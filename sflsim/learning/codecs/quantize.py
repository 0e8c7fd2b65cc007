"""Uniform quantization: each number is sent as the nearest of 2^bits levels from the minimum to the maximum.

The range is that of a tensor, or of each of its channels (of weights: each output's); it is sent beside, as
two float32. Of two levels as near the even one is sent. Stochastic rounding adds a draw in [0, 1) to the
number's place among the levels and sends the level below, which keeps the mean.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from sflsim.learning.codecs.base import NUMBER_BYTES, Codec, Draws, Message
from sflsim.mistakes import wrong_value

if TYPE_CHECKING:
    from torch import Tensor

FULL_BITS = 8 * NUMBER_BYTES


class Quantize(Codec):
    """2^bits levels between the smallest and the largest number; `int8` is {kind: quantize, bits: 8}."""

    kind: Literal["quantize"] = "quantize"
    bits: Annotated[int, Field(strict=True)] = Field(
        default=8, description="of a number, 2 to 8; 32: as it is held, not compressed"
    )
    per: Literal["tensor", "channel"] = Field(default="tensor", description="what has a range of its own")
    rounding: Literal["nearest", "stochastic"] = Field(
        default="nearest", description="to the nearest level, or to one of the two around, drawn by key"
    )

    @field_validator("bits")
    @classmethod
    def _few_or_all(cls, bits: int) -> int:
        if bits != FULL_BITS and not 2 <= bits <= 8:
            remedy = "for 16 bits write fp16 or bf16" if bits == 16 else ""
            raise wrong_value(str(bits), f"2 to 8, or {FULL_BITS} for numbers as they are held", remedy)
        return bits

    @property
    def does_nothing(self) -> bool:
        """Whether numbers are sent as they are held."""
        return self.bits == FULL_BITS

    def coded(self, x: Tensor, draws: Draws) -> Tensor:
        """Return the levels that stand for x."""
        import torch

        levels = 2**self.bits - 1
        over = [axis for axis in range(x.dim()) if self.per == "tensor" or axis != 1]
        low, high = x.amin(over, keepdim=True), x.amax(over, keepdim=True)
        step = (high - low) / levels
        place = (x - low) / torch.where(step == 0, 1.0, step)  # one level where all numbers are equal
        place = place.round() if self.rounding == "nearest" else (place + draws.uniform(x)).floor()
        arrived: Tensor = low + place.clamp(0, levels) * step
        return arrived

    def coded_bytes(self, message: Message) -> float:
        """Return the bits of all numbers, in whole bytes, and two float32 for each range."""
        ranges = message.channels if self.per == "channel" else message.tensors
        return ceil(message.numbers * self.bits / 8) + 2.0 * NUMBER_BYTES * ranges

    def halved(self) -> Quantize | None:
        """Return half the bits, if that leaves two."""
        return self.model_copy(update={"bits": self.bits // 2}) if self.bits >= 4 else None
