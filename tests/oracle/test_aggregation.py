"""FedAvgM is torch's SGD with momentum, and FedAdam Reddi's formulas, on the way to the clients' mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from oracle import harness
from support import data, read
from torch import Tensor, nn

from sflsim.errors import ScenarioError
from sflsim.learning.aggregation import move
from sflsim.learning.network.split import Part

TWICE = {"local_iterations": 2}
AVERAGED: dict[str, tuple[set[str], dict[str, Any]]] = {
    "fedavg": ({"client", "server"}, TWICE),
    "fedlora": ({"client", "server"}, TWICE),
    "fedasync": ({"client", "server"}, TWICE),
    "fedbuff": ({"client", "server"}, {**TWICE, "b": 2}),
    "splitfed-v1": ({"client", "server"}, {**TWICE, "keep_state": True}),
    "splitfed-v2": ({"client"}, TWICE),
    "psl": ({"client"}, TWICE),
    "mu-splitfed": ({"client", "server"}, {"tau": 2}),
    "zo-splitfed": ({"client", "server"}, {}),
    "cse-fsl": ({"client", "auxiliary"}, {**TWICE, "q": 1}),
    "heron-sfl": ({"client", "auxiliary"}, {**TWICE, "q": 1}),
    "frozen-client": ({"server"}, TWICE),
    "gas": ({"client"}, {**TWICE, "q_s": 3, "q_c": 2}),
    "zo-gas": ({"client"}, {**TWICE, "q_s": 3, "q_c": 2}),
}
M = {"kind": "fedavgm", "rate": 0.7, "momentum": 0.6}
ADAM = {"kind": "fedadam", "rate": 0.02, "beta_1": 0.8, "beta_2": 0.95, "adaptivity": 0.01}
ROUNDS = 4
QUICK = ("fedavg", "splitfed-v2", "heron-sfl", "gas")
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in AVERAGED]


def run(algorithm: str, **settings: Any) -> harness.RecordingSession:
    adapters = {"model": {"kind": "mlp", "hidden": [12, 9], "adapters": {"rank": 2, "alpha": 4}}}
    variant = {"algorithm": algorithm, **AVERAGED[algorithm][1], **settings}
    workload = adapters if algorithm == "fedlora" else {}
    session = harness.RecordingSession(harness.scenario(variant, rounds=ROUNDS, workload=workload))
    assert session.run(0, 0, lambda row: None).status == "completed"
    return session


def by_torch(start: Tensor, means: list[Tensor]) -> list[Tensor]:
    """Return the models of FedAvgM: SGD with momentum whose gradient is the way from the mean, in float64."""
    x = start.double().clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.7, momentum=0.6)
    models = []
    for mean in means:
        x.grad = x.detach() - mean.double()
        optimizer.step()
        models.append(x.detach().clone())
    return models


def by_hand(start: Tensor, means: list[Tensor]) -> list[Tensor]:
    """Return the models of Algorithm 2 of Reddi et al. with FedAdam's lines, v_{-1} = tau^2."""
    x, m, v = start.double().numpy(), 0.0, 0.01**2
    models = []
    for mean in means:
        delta = mean.double().numpy() - x
        m = 0.8 * m + (1 - 0.8) * delta
        v = 0.95 * v + (1 - 0.95) * delta**2
        x = x + 0.02 * m / (np.sqrt(v) + 0.01)
        models.append(torch.from_numpy(x))
    return models


@pytest.mark.parametrize(("settings", "oracle"), [(M, by_torch), (ADAM, by_hand)], ids=["fedavgm", "fedadam"])
@pytest.mark.parametrize("algorithm", EACH)
def test_every_algorithm_moves_by_the_rule(algorithm: str, settings: dict[str, Any], oracle: Any) -> None:
    """Each averaged part, from the first model on; what is not averaged is as the algorithm gave it."""
    session = run(algorithm, aggregation=settings)
    calls = [call for call in session.learner.calls if call.function == "move"]
    assert len(calls) >= ROUNDS
    resolve = session.learner.executor.resolve
    before = resolve([call.arguments[0]["model"] for call in calls])
    means = resolve([call.arguments[0]["mean"] for call in calls])
    after = resolve([call.handles[0] for call in calls])
    for part in ("client", "server", "auxiliary"):
        if part in AVERAGED[algorithm][0]:
            task = session.learner.task
            start = before[0][part] if part in before[0] else getattr(task, part).initial()
            wanted = oracle(start, [mean[part] for mean in means])
            for found, one in zip(after, wanted, strict=True):
                torch.testing.assert_close(found[part].double(), one, rtol=1e-4, atol=1e-6)
        elif part in means[0]:
            assert all(torch.equal(one[part], mean[part]) for one, mean in zip(after, means, strict=True))
    for one, mean in zip(after, means, strict=True):  # the states of the server's optimizers, and more
        assert mean.keys() <= one.keys()
    for number, old in enumerate(before[1:]):  # each starts where the last has ended
        names = AVERAGED[algorithm][0]
        assert all(torch.equal(old[name], after[number][name]) for name in names & old.keys())
    if not algorithm.endswith("gas"):  # whose client part is joined with the server part first
        for model, one in zip(session.learner.models[1:], after, strict=True):
            assert torch.equal(harness.whole(model), harness.whole(one))


