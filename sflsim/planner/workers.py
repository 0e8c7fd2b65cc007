"""The worker processes of a plan: they run clocks and train; what is chosen is decided in one place alone.

A pool is an accelerator: nothing that it returns depends on it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from sflsim.errors import ScenarioError, SflsimError
from sflsim.experiment.simulate import ignoring_interrupts
from sflsim.experiment.worker import serve_parent
from sflsim.retime.timing import Known, Timing, timings
from sflsim.scenario.schema import Scenario
from sflsim.session import SessionCache

WORTH_S = 10.0
"""Seconds of work left from which on it pays to start processes, which load everything anew."""

_cache = SessionCache()  # of a worker process; filled there alone


def timed(
    scenario: Scenario,
    seeds: Sequence[int],
    known: Known | None,
    trusted: bool,
    cache: SessionCache | None = None,
) -> list[Timing] | ScenarioError:
    """Return the timings of a scenario's first variant under each seed, or why there are none.

    Trust is told apart from the scenario, which comes to a process without it.
    """
    scenario = scenario.with_trust() if trusted else scenario
    try:
        return timings(scenario, seeds, _cache if cache is None else cache, known)
    except ScenarioError as error:
        return error


class Workers:
    """So many processes, started when there is enough to do; with one, all is done in this process."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None
        self._others: Collection[BaseProcess] = ()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Let a process call a function of a module.

        Raises:
            SflsimError: a process has died.
        """
        if self._pool is None:
            self._others = set(multiprocessing.active_children())
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, serve_parent)
        try:
            with ignoring_interrupts():
                return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            raise _died() from error

    def map(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *here: Any) -> Iterator[Any]:
        """Yield what a function makes of each job, in order; in this process it takes `here` as well."""
        started = time.monotonic()
        for place, job in enumerate(jobs):
            each_s = (time.monotonic() - started) / place if place else 0.0
            if self.pay(each_s, len(jobs) - place):
                futures = [self.submit(function, *one) for one in jobs[place:]]
                yield from map(result, futures)
                return
            yield function(*job, *here)

    def pay(self, each_s: float, left: int) -> bool:
        """Tell whether so many jobs are to be done in processes: where they run already, or it takes long."""
        if self.count < 2:
            return False
        return self._pool is not None or (left > 1 and each_s * left > WORTH_S)

    def close(self) -> None:
        """End all processes, those at work too."""
        if self._pool is None:
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - set(self._others):
            process.terminate()
            process.join()
        self._pool = None


def result(future: Future[Any]) -> Any:
    """Return what a process has computed.

    Raises:
        SflsimError: the process died.
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise _died() from error


def _died() -> SflsimError:
    return SflsimError("a worker process died (out of memory, or killed); try again with fewer --workers")


def first_done(futures: Collection[Future[Any]]) -> None:
    """Wait until one of them is done."""
    wait(futures, return_when=FIRST_COMPLETED)
