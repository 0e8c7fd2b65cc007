"""A schedule is torch's own, round by round; `Simulation.learn` hands every math the rate of its round."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import harness
from pydantic import TypeAdapter
from support import data, read

from sflsim.errors import ScenarioError
from sflsim.learning.optimizers import NAMES, Optimizer
from sflsim.learning.schedules import Constant, Cosine, Rate, Step, at_round
from sflsim.retime.timing import timings
from sflsim.session import SessionCache

ROUNDS = 12
STEP = {"kind": "step", "rate": 0.08, "factor": 0.5, "rounds": 1}


def by_torch(name: str, warm_up: int = 0, **settings: Any) -> list[float]:
    """Return the rates of torch's scheduler of that name, after a linear warm-up."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    after = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
    scheduler = after
    if warm_up:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warm_up + 1), total_iters=warm_up)
        after = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, after], [warm_up])
    rates = []
    for _ in range(ROUNDS):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warm_up", [0, 1, 4])
def test_schedules_are_torchs(warm_up: int) -> None:
    ours = [
        (Constant(rate=0.1, warm_up=warm_up), by_torch("ConstantLR", warm_up, factor=1.0)),
        (
            Step(rate=0.1, factor=0.3, rounds=2, warm_up=warm_up),
            by_torch("StepLR", warm_up, step_size=2, gamma=0.3),
        ),
        (
            Cosine(rate=0.1, final=0.01, rounds=20, warm_up=warm_up),
            by_torch("CosineAnnealingLR", warm_up, T_max=20, eta_min=0.01),
        ),
    ]
    for schedule, wanted in ours:
        assert [schedule.at(round) for round in range(ROUNDS)] == pytest.approx(wanted, rel=1e-12)


def test_rates_by_hand() -> None:
    """A warm-up over 3 rounds, then halved every 2; a cosine ends at its final rate, and stays there."""
    halved = Step(rate=8, factor=0.5, rounds=2, warm_up=3)
    assert [halved.at(round) for round in range(8)] == [2, 4, 6, 8, 8, 4, 4, 2]
    cosine = Cosine(rate=8, final=2, rounds=2)
    assert [cosine.at(round) for round in (0, 1, 2, 3, 10**9)] == [8, 5, 2, 2, 2]


@given(
    rate=st.floats(1e-9, 1e6),
    share=st.floats(0, 1),
    rounds=st.integers(1, 10**9),
    warm_up=st.integers(0, 10**9),
    round=st.integers(0, 2 * 10**9),
)
def test_no_rate_is_above_that_of_the_schedule(
    rate: float, share: float, rounds: int, warm_up: int, round: int
) -> None:
    for schedule in (
        Constant(rate=rate, warm_up=warm_up),
        Step(rate=rate, factor=share or 1.0, rounds=rounds, warm_up=warm_up),
        Cosine(rate=rate, final=share * rate, rounds=rounds, warm_up=warm_up),
    ):
        assert 0 <= schedule.at(round) <= rate * (1 + 1e-12)


def test_schedules_are_found_wherever_they_stand() -> None:
    schedule = Step(rate=8, factor=0.5, rounds=1)
    settings = {"eta": schedule, "optimizer": {"name": "SGD", "lr": schedule}, "tau": 2, "none": None}
    assert at_round(settings, 2) == {
        "eta": 2.0, "optimizer": {"name": "SGD", "lr": 2.0}, "tau": 2, "none": None
    }  # fmt: skip


# In the protocols: every rate of every algorithm.

BOTH = ("client_optimizer", "server_optimizer")
TWICE = {"local_iterations": 2}
RATES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "fedavg": (("optimizer",), TWICE),
    "fedlora": (("optimizer",), TWICE),
    "fedasync": (("optimizer",), TWICE),
    "fedbuff": (("optimizer", "eta_g"), {**TWICE, "b": 2}),
    "sl": (BOTH, TWICE),
    "splitfed-v1": (BOTH, TWICE),
    "splitfed-v2": (BOTH, TWICE),
    "psl": (BOTH, TWICE),
    "mu-splitfed": (("eta_s", "eta_c", "eta_g"), {"tau": 2}),
    "zo-splitfed": (("eta_s", "eta_c", "eta_g"), {}),
    "gas": (BOTH, {**TWICE, "q_s": 3, "q_c": 2}),
    "zo-gas": (("eta_s", "eta_c"), {**TWICE, "q_s": 3, "q_c": 2}),
    "ho-sfl": (BOTH, {}),
    "cse-fsl": (BOTH, {**TWICE, "q": 1}),
    "heron-sfl": (BOTH, {**TWICE, "q": 1}),
    "frozen-client": (("server_optimizer",), TWICE),
}
QUICK = ("fedbuff", "splitfed-v1", "mu-splitfed", "zo-gas", "ho-sfl", "heron-sfl")
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RATES]
RECORDED_AS = {"eta_g": "eta", "client_optimizer": "optimizer", "server_optimizer": "optimizer"}


