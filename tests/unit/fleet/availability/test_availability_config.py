"""Availability and events in a scenario: what is read, what it does, and how mistakes are told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support import FAST, SLOW, data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.fleet.population import build_fleet
from sflsim.fleet.sampling import fleet_availability
from sflsim.scenario import parse_scenario

TRACE = {"kind": "trace", "file": "there.csv"}


def fleet(**fields: Any) -> dict[str, Any]:
    """Return a scenario of the two test devices with more fields of the fleet."""
    return data(fleet={"clients": 2, "groups": [FAST, SLOW], **fields})


@pytest.mark.parametrize(
    ("fields", "path", "found"),
    [
        ({"availability": "sometimes"}, "fleet.availability", "'sometimes'"),
        ({"availability": {"kind": "markov", "on": "0 s", "off": "1 s"}}, "fleet.availability.on", "'0 s'"),
        (
            {"availability": {"kind": "markov", "on": "1 s", "off": "-1 s"}},
            "fleet.availability.off",
            "'-1 s'",
        ),
        ({"availability": {"kind": "markov", "on": "1 s"}}, "fleet.availability", "off"),
        (
            {"availability": {"kind": "daily", "from": "25:00", "to": "06:00"}},
            "fleet.availability.from",
            "25:00",
        ),
        (
            {"availability": {"kind": "daily", "from": "6:61", "to": "06:00"}},
            "fleet.availability.from",
            "6:61",
        ),
        (
            {"availability": {"kind": "daily", "from": "06:00", "to": "06:00"}},
            "fleet.availability.to",
            "06:00",
        ),
        (
            {"availability": {"kind": "daily", "from": "06:00", "to": "07:00", "jitter": "30 min"}},
            "fleet.availability.jitter",
            "1800.0 s",
        ),
        ({"events": [{"at": "-1 s", "leave": True}]}, "fleet.events[0].at", "'-1 s'"),
        ({"events": [{"at": "1 s", "group": "fats", "leave": True}]}, "fleet.events[0].group", "'fats'"),
        ({"events": [{"at": "1 s"}]}, "fleet.events[0]", "no change"),
        ({"events": [{"at": "1 s", "set": {}}]}, "fleet.events[0].set", "empty"),
        ({"events": [{"at": "1 s", "set": {"link.upp": "1 byte/s"}}]}, "fleet.events[0].set", "link.upp"),
        ({"events": [{"at": "1 s", "set": {"link.up": "0 byte/s"}}]}, "fleet.events[0].set", "'0 byte/s'"),
        ({"events": [{"at": "1 s", "leave": True, "join": True}]}, "fleet.events[0].join", "both"),
        (
            {"events": [{"at": "2 s", "group": "fast", "leave": True}, {"at": "1 s", "leave": True}]},
            "fleet.events[0].leave",
            "fast twice",
        ),
        (
            {"events": [{"at": "1 s", "group": "slow", "join": True}, {"at": "2 s", "join": True}]},
            "fleet.events[1].join",
            "slow twice",
        ),
        (
            {"events": [{"at": "1 s", "group": "slow", "leave": True}, {"at": "1 s", "join": True}]},
            "fleet.events[1].at",
            "leaves and joins",
        ),
    ],
)
def test_mistakes_have_a_place_and_a_reason(fields: dict[str, Any], path: str, found: str) -> None:
    """Every mistake is reported at its key, with what was found and what is allowed."""
    with pytest.raises(ScenarioError) as caught:
        read(fleet(**fields))
    problem = caught.value.problems[0]
    assert problem.path.startswith(path)
    assert found in str(caught.value)
    assert problem.allowed
    assert problem.line


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ({"up": "unlimited", "down": "8 byte/s"}, "unlimited"),
        (
            {"up": {"kind": "exponential", "mean": "9 byte/s", "redraw": "message"}, "down": "8 byte/s"},
            "drawn",
        ),
    ],
)
def test_a_rate_that_is_no_number_cannot_be_set(link: dict[str, Any], found: str) -> None:
    """An event cannot change what has no rate, or one for each message."""
    group = {"name": "one", "device": {"compute": "1 FLOP/s"}, "link": link}
    events = [{"at": "1 s", "set": {"link.up": "1 byte/s"}}]
    with pytest.raises(ScenarioError, match=found):
        read(data(fleet={"clients": 1, "groups": [group], "events": events}))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("time_s,there\n0,1\n10,2\n", "'2' in line 3"),
        ("time_s,there\n0,1\n10,\n", "empty cell"),
        ("time_s,there\n5,1\n", "time_s 5"),
        ("time_s,there\n0,1\n10,0\n10,1\n", "10 after 10"),
        ("time_s,there\n0,1 s\n", "'1 s' in line 2"),
    ],
)
def test_a_trace_is_of_zeros_and_ones_without_gaps(tmp_path: Path, rows: str, found: str) -> None:
    """What is wrong with the file is told with its line."""
    (tmp_path / "there.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(ScenarioError, match="availability") as caught:
        parse(fleet(availability=TRACE), tmp_path)
    assert found in str(caught.value)


def parse(content: dict[str, Any], folder: Path) -> Any:
    """Return the scenario as if its file lay in a folder."""
    import yaml

    return parse_scenario(yaml.safe_dump(content, sort_keys=False), str(folder / "test.yaml"), folder=folder)


def test_a_trace_may_end_with_being_away(tmp_path: Path) -> None:
    """Unlike a rate, availability may be zero for good; each device takes the trace of its name."""
    rows = "time_s,device,there\n0,fast-0,1\n10,fast-0,0\n0,slow-0,0\n5,slow-0,1\n"
    (tmp_path / "there.csv").write_text(rows, encoding="utf-8")
    scenario = parse(fleet(availability=TRACE), tmp_path)
    availability = fleet_availability(scenario.fleet, build_fleet(scenario.fleet, 0))
    assert availability is not None
    fast, slow = availability.timeline(0), availability.timeline(1)
    assert [fast.available_at(t_s) for t_s in (0, 9.9, 10)] == [True, True, False]
    assert [slow.available_at(t_s) for t_s in (0, 5)] == [False, True]
    assert (fast.until(0), fast.until(10), slow.until(0)) == (10, math.inf, 5)


def test_a_scenario_survives_being_written() -> None:
    """Availability and events are the same after a scenario was written out and read again."""
    availability = {"kind": "daily", "from": "22:00", "to": "06:30", "starts": "18:00", "jitter": "10 min"}
    events = [
        {"at": "10 min", "group": "fast", "set": {"link.up": "3 byte/s", "device.compute": "2 FLOP/s"}},
        {"at": "1 h", "group": "slow", "leave": True},
    ]
    scenario = read(fleet(availability=availability, events=events))
    again = parse_scenario(scenario.to_yaml(), "again.yaml")
    assert again.fleet == scenario.fleet
    assert "22:00" in scenario.to_yaml()


def test_without_any_of_it_nobody_may_vanish() -> None:
    """The defaults leave the run as it was: no timelines at all."""
    for fields in (
        {},
        {"availability": "always"},
        {"events": [{"at": "1 s", "set": {"link.up": "1 byte/s"}}]},
    ):
        scenario = read(fleet(**fields))
        assert fleet_availability(scenario.fleet, build_fleet(scenario.fleet, 0)) is None


def test_rates_that_an_event_sets_hold_from_then_on() -> None:
    """By hand: from 1.25 s on computing falls from 8 to 2 FLOP/s and the uplink from 16 to 4 byte/s."""
    events = [{"at": "1.25 s", "set": {"device.compute": "2 FLOP/s", "link.up": "4 byte/s"}}]
    fast = {**FAST, "link": {"up": "16 byte/s", "down": "unlimited"}}
    content = data(
        fleet={"clients": 1, "groups": [fast], "events": events},
        server={"compute": "unlimited"},
        workload={
            "model": "mlp",
            "cut": 1,
            "costs": {**data()["workload"]["costs"], "client_model": "0 byte", "client_forward": "16 FLOP"},
        },
    )
    spans = simulate(read(content), timing_only=True).spans
    computed = spans[spans["activity"] == "compute"]
    # 10 FLOP until 1.25 s, the other 6 at 2 FLOP/s take 3 s: the forward pass ends at 4.25 s
    assert computed["end_s"].tolist()[0] == 4.25
    sent = spans[(spans["activity"] == "uplink") & (spans["bytes"] > 0)].iloc[0]
    assert (sent["start_s"], sent["end_s"]) == (4.25, 4.25 + 12 / 4)
    assert computed["end_s"].tolist()[1] - computed["start_s"].tolist()[1] == 16 / 2


def test_the_terminal_says_that_a_run_stalled_and_when(tmp_path: Path) -> None:
    """`sflsim run` prints which run, when and why; the run folder has the status."""
    import yaml
    from typer.testing import CliRunner

    from sflsim.cli import app
    from sflsim.experiment.run import Run

    content = fleet(events=[{"at": "7 s", "leave": True}])
    file = tmp_path / "stalls.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(file), "--timing-only", "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "splitfed-v1 seed 0 stalled at 7 s: no client is left that could go on" in result.output
    assert f"stalled; written to {tmp_path / 'out'}" in result.output
    assert "completed" not in result.output
    runs = Run.load(tmp_path / "out").runs
    assert runs[["status", "time_s"]].to_numpy().tolist() == [["stalled", 7.0]]


def test_a_trace_in_which_nobody_is_ever_there_is_refused(tmp_path: Path) -> None:
    """Unless another device of the file is there at some time."""
    (tmp_path / "there.csv").write_text("time_s,there\n0,0\n5,0\n")
    with pytest.raises(ScenarioError, match="nobody there"):
        parse(fleet(availability=TRACE), tmp_path)
    (tmp_path / "there.csv").write_text("time_s,device,there\n0,a,0\n0,b,1\n")

    assert parse(fleet(availability=TRACE), tmp_path)


def test_a_move_that_is_repeated_is_told_in_a_sentence() -> None:
    """With a verb."""
    events = [{"at": "1 s", "group": "fast", "leave": True}, {"at": "2 s", "group": "fast", "leave": True}]
    with pytest.raises(ScenarioError, match="fast twice, which is a second 'leave'"):
        read(fleet(events=events))


def test_a_jitter_without_a_mean_is_shown_in_the_users_unit() -> None:
    """5 ms, not 0.005 s."""
    link = {"up": "1 byte/s", "down": "1 byte/s", "jitter": "5 ms"}
    with pytest.raises(ScenarioError, match="'5 ms', which has no mean"):
        read(data(fleet={"clients": 1, "groups": [{"device": "stm32h7", "link": link}]}))


def test_small_units_are_divided_out() -> None:
    """47300 ms are 47.3 s to the last bit, in what a scenario says again, too."""
    (event,) = read(fleet(events=[{"at": "47300 ms", "leave": True}])).fleet.events

    assert event.model_dump(mode="json")["at"] == "47.3 s"
