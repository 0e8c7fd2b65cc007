"""Computing rates that change (traces, events) beside calibrated devices and what-ifs, by hand.

One client alone, on free links and a free server: a round is 8 FLOP forward and 16 FLOP backward, so
it ends where the integral of the rate says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import FREE, UNLIMITED, data, read

import sflsim
from sflsim.experiment.simulate import simulate
from sflsim.explainer.what_if import what_if
from sflsim.fleet.population import build_fleet
from sflsim.learning.profiling.calibration import Measured
from sflsim.retime.scaling import assumptions, varied
from sflsim.scenario.schema import Scenario

WORKLOAD = {
    "model": {"kind": "mlp", "hidden": [8]},
    "cut": 1,
    "batch_size": 8,
    "costs": FREE | {"client_forward": "8 FLOP", "client_backward": "16 FLOP"},
}
ROWS = "time_s,rate\n0,8 FLOP/s\n6,2 FLOP/s\n18,4 FLOP/s\n"


def group(compute: Any, name: str = "pi", **device: Any) -> dict[str, Any]:
    """Return a group of one device."""
    return {"name": name, "count": 1, "device": {"compute": compute, **device}, "link": UNLIMITED}


def scenario(*groups: dict[str, Any], rounds: int = 4, events: Any = (), **fields: Any) -> Scenario:
    """Return a scenario of these groups, free but for computing."""
    fleet = {"clients": len(groups), "groups": list(groups), "events": list(events)}
    server = {"compute": "unlimited"}
    return read(data(workload=WORKLOAD, fleet=fleet, server=server, stop={"rounds": rounds}, **fields))


def trace(folder: Path, **fields: Any) -> dict[str, Any]:
    path = folder / "compute.csv"
    path.write_text(ROWS)
    return {"kind": "trace", "file": str(path), **fields}


def ends_s(asked: Scenario) -> list[float]:
    """Return when each round ends."""
    table = simulate(asked, timing_only=True).evaluations
    return table.loc[table["round"] > 0, "time_s"].tolist()


def twice_as_fast(asked: Scenario, rounds: int, change: str = "devices twice as fast") -> tuple[float, float]:
    """Return the time of all rounds as they are and after the change, as `explain` has them."""
    row = what_if(asked, {0: {0: rounds}}, {0: {}}).set_index("change").loc[change]
    return float(row["time_s"]), float(row["changed_s"])


def test_a_trace_is_twice_as_fast_at_every_moment(tmp_path: Path) -> None:
    """24 FLOP a round at 8, 2 and 4 FLOP/s: 3, 6, 18, 24 s; at 16 FLOP/s up to 6 s: 1.5 s each."""
    asked = scenario(group(trace(tmp_path)))
    assert ends_s(asked) == [3, 6, 18, 24]
    assert twice_as_fast(asked, 4) == (24, 6)


def test_forward_passes_are_twice_as_fast_too(tmp_path: Path) -> None:
    """At twice the training rate 8 FLOP forward are worth 4: rounds of 20 FLOP at the trace's rates."""
    asked = scenario(group(trace(tmp_path), forward="16 FLOP/s"))
    assert ends_s(asked) == [2.5, 5, 12, 20]
    assert twice_as_fast(asked, 4) == (20, 5)
    assert twice_as_fast(scenario(group("8 FLOP/s", forward="16 FLOP/s")), 4) == (10, 5)


def test_an_event_ends_a_trace_and_is_scaled_with_it(tmp_path: Path) -> None:
    """1 FLOP/s from 4 s on: 16 FLOP of round 2 are left; twice as fast: 8 of round 3, at 2 FLOP/s."""
    events = [{"at": "4 s", "group": "pi", "set": {"device.compute": "1 FLOP/s"}}]
    asked = scenario(group(trace(tmp_path)), events=events)
    assert ends_s(asked) == [3, 20, 44, 68]
    assert twice_as_fast(asked, 4) == (68, 20)


