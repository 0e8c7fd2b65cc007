"""The learning plane behind its port: handles made by call, values computed when they are needed.

With a store on disk, an evaluation is the moment at which what a resumed run goes on from is kept:
its result, and the weights that all handles which the protocol holds can be computed from. From time
to time the calls behind these weights are forgotten, so that memory does not grow with the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from sflsim.errors import NotLearned, RunFailed
from sflsim.learning.calls import evaluate, initial, is_finite
from sflsim.learning.graph.executor import Executor, KeyedTask
from sflsim.learning.graph.lineage import Args, Call, Handle, MathFunction, Value
from sflsim.learning.graph.store import Levels, SharedStore, Store, size_bytes

FORGET_EVERY = 500_000
"""Length of calls between two times that the calls behind known values are forgotten; about 1 MB."""
FORGET_LATE = 100_000_000
"""The same while torch is not loaded, as to read the values would load it; about 200 MB."""
PINNED_BYTES = 256 * 2**20
"""Most bytes of values that replace the calls behind them; beyond it, calls are kept."""


class Learner:
    """Learning by keyed calls on one task; `shared` outlives this process, if given."""

    def __init__(self, task: KeyedTask, store: Store, shared: SharedStore | None = None) -> None:
        self.task = task
        self._needed: WeakValueDictionary[str, Handle] = WeakValueDictionary()
        self._pinned: WeakValueDictionary[str, Handle] = WeakValueDictionary()
        self._length = 0  # of the calls since some were last forgotten
        memory = Holding(store, self._needed, self._pinned)
        self.levels = Levels(memory, shared) if shared is not None else None
        self.executor = Executor(task, self.levels or memory)

    @property
    def computed(self) -> Mapping[str, int]:
        """How many calls of each function were computed so far."""
        return self.executor.computed

    def call(self, function: MathFunction, arguments: Sequence[Args], shared: Args) -> list[Handle]:
        """Record a call of `function`; nothing is computed yet."""
        call = Call(self.task.key, function, arguments, shared)
        self._length += call.length
        return [
            self._needed.get(own.key) or self._needed.setdefault(own.key, Handle(call, own.index, own.key))
            for own in call.handles
        ]

    def initial(self) -> Handle:
        """Return the untrained model."""
        return self.call(initial, [{}], {})[0]

    def evaluate(self, model: Handle) -> tuple[float, float]:
        """Return (accuracy, loss) on the held-out data, computing whatever it takes."""
        accuracy, loss = self.numbers(self.call(evaluate, [{"model": model}], {})[0], 2)
        return accuracy, loss

    def first_diverged(self, models: Mapping[int, Handle], most_loss: float) -> int:
        """Return the first round whose model holds a value that is not finite, or gives a larger loss."""
        for round, model in models.items():
            (finite,) = self.numbers(self.call(is_finite, [{"model": model}], {})[0], 1)
            loss = self.evaluate(model)[1]
            if not finite or math.isinf(loss) or loss > most_loss:
                return round
        return max(models, default=0)

    def numbers(self, handle: Handle, count: int) -> tuple[float, ...]:
        """Return a value of so many numbers, computing whatever it takes.

        Raises:
            RunFailed: the store holds something else, which this computation has not put there.
        """
        value: tuple[float, ...] = self._resolved(handle)
        if self._length >= (FORGET_EVERY if self.task.is_loaded else FORGET_LATE):
            self._forget()
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
            self.levels.keep(handle.key for handle in self._frontier(self.levels.knows))
        return value

    def _frontier(self, knows: Callable[[str], bool]) -> list[Handle]:
        """Return handles of known values that all that is needed can be computed from."""
        stack, seen, known = list(self._needed.values()), set(), []
        while stack:
            handle = stack.pop()
            if handle.key not in seen:
                seen.add(handle.key)
                if knows(handle.key):
                    known.append(handle)
                else:
                    stack.extend(handle.call.inputs)
        return known

    def _forget(self) -> None:
        """Let known values stand in place of the calls that made them, and of all calls behind those."""
        self._length = 0
        get = self.executor.store.get
        left_bytes = PINNED_BYTES
        for call in dict.fromkeys(handle.call for handle in self._frontier(lambda key: get(key) is not None)):
            values = [get(handle.key) for handle in call.handles]
            left_bytes -= sum(size_bytes(value) for value in values)
            if left_bytes < 0 or any(value is None for value in values):
                continue
            for handle, value in zip(call.handles, values, strict=True):
                handle.value = value
                self._pinned[handle.key] = handle
            call.inputs = call.arguments = ()


class KnownLearner(Learner):
    """Takes every result from its stores and computes none."""

    def _resolved(self, handle: Handle) -> Any:
        """Return a value that is known.

        Raises:
            NotLearned: it is in no store.
        """
        value = self.executor.store.get(handle.key)
        if value is None:
            raise NotLearned(handle.key)
        return value


class Holding:
    """A store that lets go what it wants, but for the values of handles that are held or pinned."""

    def __init__(self, store: Store, needed: Mapping[str, Handle], pinned: Mapping[str, Handle]) -> None:
        self.store = store
        self._needed = needed
        self._pinned = pinned

    def get(self, key: str) -> Value | None:
        """Return the value under `key`, or None."""
        value = self.store.get(key)
        for handles in (self._needed, self._pinned):
            handle = handles.get(key) if value is None else None
            value = handle.value if handle is not None else value
        return value

    def put(self, key: str, value: Value) -> None:
        """Keep a value."""
        self.store.put(key, value)
        handle = self._needed.get(key)
        if handle is not None and handle.held:
            handle.value = value
