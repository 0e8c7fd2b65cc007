"""sflsim: a discrete-event wall-clock simulator for split federated learning.

    import sflsim
    run = sflsim.simulate(sflsim.load_scenario("scenarios/quickstart.yaml"))
    print(run.summary())
    run.plot("plots")

Names are loaded when first used, so that a command line that only reads a scenario starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sflsim.provenance import __version__

if TYPE_CHECKING:
    from sflsim.diagnostics.calibrate import Calibration, calibrate
    from sflsim.diagnostics.label_counts import label_counts
    from sflsim.diagnostics.memory import Memory, memory
    from sflsim.errors import Problem, RunError, ScenarioError, SflsimError
    from sflsim.experiment.run import Run
    from sflsim.experiment.simulate import Progress, simulate
    from sflsim.experiment.verify import Verification, verify
    from sflsim.explainer.explain import ExplainProgress, Explanation, explain
    from sflsim.exporter.export import export
    from sflsim.learning.graph.disk_store import DiskStore, StoreWarning
    from sflsim.learning.graph.store import MemoryStore
    from sflsim.metrics.comparison import Comparison
    from sflsim.planner.plan import Plan, plan
    from sflsim.planner.progress import PlanProgress
    from sflsim.registry import (
        register_algorithm,
        register_codec,
        register_dataset,
        register_distribution,
        register_model,
        register_partition,
        register_selection,
    )
    from sflsim.scenario.loading import load_scenario, parse_scenario
    from sflsim.scenario.schema import Scenario
    from sflsim.sweeps.sweep import Sweep, SweepProgress, sweep
    from sflsim.terminal.progress import show_progress

__all__ = [
    "Calibration",
    "Comparison",
    "DiskStore",
    "ExplainProgress",
    "Explanation",
    "Memory",
    "MemoryStore",
    "Plan",
    "PlanProgress",
    "Problem",
    "Progress",
    "Run",
    "RunError",
    "Scenario",
    "ScenarioError",
    "SflsimError",
    "StoreWarning",
    "Sweep",
    "SweepProgress",
    "Verification",
    "__version__",
    "calibrate",
    "explain",
    "export",
    "label_counts",
    "load_scenario",
    "memory",
    "parse_scenario",
    "plan",
    "register_algorithm",
    "register_codec",
    "register_dataset",
    "register_distribution",
    "register_model",
    "register_partition",
    "register_selection",
    "show_progress",
    "simulate",
    "sweep",
    "verify",
]

_HOMES = {
    "errors": ("Problem", "RunError", "ScenarioError", "SflsimError"),
    "experiment.simulate": ("Progress", "simulate"),
    "experiment.verify": ("Verification", "verify"),
    "learning.graph.disk_store": ("DiskStore", "StoreWarning"),
    "learning.graph.store": ("MemoryStore",),
    "diagnostics.calibrate": ("Calibration", "calibrate"),
    "exporter.export": ("export",),
    "explainer.explain": ("ExplainProgress", "Explanation", "explain"),
    "diagnostics.label_counts": ("label_counts",),
    "diagnostics.memory": ("Memory", "memory"),
    "metrics.comparison": ("Comparison",),
    "planner.plan": ("Plan", "plan"),
    "planner.progress": ("PlanProgress",),
    "terminal.progress": ("show_progress",),
    "sweeps.sweep": ("Sweep", "SweepProgress", "sweep"),
    "registry": (
        "register_algorithm",
        "register_codec",
        "register_dataset",
        "register_distribution",
        "register_model",
        "register_partition",
        "register_selection",
    ),
    "experiment.run": ("Run",),
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
