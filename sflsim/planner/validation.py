"""Refuses a decision that leads nowhere, or a value that no scenario can have, where it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.planner.space import Axis, Space
from sflsim.scenario import plan_rules
from sflsim.scenario.fixed_costs import cut_apart, fixed_costs
from sflsim.scenario.schema import Scenario


def checked_space(scenario: Scenario) -> Space:
    """Return the points of a scenario's plan, after a look at all that it is made of.

    Raises:
        ScenarioError: there is no plan, it does not fit the scenario, or a decision leads nowhere.
    """
    try:
        if scenario.plan is None:
            remedy = "e.g. plan: {decisions: {server.slots: [1, 2, 4]}, objectives: [time]}"
            allowed = "a mapping: decisions, objectives, constraints"
            raise refused("plan", "nothing", allowed, remedy)
        plan_rules.check(scenario.plan, scenario, scenario.plan.decisions)
    except ScenarioError as error:
        raise scenario.located(error) from None
    space = Space(_without_refusal(scenario), scenario.plan)
    check(space)
    return space


def _without_refusal(scenario: Scenario) -> Scenario:
    """Return the scenario so that a device that is too small violates a constraint and ends no run."""
    if scenario.fleet.on_oom != "refuse":
        return scenario
    fleet = scenario.fleet.model_copy(update={"on_oom": "ignore"})
    return scenario.model_copy(update={"fleet": fleet})


def check(space: Space) -> None:
    """Refuse every value that makes no scenario, neither by itself nor with a value of one other decision.

    Refused is also a decision that given costs cannot follow.

    Raises:
        ScenarioError: at the line of each such value, or of the decision where none of its values will do.
    """
    alone = {axis: _alone(space, axis) for axis in space.axes[1:]}
    problems: list[Problem] = []
    for axis, errors in alone.items():
        others = [other for other in alone if other is not axis and not all(alone[other].values())]
        wrong = {
            index: error
            for index, error in errors.items()
            if error is not None and not any(_together(space, axis, index, other) for other in others)
        }
        found = {problem.found for error in wrong.values() for problem in error.problems}
        if len(found) == 1 < len(axis.values) == len(wrong):
            problems.append(_placed(f"plan.decisions.{axis.name}", wrong[0].problems[0]))
            continue
        for index, error in wrong.items():
            problems.append(_placed(f"plan.decisions.{axis.name}[{index}]", error.problems[0]))
    if not problems:
        searched = {axis.name: axis.values for axis in alone}
        fixed = fixed_costs(space.scenario, searched)
        problems = [replace(one, path=f"plan.decisions.{path}") for path, one in fixed.items()]
        problems += cut_apart(space.scenario)
    if problems:
        raise space.scenario.located(ScenarioError(problems))


def _alone(space: Space, axis: Axis) -> dict[int, ScenarioError | None]:
    """Return for each value of an axis why it is possible with no variant; None where it is possible."""
    if not any(axis.names(variant) for variant in space.variants):
        known = list(dict.fromkeys(variant["algorithm"] for variant in space.variants))
        step = axis.steps[1] if len(axis.steps) > 1 else ""
        problem = Problem("", f"[{step}]", f"variants of {', '.join(known)}", did_you_mean(step, known))
        return dict.fromkeys(range(len(axis.values)), ScenarioError(problem))
    return {index: _error(space, {axis: index}) for index in range(len(axis.values))}


def _together(space: Space, axis: Axis, index: int, other: Axis) -> bool:
    """Tell whether a value is possible with some value of another axis."""
    if not any(axis.names(variant) and other.names(variant) for variant in space.variants):
        return False
    return any(_error(space, {axis: index, other: number}) is None for number in range(len(other.values)))


def _error(space: Space, chosen: Mapping[Axis, int]) -> ScenarioError | None:
    error = None
    for variant in space.variants:
        if all(axis.names(variant) for axis in chosen):
            try:
                space.scenario_of(space.combined(variant, chosen))
                return None
            except ScenarioError as wrong:
                error = error or wrong
    return error


def _placed(path: str, problem: Problem) -> Problem:
    """Return a problem of the point's scenario as one of the plan."""
    where = f"at {problem.path}" if problem.path else ""
    remedy = ": ".join(part for part in (where, problem.remedy) if part)
    return Problem(path, problem.found, problem.allowed, remedy)
