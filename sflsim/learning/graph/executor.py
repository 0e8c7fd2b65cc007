"""Resolves handles: walks back to what is known, then computes what is ready, batch by batch.

The values of a batch of ready calls depend on nothing but the calls, so a batch may be computed
anywhere and in any order. The participants of one call are stacked if the task says that this
pays (a fixed rule, never a timing), else computed one after another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sflsim.learning.graph.lineage import Call, Handle, Value, substitute
from sflsim.learning.graph.serialization import own_copy

if TYPE_CHECKING:
    from sflsim.learning.graph.store import Store


class KeyedTask(Protocol):
    """A task, or what stands for it until something must be computed."""

    @property
    def key(self) -> str:
        """Return the hash of all that its values rest on."""

    @property
    def is_loaded(self) -> bool:
        """Whether the task is there, and torch with it."""

    def loaded(self) -> StackingTask:
        """Return the task."""


class StackingTask(Protocol):
    """The half of a task that the executor needs."""

    @property
    def participants_at_once(self) -> int:
        """How many participants of a call are computed together."""

    def alike(self, arguments: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Return the places of the participants that may be computed together."""


class Executor:
    """Computes calls of one task, each key at most once while the store keeps it."""

    def __init__(self, task: KeyedTask, store: Store) -> None:
        self.task = task
        self.store = store
        self.computed: Counter[str] = Counter()

    def resolve(self, handles: Sequence[Handle]) -> list[Value]:
        """Return the values of `handles`."""
        values: dict[str, Value] = {}
        pending = self._pending(handles, values)
        users = Counter(key for call in pending for key in {handle.key for handle in call.inputs})
        wanted = {handle.key for handle in handles}
        for ready in _batches(pending, set(values)):
            for call, results in zip(ready, self.run(ready, values), strict=True):
                for handle, result in zip(call.handles, results, strict=True):
                    values[handle.key] = result
                    self.store.put(handle.key, result)
            for call in ready:
                for handle in call.inputs:
                    users[handle.key] -= 1
                    if not users[handle.key] and handle.key not in wanted:
                        del values[handle.key]
        return [values[handle.key] for handle in handles]

    def run(self, calls: Sequence[Call], values: dict[str, Value]) -> list[list[Value]]:
        """Compute a batch of ready calls."""
        return [self._compute(call, values) for call in calls]

    def _compute(self, call: Call, values: dict[str, Value]) -> list[Value]:
        self.computed[call.function.__name__] += 1
        arguments = [substitute(args, values) for args in call.arguments]
        task = self.task.loaded()
        step = task.participants_at_once
        results: dict[int, Value] = {}
        for places in task.alike(arguments):
            for start in range(0, len(places), step):
                some = places[start : start + step]
                found = call.function(task, [arguments[place] for place in some], **call.shared)
                results.update(zip(some, map(own_copy, found), strict=True))
        return [results[place] for place in range(len(arguments))]

    def _pending(self, handles: Iterable[Handle], values: dict[str, Any]) -> list[Call]:
        """Return the calls that must be computed, inputs first; put what is known into `values`."""
        order: list[Call] = []
        seen: set[str] = set()
        stack: list[tuple[Handle, bool]] = [(handle, False) for handle in handles]
        while stack:
            handle, inputs_done = stack.pop()
            if inputs_done:
                order.append(handle.call)
            elif handle.key not in values and handle.call.key not in seen:
                known = self.store.get(handle.key)
                if known is not None:
                    values[handle.key] = known
                    continue
                seen.add(handle.call.key)
                stack.append((handle, True))
                stack.extend((item, False) for item in handle.call.inputs)
        return order


def _batches(calls: Sequence[Call], known: set[str]) -> Iterator[list[Call]]:
    """Yield calls in batches, each in order: those whose inputs are known once the batches before are."""
    makers = {handle.key: number for number, call in enumerate(calls) for handle in call.handles}
    missing = [{makers[handle.key] for handle in call.inputs if handle.key not in known} for call in calls]
    users: dict[int, list[int]] = {}
    for number, others in enumerate(missing):
        for other in others:
            users.setdefault(other, []).append(number)
    ready = [number for number, others in enumerate(missing) if not others]
    while ready:
        yield [calls[number] for number in ready]
        made_ready = []
        for number in ready:
            for user in users.get(number, ()):
                missing[user].discard(number)
                if not missing[user]:
                    made_ready.append(user)
        ready = sorted(made_ready)
