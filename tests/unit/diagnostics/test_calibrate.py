"""`sflsim calibrate`: what it measures is there, is right where that can be known, and can be used."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console
from support import COSTS, data, read
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app
from sflsim.diagnostics.kinds import fitted
from sflsim.errors import SflsimError
from sflsim.fleet.block_profile import ProfileConfig
from sflsim.fleet.devices import DeviceConfig
from sflsim.fleet.rates import RatesConfig
from sflsim.learning.network.split import Part
from sflsim.learning.profiling.calibration import Measured, measure
from sflsim.learning.profiling.measure import workload_costs
from sflsim.learning.profiling.places import WORKS, of_networks, of_workload
from sflsim.learning.profiling.small_networks import BATCH_SIZES, NETWORKS
from sflsim.scenario.schema import Scenario
from sflsim.terminal.calibrate import format_calibration
from sflsim.work import WorkByKind

WORKLOAD = {"model": {"kind": "cnn", "channels": [4, 4], "dense": 8}, "cut": 2, "batch_size": 8}


def scenario(**fields: object) -> Scenario:
    return read(data(workload=WORKLOAD, **fields))


@pytest.fixture(scope="module")
def calibration() -> sflsim.Calibration:
    return sflsim.calibrate(scenario(), threads=[1, 2], repeat=3, rest_s=0.0)


def test_every_part_is_measured(calibration: sflsim.Calibration) -> None:
    """All blocks, both parts at every cut, the whole; all kinds of work; every number of threads."""
    blocks = ["block conv-1", "block conv-2", "block dense", "block output"]
    cuts = [f"{side} {cut}" for cut in (1, 2, 3) for side in ("client", "server")]
    found = [(one.part, one.work, one.threads) for one in calibration.measured]
    parts = [*blocks, *cuts, "whole"]
    assert found == [(part, work, number) for number in (1, 2) for part in parts for work in WORKS]
    assert all(len(one.seconds) == 3 and min(one.seconds) > 0 for one in calibration.measured)


def test_flop_are_those_that_the_clock_charges(calibration: sflsim.Calibration) -> None:
    """Counted while it computes, equal to what is derived on the meta device; a step is two passes."""
    for cut, costs in workload_costs(scenario().workload, [1, 2, 3]).items():
        for side in ("client", "server"):
            forward = getattr(costs, f"{side}_forward_flop")
            assert calibration.find(f"{side} {cut}", "forward").flop == forward
            assert calibration.find(f"{side} {cut}", "backward").flop == getattr(
                costs, f"{side}_backward_flop"
            )
            assert calibration.find(f"{side} {cut}", "zeroth-order step").flop == 2 * forward


def test_a_network_that_is_charged_as_it_is_needs_no_note(calibration: sflsim.Calibration) -> None:
    """Only costs of another network do (shown with the command)."""
    assert calibration.note == ""


def test_a_fleet_of_traces_is_no_hindrance(tmp_path: Path) -> None:
    """What is measured is the network on this machine, whatever the devices' rates are over time."""
    file = tmp_path / "compute.csv"
    file.write_text("time_s,rate\n0,8 FLOP/s\n6,2 FLOP/s\n")
    device = {"compute": {"kind": "trace", "file": str(file)}}
    fleet = {"clients": 1, "groups": [{"name": "pi", "device": device}]}
    found = sflsim.calibrate(scenario(fleet=fleet), repeat=3, rest_s=0.0, every_part=False)
    assert found.note == ""
    assert set(found.entries()["this-machine"]["figures"]) == {"compute", "forward"}


def test_threads_are_given_back() -> None:
    """Whatever was measured, torch computes with as many threads as before."""
    before = torch.get_num_threads()
    parts = of_workload(scenario().workload, 8, [1], blocks=False)
    measure(parts, threads=[2, 1], repeat=1, rest_s=0.0)
    assert torch.get_num_threads() == before


def test_figures_of_known_times() -> None:
    """Median, quartiles and rate of five repetitions by hand."""
    one = Measured("whole", "forward", 1, 6e9, (5.0, 1.0, 3.0, 2.0, 4.0))
    assert (one.median_s, one.quartiles_s, one.flop_per_s) == (3.0, (2.0, 4.0), 2e9)


