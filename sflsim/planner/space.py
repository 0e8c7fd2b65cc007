"""The points of a plan: every combination of its decisions, with each variant of the scenario.

A decision on a field of some variants (`variants[mu-splitfed].tau`) says nothing of the others, nor does a
cut to an algorithm that does not cut the model: a point that differs from another in such a decision alone
is the same point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from sflsim.errors import Problem, ScenarioError
from sflsim.formatting import shorten
from sflsim.planner.values import labelled, size_of, text_of
from sflsim.retime.rebuild import rebuilt
from sflsim.scenario import plan_rules
from sflsim.scenario.overrides import Override, apply, read_path
from sflsim.scenario.plan_block import PlanConfig
from sflsim.scenario.schema import Scenario
from sflsim.scenario.unread import says_nothing, unread, what_is_read
from sflsim.scenario.yaml_lines import Document

Indices = tuple[int, ...]
VARIANT = "variant"
SHARED = ("name", "description", "seeds", "target_accuracy", "plan", "sweep")
"""Fields that all points of a plan share."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One thing to decide: the variant, or the values under a path of the scenario."""

    name: str
    values: tuple[Any, ...]
    steps: tuple[str, ...] = ()
    unread_by: frozenset[str] = frozenset()
    """Names of the variants to which it says nothing, although it does not name others."""

    @property
    def ordered(self) -> bool:
        """Whether the values go from less to more."""
        sizes = [size_of(value) for value in self.values]
        return None not in sizes and len(sizes) > 1 and sizes == sorted(sizes, key=float)  # type: ignore[arg-type]

    def concerns(self, variant: dict[str, Any]) -> bool:
        """Whether the decision has a say in a point with this variant."""
        return self.names(variant) and variant["name"] not in self.unread_by

    def names(self, variant: dict[str, Any]) -> bool:
        """Whether the path leads to a field of the scenario as it is with this variant."""
        if self.steps[:1] != ("variants",):
            return True
        names = (variant["name"], variant["algorithm"])
        return len(self.steps) > 1 and any(str(name).startswith(self.steps[1]) for name in names)


@dataclass(frozen=True)
class Point:
    """One combination: its index on every axis, what was chosen there, and its scenario."""

    number: int
    indices: Indices
    choices: dict[str, Any] = field(compare=False)
    fields: dict[str, Any] = field(compare=False)
    """What tells its variant from the others: the algorithm, and fields such as tau or cut."""
    scenario: Scenario = field(compare=False, repr=False)

    @property
    def label(self) -> str:
        """Return the point in one line."""
        chosen = {name: value for name, value in self.choices.items() if value is not None}
        rest = [f"{name} {text_of(value)}" for name, value in chosen.items() if name != VARIANT]
        return ", ".join([str(self.choices[VARIANT]), *rest])


