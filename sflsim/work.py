"""Work by kind of operation: what a pass through a part of a network asks of a processor.

It is a float, the FLOP, and passes for one everywhere; beside that it knows of which kinds of operation the
FLOP are, the bytes that operations read and write, and how many operations there are. `work / rate` is a
time in s, where the rate is FLOP/s or `Rates` by kind (`sflsim.fleet.rates`).
"""

from __future__ import annotations

from typing import NamedTuple


class Kinds(NamedTuple):
    """What work consists of; a device has a rate for each."""

    convolution: float = 0.0
    """FLOP of dense convolutions, and of grouped ones with several channels in a group."""
    depthwise: float = 0.0
    """FLOP of convolutions with one input channel in each group."""
    matmul: float = 0.0
    """FLOP of matrix products and attention."""
    memory: float = 0.0
    """Bytes that operations read and write; views move none."""
    operations: float = 0.0
    """Number of operations, views left out."""


class WorkByKind(float):
    """FLOP of known kinds; sums and multiples are of known kinds as well."""

    __slots__ = ("kinds",)
    kinds: Kinds

    def __new__(cls, kinds: Kinds) -> WorkByKind:
        """Return the work of these kinds."""
        work = super().__new__(cls, kinds[0] + kinds[1] + kinds[2])
        work.kinds = kinds
        return work

    def __getnewargs__(self) -> tuple[Kinds]:  # type: ignore[override]
        return (self.kinds,)

    def __repr__(self) -> str:
        return f"WorkByKind({self.kinds})"

    def __add__(self, other: float) -> WorkByKind:
        if isinstance(other, WorkByKind):
            return WorkByKind(Kinds(*(a + b for a, b in zip(self.kinds, other.kinds, strict=True))))
        assert other == 0, f"{other} FLOP of unknown kinds"
        return self

    __radd__ = __add__

    def __mul__(self, factor: float) -> WorkByKind:
        a, b, c, d, e = self.kinds
        return WorkByKind(Kinds(factor * a, factor * b, factor * c, factor * d, factor * e))

    __rmul__ = __mul__
