"""The testbed's own parts against what they promise: the shaped link, the slowed processor, its refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from support import FAST, connected, data, imported, read
from testbed import pace, ranks
from testbed.comparison import without_rounds
from testbed.runner import run_testbed
from testbed.setting import Setting
from testbed.wire import LENGTHS, Wire

import sflsim
from sflsim.errors import ScenarioError, SflsimError
from sflsim.learning.profiling.calibration import Measured
from sflsim.session import Options, Session
from sflsim.work import Kinds, WorkByKind

VARIED = {"up": "16 byte/s", "down": {"kind": "uniform", "low": "8 byte/s", "high": "9 byte/s"}}


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    one, other = connected()
    pair = Wire(one), Wire(other)
    yield pair
    for wire in pair:
        wire.close()


def test_tensors_come_as_they_went(ends: tuple[Wire, Wire]) -> None:
    """Bit for bit, with their names, types and shapes; also empty ones and slices."""
    sent = {
        "z": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T,
        "y": torch.arange(5),
        "none": torch.empty(0, 2),
    }
    ends[0].send("activation", sent, round=3)
    came = ends[1].receive("activation")
    assert came.fields == {"round": 3}
    assert list(came.tensors) == list(sent)
    for name, tensor in sent.items():
        assert came.tensors[name].dtype == tensor.dtype
        assert torch.equal(came.tensors[name], tensor)


def test_the_link_is_as_slow_as_it_is_told(ends: tuple[Wire, Wire]) -> None:
    """Messages follow each other at the rate, and the latency of one overlaps the sending of the next."""
    ends[0].bytes_per_s, ends[0].latency_s = 1e6, 0.05
    for _ in range(3):
        ends[0].send("z", {"z": torch.zeros(5000)})  # 20 kB: 20 ms
    came = [ends[1].receive("z") for _ in range(3)]
    sending_s = came[0].size_bytes / 1e6
    for before, after in pairwise(came):
        assert after.start_s == pytest.approx(before.start_s + sending_s, abs=1e-4)
    for message in came:
        assert message.end_s >= message.start_s + sending_s + 0.05 - 1e-4  # later where the machine is busy


def test_what_is_no_message_is_refused(ends: tuple[Wire, Wire]) -> None:
    """Neither memory for absurd lengths, nor types that were not agreed on, nor silence instead of an end."""
    stranger, listening = connected()
    wire = Wire(listening)
    stranger.sendall(LENGTHS.pack(1 << 31, 0))
    with stranger, closing(wire), pytest.raises(SflsimError, match="no message"):
        wire.receive()
    ends[1].send("other")
    with pytest.raises(SflsimError, match="expected 'model', got 'other'"):
        ends[0].receive("model")
    ends[1].close()
    with pytest.raises(SflsimError, match="closed"):
        ends[0].receive()


@pytest.mark.parametrize(
    ("worked_s", "waited_s", "expected_s"), [(0.5, 0.0, 5.0), (0.5, 2.0, 5.0), (0.5, 7.0, 7.5)]
)
def test_a_slowed_processor_takes_its_multiple(
    worked_s: float, waited_s: float, expected_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times the processor time, or what passes anyway if that is longer; on a clock of the test's own."""
    now = {"monotonic": 100.0, "thread_time": 3.0}
    clock = SimpleNamespace(
        monotonic=lambda: now["monotonic"],
        thread_time=lambda: now["thread_time"],
        sleep=lambda s: now.update(monotonic=now["monotonic"] + s),
    )
    monkeypatch.setattr(pace, "time", clock)
    with pace.slowed(10.0):
        now["thread_time"] += worked_s
        now["monotonic"] += worked_s + waited_s
    assert now["monotonic"] == 100.0 + expected_s


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"variants": [{"algorithm": "psl"}]}, "variants[0].algorithm"),
        ({"variants": [{"algorithm": "ho-sfl", "over_selection": 1}]}, "variants[0].over_selection"),
        ({"variants": [{"algorithm": "cse-fsl", "keep_state": True}]}, "variants[0].keep_state"),
        ({"variants": [{"algorithm": "splitfed-v1", "deadline": "3 s"}]}, "variants[0].deadline"),
        ({"variants": [{"algorithm": "fedavg", "keep_state": True}]}, "variants[0].keep_state"),
        ({"stop": {"time": "3 s"}}, "stop.rounds"),
        ({"server": {"compute": "4 FLOP/s", "link": {"up": "unlimited", "down": "8 byte/s"}}}, "server.link"),
        ({"fleet": {"clients": 1, "groups": [{**FAST, "link": VARIED}]}}, "fleet.groups[0].link"),
        ({}, "fleet.groups[1].straggler"),
    ],
)
def test_refused(changes: dict[str, object], path: str) -> None:
    """What a testbed cannot do is said before a process is started."""
    scenario = read(data(**changes))
    with pytest.raises(ScenarioError) as caught:
        Setting.of(Session(scenario, Options()), 0, 0)
    assert path in [problem.path for problem in caught.value.problems]


