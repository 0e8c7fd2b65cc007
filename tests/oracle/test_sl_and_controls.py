"""SL, the frozen-client control and ZO SplitFed against their oracles."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from oracle.harness import ADAM, CNN, HEAVY, SGD, SKEWED, oracle_optimizer, train
from oracle.references import common as ref
from oracle.references import frozen_client, mu_splitfed, sl, zo_splitfed

# SL


@pytest.mark.parametrize(
    ("optimizers", "workload"),
    [((SGD, SGD), {}), ((HEAVY, HEAVY), SKEWED), ((ADAM, ADAM), {}), ((SGD, HEAVY), CNN)],
    ids=["sgd", "momentum", "adam", "cnn"],
)
def test_sl(optimizers: tuple[dict[str, Any], dict[str, Any]], workload: dict[str, Any]) -> None:
    """x_c goes from client to client, through the rounds; the server's optimizer goes on, theirs do not."""
    settings = {
        "client_optimizer": optimizers[0], "server_optimizer": optimizers[1], "local_iterations": 2,
    }  # fmt: skip
    run = train({"algorithm": "sl", **settings}, workload=workload)
    turns = run.arguments("turn")
    assert [[args["batches"][0][0] for args in arguments] for arguments in turns] == [[0, 1, 2]] * 3
    batches = [[run.batches_of(args) for args in of_round] for of_round in turns]
    both = (oracle_optimizer(optimizer) for optimizer in optimizers)
    result = sl.reference(run.split, ref.Rounds([[0, 1, 2]] * 3, batches), sl.Settings(2, *both))

    run.check(result)


def test_sl_is_strictly_sequential() -> None:
    """Nothing of two clients' turns overlaps, and a turn is x_c down, E exchanges, x_c up."""
    run = train({"algorithm": "sl", "local_iterations": 2})
    costs = run.session.requirements.costs(1)
    spans = sorted(run.outcome.spans, key=lambda span: (span.end_s, span.start_s))
    for before, after in pairwise(spans):
        assert after[2] >= before[3]
    server_flop = costs.server_forward_flop + costs.server_backward_flop
    exchange = [
        ("compute", 0.0, costs.client_forward_flop),
        ("uplink", costs.activation_bytes + costs.labels_bytes, 0.0),
        ("serve", 0.0, server_flop),
        ("downlink", costs.activation_bytes, 0.0),
        ("compute", 0.0, costs.client_backward_flop),
    ]
    down, up = (("downlink", costs.client_model_bytes, 0.0), ("uplink", costs.client_model_bytes, 0.0))
    expected = [down, *exchange, *exchange, up] * 9

    assert expected == [
        (span.activity, span.bytes, span.flop) for span in spans if span.activity != "latency"
    ]


# The frozen-client control


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        ({}, {}),
        ({"server_optimizer": HEAVY, "local_iterations": 3}, SKEWED),
        ({"server_optimizer": ADAM, "local_iterations": 3, "weighting": "uniform"}, SKEWED),
        ({"server_optimizer": HEAVY, "local_iterations": 3}, {**CNN, **SKEWED}),
    ],
    ids=["sgd", "momentum-E3", "adam-uniform", "cnn"],
)
def test_frozen_client(settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """Replicas learn and are averaged; the client part keeps every bit."""
    settings = {"server_optimizer": SGD, **settings}
    run = train({"algorithm": "frozen-client", **settings}, workload=workload)
    optimizer = oracle_optimizer(settings["server_optimizer"])
    result = frozen_client.reference(
        run.split,
        run.local_rounds("train", settings.get("weighting", "samples")),
        frozen_client.Settings(settings.get("local_iterations", 1), optimizer),
    )

    run.check(result)
    first, *others = run.session.learner.models
    for model in others:
        assert torch.equal(first["client"], model["client"])


def test_the_frozen_client_sends_activations_and_gets_nothing() -> None:
    """Per iteration one client forward, one upload and one server step; no downlink at all."""
    run = train({"algorithm": "frozen-client", "local_iterations": 2}, rounds=1)
    costs = run.session.requirements.costs(1)
    found = sorted(
        (span.activity, span.bytes, span.flop)
        for span in run.outcome.spans
        if span.activity not in ("wait", "queue", "latency")
    )
    expected = [
        ("compute", 0.0, costs.client_forward_flop),
        ("serve", 0.0, costs.server_forward_flop + costs.server_backward_flop),
        ("uplink", costs.activation_bytes + costs.labels_bytes, 0.0),
    ]

    assert [one for one in expected for _ in range(6)] == found


def test_frozen_clients_may_be_cut_at_different_layers() -> None:
    """What any client holds stays as it was; a layer that some replicas hold learns from those alone."""
    memory = {"device": {"compute": "1 MFLOP/s", "memory": "2 MB"}}
    groups = [
        {"name": "weak", "count": 1, "device": {"compute": "0.1 MFLOP/s"}},
        {"name": "strong", "count": 2, **memory},
    ]
    cut = {"by": "compute", "deepest": 2, "within": 2.0}
    run = train(
        {"algorithm": "frozen-client", "cut": cut, "server_optimizer": SGD},
        fleet={"clients": 3, "groups": groups},
    )
    cuts = [args["cut"] for args in run.arguments("train")[0]]
    assert cuts == [1, 2, 2]
    first, last = run.session.learner.models[0]["client"], run.session.learner.models[-1]["client"]
    held_by_all = sum(p.numel() for p in run.session.learner.task.blocks[0][1].parameters())

    assert torch.equal(first[:held_by_all], last[:held_by_all])
    assert not torch.equal(first[held_by_all:], last[held_by_all:])


# ZO SplitFed


@pytest.mark.parametrize("workload", [{}, CNN], ids=["stacked", "looped"])
def test_zo_splitfed(workload: dict[str, Any]) -> None:
    """MU-SplitFed with one server step."""
    settings = {"eta_s": 0.02, "eta_c": 0.01, "eta_g": 0.7, "lam": 0.02}
    run = train({"algorithm": "zo-splitfed", **settings}, workload=workload)
    arguments = run.arguments("exchange")

    def u_c(r: int, m: int, p: int) -> ref.Params:
        return run.normals(run.x_c, "mu-splitfed", "client", *arguments[r][m]["batch"], p)

    def u_s(r: int, m: int, step: int, p: int) -> ref.Params:
        return run.normals(run.x_s, "mu-splitfed", "server", *arguments[r][m]["batch"], step, p)

    participants = [[args["client"] for args in of_round] for of_round in arguments]
    batches = [[[run.batch(args["batch"])] for args in of_round] for of_round in arguments]
    rounds = ref.Rounds(participants, batches)
    result = zo_splitfed.reference(run.split, rounds, mu_splitfed.Settings(**settings), u_c, u_s)

    run.check(result)


def test_zo_splitfed_is_mu_splitfed_with_tau_one() -> None:
    """Not a bit and not an instant differs."""
    zo, mu = train({"algorithm": "zo-splitfed"}), train({"algorithm": "mu-splitfed", "tau": 1})

    assert mu.outcome.evaluations == zo.outcome.evaluations
    assert mu.outcome.spans == zo.outcome.spans
    for one, other in zip(mu.session.learner.models, zo.session.learner.models, strict=True):
        assert torch.equal(torch.cat(list(one.values())), torch.cat(list(other.values())))
