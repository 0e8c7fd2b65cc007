"""What the README says can be done is done here: its snippets run, its scenario loads, its commands exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sflsim
from sflsim import registry
from sflsim.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the sflsim commands of the README, their comments and environment left out."""
    lines = [
        line for block in blocks("") for line in block.splitlines() if line.startswith(".venv/bin/sflsim ")
    ]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def at_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a clone: the scenarios are there, runs/ is not."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tour_in_python_runs(at_root: Path) -> None:
    """The five-minute tour makes the run folder and the pictures that it promises."""
    tour = next(block for block in blocks("python") if "load_scenario" in block)
    exec(compile(tour, "README.md", "exec", dont_inherit=True), {})
    assert sflsim.Run.load(at_root / "runs/tour").status == "completed"
    assert (at_root / "plots/accuracy_time.png").stat().st_size > 10_000


def test_the_scenario_loads() -> None:
    """The example scenario is valid and expands as its comments say."""
    (text,) = [block for block in blocks("yaml") if "fleet:" in block]
    names = [variant.name for variant in sflsim.parse_scenario(text).variants]
    assert names == ["splitfed-v1", "mu-splitfed tau=1", "mu-splitfed tau=4", "mu-splitfed tau=adaptive"]


def test_the_added_algorithm_learns(at_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The algorithm that the README adds runs beside the one it is made from, and gains from momentum."""
    source = at_root / "momentum.py"
    source.write_text(next(block for block in blocks("python") if "register_algorithm" in block))
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.syspath_prepend(at_root)
    importlib.import_module("momentum")
    scenario = sflsim.load_scenario(
        "scenarios/quickstart.yaml",
        ["variants=[splitfed-v1, splitfed-momentum]", "stop.rounds=30", "seeds=[0]"],
    )
    accuracy = sflsim.simulate(scenario).summary().set_index("variant")["accuracy_mean"]
    assert accuracy["splitfed-momentum"] > accuracy["splitfed-v1"] > 0.2


def test_every_command_runs(at_root: Path) -> None:
    """Every sflsim command of the README works, in the order of the README; what is long is shortened."""
    short = {
        "run": ["--set", "stop.rounds=4", "--set", "seeds=[0]", "--workers", "1"],
        "calibrate": ["--repeat", "3", "--rest", "0"],
    }
    for arguments in commands():
        expanded = [part for argument in arguments for part in sorted(map(str, _glob(argument)))]
        with pytest.MonkeyPatch.context() as patch:
            if arguments[0] == "run":  # that it draws, the tour shows; `plot` draws the same here
                patch.setattr("sflsim.report.plots.plot_all", lambda *_: [])
            result = CliRunner().invoke(app, expanded + short.get(arguments[0], []))
        assert result.exit_code == 0, (arguments, result.output)


def _glob(argument: str) -> list[str | Path]:
    return list(Path().glob(argument)) if "*" in argument else [argument]


def test_the_two_command_lines_are_marked() -> None:
    """CI reads the test command from the README, so its marker and that of the main job must stand."""
    for marker, ending in (("main job", "sflsim run scenarios/quickstart.yaml"), ("test command", "/pytest")):
        (line,) = re.findall(rf"^<!-- {marker} -->\n```\n(.*)\n```", README, flags=re.MULTILINE)
        assert line.startswith("python3 -m venv .venv && ")
        assert line.endswith(ending)