def variant(algorithm: str, rate: Any) -> dict[str, Any]:
    """Return a variant all of whose learning rates are `rate`."""
    names, settings = RATES[algorithm]
    rates = {name: {"lr": rate} if name.endswith("optimizer") else rate for name in names}
    return {"algorithm": algorithm, **settings, **rates}


def run(algorithm: str, rate: Any, rounds: int = 3) -> harness.RecordingSession:
    adapters = {"model": {"kind": "mlp", "hidden": [12, 9], "adapters": {"rank": 2, "alpha": 4}}}
    workload = adapters if algorithm == "fedlora" else {}
    content = harness.scenario(variant(algorithm, rate), rounds=rounds, workload=workload)
    session = harness.RecordingSession(content)
    assert session.run(0, 0, lambda row: None).status == "completed"
    return session


@pytest.mark.parametrize("algorithm", EACH)
def test_every_rate_is_that_of_its_round(algorithm: str) -> None:
    """Halved after every round: what each call of the math was given."""
    names = set(RATES[algorithm][0]) - ({"eta_g"} if algorithm == "fedbuff" else set())  # tested below
    seen: dict[str, set[tuple[int, float]]] = {name: set() for name in names}
    for call in run(algorithm, STEP).learner.calls:
        for name in names:
            value = call.shared.get(name, call.shared.get(RECORDED_AS.get(name, "")))
            if value is not None:
                seen[name].add((call.round, value["lr"] if isinstance(value, dict) else value))
    for pairs in seen.values():
        if algorithm in ("fedasync", "fedbuff"):  # a client trains with the rate that it pulled
            assert all(rate in {0.08 * 0.5**before for before in range(round + 1)} for round, rate in pairs)
            assert any(rate > 0.08 * 0.5**round for round, rate in pairs)
        else:
            assert pairs == {(round, 0.08 * 0.5**round) for round in {round for round, _ in pairs}}
            assert len({round for round, _ in pairs}) >= 2


def test_fedbuff_moves_by_the_rate_of_the_update() -> None:
    """Weights are eta_g / b (1 + staleness)^-0.5, with eta_g halved after every update."""
    for call in run("fedbuff", STEP).learner.calls:
        if call.function == "add_deltas":
            largest = max(call.arguments[0]["weights"])
            assert largest <= 0.08 * 0.5**call.round / 2
            squares = [(0.08 * 0.5**call.round / 2 / weight) ** 2 for weight in call.arguments[0]["weights"]]
            assert squares == pytest.approx([round(square) for square in squares])  # 1 + staleness


@pytest.mark.parametrize("algorithm", EACH)
def test_a_constant_schedule_is_the_number(algorithm: str) -> None:
    number, schedule = (run(algorithm, rate) for rate in (0.01, {"kind": "constant", "rate": 0.01}))
    for one, other in zip(number.learner.models, schedule.learner.models, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert [call.handles[0].key for call in number.learner.calls] == [
        call.handles[0].key for call in schedule.learner.calls
    ]


def test_learning_is_keyed_by_the_rate_of_each_round_alone() -> None:
    """Two schedules that agree in two rounds share these, and the run at a constant rate shares them, too."""
    keys = [
        timings(
            read(data(variants=[variant("splitfed-v1", rate)], stop={"rounds": 3})), [0], SessionCache(), {}
        )[0].keys
        for rate in (0.1, {**STEP, "rate": 0.1, "rounds": 2}, {"kind": "cosine", "rate": 0.1, "rounds": 9})
    ]
    assert keys[0][:3] == keys[1][:3]
    assert keys[0][3] != keys[1][3]
    assert keys[0][:2] == keys[2][:2]
    assert keys[0][2] != keys[2][2]


def test_momentum_goes_on_while_the_rate_falls() -> None:
    """One client whose optimizer keeps its state is torch's SGD and StepLR, by hand, round by round."""
    optimizer = {"name": "SGD", "lr": STEP, "momentum": 0.9}
    group = {"name": "one", "count": 1, "device": {"compute": "1 MFLOP/s"}, "link": harness.LINK}
    training = harness.train(
        {"algorithm": "fedavg", "optimizer": optimizer, "keep_state": True, "local_iterations": 2},
        fleet={"clients": 1, "groups": [group]},
    )
    part, parameters = training.model
    own = [parameter.clone().requires_grad_() for parameter in parameters]
    plain = torch.optim.SGD(own, lr=0.08, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(plain, 1, 0.5)
    for round, ((args,), model) in enumerate(
        zip(training.arguments("train"), training.session.learner.models[1:], strict=True)
    ):
        for x, y in training.batches_of(args):
            plain.zero_grad()
            torch.nn.functional.cross_entropy(part(own, x), y).backward()
            plain.step()
        scheduler.step()
        assert scheduler.get_last_lr() == pytest.approx([0.08 * 0.5 ** (round + 1)])
        harness.close(harness.whole(model), harness.flat([tensor.detach() for tensor in own]))


# As a user writes it.


@pytest.mark.parametrize("name", NAMES)
def test_participants_of_different_rounds_are_stacked(name: str) -> None:
    """Each goes on from its own last rate, though they took as many steps and are computed together."""
    start, gradient = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[0.3, -0.1], [0.3, -0.1]])
    rates = (0.8, 0.001)

    def stepped(states: list[Any], x: torch.Tensor, gradient: torch.Tensor, rate: float) -> Optimizer:
        optimizer = Optimizer([x.requires_grad_()], max(1, len(states)), {"name": name, "lr": rate})
        if states:
            optimizer.resume("o", states)
        optimizer.step([gradient])
        return optimizer

    states = [
        stepped([], one.clone(), own, rate).state("o")
        for one, own, rate in zip(start, gradient, rates, strict=True)
    ]
    alone = [one.clone() for one in start]
    for x, own, state in zip(alone, gradient, states, strict=True):
        stepped([state], x, own, 0.1)
    together = start.clone()
    stepped(states, together, gradient, 0.1)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-6, atol=1e-7)


