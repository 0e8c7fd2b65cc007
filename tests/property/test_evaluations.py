"""Evaluations only look: `evaluate.every` changes no bit of any table. A summary follows from the tables.

A run that stops by its accuracy, or diverges, is out of this: both are found by an evaluation.
"""

from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property.random_scenarios import scenarios
from support import data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

POWER = {"idle": "1.37 W", "compute": "3.1 W", "send": "2.3 W", "receive": "2.1 W"}
KEYS = ["variant", "seed", "time_s", "round"]
RUNS = settings(deadline=None, suppress_health_check=list(HealthCheck))


def runs_of(content: dict[str, Any], *every: str, **how: Any) -> list[Run]:
    """Simulate a scenario once for each way to evaluate; no power has few binary digits."""
    content = copy.deepcopy(content)
    content["stop"]["time"] = "2000 s"
    for group in content["fleet"]["groups"]:
        group["device"] = {**group["device"], "power": POWER}
    how = {"timing_only": True, **how}
    return [simulate(read(content | {"evaluate": {"every": text}}), **how) for text in every]


def assert_same_where_both_looked(first: Run, second: Run) -> None:
    """Compare the evaluations of two runs; where one instant has several, the last of them."""
    one, other = (
        run.evaluations.drop_duplicates(KEYS, keep="last").set_index(KEYS) for run in (first, second)
    )
    common = one.index.intersection(other.index)
    assert len(common)
    pd.testing.assert_frame_equal(one.loc[common], other.loc[common], check_exact=True)


def check_every(content: dict[str, Any], every_s: float, keep_spans: bool) -> None:
    """Compare runs that evaluate after rounds, at times, or hardly ever."""
    every = ("1 round", "3 rounds", f"{every_s!r} s", f"{4 * every_s!r} s")
    runs = runs_of(content, *every, keep_spans=keep_spans)
    for run in runs[1:]:
        for name in ("spans", "link_throughput", "clients", "runs"):
            pd.testing.assert_frame_equal(getattr(run, name), getattr(runs[0], name), check_exact=True)
    assert_same_where_both_looked(*runs[:2])  # at the end of a round
    assert_same_where_both_looked(*runs[2:])  # at the end of an instant


@given(scenarios(), st.sampled_from([0.7, 1.0, 3.3, 1 / 3]), st.booleans())
@settings(RUNS, max_examples=8)
def test_when_one_looks_changes_nothing(content: dict[str, Any], every_s: float, keep_spans: bool) -> None:
    check_every(content, every_s, keep_spans)


@pytest.mark.slow
@given(scenarios(), st.floats(0.3, 20), st.booleans())
@settings(RUNS, max_examples=300)
def test_when_one_looks_changes_nothing_in_many_runs(
    content: dict[str, Any], every_s: float, keep_spans: bool
) -> None:
    check_every(content, every_s, keep_spans)


@pytest.mark.parametrize("unit", [1.0, 1 / 3])
def test_looking_moves_no_deadline_and_no_drop_out(unit: float) -> None:
    """Both are planned on the clock, as evaluations at times seem to be."""
    content = data(
        stop={"rounds": 6}, variants=[{"algorithm": "splitfed-v1", "deadline": f"{13 * unit!r} s"}]
    )
    content["fleet"] |= {
        "straggler": {"kind": "exponential", "mean": f"{5 * unit!r} s"},
        "availability": {"kind": "markov", "on": f"{60 * unit!r} s", "off": f"{9 * unit!r} s"},
    }
    check_every(content, 0.1 * unit, keep_spans=True)


def test_what_is_learned_does_not_depend_on_when_one_looks() -> None:
    content = data(
        stop={"rounds": 4},
        variants=[{"algorithm": "splitfed-v2"}, {"algorithm": "mu-splitfed", "tau": 2, "eta_s": 0.01}],
    )
    often, seldom = runs_of(content, "1 round", "2 rounds", timing_only=False)
    assert often.evaluations["accuracy"].nunique() > 1
    assert_same_where_both_looked(often, seldom)


@given(scenarios())
@settings(RUNS, max_examples=4)
def test_a_summary_follows_from_the_tables(content: dict[str, Any]) -> None:
    """Of the whole run; read from the table of clients, of which the summary knows nothing."""
    (run,) = runs_of(content | {"seeds": [1, 2]}, "3 rounds")
    summary, seeds = run.summary().iloc[0], 2
    found = {
        "uplink_bytes": "uplink_bytes",
        "downlink_bytes": "downlink_bytes",
        "client_busy_s": "compute_s",
        "energy_j": "energy_j",
        "dropped": "dropped",
        "wasted_s": "wasted_s",
        "wasted_bytes": "wasted_bytes",
    }
    for name, column in found.items():
        assert summary[name] == pytest.approx(run.clients[column].sum() / seeds, rel=1e-9, abs=1e-9), name
    assert summary["peak_memory_bytes"] == run.clients["peak_memory_bytes"].max()
    assert summary["time_s"] == run.runs["time_s"].mean()
    assert summary["rounds"] == run.runs["rounds"].mean()
