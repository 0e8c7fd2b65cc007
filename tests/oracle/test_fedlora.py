"""FedLoRA against its oracle: the base stands still, A and B are trained, sent and averaged."""

from __future__ import annotations

from oracle.harness import oracle_optimizer, train
from oracle.references import fedlora
from torch import Tensor

import sflsim
from sflsim.session import Options, Session

RANK, ALPHA = 2, 6.0
ADAPTED = {
    "model": {"kind": "mlp", "hidden": [6, 5], "adapters": {"rank": RANK, "alpha": ALPHA}},
    "partition": {"kind": "dirichlet", "alpha": 1.0},
    "batch_size": 8,
}
SGD = {"name": "SGD", "lr": 0.1, "momentum": 0.9}


def network(base: list[Tensor], adapters: list[Tensor], x: Tensor) -> Tensor:
    """Return the logits of a perceptron with W + alpha / r B A in place of W, written out."""
    h = x.flatten(1)
    for layer in range(len(base) // 2):
        weight, bias = base[2 * layer], base[2 * layer + 1]
        a, b = adapters[2 * layer], adapters[2 * layer + 1]
        h = h @ (weight + ALPHA / RANK * b @ a).T + bias
        h = h.relu() if layer < len(base) // 2 - 1 else h
    return h


def test_fedlora_equals_its_oracle() -> None:
    """Three steps a round of momentum SGD on the adapters alone, then their mean by samples."""
    run = train({"algorithm": "fedlora", "optimizer": SGD, "local_iterations": 3}, workload=ADAPTED)
    held = [parameter for _, block in run.session.learner.task.blocks for parameter in block.parameters()]
    base = [parameter.double() for parameter in held if not parameter.requires_grad]
    assert len(base) == 6

    settings = fedlora.Settings(3, oracle_optimizer(SGD))
    result = fedlora.reference(network, base, [*run.x_c, *run.x_s], run.local_rounds("train"), settings)

    run.check(result)
    assert run.session.learner.task.whole.dimension == RANK * (64 + 6 + 6 + 5 + 5 + 10)


def test_adapters_start_as_the_model_they_are_made_from() -> None:
    """B is zero at first, so the adapted network answers as the plain one, and learns on digits."""
    text = """
name: lora
workload: {{model: {{kind: mlp, hidden: [64, 64]{adapters}}}}}
fleet: {{clients: 10, participants: 5, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
variants: [{{algorithm: {algorithm}, local_iterations: 5, optimizer: {{lr: 0.1}}}}]
stop: {{rounds: 30}}
"""
    plain, adapted = (
        sflsim.simulate(sflsim.parse_scenario(text.format(algorithm=algorithm, adapters=adapters)))
        for algorithm, adapters in (("fedavg", ""), ("fedlora", ", adapters: {rank: 8}"))
    )

    assert plain.evaluations["loss"][0] == adapted.evaluations["loss"][0]
    assert adapted.evaluations["accuracy"].iloc[-1] > 0.6
    assert adapted.evaluations["uplink_bytes"].iloc[-1] < 0.5 * plain.evaluations["uplink_bytes"].iloc[-1]


def test_a_model_without_adapters_is_refused() -> None:
    """The message says where the model is and what to add; memory counts the frozen base once."""
    text = (
        "name: t\nworkload: {{model: {model}}}\nfleet: {{clients: 2, groups: [{{device: raspberry-pi-4}}]}}\n"
    )
    text += "variants: [{{algorithm: fedlora}}]\nstop: {{rounds: 1}}\n"
    session = Session(sflsim.parse_scenario(text.format(model="mlp")), Options())
    try:
        session.check()
    except sflsim.ScenarioError as error:
        (problem,) = error.problems
        assert (problem.path, problem.line) == ("workload.model", 2)
        assert "adapters: {rank: 8" in problem.remedy
    else:
        raise AssertionError

    costs = Session(
        sflsim.parse_scenario(text.format(model="{kind: mlp, hidden: [4], adapters: {rank: 1}}")), Options()
    ).requirements.costs(1)
    assert costs.client_frozen_bytes == 4 * (64 * 4 + 4)
    assert costs.client_model_bytes == 4 * (64 + 4)
    assert costs.zeroth_order_memory_bytes() == 4 * (64 * 4 + 4 + 64 + 4) + costs.client_live_bytes
