"""Rates by kind of operation, and speeds: computed with by hand, changed over time, refused where wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support import COSTS, FREE, UNLIMITED, data, read

from sflsim.clock.client import Client
from sflsim.clock.engine import Environment
from sflsim.clock.network import Network
from sflsim.clock.processor_sharing import ProcessorSharingServer
from sflsim.clock.server import Server
from sflsim.clock.spans import Recorder
from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.explainer.what_if import what_if
from sflsim.fleet.devices import Device, DeviceConfig
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.rates import Rates, RatesConfig
from sflsim.registry import algorithms
from sflsim.retime.scaling import assumptions, varied
from sflsim.scenario.schema import Scenario
from sflsim.work import Kinds, WorkByKind

KINDS = {
    "convolution": "4 FLOP/s",
    "depthwise": "1 FLOP/s",
    "matmul": "8 FLOP/s",
    "memory": "2 byte/s",
    "per_operation": "0.5 s",
}
WORK = WorkByKind(Kinds(8.0, 2.0, 16.0, 6.0, 4.0))  # 2 + 2 + 2 + 3 + 2 = 11 s
FORWARD = {"convolution": "8 FLOP", "memory": "4 byte", "operations": 2}  # 2 + 2 + 1 = 5 s
BACKWARD = {"convolution": "16 FLOP", "matmul": "16 FLOP", "memory": "6 byte"}  # 4 + 2 + 3 = 9 s
WORKLOAD = {
    "model": {"kind": "mlp", "hidden": [8]},
    "cut": 1,
    "batch_size": 8,
    "costs": FREE | {"client_forward": FORWARD, "client_backward": BACKWARD},
}


def group(compute: Any = None, name: str = "pi", **device: Any) -> dict[str, Any]:
    return {
        "name": name,
        "count": 1,
        "device": {"compute": KINDS if compute is None else compute, **device},
        "link": UNLIMITED,
    }


def scenario(*groups: dict[str, Any], rounds: int = 2, events: Any = (), **fields: Any) -> Scenario:
    """Return a scenario of these groups, free but for computing."""
    fleet = {"clients": len(groups), "groups": list(groups), "events": list(events)}
    settings = {"workload": WORKLOAD, "server": {"compute": "unlimited"}, "stop": {"rounds": rounds}}
    return read(data(fleet=fleet, **(settings | fields)))


def fleet_device(events: Any = (), seed: int = 0, **device: Any) -> Device:
    config = FleetConfig.model_validate({"clients": 1, "groups": [group(**device)], "events": events})
    return build_fleet(config, seed).device(0)


def ends_s(asked: Scenario) -> list[float]:
    """Return when each round ends."""
    table = simulate(asked, timing_only=True).evaluations
    return table.loc[table["round"] > 0, "time_s"].tolist()


def client_ends_s(device: Device, *works: float) -> list[float]:
    """Return when a client that is asked for all its work at t = 0 has done each piece."""
    env, recorder = Environment(), Recorder()
    client = Client(env, recorder, device, Network(env, recorder, device.link).channels(device))
    client.begin(0)
    for work in works:
        client.compute(work)
    env.run()
    return [span.end_s for span in recorder.spans]


def test_seconds_are_the_sum_over_kinds() -> None:
    """Each kind at its own rate, by hand; twice as fast, half as long; what has no rate takes no time."""
    rates = RatesConfig.model_validate(KINDS).rates()
    assert WORK / rates == 11
    assert WORK / (rates * 2) == 5.5
    assert 3 * WORK / rates == 33
    assert 0.0 / rates == 0
    assert WORK / RatesConfig.model_validate({"memory": "2 byte/s"}).rates() == 3
    assert WORK / 13.0 == 2  # one rate takes the FLOP


def test_a_client_computes_by_kind() -> None:
    """Two pieces one after the other; the span keeps the FLOP as a plain number."""
    assert client_ends_s(fleet_device(), WORK, 2 * WORK) == [11, 33]


@pytest.mark.parametrize("kind", [Server, ProcessorSharingServer])
def test_a_server_computes_by_kind(kind: Any) -> None:
    """One slot and one job: the sum over kinds."""
    env, recorder = Environment(), Recorder()
    server = kind(env, recorder, RatesConfig.model_validate(KINDS).rates(), 1)
    server.serve(WORK)
    env.run()
    assert env.now == 11
    assert [type(span.flop) for span in recorder.spans if span.activity == "serve"] == [float]


def test_a_round_by_hand() -> None:
    """Forward 5 s and backward 9 s a round; a second group with one rate takes the FLOP: 40 at 5 FLOP/s."""
    assert ends_s(scenario(group())) == [14, 28]
    assert ends_s(scenario(group(), group("2 FLOP/s", "slow"))) == [20, 40]
    flop = simulate(scenario(group()), timing_only=True).spans.query("activity == 'compute'")["flop"]
    assert flop.tolist() == [8, 32] * 2


def test_one_rate_for_all_kinds_is_one_rate() -> None:
    """The same FLOP/s for every kind, and memory free, gives the times of one FLOP/s."""
    same = dict.fromkeys(("convolution", "depthwise", "matmul"), "5 FLOP/s")
    assert ends_s(scenario(group(same))) == pytest.approx(ends_s(scenario(group("5 FLOP/s"))), rel=1e-15)


def test_a_speed_is_a_factor_in_both_forms() -> None:
    """Half the speed takes twice as long, with rates by kind, one rate and a rate of forward passes."""
    assert ends_s(scenario(group(speed=0.5))) == [28, 56]
    assert ends_s(scenario(group("5 FLOP/s", speed=0.5))) == [16, 32]
    assert ends_s(scenario(group("4 FLOP/s", forward="8 FLOP/s", speed=0.5))) == [18, 36]  # 2 + 16


def test_a_speed_is_drawn_once_for_each_device() -> None:
    """Keyed by the device, and apart from a drawn rate."""
    drawn = {"kind": "uniform", "low": 0.5, "high": 2}
    devices = [fleet_device(speed=drawn, seed=seed) for seed in (0, 0, 1)]
    seconds = [WORK / device.rate for device in devices]
    assert seconds[0] == seconds[1] != seconds[2]
    assert all(5.5 <= one <= 22 for one in seconds)


def test_a_speed_over_time(tmp_path: Path) -> None:
    """Full speed for 5 s, a quarter from then on: 11 s of work end at 5 + 6 / 0.25. Events do the same."""
    (tmp_path / "speed.csv").write_text("time_s,speed\n0,1\n5,0.25\n")
    traced = {"kind": "trace", "file": str(tmp_path / "speed.csv")}
    event = {"at": "5 s", "set": {"device.speed": 0.25}}
    assert client_ends_s(fleet_device(speed=traced), WORK) == [29]
    assert client_ends_s(fleet_device([event]), WORK) == [29]
    assert client_ends_s(fleet_device(compute="2 FLOP/s", speed=traced), 22.0) == [29]
    assert client_ends_s(fleet_device([event], compute="2 FLOP/s"), 22.0) == [29]
    half = {**traced, "scale": 0.5}
    assert client_ends_s(fleet_device(speed=half), WORK) == [5 + 8.5 / 0.125]


def test_a_trace_of_rates_and_a_speed(tmp_path: Path) -> None:
    """The speed multiplies the rates of a trace, whatever their time."""
    (tmp_path / "rate.csv").write_text("time_s,rate\n0,8 FLOP/s\n2,4 FLOP/s\n")
    traced = {"kind": "trace", "file": str(tmp_path / "rate.csv")}
    assert client_ends_s(fleet_device(compute=traced, speed=0.5), 12.0) == [4]
    changed = fleet_device(
        [{"at": "1 s", "set": {"device.compute": "2 FLOP/s"}}], compute="8 FLOP/s", speed=0.5
    )
    assert client_ends_s(changed, 6.0) == [3]


def test_what_ifs_and_sensitivities_scale_rates_by_kind() -> None:
    """Twice as fast is half the time, time per operation and event included."""
    event = {"at": "0 s", "set": {"device.speed": 0.5}}
    asked = scenario(group(), events=[event])
    row = what_if(asked, {0: {0: 2}}, {0: {}}).set_index("change").loc["devices twice as fast"]
    assert (row["time_s"], row["changed_s"]) == (56, 28)
    changes = dict(assumptions(asked))
    assert ends_s(varied(asked, changes["computing of the devices"], 0.5)) == [56, 112]


def test_a_server_by_kind_in_a_round() -> None:
    """The server's work by kind; a what-if doubles it."""
    served = FREE | {"server_forward": FORWARD, "server_backward": BACKWARD}
    asked = scenario(group("1 FLOP/s"), workload=WORKLOAD | {"costs": served}, server={"compute": KINDS})
    assert ends_s(asked) == [14, 28]
    row = what_if(asked, {0: {0: 2}}, {0: {}}).set_index("change").loc["server twice as fast"]
    assert row["changed_s"] == 14


