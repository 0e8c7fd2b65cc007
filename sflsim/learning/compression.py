"""`compression:` of a variant: the codec of each kind of message. No torch here.

The learning meets it in `received.py`, the protocol in `simulation/sent.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sflsim.learning.codecs.base import CODEC, Codec
from sflsim.mistakes import mistake_at

Kind = Literal["activation", "gradient", "model"]
"""The kinds of message that can be compressed; labels, scalars and seeds travel as they are."""


class Compression(BaseModel):
    """The codec of each kind of message: a word (fp16, bf16, int2 to int8, none) or a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    activation: Annotated[Any, CODEC] = Field(default=None, description="of what goes up at the cut")
    gradient: Annotated[Any, CODEC] = Field(default=None, description="of the cut gradient, which goes down")
    model: Annotated[Any, CODEC] = Field(
        default=None, description="of what clients pull and push: their part, head, adapters or whole model"
    )

    @model_validator(mode="after")
    def _gradient_fits(self) -> Self:
        if self.activation is None or self.gradient is None or not self.activation.leaves_out:
            return self
        why = f"the gradient of an activation in {self.activation.kind} is sent at the activation's places"
        if self.gradient.leaves_out:
            allowed = "none, or a codec of all numbers, e.g. fp16"
            raise mistake_at("gradient", "has places of its own", self.gradient.kind, allowed, why)
        if getattr(self.gradient, "per", None) == "channel":
            raise mistake_at("gradient", "has no channels", "per: channel", "per: tensor", why)
        return self

    def codec(self, kind: Kind) -> Codec | None:
        """Return the codec of a kind of message; None if it is sent as it is held."""
        codec: Codec | None = getattr(self, kind)
        return codec

    @property
    def given(self) -> list[Kind]:
        """Return the kinds of message that are compressed."""
        return [kind for kind in get_args(Kind) if self.codec(kind) is not None]
