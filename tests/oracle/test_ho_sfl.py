"""HO-SFL against its literal oracle, against first-order training, and against clients that replay.

Compared are the parameters after each round, to float32's rounding; bytes are those of
the papers' digest to the byte, the missed rounds' included.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from oracle.harness import CNN, HEAVY, SGD, SKEWED, Training, oracle_optimizer, scenario, train
from oracle.references import common as ref
from oracle.references import ho_sfl

from sflsim.algorithms.ho_sfl import mean_exchange, rebuilt, shared_directions
from sflsim.errors import ScenarioError
from sflsim.experiment.simulate import simulate
from sflsim.learning.optimizers import NAMES, PER_TENSOR
from sflsim.session import Options, Session
from sflsim.streams import seed_of

ADAMW = {"name": "AdamW", "lr": 0.01, "weight_decay": 0.1}
STEPS = {"client_optimizer": HEAVY, "server_optimizer": SGD, "mu": 0.02, "perturbations": 3}


def pairs(clients: int = 3) -> dict[str, Any]:
    """A fleet of equal devices of which two take part in a round."""
    return {
        "clients": clients,
        "participants": 2,
        "groups": [{"name": "all", "device": {"compute": "50 MFLOP/s"}}],
    }


def participants(run: Training) -> list[list[int]]:
    return [
        [args["client"] for args in of_round[0]["participants"]] for of_round in run.arguments("exchange")
    ]


def oracle(run: Training, **settings: Any) -> ref.Result:
    together = [of_round[0] for of_round in run.arguments("exchange")]
    ids = participants(run)
    batches = [[[run.batch(one["batch"])] for one in args["participants"]] for args in together]
    weights = run.weights(ids) if settings.get("weighting") == "samples" else None
    return ho_sfl.reference(
        run.split,
        ref.Rounds(ids, batches, weights),
        ho_sfl.Settings(
            K=len(run.session.learner.task.shards),
            P=settings["perturbations"],
            mu=settings["mu"],
            opt_c=oracle_optimizer(settings["client_optimizer"]),
            opt_s=oracle_optimizer(settings["server_optimizer"]),
            direction=settings.get("direction", "gaussian"),
        ),
        u=lambda r, p: run.normals(run.x_c, "ho-sfl", r + 1, p),
    )


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        ({}, {}),
        ({"perturbations": 1, "client_optimizer": SGD}, {}),
        ({"direction": "sphere"}, {}),
        ({"weighting": "samples"}, SKEWED),
        ({"client_optimizer": ADAMW, "server_optimizer": ADAMW}, {}),
        ({"server_optimizer": HEAVY}, CNN),
        ({"client_optimizer": ADAMW, "weighting": "samples"}, {**CNN, **SKEWED}),
    ],
    ids=["momentum", "P1", "sphere", "samples", "adamw", "cnn", "cnn-adamw-samples"],
)
def test_ho_sfl(settings: dict[str, Any], workload: dict[str, Any]) -> None:
    """A server step from the mean gradient, a client step along the shared directions; states go on."""
    settings = {**STEPS, **settings}
    run = train({"algorithm": "ho-sfl", **settings}, workload=workload)

    run.check(oracle(run, **settings))


def test_ho_sfl_with_a_changing_subset() -> None:
    """Two of four clients per round; the oracle's clients replay what they missed."""
    run = train({"algorithm": "ho-sfl", **STEPS}, rounds=5, fleet=pairs(4))
    assert len({tuple(ids) for ids in participants(run)}) > 1

    run.check(oracle(run, **STEPS))


