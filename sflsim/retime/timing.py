"""Timing a point without training it: when each evaluation would come, what it would have cost, its key.

A run on the clock names every call of the math and computes none. The key of an evaluation stands for
all that the model was made of, so two points whose keys agree learn alike to the last bit, whatever
else differs: what one has been trained for is known of the other. Imports session and below; torch
only where something is to be learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sflsim.clock.spans import Recorder
from sflsim.learning.graph.lineage import Handle
from sflsim.learning.graph.timing_only import NoLearning
from sflsim.retime.traffic import Traffic
from sflsim.rows import ClientSetup
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session
from sflsim.simulation.simulation import Learning

Known = Mapping[str, tuple[float, float]]
"""Accuracy and loss (inf where it diverged) by the key of an evaluation."""
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Timing:
    """One run of one point under one seed; arrays have a row for each evaluation."""

    seed: int
    keys: tuple[str, ...]
    rounds: npt.NDArray[np.int64]
    time_s: Numbers
    energy_j: Numbers
    up_bytes: Numbers
    """By group of the fleet: [evaluations, groups]."""
    down_bytes: Numbers
    busiest_bytes: Numbers
    """Up and down, of the client of each group that has most so far: [evaluations, groups]."""
    memory_share: float
    """The largest share of its memory that the training takes on a device."""
    server_memory_bytes: float
    server_busy_s: float
    memory_bytes: tuple[float, ...] = ()
    """By group: the most that the training takes on one of its devices; 0 where it does not train."""
    outcome: Outcome | None = field(default=None, compare=False, repr=False)


class Timer(Session):
    """Runs one scenario on the clock and names what it would learn."""

    def __init__(self, scenario: Scenario, known: Known, shared: Shared, learns: bool) -> None:
        super().__init__(scenario, Options(timing_only=not learns))
        self.learns = learns
        self.known = known
        self.named = _Named(known)
        self.traffic: Traffic | None = None
        shared.lend(self)

    def _recorder(self) -> Recorder:
        return Recorder(self.traffic)

    def _learning(self, cut: int, seed: int) -> tuple[Learning, Any]:
        if not self.learns:
            return NoLearning(), {}
        from sflsim.learning.learner import Learner

        self.named = _Named(self.known, Learner(self._task(cut, seed), self.store))
        return self.named, {}

    def timed(self, seed: int, keep: bool = False) -> Timing:
        """Return the timing of the scenario's first variant; `keep` its spans too."""
        self.named = _Named(self.known)
        traffic = Traffic(self.scenario.fleet.group_names())
        self.traffic = None if keep else traffic
        outcome = self.run(0, seed, lambda row: traffic.evaluated(row.time_s))
        traffic.fold(outcome.spans)  # none, unless they are kept
        rounds = np.array([row.round for row in outcome.evaluations], dtype=np.int64)
        up, down, busiest = traffic.rows()
        ratios = [one.peak_memory_bytes / one.memory_bytes for one in outcome.clients if _limited(one)]
        keys = tuple(self.named.keys) or tuple(map(str, rounds.tolist()))
        return Timing(
            seed=seed,
            keys=keys,
            rounds=rounds,
            time_s=np.array([row.time_s for row in outcome.evaluations], dtype=np.float64),
            energy_j=np.array([row.energy_j for row in outcome.evaluations], dtype=np.float64),
            up_bytes=up,
            down_bytes=down,
            busiest_bytes=busiest,
            memory_share=max(ratios, default=0.0),
            server_memory_bytes=outcome.server_memory_bytes,
            server_busy_s=outcome.server_busy_s,
            memory_bytes=tuple(
                max((one.peak_memory_bytes for one in outcome.clients if one.group == group), default=0.0)
                for group in self.scenario.fleet.group_names()
            ),
            outcome=outcome if keep else None,
        )


class Shared:
    """Data, shards, costs and tasks that points of one plan have in common."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def lend(self, session: Session) -> None:
        """Give a session what others have made, and keep what it will make."""
        workload, clients = session.scenario.workload, session.scenario.fleet.clients
        dealt = repr((workload.dataset, workload.partition, clients))
        sized = repr((workload.dataset, workload.model, workload.batch_size, workload.costs))
        session._shards = self._kept.setdefault(f"shards {dealt}", {})
        session._costs = self._kept.setdefault(f"costs {sized}", {})
        session._tasks = self._kept.setdefault(f"tasks {dealt}{sized}", {})
        session._labels = self._kept.get(f"labels {workload.dataset!r}")
        session._data = self._kept.get(f"data {workload.dataset!r}")

    def keep(self, session: Session) -> None:
        """Keep what a session has loaded."""
        dataset = session.scenario.workload.dataset
        if session._labels is not None:
            self._kept[f"labels {dataset!r}"] = session._labels
        if session._data is not None:
            self._kept[f"data {dataset!r}"] = session._data


class _Named:
    """Learning by name alone: evaluations give what is known under their key, else no number."""

    def __init__(self, known: Known, learner: Any = None) -> None:
        self.known = known
        self.learner = learner
        self.keys: list[str] = []

    def call(self, function: Any, lanes: Any, shared: Any) -> list[Handle]:
        named: list[Handle] = self.learner.call(function, lanes, shared)
        return named

    def initial(self) -> Handle:
        named: Handle = self.learner.initial()
        return named

    def evaluate(self, model: Handle) -> tuple[float, float]:
        self.keys.append(model.key)
        accuracy, loss = self.known.get(model.key, (math.nan, math.nan))
        return accuracy, loss if math.isfinite(loss) else math.nan

    def first_not_finite(self, models: Any) -> int:
        raise AssertionError("nothing is computed, so nothing diverges")


def _limited(client: ClientSetup) -> bool:
    """Tell whether a device's memory is known."""
    return math.isfinite(client.memory_bytes) and client.memory_bytes > 0
