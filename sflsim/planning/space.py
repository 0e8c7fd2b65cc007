"""The points of a plan: every combination of its decisions, with each variant of the scenario.

A decision on a field of some variants (`variants[mu-splitfed].tau`) says nothing of the others, so
a point that differs from another in such a decision alone is the same point. Imports scenario.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from sflsim.errors import Problem, ScenarioError
from sflsim.planning.scenarios import rebuilt
from sflsim.scenario.overrides import Override, apply, read_path
from sflsim.scenario.plan_block import PlanConfig, number_of
from sflsim.scenario.schema import Scenario
from sflsim.scenario.yaml_lines import Document, shorten
from sflsim.units import parse

Places = tuple[int, ...]
VARIANT = "variant"


@dataclass(frozen=True)
class Axis:
    """One thing to decide: the variant, or the values under a path of the scenario."""

    name: str
    values: tuple[Any, ...]
    steps: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether the values go from less to more."""
        sizes = [size_of(value) for value in self.values]
        return None not in sizes and len(sizes) > 1 and sizes == sorted(sizes, key=float)  # type: ignore[arg-type]

    def concerns(self, variant: dict[str, Any]) -> bool:
        """Whether the decision has a say in a point with this variant."""
        if self.steps[:1] != ("variants",):
            return True
        names = (variant["name"], variant["algorithm"])
        return len(self.steps) > 1 and any(str(name).startswith(self.steps[1]) for name in names)


@dataclass(frozen=True)
class Point:
    """One combination: its place on every axis, what was chosen there, and its scenario."""

    number: int
    places: Places
    choices: dict[str, Any] = field(compare=False)
    fields: dict[str, Any] = field(compare=False)
    """What tells its variant from the others: the algorithm, and fields such as tau or cut."""
    scenario: Scenario = field(compare=False, repr=False)

    @property
    def label(self) -> str:
        """Return the point in one line."""
        rest = [f"{name} {text_of(value)}" for name, value in self.choices.items() if name != VARIANT]
        return ", ".join([str(self.choices[VARIANT]), *rest])


