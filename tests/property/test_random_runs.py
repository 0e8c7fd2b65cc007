"""Any algorithm on any fleet, links and server: the run ends, and what its spans say is possible.

The laws know nothing of the clock: they read the scenario, the rates' CSV file and the tables of the
run. What they take from the package is what was drawn for each device (rates, access points).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from property.capacities import (
    Floats,
    Spans,
    assert_apart,
    assert_carried,
    assert_shared,
    capacity,
    passed_by,
    slack_s,
    steady,
    sum_of,
    timed,
)
from property.messages import (
    MODELS,
    ROUNDLESS,
    check_causes,
    check_parts,
    numbered,
    packets_bytes,
    recognised,
)
from property.random_scenarios import scenarios
from property.stalls import check_stall

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.fleet.devices import Device
from sflsim.fleet.population import build_fleet
from sflsim.scenario.schema import Scenario

RUNS = settings(deadline=None, suppress_health_check=list(HealthCheck))
SECONDS = ("compute_s", "slowdown_s", "uplink_s", "downlink_s", "wait_s")


def check(content: dict[str, Any], run: Run) -> None:
    """Check every law on the tables of a run."""
    spans, (row,) = Spans.of(numbered(run.spans)), run.runs.to_dict("records")
    check_end(content, run, row)
    assert (spans.end_s >= spans.start_s).all()
    assert (spans.end_s <= row["time_s"] * (1 + 1e-12)).all()
    fleet = build_fleet(run.scenario.fleet, content["seeds"][0])
    devices = {device.name: device for device in map(fleet.device, range(len(fleet)))}
    groups = {group["name"]: group for group in content["fleet"]["groups"]}
    check_processors(spans)
    check_speeds(groups, devices, spans)
    check_server(content["server"], spans, float(row["server_busy_s"]))
    sent = spans.where((spans.activity == "uplink") | (spans.activity == "downlink"))
    for (name, way), own in sent.by("client", "activity"):
        check_direction(groups[devices[name].group]["link"], devices[name], way, own, comes_and_goes(content))
    (variant,), packets = run.scenario.variants, packets_bytes(groups, devices)
    shares = {name: size / 8 for name, size in run.clients.set_index("client")["batch_size"].items()}
    sizes = recognised(variant, content["stop"]["rounds"], shares, packets, sent)
    check_causes(variant, shares, sent, sizes)
    if variant.algorithm in ROUNDLESS:
        assert not (spans.activity == "wait").any()  # nobody waits for anybody
    if not comes_and_goes(content):
        two_ways = "fed" in content["server"]  # a model may go past the activations
        overtaking = {
            name for name, device in devices.items() if two_ways or "jitter" in groups[device.group]["link"]
        }
        check_parts(variant, shares, set(packets), overtaking, int(row["rounds"]), spans, sent, sizes)
    check_media(content, devices, sent, sizes)
    check_sums(run, spans, comes_and_goes(content) and row["algorithm"] in ROUNDLESS)


def comes_and_goes(content: dict[str, Any]) -> bool:
    """Tell whether clients may drop out."""
    return bool(content["fleet"].get("availability") or content["fleet"].get("events"))


def check_end(content: dict[str, Any], run: Run, row: Mapping[Any, Any]) -> None:
    """Every run has all its rounds, or clients come and go and it says when it stalled, and rightly."""
    if row["status"] == "completed":
        wanted, rounds = content["stop"]["rounds"], row["rounds"]
        at_once = row["algorithm"] in ROUNDLESS and rounds > wanted  # in the instant of the last one
        assert row["reason"] == "rounds"
        assert at_once or rounds == wanted
    else:
        assert comes_and_goes(content)
        check_stall(run)


def check_processors(spans: Spans) -> None:
    """No device computes two things at once, or while it is held up; no slot serves two jobs at once."""
    assert_apart(spans.where((spans.activity == "compute") | (spans.activity == "slowdown")))
    assert_apart(spans.where(spans.activity == "serve"))


def check_speeds(groups: dict[str, Any], devices: dict[str, Device], spans: Spans) -> None:
    """No device computes faster than it can; a straggler's factor is one or more."""
    for (name,), own in spans.where(spans.activity == "compute").by("client"):
        device, flop_per_s = groups[devices[name].group]["device"], devices[name].flop_per_s
        passed, own = passed_by(device["compute"], flop_per_s), timed(own, device["compute"])
        assert passed is not None
        most_flop = passed(own.end_s + slack_s(own.end_s)) - passed(own.start_s)
        if "forward" in device:  # passes that have a rate of their own
            most_flop = most_flop * max(1.0, float(device["forward"].split()[0]) / flop_per_s)
        assert (own.flop * (1 - 1e-9) - 1e-6 <= most_flop).all()


def check_server(server: dict[str, Any], spans: Spans, busy_s: float) -> None:
    """At no instant are there more jobs than slots; in no window is more done than slots can do."""
    served = spans.where(spans.activity == "serve")
    rate = math.inf if server["compute"] == "unlimited" else float(server["compute"].split()[0])
    seconds = served.flop / rate
    assert math.isclose(busy_s, seconds.sum(), rel_tol=1e-9, abs_tol=1e-9)
    assert_carried(served.start_s, served.end_s, seconds, steady(server["slots"]))
    assert (served.end_s - served.start_s >= seconds - slack_s(served.end_s)).all()
    if server["discipline"] == "fifo" and len(served):
        starts_s, ends_s = np.sort(served.start_s), np.sort(served.end_s)
        at_once = np.arange(1, len(starts_s) + 1) - np.searchsorted(ends_s, starts_s, side="right")
        assert at_once.max() <= server["slots"]


