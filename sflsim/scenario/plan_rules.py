"""The rules that join a plan and a scenario: for the one that a user wrote, and for that of every point."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from sflsim.errors import Problem, ScenarioError, did_you_mean
from sflsim.fleet.rates import RatesConfig
from sflsim.fleet.selection.policy import LEARNED
from sflsim.mistakes import Place
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.plan_criteria import Need

if TYPE_CHECKING:
    from sflsim.scenario.schema import Scenario


def check(plan: PlanConfig, scenario: Scenario, decided: Collection[str] = ()) -> None:
    """Refuse a scenario that a plan cannot be made of; `decided` are paths that are still to be set.

    Raises:
        ScenarioError: by what it does not fit.
    """
    found = [*conflicts(plan, scenario, decided), *_incomparable(scenario, decided)]
    if found:
        raise ScenarioError([one for _, one in found])


def conflicts(
    plan: PlanConfig, scenario: Scenario, decided: Collection[str]
) -> Iterator[tuple[Place, Problem]]:
    """Yield what of a plan has no meaning in a scenario, and the place of each such mistake."""
    if not _set_by(decided, "fleet.groups"):
        known = scenario.fleet.group_names()
        for block in ("prices", "constraints"):
            for name in getattr(plan, block).groups:
                if name not in known:
                    place, remedy = ("plan", block, "groups", name), did_you_mean(name, known)
                    yield place, Problem(".".join(place), f"the group {name!r}", ", ".join(known), remedy)
    if plan.prices.tflops_hour and isinstance(scenario.server.compute, RatesConfig):
        priced = ("plan", "prices", "tflops_hour")
        found = "a price by the TFLOP/s, and a server with rates by kind"
        remedy = "give 'server_hour' instead, or the server one rate"
        yield priced, Problem(".".join(priced), found, "one rate in server.compute", remedy)
    lacking: dict[Need, dict[str, None]] = {}
    for one in plan.criteria():
        if one.need and not one.need.met(plan, scenario) and not _set_by(decided, one.need.field):
            lacking.setdefault(one.need, {})[f"'{one.name}'"] = None
    for need, names in lacking.items():
        yield ("plan",), Problem("plan", f"{' and '.join(names)} without a {need.name}", need.allowed)


def chosen_by_learning(scenario: Scenario) -> Iterator[tuple[Place, Problem]]:
    """Yield that who takes part is known only by training, which the clock alone does not do."""
    selection = scenario.fleet.selection
    if read := sorted(selection.reads() & LEARNED):
        found = f"{selection.kind}, which reads {' and '.join(read)}: only training tells who takes part"
        allowed = "where nothing is trained, a policy that reads times at most, e.g. uniform, fedcs or tifl"
        remedy = "run or sweep it with training; a plan, --timing-only and what-ifs run the clock alone"
        yield ("fleet", "selection"), Problem("fleet.selection", found, allowed, remedy)


def _incomparable(scenario: Scenario, decided: Collection[str]) -> Iterator[tuple[Place, Problem]]:
    """Yield what keeps the points from being compared."""
    if not _set_by(decided, "fleet.selection"):
        yield from chosen_by_learning(scenario)
    target, evaluate = scenario.target_accuracy, scenario.evaluate
    by_time = evaluate.every_rounds is None and not _set_by(decided, "evaluate.every")
    if target is not None and by_time:
        remedy = "evaluations by time would differ from point to point, and nothing could be shared"
        found, allowed = repr(evaluate.every), "rounds, e.g. '10 rounds'"
        yield ("evaluate", "every"), Problem("evaluate.every", found, allowed, remedy)
    if target is None and scenario.stop.rounds is None and not _set_by(decided, "stop.rounds"):
        remedy = "without a target accuracy points are compared by what their rounds take"
        found = "nothing, and no target_accuracy"
        yield ("stop", "rounds"), Problem("stop.rounds", found, "one of the two", remedy)


def _set_by(decided: Collection[str], field: str) -> bool:
    """Tell whether a decision sets a field, or something that it is part of."""
    return bool(field) and any(f"{field}.".startswith(f"{path}.") for path in decided)
