"""Costs of a cut against figures worked out by hand.

One convention: 2 FLOP per multiply-accumulate. A layer's backward pass computes the gradient by its
weights and the one by its input, as many FLOP as the forward pass each; the network's first layer
needs no gradient by its input. Numbers take 4 bytes, labels and pooling's places 8.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle.harness import scenario
from support import data, read
from torch import nn

from sflsim.learning.costs import CostOverrides, Costs
from sflsim.learning.models.alexnet import AlexNet
from sflsim.learning.models.base import trains_all
from sflsim.learning.models.cnn import CNN
from sflsim.learning.models.mlp import MLP
from sflsim.learning.models.resnet import ResNet18
from sflsim.learning.network.split import Part, cut_blocks
from sflsim.learning.profiling import measure
from sflsim.learning.profiling.measure import Whole, derive_costs, derive_whole
from sflsim.learning.profiling.peak_memory import Storages
from sflsim.session import Options, Requirements, Session

B = 32


def costs_of(
    blocks: list[tuple[str, nn.Module]],
    shape: tuple[int, ...],
    cut: int,
    batch: int = B,
    whole: Whole | None = None,
) -> Costs:
    return derive_costs(*cut_blocks(blocks, cut), torch.empty(shape), batch, whole)


# A perceptron 64 - 48 - 32 - 10.


def test_mlp_cut_after_its_first_layer() -> None:
    """The client has 64 x 48 weights and 48 biases; the server the rest."""
    costs = costs_of(MLP(hidden=(48, 32)).build((1, 8, 8), 10), (1, 8, 8), 1)

    assert asdict(costs) == {
        "client_forward_flop": 2 * B * 64 * 48,
        "client_backward_flop": 2 * B * 64 * 48,  # by the weights alone
        "server_forward_flop": 2 * B * (48 * 32 + 32 * 10),
        "server_backward_flop": 2 * 2 * B * (48 * 32 + 32 * 10),
        "activation_bytes": 4 * B * 48,
        "labels_bytes": 8 * B,
        "client_model_bytes": 4 * (64 * 48 + 48),
        "server_model_bytes": 4 * (48 * 32 + 32 + 32 * 10 + 10),
        "client_saved_bytes": 4 * B * (64 + 48),  # the input for the weights, the output for ReLU
        "client_live_bytes": 4 * B * (64 + 48 + 48),  # the input, and ReLU's input and output
        "whole_saved_bytes": 4 * B * (64 + 48 + 32),  # what ReLU puts out is what the next layer saves
        "whole_live_bytes": 4 * B * (64 + 48 + 48),
        "auxiliary_forward_flop": 2 * B * 48 * 10,
        "auxiliary_backward_flop": 2 * 2 * B * 48 * 10,
        "auxiliary_model_bytes": 4 * (48 * 10 + 10),
        "client_frozen_bytes": 0,
        "server_frozen_bytes": 0,
        "scalar_bytes": 4,
        # Input, ReLU's output, the gradients by it (from the server) and by ReLU's input, the layer's.
        "client_step_bytes": 4 * B * (64 + 3 * 48) + 4 * (64 * 48 + 48),
        # The last gradients: input, logits and their gradient, that of the first layer's output, all layers'.
        "whole_step_bytes": 4 * B * (64 + 10 + 10 + 48) + 4 * (64 * 48 + 48 + 48 * 32 + 32 + 32 * 10 + 10),
    }


def test_mlp_cut_before_its_last_layer() -> None:
    """A deeper cut: only the first of the client's layers is spared the gradient by its input."""
    costs = costs_of(MLP(hidden=(48, 32)).build((1, 8, 8), 10), (1, 8, 8), 2)

    assert costs.client_forward_flop == 2 * B * (64 * 48 + 48 * 32)
    assert costs.client_backward_flop == 2 * B * (64 * 48 + 2 * 48 * 32)
    assert costs.server_backward_flop == 2 * costs.server_forward_flop == 2 * 2 * B * 32 * 10
    assert costs.activation_bytes == 4 * B * 32
    assert costs.client_saved_bytes == 4 * B * (64 + 48 + 32)
    assert costs.client_live_bytes == 4 * B * (64 + 48 + 48)  # ReLU's 48 are gone when the next 32 are made
    assert costs.whole_saved_bytes == 4 * B * (64 + 48 + 32)  # wherever the cut is


# The convolutional network: 1x8x8, 16x8x8 -> 16x4x4, 32x4x4 -> 32x2x2, 64, 10.

