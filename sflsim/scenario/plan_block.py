"""`plan:` of a scenario: what may be decided, what is wanted, what must hold, what things cost.

The models alone; `sflsim.planner` searches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

from sflsim.fields import IN_MEMORY
from sflsim.mistakes import wrong_value
from sflsim.scenario.plan_criteria import (
    CONSTRAINTS,
    GROUP_CONSTRAINTS,
    OBJECTIVES,
    Constraint,
    Objective,
    constraint,
)
from sflsim.scenario.plan_values import RANGE, Block, Deadline, PositiveNumber, Price, Range, Values


class Limits(Block):
    """Limits by the names of their constraints; one that is left out does not count."""

    def given(self) -> dict[str, float]:
        """Return the limits that are set, in the units of their constraints (a yes is 1)."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "groups"}
        numbers = {
            name: limit.within if isinstance(limit, Deadline) else limit for name, limit in values.items()
        }
        return {
            name: float(number)
            for name, number in numbers.items()
            if number is not None and number is not False
        }


class GeneralLimits(Limits):
    """What a point must keep to; one that is left out does not count."""

    groups: dict[str, Limits] = Field(default_factory=dict, description="by the name of the group")

    def limits(self) -> dict[str, float]:
        """Return every limit that is set by its path below `plan.constraints`."""
        groups = {
            f"groups.{group}.{name}": limit
            for group, limits in self.groups.items()
            for name, limit in limits.given().items()
        }
        return self.given() | groups

    @property
    def probability(self) -> float:
        """The share of the seeds that must reach the target, in time where there is a deadline."""
        deadline = getattr(self, "deadline", None)
        return deadline.probability if isinstance(deadline, Deadline) else 1.0


def _fields(constraints: dict[str, Constraint]) -> dict[str, Any]:
    """Return the field of each constraint."""
    return {
        name: (
            one.limit if one.default is not None else one.limit | None,
            Field(default=one.default, description=one.description),
        )
        for name, one in constraints.items()
    }


if TYPE_CHECKING:
    ObjectiveName = str
    GroupLimits = Limits
    Constraints = GeneralLimits
else:
    ObjectiveName = Literal[tuple(OBJECTIVES)]
    GroupLimits = create_model(
        "GroupLimits",
        __base__=Limits,
        __doc__="Limits that hold for one group of the fleet; bytes in place of the general limits.",
        **_fields(GROUP_CONSTRAINTS),
    )
    Constraints = create_model(
        "Constraints",
        __base__=GeneralLimits,
        __doc__=GeneralLimits.__doc__,
        **_fields(CONSTRAINTS),
        groups=(dict[str, GroupLimits], GeneralLimits.model_fields["groups"]),
    )


class GroupPrices(Block):
    """Prices that hold for one group of the fleet in place of the general ones."""

    device: Price | None = None
    gigabyte_up: Price | None = None
    gigabyte_down: Price | None = None


class Prices(Block):
    """What a run is charged for; each is zero where it is left out. A gigabyte is 10^9 byte."""

    currency: str = Field(default="EUR", max_length=12, pattern=r"^[A-Za-z$€£¥]+$")
    server_hour: Price = Field(default=0.0, description="for each hour that a run takes")
    tflops_hour: Price = Field(default=0.0, description="for each TFLOP/s of all server slots and hour")
    gigabyte_up: Price = Field(default=0.0, description="sent by clients")
    gigabyte_down: Price = Field(default=0.0, description="received by clients")
    kilowatt_hour: Price = Field(default=0.0, description="drawn by clients while they take part")
    device: Price = Field(default=0.0, description="for each device of the fleet, per run")
    groups: dict[str, GroupPrices] = Field(default_factory=dict, description="by the name of the group")


class Search(Block):
    """How the points are searched; small spaces are gone through whole."""

    exact_up_to: Annotated[int, Field(strict=True, ge=0), IN_MEMORY] = Field(
        default=600, description="points that are all timed"
    )
    timings: Annotated[int, Field(strict=True, ge=1), IN_MEMORY] = Field(
        default=1000, description="points timed of a larger space"
    )
    trainings: int | None = Field(
        default=None, strict=True, ge=0, description="most trainings; then bounds decide"
    )
    seed: int = Field(default=0, strict=True, ge=0, lt=2**32)


class PlanConfig(Block):
    """Decisions span the points, one for each of their combinations and variants of the scenario."""

    decisions: dict[str, Values] = Field(
        default_factory=dict, description="a path of the scenario and its values: " + RANGE
    )
    objectives: list[ObjectiveName] = Field(default=["time"], min_length=1)
    weights: dict[ObjectiveName, PositiveNumber] = Field(
        default_factory=dict, description="how much an objective counts in the recommendation; 1 by default"
    )
    constraints: Constraints = Field(default_factory=Constraints)
    prices: Prices = Field(default_factory=Prices)
    runs_per_month: PositiveNumber = 1.0
    search: Search = Field(default_factory=Search)

    @field_validator("decisions", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wrong = [key for key, one in value.items() if not isinstance(one, (list, dict, Range))]
            if wrong:
                raise wrong_value(
                    f"{wrong[0]}: {value[wrong[0]]!r}", RANGE, "write [...] around a single value"
                )
        return value

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, objectives: list[ObjectiveName]) -> list[ObjectiveName]:
        if len(set(objectives)) < len(objectives):
            raise wrong_value("an objective twice", "each once", "use 'weights' to let one count for more")
        return objectives

    @model_validator(mode="after")
    def _weighted(self) -> PlanConfig:
        missing = [name for name in self.weights if name not in self.objectives]
        if missing:
            raise wrong_value(f"a weight for '{missing[0]}'", f"weights for {', '.join(self.objectives)}")
        return self

    def criteria(self) -> Iterator[Objective | Constraint]:
        """Yield every objective and every constraint that is set."""
        yield from (OBJECTIVES[name] for name in self.objectives)
        yield from (constraint(path)[0] for path in self.constraints.limits())

    def price_list(self) -> dict[str, float]:
        """Return every price by its path below `plan.prices`, those of groups included."""
        own = {key: value for key, value in self.prices.model_dump().items() if isinstance(value, float)}
        groups = {
            f"groups.{name}.{key}": value
            for name, prices in self.prices.groups.items()
            for key, value in prices.model_dump().items()
            if value is not None
        }
        return own | groups

    def values(self, path: str) -> list[Any]:
        """Return the values of a decision, in order."""
        choice = self.decisions[path]
        return choice.values if isinstance(choice, Range) else list(choice)
