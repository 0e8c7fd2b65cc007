"""Costs of a user's block that makes a tensor in `forward` without naming a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from sflsim import ScenarioError, load_scenario, simulate

NETWORK = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 4)

    def forward(self, x):
        return self.linear(x.flatten(1)) + {made}

def build():
    return nn.Sequential(Own(), nn.Linear(4, 10))
"""
SCENARIO = """
name: made
workload: {dataset: digits, model: {kind: torch-module, module: 'network.py:build'}, cut: 1}
fleet: {clients: 2, participants: 2, groups: [{device: raspberry-pi-4, link: wifi}]}
server: {compute: 1 TFLOP/s, slots: 1, link: {up: 1 Gbit/s, down: 1 Gbit/s}}
variants: [{algorithm: splitfed-v1}]
stop: {rounds: 1}
"""


def written(folder: Path, made: str) -> Path:
    """Write the scenario and its network; return the scenario's path."""
    (folder / "network.py").write_text(NETWORK.format(made=made))
    path = folder / "made.yaml"
    path.write_text(SCENARIO)
    return path


def test_a_constant_made_in_forward_is_costed(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, "torch.arange(4)"), trust=True)
    assert len(simulate(scenario, timing_only=True).spans)


def test_a_random_tensor_made_in_forward_is_refused_as_one(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, "torch.randn(4)"), trust=True)
    with pytest.raises(ScenarioError, match="draws random numbers"):
        simulate(scenario)
