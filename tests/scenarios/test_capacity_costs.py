"""The networks of the capacity study cost what the study says: derived again from the models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support import imported

import sflsim
from sflsim.learning.costs import Costs
from sflsim.learning.models.cnn import CNN
from sflsim.learning.network.split import Part
from sflsim.learning.profiling.measure import derive_costs

STUDY = Path(__file__).parents[2] / "analysis" / "capacity_planning.py"
ROUNDED = 1e-3


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """The study, imported as a module."""
    return imported(STUDY)


def derived(
    channels: tuple[int, ...], shape: tuple[int, int, int], classes: int, batch_size: int, cut: int
) -> Costs:
    """Return the costs of a CNN on the meta device; nothing is allocated."""
    with torch.device("meta"):
        blocks = CNN(channels=channels, dense=128).build(shape, classes)
    sample = torch.empty(shape, device="meta")
    return derive_costs(Part(blocks[:cut]), Part(blocks[cut:]), sample, batch_size)


def stated(costs: sflsim.Scenario) -> dict[str, float]:
    """Return the costs that a scenario sets, by the field names of `Costs`."""
    return costs.workload.costs.figures()


def test_the_tablets_network(study: ModuleType) -> None:
    """A CNN with 64, 128, 256 channels for 1 x 512 x 512, ten classes, at every cut and batch."""
    assert len(study.FULL["workloads"]) == 4
    for cut, batch_size in study.FULL["workloads"]:
        workload = study.workload(cut, batch_size)
        scenario = sflsim.parse_scenario(study.HOSPITAL, overrides=[f"workload={workload}"])
        costs = asdict(derived((64, 128, 256), (1, 512, 512), 10, batch_size, cut))
        for name, value in stated(scenario).items():
            assert value == pytest.approx(costs[name], rel=ROUNDED), name


def test_the_phones_network(study: ModuleType) -> None:
    """A CNN with 32, 64, 64 channels for 3 x 32 x 32, 62 classes, batch 16, cut after its second block."""
    costs = asdict(derived((32, 64, 64), (3, 32, 32), 62, 16, 2))
    for name, value in stated(sflsim.parse_scenario(study.PHONES)).items():
        assert value == pytest.approx(costs[name], rel=ROUNDED), name
