"""What notebooks show: results as cards, bars that a step replaces, and the notebook of the tutorial."""

from __future__ import annotations

import base64
import re
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from support import data, read

import sflsim
from sflsim.experiment.simulate import Progress
from sflsim.planner.progress import PlanProgress
from sflsim.sweeps.sweep import SweepProgress
from sflsim.terminal import notebook
from sflsim.terminal import progress as terminal
from sflsim.terminal.progress import show_progress

MARKUP = "<script>alert(1)</script> & 'x'"


class Cells(HTMLParser):
    """The texts of the cells of a table, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self._inside = tag in ("td", "th")
        if self._inside:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def shown(result: sflsim.Run | sflsim.Sweep | sflsim.Plan) -> Cells:
    """Return what IPython would show of a result."""
    return Cells(result._repr_html_())


def test_a_run_shows_its_summary_and_its_curves() -> None:
    """Names are texts, whatever they say; the picture is a PNG within the page."""
    variants = [{"algorithm": "splitfed-v1", "name": MARKUP}, {"algorithm": "splitfed-v2"}]
    run = sflsim.simulate(read(data(variants=variants, seeds=[0, 1], target_accuracy="5%")))
    found = shown(run)
    assert MARKUP in found.cells
    assert "splitfed-v2" in found.cells
    assert "script" not in found.tags
    times = run.summary()["time_s"]
    assert f"{times[1]:.3g}" in [cell.rstrip("~") for cell in found.cells]
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', run._repr_html_())
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_a_run_without_learning_has_no_picture() -> None:
    run = sflsim.simulate(read(data()), timing_only=True, keep_spans=False)
    assert "img" not in shown(run).tags
    assert "splitfed-v1" in shown(run).cells


def test_a_sweep_shows_its_first_rows() -> None:
    sweep = sflsim.sweep(read(data()), {"server.slots": list(range(1, 31))}, timing_only=True)
    found = shown(sweep)
    assert found.cells.count("splitfed-v1") == 20
    assert found.cells[:3] == ["point", "server.slots", "variant"]


@pytest.mark.parametrize("feasible", [True, False])
def test_a_plan_shows_its_answer(feasible: bool) -> None:
    """The explanation, and the front where there is one."""
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time"]}
    limit = {} if feasible else {"constraints": {"deadline": "1 ms"}}
    plan = sflsim.plan(read(data(plan={**block, **limit})))
    text = plan._repr_html_()
    assert next(line for line in plan.explanation.splitlines() if line.strip())[:20] in text
    assert ("table" in Cells(text).tags) == (not plan.pareto.empty) == feasible


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A notebook: what each of its outputs has shown, one after another."""
    kept: list[list[str]] = []

    def display(first: str, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        kept.append([first])
        return SimpleNamespace(update=kept[-1].append)

    module = ModuleType("IPython.display")
    vars(module).update(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(terminal, "Console", partial(Console, force_jupyter=True))
    return kept


def test_bars_move_in_one_output(outputs: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step replaces the last; at the end the runs that have ended are gone and the whole is full."""
    monkeypatch.setattr(notebook, "EVERY_S", 0.0)
    with show_progress() as progress:
        sflsim.simulate(
            read(data(variants=[{"algorithm": "splitfed-v1", "name": MARKUP}])), progress=progress
        )
    (output,) = outputs
    assert len(output) > 2
    values = [float(value) for value in re.findall(r'value="([\d.]+)"', output[-1])]
    assert values == [1.0]
    assert "1 of 1 run done" in output[-1]
    assert not any("<script>" in text for text in output)


def test_one_block_shows_several_commands(outputs: list[list[str]]) -> None:
    """A run, then a sweep, then a plan: an output for each, its last step shown."""
    run = Progress("v", 0, "completed", 3, 1.0, 0.5, 1.0, 1, 1, 0.1)
    sweep = SweepProgress(
        points=4, points_done=1, runs=4, runs_done=1, broken=0, trainings=1, shared=0, left_s=3.0, workers=1,
        workers_lost=0,
    )  # fmt: skip
    with show_progress() as progress:
        for step in (run, sweep, PlanProgress("points timed", 1, 2), PlanProgress("points timed", 2, 2)):
            progress(step)
    last = [output[-1] for output in outputs]
    assert [re.findall(r'value="([\d.]+)"', text) for text in last] == [["1.0000"], ["0.2500"], ["1.0000"]]
    assert "points timed: 2 / 2" in last[-1]


def test_elsewhere_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as progress:
        sflsim.simulate(read(data()), progress=progress)
    assert "splitfed-v1 seed 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of its own executes each cell; results show tables and pictures, commands show bars."""
    nbformat = pytest.importorskip("nbformat", reason="extra 'test': nbclient and ipykernel")
    client = pytest.importorskip("nbclient", reason="extra 'test': nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="extra 'test': nbclient and ipykernel")
    root = Path(sflsim.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", str(root))
    book = nbformat.read(root / "docs" / "tutorial" / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells)
    client.NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    html = [
        "".join(one["data"].get("text/html", "") for one in cell.get("outputs", []) if "data" in one)
        for cell in book.cells
    ]
    of_run, of_sweep = (
        next(place for place, cell in enumerate(book.cells) if cell["source"].endswith(f"\n{name}"))
        for name in ("run", "sweep")
    )
    assert "<progress" in html[of_run]
    assert "data:image/png" in html[of_run]
    assert html[of_sweep].count("<tr>") > 2 * 2 * 3
    assert (tmp_path / "runs" / "notebook" / "run.json").exists()
    assert len(pd.read_csv(tmp_path / "tables" / "summary.csv")) == 3
