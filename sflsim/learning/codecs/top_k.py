"""Top-k sparsification, and its randomized form RandTopk (arXiv 2305.18469).

Of each row (a sample's activation, or a whole model) the k numbers of largest size are sent, with their
places; the others arrive as zero. Of equal sizes the first counts as the larger. With `random` each pick is,
with that probability, one of the numbers outside the top k. The gradient of such an activation is sent at the
same places, so it needs none of its own.
"""

from __future__ import annotations

from functools import partial
from math import ceil, floor, log2
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sflsim.fields import Fraction, Percent
from sflsim.learning.codecs.base import NUMBER_BYTES, SHORTHANDS, Codec, CodecField, Draws, Message
from sflsim.mistakes import mistake_at
from sflsim.registry import codecs

if TYPE_CHECKING:
    from torch import Tensor


def _of_values() -> dict[str, Any]:
    """Return the codecs of the numbers that are sent: all that leave none out."""
    return {name: codec for name, codec in codecs().items() if not getattr(codec, "leaves_out", False)}


class TopK(Codec):
    """The k numbers of largest size of each row, and their places."""

    leaves_out: ClassVar[bool] = True
    kind: Literal["top-k"] = "top-k"
    keep: Fraction = Field(
        description="the share of the numbers of a row that is sent: k of n, to the nearest, at least one"
    )
    random: Annotated[float, Percent("10%", most=1.0)] = Field(
        default=0.0, description="probability that a pick is outside the top k, drawn by key (RandTopk)"
    )
    values: Annotated[Any, CodecField(partial(_of_values), shorthands=SHORTHANDS)] = Field(
        default=None, description="codec of the numbers that are sent"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.keep == 1 and self.random:
            allowed = "0 where all numbers are kept"
            raise mistake_at("random", "does nothing", f"{self.random:g}", allowed, "drop it, or lower keep")
        if getattr(self.values, "per", None) == "channel":
            allowed = "per: tensor for the values that top-k sends"
            raise mistake_at("values", "has no channels", "per: channel", allowed, "they are in no channels")
        return self

    @property
    def does_nothing(self) -> bool:
        """Whether every number is sent as it is held."""
        return self.keep == 1 and self.values is None

    def count(self, numbers: float) -> int:
        """Return k for a row of so many numbers: `keep` of them, to the nearest."""
        return max(1, floor(self.keep * numbers + 0.5))

    def places(self, x: Tensor, draws: Draws) -> Tensor:
        """Return the places [rows, k] that are sent."""
        import torch

        size_RN = x.detach().flatten(1).abs()
        k = self.count(size_RN.shape[1])
        order_RN = size_RN.argsort(dim=1, descending=True, stable=True)
        if not self.random or k == order_RN.shape[1]:
            return order_RN[:, :k]
        inside_RK, outside = order_RN[:, :k], order_RN[:, k:]
        outsiders = (draws.uniform(inside_RK) < self.random).sum(dim=1).clamp(max=outside.shape[1])  # [rows]
        shuffled = [
            places.gather(1, draws.uniform(places).argsort(dim=1, stable=True))
            for places in (inside_RK, outside)
        ]
        number_K = torch.arange(k, device=x.device)
        drawn = shuffled[1][:, :k]
        drawn = torch.cat([drawn, drawn.new_zeros(len(drawn), k - drawn.shape[1])], dim=1)
        return torch.where(number_K < outsiders[:, None], drawn, shuffled[0])

    def coded(self, x: Tensor, draws: Draws) -> Tensor:
        """Return what arrives of the numbers that are sent."""
        return x if self.values is None else self.values.coded(x, draws)

    def coded_bytes(self, message: Message) -> float:
        """Return the bytes of the numbers that are sent."""
        if self.values is None:
            return NUMBER_BYTES * message.numbers
        return float(self.values.coded_bytes(message))

    def kept(self, message: Message) -> Message:
        """Return k numbers of each row, as one tensor."""
        return Message(message.rows * self.count(message.numbers / message.rows), message.rows)

    def places_bytes(self, message: Message) -> float:
        """Return k places of ceil(log2 n) bits or a bitmap of n bits for each row; 0 where all are sent."""
        numbers = message.numbers / message.rows
        k = self.count(numbers)
        if k >= numbers:
            return 0.0
        return ceil(message.rows * min(k * ceil(log2(numbers)), numbers) / 8)

    def halved(self) -> TopK:
        """Return half the share that is kept."""
        return self.model_copy(update={"keep": self.keep / 2})
