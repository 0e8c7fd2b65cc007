"""CSE-FSL and HERON-SFL against their literal oracles; their bytes, FLOPs, clock and misuse.

Compared are the parameters after each round, head included, to float32's rounding. The oracle gets
the order in which the activations reached the server from the spans.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle.harness import (
    ADAM,
    CNN,
    HEAVY,
    SGD,
    SKEWED,
    Training,
    close,
    flat,
    oracle_optimizer,
    oracle_part,
    scenario,
    train,
)
from oracle.references import common as ref
from oracle.references import cse_fsl, fsl_sage, heron_sfl
from torch import nn

from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.session import Options, Session

ALGORITHMS = ["cse-fsl", "heron-sfl", "fsl-sage"]
QUICK = {"compute": "50 GFLOP/s", "slots": 2}  # done with every activation before the client parts arrive


def arrivals(run: Training) -> list[list[tuple[int, int]]]:
    """The order in which activations reached the server: (client, exchange) of each round."""
    costs, q = (
        run.session.requirements.costs(run.session.learner.task.cut),
        run.session.scenario.variants[0].q,
    )
    size = costs.activation_bytes + costs.labels_bytes
    uplinks = [span for span in run.outcome.spans if span.activity == "uplink" and span.bytes == size]
    order: list[list[tuple[int, int]]] = [[] for _ in run.rounds]
    for span in sorted(uplinks, key=lambda span: span.end_s):
        of_round, client = order[span.round - 1], int(span.actor.split("-")[1])
        before = sum(client == other for other, _ in of_round)
        of_round.append((client, (before + 1) * q - 1))
    return order


def oracle(run: Training, **settings: Any) -> ref.Result:
    arguments = run.arguments("train")
    head = run.session.learner.task.auxiliary
    module = nn.Sequential(*[block for _, block in head.blocks])
    x_a = [parameter.detach().double() for parameter in module.parameters()]
    participants = [[0, 1, 2]] * len(arguments)
    batches = [[run.batches_of(args) for args in of_round] for of_round in arguments]
    weights = None if settings.get("weighting") == "uniform" else run.weights(participants)
    inputs = (run.split, cse_fsl.Head(oracle_part(module), x_a), ref.Rounds(participants, batches, weights))
    local = cse_fsl.Settings(
        settings["local_iterations"],
        settings["q"],
        oracle_optimizer(settings["client_optimizer"]),
        oracle_optimizer(settings["server_optimizer"]),
    )
    if settings["algorithm"] == "cse-fsl":
        return cse_fsl.reference(*inputs, local, arrivals(run))

    def u(r: int, m: int, i: int, p: int) -> ref.Params:
        return run.normals([*run.x_c, *x_a], "heron-sfl", *arguments[r][m]["batches"][i], p)

    zeroth_order = heron_sfl.Settings(
        local, settings["mu"], settings.get("perturbations", 1), settings.get("direction", "sphere")
    )
    return heron_sfl.reference(*inputs, zeroth_order, arrivals(run), u)


FIRST_ORDER = [
    ({"client_optimizer": SGD, "server_optimizer": SGD}, {}),
    ({"client_optimizer": HEAVY, "server_optimizer": ADAM, "local_iterations": 5}, SKEWED),
    ({"client_optimizer": ADAM, "server_optimizer": HEAVY, "weighting": "uniform"}, SKEWED),
    ({"client_optimizer": SGD, "server_optimizer": HEAVY, "q": 1}, {**CNN, **SKEWED}),
]
ZEROTH_ORDER = [
    ({"client_optimizer": {"lr": 0.005}, "server_optimizer": SGD}, {}),
    ({"client_optimizer": {"lr": 0.01}, "server_optimizer": ADAM, "perturbations": 3}, SKEWED),
    ({"client_optimizer": {"lr": 0.005, "momentum": 0.5}, "server_optimizer": HEAVY, "weighting": "uniform",
      "direction": "gaussian"}, SKEWED),
    ({"client_optimizer": {"lr": 0.005}, "server_optimizer": HEAVY, "perturbations": 2}, {**CNN, **SKEWED}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "settings", "workload"),
    [("cse-fsl", *case) for case in FIRST_ORDER] + [("heron-sfl", *case) for case in ZEROTH_ORDER],
)
def test_local_loss(algorithm: str, settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """Client part and head learn on the head's loss, the one server model in the order of arrival."""
    settings = {"algorithm": algorithm, "local_iterations": 4, "q": 2, **settings}
    if algorithm == "heron-sfl":
        settings["mu"] = 0.02
    run = train(settings, workload=workload, server=QUICK)
    order = arrivals(run)
    assert order[0] != sorted(order[0], key=lambda pair: (pair[1], pair[0]))  # not in the fleet's order

    result = oracle(run, **settings)
    run.check(result)
    for model, x_a in zip(run.session.learner.models[1:], result.extra["x_a_rounds"], strict=True):
        close(model["auxiliary"], flat(x_a))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_participant_is_computed_as_stacked_ones(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stacked = train({"algorithm": algorithm}, server=QUICK).session.learner.models[-1]
    monkeypatch.setattr("sflsim.learning.task.STACKED_NUMBERS", 1)
    looped = train({"algorithm": algorithm}, server=QUICK).session.learner.models[-1]
    for name in ("client", "auxiliary", "server"):
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-4, atol=1e-5)


