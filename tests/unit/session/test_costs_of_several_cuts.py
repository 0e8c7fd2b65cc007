"""Variants at several cuts are not charged alike: costs that are fixed for all of them are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import COSTS, data, read
from typer.testing import CliRunner

import sflsim
from sflsim.cli import app

MODEL = {"kind": "mlp", "hidden": [8, 8]}
SPLIT = {"algorithm": "splitfed-v1", "client_optimizer": {"lr": 0.1}}
SEVERAL: dict[str, list[Any]] = {
    "listed": [{**SPLIT, "cut": [1, 2]}],
    "by name and number": [{**SPLIT, "cut": 1}, {**SPLIT, "name": "b", "cut": "hidden-2"}],
    "the workload's and its own": [SPLIT, {**SPLIT, "name": "b", "cut": 2}],
    "two algorithms": [{**SPLIT, "cut": 1}, {"algorithm": "mu-splitfed", "tau": 2, "cut": 2}],
    "a cut for each client": [{**SPLIT, "cut": {"by": "compute", "deepest": 2}}],
}
ONE: dict[str, list[Any]] = {
    "one for all": [{**SPLIT, "cut": 2}, {"algorithm": "mu-splitfed", "tau": 2, "cut": 2}],
    "that of the workload, twice": [SPLIT, {**SPLIT, "name": "b", "cut": 1}],
    "one by name and by number": [{**SPLIT, "cut": 2}, {**SPLIT, "name": "b", "cut": "hidden-2"}],
    "an algorithm that does not cut": [{**SPLIT, "cut": 2}, {"algorithm": "fedavg"}],
}


def scenario(variants: list[Any], costs: dict[str, str]) -> dict[str, Any]:
    workload = {"model": MODEL, "cut": 1, "batch_size": 8, "costs": costs}
    return data(workload=workload, variants=variants)


@pytest.mark.parametrize("costs", [COSTS, {"activation": "8 byte"}], ids=["all", "one"])
@pytest.mark.parametrize("kind", list(SEVERAL))
def test_several_cuts_at_fixed_costs_are_refused(kind: str, costs: dict[str, str], tmp_path: Path) -> None:
    """By simulate and sweep, by run and validate, with the clock alone and with learning."""
    content = scenario(SEVERAL[kind], costs)
    for timing_only in (True, False):
        with pytest.raises(sflsim.ScenarioError, match=r"workload\.costs fixes") as caught:
            sflsim.simulate(read(content), timing_only=timing_only)
    assert [(one.path, bool(one.line)) for one in caught.value.problems] == [("variants", True)]
    assert "leave them out" in caught.value.problems[0].remedy
    with pytest.raises(sflsim.ScenarioError, match=r"workload\.costs fixes"):
        sflsim.sweep(read(content), {"server.slots": [1, 2]}, timing_only=True)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    for command in (["run", "--timing-only", "--out", str(tmp_path / "run")], ["validate"]):
        result = CliRunner().invoke(app, [command[0], str(tmp_path / "own.yaml"), *command[1:]])
        assert (result.exit_code, "workload.costs fixes" in result.stderr) == (2, True)


@pytest.mark.parametrize("kind", list(SEVERAL))
def test_several_cuts_at_derived_costs_differ(kind: str) -> None:
    """So do those whose only fixed costs follow no cut."""
    for costs in ({}, {"labels": "4 byte"}):
        run = sflsim.simulate(read(scenario(SEVERAL[kind], costs)), timing_only=True)
        assert run.status == "completed"


@pytest.mark.parametrize("kind", list(ONE))
def test_one_cut_at_fixed_costs_is_simulated(kind: str) -> None:
    assert sflsim.simulate(read(scenario(ONE[kind], COSTS)), timing_only=True).status == "completed"
