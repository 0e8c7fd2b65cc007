"""Profiles of devices: seconds by hand, in between and beyond, on the clock, and every file that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import COSTS, FREE, UNLIMITED, data, read

import sflsim
from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.explainer.what_if import what_if
from sflsim.fleet.block_profile import BlockProfile, ProfileConfig, Profiled
from sflsim.scenario.copies import copies_of
from sflsim.scenario.files import contents, reread
from sflsim.scenario.schema import Scenario
from sflsim.session import doubts
from sflsim.session.requirements import Requirements
from sflsim.work import Kinds, Pass, Way, WorkByKind, moved

BLOCKS = """\
block,batch,forward,backward,zeroth_order
a,8,1 s,2 s,4 s
a,16,3 s,4 s,8 s
b,8,10 s,20 s,40 s
b,16,30 s,40 s,80 s
"""


def profile(folder: Path, text: str = BLOCKS, **fields: Any) -> ProfileConfig:
    path = folder / "profile.csv"
    path.write_text(text, encoding="utf-8")
    return ProfileConfig.model_validate({"file": str(path), **fields})


def one(*blocks: str, size: int = 8, way: Way = "forward", flop: float = 80.0) -> Pass:
    return Pass(way, blocks, size, flop * size / 8, Kinds(convolution=flop * size / 8, passes=1.0))


def seconds(
    measured: BlockProfile, *passes: tuple[Pass, float], rate: float = 1.0, speed: float = 1.0
) -> float:
    works = [count * WorkByKind(each.kinds, ((each, 1.0),)) for each, count in passes]
    return sum(works, start=0.0) / Profiled(measured, rate, speed)


def test_what_was_measured_is_used(tmp_path: Path) -> None:
    """Each way has its column; several blocks are their sum; numbers and speeds multiply."""
    found = profile(tmp_path).measured
    ways: tuple[Way, ...] = ("forward", "backward", "zeroth-order")
    assert [seconds(found, (one("a", way=way), 1)) for way in ways] == [1, 2, 4]
    assert seconds(found, (one("a", "b"), 1)) == 11
    assert seconds(found, (one("a"), 3), (one("b", way="backward"), 0.5)) == 13
    assert seconds(found, (one("a", "b"), 1), speed=0.5) == 22
    assert seconds(found, (one("a", "b", size=16), 1)) == 33


def test_between_batch_sizes_it_is_linear_and_beyond_the_rates_hold(tmp_path: Path) -> None:
    """12 lies in the middle of 8 and 16. 7 and 17 are beyond: 80 FLOP for 8 samples at 10 FLOP/s."""
    found = profile(tmp_path).measured
    assert [seconds(found, (one("a", size=size), 1)) for size in (9, 12, 14)] == [1.25, 2, 2.5]
    assert seconds(found, (one("a", "b", size=12, way="backward"), 1)) == 33
    for size in (7, 17):
        assert seconds(found, (one("a", size=size), 1), rate=10.0) == size
        reason = found.find(one("a", size=size))
        assert isinstance(reason, str)
        assert "8 to 16" in reason


def test_blocks_that_were_measured_as_one_come_first(tmp_path: Path) -> None:
    """A row of several blocks, where it has the batch size, is what a cut there takes; else their sum."""
    found = profile(tmp_path, BLOCKS + "a..b,8,9 s,18 s,36 s\n").measured
    assert seconds(found, (one("a", "b"), 1)) == 9
    assert seconds(found, (one("a", "b", size=16), 1)) == 33
    assert seconds(found, (one("a", "b", size=12), 1)) == (9 + 33) / 2
    whole = profile(tmp_path, BLOCKS.replace("b,", "c,") + "a..b,8,9 s,18 s,36 s\n").measured
    assert seconds(whole, (one("a", "b"), 1)) == 9


def test_other_networks_and_blocks_take_what_the_rates_say(tmp_path: Path) -> None:
    """A block that is not there, batch sizes that differ from block to block, a block of other FLOP."""
    found = profile(tmp_path).measured
    assert seconds(found, (one("a", "c"), 1), rate=10.0) == 8
    apart = profile(tmp_path, "block,batch,forward,backward\na,8,1 s,2 s\nb,16,1 s,2 s\n").measured
    assert seconds(apart, (one("a", "b"), 1), rate=10.0) == 8
    flop = profile(tmp_path, "block,batch,flop,forward,backward\na,8,80,1 s,2 s\na,16,160,2 s,4 s\n").measured
    assert seconds(flop, (one("a"), 1), rate=10.0) == 1
    assert seconds(flop, (one("a", size=12), 1), rate=10.0) == 1.5
    assert seconds(flop, (one("a", flop=82.0), 1), rate=10.0) == 8.2


def test_without_zeroth_order_passes_they_take_what_a_forward_pass_takes(tmp_path: Path) -> None:
    found = profile(tmp_path, "block,batch,forward,backward\na,8,1 s,2 s\n").measured
    assert seconds(found, (one("a", way="zeroth-order"), 1)) == 1


def test_published_files_are_read(tmp_path: Path) -> None:
    """A byte order mark, CRLF, further columns, another order of them; bare numbers beside units."""
    text = "\ufeffbatch,notes,forward,backward,block\r\n8,x,1500,2000,a\r\n16,,3000,0.004 s,a\r\n"
    found = profile(tmp_path, text, values_in="us").measured
    assert seconds(found, (one("a"), 1)) == pytest.approx(1.5e-3)
    assert seconds(found, (one("a", size=16, way="backward"), 1)) == pytest.approx(4e-3)


def test_a_number_of_threads_is_chosen(tmp_path: Path) -> None:
    """Where the file has one, that; where it has several, the one asked for."""
    several = "block,batch,threads,forward,backward\na,8,1,4 s,8 s\na,8,2,2 s,4 s\n"
    for threads, wanted in ((1, 4), (2, 2)):
        assert seconds(profile(tmp_path, several, threads=threads).measured, (one("a"), 1)) == wanted
    alone = several.rpartition("a,8,2")[0]
    for fields in ({}, {"threads": 1}):
        assert seconds(profile(tmp_path, alone, **fields).measured, (one("a"), 1)) == 4


HEAD = "block,batch,forward,backward\n"


@pytest.mark.parametrize(
    ("text", "fields", "key", "said"),
    [
        ("block,batch,forward\na,8,1 s\n", {}, "file", "backward"),
        ("Block,batch,forward,backward\na,8,1 s,1 s\n", {}, "file", "did you mean 'Block'?"),
        ("block,batch,forward,backward,zeroth-order\na,8,1 s,1 s,1 s\n", {}, "file", "'zeroth-order'"),
        (HEAD, {}, "file", "header alone"),
        ("", {}, "file", "empty"),
        (HEAD + "a,8,1 s,\n", {}, "file", "in line 2"),
        (HEAD + "a,8,1 s,1 s\n,8,1 s,1 s\n", {}, "file", "in line 3"),
        (HEAD + "a,,1 s,1 s\n", {}, "file", "batch"),
        (HEAD + "a,8.5,1 s,1 s\n", {}, "file", "'8.5' in line 2"),
        (HEAD + "a,0,1 s,1 s\n", {}, "file", "'0' in line 2"),
        (HEAD + "a,8,1 s,1 s\na,8,1 s,1 s\n", {}, "file", "in line 3"),
        (HEAD + "a,8,1 s,1 s\n\na,16,1 s,1 s\n", {}, "file", "blank line"),
        (HEAD + "a,8,1 s\n", {}, "file", "3 cells"),
        (HEAD + "a,8,1,2\n", {}, "file", "values_in"),
        (HEAD + "a,8,1 MB,2 MB\n", {}, "file", "1 MB"),
        (HEAD + "a,8,1 s,1 s\nb,8,1 Mbit/s,1 s\n", {}, "file", "1 Mbit/s"),
        (HEAD + "a,8,1 s,1 s\nb,8,2,1 s\n", {}, "file", "'2' in line 3"),
        (HEAD + "a,8,-1 s,1 s\n", {}, "file", "-1 s"),
        (HEAD + "a,8,nan,1 s\n", {}, "file", "nan"),
        (HEAD + 'a,8,"1,5 s",1 s\n', {}, "file", "write 12.5, not 12,5"),
        (HEAD + "a,8,1,5 s,1 s\n", {}, "file", "5 cells"),
        (HEAD + "a,8,1 s,1 s\n", {"values_in": "MB/s"}, "file", ""),
        (HEAD + "a,8,1,1\n", {"values_in": "sec."}, "values_in", "sec."),
        (HEAD + "a,8,1 s,1 s\n", {"threads": 2}, "threads", "column 'threads'"),
        ("block,batch,forward,backward,threads\na,8,1 s,1 s,1\na,8,1 s,1 s,2\n", {}, "threads", "1, 2"),
        ("block,batch,forward,backward,threads\na,8,1 s,1 s,1\n", {"threads": 4}, "threads", "4"),
        ("block,batch,forward,backward,threads\na,8,1 s,1 s,\n", {}, "file", "threads"),
        ("block,batch,forward,backward,flop\na,8,1 s,1 s,many\n", {}, "file", "'many' in line 2"),
        (HEAD + "a,8,1 s,1 s\n", {"file": "nowhere.csv"}, "file", "nowhere.csv"),
        (HEAD + "a,8,1 s,1 s\n", {"unit": "s"}, "unit", "unknown key"),
    ],
)  # fmt: skip
def test_what_is_no_profile(tmp_path: Path, text: str, fields: dict[str, Any], key: str, said: str) -> None:
    """One mistake, at its key, with what was found and what is allowed."""
    (tmp_path / "profile.csv").write_text(text, encoding="utf-8")
    if key == "file" and not said:
        text_of_times = ProfileConfig.model_validate({"file": str(tmp_path / "profile.csv"), **fields})
        assert text_of_times.measured.rows["a"][8].seconds["forward"] == 1  # no bare number asks for it
        return
    device = {"compute": "1 FLOP/s", "profile": {"file": str(tmp_path / "profile.csv"), **fields}}
    with pytest.raises(ScenarioError) as caught:
        read(data(fleet={"clients": 1, "groups": [{"name": "pi", "device": device, "link": UNLIMITED}]}))
    (problem,) = caught.value.problems
    assert problem.path == f"fleet.groups[0].device.profile.{key}"
    assert said in str(problem)
    assert problem.allowed


# On the clock: the network of `WORKLOAD` with its own blocks, measured by hand.

MLP = """\
block,batch,forward,backward,zeroth_order
hidden-1,8,1 s,2 s,4 s
hidden-2,8,0.25 s,0.5 s,0.75 s
output,8,8 s,16 s,32 s
"""
WORKLOAD = {"model": {"kind": "mlp", "hidden": [8, 8]}, "cut": 1, "batch_size": 8}


def scenario(folder: Path, text: str = MLP, **changed: Any) -> Scenario:
    """Return a scenario of one client, free but for its computing; `device` and others as given."""
    (folder / "mlp.csv").write_text(text, encoding="utf-8")
    device = {"compute": "1 GFLOP/s", "profile": {"file": "mlp.csv"}} | changed.pop("device", {})
    events = changed.pop("events", [])
    group = {"name": "pi", "count": 1, "device": device, "link": UNLIMITED}
    fleet = {"clients": 1, "groups": [group], "events": events}
    settings = {"workload": WORKLOAD, "server": {"compute": "unlimited"}, "stop": {"rounds": 1}}
    path = folder / "scenario.yaml"
    path.write_text(sflsim.scenario.yaml_lines.write_yaml(data(fleet=fleet, **(settings | changed))))
    return sflsim.load_scenario(path)


def computed_s(asked: Scenario) -> list[float]:
    spans = simulate(asked, timing_only=True).spans.query("activity == 'compute'")
    return (spans["end_s"] - spans["start_s"]).tolist()


@pytest.mark.parametrize(
    ("variant", "cut", "wanted"),
    [
        ({"algorithm": "splitfed-v1"}, 1, [1, 2]),
        ({"algorithm": "splitfed-v1"}, 2, [1.25, 2.5]),
        ({"algorithm": "mu-splitfed"}, 1, [1, 4, 4]),
        ({"algorithm": "mu-splitfed", "perturbations": 2}, 2, [1.25, 4.75, 4.75, 4.75, 4.75]),
        ({"algorithm": "ho-sfl", "perturbations": 5}, 1, [1, 20]),
        ({"algorithm": "zo-gas", "local_iterations": 1, "q_s": 1, "q_c": 1}, 1, [1, 4, 4]),
        ({"algorithm": "fedavg", "local_iterations": 3}, 1, [3 * (1 + 0.25 + 8 + 2 + 0.5 + 16)]),
    ],
)
def test_clients_take_what_was_measured(
    tmp_path: Path, variant: dict[str, Any], cut: int, wanted: list[float]
) -> None:
    """Forward, backward and zeroth-order passes of the client's blocks, by hand."""
    asked = scenario(tmp_path, variants=[variant], workload=WORKLOAD | {"cut": cut})
    assert computed_s(asked) == pytest.approx(wanted, rel=1e-12)
    assert doubts(asked) == []


