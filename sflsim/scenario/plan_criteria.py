"""What a plan may minimise and what it must keep to: each objective and each constraint, declared once.

From these follow the schema of `plan:`, the columns of its points, and the words and units of its texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sflsim.fields import Bytes, Energy
from sflsim.fleet.rates import RatesConfig
from sflsim.rows import TimedRun
from sflsim.scenario.plan_values import DEADLINE, Deadline, Price

if TYPE_CHECKING:
    from sflsim.scenario.plan_block import PlanConfig
    from sflsim.scenario.schema import Scenario

Numbers = npt.NDArray[np.float64]
Unit = Literal["s", "byte", "J", "share", "money"]
HOUR_S, GIGABYTE, KILOWATT_HOUR_J, TERA = 3600.0, 1e9, 3.6e6, 1e12


@dataclass(frozen=True)
class Need:
    """What a scenario must say for an objective or a constraint to have a meaning."""

    name: str
    """What is missing where it is not met."""
    allowed: str
    met: Callable[[PlanConfig, Scenario], bool]
    field: str = ""
    """The field of the scenario that says it, if it is one: a decision may set it."""


@dataclass(frozen=True)
class Objective:
    """What a plan may minimise: the mean over the seeds, from the start of a run to the target."""

    name: str
    column: str
    """Of `Plan.points`; its end is the unit."""
    words: str
    unit: Unit
    figure: Callable[[PlanConfig, Scenario, TimedRun], Numbers]
    """By evaluation. It never shrinks: the search gives up a point by what it takes so far."""
    amount: str = "{}"
    """What a text says of an amount in its unit."""
    need: Need | None = None


@dataclass(frozen=True)
class Constraint:
    """What a plan may limit. What is limited never shrinks from one evaluation of a run to the next."""

    name: str
    words: str
    unit: Unit
    limit: Any
    """The type of the limit in YAML."""
    figure: Callable[[PlanConfig, Scenario, TimedRun, str], Numbers]
    """By evaluation, of a group of the fleet or, without one, of all that have no limit of their own."""
    description: str = ""
    default: Any = None
    over_seeds: Literal["worst", "mean", "probability"] = "worst"
    """Which seed counts; `probability`: the last of those that must reach the target."""
    grows: bool = True
    """Whether more rounds add to it."""
    sentence: str = "{Words}: {least}{taken}, where {limit} are allowed."
    """What a point must give up, if it is the nearest to be feasible."""
    need: Need | None = None


def _cost(plan: PlanConfig, scenario: Scenario, run: TimedRun) -> Numbers:
    """Return what the run is charged."""
    prices, fleet, server = plan.prices, scenario.fleet, scenario.server

    def by_group(name: str) -> Numbers:
        given = [getattr(prices.groups.get(group), name, None) for group in fleet.group_names()]
        return np.array([getattr(prices, name) if price is None else price for price in given])

    tflops = 0.0
    if prices.tflops_hour:
        assert not isinstance(server.compute, RatesConfig)  # refused in plan_rules
        tflops = prices.tflops_hour * server.slots * server.compute / TERA
    total: Numbers = run.time_s / HOUR_S * (prices.server_hour + tflops)
    total = total + run.up_bytes @ by_group("gigabyte_up") / GIGABYTE
    total = total + run.down_bytes @ by_group("gigabyte_down") / GIGABYTE
    total = total + run.energy_j / KILOWATT_HOUR_J * prices.kilowatt_hour
    return total + float(by_group("device") @ np.array(fleet.group_counts(), dtype=np.float64))


def _bytes(plan: PlanConfig, scenario: Scenario, run: TimedRun) -> Numbers:
    """Return the bytes that a client sends and receives, on average over the fleet."""
    both: Numbers = run.up_bytes.sum(axis=1) + run.down_bytes.sum(axis=1)
    return both / scenario.fleet.clients


def _busiest(rule: str) -> Callable[[PlanConfig, Scenario, TimedRun, str], Numbers]:
    """Return the figure of a limit on bytes: those of the busiest client that is under it."""

    def figure(plan: PlanConfig, scenario: Scenario, run: TimedRun, group: str) -> Numbers:
        names, limits = scenario.fleet.group_names(), plan.constraints.groups
        apart = {name for name, limit in limits.items() if getattr(limit, rule) is not None}
        columns = [
            column for column, name in enumerate(names) if (name == group if group else name not in apart)
        ]
        busiest: Numbers = run.busiest_bytes[:, columns].max(axis=1, initial=0.0)
        return busiest

    return figure


def _by_month(plan: PlanConfig, scenario: Scenario, run: TimedRun, group: str) -> Numbers:
    return _busiest("bytes_per_client_and_month")(plan, scenario, run, group) * plan.runs_per_month


def _memory_of_group(plan: PlanConfig, scenario: Scenario, run: TimedRun, group: str) -> Numbers:
    by_name = zip(scenario.fleet.group_names(), run.memory_bytes, strict=True)
    return _throughout(run, max((size for name, size in by_name if name == group), default=0.0))


def _throughout(run: TimedRun, amount: float) -> Numbers:
    return np.full(len(run.time_s), amount)


def _server_energy(plan: PlanConfig, scenario: Scenario, run: TimedRun) -> Numbers:
    """Return the joules of the server's slots while they serve."""
    return run.server_busy_s * (scenario.server.power or 0.0)


