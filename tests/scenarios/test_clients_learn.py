"""On digits the clients of HO-SFL, CSE-FSL and HERON-SFL learn: shown against ones that stand still."""

from __future__ import annotations

import math

import pytest

from sflsim.experiment.simulate import simulate
from sflsim.scenario.loading import load_scenario
from sflsim.scenario.schema import Scenario

STILL = {"client_optimizer": {"name": "SGD", "lr": 1e-12}}  # the same server, and clients that do not move
ROUNDS = 150
HELD_OUT = 359
CHANCE = 4 * math.sqrt(2 * 0.25 / HELD_OUT)
"""Four standard deviations (15 %) of what two equally good models' accuracies on these samples differ by."""


def accuracies(algorithm: str) -> dict[str, float]:
    """Return the accuracy after `ROUNDS` rounds by variant: ten clients, five per round.

    The client part is narrow (64 to 12), so that a server can do little with activations of one
    that is not trained. The control's server replicas restart in every round.
    """
    still = {"name": "still", "algorithm": algorithm, **STILL}
    variants = [{"name": "control", "algorithm": "frozen-client"}, {"algorithm": algorithm}, still]
    content = {
        "name": "learning",
        "workload": {"model": {"kind": "mlp", "hidden": [12, 64]}, "batch_size": 32},
        "fleet": {
            "clients": 10,
            "participants": 5,
            "groups": [{"device": "raspberry-pi-4", "link": "wifi"}],
        },
        "variants": variants,
        "stop": {"rounds": ROUNDS},
        "evaluate": {"every": f"{ROUNDS} rounds"},
    }
    evaluations = simulate(Scenario.model_validate(content)).evaluations
    return dict(evaluations[evaluations["round"] == ROUNDS][["variant", "accuracy"]].to_numpy())


@pytest.mark.parametrize(
    "algorithm",
    ["ho-sfl", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cse-fsl", "heron-sfl"))],
)
def test_clients_learn(algorithm: str) -> None:
    """It leads the same server over clients that stand still, and the control, beyond chance."""
    accuracy = accuracies(algorithm)
    assert accuracy[algorithm] > accuracy["still"] + CHANCE
    assert accuracy[algorithm] > accuracy["control"] + CHANCE


def test_the_paper_scenario_runs() -> None:
    """HO-SFL's clients send less than SplitFed V1's, need less memory, and take longer to compute."""
    run = simulate(
        load_scenario("scenarios/papers/ho_sfl.yaml", ["stop.rounds=5", "seeds=[0]"]), timing_only=True
    )
    last = run.evaluations.groupby("variant").last()
    ours, reference = last.loc["ho-sfl"], last.loc["splitfed-v1"]
    assert ours.uplink_bytes < reference.uplink_bytes / 10
    assert ours.downlink_bytes < reference.downlink_bytes / 10
    assert ours.client_busy_s > reference.client_busy_s
    memory = run.runs.set_index("variant").client_memory_bytes
    assert memory["ho-sfl"] < memory["splitfed-v1"]
