"""No run is lost: what cannot be printed or drawn, names of any kind, two at once, killed ones.

Real processes, as a shell starts them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from support import data
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app
from sflsim.errors import SflsimWarning
from sflsim.experiment.run import Run
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep

NAMES = ["a[/b]", "[v2] ours", ":smile:", "$x$ \\frac$", "naïve 😀 名", "<b>bold</b> & *so*"]
RUN = ["run", "q.yaml", "--timing-only", "--no-plots", "--workers", "1"]
MAIN = [sys.executable, "-m", "sflsim"]
HELD = """
import functools, sys
import sflsim.experiment.simulate as experiment
import sflsim.planner.plan as planner
import sflsim.sweeps.sweep as sweeps
from sflsim.cli import main
def held(compute, *arguments, **options):
    print("HELD", file=sys.stderr, flush=True)
    sys.stdin.readline()
    return compute(*arguments, **options)
for module, name in ((experiment, "simulate"), (sweeps, "sweep"), (planner, "plan")):
    setattr(module, name, functools.partial(held, getattr(module, name)))
main()
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(sflsim.__file__).parents[1]))
    monkeypatch.delenv("COLUMNS", raising=False)


def write(names: Sequence[str] = NAMES[:1], **fields: Any) -> str:
    variants = [{"algorithm": "splitfed-v1", "name": name} for name in names]
    plan = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    settings = {"name": "q", "variants": variants, "stop": {"rounds": 2}, "plan": plan, **fields}
    Path("q.yaml").write_text(yaml.safe_dump(data(**settings), allow_unicode=True), encoding="utf-8")
    return "q.yaml"


def arguments(command: str) -> list[str]:
    quick = [] if command == "plan" else ["--timing-only", "--workers", "1"]
    over = ["--over", "server.slots=1,2"] if command == "sweep" else []
    return [*MAIN, command, write(), "--out", "out", *quick, *over]


def names_in(command: str) -> set[str]:
    """Return the names of the variants in the tables of the folder that a command has written."""
    if command == "run":
        run = Run.load("out")
        assert set(run.spans["variant"]) == set(run.clients["variant"]) == set(run.runs["variant"])
        return set(run.runs["variant"])
    return set(
        Sweep.load("out").table["variant"] if command == "sweep" else Plan.load("out").points["variant"]
    )


def called(command: list[str], stdout: Any, **options: Any) -> tuple[int, str]:
    """Return exit code and stderr of a process."""
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=120, check=False, **options)
    return done.returncode, done.stderr.decode("utf-8", "replace")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("command", ["run", "sweep", "plan"])
def test_a_full_stdout(command: str) -> None:
    """All is saved, names as they were written; code 3, and one line says why."""
    with open("/dev/full", "w") as full:
        code, told = called(arguments(command), full)
    assert (code, "standard output cannot be written (No space left on device)" in told) == (3, True), told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert names_in(command) == set(NAMES[:1])