@pytest.mark.parametrize("algorithm", EACH)
def test_no_momentum_and_rate_1_is_the_mean(algorithm: str) -> None:
    """Byte for byte, as is a constant schedule of that rate."""
    plain = run(algorithm)
    assert not [call for call in plain.learner.calls if call.function == "move"]
    for rate in (1.0, {"kind": "constant", "rate": 1.0}):
        other = run(algorithm, aggregation={"kind": "fedavgm", "momentum": 0, "rate": rate})
        assert [call for call in other.learner.calls if call.function == "move"]
        for one, model in zip(plain.learner.models, other.learner.models, strict=True):
            assert torch.equal(harness.whole(one), harness.whole(model))


def test_the_rate_follows_a_schedule() -> None:
    rate = {"kind": "step", "rate": 0.4, "factor": 0.5, "rounds": 1}
    session = run("fedavg", aggregation={"kind": "fedadam", "rate": rate})
    rates = [call.shared["rate"] for call in session.learner.calls if call.function == "move"]
    assert rates == [0.4 * 0.5**round for round in range(ROUNDS)]


@pytest.mark.parametrize("kind", ["fedavgm", "fedadam"])
def test_running_statistics_are_those_of_the_mean(kind: str) -> None:
    """A variance is no parameter: a step beyond the mean could make it negative."""
    part = Part([("block", nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))])
    draws = torch.Generator().manual_seed(1)
    old, mean = (torch.rand(part.size, generator=draws) for _ in range(2))
    settings = {"fedavgm": {"rate": 1.0, "momentum": 0.9}, "fedadam": {**ADAM, "rate": 1.0}}[kind]
    settings = {name: value for name, value in settings.items() if name != "kind"}
    task: Any = SimpleNamespace(client=part)
    model, velocity = {"client": old}, {"aggregation.client.v": torch.ones(part.size)}
    moments = {**velocity, "aggregation.client.m": torch.ones(part.size)}
    model |= velocity if kind == "fedavgm" else moments
    (moved,) = move(
        task, [{"model": model, "mean": {"client": mean}}], parts=["client"], kind=kind, **settings
    )
    statistics = part.statistics(moved["client"][None])
    assert len(statistics) == 2
    assert all(
        torch.equal(one, other) for one, other in zip(statistics, part.statistics(mean[None]), strict=True)
    )
    assert not any(
        torch.equal(one, other)
        for one, other in zip(
            part.parameters(part.views(moved["client"][None])),
            part.parameters(part.views(mean[None])),
            strict=True,
        )
    )


# As a user writes it.


@pytest.mark.parametrize("algorithm", ["sl", "ho-sfl"])
def test_algorithms_that_average_no_models_say_so(algorithm: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[{"algorithm": algorithm, "aggregation": "fedavgm"}]))
    (problem,) = caught.value.problems
    assert problem.path == "variants[0].aggregation"
    assert problem.remedy


@pytest.mark.parametrize(
    ("aggregation", "path"),
    [
        ("fedadagrad", ""),
        ("FedAdam", ""),
        (5, ""),
        (None, ""),
        ({"rate": 0.1}, ".kind"),
        ({"kind": "mean", "rate": 0.1}, ".rate"),
        ({"kind": "fedavgm", "momentum": 1}, ".momentum"),
        ({"kind": "fedavgm", "momentum": -0.1}, ".momentum"),
        ({"kind": "fedavgm", "beta_1": 0.9}, ".beta_1"),
        ({"kind": "fedadam", "beta_2": 1.0}, ".beta_2"),
        ({"kind": "fedadam", "adaptivity": 0}, ".adaptivity"),
        ({"kind": "fedadam", "rate": 0}, ".rate"),
        ({"kind": "fedadam", "rate": {"kind": "cosine", "rate": 0.1}}, ".rate.rounds"),
    ],
    ids=str,
)
def test_a_mistake_is_one_problem_where_it_stands(aggregation: Any, path: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[{"algorithm": "fedavg", "aggregation": aggregation}]))
    (problem,) = caught.value.problems
    assert problem.path == f"variants[0].aggregation{path}"
    assert problem.allowed


def test_it_does_not_mix_with_averages_of_some_rounds() -> None:
    variant = {"algorithm": "splitfed-v1", "aggregate_clients_every": 2, "aggregation": "fedavgm"}
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[variant]))
    assert [problem.path for problem in caught.value.problems] == ["variants[0].aggregation"]
    read(data(variants=[{**variant, "aggregation": "mean"}]))


def test_a_list_makes_a_variant_of_each_and_is_written_as_it_is_read() -> None:
    content = read(data(variants=[{"algorithm": "splitfed-v1", "aggregation": ["mean", M, ADAM]}]))
    assert [one.aggregation.kind for one in content.variants] == ["mean", "fedavgm", "fedadam"]  # type: ignore[attr-defined]
    assert read(content.to_data()).variants == content.variants
