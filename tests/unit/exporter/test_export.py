"""`sflsim export`: what it writes is opened by the tools themselves, and says what the tables say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from support import data, read
from typer.testing import CliRunner, Result

import sflsim
from sflsim.cli import app
from sflsim.errors import RunError, SflsimError
from sflsim.experiment.run import Run
from sflsim.exporter.latex import draw, latex_table, page_of
from sflsim.planner.plan import Plan
from sflsim.report.style import PAGE, save_figure
from sflsim.report.summary_text import summary_columns
from sflsim.sweeps.sweep import Sweep

LATEX = r"a_b & 50% #1 $x$ {y} \input{z} ~^"
"""A name that is full of LaTeX's commands."""
VARIANTS = [
    {"algorithm": "splitfed-v1", "name": LATEX},
    {"algorithm": "mu-splitfed", "tau": 2, "name": "=2+3, mu"},
]
COUNTED = ["accuracy", "loss", "uplink_bytes", "energy_j"]


@pytest.fixture(scope="module")
def run() -> Run:
    fields = {"variants": VARIANTS, "stop": {"rounds": 3}, "seeds": [0, 1], "target_accuracy": "9%"}
    return sflsim.simulate(read(data(**fields)))


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.save(tmp_path_factory.mktemp("run") / "mine", plots=False)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    over = {"server.compute": ["4 FLOP/s", "8 FLOP/s"], "variants[mu].tau": [1, 2]}
    variants = ["splitfed-v1", {"algorithm": "mu-splitfed", "name": "mu"}]
    return sflsim.sweep(read(data(variants=variants)), over, timing_only=True)


@pytest.fixture(scope="module")
def plan() -> Plan:
    block = {"decisions": {"server.slots": [1, 2]}, "objectives": ["time", "bytes"]}
    return sflsim.plan(read(data(stop={"rounds": 2}, plan=block)))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], env={"COLUMNS": "200"})


def evaluations(run: Run, variant: str, seed: int) -> pd.DataFrame:
    rows = run.evaluations
    return rows[(rows["variant"] == variant) & (rows["seed"] == seed)]


def test_csv_is_read_by_pandas_to_the_last_bit(run: Run, folder: Path) -> None:
    """Every table is there, in its order; what a spreadsheet would compute begins with an apostrophe."""
    result = call(folder, "--to", "csv")
    assert result.exit_code == 0, result.output
    for name in ("runs", "evaluations", "clients", "spans", "link_throughput"):
        found = pd.read_csv(folder / "csv" / f"{name}.csv", keep_default_na=False)
        expected = getattr(run, name).replace({"variant": {"=2+3, mu": "'=2+3, mu"}})
        number = expected.select_dtypes("number").columns
        found[number] = found[number].replace("", float("nan")).astype(expected.dtypes[number].to_dict())
        pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
    assert len(pd.read_csv(folder / "csv" / "summary.csv")) == 2


def test_a_sweep_and_a_plan_have_their_own_tables(sweep: Sweep, plan: Plan, tmp_path: Path) -> None:
    paths = sflsim.export(sweep, "csv", tmp_path / "sweep")
    assert [path.name for path in paths] == ["summary.csv", "sweep.csv"]
    assert pd.read_csv(paths[1])["time_s"].tolist() == sweep.table["time_s"].tolist()
    paths = sflsim.export(plan, "csv", tmp_path / "plan")
    assert [path.name for path in paths] == ["points.csv", "sensitivity.csv"]
    assert pd.read_csv(paths[0])["time_s"].tolist() == plan.points["time_s"].tolist()


