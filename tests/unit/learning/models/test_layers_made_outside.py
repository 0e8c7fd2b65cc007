"""Layers and tensors that a user's function does not make itself are refused, with what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import COSTS, data

import sflsim

NETWORK = """
import functools
import torch
from torch import nn

LAYER, NORM = nn.Linear(64, 8), nn.BatchNorm1d(8)
ACTIVATION = nn.ReLU()
SCALE = nn.Parameter(torch.ones(8))
WHOLE = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 10))
kept = []

class Scaled(nn.Module):
    def forward(self, x):
        return x * SCALE

class Borrowed(nn.Module):
    def forward(self, x):
        return LAYER(x)

def blocks(*inner):
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(8, 10))

def layer(): return blocks(LAYER)
def norm(): return blocks(nn.Linear(64, 8), NORM)
def whole(): return WHOLE
def default(layer=nn.Linear(64, 8)): return blocks(layer)

@functools.cache
def cached(): return blocks(nn.Linear(64, 8))

def remembered():
    if not kept:
        kept.append(nn.Linear(64, 8))
    return blocks(kept[0])

def scaled(): return blocks(nn.Linear(64, 8), Scaled())
def borrowed(): return blocks(Borrowed())

def within():
    layer = nn.Linear(64, 8)
    return blocks(layer, ACTIVATION)
"""


def scenario(folder: Path, function: str, costs: dict[str, str]) -> sflsim.Scenario:
    (folder / "network.py").write_text(NETWORK)
    model: dict[str, Any] = {"kind": "torch-module", "module": f"network.py:{function}"}
    workload = {"model": model, "cut": 2, "batch_size": 16, "costs": costs}
    content = data(workload=workload, fleet={"clients": 2, "groups": [{"device": "raspberry-pi-5"}]})
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return sflsim.load_scenario(folder / "own.yaml", trust=True)


OUTSIDE = ["layer", "norm", "whole", "default", "cached", "remembered", "scaled", "borrowed"]


@pytest.mark.parametrize("costs", [{}, COSTS], ids=["derived", "given"])
@pytest.mark.parametrize("function", OUTSIDE)
def test_what_the_function_does_not_make_is_refused(
    function: str, costs: dict[str, str], tmp_path: Path
) -> None:
    """Its weights would be those of the import under every seed, or never be trained."""
    with pytest.raises(sflsim.ScenarioError) as caught:
        sflsim.simulate(scenario(tmp_path, function, costs))
    (problem,) = caught.value.problems
    assert "inside the function" in problem.remedy
    assert problem.line


@pytest.mark.parametrize("costs", [{}, COSTS], ids=["derived", "given"])
def test_what_has_no_numbers_may_stand_outside(costs: dict[str, str], tmp_path: Path) -> None:
    run = sflsim.simulate(scenario(tmp_path, "within", costs))
    assert run.status == "completed"