# FSL-SAGE


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        ({"client_optimizer": SGD, "server_optimizer": SGD, "fit_every": 1}, {}),
        ({"client_optimizer": HEAVY, "server_optimizer": SGD, "fit_every": 2, "fit_samples": 20}, SKEWED),
        ({"client_optimizer": SGD, "server_optimizer": HEAVY, "fit_every": 1, "head_optimizer": SGD}, CNN),
        (
            {"client_optimizer": SGD, "server_optimizer": SGD, "fit_every": 1, "aggregate_clients_every": 3},
            {},
        ),
        ({"client_optimizer": SGD, "server_optimizer": SGD, "fit_every": 1, "fit_samples": 3}, {}),
    ],
)
def test_fsl_sage(settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """Each client trains with a head that is fitted to the server's cut gradients on what it has sent."""
    settings = {"local_iterations": 4, "q": 2, "fit_epochs": 2, **settings}
    run = train({"algorithm": "fsl-sage", **settings}, workload=workload, server=QUICK)
    arguments = run.arguments("train")
    module = nn.Sequential(*[block for _, block in run.session.learner.task.auxiliary.blocks])
    x_a = [parameter.detach().double() for parameter in module.parameters()]
    participants = [[0, 1, 2]] * len(arguments)
    batches = [[run.batches_of(args) for args in of_round] for of_round in arguments]
    rounds = ref.Rounds(participants, batches, run.weights(participants))
    told = fsl_sage.Settings(
        4, 2, oracle_optimizer(settings["client_optimizer"]), oracle_optimizer(settings["server_optimizer"]),
        oracle_optimizer(settings.get("head_optimizer", {"name": "Adam", "lr": 0.001})),
        settings["fit_every"], 2, settings.get("fit_samples", 1000),
        settings.get("aggregate_clients_every", 1),
    )  # fmt: skip
    head = cse_fsl.Head(oracle_part(module), x_a)
    result = fsl_sage.reference(run.split, head, rounds, told, arrivals(run))

    run.check(result)
    for model, expected in zip(run.session.learner.models[1:], result.extra["x_a_rounds"], strict=True):
        close(model["auxiliary"], flat(expected))
    fits = [len(of_round) for of_round in run.arguments("fit")]
    assert fits == [3 if r and r % settings["fit_every"] == 0 else 0 for r in range(3)]


def test_a_fitted_head_gives_nearly_the_servers_gradient() -> None:
    """What the fit is for: a long one brings the head's cut gradient nearer to the true one."""
    long = {"fit_every": 2, "fit_epochs": 60, "head_optimizer": {"name": "Adam", "lr": 0.02}}
    run = train({"algorithm": "fsl-sage", "local_iterations": 4, "q": 1, **long}, server=QUICK)
    (args,), task = run.arguments("fit")[2][:1], run.session.learner.task
    (call,) = [call for call in run.session.learner.calls if call.function == "fit"]
    model, after = run.session.learner.executor.resolve([args["server"], call.handles[0]])
    sent = args["sent"][0]
    (trained,) = run.session.learner.executor.resolve([sent["trained"]])
    z = trained[f"sent.{sent['exchange']}"][None].requires_grad_()
    y = task.batch([tuple(sent["batch"])])[1]

    def gradient(part: Any, flat: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(task.loss(part.forward(part.views(flat[None]), z), y).sum(), z)[0]

    true = gradient(task.server, model["server"])
    errors = [(gradient(task.auxiliary, one["auxiliary"]) - true).norm() for one in (model, after)]
    assert errors[1] < 0.5 * errors[0]


def test_a_client_waits_for_its_head() -> None:
    """In the round of a fit it computes nothing before the server has fitted and sent its head."""
    slow = {"compute": "0.5 MFLOP/s", "slots": 1}
    run = simulate(
        scenario({"algorithm": "fsl-sage", "fit_every": 2}, rounds=3, server=slow), timing_only=True
    )
    spans = run.spans[(run.spans["client"] == "speed-1-0") & (run.spans["round"] == 3)]
    costs = Session(scenario({"algorithm": "fsl-sage"}), Options()).requirements.costs(1)
    head = spans[(spans["activity"] == "downlink") & (spans["bytes"] == costs.auxiliary_model_bytes)]
    assert len(head) == 1
    assert spans[spans["activity"] == "compute"]["start_s"].min() >= head["end_s"].iloc[0]


# Bytes, FLOPs and the clock


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bytes_and_flops(algorithm: str) -> None:
    """Per round part and head down and up; of 7 batches two activations go up (q = 3); nothing comes back."""
    variant = {"algorithm": algorithm, "local_iterations": 7, "q": 3}
    if algorithm == "heron-sfl":
        variant["perturbations"] = 2
    run = simulate(scenario(variant, rounds=2, server=QUICK), timing_only=True)
    costs = Session(scenario(variant), Options()).requirements.costs(1)
    model_bytes = costs.client_model_bytes + costs.auxiliary_model_bytes
    forward_flop = costs.client_forward_flop + costs.auxiliary_forward_flop
    backward_flop = costs.client_backward_flop + costs.auxiliary_backward_flop
    step_flop = forward_flop + (2 * forward_flop if algorithm == "heron-sfl" else backward_flop)
    for _, own in run.spans[run.spans.client != ""].groupby(["round", "client"]):
        total = own.groupby("activity")[["bytes", "flop"]].sum()
        assert total.bytes["downlink"] == model_bytes
        assert total.bytes["uplink"] == model_bytes + 2 * (costs.activation_bytes + costs.labels_bytes)
        assert total.flop["compute"] == pytest.approx(7 * step_flop, rel=1e-12)
        assert total.flop["serve"] == 2 * (costs.server_forward_flop + costs.server_backward_flop)
    assert list(run.evaluations.step) == [0, 6, 12]


def test_no_client_waits_for_the_server() -> None:
    """A server that is far too slow lengthens no round; its steps count when they are done."""
    quick = simulate(scenario({"algorithm": "cse-fsl", "q": 1}, rounds=4, server=QUICK), timing_only=True)
    slow_server = {"compute": "0.1 MFLOP/s", "slots": 2}
    slow = simulate(
        scenario({"algorithm": "cse-fsl", "q": 1}, rounds=4, server=slow_server), timing_only=True
    )
    assert slow.runs.time_s[0] == quick.runs.time_s[0]
    done = [
        int(((slow.spans.activity == "serve") & (slow.spans.end_s <= time_s)).sum())
        for time_s in slow.evaluations.time_s
    ]
    assert list(slow.evaluations.step) == done
    assert done[-1] < 4 * 15
    serves = slow.spans[slow.spans.activity == "serve"].sort_values("start_s")
    assert (serves.start_s.to_numpy()[1:] >= serves.end_s.to_numpy()[:-1]).all()  # one server model


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_late_server_learns_from_what_earlier_rounds_sent(algorithm: str) -> None:
    """What is served after its round still steps the server model, once, in order."""
    run = train({"algorithm": algorithm, "q": 1}, rounds=6, server={"compute": "0.1 MFLOP/s", "slots": 1})
    served = [[(one["batch"], one["exchange"]) for one in args["arrivals"]]
              for of_round in run.arguments("merge") for args in of_round]  # fmt: skip
    spans = [span for span in run.outcome.spans if span.activity == "serve"]
    flat_served = [tuple(name) for of_round in served for name, _ in of_round]
    assert len(flat_served) == len(set(flat_served)) < 6 * 15
    assert [client for client, _ in flat_served] == [
        int(span.client.split("-")[1]) for span in spans[: len(flat_served)]
    ]
    assert any(span.round < span_round for span, span_round in zip(spans, _rounds_of(served), strict=False))


def _rounds_of(served: list[list[Any]]) -> list[int]:
    return [round for round, of_round in enumerate(served, start=1) for _ in of_round]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("straggling", [{"over_selection": 1}, {"deadline": "0.4 s"}])
def test_dropped_participants_do_not_count_in_the_averages(
    algorithm: str, straggling: dict[str, Any]
) -> None:
    groups = [
        {"name": name, "count": 1, "device": {"compute": speed}}
        for name, speed in (("slow", "0.2 MFLOP/s"), ("a", "3 MFLOP/s"), ("b", "4 MFLOP/s"))
    ]
    fleet = {"clients": 3, "participants": 2 if "over_selection" in straggling else 3, "groups": groups}
    run = train({"algorithm": algorithm, **straggling}, fleet=fleet, server=QUICK)
    assert [args["clients"] for of_round in run.arguments("merge") for args in of_round] == [[1, 2]] * 3
    assert any(span.outcome == "wasted" for span in run.outcome.spans if span.actor == "slow-0")


# Misuse


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_q_that_no_round_is_long_enough_for_is_refused(algorithm: str) -> None:
    with pytest.raises(ScenarioError, match="no activation would be sent") as error:
        Session(scenario({"algorithm": algorithm, "local_iterations": 4}), Options()).check()
    assert error.value.problems[0].path == "variants[0].q"


@pytest.mark.parametrize("algorithm", ["splitfed-v1", "splitfed-v2", "mu-splitfed", "ho-sfl"])
def test_options_of_a_head_are_refused_where_there_is_none(algorithm: str) -> None:
    with pytest.raises((ScenarioError, ValueError), match=r"q\b"):
        scenario({"algorithm": algorithm, "q": 5})
    with pytest.raises((ScenarioError, ValueError), match="auxiliary"):
        scenario({"algorithm": algorithm, "auxiliary": "linear"})


def test_client_cuts_of_their_own_are_refused() -> None:
    with pytest.raises(ScenarioError, match="begins at one layer"):
        Session(scenario({"algorithm": "cse-fsl", "cut": {"by": "compute"}}), Options()).check()
