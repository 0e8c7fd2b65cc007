"""Simulates every variant of a scenario under every seed, here or in worker processes.

The order of the tables is that of the scenario, whatever finishes first, and no result depends
on which process computed it.
"""

from __future__ import annotations

import math
import multiprocessing
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sflsim.errors import SflsimError, SflsimWarning
from sflsim.experiment.run import Run, assemble
from sflsim.experiment.worker import Job, start, work
from sflsim.learning.graph.store import Store
from sflsim.rows import Evaluation
from sflsim.scenario.files import reread
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session, unlike_rounds

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


ProgressCallback = Callable[[Progress], None]


def simulate(
    scenario: Scenario,
    *,
    workers: int = 1,
    device: str = "cpu",
    timing_only: bool = False,
    progress: ProgressCallback | None = None,
    store: Store | None = None,
    cache: str | Path | None = None,
    keep_spans: bool = True,
) -> Run:
    """Run every variant under every seed and return the tables.

    `workers` processes compute side by side (a script must then guard its main part with
    `if __name__ == "__main__"`); `device` is "cpu" or "cuda"; with `timing_only` nothing is
    learned, accuracies are NaN and a stop by accuracy never comes. An interrupt (Ctrl-C) ends the
    simulation and returns what there is, with the status "interrupted". Scenarios simulated with
    one `store` (and one worker) share what they learn alike: those that differ in timing alone
    train once. A folder `cache` is a store on disk (see `DiskStore`), for any number of processes,
    now and later: a run that was killed goes on where it was at its last evaluation. Without
    `keep_spans` the table of spans stays empty and memory stays bounded; the other tables are the same.

    Raises:
        ScenarioError: the scenario fits no model, data or fleet.
        SflsimError: the device is not there, or a worker died.
    """
    scenario = reread(scenario)
    place = None if cache is None else Path(cache)
    options = Options(device, timing_only, keep_spans=keep_spans, cache=place, trusted=scenario.trusted)
    check_device(device, timing_only)
    session = Session(scenario, options, store)
    session.check()
    unlike = unlike_rounds(scenario)
    if unlike:
        warnings.warn(unlike, SflsimWarning, stacklevel=2)
    jobs = [(number, seed) for number in range(len(scenario.variants)) for seed in scenario.seeds]
    report = _Reporter(scenario, len(jobs), progress)
    started = time.perf_counter()
    if min(workers, len(jobs)) > 1:
        outcomes = _in_workers(scenario, options, min(workers, len(jobs)), jobs, report)
    else:
        try:
            outcomes = _here(session, jobs, report)
        finally:
            session.close()
    manifest = {
        "device": device,
        "timing_only": timing_only,
        "spans": "all" if keep_spans else "none",
        "derived_costs": sorted({key for one in outcomes.values() for key in one.derived}),
        "workers": workers,
        "real_s": time.perf_counter() - started,
    }
    ordered = [outcomes[job] for job in jobs if job in outcomes]
    stopped = {one.variant for one in ordered if one.reason == "rounds"}
    if not unlike and (late := unlike_rounds(scenario, stopped)):
        warnings.warn(late, SflsimWarning, stacklevel=2)
    return assemble(scenario, ordered, len(jobs), manifest)


def _here(session: Session, jobs: list[Job], report: _Reporter) -> dict[Job, Outcome]:
    outcomes: dict[Job, Outcome] = {}
    try:
        for number, seed in jobs:
            name = session.scenario.variants[number].name
            outcome = session.run(number, seed, partial(report.evaluated, name, seed))
            outcomes[number, seed] = outcome
            report.ended(outcome)
            if outcome.status == "interrupted":
                break
    except KeyboardInterrupt:
        pass
    return outcomes


def _in_workers(
    scenario: Scenario, options: Options, workers: int, jobs: list[Job], report: _Reporter
) -> dict[Job, Outcome]:
    context = multiprocessing.get_context("spawn")
    messages, halt = context.Queue(), context.Event()
    outcomes: dict[Job, Outcome] = {}
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, start, (scenario, options, messages, halt))
    try:
        with ignoring_interrupts():
            futures = {pool.submit(work, job): job for job in jobs}
        try:
            _collect(futures, outcomes, messages, report, math.inf)
        except KeyboardInterrupt:
            halt.set()
            for future in futures:
                future.cancel()
            _collect(futures, outcomes, messages, report, GRACE_S)
    except BrokenProcessPool as error:
        raise SflsimError(
            "a worker process died (out of memory, or killed); try again with fewer --workers"
        ) from error
    finally:
        halt.set()
        pool.shutdown(wait=len(outcomes) == len(jobs), cancel_futures=True)
        if len(outcomes) < len(jobs):
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
    return outcomes


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for a moment, and for good in the processes started in it, from their first instant."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _collect(
    futures: dict[Future[Outcome], Job],
    outcomes: dict[Job, Outcome],
    messages: Any,
    report: _Reporter,
    patience_s: float,
) -> None:
    """Take in outcomes and progress until all are there or patience ends."""
    deadline = time.monotonic() + patience_s
    pending = {future for future, job in futures.items() if not future.cancelled() and job not in outcomes}
    while pending and time.monotonic() < deadline:
        done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
        for message in _drained(messages):
            report.evaluated(*message)
        for future in done:
            outcomes[futures[future]] = future.result()
            report.ended(outcomes[futures[future]])


def _drained(messages: Any) -> Iterator[Any]:
    while True:
        try:
            yield messages.get_nowait()
        except queue.Empty:
            return


class _Reporter:
    """Turns evaluations and ends of runs into `Progress`."""

    def __init__(self, scenario: Scenario, runs: int, callback: ProgressCallback | None) -> None:
        self.scenario = scenario
        self.runs = runs
        self.done = 0
        self.callback = callback
        self.started = time.perf_counter()

    def evaluated(self, variant: str, seed: int, row: Evaluation) -> None:
        self._tell(variant, seed, "running", row.round, row.time_s, row.accuracy)

    def ended(self, outcome: Outcome) -> None:
        self.done += 1
        ended_well = outcome.evaluations and outcome.status != "diverged"
        accuracy = outcome.evaluations[-1].accuracy if ended_well else math.nan
        self._tell(outcome.variant, outcome.seed, outcome.status, outcome.rounds, outcome.time_s, accuracy)

    def _tell(self, variant: str, seed: int, status: str, round: int, time_s: float, accuracy: float) -> None:
        if self.callback is None:
            return
        stop = self.scenario.stop
        shares = [round / stop.rounds if stop.rounds else 0.0, time_s / stop.time if stop.time else 0.0]
        share = min(1.0, max(shares)) if status == "running" else 1.0
        real_s = time.perf_counter() - self.started
        self.callback(
            Progress(variant, seed, status, round, time_s, accuracy, share, self.done, self.runs, real_s)
        )


def check_device(device: str, timing_only: bool) -> None:
    """Refuse a device that is not there (raises SflsimError)."""
    if device not in ("cpu", "cuda"):
        raise SflsimError(f"--device: found {device!r}; allowed: cpu, cuda")
    if device == "cuda" and not timing_only:
        import torch

        if not torch.cuda.is_available():
            raise SflsimError("--device cuda: torch finds no CUDA device here; use --device cpu")
