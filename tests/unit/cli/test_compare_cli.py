"""`sflsim compare` and `Run.compare`: what they show, and what they say to input that cannot be used."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from support import data, read
from typer.testing import CliRunner, Result

from sflsim.cli import app
from sflsim.errors import SflsimError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": [1, 2]}]
NAMES = ["splitfed-v1", "mu-splitfed tau=1", "mu-splitfed tau=2"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def run() -> Run:
    fields = {"variants": VARIANTS, "stop": {"rounds": 4}, "seeds": [0, 1, 2], "target_accuracy": "15%"}
    return simulate(read(data(**fields)))


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.save(tmp_path_factory.mktemp("run") / "out", plots=False)


def test_it_shows_every_variant_within_80_characters(folder: Path) -> None:
    result = call("compare", folder)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in (*NAMES, "Time to 15 %"))
    tables = result.stdout.split("\nUndecided")[0]
    assert max(map(len, tables.splitlines())) <= 80


def test_a_saved_run_compares_as_it_did(folder: Path, run: Run) -> None:
    """The CSV is the table of effects; one of the options is used."""
    result = call("compare", folder, "--csv", "--baseline", NAMES[1], "--target", "20%")
    assert result.exit_code == 0, result.output
    shown = pd.read_csv(io.StringIO(result.stdout))
    pd.testing.assert_frame_equal(shown, run.compare(NAMES[1], 0.2).effects, check_dtype=False)
    assert set(shown["measure"]) == {"time_s", "accuracy_at_time", "mean_accuracy", "accuracy_at_bytes"}


def test_the_baseline_is_the_first_variant(run: Run) -> None:
    found = run.compare()
    assert (found.baseline, found.target) == (NAMES[0], 0.15)
    assert found.first["variant"].tolist() == NAMES
    assert (
        found.effects.groupby("measure")["verdict"].apply(lambda one: (one == "baseline").sum()).eq(1).all()
    )


def test_what_cannot_be_compared() -> None:
    """Each names what is there, or what to do."""
    untrained = simulate(read(data(variants=VARIANTS)), timing_only=True)
    with pytest.raises(SflsimError, match="timing only"):
        untrained.compare()
    with pytest.raises(SflsimError, match="did you mean 'mu-splitfed tau=2'"):
        untrained.compare("mu-splitfed tau=3")
    with pytest.raises(SflsimError, match="two or more"):
        simulate(read(data()), timing_only=True).compare()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--baseline", "fedavg"), "splitfed-v1"), (("--target", "0%"), "--target"), (("--target", "x"), "'x'")],
)
def test_wrong_options_end_with_2(folder: Path, arguments: tuple[str, ...], words: str) -> None:
    result = call("compare", folder, *arguments)
    assert (result.exit_code, words in result.output) == (2, True), result.output
