"""A network in two parts is the same network, and stacked participants are the same participants.

Checked against plain torch: nn.Sequential, autograd and torch.optim on the network as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from oracle.harness import RecordingSession, scenario
from torch import Tensor, nn

from sflsim.learning.models.cnn import CNN
from sflsim.learning.models.mlp import MLP
from sflsim.learning.network.split import Part, cut_blocks
from sflsim.learning.optimizers import NAMES, Optimizer
from sflsim.learning.task import build_blocks

MODELS = {"mlp": MLP(hidden=(12, 9, 7)), "cnn": CNN(channels=(3, 4), dense=8)}
CUTS = [(name, cut) for name, model in MODELS.items() for cut in range(1, len(model.block_names))]
GROUP = {"name": "one", "device": {"compute": "1 GFLOP/s"}}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(name: str, seed: int = 0) -> nn.Sequential:
    """Return a network, laid out with channels last, as sflsim does."""
    network = nn.Sequential(*[block for _, block in build_blocks(MODELS[name], (1, 8, 8), 10, seed)])
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def vector(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors as a part's vector has them: convolutions with their channels last."""
    return torch.cat([(t.permute(0, 2, 3, 1) if t.dim() == 4 else t).reshape(-1) for t in tensors])


def weights(network: nn.Module) -> Tensor:
    return vector(list(network.parameters())).detach()


def assert_same(found: Tensor, wanted: Tensor) -> None:
    """Equal but for the order of additions."""
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=2e-6)


# Split and unsplit.


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_training_at_any_cut_is_sgd_on_the_unsplit_network(name: str, cut: int) -> None:
    """One client, SplitFed V1, 3 rounds of 4 batches: what torch.optim.SGD does with the whole network."""
    workload = {"model": MODELS[name].model_dump(), "cut": cut, "batch_size": 16}
    session = RecordingSession(
        scenario(
            {
                "algorithm": "splitfed-v1",
                "local_iterations": 4,
                "client_optimizer": {"lr": 0.1, "weight_decay": 0.01},
                "server_optimizer": {"lr": 0.1, "weight_decay": 0.01},
            },
            workload=workload,
            fleet={"clients": 1, "groups": [GROUP]},
        )
    )
    session.run(0, 0, lambda row: None)
    network = whole(name)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.01)
    for _, (x, y) in sorted(session.batches.items()):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    trained = session.learner.models[-1]
    assert len(session.batches) == 12
    assert float((weights(network) - weights(whole(name))).abs().max()) > 0.05
    assert_same(torch.cat([trained["client"], trained["server"]]), weights(network))


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_outputs_and_gradients_are_those_of_the_unsplit_network(name: str, cut: int) -> None:
    """The two parts applied one after the other give the network's output and its gradient, bit for bit."""
    network = whole(name)
    client, server = cut_blocks(build_blocks(MODELS[name], (1, 8, 8), 10, 0), cut)
    x, y = normal(5, 1, 8, 8), torch.arange(5)
    flat = [part.initial().requires_grad_() for part in (client, server)]
    z = client.apply(client.views(flat[0][None]), x)
    logits = server.apply(server.views(flat[1][None]), z)
    nn.functional.cross_entropy(logits, y).backward()
    output = network(x)
    nn.functional.cross_entropy(output, y).backward()

    assert torch.equal(output, logits)
    assert torch.equal(vector([p.grad for p in network.parameters()]), vector([part.grad for part in flat]))


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights_are_the_same_for_every_cut(name: str) -> None:
    """Wherever it is cut, the network starts from the same numbers; another seed gives others."""
    starts = []
    for cut in range(1, len(MODELS[name].block_names)):
        client, server = cut_blocks(build_blocks(MODELS[name], (1, 8, 8), 10, 3), cut)
        starts.append(torch.cat([client.initial(), server.initial()]))

    assert all(torch.equal(starts[0], start) for start in starts)
    assert not torch.equal(starts[0], weights(whole(name, seed=4)))


def test_initial_weights_touch_no_global_generator() -> None:
    """Building a network neither reads nor moves torch's global state."""
    torch.manual_seed(1)
    first, before = whole("mlp"), torch.random.get_rng_state()
    torch.manual_seed(2)
    torch.randn(7)
    again = whole("mlp")
    torch.manual_seed(1)

    assert torch.equal(weights(first), weights(again))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_are_named_as_in_the_network() -> None:
    """A part's names and shapes are those of the named blocks, in order."""
    blocks = MODELS["cnn"].build((1, 8, 8), 10)
    named = [
        (f"{name}.{p}", tensor.shape) for name, block in blocks for p, tensor in block.named_parameters()
    ]

    parts = cut_blocks(blocks, 2)

    assert named == [pair for part in parts for pair in zip(part.names, part.shapes, strict=True)]


# Stacked and looped.