def test_cuts_by_compute_compare_seconds() -> None:
    """A device that is fast at what the deeper cut adds holds more blocks than one FLOP/s would say."""
    model = {"kind": "mlp", "hidden": [64, 64, 64]}
    rule = {"by": "compute", "within": 1.0}
    free = {"memory": "2 GB/s"}
    fast, slow = group(free, "fast"), group({"memory": "1 GB/s"}, "slow")
    asked = scenario(
        fast, slow, workload={"model": model}, variants=[{"algorithm": "splitfed-v1", "cut": rule}], rounds=1
    )
    cuts = simulate(asked, timing_only=True).clients.set_index("client")["cut"].to_dict()
    assert cuts["fast-0"] == 3
    assert cuts["slow-0"] < 3


def test_a_written_scenario_reads_back() -> None:
    """Rates, speeds, work by kind and their events survive YAML; defaults are left out of rates."""
    asked = scenario(
        group({"memory": "2 GB/s"}, speed=0.5), events=[{"at": "1 s", "set": {"device.speed": 2}}]
    )
    written = asked.to_data()
    assert Scenario.model_validate(written).to_data() == written
    assert written["fleet"]["groups"][0]["device"]["compute"] == {"memory": "2000000000.0 byte/s"}
    assert written["workload"]["costs"]["client_forward"]["operations"] == 2


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"compute": {}}, "compute", "no rate"),
    ({"compute": {"convolutions": "1 GFLOP/s"}}, "compute.convolutions", "convolution"),
    ({"compute": {"convolution": 36}}, "compute.convolution", "36"),
    ({"compute": {"convolution": "0 FLOP/s"}}, "compute.convolution", "0 FLOP/s"),
    ({"compute": {"convolution": "2 GB/s"}}, "compute.convolution", "2 GB/s"),
    ({"compute": {"memory": "2 GFLOP/s"}}, "compute.memory", "2 GFLOP/s"),
    ({"compute": {"memory": "2 GB/s", "per_operation": "-1 ms"}}, "compute.per_operation", "-1 ms"),
    ({"compute": {"memory": True}}, "compute.memory", "True"),
    ({"compute": {"memory": None}}, "compute", "no rate"),
    ({"compute": {"convolution": "unlimited"}}, "compute.convolution", "unlimited"),
    ({"compute": KINDS, "forward": "2 GFLOP/s"}, "forward", "by kind"),
    ({"compute": "1 GFLOP/s", "speed": 0}, "speed", "0"),
    ({"compute": "1 GFLOP/s", "speed": "2 GFLOP/s"}, "speed", "2 GFLOP/s"),
    ({"compute": "1 GFLOP/s", "speed": "50%"}, "speed", "write '0.5'"),
    ({"compute": "1 GFLOP/s", "speed": {"kind": "constant", "value": "2 s"}}, "speed.value", "2 s"),
    ({"compute": "1 GFLOP/s", "speed": {"kind": "constnt", "value": 2}}, "speed.kind", "constant"),
]


