"""Batch norm, dropout, residual networks: in parts and in participants what plain torch makes of the whole.

The oracles are torch's own modules in training mode and torch.optim; of the package they share the keys
of the masks alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from oracle.harness import RecordingSession, scenario
from safetensors.torch import save_file
from torch import Tensor, nn

from sflsim.errors import ScenarioError
from sflsim.learning.graph.fingerprint import of_network
from sflsim.learning.models.alexnet import AlexNet
from sflsim.learning.models.mlp import MLP
from sflsim.learning.models.resnet import ResNet18, ResNet34
from sflsim.learning.network.modes import Training
from sflsim.learning.network.split import Part, cut_blocks
from sflsim.learning.task import Task, build_blocks, built
from sflsim.registry import algorithms, config_of
from sflsim.streams import seed_of

SMALL = ResNet18(width=2, dropout=0.4)
GROUP = {"name": "one", "device": {"compute": "1 GFLOP/s"}}
WORKLOAD = {"model": SMALL.model_dump(), "batch_size": 6}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_slow(values: Iterable[Any], quick: set[Any]) -> list[Any]:
    """Return the values as parameters, all but the quick ones for the slow suite."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def assert_same(found: Tensor, wanted: Tensor, rtol: float = 2e-4, atol: float = 2e-5) -> None:
    """Equal but for the order of additions."""
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)


class Masked(nn.Module):
    """Dropout by torch's own arithmetic under masks drawn here from the documented key."""

    def __init__(self, name: str, p: float) -> None:
        super().__init__()
        self.name, self.p = name, p
        self.batch: tuple[int, int] = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        draws = torch.Generator().manual_seed(seed_of((0, "dropout", self.name, *self.batch)))
        kept = torch.rand(x.shape, generator=draws) >= self.p
        return torch.where(kept, x / (1.0 - self.p), torch.zeros(()))


def plain(seed: int = 0) -> tuple[nn.Sequential, Masked]:
    """Return the small network as torch has it, and the layer that must be told the batch.

    Laid out with channels last, as sflsim does: batch norm on few samples makes much of last bits.
    """
    blocks = build_blocks(SMALL, (1, 8, 8), 10, seed)
    head, masked = blocks[-1][1], Masked("head.dropout", 0.4)
    assert type(head.dropout) is nn.Dropout
    head.dropout = masked
    network = nn.Sequential(*[block for _, block in blocks]).train()
    return network.to(memory_format=torch.channels_last), masked  # type: ignore[call-overload]


