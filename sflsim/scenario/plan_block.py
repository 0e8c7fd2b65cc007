"""`plan:` of a scenario: what may be decided, what is wanted, what must hold, what things cost.

The models alone; `sflsim.planner` searches.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sflsim.fields import PERIOD, Bytes, Fraction, Period
from sflsim.mistakes import refusal
from sflsim.units import NoQuantity, split

Objective = Literal["time", "cost", "energy", "bytes"]
Price = Annotated[float, Field(ge=0, le=1e15)]
RANGE = "a list, e.g. [1, 2, 4], or a range, e.g. {from: 1 TFLOP/s, to: 16 TFLOP/s, steps: 5, scale: log}"
MAX_VALUES = 1000
DEADLINE = "'2 h', or {within: 2 h, probability: 95%}"


class Block(BaseModel):
    """Base of the block's parts: frozen and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


End = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)] | str


class Range(Block):
    """Values from one number to another, both included; with a unit if the field has one."""

    from_: End = Field(alias="from")
    to: End
    steps: int | None = Field(
        default=None, strict=True, ge=2, le=MAX_VALUES, description="how many; 5, or every whole number"
    )
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _readable(self) -> Range:
        low, high = number_of(self.from_), number_of(self.to)
        if low is None or high is None or low[1] != high[1]:
            raise refusal(f"from {self.from_} to {self.to}", "two numbers with the same unit, or with none")
        if not low[0] < high[0] or (self.scale == "log" and low[0] <= 0):
            raise refusal(
                f"from {self.from_} to {self.to}", "'from' below 'to', and above zero on a log scale"
            )
        if self._whole and self.steps is None and high[0] - low[0] >= MAX_VALUES:
            raise refusal(f"{high[0] - low[0] + 1:.0f} values", f"at most {MAX_VALUES}", "give 'steps'")
        return self

    @property
    def _whole(self) -> bool:
        return isinstance(self.from_, int) and isinstance(self.to, int)

    @property
    def values(self) -> list[Any]:
        """Return the values in order, each once; whole numbers stay whole."""
        (low, unit), (high, _) = number_of(self.from_) or (0.0, ""), number_of(self.to) or (0.0, "")
        steps = self.steps or (int(high - low) + 1 if self._whole and self.scale == "linear" else 5)
        places = [place / (steps - 1) for place in range(steps)]
        if self.scale == "log":
            numbers = [math.exp(math.log(low) + place * (math.log(high) - math.log(low))) for place in places]
        else:
            numbers = [low + place * (high - low) for place in places]
        if self._whole:
            return list(dict.fromkeys(round(number) for number in numbers))
        texts = [f"{number:.6g}" for number in numbers]
        return list(dict.fromkeys(f"{text} {unit}" if unit else float(text) for text in texts))


class Deadline(Block):
    """The target must be reached `within` a time, in at least this share of the seeds."""

    within: Period
    probability: Fraction = 1.0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Take a bare time for the mapping that it stands for."""
        if isinstance(value, (dict, Deadline)):
            return value
        try:
            PERIOD.read(value)
        except PydanticCustomError:
            remedy = "the probability is the share of the seeds that reach the target in time"
            raise refusal(repr(value), DEADLINE, remedy) from None
        return {"within": value}


class GroupLimits(Block):
    """Limits that hold for one group of the fleet; bytes in place of the general limits."""

    device_memory: Bytes | None = Field(default=None, description="of a device, for the training")
    bytes_per_client: Bytes | None = None
    bytes_per_client_and_month: Bytes | None = None


class Constraints(Block):
    """What a point must keep to; one that is left out does not count."""

    deadline: Deadline | None = Field(default=None, description=DEADLINE)
    device_memory: bool = Field(default=True, description="the training fits every device of known memory")
    server_memory: Bytes | None = Field(default=None, description="for the models that the server holds")
    bytes_per_client: Bytes | None = Field(default=None, description="up and down, of the busiest client")
    bytes_per_client_and_month: Bytes | None = Field(default=None, description="with 'runs_per_month' runs")
    budget: Price | None = Field(default=None, description="for one run, in the currency of the prices")
    groups: dict[str, GroupLimits] = Field(default_factory=dict, description="by the name of the group")

    def limits(self) -> dict[str, float]:
        """Return every limit by its path below `plan.constraints`; `device_memory` is a share, of its own."""
        general = {
            "bytes_per_client": self.bytes_per_client,
            "bytes_per_client_and_month": self.bytes_per_client_and_month,
            "server_memory": self.server_memory,
            "device_memory": 1.0 if self.device_memory else None,
            "budget": self.budget,
            "deadline": self.deadline.within if self.deadline else None,
        }
        own = {
            f"groups.{group}.{name}": limit for group, limits in self.groups.items() for name, limit in limits
        }
        return {name: limit for name, limit in (general | own).items() if limit is not None}


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

    exact_up_to: int = Field(default=600, strict=True, ge=0, description="points that are all timed")
    timings: int = Field(default=1000, strict=True, ge=1, description="points timed of a larger space")
    trainings: int | None = Field(default=None, strict=True, ge=0, description="at most so many, then bounds")
    seed: int = Field(default=0, strict=True, ge=0, lt=2**32)


Values = Annotated[
    Annotated[list[Any], Field(min_length=1, max_length=MAX_VALUES), Tag("list")]
    | Annotated[Range, Tag("range")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "range"),
]


class PlanConfig(Block):
    """Decisions span the points, one for each of their combinations and variants of the scenario."""

    decisions: dict[str, Values] = Field(
        default_factory=dict, description="a path of the scenario and its values: " + RANGE
    )
    objectives: list[Objective] = Field(default=["time"], min_length=1)
    weights: dict[Objective, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="how much an objective counts in the recommendation; 1 by default"
    )
    constraints: Constraints = Field(default_factory=Constraints)
    prices: Prices = Field(default_factory=Prices)
    runs_per_month: Annotated[float, Field(gt=0)] = 1.0
    search: Search = Field(default_factory=Search)

    @field_validator("decisions", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wrong = [key for key, one in value.items() if not isinstance(one, (list, dict, Range))]
            if wrong:
                raise refusal(f"{wrong[0]}: {value[wrong[0]]!r}", RANGE, "write [...] around a single value")
        return value

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, objectives: list[Objective]) -> list[Objective]:
        if len(set(objectives)) < len(objectives):
            raise refusal("an objective twice", "each once", "use 'weights' to let one count for more")
        return objectives

    @model_validator(mode="after")
    def _adds_up(self) -> PlanConfig:
        wants_money = "cost" in self.objectives or self.constraints.budget is not None
        if wants_money and not any(self.price_list().values()):
            raise refusal("no price, but 'cost' or 'budget'", "'prices:' with one above zero at least")
        missing = [name for name in self.weights if name not in self.objectives]
        if missing:
            raise refusal(f"a weight for '{missing[0]}'", f"weights for {', '.join(self.objectives)}")
        return self

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


def number_of(value: Any) -> tuple[float, str] | None:
    """Return number and unit of 3, 0.5 or "10 Mbit/s"; None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return split(str(value))
    except NoQuantity:
        return None
