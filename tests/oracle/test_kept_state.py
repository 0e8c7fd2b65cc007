"""Clipping and kept optimizer states against plain torch loops: modules, torch.optim, clip_grad_norm_.

The oracle is what a practitioner writes: each client makes its optimizer once, loads the weights that it
pulls into its module, and trains. Nothing of the package's math is used; the order of clients and
batches is that of the run. Two of three clients take part, so their numbers of rounds differ.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from oracle import harness
from pydantic import ValidationError
from torch import Tensor, nn

from sflsim.errors import ScenarioError
from sflsim.learning.graph.store import MemoryStore
from sflsim.learning.optimizers import NAMES, Optimizer
from sflsim.session import Options, Session

FLEET = {
    "clients": 3,
    "participants": 2,
    "groups": [
        {"name": f"speed-{n}", "count": 1, "device": {"compute": speed}, "link": harness.LINK}
        for n, speed in enumerate(harness.SPEEDS)
    ],
}
SGD = {"name": "SGD", "lr": 0.2, "momentum": 0.9, "clip": 0.5}
ADAM = {"name": "Adam", "lr": 0.003, "betas": [0.8, 0.99], "eps": 1e-3, "clip": 0.3}
ROUNDS = 5
SETTINGS = [
    pytest.param(optimizer, workload, id=f"{optimizer['name']} {workload['model']['kind']}")
    for optimizer in (SGD, ADAM)
    for workload in (harness.MLP, harness.CNN)  # stacked, and one args after another
]


class Own:
    """A module with an optimizer of its own, made once; `load` puts other weights into the module."""

    def __init__(self, module: nn.Module, settings: dict[str, Any]) -> None:
        self.module = copy.deepcopy(module).double()
        arguments = {key: value for key, value in settings.items() if key not in ("name", "clip")}
        self.clip = settings["clip"]
        self.optimizer = getattr(torch.optim, settings["name"])(self.module.parameters(), **arguments)

    def load(self, weights: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, weight in zip(self.module.parameters(), weights, strict=True):
                parameter.copy_(weight)

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.module.parameters()]

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


def network(blocks: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(*(copy.deepcopy(block) for _, block in blocks)).double()


def mean(models: Sequence[Sequence[Tensor]], weights: Sequence[float]) -> list[Tensor]:
    return [
        sum((w * one for w, one in zip(weights, each, strict=True)), start=torch.zeros(())) / sum(weights)
        for each in zip(*models, strict=True)
    ]


def mean_state(states: Sequence[dict[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    """Return the mean of torch's state dictionaries; all have counted as many steps."""
    result = copy.deepcopy(states[0])
    for index, entries in result["state"].items():
        for name, value in entries.items():
            each = [[state["state"][index][name]] for state in states]
            if name == "step":
                assert all(one == [value] for one in each)
            else:
                (entries[name],) = mean(each, weights)
    return result


def assert_same(found: dict[str, Tensor], wanted: Sequence[Tensor]) -> None:
    torch.testing.assert_close(
        harness.whole(found).double(), harness.flat(list(wanted)), rtol=2e-4, atol=5e-6
    )


def trained(variant: dict[str, Any], workload: dict[str, Any]) -> harness.Training:
    training = harness.train(
        {"local_iterations": 2, "keep_state": True, **variant}, rounds=ROUNDS, fleet=FLEET, workload=workload
    )
    fresh = harness.train({"local_iterations": 2, **variant}, rounds=ROUNDS, fleet=FLEET, workload=workload)
    first, second = (one.session.learner.models for one in (training, fresh))
    assert torch.equal(harness.whole(first[1]), harness.whole(second[1]))  # nothing was there to be kept
    assert not torch.allclose(harness.whole(first[-1]), harness.whole(second[-1]), atol=1e-4)
    return training


def rounds_of(training: harness.Training, function: str, clients: list[list[int]]) -> Iterator[list[Any]]:
    """Yield for each round (client, weight, its batches) of the participants, as the run had them."""
    weights = training.weights(clients)
    for r, arguments in enumerate(training.arguments(function)):
        batches = [[training.batch(name) for name in args["batches"]] for args in arguments]
        yield list(zip(clients[r], weights[r], batches, strict=True))