def numbers(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


# AlexNet.


def test_alexnet_is_the_papers_network() -> None:
    """Its only activation functions are the ReLUs behind the three poolings; 3,868,746 parameters."""
    blocks = AlexNet().build((3, 32, 32), 10)
    layers = [layer for _, block in blocks for layer in block.modules() if not list(layer.children())]
    names = [
        *("Conv2d", "MaxPool2d", "ReLU", "Conv2d", "MaxPool2d", "ReLU"),
        *("Conv2d", "Conv2d", "Conv2d", "MaxPool2d", "ReLU", "Flatten", "Linear", "Linear", "Linear"),
    ]

    assert [type(layer).__name__ for layer in layers] == names
    weights = [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    channels = [(32, 3), (64, 32), (128, 64), (256, 128), (256, 256)]
    assert weights == [(*pair, 3, 3) for pair in channels] + [(1024, 2304), (512, 1024), (10, 512)]
    assert sum(parameter.numel() for _, block in blocks for parameter in block.parameters()) == 3_868_746


def test_what_another_alexnet_has_learned_is_not_taken_for_this_ones() -> None:
    """ReLU after each layer, as it was once: the same parameters under the same names, another key."""
    blocks = build_blocks(AlexNet(), (3, 16, 16), 10, 0)
    with_relu = copy.deepcopy(blocks)
    for name, block in with_relu:
        if name in ("conv-3", "conv-4", "dense-1", "dense-2"):
            assert isinstance(block, nn.Sequential)
            block.append(nn.ReLU())

    for (_, old), (_, new) in zip(with_relu, blocks, strict=True):
        assert list(old.state_dict()) == list(new.state_dict())
    assert of_network(with_relu) != of_network(blocks) == of_network(copy.deepcopy(blocks))


# Split and unsplit.


@pytest.mark.parametrize("cut", some_slow(range(1, len(SMALL.block_names)), {1, 4, 9}))
def test_training_at_any_cut_is_sgd_on_the_unsplit_network(cut: int) -> None:
    """One client, SplitFed V1, 2 rounds of 2 batches: weights and running statistics are torch's."""
    rate = {"lr": 0.01, "weight_decay": 0.01}
    variant = {"algorithm": "splitfed-v1", "local_iterations": 2}
    session = RecordingSession(
        scenario(
            {**variant, "client_optimizer": rate, "server_optimizer": rate},
            workload={**WORKLOAD, "cut": cut},
            fleet={"clients": 1, "groups": [GROUP]},
            rounds=2,
        )
    )
    session.run(0, 0, lambda row: None)
    network, masked = plain()
    before = copy.deepcopy(numbers(network))
    optimizer = torch.optim.SGD(network.parameters(), **rate)
    for masked.batch, (x, y) in sorted(session.batches.items()):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    trained = session.learner.models[-1]
    found = torch.cat([trained["client"], trained["server"]])
    views = session.learner.task.whole.views(found[None])
    wanted = {name.partition(".")[2]: tensor for name, tensor in _named(network).items()}
    assert len(session.batches) == 4
    for name, view in zip(session.learner.task.whole.names, views, strict=True):
        assert_same(view, wanted[name])
    moved = [name for name, tensor in before.items() if not torch.equal(tensor, numbers(network)[name])]
    assert len(moved) == len(before)


def _named(network: nn.Sequential) -> dict[str, Tensor]:
    """Return a Sequential's numbers as "<place>.<block>.<name>"."""
    return {
        f"{place}.{block}.{name}": tensor
        for place, (block, module) in enumerate(zip(SMALL.block_names, network, strict=True))
        for name, tensor in numbers(module).items()
    }


@pytest.mark.parametrize(
    ("model", "shape"),
    [(SMALL, (3, 9, 7)), (AlexNet(), (3, 16, 12)), (ResNet18(width=2, stem="imagenet"), (1, 40, 40))],
)
def test_outputs_and_gradients_are_those_of_the_unsplit_network(model: Any, shape: tuple[int, ...]) -> None:
    """Over all cuts: output and gradients in training, and output in use, of torch's network."""
    network = nn.Sequential(*[block for _, block in build_blocks(model, shape, 5, 1)])
    for place, module in enumerate(network):
        if hasattr(module, "dropout"):
            module.dropout = Masked(f"{model.block_names[place]}.dropout", 0.4)
    x, y = normal(4, *shape), torch.arange(4)
    in_use = copy.deepcopy(network).eval()(x)
    output = network.train()(x)
    nn.functional.cross_entropy(output, y).backward()
    wanted = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    training = Training(0, [[(0, 0)]])
    for cut in range(1, len(network)):
        client, server = cut_blocks(build_blocks(model, shape, 5, 1), cut)
        flat = [part.initial()[None] for part in (client, server)]
        assert_same(server.apply(server.views(flat[1]), client.apply(client.views(flat[0]), x)), in_use)
        leaves = [client.leaves(flat[0]), server.leaves(flat[1])]
        logits = server.apply(leaves[1], client.apply(leaves[0], x, training), training)
        parameters = [*client.parameters(leaves[0]), *server.parameters(leaves[1])]
        gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, y), parameters)

        assert_same(logits, output)
        assert_same(torch.cat([gradient.flatten() for gradient in gradients]), wanted)


# Participants.