def test_groups_without_a_slowdown_are_named() -> None:
    """Not started with a speed made up."""
    server = {"compute": "4 FLOP/s"}
    scenario = read(data(fleet={"clients": 1, "groups": [FAST]}, server=server))
    with pytest.raises(SflsimError, match="no slowdown is given for fast"):
        run_testbed(scenario, slowdowns={"slow": 2.0})


def test_rates_fitted_to_other_networks_are_slowed_as_the_emulation_is() -> None:
    """1 GFLOP in 0.1 s is 10 GFLOP/s: by kind or as one rate, over each party's slowdown."""
    study = imported(Path(__file__).parents[2] / "analysis" / "testbed_study.py")
    scenario = sflsim.parse_scenario(study.UNLIKE)
    work = WorkByKind(Kinds(convolution=1e9))
    timings = tuple(Measured("block", "forward", 1, work, (0.1,) * 3, network=name) for name in "ab")
    calibration = sflsim.Calibration("testbed", "here", 2, (), of_networks=timings)
    by_kind, one_rate = (way(scenario, calibration, 0) for way in study.OF_KINDS.values())
    for asked in (by_kind, one_rate):
        rates = [group.device.compute for group in asked.fleet.groups] + [asked.server.compute]
        found = [getattr(rate, "convolution", rate) for rate in rates]
        assert found == pytest.approx([1e10 / 30, 1e10 / 15, 1e10 / 15], rel=0.01)
        assert len(sflsim.simulate(asked, timing_only=True).runs) == 1


def test_ranks_and_the_pairs_that_swap() -> None:
    """By hand: of three pairs one swaps, so tau is (2 - 1) / 3; who never arrives is last in both orders."""
    at = {"a": (1.0, 3.0), "b": (2.0, 2.5), "c": (4.0, 4.0), "never": (inf, inf)}
    rows = [
        {"fleet": fleet, "variant": name, "measured_s": measured_s, "simulated_s": simulated_s}
        for fleet, names in {"second": "abc", "first": ["c", "a", "never"]}.items()
        for name in names
        for measured_s, simulated_s in [at[name]]
    ]
    table = ranks.ranked(pd.DataFrame(rows))
    assert table["variant"].tolist() == ["a", "b", "c", "a", "c", "never"]
    assert table["simulated_rank"].tolist() == [2, 1, 3, 1, 2, 3]
    assert table["error"].tolist()[:3] == [2.0, 0.25, 0.0]
    (fleet, tau, swapped), (_, alike, none) = ranks.agreement(table)
    assert (fleet, tau, alike, none) == ("second", pytest.approx(1 / 3), 1.0, [])
    assert len(swapped) == 1
    assert swapped[0].startswith("a and b")


def test_without_rounds_the_last_contribution_of_each_client_is_left_out() -> None:
    """Updates by the times between them; of two contributions the first, from its model to its sending."""
    spans = pd.DataFrame(
        [
            ("a", "downlink", 0.0, 1.0, 1, "a"),
            ("a", "uplink", 3.0, 5.0, 1, "a"),
            ("server", "serve", 5.0, 6.0, 1, ""),
            ("a", "downlink", 5.0, 5.5, 2, "a"),
        ],
        columns=["actor", "activity", "start_s", "end_s", "round", "client"],
    )
    evaluations = pd.DataFrame({"round": [0, 1, 2], "time_s": [0.0, 5.0, 7.5]})
    found = without_rounds(spans, evaluations)
    own, updates = found[found["client"] == "a"], found[found["client"] == ""]
    assert own.set_index("what")["seconds"].to_dict() == {"exchange": 2.0, "downlink": 1.0, "uplink": 2.0}
    assert updates[["what", "round", "seconds"]].to_numpy().tolist() == [
        ["update", 1, 5.0],
        ["update", 2, 2.5],
    ]