def clients_of(training: harness.Training, call: str) -> list[list[int]]:
    return [arguments[0]["clients"] for arguments in training.arguments(call)]


@pytest.mark.parametrize(("optimizer", "workload"), SETTINGS)
def test_splitfed_v1(optimizer: dict[str, Any], workload: dict[str, Any]) -> None:
    """A client's optimizer is made once; replicas and their optimizer's states are averaged."""
    training = trained(
        {"algorithm": "splitfed-v1", "client_optimizer": optimizer, "server_optimizer": optimizer}, workload
    )
    task = training.session.learner.task
    parts = [network(task.client.blocks), network(task.server.blocks)]
    own = {k: Own(parts[0], optimizer) for k in range(3)}
    state: dict[str, Any] = Own(parts[1], optimizer).optimizer.state_dict()
    current = [list(part.parameters()) for part in parts]
    for r, participants in enumerate(rounds_of(training, "train", clients_of(training, "average"))):
        replicas: dict[int, Own] = {}
        for k, _, batches in participants:
            client, server = own[k], Own(parts[1], optimizer)
            replicas[k] = server
            client.load(current[0])
            server.load(current[1])
            server.optimizer.load_state_dict(copy.deepcopy(state))
            for x, y in batches:
                nn.functional.cross_entropy(server.module(client.module(x)), y).backward()
                server.step()
                client.step()
        sizes = [size for _, size, _ in participants]
        current = [mean([of[k].weights() for k, _, _ in participants], sizes) for of in (own, replicas)]
        state = mean_state([replicas[k].optimizer.state_dict() for k, _, _ in participants], sizes)
        assert_same(training.session.learner.models[r + 1], [*current[0], *current[1]])


@pytest.mark.parametrize(("optimizer", "workload"), SETTINGS)
def test_fedavg(optimizer: dict[str, Any], workload: dict[str, Any]) -> None:
    """Each client's optimizer is made once; the whole model is averaged."""
    training = trained({"algorithm": "fedavg", "optimizer": optimizer}, workload)
    whole = network(training.session.learner.task.blocks)
    own = {k: Own(whole, optimizer) for k in range(3)}
    current = list(whole.parameters())
    for r, participants in enumerate(rounds_of(training, "train", clients_of(training, "average"))):
        for k, _, batches in participants:
            own[k].load(current)
            for x, y in batches:
                nn.functional.cross_entropy(own[k].module(x), y).backward()
                own[k].step()
        current = mean([own[k].weights() for k, _, _ in participants], [size for _, size, _ in participants])
        assert_same(training.session.learner.models[r + 1], current)


@pytest.mark.parametrize(("optimizer", "workload"), SETTINGS)
def test_cse_fsl(optimizer: dict[str, Any], workload: dict[str, Any]) -> None:
    """A client's optimizer, over its part and head, is made once; the one server model's goes on as ever."""
    training = trained(
        {"algorithm": "cse-fsl", "q": 2, "client_optimizer": optimizer, "server_optimizer": optimizer},
        workload,
    )
    task = training.session.learner.task
    both = nn.Sequential(network(task.client.blocks), network(task.auxiliary.blocks))
    own = {k: Own(both, optimizer) for k in range(3)}
    server = Own(network(task.server.blocks), optimizer)
    current = list(both.parameters())
    size = len(list(both[0].parameters()))
    merges = training.arguments("merge")
    for r, participants in enumerate(
        rounds_of(training, "train", [arguments[0]["clients"] for arguments in merges])
    ):
        sent = {}
        for (k, _, batches), args in zip(participants, training.arguments("train")[r], strict=True):
            own[k].load(current)
            for number, (x, y) in enumerate(batches):
                z = own[k].module[0](x)
                if number % 2 == 1:
                    sent[tuple(args["batches"][number])] = (z.detach(), y)
                nn.functional.cross_entropy(own[k].module[1](z), y).backward()
                own[k].step()
        for one in merges[r][0]["arrivals"]:
            z, y = sent[tuple(one["batch"])]
            nn.functional.cross_entropy(server.module(z), y).backward()
            server.step()
        current = mean([own[k].weights() for k, _, _ in participants], [size for _, size, _ in participants])
        assert_same(training.session.learner.models[r + 1], [*current[:size], *server.weights()])