CONV_1, CONV_2, DENSE, OUTPUT = 64 * 9 * 16, 16 * 16 * 9 * 32, 128 * 64, 64 * 10  # MAC per sample


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_cnn_flops_and_bytes(cut: int) -> None:
    """MACs of a 3x3 convolution: pixels x 9 x channels in x channels out."""
    costs = costs_of(CNN(channels=(16, 32), dense=64).build((1, 8, 8), 10), (1, 8, 8), cut)
    layers = [CONV_1, CONV_2, DENSE, OUTPUT]
    parameters = [9 * 16 + 16, 9 * 16 * 32 + 32, 128 * 64 + 64, 64 * 10 + 10]

    assert costs.client_forward_flop == 2 * B * sum(layers[:cut])
    assert costs.client_backward_flop == 2 * B * (2 * sum(layers[:cut]) - CONV_1)
    assert costs.server_forward_flop == 2 * B * sum(layers[cut:])
    assert costs.server_backward_flop == 2 * 2 * B * sum(layers[cut:])
    assert costs.activation_bytes == 4 * B * {1: 16 * 16, 2: 32 * 4, 3: 64}[cut]
    assert costs.client_model_bytes == 4 * sum(parameters[:cut])
    assert costs.server_model_bytes == 4 * sum(parameters[cut:])


def test_cnn_memory() -> None:
    """Saved for backward: what a convolution reads, what ReLU and pooling share, and pooling's places."""
    costs = costs_of(CNN(channels=(16, 32), dense=64).build((1, 8, 8), 10), (1, 8, 8), 1)

    assert costs.client_saved_bytes == B * (4 * 64 + 4 * 16 * 64 + 8 * 16 * 16)
    assert costs.client_live_bytes == B * (4 * 64 + 2 * 4 * 16 * 64)


def test_peak_memory_of_clients() -> None:
    """First order: parameters, optimizer states, a training step; zeroth order: a forward pass."""
    costs = costs_of(CNN().build((1, 8, 8), 10), (1, 8, 8), 2)
    model, saved, live = costs.client_model_bytes, costs.client_saved_bytes, costs.client_live_bytes
    step = costs.client_step_bytes

    assert step is not None
    assert saved < step
    assert costs.first_order_memory_bytes(0) == model + step
    assert costs.first_order_memory_bytes(2) == 3 * model + step
    assert costs.zeroth_order_memory_bytes() == model + live


def test_peak_memory_from_figures_given_by_hand() -> None:
    """Where a scenario gives what a step rests on, all gradients and activations, twice, stand for it."""
    derived = costs_of(CNN().build((1, 8, 8), 10), (1, 8, 8), 2)
    costs = CostOverrides(client_saved="8 MiB", client_live="1 MiB").applied(derived)  # type: ignore[arg-type]

    assert costs.first_order_memory_bytes(1) == 3 * costs.client_model_bytes + 9 * 2**20
    assert costs.whole_step_bytes == derived.whole_step_bytes
    told = CostOverrides(client_saved="8 MiB", client_step="7 MiB").applied(derived)  # type: ignore[arg-type]
    assert told.first_order_memory_bytes(1) == 2 * costs.client_model_bytes + 7 * 2**20


# AlexNet for CIFAR-10 as GAS and MU-SplitFed use it: their published figures.


def test_alexnet_has_its_papers_figures() -> None:
    """d = 3,868,746; at cut 2: 5,603,328 MAC a sample, 64 x 8 x 8 numbers up, 620,544 bits of model."""
    with torch.device("meta"):
        blocks = AlexNet().build((3, 32, 32), 10)
    client, server = cut_blocks(blocks, 2)
    costs = costs_of(blocks, (3, 32, 32), 2)
    rest = 64 * (9 * 64 * 128 + 9 * 128 * 256 + 9 * 256 * 256) + 2304 * 1024 + 1024 * 512 + 512 * 10

    assert client.dimension + server.dimension == 3_868_746
    assert costs.client_forward_flop == 2 * 5_603_328 * B
    assert costs.client_backward_flop == 2 * (2 * 5_603_328 - 32 * 32 * 27 * 32) * B
    assert costs.server_forward_flop == 2 * rest * B
    assert costs.activation_bytes == 64 * 8 * 8 * 4 * B
    assert 8 * costs.client_model_bytes == 620_544
    assert costs.server_model_bytes == 4 * (3_868_746 - 19_392)


