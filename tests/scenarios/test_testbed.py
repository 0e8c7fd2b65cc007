"""The simulation beside real processes over real sockets: learning equal, time within 10 %.

Slow, as nine processes load torch. The bound of 10 % on the median round is the goal of the
project; what the clock leaves out (copying messages, waking threads, a processor shared with whoever
else is there) took 1 to 5 % of these rounds, most of which is waiting. Processor time, not time that
passes, is what devices are slowed by and what is calibrated, so a neighbour disturbs little. One who takes
both cores for long still does: hence several tries, and where the machine's own rates changed by more than
the bound during each of them, the test is skipped and says so.
"""

from __future__ import annotations

from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pandas as pd
import pytest
from support import imported
from testbed import ranks

import sflsim

STUDY = Path(__file__).parents[2] / "analysis" / "testbed_study.py"
ROUNDS = 8
TRIES = 4
BOUND = 0.10
LEVEL = 1e-5
"""Of losses around 2: the simulation stacks the participants of a round, which moves last bits."""


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """The study, imported as a module."""
    return imported(STUDY)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1], ids=["splitfed-v1", "mu-splitfed"])
def test_real_processes(study: ModuleType, number: int) -> None:
    """A first-order and a zeroth-order algorithm learn the same for real, in the time that was predicted."""
    scenario = sflsim.parse_scenario(study.SCENARIO, overrides=[f"stop.rounds={ROUNDS}"])
    drifts = []
    for _ in range(TRIES):
        real, runs, drift = study.real_and_simulated(scenario, number, repeat=20)
        (run,) = runs.values()
        learns_the_same(study.learning_apart(real, run), real)
        found = errors(study, real, run)
        if found["round"] < BOUND and found[["uplink", "downlink"]].max() < BOUND:
            return
        drifts.append(drift)
    if min(drifts) > BOUND:
        pytest.skip(f"this machine's own rates changed by {min(drifts):.0%} or more in each of {TRIES} tries")
    pytest.fail(f"no prediction within {BOUND:.0%} in {TRIES} tries, the last:\n{found}")


@pytest.mark.slow
def test_blocks_that_differ_in_kind(study: ModuleType) -> None:
    """Depthwise beside dense convolutions, none of them measured: rates by kind of other networks do better.

    That they are within `BOUND` is asked of a quiet machine: `python analysis/testbed_study.py --kinds`.
    """
    scenario = sflsim.parse_scenario(study.UNLIKE, overrides=[f"stop.rounds={ROUNDS}"])
    drifts = []
    for _ in range(TRIES):
        real, runs, drift = study.real_and_simulated(scenario, 0, repeat=10, ways=study.OF_KINDS)
        learns_the_same(study.learning_apart(real, runs["rates by kind"]), real)
        by_kind, one_rate = (
            errors(study, real, runs[way])[["round", "exchange"]].max() for way in study.OF_KINDS
        )
        if by_kind < one_rate:
            return
        drifts.append(drift)
    if min(drifts) > BOUND:
        pytest.skip(f"this machine's own rates changed by {min(drifts):.0%} or more in each of {TRIES} tries")
    pytest.fail(f"rates by kind are {by_kind:.0%} off in the last of {TRIES} tries, one rate {one_rate:.0%}")


@pytest.mark.slow
def test_ranks_of_real_processes() -> None:
    """Two algorithms whose learning is the same for real need as many rounds to the target as simulated.

    When they reach it, and in which order, is asked of a quiet machine:
    `python analysis/testbed_study.py --ranks`.
    """
    ho_sfl, fedavg = (
        next(variant for variant in ranks.VARIANTS if name in variant) for name in ("ho-sfl", "fedavg")
    )
    table, times = ranks.measure(["slow devices"], [ho_sfl, fedavg], repeat=5)
    assert sorted(table["variant"]) == ["fedavg", "ho-sfl"]
    assert (table["measured_rounds"] == table["simulated_rounds"]).all()
    assert (table["measured_s"] < inf).all()
    both = times[times["what"] == "round"].groupby("algorithm").size()
    assert both.to_dict() == table.set_index("variant")["simulated_rounds"].to_dict()


def learns_the_same(apart: pd.DataFrame, real: Any) -> None:
    """Assert that real processes and the simulation learned the same, and something."""
    assert len(apart) == ROUNDS + 1
    assert apart["accuracy"].max() == 0
    assert apart["loss"].max() < LEVEL
    assert real.evaluations["loss"].iloc[-1] < real.evaluations["loss"].iloc[0] - 100 * LEVEL


def errors(study: ModuleType, real: Any, run: sflsim.Run) -> pd.Series[float]:
    """Return the median size of the error of rounds, exchanges and activities, all of them there."""
    times = study.beside(real, run)
    # Every message, piece of work and exchange of the one is there in the other.
    assert times.groupby("what").size().to_dict() == {
        "round": ROUNDS, **dict.fromkeys(["exchange", "compute", "uplink", "downlink", "serve"], 4 * ROUNDS)
    }  # fmt: skip
    table = study.table(times.assign(algorithm="", by="")).set_index("what")
    return cast("pd.Series[float]", table["median_size_of_error"])
