"""On digits the clients of HO-SFL, CSE-FSL and HERON-SFL learn: shown against ones that stand still."""

from __future__ import annotations

from typing import Any

import pytest

from sflsim.experiment.simulate import simulate
from sflsim.scenario.loading import load_scenario
from sflsim.scenario.schema import Scenario

STILL = {"name": "SGD", "lr": 1e-12}  # the same server, and clients that do not move
DEVICES = {"device": "raspberry-pi-4", "link": "wifi"}
ROUNDS = 150


def accuracies(*variants: dict[str, Any]) -> dict[str, float]:
    """Return the accuracy after `ROUNDS` rounds by variant: ten clients, five per round.

    The client part is narrow (64 to 12), so that a server can do little with activations of one
    that is not trained.
    """
    scenario = Scenario.model_validate(
        {
            "name": "learning",
            "workload": {"model": {"kind": "mlp", "hidden": [12, 64]}, "batch_size": 32},
            "fleet": {
                "clients": 10,
                "participants": 5,
                "groups": [{"device": "raspberry-pi-4", "link": "wifi"}],
            },
            "variants": list(variants),
            "stop": {"rounds": ROUNDS},
            "evaluate": {"every": f"{ROUNDS} rounds"},
        }
    )
    evaluations = simulate(scenario).evaluations
    return dict(evaluations[evaluations["round"] == ROUNDS][["variant", "accuracy"]].to_numpy())


@pytest.mark.parametrize(("algorithm", "ahead"), [("ho-sfl", 0.08), ("cse-fsl", 0.2), ("heron-sfl", 0.08)])
def test_clients_learn(algorithm: str, ahead: float) -> None:
    """Chance is 10 %; the frozen-client control, whose server replicas restart, is behind by far."""
    found = accuracies(
        {"name": "it", "algorithm": algorithm},
        {"name": "still", "algorithm": algorithm, "client_optimizer": STILL},
        {"name": "control", "algorithm": "frozen-client"},
    )
    assert found["it"] > 0.7
    assert found["it"] > found["still"] + ahead
    assert found["it"] > found["control"] + 0.2


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
