"""A sweep: one scenario at every combination of some fields' values, in one table.

    sweep = sflsim.sweep(scenario, {"fleet.straggler.mean": ["1 s", "5 s"], "variants[mu].tau": [1, 4]})
    sweep.table.groupby(["fleet.straggler.mean", "variant"])["time_s"].mean()

Runs that learn alike train once, on any number of workers. A broken point is in the table with its error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from sflsim.errors import RunError
from sflsim.experiment import folders
from sflsim.formatting import counted, csv_text
from sflsim.learning.accelerators import device_named
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
from sflsim.sweeps.grid import merged, points
from sflsim.sweeps.order import Job, Order, jobs_of
from sflsim.sweeps.progress import SweepCallback, SweepProgress, Tally
from sflsim.sweeps.runner import Result, SweepRunner, failed
from sflsim.sweeps.swept import amounts_of
from sflsim.sweeps.table import FIGURES, summarize_sweep, sweep_table
from sflsim.workers.pool import Pool, WorkerDied, check_workers, open_pool

if TYPE_CHECKING:
    from sflsim.report.plots import Pictures
    from sflsim.report.style import Page

__all__ = ["Sweep", "SweepProgress", "sweep"]

SHOWN = 20
"""Rows of the summary in a notebook."""
TRIES = 3
"""A run during which this many workers have died is not tried again: it is likely to have killed them."""


class Manifest(BaseModel):
    """What is used of sweep.json."""

    over: dict[str, list[Any]]
    status: str


class Sweep:
    """The table of a sweep, with the scenario it started from and what was varied.

    `table` has a row per point, variant and seed: `point`, a column for each path of `over`, then
    the columns of `sflsim.sweeps.table.FIGURES`. Beside a path whose values are amounts ("5 ms", "1 Mbit/s")
    stands a column of their numbers, with the unit in its name: `fleet.straggler.mean_s`. `manifest` says
    how it was computed.
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

    def __repr__(self) -> str:
        count, runs = (counted(self.table[name].nunique(), name) for name in ("point", "variant"))
        found = f"{count}, {runs}, {counted(len(self.table), 'run')} over {', '.join(self.over)}"
        return f"<Sweep {self._scenario.name!r}: {found}; {self.status}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the means over the seeds, of the first points."""
        from sflsim.report.notebook import card
        from sflsim.sweeps.columns import sweep_columns

        rows, facts = self.summary(), f"{counted(len(self.table), 'run')}; {self.status}"
        notes = [f"The first {SHOWN} of {len(rows)} rows; all: summary()."] if len(rows) > SHOWN else []
        columns = sweep_columns(self, rows.head(SHOWN))
        return card(self.name, facts, columns, len(self.over) + 2, notes=notes)

    @property
    def name(self) -> str:
        """Return the name of the scenario."""
        return self._scenario.name

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
        return summarize_sweep(self.table, self.over)

    def plot(self, folder: str | Path) -> list[Path]:
        """Write a picture for each swept path to `folder` and return their paths.

        Each shows time and final accuracy over the values of the path, with a line for each variant.

        Raises:
            RunError: some cannot be drawn; the others are.
        """
        from sflsim.report.plots import save_all  # brings matplotlib, which workers never need
        from sflsim.report.style import PAGE

        failures = list[str]()
        paths = save_all(self.pictures(PAGE), Path(folder), failures)
        if failures:
            raise RunError("\n".join(failures))
        return paths

    def pictures(self, page: Page) -> Pictures:
        """Yield the name of each picture, and what draws it for a page of these widths."""
        from sflsim.report.style import safe_name
        from sflsim.report.sweep import sweep_figure

        taken = set[str]()
        for path, values in self.over.items():
            amounts = amounts_of(path, values)
            name = amounts[0] if amounts and amounts[0] in self.table else None
            yield f"sweep_{safe_name(path, taken)}", partial(sweep_figure, self.table, path, name, page)

    def report(self, file: str | Path) -> Path:
        """Write the sweep as one self-contained HTML page and return its path."""
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
            texts={"sweep.csv": csv_text(self.table)},
        )

    @classmethod
    def load(cls, folder: str | Path, *, trust: bool = False) -> Sweep:
        """Return the sweep that `save` wrote to `folder`; with `trust` code that its scenario names may run.

        Raises:
            RunError: it is no folder of a sweep, or a file in it is missing or damaged.
        """
        saved = folders.read(folder, "sweep", ("sweep",), Manifest, trust=trust)
        over = saved.manifest.pop("over")
        columns = {"point": "int64", **dict.fromkeys(over, "any"), **FIGURES}
        folders.check(folder, saved, {"sweep": columns})
        return cls(saved.scenario, over, saved.tables["sweep"], saved.manifest)


