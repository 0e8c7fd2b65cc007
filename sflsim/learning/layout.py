"""How the messages of a cut are laid out, for codecs. No torch."""

from __future__ import annotations

from typing import NamedTuple

PARTS = ("client", "server", "auxiliary")
NUMBERS = 2 + 2 * len(PARTS)
"""Numbers that a layout is kept as."""


class Tensors(NamedTuple):
    """How many tensors a part of the model has, and how many channels these have together."""

    tensors: int
    channels: int


class Layout(NamedTuple):
    """An activation's channels and the numbers of a sample's mask; the tensors of each part of the model."""

    channels: int
    mask_numbers: int
    parts: dict[str, Tensors]

    def numbers(self) -> tuple[float, ...]:
        """Return it as numbers, which a store keeps."""
        return tuple(map(float, (*self[:2], *(number for part in PARTS for number in self.parts[part]))))

    @classmethod
    def of(cls, numbers: tuple[float, ...]) -> Layout:
        """Return what `numbers` was made from (raises ValueError or OverflowError: from no layout)."""
        channels, mask_numbers, *counts = map(int, numbers)
        pairs = zip(counts[::2], counts[1::2], strict=True)
        return cls(channels, mask_numbers, dict(zip(PARTS, map(Tensors._make, pairs), strict=True)))
