"""A plan is the same to the last byte with any number of workers, whatever they do ahead of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from planned import MU_SPLITFED, SPLITFED_V1, planned

import sflsim
from sflsim.planner import plan as planning
from sflsim.planner import workers
from sflsim.planner.plan import Plan, plan
from sflsim.planner.workers import Workers

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


class Eager(Workers):
    """Workers without processes: every job is done in this one, at once or, by chance, somewhat later."""

    def __init__(self, count: int = 3) -> None:
        super().__init__(3)
        self.submitted = 0
        self._order = random.Random(0)
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: function(*arguments)))
        self._order.shuffle(self._waiting)
        self.do()
        return future

    def do(self, every: bool = False) -> None:
        """Do some of what waits, or all."""
        while self._waiting and (every or self._order.random() < 0.5):
            future, work = self._waiting.pop()
            future.set_result(work())

    def pay(self, each_s: float, left: int) -> bool:
        return True


@pytest.mark.parametrize("search", [{}, {"exact_up_to": 0, "trainings": 4}], ids=["exact", "guessed"])
def test_what_is_done_ahead_changes_nothing(
    search: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks and trainings in any order, also such as are never asked for."""
    alone = plan(scenario(**search))
    made: list[Eager] = []

    def eager(count: int) -> Eager:
        made.append(Eager(count))
        return made[-1]

    def until_done(futures: list[Future[Any]]) -> None:
        made[-1].do(every=not any(future.done() for future in futures))

    real = workers.result

    def waited(future: Future[Any]) -> Any:
        made[-1].do(every=not future.done())
        return real(future)

    monkeypatch.setattr(planning, "Workers", eager)
    monkeypatch.setattr("sflsim.planner.trainings.first_done", until_done)
    monkeypatch.setattr(workers, "result", waited)
    several = plan(scenario(**search), workers=3)
    assert whole(several, tmp_path / "several") == whole(alone, tmp_path / "alone")
    (pool,) = made
    assert pool.submitted > alone.manifest["trainings"] + alone.manifest["timed"]  # some of it ahead


def test_processes_make_the_same_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, which are gone afterwards; progress counts what is done, and of how much."""
    monkeypatch.setattr(workers, "WORTH_S", 0.0)
    lines: list[str] = []
    several = plan(scenario(), workers=2, progress=lines.append)
    assert whole(several, tmp_path / "several") == whole(plan(scenario()), tmp_path / "alone")
    assert [line for line in lines if line.startswith("timed 6 / 6")]
    assert any(line.startswith("training 1 / ") and " at most: " in line for line in lines)
    assert any(line.startswith("timed under other assumptions 1 / ") for line in lines)
    assert not workers.multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_plan_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_S", 0.0)
    monkeypatch.setattr(workers, "serve_parent", _dies)
    with pytest.raises(sflsim.SflsimError, match=r"a worker process died .* fewer --workers"):
        plan(scenario(), workers=2)


def _dies() -> None:
    raise SystemExit(1)
