"""Batteries under every algorithm: each run ends, and no client draws more than its battery holds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property.test_intermittent_clients import ALGORITHMS, POWER, RUNS, check, scenarios
from support import read

from sflsim.experiment.simulate import simulate

CAPACITY_J = st.floats(0.01, 400) | st.sampled_from([1.0, 4.0, 32.0])


def check_batteries(algorithm: str, data: st.DataObject) -> None:
    """Run a fleet that comes and goes, with batteries; check who has drawn what."""
    content = data.draw(scenarios(algorithm))
    capacity_j: dict[str, float] = {}
    for group in content["fleet"]["groups"]:
        if group["name"] == "fast" or data.draw(st.booleans()):
            capacity_j[group["name"]] = data.draw(CAPACITY_J)
            battery = f"{capacity_j[group['name']]!r} J"
            group["device"] = {**group["device"], "power": POWER, "battery": battery}
    run = simulate(read(content), timing_only=True)
    check(content, run)
    check_charges(run.clients, capacity_j, run.runs["reason"].iloc[0])


def check_charges(clients: Any, capacity_j: dict[str, float], reason: str) -> None:
    """Check that nobody has drawn more than it had, and that those who are empty have drawn all of it."""
    empty = 0
    for group, energy_j in zip(clients["group"], clients["energy_j"], strict=True):
        if group in capacity_j:
            assert energy_j <= capacity_j[group] + 1e-9
            empty += energy_j >= capacity_j[group] - 1e-9
    told = re.search(r"as (\d+) of \d+ batteries", reason)
    if told:
        assert empty == int(told[1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=3)
@given(st.data())
def test_no_client_draws_more_than_its_battery_holds(algorithm: str, data: st.DataObject) -> None:
    """A few fleets for each algorithm; many more in the slow test below."""
    check_batteries(algorithm, data)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=25)
@given(st.data())
def test_many_more_fleets_with_batteries(algorithm: str, data: st.DataObject) -> None:
    """The same law over 25 fleets for each algorithm."""
    check_batteries(algorithm, data)
