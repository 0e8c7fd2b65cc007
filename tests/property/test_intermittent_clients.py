"""Intermittent clients under every algorithm: each run ends, and no client acts while it is unavailable."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property.stalls import check_stall
from support import COSTS, FAST, SLOW, data, read

from sflsim import registry
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.fleet.population import FleetConfig, build_fleet
from sflsim.fleet.sampling import fleet_availability

RUNS = settings(deadline=None, suppress_health_check=list(HealthCheck))
ALGORITHMS = sorted(registry.algorithms())
BUFFERED: dict[str, Any] = {"q_s": 2, "q_c": 2, "local_iterations": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "gas": BUFFERED,
    "zo-gas": BUFFERED,
    "fedbuff": {"b": 2, "local_iterations": 2},
    "fedasync": {"local_iterations": 2},
    "fedavg": {"local_iterations": 2},
    "fedlora": {"local_iterations": 2},
    "mu-splitfed": {"tau": "adaptive", "tau_max": 8},
    "cse-fsl": {"local_iterations": 4, "q": 2},
    "heron-sfl": {"local_iterations": 4, "q": 2},
    "frozen-client": {"local_iterations": 3},
}
SYNCHRONOUS = [name for name in ALGORITHMS if name not in ("sl", "gas", "zo-gas", "fedasync", "fedbuff")]
POWER = {"idle": "1 W", "compute": "3 W", "send": "2 W", "receive": "1.5 W"}
SECONDS = st.floats(1, 300).map(lambda time_s: f"{time_s!r} s") | st.sampled_from(["4 s", "16 s", "64 s"])
AVAILABILITY = st.one_of(
    st.just({"kind": "always"}),
    st.builds(lambda on, off: {"kind": "markov", "on": on, "off": off}, SECONDS, SECONDS),
    st.builds(
        lambda begin, minutes, jitter: {
            "kind": "daily",
            "from": f"00:{begin:02}",
            "to": f"00:{begin + minutes:02}",
            **({"jitter": "29 s"} if jitter else {}),
        },
        st.integers(0, 10),
        st.integers(1, 40),
        st.booleans(),
    ),
)


def workload(algorithm: str) -> dict[str, Any]:
    """Return a workload that the algorithm can have."""
    model: dict[str, Any] = {"kind": "mlp", "hidden": [8]}
    if algorithm == "fedlora":
        model["adapters"] = {"rank": 2, "alpha": 2}
    return {"model": model, "cut": 1, "batch_size": 8, "costs": COSTS}


@st.composite
def moves(draw: st.DrawFn, group: str) -> list[dict[str, Any]]:
    """Draw departures and returns of a group by turns, and a new rate now and then."""
    times_s = sorted(draw(st.lists(st.integers(0, 400), max_size=4, unique=True)))
    leave = draw(st.booleans())
    found: list[dict[str, Any]] = []
    for number, time_s in enumerate(times_s):
        kind = "leave" if leave == (number % 2 == 0) else "join"
        found.append({"at": f"{time_s} s", "group": group, kind: True})
    if draw(st.booleans()):
        rate = draw(st.sampled_from(["2 byte/s", "64 byte/s"]))
        found.append({"at": draw(SECONDS), "group": group, "set": {"link.up": rate}})
    return found


@st.composite
def scenarios(draw: st.DrawFn, algorithm: str) -> dict[str, Any]:
    """Draw a fleet that comes and goes."""
    groups = [
        {**FAST, "count": draw(st.integers(1, 3)), "availability": draw(AVAILABILITY)},
        {**SLOW, "count": draw(st.integers(1, 3)), "availability": draw(AVAILABILITY)},
    ]
    groups[0]["device"] = {**FAST["device"], "power": POWER}  # type: ignore[dict-item]
    for group in groups:
        group["on_absence"] = draw(st.sampled_from(["lose", "pause"]))
    if draw(st.booleans()):
        groups[0]["link"] = {**FAST["link"], "jitter": "0.1 s"}  # type: ignore[dict-item]
    clients = sum(group["count"] for group in groups)  # type: ignore[misc]
    variant = {"algorithm": algorithm, **SETTINGS.get(algorithm, {})}
    if algorithm in SYNCHRONOUS and draw(st.booleans()):
        variant["over_selection"] = 1
    waits_for_all = variant.get("tau") == "adaptive" or algorithm == "psl"
    if algorithm in SYNCHRONOUS and not waits_for_all and draw(st.booleans()):
        variant["deadline"] = "20 s"
    clients_wanted = draw(st.integers(1, clients))
    shared = draw(st.booleans())
    return data(
        seeds=[draw(st.integers(0, 2**63 - 1))],
        workload=workload(algorithm),
        fleet={
            "clients": clients,
            "participants": clients_wanted,
            "groups": groups,
            "events": [*draw(moves("fast")), *draw(moves("slow"))],
        },
        server={
            "compute": "16 FLOP/s",
            "slots": draw(st.integers(1, 2)),
            "link": {"up": "unlimited", "down": "8 byte/s" if shared else "unlimited"},
        },
        variants=[variant],
        stop={"rounds": 4, "time": "3 days"},
    )


def check(content: dict[str, Any], run: Run) -> None:
    """Check every law that a run in which clients come and go obeys."""
    (row,) = run.runs.to_dict("records")
    assert row["status"] in ("completed", "stalled")
    assert row["reason"] in ("rounds", "time") or row["status"] == "stalled"
    if row["status"] == "stalled":
        check_stall(run)
    spans = run.spans
    assert (spans["end_s"] >= spans["start_s"]).all()
    assert (spans["end_s"] <= row["time_s"] * (1 + 1e-12)).all()
    assert run.evaluations["time_s"].is_monotonic_increasing
    assert (run.evaluations[["uplink_bytes", "downlink_bytes", "energy_j"]].diff()[1:] >= 0).all(axis=None)
    own = spans[spans["actor"] == spans["client"]]
    assert_there(content, own)
    for _, of_client in own[own["activity"].isin(["compute", "slowdown"])].groupby("client"):
        starts, ends = of_client.sort_values("start_s")["start_s"], of_client.sort_values("start_s")["end_s"]
        assert (starts.to_numpy()[1:] >= ends.to_numpy()[:-1] - 1e-9).all()
    for _, served in spans[spans["activity"] == "serve"].groupby("actor"):
        ordered = served.sort_values("start_s")
        assert (ordered["start_s"].to_numpy()[1:] >= ordered["end_s"].to_numpy()[:-1] - 1e-9).all()
    lost = spans[spans["outcome"] == "lost"]
    assert (lost["active_energy_j"] >= 0).all()
    assert (lost["bytes"] <= spans["bytes"].max()).all()
    for (activity, size), whole in own[own["outcome"] == "done"].groupby(["activity", "bytes"]):
        assert activity in ("uplink", "downlink") or size == 0, whole


def assert_there(content: dict[str, Any], own: Any) -> None:
    """Assert that a client does nothing while it is away; messages under way may travel, if it pauses."""
    pausing = {group["name"] for group in content["fleet"]["groups"] if group.get("on_absence") == "pause"}
    travels = (own["activity"] == "latency") & own["client"].str.replace(r"-\d+$", "", regex=True).isin(
        pausing
    )
    own = own[(own["activity"] != "absence") & ~travels]
    config = FleetConfig.model_validate(content["fleet"])
    fleet = build_fleet(config, content["seeds"][0])
    availability = fleet_availability(config, fleet)
    if availability is None:
        return
    indices = {fleet.named(index)[1]: index for index in range(len(fleet))}
    columns = zip(own["client"], own["start_s"], own["end_s"], strict=True)
    for client, start_s, end_s in columns:
        timeline = availability.timeline(indices[client])
        slack_s = 1e-9 * max(1.0, end_s)
        if end_s - start_s > slack_s:
            assert timeline.available_at(start_s + slack_s / 2)
            assert timeline.until(start_s + slack_s / 2) >= end_s - slack_s


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=6)
@given(st.data())
def test_every_run_ends_and_no_client_works_while_unavailable(algorithm: str, data: st.DataObject) -> None:
    """A few fleets for each algorithm; many more in the slow test below."""
    content = data.draw(scenarios(algorithm))
    check(content, simulate(read(content), timing_only=True))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(RUNS, max_examples=60)
@given(st.data())
def test_many_more_runs_end(algorithm: str, data: st.DataObject) -> None:
    """The same law over 60 fleets for each algorithm."""
    content = data.draw(scenarios(algorithm))
    check(content, simulate(read(content), timing_only=True))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_run_stalls_when_all_clients_leave(algorithm: str) -> None:
    """Status and reason say so, and the run's time is that of the last departure, not the stop's."""
    groups = [{**FAST, "count": 2}, {**SLOW, "count": 2}]
    content = data(
        workload=workload(algorithm),
        fleet={"clients": 4, "groups": groups, "events": [{"at": "100 s", "leave": True}]},
        variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {})}],
        stop={"time": "10 days"},
        evaluate={"every": "1 h"},
    )
    run = simulate(read(content), timing_only=True)
    (row,) = run.runs.to_dict("records")
    assert row["status"] == "stalled"
    assert math.isclose(row["time_s"], 100.0)
    assert row["reason"] == "at 100 s: no client is left that could go on"
    assert {"lost", "wasted"} & set(run.spans["outcome"])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("algorithm", ["cse-fsl", "splitfed-v1", "fedasync", "sl"])
def test_a_run_stalls_when_the_last_client_leaves_not_when_one_might_have_come(
    algorithm: str, seed: int
) -> None:
    """One leaves at once; the other leaves at 272 s, and its own first window may begin later than that."""
    daily = {"kind": "daily", "from": "00:05", "to": "00:06", "jitter": "29 s"}  # from 271 s on
    events = [
        {"at": "0 s", "group": "slow", "leave": True},
        {"at": "272 s", "group": "fast", "leave": True},
    ]
    groups = [{**FAST, "availability": daily}, SLOW]
    content = data(
        seeds=[seed],
        workload=workload(algorithm),
        fleet={"clients": 2, "groups": groups, "events": events},
        variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {})}],
        stop={"rounds": 100},
    )
    run = simulate(read(content), timing_only=True)
    fleet = FleetConfig.model_validate(content["fleet"])
    availability = fleet_availability(fleet, build_fleet(fleet, seed))
    assert availability is not None
    came = availability.timeline(0).until(0.0) < 272.0
    assert run.runs["reason"][0] == f"at {272 if came else 0} s: no client is left that could go on"


@pytest.mark.parametrize("algorithm", ["gas", "zo-gas"])
def test_a_client_with_a_part_in_the_buffer_may_return(algorithm: str) -> None:
    """Alone, it fills a buffer of two; it drops out during its second part and makes another one later."""
    whole = simulate(read(left_alone(algorithm, [])), timing_only=True).spans
    pulls = whole[(whole["client"] == "slow-0") & (whole["activity"] == "downlink") & (whole["bytes"] == 16)]
    cut_s = float(pulls["start_s"].iloc[1]) + 0.5
    events = [
        {"at": f"{cut_s!r} s", "group": "slow", "leave": True},
        {"at": f"{cut_s + 40!r} s", "group": "slow", "join": True},
    ]
    run = simulate(read(left_alone(algorithm, events)), timing_only=True)
    assert run.runs[["status", "reason"]].iloc[0].tolist() == ["completed", "rounds"]
    assert run.spans["end_s"].max() > cut_s + 40


def left_alone(algorithm: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a run of one update by buffers of two, of which the fast client leaves at once."""
    return data(
        fleet={
            "clients": 2,
            "groups": [FAST, SLOW],
            "events": [{"at": "0.25 s", "group": "fast", "leave": True}, *events],
        },
        variants=[{"algorithm": algorithm, **BUFFERED}],
        stop={"rounds": 1},
    )


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "fedasync", "sl"])
def test_clients_that_never_stay_long_enough_stall_a_run(algorithm: str) -> None:
    """A second of every ten minutes is too short for any part: the run stalls, with the reason."""
    availability = {"kind": "markov", "on": "0.01 s", "off": "600 s"}
    content = data(
        fleet={"clients": 2, "groups": [FAST, SLOW], "availability": availability},
        variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {})}],
        stop={"rounds": 5},
    )
    (row,) = simulate(read(content), timing_only=True).runs.to_dict("records")
    assert row["status"] == "stalled"
    assert row["reason"].endswith("1000 parts in a row were lost: clients do not stay long enough")


