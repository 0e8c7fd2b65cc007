"""`sflsim explain` and `sflsim trace`: what they print, and what they say to input that cannot be used."""

from __future__ import annotations

import io
import json
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest
from support import data, read, whole
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app
from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.explainer.explain import ExplainProgress
from sflsim.workers import calls

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": "adaptive"}]


def call(*arguments: object) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def run() -> Run:
    return simulate(read(data(variants=VARIANTS, stop={"rounds": 2})), timing_only=True)


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.save(tmp_path_factory.mktemp("run") / "out", plots=False)


def test_it_prints_words_and_tables(folder: Path, run: Run) -> None:
    """For every variant; a change that also changes what is learned is marked (its text: tests/golden)."""
    result = call("explain", folder, "--all")
    assert result.exit_code == 0, result.output
    shown, found = " ".join(result.stdout.split()), sflsim.explain(run)
    for words in found.words.values():
        assert words in shown
    changed = found.what_if.loc[~found.what_if["same_learning"], "change"]
    assert "uplink of group slow twice as fast" in set(changed)
    for change in changed:
        assert f"{change} *" in shown


@pytest.mark.slow
def test_processes_find_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that are simulated in two processes give the tables of one, in the same order."""
    monkeypatch.setattr(calls, "WORTH_S", 0.0)
    steps: list[ExplainProgress] = []
    several = sflsim.explain(run, workers=2, progress=steps.append)
    assert len(multiprocessing.active_children()) == 0
    pd.testing.assert_frame_equal(several.what_if, sflsim.explain(run).what_if, check_exact=True)
    assert [step.done for step in steps] == list(range(1, steps[-1].total + 1))
    with pytest.raises(SflsimError, match="workers"):
        sflsim.explain(run, workers=0)


@pytest.mark.parametrize("options", [[], ["--variant", "splitfed-v1"], ["--no-what-if"]])
def test_the_main_finding_fits_on_a_screen(options: list[str], folder: Path, run: Run) -> None:
    """What takes most of the time of each variant, and what would save most; in less than 24 lines of 80."""
    arguments = ["explain", str(folder), *options]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert sum(1 + len(line) // 80 for line in result.stdout.splitlines()) < 24
    found = sflsim.explain(run)
    for variant in found.words if not options else ["splitfed-v1"]:
        most = found.shares[found.shares["variant"] == variant].iloc[0]
        best = found.what_if[found.what_if["variant"] == variant].iloc[0]
        assert f"{100 * most['share']:.0f} % {most['activity']}" in result.stdout
        assert (f"{100 * best['gain']:.1f} %" in result.stdout) == ("--no-what-if" not in options)


def test_many_variants_still_fit(tmp_path: Path) -> None:
    many = [{"algorithm": "mu-splitfed", "tau": list(range(1, 31))}]
    result = simulate(read(data(variants=many)), timing_only=True)
    place = result.save(tmp_path / "many", plots=False)
    shown = CliRunner().invoke(app, ["explain", str(place), "--no-what-if"], env={"COLUMNS": "80"})
    assert len(shown.stdout.splitlines()) < 24
    assert "22 variants more" in shown.stdout


def test_progress_comes_at_once_and_counts(folder: Path, run: Run) -> None:
    """Before anything is read; then each change of each variant, up to all of them."""
    assert call("explain", folder, "--no-what-if").stderr.startswith(f"reading {folder}")
    steps: list[ExplainProgress] = []
    sflsim.explain(run, progress=steps.append)
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    assert {step.variant for step in steps} == set(run.runs["variant"])


def test_one_variant_without_simulating(folder: Path) -> None:
    """The other one and the what-if table are not there."""
    result = call("explain", folder, "--variant", "splitfed-v1", "--no-what-if")
    assert result.exit_code == 0
    assert "splitfed-v1" in result.stdout
    assert "mu-splitfed" not in result.stdout
    assert "twice" not in result.stdout


def test_csv_is_the_tables(folder: Path, run: Run) -> None:
    """All of them, in full precision, as the Python interface gives them."""
    result = call("explain", folder, "--csv")
    assert result.exit_code == 0
    table, found = pd.read_csv(io.StringIO(result.stdout)), sflsim.explain(run)
    assert table["table"].value_counts().to_dict() == {
        name: len(getattr(found, name)) for name in ("shares", "slowest", "what_if")
    }
    assert table.loc[table["table"] == "what_if", "gain"].tolist() == found.what_if["gain"].tolist()


@pytest.mark.parametrize("command", ["explain", "trace"])
def test_folders_that_hold_no_run(command: str, folder: Path, run: Run, tmp_path: Path) -> None:
    """No folder, one that a killed run has left, one without spans, an unknown variant."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "scenario.yaml").write_text(run.scenario.to_yaml())
    tables = {name: getattr(run, name) for name in ("evaluations", "clients", "runs", "manifest")}
    bare = Run(run.scenario, spans=run.spans[:0], **tables).save(tmp_path / "bare", plots=False)
    for place, words in (
        (tmp_path / "nowhere", "is this the folder of a run?"),
        (tmp_path / "killed", "no run.json"),
        (bare, "no spans were recorded"),
    ):
        result = call(command, place)
        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
        assert "Traceback" not in result.output
    result = call(command, folder, "--variant", "nobody")
    assert result.exit_code == 2
    assert "--variant: found 'nobody'; allowed: splitfed-v1, mu-splitfed" in result.stderr.replace("\n", " ")


