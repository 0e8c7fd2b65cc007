"""Work by kind of operation: what a pass through a part of a network asks of a processor.

It is a float, the FLOP, and passes for one everywhere; beside that it knows of which kinds of operation the
FLOP are, the bytes that operations read and write, and how many operations and passes there are.
`work / rate` is a time in s, where the rate is FLOP/s, `Rates` by kind (`sflsim.fleet.rates`) or what was
measured of these very passes (`sflsim.fleet.block_profile`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Way = Literal["forward", "backward", "zeroth-order"]
"""Of a pass: forward; backward, with a step of the parameters; zeroth-order, that is forward with parameters
that are moved first, with half of what a zeroth-order step takes to draw its direction and to move them."""


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
    passes: float = 0.0
    """Number of passes of one batch through consecutive blocks."""


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: a run looks it up again and again
class Pass:
    """One pass of one batch through consecutive blocks of a network."""

    way: Way
    blocks: tuple[str, ...]
    batch_size: int
    forward_flop: float
    """Of a forward pass, which tells networks with blocks of the same names apart."""
    kinds: Kinds


class WorkByKind(float):
    """FLOP of known kinds; sums and multiples are of known kinds as well."""

    __slots__ = ("kinds", "moved", "passes")
    kinds: Kinds
    passes: tuple[tuple[Pass, float], ...]
    """What it consists of, each with its number; empty where that is not known."""
    moved: WorkByKind | None
    """Of a forward pass, the same pass with parameters that are moved first (see `moved`)."""

    def __new__(
        cls, kinds: Kinds, passes: tuple[tuple[Pass, float], ...] = (), moved: WorkByKind | None = None
    ) -> WorkByKind:
        """Return the work of these kinds."""
        work = super().__new__(cls, kinds[0] + kinds[1] + kinds[2])
        work.kinds, work.passes, work.moved = kinds, passes, moved
        return work

    def __getnewargs__(self) -> tuple[Kinds, tuple[tuple[Pass, float], ...], WorkByKind | None]:  # type: ignore[override]
        return self.kinds, self.passes, self.moved

    def __repr__(self) -> str:
        return f"WorkByKind({self.kinds})"

    def __add__(self, other: float) -> float:
        if isinstance(other, WorkByKind):
            kinds = Kinds(*(a + b for a, b in zip(self.kinds, other.kinds, strict=True)))
            return WorkByKind(kinds, self.passes + other.passes)
        return self if other == 0 else float(self) + other

    __radd__ = __add__

    def __mul__(self, factor: float) -> WorkByKind:
        a, b, c, d, e, f = self.kinds
        kinds = Kinds(factor * a, factor * b, factor * c, factor * d, factor * e, factor * f)
        return WorkByKind(kinds, tuple((one, factor * count) for one, count in self.passes))

    __rmul__ = __mul__


def moved(work: float) -> float:
    """Return the work of a forward pass whose parameters are moved along a direction first.

    By kind, it has a share of what drawing the direction and moving them, there and back, takes: half of a
    two-sided step's. That counts no FLOP, so for one rate it is the same work.
    """
    return work.moved or work if isinstance(work, WorkByKind) else work