def test_large_rounds_are_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many participants are joined in one pass, the means are the same."""
    monkeypatch.setattr("sflsim.algorithms.ho_sfl.MAX_JOINED_SAMPLES", 16)
    settings = {**STEPS, "weighting": "samples"}
    run = train({"algorithm": "ho-sfl", **settings}, workload=SKEWED)

    run.check(oracle(run, **settings))


class Device:
    """A client taken literally: x_c and a torch optimizer, fed with seeds and mean scalars alone."""

    def __init__(self, run: Training, settings: dict[str, Any]) -> None:
        self.run, self.settings = run, settings
        self.x_c = [tensor.float().clone() for tensor in run.x_c]
        arguments = {key: value for key, value in settings["client_optimizer"].items() if key != "name"}
        self.optimizer = getattr(torch.optim, settings["client_optimizer"]["name"])(self.x_c, **arguments)
        self.heard = 0

    def replay(self, rounds: int, scalars: list[list[float]]) -> None:
        """Take the steps of all rounds up to `rounds` that were not taken yet."""
        for round in range(self.heard + 1, rounds + 1):
            g = torch.zeros(sum(tensor.numel() for tensor in self.x_c))
            for p, scalar in enumerate(scalars[round - 1]):
                source = torch.Generator().manual_seed(seed_of((self.run.outcome.seed, "ho-sfl", round, p)))
                u = torch.randn(len(g), generator=source)
                g += u * (scalar / (self.settings["perturbations"] * self.settings["mu"]))
            for tensor, piece in zip(self.x_c, g.split([tensor.numel() for tensor in self.x_c]), strict=True):
                tensor.grad = piece.view(tensor.shape)
            self.optimizer.step()
        self.heard = rounds

    @property
    def vector(self) -> torch.Tensor:
        return torch.cat([tensor.detach().reshape(-1) for tensor in self.x_c])


@pytest.mark.parametrize(
    "optimizer", [HEAVY, ADAMW, *({"name": name, "lr": 0.01} for name in NAMES if name not in PER_TENSOR)]
)
@pytest.mark.parametrize("straggling", [{}, {"over_selection": 1}], ids=["all", "over-selection"])
def test_all_clients_hold_the_same_x_c(optimizer: dict[str, Any], straggling: dict[str, Any]) -> None:
    """Every client, fed with what was sent to it, holds the model's x_c whenever it takes part.

    The clients agree bit for bit, whether they stepped along or replayed many rounds at once.
    """
    settings = {**STEPS, "client_optimizer": optimizer, **straggling}
    run = train({"algorithm": "ho-sfl", **settings}, rounds=8, fleet=pairs(4))
    told = [call.handles[0] for call in run.session.learner.calls if call.function == "exchange"]
    scalars = [value["scalars"].tolist() for value in run.session.learner.executor.resolve(told)]
    models = [model["client"] for model in run.session.learner.models]
    devices, sat_out = [Device(run, settings) for _ in range(4)], 0

    for round, ids in enumerate(participants(run), start=1):
        for client in ids:
            sat_out += devices[client].heard < round - 1
            devices[client].replay(round - 1, scalars)
            torch.testing.assert_close(devices[client].vector, models[round - 1], rtol=1e-6, atol=1e-7)
            devices[client].replay(round, scalars)
    assert sat_out > 1
    for device in devices:
        device.replay(8, scalars)
        assert torch.equal(device.vector, devices[0].vector)


def test_exact_directional_derivative_gives_the_projected_gradient() -> None:
    """P = 1 and the derivative along u in place of the difference: g = <dF/dx_c, u> u, backpropagated."""
    session = Session(scenario({"algorithm": "ho-sfl"}), Options())
    task = session.materials.task(1, 0)
    model = task.initial_model()
    x, y = task.batch([(0, 0), (1, 0), (2, 0)])
    shares = torch.tensor([0.5, 0.2, 0.3])
    u = shared_directions(task, 1, 1, "gaussian")
    dense = torch.zeros(1, task.client.dimension)
    u[0].add_(dense, 1.0)

    def exact(f: Any, at_x: Any, x_c: torch.Tensor, u: Any, mu: float) -> torch.Tensor:
        return torch.func.jvp(f, (x_c,), (mu * dense,))[1]

    scalars, server_gradient = mean_exchange(task, model, x, y, shares, u, 0.5, exact)
    g = rebuilt(scalars, u, 0.5, model["client"])

    x_c = model["client"][None].repeat(3, 1).requires_grad_()
    x_s = model["server"][None].repeat(3, 1).requires_grad_()
    losses = task.server_loss(x_s, task.activation(x_c, x), y)
    by_client, by_server = torch.autograd.grad((shares * losses).sum(), [x_c, x_s])
    gradient = by_client.sum(dim=0)
    torch.testing.assert_close(g, (gradient @ dense[0]) * dense[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(server_gradient, by_server.sum(dim=0), rtol=1e-5, atol=1e-7)


# Bytes, FLOPs and the clock


def timed(variant: dict[str, Any], fleet: dict[str, Any], rounds: int = 1) -> Any:
    return simulate(
        scenario({"algorithm": "ho-sfl", **variant}, rounds=rounds, fleet=fleet), timing_only=True
    )


def test_bytes_and_flops_with_the_replayed_history() -> None:
    """Up |z| + |y| + 4P, down |z| + 8P + 8P per missed round, (1 + P) forwards; the server's two passes."""
    run = timed({"perturbations": 3}, pairs(5), rounds=12)
    costs, spans = Session(scenario({"algorithm": "ho-sfl"}), Options()).requirements.costs(1), run.spans
    heard: Counter[str] = Counter()
    missed_rounds = []
    for (round, client), own in spans[spans.client != ""].groupby(["round", "client"]):
        total = own.groupby("activity")[["bytes", "flop"]].sum()
        missed = round - 1 - heard[client]
        missed_rounds.append(missed)
        heard[client] = round
        assert total.bytes["uplink"] == costs.activation_bytes + costs.labels_bytes + 12
        assert total.bytes["downlink"] == costs.activation_bytes + 12 + 12 + 24 * missed
        assert total.flop["compute"] == 4 * costs.client_forward_flop
        assert total.flop["serve"] == costs.server_forward_flop + costs.server_backward_flop
    assert max(missed_rounds) > 2
    assert list(run.evaluations.step) == list(range(13))