def test_a_client_that_returns_is_sampled_again() -> None:
    """Away from 9 s to 60 s: its first participation is cancelled at 9 s, a later round has it again."""
    events = [{"at": "9 s", "group": "slow", "leave": True}, {"at": "60 s", "group": "slow", "join": True}]
    content = data(fleet={"clients": 2, "groups": [FAST, SLOW], "events": events}, stop={"rounds": 8})
    spans = simulate(read(content), timing_only=True).spans
    own = spans[spans["actor"] == "slow-0"]
    first, later = own[own["start_s"] < 60], own[own["start_s"] >= 60]
    assert first["end_s"].max() == 9.0
    assert set(first["outcome"]) == {"wasted", "lost"}
    assert set(later["outcome"]) == {"done"}
    assert later["round"].min() > 1


def test_a_cancelled_message_counts_the_bytes_sent() -> None:
    """Cancelled after 1.75 s of an upload of 12 bytes at 4 byte/s: 7 bytes and 1.75 s at 1 W above idling."""
    slow = {**SLOW, "device": {**SLOW["device"], "power": POWER}}  # type: ignore[dict-item]
    whole = simulate(read(data(fleet={"clients": 2, "groups": [FAST, slow]})), timing_only=True).spans
    uplink = whole[(whole["client"] == "slow-0") & (whole["activity"] == "uplink")].iloc[0]
    middle_s = float(uplink["start_s"]) + 1.75
    events = [{"at": f"{middle_s!r} s", "group": "slow", "leave": True}]
    content = data(
        fleet={"clients": 2, "groups": [FAST, slow], "events": events},
        server={"compute": "4 FLOP/s", "slots": 1},
    )
    spans = simulate(read(content), timing_only=True).spans
    (lost,) = spans[spans["outcome"] == "lost"].to_dict("records")
    assert (lost["activity"], lost["start_s"], lost["end_s"]) == ("uplink", uplink["start_s"], middle_s)
    assert uplink["end_s"] - uplink["start_s"] == 3
    assert math.isclose(lost["bytes"], 7.0)
    assert math.isclose(lost["active_energy_j"], 1.75)
