"""A sweep: one scenario at every combination of some fields' values, in one table.

    sweep = sflsim.sweep(scenario, {"fleet.straggler.mean": ["1 s", "5 s"], "variants[mu].tau": [1, 4]})
    sweep.table.groupby(["fleet.straggler.mean", "variant"])["time_s"].mean()

Runs that learn alike train once, whatever the worker; a broken point stands in the table with its
error.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from sflsim.errors import RunError, SflsimError
from sflsim.experiment import folders
from sflsim.experiment.simulate import check_device
from sflsim.provenance import fingerprint, provenance, versions
from sflsim.record import tables
from sflsim.record.folders import Claim
from sflsim.registry import algorithm_of
from sflsim.report.html_points import sweep_report
from sflsim.scenario.files import contents, reread
from sflsim.scenario.loading import written
from sflsim.scenario.saved import Saved, checked
from sflsim.scenario.schema import Scenario
from sflsim.scenario.sweep_block import Over
from sflsim.scenario.yaml_lines import write_yaml
from sflsim.session import Options
from sflsim.sweeps.grid import Point, merged, points
from sflsim.sweeps.runner import Job, Result, RunExecutor, failed, learning_key
from sflsim.sweeps.schedule import MAX_DEATHS, Schedule
from sflsim.sweeps.table import FIGURES, summarize_sweep, sweep_table
from sflsim.workers.pool import Event, InlinePool, ProcessPool, WorkerPool


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: a run has just ended."""

    points_done: int
    points: int
    runs_done: int
    runs: int
    trainings: int
    """Runs that trained something, so far; the other `shared` found all that they need."""
    shared: int
    broken: int
    """Runs that failed or diverged, those of points that cannot be simulated included."""
    workers_lost: int
    real_s: float
    left_s: float
    """Real time left, as far as one can know; NaN before the first run has ended."""


SweepCallback = Callable[[SweepProgress], None]


class Sweep:
    """The table of a sweep, with the scenario it started from and what was varied.

    `table` has a row per point, variant and seed: `point`, a column for each path of `over`, then
    the columns of `sflsim.sweeps.table.FIGURES`. `manifest` says how it was computed.
    """

    def __init__(
        self,
        scenario: Scenario | Saved,
        over: Mapping[str, list[Any]],
        table: pd.DataFrame,
        manifest: dict[str, Any],
    ) -> None:
        self._scenario = scenario
        self.over = dict(over)
        self.table = table
        self.manifest = manifest

    @property
    def scenario(self) -> Scenario:
        """Return the scenario that was swept (raises ScenarioError where what it names is not here)."""
        return checked(self._scenario)

    @property
    def status(self) -> str:
        """Return "completed" or "interrupted"; a single point may still be broken (`table.status`)."""
        return str(self.manifest["status"])

    def summary(self) -> pd.DataFrame:
        """Return one row per point and variant: means over the seeds."""
        return summarize_sweep(self.table, list(self.over))

    def report(self, file: str | Path) -> Path:
        """Write the sweep as one HTML page that needs nothing beside it, and return its path."""
        text = sweep_report(
            self.table,
            list(self.over),
            name=self._scenario.name,
            description=self._scenario.description,
            scenario=_resolved(self._scenario, self.over),
            manifest=self.manifest,
        )
        return tables.write_text(text, file)

    def save(self, folder: str | Path | Claim) -> Path:
        """Write scenario.yaml, sweep.parquet, sweep.csv and, last, the manifest sweep.json.

        Raises:
            RunError: the folder cannot be written.
        """
        return folders.write(
            folder,
            "sweep",
            scenario=_resolved(self._scenario, self.over),
            frames={"sweep": self.table},
            manifest={**self.manifest, "over": self.over},
            texts={"sweep.csv": self.table.to_csv(index=False, lineterminator="\n")},
        )

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Sweep:
        """Return the sweep that `save` wrote to `folder`; with `trust` code that its scenario names may run.

        Raises:
            RunError: it is no folder of a sweep, or a file in it is missing or damaged.
        """
        found = folders.read(folder, "sweep", ("sweep",), {"over": dict, "status": str}, trust=trust)
        over = {str(path): _listed(values, folder) for path, values in found.manifest.pop("over").items()}
        folders.need(folder, found, {"sweep": ("point", *over, *FIGURES)})
        return cls(found.scenario, over, found.tables["sweep"], found.manifest)


