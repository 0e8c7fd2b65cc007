"""Trains the runs that a plan needs and, on idle processes, those that it is likely to need next.

The plan does not see a run that was trained ahead until it needs it, so that its course is the same with any
number of workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sflsim.experiment.simulate import simulate
from sflsim.learning.graph.store import MemoryStore, Store
from sflsim.scenario.schema import Scenario
from sflsim.workers.calls import Workers


class Shown(NamedTuple):
    """An evaluation; where the training diverged before it, the loss is infinite and `reason` says when."""

    accuracy: float
    loss: float
    reason: str = ""


@dataclass(frozen=True)
class Training:
    """A run to train: up to the last of its evaluations, named by keys, or to the target."""

    scenario: Scenario
    keys: tuple[str, ...]
    target: float

    def ends(self, shown: Shown) -> bool:
        """Tell whether nothing comes after an evaluation."""
        return shown.accuracy >= self.target or not math.isfinite(shown.loss)


class Trainings:
    """All trainings of a plan, by the keys of their evaluations."""

    def __init__(self, workers: Workers, device: str, cache: Path | None) -> None:
        self._workers = workers
        self._device = device
        self._cache = cache
        self._store = MemoryStore()
        self._seconds, self._done = 0.0, 0
        self._shown: dict[str, Shown] = {}
        self._running: list[tuple[Training, Future[list[Shown]]]] = []

    def evaluations(self, training: Training, likely: Iterable[Training] = (), left: int = 1) -> list[Shown]:
        """Return the evaluations of a training, in order; idle processes begin what is likely to be next.

        `left` is how many trainings may still come: what those done have taken tells whether processes pay.
        """
        if not self._known(training) and not self._workers.pay(self._seconds / max(1, self._done), left):
            started = time.monotonic()
            self._note(training, train(training, self._device, self._cache, self._store))
            self._seconds += time.monotonic() - started
            self._done += 1
            return list(self._told(training))
        others, done = iter(likely), False
        while not done and not self._known(training):
            if not self._on_its_way(training):
                self._begin(training)
            while len(self._running) < self._workers.count and (other := next(others, None)) is not None:
                if not self._known(other) and not self._on_its_way(other):
                    self._begin(other)
            self._workers.pool.wait([future for _, future in self._running])
            done = self._gather(training)
        return list(self._told(training))

    def _told(self, training: Training) -> Iterator[Shown]:
        for key in training.keys:
            if key not in self._shown:
                return
            yield self._shown[key]
            if training.ends(self._shown[key]):
                return

    def _known(self, training: Training) -> bool:
        """Tell whether all evaluations are known that the training will ever show."""
        told = list(self._told(training))
        return len(told) == len(training.keys) or (bool(told) and training.ends(told[-1]))

    def _on_its_way(self, training: Training) -> bool:
        """Tell whether the first evaluation that is not known is being computed."""
        next_key = training.keys[len(list(self._told(training)))]
        return any(next_key in other.keys for other, _ in self._running)

    def _begin(self, training: Training) -> None:
        future = self._workers.pool.submit(
            train, training, self._device, self._cache, None, training.scenario.trusted
        )
        self._running.append((training, future))

    def _gather(self, wanted: Training) -> bool:
        """Note the trainings that are done; return whether the wanted one is (its error is raised)."""
        done = False
        for training, future in list(self._running):
            if future.done():
                self._running.remove((training, future))
                done = done or training is wanted
                if training is wanted or future.exception() is None:
                    self._note(training, future.result())
        return done

    def _note(self, training: Training, shown: list[Shown]) -> None:
        self._shown.update(zip(training.keys, shown, strict=False))


def train(
    training: Training, device: str, cache: Path | None, store: Store | None = None, trusted: bool = False
) -> list[Shown]:
    """Return accuracy and loss at each evaluation; `trusted` where its scenario came without its trust."""
    scenario = training.scenario.with_trust() if trusted else training.scenario
    run = simulate(scenario, device=device, store=store, cache=cache)
    if run.status == "interrupted":
        raise KeyboardInterrupt
    accuracies, losses = run.evaluations["accuracy"], run.evaluations["loss"]
    shown = [Shown(float(accuracy), float(loss)) for accuracy, loss in zip(accuracies, losses, strict=True)]
    end = run.runs.iloc[0]
    return shown + ([Shown(0.0, math.inf, str(end["reason"]))] if end["status"] == "diverged" else [])