class Space:
    """All points; each is made when first asked for. A combination that makes no scenario is none."""

    def __init__(self, scenario: Scenario, plan: PlanConfig) -> None:
        self.scenario = scenario
        self._data = scenario.model_dump(mode="json", by_alias=True) | {"plan": None, "sweep": None}
        self._data = {key: value for key, value in self._data.items() if value is not None}
        self._variants: list[dict[str, Any]] = self._data.pop("variants")
        self.differing = _differing(self._variants)
        names = tuple(variant["name"] for variant in self._variants)
        decided = (Axis(path, tuple(plan.values(path)), _steps(path)) for path in plan.decisions)
        self.axes = (Axis(VARIANT, names), *decided)
        self.refused: dict[Places, ScenarioError] = {}
        self._points: dict[Places, Point] = {}
        self._numbers: dict[str, Point] = {}

    @property
    def combinations(self) -> int:
        """Return the number of combinations, those that are one point or none included."""
        return prod(len(axis.values) for axis in self.axes)

    def points(self) -> list[Point]:
        """Return every point, in the order of the axes (the last varies fastest)."""
        everything = product(*(range(len(axis.values)) for axis in self.axes))
        found = {point.number: point for places in everything if (point := self.at(places))}
        return list(found.values())

    def at(self, places: Places) -> Point | None:
        """Return the point at these places, or None where they make no scenario."""
        variant = self._variants[places[0]]
        places = tuple(
            place if axis.concerns(variant) else 0 for axis, place in zip(self.axes, places, strict=True)
        )
        if places in self.refused:
            return None
        if places not in self._points:
            try:
                self._points[places] = self._made(places, variant)
            except ScenarioError as error:
                self.refused[places] = error
                return None
        return self._points[places]

    def neighbours(self, point: Point) -> Iterator[tuple[Axis, Point]]:
        """Yield every point that differs from `point` on one axis, and the axis."""
        for number, axis in enumerate(self.axes):
            for place in range(len(axis.values)):
                other = self.at((*point.places[:number], place, *point.places[number + 1 :]))
                if other is not None and other.number != point.number:
                    yield axis, other

    def check(self) -> None:
        """Refuse a value that makes a scenario with no value of any other one decision.

        Raises:
            ScenarioError: at the line of the value.
        """
        problems: list[Problem] = []
        for number, axis in enumerate(self.axes[1:], 1):
            wrong = [
                (place, error) for place in range(len(axis.values)) if (error := self._wrong(number, place))
            ]
            alike = {(one.found, one.path) for _, error in wrong for one in error.problems}
            if len(wrong) == len(axis.values) and len(alike) == 1 and len(wrong) > 1:
                wrong = wrong[:1]
            problems += [
                self._placed(axis, place, one) for place, error in wrong for one in error.problems[:1]
            ]
        if problems:
            raise self.scenario.located(ScenarioError(problems))

    def _wrong(self, number: int, place: int) -> ScenarioError | None:
        """Return why a value is possible nowhere, from trying it with each value of each other axis."""
        first = self._start(number, place)
        if self.at(first):
            return None
        for other, axis in enumerate(self.axes):
            for value in range(len(axis.values) if other != number else 0):
                if self.at((*first[:other], value, *first[other + 1 :])):
                    return None
        return self.refused.get(first)

    def _start(self, number: int, place: int) -> Places:
        axis = self.axes[number]
        concerned = [at for at, variant in enumerate(self._variants) if axis.concerns(variant)]
        if not concerned:
            known = ", ".join(dict.fromkeys(one["algorithm"] for one in self._variants))
            problem = Problem(
                f"plan.decisions.{axis.name}", f"a decision on '{axis.name}'", f"variants: {known}"
            )
            raise self.scenario.located(ScenarioError(problem))
        start = [0] * len(self.axes)
        start[0], start[number] = concerned[0], place
        return tuple(start)

    def _placed(self, axis: Axis, place: int, problem: Problem) -> Problem:
        path = f"plan.decisions.{axis.name}"
        unknown = problem.found.startswith("the unknown key") or problem.file.startswith("plan.decisions")
        path = path if unknown else f"{path}[{place}]"
        remedy = f"{problem.path}: {problem.remedy}" if problem.remedy else f"at {problem.path or axis.name}"
        return Problem(path, problem.found, problem.allowed, remedy)

    def _made(self, places: Places, variant: dict[str, Any]) -> Point:
        data = deepcopy(self._data) | {"variants": [deepcopy(variant)]}
        choices: dict[str, Any] = {VARIANT: variant["name"]}
        own: dict[str, Any] = {}
        for axis, place in list(zip(self.axes, places, strict=True))[1:]:
            if not axis.concerns(variant):
                choices[axis.name] = None
                continue
            steps, value = axis.steps, deepcopy(axis.values[place])
            choices[axis.name] = axis.values[place]
            if steps[0] == "variants":
                steps = ("variants", "0", *steps[2:])
                own[".".join(steps[2:])] = value
            apply([Override(f"plan.decisions {axis.name}", steps, value)], Document(data))
        if own:
            data["variants"][0]["name"] += "".join(
                f" {key}={shorten(str(value))}" for key, value in own.items()
            )
        scenario = rebuilt(self.scenario, data)
        key = json.dumps(
            {**data, "variants": {**data["variants"][0], "name": ""}}, sort_keys=True, default=str
        )
        known = self._numbers.get(key)
        if known is not None:
            return known
        fields = {"algorithm": variant["algorithm"]}
        fields |= {name: scenario.variants[0].model_dump(mode="json").get(name) for name in self.differing}
        point = Point(len(self._numbers), places, choices, fields, scenario)
        self._numbers[key] = point
        return point


def size_of(value: Any) -> float | None:
    """Return a number by which to order 3, 0.5 or "10 Mbit/s" with others of its unit; None if it is none."""
    found = number_of(value)
    if found is None:
        return None
    number, unit = found
    for dimension in ("s", "byte", "byte/s", "FLOP/s", "FLOP", "W"):
        try:
            return parse(str(value), dimension) if unit else number
        except ValueError:
            continue
    return number


def text_of(value: Any) -> str:
    """Return a value as one would write it in YAML, in one short line."""
    if value is None:
        return "-"
    if isinstance(value, (dict, list)):
        return shorten(json.dumps(value).replace('"', ""))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _steps(path: str) -> tuple[str, ...]:
    steps, rest = read_path(path)
    if not steps or rest:
        allowed = (
            "a path of the scenario, e.g. server.compute, fleet.groups[0].link or variants[mu-splitfed].tau"
        )
        raise ScenarioError(Problem(f"plan.decisions.{path}", repr(path), allowed))
    return steps


def _differing(variants: Sequence[dict[str, Any]]) -> list[str]:
    """Return the fields in which variants of one algorithm differ."""
    differing: dict[str, None] = {}
    for one in variants:
        for other in variants:
            if one["algorithm"] == other["algorithm"]:
                differing |= {
                    key: None
                    for key in one
                    if key not in ("name", "algorithm") and one[key] != other.get(key)
                }
    return list(differing)