def cells_of(file: Path) -> list[list[str]]:
    """Return the cells of a tabular in the order of its rows; rules and comments are left out."""
    lines = [line.removesuffix(r" \\") for line in file.read_text("utf-8").splitlines() if line[-2:] == r"\\"]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def test_the_table_of_latex_is_that_of_the_terminal(run: Run, tmp_path: Path) -> None:
    """Booktabs' three rules, units in a line of their own, each name as text and not as a command."""
    summary = run.summary(0.5)
    text = latex_table(summary_columns(summary), 1, ["a note\nof two lines"])
    (file := tmp_path / "table.tex").write_text(text, encoding="utf-8")
    assert text.startswith("% a note\n% of two lines\n")
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    heads, units, first, second = cells_of(file)
    assert heads[:3] == ["variant", "final accuracy", r"seeds at 50\%"]
    assert units[1] == r"(\%)"
    assert [row[1] for row in (first, second)] == [
        f"{100 * mean:.1f} ±{100 * std:.1f}"
        for mean, std in zip(summary["accuracy_mean"], summary["accuracy_std"], strict=True)
    ]
    escapes = {r"\{": "{", r"\}": "}", r"\_": "_", r"\&": "&", r"\%": "%", r"\#": "#", r"\$": "$"}
    escapes |= {r"\textasciitilde ": "~", r"\textasciicircum": "^", r"\textbackslash ": "\\"}
    shown = first[0]
    assert not re.search(r"(?<!\\)[#$%&_{}~^]", shown)
    for written, meant in escapes.items():
        shown = shown.replace(written, meant)
    assert shown == LATEX