class Space:
    """All points; each is made when first asked for. A combination that makes no scenario is none."""

    def __init__(self, scenario: Scenario, plan: PlanConfig) -> None:
        self.scenario = scenario
        self.plan = plan
        self._data = scenario.model_dump(mode="json", by_alias=True) | {"plan": None, "sweep": None}
        self._data = {key: value for key, value in self._data.items() if value is not None}
        self.variants: list[dict[str, Any]] = self._data.pop("variants")
        self.differing = _differing(self.variants)
        names = tuple(variant["name"] for variant in self.variants)
        self._priced = plan.prices.tflops_hour > 0
        steps = {path: self._steps(path) for path in plan.decisions}
        self.axes = (Axis(VARIANT, names), *(self._axis(path, plan, steps) for path in steps))
        self.refused: dict[Indices, ScenarioError] = {}
        self._points: dict[Indices, Point] = {}
        self._numbers: dict[str, Point] = {}

    @property
    def combinations(self) -> int:
        """Return the number of combinations, those that are one point or none included."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def repeated(self) -> int:
        """Return how many combinations are known to be one point with another.

        A decision that does not concern a variant makes no points of it.
        """
        different = sum(
            prod(len(axis.values) for axis in self.axes[1:] if axis.concerns(variant))
            for variant in self.variants
        )
        return self.combinations - different + len(self._points) - len(self._numbers)

    def points(self) -> list[Point]:
        """Return every point, in the order of the axes (the last varies fastest)."""
        everything = product(*(range(len(axis.values)) for axis in self.axes))
        found = {point.number: point for indices in everything if (point := self.at(indices))}
        return list(found.values())

    def at(self, indices: Indices) -> Point | None:
        """Return the point at these indices, or None where they make no scenario."""
        variant = self.variants[indices[0]]
        indices = tuple(
            index if axis.concerns(variant) else 0 for axis, index in zip(self.axes, indices, strict=True)
        )
        if indices in self.refused:
            return None
        if indices not in self._points:
            try:
                self._points[indices] = self._made(indices, variant)
            except ScenarioError as error:
                self.refused[indices] = error
                return None
        return self._points[indices]

    def neighbours(self, point: Point) -> Iterator[tuple[Axis, Point]]:
        """Yield every point that differs from `point` on one axis, and the axis."""
        for number, axis in enumerate(self.axes):
            for index in range(len(axis.values)):
                other = self.at((*point.indices[:number], index, *point.indices[number + 1 :]))
                if other is not None and other.number != point.number:
                    yield axis, other

    def _axis(self, path: str, plan: PlanConfig, steps: Mapping[str, tuple[str, ...]]) -> Axis:
        """Return the axis of a decision, and to which variants it says nothing at any point."""
        new_model = any(other[:2] in (("workload",), ("workload", "model")) for other in steps.values())
        new_cut = any(other[0] == "variants" and other[2:3] == ("cut",) for other in steps.values())
        unread_by = [
            variant["name"]
            for variant in self.variants
            if not new_model  # else its adapters may make a cut matter: points are compared one by one
            and says_nothing(
                steps[path], unread(self._data, variant | ({"cut": None} if new_cut else {}), self._priced)
            )
        ]
        return Axis(path, labelled(plan.values(path)), steps[path], frozenset(unread_by))

    def _steps(self, path: str) -> tuple[str, ...]:
        steps, rest = read_path(path)
        if not steps or rest:
            allowed = "a path, e.g. server.compute, fleet.groups[0].link or variants[mu-splitfed].tau"
            problem = Problem(f"plan.decisions.{path}", repr(path), allowed)
            raise self.scenario.located(ScenarioError(problem))
        if steps in ((VARIANT,), ("algorithm",), ("variants",)):
            remedy = "write each algorithm to choose from as one of the scenario's 'variants'"
            allowed = "nothing to list: every variant of the scenario is a choice already"
            problem = Problem(f"plan.decisions.{path}", f"'{path}' as a decision", allowed, remedy)
            raise self.scenario.located(ScenarioError(problem))
        if steps[0] in SHARED:
            remedy = "its points are compared under the same seeds, by the same target"
            found, allowed = f"'{path}' as a decision", "what a point has of its own"
            problem = Problem(f"plan.decisions.{path}", found, allowed, remedy)
            raise self.scenario.located(ScenarioError(problem))
        return steps

    def combined(self, variant: dict[str, Any], chosen: Mapping[Axis, int]) -> dict[str, Any]:
        """Return the data of a scenario: one variant, and the values at these indices of some axes.

        Raises:
            ScenarioError: a path leads nowhere.
        """
        data = deepcopy(self._data) | {"variants": [deepcopy(variant)]}
        for axis, index in chosen.items():
            steps, value = axis.steps, deepcopy(axis.values[index])
            if steps[0] == "variants":
                steps = ("variants", "0", *steps[2:])
                data["variants"][0]["name"] += f" {'.'.join(steps[2:])}={shorten(str(value))}"
            apply([Override(f"plan.decisions.{axis.name}", steps, value)], Document(data))
        return data

    def scenario_of(self, data: dict[str, Any]) -> Scenario:
        """Return the scenario that combined data describe.

        Raises:
            ScenarioError: they describe none, or none that fits the plan.
        """
        scenario = rebuilt(self.scenario, data)
        plan_rules.check(self.plan, scenario)
        return scenario

    def _made(self, indices: Indices, variant: dict[str, Any]) -> Point:
        chosen = {
            axis: index
            for axis, index in zip(self.axes[1:], indices[1:], strict=True)
            if axis.concerns(variant)
        }
        data = self.combined(variant, chosen)
        scenario = self.scenario_of(data)
        key = json.dumps(what_is_read(data, self._priced), sort_keys=True, default=str)
        if key not in self._numbers:
            choices = {VARIANT: variant["name"]} | dict.fromkeys(axis.name for axis in self.axes[1:])
            choices |= {axis.name: axis.values[index] for axis, index in chosen.items()}
            written = data["variants"][0]
            fields = {name: written.get(name) for name in ("algorithm", *self.differing)}
            self._numbers[key] = Point(len(self._numbers), indices, choices, fields, scenario)
        return self._numbers[key]


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
