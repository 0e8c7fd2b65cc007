"""Computing rates over time: read, computed at by a client, scaled, and refused where wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sflsim.clock.client import Client
from sflsim.clock.engine import Environment
from sflsim.clock.network import Network
from sflsim.clock.spans import Recorder
from sflsim.fleet.devices import Device, DeviceConfig, Power
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.profiles import Profile

UNLIMITED = {"up": "unlimited", "down": "unlimited"}
ROWS = "time_s,rate\n0,8 FLOP/s\n2,0 FLOP/s\n5,4 FLOP/s\n"


def fleet_device(compute: Any, straggler: Any = None, **device: Any) -> Device:
    """Return the one device of a fleet with the given computing rate."""
    group = {"name": "pi", "device": {"compute": compute, **device}, "link": UNLIMITED}
    config = FleetConfig.model_validate({"clients": 1, "groups": [group], "straggler": straggler})
    return build_fleet(config, 0).device(0)


def ends_s(device: Device, *flops: float, forward: float = 0.0) -> tuple[list[float], Recorder]:
    """Return when a client that is asked for all its work at t = 0 has done each piece, and its spans."""
    env, recorder = Environment(), Recorder()
    client = Client(env, recorder, device, Network(env, recorder, device.link).channels(device))
    client.begin(0)
    for flop in flops:
        client.compute(flop)
    if forward:
        client.forward(forward)
    env.run()
    return [span.end_s for span in recorder.spans if span.activity == "compute"], recorder


def trace(folder: Path, text: str = ROWS, **fields: Any) -> dict[str, Any]:
    """Return a trace as a scenario writes it."""
    path = folder / "compute.csv"
    path.write_text(text)
    return {"kind": "trace", "file": str(path), **fields}


def test_a_client_computes_at_the_rate_of_each_moment(tmp_path: Path) -> None:
    """8 FLOP/s for 2 s, nothing for 3 s, then 4 FLOP/s: by hand, one piece after another."""
    device = fleet_device(trace(tmp_path), power={"idle": "1 W", "compute": "3 W"})
    times_s, recorder = ends_s(device, 8, 12, 4)

    assert times_s == [1, 6, 7]
    assert [span.active_energy_j for span in recorder.spans] == [
        2,
        10,
        2,
    ]  # 2 W above idle while the work lasts
    assert (device.flop_per_s, device.compute_profile) == (8, Profile([0, 2, 5], [8, 0, 4]))


def test_a_slowdown_stretches_and_delays_the_work_on_a_trace(tmp_path: Path) -> None:
    """A factor 2 is twice the work at the rates of the time; a delay of 5 s begins at the later rate."""
    twice = {"kind": "constant", "value": 2, "effect": "multiplicative"}
    assert ends_s(fleet_device(trace(tmp_path), twice), 8)[0] == [2]
    assert ends_s(fleet_device(trace(tmp_path), twice), 10)[0] == [6]
    assert ends_s(fleet_device(trace(tmp_path), {"kind": "constant", "value": "5 s"}), 8)[0] == [7]


def test_forward_passes_change_in_proportion(tmp_path: Path) -> None:
    """Forward passes at 16 FLOP/s where training starts at 8: twice as fast at every moment."""
    device = fleet_device(trace(tmp_path), forward="16 FLOP/s")
    assert ends_s(device, forward=40)[0] == [6]


def test_a_trace_that_starts_with_a_pause_takes_the_first_rate_above_zero(tmp_path: Path) -> None:
    """The device's rate in tables is that of its first work; nothing is divided by zero."""
    device = fleet_device(trace(tmp_path, "time_s,rate\n0,0 FLOP/s\n3,4 FLOP/s\n"))
    assert device.flop_per_s == 4
    assert ends_s(device, 4)[0] == [4]


def test_a_trace_scales_and_is_written_back(tmp_path: Path) -> None:
    """Twice the `scale` is half the time where no pause lies between; what is written is read as the same."""
    config = DeviceConfig.model_validate({"compute": trace(tmp_path, scale=2.0)})
    assert DeviceConfig.model_validate(config.model_dump(mode="json")) == config
    assert ends_s(fleet_device(trace(tmp_path, scale=2.0)), 8)[0] == [0.5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("time_s,rate\n0,8 Mbit/s\n", "is in another unit of measure"),
        ("time_s,rate\n1,8 FLOP/s\n", "begins with a gap"),
        ("time_s,rate\n0,8 FLOP/s\n2,\n", "has a gap"),
        ("time_s,rate\n0,8 FLOP/s\n2,4 FLOP/s\n1,8 FLOP/s\n", "has time running backwards"),
        ("time_s,rate\n0,8 FLOP/s\n2,0 FLOP/s\n", "ends with zero"),
    ],
)
def test_a_bad_trace_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """Each mistake says what is wrong with the file."""
    with pytest.raises(ValidationError, match=reason):
        DeviceConfig.model_validate({"compute": trace(tmp_path, text)})


@settings(max_examples=60, deadline=None)
@given(
    rates=st.lists(st.integers(0, 16), min_size=1, max_size=6).filter(lambda rates: rates[-1] > 0),
    flop=st.floats(0.5, 80),
    factor=st.floats(1, 3),
)
def test_the_work_done_is_the_integral_of_the_rate(rates: list[int], flop: float, factor: float) -> None:
    """Summed numerically over fine steps from begin to end, with a factor: the work asked for."""
    profile = Profile(range(len(rates)), rates)
    slow = {"kind": "constant", "value": factor, "effect": "multiplicative"}
    base = fleet_device("8 FLOP/s", slow)
    first = next(float(rate) for rate in rates if rate)
    fixed = (base.link, base.slowdown, None)
    device = Device(0, "pi-0", "pi", first, first, None, Power(), *fixed, profile, nominal=first)
    (end_s,), _ = ends_s(device, flop)

    steps = np.linspace(0, end_s, 20001)
    middles = (steps[1:] + steps[:-1]) / 2
    pieces = np.minimum(middles.astype(int), len(rates) - 1)
    done = (np.array(rates)[pieces] * np.diff(steps)).sum()
    assert done == pytest.approx(flop * factor, abs=2e-3 * 16 * max(end_s, 1))
