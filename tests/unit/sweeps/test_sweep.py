"""Sweeps: every combination in one table, whoever computes it; broken points, dead workers, bad input."""

from __future__ import annotations

import json
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.errors import RunError, ScenarioError
from sflsim.scenario.sweep_block import read_over
from sflsim.session import Options
from sflsim.sweeps.grid import points
from sflsim.sweeps.order import Order, jobs_of
from sflsim.sweeps.runner import Result, SweepRunner
from sflsim.sweeps.sweep import Sweep, SweepProgress
from sflsim.workers.backends import Tell

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed"}]
OVER = {"server.compute": ["4 FLOP/s", "8 FLOP/s", "2 FLOP/s"], "variants[mu].tau": [1, 2]}


def scenario(**fields: Any) -> sflsim.Scenario:
    settings = {"variants": VARIANTS, "stop": {"rounds": 3}, "seeds": [0, 1], "target_accuracy": "9%"}
    return read(data(**{**settings, **fields}))


@pytest.fixture(scope="module")
def whole() -> Sweep:
    """A sweep of six points in this process."""
    return sflsim.sweep(scenario(), OVER)


def problems(over: Any = None, **fields: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        sflsim.sweep(scenario(**fields), over, timing_only=True)
    return str(caught.value)


def test_rows_are_those_of_separate_runs(whole: Sweep) -> None:
    """Each point's rows say what simulate() and its summary say, for each seed."""
    assert list(whole.table["point"]) == [point for point in range(6) for _ in range(4)]
    for point in (0, 5):
        rows = whole.table[whole.table["point"] == point]
        compute, tau = rows.iloc[0][["server.compute", "variants[mu].tau"]]
        alone = scenario(
            variants=[VARIANTS[0], {**VARIANTS[1], "tau": int(tau)}],
            server={"compute": compute, "slots": 1, "link": {"up": "unlimited", "down": "8 byte/s"}},
        )
        run = sflsim.simulate(alone)
        for _, row in rows.iterrows():
            one = (run.runs["variant"] == row["variant"]) & (run.runs["seed"] == row["seed"])
            own = run.evaluations["variant"] == row["variant"]
            evaluations = run.evaluations[own & (run.evaluations["seed"] == row["seed"])]
            part = sflsim.Run(
                alone, spans=run.spans, evaluations=evaluations, clients=run.clients,
                runs=run.runs[one], manifest={},
            ).summary().iloc[0]  # fmt: skip
            assert row["accuracy"] == part["accuracy_mean"]
            assert int(row["reached"]) == part["seeds_reached"]
            for name in ("rounds", "time_s", "uplink_bytes", "downlink_bytes", "server_busy_s", "target"):
                np.testing.assert_equal(row[name], float(part[name]))
            assert row["run_time_s"] == run.runs.loc[one, "time_s"].item()


def test_trainings_are_shared(whole: Sweep) -> None:
    """Three speeds of the server cost no training: one for V1 and one for each tau, under two seeds."""
    assert (whole.manifest["trainings"], whole.manifest["shared"], whole.manifest["runs"]) == (6, 18, 24)
    assert whole.manifest["computed_calls"]["train"] == 2 * 3  # seeds x rounds


def test_a_timed_sweep_without_target_has_whole_runs() -> None:
    """Timing alone: no accuracy, and the costs of the whole run."""
    table = sflsim.sweep(scenario(), {"server.slots": [1, 2]}, timing_only=True).table
    assert table["accuracy"].isna().all()
    assert not table["reached"].any()
    assert (table["time_s"] == table["run_time_s"]).all()
    assert (table["rounds"] == 3).all()


def test_workers_change_nothing(whole: Sweep, tmp_path: Path) -> None:
    """Two processes give the same files, byte for byte, train as little, and one may be killed meanwhile."""
    killed: list[BaseProcess] = []
    others = set(multiprocessing.active_children())

    def kill_one(step: SweepProgress) -> None:
        if step.runs_done == 2:
            killed.append(next(iter(set(multiprocessing.active_children()) - others)))
            killed[0].kill()

    other = sflsim.sweep(scenario(), OVER, workers=2, progress=kill_one)
    assert killed
    assert other.manifest["workers_lost"] == 1
    whole.save(tmp_path / "one")
    other.save(tmp_path / "two")
    for name in ("sweep.parquet", "sweep.csv", "scenario.yaml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert other.manifest["trainings"] <= 7  # the killed one may have begun again


def test_save_and_load(whole: Sweep, tmp_path: Path) -> None:
    """A folder holds table, manifest and a scenario that can be swept again; damage is named."""
    folder = whole.save(tmp_path / "sweep")
    assert {path.name for path in folder.iterdir()} == {
        "scenario.yaml", "sweep.csv", "sweep.json", "sweep.parquet"
    }  # fmt: skip
    loaded = Sweep.load(folder)
    pd.testing.assert_frame_equal(loaded.table, whole.table)
    assert (loaded.over, loaded.manifest) == (whole.over, whole.manifest)
    again = sflsim.sweep(loaded.scenario, timing_only=True)
    assert list(again.table["run_time_s"]) == list(whole.table["run_time_s"])
    for name in ("sweep.json", "sweep.parquet", "scenario.yaml"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"\x00")
        with pytest.raises((RunError, ScenarioError)):
            Sweep.load(folder)
        (folder / name).unlink()
        with pytest.raises(RunError, match=name):
            Sweep.load(folder)
        (folder / name).write_bytes(content)


def test_a_broken_point_stops_nobody() -> None:
    """A combination that is impossible stands in the table with its error, the rest is computed."""
    over = {"workload.cut": [1, 2], "workload.model.hidden": [[8], [8, 8]]}
    workload = {"model": {"kind": "mlp", "hidden": [8]}, "batch_size": 8}
    table = sflsim.sweep(scenario(workload=workload), over).table
    broken = table[table["status"] == "failed"]
    assert list(broken["point"].unique()) == [2]
    assert len(broken) == 4
    assert broken["error"].str.contains("found 2; allowed: 1 to 1").all()
    assert (table.loc[table["point"] != 2, "status"] == "completed").all()
    assert list(table["workload.model.hidden"].unique()) == ["[8]", "[8, 8]"]


BROKEN_VALUES = [
    ("fleet.participants", [1, 9], "at most as many as there are clients"),
    ("server.slots", [1, "x"], "a whole number"),
    ("server.compute", ["1 TFLOP/s", "2 s/0)"], "no number with a unit"),
    ("fleet.groups[0].link", ["wifi", "wify"], "wifi"),
]


@pytest.mark.parametrize(("path", "values", "words"), BROKEN_VALUES)
def test_a_value_that_is_never_possible_stops_nobody(path: str, values: list[Any], words: str) -> None:
    """Its points are broken, with file or option and reason; the others are those of a sweep without it."""
    over = {path: values, "variants[mu].tau": [1, 2]}
    done = sflsim.sweep(scenario(), over, timing_only=True)
    good, bad = (done.table[done.table["point"].isin(which)] for which in ([0, 1], [2, 3]))
    assert (good["status"] == "completed").all()
    assert (bad["status"] == "failed").all()
    assert bad["error"].str.contains(words).all()
    assert bad["error"].str.contains(f"--over {path}={values[1]}", regex=False).all()
    alone = sflsim.sweep(scenario(), {**over, path: values[:1]}, timing_only=True).table
    assert list(alone["run_time_s"]) == list(good["run_time_s"])


def test_what_is_broken_is_counted_once_and_everywhere() -> None:
    """Manifest, progress and table agree, points that cannot be simulated included."""
    steps: list[SweepProgress] = []
    done = sflsim.sweep(scenario(), {"fleet.participants": [1, 9, 2]}, progress=steps.append)
    broken = int((done.table["status"] != "completed").sum())
    assert broken == 4
    found = {name: done.manifest[name] for name in ("points", "broken_points", "runs", "broken")}
    assert found == {"points": 3, "broken_points": 1, "runs": len(done.table), "broken": broken}
    assert (steps[0].runs_done, steps[0].points_done) == (5, 1)
    last = steps[-1]
    assert (last.runs_done, last.runs, last.points_done, last.broken) == (12, 12, 3, 4)
    assert last.trainings + last.shared + last.broken == last.runs


def test_a_diverged_variant_and_a_crash_stop_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that diverges, and a bug in one run, are rows like others."""
    from sflsim.session import Session

    original = Session.run

    def buggy(self: Session, number: int, seed: int, on_evaluation: Any) -> Any:
        if seed == 1:
            raise ZeroDivisionError("a bug")
        return original(self, number, seed, on_evaluation)

    monkeypatch.setattr(Session, "run", buggy)
    over = {"variants[splitfed-v1].client_optimizer.lr": [0.1, 1e6]}
    table = sflsim.sweep(scenario(variants=VARIANTS[:1]), over).table
    assert list(table["status"]) == ["completed", "failed", "diverged", "failed"]
    assert list(table["error"]) == ["", "ZeroDivisionError: a bug"] * 2


def test_an_interrupt_keeps_what_there_is() -> None:
    """Ctrl-C ends a sweep with the rows so far and the status that says so."""

    def stop(step: SweepProgress) -> None:
        if step.runs_done == 3:
            raise KeyboardInterrupt

    done = sflsim.sweep(scenario(), OVER, progress=stop, timing_only=True)
    assert (done.status, len(done.table)) == ("interrupted", 3)


def test_progress() -> None:
    """Points, runs, trainings and the time left are told after each run."""
    steps: list[SweepProgress] = []
    sflsim.sweep(scenario(), OVER, progress=steps.append)
    assert [step.runs_done for step in steps] == list(range(1, 25))
    assert (steps[-1].points_done, steps[-1].trainings, steps[-1].shared, steps[-1].left_s) == (6, 6, 18, 0.0)
    assert all(step.trainings + step.shared == step.runs_done for step in steps)
    assert all(step.left_s > 0 for step in steps[:-1])


# Bad input.


@pytest.mark.parametrize(
    ("sweep", "line", "words"),
    [
        ("\n  server.slots: [1]\n  fleet.stragler.mean: [1 s]", 3, "did you mean 'straggler'?"),
        ("\n  variants[mu].tu:\n    - 1\n    - 2", 3, "did you mean 'tau'?"),
        ("\n  server.slots:\n    - x\n    - y", 4, "a whole number"),
        ("\n  server.slots: []", 2, "an empty list"),
        ("\n  server.slots:\n    - 1\n    - 1", 4, "each value once"),
        ("\n  server.slots: 3", 2, "allowed: a list"),
        ("\n  'server.slots[': [1]", 2, "allowed: the path of a field"),
        ("\n  name: [a, b]", 2, "changes no simulation"),
        ("\n  variants[none].tau: [1]", 2, "[none]"),
        ("\n  fleet.participants:\n    - 8\n    - 9", 4, "at most as many as there are clients"),
        (" {}", 1, "no path"),
        (f" {{server.slots: {list(range(1, 102))}, stop.rounds: {list(range(1, 101))}}}", 1, "10100 points"),
    ],
)
def test_a_bad_block_is_refused_with_its_line(sweep: str, line: int, words: str) -> None:
    """File, line and remedy, and nothing is run."""
    text = yaml.safe_dump(data(variants=VARIANTS), sort_keys=False)
    with pytest.raises(ScenarioError) as caught:
        sflsim.sweep(sflsim.parse_scenario(f"{text}sweep:{sweep}\n", "test.yaml"), timing_only=True)
    assert words in str(caught.value)
    assert f"test.yaml:{text.count(chr(10)) + line}  sweep" in str(caught.value)


def test_bad_over() -> None:
    """What is given in Python or on the command line is refused by its path."""
    assert "nothing to sweep" in problems()
    assert "a list of values" in problems({"server.slots": "1,2"})
    assert "a list of values" in problems({"server.slots": 3})
    assert "a path that a later one overwrites" in problems({"variants[mu].tau": [1], "variants[1].tau": [2]})
    assert "did you mean 'slots'?" in problems({"server.slot": [1, 2]})


def test_over_is_read_as_a_yaml_list() -> None:
    """Values stand between commas, brackets are as in YAML, numpy's numbers are numbers."""
    assert read_over(["a.b=1 s,2 s", "c[mu].d=1,adaptive", "e=[64],[64, 64]", "f=[1, 2]", "g={k: 1}"]) == {
        "a.b": ["1 s", "2 s"],
        "c[mu].d": [1, "adaptive"],
        "e": [[64], [64, 64]],
        "f": [1, 2],
        "g": [{"k": 1}],
    }
    for text in ("a", "=1", "a=[1", "a=]", "a=!!x y"):
        with pytest.raises(ScenarioError):
            read_over([text])
    with pytest.raises(ScenarioError, match="each path once"):
        read_over(["a=1", "a=2"])
    table = sflsim.sweep(scenario(), {"server.slots": np.arange(1, 3)}, timing_only=True).table
    assert table["server.slots"].dtype == np.int64


def test_over_replaces_a_path_of_the_block() -> None:
    """The block and --over together, a path of both once."""
    swept = scenario(sweep={"server.slots": [1, 2, 3], "variants[mu].tau": [1, 2]})
    done = sflsim.sweep(swept, {"server.slots": [4]}, timing_only=True)
    assert done.over == {"server.slots": [4], "variants[mu].tau": [1, 2]}
    assert done.table["point"].nunique() == 2


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sflsim sweep` writes the folder; bad input ends with code 2 and leaves none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    content = yaml.safe_dump(data(variants=VARIANTS), sort_keys=False)
    Path("good.yaml").write_text(content, encoding="utf-8")

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(
            app, ["sweep", "good.yaml", "--workers", "1", "--timing-only", "--no-cache", *arguments]
        )

    good = call("--over", "variants[mu].tau=1,2,4", "--over", "server.slots=1,2")
    assert good.exit_code == 0, good.output
    assert "variants[mu].tau" in good.stdout
    assert "6 of 6 points, 12 of 12 runs" in good.stderr
    assert json.loads(Path("runs/test-sweep/sweep.json").read_text())["points"] == 6
    assert len(pd.read_csv("runs/test-sweep/sweep.csv")) == 12
    for wrong in ((), ("--over", "a"), ("--over", "server.slot=1"), ("--over", "server.slots="),
                  ("--over", "server.slots=1", "--ray", "127.0.0.1:1")):  # fmt: skip
        result = call(*wrong, "--out", "other")
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
    assert {path.name for path in Path().iterdir()} == {"good.yaml", "runs"}
    Path("bad.yaml").write_text(content + "sweep: {server.slot: [1]}\n", encoding="utf-8")
    checked = CliRunner().invoke(app, ["validate", "bad.yaml"])
    assert (checked.exit_code, "did you mean 'slots'?" in checked.stderr) == (2, True)
    assert [path.name for path in Path("runs").iterdir()] == ["test-sweep"]


def test_exit_codes_tell_a_script_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 where any run completed, 1 where none did though the table is written, 2 where nothing was run."""
    monkeypatch.chdir(tmp_path)
    settings = data(variants=VARIANTS[:1], stop={"rounds": 3})
    Path("it.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def call(over: str, out: str, *more: str) -> Any:
        arguments = ["--workers", "1", "--no-cache", "--over", over, "--out", out, *more]
        return CliRunner().invoke(app, ["sweep", "it.yaml", *arguments])

    some = call("fleet.participants=1,9", "some", "--timing-only")
    assert some.exit_code == 0, some.output
    assert "1 of 2 runs broken, first point 1:" in some.stdout
    assert json.loads(Path("some/sweep.json").read_text())["broken"] == 1
    none = call("variants[splitfed-v1].client_optimizer.lr=1e6,9e5", "none")
    assert none.exit_code == 1, none.output
    assert set(pd.read_csv("none/sweep.csv")["status"]) == {"diverged"}
    assert call("fleet.participants=8,9", "never").exit_code == 2
    assert not Path("never").exists()


def test_validate_tells_of_broken_points(tmp_path: Path) -> None:
    """A sweep of which some point is impossible is fine, and the point is named."""
    settings = data(variants=VARIANTS) | {"sweep": {"fleet.participants": [1, 9]}}
    file = tmp_path / "it.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    checked = CliRunner().invoke(app, ["validate", str(file)])
    assert checked.exit_code == 0
    assert "1 of 2 points of the sweep cannot be simulated" in checked.stderr
    assert "at most as many as there are clients" in checked.stderr


NARROW = {
    "variants[splitfed-v1].client_optimizer.lr": [0.5, 0.25],
    "fleet.groups[0].link": ["wifi", "4g-cz"],
    "variants[mu].tau": [1, 2],
    "server.slots": [1, 2],
}


@pytest.mark.parametrize("width", ["", "80"])
def test_no_heading_is_broken_within_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    """In a pipe a line is as long as the table needs; at 80 characters a path takes a line for each step."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_dump(data(variants=VARIANTS), sort_keys=False)
    Path("it.yaml").write_text(content, encoding="utf-8")
    over = [f"--over={path}={','.join(map(str, values))}" for path, values in NARROW.items()]
    arguments = ["sweep", "it.yaml", "--workers", "1", "--timing-only", "--no-cache", *over]
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", width)
    output = CliRunner().invoke(app, arguments).stdout
    head = output.partition("───")[0]
    wanted = ("[splitfed-v1].", "client_optimizer.", "fleet.", "groups", "link", "slots", "variant", "uplink")
    steps = [word for line in head.splitlines() for word in line.split()]
    assert set(wanted) <= set(steps) if width else {*NARROW, "variant"} <= set(steps)
    assert "splitfed-v1" in output
    assert all(len(line) <= int(width or 200) for line in output.splitlines()[:12])


# Who computes what.


def test_each_training_begins_once_and_its_followers_come_after() -> None:
    """With several workers all leaders come first; one worker finishes a group before the next."""
    jobs = jobs_of(
        points(scenario(variants=VARIANTS[:1]), {"server.slots": [1, 2]}, Options(timing_only=True))
    )
    first, other, follower, last = jobs  # seeds 0 and 1 of two points that learn alike
    several, single = Order(jobs, by_group=False), Order(jobs, by_group=True)
    assert [several.next() for _ in range(3)] == [first, other, None]
    several.ended(other)
    assert (several.next(), several.next()) == (last, None)
    several.ended(last)
    several.ended(first)
    assert (several.next(), several.next()) == (follower, None)
    assert single.next() == first
    single.ended(first)
    assert [single.next() for _ in range(3)] == [follower, other, None]
    single.ended(other)
    assert single.next() == last


def test_a_deadly_run_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that kills its workers is given up at the third death; the others are computed."""
    monkeypatch.setattr("sflsim.sweeps.sweep.SweepRunner", Deadly)
    done = sflsim.sweep(scenario(), {"server.slots": [1]}, workers=2, timing_only=True)
    assert list(done.table["status"]) == ["completed", "failed"] * 2
    assert done.table["error"].str.contains("died 3 times").sum() == 2
    assert done.manifest["workers_lost"] == 6


class Deadly(SweepRunner):
    """Ends its process in every run under seed 1."""

    def run(self, tell: Tell, scenario: sflsim.Scenario, variant: int, seed: int) -> Result:
        if seed == 1:
            os._exit(1)
        return super().run(tell, scenario, variant, seed)


def test_a_sweep_over_the_seeds_is_refused_before_it_computes() -> None:
    """Its column would stand in the place of the one that counts the seeds."""
    with pytest.raises(sflsim.ScenarioError, match="under each of them"):
        sflsim.sweep(read(data()), {"seeds": [[0], [1]]}, timing_only=True)
