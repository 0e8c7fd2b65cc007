"""Further controls that a user names by `--over`: a path alone, with a list of values, or with a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sflsim.errors import Problem, ScenarioError, refused
from sflsim.explorer.control import Control, Kind
from sflsim.explorer.overriding import inline, is_amount, override
from sflsim.formatting import shorten
from sflsim.scenario.loading import vary, written
from sflsim.scenario.overrides import read_path
from sflsim.scenario.plan_values import RANGE, Range
from sflsim.scenario.schema import Scenario
from sflsim.scenario.sweep_block import read_over

FORM = (
    "PATH, PATH=V1,V2,... or PATH={from: 1, to: 8}, e.g. 'server.compute={from: 1 TFLOP/s, to: 16 TFLOP/s}'"
)


def further_controls(scenario: Scenario, over: Sequence[str]) -> list[Control]:
    """Return the controls that a user names: a path alone, with a list of values, or with a range."""
    controls = [_further_one(scenario, text) for text in over]
    problems = [problem for control in controls for problem in _problems(scenario, control)]
    if problems:
        raise ScenarioError(problems)
    return controls


def _further_one(scenario: Scenario, text: str) -> Control:
    steps, rest = read_path(text)
    path = text[: len(text) - len(rest)]
    now = _at(scenario, steps)
    if not steps or (rest and not rest.startswith("=")):
        raise refused("", repr(shorten(text)), FORM, "", "--over")
    if not rest:
        kind: Kind = "amount" if is_amount(now) else "text"
        return Control(path, "further", path, kind, "" if now is None else inline(now))
    (values,) = read_over([text]).values()
    if len(values) == 1 and isinstance(values[0], dict) and {"from", "to"} <= values[0].keys():
        values = _range(values[0], path, text)
    if not values:
        raise refused(path, "no value", FORM, "", f"--over {shorten(text)}")
    numbers = all(is_amount(value) or isinstance(value, (int, float)) for value in values)
    values = values if now is None or now in values else [now, *values]
    shown = tuple(map(inline, values))
    value = shown[0] if now is None else inline(now)
    return Control(
        path, "further", path, "steps" if numbers else "choice", value, shown, values=tuple(values)
    )


def _range(given: dict[str, Any], path: str, text: str) -> list[Any]:
    try:
        return Range.model_validate(given).values
    except ValidationError as error:
        raise refused(path, shorten(inline(given)), RANGE, "", f"--over {shorten(text)}") from error


def _problems(scenario: Scenario, control: Control) -> Sequence[Problem]:
    """Return what is wrong with a path, if no value of it makes a scenario."""
    found: Sequence[Problem] = ()
    for value in control.values:
        try:
            vary(scenario, [replace(override(control.id, value), file=f"--over {control.id}")])
            return ()
        except ScenarioError as error:
            found = found or error.problems
    return found


def _at(scenario: Scenario, steps: Sequence[str]) -> Any:
    """Return what is written at a path; None where there is nothing, or a mapping or a list."""
    place: Any = written(scenario)
    for step in steps:
        if isinstance(place, dict):
            place = place.get(step)
        elif isinstance(place, list) and step.isdigit() and int(step) < len(place):
            place = place[int(step)]
        else:
            return None
    return None if isinstance(place, (dict, list)) else place
