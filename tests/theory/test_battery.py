"""Batteries: the moment at which one is empty, by hand and from a run without it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from support import FAST, SLOW, UNLIMITED, data, read

from sflsim import registry
from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "1.5 W"}
OPEN = {"compute": "4 FLOP/s", "slots": 1, "link": UNLIMITED}
TWICE = {"local_iterations": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(["fedavg", "fedlora", "fedasync", "frozen-client", "sl", "splitfed-v2", "psl"], TWICE),
    "fedbuff": {**TWICE, "b": 1},
    "gas": {**TWICE, "q_s": 1, "q_c": 1},
    "zo-gas": {**TWICE, "q_s": 1, "q_c": 1},
    "cse-fsl": {"local_iterations": 4, "q": 2},
    "heron-sfl": {"local_iterations": 4, "q": 2},
    "mu-splitfed": {"tau": "adaptive", "tau_max": 8},
}


def groups(battery: str | None, **fields: Any) -> list[dict[str, Any]]:
    """Return the fast device with a battery and the slow one, which has none."""
    device = {**FAST["device"], "power": POWER, **({"battery": battery} if battery else {})}
    return [{**FAST, "device": device, **fields}, SLOW]


def run_of(battery: str | None, **fields: Any) -> Run:
    """Run two rounds of SplitFed; without a battery, the fast client does in its first round as below.

    | s | 0 to 1.25 | to 2.25 | to 3.75 | to 4 | to 11 | to 11.5 | to 11.75 | to 13.75 | to 16 | to 28 |
    |---|---|---|---|---|---|---|---|---|---|---|
    | | receives for 1 s | computes | sends | latency | idle | receives | latency | computes | sends | idle |
    """
    fleet = {"clients": 2, "groups": groups(battery)}
    return simulate(read(data(**{"fleet": fleet, "stop": {"rounds": 2}, **fields})), timing_only=True)


def last_span(run: Run) -> pd.Series:
    """Return the span of the fast client that ended last."""
    own = run.spans[run.spans["actor"] == "fast-0"]
    return own.loc[own["end_s"].idxmax()]


@pytest.mark.parametrize(
    ("battery", "server", "expected"),
    [
        # up to 1.25 s: 1.25 J idling and 0.5 W x 1 s receiving; then 3 W: 4 J are drawn at 1.25 + 2.25 / 3 s
        ("4 J", {}, ("compute", 2.0, "flop", 6.0, 1.5, "lost")),
        # up to 2.25 s: 1.75 + 3 J; then 2 W while it sends 8 byte/s through the server's link: 0.75 s more
        ("6.25 J", {}, ("uplink", 3.0, "bytes", 6.0, 0.75, "lost")),
        # the same to 2.25 s; then 2 W while it sends 16 byte/s over a link of its own: 0.4375 s more
        ("5.625 J", {"server": OPEN}, ("uplink", 2.6875, "bytes", 7.0, 0.4375, "lost")),
        # up to 3.75 s: 4.75 + 3 J; up to 4 s: 8 J; then idle, while the server computes for it: 4.5 s
        ("8.5 J", {}, ("latency", 4.0, "bytes", 0.0, 0.0, "wasted")),
    ],
)
def test_a_battery_that_runs_empty_ends_the_participation(
    battery: str, server: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """Time, amount and energy by hand; nothing of the client counts, and it is in no later round."""
    run = run_of(battery, **server)
    activity, end_s, kind, amount, energy_j, outcome = expected
    last = last_span(run)
    assert tuple(last[["activity", "end_s", kind, "active_energy_j", "outcome"]]) == pytest.approx(
        (activity, end_s, amount, energy_j, outcome)
    )
    client = run.clients.set_index("client").loc["fast-0"]
    assert client["energy_j"] == pytest.approx(float(battery.split()[0]))
    assert (client["rounds"], client["dropped"]) == (1, 1)
    assert run.runs["status"].tolist() == ["completed"]


def test_a_battery_that_runs_empty_while_its_client_waits_loses_nothing() -> None:
    """Up to 16 s it has drawn 16 + 0.5 + 2 + 1.5 + 0.25 + 4 + 2 J; 30.25 J last for 4 s of idling more."""
    run = run_of("30.25 J")
    last = last_span(run)
    assert (last["activity"], last["start_s"], last["end_s"]) == ("wait", 16.0, 20.0)
    assert run.runs[["status", "dropped"]].to_numpy().tolist() == [["completed", 0]]
    client = run.clients.set_index("client").loc["fast-0"]
    assert (client["energy_j"], client["idle_j"], client["rounds"]) == (30.25, 20.0, 1)


def test_a_cancelled_activity_draws_no_energy() -> None:
    """Unavailable from 1.75 s on, while computing, with 3.25 J drawn; the rest is left for its return."""
    events = [{"at": "1.75 s", "group": "fast", "leave": True}, {"at": "2 s", "group": "fast", "join": True}]
    run = run_of("6 J", fleet={"clients": 2, "groups": groups("6 J"), "events": events})
    client = run.clients.set_index("client").loc["fast-0"]
    assert (client["energy_j"], client["dropped"]) == (pytest.approx(6.0), 2)


def test_a_battery_that_is_large_enough_changes_nothing() -> None:
    """Not a row of any table, for one that lasts until the very end (76.5 J) as for a larger one."""
    without = run_of(None)
    for battery in ("76.5 J", "1 kWh"):
        run = run_of(battery)
        pd.testing.assert_frame_equal(run.spans, without.spans)
        pd.testing.assert_frame_equal(run.clients, without.clients)
        pd.testing.assert_frame_equal(run.evaluations, without.evaluations)


def test_empty_batteries_are_counted_by_variant_and_group() -> None:
    """Of two devices one is empty after its first part; none where the battery lasts, nothing without one."""
    fleet = {"clients": 3, "groups": [{**groups("4 J")[0], "count": 2}, SLOW]}
    run = run_of(None, fleet=fleet, variants=["splitfed-v1", "splitfed-v2"])
    words = "2 of 2 batteries of group fast are empty at the end"
    assert run.empty_batteries() == [f"splitfed-v1: {words}", f"splitfed-v2: {words}"]
    assert run_of("1 kWh").empty_batteries() == run_of(None).empty_batteries() == []


def test_when_the_last_battery_is_empty_the_run_stalls() -> None:
    """It says when and why, and does not wait for windows in which nobody will be there."""
    windows = [{"kind": "daily", "from": f"{6 * n:02}:00", "to": f"{6 * n + 3:02}:00"} for n in range(2)]
    device = {**FAST["device"], "power": POWER, "battery": "4 J"}
    members = [
        {**FAST, "name": f"of-{n}", "device": device, "availability": window}
        for n, window in enumerate(windows)
    ]
    fleet = {"clients": 2, "groups": members}
    run = simulate(read(data(fleet=fleet, stop={"rounds": 9})), timing_only=True)
    reason = "at 21602 s: no client is left that could go on, as 2 of 2 batteries are empty"
    assert run.runs[["status", "reason"]].to_numpy().tolist() == [["stalled", reason]]
    assert run.clients["energy_j"].tolist() == pytest.approx([4.0, 4.0])


def moment_s(run: Run, capacity_j: float) -> float:
    """Return when the only client of a run has drawn so much, from its spans: each draws evenly."""
    own = run.spans[run.spans["actor"] == run.spans["client"]]
    own = own[own["end_s"] > own["start_s"]]
    steps = sorted({0.0, *own["start_s"], *own["end_s"]})
    drawn_j = 0.0
    for start_s, end_s in pairwise(steps):
        under_way = own[(own["start_s"] <= start_s) & (own["end_s"] >= end_s)]
        power_w = 1.0 + (under_way["active_energy_j"] / (under_way["end_s"] - under_way["start_s"])).sum()
        if drawn_j + power_w * (end_s - start_s) >= capacity_j:
            return float(start_s + (capacity_j - drawn_j) / power_w)
        drawn_j += power_w * (end_s - start_s)
    raise AssertionError("the run is too short")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("algorithm", sorted(registry.algorithms()))
def test_the_moment_is_that_of_a_run_without_the_battery(algorithm: str, shared: bool) -> None:
    """Up to it, nothing differs: what the spans of that run add up to says when the battery is empty."""

    def run(battery: str | None) -> Run:
        link = {"up": "16 byte/s", "down": "16 byte/s"}
        model: dict[str, Any] = {"kind": "mlp", "hidden": [8]}
        if algorithm == "fedlora":
            model["adapters"] = {"rank": 2, "alpha": 2}
        content = data(
            fleet={"clients": 1, "groups": groups(battery, link=link)[:1]},
            variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {})}],
            server={**OPEN, "link": {"up": "unlimited", "down": "3 byte/s" if shared else "unlimited"}},
            stop={"rounds": 6},
        )
        content["workload"] = {**content["workload"], "model": model}
        return simulate(read(content), timing_only=True)

    without = run(None)
    for share in (0.13, 0.55, 0.81):
        capacity_j = share * float(without.clients["energy_j"].iloc[0])
        emptied = run(f"{capacity_j!r} J")
        assert emptied.runs["status"].tolist() == ["stalled"]
        assert emptied.runs["time_s"].iloc[0] == pytest.approx(moment_s(without, capacity_j), rel=1e-9)
        assert emptied.clients["energy_j"].iloc[0] == pytest.approx(capacity_j, rel=1e-9)


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ({"battery": "15 Wh"}, "no 'power' above zero, so it would never be empty"),
        ({"battery": "15 Wh", "power": {"idle": "0 W"}}, "no 'power' above zero"),
        ({"battery": "15 W", "power": POWER}, "'15 W'"),
        ({"battery": 15, "power": POWER}, "15"),
        ({"battery": "0 J", "power": POWER}, "'0 J'"),
    ],
)
def test_a_battery_that_means_nothing_is_refused(device: dict[str, Any], found: str) -> None:
    """At its place, with what is allowed there."""
    group = {**FAST, "device": {**FAST["device"], **device}}
    with pytest.raises(ScenarioError) as raised:
        read(data(fleet={"clients": 1, "groups": [group]}))
    (problem,) = raised.value.problems
    assert problem.path == "fleet.groups[0].device.battery"
    assert found in problem.found
