"""Zeroth-order estimation: random directions that are named by a key and never need to be kept.

The estimator of a function f at x is (f(x + lam u) - f(x - lam u)) / (2 lam) * u with u uniform
on the sphere of radius sqrt(d), or standard Gaussian (shared by MU-SplitFed, arXiv 2510.21155,
and MeZO). Shapes: C participants, d parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Literal

from sflsim.streams import Key, seed_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Direction = Literal["sphere", "gaussian"]

CHUNK = 1 << 20  # numbers drawn at once: the working memory of a direction, whatever d is

MAX_RATE_TIMES_DIMENSION = 100.0
"""The default rates of MU-SplitFed and HERON-SFL stay below this over the dimension."""


def rate(given: float | None, usual: float, bound: float, dimension: int) -> float:
    """Return the learning rate `given`, by default the `usual` one, but at most `bound` over the dimension d.

    A step along one direction is as long as sqrt(d) times the slope along it, so that a rate which suits a
    small network makes the numbers of a large one grow without bound.
    """
    return min(usual, bound / max(dimension, 1)) if given is None else given


class Directions:
    """One direction for each participant, drawn again from its key whenever it is needed.

    At most `CHUNK` numbers of a participant exist at any time; directions no longer than that are drawn
    once and kept. They are drawn on the CPU, so that every device sees the same ones. `spans` says
    where in a vector the `size` parameters lie, where it holds other numbers too; these keep every bit.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        size: int,
        kind: Direction,
        device: torch.device | None = None,
        spans: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.keys = keys
        self.size = size
        self.kind = kind
        self._spans = [(0, size)] if spans is None else list(spans)
        self._short = self._draw_short().to(device) if size <= CHUNK else None
        self._scales = [] if size <= CHUNK else [self._scale(key) for key in keys]

    def add_(self, x_CD: Tensor, factor: float | Tensor) -> None:
        """Add `factor` times the directions to `x_CD` in place; `factor` is a number or [C]."""
        if self._short is not None:
            for (start, end), first in _spread(self._spans, 0, self.size):
                moved, u_CD = x_CD[:, start:end], self._short[:, first : first + end - start]
                if isinstance(factor, float):
                    moved.add_(u_CD, alpha=factor)
                else:
                    moved.addcmul_(u_CD, factor.unsqueeze(1))
            return
        for i, key in enumerate(self.keys):
            scale = (factor if isinstance(factor, float) else float(factor[i])) * self._scales[i]
            place = 0
            for piece in _pieces(key, self.size):
                for (start, end), first in _spread(self._spans, place, len(piece)):
                    some = piece[first : first + end - start]
                    x_CD[i, start:end].add_(some.to(x_CD.device), alpha=scale)
                    del some
                place += len(piece)
                del piece  # before the next is drawn

    def _draw_short(self) -> Tensor:
        import torch

        u_CD = torch.stack([next(_pieces(key, self.size), torch.empty(0)) for key in self.keys])
        if self.kind == "sphere":
            u_CD *= sqrt(self.size) / torch.linalg.vector_norm(u_CD, dim=1, keepdim=True)
        return u_CD

    def _scale(self, key: Key) -> float:
        import torch

        if self.kind == "gaussian":
            return 1.0
        squares = 0.0
        for piece in _pieces(key, self.size):
            squares += float(piece.square_().sum(dtype=torch.float64))
            del piece  # before the next is drawn
        return sqrt(self.size / squares)


def _spread(
    spans: Sequence[tuple[int, int]], place: int, count: int
) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield where parameters number `place` to `place + count` lie in a vector: ((first, end), offset)."""
    before = 0
    for start, end in spans:
        low, high = max(place, before), min(place + count, before + end - start)
        if low < high:
            yield (start + low - before, start + high - before), low - place
        before += end - start


def _pieces(key: Key, size: int) -> Iterator[Tensor]:
    """Yield the standard normal draws of `key`, `CHUNK` at a time."""
    import torch

    source = torch.Generator().manual_seed(seed_of(key))
    for start in range(0, size, CHUNK):
        yield torch.randn(min(CHUNK, size - start), generator=source)


def two_sided(
    f: Callable[[Tensor], Tensor], x_CD: Tensor, directions: Directions, lam: float
) -> tuple[Tensor, Tensor]:
    """Return f(x + lam u) and f(x - lam u) for every participant; `x_CD` is moved in place and moved back.

    `f` maps parameters [C, d] to anything with a leading dimension C. Moving back leaves at most the
    rounding error of three additions, as on a device that cannot hold a second copy. One after the
    other: as twice as many participants they took as long or longer in every network tried.
    """
    import torch

    directions.add_(x_CD, lam)
    with torch.inference_mode():
        plus = f(x_CD)
    directions.add_(x_CD, -2.0 * lam)
    with torch.inference_mode():
        minus = f(x_CD)
    directions.add_(x_CD, lam)
    return plus, minus


def one_sided(
    f: Callable[[Tensor], Tensor], at_x: Tensor, x_CD: Tensor, directions: Directions, mu: float
) -> Tensor:
    """Return f(x + mu u) - f(x) for every participant, given `at_x` = f(x); `x_CD` keeps every bit.

    `f` maps parameters [C, d] to anything with a leading dimension C.
    """
    import torch

    moved_CD = x_CD.clone()
    directions.add_(moved_CD, mu)
    with torch.inference_mode():
        return f(moved_CD) - at_x


def descend_(
    f: Callable[[Tensor], Tensor],
    x_CD: Tensor,
    directions: Sequence[Directions],
    lam: float,
    learning_rate: float,
) -> None:
    """Take one zeroth-order step in place: x <- x - learning_rate * mean over P directions of the estimate.

    `f` maps parameters [C, d] to losses [C].
    """
    slopes = []
    for u in directions:
        slopes.append(slope(*two_sided(f, x_CD, u, lam), lam))
    step_along_(x_CD, directions, slopes, learning_rate)


def slope(plus_C: Tensor, minus_C: Tensor, lam: float) -> Tensor:
    """Return the slopes [C] along directions from the values [C] of a function at +- lam."""
    return (plus_C - minus_C) / (2.0 * lam)


def step_along_(
    x_CD: Tensor, directions: Sequence[Directions], slopes: Sequence[Tensor], learning_rate: float
) -> None:
    """Take a step in place against the mean of the estimates: P directions, each times its slopes [C]."""
    for u, slope_C in zip(directions, slopes, strict=True):
        u.add_(x_CD, slope_C * (-learning_rate / len(slopes)))