# Every algorithm that has it.

BOTH = {"client_optimizer": ADAM, "server_optimizer": ADAM}
WITH_STATE: dict[str, dict[str, Any]] = {
    "splitfed-v1": BOTH,
    "splitfed-v2": BOTH,
    "sl": BOTH,
    "cse-fsl": BOTH,
    "fsl-sage": BOTH,
    "heron-sfl": BOTH,
    "fedavg": {"optimizer": ADAM},
    "fedasync": {"optimizer": ADAM},
    "fedbuff": {"optimizer": ADAM, "b": 3},
    "gas": {**BOTH, "q_s": 3, "q_c": 2},
}


def run(variant: dict[str, Any], store: MemoryStore | None = None) -> harness.RecordingSession:
    session = harness.RecordingSession(harness.scenario(variant, rounds=ROUNDS, fleet=FLEET))
    if store is not None:
        session.store = store
    assert session.run(0, 0, lambda row: None).status == "completed"
    return session


@pytest.mark.parametrize("algorithm", WITH_STATE)
def test_a_state_is_that_of_the_clients_last_contribution(algorithm: str) -> None:
    """Adam's step counts on over a client's contributions, each from the one before; else it is 1 anew."""
    variant = {"algorithm": algorithm, **WITH_STATE[algorithm]}
    q = {"q": 1} if algorithm in ("cse-fsl", "fsl-sage", "heron-sfl") else {}
    session = run({**variant, **q, "local_iterations": 2, "keep_state": True})
    assert not any(
        "state" in args
        for call in run({**variant, **q, "local_iterations": 2}).learner.calls
        for args in call.arguments
    )
    found = [
        (args, handle)
        for call in session.learner.calls
        for args, handle in zip(call.arguments, call.handles, strict=True)
        if "state" in args
    ]
    assert len(found) >= 3
    for args, handle in found:
        before, after = session.learner.executor.resolve([args["state"], handle])
        counts = [
            name for name in after if name.endswith(".step") and not name.startswith("server_optimizer")
        ]
        counts = counts or [name for name in after if name.endswith(".step")]
        steps = {float(after[name]) - float(before[name]) for name in counts}
        assert steps == {1.0 if algorithm in ("splitfed-v2", "gas") else 2.0}
        owner = lambda args: (args["batch"] if "batch" in args else args["batches"][0])[0]  # noqa: E731
        (made,) = [
            one
            for call in session.learner.calls
            for one, of in zip(call.arguments, call.handles, strict=True)
            if of.key == args["state"].key
        ]
        assert owner(made) == owner(args)


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "frozen-client"])
def test_the_state_of_replicas_goes_on_with_the_model(algorithm: str) -> None:
    """Two steps a round, five rounds: ten, on the model that holds the mean state; at one cut alone."""
    optimizers = BOTH if algorithm == "splitfed-v1" else {"server_optimizer": ADAM}
    variant = {"algorithm": algorithm, **optimizers, "local_iterations": 2, "keep_state": True}
    for number, model in enumerate(run(variant).learner.models):
        assert {float(model[name]) for name in model if name.endswith(".step")} == (
            {2.0 * number} if number else set()
        )
    with pytest.raises(ScenarioError, match="no common state"):
        Session(harness.scenario({**variant, "cut": {"by": "compute"}}), Options()).check()


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "fedavg"])
def test_states_outlive_a_small_store(algorithm: str) -> None:
    """A store that keeps one model: no client's training is computed again for its state."""
    variant = {"algorithm": algorithm, **WITH_STATE[algorithm], "local_iterations": 2, "keep_state": True}
    small, large = run(variant, MemoryStore(limit_bytes=1)), run(variant)

    for name in ("train", "average"):
        assert small.learner.executor.computed[name] <= large.learner.executor.computed[name] + ROUNDS
    for one, other in zip(small.learner.models, large.learner.models, strict=True):
        assert torch.equal(harness.whole(one), harness.whole(other))


