"""sflsim: a discrete-event wall-clock simulator for split federated learning.

import sflsim
run = sflsim.simulate(sflsim.load_scenario("scenarios/quickstart.yaml"))
print(run.summary())
run.plot("plots")
"""

from sflsim.errors import Problem, RunError, ScenarioError, SflsimError
from sflsim.experiment import Progress, simulate
from sflsim.learning.store import MemoryStore
from sflsim.registry import (
    register_algorithm,
    register_dataset,
    register_distribution,
    register_model,
    register_partition,
)
from sflsim.run import Run
from sflsim.scenario.loading import load_scenario, parse_scenario
from sflsim.scenario.schema import Scenario

__all__ = [
    "MemoryStore",
    "Problem",
    "Progress",
    "Run",
    "RunError",
    "Scenario",
    "ScenarioError",
    "SflsimError",
    "load_scenario",
    "parse_scenario",
    "register_algorithm",
    "register_dataset",
    "register_distribution",
    "register_model",
    "register_partition",
    "simulate",
]
