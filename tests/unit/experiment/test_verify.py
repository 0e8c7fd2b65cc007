"""A run again from its folder alone, and whether it gave the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import FAST, SLOW, data, read
from typer.testing import CliRunner, Result

from sflsim.cli import app
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.experiment.verify import compared, verify
from sflsim.scenario.loading import load_scenario

DELAYS = "delay\n1 s\n2 s\n4 s\n"
RATES = "time_s,rate\n0,16 byte/s\n3,4 byte/s\n9,32 byte/s\n"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def scenario_file(folder: Path, **fields: Any) -> Path:
    """Write a scenario that reads two tables called alike, from two folders."""
    import yaml

    for name, text in (("delays", DELAYS), ("rates", RATES)):
        (folder / name).mkdir(parents=True)
        (folder / name / "table.csv").write_text(text, encoding="utf-8")
    link = {**FAST["link"], "up": {"kind": "trace", "file": "rates/table.csv"}}
    straggler = {"kind": "empirical", "file": "delays/table.csv"}
    groups = [{**FAST, "link": link}, {**SLOW, "straggler": straggler}]
    content = data(**{"fleet": {"clients": 2, "groups": groups}, "stop": {"rounds": 3}, **fields})
    (folder / "scenario.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "scenario.yaml"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose tables of delays and rates are gone."""
    place = tmp_path_factory.mktemp("there")
    file = scenario_file(place / "scenario", seeds=[0, 1])
    folder = simulate(load_scenario(file)).save(place / "run", plots=False)
    shutil.rmtree(place / "scenario")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of it elsewhere, which may be spoiled."""
    return Path(shutil.copytree(original, tmp_path / "elsewhere"))


def test_a_run_folder_holds_all_that_it_takes_to_run_it_again(folder: Path) -> None:
    """Moved, its tables gone: equal to the last bit, in one command, and by hand."""
    found = verify(folder)
    assert found.same
    assert not found.changed_files
    assert set(found.differences["table"]) == {"runs", "spans", "link_throughput", "evaluations", "clients"}
    assert call("run", folder, "--workers", 1, "--no-cache", "--out", folder / "again").exit_code == 0
    assert call("verify", folder, folder / "again").exit_code == 0
    result = call("verify", folder / "again", "--workers", 1)
    assert (result.exit_code, "the same, to the last bit" in result.stdout) == (0, True), result.output


def test_a_run_that_is_read_and_saved_again_keeps_its_tables(folder: Path, tmp_path: Path) -> None:
    assert verify(Run.load(folder).save(tmp_path / "saved again", plots=False)).same


def test_what_differs_is_named(folder: Path) -> None:
    """One accuracy of eight is a quarter larger; the largest difference is a fifth of the larger value."""
    run = Run.load(folder)
    run.evaluations.loc[5, "accuracy"] = 0.4
    again = Run.load(folder)
    again.evaluations.loc[5, "accuracy"] = 0.5
    found = compared(run, again)
    assert not found.same
    (row,) = found.differences[found.differences["differing"] > 0].to_dict("records")
    assert (row["table"], row["column"], row["differing"]) == ("evaluations", "accuracy", 1)
    assert row["largest"] == pytest.approx(0.2)


def test_texts_and_numbers_of_rows_that_differ(folder: Path) -> None:
    run, again = Run.load(folder), Run.load(folder)
    again.spans = again.spans.iloc[:-2]
    again.clients.loc[0, "group"] = "other"
    rows = compared(run, again).differences.set_index("table")
    assert rows.loc["spans", ["rows", "rows_again", "differing"]].tolist() == [
        len(run.spans),
        len(run.spans) - 2,
        2,
    ]
    assert rows.loc["clients", ["column", "differing"]].tolist() == ["group", 1]
    assert rows.loc["clients", "largest"] != rows.loc["clients", "largest"]


def test_a_spoiled_folder_is_not_the_same(folder: Path) -> None:
    """A copy of a table that says something else is named, and the command ends with 1."""
    (copy,) = [
        path for path in (folder / "files").rglob("*.csv") if path.read_text(encoding="utf-8") == DELAYS
    ]
    copy.write_text(DELAYS.replace("4 s", "40 s"), encoding="utf-8")
    found = verify(folder)
    assert (len(found.changed_files), found.same) == (1, False)
    assert found.changed_files[0].endswith("delays/table.csv")
    result = call("verify", folder, "--workers", 1)
    assert result.exit_code == 1
    assert "spans" in result.stdout


def test_what_was_interrupted_is_not_compared(folder: Path) -> None:
    """Of two seeds the second was interrupted: what the first gave is compared."""
    run, again = Run.load(folder), Run.load(folder)
    run.manifest["status"] = "interrupted"
    run.runs.loc[run.runs["seed"] == 1, "status"] = "interrupted"
    run.evaluations = run.evaluations[run.evaluations["seed"] == 0]
    found = compared(run, again)
    assert found.same
    rows = found.differences.set_index("table")["rows"]
    assert rows["runs"] == 1
    assert rows["evaluations"] == (again.evaluations["seed"] == 0).sum()


@pytest.mark.parametrize("more", ["seed", "variant"])
def test_a_run_of_more_seeds_or_variants_is_not_the_same(folder: Path, more: str) -> None:
    run, again = Run.load(folder), Run.load(folder)
    for name in ("runs", "spans", "evaluations", "clients"):
        other = {"seed": 7, "variant": "other"}[more]
        first = getattr(run, name)[lambda table: table["seed"] == 0]
        setattr(again, name, pd.concat([getattr(run, name), first.assign(**{more: other})]))
    assert not compared(run, again).same
    assert not compared(again, run).same


@pytest.mark.parametrize("value", [1.0, "a"])
def test_a_column_that_one_table_lacks_differs(folder: Path, value: object) -> None:
    run, again = Run.load(folder), Run.load(folder)
    run.clients = run.clients.assign(colour=value)
    for one, other in ((run, again), (again, run)):
        rows = compared(one, other).differences.set_index("table")
        assert rows.loc["clients", ["column", "differing"]].tolist() == ["colour", len(run.clients)]


def test_a_run_of_which_nothing_ended_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    run = Run.load(folder)
    run.manifest["status"] = run.runs["status"] = "interrupted"
    result = call("verify", run.save(tmp_path / "interrupted", plots=False))
    assert result.exit_code == 2, result.output


def test_what_ifs_read_the_copies(folder: Path) -> None:
    """The tables themselves are gone; a copy that says something else is refused."""
    assert call("explain", folder).exit_code == 0
    for copy in (folder / "files").rglob("*.csv"):
        copy.write_text(copy.read_text(encoding="utf-8").replace("4", "5"), encoding="utf-8")
    result = call("explain", folder)
    assert (result.exit_code, "table.csv" in result.output) == (2, True), result.output


def test_versions_are_named(folder: Path) -> None:
    run, again = Run.load(folder), Run.load(folder)
    run.manifest["versions"] = {**run.manifest["versions"], "torch": "1.0"}
    versions = compared(run, again).versions
    assert versions["torch"] == ("1.0", again.manifest["versions"]["torch"])
    assert versions["python"][0] == versions["python"][1]


def test_a_timing_only_run_is_repeated_as_one(tmp_path: Path) -> None:
    """Without spans, too, as its manifest says."""
    run = simulate(read(data()), timing_only=True, keep_spans=False)
    found = verify(run.save(tmp_path / "run", plots=False))
    assert found.same
    assert dict(zip(found.differences["table"], found.differences["rows"], strict=True))["spans"] == 0
    assert not (tmp_path / "run" / "files").exists()


def test_an_unfinished_folder_with_copies_is_used_again(original: Path, tmp_path: Path) -> None:
    """A killed process left the copies alone; the folder of the next run takes their place."""
    shutil.copytree(original / "files", tmp_path / "run" / "files")
    run = simulate(load_scenario(original))
    assert verify(run.save(tmp_path / "run", plots=False)).same


@pytest.mark.parametrize("wrong", ["nowhere", "scenario.yaml"])
def test_what_is_no_run_folder(folder: Path, wrong: str) -> None:
    assert call("verify", folder / wrong).exit_code == 2
    assert call("verify", folder, folder / wrong).exit_code == 2


def test_equal_tables_are_equal(folder: Path) -> None:
    """NaN is equal to NaN."""
    run, again = Run.load(folder), Run.load(folder)
    for one in (run, again):
        one.evaluations = one.evaluations.assign(loss=float("nan"))
    assert compared(run, again).same
    assert isinstance(compared(run, again).differences, pd.DataFrame)