class Residual(nn.Module):
    """A block of its own: two layers and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 4), (6,)),
    "linear without bias": (nn.Linear(6, 4, bias=False), (6,)),
    "linear on tokens": (nn.Linear(6, 4), (5, 6)),
    "conv": (nn.Conv2d(3, 4, 3, padding=1, stride=2), (3, 8, 8)),
    "conv without bias": (nn.Conv2d(3, 6, 3, groups=3, bias=False), (3, 8, 8)),
    "conv that reflects": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (3, 8, 8)),
    "layer norm": (nn.LayerNorm(6), (6,)),
    "group norm": (nn.GroupNorm(3, 6), (6, 4, 4)),
    "prelu": (nn.PReLU(3), (3, 4, 4)),
    "residual block": (Residual(), (3, 5, 5)),
    "pool, activation, flatten": (
        nn.Sequential(nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Flatten()),
        (3, 8, 8),
    ),
    "chain": (
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5), nn.LayerNorm(5), nn.Tanh()
        ),
        (3, 8, 8),
    ),
}


def forward_and_backward(part: Part, flat_CD: Tensor, x_CB: Tensor) -> tuple[Tensor, ...]:
    """Return output, gradient by the parameters and gradient by the input."""
    flat, x = flat_CD.clone().requires_grad_(), x_CB.clone().requires_grad_()
    out = part.forward(part.views(flat), 1.0 * x)
    out.square().sum().backward()
    return out, torch.empty(0) if flat.grad is None else flat.grad, x.grad


@pytest.mark.parametrize("kind", LAYERS)
def test_stacked_participants_are_looped_participants(kind: str) -> None:
    """Three participants at once: each i's output and gradients are those of the layer alone."""
    layer, shape = LAYERS[kind]
    part = Part([("layer", layer)])
    flat, x = normal(3, part.dimension, seed=2).double(), normal(3, 4, *shape, seed=1).double()

    stacked = forward_and_backward(part, flat, x)

    for i in range(3):
        alone = forward_and_backward(part, flat[i : i + 1], x[i : i + 1])
        for of_all, of_one in zip(stacked, alone, strict=True):
            torch.testing.assert_close(of_all[i : i + 1], of_one, rtol=1e-10, atol=1e-12)


def test_stacked_participants_of_an_embedding() -> None:
    """Whole numbers go in: the fallback serves any layer that vmap serves."""
    part = Part([("tokens", nn.Embedding(7, 4)), ("linear", nn.Linear(4, 2))])
    flat, x = (
        normal(3, part.dimension),
        torch.randint(7, (3, 5, 6), generator=torch.Generator().manual_seed(1)),
    )

    out = part.forward(part.views(flat), x)

    looped = [part.forward(part.views(flat[i : i + 1]), x[i : i + 1])[0] for i in range(3)]
    assert_same(out, torch.stack(looped))


# Optimizers over participants.

SHAPES = ((4, 3), (5, 4))  # matrices, since Muon takes no other parameters
SETTINGS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
    "Adam": {"weight_decay": 0.01, "amsgrad": True},
    "ASGD": {"t0": 1.0},
}


def optimize(name: str, flat_CD: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """Return the flat vectors [C, d] after one step along each of `gradients` [C, d]."""
    part = Part(
        [(f"layer-{i}", nn.Linear(columns, rows, bias=False)) for i, (rows, columns) in enumerate(SHAPES)]
    )
    x = flat_CD.clone()
    leaves = [view.detach().requires_grad_() for view in part.views(x)]
    optimizer = Optimizer(leaves, len(x), {"name": name, "lr": 0.05, **SETTINGS.get(name, {})})
    for gradient in gradients:
        optimizer.step(part.views(gradient))
    return x


@pytest.mark.parametrize("name", NAMES)
def test_stacked_participants_are_optimized_each_on_its_own(name: str) -> None:
    """Every optimizer, those that look at whole tensors too, steps stacked participants as it steps one."""
    d = sum(rows * columns for rows, columns in SHAPES)
    x, gradients = normal(3, d), [normal(3, d, seed=seed) * 10.0 ** -(seed % 3) for seed in range(1, 6)]

    stacked = optimize(name, x, gradients)

    looped = [optimize(name, x[i : i + 1], [g[i : i + 1] for g in gradients])[0] for i in range(3)]
    assert float((stacked - x).abs().min()) > 0
    assert_same(stacked, torch.stack(looped))


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_goes_on_from_its_state(name: str) -> None:
    """Three steps in a row = three optimizers that hand their state on, bit for bit."""
    gradients = [[normal(4, 3, seed=seed)] for seed in (1, 2, 3)]
    settings = {"name": name, "lr": 0.05, **SETTINGS.get(name, {})}
    in_a_row, handed_on = normal(4, 3).requires_grad_(), normal(4, 3).requires_grad_()
    optimizer, state = Optimizer([in_a_row], 1, settings), {}
    for gradient in gradients:
        optimizer.step(gradient)
        following = Optimizer([handed_on], 1, settings)
        following.restore("own", state)
        following.step(gradient)
        state = following.state("own")

    assert torch.equal(in_a_row, handed_on)
    assert all(isinstance(value, Tensor) for value in state.values())