class Composite(nn.Module):
    """A block of its own in which both modes' layers stand, dropout twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.norm(self.conv(self.drop(x))))


class Alone(Composite):
    """The same, one by one."""

    stackable = False


def frozen_affine() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    for parameter in norm.parameters():
        parameter.requires_grad_(False)
    return norm


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "batch norm": (nn.BatchNorm2d(3), (3, 4, 4)),
    "batch norm of vectors": (nn.BatchNorm1d(5), (5,)),
    "batch norm without weights": (nn.BatchNorm2d(3, affine=False, momentum=0.3), (3, 4, 4)),
    "batch norm with frozen weights": (frozen_affine(), (3, 4, 4)),
    "batch norm without statistics": (nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 4)),
    "dropout": (nn.Dropout(0.3), (7,)),
    "dropout of channels": (nn.Dropout2d(0.5), (6, 2, 2)),
    "chain": (
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2)),
        (3, 5, 5),
    ),
    "composite": (Composite(), (3, 4, 4)),
    "composite, one by one": (Alone(), (3, 4, 4)),
}


def passed(part: Part, flat_CN: Tensor, x: Tensor, training: Training | None) -> list[Tensor]:
    """Return output, gradients by parameters and input [C, ...], and the vector after the pass."""
    flat, x = flat_CN.clone(), x.clone().requires_grad_()
    leaves = part.leaves(flat)
    out = part.forward(leaves, 1.0 * x, training)
    parameters = part.parameters(leaves)
    gradients = torch.autograd.grad(out.square().sum(), [*parameters, x])
    return [out, *(gradient.reshape(len(flat), -1) for gradient in gradients), flat]


@pytest.mark.parametrize("mode", ["training", "in use"])
@pytest.mark.parametrize("kind", LAYERS)
def test_stacked_participants_are_looped_participants(kind: str, mode: str) -> None:
    """Three participants at once: output, gradients and running statistics are those of each alone."""
    layer, shape = LAYERS[kind]
    part = Part([("layer", copy.deepcopy(layer).double())])
    flat, x = normal(3, part.size, seed=2).abs().double(), normal(3, 4, *shape, seed=1).double()
    names = [[(client, 5)] for client in (0, 4, 2)]

    stacked = passed(part, flat, x, Training(9, names) if mode == "training" else None)

    for i in range(3):
        training = Training(9, [names[i]]) if mode == "training" else None
        alone = passed(part, flat[i : i + 1], x[i : i + 1], training)
        for of_all, of_one in zip(stacked, alone, strict=True):
            assert_same(of_all[i : i + 1], of_one, rtol=1e-9, atol=1e-11)
    has_moved = not torch.equal(stacked[-1], flat)
    assert has_moved == (part.has_statistics and mode == "training")


def test_running_statistics_are_torchs() -> None:
    """Momentum, unbiased variance: bit for bit what nn.BatchNorm2d keeps after three batches."""
    norm, part = nn.BatchNorm2d(3, momentum=0.2), Part([("norm", nn.BatchNorm2d(3, momentum=0.2))])
    flat = part.initial()[None]
    for seed in range(3):
        norm(normal(4, 3, 2, 2, seed=seed))
        part.apply(part.leaves(flat), normal(4, 3, 2, 2, seed=seed), Training(0, [[(0, seed)]]))

    assert part.names == ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    assert torch.equal(torch.cat(part.statistics(flat)), torch.cat([norm.running_mean, norm.running_var]))


def test_masks_differ_by_batch_and_layer_and_are_joined_along_the_batch() -> None:
    """Another batch, layer or seed: another mask; two batches in one i: their two masks."""
    part, x = Part([("a", nn.Dropout(0.5)), ("b", nn.Dropout(0.5))]), torch.ones(64, 8)
    one, other = (part.apply([], x, Training(0, [[(0, number)]])) for number in (1, 2))
    joined = part.apply([], torch.ones(128, 8), Training(0, [[(0, 1), (0, 2)]]))

    assert torch.equal(joined, torch.cat([one, other]))
    assert not torch.equal(one, other)
    assert not torch.equal(one, part.apply([], x, Training(1, [[(0, 1)]])))
    assert torch.equal(part.apply([], x), x)
    assert float((one > 0).float().mean()) == pytest.approx(0.25, abs=0.08)  # two layers: 512 draws, 4 sigma


# Zeroth order, averages.


def test_directions_pass_over_running_statistics() -> None:
    """As long directions, chunk by chunk, as short: parameters get u, statistics keep every bit."""
    part = Part([("a", nn.BatchNorm1d(3)), ("b", nn.Linear(3, 4)), ("c", nn.BatchNorm1d(4))])
    data = mock.Mock(seed=0, device=torch.device("cpu"))
    for chunk in (1 << 20, 5):
        with mock.patch("sflsim.learning.zeroth_order.CHUNK", chunk):
            u = Task.directions(data, [("x", 1)], part, "sphere")
            x = torch.zeros(1, part.size)
            u.add_(x, 2.0)
        assert part.dimension == 6 + 16 + 8 == part.size - 14
        assert not torch.cat([view.flatten() for view in part.statistics(x)]).any()
        moved = torch.cat([view.flatten() for view in part.parameters(part.views(x))])
        assert bool(moved.all())
        assert float(moved.norm()) == pytest.approx(2 * part.dimension**0.5, rel=1e-5)


ALGORITHMS = sorted(set(algorithms()) - {"fedlora"})  # asks for a model with adapters
FIRST_ORDER_CLIENTS = {
    "fedavg",
    "fedasync",
    "fedbuff",
    "sl",
    "splitfed-v1",
    "splitfed-v2",
    "psl",
    "gas",
    "cse-fsl",
    "fsl-sage",
}
FIRST_ORDER_SERVERS = FIRST_ORDER_CLIENTS | {"ho-sfl", "heron-sfl", "frozen-client"}


def trained(algorithm: str, participants: int) -> RecordingSession:
    variant: dict[str, Any] = {"algorithm": algorithm}
    rates = {name for name in config_of(algorithms()[algorithm]).model_fields if name.endswith("optimizer")}
    variant |= {name: {"lr": 0.01} for name in rates}
    if algorithm in ("cse-fsl", "heron-sfl"):
        variant |= {"local_iterations": 2, "q": 1}
    if algorithm in ("gas", "zo-gas"):
        variant |= {"local_iterations": 2, "q_s": 2, "q_c": 1}
    if algorithm in ("fedavg", "fedasync", "fedbuff"):
        variant |= {"local_iterations": 2}
    session = RecordingSession(scenario(variant, workload={**WORKLOAD, "batch_size": 12, "cut": 4}, rounds=2))
    with mock.patch.object(Task, "participants_at_once", participants):
        outcome = session.run(0, 0, lambda row: None)
    assert outcome.status == "completed"
    return session


@pytest.mark.parametrize("algorithm", some_slow(ALGORITHMS, {"splitfed-v1", "mu-splitfed", "ho-sfl"}))
def test_every_algorithm_trains_a_residual_network(algorithm: str) -> None:
    """Stacked and looped alike; running statistics move in those parts alone that are trained first-order."""
    one, three = trained(algorithm, 1), trained(algorithm, 3)
    task = one.learner.task
    for part, first_order in (("client", FIRST_ORDER_CLIENTS), ("server", FIRST_ORDER_SERVERS)):
        first, last = one.learner.models[0][part], one.learner.models[-1][part]
        own: Part = getattr(task, part)
        before, after = (torch.cat(own.statistics(model[None])) for model in (first, last))
        assert bool(last.isfinite().all())
        assert torch.equal(before, after) != (algorithm in first_order)
        apart, moved = last - three.learner.models[-1][part], last - first
        assert float(apart.norm()) <= 2e-3 * float(moved.norm())


def test_averages_take_running_statistics_in() -> None:
    """Three clients, one batch each: the mean model's running means are the mean of the clients'."""
    session = trained("splitfed-v1", 1)
    (call,) = [call for call in session.learner.calls if call.function == "train" and call.round == 0]
    parts = session.learner.executor.resolve(call.handles)
    task, mean = session.learner.task, session.learner.models[1]
    shares = [len(task.shards[args["client"]]) for args in call.arguments]
    for part in ("client", "server"):
        own: Part = getattr(task, part)
        wanted = sum(s * torch.cat(own.statistics(p[part][None])) for s, p in zip(shares, parts, strict=True))
        assert_same(torch.cat(own.statistics(mean[part][None])), wanted / sum(shares))


# Models.


@pytest.mark.parametrize(("model", "count"), [(ResNet18(), 11_689_512), (ResNet34(), 21_797_672)])
def test_residual_networks_have_torchvisions_parameters(model: Any, count: int) -> None:
    """Published counts for 1000 classes; names as a user of torchvision knows them."""
    with torch.device("meta"):
        part = Part(built(model, (3, 224, 224), 1000, 1))
        x = part.apply([torch.empty(shape) for shape in part.shapes], torch.empty(2, 3, 224, 224))
    names = [name.removeprefix("stem.").removeprefix("head.") for name in part.names]

    assert part.dimension == count
    assert x.shape == (2, 1000)
    assert names[:5] == ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"]
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "fc.bias"} <= set(names)
    assert "layer1.0.downsample.0.weight" not in names


def test_stem_goes_by_the_size_of_the_images() -> None:
    """CIFAR's images keep their size through the stem; ImageNet's lose three quarters of it."""
    with torch.device("meta"):
        for size, out in ((32, 32), (224, 56)):
            stem = Part(ResNet18().build((3, size, size), 10)[:1])
            x = stem.apply([torch.empty(shape) for shape in stem.shapes], torch.empty(2, 3, size, size))
            assert x.shape == (2, 64, out, out)


def test_weights_are_loaded_by_torchvisions_names(tmp_path: Path) -> None:
    """All tensors of a file go where their names say; counters of batches are passed over."""
    blocks = SMALL.build((1, 8, 8), 10)
    state = {f"{name}.{key}": tensor for name, block in blocks for key, tensor in block.state_dict().items()}
    state = {
        name.removeprefix("stem.").removeprefix("head."): normal(*t.shape, seed=i) if t.dim() else t
        for i, (name, t) in enumerate(state.items())
    }
    save_file(state, tmp_path / "weights.safetensors")
    model = ResNet18.model_validate(
        {"width": 2, "weights": "weights.safetensors"}, context={"base_dir": tmp_path}
    )

    part = Part(build_blocks(model, (1, 8, 8), 10, 0))

    for name, view in zip(part.names, part.views(part.initial()[None]), strict=True):
        assert torch.equal(view, state[name.removeprefix("stem.").removeprefix("head.")])
    with pytest.raises(ScenarioError, match=r"2 of another shape: fc.weight \(10, 16\) for \(3, 16\)"):
        build_blocks(model, (1, 8, 8), 3, 0)
    lenient = model.model_copy(update={"weights_strict": False})
    fitted = Part(build_blocks(lenient, (1, 8, 8), 3, 0))
    assert torch.equal(fitted.views(fitted.initial()[None])[0], state["conv1.weight"])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """What is missing and what is too many is listed; no file, no safetensors file."""
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name, message in (
        ("w.safetensors", r"4 missing: hidden-1.1.weight.*1 unexpected: other.weight"),
        ("text.safetensors", "a safetensors file"),
        ("none.safetensors", "a safetensors file"),
    ):
        model = MLP.model_validate({"hidden": (3,), "weights": name}, context={"base_dir": tmp_path})
        with pytest.raises(ScenarioError, match=message):
            build_blocks(model, (1, 8, 8), 10, 0)


def test_frozen_parameters_are_out_of_the_vector_and_stay() -> None:
    """Batch norm's weights frozen, as HO-SFL has it: they keep every bit, the statistics move."""
    model = ResNet18(width=2, freeze=("*bn?.*", "*downsample.1.*"))
    workload = {"model": model.model_dump(), "batch_size": 6, "cut": 3}
    session = RecordingSession(scenario({"algorithm": "splitfed-v1"}, workload=workload, rounds=1))
    session.run(0, 0, lambda row: None)
    whole = session.learner.task.whole
    norms = [name for name in whole.names if "bn" in name or "downsample.1" in name]

    assert {name.rpartition(".")[2] for name in norms} == {"running_mean", "running_var"}
    costs = session.requirements.costs(3)
    # stem, two blocks of layer1: 5 norms of 2 channels, weight and bias frozen; means and variances sent
    assert costs.client_frozen_bytes == 4 * 5 * 2 * 2
    assert costs.client_model_bytes == 4 * (9 * 2 + 4 * 9 * 4 + 5 * 2 * 2)
    with pytest.raises(ScenarioError, match=r"'bn9\.\*', which matches no parameter"):
        build_blocks(ResNet18(width=2, freeze=("bn9.*",)), (1, 8, 8), 10, 0)


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "mu-splitfed", "fedavg", "ho-sfl", "gas"])
def test_a_client_part_may_be_frozen_wholly(algorithm: str) -> None:
    """Nothing to train at the client: it keeps every bit, the server learns."""
    model = MLP(hidden=(5, 4), freeze=("hidden-1.*",))
    workload = {"model": model.model_dump(), "batch_size": 6}
    buffers = {"q_s": 2, "q_c": 1} if algorithm == "gas" else {}
    session = RecordingSession(scenario({"algorithm": algorithm, **buffers}, workload=workload, rounds=2))
    assert session.run(0, 0, lambda row: None).status == "completed"
    first, last = session.learner.models[0], session.learner.models[-1]

    assert first["client"].numel() == 0 == session.requirements.costs(1).client_model_bytes
    assert session.requirements.costs(1).client_frozen_bytes == 4 * (64 * 5 + 5)
    assert last["client"].numel() == 0
    assert not torch.equal(first["server"], last["server"])


def test_what_no_network_can_use_is_refused_before_training() -> None:
    """Images too small, samples that are no images, one number per channel, a mean over all batches."""
    single = scenario({"algorithm": "splitfed-v1"}, workload={**WORKLOAD, "batch_size": 1})
    with pytest.raises(ScenarioError, match="images of 12x12 pixels or more for alexnet"):
        RecordingSession(scenario({"algorithm": "fedavg"}, workload={"model": "alexnet"})).check()
    with pytest.raises(ScenarioError, match="samples of shape"):
        ResNet18().build((64,), 10)
    with pytest.raises(ScenarioError, match=r"workload.batch_size.*\n.*a batch of 1"):
        RecordingSession(single).check()
    with pytest.raises(ScenarioError, match="momentum None"):
        Part([("norm", nn.BatchNorm2d(3, momentum=None))])