def test_more_work_takes_longer() -> None:
    """What is timed is the work: thirty-two times the channels, six hundred times the FLOP, take far longer.

    Ten times as long and more: calls dominate the small network. The shortest time is the least disturbed.
    """
    seconds = []
    for channels in (8, 256):
        workload = scenario().workload.model_dump(mode="json") | {"batch_size": 32}
        workload["model"] = {"kind": "cnn", "channels": [channels, channels]}
        wide = scenario().workload.model_validate(workload)
        measured = measure(of_workload(wide, 32, [], blocks=False), repeat=5, rest_s=0.0, clock="cpu")
        seconds.append(min(measured[0].seconds))
    assert seconds[1] > 3 * seconds[0]


def test_the_entries_are_devices(calibration: sflsim.Calibration) -> None:
    """In the catalog's format, for each number of threads and each order; their figures are a device's."""
    entries = yaml.safe_load(calibration.to_yaml())["devices"]
    name = "this-machine"
    assert list(entries) == [
        f"{name}-{n}{order}" for n in ("1-thread", "2-threads") for order in ("", "-zeroth-order")
    ]
    for entry in entries.values():
        assert entry["about"]
        figures = entry["figures"]
        assert all(
            figure["status"] == "measured" and "median of 3" in figure["source"]
            for figure in figures.values()
        )
        device = {key: figure["value"] for key, figure in figures.items()}
        group = {"name": "ours", "count": 2, "device": device, "link": {"up": "1 Mbit/s", "down": "1 Mbit/s"}}
        read(data(fleet={"clients": 2, "groups": [group]}))
    wanted = calibration.find("client 2", "forward").flop_per_s / 1e9
    assert float(entries[f"{name}-1-thread"]["figures"]["forward"]["value"].split()[0]) == pytest.approx(
        wanted, rel=0.01
    )


def test_a_forward_rate_times_forward_passes_alone() -> None:
    """8 FLOP forward at 16 FLOP/s, 16 backward at 8 FLOP/s; without it both at the training rate."""
    for device, wanted in (({"forward": "16 FLOP/s"}, [0.5, 2.0]), ({}, [1.0, 2.0])):
        group = {
            "name": "one",
            "device": {"compute": "8 FLOP/s", **device},
            "link": {"up": "unlimited", "down": "unlimited"},
        }
        content = data(fleet={"clients": 1, "groups": [group]})
        content["workload"]["costs"] = COSTS
        run = sflsim.simulate(read(content), timing_only=True)
        computed = run.spans[run.spans["activity"] == "compute"]
        assert (computed["end_s"] - computed["start_s"]).tolist() == wanted
        assert computed["flop"].tolist() == [8.0, 16.0]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "120"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    content = data(workload=WORKLOAD | {"costs": {"client_forward": "8 FLOP"}})
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_command_writes_and_shows(file: Path, tmp_path: Path) -> None:
    """A table and a file of entries; as CSV the table alone; a file that exists is left as it is."""
    options = ["--repeat", "3", "--rest", "0", "--name", "pi-in-the-hall", "--no-by-kind"]
    done = call("calibrate", file, "--out", tmp_path / "pi.yaml", *options)
    assert done.exit_code == 0, done.output
    assert "server 2" in done.output
    written = (tmp_path / "pi.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(written)["devices"]) == ["pi-in-the-hall", "pi-in-the-hall-zeroth-order"]
    assert "note: the scenario charges 8 FLOP" in done.output  # the costs of support.data
    device = re.search(r"^pi-in-the-hall: device: (.*)$", done.output, re.MULTILINE)
    assert device is not None
    shown = DeviceConfig.model_validate(yaml.safe_load(device[1]))
    assert shown.forward is not None
    fleet = "fleet={clients: 2, groups: [{device: pi-in-the-hall}, {device: pi-in-the-hall-zeroth-order}]}"
    shares = [f"fleet.groups[{number}].count=1" for number in (0, 1)]
    named = sflsim.load_scenario(file, ["catalog=pi.yaml", fleet, *shares])
    assert named.fleet.groups[0].device.model_dump() == "pi-in-the-hall"
    assert [getattr(named.fleet.groups[0].device, key) for key in ("compute", "forward")] == [
        shown.compute, shown.forward,
    ]  # fmt: skip
    assert "(own)" in call("catalog", "--file", tmp_path / "pi.yaml").output
    again = call("calibrate", file, "--out", tmp_path / "pi.yaml", *options)
    assert (again.exit_code, "exists already" in again.output) == (2, True)
    assert (tmp_path / "pi.yaml").read_text(encoding="utf-8") == written
    as_csv = call("calibrate", file, "--out", tmp_path / "other.yaml", "--csv", *options)
    table = pd.read_csv(io.StringIO(as_csv.stdout))
    assert set(table["work"]) == set(WORKS)
    assert (table["lower_s"] <= table["median_s"]).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threads", "one"], "--threads: found 'one'"),
        (["--threads", ""], "threads: found none"),
        (["--batches", "8;16"], "--batches: found '8;16'"),
        (["--batches", "16,16"], "batches: found [16, 16]"),
        (["--out", "pi.csv"], "is the name of the profile"),
        (["--threads", "0,1"], "threads: found [0, 1]"),
        (["--repeat", "2"], "repeat: found 2"),
        (["--name", "my pi"], "name: found 'my pi'"),
        (["--rest", "-1"], "rest: found -0.001 s"),
        (["--out", "missing/pi.yaml"], "has no folder"),
        (["--set", "workload.cut=9"], "workload.cut"),
    ],
)
def test_what_cannot_be_used(file: Path, tmp_path: Path, options: list[str], said: str) -> None:
    """A message, exit code 2 and no file."""
    place = [] if "--out" in options else ["--out", tmp_path / "pi.yaml"]
    done = call("calibrate", file, *place, *options)
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert not (tmp_path / "pi.yaml").exists()


