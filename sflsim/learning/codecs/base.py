"""What a codec is: which numbers of a message it sends, what arrives of them, and how many bytes that takes.

A message is one tensor [rows, channels, ...] of float32 numbers: an activation has a row per sample, a model
one row. What arrives is D(C(x)), compressed and decompressed. No FLOP are charged for either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo

from sflsim.component_fields import OneOf
from sflsim.registry import codecs
from sflsim.streams import Key, seed_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NUMBER_BYTES = 4
"""Of a number that is not compressed."""


@dataclass(frozen=True)
class Message:
    """The size of a message: its numbers, rows, tensors (a model has several), and channels of all."""

    numbers: float
    rows: int
    tensors: int = 1
    channels: int = 1


class Draws:
    """The random numbers of one message, named by a key: the same whenever they are drawn."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._source: torch.Generator | None = None

    def uniform(self, like: Tensor) -> Tensor:
        """Return the next draws, uniform in [0, 1), in the shape of `like` and on its device."""
        import torch

        if self._source is None:
            self._source = torch.Generator().manual_seed(seed_of(self._key))
        return torch.rand(like.shape, generator=self._source).to(like.device)


class Codec(BaseModel):
    """Base of all codecs: a kind adds `kind: Literal["its-name"]`, `coded` and `coded_bytes`.

    One that leaves numbers out also defines `places`, `kept` and `places_bytes`, and sets `leaves_out`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    leaves_out: ClassVar[bool] = False
    """Whether some numbers of a message are not sent, and arrive as zero."""

    @property
    def does_nothing(self) -> bool:
        """Whether all numbers arrive as they are, in as many bytes."""
        return False

    def coded(self, x: Tensor, draws: Draws) -> Tensor:
        """Return what arrives of the numbers x [rows, channels, ...], in the same shape."""
        raise NotImplementedError

    def coded_bytes(self, message: Message) -> float:
        """Return the bytes of the numbers of a message."""
        raise NotImplementedError

    def places(self, x: Tensor, draws: Draws) -> Tensor | None:
        """Return the places [rows, k] in each flattened row of x that are sent; None: all are."""
        return None

    def kept(self, message: Message) -> Message:
        """Return the message of the numbers that are sent."""
        return message

    def places_bytes(self, message: Message) -> float:
        """Return the bytes that say which numbers of a message are sent."""
        return 0.0

    def sent_bytes(self, message: Message) -> float:
        """Return the bytes of a message on the link; none where it has no numbers, as of a frozen part."""
        if not message.numbers:
            return 0.0
        return self.places_bytes(message) + self.coded_bytes(self.kept(message))

    def halved(self) -> Codec | None:
        """Return this codec with half the bits; None where there is none."""
        return None


@dataclass(frozen=True)
class CodecField(OneOf):
    """A field that holds a codec: its kind, a mapping, 'int2' to 'int8', or 'none'.

    A codec that does nothing is held as None, as 'none' is.
    """

    def read(self, value: Any, info: ValidationInfo | None = None) -> BaseModel | None:
        """Return the codec that `value` describes, or None."""
        codec = super().read(value, info)
        return None if codec is None or getattr(codec, "does_nothing", False) else codec


SHORTHANDS = (("none", None), *((f"int{bits}", {"kind": "quantize", "bits": bits}) for bits in range(2, 9)))
"""Words that stand for a codec with its settings."""
CODEC = CodecField(codecs, shorthands=SHORTHANDS)