PRICES = Need(
    "price", "'prices:' with one above zero at least", lambda plan, scenario: any(plan.price_list().values())
)
SERVER_POWER = Need(
    "server.power", "e.g. 'server: {power: 300 W}', of a slot while it serves",
    lambda plan, scenario: scenario.server.power is not None, field="server.power",
)  # fmt: skip
OBJECTIVES = {
    one.name: one
    for one in (
        Objective("time", "time_s", "time", "s", lambda plan, scenario, run: run.time_s),
        Objective("cost", "cost", "cost", "money", _cost, need=PRICES),
        Objective(
            "energy", "energy_j", "client energy", "J",
            lambda plan, scenario, run: run.energy_j, amount="{} of client energy",
        ),
        Objective("bytes", "bytes_per_client", "bytes per client", "byte", _bytes, amount="{} per client"),
        Objective(
            "server_energy", "server_energy_j", "server energy", "J", _server_energy,
            amount="{} of server energy", need=SERVER_POWER,
        ),
    )
}  # fmt: skip
_BYTES_PER_CLIENT = Constraint(
    "bytes_per_client", "the bytes per client", "byte", Bytes, _busiest("bytes_per_client"),
    description="up and down, of the busiest client",
)  # fmt: skip
_BYTES_PER_MONTH = Constraint(
    "bytes_per_client_and_month", "the bytes per client and month", "byte", Bytes, _by_month,
    description="with 'runs_per_month' runs",
)  # fmt: skip
CONSTRAINTS = {
    one.name: one
    for one in (
        _BYTES_PER_CLIENT,
        _BYTES_PER_MONTH,
        Constraint(
            "server_memory", "the memory of the server", "byte", Bytes,
            lambda plan, scenario, run, group: _throughout(run, run.server_memory_bytes),
            description="for the models that the server holds", grows=False,
        ),
        Constraint(
            "device_memory", "the memory of the devices", "share", bool,
            lambda plan, scenario, run, group: _throughout(run, run.memory_share),
            description="the training fits every device of known memory", default=True, grows=False,
            sentence="Its training takes {times} times the memory of a device.",
        ),
        Constraint(
            "budget", "the budget", "money", Price,
            lambda plan, scenario, run, group: _cost(plan, scenario, run),
            description="for one run, in the currency of the prices", over_seeds="mean",
            sentence="It costs {least}{taken}; the budget is {limit}.", need=PRICES,
        ),
        Constraint(
            "deadline", "the deadline", "s", Deadline, lambda plan, scenario, run, group: run.time_s,
            description=DEADLINE, over_seeds="probability",
            sentence="It needs {least}{taken}{seeds}; the deadline is {limit}.",
        ),
        Constraint(
            "server_energy", "the server's energy", "J", Energy,
            lambda plan, scenario, run, group: _server_energy(plan, scenario, run),
            description="of one run, drawn while serving", over_seeds="mean", need=SERVER_POWER,
        ),
    )
}  # fmt: skip
GROUP_CONSTRAINTS = {
    one.name: one
    for one in (
        Constraint(
            "device_memory", "the memory of the devices", "byte", Bytes, _memory_of_group,
            description="of a device, for the training", grows=False,
        ),
        _BYTES_PER_CLIENT,
        _BYTES_PER_MONTH,
    )
}  # fmt: skip
"""Those that may be set for one group of the fleet, below `constraints.groups.<name>`."""


def constraint(path: str) -> tuple[Constraint, str]:
    """Return a constraint by its path below `plan.constraints`, and the group that it is of, if any."""
    group, _, name = path.removeprefix("groups.").rpartition(".")
    return (GROUP_CONSTRAINTS if group else CONSTRAINTS)[name], group