def sweep(
    scenario: Scenario,
    over: Over | None = None,
    workers: int | None = None,
    ray: str | None = None,
    cache: str | Path | None = None,
    progress: SweepCallback | None = None,
    *,
    device: str = "cpu",
    timing_only: bool = False,
) -> Sweep:
    """Simulate a scenario at every combination of the values in `over` and return one table of all.

    `over` maps paths, as after `--set`, to lists of values; it adds to the scenario's own `sweep:`
    block. One worker (the default) is this process; more are processes of their own (a script must
    then guard its main part with `if __name__ == "__main__"`). `ray` is "auto", the address of a
    Ray cluster, or "local"; all its CPUs work unless `workers` says how many. What is trained is
    kept in the folder `cache`, on Ray best one that all machines share; without it, for the time
    of the sweep. The table depends on none of these.

    Raises:
        ScenarioError: no combination can be simulated; a path, for instance, leads nowhere.
        SflsimError: no device, no Ray cluster, or workers that cannot start.
    """
    scenario = reread(scenario)
    over = merged(scenario, over)
    options = Options(device, timing_only, trusted=scenario.trusted)
    check_device(device, timing_only)
    found = points(scenario, over, options)
    files = {file: one for point in found for file, one in contents(point.scenario).items()}
    jobs = _jobs(found)
    started = time.perf_counter()
    with folders.learned(cache, needed=(ray is not None or (workers or 1) > 1) and not timing_only) as folder:
        pool, count = _pool(RunExecutor(replace(options, cache=folder)), workers, ray, found)
        dispatcher = _Dispatcher(found, jobs, pool, min(count, len(jobs)), progress)
        try:
            dispatcher.work()
        finally:
            pool.close()
    results = dispatcher.results
    table = sweep_table(over, _rows(found, jobs, results))
    manifest = {
        **dispatcher.counts(),
        "broken_points": int(table.loc[table["status"] != "completed", "point"].nunique()),
        "status": "completed" if len(results) == len(jobs) else "interrupted",
        "device": device,
        "timing_only": timing_only,
        "workers": count,
        "ray": ray or "",
        "real_s": round(time.perf_counter() - started, 3),
        "scenario": fingerprint(_resolved(scenario, over), files),
        "files": files,
        "versions": versions(),
        "provenance": provenance(),
    }
    return Sweep(scenario, over, table, manifest)


def _jobs(found: Sequence[Point]) -> list[Job]:
    """Return the runs of all points that can be simulated, in the order of the table."""
    runs = [
        (point.number, variant, seed, learning_key(point.scenario, variant, seed))
        for point in found
        if not point.problems
        for variant, seed in _runs(point)
    ]
    return [Job(number, *run) for number, run in enumerate(runs)]


def _rows(
    found: Sequence[Point], jobs: Sequence[Job], results: Mapping[Job, Result]
) -> Iterator[dict[str, Any]]:
    """Yield the rows in order: those of each point's runs, or one per run that a broken point lacks."""
    by_point: dict[int, list[Result]] = {}
    for job in jobs:
        if job in results:
            by_point.setdefault(job.point, []).append(results[job])
    for point in found:
        own = by_point.get(point.number, [])
        if point.problems:
            own = [failed(point.scenario, *run, point.error) for run in _runs(point)]
        for result in own:
            yield {"point": point.number, "values": point.values, **result.row}


def _runs(point: Point) -> list[tuple[int, int]]:
    """Return variant and seed of each of a point's runs; of the scenario's own where it has none."""
    return list(product(range(len(point.scenario.variants)), point.scenario.seeds))


def _pool(
    executor: RunExecutor, workers: int | None, ray: str | None, found: Sequence[Point]
) -> tuple[WorkerPool, int]:
    if ray is None:
        count = workers or 1
        return (ProcessPool(executor) if count > 1 else InlinePool(executor)), count
    from sflsim.workers.ray_pool import RayPool, refuse_main

    refuse_main(algorithm_of(one) for point in found for one in point.scenario.variants)
    pool = RayPool(ray, executor, workers, executor.options.cache)
    return pool, pool.workers


