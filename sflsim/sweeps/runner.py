"""What a worker of a sweep does: one run after another, each with a result of plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sflsim.clock.spans import NullSink, Recorder
from sflsim.errors import SflsimError
from sflsim.learning.graph.store import MemoryStore
from sflsim.rows import Evaluation
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session
from sflsim.workers.backends import Tell


@dataclass(frozen=True)
class Result:
    """What came of a job: the figures of its row, and what they took to compute."""

    row: dict[str, Any]
    computed: dict[str, int] = field(default_factory=dict)
    real_s: float = 0.0
    trained: bool = False
    """Whether anything was trained for it; otherwise everything it needs was in the store."""


class SweepRunner:
    """Does the runs of one worker: what it learns stays in memory, and in the store that `options` name."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._memory = MemoryStore()
        self._session: Session | None = None

    def run(self, tell: Tell, scenario: Scenario, variant: int, seed: int) -> Result:
        """Simulate a variant under a seed; an error in it is its result.

        Raises:
            KeyboardInterrupt: it was interrupted.
        """
        try:
            outcome = self._session_of(scenario).run(variant, seed, tell)
        except Exception as error:  # the rest of the sweep goes on
            return failed(scenario, variant, seed, _text(error))
        if outcome.status == "interrupted":
            raise KeyboardInterrupt
        return Result(_row(scenario, variant, outcome), outcome.computed, outcome.real_s, outcome.trained)

    def close(self) -> None:
        """Close the store on disk."""
        if self._session is not None:
            self._session.close()

    def _session_of(self, scenario: Scenario) -> Session:
        """Return the session of a scenario; the last one is kept for the point's next run."""
        if self._session is None or self._session.scenario != scenario:
            disk = None if self._session is None else self._session.disk
            self._session = Session(
                scenario, self._options, self._memory, disk=disk, recorder=lambda: Recorder(NullSink())
            )
        return self._session


def failed(scenario: Scenario, variant: int, seed: int, error: str) -> Result:
    """Return the result of a run that failed."""
    config = scenario.variants[variant]
    row = {"variant": config.name, "seed": seed, "algorithm": config.algorithm, "status": "failed"}
    target = scenario.target_accuracy
    return Result({**row, "error": error, "target": math.nan if target is None else target})


def _text(error: Exception) -> str:
    """Return an error in one line; an unexpected one with its type."""
    words = " ".join(str(error).split())
    return words if isinstance(error, SflsimError) else f"{type(error).__name__}: {words}".rstrip(": ")


def _row(scenario: Scenario, variant: int, outcome: Outcome) -> dict[str, Any]:
    """Return the figures of a run as `Run.summary` has them for one seed, and where the run ended."""
    target = scenario.target_accuracy
    rows = outcome.evaluations
    measured = [row for row in rows if not math.isnan(row.accuracy)]
    row: dict[str, Any] = {
        "variant": outcome.variant,
        "seed": outcome.seed,
        "algorithm": scenario.variants[variant].algorithm,
        "status": outcome.status,
        "reason": outcome.reason,
        "run_rounds": outcome.rounds,
        "run_time_s": outcome.time_s,
        "peak_memory_bytes": outcome.client_memory_bytes,
        "target": math.nan if target is None else target,
    }
    if measured and outcome.status != "diverged":
        row |= {"accuracy": measured[-1].accuracy, "loss": measured[-1].loss}
    if target is None or not measured:
        return row if outcome.status == "diverged" else row | _whole_run(outcome)
    reached = next((row for row in rows if row.accuracy >= target), None)
    return row | {"reached": reached is not None} | ({} if reached is None else _costs(reached))


def _whole_run(outcome: Outcome) -> dict[str, Any]:
    """Return what a run cost to its end; traffic is known where its last round was evaluated."""
    last = outcome.evaluations[-1] if outcome.evaluations else None
    costs = {} if last is None or last.round < outcome.rounds else _costs(last)
    totals = {"rounds": outcome.rounds, "time_s": outcome.time_s, "server_busy_s": outcome.server_busy_s}
    return costs | totals


def _costs(row: Evaluation) -> dict[str, float]:
    """Return what an evaluation says of the costs so far."""
    names = ("time_s", "uplink_bytes", "downlink_bytes", "client_busy_s", "server_busy_s", "energy_j")
    return {"rounds": row.round, **{name: getattr(row, name) for name in names}}