@pytest.mark.parametrize(("closed", "expected"), [("by its reader", 0), ("from the start", 3)])
def test_a_closed_stdout(closed: str, expected: int) -> None:
    """`| head -0` is no failure, and nothing is said of it; `>&-` is one."""
    if closed == "from the start":
        code, told = called(["sh", "-c", 'exec "$@" >&-', "sh", *arguments("run")], None)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        code, told = called(arguments("run"), writer)
        os.close(writer)
    assert (code, "cannot be written" in told) == (expected, expected == 3), told
    assert "Traceback" not in told
    assert names_in("run") == set(NAMES[:1])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_stderr() -> None:
    """Neither progress nor a note that cannot be printed ends a run."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(arguments("run"), stdout=subprocess.PIPE, stderr=full, timeout=120, check=False)
    assert (done.returncode, b"written to out" in done.stdout) == (0, True)
    assert names_in("run") == set(NAMES[:1])


def test_a_stdout_of_another_encoding() -> None:
    """What it lacks is printed as an escape; all else is printed as it is written, and nothing is markup."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    write(NAMES)
    done = subprocess.run(
        [*MAIN, *RUN, "--out", "out"], capture_output=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    shown = [name.encode("ascii", "backslashreplace").decode() for name in NAMES]
    words = {word for name in shown for word in name.split()}
    assert not {word for word in words if word not in done.stdout.decode("ascii")}
    assert names_in("run") == set(NAMES)


def test_pictures_of_any_name(recwarn: pytest.WarningsRecorder) -> None:
    """All are drawn as text: no mathematics, no warning of a sign that the font lacks."""
    write(NAMES)
    result = CliRunner().invoke(app, ["run", "q.yaml", "--workers", "1", "--out", "out"])
    assert result.exit_code == 0, result.output
    assert len(list(Path("out/plots").glob("gantt_*.png"))) == len(NAMES)
    assert not {word for name in NAMES for word in name.split() if word not in result.stdout}
    assert not [str(one.message) for one in recwarn if "Glyph" in str(one.message)]


def test_a_picture_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is whole, the other pictures are there; code 3, and the line says which; Python warns."""

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no axis")

    monkeypatch.setattr("sflsim.report.plots.gantt_figure", broken)
    write()
    result = CliRunner().invoke(app, ["run", "q.yaml", "--timing-only", "--workers", "1", "--out", "out"])
    assert result.exit_code == 3
    assert "gantt_a-b.png: cannot be drawn (ZeroDivisionError: no axis)" in result.stderr
    assert "completed; written to out" in result.stdout
    assert [path.name for path in Path("out/plots").iterdir()] == ["where_time_goes.png"]
    assert Path("out/trace.json").exists()
    run = Run.load("out")
    with pytest.warns(SflsimWarning, match="cannot be drawn"):
        run.save("again")
    assert Run.load("again").spans.equals(run.spans)
    shown = CliRunner().invoke(app, ["plot", "out"])
    assert (shown.exit_code, "cannot be drawn" in shown.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (r'"a\ud800"', "a lone surrogate), U+D800"),
        (r'"a\e[31mb"', "a control character, U+001B"),
        (r'"a\x9b31mb"', "a control character, U+009B"),
        (r'"a\0b"', "a control character, U+0000"),
        (r'"a\nb"', "text in one line"),
        (r'"a\Nb"', "text in one line"),
        (r'"a\Lb"', "text in one line"),
    ],
)
def test_what_is_no_name_is_refused_with_its_line(name: str, words: str) -> None:
    """At the door; the same after --set."""
    text = Path(write()).read_text(encoding="utf-8").replace("name: a[/b]", f"name: {name}")
    Path("q.yaml").write_text(text, encoding="utf-8")
    line = next(number for number, row in enumerate(text.splitlines(), 1) if f"name: {name}" in row)
    result = CliRunner().invoke(app, ["run", "q.yaml"])
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert f"q.yaml:{line}  variants[0].name" in result.stderr
    result = CliRunner().invoke(app, ["run", write(), "--set", f"variants[0].name={name}"])
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize("sign", ["\ud800", "\x1b", "\ufffe"])
def test_a_sign_that_no_text_holds_is_refused_with_its_line(sign: str) -> None:
    """As it stands, in a text from Python."""
    with pytest.raises(sflsim.ScenarioError, match=r"it\.yaml:2") as caught:
        sflsim.parse_scenario(f"name: a\ndescription: b{sign}c\n", "it.yaml")
    assert f"U+{ord(sign):04X}" in str(caught.value)


def test_a_strangers_folder_tells_the_terminal_nothing() -> None:
    """Names that a program has put into its tables are shown with their signs as text."""
    write()
    assert CliRunner().invoke(app, ["run", "q.yaml", "--timing-only", "--out", "out"]).exit_code == 0
    manifest = Path("out/run.json").read_text(encoding="utf-8")
    Path("out/run.json").write_text(manifest.replace("a[/b]", "a\\u001b[31m\\u009b"), encoding="utf-8")
    result = CliRunner().invoke(app, ["summary", "out"])
    assert (result.exit_code, "a\\x1b" in result.stdout) == (0, True)
    assert not {"\x1b", "\x9b"} & set(result.stdout)


# Two at once.


@pytest.fixture
def held() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def hold(
    processes: list[subprocess.Popen[str]], *options: str, command: str = "run"
) -> subprocess.Popen[str]:
    """Start a command and return it when it has claimed its folder and waits to compute."""
    quick = {"run": ["--timing-only", "--no-plots"], "sweep": ["--timing-only"], "plan": []}[command]
    arguments = [sys.executable, "-c", HELD, command, "q.yaml", "--workers", "1", *quick, *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    processes.append(process)
    assert process.stderr is not None
    assert any(line == "HELD\n" for line in process.stderr)
    return process


def test_default_names_of_three_at_once(held: list[subprocess.Popen[str]]) -> None:
    """runs/q, runs/q-2, runs/q-3, each with its own seed; nothing else is left."""
    write()
    runs = [hold(held, "--set", f"seeds=[{seed}]") for seed in range(3)]
    assert not [path for path in Path("runs").iterdir() if not path.name.startswith(".")]
    for seed, process in reversed(list(enumerate(runs))):
        out, told = process.communicate("\n", timeout=120)
        place = "runs/q" if seed == 0 else f"runs/q-{seed + 1}"
        assert (process.returncode, f"written to {place}\n" in out) == (0, True), told
        assert set(Run.load(place).spans["seed"]) == {seed}
    assert {path.name for path in Path("runs").iterdir()} == {"q", "q-2", "q-3"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "load"), [("sweep", Sweep.load), ("plan", Plan.load)])
def test_default_names_of_sweeps_and_plans_at_once(
    command: str, load: Any, held: list[subprocess.Popen[str]]
) -> None:
    """runs/q-sweep and runs/q-sweep-2, beside a run that is under way; whoever ends first."""
    write(sweep={"server.slots": [1, 2]})
    other = hold(held)
    both = [hold(held, "--set", f"seeds=[{seed}]", command=command) for seed in range(2)]
    for seed, process in reversed(list(enumerate(both))):
        out, told = process.communicate("\n", timeout=120)
        place = f"runs/q-{command}{'-2' if seed else ''}"
        assert (process.returncode, f"written to {place}\n" in out) == (0, True), told
        assert load(place).scenario.seeds == [seed]
    other.communicate("\n", timeout=120)
    found = {path.name for path in Path("runs").iterdir()}
    assert found == {"q", f"q-{command}", f"q-{command}-2"}


def test_the_same_out_twice(held: list[subprocess.Popen[str]]) -> None:
    """The second is refused before it computes anything; the first does not notice."""
    write()
    first = hold(held, "--out", "out")
    for command in ("run", "sweep", "plan"):
        second = CliRunner().invoke(app, arguments(command)[len(MAIN) :])
        words = "--out out: another process is making it at this moment"
        assert (second.exit_code, words in second.stderr) == (2, True), second.output
    first.communicate("\n", timeout=120)
    assert (first.returncode, names_in("run")) == (0, set(NAMES[:1]))
    assert not list(Path().glob(".*"))


def test_a_killed_run_claims_nothing(held: list[subprocess.Popen[str]]) -> None:
    """The same command with the same --out goes on, and what was half written is gone."""
    write()
    first = hold(held, "--out", "out")
    Path(".out.0123abcd.part").mkdir()
    Path(".out.0123abcd.part/spans.parquet").write_bytes(b"half")
    Path(".out.x.0123abcd.part").mkdir()  # of the folder out.x
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=60)
    second = hold(held, "--out", "out")
    second.communicate("\n", timeout=120)
    assert (second.returncode, names_in("run")) == (0, set(NAMES[:1]))
    assert [path.name for path in Path().glob(".*")] == [".out.x.0123abcd.part"]


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file where a folder should be, a name that is too long."""
    write()
    Path("file").touch()
    monkeypatch.setattr(
        "sflsim.experiment.simulate.simulate", lambda *_, **__: pytest.fail("it was simulated")
    )
    for place in ("file/out", "a" * 300):
        result = CliRunner().invoke(app, ["run", "q.yaml", "--timing-only", "--out", place])
        assert (result.exit_code, "cannot be written" in result.stderr) == (2, True), result.output


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("pairs", [2, pytest.param(150, marks=pytest.mark.slow)])
def test_pairs_at_once(pairs: int) -> None:
    """Of a pair with one --out one is saved and one refused; of one with default names both are saved.

    What is saved is one run's from its first file to its last.
    """
    write()
    script = Path(__file__).with_name("two_at_once.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(script)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(pairs):
            with_name = ["--out", f"same/{number}"] if number % 2 else []
            pair = [
                [
                    *RUN,
                    "--no-cache",
                    *with_name,
                    "--set",
                    f"seeds=[{2 * number + one}]",
                    "--set",
                    f"name=p{number}",
                ]
                for one in range(2)
            ]
            print(json.dumps(pair), file=process.stdin, flush=True)
            codes, told = json.loads(process.stdout.readline())
            places = (
                [Path(f"same/{number}")]
                if number % 2
                else [Path(f"runs/p{number}"), Path(f"runs/p{number}-2")]
            )
            assert sorted(codes) == ([0, 2] if number % 2 else [0, 0]), told
            seeds = [seed_of(place) for place in places]
            winners = {2 * number + one for one in range(2) if codes[one] == 0}
            assert (len(set(seeds)), set(seeds)) == (len(places), winners)
        process.stdin.close()
    assert not [path for folder in ("runs", "same") for path in Path(folder).glob(".*")]


def seed_of(place: Path) -> int:
    """Return the one seed that all files of a run folder are of."""
    run = Run.load(place)
    (seed,) = {*run.spans["seed"], *run.clients["seed"], *run.evaluations["seed"], *run.runs["seed"]}
    assert run.scenario.seeds == [seed]
    assert f"seeds=[{seed}]" in run.manifest["provenance"]["command"]
    with suppress(FileNotFoundError):
        assert json.loads((place / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    return int(seed)


def test_saved_again_from_python() -> None:
    """A run replaces the one before it in its folder, and other files there stay."""
    write()
    runs = [
        sflsim.simulate(sflsim.load_scenario("q.yaml", [f"seeds=[{seed}]"]), timing_only=True)
        for seed in (1, 2)
    ]
    for run, seed in zip(runs, (1, 2), strict=True):
        run.save("out/deep", plots=False)
        Path("out/deep/notes.txt").touch()
        assert set(Run.load("out/deep").spans["seed"]) == {seed}
    assert Path("out/deep/notes.txt").exists()
    assert not [*Path("out").glob(".*"), *Path("out/deep").glob(".*")]
    pd.testing.assert_frame_equal(Run.load("out/deep").runs, runs[1].runs)
