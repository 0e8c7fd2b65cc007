"""The points of a sweep: one scenario for each combination of values, or the reason why there is none.

A combination that is impossible (more participants than clients) is a broken point among good ones. Where
none is possible, as with a path that leads nowhere, the sweep is refused before anything is run.
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
from sflsim.session import Options, Session


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
    both = {path: [_plain(value) for value in values] for path, values in written.items()}
    if not both:
        found, allowed = (
            "nothing to sweep",
            "a block 'sweep:' in the scenario, or --over PATH=V1,V2,...",
        )
        remedy = "e.g. sweep: {fleet.straggler.mean: [1 s, 2 s]}"
        raise scenario.located(refused("sweep", found, allowed, remedy))
    wrong = [replace(one, path=path_of(place), file="--over") for place, one in sweep_problems(both)]
    if wrong:
        raise ScenarioError(wrong)
    return both


def _plain(value: Any) -> Any:
    """Return a value as YAML would hold it: numpy's numbers as Python's."""
    return value.item() if hasattr(value, "dtype") else value


def points(scenario: Scenario, over: Over, options: Options) -> list[Point]:
    """Return every combination in order, the last path's values varying fastest.

    Raises:
        ScenarioError: no combination can be simulated, two paths that set one field.
    """
    _refuse_same_field(scenario, over)
    _refuse_fixed_costs(scenario, over)
    checked: dict[str, tuple[Problem, ...]] = {}
    found = []
    for number, values in enumerate(product(*over.values())):
        point = _point(scenario, number, dict(zip(over, values, strict=True)))
        if not point.problems:
            point = replace(point, problems=_checked(point.scenario, options, checked))
        found.append(point)
    _refuse_hopeless(scenario, over, found)
    return found


def _point(scenario: Scenario, number: int, values: dict[str, Any]) -> Point:
    overrides = [_override(path, value) for path, value in values.items()]
    try:
        return Point(number, values, vary(scenario, overrides))
    except ScenarioError as error:
        return Point(number, values, scenario, error.problems)


def _override(path: str, value: Any) -> Override:
    return Override(f"--over {path}={shorten(str(value))}", read_path(path)[0], value)


def _checked(
    scenario: Scenario, options: Options, known: dict[str, tuple[Problem, ...]]
) -> tuple[Problem, ...]:
    """Return what model, data and fleet refuse; asked once for all points that differ in times alone."""
    fleet = scenario.fleet
    parts = (
        scenario.workload.model_dump(mode="json"), [one.model_dump(mode="json") for one in scenario.variants],
        fleet.clients, fleet.participants_per_round, scenario.stop.rounds, scenario.seeds,
    )  # fmt: skip
    if (key := repr(parts)) not in known:
        try:
            Session(scenario, options).check()
            known[key] = ()
        except ScenarioError as error:
            known[key] = error.problems
    return known[key]


def _refuse_same_field(scenario: Scenario, over: Over) -> None:
    """Refuse paths of which a later one undoes an earlier one, such as [0] and [mu] of one variant."""
    first = [_override(path, values[0]) for path, values in over.items()]
    labels = {one.file: path for one, path in zip(first, over, strict=True)}
    try:
        kept = set(vary(scenario, first).source.overridden.values())
    except ScenarioError:
        return
    problems = [
        Problem(path, "a path that a later one overwrites", "each field once", "leave one of them out", label)
        for label, path in labels.items()
        if label not in kept
    ]
    if problems:
        raise _at_home(scenario, problems, over)


def _refuse_fixed_costs(scenario: Scenario, over: Over) -> None:
    """Refuse paths that change what costs depend on that the scenario gives."""
    problems = []
    for path, problem in fixed_costs(scenario, over).items():
        own = (scenario.sweep or {}).get(path) == over[path]
        problems.append(replace(problem, path=f"sweep.{path}") if own else replace(problem, file="--over"))
    if problems:
        raise scenario.located(ScenarioError(problems))


def _refuse_hopeless(scenario: Scenario, over: Over, found: Sequence[Point]) -> None:
    """Refuse a sweep in which no point can be simulated, with what is wrong with each value."""
    if not all(point.problems for point in found):
        return
    problems: list[Problem] = []
    for path, values in over.items():
        own: dict[tuple[str, str], Problem] = {}  # an unknown key is one mistake, whatever its value
        for value in values:
            first = next(point for point in found if point.values[path] is value)
            label = _override(path, value).file
            for one in first.problems:
                if one.file == label:
                    own.setdefault((one.path, one.found), one)
        problems += own.values()
    raise _at_home(scenario, list(dict.fromkeys(problems or found[0].problems)), over)


def _at_home(scenario: Scenario, problems: list[Problem], over: Over) -> ScenarioError:
    """Return the error with lines of the scenario where a value stands in its own block."""
    places = {
        _override(path, value).file: path_of(("sweep", path, place))
        for path, values in (scenario.sweep or {}).items()
        if over.get(path) == values
        for place, value in enumerate(values)
    }
    homed = [
        replace(one, path=places[one.file], file="", line=None) if one.file in places else one
        for one in problems
    ]
    return scenario.located(ScenarioError(homed))
