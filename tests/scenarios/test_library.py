"""Every scenario and every study of the repository runs, shortened, and says what it should."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from support import imported

import sflsim

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"mu_splitfed_cifar10.yaml", "opt_sst2.yaml"}
"""They need data that is not here: see test_papers_with_data.py."""
ELSEWHERE |= {"fashion.yaml", "mu_splitfed_fashion.yaml", "gas_fashion.yaml", "ho_sfl_fashion.yaml"}
"""They need a package of the system: see test_fashion_mnist.py."""
SCENARIOS = sorted(path for path in (ROOT / "scenarios").rglob("*.yaml") if path.name not in ELSEWHERE)
IN_DEFAULT_SUITE = {"tau_vs_straggler"}
OWN_TESTS = {"testbed_study", "independent_clocks", "papers_tables"}
"""They make a table alone, of real processes, other simulators or the papers' data; tests of their own."""
STUDIES = sorted(path for path in (ROOT / "analysis").glob("[a-z]*.py") if path.stem not in OWN_TESTS)
TABLE_ALONE = {"default_rates", "device_rates"}


def test_there_is_a_library() -> None:
    """The two lists below are not empty by mistake."""
    assert {"quickstart.yaml", "gas_wrtt.yaml", "ho_sfl.yaml"} <= {path.name for path in SCENARIOS}
    assert {"tau_vs_straggler.py", "ho_sfl_on_the_clock.py"} <= {path.name for path in STUDIES}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_runs(path: Path) -> None:
    """Cut to a few rounds and one seed, every variant trains, evaluates and ends as asked."""
    scenario = sflsim.load_scenario(path, ["stop={rounds: 3}", "seeds=[0]", "evaluate.every=1 round"])
    assert path.read_text(encoding="utf-8").startswith("# ")

    run = sflsim.simulate(scenario)

    assert list(run.runs["status"]) == ["completed"] * len(scenario.variants)
    assert set(run.runs["rounds"]) == {3}
    assert run.evaluations.groupby("variant")["time_s"].is_monotonic_increasing.all()
    assert run.evaluations["accuracy"].between(0, 1).all()


def test_the_sweep_runs() -> None:
    """`scenarios/sweep.yaml` runs at every point of its block; what learns alike is trained once."""
    shorter = ["stop={rounds: 2}", "seeds=[0]", "target_accuracy=null", "variants=[splitfed-v1]"]
    sweep = sflsim.sweep(sflsim.load_scenario(ROOT / "scenarios" / "sweep.yaml", shorter))

    assert len(sweep.table) == 12
    assert set(sweep.table["status"]) == {"completed"}
    assert sweep.manifest["trainings"] == 1
    assert sweep.table["time_s"].nunique() == 12


def test_the_plan_recommends() -> None:
    """`scenarios/plan.yaml` ends with a recommended point of its front."""
    shorter = ["target_accuracy=15%", "seeds=[0]", "evaluate.every=1 round"]
    fewer = ["variants=[splitfed-v1, cse-fsl]", "stop.rounds=20"]
    decisions = "plan.decisions={fleet.participants: [2, 5]}"
    plan = sflsim.plan(sflsim.load_scenario(ROOT / "scenarios" / "plan.yaml", [*shorter, *fewer, decisions]))

    assert len(plan.points) == 2 * 2
    assert plan.points["recommended"].sum() == 1
    assert plan.points.loc[plan.points["recommended"], "pareto"].all()


def test_rates_by_kind_change_the_recommendation() -> None:
    """One FLOP/s recommends a late cut, rates by kind the earliest: the late one takes half as long again."""
    best, times = {}, {}
    for device in ("raspberry-pi-5", "raspberry-pi-5-by-kind"):
        changed = [f"fleet.groups[pi].device={device}", "stop.rounds=10", "evaluate.every=10 rounds"]
        scenario = sflsim.load_scenario(ROOT / "scenarios" / "rates_by_kind.yaml", changed)
        points = sflsim.plan(scenario).points
        times[device] = points["time_s"].tolist()
        best[device] = points["recommended"].tolist().index(True)
    assert best == {"raspberry-pi-5": 2, "raspberry-pi-5-by-kind": 0}
    assert times["raspberry-pi-5-by-kind"][2] > 1.5 * times["raspberry-pi-5-by-kind"][0]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in IN_DEFAULT_SUITE else pytest.mark.slow)
        for path in STUDIES
    ],
)
def test_a_study_makes_its_figure_and_its_table(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its small setting, a study writes one table with rows and, but for some, one picture."""
    monkeypatch.setattr(sys, "argv", [str(path), "--quick", "--out", str(tmp_path)])
    imported(path).main()
    pictures = [picture.name for picture in tmp_path.glob("*.png") if picture.stat().st_size > 10_000]
    assert pictures == ([] if path.stem in TABLE_ALONE else [f"{path.stem}.png"])
    assert len(pd.read_csv(tmp_path / f"{path.stem}.csv")) > 3