def test_a_run_that_finished_no_round(tmp_path: Path) -> None:
    """Stopped by time within its first round, there is nothing to explain, and it says so."""
    run = simulate(read(data(stop={"time": "5 s"})), timing_only=True)
    result = call("explain", run.save(tmp_path / "short", plots=False))
    assert (result.exit_code, "no round was finished" in result.stderr) == (2, True)


def test_a_run_that_was_stopped_within_a_round() -> None:
    """The rounds before are explained; the begun one is no part of it."""
    run = simulate(read(data(stop={"time": "70 s"})), timing_only=True)
    found = sflsim.explain(run, what_if=False)
    assert found.path["round"].max() == 2
    assert found.path["end_s"].max() == 56.0
    assert run.runs["time_s"][0] == 70.0


def test_trace_of_some_rounds(folder: Path, tmp_path: Path) -> None:
    """--rounds 2 of one variant; into the run's folder by default; what is no range is refused."""
    result = call("trace", folder, "--variant", "splitfed-v1", "--rounds", "2", "--out", tmp_path / "t.json")
    assert result.exit_code == 0, result.output
    slices = [one for one in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if one["ph"] == "X"]
    assert {one["args"]["round"] for one in slices} == {2}
    assert call("trace", folder).exit_code == 0
    assert (folder / "trace.json").exists()
    for wrong in ("5-2", "a", "", "-3", "1-2-3"):
        result = call("trace", folder, f"--rounds={wrong}")
        assert (result.exit_code, "--rounds: found" in result.stderr) == (2, True)


def test_trace_of_a_window(folder: Path, run: Run, tmp_path: Path) -> None:
    """What lies in it in part, a message with its latency; how large it gets is told before."""
    result = call("trace", folder, "--since", "10 s", "--until", "12 s", "--out", tmp_path / "t.json")
    assert result.exit_code == 0, result.output
    assert "writing about" in result.stderr
    slices = [one for one in json.loads((tmp_path / "t.json").read_text())["traceEvents"] if one["ph"] == "X"]
    spans = whole(run.spans)
    inside = spans[(spans["end_s"] >= 10) & (spans["start_s"] <= 12)]
    messages = inside["activity"].isin(["uplink", "downlink"])
    assert 0 < len(inside) < len(spans)
    assert len(slices) == len(inside) + messages.sum()
    result = call("trace", folder, "--since", "2 h", "--out", tmp_path / "none.json")
    assert (result.exit_code, "--since" in result.stderr) == (2, True)
    assert not (tmp_path / "none.json").exists()
    result = call("trace", folder, "--since", "10", "--out", tmp_path / "none.json")
    assert (result.exit_code, "2 s" in result.stderr) == (2, True)


def test_the_size_of_a_trace_is_told_about_right(tmp_path: Path) -> None:
    told: list[int] = []
    run = simulate(read(data(variants=VARIANTS, stop={"rounds": 50})), timing_only=True)
    path = run.trace(tmp_path / "t.json", tell_bytes=told.append)
    assert told == [pytest.approx(path.stat().st_size, rel=0.3)]