def test_an_event_in_a_trace_that_repeats(tmp_path: Path) -> None:
    """Up to the event the trace goes round; from then on the event's rate holds, and nothing of the trace.

    80 FLOP are done by 20 s, 8 more by 21 s, when 8 of round 4 are left.
    """
    events = [{"at": "21 s", "set": {"device.compute": "1 FLOP/s"}}]
    asked = scenario(group(trace(tmp_path, repeat="20 s")), events=events)
    assert ends_s(asked) == [3, 6, 18, 29]


def test_an_event_for_all_is_scaled_for_one_group_alone(tmp_path: Path) -> None:
    """It becomes one for each group: the rates of the others, and what else it sets, stay."""
    link = {"up": "8 byte/s", "down": "8 byte/s"}
    groups = [{**group(trace(tmp_path)), "link": link}, {**group("4 FLOP/s", "box"), "link": link}]
    events = [
        {"at": "4 s", "set": {"device.compute": "1 FLOP/s", "link.up": "2 byte/s"}},
        {"at": "9 s", "leave": True},
    ]
    asked = scenario(*groups, events=events)
    known = dict(assumptions(asked))
    faster = build_fleet(varied(asked, known["computing of group pi"], 2.0).fleet, 0)
    wider = build_fleet(varied(asked, known["uplink of group box"], 2.0).fleet, 0)

    def at_5_s(fleet: Any) -> list[tuple[float, float]]:
        devices = [fleet.device(number) for number in (0, 1)]
        return [(one.compute_profile.value_at(5), one.link.up.rate.value_at(5)) for one in devices]

    assert at_5_s(faster) == [(2, 2), (1, 2)]
    assert at_5_s(wider) == [(1, 2), (1, 4)]
    assert len(faster.groups[1].events) == len(wider.groups[0].events) == 2


def test_a_calibrated_device_changes_in_proportion(tmp_path: Path) -> None:
    """16 FLOP/s forward, 8 backward: 2.5 s a round; halved from then on, 5 s; twice as fast: 2.5 s for it."""
    rates = {"forward": 16.0, "backward": 8.0, "zeroth-order step": 16.0}
    measured = [Measured("client 1", work, 1, rate, (1.0, 1.0, 1.0)) for work, rate in rates.items()]
    file = tmp_path / "device.yaml"
    file.write_text(sflsim.Calibration("test", "mine", 1, tuple(measured), 16.0).to_yaml())
    named = {"name": "pi", "count": 1, "device": "mine", "link": UNLIMITED}
    events = [{"at": "2.5 s", "set": {"device.compute": "4 FLOP/s"}}]
    asked = scenario(named, rounds=3, events=events, catalog=str(file))

    assert ends_s(asked) == [2.5, 7.5, 12.5]
    assert twice_as_fast(asked, 3) == (12.5, 5)


def test_factors_of_stragglers_are_no_assumption_that_is_varied() -> None:
    """They are bare numbers that no change scales; delays are."""
    factor = {"kind": "lognormal", "median": 1.5, "sigma": 0.6, "effect": "multiplicative"}
    for straggler, known in ((factor, False), ({"kind": "exponential", "mean": "1 s"}, True)):
        asked = scenario({**group("8 FLOP/s"), "straggler": straggler})
        assert ("stragglers" in dict(assumptions(asked))) == known


@pytest.mark.parametrize("kind", ["lognormal", "pareto"])
def test_delays_half_as_long_have_half_the_cap(kind: str) -> None:
    """Every round is the cap here: 0.25 s beside 3 s of computing, and half of that."""
    shape = {"lognormal": {"median": "1000 s", "sigma": 0.1}, "pareto": {"scale": "0.25 s", "shape": 1}}
    straggler = {"kind": kind, **shape[kind], "cap": "0.25 s"}
    asked = scenario({**group("8 FLOP/s"), "straggler": straggler})
    assert twice_as_fast(asked, 4, "stragglers' delays half as long") == (13, 12.5)