@pytest.mark.parametrize(("device", "place", "told"), MISTAKES)
def test_a_wrong_device_is_one_mistake(device: dict[str, Any], place: str, told: str) -> None:
    """The key and what was found, or what is meant."""
    with pytest.raises((ValidationError, ScenarioError)) as found:
        scenario({**group(), "device": device})
    assert f"fleet.groups[0].device.{place}" in str(found.value)
    assert told in str(found.value)


def test_two_rates_over_time_are_refused(tmp_path: Path) -> None:
    """A trace of each, a trace and an event of the other, or events of both."""
    (tmp_path / "rate.csv").write_text("time_s,rate\n0,8 FLOP/s\n")
    (tmp_path / "speed.csv").write_text("time_s,speed\n0,1\n")
    rate = {"kind": "trace", "file": str(tmp_path / "rate.csv")}
    speed = {"kind": "trace", "file": str(tmp_path / "speed.csv")}
    set_rate = {"at": "1 s", "set": {"device.compute": "2 FLOP/s"}}
    set_speed = {"at": "2 s", "set": {"device.speed": 0.5}}
    wrong = [
        (group(rate, speed=speed), [], "speed"),
        (group(rate), [set_speed], "events[0].set.device.speed"),
        (group("1 FLOP/s", speed=speed), [set_rate], "events[0].set.device.compute"),
        (group(), [set_rate], "events[0].set.device.compute"),
        (group("1 FLOP/s"), [set_rate, set_speed], "events[1].set.device.speed"),
    ]
    for one, events, place in wrong:
        with pytest.raises(ScenarioError) as found:
            scenario(one, events=events)
        assert place in str(found.value)