class _Dispatcher:
    """Gives the runs to the workers, takes in what comes of them, replaces who dies."""

    def __init__(
        self,
        found: Sequence[Point],
        jobs: Sequence[Job],
        pool: WorkerPool,
        workers: int,
        progress: SweepCallback | None,
    ) -> None:
        self.results: dict[Job, Result] = {}
        self._points = found
        self._jobs = jobs
        self._pool = pool
        self._workers = workers
        self._progress = progress
        self._schedule = Schedule(jobs, close=workers == 1)
        self._places: dict[int, str] = {}
        self._working: dict[int, Job] = {}
        self._open = Counter(job.point for job in jobs)
        impossible = [point for point in found if point.problems]
        self._impossible_runs = sum(len(_runs(point)) for point in impossible)
        self._tally = _Tally(points_done=len(impossible), broken=self._impossible_runs)
        self._failed_starts = 0
        self._lost = 0
        self._started = time.perf_counter()

    def work(self) -> None:
        """Do all runs, or as many as there are before an interrupt."""
        try:
            for _ in range(self._workers):
                self._pool.start_worker()
            while self._schedule.left:
                for event in self._pool.events():
                    self._take(event)
                self._assign()
        except KeyboardInterrupt:
            return

    def _assign(self) -> None:
        for worker, place in self._places.items():
            if worker not in self._working and (job := self._schedule.next(place)) is not None:
                self._working[worker] = job
                self._pool.submit(worker, (self._points[job.point].scenario, job.variant, job.seed))

    def _take(self, event: Event) -> None:
        if event.place:
            self._failed_starts = 0
            self._places[event.worker] = event.place
        elif event.result is not None:
            job = self._working.pop(event.worker)
            self._schedule.done(job, event.result.trained)
            self._note(job, event.result)
        else:
            self._replace_worker(event.worker)

    def _replace_worker(self, worker: int) -> None:
        """Hire another in place of a dead worker, and let what it did be done again."""
        self._lost += 1
        place, job = self._places.pop(worker, None), self._working.pop(worker, None)
        if place is None:
            self._failed_starts += 1
            if self._failed_starts == MAX_DEATHS:
                raise SflsimError(
                    "worker processes die as they start (out of memory, or the main part of the script "
                    "is not guarded with if __name__ == '__main__')"
                )
        elif place not in self._places.values():
            self._schedule.lost(place)
        if job is not None and not self._schedule.died(job):
            scenario = self._points[job.point].scenario
            error = f"its worker process died {MAX_DEATHS} times (out of memory, or killed)"
            self._note(job, failed(scenario, job.variant, job.seed, error))
        if self._schedule.left > len(self._working):
            self._pool.start_worker()

    def _note(self, job: Job, result: Result) -> None:
        self.results[job] = result
        self._open[job.point] -= 1
        self._tally.add(result, last_of_its_point=not self._open[job.point])
        if self._progress is not None:
            self._progress(self._so_far())

    def counts(self) -> dict[str, Any]:
        """Return what the sweep took: runs, trainings, calls computed, workers lost."""
        now = self._so_far()
        counted = ("points", "runs", "trainings", "shared", "broken", "workers_lost")
        calls = dict(sorted(self._tally.calls.items()))
        return {**{name: getattr(now, name) for name in counted}, "computed_calls": calls}

    def _so_far(self) -> SweepProgress:
        tally, left = self._tally, self._schedule.left
        to_train = min(left, self._schedule.trainings_left)
        train_s = tally.training_s / tally.trainings if tally.trainings else math.nan
        share_s = tally.sharing_s / tally.shared if tally.shared else 0.0
        train_left_s = to_train * train_s if to_train else 0.0
        return SweepProgress(
            points_done=tally.points_done,
            points=len(self._points),
            runs_done=self._impossible_runs + len(self.results),
            runs=self._impossible_runs + len(self._jobs),
            trainings=tally.trainings,
            shared=tally.shared,
            broken=tally.broken,
            workers_lost=self._lost,
            real_s=time.perf_counter() - self._started,
            left_s=(train_left_s + (left - to_train) * share_s) / max(1, self._workers),
        )


@dataclass
class _Tally:
    """What the runs that have ended came to."""

    points_done: int
    broken: int
    trainings: int = 0
    training_s: float = 0.0
    shared: int = 0
    sharing_s: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result, last_of_its_point: bool) -> None:
        """Count a run."""
        self.points_done += last_of_its_point
        self.broken += result.row["status"] != "completed"
        self.calls.update(result.computed)
        if result.trained:
            self.trainings += 1
            self.training_s += result.real_s
        elif result.row["status"] != "failed":
            self.shared += 1
            self.sharing_s += result.real_s


def _resolved(scenario: Scenario | Saved, over: Mapping[str, list[Any]]) -> str:
    """Return the scenario with every default, its variants as written (paths lead to those), its sweep."""
    if isinstance(scenario, Saved):
        return scenario.to_yaml()
    content = scenario.model_dump(mode="json", by_alias=True)
    content |= {"variants": written(scenario)["variants"], "sweep": dict(over)}
    return write_yaml({name: value for name, value in content.items() if value is not None})


def _listed(values: Any, folder: str | Path) -> list[Any]:
    if not isinstance(values, list):
        raise RunError(f"{folder}: its manifest cannot be read (no list of values to sweep: {values!r})")
    return values
