"""Times runs whose learning is known, in a process that keeps data, tasks and results between them.

A run is simulated as `sflsim run` simulates it, on the same stores; where a result is in none, it ends there
and says so, and trains nothing. So what is shown is what `sflsim run` gives, to the last bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from sflsim.errors import NotLearned
from sflsim.experiment.assembly import frames_of
from sflsim.explorer.curves import UNTRAINED, Known
from sflsim.learning.graph.disk_store import DiskStore
from sflsim.learning.graph.store import MemoryStore
from sflsim.metrics.attribution import attribute, of_whom
from sflsim.report.html_gantt import gantt_run
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario
from sflsim.scenario.stop import Evaluate, Stop
from sflsim.session import Options, Session, SessionCache
from sflsim.workers.backends import Tell

if TYPE_CHECKING:
    from sflsim.simulation.base import AlgorithmConfig
    from sflsim.simulation.simulation import Learning

TRIED_ROUNDS = 3
LONG_S = 5.0
"""A first round that takes longer is measure enough."""


@dataclass(frozen=True)
class Details:
    """What is drawn of the spans of one run."""

    times: pd.DataFrame
    """As `attribute` returns them."""
    whose: str
    gantt: dict[str, Any] | None


class Retimer:
    """Does the tasks of an explorer: the runs of any scenario, one at a time."""

    def __init__(self, options: Options) -> None:
        """Take options with the folder of a store on disk, if results are there."""
        self._options = options
        self._cache = SessionCache()
        self._store = MemoryStore()
        self._disk = (
            None if options.cache is None else DiskStore(options.cache, options.cache_bytes, options.device)
        )
        self._sessions: dict[bool, tuple[Scenario, Session]] = {}  # the last, with and without spans
        self._tasks: dict[str, Callable[[Scenario, int, int], Any]] = {
            "curve": self.curve,
            "details": self.details,
            "seconds": self.seconds,
        }

    def run(self, tell: Tell, task: str, scenario: Scenario, index: int, seed: int) -> Any:
        """Do one task."""
        return self._tasks[task](scenario, index, seed)

    def close(self) -> None:
        """Close the store on disk."""
        if self._disk is not None:
            self._disk.close()

    def curve(self, scenario: Scenario, index: int, seed: int) -> Known:
        """Return the evaluations of a run, those before the first that is not known where there is one."""
        rows: list[Evaluation] = []
        try:
            outcome = self._session(scenario, keep_spans=False).run(index, seed, rows.append)
        except NotLearned:
            return Known(rows, UNTRAINED)
        return Known(outcome.evaluations, outcome.status)

    def details(self, scenario: Scenario, index: int, seed: int, room: int = 2000) -> Details:
        """Return what is drawn of the spans of a known run, for Gantt of about `room` of them."""
        outcome = self._session(scenario, keep_spans=True).run(index, seed, lambda row: None)
        spans = frames_of(scenario, [outcome])["spans"]
        return Details(attribute(spans), of_whom(spans), gantt_run(spans, room))

    def seconds(self, scenario: Scenario, index: int, seed: int) -> float | None:
        """Return about how long it takes here to train a whole run; None if its stop does not tell.

        A few rounds are trained, with results that nobody keeps.
        """
        first_s, share = self._tried(scenario, index, seed, 1)
        if first_s < LONG_S:  # it also loaded what the first round needs
            first_s, share = self._tried(scenario, index, seed, TRIED_ROUNDS)
        return first_s / share if share else None

    def _tried(self, scenario: Scenario, index: int, seed: int, rounds: int) -> tuple[float, float]:
        """Return the seconds that the first rounds take to train, and which share of the run they are."""
        parts = {"stop": Stop(rounds=rounds), "evaluate": Evaluate(every=f"{rounds} rounds")}
        options = replace(self._options, cache=None, keep_spans=False)
        trial = Session(scenario.model_copy(update=parts), options, cache=self._cache)
        started = time.perf_counter()
        outcome = trial.run(index, seed, lambda row: None)
        real_s, stop = time.perf_counter() - started, scenario.stop
        spent = outcome.evaluations[-1].spent if outcome.evaluations else dict.fromkeys(stop.limits, 0.0)
        shares = [spent[name] / limit for name, limit in stop.limits.items()]
        return real_s, min(1.0, max([outcome.rounds / stop.rounds if stop.rounds else 0.0, *shares]))

    def _session(self, scenario: Scenario, keep_spans: bool) -> Session:
        def known(variant: AlgorithmConfig, cut: int, seed: int) -> Learning:
            from sflsim.learning.learner import KnownLearner

            task = session.materials.keyed_task(cut, seed, variant.compression)
            return KnownLearner(task, self._store, self._disk)

        last = self._sessions.get(keep_spans)
        if last is not None and last[0] == scenario:
            return last[1]
        options = replace(self._options, keep_spans=keep_spans)
        evaluate = scenario.evaluate.model_copy(update={"clients": False})  # is not drawn, may be unknown
        drawn = scenario.model_copy(update={"evaluate": evaluate})
        session = Session(drawn, options, self._store, disk=self._disk, learning=known, cache=self._cache)
        self._sessions[keep_spans] = scenario, session
        return session


def make_retimer(options: Options) -> Retimer:
    """Return the runner of a process."""
    return Retimer(options)
