"""The tasks of workers: those that wait, and those under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from sflsim.explorer.shown import Shown
from sflsim.scenario.schema import Scenario


class Task(NamedTuple):
    """One task of a worker: `what` is to be found of a run, and what it is shown for."""

    what: str
    index: int  # type: ignore[assignment]  # of its variant, in place of a method of tuples
    seed: int
    of: Shown

    @property
    def key(self) -> str:
        """The key of its run."""
        return self.of.keys[self.index]

    @property
    def arguments(self) -> tuple[str, Scenario, int, int]:
        """What a worker takes of it."""
        return self.what, self.of.scenario, self.index, self.seed


class Tasks:
    """Tasks in order; those of earlier settings that are under way are finished, too."""

    def __init__(self) -> None:
        self.waiting: deque[Task] = deque()
        self._underway: list[Task] = []

    def replace(self, tasks: Sequence[Task]) -> None:
        """Let these wait in place of all that wait."""
        self.waiting = deque(tasks)

    def next(self) -> Task | None:
        """Return the next task, which is under way from now on."""
        if not self.waiting:
            return None
        self._underway.append(self.waiting.popleft())
        return self._underway[-1]

    def done(self, task: Task) -> None:
        """Note that a task is done."""
        self._underway.remove(task)

    def left(self, what: str, of: Shown) -> int:
        """Return how many tasks of a kind are not done."""
        return sum(task.what == what and task.of is of for task in (*self.waiting, *self._underway))