def test_it_is_written_as_it_is_read() -> None:
    for rate in (0.1, STEP, {"kind": "cosine", "rate": 0.1, "rounds": 3, "warm_up": 2, "final": 0.01}):
        content = read(data(variants=[variant("mu-splitfed", rate)]))
        assert read(content.to_data()) == content


def test_a_list_of_rates_makes_a_variant_of_each() -> None:
    content = read(data(variants=[{"algorithm": "mu-splitfed", "eta_s": [0.01, STEP]}]))
    assert [one.eta_s for one in content.variants] == [0.01, TypeAdapter(Rate).validate_python(STEP)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rate", "where"),
    [
        ("cosine", ""),
        ([0.1], ""),
        (0, ""),
        (-0.1, ""),
        (1e7, ""),
        (True, ""),
        ({"rate": 0.1}, ".kind"),
        ({"kind": "cos", "rate": 0.1}, ".kind"),
        ({"kind": "cosine", "rate": 0.1}, ".rounds"),
        ({"kind": "cosine", "rounds": 10}, ".rate"),
        ({"kind": "cosine", "rate": 0.1, "rounds": 0}, ".rounds"),
        ({"kind": "cosine", "rate": 0.1, "rounds": "10 rounds"}, ".rounds"),
        ({"kind": "cosine", "rate": 0.1, "rounds": 10, "final": 0.2}, ".final"),
        ({"kind": "cosine", "rate": 0.1, "rounds": 10, "final": -0.2}, ".final"),
        ({"kind": "cosine", "rate": 0.1, "rounds": 10, "factor": 0.5}, ".factor"),
        ({"kind": "step", "rate": 0.1, "rounds": 10}, ".factor"),
        ({"kind": "step", "rate": 0.1, "rounds": 10, "factor": 0}, ".factor"),
        ({"kind": "step", "rate": 0.1, "rounds": 10, "factor": 2}, ".factor"),
        ({"kind": "constant", "rate": 0.1, "warm_up": -1}, ".warm_up"),
        ({"kind": "constant", "rate": 0.1, "warm_up": 1.5}, ".warm_up"),
        ({"kind": "constant", "rate": 0}, ".rate"),
        ({"kind": "constant", "rate": 0.1, "warmup": 3}, ".warmup"),
    ],
    ids=str,
)
def test_one_mistake_is_one_problem_where_it_stands(rate: Any, where: str) -> None:
    for field, path in (
        ({"client_optimizer": {"lr": rate}}, "client_optimizer.lr"),
        ({"eta_s": rate}, "eta_s"),
    ):
        if field.get("eta_s") == [0.1]:
            continue  # a list of one variant
        algorithm = "mu-splitfed" if "eta_s" in field else "splitfed-v1"
        with pytest.raises(ScenarioError) as caught:
            read(data(variants=[{"algorithm": algorithm, **field}]))
        (problem,) = caught.value.problems
        assert problem.path == f"variants[0].{path}{where}"
        assert problem.allowed
