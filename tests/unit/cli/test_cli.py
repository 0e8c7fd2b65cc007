"""The command line: exit codes, messages with line and remedy, and what is left on disk."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
import yaml
from support import data
from typer.testing import CliRunner, Result

from sflsim.cli import app
from sflsim.cli.console import errors
from sflsim.errors import RunError
from sflsim.experiment.run import Run
from sflsim.record import folders
from sflsim.record.tables import not_written
from sflsim.report.html_run import run_report
from sflsim.workers.pool import WorkerDied

VARIANTS = [{"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed", "tau": [1, 2]}]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def write(name: str = "good.yaml", text: str = "", **fields: Any) -> Path:
    """Write a scenario to the working folder: `text`, or the tests' small one with other `fields`."""
    settings = {"variants": VARIANTS, "stop": {"rounds": 2}, **fields}
    path = Path(name)
    path.write_text(text or yaml.safe_dump(data(**settings), sort_keys=False), encoding="utf-8")
    return path


def sflsim(*arguments: object) -> Result:
    """Call the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(path: Path, *arguments: object) -> Result:
    return sflsim("run", path, "--workers", 1, "--no-plots", *arguments)


def line_of(path: Path, words: str) -> int:
    """Return the number of the line that holds `words`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if words in line)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of real training, not to be changed."""
    place = tmp_path_factory.mktemp("run")
    scenario = place / "scenario.yaml"
    fields = {"variants": VARIANTS, "stop": {"rounds": 2}, "seeds": [0, 1]}
    scenario.write_text(yaml.safe_dump(data(**fields, target_accuracy="8%")), encoding="utf-8")
    result = sflsim("run", scenario, "--workers", 1, "--out", place / "out")
    assert result.exit_code == 0, result.output
    return place / "out"


@pytest.fixture
def copy(folder: Path) -> Path:
    """A copy of the run folder, to be spoiled."""
    return Path(shutil.copytree(folder, "copy"))


def test_run_writes_a_whole_folder(folder: Path) -> None:
    """Resolved scenario, manifest, four tables and the pictures; it loads, and nothing else is left."""
    pictures = {path.name for path in (folder / "plots").iterdir()}
    assert {"accuracy_time.png", "accuracy_rounds.png", "where_time_goes.png"} < pictures
    tables = {f"{name}.parquet" for name in ("spans", "link_throughput", "evaluations", "clients")}
    names = {*tables, "trace.json", "plots"}
    assert {path.name for path in folder.iterdir()} == {"scenario.yaml", "run.json"} | names
    loaded = Run.load(folder)
    assert loaded.status == "completed"
    assert len(loaded.runs) == 6
    assert set(loaded.runs["status"]) == {"completed"}


def test_summary_shows_every_variant(folder: Path) -> None:
    """The table names each variant; a target that is no share is refused."""
    result = sflsim("summary", folder, "--target", "9%")
    assert result.exit_code == 0
    for name in ("splitfed-v1", "mu-splitfed tau=1", "mu-splitfed tau=2", "9%"):
        assert name in result.stdout
    wrong = sflsim("summary", folder, "--target", "much")
    assert (wrong.exit_code, "--target: found 'much'; allowed: a share" in wrong.stderr) == (2, True)


def test_plot_redraws_from_the_tables_alone(copy: Path) -> None:
    """With plots/ gone, `sflsim plot` makes every picture again, byte for byte."""
    before = {path.name: path.read_bytes() for path in (copy / "plots").iterdir()}
    shutil.rmtree(copy / "plots")
    assert sflsim("plot", copy).exit_code == 0
    assert {path.name: path.read_bytes() for path in (copy / "plots").iterdir()} == before


def test_a_link_in_a_strangers_folder_leads_no_picture_away(copy: Path) -> None:
    """A link for plots/ is refused; one for a file is replaced, and what it led to stays."""
    victim = Path("victim")
    victim.mkdir()
    (victim / "accuracy_time.png").write_bytes(b"mine")
    (copy / "plots" / "accuracy_time.png").unlink()
    (copy / "plots" / "accuracy_time.png").symlink_to((victim / "accuracy_time.png").absolute())
    (copy / "trace.json").unlink()
    for name in ("trace.json", "report.html"):
        (copy / name).symlink_to((victim / name).absolute())
    for command in ("plot", "trace", "report"):
        assert sflsim(command, copy).exit_code == 0
    assert not (copy / "plots" / "accuracy_time.png").is_symlink()
    shutil.rmtree(copy / "plots")
    (copy / "plots").symlink_to(victim.absolute())
    result = sflsim("plot", copy)
    assert (result.exit_code, "is a link; nothing is written through it" in result.stderr) == (2, True)
    with pytest.raises(RunError, match="is a link"):
        Run.load(copy).save(copy)
    assert {path.name: path.read_bytes() for path in victim.iterdir()} == {"accuracy_time.png": b"mine"}


def test_a_folder_that_cannot_be_written_can_be_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says so, and it is so."""
    arguments = (write(variants=VARIANTS[:1]), "--timing-only", "--out", "out")

    def full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        result = run(*arguments)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "use the same --out again" in result.stderr
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert Run.load("out").status == "completed"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_stores_warnings_are_few_plain_lines(workers: int) -> None:
    """A damaged store: one line each for the first, then how many; no source code, equal tables."""
    path = write(variants=VARIANTS[:1], stop={"rounds": 6}, evaluate={"every": "1 rounds"})
    assert run(path, "--cache", "store", "--out", "whole").exit_code == 0
    with contextlib.closing(sqlite3.connect(next(Path("store").glob("*.sqlite")))) as db, db:
        db.execute("UPDATE entries SET checksum = 'x'")
    arguments = ["run", str(path), "--workers", str(workers), "--cache", "store", "--out", "again"]
    if workers == 1:
        told = sflsim(*arguments).stderr
    else:  # what worker processes tell comes by the terminal's own file
        command = [sys.executable, "-m", "sflsim", *arguments]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    lines = [line for line in told.splitlines() if "damaged" in line]
    assert 2 <= len(lines) <= 4
    assert all(line.startswith(f"warning: the store at {Path('store').absolute()} ") for line in lines)
    assert "damaged entries in all" in lines[-1]
    assert "self._tell" not in told
    assert "disk_store.py" not in told
    assert Run.load("whole").evaluations.equals(Run.load("again").evaluations)