def test_flop_of_unknown_kinds_are_refused() -> None:
    """Given costs must say their kinds where a device or the server asks; zero needs none."""
    plain = FREE | {"client_forward": "8 FLOP", "client_backward": BACKWARD}
    for fields in ({}, {"server": {"compute": KINDS}}):
        device = group("1 FLOP/s") if fields else group()
        with pytest.raises(ScenarioError) as found:
            scenario(device, workload=WORKLOAD | {"costs": plain}, **fields)
        assert "workload.costs.client_forward" in str(found.value)
        assert "client_backward" not in str(found.value)
    assert ends_s(scenario(group("5 FLOP/s"), workload=WORKLOAD | {"costs": plain})) == [8, 16]


@pytest.mark.parametrize("work", [{}, {"operations": True}, {"operations": 1.5}, {"memory": "2 FLOP"}])
def test_wrong_work_is_one_mistake(work: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError) as found:
        scenario(group(), workload=WORKLOAD | {"costs": FREE | {"client_forward": work}})
    (problem,) = found.value.problems
    assert problem.path.startswith("workload.costs.client_forward")


def test_a_price_by_the_tflops_needs_one_rate() -> None:
    plan = {"objectives": ["cost"], "prices": {"tflops_hour": 1}, "decisions": {"fleet.participants": [1]}}
    with pytest.raises(ScenarioError) as found:
        scenario(group("1 FLOP/s"), server={"compute": KINDS}, plan=plan)
    assert "plan.prices.tflops_hour" in str(found.value)


def test_a_device_says_no_flop_per_s() -> None:
    """NaN in the table of clients, as what nobody knows is there."""
    assert fleet_device().flop_per_s != fleet_device().flop_per_s
    assert fleet_device(compute="2 FLOP/s", speed=2).flop_per_s == 4
    assert isinstance(fleet_device().rate, Rates)
    assert DeviceConfig.model_validate({"compute": KINDS}).speed == 1


@pytest.mark.parametrize("algorithm", sorted(set(algorithms()) - {"fedlora"}))
def test_every_algorithm_charges_kinds_as_it_charges_flop(algorithm: str) -> None:
    """The same rate for every kind, on devices and server, gives the times of one rate and the same FLOP."""
    by_kind = {
        name: {"matmul": figure} if figure.endswith("FLOP") else figure for name, figure in COSTS.items()
    }
    runs = []
    for costs, rate in ((COSTS, "8 FLOP/s"), (by_kind, {"matmul": "8 FLOP/s"})):
        asked = scenario(
            group(rate), group(rate, "other"), server={"compute": rate}, variants=[{"algorithm": algorithm}],
            workload=WORKLOAD | {"costs": costs},
        )  # fmt: skip
        runs.append(simulate(asked, timing_only=True))
    one, kinds = (run.spans for run in runs)
    assert len(one) > 0
    assert kinds["end_s"].tolist() == pytest.approx(one["end_s"].tolist(), rel=1e-12)
    assert kinds["flop"].tolist() == one["flop"].tolist()