def test_a_network_without_flop_is_refused() -> None:
    """Nothing to divide by: said, not a rate of zero."""
    nothing = sflsim.Calibration(
        "s", "m", 1, tuple(Measured(p, w, 1, 0.0, (1.0,) * 3) for p in ("client 1", "whole") for w in WORKS)
    )
    with pytest.raises(SflsimError, match="no matrix product"):
        nothing.entries()


def test_the_table_is_whole_in_eighty_columns(calibration: sflsim.Calibration) -> None:
    """No figure is cut, whatever its digits, and both numbers of threads have a table."""
    slow = [replace(one, seconds=(0.1234, 0.4568, 1.518)) for one in calibration.measured]
    text = io.StringIO()
    console = Console(file=text, width=80)
    for table in format_calibration(replace(calibration, measured=tuple(slow))):
        console.print(table)

    assert "\u2026" not in text.getvalue()
    assert text.getvalue().count("290 to 987 ms") == len(calibration.measured)
    assert max(map(len, text.getvalue().splitlines())) <= 80


# Profiles, and rates by kind: from timings that are made up, so that what comes of them is known.

KINDS = {
    "convolution": "40 GFLOP/s", "depthwise": "2 GFLOP/s", "matmul": "80 GFLOP/s", "memory": "5 GB/s",
    "per_operation": "20 us", "per_pass": "300 us",
}  # fmt: skip


@pytest.fixture(scope="module")
def works() -> list[tuple[str, WorkByKind]]:
    """The work of every pass of the small networks' blocks, with each network's name."""
    places = of_networks(NETWORKS, BATCH_SIZES)
    return [(place.network, place.flop[work]) for place in places for work in WORKS]  # type: ignore[misc]


def made_up(works: list[tuple[str, WorkByKind]], slower: str = "") -> list[Measured]:
    """Return timings by `KINDS`; those of one network are twice as long."""
    rates = RatesConfig.model_validate(KINDS).rates()
    found = []
    for network, work in works:
        time_s = work / rates * (2 if network == slower else 1)
        found.append(Measured("", "forward", 1, work, (time_s,) * 3, network=network))
    return found


