"""FedAvg, FedAsync and FedBuff against their oracles, and what must hold between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle.harness import ADAM, CNN, HEAVY, SGD, SKEWED, Training, close, oracle_optimizer, scenario, train
from oracle.references import common as ref
from oracle.references import fedasync, fedavg, fedbuff
from torch import nn
from torch.nn import functional as F

from sflsim.errors import ScenarioError

SMALL = {"batch_size": 64, **SKEWED}  # so that an epoch is a few batches, of a number that differs by client
EQUAL = {
    "clients": 3,
    "groups": [
        {"name": "all", "device": {"compute": "1 MFLOP/s"}, "link": {"up": "8 Mbit/s", "down": "8 Mbit/s"}}
    ],
}


# FedAvg


def fedavg_oracle(run: Training, optimizer: dict[str, Any], weighting: str = "samples") -> ref.Result:
    """FedAvg on the run's batches; where their numbers differ, the oracle's E must be each one's own."""
    (model, x), opt, result = run.model, oracle_optimizer(optimizer), ref.Result([], [])
    for arguments in run.arguments("train"):
        trained = [
            ref.local_steps(model, x, run.batches_of(args), len(args["batches"]), opt)[0]
            for args in arguments
        ]
        weights = run.weights([[args["client"] for args in arguments]])[0]
        x = ref.weighted_mean(trained, weights if weighting == "samples" else None)
        result.x_c_rounds.append(x)
    return result


