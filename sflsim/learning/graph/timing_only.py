"""The learning port of a timing-only run: calls name nothing, evaluations know nothing. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sflsim.learning.graph.lineage import Handle, Lane, MathFunction


class EmptyHandle(Handle):
    """A handle of no call: there is nothing to compute, so nothing to name."""

    __slots__ = ()

    def __init__(self) -> None:
        self.held, self.value, self.index, self.key = False, None, 0, ""

    @property
    def internal(self) -> Handle:
        """Return the empty handle."""
        return self


class NoLearning:
    """Stands where the learning would be; every handle is the same empty one."""

    def __init__(self) -> None:
        self._nothing = EmptyHandle()

    def call(self, function: MathFunction, lanes: Sequence[Lane], shared: Lane) -> list[Handle]:
        """Return an empty handle for every lane."""
        return [self._nothing] * len(lanes)

    def initial(self) -> Handle:
        """Return the empty handle."""
        return self._nothing

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (nan, nan): nothing was learned."""
        return math.nan, math.nan

    def first_not_finite(self, models: Mapping[int, Handle]) -> int:
        """Never asked: nothing diverges."""
        raise AssertionError