def test_what_is_no_fault_of_the_input_ends_with_1() -> None:
    """A worker that has died; what another path would mend ends with 2."""
    typed = not_written("out", OSError(errno.ENAMETOOLONG, "File name too long"))
    for error, code in ((WorkerDied("a worker process died"), 1), (typed, 2)):
        with pytest.raises(typer.Exit) as caught, errors():
            raise error
        assert caught.value.exit_code == code


def test_one_line_of_a_folder_that_cannot_be_written(copy: Path) -> None:
    """Not one for each picture."""
    Path("file").write_text("", encoding="utf-8")
    result = sflsim("plot", copy, "--out", "file/plots")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_plot_elsewhere(copy: Path) -> None:
    """--out puts the pictures into another folder."""
    result = sflsim("plot", copy, "--out", "pictures")
    assert result.exit_code == 0
    assert {path.name for path in Path("pictures").iterdir()} == {
        path.name for path in (copy / "plots").iterdir()
    }


SPOIL = {
    "a table gone": ("spans.parquet", None),
    "a table cut short": ("evaluations.parquet", b"PAR1"),
    "a table that is none": ("clients.parquet", b"not a table" * 100),
    "no manifest": ("run.json", None),
    "a manifest that is no JSON": ("run.json", b"{"),
    "a manifest of another kind": ("run.json", b"[1]"),
    "a manifest with other rows": ("run.json", b'{"runs": [{"variant": 1}]}'),
    "bytes for a manifest": ("run.json", bytes(range(256))),
    "no scenario": ("scenario.yaml", None),
    "an empty scenario": ("scenario.yaml", b""),
}


@pytest.mark.parametrize("command", ["plot", "summary"])
@pytest.mark.parametrize("wrong", SPOIL)
def test_damaged_folder(copy: Path, command: str, wrong: str) -> None:
    """A missing or damaged file ends with code 2 and a message that names it."""
    name, content = SPOIL[wrong]
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    result = sflsim(command, copy)
    assert result.exit_code == 2
    assert name in result.stderr or "manifest" in result.stderr
    assert "Traceback" not in result.output


def test_no_folder() -> None:
    """A folder that is not there is named."""
    result = sflsim("plot", "nowhere")
    assert (result.exit_code, "nowhere: no run.json" in result.stderr) == (2, True)