def sweep(
    scenario: Scenario,
    over: Over | None = None,
    workers: int | None = None,
    ray: str | None = None,
    cache: str | Path | bool | None = None,
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
    kept in the folder `cache` (True: that of the command line), on Ray best one that all machines share;
    without it, for the time of the sweep. The table depends on none of these.

    Raises:
        ScenarioError: no combination can be simulated; a path, for instance, leads nowhere.
        SflsimError: no device, no Ray cluster, or workers that cannot start.
    """
    check_workers(1 if workers is None else workers)
    scenario = reread(scenario)
    over = merged(scenario, over)
    device = device_named(device, is_used=not timing_only)
    options = Options(device, timing_only, trusted=scenario.trusted)
    grid = points(scenario, over, options)
    files = {file: content for point in grid for file, content in contents(point.scenario).items()}
    jobs = jobs_of(grid)
    started = time.perf_counter()
    with folders.learned(cache, needed=(ray is not None or (workers or 1) > 1) and not timing_only) as folder:
        pool = _open_pool(replace(options, cache=folder), workers, ray, jobs)
        tally = Tally(jobs, pool.workers)
        try:
            results = _simulate(pool, jobs, tally, progress)
        finally:
            pool.close()
    rows = [
        {"point": job.point.number, "values": job.point.values, **results[job].row}
        for job in jobs
        if job in results
    ]
    table = sweep_table(over, rows)
    manifest = {
        **tally.counts(),
        "broken_points": int(table.loc[table["status"] != "completed", "point"].nunique()),
        "status": "completed" if len(results) == len(jobs) else "interrupted",
        "device": device,
        "timing_only": timing_only,
        "workers": (workers or 1) if ray is None else pool.workers,
        "ray": ray or "",
        "real_s": round(time.perf_counter() - started, 3),
        "scenario": fingerprint(_resolved(scenario, over), files),
        "files": files,
        "versions": versions(),
        "provenance": provenance(),
    }
    return Sweep(scenario, over, table, manifest)


def _open_pool(options: Options, workers: int | None, ray: str | None, jobs: Sequence[Job]) -> Pool:
    make_runner = partial(SweepRunner, options)
    if ray is None:
        possible = sum(not job.point.problems for job in jobs)
        return open_pool(make_runner, max(1, min(workers or 1, possible)), tries=TRIES)
    from sflsim.workers.ray_backend import RayBackend, refuse_main

    refuse_main(algorithm_of(variant) for job in jobs for variant in job.point.scenario.variants)
    backend = RayBackend(ray, make_runner, workers)
    return Pool(backend, backend.workers, tries=TRIES)


def _simulate(
    pool: Pool, jobs: Sequence[Job], tally: Tally, progress: SweepCallback | None
) -> dict[Job, Result]:
    """Return the result of each run, or of as many as there are before an interrupt."""
    results = {job: failed(*_task(job), job.point.error) for job in jobs if job.point.problems}
    order = Order([job for job in jobs if job not in results], by_group=pool.workers == 1)
    try:
        for job, future in pool.each(order.next, _task):
            try:
                results[job] = future.result()
            except WorkerDied:
                error = f"its worker process died {TRIES} times (out of memory, or killed)"
                results[job] = failed(*_task(job), error)
            order.ended(job)
            tally.add(job, results[job], pool.lost)
            if progress is not None:
                progress(tally.progress)
    except KeyboardInterrupt:
        pass
    return results


def _task(job: Job) -> tuple[Scenario, int, int]:
    return job.point.scenario, job.variant, job.seed


def _resolved(scenario: Scenario | Saved, over: Mapping[str, list[Any]]) -> str:
    """Return the scenario with every default, its variants as written (paths lead to those), its sweep."""
    if isinstance(scenario, Saved):
        return scenario.to_yaml()
    content = scenario.model_dump(mode="json", by_alias=True)
    content |= {"variants": written(scenario)["variants"], "sweep": dict(over)}
    return write_yaml({name: value for name, value in content.items() if value is not None})
