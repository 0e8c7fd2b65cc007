"""The learning ports of runs that compute nothing; one of them names every call. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sflsim.learning.calls import initial
from sflsim.learning.graph.lineage import Args, Call, Handle, MathFunction


class EmptyHandle(Handle):
    """A handle of no call: there is nothing to compute, so nothing to name."""

    __slots__ = ()

    def __init__(self) -> None:
        self.held, self.value, self.index, self.key = False, None, 0, ""

    @property
    def internal(self) -> Handle:
        """Return the empty handle."""
        return self


class NullLearner:
    """Stands where the learning would be; every handle is the same empty one."""

    def __init__(self) -> None:
        self._nothing = EmptyHandle()

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        """Return an empty handle for every participant."""
        return [self._nothing] * len(arguments)

    def initial(self) -> Handle:
        """Return the empty handle."""
        return self._nothing

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (nan, nan): nothing was learned."""
        return math.nan, math.nan

    def numbers(self, handle: Handle, count: int) -> tuple[float, ...]:
        """Return so many nan: nothing was learned."""
        return (math.nan,) * count

    def first_diverged(self, models: Mapping[int, Handle], most_loss: float) -> int:
        """Never asked: nothing diverges."""
        raise AssertionError("nothing is computed, so nothing diverges")


class NamingLearner(NullLearner):
    """Names every call on the task as a `Learner` does; evaluations give what is `known` of their key."""

    def __init__(
        self, evaluated: list[str], task_key: str = "", known: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """Take the list that the key of each evaluated model is appended to."""
        super().__init__()
        self.evaluated = evaluated
        self.task_key = task_key
        self.known = {} if known is None else known

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        """Record a call of `function`."""
        return list(Call(self.task_key, function, arguments, shared).handles)

    def initial(self) -> Handle:
        """Return the name of the untrained model."""
        return self.call(initial, [{}], {})[0]

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) where they are known, else nan; a loss that is not finite is none."""
        self.evaluated.append(model.key)
        accuracy, loss = self.known.get(model.key, (math.nan, math.nan))
        return accuracy, loss if math.isfinite(loss) else math.nan