def test_costs_are_those_of_one_batch() -> None:
    """All but parameters and gradients grow with the batch; the models' own weights stay as they are."""
    blocks = CNN().build((1, 8, 8), 10)
    before = [parameter.clone() for _, block in blocks for parameter in block.parameters()]
    one, four = asdict(costs_of(blocks, (1, 8, 8), 1, 1)), asdict(costs_of(blocks, (1, 8, 8), 1, 4))
    fixed = {"client_model_bytes", "server_model_bytes", "auxiliary_model_bytes", "scalar_bytes"}

    steps = {name: (one.pop(name), four.pop(name)) for name in ("client_step_bytes", "whole_step_bytes")}

    assert {name: value * (1 if name in fixed else 4) for name, value in one.items()} == four
    assert all(small < large <= 4 * small for small, large in steps.values())
    after = [parameter for _, block in blocks for parameter in block.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


# Overrides.


def test_overrides_replace_single_figures() -> None:
    """A fixed figure stands for the derived one, whatever the cut; the others stay derived."""
    fixed = {"client_forward": "5 MFLOP", "activation": "1 Mbit", "scalar": "8 byte"}
    workload = {"costs": fixed, "cut": 2}
    derived = Session(
        scenario({"algorithm": "splitfed-v1"}, workload={"cut": 2}), Options()
    ).requirements.costs(2)
    session = Session(scenario({"algorithm": "splitfed-v1"}, workload=workload), Options())
    wanted = {"client_forward_flop": 5e6, "activation_bytes": 125_000.0, "scalar_bytes": 8.0}

    assert asdict(session.requirements.costs(2)) == {**asdict(derived), **wanted}
    assert session.requirements.costs(1).client_forward_flop == 5e6


# Bytes alive.


def test_live_bytes_of_a_hand_traced_chain() -> None:
    """Births and deaths of four tensors of 400, 800, 400 and 4 bytes; views keep their storage alive."""
    x = torch.zeros(100)
    with Storages() as live:
        a = x + 1
        assert (live.live_bytes, live.peak_bytes) == (400, 400)
        b = torch.cat([a, a])
        assert (live.live_bytes, live.peak_bytes) == (1200, 1200)
        view = b[:10].view(2, 5)
        del b
        assert live.live_bytes == 1200  # the view holds all of b
        a.add_(1)
        assert live.live_bytes == 1200  # in place: nothing new
        del view
        assert live.live_bytes == 400
        c = a * 2
        del a
        assert (live.live_bytes, live.peak_bytes) == (400, 1200)
        d = c.sum()
        del c
        assert (live.live_bytes, live.peak_bytes) == (4, 1200)
        inside = x.view(10, 10)
        assert live.live_bytes == 4  # what was there before is not counted
        del d, inside
    assert live.live_bytes == 0


# Costs that are asked for one by one, where nothing is learned.

NEEDED = ("client_forward", "client_backward", "server_forward", "server_backward", "activation", "labels",
          "client_model", "server_model", "client_saved", "client_live")  # fmt: skip
WITHOUT_TORCH = """
import sys
from support import COSTS, data, read
from sflsim.experiment.simulate import simulate
keys, variant = {keys!r}, {variant!r}
workload = {{**data()["workload"], "costs": {{key: COSTS[key] for key in keys}}}}
run = simulate(read(data(workload=workload, variants=[variant])), timing_only=True)
print("torch" in sys.modules, run.manifest["derived_costs"])
"""


def on_the_clock(keys: Sequence[str], variant: dict[str, Any]) -> str:
    """Return whether torch was loaded, and for which keys, by a process of its own that was given these."""
    script = WITHOUT_TORCH.format(keys=list(keys), variant=variant)
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_clock_alone_asks_for_no_cost_that_nobody_uses() -> None:
    """Ten of twenty keys are all that SplitFed V1 needs; with one less that one is named."""
    assert on_the_clock(NEEDED, {"algorithm": "splitfed-v1"}) == "False []"
    assert on_the_clock(NEEDED[:-1], {"algorithm": "splitfed-v1"}) == "True ['client_live']"


@pytest.mark.parametrize("kind", ["splitfed-v1", "cse-fsl", "mu-splitfed", "fedavg", "ho-sfl"])
def test_costs_on_demand_are_those_derived_at_once(kind: str) -> None:
    """All tables are the same, whether some costs are given or none."""
    for costs in ({}, {"client_forward": "5 FLOP", "client_live": "9 byte"}):
        content = scenario({"algorithm": kind}, workload={"cut": 2, "costs": costs})
        at_once = Session(content, Options()).requirements.costs(2)
        on_demand = Session(content, Options(timing_only=True)).requirements.costs(2)

        assert asdict(on_demand) == asdict(at_once)
        assert asdict(pickle.loads(pickle.dumps(on_demand))) == asdict(at_once)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(MLP(), (1, 8, 8)), (CNN(), (1, 8, 8)), (AlexNet(), (3, 32, 32)), (ResNet18(width=4), (3, 32, 32))],
)
def test_models_that_say_they_train_all_hold_nothing_frozen(model: Any, shape: tuple[int, ...]) -> None:
    """Neither part, at any cut; one that freezes or adapts does not say so."""
    assert trains_all(model)
    with torch.device("meta"):
        blocks = model.build(shape, 10)
    whole = derive_whole(Part(blocks), torch.empty(shape), B)
    for cut in range(1, len(blocks)):
        costs = costs_of(blocks, shape, cut, whole=whole)
        assert costs.client_frozen_bytes == costs.server_frozen_bytes == 0.0
    assert not trains_all(model.model_copy(update={"freeze": ("*",)}))
    assert not trains_all(object())


def test_costs_of_a_known_network_are_derived_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all scenarios; another batch or network is derived anew, and has other costs."""

    def costs(**changes: Any) -> Costs:
        workload = {"model": {"kind": "mlp", "hidden": [8]}, "cut": 1, "batch_size": 8, **changes}
        return Requirements(read(data(workload=workload))).costs(1)

    known, asked = costs(), []
    plain = measure.workload_costs

    def counted(*arguments: Any, **options: Any) -> dict[int, Costs]:
        asked.append(arguments)
        return plain(*arguments, **options)

    monkeypatch.setattr(measure, "workload_costs", counted)
    assert (costs(), asked) == (known, [])
    others = costs(batch_size=9), costs(model={"kind": "mlp", "hidden": [9]})
    assert len({known, *others}) == len(asked) + 1 == 3
