"""The points of a sweep: one scenario for each combination of values, or the reason why there is none.

An impossible combination (more participants than clients) is a broken point among good ones. If every
combination is impossible (a path leads nowhere, say), the sweep is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from sflsim.errors import Problem, ScenarioError, refused
from sflsim.formatting import shorten
from sflsim.scenario.fixed_costs import fixed_costs
from sflsim.scenario.loading import vary
from sflsim.scenario.overrides import Override, read_path
from sflsim.scenario.schema import Scenario
from sflsim.scenario.sweep_block import Over, sweep_problems
from sflsim.scenario.translate import path_of
from sflsim.session import Options, Session, SessionCache


@dataclass(frozen=True)
class Point:
    """One combination: the value of each path, and its scenario unless `problems` say why it has none."""

    number: int
    values: Mapping[str, Any]
    scenario: Scenario
    problems: tuple[Problem, ...] = ()

    @property
    def error(self) -> str:
        """Why the point cannot be simulated, in one line; empty where it can."""
        return " | ".join(" ".join(str(problem).split()) for problem in self.problems)


def merged(scenario: Scenario, over: Over | None) -> dict[str, list[Any]]:
    """Return what to sweep: the scenario's own block, and `over`, which replaces a path of the block.

    Raises:
        ScenarioError: there is nothing to sweep, or `over` is no mapping of paths to lists.
    """
    written: dict[str, Any] = {**(scenario.sweep or {}), **(over or {})}
    problems = [
        Problem(path, shorten(repr(values)), "a list of values", "", f"--over {path}")
        for path, values in written.items()
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable)
    ]
    if problems:
        raise ScenarioError(problems)
    lists = {path: [_plain(value) for value in values] for path, values in written.items()}
    if not lists:
        allowed = "a block 'sweep:' in the scenario, or --over PATH=V1,V2,..."
        remedy = "e.g. sweep: {fleet.straggler.mean: [1 s, 2 s]}"
        raise scenario.located(refused("sweep", "nothing to sweep", allowed, remedy))
    problems = [
        replace(problem, path=path_of(keys), file="--over") for keys, problem in sweep_problems(lists)
    ]
    if problems:
        raise ScenarioError(problems)
    return lists


def _plain(value: Any) -> Any:
    """Return a value as YAML would hold it: numpy's numbers as Python's."""
    return value.item() if hasattr(value, "dtype") else value


def points(scenario: Scenario, over: Over, options: Options) -> list[Point]:
    """Return every combination in order, the last path's values varying fastest.

    Raises:
        ScenarioError: no combination can be simulated, or two paths set one field.
    """
    _refuse_same_field(scenario, over)
    _refuse_fixed_costs(scenario, over)
    checked: dict[str, tuple[Problem, ...]] = {}
    grid, cache = [], SessionCache()
    for number, values in enumerate(product(*over.values())):
        point = _point(scenario, number, dict(zip(over, values, strict=True)))
        if not point.problems:
            point = replace(point, problems=_checked(point.scenario, options, checked, cache))
        grid.append(point)
    _refuse_hopeless(scenario, over, grid)
    return grid


def _point(scenario: Scenario, number: int, values: dict[str, Any]) -> Point:
    overrides = [_override(path, value) for path, value in values.items()]
    try:
        return Point(number, values, vary(scenario, overrides))
    except ScenarioError as error:
        return Point(number, values, scenario, error.problems)


def _override(path: str, value: Any) -> Override:
    return Override(f"--over {path}={shorten(str(value))}", read_path(path)[0], value)


def _checked(
    scenario: Scenario, options: Options, known: dict[str, tuple[Problem, ...]], cache: SessionCache
) -> tuple[Problem, ...]:
    """Return what model, data and fleet refuse; checked once for all points that differ only in times."""
    fleet = scenario.fleet
    parts = (
        scenario.workload.model_dump(mode="json"),
        [variant.model_dump(mode="json") for variant in scenario.variants],
        fleet.clients, fleet.participants_per_round, scenario.stop.rounds, scenario.seeds,
    )  # fmt: skip
    if (key := repr(parts)) not in known:
        try:
            Session(scenario, options, cache=cache).check()
            known[key] = ()
        except ScenarioError as error:
            known[key] = error.problems
    return known[key]


def _refuse_same_field(scenario: Scenario, over: Over) -> None:
    """Refuse two paths that set one field, like [0] and [mu] of one variant: the later would win."""
    overrides = [_override(path, values[0]) for path, values in over.items()]
    labels = {override.file: path for override, path in zip(overrides, over, strict=True)}
    try:
        kept = set(vary(scenario, overrides).source.overridden.values())
    except ScenarioError:
        return
    problems = [
        Problem(path, "a path that a later one overwrites", "each field once", "leave one of them out", label)
        for label, path in labels.items()
        if label not in kept
    ]
    if problems:
        raise _with_lines(scenario, problems, over)


def _refuse_fixed_costs(scenario: Scenario, over: Over) -> None:
    """Refuse paths whose values change costs that the scenario fixes."""
    problems = []
    for path, problem in fixed_costs(scenario, over).items():
        in_block = (scenario.sweep or {}).get(path) == over[path]
        problems.append(
            replace(problem, path=f"sweep.{path}") if in_block else replace(problem, file="--over")
        )
    if problems:
        raise scenario.located(ScenarioError(problems))


def _refuse_hopeless(scenario: Scenario, over: Over, grid: Sequence[Point]) -> None:
    """Refuse a sweep if no point can be simulated, with the mistakes of each value."""
    if not all(point.problems for point in grid):
        return
    problems: list[Problem] = []
    for path, values in over.items():
        of_path: dict[tuple[str, str], Problem] = {}  # an unknown key is one mistake, whatever its value
        for value in values:
            point = next(point for point in grid if point.values[path] is value)
            label = _override(path, value).file
            for problem in point.problems:
                if problem.file == label:
                    of_path.setdefault((problem.path, problem.found), problem)
        problems += of_path.values()
    raise _with_lines(scenario, list(dict.fromkeys(problems or grid[0].problems)), over)


def _with_lines(scenario: Scenario, problems: list[Problem], over: Over) -> ScenarioError:
    """Return the error; a value from the scenario's own block gets its path and line there."""
    block_paths = {
        _override(path, value).file: path_of(("sweep", path, index))
        for path, values in (scenario.sweep or {}).items()
        if over.get(path) == values
        for index, value in enumerate(values)
    }
    located = [
        replace(problem, path=block_paths[problem.file], file="", line=None)
        if problem.file in block_paths
        else problem
        for problem in problems
    ]
    return scenario.located(ScenarioError(located))
