"""How far a sweep is, and how long it may still take."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sflsim.sweeps.order import Job
from sflsim.sweeps.runner import Result


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: a run has just ended."""

    points_done: int
    points: int
    runs_done: int
    runs: int
    trainings: int = 0
    """Runs that trained something, so far; the other `shared` found all that they need."""
    shared: int = 0
    broken: int = 0
    """Runs that failed or diverged, those of points that cannot be simulated included."""
    workers_lost: int = 0
    workers: int = 1
    real_s: float = 0.0
    left_s: float = math.nan
    """Real time left, as far as one can know; NaN before the first run has ended."""


SweepCallback = Callable[[SweepProgress], None]


class Tally:
    """Counts the runs that have ended; those of points that cannot be simulated have failed at the start.

    The first run of those that learn alike is expected to take as long as those that have trained, the
    others as long as those that have found all they need. So what a cache held already counts as nothing.
    """

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        possible = [job for job in jobs if not job.point.problems]
        self._open = Counter(job.point.number for job in possible)
        self._keys = len({job.key for job in possible})
        self._begun: set[str] = set()
        self._real_s: dict[bool, list[float]] = {True: [], False: []}  # by whether it trained
        self._workers = min(workers, len(possible))
        self._started_s = time.perf_counter()
        self.calls: Counter[str] = Counter()
        points, failed = len({job.point.number for job in jobs}), len(jobs) - len(possible)
        self.progress = SweepProgress(
            points - len(self._open), points, failed, len(jobs), broken=failed, workers=workers
        )

    def add(self, job: Job, result: Result, workers_lost: int) -> None:
        """Count a run."""
        self.calls.update(result.computed)
        self._open[job.point.number] -= 1
        self._begun.add(job.key)
        self._real_s[result.trained].append(result.real_s)
        before, status = self.progress, result.row["status"]
        self.progress = replace(
            before,
            points_done=before.points_done + (not self._open[job.point.number]),
            runs_done=before.runs_done + 1,
            trainings=before.trainings + result.trained,
            shared=before.shared + (not result.trained and status != "failed"),
            broken=before.broken + (status != "completed"),
            workers_lost=workers_lost,
            real_s=time.perf_counter() - self._started_s,
            left_s=self._left_s(before.runs - before.runs_done - 1),
        )

    def _left_s(self, runs: int) -> float:
        firsts = self._keys - len(self._begun)
        shared, trained = self._real_s[False], self._real_s[True]
        other_s = fmean(shared) if shared else 0.0
        first_s = fmean(trained) if trained else other_s
        return (firsts * first_s + (runs - firsts) * other_s) / self._workers

    def counts(self) -> dict[str, Any]:
        """Return what the sweep took: runs, trainings, calls computed, workers lost."""
        names = ("points", "runs", "trainings", "shared", "broken", "workers_lost")
        calls = dict(sorted(self.calls.items()))
        return {**{name: getattr(self.progress, name) for name in names}, "computed_calls": calls}