@pytest.mark.parametrize("algorithm", ["mu-splitfed", "zo-splitfed", "zo-gas", "ho-sfl"])
def test_algorithms_without_a_state_to_keep_say_so(algorithm: str) -> None:
    """Plain zeroth-order steps have none; HO-SFL's optimizers always keep theirs."""
    with pytest.raises(ValidationError) as caught:
        harness.scenario({"algorithm": algorithm, "keep_state": True})
    remedy = caught.value.errors()[0]["ctx"]["remedy"]
    assert ("always keep" if algorithm == "ho-sfl" else "no optimizer") in remedy


# Clipping, and states of stacked participants, for every optimizer.


@pytest.mark.parametrize("name", NAMES)
def test_stacked_participants_are_torchs_optimizers(name: str) -> None:
    """Three arguments clipped and stepped together, stopped and resumed: each is torch's own optimizer."""
    draws = torch.Generator().manual_seed(3)
    shapes = [(4, 3), (3,), ()]
    start = [torch.randn(3, *shape, generator=draws) for shape in shapes]
    gradients = [[torch.randn(3, *shape, generator=draws) for shape in shapes] for _ in range(4)]
    settings = {"name": name, "lr": 0.01, "clip": 1.5}
    leaves = [tensor.clone().requires_grad_() for tensor in start]
    first, second = (Optimizer(leaves, 3, settings) for _ in range(2))
    for number, gradient in enumerate(gradients):
        if number == 2:
            second.resume("kept", first.states("kept"))
        (first if number < 2 else second).step(gradient)

    for i in range(3):
        own = [tensor[i].clone().requires_grad_() for tensor in start]
        optimizer = getattr(torch.optim, name)(own, lr=0.01)
        for gradient in gradients:
            for parameter, one in zip(own, gradient, strict=True):
                parameter.grad = one[i].clone()
            torch.nn.utils.clip_grad_norm_(own, 1.5)
            optimizer.step()
        for leaf, parameter in zip(leaves, own, strict=True):
            torch.testing.assert_close(leaf[i], parameter, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [0, -1, "10", True, float("nan")])
def test_a_clip_is_a_number_above_0(clip: Any) -> None:
    with pytest.raises(ValueError, match="clip"):
        harness.scenario({"algorithm": "splitfed-v1", "client_optimizer": {"clip": clip}})


def test_gas_clips_at_10_by_its_optimizers_key() -> None:
    """Also where an optimizer is given; null clips nothing; the key that gas once had names the new one."""
    configs: list[tuple[Any, Any]] = [({}, 10), ({"lr": 0.1}, 10), ({"clip": 3}, 3), ({"clip": None}, None)]
    for given, clip in configs:
        variant = harness.scenario({"algorithm": "gas", "q_c": 2, "server_optimizer": given}).variants[0]
        assert variant.server_optimizer.clip == clip
        assert variant.server_optimizer.plain().get("clip") == clip
    with pytest.raises(ValidationError) as caught:
        harness.scenario({"algorithm": "gas", "clip": 5})
    assert "client_optimizer" in caught.value.errors()[0]["ctx"]["remedy"]


def test_ho_sfl_refuses_a_clip_that_would_not_replay() -> None:
    """A norm adds up whole tensors, in an order that differs by device; the server's clip is all right."""
    clipped = {"name": "SGD", "clip": 1.0}
    Session(harness.scenario({"algorithm": "ho-sfl", "server_optimizer": clipped}), Options()).check()
    with pytest.raises(ScenarioError, match=r"client_optimizer\.clip"):
        Session(harness.scenario({"algorithm": "ho-sfl", "client_optimizer": clipped}), Options()).check()
