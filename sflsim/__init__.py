"""sflsim: a discrete-event wall-clock simulator for split federated learning.

    import sflsim
    run = sflsim.simulate(sflsim.load_scenario("scenarios/quickstart.yaml"))
    print(run.summary())
    run.plot("plots")

Names are loaded when first used, so that a command line that only reads a scenario starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sflsim.errors import Problem, RunError, ScenarioError, SflsimError
    from sflsim.experiment import Progress, simulate
    from sflsim.learning.store import MemoryStore
    from sflsim.planning.sweep import Sweep, SweepProgress, sweep
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
    "Sweep",
    "SweepProgress",
    "load_scenario",
    "parse_scenario",
    "register_algorithm",
    "register_dataset",
    "register_distribution",
    "register_model",
    "register_partition",
    "simulate",
    "sweep",
]

_HOMES = {
    "errors": ("Problem", "RunError", "ScenarioError", "SflsimError"),
    "experiment": ("Progress", "simulate"),
    "learning.store": ("MemoryStore",),
    "planning.sweep": ("Sweep", "SweepProgress", "sweep"),
    "registry": (
        "register_algorithm",
        "register_dataset",
        "register_distribution",
        "register_model",
        "register_partition",
    ),
    "run": ("Run",),
    "scenario.loading": ("load_scenario", "parse_scenario"),
    "scenario.schema": ("Scenario",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"sflsim.{home}"), name)
    raise AttributeError(f"module 'sflsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
