"""A user's network is trained as it is written, or refused in one sentence that says where."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sflsim.errors import ScenarioError
from sflsim.learning.network.as_written import check_as_written
from sflsim.learning.network.modes import Training
from sflsim.learning.network.split import Part, cut_blocks

Blocks = list[tuple[str, nn.Module]]


class Own(nn.Module):
    """A linear layer with something around it."""

    def __init__(self, around: Callable[[Any, Tensor, Tensor], Any], **more: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.around = around
        self.register_buffer("average", torch.zeros(6))
        self.calls = 0
        self.last: Any = None
        for name, value in more.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Any:
        return self.around(self, self.linear(x), x)


def blocks_with(layer: nn.Module, name: str = "own") -> Blocks:
    return [("first", nn.Linear(6, 6)), (name, layer), ("last", nn.Linear(6, 3))]


def checked(blocks: Blocks) -> Blocks:
    torch.manual_seed(3)
    check_as_written(blocks, torch.randn(4, 6))
    return blocks


def counted(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.calls += 1
    return y


def moved(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.average.mul_(0.9).add_(0.1 * y.mean(0))
    return y


def remembered(self: Any, y: Tensor, x: Tensor) -> Tensor:
    before, self.last = self.last, y.detach()
    return y if before is None or before.shape != y.shape else y + 0.1 * before


def in_place(self: Any, y: Tensor, x: Tensor) -> Tensor:
    x.add_(1.0)
    return y


def lazy(self: Any, y: Tensor, x: Tensor) -> Tensor:
    if not hasattr(self, "bias"):
        self.bias = nn.Parameter(torch.zeros(6))
    return y + self.bias


class OwnDropout(nn.Dropout):
    """Named like torch's, and another function."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2.0 if self.training else x


class KeptNorm(nn.Module):
    """Batch norm that stays out of training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def train(self, mode: bool = True) -> KeptNorm:
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Hidden(nn.Module):
    """Uses its layer by a list, which no function of the parameters can see."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.weights = [self.linear.weight]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[0])


