"""The learning plane behind its port: handles made by call, values computed when they are needed.

Imports torch through task; `NoLearning`, the port for timing-only runs lies in `absent`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sflsim.learning.calls import evaluate, initial
from sflsim.learning.executor import Executor
from sflsim.learning.lineage import Call, Handle, Lane, MathFunction
from sflsim.learning.store import Store
from sflsim.learning.task import Task


class Learner:
    """Learning by keyed calls on one task."""

    def __init__(self, task: Task, store: Store) -> None:
        self.task = task
        self.executor = Executor(task, store)

    def call(self, function: MathFunction, lanes: Sequence[Lane], shared: Lane) -> list[Handle]:
        """Name `function` for every lane; nothing is computed yet."""
        return list(Call(self.task.key, function, lanes, shared).handles)

    def initial(self) -> Handle:
        """Return the untrained model."""
        return self.call(initial, [{}], {})[0]

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) on the held-out data, computing whatever it takes."""
        accuracy, loss = self.executor.resolve(self.call(evaluate, [{"model": model}], {}))[0]
        return accuracy, loss

    def first_not_finite(self, models: Mapping[int, Handle]) -> int:
        """Return the first round whose model holds a value that is not finite, or gives such a loss."""
        for round, model in models.items():
            (value,) = self.executor.resolve([model])
            finite = all(bool(tensor.isfinite().all()) for tensor in value.values())
            if not finite or math.isinf(self.evaluate(model)[1]):
                return round
        return max(models, default=0)
