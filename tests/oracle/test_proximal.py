"""FedProx's term against torch: the loss of a local step has mu / 2 |x - x_start|^2 added to it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracle import harness
from support import data, read
from torch import Tensor, nn

from sflsim.algorithms import gas, splitfed_v2
from sflsim.errors import ScenarioError
from sflsim.learning.optimizers import Optimizer

MU, LR = 0.8, 0.1
SGD = {"lr": LR}
SEVERAL = {"local_iterations": 3}
BOTH = {"client_optimizer": SGD, "server_optimizer": SGD}
HELD: dict[str, dict[str, Any]] = {
    "fedavg": {"optimizer": SGD},
    "fedlora": {"optimizer": SGD},
    "fedasync": {"optimizer": SGD},
    "fedbuff": {"optimizer": SGD, "b": 2},
    "splitfed-v1": BOTH,
    "splitfed-v2": BOTH,
    "psl": BOTH,
    "cse-fsl": {**BOTH, "q": 1},
    "gas": {"client_optimizer": {"lr": LR, "clip": None}, "q_s": 3, "q_c": 2},
}
OTHERS = ["sl", "mu-splitfed", "zo-splitfed", "zo-gas", "ho-sfl", "heron-sfl", "frozen-client"]


@pytest.mark.parametrize(
    "settings", [{"name": "SGD", "momentum": 0.9}, {"name": "Adam"}, {"name": "Adafactor"}], ids=str
)
def test_the_term_is_that_of_the_loss(settings: dict[str, Any]) -> None:
    """Three stacked participants, clipped: each is torch's own optimizer on the sum of loss and term."""
    draws = torch.Generator().manual_seed(3)
    start = [torch.randn(3, *shape, generator=draws) for shape in ((4, 3), (3,))]
    target = [torch.randn(3, *shape, generator=draws) for shape in ((4, 3), (3,))]
    leaves = [tensor.clone().requires_grad_() for tensor in start]
    ours = Optimizer(leaves, 3, {**settings, "lr": 0.05, "clip": 1.0, "proximal": MU})
    for _ in range(4):
        losses = sum(((leaf - aim) ** 2).sum() for leaf, aim in zip(leaves, target, strict=True))
        ours.step(torch.autograd.grad(losses, leaves))  # type: ignore[call-overload]
    for i in range(3):
        own = [tensor[i].clone().requires_grad_() for tensor in start]
        arguments = {key: value for key, value in settings.items() if key != "name"}
        optimizer = getattr(torch.optim, settings["name"])(own, lr=0.05, **arguments)
        for _ in range(4):
            optimizer.zero_grad()
            loss = sum(((leaf - aim[i]) ** 2).sum() for leaf, aim in zip(own, target, strict=True))
            term = sum(((leaf - one[i]) ** 2).sum() for leaf, one in zip(own, start, strict=True))
            (loss + MU / 2 * term).backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            optimizer.step()
        for leaf, parameter in zip(leaves, own, strict=True):
            torch.testing.assert_close(leaf[i], parameter, rtol=1e-5, atol=1e-6)


def module(blocks: Any) -> nn.Sequential:
    return nn.Sequential(*(copy.deepcopy(block) for _, block in blocks)).double()


def load(network: nn.Module, weights: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)


