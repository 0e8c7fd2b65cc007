"""Simulates every variant of a scenario under every seed, here or in worker processes.

The tables are in the scenario's order, whichever run ends first; no result depends on the process that
computed it.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from sflsim.errors import SflsimWarning
from sflsim.experiment.assembly import frames_of, manifest_of
from sflsim.experiment.run import Run
from sflsim.experiment.worker import Job, ScenarioRunner, make_runner
from sflsim.learning.accelerators import device_named
from sflsim.learning.graph.disk_store import folder_of
from sflsim.learning.graph.store import Store
from sflsim.rows import Evaluation
from sflsim.scenario.files import reread
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session, unlike_rounds
from sflsim.workers.pool import Pool, check_workers, open_pool

GRACE_S = 10.0  # how long interrupted workers may take to hand over what they have


@dataclass(frozen=True)
class Progress:
    """One step forward: an evaluation of a run, or its end (`status` is then not "running")."""

    variant: str
    seed: int
    status: str
    round: int
    time_s: float
    accuracy: float
    share: float
    """How much of this run is done, 0 to 1, by its rounds or its simulated time."""
    runs_done: int
    runs: int
    real_s: float
    workers: int = 1
    cached: bool = False
    """Whether the run has ended and all that it learned was in a cache: it took next to no time."""
    evaluation: Evaluation | None = None
    """The evaluation, in full; None at the end of a run."""


ProgressCallback = Callable[[Progress], None]


def simulate(
    scenario: Scenario,
    *,
    workers: int = 1,
    device: str = "cpu",
    timing_only: bool = False,
    progress: ProgressCallback | None = None,
    store: Store | None = None,
    cache: str | Path | bool | None = None,
    keep_spans: bool = True,
) -> Run:
    """Run every variant under every seed and return the tables.

    `workers` processes compute side by side (a script must then guard its main part with
    `if __name__ == "__main__"`); `device` is "cpu", "cuda", "cuda:N", "mps" or "auto" (a GPU if there is
    one); with `timing_only` nothing is learned, accuracies are NaN and a stop by accuracy never comes. An
    interrupt (Ctrl-C) ends the simulation and returns what there is, with the status "interrupted".
    Scenarios simulated with one `store` (and one worker) share what they learn alike: those that differ in
    timing alone train once. A folder `cache` is a store on disk (see `DiskStore`), for any number of
    processes, now and later: a run that was killed goes on where it was at its last evaluation. True stands
    for the store that the command line uses. `progress` is told of each evaluation and each end. Without
    `keep_spans` the table of spans stays empty and memory stays bounded; the other tables are the same.

    Raises:
        ScenarioError: the scenario fits no model, data or fleet.
        SflsimError: the device is not there, no number of workers is given, or a worker died.
    """
    check_workers(workers)
    scenario = reread(scenario)
    folder = folder_of(cache)
    device = device_named(device, is_used=not timing_only)
    options = Options(device, timing_only, keep_spans=keep_spans, cache=folder, trusted=scenario.trusted)
    session = Session(scenario, options, store)
    session.check()
    unlike = unlike_rounds(scenario)
    if unlike:
        warnings.warn(unlike, SflsimWarning, stacklevel=2)
    jobs = list(product(range(len(scenario.variants)), scenario.seeds))
    count = max(1, min(workers, len(jobs)))
    report = _Reporter(scenario, len(jobs), count, progress)
    started = time.perf_counter()
    costs = {} if session.requirements.on_demand else session.cache.of_kind("costs")
    make = partial(make_runner, scenario, options, costs) if count > 1 else lambda: ScenarioRunner(session)
    pool = open_pool(make, count, on_message=report.evaluated)
    try:
        outcomes = _outcomes(pool, jobs, report)
    finally:
        pool.close()
    real_s = time.perf_counter() - started
    ordered = [outcomes[job] for job in jobs if job in outcomes]
    stopped = {outcome.variant for outcome in ordered if outcome.reason == "rounds"}
    if not unlike and (late := unlike_rounds(scenario, stopped)):
        warnings.warn(late, SflsimWarning, stacklevel=2)
    completed = len(ordered) == len(jobs) and all(outcome.status != "interrupted" for outcome in ordered)
    manifest = {
        **manifest_of(scenario, ordered, completed),
        "device": device,
        "timing_only": timing_only,
        "spans": "all" if keep_spans else "none",
        "derived_costs": sorted({key for outcome in ordered for key in outcome.derived}),
        "workers": workers,
        "real_s": real_s,
    }
    return Run(scenario, **frames_of(scenario, ordered), manifest=manifest)


def _outcomes(pool: Pool, jobs: Sequence[Job], report: _Reporter) -> dict[Job, Outcome]:
    """Return the outcome of each job; where it was interrupted, of those that ended or stopped in time."""
    outcomes: dict[Job, Outcome] = {}

    def take(job: Job, future: Future[Outcome]) -> None:
        outcomes[job] = future.result()
        report.ended(outcomes[job])

    try:
        for job, future in pool.each(partial(next, iter(jobs), None), lambda job: job):
            take(job, future)
            if outcomes[job].status == "interrupted":
                break
    except KeyboardInterrupt:
        for job, future in pool.halt(GRACE_S):
            if future.exception() is None:  # a run that failed meanwhile must not lose the others
                take(job, future)
    return outcomes


class _Reporter:
    """Turns evaluations and ends of runs into `Progress`."""

    def __init__(
        self, scenario: Scenario, runs: int, workers: int, callback: ProgressCallback | None
    ) -> None:
        self.scenario = scenario
        self.runs = runs
        self.workers = workers
        self.done = 0
        self.callback = callback
        self.started = time.perf_counter()

    def evaluated(self, message: tuple[str, int, Evaluation]) -> None:
        variant, seed, row = message
        stop, spent = self.scenario.stop, row.spent
        shares = [spent[name] / limit for name, limit in stop.limits.items()]
        share = max([row.round / stop.rounds if stop.rounds else 0.0, *shares])
        facts = (variant, seed, "running", row.round, row.time_s, row.accuracy)
        self._tell(*facts, share=min(1.0, share), evaluation=row)

    def ended(self, outcome: Outcome) -> None:
        self.done += 1
        ended_well = outcome.evaluations and outcome.status != "diverged"
        accuracy = outcome.evaluations[-1].accuracy if ended_well else math.nan
        self._tell(
            outcome.variant,
            outcome.seed,
            outcome.status,
            outcome.rounds,
            outcome.time_s,
            accuracy,
            cached=outcome.cached,
        )

    def _tell(
        self,
        variant: str,
        seed: int,
        status: str,
        round: int,
        time_s: float,
        accuracy: float,
        cached: bool = False,
        share: float = 1.0,
        evaluation: Evaluation | None = None,
    ) -> None:
        if self.callback is None:
            return
        real_s = time.perf_counter() - self.started
        facts = (variant, seed, status, round, time_s, accuracy, share, self.done, self.runs, real_s)
        self.callback(Progress(*facts, self.workers, cached, evaluation))