def test_a_head_that_was_not_measured_takes_what_the_rate_says(tmp_path: Path) -> None:
    """Forward and backward of the client part as measured, of its auxiliary head by FLOP."""
    variant = {"algorithm": "cse-fsl", "local_iterations": 1, "q": 1}
    head_flop = 2 * 8 * 8 * 10  # forward; backward twice, by weight and by input
    forward_s, backward_s = computed_s(scenario(tmp_path, variants=[variant]))
    assert forward_s == 1
    assert backward_s == pytest.approx(2 + 3 * head_flop / 1e9, rel=1e-9)


def test_speed_events_and_what_ifs_scale_a_profile(tmp_path: Path) -> None:
    """Half the speed takes twice as long; what-ifs double it, events included.

    Twice as fast, forward ends at 0.5 s; half of backward is done at 1 s, the other takes 2 s at half speed.
    """
    assert computed_s(scenario(tmp_path, device={"speed": 0.5})) == [2, 4]
    event = {"at": "1 s", "set": {"device.speed": 0.25}}
    assert computed_s(scenario(tmp_path, events=[event])) == [1, 8]
    for events, before, after in (([], 3, 1.5), ([event], 9, 3)):
        row = what_if(scenario(tmp_path, events=events), {0: {0: 1}}, {0: {}}).set_index("change")
        assert row.loc["devices twice as fast", ["time_s", "changed_s"]].tolist() == [before, after]