def test_three_dependent_exchanges_set_the_clock_where_latency_is_high() -> None:
    """With everything else free a step lasts five latencies: seeds, z, cut gradient, scalars, means."""
    device = {"compute": "1e30 FLOP/s"}
    link = {"up": "unlimited", "down": "unlimited", "latency": "100 ms"}
    slow = {**link, "latency": "1 s"}
    groups = [
        {"name": "near", "count": 1, "device": device, "link": link},
        {"name": "far", "count": 1, "device": device, "link": slow},
    ]
    run = simulate(
        scenario(
            {"algorithm": "ho-sfl"},
            rounds=2,
            fleet={"clients": 2, "groups": groups},
            server={"compute": "1e30 FLOP/s"},
        ),
        timing_only=True,
    )
    assert run.runs.time_s[0] == pytest.approx(10.0)
    waits = run.spans[(run.spans.activity == "wait") & (run.spans["round"] == 1)]
    assert set(waits.client) == {"near-0"}
    assert (waits.end_s - waits.start_s).tolist() == pytest.approx(
        [3.6, 0.9]
    )  # at the barrier, for the means


def test_a_participant_that_misses_the_deadline_replays_the_round() -> None:
    """The late one's scalars are not in the mean; it is told of the round when it is asked next."""
    variant = {**STEPS, "deadline": "0.15 s"}
    run = train({"algorithm": "ho-sfl", **variant}, rounds=4, server={"compute": "1 GFLOP/s", "slots": 3})
    assert all(ids == [1, 2] for ids in participants(run))  # client 0 is the slowest
    spans = [span for span in run.outcome.spans if span.actor == "speed-0-0" and span.activity == "downlink"]
    assert {span.outcome for span in spans} == {"wasted"}
    invitations = [
        span.bytes for span in spans if span.bytes in {12.0 + 24.0 * missed for missed in range(4)}
    ]
    assert invitations == [12.0, 36.0, 36.0, 36.0]  # each invitation brings what was missed since the last
    costs = run.session.requirements.costs(1)
    for name in ("speed-1-0", "speed-2-0"):
        down = [
            span.bytes for span in run.outcome.spans if span.actor == name and span.activity == "downlink"
        ]
        assert sum(down) == 4 * (costs.activation_bytes + 24)


# Misuse


def test_an_optimizer_that_does_not_replay_is_refused() -> None:
    """Sums over whole tensors have another order on another device; the server's optimizer is free."""
    wrong = {"algorithm": "ho-sfl", "client_optimizer": {"name": "Adafactor", "lr": 0.01}}
    with pytest.raises(ScenarioError, match="replay") as error:
        Session(scenario(wrong), Options()).check()
    assert error.value.problems[0].path == "variants[0].client_optimizer.name"
    assert "AdamW" in error.value.problems[0].allowed

    Session(scenario({"algorithm": "ho-sfl", "server_optimizer": {"name": "Adafactor"}}), Options()).check()


def test_client_cuts_of_their_own_are_refused() -> None:
    with pytest.raises(ScenarioError, match="the same x_c"):
        Session(scenario({"algorithm": "ho-sfl", "cut": {"by": "compute"}}), Options()).check()