TIMED = ("--timing-only", "--out", "out")


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"workload": {"model": "mlp", "cut": 9}}, "cut: 9", "found 9; allowed: 1 to 2, or one of hidden-1"),
        ({"workload": {"model": "mlp", "cut": "hiden-2"}}, "cut: hiden-2", "did you mean 'hidden-2'?"),
        ({"workload": {"model": "mlp", "cut": "output"}}, "cut: output", "the server keeps at least"),
        (
            {"fleet": {"clients": 2, "groups": [{"device": "raspbery-pi-4"}]}},
            "raspbery-pi-4",
            "did you mean 'raspberry-pi-4'?",
        ),
        (
            {"fleet": {"clients": 2, "participants": 3, "groups": [{"device": "jetson-nano"}]}},
            "participants: 3",
            "at most as many as there are clients, 2",
        ),
        ({"stop": {"round": 3}}, "round: 3", "did you mean 'rounds'?"),
        ({"variants": [{"algorithm": "mu-splitfed", "tau": 0}]}, "tau: 0", "from 1 up"),
        ({"variants": [{"algorithm": "mu-splitfed", "lam": float("nan")}]}, "lam: .nan", "a finite number"),
        (
            {"variants": [{"algorithm": "splitfed-v1", "client_optimizer": {"momentun": 0.9}}]},
            "momentun",
            "momentum",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("command", ["run", "validate"])
def test_bad_scenario(command: str, fields: dict[str, Any], place: str, words: str) -> None:
    """Exit code 2; file, line and remedy on stderr; no run folder."""
    path = write(**fields)
    result = sflsim(command, path, *(TIMED if command == "run" else ()))
    assert result.exit_code == 2
    assert f"good.yaml:{line_of(path, place)} " in result.stderr
    assert words in result.stderr
    assert "nothing was run" in result.stderr
    assert "Traceback" not in result.output
    assert [one.name for one in Path().iterdir()] == ["good.yaml"]


@pytest.mark.parametrize("text", ["# empty\n", "a: [", "just text", "a: &a [*a]\n", "\x07"])
def test_no_scenario(text: str) -> None:
    """A file that is no scenario is refused as one; so is one that is not there."""
    for path in (write(text=text), Path("missing.yaml")):
        result = run(path)
        assert (result.exit_code, f"{path}" in result.stderr) == (2, True)
    assert [one.name for one in Path().iterdir()] == ["good.yaml"]


def test_too_few_samples_for_the_clients() -> None:
    """What only the data shows to be impossible has line and remedy too, before anything is run."""
    path = write(fleet={"clients": 5000, "participants": 2, "groups": [{"device": "jetson-nano"}]})
    result = run(path)
    assert result.exit_code == 2
    assert f"good.yaml:{line_of(path, 'clients: 5000')}  fleet.clients" in result.stderr
    assert not Path("runs").exists()


def test_validate_reports_every_file() -> None:
    """Good ones are named on stdout, the mistakes of all bad ones on stderr; code 2 if there is one."""
    good, bad = write(), write("bad.yaml", stop={"rounds": 0})
    assert sflsim("validate", good).exit_code == 0
    result = sflsim("validate", bad, good, "none.yaml")
    assert result.exit_code == 2
    assert "good.yaml: ok, 3 variants x 1 seed" in result.stdout
    assert f"bad.yaml:{line_of(bad, 'rounds: 0')}  stop.rounds" in result.stderr
    assert "none.yaml" in result.stderr


def test_schema_is_json_schema() -> None:
    """`sflsim schema` prints JSON with the scenario's keys."""
    result = sflsim("schema")
    assert result.exit_code == 0
    assert {"workload", "fleet", "variants", "stop"} < set(json.loads(result.stdout)["properties"])


def test_set_overrides() -> None:
    """--set changes any field, and the saved scenario has it; a path that is none is refused."""
    result = run(
        write(variants=VARIANTS[:1]), *TIMED, "--set", "stop.rounds=3", "--set", "variants[0].name=first"
    )
    assert result.exit_code == 0, result.output
    saved = Run.load("out")
    assert saved.scenario.stop.rounds == 3
    assert (saved.runs["rounds"] == 3).all()
    assert saved.runs["variant"].iloc[0] == "first"
    wrong = run(Path("good.yaml"), "--timing-only", "--out", "other", "--set", "stop.round=3")
    assert (wrong.exit_code, "did you mean 'rounds'?" in wrong.stderr) == (2, True)
    assert not Path("other").exists()


def test_out_overwrites_nothing() -> None:
    """A folder with something in it, or a file, is refused; without --out a free name is found."""
    path = write(variants=VARIANTS[:1])
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/mine").write_text("mine")
    for place in ("file", "full"):
        result = run(path, "--timing-only", "--out", place)
        assert (result.exit_code, "exists already" in result.stderr) == (2, True)
    assert Path("full/mine").read_text() == "mine"
    for place in ("runs/test", "runs/test-2"):
        assert place in run(path, "--timing-only").stdout
    assert {one.name for one in Path("runs").iterdir()} == {"test", "test-2"}


def test_other_wrong_arguments() -> None:
    """An unknown device to compute on, no workers, an unknown command: code 2."""
    path = write()
    assert "allowed: cpu, cuda, cuda:N" in run(path, "--device", "tpu").stderr
    for arguments in (("run", path, "--device", "tpu"), ("run", path, "--workers", 0), ("rum", path)):
        assert sflsim(*arguments).exit_code == 2
    assert not Path("runs").exists()


def test_divergence_ends_its_variant_alone() -> None:
    """Weights beyond floats: status "diverged" and the round in table, summary and run.json; others go on."""
    wild = {"lr": 1e6}
    variants = [
        {"algorithm": "splitfed-v1", "client_optimizer": wild, "server_optimizer": wild},
        {"algorithm": "splitfed-v2", "client_optimizer": wild, "server_optimizer": wild},
        {"algorithm": "mu-splitfed", "eta_s": 1e6, "eta_c": 1e6},
        {"algorithm": "mu-splitfed", "name": "tame"},
    ]
    settings = {"variants": variants, "stop": {"rounds": 8}, "evaluate": {"every": "4 rounds"}}
    result = run(write(**settings), "--out", "out")
    assert result.exit_code == 0, result.output
    assert "splitfed-v1 (diverged)" in result.stdout
    assert "tame (" not in result.stdout
    manifest = json.loads(Path("out/run.json").read_text())
    assert manifest["status"] == "completed"
    rows = {row["variant"]: (row["status"], row["reason"]) for row in manifest["runs"]}
    assert rows.pop("tame") == ("completed", "rounds")
    assert all(status == "diverged" for status, _ in rows.values())
    found = {name: re.fullmatch(r"in round (\d+); (.*)", reason) for name, (_, reason) in rows.items()}
    assert all(match and 1 <= int(match[1]) <= 4 for match in found.values())
    assert "eta_g" in rows["mu-splitfed"][1]
    assert "lr" in rows["splitfed-v1"][1]
    told = [line for line in result.stdout.splitlines() if "diverged in round" in line]
    assert told == [f"{name} seed 0 diverged {reason}" for name, (_, reason) in rows.items()]
    saved = Run.load("out")
    assert saved.summary().set_index("variant")["status"].to_dict() == {
        **dict.fromkeys(rows, "diverged"), "tame": "completed",
    }  # fmt: skip
    assert saved.evaluations["loss"].notna().all()
    page = run_report({name: getattr(saved, name) for name in ("evaluations", "runs")}, name="x")
    assert all(line.replace("<", "&lt;") in page for line in told)
    accuracies = saved.summary().set_index("variant")["accuracy_mean"]
    assert accuracies[[*rows]].isna().all()
    assert accuracies.notna()["tame"]


def test_a_loss_that_blows_up_has_diverged() -> None:
    """With eta_g 30 the loss grows a thousandfold and more while every number is finite."""
    variants = [{"algorithm": "mu-splitfed", "tau": 8, "eta_g": 30.0}]
    path = write(variants=variants, stop={"rounds": 40}, evaluate={"every": "5 rounds"})
    result = run(path, "--out", "out")
    assert result.exit_code == 1, result.output
    saved = Run.load("out")
    assert saved.runs["status"].to_list() == ["diverged"]
    losses = saved.evaluations["loss"]
    assert losses.notna().all()
    assert losses.max() < 1000 * losses.iloc[0]


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_command_all_of_whose_runs_diverged_exits_with_1(command: str) -> None:
    """The tables are written nonetheless; a sweep's have no accuracy of such a run."""
    variants = [{"algorithm": "mu-splitfed", "eta_s": 1e6, "eta_c": 1e6}]
    path = write(variants=variants, stop={"rounds": 2}, evaluate={"every": "2 rounds"})
    over = ["--over", "variants[0].eta_s=1e6,9e5"] if command == "sweep" else []
    result = sflsim(command, path, *over, "--out", "out", "--workers", 1)
    assert result.exit_code == 1, result.output
    if command == "sweep":
        table = pd.read_csv("out/sweep.csv")
        assert table["accuracy"].isna().all()
        assert table["reason"].str.match(r"in round \d+; ").all()
    else:
        assert set(Run.load("out").runs["status"]) == {"diverged"}


TALKATIVE = "import sflsim.terminal.progress as p; p.LINE_EVERY_S = 0.0; from sflsim.cli import main; main()"


@pytest.mark.parametrize(("workers", "everyone"), [pytest.param(1, False, marks=pytest.mark.slow), (2, True)])
def test_interrupt_leaves_a_readable_folder(workers: int, everyone: bool) -> None:
    """Ctrl-C amid the training: code 1, status "interrupted", and all that was simulated so far.

    A terminal sends it to every process of the group, workers included.
    """
    variants = [
        {"algorithm": "splitfed-v1", "local_iterations": 40},
        {"algorithm": "mu-splitfed", "tau": 40},
    ]
    path = write(variants=variants, stop={"rounds": 1_000_000})
    command = [sys.executable, "-c", TALKATIVE, "run", str(path), "--out", "out"]
    command += ["--workers", str(workers)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # the background ignores it
    )
    try:
        assert process.stderr is not None
        under_way: set[str] = set()
        for line in process.stderr:
            if ": round " in line and ": round 0," not in line:
                under_way.add(line.partition("] ")[2].partition(":")[0])
            if len(under_way) == workers:
                break
        time.sleep(0.2)
        if everyone:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "interrupted; written to out" in out
    assert "Traceback" not in errors
    saved = Run.load("out")
    assert saved.status == "interrupted"
    assert set(saved.runs["status"]) == {"interrupted"}
    assert len(saved.runs) == workers
    for _, row in saved.runs.iterrows():
        own = saved.evaluations[saved.evaluations["variant"] == row["variant"]]
        assert own["round"].iloc[-1] in (row["rounds"], row["rounds"] - 1)
        assert own["round"].iloc[-1] > 0
    assert not saved.spans.empty
    assert (Path("out/plots") / "accuracy_time.png").exists()
    assert sflsim("summary", "out").exit_code == 0


@pytest.mark.parametrize("command", ["run", "sweep", "plan"])
@pytest.mark.parametrize(
    "write_number", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 6))]
)
def test_a_folder_that_a_kill_left_half_written_is_used_again(
    command: str, write_number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any file, there is no folder; the same command with the same --out then makes it."""
    plan = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    scenario = write(sweep={"server.slots": [1, 2]}, plan=plan)
    folder = tmp_path / "out"
    moves, calls = {"replace": os.replace, "rename": os.rename}, itertools.count(1)

    def killed(name: str, source: Any, target: Any) -> None:
        if Path(target).is_relative_to(tmp_path) and next(calls) == write_number:
            raise KeyboardInterrupt  # what follows in `save` does not happen
        moves[name](source, target)

    quick = [] if command == "plan" else ["--timing-only", "--workers", 1]
    arguments = [command, scenario, "--out", folder, *quick]
    with monkeypatch.context() as patched:
        for name in moves:
            patched.setattr(os, name, partial(killed, name))
        patched.setattr(folders.shutil, "rmtree", lambda *_, **__: None)
        first = sflsim(*arguments)
    assert first.exit_code == 1
    assert not folder.exists()
    assert list(tmp_path.glob(".out.*.part"))
    again = sflsim(*arguments)
    assert again.exit_code == 0, again.output
    assert (folder / f"{command}.json").is_file()
    assert not [*folder.glob(".*"), *tmp_path.glob(".*")]


def test_an_unfinished_folder_of_an_earlier_version_is_used_again(tmp_path: Path) -> None:
    """Its files, none of them a manifest, and halves of files are replaced; a mount is written in place."""
    folder = tmp_path / "out"
    folder.mkdir()
    before = folder.stat().st_ino
    for name in (".scenario.yaml.abc", "scenario.yaml", ".0123abcd.part"):
        (folder / name).write_text("half a file, as a kill leaves it")
    result = run(write(variants=VARIANTS[:1]), "--timing-only", "--out", folder)
    assert result.exit_code == 0, result.output
    assert Run.load(folder).status == "completed"
    assert folder.stat().st_ino == before
    assert not [*folder.glob(".*"), *tmp_path.glob(".*")]
