"""Traces whose times stand in a column of any name, in any unit or as dates, as data sets publish them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from support import check_uplink_refused, data, read

from sflsim.experiment.simulate import simulate
from sflsim.fleet.profiles import Profile
from sflsim.fleet.traces import TraceConfig

# The form of a 5G data set: a clock in whole seconds, several rows of one second, gaps, rates in kbit/s.
DRIVE = """Timestamp,Speed,NetworkMode,DL_bitrate,UL_bitrate,State,PINGAVG
2019.12.16_23.59.58,0,5G,8,80,D,-
2019.12.16_23.59.59,0,5G,8,160,D,-
2019.12.16_23.59.59,1,5G,24,160,I,-
2019.12.17_00.00.01,1,4G,0,0,I,-
2019.12.17_00.00.03,2,5G,40,0,D,-
"""
OF_5G = {
    "time_column": "Timestamp",
    "times_in": "%Y.%m.%d_%H.%M.%S",
    "values_in": "kbit/s",
    "same_time": "mean",
    "repeat": True,
}


def rate(folder: Path, content: str, **fields: Any) -> dict[str, Any]:
    """Write a trace file; return the rate that names it."""
    path = folder / "drive.csv"
    path.write_bytes(content.encode())
    return {"kind": "trace", "file": str(path)} | fields


def profile(folder: Path, content: str, **fields: Any) -> Profile:
    """Return the trace of a device."""
    return TraceConfig.model_validate(rate(folder, content, **fields)).profile(0, "pi-0")


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_drive_with_5g_is_read_as_it_was(tmp_path: Path, bom: str, end: str) -> None:
    """By hand: 1, 2 (the mean of 1 and 3), 0 and 5 kB/s from 0, 1, 3 and 5 s on, again from 7 s on."""
    content = bom + DRIVE.replace("\n", end)
    down = profile(tmp_path, content, column="DL_bitrate", **OF_5G)

    assert down == Profile([0, 1, 3, 5], [1e3, 2e3, 0, 5e3], 7)
    assert down.integral(0, 7) == 1000 + 2 * 2000 + 0 + 2 * 5000
    assert down.end_of(0, 6000) == pytest.approx(5.2)
    assert down.end_of(0, 15_000 + 1000 + 2000) == pytest.approx(9)
    assert profile(tmp_path, content, column="UL_bitrate", **OF_5G) == Profile(
        [0, 1, 3, 5], [1e4, 2e4, 0, 0], 7
    )


def test_it_is_written_back_and_read_as_the_same(tmp_path: Path) -> None:
    """With its keys; it also survives pickling."""
    trace = TraceConfig.model_validate(rate(tmp_path, DRIVE, column="DL_bitrate", **OF_5G))

    assert TraceConfig.model_validate(trace.model_dump(mode="json")) == trace
    assert pickle.loads(pickle.dumps(trace)).profile(0, "x") == trace.profile(0, "x")


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("t,r\n1576500000000,1\n1576500001500,2\n", {"time_column": "t", "times_in": "ms"}),
        ("t,r\n0.5,1\n2,2\n", {"time_column": "t"}),
        ("t,r\n10,1\n10.025,2\n", {"time_column": "t", "times_in": "min"}),
        (
            "t,r\n2020-01-02 03:04:05.25,1\n2020-01-02 03:04:06.75,2\n",
            {"time_column": "t", "times_in": "%Y-%m-%d %H:%M:%S.%f"},
        ),
        ("time_s,r\n100,1\n101.5,2\n", {"time_column": "time_s"}),
        ("time_s,r,t\n9,1,0\n7,2,1.5\n", {"time_column": "t", "column": "r"}),
    ],
)
def test_a_named_column_counts_from_the_first_row(
    tmp_path: Path, content: str, fields: dict[str, Any]
) -> None:
    """In s, in the unit given, or as dates: 1 byte/s for 1.5 s, then 2."""
    found = profile(tmp_path, content, values_in="byte/s", **fields)

    assert found.times_s == pytest.approx([0, 1.5])
    assert found.values.tolist() == [1, 2]


def test_each_device_counts_from_its_own_first_row(tmp_path: Path) -> None:
    """Two traces in one file, with rows in turn."""
    content = "at,device,r\n100,a,1\n200,b,3\n101,a,2\n202,b,4\n"
    trace = TraceConfig.model_validate(
        rate(tmp_path, content, column="r", time_column="at", values_in="byte/s")
    )

    assert trace.profile(0, "a") == Profile([0, 1], [1, 2])
    assert trace.profile(0, "b") == Profile([0, 2], [3, 4])


def test_a_run_sends_by_it(tmp_path: Path) -> None:
    """12 byte from 1 s on: 2 byte/s until 3 s, nothing until 5 s, then 5 byte/s: they arrive at 6.6 s."""
    up = rate(tmp_path, DRIVE, column="DL_bitrate", **OF_5G, scale=1e-3)
    group = {"name": "pi", "device": {"compute": "8 FLOP/s"}, "link": {"up": up, "down": "unlimited"}}
    unlimited = {"link": {"up": "unlimited", "down": "unlimited"}}
    content = data(fleet={"clients": 1, "groups": [group]}, server=unlimited)
    spans = simulate(read(content), timing_only=True).spans
    first = spans[spans["activity"] == "uplink"].iloc[0]

    assert (first.start_s, first.bytes) == (1.0, 12.0)
    assert first.end_s == pytest.approx(6.6)


@pytest.mark.parametrize(
    ("old", "new", "key", "found"),
    [
        ("23.59.59,1,5G", "23.59.57,1,5G", "file", "running backwards"),
        ("2019.12.17_00.00.01", "", "file", "'' in line 5"),
        ("2019.12.17_00.00.01", "00:00:01", "file", "'00:00:01' in line 5"),
        ("2019.12.17_00.00.01", "2019.12.32_00.00.01", "file", "in line 5"),
        ("4G,0,", "4G,,", "file", "in line 5 of drive.csv, which has a gap"),
        ("4G,0,", "4G,-,", "file", "'-' in line 5"),
        ("4G,0,", '4G,"1,250",', "file", "'1,250' in line 5"),
        ("4G,0,", "4G,1 Mbit/s x,", "file", "in line 5"),
        ("4G,0,", "4G,3 s,", "file", "mixes units"),
        ("4G,0,", "4G,1,250,", "file", "in line 5"),
        ("4G,0,", "4G,-3,", "file", "negative"),
        ("DL_bitrate", "UL_bitrate", "file", "two columns of one name"),
        ("Timestamp", "Time", "time_column", "'Timestamp'"),
        ("DL_bitrate", "down", "column", "'DL_bitrate'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, old: str, new: str, key: str, found: str) -> None:
    """At the key that is wrong, with the line of the file."""
    check_uplink_refused(rate(tmp_path, DRIVE.replace(old, new), column="DL_bitrate", **OF_5G), key, found)


@pytest.mark.parametrize(
    ("fields", "key", "found"),
    [
        ({"same_time": None}, "file", "a time twice"),
        ({"same_time": "last"}, "same_time", "'last'"),
        ({"times_in": "ms"}, "file", "times_in: '%Y-%m-%d"),
        ({"times_in": "kbit/s"}, "times_in", "no unit of time"),
        ({"times_in": ""}, "times_in", "no unit of time"),
        ({"times_in": "fortnights ago"}, "times_in", "no unit of time"),
        ({"times_in": "%d.%m.%Y"}, "file", "in line 2"),
        ({"times_in": "%Q"}, "times_in", "form of a date"),
        ({"times_in": "%Y-%m-%d %z"}, "times_in", "time zone"),
        ({"time_column": None}, "times_in", "time_column"),
        ({"time_column": None, "times_in": None}, "file", "time_column"),
        ({"values_in": None}, "file", "another unit"),
        ({"values_in": "s"}, "file", "another unit"),
        ({"values_in": "kbits"}, "values_in", "'kbits'"),
        ({"repeat": False, "column": "UL_bitrate"}, "file", "ends with zero"),
        ({"repeat": "5 s"}, "repeat", "too short"),
        ({"colum": "x"}, "colum", "unknown key"),
    ],
)
def test_wrong_keys_are_refused(tmp_path: Path, fields: dict[str, Any], key: str, found: str) -> None:
    """Each at its own, or at the file that does not fit it."""
    given = OF_5G | {"column": "DL_bitrate"} | fields
    check_uplink_refused(
        rate(tmp_path, DRIVE, **{name: one for name, one in given.items() if one is not None}), key, found
    )
