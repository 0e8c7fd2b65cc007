"""What the commands tell while they work, how they count, which unit they ask for, and where they write."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from support import data, read
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app
from sflsim.experiment.simulate import Progress, simulate
from sflsim.session import Options
from sflsim.sweeps.grid import points
from sflsim.sweeps.order import jobs_of
from sflsim.sweeps.progress import Tally
from sflsim.sweeps.runner import Result as JobResult
from sflsim.terminal import progress

COUNTED = (
    "round|run|seed|point|client|device|variant|update|sample|worker|participant|training|number|slot|block"
)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def written(folder: Path, **fields: Any) -> Path:
    """Write a scenario of one of everything."""
    one = {"clients": 1, "groups": [{**data()["fleet"]["groups"][0], "count": 1}]}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(data(**{"fleet": one, "seeds": [0], **fields})), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("part", "unit"),
    [
        ("fleet.straggler={kind: exponential, mean: 2}", "2 s"),
        ("fleet.straggler={kind: lognormal, median: 2, sigma: 1}", "2 s"),
        ("fleet.groups[0].link={up: {kind: lognormal, median: 2, sigma: 1}, down: 3 Mbit/s}", "10 Mbit/s"),
        ("fleet.groups[0].link={up: 3 Mbit/s, down: 3 Mbit/s, jitter: {kind: exponential, mean: 1}}", "2 s"),
        ("fleet.groups[0].device={compute: {kind: uniform, low: 1, high: 2}}", "16 GFLOP/s"),
        ("fleet.groups[0].device={compute: 5}", "16 GFLOP/s"),
        ("stop={time: 5}", "30 s"),
    ],
)
def test_a_bare_number_is_told_which_unit_is_wanted(part: str, unit: str, tmp_path: Path) -> None:
    result = call("validate", written(tmp_path), "--set", part)
    assert result.exit_code == 2
    assert "is a bare number" in result.stderr
    assert f"'{unit}'" in result.stderr
    assert "another unit" not in result.stderr


def test_nothing_is_one_of_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No "1 rounds": on one client, one round, one seed, one variant, one point."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    path = written(tmp_path, sweep={"server.slots": [1]}, plan={"decisions": {"server.slots": [1, 2]}})
    for command in (
        ("validate", path),
        ("run", path, "--timing-only", "--workers", 1, "--out", tmp_path / "run"),
        ("sweep", path, "--timing-only", "--workers", 1, "--out", tmp_path / "sweep"),
        ("plan", path, "--no-cache", "--workers", 1, "--out", tmp_path / "plan"),
        ("explain", tmp_path / "run", "--all"),
        ("partition", path),
        ("memory", path),
    ):
        result = call(*command)
        assert result.exit_code == 0, result.output
        assert not re.findall(rf"(?<![\d.,])1 ({COUNTED})s\b", result.output), command


def step(run: int, share: float, done: int, real_s: float, **more: Any) -> Progress:
    status = "running" if share < 1 else "completed"
    return Progress(f"v{run}", 0, status, 1, 1.0, 0.5, share, done, 4, real_s, **more)


def test_what_a_cache_held_counts_as_nothing_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four runs come from the cache; one takes 10 s, and so the last will."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    told = io.StringIO()
    with progress.run_shown(Console(file=told, width=200)) as show:
        show(step(0, 1.0, 1, 0.1, cached=True, workers=2))
        show(step(1, 1.0, 2, 0.2, cached=True, workers=2))
        show(step(2, 0.5, 2, 5.0, workers=2))
        show(step(2, 1.0, 3, 10.0, workers=2))
        show(step(3, 1.0, 4, 20.0, workers=2))
    lines = told.getvalue().splitlines()
    assert [line.rsplit("; ", 1)[1] for line in lines] == [
        "? left", "? left", "15.0 s left", "10.0 s left", "0 s left",
    ]  # fmt: skip
    assert all(
        line.startswith(f"[{done}/4, 2 workers]") for line, done in zip(lines, (1, 2, 2, 3, 4), strict=True)
    )


def test_what_a_cache_held_counts_as_nothing_in_a_sweep() -> None:
    """Of four trainings one was stored: the two that are left will take as long as the one that was done."""
    scenario = read(data(variants=[{"algorithm": "splitfed-v1", "local_iterations": 1}]))
    over = {"variants[splitfed-v1].local_iterations": [1, 2, 3, 4]}
    jobs = jobs_of(points(scenario, over, Options(timing_only=True)))
    tally, row = Tally(jobs, 1), {"status": "completed"}
    tally.add(jobs[0], JobResult(row, {}, real_s=0.1), 0)
    tally.add(jobs[1], JobResult(row, {"train": 3}, real_s=10.0, trained=True), 0)
    assert tally.progress.left_s == 20.0
    tally.add(jobs[2], JobResult(row, {}, real_s=0.1), 0)
    assert tally.progress.left_s == 10.0


def test_a_run_says_whether_it_was_cached(tmp_path: Path) -> None:
    scenario, steps = read(data()), []
    for _ in range(2):
        sflsim.simulate(scenario, cache=tmp_path / "cache", progress=steps.append)
    assert [one.cached for one in steps if one.status == "completed"] == [False, True]
    timed: list[Progress] = []
    simulate(scenario, timing_only=True, progress=timed.append)
    assert not any(one.cached for one in timed)


@pytest.mark.parametrize(
    ("command", "options", "names"),
    [
        ("partition", (), ["named"]),
        pytest.param(
            "calibrate", ("--repeat", 3, "--rest", 0), ["named", "named.csv"], marks=pytest.mark.slow
        ),
    ],
)
def test_only_what_is_named_is_written(
    command: str, options: tuple[Any, ...], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of a partition, a device file with its profile: with --out alone, never elsewhere."""
    path = written(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert call(command, path, *options).exit_code == 0
    assert not list(Path().iterdir())
    result = call(command, path, *options, "--out", "named")
    assert (result.exit_code, sorted(one.name for one in Path().iterdir())) == (0, names)
    assert "written to named" in result.output
