"""Results of what a script or a plug-in has registered are shown where it is absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from support import data, read
from typer.testing import CliRunner

import sflsim
from sflsim import registry
from sflsim.algorithms.splitfed_v1 import SplitFedV1
from sflsim.cli import app
from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate
from sflsim.fleet.distributions.bounded import Exponential
from sflsim.learning.models.mlp import MLP
from sflsim.planner.plan import Plan
from sflsim.sweeps.sweep import Sweep


class Ours(SplitFedV1):
    """An algorithm of one's own."""

    class Config(SplitFedV1.Config):
        algorithm: Literal["ours"] = "ours"


class Net(MLP):
    """A model of one's own."""

    kind: Literal["our-net"] = "our-net"


class Wait(Exponential):
    """A distribution of one's own."""

    kind: Literal["our-wait"] = "our-wait"


SLOTS = {"server.slots": [1, 2]}
GROUP = {
    "name": "g",
    "device": {"compute": "30 FLOP/s", "battery": "1 J", "power": {"idle": "1 W", "compute": "3 W"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a run, a sweep and a plan, made where all three were registered."""
    place = tmp_path_factory.mktemp("made")
    with registry.forgetting():
        for register, component in (
            (sflsim.register_algorithm, Ours),
            (sflsim.register_model, Net),
            (sflsim.register_distribution, Wait),
        ):
            register(component)
        content = data(variants=[{"algorithm": "ours"}, {"algorithm": "splitfed-v2"}], target_accuracy="50%")
        content["workload"] = {**content["workload"], "model": {"kind": "our-net", "hidden": [8]}}
        content["fleet"] = {"clients": 3, "groups": [GROUP], "straggler": {"kind": "our-wait", "mean": "1 s"}}
        content["server"] = {**content.get("server", {}), "slots": 2}
        scenario = read(content)
        run = simulate(scenario, timing_only=True)
        run.save(place / "run", plots=False)
        sflsim.sweep(scenario, SLOTS, timing_only=True).save(place / "sweep")
        del content["target_accuracy"]
        content["plan"] = {"decisions": SLOTS, "objectives": ["time"]}
        sflsim.plan(read(content)).save(place / "plan")
        (place / "summary.csv").write_text(run.summary().to_csv(index=False))
        (place / "batteries").write_text("\n".join(run.empty_batteries()))
        run.trace(place / "trace.json")
        group = {"name": "g", "count": 2, "device": {"compute": "30 FLOP/s"}}
        content["fleet"] = {**content["fleet"], "groups": [group, {**group, "name": "h", "count": 1}]}
        content["variants"].append({"algorithm": "fedasync"})
        run = simulate(read({**content, "stop": {"rounds": 4}}), timing_only=True)
        run.save(place / "explained", plots=False)
        found = sflsim.explain(run)
        for name in ("path", "shares", "slowest"):
            (place / f"{name}.csv").write_text(getattr(found, name).to_csv(index=False))
        words = sflsim.explain(run, what_if=False).words
        (place / "explained.json").write_text(json.dumps({"words": words, "has_rounds": found.has_rounds}))
    return place


def test_all_is_shown(folder: Path, tmp_path: Path) -> None:
    """Summary, pictures, page and trace are those that the maker sees, batteries and slots included."""
    for command, *options in (
        ("summary",),
        ("plot", "--out", str(tmp_path / "plots")),
        ("report", "--out", str(tmp_path / "run.html")),
        ("trace", "--out", str(tmp_path / "trace.json")),
    ):
        shown = CliRunner().invoke(app, [command, str(folder / "run"), *options])
        assert shown.exit_code == 0, shown.output
    run = Run.load(folder / "run")
    assert run.summary().to_csv(index=False) == (folder / "summary.csv").read_text()
    assert run.empty_batteries() == (folder / "batteries").read_text().splitlines()
    assert len(run.empty_batteries()) == 2
    assert (tmp_path / "trace.json").read_bytes() == (folder / "trace.json").read_bytes()
    assert "our-net" in (tmp_path / "run.html").read_text(encoding="utf-8")
    for kind in ("sweep", "plan"):
        shown = CliRunner().invoke(app, ["report", str(folder / kind), "--out", str(tmp_path / "page.html")])
        assert shown.exit_code == 0, shown.output
    assert len(Sweep.load(folder / "sweep").summary()) == 4
    assert Plan.load(folder / "plan").recommended is not None


def test_results_are_compared_and_saved_again(folder: Path, tmp_path: Path) -> None:
    """Two runs side by side in one table; a copy of each folder is the folder."""
    runs = [Run.load(folder / "run") for _ in range(2)]
    assert len(pd.concat(run.summary() for run in runs)) == 4
    copy = Run.load(runs[0].save(tmp_path / "run", plots=False))
    assert copy.spans.equals(runs[0].spans)
    Sweep.load(folder / "sweep").save(tmp_path / "sweep")
    Plan.load(folder / "plan").save(tmp_path / "plan")
    for kind in ("run", "sweep", "plan"):
        before, after = ((place / kind / "scenario.yaml").read_bytes() for place in (folder, tmp_path))
        assert before == after


def test_only_running_needs_it(folder: Path) -> None:
    """Who asks for the scenario is told what is absent, with file and line."""
    for kind in (Run, Sweep, Plan):
        with pytest.raises(ScenarioError, match=r"scenario\.yaml:\d+  variants\[0\]"):
            kind.load(folder / kind.__name__.lower()).scenario  # noqa: B018
    shown = CliRunner().invoke(app, ["explain", str(folder / "run")])
    assert (shown.exit_code, "found 'ours'" in shown.stderr) == (2, True), shown.output
    assert "--no-what-if" in shown.stderr


def test_an_explanation_without_what_ifs_is_the_makers(folder: Path) -> None:
    """Sentences, critical paths, shares and who was last; in the terminal and as CSV."""
    run = Run.load(folder / "explained")
    found = sflsim.explain(run, what_if=False)
    made = json.loads((folder / "explained.json").read_text())
    assert made == {"words": dict(found.words), "has_rounds": dict(found.has_rounds)}
    for name in ("path", "shares", "slowest"):
        assert getattr(found, name).to_csv(index=False) == (folder / f"{name}.csv").read_text()
    for option in ("--no-what-if", "--csv"):
        shown = CliRunner().invoke(app, ["explain", str(folder / "explained"), "--no-what-if", option])
        assert shown.exit_code == 0, shown.output
        assert "ours" in shown.stdout