@pytest.mark.parametrize(
    ("optimizer", "settings", "workload"),
    [
        (SGD, {"local_iterations": 1}, {}),
        (SGD, {"local_iterations": 3}, SKEWED),
        (HEAVY, {"local_iterations": 3, "weighting": "uniform"}, SKEWED),
        (ADAM, {"local_iterations": 3}, SKEWED),
        (HEAVY, {"local_iterations": 3}, {**CNN, **SKEWED}),
    ],
    ids=["sgd", "sgd-E3", "momentum-uniform", "adam", "cnn"],
)
def test_fedavg(optimizer: dict[str, Any], settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """E steps from the round's model with a fresh optimizer, then the mean by samples or alike."""
    run = train({"algorithm": "fedavg", "optimizer": optimizer, **settings}, workload=workload)
    rounds = run.local_rounds("train", settings.get("weighting", "samples"))
    local = fedavg.Settings(settings["local_iterations"], oracle_optimizer(optimizer))
    result = fedavg.reference(*run.model, rounds, local)

    run.check(result)


@pytest.mark.parametrize("epochs", [None, 2])
def test_fedavg_epochs_have_the_batches_of_each_clients_own_samples(epochs: int | None) -> None:
    """An epoch is ceil(samples / B) batches, so arguments differ in length; one epoch is the default."""
    settings = {} if epochs is None else {"epochs": epochs}
    run = train({"algorithm": "fedavg", "optimizer": HEAVY, **settings}, workload=SMALL)
    sizes = [len(shard) for shard in run.session.learner.task.shards]
    expected = [(epochs or 1) * -(-size // 64) for size in sizes]
    assert len(set(expected)) > 1

    for arguments in run.arguments("train"):
        assert expected == [len(args["batches"]) for args in arguments]
    run.check(fedavg_oracle(run, HEAVY))


def test_fedavg_of_one_client_is_sgd() -> None:
    """One client's rounds end to end are torch.optim.SGD on its batches."""
    fleet = {"clients": 1, "groups": [{"name": "one", "device": {"compute": "1 MFLOP/s"}}]}
    run = train({"algorithm": "fedavg", "local_iterations": 5, "optimizer": SGD}, fleet=fleet)
    task = run.session.learner.task
    network = nn.Sequential(*[block for _, block in task.blocks]).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=SGD["lr"])
    for number in range(15):
        x, y = run.batch((0, number))
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    model = run.session.learner.models[-1]
    close(
        torch.cat([model["client"], model["server"]]), torch.cat([p.flatten() for p in network.parameters()])
    )


def test_epochs_and_local_iterations_exclude_each_other() -> None:
    """Both at once are refused."""
    with pytest.raises(ValueError, match="said twice"):
        scenario({"algorithm": "fedavg", "epochs": 1, "local_iterations": 2})


# FedAsync and FedBuff


def versions(run: Training) -> dict[str, int]:
    """The number of the version that each published model is, by its handle's key."""
    found: dict[str, int] = {}
    for call in run.session.learner.calls:
        if call.function in ("initial", "average", "add_deltas"):
            found.setdefault(call.handles[0].key, len(found))
    return found


def contributions(run: Training) -> ref.Arrivals:
    """What arrived, as (client, version it started from), and its batches."""
    numbers = versions(run)
    arguments = [args for of_round in run.arguments("train") for args in of_round]
    order = [(args["client"], numbers[args["start"].key]) for args in arguments]
    return ref.Arrivals(order, [run.batches_of(args) for args in arguments])


def arrivals_in_spans(run: Training, count: int) -> list[int]:
    """The clients in the order in which their uploads end."""
    uplinks = sorted((span.end_s, span.client) for span in run.outcome.spans if span.activity == "uplink")
    return [int(name.split("-")[1]) for _, name in uplinks[:count]]


@pytest.mark.parametrize(
    ("settings", "s"),
    [
        ({}, "polynomial"),
        ({"s": "hinge", "hinge_a": 10.0, "hinge_b": 4.0}, "hinge"),
        ({"s": "hinge", "hinge_a": 0.5, "hinge_b": 1}, lambda t: 1.0 if t <= 1 else 1 / (0.5 * (t - 1) + 1)),
        ({"s": "constant"}, lambda t: 1.0),
        ({"exponent": 2.0}, lambda t: (t + 1.0) ** -2),
    ],
    ids=["polynomial", "hinge", "own-hinge", "constant", "own-exponent"],
)
@pytest.mark.parametrize("workload", [{}, CNN], ids=["mlp", "cnn"])
def test_fedasync(settings: dict[str, Any], s: Any, workload: dict[str, Any]) -> None:
    """Every arrival is mixed in by a weight that falls with the versions published meanwhile."""
    variant = {"algorithm": "fedasync", "alpha": 0.7, "optimizer": HEAVY, "local_iterations": 2, **settings}
    run = train(variant, rounds=16, workload=workload)
    arrivals = contributions(run)
    result = fedasync.reference(
        *run.model, arrivals, fedasync.Settings(2, oracle_optimizer(HEAVY), alpha=0.7, s=s)
    )

    assert max(result.extra["staleness"]) > 4
    assert [client for client, _ in arrivals.order] == arrivals_in_spans(run, 16)
    run.check(result)


@pytest.mark.parametrize(
    ("b", "eta_g", "workload"),
    [(2, 1.0, {}), (4, 0.5, {}), (2, 1.0, CNN)],
    ids=["b2", "more-than-clients", "cnn"],
)
def test_fedbuff(b: int, eta_g: float, workload: dict[str, Any]) -> None:
    """b deltas, each by (1 + staleness)^-0.5, make one update; the divisor is b."""
    settings = {"b": b, "eta_g": eta_g, "optimizer": HEAVY, "local_iterations": 2}
    run = train({"algorithm": "fedbuff", **settings}, rounds=8, workload=workload)
    arrivals = contributions(run)
    result = fedbuff.reference(*run.model, arrivals, fedbuff.Settings(2, oracle_optimizer(HEAVY), b, eta_g))

    assert max(result.extra["staleness"]) > 0
    assert [client for client, _ in arrivals.order] == arrivals_in_spans(run, 8 * b)
    run.check(result)


def test_fedbuff_with_a_buffer_of_all_clients_of_equal_speed_is_fedavg() -> None:
    """All arrive at once, none is stale, and the mean delta leads to the mean model, at the same times."""
    local = {"optimizer": HEAVY, "local_iterations": 3}
    buffered = train({"algorithm": "fedbuff", "b": 3, **local}, rounds=4, fleet=EQUAL)
    averaged = train({"algorithm": "fedavg", "weighting": "uniform", **local}, rounds=4, fleet=EQUAL)

    assert [(row.time_s, row.round, row.step) for row in averaged.outcome.evaluations] == [
        (row.time_s, row.round, row.step) for row in buffered.outcome.evaluations
    ]
    for one, other in zip(averaged.session.learner.models, buffered.session.learner.models, strict=True):
        close(torch.cat([one["client"], one["server"]]), torch.cat([other["client"], other["server"]]))


def test_each_contribution_sends_the_whole_model_both_ways_and_computes_all_passes() -> None:
    """Bytes and FLOP of FedAvg's spans: |x| down, E whole training passes, |x| up."""
    run = train({"algorithm": "fedavg", "local_iterations": 4}, rounds=1)
    costs = run.session.requirements.costs(1)
    size_bytes = costs.client_model_bytes + costs.server_model_bytes
    forward_flop = costs.client_forward_flop + costs.server_forward_flop
    flop = 4 * (forward_flop + costs.client_backward_flop + costs.server_backward_flop)
    idle = ("wait", "latency")
    found = sorted(
        (span.activity, span.bytes, span.flop) for span in run.outcome.spans if span.activity not in idle
    )
    expected = [("compute", 0.0, flop), ("downlink", size_bytes, 0.0), ("uplink", size_bytes, 0.0)]

    assert [one for one in expected for _ in range(3)] == found


def test_an_unsplit_model_has_no_cuts_per_client() -> None:
    """`cut: {by: memory}` is refused with the reason."""
    from sflsim.session import Options, Session

    given = scenario({"algorithm": "fedbuff", "cut": {"by": "compute"}})
    with pytest.raises(ScenarioError, match="its clients train the whole model"):
        Session(given, Options()).check()