class AlwaysOn(nn.Module):
    """Dropout that turns itself on."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop.train()(x)


def hooked(kind: str) -> nn.Module:
    layer = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    if kind == "forward":
        layer.register_forward_hook(lambda layer, args, out: 2 * out)
    elif kind == "inner":
        layer[0].register_forward_pre_hook(lambda layer, args: (2 * args[0],))
    elif kind == "backward":
        layer[0].register_full_backward_hook(lambda layer, gin, gout: None)
    else:
        layer[0].weight.register_hook(lambda gradient: 0 * gradient)
    return layer


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "functional dropout": (
        lambda: Own(lambda self, y, x: F.dropout(y, 0.9, training=self.training)),
        r"block own \(Own, test_user_modules.py:\d+\), which draws random numbers in training",
    ),
    "functional batch norm": (
        lambda: Own(
            lambda self, y, x: F.batch_norm(y, self.average, self.average + 1, training=self.training)
        ),
        "computes otherwise in training than in use|changes its 'average'",
    ),
    "another function in training": (
        lambda: nn.Sequential(Own(lambda self, y, x: 2 * y if self.training else y)),
        r"block own\.0 \(Own, .*computes otherwise in training",
    ),
    "always-on random numbers": (
        lambda: Own(lambda self, y, x: y + torch.randn_like(y)),
        "draws random numbers in use",
    ),
    "numpy's random numbers": (lambda: Own(lambda self, y, x: y * np.random.rand()), "random numbers in use"),  # noqa: NPY002
    "python's random numbers": (lambda: Own(lambda self, y, x: y * random.random()), "random numbers in use"),
    "a generator of its own": (
        lambda: Own(
            lambda self, y, x: y + torch.randn(y.shape, generator=self.source), source=torch.Generator()
        ),
        "gives another output when it is called again",
    ),
    "attention with dropout": (
        lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1),
        "random numbers in training",
    ),
    "random leaky ReLU": (lambda: nn.RReLU(), r"block own \(RReLU\), which draws random numbers in training"),
    "a count": (lambda: Own(counted), "changes its 'calls' when it is called"),
    "a moving average": (lambda: Own(moved), "changes its 'average' when it is called"),
    "a memory": (lambda: Own(remembered), "gives another output when it is called again"),
    "instance norm with statistics": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()
        ),
        "otherwise in training|changes its",
    ),
    "spectral norm": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)),
        "changes its '_u'|otherwise in training",
    ),
    "an input changed in place": (lambda: Own(in_place), "changes its input in place"),
    "outputs that depend on the batch": (
        lambda: Own(lambda self, y, x: y - y.mean(0)),
        "depends on the others of its batch",
    ),
    "batch norm without statistics": (
        lambda: nn.BatchNorm1d(6, track_running_stats=False),
        "depends on the others of its batch",
    ),
    "a tuple": (lambda: Own(lambda self, y, x: (y, x)), "which returns a tuple"),
    "a dictionary": (lambda: Own(lambda self, y, x: {"y": y}), "which returns a dict"),
    "whole numbers": (lambda: Own(lambda self, y, x: y.argmax(1)), "returns torch.int64"),
    "samples that are lost": (lambda: Own(lambda self, y, x: y[:1]), "of shape"),
    "a hook": (lambda: hooked("forward"), "with a hook"),
    "a hook of a layer": (lambda: hooked("inner"), r"block own\.0 \(Linear\) with a hook"),
    "a backward hook": (lambda: hooked("backward"), "with a hook"),
    "a hook of a parameter": (lambda: hooked("parameter"), r"the parameter own\.0\.weight with a hook"),
    "old weight norm": (lambda: nn.utils.weight_norm(nn.Linear(6, 6)), "parametrizations"),
    "parameters of other types": (lambda: nn.Linear(6, 6).double(), "float64"),
    "parameters that come later": (lambda: Own(lazy), "changes its 'bias'"),
    "dropout of another function": (lambda: OwnDropout(0.5), "computes otherwise in training"),
    "batch norm kept out of training": (lambda: KeptNorm(), "kept out of training"),
    "dropout that turns itself on": (lambda: AlwaysOn(), "draws random numbers in use"),
    "parameters used by another name": (lambda: Hidden(), "otherwise than by the module's name"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_trained_otherwise_is_refused(kind: str) -> None:
    made, words = REFUSED[kind]
    blocks = blocks_with(made())
    states = torch.get_rng_state(), np.random.get_state()[1:3], random.getstate()  # noqa: NPY002
    with pytest.raises(ScenarioError, match=words) as caught:
        check_as_written(blocks, torch.linspace(-1, 1, 24).view(4, 6))
    assert str(caught.value).count("found") == 1
    now = torch.get_rng_state(), np.random.get_state()[1:3], random.getstate()  # noqa: NPY002
    assert torch.equal(states[0], now[0])
    assert np.array_equal(states[1][0], now[1][0])
    assert (states[1][1], states[2]) == (now[1][1], now[2])


def test_a_layer_in_two_blocks_is_refused() -> None:
    """Tied weights that a cut would part: learned apart, sent twice."""
    tied = nn.Linear(6, 6)
    blocks = [("a", tied), ("b", nn.Sequential(nn.ReLU(), tied)), ("c", nn.Linear(6, 3))]
    with pytest.raises(
        ScenarioError, match=r"a\.weight and b\.1\.weight, which are one tensor in two blocks"
    ):
        check_as_written(blocks, torch.randn(4, 6))
    alias = nn.Linear(6, 6)
    alias.weight = nn.Parameter(tied.weight.data)
    with pytest.raises(ScenarioError, match="share their memory"):
        check_as_written(blocks_with(nn.Sequential(tied, alias)), torch.randn(4, 6))


def test_a_layer_used_twice_in_one_block_stays_one() -> None:
    """Its parameters are counted once, and its gradient is the sum over both places, as torch's own."""
    tied = nn.Linear(6, 6)
    blocks = checked(blocks_with(nn.Sequential(tied, nn.Tanh(), tied)))
    client, server = cut_blocks(blocks, 2)
    assert (client.size, server.size) == (2 * 42, 21)  # the first block and the tied layer; the last
    x = torch.randn(4, 6)
    leaves = client.leaves(client.initial()[None])
    found = torch.autograd.grad(client.apply(leaves, x).square().sum(), leaves)
    out = blocks[1][1](blocks[0][1](x))
    own = [*blocks[0][1].parameters(), *tied.parameters()]
    for one, other in zip(found, torch.autograd.grad(out.square().sum(), own), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_tied_parameters_of_two_layers_in_one_block_stay_one() -> None:
    """As a decoder that uses the encoder's weights: one tensor, one gradient, both places follow it."""
    one, other = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
    other.weight = one.weight
    part = Part(checked(blocks_with(nn.Sequential(one, nn.Tanh(), other))))
    assert part.size == 42 + 42 + 21
    x, doubled = torch.randn(2, 4, 6), 2 * part.initial()[None].expand(2, -1)
    found = part.forward(part.views(doubled), x)
    with torch.no_grad():
        for _, block in part.blocks:
            for parameter in block.parameters():
                parameter.mul_(2)
            x = block(x)
    assert torch.allclose(found, x, rtol=1e-5, atol=1e-6)


def test_an_activation_that_stands_in_two_places_is_run_in_both() -> None:
    """One nn.Tanh object, used twice in a chain."""
    tanh = nn.Tanh()
    blocks = blocks_with(nn.Sequential(tanh, nn.Linear(6, 6), tanh))
    part, x = Part(blocks), torch.randn(4, 6)
    wanted = x
    for _, block in blocks:
        wanted = block(wanted)
    assert torch.equal(part.apply(part.views(part.initial()[None]), x), wanted)


class Plain(nn.Module):
    """Dropout and batch norm by torch's layers, a frozen parameter and one of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.full((6,), 2.0), requires_grad=False)
        self.order = nn.Parameter(torch.arange(5, -1, -1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.linear(x)))[:, self.order] * self.scale


def branching(self: Any, y: Tensor, x: Tensor) -> Tensor:
    return torch.stack([row if float(row.sum()) > 0 else 2 * row for row in y])


def other_forward() -> nn.Module:
    layer = nn.Linear(6, 6)
    layer.forward = lambda x: F.linear(x, layer.weight, layer.bias) * 3.0  # type: ignore[method-assign]
    return layer


READ: dict[str, Callable[[], nn.Module]] = {
    "torch's layers with a mode": lambda: Plain(),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)),
    "a branch on values": lambda: Own(branching),
    "lazy layers": lambda: nn.Sequential(nn.LazyLinear(6), nn.ReLU()),
    "a layer with another forward": other_forward,
    "recurrent": lambda: Own(
        lambda self, y, x: self.gru(y[:, None])[0][:, 0], gru=nn.GRU(6, 6, batch_first=True)
    ),
    "attention": lambda: Own(
        lambda self, y, x: self.attend(*3 * [y[:, None]])[0][:, 0],
        attend=nn.MultiheadAttention(6, 2, batch_first=True),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", READ)
def test_what_is_read_computes_as_written(kind: str) -> None:
    """Three participants stacked: outputs in use as the module's own."""
    layer = READ[kind]()
    layer(torch.randn(4, 6))  # lazy ones get their parameters as they do when a model is built
    blocks = checked(blocks_with(layer))
    part, x = Part(blocks), torch.randn(3, 5, 6)
    with torch.no_grad():
        wanted = torch.stack([blocks[2][1](layer(blocks[0][1](one))) for one in x])
        found = part.forward(part.views(part.initial().expand(3, -1)), x)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_masks_of_a_users_dropout_are_keyed() -> None:
    """Two passes under one name are the same, under another not."""
    part = Part(checked(blocks_with(Plain())))
    x, leaves = torch.randn(8, 6), part.leaves(part.initial()[None].clone())
    one, again, other = (part.apply(leaves, x, Training(1, [[(0, batch)]])) for batch in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
