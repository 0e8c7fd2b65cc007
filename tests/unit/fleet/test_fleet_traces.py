"""Traces: rates over time from a CSV file, and what is refused in one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.fleet.links.links import LinkConfig
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import TraceConfig
from sflsim.retime.scaling import scaled
from sflsim.scenario import load_scenario


def written(folder: Path, text: str) -> str:
    """Write a trace file; return its path."""
    path = folder / "trace.csv"
    path.write_text(text)
    return str(path)


def group(**link: Any) -> dict[str, Any]:
    """Return a group of one device with the given link."""
    return {
        "name": "pi",
        "device": {"compute": "8 FLOP/s"},
        "link": {"up": "unlimited", "down": "unlimited"} | link,
    }


def test_a_trace_is_a_profile(tmp_path: Path) -> None:
    """Values in the unit named, times from the start; it is written back and read as the same."""
    file = written(tmp_path, "time_s,up,down\n0,8,1\n10,0,2\n20,16,3\n")
    trace = TraceConfig(file=file, column="up", values_in="Mbit/s", repeat=True)

    assert trace.profile(0, "pi-0") == Profile([0, 10, 20], [1e6, 0, 2e6], 30)
    assert TraceConfig.model_validate(trace.model_dump(mode="json")) == trace
    assert pickle.loads(pickle.dumps(trace)).profile(0, "x") == trace.profile(0, "x")
    assert TraceConfig(file=file, column="down", values_in="byte/s", scale=2.0).profile(0, "pi-0") == Profile(
        [0, 10, 20], [2, 4, 6]
    )


def test_a_device_takes_its_own_trace_or_draws_one(tmp_path: Path) -> None:
    """By name where there is one; else the same for the same device, not the same for all."""
    rows = [f"{time_s},phone-{k},{k + 1} Mbit/s" for k in range(4) for time_s in (0, 5)]
    trace = TraceConfig(file=written(tmp_path, "\n".join(["time_s,device,rate", *rows])))
    own = [trace.profile(0, f"phone-{k}").value_at(0) for k in range(4)]
    drawn = [trace.profile(0, f"tablet-{k}").value_at(0) for k in range(40)]

    assert own == [125e3, 250e3, 375e3, 500e3]
    assert set(drawn) == set(own)
    assert drawn == [trace.profile(0, f"tablet-{k}").value_at(0) for k in range(40)]
    assert drawn != [trace.profile(1, f"tablet-{k}").value_at(0) for k in range(40)]


def test_a_message_takes_as_long_as_the_trace_says(tmp_path: Path) -> None:
    """12 byte up, 1 byte/s for 3 s, none for 7 s, then 3 byte/s: sent from 1 s on, it arrives at 13.25 s."""
    file = written(tmp_path, "time_s,rate\n0,1 byte/s\n3,0 byte/s\n10,3 byte/s\n")
    content = data(
        fleet={"clients": 1, "groups": [group(up={"kind": "trace", "file": file})]},
        server={"link": {"up": "unlimited", "down": "unlimited"}},
    )
    spans = simulate(read(content), timing_only=True).spans
    first = spans[spans["activity"] == "uplink"].iloc[0]

    assert (first.start_s, first.end_s, first.bytes) == (1.0, 10 + 10 / 3, 12.0)


@pytest.mark.parametrize("capacity", ["unlimited", "1 GB/s"])
def test_shared_or_not_the_trace_is_the_same(tmp_path: Path, capacity: str) -> None:
    """Behind a server's link that never binds, every time is that of a link of one's own."""
    file = written(tmp_path, "time_s,rate\n0,1 byte/s\n3,0 byte/s\n10,3 byte/s\n11,0.5 byte/s\n")
    trace = {"kind": "trace", "file": file, "repeat": True}
    content = data(
        fleet={"clients": 1, "groups": [group(up=trace, down="4 byte/s")]},
        server={"link": {"up": capacity, "down": capacity}},
        stop={"rounds": 5},
    )
    ends = simulate(read(content), timing_only=True).spans["end_s"].to_list()
    alone = data(**{**content, "server": {"link": {"up": "unlimited", "down": "unlimited"}}})

    assert ends == pytest.approx(simulate(read(alone), timing_only=True).spans["end_s"].to_list(), rel=1e-9)


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("0,1 Mbit/s\n", "file", "no column time_s"),
        ("time_s,rate\n", "file", "no rows"),
        ("time_s,rate\n1,1 Mbit/s\n", "file", "begins with a gap"),
        ("time_s,rate\n0,1 Mbit/s\n2,\n", "file", "gap"),
        ("time_s,rate\n0,1 Mbit/s\n2\n", "file", "'2' in line 3 of trace.csv, which has one cell"),
        ("time_s,rate\n0,1 Mbit/s\n5,1 Mbit/s\n3,1 Mbit/s\n", "file", "time running backwards"),
        ("time_s,rate\n0,1 Mbit/s\n5,1 Mbit/s\n5,2 Mbit/s\n", "file", "a time twice"),
        ("time_s,rate\n0,1 Mbit/s\nnan,1 Mbit/s\n", "file", "time that is none"),
        ("time_s,rate\n-1,1 Mbit/s\n", "file", "time that is none"),
        ("time_s,rate\n0,-1 Mbit/s\n", "file", "negative"),
        ("time_s,rate\n0,fast\n", "file", "'fast' in line 2"),
        ("time_s,rate\n0,12 ms\n", "file", "another unit"),
        ("time_s,rate\n0,12\n", "file", "another unit"),
        ("time_s,rate\n0,1 Mbit/s\n5,0 Mbit/s\n", "file", "ends with zero"),
        ("time_s,rate\n0,0 Mbit/s\n", "file", "ends with zero"),
        ("time_s,up,down\n0,1 Mbit/s,1 Mbit/s\n", "column", "missing"),
        ("time_s,device\n0,pi\n", "column", "missing"),
        ("time_s,device,rate\n0,pi-0,1 Mbit/s\n1,,1 Mbit/s\n", "file", "gap"),
        ("time_s,device,rate\n0,a,1 Mbit/s\n4,b,1 Mbit/s\n", "file", "begins with a gap"),
        ("", "file", "empty"),
        ("\x00\x01\x02", "file", "cannot be read"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, key: str, found: str) -> None:
    """At the key that is wrong, with the line of the file."""
    content = data(
        fleet={"clients": 1, "groups": [group(up={"kind": "trace", "file": written(tmp_path, text)})]}
    )
    with pytest.raises(ScenarioError) as caught:
        read(content)
    (problem,) = caught.value.problems

    assert problem.path == f"fleet.groups[0].link.up.{key}"
    assert found in str(problem)
    assert problem.allowed


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"file": "none.csv"}, "file"),
        ({"repeat": "5 s"}, "repeat"),
        ({"repeat": "often"}, "repeat"),
        ({"column": "rat"}, "column"),
        ({"scale": 0}, "scale"),
        ({"scale": -2}, "scale"),
    ],
)
def test_wrong_keys_of_a_trace_are_refused(tmp_path: Path, fields: dict[str, Any], path: str) -> None:
    """A file that is not there, a period shorter than the trace, a column that is none."""
    file = written(tmp_path, "time_s,rate\n0,1 Mbit/s\n5,2 Mbit/s\n")
    content = data(fleet={"clients": 1, "groups": [group(up={"kind": "trace", "file": file} | fields)]})
    with pytest.raises(ScenarioError) as caught:
        read(content)

    assert [problem.path for problem in caught.value.problems] == [f"fleet.groups[0].link.up.{path}"]


def test_a_single_row_has_no_period(tmp_path: Path) -> None:
    """To repeat it, it has to be said how often."""
    file = written(tmp_path, "time_s,rate\n0,1 Mbit/s\n")
    assert LinkConfig(up=TraceConfig(file=file, repeat="60 s"), down="1 Mbit/s")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no period"):
        TraceConfig(file=file, repeat=True)


def test_the_file_lies_beside_the_scenario(tmp_path: Path) -> None:
    """Its path is relative to the scenario's folder, and absolute in the resolved scenario."""
    written(tmp_path, "time_s,rate\n0,1 Mbit/s\n")
    text = (
        "name: t\nworkload: {model: {kind: mlp, hidden: [8]}}\nvariants: [splitfed-v1]\nstop: {rounds: 1}\n"
        "fleet: {clients: 1, groups: [{device: raspberry-pi-4, link: {up: {kind: trace, file: trace.csv}, "
        "down: 1 Mbit/s}}]}\n"
    )
    (tmp_path / "t.yaml").write_text(text)
    link = load_scenario(tmp_path / "t.yaml").fleet.groups[0].link
    assert isinstance(link, LinkConfig)
    up = link.up

    assert isinstance(up, TraceConfig)
    assert up.file == str(tmp_path / "trace.csv")


def test_what_if_scales_a_trace(tmp_path: Path) -> None:
    """A link twice as fast has a trace twice as high."""
    trace = TraceConfig(file=written(tmp_path, "time_s,rate\n0,1 Mbit/s\n"))
    twice = TraceConfig.model_validate(scaled(trace.model_dump(mode="json"), 2.0))

    assert twice.profile(0, "a").value_at(0) == 250e3