def test_rates_by_kind_hold_where_nothing_was_measured(tmp_path: Path) -> None:
    """Without the row of hidden-2, cut 2 takes what the kinds say; cut 1 what was measured."""
    text = "".join(line for line in MLP.splitlines(keepends=True) if "hidden-2" not in line)
    kinds = {"compute": {"per_pass": "0.5 s"}}
    for cut, wanted in ((1, [1, 2]), (2, [0.5, 0.5])):
        asked = scenario(tmp_path, text, device=kinds, workload=WORKLOAD | {"cut": cut})
        assert computed_s(asked) == wanted
        lines = doubts(asked)
        assert len(lines) == (cut == 2)
        assert all("hidden-2" in line and "fleet.groups[0].device.profile" in line for line in lines)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"workload": WORKLOAD | {"batch_size": 9}}, "8 alone"),
        ({"workload": WORKLOAD | {"costs": COSTS}}, "workload.costs"),
        ({"workload": WORKLOAD | {"costs": {"client_forward": "8 FLOP"}}}, "workload.costs"),
        ({"workload": WORKLOAD | {"model": {"kind": "cnn"}}}, "conv-1"),
    ],
)
def test_what_a_profile_does_not_know_is_said(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    """A batch beyond, costs of another network, other blocks: a line for the group, and the run goes on."""
    asked = scenario(tmp_path, **changed)
    lines = doubts(asked)
    assert any(said in line for line in lines)
    assert simulate(asked, timing_only=True).status == "completed"


def test_given_flop_of_every_pass_need_no_network(tmp_path: Path) -> None:
    """16 FLOP backward at 2 FLOP/s, the sum of both in fedavg: a profile is of no use there."""
    costs = FREE | {"client_forward": "8 FLOP", "client_backward": "16 FLOP"}
    given = {"workload": WORKLOAD | {"costs": costs}, "device": {"compute": "2 FLOP/s"}}
    assert computed_s(scenario(tmp_path, **given)) == [4, 8]
    some = {
        "workload": WORKLOAD | {"costs": {"client_forward": "8 FLOP"}},
        "device": {"compute": "2 GFLOP/s"},
    }
    fedavg = {"algorithm": "fedavg", "local_iterations": 1}
    assert len(computed_s(scenario(tmp_path, variants=[fedavg], **some))) == 1


def beside_another(folder: Path, text: str, batch_size: Any, speed: float = 1.0, **fleet: Any) -> Scenario:
    """Return a scenario of a device with a profile and of one that takes microseconds."""
    (folder / "mlp.csv").write_text(text, encoding="utf-8")
    devices = {"measured": {"profile": {"file": str(folder / "mlp.csv")}}, "other": {}}
    groups = [
        {
            "name": name,
            "count": 1,
            "link": UNLIMITED,
            "device": {"compute": "1 GFLOP/s", "speed": speed} | device,
        }
        for name, device in devices.items()
    ]
    workload = WORKLOAD | {"batch_size": batch_size}
    settings = {"workload": workload, "server": {"compute": "unlimited"}, "stop": {"rounds": 1}}
    return read(data(fleet={"clients": 2, "participants": 1, "groups": groups} | fleet, **settings))


def measured_at(*seconds: tuple[int, float]) -> str:
    """Return a profile of a client part whose forward and backward pass take so long together."""
    blocks = ("hidden-1", "hidden-2", "output")
    rows = [f"{block},{size},{took / 2} s,{took / 2} s" for size, took in seconds for block in blocks]
    return "\n".join(["block,batch,forward,backward", *rows])


@pytest.mark.parametrize(
    ("rows", "rule", "sizes"),
    [
        (((6, 2.5), (16, 5.0)), {"mean": 8, "min": 2}, (6, 10)),  # as few as were measured
        (((4, 2.0), (8, 3.0)), {"mean": 8, "min": 2}, (4, 12)),  # twice the mean was not
        (((8, 3.0),), {"mean": 8}, 8),  # one size: it keeps that
        (((16, 5.0), (32, 9.0)), {"mean": 8}, 8),  # the mean was not: its rates, as the other's
    ],
    ids=["wide", "up to the mean", "one", "beyond"],
)
def test_batch_sizes_by_device_keep_to_what_was_measured(
    tmp_path: Path, rows: tuple[tuple[int, float], ...], rule: dict[str, Any], sizes: int | tuple[int, ...]
) -> None:
    """Both devices have the same rates, but one its seconds; no predicted time is of a batch not measured."""
    asked = beside_another(tmp_path, measured_at(*rows), {"by": "compute", **rule})
    assert Requirements(asked).batch_sizes(1, 0) == sizes
    (line, *more) = doubts(asked) or ["fleet.groups[0]"]
    assert not more
    assert "fleet.groups[0]" in line


def test_sizes_of_two_measured_devices_are_balanced_by_their_lines(tmp_path: Path) -> None:
    """1 + b / 4 and 2 + b / 2 s, known from 4 to 40 samples, not at twice the mean.

    With b + c = 48: 1 + b / 4 = 2 + c / 2 has b = 33.33, c = 14.67.
    """
    groups = []
    for name, slower in (("a", 1.0), ("b", 2.0)):
        file = tmp_path / f"{name}.csv"
        file.write_text(measured_at((4, 2.0 * slower), (40, 11.0 * slower)), encoding="utf-8")
        device = {"compute": "1 GFLOP/s", "profile": {"file": str(file)}}
        groups.append({"name": name, "count": 1, "link": UNLIMITED, "device": device})
    workload = WORKLOAD | {"batch_size": {"by": "compute", "mean": 24}}
    asked = read(data(fleet={"clients": 2, "groups": groups}, workload=workload))
    assert Requirements(asked).batch_sizes(1, 0) == (33, 15)
    assert doubts(asked) == []


@pytest.mark.parametrize("speed", [1, 2])
def test_selection_by_time_reads_a_profile(tmp_path: Path, speed: float) -> None:
    """The measured device is predicted to take 3 s at speed 1; nobody else takes 2 s."""
    selection = {"kind": "fedcs", "within": "2 s"}
    asked = beside_another(tmp_path, MLP, 8, speed, participants=2, selection=selection)
    took_part = set(simulate(asked, timing_only=True).spans["client"])
    assert ("measured-0" in took_part) == (speed == 2)


def test_a_drawn_rate_has_no_profile(tmp_path: Path) -> None:
    drawn = {"kind": "uniform", "low": "1 GFLOP/s", "high": "2 GFLOP/s"}
    with pytest.raises(ScenarioError) as caught:
        scenario(tmp_path, device={"compute": drawn})
    assert caught.value.problems[0].path == "fleet.groups[0].device.profile"


def test_a_profile_is_read_back_copied_and_told_from_others(tmp_path: Path) -> None:
    """Written with its absolute path, among the copies of a run, and read again when it has changed."""
    asked = scenario(tmp_path)
    again = read_back(asked)
    assert again == asked
    place = str(tmp_path / "mlp.csv")
    assert {str(path) for path in copies_of(asked.to_yaml()).values()} == {place}
    before = contents(asked)
    Path(place).write_text(MLP.replace("1 s", "3 s"), encoding="utf-8")
    assert contents(reread(asked))[place] != before[place]
    assert computed_s(asked) == [3, 2]


def read_back(asked: Scenario) -> Scenario:
    return sflsim.parse_scenario(asked.to_yaml())


def test_devices_alike_are_told_alike(tmp_path: Path) -> None:
    """Whoever predicts times once for devices that are alike can compare them: same profile, same rates."""
    found, again = profile(tmp_path).measured, profile(tmp_path).measured
    assert {Profiled(found, 1.0, 1.0), Profiled(again, 1.0, 1.0)} == {Profiled(found, 1.0, 1.0)}
    assert Profiled(found, 1.0, 1.0) != Profiled(found, 1.0, 0.5)


def test_moved_passes_take_no_flop_more() -> None:
    """Without kinds, and of passes that nobody counted, a moved pass is the pass."""
    assert moved(5.0) == 5.0
    assert moved(WorkByKind(Kinds(8.0))).kinds == Kinds(8.0)  # type: ignore[attr-defined]
