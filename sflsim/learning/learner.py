"""The learning plane behind its port: handles made by call, values computed when they are needed.

With a store on disk, an evaluation is the moment at which what a resumed run goes on from is kept:
its result, and the weights that all handles which the protocol holds can be computed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from sflsim.errors import RunFailed
from sflsim.learning.calls import evaluate, initial, is_finite
from sflsim.learning.graph.executor import Executor
from sflsim.learning.graph.lineage import Args, Call, Handle, MathFunction, Value
from sflsim.learning.graph.store import Levels, SharedStore, Store
from sflsim.learning.task import Task


class Learner:
    """Learning by keyed calls on one task; `shared` outlives this process, if given."""

    def __init__(self, task: Task, store: Store, shared: SharedStore | None = None) -> None:
        self.task = task
        self._needed: WeakValueDictionary[str, Handle] = WeakValueDictionary()
        memory = Holding(store, self._needed)
        self.levels = Levels(memory, shared) if shared is not None else None
        self.executor = Executor(task, self.levels or memory)

    @property
    def computed(self) -> Mapping[str, int]:
        """How many calls of each function were computed so far."""
        return self.executor.computed

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        """Record a call of `function`; nothing is computed yet."""
        call = Call(self.task.key, function, arguments, shared)
        return [
            self._needed.get(own.key) or self._needed.setdefault(own.key, Handle(call, own.index, own.key))
            for own in call.handles
        ]

    def initial(self) -> Handle:
        """Return the untrained model."""
        return self.call(initial, [{}], {})[0]

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) on the held-out data, computing whatever it takes."""
        accuracy, loss = self._numbers(self.call(evaluate, [{"model": model}], {})[0], 2)
        return accuracy, loss

    def first_diverged(self, models: Mapping[int, Handle], most_loss: float) -> int:
        """Return the first round whose model holds a value that is not finite, or gives a larger loss."""
        for round, model in models.items():
            (finite,) = self._numbers(self.call(is_finite, [{"model": model}], {})[0], 1)
            loss = self.evaluate(model)[1]
            if not finite or math.isinf(loss) or loss > most_loss:
                return round
        return max(models, default=0)

    def _numbers(self, handle: Handle, count: int) -> tuple[float, ...]:
        """Return a value of so many numbers.

        Raises:
            RunFailed: the store holds something else, which this computation has not put there.
        """
        value: tuple[float, ...] = self._resolved(handle)
        if not isinstance(value, tuple) or len(value) != count:
            found = f"the store holds no result of this computation under {handle.key}"
            raise RunFailed(f"{found}: name another folder with --cache, or use --no-cache")
        return value

    def _resolved(self, handle: Handle) -> Any:
        """Return a value; where processes share a store, one of them computes it."""
        if self.levels is None:
            return self.executor.resolve([handle])[0]
        known = self.levels.get(handle.key)
        if known is not None:
            return known
        with self.levels.shared.lock(handle.key):
            (value,) = self.executor.resolve([handle])
            self.levels.keep(_frontier(list(self._needed.values()), self.levels))
        return value


class Holding:
    """A store that lets go what it wants, but for the values of handles that are held."""

    def __init__(self, store: Store, needed: Mapping[str, Handle]) -> None:
        self.store = store
        self._needed = needed

    def get(self, key: str) -> Value | None:
        """Return the value under `key`, or None."""
        value, handle = self.store.get(key), self._needed.get(key)
        return handle.value if value is None and handle is not None else value

    def put(self, key: str, value: Value) -> None:
        """Keep a value."""
        self.store.put(key, value)
        handle = self._needed.get(key)
        if handle is not None and handle.held:
            handle.value = value


def _frontier(needed: Iterable[Handle], levels: Levels) -> list[str]:
    """Return the keys of the known values that all that is needed can be computed from."""
    stack, seen, known = list(needed), set(), []
    while stack:
        handle = stack.pop()
        if handle.key not in seen:
            seen.add(handle.key)
            if levels.knows(handle.key):
                known.append(handle.key)
            else:
                stack.extend(handle.call.inputs)
    return known
