"""Swept amounts as numbers beside their texts, in table, file, means and pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.sweeps.swept import amounts_of

OVER: dict[str, list[Any]] = {
    "fleet.groups[1].straggler.value": ["500 ms", "1.25 s", "2e3 ms"],
    "server.slots": [1, 2],
    "server.compute": ["4 FLOP/s", "unlimited"],
}


@pytest.fixture(scope="module")
def done() -> sflsim.Sweep:
    return sflsim.sweep(read(data(seeds=[0, 1])), OVER, timing_only=True)


@pytest.mark.parametrize(
    ("values", "column", "numbers"),
    [
        (["500 ms", "2 min"], "x_s", [0.5, 120.0]),
        (["8 Mbit/s", "1 MB/s", "unlimited"], "x_bytes_per_s", [1e6, 1e6, math.inf]),
        (["1 KiB", "2 kB"], "x_bytes", [1024.0, 2000.0]),
        (["16 GFLOP/s"], "x_flop_per_s", [16e9]),
        (["30 dBm", "2 W"], "x_w", [1.0, 2.0]),
        (["0.5 km", "20 m"], "x_m", [500.0, 20.0]),
        (["5%", "70 %"], "x_share", [0.05, 0.7]),
        (["1 Wh"], "x_j", [3600.0]),
    ],
)
def test_amounts_are_numbers_in_base_units(values: list[str], column: str, numbers: list[float]) -> None:
    found = amounts_of("x", values)
    assert found is not None
    assert (found[0], found[1]) == (column, pytest.approx(numbers))


@pytest.mark.parametrize(
    "values",
    [["iid", "shards"], [1, 2], ["1 s", "2"], ["1 s", "1 byte"], ["unlimited"], [{"a": 1}], ["1 s", 2]],
)
def test_what_is_no_amount_has_no_numbers(values: list[Any]) -> None:
    assert amounts_of("x", values) is None


def test_the_table_has_both(done: sflsim.Sweep, tmp_path: Path) -> None:
    """The number right beside the text; in the means, the CSV and a saved folder as well."""
    delay, rate = "fleet.groups[1].straggler.value", "server.compute"
    loaded = sflsim.Sweep.load(done.save(tmp_path / "sweep"))
    for table in (done.table, done.summary(), loaded.table, loaded.summary()):
        names = list(table)
        assert names[names.index(delay) + 1] == f"{delay}_s"
        assert names[names.index(rate) + 1] == f"{rate}_flop_per_s"
        pairs = dict(zip(table[delay], table[f"{delay}_s"], strict=True))
        assert pairs == {"500 ms": 0.5, "1.25 s": 1.25, "2e3 ms": 2.0}
        assert set(table[f"{rate}_flop_per_s"]) == {4.0, math.inf}
    assert len(done.summary()) == 12  # an infinite amount loses no row
    pd.testing.assert_frame_equal(loaded.table, done.table)
    assert f"{delay}_s" in (tmp_path / "sweep" / "sweep.csv").read_text().splitlines()[0]


def test_a_sweep_saved_before_has_no_numbers_and_is_shown(done: sflsim.Sweep, tmp_path: Path) -> None:
    old = done.table.drop(
        columns=[name for name in done.table if str(name).endswith(("value_s", "flop_per_s"))]
    )
    folder = sflsim.Sweep(done.scenario, OVER, old, done.manifest).save(tmp_path / "old")
    loaded = sflsim.Sweep.load(folder)
    assert len(loaded.summary()) == 12
    assert len(loaded.plot(tmp_path / "plots")) == 3


def test_a_picture_of_each_path(done: sflsim.Sweep, tmp_path: Path) -> None:
    """By the Python interface and the command; the same bytes."""
    paths = done.plot(tmp_path / "plots")
    assert [path.name for path in paths] == [
        "sweep_fleet.groups-1-.straggler.value.png", "sweep_server.slots.png", "sweep_server.compute.png",
    ]  # fmt: skip
    folder = done.save(tmp_path / "sweep")
    result = CliRunner().invoke(app, ["plot", str(folder)])
    assert result.exit_code == 0, result.output
    for path in paths:
        assert (folder / "plots" / path.name).read_bytes() == path.read_bytes()
        assert path.name in result.stdout
    refused = CliRunner().invoke(app, ["plot", str(folder), "--target", "80%"])
    assert (refused.exit_code, "--target" in refused.stderr) == (2, True)


def test_what_is_drawn(done: sflsim.Sweep) -> None:
    """A line for each variant, at the amounts, through the means over all that is swept besides."""
    from sflsim.report.sweep import sweep_figure

    path = "fleet.groups[1].straggler.value"
    (axes,) = sweep_figure(done.table, path, f"{path}_s").axes
    (line,) = axes.get_lines()
    means = done.table.groupby(f"{path}_s")["time_s"].mean()
    assert list(line.get_xdata()) == [0.5, 1.25, 2.0]
    assert list(line.get_ydata()) == pytest.approx(list(means), rel=1e-12)
    assert axes.get_ylabel() == "time (s)"


def test_a_sweep_in_which_nothing_was_done_is_drawn(tmp_path: Path) -> None:
    broken = sflsim.sweep(read(data()), {"fleet.participants": [1, 9]}, timing_only=True)
    broken.table["status"] = "failed"
    assert broken.plot(tmp_path)[0].stat().st_size > 0
