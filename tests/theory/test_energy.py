"""Energy against integrals of power worked out apart from it: from spans, and in expectation."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support import FREE, UNLIMITED, data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

POWER = {"idle": "2 W", "compute": "7 W", "send": "4 W", "receive": "3 W"}
ABOVE_IDLE_W = {"compute": 5.0, "uplink": 2.0, "downlink": 1.0}
STRAGGLER = {"kind": "exponential", "mean": "1 s"}


def run_of(variant: dict[str, Any], clients: int = 4, **fields: Any) -> Run:
    group = {
        "name": "any",
        "device": {"compute": "8 FLOP/s", "power": POWER},
        "link": {"up": "16 byte/s", "down": "16 byte/s", "latency": "0 s"},
        "straggler": STRAGGLER,
    }
    fleet = {"clients": clients, "groups": [group]}
    content = data(fleet={**fleet, **fields.pop("fleet", {})}, variants=[variant], stop={"rounds": 12})
    return simulate(read({**content, **fields}), timing_only=True)


def above_idle_j(spans: pd.DataFrame) -> pd.Series:
    """Return by client the integral of the power above idling over its spans."""
    own = spans[spans["actor"] == spans["client"]]
    drawn_j = own["activity"].map(ABOVE_IDLE_W).fillna(0.0) * (own["end_s"] - own["start_s"])
    return drawn_j.groupby(own["client"]).sum()


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "mu-splitfed", "fedavg", "ho-sfl", "frozen-client"])
def test_energy_of_rounds_is_the_integral_of_power(algorithm: str) -> None:
    """Participants are awake from the start of each round to its end, whose times evaluations have."""
    run = run_of({"algorithm": algorithm}, fleet={"participants": 2})
    own = run.spans[run.spans["actor"] == run.spans["client"]]
    length_s = np.diff(run.evaluations["time_s"])  # every round is evaluated
    awake_s = own.groupby("client")["round"].unique().map(lambda rounds: length_s[rounds - 1].sum())
    clients = run.clients.set_index("client")
    assert clients["idle_j"].to_numpy() == pytest.approx((2.0 * awake_s)[clients.index].to_numpy())
    whole_j = above_idle_j(run.spans) + 2.0 * awake_s
    assert clients["energy_j"].to_numpy() == pytest.approx(whole_j[clients.index].to_numpy())
    assert run.evaluations["energy_j"].iloc[-1] == pytest.approx(whole_j.sum())


@pytest.mark.parametrize("down", ["unlimited", "5 byte/s"])
def test_travelling_costs_nothing(down: str) -> None:
    """Sending and receiving draw while bytes pass, on private links and shared ones, not in the latency."""
    group = {
        "name": "any",
        "device": {"compute": "8 FLOP/s", "power": POWER},
        "link": {"up": "16 byte/s", "down": "16 byte/s", "latency": "3 s"},
    }
    server = {"compute": "4 FLOP/s", "slots": 1, "link": {"up": down, "down": down, "latency": "1 s"}}
    run = run_of({"algorithm": "splitfed-v1"}, 1, fleet={"groups": [group]}, server=server)
    spans = run.spans[run.spans["bytes"] > 0]
    sending_s = spans["bytes"] / (16.0 if down == "unlimited" else 5.0)
    assert (spans["end_s"] - spans["start_s"]).to_numpy() == pytest.approx(sending_s.to_numpy())
    travels = run.spans[run.spans["activity"] == "latency"]
    assert (travels["end_s"] - travels["start_s"]).tolist() == pytest.approx([4.0] * len(spans))
    assert (travels[["bytes", "active_energy_j"]] == 0).all(axis=None)
    above_w = spans["activity"].map(ABOVE_IDLE_W)
    assert spans["active_energy_j"].to_numpy() == pytest.approx((above_w * sending_s).to_numpy())


def test_sequential_turns_keep_only_one_awake() -> None:
    """SL: somebody is awake all the time, and nobody beside."""
    run = run_of({"algorithm": "sl"})
    assert run.clients["idle_j"].sum() == pytest.approx(2.0 * run.runs["time_s"].iloc[0])


@pytest.mark.parametrize("algorithm", ["fedasync", "fedbuff"])
@pytest.mark.parametrize("participants", [2, 4])
def test_asynchronous_clients_are_awake_from_start_to_end(algorithm: str, participants: int) -> None:
    run = run_of({"algorithm": algorithm}, fleet={"participants": participants})
    idle_j = 2.0 * participants * run.runs["time_s"].iloc[0]
    assert run.clients["idle_j"].sum() == pytest.approx(idle_j)
    drawn_j = (
        run.spans["active_energy_j"].sum() + idle_j
    )  # spans of what is under way at the end are not recorded
    assert run.clients["energy_j"].sum() == pytest.approx(drawn_j)


def test_the_dropped_sleep_from_then_on() -> None:
    """Over-selection: all asked idle until the round is closed, those that are dropped, too."""
    run = run_of({"algorithm": "splitfed-v1", "over_selection": 2}, fleet={"participants": 2})
    assert run.clients["idle_j"].sum() == pytest.approx(4 * 2.0 * run.runs["time_s"].iloc[0])


def test_waiting_for_the_slowest_costs_idle_power() -> None:
    """n clients that do nothing but be late: n x idle power x the mean of the slowest, m H_n."""
    clients, mean_s, rounds = 5, 2.0, 1500
    group = {"name": "any", "device": {"compute": "8 FLOP/s", "power": {"idle": "3 W", "compute": "9 W"}}}
    content = data(
        workload={"model": {"kind": "mlp", "hidden": [8]}, "costs": FREE},
        fleet={
            "clients": clients,
            "groups": [{**group, "link": UNLIMITED}],
            "straggler": {"kind": "exponential", "mean": f"{mean_s} s"},
        },
        stop={"rounds": rounds},
    )
    energy_j = np.diff(simulate(read(content), timing_only=True).evaluations["energy_j"])
    expected_j = clients * 3.0 * mean_s * sum(1 / k for k in range(1, clients + 1))
    half_width_j = stats.norm.ppf(0.995) * energy_j.std(ddof=1) / sqrt(rounds)
    assert half_width_j < 0.1 * expected_j
    assert abs(energy_j.mean() - expected_j) < half_width_j


def test_joules_to_accuracy_are_in_the_summary() -> None:
    """Without learning, the summary has the joules of the whole run."""
    run = run_of({"algorithm": "splitfed-v1"})
    assert run.summary()["energy_j"].tolist() == pytest.approx([run.clients["energy_j"].sum()])
