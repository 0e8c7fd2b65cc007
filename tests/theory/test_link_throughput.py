"""The throughput of shared links over time: by hand, and conserving bytes below every capacity."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from support import FAST, SLOW, data, read

from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

HALL = {"hall": {"shared": "12 byte/s"}}
Steps = list[tuple[float, float]]


def run_of(server: dict[str, Any], **fields: Any) -> Run:
    content = data(server={"compute": "4 FLOP/s", "slots": 1, **server}, **fields)
    return simulate(read(content), timing_only=True)


def counters(path: Path) -> dict[str, Steps]:
    """Return each counter of a trace of one run as (time in s, value)."""
    found: dict[str, Steps] = defaultdict(list)
    for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"]:
        if event["ph"] == "C":
            (value,) = event["args"].values()
            found[event["name"]].append((event["ts"] / 1e6, value))
    return found


def area(steps: Steps) -> float:
    return sum(value * (later[0] - at_s) for (at_s, value), later in pairwise(steps))


def test_two_that_share_an_access_point(tmp_path: Path) -> None:
    """16 bytes each at 16 and 8 byte/s at most, 12 byte/s in all: 6 each, and the hall is full to the end."""
    groups = [{**FAST, "access_point": "hall"}, {**SLOW, "access_point": "hall"}]
    fleet = {"clients": 2, "groups": groups, "access_points": HALL}
    run = run_of({"link": {"up": "unlimited", "down": "unlimited"}}, fleet=fleet)
    steps = counters(run.trace(tmp_path / "trace.json"))
    (name,) = [name for name in steps if name.startswith("throughput")]
    assert name.startswith("throughput of access point hall")
    first, then = steps[name][:2]
    assert first == (0.0, 12.0)
    assert then == pytest.approx((32 / 12, 0.0))


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "mu-splitfed", "fedbuff", "sl"])
def test_bytes_are_conserved_and_no_capacity_is_exceeded(algorithm: str, tmp_path: Path) -> None:
    """The use of the server's link adds up to the bytes of the messages, that of the hall to its clients'."""
    groups = [{**FAST, "count": 3, "access_point": "hall"}, {**SLOW, "count": 2}]
    fleet = {"clients": 5, "groups": groups, "access_points": HALL}
    link = {"up": "24 byte/s", "down": "9 byte/s"}
    run = run_of({"link": link}, fleet=fleet, variants=[{"algorithm": algorithm}], stop={"rounds": 3})
    steps = counters(run.trace(tmp_path / "trace.json"))
    sizes = run.spans.groupby(["activity", run.spans["client"].str.startswith("fast")])["bytes"].sum()
    expected = {
        "throughput of server.link.down": (9.0, sizes["uplink"].sum()),
        "throughput of server.link.up": (24.0, sizes["downlink"].sum()),
    }
    for name, (capacity, total_bytes) in expected.items():
        assert max(value for _, value in steps[name]) <= capacity * (1 + 1e-12)
        assert steps[name][-1][1] == 0
        if algorithm != "fedbuff":  # what is under way at its end has no span
            assert area(steps[name]) == pytest.approx(total_bytes, rel=1e-6)
    (hall,) = [name for name in steps if "access point" in name]
    assert max(value for _, value in steps[hall]) <= 12.0 * (1 + 1e-12)
    if algorithm != "fedbuff":
        hall_bytes = sizes["uplink"][True] + sizes["downlink"][True]
        assert area(steps[hall]) == pytest.approx(hall_bytes, rel=1e-6)


def test_fair_sharing_never_shows_more_slots_than_there_are(tmp_path: Path) -> None:
    """Four jobs on two slots: two busy slots, and the area is the busy time of the table of runs."""
    fleet = {"clients": 4, "groups": [{**FAST, "count": 4}]}
    run = run_of({"slots": 2, "discipline": "fair"}, fleet=fleet, stop={"rounds": 2})
    steps = counters(run.trace(tmp_path / "trace.json"))
    assert max(value for _, value in steps["busy server slots"]) == 2
    assert max(value for _, value in steps["jobs in service"]) == 4
    assert area(steps["busy server slots"]) == pytest.approx(run.runs["server_busy_s"].iloc[0])


def test_a_part_of_a_run_shows_the_throughput_of_its_time_alone(tmp_path: Path) -> None:
    """Of round 2, no earlier and no later, with what flowed when it began; a saved run tells the same."""
    run = run_of({"link": {"up": "24 byte/s", "down": "9 byte/s"}}, stop={"rounds": 3})
    path = run.trace(tmp_path / "part.json", rounds=(2, 2))
    spans = run.spans[run.spans["round"] == 2]
    for name, steps in counters(path).items():
        assert steps[0][0] >= spans["start_s"].min() - 1e-9
        assert steps[-1][0] <= spans["end_s"].max() + 1e-9
        if name.startswith("throughput"):
            way = "uplink" if name.endswith("down") else "downlink"
            assert area(steps) == pytest.approx(spans.loc[spans["activity"] == way, "bytes"].sum(), rel=1e-6)
    loaded = Run.load(run.save(tmp_path / "run", plots=False))
    assert loaded.trace(tmp_path / "again.json", rounds=(2, 2)).read_bytes() == path.read_bytes()


def test_runs_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """`use.parquet` with the column `medium` has the throughput of the links; without it there is none."""
    run = run_of({"link": {"up": "24 byte/s", "down": "9 byte/s"}}, stop={"rounds": 1})
    assert len(run.link_throughput)
    run.save(tmp_path / "run", plots=False)
    file, old = tmp_path / "run" / "link_throughput.parquet", tmp_path / "run" / "use.parquet"
    pd.read_parquet(file).rename(columns={"link": "medium"}).to_parquet(old, index=False)
    file.unlink()
    assert_frame_equal(Run.load(tmp_path / "run").link_throughput, run.link_throughput)
    old.unlink()
    assert Run.load(tmp_path / "run").link_throughput.empty