def step(network: nn.Module, loss: Tensor, start: list[Tensor]) -> None:
    """Take one step of plain SGD on the loss and FedProx's term, as its authors write it."""
    term = sum(((p - one) ** 2).sum() for p, one in zip(network.parameters(), start, strict=True))
    gradients = torch.autograd.grad(loss + MU / 2 * term, list(network.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= LR * gradient


@pytest.mark.parametrize("algorithm", ["fedavg", "splitfed-v1"])
def test_whole_rounds(algorithm: str) -> None:
    """Split or not, both halves of a participant's model are held near the round's: one oracle for both."""
    training = harness.train({"algorithm": algorithm, **HELD[algorithm], **SEVERAL, "proximal": MU})
    network = module(training.session.learner.task.blocks)
    current = [parameter.detach().clone() for parameter in network.parameters()]
    for round, arguments in enumerate(training.arguments("train")):
        (weights,) = training.weights([[args["client"] for args in arguments]])
        trained = []
        for args in arguments:
            load(network, current)
            for x, y in training.batches_of(args):
                step(network, nn.functional.cross_entropy(network(x), y), current)
            trained.append([parameter.detach().clone() for parameter in network.parameters()])
        current = [
            sum((w * one for w, one in zip(weights, each, strict=True)), start=torch.zeros(()).double())
            / sum(weights)
            for each in zip(*trained, strict=True)
        ]
        harness.close(harness.whole(training.session.learner.models[round + 1]), harness.flat(current))


def test_cse_fsl_holds_part_and_head() -> None:
    """The client's part and head are held near the round's; the server's one model is not."""
    training = harness.train({"algorithm": "cse-fsl", **HELD["cse-fsl"], **SEVERAL, "proximal": MU}, rounds=2)
    task = training.session.learner.task
    both = nn.Sequential(module(task.client.blocks), module(task.auxiliary.blocks))
    current = [parameter.detach().clone() for parameter in both.parameters()]
    size = len(list(both[0].parameters()))
    for round, arguments in enumerate(training.arguments("train")):
        trained, clients = [], training.arguments("merge")[round][0]["clients"]
        (weights,) = training.weights([clients])
        for args in arguments:
            load(both, current)
            for x, y in training.batches_of(args):
                step(both, nn.functional.cross_entropy(both(x), y), current)
            trained.append([parameter.detach().clone() for parameter in both.parameters()])
        current = [
            sum((w * one for w, one in zip(weights, each, strict=True)), start=torch.zeros(()).double())
            / sum(weights)
            for each in zip(*trained, strict=True)
        ]
        model = training.session.learner.models[round + 1]
        harness.close(model["client"], harness.flat(current[:size]))
        harness.close(model["auxiliary"], harness.flat(current[size:]))


@pytest.mark.parametrize("algorithm", ["splitfed-v2", "gas"])
def test_exchanges_are_held_near_the_part_that_was_pulled(algorithm: str) -> None:
    """A step of plain SGD with the term is the same step without it, and lr mu (x - x_start) less."""
    session = run(algorithm, proximal=MU)
    task = session.learner.task
    name, function = ("step", splitfed_v2.step) if algorithm == "splitfed-v2" else ("exchange", gas.exchange)
    ways, starts = [], set()
    for call in session.learner.calls:
        if call.function != name or "start" not in call.arguments[0]:
            continue
        (args,), (after,) = call.arguments, session.learner.executor.resolve(call.handles)
        known = {key: args[key] for key in ("client_model", "server", "start")}
        resolved = dict(zip(known, session.learner.executor.resolve(list(known.values())), strict=True))
        shared = {
            key: {k: v for k, v in value.items() if k != "proximal"} if isinstance(value, dict) else value
            for key, value in call.shared.items()
        }
        (without,) = function(task, [{**args, **resolved}], **shared)
        way = resolved["client_model"]["client"] - resolved["start"]["client"]
        torch.testing.assert_close(after["client"], without["client"] - LR * MU * way, rtol=1e-5, atol=1e-6)
        if algorithm == "splitfed-v2":
            assert torch.equal(after["server"], without["server"])
            assert torch.equal(resolved["start"]["client"], session.learner.models[call.round]["client"])
        if args["fresh"]:
            assert not way.any()
        ways.append(float(way.abs().max()))
        starts.add(args["start"].key)
    assert max(ways) > 1e-3
    assert len(starts) > 1


def run(algorithm: str, **settings: Any) -> harness.RecordingSession:
    adapters = {"model": {"kind": "mlp", "hidden": [12, 9], "adapters": {"rank": 2, "alpha": 4}}}
    variant = {"algorithm": algorithm, **HELD[algorithm], **SEVERAL, **settings}
    workload = adapters if algorithm == "fedlora" else {}
    session = harness.RecordingSession(harness.scenario(variant, rounds=3, workload=workload))
    assert session.run(0, 0, lambda row: None).status == "completed"
    return session


@pytest.mark.parametrize(
    "algorithm", [name if name != "fedlora" else pytest.param(name, marks=pytest.mark.slow) for name in HELD]
)
def test_a_term_of_0_is_none_and_a_larger_one_holds(algorithm: str) -> None:
    """Zero: the same calls under the same keys. Otherwise the clients end elsewhere."""
    plain, none, held = run(algorithm), run(algorithm, proximal=0), run(algorithm, proximal=3)
    keys = [[call.handles[0].key for call in session.learner.calls] for session in (plain, none)]
    assert keys[0] == keys[1]
    first, last = (session.learner.models[-1] for session in (plain, held))
    assert not torch.equal(harness.whole(first), harness.whole(last))


# As a user writes it.


@pytest.mark.parametrize("algorithm", OTHERS)
def test_others_refuse_it(algorithm: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[{"algorithm": algorithm, "proximal": 0.1}]))
    (problem,) = caught.value.problems
    assert problem.path == "variants[0].proximal"
    assert problem.remedy


@pytest.mark.parametrize("proximal", [-0.1, "x", None, True, float("nan"), 1e7, {"mu": 1}], ids=str)
def test_it_is_a_number_from_0(proximal: Any) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[{"algorithm": "fedavg", "proximal": proximal}]))
    (problem,) = caught.value.problems
    assert problem.path == "variants[0].proximal"
    assert problem.allowed


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "psl", "cse-fsl", "gas", "fedavg"])
def test_one_local_step_is_refused(algorithm: str) -> None:
    q = {"q": 1} if algorithm == "cse-fsl" else {}
    variant = {"algorithm": algorithm, "local_iterations": 1, "proximal": 0.1, **q}
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[variant]))
    assert [problem.path for problem in caught.value.problems] == ["variants[0].proximal"]
    read(data(variants=[{**variant, "local_iterations": 2}, {**variant, "proximal": 0}]))