def test_rates_are_found_from_times_that_follow_them(works: list[tuple[str, WorkByKind]]) -> None:
    """What took the sum over kinds gives these rates back, and no network is predicted wrongly."""
    found = fitted(made_up(works))
    assert found.networks == tuple(NETWORKS)
    assert max(found.errors) < 1e-9
    assert RatesConfig.model_validate(found.figures()) == RatesConfig.model_validate(KINDS)
    assert "worst 0 %" in found.error


def test_the_error_is_that_of_networks_left_out(works: list[tuple[str, WorkByKind]]) -> None:
    """The blocks of one take twice as long: predicted without it, they are half of that."""
    errors = fitted(made_up(works, "perceptron")).errors
    by_network = [network for name in NETWORKS for network, _ in works if network == name]
    of_one = [error for error, name in zip(errors, by_network, strict=True) if name == "perceptron"]
    assert of_one == pytest.approx([0.5] * len(of_one), abs=1e-9)  # the others follow their rates
    assert max(errors) > 0.1  # which are fitted to a network that does not, where another is left out


def test_the_small_networks_hold_every_kind(works: list[tuple[str, WorkByKind]]) -> None:
    """Each kind is in several blocks, and every block is one that can be trained."""
    for kind in ("convolution", "depthwise", "matmul", "memory", "operations"):
        assert sum(getattr(work.kinds, kind) > 0 for _, work in works) > 10
    assert all(work.kinds.passes for _, work in works)
    for build, _ in NETWORKS.values():
        assert all(Part([block]).dimension for block in build())


def test_a_profile_says_what_was_measured(tmp_path: Path) -> None:
    """Written and read: medians of every part, at every batch size and number of threads.

    Half of a zeroth-order step is a pass.
    """
    one_thread = sflsim.calibrate(scenario(), batch_sizes=[4], repeat=3, rest_s=0.0)
    two = [replace(one, threads=2, seconds=one.seconds[:1]) for one in one_thread.measured]
    found = replace(one_thread, measured=(*one_thread.measured, *two))
    table = found.profile
    assert len(table) == 2 * 2 * (4 + 2 + 2 + 1)  # threads, batches, blocks and parts of several blocks
    path = tmp_path / "profile.csv"
    table.to_csv(path, index=False)
    for threads in (1, 2):
        read_back = ProfileConfig.model_validate({"file": str(path), "threads": threads, "values_in": "s"})
        for one in found.measured:
            if one.threads != threads or one.part == "block conv-1" or one.part == "server 3":
                continue  # these are also the client at cut 1 and the last block, measured twice
            assert isinstance(one.flop, WorkByKind)
            ((asked, count),) = one.flop.passes
            known = read_back.measured.find(asked)
            if one.part == "block output":
                continue
            assert isinstance(known, float)
            assert count * known == pytest.approx(one.median_s, rel=1e-4)
    assert (table["forward_lower"] <= table["forward"]).all()
    assert (table["backward"] <= table["backward_upper"]).all()


@pytest.mark.slow
def test_the_command_writes_kinds_and_a_profile(tmp_path: Path) -> None:
    """A device by kind with its error and its profile, which a scenario names; nothing is left to doubt."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data(workload=WORKLOAD)), encoding="utf-8")
    options = ["--repeat", "3", "--rest", "0", "--batches", "2", "--out", tmp_path / "box.yaml"]
    done = call("calibrate", path, *options)
    assert done.exit_code == 0, done.output
    assert "left out of the fit" in done.output
    entry = yaml.safe_load((tmp_path / "box.yaml").read_text(encoding="utf-8"))["devices"][
        "this-machine-by-kind"
    ]
    assert entry["fitted"]["networks"] == list(NETWORKS)
    assert entry["figures"]["profile"]["value"]["file"] == "box.csv"
    group = "fleet={clients: 2, groups: [{device: this-machine-by-kind}]}"
    named = sflsim.load_scenario(path, ["catalog=box.yaml", group])
    assert named.fleet.groups[0].device.profile is not None
    checked = call("validate", path, "--set", "catalog=box.yaml", "--set", group)
    assert (checked.exit_code, "warning" in checked.output) == (0, False)
    larger = call(
        "validate", path, "--set", "catalog=box.yaml", "--set", group, "--set", "workload.batch_size=16"
    )
    assert (larger.exit_code, "2 to 8" in larger.output) == (0, True)
