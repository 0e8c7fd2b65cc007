"""Refuses costs that a scenario fixes where a plan or a sweep searches what they depend on.

A given `workload.costs.activation` stays what it is at every cut; two cuts would then cost the same without
a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sflsim.errors import Problem
from sflsim.learning.costs import FOLLOWS
from sflsim.scenario.overrides import read_path
from sflsim.scenario.schema import Scenario
from sflsim.scenario.unread import says_nothing, unread

SHOWN = 4
REMEDY = (
    "leave them out of workload.costs, so that they are derived from the model, or list whole workloads, "
    "each with costs of its own: workload: [{{{what}: ..., costs: {{...}}}}, ...]"
)


TO_RUN = (
    "leave them out of workload.costs, so that they are derived from the model, or run each {what} in a "
    "scenario of its own, with costs of its own"
)


def fixed_costs(scenario: Scenario, searched: Mapping[str, Sequence[Any]]) -> dict[str, Problem]:
    """Return a problem for each searched path that changes what a given cost depends on.

    `searched` maps paths to values. A cost counts only where a variant reads it; one that depends on nothing
    that is searched may be given.
    """
    data = _data(scenario)
    steps = {path: read_path(path)[0] for path in searched}
    given = _given(data, [(steps[path], values) for path, values in searched.items()])
    problems = {}
    for path, values in searched.items():
        what = _changed(steps[path])
        if what is None or len({repr(_follows(what, value)) for value in values}) < 2:
            continue
        concerned = [one for one in data["variants"] if _concerns(data, one, steps[path])]
        if keys := _read(given & FOLLOWS[what], data, concerned):
            problems[path] = _problem(path, f"{len(values)} values", what, keys)
    return problems


def cut_apart(scenario: Scenario, remedy: str = REMEDY) -> list[Problem]:
    """Return the problem of variants with several cuts and one set of given costs, if there is one."""
    data = _data(scenario)
    split = [one for one in data["variants"] if not says_nothing(["variants", "", "cut"], unread(data, one))]
    cuts = [data["workload"]["cut"] if one["cut"] is None else one["cut"] for one in split]
    blocks = list(scenario.workload.model.block_names) if any(isinstance(cut, str) for cut in cuts) else []
    places = {repr(blocks.index(cut) + 1 if cut in blocks else cut) for cut in cuts}
    by_client = [one["name"] for one in split if isinstance(one["cut"], dict)]
    keys = _read(_given(data, []) & FOLLOWS["cut"], data, split)
    if not keys or not (by_client or len(places) > 1):
        return []
    found = f"a cut for each client in {by_client[0]}" if by_client else f"variants with {len(places)} cuts"
    return [_problem("variants", found, "cut", keys, remedy)]


def _data(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", by_alias=True, exclude={"plan", "sweep"})


def _problem(path: str, found: str, what: str, keys: Sequence[str], remedy: str = REMEDY) -> Problem:
    names = ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
    found = f"{found}, but workload.costs fixes {names}"
    return Problem(path, found, f"costs that follow the {what.replace('_', ' ')}", remedy.format(what=what))


def _changed(steps: Sequence[str]) -> str | None:
    """Return which field of the workload a path changes, if costs follow it."""
    if steps[0] == "variants":
        return "cut" if steps[2:3] == ("cut",) else None
    if list(steps[:2]) == ["workload", "batch_size"] and steps[-1] not in ("batch_size", "mean"):
        return None  # given costs are for batches of the mean size
    if steps[0] == "workload" and len(steps) > 1 and steps[1] in FOLLOWS:
        return steps[1]
    return None


def _follows(what: str, value: Any) -> Any:
    """Return what of a value costs follow: of batch sizes per device the mean, which given costs are for."""
    return value.get("mean", 32) if what == "batch_size" and isinstance(value, dict) else value


def _given(data: Mapping[str, Any], searched: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> set[str]:
    """Return the costs that the scenario gives, or what is searched."""
    whole = [value for steps, values in searched if tuple(steps) == ("workload",) for value in values]
    given = [one.get("costs") for one in (whole or [data["workload"]]) if isinstance(one, dict)]
    for steps, values in searched:
        if tuple(steps[:2]) == ("workload", "costs"):
            given += [{steps[2]: ""}] if len(steps) > 2 else values
    return {key for one in given if isinstance(one, dict) for key, cost in one.items() if cost is not None}


def _concerns(data: Mapping[str, Any], variant: Mapping[str, Any], steps: Sequence[str]) -> bool:
    if says_nothing(steps, unread(data, variant)):
        return False
    names = (variant["name"], variant["algorithm"])
    return steps[0] != "variants" or steps[1].isdigit() or any(one.startswith(steps[1]) for one in names)


def _read(keys: set[str], data: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the costs that one of some variants reads, in the order of the schema."""
    read = {
        key
        for one in variants
        for key in keys
        if not says_nothing(["workload", "costs", key], unread(data, one))
    }
    return [key for key in data["workload"]["costs"] if key in read]
