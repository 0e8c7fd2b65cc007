"""What every process of a testbed makes of a scenario, and what it has to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from sflsim.errors import Problem, ScenarioError, refused
from sflsim.fleet.groups import FleetConfig, GroupConfig
from sflsim.fleet.links.links import LinkConfig
from sflsim.fleet.population import Fleet, build_fleet
from sflsim.learning.config import Workload
from sflsim.learning.optimizers import OptimizerConfig
from sflsim.learning.profiling.calibration import measure
from sflsim.learning.profiling.places import of_workload
from sflsim.learning.task import Task
from sflsim.scenario.schema import Scenario
from sflsim.session import Session
from sflsim.simulation.base import PerClientCut
from testbed.exchanges import SIDES
from testbed.network import Unlike  # noqa: F401 (registers it, in every process)


@dataclass(frozen=True)
class Setting:
    """The task, the fleet and the variant under one seed."""

    task: Task
    fleet: Fleet
    config: Any
    workload: Workload

    def warm_up(self) -> None:
        """Compute everything once: what a process computes first takes much longer than ever after."""
        batch_size = self.task.batch_size(0)
        measure(of_workload(self.workload, batch_size, [self.task.cut], blocks=False), repeat=1, rest_s=0.0)
        for optimizer in vars(self.config).values():
            if isinstance(optimizer, OptimizerConfig):
                optimizer.wrong_value()  # tries a step

    def link(self, index: int) -> tuple[float, float, float]:
        """Return the rates up and down (byte/s) and the latency (s) of a client."""
        constant = self.fleet.device(index).link.constant
        assert constant is not None
        return constant

    @classmethod
    def of(cls, session: Session, number: int, seed: int) -> Setting:
        """Return the setting of variant `number`.

        Raises:
            ScenarioError: the testbed cannot run that.
        """
        scenario = session.scenario
        config = scenario.variants[number]
        problems = list(_refused(scenario, number))
        if problems:
            raise scenario.located(ScenarioError(problems))
        task = session.materials.task(session.requirements.cut(number), seed)
        if config.algorithm == "ho-sfl" and task.server.has_statistics:
            what = "batch norm in the server part of ho-sfl"
            raise refused("workload.model", what, "on the testbed a model without")
        return cls(task, build_fleet(scenario.fleet, seed), config, scenario.workload)


def _refused(scenario: Scenario, number: int) -> Iterator[Problem]:
    """Yield what a scenario has and a testbed has not."""
    config, path = scenario.variants[number], f"variants[{number}]"
    if config.algorithm not in SIDES:
        yield Problem(f"{path}.algorithm", config.algorithm, f"on the testbed {', '.join(SIDES)}")
    given = config.model_dump()
    for field, allowed in PLAIN.items():
        if field in given and given[field] != allowed:
            yield Problem(f"{path}.{field}", repr(given[field]), f"on the testbed {allowed!r}")
    if isinstance(config.cut, PerClientCut):
        yield Problem(f"{path}.cut", "a cut for each client", "on the testbed one cut")
    if not isinstance(scenario.workload.batch_size, int):
        yield Problem("workload.batch_size", "a size for each device", "on the testbed one number")
    if any(isinstance(rate, dict) for rate in _rates(given)):
        yield Problem(path, "a schedule of a rate", "on the testbed a number")
    if scenario.fleet.selection.kind != "uniform":
        yield Problem("fleet.selection", scenario.fleet.selection.kind, "on the testbed uniform")
    if scenario.stop.rounds is None:
        yield Problem("stop.rounds", "nothing", "on the testbed a number of rounds")
    if scenario.server.link.up != inf or scenario.server.link.down != inf:
        yield Problem("server.link", "a limit", "on the testbed an unlimited link of the server")
    if scenario.server.link.latency:
        yield Problem("server.link.latency", "a latency", "on the testbed none: give it to the groups' links")
    for place, group in enumerate(scenario.fleet.groups):
        yield from _refused_group(group, f"fleet.groups[{place}]", scenario.fleet)


def _rates(given: dict[str, Any]) -> Iterator[Any]:
    """Yield the learning rates of a variant, as its Config holds them."""
    for name, value in given.items():
        if name in ("eta_s", "eta_c", "eta_g"):
            yield value
        elif isinstance(value, dict) and "lr" in value:
            yield value["lr"]


def _refused_group(group: GroupConfig, path: str, fleet: FleetConfig) -> Iterator[Problem]:
    """Yield what a group of devices has and a testbed has not."""
    if not _plain(group.link):
        yield Problem(f"{path}.link", "a link that changes, is drawn or shared", "on the testbed fixed rates")
    if group.access_point:
        yield Problem(f"{path}.access_point", "a shared medium", "on the testbed none")
    if group.straggler or fleet.straggler:
        yield Problem(f"{path}.straggler", "a slowdown", "on the testbed none")


def _plain(link: Any) -> bool:
    """Tell whether a link has fixed rates and a fixed latency, and nothing else."""
    if not isinstance(link, LinkConfig):
        return False
    rest = {name: field for name, field in LinkConfig.model_fields.items() if name not in RATES}
    if any(getattr(link, name) != field.default for name, field in rest.items()):
        return False
    return all(isinstance(value, float) for value in (link.up, link.down, link.latency))


RATES = ("up", "down", "latency")
PLAIN = {
    "over_selection": 0,
    "deadline": None,
    "client_feedback": "separate",
    "keep_state": False,
    "compression": None,
    "aggregation": {"kind": "mean"},
    "proximal": 0.0,
    "aggregate_clients_every": 1,
}
"""Fields that a testbed takes with one value alone."""
