"""Numbers of 16 bits: IEEE half precision, or bfloat16 (float32's range, 8 bits of precision).

A number beyond half precision's 65,504 arrives as infinite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from sflsim.learning.codecs.base import Codec, Draws, Message
from sflsim.learning.codecs.quantize import Quantize

if TYPE_CHECKING:
    from torch import Tensor


class Cast(Codec):
    """Every number is rounded to the nearest of a type of 16 bits."""

    dtype: ClassVar[str]

    def coded(self, x: Tensor, draws: Draws) -> Tensor:
        """Return x rounded to the type."""
        import torch

        return x.to(getattr(torch, self.dtype)).to(x.dtype)

    def coded_bytes(self, message: Message) -> float:
        """Return two bytes for each number."""
        return 2.0 * message.numbers

    def halved(self) -> Quantize:
        """Return 8 bits."""
        return Quantize(bits=8)


class Fp16(Cast):
    """Half precision: two bytes a number."""

    kind: Literal["fp16"] = "fp16"
    dtype: ClassVar[str] = "float16"


class Bf16(Cast):
    """bfloat16: two bytes a number."""

    kind: Literal["bf16"] = "bf16"
    dtype: ClassVar[str] = "bfloat16"