def check_direction(link: dict[str, Any], device: Device, way: str, own: Spans, comes_and_goes: bool) -> None:
    """Messages leave one after another, at the link's rate at most, silent after each as it asks for."""
    direction = device.link.up if way == "uplink" else device.link.down
    own = own.where(np.lexsort((own.active_energy_j, own.start_s)))
    starts_s, sent_s = own.start_s, own.start_s + own.active_energy_j
    assert (sent_s <= own.end_s + slack_s(own.end_s)).all()
    silent_s = (
        0.0 if comes_and_goes else own.active_energy_j * (1 / direction.duty_cycle - 1)
    )  # forgotten when gone
    until_s = sent_s + silent_s
    assert (starts_s[1:] >= until_s[:-1] - slack_s(until_s[:-1])).all()
    written = link["up" if way == "uplink" else "down"]
    if (passed := passed_by(written, direction.rate)) is not None:
        whole = timed(own, written)
        most_bytes = passed(whole.start_s + whole.active_energy_j + slack_s(whole.end_s)) - passed(
            whole.start_s
        )
        assert (whole.bytes * (1 - 1e-9) - 1e-6 <= most_bytes).all()
    if direction.in_order:
        arrivals_s = own.end_s[own.outcome != "lost"]
        assert (np.diff(arrivals_s) >= -slack_s(arrivals_s[1:])).all()


def check_media(content: dict[str, Any], devices: dict[str, Device], sent: Spans, sizes: Floats) -> None:
    """The bytes through a shared link within any window are at most its capacity's integral."""
    server = content["server"]
    models, others = np.isin(sizes, list(MODELS)), (sizes > 0) & ~np.isin(sizes, list(MODELS))
    for way, key in (("uplink", "down"), ("downlink", "up")):
        one_way, split = sent.activity == way, capacity(server["link"][key])
        if "fed" not in server:
            assert_shared(sent.where(one_way), split)
            continue
        fed = capacity(server["fed"]["link"][key])
        assert_shared(sent.where(one_way & others), split)
        assert_shared(sent.where(one_way & models), fed)
        if split and fed:  # together also for what was cut, of which the size does not tell where it went
            assert_shared(sent.where(one_way), sum_of(split, fed))
    for name, cell in content["fleet"].get("access_points", {}).items():
        points = {device.name: device.access_point for device in devices.values() if device.access_point}
        assert {point.name.startswith(name) for point in points.values()} == {True}
        behind = np.array([points[client].name if client in points else "" for client in sent.client])
        for point in {point.name for point in points.values()}:
            for key, ways in {
                "up": ["uplink"],
                "down": ["downlink"],
                "shared": ["uplink", "downlink"],
            }.items():
                own = sent.where((behind == point) & np.isin(sent.activity, ways))
                assert_shared(own, capacity(cell.get(key, "unlimited")))


def check_sums(run: Run, spans: Spans, uncounted: bool) -> None:
    """The last evaluation and the clients' columns are sums of spans; lost contributions are `uncounted`."""
    clients, last = run.clients, run.evaluations.iloc[-1]
    names = list(clients["client"])
    spans = spans.where(spans.actor == spans.client)
    seconds, wasted = spans.end_s - spans.start_s, np.isin(spans.outcome, ["wasted", "lost"])
    rows = np.array([names.index(client) for client in spans.client], dtype=int)

    def total(amounts: Any, chosen: Any = ...) -> Any:
        return np.bincount(rows[chosen], amounts[chosen], minlength=len(names))

    def rounds(chosen: Any) -> Any:
        pairs = np.unique(np.stack([rows[chosen], spans.round[chosen]]), axis=1)
        return np.bincount(pairs[0], minlength=len(names))

    expected = {
        **{name: total(seconds, spans.activity == name.removesuffix("_s")) for name in SECONDS},
        **{f"{way}_bytes": total(spans.bytes, spans.activity == way) for way in ("uplink", "downlink")},
        "flop": total(spans.flop),
        "energy_j": total(spans.active_energy_j) + clients["idle_j"].to_numpy(),
        "wasted_s": total(seconds, wasted),
        "wasted_bytes": total(spans.bytes, wasted),
        "rounds": rounds(np.ones(len(rows), dtype=bool)),
        "dropped": rounds(wasted),
    }
    if uncounted:
        del expected["rounds"], expected["dropped"]
    for column, sums in expected.items():
        assert np.allclose(clients[column].to_numpy(), sums, rtol=1e-9, atol=1e-9), column
    for column in ("client_busy_s", "energy_j", "uplink_bytes", "downlink_bytes"):
        whole = clients["compute_s" if column == "client_busy_s" else column].sum()
        assert math.isclose(last[column], whole, rel_tol=1e-9, abs_tol=1e-9), column


def simulated(content: dict[str, Any], **options: Any) -> Run:
    """Return the run of a scenario, timed only; reading it as YAML would cost more than the run."""
    return simulate(Scenario.model_validate(content), timing_only=True, **options)


@settings(RUNS, max_examples=60)
@given(scenarios())
def test_random_runs(content: dict[str, Any]) -> None:
    """Some dozens of scenarios; thousands in the slow test below."""
    check(content, simulated(content))


@pytest.mark.slow
@settings(RUNS, max_examples=2500)
@given(scenarios())
def test_many_more_random_runs(content: dict[str, Any]) -> None:
    """The same laws; of every fourth, the other tables are the same without spans."""
    run = simulated(content)
    check(content, run)
    if content["seeds"][0] % 4 == 0:
        lean = simulated(content, keep_spans=False)
        for table in ("evaluations", "clients", "runs"):
            pd.testing.assert_frame_equal(getattr(run, table), getattr(lean, table))
