"""A plan is the same to the last byte with any number of workers, whatever they do ahead of it."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from planned import MU_SPLITFED, SPLITFED_V1, planned

import sflsim
from sflsim.planner.plan import Plan, plan
from sflsim.planner.progress import PlanProgress
from sflsim.planner.trainings import train
from sflsim.workers import calls
from sflsim.workers.backends import Event, Runner, Task
from sflsim.workers.pool import ignore

pytest.importorskip("torch")


def scenario(**search: Any) -> sflsim.Scenario:
    block = {
        "decisions": {"fleet.participants": [2, 4]},
        "objectives": ["time", "cost"],
        "prices": {"tflops_hour": 3.0},
        "search": search,
    }
    variants = [SPLITFED_V1, MU_SPLITFED]
    return planned(block, variants=variants, seeds=[0, 1], target_accuracy=0.25, stop={"rounds": 8})


def whole(found: Plan, folder: Path) -> list[bytes]:
    """Return every byte that a plan leaves behind, but for when and how it was made."""
    found.manifest.pop("provenance")
    found.save(folder)
    return [(folder / name).read_bytes() for name in sorted(path.name for path in folder.iterdir())]


class AnyOrder:
    """Three workers without processes: each does its task when, by chance, it is asked for what happened."""

    def __init__(self, make_runner: Callable[[], Runner]) -> None:
        self.runner = make_runner()
        self.events_to_come: list[Callable[[], Event]] = []
        self.started = self.trainings = 0
        self.order = random.Random(0)

    def start_worker(self) -> int:
        self.started += 1
        self.events_to_come.append(partial(Event, self.started, "ready"))
        return self.started

    def submit(self, worker: int, task: Task | None) -> None:
        assert task is not None
        self.trainings += task[0] is train
        self.events_to_come.append(lambda: Event(worker, "returned", self.runner.run(ignore, *task)))

    def events(self) -> Iterator[Event]:
        self.order.shuffle(self.events_to_come)
        yield self.events_to_come.pop()()

    def close(self, busy: Collection[int]) -> None:
        self.runner.close()


@pytest.mark.parametrize("search", [{}, {"exact_up_to": 0, "trainings": 4}], ids=["exact", "guessed"])
def test_what_is_done_ahead_changes_nothing(
    search: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks and trainings in any order, also those that the plan never asks for."""
    alone = plan(scenario(**search))
    backends: list[AnyOrder] = []

    def any_order(make_runner: Callable[[], Runner]) -> AnyOrder:
        backends.append(AnyOrder(make_runner))
        return backends[-1]

    monkeypatch.setattr(calls, "WORTH_S", 0.0)
    monkeypatch.setattr("sflsim.workers.pool.ProcessBackend", any_order)
    several = plan(scenario(**search), workers=3)
    assert whole(several, tmp_path / "several") == whole(alone, tmp_path / "alone")
    (backend,) = backends
    assert backend.started > 1
    assert backend.trainings > alone.manifest["trainings"]  # some of it ahead


def test_processes_make_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, which are gone afterwards; progress counts what is done, and of how much."""
    monkeypatch.setattr(calls, "WORTH_S", 0.0)
    steps: list[PlanProgress] = []
    several = plan(scenario(), workers=2, progress=steps.append)
    assert whole(several, tmp_path / "several") == whole(plan(scenario()), tmp_path / "alone")
    told = {(step.doing, step.done) for step in steps}
    assert {("points timed", 6), ("trainings, at most", 1), ("timed under other assumptions", 1)} <= told
    assert {step.total for step in steps if step.doing == "points timed"} == {6}
    assert all(step.done <= step.total and step.workers == 2 for step in steps)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_plan_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "WORTH_S", 0.0)
    monkeypatch.setattr(calls, "Caller", Deadly)
    with pytest.raises(sflsim.SflsimError, match=r"a worker process died .* fewer --workers"):
        plan(scenario(), workers=2)


class Deadly(calls.Caller):
    def run(self, *_: Any) -> Any:
        os._exit(1)
