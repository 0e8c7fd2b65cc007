"""The scenarios on the real Fashion-MNIST: shortened, and an order that one of them shows.

The data are those of the system's package. What is asserted of an order was seen on images held out of the
training, not on the test images.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
from support import imported

import sflsim
from sflsim.learning.data.named_images import FashionMnist

ROOT = Path(__file__).parents[2]
SCENARIOS = [
    pytest.param("fashion", marks=pytest.mark.slow),
    "papers/mu_splitfed_fashion",
    pytest.param("papers/gas_fashion", marks=pytest.mark.slow),
    "papers/ho_sfl_fashion",
]
FEW = "workload.dataset={kind: fashion-mnist, limit: 4000, held_out_limit: 400}"
VALIDATION = "{kind: fashion-mnist, validation: 10%, evaluate_on: validation, held_out_limit: 2000}"

pytestmark = pytest.mark.skipif(
    not Path(FashionMnist.installed).is_dir(),
    reason="no Fashion-MNIST (Debian's package dataset-fashion-mnist)",
)


def run_of(name: str, *changes: str) -> sflsim.Run:
    """Return the run of a scenario with changes, under its first seed."""
    scenario = sflsim.load_scenario(ROOT / "scenarios" / f"{name}.yaml", ["seeds=[0]", *changes])
    return sflsim.simulate(scenario, keep_spans=False)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs(name: str) -> None:
    """On a few thousand images, for two rounds: every variant trains, evaluates and ends as asked."""
    fewer = ["workload.partition.min_samples=2"] if "gas" in name else []
    run = run_of(name, FEW, "stop={rounds: 2}", "evaluate.every=1 round", *fewer)
    assert set(run.runs["status"]) == {"completed"}
    assert run.evaluations.groupby("variant")["loss"].nunique().min() > 1
    assert run.clients.groupby("variant")["samples"].sum().max() <= 4000


@pytest.mark.parametrize("taus", [[1, 8], pytest.param([1, 2, 4, 8], marks=pytest.mark.slow)], ids=str)
def test_more_server_steps_learn_faster(taus: list[int]) -> None:
    """MU-SplitFed on all training images: after 60 rounds each, the loss falls with the number of steps."""
    variants = f"variants=[{{algorithm: mu-splitfed, tau: {taus}, eta_s: 0.01, eta_c: 0.005, eta_g: 1.0}}]"
    every = ["stop={rounds: 60}", "evaluate.every=60 rounds", f"workload.dataset={VALIDATION}"]
    losses = (
        run_of("papers/mu_splitfed_fashion", variants, *every).evaluations.groupby("variant")["loss"].last()
    )
    assert losses.loc[[f"mu-splitfed tau={tau}" for tau in taus]].is_monotonic_decreasing


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tau_vs_straggler", "tau_cut_map", "equal_compute", "ho_sfl_on_the_clock"])
def test_a_study_learns_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies of MU-SplitFed and HO-SFL, shortened: another table than that of digits, and a picture."""
    study = imported(ROOT / "analysis" / f"{name}.py")
    for wanted in ([], ["--fashion"]):
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(tmp_path), *wanted])
        study.main()
    digits, fashion = (pd.read_csv(tmp_path / f"{name}{end}.csv") for end in ("", "_fashion"))
    assert len(fashion) > 3
    assert set(digits["accuracy"]).isdisjoint(fashion["accuracy"])
    assert (tmp_path / f"{name}_fashion.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_tables_of_the_papers_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortened tables have a row for each variant, and what stands around them in a page stays."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- papers -->\nold\n<!-- end of papers -->\nafter\n", encoding="utf-8")
    arguments = ["--quick", "--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--page", str(page)]
    study = imported(ROOT / "analysis" / "papers_tables.py")
    monkeypatch.setattr(sys, "argv", ["papers_tables.py", *arguments])
    study.main()
    table = pd.read_csv(tmp_path / "papers_tables.csv")
    assert set(table["setting"]) == {setting.title for setting in study.SETTINGS}
    for setting in study.SETTINGS:
        assert set(setting.reported) <= set(table.loc[table["setting"] == setting.title, "variant"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- papers -->\n")
    assert text.endswith("<!-- end of papers -->\nafter\n")
    assert "old" not in text
    assert text.count("| `") == table.groupby("setting")["variant"].nunique().sum()
