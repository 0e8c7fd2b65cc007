"""Further controls that a user names by `--over`: a path alone, with a list of values, or with a range."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sflsim.errors import Problem, ScenarioError, did_you_mean, refused
from sflsim.explorer.control import Control, Kind
from sflsim.explorer.overriding import inline, is_amount, override
from sflsim.formatting import shorten
from sflsim.scenario.json_schemas import schema_of
from sflsim.scenario.json_walk import keys_at
from sflsim.scenario.loading import vary, written
from sflsim.scenario.overrides import Override, apply, read_path
from sflsim.scenario.plan_values import RANGE, Range
from sflsim.scenario.schema import Scenario
from sflsim.scenario.sweep_block import read_over
from sflsim.scenario.yaml_lines import Document

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
    if not all(steps) or not steps or (rest and not rest.startswith("=")):
        raise refused("", repr(shorten(text)), FORM, "", "--over")
    if not rest:
        now = _setting(scenario, path, steps)
        kind: Kind = "amount" if is_amount(now) else "text"
        return Control(path, "further", path, kind, "" if now is None else inline(now))
    now = _at(written(scenario), steps)
    now = None if isinstance(now, (dict, list)) else now
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


def _setting(scenario: Scenario, path: str, steps: tuple[str, ...]) -> Any:
    """Return the value at a path, or its default; None where there is none.

    Raises:
        ScenarioError: the path leads nowhere, or to several settings.
    """
    told = f"--over {path}"
    document = Document(deepcopy(written(scenario)), {})
    *_, place = apply([Override(told, steps, None)], document)
    *above, key = keys = [int(step) if step.isdigit() else step for step in read_path(place)[0]]
    now = _at(written(scenario), keys)
    now = _at(scenario.to_data(), keys) if now is None else now
    if isinstance(now, dict) or (isinstance(now, list) and any(isinstance(one, (dict, list)) for one in now)):
        found = "a mapping" if isinstance(now, dict) else "a list of several settings"
        remedy = f"name what is in it, or give values: '{path}=V1,V2'"
        raise refused(path, found, "the path of one setting", remedy, told)
    known = keys_at(schema_of(Scenario), above, document.data)
    if now is None and key not in known:
        allowed = ", ".join(known) or "no such key"
        raise refused(place, f"the unknown key '{key}'", allowed, did_you_mean(str(key), known), told)
    return now


def _at(place: Any, steps: Sequence[str | int]) -> Any:
    """Return what stands at a path in a scenario's data; None where there is nothing."""
    for step in steps:
        if isinstance(place, dict):
            place = place.get(step)
        elif isinstance(place, list) and str(step).isdigit() and int(step) < len(place):
            place = place[int(step)]
        else:
            return None
    return place