def test_plans_and_sweeps_have_a_table(
    plan: Plan, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The front of a plan, and the means of a sweep with its pictures."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    file, *pictures = sflsim.export(plan, "latex", tmp_path / "plan")
    assert len(cells_of(file)) == 2 + len(plan.pareto)
    assert [path.name for path in pictures] == ["front.pdf", "front.svg"]
    paths = sflsim.export(sweep, "latex", tmp_path / "sweep")
    assert len(cells_of(paths[0])) == 2 + len(sweep.summary())
    assert {path.name for path in paths[1:] if path.suffix == ".pdf"} == {
        "sweep_server.compute.pdf",
        "sweep_variants-mu-.tau.pdf",
    }


@pytest.mark.parametrize(("template", "width_in"), [("ieee", PAGE.column_in), ("icml", 3.25)])
def test_figures_have_the_width_of_a_column_and_hold_their_fonts(
    run: Run, tmp_path: Path, template: str, width_in: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PDF: fonts are embedded, as TrueType; SVG: letters are outlines. Without LaTeX there is no PGF."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    failures: list[str] = []
    paths, left_out = draw(list(run.pictures(page_of(template), 0.09))[:1], tmp_path, failures)
    assert [path.name for path in paths] == ["accuracy_time.pdf", "accuracy_time.svg"]
    assert (len(left_out), failures) == (1, [])
    pdf = paths[0].read_bytes()
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * width_in, abs=0.01)
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    svg = ElementTree.parse(paths[1]).getroot()
    assert float(svg.attrib["width"].removesuffix("pt")) == pytest.approx(72 * width_in, abs=0.01)
    kinds = {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert "path" in kinds
    assert "text" not in kinds


def test_equal_tables_give_equal_figures(run: Run, tmp_path: Path) -> None:
    _, draw_one = next(iter(run.pictures(PAGE)))
    figure = draw_one()
    for form in ("pdf", "svg"):
        first, again = (save_figure(figure, tmp_path / f"{one}.{form}", form) for one in "ab")
        assert first.read_bytes() == again.read_bytes()


PAPER = r"""
\documentclass[twocolumn]{article}
\usepackage{booktabs,pgf}
\usepackage[strings]{underscore}
\begin{document}
\begin{table*}\input{summary.tex}\end{table*}
\begin{figure}\input{accuracy_time.pgf}\end{figure}
\begin{figure}\input{where_time_goes.pgf}\end{figure}
\begin{figure}\input{time_to_accuracy.pgf}\end{figure}
\end{document}
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_makes_a_paper_of_it(run: Run, tmp_path: Path) -> None:
    """A document with the table and figures in PGF, whatever the names; none reads a file."""
    sflsim.export(run, "latex", tmp_path)
    (tmp_path / "paper.tex").write_text(PAPER, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 20_000
    for name in ("accuracy_time", "where_time_goes"):
        assert r"\textbackslash{}input\{z\}" in (tmp_path / f"{name}.pgf").read_text("utf-8")


def test_tensorboard_reads_simulated_time(run: Run, folder: Path, tmp_path: Path) -> None:
    """The event reader gives each evaluation's time, round and figures; a second export is refused."""
    pytest.importorskip("tensorboard", reason="extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    result = call(folder, "--to", "tensorboard", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "mine").iterdir())) == 4
    reader = EventAccumulator(str(tmp_path / "mine" / "2-3-mu-seed-1"))
    reader.Reload()
    rows = evaluations(run, "=2+3, mu", 1)
    for name in COUNTED:
        events = reader.Scalars(name)
        assert [event.wall_time for event in events] == rows["time_s"].tolist()
        assert [event.step for event in events] == rows["round"].tolist()
        assert [event.value for event in events] == rows[name].astype("float32").tolist()
    start = reader.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(start).session_start_info.hparams
    assert (settings["seed"].number_value, settings["variant"].string_value) == (1, "=2+3, mu")

    again = call(folder, "--to", "tensorboard", "--out", tmp_path)
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_trackers_take_sweeps_and_plans(sweep: Sweep, plan: Plan, tmp_path: Path) -> None:
    """A trial for each row of a sweep and each point of a plan."""
    pytest.importorskip("tensorboard", reason="extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (place,) = sflsim.export(sweep, "tensorboard", tmp_path, name="sweep")
    found = {}
    for trial in place.iterdir():
        reader = EventAccumulator(str(trial))
        reader.Reload()
        (event,) = reader.Scalars("time_s")
        found[trial.name] = event.value
    rows = sweep.table
    assert found == {
        f"point-{point}-{variant}-seed-{seed}": pytest.approx(time_s, rel=1e-6)
        for point, variant, seed, time_s in rows[["point", "variant", "seed", "time_s"]].itertuples(
            index=False
        )
    }
    (place,) = sflsim.export(plan, "tensorboard", tmp_path, name="plan")
    assert {one.name for one in place.iterdir()} == {f"point-{point}" for point in plan.points["point"]}


@pytest.mark.slow
def test_mlflow_reads_simulated_time(run: Run, sweep: Sweep, folder: Path, tmp_path: Path) -> None:
    """Its client gives each evaluation's time in ms, round and figures, to the last bit."""
    pytest.importorskip("mlflow", reason="extra 'mlflow' is not installed")
    from mlflow import MlflowClient

    result = call(folder, "--to", "mlflow", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 4
    one, rows = runs["=2+3, mu seed 1"], evaluations(run, "=2+3, mu", 1)
    assert one.data.params | {"variant": "=2+3, mu", "seed": "1"} == one.data.params
    for name in COUNTED:
        points = sorted(client.get_metric_history(one.info.run_id, name), key=lambda point: point.step)
        assert [point.value for point in points] == rows[name].tolist()
        assert [point.timestamp for point in points] == (1000 * rows["time_s"]).round().tolist()
        assert [point.step for point in points] == rows["round"].tolist()
    assert call(folder, "--to", "mlflow", "--out", tmp_path).exit_code == 2

    sflsim.export(sweep, "mlflow", tmp_path, name="sweep")  # beside the first, brackets in a setting's name
    other = client.get_experiment_by_name("sweep")
    assert other is not None
    points = client.search_runs([other.experiment_id])
    assert {one.data.params["variants_mu_.tau"] for one in points} == {"1", "2"}


READ_TRACKIO = """
import json, sys
import trackio
from trackio.sqlite_storage import SQLiteStorage
runs = list(trackio.Api().runs("mine"))
logs = {run.name: SQLiteStorage.get_logs("mine", run.name) for run in runs}
print("READ" + json.dumps({"logs": logs, "settings": {run.name: run.config for run in runs}}))
"""


@pytest.mark.slow
def test_trackio_reads_simulated_time(run: Run, folder: Path, tmp_path: Path) -> None:
    """trackio's own reader, in a process that has its folder, gives times, rounds and figures."""
    pytest.importorskip(
        "trackio", reason="extra 'trackio' is not installed (nor in `test`: it asks for an older pillow)"
    )
    command = [
        sys.executable,
        "-m",
        "sflsim",
        "export",
        str(folder),
        "--to",
        "trackio",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    environment = {"TRACKIO_DIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    read_back = subprocess.run(
        [sys.executable, "-c", READ_TRACKIO], capture_output=True, text=True, check=True, env=environment
    )
    found = json.loads(read_back.stdout.rpartition("READ")[2])
    assert found["settings"]["=2+3, mu seed 1"]["seed"] == 1
    logs, rows = found["logs"]["=2+3, mu seed 1"], evaluations(run, "=2+3, mu", 1)
    logs = [log for log in logs if "accuracy" in log]
    for name in COUNTED:
        assert [log[name] for log in logs] == rows[name].tolist()
    assert [log["step"] for log in logs] == rows["round"].tolist()
    times = pd.to_datetime([log["timestamp"] for log in logs], format="ISO8601", utc=True)
    seconds = (times - pd.Timestamp(0, tz="UTC")).total_seconds()
    assert seconds.tolist() == pytest.approx(rows["time_s"].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("tool", "library"),
    [
        ("tensorboard", "tensorboard"),
        ("mlflow", "mlflow"),
        ("mlflow", "sqlalchemy"),
        ("mlflow", "alembic"),
        ("trackio", "trackio"),
    ],
)
def test_a_library_that_is_absent_is_named(
    tool: str, library: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is the extra; nothing is written."""
    for name in [one for one in sys.modules if one.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setenv("TRACKIO_DIR", "")
    result = call(folder, "--to", tool, "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert f"sflsim[{tool}]" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--to", "excel"], "tensorboard"),
        (["--to", "CSV"], "csv, latex"),
        (["--to", ""], "latex"),
        (["--to", "latex", "--template", "nature"], "elsevier"),
        (["--to", "csv", "--template", "ieee"], "--to latex"),
        (["--to", "mlflow", "--target", "50%"], "leave it out"),
        (["--to", "csv", "--target", "500%"], "--target"),
        (["--to", "csv", "--target", "high"], "--target"),
    ],
)
def test_a_mistake_is_refused(arguments: list[str], allowed: str, folder: Path, tmp_path: Path) -> None:
    result = call(folder, *arguments, "--out", tmp_path / "new")
    assert result.exit_code == 2
    assert allowed in result.stderr
    assert not (tmp_path / "new").exists()


def test_places_that_cannot_be_used_are_refused(sweep: Sweep, folder: Path, tmp_path: Path) -> None:
    """A folder that is none of the three, a file in the way, a target of a sweep."""
    assert call(tmp_path, "--to", "csv").exit_code == 2
    (tmp_path / "file").write_text("")
    assert call(folder, "--to", "csv", "--out", tmp_path / "file").exit_code == 2
    for name in ("50%25", "what?"):  # MLflow would write to, or look for, a file of another name
        assert call(folder, "--to", "mlflow", "--out", tmp_path / name).exit_code == 2
        assert not (tmp_path / name).exists()
    with pytest.raises(SflsimError):
        sflsim.export(sweep, "csv", tmp_path / "sweep", target=0.5)
    assert not (tmp_path / "sweep").exists()


def test_a_link_in_the_folder_is_not_followed(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run", plots=False)
    (folder / "csv").symlink_to(tmp_path)
    assert call(folder, "--to", "csv").exit_code == 2


def test_a_plan_without_a_front_has_no_table(plan: Plan, tmp_path: Path) -> None:
    points = plan.points.assign(pareto=False, recommended=False)
    none = Plan(
        plan.scenario, points=points, sensitivity=plan.sensitivity, explanation="", manifest=plan.manifest
    )
    with pytest.raises(RunError):
        sflsim.export(none, "latex", tmp_path)
