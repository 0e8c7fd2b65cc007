"""Timing a point without training it: the time, costs and key of each evaluation.

A run on the clock records every call of the math and computes none. The key of an evaluation covers
all that its model is made from, so two points with equal keys learn the same to the last bit, whatever
else differs. A point thus need not be trained if another with its keys has been.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sflsim.clock.spans import Recorder
from sflsim.learning.graph.timing_only import NamingLearner
from sflsim.retime.traffic import Traffic
from sflsim.rows import ClientSetup, TimedRun
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Outcome, Session, SessionCache
from sflsim.simulation.base import AlgorithmConfig
from sflsim.simulation.simulation import Learning

Known = Mapping[str, tuple[float, float]]
"""Accuracy and loss (inf if it diverged) by the key of an evaluation."""
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Timing(TimedRun):
    """One run of one point under one seed."""

    keys: tuple[str, ...] = ()
    """The key of the model at each evaluation."""
    outcome: Outcome | None = field(default=None, compare=False, repr=False)


def timings(
    scenario: Scenario,
    seeds: Sequence[int],
    cache: SessionCache,
    known: Known | None = None,
    keep: bool = False,
) -> list[Timing]:
    """Return the timing of the scenario's first variant under each seed; `keep` the outcomes with spans too.

    Accuracies and losses are taken from `known`; with None there is no learning, and the keys are the
    numbers of the rounds.

    Raises:
        ScenarioError: the scenario does not fit its model, data or fleet.
    """
    groups = scenario.fleet.group_names()
    runs: list[_Run] = []

    def naming(variant: AlgorithmConfig, cut: int, seed: int) -> Learning:
        task = session.materials.task(cut, seed, variant.compression)
        return NamingLearner(runs[-1].keys, task.key, known)

    session = Session(
        scenario,
        Options(timing_only=known is None),
        learning=None if known is None else naming,
        recorder=lambda: Recorder(None if keep else runs[-1].traffic),
        cache=cache,
    )
    session.check()
    timings = []
    for seed in seeds:
        runs.append(_Run(Traffic(groups)))
        outcome = session.run(0, seed, lambda row: runs[-1].traffic.evaluated(row.time_s))
        timings.append(_timing(outcome, runs[-1], groups, keep))
    return timings


@dataclass
class _Run:
    """What is recorded during a run: its traffic, and the keys of the models that it evaluated."""

    traffic: Traffic
    keys: list[str] = field(default_factory=list)


def _timing(outcome: Outcome, run: _Run, groups: Sequence[str], keep: bool) -> Timing:
    traffic = run.traffic
    traffic.add(outcome.spans)  # none, unless they are kept
    rounds = np.array([row.round for row in outcome.evaluations], dtype=np.int64)
    up, down, busiest = traffic.rows()
    ratios = [one.peak_memory_bytes / one.memory_bytes for one in outcome.clients if _limited(one)]
    return Timing(
        seed=outcome.seed,
        keys=tuple(run.keys) or tuple(map(str, rounds.tolist())),
        rounds=rounds,
        time_s=np.array([row.time_s for row in outcome.evaluations], dtype=np.float64),
        energy_j=np.array([row.energy_j for row in outcome.evaluations], dtype=np.float64),
        up_bytes=up,
        down_bytes=down,
        busiest_bytes=busiest,
        memory_share=max(ratios, default=0.0),
        server_memory_bytes=outcome.server_memory_bytes,
        server_busy_s=np.array([row.server_busy_s for row in outcome.evaluations], dtype=np.float64),
        memory_bytes=tuple(
            max((one.peak_memory_bytes for one in outcome.clients if one.group == group), default=0.0)
            for group in groups
        ),
        outcome=outcome if keep else None,
    )


def _limited(client: ClientSetup) -> bool:
    """Tell whether a device's memory is known."""
    return math.isfinite(client.memory_bytes) and client.memory_bytes > 0
